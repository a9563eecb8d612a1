/*
 * salvage_docs.c: what is left of a document whose records may be missing in part.
 *
 * 1. A leaf keeps its id only with its own body.  Without: a tombstone's is empty; else the nearest ancestor that has a
 *    body is what is left, a shorter path of the same tree, which a peer that has the leaf adds to as ever.
 * 2. An attachment counts if all its chunks are there and have the digest that the document names; else the revision goes
 *    without it.
 */
#include "salvage_impl.h"

#include <string.h>

#define BLOB_PIECE ((size_t)1 << 20)

/* ---- Attachments ---- */

/* fill: The stored bytes of an attachment into ${b}.  ERR_CORRUPT: some of them cannot be read. */
static int
fill(struct salvage *s, const struct doc_att *att, struct db_blob *b)
{
	struct buf piece;
	int err = 0;

	buf_init(&piece, LIMIT_BLOB_CHUNK);
	for (uint64_t chunk = 0; err == 0; chunk++) {
		buf_clear(&piece);
		if ((err = db_att_read(s->snap, att, chunk, &piece)) == 0)
			err = db_blob_add(b, piece.data, piece.len);
		if (err == 0 && db_blob_pending(b) >= BLOB_PIECE)
			err = salvage_flush(s, b);
	}
	buf_release(&piece);
	return err == ERR_END ? 0 : err;
}

/* copy_att: ERR_CORRUPT: it is lost. */
static int
copy_att(struct salvage *s, const struct doc_att *att, struct db_blob **bp)
{
	uint64_t identity, stored;
	struct db_blob *b;
	int err = db_blob_new(s->to, att->encoding == DOC_GZIP ? DB_BLOB_GZIPPED : DB_BLOB_PLAIN, &b);

	if (err != 0)
		return err;
	if ((err = fill(s, att, b)) == 0)
		err = db_blob_end(b);
	if (err == 0) {
		db_blob_lengths(b, &identity, &stored);
		if (stored != att->stored_length || memcmp(db_blob_md5(b), att->md5, sizeof(att->md5)) != 0)
			err = ERR_CORRUPT;
	}
	if (err == 0 && s->bytes + db_blob_pending(b) > SALVAGE_BYTES)
		err = salvage_flush(s, b);
	if (err != 0)
		db_blob_free(b);
	else
		*bp = b;
	return err;
}

static int
copy_atts(struct salvage *s, const struct db_doc *doc, const struct db_rev *rev, struct db_write *w)
{
	int err;

	if (rev->natts == 0)
		return 0;
	if ((w->atts = arena_calloc(s->bodies, rev->natts, sizeof(*w->atts))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < rev->natts; i++) {
		const struct doc_att *att = &rev->atts[i];
		struct db_write_att *to = &w->atts[w->natts];

		*to = (struct db_write_att){.name = att->name,
		    .type = att->type,
		    .has_revpos = 1,
		    .revpos = att->revpos,
		    .length = att->length};
		if ((err = copy_att(s, att, &to->blob)) == 0) {
			s->blobs[s->nblobs++] = to->blob;
			s->bytes += db_blob_pending(to->blob);
			w->natts++;
		} else if (salvage_is_lost(err)) {
			s->out->lost_atts++;
			salvage_tell(s, "attachment %.*s of document %.*s, revision %s: lost",
			    (int)(att->name.len < 1000 ? att->name.len : 1000), att->name.s, SALVAGE_ID(doc->id),
			    salvage_rev_text(s, &rev->node.rev));
		} else {
			return err;
		}
	}
	return 0;
}

/* ---- Documents ---- */

/* put_rev: One revision and its path. */
static int
put_rev(struct salvage *s, const struct db_doc *doc, const struct rev *path, size_t n, const struct db_rev *rev)
{
	struct db_write *w = &s->writes[s->nwrites];
	int err;

	*w = (struct db_write){.kind = DB_WRITE_REPLICATE,
	    .id = doc->id,
	    .path = path,
	    .npath = n,
	    .deleted = rev->node.deleted,
	    .body = rev->body};
	if ((err = copy_atts(s, doc, rev, w)) != 0)
		return err;
	s->nwrites++;
	s->bytes += rev->body.len + 64 * n;
	return salvage_is_full(s) ? salvage_commit(s) : 0;
}

/* read_older: The nearest ancestor whose content can be read; *${kp} is its place in ${path}.  ERR_MISSING: there is none. */
static int
read_older(struct salvage *s, struct db_doc *doc, const struct revtree *t, const struct rev *path, size_t n, size_t *kp,
    struct db_rev *out)
{
	struct revpos at;
	int err = ERR_MISSING;

	for (size_t k = 1; k < n; k++) {
		/* A deletion that was undone is no older state of what was there. */
		if (!revtree_find(t, &path[k], &at) || revtree_at(t, at)->deleted)
			continue;
		*kp = k;
		err = db_doc_base(doc, revtree_at(t, at), s->bodies, out);
		if (!salvage_is_lost(err))
			return err;
	}
	return salvage_is_lost(err) ? ERR_MISSING : err;
}

/* put_superseded: What is behind ${from} on the path of a leaf and has a body, oldest first; each once. */
static int
put_superseded(
    struct salvage *s, struct db_doc *doc, const struct revtree *t, const struct rev *path, size_t n, size_t from)
{
	struct revnode *node;
	struct db_rev rev;
	struct revpos at;
	int err = 0;

	for (size_t k = n; k-- > from + 1 && err == 0;) {
		if (!revtree_find(t, &path[k], &at) || (node = revtree_at(t, at))->mark != 0)
			continue;
		node->mark = 1;
		if (node->body == REVTREE_NO_BODY && node->kept == REVTREE_NO_BODY)
			continue;
		if ((err = db_doc_base(doc, node, s->bodies, &rev)) == 0) {
			err = put_rev(s, doc, path + k, n - k, &rev);
		} else if (salvage_is_lost(err)) {
			s->out->lost_revs++;
			salvage_tell(s, "document %.*s: revision %s, superseded: lost", SALVAGE_ID(doc->id),
			    salvage_rev_text(s, &path[k]));
			err = 0;
		}
	}
	return err;
}

/* read_left: What is left of a leaf: its content, that of the ancestor *${kp}, or, *${emptyp}, nothing but its deletion. */
static int
read_left(struct salvage *s, struct db_doc *doc, const struct revtree *t, size_t i, const struct rev *path, size_t n,
    size_t *kp, int *emptyp, struct db_rev *out)
{
	const struct revnode leaf = *revtree_leaf(t, i);
	int err = db_doc_rev(doc, &leaf, s->bodies, out);

	*kp = 0;
	*emptyp = 0;
	if (!salvage_is_lost(err))
		return err;
	if (!leaf.deleted)
		return read_older(s, doc, t, path, n, kp, out);
	*emptyp = 1;
	*out = (struct db_rev){.node = leaf, .body = {"{}", 2}};
	return 0;
}

/* put_leaf: *${savedp} is 1 if something of it is left. */
static int
put_leaf(struct salvage *s, struct db_doc *doc, const struct revtree *t, size_t i, int *savedp)
{
	uint64_t batches;
	struct db_rev rev;
	struct rev *path;
	size_t n, k;
	int empty, err = db_doc_path(doc, revtree_leaf_pos(t, i), &path, &n);

	if (err != 0)
		return err;
	err = read_left(s, doc, t, i, path, n, &k, &empty, &rev);
	if (err == ERR_MISSING || k > 0 || empty) {
		s->out->lost_revs++;
		salvage_tell(s, "document %.*s: revision %s is lost%s", SALVAGE_ID(doc->id),
		    salvage_rev_text(s, &path[0]),
		    err != 0 ? ""
		    : empty  ? " but for its being a deletion"
			     : ", an older one is left");
	}
	if (err != 0)
		return err == ERR_MISSING ? 0 : err;
	batches = s->batches;
	if ((err = put_superseded(s, doc, t, path, n, k)) != 0)
		return err;
	/* A batch that was committed has taken what was read with it. */
	if (s->batches != batches && (err = read_left(s, doc, t, i, path, n, &k, &empty, &rev)) != 0)
		return err;
	if ((err = put_rev(s, doc, path + k, n - k, &rev)) == 0)
		*savedp = 1;
	return err;
}

int
salvage_put_doc(
    struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val)
{
	struct db_doc doc;
	struct revtree *t;
	int saved = 0, err = snap_doc(s->snap, id, tree, key, val, s->a, &doc);

	if (err == 0 && salvage_is_lost(err = db_doc_tree(&doc, 1, &t))) {
		salvage_tell(s, "document %.*s: its oldest revisions are lost", SALVAGE_ID(id));
		doc.tree = NULL;
		err = db_doc_tree(&doc, 0, &t);
	}
	if (err == 0 && !revtree_valid(t))
		err = ERR_CORRUPT;
	for (size_t i = 0; err == 0 && i < revtree_nleaves(t); i++)
		err = put_leaf(s, &doc, t, i, &saved);
	if (err != 0 ? !salvage_is_lost(err) : saved)
		return err;
	salvage_tell_doc(s, id, "");
	return 0;
}
