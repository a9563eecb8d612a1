/* Revision ids: what is parsed is written as the same id again; both parsers agree; the order is one. */
#include <string.h>

#include "db/rev.h"
#include "fuzz.h"

static void
check_rev(const struct revbuf *r)
{
	struct rev rev = rev_of(r), back;
	struct revbuf again, copy;
	struct buf b;

	FUZZ_CHECK(r->gen >= 1 && r->gen <= LIMIT_REV_GEN && r->len >= 1 && r->len <= LIMIT_REV_LEN);
	buf_init(&b, REV_TEXT_MAX);
	FUZZ_CHECK(rev_put(&b, &rev) == 0);
	FUZZ_CHECK(rev_parse(b.data, b.len, &again) == 0);
	back = rev_of(&again);
	FUZZ_CHECK(rev_equal(&rev, &back) && rev_cmp(&rev, &back) == 0);
	buf_clear(&b);
	FUZZ_CHECK(rev_put_id(&b, &rev) == 0);
	FUZZ_CHECK(rev_parse_id(b.data, b.len, r->gen, &again) == 0);
	back = rev_of(&again);
	FUZZ_CHECK(rev_equal(&rev, &back));
	rev_copy(&copy, &rev);
	back = rev_of(&copy);
	FUZZ_CHECK(rev_equal(&rev, &back));
	buf_release(&b);
}

static int
sign(int n)
{
	return (n > 0) - (n < 0);
}

/* A child's revision id can be made of any parent but those of the highest generation. */
static void
check_child(const struct revbuf *r)
{
	static const char empty[] = "h\001j";
	struct rev parent = rev_of(r);
	struct revbuf child;

	if (r->gen == LIMIT_REV_GEN) {
		FUZZ_CHECK(rev_make(0, &parent, empty, sizeof(empty) - 1, NULL, 0, &child) == ERR_BAD_REV);
		return;
	}
	FUZZ_CHECK(rev_make(0, &parent, empty, sizeof(empty) - 1, NULL, 0, &child) == 0);
	FUZZ_CHECK(child.gen == r->gen + 1 && child.len == REV_MD5_LEN);
	check_rev(&child);
}

/* The input is one or two revision ids, with a line end between them. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *s = (const char *)data;
	const char *cut = len > 0 ? memchr(s, '\n', len) : NULL;
	size_t first = cut != NULL ? (size_t)(cut - s) : len;
	const char *dash = first > 0 ? memchr(s, '-', first) : NULL;
	struct revbuf a, b, hash;
	int ok = rev_parse(s, first, &a) == 0;

	if (ok) {
		check_rev(&a);
		check_child(&a);
		FUZZ_CHECK(dash != NULL && rev_parse_id(dash + 1, first - (size_t)(dash + 1 - s), a.gen, &hash) == 0);
		FUZZ_CHECK(hash.len == a.len && memcmp(hash.id, a.id, a.len) == 0);
	}
	if (rev_parse_id(s, first, 7, &hash) == 0)
		check_rev(&hash);
	if (cut != NULL && rev_parse(cut + 1, len - first - 1, &b) == 0 && ok) {
		struct rev ra = rev_of(&a), rb = rev_of(&b);

		FUZZ_CHECK(sign(rev_cmp(&ra, &rb)) == -sign(rev_cmp(&rb, &ra)));
		FUZZ_CHECK((rev_cmp(&ra, &rb) == 0) == rev_equal(&ra, &rb));
	}
	return 0;
}
