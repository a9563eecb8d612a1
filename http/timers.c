/*
 * timers.c: a binary heap of timers.  h2o's own timeouts are lists of one duration
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

static void
put(struct timers *h, size_t at, struct http_timer *t)
{
	h->slot[at] = t;
	t->at = at;
}

static void
sift_up(struct timers *h, struct http_timer *t, size_t at)
{
	for (; at > 1 && h->slot[at / 2]->due_ms > t->due_ms; at /= 2)
		put(h, at, h->slot[at / 2]);
	put(h, at, t);
}

static void
sift_down(struct timers *h, struct http_timer *t, size_t at)
{
	size_t child;

	for (; (child = 2 * at) <= h->n; at = child) {
		if (child < h->n && h->slot[child + 1]->due_ms < h->slot[child]->due_ms)
			child++;
		if (h->slot[child]->due_ms >= t->due_ms)
			break;
		put(h, at, h->slot[child]);
	}
	put(h, at, t);
}

int
timers_add(struct timers *h, struct http_timer *t, void (*fn)(void *arg), void *arg)
{
	if (h->exist == h->room) {
		size_t room = h->room > 0 ? 2 * h->room : 16;
		struct http_timer **slot = realloc(h->slot, (room + 1) * sizeof(*slot));

		if (slot == NULL)
			return ERR_NOMEM;
		h->slot = slot;
		h->room = room;
	}
	h->exist++;
	*t = (struct http_timer){.heap = h, .fn = fn, .arg = arg};
	return 0;
}

void
timers_remove(struct http_timer *t)
{
	http_timer_cancel(t);
	assert(t->heap->exist > 0);
	t->heap->exist--;
}

void
http_timer_cancel(struct http_timer *t)
{
	struct timers *h = t->heap;
	size_t at = t->at;
	struct http_timer *last;

	if (at == 0)
		return;
	t->at = 0;
	last = h->slot[h->n--];
	if (last == t)
		return;
	if (at > 1 && h->slot[at / 2]->due_ms > last->due_ms)
		sift_up(h, last, at);
	else
		sift_down(h, last, at);
}

void
http_timer_set(struct http_timer *t, uint64_t ms)
{
	struct timers *h = t->heap;

	http_timer_cancel(t);
	assert(h->n < h->room);
	t->due_ms = timers_now() + ms;
	h->n++;
	sift_up(h, t, h->n);
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
	uint64_t now, due;

	if (h->n == 0)
		return INT32_MAX;
	now = timers_now();
	due = h->slot[1]->due_ms;
	if (due <= now)
		return 0;
	return due - now < INT32_MAX ? (int32_t)(due - now) : INT32_MAX;
}

struct http_timer *
timers_next(struct timers *h, uint64_t now_ms)
{
	struct http_timer *t;

	if (h->n == 0 || h->slot[1]->due_ms > now_ms)
		return NULL;
	t = h->slot[1];
	http_timer_cancel(t);
	return t;
}

void
timers_release(struct timers *h)
{
	free(h->slot);
	*h = (struct timers){0};
}
