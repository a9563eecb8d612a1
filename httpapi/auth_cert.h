/* auth_cert.h: who asks, by the certificate that the client has shown in TLS. */
#ifndef HTTPAPI_AUTH_CERT_H_
#define HTTPAPI_AUTH_CERT_H_

#include "httpapi/api.h"

/**
 * auth_cert_step(r): For who brings no other credentials: 1: the certificate says who asks, and r->who is set; 0: it
 * has nothing to say.  Errors, negative: -ERR_NOMEM, -ERR_IO, -ERR_CORRUPT.
 */
int auth_cert_step(struct apireq *r) MUST_CHECK;

#endif
