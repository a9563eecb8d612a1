/*
 * write.c: from documents as clients send them to writes of the database.
 *
 * Attachment bytes that came inside JSON are in memory already.  Few bytes are made into blobs on
 * the event loop; many on executor threads, one after the other, since a blob that holds 1 MiB
 * waits for the committer to write it:
 *
 *   write_blobs --(little)--> blobs_step until done --> then()
 *        |
 *        +--(much)--> job: blobs_step --(1 MiB pending)--> db_blob_flush --> flushed: job again
 *                         |
 *                         +--(done or failed)--> message to the request's thread: blobs_back --> then()
 */
#include "httpapi/write.h"

#include "base/limits.h"
#include "httpapi/api.h"

#define BLOB_PIECE ((size_t)1 << 20)
#define LARGE_BODY ((size_t)16 << 20) /* from here on lack of memory is the request's own fault */
#define ANSWER_MAX (8u * LIMIT_ID_LEN + 4096u)

/* ---- Documents to writes ---- */

static int
is_local(struct jstr id)
{
	static const char local[] = "_local/";

	return id.len >= sizeof(local) - 1 && memcmp(id.s, local, sizeof(local) - 1) == 0;
}

/* The path that a replicated write brings. */
static int
convert_path(const struct doc_in *in, struct arena *a, struct db_write *w, struct errtext *why)
{
	struct rev *path;

	if (in->nrevisions > 0) {
		w->path = in->revisions;
		w->npath = in->nrevisions;
		return 0;
	}
	if (!in->has_rev)
		return err_why(why, ERR_BAD_REQUEST,
		    "When `new_edits: false`, the document needs `_rev` or `_revisions` specified");
	w->parent = in->rev;
	path = arena_alloc(a, sizeof(*path));
	if (path == NULL)
		return ERR_NOMEM;
	*path = rev_of(&w->parent);
	w->path = path;
	w->npath = 1;
	return 0;
}

static int
convert_atts(const struct doc_in *in, struct arena *a, struct db_write *w)
{
	const struct doc_att_in *from;
	struct db_write_att *to;
	size_t i;

	if (in->natts == 0)
		return 0;
	w->atts = arena_calloc(a, in->natts, sizeof(*w->atts));
	if (w->atts == NULL)
		return ERR_NOMEM;
	w->natts = in->natts;
	for (i = 0; i < in->natts; i++) {
		from = &in->atts[i];
		to = &w->atts[i];
		to->name = from->name;
		to->type = from->type;
		to->has_revpos = from->has_revpos;
		to->revpos = from->revpos;
		to->has_md5 = from->has_digest;
		memcpy(to->md5, from->md5, sizeof(to->md5));
		to->length = from->has_length ? from->length : from->data.len;
	}
	return 0;
}

/* check_design: What a design document asks of its database that it does not have. */
static int
check_design(const struct db *db, struct jstr id, const struct jstr *body, struct errtext *why)
{
	struct buf scratch;
	struct jread j;
	int err;

	if (db_is_partitioned(db) || id.len < 8 || memcmp(id.s, "_design/", 8) != 0)
		return 0;
	buf_init(&scratch, body->len + API_SCRATCH);
	jread_init(&j, body->s, body->len);
	err = jread_find(&j, &scratch, (struct jstr){"options", 7});
	if (err == 0)
		err = jread_find(&j, &scratch, (struct jstr){"partitioned", 11});
	if (err == 0 && jread_peek(&j) == JREAD_TRUE)
		err = err_why(
		    why, ERR_INVALID_DESIGN, "partitioned option cannot be true in a non-partitioned database.");
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

int
write_convert(struct db *db, const struct doc_in *in, struct jstr id, int new_edits, struct arena *a,
    struct db_write *w, struct errtext *why)
{
	int err = is_local(id) ? 0 : db_doc_check(db, id.s, id.len, in->body.len, why);

	/* As CouchDB tells of it: by the id in the body alone. */
	if (err == ERR_DOC_TOO_LARGE && !in->has_id)
		why->text[0] = '\0';
	if (err != 0)
		return err;
	memset(w, 0, sizeof(*w));
	w->id = id;
	w->deleted = in->deleted;
	w->body = in->body;
	w->body_etf = in->body_etf;
	if (is_local(id)) {
		if (in->has_rev && in->rev.gen != 0)
			return ERR_BAD_REV;
		w->kind = DB_WRITE_LOCAL;
		w->has_parent = in->has_rev;
		w->parent = in->rev;
		return 0;
	}
	/* Only _local documents have revisions of generation 0. */
	if ((in->has_rev && in->rev.gen == 0) || (in->nrevisions > 0 && in->revisions[0].gen == 0))
		return ERR_BAD_REV;
	if (!new_edits) {
		w->kind = DB_WRITE_REPLICATE;
		err = convert_path(in, a, w, why);
		if (err != 0)
			return err;
	} else {
		err = check_design(db, id, &in->body, why);
		if (err != 0)
			return err;
		w->kind = DB_WRITE_EDIT;
		w->has_parent = in->has_rev || in->nrevisions > 0;
		if (in->nrevisions > 0)
			rev_copy(&w->parent, &in->revisions[0]);
		else
			w->parent = in->rev;
	}
	return convert_atts(in, a, w);
}

size_t
write_follows(const struct doc_in *in)
{
	size_t i, n = 0;

	for (i = 0; i < in->natts; i++)
		n += in->atts[i].kind == DOC_ATT_FOLLOWS;
	return n;
}

int
write_too_large(int err, size_t body_len)
{
	return err == ERR_NOMEM && body_len >= LARGE_BODY ? ERR_TOO_LARGE : err;
}

void
write_release(struct db_write *w, size_t n)
{
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < w[i].natts; k++) {
			db_blob_free(w[i].atts[k].blob);
			w[i].atts[k].blob = NULL;
		}
}

/* ---- Inline attachments to blobs ---- */

/* What an excursion to the executor needs. */
struct blobs_trip {
	struct exec_job job;
	struct http_msg msg;
	struct write_blobs *wb;
};

size_t
write_blobs_count(const struct doc_in *in)
{
	size_t i, n = 0;

	for (i = 0; i < in->natts; i++)
		n += in->atts[i].kind == DOC_ATT_DATA;
	return n;
}

void
write_blobs_list(struct db *db, const struct doc_in *in, struct db_write *w, struct write_data *items)
{
	const struct doc_att_in *att;
	size_t i;

	for (i = 0; i < in->natts && i < w->natts; i++) {
		att = &in->atts[i];
		if (att->kind != DOC_ATT_DATA)
			continue;
		items->att = &w->atts[i];
		items->data = att->data;
		items->mode =
		    att->encoding == DOC_GZIP ? DB_BLOB_GZIPPED : db_blob_mode_for(db, att->type.s, att->type.len);
		items++;
	}
}

int
write_att_why(int err, struct jstr name, struct errtext *why)
{
	return err == ERR_ATT_TOO_LARGE ? err_why(why, err, "%.*s", (int)name.len, name.s) : err;
}

/* Go on until all is done, something failed (0 is returned) or the current blob must be flushed (1). */
static int
blobs_step(struct write_blobs *wb)
{
	struct write_data *item;
	size_t n;

	while (wb->err == 0 && wb->next < wb->n) {
		item = &wb->items[wb->next];
		if (wb->current == NULL) {
			wb->done = 0;
			wb->err = db_blob_new(wb->r->db, item->mode, &wb->current);
			continue;
		}
		n = item->data.len - wb->done;
		if (n == 0) {
			wb->err = db_blob_end(wb->current);
			item->att->blob = wb->current;
			wb->current = NULL;
			wb->next++;
			continue;
		}
		if (db_blob_pending(wb->current) >= BLOB_PIECE)
			return 1;
		n = n < BLOB_PIECE ? n : BLOB_PIECE;
		wb->err =
		    write_att_why(db_blob_add(wb->current, item->data.s + wb->done, n), item->att->name, &wb->why);
		wb->done += n;
	}
	if (wb->err != 0) {
		db_blob_free(wb->current);
		wb->current = NULL;
	}
	return 0;
}

static void
blobs_back(void *arg)
{
	struct blobs_trip *trip = arg;
	struct apireq *r = trip->wb->r;
	struct http_req *http = r->http;

	trip->wb->then(r);
	http_release(http);
}

static void
blobs_flushed(void *cookie, int err)
{
	struct blobs_trip *trip = cookie;
	struct executor *ex = trip->wb->r->api->ex;

	trip->wb->err = err;
	ex->submit(ex, &trip->job);
}

static void
blobs_run(void *arg)
{
	struct blobs_trip *trip = arg;
	struct write_blobs *wb = trip->wb;

	if (blobs_step(wb))
		db_blob_flush(wb->current, blobs_flushed, trip);
	else
		http_post(http_req_thread(wb->r->http), &trip->msg);
}

void
write_blobs(struct apireq *r, struct write_blobs *wb, void (*then)(struct apireq *r))
{
	struct blobs_trip *trip;
	size_t i, total = 0;

	wb->r = r;
	wb->then = then;
	wb->next = 0;
	wb->current = NULL;
	wb->err = 0;
	wb->why.text[0] = '\0';
	for (i = 0; i < wb->n; i++)
		total += wb->items[i].data.len;
	if (total <= API_INLINE_BYTES) {
		blobs_step(wb);
		then(r);
		return;
	}
	trip = arena_calloc(r->arena, 1, sizeof(*trip));
	if (trip == NULL) {
		wb->err = ERR_NOMEM;
		then(r);
		return;
	}
	trip->wb = wb;
	trip->job.fn = blobs_run;
	trip->job.arg = trip;
	trip->msg.fn = blobs_back;
	trip->msg.arg = trip;
	http_hold(r->http);
	r->api->ex->submit(r->api->ex, &trip->job);
}

/* ---- Which revision a request means ---- */

static int
same_rev(const struct revbuf *a, const struct revbuf *b)
{
	struct rev ra = rev_of(a), rb = rev_of(b);

	return rev_equal(&ra, &rb);
}

int
write_rev_param(const struct apireq *r, struct revbuf *out, int *hasp, struct errtext *why)
{
	const struct jstr *param = r->nparams > 0 ? api_param(r, "rev") : NULL;
	struct jstr tag = http_header(r->http, "if-match");
	struct revbuf from_tag;
	int err;

	*hasp = 0;
	if (param != NULL) {
		err = rev_parse(param->s, param->len, out);
		if (err != 0)
			return err;
		*hasp = 1;
	}
	if (tag.s != NULL) {
		while (tag.len > 0 && tag.s[0] == '"') {
			tag.s++;
			tag.len--;
		}
		while (tag.len > 0 && tag.s[tag.len - 1] == '"')
			tag.len--;
		err = rev_parse(tag.s, tag.len, &from_tag);
		if (err != 0)
			return err;
		if (*hasp && !same_rev(out, &from_tag))
			return err_why(why, ERR_BAD_REQUEST, "Document rev and etag have different values");
		*out = from_tag;
		*hasp = 1;
	}
	return 0;
}

int
write_rev_join(const struct apireq *r, const struct revbuf *in_body, struct revbuf *out, int *hasp, struct errtext *why)
{
	if (*hasp && !same_rev(out, in_body))
		return err_why(why, ERR_BAD_REQUEST,
		    r->nparams > 0 && api_param(r, "rev") != NULL
			? "Document rev from request body and query string have different values"
			: "Document rev and etag have different values");
	*out = *in_body;
	*hasp = 1;
	return 0;
}

/* ---- Answers ---- */

static void
put_ok(struct buf *b, const struct db_write *w, int with_rev)
{
	struct rev rev;

	buf_puts(b, "{\"ok\":true,\"id\":");
	buf_put_json(b, w->id.s, w->id.len);
	if (with_rev) {
		rev = rev_of(&w->rev);
		buf_puts(b, ",\"rev\":\"");
		rev_put(b, &rev);
		buf_putc(b, '"');
	}
	buf_putc(b, '}');
}

void
write_answer(struct apireq *r, struct db_write *w, const struct write_answer *how)
{
	int batch = how->batch && api_param_is(r, "batch", "ok");
	struct buf b;
	struct rev rev;

	write_release(w, 1);
	/* Who asked for batch=ok does not wait for what comes of it: CouchDB has answered before it looks for a conflict. */
	if (w->err != 0 && !(batch && w->err == ERR_CONFLICT)) {
		api_error(r, w->err, &w->why);
		return;
	}
	if (how->location && !batch)
		api_location(r, w->id, how->att);
	buf_init(&b, ANSWER_MAX);
	/* The header's value is copied, so one buffer serves it and the body. */
	if (how->etag && !batch) {
		rev = rev_of(&w->rev);
		buf_putc(&b, '"');
		rev_put(&b, &rev);
		if (buf_putc(&b, '"') == 0)
			http_set_header(r->http, "etag", b.data, b.len);
		buf_clear(&b);
	}
	put_ok(&b, w, !batch);
	api_json(r, batch ? 202 : how->status, &b);
}
