/* view_rows.h: the answers to queries of one view, as text.  Between view.c and view_rows.c. */
#ifndef HTTPAPI_VIEW_ROWS_H_
#define HTTPAPI_VIEW_ROWS_H_

#include "httpapi/rows.h"
#include "httpapi/view_query.h"
#include "views/read.h"

/* The answers to a request; lives in its arena. */
struct view_rows {
	struct apireq *r;
	struct view_index *ix;
	const struct ddoc_view *view;
	struct view_query *queries;
	size_t nqueries;
	size_t keys_bytes; /* struct view_query's */
	int multi;         /* /queries */
	struct errtext why;
	char error[64]; /* with ERR_SCRIPT: its name */
	/* Where it has got to: */
	size_t current;
	struct rows_turn turn; /* of all queries together */
	int headed;            /* its head is written */
	int rows;              /* 1 once a row is written */
	uint64_t left;         /* rows still allowed, */
	uint64_t skip;         /* and still to be passed over */
	size_t next_key;       /* place in its keys */
	struct buf place;
	size_t groups; /* that are reduced at a time, where values are large; 0: as many as may be */
};

/** view_rows_fill(cookie, b, scratch): A rows_f. */
int view_rows_fill(void *cookie, struct buf *b, struct arena *scratch);

/**
 * view_rows_take(r, ddoc, view, taken, cookie): The rows that ${r} asks for of ${view} of the design document named ${ddoc}, for
 * another to use: ${taken} may have view_rows_fill(l, ..) make them on a thread that may wait, and ends with
 * view_rows_drop(l) before it answers ${r}.  What is wrong is answered, and ${taken} not called.
 */
void view_rows_take(struct apireq *r, struct jstr ddoc, struct jstr view,
    void (*taken)(struct apireq *r, struct view_rows *l, void *cookie), void *cookie);
void view_rows_drop(struct view_rows *l);

#endif
