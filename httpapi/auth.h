/* auth.h: who asks: Basic credentials, session cookies, bearer tokens, and what a trusted proxy says. */
#ifndef HTTPAPI_AUTH_H_
#define HTTPAPI_AUTH_H_

#include "httpapi/api.h"

/** auth_new(api): Set api->auth.  api->config and api->accounts are set.  Errors: ERR_NOMEM. */
int auth_new(struct api *api) MUST_CHECK;
void auth_free(struct api *api);

/**
 * auth_load(api): Read the settings again after they changed.  Any thread; requests that are under way
 * end by the settings with which they began.  Errors: ERR_NOMEM; those that were, hold on.
 */
int auth_load(struct api *api) MUST_CHECK;

/**
 * auth_challenge(r, pagep): The answer will be a 401: set its WWW-Authenticate header, as the client or the settings ask
 * for it.  Returns 0 if there is none; *${pagep} is then where a browser is sent to log in, or "".
 */
int auth_challenge(struct apireq *r, const char **pagep);

/**
 * auth_step(r, then): Find out who asks, set r->who and r->authenticated, and call ${then}(r), at
 * once where no password is to be derived, else later on the request's own thread; or answer the
 * request: bad credentials never pass as anonymous.
 */
void auth_step(struct apireq *r, api_f *then);

#endif
