/* live_follow.h: what a live query sends: its members, and what becomes of them. */
#ifndef HTTPAPI_LIVE_FOLLOW_H_
#define HTTPAPI_LIVE_FOLLOW_H_

#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include "httpapi/live_home.h"

/**
 * live_follow(at, db, a, w, b, seqp): Append the events of one turn of the event loop, and move ${at}; ${a} is reset.  Returns 0 if there
 * may be more; ERR_END: all is told as of *${seqp}; ERR_AGAIN: at->need is to be met first.  Errors: those of reading; ERR_TOO_LARGE: more is found than a live
 * query keeps; ERR_NOMEM.
 */
int live_follow(
    struct live_at *at, struct db *db, struct arena *a, struct live_work *w, struct buf *b, uint64_t *seqp) MUST_CHECK;

/** live_follow_merge(at, more): Take in the members of ${more}, a new set of the same query, that are behind the fence of the present one.  Errors: ERR_NOMEM, ERR_TOO_LARGE. */
int live_follow_merge(struct live_at *at, const struct live_set *more) MUST_CHECK;

/** live_follow_end(at, history, err, reason, b): Append the last event; ${err}: why it ends, or 0; ${reason}: instead of the usual one, or NULL. */
void live_follow_end(const struct live_at *at, struct jstr history, int err, const char *reason, struct buf *b);

#endif
