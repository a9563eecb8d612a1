/*
 * Which revisions may be in memory.
 *
 * The problem: to find a revision takes a look at each run, and many writes of one transaction, to a document of many
 * branches, each bring a path of revisions that are new.
 *
 * The idea: a Bloom filter tells of nearly all new ones that they are new.  It is made behind the first LOOKS_FREE looks, so
 * that few writes do not pay for it; revisions that come are added, those that go stay in it, and where it becomes
 * crowded it is made anew.  The tree's salt keeps from those who choose ids which ones it confuses.
 */
#include "base/arena.h"
#include "revtree_impl.h"
#include "store/counts.h"

#define LOOKS_FREE 64u
#define RUNS_FEW 16u
#define BITS_PER_REV 16u /* with two bits for each: one in 60 is confused, and one in 250 just after it was made */

static void
put(struct revseen *s, const struct rev *r)
{
	uint64_t h = counts_hash(s->salt + r->gen, r->id, r->len);

	for (unsigned k = 0; k < 2; k++, h >>= 32)
		s->bits[(h & s->mask) / 8] |= (unsigned char)(1u << (h & 7));
	s->n++;
}

/* make: Without memory for it, all are looked for. */
static void
make(struct revtree *t)
{
	struct revseen *s = &t->seen;
	uint64_t n = 0, bits = 1024;

	for (uint32_t i = 0; i < t->nruns; i++)
		n += t->runs[i]->n;
	while (bits < 2 * n * BITS_PER_REV && bits < UINT64_C(1) << 31)
		bits *= 2;
	s->n = 0;
	if ((s->bits = arena_calloc(t->a, 1, (size_t)(bits / 8))) == NULL) {
		s->looks = 0;
		return;
	}
	s->mask = bits - 1;
	for (uint32_t i = 0; i < t->nruns; i++)
		for (uint32_t k = 0; k < t->runs[i]->n; k++)
			put(s, &t->runs[i]->nodes[k].rev);
}

void
revtree_salt(struct revtree *t, uint64_t salt)
{
	t->seen.salt = salt;
}

void
revtree_seen_add_(struct revtree *t, const struct rev *r)
{
	if (t->seen.bits == NULL)
		return;
	put(&t->seen, r);
	if (t->seen.n * BITS_PER_REV > t->seen.mask)
		t->seen.bits = NULL; /* the next look makes it anew */
}

void
revtree_seen_lost_(struct revtree *t)
{
	t->seen.bits = NULL;
}

int
revtree_seen_known_(const struct revtree *t, const struct rev *r)
{
	const struct revseen *s = &t->seen;
	uint64_t h;

	if (s->bits == NULL)
		return 1;
	h = counts_hash(s->salt + r->gen, r->id, r->len);
	return (s->bits[(h & s->mask) / 8] >> (h & 7) & 1) && (s->bits[(h >> 32 & s->mask) / 8] >> (h >> 32 & 7) & 1);
}

int
revtree_seen_(struct revtree *t, const struct rev *r)
{
	if (t->seen.bits == NULL && t->nruns >= RUNS_FEW && t->seen.looks++ >= LOOKS_FREE)
		make(t);
	return revtree_seen_known_(t, r);
}
