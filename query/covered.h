/* covered.h: the wanted fields of documents from their rows in an index that has all of these. */
#ifndef QUERY_COVERED_H_
#define QUERY_COVERED_H_

#include <stddef.h>
#include "plan.h"

/* Opaque: what stands between the values. */
struct query_covered;

/**
 * query_covered_new(n, columns, fields, cp): For the index that has these ${n} columns; ${columns} and ${fields} are used during the call alone.  *${cp} is NULL where
 * that cannot be done without looking at each document.  Errors: ERR_NOMEM, ERR_TOO_LARGE, ERR_BAD_JSON.  query_covered_free(c): NULL is allowed.
 */
int query_covered_new(
    size_t n, struct query_columns *columns, struct query_fields *fields, struct query_covered **cp) MUST_CHECK;
void query_covered_free(struct query_covered *c);
/** query_covered_put(c, key, id, out): What query_fields_put() appends of the document that query_columns_doc() tells of.  One thread at a time.  Errors: ERR_BAD_JSON, ${out}'s. */
int query_covered_put(struct query_covered *c, struct jstr key, struct jstr id, struct buf *out) MUST_CHECK;

#endif
