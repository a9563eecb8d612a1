/* rows_sort.c: changes in the order of their keys. */
#include "keysort.h"
#include "rows.h"

/* unite: Of changes to one key, the one that comes is made. */
static size_t
unite(const struct keysort *v, size_t n, const struct rows_change *changes, struct rows_change *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct rows_change *last = kept > 0 ? &out[kept - 1] : NULL;
		const struct rows_change *c = &changes[v[i].at];

		if (last == NULL || keysort_cmp(&v[i - 1], &v[i]) != 0) {
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
	struct keysort *v = arena_alloc(a, (n + 1) * sizeof(*v));
	struct rows_change *out = arena_alloc(a, (n + 1) * sizeof(*out));

	if (v == NULL || out == NULL || n > UINT32_MAX)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct jstr *key = &(*changesp)[i].order;

		v[i] = (struct keysort){.key = key->s, .len = (uint32_t)key->len, .at = (uint32_t)i};
	}
	keysort(v, n);
	*np = unite(v, n, *changesp, out);
	*changesp = out;
	return 0;
}
