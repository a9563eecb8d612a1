/*
 * keysort.c: a batch of a build has some hundred thousand keys, many of them with the same first hundred bytes, all over the memory: comparing
 * whole keys waits for memory most of the time.  So each key is looked at eight bytes at a time, which stand beside it as a number
 * while the keys are sorted by them; those whose eight bytes are equal are sorted by the next eight.
 *
 * 1. No key is a prefix of another: of keys with equal bytes up to the end of one, all are the same.
 * 2. Whoever makes up keys gains nothing: where parts do not get smaller, or equal beginnings get long, qsort() takes over.
 */
#include "keysort.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define CHUNK 8u
#define AHEAD 8u          /* items whose keys are on their way to the cache */
#define FEW 12u           /* that are sorted by insertion */
#define DEEP (CHUNK * 64) /* bytes that are equal */

static void
load(struct keysort *v, size_t n, size_t depth)
{
	for (size_t i = 0; i < n; i++) {
		size_t left = v[i].len > depth ? v[i].len - depth : 0;
		unsigned char bytes[CHUNK] = {0};

		if (i + AHEAD < n)
			__builtin_prefetch(v[i + AHEAD].key + depth);
		if (left >= CHUNK)
			memcpy(bytes, v[i].key + depth, CHUNK);
		else if (left > 0)
			memcpy(bytes, v[i].key + depth, left);
		v[i].chunk = bytes_load_u64be(bytes);
	}
}

int
keysort_cmp(const struct keysort *a, const struct keysort *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int c = memcmp(a->key, b->key, n);

	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

static int
cmp(const void *a, const void *b)
{
	return keysort_cmp(a, b);
}

static void
swap(struct keysort *a, struct keysort *b)
{
	struct keysort t = *a;

	*a = *b;
	*b = t;
}

static void
insertion(struct keysort *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct keysort t = v[i];
		size_t at = i;

		for (; at > 0; at--) {
			const struct keysort *below = &v[at - 1];

			if (below->chunk < t.chunk || (below->chunk == t.chunk && keysort_cmp(below, &t) <= 0))
				break;
			v[at] = *below;
		}
		v[at] = t;
	}
}

static uint64_t
middle(const struct keysort *v, size_t n)
{
	uint64_t a = v[0].chunk, b = v[n / 2].chunk, c = v[n - 1].chunk;

	return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* sort: Items whose keys are equal up to ${depth}, and whose chunks are those behind it; ${tries}: how often they may be parted yet. */
static void
sort(struct keysort *v, size_t n, size_t depth, unsigned tries)
{
	while (n > FEW) {
		uint64_t pivot = middle(v, n);
		size_t low = 0, i = 0, high = n, equal;

		if (tries-- == 0 || depth >= DEEP) {
			qsort(v, n, sizeof(*v), cmp);
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
		if (v[0].len <= depth)
			return;
		load(v, n, depth);
		tries += 2;
	}
	insertion(v, n);
}

void
keysort(struct keysort *v, size_t n)
{
	unsigned tries = 4;

	for (size_t i = n; i > 0; i /= 2)
		tries += 2;
	load(v, n, 0);
	sort(v, n, 0, tries);
}
