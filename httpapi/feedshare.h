/*
 * feedshare.h: rows that were just made, for the next feeds that stand at the same place and want the same form.  Kept for one
 * turn of an event loop.
 */
#ifndef HTTPAPI_FEEDSHARE_H_
#define HTTPAPI_FEEDSHARE_H_

#include <stdint.h>
#include "base/buf.h"
#include "httpapi/feedscan.h"

#define FEEDSHARE_FORMS 4u /* whose rows are kept at a time */

struct group;

/* The rows that lead from ${before} to ${after}. */
struct feedshare {
	const struct group *group; /* NULL: none */
	struct feedscan before, after;
	uint64_t seq; /* what whoever takes them has seen */
	int err;      /* and what its fill returns */
	struct buf b;
};

/* One HTTP thread's. */
struct feedshares {
	struct feedshare shares[FEEDSHARE_FORMS];
	unsigned next;
};

/** feedshare_init(s), feedshare_release(s). */
void feedshare_init(struct feedshares *s);
void feedshare_release(struct feedshares *s);

/** feedshare_find(s, g, scan): What ${scan}, of group ${g}, may take; or NULL. */
struct feedshare *feedshare_find(struct feedshares *s, const struct group *g, const struct feedscan *scan);
/** feedshare_begin(s): An empty one instead of the oldest; it is found once its group is set. */
struct feedshare *feedshare_begin(struct feedshares *s);
/** feedshare_forget(s, g): All that is of group ${g}; NULL: all, at a turn's end. */
void feedshare_forget(struct feedshares *s, const struct group *g);

#endif
