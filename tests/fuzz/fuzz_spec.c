/*
 * What a replication is to do, as a request or a document says it: what is taken is bounded and whole, shows no credentials, and
 * is the same thing again under the same id.
 */
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "fuzz.h"
#include "replicator/spec.h"

#define ID_LEN 32u

static const struct rep_defaults defaults = {.server = "0123456789abcdef0123456789abcdef",
    .checkpoint_ms = 30000,
    .workers = 4,
    .batch = 500,
    .connections = 20,
    .retries = 5,
    .timeout_ms = 30000,
    .checkpoints = 1,
    .bulk_get = 1};

static void
check_end(const struct rep_end *end)
{
	struct buf b;
	size_t n;

	FUZZ_CHECK((end->url == NULL) != (end->name == NULL));
	for (size_t i = 0; i < end->nheaders; i++)
		FUZZ_CHECK(strpbrk(end->headers[i], "\r\n") == NULL && strchr(end->headers[i], ':') != NULL);
	if (end->url != NULL) {
		n = strlen(end->url);
		FUZZ_CHECK(strncasecmp(end->url, "http://", 7) == 0 || strncasecmp(end->url, "https://", 8) == 0);
		FUZZ_CHECK(end->url[n - 1] == '/');
	}
	buf_init(&b, 1u << 20);
	FUZZ_CHECK(spec_end_shown(end, &b) == 0 && buf_putc(&b, '\0') == 0);
	/* A password that stands nowhere else by chance. */
	if (end->password != NULL && strlen(end->password) > 8 && strstr(end->password, "*****") == NULL &&
	    (end->url == NULL || strstr(end->url, end->password) == NULL) &&
	    (end->user == NULL || strstr(end->user, end->password) == NULL))
		FUZZ_CHECK(strstr(b.data, end->password) == NULL);
	buf_release(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct arena *arena;
	struct rep_spec spec, again;
	struct errtext why = {""};
	char *text = fuzz_copy(data, len);
	int err;

	if (arena == NULL)
		FUZZ_CHECK(arena_new((size_t)64 << 20, &arena) == 0);
	arena_reset(arena);
	err = spec_parse((struct jstr){text, len}, &defaults, arena, &spec, &why);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_REQUEST || err == ERR_BAD_JSON || err == ERR_ILLEGAL_DB_NAME);
	if (err == 0) {
		check_end(&spec.source);
		check_end(&spec.target);
		FUZZ_CHECK(strlen(spec.id) >= ID_LEN && strspn(spec.id, "0123456789abcdef") == ID_LEN);
		FUZZ_CHECK(spec.workers > 0 && spec.batch > 0 && spec.connections > 0 && spec.timeout_ms > 0);
		FUZZ_CHECK(spec_parse((struct jstr){text, len}, &defaults, arena, &again, &why) == 0);
		FUZZ_CHECK(strcmp(spec.id, again.id) == 0);
	}
	free(text);
	return 0;
}
