/* Tests of the columns of an index: rows of documents, and documents of keys. */
#include <stdlib.h>

#include "base/limits.h"
#include "check.h"
#include "query/plan.h"
#include "query/query.h"
#include "words.h"

#define MAX 8

static struct query_columns *
open_columns(const char *paths)
{
	struct query_columns *c = NULL;
	struct jstr columns[MAX];

	CHECK_INT(query_columns_new(columns, words_split(paths, paths + strlen(paths), columns), &c), 0);
	return c;
}

struct row {
	struct buf scratch, key, sortkey;
};

static void
init_row(struct row *r, size_t max)
{
	buf_init(&r->scratch, max);
	buf_init(&r->key, max);
	buf_init(&r->sortkey, max);
}

static void
release_row(struct row *r)
{
	buf_release(&r->scratch);
	buf_release(&r->key);
	buf_release(&r->sortkey);
}

static int
make_row(struct query_columns *c, const char *doc, struct row *r, int *hasp)
{
	return query_columns_row(c, (struct jstr){doc, strlen(doc)}, &r->scratch, &r->key, &r->sortkey, hasp);
}

/* The row of ${doc} has the key ${want}, and its sort key; NULL: it has none.  What is in the buffers stays. */
static void
check_key(const char *paths, const char *doc, const char *want)
{
	struct query_columns *c = open_columns(paths);
	struct row r, wanted;
	int has = -1;

	init_row(&r, 1 << 16);
	init_row(&wanted, 1 << 16);
	buf_puts(&r.key, "x");
	buf_puts(&r.sortkey, "y");
	buf_puts(&wanted.sortkey, "y");
	CHECK_INT(make_row(c, doc, &r, &has), 0);
	CHECK_INT(has, want != NULL);
	CHECK_MEM(r.key.data + 1, r.key.len - 1, want != NULL ? want : "", want != NULL ? strlen(want) : 0);
	if (want != NULL)
		CHECK_INT(query_sortkey((struct jstr){want, strlen(want)}, &wanted.scratch, &wanted.sortkey), 0);
	CHECK_MEM(r.sortkey.data, r.sortkey.len, wanted.sortkey.data, wanted.sortkey.len);
	release_row(&r);
	release_row(&wanted);
	query_columns_free(c);
}

static void
check_doc(const char *paths, const char *key, const char *want)
{
	struct query_columns *c = open_columns(paths);
	struct buf out;

	buf_init(&out, 1 << 16);
	/* What another key left does not stay. */
	CHECK_INT(query_columns_doc(c, (struct jstr){key, strlen(key)}, (struct jstr){"other", 5}, &out), 0);
	buf_clear(&out);
	CHECK_INT(query_columns_doc(c, (struct jstr){key, strlen(key)}, (struct jstr){"i\"d", 3}, &out), 0);
	CHECK_MEM(out.data, out.len, want, strlen(want));
	buf_release(&out);
	query_columns_free(c);
}

static void
test_keys(void)
{
	const char *doc = "{\"_id\":\"d\",\"_rev\":\"1-a\",\"a\":1,\"b\":{\"c\":[1,{\"x\":\"\\n\"},3],\"d\":null},\"e."
			  "f\":true,\"\":{}}";

	check_key("a", doc, "[1]");
	check_key("b.d a", doc, "[null,1]");
	check_key("b", doc, "[{\"c\":[1,{\"x\":\"\\n\"},3],\"d\":null}]");
	check_key(
	    "b b.d b", doc, "[{\"c\":[1,{\"x\":\"\\n\"},3],\"d\":null},null,{\"c\":[1,{\"x\":\"\\n\"},3],\"d\":null}]");
	check_key("b.c.1.x", doc, "[\"\\n\"]");
	check_key("b.c.2 b.c.0", doc, "[3,1]");
	check_key("e\\.f", doc, "[true]");
	check_key("_id _rev", doc, "[\"d\",\"1-a\"]");
	check_key("z", doc, NULL);
	check_key("a z", doc, NULL);
	check_key("e.f", doc, NULL);
	check_key("a.b", doc, NULL);
	check_key("b.c.3", doc, NULL);
	check_key("b.c.-1", doc, NULL);
	check_key("b.c.x", doc, NULL);
	check_key("a", "{}", NULL);
}

/* One finder for many documents. */
static void
test_again(void)
{
	struct query_columns *c = open_columns("a.b c");
	struct row r;
	int has;

	init_row(&r, 100);
	for (int i = 0; i < 3; i++) {
		buf_clear(&r.key);
		CHECK_INT(make_row(c, "{\"a\":{\"b\":1},\"c\":2}", &r, &has), 0);
		CHECK_INT(has, 1);
		CHECK_MEM(r.key.data, r.key.len, "[1,2]", 5);
		CHECK_INT(make_row(c, "{\"a\":{},\"c\":2}", &r, &has), 0);
		CHECK_INT(has, 0);
		CHECK_INT(make_row(c, "{\"c\":2}", &r, &has), 0);
		CHECK_INT(has, 0);
		CHECK_MEM(r.key.data, r.key.len, "[1,2]", 5);
	}
	CHECK(make_row(c, "{\"c\":2,", &r, &has) == ERR_BAD_JSON);
	CHECK(make_row(c, "{\"c\"", &r, &has) == ERR_BAD_JSON);
	release_row(&r);
	init_row(&r, 6);
	CHECK(make_row(c, "{\"a\":{\"b\":1234},\"c\":2}", &r, &has) == ERR_TOO_LARGE);
	release_row(&r);
	query_columns_free(c);
}

/* A row that is too long has the beginning of its sort key, and no key; one that is just short enough has all of both. */
static void
check_long(struct query_columns *c, const char *unit, unsigned n, unsigned *cutp)
{
	struct buf doc, json, scratch, whole;
	struct row r;
	size_t len;
	int has = 0, cut;

	buf_init(&doc, 1 << 20);
	buf_init(&json, 1 << 20);
	buf_init(&scratch, 1 << 20);
	buf_init(&whole, 1 << 20);
	init_row(&r, 1 << 20);
	buf_puts(&json, "[1,\"");
	for (unsigned i = 0; i < n; i++)
		buf_puts(&json, unit);
	buf_puts(&json, "\"]");
	buf_printf(&doc, "{\"a\":1,\"b\":%.*s}", (int)json.len - 4, json.data + 3);
	buf_putc(&doc, '\0');
	CHECK_INT(buf_failed(&doc), 0);
	CHECK_INT(query_sortkey((struct jstr){json.data, json.len}, &scratch, &whole), 0);
	CHECK_INT(make_row(c, doc.data, &r, &has), 0);
	CHECK_INT(has, 1);
	cut = json.len > LIMIT_INDEX_KEY || whole.len > LIMIT_INDEX_KEY;
	*cutp += (unsigned)cut;
	len = whole.len > LIMIT_INDEX_KEY ? LIMIT_INDEX_KEY : whole.len;
	CHECK_MEM(r.key.data, r.key.len, json.data, cut ? 0 : json.len);
	CHECK_MEM(r.sortkey.data, r.sortkey.len, whole.data, len);
	release_row(&r);
	buf_release(&doc);
	buf_release(&json);
	buf_release(&scratch);
	buf_release(&whole);
}

static void
test_long(void)
{
	/* ${n} units and some more: of the sort key there is too much, or of the JSON. */
	static const struct {
		const char *unit;
		unsigned n;
	} longs[] = {
	    {"k", 15600}, {"\xef\xb7\xba", 300}, {"\xc2\xad", 8180}, {"\xe4\xb8\xad", 5200}, {"e\xcc\x81", 5400}};
	struct query_columns *c = open_columns("a b");

	for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
		unsigned cut = 0, rounds = 400;

		for (unsigned n = 0; n < rounds; n++)
			check_long(c, longs[i].unit, longs[i].n + n, &cut);
		CHECK(cut > 0 && cut < rounds);
	}
	query_columns_free(c);
}

static void
test_docs(void)
{
	check_doc("a", "[1]", "{\"a\":1,\"_id\":\"i\\\"d\"}");
	check_doc("a.b a.c", "[1,{\"x\":2}]", "{\"a\":{\"b\":1,\"c\":{\"x\":2}},\"_id\":\"i\\\"d\"}");
	check_doc("a.b a", "[1,{\"b\":1}]", "{\"a\":{\"b\":1},\"_id\":\"i\\\"d\"}");
	check_doc("a.2", "[1]", "{\"a\":{\"2\":1},\"_id\":\"i\\\"d\"}");
	check_doc("e\\.f", " [ null ] ", "{\"e.f\":null,\"_id\":\"i\\\"d\"}");
	check_doc("_id a", "[\"i\\\"d\",7]", "{\"a\":7,\"_id\":\"i\\\"d\"}");
	check_doc("_rev", "[\"1-a\"]", "{\"_rev\":\"1-a\",\"_id\":\"i\\\"d\"}");
}

static void
test_errors(void)
{
	static const char *const bad[] = {"[1]", "[1,2,3]", "{}", "1", "", "[1,", "[1,2", "[1,2]x"};
	struct query_columns *c = open_columns("a b");
	struct jstr columns[] = {{"a..b", 4}, {"", 0}, {"a", 1}};
	struct query_columns *none = NULL;
	struct buf out;

	buf_init(&out, 1000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(query_columns_doc(c, (struct jstr){bad[i], strlen(bad[i])}, (struct jstr){"i", 1}, &out) ==
		      ERR_BAD_JSON);
	CHECK_INT(out.len, 0);
	for (size_t i = 0; i < 2; i++)
		CHECK(query_columns_new(&columns[i], 1, &none) == ERR_FIELD_NAME);
	CHECK(none == NULL);
	buf_release(&out);
	query_columns_free(c);
	query_columns_free(NULL);
}

int
main(void)
{
	test_keys();
	test_again();
	test_long();
	test_docs();
	test_errors();
	return check_done();
}
