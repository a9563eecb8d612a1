/* revtree_impl.h: how a revision tree is held in memory.  For revtree*.c only. */
#ifndef DB_REVTREE_IMPL_H_
#define DB_REVTREE_IMPL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/err.h"
#include "db/rev.h"
#include "db/revtree.h"

/* An unbranched chain of consecutive generations.  What is spilled lies directly below what is in memory. */
struct revrun {
	struct revnode *nodes; /* newest first; at least one */
	uint32_t n;            /* how many */
	uint32_t room;         /* free slots before nodes[0], so that an edit moves nothing */
	struct revrun *parent; /* nodes[] end in a child of its newest revision; NULL: a root */
	uint64_t spilled_from; /* oldest spilled generation that counts; 0: nothing is spilled */
	uint32_t id;           /* names the spilled blocks; 0: nothing is spilled */
	uint32_t nchildren;
	uint32_t index; /* its place in the tree's runs */
	uint64_t
	    need; /* while stemming: generations that some leaf keeps, counted from the newest; in each_fork: children with live leaves */
};

/* Revisions that had been stemmed before their block was brought back; their bodies are still to be freed. */
struct revdead {
	struct revdead *next;
	struct revnode node;
};

/* Which revisions may be in memory: revtree_seen.c. */
struct revseen {
	unsigned char *bits; /* NULL: any */
	uint64_t mask;
	uint64_t n; /* revisions that were put in */
	uint64_t looks;
	uint64_t salt;
};

struct revtree {
	struct arena *a;
	struct revrun **runs; /* leaves first, see revtree.h */
	uint32_t nruns;
	uint32_t cap;
	uint32_t nleaves;
	uint32_t last_id; /* highest id of a spilled run ever seen; never given again, so that a block's name means one
			     thing */
	struct revdead *dead;
	struct revseen seen;
	uint64_t looked_into; /* blocks */
};

static inline uint64_t
revrun_tip(const struct revrun *run)
{
	return run->nodes[0].rev.gen;
}

/* The oldest generation in memory. */
static inline uint64_t
revrun_low(const struct revrun *run)
{
	return run->nodes[0].rev.gen - run->n + 1;
}

/* The oldest generation that counts, spilled or not. */
static inline uint64_t
revrun_first(const struct revrun *run)
{
	return run->spilled_from ? run->spilled_from : revrun_low(run);
}

/** revrun_before(a, b): Do two neighbours stand in the right order (invariant 4 of revtree.h)? */
static inline int
revrun_before(const struct revrun *a, const struct revrun *b)
{
	int aleaf = a->nchildren == 0;
	int bleaf = b->nchildren == 0;

	if (aleaf != bleaf)
		return aleaf;
	if (aleaf && a->nodes[0].deleted != b->nodes[0].deleted)
		return b->nodes[0].deleted;
	return rev_cmp(&a->nodes[0].rev, &b->nodes[0].rev) > 0;
}

/**
 * revtree_settle_(t): After a change: join what needs no branch, order the runs, count the leaves.  Errors:
 * ERR_NOMEM.
 */
int revtree_settle_(struct revtree *t) MUST_CHECK;

/** revtree_seen_(t, r): 0: ${r} is not in memory.  revtree_seen_known_(t, r): The same, which never makes the filter. */
int revtree_seen_(struct revtree *t, const struct rev *r) MUST_CHECK;
int revtree_seen_known_(const struct revtree *t, const struct rev *r) MUST_CHECK;
/** revtree_seen_add_(t, r): ${r} is now.  revtree_seen_lost_(t): More may be. */
void revtree_seen_add_(struct revtree *t, const struct rev *r);
void revtree_seen_lost_(struct revtree *t);

/** revtree_node_get_(r, node, gen): Read one revision as revtree_code.c has it; 0 where the bytes are wrong. */
int revtree_node_get_(struct bytes *r, struct revnode *node, uint64_t gen) MUST_CHECK;

/** revtree_node_put_(b, node): Its inverse. */
int revtree_node_put_(struct buf *b, const struct revnode *node) MUST_CHECK;

#endif
