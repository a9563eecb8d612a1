/* Tests of the planner: CouchDB's choice of an index, what _explain shows of it, and what the numbers of rows change. */
#include "plantest.h"

/* ---- What CouchDB 3.5 answered ---- */

#define THREE "idx-kp/kp kind price|idx-p/p price|idx-t/t title"

static void
test_recorded(void)
{
	check_plan((struct given){.selector = "{}"}, "all_docs _all_docs null \"<MAX>\"");
	check_plan((struct given){.selector = "{}", .sort = "_id"}, "none");
	check_plan(
	    (struct given){.selector = "{\"_id\":{\"$gt\":null}}", .sort = "_id"}, "all_docs _all_docs null \"<MAX>\"");
	check_plan(
	    (struct given){
		.selector = "{\"kind\":\"book\"}", .indexes = THREE, .sort = "kind price", .fields = "_id price"},
	    "index kp [\"book\"] [\"book\",\"<MAX>\"] covered exact");
	check_plan(
	    (struct given){.selector = "{\"kind\":\"book\"}", .indexes = THREE, .sort = "kind price", .descending = 1},
	    "index kp [\"book\"] [\"book\",\"<MAX>\"] exact descending");
	check_plan((struct given){.selector = "{\"price\":{\"$gt\":null}}", .indexes = THREE, .sort = "price"},
	    "index p [] [\"<MAX>\"] exact");
	check_plan(
	    (struct given){.selector = "{\"price\":{\"$gt\":0}}", .indexes = THREE, .sort = "title", .fields = "_id"},
	    "index t [] [\"<MAX>\"]");
	check_plan(
	    (struct given){.selector = "{\"kind\":\"book\"}", .indexes = THREE, .sort = "price", .fields = "_id"},
	    "index kp [\"book\"] [\"book\",\"<MAX>\"] covered exact");
	check_plan((struct given){.selector = "{\"kind\":\"book\",\"price\":{\"$gte\":10}}",
		       .indexes = THREE,
		       .use_ddoc = "_design/idx-kp"},
	    "index kp [\"book\",10] [\"book\",\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"kind\":\"book\",\"price\":{\"$gte\":10}}",
		       .indexes = THREE,
		       .use_ddoc = "_design/idx-p",
		       .use_name = "p"},
	    "index p [10] [\"<MAX>\"]");
	check_plan((struct given){.selector = "{\"kind\":\"book\"}", .indexes = THREE, .use_ddoc = "_design/idx-t"},
	    "all_docs _all_docs null \"<MAX>\"");
	check_plan(
	    (struct given){
		.selector = "{\"$or\":[{\"kind\":\"map\"},{\"price\":10}]}", .indexes = THREE, .sort = "_id"},
	    "none");
	check_plan(
	    (struct given){.selector = "{\"price\":{\"$gte\":-5,\"$lte\":10}}", .indexes = THREE, .fields = "_id"},
	    "index p [-5] [10,\"<MAX>\"] covered exact");
	check_plan((struct given){.selector = "{\"price\":10}", .indexes = THREE, .fields = "price"},
	    "index p [10] [10,\"<MAX>\"] covered exact");
	check_plan((struct given){.selector = "{\"sorted\":1}", .indexes = THREE, .sort = "sorted"}, "none");
	check_plan((struct given){.selector = "{\"price\":{\"$gt\":0}}",
		       .indexes = "pb/pb price ?{\"kind\":{\"$eq\":\"book\"}}",
		       .use_ddoc = "_design/pb"},
	    "index pb [0] [\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"price\":{\"$gt\":0}}",
		       .indexes = "pb/pb price ?{\"kind\":{\"$eq\":\"book\"}}"},
	    "all_docs _all_docs null \"<MAX>\"");
	check_plan(
	    (struct given){
		.selector = "{\"kind\":{\"$gt\":\"a\",\"$lte\":\"c\"}}", .indexes = "idx-k/k kind", .sort = "kind"},
	    "index k [\"a\"] [\"c\",\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"_id\":{\"$gt\":\"a\"}}", .indexes = "idx-k/k kind"},
	    "all_docs _all_docs \"a\" \"<MAX>\"");
	check_plan((struct given){.selector = "{\"_id\":\"c\"}"}, "all_docs _all_docs \"c\" \"c\"");
	check_plan((struct given){.selector = "{\"$or\":[{\"a\":1},{\"b\":2}]}", .indexes = "idx-k/k kind"},
	    "all_docs _all_docs null \"<MAX>\"");
	check_plan((struct given){.selector = "{\"$and\":[]}"}, "all_docs _all_docs null null noop 0");
	check_plan((struct given){.selector = "{\"$or\":[]}"}, "all_docs _all_docs null null noop 0");
	check_plan(
	    (struct given){.selector = "{\"n\":{\"$gt\":0}}", .indexes = "i/i* n", .in_partition = 1, .sort = "n"},
	    "index i [0] [\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"n\":{\"$gt\":0}}", .indexes = "i/i* n"},
	    "all_docs _all_docs null \"<MAX>\"");
}

static void
test_recorded_candidates(void)
{
	check_candidates((struct given){.selector = "{\"nope\":1}", .indexes = "idx-k/k kind", .sort = "nope"},
	    "k !field_mismatch 1, _all_docs !field_mismatch 1");
	check_candidates((struct given){.selector = "{\"age\":23}"}, "");
	check_candidates((struct given){.selector = "{\"age\":23}", .sort = "company"}, "_all_docs !field_mismatch 1");
	check_candidates((struct given){.selector = "{\"age\":23}",
			     .indexes = "user_id/user_id user_id|name/name name.last name.first|age/age age"},
	    "user_id !field_mismatch 2, name !field_mismatch 2, _all_docs unfavored_type 1");
}

/* ---- Rules ---- */

static void
test_usable(void)
{
	/* All columns must be there, but for the sort's, _id and _rev. */
	check_plan((struct given){.selector = "{\"a\":1}", .indexes = "x/x a b"}, ALL);
	check_plan((struct given){.selector = "{\"a\":1,\"b\":{\"$exists\":true}}", .indexes = "x/x a b"},
	    "index x [1] [1,\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":1,\"b\":{\"$exists\":false}}", .indexes = "x/x a b"}, ALL);
	check_plan((struct given){.selector = "{\"a\":1,\"b\":{\"$ne\":2}}", .indexes = "x/x a b"},
	    "index x [1] [1,\"<MAX>\"]");
	check_plan(
	    (struct given){.selector = "{\"a\":1}", .indexes = "x/x a _id _rev"}, "index x [1] [1,\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":1}", .indexes = "x/x a b", .sort = "a b"},
	    "index x [1] [1,\"<MAX>\"] exact");
	/* $or makes sure of what all its branches do; an empty one of nothing. */
	check_plan((struct given){.selector = "{\"$or\":[{\"a\":1},{\"a\":{\"$gt\":5}}]}", .indexes = "x/x a"},
	    "ranges x [] [\"<MAX>\"] exact 2");
	check_plan((struct given){.selector = "{\"$or\":[{\"a\":1},{\"b\":1}]}", .indexes = "x/x a"}, ALL);
	check_plan((struct given){.selector = "{\"b\":1,\"$or\":[]}", .indexes = "x/x a"}, ALL);
	check_plan((struct given){.selector = "{\"$or\":[{\"a\":1,\"b\":1},{\"$and\":[{\"b\":2},{\"a\":3}]}]}",
		       .indexes = "x/x a b"},
	    "ranges x [] [\"<MAX>\"] 4");
	/* Sorting. */
	check_plan(
	    (struct given){.selector = "{\"a\":{\"$gt\":1},\"b\":2}", .indexes = "x/x a b", .sort = "b"}, "none");
	check_plan((struct given){.selector = "{\"a\":1,\"b\":2,\"c\":3}", .indexes = "x/x a b c d", .sort = "c d"},
	    "index x [1,2,3] [1,2,3,\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":1}", .indexes = "x/x a b", .sort = "b a"}, "none");
	check_plan((struct given){.selector = "{\"a\":{\"$in\":[1,2]}}", .indexes = "x/x a b", .sort = "b"}, "none");
	check_plan((struct given){.selector = "{\"a\":{\"$in\":[1,2]}}", .indexes = "x/x a b", .sort = "a b"},
	    "ranges x [] [\"<MAX>\"] 3");
	check_plan((struct given){.selector = "{\"_id\":{\"$gt\":\"x\"}}", .sort = "_id a"}, "none");
	check_plan((struct given){.selector = "{\"$or\":[{\"_id\":\"x\"}]}", .sort = "_id"}, "none");
	/* Text. */
	check_plan((struct given){.selector = "{\"a\":1,\"$text\":\"x\"}", .indexes = "x/x a"}, ALL);
	check_candidates(
	    (struct given){.selector = "{\"a\":1,\"$text\":\"x\"}", .indexes = "x/x a"}, "x !needs_text_search 1");
}

static void
test_choice(void)
{
	static const char both[] = "{\"a\":1,\"b\":{\"$gt\":2},\"c\":{\"$ne\":0}}";
	static const char exists[] = "{\"a\":1,\"b\":{\"$gt\":2},\"c\":{\"$exists\":true}}";

	check_plan(
	    (struct given){.selector = both, .indexes = "1/a a|2/ab a b|3/abc a b c"}, "index ab [1,2] [1,\"<MAX>\"]");
	check_plan((struct given){.selector = both, .indexes = "3/b b|2/ca c a|1/c c"}, "index b [2] [\"<MAX>\"]");
	check_plan((struct given){.selector = exists, .indexes = "1/a a|2/ab a b|3/abc a b c"},
	    "index abc [1,2] [1,\"<MAX>\"] exact");
	check_plan((struct given){.selector = exists, .indexes = "3/b b|2/ca c a|1/c c"}, "index ca [] [\"<MAX>\"]");
	check_plan((struct given){.selector = both, .indexes = "2/x a|1/z a|1/y a"}, "index y [1] [1,\"<MAX>\"]");
	check_candidates(
	    (struct given){.selector = both,
		.indexes = "1/a a|2/ab a b|3/abc a b c|2/abx a b|4/no z|5/part a ?{\"z\":{\"$eq\":1}}|6/scope* a"},
	    "scope !scope_mismatch 6, part !is_partial 7, no !field_mismatch 5, abc too_many_fields 2, "
	    "abx alphabetically_comes_after 1, a less_overlap 3, _all_docs unfavored_type 4");
	check_candidates(
	    (struct given){
		.selector = both, .indexes = "1/a a|2/ab a b|4/no z", .use_ddoc = "_design/1", .fields = "a"},
	    "no !field_mismatch 2, ab excluded_by_user 1 c, _all_docs excluded_by_user 1");
	check_candidates(
	    (struct given){.selector = "{\"a\":1}", .indexes = "1/a a|2/b b", .sort = "b", .fields = "_id"},
	    "a !sort_order_mismatch 1 c, _all_docs !field_mismatch 1");
}

/* ---- Numbers of rows ---- */

/* Those of index ${i} of test_rows, and of all documents. */
static uint64_t sizes[MAX], documents;
static unsigned asked;

static uint64_t
say_rows(const struct query_index *index, const struct query_range *ranges, size_t n)
{
	(void)ranges;
	CHECK(n > 0);
	asked++;
	return index != NULL ? sizes[index->number] : documents;
}

static void
check_rows(const char *selector, const char *indexes, uint64_t first, uint64_t second, uint64_t all, const char *want)
{
	sizes[0] = first;
	sizes[1] = second;
	documents = all;
	check_plan((struct given){.selector = selector, .indexes = indexes, .rows = say_rows}, want);
}

static void
test_rows(void)
{
	static const char ab[] = "{\"a\":1,\"b\":1}", one[] = "1/a a|2/b b";
	static const char *const a = "index a [1] [1,\"<MAX>\"]", *const b = "index b [1] [1,\"<MAX>\"]";
	const char *either = "{\"$or\":[{\"a\":1},{\"b\":2}]}";

	check_rows(ab, one, 400, 100, 9999, b);
	check_rows(ab, one, 399, 100, 9999, a);
	check_rows(ab, one, 341, 85, 9999, b);
	check_rows(ab, one, 340, 85, 9999, a);
	check_rows(ab, one, 256, 0, 9999, b);
	check_rows(ab, one, 255, 0, 9999, a);
	check_rows(ab, one, UINT64_MAX, 0, 9999, a);
	check_rows(ab, one, 1000000, UINT64_MAX, 9999, a);
	/* Documents, where ids are bounded. */
	check_rows("{\"a\":{\"$gt\":1},\"_id\":\"x\"}", "1/a a", 1000, 0, 1, "all_docs _all_docs \"x\" \"x\"");
	check_rows("{\"a\":{\"$gt\":1}}", "1/a a", 1000, 0, 1, "index a [1] [\"<MAX>\"] exact");
	/* A filter that the selector has as well. */
	check_rows(
	    "{\"a\":1,\"k\":2}", "1/a a|2/p a ?{\"k\":{\"$eq\":2}}", 1000, 10, 9999, "index p [1] [1,\"<MAX>\"] exact");
	check_rows(
	    "{\"a\":1,\"k\":2}", "1/a a|2/p a ?{\"k\":{\"$eq\":3}}", 1000, 10, 9999, "index a [1] [1,\"<MAX>\"]");
	check_rows("{\"a\":1,\"k\":2,\"l\":4}", "1/a a|2/p a ?{\"$and\":[{\"l\":{\"$eq\":4}},{\"k\":{\"$eq\":2}}]}",
	    1000, 10, 9999, "index p [1] [1,\"<MAX>\"] exact");
	/* A union. */
	check_rows(either, one, 100, 100, 9999, "union _all_docs null \"<MAX>\"");
	check_rows(either, one, 100, 100, 799, ALL);
	check_rows(either, "1/a a|2/b b c", 100, 100, 9999, ALL);
	check_rows(either, "1/a a|2/b b ?{\"b\":{\"$eq\":2}}", 100, 100, 9999, ALL);
	check_rows("{\"$or\":[{\"a\":1},{\"$nor\":[{\"b\":2}]}]}", "1/a a", 100, 0, 9999, ALL);
	/* What is named is taken, and nothing is counted. */
	asked = 0;
	sizes[0] = 100000;
	check_plan((struct given){.selector = ab, .indexes = one, .use_ddoc = "_design/1", .rows = say_rows}, a);
	check_plan((struct given){.selector = "{\"z\":1}", .indexes = one, .rows = say_rows}, ALL);
	CHECK_INT(asked, 0);
	check_candidates((struct given){.selector = ab, .indexes = one, .rows = say_rows},
	    "a more_rows 1, _all_docs unfavored_type 2");
}

/* One document where ids are bounded. */
static uint64_t
say_rows_of_ids(const struct query_index *index, const struct query_range *ranges, size_t n)
{
	return index == NULL && ranges[0].low.len > 0 ? 1 : say_rows(index, ranges, n);
}

static void
check_part(const struct query_part *part, const char *name, const char *branch, uint64_t rows)
{
	struct buf b;

	buf_init(&b, 1000);
	put_index(&b, part->index);
	CHECK_MEM(b.data, b.len, name, strlen(name));
	buf_clear(&b);
	CHECK(part->branch != NULL && query_selector_put(part->branch, &b) == 0);
	CHECK_MEM(b.data, b.len, branch, strlen(branch));
	CHECK_INT(part->rows, rows);
	CHECK_INT(part->nranges, 1);
	buf_release(&b);
}

static void
test_union_parts(void)
{
	struct given g = {.selector = "{\"$or\":[{\"a\":1},{\"_id\":\"x\"},{\"b\":2,\"c\":3},{\"$nor\":[{\"a\":{\"$"
				      "lt\":9}}]}],\"z\":{\"$gt\":0}}",
	    .indexes = "1/a a|2/bc b c",
	    .rows = say_rows_of_ids};
	struct made *m;

	sizes[0] = 10;
	sizes[1] = 20;
	documents = 1000;
	m = make(&g);
	CHECK_STR(m->plan->way, "union");
	CHECK(m->plan->chosen == NULL && !m->plan->exact && !m->plan->covered);
	if (CHECK_INT(m->plan->nparts, 4)) {
		check_part(&m->plan->parts[0], "a", "{\"a\":{\"$eq\":1}}", 10);
		check_part(&m->plan->parts[1], "_all_docs", "{\"_id\":{\"$eq\":\"x\"}}", 1);
		check_part(&m->plan->parts[2], "bc", "{\"$and\":[{\"b\":{\"$eq\":2}},{\"c\":{\"$eq\":3}}]}", 20);
		check_part(&m->plan->parts[3], "a", "{\"$and\":[{\"a\":{\"$gte\":9}}]}", 10);
		CHECK(is_in(&m->plan->parts[3], "[9]") && !is_in(&m->plan->parts[3], "[8]"));
		CHECK(is_in(&m->plan->parts[2], "[2,3]") && !is_in(&m->plan->parts[2], "[2,4]"));
	}
	release(m);
	/* Not with a sort; not where there are too many branches. */
	g.sort = "_id";
	g.selector = "{\"$or\":[{\"a\":1},{\"b\":2,\"c\":3}],\"_id\":{\"$gt\":null}}";
	m = make(&g);
	CHECK_STR(m->plan->way, "all_docs");
	release(m);
}

static void
test_many_branches(void)
{
	struct given g = {.indexes = "1/a a|2/b b", .rows = say_rows};
	struct buf b;

	sizes[0] = sizes[1] = 1;
	documents = 100000;
	buf_init(&b, 1 << 16);
	for (unsigned n = 64; n < 66; n++) {
		struct made *m;

		buf_clear(&b);
		buf_puts(&b, "{\"$or\":[{\"b\":1}");
		for (unsigned i = 1; i < n; i++)
			buf_printf(&b, ",{\"a\":%u}", i);
		buf_puts(&b, "]}");
		buf_putc(&b, '\0');
		g.selector = b.data;
		m = make(&g);
		CHECK_STR(m->plan->way, n == 64 ? "union" : "all_docs");
		CHECK_INT(m->plan->nparts, n == 64 ? 64 : 1);
		release(m);
	}
	buf_release(&b);
}

/* ---- Hints ---- */

static void
test_hints(void)
{
	struct given g = {.selector = "{\"$and\":[{\"b\":1},{\"a\":{\"$gt\":1}},{\"b\":{\"$lt\":5}},{\"c\":{\"$ne\":1}}"
				      ",{\"$or\":[{\"d\":1},{\"a\":2}]},"
				      "{\"x:y\":1}]}"};
	struct made *m = make(&g);
	struct jstr *can, *cannot;
	size_t n, k;

	CHECK_INT(query_plan_hints(m->selector, m->plan->arena, &can, &n, &cannot, &k), 0);
	CHECK(n == 3 && jstr_is(&can[0], "a") && jstr_is(&can[1], "b") && jstr_is(&can[2], "x"));
	CHECK(k == 3 && jstr_is(&cannot[0], "c") && jstr_is(&cannot[1], "d") && jstr_is(&cannot[2], "x:y"));
	release(m);
}

int
main(void)
{
	test_recorded();
	test_recorded_candidates();
	test_usable();
	test_choice();
	test_rows();
	test_union_parts();
	test_many_branches();
	test_hints();
	return check_done();
}
