/* Every revision id recorded from CouchDB, and the parsing of ids. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "db/doc.h"
#include "db/rev.h"
#include "check.h"

#define VECTORS "tests/data/revids.jsonl"

#define ATTS_MAX 4

/* One line of the file.  Strings are the arena's or the line's. */
struct vector {
	struct jstr id, parent, want;
	int has_parent, deleted;
	struct buf body;
	struct rev_att atts[ATTS_MAX];
	unsigned char md5[ATTS_MAX][64];
	size_t natts;
};

static struct arena *arena;

static struct jstr
string(struct jread *j)
{
	struct jstr s = {"", 0};
	struct buf scratch;

	buf_init_arena(&scratch, arena, 1u << 20);
	CHECK_INT(jread_string(j, &scratch, &s), 0);
	return s;
}

static int
key_is(struct jstr key, const char *word)
{
	return key.len == strlen(word) && memcmp(key.s, word, key.len) == 0;
}

/* "pieces": [[text, times], ...] */
static void
read_pieces(struct jread *j, struct buf *body)
{
	CHECK_INT(jread_array_begin(j), 0);
	while (jread_array_next(j) == 0) {
		struct jstr text;
		uint64_t times = 0;

		CHECK_INT(jread_array_begin(j), 0);
		CHECK_INT(jread_array_next(j), 0);
		text = string(j);
		CHECK_INT(jread_array_next(j), 0);
		CHECK_INT(jread_u64(j, &times), 0);
		CHECK_INT(jread_array_next(j), ERR_END);
		while (times-- > 0)
			buf_put(body, text.s, text.len);
	}
}

static void
read_att(struct jread *j, struct buf *scratch, struct rev_att *att, unsigned char *md5)
{
	struct jstr key;

	CHECK_INT(jread_object_begin(j), 0);
	while (jread_object_next(j, scratch, &key) == 0) {
		struct buf b = {.data = (char *)md5, .cap = 64, .max = 64};
		struct jstr s;

		if (key_is(key, "length")) {
			CHECK_INT(jread_skip(j, NULL), 0);
			continue;
		}
		s = string(j);
		if (key_is(key, "name")) {
			att->name = s.s;
			att->name_len = s.len;
		} else if (key_is(key, "content_type")) {
			att->type = s.s;
			att->type_len = s.len;
		} else if (CHECK(key_is(key, "digest") && s.len > 4)) {
			CHECK_INT(base64_get(&b, s.s + 4, s.len - 4), 0);
			CHECK_INT(b.len, 16);
			att->md5 = md5;
		}
	}
}

static void
read_vector(struct jread *j, struct vector *v)
{
	struct buf scratch;
	struct jstr key;

	*v = (struct vector){0};
	buf_init_arena(&v->body, arena, 1u << 20);
	buf_init_arena(&scratch, arena, 1u << 20);
	CHECK_INT(jread_object_begin(j), 0);
	while (jread_object_next(j, &scratch, &key) == 0) {
		if (key_is(key, "id")) {
			v->id = string(j);
		} else if (key_is(key, "rev")) {
			v->want = string(j);
		} else if (key_is(key, "parent") && jread_peek(j) == JREAD_STRING) {
			v->parent = string(j);
			v->has_parent = 1;
		} else if (key_is(key, "deleted")) {
			CHECK_INT(jread_bool(j, &v->deleted), 0);
		} else if (key_is(key, "body")) {
			struct jstr s = string(j);

			buf_put(&v->body, s.s, s.len);
		} else if (key_is(key, "pieces")) {
			read_pieces(j, &v->body);
		} else if (key_is(key, "attachments")) {
			CHECK_INT(jread_array_begin(j), 0);
			while (jread_array_next(j) == 0 && CHECK(v->natts < ATTS_MAX)) {
				read_att(j, &scratch, &v->atts[v->natts], v->md5[v->natts]);
				v->natts++;
			}
		} else {
			CHECK_INT(jread_skip(j, NULL), 0);
		}
	}
	CHECK_INT(jread_end(j), 0);
}

static void
check_vector(const struct vector *v)
{
	struct revbuf parent_buf, made;
	struct rev parent, rev;
	struct errtext why;
	struct doc_in doc;
	struct buf text;
	struct jread j;

	buf_init(&text, 512);
	jread_init(&j, v->body.data, v->body.len);
	if (!CHECK_INT(doc_parse(&j, arena, &doc, &why), 0) || !CHECK_INT(jread_end(&j), 0))
		fprintf(stderr, "%.*s: %s\n", (int)v->id.len, v->id.s, why.text);
	CHECK_INT(doc.deleted, v->deleted);
	CHECK_INT(doc.natts, v->natts);
	if (v->has_parent) {
		CHECK_INT(rev_parse(v->parent.s, v->parent.len, &parent_buf), 0);
		parent = rev_of(&parent_buf);
	}
	CHECK_INT(rev_make(doc.deleted, v->has_parent ? &parent : NULL, doc.body_etf.s, doc.body_etf.len, v->atts,
		      v->natts, &made),
	    0);
	rev = rev_of(&made);
	CHECK_INT(rev_put(&text, &rev), 0);
	if (!CHECK_MEM(text.data, text.len, v->want.s, v->want.len))
		fprintf(stderr, "%.*s\n", (int)v->id.len, v->id.s);
	buf_release(&text);
}

static void
test_vectors(void)
{
	FILE *f = fopen(VECTORS, "r");
	char line[8192];
	int n = 0;

	if (!CHECK(f != NULL))
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		struct vector v;
		struct jread j;

		arena_reset(arena);
		jread_init(&j, line, strlen(line));
		read_vector(&j, &v);
		check_vector(&v);
		n++;
	}
	fclose(f);
	CHECK_INT(n, 108);
}

static void
round_trip(const char *s, const char *want)
{
	struct revbuf rb;
	struct rev r;
	struct buf b;

	buf_init(&b, 512);
	if (CHECK_INT(rev_parse(s, strlen(s), &rb), 0)) {
		r = rev_of(&rb);
		CHECK_INT(rev_put(&b, &r), 0);
		CHECK_MEM(b.data, b.len, want, strlen(want));
	}
	buf_release(&b);
}

static void
test_parse(void)
{
	static const char *const bad[] = {"", "-", "1", "1-", "-abc", "0-abc", "x-abc", "1x-abc", " 1-abc",
	    "9007199254740992-abc", "99999999999999999999999-abc", "1-zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"};
	char long_id[2 + LIMIT_REV_LEN + 1];
	struct revbuf rb;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(rev_parse(bad[i], strlen(bad[i]), &rb), ERR_BAD_REV);
	round_trip("1-abc", "1-abc");
	round_trip("01-abc", "1-abc");
	round_trip("7-a-b", "7-a-b");
	round_trip("9007199254740991-x", "9007199254740991-x");
	round_trip("1-ABCDEFabcdef0123456789ABCDEFabcd", "1-abcdefabcdef0123456789abcdefabcd");
	memcpy(long_id, "1-", 2);
	memset(long_id + 2, 'x', LIMIT_REV_LEN + 1);
	CHECK_INT(rev_parse(long_id, 2 + LIMIT_REV_LEN, &rb), 0);
	CHECK_INT(rev_parse(long_id, 3 + LIMIT_REV_LEN, &rb), ERR_BAD_REV);
}

static void
test_order(void)
{
	static const char *const rising[] = {"1-a", "1-ab", "1-b", "2-a", "10-a"};
	struct revbuf a, b;

	for (size_t i = 0; i < 5; i++) {
		for (size_t k = 0; k < 5; k++) {
			struct rev ra, rb;

			CHECK_INT(rev_parse(rising[i], strlen(rising[i]), &a), 0);
			CHECK_INT(rev_parse(rising[k], strlen(rising[k]), &b), 0);
			ra = rev_of(&a);
			rb = rev_of(&b);
			CHECK((rev_cmp(&ra, &rb) < 0) == (i < k));
			CHECK((rev_cmp(&ra, &rb) > 0) == (i > k));
			CHECK_INT(rev_equal(&ra, &rb), i == k);
		}
	}
}

/* The terms of generations that CouchDB's files do not reach: what is hashed is put together here byte by byte. */
static void
test_generations(void)
{
	static const struct {
		uint64_t gen;
		const char *term;
		size_t len;
	} cases[] = {{255, "\x61\xff", 2}, {256, "\x62\x00\x00\x01\x00", 5}, {INT32_MAX, "\x62\x7f\xff\xff\xff", 5},
	    {UINT64_C(1) << 31, "\x6e\x04\x00\x00\x00\x00\x80", 7},
	    {LIMIT_REV_GEN - 1, "\x6e\x07\x00\xfe\xff\xff\xff\xff\xff\x1f", 10}};
	unsigned char md5[MD5_LEN];
	struct revbuf made;
	struct buf b;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct rev parent = {cases[i].gen, (const unsigned char *)"abc", 3};

		buf_init(&b, 1000);
		buf_put(&b, "\x83l\0\0\0\5d\0\5false", 14);
		buf_put(&b, cases[i].term, cases[i].len);
		buf_put(&b, "m\0\0\0\3abc", 8);
		buf_put(&b, "h\1j", 3);
		buf_put(&b, "jj", 2);
		hash_md5(b.data, b.len, md5);
		buf_release(&b);
		CHECK_INT(rev_make(0, &parent, "h\1j", 3, NULL, 0, &made), 0);
		CHECK_MEM(made.id, made.len, md5, MD5_LEN);
		CHECK(made.gen == cases[i].gen + 1);
	}
}

/* Into buffers of each size: whole, or not at all. */
static void
test_full(void)
{
	static const char *const texts[] = {
	    "1-0123456789abcdef0123456789abcdef", "10-0123456789abcdef0123456789abcdef", "3-plain"};
	struct revbuf parsed;
	struct rev rev;
	struct buf b;
	int err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CHECK_INT(rev_parse(texts[i], strlen(texts[i]), &parsed), 0);
		rev = rev_of(&parsed);
		for (size_t max = 0; max < 40; max++) {
			buf_init(&b, max);
			err = rev_put(&b, &rev);
			CHECK_INT(err, max < strlen(texts[i]) ? ERR_TOO_LARGE : 0);
			if (err == 0)
				CHECK_MEM(b.data, b.len, texts[i], strlen(texts[i]));
			buf_release(&b);
		}
	}
}

static void
test_refused(void)
{
	static const char *const bad[] = {"", "1", "-a", "1-", "0-a", "x-a", "1x-a", "1- a", "1-a b", "1-\"", "1-a\\",
	    "1-\x7f", "1-\xc3\xa9", "9007199254740992-a", "99999999999999999999999-a",
	    "1-0123456789abcdef0123456789abcdeg", "1-0123456789abcdef0123456789abcde/",
	    "1-0123456789abcdef0123456789abcde:", "1-0123456789abcdef0123456789abcde@",
	    "1-0123456789abcdef0123456789abcde`"};
	char longest[2 + LIMIT_REV_LEN + 1];
	struct revbuf out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(rev_parse(bad[i], strlen(bad[i]), &out), ERR_BAD_REV);
	memset(longest, 'r', sizeof(longest));
	memcpy(longest, "1-", 2);
	CHECK_INT(rev_parse(longest, 2 + LIMIT_REV_LEN, &out), 0);
	CHECK_INT(rev_parse(longest, 2 + LIMIT_REV_LEN + 1, &out), ERR_BAD_REV);
	CHECK_INT(rev_parse("9007199254740991-a", 18, &out), 0);
}

int
main(void)
{
	if (arena_new(64u << 20, &arena) != 0)
		return 1;
	test_vectors();
	test_parse();
	test_order();
	test_generations();
	test_full();
	test_refused();
	arena_free(arena);
	return check_done();
}
