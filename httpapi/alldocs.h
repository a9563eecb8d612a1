/* alldocs.h: the rows of _all_docs, for another to use.  Between alldocs.c and lists.c. */
#ifndef HTTPAPI_ALLDOCS_H_
#define HTTPAPI_ALLDOCS_H_

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "httpapi/api.h"

struct listing; /* lives in its request's arena */

/**
 * alldocs_open(r, lp): The rows of _all_docs that ${r} asks for, whatever its path.  Ends with alldocs_drop().
 * Errors: ERR_NOT_ADMIN (not everybody may see them); as _all_docs.
 */
int alldocs_open(struct apireq *r, struct listing **lp) MUST_CHECK;
/** alldocs_read(l, why): Read which ones, before the first are made.  On any thread; the body may be long.  Errors: as _all_docs. */
int alldocs_read(struct listing *l, struct errtext *why) MUST_CHECK;
/** alldocs_fill(l, b, scratch): A rows_f. */
int alldocs_fill(void *l, struct buf *b, struct arena *scratch);
void alldocs_drop(void *l);

#endif
