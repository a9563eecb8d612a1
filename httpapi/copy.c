/*
 * copy.c: COPY of a document, _local ones included.  The stored text is read as if the client had sent it; the copy
 * refers to the stored bytes of the attachments, so that their digests, and with them the revision id, stay.
 */
#include <strings.h>

#include "httpapi/edit.h"

/* The source as it was read. */
struct source {
	struct revbuf rev; /* ?rev= or If-Match */
	int has_rev;
	struct db_rev content;
};

/* What lies in the snapshot is copied. */
static int
keep(struct arena *a, struct jstr *s)
{
	s->s = arena_dup(a, s->s, s->len);
	return s->s == NULL ? ERR_NOMEM : 0;
}

static int
keep_atts(struct apireq *r, struct source *s)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->content.natts; i++) {
		err = keep(r->arena, &s->content.atts[i].name);
		if (err == 0)
			err = keep(r->arena, &s->content.atts[i].type);
	}
	return err;
}

static int
is_local(const struct jstr *id)
{
	return id->len > 7 && memcmp(id->s, "_local/", 7) == 0;
}

static int
read_local(struct apireq *r, struct source *s, struct db_snap *snap)
{
	uint64_t rev;
	int err = db_local_get(snap, r->id.s, r->id.len, r->arena, &rev, &s->content.body);

	return err != 0 ? err : keep(r->arena, &s->content.body);
}

static int
read_source(struct apireq *r, struct source *s, struct db_snap *snap)
{
	const struct revnode *node;
	struct db_doc doc;
	struct revtree *t;
	struct revpos at;
	struct rev rev;
	int err;

	err = db_get(snap, r->id.s, r->id.len, r->arena, &doc);
	if (err != 0)
		return err;
	node = &doc.winner;
	if (s->has_rev) {
		rev = rev_of(&s->rev);
		err = db_doc_tree(&doc, 1, &t);
		if (err != 0)
			return err;
		if (!revtree_find(t, &rev, &at))
			return ERR_MISSING;
		node = revtree_at(t, at);
	} else if (node->deleted)
		return ERR_DELETED;
	err = db_doc_rev(&doc, node, r->arena, &s->content);
	if (err != 0)
		return err;
	err = keep(r->arena, &s->content.body);
	return err != 0 ? err : keep_atts(r, s);
}

static void
work(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct source *s = e->cookie;
	struct revbuf parent = e->in.rev;
	int has_parent = e->in.has_rev;
	struct db_snap *snap;

	e->err = db_snap_begin(r->db, &snap);
	if (e->err != 0)
		return;
	e->err = is_local(&r->id) ? read_local(r, s, snap) : read_source(r, s, snap);
	db_snap_end(snap);
	if (e->err != 0)
		return;
	e->text = s->content.body;
	edit_parse(r);
	e->in.deleted = s->content.node.deleted;
	e->in.rev = parent;
	e->in.has_rev = has_parent;
}

static int
add_atts(struct apireq *r, struct edit *e, const struct source *s)
{
	size_t n = s->content.natts;

	/* _local documents have none. */
	if (n == 0 || e->w.kind == DB_WRITE_LOCAL)
		return 0;
	e->w.atts = arena_calloc(r->arena, n, sizeof(*e->w.atts));
	if (e->w.atts == NULL)
		return ERR_NOMEM;
	e->w.natts = n;
	for (size_t i = 0; i < n; i++) {
		const struct doc_att *from = &s->content.atts[i];

		e->w.atts[i] = (struct db_write_att){.name = from->name, .type = from->type, .same = from};
	}
	return 0;
}

static void
then(struct apireq *r)
{
	struct edit *e = r->cookie;
	int err = e->err;

	if (err == 0)
		err = edit_convert(r);
	if (err == 0)
		err = add_atts(r, e, e->cookie);
	if (err != 0)
		edit_fail(r, err);
	else
		edit_store(r);
}

/* "id" or "id?rev=REV", percent-encoded. */
static int
parse_destination(struct apireq *r, struct edit *e)
{
	struct jstr d = http_header(r->http, "destination");
	const char *query, *eq;
	size_t len;
	int err;

	if (d.s == NULL)
		return err_why(&e->why, ERR_BAD_REQUEST, "Destination header is mandatory for COPY.");
	if ((d.len >= 7 && strncasecmp(d.s, "http://", 7) == 0) || (d.len >= 8 && strncasecmp(d.s, "https://", 8) == 0))
		return err_why(&e->why, ERR_BAD_REQUEST, "Destination URL must be relative.");
	query = memchr(d.s, '?', d.len);
	len = query != NULL ? (size_t)(query - d.s) : d.len;
	if (query != NULL) {
		eq = memchr(query, '=', d.len - len);
		if (eq == NULL)
			return ERR_BAD_REV;
		err = rev_parse(eq + 1, d.len - (size_t)(eq + 1 - d.s), &e->in.rev);
		if (err != 0)
			return err;
		e->in.has_rev = 1;
	}
	err = api_url_decode(r->arena, d.s, len, 1, &e->id);
	return err != 0 ? err : doc_id_check(e->id.s, e->id.len, &e->why);
}

void
copy_document(struct apireq *r)
{
	struct edit *e = edit_new(r);
	struct source *s;
	int err;

	if (e == NULL)
		return;
	s = arena_calloc(r->arena, 1, sizeof(*s));
	if (s == NULL) {
		edit_fail(r, ERR_NOMEM);
		return;
	}
	e->cookie = s;
	e->how.etag = 1;
	e->how.location = 1;
	err = write_rev_param(r, &s->rev, &s->has_rev, &e->why);
	if (err == 0)
		err = parse_destination(r, e);
	if (err != 0)
		edit_fail(r, err);
	else
		api_work(r, work, then);
}
