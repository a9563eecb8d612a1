/* live_build.h: a live query's plan and members from the database, made off the event loop. */
#ifndef HTTPAPI_LIVE_BUILD_H_
#define HTTPAPI_LIVE_BUILD_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/live_query.h"
#include "httpapi/live_set.h"

struct live_build;

/* What came of it. */
struct live_built {
	int err; /* of reading, planning, scanning; with words in ${why} */
	struct errtext why;
	int refused; /* err is about the reader, or the database is gone: it says nothing of what others may be told */
	int alike; /* the plan is that of the query it was to be held against: nothing else was made, unless asked for */
	int weighed;              /* query_plan's */
	struct live_query *query; /* else: this one, to be taken: then NULL it; also where it was alike */
	struct live_set
	    *set; /* what it found, likewise; the documents that changed behind seq are to be looked at anew */
	uint64_t seq, purge_seq;
	uint64_t end; /* what happened between seq and this may be in the set */
};

/**
 * live_build_start(r, body, like, always, done, cookie, bp): Read the query ${body}, which lives until this is over, plan it and find its documents.  With ${like}, a query
 * of the same words, nothing is scanned if the plan has not changed, unless ${always}.  ${done}(cookie, out) on the request's thread, never from
 * within this call; the request is held, and *${bp} lives, until then.  Errors: ERR_NOMEM; ${done} is then not called.
 * live_build_cancel(b): On that thread: nobody wants it any more.  It ends soon, with ERR_CANCELLED.
 */
int live_build_start(struct apireq *r, struct jstr body, struct live_query *like, int always,
    void (*done)(void *cookie, struct live_built *out), void *cookie, struct live_build **bp) MUST_CHECK;
void live_build_cancel(struct live_build *b);

/** live_build_kept(limit): How many members a query of this limit keeps, when it is built and when it is trimmed. */
uint32_t live_build_kept(uint32_t limit);

#endif
