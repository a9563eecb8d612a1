/*
 * peer_local_write.c: documents to a database of this server, as other replicators bring them: new_edits=false.
 *
 * Attachment bytes are taken from the pipe into a blob, which is flushed whenever it holds BLOB_PIECE, so that what is held
 * does not grow with the attachment. A blob whose digest is not what the document says ends the call: the bytes were
 * damaged on the way.
 */
#include "peer_local_impl.h"

#include <string.h>

#include "base/limits.h"
#include "db/doc.h"

#define BLOB_PIECE ((size_t)1 << 20)
#define TAKE 65536u

/* ---- From texts to writes ---- */

static int
parse(struct arena *a, struct jstr text, struct doc_in *in, struct errtext *why)
{
	struct jread j;
	int err;

	jread_init(&j, text.s, text.len);
	err = doc_parse(&j, a, in, why);
	if (err == 0 && jread_end(&j) != 0)
		err = ERR_BAD_JSON;
	if (err == 0 && (!in->has_id || in->nrevisions == 0))
		err = err_why(why, ERR_BAD_REQUEST, "a replicated document needs _id and _revisions");
	return err;
}

/* Without its attachments. */
static void
fill(const struct doc_in *in, struct db_write *w)
{
	w->kind = DB_WRITE_REPLICATE;
	w->id = in->id;
	w->path = in->revisions;
	w->npath = in->nrevisions;
	w->deleted = in->deleted;
	w->body = in->body;
	w->body_etf = in->body_etf;
}

static int
keep_why(struct arena *a, struct peer_doc *doc, int err, const struct errtext *why)
{
	doc->err = err;
	if (err == 0 || why->text[0] == '\0')
		return 0;
	if ((doc->why = arena_alloc(a, sizeof(*doc->why))) == NULL)
		return ERR_NOMEM;
	*doc->why = *why;
	return 0;
}

/* ---- Many without attachments ---- */

struct writing {
	struct peer_write *of;
	struct db_write *writes;
	size_t *docs; /* which document each is */
	size_t n;
};

static void
written(struct db_request *req)
{
	struct local_call *c = req->cookie;
	struct writing *k = c->state;
	size_t i;
	int err = 0;

	for (i = 0; i < k->n && err == 0; i++)
		err = keep_why(c->call->arena, &k->of->docs[k->docs[i]], k->writes[i].err, &k->writes[i].why);
	peer_local_end(c, err);
}

static int
add(struct local_call *c, struct writing *k, size_t at)
{
	struct peer_doc *doc = &k->of->docs[at];
	struct doc_in *in = arena_calloc(c->call->arena, 1, sizeof(*in));
	struct errtext why = {""};
	int err;

	if (in == NULL)
		return ERR_NOMEM;
	err = parse(c->call->arena, doc->text, in, &why);
	if (err == 0 && in->natts > 0)
		err = err_why(&why, ERR_BAD_REQUEST, "a document with attachments comes alone");
	if (err == 0)
		err = db_doc_check(c->db, in->id.s, in->id.len, in->body.len, &why);
	if (err != 0)
		return err == ERR_NOMEM ? err : keep_why(c->call->arena, doc, err, &why);
	k->docs[k->n] = at;
	fill(in, &k->writes[k->n++]);
	return 0;
}

static void
run_write(struct local_call *c)
{
	struct peer_write *of = c->of;
	struct arena *a = c->call->arena;
	struct writing *k = arena_calloc(a, 1, sizeof(*k));
	size_t i;
	int err = k == NULL ? ERR_NOMEM : peer_local_open(c);

	if (err == 0) {
		k->of = of;
		k->writes = arena_calloc(a, of->n + 1, sizeof(*k->writes));
		k->docs = arena_calloc(a, of->n + 1, sizeof(*k->docs));
		if (k->writes == NULL || k->docs == NULL)
			err = ERR_NOMEM;
	}
	for (i = 0; err == 0 && i < of->n; i++)
		err = add(c, k, i);
	if (err == 0 && k->n > 0) {
		c->state = k;
		c->req = (struct db_request){.writes = k->writes, .nwrites = k->n, .done = written, .cookie = c};
		if ((err = db_submit(c->db, &c->req)) == 0)
			return;
	}
	peer_local_end(c, err);
}

void
peer_local_write(struct peer *p, struct peer_write *c)
{
	peer_local_begin(p, &c->call, c, run_write);
}

/* ---- One with attachments ---- */

struct putting {
	const struct peer_put *of;
	struct doc_in in;
	struct db_write write;
	size_t att;    /* of the document, that is being filled */
	size_t follow; /* of those that come */
	uint64_t left; /* bytes of it that are still to come */
	int flush_err;
	char *piece;
};

static void
end_putting(struct local_call *c, int err)
{
	struct putting *k = c->state;
	size_t i;

	for (i = 0; i < k->write.natts; i++)
		db_blob_free(k->write.atts[i].blob);
	peer_local_end(c, err);
}

static void
put_written(struct db_request *req)
{
	struct local_call *c = req->cookie;
	struct putting *k = c->state;

	if (k->write.err != 0)
		c->call->why = k->write.why;
	end_putting(c, k->write.err);
}

static void
submit(struct local_call *c, struct putting *k)
{
	int err;

	c->req = (struct db_request){.writes = &k->write, .nwrites = 1, .done = put_written, .cookie = c};
	if ((err = db_submit(c->db, &c->req)) != 0)
		end_putting(c, err);
}

static int
begin_blob(struct local_call *c, struct putting *k)
{
	const struct doc_att_in *in = &k->in.atts[k->att];
	struct db_write_att *w = &k->write.atts[k->att];
	int gzip = in->encoding == DOC_GZIP;

	k->left = in->data.len;
	if (in->kind == DOC_ATT_FOLLOWS) {
		if (k->follow == k->of->natts)
			return err_why(&c->call->why, ERR_BAD_REQUEST, "an attachment is missing");
		k->left = k->of->atts[k->follow].length;
		gzip = k->of->atts[k->follow++].gzip;
	}
	return db_blob_new(c->db, gzip ? DB_BLOB_GZIPPED : DB_BLOB_PLAIN, &w->blob);
}

static int
end_blob(struct local_call *c, struct putting *k)
{
	const struct doc_att_in *in = &k->in.atts[k->att];
	struct db_blob *blob = k->write.atts[k->att].blob;
	int err = db_blob_end(blob);

	if (err == 0 && in->kind == DOC_ATT_FOLLOWS && in->has_digest &&
	    memcmp(in->md5, db_blob_md5(blob), sizeof(in->md5)) != 0)
		err = err_why(&c->call->why, ERR_HELD_BACK, "attachment %.*s has another digest than its document says",
		    (int)(in->name.len < 100 ? in->name.len : 100), in->name.s);
	k->att++;
	return err;
}

static void
there_are_bytes(void *cookie)
{
	peer_local_again(cookie);
}

static void
flushed(void *cookie, int err)
{
	struct local_call *c = cookie;
	struct putting *k = c->state;

	k->flush_err = err;
	peer_local_again(c);
}

/* ERR_AGAIN: somebody will call when it goes on; nothing of ${c} may be touched then. */
static int
fill_blob(struct local_call *c, struct putting *k)
{
	struct doc_att_in *in = &k->in.atts[k->att];
	struct db_blob *blob = k->write.atts[k->att].blob;
	size_t n;
	int err = 0;

	while (err == 0 && k->left > 0) {
		if (db_blob_pending(blob) >= BLOB_PIECE) {
			db_blob_flush(blob, flushed, c);
			return ERR_AGAIN;
		}
		n = k->left < TAKE ? (size_t)k->left : TAKE;
		if (in->kind == DOC_ATT_DATA) {
			err = db_blob_add(blob, in->data.s, n);
			in->data.s += n;
		} else {
			err = pipe_take(k->of->pipe, k->piece, n, &n, there_are_bytes, c);
			if (err == ERR_END)
				err = err_why(&c->call->why, ERR_HELD_BACK, "an attachment ended early");
			if (err == 0)
				err = db_blob_add(blob, k->piece, n);
		}
		k->left -= err == 0 ? n : 0;
	}
	return err;
}

static void
run_blobs(struct local_call *c)
{
	struct putting *k = c->state;
	int err = k->flush_err != 0 ? k->flush_err : atomic_load(&c->cancelled) ? ERR_CANCELLED : 0;

	while (err == 0 && k->att < k->in.natts) {
		if (k->in.atts[k->att].kind == DOC_ATT_STUB) {
			k->att++;
			continue;
		}
		if (k->write.atts[k->att].blob == NULL && (err = begin_blob(c, k)) != 0)
			break;
		if ((err = fill_blob(c, k)) == ERR_AGAIN)
			return;
		if (err == 0)
			err = end_blob(c, k);
	}
	if (err == 0)
		submit(c, k);
	else
		end_putting(c, err);
}

static int
prepare(struct local_call *c, struct putting *k)
{
	struct arena *a = c->call->arena;
	struct errtext *why = &c->call->why;
	size_t i;
	int err = parse(a, k->of->doc->text, &k->in, why);

	if (err == 0)
		err = db_doc_check(c->db, k->in.id.s, k->in.id.len, k->in.body.len, why);
	if (err != 0)
		return err;
	fill(&k->in, &k->write);
	k->piece = arena_alloc(a, TAKE);
	k->write.atts = arena_calloc(a, k->in.natts + 1, sizeof(*k->write.atts));
	if (k->piece == NULL || k->write.atts == NULL)
		return ERR_NOMEM;
	k->write.natts = k->in.natts;
	for (i = 0; i < k->in.natts; i++) {
		const struct doc_att_in *in = &k->in.atts[i];

		k->write.atts[i] = (struct db_write_att){.name = in->name,
		    .type = in->type,
		    .has_revpos = in->has_revpos,
		    .revpos = in->revpos,
		    .has_md5 = in->has_digest,
		    .length = in->has_length ? in->length : in->data.len};
		memcpy(k->write.atts[i].md5, in->md5, sizeof(in->md5));
	}
	return 0;
}

static void
run_put(struct local_call *c)
{
	struct putting *k = arena_calloc(c->call->arena, 1, sizeof(*k));
	struct peer_put *of = c->of;
	int err = k == NULL ? ERR_NOMEM : peer_local_open(c);

	of->of_all = err != 0;
	if (k == NULL) {
		peer_local_end(c, err);
		return;
	}
	k->of = of;
	c->state = k;
	if (err == 0)
		err = prepare(c, k);
	if (err != 0) {
		end_putting(c, err);
		return;
	}
	c->run = run_blobs;
	run_blobs(c);
}

void
peer_local_put_doc(struct peer *p, struct peer_put *c)
{
	peer_local_begin(p, &c->call, c, run_put);
}

/* ---- _local documents ---- */

struct noting {
	struct peer_local *io;
	struct doc_in in;
	struct db_write write;
};

static void
noted(struct db_request *req)
{
	struct local_call *c = req->cookie;
	struct noting *k = c->state;
	struct rev rev = rev_of(&k->write.rev);
	struct buf b;
	int err = k->write.err;

	buf_init_arena(&b, c->call->arena, REV_TEXT_MAX);
	if (err == 0 && (err = rev_put(&b, &rev)) == 0)
		k->io->rev = (struct jstr){b.data, b.len};
	peer_local_end(c, err);
}

static int
make_note(struct local_call *c, struct noting *k)
{
	struct arena *a = c->call->arena;
	struct buf id;
	struct jread j;
	int err;

	buf_init_arena(&id, a, LIMIT_ID_LEN);
	buf_puts(&id, "_local/");
	buf_put(&id, k->io->id.s, k->io->id.len);
	jread_init(&j, k->io->body.s, k->io->body.len);
	if ((err = buf_failed(&id)) != 0 || (err = doc_parse(&j, a, &k->in, &c->call->why)) != 0)
		return err;
	k->write.kind = DB_WRITE_LOCAL;
	k->write.id = (struct jstr){id.data, id.len};
	k->write.body = k->in.body;
	k->write.body_etf = k->in.body_etf;
	if (k->io->rev.len > 2 && k->io->rev.len - 2 <= LIMIT_REV_LEN) {
		k->write.has_parent = 1;
		k->write.parent.len = k->io->rev.len - 2;
		memcpy(k->write.parent.id, k->io->rev.s + 2, k->write.parent.len);
	}
	return 0;
}

static void
run_put_local(struct local_call *c)
{
	struct noting *k = arena_calloc(c->call->arena, 1, sizeof(*k));
	int err = k == NULL ? ERR_NOMEM : peer_local_open(c);

	if (err == 0) {
		k->io = c->of;
		c->state = k;
		err = make_note(c, k);
	}
	if (err == 0) {
		c->req = (struct db_request){.writes = &k->write, .nwrites = 1, .done = noted, .cookie = c};
		if ((err = db_submit(c->db, &c->req)) == 0)
			return;
	}
	peer_local_end(c, err);
}

void
peer_local_put_local(struct peer *p, struct peer_local *c)
{
	peer_local_begin(p, &c->call, c, run_put_local);
}
