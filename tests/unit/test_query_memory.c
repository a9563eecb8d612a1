/*
 * The n-th allocation fails, n = 1 until success: making selectors, columns and plans ends in ERR_NOMEM then, and nothing of it is left.  A
 * sanitizer has allocations of its own: under one this tests nothing but success.
 */
#include "check.h"
#include "mallocs.h"
#include "query/plan.h"

static long left = -1; /* allocations until one fails; -1: none does */
static long live;      /* that are not freed */

#ifdef MALLOCS_OWN
static int
is_refused(void)
{
	int refused = left == 0;

	left -= left >= 0;
	live += !refused;
	return refused;
}

void *
malloc(size_t size)
{
	return is_refused() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return is_refused() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	if (is_refused())
		return NULL;
	live -= p != NULL;
	return __libc_realloc(p, size);
}

void
free(void *p)
{
	live -= p != NULL;
	__libc_free(p);
}
#endif

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

/* So that unions are weighed. */
static void
count(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	(void)cookie, (void)ranges, (void)n;
	*rowsp = index != NULL && index->ncolumns == 1 ? 100 : 100000;
}

static int
run(const char *selector)
{
	static const struct jstr columns[] = {{"a", 1}, {"b", 1}};
	const struct query_index indexes[] = {
	    {.ddoc = str("_design/ab"), .name = str("ab"), .columns = columns, .ncolumns = 2},
	    {.ddoc = str("_design/b"), .name = str("b"), .columns = columns + 1, .ncolumns = 1, .number = 1},
	    {.ddoc = str("_design/z"),
		.name = str("z"),
		.columns = columns,
		.ncolumns = 1,
		.filter = str("{\"z\":{\"$gt\":1}}"),
		.number = 2}};
	struct query_ask ask = {.indexes = indexes, .nindexes = 3, .fields = columns, .nfields = 2, .count = count};
	struct query_selector *s = NULL;
	struct query_columns *c = NULL;
	struct query_plan *p = NULL;
	struct errtext why = {""};
	int err = query_selector_new(str(selector), &s, &why);

	ask.selector = s;
	if (err == 0)
		err = query_plan_new(&ask, &p);
	if (err == 0)
		err = query_columns_new(columns, 2, &c);
	query_columns_free(c);
	query_plan_free(p);
	query_selector_free(s);
	return err;
}

static void
fail_each(const char *selector)
{
	long before, rest = -1;
	int err = 0;

	/* What is opened once is opened now. */
	CHECK_INT(run(selector), 0);
	for (long n = 0; n < 5000 && rest < 0; n++) {
		before = live;
		left = n;
		err = run(selector);
		rest = left;
		left = -1;
		CHECK(live == before);
		if (rest < 0 && !CHECK_INT(err, ERR_NOMEM))
			fprintf(stderr, "  allocation %ld of %s\n", n, selector);
#ifndef MALLOCS_OWN
		break;
#endif
	}
	CHECK_INT(err, 0);
}

/* Regular expressions leave what a match took to each other. */
static void
test_many_regexes(void)
{
	static const char condition[] = "{\"a\":{\"$regex\":\"^(x|y)*z\"}},";
	struct query_doc doc = {.id = str("i"), .body = str("{\"a\":\"xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxy\"}")};
	struct query_selector *s;
	struct buf text;
	long before;
	int match;

	buf_init(&text, 1u << 20);
	buf_puts(&text, "{\"$or\":[");
	for (int i = 0; i < 100; i++)
		buf_puts(&text, condition);
	buf_puts(&text, "{\"b\":1}]}");
	CHECK_INT(buf_failed(&text), 0);
	CHECK_INT(query_selector_new((struct jstr){text.data, text.len}, &s, NULL), 0);
	before = live;
	CHECK_INT(query_selector_match(s, &doc, &match), 0);
	CHECK_INT(match, 0);
	CHECK(live - before < 10);
	query_selector_free(s);
	buf_release(&text);
}

int
main(void)
{
	test_many_regexes();
	fail_each("{\"a\":1,\"z\":{\"$gt\":1},\"b\":{\"$in\":[1,2,\"x\"]}}");
	fail_each("{\"$or\":[{\"a\":1,\"b\":2},{\"b\":{\"$beginsWith\":\"xy\"}}],\"c\":{\"$regex\":\"a.*\"}}");
	fail_each("{\"a\":{\"$elemMatch\":{\"$gt\":3}},\"b\":{\"$gte\":null},\"_id\":{\"$lt\":\"x\"}}");
	return check_done();
}
