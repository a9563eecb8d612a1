/* test_db_verdicts.c: what validators are told of a write, the old document above all, and what their verdicts do. */
#include "ruletest.h"

#include <stdio.h>
#include <string.h>

static void
test_verdicts(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "verdicts");
	struct db_write w[5] = {ruletest_write_of("{\"_id\":\"a\"}", 1),
	    ruletest_write_of("{\"_id\":\"b\",\"say\":\"no\"}", 1),
	    ruletest_write_of("{\"_id\":\"_design/w\",\"say\":\"no\"}", 1),
	    ruletest_write_of("{\"_id\":\"c\",\"say\":\"login\"}", 1),
	    ruletest_write_of("{\"_id\":\"d\",\"_rev\":\"3-x\",\"say\":\"no\"}", 0)};
	struct db_request req = {.writes = w, .nwrites = 5};
	struct db_write local = {.kind = DB_WRITE_LOCAL, .id = {"_local/l", 8}, .body = {"{\"say\":\"no\"}", 12}};

	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(ruletest_told.hearings, 1);
	CHECK_INT(ruletest_told.writes, 4);
	CHECK_INT(ruletest_told.nvalidators, 1);
	CHECK_INT(w[0].err, 0);
	CHECK(w[0].seq > 0);
	CHECK_INT(w[1].err, ERR_FORBIDDEN);
	CHECK_STR(w[1].why.text, "no, admin");
	CHECK_INT(w[2].err, 0); /* a design document */
	CHECK_INT(w[3].err, ERR_UNAUTHORIZED);
	CHECK_STR(w[3].why.text, "log in");
	CHECK_INT(w[4].err, ERR_FORBIDDEN);
	CHECK_STR(ruletest_winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	CHECK_STR(ruletest_winner(db, "b"), "");
	CHECK_STR(ruletest_winner(db, "d"), "");
	CHECK(ruletest_winner(db, "_design/w")[0] != '\0');
	req = (struct db_request){.writes = &local, .nwrites = 1};
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(local.err, 0);
	CHECK_INT(ruletest_told.hearings, 1);
	ruletest_end_db(db);
}

/* one_told: What was told of one write that ended in ${err}. */
static void
one_told(int err, int expected, const char *text)
{
	CHECK_INT(err, expected);
	CHECK_STR(ruletest_told.text, text);
	ruletest_told.text[0] = '\0';
}

static void
test_old_of_edits(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "edits");
	const char *r1, *r2;

	one_told(
	    RULETEST_EDIT(db, "{\"_id\":\"w\",\"type\":\"new\"}"), 0, "{\"_id\":\"w\",\"type\":\"new\"} <- null\n");
	r1 = ruletest_winner(db, "w");
	one_told(RULETEST_EDIT(db, "{\"_id\":\"w\",\"n\":2}"), ERR_CONFLICT, "");
	one_told(RULETEST_EDIT(db, "{\"_id\":\"w\",\"_rev\":\"1-abc\",\"n\":2}"), ERR_CONFLICT, "");
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"w\",\"_rev\":\"%s\",\"n\":\"locked\"}", r1), 0);
	r2 = ruletest_winner(db, "w");
	CHECK(strstr(ruletest_told.text, "{\"_id\":\"w\",\"_rev\":\"1-") == ruletest_told.text);
	CHECK(strstr(ruletest_told.text, "\"n\":\"locked\",\"_revisions\":{\"start\":1,\"ids\":[\"") != NULL);
	CHECK(strstr(ruletest_told.text, "]}} <- {\"_id\":\"w\",\"_rev\":\"1-") != NULL);
	CHECK(strstr(ruletest_told.text, "\"type\":\"new\",\"_revisions\":{\"start\":1,") != NULL);
	ruletest_told.text[0] = '\0';
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"w\",\"_rev\":\"%s\",\"n\":3}", r2), ERR_FORBIDDEN);
	CHECK_STR(ruletest_winner(db, "w"), r2);
	ruletest_told.text[0] = '\0';
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"v\"}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"v\",\"_rev\":\"%s\",\"_deleted\":true}", ruletest_winner(db, "v")), 0);
	CHECK(strstr(ruletest_told.text, "\"_deleted\":true,\"_revisions\"") != NULL);
	ruletest_told.text[0] = '\0';
	/* Made anew: as CouchDB has it, its tombstone is not the old document. */
	one_told(RULETEST_EDIT(db, "{\"_id\":\"v\",\"n\":2}"), 0, "{\"_id\":\"v\",\"n\":2} <- null\n");
	CHECK_INT(ruletest_winner(db, "v")[0], '3');
	ruletest_end_db(db);
}

static void
test_old_of_replicated(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "replicated");

	one_told(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}} <- null\n");
	one_told(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0, ""); /* it is there */
	one_told(
	    RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},\"n\":3}"),
	    0,
	    "{\"_id\":\"a\",\"_rev\":\"3-c\",\"n\":3,\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]}} <- "
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}}\n");
	one_told(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}"),
	    0, "");
	one_told(
	    RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"x\",\"b\",\"a\"]},\"n\":4}"),
	    0,
	    "{\"_id\":\"a\",\"_rev\":\"3-x\",\"n\":4,\"_revisions\":{\"start\":3,\"ids\":[\"x\",\"b\",\"a\"]}} <- "
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}}\n");
	one_told(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"2-other\",\"n\":5}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"2-other\",\"n\":5,\"_revisions\":{\"start\":2,\"ids\":[\"other\"]}} <- null\n");
	/* Both of one request see what was there before it. */
	{
		struct db_write w[2] = {
		    ruletest_write_of("{\"_id\":\"a\",\"_revisions\":{\"start\":4,\"ids\":[\"d\",\"c\"]},\"n\":6}", 0),
		    ruletest_write_of(
			"{\"_id\":\"a\",\"_revisions\":{\"start\":5,\"ids\":[\"e\",\"d\",\"c\"]},\"n\":7}", 0)};
		struct db_request req = {.writes = w, .nwrites = 2};
		unsigned before = ruletest_told.hearings;

		CHECK_INT(ruletest_submit(db, &req), 0);
		CHECK_INT(w[0].err, 0);
		CHECK_INT(w[1].err, 0);
		CHECK_INT(ruletest_told.hearings, before + 1);
		CHECK(strstr(ruletest_told.text,
			  "\"5-e\",\"n\":7,\"_revisions\":{\"start\":5,\"ids\":[\"e\",\"d\",\"c\"]}} <- "
			  "{\"_id\":\"a\",\"_rev\":\"3-c\"") != NULL);
	}
	CHECK_STR(ruletest_winner(db, "a"), "5-e");
	ruletest_end_db(db);
}

/* An ancestor whose body was compacted away is no old document; a leaf of a long history is found. */
static void
test_old_after_compaction(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "compacted");
	char revisions[4096] = "";

	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0);
	CHECK_INT(
	    RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}"), 0);
	CHECK_INT(db_compact(db), 0);
	ruletest_drain();
	ruletest_told.text[0] = '\0';
	one_told(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]},\"n\":2}"),
	    0, "{\"_id\":\"a\",\"_rev\":\"2-x\",\"n\":2,\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]}} <- null\n");
	for (int gen = 1; gen <= 120; gen++) {
		char id[16];
		int n = snprintf(id, sizeof(id), "\"r%d\"%s", gen, gen > 1 ? "," : "");

		memmove(revisions + n, revisions, strlen(revisions) + 1);
		memcpy(revisions, id, (size_t)n);
		CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":%d,\"ids\":[%s]},\"n\":%d}",
			      gen, revisions, gen),
		    0);
	}
	/* 30 is spilled by now; its body is there. */
	ruletest_told_reset(db);
	CHECK_INT(
	    RULETEST_REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":31,\"ids\":[\"y\",\"r30\"]},\"n\":0}"), 0);
	CHECK_INT(ruletest_told.hearings, 1);
	CHECK(strstr(ruletest_told.text, "<- {\"_id\":\"l\",\"_rev\":\"30-r30\",\"n\":30,") != NULL);
	CHECK_INT(
	    RULETEST_REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":20,\"ids\":[\"r20\",\"r19\"]},\"n\":0}"),
	    0);
	CHECK_INT(ruletest_told.hearings, 1); /* known */
	ruletest_end_db(db);
}

static void
test_attachments(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "attachments");
	struct db_write_att att = {.name = {"f", 1}, .type = {"text/plain", 10}};
	struct db_write w = ruletest_write_of("{\"_id\":\"a\",\"n\":1}", 1);
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, "abc", 3), 0);
	CHECK_INT(db_blob_end(att.blob), 0);
	w.atts = &att;
	w.natts = 1;
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	db_blob_free(att.blob);
	one_told(0, 0,
	    "{\"_id\":\"a\",\"n\":1,\"_attachments\":{\"f\":{\"content_type\":\"text/plain\",\"revpos\":1,\"digest\":"
	    "\"md5-kAFQmDzST7DWlj99KOF/cg==\",\"length\":3,\"stub\":true}}} <- null\n");
	/* A stub, and the old one's. */
	w = ruletest_write_of("{\"_id\":\"a\",\"n\":2}", 1);
	att = (struct db_write_att){.name = {"f", 1}, .type = {"text/plain", 10}};
	w.has_parent = 1;
	CHECK_INT(rev_parse(ruletest_winner(db, "a"), strlen(ruletest_winner(db, "a")), &w.parent), 0);
	w.atts = &att;
	w.natts = 1;
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	CHECK(strstr(ruletest_told.text, "\"n\":2") != NULL);
	CHECK(strstr(strstr(ruletest_told.text, "\"stub\":true") + 1, "\"stub\":true") != NULL);
	ruletest_end_db(db);
}

/* More writes than one hearing takes. */
static void
test_batches(struct dbs *s)
{
	struct db *db = ruletest_new_judged(s, "batches");
	size_t n = 2 * LIMIT_HEARING + 3;
	struct db_write *w = arena_calloc(ruletest_arena, n, sizeof(*w));
	struct db_request req = {.writes = w, .nwrites = n};
	char json[64];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(json, sizeof(json), "{\"_id\":\"%04zu\",\"say\":\"%s\"}", i, i % 3 == 0 ? "no" : "yes");
		w[i] = ruletest_write_of(json, 1);
	}
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(ruletest_told.hearings, 3);
	CHECK_INT(ruletest_told.writes, n);
	for (size_t i = 0; i < n; i++)
		CHECK_INT(w[i].err, i % 3 == 0 ? ERR_FORBIDDEN : 0);
	ruletest_end_db(db);
}

int
main(void)
{
	struct dbs *s = ruletest_begin();

	test_verdicts(s);
	test_old_of_edits(s);
	test_old_of_replicated(s);
	test_old_after_compaction(s);
	test_attachments(s);
	test_batches(s);
	return ruletest_end(s);
}
