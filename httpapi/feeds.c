/*
 * feeds.c: open feeds, of whatever kind: _changes (changefeeds.c) and _db_updates (updatefeeds.c).
 *
 * The thread's table (feedtable.c) says which feeds are to be served; they are, in turns:
 *
 *	feeds_open -> serve --rows, not at the end--> sent --ready--> run queue -> serve
 *	                    --at the end, longpoll with rows, limit--> finished
 *	                    --none without a verdict--> wait --feeds_waited--> run queue -> serve
 *	                    --at the end--> waiting --the group moved on--> run queue -> serve
 *	                                            --interval is over--> heartbeat, or finished
 *
 * A client that does not read holds up nobody: at most one batch waits for it, no snapshot is kept, and what is
 * committed meanwhile is read when it has gone out.  If that does not come to pass for table->stuck_ms, the connection
 * is cut; the client knows the last row's sequence.
 *
 * Invariants:
 * 1. A feed is in its group before its first look at the rows, so no commit falls between that and its waiting.
 * 2. A feed that is not in a group any more (ending) only waits to send its last line.
 * 3. A feed in flight is in the intervals: it is sent or cut in the end.
 */
#include "feeds.h"

#include <stdlib.h>

#include "base/log.h"
#include "config.h"
#include "feedtable.h"
#include "rows.h"

#define SCRATCH_MAX ((size_t)256 << 20)
#define KEEP_BYTES ((size_t)1 << 20) /* a buffer that had to grow beyond this is given back */
#define STUCK_MS 60000u              /* until a client that takes nothing is cut off, where nothing is configured */
#define TIMER_BATCH 256u             /* feeds whose interval ended that one tick serves */

struct feeds {
	unsigned n;
	struct table tables[];
};

void
feeds_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	uint32_t hash = feedtable_hash(name);
	unsigned i;

	for (i = 0; api->feeds != NULL && i < api->feeds->n; i++)
		feedtable_moved(&api->feeds->tables[i], name, hash, seq, dropped);
}

/* ---- Serving ---- */

static void
leave(struct feed *f)
{
	const struct group *g = f->group;

	if (feedtable_leave(f))
		feedshare_forget(&f->table->shares, g);
}

static void
send(struct feed *f, const char *data, size_t len)
{
	struct table *t = f->table;

	f->in_flight = 1;
	f->active_ms = f->sent_ms = t->api->ex->now_ms(t->api->ex);
	/* A shorter interval ends before it could be stuck, and looks. */
	if (f->interval_ms > t->stuck_ms && feedtable_retime(f))
		feedtable_set_timer(t);
	http_send(f->r->http, data, len);
}

/* Out of the group, but not out of the intervals: a client that takes nothing does not stay for ever. */
static void
end_later(struct feed *f)
{
	leave(f);
	f->ending = 1;
	if (feedtable_time(f) != 0)
		http_cut(f->r->http);
}

/* Send the rows in ${b} and what is behind them, and end.  The rows stay. */
static void
finish(struct feed *f, struct buf *b, int with_tail)
{
	struct http_req *http = f->r->http;
	size_t rows = b->len;

	if (f->started && f->in_flight) {
		end_later(f);
		return;
	}
	leave(f);
	if (with_tail)
		f->kind->tail(f, b);
	if (!f->started) {
		rows_reply(f->r, 200, b);
	} else {
		api_done(f->r);
		if (b->len > 0 && http_can_send(http))
			http_send(http, b->data, b->len);
		http_finish(http);
	}
	b->len = rows;
}

static struct buf *
use_buffer(struct table *t)
{
	if (t->b.cap > KEEP_BYTES)
		buf_release(&t->b);
	buf_clear(&t->b);
	return &t->b;
}

/* Cut the answer off, so that its client does not take it for all there is. */
static void
cut_off(struct feed *f)
{
	struct http_req *http = f->r->http;

	leave(f);
	api_done(f->r);
	http_abort(http);
}

/* End it before its rows have ended. */
static void
end_early(struct feed *f, int with_tail)
{
	if (f->early == FEED_EARLY_CUT)
		cut_off(f);
	else
		finish(f, use_buffer(f->table), with_tail);
}

/* A feed whose database is gone, can't be read, or is not for its reader any more: who asks again is told. */
static void
fail(struct feed *f, int err)
{
	int refused = err == ERR_FORBIDDEN || err == ERR_UNAUTHORIZED || err == ERR_NOT_ADMIN;

	/* Users' functions fail as they like; script/ tells of those that had to be ended. */
	if (err != ERR_NO_DB && err != ERR_SCRIPT && !refused)
		log_line(LOG_ERROR, "a feed ended: %s", err_reason(err));
	end_early(f, f->early == FEED_EARLY_CLOSED || refused);
}

static int
is_done(const struct feed *f, int err)
{
	if (err != ERR_END)
		return 0;
	return f->table->stopping || f->interval_ms == 0 || f->kind->is_over(f);
}

static void
wait(struct feed *f)
{
	f->waiting = 1;
	f->kind->wait(f);
}

static void
serve(struct feed *f)
{
	struct buf *b = NULL;
	int err;

	if (f->waiting)
		return;
	if (f->in_flight)
		return; /* on_ready() comes back to it */
	err = f->group->known == UINT64_MAX ? ERR_NO_DB : f->kind->fill(f, &b);
	if (err != 0 && err != ERR_END && err != ERR_AGAIN) {
		fail(f, err);
		return;
	}
	f->more = err != ERR_END;
	if (is_done(f, err))
		finish(f, b, 1);
	else if (b->len > 0)
		send(f, b->data, b->len);
	else if (err == ERR_AGAIN)
		wait(f);
	/* What it was given may be of an earlier turn, from before the last commit. */
	else if (feedtable_has_work(f))
		feedtable_enqueue(f);
}

void
feeds_waited(struct feed *f)
{
	f->waiting = 0;
	if (f->group != NULL) {
		feedtable_enqueue(f);
		feedtable_post(f->table);
	}
}

static void
run_queue(struct table *t)
{
	uint64_t begin = rows_now_us();
	struct feed *f, *last = t->run_last;
	unsigned n = 0;
	int over = 0;

	/* Those that queue up again meanwhile wait for the next turn. */
	while ((f = t->run_first) != NULL && !over) {
		over = f == last || (++n % 16 == 0 && rows_now_us() - begin >= ROWS_TURN_US);
		feedtable_dequeue(f);
		serve(f);
	}
	feedshare_forget(&t->shares, NULL);
	if (t->run_first != NULL)
		feedtable_post(t);
}

static void
on_message(void *arg)
{
	struct table *t = arg;

	feedtable_collect(t);
	run_queue(t);
}

static void
on_ready(void *cookie)
{
	struct feed *f = cookie;
	struct table *t = f->table;

	f->in_flight = 0;
	if (f->ending) {
		finish(f, use_buffer(t), 1);
	} else if (feedtable_has_work(f)) {
		feedtable_enqueue(f);
		feedtable_post(t);
	}
}

static void
on_stop(void *cookie)
{
	struct feed *f = cookie;

	leave(f);
	api_done(f->r);
}

/* ---- Intervals ---- */

static void
interval_over(struct feed *f, uint64_t now)
{
	struct table *t = f->table;
	const char *beat;

	f->active_ms = now;
	if (feedtable_is_stuck(f, now)) {
		f->sent_ms = now; /* on_stop() is on its way */
		http_cut(f->r->http);
	} else if (!f->heartbeat && !f->more && !f->queued && !f->in_flight) {
		finish(f, use_buffer(t), 1);
		return;
	}
	if (f->heartbeat && !f->ending && http_can_send(f->r->http)) {
		beat = f->kind->heartbeat(f);
		send(f, beat, strlen(beat));
	}
	(void)feedtable_retime(f);
}

static void
on_timer(void *arg)
{
	struct table *t = arg;
	uint64_t now = t->api->ex->now_ms(t->api->ex);
	struct feed *f;
	unsigned n = 0;

	while (n++ < TIMER_BATCH && (f = feedtable_over(t, now)) != NULL) {
		if (feedtable_due(f) > now)
			(void)feedtable_retime(f); /* it sent something meanwhile */
		else
			interval_over(f, now);
	}
	feedtable_set_timer(t);
}

static void
on_shutdown(void *arg)
{
	struct table *t = arg;
	struct feed *f;
	size_t i;

	t->stopping = 1;
	/* Those whose database is gone are in no bucket any more, but in the run queue. */
	feedtable_collect(t);
	while ((f = t->run_first) != NULL)
		end_early(f, 1);
	for (i = 0; i < t->nbuckets; i++)
		while ((f = feedtable_in_bucket(t, i)) != NULL)
			end_early(f, 1);
}

/* ---- Requests ---- */

static void
start(struct feed *f)
{
	struct table *t = f->table;
	struct buf *b = use_buffer(t);
	int err;

	err = f->kind->begin(f, b);
	if (err != 0 && err != ERR_END && err != ERR_AGAIN) {
		leave(f);
		use_buffer(t);
		api_error(f->r, err, NULL);
		return;
	}
	f->more = err != ERR_END;
	if (f->more)
		f->seen = 0;
	if (is_done(f, err)) {
		finish(f, b, 1);
		use_buffer(t);
		return;
	}
	f->started = 1;
	http_start(f->r->http, 200, UINT64_MAX, on_ready, on_stop, f);
	send(f, b->data, b->len); /* or the head alone, behind which on_ready() comes as well */
	use_buffer(t);
}

void
feeds_open(struct feed *f, struct apireq *r, const struct feed_kind *kind, const char *name, int heartbeat,
    uint32_t interval_ms)
{
	struct table *t = &r->api->feeds->tables[http_thread_index(http_req_thread(r->http))];
	int err;

	f->table = t;
	f->r = r;
	f->kind = kind;
	f->heartbeat = heartbeat != 0;
	f->interval_ms = interval_ms;
	f->active_ms = t->api->ex->now_ms(t->api->ex);
	err = feedtable_join(f, name);
	if (err == 0 && (err = feedtable_time(f)) != 0)
		leave(f);
	if (err != 0)
		api_error(r, err, NULL);
	else
		start(f);
}

void
feeds_event_head(struct apireq *r)
{
	http_set_header(r->http, "content-type", "text/event-stream", 17);
	http_set_header(r->http, "cache-control", "no-cache", 8);
	http_may_encode(r->http);
}

/* ---- Set-up ---- */

static int
table_init(struct table *t, struct api *api, unsigned i)
{
	uint64_t stuck;
	int err;

	t->api = api;
	stuck = config_u64(api->config, "chttpd", "feed_stuck_timeout", STUCK_MS);
	t->stuck_ms = stuck == 0 || stuck > UINT32_MAX ? UINT32_MAX : (uint32_t)stuck;
	buf_init(&t->b, ROWS_BATCH_MAX);
	feedshare_init(&t->shares);
	err = feedtable_init(t, http_server_thread(api->server, i), on_message);
	if (err == 0)
		err = arena_new(SCRATCH_MAX, &t->scratch);
	if (err == 0)
		err = http_timer_new(t->thread, on_timer, t, &t->timer);
	if (err == 0)
		err = http_thread_on_shutdown(t->thread, on_shutdown, t);
	return err;
}

static void
table_release(struct table *t)
{
	if (t->timer != NULL)
		http_timer_free(t->timer);
	arena_free(t->scratch);
	buf_release(&t->b);
	feedshare_release(&t->shares);
	feedtable_release(t);
}

int
feeds_new(struct api *api)
{
	unsigned i, n = http_server_threads(api->server);
	struct feeds *feeds = calloc(1, sizeof(*feeds) + n * sizeof(feeds->tables[0]));
	int err = 0;

	if (feeds == NULL)
		return ERR_NOMEM;
	for (i = 0; i < n && err == 0; i++) {
		err = table_init(&feeds->tables[i], api, i);
		feeds->n++;
	}
	api->feeds = feeds;
	if (err != 0)
		feeds_free(api);
	return err;
}

void
feeds_free(struct api *api)
{
	unsigned i;

	if (api->feeds == NULL)
		return;
	for (i = 0; i < api->feeds->n; i++)
		table_release(&api->feeds->tables[i]);
	free(api->feeds);
	api->feeds = NULL;
}
