/* arena.h: memory that is freed all at once, one per request. */
#ifndef BASE_ARENA_H_
#define BASE_ARENA_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Opaque. */
struct arena;

/** arena_new(max, ap): A new arena that gives out at most ${max} bytes in all.  Errors: ERR_NOMEM. */
int arena_new(size_t max, struct arena **ap) MUST_CHECK;

/** arena_free(a): Free everything that came from ${a}.  NULL is allowed. */
void arena_free(struct arena *a);

/**
 * arena_free_some(a, bytes): Free the beginning of what arena_free() or arena_reset(), one of which comes next, would: blocks of ${bytes} or
 * little more.  1: there are others.  What came from ${a} is gone; what it counts stays counted.
 */
int arena_free_some(struct arena *a, size_t bytes) MUST_CHECK;

/** arena_reset(a): As arena_free() followed by arena_new(), but keeps the first block. */
void arena_reset(struct arena *a);

/**
 * arena_count(a, sum, free, most):
 * As long as they are there, blocks of ${a} beyond ${free} bytes in all count in *${sum}, which others add to as well; there is no
 * memory for another where that would make it more than ${most}.  Until arena_reset(); ${sum} stays the same, ${free} may not.
 * arena_size(a): Bytes of all its blocks but the first.
 */
void arena_count(struct arena *a, _Atomic uint64_t *sum, size_t free, uint64_t most);
size_t arena_size(const struct arena *a);

/**
 * arena_alloc(a, n): ${n} bytes, aligned for any object, not cleared; NULL if there is no memory or the
 * maximum is reached.
 */
void *arena_alloc(struct arena *a, size_t n) MUST_CHECK;

/** arena_calloc(a, n, size): ${n} cleared objects of ${size} bytes; NULL also where the product overflows. */
void *arena_calloc(struct arena *a, size_t n, size_t size) MUST_CHECK;

/** arena_full(a): 1 if anything was refused since the last reset because it was beyond the maximum. */
int arena_full(const struct arena *a) MUST_CHECK;

/** arena_dup(a, p, len): A copy of ${len} bytes with a NUL behind it; NULL as above. */
char *arena_dup(struct arena *a, const void *p, size_t len) MUST_CHECK;

#endif
