/* find_query.h: the body of _find and _explain. */
#ifndef HTTPAPI_FIND_QUERY_H_
#define HTTPAPI_FIND_QUERY_H_

#include <stddef.h>
#include <stdint.h>
#include "httpapi/api.h"
#include "query/plan.h"

/* What a query asks for, in the request's memory, but for selector and fields. */
struct find_query {
	struct query_selector *selector;
	struct query_fields *fields; /* NULL: whole documents */
	const struct jstr *paths;    /* of fields */
	size_t npaths;
	const struct jstr *sort; /* paths */
	size_t nsort;
	int descending;
	struct jstr use_ddoc, use_name; /* use_index; ddoc begins with "_design/"; terminated; len 0: none */
	struct jstr partition;          /* len 0: none */
	struct jstr bookmark;           /* as it was given, to be looked at by who needs it; len 0: none */
	uint64_t limit, skip, r;        /* FIND_WORDS_MANY at most */
	int has_limit;
	int conflicts, update, stable, execution_stats, allow_fallback;
	int stale;                               /* "ok": an index as it is; see find_query_updates() */
	struct jstr use_index_text, fields_text; /* JSON, as "opts" has them */
};

/**
 * find_query_read(r, body, out, why): Read ${body}, a JSON object, with CouchDB's words for what is wrong; a partition may stand in the path
 * (r->part[2] of _partition/{p}/...), the query's parameter or the body.  What was made is ended with
 * find_query_release(), also where it fails; a zeroed ${q} too.  Errors: ERR_BAD_JSON, ERR_BAD_REQUEST, ERR_MISSING_KEY and all of mango's, ERR_NOMEM.
 */
int find_query_read(struct apireq *r, struct jstr body, struct find_query *out, struct errtext *why) MUST_CHECK;
void find_query_release(struct find_query *q);

/** find_query_updates(q): The indexes are to be brought up to date before they are read. */
static inline int
find_query_updates(const struct find_query *q)
{
	return q->update && !q->stale;
}

/** find_query_put_opts(q, b): Append what _explain shows as "opts": every member as it was asked for, or its default.  Errors: those of ${b}. */
int find_query_put_opts(const struct find_query *q, struct buf *b);

/** find_query_sort(a, text, sortp, np, descendingp, why): A sort, or the fields of an index: names, or objects {name: "asc"|"desc"}.  Errors: ERR_SORT_*, ERR_MIXED_SORT, ERR_NOMEM. */
int find_query_sort(struct arena *a, struct jstr text, const struct jstr **sortp, size_t *np, int *descendingp,
    struct errtext *why) MUST_CHECK;

#endif
