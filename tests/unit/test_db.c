/* test_db.c: documents, revisions, attachments, counts and failures of a database, on both stores. */
#include "dbtest.h"

#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

static struct arena *arena;

/* body_is: The body of a revision (NULL: the winner); "" if it cannot be had. */
static int
body_is(struct db *db, const char *id, const char *rev, const char *want)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct revbuf r;
	struct revtree *t;
	struct revpos at;
	int ok = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, id, strlen(id), arena, &doc) == 0) {
		struct revnode *node = &doc.winner;

		if (rev != NULL) {
			struct rev wanted;

			CHECK_INT(rev_parse(rev, strlen(rev), &r), 0);
			wanted = rev_of(&r);
			CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
			node = revtree_find(t, &wanted, &at) ? revtree_at(t, at) : NULL;
		}
		if (node != NULL && db_doc_rev(&doc, node, arena, &content) == 0)
			ok = content.body.len == strlen(want) && memcmp(content.body.s, want, content.body.len) == 0;
		else
			ok = want[0] == '\0';
	} else {
		ok = want[0] == '\0';
	}
	db_snap_end(snap);
	return ok;
}

static void
test_edits(struct db *db)
{
	struct db_write w, again;
	char json[256];

	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"a\",\"n\":1}", 1, &w), 0);
	CHECK_STR(dbtest_rev_text(&w.rev), "1-731bef401491606a3b246ed178e697c1");
	CHECK(body_is(db, "a", NULL, "{\"n\":1}"));
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"a\",\"n\":2}", 1, &again), ERR_CONFLICT);
	snprintf(json, sizeof(json), "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":2}", dbtest_rev_text(&w.rev));
	CHECK_INT(dbtest_write(db, arena, json, 1, &again), 0);
	CHECK_STR(dbtest_rev_text(&again.rev), "2-c7b1fa7ae4e5ec669a544d4ef6eee928");
	CHECK_INT(dbtest_write(db, arena, json, 1, &w), ERR_CONFLICT);
	CHECK(body_is(db, "a", "1-731bef401491606a3b246ed178e697c1", "{\"n\":1}"));
	snprintf(json, sizeof(json), "{\"_id\":\"a\",\"_rev\":\"%s\",\"_deleted\":true}", dbtest_rev_text(&again.rev));
	CHECK_INT(dbtest_write(db, arena, json, 1, &w), 0);
	snprintf(json, sizeof(json), "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":3}", dbtest_rev_text(&w.rev));
	CHECK_INT(dbtest_write(db, arena, json, 1, &again), ERR_CONFLICT);
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"a\",\"n\":3}", 1, &again), 0);
	CHECK_INT(again.rev.gen, 4);
	dbtest_check(db);
}

static void
test_replicated(struct db *db)
{
	struct db_write w;
	struct db_info before, after;

	CHECK_INT(
	    dbtest_write(db, arena,
		"{\"_id\":\"r\",\"_rev\":\"3-c\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},\"v\":1}", 0,
		&w),
	    0);
	CHECK(w.seq != 0);
	CHECK_INT(
	    dbtest_write(db, arena,
		"{\"_id\":\"r\",\"_rev\":\"3-d\",\"_revisions\":{\"start\":3,\"ids\":[\"d\",\"b\",\"a\"]},\"v\":2}", 0,
		&w),
	    0);
	CHECK(body_is(db, "r", NULL, "{\"v\":2}"));
	CHECK(body_is(db, "r", "3-c", "{\"v\":1}"));
	CHECK_INT(db_info(db, &before), 0);
	CHECK_INT(
	    dbtest_write(db, arena,
		"{\"_id\":\"r\",\"_rev\":\"2-b\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"v\":9}", 0, &w),
	    0);
	CHECK_INT(w.seq, 0); /* history is passed over, also where its content was never seen */
	CHECK(!body_is(db, "r", "2-b", "{\"v\":9}"));
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"r\",\"_rev\":\"3-c\",\"v\":7}", 0, &w), 0);
	CHECK_INT(w.seq, 0);
	CHECK(body_is(db, "r", "3-c", "{\"v\":1}"));
	CHECK_INT(db_info(db, &after), 0);
	CHECK_INT(after.update_seq, before.update_seq);
	dbtest_check(db);
}

/* test_history: A long history stays in reach and is stemmed, and compaction leaves only leaves. */
static void
test_history(struct db *db)
{
	struct db_write w, limit = {.kind = DB_WRITE_REVS_LIMIT, .number = 100};
	struct db_request req = {.writes = &limit, .nwrites = 1};
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;
	struct rev *path;
	char json[256], first[REV_TEXT_MAX + 1], late[REV_TEXT_MAX + 1];
	size_t n;

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(limit.err, 0);
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"h\",\"n\":0}", 1, &w), 0);
	snprintf(first, sizeof(first), "%s", dbtest_rev_text(&w.rev));
	for (int i = 1; i < 300; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"h\",\"_rev\":\"%s\",\"n\":%d}", dbtest_rev_text(&w.rev), i);
		CHECK_INT(dbtest_write(db, arena, json, 1, &w), 0);
		if (i == 250)
			snprintf(late, sizeof(late), "%s", dbtest_rev_text(&w.rev));
	}
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_get(snap, "h", 1, arena, &doc), 0);
	CHECK(doc.record.len < 2000);
	CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
	CHECK_INT(db_doc_path(&doc, revtree_leaf_pos(t, 0), &path, &n), 0);
	CHECK_INT(n, 100);
	db_snap_end(snap);
	CHECK(body_is(db, "h", first, ""));
	CHECK(body_is(db, "h", late, "{\"n\":250}"));
	dbtest_check(db);
	/* A branch from a spilled ancestor. */
	snprintf(json, sizeof(json),
	    "{\"_id\":\"h\",\"_rev\":\"252-x\",\"_revisions\":{\"start\":252,\"ids\":[\"x\",\"%s\"]},\"b\":1}",
	    strchr(late, '-') + 1);
	CHECK_INT(dbtest_write(db, arena, json, 0, &w), 0);
	CHECK(body_is(db, "h", "252-x", "{\"b\":1}"));
	dbtest_check(db);
}

static void
compact_and_wait(struct db *db)
{
	struct db_info info;

	CHECK_INT(db_compact(db), 0);
	do {
		struct db_write w = {.kind = DB_WRITE_REVS_LIMIT, .number = 1000};
		struct db_request req = {.writes = &w, .nwrites = 1};

		CHECK_INT(dbtest_submit(db, &req), 0); /* writers are served meanwhile */
		CHECK_INT(db_info(db, &info), 0);
	} while (info.compact_running);
}

static void
test_compaction(struct db *db)
{
	struct db_info before, after;

	CHECK_INT(db_info(db, &before), 0);
	compact_and_wait(db);
	CHECK_INT(db_info(db, &after), 0);
	CHECK_INT(before.doc_count, after.doc_count);
	CHECK_INT(before.update_seq, after.update_seq);
	CHECK(body_is(db, "a", "1-731bef401491606a3b246ed178e697c1", ""));
	CHECK(body_is(db, "a", NULL, "{\"n\":3}"));
	dbtest_check(db);
}

/* ---- Attachments ---- */

static struct db_blob *
make_blob(struct db *db, enum db_blob_mode mode, const char *bytes, size_t len, int flush)
{
	struct db_blob *b;

	CHECK_INT(db_blob_new(db, mode, &b), 0);
	for (size_t at = 0; at < len; at += 1u << 20) {
		CHECK_INT(db_blob_add(b, bytes + at, len - at < 1u << 20 ? len - at : 1u << 20), 0);
		if (flush)
			CHECK_INT(dbtest_flush(b), 0);
	}
	CHECK_INT(db_blob_end(b), 0);
	return b;
}

static int
write_att(struct db *db, const char *id, const struct revbuf *parent, struct db_blob *blob, struct db_write *w)
{
	struct db_write_att att = {.name = {"photo.jpg", 9}, .type = {"image/jpeg", 10}, .blob = blob};
	struct db_request req = {.writes = w, .nwrites = 1};

	*w = (struct db_write){.kind = DB_WRITE_EDIT,
	    .id = {id, strlen(id)},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};
	if (parent != NULL) {
		w->has_parent = 1;
		w->parent = *parent;
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	return w->err;
}

static int
att_is(struct db *db, const char *id, const char *bytes, size_t len, uint64_t *blobp)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct buf b;
	int ok = 0, err;

	buf_init(&b, len + LIMIT_BLOB_CHUNK);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, id, strlen(id), arena, &doc) == 0 && db_doc_rev(&doc, &doc.winner, arena, &content) == 0 &&
	    content.natts == 1) {
		for (uint64_t i = 0; (err = db_att_read(snap, content.atts, i, &b)) == 0; i++)
			;
		ok = err == ERR_END && b.len == len && memcmp(b.data, bytes, len) == 0;
		*blobp = content.atts->blob;
	}
	db_snap_end(snap);
	buf_release(&b);
	return ok;
}

static void
test_attachments(struct db *db)
{
	size_t len = 3u << 20;
	char *bytes = malloc(len);
	struct db_blob *one, *two, *lost;
	struct db_write w, w2;
	struct revbuf rev;
	uint64_t b1 = 0, b2 = 0;

	hash_random(bytes, len);
	one = make_blob(db, DB_BLOB_PLAIN, bytes, len, 1);
	two = make_blob(db, DB_BLOB_PLAIN, bytes, len, 1);
	lost = make_blob(db, DB_BLOB_PLAIN, bytes, 1u << 20, 1);
	CHECK_INT(write_att(db, "att1", NULL, one, &w), 0);
	rev = w.rev;
	CHECK_INT(write_att(db, "att2", NULL, two, &w2), 0);
	CHECK(att_is(db, "att1", bytes, len, &b1));
	CHECK(att_is(db, "att2", bytes, len, &b2));
	CHECK_INT(b1, b2);                                   /* stored once */
	CHECK_INT(write_att(db, "att1", &rev, NULL, &w), 0); /* a stub */
	CHECK(att_is(db, "att1", bytes, len, &b1));
	CHECK_INT(write_att(db, "att9", NULL, NULL, &w), ERR_MISSING_STUB);
	CHECK_STR(w.why.text, "Invalid attachment stub in att9 for photo.jpg");
	CHECK_INT(write_att(db, "att1", &rev, lost, &w), ERR_CONFLICT);
	db_blob_free(one);
	db_blob_free(two);
	db_blob_free(lost);
	compact_and_wait(db);
	dbtest_check(db);
	free(bytes);
}

/* ---- Scans and counts ---- */

static void
test_scans(struct db *db)
{
	struct db_range range = {.has_start = 1, .start = {"s0100", 5}, .skip = 10};
	struct db_write *w = calloc(500, sizeof(*w));
	struct db_request req = {.writes = w, .nwrites = 500};
	char(*ids)[8] = calloc(500, sizeof(*ids));
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct db_change row;
	uint64_t n, pending, seq;

	for (unsigned i = 0; i < 500; i++) { /* in no order */
		snprintf(ids[i], sizeof(*ids), "s%04u", i * 7 % 500);
		w[i] = (struct db_write){
		    .kind = DB_WRITE_EDIT, .id = {ids[i], 5}, .body = {"{}", 2}, .body_etf = {"h\001j", 3}};
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	for (unsigned i = 0; i < 500; i++)
		CHECK_INT(w[i].err, 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_before(snap, "s0100", 5, &n), 0);
	CHECK_INT(db_docs_before(snap, "s0200", 5, &pending), 0);
	CHECK_INT(pending - n, 100);
	CHECK_INT(db_docs_open(snap, &range, &scan), 0);
	CHECK_INT(db_docs_next(scan, arena, &doc), 0);
	CHECK_MEM(doc.id.s, doc.id.len, "s0110", 5);
	db_scan_close(scan);
	range.descending = 1;
	CHECK_INT(db_docs_open(snap, &range, &scan), 0);
	CHECK_INT(db_docs_next(scan, arena, &doc), 0);
	CHECK_MEM(doc.id.s, doc.id.len, "s0090", 5);
	db_scan_close(scan);
	range.skip = UINT64_MAX;
	CHECK_INT(db_docs_open(snap, &range, &scan), 0);
	CHECK_INT(db_docs_next(scan, arena, &doc), ERR_END);
	db_scan_close(scan);
	CHECK_INT(db_snap_seq(snap, &seq), 0);
	CHECK_INT(db_changes_pending(snap, seq - 30, &pending), 0);
	CHECK_INT(db_changes_open(snap, seq - 30, 0, &scan), 0);
	for (n = 0; db_changes_next(scan, arena, &row) == 0; n++)
		CHECK(row.seq > seq - 30);
	CHECK_INT(n, pending);
	db_scan_close(scan);
	db_snap_end(snap);
	free(w);
	free(ids);
}

/* test_large: A request beyond what one transaction holds is made in several, and answered once. */
static void
test_large(struct db *db)
{
	size_t len = 7000000;
	char *body = malloc(len);
	struct db_write w[4];
	struct db_request req = {.writes = w, .nwrites = 4};
	static const char *const ids[] = {"large1", "large2", "large3", "large4"};

	memset(body, 'x', len);
	memcpy(body, "{\"s\":\"", 6);
	memcpy(body + len - 2, "\"}", 2);
	for (int i = 0; i < 4; i++)
		w[i] = (struct db_write){
		    .kind = DB_WRITE_EDIT, .id = {ids[i], 6}, .body = {body, len}, .body_etf = {"h\001j", 3}};
	CHECK_INT(dbtest_submit(db, &req), 0);
	for (int i = 0; i < 4; i++) {
		CHECK_INT(w[i].err, 0);
		CHECK(w[i].seq != 0);
	}
	dbtest_check(db);
	free(body);
}

static void
test_long_ids(struct db *db)
{
	static char id[3][LIMIT_ID_LEN];
	struct db_write w[3];
	struct db_request req = {.writes = w, .nwrites = 3};
	struct db_snap *snap;
	struct db_doc doc;

	for (int i = 0; i < 3; i++) {
		memset(id[i], 'x', sizeof(id[i]));
		id[i][5000] = (char)('c' - i);
		w[i] = (struct db_write){
		    .kind = DB_WRITE_EDIT, .id = {id[i], sizeof(id[i])}, .body = {"{}", 2}, .body_etf = {"h\001j", 3}};
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(w[i].err, 0);
		CHECK_INT(db_get(snap, id[i], sizeof(id[i]), arena, &doc), 0);
	}
	CHECK_INT(db_get(snap, id[0], 5000, arena, &doc), ERR_MISSING);
	db_snap_end(snap);
	dbtest_check(db);
}

/* ---- Purging ---- */

static void
test_purge(struct db *db)
{
	struct db_write w, purge;
	struct db_request req = {.writes = &purge, .nwrites = 1};
	struct revbuf leaf[2];
	struct rev revs[2];
	struct db_info before, after;
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_purge found;
	unsigned char purged[2];
	char json[512];
	size_t at;

	CHECK_INT(db_info(db, &before), 0);
	/* A history long enough to be spilled, with a conflict. */
	at = (size_t)snprintf(
	    json, sizeof(json), "{\"_id\":\"p\",\"_rev\":\"90-x89\",\"_revisions\":{\"start\":90,\"ids\":[");
	for (int i = 89; i >= 30; i--)
		at += (size_t)snprintf(json + at, sizeof(json) - at, "%s\"x%d\"", i == 89 ? "" : ",", i);
	snprintf(json + at, sizeof(json) - at, "]}}");
	CHECK_INT(dbtest_write(db, arena, json, 0, &w), 0);
	leaf[0] = w.rev;
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"p\",\"_rev\":\"5-z\"}", 0, &w), 0);
	leaf[1] = w.rev;
	dbtest_check(db);
	for (int i = 0; i < 2; i++)
		revs[i] = rev_of(&leaf[i]);
	purge = (struct db_write){.kind = DB_WRITE_PURGE, .id = {"p", 1}, .path = revs, .npath = 1, .purged = purged};
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(purge.err, 0);
	CHECK_INT(purged[0], 1);
	CHECK(body_is(db, "p", "5-z", "{}"));
	CHECK(body_is(db, "p", "90-x89", ""));
	dbtest_check(db);
	purge.npath = 2;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(purged[0], 0);
	CHECK_INT(purged[1], 1);
	CHECK(body_is(db, "p", NULL, ""));
	dbtest_check(db);
	CHECK_INT(db_info(db, &after), 0);
	CHECK_INT(after.doc_count, before.doc_count);
	CHECK_INT(after.purge_seq, before.purge_seq + 2);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_purges_open(snap, after.purge_seq - 1, &scan), 0);
	CHECK_INT(db_purges_next(scan, arena, &found), 0);
	CHECK_INT(found.seq, after.purge_seq);
	CHECK_INT(found.nrevs, 2);
	CHECK(rev_equal(&found.revs[1], &revs[1]));
	CHECK_INT(db_purges_next(scan, arena, &found), ERR_END);
	db_scan_close(scan);
	db_snap_end(snap);
}

/* ---- Conditional requests, conflicts by many writers ---- */

static void
test_condition(struct db *db)
{
	struct db_write w, merge[2];
	struct db_request req = {.writes = merge, .nwrites = 2, .nleaves = 2};
	struct revbuf leaf[2], out;
	struct rev leaves[2], path[2][2];

	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"m\",\"_rev\":\"1-a\",\"v\":1}", 0, &w), 0);
	leaf[0] = w.rev;
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"m\",\"_rev\":\"1-b\",\"v\":2}", 0, &w), 0);
	leaf[1] = w.rev;
	CHECK_INT(rev_parse("2-c", 3, &out), 0);
	for (int i = 0; i < 2; i++) {
		leaves[i] = rev_of(&leaf[i]);
		path[i][0] = rev_of(&out);
		path[i][1] = leaves[i];
		merge[i] = (struct db_write){.kind = DB_WRITE_REPLICATE,
		    .id = {"m", 1},
		    .path = path[i],
		    .npath = 2,
		    .deleted = i == 0,
		    .body = {"{}", 2}};
	}
	path[0][0].id = (const unsigned char *)"d";
	req.leaves = leaves;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(merge[0].err, 0);
	CHECK_INT(merge[1].err, 0);
	CHECK_INT(dbtest_submit(db, &req), 0); /* the leaves are others now */
	CHECK_INT(merge[0].err, ERR_CHANGED);
	CHECK_INT(merge[1].err, ERR_CHANGED);
	dbtest_check(db);
}

struct racer {
	struct db *db;
	unsigned wins;
};

static void *
race(void *arg)
{
	struct racer *r = arg;
	struct arena *a;
	struct db_write w;
	char json[64];

	CHECK_INT(arena_new(64u << 20, &a), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"race%u\",\"by\":%lu}", i, (unsigned long)(uintptr_t)arg);
		if (dbtest_write(r->db, a, json, 1, &w) == 0)
			r->wins++;
	}
	arena_free(a);
	return NULL;
}

static void
test_race(struct db *db)
{
	pthread_t threads[4];
	struct racer racers[4] = {{NULL, 0}};
	unsigned wins = 0;

	for (int i = 0; i < 4; i++) {
		racers[i].db = db;
		CHECK_INT(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		wins += racers[i].wins;
	}
	CHECK_INT(wins, 100); /* of each document exactly one writer made it */
	dbtest_check(db);
}

/* A file that is closed, since too many are open, and opened again is the same database; one made anew is not. */
static void
test_closed(void)
{
	uint64_t before = 0, now;
	struct store *store;
	char name[16];
	struct dbs *s;
	struct db *db;

	CHECK_INT(store_mem_new(&store), 0);
	s = dbtest_dbs(store);
	CHECK_INT(dbs_create(s, "one", NULL, &dbtest_admin, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		db = dbtest_open(s, "one");
		now = db_incarnation(db);
		CHECK(now != 0 && (i == 0 || now == before));
		before = now;
		db_close(db);
		for (unsigned n = 0; n <= LIMIT_OPEN_DBS; n++) {
			snprintf(name, sizeof(name), "n%u-%u", i, n);
			CHECK_INT(dbs_create(s, name, NULL, &dbtest_admin, NULL), 0);
		}
	}
	CHECK_INT(dbs_drop(s, "one", &dbtest_admin), 0); /* while it is closed */
	CHECK_INT(dbs_create(s, "one", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(s, "one");
	CHECK(db_incarnation(db) != before);
	db_close(db);
	dbs_free(s);
}

/* What opens a name while its database is dropped. */
struct opener {
	struct dbs *s;
	pthread_t thread;
	_Atomic int tid;
	struct db *db;
	int err;
};

static void *
open_dropped(void *arg)
{
	struct opener *o = arg;

	o->tid = gettid();
	o->err = db_open(o->s, "d", &dbtest_admin, &o->db);
	return NULL;
}

static int
sleeps(const struct opener *o)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", o->tid);
	if (o->tid != 0 && (f = fopen(path, "r")) != NULL) {
		if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		(void)fclose(f);
	}
	return state == 'S';
}

static void
dropping(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct opener *o = cookie;

	(void)name;
	(void)incarnation;
	(void)seq;
	if (!dropped)
		return;
	CHECK_INT(pthread_create(&o->thread, NULL, open_dropped, o), 0);
	while (!sleeps(o))
		(void)sched_yield();
}

/* test_drop_wakes: Who waits for a name goes on when it is free, though somebody still has a handle on what it was. */
static void
test_drop_wakes(void)
{
	struct opener o = {.err = -1};
	struct dbs_config config = {
	    .ex = exec_threads_executor(dbtest_threads), .moved = dropping, .cookie = &o};
	struct db *old;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &o.s), 0);
	dbtest_create(o.s, "d");
	old = dbtest_open(o.s, "d");
	CHECK_INT(dbs_drop(o.s, "d", &dbtest_admin), 0);
	CHECK_INT(pthread_join(o.thread, NULL), 0);
	CHECK_INT(o.err, ERR_NO_DB);
	db_close(old);
	dbs_free(o.s);
}

/* ---- Failures ---- */

static void
test_failures(void)
{
	struct store *store;
	struct dbs *s;
	struct db *db;
	struct db_write w;
	struct db_info info;

	CHECK_INT(store_mem_new(&store), 0);
	s = dbtest_dbs(store);
	CHECK_INT(dbs_create(s, "f", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(s, "f");
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"a\"}", 1, &w), 0);
	store_mem_fail(store, 1, ERR_NOSPACE, 0);
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"b\"}", 1, &w), ERR_NOSPACE);
	CHECK(body_is(db, "b", NULL, ""));
	CHECK(body_is(db, "a", NULL, "{}"));
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"b\"}", 1, &w), 0);
	store_mem_fail(store, 1, ERR_IN_DOUBT, 1); /* it was made after all */
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"c\"}", 1, &w), 0);
	CHECK(body_is(db, "c", NULL, "{}"));
	store_mem_fail(store, 1, ERR_IN_DOUBT, 0); /* it was not */
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"d\"}", 1, &w), ERR_IO);
	CHECK(body_is(db, "d", NULL, ""));
	CHECK_INT(dbtest_write(db, arena, "{\"_id\":\"d\"}", 1, &w), 0);
	CHECK_INT(db_info(db, &info), 0);
	CHECK_INT(info.doc_count, 4);
	CHECK_INT(info.update_seq, 4);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
}

/* test_making_fails: One that could not be made is not there, least of all as something else than what was asked for. */
static void
test_making_fails(void)
{
	static const int codes[] = {ERR_NOSPACE, ERR_IO, ERR_IN_DOUBT};
	const struct db_options options = {.partitioned = 1};
	struct store *store;
	struct dbs *s;
	struct db *db;

	CHECK_INT(store_mem_new(&store), 0);
	s = dbtest_dbs(store);
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		store_mem_fail(store, 1, codes[i], 1);
		CHECK_INT(dbs_create(s, "p", &options, &dbtest_admin, NULL), codes[i]);
		if (!CHECK_INT(db_open(s, "p", &dbtest_admin, &db), ERR_NO_DB))
			db_close(db);
	}
	CHECK_INT(dbs_create(s, "p", &options, &dbtest_admin, NULL), 0);
	db = dbtest_open(s, "p");
	CHECK(db_is_partitioned(db));
	db_close(db);
	dbs_free(s);
}

static void
test_names(struct dbs *s)
{
	struct errtext why;
	struct principal nobody = {NULL, NULL, 0, 0};
	struct db_options closed = {.security = {"{\"members\":{\"names\":[\"x\"]}}", 27}};
	struct db *old, *db;
	struct db_write w;

	CHECK_INT(dbs_create(s, "Upper", NULL, &dbtest_admin, &why), ERR_ILLEGAL_DB_NAME);
	CHECK_INT(dbs_create(s, "a/b", NULL, &nobody, &why), ERR_NOT_ADMIN);
	CHECK_INT(dbs_create(s, "a/b", NULL, &dbtest_admin, &why), 0);
	CHECK_INT(dbs_create(s, "a/b", NULL, &dbtest_admin, &why), ERR_DB_EXISTS);
	old = dbtest_open(s, "a/b");
	CHECK_INT(dbtest_write(old, arena, "{\"_id\":\"old\"}", 1, &w), 0);
	CHECK_INT(dbs_drop(s, "a/b", &dbtest_admin), 0);
	CHECK_INT(dbs_create(s, "a/b", &closed, &dbtest_admin, &why), 0);
	CHECK_INT(db_open(s, "a/b", &nobody, &db), ERR_UNAUTHORIZED);
	db = dbtest_open(s, "a/b");
	CHECK(db_incarnation(db) != db_incarnation(old));
	CHECK(body_is(db, "old", NULL, ""));
	CHECK_INT(dbtest_write(old, arena, "{\"_id\":\"late\"}", 1, &w), ERR_INTERNAL); /* cannot be queued */
	db_close(old);
	db_close(db);
	CHECK_INT(dbs_drop(s, "a/b", &dbtest_admin), 0);
	CHECK_INT(dbs_drop(s, "a/b", &dbtest_admin), ERR_NO_DB);
}

static void
test_seqs(struct dbs *s, struct db *db)
{
	struct buf b;
	uint64_t seq;
	struct db *other;

	buf_init(&b, 256);
	CHECK_INT(db_seq_put(db, &b, 7), 0);
	CHECK_INT(db_seq_parse(db, b.data, b.len, &seq), 0);
	CHECK_INT(seq, 7);
	CHECK_INT(dbs_create(s, "other", NULL, &dbtest_admin, NULL), 0);
	other = dbtest_open(s, "other");
	CHECK_INT(db_seq_parse(other, b.data, b.len, &seq), 0);
	CHECK_INT(seq, 0); /* another history */
	CHECK_INT(db_seq_parse(db, "x-1", 3, &seq), ERR_BAD_REQUEST);
	db_close(other);
	buf_release(&b);
}

static void
test_store(struct store *store)
{
	struct dbs *s = dbtest_dbs(store);
	struct db *db;

	CHECK_INT(dbs_create(s, "db", NULL, &dbtest_admin, NULL), 0);
	db = dbtest_open(s, "db");
	test_edits(db);
	test_replicated(db);
	test_history(db);
	test_compaction(db);
	test_attachments(db);
	test_scans(db);
	test_large(db);
	test_long_ids(db);
	test_purge(db);
	test_condition(db);
	test_race(db);
	test_names(s);
	test_seqs(s, db);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
}

/* test_reopen: What was written is there when the server starts again; a file that was moved has a new history. */
static void
test_reopen(const char *dir)
{
	struct store *store;
	struct dbs *s;
	struct db *db;
	struct db_info info;
	struct buf before, after;

	buf_init(&before, 256);
	buf_init(&after, 256);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(store_lmdb_new(dir, &store), 0);
		s = dbtest_dbs(store);
		db = dbtest_open(s, "db");
		CHECK_INT(db_info(db, &info), 0);
		CHECK(info.doc_count > 600);
		dbtest_check(db);
		CHECK_INT(db_seq_put(db, i == 0 ? &before : &after, info.update_seq), 0);
		db_close(db);
		dbs_free(s);
	}
	CHECK_MEM(before.data, before.len, after.data, after.len);
	buf_release(&before);
	buf_release(&after);
}

static void
copy_file(const char *dir, const char *from, const char *to)
{
	char command[512];

	/* Overwrites in place, as cp does: the inode stays. */
	snprintf(command, sizeof(command), "cat %s/%s > %s/%s", dir, from, dir, to);
	CHECK_INT(system(command), 0);
}

/* put_back_open: Open "db" of the folder, note its wire sequence for ${seq}, write ${n} documents named by ${tag}.  Its incarnation. */
static uint64_t
put_back_open(const char *dir, const char *tag, int n, uint64_t seq, struct buf *wire, uint64_t *sharedp)
{
	struct store *store;
	struct db_write w;
	uint64_t incarnation;
	char json[64];
	struct dbs *s;
	struct db *db;

	CHECK_INT(store_lmdb_new(dir, &store), 0);
	s = dbtest_dbs(store);
	db = dbtest_open(s, "db");
	for (int i = 0; i < n; i++) {
		snprintf(json, sizeof(json), "{\"_id\":\"%s%d\"}", tag, i);
		CHECK_INT(dbtest_write(db, arena, json, 1, &w), 0);
	}
	if (sharedp != NULL)
		CHECK_INT(db_seq_parse(db, wire->data, wire->len, sharedp), 0);
	buf_clear(wire);
	CHECK_INT(db_seq_put(db, wire, seq), 0);
	incarnation = db_incarnation(db);
	db_close(db);
	dbs_free(s);
	return incarnation;
}

/* test_put_back: An older content of the file, put back in place, is noticed: what was seen beyond it is not taken for granted. */
static void
test_put_back(const char *dir)
{
	struct store *store;
	struct dbs *s;
	struct buf wire;
	uint64_t shared, first, second;

	buf_init(&wire, 256);
	CHECK_INT(store_lmdb_new(dir, &store), 0);
	s = dbtest_dbs(store);
	CHECK_INT(dbs_drop(s, "db", &dbtest_admin), 0);
	CHECK_INT(dbs_create(s, "db", NULL, &dbtest_admin, NULL), 0);
	dbs_free(s);
	first = put_back_open(dir, "a", 3, 3, &wire, NULL);
	copy_file(dir, "db.divan", "backup");
	CHECK(put_back_open(dir, "b", 4, 7, &wire, &shared) == first);
	CHECK_INT(shared, 3);
	copy_file(dir, "backup", "db.divan");
	second = put_back_open(dir, "c", 1, 4, &wire, &shared);
	CHECK(second != first);
	CHECK_INT(shared, 3); /* of the seven that were seen, the file still has three */
	CHECK(put_back_open(dir, "d", 0, 4, &wire, &shared) == second);
	CHECK_INT(shared, 4); /* and nothing else happened since */
	buf_release(&wire);
}

int
main(void)
{
	char dir[] = "/tmp/divan-test-db-XXXXXX", command[64];
	struct store *store;

	alarm(300);
	CHECK(mkdtemp(dir) != NULL);
	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 30, &arena), 0);
	CHECK_INT(store_mem_new(&store), 0);
	test_store(store);
	CHECK_INT(store_lmdb_new(dir, &store), 0);
	test_store(store);
	test_reopen(dir);
	test_put_back(dir);
	test_closed();
	test_drop_wakes();
	test_failures();
	test_making_fails();
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
