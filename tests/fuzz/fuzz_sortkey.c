/*
 * Sort keys: of two JSON values, a line end between them, the keys are in the order in which the values are, and none is the
 * beginning of another.
 */
#include <string.h>

#include "base/buf.h"
#include "fuzz.h"
#include "query/query.h"

#define MAX ((size_t)1 << 20)

static int
sign(int n)
{
	return (n > 0) - (n < 0);
}

static int
key_of(struct jstr json, struct buf *out)
{
	struct buf scratch;
	int err;

	buf_init(&scratch, MAX);
	err = query_sortkey(json, &scratch, out);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON || err == ERR_TOO_LARGE);
	FUZZ_CHECK(err == 0 || out->len == 0);
	buf_release(&scratch);
	return err;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = fuzz_copy(data, len);
	struct buf one, two;
	struct jstr a, b;
	const char *nl;
	int order;

	nl = memchr(text, '\n', len);
	a = (struct jstr){text, nl != NULL ? (size_t)(nl - text) : len};
	b = nl != NULL ? (struct jstr){nl + 1, len - a.len - 1} : a;
	buf_init(&one, MAX);
	buf_init(&two, MAX);
	if (key_of(a, &one) == 0 && key_of(b, &two) == 0) {
		size_t n = one.len < two.len ? one.len : two.len;
		int by_key = memcmp(one.data, two.data, n);

		FUZZ_CHECK(by_key != 0 || one.len == two.len);
		FUZZ_CHECK(query_collate(a, b, &order) == 0 && sign(order) == sign(by_key));
	}
	buf_release(&one);
	buf_release(&two);
	free(text);
	return 0;
}
