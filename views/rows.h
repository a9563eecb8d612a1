/*
 * rows.h: the rows of an index in their tree: keys that have the order of the view, values with the JSON as it was
 * emitted.  Private to views/.
 */
#ifndef VIEWS_ROWS_H_
#define VIEWS_ROWS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "store/store.h"

/* The trees of an index. */
enum view_tree { VIEW_META, VIEW_ROWS, VIEW_DOCS, VIEW_COUNTS, VIEW_SUMS, VIEW_TREES };
extern const char *const rows_trees[VIEW_TREES];

/*
 * A row's place is an order key: the map's number (2 bytes), the sort key of what was emitted (before it, in an index that is divided, the
 * document's partition, as the id is), the document's id (each 0x00
 * as 0x00 0xff, and 0x00 0x00 behind), and which of the document's rows it is (4 bytes).  No order key is a prefix of another.
 *
 * In the tree it stands as it is up to ROWS_PLAIN bytes.  A longer one has a tree key of its first ROWS_STEM bytes and a label of 8
 * bytes; labels keep the order of those that share their first bytes.  As no order key is a prefix of another, the
 * two kinds never get in each other's way.
 */
#define ROWS_PLAIN 491u
#define ROWS_STEM 492u
#define ROWS_LABEL 8u
#define ROWS_MAP 2u /* bytes of the map's number */

/** rows_text(b, s): Append ${s}, each 0x00 as 0x00 0xff, and 0x00 0x00 behind. */
int rows_text(struct buf *b, struct jstr s);
/** rows_order(b, map, sortkey, id, n): Append an order key. */
int rows_order(struct buf *b, unsigned map, struct jstr sortkey, struct jstr id, uint32_t n);

/* A row as it is read.  Memory: the snapshot's until the cursor's next move, or the arena's. */
struct row {
	struct jstr order;   /* the order key */
	struct jstr sortkey; /* within it */
	struct jstr id;
	uint32_t n;
	struct jstr key, value; /* JSON */
	int cut;                /* the index has no key, which was too long: null stands in its place */
};

/** rows_put(b, order, sortkey_len, key, value): Append the value of a row's record, without its checksum. */
int rows_put(struct buf *b, struct jstr order, size_t sortkey_len, struct jstr key, struct jstr value);
/** rows_take(key, val, a, out): Read a record.  Errors: ERR_CORRUPT, ERR_NOMEM. */
int rows_take(const struct store_val *key, const struct store_val *val, struct arena *a, struct row *out) MUST_CHECK;

/* A key of the tree. */
struct rows_key {
	size_t len;
	unsigned char b[STORE_KEY_MAX];
};

/**
 * rows_bound(c, bound, out): The tree key from which on all rows have order keys that are not below ${bound}, which may be the beginning
 * of one; ${c} is a cursor over VIEW_ROWS, and moves.  Errors: ERR_IO, ERR_CORRUPT, ERR_NOMEM.
 */
int rows_bound(struct store_cursor *c, struct jstr bound, struct rows_key *out) MUST_CHECK;

/* ---- Changes ---- */

/* A row that comes (with its record's value) or goes (value.s NULL). */
struct rows_change {
	struct jstr order;
	struct jstr value;
	int fresh; /* 1: the tree is known to have no row of this key */
};

/** rows_sort(a, changesp, np): Put changes in the order of their keys; several of one key become one.  Errors: ERR_NOMEM. */
int rows_sort(struct arena *a, struct rows_change **changesp, size_t *np) MUST_CHECK;

/* What became of a key of the tree. */
struct rows_moved {
	struct jstr key;
	int existed, exists;
};

/**
 * rows_apply(snap, batch, a, changes, n, movedp, np): Put ${changes}, sorted by order key and one per key, into ${batch}, which will be
 * applied to what ${snap} shows.  *${movedp}: all tree keys that are touched, in order.  Memory: ${a}'s.
 */
int rows_apply(struct store_snap *snap, struct store_batch *batch, struct arena *a, const struct rows_change *changes,
    size_t n, struct rows_moved **movedp, size_t *np) MUST_CHECK;

#endif
