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
#include "base/heap.h"
#include "httpapi/api.h"
#include "httpapi/feedshare.h"

/* "_db_updates" is no database's name. */
#define FEEDTABLE_UPDATES "_db_updates"

struct feed;

/* What a kind of feed does: changefeeds.c and updatefeeds.c. */
struct feed_kind {
	/* Append what stands before the first row, and the rows of one turn; as fill. */
	int (*begin)(struct feed *f, struct buf *b);
	/*
	 * The rows of one turn of the event loop, in *${bp}, which is the table's: 0 if there may be more, ERR_END at the end
	 * and at the limit, ERR_AGAIN where wait() comes before there can be more; f->seen is set.  Other errors end the feed.
	 */
	int (*fill)(struct feed *f, struct buf **bp);
	/* Begin what fill needs; calls feeds_waited(f) on the feed's thread, and holds the request until then. */
	void (*wait)(struct feed *f);
	/* 1 if no row may follow those that were written. */
	int (*is_over)(const struct feed *f);
	/* Append the last line. */
	void (*tail)(struct feed *f, struct buf *b);
	/* The text that shows that the feed is alive. */
	const char *(*heartbeat)(const struct feed *f);
};

/* How a feed ends before its rows have ended. */
enum feed_early {
	FEED_EARLY_BARE,   /* without its last line, where it fails: each row stands for itself */
	FEED_EARLY_CLOSED, /* with its last line: without it the text is not complete */
	FEED_EARLY_CUT     /* cut off: its last line would say that these are all rows */
};

/* The first member of what a kind keeps of a feed. */
struct feed {
	struct feed *prev, *next;         /* in the group */
	struct feed *run_prev, *run_next; /* in the run queue */
	struct group *group;              /* NULL: it has left */
	struct table *table;
	const struct feed_kind *kind;
	struct apireq *r;
	uint64_t seen;              /* the sequence that it has looked up to */
	uint64_t active_ms;         /* when it last sent something or began to wait */
	uint64_t sent_ms;           /* when what is in flight was sent */
	struct heap_place interval; /* in its table's; the key: when it was last known to end */
	uint32_t interval_ms;
	enum feed_early early;
	uint8_t heartbeat;
	uint8_t started; /* the head is out */
	uint8_t more;    /* its last turn ended before the rows did */
	uint8_t queued;
	uint8_t in_flight; /* on_ready() will come */
	uint8_t ending;    /* left; its last line waits for the client */
	uint8_t waiting;   /* feeds_waited() will come */
};

/* The feeds of one database in one thread. */
struct group {
	struct group *hash_next;
	struct group *dirty_next;
	uint64_t seq;   /* the newest that feedtable_moved() told; UINT64_MAX: dropped */
	uint64_t known; /* the same as the thread knows it */
	struct feed *feeds;
	uint32_t hash;
	uint8_t dirty;
	uint8_t gone; /* dropped, and so in no bucket */
	char name[];
};

/* One HTTP thread's. */
struct table {
	struct api *api;
	struct http_thread *thread;
	struct http_timer *timer;
	struct arena *scratch;
	struct buf b; /* what is for one feed alone */
	struct heap intervals;
	struct feed *run_first, *run_last;
	int stopping;
	uint32_t stuck_ms;        /* a feed whose client took nothing for so long is dropped */
	struct feedshares shares; /* of this turn */
	/* Guarded by the lock. */
	pthread_mutex_t lock;
	struct http_msg msg;
	int posted;
	struct group *dirty;
	struct group **buckets;
	size_t nbuckets; /* power of two */
	size_t ngroups;  /* in them */
};

/**
 * feedtable_init(t, thread, on_message): ${t} is zeroed; ${on_message}(t) is run on ${thread} after something moved or
 * feedtable_post().  Errors: ERR_NOMEM.  feedtable_release(t): What init and the calls below made; no feed is left.
 */
int feedtable_init(struct table *t, struct http_thread *thread, void (*on_message)(void *arg)) MUST_CHECK;
void feedtable_release(struct table *t);

/**
 * feedtable_join(f, name): Into the group of database ${name}, which its table then wakes it with; before its first
 * snapshot.  Errors: ERR_NOMEM.
 */
int feedtable_join(struct feed *f, const char *name) MUST_CHECK;
/**
 * feedtable_leave(f): Out of group, queue and intervals.  1 if no feed is left in the group: it may be gone.
 * May be called again.
 */
int feedtable_leave(struct feed *f);

/** feedtable_moved(t, name, hash, seq, dropped): The database moved on; ${hash} is feedtable_hash(name).  Any thread. */
uint32_t feedtable_hash(const char *name);
void feedtable_moved(struct table *t, const char *name, uint32_t hash, uint64_t seq, int dropped);
/** feedtable_post(t): Have on_message() run.  feedtable_collect(t): In it: queue the feeds of what has moved. */
void feedtable_post(struct table *t);
void feedtable_collect(struct table *t);
/** feedtable_in_bucket(t, i): A feed of a group in bucket ${i}; NULL: none is left there. */
struct feed *feedtable_in_bucket(struct table *t, size_t i);
/** feedtable_has_work(f): 1 if there may be rows that ${f} has not seen. */
int feedtable_has_work(const struct feed *f);

/** feedtable_enqueue(f), feedtable_dequeue(f): To the end of the run queue, once; out of it. */
void feedtable_enqueue(struct feed *f);
void feedtable_dequeue(struct feed *f);

/**
 * feedtable_time(f): Take ${f} into the intervals, from its active_ms on.  Errors: ERR_NOMEM.  feedtable_retime(f): One
 * that is there: active_ms has changed.  1 if it is the first now, which the timer is not set to yet.
 */
int feedtable_time(struct feed *f) MUST_CHECK;
int feedtable_retime(struct feed *f);
/**
 * feedtable_due(f): When its interval ends, or it is taken to be stuck.  feedtable_is_stuck(f, now): What it was sent
 * did not go out for too long.  feedtable_over(t, now): The first whose interval was over by ${now} when it was last
 * retimed; or NULL.  feedtable_set_timer(t): ${t}'s timer to the first end.
 */
uint64_t feedtable_due(const struct feed *f);
int feedtable_is_stuck(const struct feed *f, uint64_t now);
struct feed *feedtable_over(const struct table *t, uint64_t now);
void feedtable_set_timer(struct table *t);

#endif
