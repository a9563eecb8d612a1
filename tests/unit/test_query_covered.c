/* Tests of what is printed from rows alone: it is what the document of the row and the wanted fields make. */
#include <stdlib.h>

#include "check.h"
#include "query/covered.h"
#include "words.h"

#define MAX 8

/* What an index and a query have of a row. */
struct both {
	struct query_columns *columns;
	struct query_fields *fields;
	struct query_covered *covered;
};

static struct both
open_both(const char *paths, const char *fields)
{
	struct both b = {0};
	struct jstr names[MAX];
	size_t n = words_split(paths, paths + strlen(paths), names);

	CHECK_INT(query_columns_new(names, n, &b.columns), 0);
	CHECK_INT(query_fields_new((struct jstr){fields, strlen(fields)}, &b.fields, NULL), 0);
	CHECK_INT(query_covered_new(n, b.columns, b.fields, &b.covered), 0);
	return b;
}

static void
close_both(struct both *b)
{
	query_columns_free(b->columns);
	query_fields_free(b->fields);
	query_covered_free(b->covered);
}

static void
check_row(struct both *b, const char *key, const char *id, const char *want)
{
	struct jstr k = {key, strlen(key)}, i = {id, strlen(id)};
	struct buf doc, slow, fast;

	buf_init(&doc, 1 << 16);
	buf_init(&slow, 1 << 16);
	buf_init(&fast, 1 << 16);
	buf_puts(&fast, "x");
	CHECK_INT(query_columns_doc(b->columns, k, i, &doc), 0);
	CHECK_INT(query_fields_put(b->fields, (struct jstr){doc.data, doc.len}, &slow), 0);
	CHECK_INT(query_covered_put(b->covered, k, i, &fast), 0);
	CHECK_MEM(fast.data + 1, fast.len - 1, slow.data, slow.len);
	CHECK_MEM(slow.data, slow.len, want, strlen(want));
	buf_release(&doc);
	buf_release(&slow);
	buf_release(&fast);
}

static void
test_rows(void)
{
	struct both b = open_both("a", "[\"_id\",\"a\"]");

	check_row(&b, "[1]", "x", "{\"_id\":\"x\",\"a\":1}");
	check_row(&b, "[ {\"b\":[1,{}],\"0\":\"0\"} ]", "", "{\"_id\":\"\",\"a\":{\"b\":[1,{}],\"0\":\"0\"}}");
	check_row(&b, "[null]", "i\"\n\xc3\xbc", "{\"_id\":\"i\\\"\\n\xc3\xbc\",\"a\":null}");
	check_row(&b, "[\"0\"]", "0", "{\"_id\":\"0\",\"a\":\"0\"}");
	close_both(&b);
	b = open_both("a b c", "[\"c\",\"a\"]");
	check_row(&b, "[1,2,3]", "x", "{\"c\":3,\"a\":1}");
	check_row(&b, "[[],\"\",{}]", "x", "{\"c\":{},\"a\":[]}");
	close_both(&b);
	b = open_both("o.b o.c p\\.q a.0", "[\"o.c\",\"p\\\\.q\",\"_id\",\"o.b\",\"a.0\",\"o.c\"]");
	check_row(&b, "[1,2,3,4]", "x", "{\"o\":{\"c\":2,\"b\":1},\"p.q\":3,\"_id\":\"x\",\"a\":{\"0\":4}}");
	close_both(&b);
	/* An id that is a column too, a column twice, names that look like values. */
	b = open_both("_id a a", "[\"a\",\"_id\"]");
	check_row(&b, "[\"y\",1,2]", "x", "{\"a\":2,\"_id\":\"x\"}");
	close_both(&b);
	b = open_both("1 0 \"", "[\"0\",\"1\",\"\\\"\",\"_id\"]");
	check_row(&b, "[5,6,7]", "x", "{\"0\":6,\"1\":5,\"\\\"\":7,\"_id\":\"x\"}");
	close_both(&b);
}

static void
test_within(void)
{
	struct both b = open_both("a.b a", "[\"a\"]");

	CHECK(b.covered == NULL);
	close_both(&b);
	/* Whatever way their names are written. */
	b = open_both("\\a a.b", "[\"a.b\"]");
	CHECK(b.covered == NULL);
	close_both(&b);
	b = open_both("a.b ab a\\.b", "[\"ab\"]");
	check_row(&b, "[1,2,3]", "x", "{\"ab\":2}");
	close_both(&b);
}

static void
test_errors(void)
{
	static const char *const bad[] = {"[1]", "[1,2,3]", "{}", "1", "", "[1,", "[1,2", "[1,2]x"};
	struct both b = open_both("a b", "[\"a\"]");
	struct buf out;

	buf_init(&out, 1000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(query_covered_put(b.covered, (struct jstr){bad[i], strlen(bad[i])}, (struct jstr){"i", 1},
			  &out) == ERR_BAD_JSON);
	CHECK_INT(out.len, 0);
	buf_release(&out);
	buf_init(&out, 5);
	CHECK(query_covered_put(b.covered, (struct jstr){"[1,2]", 5}, (struct jstr){"i", 1}, &out) == ERR_TOO_LARGE);
	buf_release(&out);
	close_both(&b);
	query_covered_free(NULL);
}

int
main(void)
{
	test_rows();
	test_within();
	test_errors();
	return check_done();
}
