/*
 * What compaction does to one document: revisions beyond the limit go, superseded bodies go or are kept for merging alone,
 * and what stays is packed tight.
 *
 * A body that is kept so (revnode.kept) is gone for everybody but db_doc_base(): clients are answered as if compaction
 * had dropped it, as CouchDB does.  It still holds its attachments.  Kept are the bodies of
 *   - the revisions at which the paths of leaves that are not deleted part: the base of a merge of them;
 *   - on each such leaf's path the newest state.keep_revs superseded ones, and those that may be younger than
 *     state.keep_seconds.
 * Each compaction decides anew: what was kept and is not wanted any longer goes.
 *
 * Whatever is damaged stays as it is.
 */
#include "docedit_impl.h"

#include <string.h>

struct trimming {
	struct docedit *e;
	int any; /* the tree or the winner's payload is another one now */
	struct gone *gone;
};

/* A revision that stemming has taken from the tree. */
struct gone {
	struct revnode node;
	struct gone *next;
};

/* ---- What is kept ---- */

static uint64_t
number_of(const struct revnode *node)
{
	return node->body != REVTREE_NO_BODY ? node->body : node->kept;
}

static void
want(struct revnode *node, void *cookie)
{
	(void)cookie;
	node->mark |= DOCEDIT_WANTED;
}

/* want_path: What the settings keep on the path of leaf ${i}. */
static void
want_path(struct docedit *e, size_t i)
{
	struct revpos at = revtree_leaf_pos(e->t, i);
	uint64_t n = 0;

	while (revtree_parent(e->t, at, &at) && (n < e->c->state.keep_revs || e->c->state.keep_seconds > 0)) {
		struct revnode *node = revtree_at(e->t, at);
		uint64_t number = number_of(node);

		if (number == REVTREE_NO_BODY)
			continue;
		if (n < e->c->state.keep_revs || number >= e->c->young_from)
			node->mark |= DOCEDIT_WANTED;
		n++;
	}
}

static int
want_bodies(struct docedit *e)
{
	int err = ages_young(e->c);

	if (err)
		return err;
	revtree_each_fork(e->t, want, NULL);
	for (size_t i = 0; i < revtree_nleaves(e->t); i++)
		if (!revtree_leaf(e->t, i)->deleted)
			want_path(e, i);
	return 0;
}

/* keep: A superseded body becomes one that is kept for merging. */
static int
keep(struct docedit *e, struct revnode *node)
{
	struct bytes r;
	int err;

	if (node->kept != REVTREE_NO_BODY && (err = docedit_gone_number_(e, node->kept, 0)) != 0)
		return err;
	if ((err = snap_payload(e->c->snap, node->body, &r)) != 0)
		return err;
	docedit_superseded_(e->c, node->body, 0, bytes_left(&r));
	node->kept = node->body;
	node->body = REVTREE_NO_BODY;
	node->body_len = 0;
	return 0;
}

/* is_damaged: ERR_CORRUPT if it is not known which attachments go with a body. */
static int
is_damaged(struct docedit *e, uint64_t number)
{
	struct doc_att *atts;
	struct bytes r;
	size_t n;
	int err = number != REVTREE_NO_BODY ? snap_payload(e->c->snap, number, &r) : ERR_MISSING;

	return err ? (err == ERR_MISSING ? 0 : err) : payload_atts(&r, e->c->doc_a, &atts, &n);
}

static int
trim_node(struct revnode *node, struct revpos at, void *cookie)
{
	struct trimming *t = cookie;
	int err;

	if (revtree_is_leaf(t->e->t, at) || number_of(node) == REVTREE_NO_BODY)
		return 0;
	if ((err = is_damaged(t->e, node->body)) != 0 || (err = is_damaged(t->e, node->kept)) != 0)
		return err == ERR_CORRUPT ? 0 : err;
	if (node->mark & DOCEDIT_WANTED) {
		if (node->body == REVTREE_NO_BODY)
			return 0;
		t->any = 1;
		return keep(t->e, node);
	}
	docedit_gone_(node, t->e);
	node->body = REVTREE_NO_BODY;
	node->body_len = 0;
	node->kept = REVTREE_NO_BODY;
	t->any = 1;
	return t->e->err;
}

/* stemmed: A revision beyond the limit, which may have been lowered since the document was written. */
static void
stemmed(const struct revnode *node, void *cookie)
{
	struct trimming *t = cookie;
	struct gone *g = arena_alloc(t->e->c->doc_a, sizeof(*g));

	if (g == NULL) {
		t->e->err = ERR_NOMEM;
		return;
	}
	*g = (struct gone){*node, t->gone};
	t->gone = g;
}

/*
 * stem: Stemming cannot leave out a revision whose body is damaged: ERR_CORRUPT then, before anything is put.
 */
static int
stem(struct trimming *t)
{
	struct docedit *e = t->e;
	int err = revtree_stem(e->t, e->c->state.revs_limit, stemmed, t);

	if (err || (err = e->err) != 0)
		return err;
	for (const struct gone *g = t->gone; g != NULL; g = g->next)
		if ((err = is_damaged(e, g->node.body)) != 0 || (err = is_damaged(e, g->node.kept)) != 0)
			return err;
	for (const struct gone *g = t->gone; g != NULL && e->err == 0; g = g->next)
		docedit_gone_(&g->node, e);
	t->any |= t->gone != NULL;
	return e->err;
}

/* ---- Spilled revisions ---- */

static int
has_body(const struct revnode *node, void *cookie)
{
	(void)cookie;
	return number_of(node) != REVTREE_NO_BODY ? ERR_CHANGED : 0;
}

/* spilled_bodies: ERR_CHANGED if any spilled revision has a body; most have lost it to an earlier compaction. */
static int
spilled_bodies(struct docedit *e)
{
	struct bytes r;
	int err = 0;

	for (size_t i = 0; i < e->nspills; i++) {
		const struct revspill *s = &e->spills[i];

		for (uint64_t b = s->first_gen / REVTREE_BLOCK; b <= s->last_gen / REVTREE_BLOCK; b++)
			if ((err = docedit_block_(e, s->run_id, b, &r)) != 0 ||
			    (err = revtree_block_each(&r, b, has_body, NULL)) != 0)
				return err;
	}
	return 0;
}

/* ---- Packing anew ---- */

/* pack: ${raw} becomes the same payload with its body packed tight; else *${donep} is 0. */
static int
pack(struct docedit *e, struct jstr *raw, int *donep)
{
	struct buf *b = &e->c->scratch;
	struct dbfile *f = e->c->f;
	struct doc_att *atts;
	struct jstr text;
	struct bytes r, body;
	size_t n;
	int err;

	*donep = 0;
	bytes_init(&r, raw->s, raw->len);
	if ((err = payload_atts(&r, e->c->doc_a, &atts, &n)) != 0) {
		dict_used(f, 1);
		return err == ERR_CORRUPT ? 0 : err;
	}
	body = r;
	if (!body_loose(f->dicts, &body) || (!f->pack_all && body_dict_of(&body) == body_dicts_current(f->dicts)))
		return 0;
	if (store_batch_bytes(e->c->batch) >= LIMIT_TXN_BYTES) { /* the next compaction's */
		dict_used(f, body_dict_of(&body));
		return 0;
	}
	buf_clear(b);
	err = body_unpack(f->dicts, &r, e->c->doc_a, &text);
	if (err == ERR_CORRUPT) { /* damaged: it stays as it is */
		dict_used(f, 1);
		return 0;
	}
	if (err || (err = buf_put(b, raw->s, raw->len - bytes_left(&body))) != 0 ||
	    (err = body_pack_tight(f->dicts, text.s, text.len, b)) != 0)
		return err;
	if (b->len == raw->len && memcmp(b->data, raw->s, b->len) == 0)
		return 0;
	*raw = (struct jstr){arena_dup(e->c->doc_a, b->data, b->len), b->len};
	*donep = 1;
	return raw->s != NULL ? 0 : ERR_NOMEM;
}

static int
pack_inline(struct trimming *t, struct revnode *winner)
{
	int done, err = pack(t->e, &t->e->pend[winner->body - DOCEDIT_PENDING].raw, &done);

	t->any |= err == 0 && done;
	return err;
}

/* pack_number: A record of `bodies`; a winner's moves into the document's record if it fits there now. */
static int
pack_number(struct trimming *t, struct revnode *node, uint64_t number)
{
	struct docedit *e = t->e;
	struct pendbody p = {.w = NULL};
	unsigned char key[8];
	struct bytes r;
	int done, err = snap_payload(e->c->snap, number, &r);

	if (err) {
		dict_used(e->c->f, 1);
		return err == ERR_CORRUPT ? 0 : err;
	}
	p.raw = (struct jstr){(const char *)r.p, bytes_left(&r)};
	if ((err = pack(e, &p.raw, &done)) != 0 || !done)
		return err;
	bytes_store_u64be(key, number);
	e->c->touched = 1;
	if (node != revtree_leaf(e->t, 0) || p.raw.len > DOCEDIT_INLINE_MAX)
		return record_put(e->c->batch, TREE_BODIES, key, sizeof(key), p.raw.s, p.raw.len);
	t->any = 1;
	if ((err = store_del(e->c->batch, TREE_BODIES, key, sizeof(key))) != 0)
		return err;
	return docedit_pend_(e, &p, &node->body);
}

/* pack_node: Of what trim_node() has left, everything. */
static int
pack_node(struct revnode *node, struct revpos at, void *cookie)
{
	struct trimming *t = cookie;
	int err = 0;

	(void)at;
	if (node->body >= DOCEDIT_PENDING)
		return pack_inline(t, node);
	if (node->body != REVTREE_NO_BODY)
		err = pack_number(t, node, node->body);
	if (err == 0 && node->kept != REVTREE_NO_BODY)
		err = pack_number(t, node, node->kept);
	return err;
}

/* ---- A document ---- */

int
docedit_trim(struct commit *c, const struct jstr *id)
{
	struct docedit e;
	struct trimming t = {&e, 0, NULL};
	size_t put = store_batch_bytes(c->batch), refs = c->nrefs;
	int err = docedit_load_(&e, c, id);

	if (err == 0 && (err = spilled_bodies(&e)) == ERR_CHANGED)
		err = docedit_unspill_(&e);
	/* What unspilling brought back of revisions that were stemmed within a block goes first. */
	if (err == 0)
		err = stem(&t);
	if (err) { /* what is damaged or too large stays as it is, and keeps no other document from being compacted */
		dict_used(c->f, 1);
		return err == ERR_CORRUPT || docedit_alone_(c, err, put, refs) ? 0 : err;
	}
	if ((err = want_bodies(&e)) != 0 || (err = revtree_each(e.t, trim_node, &t)) != 0 ||
	    (err = revtree_each(e.t, pack_node, &t)) != 0)
		return err;
	return t.any ? docedit_settle_(&e, e.rec.seq) : 0;
}
