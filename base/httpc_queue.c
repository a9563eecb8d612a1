/*
 * httpc_queue.c: requests that wait for their turn.
 *
 *	ready -> host A -> host B            hosts with a request that may begin; the first is next and goes behind
 *	           | lanes
 *	         owner 7 -> owner 2          owners with a request waiting at it; the first is next and goes behind
 *	           | places
 *	         the first, the second       in the order they came
 *
 * 1. A host is in ready exactly when it has a lane and fewer than per_host of its requests run.
 * 2. A lane exists while it has a place, a host while it has a lane or a request that runs.
 */
#include "httpc_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024u

TAILQ_HEAD(places, httpc_place);

struct httpc_lane {
	struct httpc_host *host;
	uint64_t owner;
	struct places places;
	TAILQ_ENTRY(httpc_lane) link; /* of the host's lanes */
	LIST_ENTRY(httpc_lane) found; /* of a bucket */
};

struct httpc_host {
	TAILQ_HEAD(, httpc_lane) lanes;
	TAILQ_ENTRY(httpc_host) link; /* of ready */
	LIST_ENTRY(httpc_host) found; /* of a bucket */
	uint32_t running;
	int ready; /* it is linked there */
	uint32_t hash;
	char name[];
};

struct httpc_queue {
	uint32_t per_host, total;
	uint32_t running, waiting;
	TAILQ_HEAD(, httpc_host) ready;
	LIST_HEAD(, httpc_host) hosts[BUCKETS];
	LIST_HEAD(, httpc_lane) lanes[BUCKETS];
};

int
httpc_queue_new(uint32_t per_host, uint32_t total, struct httpc_queue **qp)
{
	struct httpc_queue *q = calloc(1, sizeof(*q)); /* empty LISTs are zeros */

	if (q == NULL)
		return ERR_NOMEM;
	q->per_host = per_host;
	q->total = total;
	TAILQ_INIT(&q->ready);
	*qp = q;
	return 0;
}

void
httpc_queue_free(struct httpc_queue *q)
{
	assert(q == NULL || q->running + q->waiting == 0);
	free(q);
}

/* FNV-1a */
static uint32_t
hash_name(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h;
}

static uint32_t
lane_bucket(const struct httpc_host *host, uint64_t owner)
{
	return (uint32_t)(((owner ^ host->hash) * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % BUCKETS;
}

/* Invariant 1, after what it speaks of has changed; a host that comes in anew is the last. */
static void
settle(struct httpc_queue *q, struct httpc_host *host)
{
	int ready = !TAILQ_EMPTY(&host->lanes) && host->running < q->per_host;

	if (ready == host->ready)
		return;
	host->ready = ready;
	if (ready)
		TAILQ_INSERT_TAIL(&q->ready, host, link);
	else
		TAILQ_REMOVE(&q->ready, host, link);
}

static void
drop_unused(struct httpc_host *host)
{
	if (!TAILQ_EMPTY(&host->lanes) || host->running > 0)
		return;
	LIST_REMOVE(host, found);
	free(host);
}

static struct httpc_host *
need_host(struct httpc_queue *q, const char *name)
{
	uint32_t hash = hash_name(name);
	size_t size = strlen(name) + 1;
	struct httpc_host *host;

	LIST_FOREACH(host, &q->hosts[hash % BUCKETS], found)
	if (host->hash == hash && strcmp(host->name, name) == 0)
		return host;
	if ((host = calloc(1, sizeof(*host) + size)) == NULL)
		return NULL;
	memcpy(host->name, name, size);
	host->hash = hash;
	TAILQ_INIT(&host->lanes);
	LIST_INSERT_HEAD(&q->hosts[hash % BUCKETS], host, found);
	return host;
}

static struct httpc_lane *
need_lane(struct httpc_queue *q, struct httpc_host *host, uint64_t owner)
{
	uint32_t bucket = lane_bucket(host, owner);
	struct httpc_lane *lane;

	LIST_FOREACH(lane, &q->lanes[bucket], found)
	if (lane->host == host && lane->owner == owner)
		return lane;
	if ((lane = calloc(1, sizeof(*lane))) == NULL)
		return NULL;
	lane->host = host;
	lane->owner = owner;
	TAILQ_INIT(&lane->places);
	LIST_INSERT_HEAD(&q->lanes[bucket], lane, found);
	TAILQ_INSERT_TAIL(&host->lanes, lane, link);
	return lane;
}

int
httpc_queue_put(struct httpc_queue *q, struct httpc_place *p, const char *name, uint64_t owner)
{
	struct httpc_host *host = need_host(q, name);
	struct httpc_lane *lane;

	if (host == NULL)
		return ERR_NOMEM;
	if ((lane = need_lane(q, host, owner)) == NULL) {
		drop_unused(host);
		return ERR_NOMEM;
	}
	p->host = host;
	p->lane = lane;
	TAILQ_INSERT_TAIL(&lane->places, p, link);
	q->waiting++;
	settle(q, host);
	return 0;
}

/* Takes ${p} out of its lane, which goes behind the others, or with its last place. */
static void
leave_lane(struct httpc_queue *q, struct httpc_place *p)
{
	struct httpc_lane *lane = p->lane;
	struct httpc_host *host = p->host;

	TAILQ_REMOVE(&lane->places, p, link);
	p->lane = NULL;
	q->waiting--;
	TAILQ_REMOVE(&host->lanes, lane, link);
	if (!TAILQ_EMPTY(&lane->places)) {
		TAILQ_INSERT_TAIL(&host->lanes, lane, link);
		return;
	}
	LIST_REMOVE(lane, found);
	free(lane);
}

struct httpc_place *
httpc_queue_take(struct httpc_queue *q)
{
	struct httpc_host *host = TAILQ_FIRST(&q->ready);
	struct httpc_place *p;

	if (host == NULL || q->running >= q->total)
		return NULL;
	p = TAILQ_FIRST(&TAILQ_FIRST(&host->lanes)->places);
	leave_lane(q, p);
	host->running++;
	q->running++;
	TAILQ_REMOVE(&q->ready, host, link);
	host->ready = 0;
	settle(q, host);
	return p;
}

void
httpc_queue_end(struct httpc_queue *q, struct httpc_place *p)
{
	struct httpc_host *host = p->host;

	if (p->lane != NULL) {
		leave_lane(q, p);
	} else {
		host->running--;
		q->running--;
	}
	p->host = NULL;
	settle(q, host);
	drop_unused(host);
}

uint32_t
httpc_queue_running(const struct httpc_queue *q)
{
	return q->running;
}

uint32_t
httpc_queue_waits(const struct httpc_queue *q)
{
	return q->waiting;
}
