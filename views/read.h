/*
 * read.h: reading an index: its rows in order, over ranges, and their reductions.  Everything is of one commit as long as a
 * snapshot lives, and snapshots are held for milliseconds: who reads for longer remembers the place and goes on from there.
 */
#ifndef VIEWS_READ_H_
#define VIEWS_READ_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "views.h"

/* Opaque types. */
struct ddoc_view; /* a view of an index; lives as long as that is open */
struct view_snap; /* one commit of an index */

/** read_view(ix, name): The view of that name, or NULL. */
const struct ddoc_view *read_view(const struct view_index *ix, struct jstr name);

enum read_reduce { READ_PLAIN, READ_BUILTIN, READ_SCRIPT };
/** read_reduces(view): What its reduction needs: nothing, for there is none; no JavaScript; JavaScript. */
enum read_reduce read_reduces(const struct ddoc_view *view);

/** read_sortkey(view, key, scratch, out): Append the sort key of the JSON ${key}, in the order of the view's rows.  As query_sortkey(). */
int read_sortkey(const struct ddoc_view *view, struct jstr key, struct buf *scratch, struct buf *out) MUST_CHECK;

struct read_info {
	const char *signature; /* of what defines the index; terminated */
	const char *language;  /* "javascript" or "query" */
	uint64_t seq, purge_seq;
	uint64_t file_bytes, active_bytes;
	unsigned waiting; /* readers that wait for an update */
	int updating, compacting;
};
/** read_info(ix, out): Errors: ERR_IO. */
int read_info(struct view_index *ix, struct read_info *out) MUST_CHECK;
/** read_state(ix, seqp, purge_seqp): How far it is built; cheap. */
void read_state(struct view_index *ix, uint64_t *seqp, uint64_t *purge_seqp);
/** read_is_partitioned(ix): 1 if it can be read by partition alone. */
int read_is_partitioned(const struct view_index *ix);
/** read_name(ix): What names the index: another one has another name.  Terminated. */
const char *read_name(const struct view_index *ix);

/** read_begin(ix, sp), read_end(s): A snapshot.  Errors: ERR_NOMEM, ERR_IO, ERR_BUSY, ERR_CORRUPT. */
int read_begin(struct view_index *ix, struct view_snap **sp) MUST_CHECK;
void read_end(struct view_snap *s);
/** read_seq(s): The database's sequence that the rows show. */
uint64_t read_seq(const struct view_snap *s);

/* One end of a range. */
struct read_bound {
	int set;
	struct jstr sortkey; /* read_sortkey() of the key, or the beginning of several: all of them are meant */
	int has_id;
	struct jstr id; /* of the document, among rows of this key */
};

struct read_range {
	int descending;
	int exclusive_start, exclusive_end;
	struct jstr partition; /* len 0: none */
	struct read_bound start,
	    end; /* in the direction of reading; exclusive_*: without the rows of that key, or of that key and document */
};

/** read_range(s, view, range, after): What the calls below read.  ${after}: from behind this place, as read_place() told; len 0: from the start. */
int read_range(
    struct view_snap *s, const struct ddoc_view *view, const struct read_range *range, struct jstr after) MUST_CHECK;
/** read_counts(s, totalp, beforep): Rows of the view, and those before the range in its direction; O(log n). */
int read_counts(struct view_snap *s, uint64_t *totalp, uint64_t *beforep) MUST_CHECK;
/** read_length(s, np): Rows of the range; O(log n). */
int read_length(struct view_snap *s, uint64_t *np) MUST_CHECK;
/** read_skip(s, np): Pass over up to *${np} rows, which becomes how many were lacking; O(log n). */
int read_skip(struct view_snap *s, uint64_t *np) MUST_CHECK;

struct read_row {
	struct jstr id, key, value; /* key and value: JSON; until the next step, or ${a}'s */
	struct jstr sortkey;        /* too */
	int cut; /* of a declared index: the key was too long, so that it is null, and sortkey its beginning */
};
/** read_next(s, a, out): The next row; ERR_END behind the last. */
int read_next(struct view_snap *s, struct arena *a, struct read_row *out) MUST_CHECK;
/** read_place(s, b): Append the place of the last row that was read, or group that was made. */
int read_place(const struct view_snap *s, struct buf *b);

#define READ_EXACT UINT64_MAX /* a level: a group for each key */

/* How the value of a group begins whose function's result grew too fast; why, as a JSON string, and a brace follow. */
#define READ_OVERFLOW "{\"reduce_overflow_error\":"

/* Groups of rows that are reduced together. */
struct read_groups {
	uint64_t level; /* elements of array keys; 0: one group for the range */
	size_t n, max;  /* out: groups; at most so many */
	struct jstr *keys;
	struct buf *values;
	struct errtext *why; /* out */
	char error[64];      /* with ERR_SCRIPT: its name */
	struct arena *a;
};

#define READ_GROUPS_BYTES ((size_t)4 << 20) /* of keys, behind which no further group is gathered */

/**
 * read_gather(s, g, skipp): Find the next groups of the range, until there are g->max or their keys are READ_GROUPS_BYTES; ERR_END: there are no more behind them.  The first
 * *${skipp} are passed over.  May be called for several ranges.  read_reduce(s, view, g): Fill in their values.  Errors: a function's (ERR_SCRIPT, ...), ERR_REDUCE, ERR_CORRUPT, ERR_IO, ERR_NOMEM;
 * ERR_AGAIN: the values of several groups are too much: only g->n > 0 may be gathered, from the same place on.
 */
int read_gather(struct view_snap *s, struct read_groups *g, uint64_t *skipp) MUST_CHECK;
int read_reduce(struct view_snap *s, const struct ddoc_view *view, struct read_groups *g) MUST_CHECK;
/** read_is_over(s): 1 if the snapshot was given up while functions reduced: it is good for read_end() alone. */
int read_is_over(const struct view_snap *s);

#endif
