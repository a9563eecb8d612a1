/*
 * Counts against a model: an array of weights, summed up anew.  The keys are chosen so that
 * half of them are boundaries of ranges, which a first large batch makes known.
 */
#include "store/counts.h"
#include <stdlib.h>

#include "store/record.h"

#include "check.h"
#include "dice.h"

#define SAMPLE 150000u /* keys from which the boundaries are taken */
#define UNIVERSE 1500u /* keys of the random batches, at most */
#define BATCHES 1200u
#define ARENA_MAX ((size_t)64 << 20)

/* Any trees would do. */
enum { TREE_META, TREE_DOCS, TREE_CHANGES = 4, TREE_COUNTS = 11, TREE_COUNT };

static const char *const trees[TREE_COUNT] = {"meta", "docs", "docs_deep", "revs", "changes", "bodies", "blobs",
    "digests", "purges", "local", "local_deep", "counts"};

struct key {
	unsigned char b[STORE_KEY_MAX];
	size_t len;
};

/* One counted tree and what should be in it. */
struct model {
	struct counts_of c;
	int there[UNIVERSE];
	uint64_t weight[UNIVERSE];
};

static uint64_t rnd_state;
static struct key universe[UNIVERSE];
static unsigned nkeys;
static struct store_db *db;
static struct model models[2];

static uint64_t
rnd(uint64_t n)
{
	return (dice_next(&rnd_state) >> 11) % n;
}

static uint64_t
weigh(const struct store_val *key, const struct store_val *val)
{
	uint64_t w = 0;

	(void)key;
	if (val->len == sizeof(w))
		memcpy(&w, val->p, sizeof(w));
	return w;
}

static int
cmp_keys(const void *va, const void *vb)
{
	const struct key *a = va, *b = vb;
	int d = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return d ? d : a->len < b->len ? -1 : a->len > b->len;
}

static uint64_t
random_weight(void)
{
	switch (rnd(4)) {
	case 0:
		return 0;
	case 1:
		return rnd(UINT64_C(1) << 40);
	default:
		return 1;
	}
}

/* The keys that begin ranges with this salt, from the records that a large batch leaves; then remove everything. */
static void
find_boundaries(struct store *s, const struct counts_of *c)
{
	struct counts_change *changes = calloc(SAMPLE, sizeof(*changes));
	unsigned char(*keys)[12] = calloc(SAMPLE, sizeof(*keys));
	struct store_cursor *cursor;
	struct store_batch *batch;
	struct store_snap *snap;
	struct store_val k;
	struct arena *a;
	unsigned level2 = 0;
	int err;

	CHECK_INT(store_create(s, "sample", trees, TREE_COUNT, &db), 0);
	CHECK_INT(arena_new(ARENA_MAX, &a), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	for (uint32_t i = 0; i < SAMPLE; i++) {
		uint64_t noise = rnd(UINT64_MAX);

		for (unsigned j = 0; j < 4; j++)
			keys[i][j] = (unsigned char)((i * 28000u) >> (24 - 8 * j));
		memcpy(keys[i] + 4, &noise, 8);
		changes[i].key = keys[i];
		changes[i].klen = sizeof(keys[i]);
		changes[i].exists = 1;
	}
	CHECK_INT(counts_apply(c, snap, batch, a, changes, SAMPLE), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(store_cursor_open(snap, TREE_COUNTS, &cursor), 0);
	nkeys = 0;
	for (err = store_seek_le(cursor, NULL, 0, &k, NULL); !err; err = store_prev(cursor, &k, NULL)) {
		if (k.len == 2)
			continue;
		level2 += ((const unsigned char *)k.p)[1] == 2;
		if (nkeys < UNIVERSE / 2) {
			universe[nkeys].len = k.len - 2;
			memcpy(universe[nkeys++].b, (const unsigned char *)k.p + 2, k.len - 2);
		}
	}
	CHECK(level2 >= 2 && level2 <= 30);
	CHECK(nkeys > 400);
	store_cursor_close(cursor);
	store_snap_end(snap);
	store_close(db);
	arena_free(a);
	free(changes);
	free(keys);
}

/* Plain keys between the boundaries, among them neighbours of boundaries and keys as long as the store takes. */
static void
fill_universe(void)
{
	unsigned n = nkeys, kept = 0;

	while (n < UNIVERSE) {
		struct key *k = &universe[n++];

		*k = universe[rnd(nkeys)];
		switch (rnd(4)) {
		case 0:
			k->b[k->len++] = 0;
			break;
		case 1:
			k->len -= rnd(k->len - 1);
			break;
		case 2:
			k->b[rnd(k->len)] = (unsigned char)(rnd(2) ? 0xff : rnd(256));
			break;
		default:
			memset(k->b + k->len, 'x', sizeof(k->b) - k->len);
			k->len = STORE_KEY_MAX - rnd(4);
		}
	}
	qsort(universe, n, sizeof(universe[0]), cmp_keys);
	for (unsigned i = 0; i < n; i++)
		if (kept == 0 || cmp_keys(&universe[kept - 1], &universe[i]) != 0)
			universe[kept++] = universe[i];
	nkeys = kept;
}

static uint64_t
model_before(const struct model *m, unsigned i)
{
	uint64_t sum = 0;

	while (i-- > 0)
		sum += m->weight[i];
	return sum;
}

/* A batch's kind: which keys, and what becomes of them. */
static void
choose(unsigned *firstp, unsigned *lastp, unsigned *densityp, unsigned *keepp)
{
	unsigned a = (unsigned)rnd(nkeys), b = (unsigned)rnd(nkeys);

	*firstp = a < b ? a : b;
	*lastp = a < b ? b : a;
	*densityp = (unsigned)(rnd(3) == 0 ? 100 : 1 + rnd(20));
	*keepp = (unsigned)(rnd(4) * 33);
	if (rnd(20) == 0) {
		*firstp = 0;
		*lastp = nkeys - 1;
	}
	/* Everything goes, now and then. */
	if (rnd(60) == 0) {
		*firstp = 0;
		*lastp = nkeys - 1;
		*densityp = 100;
		*keepp = 0;
	}
}

static void
change_tree(struct model *m, struct store_snap *snap, struct store_batch *batch, struct arena *a)
{
	static struct counts_change changes[UNIVERSE];
	unsigned first, last, density, keep;
	size_t n = 0;

	choose(&first, &last, &density, &keep);
	for (unsigned i = first; i <= last; i++) {
		struct counts_change *ch = &changes[n];
		const struct key *k = &universe[i];

		if (rnd(100) >= density)
			continue;
		ch->key = k->b;
		ch->klen = k->len;
		ch->existed = m->there[i];
		ch->old_weight = m->weight[i];
		ch->exists = m->there[i] = rnd(100) < keep;
		ch->new_weight = m->weight[i] = ch->exists ? random_weight() : 0;
		n++;
		if (ch->exists)
			CHECK_INT(
			    store_put(batch, m->c.tree, k->b, k->len, &ch->new_weight, sizeof(ch->new_weight)), 0);
		else
			CHECK_INT(store_del(batch, m->c.tree, k->b, k->len), 0);
	}
	CHECK_INT(counts_apply(&m->c, snap, batch, a, changes, n), 0);
}

static int
check_seek(const struct model *m, struct store_snap *snap, uint64_t n, uint64_t total)
{
	struct store_cursor *cursor;
	struct store_val k, v;
	uint64_t skipped = 0, before = 0;
	unsigned i = 0;
	int ok, err;

	CHECK_INT(store_cursor_open(snap, m->c.tree, &cursor), 0);
	err = counts_seek(&m->c, snap, n, cursor, &k, &v, &skipped);
	if (n >= total) {
		ok = CHECK_INT(err, ERR_MISSING);
	} else {
		while (n - before >= m->weight[i])
			before += m->weight[i++];
		ok = CHECK_INT(err, 0) && CHECK_INT(skipped, before) &&
		     CHECK_MEM(k.p, k.len, universe[i].b, universe[i].len) && CHECK_INT(weigh(&k, &v), m->weight[i]);
	}
	ok &= CHECK_INT(counts_seek(&m->c, snap, n, cursor, NULL, NULL, &skipped), err);
	store_cursor_close(cursor);
	return ok;
}

static int
check_tree(const struct model *m, struct store_snap *snap)
{
	struct errtext why = {""};
	uint64_t total = model_before(m, nkeys), n = 0;
	int ok = 1;

	if (!CHECK_INT(counts_check(&m->c, snap, &why), 0)) {
		fprintf(stderr, "%s\n", why.text);
		return 0;
	}
	ok &= CHECK_INT(counts_total(&m->c, snap, &n), 0) && CHECK_INT(n, total);
	for (unsigned i = 0; i < 8; i++) {
		unsigned at = (unsigned)rnd(nkeys);

		ok &= CHECK_INT(counts_before(&m->c, snap, universe[at].b, universe[at].len, &n), 0) &&
		      CHECK_INT(n, model_before(m, at));
		ok &= check_seek(m, snap, total > 0 ? rnd(total) : 0, total);
	}
	ok &= CHECK_INT(
		  counts_before(&m->c, snap, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 14, &n), 0) &&
	      CHECK(n <= total);
	ok &=
	    check_seek(m, snap, 0, total) & check_seek(m, snap, total, total) & check_seek(m, snap, UINT64_MAX, total);
	if (total > 0)
		ok &= check_seek(m, snap, total - 1, total);
	return ok;
}

static void
run_batches(uint64_t seed)
{
	struct store_batch *batch;
	struct store_snap *snap;
	struct arena *a;
	int ok = 1;

	CHECK_INT(arena_new(ARENA_MAX, &a), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	for (unsigned i = 0; ok && i < BATCHES; i++) {
		CHECK_INT(store_snap_begin(db, &snap), 0);
		change_tree(&models[0], snap, batch, a);
		change_tree(&models[1], snap, batch, a);
		store_snap_end(snap);
		CHECK_INT(store_commit(batch), 0);
		arena_reset(a);
		CHECK_INT(store_snap_begin(db, &snap), 0);
		ok = check_tree(&models[0], snap) & check_tree(&models[1], snap);
		store_snap_end(snap);
		if (!ok)
			fprintf(stderr, "seed %" PRIu64 ", batch %u\n", seed, i);
	}
	store_batch_free(batch);
	arena_free(a);
}

/* Leave ${key} of `counts` with ${sum} (NULL: without a record), and see what the check and the reads say. */
static void
check_damage(const char *key, size_t klen, const char *sum, size_t len, int sealed, int total_err)
{
	struct errtext why = {""};
	struct store_batch *batch;
	struct store_snap *snap;
	uint64_t n;

	CHECK_INT(store_batch_new(db, &batch), 0);
	if (sum == NULL)
		CHECK_INT(store_del(batch, TREE_COUNTS, key, klen), 0);
	else if (sealed)
		CHECK_INT(record_put(batch, TREE_COUNTS, key, klen, sum, len), 0);
	else
		CHECK_INT(store_put(batch, TREE_COUNTS, key, klen, sum, len), 0);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(counts_check(&models[0].c, snap, &why), ERR_CORRUPT);
	CHECK(why.text[0] != '\0');
	CHECK_INT(counts_check(&models[1].c, snap, &why), 0);
	CHECK_INT(counts_total(&models[0].c, snap, &n), total_err);
	store_snap_end(snap);
}

static void
test_damage(struct store *s)
{
	struct counts_change ch = {"k", 1, 0, 1, 0, 5};
	const uint64_t five = 5;
	struct store_batch *batch;
	struct store_snap *snap;
	struct arena *a;

	CHECK_INT(store_create(s, "damage", trees, TREE_COUNT, &db), 0);
	CHECK_INT(arena_new(ARENA_MAX, &a), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	CHECK_INT(store_put(batch, TREE_DOCS, "k", 1, &five, sizeof(five)), 0);
	CHECK_INT(counts_apply(&models[0].c, snap, batch, a, &ch, 1), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
	arena_free(a);
	check_damage("d\2", 2, "\6", 1, 1, 0);
	check_damage("d\2", 2, "\5", 1, 0, ERR_CORRUPT);
	check_damage("d\2", 2, "\5\0", 2, 1, ERR_CORRUPT);
	check_damage("d\2", 2, NULL, 0, 0, 0);
	check_damage("d\2q", 3, "\5", 1, 1, 0);
	store_close(db);
}

static void
run(struct store *s, uint64_t seed)
{
	rnd_state = seed;
	memset(models, 0, sizeof(models));
	models[0].c = (struct counts_of){TREE_DOCS, TREE_COUNTS, 'd', rnd(UINT64_MAX), weigh};
	models[1].c = (struct counts_of){TREE_CHANGES, TREE_COUNTS, 'c', models[0].c.salt, weigh};
	find_boundaries(s, &models[0].c);
	fill_universe();
	CHECK_INT(store_drop(s, "sample"), 0);
	CHECK_INT(store_create(s, "random", trees, TREE_COUNT, &db), 0);
	run_batches(seed);
	store_close(db);
	CHECK_INT(store_drop(s, "random"), 0);
}

int
main(int argc, char **argv)
{
	struct store *s;

	if (!CHECK_INT(store_mem_new(&s), 0))
		return check_done();
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(s, argc > 1 ? strtoull(argv[1], NULL, 10) + seed : seed * UINT64_C(0x9e3779b97f4a7c15));
	test_damage(s);
	store_free(s);
	return check_done();
}
