/* openrevs.h: several revisions of one document. */
#ifndef HTTPAPI_OPENREVS_H_
#define HTTPAPI_OPENREVS_H_

#include "db/db.h"
#include "httpapi/api.h"
#include "httpapi/render.h"

/**
 * openrevs_get(r, o, list): GET with open_revs=${list}: "all" or a JSON list; in JSON or
 * multipart/mixed as the client accepts.
 */
void openrevs_get(struct apireq *r, const struct render_opts *o, struct jstr list);

#endif
