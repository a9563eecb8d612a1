/*
 * room.c: the memory of requests in flight, as one sum with a share.
 *
 * Each body is bounded, and so is each connection; together they were not.  What a request will come to hold is about
 * proportional to the body that it brings (COST): the bytes, the document as text and as a term, what is written.
 * So a request takes that much before its body is read, and who does not find it waits in a queue, for a bounded time.
 *
 * 1. held <= share, but for what is added in any case: arenas that outgrew what was taken for them.  That has a bound of its own
 *    (server_room_most()).
 * 2. parked <= share / 2: what has come of requests that hold nothing yet.  Who does not fit there is refused at once.
 * 3. Whoever finds that nobody else has taken anything gets what it asks for: a large request cannot wait for ever
 *    for room that will never be.  It asks for half of the share at most (server_room_cost()), so small ones go on.
 * 4. The queue is served from its beginning alone: who is large is not passed by until its room is gone again.
 * 5. give() looks at ${waiting} after it has subtracted; queue() looks at ${held} after it has counted itself: one of them
 *    sees the other.
 * 6. owed is apart: answers that nobody takes leave what requests need alone.  They are looked at when they have been made, so by
 *    several threads at once a little more may be owed than fits.
 */
#include "http/room.h"

#include <assert.h>
#include <string.h>

#define COST 4u                       /* bytes for each of a body */
#define COST_MIN ((uint64_t)16 << 10) /* of a request with a small one */
#define SMALL ((uint64_t)256 << 10)   /* what may take the last quarter of the share */
#define ALONE ((uint64_t)256 << 20)   /* what one request may come to hold, however small the share */
#define MUCH ((uint64_t)8 << 20)      /* that was held: worth giving back to the system */

void
server_room_init(struct server_room *m, uint64_t share)
{
	memset(m, 0, sizeof(*m));
	m->share = share;
	m->last = &m->first;
	(void)pthread_mutex_init(&m->lock, NULL);
}

void
server_room_release(struct server_room *m)
{
	assert(m->first == NULL);
	(void)pthread_mutex_destroy(&m->lock);
}

uint64_t
server_room_cost(const struct server_room *m, uint64_t n)
{
	uint64_t most = m->share / 2, cost = n < UINT64_MAX / (2 * COST) ? COST_MIN + COST * n : UINT64_MAX;

	return cost < most || most == 0 ? cost : most;
}

static uint64_t
in_all(const struct server_room *m)
{
	return atomic_load_explicit(&m->held, memory_order_relaxed) +
	       atomic_load_explicit(&m->parked, memory_order_relaxed) +
	       atomic_load_explicit(&m->owed, memory_order_relaxed);
}

static void
note_peak(struct server_room *m)
{
	uint64_t now = in_all(m);
	uint64_t peak = atomic_load_explicit(&m->peak, memory_order_relaxed);

	/* Whoever is passed by another here had less, or nearly as much. */
	if (now > peak)
		atomic_store_explicit(&m->peak, now, memory_order_relaxed);
}

/* Adds ${n} to *${sum} unless that makes it more than ${max}. */
static int
add_within(_Atomic uint64_t *sum, uint64_t n, uint64_t max)
{
	uint64_t was = atomic_load(sum);

	do
		if (n > max || was > max - n)
			return 0;
	while (!atomic_compare_exchange_weak(sum, &was, was + n));
	return 1;
}

static int
take(struct server_room *m, uint64_t n)
{
	uint64_t max = m->share == 0 ? UINT64_MAX : n <= SMALL ? m->share : m->share - m->share / 4;

	if (!add_within(&m->held, n, max)) {
		if (atomic_load(&m->takers) > 0)
			return 0;
		atomic_fetch_add(&m->held, n);
	}
	atomic_fetch_add(&m->takers, 1);
	note_peak(m);
	return 1;
}

int
server_room_take(struct server_room *m, uint64_t n)
{
	if (n > SMALL && atomic_load_explicit(&m->waiting, memory_order_relaxed) > 0)
		return 0;
	return take(m, n);
}

static void
tell_first(struct server_room *m, int got)
{
	struct server_room_waiter *w = m->first;

	m->first = w->next;
	if (m->first == NULL)
		m->last = &m->first;
	atomic_fetch_sub(&m->waiting, 1);
	w->got = got;
	w->told(w);
}

static void
serve(struct server_room *m)
{
	(void)pthread_mutex_lock(&m->lock);
	while (m->first != NULL && take(m, m->first->bytes))
		tell_first(m, 1);
	(void)pthread_mutex_unlock(&m->lock);
}

void
server_room_give(struct server_room *m, uint64_t n)
{
	if (n > 0) {
		atomic_fetch_sub(&m->held, n);
		atomic_fetch_sub(&m->takers, 1);
	}
	if (atomic_load(&m->waiting) > 0)
		serve(m);
}

int
server_room_park(struct server_room *m, uint64_t was, uint64_t n)
{
	if (n <= was)
		atomic_fetch_sub_explicit(&m->parked, was - n, memory_order_relaxed);
	else if (!add_within(&m->parked, n - was, m->share == 0 ? UINT64_MAX : m->share / 2))
		return 0;
	else
		note_peak(m);
	return 1;
}

void
server_room_queue(struct server_room *m, struct server_room_waiter *w)
{
	w->next = NULL;
	(void)pthread_mutex_lock(&m->lock);
	*m->last = w;
	m->last = &w->next;
	atomic_fetch_add(&m->waiting, 1);
	(void)pthread_mutex_unlock(&m->lock);
	serve(m);
}

uint64_t
server_room_expire(struct server_room *m, uint64_t now_ms)
{
	uint64_t due = 0;

	(void)pthread_mutex_lock(&m->lock);
	while (m->first != NULL && m->first->due_ms <= now_ms)
		tell_first(m, 0);
	if (m->first != NULL)
		due = m->first->due_ms;
	(void)pthread_mutex_unlock(&m->lock);
	return due;
}

uint64_t
server_room_most(const struct server_room *m)
{
	return m->share > 0 && m->share < UINT64_MAX - ALONE ? m->share + ALONE : UINT64_MAX;
}

/* ---- Answers ---- */

void
server_room_owe(struct server_room *m, uint64_t n)
{
	atomic_fetch_add_explicit(&m->owed, n, memory_order_relaxed);
	note_peak(m);
}

void
server_room_paid(struct server_room *m, uint64_t n)
{
	atomic_fetch_sub_explicit(&m->owed, n, memory_order_relaxed);
}

uint64_t
server_room_debt(const struct server_room *m, uint64_t n)
{
	uint64_t most = server_room_most(m) / 8;

	return n < most ? n : most;
}

int
server_room_fits(const struct server_room *m, uint64_t n, uint64_t peer)
{
	uint64_t most = server_room_most(m), owed = atomic_load_explicit(&m->owed, memory_order_relaxed);

	n = server_room_debt(m, n);
	return owed <= most - n && peer <= most / 4 - n;
}

int
server_room_strained(const struct server_room *m, uint64_t peer)
{
	uint64_t most = server_room_most(m);

	return atomic_load_explicit(&m->owed, memory_order_relaxed) > most / 2 && peer > most / 8;
}

int
server_room_calm(struct server_room *m, int forget)
{
	uint64_t now = in_all(m);

	if (atomic_load_explicit(&m->peak, memory_order_relaxed) < MUCH || now > MUCH / 8)
		return 0;
	if (forget)
		atomic_store_explicit(&m->peak, now, memory_order_relaxed);
	return 1;
}
