/* inrange.h: which rows are in a range of the planner, as query/plan.h says it; for the tests that count them. */
#ifndef TESTS_UNIT_INRANGE_H_
#define TESTS_UNIT_INRANGE_H_

#include <string.h>

#include "query/plan.h"

static inline int
inrange_begins(struct jstr s, struct jstr prefix, int ids)
{
	return (ids ? s.len == prefix.len : s.len >= prefix.len) && memcmp(s.s, prefix.s, prefix.len) == 0;
}

/* inrange: ${key} is an index's sort key, or with ${ids} a document's id. */
static inline int
inrange(const struct query_range *r, struct jstr key, int ids)
{
	if (r->low.len > 0 && (inrange_begins(key, r->low, ids) ? r->low_behind : jstr_order(&key, &r->low) < 0))
		return 0;
	return r->high.len == 0 ||
	       (inrange_begins(key, r->high, ids) ? !r->high_before : jstr_order(&key, &r->high) < 0);
}

#endif
