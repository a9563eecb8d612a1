/* queue.h: jobs that wait, the first one at hand. */
#ifndef REPLICATOR_QUEUE_H_
#define REPLICATOR_QUEUE_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct queue;

/* Lives in what waits. */
struct queue_place {
	struct queue *in; /* NULL: in none */
	size_t at;
	uint64_t key;
};

/* A heap by key.  Zero: empty. */
struct queue {
	struct queue_place **places;
	size_t n, room;
};

/** queue_reserve(q, n): Let ${n} have room in it. */
int queue_reserve(struct queue *q, size_t n) MUST_CHECK;
/** queue_add(q, p, key): ${p} is in none; there is room for it. */
void queue_add(struct queue *q, struct queue_place *p, uint64_t key);
/** queue_remove(p): From whichever it is in, if it is in one. */
void queue_remove(struct queue_place *p);
/** queue_first(q): The one with the least key, or NULL. */
struct queue_place *queue_first(const struct queue *q);
void queue_release(struct queue *q);

#endif
