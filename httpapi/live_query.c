/*
 * live_query.c: which documents a live query finds, one by one, without reading an index.
 *
 * That a document is found depends on its selector, and on the plan only in this: an index has no rows of documents that lack a
 * column or do not pass its filter; and its rows' order is that of the columns.  A plan whose only effect could be the order of what
 * has no order is not kept: most queries stay the same whatever indexes come and go.
 *
 *	key: part (1, so that it ascends in the plan's order), the sort key of the array of the columns' values, as rows have it; empty where places do not count
 */
#include "live_query.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "feedmatch.h"
#include "live_home.h"
#include "render.h"

#define KEEP_BYTES ((size_t)64 << 10)

/* ---- What is kept of a plan ---- */

static int
part_new(const struct query_part *from, struct live_part *p)
{
	const struct query_index *index = from->index;
	int err;

	p->branch = from->branch;
	p->index = index;
	if (index == NULL)
		return 0;
	err = query_columns_new(index->columns, index->ncolumns, &p->columns);
	if (err == 0 && index->filter.len > 0)
		err = query_selector_new(index->filter, &p->filter, NULL);
	return err;
}

static int
is_ordered(const struct find_query *q)
{
	return q->nsort > 0 || q->has_limit;
}

static int
keeps_plan(const struct findscan *fs)
{
	int keeps = is_ordered(fs->q);

	for (size_t i = 0; i < fs->plan->nparts; i++)
		keeps |= fs->plan->parts[i].index != NULL && fs->plan->parts[i].index->filter.len > 0;
	return keeps;
}

static void
release_parts(struct live_query *lq)
{
	for (size_t i = 0; lq->plan != NULL && i < lq->plan->nparts; i++) {
		query_columns_free(lq->parts[i].columns);
		query_selector_free(lq->parts[i].filter);
	}
	free(lq->parts);
}

static int
keep_plan(struct live_query *lq, struct findscan *fs)
{
	int err = 0;

	lq->parts = calloc(fs->plan->nparts, sizeof(lq->parts[0]));
	if (lq->parts == NULL && fs->plan->nparts > 0)
		return ERR_NOMEM;
	lq->views = fs->views;
	lq->plan = fs->plan;
	for (size_t i = 0; err == 0 && i < fs->plan->nparts; i++)
		err = part_new(&fs->plan->parts[i], &lq->parts[i]);
	/* What was made of it so far is released with it. */
	lq->list = fs->list;
	fs->plan = NULL;
	fs->list = NULL;
	return err;
}

/* copy: Text that lives as long as the query. */
static int
copy(struct jstr from, struct jstr *to)
{
	char *s = malloc(from.len + 1);

	if (s == NULL)
		return ERR_NOMEM;
	if (from.len > 0)
		memcpy(s, from.s, from.len);
	*to = (struct jstr){s, from.len};
	return 0;
}

static void
release(struct live_query *lq)
{
	release_parts(lq);
	query_plan_free(lq->plan);
	if (lq->views != NULL)
		mango_close(lq->views, lq->list);
	query_selector_free(lq->selector);
	query_fields_free(lq->fields);
	free((void *)(uintptr_t)lq->partition.s);
	free((void *)(uintptr_t)lq->body.s);
	free(lq);
}

int
live_query_new(struct findscan *fs, struct find_query *q, struct jstr body, uint64_t seq, uint64_t purge_seq,
    struct live_query **lqp)
{
	struct live_query *lq = calloc(1, sizeof(*lq));
	int err;

	if (lq == NULL)
		return ERR_NOMEM;
	lq->refs = 1;
	lq->limit = q->has_limit ? (uint32_t)q->limit : UINT32_MAX;
	lq->ordered = is_ordered(q);
	lq->settled = !lq->ordered && q->use_ddoc.len == 0;
	lq->conflicts = q->conflicts;
	lq->weighed = fs->plan->weighed;
	lq->designs = seq;
	lq->designs_purged = purge_seq;
	err = copy(q->partition, &lq->partition);
	if (err == 0)
		err = copy(body, &lq->body);
	if (err == 0 && keeps_plan(fs))
		err = keep_plan(lq, fs);
	if (err != 0) {
		release(lq);
		return err;
	}
	lq->selector = q->selector;
	lq->fields = q->fields;
	q->selector = NULL;
	q->fields = NULL;
	*lqp = lq;
	return 0;
}

int
live_query_empty(struct live_query **lqp)
{
	struct live_query *lq = calloc(1, sizeof(*lq));

	if (lq == NULL)
		return ERR_NOMEM;
	lq->refs = 1;
	*lqp = lq;
	return 0;
}

struct live_query *
live_query_hold(struct live_query *lq)
{
	if (lq != NULL)
		lq->refs++;
	return lq;
}

void
live_query_drop(struct live_query *lq)
{
	if (lq == NULL || --lq->refs > 0)
		return;
	assert(lq->waiting == NULL);
	live_home_remove(lq);
	live_set_drop(lq->newest);
	release(lq);
}

static int
same_index(const struct query_index *x, const struct query_index *y)
{
	if (x == NULL || y == NULL)
		return x == y;
	if (x->ncolumns != y->ncolumns || !jstr_equal(x->filter, y->filter))
		return 0;
	for (size_t i = 0; i < x->ncolumns; i++)
		if (!jstr_equal(x->columns[i], y->columns[i]))
			return 0;
	return 1;
}

int
live_query_is_like(const struct live_query *lq, const struct findscan *fs)
{
	const struct query_plan *p = keeps_plan(fs) ? fs->plan : NULL;

	if (lq->plan == NULL || p == NULL)
		return lq->plan == p;
	if (lq->plan->nparts != p->nparts || lq->plan->descending != p->descending)
		return 0;
	/* Another $or puts documents into other parts, though these may have the same indexes. */
	if (p->nparts > 1 && lq->plan->either != p->either)
		return 0;
	for (size_t i = 0; i < p->nparts; i++)
		if (!same_index(lq->plan->parts[i].index, p->parts[i].index))
			return 0;
	return 1;
}

void
live_query_planned(struct live_query *lq, uint64_t seq, uint64_t purge_seq, int weighed)
{
	lq->weighed |= weighed;
	if (seq > lq->designs)
		lq->designs = seq;
	if (purge_seq > lq->designs_purged)
		lq->designs_purged = purge_seq;
}

/* ---- Documents ---- */

/* As mark: its revision, and its conflicts where they are shown. */
static int
mark_text(struct jstr text, int conflicts, struct buf *scratch, uint64_t *markp)
{
	static const struct jstr members[] = {{"_rev", 4}, {"_conflicts", 10}};
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (int i = 0; i <= conflicts; i++) {
		struct jstr value = {"", 0};
		struct jread j;
		int err;

		jread_init(&j, text.s, text.len);
		err = jread_find(&j, scratch, members[i]);
		if (err == 0)
			err = jread_skip(&j, &value);
		if (err != 0 && err != ERR_END)
			return err;
		for (size_t k = 0; k < value.len; k++)
			h = (h ^ (unsigned char)value.s[k]) * UINT64_C(1099511628211);
	}
	*markp = h;
	return 0;
}

static int
put_part(struct buf *key, size_t part, int descending)
{
	return buf_putc(key, (char)(unsigned char)(descending ? LIMIT_FIND_PARTS - part : part));
}

int
live_query_row(const struct findscan *fs, const struct findscan_doc *doc, struct live_work *w, struct live_member *out)
{
	int err = 0;

	buf_clear(&w->key);
	if (is_ordered(fs->q) && (err = put_part(&w->key, fs->part, fs->plan->descending)) == 0 && doc->key.len > 0)
		err = buf_put(&w->key, doc->sortkey.s, doc->sortkey.len);
	if (err != 0 || (err = mark_text(doc->text, fs->q->conflicts, &w->scratch, &out->mark)) != 0)
		return err;
	out->key = (struct jstr){w->key.data, w->key.len};
	out->id = doc->id;
	return 0;
}

/* is_asked_about: Design documents are not found, nor are those of other partitions. */
static int
is_asked_about(const struct live_query *lq, struct jstr id)
{
	struct jstr p = lq->partition;

	if (doc_id_is_design(id))
		return 0;
	return p.len == 0 || (id.len > p.len && memcmp(id.s, p.s, p.len) == 0 && id.s[p.len] == ':');
}

static int
is_hidden(int err)
{
	return err == ERR_MISSING || err == ERR_FORBIDDEN || err == ERR_UNAUTHORIZED || err == ERR_NOT_ADMIN ||
	       err == ERR_USERS_DESIGN;
}

/* What has been read of a document. */
struct document {
	struct db_doc doc;
	struct db_rev rev;
};

/* find_part: The part that the document belongs to; nparts: none. */
static int
find_part(struct live_query *lq, struct document *d, struct arena *a, size_t *partp)
{
	int pass = 0, err = 0;
	size_t i;

	for (i = 0; i < lq->plan->nparts; i++) {
		pass = lq->plan->parts[i].nranges > 0;
		if (!pass)
			continue;
		if (lq->parts[i].branch != NULL)
			err = feedmatch_doc(lq->parts[i].branch, &d->doc, &d->rev, lq->conflicts, a, &pass);
		if (err != 0 || pass)
			break;
	}
	if (err == 0 && pass && lq->parts[i].filter != NULL)
		err = feedmatch_doc(lq->parts[i].filter, &d->doc, &d->rev, 0, a, &pass);
	*partp = pass ? i : lq->plan->nparts;
	return err;
}

/* place: Into w->key; *${foundp} becomes 0 where no part has the document. */
static int
place(struct live_query *lq, struct document *d, struct live_work *w, int *foundp)
{
	size_t part, before;
	int err;

	buf_clear(&w->key);
	if (lq->plan == NULL)
		return 0;
	if ((err = find_part(lq, d, w->arena, &part)) != 0)
		return err;
	if (part == lq->plan->nparts) {
		*foundp = 0;
		return 0;
	}
	if (lq->ordered)
		err = put_part(&w->key, part, lq->plan->descending);
	if (err != 0 || lq->parts[part].columns == NULL)
		return err;
	before = w->key.len;
	buf_clear(&w->json);
	err = query_columns_row(
	    lq->parts[part].columns, (struct jstr){w->text.data, w->text.len}, &w->scratch, &w->json, &w->key, foundp);
	if (!lq->ordered)
		w->key.len = before;
	return err;
}

static int
render(const struct live_query *lq, struct document *d, struct live_work *w)
{
	struct render_opts o = {.conflicts = lq->conflicts};

	buf_clear(&w->text);
	return render_doc(&w->text, &d->doc, &o, w->arena, NULL);
}

int
live_query_find(struct live_query *lq, struct db_snap *snap, struct jstr id, struct live_work *w,
    struct live_found *out, int *foundp)
{
	struct document d;
	int err;

	*foundp = 0;
	if (!is_asked_about(lq, id))
		return 0;
	err = db_get(snap, id.s, id.len, w->arena, &d.doc);
	if (err == 0 && !d.doc.winner.deleted) {
		err = db_doc_rev(&d.doc, &d.doc.winner, w->arena, &d.rev);
		if (err == 0)
			err = feedmatch_doc(lq->selector, &d.doc, &d.rev, lq->conflicts, w->arena, foundp);
	}
	if (is_hidden(err))
		*foundp = err = 0;
	if (err != 0 || !*foundp)
		return err;
	if ((err = render(lq, &d, w)) != 0 || (err = place(lq, &d, w, foundp)) != 0)
		return err;
	out->key = (struct jstr){w->key.data, w->key.len};
	out->text = (struct jstr){w->text.data, w->text.len};
	return mark_text(out->text, lq->conflicts, &w->scratch, &out->mark);
}

int
live_query_put(struct live_query *lq, struct jstr text, struct buf *out)
{
	if (lq->fields == NULL)
		return buf_put(out, text.s, text.len);
	return query_fields_put(lq->fields, text, out);
}

/* ---- Buffers ---- */

static struct buf *
buffer(struct live_work *w, int i)
{
	struct buf *all[] = {&w->text, &w->key, &w->json, &w->scratch};

	return i < 4 ? all[i] : NULL;
}

void
live_query_work_init(struct live_work *w, struct arena *a)
{
	w->arena = a;
	for (int i = 0; buffer(w, i) != NULL; i++)
		buf_init(buffer(w, i), RENDER_MAX);
}

void
live_query_work_tidy(struct live_work *w)
{
	for (int i = 0; buffer(w, i) != NULL; i++)
		if (buffer(w, i)->cap > KEEP_BYTES)
			buf_release(buffer(w, i));
}

void
live_query_work_release(struct live_work *w)
{
	for (int i = 0; buffer(w, i) != NULL; i++)
		buf_release(buffer(w, i));
}
