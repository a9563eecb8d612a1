/*
 * The revision tree in memory: merging, stemming, purging, reading.
 *
 * The problem: paths of revisions arrive in any order, repeated, overlapping and
 * cut at either end, and every server must end with the same tree.
 *
 * The idea: a revision is named by its generation and hash, and has one history.  So a tree
 * is a set of revisions, of some of which the parent is known, and merging a path adds
 * the revisions and the parents that were not known.  That is a union, which commutes.
 * In runs: the newest revision of the path that the tree has is where the newer
 * ones are attached; if the path goes back beyond the root below that place, the older
 * ones are put under the root, down to the next revision that the tree has,
 * under whose root one goes on likewise.  (A path that gives a revision another
 * parent than the one known is cut there: the parent that came first stays.)
 *
 * After each change runs are brought back into the form of revtree.h: an inner run with
 * one child is joined with it, and the runs are ordered.  Both look at all runs but move only
 * what changed; the one run of most documents is done at once.
 *
 * Spilled revisions are not looked at.  By the same rule they need not be, as
 * long as the path is found in memory and none of its newer revisions can lie
 * in a spilled part; where that is open, ERR_CHANGED is returned before anything is changed.
 * A client that forges histories can so bring in an id that is spilled elsewhere: revtree_repeats() finds that
 * before the merge, by a look into the blocks of the generations in question.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/limits.h"
#include "db/revtree.h"
#include "revtree_impl.h"

/* Where a path meets the tree. */
struct overlap {
	struct revrun *run;
	uint32_t index; /* in the run */
	size_t at;      /* in the path */
};

int
revtree_new(struct arena *a, struct revtree **tp)
{
	struct revtree *t = arena_alloc(a, sizeof(*t));

	if (t == NULL)
		return ERR_NOMEM;
	memset(t, 0, sizeof(*t));
	t->a = a;
	*tp = t;
	return 0;
}

static int
same_id(const struct rev *a, const struct rev *b)
{
	return a->len == b->len && memcmp(a->id, b->id, a->len) == 0;
}

static struct revrun *
root_of(struct revrun *run)
{
	while (run->parent != NULL)
		run = run->parent;
	return run;
}

/* look: In all runs. */
static int
look(const struct revtree *t, const struct rev *r, struct revpos *atp)
{
	uint32_t i;

	for (i = 0; i < t->nruns; i++) {
		const struct revrun *run = t->runs[i];
		uint64_t below = revrun_tip(run) - r->gen;

		/* A generation above the newest wraps round and is out of range too. */
		if (below < run->n && same_id(&run->nodes[below].rev, r)) {
			atp->run = i;
			atp->index = (uint32_t)below;
			return 1;
		}
	}
	return 0;
}

/* The newest of revs[from..] that is in memory; 0 if there is none. */
static int
find_overlap(struct revtree *t, const struct revpath *path, size_t from, struct overlap *o)
{
	struct revpos at;

	o->run = NULL;
	for (; from < path->n; from++) {
		if (revtree_seen_(t, &path->revs[from]) && look(t, &path->revs[from], &at)) {
			*o = (struct overlap){t->runs[at.run], at.index, from};
			return 1;
		}
	}
	return 0;
}

/*
 * The place in the path of the first revision that is older than the root below ${run}; n: nothing is to be
 * put there.
 */
static size_t
below_root(struct revrun *run, const struct revpath *path)
{
	const struct revrun *root = root_of(run);
	uint64_t first = revrun_first(root);
	size_t at;

	if (first <= path->revs[path->n - 1].gen)
		return path->n;
	at = (size_t)(path->revs[0].gen - first);
	if (root->id == 0 && !same_id(&root->nodes[root->n - 1].rev, &path->revs[at]))
		return path->n;
	return at + 1;
}

/* The generations that the spilled part of ${run} and the path's revisions from ${from} to before the overlap share; 0: none. */
static int
share_spilled(const struct revrun *run, const struct revpath *path, size_t from, const struct overlap *o,
    uint64_t *lowp, uint64_t *highp)
{
	uint64_t last = revrun_low(run) - 1;
	uint64_t high = path->revs[from].gen;
	uint64_t low = o->run ? path->revs[o->at].gen + 1 : path->revs[path->n - 1].gen;

	*highp = last < high ? last : high;
	*lowp = run->spilled_from > low ? run->spilled_from : low;
	return run->id != 0 && *lowp <= *highp;
}

/* May one of the path's revisions from ${from} to before the overlap lie in the spilled part of ${run}? */
static int
may_hold(struct revrun *run, const struct revpath *path, size_t from, const struct overlap *o)
{
	uint64_t low = o->run ? path->revs[o->at].gen + 1 : path->revs[path->n - 1].gen;
	uint64_t first, last;

	if (!share_spilled(run, path, from, o, &first, &last))
		return 0;
	/* They would descend from the overlap, or, where less is known of them, from a root above it. */
	while (run->parent != NULL) {
		run = run->parent;
		if (run == o->run)
			return o->index == 0;
	}
	return o->run == NULL || revrun_first(run) >= low;
}

static int
needs_spilled(struct revtree *t, const struct revpath *path)
{
	struct overlap o;
	size_t from = 0;
	uint32_t i;

	if (t->last_id == 0)
		return 0;
	while (from < path->n) {
		int found = find_overlap(t, path, from, &o);

		for (i = 0; i < t->nruns; i++)
			if (may_hold(t->runs[i], path, from, &o))
				return 1;
		if (!found)
			return 0;
		from = below_root(o.run, path);
		if (from < path->n && root_of(o.run)->id != 0)
			return 1;
	}
	return 0;
}

#define LOOKS_CHEAP 256u

/* What is looked for in blocks. */
struct sought {
	const struct revpath *path;
	uint64_t low, high; /* generations */
};

static int
is_sought(const struct revnode *node, void *cookie)
{
	const struct sought *s = cookie;

	if (node->rev.gen < s->low || node->rev.gen > s->high)
		return 0;
	return same_id(&node->rev, &s->path->revs[s->path->revs[0].gen - node->rev.gen]) ? ERR_CHANGED : 0;
}

/* too_many: Bringing all blocks back once is cheaper than to go on looking into them. */
static int
too_many(const struct revtree *t)
{
	uint64_t n = 0;

	if (t->looked_into < LOOKS_CHEAP)
		return 0;
	for (uint32_t i = 0; i < t->nruns; i++)
		if (t->runs[i]->id != 0)
			n += (revrun_low(t->runs[i]) - t->runs[i]->spilled_from) / REVTREE_BLOCK + 1;
	return t->looked_into > n;
}

int
revtree_repeats(struct revtree *t, const struct revpath *path,
    int (*get)(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie), void *cookie)
{
	struct overlap o;
	struct bytes r;
	size_t from = 0;
	int found = 1, asked = 0, err;

	while (t->last_id != 0 && found && from < path->n) {
		found = find_overlap(t, path, from, &o);
		for (uint32_t i = 0; i < t->nruns; i++) {
			const struct revrun *run = t->runs[i];
			struct sought s = {path, 0, 0};

			if (!share_spilled(run, path, from, &o, &s.low, &s.high))
				continue;
			if (may_hold(t->runs[i], path, from, &o))
				return 0; /* merging will ask for all of it */
			if (!asked && too_many(t))
				return ERR_CHANGED;
			asked = 1;
			t->looked_into += s.high / REVTREE_BLOCK - s.low / REVTREE_BLOCK + 1;
			for (uint64_t b = s.low / REVTREE_BLOCK; b <= s.high / REVTREE_BLOCK; b++)
				if ((err = get(run->id, b, &r, cookie)) != 0 ||
				    (err = revtree_block_each(&r, b, is_sought, &s)) != 0)
					return err;
		}
		if (found)
			from = below_root(o.run, path);
	}
	return 0;
}

static int
add_run(struct revtree *t, struct revrun **runp)
{
	struct revrun *run;

	if (t->nruns == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 4;
		struct revrun **runs = arena_alloc(t->a, cap * sizeof(struct revrun *));

		if (runs == NULL)
			return ERR_NOMEM;
		if (t->nruns > 0)
			memcpy(runs, t->runs, t->nruns * sizeof(struct revrun *));
		t->runs = runs;
		t->cap = cap;
	}
	run = arena_calloc(t->a, 1, sizeof(*run));
	if (run == NULL)
		return ERR_NOMEM;
	t->runs[t->nruns++] = run;
	*runp = run;
	return 0;
}

/* Make room for ${before} newer and ${after} older revisions and count them in. */
static int
grow(struct revtree *t, struct revrun *run, size_t before, size_t after)
{
	struct revnode *nodes;
	size_t n = run->n + before + after;

	if (after == 0 && run->room >= before) {
		run->nodes -= before;
		run->room -= (uint32_t)before;
		run->n = (uint32_t)n;
		return 0;
	}
	if (n >= UINT32_MAX / 2)
		return ERR_NOMEM;
	nodes = arena_alloc(t->a, (n + 2) * sizeof(*nodes));
	if (nodes == NULL)
		return ERR_NOMEM;
	nodes += 2;
	if (run->n > 0)
		memcpy(nodes + before, run->nodes, run->n * sizeof(*nodes));
	run->nodes = nodes;
	run->room = 2;
	run->n = (uint32_t)n;
	return 0;
}

/*
 * Write ${n} revisions of a path; their hashes are copied.  ${leaf} describes the first, NULL: nothing is
 * known of it.
 */
static int
fill(struct revtree *t, struct revnode *nodes, const struct rev *revs, size_t n, const struct revnode *leaf)
{
	size_t total = 0;
	unsigned char *p;
	size_t i;

	for (i = 0; i < n; i++)
		total += revs[i].len;
	p = arena_alloc(t->a, total);
	if (p == NULL)
		return ERR_NOMEM;
	for (i = 0; i < n; i++) {
		memset(&nodes[i], 0, sizeof(nodes[i]));
		if (i == 0 && leaf != NULL)
			nodes[0] = *leaf;
		memcpy(p, revs[i].id, revs[i].len);
		nodes[i].rev.gen = revs[i].gen;
		nodes[i].rev.id = p;
		nodes[i].rev.len = revs[i].len;
		revtree_seen_add_(t, &nodes[i].rev);
		p += revs[i].len;
	}
	return 0;
}

/* Cut a run below its revision ${index} - 1, so that ${index} is the newest of *${lowerp}. */
static int
split(struct revtree *t, struct revrun *run, uint32_t index, struct revrun **lowerp)
{
	struct revrun *lower;
	int rc = add_run(t, &lower);

	if (rc)
		return rc;
	lower->nodes = run->nodes + index;
	lower->n = run->n - index;
	lower->parent = run->parent;
	lower->spilled_from = run->spilled_from;
	lower->id = run->id;
	lower->nchildren = 1;
	run->n = index;
	run->parent = lower;
	run->spilled_from = 0;
	run->id = 0;
	*lowerp = lower;
	return 0;
}

/* Make the newest of ${o}'s run the parent of ${child}, a root. */
static int
hang(struct revtree *t, struct overlap *o, struct revrun *child)
{
	int rc;

	if (o->index > 0) {
		rc = split(t, o->run, o->index, &o->run);
		if (rc)
			return rc;
		o->index = 0;
	}
	child->parent = o->run;
	o->run->nchildren++;
	return 0;
}

/* Put the newest ${n} revisions of the path onto the overlap, or into a new root. */
static int
add_newer(struct revtree *t, const struct revpath *path, size_t n, struct overlap *o, enum revmerge *howp)
{
	struct revrun *run = o->run;
	int rc;

	*howp = t->nruns == 0 ? REVMERGE_NEW_LEAF : REVMERGE_BRANCH;
	if (run != NULL && run->nchildren == 0 && o->index == 0) {
		*howp = REVMERGE_NEW_LEAF;
	} else {
		rc = add_run(t, &run);
		if (rc == 0 && o->run != NULL)
			rc = hang(t, o, run);
		if (rc)
			return rc;
	}
	rc = grow(t, run, n, 0);
	if (rc == 0)
		rc = fill(t, run->nodes, path->revs, n, &path->leaf);
	o->run = run;
	return rc;
}

/* Put what the path has below the root of ${run} there. */
static int
add_older(struct revtree *t, const struct revpath *path, struct revrun *run, int *addedp)
{
	struct overlap o;
	size_t from;
	size_t end;
	int found;
	int rc;

	*addedp = 0;
	for (;;) {
		struct revrun *root = root_of(run);
		uint32_t old = root->n;

		from = below_root(run, path);
		if (from == path->n)
			return 0;
		*addedp = 1;
		found = find_overlap(t, path, from, &o);
		end = found ? o.at : path->n;
		if (end > from) {
			rc = grow(t, root, 0, end - from);
			if (rc == 0)
				rc = fill(t, root->nodes + old, path->revs + from, end - from, NULL);
			if (rc)
				return rc;
		}
		if (!found)
			return 0;
		rc = hang(t, &o, root);
		if (rc)
			return rc;
		run = o.run;
	}
}

int
revtree_merge(struct revtree *t, const struct revpath *path, struct revpos *atp, enum revmerge *howp)
{
	struct overlap o;
	struct revnode *node;
	int older;
	int rc = 0;

	assert(path->n > 0 && path->revs[path->n - 1].gen > 0);
	assert(path->revs[0].gen - path->revs[path->n - 1].gen == path->n - 1);
	if (needs_spilled(t, path))
		return ERR_CHANGED;
	*howp = REVMERGE_NONE;
	if (!find_overlap(t, path, 0, &o)) {
		rc = add_newer(t, path, path->n, &o, howp);
	} else if (o.at > 0) {
		rc = add_newer(t, path, o.at, &o, howp);
	} else {
		node = &o.run->nodes[o.index];
		if (node->body == REVTREE_NO_BODY && path->leaf.body != REVTREE_NO_BODY) {
			node->deleted = path->leaf.deleted;
			node->body = path->leaf.body;
			node->body_len = path->leaf.body_len;
			*howp = REVMERGE_BODY;
		}
	}
	if (rc == 0)
		rc = add_older(t, path, o.run, &older);
	if (rc == 0 && older && (*howp == REVMERGE_NONE || *howp == REVMERGE_BODY))
		*howp = REVMERGE_ANCESTORS;
	if (rc == 0 && *howp != REVMERGE_NONE)
		rc = revtree_settle_(t);
	if (rc)
		return rc;
	if (!revtree_find(t, &path->revs[0], atp))
		return ERR_INTERNAL;
	return 0;
}

/* Append what ${run}'s only parent has to ${run}; the parent is then empty. */
static int
join(struct revtree *t, struct revrun *run)
{
	struct revrun *parent = run->parent;
	uint32_t n = run->n;
	int rc = grow(t, run, 0, parent->n);

	if (rc)
		return rc;
	memcpy(run->nodes + n, parent->nodes, parent->n * sizeof(*run->nodes));
	run->spilled_from = parent->spilled_from;
	run->id = parent->id;
	run->parent = parent->parent;
	parent->n = 0;
	return 0;
}

int
revtree_settle_(struct revtree *t)
{
	uint32_t i;
	uint32_t j;
	uint32_t n = 0;

	for (i = 0; i < t->nruns; i++) {
		struct revrun *run = t->runs[i];

		/* The revisions of a run that has a spilled part would not be consecutive in memory. */
		while (run->n > 0 && run->parent != NULL && run->parent->nchildren == 1 && run->id == 0) {
			int rc = join(t, run);

			if (rc)
				return rc;
		}
	}
	t->nleaves = 0;
	for (i = 0; i < t->nruns; i++) {
		struct revrun *run = t->runs[i];

		if (run->n == 0)
			continue;
		t->nleaves += run->nchildren == 0;
		for (j = n++; j > 0 && revrun_before(run, t->runs[j - 1]); j--)
			t->runs[j] = t->runs[j - 1];
		t->runs[j] = run;
	}
	t->nruns = n;
	for (i = 0; i < n; i++)
		t->runs[i]->index = i;
	return 0;
}

static void
report_dead(struct revtree *t, void (*gone)(const struct revnode *node, void *cookie), void *cookie)
{
	for (; t->dead != NULL; t->dead = t->dead->next)
		if (gone != NULL)
			gone(&t->dead->node, cookie);
}

/* Keep the newest ${keep} generations of a run; the oldest of them then has no parent. */
static void
cut(struct revrun *run, uint64_t keep, void (*gone)(const struct revnode *node, void *cookie), void *cookie)
{
	uint32_t i;

	if (run->parent != NULL) {
		run->parent->nchildren--;
		run->parent = NULL;
	}
	if (run->id != 0 && keep > run->n) {
		if (run->spilled_from < revrun_tip(run) - keep + 1)
			run->spilled_from = revrun_tip(run) - keep + 1;
		return;
	}
	run->spilled_from = 0;
	run->id = 0;
	if (keep >= run->n)
		return;
	for (i = (uint32_t)keep; i < run->n && gone != NULL; i++)
		gone(&run->nodes[i], cookie);
	run->n = (uint32_t)keep;
}

int
revtree_stem(struct revtree *t, uint64_t limit, void (*gone)(const struct revnode *node, void *cookie), void *cookie)
{
	uint32_t i;

	assert(limit > 0);
	report_dead(t, gone, cookie);
	for (i = 0; i < t->nruns; i++)
		t->runs[i]->need = 0;
	for (i = 0; i < t->nleaves; i++) {
		struct revrun *run = t->runs[i];
		uint64_t need = limit;

		while (run != NULL && need > run->need) {
			uint64_t len = revrun_tip(run) - revrun_first(run) + 1;

			run->need = need;
			need = need > len ? need - len : 0;
			run = run->parent;
		}
	}
	for (i = 0; i < t->nruns; i++) {
		struct revrun *run = t->runs[i];

		if (run->need <= revrun_tip(run) - revrun_first(run) + 1)
			cut(run, run->need, gone, cookie);
	}
	return revtree_settle_(t);
}

int
revtree_drop_leaf(struct revtree *t, const struct rev *r, int *removedp,
    void (*gone)(const struct revnode *node, void *cookie), void *cookie)
{
	struct revpos at;
	uint32_t i;

	*removedp = 0;
	if (!revtree_find(t, r, &at) || !revtree_is_leaf(t, at))
		return 0;
	for (i = 0; i < t->nruns; i++)
		if (t->runs[i]->id != 0)
			return ERR_CHANGED;
	report_dead(t, gone, cookie);
	cut(t->runs[at.run], 0, gone, cookie);
	*removedp = 1;
	return revtree_settle_(t);
}

size_t
revtree_nleaves(const struct revtree *t)
{
	return t->nleaves;
}

struct revnode *
revtree_leaf(const struct revtree *t, size_t i)
{
	assert(i < t->nleaves);
	return t->runs[i]->nodes;
}

struct revpos
revtree_leaf_pos(const struct revtree *t, size_t i)
{
	assert(i < t->nleaves);
	return (struct revpos){.run = (uint32_t)i, .index = 0};
}

int
revtree_find(const struct revtree *t, const struct rev *r, struct revpos *atp)
{
	return revtree_seen_known_(t, r) && look(t, r, atp);
}

struct revnode *
revtree_at(const struct revtree *t, struct revpos at)
{
	assert(at.run < t->nruns && at.index < t->runs[at.run]->n);
	return &t->runs[at.run]->nodes[at.index];
}

int
revtree_parent(const struct revtree *t, struct revpos at, struct revpos *parentp)
{
	const struct revrun *run = t->runs[at.run];

	if (at.index + 1 < run->n) {
		parentp->run = at.run;
		parentp->index = at.index + 1;
		return 1;
	}
	if (run->id != 0 || run->parent == NULL)
		return 0;
	parentp->run = run->parent->index;
	parentp->index = 0;
	return 1;
}

uint64_t
revtree_first_gen(const struct revtree *t, struct revpos at)
{
	return revrun_first(root_of(t->runs[at.run]));
}

int
revtree_is_leaf(const struct revtree *t, struct revpos at)
{
	return at.index == 0 && at.run < t->nleaves;
}

int
revtree_descends(const struct revtree *t, struct revpos at, size_t leaf)
{
	const struct revrun *run;

	for (run = t->runs[leaf]; run != NULL; run = run->parent)
		if (run->index == at.run)
			return 1;
	return 0;
}

int
revtree_each(const struct revtree *t, int (*fn)(struct revnode *node, struct revpos at, void *cookie), void *cookie)
{
	struct revpos at;

	for (at.run = 0; at.run < t->nruns; at.run++) {
		for (at.index = 0; at.index < t->runs[at.run]->n; at.index++) {
			int rc = fn(&t->runs[at.run]->nodes[at.index], at, cookie);

			if (rc)
				return rc;
		}
	}
	return 0;
}

void
revtree_each_fork(struct revtree *t, void (*fn)(struct revnode *node, void *cookie), void *cookie)
{
	for (uint32_t i = 0; i < t->nruns; i++)
		t->runs[i]->need = 0;
	/* A run needs as many leaves as it has children with a live leaf; each tells its parent once. */
	for (uint32_t i = 0; i < t->nleaves; i++) {
		struct revrun *run = t->runs[i]->nodes[0].deleted ? NULL : t->runs[i]->parent;

		while (run != NULL && run->need++ == 0)
			run = run->parent;
	}
	for (uint32_t i = t->nleaves; i < t->nruns; i++)
		if (t->runs[i]->need > 1)
			fn(&t->runs[i]->nodes[0], cookie);
}

static int
valid_run(const struct revtree *t, const struct revrun *run)
{
	int ok =
	    run->n > 0 && (run->id == 0) == (run->spilled_from == 0) && run->id <= t->last_id && revrun_first(run) > 0;

	for (uint32_t i = 0; ok && i < run->n; i++) {
		ok = run->nodes[i].rev.gen == run->nodes[0].rev.gen - i;
		ok = ok && run->nodes[i].rev.len > 0 && run->nodes[i].rev.len <= LIMIT_REV_LEN;
	}
	ok = ok && (run->id == 0 || (run->spilled_from < revrun_low(run) && revrun_low(run) % REVTREE_BLOCK == 0));
	if (ok && run->parent != NULL)
		ok = t->runs[run->parent->index] == run->parent && revrun_tip(run->parent) + 1 == revrun_first(run) &&
		     (run->parent->nchildren > 1 || run->id != 0);
	return ok;
}

/* valid_place: Run ${i} stands where it belongs, has the children that name it, and each of its revisions is found in it. */
static int
valid_place(const struct revtree *t, uint32_t i)
{
	const struct revrun *run = t->runs[i];
	uint32_t children = 0, j;
	struct revpos at;
	int ok = run->index == i && (run->nchildren == 0) == (i < t->nleaves) &&
		 (i == 0 || revrun_before(t->runs[i - 1], run));

	for (j = 0; ok && j < t->nruns; j++) {
		children += t->runs[j]->parent == run;
		ok = j == i || run->id == 0 || t->runs[j]->id != run->id;
	}
	ok = ok && children == run->nchildren;
	for (j = 0; ok && j < run->n; j++)
		ok = revtree_find(t, &run->nodes[j].rev, &at) && at.run == i && at.index == j;
	return ok;
}

int
revtree_valid(const struct revtree *t)
{
	int ok = t->nruns <= t->cap && t->nleaves <= t->nruns && (t->nleaves > 0) == (t->nruns > 0);

	for (uint32_t i = 0; ok && i < t->nruns; i++)
		ok = valid_run(t, t->runs[i]) && valid_place(t, i);
	return ok;
}

void
revtree_check(const struct revtree *t)
{
	assert(revtree_valid(t));
}
