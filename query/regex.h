/* regex.h: the regular expressions of $regex, with bounds on what matching may cost. */
#ifndef QUERY_REGEX_H_
#define QUERY_REGEX_H_

#include <stddef.h>
#include "base/err.h"
#include "base/jread.h"

/* Opaque. */
struct regex;

/** regex_new(pattern, rp): Compile.  Errors: ERR_OPERATOR_ARG: not a regular expression, or too large; ERR_NOMEM. */
int regex_new(struct jstr pattern, struct regex **rp) MUST_CHECK;

/** regex_free(r): NULL is allowed. */
void regex_free(struct regex *r);

/**
 * regex_match(r, subject, workp): 1 if ${r} matches somewhere in ${subject}.  *${workp} is what matching may still cost, at first
 * LIMIT_REGEX_WORK, and is taken from; once it is spent, 0.  One thread at a time.
 */
int regex_match(struct regex *r, struct jstr subject, size_t *workp);

#endif
