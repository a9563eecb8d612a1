/*
 * feedtable.c: which feeds are to be served when.
 *
 * Each HTTP thread has a table of groups, one for each database that it has feeds of.
 * A commit marks the group dirty in every table that has it and posts one message per thread; what
 * else is committed until the thread gets to it joins that message.  Intervals are kept in a heap, and one
 * timer is set for its top: no feed, no timer.
 *
 * A group is found by the database's name, so that no file needs to be open for it.  Where the database is dropped
 * its group leaves the buckets: the next one of that name has another.
 *
 * Invariants:
 * 1. A waiting feed has seen >= its group's known, or is in the run queue.
 * 2. Groups, their seq, dirty and gone, the buckets, and posted are guarded by the lock; all else is the thread's own.
 * 3. A group without feeds is freed by who finds it so, unless it is dirty: then by the message's handler.
 */
#include "feedtable.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64u
#define COARSE_FROM_MS 2000u /* intervals from here on are met on a grid, so that wake-ups are shared */
#define COARSE_MS 250u

/* ---- Groups ---- */

uint32_t
feedtable_hash(const char *name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h ^ h >> 15;
}

static struct group **
slot(struct table *t, const char *name, uint32_t hash)
{
	struct group **p = &t->buckets[hash & (t->nbuckets - 1)];

	while (*p != NULL && ((*p)->hash != hash || strcmp((*p)->name, name) != 0))
		p = &(*p)->hash_next;
	return p;
}

/* Without memory the chains stay longer. */
static void
grow(struct table *t)
{
	size_t i, n = t->nbuckets * 2;
	struct group **more = calloc(n, sizeof(struct group *)), *g;

	if (more == NULL)
		return;
	for (i = 0; i < t->nbuckets; i++) {
		while ((g = t->buckets[i]) != NULL) {
			t->buckets[i] = g->hash_next;
			g->hash_next = more[g->hash & (n - 1)];
			more[g->hash & (n - 1)] = g;
		}
	}
	free(t->buckets);
	t->buckets = more;
	t->nbuckets = n;
}

static struct group *
add_group(struct table *t, const char *name, uint32_t hash)
{
	size_t size = strlen(name) + 1;
	struct group *g = calloc(1, sizeof(*g) + size), **p;

	if (g == NULL)
		return NULL;
	memcpy(g->name, name, size);
	g->hash = hash;
	if (t->ngroups++ >= t->nbuckets)
		grow(t);
	p = &t->buckets[hash & (t->nbuckets - 1)];
	g->hash_next = *p;
	*p = g;
	return g;
}

static void
unlink_group(struct table *t, struct group *g)
{
	if (g->gone)
		return;
	*slot(t, g->name, g->hash) = g->hash_next;
	g->gone = 1;
	t->ngroups--;
}

int
feedtable_join(struct feed *f, const char *name)
{
	struct table *t = f->table;
	uint32_t hash = feedtable_hash(name);
	struct group *g;

	pthread_mutex_lock(&t->lock);
	g = *slot(t, name, hash);
	if (g == NULL)
		g = add_group(t, name, hash);
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
		unlink_group(t, g);
	pthread_mutex_unlock(&t->lock);
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
feedtable_post(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	post_locked(t);
	pthread_mutex_unlock(&t->lock);
}

void
feedtable_moved(struct table *t, const char *name, uint32_t hash, uint64_t seq, int dropped)
{
	struct group *g;

	pthread_mutex_lock(&t->lock);
	g = *slot(t, name, hash);
	if (g != NULL) {
		g->seq = dropped ? UINT64_MAX : seq > g->seq ? seq : g->seq;
		if (dropped)
			unlink_group(t, g);
		if (!g->dirty) {
			g->dirty = 1;
			g->dirty_next = t->dirty;
			t->dirty = g;
		}
		post_locked(t);
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- The run queue ---- */

void
feedtable_enqueue(struct feed *f)
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

void
feedtable_dequeue(struct feed *f)
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

struct feed *
feedtable_in_bucket(struct table *t, size_t i)
{
	const struct group *g;

	/* Who drops a database changes the chain. */
	pthread_mutex_lock(&t->lock);
	for (g = t->buckets[i]; g != NULL && g->feeds == NULL; g = g->hash_next)
		;
	pthread_mutex_unlock(&t->lock);
	return g != NULL ? g->feeds : NULL;
}

int
feedtable_has_work(const struct feed *f)
{
	return f->more || f->seen < f->group->known;
}

void
feedtable_collect(struct table *t)
{
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
			unlink_group(t, d);
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
			if (feedtable_has_work(f))
				feedtable_enqueue(f);
		}
	}
	pthread_mutex_unlock(&t->lock);
	for (; empty != NULL; empty = next) {
		next = empty->dirty_next;
		free(empty);
	}
}

/* ---- Intervals ---- */

int
feedtable_is_stuck(const struct feed *f, uint64_t now)
{
	return f->in_flight && now - f->sent_ms >= f->table->stuck_ms;
}

/* A heartbeat comes rather early, an end rather late. */
uint64_t
feedtable_due(const struct feed *f)
{
	/* Without an interval it ends with the rows, and only has to get rid of them. */
	uint64_t ms = f->active_ms + (f->interval_ms > 0 ? f->interval_ms : f->table->stuck_ms);

	if (f->in_flight && f->sent_ms + f->table->stuck_ms < ms)
		return f->sent_ms + f->table->stuck_ms;
	if (f->interval_ms < COARSE_FROM_MS)
		return ms;
	return (f->heartbeat ? ms : ms + COARSE_MS - 1) / COARSE_MS * COARSE_MS;
}

struct feed *
feedtable_over(const struct table *t, uint64_t now)
{
	struct heap_place *p = heap_first(&t->intervals);

	return p != NULL && p->key <= now ? (struct feed *)((char *)p - offsetof(struct feed, interval)) : NULL;
}

void
feedtable_set_timer(struct table *t)
{
	const struct heap_place *p = heap_first(&t->intervals);
	uint64_t now = t->api->ex->now_ms(t->api->ex);

	if (p == NULL)
		http_timer_cancel(t->timer);
	else
		http_timer_set(t->timer, p->key > now ? p->key - now : 0);
}

int
feedtable_time(struct feed *f)
{
	struct table *t = f->table;

	if (heap_reserve(&t->intervals, t->intervals.n + 1) != 0)
		return ERR_NOMEM;
	heap_add(&t->intervals, &f->interval, feedtable_due(f));
	if (heap_first(&t->intervals) == &f->interval)
		feedtable_set_timer(t);
	return 0;
}

/* A first one that went is only looked at when the timer fires, but the last one takes the timer with it. */
static void
untime(struct feed *f)
{
	struct table *t = f->table;

	if (f->interval.at == 0)
		return;
	heap_remove(&f->interval);
	if (t->intervals.n == 0) {
		http_timer_cancel(t->timer);
		heap_release(&t->intervals);
	}
}

int
feedtable_retime(struct feed *f)
{
	struct heap *intervals = &f->table->intervals;

	heap_remove(&f->interval);
	heap_add(intervals, &f->interval, feedtable_due(f));
	return heap_first(intervals) == &f->interval;
}

/* ---- Leaving ---- */

int
feedtable_leave(struct feed *f)
{
	struct group *g = f->group;

	feedtable_dequeue(f);
	untime(f);
	if (g == NULL)
		return 0;
	if (f->prev != NULL)
		f->prev->next = f->next;
	else
		g->feeds = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	f->group = NULL;
	if (g->feeds != NULL)
		return 0;
	drop_group(f->table, g);
	return 1;
}

/* ---- Set-up ---- */

int
feedtable_init(struct table *t, struct http_thread *thread, void (*on_message)(void *arg))
{
	t->thread = thread;
	t->msg.fn = on_message;
	t->msg.arg = t;
	t->nbuckets = BUCKETS_FIRST;
	t->buckets = calloc(t->nbuckets, sizeof(struct group *));
	if (t->buckets == NULL)
		return ERR_NOMEM;
	return pthread_mutex_init(&t->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

void
feedtable_release(struct table *t)
{
	struct group *g, *next;
	size_t i;

	if (t->buckets == NULL)
		return;
	/* Of those that are in no bucket any more only the dirty ones are still there. */
	for (g = t->dirty; g != NULL; g = next) {
		next = g->dirty_next;
		if (g->gone)
			free(g);
	}
	for (i = 0; i < t->nbuckets; i++) {
		for (g = t->buckets[i]; g != NULL; g = next) {
			next = g->hash_next;
			free(g);
		}
	}
	free(t->buckets);
	heap_release(&t->intervals);
	pthread_mutex_destroy(&t->lock);
}
