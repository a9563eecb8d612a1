/*
 * All writes of one document within one transaction.
 *
 *   load --> edit, replicate or purge, for each write --> stem --> place bodies --> spill
 *        --> put the record and its row in `changes`
 *
 * While a document is edited, bodies that are not in the store under a number of their own are *pending*:
 * their node's body is PENDING plus an index into e->pend. The winner's body, if it was inline, is loaded as
 * pending number 0. At the end the winner's pending body goes into the record if it is small, and every other
 * one that is still in the tree goes into `bodies`. So a body moves at most once, when its revision is
 * superseded, and one that was stemmed before is never written.
 *
 * A document gets one new sequence for all that happened to it here.
 */
#include "dbi.h"

#include <assert.h>
#include <string.h>

#define PENDING (UINT64_C(1) << 62)

/*
 * A record above 1,950 bytes takes whole pages of the store; the rest of a record is seldom above 300 bytes,
 * so a payload up to this stays in the document's record, where one look-up finds it.
 */
#define INLINE_MAX 1400u

/* A body on its way to its place: packed in the store already (raw), or of a write. */
struct pendbody {
	struct jstr raw;
	const struct db_write *w;
	int gone; /* its revision left the tree again */
};

struct docedit {
	struct commit *c;
	struct jstr id;
	struct docrec rec; /* as loaded */
	int existed;
	struct revtree *t;
	struct pendbody *pend;
	size_t npend, cap_pend;
	struct revspill *spills; /* as loaded */
	size_t nspills;
	uint64_t old_external;
	int changed;
	int unspilled;
	int err; /* of a callback */
};

/* ---- Loading ---- */

static int
pend_add(struct docedit *e, const struct pendbody *p, uint64_t *bodyp)
{
	if (e->npend == e->cap_pend) {
		size_t cap = e->cap_pend != 0 ? 2 * e->cap_pend : 4;
		struct pendbody *grown = arena_calloc(e->c->doc_a, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (e->npend > 0)
			memcpy(grown, e->pend, e->npend * sizeof(*grown));
		e->pend = grown;
		e->cap_pend = cap;
	}
	*bodyp = PENDING + e->npend;
	e->pend[e->npend++] = *p;
	return 0;
}

static uint64_t
external_of(const struct revtree *t)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < revtree_nleaves(t); i++)
		sum += revtree_leaf(t, i)->body_len;
	return sum;
}

static int
remember_spills(struct docedit *e)
{
	struct revspill s;

	while (revtree_spilled(e->t, e->nspills, &s))
		e->nspills++;
	if (e->nspills == 0)
		return 0;
	if ((e->spills = arena_calloc(e->c->doc_a, e->nspills, sizeof(*e->spills))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < e->nspills; i++)
		(void)revtree_spilled(e->t, i, &e->spills[i]);
	return 0;
}

static int
decode(struct docedit *e, const struct idkey_place *place, const struct store_val *val)
{
	struct pendbody inlined = {{NULL, 0}, NULL, 0};
	struct bytes r;
	int err;

	if ((err = record_open(place->tree, place->key, place->klen, val, &r)) != 0 ||
	    (err = docrec_decode(&r, &e->rec)) != 0)
		return err;
	bytes_init(&r, e->rec.tree.s, e->rec.tree.len);
	if ((err = revtree_decode(e->c->doc_a, &r, &e->t)) != 0)
		return err;
	e->existed = 1;
	e->old_external = external_of(e->t);
	for (size_t i = 0; i < revtree_nleaves(e->t); i++)
		revtree_leaf(e->t, i)->was_leaf = 1;
	inlined.raw = e->rec.payload;
	if (revtree_leaf(e->t, 0)->body == REVTREE_INLINE)
		err = pend_add(e, &inlined, &revtree_leaf(e->t, 0)->body);
	return err ? err : remember_spills(e);
}

static int
load(struct docedit *e, struct commit *c, const struct jstr *id)
{
	struct idkey_place place;
	struct store_val val;
	int err;

	arena_reset(c->doc_a);
	memset(e, 0, sizeof(*e));
	e->c = c;
	e->id = *id;
	if ((err = idkey_find(&db_doc_trees, c->snap, id->s, id->len, &place)) == 0)
		err = store_get(c->snap, place.tree, place.key, place.klen, &val);
	if (err == ERR_MISSING)
		return revtree_new(c->doc_a, &e->t);
	return err ? err : decode(e, &place, &val);
}

static int
block_get(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	struct docedit *e = cookie;
	struct docrec_key key = docrec_block_key(e->rec.docno, run_id, block);
	struct store_val val;
	int err = store_get(e->c->snap, TREE_REVS, key.bytes, sizeof(key.bytes), &val);

	if (err)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	return record_open(TREE_REVS, key.bytes, sizeof(key.bytes), &val, r);
}

/* ---- Writes ---- */

static int
leaf_of_write(struct docedit *e, const struct db_write *w, struct revnode *out)
{
	const struct prepared *p = w->prepared;
	const struct pendbody pend = {{NULL, 0}, w, 0};

	memset(out, 0, sizeof(*out));
	out->deleted = w->deleted != 0;
	out->body_len = p->external;
	return pend_add(e, &pend, &out->body);
}

/*
 * stubs_there: The stubs were resolved before the queue. What they resolved to may have gone since, with a
 * body that compaction or a purge removed.
 */
static int
stubs_there(const struct docedit *e, const struct db_write *w)
{
	const struct prepared *p = w->prepared;
	struct store_val val;
	int err = 0;

	for (size_t i = 0; i < w->natts && err == 0; i++) {
		struct payload_key key;

		if (w->atts[i].blob != NULL)
			continue;
		key = payload_blob_key(p->atts[i].blob, 0);
		err = store_get(e->c->snap, TREE_BLOBS, key.bytes, 8, &val);
	}
	return err == ERR_MISSING ? ERR_MISSING_STUB : err;
}

static int
merge(struct docedit *e, const struct db_write *w, const struct rev *revs, size_t n)
{
	struct revpath path = {.revs = revs, .n = n};
	enum revmerge how;
	struct revpos at;
	int err;

	if ((err = stubs_there(e, w)) != 0 || (err = leaf_of_write(e, w, &path.leaf)) != 0)
		return err;
	err = revtree_merge(e->t, &path, &at, &how);
	if (err == ERR_CHANGED) {
		e->unspilled = 1;
		if ((err = revtree_unspill(e->t, block_get, e)) == 0)
			err = revtree_merge(e->t, &path, &at, &how);
	}
	if (err)
		return err;
	e->changed |= how != REVMERGE_NONE;
	e->pend[path.leaf.body - PENDING].gone = revtree_at(e->t, at)->body != path.leaf.body;
	return 0;
}

/*
 * apply_edit: new_edits=true. The parent must be a leaf; a document that is not there takes any parent; one
 * that is deleted may be made anew without naming its tombstone, as the tombstone's child, but not by naming
 * it. (New attachments then keep revpos 1, as CouchDB has it.)
 */
static int
apply_edit(struct docedit *e, struct db_write *w)
{
	struct prepared *p = w->prepared;
	struct rev path[2], parent = rev_of(&w->parent);
	const struct revnode *winner;
	size_t n = 1;
	int err;

	if (revtree_nleaves(e->t) == 0) {
		if (p->refused)
			return ERR_NOT_DB_ADMIN;
		path[1] = parent;
		n += w->has_parent != 0;
	} else {
		struct revpos at = revtree_leaf_pos(e->t, 0);

		winner = revtree_leaf(e->t, 0);
		if (w->has_parent && (!revtree_find(e->t, &parent, &at) || !revtree_is_leaf(e->t, at)))
			return ERR_CONFLICT;
		if (w->has_parent ? winner->deleted && revtree_at(e->t, at)->deleted && !w->deleted : !winner->deleted)
			return ERR_CONFLICT;
		if (p->refused)
			return ERR_NOT_DB_ADMIN;
		path[1] = revtree_at(e->t, at)->rev;
		n = 2;
		if (!w->has_parent) {
			if ((err = prepare_rev(w, &path[1], 1, &p->rev)) != 0)
				return err;
		}
	}
	path[0] = rev_of(&p->rev);
	w->rev = p->rev;
	return merge(e, w, path, n);
}

/*
 * room_for: A tree of LIMIT_LEAVES leaves takes what it knows and what extends a leaf, but no further branch.
 */
static int
room_for(const struct docedit *e, const struct db_write *w)
{
	struct revpos at;

	return revtree_nleaves(e->t) < LIMIT_LEAVES || revtree_find(e->t, &w->path[0], &at) ||
	       (w->npath > 1 && revtree_find(e->t, &w->path[1], &at) && revtree_is_leaf(e->t, at));
}

static int
apply_replicated(struct docedit *e, struct db_write *w)
{
	uint64_t limit = e->c->state.revs_limit;
	size_t n = w->npath < limit ? w->npath : (size_t)limit;

	rev_copy(&w->rev, &w->path[0]);
	if (!room_for(e, w))
		return err_why(&w->why, ERR_DOC_TOO_LARGE, "The document has too many conflicts.");
	return merge(e, w, w->path, n);
}

static void body_gone(const struct revnode *node, void *cookie);

/* apply_purge: Leaves go, with what only they had. A revision that is no leaf stays, and is not reported. */
static int
apply_purge(struct docedit *e, struct db_write *w)
{
	int err, removed;

	if (e->nspills > 0 && !e->unspilled) {
		e->unspilled = 1;
		if ((err = revtree_unspill(e->t, block_get, e)) != 0)
			return err;
	}
	for (size_t i = 0; i < w->npath; i++) {
		w->purged[i] = 0;
		if (revtree_nleaves(e->t) == 0)
			continue;
		if ((err = revtree_drop_leaf(e->t, &w->path[i], &removed, body_gone, e)) != 0 || (err = e->err) != 0)
			return err;
		w->purged[i] = (unsigned char)removed;
		e->changed |= removed;
	}
	return purge_remember(e->c, w);
}

/* leaves_match: The condition of struct db_request: the leaves are those that the writer saw. */
static int
leaves_match(const struct docedit *e, const struct db_request *req)
{
	size_t n = revtree_nleaves(e->t);

	if (n != req->nleaves)
		return 0;
	for (size_t i = 0; i < n; i++) {
		const struct rev *leaf = &revtree_leaf(e->t, i)->rev;
		size_t k = 0;

		while (k < n && !rev_equal(leaf, &req->leaves[k]))
			k++;
		if (k == n)
			return 0;
	}
	return 1;
}

/* apply_writes: An error is the transaction's; a conflict or a refusal is the write's own. */
static int
apply_writes(struct docedit *e, struct pending_write *pw, size_t n)
{
	const struct db_request *judged = NULL;
	int match = 1, err;

	for (size_t i = 0; i < n; i++) {
		struct db_write *w = pw[i].w;

		if (pw[i].req->leaves != NULL && pw[i].req != judged) {
			judged = pw[i].req;
			match = leaves_match(e, judged);
		}
		if (pw[i].req->leaves != NULL && !match) {
			w->err = ERR_CHANGED;
			continue;
		}
		err = w->kind == DB_WRITE_PURGE  ? apply_purge(e, w)
		      : w->kind == DB_WRITE_EDIT ? apply_edit(e, w)
						 : apply_replicated(e, w);
		if (err == ERR_CONFLICT || err == ERR_NOT_DB_ADMIN || err == ERR_DOC_TOO_LARGE ||
		    err == ERR_MISSING_STUB)
			w->err = err;
		else if (err)
			return err;
	}
	return 0;
}

/* ---- Bodies ---- */

static int
unref_atts(struct commit *c, struct bytes *payload)
{
	struct doc_att *atts;
	size_t n;
	int err = payload_atts(payload, c->doc_a, &atts, &n);

	for (size_t i = 0; i < n && err == 0; i++)
		err = blob_commit_ref(c, atts[i].blob, -1);
	return err;
}

/* superseded: A body in `bodies` becomes a revision's that is no leaf, or is that no longer. */
static void
superseded(struct commit *c, uint64_t body, int is, size_t len)
{
	if (body >= c->state.counted_from)
		c->state.superseded_bytes += is ? len : -(uint64_t)len;
}

/* body_gone: A revision left the tree, or its body is not kept any longer. */
static void
body_gone(const struct revnode *node, void *cookie)
{
	struct docedit *e = cookie;
	struct bytes r;
	unsigned char key[8];

	if (e->err || node->body == REVTREE_NO_BODY)
		return;
	if (node->body >= PENDING) {
		struct pendbody *p = &e->pend[node->body - PENDING];

		p->gone = 1;
		if (p->w == NULL) { /* was stored, so its attachments are counted */
			bytes_init(&r, p->raw.s, p->raw.len);
			e->err = unref_atts(e->c, &r);
		}
		return;
	}
	bytes_store_u64be(key, node->body);
	if ((e->err = snap_payload(e->c->snap, node->body, &r)) != 0)
		return;
	if (!node->was_leaf)
		superseded(e->c, node->body, 0, bytes_left(&r));
	if ((e->err = unref_atts(e->c, &r)) == 0)
		e->err = store_del(e->c->batch, TREE_BODIES, key, sizeof(key));
}

/* payload_of: The bytes of a pending body, in the transaction's scratch buffer or where they were loaded. */
static int
payload_of(struct docedit *e, const struct pendbody *p, struct jstr *out)
{
	struct buf *b = &e->c->scratch;
	struct prepared *prep;
	int err = 0;

	*out = p->raw;
	if (p->w == NULL)
		return 0;
	prep = p->w->prepared;
	for (size_t i = 0; i < p->w->natts && err == 0; i++) {
		if (p->w->atts[i].blob != NULL)
			err = blob_commit_adopt(e->c, p->w->atts[i].blob, &prep->atts[i].blob);
		if (err == 0)
			err = blob_commit_ref(e->c, prep->atts[i].blob, 1);
	}
	if (err)
		return err;
	buf_clear(b);
	if ((err = payload_put_atts(b, prep->atts, p->w->natts)) != 0 ||
	    (err = buf_put(b, prep->body.s, prep->body.len)) != 0)
		return err;
	out->len = b->len;
	out->s = arena_dup(e->c->doc_a, b->data, b->len);
	return out->s != NULL ? 0 : ERR_NOMEM;
}

struct placing {
	struct docedit *e;
	const struct revnode *winner;
	struct jstr inlined;
};

/* note_superseded: A leaf with a body in `bodies` may have got a child. */
static int
note_superseded(struct docedit *e, struct revnode *node, struct revpos at)
{
	struct bytes r;
	int err;

	if (!node->was_leaf || revtree_is_leaf(e->t, at) || node->body == REVTREE_NO_BODY)
		return 0;
	if ((err = snap_payload(e->c->snap, node->body, &r)) == 0)
		superseded(e->c, node->body, 1, bytes_left(&r));
	return err;
}

static int
place_body(struct revnode *node, struct revpos at, void *cookie)
{
	struct placing *pl = cookie;
	struct docedit *e = pl->e;
	struct jstr payload;
	unsigned char key[8];
	int err;

	if (node->body < PENDING)
		return note_superseded(e, node, at);
	if ((err = payload_of(e, &e->pend[node->body - PENDING], &payload)) != 0)
		return err;
	if (node == pl->winner && payload.len <= INLINE_MAX) {
		node->body = REVTREE_INLINE;
		pl->inlined = payload;
		return 0;
	}
	node->body = e->c->state.next_body++;
	if (!revtree_is_leaf(e->t, at))
		superseded(e->c, node->body, 1, payload.len);
	bytes_store_u64be(key, node->body);
	return record_put(e->c->batch, TREE_BODIES, key, sizeof(key), payload.s, payload.len);
}

/* ---- Spilled revisions ---- */

static int
block_put(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie)
{
	struct docedit *e = cookie;
	struct docrec_key key;

	if (e->rec.docno == 0)
		e->rec.docno = e->c->state.next_docno++;
	key = docrec_block_key(e->rec.docno, run_id, block);
	return record_put(e->c->batch, TREE_REVS, key.bytes, sizeof(key.bytes), bytes->data, bytes->len);
}

static int
stemmed_body(const struct revnode *node, void *cookie)
{
	struct docedit *e = cookie;

	body_gone(node, e);
	return e->err;
}

static int
block_dropped(uint32_t run_id, uint64_t block, void *cookie)
{
	struct docedit *e = cookie;
	struct docrec_key key = docrec_block_key(e->rec.docno, run_id, block);
	struct bytes r;
	int err = 0;

	if (!e->unspilled && (err = block_get(run_id, block, &r, e)) == 0)
		err = revtree_block_each(&r, block, stemmed_body, e);
	return err ? err : store_del(e->c->batch, TREE_REVS, key.bytes, sizeof(key.bytes));
}

/* ---- Storing ---- */

static int
put_record(struct docedit *e, const struct docrec *rec)
{
	struct commit *c = e->c;
	struct counts_change count = {.existed = e->existed, .exists = 1};
	struct idkey_batch *keys;
	struct idkey_place place;
	int err;

	count.old_weight = e->existed && !e->rec.deleted;
	count.new_weight = !rec->deleted;
	buf_clear(&c->scratch);
	if ((err = docrec_encode(&c->scratch, rec)) != 0 || (err = commit_doc_keys(c, &keys)) != 0 ||
	    (err = idkey_put(keys, e->id.s, e->id.len, e->existed,
		 (int64_t)count.new_weight - (int64_t)count.old_weight, &place)) != 0 ||
	    (err = record_put(c->batch, place.tree, place.key, place.klen, c->scratch.data, c->scratch.len)) != 0)
		return err;
	c->state.doc_count += count.new_weight - count.old_weight;
	c->state.doc_del_count += (uint64_t)rec->deleted - (uint64_t)(e->existed && e->rec.deleted);
	c->state.external_bytes += external_of(e->t) - e->old_external;
	c->touched = 1;
	if (place.tree != TREE_DOCS || (e->existed && count.old_weight == count.new_weight))
		return 0;
	count.key = arena_dup(c->a, place.key, place.klen);
	count.klen = place.klen;
	return count.key != NULL ? commit_count(c, &c->docs, &count) : ERR_NOMEM;
}

static int
put_change_key(struct commit *c, uint64_t seq, int exists, unsigned char *key)
{
	const struct counts_change count = {key, 8, !exists, exists, (uint64_t)!exists, (uint64_t)exists};

	bytes_store_u64be(key, seq);
	return commit_count(c, &c->changes, &count);
}

/* remove_record: Nothing is left of the document. */
static int
remove_record(struct docedit *e)
{
	struct commit *c = e->c;
	struct counts_change count = {.existed = 1, .old_weight = !e->rec.deleted};
	unsigned char *seq = arena_alloc(c->a, 8);
	struct idkey_batch *keys;
	struct idkey_place place;
	int err;

	if (seq == NULL)
		return ERR_NOMEM;
	if ((err = revtree_spill_dropped(e->spills, e->nspills, e->t, block_dropped, e)) != 0 ||
	    (err = commit_doc_keys(c, &keys)) != 0 ||
	    (err = idkey_del(keys, e->id.s, e->id.len, -(int64_t)count.old_weight, &place)) != 0 ||
	    (err = store_del(c->batch, place.tree, place.key, place.klen)) != 0 ||
	    (err = put_change_key(c, e->rec.seq, 0, seq)) != 0 ||
	    (err = store_del(c->batch, TREE_CHANGES, seq, 8)) != 0)
		return err;
	c->state.doc_count -= count.old_weight;
	c->state.doc_del_count -= e->rec.deleted != 0;
	c->state.external_bytes -= e->old_external;
	c->touched = 1;
	if (place.tree != TREE_DOCS)
		return 0;
	count.key = arena_dup(c->a, place.key, place.klen);
	count.klen = place.klen;
	return count.key != NULL ? commit_count(c, &c->docs, &count) : ERR_NOMEM;
}

/* put_change: The document's row moves to its new sequence. */
static int
put_change(struct docedit *e, uint64_t seq)
{
	struct commit *c = e->c;
	unsigned char *keys = arena_alloc(c->a, 16);
	int err;

	if (keys == NULL)
		return ERR_NOMEM;
	if (e->existed && ((err = put_change_key(c, e->rec.seq, 0, keys)) != 0 ||
			      (err = store_del(c->batch, TREE_CHANGES, keys, 8)) != 0))
		return err;
	buf_clear(&c->scratch);
	if ((err = put_change_key(c, seq, 1, keys + 8)) != 0 ||
	    (err = changerow_encode(&c->scratch, e->t, e->id.s, e->id.len)) != 0)
		return err;
	return record_put(c->batch, TREE_CHANGES, keys + 8, 8, c->scratch.data, c->scratch.len);
}

/* settle: Bodies, spilled blocks and the record, once the tree is as it will be. */
static int
settle(struct docedit *e, uint64_t seq)
{
	struct placing pl = {e, revtree_leaf(e->t, 0), {NULL, 0}};
	struct docrec rec = {.deleted = pl.winner->deleted, .seq = seq, .ext = e->rec.ext};
	struct buf tree;
	int err;

	if ((err = revtree_each(e->t, place_body, &pl)) != 0 || (err = revtree_spill(e->t, block_put, e)) != 0 ||
	    (err = revtree_spill_dropped(e->spills, e->nspills, e->t, block_dropped, e)) != 0)
		return err;
	rec.docno = e->rec.docno;
	rec.payload = pl.inlined;
	buf_init(&tree, LIMIT_TXN_BYTES);
	if ((err = revtree_encode(e->t, &tree)) == 0) {
		rec.tree = (struct jstr){tree.data, tree.len};
		err = put_record(e, &rec);
	}
	buf_release(&tree);
	return err;
}

static int
store_edit(struct docedit *e, struct pending_write *pw, size_t n)
{
	uint64_t seq = ++e->c->state.update_seq;
	int err;

	if (revtree_nleaves(e->t) == 0)
		return e->existed ? remove_record(e) : 0;
	if ((err = revtree_stem(e->t, e->c->state.revs_limit, body_gone, e)) != 0 || (err = e->err) != 0)
		return err;
	if ((err = settle(e, seq)) != 0 || (err = put_change(e, seq)) != 0)
		return err;
	for (size_t i = 0; i < n; i++)
		if (pw[i].w->err == 0)
			pw[i].w->seq = seq;
	return 0;
}

int
docedit_run(struct commit *c, struct pending_write *pw, size_t n)
{
	struct docedit e;
	size_t put = store_batch_bytes(c->batch), refs = c->nrefs;
	int err = load(&e, c, &pw[0].w->id);

	if (err == 0)
		err = apply_writes(&e, pw, n);
	/* A document whose record or older revisions are damaged cannot be written; the others of the group can, if
	 * nothing of this one is in the transaction yet. */
	if (err == ERR_CORRUPT && store_batch_bytes(c->batch) == put && c->nrefs == refs) {
		for (size_t i = 0; i < n; i++)
			pw[i].w->err = err;
		return 0;
	}
	if (err)
		return err;
	return e.changed ? store_edit(&e, pw, n) : 0;
}

/* ---- Compaction ---- */

struct trimming {
	struct docedit *e;
	int any;
};

static int
trim_node(struct revnode *node, struct revpos at, void *cookie)
{
	struct trimming *t = cookie;

	if (node->body == REVTREE_NO_BODY || revtree_is_leaf(t->e->t, at))
		return t->e->err;
	body_gone(node, t->e);
	node->body = REVTREE_NO_BODY;
	node->body_len = 0;
	t->any = 1;
	return t->e->err;
}

/* stemmed: A revision beyond the limit, which may have been lowered since the document was written. */
static void
stemmed(const struct revnode *node, void *cookie)
{
	struct trimming *t = cookie;

	body_gone(node, t->e);
	t->any = 1;
}

/* repack: The winner's body, if it was stored before the database had a dictionary. */
static int
repack(struct docedit *e, int *anyp)
{
	const struct revnode *winner = revtree_leaf(e->t, 0);
	struct buf *b = &e->c->scratch;
	struct body_dicts *z = e->c->f->dicts;
	struct pendbody *p;
	struct doc_att *atts;
	struct jstr text;
	struct bytes r;
	size_t n, head;
	int err;

	if (body_dicts_current(z) == 0 || winner->body < PENDING)
		return 0;
	p = &e->pend[winner->body - PENDING];
	bytes_init(&r, p->raw.s, p->raw.len);
	if ((err = payload_atts(&r, e->c->doc_a, &atts, &n)) != 0)
		return err;
	head = p->raw.len - bytes_left(&r);
	if (bytes_left(&r) == 0 || *r.p != BODY_RAW)
		return 0;
	buf_clear(b);
	if ((err = body_unpack(z, &r, e->c->doc_a, &text)) != 0 || (err = buf_put(b, p->raw.s, head)) != 0 ||
	    (err = body_pack(z, text.s, text.len, b)) != 0)
		return err;
	if (b->len >= p->raw.len)
		return 0;
	p->raw = (struct jstr){arena_dup(e->c->doc_a, b->data, b->len), b->len};
	*anyp = 1;
	return p->raw.s != NULL ? 0 : ERR_NOMEM;
}

int
docedit_trim(struct commit *c, const struct jstr *id)
{
	struct docedit e;
	struct trimming t = {&e, 0};
	int err;

	if ((err = load(&e, c, id)) == 0 && e.nspills > 0) {
		e.unspilled = 1;
		err = revtree_unspill(e.t, block_get, &e);
	}
	if (err) /* what is damaged stays as it is, and keeps no other document from being compacted */
		return err == ERR_CORRUPT ? 0 : err;
	/* What unspilling brought back of revisions that were stemmed within a block goes first. */
	if ((err = revtree_stem(e.t, c->state.revs_limit, stemmed, &t)) != 0 || (err = e.err) != 0)
		return err;
	if ((err = revtree_each(e.t, trim_node, &t)) != 0 || (err = repack(&e, &t.any)) != 0)
		return err;
	return t.any || e.unspilled ? settle(&e, e.rec.seq) : 0;
}

/* ---- _local documents ---- */

/* local_number: The N of the revision "0-N" that the writer saw. */
static uint64_t
local_number(const struct db_write *w)
{
	uint64_t n = 0;

	for (size_t i = 0; w->has_parent && i < w->parent.len && i < 19; i++)
		if (w->parent.id[i] >= '0' && w->parent.id[i] <= '9')
			n = n * 10 + (unsigned)(w->parent.id[i] - '0');
	return n;
}

static void
local_rev(struct db_write *w, uint64_t number)
{
	int len = snprintf((char *)w->rev.id, sizeof(w->rev.id), "%llu", (unsigned long long)number);

	w->rev.gen = 0;
	w->rev.len = (size_t)len;
}

/* local_find: Is it there, for the transaction as it stands?  *${lp}: its entry in the transaction's list. */
static int
local_find(struct commit *c, const struct jstr *id, struct localdoc **lp)
{
	struct idkey_place place;
	struct store_val val;
	struct localdoc *l;
	int err;

	for (l = c->locals; l != NULL; l = l->next)
		if (l->id.len == id->len && memcmp(l->id.s, id->s, id->len) == 0) {
			*lp = l;
			return 0;
		}
	if ((err = idkey_find(&db_local_trees, c->snap, id->s, id->len, &place)) == 0)
		err = store_get(c->snap, place.tree, place.key, place.klen, &val);
	if (err && err != ERR_MISSING)
		return err;
	if ((l = arena_alloc(c->a, sizeof(*l))) == NULL)
		return ERR_NOMEM;
	*l = (struct localdoc){*id, err == 0, c->locals};
	c->locals = l;
	*lp = l;
	return 0;
}

int
docedit_local(struct commit *c, struct db_write *w)
{
	const struct prepared *p = w->prepared;
	uint64_t number = w->deleted ? 0 : local_number(w) + 1;
	struct idkey_place place;
	struct idkey_batch *keys;
	struct localdoc *l;
	int err, existed;

	if ((err = local_find(c, &w->id, &l)) != 0)
		return err;
	existed = l->exists;
	if (w->deleted && !existed) {
		w->err = ERR_MISSING;
		return 0;
	}
	l->exists = !w->deleted;
	local_rev(w, number);
	c->touched = 1;
	if ((err = commit_local_keys(c, &keys)) != 0)
		return err;
	if (w->deleted) {
		if ((err = idkey_del(keys, w->id.s, w->id.len, -1, &place)) != 0)
			return err;
		return store_del(c->batch, place.tree, place.key, place.klen);
	}
	buf_clear(&c->scratch);
	buf_put_varint(&c->scratch, number);
	buf_put(&c->scratch, p->body.s, p->body.len);
	if ((err = buf_failed(&c->scratch)) != 0 ||
	    (err = idkey_put(keys, w->id.s, w->id.len, existed, existed ? 0 : 1, &place)) != 0)
		return err;
	return record_put(c->batch, place.tree, place.key, place.klen, c->scratch.data, c->scratch.len);
}
