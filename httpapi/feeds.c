/*
 * feeds.c: open _changes requests.
 *
 * The thread's table (feedtable.c) says which feeds are to be served; they are, in turns:
 *
 *	feeds_add -> serve --rows, not at the end--> sent --ready--> run queue -> serve
 *	                   --at the end, longpoll with rows, limit--> finished
 *	                   --at the end--> waiting --the group moved on--> run queue -> serve
 *	                                           --interval is over--> heartbeat, or finished
 *
 * Feeds that stand at the same place and want the same form get the same bytes: the rows of the
 * last one served are kept for the next within a turn.
 *
 * Invariants:
 * 1. A feed is in its group before its first snapshot begins, so no commit falls between its scan
 *    and its waiting.
 * 2. A feed that is not in a group any more (ending) only waits to send its last line.
 */
#include "feeds.h"

#include "base/log.h"
#include "feedtable.h"
#include "rows.h"

#define SCRATCH_MAX ((size_t)256 << 20)
#define KEEP_BYTES ((size_t)1 << 20) /* a buffer that had to grow beyond this is given back */
#define TIMER_BATCH 256u             /* feeds whose interval ended that one tick serves */

struct feeds {
	unsigned n;
	struct table tables[];
};

void
feeds_moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct api *api = cookie;
	unsigned i;

	(void)name;
	for (i = 0; api->feeds != NULL && i < api->feeds->n; i++)
		feedtable_moved(&api->feeds->tables[i], incarnation, seq, dropped);
}

/* ---- Serving ---- */

static void
leave(struct feed *f)
{
	const struct group *g = f->group;
	struct table *t = f->table;

	if (feedtable_leave(f) && t->shared_group == g)
		t->shared_group = NULL;
}

static void
send(struct feed *f, const char *data, size_t len)
{
	f->in_flight = 1;
	http_send(f->r->http, data, len);
}

/* Send what is behind the rows in ${b}, and end.  The rows stay. */
static void
finish(struct feed *f, int with_tail)
{
	struct table *t = f->table;
	struct http_req *http = f->r->http;
	size_t rows = t->b.len;

	leave(f);
	if (f->started && f->in_flight) {
		f->ending = 1;
		return;
	}
	/* A head that is on its way alone leaves no room for a last line. */
	if (f->started && !http_can_send(http))
		with_tail = 0;
	if (with_tail)
		feedscan_tail(&f->scan, &t->b);
	api_done(f->r);
	if (!f->started) {
		http_reply(http, 200, t->b.data, t->b.len);
	} else {
		if (t->b.len > 0 && http_can_send(http))
			http_send(http, t->b.data, t->b.len);
		http_finish(http);
	}
	t->b.len = rows;
}

static void
use_buffer(struct table *t)
{
	t->shared_group = NULL;
	if (t->b.cap > KEEP_BYTES)
		buf_release(&t->b);
	buf_clear(&t->b);
}

/* A feed whose database is gone, or can't be read. */
static void
fail(struct feed *f, int err)
{
	use_buffer(f->table);
	if (err != ERR_NO_DB)
		log_line(LOG_ERROR, "a changes feed ended: %s", err_reason(err));
	if (!f->started && err != ERR_NO_DB) {
		leave(f);
		api_error(f->r, err, NULL);
	} else {
		finish(f, f->scan.form == FEEDSCAN_LONGPOLL);
	}
}

/* The next rows of ${f} into the table's buffer. */
static int
fill(struct feed *f)
{
	struct table *t = f->table;
	uint64_t seq = f->seen;
	int err;

	if (t->shared_group == f->group &&
	    feedscan_same(&f->scan, &t->shared_before, t->shared_after.emitted - t->shared_before.emitted)) {
		feedscan_follow(&f->scan, &t->shared_before, &t->shared_after);
		f->seen = t->shared_seq;
		return t->shared_err;
	}
	use_buffer(t);
	t->shared_before = f->scan;
	err = feedscan_fill(&f->scan, &t->b, t->scratch, &seq);
	if (err != 0 && err != ERR_END)
		return err;
	f->seen = err == ERR_END ? seq : 0;
	t->shared_group = f->group;
	t->shared_after = f->scan;
	t->shared_seq = f->seen;
	t->shared_err = err;
	return err;
}

static int
is_done(const struct feed *f, int err)
{
	if (err != ERR_END)
		return 0;
	return f->scan.limit == 0 || f->table->stopping || f->interval_ms == 0 ||
	       (f->scan.form == FEEDSCAN_LONGPOLL && f->scan.emitted > 0);
}

static void
serve(struct feed *f)
{
	struct table *t = f->table;
	int err;

	if (!http_can_send(f->r->http)) {
		/* on_ready() comes back to it, but for a head that is on its way alone. */
		if (!f->in_flight)
			feedtable_enqueue(f);
		return;
	}
	err = f->group->known == UINT64_MAX ? ERR_NO_DB : fill(f);
	if (err != 0 && err != ERR_END) {
		fail(f, err);
		return;
	}
	f->more = err == 0;
	if (is_done(f, err)) {
		finish(f, 1);
		return;
	}
	if (t->b.len > 0) {
		send(f, t->b.data, t->b.len);
		f->active_ms = t->api->ex->now_ms(t->api->ex);
	} else if (f->more) {
		feedtable_enqueue(f);
	}
}

static void
run_queue(struct table *t)
{
	uint64_t begin = rows_now_us();
	struct feed *f, *last = t->run_last;
	unsigned n = 0;
	int over = 0;

	t->shared_group = NULL;
	/* Those that queue up again meanwhile wait for the next turn. */
	while ((f = t->run_first) != NULL && !over) {
		over = f == last || (++n % 16 == 0 && rows_now_us() - begin >= ROWS_TURN_US);
		feedtable_dequeue(f);
		serve(f);
	}
	use_buffer(t);
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
		use_buffer(t);
		finish(f, f->scan.form != FEEDSCAN_EVENTSOURCE);
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
	if (!f->heartbeat && !f->more && !f->queued) {
		use_buffer(t);
		finish(f, 1);
		return;
	}
	if (f->heartbeat && http_can_send(f->r->http)) {
		beat = feedscan_heartbeat(&f->scan);
		send(f, beat, strlen(beat));
	}
	feedtable_retime(f);
}

static void
on_timer(void *arg)
{
	struct table *t = arg;
	uint64_t now = t->api->ex->now_ms(t->api->ex);
	unsigned n = 0;

	while (t->nheap > 0 && t->heap[0].ms <= now && n++ < TIMER_BATCH) {
		struct feed *f = t->heap[0].feed;

		if (feedtable_due(f) > now)
			feedtable_retime(f); /* it sent something meanwhile */
		else
			interval_over(f, now);
	}
	feedtable_set_timer(t);
}

static void
on_shutdown(void *arg)
{
	struct table *t = arg;
	size_t i;

	t->stopping = 1;
	use_buffer(t);
	for (i = 0; i < FEEDTABLE_BUCKETS; i++) {
		/* finish() frees a group with its last feed, unless it is dirty: then it stays, empty. */
		struct group *g = t->buckets[i];

		while (g != NULL) {
			struct group *next = g->hash_next;
			struct feed *f = g->feeds;

			while (f != NULL) {
				struct feed *follower = f->next;

				finish(f, 1);
				f = follower;
			}
			g = next;
		}
	}
}

/* ---- Requests ---- */

static void
add(struct feed *f)
{
	struct table *t = f->table;
	int err;

	use_buffer(t);
	feedscan_head(&f->scan, &t->b);
	err = feedscan_fill(&f->scan, &t->b, t->scratch, &f->seen);
	if (err != 0 && err != ERR_END) {
		leave(f);
		use_buffer(t);
		api_error(f->r, err, NULL);
		return;
	}
	f->more = err == 0;
	if (f->more)
		f->seen = 0;
	if (is_done(f, err)) {
		finish(f, 1);
		use_buffer(t);
		return;
	}
	f->started = 1;
	http_start(f->r->http, 200, UINT64_MAX, on_ready, on_stop, f);
	if (t->b.len > 0) {
		send(f, t->b.data, t->b.len);
	} else if (f->more) {
		feedtable_enqueue(f);
		feedtable_post(t);
	}
	use_buffer(t);
}

void
feeds_add(struct apireq *r, const struct feedscan *scan, int heartbeat, uint32_t interval_ms)
{
	struct table *t = &r->api->feeds->tables[http_thread_index(http_req_thread(r->http))];
	struct feed *f = arena_calloc(r->arena, 1, sizeof(*f));
	int err = ERR_NOMEM;

	if (f != NULL) {
		f->table = t;
		f->r = r;
		f->scan = *scan;
		f->heartbeat = heartbeat != 0;
		f->interval_ms = interval_ms;
		f->active_ms = t->api->ex->now_ms(t->api->ex);
		err = feedtable_join(f);
	}
	if (err == 0 && (err = feedtable_time(f)) != 0)
		leave(f);
	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	add(f);
}

/* ---- Set-up ---- */

static int
table_init(struct table *t, struct api *api, unsigned i)
{
	int err;

	t->api = api;
	buf_init(&t->b, ROWS_BATCH_MAX);
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
