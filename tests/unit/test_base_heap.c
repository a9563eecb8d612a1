/* test_base_heap.c: places that come, go and are taken out in the order of their keys, against a search through all of them. */
#include "base/heap.h"

#include <stdlib.h>

#include "check.h"

#define N 300u

/* The least key of those that are in, or UINT64_MAX. */
static uint64_t
least(const struct heap_place *places)
{
	uint64_t key = UINT64_MAX;

	for (unsigned i = 0; i < N; i++)
		if (places[i].at != 0 && places[i].key < key)
			key = places[i].key;
	return key;
}

static void
test_random(unsigned seed, unsigned keys)
{
	struct heap_place places[N] = {{.at = 0}}, *first;
	struct heap h = {.n = 0};
	size_t in = 0;

	srand(seed);
	CHECK(heap_first(&h) == NULL);
	for (unsigned step = 0; step < 20000; step++) {
		struct heap_place *p = &places[(unsigned)rand() % N];

		if (p->at == 0 && rand() % 3 != 0) {
			CHECK_INT(heap_reserve(&h, in + 1), 0);
			heap_add(&h, p, (uint64_t)rand() % keys);
			in++;
		} else if (p->at != 0) {
			heap_remove(p);
			in--;
		} else {
			heap_remove(p); /* of none: nothing */
		}
		first = heap_first(&h);
		CHECK_INT(h.n, in);
		CHECK((first == NULL) == (in == 0));
		if (first != NULL)
			CHECK_INT(first->key, least(places));
	}
	while ((first = heap_first(&h)) != NULL) {
		CHECK_INT(first->key, least(places));
		heap_remove(first);
	}
	heap_release(&h);
}

int
main(void)
{
	test_random(1, 10);
	test_random(2, 1000);
	test_random(3, 1u << 30);
	return check_done();
}
