/* router.h: from a request's path to its handler. */
#ifndef HTTPAPI_ROUTER_H_
#define HTTPAPI_ROUTER_H_

#include "httpapi/api.h"

/**
 * router_go(r): Call the handler of ${r}'s path, or answer.  ${r} is authenticated.  Opens r->db
 * and sets r->id where the path names them.
 */
void router_go(struct apireq *r);

#endif
