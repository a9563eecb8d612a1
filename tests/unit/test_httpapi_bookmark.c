/* Bookmarks come back as they went out; whatever is cut, altered or none of ours is refused, and never read beyond its end. */
#include <stdlib.h>

#include "httpapi/find_bookmark.h"
#include "base/hash.h"
#include "base/limits.h"
#include "tests/unit/check.h"

static struct arena *a;

#define TEXT(s) ((struct jstr){s, sizeof(s) - 1})

static struct jstr
put(const struct find_bookmark *m)
{
	struct buf b;

	buf_init_arena(&b, a, 2 * LIMIT_BOOKMARK_LEN);
	CHECK_INT(find_bookmark_put(m, &b), 0);
	return (struct jstr){b.data, b.len};
}

static void
check_same(const struct find_bookmark *x, const struct find_bookmark *y)
{
	CHECK_INT(x->descending, y->descending);
	CHECK_INT(x->part, y->part);
	CHECK_INT(x->nparts, y->nparts);
	CHECK_INT(x->either, y->either);
	CHECK(memcmp(x->hashes, y->hashes, (size_t)x->nparts * sizeof(x->hashes[0])) == 0);
	CHECK(jstr_equal(x->ddoc, y->ddoc));
	CHECK(jstr_equal(x->name, y->name));
	CHECK(jstr_equal(x->key, y->key));
	CHECK(jstr_equal(x->id, y->id));
}

static void
test_there_and_back(void)
{
	const uint32_t hashes[LIMIT_FIND_PARTS] = {UINT32_MAX, 0, 1};
	const struct find_bookmark cases[] = {
	    {.nparts = 1, .hashes = hashes, .id = TEXT("a")},
	    {.descending = 1,
		.part = 63,
		.nparts = 64,
		.either = 7,
		.hashes = hashes,
		.ddoc = TEXT("_design/d"),
		.name = TEXT("n"),
		.key = TEXT("[1,\"x\\u0000\",{\"a\":null}]"),
		.id = TEXT("\xc3\xa9\x01")},
	};
	struct find_bookmark got;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK_INT(find_bookmark_read(put(&cases[i]), a, &got), 0);
		check_same(&cases[i], &got);
	}
}

static void
test_damaged(void)
{
	const uint32_t hashes[] = {1, 2};
	const struct find_bookmark m = {.nparts = 2,
	    .part = 1,
	    .hashes = hashes,
	    .ddoc = TEXT("_design/d"),
	    .name = TEXT("n"),
	    .key = TEXT("[1]"),
	    .id = TEXT("doc")};
	struct jstr text = put(&m);
	struct find_bookmark got;
	struct buf raw, again;

	for (size_t len = 0; len + 4 < text.len; len++)
		CHECK_INT(find_bookmark_read((struct jstr){text.s, len}, a, &got), ERR_BOOKMARK);
	buf_init_arena(&raw, a, 4096);
	CHECK_INT(base64_get(&raw, text.s, text.len), 0);
	buf_init_arena(&again, a, 4096);
	for (size_t at = 0; at < raw.len; at++) {
		raw.data[at] ^= 0x41;
		buf_clear(&again);
		CHECK_INT(base64_put(&again, raw.data, raw.len), 0);
		CHECK_INT(find_bookmark_read((struct jstr){again.data, again.len}, a, &got), ERR_BOOKMARK);
		raw.data[at] ^= 0x41;
	}
	CHECK_INT(find_bookmark_read(TEXT("nil"), a, &got), ERR_BOOKMARK);
	CHECK_INT(find_bookmark_read(TEXT("!!!"), a, &got), ERR_BOOKMARK);
	CHECK_INT(find_bookmark_read(TEXT(""), a, &got), ERR_BOOKMARK);
}

/* Right sums around lengths that lie: made by who knows the form. */
static void
test_forged(void)
{
	struct find_bookmark got;
	struct buf raw, text;

	for (unsigned seed = 0; seed < 20000; seed++) {
		unsigned char bytes[40];
		size_t n = 4 + (size_t)(rand() % 36);

		for (size_t i = 0; i < n; i++)
			bytes[i] = (unsigned char)rand();
		bytes[0] = 1;
		bytes[2] = 0;
		bytes[3] = 1;
		buf_init(&raw, 4096);
		buf_init(&text, 4096);
		buf_put(&raw, bytes, n);
		buf_put_u32be(&raw, hash_crc32c(0, bytes, n));
		CHECK_INT(base64_put(&text, raw.data, raw.len), 0);
		if (find_bookmark_read((struct jstr){text.data, text.len}, a, &got) == 0)
			CHECK(got.part < got.nparts && got.id.len <= n && got.key.len <= n);
		buf_release(&raw);
		buf_release(&text);
		arena_reset(a);
	}
}

/* A row that is cut has a sort key for a key, which has a bound; a key of a row that an older version made may have any length. */
static void
test_long_keys(void)
{
	const uint32_t hash = 1;
	struct find_bookmark m = {.nparts = 1, .hashes = &hash, .ddoc = TEXT("_design/d"), .id = TEXT("a")}, got;
	char *key = malloc(LIMIT_BOOKMARK_LEN);

	memset(key, '1', LIMIT_BOOKMARK_LEN);
	m.key = (struct jstr){key, LIMIT_BOOKMARK_LEN / 2};
	CHECK_INT(find_bookmark_read(put(&m), a, &got), 0);
	check_same(&m, &got);
	arena_reset(a);
	m.cut = 1;
	CHECK_INT(find_bookmark_read(put(&m), a, &got), ERR_BOOKMARK);
	arena_reset(a);
	m.key.len = LIMIT_INDEX_KEY;
	CHECK_INT(find_bookmark_read(put(&m), a, &got), 0);
	check_same(&m, &got);
	arena_reset(a);
	free(key);
}

/* What could not be read again does not go out: the longest name is taken back, and no longer one. */
static void
test_too_long(void)
{
	const uint32_t hash = 1;
	struct find_bookmark m = {.nparts = 1, .hashes = &hash, .ddoc = TEXT("d"), .id = TEXT("a")}, got;
	/* version, flags, part, nparts, either, hash, three short texts, the name's length, CRC */
	size_t most = LIMIT_BOOKMARK_LEN / 4 * 3 - (5 + 4 + 2 + 1 + 2 + 4 + 4);
	char *name = malloc(LIMIT_BOOKMARK_LEN);
	struct buf b;

	memset(name, 'n', LIMIT_BOOKMARK_LEN);
	m.name = (struct jstr){name, most};
	CHECK_INT(find_bookmark_read(put(&m), a, &got), 0);
	check_same(&m, &got);
	arena_reset(a);
	m.name.len++;
	buf_init(&b, 4 * LIMIT_BOOKMARK_LEN);
	CHECK_INT(find_bookmark_put(&m, &b), ERR_TOO_LARGE);
	CHECK_INT(b.len, 0);
	buf_release(&b);
	free(name);
}

int
main(void)
{
	if (arena_new((size_t)1 << 26, &a) != 0)
		return 1;
	test_there_and_back();
	test_damaged();
	test_forged();
	test_long_keys();
	test_too_long();
	arena_free(a);
	return check_done();
}
