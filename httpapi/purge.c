/*
 * purge.c: _purge, _purged_infos: leaves that are to be forgotten as if they had never been.
 *
 * A request names any number of documents, each with revisions: {"id": ["rev", ...]}.  Each becomes
 * one write, and the answer tells for each which of the revisions were leaves and are gone.
 */
#include <string.h>

#include "api.h"
#include "base/limits.h"
#include "base/counters.h"

#define PURGE_DOCS_MAX 100u  /* documents of one request; purge/max_document_id_number may say less */
#define PURGE_REVS_MAX 1000u /* revisions of one request; purge/max_revisions_number may say less */

struct purge {
	uint64_t max_docs, max_revs; /* the settings; at most the sizes below */
	int err;                     /* of the body */
	struct errtext why;
	struct db_request req;
	struct db_write writes[PURGE_DOCS_MAX];
	struct rev revs[PURGE_REVS_MAX];
	unsigned char purged[PURGE_REVS_MAX];
	size_t nrevs;
};

/* ---- Reading ---- */

static int
too_many(struct errtext *why, const char *what)
{
	return err_why(why, ERR_BAD_REQUEST, "Exceeded maximum number of %s.", what);
}

static uint64_t
setting(const struct apireq *r, const char *key, uint64_t max)
{
	uint64_t n = config_u64(r->api->config, "purge", key, max);

	return n < max ? n : max;
}

static int
read_rev(struct apireq *r, struct jread *j, struct purge *p, struct buf *scratch, struct errtext *why)
{
	struct revbuf *rev = arena_alloc(r->arena, sizeof(*rev));
	struct jstr text;
	int err;

	if (rev == NULL)
		return ERR_NOMEM;
	if (p->nrevs == p->max_revs)
		return too_many(why, "revisions");
	if ((err = jread_string(j, scratch, &text)) != 0)
		return err == ERR_BAD_REQUEST ? ERR_BAD_REV : err;
	if ((err = rev_parse(text.s, text.len, rev)) != 0)
		return err;
	p->revs[p->nrevs++] = rev_of(rev);
	return 0;
}

static int
read_revs(
    struct apireq *r, struct jread *j, struct purge *p, struct db_write *w, struct buf *scratch, struct errtext *why)
{
	int err;

	w->path = p->revs + p->nrevs;
	w->purged = p->purged + p->nrevs;
	if (jread_peek(j) != JREAD_ARRAY) {
		if ((err = jread_skip(j, NULL)) != 0)
			return err;
		return err_why(why, ERR_BAD_REQUEST, "Invalid list of revisions");
	}
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0)
		err = read_rev(r, j, p, scratch, why);
	w->npath = (size_t)(p->revs + p->nrevs - w->path);
	return err == ERR_END ? 0 : err;
}

static int
read_docs(struct apireq *r, struct jread *j, struct purge *p, struct buf *scratch, struct errtext *why)
{
	struct jstr id;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, scratch, &id)) == 0) {
		struct db_write *w = &p->writes[p->req.nwrites];

		if (p->req.nwrites == p->max_docs)
			return too_many(why, "documents");
		*w = (struct db_write){.kind = DB_WRITE_PURGE, .id = {arena_dup(r->arena, id.s, id.len), id.len}};
		if (w->id.s == NULL)
			return ERR_NOMEM;
		p->req.nwrites++;
		/* No document has it, and neither the answer nor what is remembered of purges has room for all of those. */
		if (w->id.len > LIMIT_ID_LEN)
			return ERR_ID_TOO_LONG;
		if ((err = db_id_place(r->db, w->id.s, w->id.len, why)) == 0)
			err = read_revs(r, j, p, w, scratch, why);
	}
	return err == ERR_END ? jread_end(j) : err;
}

/* well_formed: What is no JSON at all is told before what is wrong with its meaning. */
static int
well_formed(const struct jstr *body)
{
	struct jread j;
	int err;

	jread_init(&j, body->s, body->len);
	err = jread_skip(&j, NULL);
	return err ? err : jread_end(&j);
}

static int
read_body(struct apireq *r, struct purge *p, struct errtext *why)
{
	struct jstr body;
	struct jread j;
	struct buf scratch;
	int err;

	if ((err = api_body(r, &body, why)) != 0 || (err = well_formed(&body)) != 0)
		return err;
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	buf_init(&scratch, body.len + API_SCRATCH);
	err = read_docs(r, &j, p, &scratch, why);
	buf_release(&scratch);
	return err;
}

/* ---- Answering ---- */

static void
put_purged(struct buf *b, const struct db_write *w)
{
	const char *comma = "";

	buf_put_json(b, w->id.s, w->id.len);
	buf_puts(b, ":[");
	for (size_t i = 0; i < w->npath; i++) {
		if (!w->purged[i])
			continue;
		buf_printf(b, "%s\"", comma);
		rev_put(b, &w->path[i]);
		buf_putc(b, '"');
		comma = ",";
	}
	buf_putc(b, ']');
}

static void
purge_end(struct apireq *r)
{
	const struct purge *p = r->cookie;
	struct buf b;

	for (size_t i = 0; i < p->req.nwrites; i++)
		if (p->writes[i].err) {
			api_error(r, p->writes[i].err, &p->writes[i].why);
			return;
		}
	buf_init(&b, LIMIT_BODY_LEN);
	buf_puts(&b, "{\"purge_seq\":null,\"purged\":{");
	for (size_t i = 0; i < p->req.nwrites; i++) {
		if (i > 0)
			buf_putc(&b, ',');
		put_purged(&b, &p->writes[i]);
	}
	buf_puts(&b, "}}");
	api_json(r, 201, &b);
}

static void
parse(struct apireq *r)
{
	struct purge *p = r->cookie;

	p->err = read_body(r, p, &p->why);
}

static void
parsed(struct apireq *r)
{
	struct purge *p = r->cookie;

	if (p->err) {
		api_error(r, p->err, &p->why);
	} else if (p->req.nwrites == 0) {
		purge_end(r);
	} else {
		counters_add(COUNTER_PURGES, 1);
		api_submit(r, &p->req, purge_end);
	}
}

void
purge_docs(struct apireq *r)
{
	struct purge *p = arena_calloc(r->arena, 1, sizeof(*p));

	if (!p || !api_is_json(r)) {
		api_error(r, p ? ERR_CONTENT_TYPE : ERR_NOMEM, NULL);
		return;
	}
	p->req.writes = p->writes;
	p->max_docs = setting(r, "max_document_id_number", PURGE_DOCS_MAX);
	p->max_revs = setting(r, "max_revisions_number", PURGE_REVS_MAX);
	r->cookie = p;
	api_parse(r, parse, parsed);
}

/* ---- What is remembered ---- */

static int
put_infos(struct apireq *r, struct buf *b)
{
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_purge info;
	const char *comma = "";
	int err = db_snap_begin(r->db, &snap);

	if (err)
		return err;
	buf_puts(b, "{\"purged_infos\":[");
	if ((err = db_purges_open(snap, 0, &scan)) == 0) {
		while ((err = db_purges_next(scan, r->arena, &info)) == 0) {
			buf_printf(b, "%s{\"id\":", comma);
			buf_put_json(b, info.id.s, info.id.len);
			buf_puts(b, ",\"revs\":[");
			for (size_t i = 0; i < info.nrevs; i++) {
				buf_puts(b, i > 0 ? ",\"" : "\"");
				rev_put(b, &info.revs[i]);
				buf_putc(b, '"');
			}
			buf_puts(b, "]}");
			comma = ",";
		}
		db_scan_close(scan);
	}
	db_snap_end(snap);
	buf_puts(b, "]}");
	return err == ERR_END ? buf_failed(b) : err;
}

void
purge_infos(struct apireq *r)
{
	struct buf b;
	int err;

	buf_init(&b, 8 * LIMIT_BODY_LEN);
	err = put_infos(r, &b);
	if (err) {
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_json(r, 200, &b);
}
