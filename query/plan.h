/*
 * plan.h: how a Mango query is answered: by which index and which of its keys.  Pure: the numbers of rows come from a
 * callback.
 *
 * Which indexes may serve a query, and which of them CouchDB takes, is as in CouchDB 3.5 (mango_idx, mango_cursor_view).  Where
 * the counts of rows show that another way reads far less, that way is taken: see plan.c.
 */
#ifndef QUERY_PLAN_H_
#define QUERY_PLAN_H_

#include <stddef.h>
#include <stdint.h>
#include "query.h"

/* A declared index: a row for each document that has all its columns and passes its filter. */
struct query_index {
	struct jstr ddoc;           /* "_design/x"; terminated, as name */
	struct jstr name;           /* of the view in it */
	const struct jstr *columns; /* paths, as selectors have them */
	size_t ncolumns;
	int descending;     /* what the definition says; of no effect */
	struct jstr filter; /* normalised partial_filter_selector, JSON; len 0: every document */
	int partitioned;
	uint64_t number; /* of the caller */
};

/*
 * Some of the rows of an index, in ascending order, or of all documents by id.  For an index the ends are beginnings of sort keys of the
 * arrays of its columns' values: rows whose sort key begins with ${low} are in the range unless low_behind is 1, those that
 * begin with ${high} are unless high_before is 1.  For documents they are ids, and nothing but equal ids begins with one.
 */
struct query_range {
	struct jstr low, high; /* len 0: no end */
	int low_behind, high_before;
};

/* Rows of one index, one range after the other; they do not overlap. */
struct query_part {
	const struct query_index *index; /* NULL: all documents, by id */
	const struct query_range *ranges;
	size_t nranges; /* 0: nothing can match */
	/*
	 * Of several parts: rows of this one count only if their documents match this branch of the $or, and none of the
	 * parts' before it; so each document is met once.  NULL: of every document.
	 */
	struct query_selector *branch;
	uint64_t rows; /* in the ranges, when it was planned; UINT64_MAX: not known */
};

/* Why an index was not taken, as _explain has it. */
struct query_candidate {
	const struct query_index *index; /* NULL: all documents */
	int usable;
	const char *reason; /* CouchDB's name of it, such as "field_mismatch" */
	unsigned ranking;
	int covering;
	uint64_t rows; /* that would be read; UINT64_MAX: not known */
};

struct query_plan {
	struct arena *arena; /* of all of it */
	int found;           /* 0: no index will do, which is an error where it is no _explain: there are no parts */
	int noop;            /* CouchDB does not even look: its answer has neither bookmark nor warning.  No ranges */
	const char *way;     /* "all_docs", "index", "ranges" (several of one index), "union" (several parts) */
	struct query_part *parts;
	size_t nparts;
	size_t either;  /* of a union: which of the selector's conditions is the $or */
	int weighed;    /* numbers of rows had a say, so that the same indexes may give another plan at another time */
	int descending; /* the ranges are read from the last, and each from its end */
	int covered;    /* the rows' keys and ids hold all that is asked for (one part) */
	int exact;      /* whatever is in the ranges matches the selector (one part, no filter on what is not there) */
	const struct query_index *chosen; /* what CouchDB would name: the part's index; NULL: all documents */
	struct jstr start_key,
	    end_key; /* JSON, as _explain's mrargs have them upward; "<MAX>" stands for what is above all */
	struct query_candidate *candidates; /* all but the chosen one */
	size_t ncandidates;
};

/* Numbers of rows: Set *${rowsp} to the rows of ${ranges}, or to UINT64_MAX.  Not called without need. */
typedef void query_count_f(
    void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp);

/* What is asked of the planner.  Borrowed for the call, but for the indexes, which live as long as the plan. */
struct query_ask {
	const struct query_selector *selector;
	const struct jstr *sort; /* paths */
	size_t nsort;
	int descending;            /* the sort's direction */
	const struct jstr *fields; /* paths */
	size_t nfields;            /* 0: whole documents */
	const struct query_index *indexes;
	size_t nindexes;
	struct jstr use_ddoc, use_name; /* use_index; ddoc begins with "_design/"; len 0: none */
	int in_partition; /* only rows of one partition are read: indexes that are partitioned serve, and only those */
	int conflicts;    /* _conflicts are wanted: nothing covers that */
	/* The way that a page before this one went, and no other: part by part the index, or NULL for all documents. */
	const struct query_index *const *keep;
	size_t nkeep; /* 0: whatever is best */
	size_t keep_either;
	query_count_f *count; /* NULL: nothing is known */
	void *cookie;
};

/**
 * query_plan_new(ask, pp): Errors: ERR_NOMEM, ERR_TOO_LARGE, ICU's (icu.h).  query_plan_free(p): NULL is allowed.
 */
int query_plan_new(const struct query_ask *ask, struct query_plan **pp) MUST_CHECK;
void query_plan_free(struct query_plan *p);

/**
 * query_plan_hints(s, a, indexablep, np, unindexablep, mp): The fields of ${s} that an index could serve, and the others, as _explain's
 * selector_hints have them; ${a}'s memory.  Errors: ERR_NOMEM.
 */
int query_plan_hints(const struct query_selector *s, struct arena *a, struct jstr **indexablep, size_t *np,
    struct jstr **unindexablep, size_t *mp) MUST_CHECK;

/* ---- The columns of an index ---- */

/* Opaque: finds the values of columns in documents. */
struct query_columns;

/** query_columns_new(columns, n, cp): Errors: ERR_FIELD_NAME, ERR_NOMEM.  query_columns_free(c): NULL is allowed. */
int query_columns_new(const struct jstr *columns, size_t n, struct query_columns **cp) MUST_CHECK;
void query_columns_free(struct query_columns *c);
/** query_columns_apart(c): 1: no column is within another one, as a.b is in a. */
int query_columns_apart(const struct query_columns *c);
/**
 * query_columns_row(c, doc, scratch, key, sortkey, hasp): The row in an index of the object ${doc}, which has its "_id" and "_rev" if a column begins so: append the
 * JSON array of the columns' values to ${key}, and its sort key to ${sortkey}; where it lacks one *${hasp} is 0, and both are as they were.  Where the array or its
 * sort key has more than LIMIT_INDEX_KEY bytes, the row is cut: nothing is appended to ${key}, and of the sort key LIMIT_INDEX_KEY bytes at most.  Ranges of a
 * plan end within those, so a cut row stands in just those in which it would stand whole; rows that agree in them stand in the order of their ids.
 * One thread at a time.  Errors: ERR_BAD_JSON, query_sortkey()'s, the buffers'.
 */
int query_columns_row(struct query_columns *c, struct jstr doc, struct buf *scratch, struct buf *key,
    struct buf *sortkey, int *hasp) MUST_CHECK;
/**
 * query_columns_doc(c, key, id, out): The other way: append an object with the columns and "_id" as the row (${key}, ${id}) has
 * them.  For plans that are covered.  Errors: ERR_BAD_JSON, ${out}'s.
 */
int query_columns_doc(struct query_columns *c, struct jstr key, struct jstr id, struct buf *out) MUST_CHECK;
/** query_columns_values(key, values, n): The texts of the ${n} values of the row's key ${key}, which they point into.  Errors: ERR_BAD_JSON. */
int query_columns_values(struct jstr key, struct jstr *values, size_t n) MUST_CHECK;

#endif
