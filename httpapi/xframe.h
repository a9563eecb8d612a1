/* xframe.h: X-Frame-Options: which pages may show an answer in a frame. */
#ifndef HTTPAPI_XFRAME_H_
#define HTTPAPI_XFRAME_H_

#include "base/err.h"

struct api;
struct apireq;

/** xframe_new(api): Set api->xframe from chttpd/enable_xframe_options, now and whenever it changes.  Errors: ERR_NOMEM. */
int xframe_new(struct api *api) MUST_CHECK;
/**
 * xframe_set(r): Before the answer, where api->xframe is set: the header that the section x_frame_options gives, as CouchDB
 * does; where that names nobody who is meant, or there is no memory, DENY.
 */
void xframe_set(struct apireq *r);
#endif
