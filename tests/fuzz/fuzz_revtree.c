/*
 * Revision trees.  An input that begins with an even byte is decoded as it is: whatever decodes keeps the invariants and is
 * encoded to the same bytes.  Any other is a series of commits: merge, stem, purge, spill, encode, with the blocks kept aside.
 */
#include <string.h>

#include "db/revtree.h"
#include "fuzz.h"

#define MAX ((size_t)64 << 20)
#define BLOCKS 512u
#define COMMITS 32u
#define PATH 200u

struct block {
	uint32_t run_id;
	uint64_t block;
	struct buf bytes;
	int live;
};

struct machine {
	struct fuzz_in in;
	struct arena *a; /* of one commit */
	struct buf record;
	struct block blocks[BLOCKS]; /* every one ever written */
	size_t nblocks;
	int contradict;
};

/* ---- Blocks ---- */

static struct block *
find_block(struct machine *m, uint32_t run_id, uint64_t block)
{
	for (size_t i = 0; i < m->nblocks; i++)
		if (m->blocks[i].run_id == run_id && m->blocks[i].block == block)
			return &m->blocks[i];
	return NULL;
}

static int
put_block(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie)
{
	struct machine *m = cookie;
	struct block *b = find_block(m, run_id, block);

	/* A name may come again after its block is gone, in a later commit. */
	FUZZ_CHECK(b == NULL || !b->live);
	if (b == NULL && m->nblocks == BLOCKS)
		return ERR_NOSPACE;
	if (b == NULL) {
		b = &m->blocks[m->nblocks++];
		*b = (struct block){.run_id = run_id, .block = block};
		buf_init(&b->bytes, MAX);
	}
	b->live = 1;
	buf_clear(&b->bytes);
	FUZZ_CHECK(buf_put(&b->bytes, bytes->data, bytes->len) == 0);
	return 0;
}

static int
get_block(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	struct block *b = find_block(cookie, run_id, block);

	FUZZ_CHECK(b != NULL && b->live);
	bytes_init(r, b->bytes.data, b->bytes.len);
	return 0;
}

static int
visit_node(const struct revnode *node, void *cookie)
{
	uint64_t block = *(uint64_t *)cookie;

	FUZZ_CHECK(node->rev.gen / REVTREE_BLOCK == block);
	return 0;
}

static int
drop_block(uint32_t run_id, uint64_t block, void *cookie)
{
	struct block *b = find_block(cookie, run_id, block);
	struct bytes r;

	FUZZ_CHECK(b != NULL && b->live);
	bytes_init(&r, b->bytes.data, b->bytes.len);
	FUZZ_CHECK(revtree_block_each(&r, block, visit_node, &block) == 0);
	b->live = 0;
	return 0;
}

/* check_blocks: The blocks that are kept are those that the tree names. */
static void
check_blocks(struct machine *m, const struct revtree *t)
{
	struct revspill *s;
	size_t n, live = 0, named = 0;

	for (size_t i = 0; i < m->nblocks; i++)
		live += (size_t)m->blocks[i].live;
	FUZZ_CHECK(revtree_spills(t, &s, &n) == 0);
	for (size_t i = 0; i < n; i++)
		for (uint64_t k = s[i].first_gen / REVTREE_BLOCK; k <= s[i].last_gen / REVTREE_BLOCK; k++, named++) {
			struct block *b = find_block(m, s[i].run_id, k);

			FUZZ_CHECK(b != NULL && b->live);
		}
	FUZZ_CHECK(live == named);
}

/* ---- Reading ---- */

static int
look_at(struct revnode *node, struct revpos at, void *cookie)
{
	const struct revtree *t = cookie;
	struct revpos found, parent;

	FUZZ_CHECK(revtree_find(t, &node->rev, &found) && found.run == at.run && found.index == at.index);
	if (revtree_parent(t, at, &parent))
		FUZZ_CHECK(revtree_at(t, parent)->rev.gen + 1 == node->rev.gen);
	return 0;
}

static void
read_tree(struct revtree *t)
{
	FUZZ_CHECK(revtree_each(t, look_at, t) == 0);
	for (size_t i = 0; i < revtree_nleaves(t); i++) {
		FUZZ_CHECK(revtree_is_leaf(t, revtree_leaf_pos(t, i)));
		FUZZ_CHECK(revtree_descends(t, revtree_leaf_pos(t, i), i));
	}
}

/* round_trip: Encoded and decoded, a tree is the same; its winner can be read alone. */
static void
round_trip(struct arena *a, struct revtree *t, struct buf *b)
{
	struct revtree *again;
	struct revnode winner;
	struct bytes r;
	struct buf b2;
	size_t n;

	FUZZ_CHECK(revtree_encode(t, b) == 0);
	bytes_init(&r, b->data, b->len);
	FUZZ_CHECK(revtree_decode(a, &r, &again) == 0);
	FUZZ_CHECK(bytes_left(&r) == 0);
	revtree_check(again);
	buf_init(&b2, MAX);
	FUZZ_CHECK(revtree_encode(again, &b2) == 0);
	FUZZ_CHECK(b2.len == b->len && memcmp(b2.data, b->data, b->len) == 0);
	buf_release(&b2);
	bytes_init(&r, b->data, b->len);
	if (revtree_nleaves(t) > 0) {
		FUZZ_CHECK(revtree_winner_decode(&r, &winner, &n) == 0 && n == revtree_nleaves(t));
		FUZZ_CHECK(rev_equal(&winner.rev, &revtree_leaf(t, 0)->rev));
	}
}

static void
any_bytes(const uint8_t *data, size_t len)
{
	static const unsigned char id[] = "fuzz";
	struct rev revs[1] = {{5, id, 4}};
	struct revpath path = {.revs = revs, .n = 1};
	struct revtree *t;
	struct revnode node;
	struct arena *a;
	struct revpos at;
	enum revmerge how;
	struct bytes r;
	struct buf b;
	size_t n;
	int err, winner_err;

	FUZZ_CHECK(arena_new(MAX, &a) == 0);
	bytes_init(&r, data, len);
	winner_err = revtree_winner_decode(&r, &node, &n);
	bytes_init(&r, data, len);
	err = revtree_decode(a, &r, &t);
	FUZZ_CHECK(err == 0 || err == ERR_CORRUPT || err == ERR_NOMEM);
	if (err == 0) {
		FUZZ_CHECK(winner_err == 0 || revtree_nleaves(t) == 0);
		buf_init(&b, MAX);
		FUZZ_CHECK(revtree_encode(t, &b) == 0);
		err = revtree_merge(t, &path, &at, &how);
		FUZZ_CHECK(err == 0 || err == ERR_CHANGED);
		FUZZ_CHECK(revtree_stem(t, 10, NULL, NULL) == 0);
		buf_release(&b);
	}
	arena_free(a);
}

/* ---- Commits ---- */

/*
 * draw_path: A path that takes one of four ways up to its turn and one of four from there.  A revision's id tells its whole
 * way, so that it has one history whatever path it comes by.  In a tree without spilled parts paths may also contradict each
 * other: the id then does not tell the turn.
 */
static void
draw_path(struct machine *m, struct rev *revs, struct revpath *path)
{
	unsigned flags = fuzz_byte(&m->in);
	uint64_t gen = 1 + fuzz_byte(&m->in);
	size_t n = 1 + fuzz_byte(&m->in) % PATH;
	unsigned letter = fuzz_byte(&m->in);
	uint64_t turn = gen - (flags >> 4) % gen;
	unsigned char *id;

	n = n < gen ? n : gen;
	for (size_t i = 0; i < n; i++) {
		id = arena_calloc(m->a, REV_MD5_LEN, 1);
		FUZZ_CHECK(id != NULL);
		id[0] = (unsigned char)(gen - i);
		id[1] = (unsigned char)(letter / 64);
		if (gen - i >= turn) {
			id[2] = (unsigned char)('a' + letter % 4);
			id[3] = m->contradict ? 0 : (unsigned char)turn;
			id[1] = m->contradict ? 0 : id[1];
		}
		revs[i] = (struct rev){gen - i, id, flags & 2 ? REV_MD5_LEN : 4};
	}
	*path = (struct revpath){.revs = revs, .n = n};
	path->leaf.deleted = flags & 1;
	path->leaf.body = flags & 4 ? REVTREE_NO_BODY : REVTREE_BODY_FIRST + fuzz_byte(&m->in);
	path->leaf.body_len = flags & 4 ? 0 : gen;
}

static void
merge(struct machine *m, struct revtree *t)
{
	struct rev *revs = arena_calloc(m->a, PATH, sizeof(*revs));
	struct revpath path;
	struct revpos at;
	enum revmerge how;
	int err;

	FUZZ_CHECK(revs != NULL);
	draw_path(m, revs, &path);
	err = revtree_merge(t, &path, &at, &how);
	if (err == ERR_CHANGED) {
		FUZZ_CHECK(revtree_unspill(t, get_block, m) == 0);
		revtree_check(t);
		err = revtree_merge(t, &path, &at, &how);
	}
	FUZZ_CHECK(err == 0);
	revtree_check(t);
	FUZZ_CHECK(rev_equal(&revtree_at(t, at)->rev, &path.revs[0]));
	err = revtree_merge(t, &path, &at, &how); /* repeats harmlessly */
	FUZZ_CHECK(err == ERR_CHANGED || (err == 0 && how == REVMERGE_NONE));
}

static void
drop(struct machine *m, struct revtree *t)
{
	struct rev rev;
	struct revpos at;
	int err, removed = 0;

	if (revtree_nleaves(t) == 0)
		return;
	rev = revtree_leaf(t, fuzz_byte(&m->in) % revtree_nleaves(t))->rev;
	err = revtree_drop_leaf(t, &rev, &removed, NULL, NULL);
	if (err == ERR_CHANGED) {
		FUZZ_CHECK(revtree_unspill(t, get_block, m) == 0);
		err = revtree_drop_leaf(t, &rev, &removed, NULL, NULL);
	}
	FUZZ_CHECK(err == 0 && removed == 1);
	revtree_check(t);
	FUZZ_CHECK(!revtree_find(t, &rev, &at));
}

/* commit: What docs/FORMAT.md and revtree.h have a commit do.  0 if there is no room for more blocks. */
static int
commit(struct machine *m)
{
	struct revspill *before;
	struct buf next;
	unsigned what = fuzz_byte(&m->in);
	struct revtree *t;
	struct bytes r;
	size_t n;
	int err;

	bytes_init(&r, m->record.data, m->record.len);
	FUZZ_CHECK(revtree_decode(m->a, &r, &t) == 0);
	FUZZ_CHECK(revtree_spills(t, &before, &n) == 0);
	if (what % 8 == 7)
		drop(m, t);
	else
		merge(m, t);
	if (what % 8 == 6)
		merge(m, t);
	if (what & 16) {
		FUZZ_CHECK(revtree_stem(t, 1 + (what >> 5) * 17, NULL, NULL) == 0);
		revtree_check(t);
	}
	err = what & 8 || m->contradict ? 0 : revtree_spill(t, put_block, m);
	FUZZ_CHECK(err == 0 || err == ERR_NOSPACE);
	if (err != 0)
		return 0;
	revtree_check(t);
	FUZZ_CHECK(revtree_spill_dropped(before, n, t, drop_block, m) == 0);
	check_blocks(m, t);
	read_tree(t);
	buf_init(&next, MAX); /* the tree's ids lie in the old record */
	round_trip(m->a, t, &next);
	buf_release(&m->record);
	m->record = next;
	return 1;
}

static void
commits(const uint8_t *data, size_t len, int contradict)
{
	struct machine *m = calloc(1, sizeof(*m));

	FUZZ_CHECK(m != NULL && arena_new(MAX, &m->a) == 0);
	m->in = (struct fuzz_in){data, data + len};
	m->contradict = contradict;
	buf_init(&m->record, MAX);
	FUZZ_CHECK(buf_putc(&m->record, '\0') == 0);
	for (unsigned i = 0; i < COMMITS && fuzz_more(&m->in) && commit(m); i++) {
		arena_free(m->a);
		FUZZ_CHECK(arena_new(MAX, &m->a) == 0);
	}
	for (size_t i = 0; i < m->nblocks; i++)
		buf_release(&m->blocks[i].bytes);
	buf_release(&m->record);
	arena_free(m->a);
	free(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (data[0] & 1)
		commits(data + 1, len - 1, data[0] >> 1 & 1);
	else
		any_bytes(data + 1, len - 1);
	return 0;
}
