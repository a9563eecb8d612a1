/*
 * plan_explain.c: CouchDB's choice of an index as _explain shows it: the ends of the range that CouchDB would read, and the indexes that
 * were not taken, with why and how far they got.
 */
#include "plan_explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

static const struct jstr ID = {"_id", 3};

/* ---- Ends ---- */

static const char MAX_KEY[] = "\"<MAX>\"";

static void
put_key(struct buf *b, size_t i, const char *s, size_t len)
{
	if (i > 0)
		buf_putc(b, ',');
	buf_put(b, s, len);
}

/* CouchDB takes null for what is below all. */
static int
has_low(const struct plan_field *f)
{
	return f->low != NULL && (f->equal || f->low->v.type != JREAD_NULL);
}

static void
put_index_keys(const struct plan_couch *c, const struct query_index *index, struct buf *start, struct buf *end)
{
	size_t n = plan_couch_prefix(c, index), i;

	buf_putc(start, '[');
	for (i = 0; i < n; i++) {
		const struct plan_field *f = plan_couch_field(c, index->columns[i]);

		if (!has_low(f))
			break;
		put_key(start, i, f->low->json.s, f->low->json.len);
	}
	buf_putc(start, ']');
	buf_putc(end, '[');
	for (i = 0; i < n; i++) {
		const struct plan_field *f = plan_couch_field(c, index->columns[i]);

		if (f->high == NULL)
			break;
		put_key(end, i, f->high->json.s, f->high->json.len);
	}
	put_key(end, i, MAX_KEY, strlen(MAX_KEY));
	buf_putc(end, ']');
}

static void
put_document_keys(const struct plan_couch *c, struct buf *start, struct buf *end)
{
	const struct plan_field *f = plan_couch_field(c, ID);

	if (f != NULL && has_low(f))
		buf_put(start, f->low->json.s, f->low->json.len);
	else
		buf_puts(start, "null");
	if (f != NULL && f->high != NULL)
		buf_put(end, f->high->json.s, f->high->json.len);
	else
		buf_puts(end, MAX_KEY);
}

int
plan_explain_keys(
    const struct plan_couch *c, const struct query_index *index, struct jstr *startp, struct jstr *endp, int *noopp)
{
	const struct plan_field *first = index == NULL         ? plan_couch_field(c, ID)
					 : index->ncolumns > 0 ? plan_couch_field(c, index->columns[0])
							       : NULL;
	struct buf start, end;

	*noopp = ((c->root->op == SELECTOR_AND || c->root->op == SELECTOR_OR) && c->root->kid == NULL) ||
		 (first != NULL && first->empty);
	buf_init_arena(&start, c->arena, LIMIT_SELECTOR_LEN * 2);
	buf_init_arena(&end, c->arena, LIMIT_SELECTOR_LEN * 2);
	if (*noopp) {
		buf_puts(&start, "null");
		buf_puts(&end, "null");
	} else if (index != NULL) {
		put_index_keys(c, index, &start, &end);
	} else {
		put_document_keys(c, &start, &end);
	}
	*startp = (struct jstr){start.data, start.len};
	*endp = (struct jstr){end.data, end.len};
	return buf_failed(&start) != 0 ? buf_failed(&start) : buf_failed(&end);
}

/* ---- Candidates ---- */

/* From the last by name to the first, all documents behind them. */
static int
by_name_down(const void *a, const void *b)
{
	const struct query_candidate *x = a, *y = b;
	int order;

	if (x->index == NULL || y->index == NULL)
		return (x->index == NULL) - (y->index == NULL);
	order = jstr_order(&y->index->ddoc, &x->index->ddoc);
	return order != 0 ? order : jstr_order(&y->index->name, &x->index->name);
}

int
plan_explain_candidates(
    const struct plan_couch *c, const struct query_index *chosen, struct query_candidate **outp, size_t *np)
{
	struct query_candidate *list = arena_calloc(c->arena, c->nentries + 1, sizeof(*list));
	unsigned rank[PLAN_RUNNING + 1] = {0};
	int there[PLAN_RUNNING + 1] = {0};
	size_t n = 0;

	if (list == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < c->nentries; i++)
		there[c->entries[i].stage] = 1;
	/* What gets less far comes behind what gets farther. */
	rank[PLAN_UNFAVOURED] = c->nrunning > 1 ? (unsigned)c->nrunning : 1;
	for (int stage = PLAN_UNFAVOURED; stage > PLAN_PARTIAL; stage--)
		rank[stage - 1] = rank[stage] + (unsigned)there[stage];
	for (size_t i = 0; i < c->nentries; i++) {
		const struct plan_entry *e = &c->entries[i];

		if (e->index == chosen && (c->nrunning > 0 || chosen != NULL))
			continue;
		list[n++] = (struct query_candidate){.index = e->index,
		    .usable = e->stage >= PLAN_EXCLUDED,
		    .reason = e->reason,
		    .ranking = rank[e->stage],
		    .covering = e->index != NULL && plan_couch_covers_fields(c->ask, e->index),
		    .rows = e->rows};
		for (size_t k = 0; k < c->nrunning; k++)
			if (c->running[k] == e)
				list[n - 1].ranking = (unsigned)k;
		if (list[n - 1].reason == NULL) { /* CouchDB would take it */
			list[n - 1].reason = "more_rows";
			list[n - 1].ranking = 1;
		}
	}
	if (n > 1)
		qsort(list, n, sizeof(*list), by_name_down);
	*outp = list;
	*np = n;
	return 0;
}
