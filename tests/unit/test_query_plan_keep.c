/* Tests of the planner: a later page goes the way of the first, whatever the numbers of rows say, or none. */
#include "plantest.h"

static uint64_t sizes[MAX];
static uint64_t documents;

static uint64_t
say_rows(const struct query_index *index, const struct query_range *ranges, size_t n)
{
	(void)ranges;
	(void)n;
	return index != NULL ? sizes[index->number] : documents;
}

/* The plan that ${keep} asks for, without numbers; NULL: there is none. */
static struct query_plan *
keep(const struct made *m, const struct query_index *const *indexes, size_t n, size_t either)
{
	struct query_ask ask = m->ask;
	struct query_plan *p;

	ask.count = NULL;
	ask.keep = indexes;
	ask.nkeep = n;
	ask.keep_either = either;
	if (!CHECK_INT(query_plan_new(&ask, &p), 0))
		return NULL;
	if (p->found)
		return p;
	query_plan_free(p);
	return NULL;
}

static void
check_same(const struct query_plan *a, const struct query_plan *b)
{
	CHECK_STR(a->way, b->way);
	CHECK(a->chosen == b->chosen && a->covered == b->covered && a->exact == b->exact && a->either == b->either);
	CHECK(a->descending == b->descending);
	if (!CHECK_INT(a->nparts, b->nparts))
		return;
	for (size_t i = 0; i < a->nparts; i++) {
		const struct query_part *x = &a->parts[i], *y = &b->parts[i];

		CHECK(x->index == y->index && (x->branch == NULL) == (y->branch == NULL));
		if (!CHECK_INT(x->nranges, y->nranges))
			continue;
		for (size_t k = 0; k < x->nranges; k++) {
			CHECK(jstr_equal(x->ranges[k].low, y->ranges[k].low));
			CHECK(jstr_equal(x->ranges[k].high, y->ranges[k].high));
		}
	}
}

/* The plan by numbers is ${way}, and can be had again without them. */
static void
check_kept(struct given g, const char *way)
{
	const struct query_index *indexes[MAX];
	struct query_plan *again;
	struct made *m;

	g.rows = say_rows;
	m = make(&g);
	CHECK_STR(m->plan->way, way);
	for (size_t i = 0; i < m->plan->nparts; i++)
		indexes[i] = m->plan->parts[i].index;
	again = keep(m, indexes, m->plan->nparts, m->plan->either);
	if (CHECK(again != NULL))
		check_same(m->plan, again);
	query_plan_free(again);
	release(m);
}

static void
test_kept(void)
{
	const char *both = "{\"$or\":[{\"a\":1},{\"b\":2}],\"z\":{\"$gt\":0}}";
	const char *two = "{\"z\":1,\"$and\":[{\"$or\":[{\"x\":1},{\"y\":2}]},{\"$or\":[{\"b\":1},{\"a\":2}]}]}";
	const char *partial = "2/p a ?{\"k\":{\"$eq\":3}}";

	documents = 100000;
	sizes[0] = 10;
	sizes[1] = 20;
	check_kept((struct given){.selector = both, .indexes = "1/a a|2/b b"}, "union");
	check_kept((struct given){.selector = both, .indexes = "1/ab a|2/b b|3/b b z"}, "union");
	check_kept((struct given){.selector = two, .indexes = "1/a a|2/b b"}, "union");
	check_kept((struct given){.selector = "{\"a\":1,\"k\":3}", .indexes = partial}, "index");
	check_kept((struct given){.selector = "{\"a\":{\"$in\":[1,2]}}", .indexes = "1/a a"}, "ranges");
	check_kept((struct given){.selector = "{\"a\":1}", .indexes = "1/a a", .fields = "a", .sort = "a"}, "index");
	check_kept((struct given){.selector = "{\"a\":1,\"b\":1}", .indexes = "1/ab a b|2/b b"}, "index");
	check_kept(
	    (struct given){.selector = "{\"a\":1}", .indexes = "2/p a ?{\"k\":{\"$eq\":3}}", .use_ddoc = "_design/2"},
	    "index");
	/* An index that reads less than CouchDB's, and ids that do. */
	sizes[0] = 5000;
	check_kept((struct given){.selector = "{\"a\":1,\"b\":1}", .indexes = "1/a a|2/b b"}, "index");
	documents = 1;
	check_kept((struct given){.selector = "{\"a\":1,\"_id\":\"x\"}", .indexes = "1/a a"}, "all_docs");
}

/* What cannot be had any more, or never could. */
static void
test_not_kept(void)
{
	struct given g = {.selector = "{\"a\":1,\"$or\":[{\"b\":2},{\"c\":3}]}",
	    .indexes = "1/a a|2/b b|3/c c|4/z z|5/p b ?{\"k\":{\"$eq\":3}}"};
	struct made *m = make(&g);
	const struct query_index *ix = m->indexes;
	const struct query_index *good[] = {&ix[1], &ix[2]}, *column[] = {&ix[1], &ix[3]}, *filter[] = {&ix[4], &ix[2]},
				 *three[] = {&ix[1], &ix[2], &ix[0]};
	struct query_plan *p = keep(m, good, 2, 1);

	CHECK(p != NULL);
	query_plan_free(p);
	CHECK(keep(m, good, 2, 0) == NULL);       /* no $or */
	CHECK(keep(m, good, 2, 9) == NULL);       /* no condition */
	CHECK(keep(m, three, 3, 1) == NULL);      /* as many branches are not there */
	CHECK(keep(m, column, 2, 1) == NULL);     /* the branch wants no such column */
	CHECK(keep(m, filter, 2, 1) == NULL);     /* nor has it the filter */
	CHECK(keep(m, &column[1], 1, 0) == NULL); /* the selector neither */
	CHECK(keep(m, &filter[0], 1, 0) == NULL);
	m->ask.nindexes = 0;
	CHECK(keep(m, good, 1, 0) == NULL); /* it is gone */
	release(m);
	/* No union keeps the order of a sort. */
	g.sort = "a";
	m = make(&g);
	good[0] = &m->indexes[1];
	good[1] = &m->indexes[2];
	CHECK(keep(m, good, 2, 1) == NULL);
	release(m);
}

int
main(void)
{
	test_kept();
	test_not_kept();
	return check_done();
}
