# Divan.  Two commands: `make run` and `make test`.  `make help` lists the rest.

CC       ?= cc
BUILD    ?= build
OPT      ?= -O2 -g
WERROR   ?= -Werror

LIBS_PC  := libh2o-evloop libzstd libssl libcrypto zlib jansson yaml-0.1
CPPFLAGS := -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -MMD -MP
WARN     := -Wall -Wextra -Wpedantic $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -fno-common
HARDEN   := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
CFLAGS   := -std=c11 $(OPT) $(WARN) $(HARDEN) $(SAN)
LDFLAGS  := -pie -Wl,-z,relro,-z,now $(SAN)
LDLIBS    = -lh2o-evloop -lwslay -llmdb -ljansson -lyaml -lzstd -lssl -lcrypto -lz -lpthread -lm

# Layers, bottom to top: an archive may use only those before it.
LAYERS   := base store db httpapi
srcs      = $(wildcard $(1)/*.c)
objs      = $(patsubst %.c,$(BUILD)/%.o,$(filter-out httpapi/main.c,$(call srcs,$(1))))
# Linked top to bottom.
ARCHIVES := $(foreach l,httpapi db store base,$(BUILD)/$(l).a)

.PHONY: all run test check clean help
all: $(BUILD)/divand

$(BUILD)/divand: $(BUILD)/httpapi/main.o $(ARCHIVES)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -include base/banned.h -c -o $@ $<

define archive
$(BUILD)/$(1).a: $(call objs,$(1))
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive,$(l))))

# Unit tests: tests/unit/test_LAYER_NAME.c links the archives up to LAYER.
unit_base    := base
unit_store   := store base
unit_db      := db store base
unit_httpapi := httpapi db store base
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_BINS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRCS))
unit: $(UNIT_BINS)

.SECONDEXPANSION:
$(BUILD)/tests/test_%: tests/unit/test_%.c $$(foreach l,$$(unit_$$(firstword $$(subst _, ,$$*))),$(BUILD)/$$(l).a)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
