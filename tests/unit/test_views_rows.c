/*
 * Rows of an index against a model: whatever comes and goes, with short and with long keys that share their beginnings, the
 * tree has the model's rows in the model's order, and bounds fall where the model says.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "check.h"
#include "store/record.h"
#include "views/rows.h"

#define POOL 400
#define ROUNDS 120

static struct buf pool[POOL]; /* order keys, ascending */
static size_t sortkeys[POOL];
static int there[POOL];
static unsigned versions[POOL];

static unsigned
below(unsigned n)
{
	return (unsigned)random() % n;
}

static int
cmp(const void *x, const void *y)
{
	const struct buf *a = x, *b = y;
	size_t n = a->len < b->len ? a->len : b->len;
	int c = memcmp(a->data, b->data, n);

	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* A sort key as query_sortkey() makes them: a string, terminated; many are long and share hundreds of bytes. */
static void
make_pool(void)
{
	for (size_t i = 0; i < POOL; i++) {
		struct buf key, id;
		size_t len = i % 3 == 0 ? below(20) : 470 + below(60);

		buf_init(&pool[i], 1 << 16);
		buf_init(&key, 1 << 16);
		buf_init(&id, 1 << 16);
		buf_putc(&key, 0x30);
		for (size_t k = 0; k < len; k++)
			buf_putc(&key, k < 465 && len > 465 ? 'x' : (char)('a' + below(2)));
		buf_putc(&key, 0);
		buf_printf(&id, "doc%zu", i);
		if (i % 7 == 0)
			buf_put(&id, "\0\0x", 3);
		CHECK_INT(rows_order(&pool[i], 1 + (unsigned)(i % 2), (struct jstr){key.data, key.len},
			      (struct jstr){id.data, id.len}, (uint32_t)i),
		    0);
		buf_release(&key);
		buf_release(&id);
	}
	qsort(pool, POOL, sizeof(pool[0]), cmp);
	for (size_t i = 0; i < POOL; i++)
		sortkeys[i] = (size_t)((char *)memchr(pool[i].data + 2, 0, pool[i].len) - pool[i].data) + 1 - 2;
}

static void
value_of(size_t i, struct buf *out)
{
	char json[32];
	int n = snprintf(json, sizeof(json), "[%zu,%u]", i, versions[i]);

	CHECK_INT(rows_put(out, (struct jstr){pool[i].data, pool[i].len}, sortkeys[i], (struct jstr){json, (size_t)n},
		      (struct jstr){"null", 4}),
	    0);
}

static void
check_rows(struct store_db *db)
{
	struct store_snap *snap;
	struct store_cursor *c;
	struct store_val key, val;
	struct arena *a;
	size_t i = 0;
	int err;

	if (arena_new(1 << 22, &a) != 0 || store_snap_begin(db, &snap) != 0 ||
	    store_cursor_open(snap, VIEW_ROWS, &c) != 0)
		exit(1);
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		struct row row;
		char json[32];

		while (i < POOL && !there[i])
			i++;
		if (!CHECK(i < POOL) || !CHECK_INT(rows_take(&key, &val, a, &row), 0))
			break;
		CHECK_MEM(row.order.s, row.order.len, pool[i].data, pool[i].len);
		snprintf(json, sizeof(json), "[%zu,%u]", i, versions[i]);
		CHECK_MEM(row.key.s, row.key.len, json, strlen(json));
		CHECK(row.id.len >= 4 && memcmp(row.id.s, "doc", 3) == 0 &&
		      memchr(row.id.s, (char)0xff, row.id.len) == NULL);
		CHECK_INT(row.sortkey.len, sortkeys[i]);
		arena_reset(a);
		i++;
	}
	while (i < POOL && !there[i])
		i++;
	CHECK_INT(i, POOL);
	store_cursor_close(c);
	store_snap_end(snap);
	arena_free(a);
}

/* The first row that is not below a bound: a whole order key, or the beginning of one. */
static void
check_bound(struct store_db *db, size_t i, size_t len)
{
	struct jstr bound = {pool[i].data, len < pool[i].len ? len : pool[i].len};
	struct store_snap *snap;
	struct store_cursor *c;
	struct store_val key, val;
	struct rows_key at;
	struct arena *a;
	struct row row;
	size_t want = 0;
	int err;

	while (want < POOL &&
	       (!there[want] || cmp(&pool[want], &(struct buf){.data = pool[i].data, .len = bound.len}) < 0))
		want++;
	if (arena_new(1 << 20, &a) != 0 || store_snap_begin(db, &snap) != 0 ||
	    store_cursor_open(snap, VIEW_ROWS, &c) != 0)
		exit(1);
	CHECK_INT(rows_bound(c, bound, &at), 0);
	err = store_seek(c, at.b, at.len, &key, &val);
	CHECK_INT(err, want < POOL ? 0 : ERR_MISSING);
	if (err == 0 && CHECK_INT(rows_take(&key, &val, a, &row), 0))
		CHECK_MEM(row.order.s, row.order.len, pool[want].data, pool[want].len);
	store_cursor_close(c);
	store_snap_end(snap);
	arena_free(a);
}

static void
shuffle(struct rows_change *v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t k = below((unsigned)i);
		struct rows_change t = v[k];

		v[k] = v[i - 1];
		v[i - 1] = t;
	}
}

static int
order_cmp(struct jstr a, struct jstr b)
{
	int c = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* Keys of few letters that are equal for up to ${alike} bytes, each with a number behind: all of them once, in order. */
static void
check_sort(size_t n, size_t alike, unsigned letters)
{
	struct rows_change *v = calloc(n, sizeof(*v)), *sorted = v;
	struct arena *a;
	size_t kept = n, distinct = n;

	if (v == NULL || arena_new(1 << 28, &a) != 0)
		exit(1);
	for (size_t i = 0; i < n; i++) {
		size_t len = alike > 0 ? below((unsigned)alike) : 0;
		char *key = arena_alloc(a, len + 5);

		if (key == NULL)
			exit(1);
		for (size_t k = 0; k < len; k++)
			key[k] = (char)('a' + (below(100) == 0 ? below(letters) : 0));
		key[len] = 0;
		key[len + 1] = (char)(i >> 16);
		key[len + 2] = (char)(i >> 8);
		key[len + 3] = (char)i;
		v[i].order = (struct jstr){key, len + 4};
		/* The same key again, and it goes: the one that comes stays. */
		if (i > 0 && below(10) == 0) {
			v[i].order = v[i - 1].order;
			distinct--;
		} else {
			v[i].value = v[i].order;
		}
	}
	shuffle(v, n);
	CHECK_INT(rows_sort(a, &sorted, &kept), 0);
	CHECK_INT(kept, distinct);
	for (size_t i = 0; i < kept; i++) {
		CHECK(sorted[i].value.s != NULL);
		if (i > 0)
			CHECK(order_cmp(sorted[i - 1].order, sorted[i].order) < 0);
	}
	free(v);
	arena_free(a);
}

static void
change(struct store_db *db, struct store_batch *batch, unsigned share)
{
	struct rows_change own[2 * POOL], *changes = own;
	struct rows_moved *moved;
	struct buf values[POOL];
	struct store_snap *snap;
	struct arena *a;
	size_t n = 0, nmoved, before = 0, after = 0;
	long sum = 0;

	if (arena_new(1 << 24, &a) != 0 || store_snap_begin(db, &snap) != 0)
		exit(1);
	for (size_t i = 0; i < POOL; i++) {
		buf_init(&values[i], 1 << 16);
		before += (size_t)there[i];
		if (below(share) == 0) {
			struct rows_change ch = {.order = {pool[i].data, pool[i].len}, .fresh = !there[i] && below(2)};

			/* One that goes and comes comes. */
			if (below(4) == 0)
				own[n++] = ch;
			there[i] = (int)below(2);
			versions[i]++;
			if (there[i])
				value_of(i, &values[i]);
			if (there[i])
				ch.value = (struct jstr){values[i].data, values[i].len};
			own[n++] = ch;
		}
		after += (size_t)there[i];
	}
	shuffle(own, n);
	CHECK_INT(rows_sort(a, &changes, &n), 0);
	CHECK_INT(rows_apply(snap, batch, a, changes, n, &moved, &nmoved), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	for (size_t i = 0; i < nmoved; i++) {
		sum += moved[i].exists - moved[i].existed;
		if (i > 0)
			CHECK(
			    cmp(&(struct buf){.data = (char *)(uintptr_t)moved[i - 1].key.s,
				    .len = moved[i - 1].key.len},
				&(struct buf){.data = (char *)(uintptr_t)moved[i].key.s, .len = moved[i].key.len}) < 0);
	}
	CHECK_INT((long)after - (long)before, sum);
	for (size_t i = 0; i < POOL; i++)
		buf_release(&values[i]);
	arena_free(a);
}

/* ---- Many rows at one place ---- */

#define RUN 3000u
#define SQUEEZED 400u

/* put_squeezed: Rows of long keys ${from} to before ${to}, in steps of ${step}; returns how many tree keys that touched. */
static size_t
put_squeezed(struct store_db *db, struct store_batch *batch, uint64_t from, uint64_t to, uint64_t step)
{
	static struct rows_change changes[RUN];
	struct rows_moved *moved;
	struct store_snap *snap;
	struct arena *a;
	size_t n = 0, nmoved = 0;

	if (arena_new(1 << 26, &a) != 0 || store_snap_begin(db, &snap) != 0)
		exit(1);
	for (uint64_t at = from; at < to; at += step) {
		struct buf order, value;

		buf_init_arena(&order, a, 1024);
		buf_init_arena(&value, a, 1024);
		buf_puts(&order, "zz");
		for (size_t i = 0; i < 500; i++)
			buf_putc(&order, 'x');
		buf_put_u64be(&order, at);
		CHECK_INT(rows_put(&value, (struct jstr){order.data, order.len}, 1, (struct jstr){"1", 1},
			      (struct jstr){"2", 1}),
		    0);
		changes[n++] = (struct rows_change){{order.data, order.len}, {value.data, value.len}, .fresh = 1};
	}
	CHECK_INT(rows_apply(snap, batch, a, changes, n, &moved, &nmoved), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	arena_free(a);
	return nmoved;
}

static void
check_squeezed(struct store_db *db, size_t n)
{
	const struct jstr begin = {"zz", 2};
	struct store_snap *snap;
	struct store_cursor *c;
	struct store_val key, val;
	struct buf last;
	struct arena *a;
	struct row row;
	size_t got = 0;
	int err;

	buf_init(&last, 1024);
	if (arena_new(1 << 26, &a) != 0 || store_snap_begin(db, &snap) != 0 ||
	    store_cursor_open(snap, VIEW_ROWS, &c) != 0)
		exit(1);
	for (err = store_seek(c, begin.s, begin.len, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		CHECK_INT(rows_take(&key, &val, a, &row), 0);
		if (got++ > 0)
			CHECK(order_cmp((struct jstr){last.data, last.len}, row.order) < 0);
		buf_clear(&last);
		buf_put(&last, row.order.s, row.order.len);
	}
	CHECK_INT(err, ERR_MISSING);
	CHECK_INT(got, n);
	store_cursor_close(c);
	store_snap_end(snap);
	arena_free(a);
	buf_release(&last);
}

/* Rows that come one by one between the same two, or at the end, move a few of their neighbours at most. */
static void
test_squeezed(struct store_db *db, struct store_batch *batch)
{
	const uint64_t apart = UINT64_C(1) << 32, middle = RUN / 2 * apart;
	size_t most = 0;

	put_squeezed(db, batch, apart, (RUN + 1) * apart, apart);
	for (uint64_t i = 0; i < SQUEEZED; i++) {
		size_t n = put_squeezed(db, batch, middle + SQUEEZED - i, middle + SQUEEZED - i + 1, 1);

		most = n > most ? n : most;
		n = put_squeezed(db, batch, (RUN + 1 + i) * apart, (RUN + 1 + i) * apart + 1, 1);
		most = n > most ? n : most;
	}
	CHECK(most < RUN / 4);
	check_squeezed(db, RUN + 2 * SQUEEZED);
}

int
main(void)
{
	struct store *s;
	struct store_db *db;
	struct store_batch *batch;

	srandom(7);
	make_pool();
	for (size_t n = 1; n < 4000; n = 3 * n + 1)
		for (size_t alike = 0; alike <= 900; alike += 300)
			check_sort(n, alike, 1 + below(4));
	CHECK_INT(store_mem_new(&s), 0);
	CHECK_INT(store_create(s, "index", rows_trees, VIEW_TREES, &db), 0);
	CHECK_INT(store_batch_new(db, &batch), 0);
	for (int round = 0; round < ROUNDS; round++) {
		change(db, batch, round % 4 == 0 ? 2 : 20);
		check_rows(db);
		for (int i = 0; i < 30; i++)
			check_bound(db, below(POOL), i % 3 == 0 ? below(560) : 1000);
	}
	test_squeezed(db, batch);
	store_batch_free(batch);
	store_close(db);
	store_free(s);
	for (size_t i = 0; i < POOL; i++)
		buf_release(&pool[i]);
	return check_done();
}
