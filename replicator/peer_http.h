/* peer_http.h: a database behind HTTP as one end of a replication. */
#ifndef REPLICATOR_PEER_HTTP_H_
#define REPLICATOR_PEER_HTTP_H_

#include <stdint.h>
#include "base/err.h"
#include "base/exec.h"
#include "base/httpc.h"
#include "replicator/peer.h"
#include "replicator/spec.h"

/* What it is made of; all that is pointed to is borrowed until the peer is closed and, of ${loop} and ${ex}, until the loop is freed. */
struct peer_http_config {
	struct httpc_loop *loop; /* freed before the executor */
	struct executor *ex;
	const struct rep_end *end;
	const struct rep_spec *spec;      /* connections, timeout_ms, retries, bulk_get are taken from it */
	const struct peer_filter *filter; /* of a source; NULL: all leaves of all documents */
	uint64_t owner;                   /* requests to one host begin in turn by owner */
	uint32_t backoff_ms;              /* before a request is repeated for the first time; 0: 250 */
};

/**
 * peer_http_new(config, pp): A peer for config->end.  Asks nothing of it yet.  Errors: ERR_NOMEM.
 *
 * What it does by itself: requests that failed on the way or met a 5xx, 429 or 503 are repeated; a user's password is
 * given to `_session` for a cookie, which is kept fresh, and sent with each request only where there is none to be had.
 * Every answer that is not what was asked for (no JSON, another document, half of it, no end) is ERR_IO with words for
 * people; redirects are not followed.
 */
int peer_http_new(const struct peer_http_config *config, struct peer **pp) MUST_CHECK;

#endif
