/* plan_couch.h: which index CouchDB takes for a query, and why not the others.  Private to query/. */
#ifndef QUERY_PLAN_COUCH_H_
#define QUERY_PLAN_COUCH_H_

#include "plan.h"
#include "selector.h"

/* What the comparisons of a selector leave of one field, as CouchDB sees it. */
struct plan_field {
	struct jstr name;                  /* first: it is looked for by name */
	const struct constant *low, *high; /* NULL: no end */
	int low_open, high_open;           /* the end itself is not let pass */
	int equal;
	int empty; /* nothing is let pass */
};

/* How far an index gets; those before PLAN_EXCLUDED are not usable. */
enum plan_stage { PLAN_PARTIAL, PLAN_OUT_OF_SCOPE, PLAN_NOT_USABLE, PLAN_EXCLUDED, PLAN_UNFAVOURED, PLAN_RUNNING };

/* An index that might be taken; NULL: all documents. */
struct plan_entry {
	const struct query_index *index;
	enum plan_stage stage;
	const char *reason; /* why it is not taken */
	size_t distance;    /* fields that comparisons look at, less those that it has at its beginning */
	uint64_t rows;      /* UINT64_MAX: not counted */
};

/* All of it is the arena's. */
struct plan_couch {
	const struct query_ask *ask;
	const struct selector_node *root;
	struct arena *arena;
	const struct jstr *indexable; /* the fields that comparisons look at, sorted */
	size_t nindexable;
	const struct plan_field *fields; /* of each, by name; or one that is empty, alone */
	size_t nfields;
	struct plan_entry *entries; /* of each of ask's indexes, then all documents */
	size_t nentries;
	struct plan_entry **running; /* those that can be taken, the best first */
	size_t nrunning;             /* 0: there is none */
	int named;                   /* use_index names one of them, and only such are among them */
};

/** plan_couch(ask, a, c): Go through the indexes of ${ask}.  Errors: ERR_NOMEM, those of comparing. */
int plan_couch(const struct query_ask *ask, struct arena *a, struct plan_couch *c) MUST_CHECK;

/** plan_couch_field(c, name): What the comparisons leave of a field; NULL: there are none.  plan_couch_prefix(c, index): Of how many columns at ${index}'s beginning that is known. */
const struct plan_field *plan_couch_field(const struct plan_couch *c, struct jstr name);
size_t plan_couch_prefix(const struct plan_couch *c, const struct query_index *index);

/** plan_couch_covers_fields(ask, index): Are all fields that are asked for, and there are some, columns of ${index}? */
int plan_couch_covers_fields(const struct query_ask *ask, const struct query_index *index);
/** plan_couch_covers(c, index): Are all fields that are asked for and that the selector looks at columns of ${index}? */
int plan_couch_covers(const struct plan_couch *c, const struct query_index *index);

/** plan_couch_in_scope(ask, index): Does ${index} have the rows of a whole database, or of each partition, as is asked? */
int plan_couch_in_scope(const struct query_ask *ask, const struct query_index *index);

/** plan_couch_usable(c, index): NULL, or why ${index} cannot answer the query. */
const char *plan_couch_usable(const struct plan_couch *c, const struct query_index *index);

/** plan_requires(node, field): Have all documents that match ${node} the field? */
int plan_requires(const struct selector_node *node, struct jstr field);

#endif
