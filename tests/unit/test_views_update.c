/*
 * Updates of indexes: what fails, fails for whoever waits, and for the others not; nothing is too much for one; they begin by themselves, and
 * take turns.
 */
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "viewstest.h"

/* What fails: the waiting ones are told, the index stays. */
static void
test_failing(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = dbtest_open(viewstest_dbs, "db");
	struct view_index *ix;
	struct view_wait w;

	viewstest_put(db, "{\"_id\":\"_design/syntax\",\"views\":{\"v\":{\"map\":\"function(doc) {\"}}}", 1);
	viewstest_put(db, "{\"_id\":\"_design/loops\",\"views\":{\"v\":{\"map\":\"function(doc) { for (;;); }\"}}}", 1);
	viewstest_put(db,
	    "{\"_id\":\"_design/fatal\",\"views\":{\"v\":{\"map\":\"function(doc) { throw ['fatal', 'name', 'why'] "
	    "}\"}}}",
	    1);
	ix = viewstest_open(v, db, "_design/syntax");
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT);
	CHECK_STR(w.error, "compilation_error");
	views_close(ix);
	ix = viewstest_open(v, db, "_design/loops");
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	views_close(ix);
	ix = viewstest_open(v, db, "_design/fatal");
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT);
	CHECK_STR(w.error, "name");
	CHECK_STR(w.why.text, "why");
	views_close(ix);
	/* The others go on. */
	ix = viewstest_open(v, db, "_design/d");
	viewstest_update(ix, db, NULL);
	views_close(ix);
	CHECK_INT(views_open(v, db, "db", (struct jstr){"_design/none", 12}, &ix), ERR_MISSING);
	views_free(v);
	db_close(db);
}

/* make_filled: A database with the view "v" of ${map}, and ${n} documents. */
static struct db *
make_filled(const char *name, const char *map, unsigned n)
{
	char json[400];
	struct db *db;

	CHECK_INT(dbs_create(viewstest_dbs, name, NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, name);
	snprintf(json, sizeof(json), "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"%s\"}}}", map);
	viewstest_put(db, json, 1);
	for (unsigned i = 0; i < n; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"l%u\"}", i);
		viewstest_put(db, json, 1);
	}
	return db;
}

/* What is too much for one message, or for one batch, is no error. */
static void
test_large(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = make_filled("large",
	    "function(doc) { var t = Array(1000).join('large'); for (var i = 0; i < 300; i++) emit(i, t) }", 60);
	struct view_index *ix;

	CHECK_INT(views_open(v, db, "large", (struct jstr){"_design/d", 9}, &ix), 0);
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "v"), 60 * 300);
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
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db;
	struct view_index *ix;
	struct buf value;

	CHECK_INT(dbs_create(viewstest_dbs, "bad", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "bad");
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"stats\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) "
	    "emit(i, i === 8000 ? "
	    "'no' : 1) }\",\"reduce\":\"_stats\"},"
	    "\"count\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, i === 8000 ? 'no' : 1) "
	    "}\",\"reduce\":\"_count\"},"
	    "\"only\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, 'only') "
	    "}\",\"reduce\":\"_stats\"}}}",
	    1);
	viewstest_put(db, "{\"_id\":\"one\"}", 1);
	buf_init(&value, 1u << 20);
	CHECK_INT(views_open(v, db, "bad", (struct jstr){"_design/d", 9}, &ix), 0);
	for (unsigned i = 0; i < 2; i++) {
		char json[40];

		viewstest_update(ix, db, NULL);
		CHECK_INT(reduce_all(ix, "count", &value), 0);
		CHECK_MEM(value.data, value.len, i == 0 ? "9000" : "18000", i == 0 ? 4 : 5);
		CHECK_INT(reduce_all(ix, "stats", &value), ERR_REDUCE);
		CHECK_INT(reduce_all(ix, "only", &value), ERR_REDUCE);
		snprintf(json, sizeof(json), "{\"_id\":\"more%u\"}", i);
		viewstest_put(db, json, 1);
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

	scripts_count(viewstest_scripts, &n);
	return (unsigned)n.failed;
}

/* A reduction that does not end costs its time once in a while, and not once an update. */
static void
test_slow_reduce(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	unsigned before = killed();
	struct view_index *ix;
	struct buf value;
	struct db *db;

	CHECK_INT(dbs_create(viewstest_dbs, "slow", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "slow");
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{"
	    "\"loops\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, 1) }\",\"reduce\":"
	    "\"function() { for (;;); }\"},"
	    "\"count\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) emit(i, 1) "
	    "}\",\"reduce\":\"_count\"}}}",
	    1);
	CHECK_INT(views_open(v, db, "slow", (struct jstr){"_design/d", 9}, &ix), 0);
	buf_init(&value, 1u << 20);
	for (unsigned i = 0; i < 4; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"%u\"}", i);
		viewstest_put(db, json, 1);
		viewstest_update(ix, db, NULL);
	}
	CHECK_INT(killed() - before, 1);
	CHECK_INT(reduce_all(ix, "count", &value), 0);
	CHECK_MEM(value.data, value.len, "36000", 5);
	buf_release(&value);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* A document that functions do not end for costs its time once, not once a query; what is before it is there, and it may be mended. */
static void
test_remembered(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db;
	struct view_index *ix;
	struct view_wait w;
	unsigned before;

	CHECK_INT(dbs_create(viewstest_dbs, "remembered", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "remembered");
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { while (doc.loop); emit(1) }\"}}}", 1);
	viewstest_put(db, "{\"_id\":\"a\"}", 1);
	viewstest_put(db, "{\"_id\":\"b\",\"_rev\":\"1-a\",\"loop\":true}", 0);
	viewstest_put(db, "{\"_id\":\"c\"}", 1);
	CHECK_INT(views_open(v, db, "remembered", (struct jstr){"_design/d", 9}, &ix), 0);
	before = killed();
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	/* As one of several documents, and alone. */
	CHECK_INT(killed() - before, 2);
	CHECK_INT(viewstest_rows_in(ix, "v"), 1);
	before = killed();
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	viewstest_put(db, "{\"_id\":\"d\"}", 1);
	CHECK_INT(viewstest_update(ix, db, &w), ERR_SCRIPT_TIMEOUT);
	CHECK_INT(killed() - before, 0);
	viewstest_put(db, "{\"_id\":\"b\",\"_rev\":\"2-a\",\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]}}", 0);
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "v"), 4);
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
	struct store *store = viewstest_mem_store();
	struct views_config c = viewstest_config(store);
	static const char *const names[] = {"ignored", "back0", "back1", "back2", "back3"};
	struct views *v = NULL;
	struct db *db[5];

	c.background = 2;
	c.is_ignored = ignores;
	CHECK_INT(views_new(&c, &v), 0);
	for (unsigned i = 0; i < 5; i++) {
		CHECK_INT(dbs_create(viewstest_dbs, names[i], NULL, &dbtest_admin, NULL), 0);
		db[i] = dbtest_open(viewstest_dbs, names[i]);
		viewstest_put(
		    db[i], "{\"_id\":\"_design/auto\",\"views\":{\"v\":{\"map\":\"function(doc) { emit(1) }\"}}}", 1);
		viewstest_put(db[i],
		    "{\"_id\":\"_design/no\",\"autoupdate\":false,\"views\":{\"n\":{\"map\":\"function(doc) { emit(1) "
		    "}\"}}}",
		    1);
		viewstest_put(db[i],
		    "{\"_id\":\"_design/"
		    "nor\",\"autoupdate\":{\"views\":false},\"views\":{\"m\":{\"map\":\"function(doc) { emit(1) "
		    "}\"}}}",
		    1);
		viewstest_put(db[i], "{\"_id\":\"a\"}", 1);
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
		CHECK_INT(viewstest_rows_in(ix, "v"), 1);
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
		viewstest_put(db[1], shares, 1);
		views_moved(v, names[1]);
		while (!views_is_ready(ix))
			(void)usleep(1000);
		CHECK_INT(viewstest_rows_in(ix, "n"), 1);
		views_close(ix);
	}
	/* What is noted when all ends. */
	for (unsigned i = 0; i < 5; i++)
		views_moved(v, names[i]);
	for (unsigned i = 0; i < 5; i++)
		db_close(db[i]);
	views_free(v);
}

/* A commit whose outcome is not known, made or not: who asks next gets all rows. */
static void
test_doubt(void)
{
	struct store *store = viewstest_mem_store();
	struct views_config c = viewstest_config(store);
	struct views *v = NULL;
	struct view_index *ix;
	struct view_wait w;
	struct db *db;

	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(viewstest_dbs, "doubt", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "doubt");
	viewstest_put(db, "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { emit(1) }\"}}}", 1);
	CHECK_INT(views_open(v, db, "doubt", (struct jstr){"_design/d", 9}, &ix), 0);
	for (unsigned i = 0; i < 6; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"%u\"}", i);
		viewstest_put(db, json, 1);
		store_mem_fail(store, 1, ERR_IN_DOUBT, i % 2 == 0);
		(void)viewstest_update(ix, db, &w);
		CHECK_INT(w.err, ERR_IO);
		CHECK_INT(viewstest_update(ix, db, NULL), 0);
		CHECK_INT(viewstest_rows_in(ix, "v"), i + 1);
	}
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* The same of the commit of reductions, which follows that of the rows. */
static void
test_doubt_sums(void)
{
	struct store *store = viewstest_mem_store();
	struct views *v = viewstest_start(store);
	struct view_index *ix;
	struct view_wait w;
	struct buf value;
	struct db *db;

	CHECK_INT(dbs_create(viewstest_dbs, "doubtsums", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "doubtsums");
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { for (var i = 0; i < 9000; i++) "
	    "emit(doc.n + i, 1) }\",\"reduce\":\"_sum\"}}}",
	    1);
	CHECK_INT(views_open(v, db, "doubtsums", (struct jstr){"_design/d", 9}, &ix), 0);
	buf_init(&value, 1u << 20);
	for (unsigned i = 0; i < 2; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"%u\",\"n\":%u}", i, i);
		viewstest_put(db, json, 1);
		store_mem_fail(store, 2, ERR_IN_DOUBT, i % 2 == 0);
		CHECK_INT(viewstest_update(ix, db, &w), ERR_IO);
		snprintf(json, sizeof(json), "{\"_id\":\"_design/other%u\"}", i);
		viewstest_put(db, json, 1);
		CHECK_INT(viewstest_update(ix, db, NULL), 0);
		CHECK_INT(reduce_all(ix, "v", &value), 0);
		CHECK_MEM(value.data, value.len, i == 0 ? "9000" : "18000", i == 0 ? 4 : 5);
	}
	buf_release(&value);
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
	struct views_config c = viewstest_config(viewstest_mem_store());
	struct view_wait big = {.done = big_done}, small = {.done = small_done};
	struct views *v = NULL;
	struct db *db;
	struct view_index *b, *s;
	struct db_info info;
	unsigned order = 0;

	c.max_updates = 1;
	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(viewstest_dbs, "turns", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, "turns");
	viewstest_put(db,
	    "{\"_id\":\"_design/big\",\"views\":{\"v\":{\"map\":\"function(doc) { var t = Date.now(); while "
	    "(Date.now() < t + 8); "
	    "emit(1) }\"}}}",
	    1);
	viewstest_put(db, "{\"_id\":\"_design/small\",\"views\":{\"v\":{\"map\":\"function(doc) { emit(1) }\"}}}", 1);
	for (unsigned i = 0; i < 500; i++) {
		char json[40];

		snprintf(json, sizeof(json), "{\"_id\":\"t%u\"}", i);
		viewstest_put(db, json, 1);
	}
	CHECK_INT(db_info(db, &info), 0);
	big.seq = small.seq = info.update_seq;
	big.cookie = small.cookie = &order;
	CHECK_INT(views_open(v, db, "turns", (struct jstr){"_design/big", 11}, &b), 0);
	CHECK_INT(views_open(v, db, "turns", (struct jstr){"_design/small", 13}, &s), 0);
	views_want(b, &big);
	views_want(s, &small);
	viewstest_update(b, db, NULL);
	viewstest_update(s, db, NULL);
	CHECK_INT(order, 21);
	CHECK_INT(viewstest_rows_in(b, "v"), 500);
	views_close(b);
	views_close(s);
	views_free(v);
	db_close(db);
}

/* An executor that counts what is submitted: of one index, the steps of its updates. */
struct counting {
	struct executor ex;
	struct executor *inner;
	_Atomic unsigned jobs;
};

static void
count_submit(struct executor *ex, struct exec_job *job)
{
	struct counting *c = (struct counting *)ex;

	c->jobs++;
	c->inner->submit(c->inner, job);
}

static void
pass_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	struct counting *c = (struct counting *)ex;

	c->inner->later(c->inner, job, delay_ms);
}

static int
pass_cancel(struct executor *ex, struct exec_job *job)
{
	struct counting *c = (struct counting *)ex;

	return c->inner->cancel(c->inner, job);
}

static uint64_t
pass_now(struct executor *ex)
{
	struct counting *c = (struct counting *)ex;

	return c->inner->now_ms(c->inner);
}

static uint64_t
pass_wall(struct executor *ex)
{
	struct counting *c = (struct counting *)ex;

	return c->inner->wall_us(c->inner);
}

static void
pass_random(struct executor *ex, void *out, unsigned len)
{
	struct counting *c = (struct counting *)ex;

	c->inner->random(c->inner, out, len);
}

enum going { DELETED, PURGED, FORGOTTEN };

static void
take_away(struct db *db, const char *id, enum going how)
{
	const struct rev rev = {.gen = 1, .id = (const unsigned char *)"aa", .len = 2};
	unsigned char gone = 0;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = {id, strlen(id)}, .path = &rev, .npath = 1, .purged = &gone};
	struct db_request req = {.writes = &w, .nwrites = 1};
	char json[200];

	if (how != DELETED) {
		CHECK_INT(dbtest_submit(db, &req), 0);
		CHECK_INT(w.err, 0);
		CHECK_INT(gone, 1);
		return;
	}
	snprintf(json, sizeof(json),
	    "{\"_id\":\"%s\",\"_deleted\":true,\"_revisions\":{\"start\":2,\"ids\":[\"bb\",\"aa\"]}}", id);
	viewstest_put(db, json, 0);
}

/* Documents of many rows, which go: in as many steps as their rows' number asks for, however they went. */
static void
test_going(const char *name, enum going how)
{
	struct views_config c = viewstest_config(viewstest_mem_store());
	struct counting counting = {
	    .ex = {count_submit, pass_later, pass_cancel, pass_now, pass_wall, pass_random}, .inner = c.ex};
	struct views *v = NULL;
	struct view_index *ix;
	struct db *db;
	char text[100];

	c.ex = &counting.ex;
	CHECK_INT(views_new(&c, &v), 0);
	CHECK_INT(dbs_create(viewstest_dbs, name, NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(viewstest_dbs, name);
	if (how == FORGOTTEN) {
		struct db_write w = {.kind = DB_WRITE_PURGED_LIMIT, .number = 1};
		struct db_request req = {.writes = &w, .nwrites = 1};

		CHECK_INT(dbtest_submit(db, &req), 0);
	}
	viewstest_put(db,
	    "{\"_id\":\"_design/d\",\"views\":{\"v\":{\"map\":\"function(doc) { var t = Array(1000).join('x'); "
	    "for (var i = 0; i < 300; i++) emit(t + i) }\"}}}",
	    1);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "{\"_id\":\"g%u\",\"_rev\":\"1-aa\"}", i);
		viewstest_put(db, text, 0);
	}
	CHECK_INT(views_open(v, db, name, (struct jstr){"_design/d", 9}, &ix), 0);
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "v"), 100 * 300);
	for (unsigned i = 0; i < 90; i++) {
		snprintf(text, sizeof(text), "g%u", i);
		take_away(db, text, how);
	}
	counting.jobs = 0;
	viewstest_update(ix, db, NULL);
	CHECK(counting.jobs > 2);
	CHECK_INT(viewstest_rows_in(ix, "v"), 10 * 300);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* Keys of few bytes of JSON that are sorted by many: batches end by what their rows take, and hold no more documents than that the next time. */
static void
test_sortkeys(void)
{
	struct views_config c = viewstest_config(viewstest_mem_store());
	struct counting counting = {
	    .ex = {count_submit, pass_later, pass_cancel, pass_now, pass_wall, pass_random}, .inner = c.ex};
	struct views *v = NULL;
	struct view_index *ix;
	struct db *db;

	c.ex = &counting.ex;
	CHECK_INT(views_new(&c, &v), 0);
	db = make_filled("sortkeys",
	    "function(doc) { var k = []; for (var i = 0; i < 50000; i++) k.push(1); emit(k, doc._id) }", 100);
	CHECK_INT(views_open(v, db, "sortkeys", (struct jstr){"_design/d", 9}, &ix), 0);
	counting.jobs = 0;
	viewstest_update(ix, db, NULL);
	CHECK(counting.jobs > 3);
	CHECK_INT(viewstest_rows_in(ix, "v"), 100);
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
	test_failing();
	test_large();
	test_bad_reduce();
	test_slow_reduce();
	test_remembered();
	test_background();
	test_doubt();
	test_doubt_sums();
	test_turns();
	test_going("deleted", DELETED);
	test_going("purged", PURGED);
	test_going("forgotten", FORGOTTEN);
	test_sortkeys();
	return viewstest_end();
}
