/*
 * peer_local_docs.c: documents of a database of this server: which are missing, their texts, their attachments.
 *
 * Attachments are read chunk by chunk, each in a snapshot of its own: the other side may take its time. A document that is
 * replaced meanwhile may lose them; the run then ends, and finds the new one when it is tried again.
 */
#include "peer_local_impl.h"

#include <string.h>

#include "base/limits.h"

#define TEXT_MAX ((size_t)1 << 30)

static int
copy_revs(struct arena *a, const struct rev *from, size_t n, struct rev **out)
{
	size_t i;

	if ((*out = arena_calloc(a, n + 1, sizeof(**out))) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < n; i++) {
		(*out)[i] = from[i];
		if (((*out)[i].id = (unsigned char *)arena_dup(a, from[i].id, from[i].len)) == NULL)
			return ERR_NOMEM;
	}
	return 0;
}

/* ---- What is missing ---- */

/* What is damaged is not known to be there: when it is written, that is said of it alone. */
static int
diff_one(struct db_snap *snap, struct arena *scratch, struct arena *a, struct peer_want *w)
{
	struct db_doc doc;
	struct rev *older;
	uint64_t newest = 0;
	size_t i, n = 0;
	int known = 0, err = db_get(snap, w->id.s, w->id.len, scratch, &doc);
	int found = err == 0;

	if (err != 0 && err != ERR_MISSING && err != ERR_CORRUPT)
		return err;
	for (i = 0; i < w->nrevs; i++) {
		err = found ? db_doc_knows(&doc, &w->revs[i], &known) : 0;
		if (err == ERR_CORRUPT)
			found = known = 0;
		else if (err != 0)
			return err;
		if (known)
			continue;
		newest = w->revs[i].gen > newest ? w->revs[i].gen : newest;
		w->revs[n++] = w->revs[i];
	}
	w->nrevs = n;
	if (!found || n == 0)
		return 0;
	if ((err = db_doc_older_leaves(&doc, newest, &older, &w->nancestors)) != 0)
		return err == ERR_CORRUPT ? 0 : err;
	return copy_revs(a, older, w->nancestors, &w->ancestors);
}

static void
run_diff(struct local_call *c)
{
	struct peer_diff *d = c->of;
	struct arena *scratch = NULL;
	struct db_snap *snap = NULL;
	size_t i;
	int err = peer_local_open(c);

	if (err == 0)
		err = arena_new(TEXT_MAX, &scratch);
	if (err == 0)
		err = db_snap_begin(c->db, &snap);
	for (i = 0; err == 0 && i < d->n; i++) {
		err = diff_one(snap, scratch, c->call->arena, &d->wants[i]);
		arena_reset(scratch);
	}
	if (snap != NULL)
		db_snap_end(snap);
	arena_free(scratch);
	peer_local_end(c, err);
}

void
peer_local_diff(struct peer *p, struct peer_diff *c)
{
	peer_local_begin(p, &c->call, c, run_diff);
}

/* ---- Texts ---- */

static int
read_winner(struct local_call *c, struct peer_read *io)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev;
	int err = db_snap_begin(c->db, &snap);

	if (err != 0)
		return err;
	err = db_get(snap, io->id.s, io->id.len, c->call->arena, &doc);
	if (err == 0)
		err = doc.winner.deleted ? ERR_MISSING : db_doc_rev(&doc, &doc.winner, c->call->arena, &rev);
	if (err == 0)
		err = peer_local_dup(c->call->arena, rev.body, &io->text);
	db_snap_end(snap);
	return err;
}

static void
run_read(struct local_call *c)
{
	int err = peer_local_open(c);

	peer_local_end(c, err != 0 ? err : read_winner(c, c->of));
}

void
peer_local_read(struct peer *p, struct peer_read *c)
{
	peer_local_begin(p, &c->call, c, run_read);
}

struct fetching {
	struct local_call *c;
	struct peer_fetch *out;
	struct arena *scratch;
	size_t cap, first; /* first: of the present document */
	size_t bytes;
	struct buf text;
};

static int
room_for_doc(struct fetching *f)
{
	struct peer_doc *more;

	if (f->out->ndocs < f->cap)
		return 0;
	f->cap = f->cap == 0 ? f->out->nwants : 2 * f->cap;
	if ((more = arena_calloc(f->c->call->arena, f->cap, sizeof(*more))) == NULL)
		return ERR_NOMEM;
	if (f->out->ndocs > 0)
		memcpy(more, f->out->docs, f->out->ndocs * sizeof(*more));
	f->out->docs = more;
	return 0;
}

static int
put_text(struct db_doc *doc, struct revpos at, const struct revnode *node, const struct db_rev *rev, struct buf *b)
{
	struct doc_out out = {.id = doc->id, .rev = node->rev, .deleted = node->deleted, .body = rev->body};
	struct rev *path;
	int err = db_doc_path(doc, at, &path, &out.nrevisions);

	out.revisions = path;
	return err != 0 ? err : doc_put_json(b, &out);
}

static int
take_leaf(struct db_doc *doc, struct revpos at, void *cookie)
{
	struct fetching *f = cookie;
	struct arena *a = f->c->call->arena;
	struct peer_doc *to;
	struct revnode *node;
	struct revtree *t;
	struct db_rev rev;
	size_t i;
	int err = db_doc_tree(doc, 1, &t);

	if (err != 0 || (err = room_for_doc(f)) != 0)
		return err;
	node = revtree_at(t, at);
	/* Two revisions that were replaced by one. */
	for (i = f->first; i < f->out->ndocs; i++)
		if (rev_equal(&f->out->docs[i].rev, &node->rev))
			return 0;
	if ((err = db_doc_rev(doc, node, f->scratch, &rev)) != 0)
		return err;
	to = &f->out->docs[f->out->ndocs];
	*to = (struct peer_doc){.rev = node->rev, .has_atts = rev.natts > 0};
	if ((to->rev.id = (unsigned char *)arena_dup(a, node->rev.id, node->rev.len)) == NULL)
		return ERR_NOMEM;
	err = peer_local_dup(a, doc->id, &to->id);
	if (err == 0 && !to->has_atts) {
		buf_clear(&f->text);
		if ((err = put_text(doc, at, node, &rev, &f->text)) == 0)
			err = peer_local_dup(a, (struct jstr){f->text.data, f->text.len}, &to->text);
	}
	if (err != 0)
		return err;
	f->bytes += to->text.len;
	f->out->ndocs++;
	return 0;
}

static int
put_failed(struct fetching *f, const struct peer_want *w, const struct rev *rev, int failed)
{
	int err = room_for_doc(f);

	if (err == 0)
		f->out->docs[f->out->ndocs++] = (struct peer_doc){.id = w->id, .rev = *rev, .err = failed};
	return err;
}

static int
fetch_one(struct fetching *f, struct db_snap *snap, const struct peer_want *w)
{
	struct db_doc doc;
	size_t i, n;
	int err, got = db_get(snap, w->id.s, w->id.len, f->scratch, &doc);

	if (got == ERR_CORRUPT)
		return put_failed(f, w, &w->revs[0], got);
	if (got != 0 && got != ERR_MISSING)
		return got;
	f->first = f->out->ndocs;
	for (err = 0, i = 0; err == 0 && i < w->nrevs; i++) {
		n = 0;
		if (got == 0)
			err = db_doc_find(&doc, &w->revs[i], 1, take_leaf, f, &n);
		if (err == ERR_CORRUPT)
			err = put_failed(f, w, &w->revs[i], err);
		else if (err == 0 && n == 0)
			err = put_failed(f, w, &w->revs[i], ERR_MISSING);
	}
	return err;
}

static void
run_fetch(struct local_call *c)
{
	struct peer_fetch *out = c->of;
	struct fetching f = {.c = c, .out = out};
	struct db_snap *snap = NULL;
	int err = peer_local_open(c);

	buf_init(&f.text, TEXT_MAX);
	if (err == 0)
		err = arena_new(TEXT_MAX, &f.scratch);
	if (err == 0)
		err = db_snap_begin(c->db, &snap);
	while (err == 0 && out->done < out->nwants && f.bytes < out->max_bytes) {
		err = fetch_one(&f, snap, &out->wants[out->done++]);
		arena_reset(f.scratch);
	}
	if (snap != NULL)
		db_snap_end(snap);
	arena_free(f.scratch);
	buf_release(&f.text);
	out->bulk_docs = out->bulk_attempts = out->ndocs;
	peer_local_end(c, err);
}

void
peer_local_fetch(struct peer *p, struct peer_fetch *c)
{
	peer_local_begin(p, &c->call, c, run_fetch);
}

/* ---- One with its attachments ---- */

struct opening {
	struct peer_open *o;
	struct doc_att *atts; /* that go through the pipe */
	size_t natts, att;
	uint64_t chunk;
	struct buf piece; /* read, and not yet in the pipe */
	int have;
	/* While the text is made. */
	const struct doc_att *all;
	uint64_t after; /* the target has those of this generation and before */
	struct revpos at;
};

static int
att_form(void *cookie, size_t i, enum doc_att_form *formp, struct buf *base64)
{
	struct opening *k = cookie;

	(void)base64;
	*formp = DOC_ATT_AS_STUB;
	if (k->all[i].revpos <= k->after)
		return 0;
	*formp = DOC_ATT_AS_FOLLOWS;
	k->atts[k->natts++] = k->all[i];
	return 0;
}

static uint64_t
generation_known(const struct peer_open *o, const struct rev *path, size_t n)
{
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < o->nancestors; k++)
			if (rev_equal(&path[i], &o->ancestors[k]))
				return path[i].gen;
	return 0;
}

/* The snapshot ends before they are read. */
static int
keep_atts(struct opening *k, struct arena *a)
{
	struct peer_open *o = k->o;
	size_t i;

	if ((o->atts = arena_calloc(a, k->natts + 1, sizeof(*o->atts))) == NULL)
		return ERR_NOMEM;
	o->natts = k->natts;
	for (i = 0; i < k->natts; i++) {
		struct doc_att *att = &k->atts[i];

		if (peer_local_dup(a, att->name, &att->name) != 0 || peer_local_dup(a, att->type, &att->type) != 0)
			return ERR_NOMEM;
		o->atts[i] = (struct peer_att){.name = att->name,
		    .type = att->type,
		    .length = att->stored_length,
		    .gzip = att->encoding == DOC_GZIP};
	}
	return 0;
}

static int
make_text(struct opening *k, struct db_doc *doc, struct arena *a)
{
	struct doc_out out = {.id = doc->id, .att = att_form, .cookie = k, .att_encoding_info = 1};
	struct revnode *node;
	struct revtree *t;
	struct db_rev rev;
	struct rev *path;
	struct buf b;
	int err = db_doc_tree(doc, 1, &t);

	if (err != 0)
		return err;
	node = revtree_at(t, k->at);
	if ((err = db_doc_rev(doc, node, a, &rev)) != 0 || (err = db_doc_path(doc, k->at, &path, &out.nrevisions)) != 0)
		return err;
	k->after = generation_known(k->o, path, out.nrevisions);
	k->all = rev.atts;
	if ((k->atts = arena_calloc(a, rev.natts + 1, sizeof(*k->atts))) == NULL)
		return ERR_NOMEM;
	out.rev = node->rev;
	out.deleted = node->deleted;
	out.revisions = path;
	out.body = rev.body;
	out.atts = rev.atts;
	out.natts = rev.natts;
	buf_init(&b, TEXT_MAX);
	err = doc_put_json(&b, &out);
	if (err == 0)
		err = peer_local_dup(a, (struct jstr){b.data, b.len}, &k->o->doc.text);
	buf_release(&b);
	k->o->doc.has_atts = 1;
	k->o->doc.id = k->o->id;
	k->o->doc.rev = node->rev;
	if (err == 0 && (k->o->doc.rev.id = (unsigned char *)arena_dup(a, node->rev.id, node->rev.len)) == NULL)
		err = ERR_NOMEM;
	return err != 0 ? err : keep_atts(k, a);
}

static int
find_and_make(struct local_call *c, struct opening *k)
{
	struct peer_open *o = k->o;
	struct db_snap *snap;
	struct db_doc doc;
	int err = db_snap_begin(c->db, &snap);

	if (err != 0)
		return err;
	err = db_get(snap, o->id.s, o->id.len, c->call->arena, &doc);
	if (err == 0)
		err = db_doc_first(&doc, &o->rev, 1, &k->at);
	if (err == 0)
		err = make_text(k, &doc, c->call->arena);
	db_snap_end(snap);
	return err;
}

static void
end_opening(struct local_call *c, int err)
{
	struct opening *k = c->state;

	buf_release(&k->piece);
	pipe_end(k->o->pipe, err);
	peer_local_end(c, err);
}

/* The next piece into k->piece. */
static int
read_piece(struct local_call *c, struct opening *k)
{
	struct db_snap *snap;
	int err = peer_local_open(c);

	if (err == 0)
		err = db_snap_begin(c->db, &snap);
	if (err != 0)
		return err;
	buf_clear(&k->piece);
	err = db_att_read_later(snap, &k->atts[k->att], k->chunk, &k->piece);
	db_snap_end(snap);
	k->chunk++;
	if (err == ERR_END) {
		k->att++;
		k->chunk = 0;
		return 0;
	}
	k->have = err == 0;
	return err != ERR_MISSING ? err : err_why(&c->call->why, ERR_IO, "the document was replaced while it was read");
}

static void
there_is_room(void *cookie)
{
	peer_local_again(cookie);
}

/* Nothing of ${c} is touched behind a put that found no room. */
static void
run_pump(struct local_call *c)
{
	struct opening *k = c->state;
	int err = atomic_load(&c->cancelled) ? ERR_CANCELLED : 0;

	while (err == 0 && k->att < k->natts) {
		if (!k->have && (err = read_piece(c, k)) != 0)
			break;
		if (!k->have)
			continue;
		if (c->db != NULL)
			db_close(c->db);
		c->db = NULL;
		err = pipe_put(k->o->pipe, k->piece.data, k->piece.len, there_is_room, c);
		if (err == ERR_AGAIN)
			return;
		k->have = 0;
	}
	end_opening(c, err);
}

static void
run_open(struct local_call *c)
{
	struct peer_open *o = c->of;
	struct opening *k = arena_calloc(c->call->arena, 1, sizeof(*k));
	int err = k == NULL ? ERR_NOMEM : peer_local_open(c);

	if (k == NULL) {
		peer_local_end(c, err);
		return;
	}
	k->o = o;
	buf_init(&k->piece, LIMIT_BLOB_CHUNK);
	c->state = k;
	if (err == 0)
		err = find_and_make(c, k);
	if (err != 0) {
		end_opening(c, err);
		return;
	}
	o->ready(o);
	c->run = run_pump;
	run_pump(c);
}

void
peer_local_open_doc(struct peer *p, struct peer_open *c)
{
	peer_local_begin(p, &c->call, c, run_open);
}
