/*
 * Blocks in a list; allocation moves a pointer within one of them.  The first block is part of the
 * arena's own allocation, so that a small request costs one malloc() in all, and none once its arena is reused.
 *
 * 1. used counts every byte given out, alignment included, and never exceeds max.
 * 2. counted is what the blocks add to *sum: what they have beyond free.
 * 3. A block is never smaller than the request that made it; small requests go on from the block with the
 *    most room.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <stdint.h>
#include <string.h>

#define ALIGN alignof(max_align_t)
/* What a GET or an idle feed needs, with room to spare; ten thousand feeds keep ten thousand of them. */
#define FIRST_BLOCK 1344u
#define BLOCK_MAX (256u << 10)

struct block {
	struct block *next;
	size_t size;
	alignas(max_align_t) unsigned char bytes[];
};

struct arena {
	unsigned char *p;   /* next free byte */
	unsigned char *end; /* behind the block it is in */
	size_t used;
	size_t max;
	size_t next_size;
	int full;
	struct block *blocks;  /* but for the first */
	_Atomic uint64_t *sum; /* NULL: nobody asks */
	uint64_t most;
	size_t sizes, free, counted; /* of blocks; see 2 */
	alignas(max_align_t) unsigned char first[FIRST_BLOCK];
};

static void
start(struct arena *a)
{
	a->p = a->first;
	a->end = a->first + sizeof(a->first);
	a->used = 0;
	a->next_size = 2 * FIRST_BLOCK;
	a->full = 0;
	a->blocks = NULL;
	a->sum = NULL;
	a->sizes = a->counted = 0;
}

int
arena_new(size_t max, struct arena **ap)
{
	struct arena *a = malloc(sizeof(*a));

	if (a == NULL)
		return ERR_NOMEM;
	a->max = max;
	start(a);
	*ap = a;
	return 0;
}

static void
free_blocks(struct arena *a)
{
	struct block *next;

	for (struct block *b = a->blocks; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	if (a->counted > 0)
		atomic_fetch_sub(a->sum, a->counted);
}

int
arena_free_some(struct arena *a, size_t bytes)
{
	struct block *b;

	for (size_t freed = 0; freed < bytes && (b = a->blocks) != NULL;) {
		a->blocks = b->next;
		freed += b->size;
		free(b);
	}
	return a->blocks != NULL;
}

void
arena_free(struct arena *a)
{
	if (a == NULL)
		return;
	free_blocks(a);
	free(a);
}

void
arena_reset(struct arena *a)
{
	free_blocks(a);
	start(a);
}

/* What blocks of ${sizes} bytes in all would add to what is counted. */
static size_t
uncounted(const struct arena *a, size_t sizes)
{
	return sizes > a->free && sizes - a->free > a->counted ? sizes - a->free - a->counted : 0;
}

void
arena_count(struct arena *a, _Atomic uint64_t *sum, size_t free, uint64_t most)
{
	size_t now = a->sizes > free ? a->sizes - free : 0;

	a->sum = sum;
	a->free = free;
	a->most = most;
	/* Where it is less, the difference wraps, and so does the sum. */
	if (now != a->counted)
		atomic_fetch_add(sum, (uint64_t)now - a->counted);
	a->counted = now;
}

size_t
arena_size(const struct arena *a)
{
	return a->sizes;
}

/* count: A block of ${size} bytes is there.  0: there is no room for it. */
static int
count(struct arena *a, size_t size)
{
	size_t more = a->sum != NULL ? uncounted(a, a->sizes + size) : 0;

	if (more > 0) {
		if (atomic_load_explicit(a->sum, memory_order_relaxed) + more > a->most)
			return 0;
		atomic_fetch_add_explicit(a->sum, more, memory_order_relaxed);
	}
	a->counted += more;
	a->sizes += size;
	return 1;
}

static __attribute__((noinline)) void *
new_block(struct arena *a, size_t n)
{
	size_t size = a->next_size > n ? a->next_size : n;
	struct block *b;

	if (size > SIZE_MAX - sizeof(*b))
		return NULL;
	b = malloc(sizeof(*b) + size);
	if (b == NULL || !count(a, size)) {
		free(b);
		return NULL;
	}
	if (a->next_size < BLOCK_MAX)
		a->next_size *= 2;
	b->size = size;
	b->next = a->blocks;
	a->blocks = b;
	/* The block with more room left stays the one that small requests are served from. */
	if (size - n >= (size_t)(a->end - a->p)) {
		a->p = b->bytes + n;
		a->end = b->bytes + size;
	}
	return b->bytes;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	unsigned char *p = a->p;

	if (n > SIZE_MAX - ALIGN)
		return NULL;
	n = n > 0 ? (n + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
	if (n > a->max - a->used) {
		a->full = 1;
		return NULL;
	}
	if (n > (size_t)(a->end - p)) {
		p = new_block(a, n);
		if (p == NULL)
			return NULL;
	} else {
		a->p += n;
	}
	a->used += n;
	return p;
}

int
arena_full(const struct arena *a)
{
	return a->full;
}

void *
arena_calloc(struct arena *a, size_t n, size_t size)
{
	void *p;

	if (size > 0 && n > SIZE_MAX / size)
		return NULL;
	p = arena_alloc(a, n * size);
	if (p != NULL)
		memset(p, 0, n * size);
	return p;
}

char *
arena_dup(struct arena *a, const void *p, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, p, len);
	copy[len] = '\0';
	return copy;
}
