/*
 * updatefeeds.h: _db_updates: its requests, and those of them that wait.
 */
#ifndef HTTPAPI_UPDATEFEEDS_H_
#define HTTPAPI_UPDATEFEEDS_H_

#include <stdint.h>
#include "base/err.h"
#include "httpapi/api.h"

/**
 * updatefeeds_new(api): Make ${api}->updatefeeds, once ${api}->server, ->dbs and ->ex are set and before the server
 * runs.  Errors: ERR_NOMEM.
 */
int updatefeeds_new(struct api *api) MUST_CHECK;
/** updatefeeds_free(api): The server has stopped, and updatefeeds_moved() is not called any more. */
void updatefeeds_free(struct api *api);

/** updatefeeds_moved(api, name, seq, dropped): What dbs_config's moved() tells.  Any thread. */
void updatefeeds_moved(struct api *api, const char *name, uint64_t seq, int dropped);

#endif
