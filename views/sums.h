/*
 * sums.h: reductions of ranges of rows, kept beside them, so that a reduce over any range costs O(log n).
 * Private to views/.
 *
 * Each map with reductions has ranges at two levels, whose beginnings are rows chosen by their hash, as those of store/counts.h
 * are; the first begins with the map's number alone.  A range's record holds, for each of the map's reductions, the partial result
 * of its rows, or nothing: it is not known.  An update only forgets what changed; sums_settle() finds it out again, and a
 * query that meets a range that is not known looks at what is below it.  So what a query gives is right at every
 * moment.
 */
#ifndef VIEWS_SUMS_H_
#define VIEWS_SUMS_H_

#include "ddoc.h"
#include "rows.h"
#include "script/script.h"
#include "views.h"

/* Reductions whose child died or took too long: that may be the function's failure, or the system's. */
#define SUMS_BAD 16u
struct sums_bad {
	int for_good; /* it is taken for the function's: those that follow are not asked for, and the others are kept */
	size_t n;
	struct {
		unsigned map, slot;
	} v[SUMS_BAD];
};

/* Of an index: what is reduced, and with what. */
struct sums {
	const struct ddoc *ddoc;
	uint64_t salt; /* of the index */
	enum views_reduce_limit reduce_limit;
	struct script *script; /* where functions run; may be NULL where none is needed */
	int (*prepare)(
	    struct sums *s); /* gives ${script} when a function is needed, or the one before has failed; may be NULL */
	void (*release)(
	    struct sums *s); /* the snapshot is not needed any more, and functions will be waited for; may be NULL */
	void *cookie;
	struct sums_bad *bad; /* of sums_settle(); NULL: there is none, and nothing is for good */
	struct errtext *why;
	char error[64]; /* with ERR_SCRIPT: its name */
	size_t fit;     /* with ERR_AGAIN: how many ranges may be asked for */
};

/**
 * sums_level(salt, key, klen): The highest level at which a row of this tree key begins a range, whose number of rows on average is 256 at the
 * first and 16 times as many at each that follows; 0: at none.
 */
#define SUMS_LEVELS 3u
unsigned sums_level(uint64_t salt, const void *key, size_t klen);

/** sums_create(s, batch): Into a new index. */
int sums_create(const struct sums *s, struct store_batch *batch) MUST_CHECK;

/** sums_forget(s, snap, batch, a, moved, n): Rows have come, gone or changed, as rows_apply() tells. */
int sums_forget(const struct sums *s, struct store_snap *snap, struct store_batch *batch, struct arena *a,
    const struct rows_moved *moved, size_t n) MUST_CHECK;

/** sums_unknown(s, snap, np): Ranges that are not known. */
int sums_unknown(const struct sums *s, struct store_snap *snap, uint64_t *np) MUST_CHECK;

/**
 * sums_settle(s, snap, batch, level, donep): Find out what is not known at ${level}, 1 first, as far as one transaction goes; *${donep}: all of it.
 * A function that fails is left out.  Errors: ERR_SCRIPT_DIED, ERR_SCRIPT_TIMEOUT (unless s->bad says that this is for good), ERR_BUSY, ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
int sums_settle(
    struct sums *s, struct store_snap *snap, struct store_batch *batch, unsigned level, int *donep) MUST_CHECK;

/** sums_is_childs(err): 1 if a child died or took too long. */
int sums_is_childs(int err);

/* A range of rows, by tree keys: from ${lo} on, up to but without ${hi}. */
struct sums_range {
	struct rows_key lo, hi;
	struct buf *out; /* the final value's JSON; left empty where there are no rows */
};

#define SUMS_BYTES ((size_t)16 << 20) /* of results that are held at a time; one may be larger */
/**
 * sums_reduce(s, snap, view, ranges, n): The reduction of ${view} over each; s->release() may end ${snap}.  Errors: as sums_settle(), and a function's (ERR_SCRIPT), ERR_REDUCE;
 * ERR_AGAIN: they are more than SUMS_BYTES, and only s->fit > 0 ranges may be asked for.
 */
int sums_reduce(struct sums *s, struct store_snap *snap, const struct ddoc_view *view, const struct sums_range *ranges,
    size_t n) MUST_CHECK;

#endif
