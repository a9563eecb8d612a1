/* find_bookmark.h: where a page of a query ends, as text that its reader brings back for the next one. */
#ifndef HTTPAPI_FIND_BOOKMARK_H_
#define HTTPAPI_FIND_BOOKMARK_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

/*
 * A place in a query's order.  It names rows by what they are, not by where they are kept, so that it outlives restarts and new
 * rows; the indexes, so that a page never goes on in another order.
 */
struct find_bookmark {
	int descending;
	uint64_t part;          /* of the plan */
	uint64_t nparts;        /* LIMIT_FIND_PARTS at most */
	uint64_t either;        /* of a union: the plan's */
	const uint32_t *hashes; /* of each part: of its index; 0: all documents */
	struct jstr ddoc, name; /* of this part's index; len 0: all documents */
	struct jstr key;        /* of the last row, JSON; len 0: all documents */
	int cut;                /* the row is (query_columns_row()): key is its sort key */
	struct jstr id;         /* of its document */
};

/** find_bookmark_put(m, b): Append it as text.  Errors: ERR_TOO_LARGE: find_bookmark_read() would not take it; ${b}'s. */
int find_bookmark_put(const struct find_bookmark *m, struct buf *b) MUST_CHECK;
/** find_bookmark_read(text, a, out): Memory: ${a}'s.  Errors: ERR_BOOKMARK: it is none, or was cut or altered; ERR_NOMEM. */
int find_bookmark_read(struct jstr text, struct arena *a, struct find_bookmark *out) MUST_CHECK;

#endif
