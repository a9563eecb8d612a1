/*
 * upload.c: documents that come as multipart bodies.
 *
 * multipart/related: the first part is the document, the parts behind it are the attachments that
 * say "follows", in the order of the JSON.  The body is read piece by piece and never held in
 * whole; a blob that has gathered 1 MiB is flushed before the next piece:
 *
 *	next -> read a piece -> take (large bodies: on an executor thread) -> taken -> next
 *	  |                                                                     |
 *	  |                                                                     +--blob full--> flush -> next
 *	  +--end of body--> finish -> edit_convert -> edit_store
 *
 * multipart/form-data: `_doc`, or `_rev` alone, and any number of `_attachments`; held in memory,
 * as browsers' forms are small.
 */
#include "httpapi/edit.h"

#include <strings.h>

#include "base/hash.h"
#include "httpapi/multipart.h"
#include "httpapi/render.h"

#define BLOB_PIECE ((size_t)1 << 20)
#define JSON_MAX ((size_t)256 << 20) /* bytes of the first part */

/* One multipart/related upload. */
struct upload {
	struct edit *edit;
	struct apireq *r;
	struct multipart *parser;
	struct jstr piece;
	struct buf json;         /* the first part */
	size_t part;             /* parts begun */
	size_t att;              /* attachment of the part at hand; natts: none is waiting */
	struct db_blob **blobs;  /* one an attachment of the document, or NULL */
	struct db_blob *current; /* of the part at hand */
	uint64_t got;            /* bytes of it */
	struct http_msg msg;     /* back from the flush */
	int err;
};

static void next(struct apireq *r);

static void
release(struct edit *e)
{
	struct upload *u = e->cookie;
	size_t i;

	multipart_free(u->parser);
	u->parser = NULL;
	buf_release(&u->json);
	if (u->blobs == NULL)
		return;
	for (i = 0; i < e->in.natts; i++)
		db_blob_free(u->blobs[i]);
	u->blobs = NULL;
}

/* ---- Parts ---- */

static void
next_follows(struct upload *u)
{
	const struct doc_in *in = &u->edit->in;

	while (u->att < in->natts && in->atts[u->att].kind != DOC_ATT_FOLLOWS)
		u->att++;
}

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct upload *u = cookie;
	const struct doc_att_in *att;
	enum db_blob_mode mode;
	int err;

	(void)headers;
	(void)n;
	u->got = 0;
	if (u->part++ == 0)
		return 0;
	next_follows(u);
	/* Parts that nothing announced are passed over. */
	if (u->att == u->edit->in.natts)
		return 0;
	att = &u->edit->in.atts[u->att];
	mode = att->encoding == DOC_GZIP ? DB_BLOB_GZIPPED : db_blob_mode_for(u->r->db, att->type.s, att->type.len);
	err = db_blob_new(u->r->db, mode, &u->blobs[u->att]);
	u->current = u->blobs[u->att];
	return err;
}

static int
data(void *cookie, const char *bytes, size_t len)
{
	struct upload *u = cookie;

	if (u->part == 1)
		return buf_put(&u->json, bytes, len);
	u->got += len;
	return u->current == NULL ? 0 : db_blob_add(u->current, bytes, len);
}

/* The document is there: room for its attachments. */
static int
end_json(struct upload *u)
{
	struct edit *e = u->edit;

	e->text.s = u->json.data;
	e->text.len = u->json.len;
	edit_parse(u->r);
	if (e->err != 0)
		return e->err;
	u->blobs = arena_calloc(u->r->arena, e->in.natts + 1, sizeof(*u->blobs));
	return u->blobs == NULL ? ERR_NOMEM : 0;
}

static int
end_att(struct upload *u)
{
	const struct doc_att_in *att = &u->edit->in.atts[u->att];
	struct errtext *why = &u->edit->why;
	int err, gzip = att->encoding == DOC_GZIP;
	uint64_t told = gzip ? att->encoded_length : att->length;

	err = db_blob_end(u->current);
	if (err != 0)
		return err;
	if ((gzip ? att->has_encoded_length : att->has_length) && told != u->got)
		return err_why(why, ERR_BAD_REQUEST, "Attachment length does not match what follows: %.*s",
		    (int)(att->name.len < 200 ? att->name.len : 200), att->name.s);
	if (att->has_digest && !hash_equal(att->md5, db_blob_identity_md5(u->current), MD5_LEN) &&
	    !hash_equal(att->md5, db_blob_md5(u->current), MD5_LEN))
		return err_why(why, ERR_BAD_REQUEST, "Possible data corruption: digest mismatch of attachment %.*s",
		    (int)(att->name.len < 200 ? att->name.len : 200), att->name.s);
	u->current = NULL;
	u->att++;
	return 0;
}

static int
end(void *cookie)
{
	struct upload *u = cookie;

	if (u->part == 1)
		return end_json(u);
	return u->current == NULL ? 0 : end_att(u);
}

/* ---- The body ---- */

static void
finish(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct upload *u = e->cookie;
	size_t i;
	int err = 0;

	next_follows(u);
	if (u->part == 0 || !multipart_done(u->parser) || u->att < e->in.natts)
		err = err_why(&e->why, ERR_BAD_REQUEST, "The multipart body is incomplete.");
	if (err == 0)
		err = edit_convert(r);
	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	for (i = 0; i < e->w.natts; i++) {
		e->w.atts[i].blob = u->blobs[i];
		u->blobs[i] = NULL;
	}
	if (e->in.deleted)
		e->how.status = 200;
	edit_store(r);
}

static void
take(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct upload *u = e->cookie;

	u->err = multipart_feed(u->parser, u->piece.s, u->piece.len);
}

static void
flushed_back(void *arg)
{
	struct upload *u = arg;
	struct apireq *r = u->r;
	struct http_req *http = r->http;

	if (u->err != 0)
		edit_fail(r, u->err);
	else
		next(r);
	http_release(http);
}

static void
flushed(void *cookie, int err)
{
	struct upload *u = cookie;

	u->err = err;
	http_post(http_req_thread(u->r->http), &u->msg);
}

static void
taken(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct upload *u = e->cookie;

	if (u->err != 0) {
		edit_fail(r, u->err);
		return;
	}
	if (u->current != NULL && db_blob_pending(u->current) >= BLOB_PIECE) {
		http_hold(r->http);
		db_blob_flush(u->current, flushed, u);
		return;
	}
	next(r);
}

static void
more_came(void *arg)
{
	next(arg);
}

static void
next(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct upload *u = e->cookie;
	int small = http_body_len(r->http) <= API_INLINE_BYTES;
	int err;

	do {
		err = http_body_read(r->http, &u->piece);
		if (err == ERR_AGAIN) {
			http_body_wait(r->http, more_came, r);
			return;
		}
		if (err != 0) {
			edit_fail(r, err);
			return;
		}
		if (u->piece.len == 0) {
			finish(r);
			return;
		}
		if (!small) {
			api_work(r, take, taken);
			return;
		}
		take(r);
	} while (u->err == 0);
	edit_fail(r, u->err);
}

static int
start(struct apireq *r, struct edit *e)
{
	struct jstr type = http_header(r->http, "content-type");
	struct multipart_sink sink = {begin, data, end, NULL};
	struct jstr boundary;
	struct upload *u;
	int err;

	err = doc_id_check(e->id.s, e->id.len, &e->why);
	if (err == 0 && multipart_param(type, "boundary", r->arena, &boundary) != 0)
		err = err_why(&e->why, ERR_BAD_REQUEST, "The Content-Type has no boundary.");
	if (err != 0)
		return err;
	u = arena_calloc(r->arena, 1, sizeof(*u));
	if (u == NULL)
		return ERR_NOMEM;
	u->edit = e;
	u->r = r;
	u->msg.fn = flushed_back;
	u->msg.arg = u;
	buf_init(&u->json, JSON_MAX);
	sink.cookie = u;
	e->cookie = u;
	e->release = release;
	return multipart_new(boundary, &sink, &u->parser);
}

void
upload_related(struct apireq *r)
{
	struct edit *e = edit_new(r);
	int err;

	if (e == NULL)
		return;
	e->how.etag = 1;
	e->how.location = 1;
	err = start(r, e);
	if (err != 0)
		edit_fail(r, err);
	else
		next(r);
}
