/*
 * feeds.h: open requests that are told of what happens: longpoll, continuous and eventsource, of _changes and of _db_updates.
 * An idle one is a small record in its HTTP thread's table.
 */
#ifndef HTTPAPI_FEEDS_H_
#define HTTPAPI_FEEDS_H_

#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"

/* feedtable.h has them. */
struct feed;
struct feed_kind;

/**
 * feeds_new(api): Make ${api}->feeds, once ${api}->server and ->ex are set and before the server
 * runs.  Errors: ERR_NOMEM.
 */
int feeds_new(struct api *api) MUST_CHECK;
/**
 * feeds_free(api): The server has stopped and nobody will call feeds_moved() any more.  NULL
 * feeds are allowed.
 */
void feeds_free(struct api *api);

/**
 * feeds_moved(api, name, seq, dropped): What dbs_config's moved() tells: wakes the HTTP threads that have feeds of
 * the database.  Any thread; feeds may be NULL.
 */
void feeds_moved(struct api *api, const char *name, uint64_t seq, int dropped);

/**
 * feeds_open(f, r, kind, name, heartbeat, interval_ms):
 * Answer ${r}, whose headers have been set, with the feed ${f}, which is zeroed but for what is ${kind}'s and lives as
 * long as ${r}.  ${name} is its database's.  ${interval_ms} without a row it gets a heartbeat, or ends where
 * ${heartbeat} is 0.
 */
void feeds_open(struct feed *f, struct apireq *r, const struct feed_kind *kind, const char *name, int heartbeat,
    uint32_t interval_ms);
/** feeds_waited(f): What f's wait() began is over; ${f} may be so, too. */
void feeds_waited(struct feed *f);
/** feeds_event_head(r): The headers of an eventsource. */
void feeds_event_head(struct apireq *r);

#endif
