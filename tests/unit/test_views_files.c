/*
 * The files of indexes: they become small when most of them is waste, go with the design document or the database that they are of, and are
 * open no longer than somebody reads.
 */
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

#include "db/dbi.h"
#include "viewstest.h"

/* What is mostly waste behind an update is compacted by itself. */
static void
test_auto_compact(void)
{
	struct views_config c = viewstest_config(viewstest_open_store());
	struct views *v = NULL;
	struct db *db;
	struct view_index *ix;
	struct read_info full, after;
	char json[300];

	c.max_updates = 1;
	c.autocompact = (struct db_autocompact){.ratio_percent = 200, .concurrency = 1, .min_bytes = 1000};
	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(viewstest_dbs, "auto", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "auto");
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { for (var i = 0; i < doc.n; i++) "
	    "emit(Array(100).join('x') + i) }\"}}}",
	    1);
	viewstest_put(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":9000}", 0);
	CHECK_INT(views_open(v, db, "auto", (struct jstr){"_design/d", 9}, &ix), 0);
	viewstest_update(ix, db, NULL);
	CHECK_INT(read_info(ix, &full), 0);
	snprintf(json, sizeof(json),
	    "{\"_id\":\"a\",\"_rev\":\"2-a\",\"n\":9,\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]}}");
	viewstest_put(db, json, 0);
	viewstest_update(ix, db, NULL);
	for (int i = 0; i < 20000; i++) {
		(void)usleep(1000);
		CHECK_INT(read_info(ix, &after), 0);
		if (after.file_bytes <= full.file_bytes / 4)
			break;
	}
	CHECK(after.file_bytes <= full.file_bytes / 4);
	CHECK_INT(viewstest_rows_in(ix, "v"), 9);
	views_close(ix);
	views_free(v);
	db_close(db);
}

static int
count_file(const char *name, void *cookie)
{
	unsigned *n = cookie;

	++*n;
	return name == NULL;
}

static unsigned
files_of(struct store *s)
{
	unsigned n = 0;

	CHECK_INT(store_list(s, NULL, count_file, &n), 0);
	return n;
}

/* What no design document defines goes at a clean-up, and all of it with the database; an index in use then, when it is closed. */
static void
test_removal(void)
{
	struct store *store = viewstest_mem_store();
	struct views *v = viewstest_start(store);
	struct db *db = dbtest_open(viewstest_dbs, "db");
	struct view_index *d, *all;

	d = viewstest_open(v, db, "_design/d");
	all = viewstest_open(v, db, "_design/all");
	viewstest_update(d, db, NULL);
	CHECK_INT(files_of(store), 2);
	CHECK_INT(views_cleanup(v, db, "db"), 0);
	CHECK_INT(files_of(store), 2);
	/* Its functions are others now. */
	views_close(all);
	viewstest_put(
	    db, "{\"_id\":\"_design/all\",\"_rev\":\"9-abc\",\"views\":{\"x\":{\"map\":\"function(doc) {}\"}}}", 0);
	CHECK_INT(views_cleanup(v, db, "db"), 0);
	CHECK_INT(files_of(store), 1);
	views_dropped(v, "other");
	views_dropped(v, "db");
	views_close(d);
	/* Jobs end before the views do; the store goes with them. */
	views_free(v);
	db_close(db);
}

/* open_small: The index of a database with one design document. */
static struct view_index *
open_small(struct views *v, struct db *db, const char *database)
{
	struct view_index *ix = NULL;

	CHECK_INT(views_open(v, db, database, (struct jstr){"_design/s", 9}, &ix), 0);
	return ix;
}

/* An index that was opened as its database went is gone with the first try to update it. */
static void
test_orphan(void)
{
	struct store *store = viewstest_mem_store();
	struct views *v = viewstest_start(store);
	struct dbtest_wait waiting;
	struct view_wait w = {.seq = 1, .done = viewstest_wait_done, .cookie = &waiting};
	struct view_index *ix;
	struct db *db;

	CHECK_INT(dbs_create(viewstest_dbs, "goes", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "goes");
	viewstest_put(db, "{\"_id\":\"_design/s\",\"views\":{\"v\":{\"map\":\"function(doc) {}\"}}}", 1);
	ix = open_small(v, db, "goes");
	CHECK_INT(files_of(store), 1);
	CHECK_INT(dbs_drop(viewstest_dbs, "goes", &dbtest_admin), 0);
	dbtest_wait_init(&waiting);
	views_want(ix, &w);
	dbtest_wait_for(&waiting);
	CHECK_INT(w.err, ERR_NO_DB);
	CHECK_INT(files_of(store), 0);
	views_close(ix);
	db_close(db);
	views_free(v);
}

/* What databases left that went without the views' being told goes at the next start. */
static void
test_sweep(void)
{
	static const char *const names[] = {"stays", "went0", "went1"};
	struct store *store = viewstest_open_store();
	struct views *v = viewstest_start(store);
	unsigned before = files_of(store);

	for (unsigned i = 0; i < 3; i++) {
		struct view_index *ix;
		struct db *db;

		CHECK_INT(dbs_create(viewstest_dbs, names[i], NULL, &dbtest_admin, NULL), 0);
		db = dbtest_open(viewstest_dbs, names[i]);
		viewstest_put(db, "{\"_id\":\"_design/s\",\"views\":{\"v\":{\"map\":\"function(doc) {}\"}}}", 1);
		ix = open_small(v, db, names[i]);
		viewstest_update(ix, db, NULL);
		views_close(ix);
		db_close(db);
	}
	CHECK_INT(files_of(store), before + 3);
	views_free(v);
	CHECK_INT(dbs_drop(viewstest_dbs, "went0", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(viewstest_dbs, "went1", &dbtest_admin), 0);
	store = viewstest_open_store();
	v = viewstest_start(store);
	while (files_of(store) > before + 1)
		(void)usleep(1000);
	CHECK_INT(files_of(store), before + 1);
	views_free(v);
}

static unsigned
open_files(const char *folder_name)
{
	char command[PATH_MAX + 64];
	unsigned n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "ls -l /proc/%d/fd 2>/dev/null | grep -c '%s/.*divan$'", (int)getpid(),
	    folder_name);
	if ((f = popen(command, "r")) == NULL || fscanf(f, "%u", &n) != 1)
		CHECK(0);
	if (f != NULL)
		(void)pclose(f);
	return n;
}

/* An index that nobody reads is closed after a while, and opened again by who asks. */
static void
test_idle(void)
{
	struct views_config c = viewstest_config(viewstest_open_store());
	struct db *db = dbtest_open(viewstest_dbs, "db");
	struct views *v = NULL;
	struct view_index *ix;

	c.idle_ms = 30;
	CHECK_INT(views_new(&c, &v), 0);
	for (unsigned i = 0; i < 2; i++) {
		ix = viewstest_open(v, db, "_design/d");
		viewstest_update(ix, db, NULL);
		(void)usleep(100000);
		CHECK(open_files(viewstest_folder) > 0);
		views_close(ix);
		while (open_files(viewstest_folder) > 0)
			(void)usleep(1000);
	}
	views_free(v);
	db_close(db);
}

#define DESIGN                                                                                                  \
	"{\"_id\":\"_design/s\",\"language\":\"query\",\"views\":{\"v\":{\"map\":{\"fields\":{\"a\":\"asc\"}}," \
	"\"reduce\":\"_count\",\"options\":{\"def\":{\"fields\":[\"a\"]}}}}}"

/* A first build whose file cannot be opened again behind its commit, for want of descriptors: it is, for the next who asks, and is whole. */
static void
test_no_descriptors(void)
{
	struct views *v = viewstest_start(viewstest_open_store());
	struct rlimit was, none;
	struct view_index *ix, *next;
	struct view_wait w;
	struct db *db;
	char json[4200];

	CHECK_INT(dbs_create(viewstest_dbs, "many", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "many");
	viewstest_put(db, DESIGN, 1);
	for (unsigned i = 0; i < 1300; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"%u\",\"a\":\"%04000u\"}", i, i);
		viewstest_put(db, json, 1);
	}
	ix = open_small(v, db, "many");
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_INT(viewstest_update(ix, db, &w), ERR_IO);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &was), 0);
	next = open_small(v, db, "many");
	CHECK(next != ix);
	CHECK(views_is_ready(next)); /* it was not built anew */
	CHECK_INT(viewstest_rows_in(next, "v"), 1300);
	viewstest_update(next, db, NULL);
	views_close(ix);
	CHECK_INT(viewstest_rows_in(next, "v"), 1300);
	views_close(next);
	views_free(v);
	db_close(db);
}

/* ---- A damaged database ---- */

/* A record of the database that was damaged, and what it was. */
struct damaged {
	struct store_db *store;
	unsigned tree;
	const char *key;
	char *was;
	size_t len;
};

static void
put_raw(const struct damaged *d, const void *val, size_t len)
{
	struct store_batch *batch;

	CHECK_INT(store_batch_new(d->store, &batch), 0);
	CHECK_INT(store_put(batch, d->tree, d->key, strlen(d->key), val, len), 0);
	CHECK_INT(store_commit(batch), 0);
	store_batch_free(batch);
}

static struct damaged
damage(struct db *db, unsigned tree, const char *key)
{
	struct damaged d = {.store = db->file->store, .tree = tree, .key = key};
	struct store_snap *snap;
	struct store_val val;

	CHECK_INT(store_snap_begin(d.store, &snap), 0);
	if (!CHECK_INT(store_get(snap, tree, key, strlen(key), &val), 0) || (d.was = malloc(val.len)) == NULL)
		exit(1);
	memcpy(d.was, val.p, d.len = val.len);
	store_snap_end(snap);
	put_raw(&d, "damaged record", 14);
	return d;
}

static void
mend(struct damaged *d)
{
	put_raw(d, d->was, d->len);
	free(d->was);
}

static uint64_t
seq_of(struct view_index *ix)
{
	uint64_t seq, purge_seq;

	read_state(ix, &seq, &purge_seq);
	return seq;
}

/* stays: An update fails for damage, and the index is the same, shows sequence ${seq}, and can be read. */
static void
stays(struct views *v, struct db *db, const char *name, uint64_t seq, uint64_t rows)
{
	struct view_index *ix = open_small(v, db, name), *again;
	struct view_wait w;

	for (unsigned i = 0; i < 2; i++) {
		CHECK_INT(viewstest_update(ix, db, &w), ERR_CORRUPT);
		again = open_small(v, db, name);
		CHECK(again == ix);
		CHECK_INT(seq_of(ix), seq);
		CHECK_INT(viewstest_rows_in(ix, "v"), rows);
		views_close(again);
	}
	views_close(ix);
}

static void
put_numbers(struct db *db, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"n%05u\",\"a\":%u}", i, i);
		viewstest_put(db, json, 1);
	}
}

/*
 * Damage of the database is none of the index: it shows what came before the document that is damaged, in its first build too, and goes on once
 * that is mended.
 */
static void
test_foreign_damage(void)
{
	struct store *store = viewstest_mem_store();
	struct views *v = viewstest_start(store);
	struct damaged d;
	struct view_index *ix;
	struct db *db;

	CHECK_INT(dbs_create(viewstest_dbs, "damaged", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "damaged");
	viewstest_put(db, DESIGN, 1);
	put_numbers(db, 0, 1500);
	d = damage(db, TREE_DOCS, "n01200");
	stays(v, db, "damaged", 1201, 1200);
	mend(&d);
	ix = open_small(v, db, "damaged");
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "v"), 1500);
	put_numbers(db, 1500, 1510);
	d = damage(db, TREE_DOCS, "n01503");
	stays(v, db, "damaged", 1504, 1503);
	mend(&d);
	d = damage(db, TREE_META, "state");
	stays(v, db, "damaged", 1504, 1503);
	mend(&d);
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "v"), 1510);
	CHECK_INT(files_of(store), 1);
	views_close(ix);
	views_free(v);
	db_close(db);
}

int
main(int argc, char **argv)
{
	(void)argc;
	viewstest_begin(argv[0]);
	viewstest_fill();
	test_auto_compact();
	test_removal();
	test_orphan();
	test_sweep();
	test_idle();
	test_no_descriptors();
	test_foreign_damage();
	return viewstest_end();
}
