/*
 * Walks over documents and _local documents by id, and over changes by sequence.
 *
 * A scan belongs to one snapshot and so lives for milliseconds; who goes on later begins another one by key.
 * Numbers of rows (offset, skip, pending) come from the counts, not from walking.
 *
 * What is passed over unseen, deleted documents and those that rules hide, may be all of a database: the steps end behind DB_SCAN_STEP of them.
 */
#include "dbi.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

struct db_scan {
	struct db_snap *snap;
	/* by id */
	struct idkey_walk *walk;
	struct arena *arena; /* the walk's */
	struct db_range range;
	int empty; /* skip went past the end */
	/* by sequence */
	struct store_cursor *cursor;
	uint64_t since;
	int descending;
	int started;
};

void
db_scan_close(struct db_scan *s)
{
	if (s == NULL)
		return;
	idkey_walk_close(s->walk);
	arena_free(s->arena);
	store_cursor_close(s->cursor);
	free(s);
}

static int
scan_new(struct db_snap *snap, struct db_scan **sp)
{
	*sp = calloc(1, sizeof(**sp));
	if (*sp == NULL)
		return ERR_NOMEM;
	(*sp)->snap = snap;
	return 0;
}

/* ---- By id ---- */

static int
ids_open(struct db_snap *snap, const struct idkey_trees *trees, const struct db_range *range, struct db_scan **sp)
{
	struct db_scan *s;
	int err = scan_new(snap, &s);

	if (err)
		return err;
	s->range = *range;
	/* No id is less than or equal to the empty one. */
	s->empty = range->descending && range->has_start && range->start.len == 0;
	if ((err = arena_new(1u << 20, &s->arena)) != 0 ||
	    (err = idkey_walk_open(trees, snap->snap, s->arena, &s->walk)) != 0) {
		db_scan_close(s);
		return err;
	}
	*sp = s;
	return 0;
}

static int
ids_seek(struct db_scan *s)
{
	const struct db_range *r = &s->range;

	return idkey_walk_seek(
	    s->walk, r->has_start ? r->start.s : NULL, r->has_start ? r->start.len : 0, r->descending);
}

/* ids_step: The next record within the range. */
static int
ids_step(struct db_scan *s, struct jstr *idp, struct store_val *valp)
{
	const struct db_range *r = &s->range;
	int err, c;

	for (;;) {
		if (s->empty)
			return ERR_END;
		if ((err = idkey_walk_step(s->walk, idp, valp)) != 0)
			return err;
		if (r->start_after && jstr_order(idp, &r->start) == 0)
			continue;
		if (!r->has_end)
			return 0;
		c = jstr_order(idp, &r->end);
		if (r->descending)
			c = -c;
		return c > 0 || (c == 0 && r->exclusive_end) ? ERR_END : 0;
	}
}

static int
rank_of(struct db_snap *snap, const struct jstr *id, uint64_t *np)
{
	struct counts_of counts;
	struct idkey_place top;
	uint64_t within;
	int err;

	db_counts_of_docs(snap->file, &counts);
	if ((err = idkey_rank(&db_doc_trees, snap->snap, id->s, id->len, docrec_live, &top, &within)) != 0 ||
	    (err = counts_before(&counts, snap->snap, top.key, top.klen, np)) != 0)
		return err;
	*np += within;
	return 0;
}

/*
 * is_live: *${livep}: 1 if the record is one of a live document.  Nobody reads that of a deleted one any further, so its checksum is looked at here:
 * a damaged bit would hide a document.
 */
static int
is_live(const struct db_snap *snap, struct jstr id, unsigned tree, const struct store_val *key,
    const struct store_val *val, uint64_t *livep)
{
	struct bytes r;

	*livep = docrec_live(val);
	return *livep ? 0 : snap_damaged(snap, id, "record", record_open(tree, key->p, key->len, val, &r));
}

/* live_at: 1 if there is a live document with exactly this id. */
static int
live_at(struct db_snap *snap, const struct jstr *id, uint64_t *np)
{
	struct idkey_place place;
	struct store_val key, val;
	int err = idkey_find(&db_doc_trees, snap->snap, id->s, id->len, &place);

	*np = 0;
	if (err == 0)
		err = store_get(snap->snap, place.tree, place.key, place.klen, &val);
	if (err != 0)
		return err == ERR_MISSING ? 0 : err;
	key = (struct store_val){place.key, place.klen};
	return is_live(snap, *id, place.tree, &key, &val, np);
}

/* skip_target: The ascending rank of the first document that is wanted after the skip; ERR_END: there is none. */
static int
skip_target(struct db_scan *s, uint64_t *targetp)
{
	const struct db_range *r = &s->range;
	uint64_t rank = 0, here = 0;
	int err = 0;

	if (r->has_start && r->start.len > 0) {
		if ((err = rank_of(s->snap, &r->start, &rank)) != 0 || (err = live_at(s->snap, &r->start, &here)) != 0)
			return err;
		if (r->descending != r->start_after) /* the start itself counts among what lies before the target */
			rank += here;
	} else if (r->descending) {
		err = db_docs_before(s->snap, NULL, 0, &rank);
	}
	if (err)
		return err;
	if (!r->descending) {
		*targetp = r->skip < UINT64_MAX - rank ? rank + r->skip : UINT64_MAX;
		return 0;
	}
	if (rank <= r->skip)
		return ERR_END;
	*targetp = rank - 1 - r->skip;
	return 0;
}

static int
ids_skip(struct db_scan *s)
{
	struct counts_of counts;
	struct store_cursor *c;
	struct store_val key;
	uint64_t target, before;
	int err = skip_target(s, &target);

	if (err == 0 && (err = store_cursor_open(s->snap->snap, TREE_DOCS, &c)) == 0) {
		db_counts_of_docs(s->snap->file, &counts);
		err = counts_seek(&counts, s->snap->snap, target, c, &key, NULL, &before);
		if (err == 0)
			err = idkey_walk_seek_weight(s->walk, &key, target - before, docrec_live, s->range.descending);
		store_cursor_close(c);
	}
	if (err == ERR_END || err == ERR_MISSING) {
		s->empty = 1;
		return 0;
	}
	return err;
}

int
db_docs_open(struct db_snap *snap, const struct db_range *range, struct db_scan **scanp)
{
	struct db_scan *s;
	int err = ids_open(snap, &db_doc_trees, range, &s);

	if (err)
		return err;
	if ((err = range->skip > 0 ? ids_skip(s) : ids_seek(s)) != 0) {
		db_scan_close(s);
		return err;
	}
	*scanp = s;
	return 0;
}

int
db_docs_step(struct db_scan *s, struct arena *a, struct db_doc *out)
{
	struct store_val key, val;
	struct jstr id = {NULL, 0};
	unsigned tree, n = 0;
	uint64_t live;
	int err;

	do {
		if (n++ == DB_SCAN_STEP) {
			out->id = id;
			return ERR_AGAIN;
		}
		if ((err = ids_step(s, &id, &val)) != 0)
			return err;
		idkey_walk_place(s->walk, &tree, &key);
		if ((err = is_live(s->snap, id, tree, &key, &val, &live)) != 0)
			return err;
	} while (!live || snap_may_read(s->snap, &id) != 0);
	return snap_doc(s->snap, id, tree, &key, &val, a, out);
}

int
db_docs_next(struct db_scan *s, struct arena *a, struct db_doc *out)
{
	int err;

	do
		err = db_docs_step(s, a, out);
	while (err == ERR_AGAIN);
	return err;
}

int
db_locals_open(struct db_snap *snap, const struct db_range *range, struct db_scan **scanp)
{
	struct db_scan *s;
	int err = ids_open(snap, &db_local_trees, range, &s);

	if (err)
		return err;
	if ((err = ids_seek(s)) != 0) {
		db_scan_close(s);
		return err;
	}
	*scanp = s;
	return 0;
}

int
db_locals_step(struct db_scan *s, struct arena *a, struct jstr *idp, uint64_t *revp, struct jstr *bodyp)
{
	struct store_val key, val;
	unsigned tree, n = 0;
	int err;

	do {
		if (n++ == DB_SCAN_STEP)
			return ERR_AGAIN;
		if ((err = ids_step(s, idp, &val)) != 0)
			return err;
	} while (snap_may_read(s->snap, idp) != 0 || (s->range.skip > 0 && s->range.skip-- > 0));
	idkey_walk_place(s->walk, &tree, &key);
	return snap_local(s->snap, *idp, tree, &key, &val, a, revp, bodyp);
}

uint64_t
db_locals_skip(const struct db_scan *s)
{
	return s->range.skip;
}

/* sum_payload: The record of a body, if it has one of its own, and its attachments. */
static int
sum_payload(struct db_snap *snap, const struct docrec *rec, uint64_t body, struct arena *a, struct db_docs_sum *sum)
{
	struct doc_att *atts;
	struct bytes r;
	size_t natts;
	int err = 0;

	if (body == REVTREE_INLINE) {
		bytes_init(&r, rec->payload.s, rec->payload.len);
	} else if ((err = snap_payload(snap->snap, body, &r)) == 0) {
		sum->stored_bytes += bytes_left(&r);
	}
	if (err != 0 || (err = payload_atts(&r, a, &atts, &natts)) != 0)
		return err;
	for (size_t i = 0; i < natts; i++)
		sum->stored_bytes += atts[i].stored_length;
	return 0;
}

/* sum_record: ${r} is a document's record. */
static int
sum_record(struct db_snap *snap, struct bytes *r, struct arena *a, struct db_docs_sum *sum)
{
	struct docrec rec;
	struct revtree *t;
	int err;

	sum->stored_bytes += bytes_left(r);
	if ((err = docrec_decode(r, &rec)) != 0)
		return err;
	if (rec.deleted)
		sum->deleted++;
	else
		sum->live++;
	bytes_init(r, rec.tree.s, rec.tree.len);
	if ((err = revtree_decode(a, r, &t)) != 0)
		return err;
	for (size_t i = 0; i < revtree_nleaves(t) && err == 0; i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		sum->external_bytes += leaf->body_len;
		err = sum_payload(snap, &rec, leaf->body, a, sum);
	}
	return err;
}

int
db_docs_sum(struct db_snap *snap, const struct db_range *range, struct db_docs_sum *out)
{
	struct db_scan *s;
	struct store_val key, val;
	struct arena *a = NULL;
	struct bytes r;
	struct jstr id;
	unsigned tree;
	int err = ids_open(snap, &db_doc_trees, range, &s);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	if ((err = arena_new(LIMIT_DOC_MEM, &a)) == 0)
		err = ids_seek(s);
	while (err == 0 && (err = ids_step(s, &id, &val)) == 0) {
		idkey_walk_place(s->walk, &tree, &key);
		if ((err = record_open(tree, key.p, key.len, &val, &r)) == 0)
			err = sum_record(snap, &r, a, out);
		err = snap_damaged(snap, id, "record", err);
		arena_reset(a);
	}
	arena_free(a);
	db_scan_close(s);
	return err == ERR_END ? 0 : err;
}

int
db_docs_before(struct db_snap *snap, const char *id, size_t len, uint64_t *np)
{
	struct counts_of counts;
	struct jstr name = {id, len};

	if (id != NULL && len > 0)
		return rank_of(snap, &name, np);
	if (id != NULL) {
		*np = 0;
		return 0;
	}
	db_counts_of_docs(snap->file, &counts);
	return counts_total(&counts, snap->snap, np);
}

/* ---- By sequence ---- */

int
db_changes_open(struct db_snap *snap, uint64_t since, int descending, struct db_scan **scanp)
{
	struct db_scan *s;
	int err = scan_new(snap, &s);

	if (err)
		return err;
	s->since = since;
	s->descending = descending;
	if ((err = store_cursor_open(snap->snap, TREE_CHANGES, &s->cursor)) != 0) {
		db_scan_close(s);
		return err;
	}
	*scanp = s;
	return 0;
}

static int
changes_move(struct db_scan *s, struct store_val *key, struct store_val *val)
{
	unsigned char first[8];

	if (s->started)
		return s->descending ? store_prev(s->cursor, key, val) : store_next(s->cursor, key, val);
	s->started = 1;
	if (s->descending)
		return store_seek_le(s->cursor, NULL, 0, key, val);
	if (s->since == UINT64_MAX)
		return ERR_MISSING;
	bytes_store_u64be(first, s->since + 1);
	return store_seek(s->cursor, first, sizeof(first), key, val);
}

static int
row_damaged(const struct db_scan *s, uint64_t seq, int err)
{
	if (err == ERR_CORRUPT)
		log_line(LOG_ERROR, "database %s, changes: the row of sequence %llu is damaged", s->snap->file->name,
		    (unsigned long long)seq);
	return err;
}

int
db_changes_step(struct db_scan *s, struct arena *a, struct db_change *out)
{
	struct store_val key, val;
	struct bytes r;
	unsigned n = 0;
	int err;

	do {
		if (n++ == DB_SCAN_STEP)
			return ERR_AGAIN;
		if ((err = changes_move(s, &key, &val)) != 0)
			return err == ERR_MISSING ? ERR_END : err;
		if (key.len != 8)
			return ERR_CORRUPT;
		out->seq = bytes_load_u64be(key.p);
		if (out->seq <= s->since)
			return ERR_END;
		if ((err = record_open(TREE_CHANGES, key.p, key.len, &val, &r)) != 0 ||
		    (err = changerow_decode(&r, a, out)) != 0)
			return row_damaged(s, out->seq, err);
	} while (snap_may_read(s->snap, &out->id) != 0);
	return 0;
}

int
db_changes_next(struct db_scan *s, struct arena *a, struct db_change *out)
{
	int err;

	do
		err = db_changes_step(s, a, out);
	while (err == ERR_AGAIN);
	return err;
}

int
db_changes_pending(struct db_snap *snap, uint64_t since, uint64_t *np)
{
	struct counts_of counts;
	unsigned char key[8];
	uint64_t total, before;
	int err;

	*np = 0;
	if (since == UINT64_MAX)
		return 0;
	db_counts_of_changes(snap->file, &counts);
	bytes_store_u64be(key, since + 1);
	if ((err = counts_total(&counts, snap->snap, &total)) != 0 ||
	    (err = counts_before(&counts, snap->snap, key, sizeof(key), &before)) != 0)
		return err;
	*np = total - before;
	return 0;
}

/* ---- Purges ---- */

int
db_purges_open(struct db_snap *snap, uint64_t since, struct db_scan **scanp)
{
	struct db_scan *s;
	int err = scan_new(snap, &s);

	if (err)
		return err;
	s->since = since;
	if ((err = store_cursor_open(snap->snap, TREE_PURGES, &s->cursor)) != 0) {
		db_scan_close(s);
		return err;
	}
	*scanp = s;
	return 0;
}

int
db_purges_next(struct db_scan *s, struct arena *a, struct db_purge *out)
{
	struct store_val key, val;
	struct bytes r;
	int err = changes_move(s, &key, &val);

	if (err)
		return err == ERR_MISSING ? ERR_END : err;
	if (key.len != 8 || record_open(TREE_PURGES, key.p, key.len, &val, &r) != 0)
		return ERR_CORRUPT;
	out->seq = bytes_load_u64be(key.p);
	out->id = docrec_span(&r, bytes_varint(&r));
	out->nrevs = bytes_varint(&r);
	if (r.bad || out->nrevs > bytes_left(&r))
		return ERR_CORRUPT;
	if ((out->revs = arena_calloc(a, out->nrevs, sizeof(*out->revs))) == NULL && out->nrevs > 0)
		return ERR_NOMEM;
	for (size_t i = 0; i < out->nrevs; i++)
		out->revs[i] = changerow_take_rev(&r);
	return r.bad ? ERR_CORRUPT : 0;
}
