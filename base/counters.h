/* counters.h: what has been counted since the start, for monitoring: a counter costs a thread-local addition. */
#ifndef BASE_COUNTERS_H_
#define BASE_COUNTERS_H_

#include <stdint.h>

/* X(name): what each counts stands in httpapi/stats.c. */
#define COUNTER_LIST(X)  \
	X(REQUESTS)      \
	X(BULK)          \
	X(VIEW_READS)    \
	X(ABORTED)       \
	X(AUTH_HITS)     \
	X(AUTH_MISSES)   \
	X(AUTH_FAILED)   \
	X(HASH_FAST)     \
	X(HASH_SLOW)     \
	X(DB_OPENS)      \
	X(COMMITS)       \
	X(DOC_READS)     \
	X(DOC_WRITES)    \
	X(LOCAL_WRITES)  \
	X(PURGES)        \
	X(BYTES_OUT)     \
	X(TIME_US)       \
	X(GET)           \
	X(HEAD)          \
	X(PUT)           \
	X(POST)          \
	X(DELETE)        \
	X(COPY)          \
	X(OPTIONS)       \
	X(OTHER)         \
	X(SCRIPT_ASKED)  \
	X(SCRIPT_FAILED) \
	X(VDU_REJECTS)

enum counter {
#define COUNTER_ENUM(name) COUNTER_##name,
	COUNTER_LIST(COUNTER_ENUM)
#undef COUNTER_ENUM
	    COUNTER_STATUS,                   /* and by HTTP status: the ones from 100 to 599 */
	COUNTER_TIMES = COUNTER_STATUS + 500, /* requests by time: below 2^(i + 1) us */
	COUNTER_MAX = COUNTER_TIMES + 40
};

/** counters_add(which, n): Add ${n}.  Any thread; never fails: without memory a thread counts nothing. */
void counters_add(unsigned which, uint64_t n);
/** counters_get(which): The sum of all threads. */
uint64_t counters_get(unsigned which);

#endif
