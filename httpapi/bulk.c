/*
 * bulk.c: _bulk_docs, _revs_diff and _missing_revs.
 *
 * A _bulk_docs body is read once: doc_parse() takes each element of `docs` from the reader where it
 * stands.  The order of members is free, so documents are turned into writes only behind the
 * closing brace, when new_edits is known.  Large bodies are read on an executor thread.
 */
#include "httpapi/api.h"
#include "httpapi/uuid.h"
#include "httpapi/write.h"

#define DIFF_INLINE_BYTES 4096u /* bodies up to this are compared on the event loop */
#define DIFF_MAX ((size_t)256 << 20)

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
};

/* Step into the object that a body must be. */
static int
body_object(struct jread *j, struct jstr body, struct errtext *why)
{
	jread_init(j, body.s, body.len);
	if (jread_peek(j) == JREAD_OBJECT)
		return jread_object_begin(j);
	if (jread_skip(j, NULL) != 0 || jread_end(j) != 0)
		return ERR_BAD_JSON;
	return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
}

/* ---- _bulk_docs ---- */

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

	err = body_object(&j, k->body, &k->why);
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
docs_done(struct apireq *r)
{
	struct bulk *k = r->cookie;
	const struct db_write *w;
	struct buf b;
	size_t i;
	int err = common_error(k), first = 1;

	write_release(k->writes, k->n);
	if (err != 0) {
		api_error(r, err, &k->writes[0].why);
		return;
	}
	buf_init(&b, DIFF_MAX);
	buf_putc(&b, '[');
	for (i = 0; i < k->n; i++) {
		w = &k->writes[i];
		if (w->err == 0 && k->replicated)
			continue;
		if (!first)
			buf_putc(&b, ',');
		first = 0;
		if (w->err == 0)
			put_ok(&b, w);
		else
			put_error(&b, w, k->replicated);
	}
	buf_putc(&b, ']');
	api_json(r, 201, &b);
}

static void
docs_submit(struct apireq *r)
{
	struct bulk *k = r->cookie;

	if (k->blobs.err != 0) {
		write_release(k->writes, k->n);
		api_error(r, k->blobs.err, NULL);
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

	buf_init(&b, DIFF_MAX);
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
	struct bulk *k;
	struct errtext why = {{0}};
	int err;

	if (strcmp(r->method, "POST") != 0) {
		api_method_not_allowed(r, "POST");
		return;
	}
	if (!api_is_json(r)) {
		api_error(r, ERR_CONTENT_TYPE, NULL);
		return;
	}
	k = arena_calloc(r->arena, 1, sizeof(*k));
	err = k == NULL ? ERR_NOMEM : api_body(r, &k->body, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = k;
	if (k->body.len > API_INLINE_BYTES) {
		api_work(r, docs_work, docs_then);
		return;
	}
	docs_work(r);
	docs_then(r);
}

/* ---- _revs_diff and _missing_revs ---- */

struct diff {
	struct jstr body;
	int missing_revs; /* the older form of the answer */
	struct buf out;
	struct db_snap *snap;
	struct arena *arena;
	struct revbuf *revs; /* of the document at hand */
	size_t n, cap;
	size_t count; /* documents in the answer */
	int err;
	struct errtext why;
};

static int
read_revs(struct diff *d, struct jread *j, struct buf *scratch, struct arena *a)
{
	struct revbuf *more;
	struct jstr s;
	int err;

	d->n = 0;
	if (jread_peek(j) != JREAD_ARRAY)
		return err_why(&d->why, ERR_BAD_REQUEST, "Revisions must be a list");
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		if (d->n == d->cap) {
			d->cap = d->cap == 0 ? 16 : 2 * d->cap;
			more = arena_calloc(a, d->cap, sizeof(*more));
			if (more == NULL)
				return ERR_NOMEM;
			if (d->n > 0)
				memcpy(more, d->revs, d->n * sizeof(*more));
			d->revs = more;
		}
		if (jread_string(j, scratch, &s) != 0 || rev_parse(s.s, s.len, &d->revs[d->n]) != 0)
			return ERR_BAD_REV;
		d->n++;
	}
	return err == ERR_END ? 0 : err;
}

static int
is_known(struct db_doc *doc, const struct rev *rev, int *knownp)
{
	struct revtree *t;
	struct revpos at;
	int err;

	/* Mostly the winner is asked for, and its id stands before the tree. */
	*knownp = rev_equal(&doc->winner.rev, rev);
	if (*knownp)
		return 0;
	err = db_doc_tree(doc, 1, &t);
	if (err == 0)
		*knownp = revtree_find(t, rev, &at);
	return err;
}

static int
put_ancestors(struct diff *d, struct db_doc *doc, uint64_t newest)
{
	const struct revnode *leaf;
	struct revtree *t;
	size_t i;
	int err, first = 1;

	err = db_doc_tree(doc, 1, &t);
	if (err != 0)
		return err;
	for (i = 0; i < revtree_nleaves(t); i++) {
		leaf = revtree_leaf(t, i);
		if (leaf->rev.gen >= newest)
			continue;
		buf_puts(&d->out, first ? ",\"possible_ancestors\":[\"" : ",\"");
		rev_put(&d->out, &leaf->rev);
		buf_putc(&d->out, '"');
		first = 0;
	}
	if (!first)
		buf_putc(&d->out, ']');
	return buf_failed(&d->out);
}

static void
put_id(struct diff *d, struct jstr id)
{
	if (d->count++ > 0)
		buf_putc(&d->out, ',');
	buf_put_json(&d->out, id.s, id.len);
	buf_puts(&d->out, d->missing_revs ? ":[\"" : ":{\"missing\":[\"");
}

static int
diff_one(struct diff *d, struct jstr id)
{
	struct db_doc doc;
	struct rev rev;
	uint64_t newest = 0;
	size_t i;
	int err, found, known = 0;

	err = db_get(d->snap, id.s, id.len, d->arena, &doc);
	if (err != 0 && err != ERR_MISSING)
		return err;
	found = err == 0;
	for (i = 0; i < d->n; i++) {
		rev = rev_of(&d->revs[i]);
		err = found ? is_known(&doc, &rev, &known) : 0;
		if (err != 0)
			return err;
		if (known)
			continue;
		if (newest == 0)
			put_id(d, id);
		else
			buf_puts(&d->out, ",\"");
		rev_put(&d->out, &rev);
		buf_putc(&d->out, '"');
		newest = rev.gen > newest ? rev.gen : newest;
	}
	if (newest == 0)
		return 0;
	buf_putc(&d->out, ']');
	if (d->missing_revs)
		return buf_failed(&d->out);
	err = found ? put_ancestors(d, &doc, newest) : 0;
	buf_putc(&d->out, '}');
	return err;
}

static int
diff_all(struct diff *d, struct arena *a)
{
	struct buf keys, scratch;
	struct jread j;
	struct jstr id;
	int err;

	err = body_object(&j, d->body, &d->why);
	buf_init(&keys, d->body.len + 16);
	buf_init(&scratch, d->body.len + 16);
	while (err == 0 && (err = jread_object_next(&j, &keys, &id)) == 0) {
		err = read_revs(d, &j, &scratch, a);
		if (err == 0 && d->n > 0)
			err = diff_one(d, id);
		arena_reset(d->arena);
	}
	buf_release(&keys);
	buf_release(&scratch);
	if (err != ERR_END)
		return err;
	return jread_end(&j) != 0 ? ERR_BAD_JSON : 0;
}

static void
diff_work(struct apireq *r)
{
	struct diff *d = r->cookie;

	d->err = arena_new(DIFF_MAX, &d->arena);
	if (d->err != 0)
		return;
	d->err = db_snap_begin(r->db, &d->snap);
	if (d->err == 0) {
		buf_puts(&d->out, d->missing_revs ? "{\"missing_revs\":{" : "{");
		d->err = diff_all(d, r->arena);
		buf_puts(&d->out, d->missing_revs ? "}}" : "}");
		db_snap_end(d->snap);
	}
	arena_free(d->arena);
}

static void
diff_then(struct apireq *r)
{
	struct diff *d = r->cookie;

	if (d->err == 0) {
		api_json(r, 200, &d->out);
		return;
	}
	buf_release(&d->out);
	api_error(r, d->err, &d->why);
}

static void
diff(struct apireq *r, int missing_revs)
{
	struct errtext why = {{0}};
	struct diff *d;
	int err;

	if (strcmp(r->method, "POST") != 0) {
		api_method_not_allowed(r, "POST");
		return;
	}
	if (!api_is_json(r)) {
		api_error(r, ERR_CONTENT_TYPE, NULL);
		return;
	}
	d = arena_calloc(r->arena, 1, sizeof(*d));
	err = d == NULL ? ERR_NOMEM : api_body(r, &d->body, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = d;
	d->missing_revs = missing_revs;
	buf_init(&d->out, DIFF_MAX);
	if (d->body.len > DIFF_INLINE_BYTES) {
		api_work(r, diff_work, diff_then);
		return;
	}
	diff_work(r);
	diff_then(r);
}

void
bulk_revs_diff(struct apireq *r)
{
	diff(r, 0);
}

void
bulk_missing_revs(struct apireq *r)
{
	diff(r, 1);
}
