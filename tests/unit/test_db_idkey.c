/*
 * Ids as keys against a model: a sorted array of ids.  Many ids share long prefixes and differ at the
 * borders of the trie's edges.  The counts of the tree `top` are kept along, as db.h's writer does.
 */
#include "db/idkey.h"
#include "db/trees.h"

#include <stdlib.h>

#include "base/limits.h"
#include "store/counts.h"
#include "store/record.h"

#include "check.h"
#include "dice.h"

#define IDS_MAX 500u
#define BATCHES 700u
#define CHANGES_MAX 2000u
#define ARENA_MAX ((size_t)64 << 20)

static const char *const tree_names[TREE_COUNT] = {"meta", "docs", "docs_deep", "revs", "changes", "bodies", "blobs",
    "digests", "purges", "local", "local_deep", "counts"};
static const struct idkey_trees trees = {TREE_DOCS, TREE_DOCS_DEEP};

struct id {
	char s[LIMIT_ID_LEN];
	size_t len;
	int there;
	int live;
};

/* A record: whose it is, and whether it is live. */
struct value {
	uint32_t number;
	uint32_t live;
};

static uint64_t rnd_state;
static struct id ids[IDS_MAX];
static unsigned nids;
static uint64_t next_node;
static struct store_db *db;
static struct counts_change changes[CHANGES_MAX];
static size_t nchanges;

static uint64_t
rnd(uint64_t n)
{
	return (dice_next(&rnd_state) >> 11) % n;
}

static uint64_t
weigh(const struct store_val *val)
{
	struct value v = {0, 0};

	if (val->len == sizeof(v))
		memcpy(&v, val->p, sizeof(v));
	return v.live;
}

static uint64_t
weigh_top(const struct store_val *key, const struct store_val *val)
{
	return idkey_is_pointer(key) ? idkey_weight(val) : weigh(val);
}

static struct counts_of counts = {TREE_DOCS, TREE_COUNTS, 'd', 0, weigh_top};

static int
cmp_bytes(const void *a, size_t alen, const void *b, size_t blen)
{
	int d = memcmp(a, b, alen < blen ? alen : blen);

	return d ? d : alen < blen ? -1 : alen > blen;
}

static int
cmp_ids(const void *va, const void *vb)
{
	const struct id *a = va, *b = vb;

	return cmp_bytes(a->s, a->len, b->s, b->len);
}

static int
cmp_changes(const void *va, const void *vb)
{
	const struct counts_change *a = va, *b = vb;

	return cmp_bytes(a->key, a->klen, b->key, b->klen);
}

/* An id cut from one of two bases, changed at a border or two. */
static void
random_id(struct id *id, const char *base)
{
	static const size_t lens[] = {
	    1, 2, 478, 479, 480, 481, 482, 959, 960, 961, 962, 1439, 1440, 1441, 4800, 4801, 8160, 8161, 8191, 8192};
	static const char bytes[] = {0, 1, 2, 'm', '\x7f', '\xfe', '\xff'};

	memset(id, 0, sizeof(*id));
	memcpy(id->s, base, LIMIT_ID_LEN);
	id->len = rnd(4) == 0 ? 1 + rnd(LIMIT_ID_LEN) : lens[rnd(sizeof(lens) / sizeof(lens[0]))];
	for (uint64_t n = rnd(3); n > 0; n--) {
		size_t border = 480 * rnd(LIMIT_ID_LEN / 480 + 1);
		size_t at = rnd(3) == 0 ? id->len - 1 : border + rnd(3);

		if (at >= 1 && rnd(2))
			at--;
		if (at < id->len)
			id->s[at] = bytes[rnd(sizeof(bytes))];
	}
}

static void
make_ids(void)
{
	static char bases[2][LIMIT_ID_LEN];
	unsigned kept = 0;

	for (unsigned i = 0; i < LIMIT_ID_LEN; i++) {
		bases[0][i] = 'm';
		bases[1][i] = (char)(rnd(4) == 0 ? 0 : rnd(256));
	}
	for (unsigned i = 0; i < IDS_MAX; i++)
		random_id(&ids[i], bases[rnd(4) == 0]);
	qsort(ids, IDS_MAX, sizeof(ids[0]), cmp_ids);
	for (unsigned i = 0; i < IDS_MAX; i++)
		if (kept == 0 || cmp_ids(&ids[kept - 1], &ids[i]) != 0)
			ids[kept++] = ids[i];
	nids = kept;
	CHECK(nids > 200);
}

static int
pointer_changed(
    const void *key, size_t klen, int existed, int exists, uint64_t old_weight, uint64_t new_weight, void *cookie)
{
	size_t *n = cookie;
	struct counts_change *ch = &changes[nchanges];

	CHECK(*n == 0 || cmp_bytes(ch[-1].key, ch[-1].klen, key, klen) < 0);
	(*n)++;
	*ch = (struct counts_change){key, klen, existed, exists, old_weight, new_weight};
	nchanges++;
	return 0;
}

/* Put or delete one record in the batch and in the model. */
static void
change_id(struct idkey_batch *b, struct store_batch *batch, unsigned i, int there)
{
	struct id *id = &ids[i];
	struct value v = {i, there && rnd(3) > 0};
	int64_t weight_change = (int64_t)v.live - id->live;
	struct idkey_place at;

	if (there) {
		CHECK_INT(idkey_put(b, id->s, id->len, id->there, weight_change, &at), 0);
		CHECK_INT(store_put(batch, at.tree, at.key, at.klen, &v, sizeof(v)), 0);
	} else {
		CHECK_INT(idkey_del(b, id->s, id->len, weight_change, &at), 0);
		CHECK_INT(store_del(batch, at.tree, at.key, at.klen), 0);
	}
	CHECK_INT(at.tree, id->len <= IDKEY_SHORT ? trees.top : trees.deep);
	id->there = there;
	id->live = (int)v.live;
}

/* A batch: some ids come, go or change, a few of them more than once. */
static void
run_batch(struct store_batch *batch, struct arena *a)
{
	static int was_there[IDS_MAX], was_live[IDS_MAX];
	struct store_snap *snap;
	struct idkey_batch *b;
	unsigned percent = rnd(8) == 0 ? 100 : 1 + (unsigned)rnd(15);
	unsigned stay = (unsigned)rnd(4) * 33;
	size_t npointers = 0;

	for (unsigned i = 0; i < nids; i++) {
		was_there[i] = ids[i].there;
		was_live[i] = ids[i].live;
	}
	nchanges = 0;
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(idkey_batch_new(&trees, snap, a, &next_node, &b), 0);
	for (unsigned n = nids * percent / 100 + 1; n > 0; n--) {
		unsigned i = percent == 100 ? n % nids : (unsigned)rnd(nids);
		int there = rnd(100) < stay;

		if (there || ids[i].there)
			change_id(b, batch, i, there);
	}
	for (unsigned i = 0; i < nids; i++) {
		if (ids[i].len > IDKEY_SHORT)
			continue;
		changes[nchanges++] = (struct counts_change){
		    ids[i].s, ids[i].len, was_there[i], ids[i].there, (uint64_t)was_live[i], (uint64_t)ids[i].live};
	}
	CHECK_INT(idkey_batch_end(b, batch, pointer_changed, &npointers), 0);
	qsort(changes, nchanges, sizeof(changes[0]), cmp_changes);
	CHECK_INT(counts_apply(&counts, snap, batch, a, changes, nchanges), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
}

/* The walk's next step gives the model's id ${i} (-1 or nids: none). */
static int
check_step(struct idkey_walk *w, int i)
{
	struct jstr id;
	struct store_val val, key;
	struct value v;
	unsigned tree;
	int err = idkey_walk_step(w, &id, &val);

	if (i < 0 || i >= (int)nids)
		return CHECK_INT(err, ERR_END);
	if (!CHECK_INT(err, 0) || !CHECK(id.len == ids[i].len && memcmp(id.s, ids[i].s, id.len) == 0) ||
	    !CHECK_INT(val.len, sizeof(v)))
		return 0;
	memcpy(&v, val.p, sizeof(v));
	idkey_walk_place(w, &tree, &key);
	return CHECK_INT(v.number, i) & CHECK_INT(v.live, ids[i].live) &
	       CHECK_INT(tree, id.len <= IDKEY_SHORT ? trees.top : trees.deep);
}

static int
next_there(int i, int step)
{
	while (i >= 0 && i < (int)nids && !ids[i].there)
		i += step;
	return i;
}

/* Up to ${max} steps of a walk that stands on ${i} or what is next to it, if that is not there. */
static int
check_walk(struct idkey_walk *w, int i, int step, unsigned max)
{
	for (; max > 0; max--, i += step) {
		i = next_there(i, step);
		if (!check_step(w, i))
			return 0;
		if (i < 0 || i >= (int)nids)
			return check_step(w, i);
	}
	return 1;
}

/* Walks from the ends, from ids that are there or not, and from places between the ids of the model. */
static int
check_walks(struct idkey_walk *w)
{
	static struct id probe;
	int ok;

	ok = CHECK_INT(idkey_walk_seek(w, NULL, 0, 0), 0) && check_walk(w, 0, 1, IDS_MAX + 1);
	ok &= CHECK_INT(idkey_walk_seek(w, NULL, 0, 1), 0) && check_walk(w, (int)nids - 1, -1, IDS_MAX + 1);
	for (unsigned n = 0; ok && n < 20; n++) {
		int i = (int)rnd(nids);

		ok &= CHECK_INT(idkey_walk_seek(w, ids[i].s, ids[i].len, 0), 0) && check_walk(w, i, 1, 4);
		ok &= CHECK_INT(idkey_walk_seek(w, ids[i].s, ids[i].len, 1), 0) && check_walk(w, i, -1, 4);
		random_id(&probe, ids[i].s);
		for (i = 0; i < (int)nids && cmp_ids(&ids[i], &probe) < 0; i++)
			;
		ok &= CHECK_INT(idkey_walk_seek(w, probe.s, probe.len, 0), 0) && check_walk(w, i, 1, 4);
		if (i == (int)nids || cmp_ids(&ids[i], &probe) != 0)
			i--;
		ok &= CHECK_INT(idkey_walk_seek(w, probe.s, probe.len, 1), 0) && check_walk(w, i, -1, 4);
	}
	return ok;
}

static unsigned
live_before(unsigned i)
{
	unsigned n = 0;

	while (i-- > 0)
		n += (unsigned)ids[i].live;
	return n;
}

/* Pass over live documents by counts; tell a rank. */
static int
check_ranks(struct store_snap *snap, struct idkey_walk *w)
{
	struct store_cursor *cursor;
	struct store_val key, val;
	struct idkey_place top;
	uint64_t total = live_before(nids), skipped, n, within;
	int ok = CHECK_INT(counts_total(&counts, snap, &n), 0) && CHECK_INT(n, total);

	CHECK_INT(store_cursor_open(snap, trees.top, &cursor), 0);
	for (unsigned k = 0; ok && k < 20; k++) {
		unsigned i = (unsigned)rnd(nids);
		int descending = (int)rnd(2);

		ok &= CHECK_INT(idkey_rank(&trees, snap, ids[i].s, ids[i].len, weigh, &top, &within), 0) &&
		      CHECK_INT(counts_before(&counts, snap, top.key, top.klen, &n), 0) &&
		      CHECK_INT(n + within, live_before(i));
		if (total == 0)
			break;
		n = rnd(total);
		for (i = 0; !ids[i].live || live_before(i) < n; i++)
			;
		ok &= CHECK_INT(counts_seek(&counts, snap, n, cursor, &key, &val, &skipped), 0) &&
		      CHECK_INT(idkey_walk_seek_weight(w, &key, n - skipped, weigh, descending), 0) &&
		      check_walk(w, (int)i, descending ? -1 : 1, 3);
	}
	store_cursor_close(cursor);
	return ok;
}

static int
check_finds(struct store_snap *snap)
{
	struct idkey_place at;
	struct store_val val;
	int ok = 1;

	for (unsigned i = 0; i < nids; i++) {
		int err = idkey_find(&trees, snap, ids[i].s, ids[i].len, &at);

		if (!err)
			err = store_get(snap, at.tree, at.key, at.klen, &val);
		ok &= CHECK_INT(err, ids[i].there ? 0 : ERR_MISSING);
	}
	return ok;
}

static int
check_state(struct arena *a)
{
	struct errtext why = {""};
	struct store_snap *snap;
	struct idkey_walk *w;
	int ok;

	CHECK_INT(store_snap_begin(db, &snap), 0);
	ok = CHECK_INT(idkey_check(&trees, snap, weigh, &why), 0) && CHECK_INT(counts_check(&counts, snap, &why), 0);
	if (!ok)
		fprintf(stderr, "%s\n", why.text);
	CHECK_INT(idkey_walk_open(&trees, snap, a, &w), 0);
	ok = ok && check_finds(snap) && check_walks(w) && check_ranks(snap, w);
	idkey_walk_close(w);
	store_snap_end(snap);
	return ok;
}

static void
run(struct store *s, uint64_t seed)
{
	struct store_batch *batch;
	struct arena *a;
	int ok = 1;

	rnd_state = seed;
	next_node = 0;
	counts.salt = seed;
	make_ids();
	CHECK_INT(store_create(s, "ids", tree_names, TREE_COUNT, &db), 0);
	CHECK_INT(arena_new(ARENA_MAX, &a), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	for (unsigned i = 0; ok && i < BATCHES; i++) {
		run_batch(batch, a);
		arena_reset(a);
		ok = check_state(a);
		arena_reset(a);
		if (!ok)
			fprintf(stderr, "seed %" PRIu64 ", batch %u\n", seed, i);
	}
	store_batch_free(batch);
	arena_free(a);
	store_close(db);
	CHECK_INT(store_drop(s, "ids"), 0);
}

/* What is not to be taken, and what a damaged pointer does. */
static void
test_errors(struct store *s)
{
	static char id[LIMIT_ID_LEN + 1];
	struct errtext why = {""};
	struct idkey_place at, pointer = {TREE_DOCS, 0, {0}};
	struct store_batch *batch;
	struct store_snap *snap;
	struct idkey_batch *b;
	struct arena *a;

	memset(id, 'a', sizeof(id));
	memset(pointer.key, 'a', IDKEY_SHORT);
	pointer.key[IDKEY_SHORT] = 1;
	pointer.klen = IDKEY_SHORT + 1;
	CHECK_INT(store_create(s, "errors", tree_names, TREE_COUNT, &db), 0);
	CHECK_INT(arena_new(ARENA_MAX, &a), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(idkey_find(&trees, snap, id, 0, &at), ERR_MISSING);
	CHECK_INT(idkey_find(&trees, snap, id, sizeof(id), &at), ERR_MISSING);
	CHECK_INT(idkey_find(&trees, snap, id, 500, &at), ERR_MISSING);
	CHECK_INT(idkey_batch_new(&trees, snap, a, &next_node, &b), 0);
	CHECK_INT(idkey_put(b, id, 0, 0, 1, &at), ERR_ID_EMPTY);
	CHECK_INT(idkey_put(b, id, sizeof(id), 0, 1, &at), ERR_ID_TOO_LONG);
	CHECK_INT(idkey_put(b, id, 500, 0, 1, &at), 0);
	CHECK_INT(store_put(batch, at.tree, at.key, at.klen, "x", 1), 0);
	CHECK_INT(idkey_put(b, id, 500, 1, -2, &at), ERR_CORRUPT);
	CHECK_INT(idkey_del(b, id, 1000, 0, &at), ERR_CORRUPT);
	CHECK_INT(idkey_batch_new(&trees, snap, a, &next_node, &b), 0);
	CHECK_INT(idkey_put(b, id, 500, 0, 1, &at), 0);
	CHECK_INT(store_put(batch, at.tree, at.key, at.klen, "x", 1), 0);
	CHECK_INT(idkey_batch_end(b, batch, NULL, NULL), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(idkey_find(&trees, snap, id, 500, &at), 0);
	/* The value "x" weighs 0, and the pointer says 1; and the first batch's record is in a node without a pointer.
	 */
	CHECK_INT(idkey_check(&trees, snap, weigh, &why), ERR_CORRUPT);
	CHECK(strstr(why.text, "weight 1") != NULL);
	store_snap_end(snap);
	CHECK_INT(store_put(batch, pointer.tree, pointer.key, pointer.klen, "\2\1\1xxxx", 7), 0);
	CHECK_INT(store_commit(batch), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(idkey_find(&trees, snap, id, 500, &at), ERR_CORRUPT);
	CHECK_INT(idkey_check(&trees, snap, weigh, &why), ERR_CORRUPT);
	store_snap_end(snap);
	CHECK_INT(store_del(batch, pointer.tree, pointer.key, pointer.klen), 0);
	CHECK_INT(store_commit(batch), 0);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(idkey_check(&trees, snap, weigh, &why), ERR_CORRUPT);
	CHECK(strstr(why.text, "no pointer") != NULL);
	store_snap_end(snap);
	store_batch_free(batch);
	arena_free(a);
	store_close(db);
}

int
main(int argc, char **argv)
{
	struct store *s;

	if (!CHECK_INT(store_mem_new(&s), 0))
		return check_done();
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(s, argc > 1 ? strtoull(argv[1], NULL, 10) + seed : seed * UINT64_C(0x9e3779b97f4a7c15));
	test_errors(s);
	store_free(s);
	return check_done();
}
