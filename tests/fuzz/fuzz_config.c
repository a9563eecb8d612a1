/*
 * Configuration files: a YAML text is taken or refused with a line that says where; whatever was taken can be asked for, and
 * the same text again says the same.  The first byte says whether it is a file of ours, or what was kept.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz.h"
#include "httpapi/config_impl.h"

static int
compare(const char *section, const char *key, const char *value, void *cookie)
{
	const struct config *other = cookie;
	const char *again = config_shown(other, section, key), *got = config_get(other, section, key, NULL);

	FUZZ_CHECK(again != NULL && strcmp(again, value) == 0);
	FUZZ_CHECK(got == again || (got == NULL && *again == '\0'));
	(void)config_u64(other, section, key, 7);
	(void)config_bool(other, section, key, 1);
	return 0;
}

static int
load(const uint8_t *data, size_t len, enum config_layer layer, struct config **cp)
{
	static int fd = -1;
	struct errtext why = {""};
	char path[40];
	int err;

	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, len, 0) == (ssize_t)len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	FUZZ_CHECK(config_new(cp) == 0);
	err = config_file_load(*cp, layer, path, &why);
	FUZZ_CHECK(err == 0 || (err == ERR_BAD_REQUEST && why.text[0] != '\0'));
	return err;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum config_layer layer = len > 0 && data[0] % 2 == 1 ? CONFIG_KEPT : CONFIG_FILE;
	struct config *one, *two;
	int err;

	log_set_level(LOG_ERROR + 1);
	if (len == 0)
		return 0;
	err = load(data + 1, len - 1, layer, &one);
	FUZZ_CHECK(load(data + 1, len - 1, layer, &two) == err);
	FUZZ_CHECK(config_all(one, compare, two) == 0);
	FUZZ_CHECK(config_replace(two, one) == 0);
	config_free(one);
	config_free(two);
	return 0;
}
