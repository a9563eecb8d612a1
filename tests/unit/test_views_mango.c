/*
 * The indexes that a database declares: as CouchDB lists them, remembered as long as no design document changes and no longer, for many
 * databases in bounded memory; and how many rows are in their ranges.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "query/query.h"
#include "views/mango.h"
#include "viewstest.h"

#define DATABASES 450 /* more than LIMIT_OPEN_DBS */

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static struct db *
create(const char *name, int partitioned)
{
	struct db_options options = {.partitioned = partitioned};

	CHECK_INT(dbs_create(viewstest_dbs, name, &options, &dbtest_admin, NULL), 0);
	return dbtest_open(viewstest_dbs, name);
}

/* put_list: A line of each index. */
static void
put_list(const struct mango_list *l, struct buf *b)
{
	buf_clear(b);
	for (size_t i = 0; i < l->n; i++) {
		const struct query_index *ix = &l->indexes[i];

		CHECK_INT(ix->ddoc.s[ix->ddoc.len], 0);
		CHECK_INT(ix->name.s[ix->name.len], 0);
		buf_printf(b, "%s/%s", ix->ddoc.s, ix->name.s);
		for (size_t k = 0; k < ix->ncolumns; k++)
			buf_printf(b, " %.*s", (int)ix->columns[k].len, ix->columns[k].s);
		buf_printf(b, "%s%s %.*s %.*s\n", ix->descending ? " desc" : "", ix->partitioned ? " parts" : "",
		    (int)ix->filter.len, ix->filter.s, (int)l->defs[i].len, l->defs[i].s);
	}
}

static void
check_list(struct views *v, struct db *db, const char *database, const char *text)
{
	const struct mango_list *l = NULL;
	struct buf b;

	buf_init(&b, 1u << 20);
	if (CHECK_INT(mango_open(v, db, database, &l), 0)) {
		put_list(l, &b);
		CHECK_MEM(b.data, b.len, text, strlen(text));
		mango_close(v, l);
	}
	buf_release(&b);
}

#define QUERY(id, views) "{\"_id\":\"_design/" id "\",\"language\":\"query\",\"views\":{" views "}}"
#define VIEW(name, map) "\"" name "\":{\"map\":" map ",\"reduce\":\"_count\",\"options\":{\"def\":{}}}"

static void
test_list(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("list", 0), *parts = create("parts", 1);

	check_list(v, db, "list", "");
	viewstest_put(db,
	    QUERY("b",
		VIEW("two",
		    "{\"fields\":{\"price\":\"asc\",\"a.b\":\"desc\"},\"partial_filter_selector\":{}}") "," VIEW("bad",
		    "{\"fields\":{\"x\":\"asc\"},\"partial_filter_selector\":{\"$no\":1}}") ","
											    "\"undeclared\":{\"map\":{"
											    "\"fields\":{\"x\":\"asc\"}"
											    "},\"reduce\":\"_count\"}"
											    "," VIEW("one",
												"{\"fields\":{\"kind\":"
												"\"asc\"}}")),
	    1);
	viewstest_put(db,
	    QUERY("a", VIEW("part", "{\"fields\":{\"price\":\"asc\"},\"partial_filter_selector\":{\"kind\":\"book\","
				    "\"x\":{\"$gt\":1}}}") "," VIEW("old",
			   "{\"fields\":[{\"k\":\"asc\"}],\"selector\":{\"k\":5},\"more\":[1]}")),
	    1);
	viewstest_put(db, "{\"_id\":\"_design/js\",\"views\":{\"v\":{\"map\":\"function(doc) {}\"}}}", 1);
	viewstest_put(db, "{\"_id\":\"q\",\"language\":\"query\",\"views\":{}}", 1);
	check_list(v, db, "list",
	    "_design/a/old k {\"k\":{\"$eq\":5}} {\"fields\":[{\"k\":\"asc\"}],\"selector\":{\"k\":5},\"more\":[1]}\n"
	    "_design/a/part price {\"$and\":[{\"kind\":{\"$eq\":\"book\"}},{\"x\":{\"$gt\":1}}]} "
	    "{\"fields\":[{\"price\":\"asc\"}],\"partial_filter_selector\":{\"kind\":\"book\",\"x\":{\"$gt\":1}}}\n"
	    "_design/b/one kind  {\"fields\":[{\"kind\":\"asc\"}]}\n"
	    "_design/b/two price a.b desc  {\"fields\":[{\"price\":\"asc\"},{\"a.b\":\"desc\"}]}\n");
	/* Partitioned are all of a partitioned database, unless the design document says otherwise; no other database has any. */
	viewstest_put(parts, QUERY("a", VIEW("v", "{\"fields\":{\"k\":\"asc\"}}")), 1);
	viewstest_put(parts,
	    "{\"_id\":\"_design/b\",\"language\":\"query\",\"options\":{\"partitioned\":false},\"views\":{" VIEW(
		"v", "{\"fields\":{\"k\":\"asc\"}}") "}}",
	    1);
	check_list(v, parts, "parts",
	    "_design/a/v k parts  {\"fields\":[{\"k\":\"asc\"}]}\n_design/b/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	views_free(v);
	db_close(db);
	db_close(parts);
}

static const struct mango_list *
open_list(struct views *v, struct db *db, const char *database)
{
	const struct mango_list *l = NULL;

	CHECK_INT(mango_open(v, db, database, &l), 0);
	return l;
}

static void
purge(struct db *db, const char *id, const char *rev)
{
	unsigned char gone = 0;
	struct revbuf r;
	struct rev at;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = str(id), .path = &at, .npath = 1, .purged = &gone};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(rev_parse(rev, strlen(rev), &r), 0);
	at = rev_of(&r);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	CHECK_INT(gone, 1);
}

/* A list is the same one until a design document changes; who has it open keeps it. */
static void
test_remembered(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("kept", 0), *same = dbtest_open(viewstest_dbs, "kept");
	const struct mango_list *first, *l;

	viewstest_put(db, QUERY("a", VIEW("v", "{\"fields\":{\"k\":\"asc\"}}")), 1);
	first = open_list(v, db, "kept");
	CHECK_INT(first->n, 1);
	viewstest_put(db, "{\"_id\":\"doc\",\"k\":1}", 1);
	l = open_list(v, same, "kept");
	CHECK(l == first);
	mango_close(v, l);
	/* Any of them, whatever it says, and however it came. */
	viewstest_put(db, "{\"_id\":\"_design/b\",\"_rev\":\"1-a\",\"x\":1}", 0);
	l = open_list(v, db, "kept");
	CHECK(l != first);
	CHECK_INT(l->n, 1);
	mango_close(v, l);
	viewstest_put(db,
	    "{\"_id\":\"_design/b\",\"_rev\":\"2-a\",\"language\":\"query\",\"views\":{" VIEW(
		"w", "{\"fields\":{\"l\":\"asc\"}}") "},\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]}}",
	    0);
	check_list(v, same, "kept",
	    "_design/a/v k  {\"fields\":[{\"k\":\"asc\"}]}\n_design/b/w l  {\"fields\":[{\"l\":\"asc\"}]}\n");
	viewstest_put(db,
	    "{\"_id\":\"_design/b\",\"_rev\":\"3-a\",\"_deleted\":true,\"_revisions\":{\"start\":3,\"ids\":[\"a\","
	    "\"a\",\"a\"]}}",
	    0);
	check_list(v, db, "kept", "_design/a/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	CHECK_INT(first->n, 1);
	CHECK_MEM(first->indexes[0].name.s, first->indexes[0].name.len, "v", 1);
	mango_close(v, first);
	mango_close(v, NULL);
	viewstest_put(db,
	    "{\"_id\":\"_design/c\",\"_rev\":\"1-c\",\"language\":\"query\",\"views\":{" VIEW(
		"w", "{\"fields\":{\"l\":\"asc\"}}") "}}",
	    0);
	first = open_list(v, db, "kept");
	CHECK_INT(first->n, 2);
	mango_close(v, first);
	purge(db, "_design/c", "1-c");
	check_list(v, db, "kept", "_design/a/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	db_close(db);
	db_close(same);
	/* Another database of this name. */
	CHECK_INT(dbs_drop(viewstest_dbs, "kept", &dbtest_admin), 0);
	db = create("kept", 0);
	check_list(v, db, "kept", "");
	viewstest_put(db, QUERY("n", VIEW("v", "{\"fields\":{\"k\":\"asc\"}}")), 1);
	check_list(v, db, "kept", "_design/n/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	db_close(db);
	views_free(v);
}

static int
hides(void *cookie, const struct db_asker *by, const struct jstr *id)
{
	(void)cookie;
	return by->is_admin || id->s[0] != '_' ? 0 : ERR_MISSING;
}

static const struct db_rules *
rules_of(void *cookie, const char *name)
{
	static const struct db_rules rules = {.may_read = hides};

	(void)cookie;
	return strcmp(name, "ruled") == 0 ? &rules : NULL;
}

/* Who sees no design documents may come first; the others have their indexes all the same. */
static void
test_ruled(void)
{
	static const struct principal user = {.name = "user"};
	struct dbs_config c = {.ex = exec_threads_executor(dbtest_threads), .rules = rules_of};
	struct dbs *before = viewstest_dbs;
	struct views *v;
	struct db *db, *theirs = NULL;

	CHECK_INT(store_mem_new(&c.store), 0);
	CHECK_INT(dbs_new(&c, &viewstest_dbs), 0);
	v = viewstest_start(viewstest_mem_store());
	db = create("ruled", 0);
	viewstest_put(db, QUERY("a", VIEW("v", "{\"fields\":{\"k\":\"asc\"}}")), 1);
	CHECK_INT(db_open(viewstest_dbs, "ruled", &user, &theirs), 0);
	check_list(v, theirs, "ruled", "_design/a/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	check_list(v, db, "ruled", "_design/a/v k  {\"fields\":[{\"k\":\"asc\"}]}\n");
	db_close(theirs);
	db_close(db);
	views_free(v);
	dbs_free(viewstest_dbs);
	viewstest_dbs = before;
}

/* More databases than are kept open, and than lists are remembered: some change while their list is not. */
static void
test_many(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	char name[16], json[200], line[100];

	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < DATABASES; i++) {
			unsigned version = round == 2 && i % 3 == 0 ? 2 : 1;
			struct db *db;

			snprintf(name, sizeof(name), "many%u", i);
			db = round == 0 ? create(name, 0) : dbtest_open(viewstest_dbs, name);
			snprintf(json, sizeof(json),
			    "{\"_id\":\"_design/"
			    "d\",\"_rev\":\"%u-a\",\"language\":\"query\",\"views\":{\"v%u\":{\"map\":{"
			    "\"fields\":{\"c%u\":\"asc\"}},\"options\":{}}}}",
			    version, version, i);
			if (round == 0 || version == 2)
				viewstest_put(db, json, 0);
			snprintf(
			    line, sizeof(line), "_design/d/v%u c%u  {\"fields\":[{\"c%u\":\"asc\"}]}\n", version, i, i);
			check_list(v, db, name, line);
			db_close(db);
		}
	views_free(v);
}

/* open_others: So many that the first ones are closed. */
static void
open_others(void)
{
	char name[16];

	for (unsigned i = 1; i < DATABASES; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		db_close(dbtest_open(viewstest_dbs, name));
	}
}

/* A list outlives its database's being closed, but not a change that was made in between. */
static void
test_reopened(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = dbtest_open(viewstest_dbs, "many0");
	const struct mango_list *first = open_list(v, db, "many0"), *l;

	db_close(db);
	open_others();
	db = dbtest_open(viewstest_dbs, "many0");
	l = open_list(v, db, "many0");
	CHECK(l == first);
	mango_close(v, l);
	viewstest_put(db,
	    "{\"_id\":\"_design/e\",\"language\":\"query\",\"views\":{" VIEW("e", "{\"fields\":{\"e\":\"asc\"}}") "}}",
	    1);
	db_close(db);
	open_others();
	db = dbtest_open(viewstest_dbs, "many0");
	l = open_list(v, db, "many0");
	CHECK(l != first);
	CHECK_INT(l->n, first->n + 1);
	mango_close(v, l);
	mango_close(v, first);
	db_close(db);
	views_free(v);
}

/* ---- Counts ---- */

static uint64_t
count(struct view_index *ix, const char *partition, const struct query_range *ranges, size_t n)
{
	uint64_t rows = 999;

	CHECK_INT(mango_count(ix, read_view(ix, str("v")), str(partition), ranges, n, &rows), 0);
	return rows;
}

static void
test_count(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("count", 1);
	struct view_index *ix = NULL;
	struct query_range all = {.low = {"", 0}, .high = {"", 0}}, r[2];
	struct buf one, four;
	char json[100];

	buf_init(&one, 1u << 20);
	buf_init(&four, 1u << 20);
	viewstest_put(db, QUERY("d", VIEW("v", "{\"fields\":{\"k\":\"asc\",\"l\":\"asc\"}}")), 1);
	CHECK_INT(views_open(v, db, "count", str("_design/d"), &ix), 0);
	CHECK_INT(count(ix, "", &all, 1), 0);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"%c:%u\",\"k\":%u,\"l\":%u}", 'a' + i % 2, i, i / 10, i);
		viewstest_put(db, json, 1);
	}
	viewstest_update(ix, db, NULL);
	CHECK_INT(count(ix, "a", &all, 1), 30);
	CHECK_INT(count(ix, "b", &all, 1), 30);
	CHECK_INT(count(ix, "c", &all, 1), 0);
	CHECK_INT(count(ix, "a", &all, 0), 0);
	r[0] =
	    (struct query_range){.low = viewstest_sortkey("[1]", 1, &one), .high = viewstest_sortkey("[4]", 1, &four)};
	CHECK_INT(count(ix, "a", r, 1), 20);
	r[0].low_behind = 1;
	CHECK_INT(count(ix, "a", r, 1), 15);
	r[0].high_before = 1;
	CHECK_INT(count(ix, "a", r, 1), 10);
	r[0].high.len = 0;
	CHECK_INT(count(ix, "a", r, 1), 20);
	r[1] = (struct query_range){.low = {"", 0}, .high = viewstest_sortkey("[1,14]", 0, &four), .high_before = 1};
	CHECK_INT(count(ix, "a", r + 1, 1), 7);
	CHECK_INT(count(ix, "a", r, 2), 27);
	views_close(ix);
	views_free(v);
	db_close(db);
	buf_release(&one);
	buf_release(&four);
}

int
main(int argc, char **argv)
{
	(void)argc;
	viewstest_begin(argv[0]);
	test_list();
	test_remembered();
	test_ruled();
	test_many();
	test_reopened();
	test_count();
	return viewstest_end();
}
