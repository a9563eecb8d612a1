/*
 * step_gather.c: which documents a batch is of: what was purged, what has changed.
 *
 * A document of the database that is damaged ends the update with that error, and what is before it is done first, as with one that functions
 * fail for: to leave it out would be to show a document as deleted.  The index itself is as good as it was.
 */
#include <assert.h>
#include <string.h>

#include "base/limits.h"
#include "bulk.h"
#include "step.h"
#include "store/record.h"

#define BATCH_BYTES ((size_t)8 << 20) /* of documents' JSON in a batch, and of the lists of the rows that they had */
#define CLOCK_DOCS 16u                /* between two looks at the clock */

uint64_t
step_now(const struct step *s)
{
	struct executor *ex = s->ix->views->config.ex;

	return ex->now_ms(ex);
}

void *
step_grow(struct step *s, void *v, size_t n, size_t *capp, size_t size)
{
	size_t cap = *capp != 0 ? 2 * *capp : 256;
	void *grown = arena_alloc(s->a, cap * size);

	if (grown == NULL)
		return NULL;
	if (n > 0)
		memcpy(grown, v, n * size);
	*capp = cap;
	return grown;
}

int
step_database(struct step *s, int err)
{
	s->foreign |= err == ERR_CORRUPT;
	return err;
}

void
step_cut(struct step *s, size_t n)
{
	assert(n >= s->npurged);
	s->n = n;
	s->seq = n > s->npurged ? s->docs[n - 1].seq : s->from;
	s->more = 1;
}

static int
put_conflicts(struct buf *b, const struct revtree *t)
{
	size_t n = 0;

	for (size_t i = 1; i < revtree_nleaves(t); i++) {
		if (revtree_leaf(t, i)->deleted)
			continue;
		buf_puts(b, n++ > 0 ? ",\"" : ",\"_conflicts\":[\"");
		rev_put(b, &revtree_leaf(t, i)->rev);
		buf_putc(b, '"');
	}
	return n > 0 ? buf_putc(b, ']') : buf_failed(b);
}

/* put_doc: For functions, which get it as JSON later, behind the others. */
static int
put_doc(struct step *s, const struct doc_out *d, struct changed *c)
{
	size_t at;
	int err;

	if (s->json.len > 0)
		buf_putc(&s->json, ',');
	at = s->json.len;
	if ((err = doc_put_json(&s->json, d)) != 0 || (err = buf_failed(&s->json)) != 0)
		return err;
	c->json_at = at;
	c->json_len = s->json.len - at;
	s->bytes += c->json_len;
	return 0;
}

/* map_doc: The document as maps see it: with its conflicts, and with _local_seq if the design document asks for that. */
static int
map_doc(struct step *s, struct db_doc *doc, struct changed *c)
{
	struct revtree *t;
	struct db_rev rev;
	struct doc_out d;
	struct buf extra;
	int err = db_doc_rev(doc, &doc->winner, s->doc_a, &rev);

	if (err != 0)
		return err;
	buf_init_arena(&extra, s->doc_a, LIMIT_BODY_LEN);
	if (doc->nleaves > 1 && ((err = db_doc_tree(doc, 0, &t)) != 0 || (err = put_conflicts(&extra, t)) != 0))
		return err;
	if (s->ix->ddoc.local_seq && s->native == NULL)
		buf_printf(&extra, ",\"_local_seq\":%llu", (unsigned long long)doc->seq);
	d = (struct doc_out){.id = doc->id,
	    .rev = doc->winner.rev,
	    .body = rev.body,
	    .atts = rev.atts,
	    .natts = rev.natts,
	    .extra = extra.len > 0 ? extra.data : NULL,
	    .extra_len = extra.len};
	return s->native != NULL ? step_native_doc(s, &d, c) : put_doc(s, &d, c);
}

static int
read_doc(struct step *s, struct db_snap *snap, struct changed *c)
{
	struct db_doc doc;
	int err;

	arena_reset(s->doc_a);
	err = db_get(snap, c->id.s, c->id.len, s->doc_a, &doc);
	if (err == ERR_MISSING || (err == 0 && doc.winner.deleted))
		return 0;
	return err != 0 ? err : map_doc(s, &doc, c);
}

/* listed: Bytes of the list of its rows: those that are to go take memory, too. */
static int
listed(struct step *s, const struct changed *c)
{
	struct store_val list;
	int err = s->own != NULL ? store_get(s->own, VIEW_DOCS, c->key, STEP_KEY, &list) : ERR_MISSING;

	s->bytes += err == 0 ? list.len : 0;
	return err == ERR_MISSING ? 0 : err;
}

static int
add_doc(struct step *s, struct db_snap *snap, struct jstr id)
{
	int is_design = doc_id_is_design(id), err;
	uint64_t salt = s->ix->head.salt;
	struct changed *c;

	if (s->n == s->cap && (s->docs = step_grow(s, s->docs, s->n, &s->cap, sizeof(*s->docs))) == NULL)
		return ERR_NOMEM;
	c = &s->docs[s->n];
	*c = (struct changed){.id = {arena_dup(s->a, id.s, id.len), id.len}};
	if (c->id.s == NULL)
		return ERR_NOMEM;
	/* Whoever chooses ids must not be able to choose two of one hash. */
	bytes_store_u64be(c->key, counts_hash(salt, id.s, id.len));
	bytes_store_u64be(c->key + 8, counts_hash(~salt, id.s, id.len));
	s->ix->untidy |= is_design;
	err = listed(s, c);
	if (err == 0 && (!is_design || (s->ix->ddoc.include_design && s->native == NULL)))
		err = step_database(s, read_doc(s, snap, c));
	s->n += err == 0;
	return err;
}

/* next_purge, next_change: As db_purges_next() and db_changes_next(). */
static int
next_purge(struct step *s, struct db_scan *scan, struct db_purge *p)
{
	return step_database(s, db_purges_next(scan, s->doc_a, p));
}

static int
next_change(struct step *s, struct db_scan *scan, struct arena *a, struct db_change *ch)
{
	return step_database(s, db_changes_next(scan, a, ch));
}

/* is_full: The batch ends here. */
static int
is_full(const struct step *s)
{
	if (s->bytes > BATCH_BYTES || s->n >= (s->ix->batch_docs > 0 ? s->ix->batch_docs : STEP_DOCS))
		return 1;
	/* Filters run while documents are gathered, and a regular expression may take its time. */
	return s->native != NULL && s->n > 0 && s->n % CLOCK_DOCS == 0 && step_now(s) - s->began_ms > STEP_MS;
}

/* gather_purged: What was purged may have no row of _changes any more. */
static int
gather_purged(struct step *s, struct db_snap *snap)
{
	struct db_purge p;
	struct db_scan *scan;
	int err = step_database(s, db_purges_open(snap, s->purge_seq, &scan));

	if (err != 0)
		return err;
	while ((err = next_purge(s, scan, &p)) == 0) {
		if (is_full(s)) {
			s->more = 1;
			break;
		}
		s->purge_seq = p.seq;
		if ((err = add_doc(s, snap, p.id)) != 0)
			break;
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

/* is_failed: Functions failed a moment ago for the document of this sequence; its error is the step's then. */
static int
is_failed(struct step *s, uint64_t seq)
{
	struct index_failure *f = &s->ix->failure;

	if (f->seq != seq)
		return 0;
	if (step_now(s) >= f->until_ms) {
		f->seq = 0;
		s->ix->careful = 1;
		return 0;
	}
	s->why = f->why;
	memcpy(s->error, f->error, sizeof(s->error));
	return 1;
}

static int
gather_changes(struct step *s, struct db_snap *snap)
{
	struct db_change ch;
	struct db_scan *scan;
	struct arena *row_a;
	int err = arena_new(1u << 26, &row_a);

	if (err != 0)
		return err;
	if ((err = step_database(s, db_changes_open(snap, s->seq, 0, &scan))) == 0) {
		while ((err = next_change(s, scan, row_a, &ch)) == 0) {
			s->bulk_ends = s->ix->bulk != NULL && ch.seq > bulk_until(s->ix->bulk);
			if (s->bulk_ends || is_full(s)) {
				s->more = 1;
				break;
			}
			/* What is before it is done first. */
			if (is_failed(s, ch.seq)) {
				s->more = s->n > 0;
				err = s->n > 0 ? 0 : s->ix->failure.err;
				break;
			}
			if ((err = add_doc(s, snap, ch.id)) != 0)
				break;
			s->docs[s->n - 1].seq = s->seq = ch.seq;
			arena_reset(row_a);
		}
		db_scan_close(scan);
	}
	arena_free(row_a);
	/* The next step finds it at its beginning. */
	if (err == ERR_CORRUPT && s->n > 0) {
		s->more = 1;
		s->foreign = 0;
		err = 0;
	}
	return err == ERR_END ? 0 : err;
}

/* is_lost: Has the index rows of a document, as told by its list, that is not there any more? */
static int
is_lost(struct step *s, struct db_snap *snap, const struct store_val *k, const struct store_val *v, struct jstr *idp)
{
	struct db_doc doc;
	struct bytes r;
	int err = record_open(VIEW_DOCS, k->p, k->len, v, &r);

	if (err != 0)
		return err;
	idp->len = bytes_varint(&r);
	idp->s = bytes_take(&r, idp->len);
	if (r.bad || k->len != STEP_KEY)
		return ERR_CORRUPT;
	arena_reset(s->doc_a);
	return step_database(s, db_get(snap, idp->s, idp->len, s->doc_a, &doc));
}

/*
 * gather_lost: Where purges up to ${purge_seq} were forgotten before they were seen here, documents that are gone are looked for one by
 * one, in as many batches as that takes.  What is purged meanwhile is of a later sequence.
 */
static int
gather_lost(struct step *s, struct db_snap *snap, uint64_t purge_seq)
{
	struct index_lost *l = &s->ix->lost;
	struct store_cursor *c;
	struct store_val k, v;
	struct jstr id;
	int err = store_cursor_open(s->own, VIEW_DOCS, &c), resumed = l->purge_seq != 0;

	if (err != 0)
		return err;
	if (!resumed)
		l->purge_seq = purge_seq;
	for (err = store_seek(c, l->at, resumed ? STEP_KEY : 0, &k, &v); err == 0; err = store_next(c, &k, &v)) {
		if (is_full(s)) {
			memcpy(l->at, k.p, STEP_KEY);
			break;
		}
		if ((err = is_lost(s, snap, &k, &v, &id)) == ERR_MISSING)
			err = add_doc(s, snap, id);
		if (err != 0)
			break;
	}
	store_cursor_close(c);
	s->more = err == 0 || (err == ERR_MISSING && resumed);
	if (err == ERR_MISSING) {
		s->purge_seq = l->purge_seq;
		*l = (struct index_lost){0};
	}
	return err == ERR_MISSING ? 0 : err;
}

static int
gather_gone(struct step *s, struct db_snap *snap)
{
	struct db_purge first;
	struct db_scan *scan;
	struct db_info info;
	int err = db_info(s->db, &info);

	if (err != 0 || info.purge_seq <= s->purge_seq)
		return err;
	if ((err = step_database(s, db_purges_open(snap, s->purge_seq, &scan))) != 0)
		return err;
	err = next_purge(s, scan, &first);
	db_scan_close(scan);
	if (err == 0 && (s->ix->lost.purge_seq != 0 || first.seq > s->purge_seq + 1))
		err = gather_lost(s, snap, first.seq - 1);
	if (err != 0 || s->more)
		return err == ERR_END ? 0 : err;
	return gather_purged(s, snap);
}

/* consider_bulk: An index that begins with many documents has a first build. */
static int
consider_bulk(struct step *s, struct db_snap *snap, uint64_t until, uint64_t pending)
{
	struct view_index *ix = s->ix;
	uint64_t purge_seq = s->purge_seq;
	struct db_purge p;
	struct db_scan *scan;
	int err;

	if (ix->bulk != NULL || ix->head.seq > 0 || ix->head.ready || pending < BULK_FROM)
		return 0;
	if ((err = step_database(s, db_purges_open(snap, purge_seq, &scan))) != 0)
		return err;
	while ((err = next_purge(s, scan, &p)) == 0)
		purge_seq = p.seq;
	db_scan_close(scan);
	return err == ERR_END ? bulk_begin(ix, until, purge_seq) : err;
}

/* look: How far the database is, and how much of that is left to do. */
static int
look(struct step *s, struct db_snap *snap, uint64_t *seqp, uint64_t *pendingp)
{
	int err = db_snap_seq(snap, seqp);

	/* An index that knows more than its database is of another one. */
	if (err == 0 && *seqp < s->seq)
		return ERR_CORRUPT;
	if (err == 0)
		err = db_changes_pending(snap, s->seq, pendingp);
	return step_database(s, err);
}

int
step_gather(struct step *s)
{
	struct db_snap *snap;
	uint64_t seq, pending;
	int err = is_failed(s, INDEX_ALL) ? s->ix->failure.err : step_database(s, db_snap_begin(s->db, &snap));

	if (err != 0)
		return err;
	if ((err = look(s, snap, &seq, &pending)) == 0) {
		(void)pthread_mutex_lock(&s->ix->lock);
		s->ix->task.total = s->ix->task.done + pending;
		if (s->ix->seen < seq)
			s->ix->seen = seq;
		(void)pthread_mutex_unlock(&s->ix->lock);
		err = consider_bulk(s, snap, seq, pending);
	}
	/* What was purged before a first build has no rows in it. */
	if (err == 0 && s->ix->bulk != NULL)
		s->purge_seq = bulk_purge_seq(s->ix->bulk);
	else if (err == 0 && (err = store_snap_begin(s->ix->store, &s->own)) == 0)
		err = gather_gone(s, snap);
	s->npurged = s->n;
	if (err == 0 && !s->more)
		err = gather_changes(s, snap);
	/* Where nothing is left, the index shows all that the snapshot does. */
	if (err == 0 && !s->more)
		s->seq = seq;
	if (s->own != NULL)
		store_snap_end(s->own);
	s->own = NULL;
	db_snap_end(snap);
	return err;
}
