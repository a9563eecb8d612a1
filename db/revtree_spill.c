/*
 * Spilled revisions.
 *
 * A document edited often would carry, and rewrite with each edit, a thousand ids of which an edit needs two.
 * So when a run has more than REVTREE_BLOCK + REVTREE_RECENT revisions in memory, those of whole aligned
 * blocks go out, each block once: the record then holds at most 40 generations of a run, and 31 edits of 32
 * touch no block.
 *
 *   block := newest count node*    newest: generation, a varint; count: a varint, 1 to 32; node as in revtree_code.c,
 *                                  newest first, generations falling by 1, all in [32 * block, 32 * block + 31]
 *
 * A block covers the generations of its run in that range; only the run's oldest may begin
 * above its range's start, none ends below its range's end.  Stemming does not
 * rewrite blocks but raises the generation from which they count; revisions below it are dead.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "db/revtree.h"
#include "revtree_impl.h"

#define BLOCK_LEN_MAX (20u + REVTREE_BLOCK * (LIMIT_REV_LEN + 33u))

int
revtree_spills(const struct revtree *t, struct revspill **outp, size_t *np)
{
	struct revspill *out;
	size_t n = 0;

	*outp = NULL;
	*np = 0;
	for (uint32_t i = 0; t->last_id != 0 && i < t->nruns; i++)
		n += t->runs[i]->id != 0;
	if (n == 0)
		return 0;
	if ((out = arena_calloc(t->a, n, sizeof(*out))) == NULL)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < t->nruns; i++) {
		const struct revrun *run = t->runs[i];

		if (run->id != 0)
			out[(*np)++] = (struct revspill){
			    .run_id = run->id, .first_gen = run->spilled_from, .last_gen = revrun_low(run) - 1};
	}
	*outp = out;
	return 0;
}

/* The oldest ${n} revisions that are in memory. */
static int
put_block(const struct revrun *run, uint32_t n, struct buf *b)
{
	const struct revnode *node = run->nodes + run->n - n;
	uint32_t i;
	int rc;

	buf_clear(b);
	rc = buf_put_varint(b, node->rev.gen);
	if (rc == 0)
		rc = buf_put_varint(b, n);
	for (i = 0; i < n && rc == 0; i++)
		rc = revtree_node_put_(b, &node[i]);
	return rc;
}

static int
spill_run(struct revtree *t, struct revrun *run, struct buf *b,
    int (*put)(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie), void *cookie)
{
	uint64_t keep_from = revrun_tip(run) - REVTREE_RECENT + 1;
	int rc;

	for (;;) {
		uint64_t low = revrun_low(run);
		uint64_t next = low - low % REVTREE_BLOCK + REVTREE_BLOCK;

		if (next > keep_from)
			return 0;
		if (run->id == 0) {
			if (t->last_id >= UINT32_MAX - 1)
				return 0;
			run->id = ++t->last_id;
			run->spilled_from = low;
		}
		rc = put_block(run, (uint32_t)(next - low), b);
		if (rc == 0)
			rc = put(run->id, low / REVTREE_BLOCK, b, cookie);
		if (rc)
			return rc;
		run->n -= (uint32_t)(next - low);
	}
}

int
revtree_spill(
    struct revtree *t, int (*put)(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie), void *cookie)
{
	struct buf b;
	uint32_t i;
	int rc = 0;

	buf_init(&b, BLOCK_LEN_MAX);
	for (i = 0; i < t->nruns && rc == 0; i++)
		if (t->runs[i]->n > REVTREE_BLOCK + REVTREE_RECENT)
			rc = spill_run(t, t->runs[i], &b, put, cookie);
	buf_release(&b);
	return rc;
}

/* Read a block's head; 0 where it is wrong. */
static int
get_block_head(struct bytes *r, uint64_t block, uint64_t *newestp, uint64_t *np)
{
	*newestp = bytes_varint(r);
	*np = bytes_varint(r);
	if (r->bad || *np < 1 || *np > REVTREE_BLOCK)
		return 0;
	return *newestp / REVTREE_BLOCK == block && *newestp % REVTREE_BLOCK == REVTREE_BLOCK - 1 && *newestp >= *np;
}

int
revtree_block_each(struct bytes *r, uint64_t block, int (*fn)(const struct revnode *node, void *cookie), void *cookie)
{
	uint64_t newest;
	uint64_t n;
	uint64_t i;

	if (!get_block_head(r, block, &newest, &n))
		return ERR_CORRUPT;
	for (i = 0; i < n; i++) {
		struct revnode node;
		int rc;

		if (!revtree_node_get_(r, &node, newest - i))
			return ERR_CORRUPT;
		rc = fn(&node, cookie);
		if (rc)
			return rc;
	}
	return 0;
}

/* A run while its blocks come back. */
struct unspill {
	struct revtree *t;
	struct revnode *nodes;
	size_t n;
	size_t cap;
	uint64_t from; /* older ones are dead */
	uint64_t most; /* the others */
};

#define UNSPILL_FIRST 4096u /* revisions for which there is room at once: damage may tell of any number */

static int
add_node(const struct revnode *node, void *cookie)
{
	struct unspill *u = cookie;
	struct revdead *dead;

	if (node->rev.gen < u->from) {
		dead = arena_alloc(u->t->a, sizeof(*dead));
		if (dead == NULL)
			return ERR_NOMEM;
		dead->node = *node;
		dead->next = u->t->dead;
		u->t->dead = dead;
		return 0;
	}
	if (u->n == u->cap) {
		size_t cap = u->cap == 0 ? u->most < UNSPILL_FIRST ? u->most : UNSPILL_FIRST : u->cap * 2;
		struct revnode *nodes = arena_alloc(u->t->a, cap * sizeof(*nodes));

		if (nodes == NULL || cap > UINT32_MAX)
			return ERR_NOMEM;
		if (u->n > 0)
			memcpy(nodes, u->nodes, u->n * sizeof(*nodes));
		u->nodes = nodes;
		u->cap = cap;
	}
	if (u->n > 0 && u->nodes[u->n - 1].rev.gen != node->rev.gen + 1)
		return ERR_CORRUPT;
	u->nodes[u->n++] = *node;
	return 0;
}

static int
unspill_run(struct revtree *t, struct revrun *run,
    int (*get)(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie), void *cookie)
{
	struct unspill u = {.t = t, .from = run->spilled_from, .most = revrun_tip(run) - run->spilled_from + 1};
	uint64_t block = revrun_low(run) / REVTREE_BLOCK;
	uint32_t i;
	int rc = 0;

	for (i = 0; i < run->n && rc == 0; i++)
		rc = add_node(&run->nodes[i], &u);
	while (rc == 0 && block-- > run->spilled_from / REVTREE_BLOCK) {
		struct bytes r;

		rc = get(run->id, block, &r, cookie);
		if (rc == 0)
			rc = revtree_block_each(&r, block, add_node, &u);
	}
	if (rc)
		return rc;
	if (u.nodes[u.n - 1].rev.gen != run->spilled_from)
		return ERR_CORRUPT;
	run->nodes = u.nodes;
	run->n = (uint32_t)u.n;
	run->room = 0;
	run->id = 0;
	run->spilled_from = 0;
	return 0;
}

int
revtree_unspill(
    struct revtree *t, int (*get)(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie), void *cookie)
{
	uint32_t i;
	int rc;

	revtree_seen_lost_(t);
	for (i = 0; i < t->nruns; i++) {
		if (t->runs[i]->id == 0)
			continue;
		rc = unspill_run(t, t->runs[i], get, cookie);
		if (rc)
			return rc;
	}
	return revtree_settle_(t);
}

static int
spill_cmp(const void *a, const void *b)
{
	const struct revspill *x = a, *y = b;

	return (x->run_id > y->run_id) - (x->run_id < y->run_id);
}

/* The oldest of ${was}'s blocks that is still named, in ${now}, sorted; behind its newest one where none is. */
static uint64_t
first_named(const struct revspill *was, const struct revspill *now, size_t n)
{
	const struct revspill *is = n > 0 ? bsearch(was, now, n, sizeof(*now), spill_cmp) : NULL;
	uint64_t end = was->last_gen / REVTREE_BLOCK + 1;

	return is != NULL && is->first_gen / REVTREE_BLOCK < end ? is->first_gen / REVTREE_BLOCK : end;
}

int
revtree_spill_dropped(const struct revspill *before, size_t n, const struct revtree *t,
    int (*fn)(uint32_t run_id, uint64_t block, void *cookie), void *cookie)
{
	struct revspill *now;
	size_t nnow;
	int rc = n > 0 ? revtree_spills(t, &now, &nnow) : 0;

	if (n == 0 || rc)
		return rc;
	if (nnow > 0)
		qsort(now, nnow, sizeof(*now), spill_cmp);
	for (size_t i = 0; i < n && rc == 0; i++) {
		/* What a run keeps are its newest blocks. */
		uint64_t end = first_named(&before[i], now, nnow);

		for (uint64_t block = before[i].first_gen / REVTREE_BLOCK; block < end && rc == 0; block++)
			rc = fn(before[i].run_id, block, cookie);
	}
	return rc;
}
