/*
 * ranges_rows.c: from the values of each column to ranges of rows.
 *
 * Rows ascend by the first column, then by the second.  So as long as a column has single values, the next one's ranges stand behind each of
 * them; behind a range of values nothing more can be said.  Where that leads to too many ranges, a column's become one that has them all.
 */
#include "ranges.h"

#include <string.h>

#include "base/limits.h"
#include "sortkey.h"

#define ROW_MAX 4096u /* bytes of all columns' sort keys at an end of a range */

struct product {
	struct ranges_work *w;
	const struct ranges *columns; /* those that are used */
	size_t n;
	struct query_range *list;
	size_t count;
	struct buf row; /* the values of the columns so far */
};

static int
join(struct product *p, struct jstr end, struct jstr *joinedp)
{
	size_t len = p->row.len + end.len;
	char *joined;

	/* Rows without an end: those that begin with nothing but the array's first byte are all. */
	if (end.len == 0 && p->row.len == 1) {
		*joinedp = (struct jstr){NULL, 0};
		return 0;
	}
	joined = arena_alloc(p->w->arena, len);
	if (joined == NULL)
		return ERR_NOMEM;
	memcpy(joined, p->row.data, p->row.len);
	if (end.len > 0)
		memcpy(joined + p->row.len, end.s, end.len);
	*joinedp = (struct jstr){joined, len};
	return 0;
}

/* The recursion is as deep as columns are used, which double the ranges or add bytes to the row. */
static int
multiply(struct product *p, size_t column)
{
	const struct ranges *values = &p->columns[column];

	for (size_t i = 0; i < values->n; i++) {
		const struct ranges_span *span = &values->spans[i];
		size_t before = p->row.len;
		int err;

		if (span->point && column + 1 < p->n) {
			err = buf_put(&p->row, span->r.low.s, span->r.low.len);
			if (err == 0)
				err = multiply(p, column + 1);
			p->row.len = before;
		} else {
			struct query_range *r = &p->list[p->count++];

			*r = span->r;
			err = join(p, span->r.low, &r->low);
			if (err == 0)
				err = join(p, span->r.high, &r->high);
		}
		if (err != 0)
			return err;
	}
	return 0;
}

/* How the first columns are used: how many, and to how many ranges they lead; the last may have become one wide range. */
static int
choose_columns(struct ranges_work *w, const struct ranges *const *columns, size_t n, struct ranges *used,
    size_t *nusedp, size_t *exactp, size_t *totalp)
{
	size_t open = 1, done = 0, bytes = 1, longest;
	int whole = 1;

	*nusedp = *exactp = 0;
	*totalp = 1;
	for (size_t i = 0; i < n && open > 0 && columns[i] != NULL; i++) {
		struct ranges *c = &used[i];
		size_t points = 0;

		*c = *columns[i];
		longest = 0;
		for (size_t k = 0; k < c->n; k++) {
			points += (size_t)c->spans[k].point;
			longest = c->spans[k].r.low.len > longest ? c->spans[k].r.low.len : longest;
		}
		if (bytes + longest > ROW_MAX && i > 0)
			break;
		if (c->n > 0 && done + open * c->n > LIMIT_FIND_RANGES) {
			const struct ranges_span *first = &c->spans[0], *last = &c->spans[c->n - 1];
			struct ranges_span *hull = arena_alloc(w->arena, sizeof(*hull));

			if (hull == NULL)
				return ERR_NOMEM;
			*hull = (struct ranges_span){
			    .r = {first->r.low, last->r.high, first->r.low_behind, last->r.high_before}};
			*c = (struct ranges){.spans = hull, .n = 1, .cap = 1};
			points = 0;
			whole = 0;
		}
		bytes += longest;
		*nusedp = i + 1;
		/* Where some of the column's ranges are no points, the columns behind it are not looked at in all. */
		if (whole)
			*exactp = i + 1;
		whole = whole && points == c->n;
		done += open * (c->n - points);
		open *= points;
		*totalp = done + open;
	}
	return 0;
}

int
ranges_product(struct ranges_work *w, const struct ranges *const *columns, size_t n, struct query_range **listp,
    size_t *np, size_t *usedp)
{
	struct product p = {.w = w};
	struct ranges *used = arena_calloc(w->arena, n + 1, sizeof(*used));
	size_t total;
	int err;

	if (used == NULL)
		return ERR_NOMEM;
	*listp = NULL;
	*np = *usedp = 0;
	for (size_t i = 0; i < n; i++)
		if (columns[i] != NULL && columns[i]->n == 0)
			return 0;
	p.columns = used;
	err = choose_columns(w, columns, n, used, &p.n, usedp, &total);
	if (err != 0)
		return err;
	p.list = arena_calloc(w->arena, total + 1, sizeof(*p.list));
	if (p.list == NULL)
		return ERR_NOMEM;
	buf_init(&p.row, ROW_MAX + RANGES_KEY_MAX);
	err = buf_putc(&p.row, (char)SORTKEY_ARRAY);
	if (err == 0 && p.n > 0)
		err = multiply(&p, 0);
	else
		p.count = 1; /* all rows */
	buf_release(&p.row);
	*listp = p.list;
	*np = p.count;
	return err;
}
