/*
 * Indexes of real databases, by real functions: after whatever was written, deleted, purged and reopened, what an index has, rows and
 * reductions, is what one has that is built from scratch; and what fails, fails for whoever waits, and for the others not.
 */
#include <libgen.h>
#include <limits.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "dbtest.h"
#include "query/query.h"
#include "script/script.h"
#include "store/store.h"
#include "views/read.h"
#include "views/views.h"

#define DOCS 150
#define ROUNDS 12

static char exe[PATH_MAX];
static char folder[] = "/tmp/divan-views-XXXXXX";
static struct scripts *scripts;
static struct dbs *dbs;
static struct exec_threads *slow;

static const char design[] =
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

static const char other_design[] =
    "{\"_id\":\"_design/all\",\"options\":{\"include_design\":true,\"local_seq\":true},"
    "\"views\":{\"ids\":{\"map\":\"function(doc) { emit(doc._local_seq, doc._id) }\",\"reduce\":\"_count\"}}}";

static unsigned
below(unsigned n)
{
	return (unsigned)random() % n;
}

static struct views *
start_views(struct store *store)
{
	const struct views_config c = {
	    .store = store, .dbs = dbs, .scripts = scripts, .ex = exec_threads_executor(slow), .max_updates = 2};
	struct views *v = NULL;

	CHECK_INT(views_new(&c, &v), 0);
	return v;
}

static struct store *
open_store(void)
{
	struct store *s = NULL;

	CHECK_INT(store_lmdb_new(folder, &s), 0);
	return s;
}

static struct store *
mem_store(void)
{
	struct store *s = NULL;

	CHECK_INT(store_mem_new(&s), 0);
	return s;
}

static void
wait_done(struct view_wait *w)
{
	dbtest_wake(w->cookie);
}

static int
update(struct view_index *ix, struct db *db, struct view_wait *out)
{
	struct view_wait w = {.done = wait_done};
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

static struct view_index *
open_index(struct views *v, struct db *db, const char *id)
{
	struct view_index *ix = NULL;

	CHECK_INT(views_open(v, db, "db", (struct jstr){id, strlen(id)}, &ix), 0);
	return ix;
}

/* ---- What an index has, as text ---- */

static void
put_rows(struct view_snap *s, const struct ddoc_view *view, int descending, struct buf *out)
{
	struct read_range range = {.descending = descending};
	struct read_row row;
	struct arena *a;
	uint64_t total, before, n = 0;
	int err;

	CHECK_INT(arena_new(1u << 28, &a), 0);
	CHECK_INT(read_range(s, view, &range, (struct jstr){NULL, 0}), 0);
	CHECK_INT(read_counts(s, &total, &before), 0);
	CHECK_INT(before, 0);
	while ((err = read_next(s, a, &row)) == 0) {
		buf_printf(out, "%.*s %.*s %.*s\n", (int)row.id.len, row.id.s, (int)row.key.len, row.key.s,
		    (int)row.value.len, row.value.s);
		n++;
	}
	CHECK_INT(err, ERR_END);
	CHECK_INT(n, total);
	arena_free(a);
}

/* put_groups: Functions reduce without the snapshot, which is then another one. */
static void
put_groups(struct view_index *ix, struct view_snap **sp, const struct ddoc_view *view, uint64_t level, size_t max,
    int descending, struct buf *out)
{
	struct read_range range = {.descending = descending};
	struct buf place;
	struct errtext why = {""};
	int end = 0;

	buf_init(&place, 1u << 20);
	while (end == 0) {
		struct read_groups g = {.level = level, .max = max, .why = &why};
		uint64_t skip = 0;

		CHECK_INT(arena_new(1u << 28, &g.a), 0);
		CHECK_INT(read_range(*sp, view, &range, (struct jstr){place.data, place.len}), 0);
		end = read_gather(*sp, &g, &skip);
		CHECK(end == 0 || end == ERR_END);
		buf_clear(&place);
		read_place(*sp, &place);
		if (!CHECK_INT(read_reduce(*sp, view, &g), 0))
			fprintf(stderr, "  %s\n", why.text);
		for (size_t i = 0; i < g.n; i++)
			buf_printf(out, "%.*s: %.*s\n", (int)g.keys[i].len, g.keys[i].s, (int)g.values[i].len,
			    g.values[i].data);
		arena_free(g.a);
		if (read_is_over(*sp)) {
			read_end(*sp);
			CHECK_INT(read_begin(ix, sp), 0);
		}
		if (level == 0)
			break;
	}
	buf_release(&place);
}

static void
dump(struct view_index *ix, struct buf *out)
{
	static const char *const names[] = {"plain", "sum", "js", "conflicts", "ids"};
	struct view_snap *s;

	buf_clear(out);
	if (!CHECK_INT(read_begin(ix, &s), 0))
		return;
	for (size_t i = 0; i < 5; i++) {
		const struct ddoc_view *view = read_view(ix, (struct jstr){names[i], strlen(names[i])});

		if (view == NULL)
			continue;
		buf_printf(out, "== %s\n", names[i]);
		put_rows(s, view, 0, out);
		put_rows(s, view, 1, out);
		if (read_reduces(view) == READ_PLAIN)
			continue;
		put_groups(ix, &s, view, 0, 10, 0, out);
		put_groups(ix, &s, view, 1, 3, 0, out);
		put_groups(ix, &s, view, 1, 2, 1, out);
		put_groups(ix, &s, view, 2, 100, 0, out);
		put_groups(ix, &s, view, READ_EXACT, 7, 1, out);
	}
	read_end(s);
	CHECK_INT(buf_failed(out), 0);
}

/* check_scratch: The index has what one has that is built now. */
static void
check_scratch(struct view_index *ix, struct db *db, const char *id)
{
	struct views *fresh = start_views(mem_store());
	struct view_index *built = open_index(fresh, db, id);
	struct buf a, b;

	buf_init(&a, 1u << 28);
	buf_init(&b, 1u << 28);
	update(ix, db, NULL);
	update(built, db, NULL);
	dump(ix, &a);
	dump(built, &b);
	CHECK(a.len > 20);
	CHECK_MEM(a.data, a.len, b.data, b.len);
	buf_release(&a);
	buf_release(&b);
	views_close(built);
	views_free(fresh);
}

/* ---- Writes ---- */

static void
put_json(struct db *db, const char *json, int new_edits)
{
	struct db_write w;
	struct arena *a;

	CHECK_INT(arena_new(1u << 24, &a), 0);
	CHECK_INT(dbtest_write(db, a, json, new_edits, &w), 0);
	arena_free(a);
}

static void
purge(struct db *db, const char *id, const struct rev *rev)
{
	unsigned char gone = 0;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = {id, strlen(id)}, .path = rev, .npath = 1, .purged = &gone};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* change: One document comes, changes, forks, goes or is purged. */
static void
change(struct db *db)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct arena *a;
	struct buf b;
	char id[16], rev[REV_TEXT_MAX + 1] = "";
	struct revbuf winner;
	unsigned kind = below(10);
	int there, deleted = 0;

	CHECK_INT(arena_new(1u << 24, &a), 0);
	buf_init(&b, 1u << 20);
	snprintf(id, sizeof(id), "doc%03u", below(DOCS));
	CHECK_INT(db_snap_begin(db, &snap), 0);
	there = db_get(snap, id, strlen(id), a, &doc) == 0;
	if (there) {
		struct buf t;

		deleted = doc.winner.deleted;
		rev_copy(&winner, &doc.winner.rev);
		buf_init(&t, 1000);
		rev_put(&t, &doc.winner.rev);
		snprintf(rev, sizeof(rev), "%.*s", (int)t.len, t.data);
		buf_release(&t);
	}
	db_snap_end(snap);
	if (there && kind == 0) {
		struct rev at = rev_of(&winner);

		purge(db, id, &at);
	} else {
		buf_printf(&b, "{\"_id\":\"%s\"", id);
		if (kind == 1)
			buf_printf(&b, ",\"_rev\":\"1-%08x\"", below(1u << 30));
		else if (there && !deleted)
			buf_printf(&b, ",\"_rev\":\"%s\"%s", rev, kind == 2 ? ",\"_deleted\":true" : "");
		buf_printf(&b, ",\"n\":%u,\"k\":\"%c\"", below(100), 'a' + below(3));
		if (kind < 5) {
			buf_puts(&b, ",\"long\":\"");
			for (unsigned i = 0; i < 300 + below(300); i++)
				buf_putc(&b, 'x');
			buf_printf(&b, "%u\"", below(4));
		}
		buf_puts(&b, "}");
		buf_putc(&b, '\0');
		put_json(db, b.data, kind != 1);
	}
	buf_release(&b);
	arena_free(a);
}

static void
test_model(void)
{
	struct store *store = open_store();
	struct views *v = start_views(store);
	struct db *db = dbtest_open(dbs, "db");
	struct view_index *ix, *all;

	put_json(db, design, 1);
	put_json(db, other_design, 1);
	ix = open_index(v, db, "_design/d");
	all = open_index(v, db, "_design/all");
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 10 + below(120); i++)
			change(db);
		check_scratch(ix, db, "_design/d");
		if (round % 3 == 0)
			check_scratch(all, db, "_design/all");
		if (round % 4 == 3) {
			/* The file is what it was. */
			views_close(ix);
			views_close(all);
			views_free(v);
			v = start_views(open_store());
			ix = open_index(v, db, "_design/d");
			all = open_index(v, db, "_design/all");
		}
	}
	views_close(ix);
	views_close(all);
	views_free(v);
	db_close(db);
}

/* What fails: the waiting ones are told, the index stays. */
static void
test_failing(void)
{
	struct views *v = start_views(mem_store());
	struct db *db = dbtest_open(dbs, "db");
	struct view_index *ix;
	struct view_wait w;

	put_json(db, "{\"_id\":\"_design/syntax\",\"views\":{\"v\":{\"map\":\"function(doc) {\"}}}", 1);
	put_json(db, "{\"_id\":\"_design/loops\",\"views\":{\"v\":{\"map\":\"function(doc) { for (;;); }\"}}}", 1);
	put_json(db,
	    "{\"_id\":\"_design/fatal\",\"views\":{\"v\":{\"map\":\"function(doc) { throw ['fatal', 'name', 'why'] "
	    "}\"}}}",
	    1);
	ix = open_index(v, db, "_design/syntax");
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT);
	CHECK_STR(w.error, "compilation_error");
	views_close(ix);
	ix = open_index(v, db, "_design/loops");
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	views_close(ix);
	ix = open_index(v, db, "_design/fatal");
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT);
	CHECK_STR(w.error, "name");
	CHECK_STR(w.why.text, "why");
	views_close(ix);
	/* The others go on. */
	ix = open_index(v, db, "_design/d");
	update(ix, db, NULL);
	views_close(ix);
	CHECK_INT(views_open(v, db, "db", (struct jstr){"_design/none", 12}, &ix), ERR_MISSING);
	views_free(v);
	db_close(db);
}

/* What is too much for one message, or for one batch, is no error. */
static void
test_large(void)
{
	struct views *v = start_views(mem_store());
	struct db *db;
	struct view_index *ix;
	struct view_snap *s;
	struct read_range range = {.descending = 0};
	uint64_t total, before;

	CHECK_INT(dbs_create(dbs, "large", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "large");
	put_json(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { var t = Array(1000).join('large'); for "
	    "(var i = 0; "
	    "i < 300; i++) emit(i, t) }\"}}}",
	    1);
	for (unsigned i = 0; i < 60; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"l%u\"}", i);
		put_json(db, json, 1);
	}
	CHECK_INT(views_open(v, db, "large", (struct jstr){"_design/d", 9}, &ix), 0);
	update(ix, db, NULL);
	CHECK_INT(read_begin(ix, &s), 0);
	CHECK_INT(read_range(s, read_view(ix, (struct jstr){"v", 1}), &range, (struct jstr){NULL, 0}), 0);
	CHECK_INT(read_counts(s, &total, &before), 0);
	CHECK_INT(total, 60 * 300);
	read_end(s);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* reduce_all: Over all rows of a view; the value's text in ${out}. */
static int
reduce_all(struct view_index *ix, const char *name, struct buf *out)
{
	struct errtext why = {""};
	struct read_groups g = {.max = 1, .why = &why};
	struct read_range range = {.descending = 0};
	const struct ddoc_view *view = read_view(ix, (struct jstr){name, strlen(name)});
	struct view_snap *s;
	uint64_t skip = 0;
	int err;

	buf_clear(out);
	CHECK_INT(arena_new(1u << 28, &g.a), 0);
	CHECK_INT(read_begin(ix, &s), 0);
	CHECK_INT(read_range(s, view, &range, (struct jstr){NULL, 0}), 0);
	CHECK_INT(read_gather(s, &g, &skip), 0);
	if ((err = read_reduce(s, view, &g)) == 0)
		buf_put(out, g.values[0].data, g.values[0].len);
	read_end(s);
	arena_free(g.a);
	return err;
}

/* A reduction that fails keeps nobody from the others, whichever comes first; and what it left open is not taken for nothing. */
static void
test_bad_reduce(void)
{
	struct views *v = start_views(mem_store());
	struct db *db;
	struct view_index *ix;
	struct buf value;

	CHECK_INT(dbs_create(dbs, "bad", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "bad");
	put_json(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"stats\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) "
	    "emit(i, i === 8000 ? "
	    "'no' : 1) }\",\"reduce\":\"_stats\"},"
	    "\"count\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, i === 8000 ? 'no' : 1) "
	    "}\",\"reduce\":\"_count\"},"
	    "\"only\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, 'only') "
	    "}\",\"reduce\":\"_stats\"}}}",
	    1);
	put_json(db, "{\"_id\":\"one\"}", 1);
	buf_init(&value, 1u << 20);
	CHECK_INT(views_open(v, db, "bad", (struct jstr){"_design/d", 9}, &ix), 0);
	for (unsigned i = 0; i < 2; i++) {
		char json[40];

		update(ix, db, NULL);
		CHECK_INT(reduce_all(ix, "count", &value), 0);
		CHECK_MEM(value.data, value.len, i == 0 ? "9000" : "18000", i == 0 ? 4 : 5);
		CHECK_INT(reduce_all(ix, "stats", &value), ERR_REDUCE);
		CHECK_INT(reduce_all(ix, "only", &value), ERR_REDUCE);
		snprintf(json, sizeof(json), "{\"_id\":\"more%u\"}", i);
		put_json(db, json, 1);
	}
	buf_release(&value);
	views_close(ix);
	views_free(v);
	db_close(db);
}

static unsigned
killed(void)
{
	struct scripts_count n;

	scripts_count(scripts, &n);
	return (unsigned)n.failed;
}

static uint64_t
rows_in(struct view_index *ix, const char *name)
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

/* A document that functions do not end for costs its time once, not once a query; what is before it is there, and it may be mended. */
static void
test_remembered(void)
{
	struct views *v = start_views(mem_store());
	struct db *db;
	struct view_index *ix;
	struct view_wait w;
	unsigned before;

	CHECK_INT(dbs_create(dbs, "remembered", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "remembered");
	put_json(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { while (doc.loop); emit(1) }\"}}}", 1);
	put_json(db, "{\"_id\":\"a\"}", 1);
	put_json(db, "{\"_id\":\"b\",\"_rev\":\"1-a\",\"loop\":true}", 0);
	put_json(db, "{\"_id\":\"c\"}", 1);
	CHECK_INT(views_open(v, db, "remembered", (struct jstr){"_design/d", 9}, &ix), 0);
	before = killed();
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	/* As one of several documents, and alone. */
	CHECK_INT(killed() - before, 2);
	CHECK_INT(rows_in(ix, "v"), 1);
	before = killed();
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	put_json(db, "{\"_id\":\"d\"}", 1);
	CHECK_INT(update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	CHECK_INT(killed() - before, 0);
	put_json(db, "{\"_id\":\"b\",\"_rev\":\"2-a\",\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]}}", 0);
	update(ix, db, NULL);
	CHECK_INT(rows_in(ix, "v"), 4);
	views_close(ix);
	views_free(v);
	db_close(db);
}

static int
ignores(const char *database, void *cookie)
{
	(void)cookie;
	return strcmp(database, "ignored") == 0;
}

/* Indexes are brought up to date without anybody who waits, but where the design document or the settings speak against it. */
static void
test_background(void)
{
	struct store *store = mem_store();
	struct views_config c = {.store = store,
	    .dbs = dbs,
	    .scripts = scripts,
	    .ex = exec_threads_executor(slow),
	    .max_updates = 2,
	    .background = 2,
	    .is_ignored = ignores};
	static const char *const names[] = {"ignored", "back0", "back1", "back2", "back3"};
	struct views *v = NULL;
	struct db *db[5];

	CHECK_INT(views_new(&c, &v), 0);
	for (unsigned i = 0; i < 5; i++) {
		CHECK_INT(dbs_create(dbs, names[i], NULL, &dbtest_admin, NULL), 0);
		db[i] = dbtest_open(dbs, names[i]);
		put_json(
		    db[i], "{\"_id\":\"_design/auto\",\"views\":{\"v\":{\"map\":\"function(doc) { emit(1) }\"}}}", 1);
		put_json(db[i],
		    "{\"_id\":\"_design/no\",\"autoupdate\":false,\"views\":{\"n\":{\"map\":\"function(doc) { emit(1) "
		    "}\"}}}",
		    1);
		put_json(db[i],
		    "{\"_id\":\"_design/"
		    "nor\",\"autoupdate\":{\"views\":false},\"views\":{\"m\":{\"map\":\"function(doc) { emit(1) "
		    "}\"}}}",
		    1);
		put_json(db[i], "{\"_id\":\"a\"}", 1);
		views_moved(v, names[i]);
		views_moved(v, names[i]);
	}
	for (unsigned i = 1; i < 5; i++) {
		struct view_index *ix;
		struct read_info info;

		CHECK_INT(views_open(v, db[i], names[i], (struct jstr){"_design/auto", 12}, &ix), 0);
		do {
			(void)usleep(1000);
			CHECK_INT(read_info(ix, &info), 0);
		} while (info.seq < 4);
		CHECK_INT(rows_in(ix, "v"), 1);
		views_close(ix);
	}
	for (unsigned i = 0; i < 5; i++) {
		struct view_index *ix;

		CHECK_INT(views_open(v, db[i], names[i], (struct jstr){"_design/auto", 12}, &ix), 0);
		CHECK_INT(views_is_ready(ix), i != 0);
		views_close(ix);
		CHECK_INT(views_open(v, db[i], names[i], (struct jstr){"_design/no", 10}, &ix), 0);
		CHECK_INT(views_is_ready(ix), 0);
		views_close(ix);
		CHECK_INT(views_open(v, db[i], names[i], (struct jstr){"_design/nor", 11}, &ix), 0);
		CHECK_INT(views_is_ready(ix), 0);
		views_close(ix);
	}
	/* Two that share an index: whoever opened it first has no say for the other. */
	{
		static const char shares[] =
		    "{\"_id\":\"_design/zz\",\"views\":{\"n\":{\"map\":\"function(doc) { emit(1) }\"}}}";
		struct view_index *ix;

		CHECK_INT(views_open(v, db[1], names[1], (struct jstr){"_design/no", 10}, &ix), 0);
		put_json(db[1], shares, 1);
		views_moved(v, names[1]);
		while (!views_is_ready(ix))
			(void)usleep(1000);
		CHECK_INT(rows_in(ix, "n"), 1);
		views_close(ix);
	}
	/* What is noted when all ends. */
	for (unsigned i = 0; i < 5; i++)
		views_moved(v, names[i]);
	for (unsigned i = 0; i < 5; i++)
		db_close(db[i]);
	views_free(v);
}

static void
wait_compacted(struct view_index *ix, struct read_info *out)
{
	do {
		(void)usleep(1000);
		CHECK_INT(read_info(ix, out), 0);
	} while (out->compacting);
}

static int
count_task(const struct db_task *task, void *cookie)
{
	unsigned *n = cookie;

	*n += strcmp(task->type, "view_compaction") == 0;
	return 0;
}

/* The file becomes small, while the index is updated and read; it is the same afterwards, also when it is opened again. */
static void
test_compact(void)
{
	struct views *v = start_views(open_store());
	struct db *db = dbtest_open(dbs, "db");
	struct view_index *ix = open_index(v, db, "_design/d");
	struct read_info before, after;
	unsigned tasks = 0;
	char json[4200];

	memset(json, 'x', sizeof(json));
	for (unsigned i = 0; i < 600; i++) {
		int n = snprintf(json, sizeof(json), "{\"_id\":\"zz%u\",\"_rev\":\"1-a\",\"n\":3,\"k\":\"", i);

		memset(json + n, 'x', 4000);
		snprintf(json + n + 4000, sizeof(json) - (size_t)n - 4000, "\"}");
		put_json(db, json, 0);
	}
	update(ix, db, NULL);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(json, sizeof(json),
		    "{\"_id\":\"zz%u\",\"_rev\":\"2-a\",\"_deleted\":true,\"_revisions\":{\"start\":2,\"ids\":[\"a\","
		    "\"a\"]}}",
		    i);
		put_json(db, json, 0);
	}
	update(ix, db, NULL);
	CHECK_INT(read_info(ix, &before), 0);
	CHECK(before.file_bytes > 2 * before.active_bytes);
	CHECK_INT(views_compact(ix), 0);
	CHECK_INT(views_compact(ix), 0);
	CHECK_INT(views_tasks(v, count_task, &tasks), 0);
	CHECK(tasks <= 1);
	for (unsigned i = 0; i < 20; i++) {
		change(db);
		update(ix, db, NULL);
	}
	wait_compacted(ix, &after);
	CHECK(after.file_bytes < before.file_bytes / 2);
	check_scratch(ix, db, "_design/d");
	views_close(ix);
	views_free(v);
	v = start_views(open_store());
	ix = open_index(v, db, "_design/d");
	CHECK_INT(read_info(ix, &after), 0);
	CHECK(after.file_bytes < before.file_bytes / 2);
	check_scratch(ix, db, "_design/d");
	/* Views that close do not wait for it to be done. */
	CHECK_INT(views_compact(ix), 0);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* What is mostly waste behind an update is compacted by itself. */
static void
test_auto_compact(void)
{
	struct views_config c = {.store = open_store(),
	    .dbs = dbs,
	    .scripts = scripts,
	    .ex = exec_threads_executor(slow),
	    .max_updates = 1,
	    .autocompact = {.ratio_percent = 200, .concurrency = 1, .min_bytes = 1000}};
	struct views *v = NULL;
	struct db *db;
	struct view_index *ix;
	struct read_info full, after;
	char json[300];

	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(dbs, "auto", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "auto");
	put_json(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { for (var i = 0; i < doc.n; i++) "
	    "emit(Array(100).join('x') + i) }\"}}}",
	    1);
	put_json(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":9000}", 0);
	CHECK_INT(views_open(v, db, "auto", (struct jstr){"_design/d", 9}, &ix), 0);
	update(ix, db, NULL);
	CHECK_INT(read_info(ix, &full), 0);
	snprintf(json, sizeof(json),
	    "{\"_id\":\"a\",\"_rev\":\"2-a\",\"n\":9,\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]}}");
	put_json(db, json, 0);
	update(ix, db, NULL);
	do {
		(void)usleep(1000);
		CHECK_INT(read_info(ix, &after), 0);
	} while (after.file_bytes > full.file_bytes / 4);
	CHECK_INT(rows_in(ix, "v"), 9);
	views_close(ix);
	views_free(v);
	db_close(db);
}

static void
big_done(struct view_wait *w)
{
	unsigned *order = w->cookie;

	*order = *order * 10 + 1;
}

static void
small_done(struct view_wait *w)
{
	unsigned *order = w->cookie;

	*order = *order * 10 + 2;
}

/* A long build, of many steps, keeps no short one waiting, though one alone may run at a time. */
static void
test_turns(void)
{
	struct views_config c = {
	    .store = mem_store(), .dbs = dbs, .scripts = scripts, .ex = exec_threads_executor(slow), .max_updates = 1};
	struct view_wait big = {.done = big_done}, small = {.done = small_done};
	struct views *v = NULL;
	struct db *db;
	struct view_index *b, *s;
	struct db_info info;
	unsigned order = 0;

	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(dbs, "turns", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "turns");
	put_json(db,
	    "{\"_id\":\"_design/big\",\"views\":{\"v\":{\"map\":\"function(doc) { var t = Date.now(); while "
	    "(Date.now() < t + 8); "
	    "emit(1) }\"}}}",
	    1);
	put_json(db, "{\"_id\":\"_design/small\",\"views\":{\"v\":{\"map\":\"function(doc) { emit(1) }\"}}}", 1);
	for (unsigned i = 0; i < 500; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"t%u\"}", i);
		put_json(db, json, 1);
	}
	CHECK_INT(db_info(db, &info), 0);
	big.seq = small.seq = info.update_seq;
	big.cookie = small.cookie = &order;
	CHECK_INT(views_open(v, db, "turns", (struct jstr){"_design/big", 11}, &b), 0);
	CHECK_INT(views_open(v, db, "turns", (struct jstr){"_design/small", 13}, &s), 0);
	views_want(b, &big);
	views_want(s, &small);
	update(b, db, NULL);
	update(s, db, NULL);
	CHECK_INT(order, 21);
	CHECK_INT(rows_in(b, "v"), 500);
	views_close(b);
	views_close(s);
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
	struct store *store = mem_store();
	struct views *v = start_views(store);
	struct db *db = dbtest_open(dbs, "db");
	struct view_index *d, *all;

	d = open_index(v, db, "_design/d");
	all = open_index(v, db, "_design/all");
	update(d, db, NULL);
	CHECK_INT(files_of(store), 2);
	CHECK_INT(views_cleanup(v, db, "db"), 0);
	CHECK_INT(files_of(store), 2);
	/* Its functions are others now. */
	views_close(all);
	put_json(
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
	struct store *store = mem_store();
	struct views *v = start_views(store);
	struct dbtest_wait waiting;
	struct view_wait w = {.seq = 1, .done = wait_done, .cookie = &waiting};
	struct view_index *ix;
	struct db *db;

	CHECK_INT(dbs_create(dbs, "goes", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(dbs, "goes");
	put_json(db, "{\"_id\":\"_design/s\",\"views\":{\"v\":{\"map\":\"function(doc) {}\"}}}", 1);
	ix = open_small(v, db, "goes");
	CHECK_INT(files_of(store), 1);
	CHECK_INT(dbs_drop(dbs, "goes", &dbtest_admin), 0);
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
	struct store *store = open_store();
	struct views *v = start_views(store);
	unsigned before = files_of(store);

	for (unsigned i = 0; i < 3; i++) {
		struct view_index *ix;
		struct db *db;

		CHECK_INT(dbs_create(dbs, names[i], NULL, &dbtest_admin, NULL), 0);
		db = dbtest_open(dbs, names[i]);
		put_json(db, "{\"_id\":\"_design/s\",\"views\":{\"v\":{\"map\":\"function(doc) {}\"}}}", 1);
		ix = open_small(v, db, names[i]);
		update(ix, db, NULL);
		views_close(ix);
		db_close(db);
	}
	CHECK_INT(files_of(store), before + 3);
	views_free(v);
	CHECK_INT(dbs_drop(dbs, "went0", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(dbs, "went1", &dbtest_admin), 0);
	store = open_store();
	v = start_views(store);
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
	struct views_config c = {.store = open_store(),
	    .dbs = dbs,
	    .scripts = scripts,
	    .ex = exec_threads_executor(slow),
	    .max_updates = 2,
	    .idle_ms = 30};
	struct db *db = dbtest_open(dbs, "db");
	struct views *v = NULL;
	struct view_index *ix;

	CHECK_INT(views_new(&c, &v), 0);
	for (unsigned i = 0; i < 2; i++) {
		ix = open_index(v, db, "_design/d");
		update(ix, db, NULL);
		(void)usleep(100000);
		CHECK(open_files(folder) > 0);
		views_close(ix);
		while (open_files(folder) > 0)
			(void)usleep(1000);
	}
	views_free(v);
	db_close(db);
}

int
main(int argc, char **argv)
{
	struct scripts_config c = {.exe = exe,
	    .max_children = 3,
	    .idle_ms = 60000,
	    .timeout_ms = 3000,
	    .memory = (size_t)256 << 20,
	    .max_answer = (size_t)64 << 20};
	char self[PATH_MAX], remove_all[PATH_MAX];
	struct store *store;

	(void)argc;
	snprintf(self, sizeof(self), "%s", argv[0]);
	snprintf(exe, sizeof(exe), "%s/../divan-js", dirname(self));
	srandom(7);
	if (mkdtemp(folder) == NULL || exec_threads_new(2, &dbtest_threads) != 0 || exec_threads_new(3, &slow) != 0)
		return 1;
	c.ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(scripts_new(&c, &scripts), 0);
	store = mem_store();
	dbs = dbtest_dbs(store);
	CHECK_INT(dbs_create(dbs, "db", NULL, &dbtest_admin, NULL), 0);
	test_model();
	test_failing();
	test_large();
	test_bad_reduce();
	test_remembered();
	test_background();
	test_compact();
	test_auto_compact();
	test_turns();
	test_removal();
	test_orphan();
	test_sweep();
	test_idle();
	dbs_free(dbs);
	exec_threads_free(slow);
	scripts_free(scripts);
	exec_threads_free(dbtest_threads);
	snprintf(remove_all, sizeof(remove_all), "rm -rf '%s'", folder);
	CHECK_INT(system(remove_all), 0);
	return check_done();
}
