/*
 * live.h: live queries: POST /{db}/_find?feed=continuous and =eventsource: what is found, and each change to that.  An extension;
 * docs/API.md has the events.
 */
#ifndef HTTPAPI_LIVE_H_
#define HTTPAPI_LIVE_H_

#include "httpapi/api.h"

struct live;

/** live_is_asked(r): 1 if a _find is to be a live query, or names a feed that there is not. */
int live_is_asked(const struct apireq *r);
/** live_open(r): Answer ${r} with the live query that is its body; it was called by api_gather(). */
void live_open(struct apireq *r);
/** live_release(l): What api_done() gives back.  NULL is allowed. */
void live_release(struct live *l);

#endif
