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
#include "base/limits.h"
#include "db/db.h"
#include "httpapi/find_query.h"
#include "query/covered.h"
#include "views/mango.h"

/* An index that is open. */
struct findscan_index {
	const struct query_index *index;
	struct view_index *ix;
	const struct ddoc_view *view;
};

/* How a query is answered at some moment, and how far that has got. */
struct findscan {
	struct views *views;
	struct db *db; /* borrowed */
	const char *database;
	const struct find_query *q;
	const struct mango_list *list;
	struct query_plan *plan;
	struct findscan_index indexes[LIMIT_FIND_PARTS];
	size_t nindexes;
	struct query_columns *columns; /* of a plan that is covered */
	int as_fields; /* set before it is prepared: of such a plan no documents are wanted, but the fields that are asked for */
	struct query_covered *covered; /* these, from a row alone; NULL: not known how */
	struct jstr partition_first,
	    partition_end; /* ids of the partition are from the one to before the other; len 0: all are */
	/* Where it has got to. */
	size_t part, range;
	struct buf place;         /* in the range: read_place(), or the last id; empty: at its start */
	struct buf begin;         /* where the scan of documents began, which borrows it */
	struct jstr after_id;     /* of a bookmark: its part begins behind this row; */
	struct buf after_sortkey; /* len 0: it does not */
	int found;                /* a document was given: */
	struct buf key, id;       /* the last one's row, */
	int cut;                  /* of which key is the sort key, */
	size_t found_part;        /* and part */
	uint64_t keys_examined, docs_examined;
	/* A turn's. */
	struct db_snap *dbsnap;
	struct db_scan *scan;   /* of all documents, in this range */
	struct view_snap *snap; /* of this part's index, in this range */
	int opened;             /* the range is being read */
	int exact;              /* and whatever is in it matches */
	int moved;              /* a row of it was read in this turn */
	int here;               /* on an event loop, where large documents are not read */
	int large;              /* ERR_AGAIN: so the next one is not; it comes again */
	int passed;             /* ERR_AGAIN: nothing was looked at but what is not to be seen */
	struct buf text, scratch;
};

/* A document that was found. */
struct findscan_doc {
	struct jstr id;
	struct jstr text;    /* JSON, whole: "_id", "_rev" ..., or what a covering index has of it */
	int is_fields;       /* text has the wanted fields, and nothing else */
	struct jstr key;     /* of the row, JSON; len 0: all documents */
	int cut;             /* it is not known (query_columns_row()), */
	struct jstr sortkey; /* but this is; with key */
};

/**
 * findscan_prepare(fs, r, q, why): Plan ${q} for the database of ${r}, open what it reads, and go behind q->bookmark.  ${fs} is zeroed before,
 * and ended by findscan_release() whatever this returns; ${q} lives as long as it.  May wait for the disk.  Errors, with CouchDB's words:
 * ERR_NO_INDEX, ERR_INVALID_INDEX, ERR_BOOKMARK; those of views_open(), mango_open(), query_plan_new().
 * findscan_explain(): The same where no index is no error (fs->plan->found is 0), and bookmarks are not looked at.
 */
int findscan_prepare(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why) MUST_CHECK;
int findscan_explain(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why) MUST_CHECK;
void findscan_release(struct findscan *fs);
/** findscan_count(fs, part): Rows that a part of the plan reads, counted where the planner had no need; UINT64_MAX: not known, or not to be told. */
uint64_t findscan_count(struct findscan *fs, const struct query_part *part);

/** findscan_is_asked_for(fs): 1 if the plan uses what use_index names. */
int findscan_is_asked_for(const struct findscan *fs);

/** findscan_index(fs, i): The i-th of the indexes that it reads, to be brought up to date by views_want(); NULL: there are no more. */
struct view_index *findscan_index(const struct findscan *fs, size_t i);

/** findscan_begin(fs), findscan_pause(fs): A turn: snapshots are held between the two.  Errors: ERR_IO, ERR_BUSY, ERR_CORRUPT, ERR_NOMEM. */
int findscan_begin(struct findscan *fs) MUST_CHECK;
void findscan_pause(struct findscan *fs);
/**
 * findscan_next(fs, a, out): The next document; its memory is ${a}'s, which is reset before, or ${fs}'s, until the next call.  ERR_END: there
 * are no more; ERR_AGAIN: one was looked at that does not match, or some were passed over, or a range has ended, so that the caller may end its turn.  Errors: those of reading
 * and of query_selector_match().
 */
int findscan_next(struct findscan *fs, struct arena *a, struct findscan_doc *out) MUST_CHECK;
/** findscan_peek(fs, a, out): findscan_next(), which findscan_bookmark() does not count as given. */
int findscan_peek(struct findscan *fs, struct arena *a, struct findscan_doc *out) MUST_CHECK;
/** findscan_bookmark(fs, b): Append what names the place behind the last document that was given, or "nil".  Errors: ${b}'s, ERR_TOO_LARGE. */
int findscan_bookmark(const struct findscan *fs, struct buf *b) MUST_CHECK;

#endif
