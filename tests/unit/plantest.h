/* plantest.h: plans of queries that are given as texts, for the tests of the planner. */
#ifndef TESTS_UNIT_PLANTEST_H_
#define TESTS_UNIT_PLANTEST_H_

#include <stdlib.h>

#include "check.h"
#include "inrange.h"
#include "query/plan.h"
#include "words.h"

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

static inline struct jstr
str(const char *s)
{
	return s != NULL ? (struct jstr){s, strlen(s)} : (struct jstr){NULL, 0};
}

static inline void
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
	ix->ncolumns = words_split(space + 1, end, m->columns[i]);
	ix->number = i;
}

static inline void
count_rows(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	const struct given *g = cookie;

	*rowsp = g->rows(index, ranges, n);
}

static inline struct made *
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
	    .nsort = g->sort != NULL ? words_split(g->sort, g->sort + strlen(g->sort), m->sort) : 0,
	    .descending = g->descending,
	    .fields = m->fields,
	    .nfields = g->fields != NULL ? words_split(g->fields, g->fields + strlen(g->fields), m->fields) : 0,
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

static inline void
release(struct made *m)
{
	query_plan_free(m->plan);
	query_selector_free(m->selector);
	free(m);
}

static inline void
put_index(struct buf *b, const struct query_index *index)
{
	buf_printf(b, "%.*s", index != NULL ? (int)index->name.len : 9, index != NULL ? index->name.s : "_all_docs");
}

/* "way index start end" and flags. */
static inline void
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
static inline void
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

/* In how many of the part's ranges is the row of this key? */
static inline int
is_in(const struct query_part *part, const char *key)
{
	struct buf sortkey, scratch;
	unsigned in = 0;

	buf_init(&sortkey, 1 << 22);
	buf_init(&scratch, 1 << 22);
	CHECK_INT(query_sortkey(str(key), &scratch, &sortkey), 0);
	for (size_t i = 0; i < part->nranges; i++)
		in += (unsigned)inrange(&part->ranges[i], (struct jstr){sortkey.data, sortkey.len}, 0);
	buf_release(&sortkey);
	buf_release(&scratch);
	return (int)in;
}

#define ALL "all_docs _all_docs null \"<MAX>\""

#endif
