/* Every revision id recorded from CouchDB, and the parsing of ids. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "db/doc.h"
#include "db/rev.h"
#include "check.h"

#define VECTORS "tests/data/revids.jsonl"

/* The body as sent: "body", or "pieces" of [text, times]. */
static void
put_body(struct buf *b, json_t *v)
{
	json_t *pieces = json_object_get(v, "pieces"), *piece;
	size_t i;

	if (pieces == NULL)
		buf_puts(b, json_string_value(json_object_get(v, "body")));
	json_array_foreach(pieces, i, piece)
	{
		json_int_t times = json_integer_value(json_array_get(piece, 1));

		for (json_int_t k = 0; k < times; k++)
			buf_puts(b, json_string_value(json_array_get(piece, 0)));
	}
}

static size_t
recorded_atts(json_t *v, struct rev_att *atts, unsigned char md5[][64], size_t max)
{
	json_t *list = json_object_get(v, "attachments"), *a;
	size_t i, n = 0;

	json_array_foreach(list, i, a)
	{
		const char *digest = json_string_value(json_object_get(a, "digest"));
		const char *name = json_string_value(json_object_get(a, "name"));
		const char *type = json_string_value(json_object_get(a, "content_type"));
		struct buf b = {.data = (char *)md5[n], .cap = 64, .max = 64};

		if (n == max || !CHECK(base64_get(&b, digest + 4, strlen(digest) - 4) == 0) || !CHECK_INT(b.len, 16))
			break;
		atts[n] = (struct rev_att){name, strlen(name), type, strlen(type), md5[n]};
		n++;
	}
	return n;
}

static void
check_vector(json_t *v)
{
	const char *parent = json_string_value(json_object_get(v, "parent"));
	const char *want = json_string_value(json_object_get(v, "rev"));
	const char *id = json_string_value(json_object_get(v, "id"));
	int deleted = json_is_true(json_object_get(v, "deleted"));
	struct rev_att atts[8];
	unsigned char md5[8][64];
	size_t natts = recorded_atts(v, atts, md5, 8);
	struct revbuf parent_buf, made;
	struct rev parent_rev, rev;
	struct errtext why;
	struct doc_in doc;
	struct arena *a;
	struct buf b, text;
	struct json j;

	if (!CHECK(arena_new(64u << 20, &a) == 0))
		return;
	buf_init(&b, 1u << 20);
	buf_init(&text, 512);
	put_body(&b, v);
	json_init(&j, b.data, b.len);
	if (!CHECK_INT(doc_parse(&j, a, &doc, &why), 0) || !CHECK_INT(json_end(&j), 0))
		fprintf(stderr, "%s: %s\n", id, why.text);
	CHECK_INT(doc.deleted, deleted);
	CHECK_INT(doc.natts, natts);
	if (parent != NULL) {
		CHECK_INT(rev_parse(parent, strlen(parent), &parent_buf), 0);
		parent_rev = rev_of(&parent_buf);
	}
	CHECK_INT(rev_make(doc.deleted, parent != NULL ? &parent_rev : NULL, doc.body_etf.s, doc.body_etf.len, atts,
		      natts, &made),
	    0);
	rev = rev_of(&made);
	rev_put(&text, &rev);
	if (!CHECK_MEM(text.data, text.len, want, strlen(want)))
		fprintf(stderr, "%s: %s\n", id, json_string_value(json_object_get(v, "note")));
	buf_release(&text);
	buf_release(&b);
	arena_free(a);
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
		json_t *v = json_loads(line, 0, NULL);

		if (CHECK(v != NULL))
			check_vector(v);
		json_decref(v);
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

int
main(void)
{
	test_vectors();
	test_parse();
	test_order();
	return check_done();
}
