/* keysort.h: many keys put in order.  Private to views/. */
#ifndef VIEWS_KEYSORT_H_
#define VIEWS_KEYSORT_H_

#include <stddef.h>
#include <stdint.h>

struct keysort {
	uint64_t chunk; /* keysort()'s */
	const char *key;
	uint32_t len;
	uint32_t at; /* the caller's */
};

/** keysort(v, n): Sort by key, as bytes; no key is the beginning of another. */
void keysort(struct keysort *v, size_t n);
/** keysort_cmp(a, b): The order of two keys. */
int keysort_cmp(const struct keysort *a, const struct keysort *b);

#endif
