/* fail.h: what a program under torture (fail.c) and the one that runs it (lib.mjs) share: a file, mapped by both. */
#ifndef TESTS_TORTURE_FAIL_H_
#define TESTS_TORTURE_FAIL_H_

#include <stdint.h>

/* Sorts of calls that may fail. */
enum fail_sort { FAIL_ALLOC, FAIL_FILE, FAIL_STORE, FAIL_OTHER };

#define FAIL_FRAMES 12
#define FAIL_POINTS (1u << 17)

/* A place from which a call can fail: what called it, and what called that. */
struct fail_point {
	uint64_t hash; /* 0: free */
	uint32_t turn; /* of which `seen` tells */
	uint32_t seen; /* how often it was passed in this turn */
	uint32_t done; /* it has failed */
	uint32_t pad;
};

/* All numbers are those of the machine.  lib.mjs knows the offsets of the first part. */
struct fail_control {
	uint32_t armed;               /*  0: one call more may fail */
	uint32_t sorts;               /*  4: a bit of each sort that may fail */
	uint32_t skip;                /*  8: a place fails when it was passed so often in this turn */
	uint32_t for_good;            /* 12: what comes behind the one that failed, and is of its sort, fails too */
	uint32_t step;                /* 16: one place in so many */
	uint32_t seed;                /* 20: which of these */
	uint32_t turn;                /* 24 */
	uint32_t fired;               /* 28: calls that failed in this turn */
	uint32_t sort;                /* 32: of the first of them */
	uint32_t nframes;             /* 36 */
	int64_t held;                 /* 40: locks that are held now, by all threads */
	int64_t snaps;                /* 48: snapshots of stores that have not ended */
	uint32_t points;              /* 56: that were ever passed */
	uint32_t full;                /* 60: there were more than there is room for */
	char what[28];                /* 64: the function that failed first */
	uint32_t depth;               /* 92: how many return addresses make a place */
	uint64_t frames[FAIL_FRAMES]; /* 96: what called it: addresses in the program's file */
	struct fail_point point[FAIL_POINTS];
};

#endif
