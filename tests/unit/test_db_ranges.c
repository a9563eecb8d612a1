/* test_db_ranges.c: where a scan begins and ends: sequences and what they are read from, ranges of ids, purges, of which the oldest are forgotten. */
#include "ruletest.h"

#include "db/dbi.h"

static struct dbs *all;

/* ---- Sequences ---- */

static void
seq_is(struct db *db, const char *text, int err, uint64_t want)
{
	uint64_t seq = 77;

	CHECK_INT(db_seq_parse(db, text, strlen(text), &seq), err);
	CHECK_INT(seq, err != 0 ? 77 : want);
}

static void
test_seqs(void)
{
	struct db *db = ruletest_new_db(all, "seqs");
	struct buf b;

	seq_is(db, "", 0, 0);
	seq_is(db, "0", 0, 0);
	seq_is(db, "12", 0, 12);
	seq_is(db, "12-", 0, 0);
	seq_is(db, "12-x", 0, 0);
	seq_is(db, "12x", ERR_BAD_REQUEST, 0);
	seq_is(db, "x", ERR_BAD_REQUEST, 0);
	seq_is(db, "-1", ERR_BAD_REQUEST, 0);
	seq_is(db, "99999999999999999999", ERR_BAD_REQUEST, 0);
	seq_is(db, "999999999999999999999999", ERR_BAD_REQUEST, 0);
	buf_init(&b, 100);
	CHECK_INT(db_seq_put(db, &b, 5), 0);
	CHECK_INT(buf_putc(&b, '\0'), 0);
	seq_is(db, b.data, 0, 5);
	b.data[b.len - 2] ^= 1; /* of another server */
	seq_is(db, b.data, 0, 0);
	buf_release(&b);
	buf_init(&b, 3);
	CHECK_INT(db_seq_put(db, &b, 5), ERR_TOO_LARGE);
	buf_release(&b);
	ruletest_end_db(db);
}

/* ---- Scans ---- */

/* The ids that a scan gives, one letter each, until it ends so. */
static const char *
listed(struct db *db, struct db_range range, int end)
{
	static char out[64];
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	size_t n = 0;
	int err = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if ((err = db_docs_open(snap, &range, &scan)) != 0) {
		CHECK_INT(err, end);
	} else {
		while ((err = db_docs_next(scan, ruletest_arena, &doc)) == 0 && n + 1 < sizeof(out))
			out[n++] = doc.id.s[0];
		CHECK_INT(err, end);
		if (end == ERR_END)
			CHECK_INT(db_docs_next(scan, ruletest_arena, &doc), ERR_END);
		db_scan_close(scan);
	}
	db_snap_end(snap);
	out[n] = '\0';
	return out;
}

#define AT(text) .has_start = 1, .start = {text, sizeof(text) - 1}
#define TO(text) .has_end = 1, .end = {text, sizeof(text) - 1}
#define DOWN .descending = 1
#define LISTED(...) listed(db, (struct db_range){__VA_ARGS__}, ERR_END)

static void
test_ranges(void)
{
	struct db *db = ruletest_new_db(all, "ranges");
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_change change;
	uint64_t n;

	for (char c = 'a'; c <= 'f'; c++)
		CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"%c\"}", c), 0);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"c5\",\"_rev\":\"1-x\",\"_deleted\":true}"), 0);
	CHECK_STR(LISTED(.skip = 0), "abcdef");
	CHECK_STR(LISTED(.skip = 2), "cdef");
	CHECK_STR(LISTED(.skip = 6), "");
	CHECK_STR(LISTED(.skip = UINT64_MAX), "");
	CHECK_STR(LISTED(DOWN), "fedcba");
	CHECK_STR(LISTED(DOWN, .skip = 2), "dcba");
	CHECK_STR(LISTED(DOWN, .skip = 6), "");
	CHECK_STR(LISTED(DOWN, .skip = UINT64_MAX), "");
	CHECK_STR(LISTED(AT("c")), "cdef");
	CHECK_STR(LISTED(AT("c"), .start_after = 1), "def");
	CHECK_STR(LISTED(AT("c"), .start_after = 1, .skip = 1), "ef");
	CHECK_STR(LISTED(AT("c"), .skip = 1), "def");
	CHECK_STR(LISTED(AT("c"), .skip = UINT64_MAX), "");
	CHECK_STR(LISTED(AT("c1"), .skip = 1), "ef");
	CHECK_STR(LISTED(AT("c5"), .skip = 1), "ef");
	CHECK_STR(LISTED(AT("c"), DOWN), "cba");
	CHECK_STR(LISTED(AT("c"), DOWN, .start_after = 1), "ba");
	CHECK_STR(LISTED(AT("c"), DOWN, .skip = 1), "ba");
	CHECK_STR(LISTED(AT("c"), DOWN, .start_after = 1, .skip = 1), "a");
	CHECK_STR(LISTED(AT("c5"), DOWN, .skip = 1), "ba");
	CHECK_STR(LISTED(AT("")), "abcdef");
	CHECK_STR(LISTED(AT(""), .skip = 1), "bcdef");
	CHECK_STR(LISTED(AT(""), .start_after = 1), "abcdef");
	CHECK_STR(LISTED(AT(""), DOWN), "");
	CHECK_STR(LISTED(AT(""), DOWN, .skip = 1), "");
	CHECK_STR(LISTED(AT("b"), TO("d")), "bcd");
	CHECK_STR(LISTED(AT("b"), TO("d"), .exclusive_end = 1), "bc");
	CHECK_STR(LISTED(AT("d"), TO("b"), DOWN), "dcb");
	CHECK_STR(LISTED(AT("d"), TO("b"), DOWN, .exclusive_end = 1), "dc");
	CHECK_STR(LISTED(AT("d"), TO("b")), "");
	CHECK_STR(LISTED(TO("")), "");
	CHECK_STR(LISTED(TO("b"), .skip = 1), "b");
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_before(snap, NULL, 0, &n), 0);
	CHECK_INT(n, 6);
	CHECK_INT(db_docs_before(snap, "", 0, &n), 0);
	CHECK_INT(n, 0);
	CHECK_INT(db_docs_before(snap, "c5", 2, &n), 0);
	CHECK_INT(n, 3);
	CHECK_INT(db_changes_pending(snap, UINT64_MAX, &n), 0);
	CHECK_INT(n, 0);
	for (int down = 0; down < 2; down++) {
		CHECK_INT(db_changes_open(snap, UINT64_MAX, down, &scan), 0);
		CHECK_INT(db_changes_next(scan, ruletest_arena, &change), ERR_END);
		db_scan_close(scan);
	}
	CHECK_INT(db_changes_open(snap, 5, 1, &scan), 0);
	for (uint64_t seq = 7; seq > 5; seq--) {
		CHECK_INT(db_changes_next(scan, ruletest_arena, &change), 0);
		CHECK_INT(change.seq, seq);
	}
	CHECK_INT(db_changes_next(scan, ruletest_arena, &change), ERR_END);
	db_scan_close(scan);
	db_snap_end(snap);
	ruletest_end_db(db);
}

/* A step passes over DB_SCAN_STEP deleted documents, tells the last of them, and goes on behind it, as does another scan from there. */
static void
test_steps(void)
{
	const unsigned dead = 2 * DB_SCAN_STEP + 10;
	struct db *db = ruletest_new_db(all, "steps");
	struct db_snap *snap;
	struct db_doc doc;
	char places[2][8];

	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"c\"}"), 0);
	for (unsigned i = 0; i < dead; i++)
		CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"b%04u\",\"_rev\":\"1-x\",\"_deleted\":true}", i), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	for (int down = 0; down < 2; down++) {
		struct db_range range = {.descending = down};
		struct db_scan *scan;

		for (int i = 0; i < 2; i++)
			(void)snprintf(places[i], sizeof(places[i]), "b%04u",
			    down ? dead - (unsigned)(i + 1) * DB_SCAN_STEP : (unsigned)(i + 1) * DB_SCAN_STEP - 1);
		CHECK_INT(db_docs_open(snap, &range, &scan), 0);
		CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), 0);
		CHECK(jstr_is(&doc.id, down ? "c" : "a"));
		for (int i = 0; i < 2; i++) {
			CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), ERR_AGAIN);
			CHECK(jstr_is(&doc.id, places[i]));
		}
		CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), 0);
		CHECK(jstr_is(&doc.id, down ? "a" : "c"));
		CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), ERR_END);
		db_scan_close(scan);
		range.has_start = range.start_after = 1;
		range.start = (struct jstr){places[1], strlen(places[1])};
		CHECK_INT(db_docs_open(snap, &range, &scan), 0);
		CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), 0);
		CHECK(jstr_is(&doc.id, down ? "a" : "c"));
		db_scan_close(scan);
	}
	db_snap_end(snap);
	CHECK_STR(LISTED(.skip = 0), "ac");
	CHECK_STR(LISTED(DOWN), "ca");
	ruletest_end_db(db);
}

/* Skipped _local documents are walked, a step at a time. */
static void
test_local_steps(void)
{
	struct db *db = ruletest_new_db(all, "localsteps");
	struct db_range range = {.skip = DB_SCAN_STEP + 1};
	struct db_snap *snap;
	struct db_scan *scan;
	struct jstr id, body;
	char name[16];
	uint64_t rev;

	for (unsigned i = 0; i < DB_SCAN_STEP + 2; i++) {
		struct db_write w = {.kind = DB_WRITE_LOCAL, .body = {"{}", 2}};

		(void)snprintf(name, sizeof(name), "_local/%04u", i);
		w.id = (struct jstr){name, strlen(name)};
		CHECK_INT(ruletest_write(db, &w), 0);
	}
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_locals_open(snap, &range, &scan), 0);
	CHECK_INT(db_locals_step(scan, ruletest_arena, &id, &rev, &body), ERR_AGAIN);
	CHECK(jstr_is(&id, "_local/0255"));
	CHECK_INT(db_locals_skip(scan), 1);
	CHECK_INT(db_locals_step(scan, ruletest_arena, &id, &rev, &body), 0);
	CHECK(jstr_is(&id, "_local/0257"));
	CHECK_INT(db_locals_skip(scan), 0);
	CHECK_INT(db_locals_step(scan, ruletest_arena, &id, &rev, &body), ERR_END);
	db_scan_close(scan);
	db_snap_end(snap);
	ruletest_end_db(db);
}

/* A bit that says that a document is deleted, in a damaged record: it does not go unseen. */
static void
test_hidden(void)
{
	struct db *db = ruletest_new_db(all, "hidden");
	struct db_snap *snap;
	struct store_val val;
	struct db_docs_sum sum;
	char record[256];

	for (char c = 'a'; c <= 'c'; c++)
		CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"%c\"}", c), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(store_get(snap->snap, TREE_DOCS, "b", 1, &val), 0);
	CHECK(val.len < sizeof(record));
	memcpy(record, val.p, val.len);
	db_snap_end(snap);
	record[0] ^= 1;
	CHECK_INT(store_put(db->file->batch, TREE_DOCS, "b", 1, record, val.len), 0);
	CHECK_INT(store_commit(db->file->batch), 0);
	CHECK_STR(listed(db, (struct db_range){.skip = 0}, ERR_CORRUPT), "a");
	CHECK_STR(listed(db, (struct db_range){DOWN}, ERR_CORRUPT), "c");
	CHECK_STR(listed(db, (struct db_range){AT("b"), .skip = 1}, ERR_CORRUPT), "");
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_sum(snap, &(struct db_range){.skip = 0}, &sum), ERR_CORRUPT);
	db_snap_end(snap);
	db_close(db);
}

/* ---- Purges ---- */

static unsigned
purges(struct db *db, uint64_t since)
{
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_purge p;
	unsigned n = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_purges_open(snap, since, &scan), 0);
	while (db_purges_next(scan, ruletest_arena, &p) == 0) {
		CHECK(p.seq > since);
		n++;
	}
	db_scan_close(scan);
	db_snap_end(snap);
	return n;
}

/* The oldest are forgotten, also those of the very transaction that makes them too many. */
static void
test_purges(void)
{
	struct db *db = ruletest_new_db(all, "purges");
	const struct rev gone = {1, (const unsigned char *)"x", 1};
	static const struct db_write limit = {.kind = DB_WRITE_PURGED_LIMIT, .number = 3};
	struct db_write writes[9];
	unsigned char purged[9];
	struct db_request req = {.writes = writes, .nwrites = 5};

	for (int i = 0; i < 9; i++)
		writes[i] = (struct db_write){.kind = DB_WRITE_PURGE,
		    .id = {&"abcdefghi"[i], 1},
		    .path = &gone,
		    .npath = 1,
		    .purged = &purged[i]};
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(purges(db, 0), 5);
	writes[8] = limit;
	CHECK_INT(ruletest_write(db, &writes[8]), 0);
	CHECK_INT(purges(db, 0), 3);
	CHECK_INT(purges(db, 4), 1);
	req = (struct db_request){.writes = writes, .nwrites = 8};
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(purges(db, 0), 3);
	CHECK_INT(purges(db, 12), 1);
	ruletest_end_db(db);
}

int
main(void)
{
	all = ruletest_begin();
	test_seqs();
	test_ranges();
	test_steps();
	test_local_steps();
	test_hidden();
	test_purges();
	return ruletest_end(all);
}
