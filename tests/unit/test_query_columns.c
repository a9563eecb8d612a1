/* Tests of the columns of an index: keys of documents, and documents of keys. */
#include <stdlib.h>

#include "check.h"
#include "query/plan.h"
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

/* The key of ${doc}; NULL: it has none. */
static void
check_key(const char *paths, const char *doc, const char *want)
{
	struct query_columns *c = open_columns(paths);
	struct buf out;
	int has = -1;

	buf_init(&out, 1 << 16);
	buf_puts(&out, "x");
	CHECK_INT(query_columns_key(c, (struct jstr){doc, strlen(doc)}, &out, &has), 0);
	CHECK_INT(has, want != NULL);
	CHECK_MEM(out.data + 1, out.len - 1, want != NULL ? want : "", want != NULL ? strlen(want) : 0);
	buf_release(&out);
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
	struct buf out;
	int has;

	buf_init(&out, 100);
	for (int i = 0; i < 3; i++) {
		buf_clear(&out);
		CHECK_INT(query_columns_key(c, (struct jstr){"{\"a\":{\"b\":1},\"c\":2}", 19}, &out, &has), 0);
		CHECK_INT(has, 1);
		CHECK_MEM(out.data, out.len, "[1,2]", 5);
		CHECK_INT(query_columns_key(c, (struct jstr){"{\"a\":{},\"c\":2}", 14}, &out, &has), 0);
		CHECK_INT(has, 0);
		CHECK_INT(query_columns_key(c, (struct jstr){"{\"c\":2}", 7}, &out, &has), 0);
		CHECK_INT(has, 0);
		CHECK_MEM(out.data, out.len, "[1,2]", 5);
	}
	CHECK(query_columns_key(c, (struct jstr){"{\"c\":2,", 7}, &out, &has) == ERR_BAD_JSON);
	CHECK(query_columns_key(c, (struct jstr){"{\"c\"", 4}, &out, &has) == ERR_BAD_JSON);
	buf_release(&out);
	buf_init(&out, 6);
	CHECK(query_columns_key(c, (struct jstr){"{\"a\":{\"b\":1234},\"c\":2}", 22}, &out, &has) == ERR_TOO_LARGE);
	buf_release(&out);
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
	test_docs();
	test_errors();
	return check_done();
}
