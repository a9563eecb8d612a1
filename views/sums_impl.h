/* sums_impl.h: the records of reductions, for what marks them and what finds them out.  Private to views/sums*.c. */
#ifndef VIEWS_SUMS_IMPL_H_
#define VIEWS_SUMS_IMPL_H_

#include <string.h>

#include "sums.h"

static inline int
sums_key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
	int c = memcmp(a, b, alen < blen ? alen : blen);

	return c != 0 ? c : (alen > blen) - (alen < blen);
}

static inline void
sums_key_of_map(struct rows_key *k, unsigned map)
{
	k->b[0] = (unsigned char)(map >> 8);
	k->b[1] = (unsigned char)map;
	k->len = ROWS_MAP;
}

/* sums_record_key: Tree keys are at most 500 bytes, so there is room. */
static inline void
sums_record_key(struct rows_key *out, unsigned level, const void *key, size_t len)
{
	out->b[0] = (unsigned char)level;
	memcpy(out->b + 1, key, len);
	out->len = len + 1;
}

/* sums_is_of: 1 if a record is of this level and of the map of ${key}. */
static inline int
sums_is_of(const struct store_val *record, unsigned level, const void *key)
{
	const unsigned char *p = record->p;

	return record->len > ROWS_MAP && p[0] == level && memcmp(p + 1, key, ROWS_MAP) == 0;
}

static inline unsigned
sums_map_number(const void *key)
{
	const unsigned char *p = key;

	return (unsigned)p[0] << 8 | p[1];
}

#endif
