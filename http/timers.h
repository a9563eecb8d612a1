/*
 * timers.h: the timers of one event loop; behind http_timer_*() of http.h.  Private to
 * the engine.
 */
#ifndef HTTP_TIMERS_H_
#define HTTP_TIMERS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/heap.h"
#include "http/http.h"

struct http_timer {
	struct heap_place
	    place; /* first; the key: when it is due, in monotonic milliseconds; the heap: its timers', always */
	void (*fn)(void *arg);
	void *arg;
};

/* Timers of one loop.  There is room for all that exist, so that setting never fails. */
struct timers {
	struct heap heap; /* first */
	size_t exist;
};

int timers_add(struct timers *h, struct http_timer *t, void (*fn)(void *arg), void *arg) MUST_CHECK;
void timers_remove(struct http_timer *t);
/** timers_is_set(t): 1 from http_timer_set() on until it is taken out or cancelled. */
int timers_is_set(const struct http_timer *t);
/** timers_left(t): Milliseconds until it is due; UINT64_MAX: it is not set. */
uint64_t timers_left(const struct http_timer *t);
/** timers_wait(h): Milliseconds until the next is due, at most INT32_MAX. */
int32_t timers_wait(const struct timers *h);
/** timers_next(h): Take out a timer that is due, or NULL. */
struct http_timer *timers_next(struct timers *h, uint64_t now_ms);
uint64_t timers_now(void);
void timers_release(struct timers *h);

#endif
