/*
 * find.c: POST /{db}/_find and /{db}/_partition/{p}/_find.
 *
 *	find_post -> (a thread that may wait: planned, indexes opened) -> prepared -> views_want, one index after the other --message--> updated -> rows
 *
 * Documents are read where the request lives, in turns; from a large one on elsewhere.
 */
#include "find_rows.h"

#include "base/limits.h"
#include "live.h"
#include "rows.h"

/* A request; lives in its arena. */
struct request {
	struct find_rows f;
	struct apireq *r;
	struct jstr body;
	struct errtext why;
	int err;
	size_t next; /* index to be brought up to date */
	uint64_t seq, purge_seq;
	struct view_wait wait;
	struct http_msg msg;
};

static void
drop(void *cookie)
{
	struct request *v = cookie;

	findscan_release(&v->f.scan);
	find_query_release(&v->f.q);
}

static void
refuse(struct request *v, int err, const struct errtext *why)
{
	struct apireq *r = v->r;

	drop(v);
	api_error(r, err, why);
}

static void
answer(struct request *v)
{
	struct find_rows *f = &v->f;

	f->left = f->q.limit;
	f->skip = f->q.skip;
	if (!find_query_updates(&f->q))
		for (size_t i = 0; findscan_index(&f->scan, i) != NULL; i++)
			views_update(findscan_index(&f->scan, i));
	api_json_head(v->r);
	f->scan.here = 1;
	rows_send(v->r, find_rows_fill, drop, v);
}

static void want_next(struct request *v);

static void
updated(void *arg)
{
	struct request *v = arg;
	struct http_req *http = v->r->http;

	if (v->wait.err != 0)
		refuse(v, v->wait.err, &v->wait.why);
	else
		want_next(v);
	http_release(http);
}

static void
wait_done(struct view_wait *w)
{
	struct request *v = w->cookie;

	http_post(http_req_thread(v->r->http), &v->msg);
}

/* next_behind: The next index that does not yet show what the database had when the query came. */
static struct view_index *
next_behind(struct request *v)
{
	struct view_index *ix = NULL;

	while (find_query_updates(&v->f.q) && (ix = findscan_index(&v->f.scan, v->next)) != NULL) {
		v->next++;
		if (!views_shows(ix, v->seq, v->purge_seq))
			break;
	}
	return ix;
}

static void
want_next(struct request *v)
{
	struct view_index *ix = next_behind(v);

	if (ix == NULL) {
		answer(v);
		return;
	}
	v->msg = (struct http_msg){.fn = updated, .arg = v};
	v->wait = (struct view_wait){.seq = v->seq, .purge_seq = v->purge_seq, .done = wait_done, .cookie = v};
	http_hold(v->r->http);
	views_want(ix, &v->wait);
}

static void
prepare(struct apireq *r)
{
	struct request *v = r->cookie;
	struct db_info info;

	/* Large selectors take a while to read. */
	if ((v->err = db_info(r->db, &info)) != 0 || (v->err = find_query_read(r, v->body, &v->f.q, &v->why)) != 0)
		return;
	v->seq = info.update_seq;
	v->purge_seq = info.purge_seq;
	v->f.scan.as_fields = 1;
	v->err = findscan_prepare(&v->f.scan, r, &v->f.q, &v->why);
}

static void
prepared(struct apireq *r)
{
	struct request *v = r->cookie;

	if (v->err != 0)
		refuse(v, v->err, &v->why);
	else
		want_next(v);
}

void
find_post(struct apireq *r)
{
	struct request *v;
	int err;

	if (!api_json_post(r))
		return;
	if (live_is_asked(r)) {
		live_open(r);
		return;
	}
	if ((v = arena_calloc(r->arena, 1, sizeof(*v))) == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	v->r = r;
	v->f.began_us = rows_now_us();
	v->f.warn_ratio = config_u64(r->api->config, "mango", "index_scan_warning_threshold", 10);
	r->cookie = v;
	if ((err = api_body(r, &v->body, &v->why)) != 0)
		refuse(v, err, &v->why);
	else
		api_work(r, prepare, prepared);
}
