/* feedrow.h: one row of a changes feed as text. */
#ifndef HTTPAPI_FEEDROW_H_
#define HTTPAPI_FEEDROW_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "query/query.h"

#define FEEDROW_HEAD 64u
#define FEEDROW_BEFORE 8u /* bytes of what separates rows */

/* What stands in a row. */
struct feedrow_opts {
	uint8_t all_leaves; /* style=all_docs */
	uint8_t include_docs;
	uint8_t conflicts;
	uint8_t attachments;
	uint8_t att_encoding_info;
};

/* A writer of rows, for one turn. */
struct feedrow {
	struct db *db;
	struct db_snap *snap;
	struct arena *arena;
	struct feedrow_opts opts;
	int here;                    /* on an event loop, where large documents are not read */
	struct query_fields *fields; /* that documents are to have; NULL: all */
	/* What stands before a row's id, for the sequence ${seq}; head_len 0: not made yet. */
	uint64_t seq;
	size_t head_len;
	size_t last; /* where its last digit is */
	char head[FEEDROW_HEAD];
};

/** feedrow_init(w, db, snap, a, opts): ${a} is for what a document in a row needs; whoever calls resets it. */
void feedrow_init(
    struct feedrow *w, struct db *db, struct db_snap *snap, struct arena *a, const struct feedrow_opts *opts);

/**
 * feedrow_put(w, c, with_seq, before, b): Append the row's object behind ${before}, which separates it from
 * its neighbour.  Errors: those of reading the document, where the row has it; ERR_AGAIN, with w->here: it is too large for that;
 * ${b} may then hold a part of the row.
 */
int feedrow_put(
    struct feedrow *w, const struct db_change *c, int with_seq, const char *before, struct buf *b) MUST_CHECK;

#endif
