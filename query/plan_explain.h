/* plan_explain.h: CouchDB's choice of an index, as _explain shows it.  Private to query/. */
#ifndef QUERY_PLAN_EXPLAIN_H_
#define QUERY_PLAN_EXPLAIN_H_

#include "plan_couch.h"

/** plan_explain_keys(c, index, startp, endp, noopp): What _explain shows as the ends, ascending; *${noopp} is 1 where CouchDB would read nothing at all.  Errors: ERR_NOMEM. */
int plan_explain_keys(const struct plan_couch *c, const struct query_index *index, struct jstr *startp,
    struct jstr *endp, int *noopp) MUST_CHECK;

/** plan_explain_candidates(c, chosen, outp, np): All entries but ${chosen}'s, in the order in which _explain lists them.  Errors: ERR_NOMEM. */
int plan_explain_candidates(
    const struct plan_couch *c, const struct query_index *chosen, struct query_candidate **outp, size_t *np) MUST_CHECK;

#endif
