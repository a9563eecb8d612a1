/*
 * bulk_get.c: _bulk_get: revisions of many documents.
 *
 * The answer is JSON; only where the client takes no JSON it is multipart, one part a revision.  The
 * replicator wants results in the order of the request and nothing besides them.
 *
 * A short request may ask for much.  So what is wrong with it is looked for before the first item is
 * answered, and JSON goes out in batches of items, each from its own snapshot:
 *
 *	bulk_get -> short, and so is the answer: in one piece, on the event loop
 *	         -> JSON: fill ... fill, on executor threads (rows.h)
 *	         -> multipart: in one pass on an executor thread; attachments are read as they go out
 */
#include "httpapi/api.h"
#include "httpapi/multipart.h"
#include "httpapi/openrevs.h"
#include "httpapi/render.h"
#include "httpapi/rows.h"
#include "httpapi/uuid.h"

#define GET_INLINE_BYTES 1024u /* bodies up to this are answered on the event loop */
#define TEXT_MAX ((size_t)1 << 20)

/* One element of `docs`. */
struct item {
	int is_object, has_id, has_rev, has_since, empty;
	struct jstr id, rev;
	struct jstr raw_rev; /* JSON that is no revision, or no list of them: said back */
	const char *wrong;   /* what is wrong with it */
	struct revbuf parsed;
	struct revbuf *since;
	size_t nsince;
};

/* One request. */
struct job {
	struct apireq *r;
	struct jstr body;
	struct jread j; /* in the body: in front of the next item */
	int begun;      /* an item was read */
	int here;       /* on the event loop, */
	int large;      /* where this is not to be answered */
	struct render_opts opts;
	struct arena *arena;   /* of the request */
	struct arena *scratch; /* of one item; of the request where attachments are to be sent later */
	struct db *db;
	struct db_snap *snap;
	const char *kind; /* NULL: JSON */
	struct buf *json; /* the answer, or one part's text: */
	struct buf own;   /* or a batch's */
	struct multipart_out out;
	char boundary[MULTIPART_BOUNDARY_LEN];
	size_t ndocs; /* written for the item at hand */
	int err;
	struct errtext why;
};

/* ---- Reading an item ---- */

/* A string into ${out}; what is none into ${raw}. */
static int
keep_string(struct jread *j, struct arena *a, struct jstr *out, int *hasp, struct jstr *raw)
{
	struct buf scratch;
	struct jstr s;
	int err;

	*hasp = 0;
	if (jread_peek(j) != JREAD_STRING)
		return jread_skip(j, raw);
	buf_init(&scratch, TEXT_MAX);
	err = jread_string(j, &scratch, &s);
	if (err == 0) {
		out->s = arena_dup(a, s.s, s.len);
		out->len = s.len;
		*hasp = 1;
		err = out->s == NULL ? ERR_NOMEM : 0;
	}
	buf_release(&scratch);
	return err;
}

/* wrong_since: An element of atts_since that is no revision. */
static int
wrong_since(struct jread *j, struct item *item)
{
	item->wrong = "Invalid rev format";
	jread_peek(j); /* over white space */
	return jread_skip(j, &item->raw_rev);
}

static int
read_since(struct jread *j, struct arena *a, struct item *item)
{
	struct revbuf *more;
	struct buf scratch;
	struct jread at;
	struct jstr s;
	size_t cap = 0;
	int err;

	if (jread_peek(j) == JREAD_NULL)
		return jread_skip(j, NULL);
	if (jread_peek(j) != JREAD_ARRAY) {
		item->wrong = "att_since value must be array of revs.";
		return jread_skip(j, &item->raw_rev);
	}
	buf_init(&scratch, TEXT_MAX);
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		/* An empty list is as none. */
		item->has_since = 1;
		if (item->nsince == cap) {
			cap = cap == 0 ? 16 : 2 * cap;
			more = arena_calloc(a, cap, sizeof(*more));
			if (more == NULL) {
				err = ERR_NOMEM;
				break;
			}
			if (item->nsince > 0)
				memcpy(more, item->since, item->nsince * sizeof(*more));
			item->since = more;
		}
		at = *j;
		if (jread_peek(j) != JREAD_STRING) {
			err = wrong_since(j, item);
		} else if ((err = jread_string(j, &scratch, &s)) == 0) {
			if (rev_parse(s.s, s.len, &item->since[item->nsince]) == 0)
				item->nsince++;
			else if (!render_rev_of_none(&s))
				err = wrong_since(&at, item);
		}
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

/* An id of another type makes CouchDB fail, and so is the whole request's fault. */
static int
read_item_id(struct jread *j, struct job *job, struct item *item)
{
	struct jstr raw = {NULL, 0};
	int err = keep_string(j, job->scratch, &item->id, &item->has_id, &raw);

	return err == 0 && raw.s != NULL ? err_why(&job->why, ERR_BAD_REQUEST, "id must be a string") : err;
}

static int
read_item_rev(struct jread *j, struct arena *a, struct item *item)
{
	struct jstr raw = {NULL, 0};
	int err = keep_string(j, a, &item->rev, &item->has_rev, &raw);

	if (err == 0 && raw.s != NULL) {
		item->wrong = "Invalid rev format";
		item->raw_rev = raw;
	}
	return err;
}

static int
read_item(struct job *job, struct jread *j, struct item *item)
{
	struct buf keys;
	struct jstr key;
	int err;

	memset(item, 0, sizeof(*item));
	if (jread_peek(j) != JREAD_OBJECT)
		return jread_skip(j, NULL);
	item->is_object = 1;
	item->empty = 1;
	buf_init(&keys, TEXT_MAX);
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, &keys, &key)) == 0) {
		item->empty = 0;
		if (jstr_is(&key, "id"))
			err = read_item_id(j, job, item);
		else if (jstr_is(&key, "rev"))
			err = read_item_rev(j, job->scratch, item);
		else if (jstr_is(&key, "atts_since"))
			err = read_since(j, job->scratch, item);
		else
			err = jread_skip(j, NULL);
	}
	buf_release(&keys);
	return err == ERR_END ? 0 : err;
}

/* ---- Answering it ---- */

static const struct jstr none;

/* A string, else JSON as it came, else null. */
static void
put_one_of(struct buf *b, const struct jstr *s, const struct jstr *raw)
{
	if (s != NULL)
		buf_put_json(b, s->s, s->len);
	else if (raw->s != NULL)
		buf_put(b, raw->s, raw->len);
	else
		buf_puts(b, "null");
}

static void
between(struct job *job)
{
	if (job->ndocs++ > 0 && job->kind == NULL)
		buf_putc(job->json, ',');
	if (job->kind != NULL)
		buf_clear(job->json);
}

static int
put_error(struct job *job, const struct item *item, const struct jstr *rev, const char *error, const char *reason)
{
	struct buf *b = job->json;

	between(job);
	buf_puts(b, job->kind == NULL ? "{\"error\":{\"id\":" : "{\"id\":");
	put_one_of(b, item->has_id ? &item->id : NULL, &none);
	buf_puts(b, ",\"rev\":");
	put_one_of(b, rev, &item->raw_rev);
	buf_puts(b, ",\"error\":");
	buf_put_json(b, error, strlen(error));
	buf_puts(b, ",\"reason\":");
	buf_put_json(b, reason, strlen(reason));
	buf_puts(b, job->kind == NULL ? "}}" : "}");
	if (job->kind == NULL)
		return buf_failed(b);
	return multipart_out_mixed(&job->out, job->boundary, b->data, b->len, NULL, 0, 1);
}

static int
has_controls(const struct jstr *s)
{
	for (size_t i = 0; i < s->len; i++)
		if ((unsigned char)s->s[i] < 0x20 || s->s[i] == 0x7f)
			return 1;
	return 0;
}

/* name_part: A part with attachments says in its headers whose it is, unless the id would be another header. */
static int
name_part(struct job *job, struct db_doc *doc, struct revpos at)
{
	struct revtree *t;
	struct buf b;
	int err = db_doc_tree(doc, 1, &t);

	if (err != 0)
		return err;
	buf_init_arena(&b, job->scratch, LIMIT_ID_LEN + REV_TEXT_MAX + 64);
	if (!has_controls(&doc->id)) {
		buf_puts(&b, "X-Doc-Id: ");
		buf_put(&b, doc->id.s, doc->id.len);
		buf_puts(&b, "\r\n");
	}
	buf_puts(&b, "X-Rev-Id: ");
	rev_put(&b, &revtree_at(t, at)->rev);
	buf_puts(&b, "\r\n");
	job->out.heads = (struct jstr){b.data, b.len};
	return buf_failed(&b);
}

static int
put_found(struct db_doc *doc, struct revpos at, void *cookie)
{
	struct job *job = cookie;
	const struct doc_att **atts;
	size_t natts;
	int err;

	between(job);
	if (job->kind != NULL) {
		err = render_follows(job->json, doc, &at, &job->opts, job->scratch, NULL, &atts, &natts);
		if (err == 0 && natts > 0)
			err = name_part(job, doc, at);
		if (err == 0)
			err = multipart_out_mixed(
			    &job->out, job->boundary, job->json->data, job->json->len, atts, natts, 0);
		return err;
	}
	buf_puts(job->json, "{\"ok\":");
	err = render_rev(job->json, doc, at, &job->opts, job->scratch);
	buf_putc(job->json, '}');
	return err;
}

/* The leaves of a document of which no revision was named.  One leaf needs no tree. */
static int
put_leaves(struct job *job, struct db_doc *doc)
{
	struct render_opts opts = job->opts;
	size_t n;
	int err;

	if (doc->nleaves == 1 && job->kind == NULL) {
		opts.revs_info = opts.conflicts = opts.deleted_conflicts = opts.local_seq = 0;
		between(job);
		buf_puts(job->json, "{\"ok\":");
		err = render_doc(job->json, doc, &opts, job->scratch, NULL);
		buf_putc(job->json, '}');
		return err;
	}
	return db_doc_leaves(doc, NULL, put_found, job, &n);
}

static int
put_doc(struct job *job, const struct item *item)
{
	static const struct jstr undefined = {"undefined", 9};
	struct db_doc doc;
	struct rev rev;
	size_t n = 0;
	int err;

	err = db_get(job->snap, item->id.s, item->id.len, job->scratch, &doc);
	job->large |= err == 0 && job->here && db_doc_is_large(&doc);
	if (job->large)
		return 0;
	if (err == 0 && !item->has_rev)
		return put_leaves(job, &doc);
	if (err == 0) {
		rev = rev_of(&item->parsed);
		if (rev_equal(&rev, &doc.winner.rev) && doc.nleaves == 1 && job->kind == NULL)
			return put_leaves(job, &doc);
		err = job->opts.latest ? db_doc_leaves(&doc, &rev, put_found, job, &n)
				       : db_doc_find(&doc, &rev, 0, put_found, job, &n);
	}
	if (err == ERR_MISSING || (err == 0 && n == 0))
		return put_error(job, item, item->has_rev ? &item->rev : &undefined, "not_found", "missing");
	return err;
}

static int
put_docs(struct job *job, struct item *item)
{
	struct errtext why = {{0}};
	int err;

	if (!item->is_object || item->empty)
		return put_error(job, item, NULL, "bad_request", "document must be a JSON object");
	if (!item->has_id) {
		item->raw_rev.s = NULL;
		return put_error(job, item, NULL, "bad_request", "document id missed");
	}
	err = doc_id_check(item->id.s, item->id.len, &why);
	if (err == 0)
		err = db_id_place(job->db, item->id.s, item->id.len, &why);
	if (err != 0) {
		item->raw_rev.s = NULL;
		return put_error(job, item, NULL, err_name(err), why.text[0] != '\0' ? why.text : err_reason(err));
	}
	if (item->has_rev && rev_parse(item->rev.s, item->rev.len, &item->parsed) != 0)
		return put_error(job, item, &item->rev, "bad_request", "Invalid rev format");
	if (item->raw_rev.s != NULL)
		return put_error(job, item, NULL, "bad_request", item->wrong);
	job->opts.has_atts_since = item->has_since;
	render_since(&job->opts, item->since, item->nsince);
	return put_doc(job, item);
}

static int
put_item(struct job *job, struct item *item, int first)
{
	int err;

	job->ndocs = 0;
	if (job->kind != NULL)
		return put_docs(job, item);
	buf_puts(job->json, first ? "{\"id\":" : ",{\"id\":");
	put_one_of(job->json, item->has_id ? &item->id : NULL, &none);
	buf_puts(job->json, ",\"docs\":[");
	err = put_docs(job, item);
	buf_puts(job->json, "]}");
	return err;
}

/* ---- The request ---- */

/* check_items: All are what read_item() takes; job->j is set in front of the first. */
static int
check_items(struct job *job, struct jread *j)
{
	struct item item;
	int err;

	if (jread_peek(j) != JREAD_ARRAY)
		return err_why(&job->why, ERR_BAD_REQUEST, "`docs` parameter must be an array.");
	err = jread_array_begin(j);
	job->j = *j;
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		err = read_item(job, j, &item);
		arena_reset(job->scratch);
	}
	return err == ERR_END ? 0 : err;
}

static int
check_members(struct job *job)
{
	struct buf keys;
	struct jstr key;
	struct jread j;
	int err, seen = 0;

	jread_init(&j, job->body.s, job->body.len);
	if (jread_peek(&j) != JREAD_OBJECT) {
		if (jread_skip(&j, NULL) != 0 || jread_end(&j) != 0)
			return ERR_BAD_JSON;
		return err_why(&job->why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	}
	buf_init(&keys, TEXT_MAX);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &keys, &key)) == 0) {
		if (!seen && jstr_is(&key, "docs")) {
			seen = 1;
			err = check_items(job, &j);
		} else
			err = jread_skip(&j, NULL);
	}
	buf_release(&keys);
	if (err != ERR_END)
		return err;
	if (jread_end(&j) != 0)
		return ERR_BAD_JSON;
	return seen ? 0 : err_why(&job->why, ERR_BAD_REQUEST, "Missing JSON list of 'docs'.");
}

static int
check(struct job *job)
{
	int err = arena_new(RENDER_MAX, &job->scratch);

	if (err == 0)
		err = check_members(job);
	arena_free(job->scratch);
	job->scratch = NULL;
	return err;
}

/* The next item; ERR_END behind the last. */
static int
put_next(struct job *job)
{
	struct item item;
	int err = jread_array_next(&job->j);

	if (err == 0)
		err = read_item(job, &job->j, &item);
	if (err == 0)
		err = put_item(job, &item, !job->begun);
	job->begun = 1;
	if (job->scratch != job->arena)
		arena_reset(job->scratch);
	return err;
}

/* A batch, or with ${turn} NULL all, as far as the event loop may. */
static int
put_some(struct job *job, struct rows_turn *turn)
{
	int err = db_snap_begin(job->db, &job->snap);

	if (err != 0)
		return err;
	do {
		err = put_next(job);
		job->large |= job->here && job->json->len > ROWS_BATCH_BYTES;
	} while (err == 0 && !job->large && (turn == NULL || !rows_turn_over(turn, job->json)));
	db_snap_end(job->snap);
	return err;
}

static int
fill(void *cookie, struct buf *b, struct arena *scratch)
{
	struct job *job = cookie;
	struct rows_turn turn;
	int err = job->begun ? 0 : check(job);

	(void)scratch;
	rows_turn_begin(&turn, b);
	job->json = b;
	if (err != 0 || (err = arena_new(RENDER_MAX, &job->scratch)) != 0)
		return err;
	if (!job->begun)
		buf_puts(b, "{\"results\":[");
	err = put_some(job, job->here ? NULL : &turn);
	if (err == ERR_END)
		buf_puts(b, job->here ? "]}" : "]}\n");
	arena_free(job->scratch);
	return err;
}

static void
fail(void *cookie, int err)
{
	struct job *job = cookie;

	api_error(job->r, err, &job->why);
}

static void
send_rows(struct job *job)
{
	job->here = job->large = job->begun = 0;
	api_json_head(job->r);
	rows_send_on(job->r, job->r->api->ex, fill, NULL, fail, job);
}

/* Short, and perhaps so is the answer. */
static void
send_here(struct job *job)
{
	int err;

	job->here = 1;
	buf_init(&job->own, RENDER_MAX);
	err = fill(job, &job->own, NULL);
	if (err == ERR_END && !job->large) {
		api_json(job->r, 200, &job->own);
		return;
	}
	buf_release(&job->own);
	if (job->large)
		send_rows(job);
	else
		fail(job, err);
}

static void
parts_work(struct apireq *r)
{
	struct job *job = r->cookie;

	job->err = check(job);
	if (job->err != 0)
		return;
	job->scratch = job->arena;
	buf_puts(&job->out.text, "--");
	buf_put(&job->out.text, job->boundary, sizeof(job->boundary));
	job->err = put_some(job, NULL);
	if (job->err == ERR_END)
		job->err = 0;
	buf_puts(&job->out.text, "--");
}

static void
parts_then(struct apireq *r)
{
	struct job *job = r->cookie;

	buf_release(&job->own);
	if (job->err == 0) {
		multipart_out_send(&job->out, r, job->kind, job->boundary);
		return;
	}
	multipart_out_release(&job->out);
	api_error(r, job->err, &job->why);
}

static void
send_parts(struct job *job)
{
	/* Parts carry their attachments whether or not these were asked for, as in CouchDB. */
	job->opts.attachments = 1;
	uuid_random(job->boundary);
	buf_init(&job->own, RENDER_MAX);
	job->json = &job->own;
	multipart_out_init(&job->out, job->arena);
	api_work(job->r, parts_work, parts_then);
}

/* Parameters that mean something to a single document alone. */
static int
check_params(const struct apireq *r, struct errtext *why)
{
	static const char *const refused[] = {"open_revs", "new_edits", "w", "rev", "atts_since"};
	size_t i;

	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (api_param(r, refused[i]) != NULL)
			return err_why(why, ERR_BAD_REQUEST, "\"%s\" query parameter is not acceptable", refused[i]);
	return 0;
}

static const char *
choose_kind(const struct apireq *r)
{
	struct jstr accept = http_header(r->http, "accept");

	if (multipart_accepted(accept, "application/json"))
		return NULL;
	if (multipart_accepted(accept, "multipart/mixed"))
		return "multipart/mixed";
	return multipart_accepted(accept, "multipart/related") ? "multipart/related" : NULL;
}

void
bulk_get(struct apireq *r)
{
	struct errtext why = {{0}};
	struct job *job;
	int err;

	if (!api_json_post(r))
		return;
	job = arena_calloc(r->arena, 1, sizeof(*job));
	err = job == NULL ? ERR_NOMEM : check_params(r, &why);
	if (err == 0)
		err = api_body(r, &job->body, &why);
	if (err == 0)
		err = render_opts_parse(r, &job->opts, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = job;
	job->arena = r->arena;
	job->kind = choose_kind(r);
	job->r = r;
	job->db = r->db;
	if (job->kind != NULL)
		send_parts(job);
	else if (job->body.len <= GET_INLINE_BYTES && !job->opts.attachments)
		send_here(job);
	else
		send_rows(job);
}
