/* test_httpapi_feedscan.c: the last line of a changes feed, where what is pending can be counted and where it cannot; long rows downward; a feed of what cannot be read. */
#include "dbtest.h"

#include "dbdamage.h"
#include "faults.h"
#include "httpapi/feedscan.h"
#include "httpapi/rows.h"

enum { FAULT_MALLOC = 1 };
enum { LONG_ROWS = 60, LONG_TEXT = 100000 };

static inline int
refused(size_t size)
{
	(void)size;
	return fault_due(FAULT_MALLOC);
}
FAULTS_MALLOCS(refused)

static struct arena *arena;

/* Two of three rows are read: one is pending. */
static void
begin(struct db *db, struct feedscan *scan)
{
	struct buf b;
	uint64_t seq;

	feedscan_init(scan, db, 0);
	scan->limit = 2;
	buf_init(&b, 4096);
	CHECK_INT(feedscan_fill(scan, &b, arena, &seq), ERR_END);
	CHECK_INT(scan->emitted, 2);
	buf_release(&b);
}

/* The last line; NULL: there was no room for it. */
static const char *
tail(const struct feedscan *scan, struct buf *b)
{
	buf_clear(b);
	feedscan_tail(scan, b);
	return buf_putc(b, '\0') == 0 ? b->data : NULL;
}

static void
test_counted(struct feedscan *scan, struct buf *b)
{
	CHECK(strstr(tail(scan, b), "\",\"pending\":1}\n") != NULL);
	/* Without memory it is not known, and nothing is said of it. */
	fault.made = 1;
	for (unsigned n = 1; fault.made > 0 && n < 100; n++) {
		const char *text;

		fault_begin(FAULT_MALLOC, n, 1);
		text = tail(scan, b);
		fault.what = 0;
		CHECK(text != NULL && strstr(text, "\"last_seq\":\"2-") != NULL);
		CHECK(text != NULL && strstr(text, "\"pending\":0") == NULL);
	}
}

static void
test_closed(struct feedscan *scan, struct buf *b)
{
	const char *text;

	CHECK_INT(feedscan_reopen(scan, NULL), 0);
	text = tail(scan, b);
	CHECK(strstr(text, "\"last_seq\":\"2-") != NULL);
	CHECK(strstr(text, "pending") == NULL);
}

/* Rows with long documents, the newest first: a turn makes about a batch of them, whatever stands in its window. */
static void
test_long_rows(struct db *db)
{
	struct feedscan scan;
	uint64_t seq, most = 0;
	struct buf b;
	int err = 0;

	feedscan_init(&scan, db, 0);
	scan.descending = scan.row.include_docs = 1;
	buf_init(&b, 1u << 24);
	while (err == 0) {
		buf_clear(&b);
		err = feedscan_fill(&scan, &b, arena, &seq);
		CHECK(buf_failed(&b) == 0);
		most = b.len > most ? b.len : most;
	}
	CHECK_INT(err, ERR_END);
	CHECK_INT(scan.emitted, 3 + LONG_ROWS);
	CHECK_INT(scan.last, 1);
	CHECK(most < 2 * ROWS_BATCH_BYTES + LONG_TEXT);
	buf_release(&b);
}

static void
put_long(struct dbs *dbs)
{
	static char doc[LONG_TEXT + 64];

	for (unsigned i = 0; i < LONG_ROWS; i++) {
		int n = snprintf(doc, sizeof(doc), "{\"_id\":\"long%u\",\"text\":\"", i);

		/* Short ones among them, and the last ones. */
		size_t len = i % 10 == 3 || i > LONG_ROWS - 5 ? 1 : LONG_TEXT;

		memset(doc + n, 'x', len);
		(void)snprintf(doc + n + len, sizeof(doc) - (size_t)n - len, "\"}");
		dbtest_put(dbs, "db", doc, 1);
	}
}

/* Where the update sequence cannot be read, a feed does not end as that of an empty database does. */
static void
test_damaged(struct db *db, struct buf *b)
{
	dbdamage_state(db);
	for (unsigned how = 0; how < 4; how++) {
		struct jstr id = {"a", 1};
		struct feedscan scan;
		uint64_t seq;

		feedscan_init(&scan, db, 0);
		scan.descending = how < 2;
		if (how == 0)
			scan.limit = 0;
		if (how == 2) {
			scan.filter = FEEDSCAN_DOC_IDS;
			scan.ids = &id;
			scan.nids = 1;
		}
		CHECK_INT(feedscan_fill(&scan, b, arena, &seq), ERR_CORRUPT);
	}
}

int
main(void)
{
	struct feedscan scan;
	struct store *store;
	struct dbs *dbs;
	struct db *db;
	struct buf b;

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 24, &arena), 0);
	CHECK_INT(store_mem_new(&store), 0);
	dbs = dbtest_dbs(store);
	dbtest_create(dbs, "db");
	dbtest_put(dbs, "db", "{\"_id\":\"a\"}", 1);
	dbtest_put(dbs, "db", "{\"_id\":\"b\"}", 1);
	dbtest_put(dbs, "db", "{\"_id\":\"c\"}", 1);
	db = dbtest_open(dbs, "db");
	buf_init(&b, 4096);
	begin(db, &scan);
	test_counted(&scan, &b);
	test_closed(&scan, &b);
	put_long(dbs);
	test_long_rows(db);
	test_damaged(db, &b);
	buf_release(&b);
	db_close(db);
	dbs_free(dbs);
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	return check_done();
}
