/*
 * edit.c: requests that write one document.
 *
 *	edit_new -> edit_parse (large bodies: on an executor thread) -> edit_convert
 *	         -> edit_store: blobs -> submit -> answer
 */
#include "httpapi/edit.h"

#include <strings.h>

#include "httpapi/multipart.h"
#include "httpapi/render.h"
#include "httpapi/uuid.h"

struct edit *
edit_new(struct apireq *r)
{
	struct edit *e = arena_calloc(r->arena, 1, sizeof(*e));

	if (e == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return NULL;
	}
	r->cookie = e;
	e->id = r->id;
	e->new_edits = 1;
	e->how.status = 201;
	return e;
}

void
edit_parse(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct jread j;

	jread_init(&j, e->text.s, e->text.len);
	e->err = write_too_large(doc_parse(&j, r->arena, &e->in, &e->why), e->text.len);
	/* Text that is no JSON further on is that first of all. */
	if (e->err != ERR_BAD_JSON && jread_end(&j) != 0) {
		e->err = ERR_BAD_JSON;
		e->why.text[0] = '\0';
	}
}

void
edit_fail(struct apireq *r, int err)
{
	struct edit *e = r->cookie;

	write_release(&e->w, 1);
	if (e->release != NULL)
		e->release(e);
	api_error(r, err, &e->why);
}

int
edit_param(struct apireq *r)
{
	struct edit *e = r->cookie;

	return write_rev_param(r, &e->given, &e->has_given, &e->why);
}

int
edit_convert(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct revbuf rev = e->given;
	int err = 0, has = e->has_given;

	if (e->in.nrevisions > 0)
		rev_copy(&e->in.rev, &e->in.revisions[0]);
	if (e->in.nrevisions > 0 || e->in.has_rev)
		err = write_rev_join(r, &e->in.rev, &rev, &has, &e->why);
	if (err != 0)
		return err;
	e->in.rev = rev;
	e->in.has_rev = has;
	return write_convert(r->db, &e->in, e->id, e->new_edits, r->arena, &e->w, &e->why);
}

int
edit_check(struct apireq *r)
{
	const struct edit *e = r->cookie;
	const struct rev parent = rev_of(&e->w.parent);
	struct db_snap *snap;
	struct revtree *t;
	struct revpos at;
	struct db_doc doc;
	int err;

	if (e->w.kind != DB_WRITE_EDIT)
		return 0;
	err = db_snap_begin(r->db, &snap);
	if (err != 0)
		return err;
	err = db_get(snap, e->id.s, e->id.len, r->arena, &doc);
	if (err == 0 && e->w.has_parent) {
		err = db_doc_tree(&doc, 1, &t);
		if (err == 0 && (!revtree_find(t, &parent, &at) || !revtree_is_leaf(t, at)))
			err = ERR_CONFLICT;
	} else if (err == 0 && !doc.winner.deleted) {
		err = ERR_CONFLICT;
	}
	db_snap_end(snap);
	/* A document that is not there takes any parent. */
	return err == ERR_MISSING ? 0 : err;
}

static void
store_done(struct apireq *r)
{
	struct edit *e = r->cookie;

	if (e->release != NULL)
		e->release(e);
	if (e->answer != NULL && e->w.err == 0)
		e->answer(r);
	else
		write_answer(r, &e->w, &e->how);
}

static void
store_submit(struct apireq *r)
{
	struct edit *e = r->cookie;

	if (e->blobs.err != 0) {
		e->why = e->blobs.why;
		edit_fail(r, e->blobs.err);
		return;
	}
	e->req.writes = &e->w;
	e->req.nwrites = 1;
	api_submit(r, &e->req, store_done);
}

void
edit_store(struct apireq *r)
{
	struct edit *e = r->cookie;
	size_t n = write_blobs_count(&e->in);

	if (n == 0) {
		store_submit(r);
		return;
	}
	e->blobs.n = n;
	e->blobs.items = arena_calloc(r->arena, e->blobs.n, sizeof(*e->blobs.items));
	if (e->blobs.items == NULL) {
		edit_fail(r, ERR_NOMEM);
		return;
	}
	write_blobs_list(r->db, &e->in, &e->w, e->blobs.items);
	write_blobs(r, &e->blobs, store_submit);
}

/* ---- PUT and POST of JSON ---- */

/* The id of a document that came by POST: its own, or a new one. */
static int
choose_id(struct apireq *r, struct edit *e)
{
	char *text;
	int err;

	if (!e->in.has_id) {
		text = arena_alloc(r->arena, UUID_LEN);
		if (text == NULL)
			return ERR_NOMEM;
		uuid_next(text);
		e->id.s = text;
		e->id.len = UUID_LEN;
		return 0;
	}
	e->id = e->in.id;
	err = doc_id_check(e->id.s, e->id.len, &e->why);
	if (err == ERR_BAD_LOCAL_ID)
		return err_why(&e->why, ERR_RESERVED_ID, "Illegal document id `%.*s`", (int)e->id.len, e->id.s);
	return err;
}

static void
parsed(struct apireq *r)
{
	struct edit *e = r->cookie;
	int err = e->err;

	if (err == 0 && e->id_from_body)
		err = choose_id(r, e);
	if (err == 0 && write_follows(&e->in) > 0)
		err = err_why(&e->why, ERR_BAD_REQUEST, "Attachments can only follow in a multipart/related body.");
	if (err == 0)
		err = edit_param(r);
	if (err == 0)
		err = edit_convert(r);
	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	/* A deletion by PUT is answered as DELETE is. */
	if (e->in.deleted && !e->id_from_body)
		e->how.status = 200;
	edit_store(r);
}

static void
parse_body(struct apireq *r)
{
	struct edit *e = r->cookie;
	int err = api_body(r, &e->text, &e->why);

	if (err != 0) {
		edit_fail(r, err);
		return;
	}
	(void)api_work_by(r, e->text.len, edit_parse, parsed);
}

void
edit_put(struct apireq *r)
{
	struct edit *e;
	int err;

	if (multipart_is(http_header(r->http, "content-type"), "multipart/related")) {
		upload_related(r);
		return;
	}
	e = edit_new(r);
	if (e == NULL)
		return;
	err = doc_id_check(e->id.s, e->id.len, &e->why);
	if (err != 0) {
		if (e->id.len >= 6 && e->id.len <= 7 && memcmp(e->id.s, "_local/", e->id.len) == 0)
			err = ERR_BAD_LOCAL_ID;
		/* "/_design/" is refused as any other reserved name is. */
		e->why.text[0] = '\0';
		edit_fail(r, err);
		return;
	}
	e->new_edits = !api_param_is(r, "new_edits", "false");
	e->how.etag = 1;
	e->how.location = 1;
	e->how.batch = 1;
	api_gather(r, parse_body);
}

void
edit_post(struct apireq *r)
{
	struct edit *e;

	if (!api_is_json(r)) {
		api_error(r, ERR_CONTENT_TYPE, NULL);
		return;
	}
	e = edit_new(r);
	if (e == NULL)
		return;
	e->id_from_body = 1;
	e->how.location = 1;
	e->how.batch = 1;
	api_gather(r, parse_body);
}

/* ---- DELETE ---- */

int
edit_look(struct apireq *r, struct jstr id)
{
	struct db_snap *snap;
	struct db_doc doc;
	int err;

	err = db_snap_begin(r->db, &snap);
	if (err != 0)
		return err;
	err = db_get(snap, id.s, id.len, r->arena, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	db_snap_end(snap);
	return err;
}

void
edit_delete(struct apireq *r)
{
	static const char tombstone[] = "{\"_deleted\":true}";
	struct edit *e = edit_new(r);
	int err;

	if (e == NULL)
		return;
	e->text.s = tombstone;
	e->text.len = sizeof(tombstone) - 1;
	e->how.status = 200;
	e->how.etag = 1;
	err = edit_look(r, r->id);
	if (err == 0) {
		edit_parse(r);
		err = e->err;
	}
	if (err == 0)
		err = edit_param(r);
	if (err == 0)
		err = edit_convert(r);
	if (err != 0)
		edit_fail(r, err);
	else
		edit_store(r);
}
