/* heap.h: what waits, the one with the least key at hand: a binary heap of places, each of which knows where it stands. */
#ifndef BASE_HEAP_H_
#define BASE_HEAP_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct heap;

/* Lives in what waits.  Zero: in none. */
struct heap_place {
	struct heap *heap; /* that it is in, or was in last */
	size_t at;         /* from 1 on; 0: in none */
	uint64_t key;
};

/* Zero: empty. */
struct heap {
	struct heap_place **places; /* from 1 on */
	size_t n, room;
};

/** heap_reserve(h, n): Let ${n} have room in it.  Errors: ERR_NOMEM. */
int heap_reserve(struct heap *h, size_t n) MUST_CHECK;
/** heap_add(h, p, key): ${p} is in none; there is room for it. */
void heap_add(struct heap *h, struct heap_place *p, uint64_t key);
/** heap_remove(p): From whichever it is in, if it is in one. */
void heap_remove(struct heap_place *p);
/** heap_first(h): The one with the least key, or NULL. */
struct heap_place *heap_first(const struct heap *h);
void heap_release(struct heap *h);

#endif
