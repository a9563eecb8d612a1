/* auth.h: who asks: Basic credentials, session cookies, and the server's administrators. */
#ifndef HTTPAPI_AUTH_H_
#define HTTPAPI_AUTH_H_

#include "httpapi/api.h"

/** auth_new(api): Set api->auth.  api->config is set.  Errors: ERR_NOMEM. */
int auth_new(struct api *api) MUST_CHECK;
void auth_free(struct api *api);

/**
 * auth_load(api): Read the settings again after they changed; verified credentials are forgotten.
 * Any thread.
 */
int auth_load(struct api *api) MUST_CHECK;

/** auth_required(api): 1 if anonymous requests are refused everywhere. */
int auth_required(const struct api *api);

/**
 * auth_step(r, then): Find out who asks, set r->who and r->authenticated, and call ${then}(r), at
 * once where no password is to be derived, else later on the request's own thread; or answer the
 * request: bad credentials never pass as anonymous.
 */
void auth_step(struct apireq *r, api_f *then);

#endif
