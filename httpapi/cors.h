/* cors.h: requests from pages of other origins. */
#ifndef HTTPAPI_CORS_H_
#define HTTPAPI_CORS_H_

#include "httpapi/api.h"

/**
 * cors_load(api): Read the configuration into api->cors, and again after it changed; what was there
 * stays valid.  Errors: ERR_NOMEM.
 */
int cors_load(struct api *api) MUST_CHECK;
/** cors_new(api): The same, from now on whenever a setting changes. */
int cors_new(struct api *api) MUST_CHECK;
void cors_free(struct api *api);

/**
 * cors_step(r): Set the CORS headers of the answer to come.  1 if the request was a preflight and
 * has been answered.
 */
int cors_step(struct apireq *r);

/** cors_trusts(r, origin): 1 if pages of ${origin} may use what a browser adds by itself to a request such as ${r}. */
int cors_trusts(struct apireq *r, const struct jstr *origin) MUST_CHECK;

#endif
