/*
 * plan.c: how a query is answered.
 *
 * plan_couch.c tells which index CouchDB takes.  Here its ranges are worked out, which are narrower than CouchDB's, and where the numbers of rows are
 * known other ways are weighed against it: the other indexes that could serve; one with a filter that the selector has as well; the documents, where the selector
 * bounds their ids; and for an $or a union, one part for each branch.
 *
 * 1. Another way is taken only if it reads at least 4 times fewer rows, and 256 fewer: in a small database all is as in CouchDB, and two ways that are nearly
 *    alike do not take turns as documents come and go.
 * 2. Every way meets each document that matches and has the fields of the sort, once.
 * 3. With a sort rows come in its order: ranges ascend and are apart, and no union serves.
 * 4. Where use_index names an index that can serve nothing else is looked at.
 */
#include "plan.h"

#include <stdlib.h>

#include "base/limits.h"
#include "plan_couch.h"
#include "plan_explain.h"
#include "ranges.h"

#define PLAN_TIMES 4u  /* as many rows as another way would read */
#define PLAN_LESS 256u /* and so many more */
#define PLAN_WORK \
	20000000u /* branches, indexes and nodes of a selector, multiplied, beyond which no union is looked for */
#define PLAN_COUNTS 256u     /* questions for numbers of rows: each may open an index */
#define PLAN_MEM (64u << 20) /* bytes that a plan may take */

/* What must hold, all of it. */
struct conditions {
	const struct selector_node **list;
	size_t n;
};

/* One way to find documents, from one index. */
struct way {
	const struct query_index *index;
	struct query_range *ranges;
	size_t nranges;
	int bounded; /* the ranges are not just everything */
	int exact;
	uint64_t rows;
};

struct planner {
	const struct query_ask *ask;
	struct query_plan *plan;
	struct arena *arena;
	struct plan_couch couch;
	struct ranges_work work;
	struct conditions all;
	unsigned counts;    /* numbers of rows that were asked for */
	struct jstr *texts; /* of the conditions; NULL: not yet printed */
	struct way *parts;  /* of the best union */
	size_t nparts;      /* 0: there is none */
	size_t either;      /* the condition that it takes apart: an $or */
};

/* ---- Conditions ---- */

/* An $or of one branch is that branch. */
static int
is_conjunction(const struct selector_node *node)
{
	return node->op == SELECTOR_AND || (node->op == SELECTOR_OR && node->kid != NULL && node->kid->next == NULL);
}

static size_t
count_conditions(const struct selector_node *node)
{
	size_t n = 0;

	if (!is_conjunction(node))
		return 1;
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		n += count_conditions(kid);
	return n;
}

static void
add_conditions(const struct selector_node *node, struct conditions *out)
{
	if (!is_conjunction(node)) {
		out->list[out->n++] = node;
		return;
	}
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		add_conditions(kid, out);
}

static int
make_conditions(struct arena *a, size_t cap, struct conditions *out)
{
	out->list = arena_calloc(a, cap + 1, sizeof(const struct selector_node *));
	out->n = 0;
	return out->list != NULL ? 0 : ERR_NOMEM;
}

/* ---- A way from one index ---- */

/* The values of a column, or of _id; ${fits} becomes 1 for each condition that they express. */
static int
find_values(struct planner *p, const struct conditions *cs, const struct query_index *index, struct jstr column,
    struct ranges *out, char *fits)
{
	int ids = index == NULL;

	for (size_t i = 0; i < cs->n; i++) {
		struct ranges one;
		int err = ids ? ranges_of_ids(&p->work, cs->list[i], &one)
			      : ranges_of_field(&p->work, cs->list[i], column, &one);

		if (err != 0)
			return err;
		fits[i] = (char)one.exact;
		if (i == 0)
			*out = one;
		else if ((err = ranges_both(&p->work, out, &one, ids)) != 0)
			return err;
	}
	if (cs->n == 0)
		*out = (struct ranges){.all = 1, .exact = 1};
	return 0;
}

static int
all_fit(const char *fits, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fits[i])
			return 0;
	return 1;
}

static int
from_documents(struct planner *p, const struct conditions *cs, struct way *out)
{
	struct ranges ids;
	char *fits = arena_calloc(p->arena, cs->n + 1, 1);
	int err = fits != NULL ? find_values(p, cs, NULL, (struct jstr){"_id", 3}, &ids, fits) : ERR_NOMEM;

	if (err != 0)
		return err;
	/* Design documents are among them, and are not found: so these are never exact. */
	out->nranges = ids.all ? 1 : ids.n;
	out->bounded = !ids.all;
	out->ranges = arena_calloc(p->arena, out->nranges + 1, sizeof(*out->ranges));
	if (out->ranges == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; !ids.all && i < ids.n; i++)
		out->ranges[i] = ids.spans[i].r;
	return 0;
}

/* ${known}: conditions that hold for all rows anyhow; NULL: none. */
static int
from_index(
    struct planner *p, const struct conditions *cs, const struct query_index *index, const char *known, struct way *out)
{
	size_t n = index->ncolumns, used;
	struct ranges *values = arena_calloc(p->arena, n + 1, sizeof(*values));
	const struct ranges **columns = arena_calloc(p->arena, n + 1, sizeof(struct ranges *));
	char *fits = arena_calloc(p->arena, n + 1, cs->n + 1), *fit = arena_calloc(p->arena, cs->n + 1, 1);
	int err = 0;

	if (values == NULL || columns == NULL || fits == NULL || fit == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; err == 0 && i < n; i++) {
		err = find_values(p, cs, index, index->columns[i], &values[i], fits + i * cs->n);
		columns[i] = values[i].all ? NULL : &values[i];
	}
	if (err == 0)
		err = ranges_product(&p->work, columns, n, &out->ranges, &out->nranges, &used);
	if (err != 0)
		return err;
	for (size_t k = 0; k < cs->n; k++) {
		fit[k] = known != NULL && known[k];
		/* Every row has its columns: what wants no more of one is true. */
		for (size_t i = 0; i < n; i++)
			fit[k] = (char)(fit[k] || ((i < used || values[i].all) && fits[i * cs->n + k]));
	}
	out->exact = all_fit(fit, cs->n);
	out->bounded = n > 0 && columns[0] != NULL;
	return 0;
}

static int
make_way(
    struct planner *p, const struct conditions *cs, const struct query_index *index, const char *known, struct way *out)
{
	*out = (struct way){.index = index, .rows = UINT64_MAX};
	return index == NULL ? from_documents(p, cs, out) : from_index(p, cs, index, known, out);
}

static void
count(struct planner *p, struct way *w)
{
	w->rows = UINT64_MAX;
	if (w->nranges == 0)
		w->rows = 0;
	else if (p->ask->count != NULL && p->counts++ < PLAN_COUNTS)
		p->ask->count(p->ask->cookie, w->index, w->ranges, w->nranges, &w->rows);
}

/* ---- Filters ---- */

static int
print(struct planner *p, const struct selector_node *node, struct jstr *out)
{
	struct buf b;
	int err;

	buf_init(&b, LIMIT_SELECTOR_LEN * 2);
	selector_put(node, &b);
	err = buf_failed(&b);
	if (err == 0) {
		*out = (struct jstr){arena_dup(p->arena, b.data, b.len), b.len};
		err = out->s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&b);
	return err;
}

static int
print_all(struct planner *p)
{
	int err = 0;

	if (p->texts != NULL)
		return 0;
	p->texts = arena_calloc(p->arena, p->all.n + 1, sizeof(*p->texts));
	if (p->texts == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; err == 0 && i < p->all.n; i++)
		err = print(p, p->all.list[i], &p->texts[i]);
	return err;
}

/* Is each condition of the filter one of the selector's?  Those become 1 in ${known}. */
static int
find_filter(struct planner *p, const struct selector_node *filter, char *known, int *hasp)
{
	struct conditions cs;
	int err = make_conditions(p->arena, count_conditions(filter), &cs);

	if (err != 0)
		return err;
	add_conditions(filter, &cs);
	*hasp = 1;
	for (size_t i = 0; err == 0 && *hasp && i < cs.n; i++) {
		struct jstr text;

		err = print(p, cs.list[i], &text);
		*hasp = 0;
		for (size_t k = 0; err == 0 && k < p->all.n; k++)
			if (jstr_equal(text, p->texts[k]))
				known[k] = 1, *hasp = 1;
	}
	return err;
}

static int
has_filter(struct planner *p, const struct query_index *index, char *known, int *hasp)
{
	struct query_selector *filter = NULL;
	int err = print_all(p);

	*hasp = 0;
	if (err != 0)
		return err;
	err = query_selector_new(index->filter, &filter, NULL);
	if (err != 0)
		return err == ERR_NOMEM ? err : 0; /* such an index has no rows */
	err = find_filter(p, filter->root->node, known, hasp);
	query_selector_free(filter);
	return err;
}

/* ---- Unions ---- */

static int
has_all_columns(const struct conditions *cs, const struct query_index *index)
{
	for (size_t i = 0; i < index->ncolumns; i++) {
		int has = jstr_is(&index->columns[i], "_id") || jstr_is(&index->columns[i], "_rev");

		for (size_t k = 0; !has && k < cs->n; k++)
			has = plan_requires(cs->list[k], index->columns[i]);
		if (!has)
			return 0;
	}
	return 1;
}

/* Has ${index} each document that matches ${cs}?  NULL: all documents. */
static int
has_branch(const struct query_ask *ask, const struct conditions *cs, const struct query_index *index)
{
	return index == NULL ||
	       (index->filter.len == 0 && plan_couch_in_scope(ask, index) && has_all_columns(cs, index));
}

/* The cheapest way to find what matches ${cs}, of ${most} that are looked at; rows UINT64_MAX: there is none but to look at everything. */
static int
best_part(struct planner *p, const struct conditions *cs, size_t most, struct way *best)
{
	const struct query_ask *ask = p->ask;

	*best = (struct way){.rows = UINT64_MAX};
	for (size_t i = 0; i <= ask->nindexes && most > 0; i++) {
		const struct query_index *index = i > 0 ? &ask->indexes[i - 1] : NULL;
		struct way way;
		int err;

		if (!has_branch(ask, cs, index))
			continue;
		err = make_way(p, cs, index, NULL, &way);
		if (err != 0)
			return err;
		if (index == NULL && !way.bounded)
			continue;
		count(p, &way);
		most--;
		if (way.rows < best->rows)
			*best = way;
	}
	return 0;
}

static size_t
count_branches(const struct selector_node *node)
{
	size_t n = 0;

	if (node->op == SELECTOR_OR)
		for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
			n++;
	return n;
}

/* What must hold in a part: the branch, and every condition but the ${either}-th. */
static int
branch_conditions(struct planner *p, size_t either, const struct selector_node *branch, struct conditions *cs)
{
	int err = make_conditions(p->arena, p->all.n + count_conditions(branch), cs);

	if (err != 0)
		return err;
	add_conditions(branch, cs);
	for (size_t i = 0; i < p->all.n; i++)
		if (i != either)
			cs->list[cs->n++] = p->all.list[i];
	return 0;
}

/* One part for each branch of the ${either}-th condition; ${parts} has room. */
static int
try_union(struct planner *p, size_t either, uint64_t limit, struct way *parts, size_t *np, uint64_t *rowsp)
{
	size_t nranges = 0, nbranches = count_branches(p->all.list[either]);

	*np = 0;
	*rowsp = 0;
	for (const struct selector_node *branch = p->all.list[either]->kid; branch != NULL; branch = branch->next) {
		struct way *part = &parts[*np];
		struct conditions cs;
		int err = branch_conditions(p, either, branch, &cs);

		if (err == 0)
			err = best_part(p, &cs, PLAN_COUNTS / 2 / nbranches, part);
		if (err != 0)
			return err;
		nranges += part->nranges;
		if (part->rows >= limit - *rowsp || nranges > LIMIT_FIND_RANGES) {
			*rowsp = UINT64_MAX;
			return 0;
		}
		*rowsp += part->rows;
		(*np)++;
	}
	return 0;
}

/* The best union, if it reads fewer than ${limit} rows. */
static int
find_union(struct planner *p, uint64_t limit, uint64_t *rowsp)
{
	*rowsp = UINT64_MAX;
	for (size_t i = 0; i < p->all.n; i++) {
		size_t n = count_branches(p->all.list[i]), nparts;
		uint64_t rows;
		struct way *parts;
		int err;

		if (n < 2 || n > LIMIT_FIND_PARTS || n * (p->ask->nindexes + 1) * p->ask->selector->nnodes > PLAN_WORK)
			continue;
		parts = arena_calloc(p->arena, n, sizeof(*parts));
		if (parts == NULL)
			return ERR_NOMEM;
		err = try_union(p, i, limit, parts, &nparts, &rows);
		if (err != 0)
			return err;
		if (rows >= limit)
			continue;
		limit = *rowsp = rows;
		p->parts = parts;
		p->nparts = nparts;
		p->either = i;
	}
	return 0;
}

/* ---- The choice ---- */

static int
is_usable_partial(const struct planner *p, const struct plan_entry *e)
{
	return e->stage == PLAN_PARTIAL && plan_couch_in_scope(p->ask, e->index) &&
	       plan_couch_usable(&p->couch, e->index) == NULL;
}

static int
is_other(const struct planner *p, const struct plan_entry *e, const struct plan_entry *taken)
{
	return e != taken && (e->stage >= PLAN_UNFAVOURED || is_usable_partial(p, e));
}

/* The way by an entry, if it could serve: a partial index does where its filter is in the selector. */
static int
way_by_entry(struct planner *p, const struct plan_entry *e, struct way *way, int *servesp)
{
	char *known = arena_calloc(p->arena, p->all.n + 1, 1);
	int err = known != NULL ? 0 : ERR_NOMEM;

	*servesp = e->stage >= PLAN_UNFAVOURED;
	if (err == 0 && is_usable_partial(p, e))
		err = has_filter(p, e->index, known, servesp);
	return err == 0 && *servesp ? make_way(p, &p->all, e->index, known, way) : err;
}

/* An index that CouchDB does not take, if it could serve and reads fewer rows than *${best}. */
static int
try_entry(struct planner *p, struct plan_entry *e, struct way *best)
{
	struct way way;
	int serves, err = way_by_entry(p, e, &way, &serves);

	if (err != 0 || !serves || (e->index == NULL && !way.bounded))
		return err;
	count(p, &way);
	e->rows = way.rows;
	if (way.rows < best->rows)
		*best = way;
	return 0;
}

/* Does the selector say which ids to look at?  To read all documents is no way that could read less. */
static int
bounds_ids(struct planner *p)
{
	struct way way;

	return make_way(p, &p->all, NULL, NULL, &way) != 0 || way.bounded;
}

static int
has_others(struct planner *p, const struct plan_entry *taken)
{
	for (size_t i = 0; i < p->couch.nentries; i++) {
		const struct plan_entry *e = &p->couch.entries[i];

		if (is_other(p, e, taken) && (e->index != NULL || bounds_ids(p)))
			return 1;
	}
	for (size_t i = 0; p->ask->nsort == 0 && i < p->all.n; i++)
		if (p->all.list[i]->op == SELECTOR_OR)
			return 1;
	return 0;
}

/* Weigh other ways against *${way}, CouchDB's; it becomes the one to take, unless that is a union. */
static int
weigh(struct planner *p, struct plan_entry *taken, struct way *way)
{
	struct way best = {.rows = UINT64_MAX};
	uint64_t rows, limit;
	int err = 0;

	p->plan->weighed = 1;
	count(p, way);
	taken->rows = way->rows;
	if (way->rows == UINT64_MAX || way->rows < PLAN_LESS)
		return 0;
	limit = way->rows / PLAN_TIMES < way->rows - PLAN_LESS ? way->rows / PLAN_TIMES : way->rows - PLAN_LESS;
	for (size_t i = 0; err == 0 && i < p->couch.nentries; i++)
		if (is_other(p, &p->couch.entries[i], taken))
			err = try_entry(p, &p->couch.entries[i], &best);
	if (err == 0 && p->ask->nsort == 0)
		err = find_union(p, (best.rows < limit + 1 ? best.rows : limit + 1), &rows);
	if (err == 0 && p->nparts == 0 && best.rows <= limit)
		*way = best;
	return err;
}

/* By the index of a page before, if it still serves. */
static int
keep_way(struct planner *p, const struct query_index *index, struct way *way, int *servesp)
{
	*servesp = 0;
	for (size_t i = 0; i < p->couch.nentries; i++)
		if (p->couch.entries[i].index == index)
			return way_by_entry(p, &p->couch.entries[i], way, servesp);
	return 0;
}

/* The same $or, and for each branch the same index. */
static int
keep_union(struct planner *p, int *servesp)
{
	const struct query_ask *ask = p->ask;
	const struct selector_node *branch;
	size_t n = ask->nkeep;

	*servesp = 0;
	if (ask->nsort > 0 || n > LIMIT_FIND_PARTS || ask->keep_either >= p->all.n ||
	    count_branches(p->all.list[ask->keep_either]) != n)
		return 0;
	if ((p->parts = arena_calloc(p->arena, n, sizeof(*p->parts))) == NULL)
		return ERR_NOMEM;
	branch = p->all.list[ask->keep_either]->kid;
	for (size_t i = 0; i < n; i++, branch = branch->next) {
		const struct query_index *index = ask->keep[i];
		struct conditions cs;
		int err = branch_conditions(p, ask->keep_either, branch, &cs);

		if (err != 0)
			return err;
		if (!has_branch(ask, &cs, index))
			return 0;
		if ((err = make_way(p, &cs, index, NULL, &p->parts[i])) != 0)
			return err;
	}
	p->nparts = n;
	p->either = ask->keep_either;
	*servesp = 1;
	return 0;
}

static int
use_way(struct planner *p, const struct way *way)
{
	struct query_plan *plan = p->plan;

	plan->parts = arena_calloc(p->arena, 1, sizeof(*plan->parts));
	if (plan->parts == NULL)
		return ERR_NOMEM;
	plan->nparts = 1;
	plan->parts[0] =
	    (struct query_part){.index = way->index, .ranges = way->ranges, .nranges = way->nranges, .rows = way->rows};
	plan->way = way->index == NULL ? "all_docs" : way->nranges > 1 ? "ranges" : "index";
	plan->chosen = way->index;
	plan->exact = way->exact;
	plan->covered = plan_couch_covers(&p->couch, way->index);
	return 0;
}

/* Returns ERR_SELECTOR if a branch cannot stand alone. */
static int
use_union(struct planner *p)
{
	struct query_plan *plan = p->plan;
	const struct selector_node *branch = p->all.list[p->either]->kid;
	int err = 0;

	plan->parts = arena_calloc(p->arena, p->nparts, sizeof(*plan->parts));
	if (plan->parts == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; err == 0 && i < p->nparts; i++, branch = branch->next) {
		const struct way *way = &p->parts[i];
		struct jstr text;

		plan->parts[plan->nparts++] = (struct query_part){
		    .index = way->index, .ranges = way->ranges, .nranges = way->nranges, .rows = way->rows};
		err = print(p, branch, &text);
		if (err == 0)
			err = query_selector_new(text, &plan->parts[i].branch, NULL);
	}
	plan->way = "union";
	plan->either = p->either;
	return err;
}

static void
drop_parts(struct query_plan *plan)
{
	for (size_t i = 0; i < plan->nparts; i++)
		query_selector_free(plan->parts[i].branch);
	plan->nparts = 0;
}

static int
use(struct planner *p, const struct way *way)
{
	int err;

	if (p->nparts > 0) {
		err = use_union(p);
		p->plan->chosen = way->index;
		if (err == 0 || err == ERR_NOMEM)
			return err;
		drop_parts(p->plan);
	}
	return use_way(p, way);
}

static int
choose(struct planner *p)
{
	struct query_plan *plan = p->plan;
	struct plan_entry *taken;
	struct way way;
	int err;

	if (p->couch.nrunning == 0)
		return 0;
	plan->found = 1;
	taken = p->couch.running[0];
	err = make_conditions(p->arena, count_conditions(p->couch.root), &p->all);
	if (err != 0)
		return err;
	add_conditions(p->couch.root, &p->all);
	if (p->ask->nkeep == 1)
		err = keep_way(p, p->ask->keep[0], &way, &plan->found);
	else
		err = make_way(p, &p->all, taken->index, NULL, &way);
	if (err == 0 && p->ask->nkeep > 1)
		err = keep_union(p, &plan->found);
	if (err != 0 || !plan->found)
		return err;
	if (p->ask->nkeep == 0 && p->ask->count != NULL && !p->couch.named && way.nranges > 0 && has_others(p, taken))
		err = weigh(p, taken, &way);
	if (err == 0)
		err = use(p, &way);
	if (err == 0)
		err = plan_explain_keys(&p->couch, plan->chosen, &plan->start_key, &plan->end_key, &plan->noop);
	if (err == 0 && plan->noop) {
		for (size_t i = 0; i < plan->nparts; i++)
			plan->parts[i].nranges = 0;
	}
	return err;
}

int
query_plan_new(const struct query_ask *ask, struct query_plan **pp)
{
	struct planner p = {.ask = ask, .plan = calloc(1, sizeof(*p.plan))};
	int err;

	if (p.plan == NULL)
		return ERR_NOMEM;
	err = arena_new(PLAN_MEM, &p.plan->arena);
	if (err != 0) {
		free(p.plan);
		return err;
	}
	p.arena = p.plan->arena;
	p.plan->descending = ask->nsort > 0 && ask->descending;
	ranges_init(&p.work, p.arena);
	err = plan_couch(ask, p.arena, &p.couch);
	if (err == 0)
		err = choose(&p);
	if (err == 0)
		err = plan_explain_candidates(&p.couch, p.plan->chosen, &p.plan->candidates, &p.plan->ncandidates);
	ranges_release(&p.work);
	if (err != 0)
		query_plan_free(p.plan);
	else
		*pp = p.plan;
	return err;
}

void
query_plan_free(struct query_plan *p)
{
	if (p == NULL)
		return;
	drop_parts(p);
	arena_free(p->arena);
	free(p);
}
