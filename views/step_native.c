/*
 * step_native.c: rows of declared indexes: no function runs.
 *
 * A document's row in an index has the array of its columns' values for a key (none where it is cut, query_columns_row()), and null for a value; there is none where a
 * column is not there, or the filter does not match.  Design documents have no rows, whatever the options say.
 *
 * Columns and filters are made ready for each batch: they hold memory, which an index that nobody updates does without.  Columns are
 * looked for in the body as it is stored; only where one is _id or another member that the body lacks, the document is put together.
 */
#include "step.h"

#include <stdlib.h>

#include "base/limits.h"
#include "query/plan.h"
#include "query/query.h"

struct native {
	struct query_columns **columns; /* of each map */
	struct query_selector **filters;
	unsigned char *whole; /* 1: columns are no members of the body alone */
	size_t n;
	unsigned wants; /* of all filters */
	int any_whole;
	struct buf doc, more, rev, rows, key, sortkey;
};

static int
is_whole(const struct ddoc_map *map)
{
	for (size_t i = 0; i < map->ncolumns; i++)
		if (map->columns[i].s[0] == '_' || map->columns[i].s[0] == '\\')
			return 1;
	return 0;
}

static int
prepare(struct native *na, const struct ddoc *d)
{
	int err = 0;

	for (; na->n < d->nmaps && err == 0; na->n++) {
		const struct ddoc_map *map = &d->maps[na->n];

		na->any_whole |= na->whole[na->n] = (unsigned char)is_whole(map);
		err = query_columns_new(map->columns, map->ncolumns, &na->columns[na->n]);
		if (err == 0 && map->filter.len > 0) {
			err = query_selector_new(map->filter, &na->filters[na->n], NULL);
			if (err == 0)
				na->wants |= query_selector_wants(na->filters[na->n]);
		}
	}
	return err;
}

int
step_native_begin(struct step *s)
{
	const struct ddoc *d = &s->ix->ddoc;
	struct native *na = calloc(1, sizeof(*na));
	int err;

	if (na == NULL)
		return ERR_NOMEM;
	s->native = na;
	s->began_ms = step_now(s);
	buf_init(&na->doc, STEP_MEM);
	buf_init(&na->more, STEP_MEM);
	buf_init(&na->rev, STEP_MEM);
	buf_init(&na->rows, STEP_MEM);
	buf_init(&na->key, LIMIT_INDEX_KEY);
	buf_init(&na->sortkey, STEP_MEM);
	na->columns = arena_calloc(s->a, d->nmaps + 1, sizeof(struct query_columns *));
	na->filters = arena_calloc(s->a, d->nmaps + 1, sizeof(struct query_selector *));
	na->whole = arena_calloc(s->a, d->nmaps + 1, 1);
	err = na->columns != NULL && na->filters != NULL && na->whole != NULL ? prepare(na, d) : ERR_NOMEM;
	/* What could be made when the index was opened can be made, but for want of memory. */
	return err == 0 || err == ERR_INTERNAL ? err : ERR_NOMEM;
}

void
step_native_end(struct step *s)
{
	struct native *na = s->native;

	if (na == NULL)
		return;
	for (size_t i = 0; i < na->n; i++) {
		query_columns_free(na->columns[i]);
		query_selector_free(na->filters[i]);
	}
	buf_release(&na->doc);
	buf_release(&na->more);
	buf_release(&na->rev);
	buf_release(&na->rows);
	buf_release(&na->key);
	buf_release(&na->sortkey);
	free(na);
	s->native = NULL;
}

/* put_more: The members that are no part of the body, as an object. */
static int
put_more(struct buf *b, const struct doc_out *d, struct jstr *morep)
{
	static const char id[] = "{\"_id\":\"\"";
	struct doc_out rest = {.id = {"", 0},
	    .body = {"{}", 2},
	    .atts = d->atts,
	    .natts = d->natts,
	    .extra = d->extra,
	    .extra_len = d->extra_len};
	size_t from = sizeof(id) - 1;
	int err;

	*morep = (struct jstr){"", 0};
	if (d->natts == 0 && d->extra == NULL)
		return 0;
	buf_clear(b);
	if ((err = doc_put_json(b, &rest)) != 0)
		return err;
	b->data[from] = '{';
	*morep = (struct jstr){b->data + from, b->len - from};
	return 0;
}

static int
put_rev(struct native *na, const struct rev *rev, struct jstr *revp)
{
	buf_clear(&na->rev);
	rev_put(&na->rev, rev);
	*revp = (struct jstr){na->rev.data, na->rev.len};
	return buf_failed(&na->rev);
}

static void
put_text(struct buf *b, const struct buf *text)
{
	buf_put_u64be(b, text->len);
	buf_put(b, text->data, text->len);
}

/* put_row: Of one map, if the document has one there. */
static int
put_row(struct step *s, size_t map, const struct query_doc *doc)
{
	struct native *na = s->native;
	const struct jstr members = na->whole[map] ? (struct jstr){na->doc.data, na->doc.len} : doc->body;
	int err, has = 1;

	if (na->filters[map] != NULL && ((err = query_selector_match(na->filters[map], doc, &has)) != 0 || !has))
		return err;
	buf_clear(&na->key);
	buf_clear(&na->sortkey);
	err = query_columns_row(na->columns[map], members, &s->scratch, &na->key, &na->sortkey, &has);
	if (err != 0 || !has)
		return err;
	buf_put_u32be(&na->rows, (uint32_t)map);
	put_text(&na->rows, &na->key);
	put_text(&na->rows, &na->sortkey);
	return buf_failed(&na->rows);
}

int
step_native_doc(struct step *s, const struct doc_out *d, struct changed *c)
{
	struct native *na = s->native;
	struct query_doc doc = {.id = d->id, .body = d->body};
	int err = 0;

	buf_clear(&na->doc);
	buf_clear(&na->rows);
	if (na->any_whole && (err = doc_put_json(&na->doc, d)) != 0)
		return err;
	if ((na->wants & QUERY_WANTS_REV) != 0 && (err = put_rev(na, &d->rev, &doc.rev)) != 0)
		return err;
	if ((na->wants & (QUERY_WANTS_ATTACHMENTS | QUERY_WANTS_CONFLICTS)) != 0 &&
	    (err = put_more(&na->more, d, &doc.more)) != 0)
		return err;
	for (size_t map = 0; map < na->n && err == 0; map++)
		err = put_row(s, map, &doc);
	if (err != 0 || na->rows.len == 0)
		return err;
	c->rows = (struct jstr){arena_dup(s->a, na->rows.data, na->rows.len), na->rows.len};
	s->bytes += c->rows.len;
	return c->rows.s != NULL ? 0 : ERR_NOMEM;
}

int
step_native_next(struct jstr *rows, unsigned *mapp, struct jstr *keyp, struct jstr *sortkeyp)
{
	struct bytes r;

	if (rows->len == 0)
		return 0;
	bytes_init(&r, rows->s, rows->len);
	*mapp = bytes_u32be(&r);
	keyp->len = bytes_u64be(&r);
	keyp->s = bytes_take(&r, keyp->len);
	sortkeyp->len = bytes_u64be(&r);
	sortkeyp->s = bytes_take(&r, sortkeyp->len);
	*rows = (struct jstr){rows->s + rows->len - bytes_left(&r), bytes_left(&r)};
	return 1;
}
