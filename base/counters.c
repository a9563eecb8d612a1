/*
 * counters.c: counters without contention: each thread has its own, which it alone writes; who asks adds them up.
 *
 * 1. A thread's table, once linked, stays for good: what a thread has counted is not lost with it.
 */
#include "base/counters.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

struct table {
	struct table *next;
	_Atomic uint64_t n[COUNTER_MAX];
};

static _Atomic(struct table *) tables;
static _Thread_local struct table *own;

static struct table *
add_table(void)
{
	struct table *t = aligned_alloc(64, (sizeof(*t) + 63) / 64 * 64);
	unsigned i;

	if (t == NULL)
		return NULL;
	for (i = 0; i < COUNTER_MAX; i++)
		atomic_init(&t->n[i], 0);
	t->next = atomic_load(&tables);
	while (!atomic_compare_exchange_weak(&tables, &t->next, t)) {
	}
	own = t;
	return t;
}

void
counters_add(unsigned which, uint64_t n)
{
	struct table *t = own != NULL ? own : add_table();

	assert(which < COUNTER_MAX);
	if (t != NULL)
		atomic_store_explicit(
		    &t->n[which], atomic_load_explicit(&t->n[which], memory_order_relaxed) + n, memory_order_relaxed);
}

uint64_t
counters_get(unsigned which)
{
	const struct table *t = atomic_load(&tables);
	uint64_t sum = 0;

	assert(which < COUNTER_MAX);
	for (; t != NULL; t = t->next)
		sum += atomic_load_explicit(&t->n[which], memory_order_relaxed);
	return sum;
}
