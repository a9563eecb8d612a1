/* feedmatch.h: what a selector lets through: rows of a changes feed, documents. */
#ifndef HTTPAPI_FEEDMATCH_H_
#define HTTPAPI_FEEDMATCH_H_

#include "base/arena.h"
#include "base/err.h"
#include "db/db.h"
#include "query/query.h"

/**
 * feedmatch_row(s, snap, a, all_leaves, here, c, passp):
 * Does the row ${c} pass ${s}?  The winner is looked at, or with ${all_leaves} each leaf: ${c} then keeps
 * those that match, in ${a}'s memory.  Errors: ERR_AGAIN, with ${here}: the document is too large for an event loop; ERR_MISSING:
 * the row is older than ${snap}, and the document has another since, or none; those of reading the document, query_selector_match()'s.
 */
int feedmatch_row(struct query_selector *s, struct db_snap *snap, struct arena *a, int all_leaves, int here,
    struct db_change *c, int *passp) MUST_CHECK;

/**
 * feedmatch_doc(s, doc, rev, conflicts, a, passp): Does the winner of ${doc} pass ${s}?  ${rev}: its content, where that has been read, or NULL.
 * It has _conflicts only with ${conflicts}.  Errors: as above.
 */
int feedmatch_doc(struct query_selector *s, struct db_doc *doc, const struct db_rev *rev, int conflicts,
    struct arena *a, int *passp) MUST_CHECK;

#endif
