/*
 * test_db_history.c: what compaction leaves of superseded bodies: fork points, the last ones and young ones as the setting
 * has it, with their attachments; and what it does about damaged ones.
 */
#include "bodytest.h"

#include <stdio.h>
#include <string.h>

#include "db/dbi.h"
#include "dbdamage.h"

/* ---- Fork points ---- */

static void
test_fork(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "fork");
	struct revbuf one, two, other, gone;

	CHECK_INT(bodytest_write_json(db, 1, &one, "{\"_id\":\"d\",\"n\":1}"), 0);
	CHECK_INT(
	    bodytest_write_json(db, 1, &two, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2}", dbtest_rev_text(&one)), 0);
	CHECK_INT(
	    bodytest_write_json(db, 0, &other,
		"{\"_id\":\"d\",\"_rev\":\"2-ffffffffffffffffffffffffffffffff\",\"n\":3,\"_revisions\":{\"start\":2,"
		"\"ids\":[\"ffffffffffffffffffffffffffffffff\",\"%s\"]}}",
		dbtest_rev_text(&one) + 2),
	    0);
	CHECK(bodytest_body_is(db, "d", &one, BODYTEST_CLIENTS, "{\"n\":1}"));
	CHECK(bodytest_superseded(db) > 0);
	for (int i = 0; i < 2; i++) {
		bodytest_compact(db);
		CHECK(bodytest_body_is(db, "d", &one, BODYTEST_CLIENTS, ""));
		CHECK(bodytest_body_is(db, "d", &one, BODYTEST_MERGERS, "{\"n\":1}"));
		CHECK(bodytest_body_is(db, "d", &two, BODYTEST_CLIENTS, "{\"n\":2}"));
		CHECK(bodytest_body_is(db, "d", &other, BODYTEST_CLIENTS, "{\"n\":3}"));
		CHECK_INT(bodytest_superseded(db), 0); /* what compaction has decided to keep is no waste */
	}
	/* It is there still for those who merge, when the leaves have gone on. */
	CHECK_INT(
	    bodytest_write_json(db, 1, &two, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", dbtest_rev_text(&two)), 0);
	CHECK(bodytest_superseded(db) > 0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &one, BODYTEST_MERGERS, "{\"n\":1}"));
	CHECK_INT(bodytest_write_json(
		      db, 1, &gone, "{\"_id\":\"d\",\"_rev\":\"%s\",\"_deleted\":true}", dbtest_rev_text(&other)),
	    0);
	CHECK(bodytest_body_is(db, "d", &one, BODYTEST_MERGERS, "{\"n\":1}"));
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &one, BODYTEST_MERGERS, "")); /* the conflict is gone */
	db_close(db);
}

/* A body that comes again, with ancestors that were not known, is everybody's; the next compaction does not keep two. */
static void
test_sent_again(struct dbs *s)
{
	static const char two[] = "2-22222222222222222222222222222222";
	struct db *db = bodytest_new_db(s, "again");
	struct revbuf rev;

	CHECK_INT(bodytest_write_json(db, 0, &rev, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2}", two), 0);
	CHECK_INT(bodytest_write_json(db, 1, NULL, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":3}", two), 0);
	bodytest_set_kept(db, 1, 0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &rev, BODYTEST_CLIENTS, ""));
	CHECK(bodytest_body_is(db, "d", &rev, BODYTEST_MERGERS, "{\"n\":2}"));
	CHECK_INT(bodytest_write_json(db, 0, NULL,
		      "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":2,\"_revisions\":{\"start\":2,\"ids\":[\"%s\","
		      "\"11111111111111111111111111111111\"]}}",
		      two, two + 2),
	    0);
	CHECK(bodytest_body_is(db, "d", &rev, BODYTEST_CLIENTS, "{\"n\":2}"));
	dbtest_check(db);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &rev, BODYTEST_CLIENTS, ""));
	CHECK(bodytest_body_is(db, "d", &rev, BODYTEST_MERGERS, "{\"n\":2}"));
	db_close(db);
}

/* ---- The setting ---- */

static void
test_last_bodies(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "last");
	struct db_info info;
	struct revbuf revs[101];
	char body[32];

	bodytest_set_kept(db, 3, 0);
	CHECK_INT(db_info(db, &info), 0);
	CHECK_INT(info.keep_revs, 3);
	CHECK_INT(info.keep_seconds, 0);
	bodytest_edits(db, "d", 100, revs); /* older ones are spilled */
	bodytest_compact(db);
	for (unsigned i = 1; i <= 100; i++) {
		(void)snprintf(body, sizeof(body), "{\"n\":%u}", i);
		CHECK(bodytest_body_is(db, "d", &revs[i], BODYTEST_CLIENTS, i == 100 ? body : ""));
		CHECK(bodytest_body_is(db, "d", &revs[i], BODYTEST_MERGERS, i >= 97 ? body : ""));
	}
	bodytest_set_kept(db, 1, 0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[98], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[99], BODYTEST_MERGERS, "{\"n\":99}"));
	/* Nothing is kept of what is deleted. */
	CHECK_INT(bodytest_write_json(
		      db, 1, NULL, "{\"_id\":\"d\",\"_rev\":\"%s\",\"_deleted\":true}", dbtest_rev_text(&revs[100])),
	    0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[99], BODYTEST_MERGERS, ""));
	db_close(db);
}

/* Kept bodies in spilled blocks: found, and dropped once they are not wanted. */
static void
test_spilled(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "spilled");
	struct revbuf revs[101];

	bodytest_set_kept(db, 90, 0);
	bodytest_edits(db, "d", 100, revs);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[9], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[10], BODYTEST_MERGERS, "{\"n\":10}"));
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[10], BODYTEST_MERGERS, "{\"n\":10}"));
	bodytest_set_kept(db, 0, 0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[10], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[99], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[100], BODYTEST_CLIENTS, "{\"n\":100}"));
	db_close(db);
}

static void
test_young_bodies(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "young");
	struct revbuf revs[6], late;

	bodytest_edits(db, "d", 3, revs);
	bodytest_set_kept(db, 0, 3200); /* noted each 101 seconds */
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[1], BODYTEST_MERGERS, "{\"n\":1}")); /* counts from the setting on */
	bodytest_wall_s += 2000;
	CHECK_INT(
	    bodytest_write_json(db, 1, &revs[4], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":4}", dbtest_rev_text(&revs[3])),
	    0);
	bodytest_wall_s += 1300;
	bodytest_compact(db); /* 3,300 seconds after the setting */
	CHECK(bodytest_body_is(db, "d", &revs[1], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[2], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &revs[3], BODYTEST_MERGERS, "{\"n\":3}"));
	bodytest_wall_s -= 1000; /* a clock that goes back drops nothing */
	CHECK_INT(
	    bodytest_write_json(db, 1, &late, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":5}", dbtest_rev_text(&revs[4])), 0);
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[3], BODYTEST_MERGERS, "{\"n\":3}"));
	bodytest_wall_s -=
	    1000000; /* nor does one that is wrong for a while, as at the start of a machine without one */
	CHECK_INT(
	    bodytest_write_json(db, 1, &revs[5], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":6}", dbtest_rev_text(&late)), 0);
	bodytest_wall_s += 1000000;
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[3], BODYTEST_MERGERS, "{\"n\":3}"));
	CHECK(bodytest_body_is(db, "d", &late, BODYTEST_MERGERS, "{\"n\":5}"));
	bodytest_wall_s += 1000;
	CHECK_INT(
	    bodytest_write_json(db, 1, &late, "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":7}", dbtest_rev_text(&revs[5])), 0);
	bodytest_wall_s += 5000;
	bodytest_compact(db);
	CHECK(bodytest_body_is(db, "d", &revs[3], BODYTEST_MERGERS, ""));
	CHECK(bodytest_body_is(db, "d", &late, BODYTEST_CLIENTS, "{\"n\":7}"));
	db_close(db);
}

/* count_of: How often a revision is in a tree. */
struct count_of {
	struct rev rev;
	unsigned n;
};

static int
count_rev(struct revnode *node, struct revpos at, void *cookie)
{
	struct count_of *c = cookie;

	(void)at;
	c->n += rev_equal(&node->rev, &c->rev) != 0;
	return 0;
}

/* A path that gives a spilled revision another parent: the revision stays where it is, and is there once. */
static void
test_contradiction(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "contradiction");
	struct revbuf revs[101];
	struct count_of count = {.n = 0};
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;

	bodytest_edits(db, "d", 100, revs);
	CHECK_INT(
	    bodytest_write_json(db, 0, NULL, "{\"_id\":\"d\",\"_rev\":\"39-eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"}"), 0);
	CHECK_INT(bodytest_write_json(db, 0, NULL,
		      "{\"_id\":\"d\",\"_rev\":\"41-dddddddddddddddddddddddddddddddd\",\"_revisions\":{\"start\":41,"
		      "\"ids\":[\"dddddddddddddddddddddddddddddddd\",\"%s\",\"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\"]}}",
		      dbtest_rev_text(&revs[40]) + 3),
	    0);
	dbtest_check(db);
	count.rev = rev_of(&revs[40]);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_get(snap, "d", 1, bodytest_arena, &doc), 0);
	CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
	CHECK(revtree_valid(t));
	CHECK_INT(revtree_nleaves(t), 3);
	CHECK_INT(revtree_each(t, count_rev, &count), 0);
	CHECK_INT(count.n, 1);
	db_snap_end(snap);
	bodytest_compact(db);
	db_close(db);
}

/* ---- Attachments ---- */

static int
write_atts(struct db *db, const struct revbuf *parent, struct db_blob *blob, size_t n, struct db_write *w)
{
	struct db_write_att att = {.name = {"file", 4}, .type = {"image/png", 9}, .blob = blob};
	struct db_request req = {.writes = w, .nwrites = 1};

	*w = (struct db_write){.kind = DB_WRITE_EDIT,
	    .id = {"d", 1},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = n};
	if (parent != NULL) {
		w->has_parent = 1;
		w->parent = *parent;
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	return w->err;
}

static int
base_att_is(struct db *db, const struct revbuf *rev, const char *want)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct revtree *t;
	struct revpos at;
	struct buf b;
	int ok = 0;

	buf_init(&b, 100);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, "d", 1, bodytest_arena, &doc) == 0 && db_doc_tree(&doc, 1, &t) == 0 &&
	    revtree_find(t, &wanted, &at) && db_doc_base(&doc, revtree_at(t, at), bodytest_arena, &content) == 0 &&
	    content.natts == 1)
		ok = db_att_read(snap, content.atts, 0, &b) == 0 && b.len == strlen(want) &&
		     memcmp(b.data, want, b.len) == 0;
	db_snap_end(snap);
	buf_release(&b);
	return ok;
}

static void
test_attachments(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "atts");
	struct db_blob *blob;
	struct db_write w;
	struct revbuf one;

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &blob), 0);
	CHECK_INT(db_blob_add(blob, "attached", 8), 0);
	CHECK_INT(db_blob_end(blob), 0);
	CHECK_INT(write_atts(db, NULL, blob, 1, &w), 0);
	db_blob_free(blob);
	one = w.rev;
	CHECK_INT(write_atts(db, &one, NULL, 0, &w), 0);
	bodytest_set_kept(db, 1, 0);
	bodytest_compact(db);
	CHECK(base_att_is(db, &one, "attached"));
	bodytest_set_kept(db, 0, 0);
	bodytest_compact(db); /* db_check() tells of blobs that are nobody's */
	CHECK(!base_att_is(db, &one, "attached"));
	db_close(db);
}

/* ---- Stemming and purging take what is kept ---- */

static void
test_removed(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "removed");
	struct revbuf revs[6];
	struct rev path;
	unsigned char purged = 0;
	struct db_write limit = {.kind = DB_WRITE_REVS_LIMIT, .number = 2};
	struct db_write purge = {.kind = DB_WRITE_PURGE, .id = {"p", 1}, .path = &path, .npath = 1, .purged = &purged};
	struct db_request req = {.writes = &limit, .nwrites = 1};

	bodytest_set_kept(db, 10, 0);
	bodytest_edits(db, "d", 4, revs);
	bodytest_compact(db);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(
	    bodytest_write_json(db, 1, &revs[5], "{\"_id\":\"d\",\"_rev\":\"%s\",\"n\":5}", dbtest_rev_text(&revs[4])),
	    0);
	dbtest_check(db);
	CHECK(bodytest_body_is(db, "d", &revs[4], BODYTEST_CLIENTS, "{\"n\":4}"));
	bodytest_edits(db, "p", 2, revs);
	bodytest_compact(db);
	path = rev_of(&revs[2]);
	req.writes = &purge;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(purged, 1);
	dbtest_check(db);
	db_close(db);
}

/* ---- Damage ---- */

/* What is damaged stays, and keeps nothing else from being compacted. */
static void
test_damaged(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "damaged");
	unsigned char key[8];
	struct revbuf a[4], b[4];

	bodytest_edits(db, "a", 3, a); /* bodies 2 and 3 */
	bodytest_edits(db, "b", 3, b);
	bodytest_set_kept(db, 1, 0);
	for (uint64_t number = 2; number < 4; number++) {
		bytes_store_u64be(key, number);
		dbdamage_record(db, TREE_BODIES, key, 8);
	}
	for (int i = 0; i < 2; i++) {
		bodytest_compact_damaged(db);
		CHECK(bodytest_body_is(db, "b", &b[1], BODYTEST_MERGERS, ""));
		CHECK(bodytest_body_is(db, "b", &b[2], BODYTEST_CLIENTS, ""));
		CHECK(bodytest_body_is(db, "b", &b[2], BODYTEST_MERGERS, "{\"n\":2}"));
		CHECK(bodytest_body_is(db, "a", &a[3], BODYTEST_CLIENTS, "{\"n\":3}"));
	}
	CHECK_INT(
	    bodytest_write_json(db, 1, NULL, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":4}", dbtest_rev_text(&a[3])), 0);
	db_close(db);
}

static int
has_rev(struct db *db, const char *id, const struct revbuf *rev)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct revtree *t;
	struct revpos at;
	int found = 0;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_get(snap, id, strlen(id), bodytest_arena, &doc), 0) && CHECK_INT(db_doc_tree(&doc, 1, &t), 0))
		found = revtree_find(t, &wanted, &at);
	db_snap_end(snap);
	return found;
}

/* So does a damaged body of a revision that a lower limit stems: its document waits, the others do not. */
static void
test_damaged_stemmed(struct dbs *s)
{
	struct db *db = bodytest_new_db(s, "damaged-stemmed");
	struct db_write w = {.kind = DB_WRITE_REVS_LIMIT, .number = 1};
	struct db_request req = {.writes = &w, .nwrites = 1};
	unsigned char key[8];
	struct revbuf a[5], b[5];

	bodytest_edits(db, "a", 4, a); /* bodies 2, 3 and 4 */
	bodytest_edits(db, "b", 4, b);
	bytes_store_u64be(key, 3);
	dbdamage_record(db, TREE_BODIES, key, 8);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	bodytest_compact_damaged(db);
	CHECK(bodytest_body_is(db, "a", &a[4], BODYTEST_CLIENTS, "{\"n\":4}"));
	CHECK(bodytest_body_is(db, "a", &a[3], BODYTEST_CLIENTS, "{\"n\":3}"));
	CHECK(bodytest_body_is(db, "b", &b[4], BODYTEST_CLIENTS, "{\"n\":4}"));
	CHECK(!has_rev(db, "b", &b[3]));
	CHECK(has_rev(db, "a", &a[1]));
	db_close(db);
}

int
main(void)
{
	struct dbs *s;

	bodytest_begin();
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		s = bodytest_new_dbs(bodytest_store(lmdb));
		test_fork(s);
		test_sent_again(s);
		test_last_bodies(s);
		test_spilled(s);
		test_young_bodies(s);
		test_contradiction(s);
		test_attachments(s);
		test_removed(s);
		test_damaged(s);
		test_damaged_stemmed(s);
		dbs_free(s);
	}
	bodytest_end();
	return check_done();
}
