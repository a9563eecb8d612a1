/* changes_query.h: what a _changes request asks for. */
#ifndef HTTPAPI_CHANGES_QUERY_H_
#define HTTPAPI_CHANGES_QUERY_H_

#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/feedscan.h"

struct changes_query {
	struct jstr last_event_id; /* the header, or NULL */
	struct feedscan scan;      /* since is resolved */
	int heartbeat;
	uint32_t interval_ms; /* until a heartbeat, or the end */
};

/** changes_query_init(r, q): What is to be known first.  Errors: ERR_CONTENT_TYPE. */
int changes_query_init(struct apireq *r, struct changes_query *q) MUST_CHECK;
/** changes_query_is_apart(r): 1 if changes_query_parse() uses nothing of r->http: a filter in JavaScript is told of the request. */
int changes_query_is_apart(const struct apireq *r);
/**
 * changes_query_parse(r, q, why): From query string, body and headers of ${r}; memory of ids:
 * r->arena.  Errors, in CouchDB's words: ERR_BAD_JSON, ERR_BAD_REQUEST,
 * ERR_MISSING (no such design document or function);
 * the body's and the database's.
 */
int changes_query_parse(struct apireq *r, struct changes_query *q, struct errtext *why) MUST_CHECK;

#endif
