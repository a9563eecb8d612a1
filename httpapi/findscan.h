/*
 * findscan.h: the documents that a Mango query finds, in its order, one by one: what _find prints and live queries keep.
 *
 *	findscan_prepare (a thread that may wait) -> for each turn: findscan_begin, findscan_next..., findscan_pause -> findscan_release
 */
#ifndef HTTPAPI_FINDSCAN_H_
#define HTTPAPI_FINDSCAN_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "httpapi/find_query.h"
#include "views/mango.h"

#define FINDSCAN_PARTS 64u /* parts of a plan at most */

/* How a query is answered at some moment. */
struct findscan {
	struct views *views;
	struct db *db; /* borrowed */
	const char *database;
	const struct find_query *q;
	const struct mango_list *list;
	struct query_plan *plan;
	struct findscan_part {
		struct view_index *ix; /* NULL: all documents */
		const struct ddoc_view *view;
	} parts[FINDSCAN_PARTS];
	struct query_columns *columns; /* of a plan that is covered */
	/* Where it has got to: part, range and place within; a bookmark tells them. */
	size_t part, range;
	struct buf place;     /* read_place(), or the last id; empty: at the range's start */
	struct buf after_key; /* of a bookmark: the key (JSON) and document behind which it begins, */
	struct buf after_id;  /* until the first turn has begun there */
	int at_row;           /* the last row that was given is that of key and id below */
	struct buf key, id;   /* of it */
	/* So far. */
	uint64_t keys_examined, docs_examined;
	/* A turn's. */
	struct db_snap *dbsnap;
	struct db_scan *scan;
	struct view_snap *snap;
	struct buf text, scratch;
};

/* A document that was found; memory: the arena's, until the next one. */
struct findscan_doc {
	struct jstr id;
	struct jstr text; /* JSON, whole: "_id", "_rev" ..., or what a covering index has of it */
	struct jstr key;  /* of the row, JSON; len 0: all documents */
};

/**
 * findscan_prepare(fs, r, q): Plan ${q} for the database of ${r}, open what it reads, and go behind q->bookmark.  ${fs} is zeroed before, and ended by
 * findscan_release() whatever this returns.  q lives as long as it.  May wait for the disk.  Errors, with CouchDB's words: ERR_NO_INDEX, ERR_INVALID_INDEX, ERR_BOOKMARK; as
 * views_open(), mango_open().  findscan_explain(): the same where no index is no error (fs->plan->found is 0), and nothing is opened but to count.
 */
int findscan_prepare(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why) MUST_CHECK;
int findscan_explain(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why) MUST_CHECK;
void findscan_release(struct findscan *fs);

/** findscan_index(fs, i): The i-th of the indexes that it reads, to be brought up to date by views_want(); NULL: there is none more. */
struct view_index *findscan_index(const struct findscan *fs, size_t i);

/** findscan_begin(fs), findscan_pause(fs): A turn: snapshots are held between the two.  Errors: ERR_IO, ERR_BUSY, ERR_CORRUPT, ERR_NOMEM. */
int findscan_begin(struct findscan *fs) MUST_CHECK;
void findscan_pause(struct findscan *fs);
/**
 * findscan_next(fs, a, out): The next document; ERR_END: there are no more; ERR_AGAIN: one was looked at that does not match, so that the caller may end
 * its turn.  ${a} is reset.  Errors: those of reading and of query_selector_match().
 */
int findscan_next(struct findscan *fs, struct arena *a, struct findscan_doc *out) MUST_CHECK;
/** findscan_skip(fs, np): Pass over up to *${np} rows without reading them, where whatever is in the ranges matches; *${np} becomes what is lacking. */
int findscan_skip(struct findscan *fs, uint64_t *np) MUST_CHECK;
/** findscan_bookmark(fs, b): Append what names the place behind the last document that was given. */
int findscan_bookmark(const struct findscan *fs, struct buf *b) MUST_CHECK;

#endif
