/*
 * First builds: records beyond memory come back in order, as often as they are asked for; and an index that is filled in one go has rows,
 * counts, reductions that are to be found out, and a head like one that was updated row by row.
 */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "store/record.h"
#include "views/bulk.h"
#include "views/sorter.h"

#define DOCS 3000u
#define LONG 700u /* bytes of a long sort key */

static char dir[] = "/tmp/test-bulk-XXXXXX";

static uint32_t
mix(uint32_t n)
{
	n *= 2654435761u;
	return n ^ n >> 15;
}

/* ---- The sorter ---- */

static int
check_pass(struct sorter *s, size_t n, size_t vlen)
{
	struct jstr key, val, last = {NULL, 0};
	unsigned char tag, last_tag = 0;
	size_t got = 0, whole = 0, rising = 0;
	int err;

	CHECK_INT(sorter_sort(s), 0);
	while ((err = sorter_next(s, &tag, &key, &val)) == 0) {
		rising += got == 0 || tag > last_tag || memcmp(last.s, key.s, 8) < 0;
		whole += key.len == 8 && val.len == vlen &&
			 (vlen == 0 || (val.s[0] == key.s[0] && val.s[vlen - 1] == key.s[1]));
		last = key;
		last_tag = tag;
		got++;
	}
	CHECK_INT(err, ERR_END);
	CHECK_INT(got, n);
	CHECK_INT(rising, n);
	return CHECK_INT(whole, n);
}

static void
check_sorter(const char *folder, size_t n, size_t vlen)
{
	char *value = calloc(1, vlen + 1);
	struct sorter *s;

	if (value == NULL || sorter_new(folder, &s) != 0)
		exit(1);
	for (size_t i = 0; i < n; i++) {
		char key[9];

		snprintf(key, sizeof(key), "%08x", mix((uint32_t)i));
		if (vlen > 0) {
			value[0] = key[0];
			value[vlen - 1] = key[1];
		}
		CHECK_INT(sorter_add(s, 1 + i % 2, (struct jstr){key, 8}, (struct jstr){value, vlen}), 0);
	}
	CHECK_INT(sorter_bytes(s), n * (8 + vlen));
	if (check_pass(s, n, vlen))
		check_pass(s, n, vlen);
	sorter_free(s);
	free(value);
}

/* ---- The index ---- */

/* order_of: Even ones are short; the odd ones are long, and share their beginnings. */
static size_t
order_of(uint32_t i, unsigned map, struct buf *out)
{
	struct buf key;
	char id[16];
	size_t len;

	buf_init(&key, 2 * LONG);
	buf_putc(&key, 0x30);
	for (size_t k = 0; i % 2 == 1 && k < LONG; k++)
		buf_putc(&key, 'x');
	buf_printf(&key, "%08x", mix(i));
	buf_putc(&key, 0);
	snprintf(id, sizeof(id), "doc%u", i);
	buf_clear(out);
	CHECK_INT(rows_order(out, map, (struct jstr){key.data, key.len}, (struct jstr){id, strlen(id)}, i), 0);
	len = key.len;
	buf_release(&key);
	return len;
}

static void
gather(struct bulk *b)
{
	struct buf order, value, list;

	buf_init(&order, 1 << 16);
	buf_init(&value, 1 << 16);
	buf_init(&list, 1 << 16);
	for (uint32_t i = 0; i < DOCS; i++) {
		unsigned char key[16] = {0};

		for (unsigned map = 0; map < 2; map++) {
			size_t len = order_of(i, map, &order);

			buf_clear(&value);
			CHECK_INT(rows_put(&value, (struct jstr){order.data, order.len}, len, (struct jstr){"1", 1},
				      (struct jstr){"null", 4}),
			    0);
			CHECK_INT(bulk_row(b, (struct jstr){order.data, order.len}, &value), 0);
		}
		bytes_store_u64be(key, mix(i));
		buf_clear(&list);
		buf_puts(&list, "list");
		CHECK_INT(bulk_list(b, (struct jstr){(const char *)key, sizeof(key)}, &list), 0);
	}
	buf_release(&order);
	buf_release(&value);
	buf_release(&list);
}

/* check_rows: ${n} of them, whose order keys rise; *${beginnings}: those of map 0 that begin ranges, by level. */
static void
check_rows(struct store_snap *snap, uint64_t salt, size_t n, size_t beginnings[SUMS_LEVELS])
{
	struct store_val key, val;
	struct store_cursor *c;
	struct arena *a;
	struct buf last;
	size_t got = 0, rising = 0;
	struct row row;
	int err;

	if (arena_new(1 << 24, &a) != 0 || store_cursor_open(snap, VIEW_ROWS, &c) != 0)
		exit(1);
	buf_init(&last, 1 << 16);
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		unsigned level = sums_level(salt, key.p, key.len);

		arena_reset(a);
		if (!CHECK_INT(rows_take(&key, &val, a, &row), 0))
			break;
		rising +=
		    got == 0 || memcmp(last.data, row.order.s, last.len < row.order.len ? last.len : row.order.len) < 0;
		buf_clear(&last);
		buf_put(&last, row.order.s, row.order.len);
		for (unsigned l = 0; l < level && ((const char *)key.p)[1] == 0; l++)
			beginnings[l]++;
		got++;
	}
	CHECK_INT(got, n);
	CHECK_INT(rising, n);
	buf_release(&last);
	store_cursor_close(c);
	arena_free(a);
}

static void
check_index(struct view_index *ix, size_t rows)
{
	size_t beginnings[SUMS_LEVELS] = {0};
	struct counts_of counts;
	struct index_head head;
	struct errtext why = {""};
	struct store_snap *snap;
	uint64_t n;

	if (store_snap_begin(ix->store, &snap) != 0)
		exit(1);
	check_rows(snap, ix->head.salt, rows, beginnings);
	index_counts(ix->head.salt, &counts);
	CHECK_INT(counts_check(&counts, snap, &why), 0);
	CHECK_STR(why.text, "");
	CHECK_INT(store_count(snap, VIEW_DOCS, &n), 0);
	CHECK_INT(n, DOCS);
	/* Of map 0 alone, with its beginning at each level; map 1 has no reductions. */
	CHECK_INT(store_count(snap, VIEW_SUMS, &n), 0);
	CHECK_INT(n, beginnings[0] + beginnings[1] + beginnings[2] + SUMS_LEVELS);
	CHECK_INT(index_head_get(snap, &head), 0);
	CHECK_INT(head.seq, 77);
	CHECK_INT(head.purge_seq, 5);
	CHECK_INT(head.ready, 1);
	CHECK(head.salt == ix->head.salt);
	store_snap_end(snap);
}

/* change: One more long row between those that are there, and one goes. */
static void
change(struct view_index *ix)
{
	struct rows_change changes[2], *sorted = changes;
	struct rows_moved *moved;
	struct store_batch *batch;
	struct store_snap *snap;
	struct buf come, go, value;
	struct arena *a;
	size_t n = 2, len;

	buf_init(&come, 1 << 16);
	buf_init(&go, 1 << 16);
	buf_init(&value, 1 << 16);
	len = order_of(DOCS + 1, 0, &come);
	(void)order_of(1, 0, &go);
	CHECK_INT(
	    rows_put(&value, (struct jstr){come.data, come.len}, len, (struct jstr){"1", 1}, (struct jstr){"2", 1}), 0);
	changes[0] = (struct rows_change){.order = {come.data, come.len}, .value = {value.data, value.len}};
	changes[1] = (struct rows_change){.order = {go.data, go.len}};
	if (arena_new(1 << 26, &a) != 0 || store_batch_new(ix->store, &batch) != 0 ||
	    store_snap_begin(ix->store, &snap) != 0)
		exit(1);
	CHECK_INT(rows_sort(a, &sorted, &n), 0);
	CHECK_INT(rows_apply(snap, batch, a, sorted, n, &moved, &n), 0);
	CHECK_INT(n, 2);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
	arena_free(a);
	buf_release(&come);
	buf_release(&go);
	buf_release(&value);
}

static void
check_bulk(struct store *store, const char *folder)
{
	struct views v = {.config = {.store = store, .folder = folder}};
	struct ddoc_map maps[2] = {{.nslots = 1}, {.nslots = 0}};
	struct view_index ix = {.views = &v, .ddoc = {.maps = maps, .nmaps = 2}, .head = {.salt = 4711}};
	const struct sums sums = {.ddoc = &ix.ddoc, .salt = 4711};
	size_t beginnings[SUMS_LEVELS] = {0};
	struct store_batch *batch;
	struct store_snap *snap;

	if (store_create(store, "index", rows_trees, VIEW_TREES, &ix.store) != 0 ||
	    store_batch_new(ix.store, &batch) != 0)
		exit(1);
	CHECK_INT(index_head_put(batch, &ix.head), 0);
	CHECK_INT(sums_create(&sums, batch), 0);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
	CHECK_INT(bulk_begin(&ix, 100, 5), 0);
	if (!CHECK(ix.bulk != NULL))
		return;
	CHECK(!bulk_is_whole(ix.bulk));
	bulk_changes(ix.bulk);
	gather(ix.bulk);
	bulk_reached(ix.bulk, 77);
	CHECK(bulk_is_whole(ix.bulk) && !bulk_is_full(ix.bulk));
	CHECK_INT(bulk_write(&ix, 1), 0);
	CHECK(ix.bulk == NULL);
	check_index(&ix, 2 * DOCS);
	change(&ix);
	if (store_snap_begin(ix.store, &snap) != 0)
		exit(1);
	check_rows(snap, 4711, 2 * DOCS, beginnings);
	store_snap_end(snap);
	/* It is not empty any more. */
	CHECK_INT(bulk_begin(&ix, 200, 5), 0);
	CHECK(ix.bulk == NULL);
	CHECK_INT(v.nbulks, 0);
	store_close(ix.store);
}

int
main(void)
{
	struct store *store;
	char command[64];

	if (mkdtemp(dir) == NULL)
		exit(1);
	check_sorter(dir, 1000, 0);
	check_sorter(dir, 50000, 1000);
	check_sorter(NULL, 50000, 1000);
	check_sorter(dir, 3, (size_t)20 << 20);
	if (store_mem_new(&store) != 0)
		exit(1);
	check_bulk(store, NULL);
	store_free(store);
	if (store_lmdb_new(dir, &store) != 0)
		exit(1);
	check_bulk(store, dir);
	store_free(store);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command) != 0 || check_done();
}
