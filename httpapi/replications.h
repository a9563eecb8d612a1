/* replications.h: the replicator as divand runs it: by its settings, with its accounts, filters and HTTP client. */
#ifndef HTTPAPI_REPLICATIONS_H_
#define HTTPAPI_REPLICATIONS_H_

#include "httpapi/api.h"
#include "replicator/spec.h"

/**
 * replications_new(api): Set api->replications and api->replicator, once dbs, ex, slow, config and uuid are set.  Errors:
 * ERR_NOMEM; ERR_BAD_REQUEST, with a log line: a setting that cannot be.
 */
int replications_new(struct api *api) MUST_CHECK;
/** replications_start(api): Run what the replication documents describe: once api->server and all that is told of commits are there. */
int replications_start(struct api *api) MUST_CHECK;
/**
 * replications_stop(api): End the replications, each with a checkpoint; waits for them.  Before the databases close.
 * replications_free(api): After it, while the executor runs.
 */
void replications_stop(struct api *api);
void replications_free(struct api *api);

/** replications_moved(api, name, seq, dropped): As dbs_config.moved says it. */
void replications_moved(struct api *api, const char *name, uint64_t seq, int dropped);

/**
 * replications_parse(api, text, a, out, why): spec_parse() with the settings' defaults.  Errors: its, and ERR_FORBIDDEN: the
 * scheme of a URL or of a proxy is not among those that the settings allow.
 */
int replications_parse(
    struct api *api, struct jstr text, struct arena *a, struct rep_spec *out, struct errtext *why) MUST_CHECK;

#endif
