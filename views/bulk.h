/* bulk.h: the first build of an index: what it will hold is gathered and sorted, and written in one go.  Private to views/. */
#ifndef VIEWS_BULK_H_
#define VIEWS_BULK_H_

#include "index.h"

#define BULK_FROM 1000u /* documents that are to be indexed */

/* Opaque: a build that is not written yet. */
struct bulk;

/**
 * bulk_begin(ix, until, purge_seq): Gather what is emitted for the documents that changed up to sequence ${until}, and what was purged up to
 * ${purge_seq}, into ix->bulk; nothing is done if too many do that now, or if the index is not empty.  Errors: ERR_NOMEM, ERR_IO.
 */
int bulk_begin(struct view_index *ix, uint64_t until, uint64_t purge_seq) MUST_CHECK;
/** bulk_free(ix): Forget it, if there is one. */
void bulk_free(struct view_index *ix);

/** bulk_row(b, order, value): A row; ${value}: its record's, without the checksum, which is appended. */
int bulk_row(struct bulk *b, struct jstr order, struct buf *value) MUST_CHECK;
/** bulk_list(b, key, list): A document's list of rows, as bulk_row(). */
int bulk_list(struct bulk *b, struct jstr key, struct buf *list) MUST_CHECK;

/** bulk_reached(b, seq): What is emitted up to ${seq} is there.  Until then it is not written. */
void bulk_reached(struct bulk *b, uint64_t seq);
uint64_t bulk_seq(const struct bulk *b);
uint64_t bulk_until(const struct bulk *b);
uint64_t bulk_purge_seq(const struct bulk *b);
/** bulk_changes(b): Some more comes, up to the next bulk_reached(). */
void bulk_changes(struct bulk *b);
/** bulk_is_whole(b): 1 if bulk_write() may be called. */
int bulk_is_whole(const struct bulk *b);
/** bulk_is_full(b): 1 if it is to be written though there is more. */
int bulk_is_full(const struct bulk *b);

/** bulk_write(ix, ready): Write all into the index, and free it.  Errors: as store_fill() and, behind the commit, index_reopen(). */
int bulk_write(struct view_index *ix, int ready) MUST_CHECK;

#endif
