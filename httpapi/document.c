/*
 * document.c: /{db}/{id}: which request it is, and reads of one revision.
 *
 * GET without parameters is the hottest path of the server: one read of the database and one copy
 * into the response.
 */
#include "httpapi/edit.h"
#include "httpapi/multipart.h"
#include "httpapi/openrevs.h"
#include "httpapi/render.h"
#include "httpapi/uuid.h"

#define HEAD_ROOM 256u    /* _id, _rev and punctuation of a document besides its body */
#define FIRST_ROOM 65536u /* at most so much is set aside at first: the length counts attachments as well */

static size_t
first_room(const struct db_doc *doc)
{
	size_t body = doc->winner.body_len < FIRST_ROOM ? (size_t)doc->winner.body_len : FIRST_ROOM;

	return body + doc->id.len + HEAD_ROOM;
}

static void get_with_params(struct apireq *r);

/* The winner with nothing besides. */
static void
get_plain(struct apireq *r)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct buf b;
	char *room;
	int err;

	err = db_snap_begin(r->db, &snap);
	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&b, RENDER_MAX);
	err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	if (err == 0)
		err = buf_reserve(&b, first_room(&doc), &room);
	if (err == 0) {
		/* The tag is written into the buffer that the body will use. */
		buf_putc(&b, '"');
		rev_put(&b, &doc.winner.rev);
		err = buf_putc(&b, '"');
	}
	if (err == 0 && api_not_modified(r, b.data, b.len)) {
		db_snap_end(snap);
		buf_release(&b);
		return;
	}
	if (err == 0 && db_doc_is_large(&doc)) {
		db_snap_end(snap);
		buf_release(&b);
		get_with_params(r);
		return;
	}
	buf_clear(&b);
	if (err == 0)
		err = render_doc(&b, &doc, NULL, r->arena, NULL);
	db_snap_end(snap);
	if (err == 0) {
		api_json(r, 200, &b);
		return;
	}
	buf_release(&b);
	api_error(r, err, NULL);
}

/* A read with parameters. */
struct get {
	struct render_opts opts;
	int has_rev, deleted;
	struct revbuf rev;
	int related; /* multipart/related is acceptable */
	int here;    /* on the event loop, */
	int large;   /* where this is not to be read */
	int err;
	int meta; /* no ETag */
	size_t natts;
	struct buf tag;
	struct buf body;
	const struct doc_att **follows;
	size_t nfollows;
};

static int
put_tag(struct get *g, const struct rev *rev)
{
	buf_putc(&g->tag, '"');
	rev_put(&g->tag, rev);
	return buf_putc(&g->tag, '"');
}

static int
read_rev(struct apireq *r, struct get *g, struct db_snap *snap)
{
	const struct revnode *node;
	const struct revpos *atp = NULL;
	struct revtree *t;
	struct revpos at;
	struct db_doc doc;
	struct db_rev rev;
	int err;

	err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);
	if (err != 0)
		return err;
	g->large = g->here && db_doc_is_large(&doc);
	if (g->large)
		return 0;
	node = &doc.winner;
	if (g->has_rev) {
		const struct rev asked = rev_of(&g->rev);

		if ((err = db_doc_tree(&doc, 1, &t)) == 0)
			err = db_doc_first(&doc, &asked, 0, &at);
		if (err != 0)
			return err;
		node = revtree_at(t, at);
		atp = &at;
	} else if (node->deleted && !g->deleted)
		return ERR_DELETED;
	err = put_tag(g, &node->rev);
	if (err != 0)
		return err;
	if (g->related && (g->opts.attachments || g->opts.has_atts_since)) {
		err = db_doc_rev(&doc, node, r->arena, &rev);
		if (err != 0)
			return err;
		g->natts = rev.natts;
		if (rev.natts > 0)
			return render_follows(
			    &g->body, &doc, atp, &g->opts, r->arena, &g->meta, &g->follows, &g->nfollows);
	}
	if (atp != NULL)
		return render_rev(&g->body, &doc, at, &g->opts, r->arena);
	return render_doc(&g->body, &doc, &g->opts, r->arena, &g->meta);
}

static void
get_work(struct apireq *r)
{
	struct get *g = r->cookie;
	struct db_snap *snap;

	g->err = db_snap_begin(r->db, &snap);
	if (g->err != 0)
		return;
	g->err = read_rev(r, g, snap);
	db_snap_end(snap);
}

static void
send_related(struct apireq *r, struct get *g)
{
	struct multipart_out *o = arena_alloc(r->arena, sizeof(*o));
	char boundary[MULTIPART_BOUNDARY_LEN];
	int err;

	if (o == NULL) {
		buf_release(&g->body);
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	uuid_random(boundary);
	multipart_out_init(o, r->arena);
	err = multipart_out_related(o, boundary, g->body.data, g->body.len, g->follows, g->nfollows);
	buf_release(&g->body);
	if (err != 0) {
		multipart_out_release(o);
		api_error(r, err, NULL);
		return;
	}
	multipart_out_send(o, r, "multipart/related", boundary);
}

static void
get_send(struct apireq *r)
{
	struct get *g = r->cookie;
	int over = 0;

	if (g->err == 0 && !g->meta)
		over = api_not_modified(r, g->tag.data, g->tag.len);
	buf_release(&g->tag);
	if (g->err != 0 || over) {
		buf_release(&g->body);
		if (!over)
			api_error(r, g->err, NULL);
		return;
	}
	if (g->natts > 0)
		send_related(r, g);
	else
		api_json(r, 200, &g->body);
}

static void
get_with_params(struct apireq *r)
{
	const struct jstr *rev = api_param(r, "rev");
	const struct jstr *open = api_param(r, "open_revs");
	struct get *g = arena_calloc(r->arena, 1, sizeof(*g));
	struct errtext why = {{0}};
	int err;

	if (g == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	r->cookie = g;
	err = render_opts_parse(r, &g->opts, &why);
	if (err == 0 && rev != NULL) {
		/* As in CouchDB the latest revision is the winner, whatever the other is. */
		g->has_rev = !g->opts.latest;
		err = rev_parse(rev->s, rev->len, &g->rev);
	}
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	/* An empty list of revisions counts as none. */
	if (open != NULL && !jstr_is(open, "[]")) {
		openrevs_get(r, &g->opts, *open);
		return;
	}
	g->deleted = api_param_is(r, "deleted", "true");
	g->related = multipart_accepted(http_header(r->http, "accept"), "multipart/related");
	buf_init(&g->tag, REV_TEXT_MAX + 2u);
	buf_init(&g->body, RENDER_MAX);
	/* Attachments within JSON are read and encoded here; those of a multipart answer are streamed. */
	if (!g->related && (g->opts.attachments || g->opts.has_atts_since)) {
		api_work(r, get_work, get_send);
		return;
	}
	g->here = 1;
	get_work(r);
	g->here = 0;
	if (g->large)
		api_work(r, get_work, get_send);
	else
		get_send(r);
}

void
document_post(struct apireq *r)
{
	edit_post(r);
}

void
document_any(struct apireq *r)
{
	struct errtext why = {""};
	int err = db_id_place(r->db, r->id.s, r->id.len, &why);

	if (err)
		api_error(r, err, &why);
	else if (strcmp(r->method, "GET") == 0) {
		if (r->nparams == 0)
			get_plain(r);
		else
			get_with_params(r);
	} else if (strcmp(r->method, "PUT") == 0)
		edit_put(r);
	else if (strcmp(r->method, "DELETE") == 0)
		edit_delete(r);
	else if (strcmp(r->method, "COPY") == 0)
		copy_document(r);
	else
		upload_form(r);
}
