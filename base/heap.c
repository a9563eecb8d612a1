/* heap.c: places in a heap; slot 0 is not used. */
#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

int
heap_reserve(struct heap *h, size_t n)
{
	struct heap_place **more;
	size_t room = h->room != 0 ? h->room : 16;

	if (n <= h->room)
		return 0;
	while (room < n)
		room *= 2;
	if ((more = realloc(h->places, (room + 1) * sizeof(struct heap_place *))) == NULL)
		return ERR_NOMEM;
	h->places = more;
	h->room = room;
	return 0;
}

static void
put(struct heap *h, struct heap_place *p, size_t at)
{
	h->places[at] = p;
	p->at = at;
}

static void
rise(struct heap *h, struct heap_place *p, size_t at)
{
	for (; at > 1 && h->places[at / 2]->key > p->key; at /= 2)
		put(h, h->places[at / 2], at);
	put(h, p, at);
}

static void
sink(struct heap *h, struct heap_place *p, size_t at)
{
	size_t child;

	for (; (child = 2 * at) <= h->n; at = child) {
		if (child < h->n && h->places[child + 1]->key < h->places[child]->key)
			child++;
		if (h->places[child]->key >= p->key)
			break;
		put(h, h->places[child], at);
	}
	put(h, p, at);
}

void
heap_add(struct heap *h, struct heap_place *p, uint64_t key)
{
	assert(p->at == 0 && h->n < h->room);
	p->heap = h;
	p->key = key;
	rise(h, p, ++h->n);
}

void
heap_remove(struct heap_place *p)
{
	struct heap *h = p->heap;
	size_t at = p->at;
	struct heap_place *last;

	if (at == 0)
		return;
	p->at = 0;
	last = h->places[h->n--];
	if (last == p)
		return;
	if (last->key < p->key)
		rise(h, last, at);
	else
		sink(h, last, at);
}

struct heap_place *
heap_first(const struct heap *h)
{
	return h->n > 0 ? h->places[1] : NULL;
}

void
heap_release(struct heap *h)
{
	free(h->places);
	*h = (struct heap){.places = NULL};
}
