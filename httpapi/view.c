/*
 * view.c: /{db}/_design/{d}/_view/{v} and its /queries.
 *
 *	view_any -> (a thread that may wait: the index is opened) -> opened -> views_want --message--> updated -> rows
 *
 * What may be large or slow stays off the event loop: an index is opened on a thread that may wait, brought up to date by the
 * views' own jobs, and functions reduce on threads that wait for them.  Rows are read where the request lives, unless they have documents or
 * their keys are long.
 */
#include "view_rows.h"

#include <stdio.h>

#include "alldocs_query.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/limits.h"
#include "rows.h"
#include "views/views.h"

#define ALLOWED "GET,POST,HEAD"

/* A request; lives in its arena. */
struct request {
	struct view_rows l;
	struct jstr ddoc;      /* its id */
	struct jstr name;      /* of the view */
	struct jstr partition; /* len 0: none */
	int parse_err;
	struct errtext parse_why;
	int err;     /* of opening */
	int earlier; /* the index is of an earlier revision of the design document: this one's is not ready */
	uint64_t seq;
	void (*taken)(struct apireq *r, struct view_rows *l, void *cookie); /* NULL: the rows are the answer */
	void *cookie;
	struct view_wait wait;
	struct http_msg msg;
};

/* ---- Parameters ---- */

static int
add_query(struct view_rows *l, struct jread *j, const struct view_query *base, size_t *capp, struct errtext *why)
{
	struct view_query *q;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "Each of `queries` must be an object.");
	if (l->nqueries == *capp) {
		*capp = *capp == 0 ? 8 : *capp * 2;
		q = arena_calloc(l->r->arena, *capp, sizeof(*q));
		if (q == NULL)
			return ERR_NOMEM;
		if (l->nqueries > 0)
			memcpy(q, l->queries, l->nqueries * sizeof(*q));
		l->queries = q;
	}
	q = &l->queries[l->nqueries++];
	*q = *base;
	err = jread_object_begin(j);
	return err != 0 ? err : view_query_members(l->r, j, q, why);
}

static int
parse_queries(struct view_rows *l, const struct jstr *body, struct errtext *why)
{
	struct view_query base;
	struct jread j;
	size_t cap = 0;
	int err;

	view_query_init(&base, &l->keys_bytes);
	err = view_query_params(l->r, &base, why);
	if (err == 0)
		err = rows_queries(&j, body, why);
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		err = add_query(l, &j, &base, &cap, why);
	return err == ERR_END ? 0 : err;
}

static int
parse_one(struct view_rows *l, const struct jstr *body, struct errtext *why)
{
	struct jread j;
	int err = 0;

	l->queries = arena_calloc(l->r->arena, 1, sizeof(*l->queries));
	if (l->queries == NULL)
		return ERR_NOMEM;
	l->nqueries = 1;
	view_query_init(l->queries, &l->keys_bytes);
	if (body != NULL)
		err = rows_object(&j, body, why);
	if (err == 0 && body != NULL)
		err = view_query_members(l->r, &j, l->queries, why);
	return err != 0 ? err : view_query_params(l->r, l->queries, why);
}

static void
parse(struct apireq *r)
{
	struct request *v = r->cookie;
	struct errtext *why = &v->parse_why;
	struct jstr body;

	if (strcmp(r->method, "POST") != 0)
		v->parse_err = parse_one(&v->l, NULL, why);
	else if ((v->parse_err = api_body(r, &body, why)) == 0)
		v->parse_err = v->l.multi ? parse_queries(&v->l, &body, why) : parse_one(&v->l, &body, why);
}

/* ---- Answering ---- */

static void
drop(void *cookie)
{
	struct request *v = cookie;

	buf_release(&v->l.place);
	if (v->l.ix != NULL)
		views_close(v->l.ix);
	v->l.ix = NULL;
}

/* What functions name their errors by, and its status. */
static int
status_of(const char *error)
{
	return strcmp(error, "compilation_error") == 0 ? 400 : 500;
}

/* CouchDB takes this one for an error of its own, to which it gives a number. */
static void
reply_ref(struct apireq *r, int err, const char *reason)
{
	struct buf b;

	buf_init(&b, 8 * ERRTEXT_MAX);
	buf_printf(&b, "{\"error\":\"%s\",\"reason\":", err_name(err));
	buf_put_json(&b, reason, strlen(reason));
	buf_printf(&b, ",\"ref\":%u}", (unsigned)hash_crc32c(0, reason, strlen(reason)));
	api_json(r, err_status(err), &b);
}

static void
refuse(struct request *v, int err, const struct errtext *why, const char *error)
{
	struct apireq *r = v->l.r;

	drop(v);
	if (err == ERR_SCRIPT && error[0] != '\0')
		api_error_text(r, status_of(error), error, why->text);
	else if (err == ERR_KEY_RANGE)
		reply_ref(r, err, why->text);
	else
		api_error(r, err, why);
}

static void
failed(void *cookie, int err)
{
	struct request *v = cookie;

	refuse(v, err, &v->l.why, v->l.error);
}

/* put_etag: Of a GET: what the rows come from, and what was asked of them. */
static int
put_etag(struct request *v, struct buf *b)
{
	struct apireq *r = v->l.r;
	struct jstr query = http_query(r->http);
	unsigned char digest[MD5_LEN];
	char hex[2 * MD5_LEN];
	uint64_t seq, purge_seq;
	struct db_info db;
	struct buf text;
	int err = db_info(r->db, &db);

	if (err != 0)
		return err;
	read_state(v->l.ix, &seq, &purge_seq);
	buf_init(&text, 4 * LIMIT_URL_LEN + 1024);
	buf_printf(&text, "%s %llu %llu %llu %s ", read_name(v->l.ix), (unsigned long long)seq,
	    (unsigned long long)purge_seq, (unsigned long long)db.update_seq, r->who.name != NULL ? r->who.name : "");
	buf_put(&text, v->name.s, v->name.len);
	buf_putc(&text, ' ');
	buf_put(&text, v->partition.s, v->partition.len);
	buf_putc(&text, '?');
	buf_put(&text, query.s, query.len);
	if (v->l.queries[0].reduce && read_reduces(v->l.view) == READ_SCRIPT) /* it decides what such rows say */
		buf_printf(&text, " %d", (int)views_get_reduce_limit(r->api->views));
	err = buf_failed(&text);
	hash_md5(text.data, text.len, digest);
	buf_release(&text);
	hex_encode(digest, sizeof(digest), hex);
	buf_putc(b, '"');
	buf_put(b, hex, sizeof(hex));
	buf_putc(b, '"');
	return err != 0 ? err : buf_failed(b);
}

/* Which threads make the batches; NULL: the request's own. */
static struct executor *
who_makes(const struct request *v)
{
	struct api *api = v->l.r->api;
	int docs = 0;

	for (size_t i = 0; i < v->l.nqueries; i++) {
		if (v->l.queries[i].reduce)
			return read_reduces(v->l.view) == READ_SCRIPT ? api->slow : api->ex;
		docs |= v->l.queries[i].include_docs;
	}
	/* Documents may be large, and keys long: each batch looks for them. */
	return docs || v->l.r->body.len > API_INLINE_BYTES ? api->ex : NULL;
}

/* is_over: 1 if the request is answered by its tag, or an error. */
static int
is_over(struct request *v)
{
	struct apireq *r = v->l.r;
	struct view_index *ix = v->l.ix;
	struct buf etag;
	int err;

	buf_init_arena(&etag, r->arena, 64);
	if ((err = put_etag(v, &etag)) != 0) {
		refuse(v, err, NULL, "");
		return 1;
	}
	v->l.ix = NULL;
	if (api_not_modified(r, etag.data, etag.len)) {
		views_close(ix);
		return 1;
	}
	v->l.ix = ix;
	return 0;
}

static void
answer(struct request *v)
{
	struct apireq *r = v->l.r;
	struct executor *ex = who_makes(v);

	for (size_t i = 0; i < v->l.nqueries; i++)
		if (v->l.queries[i].update == VIEW_UPDATE_LATER && !v->earlier)
			views_update(v->l.ix);
	if (v->taken != NULL) {
		v->taken(r, &v->l, v->cookie);
		return;
	}
	if (strcmp(r->method, "GET") == 0 && is_over(v))
		return;
	api_json_head(r);
	if (ex != NULL)
		rows_send_on(r, ex, view_rows_fill, drop, failed, v);
	else
		rows_send(r, view_rows_fill, drop, v);
}

/* ---- The way there ---- */

static void
updated(void *arg)
{
	struct request *v = arg;
	struct http_req *http = v->l.r->http;

	if (v->wait.err != 0)
		refuse(v, v->wait.err, &v->wait.why, v->wait.error);
	else
		answer(v);
	http_release(http);
}

static void
wait_done(struct view_wait *w)
{
	struct request *v = w->cookie;

	http_post(http_req_thread(v->l.r->http), &v->msg);
}

static int
check(struct request *v, struct errtext *why)
{
	int divided = read_is_partitioned(v->l.ix), err = v->parse_err;

	if ((v->l.view = read_view(v->l.ix, v->name)) == NULL)
		return err_why(why, ERR_MISSING, "missing_named_view");
	if (err != 0)
		*why = v->parse_why;
	for (size_t i = 0; i < v->l.nqueries && err == 0; i++) {
		struct view_query *q = &v->l.queries[i];

		if (v->partition.len > 0)
			q->range.partition = v->partition;
		if (divided && q->range.partition.len == 0)
			return err_why(
			    why, ERR_QUERY_PARSE, "`partition` parameter is mandatory for queries to this view.");
		if (!divided && q->range.partition.len > 0)
			return err_why(
			    why, ERR_QUERY_PARSE, "`partition` parameter is not supported in this design doc");
		if ((err = view_query_check(q, read_reduces(v->l.view) != READ_PLAIN, why)) == 0)
			err = alldocs_value_limit(v->l.r, divided, &q->limit, why);
	}
	return err;
}

static int
wants_first(const struct request *v)
{
	int first = v->l.nqueries == 0;

	for (size_t i = 0; i < v->l.nqueries; i++)
		first |= v->l.queries[i].update == VIEW_UPDATE_FIRST;
	return first;
}

static void
opened(struct apireq *r)
{
	struct request *v = r->cookie;
	struct errtext why = {""};
	int err = v->err != 0 ? v->err : check(v, &why);

	if (err != 0) {
		refuse(v, err, &why, "");
		return;
	}
	counters_add(COUNTER_VIEW_READS, 1);
	if (!wants_first(v)) {
		answer(v);
		return;
	}
	v->msg = (struct http_msg){.fn = updated, .arg = v};
	v->wait.done = wait_done;
	v->wait.cookie = v;
	http_hold(r->http);
	views_want(v->l.ix, &v->wait);
}

/* use_earlier: While the index is built for the first time, who does not want to wait gets rows of the one before, if that has the view. */
static void
use_earlier(struct request *v)
{
	struct apireq *r = v->l.r;
	struct view_index *now = v->l.ix, *old;

	if (views_open_earlier(r->api->views, r->db, r->part[0].s, v->ddoc, &old) != 0)
		return;
	if (read_view(old, v->name) == NULL || read_is_partitioned(old) != read_is_partitioned(now)) {
		views_close(old);
		return;
	}
	for (size_t i = 0; i < v->l.nqueries; i++)
		if (v->l.queries[i].update == VIEW_UPDATE_LATER)
			views_update(now);
	views_close(now);
	v->l.ix = old;
	v->earlier = 1;
}

/* may_see_rows: Rows know nothing of who may see which document.  Who may not see the design document either is told that. */
static int
may_see_rows(struct request *v)
{
	struct apireq *r = v->l.r;
	struct db_snap *snap;
	struct db_doc doc;
	int err;

	if (db_shows_all(r->db))
		return 0;
	if ((err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = db_get(snap, v->ddoc.s, v->ddoc.len, r->arena, &doc);
	db_snap_end(snap);
	return err != 0 ? err : ERR_NOT_ADMIN;
}

/* make_sortkeys: In the order of the view whose rows are the answer. */
static int
make_sortkeys(struct request *v)
{
	const struct ddoc_view *view = read_view(v->l.ix, v->name);
	int err = 0;

	for (size_t i = 0; view != NULL && i < v->l.nqueries && err == 0; i++)
		err = view_query_sortkeys(v->l.r, &v->l.queries[i], view);
	return err;
}

static void
open_index(struct apireq *r)
{
	struct request *v = r->cookie;
	struct db_info info;

	if ((v->err = may_see_rows(v)) != 0 || (v->err = db_info(r->db, &info)) != 0)
		return;
	v->wait.seq = info.update_seq;
	v->wait.purge_seq = info.purge_seq;
	v->err = views_open(r->api->views, r->db, r->part[0].s, v->ddoc, &v->l.ix);
	if (v->err != 0 || v->parse_err != 0)
		return;
	if (!wants_first(v) && !views_is_ready(v->l.ix) && read_view(v->l.ix, v->name) != NULL)
		use_earlier(v);
	v->parse_err = make_sortkeys(v);
}

static struct request *
request_new(struct apireq *r, const struct jstr *ddoc, const struct jstr *name)
{
	struct request *v = arena_calloc(r->arena, 1, sizeof(*v));

	if (v == NULL || api_ddoc_id(r, *ddoc, &v->ddoc) != 0)
		return NULL;
	v->name = *name;
	v->l.r = r;
	buf_init(&v->l.place, (size_t)1 << 30);
	r->cookie = v;
	return v;
}

static void
parsed(struct apireq *r)
{
	struct request *v = r->cookie;

	/* What is no query at all is refused as it is. */
	if (v->parse_err == ERR_CONTENT_TYPE || v->parse_err == ERR_TOO_LARGE)
		refuse(v, v->parse_err, &v->parse_why, "");
	else
		api_work(r, open_index, opened);
}

static void
begin(struct apireq *r, struct request *v)
{
	if (v == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if (strcmp(r->method, "POST") == 0 && !api_is_json(r))
		refuse(v, ERR_CONTENT_TYPE, &v->parse_why, "");
	else
		api_parse(r, parse, parsed);
}

void
view_any(struct apireq *r)
{
	struct request *v;

	if (r->part[4].len == 0) {
		api_method_not_allowed(r, ALLOWED);
		return;
	}
	if ((v = request_new(r, &r->part[2], &r->part[4])) != NULL)
		v->l.multi = r->nparts > 5;
	begin(r, v);
}

void
view_partition(struct apireq *r)
{
	struct request *v = request_new(r, &r->part[4], &r->part[6]);

	if (v != NULL) {
		v->partition = r->part[2];
		v->l.multi = r->nparts > 7;
	}
	begin(r, v);
}

void
view_rows_take(struct apireq *r, struct jstr ddoc, struct jstr view,
    void (*taken)(struct apireq *r, struct view_rows *l, void *cookie), void *cookie)
{
	struct request *v = request_new(r, &ddoc, &view);

	if (v != NULL) {
		v->taken = taken;
		v->cookie = cookie;
	}
	begin(r, v);
}

void
view_rows_drop(struct view_rows *l)
{
	/* It is the first member. */
	drop((struct request *)(void *)l);
}
