/* The revision tree: what CouchDB was recorded to do, the bytes, long histories, many leaves, damage, no memory. */
#include <stdlib.h>
#include "base/arena.h"
#include "base/buf.h"
#include "db/revtree.h"
#include "tests/unit/check.h"
#include "tests/unit/dice.h"

#define BLOCKS_MAX 512
#define DAMAGE_SEED UINT64_C(20261121)

/* Spilled blocks; a document here has few. */
static struct {
	struct {
		uint32_t run_id;
		uint64_t block;
		struct buf bytes;
	} blocks[BLOCKS_MAX];
	size_t n;
	size_t puts;
	size_t reads;
} store;

static uint64_t random_state = DAMAGE_SEED;

static uint64_t
draw(uint64_t below)
{
	return (dice_next(&random_state) * UINT64_C(2685821657736338717) >> 16) % below;
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

static size_t
find_block(uint32_t run_id, uint64_t block)
{
	size_t i;

	for (i = 0; i < store.n; i++)
		if (store.blocks[i].run_id == run_id && store.blocks[i].block == block)
			break;
	return i;
}

static int
put_block(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie)
{
	(void)cookie;
	store.puts++;
	if (!CHECK(store.n < BLOCKS_MAX && find_block(run_id, block) == store.n))
		exit(1);
	store.blocks[store.n].run_id = run_id;
	store.blocks[store.n].block = block;
	buf_init(&store.blocks[store.n].bytes, 1 << 16);
	return buf_put(&store.blocks[store.n++].bytes, bytes->data, bytes->len);
}

static int
get_block(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	size_t i = find_block(run_id, block);

	(void)cookie;
	store.reads++;
	if (!CHECK(i < store.n))
		return ERR_CORRUPT;
	bytes_init(r, store.blocks[i].bytes.data, store.blocks[i].bytes.len);
	return 0;
}

static int
drop_block(uint32_t run_id, uint64_t block, void *cookie)
{
	size_t i = find_block(run_id, block);

	(void)cookie;
	if (!CHECK(i < store.n))
		return ERR_CORRUPT;
	buf_release(&store.blocks[i].bytes);
	store.blocks[i] = store.blocks[--store.n];
	return 0;
}

static void
store_clear(void)
{
	while (store.n > 0)
		buf_release(&store.blocks[--store.n].bytes);
	memset(&store, 0, sizeof(store));
}

static struct revtree *
recode(struct arena *a, const struct revtree *t, size_t *lenp)
{
	struct buf b;
	struct bytes r;
	struct revtree *copy = NULL;

	buf_init(&b, (size_t)1 << 24);
	if (!CHECK_INT(revtree_encode(t, &b), 0))
		exit(1);
	bytes_init(&r, arena_dup(a, b.data, b.len), b.len);
	if (lenp != NULL)
		*lenp = b.len;
	buf_release(&b);
	if (!CHECK_INT(revtree_decode(a, &r, &copy), 0) || !CHECK_INT(bytes_left(&r), 0))
		exit(1);
	return copy;
}

/* A revision whose hash is 16 times ${c}. */
static struct rev
named(uint64_t gen, char c)
{
	static const char letters[][17] = {"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc",
	    "dddddddddddddddd", "eeeeeeeeeeeeeeee", "ffffffffffffffff"};

	return (struct rev){.gen = gen, .id = (const unsigned char *)letters[c - 'a'], .len = 16};
}

/* Merge the path that ends in generation ${gen} and has the hashes ${hashes}, newest first. */
static enum revmerge
merge(struct revtree *t, uint64_t gen, const char *hashes, uint64_t body, int deleted)
{
	struct rev revs[8];
	struct revpath path = {.revs = revs, .n = strlen(hashes)};
	struct revpos at;
	enum revmerge how = REVMERGE_NONE;

	for (size_t i = 0; i < path.n; i++)
		revs[i] = named(gen - i, hashes[i]);
	path.leaf.body = body;
	path.leaf.body_len = body ? 200 : 0;
	path.leaf.deleted = (uint8_t)deleted;
	CHECK_INT(revtree_merge(t, &path, &at, &how), 0);
	CHECK(rev_equal(&revtree_at(t, at)->rev, &revs[0]));
	revtree_check(t);
	return how;
}

static int
is_leaf(struct revtree *t, size_t i, uint64_t gen, char c)
{
	struct rev r = named(gen, c);

	return i < revtree_nleaves(t) && rev_equal(&revtree_leaf(t, i)->rev, &r);
}

static void
test_winners(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);

	CHECK_INT(revtree_nleaves(t), 0);
	CHECK_INT(merge(t, 1, "a", 2, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(merge(t, 1, "b", 3, 0), REVMERGE_BRANCH);
	CHECK(is_leaf(t, 0, 1, 'b') && is_leaf(t, 1, 1, 'a'));
	CHECK_INT(merge(t, 2, "ca", 4, 0), REVMERGE_NEW_LEAF);
	CHECK(is_leaf(t, 0, 2, 'c') && is_leaf(t, 1, 1, 'b'));
	CHECK_INT(merge(t, 3, "dc", 5, 1), REVMERGE_NEW_LEAF);
	CHECK(is_leaf(t, 0, 1, 'b') && is_leaf(t, 1, 3, 'd'));
	CHECK_INT(merge(t, 3, "ec", 6, 0), REVMERGE_BRANCH);
	CHECK(is_leaf(t, 0, 3, 'e') && is_leaf(t, 1, 1, 'b') && is_leaf(t, 2, 3, 'd'));
	CHECK_INT(merge(t, 3, "eca", 7, 0), REVMERGE_NONE);
	CHECK_INT(revtree_leaf(t, 0)->body, 6);
	CHECK_INT(merge(t, 2, "ca", 7, 0), REVMERGE_NONE);
	CHECK_INT(revtree_nleaves(t), 3);
	arena_free(a);
}

static void
test_grafts(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	struct rev r = named(3, 'c');
	struct revpos at;

	CHECK_INT(merge(t, 4, "dc", 2, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(merge(t, 3, "cba", 3, 0), REVMERGE_ANCESTORS);
	CHECK(revtree_find(t, &r, &at) && revtree_at(t, at)->body == 3);
	CHECK_INT(merge(t, 2, "ba", 4, 0), REVMERGE_BODY);
	CHECK_INT(merge(t, 4, "dcba", 5, 0), REVMERGE_NONE);
	CHECK_INT(merge(t, 6, "fed", 6, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(revtree_nleaves(t), 1);
	/* Two roots of which a late path tells that one descends from the other. */
	t = new_tree(a);
	CHECK_INT(merge(t, 2, "ba", 2, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(merge(t, 5, "ed", 3, 0), REVMERGE_BRANCH);
	CHECK_INT(merge(t, 5, "edcb", 4, 0), REVMERGE_ANCESTORS);
	CHECK_INT(revtree_nleaves(t), 1);
	CHECK_INT(revtree_leaf(t, 0)->body, 3);
	/* Another history of a known revision is not believed. */
	t = new_tree(a);
	CHECK_INT(merge(t, 2, "ba", 2, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(merge(t, 2, "bc", 3, 0), REVMERGE_NONE);
	CHECK_INT(merge(t, 3, "dbc", 3, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(revtree_nleaves(t), 1);
	t = new_tree(a);
	CHECK_INT(merge(t, 3, "cb", 2, 0), REVMERGE_NEW_LEAF);
	CHECK_INT(merge(t, 3, "cda", 2, 0), REVMERGE_NONE);
	CHECK_INT(merge(t, 3, "dfa", 2, 0), REVMERGE_BRANCH);
	CHECK_INT(merge(t, 3, "eba", 2, 0), REVMERGE_BRANCH);
	CHECK_INT(revtree_nleaves(t), 3);
	arena_free(a);
}

static void
test_bytes(void)
{
	static const unsigned char one[] = {
	    1, 1, 4, 2, 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 200, 1};
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	struct revnode node;
	struct bytes r;
	struct buf b;
	size_t nleaves;
	size_t len;

	CHECK_INT(revtree_nleaves(recode(a, t, &len)), 0);
	CHECK_INT(len, 1);
	bytes_init(&r, "", 1);
	CHECK_INT(revtree_winner_decode(&r, &node, &nleaves), ERR_CORRUPT);
	merge(t, 1, "a", REVTREE_INLINE, 0);
	buf_init(&b, 1000);
	CHECK_INT(revtree_encode(t, &b), 0);
	CHECK_MEM(b.data, b.len, one, sizeof(one));
	for (size_t i = 0; i < sizeof(one); i++) {
		bytes_init(&r, one, i);
		CHECK_INT(revtree_decode(a, &r, &t), ERR_CORRUPT);
	}
	/* What stands behind a tree is not read. */
	CHECK_INT(buf_putc(&b, 'x'), 0);
	bytes_init(&r, b.data, b.len);
	CHECK_INT(revtree_decode(a, &r, &t), 0);
	CHECK_INT(bytes_left(&r), 1);
	bytes_init(&r, b.data, b.len);
	CHECK_INT(revtree_winner_decode(&r, &node, &nleaves), 0);
	CHECK(node.body == REVTREE_INLINE && node.body_len == 200 && !node.deleted && nleaves == 1);
	buf_release(&b);
	arena_free(a);
}

/* Each breaks one rule of the format; all but that is right. */
static void
test_refused(void)
{
	static const struct {
		const char *what;
		size_t len;
		unsigned char bytes[24];
	} cases[] = {
	    {"no leaves", 12, {2, 0, 1, 4, 8, 1, 'a', 1, 4, 8, 1, 'b'}},
	    {"more leaves than runs", 12, {2, 3, 1, 4, 8, 1, 'a', 1, 4, 8, 1, 'b'}},
	    {"leaves in the wrong order", 12, {2, 2, 1, 4, 8, 1, 'a', 1, 4, 8, 1, 'b'}},
	    {"generation 0", 6, {1, 0, 4, 8, 1, 'a'}},
	    {"generation 2^63", 15, {1, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1, 4, 8, 1, 'a'}},
	    {"a run without revisions", 6, {1, 1, 0, 8, 1, 'a'}},
	    {"more revisions than generations", 9, {1, 1, 8, 8, 1, 'a', 8, 1, 'b'}},
	    {"an unknown flag", 6, {1, 1, 4, 24, 1, 'a'}},
	    {"inline and numbered", 8, {1, 1, 4, 14, 1, 'a', 2, 3}},
	    {"body number 1", 8, {1, 1, 4, 12, 1, 'a', 1, 3}},
	    {"an empty hash", 7, {1, 1, 4, 8, 0, 'a', 'a'}},
	    {"a hash of 16 bytes with a length", 21, {1, 1, 4, 8, 16}},
	    {"parent out of range", 7, {1, 2, 6, 1, 8, 1, 'a'}},
	    {"its own parent", 7, {1, 2, 6, 0, 8, 1, 'a'}},
	    {"an only child", 13, {2, 1, 2, 6, 1, 8, 1, 'b', 1, 4, 8, 1, 'a'}},
	    {"a leaf that is a parent", 13, {2, 2, 2, 6, 1, 8, 1, 'b', 1, 4, 8, 1, 'a'}},
	    {"a gap below a run", 19, {3, 2, 3, 6, 2, 8, 1, 'c', 2, 6, 2, 8, 1, 'b', 1, 4, 8, 1, 'a'}},
	    {"spilled run 0", 8, {1, 32, 5, 0, 30, 8, 1, 'a'}},
	    {"spilled down to generation 0", 8, {1, 32, 5, 1, 31, 8, 1, 'a'}},
	    {"half a block spilled", 8, {1, 31, 5, 1, 2, 8, 1, 'a'}},
	};
	static const unsigned char good[] = {1, 32, 5, 1, 30, 8, 1, 'a'};
	static const unsigned char branch[] = {3, 2, 2, 6, 2, 8, 1, 'c', 2, 6, 2, 8, 1, 'b', 1, 4, 8, 1, 'a'};
	struct arena *a = new_arena();
	struct revtree *t;
	struct bytes r;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bytes_init(&r, cases[i].bytes, cases[i].len);
		if (!CHECK_INT(revtree_decode(a, &r, &t), ERR_CORRUPT))
			fprintf(stderr, "%s is not refused\n", cases[i].what);
	}
	bytes_init(&r, good, sizeof(good));
	CHECK_INT(revtree_decode(a, &r, &t), 0);
	bytes_init(&r, branch, sizeof(branch));
	CHECK_INT(revtree_decode(a, &r, &t), 0);
	revtree_check(t);
	arena_free(a);
}

/* The hash of generation ${gen} on branch ${branch}. */
static void
hash_of(uint64_t gen, unsigned branch, unsigned char *id)
{
	uint64_t h = (gen * 1000003 + branch) * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < 16; i++)
		id[i] = (unsigned char)((h >> (i % 8 * 8)) + i);
}

/* An edit as a client makes it: the new revision and its parent. */
static int
edit(struct revtree *t, uint64_t gen, unsigned branch, unsigned parent_branch, enum revmerge *howp)
{
	unsigned char ids[2][16];
	struct rev revs[2] = {{gen, ids[0], 16}, {gen - 1, ids[1], 16}};
	struct revpath path = {.revs = revs, .n = gen > 1 ? 2 : 1, .leaf = {.body = REVTREE_INLINE, .body_len = 100}};
	struct revpos at;

	hash_of(gen, branch, ids[0]);
	hash_of(gen - 1, parent_branch, ids[1]);
	return revtree_merge(t, &path, &at, howp);
}

/* A document edited 10,000 times: each edit rewrites a bounded record, and one of 32 writes a block. */
static void
test_long_history(void)
{
	struct arena *a = new_arena();
	struct arena *other = new_arena();
	struct revtree *t = new_tree(a);
	struct revspill *before, *now;
	enum revmerge how;
	size_t longest = 0;
	size_t len, n;

	for (uint64_t gen = 1; gen <= 10000; gen++) {
		struct arena *swap = a;
		size_t had;

		CHECK_INT(revtree_spills(t, &before, &had), 0);
		CHECK_INT(edit(t, gen, 0, 0, &how), 0);
		CHECK_INT(how, REVMERGE_NEW_LEAF);
		CHECK_INT(revtree_stem(t, 1000, NULL, NULL), 0);
		CHECK_INT(revtree_spill(t, put_block, NULL), 0);
		CHECK_INT(revtree_spill_dropped(before, had, t, drop_block, NULL), 0);
		CHECK_INT(revtree_spills(t, &now, &n), 0);
		if (n > 0)
			CHECK_INT(gen - now->first_gen + 1, gen < 1000 ? gen : 1000);
		arena_reset(other);
		t = recode(other, t, &len);
		a = other;
		other = swap;
		longest = len > longest ? len : longest;
	}
	CHECK_INT(store.reads, 0);
	CHECK_INT(store.puts, (10000 - REVTREE_RECENT + 1) / REVTREE_BLOCK);
	CHECK(longest < (REVTREE_BLOCK + REVTREE_RECENT) * 18 + 16);
	CHECK_INT(store.n, 31);
	CHECK_INT(revtree_unspill(t, get_block, NULL), 0);
	revtree_check(t);
	CHECK_INT(store.reads, 31);
	CHECK_INT(revtree_spills(t, &now, &n), 0);
	CHECK_INT(n, 0);
	store_clear();
	arena_free(a);
	arena_free(other);
}

/* Two long branches: the edits of neither need what is spilled of the other. */
static void
test_long_branches(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	enum revmerge how;

	for (uint64_t gen = 1; gen <= 300; gen++) {
		CHECK_INT(edit(t, gen, 0, 0, &how), 0);
		CHECK_INT(how, REVMERGE_NEW_LEAF);
		if (gen > 10 && gen < 200) {
			CHECK_INT(edit(t, gen, 1, gen > 11, &how), 0);
			CHECK_INT(how, gen > 11 ? REVMERGE_NEW_LEAF : REVMERGE_BRANCH);
		}
		CHECK_INT(revtree_spill(t, put_block, NULL), 0);
		revtree_check(t);
		t = recode(a, t, NULL);
	}
	CHECK_INT(revtree_nleaves(t), 2);
	CHECK_INT(edit(t, 200, 1, 1, &how), 0);
	CHECK_INT(how, REVMERGE_NEW_LEAF);
	CHECK_INT(store.reads, 0);
	CHECK_INT(revtree_nleaves(t), 2);
	/* New and known revisions far back need them. */
	CHECK_INT(edit(t, 100, 2, 0, &how), ERR_CHANGED);
	CHECK_INT(edit(t, 50, 0, 0, &how), ERR_CHANGED);
	revtree_check(t);
	CHECK_INT(revtree_unspill(t, get_block, NULL), 0);
	CHECK_INT(edit(t, 100, 2, 0, &how), 0);
	CHECK_INT(how, REVMERGE_BRANCH);
	CHECK_INT(edit(t, 50, 0, 0, &how), 0);
	CHECK_INT(how, REVMERGE_NONE);
	CHECK_INT(revtree_nleaves(t), 3);
	revtree_check(t);
	store_clear();
	arena_free(a);
}

/* The newest revisions stay, also where several blocks go at once. */
static void
test_recent(void)
{
	for (uint64_t last = 41; last < 200; last++) {
		struct arena *a = new_arena();
		struct revtree *t = new_tree(a);
		struct revspill *part;
		enum revmerge how;
		size_t n;

		for (uint64_t gen = 1; gen <= last; gen++)
			CHECK_INT(edit(t, gen, 0, 0, &how), 0);
		CHECK_INT(revtree_spill(t, put_block, NULL), 0);
		CHECK_INT(revtree_spills(t, &part, &n), 0);
		if (!CHECK_INT(n, 1))
			exit(1);
		CHECK_INT(part->first_gen, 1);
		CHECK(
		    last - part->last_gen >= REVTREE_RECENT && last - part->last_gen < REVTREE_RECENT + REVTREE_BLOCK);
		CHECK_INT(store.puts, (part->last_gen + 1) / REVTREE_BLOCK);
		store_clear();
		arena_free(a);
	}
}

static void
test_many_leaves(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	enum revmerge how;
	int removed;

	CHECK_INT(edit(t, 1, 0, 0, &how), 0);
	for (unsigned i = 0; i < 500; i++) {
		CHECK_INT(edit(t, 2, i, 0, &how), 0);
		CHECK_INT(how, i ? REVMERGE_BRANCH : REVMERGE_NEW_LEAF);
	}
	t = recode(a, t, NULL);
	CHECK_INT(revtree_nleaves(t), 500);
	for (size_t i = 500; i > 0; i--) {
		struct rev r = revtree_leaf(t, i * 7 % i)->rev;

		CHECK_INT(revtree_drop_leaf(t, &r, &removed, NULL, NULL), 0);
		CHECK_INT(removed, 1);
		CHECK_INT(revtree_nleaves(t), i - 1);
	}
	revtree_check(t);
	arena_free(a);
}

static int
touch(struct revnode *node, struct revpos at, void *cookie)
{
	(void)at;
	*(unsigned *)cookie += node->rev.id[0] + node->rev.id[node->rev.len - 1];
	return 0;
}

static int
touch_const(const struct revnode *node, void *cookie)
{
	*(unsigned *)cookie += node->rev.id[node->rev.len - 1];
	return 0;
}

/* Read what stands in ${bytes} in all ways.  Returns 1 if the tree was refused. */
static int
read_damaged(struct arena *a, const unsigned char *bytes, size_t len, unsigned *sump)
{
	struct revtree *t;
	struct revnode node;
	enum revmerge how;
	struct bytes r;
	size_t nleaves;
	int rc;

	bytes_init(&r, bytes, len);
	if (revtree_winner_decode(&r, &node, &nleaves) == 0)
		*sump += node.rev.id[node.rev.len - 1];
	bytes_init(&r, bytes, len);
	rc = revtree_block_each(&r, draw(4), touch_const, sump);
	CHECK(rc == 0 || rc == ERR_CORRUPT);
	bytes_init(&r, bytes, len);
	rc = revtree_decode(a, &r, &t);
	CHECK(rc == 0 || rc == ERR_CORRUPT);
	if (rc)
		return 1;
	CHECK_INT(revtree_each(t, touch, sump), 0);
	rc = edit(t, 2 + draw(120), 0, 0, &how);
	CHECK(rc == 0 || rc == ERR_CHANGED);
	CHECK_INT(revtree_stem(t, 1 + draw(50), NULL, NULL), 0);
	return 0;
}

/* Damaged bytes are refused, or give a tree that can be used; the sanitizers watch. */
static void
test_damaged(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	struct buf good;
	enum revmerge how;
	unsigned sum = 0;
	int refused = 0;

	for (uint64_t gen = 1; gen <= 120; gen++)
		CHECK_INT(edit(t, gen, 0, 0, &how), 0);
	for (unsigned i = 1; i < 12; i++)
		CHECK_INT(edit(t, 10 * i, i, 0, &how), 0);
	CHECK_INT(revtree_spill(t, put_block, NULL), 0);
	buf_init(&good, 1 << 20);
	CHECK_INT(revtree_encode(t, &good), 0);
	for (int i = 0; i < 100000; i++) {
		size_t len = draw(4) ? good.len : draw(good.len);
		unsigned char *bad = malloc(len + 1); /* of the exact size, for the sanitizer */

		if (bad == NULL)
			exit(1);
		memcpy(bad + 1, good.data, len);
		for (uint64_t k = 1 + draw(3); k > 0 && len > 8; k--)
			bad[1 + draw(draw(3) ? len : 8)] = (unsigned char)(draw(2) ? draw(256) : 1U << draw(8));
		arena_reset(a);
		refused += read_damaged(a, bad + 1, len, &sum);
		free(bad);
	}
	if (!CHECK(refused > 50000 && refused < 100000))
		fprintf(stderr, "seed %" PRIu64 ": %d refused\n", DAMAGE_SEED, refused);
	buf_release(&good);
	store_clear();
	arena_free(a);
}

/* Merge a path of few different hashes, whose revisions have other parents each time. */
static int
merge_forged(struct revtree *t, struct revpos *atp)
{
	struct rev revs[60];
	struct revpath path = {.revs = revs, .n = 1 + draw(draw(2) ? 60 : 6)};
	uint64_t gen = path.n + draw(100);
	enum revmerge how;

	for (size_t i = 0; i < path.n; i++)
		revs[i] = named(gen - i, (char)('a' + draw(draw(10) ? 1 : 3)));
	path.leaf.body = REVTREE_INLINE;
	path.leaf.deleted = draw(2);
	return revtree_merge(t, &path, atp, &how);
}

/* Clients that lie about ancestors harm nobody: every tree can be stored and read again. */
static void
test_forged(int spill)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	struct revpos at;

	for (int i = 0; i < 20000; i++) {
		struct revspill *before;
		size_t n;
		int rc;

		CHECK_INT(revtree_spills(t, &before, &n), 0);
		rc = merge_forged(t, &at);
		if (rc == ERR_CHANGED) {
			CHECK_INT(revtree_unspill(t, get_block, NULL), 0);
			rc = merge_forged(t, &at);
		}
		CHECK_INT(rc, 0);
		if (draw(20) == 0)
			CHECK_INT(revtree_stem(t, 1 + draw(80), NULL, NULL), 0);
		if (spill)
			CHECK_INT(revtree_spill(t, put_block, NULL), 0);
		else
			revtree_check(t);
		t = recode(a, t, NULL);
		CHECK_INT(revtree_spill_dropped(before, n, t, drop_block, NULL), 0);
		if (revtree_nleaves(t) > 20 || draw(100) == 0) {
			store_clear();
			t = new_tree(a);
		}
	}
	store_clear();
	arena_free(a);
}

/* ---- Many branches ---- */

#define MANY 10000u

static int
count_put(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie)
{
	(void)run_id;
	(void)block;
	*(size_t *)cookie += bytes->len > 0;
	return 0;
}

static int
count_block(uint32_t run_id, uint64_t block, void *cookie)
{
	(void)run_id;
	(void)block;
	++*(size_t *)cookie;
	return 0;
}

/* A path of ${n} revisions down from generation ${gen}, all of ${branch}. */
static int
merge_branch(struct revtree *t, uint64_t gen, unsigned n, unsigned branch)
{
	static unsigned char ids[64][16];
	struct rev revs[64];
	struct revpath path = {.revs = revs, .n = n};
	enum revmerge how;
	struct revpos at;

	for (unsigned i = 0; i < n; i++) {
		hash_of(gen - i, branch, ids[i]);
		revs[i] = (struct rev){gen - i, ids[i], 16};
	}
	return revtree_merge(t, &path, &at, &how);
}

/* As many spilled runs as leaves: neither what comes nor what is dropped takes a look at all of them for each; else this takes minutes. */
static void
test_many_spilled(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	struct revspill *before;
	size_t n, puts = 0, dropped = 0;

	for (unsigned i = 0; i < MANY; i++)
		CHECK_INT(merge_branch(t, 45, 45, i), 0);
	for (unsigned i = 0; i < MANY; i += 50) { /* they are found, and what goes on from them */
		CHECK_INT(merge_branch(t, 45, 45, i), 0);
		CHECK_INT(merge_branch(t, 46, 2, i), 0);
	}
	CHECK_INT(revtree_nleaves(t), MANY);
	CHECK_INT(revtree_spills(t, &before, &n), 0);
	CHECK_INT(n, 0);
	CHECK_INT(revtree_spill(t, count_put, &puts), 0);
	CHECK_INT(puts, MANY);
	CHECK_INT(revtree_spills(t, &before, &n), 0);
	CHECK_INT(n, MANY);
	CHECK_INT(revtree_spill_dropped(before, n, t, count_block, &dropped), 0);
	CHECK_INT(dropped, 0);
	CHECK_INT(revtree_stem(t, 10, NULL, NULL), 0);
	CHECK_INT(revtree_spill_dropped(before, n, t, count_block, &dropped), 0);
	CHECK_INT(dropped, MANY);
	arena_free(a);
}

static int
count_get(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	++*(size_t *)cookie;
	return get_block(run_id, block, r, NULL);
}

/* Many paths that may name what is spilled on other branches: all blocks are looked into about once, and then brought back. */
static void
test_many_repeats(void)
{
	struct arena *a = new_arena();
	struct revtree *t = new_tree(a);
	size_t gets = 0;
	int rc = 0;

	for (unsigned i = 0; i < 300; i++)
		CHECK_INT(merge_branch(t, 45, 45, i), 0);
	for (unsigned i = 0; i < 100; i++)
		CHECK_INT(merge_branch(t, 5, 5, 1000 + i), 0);
	CHECK_INT(revtree_spill(t, put_block, NULL), 0);
	t = recode(a, t, NULL);
	for (unsigned i = 0; i < 100 && rc == 0; i++) {
		unsigned char ids[2][16];
		struct rev revs[2] = {{6, ids[0], 16}, {5, ids[1], 16}};
		struct revpath path = {.revs = revs, .n = 2};

		hash_of(6, 2000 + i, ids[0]);
		hash_of(5, 1000 + i, ids[1]);
		rc = revtree_repeats(t, &path, count_get, &gets);
	}
	CHECK_INT(rc, ERR_CHANGED);
	CHECK(gets >= 300 && gets <= 900);
	store_clear();
	arena_free(a);
}

/* Wherever the arena ends, ERR_NOMEM is all that happens. */
static void
test_no_memory(void)
{
	int done = 0;

	for (size_t max = 64; !done && max < 100000; max += 32) {
		struct arena *a = NULL;
		struct revtree *t = NULL;
		enum revmerge how;
		int rc = arena_new(max, &a);

		if (rc == 0)
			rc = revtree_new(a, &t);
		for (uint64_t gen = 1; rc == 0 && gen < 60; gen++)
			rc = edit(t, gen, 0, 0, &how);
		for (unsigned i = 1; rc == 0 && i < 6; i++)
			rc = edit(t, 20 + i, i, 0, &how);
		if (rc == 0)
			rc = revtree_stem(t, 10, NULL, NULL);
		done = rc == 0;
		CHECK(rc == 0 || rc == ERR_NOMEM);
		arena_free(a);
	}
	CHECK(done);
}

int
main(void)
{
	test_winners();
	test_grafts();
	test_bytes();
	test_refused();
	test_recent();
	test_long_history();
	test_long_branches();
	test_many_leaves();
	test_damaged();
	test_forged(0);
	test_forged(1);
	test_many_spilled();
	test_many_repeats();
	test_no_memory();
	return check_done();
}
