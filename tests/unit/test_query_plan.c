/* Tests of the planner: CouchDB's choice of an index and what _explain shows of it; ranges; the choice by numbers of rows. */
#include <stdlib.h>

#include "check.h"
#include "query/plan.h"

#define MAX 16

/* A case: indexes as "ddoc/name column column|..."; a column list may end in " ?{filter}", and a name in "*": partitioned. */
struct given {
	const char *selector, *indexes, *sort, *fields, *use_ddoc, *use_name;
	int descending, in_partition, conflicts;
	uint64_t (*rows)(const struct query_index *index, const struct query_range *ranges, size_t n);
};

struct made {
	struct query_selector *selector;
	struct query_index indexes[MAX];
	struct jstr columns[MAX][MAX];
	char names[MAX][64];
	struct jstr sort[MAX], fields[MAX];
	struct query_ask ask;
	struct query_plan *plan;
};

static size_t
split(const char *s, const char *end, struct jstr *out)
{
	size_t n = 0;

	while (s != NULL && s < end) {
		size_t len = 0;

		while (s + len < end && s[len] != ' ')
			len++;
		out[n++] = (struct jstr){s, len};
		s += len + 1;
	}
	return n;
}

static struct jstr
str(const char *s)
{
	return s != NULL ? (struct jstr){s, strlen(s)} : (struct jstr){NULL, 0};
}

static void
make_index(struct made *m, size_t i, const char *s, const char *end)
{
	struct query_index *ix = &m->indexes[i];
	const char *slash = memchr(s, '/', (size_t)(end - s)), *space = memchr(s, ' ', (size_t)(end - s));
	const char *filter = memchr(s, '?', (size_t)(end - s)), *name_end = space;

	if (space[-1] == '*') {
		ix->partitioned = 1;
		name_end--;
	}
	snprintf(m->names[i], sizeof(m->names[i]), "_design/%.*s", (int)(slash - s), s);
	ix->ddoc = str(m->names[i]);
	ix->name = (struct jstr){slash + 1, (size_t)(name_end - slash - 1)};
	ix->columns = m->columns[i];
	if (filter != NULL) {
		ix->filter = (struct jstr){filter + 1, (size_t)(end - filter - 1)};
		end = filter - 1;
	}
	ix->ncolumns = split(space + 1, end, m->columns[i]);
	ix->number = i;
}

static void
count_rows(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	const struct given *g = cookie;

	*rowsp = g->rows(index, ranges, n);
}

static struct made *
make(struct given *g)
{
	struct made *m = calloc(1, sizeof(*m));
	struct errtext why = {""};
	size_t n = 0;

	if (!CHECK_INT(query_selector_new(str(g->selector), &m->selector, &why), 0))
		fprintf(stderr, "%s: %s\n", g->selector, why.text);
	for (const char *s = g->indexes; s != NULL && *s != '\0'; n++) {
		const char *end = strchr(s, '|');

		if (end == NULL)
			end = s + strlen(s);
		make_index(m, n, s, end);
		s = *end == '|' ? end + 1 : end;
	}
	m->ask = (struct query_ask){.selector = m->selector,
	    .sort = m->sort,
	    .nsort = g->sort != NULL ? split(g->sort, g->sort + strlen(g->sort), m->sort) : 0,
	    .descending = g->descending,
	    .fields = m->fields,
	    .nfields = g->fields != NULL ? split(g->fields, g->fields + strlen(g->fields), m->fields) : 0,
	    .indexes = m->indexes,
	    .nindexes = n,
	    .use_ddoc = str(g->use_ddoc),
	    .use_name = str(g->use_name),
	    .in_partition = g->in_partition,
	    .conflicts = g->conflicts,
	    .count = g->rows != NULL ? count_rows : NULL,
	    .cookie = g};
	CHECK_INT(query_plan_new(&m->ask, &m->plan), 0);
	return m;
}

static void
release(struct made *m)
{
	query_plan_free(m->plan);
	query_selector_free(m->selector);
	free(m);
}

static void
put_index(struct buf *b, const struct query_index *index)
{
	buf_printf(b, "%.*s", index != NULL ? (int)index->name.len : 9, index != NULL ? index->name.s : "_all_docs");
}

/* "way index start end" and flags. */
static void
check_plan(struct given g, const char *want)
{
	struct made *m = make(&g);
	const struct query_plan *p = m->plan;
	struct buf b;

	buf_init(&b, 1 << 20);
	if (p->found) {
		buf_printf(&b, "%s ", p->way);
		put_index(&b, p->chosen);
		buf_printf(&b, " %.*s %.*s", (int)p->start_key.len, p->start_key.s, (int)p->end_key.len, p->end_key.s);
		buf_puts(&b, p->covered ? " covered" : "");
		buf_puts(&b, p->exact ? " exact" : "");
		buf_puts(&b, p->noop ? " noop" : "");
		buf_puts(&b, p->descending ? " descending" : "");
		if (p->nparts == 1 && p->parts[0].nranges != 1)
			buf_printf(&b, " %zu", p->parts[0].nranges);
	} else {
		CHECK(p->nparts == 0 && p->chosen == NULL);
		buf_puts(&b, "none");
	}
	if (!CHECK_MEM(b.data, b.len, want, strlen(want)))
		fprintf(stderr, "  for %s\n", g.selector);
	buf_release(&b);
	release(m);
}

/* Each candidate: index, reason, ranking, then "c" if it covers. */
static void
check_candidates(struct given g, const char *want)
{
	struct made *m = make(&g);
	struct buf b;

	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < m->plan->ncandidates; i++) {
		const struct query_candidate *c = &m->plan->candidates[i];

		buf_puts(&b, i > 0 ? ", " : "");
		put_index(&b, c->index);
		buf_printf(&b, " %s%s %u%s", c->usable ? "" : "!", c->reason, c->ranking, c->covering ? " c" : "");
	}
	if (!CHECK_MEM(b.data, b.len, want, strlen(want)))
		fprintf(stderr, "  for %s\n", g.selector);
	buf_release(&b);
	release(m);
}

/* ---- What CouchDB 3.5 answered ---- */

#define ALL "all_docs _all_docs null \"<MAX>\""
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
	static const char both[] = "{\"a\":1,\"b\":{\"$gt\":2},\"c\":{\"$exists\":true}}";

	check_plan(
	    (struct given){.selector = both, .indexes = "1/a a|2/ab a b|3/abc a b c"}, "index ab [1,2] [1,\"<MAX>\"]");
	check_plan((struct given){.selector = both, .indexes = "3/b b|2/ca c a|1/c c"}, "index b [2] [\"<MAX>\"]");
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

int
main(void)
{
	test_recorded();
	test_recorded_candidates();
	test_usable();
	test_choice();
	return check_done();
}
