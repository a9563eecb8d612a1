/*
 * attachment.c: one attachment: GET, HEAD, PUT, DELETE.
 *
 * A PUT or DELETE is an edit of the document: the same body, the same other attachments as stubs.  What would not
 * be allowed, or conflicts, is refused before an upload's bytes are taken in:
 *
 *	put --prepare--> attwrite_pour --take...--> poured -> submit -> answer
 */
#include "attread.h"
#include "attwrite.h"
#include "write.h"

/* A write on its way. */
struct upload {
	struct apireq *r;
	struct jstr name;
	struct jstr type;
	struct db_blob *blob; /* until it is the write's */
	struct attwrite pour;
	struct doc_in in;
	struct db_write w;
	struct db_request req;
	struct write_answer how;
	struct errtext why;
};

static void
fail(struct upload *u, int err)
{
	db_blob_free(u->blob);
	u->blob = NULL;
	write_release(&u->w, 1);
	/* A revision that is not there is a conflict, but does not say so. */
	if (err == ERR_CHANGED)
		api_error_text(u->r, 409, "not_found", "missing_rev");
	else
		api_error(u->r, write_att_why(err, u->name, &u->why), &u->why);
}

static int
find(const struct db_rev *rev, const struct jstr *name, size_t *ip)
{
	size_t i;

	for (i = 0; i < rev->natts; i++) {
		if (rev->atts[i].name.len == name->len && memcmp(rev->atts[i].name.s, name->s, name->len) == 0) {
			*ip = i;
			return 1;
		}
	}
	return 0;
}

enum aim {
	AIM_READ,
	AIM_LATEST, /* a leaf that the revision has become */
	AIM_EDIT,
};

/*
 * The content of revision ${want}, or of a winner that is not deleted.  Errors: ERR_MISSING, ERR_DELETED; ERR_CONFLICT
 * where it is to be edited and is no leaf.
 */
static int
read_rev(struct apireq *r, struct db_snap *snap, const struct revbuf *want, enum aim aim, struct db_rev *out)
{
	struct revtree *tree;
	struct revpos at;
	struct db_doc doc;
	struct rev rev;
	int err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);

	if (err != 0)
		return err;
	if (want == NULL)
		return doc.winner.deleted ? ERR_DELETED : db_doc_rev(&doc, &doc.winner, r->arena, out);
	err = db_doc_tree(&doc, 1, &tree);
	if (err != 0)
		return err;
	rev = rev_of(want);
	if (aim == AIM_LATEST && (err = db_doc_first(&doc, &rev, 1, &at)) != 0)
		return err;
	if (aim != AIM_LATEST && !revtree_find(tree, &rev, &at))
		return ERR_MISSING;
	if (aim == AIM_EDIT && !revtree_is_leaf(tree, at))
		return ERR_CONFLICT;
	return db_doc_rev(&doc, revtree_at(tree, at), r->arena, out);
}

/* ---- GET ---- */

static int
copy_strings(struct apireq *r, struct doc_att *att)
{
	att->name.s = arena_dup(r->arena, att->name.s, att->name.len);
	att->type.s = arena_dup(r->arena, att->type.s, att->type.len);
	return att->name.s == NULL || att->type.s == NULL ? ERR_NOMEM : 0;
}

static void
get(struct apireq *r, const struct jstr *name)
{
	const struct jstr *param = api_param(r, "rev");
	const enum aim aim = api_param_is(r, "latest", "true") ? AIM_LATEST : AIM_READ;
	struct doc_att att;
	struct db_snap *snap;
	struct revbuf want;
	struct db_rev rev;
	size_t i = 0;
	int err = param != NULL ? rev_parse(param->s, param->len, &want) : 0;

	if (err == 0)
		err = db_snap_begin(r->db, &snap);
	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	err = read_rev(r, snap, param != NULL ? &want : NULL, aim, &rev);
	if (err == 0 && !find(&rev, name, &i))
		err = ERR_NO_ATTACHMENT;
	if (err == 0) {
		att = rev.atts[i];
		err = copy_strings(r, &att);
	}
	db_snap_end(snap);
	if (err != 0)
		api_error(r, err, NULL);
	else
		attread_send(r, &att);
}

/* ---- The edit ---- */

/* Body and attachments of the edited revision; ${skip} is left out, and room is made for one in front. */
static int
take_parent(struct upload *u, const struct db_rev *rev, size_t skip, int room)
{
	struct apireq *r = u->r;
	size_t i, n = 0;
	struct jread j;
	char *body;
	int err;

	body = arena_dup(r->arena, rev->body.s, rev->body.len);
	u->w.atts = arena_calloc(r->arena, rev->natts + 1, sizeof(*u->w.atts));
	if (body == NULL || u->w.atts == NULL)
		return ERR_NOMEM;
	jread_init(&j, body, rev->body.len);
	err = doc_parse(&j, r->arena, &u->in, &u->why);
	if (err != 0)
		return err;
	u->w.body = u->in.body;
	u->w.body_etf = u->in.body_etf;
	n = room ? 1 : 0;
	for (i = 0; i < rev->natts; i++) {
		struct doc_att att = rev->atts[i];

		if (i == skip)
			continue;
		err = copy_strings(r, &att);
		if (err != 0)
			return err;
		u->w.atts[n].name = att.name;
		u->w.atts[n++].type = att.type;
	}
	u->w.natts = n;
	return 0;
}

/*
 * The revision that is edited into the write.  ${room}: for a new attachment; else u->name is to be
 * there, and goes.
 */
static int
prepare(struct upload *u, int room)
{
	static const struct db_rev none = {.body = {"{}", 2}};
	struct apireq *r = u->r;
	struct db_snap *snap;
	struct db_rev rev;
	size_t i = SIZE_MAX;
	int found, err;

	u->w.kind = DB_WRITE_EDIT;
	u->w.id = r->id;
	err = write_rev_param(r, &u->w.parent, &u->w.has_parent, &u->why);
	if (err == 0)
		err = db_snap_begin(r->db, &snap);
	if (err != 0)
		return err;
	err = read_rev(r, snap, u->w.has_parent ? &u->w.parent : NULL, AIM_EDIT, &rev);
	if (err == 0 && !u->w.has_parent) {
		/* What is to go is looked for first. */
		err = room || find(&rev, &u->name, &i) ? ERR_CONFLICT : ERR_NO_ATTACHMENT;
	} else if (err == ERR_MISSING && u->w.has_parent) {
		err = ERR_CHANGED;
	} else if (room && (err == ERR_MISSING || err == ERR_DELETED)) {
		err = 0;
		rev = none;
	}
	if (err == 0) {
		found = find(&rev, &u->name, &i);
		if (!room && !found)
			err = ERR_NO_ATTACHMENT;
		else
			err = take_parent(u, &rev, i, room);
	}
	db_snap_end(snap);
	if (err == 0 && r->id.len > 8 && memcmp(r->id.s, "_design/", 8) == 0)
		err = db_may_set(r->db, DB_WRITE_EDIT, NULL);
	return err;
}

static void
stored(struct apireq *r)
{
	struct upload *u = r->cookie;

	write_answer(r, &u->w, &u->how);
}

static void
submit(struct upload *u)
{
	u->req.writes = &u->w;
	u->req.nwrites = 1;
	api_submit(u->r, &u->req, stored);
}

/* ---- Bytes ---- */

static int
take(void *cookie, const char *data, size_t len)
{
	struct upload *u = cookie;

	return attwrite_add(&u->pour, data, len);
}

static void
poured(struct apireq *r)
{
	struct upload *u = r->cookie;
	uint64_t stored;
	int err = u->pour.err;

	if (err == 0)
		err = attwrite_close(&u->pour);
	if (err != 0) {
		fail(u, err);
		return;
	}
	u->w.atts[0].name = u->name;
	u->w.atts[0].type = u->type;
	u->w.atts[0].blob = u->blob;
	db_blob_lengths(u->blob, &u->w.atts[0].length, &stored);
	u->blob = NULL;
	submit(u);
}

static void
put(struct apireq *r, struct upload *u)
{
	static const char binary[] = "application/octet-stream";
	enum db_blob_mode mode;
	int gzipped, err;

	u->how = (struct write_answer){.status = 201, .location = 1, .att = u->name};
	u->pour = (struct attwrite){.r = r, .take = take, .then = poured, .cookie = u};
	u->type = http_header(r->http, "content-type");
	if (u->type.s == NULL || u->type.len == 0)
		u->type = (struct jstr){binary, sizeof(binary) - 1};
	err = api_body_encoding(r, &gzipped, &u->why);
	if (err == 0)
		err = attwrite_type_check(&u->type, &u->why);
	if (err == 0)
		err = prepare(u, 1);
	if (err == 0) {
		mode = gzipped ? DB_BLOB_GZIPPED : db_blob_mode_for(r->db, u->type.s, u->type.len);
		err = attwrite_open(&u->pour, mode, http_body_len(r->http), &u->blob);
	}
	if (err != 0)
		fail(u, err);
	else
		attwrite_pour(&u->pour);
}

static void delete (struct apireq *r, struct upload *u)
{
	int err;

	(void)r;
	u->how = (struct write_answer){.status = 200};
	err = prepare(u, 0);
	if (err != 0)
		fail(u, err);
	else
		submit(u);
}

void
attachment_any(struct apireq *r)
{
	int is_get = strcmp(r->method, "GET") == 0, is_put = strcmp(r->method, "PUT") == 0;
	struct errtext why = {""};
	struct upload *u;
	struct jstr name;
	int err;

	err = db_id_place(r->db, r->id.s, r->id.len, &why);
	if (err == 0)
		err = api_tail(r, r->nid, &name);
	if (err == 0 && is_get) {
		get(r, &name);
		return;
	}
	u = err == 0 ? arena_calloc(r->arena, 1, sizeof(*u)) : NULL;
	if (err == 0 && u == NULL)
		err = ERR_NOMEM;
	if (err == 0)
		err = db_doc_check(r->db, r->id.s, r->id.len, 0, &why);
	if (err == 0)
		err = attwrite_name_check(&name, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = u;
	u->r = r;
	u->name = name;
	if (is_put)
		put(r, u);
	else
		delete (r, u);
}
