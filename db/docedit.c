/*
 * All writes of one document within one transaction.
 *
 *   load --> edit, replicate or purge, for each write --> stem --> place bodies --> spill
 *        --> put the record and its row in `changes`
 *
 * A document gets one new sequence for all that happened to it here.  docedit_store.c loads and stores.
 */
#include "docedit_impl.h"

#include <string.h>

static int
leaf_of_write(struct docedit *e, const struct db_write *w, struct revnode *out)
{
	const struct prepared *p = w->prepared;
	const struct pendbody pend = {.w = w};

	memset(out, 0, sizeof(*out));
	out->deleted = w->deleted != 0;
	out->body_len = p->external;
	return docedit_pend_(e, &pend, &out->body);
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

/*
 * is_history: A path that is known and ends before a leaf tells nothing, even if its last revision's body is not
 * here: it is taken silently, as CouchDB does, and no sequence is spent on it.
 */
static int
is_history(const struct docedit *e, const struct rev *revs, size_t n)
{
	struct revpos at;

	return revtree_find(e->t, &revs[0], &at) && !revtree_is_leaf(e->t, at) &&
	       revtree_first_gen(e->t, at) <= revs[n - 1].gen;
}

/* grown: By a path that was merged. */
static void
grown(struct docedit *e, const struct revpath *path)
{
	struct revsize more = revtree_path_size(path);

	e->size.revs += more.revs;
	e->size.bytes += more.bytes;
	e->size_rough = 1;
}

static int
merge(struct docedit *e, const struct db_write *w, const struct rev *revs, size_t n)
{
	struct revpath path = {.revs = revs, .n = n};
	enum revmerge how;
	struct revpos at;
	int err;

	if (is_history(e, revs, n))
		return 0;
	if ((err = stubs_there(e, w)) != 0 || (err = leaf_of_write(e, w, &path.leaf)) != 0)
		return err;
	err = revtree_merge(e->t, &path, &at, &how);
	if (err == ERR_CHANGED && (err = docedit_unspill_(e)) == 0) {
		if (is_history(e, revs, n)) {
			e->pend[path.leaf.body - DOCEDIT_PENDING].gone = 1;
			return 0;
		}
		err = revtree_merge(e->t, &path, &at, &how);
	}
	if (err)
		return err;
	e->changed |= how != REVMERGE_NONE;
	if (how != REVMERGE_NONE)
		grown(e, &path);
	e->pend[path.leaf.body - DOCEDIT_PENDING].gone = revtree_at(e->t, at)->body != path.leaf.body;
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
			return p->refused;
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
			return p->refused;
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
fits(const struct revsize *size, const struct revsize *more)
{
	return size->revs + more->revs <= LIMIT_TREE_REVS && size->bytes + more->bytes <= LIMIT_TREE_BYTES;
}

/*
 * size_for: The same for its size.  What extends a leaf as an edit does is taken: with tombstones a document becomes smaller
 * again.  All runs are looked at only where a sum of what came does not tell.
 */
static int
size_for(struct docedit *e, const struct rev *revs, size_t n)
{
	const struct revpath path = {.revs = revs, .n = n};
	struct revsize more = revtree_path_size(&path);
	struct revpos at;

	if (fits(&e->size, &more))
		return 1;
	if (e->size_rough) {
		e->size = revtree_size(e->t);
		e->size_rough = 0;
	}
	if (fits(&e->size, &more))
		return 1;
	if (revtree_find(e->t, &revs[0], &at))
		return revtree_first_gen(e->t, at) <= revs[n - 1].gen;
	return n > 1 && revs[0].len <= REV_MD5_LEN && revtree_find(e->t, &revs[1], &at) && revtree_is_leaf(e->t, at) &&
	       revtree_first_gen(e->t, at) <= revs[n - 1].gen;
}

static int
apply_replicated(struct docedit *e, struct db_write *w)
{
	uint64_t limit = e->c->state.revs_limit;
	size_t n = w->npath < limit ? w->npath : (size_t)limit;
	int err;

	rev_copy(&w->rev, &w->path[0]);
	if (!room_for(e, w))
		return err_why(&w->why, ERR_DOC_TOO_LARGE, "The document has too many conflicts.");
	if (!size_for(e, w->path, n))
		return err_why(&w->why, ERR_DOC_TOO_LARGE, "The document has too many revisions.");
	if ((err = docedit_distrust_(e, w->path, n)) != 0)
		return err;
	return merge(e, w, w->path, n);
}

static int
apply_purge(struct docedit *e, struct db_write *w)
{
	int err, removed;

	if ((err = docedit_unspill_(e)) != 0)
		return err;
	for (size_t i = 0; i < w->npath; i++) {
		w->purged[i] = 0;
		if (revtree_nleaves(e->t) == 0)
			continue;
		if ((err = revtree_drop_leaf(e->t, &w->path[i], &removed, docedit_gone_, e)) != 0 ||
		    (err = e->err) != 0)
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

/* The writes of a conditional request, which stand one behind the other. */
struct together {
	const struct db_request *req;
	int match;
	int again; /* one of the verdicts does not hold any longer */
};

static int
judge_together(struct docedit *e, const struct pending_write *pw, size_t n, struct together *t)
{
	int err = 0, holds;

	*t = (struct together){pw[0].req, leaves_match(e, pw[0].req), 0};
	for (size_t i = 0; i < n && pw[i].req == t->req && err == 0; i++) {
		err = docedit_heard_(e, pw[i].w, &holds);
		t->again |= err == 0 && !holds;
	}
	return err;
}

/* is_own: An error that is the write's own, not the transaction's. */
static int
is_own(int err)
{
	return err == ERR_CONFLICT || err == ERR_NOT_DB_ADMIN || err == ERR_NOT_DB_ADMIN_NAMED ||
	       err == ERR_DOC_TOO_LARGE || err == ERR_MISSING_STUB || err == ERR_BAD_REV;
}

/* apply_writes: An error is the transaction's. */
static int
apply_writes(struct docedit *e, struct pending_write *pw, size_t n)
{
	struct together t = {NULL, 0, 0};
	int err, holds;

	for (size_t i = 0; i < n; i++) {
		struct db_write *w = pw[i].w;
		struct prepared *p = w->prepared;

		if (pw[i].req->leaves != NULL && pw[i].req != t.req &&
		    (err = judge_together(e, pw + i, n - i, &t)) != 0)
			return err;
		if (pw[i].req->leaves != NULL && !t.match) {
			w->err = ERR_CHANGED;
			continue;
		}
		if ((err = docedit_heard_(e, w, &holds)) != 0)
			return err;
		if (pw[i].req->leaves != NULL ? t.again : !holds) {
			p->again = 1;
			continue;
		}
		err = w->kind == DB_WRITE_PURGE  ? apply_purge(e, w)
		      : w->kind == DB_WRITE_EDIT ? apply_edit(e, w)
						 : apply_replicated(e, w);
		if (is_own(err))
			w->err = err;
		else if (err)
			return err;
	}
	return 0;
}

static int
store_edit(struct docedit *e, struct pending_write *pw, size_t n)
{
	uint64_t seq = ++e->c->state.update_seq;
	int err;

	e->c->designs |= doc_id_is_design(e->id);
	if (revtree_nleaves(e->t) == 0)
		return e->existed ? docedit_remove_(e) : 0;
	if ((err = revtree_stem(e->t, e->c->state.revs_limit, docedit_gone_, e)) != 0 || (err = e->err) != 0)
		return err;
	if ((err = docedit_settle_(e, seq)) != 0 || (err = docedit_put_change_(e, seq)) != 0)
		return err;
	for (size_t i = 0; i < n; i++)
		if (pw[i].w->err == 0 && !((struct prepared *)pw[i].w->prepared)->again)
			pw[i].w->seq = seq;
	return 0;
}

int
docedit_alone_(const struct commit *c, int err, size_t put, size_t refs)
{
	return (err == ERR_CORRUPT || (err == ERR_NOMEM && arena_full(c->doc_a))) &&
	       store_batch_bytes(c->batch) == put && c->nrefs == refs;
}

int
docedit_run(struct commit *c, struct pending_write *pw, size_t n)
{
	const struct dbstate before = c->state;
	struct docedit e;
	size_t put = store_batch_bytes(c->batch), refs = c->nrefs;
	int err = docedit_load_(&e, c, &pw[0].w->id);

	if (err == 0)
		err = apply_writes(&e, pw, n);
	if (err == 0 && e.changed)
		err = store_edit(&e, pw, n);
	if (!docedit_alone_(c, err, put, refs))
		return err;
	c->state = before;
	for (size_t i = 0; i < n; i++)
		pw[i].w->err = err == ERR_NOMEM ? ERR_DOC_TOO_LARGE : err;
	return 0;
}
