/* transport.h: how clients may come: TLS by the section ssl, and what becomes of plain HTTP. */
#ifndef HTTPAPI_TRANSPORT_H_
#define HTTPAPI_TRANSPORT_H_

#include "httpapi/api.h"

/**
 * transport_tls(c, out): ${out} from the section ssl; 1 if there is to be TLS, 0 if not; texts live as long as ${c}.
 * Errors, negative: -ERR_BAD_REQUEST with a log line.
 */
int transport_tls(const struct config *c, struct http_tls *out) MUST_CHECK;

/** transport_new(api): Set api->transport, from the configuration and whenever that changes.  Errors: ERR_NOMEM. */
int transport_new(struct api *api) MUST_CHECK;
void transport_free(struct api *api);

/**
 * transport_cert_user(api, whatp): 1 if a client's certificate says who asks, and where in it that stands.
 * transport_cert_admins(api): 1 if that may be an administrator.
 */
int transport_cert_user(const struct api *api, enum http_cert_name *whatp) MUST_CHECK;
int transport_cert_admins(const struct api *api) MUST_CHECK;

/** transport_step(r): 1 if the request must not come this way and has been answered.  Sets headers of answers over TLS. */
int transport_step(struct apireq *r) MUST_CHECK;

#endif
