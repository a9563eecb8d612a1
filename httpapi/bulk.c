/*
 * bulk.c: _bulk_docs: many documents in one request.
 *
 * A _bulk_docs body is read once: doc_parse() takes each element of `docs` from the reader where it
 * stands.  The order of members is free, so documents are turned into writes only behind the
 * closing brace, when new_edits is known.  Large bodies are read on an executor thread.
 */
#include "httpapi/api.h"
#include "httpapi/uuid.h"
#include "httpapi/write.h"
#include "base/counters.h"

#define ROW_BYTES 32u                  /* of work that a row of the answer is */
#define ANSWER_MAX ((size_t)256 << 20) /* a row for each of the documents */

/* One _bulk_docs request. */
struct bulk {
	struct jstr body;
	int has_docs;
	int replicated; /* new_edits=false */
	int all_or_nothing;
	struct doc_in *docs;
	size_t n, cap;
	int err;
	struct errtext why;
	struct db_write *writes;
	struct db_request req;
	struct write_blobs blobs;
	struct buf answer;
};

static struct doc_in *
next_doc(struct bulk *k, struct arena *a)
{
	struct doc_in *more;

	if (k->n == k->cap) {
		k->cap = k->cap == 0 ? 16 : 2 * k->cap;
		more = arena_alloc(a, k->cap * sizeof(*more));
		if (more == NULL)
			return NULL;
		if (k->n > 0)
			memcpy(more, k->docs, k->n * sizeof(*more));
		k->docs = more;
	}
	return &k->docs[k->n];
}

/* Keep the first error that leaves the reader usable; whether the rest is JSON at all comes before it. */
static int
keep(struct bulk *k, int err, const struct errtext *why)
{
	if (err == 0 || err == ERR_BAD_JSON || err == ERR_NOMEM)
		return err;
	if (k->err == 0) {
		k->err = err;
		k->why = *why;
	}
	return 0;
}

static int
read_docs(struct bulk *k, struct jread *j, struct arena *a)
{
	struct errtext why = {{0}};
	struct doc_in *doc;
	int err;

	k->has_docs = 1;
	if (jread_peek(j) != JREAD_ARRAY) {
		err_why(&why, ERR_BAD_REQUEST, "`docs` parameter must be an array.");
		keep(k, ERR_BAD_REQUEST, &why);
		return jread_skip(j, NULL);
	}
	k->n = 0;
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		doc = next_doc(k, a);
		if (doc == NULL)
			return ERR_NOMEM;
		why.text[0] = '\0';
		err = keep(k, doc_parse(j, a, doc, &why), &why);
		k->n++;
	}
	return err == ERR_END ? 0 : err;
}

static int
read_flag(struct bulk *k, struct jread *j, const char *name, int *vp)
{
	struct errtext why = {{0}};

	if (jread_bool(j, vp) == 0)
		return 0;
	err_why(&why, ERR_BAD_REQUEST, "`%s` parameter must be a boolean.", name);
	keep(k, ERR_BAD_REQUEST, &why);
	return jread_skip(j, NULL);
}

static int
read_body(struct bulk *k, struct arena *a)
{
	struct errtext why = {{0}};
	struct buf scratch;
	struct jstr key;
	struct jread j;
	int err, new_edits = 1;

	err = api_object(&j, k->body, &k->why);
	buf_init(&scratch, k->body.len + 16);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		if (jstr_is(&key, "docs"))
			err = read_docs(k, &j, a);
		else if (jstr_is(&key, "new_edits"))
			err = read_flag(k, &j, "new_edits", &new_edits);
		else if (jstr_is(&key, "all_or_nothing"))
			err = read_flag(k, &j, "all_or_nothing", &k->all_or_nothing);
		else
			err = jread_skip(&j, NULL);
	}
	buf_release(&scratch);
	if (err != ERR_END)
		return err;
	if (jread_end(&j) != 0)
		return ERR_BAD_JSON;
	if (!k->has_docs) {
		err_why(&why, ERR_BAD_REQUEST, "POST body must include `docs` parameter.");
		k->err = 0;
		keep(k, ERR_BAD_REQUEST, &why);
	}
	k->replicated = !new_edits;
	return k->err;
}

static int
convert_one(struct bulk *k, struct db *db, const struct doc_in *doc, struct arena *a, struct db_write *w)
{
	struct jstr id = doc->id;
	char *made;

	if (!doc->has_id) {
		made = arena_alloc(a, UUID_LEN);
		if (made == NULL)
			return ERR_NOMEM;
		uuid_next(made);
		id.s = made;
		id.len = UUID_LEN;
	}
	if (write_follows(doc) > 0)
		return err_why(&k->why, ERR_BAD_REQUEST, "Attachments can only follow in a multipart/related body.");
	return write_convert(db, doc, id, !k->replicated, a, w, &k->why);
}

static int
convert(struct bulk *k, struct db *db, struct arena *a)
{
	struct write_data *items;
	size_t i, natts = 0;
	int err = 0;

	k->writes = arena_alloc(a, (k->n + 1) * sizeof(*k->writes));
	if (k->writes == NULL)
		return ERR_NOMEM;
	for (i = 0; err == 0 && i < k->n; i++) {
		err = convert_one(k, db, &k->docs[i], a, &k->writes[i]);
		natts += write_blobs_count(&k->docs[i]);
	}
	if (err != 0 || natts == 0)
		return err;
	items = arena_calloc(a, natts, sizeof(*items));
	if (items == NULL)
		return ERR_NOMEM;
	k->blobs.items = items;
	k->blobs.n = natts;
	for (i = 0; i < k->n; i++) {
		write_blobs_list(db, &k->docs[i], &k->writes[i], items);
		items += k->writes[i].natts > 0 ? write_blobs_count(&k->docs[i]) : 0;
	}
	/* What a _local document says of attachments is dropped. */
	k->blobs.n = (size_t)(items - k->blobs.items);
	return 0;
}

static void
docs_work(struct apireq *r)
{
	struct bulk *k = r->cookie;
	int err;

	err = read_body(k, r->arena);
	if (err == 0)
		err = convert(k, r->db, r->arena);
	k->err = write_too_large(err, k->body.len);
}

static void
put_error(struct buf *b, const struct db_write *w, int with_rev)
{
	const char *reason = w->why.text[0] != '\0' ? w->why.text : err_reason(w->err);
	struct rev rev;

	buf_puts(b, "{\"id\":");
	buf_put_json(b, w->id.s, w->id.len);
	if (with_rev && w->npath > 0) {
		rev = w->path[0];
		buf_puts(b, ",\"rev\":\"");
		rev_put(b, &rev);
		buf_putc(b, '"');
	}
	buf_puts(b, ",\"error\":\"");
	buf_puts(b, err_name(w->err));
	buf_puts(b, "\",\"reason\":");
	buf_put_json(b, reason, strlen(reason));
	buf_putc(b, '}');
}

static void
put_ok(struct buf *b, const struct db_write *w)
{
	struct rev rev = rev_of(&w->rev);

	buf_puts(b, "{\"ok\":true,\"id\":");
	buf_put_json(b, w->id.s, w->id.len);
	buf_puts(b, ",\"rev\":\"");
	rev_put(b, &rev);
	buf_puts(b, "\"}");
}

/* The error that all writes met alike, where it is the request's and not a document's. */
static int
common_error(const struct bulk *k)
{
	size_t i;
	int err = k->n > 0 ? k->writes[0].err : 0;

	if (err == 0 || (err_status(err) < 500 && err != ERR_MISSING_STUB && err != ERR_NO_DB))
		return 0;
	for (i = 1; i < k->n; i++)
		if (k->writes[i].err != err)
			return 0;
	return err;
}

static void
docs_answer(struct apireq *r)
{
	struct bulk *k = r->cookie;
	const struct db_write *w;
	struct buf *b = &k->answer;
	size_t i;
	int first = 1;

	write_release(k->writes, k->n);
	if ((k->err = common_error(k)) != 0)
		return;
	buf_init(b, ANSWER_MAX);
	buf_putc(b, '[');
	for (i = 0; i < k->n; i++) {
		w = &k->writes[i];
		if (w->err == 0 && k->replicated)
			continue;
		if (!first)
			buf_putc(b, ',');
		first = 0;
		if (w->err == 0)
			put_ok(b, w);
		else
			put_error(b, w, k->replicated);
	}
	buf_putc(b, ']');
}

static void
docs_send(struct apireq *r)
{
	struct bulk *k = r->cookie;

	if (k->err != 0)
		api_error(r, k->err, &k->writes[0].why);
	else
		api_json(r, 201, &k->answer);
}

static void
docs_done(struct apireq *r)
{
	struct bulk *k = r->cookie;

	if (api_work_by(r, k->n * ROW_BYTES, docs_answer, docs_send) != 0)
		write_release(k->writes, k->n);
}

static void
docs_submit(struct apireq *r)
{
	struct bulk *k = r->cookie;

	if (k->blobs.err != 0) {
		write_release(k->writes, k->n);
		api_error(r, k->blobs.err, &k->blobs.why);
		return;
	}
	if (k->n == 0) {
		docs_done(r);
		return;
	}
	k->req.writes = k->writes;
	k->req.nwrites = k->n;
	api_submit(r, &k->req, docs_done);
}

static void
refuse_all_or_nothing(struct apireq *r, struct bulk *k)
{
	struct buf b;
	size_t i;

	buf_init(&b, ANSWER_MAX);
	buf_putc(&b, '[');
	for (i = 0; i < k->n; i++) {
		buf_puts(&b, i > 0 ? ",{\"id\":" : "{\"id\":");
		buf_put_json(&b, k->writes[i].id.s, k->writes[i].id.len);
		buf_puts(&b,
		    ",\"rev\":\"0-\",\"error\":\"not_implemented\",\"reason\":\"all_or_nothing is not supported\"}");
	}
	buf_putc(&b, ']');
	api_json(r, 417, &b);
}

static void
docs_then(struct apireq *r)
{
	struct bulk *k = r->cookie;

	if (k->err != 0)
		api_error(r, k->err, &k->why);
	else if (k->all_or_nothing)
		refuse_all_or_nothing(r, k);
	else if (k->blobs.n > 0)
		write_blobs(r, &k->blobs, docs_submit);
	else
		docs_submit(r);
}

void
bulk_docs(struct apireq *r)
{
	counters_add(COUNTER_BULK, 1);
	struct bulk *k;
	struct errtext why = {{0}};
	int err;

	if (!api_json_post(r))
		return;
	k = arena_calloc(r->arena, 1, sizeof(*k));
	err = k == NULL ? ERR_NOMEM : api_body(r, &k->body, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = k;
	(void)api_work_by(r, k->body.len, docs_work, docs_then);
}
