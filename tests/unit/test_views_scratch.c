/*
 * Indexes of real databases, by real functions: after whatever was written, deleted, purged, reopened and compacted, what an index has, rows
 * and reductions, is what one has that is built from scratch.
 */
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "viewstest.h"

#define DOCS 150
#define ROUNDS 12

static unsigned
below(unsigned n)
{
	return (unsigned)random() % n;
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
	struct views *fresh = viewstest_start(viewstest_mem_store());
	struct view_index *built = viewstest_open(fresh, db, id);
	struct buf a, b;

	buf_init(&a, 1u << 28);
	buf_init(&b, 1u << 28);
	viewstest_update(ix, db, NULL);
	viewstest_update(built, db, NULL);
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
		viewstest_put(db, b.data, kind != 1);
	}
	buf_release(&b);
	arena_free(a);
}

/* ---- The tests ---- */

static void
test_model(void)
{
	struct store *store = viewstest_open_store();
	struct views *v = viewstest_start(store);
	struct db *db = dbtest_open(viewstest_dbs, "db");
	struct view_index *ix, *all;

	viewstest_put_designs(db);
	ix = viewstest_open(v, db, "_design/d");
	all = viewstest_open(v, db, "_design/all");
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
			v = viewstest_start(viewstest_open_store());
			ix = viewstest_open(v, db, "_design/d");
			all = viewstest_open(v, db, "_design/all");
		}
	}
	views_close(ix);
	views_close(all);
	views_free(v);
	db_close(db);
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
	struct views *v = viewstest_start(viewstest_open_store());
	struct db *db = dbtest_open(viewstest_dbs, "db");
	struct view_index *ix = viewstest_open(v, db, "_design/d");
	struct read_info before, after;
	unsigned tasks = 0;
	char json[4200];

	memset(json, 'x', sizeof(json));
	for (unsigned i = 0; i < 600; i++) {
		int n = snprintf(json, sizeof(json), "{\"_id\":\"zz%u\",\"_rev\":\"1-a\",\"n\":3,\"k\":\"", i);

		memset(json + n, 'x', 4000);
		snprintf(json + n + 4000, sizeof(json) - (size_t)n - 4000, "\"}");
		viewstest_put(db, json, 0);
	}
	viewstest_update(ix, db, NULL);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(json, sizeof(json),
		    "{\"_id\":\"zz%u\",\"_rev\":\"2-a\",\"_deleted\":true,\"_revisions\":{\"start\":2,\"ids\":[\"a\","
		    "\"a\"]}}",
		    i);
		viewstest_put(db, json, 0);
	}
	viewstest_update(ix, db, NULL);
	CHECK_INT(read_info(ix, &before), 0);
	CHECK(before.file_bytes > 2 * before.active_bytes);
	CHECK_INT(views_compact(ix), 0);
	CHECK_INT(views_compact(ix), 0);
	CHECK_INT(views_tasks(v, count_task, &tasks), 0);
	CHECK(tasks <= 1);
	for (unsigned i = 0; i < 20; i++) {
		change(db);
		viewstest_update(ix, db, NULL);
	}
	wait_compacted(ix, &after);
	CHECK(after.file_bytes < before.file_bytes / 2);
	check_scratch(ix, db, "_design/d");
	views_close(ix);
	views_free(v);
	v = viewstest_start(viewstest_open_store());
	ix = viewstest_open(v, db, "_design/d");
	CHECK_INT(read_info(ix, &after), 0);
	CHECK(after.file_bytes < before.file_bytes / 2);
	check_scratch(ix, db, "_design/d");
	/* Views that close do not wait for it to be done. */
	CHECK_INT(views_compact(ix), 0);
	views_close(ix);
	views_free(v);
	db_close(db);
}

int
main(int argc, char **argv)
{
	(void)argc;
	srandom(7);
	viewstest_begin(argv[0]);
	test_model();
	test_compact();
	return viewstest_end();
}
