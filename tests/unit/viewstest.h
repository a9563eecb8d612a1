/* viewstest.h: what the tests of indexes of real databases share: databases, divan-js, views over stores, and updates that are waited for. */
#ifndef TESTS_UNIT_VIEWSTEST_H_
#define TESTS_UNIT_VIEWSTEST_H_

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "dbtest.h"
#include "query/query.h"
#include "script/script.h"
#include "store/store.h"
#include "views/read.h"
#include "views/views.h"

static char viewstest_exe[PATH_MAX];
static char viewstest_folder[] = "/tmp/divan-views-XXXXXX";
static struct scripts *viewstest_scripts;
static struct dbs *viewstest_dbs;
static struct exec_threads *viewstest_slow;

static const char viewstest_design[] =
    "{\"_id\":\"_design/d\",\"views\":{"
    "\"plain\":{\"map\":\"function(doc) { for (var i = 0; i < doc.n % 4; i++) emit(doc.k, [i, doc.n]) }\"},"
    "\"sum\":{\"map\":\"function(doc) { emit([doc.n % 5, doc.n % 3, doc._id], doc.n); if (doc.n % 7 === 0) emit([doc.n "
    "% 5], 1); "
    "if (doc.long) emit(doc.long, doc.n) }\",\"reduce\":\"_sum\"},"
    "\"js\":{\"map\":\"function(doc) { emit([doc.n % 5, doc.n % 3, doc._id], doc.n); if (doc.n % 7 === 0) emit([doc.n "
    "% 5], 1); "
    "if (doc.long) emit(doc.long, doc.n) }\",\"reduce\":\"function(k, v, r) { return sum(v) }\"},"
    "\"conflicts\":{\"map\":\"function(doc) { if (doc._conflicts) emit(doc._conflicts.length, doc._rev) "
    "}\",\"reduce\":\"_count\"}}}";

static const char viewstest_other_design[] =
    "{\"_id\":\"_design/all\",\"options\":{\"include_design\":true,\"local_seq\":true},"
    "\"views\":{\"ids\":{\"map\":\"function(doc) { emit(doc._local_seq, doc._id) }\",\"reduce\":\"_count\"}}}";

/* viewstest_begin: Start what views need, and make the database "db"; ${argv0} is the test, in a folder beside divan-js. */
static inline void
viewstest_begin(const char *argv0)
{
	struct scripts_config c = {.exe = viewstest_exe,
	    .max_children = 3,
	    .idle_ms = 60000,
	    .timeout_ms = 3000,
	    .memory = (size_t)256 << 20,
	    .max_answer = (size_t)64 << 20};
	char self[PATH_MAX];
	struct store *store = NULL;

	snprintf(self, sizeof(self), "%s", argv0);
	snprintf(viewstest_exe, sizeof(viewstest_exe), "%s/../divan-js", dirname(self));
	if (mkdtemp(viewstest_folder) == NULL || exec_threads_new(2, &dbtest_threads) != 0 ||
	    exec_threads_new(3, &viewstest_slow) != 0)
		exit(1);
	c.ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(scripts_new(&c, &viewstest_scripts), 0);
	CHECK_INT(store_mem_new(&store), 0);
	viewstest_dbs = dbtest_dbs(store);
	dbtest_create(viewstest_dbs, "db");
}

/* viewstest_end: Returns what main() does. */
static inline int
viewstest_end(void)
{
	char remove_all[PATH_MAX];

	dbs_free(viewstest_dbs);
	exec_threads_free(viewstest_slow);
	scripts_free(viewstest_scripts);
	exec_threads_free(dbtest_threads);
	snprintf(remove_all, sizeof(remove_all), "rm -rf '%s'", viewstest_folder);
	CHECK_INT(system(remove_all), 0);
	return check_done();
}

/* ---- Views and their indexes ---- */

static inline struct views_config
viewstest_config(struct store *store)
{
	return (struct views_config){.store = store,
	    .dbs = viewstest_dbs,
	    .scripts = viewstest_scripts,
	    .ex = exec_threads_executor(viewstest_slow),
	    .max_updates = 2};
}

static inline struct views *
viewstest_start(struct store *store)
{
	const struct views_config c = viewstest_config(store);
	struct views *v = NULL;

	CHECK_INT(views_new(&c, &v), 0);
	return v;
}

static inline struct store *
viewstest_open_store(void)
{
	struct store *s = NULL;

	CHECK_INT(store_lmdb_new(viewstest_folder, &s), 0);
	return s;
}

static inline struct store *
viewstest_mem_store(void)
{
	struct store *s = NULL;

	CHECK_INT(store_mem_new(&s), 0);
	return s;
}

static inline void
viewstest_wait_done(struct view_wait *w)
{
	dbtest_wake(w->cookie);
}

static inline int
viewstest_update(struct view_index *ix, struct db *db, struct view_wait *out)
{
	struct view_wait w = {.done = viewstest_wait_done};
	struct dbtest_wait waiting;
	struct db_info info;

	CHECK_INT(db_info(db, &info), 0);
	dbtest_wait_init(&waiting);
	w.seq = info.update_seq;
	w.purge_seq = info.purge_seq;
	w.cookie = &waiting;
	views_want(ix, &w);
	dbtest_wait_for(&waiting);
	if (out != NULL)
		*out = w;
	else if (!CHECK_INT(w.err, 0))
		fprintf(stderr, "  %s: %s\n", w.error, w.why.text);
	return w.err;
}

static inline struct view_index *
viewstest_open(struct views *v, struct db *db, const char *id)
{
	struct view_index *ix = NULL;

	CHECK_INT(views_open(v, db, "db", (struct jstr){id, strlen(id)}, &ix), 0);
	return ix;
}

static inline uint64_t
viewstest_rows_in(struct view_index *ix, const char *name)
{
	struct read_range range = {.descending = 0};
	struct view_snap *s;
	uint64_t total = 0, before;

	if (!CHECK_INT(read_begin(ix, &s), 0))
		return 0;
	CHECK_INT(read_range(s, read_view(ix, (struct jstr){name, strlen(name)}), &range, (struct jstr){NULL, 0}), 0);
	CHECK_INT(read_counts(s, &total, &before), 0);
	read_end(s);
	return total;
}

/*
 * viewstest_sortkey: Of the array of the values in ${json}, in ${b}; with ${open} without its end, so that it is the beginning of those that
 * go on.
 */
static inline struct jstr
viewstest_sortkey(const char *json, int open, struct buf *b)
{
	struct buf scratch;

	buf_clear(b);
	buf_init(&scratch, 1u << 20);
	CHECK_INT(query_sortkey((struct jstr){json, strlen(json)}, &scratch, b), 0);
	buf_release(&scratch);
	return (struct jstr){b->data, b->len - (open ? 1u : 0u)};
}

/* ---- Documents ---- */

static inline void
viewstest_put(struct db *db, const char *json, int new_edits)
{
	struct db_write w;
	struct arena *a;

	CHECK_INT(arena_new(1u << 24, &a), 0);
	CHECK_INT(dbtest_write(db, a, json, new_edits, &w), 0);
	arena_free(a);
}

static inline void
viewstest_put_designs(struct db *db)
{
	viewstest_put(db, viewstest_design, 1);
	viewstest_put(db, viewstest_other_design, 1);
}

/* viewstest_fill: The design documents, and some documents for them, in "db". */
static inline void
viewstest_fill(void)
{
	struct db *db = dbtest_open(viewstest_dbs, "db");

	viewstest_put_designs(db);
	for (unsigned i = 0; i < 20; i++) {
		char json[64];

		snprintf(json, sizeof(json), "{\"_id\":\"doc%03u\",\"n\":%u,\"k\":\"%c\"}", i, i * 7, 'a' + i % 3);
		viewstest_put(db, json, 1);
	}
	db_close(db);
}

#endif
