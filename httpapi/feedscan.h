/* feedscan.h: the rows of a changes feed: which ones, in which form, and how far the reader has come. */
#ifndef HTTPAPI_FEEDSCAN_H_
#define HTTPAPI_FEEDSCAN_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "db/db.h"
#include "httpapi/feedrow.h"
#include "query/query.h"

enum feedscan_form { FEEDSCAN_NORMAL, FEEDSCAN_LONGPOLL, FEEDSCAN_CONTINUOUS, FEEDSCAN_EVENTSOURCE };
enum feedscan_filter { FEEDSCAN_ALL, FEEDSCAN_DOC_IDS, FEEDSCAN_DESIGN, FEEDSCAN_SELECTOR, FEEDSCAN_SCRIPT };

struct feedjudge;

#define FEEDSCAN_HISTORY 22u /* bytes of db_history() */

/* One per open feed, of which there may be many thousands: keep it small. */
struct feedscan {
	struct db *db;                      /* may be closed between the calls, and is NULL then */
	char history[FEEDSCAN_HISTORY + 1]; /* of its sequences */
	uint64_t since;                     /* everything up to here has been looked at */
	uint64_t first;                     /* where it began */
	uint64_t until;                     /* rows behind it are left to the next request */
	uint64_t last;                      /* what last_seq says */
	uint64_t limit;                     /* rows still allowed */
	uint64_t emitted;                   /* rows written */
	uint64_t looked;                    /* descending: rows passed */
	uint64_t down;                      /* descending: the last row looked at; 0: none yet */
	uint32_t width;                     /* descending: sequences that were read at a time; 0: none yet */
	uint64_t interval;                  /* seq_interval, or 0 */
	const struct jstr *ids;             /* of DOC_IDS, ascending, none twice */
	size_t nids;
	struct query_selector *selector; /* of SELECTOR; the request's */
	struct query_fields *fields;     /* of the documents, or NULL; the request's */
	struct feedjudge *judge;         /* of SCRIPT; the request's */
	struct feedrow_opts row;
	uint8_t form;
	uint8_t filter;
	uint8_t descending; /* becomes 0 when the oldest row has been passed: what comes later comes upward */
	uint8_t here;       /* on an event loop, where large documents are not read */
	uint8_t at_end;     /* nothing was left when the last turn ended */
};

/** feedscan_init(f, db, since): Every row behind ${since}, as a normal feed. */
void feedscan_init(struct feedscan *f, struct db *db, uint64_t since);

/** feedscan_only(f, ids, n): Only rows of these ids, which are put in order and stay borrowed. */
void feedscan_only(struct feedscan *f, struct jstr *ids, size_t n);

/** feedscan_head(f, b): What stands before the first row. */
void feedscan_head(const struct feedscan *f, struct buf *b);

/**
 * feedscan_fill(f, b, a, seqp):
 * Append rows for one turn of the event loop; ${a} is reset between them.  Returns 0 if there may
 * be more, ERR_END at the end or at the limit, ERR_AGAIN if there is to be a verdict of f->judge first, or with f->here, which it
 * then ends, if the next document is too large for it; *${seqp} is the update sequence that was seen.
 * Errors: ERR_NO_DB, ERR_CORRUPT, ERR_IO, ERR_NOMEM, ERR_TOO_LARGE.
 */
int feedscan_fill(struct feedscan *f, struct buf *b, struct arena *a, uint64_t *seqp) MUST_CHECK;

/**
 * feedscan_reopen(f, db): Go on with a handle that was opened anew; NULL: it is closed.  Errors: ERR_NO_DB, where it
 * is of another history, of which the feed has seen nothing.
 */
int feedscan_reopen(struct feedscan *f, struct db *db) MUST_CHECK;

/**
 * feedscan_tail(f, b): The last line: last_seq and pending.  feedscan_must_count(f): 1 if it needs the database for that;
 * where it is closed, or cannot be counted in, pending is left out.
 */
int feedscan_must_count(const struct feedscan *f);
void feedscan_tail(const struct feedscan *f, struct buf *b);

/** feedscan_heartbeat(f): The text that shows that the feed is alive. */
const char *feedscan_heartbeat(const struct feedscan *f);

/** feedscan_same(x, y, rows): 1 if the next ${rows} rows of both are the same bytes. */
int feedscan_same(const struct feedscan *x, const struct feedscan *y, uint64_t rows);

/** feedscan_follow(f, before, after): ${f} took the bytes that led another one from ${before} to ${after}. */
void feedscan_follow(struct feedscan *f, const struct feedscan *before, const struct feedscan *after);

#endif
