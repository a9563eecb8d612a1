/*
 * salvage.c: from a pile of right records to a database.
 *
 * Each document is read as always, with what may be missing of it in mind, and written as a replication writes it: so the new
 * file's counts, rows, references and numbers are right by themselves, and its history is its own.
 *
 * 1. A leaf keeps its id only with its own body.  Without: a tombstone's is empty; else the nearest ancestor that has a
 *    body is what is left, a shorter path of the same tree, which a peer that has the leaf adds to as ever.
 * 2. An attachment counts if all its chunks are there and have the digest that the document names; else the revision goes
 *    without it.
 * 3. Purges are remembered first, while there is nothing that they could take.
 * 4. A replication's checkpoint says that this database has all that its source had.  Where something is lost that is no
 *    longer true, and the replication would never bring it again: then checkpoints are left out.
 */
#include "db/salvage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dbi.h"
#include "idkey_node.h"

#define BATCH_WRITES 256u
#define BATCH_BLOBS 64u               /* and those of one revision more */
#define BATCH_BYTES ((size_t)8 << 20) /* of a transaction, about */
#define BLOB_PIECE ((size_t)1 << 20)
#define ARENA_MAX ((size_t)1 << 30)
#define DEPTH_MAX 18u

struct salvage {
	struct db_snap *snap; /* of the pile */
	struct db *to;
	struct db_salvage *out;
	struct arena *a;      /* documents' whose writes wait */
	struct arena *bodies; /* the batch's: contents, ids in messages */
	struct db_write writes[BATCH_WRITES];
	size_t nwrites;
	struct db_blob *blobs[BATCH_BLOBS + LIMIT_ATTACHMENTS];
	size_t nblobs;
	size_t bytes;
	uint64_t batches; /* committed */
	uint64_t deep;    /* records in docs_deep that were reached */
	/* a request on its way */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done, err;
};

static void tell(struct salvage *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
tell(struct salvage *s, const char *fmt, ...)
{
	char line[LIMIT_ID_LEN + 4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	s->out->lost++;
	if (s->out->tell != NULL)
		s->out->tell(s->out->cookie, line);
}

#define ID(id) (int)((id).len < LIMIT_ID_LEN ? (id).len : LIMIT_ID_LEN), (id).s

/* rev_text: "N-HASH" in the batch's memory. */
static const char *
rev_text(struct salvage *s, const struct rev *r)
{
	struct buf b;

	buf_init_arena(&b, s->bodies, 2 * LIMIT_REV_LEN + 32);
	rev_put(&b, r);
	buf_putc(&b, '\0');
	return buf_failed(&b) == 0 ? b.data : "?";
}

/* ---- Requests, waited for ---- */

static void
finish(struct salvage *s, int err)
{
	(void)pthread_mutex_lock(&s->lock);
	s->done = 1;
	s->err = err;
	(void)pthread_cond_signal(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

static void
requested(struct db_request *req)
{
	finish(req->cookie, 0);
}

static void
flushed(void *cookie, int err)
{
	finish(cookie, err);
}

static int
wait_for(struct salvage *s)
{
	(void)pthread_mutex_lock(&s->lock);
	while (!s->done)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	s->done = 0;
	(void)pthread_mutex_unlock(&s->lock);
	return s->err;
}

/* is_fatal: What is no matter of one document. */
static int
is_fatal(int err)
{
	return err == ERR_IO || err == ERR_NOSPACE || err == ERR_NOMEM || err == ERR_IN_DOUBT || err == ERR_BUSY;
}

static int
submit(struct salvage *s, struct db_write *writes, size_t n)
{
	struct db_request req = {.writes = writes, .nwrites = n, .done = requested, .cookie = s};
	int err = db_submit(s->to, &req);

	if (err == 0)
		err = wait_for(s);
	for (size_t i = 0; i < n && err == 0; i++)
		if (is_fatal(writes[i].err))
			err = writes[i].err;
	return err;
}

/* commit_batch: Write what was gathered, and forget it. */
static int
commit_batch(struct salvage *s)
{
	int err = s->nwrites > 0 ? submit(s, s->writes, s->nwrites) : 0;

	s->batches++;
	for (size_t i = 0; i < s->nwrites && err == 0; i++)
		if (s->writes[i].err != 0) {
			s->out->lost_revs++;
			tell(s, "document %.*s: revision %s is not taken: %s", ID(s->writes[i].id),
			    s->writes[i].npath > 0 ? rev_text(s, &s->writes[i].path[0]) : "",
			    s->writes[i].why.text[0] != '\0' ? s->writes[i].why.text : err_reason(s->writes[i].err));
		}
	for (size_t i = 0; i < s->nblobs; i++)
		db_blob_free(s->blobs[i]);
	s->nwrites = s->nblobs = s->bytes = 0;
	arena_reset(s->bodies);
	return err;
}

static int
is_full(const struct salvage *s)
{
	return s->nwrites == BATCH_WRITES || s->nblobs >= BATCH_BLOBS || s->bytes > BATCH_BYTES;
}

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
		if (err == 0 && db_blob_pending(b) >= BLOB_PIECE) {
			db_blob_flush(b, flushed, s);
			err = wait_for(s);
		}
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
	if (err == 0 && s->bytes + db_blob_pending(b) > BATCH_BYTES) {
		db_blob_flush(b, flushed, s);
		err = wait_for(s);
	}
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
		} else if (err == ERR_CORRUPT || err == ERR_MISSING) {
			s->out->lost_atts++;
			tell(s, "attachment %.*s of document %.*s, revision %s: lost",
			    (int)(att->name.len < 1000 ? att->name.len : 1000), att->name.s, ID(doc->id),
			    rev_text(s, &rev->node.rev));
		} else {
			return err;
		}
	}
	return 0;
}

/* ---- Documents ---- */

static int
is_lost(int err)
{
	return err == ERR_CORRUPT || err == ERR_MISSING;
}

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
	return is_full(s) ? commit_batch(s) : 0;
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
		if (!is_lost(err))
			return err;
	}
	return is_lost(err) ? ERR_MISSING : err;
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
		} else if (is_lost(err)) {
			s->out->lost_revs++;
			tell(s, "document %.*s: revision %s, superseded: lost", ID(doc->id), rev_text(s, &path[k]));
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
	*emptyp = is_lost(err) && leaf.deleted;
	if (*emptyp)
		*out = (struct db_rev){.node = leaf, .body = {"{}", 2}};
	else if (is_lost(err))
		return read_older(s, doc, t, path, n, kp, out);
	return *emptyp ? 0 : err;
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
		tell(s, "document %.*s: revision %s is lost%s", ID(doc->id), rev_text(s, &path[0]),
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

static void
tell_lost(struct salvage *s, struct jstr id, const char *how)
{
	s->out->lost_docs++;
	tell(s, "document %.*s: lost%s", ID(id), how);
}

/* put_document: ${key} and ${val} live as long as the documents' arena. */
static int
put_document(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val)
{
	struct db_doc doc;
	struct revtree *t;
	int saved = 0, err = snap_doc(s->snap, id, tree, key, val, s->a, &doc);

	if (err == 0 && is_lost(err = db_doc_tree(&doc, 1, &t))) {
		tell(s, "document %.*s: its oldest revisions are lost", ID(id));
		doc.tree = NULL;
		err = db_doc_tree(&doc, 0, &t);
	}
	if (err == 0 && !revtree_valid(t))
		err = ERR_CORRUPT;
	for (size_t i = 0; err == 0 && i < revtree_nleaves(t); i++)
		err = put_leaf(s, &doc, t, i, &saved);
	if (err != 0 ? !is_lost(err) : saved)
		return err;
	tell_lost(s, id, "");
	return 0;
}

/* ---- Walking the pile ---- */

typedef int each_f(
    struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val);

static int
each_record(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val,
    each_f *fn)
{
	struct store_val k = {arena_dup(s->a, key->p, key->len), key->len};
	struct store_val v = {arena_dup(s->a, val->p, val->len), val->len};
	int err;

	id.s = arena_dup(s->a, id.s, id.len);
	if (k.p == NULL || v.p == NULL || id.s == NULL)
		return ERR_NOMEM;
	s->bytes += v.len;
	err = fn(s, id, tree, &k, &v);
	if (err == 0 && is_full(s))
		err = commit_batch(s);
	if (s->nwrites == 0) {
		arena_reset(s->a);
		arena_reset(s->bodies);
	}
	return err;
}

/* each_deep: The records of node ${node}, whose ids begin with ${prefix}. */
static int
each_deep(struct salvage *s, unsigned tree, uint64_t node, const char *prefix, size_t len, unsigned depth, each_f *fn)
{
	unsigned char head[IDKEY_NODE_LEN];
	char id[LIMIT_ID_LEN + STORE_KEY_MAX];
	struct idkey_pointer p;
	struct store_cursor *c;
	struct store_val key, val;
	size_t rest;
	int err = depth > DEPTH_MAX ? ERR_MISSING : store_cursor_open(s->snap->snap, tree, &c);

	if (err != 0)
		return err == ERR_MISSING ? 0 : err;
	memcpy(id, prefix, len);
	idkey_node_head(head, node);
	for (err = store_seek(c, head, sizeof(head), &key, &val); err == 0 && idkey_node_has(&key, node);
	     err = err == 0 ? store_next(c, &key, &val) : err) {
		rest = key.len - sizeof(head);
		if (len + rest > LIMIT_ID_LEN + 1)
			continue;
		memcpy(id + len, (const char *)key.p + sizeof(head), rest);
		if (!idkey_node_is_pointer(&key)) {
			s->deep++;
			err = each_record(s, (struct jstr){id, len + rest}, tree, &key, &val, fn);
		} else if (idkey_node_pointer(tree, key.p, key.len, &val, &p) == 0) {
			s->deep++;
			err = each_deep(s, tree, p.node, id, len + rest - 1, depth + 1, fn);
		}
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

static int
each(struct salvage *s, const struct idkey_trees *trees, each_f *fn)
{
	struct idkey_pointer p;
	struct store_cursor *c;
	struct store_val key, val;
	uint64_t deep = 0;
	int err = store_cursor_open(s->snap->snap, trees->top, &c);

	if (err != 0)
		return err;
	s->deep = 0;
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = err == 0 ? store_next(c, &key, &val) : err) {
		if (!idkey_is_pointer(&key))
			err = each_record(s, (struct jstr){key.p, key.len}, trees->top, &key, &val, fn);
		else if (idkey_node_pointer(trees->top, key.p, key.len, &val, &p) == 0)
			err = each_deep(s, trees->deep, p.node, key.p, IDKEY_SHORT, 1, fn);
	}
	store_cursor_close(c);
	if (err == ERR_MISSING && (err = commit_batch(s)) == 0)
		err = store_count(s->snap->snap, trees->deep, &deep);
	arena_reset(s->a);
	if (err == 0 && deep > s->deep)
		tell(s, "%llu records with long ids of which the beginning is lost",
		    (unsigned long long)(deep - s->deep));
	return err;
}

/* ---- What is known to be lost ---- */

static int
cmp_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* seq_of: The sequence of the document's record; 0: there is none. */
static uint64_t
seq_of(struct salvage *s, const char *id, size_t len)
{
	struct db_doc doc;

	return db_get(s->snap, id, len, s->bodies, &doc) == 0 ? doc.seq : 0;
}

/* mark_told: Of the ids of damaged records this one is proven. */
static void
mark_told(struct salvage *s, unsigned char *told, struct jstr id)
{
	const char *key = arena_dup(s->bodies, id.s, id.len);
	char **at = key != NULL && s->out->nids > 0
			? bsearch(&key, s->out->ids, s->out->nids, sizeof(*s->out->ids), cmp_ids)
			: NULL;

	if (at != NULL)
		told[at - s->out->ids] = 1;
}

/* check_rows: Documents that have a row, and no record or an older one. */
static int
check_rows(struct salvage *s, unsigned char *told)
{
	struct store_cursor *c;
	struct store_val key, val;
	struct db_change row;
	struct bytes r;
	uint64_t seq;
	int err = store_cursor_open(s->snap->snap, TREE_CHANGES, &c);

	if (err != 0)
		return err;
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		if (key.len != 8 || record_open(TREE_CHANGES, key.p, key.len, &val, &r) != 0 ||
		    changerow_decode(&r, s->bodies, &row) != 0)
			continue;
		seq = seq_of(s, row.id.s, row.id.len);
		if (seq == 0) {
			mark_told(s, told, row.id);
			tell_lost(s, row.id, "");
		} else if (seq < bytes_load_u64be(key.p)) {
			tell(s, "document %.*s: an older state is left", ID(row.id));
		}
		arena_reset(s->bodies);
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

/* check_lost: Every document of which it can be said that it is lost. */
static int
check_lost(struct salvage *s)
{
	struct db_salvage *out = s->out;
	unsigned char *told = calloc(1, out->nids + 1);
	int err;

	if (told == NULL)
		return ERR_NOMEM;
	if (out->nids > 0)
		qsort(out->ids, out->nids, sizeof(*out->ids), cmp_ids);
	err = check_rows(s, told);
	for (size_t i = 0; i < out->nids && err == 0; i++)
		if (!told[i] && seq_of(s, out->ids[i], strlen(out->ids[i])) == 0)
			tell_lost(s, (struct jstr){out->ids[i], strlen(out->ids[i])},
			    ", if its damaged record gives its name right");
	free(told);
	return err;
}

/* check_counts: What is lost without a name. */
static int
check_counts(struct salvage *s, const struct dbstate *state)
{
	static const unsigned trees[] = {TREE_LOCAL, TREE_LOCAL_DEEP, TREE_PURGES};
	const struct store_pages_report *p = &s->out->pages;
	struct db_info info;
	uint64_t want = state->doc_count + state->doc_del_count, have;
	int err = db_info(s->to, &info);

	if (err != 0)
		return err;
	s->out->docs = info.doc_count;
	s->out->deleted = info.doc_del_count;
	have = info.doc_count + info.doc_del_count + s->out->lost_docs;
	if (s->out->has_state && want > have) {
		s->out->lost_docs += want - have;
		tell(s, "%llu documents more: lost; their names cannot be read", (unsigned long long)(want - have));
	}
	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++) {
		unsigned t = trees[i];

		if ((p->known >> t & 1) == 0)
			tell(s, "whether something of %s is lost cannot be told", db_tree_names[t]);
		else if (p->told[t] < p->expected[t])
			tell(s, "%llu records of %s: lost", (unsigned long long)(p->expected[t] - p->told[t]),
			    db_tree_names[t]);
	}
	if (p->free_unknown)
		tell(s, "which pages are free cannot be told: documents may be older than they were, or were purged");
	else if (p->unsure > 0)
		tell(s, "%llu records of pages that bear others' numbers may be older than they were, or were purged",
		    (unsigned long long)p->unsure);
	return 0;
}

/* ---- All the rest ---- */

static int
put_settings(struct salvage *s, const struct dbstate *state)
{
	struct db_write w[4] = {{.kind = DB_WRITE_REVS_LIMIT, .number = state->revs_limit},
	    {.kind = DB_WRITE_PURGED_LIMIT, .number = state->purged_limit},
	    {.kind = DB_WRITE_HISTORY_KEPT, .number = state->keep_revs, .seconds = state->keep_seconds},
	    {.kind = DB_WRITE_SECURITY}};
	struct buf security;
	const char *none = access_default(1);
	int err;

	buf_init(&security, 1u << 20);
	err = s->out->has_security ? meta_get(s->snap->snap, "security", &security) : buf_puts(&security, none);
	w[3].body = (struct jstr){security.data, security.len};
	if (err == 0)
		err = submit(s, w, 4);
	for (size_t i = 0; i < 4 && err == 0; i++)
		err = w[i].err;
	buf_release(&security);
	if (!s->out->has_state)
		tell(s, "the settings: lost (limits, whether it is partitioned): they are those of a new database");
	if (!s->out->has_security)
		tell(s, "the security object: lost: server administrators alone are let in until another is set");
	return err;
}

static int
put_purge(struct salvage *s, const struct db_purge *p)
{
	struct rev *revs = arena_calloc(s->a, p->nrevs + 1, sizeof(*revs));
	unsigned char *purged = arena_calloc(s->a, p->nrevs + 1, 1);
	const char *id = arena_dup(s->a, p->id.s, p->id.len);

	if (revs == NULL || purged == NULL || id == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < p->nrevs; i++) {
		revs[i] = p->revs[i];
		if ((revs[i].id = (const unsigned char *)arena_dup(s->a, p->revs[i].id, p->revs[i].len)) == NULL)
			return ERR_NOMEM;
	}
	s->writes[s->nwrites++] = (struct db_write){
	    .kind = DB_WRITE_PURGE, .id = {id, p->id.len}, .path = revs, .npath = p->nrevs, .purged = purged};
	return is_full(s) ? commit_batch(s) : 0;
}

static int
put_purges(struct salvage *s)
{
	struct db_scan *scan;
	struct db_purge p;
	int err = db_purges_open(s->snap, 0, &scan);

	if (err != 0)
		return err;
	while ((err = db_purges_next(scan, s->bodies, &p)) == 0 && (err = put_purge(s, &p)) == 0)
		if (s->nwrites == 0)
			arena_reset(s->a);
	db_scan_close(scan);
	err = err == ERR_END ? commit_batch(s) : err;
	arena_reset(s->a);
	return err;
}

/* is_checkpoint: As CouchDB, PouchDB and Divan write them. */
static int
is_checkpoint(struct jstr body)
{
	static const char *const names[] = {"session_id", "history"};
	struct jread j;
	struct buf scratch;
	int is = 1;

	buf_init(&scratch, LIMIT_BODY_LEN);
	for (size_t i = 0; i < 2 && is; i++) {
		jread_init(&j, body.s, body.len);
		is = jread_find(&j, &scratch, (struct jstr){names[i], strlen(names[i])}) == 0;
	}
	buf_release(&scratch);
	return is;
}

static int
put_local(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val)
{
	struct jstr body;
	uint64_t rev;
	int err = snap_local(s->snap->file, tree, key, val, s->bodies, &rev, &body);

	if (is_lost(err)) {
		tell(s, "document %.*s: lost", ID(id));
		return 0;
	}
	if (err != 0)
		return err;
	if (s->out->lost > 0 && is_checkpoint(body)) {
		s->out->checkpoints++;
		return 0;
	}
	s->writes[s->nwrites++] = (struct db_write){.kind = DB_WRITE_LOCAL, .id = id, .body = body};
	s->bytes += body.len;
	return 0;
}

static int
copy_all(struct salvage *s)
{
	struct dbstate state;
	int err = meta_state_get(s->snap->snap, &state);

	if (err == 0)
		err = put_settings(s, &state);
	if (err == 0)
		err = put_purges(s);
	if (err == 0)
		err = check_lost(s);
	if (err == 0)
		err = each(s, &db_doc_trees, put_document);
	if (err == 0)
		err = check_counts(s, &state);
	if (err == 0)
		err = each(s, &db_local_trees, put_local);
	return err;
}

int
db_salvage_copy(struct db *pile, struct db *to, struct db_salvage *out)
{
	struct salvage *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->to = to;
	s->out = out;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	if ((err = arena_new(ARENA_MAX, &s->a)) == 0 && (err = arena_new(ARENA_MAX, &s->bodies)) == 0 &&
	    (err = db_snap_begin(pile, &s->snap)) == 0)
		err = copy_all(s);
	for (size_t i = 0; i < s->nblobs; i++)
		db_blob_free(s->blobs[i]);
	db_snap_end(s->snap);
	arena_free(s->bodies);
	arena_free(s->a);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
	return err;
}
