/*
 * test_db_ends.c: a database is dropped while something is under way in it: after each step of a compaction, a write that is heard, an upload.
 *
 * 1. All that was begun ends, and says that the database is gone, or that it was done before.
 * 2. Another database of the name can be made at once, and knows nothing of the first.
 */
#include "ruletest.h"

#include "base/limits.h"

static struct dbs *all;
static struct db *db;
static int ended; /* requests and flushes, by their callbacks */
static int outcome;

static void
request_done(struct db_request *req)
{
	ended++;
	outcome = req->writes[0].err;
}

static void
flush_done(void *cookie, int err)
{
	(void)cookie;
	ended++;
	outcome = err;
}

/* ---- What is under way; each returns how many callbacks are to come ---- */

static int
compaction(void)
{
	CHECK_INT(db_compact(db), 0);
	return 0;
}

static struct db_write written;
static struct db_request request;

static int
submit_one(const char *text)
{
	written = ruletest_write_of(text, 1);
	request = (struct db_request){.writes = &written, .nwrites = 1, .done = request_done};
	CHECK_INT(db_submit(db, &request), 0);
	return 1;
}

static int
write_one(void)
{
	return submit_one("{\"_id\":\"b\",\"say\":1}");
}

static int
write_design(void)
{
	return submit_one("{\"_id\":\"_design/d\",\"say\":1}");
}

static struct db_blob *blob;

static int
upload(void)
{
	static char bytes[LIMIT_BLOB_CHUNK + 10];

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &blob), 0);
	CHECK_INT(db_blob_add(blob, bytes, sizeof(bytes)), 0);
	db_blob_flush(blob, flush_done, NULL);
	return 1;
}

/* ---- The walk ---- */

static void
drop_after(int (*begin)(void), unsigned steps, int *leftp)
{
	struct db *later;
	struct db_info info;
	int callbacks, before;

	db = ruletest_new_judged(all, "ends");
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"c\",\"n\":1}"), 0);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"c\",\"_rev\":\"1-x\"}"), 0);
	ended = 0;
	blob = NULL;
	callbacks = begin();
	while (steps > 0 && ruletest_step())
		steps--;
	*leftp = steps == 0;
	before = ended;
	CHECK_INT(dbs_drop(all, "ends", &dbtest_admin), 0);
	later = ruletest_new_db(all, "ends");
	ruletest_drain();
	CHECK_INT(ended, callbacks);
	if (callbacks > 0)
		CHECK_INT(outcome, before == callbacks ? 0 : ERR_NO_DB);
	db_blob_free(blob);
	db_close(db);
	ruletest_drain();
	CHECK_INT(db_info(later, &info), 0);
	CHECK_INT(info.doc_count, 0);
	CHECK_INT(RULETEST_EDIT(later, "{\"_id\":\"a\"}"), 0);
	ruletest_end_db(later);
	CHECK_INT(dbs_drop(all, "ends", &dbtest_admin), 0);
	ruletest_drain();
}

static void
walk(const char *name, int (*begin)(void), unsigned least)
{
	unsigned steps = 0, failed_before = check_failed_;
	int left;

	do
		drop_after(begin, steps++, &left);
	while (left && steps < 1000);
	CHECK(steps > least);
	if (check_failed_ > failed_before)
		fprintf(stderr, "%s: %u steps\n", name, steps);
}

/* What is left to executors of its own, and what the bounds are where they are told. */
static void
test_config(void)
{
	struct dbs_config config = {.ex = &ruletest_ex,
	    .slow = &ruletest_ex,
	    .preparer = &ruletest_ex,
	    .max_document_size = 12,
	    .validate = ruletest_validate,
	    .validate_cookie = &ruletest_told};
	struct dbs *s;
	struct db *d;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	d = ruletest_new_db(s, "bounded");
	CHECK_INT(RULETEST_EDIT(d, "{\"_id\":\"a\",\"n\":123456}"), 0);
	CHECK_INT(RULETEST_EDIT(d, "{\"_id\":\"b\",\"n\":1234567}"), ERR_DOC_TOO_LARGE);
	ruletest_end_db(d);
	dbs_free(s);
}

int
main(void)
{
	all = ruletest_begin();
	walk("compaction", compaction, 3);
	walk("write", write_one, 2);
	walk("design document", write_design, 1);
	walk("upload", upload, 1);
	test_config();
	return ruletest_end(all);
}
