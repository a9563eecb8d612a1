/*
 * timers.h: a heap of timers, one per event loop; behind http_timer_*() of http.h.  Private to
 * the engine.
 */
#ifndef HTTP_TIMERS_H_
#define HTTP_TIMERS_H_

#include <stddef.h>
#include <stdint.h>
#include "http/http.h"

/* A timer; in a heap while it is set. */
struct http_timer {
	struct timers *heap;
	void (*fn)(void *arg);
	void *arg;
	uint64_t due_ms; /* monotonic */
	size_t at;       /* place in the heap counted from 1; 0: not set */
};

/*
 * Timers of one loop, the next one due at slot[1].  room is at least the number of timers that
 * exist, so that setting never fails.
 */
struct timers {
	struct http_timer **slot;
	size_t n;
	size_t room;
	size_t exist;
};

int timers_add(struct timers *h, struct http_timer *t, void (*fn)(void *arg), void *arg) MUST_CHECK;
void timers_remove(struct http_timer *t);
/** timers_wait(h): Milliseconds until the next is due, at most INT32_MAX. */
int32_t timers_wait(const struct timers *h);
/** timers_next(h): Take out a timer that is due, or NULL. */
struct http_timer *timers_next(struct timers *h, uint64_t now_ms);
uint64_t timers_now(void);
void timers_release(struct timers *h);

#endif
