/*
 * feeds.h: open _changes requests: longpoll, continuous and eventsource.  An idle one is a small
 * record in its HTTP thread's table.
 */
#ifndef HTTPAPI_FEEDS_H_
#define HTTPAPI_FEEDS_H_

#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"
#include "httpapi/feedscan.h"

/**
 * feeds_new(api): Make ${api}->feeds, once ${api}->server and ->ex are set and before the server
 * runs.  Errors: ERR_NOMEM.
 */
int feeds_new(struct api *api) MUST_CHECK;
/**
 * feeds_free(api): The server has stopped and the dbs will not call feeds_moved() any more.  NULL
 * feeds are allowed.
 */
void feeds_free(struct api *api);

/**
 * feeds_moved(api, name, incarnation, seq, dropped): dbs_config's callback: wakes the HTTP threads
 * that have feeds of the database.  ${cookie} is a struct api; feeds may be NULL.
 */
void feeds_moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped);

/**
 * feeds_add(r, scan, heartbeat, interval_ms):
 * Answer ${r} with the feed that ${scan} describes, its headers having been set.  ${interval_ms}
 * without a row it gets a heartbeat, or ends where ${heartbeat} is 0.
 */
void feeds_add(struct apireq *r, const struct feedscan *scan, int heartbeat, uint32_t interval_ms);

#endif
