/*
 * ranges.h: which values of a field a selector lets pass, as ranges of bytes: of sort keys, or of documents' ids.  Private to
 * query/.
 */
#ifndef QUERY_RANGES_H_
#define QUERY_RANGES_H_

#include "plan.h"
#include "selector.h"

#define RANGES_KEY_MAX 1024u /* bytes of one value's sort key at an end of a range */

/* A range of values of one field; its ends as those of an index's rows, but beginnings of a value's sort key. */
struct ranges_span {
	struct query_range r;
	int point; /* values that are equal to one; its whole sort key stands at both ends */
};

/* Values of one field, in ascending order, apart. */
struct ranges {
	struct ranges_span *spans;
	size_t n, cap;
	int all;   /* nothing is known: n is 1, and there is no span */
	int exact; /* these values pass, and no others */
};

/* What making them needs. */
struct ranges_work {
	struct arena *arena; /* of all that is made */
	struct buf key, scratch, spans;
};

void ranges_init(struct ranges_work *w, struct arena *a);
void ranges_release(struct ranges_work *w);

/**
 * ranges_of_field(w, node, field, out): The values of ${field} in documents that have it and match ${node}, by sort keys.  Never too few.
 * ranges_of_ids(w, node, out): The ids of documents that match ${node}, by bytes.
 * Errors: ERR_NOMEM, ERR_BAD_JSON, ICU's (icu.h).
 */
int ranges_of_field(
    struct ranges_work *w, const struct selector_node *node, struct jstr field, struct ranges *out) MUST_CHECK;
int ranges_of_ids(struct ranges_work *w, const struct selector_node *node, struct ranges *out) MUST_CHECK;

/** ranges_both(w, list, other, ids): Leave in ${list} what is in both, which may use the memory of either.  Errors: ERR_NOMEM. */
int ranges_both(struct ranges_work *w, struct ranges *list, struct ranges *other, int ids) MUST_CHECK;

/**
 * ranges_product(w, columns, n, listp, np, usedp): The rows whose columns have values of ${columns}: points first, then one that is no point; NULL: of any value.  *${usedp} becomes the
 * number of columns that the ranges express fully.  At most LIMIT_FIND_RANGES; none where a column can have no value.  Errors: ERR_NOMEM.
 */
int ranges_product(struct ranges_work *w, const struct ranges *const *columns, size_t n, struct query_range **listp,
    size_t *np, size_t *usedp) MUST_CHECK;

#endif
