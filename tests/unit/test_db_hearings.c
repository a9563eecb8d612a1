/*
 * test_db_hearings.c: what happens when the database changes between a verdict and the write, when the validator or the
 * transaction fails, and when the database is dropped.
 */
#include "ruletest.h"

#include <stdio.h>
#include <string.h>

#include "db/dbi.h"

static void
change_edit(struct db *db)
{
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":9}", ruletest_winner(db, "a")), 0);
}

static void
change_replicate(struct db *db)
{
	CHECK_INT(RULETEST_REPLICATE(
		      db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":\"locked\"}"),
	    0);
}

static void
change_create(struct db *db)
{
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
}

static void
change_purge(struct db *db)
{
	struct rev rev = {1, (const unsigned char *)"a", 1};
	unsigned char purged;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = {"a", 1}, .path = &rev, .npath = 1, .purged = &purged};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(purged, 1);
}

static void
change_security(struct db *db)
{
	static unsigned n;
	char text[128];

	(void)snprintf(text, sizeof(text), "{\"n\":%u}", ++n);
	CHECK_INT(ruletest_set_security(db, text), 0);
}

static void
change_security_no(struct db *db)
{
	CHECK_INT(ruletest_set_security(db, "{\"say\":\"no\"}"), 0);
}

static void
change_designs(struct db *db)
{
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"_design/w\",\"validate_doc_update\":\"y\"}"), 0);
}

/* judged_with: A write during whose first hearing something happens.  ${hearings}: of this write. */
static void
judged_with(struct db *db, void (*change)(struct db *db), int new_edits, const char *json, int err, unsigned hearings)
{
	ruletest_told_reset(db);
	ruletest_told.change = change;
	ruletest_told.changes = 1;
	CHECK_INT(ruletest_put(db, new_edits, "%s", json), err);
	CHECK_INT(ruletest_told.hearings, hearings);
}

static void
test_changes(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "changes");
	char json[256];

	/* The parent is no leaf any more; the other write had a hearing, too. */
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	(void)snprintf(json, sizeof(json), "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", ruletest_winner(db, "a"));
	judged_with(db, change_edit, 1, json, ERR_CONFLICT, 2);
	CHECK_INT(ruletest_winner(db, "a")[0], '2');
	ruletest_end_db(db);

	/* A nearer ancestor came in between, and forbids. */
	db = ruletest_new_judged(s, "changes-replicated");
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\"}"), 0);
	judged_with(db, change_replicate, 0,
	    "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},\"n\":3}", ERR_FORBIDDEN, 3);
	CHECK_STR(ruletest_winner(db, "a"), "2-b");
	ruletest_end_db(db);

	/* The ancestor was purged: there is no old document now. */
	db = ruletest_new_judged(s, "changes-purged");
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0);
	judged_with(
	    db, change_purge, 0, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}", 0, 2);
	CHECK(strstr(ruletest_told.text, " <- null\n") != NULL);
	CHECK_STR(ruletest_winner(db, "a"), "2-b");
	ruletest_end_db(db);

	/* It was no document, and is one. */
	db = ruletest_new_judged(s, "changes-created");
	judged_with(db, change_create, 1, "{\"_id\":\"a\",\"n\":1}", ERR_CONFLICT, 2);
	ruletest_end_db(db);
}

static void
test_changes_around(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "around");

	judged_with(db, change_security, 1, "{\"_id\":\"a\"}", 0, 2);
	CHECK_INT(strncmp(ruletest_told.security, "{\"n\":", 5), 0);
	judged_with(db, change_designs, 1, "{\"_id\":\"b\"}", 0, 2);
	CHECK_INT(ruletest_told.nvalidators, 2);
	judged_with(db, change_security_no, 1, "{\"_id\":\"c\"}", ERR_FORBIDDEN, 2);
	CHECK_STR(ruletest_winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	CHECK_STR(ruletest_winner(db, "c"), "");
	/* The others of the request are made, and keep their outcome. */
	CHECK_INT(ruletest_set_security(db, "{}"), 0);
	{
		struct db_write w[3] = {ruletest_write_of("{\"_id\":\"d\"}", 1),
		    ruletest_write_of("{\"_id\":\"e\",\"say\":\"no\"}", 1),
		    ruletest_write_of("{\"_id\":\"_design/x\"}", 1)};
		struct db_request req = {.writes = w, .nwrites = 3};

		ruletest_told_reset(db);
		ruletest_told.change = change_security;
		ruletest_told.changes = 1;
		CHECK_INT(ruletest_submit(db, &req), 0);
		CHECK_INT(w[0].err, 0);
		CHECK_INT(w[1].err, ERR_FORBIDDEN);
		CHECK_INT(w[2].err, 0);
		CHECK_INT(ruletest_told.hearings, 2);
		CHECK_INT(ruletest_told.writes, 3); /* what was forbidden is not asked about again */
		CHECK(w[2].seq > 0 && w[0].seq > w[2].seq);
	}
	ruletest_end_db(db);
}

/* A database that changes all the time. */
static void
test_rounds(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "rounds");

	ruletest_told_reset(db);
	ruletest_told.change = change_security;
	ruletest_told.changes = 1000;
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), ERR_BUSY);
	CHECK_INT(ruletest_told.hearings, LIMIT_HEARINGS + 1);
	CHECK_STR(ruletest_winner(db, "a"), "");
	ruletest_told.changes = 0;
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(db->file->heard_bytes, 0);
	ruletest_end_db(db);
}

/* A validator that fails: so do the writes, and the next ones do not. */
static void
test_failing(struct dbs *s)
{
	static const int errors[] = {ERR_NOMEM, ERR_BUSY, ERR_INTERNAL};
	struct db *db = ruletest_new_judged(s, "failing");

	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	for (size_t i = 0; i < 3; i++) {
		ruletest_told.fail = errors[i];
		CHECK_INT(
		    RULETEST_EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", ruletest_winner(db, "a")), errors[i]);
		CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"b\",\"say\":\"no\"}"), ERR_FORBIDDEN); /* a verdict stands */
		CHECK_STR(ruletest_winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	}
	ruletest_told.fail = 0;
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", ruletest_winner(db, "a")), 0);
	ruletest_end_db(db);
}

/* The writes of a conditional request are all made, or none. */
static void
test_together(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "together");
	struct rev leaves[2] = {{1, (const unsigned char *)"x", 1}, {1, (const unsigned char *)"y", 1}};
	struct db_request req = {.nwrites = 2, .leaves = leaves, .nleaves = 2};

	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-x\"}"), 0);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-y\"}"), 0);
	for (int forbidden = 1; forbidden >= 0; forbidden--) {
		struct db_write w[2] = {ruletest_write_of(forbidden ? "{\"_id\":\"a\",\"_rev\":\"1-y\",\"say\":\"no\"}"
								    : "{\"_id\":\"a\",\"_rev\":\"1-y\",\"n\":1}",
					    1),
		    ruletest_write_of("{\"_id\":\"a\",\"_rev\":\"1-x\",\"_deleted\":true}", 1)};

		ruletest_told_reset(db);
		ruletest_told.change = change_security;
		ruletest_told.changes = 1;
		req.writes = w;
		CHECK_INT(ruletest_submit(db, &req), 0);
		CHECK_INT(w[0].err, forbidden ? ERR_FORBIDDEN : 0);
		CHECK_INT(w[1].err, forbidden ? ERR_FORBIDDEN : 0);
		CHECK_INT(ruletest_told.hearings, forbidden ? 1 : 2);
		if (forbidden)
			CHECK_STR(ruletest_winner(db, "a"), "1-y");
	}
	CHECK_INT(ruletest_winner(db, "a")[0], '2');
	ruletest_end_db(db);
}

/* A transaction that fails while one of its writes is on its way back. */
static void
test_lost_commit(void)
{
	struct store *store;
	struct dbs *s;
	struct db *db;
	struct db_write w[2];
	struct db_request req = {.writes = w, .nwrites = 2};

	CHECK_INT(store_mem_new(&store), 0);
	s = ruletest_new_dbs(store, 1);
	db = ruletest_new_judged(s, "lost");
	w[0] = ruletest_write_of("{\"_id\":\"a\"}", 1);
	w[1] = ruletest_write_of("{\"_id\":\"_design/x\"}", 1);
	ruletest_told_reset(db);
	ruletest_told.change = change_security;
	ruletest_told.changes = 1;
	store_mem_fail(store, 2, ERR_IO, 0); /* the first is the change's */
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(w[0].err, ERR_IO);
	CHECK_INT(w[1].err, ERR_IO);
	/* Now the second of its two. */
	w[0] = ruletest_write_of("{\"_id\":\"a\"}", 1);
	w[1] = ruletest_write_of("{\"_id\":\"_design/x\"}", 1);
	ruletest_told.changes = 1;
	store_mem_fail(store, 3, ERR_IO, 0);
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(w[0].err, ERR_IO);
	CHECK_INT(w[1].err, 0);
	CHECK(ruletest_winner(db, "_design/x")[0] != '\0');
	CHECK_STR(ruletest_winner(db, "a"), "");
	CHECK_INT(db->file->heard_bytes, 0);
	ruletest_end_db(db);
	dbs_free(s);
}

/* A database without validators gets one between a write and its transaction. */
static void
test_first_validator(struct dbs *s)
{
	struct db *db = ruletest_new_db(s, "first");
	struct db_write design = ruletest_write_of("{\"_id\":\"_design/v\",\"validate_doc_update\":\"x\"}", 1);
	struct db_write big[3], a = ruletest_write_of("{\"_id\":\"a\",\"say\":\"no\"}", 1);
	struct rev rev = {1, (const unsigned char *)"a", 1};
	unsigned char purged = 0;
	struct db_write purge = {
	    .kind = DB_WRITE_PURGE, .id = {"gone", 4}, .path = &rev, .npath = 1, .purged = &purged};
	struct db_request reqs[4] = {{.writes = &design, .nwrites = 1}, {.writes = big, .nwrites = 3},
	    {.writes = &a, .nwrites = 1}, {.writes = &purge, .nwrites = 1}};
	int over[4] = {0};
	char *text = arena_alloc(ruletest_arena, 7900001);

	ruletest_told_reset(db);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"quiet\"}"), 0);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"gone\",\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}}"), 0);
	CHECK_INT(ruletest_told.hearings, 0);
	memset(text, ' ', 7900000);
	text[0] = '{';
	text[7899999] = '}';
	for (unsigned i = 0; i < 3; i++) {
		big[i] = ruletest_write_of("{\"_id\":\"big\"}", 1);
		big[i].body = (struct jstr){text, 7900000};
	}
	for (unsigned i = 0; i < 4; i++) {
		reqs[i].done = ruletest_done;
		reqs[i].cookie = &over[i];
		CHECK_INT(db_submit(db, &reqs[i]), 0);
	}
	ruletest_drain();
	CHECK(over[0] && over[1] && over[2] && over[3]);
	CHECK_INT(design.err, 0);
	/* Nobody is asked about a purge, so it does not matter to it. */
	CHECK_INT(purge.err, 0);
	CHECK_INT(purged, 1);
	CHECK(ruletest_told.hearings > 0);
	CHECK_INT(a.err, ERR_FORBIDDEN);
	CHECK_STR(ruletest_winner(db, "a"), "");
	/* Without it, all is quiet again. */
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"_design/v\",\"_rev\":\"%s\"}", ruletest_winner(db, "_design/v")), 0);
	ruletest_told_reset(db);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\",\"say\":\"no\"}"), 0);
	CHECK_INT(ruletest_told.hearings, 0);
	ruletest_end_db(db);
}

static void
test_dropped(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "dropped");
	struct db_write w = ruletest_write_of("{\"_id\":\"a\"}", 1);
	int over = 0;
	struct db_request req = {.writes = &w, .nwrites = 1, .done = ruletest_done, .cookie = &over};

	CHECK_INT(db_submit(db, &req), 0);
	CHECK_INT(dbs_drop(s, "dropped", &dbtest_admin), 0);
	ruletest_drain();
	CHECK(over);
	CHECK_INT(w.err, ERR_NO_DB);
	db_close(db);
}

int
main(void)
{
	struct dbs *s = ruletest_begin();

	test_changes(s);
	test_changes_around(s);
	test_rounds(s);
	test_failing(s);
	test_together(s);
	test_first_validator(s);
	test_dropped(s);
	test_lost_commit();
	return ruletest_end(s);
}
