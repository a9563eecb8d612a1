/*
 * live_build.c: the way from words to members.
 *
 *	live_build_start -> prepare --message--> views_want, one index after the other --message--> scan, slice by slice --message--> done
 *	                    (a thread that may wait)  (the request's thread)                       (a thread that may wait)
 *
 * A scan takes many snapshots, so that none is held for long, and its set is of no one sequence.  That does no harm: whoever takes it
 * looks anew at each document that has changed since the sequence from before the scan began, and any other is found by
 * the scan where it has been all the while.
 *
 * 1. On other threads only what is the build's own is used, and of the request what never changes.
 * 2. The fence of a set is the last row that was read, not the last member's place: nothing is known behind it.
 */
#include "live_build.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "findscan.h"
#include "rows.h"

#define ARENA_MAX ((size_t)256 << 20)
#define SLICE_US 20000u /* of scanning, until somebody else's work is looked for */
#define SLACK 32u       /* members kept beyond the limit, */
#define SLACK_PART 8u   /* and a part of the limit */

struct live_build {
	struct apireq *r;
	struct apireq
	    own; /* what is given to those who want a request: with a handle and an arena of the build's own */
	struct jstr body;
	struct live_query *like;
	int always;
	struct find_query q;
	struct findscan scan;
	struct live_work work;
	struct arena *rows; /* work's */
	int ended;          /* the scan is */
	int cancelled;      /* the request's thread's */
	size_t next;        /* index to be brought up to date */
	struct live_built out;
	struct exec_job job;
	struct http_msg msg;
	struct view_wait wait;
	void (*done)(void *cookie, struct live_built *out);
	void *cookie;
};

uint32_t
live_build_kept(uint32_t limit)
{
	return limit == UINT32_MAX ? limit : limit + limit / SLACK_PART + SLACK;
}

/* ---- Off the event loop ---- */

static void
post(struct live_build *b, void (*fn)(void *arg))
{
	b->msg = (struct http_msg){.fn = fn, .arg = b};
	http_post(http_req_thread(b->r->http), &b->msg);
}

static int
refuse_words(const struct find_query *q, struct errtext *why)
{
	if (q->skip > 0)
		return err_why(why, ERR_BAD_REQUEST, "A live query has no `skip`.");
	if (q->bookmark.len > 0)
		return err_why(why, ERR_BAD_REQUEST, "A live query has no `bookmark`.");
	if (q->has_limit && q->limit > LIMIT_LIVE_MEMBERS)
		return err_why(why, ERR_BAD_REQUEST, "The `limit` of a live query is at most %u.", LIMIT_LIVE_MEMBERS);
	return 0;
}

/* open_db: As the one who asks for it, who may have lost the right to since it asked. */
static int
open_db(struct live_build *b)
{
	int err = db_open(b->own.api->dbs, b->own.part[0].s, &b->own.who, &b->own.db);

	if (err != 0)
		b->own.db = NULL;
	else
		err = db_may_list(b->own.db);
	b->out.refused = err != 0;
	return err;
}

static int
plan(struct live_build *b)
{
	struct errtext *why = &b->out.why;
	struct db_info info;
	int err;

	if ((err = open_db(b)) != 0 || (err = db_info(b->own.db, &info)) != 0)
		return err;
	b->out.seq = info.update_seq;
	b->out.purge_seq = info.purge_seq;
	if ((err = find_query_read(&b->own, b->body, &b->q, why)) != 0 || (err = refuse_words(&b->q, why)) != 0 ||
	    (err = findscan_prepare(&b->scan, &b->own, &b->q, why)) != 0)
		return err;
	/* What is kept of a document is more than an index may have of it. */
	b->scan.plan->covered = 0;
	b->out.weighed = b->scan.plan->weighed;
	b->out.alike = b->like != NULL && live_query_is_like(b->like, &b->scan);
	return b->out.alike && !b->always ? 0 : live_set_new(b->scan.plan->descending, &b->out.set);
}

/* take: A document that was found.  One that is in the set already has changed since it was: its place is found out later. */
static int
take(struct live_build *b, const struct findscan_doc *doc)
{
	struct live_set *s = b->out.set;
	struct live_member m;
	uint32_t i, kept = live_build_kept(b->q.has_limit ? (uint32_t)b->q.limit : UINT32_MAX);
	int err;

	if ((err = live_query_row(&b->scan, doc, &b->work, &m)) != 0)
		return err;
	if (live_set_find(s, m.id) < s->n)
		return 0;
	if ((err = live_set_put(s, &m, &i)) != 0 || s->n < kept)
		return err;
	err = live_set_fence(s, m.key, m.id);
	return err != 0 ? err : ERR_END;
}

static int
scan_turn(struct live_build *b)
{
	uint64_t begin = rows_now_us();
	struct findscan_doc doc;
	unsigned n = 0;
	int err = findscan_begin(&b->scan);

	if (err != 0)
		return err;
	do {
		err = findscan_next(&b->scan, b->rows, &doc);
		if (err == 0)
			err = take(b, &doc);
		if (err == ERR_AGAIN)
			err = 0;
	} while (err == 0 && (++n % 16 != 0 || rows_now_us() - begin < ROWS_TURN_US));
	findscan_pause(&b->scan);
	return err;
}

static int
too_many(struct errtext *why)
{
	return err_why(why, ERR_TOO_LARGE,
	    "A live query keeps at most %u documents, and %u bytes of their ids and sort keys: this one finds more.",
	    LIMIT_LIVE_MEMBERS, LIMIT_LIVE_BYTES);
}

static void come_back(void *arg);
static void prepared(void *arg);

/* scan_ended: What is left to be said of the set, and the query as it is kept. */
static int
scan_ended(struct live_build *b)
{
	struct db_info info;
	int err = db_info(b->own.db, &info);

	if (err != 0)
		return err;
	b->out.end = info.update_seq;
	return live_query_new(&b->scan, &b->q, b->body, b->out.seq, b->out.purge_seq, &b->out.query);
}

static void
run_scan(void *arg)
{
	struct live_build *b = arg;
	uint64_t begin = rows_now_us();
	int err;

	do
		err = scan_turn(b);
	while (err == 0 && rows_now_us() - begin < SLICE_US);
	b->ended = err == ERR_END;
	if (b->ended)
		b->out.err = scan_ended(b);
	else if (err != 0)
		b->out.err = err == ERR_TOO_LARGE ? too_many(&b->out.why) : err;
	post(b, come_back);
}

static void
run_plan(void *arg)
{
	struct live_build *b = arg;

	b->out.err = plan(b);
	post(b, prepared);
}

/* ---- On the request's thread ---- */

static void
release(struct live_build *b)
{
	findscan_release(&b->scan);
	find_query_release(&b->q);
	db_close(b->own.db);
	arena_free(b->own.arena);
	arena_free(b->rows);
	live_query_work_release(&b->work);
	live_query_drop(b->like);
	live_query_drop(b->out.query);
	live_set_drop(b->out.set);
	free(b);
}

static void
finish(struct live_build *b)
{
	struct http_req *http = b->r->http;

	b->done(b->cookie, &b->out);
	release(b);
	http_release(http);
}

static void
submit(struct live_build *b, void (*fn)(void *arg))
{
	struct executor *slow = b->own.api->slow;

	b->job = (struct exec_job){.fn = fn, .arg = b, .lane = exec_lane(b->own.part[0].s)};
	slow->submit(slow, &b->job);
}

static void
come_back(void *arg)
{
	struct live_build *b = arg;

	if ((b->cancelled || http_gone(b->r->http)) && b->out.err == 0)
		b->out.err = ERR_CANCELLED;
	if (b->ended || b->out.err != 0)
		finish(b);
	else
		submit(b, run_scan);
}

static void
want_done(struct view_wait *w)
{
	post(w->cookie, prepared);
}

/* prepared: Or one more index is up to date; what it lacks is told. */
static void
prepared(void *arg)
{
	struct live_build *b = arg;
	struct view_index *ix;

	if (b->out.err == 0 && b->wait.err != 0) {
		b->out.err = b->wait.err;
		b->out.why = b->wait.why;
	}
	if (b->out.err != 0 || b->out.set == NULL) {
		finish(b);
		return;
	}
	if ((ix = findscan_index(&b->scan, b->next++)) == NULL) {
		come_back(b);
		return;
	}
	b->wait = (struct view_wait){.seq = b->out.seq, .purge_seq = b->out.purge_seq, .done = want_done, .cookie = b};
	views_want(ix, &b->wait);
}

int
live_build_start(struct apireq *r, struct jstr body, struct live_query *like, int always,
    void (*done)(void *cookie, struct live_built *out), void *cookie, struct live_build **bp)
{
	struct live_build *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	b->r = r;
	b->own = *r;
	b->own.db = NULL;
	b->own.arena = NULL;
	if (arena_new(ARENA_MAX, &b->own.arena) != 0 || arena_new(ARENA_MAX, &b->rows) != 0) {
		arena_free(b->own.arena);
		free(b);
		return ERR_NOMEM;
	}
	live_query_work_init(&b->work, b->rows);
	b->body = body;
	b->like = live_query_hold(like);
	b->always = always;
	b->done = done;
	b->cookie = cookie;
	*bp = b;
	http_hold(r->http);
	submit(b, run_plan);
	return 0;
}

void
live_build_cancel(struct live_build *b)
{
	b->cancelled = 1;
}
