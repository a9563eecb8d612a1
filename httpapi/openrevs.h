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

/**
 * openrevs_find(doc, rev, latest, fn, cookie):
 * Each revision that stands for ${rev}: itself, or with ${latest} the leaves that descend from it,
 * winner order; until ${fn} returns not 0.  *${np} counts them.  A revision without a body is
 * passed over.
 */
int openrevs_find(struct db_doc *doc, const struct rev *rev, int latest,
    int (*fn)(struct db_doc *doc, struct revpos at, void *cookie), void *cookie, size_t *np) MUST_CHECK;

#endif
