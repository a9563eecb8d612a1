/*
 * feedtable.h: one HTTP thread's open feeds, and which of them are to be served when.  Only feeds*.c see it.
 */
#ifndef HTTPAPI_FEEDTABLE_H_
#define HTTPAPI_FEEDTABLE_H_

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/feedscan.h"

#define FEEDTABLE_BUCKETS 256u /* power of two */
#define FEEDTABLE_SHARES 4u    /* forms whose rows are kept at a time */

struct feed {
	struct feed *prev, *next;         /* in the group */
	struct feed *run_prev, *run_next; /* in the run queue */
	struct group *group;              /* NULL: it has left */
	struct table *table;
	struct apireq *r;
	struct feedscan scan;
	uint64_t seen;      /* the update sequence that it has looked up to */
	uint64_t active_ms; /* when it last sent something or began to wait */
	uint64_t sent_ms;   /* when what is in flight was sent */
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

/* Rows that were just made, for the next feed that stands at the same place and wants the same form. */
struct share {
	struct group *group; /* NULL: none */
	struct feedscan before, after;
	uint64_t seq;
	int err;
	struct buf b;
};

/* One HTTP thread's. */
struct table {
	struct api *api;
	struct http_thread *thread;
	struct http_timer *timer;
	struct arena *scratch;
	struct buf b; /* what is for one feed alone */
	struct due *heap;
	size_t nheap, heap_cap;
	struct feed *run_first, *run_last;
	int stopping;
	uint32_t stuck_ms;                     /* a feed whose client took nothing for so long is dropped */
	struct share shares[FEEDTABLE_SHARES]; /* of this turn */
	unsigned next_share;
	/* Guarded by the lock. */
	pthread_mutex_t lock;
	struct http_msg msg;
	int posted;
	struct group *dirty;
	struct group *buckets[FEEDTABLE_BUCKETS];
};

/**
 * feedtable_init(t, thread, on_message): ${t} is zeroed; ${on_message}(t) is run on ${thread} after something moved or
 * feedtable_post().  Errors: ERR_NOMEM.  feedtable_release(t): What init and the calls below made; no feed is left.
 */
int feedtable_init(struct table *t, struct http_thread *thread, void (*on_message)(void *arg)) MUST_CHECK;
void feedtable_release(struct table *t);

/**
 * feedtable_join(f): Into the group of its database, which its table then wakes it with; before its first snapshot.
 * Errors: ERR_NOMEM.
 */
int feedtable_join(struct feed *f) MUST_CHECK;
/**
 * feedtable_leave(f): Out of group, queue and intervals.  1 if no feed is left in the group: it may be gone.
 * May be called again.
 */
int feedtable_leave(struct feed *f);

/** feedtable_moved(t, incarnation, seq, dropped): The database moved on.  Any thread. */
void feedtable_moved(struct table *t, uint64_t incarnation, uint64_t seq, int dropped);
/** feedtable_post(t): Have on_message() run.  feedtable_collect(t): In it: queue the feeds of what has moved. */
void feedtable_post(struct table *t);
void feedtable_collect(struct table *t);
/** feedtable_has_work(f): 1 if there may be rows that ${f} has not seen. */
int feedtable_has_work(const struct feed *f);

/** feedtable_enqueue(f), feedtable_dequeue(f): To the end of the run queue, once; out of it. */
void feedtable_enqueue(struct feed *f);
void feedtable_dequeue(struct feed *f);

/**
 * feedtable_time(f): Take ${f} into the intervals, from its active_ms on.  feedtable_retime(f): active_ms has changed.
 * Errors: ERR_NOMEM.
 */
int feedtable_time(struct feed *f) MUST_CHECK;
void feedtable_retime(struct feed *f);
/**
 * feedtable_due(f): When its interval ends, or it is taken to be stuck.  feedtable_is_stuck(f, now): What it was sent
 * did not go out for too long.  feedtable_set_timer(t): ${t}'s timer to the first of them.
 */
uint64_t feedtable_due(const struct feed *f);
int feedtable_is_stuck(const struct feed *f, uint64_t now);
void feedtable_set_timer(struct table *t);

#endif
