/* mango.h: declared indexes: what design documents of the language "query" say, and their rows. */
#ifndef VIEWS_MANGO_H_
#define VIEWS_MANGO_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"
#include "db/db.h"
#include "query/plan.h"
#include "read.h"
#include "views.h"

/* The declared indexes of a database at some moment.  Shared, and never changed. */
struct mango_list {
	const struct query_index *indexes; /* by design document, then name, bytewise */
	const struct jstr *defs;           /* of each: what _index shows as "def", a JSON object */
	size_t n;
	unsigned refs; /* the list's own */
};

/**
 * mango_open(v, db, database, lp): The indexes that are declared in ${database} now; what a design document says wrong is left out, as
 * CouchDB does, whoever asks.  Remembered until a design document changes.  May wait for the disk.  Errors: ERR_NO_DB, ERR_IO, ERR_CORRUPT, ERR_NOMEM.
 * mango_close(v, l): NULL is allowed.
 */
int mango_open(struct views *v, struct db *db, const char *database, const struct mango_list **lp) MUST_CHECK;
void mango_close(struct views *v, const struct mango_list *l);

/** mango_count(ix, view, partition, ranges, n, rowsp): The rows in ${ranges}, as far as the index is built; O(log n) each.  Errors: as read_range(). */
int mango_count(struct view_index *ix, const struct ddoc_view *view, struct jstr partition,
    const struct query_range *ranges, size_t n, uint64_t *rowsp) MUST_CHECK;

#endif
