/* mango_lists.h: the lists of declared indexes that are remembered.  Private to views/. */
#ifndef VIEWS_MANGO_LISTS_H_
#define VIEWS_MANGO_LISTS_H_

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define MANGO_LISTS 256u                     /* that are remembered, */
#define MANGO_LISTS_BYTES ((size_t)32 << 20) /* and what they may take together */

/* Opaque: a list, and what it is of. */
struct mango_kept;

struct mango_lists {
	pthread_mutex_t lock;
	uint64_t hashes[MANGO_LISTS]; /* of databases' names */
	struct mango_kept *kept[MANGO_LISTS];
	uint64_t used[MANGO_LISTS]; /* when, in calls */
	uint64_t calls;
	size_t bytes;
};

/** mango_lists_init(m), mango_lists_release(m): Nobody has a list open any more. */
void mango_lists_init(struct mango_lists *m);
void mango_lists_release(struct mango_lists *m);

#endif
