/*
 * httpc_queue.h: whose turn it is.  Requests wait per host, and there per owner; hosts take turns, and the owners at a
 * host.  Pure; one thread.  Private to httpc.
 */
#ifndef BASE_HTTPC_QUEUE_H_
#define BASE_HTTPC_QUEUE_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/err.h"

struct httpc_queue;
struct httpc_lane;
struct httpc_host;

/* One that waits or has been taken.  It lives inside what waits. */
struct httpc_place {
	struct httpc_host *host; /* until httpc_queue_end */
	struct httpc_lane *lane; /* NULL: does not wait */
	TAILQ_ENTRY(httpc_place) link;
};

/** httpc_queue_new(per_host, total, qp): At most so many are taken at a time.  Errors: ERR_NOMEM. */
int httpc_queue_new(uint32_t per_host, uint32_t total, struct httpc_queue **qp) MUST_CHECK;

/** httpc_queue_free(q): Nothing may be in it.  NULL: nothing. */
void httpc_queue_free(struct httpc_queue *q);

/** httpc_queue_put(q, p, host, owner): ${p} waits.  ${host} is copied.  Errors: ERR_NOMEM. */
int httpc_queue_put(struct httpc_queue *q, struct httpc_place *p, const char *host, uint64_t owner) MUST_CHECK;

/** httpc_queue_take(q): Whose turn it is, which from now on is counted; NULL: nobody waits that may begin. */
struct httpc_place *httpc_queue_take(struct httpc_queue *q);

/** httpc_queue_end(q, p): ${p} leaves, whether it waits or was taken. */
void httpc_queue_end(struct httpc_queue *q, struct httpc_place *p);

/** httpc_queue_running(q), httpc_queue_waits(q): How many were taken, and wait. */
uint32_t httpc_queue_running(const struct httpc_queue *q);
uint32_t httpc_queue_waits(const struct httpc_queue *q);

#endif
