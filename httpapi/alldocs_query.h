/*
 * alldocs_query.h: what a listing of documents asks for: parameters of the query string and members
 * of the body.
 */
#ifndef HTTPAPI_ALLDOCS_QUERY_H_
#define HTTPAPI_ALLDOCS_QUERY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/jread.h"
#include "httpapi/api.h"
#include "httpapi/render.h"

/* A bound of the ids.  Every JSON value that is not a string sorts before all strings. */
struct alldocs_bound {
	int set;
	int low; /* not a string */
	struct jstr id;
};

/* One member of keys. */
struct alldocs_key {
	struct jstr id;   /* unescaped; s is NULL if it is not a string */
	struct jstr text; /* as it stands in the input */
};

struct alldocs_query {
	struct alldocs_bound start;
	struct alldocs_bound end;
	int descending;
	int exclusive_end;
	int include_docs;
	int update_seq;
	int reduce; /* asked for, and to be refused */
	int group;
	struct render_opts render;
	uint64_t limit;
	uint64_t skip;
	int has_keys;
	struct alldocs_key *keys;
	size_t nkeys;
	struct jstr partition;     /* that is asked for; .s NULL: none */
	struct jstr first, behind; /* its ids, from first on, below behind; empty: not known yet */
};

/* A parameter's value as it came. */
struct alldocs_value {
	int json;
	struct jstr text;
};

/** alldocs_value_text(v): Without the quotes in which numbers and booleans may stand in a body. */
struct jstr alldocs_value_text(const struct alldocs_value *v);
/** alldocs_value_bool(v, outp, why), alldocs_value_number(v, outp, why): Errors, in CouchDB's words: ERR_QUERY_PARSE. */
int alldocs_value_bool(const struct alldocs_value *v, int *outp, struct errtext *why) MUST_CHECK;
int alldocs_value_number(const struct alldocs_value *v, uint64_t *outp, struct errtext *why) MUST_CHECK;
/** alldocs_value_partition(r, v, outp, why): A partition's name, in r->arena if not ${v}'s memory.  Errors: ERR_ILLEGAL_PARTITION; rows_string()'s. */
int alldocs_value_partition(
    struct apireq *r, const struct alldocs_value *v, struct jstr *outp, struct errtext *why) MUST_CHECK;
/**
 * alldocs_value_fresh(name, v, why): What says which index is asked and how fresh it is to be (stale, stable, update) has one of its
 * values; other names are passed over.  Errors: ERR_QUERY_PARSE.
 */
int alldocs_value_fresh(const struct jstr *name, const struct alldocs_value *v, struct errtext *why) MUST_CHECK;

/**
 * alldocs_value_limit(r, partition, limitp, why): *${limitp}, which is UINT64_MAX if none was asked for, is at most what query_server_config
 * allows a query, of a partition or not.  Errors: ERR_QUERY_PARSE.
 */
int alldocs_value_limit(const struct apireq *r, int partition, uint64_t *limitp, struct errtext *why) MUST_CHECK;

/** alldocs_query_init(q): Everything, ascending. */
void alldocs_query_init(struct alldocs_query *q);

/**
 * alldocs_query_params(r, q, why), alldocs_query_members(r, j, q, why): Lay the query string, or
 * the members of the object that ${j} has stepped into, over ${q}; unknown names are passed over.
 * Memory: r->arena and the input's.  Errors, in CouchDB's words: ERR_QUERY_PARSE, ERR_BAD_JSON,
 * ERR_BAD_REQUEST; ERR_NOMEM.
 */
int alldocs_query_params(struct apireq *r, struct alldocs_query *q, struct errtext *why) MUST_CHECK;
int alldocs_query_members(struct apireq *r, struct jread *j, struct alldocs_query *q, struct errtext *why) MUST_CHECK;

/** alldocs_query_check(q, why): What can't be combined.  Errors: ERR_QUERY_PARSE. */
int alldocs_query_check(const struct alldocs_query *q, struct errtext *why) MUST_CHECK;

#endif
