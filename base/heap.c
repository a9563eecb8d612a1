/* queue.c: a binary heap of places, each of which knows where it stands. */
#include "queue.h"

#include <stdlib.h>

int
queue_reserve(struct queue *q, size_t n)
{
	struct queue_place **more;
	size_t room = q->room != 0 ? q->room : 16;

	if (n <= q->room)
		return 0;
	while (room < n)
		room *= 2;
	if ((more = realloc(q->places, room * sizeof(struct queue_place *))) == NULL)
		return ERR_NOMEM;
	q->places = more;
	q->room = room;
	return 0;
}

static void
set(struct queue *q, size_t at, struct queue_place *p)
{
	q->places[at] = p;
	p->at = at;
}

static void
rise(struct queue *q, struct queue_place *p, size_t at)
{
	while (at > 0 && q->places[(at - 1) / 2]->key > p->key) {
		set(q, at, q->places[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	set(q, at, p);
}

static void
sink(struct queue *q, struct queue_place *p, size_t at)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < q->n && q->places[child + 1]->key < q->places[child]->key)
			child++;
		if (child >= q->n || q->places[child]->key >= p->key)
			break;
		set(q, at, q->places[child]);
		at = child;
	}
	set(q, at, p);
}

void
queue_add(struct queue *q, struct queue_place *p, uint64_t key)
{
	p->in = q;
	p->key = key;
	rise(q, p, q->n++);
}

void
queue_remove(struct queue_place *p)
{
	struct queue *q = p->in;
	struct queue_place *last;

	if (q == NULL)
		return;
	p->in = NULL;
	last = q->places[--q->n];
	if (last == p)
		return;
	if (last->key < p->key)
		rise(q, last, p->at);
	else
		sink(q, last, p->at);
}

struct queue_place *
queue_first(const struct queue *q)
{
	return q->n > 0 ? q->places[0] : NULL;
}

void
queue_release(struct queue *q)
{
	free(q->places);
	*q = (struct queue){.places = NULL};
}
