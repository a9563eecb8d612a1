/*
 * Reductions of ranges against a recount: rows come and go, some ranges are settled and some are not, and any range
 * reduces to what its rows reduce to; natively and in JavaScript.
 */
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/exec.h"
#include "check.h"
#include "query/query.h"
#include "store/counts.h"
#include "views/sums.h"

#define ROWS 12000
#define MAPS 3 /* the second has no reductions */

static const char design[] =
    "{\"views\":{\"sum\":{\"map\":\"A\",\"reduce\":\"_sum\"},\"count\":{\"map\":\"A\",\"reduce\":\"_count\"},"
    "\"plain\":{\"map\":\"B\"},\"js\":{\"map\":\"C\",\"reduce\":\"function(k, v, r) { if (!r && k.length !== v.length) "
    "throw 1; return "
    "sum(v) }\"},\"last\":{\"map\":\"C\",\"reduce\":\"_last\"}}}";

static struct ddoc ddoc;
static struct sums sums;
static struct errtext why;
static struct store_db *db;
static struct store_batch *batch;
static unsigned char there[MAPS][ROWS];

static unsigned
below(unsigned n)
{
	return (unsigned)random() % n;
}

/* Rows are numbered in their order; row i of a map has the key i and the value i % 100. */
static void
order_of(unsigned map, unsigned i, struct buf *out, size_t *sortkey_len)
{
	struct buf scratch, key;
	char json[16];
	int n = snprintf(json, sizeof(json), "%u", i);

	buf_init(&scratch, 1024);
	buf_init(&key, 1024);
	buf_clear(out);
	CHECK_INT(query_sortkey((struct jstr){json, (size_t)n}, &scratch, &key), 0);
	CHECK_INT(rows_order(out, map, (struct jstr){key.data, key.len}, (struct jstr){"doc", 3}, 0), 0);
	*sortkey_len = key.len;
	buf_release(&scratch);
	buf_release(&key);
}

static void
bound_of(unsigned map, unsigned i, struct rows_key *out)
{
	struct buf b;
	size_t n;

	buf_init(&b, 1024);
	order_of(map, i, &b, &n);
	out->len = b.len;
	memcpy(out->b, b.data, b.len);
	buf_release(&b);
}

static void
add_change(struct arena *a, unsigned map, unsigned i, struct rows_change *out)
{
	struct buf order, value;
	char key[16], val[16];
	size_t sortkey_len;
	int kn = snprintf(key, sizeof(key), "%u", i), vn = snprintf(val, sizeof(val), "%u", i % 100);

	buf_init_arena(&order, a, 1024);
	buf_init_arena(&value, a, 1024);
	order_of(map, i, &order, &sortkey_len);
	out->order = (struct jstr){order.data, order.len};
	out->value = (struct jstr){NULL, 0};
	out->fresh = 0;
	if (!there[map][i])
		return;
	CHECK_INT(
	    rows_put(&value, out->order, sortkey_len, (struct jstr){key, (size_t)kn}, (struct jstr){val, (size_t)vn}),
	    0);
	out->value = (struct jstr){value.data, value.len};
}

/* One row in ${share} comes or goes. */
static void
change(unsigned share)
{
	static struct rows_change changes[MAPS * ROWS];
	struct rows_moved *moved;
	struct store_snap *snap;
	struct arena *a;
	size_t n = 0, nmoved;

	if (arena_new(1u << 28, &a) != 0 || store_snap_begin(db, &snap) != 0)
		exit(1);
	for (unsigned map = 0; map < MAPS; map++)
		for (unsigned i = 0; i < ROWS; i++)
			if (below(share) == 0) {
				there[map][i] = below(3) > 0;
				add_change(a, map, i, &changes[n++]);
			}
	CHECK_INT(rows_apply(snap, batch, a, changes, n, &moved, &nmoved), 0);
	CHECK_INT(sums_forget(&sums, snap, batch, a, moved, nmoved), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(batch), 0);
	arena_free(a);
}

static void
settle(void)
{
	for (unsigned level = 1; level <= SUMS_LEVELS; level++) {
		int done = 0;

		while (!done) {
			struct store_snap *snap;

			if (store_snap_begin(db, &snap) != 0)
				exit(1);
			if (!CHECK_INT(sums_settle(&sums, snap, batch, level, &done), 0)) {
				fprintf(stderr, "%s\n", why.text);
				done = 1;
			}
			store_snap_end(snap);
			CHECK_INT(store_commit(batch), 0);
		}
	}
}

static void
expect(const struct ddoc_view *v, unsigned lo, unsigned hi, struct buf *out)
{
	unsigned long total = 0, count = 0, last = 0;

	for (unsigned i = lo; i < hi; i++) {
		if (!there[v->map][i])
			continue;
		total += i % 100;
		count++;
		last = i % 100;
	}
	if (count > 0)
		buf_printf(out, "%lu", v->kind == DDOC_COUNT ? count : v->kind == DDOC_LAST ? last : total);
}

static void
check_ranges(const struct ddoc_view *v)
{
	struct sums_range ranges[20];
	struct buf got[20], want;
	unsigned lo[20], hi[20];
	struct store_snap *snap;

	if (store_snap_begin(db, &snap) != 0)
		exit(1);
	for (unsigned i = 0; i < 20; i++) {
		lo[i] = i < 2 ? 0 : below(ROWS);
		hi[i] = i < 1 ? ROWS - 1 : lo[i] + below(i % 2 ? 50 : ROWS - lo[i]);
		if (hi[i] >= ROWS)
			hi[i] = ROWS - 1;
		bound_of(v->map, lo[i], &ranges[i].lo);
		bound_of(v->map, hi[i], &ranges[i].hi);
		buf_init(&got[i], 1024);
		ranges[i].out = &got[i];
	}
	if (!CHECK_INT(sums_reduce(&sums, snap, v, ranges, 20), 0))
		fprintf(stderr, "%s\n", why.text);
	store_snap_end(snap);
	buf_init(&want, 1024);
	for (unsigned i = 0; i < 20; i++) {
		buf_clear(&want);
		expect(v, lo[i], hi[i], &want);
		CHECK_MEM(got[i].data, got[i].len, want.data, want.len);
		buf_release(&got[i]);
	}
	buf_release(&want);
}

static void
check_all(void)
{
	for (size_t i = 0; i < ddoc.nviews; i++)
		if (ddoc.views[i].kind != DDOC_NONE)
			check_ranges(&ddoc.views[i]);
}

static void
open_script(const char *self, struct scripts **sp, struct exec_threads *threads)
{
	char exe[PATH_MAX], copy[PATH_MAX];
	struct scripts_config c = {.exe = exe,
	    .max_children = 1,
	    .idle_ms = 60000,
	    .timeout_ms = 20000,
	    .memory = (size_t)256 << 20,
	    .max_answer = (size_t)16 << 20,
	    .ex = exec_threads_executor(threads)};

	snprintf(copy, sizeof(copy), "%s", self);
	snprintf(exe, sizeof(exe), "%s/../divan-js", dirname(copy));
	CHECK_INT(scripts_new(&c, sp), 0);
}

static uint64_t
unknown_now(void)
{
	struct store_snap *snap;
	uint64_t n = 0;

	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(sums_unknown(&sums, snap, &n), 0);
	store_snap_end(snap);
	return n;
}

/* kill_child: The only one there is. */
static void
kill_child(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	if ((f = fopen(path, "r")) == NULL || fscanf(f, "%d", &pid) != 1 || kill(pid, SIGKILL) != 0)
		CHECK(0);
	if (f != NULL)
		(void)fclose(f);
}

static struct scripts *scripts;
static struct jstr program;
static unsigned opened;

static void
open_child(void)
{
	CHECK_INT(script_open(scripts, "db", program, &sums.script, &why), 0);
}

static struct script *broken;

static int
open_another(struct sums *s)
{
	script_close(broken);
	opened++;
	return script_open(scripts, "db", program, &s->script, &why);
}

/* A child that dies is no failure of the function, and nothing is stored; if it is taken for one, the others are found out. */
static void
test_killed(void)
{
	struct sums_bad bad = {0};
	struct store_snap *snap;
	uint64_t before;
	int done;

	change(1);
	before = unknown_now();
	CHECK(before > 50);
	kill_child();
	sums.bad = &bad;
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(sums_settle(&sums, snap, batch, 1, &done), ERR_SCRIPT_DIED);
	store_snap_end(snap);
	CHECK_INT(store_batch_bytes(batch), 0);
	CHECK_INT(bad.n, 1);
	CHECK_INT(unknown_now(), before);
	script_close(sums.script);
	open_child();
	kill_child();
	bad = (struct sums_bad){.for_good = 1};
	broken = sums.script;
	sums.prepare = open_another;
	settle();
	CHECK_INT(bad.n, 1);
	CHECK_INT(bad.v[0].map, 2);
	CHECK_INT(unknown_now(), 0);
	sums.prepare = NULL;
	if (sums.script == NULL)
		CHECK_INT(open_another(&sums), 0);
	CHECK_INT(opened, 1);
	check_all();
	sums.bad = NULL;
}

#define LARGE ((size_t)64 << 10)
#define LARGE_ROWS 128u

/* put_rows: New rows of one map, with values of ${large} bytes: all, or those alone where a range of level 1 begins. */
static void
put_rows(struct store_db *to, struct store_batch *b, unsigned map, unsigned rows, size_t large, int all)
{
	struct rows_change *changes = calloc(rows, sizeof(*changes));
	char *text = malloc(large);
	struct rows_moved *moved;
	struct store_snap *snap;
	struct arena *a;
	size_t n, sortkey_len;

	if (changes == NULL || text == NULL || arena_new(1u << 28, &a) != 0 || store_snap_begin(to, &snap) != 0)
		exit(1);
	memset(text, 'x', large);
	text[0] = text[large - 1] = '"';
	for (unsigned i = 0; i < rows; i++) {
		struct jstr text_of_row = {"2", 1};
		struct buf order, value;

		buf_init_arena(&order, a, 1024);
		buf_init_arena(&value, a, 2 * large);
		order_of(map, i, &order, &sortkey_len);
		if (all || sums_level(sums.salt, order.data, order.len) > 0)
			text_of_row = (struct jstr){text, large};
		changes[i].order = (struct jstr){order.data, order.len};
		CHECK_INT(rows_put(&value, changes[i].order, sortkey_len, (struct jstr){"1", 1}, text_of_row), 0);
		changes[i].value = (struct jstr){value.data, value.len};
	}
	CHECK_INT(rows_apply(snap, b, a, changes, rows, &moved, &n), 0);
	CHECK_INT(sums_forget(&sums, snap, b, a, moved, n), 0);
	store_snap_end(snap);
	CHECK_INT(store_commit(b), 0);
	arena_free(a);
	free(text);
	free(changes);
}

/* The rows of one run are in memory, not those of all: here 8 MiB of 1.6 GiB. */
static void
test_large(void)
{
	static struct sums_range ranges[200];
	static struct buf got[200];
	struct store_snap *snap;

	put_rows(db, batch, 2, LARGE_ROWS, LARGE, 1);
	CHECK_INT(store_snap_begin(db, &snap), 0);
	for (unsigned i = 0; i < 200; i++) {
		bound_of(2, 0, &ranges[i].lo);
		bound_of(2, LARGE_ROWS, &ranges[i].hi);
		buf_init(&got[i], 2 * LARGE);
		ranges[i].out = &got[i];
	}
	CHECK_INT(sums_reduce(&sums, snap, ddoc_view_of(&ddoc, (struct jstr){"last", 4}), ranges, 200), 0);
	store_snap_end(snap);
	for (unsigned i = 0; i < 200; i++) {
		CHECK_INT(got[i].len, LARGE);
		buf_release(&got[i]);
	}
}

/* Results of many ranges that are too much for one answer: as many as fit. */
static void
test_fit(void)
{
	static struct sums_range ranges[400];
	static struct buf got[400];
	struct store_snap *snap;
	const struct ddoc_view *view = ddoc_view_of(&ddoc, (struct jstr){"last", 4});
	size_t fit;

	CHECK_INT(store_snap_begin(db, &snap), 0);
	for (unsigned i = 0; i < 400; i++) {
		bound_of(2, LARGE_ROWS - 1, &ranges[i].lo);
		bound_of(2, LARGE_ROWS, &ranges[i].hi);
		buf_init(&got[i], 2 * LARGE);
		ranges[i].out = &got[i];
	}
	CHECK_INT(sums_reduce(&sums, snap, view, ranges, 400), ERR_AGAIN);
	fit = sums.fit;
	CHECK(fit > 0 && fit <= SUMS_BYTES / LARGE + 1);
	for (unsigned i = 0; i < 400; i++)
		buf_clear(&got[i]);
	CHECK_INT(sums_reduce(&sums, snap, view, ranges, fit), 0);
	store_snap_end(snap);
	for (unsigned i = 0; i < 400; i++) {
		CHECK_INT(got[i].len, i < fit ? LARGE : 0);
		buf_release(&got[i]);
	}
}

#define BEGIN_LARGE ((size_t)512 << 10)

/* Where results are large, a transaction finds out all slots of some ranges, and none of others in vain. */
static void
test_settled_together(struct store *s, struct arena *a)
{
	static const char text[] = "{\"views\":{\"f\":{\"map\":\"A\",\"reduce\":\"_first\"},"
				   "\"t\":{\"map\":\"A\",\"reduce\":\"_top_1\"}}}";
	struct store_db *all = db;
	struct store_batch *all_batch = batch;
	uint64_t before;
	struct store_snap *snap;
	struct ddoc d;
	int done;

	CHECK_INT(ddoc_parse((struct jstr){text, sizeof(text) - 1}, a, &d), 0);
	if (store_create(s, "large", rows_trees, VIEW_TREES, &db) != 0 || store_batch_new(db, &batch) != 0)
		exit(1);
	sums.ddoc = &d;
	CHECK_INT(sums_create(&sums, batch), 0);
	CHECK_INT(store_commit(batch), 0);
	put_rows(db, batch, 0, ROWS, BEGIN_LARGE, 0);
	before = unknown_now();
	CHECK_INT(store_snap_begin(db, &snap), 0);
	CHECK_INT(sums_settle(&sums, snap, batch, 1, &done), 0);
	store_snap_end(snap);
	CHECK_INT(done, 0);
	CHECK_INT(store_commit(batch), 0);
	CHECK(before - unknown_now() > SUMS_BYTES / BEGIN_LARGE / 4);
	settle();
	CHECK_INT(unknown_now(), 0);
	store_batch_free(batch);
	store_close(db);
	db = all;
	batch = all_batch;
	sums.ddoc = &ddoc;
}

int
main(int argc, char **argv)
{
	static const char text[] = "{\"map\":[],\"reduce\":[\"function(k, v, r) { if (!r && k.length !== "
				   "v.length) throw 1; return sum(v) }\"]}";
	struct exec_threads *threads;
	struct store *s;
	struct arena *a;

	(void)argc;
	srandom(11);
	if (exec_threads_new(1, &threads) != 0 || arena_new(1 << 20, &a) != 0 || store_mem_new(&s) != 0 ||
	    store_create(s, "index", rows_trees, VIEW_TREES, &db) != 0 || store_batch_new(db, &batch) != 0)
		return 1;
	open_script(argv[0], &scripts, threads);
	CHECK_INT(ddoc_parse((struct jstr){design, sizeof(design) - 1}, a, &ddoc), 0);
	sums = (struct sums){.ddoc = &ddoc, .salt = 12345, .why = &why};
	program = (struct jstr){text, sizeof(text) - 1};
	open_child();
	CHECK_INT(sums_create(&sums, batch), 0);
	CHECK_INT(store_commit(batch), 0);
	check_all();
	change(1);
	check_all();
	settle();
	for (int round = 0; round < 12; round++) {
		check_all();
		change(round % 3 == 0 ? 20 : 2000);
		check_all();
		if (round % 2)
			settle();
	}
	settle();
	CHECK_INT(unknown_now(), 0);
	check_all();
	test_killed();
	test_large();
	test_fit();
	test_settled_together(s, a);
	script_close(sums.script);
	scripts_free(scripts);
	store_batch_free(batch);
	store_close(db);
	store_free(s);
	arena_free(a);
	exec_threads_free(threads);
	return check_done();
}
