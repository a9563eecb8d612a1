/* test_httpapi_repfilter.c: rows of changes that are judged in a later snapshot than the one they come from. */
#include "dbtest.h"

#include "dbdamage.h"
#include "httpapi/config.h"
#include "httpapi/repfilter.h"

static struct dbs *dbs;
static struct db *db;
static struct arena *arena;

static void
put(const char *json, int new_edits)
{
	dbtest_put(dbs, "source", json, new_edits);
}

/* The newest row as it is now; ${leaf} has room for its first leaf. */
static struct db_change
newest(struct rev *leaf)
{
	struct db_change c = {.seq = 0};
	struct db_scan *scan;
	struct db_snap *snap;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_changes_open(snap, 0, 1, &scan), 0);
	CHECK_INT(db_changes_next(scan, arena, &c), 0);
	CHECK_INT(c.nleaves, 1);
	*leaf = c.leaves[0];
	leaf->id = (unsigned char *)arena_dup(arena, leaf->id, leaf->len);
	c.leaves = leaf;
	c.id.s = arena_dup(arena, c.id.s, c.id.len);
	db_scan_close(scan);
	db_snap_end(snap);
	return c;
}

/* How many of the row's leaves pass now; ${since}: it was changed since. */
static size_t
passing(struct db_change row, int winners, int since)
{
	static const char selector[] = "{\"n\":1}";
	const struct peer_filter f = {.selector = {selector, sizeof(selector) - 1}, .winners = winners};
	struct peer_judge judge = repfilter_judge(NULL);
	struct errtext why;
	void *judging;
	size_t changed = 1;

	CHECK_INT(judge.open(judge.cookie, db, &f, &judging, &why), 0);
	CHECK_INT(judge.rows(judging, db, arena, &row, 1, &changed, &why), 0);
	CHECK_INT(changed, since);
	judge.close(judging);
	return row.nleaves;
}

/* A leaf that does not match stays out when one that does has come since, and wins. */
static void
test_changed_since(int winners)
{
	struct db_change row;
	struct rev leaf;

	put("{\"_id\":\"in\",\"_rev\":\"3-x\",\"n\":1}", 0);
	row = newest(&leaf);
	CHECK_INT(passing(row, winners, 0), 1);
	put("{\"_id\":\"out\",\"_rev\":\"3-x\",\"n\":2}", 0);
	row = newest(&leaf);
	CHECK_INT(passing(row, winners, 0), 0);
	put("{\"_id\":\"out\",\"_rev\":\"3-z\",\"n\":1}", 0);
	CHECK_INT(passing(row, winners, 1), 0);
}

/* What is damaged passes: when it is fetched, that is said. */
static void
test_damaged(void)
{
	const struct peer_filter f = {.filter = {"d/f", 3}};
	struct api api = {.dbs = dbs};
	struct peer_judge judge = repfilter_judge(&api);
	struct rev leaf, leaves[2];
	struct errtext why = {""};
	struct db_change row;
	size_t changed;
	void *judging;

	put("{\"_id\":\"_design/d\",\"filters\":{\"f\":\"function () { return true; }\"}}", 1);
	put("{\"_id\":\"torn\",\"_rev\":\"3-x\"}", 0);
	row = newest(&leaf);
	leaves[0] = leaves[1] = leaf;
	leaves[1].gen++; /* its tree does not have it */
	row.leaves = leaves;
	row.nleaves = 2;
	CHECK_INT(config_new(&api.config), 0);
	CHECK_INT(judge.open(judge.cookie, db, &f, &judging, &why), 0);
	CHECK_INT(judge.rows(judging, db, arena, &row, 1, &changed, &why), 0);
	CHECK_INT(row.nleaves, 2);
	CHECK_INT(changed, 0);
	/* Of one that was changed since there is another row. */
	put("{\"_id\":\"torn\",\"_rev\":\"4-x\"}", 0);
	CHECK_INT(judge.rows(judging, db, arena, &row, 1, &changed, &why), 0);
	CHECK_INT(row.nleaves, 0);
	CHECK_INT(changed, 1);
	judge.close(judging);
	config_free(api.config);

	put("{\"_id\":\"hurt\",\"_rev\":\"3-x\",\"n\":2}", 0);
	row = newest(&leaf);
	CHECK_INT(passing(row, 0, 0), 0);
	dbdamage_record(db, TREE_DOCS, "hurt", 4);
	CHECK_INT(passing(row, 0, 0), 1);
}

int
main(void)
{
	struct store *store;

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 24, &arena), 0);
	for (int winners = 0; winners <= 1; winners++) {
		CHECK_INT(store_mem_new(&store), 0);
		dbs = dbtest_dbs(store);
		dbtest_create(dbs, "source");
		db = dbtest_open(dbs, "source");
		test_changed_since(winners);
		test_damaged();
		db_close(db);
		dbs_free(dbs);
	}
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	return check_done();
}
