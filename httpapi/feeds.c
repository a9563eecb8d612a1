/*
 * feeds.c: open _changes requests.
 *
 * Each HTTP thread has a table of groups, one for each database (incarnation) that it has feeds of.
 * A commit marks the group dirty in every table that has it and posts one message per thread; what
 * else is committed until the thread gets to it joins that message.  The thread then serves its
 * feeds in turns:
 *
 *	feeds_add -> serve --rows, not at the end--> sent --ready--> run queue -> serve
 *	                   --at the end, longpoll with rows, limit--> finished
 *	                   --at the end--> waiting --the group moved on--> run queue -> serve
 *	                                           --interval is over--> heartbeat, or finished
 *
 * Feeds that stand at the same place and want the same form get the same bytes: the rows of the
 * last one served are kept for the next within a turn.  Intervals are kept in a heap per thread,
 * and one timer is set for its top: no feed, no timer.
 *
 * Invariants:
 * 1. A feed is in its group before its first snapshot begins, so no commit falls between its scan
 *    and its waiting.
 * 2. A waiting feed has seen >= its group's known, or is in the run queue.
 * 3. Groups, their seq and dirty, and posted are guarded by the lock; all else is the thread's own.
 * 4. A feed that is not in a group any more (ending) only waits to send its last line.
 */
#include "feeds.h"

#include <pthread.h>

#include "base/log.h"
#include "base/limits.h"
#include "rows.h"

#define BUCKETS 256u /* power of two */
#define HEAP_FIRST 16u
#define SCRATCH_MAX ((size_t)256 << 20)
#define KEEP_BYTES ((size_t)1 << 20) /* a buffer that had to grow beyond this is given back */
#define TIMER_BATCH 256u             /* feeds whose interval ended that one tick serves */
#define COARSE_FROM_MS 2000u         /* intervals from here on are met on a grid, so that wake-ups are shared */
#define COARSE_MS 250u

struct feed {
	struct feed *prev, *next;         /* in the group */
	struct feed *run_prev, *run_next; /* in the run queue */
	struct group *group;              /* NULL: it has left */
	struct table *table;
	struct apireq *r;
	struct feedscan scan;
	uint64_t seen;      /* the update sequence that it has looked up to */
	uint64_t active_ms; /* when it last sent something or began to wait */
	uint32_t interval_ms;
	uint32_t heap_index;
	uint8_t heartbeat;
	uint8_t started; /* the head is out */
	uint8_t more;    /* its last turn ended before the rows did */
	uint8_t queued;
	uint8_t in_flight; /* on_ready() will come */
	uint8_t ending;    /* left; its last line waits for the client */
};

/* The feeds of one database in one thread. */
struct group {
	struct group *hash_next;
	struct group *dirty_next;
	uint64_t incarnation;
	uint64_t seq;   /* the newest that feeds_moved() told; UINT64_MAX: dropped */
	uint64_t known; /* the same as the thread knows it */
	struct feed *feeds;
	int dirty;
};

struct due {
	uint64_t ms;
	struct feed *feed;
};

/* One HTTP thread's. */
struct table {
	struct api *api;
	struct http_thread *thread;
	struct http_timer *timer;
	struct arena *scratch;
	struct buf b;
	struct due *heap;
	size_t nheap, heap_cap;
	struct feed *run_first, *run_last;
	int stopping;
	/* The rows in ${b}, for the next feed that wants the same. */
	struct group *shared_group;
	struct feedscan shared_before, shared_after;
	uint64_t shared_seq;
	int shared_err;
	/* Guarded by the lock. */
	pthread_mutex_t lock;
	struct http_msg msg;
	int posted;
	struct group *dirty;
	struct group *buckets[BUCKETS];
};

struct feeds {
	unsigned n;
	struct table tables[];
};

/* ---- Groups ---- */

static struct group **
slot(struct table *t, uint64_t incarnation)
{
	struct group **p = &t->buckets[(incarnation * UINT64_C(0x9e3779b97f4a7c15)) >> 56 & (BUCKETS - 1)];

	while (*p != NULL && (*p)->incarnation != incarnation)
		p = &(*p)->hash_next;
	return p;
}

static int
join(struct feed *f)
{
	struct table *t = f->table;
	uint64_t incarnation = db_incarnation(f->r->db);
	struct group **p, *g;

	pthread_mutex_lock(&t->lock);
	p = slot(t, incarnation);
	if (*p == NULL) {
		*p = calloc(1, sizeof(**p));
		if (*p != NULL)
			(*p)->incarnation = incarnation;
	}
	g = *p;
	pthread_mutex_unlock(&t->lock);
	if (g == NULL)
		return ERR_NOMEM;
	f->group = g;
	f->next = g->feeds;
	if (g->feeds != NULL)
		g->feeds->prev = f;
	g->feeds = f;
	return 0;
}

/* An empty group that is dirty is still in the list of dirty ones: the message's handler frees it. */
static void
drop_group(struct table *t, struct group *g)
{
	int gone;

	pthread_mutex_lock(&t->lock);
	gone = !g->dirty;
	if (gone)
		*slot(t, g->incarnation) = g->hash_next;
	pthread_mutex_unlock(&t->lock);
	if (t->shared_group == g)
		t->shared_group = NULL;
	if (gone)
		free(g);
}

static void
post_locked(struct table *t)
{
	if (!t->posted) {
		t->posted = 1;
		http_post(t->thread, &t->msg);
	}
}

void
feeds_moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct api *api = cookie;
	struct table *t;
	struct group *g;
	unsigned i;

	(void)name;
	if (api->feeds == NULL)
		return;
	for (i = 0; i < api->feeds->n; i++) {
		t = &api->feeds->tables[i];
		pthread_mutex_lock(&t->lock);
		g = *slot(t, incarnation);
		if (g != NULL) {
			g->seq = dropped ? UINT64_MAX : seq > g->seq ? seq : g->seq;
			if (!g->dirty) {
				g->dirty = 1;
				g->dirty_next = t->dirty;
				t->dirty = g;
			}
			post_locked(t);
		}
		pthread_mutex_unlock(&t->lock);
	}
}

/* ---- The run queue ---- */

static void
enqueue(struct feed *f)
{
	struct table *t = f->table;

	if (f->queued)
		return;
	f->queued = 1;
	f->run_next = NULL;
	f->run_prev = t->run_last;
	if (t->run_last != NULL)
		t->run_last->run_next = f;
	else
		t->run_first = f;
	t->run_last = f;
}

static void
dequeue(struct feed *f)
{
	struct table *t = f->table;

	if (!f->queued)
		return;
	f->queued = 0;
	if (f->run_prev != NULL)
		f->run_prev->run_next = f->run_next;
	else
		t->run_first = f->run_next;
	if (f->run_next != NULL)
		f->run_next->run_prev = f->run_prev;
	else
		t->run_last = f->run_prev;
}

/* ---- The heap of intervals ---- */

static void
heap_put(struct table *t, size_t i, struct due d)
{
	t->heap[i] = d;
	d.feed->heap_index = (uint32_t)i;
}

static void
heap_sift(struct table *t, size_t i)
{
	struct due d = t->heap[i];
	size_t child;

	for (; i > 0 && t->heap[(i - 1) / 2].ms > d.ms; i = (i - 1) / 2)
		heap_put(t, i, t->heap[(i - 1) / 2]);
	for (; (child = 2 * i + 1) < t->nheap; i = child) {
		if (child + 1 < t->nheap && t->heap[child + 1].ms < t->heap[child].ms)
			child++;
		if (t->heap[child].ms >= d.ms)
			break;
		heap_put(t, i, t->heap[child]);
	}
	heap_put(t, i, d);
}

/* A heartbeat comes rather early, an end rather late. */
static uint64_t
due_of(const struct feed *f)
{
	uint64_t ms = f->active_ms + f->interval_ms;

	if (f->interval_ms < COARSE_FROM_MS)
		return ms;
	return (f->heartbeat ? ms : ms + COARSE_MS - 1) / COARSE_MS * COARSE_MS;
}

static void
set_timer(struct table *t)
{
	uint64_t now = t->api->ex->now_ms(t->api->ex);

	if (t->nheap == 0)
		http_timer_cancel(t->timer);
	else
		http_timer_set(t->timer, t->heap[0].ms > now ? t->heap[0].ms - now : 0);
}

static int
heap_add(struct feed *f)
{
	struct table *t = f->table;
	size_t cap = t->heap_cap == 0 ? HEAP_FIRST : t->heap_cap * 2;
	struct due *more;

	if (t->nheap == t->heap_cap) {
		more = realloc(t->heap, cap * sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		t->heap = more;
		t->heap_cap = cap;
	}
	t->heap[t->nheap] = (struct due){due_of(f), f};
	heap_sift(t, t->nheap++);
	if (f->heap_index == 0)
		set_timer(t);
	return 0;
}

static void
heap_remove(struct feed *f)
{
	struct table *t = f->table;
	size_t i = f->heap_index;

	if (i >= t->nheap || t->heap[i].feed != f)
		return;
	t->nheap--;
	if (i < t->nheap) {
		heap_put(t, i, t->heap[t->nheap]);
		heap_sift(t, i);
	}
	/*
	 * A top that went is only looked at when the timer fires, but the last one takes the timer
	 * with it.
	 */
	if (t->nheap == 0) {
		http_timer_cancel(t->timer);
		free(t->heap);
		t->heap = NULL;
		t->heap_cap = 0;
	}
}

/* ---- Serving ---- */

static void
leave(struct feed *f)
{
	struct group *g = f->group;

	if (g == NULL)
		return;
	dequeue(f);
	heap_remove(f);
	if (f->prev != NULL)
		f->prev->next = f->next;
	else
		g->feeds = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	f->group = NULL;
	if (g->feeds == NULL)
		drop_group(f->table, g);
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
			enqueue(f);
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
		enqueue(f);
	}
}

static int
has_work(const struct feed *f)
{
	return f->more || f->seen < f->group->known;
}

static void
repost(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	post_locked(t);
	pthread_mutex_unlock(&t->lock);
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
		dequeue(f);
		serve(f);
	}
	use_buffer(t);
	if (t->run_first != NULL)
		repost(t);
}

static void
on_message(void *arg)
{
	struct table *t = arg;
	struct group *g, *next;
	struct feed *f;
	struct group *empty = NULL;

	pthread_mutex_lock(&t->lock);
	t->posted = 0;
	g = t->dirty;
	t->dirty = NULL;
	for (struct group *d = g; d != NULL; d = d->dirty_next) {
		d->dirty = 0;
		d->known = d->seq;
		if (d->feeds == NULL)
			*slot(t, d->incarnation) = d->hash_next;
	}
	/*
	 * A group that is not dirty any more may be marked again at once, which writes dirty_next:
	 * leave the lock behind the walk.
	 */
	for (; g != NULL; g = next) {
		next = g->dirty_next;
		if (g->feeds == NULL) {
			g->dirty_next = empty;
			empty = g;
			continue;
		}
		for (f = g->feeds; f != NULL; f = f->next) {
			if (has_work(f))
				enqueue(f);
		}
	}
	pthread_mutex_unlock(&t->lock);
	for (; empty != NULL; empty = next) {
		next = empty->dirty_next;
		free(empty);
	}
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
	} else if (has_work(f)) {
		enqueue(f);
		repost(t);
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
	t->heap[f->heap_index].ms = due_of(f);
	heap_sift(t, f->heap_index);
}

static void
on_timer(void *arg)
{
	struct table *t = arg;
	uint64_t now = t->api->ex->now_ms(t->api->ex);
	unsigned n = 0;

	while (t->nheap > 0 && t->heap[0].ms <= now && n++ < TIMER_BATCH) {
		struct feed *f = t->heap[0].feed;

		if (due_of(f) > now) {
			/* It sent something meanwhile. */
			t->heap[0].ms = due_of(f);
			heap_sift(t, 0);
		} else {
			interval_over(f, now);
		}
	}
	set_timer(t);
}

static void
on_shutdown(void *arg)
{
	struct table *t = arg;
	size_t i;

	t->stopping = 1;
	use_buffer(t);
	for (i = 0; i < BUCKETS; i++) {
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
		enqueue(f);
		repost(t);
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
		err = join(f);
	}
	if (err == 0 && (err = heap_add(f)) != 0)
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
	t->thread = http_server_thread(api->server, i);
	t->msg.fn = on_message;
	t->msg.arg = t;
	buf_init(&t->b, ROWS_BATCH_MAX);
	if (pthread_mutex_init(&t->lock, NULL) != 0)
		return ERR_NOMEM;
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
	struct group *g, *next;
	size_t i;

	for (i = 0; i < BUCKETS; i++) {
		for (g = t->buckets[i]; g != NULL; g = next) {
			next = g->hash_next;
			free(g);
		}
	}
	if (t->timer != NULL)
		http_timer_free(t->timer);
	arena_free(t->scratch);
	buf_release(&t->b);
	free(t->heap);
	pthread_mutex_destroy(&t->lock);
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
