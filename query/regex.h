/* regex.h: the regular expressions of $regex, with bounds on what matching may cost. */
#ifndef QUERY_REGEX_H_
#define QUERY_REGEX_H_

#include <stddef.h>
#include "base/err.h"
#include "base/jread.h"

/* Opaque: one, and those that share a bound on their size and the memory of a match. */
struct regex;
struct regex_set;

/** regex_set_new(setp): One thread at a time uses it and what is in it.  Errors: ERR_NOMEM. */
int regex_set_new(struct regex_set **setp) MUST_CHECK;

/** regex_set_free(set): With all that is in it.  NULL is allowed. */
void regex_set_free(struct regex_set *set);

/**
 * regex_new(set, pattern, rp): Compile into ${set}, which it ends with.  Errors: ERR_OPERATOR_ARG: not a regular expression, or too large;
 * ERR_TOO_LARGE: those in ${set} are more than LIMIT_SELECTOR_REGEXES together; ERR_NOMEM.
 */
int regex_new(struct regex_set *set, struct jstr pattern, struct regex **rp) MUST_CHECK;

/**
 * regex_match(r, subject, workp, matchp): Does ${r} match somewhere in ${subject}?  *${workp} is what matching may still cost, at first
 * LIMIT_REGEX_WORK, and is taken from; once it is spent, nothing matches.  Errors: ERR_NOMEM.
 */
int regex_match(struct regex *r, struct jstr subject, size_t *workp, int *matchp) MUST_CHECK;

#endif
