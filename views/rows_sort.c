/*
 * rows_sort.c: changes in the order of their keys.
 *
 * A batch of a build has some hundred thousand keys, many of them with the same first hundred bytes, all over the memory: comparing
 * whole keys waits for memory most of the time.  So each key is looked at eight bytes at a time, which stand beside it as a number
 * while the keys are sorted by them; those whose eight bytes are equal are sorted by the next eight.
 *
 * 1. No order key is a prefix of another: of keys with equal bytes up to the end of one, all are the same.
 * 2. Whoever makes up keys gains nothing: where parts do not get smaller, or equal beginnings get long, qsort() takes over.
 */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define CHUNK 8u
#define FEW 12u           /* that are sorted by insertion */
#define DEEP (CHUNK * 64) /* bytes that are equal */

struct item {
	uint64_t chunk; /* of the key, at the depth that is being sorted by */
	const struct rows_change *change;
};

static void
load(struct item *v, size_t n, size_t depth)
{
	for (size_t i = 0; i < n; i++) {
		const struct jstr *key = &v[i].change->order;
		size_t left = key->len > depth ? key->len - depth : 0;
		unsigned char bytes[CHUNK] = {0};

		if (left > 0)
			memcpy(bytes, key->s + depth, left < CHUNK ? left : CHUNK);
		v[i].chunk = bytes_load_u64be(bytes);
	}
}

static int
change_cmp(const struct rows_change *x, const struct rows_change *y)
{
	size_t n = x->order.len < y->order.len ? x->order.len : y->order.len;
	int c = memcmp(x->order.s, y->order.s, n);

	return c != 0 ? c : (x->order.len > y->order.len) - (x->order.len < y->order.len);
}

static int
item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return change_cmp(x->change, y->change);
}

static void
swap(struct item *a, struct item *b)
{
	struct item t = *a;

	*a = *b;
	*b = t;
}

static void
insertion(struct item *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct item t = v[i];
		size_t at = i;

		for (; at > 0; at--) {
			const struct item *below = &v[at - 1];

			if (below->chunk < t.chunk ||
			    (below->chunk == t.chunk && change_cmp(below->change, t.change) <= 0))
				break;
			v[at] = *below;
		}
		v[at] = t;
	}
}

static uint64_t
middle(const struct item *v, size_t n)
{
	uint64_t a = v[0].chunk, b = v[n / 2].chunk, c = v[n - 1].chunk;

	return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* sort: Items whose keys are equal up to ${depth}, and whose chunks are those behind it; ${tries}: how often they may be parted yet. */
static void
sort(struct item *v, size_t n, size_t depth, unsigned tries)
{
	while (n > FEW) {
		uint64_t pivot = middle(v, n);
		size_t low = 0, i = 0, high = n, equal;

		if (tries-- == 0 || depth >= DEEP) {
			qsort(v, n, sizeof(*v), item_cmp);
			return;
		}
		while (i < high) {
			if (v[i].chunk < pivot)
				swap(&v[low++], &v[i++]);
			else if (v[i].chunk > pivot)
				swap(&v[i], &v[--high]);
			else
				i++;
		}
		equal = high - low;
		sort(v, low, depth, tries);
		sort(v + high, n - high, depth, tries);
		v += low;
		n = equal;
		depth += CHUNK;
		if (v[0].change->order.len <= depth)
			return;
		load(v, n, depth);
		tries += 2;
	}
	insertion(v, n);
}

/* unite: Of changes to one key, the one that comes is made. */
static size_t
unite(const struct item *v, size_t n, struct rows_change *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct rows_change *last = kept > 0 ? &out[kept - 1] : NULL;
		const struct rows_change *c = v[i].change;

		if (last == NULL || change_cmp(last, c) != 0) {
			out[kept++] = *c;
			continue;
		}
		if (c->value.s != NULL)
			last->value = c->value;
		last->fresh = last->fresh && c->fresh;
	}
	return kept;
}

int
rows_sort(struct arena *a, struct rows_change **changesp, size_t *np)
{
	size_t n = *np;
	struct item *v = arena_alloc(a, (n + 1) * sizeof(*v));
	struct rows_change *out = arena_alloc(a, (n + 1) * sizeof(*out));
	unsigned tries = 4;

	if (v == NULL || out == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		v[i].change = &(*changesp)[i];
	for (size_t i = n; i > 0; i /= 2)
		tries += 2;
	load(v, n, 0);
	sort(v, n, 0, tries);
	*np = unite(v, n, out);
	*changesp = out;
	return 0;
}
