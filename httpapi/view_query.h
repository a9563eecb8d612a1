/* view_query.h: what a query of a view asks for: parameters of the query string and members of the body. */
#ifndef HTTPAPI_VIEW_QUERY_H_
#define HTTPAPI_VIEW_QUERY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/jread.h"
#include "httpapi/api.h"
#include "httpapi/render.h"
#include "views/read.h"

enum view_update { VIEW_UPDATE_FIRST, VIEW_UPDATE_NONE, VIEW_UPDATE_LATER };

/* Keys that queries may share: those of a copy are the same ones.  Nothing of them changes once it is there. */
struct view_keys {
	size_t n;
	struct jstr *texts;    /* as they came */
	struct jstr *sortkeys; /* NULL before view_query_sortkeys() */
};

struct view_query {
	struct read_range range; /* its sort keys: view_query_sortkeys(); of one partition where a parameter says so */
	struct view_keys *start, *end; /* one each; NULL where that bound is not set */
	size_t *keys_bytes;            /* of the keys of the request, in all its queries: LIMIT_VIEW_KEYS at most */
	struct view_keys *keys;        /* NULL: no list of keys; what is descending reads it from its end */
	int include_docs;
	int update_seq;
	int reduce, group; /* -1: nothing was said */
	int has_level;
	uint64_t level; /* of the groups; view_query_check() puts in what follows from the others */
	uint64_t limit, skip;
	enum view_update update;
	struct render_opts render;
};

/** view_query_init(q, keys_bytes): All rows, or one reduction of them.  *${keys_bytes}, 0 at first, counts the keys of all queries of a request. */
void view_query_init(struct view_query *q, size_t *keys_bytes);

/**
 * view_query_params(r, q, why), view_query_members(r, j, q, why): Lay the query string, or the members of the object that ${j} has
 * stepped into, over ${q}; unknown names are passed over.  Memory: r->arena's and the input's.  Errors, in
 * CouchDB's words: ERR_QUERY_PARSE, ERR_BAD_JSON, ERR_BAD_REQUEST, ERR_ILLEGAL_PARTITION; ERR_TOO_LARGE (keys beyond LIMIT_VIEW_KEYS, or one beyond
 * LIMIT_ROW_KEY), ERR_NOMEM, ERR_INTERNAL.
 */
int view_query_params(struct apireq *r, struct view_query *q, struct errtext *why) MUST_CHECK;
int view_query_members(struct apireq *r, struct jread *j, struct view_query *q, struct errtext *why) MUST_CHECK;

/**
 * view_query_sortkeys(r, q, view): Make sort keys of the keys, in the order of that view, where no query that shares them has.  All of
 * them are of one view.  There may be many: not on an event loop.
 * Memory: r->arena's.  Errors: as read_sortkey(), ERR_TOO_LARGE.
 */
int view_query_sortkeys(struct apireq *r, struct view_query *q, const struct ddoc_view *view) MUST_CHECK;

/**
 * view_query_check(q, reduces, why): What can't be combined, in a query of a view that has a reduction or not; q->reduce is then 0 or 1.
 * Behind view_query_sortkeys().
 * Errors: ERR_QUERY_PARSE, ERR_KEY_RANGE.
 */
int view_query_check(struct view_query *q, int reduces, struct errtext *why) MUST_CHECK;

#endif
