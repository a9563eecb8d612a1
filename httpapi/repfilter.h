/* repfilter.h: selectors and functions that decide which documents of a database here are replicated. */
#ifndef HTTPAPI_REPFILTER_H_
#define HTTPAPI_REPFILTER_H_

#include "httpapi/api.h"
#include "replicator/peer_local.h"

/** repfilter_judge(api): For replicator_config.judge. */
struct peer_judge repfilter_judge(struct api *api);

#endif
