/*
 * Indexes of the language "query": the rows that documents have without any function, ranges of them; after whatever was written, an index
 * is one that is built from scratch.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "query/query.h"
#include "viewstest.h"

#define DOCS 60
#define ROUNDS 8
#define MANY 1300 /* documents of a first build that sorts */

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static unsigned
below(unsigned n)
{
	return (unsigned)random() % n;
}

#define VIEW(name, map) "\"" name "\":{\"map\":" map ",\"reduce\":\"_count\",\"options\":{}}"

/* ---- What an index has, as text ---- */

/* put_range: "id key;" of the rows of a range. */
static void
put_range(struct view_index *ix, const char *name, const struct read_range *range, struct buf *out)
{
	const struct ddoc_view *view = read_view(ix, str(name));
	struct view_snap *s;
	struct read_row row;
	struct arena *a;
	uint64_t n, read = 0;
	int err;

	buf_clear(out);
	if (!CHECK(view != NULL) || !CHECK_INT(read_begin(ix, &s), 0))
		return;
	CHECK_INT(arena_new(1u << 28, &a), 0);
	CHECK_INT(read_range(s, view, range, (struct jstr){NULL, 0}), 0);
	CHECK_INT(read_length(s, &n), 0);
	while ((err = read_next(s, a, &row)) == 0) {
		CHECK_MEM(row.value.s, row.value.len, "null", 4);
		buf_printf(out, "%.*s %.*s;", (int)row.id.len, row.id.s, (int)row.key.len, row.key.s);
		read++;
	}
	CHECK_INT(err, ERR_END);
	CHECK_INT(n, read);
	read_end(s);
	arena_free(a);
}

static void
put_rows(struct view_index *ix, const char *name, struct buf *out)
{
	struct read_range range = {.descending = 0};

	put_range(ix, name, &range, out);
}

static void
check_rows(struct view_index *ix, const char *name, const char *rows)
{
	struct buf b;

	buf_init(&b, 1u << 28);
	put_rows(ix, name, &b);
	CHECK_MEM(b.data, b.len, rows, strlen(rows));
	buf_release(&b);
}

/* count_all: The reduction over all rows. */
static uint64_t
count_all(struct view_index *ix, const char *name)
{
	struct errtext why = {""};
	struct read_groups g = {.max = 1, .why = &why};
	struct read_range range = {.descending = 0};
	const struct ddoc_view *view = read_view(ix, str(name));
	struct view_snap *s;
	uint64_t skip = 0, n = 0;
	int err;

	CHECK_INT(read_reduces(view), READ_BUILTIN);
	CHECK_INT(arena_new(1u << 28, &g.a), 0);
	CHECK_INT(read_begin(ix, &s), 0);
	CHECK_INT(read_range(s, view, &range, (struct jstr){NULL, 0}), 0);
	err = read_gather(s, &g, &skip);
	CHECK(err == 0 || err == ERR_END);
	CHECK_INT(read_reduce(s, view, &g), 0);
	for (size_t i = 0; g.n > 0 && i < g.values[0].len; i++)
		n = n * 10 + (uint64_t)(g.values[0].data[i] - '0');
	read_end(s);
	arena_free(g.a);
	return n;
}

static struct db *
create(const char *name, int partitioned)
{
	struct db_options options = {.partitioned = partitioned};

	CHECK_INT(dbs_create(viewstest_dbs, name, &options, &dbtest_admin, NULL), 0);
	return dbtest_open(viewstest_dbs, name);
}

static struct view_index *
open_index(struct views *v, struct db *db, const char *database, const char *ddoc)
{
	struct view_index *ix = NULL;

	CHECK_INT(views_open(v, db, database, str(ddoc), &ix), 0);
	return ix;
}

static void
put_ddoc(struct db *db, const char *id, const char *rev, const char *views)
{
	struct buf b;

	buf_init(&b, 1u << 24);
	buf_printf(&b, "{\"_id\":\"%s\",\"_rev\":\"%s\",\"language\":\"query\",\"views\":{%s}}", id, rev, views);
	buf_putc(&b, '\0');
	viewstest_put(db, b.data, 0);
	buf_release(&b);
}

/* ---- Rows ---- */

/* Which documents have rows, and which keys. */
static void
test_rows(void)
{
	static const char *const docs[] = {"{\"_id\":\"a\",\"x\":1,\"y\":{\"z\":[10,{\"q\":\"\xc3\xa4\"}]}}",
	    "{\"_id\":\"b\",\"x\":null,\"y\":{\"z\":[]}}", "{\"_id\":\"c\",\"y\":5,\"y.z\":\"dot\"}",
	    "{\"_id\":\"d\",\"x\":[true],\"y\":{\"z\":[1,2]}}",
	    "{\"_id\":\"e\",\"x\":{\"b\":1,\"a\":2},\"y\":{\"z\":\"s\"}}"};
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("rows", 0);
	struct view_index *ix;

	viewstest_put(db,
	    "{\"_id\":\"_design/q\",\"options\":{\"include_design\":true},\"x\":1,\"y\":{\"z\":[1,{\"q\":1}]},"
	    "\"language\":\"query\",\"views\":{" VIEW("x", "{\"fields\":{\"x\":\"asc\"}}") "," VIEW(
		"two", "{\"fields\":{\"y.z\":\"asc\",\"x\":\"asc\"}}") "," VIEW("in",
		"{\"fields\":{\"y.z.1.q\":\"asc\"}}") "," VIEW("first",
		"{\"fields\":{\"y.z.0\":\"asc\"}}") "," VIEW("dot",
		"{\"fields\":{\"y\\\\.z\":\"asc\"}}") "," VIEW("some",
		"{\"fields\":{\"_id\":\"asc\"},\"partial_filter_selector\":{\"x\":{\"$type\":\"number\"}}}") "," VIEW("rev",
		"{\"fields\":{\"_rev\":\"asc\"},\"partial_filter_selector\":{\"_rev\":{\"$gt\":\"3\"}}}") "}}",
	    1);
	for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++)
		viewstest_put(db, docs[i], 1);
	viewstest_put(db, "{\"_id\":\"r\",\"_rev\":\"3-aa\"}", 0);
	ix = open_index(v, db, "rows", "_design/q");
	viewstest_update(ix, db, NULL);
	check_rows(ix, "x", "b [null];a [1];d [[true]];e [{\"b\":1,\"a\":2}];");
	check_rows(
	    ix, "two", "e [\"s\",{\"b\":1,\"a\":2}];b [[],null];d [[1,2],[true]];a [[10,{\"q\":\"\xc3\xa4\"}],1];");
	check_rows(ix, "in", "a [\"\xc3\xa4\"];");
	check_rows(ix, "first", "d [1];a [10];");
	check_rows(ix, "dot", "c [\"dot\"];");
	check_rows(ix, "some", "a [\"a\"];");
	check_rows(ix, "rev", "r [\"3-aa\"];");
	CHECK_INT(count_all(ix, "x"), 4);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* Members that are no part of the body, as columns and in filters. */
static void
test_special_members(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("special", 0);
	struct view_index *ix;

	put_ddoc(db, "_design/q", "1-a",
	    VIEW("conflicts", "{\"fields\":{\"_conflicts\":\"asc\",\"_conflicts.0\":\"asc\"}}") "," VIEW("filter",
		"{\"fields\":{\"_id\":\"asc\"},\"partial_filter_selector\":{\"_conflicts\":{\"$exists\":true}"
		"}}") "," VIEW("seq", "{\"fields\":{\"_local_seq\":\"asc\"}}"));
	viewstest_put(db, "{\"_id\":\"a\",\"_rev\":\"1-a\"}", 0);
	viewstest_put(db, "{\"_id\":\"b\",\"_rev\":\"1-a\"}", 0);
	viewstest_put(db, "{\"_id\":\"b\",\"_rev\":\"1-b\"}", 0);
	ix = open_index(v, db, "special", "_design/q");
	viewstest_update(ix, db, NULL);
	check_rows(ix, "conflicts", "b [[\"1-a\"],\"1-a\"];");
	check_rows(ix, "filter", "b [\"b\"];");
	check_rows(ix, "seq", "");
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* Rows of a partition are together, unless the design document says otherwise. */
static void
test_partitions(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("parts", 1);
	struct read_range range = {.partition = {"p", 1}};
	struct view_index *ix;
	struct buf b;

	buf_init(&b, 1u << 20);
	put_ddoc(db, "_design/q", "1-a", VIEW("v", "{\"fields\":{\"x\":\"asc\"}}"));
	viewstest_put(db,
	    "{\"_id\":\"_design/g\",\"language\":\"query\",\"options\":{\"partitioned\":false},\"views\":{" VIEW(
		"v", "{\"fields\":{\"x\":\"asc\"}}") "}}",
	    1);
	viewstest_put(db, "{\"_id\":\"p:2\",\"x\":2}", 1);
	viewstest_put(db, "{\"_id\":\"o:1\",\"x\":3}", 1);
	viewstest_put(db, "{\"_id\":\"p:1\",\"x\":7}", 1);
	viewstest_put(db, "{\"_id\":\"q:1\",\"x\":1}", 1);
	ix = open_index(v, db, "parts", "_design/q");
	CHECK(read_is_partitioned(ix));
	viewstest_update(ix, db, NULL);
	put_range(ix, "v", &range, &b);
	CHECK_MEM(b.data, b.len, "p:2 [2];p:1 [7];", 16);
	views_close(ix);
	ix = open_index(v, db, "parts", "_design/g");
	CHECK(!read_is_partitioned(ix));
	viewstest_update(ix, db, NULL);
	check_rows(ix, "v", "q:1 [1];p:2 [2];o:1 [3];p:1 [7];");
	views_close(ix);
	views_free(v);
	db_close(db);
	buf_release(&b);
}

static void
put_long(struct db *db, const char *id, size_t len, char end)
{
	struct buf b;

	buf_init(&b, 1u << 24);
	buf_printf(&b, "{\"_id\":\"%s\",\"x\":\"", id);
	for (size_t i = 0; i < len; i++)
		buf_putc(&b, 'k');
	buf_printf(&b, "%c\"}", end);
	buf_putc(&b, '\0');
	viewstest_put(db, b.data, 1);
	buf_release(&b);
}

/* Keys beyond what a page takes, values as deep as JSON may be, and a filter that would take for ever. */
static void
test_extremes(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("extremes", 0);
	struct view_index *ix;
	struct buf b, rows;
	const char *at;

	buf_init(&b, 1u << 24);
	buf_init(&rows, 1u << 24);
	put_ddoc(db, "_design/q", "1-a",
	    VIEW("x", "{\"fields\":{\"x\":\"asc\"}}") "," VIEW(
		"slow", "{\"fields\":{\"_id\":\"asc\"},\"partial_filter_selector\":{\"x\":{\"$regex\":\"(k+)+$\"}}}"));
	put_long(db, "l3", 20000, 'z');
	put_long(db, "l1", 9000, 'a');
	put_long(db, "l2", 20000, 'b');
	put_long(db, "s", 3, 'k');
	buf_puts(&b, "{\"_id\":\"deep\",\"x\":");
	for (unsigned i = 0; i < 1998; i++)
		buf_putc(&b, '[');
	for (unsigned i = 0; i < 1998; i++)
		buf_putc(&b, ']');
	buf_puts(&b, "}");
	buf_putc(&b, '\0');
	viewstest_put(db, b.data, 1);
	ix = open_index(v, db, "extremes", "_design/q");
	viewstest_update(ix, db, NULL);
	put_rows(ix, "x", &rows);
	buf_putc(&rows, '\0');
	at = rows.data;
	for (size_t i = 0; i < 5 && at != NULL; i++) {
		static const char *const ids[] = {"s", "l1", "l2", "l3", "deep"};

		CHECK(strncmp(at, ids[i], strlen(ids[i])) == 0);
		at = strchr(at, ';');
		at = at != NULL ? at + 1 : NULL;
	}
	CHECK(at != NULL && *at == '\0');
	check_rows(ix, "slow", "s [\"s\"];");
	viewstest_put(db, "{\"_id\":\"l2\",\"_rev\":\"9-a\"}", 0);
	viewstest_update(ix, db, NULL);
	CHECK_INT(viewstest_rows_in(ix, "x"), 4);
	views_close(ix);
	views_free(v);
	db_close(db);
	buf_release(&b);
	buf_release(&rows);
}

/* ---- Ranges ---- */

static void
check_range(struct view_index *ix, const struct read_range *range, const char *rows)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	put_range(ix, "v", range, &b);
	CHECK_MEM(b.data, b.len, rows, strlen(rows));
	buf_release(&b);
}

/* Ranges may begin and end behind a key, behind all keys that begin so, and behind a document; in both directions, and in partitions. */
static void
check_ends(struct view_index *ix, struct jstr partition)
{
	struct read_range r = {.partition = partition, .exclusive_start = 1};
	struct buf start, end;

	buf_init(&start, 1u << 20);
	buf_init(&end, 1u << 20);
	check_range(ix, &r, "p:a [1,1];p:b [1,2];p:c [1,2];p:d [2,0];");
	r.start = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[1,2]", 0, &start)};
	check_range(ix, &r, "p:d [2,0];");
	r.start = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[1]", 1, &start)};
	check_range(ix, &r, "p:d [2,0];");
	r.exclusive_start = 0;
	check_range(ix, &r, "p:a [1,1];p:b [1,2];p:c [1,2];p:d [2,0];");
	r.exclusive_start = 1;
	r.start = (struct read_bound){
	    .set = 1, .sortkey = viewstest_sortkey("[1,2]", 0, &start), .has_id = 1, .id = {"p:b", 3}};
	check_range(ix, &r, "p:c [1,2];p:d [2,0];");
	r.end = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[2]", 1, &end)};
	r.exclusive_end = 1;
	check_range(ix, &r, "p:c [1,2];");
	r.end = r.start;
	check_range(ix, &r, "");
	/* Downward from behind them. */
	r = (struct read_range){.descending = 1, .partition = partition, .exclusive_start = 1};
	r.start = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[2,0]", 0, &start)};
	check_range(ix, &r, "p:c [1,2];p:b [1,2];p:a [1,1];");
	r.start = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[1,2]", 0, &start)};
	check_range(ix, &r, "p:a [1,1];");
	r.start.has_id = 1;
	r.start.id = (struct jstr){"p:c", 3};
	check_range(ix, &r, "p:b [1,2];p:a [1,1];");
	r.start = (struct read_bound){.set = 1, .sortkey = viewstest_sortkey("[1]", 1, &start)};
	check_range(ix, &r, "");
	r.exclusive_start = 0;
	check_range(ix, &r, "p:c [1,2];p:b [1,2];p:a [1,1];");
	buf_release(&start);
	buf_release(&end);
}

static void
test_ranges(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());

	for (int partitioned = 0; partitioned < 2; partitioned++) {
		struct db *db = create(partitioned ? "ranges1" : "ranges0", partitioned);
		struct view_index *ix;

		put_ddoc(db, "_design/q", "1-a", VIEW("v", "{\"fields\":{\"x\":\"asc\",\"y\":\"asc\"}}"));
		viewstest_put(db, "{\"_id\":\"p:a\",\"x\":1,\"y\":1}", 1);
		viewstest_put(db, "{\"_id\":\"p:b\",\"x\":1,\"y\":2}", 1);
		viewstest_put(db, "{\"_id\":\"p:c\",\"x\":1,\"y\":2}", 1);
		viewstest_put(db, "{\"_id\":\"p:d\",\"x\":2,\"y\":0}", 1);
		if (partitioned) {
			viewstest_put(db, "{\"_id\":\"o:d\",\"x\":1,\"y\":2}", 1);
			viewstest_put(db, "{\"_id\":\"q:d\",\"x\":1,\"y\":2}", 1);
		}
		ix = open_index(v, db, partitioned ? "ranges1" : "ranges0", "_design/q");
		viewstest_update(ix, db, NULL);
		check_ends(ix, (struct jstr){"p", partitioned ? 1u : 0u});
		views_close(ix);
		db_close(db);
	}
	views_free(v);
}

/* ---- Updates ---- */

static void
purge(struct db *db, const char *id, const struct rev *rev)
{
	unsigned char gone = 0;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = str(id), .path = rev, .npath = 1, .purged = &gone};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* winner_of: The text of its revision; empty: there is no document, or it is deleted. */
static int
winner_of(struct db *db, const char *id, struct arena *a, struct revbuf *winner, char *text, size_t size)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct buf t;
	int there;

	text[0] = '\0';
	CHECK_INT(db_snap_begin(db, &snap), 0);
	there = db_get(snap, id, strlen(id), a, &doc) == 0;
	if (there) {
		rev_copy(winner, &doc.winner.rev);
		buf_init(&t, 1000);
		rev_put(&t, &doc.winner.rev);
		if (!doc.winner.deleted)
			snprintf(text, size, "%.*s", (int)t.len, t.data);
		buf_release(&t);
	}
	db_snap_end(snap);
	return there;
}

/* put_members: Some of the columns, some of the time. */
static void
put_members(struct buf *b)
{
	static const char *const values[] = {"null", "7", "-1.5", "\"s\"", "\"t\"", "[1,2]", "{\"c\":1}", "true"};

	if (below(5) > 0)
		buf_printf(b, ",\"x\":%s", values[below(8)]);
	if (below(3) > 0)
		buf_printf(b, ",\"y\":{\"z\":%s,\"t\":[%u,%u]}", values[below(8)], below(5), below(5));
	if (below(2) > 0)
		buf_printf(b, ",\"n\":%u", below(10));
	if (below(8) == 0) {
		buf_puts(b, ",\"long\":\"");
		for (unsigned i = 0; i < 300 + below(900); i++)
			buf_putc(b, 'x');
		buf_printf(b, "%u\"", below(4));
	}
}

/* change: One document comes, changes, forks, goes or is purged. */
static void
change(struct db *db)
{
	char id[16], rev[REV_TEXT_MAX + 1];
	unsigned kind = below(10);
	struct revbuf winner;
	struct arena *a;
	struct buf b;
	int there;

	CHECK_INT(arena_new(1u << 24, &a), 0);
	buf_init(&b, 1u << 20);
	snprintf(id, sizeof(id), "doc%03u", below(DOCS));
	there = winner_of(db, id, a, &winner, rev, sizeof(rev));
	if (there && kind == 0) {
		struct rev at = rev_of(&winner);

		purge(db, id, &at);
	} else {
		buf_printf(&b, "{\"_id\":\"%s\"", id);
		if (kind == 1)
			buf_printf(&b, ",\"_rev\":\"1-%08x\"", below(1u << 30));
		else if (rev[0] != '\0')
			buf_printf(&b, ",\"_rev\":\"%s\"%s", rev, kind == 2 ? ",\"_deleted\":true" : "");
		put_members(&b);
		buf_puts(&b, "}");
		buf_putc(&b, '\0');
		viewstest_put(db, b.data, kind != 1);
	}
	buf_release(&b);
	arena_free(a);
}

static const char random_views[] = VIEW("x", "{\"fields\":{\"x\":\"asc\"}}") "," VIEW(
    "two", "{\"fields\":{\"y.z\":\"asc\",\"n\":\"asc\"}}") "," VIEW("part",
    "{\"fields\":{\"x\":\"asc\",\"y.t.1\":\"asc\"},\"partial_filter_selector\":{\"n\":{\"$gt\":3}}}") "," VIEW("long",
    "{\"fields\":{\"long\":\"asc\"}}") "," VIEW("conflicts", "{\"fields\":{\"_conflicts\":\"asc\"}}");

static void
check_same(struct view_index *ix, struct view_index *built)
{
	static const char *const names[] = {"x", "two", "part", "long", "conflicts"};
	struct buf a, b;

	buf_init(&a, 1u << 28);
	buf_init(&b, 1u << 28);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		put_rows(ix, names[i], &a);
		put_rows(built, names[i], &b);
		CHECK_MEM(a.data, a.len, b.data, b.len);
		CHECK_INT(count_all(ix, names[i]), viewstest_rows_in(ix, names[i]));
		CHECK_INT(count_all(built, names[i]), viewstest_rows_in(ix, names[i]));
	}
	buf_release(&a);
	buf_release(&b);
}

/* check_scratch: The index has what one has that is built now. */
static void
check_scratch(struct view_index *ix, struct db *db, const char *database)
{
	struct views *fresh = viewstest_start(viewstest_mem_store());
	struct view_index *built = open_index(fresh, db, database, "_design/q");

	viewstest_update(ix, db, NULL);
	viewstest_update(built, db, NULL);
	check_same(ix, built);
	views_close(built);
	views_free(fresh);
}

static void
test_random(void)
{
	struct views *v = viewstest_start(viewstest_open_store());
	struct db *db = create("random", 0);
	struct view_index *ix;

	put_ddoc(db, "_design/q", "1-a", random_views);
	ix = open_index(v, db, "random", "_design/q");
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 10 + below(80); i++)
			change(db);
		check_scratch(ix, db, "random");
		if (round % 4 == 3) {
			/* The file is what it was. */
			views_close(ix);
			views_free(v);
			v = viewstest_start(viewstest_open_store());
			ix = open_index(v, db, "random", "_design/q");
		}
	}
	CHECK(viewstest_rows_in(ix, "two") > 0 && viewstest_rows_in(ix, "part") > 0);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* A first build that sorts has what one has that was updated document by document. */
static void
test_first_build(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("first", 0);
	struct view_index *ix;
	char json[200];

	put_ddoc(db, "_design/q", "1-a", random_views);
	ix = open_index(v, db, "first", "_design/q");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"d%u\",\"x\":%u,\"n\":%u,\"y\":{\"z\":\"%c\",\"t\":[1,%u]}}", i,
		    below(100), below(10), 'a' + below(9), below(9));
		viewstest_put(db, json, 1);
		if (i % 300 == 0)
			viewstest_update(ix, db, NULL);
	}
	check_scratch(ix, db, "first");
	CHECK_INT(viewstest_rows_in(ix, "x"), MANY);
	views_close(ix);
	views_free(v);
	db_close(db);
}

/* While another definition is built the rows of the one before can be read; what changes no row changes no index. */
static void
test_redefined(void)
{
	struct views *v = viewstest_start(viewstest_mem_store());
	struct db *db = create("redefined", 0);
	struct view_index *ix, *next, *earlier;

	put_ddoc(db, "_design/q", "1-a", VIEW("v", "{\"fields\":{\"x\":\"asc\"}}"));
	viewstest_put(db, "{\"_id\":\"a\",\"x\":1,\"y\":2}", 1);
	ix = open_index(v, db, "redefined", "_design/q");
	viewstest_update(ix, db, NULL);
	viewstest_put(db,
	    "{\"_id\":\"_design/q\",\"_rev\":\"2-a\",\"_revisions\":{\"start\":2,\"ids\":[\"a\",\"a\"]},\"language\":"
	    "\"query\","
	    "\"views\":{" VIEW("v", "{\"fields\":{\"x\":\"desc\"}}") "}}",
	    0);
	next = open_index(v, db, "redefined", "_design/q");
	CHECK(next == ix);
	views_close(next);
	viewstest_put(db,
	    "{\"_id\":\"_design/q\",\"_rev\":\"3-a\",\"_revisions\":{\"start\":3,\"ids\":[\"a\",\"a\",\"a\"]},"
	    "\"language\":\"query\","
	    "\"views\":{" VIEW("v", "{\"fields\":{\"y\":\"asc\"}}") "}}",
	    0);
	next = open_index(v, db, "redefined", "_design/q");
	CHECK(next != ix);
	CHECK(!views_is_ready(next));
	CHECK_INT(views_open_earlier(v, db, "redefined", str("_design/q"), &earlier), 0);
	CHECK(earlier == ix);
	check_rows(earlier, "v", "a [1];");
	views_close(earlier);
	viewstest_update(next, db, NULL);
	check_rows(next, "v", "a [2];");
	views_close(next);
	views_close(ix);
	viewstest_put(db,
	    "{\"_id\":\"_design/"
	    "q\",\"_rev\":\"4-a\",\"_deleted\":true,\"_revisions\":{\"start\":4,\"ids\":[\"a\",\"a\","
	    "\"a\",\"a\"]}}",
	    0);
	CHECK_INT(views_open(v, db, "redefined", str("_design/q"), &ix), ERR_DELETED);
	viewstest_put(db, "{\"_id\":\"_design/e\",\"language\":\"erlang\",\"views\":{\"v\":{\"map\":\"f\"}}}", 1);
	CHECK_INT(views_open(v, db, "redefined", str("_design/e"), &ix), ERR_NOT_IMPLEMENTED);
	views_free(v);
	db_close(db);
}

/* They are brought up to date without anybody who asks, too. */
static void
test_background(void)
{
	struct views_config c = viewstest_config(viewstest_mem_store());
	struct db *db = create("background", 0);
	struct view_index *ix;
	struct views *v = NULL;

	c.max_updates = 1;
	c.background = 1;
	CHECK_INT(views_new(&c, &v), 0);
	put_ddoc(db, "_design/q", "1-a", VIEW("v", "{\"fields\":{\"x\":\"asc\"}}"));
	viewstest_put(db, "{\"_id\":\"a\",\"x\":1}", 1);
	views_moved(v, "background");
	ix = open_index(v, db, "background", "_design/q");
	while (!views_is_ready(ix))
		(void)usleep(1000);
	check_rows(ix, "v", "a [1];");
	views_close(ix);
	views_free(v);
	db_close(db);
}

int
main(int argc, char **argv)
{
	(void)argc;
	srandom(11);
	viewstest_begin(argv[0]);
	test_rows();
	test_special_members();
	test_partitions();
	test_extremes();
	test_ranges();
	test_random();
	test_first_build();
	test_redefined();
	test_background();
	return viewstest_end();
}
