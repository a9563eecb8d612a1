/* builtin.h: the reductions that need no JavaScript, over JSON texts.  Pure.  Private to views/. */
#ifndef VIEWS_BUILTIN_H_
#define VIEWS_BUILTIN_H_

#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "ddoc.h"

/*
 * A reduction goes in three steps: rows to a partial result, partial results to one, and that to what readers see.
 * Partial results are JSON texts; they stand in the index.  Results of ranges that follow each other are combined in that order.
 */

/**
 * builtin_rows(kind, max, keys, values, n, out, why): Append the partial result of ${n} > 0 rows in the order of the view.  ${max}: N of
 * _top_N and _bottom_N.  Errors: ERR_REDUCE (a value that the function does not take, ${why}), ERR_BAD_JSON, ERR_NOMEM.
 */
int builtin_rows(enum ddoc_reduce kind, unsigned max, const struct jstr *keys, const struct jstr *values, size_t n,
    struct buf *out, struct errtext *why) MUST_CHECK;

/** builtin_combine(kind, max, parts, n, out, why): Append what ${n} > 0 partial results are together. */
int builtin_combine(enum ddoc_reduce kind, unsigned max, const struct jstr *parts, size_t n, struct buf *out,
    struct errtext *why) MUST_CHECK;

/** builtin_final(kind, part, out): Append what readers see of a partial result. */
int builtin_final(enum ddoc_reduce kind, struct jstr part, struct buf *out) MUST_CHECK;

#endif
