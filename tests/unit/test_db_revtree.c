/*
 * The revision tree against a model: a history is drawn at random, and its revisions, with the parents that are
 * known, are kept in plain arrays.  After each step tree and model must agree in every revision, parent and leaf.
 */
#include <stdlib.h>
#include <time.h>
#include "base/arena.h"
#include "base/buf.h"
#include "db/revtree.h"
#include "tests/unit/check.h"
#include "tests/unit/dice.h"

#define NODES_MAX 400
#define STORE_MAX 4096

/* One revision of the drawn history, and what the model knows of it. */
struct mnode {
	struct rev rev;
	unsigned char id[40];
	int parent; /* in the history; -1: a root */
	int deleted;
	int known;
	int linked; /* its parent is known too */
	int body;   /* its body has come */
	int bodies; /* bodies given to the tree and not reported gone */
	int mark;
	int linkmark;
};

struct model {
	struct mnode nodes[NODES_MAX];
	int n;
};

/* Blocks that were spilled, by name. */
struct block {
	uint32_t run_id;
	uint64_t block;
	struct buf bytes;
	int used;
};

struct store {
	struct block blocks[STORE_MAX];
	size_t puts;
	size_t reads;
};

static struct model model;
static struct store store;
static uint64_t seed_state;
static uint64_t seed_first;

static uint64_t
draw(uint64_t below)
{
	return (dice_next(&seed_state) * UINT64_C(2685821657736338717) >> 16) % below;
}

static void
seed(uint64_t s)
{
	seed_first = s;
	seed_state = s * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static struct arena *
new_arena(void)
{
	struct arena *a = NULL;

	if (!CHECK_INT(arena_new((size_t)1 << 30, &a), 0))
		exit(1);
	return a;
}

static struct revtree *
new_tree(struct arena *a)
{
	struct revtree *t = NULL;

	if (!CHECK_INT(revtree_new(a, &t), 0))
		exit(1);
	return t;
}

/* Draw a history; ${straight} of 100 revisions follow the one before. */
static void
draw_history(int n, unsigned straight)
{
	memset(&model, 0, sizeof(model));
	model.n = n;
	for (int i = 0; i < n; i++) {
		struct mnode *m = &model.nodes[i];

		m->parent = i == 0 || draw(40) == 0 ? -1 : draw(100) < straight ? i - 1 : (int)draw((uint64_t)i);
		m->rev.gen = m->parent < 0 ? 1 + draw(3) : model.nodes[m->parent].rev.gen + 1;
		m->rev.len = draw(8) ? 16 : 1 + draw(40);
		m->rev.id = m->id;
		for (size_t k = 0; k < m->rev.len; k++)
			m->id[k] = (unsigned char)draw(256);
		if (m->rev.len < 4) { /* short ones must not repeat */
			m->rev.len = 4;
			memcpy(m->id, &i, 4);
		}
		m->deleted = draw(4) == 0;
	}
}

/* The path of ${len} revisions that ends in ${leaf}. */
static size_t
make_path(int leaf, size_t len, struct rev *revs, struct revpath *path)
{
	size_t n = 0;

	for (int i = leaf; i >= 0 && n < len; i = model.nodes[i].parent)
		revs[n++] = model.nodes[i].rev;
	memset(path, 0, sizeof(*path));
	path->revs = revs;
	path->n = n;
	path->leaf.deleted = (uint8_t)model.nodes[leaf].deleted;
	path->leaf.body = (uint64_t)leaf + REVTREE_BODY_FIRST;
	path->leaf.body_len = (uint64_t)leaf * 7;
	return n;
}

static void
model_merge(int leaf, size_t n)
{
	struct mnode *m = &model.nodes[leaf];

	m->bodies += !(m->known && m->body);
	m->body = 1;
	for (int i = leaf; n > 0; i = model.nodes[i].parent, n--) {
		model.nodes[i].known = 1;
		model.nodes[i].linked |= n > 1;
	}
}

static int
model_children(int i)
{
	int n = 0;

	for (int j = i + 1; j < model.n; j++)
		n += model.nodes[j].known && model.nodes[j].linked && model.nodes[j].parent == i;
	return n;
}

static void
model_forget(struct mnode *m)
{
	m->known = m->linked = m->body = 0;
}

static void
model_stem(uint64_t limit)
{
	for (int i = 0; i < model.n; i++)
		model.nodes[i].mark = model.nodes[i].linkmark = 0;
	for (int i = 0; i < model.n; i++) {
		if (!model.nodes[i].known || model_children(i) > 0)
			continue;
		uint64_t left = limit;
		for (int j = i;; j = model.nodes[j].parent) {
			model.nodes[j].mark = 1;
			if (--left == 0 || !model.nodes[j].linked)
				break;
			model.nodes[j].linkmark = 1;
		}
	}
	for (int i = 0; i < model.n; i++) {
		model.nodes[i].linked = model.nodes[i].linkmark;
		if (!model.nodes[i].mark)
			model_forget(&model.nodes[i]);
	}
}

static int
model_drop(int i)
{
	if (!model.nodes[i].known || model_children(i) > 0)
		return 0;
	for (;;) {
		int parent = model.nodes[i].linked ? model.nodes[i].parent : -1;

		model_forget(&model.nodes[i]);
		if (parent < 0 || model_children(parent) > 0)
			return 1;
		i = parent;
	}
}

static int
model_index(const struct rev *r)
{
	for (int i = 0; i < model.n; i++)
		if (rev_equal(&model.nodes[i].rev, r))
			return i;
	return -1;
}

static int
better(int a, int b)
{
	int adel = model.nodes[a].body && model.nodes[a].deleted;
	int bdel = model.nodes[b].body && model.nodes[b].deleted;

	return adel != bdel ? bdel : rev_cmp(&model.nodes[a].rev, &model.nodes[b].rev) > 0;
}

static int
count_one(struct revnode *node, struct revpos at, void *cookie)
{
	(void)node, (void)at;
	++*(int *)cookie;
	return 0;
}

static void
compare_leaves(struct revtree *t)
{
	int leaves[NODES_MAX];
	size_t n = 0;

	for (int i = 0; i < model.n; i++) {
		size_t j;

		if (!model.nodes[i].known || model_children(i) > 0)
			continue;
		for (j = n++; j > 0 && better(i, leaves[j - 1]); j--)
			leaves[j] = leaves[j - 1];
		leaves[j] = i;
	}
	if (!CHECK_INT(revtree_nleaves(t), n))
		return;
	for (size_t i = 0; i < n; i++) {
		CHECK(rev_equal(&revtree_leaf(t, i)->rev, &model.nodes[leaves[i]].rev));
		CHECK(revtree_is_leaf(t, revtree_leaf_pos(t, i)));
		for (int j = leaves[i]; j >= 0; j = model.nodes[j].linked ? model.nodes[j].parent : -1) {
			struct revpos at;

			CHECK(revtree_find(t, &model.nodes[j].rev, &at) && revtree_descends(t, at, i));
		}
	}
}

/* Is the tree, of which nothing is spilled, what the model says? */
static void
compare(struct revtree *t)
{
	int known = 0;
	int nodes = 0;

	revtree_check(t);
	for (int i = 0; i < model.n; i++) {
		struct mnode *m = &model.nodes[i];
		struct revpos at;
		struct revpos parent;

		CHECK_INT(revtree_find(t, &m->rev, &at), m->known);
		known += m->known;
		if (!m->known || !revtree_find(t, &m->rev, &at))
			continue;
		CHECK_INT(revtree_at(t, at)->body, m->body ? (uint64_t)i + REVTREE_BODY_FIRST : REVTREE_NO_BODY);
		CHECK_INT(revtree_at(t, at)->body_len, m->body ? i * 7 : 0);
		CHECK_INT(revtree_at(t, at)->deleted, m->body && m->deleted);
		CHECK_INT(revtree_parent(t, at, &parent), m->linked);
		if (m->linked && revtree_parent(t, at, &parent))
			CHECK(rev_equal(&revtree_at(t, parent)->rev, &model.nodes[m->parent].rev));
		CHECK_INT(revtree_is_leaf(t, at), model_children(i) == 0);
	}
	CHECK_INT(revtree_each(t, count_one, &nodes), 0);
	CHECK_INT(nodes, known);
	compare_leaves(t);
}

static struct revtree *
recode(struct arena *a, const struct revtree *t)
{
	struct buf b;
	struct bytes r;
	struct revtree *copy = NULL;
	struct revnode winner;
	size_t nleaves;
	char *data;
	size_t len;

	buf_init(&b, (size_t)1 << 28);
	if (!CHECK_INT(revtree_encode(t, &b), 0))
		exit(1);
	len = b.len;
	data = arena_dup(a, b.data, len);
	buf_release(&b);
	if (!CHECK(data != NULL))
		exit(1);
	bytes_init(&r, data, len);
	if (!CHECK_INT(revtree_decode(a, &r, &copy), 0) || !CHECK_INT(bytes_left(&r), 0))
		exit(1);
	revtree_check(copy);
	if (revtree_nleaves(t) > 0) {
		bytes_init(&r, data, len);
		CHECK_INT(revtree_winner_decode(&r, &winner, &nleaves), 0);
		CHECK_INT(nleaves, revtree_nleaves(t));
		CHECK(rev_equal(&winner.rev, &revtree_leaf(t, 0)->rev));
		CHECK(winner.body == revtree_leaf(t, 0)->body && winner.body_len == revtree_leaf(t, 0)->body_len);
		CHECK_INT(winner.deleted, revtree_leaf(t, 0)->deleted);
	}
	return copy;
}

static struct block *
block_of(uint32_t run_id, uint64_t block)
{
	for (size_t i = 0; i < STORE_MAX; i++)
		if (store.blocks[i].used && store.blocks[i].run_id == run_id && store.blocks[i].block == block)
			return &store.blocks[i];
	return NULL;
}

static int
store_put(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie)
{
	size_t i;

	(void)cookie;
	store.puts++;
	CHECK(block_of(run_id, block) == NULL);
	for (i = 0; i < STORE_MAX && store.blocks[i].used; i++)
		;
	if (!CHECK(i < STORE_MAX))
		exit(1);
	store.blocks[i].used = 1;
	store.blocks[i].run_id = run_id;
	store.blocks[i].block = block;
	buf_init(&store.blocks[i].bytes, 1 << 16);
	return buf_put(&store.blocks[i].bytes, bytes->data, bytes->len);
}

/* The bytes must outlive the tree, and the test deletes blocks before: copied into the arena. */
static int
store_get(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	struct block *b = block_of(run_id, block);

	store.reads++;
	if (!CHECK(b != NULL))
		return ERR_CORRUPT;
	bytes_init(r, arena_dup(cookie, b->bytes.data, b->bytes.len), b->bytes.len);
	return 0;
}

static void
store_clear(void)
{
	for (size_t i = 0; i < STORE_MAX; i++)
		if (store.blocks[i].used)
			buf_release(&store.blocks[i].bytes);
	memset(&store, 0, sizeof(store));
}

static void
gone(const struct revnode *node, void *cookie)
{
	int i = model_index(&node->rev);

	(void)cookie;
	if (CHECK(i >= 0))
		model.nodes[i].bodies -= node->body != REVTREE_NO_BODY;
}

static int
gone_in_block(const struct revnode *node, void *cookie)
{
	gone(node, cookie);
	return 0;
}

static int
dropped(uint32_t run_id, uint64_t block, void *cookie)
{
	struct block *b = block_of(run_id, block);
	int unspilled = *(int *)cookie;
	struct bytes r;
	int rc = 0;

	if (!CHECK(b != NULL))
		return ERR_CORRUPT;
	bytes_init(&r, b->bytes.data, b->bytes.len);
	if (!unspilled)
		rc = revtree_block_each(&r, block, gone_in_block, NULL);
	buf_release(&b->bytes);
	b->used = 0;
	return rc;
}

/* One random step on tree and model. */
static struct revtree *
step(struct arena *a, struct revtree *t, int spill, int stem)
{
	static const uint64_t limits[] = {1, 2, 5, 60, 1000};
	struct rev revs[NODES_MAX];
	struct revspill *before;
	struct revpath path;
	struct revpos at;
	enum revmerge how;
	size_t nbefore;
	int leaf = (int)draw((uint64_t)model.n);
	int unspilled = 0;
	int removed = 0;
	int rc;

	CHECK_INT(revtree_spills(t, &before, &nbefore), 0);
	if (stem && draw(12) == 0) {
		uint64_t limit = limits[draw(5)];

		CHECK_INT(revtree_stem(t, limit, gone, NULL), 0);
		model_stem(limit);
	} else if (stem && draw(12) == 0) {
		rc = revtree_drop_leaf(t, &model.nodes[leaf].rev, &removed, gone, NULL);
		if (rc == ERR_CHANGED) {
			unspilled = 1;
			CHECK_INT(revtree_unspill(t, store_get, a), 0);
			rc = revtree_drop_leaf(t, &model.nodes[leaf].rev, &removed, gone, NULL);
		}
		CHECK_INT(rc, 0);
		CHECK_INT(removed, model_drop(leaf));
	} else {
		size_t n = make_path(leaf, draw(3) ? 1 + draw(5) : 1 + draw(NODES_MAX), revs, &path);
		int had = model.nodes[leaf].known;

		rc = revtree_merge(t, &path, &at, &how);
		if (rc == ERR_CHANGED && spill) {
			unspilled = 1;
			CHECK_INT(revtree_unspill(t, store_get, a), 0);
			rc = revtree_merge(t, &path, &at, &how);
		}
		if (!CHECK_INT(rc, 0))
			exit(1);
		CHECK(rev_equal(&revtree_at(t, at)->rev, &path.revs[0]));
		CHECK_INT(how == REVMERGE_NEW_LEAF || how == REVMERGE_BRANCH, !had);
		model_merge(leaf, n);
	}
	revtree_check(t);
	if (unspilled) {
		/* Reports what was dead in the blocks. */
		CHECK_INT(revtree_stem(t, UINT64_MAX, gone, NULL), 0);
	}
	if (spill && draw(2))
		CHECK_INT(revtree_spill(t, store_put, NULL), 0);
	CHECK_INT(revtree_spill_dropped(before, nbefore, t, dropped, &unspilled), 0);
	revtree_check(t);
	return draw(3) ? t : recode(a, t);
}

/* Everything that was given is reported gone in the end. */
static void
check_bodies(struct arena *a, struct revtree *t)
{
	struct revspill *before;
	size_t n;
	int unspilled = 1;
	int removed;

	CHECK_INT(revtree_spills(t, &before, &n), 0);
	CHECK_INT(revtree_unspill(t, store_get, a), 0);
	CHECK_INT(revtree_spill_dropped(before, n, t, dropped, &unspilled), 0);
	while (revtree_nleaves(t) > 0) {
		struct rev r = revtree_leaf(t, draw(revtree_nleaves(t)))->rev;

		CHECK_INT(revtree_drop_leaf(t, &r, &removed, gone, NULL), 0);
		if (!CHECK(removed))
			return;
		revtree_check(t);
	}
	for (int i = 0; i < model.n; i++)
		CHECK_INT(model.nodes[i].bodies, 0);
	for (size_t i = 0; i < STORE_MAX; i++)
		CHECK(!store.blocks[i].used);
}

static void
test_random(uint64_t s, int n, unsigned straight, int spill, int stem)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	unsigned failed = check_failed_;

	seed(s);
	store_clear();
	draw_history(n, straight);
	for (int i = 0; i < 120; i++) {
		t = step(a, t, spill, stem);
		if (i % 8 == 0) {
			struct revtree *copy = recode(a, t);

			CHECK_INT(revtree_unspill(copy, store_get, a), 0);
			compare(copy);
		}
	}
	check_bodies(a, t);
	if (check_failed_ > failed)
		fprintf(stderr, "seed %" PRIu64 ", %d revisions, straight %u, spill %d, stem %d\n", s, n, straight,
		    spill, stem);
	arena_free(a);
}

#define ORDERS 6u

/* The same paths in another order give the same bytes, and so the same winner and leaves. */
static void
test_commutes(uint64_t s, int n, unsigned straight)
{
	struct arena *a = new_arena();
	struct revtree *trees[ORDERS];
	struct buf encoded[ORDERS];
	size_t order[60];
	int leaf[60];
	size_t len[60];

	seed(s);
	draw_history(n, straight);
	for (size_t i = 0; i < 60; i++) {
		leaf[i] = (int)draw((uint64_t)n);
		len[i] = 1 + draw(draw(2) ? 4 : 60);
	}
	for (size_t i = 0; i < 60; i++)
		order[i] = i;
	for (size_t k = 0; k < ORDERS; k++) {
		trees[k] = new_tree(a);
		for (size_t i = 59; k > 1 && i > 0; i--) {
			size_t j = draw(i + 1), swap = order[i];

			order[i] = order[j];
			order[j] = swap;
		}
		for (size_t i = 0; i < 90; i++) {
			/* The second time in reverse, then at random; and some again. */
			size_t j = i >= 60 ? draw(60) : k == 1 ? 59 - i : order[i];
			struct rev revs[NODES_MAX];
			struct revpath path;
			struct revpos at;
			enum revmerge how;

			make_path(leaf[j], len[j], revs, &path);
			CHECK_INT(revtree_merge(trees[k], &path, &at, &how), 0);
			revtree_check(trees[k]);
			CHECK(i < 60 || how == REVMERGE_NONE);
		}
		buf_init(&encoded[k], 1 << 24);
		CHECK_INT(revtree_encode(trees[k], &encoded[k]), 0);
	}
	for (size_t k = 1; k < ORDERS; k++)
		if (!CHECK_MEM(encoded[0].data, encoded[0].len, encoded[k].data, encoded[k].len))
			fprintf(stderr, "seed %" PRIu64 ", order %zu\n", seed_first, k);
	for (size_t k = 0; k < ORDERS; k++)
		buf_release(&encoded[k]);
	arena_free(a);
}

int
main(void)
{
	for (uint64_t s = 1; s <= 40; s++) {
		test_commutes(s, 60, 50);
		test_commutes(s, 300, 95);
		test_random(s, 30, 40, 0, 0);
		test_random(s, 60, 60, 0, 1);
		test_random(s, 400, 97, 0, 1);
		test_random(s, 400, 98, 1, 0);
		test_random(s, 400, 98, 1, 1);
		test_random(s, 200, 100, 1, 1);
	}
	store_clear();
	return check_done();
}
