/* live_home.h: what the live queries of one HTTP thread share: queries of the same words, and what was just sent to one of them. */
#ifndef HTTPAPI_LIVE_HOME_H_
#define HTTPAPI_LIVE_HOME_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/live_query.h"
#include "httpapi/live_set.h"

#define LIVE_HOME_SHARES 4u

/* What a listener needs before it can go on. */
enum live_need {
	LIVE_NEED_NOTHING,
	LIVE_NEED_PLAN, /* a design document has changed, or was purged */
	LIVE_NEED_MORE, /* fewer members are left than the limit */
	LIVE_NEED_ALL   /* nobody knows any more what was purged */
};

/* How far a listener has come; compared as bytes, so it is zeroed before it is filled. */
struct live_at {
	struct live_query *lq;
	struct live_set *set; /* true as of since; its first shown members have been sent */
	uint64_t since;       /* all that has changed up to here has been looked at */
	uint64_t purged;      /* the same of purges */
	uint64_t told;        /* what was sent is the result as of this */
	uint32_t shown;
	uint8_t known;       /* the listener has all that was found at some moment */
	uint8_t resumed;     /* the set is newer than that: changes are sent whatever the set says, until ready */
	uint8_t ready;       /* it was told so */
	uint8_t reset;       /* that event is to come first */
	uint8_t dirty;       /* events were sent since told */
	uint8_t progress;    /* it wants to be told where nothing has changed, too */
	uint8_t eventsource; /* the form */
	uint8_t need;        /* enum live_need */
	uint8_t pad[4];
};

/* The bytes that lead from ${before} to ${after}. */
struct live_share {
	struct live_at before, after; /* lq NULL: none */
	uint64_t seen;
	int err; /* what fill() returns with them */
	struct buf b;
};

/* One HTTP thread's. */
struct live_home {
	struct live_query **buckets;
	size_t nbuckets, nqueries;
	struct live_share shares[LIVE_HOME_SHARES];
	unsigned next;
	struct live_work work; /* of a turn */
};

/** live_home_new(api): Make ${api}->lives, once ${api}->server is set.  Errors: ERR_NOMEM.  live_home_free(api): The server has stopped. */
int live_home_new(struct api *api) MUST_CHECK;
void live_home_free(struct api *api);
/** live_home_of(r): That of the request's thread. */
struct live_home *live_home_of(const struct apireq *r);

/**
 * live_home_find(h, name): The query of this name, which stands for all that tells it from others; or NULL.  live_home_add(h, lq, name): From now on ${lq} is that,
 * instead of another one.  live_home_remove(lq): It is not, if it was.  Errors: ERR_NOMEM.
 */
struct live_query *live_home_find(const struct live_home *h, const unsigned char name[LIVE_QUERY_NAME]);
int live_home_add(struct live_home *h, struct live_query *lq, const unsigned char name[LIVE_QUERY_NAME]) MUST_CHECK;
void live_home_remove(struct live_query *lq);

/** live_home_follow(h, at): What a listener at ${at} may take, or NULL.  live_home_share(h): An empty one instead of the oldest. */
struct live_share *live_home_follow(struct live_home *h, const struct live_at *at);
struct live_share *live_home_share(struct live_home *h);

/** live_home_is_shared(h, at): Does anybody else hold the set?  If nobody does, the shares do not hold it either from now on. */
int live_home_is_shared(struct live_home *h, const struct live_at *at);

/** live_home_move(to, from): ${to} becomes ${from}, and holds what that holds.  live_home_leave(at): It holds nothing any more. */
void live_home_move(struct live_at *to, const struct live_at *from);
void live_home_leave(struct live_at *at);

#endif
