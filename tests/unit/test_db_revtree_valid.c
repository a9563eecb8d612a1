/* test_db_revtree_valid.c: a tree of which one thing is not as it must be is told from one that is whole. */
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "db/revtree_impl.h"

static struct arena *arena;

static void
merge(struct revtree *t, uint64_t gen, const char *hashes)
{
	static const char letters[][17] = {"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc",
	    "dddddddddddddddd", "eeeeeeeeeeeeeeee", "ffffffffffffffff"};
	struct rev revs[8];
	struct revpath path = {.revs = revs, .n = strlen(hashes), .leaf = {.body = 5, .body_len = 10}};
	struct revpos at;
	enum revmerge how;

	for (size_t i = 0; i < path.n; i++)
		revs[i] = (struct rev){gen - i, (const unsigned char *)letters[hashes[i] - 'a'], 16};
	CHECK_INT(revtree_merge(t, &path, &at, &how), 0);
}

/* Two leaves on one trunk, and a tree of its own: runs 0 to 3, the last of which has children. */
static struct revtree *
whole(void)
{
	struct revtree *t = NULL;

	arena_reset(arena);
	if (!CHECK_INT(revtree_new(arena, &t), 0))
		exit(1);
	CHECK(revtree_valid(t));
	merge(t, 4, "dcba");
	merge(t, 3, "eba");
	merge(t, 2, "ff");
	CHECK_INT(t->nruns, 4);
	CHECK_INT(t->nleaves, 3);
	CHECK_INT(t->runs[3]->nchildren, 2);
	CHECK(revtree_valid(t));
	return t;
}

/* SPOILT: The tree of whole() with this done to it is not valid. */
#define SPOILT(...)                             \
	do {                                    \
		struct revtree *t = whole();    \
		struct revrun **runs = t->runs; \
		__VA_ARGS__;                    \
		CHECK(!revtree_valid(t));       \
		(void)runs;                     \
	} while (0)

/* A run that is spilled below its memory: of generations 32 to 39, with all from 1 on below. */
static struct revtree *
deep(void)
{
	struct revtree *t = whole();
	struct revrun *run = t->runs[0];

	arena_reset(arena);
	if (!CHECK_INT(revtree_new(arena, &t), 0))
		exit(1);
	merge(t, 39, "abcdefab");
	run = t->runs[0];
	run->id = t->last_id = 7;
	run->spilled_from = 1;
	CHECK_INT(revrun_low(run), 32);
	CHECK(revtree_valid(t));
	return t;
}

#define SPOILT_DEEP(...)                         \
	do {                                     \
		struct revtree *t = deep();      \
		struct revrun *run = t->runs[0]; \
		__VA_ARGS__;                     \
		CHECK(!revtree_valid(t));        \
		(void)run;                       \
	} while (0)

static void
swap_runs(struct revtree *t, unsigned i, unsigned k)
{
	struct revrun *run = t->runs[i];

	t->runs[i] = t->runs[k];
	t->runs[k] = run;
	t->runs[i]->index = i;
	t->runs[k]->index = k;
}

static void
test_tree(void)
{
	SPOILT(t->nruns = t->cap + 1);
	SPOILT(t->nleaves = t->nruns + 1);
	SPOILT(t->nleaves = 0);
	SPOILT(t->nruns = 0; t->nleaves = 1);
	SPOILT(t->nleaves = 2);
	SPOILT(swap_runs(t, 0, 1));
	SPOILT(swap_runs(t, 2, 3));
}

static void
test_runs(void)
{
	SPOILT(runs[1]->n = 0);
	SPOILT(runs[1]->id = 3);
	SPOILT(runs[1]->spilled_from = 1);
	SPOILT(runs[0]->nodes[0].rev.gen = runs[0]->n - 1);
	SPOILT(runs[0]->nodes[1].rev.gen = 9);
	SPOILT(runs[0]->nodes[0].rev.len = 0);
	SPOILT(runs[0]->nodes[0].rev.len = 4096);
	SPOILT(runs[0]->parent = runs[2]);
	SPOILT(runs[0]->parent = NULL);
	SPOILT(runs[0]->index = 2);
	SPOILT(runs[3]->index = 2);
	SPOILT(runs[3]->nchildren = 1);
	SPOILT(runs[3]->nchildren = 3);
	SPOILT(runs[2]->nchildren = 1);
	/* A parent that is none of the tree's runs, and one whose tip is not right below. */
	SPOILT(struct revrun alien = *runs[3]; runs[0]->parent = &alien; CHECK(!revtree_valid(t)));
	SPOILT(runs[0]->nodes[0].rev.gen++; runs[0]->nodes[1].rev.gen++);
	/* Twice the same revision: it is found in one of its places. */
	SPOILT(runs[1]->nodes[0].rev = runs[0]->nodes[1].rev);
}

/* other: One more run like it, beside it; the two share no name. */
static void
other(struct revtree *t)
{
	t->runs[0]->id = 0; /* merging would ask for what is spilled */
	t->runs[0]->spilled_from = 0;
	merge(t, 39, "cdefabcd");
	CHECK_INT(t->nruns, 2);
	t->last_id = 8;
	for (unsigned i = 0; i < 2; i++) {
		t->runs[i]->id = 7 + i;
		t->runs[i]->spilled_from = 1;
	}
	CHECK(revtree_valid(t));
}

static void
test_spilled(void)
{
	SPOILT_DEEP(run->spilled_from = 0);
	SPOILT_DEEP(run->id = 0);
	SPOILT_DEEP(run->id = 8);
	SPOILT_DEEP(run->spilled_from = 32);
	SPOILT_DEEP(run->n--);
	SPOILT_DEEP(other(t); t->runs[0]->id = t->runs[1]->id = 7);
}

int
main(void)
{
	CHECK_INT(arena_new(1u << 20, &arena), 0);
	test_tree();
	test_runs();
	test_spilled();
	arena_free(arena);
	return check_done();
}
