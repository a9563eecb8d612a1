# Divan.  Two commands do everything on a fresh Debian 12: `make run` and `make test`.
#
#   make             build divand, divan and divan-js into build/ (BUILD=dir: elsewhere; CC=clang)
#   make run         install what is missing, build, start on 127.0.0.1 with ./data (PORT=5984)
#   make test        install what tests need, build, run all tests
#   make unit        build what the unit tests need, without running them
#   make check       layers, headers, symbols, layout
#   make asan ubsan tsan   the unit, contract and API tests under a sanitizer
#   make crash       the crash tests at full length
#   make power       CUTS=2000 power cuts in what a recorded server did to its disk (SEED=n)
#   make soak        MINUTES=30 of mixed load: memory, descriptors, files and latencies in a table (SEED=n)
#   make overload    OVERLOAD_SECONDS=20 of bodies that do not fit, by 400 clients over HTTP/1 and HTTP/2: answers, latencies, memory
#   make exhaustion  descriptors, threads, room, quota, the right to write run out and come back; the clock jumps
#   make scale       DATABASES=10000 opened one after the other, VIEWS=1000 asked for at once: descriptors and memory
#   make plants      each fault of tests/plants/ planted by itself, and the test that must catch it (PLANTS=regexp)
#   make protocol    HTTP/1.1, HTTP/2 and TLS misused: the RFCs' rules as tables, ROUNDS=5 times; HOSTILE=120 seconds of random clients
#   make privileges  what divand, and its service under systemd, may do (as root: all of it)
#   make torture     each call that can fail fails, under each unit test and a life of divand (STEP=n: one place in n; SEED=n, MODES=first)
#   make damage      flipped bytes: PAGE_SEEDS=20000 of pages, REPAIR_SEEDS=150 repaired, DAMAGE_SEEDS=20 served (SEED=n)
#   make interop     PouchDB in Node and in Chromium, replications between servers
#   make sim         SEEDS=5000 runs of nodes that replicate over a bad network and crash
#   make test-large  attachments of SIZE_MIB=1024 in and out, with the memory they take
#   make cov         which branches of db/ and base/ the tests take, by file (COV_API=1: with the contract and API tests)
#   make tidy        clang-tidy and cppcheck over the code
#   make valgrind    the unit tests under memcheck
#   make fuzz        each fuzz target for SECONDS=60 under clang, JOBS=1 at once, UNTIL=30: until each has had so many minutes of processor; findings, inputs and sums of all runs in build-fuzz/ (FUZZ='rev doc': some)
#   make bench       ratios to the ceilings in bench/ceiling/
#   make web         bundle the page into build/web
#   make install     divand, divan, divan-js, the page, a service and its configuration (PREFIX=/usr/local, SYSCONFDIR=/etc, DESTDIR=)
#   make deps        install what building needs and is missing
#   make settings    docs/divan.yaml anew, from the settings that divand knows
#   make clean

CC       ?= cc
BUILD    ?= build
OPT      ?= -O2 -g
SAN      ?=
# gcc optimises divand as a whole: a GET costs a tenth less. The objects are ordinary ones as well, for the tests.
LTO      := $(if $(SAN)$(findstring clang,$(CC)),,-flto -flto-partition=one -ffat-lto-objects)
AR       := $(if $(LTO),gcc-ar,ar)
PORT     ?= 5984

# Runtimes of sanitizers and coverage need more than the walls of httpapi/confine.c leave.
CPPFLAGS := -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -MMD -MP $(if $(SAN),-DCONFINE_NONE)
# gcc says it by itself.
CPPFLAGS += $(if $(findstring clang,$(CC)),$(if $(findstring address,$(SAN)),-D__SANITIZE_ADDRESS__=1)$(if $(findstring thread,$(SAN)),-D__SANITIZE_THREAD__=1))
WARN     := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -fno-common
HARDEN    = -fstack-protector-strong -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2)
CFLAGS   := -std=c11 $(WARN)
LDFLAGS  := -pie -Wl,-z,relro,-z,now
LDLIBS   := -lh2o-evloop -llmdb -lseccomp -lyaml -lzstd -lssl -lcrypto -lz -lpcre2-8 -ljansson -lpthread -lm

# Layers, bottom to top.  An archive may use only those before it, so a call upward fails to link.
LAYERS   := base http store query script db views replicator httpapi cli
LIBS     := httpapi http replicator views db script query store base
CLI_LIBS := cli db store base
JS_LIBS  := script base
srcs      = $(wildcard $(1)/*.c)
objs      = $(patsubst %.c,$(BUILD)/%.o,$(filter-out httpapi/main.c cli/main.c script/main.c,$(call srcs,$(1))))
archives  = $(foreach l,$(1),$(BUILD)/$(l).a)

.PHONY: all run test test-large unit check asan ubsan tsan crash power damage soak overload exhaustion scale plants torture protocol privileges sim interop fuzz cov tidy valgrind bench deps deps-test deps-fuzz deps-tidy deps-valgrind deps-bench web clean help install install-files settings
.DELETE_ON_ERROR:
all: $(BUILD)/divand $(BUILD)/divan $(BUILD)/divan-js

help:
	@sed -n '3,/make clean/s/^# \{0,1\}//p' Makefile

# ---- divand ----

$(BUILD)/divand: $(BUILD)/httpapi/main.o $(call archives,$(LIBS))
	@echo '  link    $@'
	@$(CC) $(OPT) $(LTO) $(SAN) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

# ---- divan ----

$(BUILD)/divan: $(BUILD)/cli/main.o $(call archives,$(CLI_LIBS))
	@echo '  link    $@'
	@$(CC) $(OPT) -fno-lto $(SAN) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -llmdb -lzstd -lcrypto -lz -lpthread -lm

# ---- divan-js ----

# The JavaScript engine is here alone.  Its sandbox leaves a sanitizer no room, so it has none.
ifeq ($(SAN),)
$(BUILD)/divan-js: $(BUILD)/script/main.o $(BUILD)/script/engine_js.o $(call archives,$(JS_LIBS))
	@echo '  link    $@'
	@$(CC) $(OPT) -fno-lto $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -ljavascriptcoregtk-4.1 -lseccomp -lcrypto -lpthread -lm
else
.PHONY: $(BUILD)/divan-js
$(BUILD)/divan-js:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/js SAN= $(BUILD)/js/divan-js
	@cp $(BUILD)/js/divan-js $@
endif

$(BUILD)/script/engine.o: CPPFLAGS += -isystem /usr/include/webkitgtk-4.1
$(BUILD)/script/engine_js.o: script/engine_js.S script/engine.js
	@mkdir -p $(@D)
	@echo '  as      $<'
	@$(CC) -I. -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  cc      $<'
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(OPT) $(LTO) $(HARDEN) $(SAN) -include base/banned.h -c -o $@ $<

# h2o's header of HTTP/2 connections includes one that Debian does not ship.
$(BUILD)/http/h2o_frames.o $(BUILD)/http/h2o_head.o $(BUILD)/http/h2o_room.o: CPPFLAGS += -isystem http/missing

define archive
$(BUILD)/$(1).a: $(call objs,$(1))
	@rm -f $$@
	@$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive,$(l))))

# ---- The page at /_utils/ ----

WEB_SRCS := $(wildcard web/* web/*/*)
web: $(BUILD)/web/index.html
$(BUILD)/web/index.html: $(WEB_SRCS) node_modules/.package-lock.json
	node web/build.mjs $(BUILD)/web
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

# ---- Running ----

run: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all web
	@printf '%s\n' '' \
	  '  page     http://127.0.0.1:$(PORT)/_utils/' \
	  '  curl     curl -u admin:PASSWORD -X PUT http://127.0.0.1:$(PORT)/mydb' \
	  '  PouchDB  new PouchDB("notes").sync("http://admin:PASSWORD@127.0.0.1:$(PORT)/mydb", {live: true})' \
	  '  The administrator is shown once, at the very first start.  Stop with Ctrl-C.' ''
	@exec $(BUILD)/divand --config docs/local.yaml --data data --port $(PORT)

# ---- Installing ----

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR    ?= $(if $(filter /usr,$(PREFIX)),/usr/lib,$(SYSCONFDIR))/systemd/system
SYSUSERS   ?= /usr/lib/sysusers.d
TMPFILES   ?= /usr/lib/tmpfiles.d
D          := $(DESTDIR)
FILL       := sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g'

# What is configured already stays as it is.
install: all web
	@$(MAKE) --no-print-directory install-files

install-files:
	install -d $(D)$(PREFIX)/bin $(D)$(PREFIX)/share/divan/web $(D)$(PREFIX)/share/doc/divan/decisions $(D)$(SYSCONFDIR)/divan $(D)$(UNITDIR) $(D)$(SYSUSERS) $(D)$(TMPFILES)
	install -m 755 $(BUILD)/divand $(BUILD)/divan $(wildcard $(BUILD)/divan-js) $(D)$(PREFIX)/bin
	test ! -d $(BUILD)/web || cp -R $(BUILD)/web/. $(D)$(PREFIX)/share/divan/web
	install -m 644 CHANGELOG.md LICENSE docs/*.md docs/*.yaml $(D)$(PREFIX)/share/doc/divan
	install -m 644 docs/decisions/*.md $(D)$(PREFIX)/share/doc/divan/decisions
	sed 's|](docs/|](|g' README.md > $(D)$(PREFIX)/share/doc/divan/README.md
	test -e $(D)$(SYSCONFDIR)/divan/divan.yaml || { \
	  sed 's|^  # database_dir: data$$|  database_dir: /var/lib/divan|' docs/divan.yaml > $(D)$(SYSCONFDIR)/divan/divan.yaml && \
	  chmod 640 $(D)$(SYSCONFDIR)/divan/divan.yaml; }
	$(FILL) docs/systemd/divan.service > $(D)$(UNITDIR)/divan.service
	$(FILL) docs/systemd/divan.sysusers > $(D)$(SYSUSERS)/divan.conf
	$(FILL) docs/systemd/divan.tmpfiles > $(D)$(TMPFILES)/divan.conf

settings: all
	$(BUILD)/divand --settings > docs/divan.yaml

# ---- Tests ----

# tests/unit/test_LAYER_NAME.c links the archives of LAYER and below.
unit_base    := base
unit_http    := http base
unit_store   := store base
unit_query   := query base
unit_script  := script base
unit_db      := db store base
unit_views   := views db script query store base
unit_replicator := replicator db script query store base
unit_httpapi := httpapi http replicator views db script query store base
UNIT_BINS    := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
# tests/fuzz/fuzz_NAME.c becomes test_fuzz_NAME, which runs its corpus, and with `make fuzz` fuzz_NAME, which looks for more.
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS    := $(FUZZ_NAMES:%=$(BUILD)/tests/test_fuzz_%)
POWER_BINS   := $(BUILD)/tests/crash/power.so $(BUILD)/tests/crash/power_disk
SHIMS        := $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/lib/*_shim.c))
unit: $(UNIT_BINS) $(FUZZ_BINS) $(BUILD)/tests/sim/sim $(POWER_BINS) $(SHIMS)

# What is preloaded into a divand: it sets the wall clock, tells what malloc has given out, and the like.
$(SHIMS): $(BUILD)/%.so: %.c tests/lib/shim.h
	@mkdir -p $(@D)
	@echo '  link    $@'
	@$(CC) $(CPPFLAGS) $(CFLAGS) -O2 -fPIC -shared -o $@ $<

# What records a disk, and what makes it as it may be after a power cut.
$(BUILD)/tests/crash/power.so: tests/crash/power_shim.c tests/crash/power_log.h
	@mkdir -p $(@D)
	@echo '  link    $@'
	@$(CC) $(CPPFLAGS) $(CFLAGS) -O2 -fPIC -shared -o $@ $<
$(BUILD)/tests/crash/power_disk: tests/crash/power_disk.c tests/crash/power_log.h
	@mkdir -p $(@D)
	@echo '  link    $@'
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(OPT) -fno-lto $(HARDEN) $(LDFLAGS) -o $@ $<

# The simulation.
$(BUILD)/tests/sim/sim: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/sim/*.c)) $(call archives,$(unit_replicator))
	@echo '  link    $@'
	@$(CC) $(OPT) -fno-lto $(SAN) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

$(FUZZ_BINS): $(BUILD)/tests/test_fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/driver.o $(call archives,$(LIBS))
	@echo '  link    $@'
	@$(CC) $(OPT) -fno-lto $(SAN) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(call archives,$(LIBS))
	@echo '  link    $@'
	@$(CC) $(OPT) $(subst fuzzer-no-link,fuzzer,$(SAN)) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LDLIBS)

.SECONDEXPANSION:
$(BUILD)/tests/test_%: tests/unit/test_%.c $$(foreach l,$$(unit_$$(firstword $$(subst _, ,$$*))),$(BUILD)/$$(l).a)
	@mkdir -p $(@D)
	@echo '  link    $@'
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(OPT) -fno-lto $(HARDEN) $(SAN) $(LDFLAGS) -o $@ $(filter %.c %.o %.a,$^) $(LDLIBS)

test: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all unit web $(TORTURE_SHORT:%=$(TORTURE_DIR)/%)
	@tests/run --build $(BUILD)

SIZE_MIB ?= 1024
test-large: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@SIZE_MIB=$(SIZE_MIB) tests/run --build $(BUILD) large

check: deps
	@$(MAKE) --no-print-directory -j$$(nproc) all unit
	@tests/check $(BUILD)

asan:  SANITIZER := -fsanitize=address -fno-omit-frame-pointer
ubsan: SANITIZER := -fsanitize=undefined -fno-sanitize-recover=undefined
tsan:  SANITIZER := -fsanitize=thread
asan ubsan tsan: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-$@ OPT='-O1 -g' SAN='$(SANITIZER)' all unit web
	@tests/run --build build-$@ unit contract api

crash: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all unit
	@CRASH_KILLS=50 REPLICATE_KILLS=50 tests/run --build $(BUILD) crash

CUTS ?= 2000
power: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all $(POWER_BINS)
	@DIVAND=$(BUILD)/divand DIVAN_BUILD=$(BUILD) CUTS=$(CUTS) SEED=$(SEED) node tests/crash/power.mjs

# Files of tests/api/ by themselves, one after the other.
api = DIVAND=$(BUILD)/divand DIVAN_BUILD=$(BUILD) $(2) node --test --test-concurrency=1 --test-reporter ./tests/lib/reporter.mjs $(1:%=tests/api/%.test.mjs)

PAGE_SEEDS   ?= 20000
REPAIR_SEEDS ?= 150
DAMAGE_SEEDS ?= 20
damage: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all $(BUILD)/tests/test_store_pages $(BUILD)/tests/test_db_salvage $(BUILD)/tests/test_db_salvage_faults
	@for n in $$(seq $(or $(SEED),1) 5000 $$(($(or $(SEED),1) + $(PAGE_SEEDS) - 1))); do $(BUILD)/tests/test_store_pages 5000 $$n || exit 1; done
	@FAULTS_STEP=1 $(BUILD)/tests/test_db_salvage && FAULTS_STEP=1 $(BUILD)/tests/test_db_salvage_faults
	@$(call api,repair damage views-damage,SEED=$(or $(SEED),1) REPAIR_SEEDS=$(REPAIR_SEEDS) DAMAGE_SEEDS=$(DAMAGE_SEEDS))

MINUTES ?= 30
soak: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all $(BUILD)/tests/lib/malloc_shim.so
	@DIVAND=$(BUILD)/divand SOAK_SECONDS=$$(($(MINUTES) * 60)) SOAK_SEED=$(SEED) node tests/soak/soak.mjs

OVERLOAD_SECONDS ?= 20
overload: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(call api,overload,OVERLOAD_SECONDS=$(OVERLOAD_SECONDS) OVERLOAD_CONNECTIONS=400 OVERLOAD_SHARE=128)

exhaustion: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all $(SHIMS)
	@$(call api,exhaustion diskfull views-full readonly clock)

DATABASES ?= 10000
VIEWS     ?= 1000
scale: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(call api,scale views-scale,DATABASES=$(DATABASES) VIEWS=$(VIEWS) VIEW_DATABASES=$(VIEWS))

plants: deps-test
	@node tests/plants/run.mjs

ROUNDS ?= 5
HOSTILE ?= 120
protocol: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(call api,framing-http1 framing-http2 tls-misuse attack-http1 attack-http2 http2-heads hostile tls,FRAMING_ROUNDS=$(ROUNDS) HOSTILE_SECONDS=$(HOSTILE))

# The unit as it is installed; systemd counts from 0 (2.0 is 20 here).
privileges: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all $(SHIMS)
	@$(call api,privileges)
	@if command -v systemd-analyze >/dev/null; then \
	  dir=$$(mktemp -d) && $(MAKE) -s --no-print-directory install-files DESTDIR=$$dir PREFIX=/usr && \
	  systemd-analyze security --no-pager --offline=true --threshold=20 $$dir/usr/lib/systemd/system/divan.service >$$dir/exposure; \
	  status=$$?; tail -1 $$dir/exposure; rm -rf $$dir; exit $$status; \
	else echo 'no systemd-analyze: the unit is not judged'; fi

SEEDS ?= 5000
sim: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) $(BUILD)/tests/sim/sim
	@SIM_SEEDS=$(SEEDS) tests/run --build $(BUILD) sim

# Torture: the same objects, linked so that their calls can be made to fail; those of archives too, so the libraries that may be are (tests/torture/fail.c).
TORTURE_LIBS  := $(foreach l,$(LDLIBS),$(if $(filter -llmdb -lyaml -lzstd -lz -lpcre2-8 -ljansson,$(l)),$(l:-l%=-l:lib%.a),$(l)))
TORTURE_FLAGS := -fno-omit-frame-pointer -fno-optimize-sibling-calls
# TORTURE_SHORT: built by `make test`, for its suite torture. TORTURE_SKIP: those that the long form leaves out make millions of calls without another place, fail calls by themselves, or wait for seconds.
TORTURE_SHORT := divand test_db_rules test_views_rows test_replicator_jobs test_query_plan
TORTURE_SKIP  := test_base_httpc_loop test_base_httpc_peers test_base_faults test_db_faults test_db_faults_packed test_db_faults_ruled test_db_idkey test_db_model test_db_model_reopen test_db_packing test_db_revtree_cases \
                 test_db_salvage_faults test_query_plan_random test_query_plan_ranges test_query_memory test_replicator_documents test_replicator_faults test_replicator_many test_store_counts
TORTURE_TESTS ?= $(filter-out $(TORTURE_SKIP),$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c)))
# Of the API's tests those are left out that measure, take long, or install.
TORTURE_API   := $(filter-out $(patsubst %,tests/api/%.test.mjs,exhaustion fairness feeds-scale install overload privileges scale views-scale),$(wildcard tests/api/*.test.mjs))
TORTURE_DIR   := $(BUILD)/tests/torture
$(TORTURE_DIR)/fail.ld: tests/torture/fail.c tests/torture/fail.h
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) -O2 -g $(TORTURE_FLAGS) -fPIC -c -o $(@D)/fail.o $<
	@{ nm $(@D)/fail.o | sed -n 's/.* T __wrap_/--wrap=/p'; echo $(abspath $(@D)/fail.o); } >$@
$(TORTURE_DIR)/divand: $(BUILD)/httpapi/main.o $(call archives,$(LIBS)) $(TORTURE_DIR)/fail.ld | $(BUILD)/divan-js $(BUILD)/divan
	@echo '  link    $@'
	@$(CC) $(OPT) -fno-lto $(SAN) $(LDFLAGS) -Wl,@$(TORTURE_DIR)/fail.ld -o $@ $(filter %.o %.a,$^) $(TORTURE_LIBS)
	@ln -sf ../../divan-js ../../divan $(@D)/
# Some look for divan-js, or divand, one folder up.
$(TORTURE_DIR)/test_%: tests/unit/test_%.c $$(foreach l,$$(unit_$$(firstword $$(subst _, ,$$*))),$(BUILD)/$$(l).a) $(TORTURE_DIR)/fail.ld | $(BUILD)/divan-js $(BUILD)/divand
	@echo '  link    $@'
	@ln -sf ../divan-js ../divand $(BUILD)/tests/
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(OPT) -fno-lto $(HARDEN) $(SAN) $(LDFLAGS) -Wl,@$(TORTURE_DIR)/fail.ld -o $@ $(filter %.c %.a,$^) $(TORTURE_LIBS)

# MODES: first (what comes to a place first fails), later (what comes the third time), good (first, and all of its sort behind it).
MODES ?= first,later,good
torture: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-torture OPT='-O1 -g' SAN='-fsanitize=address,undefined -fno-sanitize-recover=undefined $(TORTURE_FLAGS)' \
	  build-torture/divan $(addprefix build-torture/tests/torture/,divand $(TORTURE_TESTS)) $(SHIMS:$(BUILD)/%=build-torture/%) web
	@all='--build build-torture --modes $(MODES) --step $(or $(STEP),1) --seed $(or $(SEED),0)'; bad=0; \
	  node tests/torture/life.mjs $$all --starts 10000 || bad=1; \
	  node tests/torture/unit.mjs $$all --jobs 2 $(TORTURE_TESTS) || bad=1; \
	  node tests/torture/api.mjs $$all --jobs 2 $(TORTURE_API) || bad=1; exit $$bad

# FUZZ: some targets. KEEP=1: what takes new branches goes into tests/fuzz/corpus/.
SECONDS ?= 60
JOBS    ?= 1
fuzz: deps-fuzz
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-fuzz CC=clang OPT='-O1 -g' \
	  SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' $(FUZZ_NAMES:%=build-fuzz/tests/fuzz_%)
	@node tests/fuzz/run.mjs --build build-fuzz --seconds $(SECONDS) --jobs $(JOBS) $(if $(UNTIL),--until $(UNTIL)) $(if $(KEEP),--keep) $(FUZZ)

# What is measured are db/ and base/.  The tests of COV_SKIP take minutes without optimisation, and no branch that the others do not take.
# COV_API=1: the contract and API tests as well.
COV_FLAGS := OPT='-O0 -g' SAN='--coverage -fprofile-update=atomic'
COV_SKIP  := test_store_counts test_replicator_many
COV_BINS  := $(filter-out $(COV_SKIP:%=build-cov/tests/%),$(patsubst tests/unit/%.c,build-cov/tests/%,$(foreach l,base store db replicator views,\
               $(wildcard tests/unit/test_$(l).c tests/unit/test_$(l)_*.c)))) $(FUZZ_NAMES:%=build-cov/tests/test_fuzz_%)
# These once more, with each call that can fail failing: as many as there is time for.
COV_TORTURE = $(filter test_base% test_db%,$(TORTURE_TESTS))
COV_SECONDS ?= 60
cov: deps-test
	@find build-cov -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-cov $(COV_FLAGS) $(COV_BINS) build-cov/divand build-cov/divan-js $(if $(COV_API),all web)
	@for t in $(COV_BINS); do FAULTS_STEP=1 timeout 600 $$t >build-cov/log 2>/dev/null || echo "$$t: status $$?"; done
	@$(if $(COV_API),tests/run --build build-cov contract api,true)
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-cov $(COV_FLAGS) $(COV_TORTURE:%=build-cov/tests/torture/%)
	@node tests/torture/unit.mjs --build build-cov --jobs $$(nproc) --seconds $(COV_SECONDS) $(COV_TORTURE) | tail -1
	@node tests/cov/report.mjs build-cov --missed build-cov/missed.txt --goal 90 base db

TIDY_FLAGS = -std=c11 -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -isystem http/missing -isystem /usr/include/webkitgtk-4.1
TIDY      ?= $(foreach l,$(LAYERS),$(wildcard $(l)/*.c))
tidy: deps-tidy
	@echo $(TIDY) | tr ' ' '\n' | xargs -P $$(nproc) -n 4 sh -c 'clang-tidy --quiet "$$@" -- $(TIDY_FLAGS) 2>/dev/null' tidy
	@cppcheck --quiet --std=c11 -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 --include=$$(echo '#include <sys/queue.h>' | $(CC) -M -xc - | grep -o '[^ ]*/sys/queue.h') \
	  --enable=warning,performance,portability --suppressions-list=tests/cppcheck.supp --error-exitcode=1 --template='{file}:{line}: {message} [{id}]' $(TIDY)

# Without _FORTIFY_SOURCE, whose memmove() memcheck takes for memcpy(); without the tests that measure time or start servers, and those that take many minutes: what those do, others do with fewer rounds.
VALGRIND_SKIP := test_base_httpc_loop test_base_httpc_peers test_db_idkey test_db_revtree test_db_revtree_cases test_db_packing test_db_model \
                 test_query_plan_ranges test_store_counts test_store_rewrite test_replicator_many test_replicator_peer_http_bulk test_script
VALGRIND_TESTS ?= $(filter-out $(VALGRIND_SKIP),$(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c)))
valgrind: deps-valgrind
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=build-valgrind LTO= OPT='-O2 -g' HARDEN=-fPIE build-valgrind/divand build-valgrind/divan-js $(VALGRIND_TESTS:%=build-valgrind/tests/%)
	@bad=0; for t in $(VALGRIND_TESTS); do \
	  PLAN_ROUNDS=100 timeout 1200 valgrind --quiet --suppressions=tests/valgrind.supp --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
	    build-valgrind/tests/$$t >build-valgrind/log 2>&1 && echo "$$t: clean" || { cat build-valgrind/log; echo "$$t: status $$?"; bad=1; }; \
	done; exit $$bad

interop: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all web
	@tests/run --build $(BUILD) interop

# ---- Benchmarks ----

bench: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) all $(patsubst bench/ceiling/%.c,$(BUILD)/bench/%,$(wildcard bench/ceiling/*.c))
	@node bench/run.mjs --build $(BUILD)

$(BUILD)/bench/ceiling_map: LDLIBS += -ljavascriptcoregtk-4.1
$(BUILD)/bench/ceiling_map: CPPFLAGS += -isystem /usr/include/webkitgtk-4.1
# It reads as divand does, with divand's own functions.
$(BUILD)/bench/ceiling_find: $(call archives,query base)
$(BUILD)/bench/%: bench/ceiling/%.c bench/ceiling/ceiling.h bench/ceiling/records.h
	@mkdir -p $(@D)
	@echo '  link    $@'
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(OPT) -fno-lto $(HARDEN) $(LDFLAGS) -o $@ $< $(filter %.a,$^) $(LDLIBS)

# ---- What a new machine needs ----

DEBS       := gcc libc6-dev libh2o-evloop-dev liblmdb-dev libyaml-dev libzstd-dev libssl-dev zlib1g-dev libicu-dev libpcre2-dev libcurl4-openssl-dev \
              libjansson-dev libjavascriptcoregtk-4.1-dev libseccomp-dev
DEBS_TEST  := chromium curl fonts-dejavu-core openssl
DEBS_BENCH := wrk nghttp2-client openssl
DEBS_FUZZ  := clang libclang-rt-dev
DEBS_TIDY  := clang-tidy cppcheck
DEBS_VALGRIND := valgrind
# Node 18 or newer: Debian's, unless there is another.
DEBS_NODE  := $(if $(shell command -v node),,nodejs) $(if $(shell command -v npm),,npm)

deps:
	@.ci/debs $(DEBS) $(DEBS_NODE)
deps-test:
	@.ci/debs $(DEBS) $(DEBS_NODE) $(DEBS_TEST)
deps-fuzz:
	@.ci/debs $(DEBS) $(DEBS_NODE) $(DEBS_FUZZ)
deps-tidy:
	@.ci/debs $(DEBS) $(DEBS_TIDY)
deps-valgrind:
	@.ci/debs $(DEBS) $(DEBS_NODE) $(DEBS_VALGRIND)
deps-bench:
	@.ci/debs $(DEBS) $(DEBS_NODE) $(DEBS_BENCH)

clean:
	rm -rf build build-*

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
