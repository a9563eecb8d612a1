/*
 * upload.c: documents that come as multipart/related bodies.
 *
 * The first part is the document, the parts behind it are the attachments that say "follows", in the order of the
 * JSON, whatever their headers say: CouchDB's replicator sends none.  What the document alone tells to be a
 * conflict is refused before its attachments are taken in.
 *
 *	upload_related -> attwrite_pour --take: multipart_feed--> begin, data, end --> poured
 *	               -> edit_convert -> edit_store
 */
#include "httpapi/edit.h"

#include <strings.h>

#include "base/hash.h"
#include "httpapi/attwrite.h"
#include "httpapi/multipart.h"
#include "httpapi/render.h"

#define JSON_MAX ((size_t)256 << 20) /* bytes of the first part */

/* One multipart/related upload. */
struct upload {
	struct edit *edit;
	struct apireq *r;
	struct multipart *parser;
	struct attwrite pour;
	struct buf json;         /* the first part */
	size_t part;             /* parts begun */
	size_t att;              /* attachment of the part at hand; natts: none is waiting */
	struct db_blob **blobs;  /* one an attachment of the document, or NULL */
	struct db_blob *current; /* of the part at hand */
	uint64_t got;            /* bytes of it */
};

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

/* The length that the document tells of what follows; 0: it tells none. */
static int
told_length(const struct doc_att_in *att, uint64_t *lenp)
{
	*lenp = att->encoding == DOC_GZIP ? att->encoded_length : att->length;
	return att->encoding == DOC_GZIP ? att->has_encoded_length : att->has_length;
}

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct upload *u = cookie;
	const struct doc_att_in *att;
	enum db_blob_mode mode;
	uint64_t told;
	int err;

	(void)headers;
	(void)n;
	u->got = 0;
	if (u->part++ == 0)
		return 0;
	next_follows(u);
	if (u->att == u->edit->in.natts)
		return err_why(
		    &u->edit->why, ERR_BAD_REQUEST, "The multipart body has more parts than attachments that follow.");
	att = &u->edit->in.atts[u->att];
	mode = att->encoding == DOC_GZIP ? DB_BLOB_GZIPPED : db_blob_mode_for(u->r->db, att->type.s, att->type.len);
	if (!told_length(att, &told))
		told = UINT64_MAX;
	err = attwrite_open(&u->pour, mode, told, &u->blobs[u->att]);
	u->current = u->blobs[u->att];
	return write_att_why(err, att->name, &u->edit->why);
}

static int
wrong_length(struct upload *u)
{
	const struct jstr *name = &u->edit->in.atts[u->att].name;

	return err_why(&u->edit->why, ERR_BAD_REQUEST, "Attachment length does not match what follows: %.*s",
	    (int)(name->len < 200 ? name->len : 200), name->s);
}

static int
data(void *cookie, const char *bytes, size_t len)
{
	struct upload *u = cookie;
	uint64_t told;

	if (u->part == 1)
		return buf_put(&u->json, bytes, len);
	u->got += len;
	if (told_length(&u->edit->in.atts[u->att], &told) && u->got > told)
		return wrong_length(u);
	return write_att_why(attwrite_add(&u->pour, bytes, len), u->edit->in.atts[u->att].name, &u->edit->why);
}

/* The document is there: room for its attachments. */
static int
end_json(struct upload *u)
{
	struct edit *e = u->edit;
	int err;

	e->text.s = u->json.data;
	e->text.len = u->json.len;
	edit_parse(u->r);
	err = e->err != 0 ? e->err : edit_convert(u->r);
	if (err == 0 && write_follows(&e->in) > 0)
		err = edit_check(u->r);
	if (err != 0)
		return err;
	u->blobs = arena_calloc(u->r->arena, e->in.natts + 1, sizeof(*u->blobs));
	return u->blobs == NULL ? ERR_NOMEM : 0;
}

static int
end_att(struct upload *u)
{
	const struct doc_att_in *att = &u->edit->in.atts[u->att];
	uint64_t told;
	int err;

	err = attwrite_close(&u->pour);
	if (err != 0)
		return err;
	if (told_length(att, &told) && told != u->got)
		return wrong_length(u);
	if (att->has_digest && !hash_equal(att->md5, db_blob_identity_md5(u->current), MD5_LEN) &&
	    !hash_equal(att->md5, db_blob_md5(u->current), MD5_LEN))
		return err_why(&u->edit->why, ERR_BAD_REQUEST,
		    "Possible data corruption: digest mismatch of attachment %.*s",
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
	return end_att(u);
}

/* ---- The body ---- */

static int
take(void *cookie, const char *bytes, size_t len)
{
	struct upload *u = cookie;

	return multipart_feed(u->parser, bytes, len);
}

static void
poured(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct upload *u = e->cookie;
	size_t i;
	int err = u->pour.err;

	next_follows(u);
	if (err == 0 && (u->part == 0 || !multipart_done(u->parser) || u->att < e->in.natts))
		err = err_why(&e->why, ERR_BAD_REQUEST, "The multipart body is incomplete.");
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

static int
start(struct apireq *r, struct edit *e)
{
	struct jstr type = http_header(r->http, "content-type");
	struct multipart_sink sink = {begin, data, end, NULL};
	struct jstr boundary;
	struct upload *u;
	int err;

	err = db_doc_check(r->db, e->id.s, e->id.len, 0, &e->why);
	if (err == 0)
		err = edit_param(r);
	if (err == 0 && multipart_param(type, "boundary", r->arena, &boundary) != 0)
		err = err_why(&e->why, ERR_BAD_REQUEST, "The Content-Type has no boundary.");
	if (err != 0)
		return err;
	u = arena_calloc(r->arena, 1, sizeof(*u));
	if (u == NULL)
		return ERR_NOMEM;
	u->edit = e;
	u->r = r;
	u->pour = (struct attwrite){.r = r, .take = take, .then = poured, .cookie = u};
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
	struct upload *u;
	int err;

	if (e == NULL)
		return;
	e->new_edits = !api_param_is(r, "new_edits", "false");
	e->how.etag = 1;
	e->how.location = 1;
	err = start(r, e);
	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	u = e->cookie;
	attwrite_pour(&u->pour);
}
