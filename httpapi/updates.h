/* updates.h: which databases of this server were made, written to and dropped, in order: what _db_updates lists. */
#ifndef HTTPAPI_UPDATES_H_
#define HTTPAPI_UPDATES_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"

struct updates;

enum updates_form { UPDATES_NORMAL, UPDATES_LONGPOLL, UPDATES_CONTINUOUS, UPDATES_EVENTSOURCE };

/* One reader. */
struct updates_scan {
	uint64_t since;   /* everything up to here has been looked at */
	uint64_t until;   /* rows behind it are left to the next request */
	uint64_t last;    /* what last_seq says */
	uint64_t limit;   /* rows still allowed */
	uint64_t emitted; /* rows written */
	uint64_t down;    /* descending: rows from here on have been looked at; UINT64_MAX: none yet */
	uint8_t form;
	uint8_t descending; /* becomes 0 when the oldest row has been passed: what comes later comes upward */
};

/**
 * updates_new(dbs, up): A log that begins with a row of either kind, created and updated, for each database that there
 * is.  Errors: ERR_NOMEM.  updates_free(u): NULL is allowed.
 */
int updates_new(struct dbs *dbs, struct updates **up) MUST_CHECK;
void updates_free(struct updates *u);

/** updates_moved(u, name, seq, dropped): What dbs_config's moved() tells.  Any thread. */
void updates_moved(struct updates *u, const char *name, uint64_t seq, int dropped);

/** updates_seq(u): The newest row's sequence; 0: there is none. */
uint64_t updates_seq(struct updates *u);
/** updates_seq_put(u, b, seq): Append "N-RUN" (no quotes), RUN being the name of this run of the server. */
void updates_seq_put(const struct updates *u, struct buf *b, uint64_t seq);
/**
 * updates_seq_parse(u, s, len, seqp): The sequence after which nothing can be missed: 0 for one of another run or of
 * the future.  Errors: ERR_BAD_REQUEST (malformed).
 */
int updates_seq_parse(struct updates *u, const char *s, size_t len, uint64_t *seqp) MUST_CHECK;

/** updates_head(scan, b), updates_tail(u, scan, b): What stands before the first row and behind the last. */
void updates_head(const struct updates_scan *scan, struct buf *b);
void updates_tail(const struct updates *u, const struct updates_scan *scan, struct buf *b);
/**
 * updates_fill(u, scan, b): Append rows for one turn of the event loop.  Returns 0 if there may be more, ERR_END at the
 * end or at the limit.  Errors: those of ${b}.
 */
int updates_fill(struct updates *u, struct updates_scan *scan, struct buf *b) MUST_CHECK;

#endif
