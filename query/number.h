/* number.h: JSON's numbers by value. */
#ifndef QUERY_NUMBER_H_
#define QUERY_NUMBER_H_

#include <stdint.h>
#include "base/jread.h"

enum number_kind {
	NUMBER_SMALL, /* an integer of at most 18 digits */
	NUMBER_BIG,   /* a longer one */
	NUMBER_FLOAT
};

struct number {
	enum number_kind kind;
	int64_t i;        /* NUMBER_SMALL */
	double d;         /* NUMBER_FLOAT */
	struct jstr text; /* as it was read, borrowed */
};

/** number_read(text, n): Read ${text}, a number in CouchDB's form. */
void number_read(struct jstr text, struct number *n);

/** number_compare(a, b): Below, equal to or above 0.  Exact: no integer is rounded to a double, as in Erlang. */
int number_compare(const struct number *a, const struct number *b);

/** number_is_slow(a, b): 1 if comparing them takes microseconds: a large double is written out. */
int number_is_slow(const struct number *a, const struct number *b);

/** number_rem(n, d, r): 1 if ${n} is an integer and its remainder by ${d}, which is not 0, with the sign of ${n}, is ${r}. */
int number_rem(const struct number *n, int64_t d, int64_t r);

#endif
