/* changes_query.h: what a _changes request asks for. */
#ifndef HTTPAPI_CHANGES_QUERY_H_
#define HTTPAPI_CHANGES_QUERY_H_

#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/feedscan.h"

struct scripting_request;

struct changes_query {
	struct jstr last_event_id;               /* the header, or NULL */
	struct feedscan scan;                    /* since is resolved */
	const struct scripting_request *request; /* for a filter in JavaScript; NULL: it is taken of r->http */
	int heartbeat;
	uint32_t interval_ms; /* until a heartbeat, or the end */
};

/** changes_query_init(r, q): What is to be known first.  Errors: ERR_CONTENT_TYPE. */
int changes_query_init(struct apireq *r, struct changes_query *q) MUST_CHECK;
/** changes_query_has_function(r): 1 if the filter may be one in JavaScript, which is told of the request. */
int changes_query_has_function(const struct apireq *r);
/**
 * changes_query_parse(r, q, why): From query string, body and headers of ${r}; memory of ids:
 * r->arena.  On the request's thread; with q->request, or without a function, on any.
 * Errors, in CouchDB's words: ERR_BAD_JSON, ERR_BAD_REQUEST, ERR_MISSING (no such design document or function);
 * the body's and the database's.
 */
int changes_query_parse(struct apireq *r, struct changes_query *q, struct errtext *why) MUST_CHECK;

#endif
