/*
 * One document within a transaction, as it is stored: loading it, and putting it back.
 *
 * While a document is edited, bodies that are not in the store under a number of their own are *pending*:
 * their node's body is DOCEDIT_PENDING plus an index into e->pend. The winner's body, if it was inline, is loaded as
 * pending number 0. At the end the winner's pending body goes into the record if it is small, and every other
 * one that is still in the tree goes into `bodies`. So a body moves at most once, when its revision is
 * superseded, and one that was stemmed before is never written.
 *
 * state.superseded_bytes is kept exact here: a body counts from when its revision is no leaf any longer, and
 * is in `bodies`, until it goes or compaction decides to keep it.
 */
#include "docedit_impl.h"

#include <string.h>

/* ---- Loading ---- */

int
docedit_pend_(struct docedit *e, const struct pendbody *p, uint64_t *bodyp)
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
	*bodyp = DOCEDIT_PENDING + e->npend;
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
decode(struct docedit *e, const struct idkey_place *place, const struct store_val *val)
{
	struct pendbody inlined = {.w = NULL};
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
	e->size_rough = 1;
	e->size = (struct revsize){UINT64_MAX / 2, 0};
	for (size_t i = 0; i < revtree_nleaves(e->t); i++)
		revtree_leaf(e->t, i)->mark |= DOCEDIT_WAS_LEAF;
	inlined.raw = e->rec.payload;
	if (revtree_leaf(e->t, 0)->body == REVTREE_INLINE)
		err = docedit_pend_(e, &inlined, &revtree_leaf(e->t, 0)->body);
	return err ? err : revtree_spills(e->t, &e->spills, &e->nspills);
}

int
docedit_load_(struct docedit *e, struct commit *c, const struct jstr *id)
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
	err = err == ERR_MISSING ? revtree_new(c->doc_a, &e->t) : err ? err : decode(e, &place, &val);
	if (err == 0)
		revtree_salt(e->t, c->state.salt);
	return err;
}

int
docedit_block_(struct docedit *e, uint32_t run_id, uint64_t block, struct bytes *r)
{
	struct docrec_key key = docrec_block_key(e->rec.docno, run_id, block);
	struct store_val val;
	int err = store_get(e->c->snap, TREE_REVS, key.bytes, sizeof(key.bytes), &val);

	if (err)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	return record_open(TREE_REVS, key.bytes, sizeof(key.bytes), &val, r);
}

static int
block_get(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	return docedit_block_(cookie, run_id, block, r);
}

int
docedit_unspill_(struct docedit *e)
{
	if (e->nspills == 0 || e->unspilled)
		return 0;
	e->unspilled = 1;
	return revtree_unspill(e->t, block_get, e);
}

int
docedit_distrust_(struct docedit *e, const struct rev *revs, size_t n)
{
	const struct revpath path = {.revs = revs, .n = n};
	int err = revtree_repeats(e->t, &path, block_get, e);

	return err == ERR_CHANGED ? docedit_unspill_(e) : err;
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

void
docedit_superseded_(struct commit *c, uint64_t body, int is, size_t len)
{
	if (body >= c->state.counted_from)
		c->state.superseded_bytes += is ? len : -(uint64_t)len;
}

int
docedit_gone_number_(struct docedit *e, uint64_t number, int counted)
{
	unsigned char key[8];
	struct bytes r;
	int err = snap_payload(e->c->snap, number, &r);

	if (err)
		return err;
	if (counted)
		docedit_superseded_(e->c, number, 0, bytes_left(&r));
	bytes_store_u64be(key, number);
	if ((err = unref_atts(e->c, &r)) != 0)
		return err;
	return store_del(e->c->batch, TREE_BODIES, key, sizeof(key));
}

static int
pending_gone(struct docedit *e, struct pendbody *p)
{
	struct bytes r;

	p->gone = 1;
	if (p->w != NULL)
		return 0;
	bytes_init(&r, p->raw.s, p->raw.len); /* was stored, so its attachments are counted */
	return unref_atts(e->c, &r);
}

void
docedit_gone_(const struct revnode *node, void *cookie)
{
	struct docedit *e = cookie;

	if (e->err == 0 && node->kept != REVTREE_NO_BODY)
		e->err = docedit_gone_number_(e, node->kept, 0);
	if (e->err || node->body == REVTREE_NO_BODY)
		return;
	if (node->body >= DOCEDIT_PENDING)
		e->err = pending_gone(e, &e->pend[node->body - DOCEDIT_PENDING]);
	else
		e->err = docedit_gone_number_(e, node->body, !(node->mark & DOCEDIT_WAS_LEAF));
}

/* payload_of: The bytes of a pending body, in the transaction's scratch buffer or where they were loaded. */
static int
payload_of(struct docedit *e, const struct pendbody *p, struct jstr *out)
{
	struct buf *b = &e->c->scratch;
	struct prepared *prep;
	struct jstr body;
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
	body = prep->body;
	if (err || (err = dict_refresh(e->c, &body)) != 0)
		return err;
	buf_clear(b);
	if ((err = payload_put_atts(b, prep->atts, p->w->natts)) != 0 || (err = buf_put(b, body.s, body.len)) != 0)
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

	if (!(node->mark & DOCEDIT_WAS_LEAF) || revtree_is_leaf(e->t, at) || node->body == REVTREE_NO_BODY)
		return 0;
	if ((err = snap_payload(e->c->snap, node->body, &r)) != 0)
		return err;
	docedit_superseded_(e->c, node->body, 1, bytes_left(&r));
	return docedit_atts_note_(e, r.p, bytes_left(&r));
}

static int
place_body(struct revnode *node, struct revpos at, void *cookie)
{
	struct placing *pl = cookie;
	struct docedit *e = pl->e;
	struct pendbody *p;
	struct jstr payload;
	unsigned char key[8];
	int err;

	if (node->body < DOCEDIT_PENDING)
		return note_superseded(e, node, at);
	p = &e->pend[node->body - DOCEDIT_PENDING];
	p->leaf = revtree_is_leaf(e->t, at);
	p->at = at;
	if ((err = payload_of(e, p, &payload)) != 0)
		return err;
	if (node == pl->winner && payload.len <= DOCEDIT_INLINE_MAX) {
		node->body = REVTREE_INLINE;
		pl->inlined = payload;
		return 0;
	}
	if ((err = ages_note(e->c)) != 0)
		return err;
	node->body = e->c->state.next_body++;
	if (!p->leaf) {
		docedit_superseded_(e->c, node->body, 1, payload.len);
		if ((err = docedit_atts_note_(e, payload.s, payload.len)) != 0)
			return err;
	}
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

	docedit_gone_(node, e);
	return e->err;
}

static int
block_dropped(uint32_t run_id, uint64_t block, void *cookie)
{
	struct docedit *e = cookie;
	struct docrec_key key = docrec_block_key(e->rec.docno, run_id, block);
	struct bytes r;
	int err = 0;

	if (!e->unspilled && (err = docedit_block_(e, run_id, block, &r)) == 0)
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

int
docedit_remove_(struct docedit *e)
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

int
docedit_put_change_(struct docedit *e, uint64_t seq)
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

int
docedit_settle_(struct docedit *e, uint64_t seq)
{
	struct placing pl = {e, revtree_leaf(e->t, 0), {NULL, 0}};
	struct docrec rec = {.deleted = pl.winner->deleted, .seq = seq, .ext = e->rec.ext};
	struct buf tree;
	int err;

	if ((err = revtree_each(e->t, place_body, &pl)) != 0)
		return err;
	docedit_atts_settle_(e);
	if ((err = revtree_spill(e->t, block_put, e)) != 0 ||
	    (err = revtree_spill_dropped(e->spills, e->nspills, e->t, block_dropped, e)) != 0)
		return err;
	rec.docno = e->rec.docno;
	rec.payload = pl.inlined;
	buf_init(&tree, 2 * LIMIT_TREE_BYTES); /* edits of many leaves add to what room_for() has let in */
	if ((err = revtree_encode(e->t, &tree)) == 0) {
		rec.tree = (struct jstr){tree.data, tree.len};
		err = put_record(e, &rec);
	}
	buf_release(&tree);
	return err;
}
