/*
 * timers.c: timers in a heap.  h2o's own timeouts are lists of one duration
 * each; feeds ask for any.
 */
#include "timers.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

uint64_t
timers_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int
timers_add(struct timers *h, struct http_timer *t, void (*fn)(void *arg), void *arg)
{
	int err = heap_reserve(&h->heap, h->exist + 1);

	if (err != 0)
		return err;
	h->exist++;
	*t = (struct http_timer){.place.heap = &h->heap, .fn = fn, .arg = arg};
	return 0;
}

void
timers_remove(struct http_timer *t)
{
	struct timers *h = (struct timers *)t->place.heap;

	http_timer_cancel(t);
	assert(h->exist > 0);
	h->exist--;
}

int
timers_is_set(const struct http_timer *t)
{
	return t->place.at != 0;
}

/* until: From now on. */
static uint64_t
until(const struct heap_place *p)
{
	uint64_t now = timers_now();

	return p->key > now ? p->key - now : 0;
}

uint64_t
timers_left(const struct http_timer *t)
{
	return timers_is_set(t) ? until(&t->place) : UINT64_MAX;
}

void
http_timer_cancel(struct http_timer *t)
{
	heap_remove(&t->place);
}

void
http_timer_set(struct http_timer *t, uint64_t ms)
{
	heap_remove(&t->place);
	heap_add(t->place.heap, &t->place, timers_now() + ms);
}

void
http_timer_free(struct http_timer *t)
{
	if (t == NULL)
		return;
	timers_remove(t);
	free(t);
}

int32_t
timers_wait(const struct timers *h)
{
	const struct heap_place *first = heap_first(&h->heap);
	uint64_t wait = first != NULL ? until(first) : UINT64_MAX;

	return wait < INT32_MAX ? (int32_t)wait : INT32_MAX;
}

struct http_timer *
timers_next(struct timers *h, uint64_t now_ms)
{
	struct heap_place *first = heap_first(&h->heap);

	if (first == NULL || first->key > now_ms)
		return NULL;
	heap_remove(first);
	return (struct http_timer *)first;
}

void
timers_release(struct timers *h)
{
	heap_release(&h->heap);
	*h = (struct timers){.exist = 0};
}
