/*
 * Sort keys: of two JSON values, a line end between them, the keys are in the order in which the values are, and none is the
 * beginning of another; in the order of views, and in the raw one.
 */
#include <string.h>

#include "base/buf.h"
#include "fuzz.h"
#include "query/collate.h"
#include "query/query.h"

#define MAX ((size_t)1 << 20)

static int
sign(int n)
{
	return (n > 0) - (n < 0);
}

static int
key_of(struct jstr json, int raw, struct buf *out)
{
	struct buf scratch;
	int err;

	buf_init(&scratch, MAX);
	err = raw ? query_sortkey_raw(json, &scratch, out) : query_sortkey(json, &scratch, out);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON || err == ERR_TOO_LARGE);
	FUZZ_CHECK(err == 0 || out->len == 0);
	buf_release(&scratch);
	return err;
}

static void
check_pair(struct jstr a, struct jstr b, int raw)
{
	struct buf one, two;
	struct collate c;
	int order;

	collate_init(&c);
	c.raw = raw;
	buf_init(&one, MAX);
	buf_init(&two, MAX);
	if (key_of(a, raw, &one) == 0 && key_of(b, raw, &two) == 0) {
		size_t n = one.len < two.len ? one.len : two.len;
		int by_key = memcmp(one.data, two.data, n);

		FUZZ_CHECK(by_key != 0 || one.len == two.len);
		FUZZ_CHECK(collate_texts(&c, a, b, &order) == 0 && sign(order) == sign(by_key));
	}
	buf_release(&one);
	buf_release(&two);
	collate_release(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = fuzz_copy(data, len);
	struct jstr a, b;
	const char *nl;

	nl = memchr(text, '\n', len);
	a = (struct jstr){text, nl != NULL ? (size_t)(nl - text) : len};
	b = nl != NULL ? (struct jstr){nl + 1, len - a.len - 1} : a;
	check_pair(a, b, 0);
	check_pair(a, b, 1);
	free(text);
	return 0;
}
