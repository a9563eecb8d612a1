/*
 * test_db_rules.c: validators and rules: what they are told, what their verdicts do, and what happens when the database
 * changes between a verdict and the write.
 *
 * The executor is one queue that the test empties.  A validator may write, too: what it writes is committed, whole, after
 * the snapshot of the hearing that it is in.
 */
#include "dbtest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "db/dbi.h"

static struct arena *arena;

/* ---- One queue ---- */

static struct exec_job *queue;

static void
one_submit(struct executor *ex, struct exec_job *job)
{
	struct exec_job **end = &queue;

	(void)ex;
	job->next = NULL;
	while (*end != NULL)
		end = &(*end)->next;
	*end = job;
}

static void
one_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	(void)job;
	(void)delay_ms;
}

static int
one_cancel(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	(void)job;
	return 1;
}

static uint64_t
one_now(struct executor *ex)
{
	(void)ex;
	return 1000;
}

static uint64_t
one_wall(struct executor *ex)
{
	(void)ex;
	return 1800000000000000;
}

static void
one_random(struct executor *ex, void *out, unsigned len)
{
	static unsigned char n;

	(void)ex;
	memset(out, ++n, len);
}

static struct executor one = {one_submit, one_later, one_cancel, one_now, one_wall, one_random};

static int
step(void)
{
	struct exec_job *job = queue;

	if (job == NULL)
		return 0;
	queue = job->next;
	job->fn(job->arg);
	return 1;
}

static void
drain(void)
{
	while (step())
		;
}

static void
done(struct db_request *req)
{
	*(int *)req->cookie = 1;
}

/* ---- Writes ---- */

static struct db_write
write_of(const char *json, int new_edits)
{
	struct db_write w = {.kind = new_edits ? DB_WRITE_EDIT : DB_WRITE_REPLICATE};
	struct doc_in in;
	struct jread j;
	struct errtext why;
	struct rev *path;

	jread_init(&j, arena_dup(arena, json, strlen(json)), strlen(json));
	CHECK_INT(doc_parse(&j, arena, &in, &why), 0);
	w.id = in.id;
	w.deleted = in.deleted;
	w.body = in.body;
	w.body_etf = in.body_etf;
	w.has_parent = new_edits && in.has_rev;
	w.parent = in.rev;
	if (!new_edits) {
		path = arena_alloc(arena, sizeof(*path));
		*path = rev_of(&in.rev);
		path->id = (const unsigned char *)arena_dup(arena, path->id, path->len);
		w.path = in.nrevisions > 0 ? in.revisions : path;
		w.npath = in.nrevisions > 0 ? in.nrevisions : 1;
	}
	return w;
}

static int
submit(struct db *db, struct db_request *req)
{
	int over = 0, err;

	req->done = done;
	req->cookie = &over;
	if ((err = db_submit(db, req)) != 0)
		return err;
	while (!over && step())
		;
	CHECK(over);
	return 0;
}

/* put: One write; its text is a format. */
static int PRINTF_LIKE(3, 4) put(struct db *db, int new_edits, const char *fmt, ...)
{
	struct db_write w;
	struct db_request req = {.writes = &w, .nwrites = 1};
	char json[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(json, sizeof(json), fmt, ap);
	va_end(ap);
	w = write_of(json, new_edits);
	if (submit(db, &req) != 0)
		return ERR_INTERNAL;
	return w.err;
}

#define EDIT(db, ...) put(db, 1, __VA_ARGS__)
#define REPLICATE(db, ...) put(db, 0, __VA_ARGS__)

static int
set_security(struct db *db, const char *text)
{
	struct db_write w = {.kind = DB_WRITE_SECURITY, .body = {text, strlen(text)}};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(submit(db, &req), 0);
	return w.err;
}

/* winner: The text of the winning revision's id; "" if the document is not there or deleted. */
static const char *
winner(struct db *db, const char *id)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct buf b;

	buf_init_arena(&b, arena, 4096);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, id, strlen(id), arena, &doc) == 0 && !doc.winner.deleted)
		CHECK_INT(rev_put(&b, &doc.winner.rev), 0);
	db_snap_end(snap);
	return b.len > 0 ? arena_dup(arena, b.data, b.len) : "";
}

/* ---- The validator ---- */

/*
 * It keeps what it is told, a line for each write: the new document, the old one; and obeys the member "say" of the new
 * one, and the security object's.
 */
static struct told {
	char text[8192];
	unsigned hearings, writes;
	size_t nvalidators;
	char security[256];
	int fail;                      /* what it returns */
	unsigned changes;              /* so often before its verdict, */
	void (*change)(struct db *db); /* this happens */
	struct db *db;
} told;

static int
says(const struct jstr *body, const char *word)
{
	return memmem(body->s, body->len, word, strlen(word)) != NULL;
}

static void
told_add(const struct db_verdict *v)
{
	struct buf b;

	buf_init_arena(&b, arena, 1u << 20);
	CHECK_INT(db_judged_json(&b, &v->id, &v->new_doc), 0);
	CHECK_INT(buf_puts(&b, " <- "), 0);
	CHECK_INT(v->has_old ? db_judged_json(&b, &v->id, &v->old_doc) : buf_puts(&b, "null"), 0);
	CHECK_INT(buf_putc(&b, '\n'), 0);
	if (strlen(told.text) + b.len < sizeof(told.text))
		(void)strncat(told.text, b.data, b.len);
}

static int
validate(void *cookie, struct db_hearing *h)
{
	/* What a script is told is there without the snapshot; only the rules of a database leave it open. */
	CHECK(cookie == &told);
	if (strcmp(h->by.database, "ruled") != 0)
		db_hearing_release(h);
	told.hearings++;
	told.nvalidators = h->nvalidators;
	(void)snprintf(told.security, sizeof(told.security), "%.*s", (int)h->security.len, h->security.s);
	for (size_t i = 0; i < h->n; i++) {
		struct db_verdict *v = &h->verdicts[i];

		told.writes++;
		CHECK_INT(v->err, 0);
		told_add(v);
		if (says(&v->new_doc.body, "\"no\"") || says(&h->security, "\"no\""))
			v->err = err_why(&v->why, ERR_FORBIDDEN, "no, %s", h->by.who->name);
		else if (says(&v->new_doc.body, "\"login\""))
			v->err = err_why(&v->why, ERR_UNAUTHORIZED, "log in");
		else if (v->has_old && says(&v->old_doc.body, "\"locked\""))
			v->err = err_why(&v->why, ERR_FORBIDDEN, "locked");
	}
	if (told.changes > 0 && told.change != NULL) {
		told.changes--;
		told.change(told.db);
	}
	return told.fail;
}

static void
told_reset(struct db *db)
{
	memset(&told, 0, sizeof(told));
	told.db = db;
}

static struct dbs *
new_dbs(struct store *store, int with_validate)
{
	struct dbs_config config = {.store = store, .ex = &one};
	struct dbs *s = NULL;

	if (with_validate) {
		config.validate = validate;
		config.validate_cookie = &told;
	}
	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

static struct db *
new_db(struct dbs *s, const char *name)
{
	CHECK_INT(dbs_create(s, name, NULL, &dbtest_admin, NULL), 0);
	return dbtest_open(s, name);
}

static struct db *
new_judged(struct dbs *s, const char *name)
{
	struct db *db = new_db(s, name);

	told_reset(db);
	CHECK_INT(EDIT(db, "{\"_id\":\"_design/v\",\"validate_doc_update\":\"x\"}"), 0);
	CHECK_INT(told.hearings, 0);
	return db;
}

static void
end_db(struct db *db)
{
	dbtest_check(db);
	db_close(db);
}

/* ---- Verdicts ---- */

static void
test_verdicts(struct dbs *s)
{
	struct db *db = new_judged(s, "verdicts");
	struct db_write w[5] = {write_of("{\"_id\":\"a\"}", 1), write_of("{\"_id\":\"b\",\"say\":\"no\"}", 1),
	    write_of("{\"_id\":\"_design/w\",\"say\":\"no\"}", 1), write_of("{\"_id\":\"c\",\"say\":\"login\"}", 1),
	    write_of("{\"_id\":\"d\",\"_rev\":\"3-x\",\"say\":\"no\"}", 0)};
	struct db_request req = {.writes = w, .nwrites = 5};
	struct db_write local = {.kind = DB_WRITE_LOCAL, .id = {"_local/l", 8}, .body = {"{\"say\":\"no\"}", 12}};

	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(told.hearings, 1);
	CHECK_INT(told.writes, 4);
	CHECK_INT(told.nvalidators, 1);
	CHECK_INT(w[0].err, 0);
	CHECK(w[0].seq > 0);
	CHECK_INT(w[1].err, ERR_FORBIDDEN);
	CHECK_STR(w[1].why.text, "no, admin");
	CHECK_INT(w[2].err, 0); /* a design document */
	CHECK_INT(w[3].err, ERR_UNAUTHORIZED);
	CHECK_STR(w[3].why.text, "log in");
	CHECK_INT(w[4].err, ERR_FORBIDDEN);
	CHECK_STR(winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	CHECK_STR(winner(db, "b"), "");
	CHECK_STR(winner(db, "d"), "");
	CHECK(winner(db, "_design/w")[0] != '\0');
	req = (struct db_request){.writes = &local, .nwrites = 1};
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(local.err, 0);
	CHECK_INT(told.hearings, 1);
	end_db(db);
}

/* one_told: What was told of one write that ended in ${err}. */
static void
one_told(int err, int expected, const char *text)
{
	CHECK_INT(err, expected);
	CHECK_STR(told.text, text);
	told.text[0] = '\0';
}

static void
test_old_of_edits(struct dbs *s)
{
	struct db *db = new_judged(s, "edits");
	const char *r1, *r2;

	one_told(EDIT(db, "{\"_id\":\"w\",\"type\":\"new\"}"), 0, "{\"_id\":\"w\",\"type\":\"new\"} <- null\n");
	r1 = winner(db, "w");
	one_told(EDIT(db, "{\"_id\":\"w\",\"n\":2}"), ERR_CONFLICT, "");
	one_told(EDIT(db, "{\"_id\":\"w\",\"_rev\":\"1-abc\",\"n\":2}"), ERR_CONFLICT, "");
	CHECK_INT(EDIT(db, "{\"_id\":\"w\",\"_rev\":\"%s\",\"n\":\"locked\"}", r1), 0);
	r2 = winner(db, "w");
	CHECK(strstr(told.text, "{\"_id\":\"w\",\"_rev\":\"1-") == told.text);
	CHECK(strstr(told.text, "\"n\":\"locked\",\"_revisions\":{\"start\":1,\"ids\":[\"") != NULL);
	CHECK(strstr(told.text, "]}} <- {\"_id\":\"w\",\"_rev\":\"1-") != NULL);
	CHECK(strstr(told.text, "\"type\":\"new\",\"_revisions\":{\"start\":1,") != NULL);
	told.text[0] = '\0';
	CHECK_INT(EDIT(db, "{\"_id\":\"w\",\"_rev\":\"%s\",\"n\":3}", r2), ERR_FORBIDDEN);
	CHECK_STR(winner(db, "w"), r2);
	told.text[0] = '\0';
	CHECK_INT(EDIT(db, "{\"_id\":\"v\"}"), 0);
	CHECK_INT(EDIT(db, "{\"_id\":\"v\",\"_rev\":\"%s\",\"_deleted\":true}", winner(db, "v")), 0);
	CHECK(strstr(told.text, "\"_deleted\":true,\"_revisions\"") != NULL);
	told.text[0] = '\0';
	/* Made anew: as CouchDB has it, its tombstone is not the old document. */
	one_told(EDIT(db, "{\"_id\":\"v\",\"n\":2}"), 0, "{\"_id\":\"v\",\"n\":2} <- null\n");
	CHECK_INT(winner(db, "v")[0], '3');
	end_db(db);
}

static void
test_old_of_replicated(struct dbs *s)
{
	struct db *db = new_judged(s, "replicated");

	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}} <- null\n");
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0, ""); /* it is there */
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},\"n\":3}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"3-c\",\"n\":3,\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]}} <- "
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}}\n");
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}"), 0, "");
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"x\",\"b\",\"a\"]},\"n\":4}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"3-x\",\"n\":4,\"_revisions\":{\"start\":3,\"ids\":[\"x\",\"b\",\"a\"]}} <- "
	    "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1,\"_revisions\":{\"start\":1,\"ids\":[\"a\"]}}\n");
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"2-other\",\"n\":5}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"2-other\",\"n\":5,\"_revisions\":{\"start\":2,\"ids\":[\"other\"]}} <- null\n");
	/* Both of one request see what was there before it. */
	{
		struct db_write w[2] = {
		    write_of("{\"_id\":\"a\",\"_revisions\":{\"start\":4,\"ids\":[\"d\",\"c\"]},\"n\":6}", 0),
		    write_of("{\"_id\":\"a\",\"_revisions\":{\"start\":5,\"ids\":[\"e\",\"d\",\"c\"]},\"n\":7}", 0)};
		struct db_request req = {.writes = w, .nwrites = 2};
		unsigned before = told.hearings;

		CHECK_INT(submit(db, &req), 0);
		CHECK_INT(w[0].err, 0);
		CHECK_INT(w[1].err, 0);
		CHECK_INT(told.hearings, before + 1);
		CHECK(strstr(told.text, "\"5-e\",\"n\":7,\"_revisions\":{\"start\":5,\"ids\":[\"e\",\"d\",\"c\"]}} <- "
					"{\"_id\":\"a\",\"_rev\":\"3-c\"") != NULL);
	}
	CHECK_STR(winner(db, "a"), "5-e");
	end_db(db);
}

/* An ancestor whose body was compacted away is no old document; a leaf of a long history is found. */
static void
test_old_after_compaction(struct dbs *s)
{
	struct db *db = new_judged(s, "compacted");
	char revisions[4096] = "";

	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0);
	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}"), 0);
	CHECK_INT(db_compact(db), 0);
	drain();
	told.text[0] = '\0';
	one_told(REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]},\"n\":2}"), 0,
	    "{\"_id\":\"a\",\"_rev\":\"2-x\",\"n\":2,\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]}} <- null\n");
	for (int gen = 1; gen <= 120; gen++) {
		char id[16];
		int n = snprintf(id, sizeof(id), "\"r%d\"%s", gen, gen > 1 ? "," : "");

		memmove(revisions + n, revisions, strlen(revisions) + 1);
		memcpy(revisions, id, (size_t)n);
		CHECK_INT(REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":%d,\"ids\":[%s]},\"n\":%d}", gen,
			      revisions, gen),
		    0);
	}
	/* 30 is spilled by now; its body is there. */
	told_reset(db);
	CHECK_INT(REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":31,\"ids\":[\"y\",\"r30\"]},\"n\":0}"), 0);
	CHECK_INT(told.hearings, 1);
	CHECK(strstr(told.text, "<- {\"_id\":\"l\",\"_rev\":\"30-r30\",\"n\":30,") != NULL);
	CHECK_INT(REPLICATE(db, "{\"_id\":\"l\",\"_revisions\":{\"start\":20,\"ids\":[\"r20\",\"r19\"]},\"n\":0}"), 0);
	CHECK_INT(told.hearings, 1); /* known */
	end_db(db);
}

static void
test_attachments(struct dbs *s)
{
	struct db *db = new_judged(s, "attachments");
	struct db_write_att att = {.name = {"f", 1}, .type = {"text/plain", 10}};
	struct db_write w = write_of("{\"_id\":\"a\",\"n\":1}", 1);
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, "abc", 3), 0);
	CHECK_INT(db_blob_end(att.blob), 0);
	w.atts = &att;
	w.natts = 1;
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	db_blob_free(att.blob);
	one_told(0, 0,
	    "{\"_id\":\"a\",\"n\":1,\"_attachments\":{\"f\":{\"content_type\":\"text/plain\",\"revpos\":1,\"digest\":"
	    "\"md5-kAFQmDzST7DWlj99KOF/cg==\",\"length\":3,\"stub\":true}}} <- null\n");
	/* A stub, and the old one's. */
	w = write_of("{\"_id\":\"a\",\"n\":2}", 1);
	att = (struct db_write_att){.name = {"f", 1}, .type = {"text/plain", 10}};
	w.has_parent = 1;
	CHECK_INT(rev_parse(winner(db, "a"), strlen(winner(db, "a")), &w.parent), 0);
	w.atts = &att;
	w.natts = 1;
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	CHECK(strstr(told.text, "\"n\":2") != NULL);
	CHECK(strstr(strstr(told.text, "\"stub\":true") + 1, "\"stub\":true") != NULL);
	end_db(db);
}

/* More writes than one hearing takes. */
static void
test_batches(struct dbs *s)
{
	struct db *db = new_judged(s, "batches");
	size_t n = 2 * LIMIT_HEARING + 3;
	struct db_write *w = arena_calloc(arena, n, sizeof(*w));
	struct db_request req = {.writes = w, .nwrites = n};
	char json[64];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(json, sizeof(json), "{\"_id\":\"%04zu\",\"say\":\"%s\"}", i, i % 3 == 0 ? "no" : "yes");
		w[i] = write_of(json, 1);
	}
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(told.hearings, 3);
	CHECK_INT(told.writes, n);
	for (size_t i = 0; i < n; i++)
		CHECK_INT(w[i].err, i % 3 == 0 ? ERR_FORBIDDEN : 0);
	end_db(db);
}

/* ---- Changes between the verdict and the write ---- */

static void
change_edit(struct db *db)
{
	CHECK_INT(EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":9}", winner(db, "a")), 0);
}

static void
change_replicate(struct db *db)
{
	CHECK_INT(
	    REPLICATE(db, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":\"locked\"}"), 0);
}

static void
change_create(struct db *db)
{
	CHECK_INT(EDIT(db, "{\"_id\":\"a\"}"), 0);
}

static void
change_purge(struct db *db)
{
	struct rev rev = {1, (const unsigned char *)"a", 1};
	unsigned char purged;
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = {"a", 1}, .path = &rev, .npath = 1, .purged = &purged};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(purged, 1);
}

static void
change_security(struct db *db)
{
	static unsigned n;
	char text[128];

	(void)snprintf(text, sizeof(text), "{\"n\":%u}", ++n);
	CHECK_INT(set_security(db, text), 0);
}

static void
change_security_no(struct db *db)
{
	CHECK_INT(set_security(db, "{\"say\":\"no\"}"), 0);
}

static void
change_designs(struct db *db)
{
	CHECK_INT(EDIT(db, "{\"_id\":\"_design/w\",\"validate_doc_update\":\"y\"}"), 0);
}

/* judged_with: A write during whose first hearing something happens.  ${hearings}: of this write. */
static void
judged_with(struct db *db, void (*change)(struct db *db), int new_edits, const char *json, int err, unsigned hearings)
{
	told_reset(db);
	told.change = change;
	told.changes = 1;
	CHECK_INT(put(db, new_edits, "%s", json), err);
	CHECK_INT(told.hearings, hearings);
}

static void
test_changes(struct dbs *s)
{
	struct db *db = new_judged(s, "changes");
	char json[256];

	/* The parent is no leaf any more; the other write had a hearing, too. */
	CHECK_INT(EDIT(db, "{\"_id\":\"a\"}"), 0);
	(void)snprintf(json, sizeof(json), "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", winner(db, "a"));
	judged_with(db, change_edit, 1, json, ERR_CONFLICT, 2);
	CHECK_INT(winner(db, "a")[0], '2');
	end_db(db);

	/* A nearer ancestor came in between, and forbids. */
	db = new_judged(s, "changes-replicated");
	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\"}"), 0);
	judged_with(db, change_replicate, 0,
	    "{\"_id\":\"a\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},\"n\":3}", ERR_FORBIDDEN, 3);
	CHECK_STR(winner(db, "a"), "2-b");
	end_db(db);

	/* The ancestor was purged: there is no old document now. */
	db = new_judged(s, "changes-purged");
	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-a\",\"n\":1}"), 0);
	judged_with(
	    db, change_purge, 0, "{\"_id\":\"a\",\"_revisions\":{\"start\":2,\"ids\":[\"b\",\"a\"]},\"n\":2}", 0, 2);
	CHECK(strstr(told.text, " <- null\n") != NULL);
	CHECK_STR(winner(db, "a"), "2-b");
	end_db(db);

	/* It was no document, and is one. */
	db = new_judged(s, "changes-created");
	judged_with(db, change_create, 1, "{\"_id\":\"a\",\"n\":1}", ERR_CONFLICT, 2);
	end_db(db);
}

static void
test_changes_around(struct dbs *s)
{
	struct db *db = new_judged(s, "around");

	judged_with(db, change_security, 1, "{\"_id\":\"a\"}", 0, 2);
	CHECK_INT(strncmp(told.security, "{\"n\":", 5), 0);
	judged_with(db, change_designs, 1, "{\"_id\":\"b\"}", 0, 2);
	CHECK_INT(told.nvalidators, 2);
	judged_with(db, change_security_no, 1, "{\"_id\":\"c\"}", ERR_FORBIDDEN, 2);
	CHECK_STR(winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	CHECK_STR(winner(db, "c"), "");
	/* The others of the request are made, and keep their outcome. */
	CHECK_INT(set_security(db, "{}"), 0);
	{
		struct db_write w[3] = {write_of("{\"_id\":\"d\"}", 1), write_of("{\"_id\":\"e\",\"say\":\"no\"}", 1),
		    write_of("{\"_id\":\"_design/x\"}", 1)};
		struct db_request req = {.writes = w, .nwrites = 3};

		told_reset(db);
		told.change = change_security;
		told.changes = 1;
		CHECK_INT(submit(db, &req), 0);
		CHECK_INT(w[0].err, 0);
		CHECK_INT(w[1].err, ERR_FORBIDDEN);
		CHECK_INT(w[2].err, 0);
		CHECK_INT(told.hearings, 2);
		CHECK_INT(told.writes, 3); /* what was forbidden is not asked about again */
		CHECK(w[2].seq > 0 && w[0].seq > w[2].seq);
	}
	end_db(db);
}

/* A database that changes all the time. */
static void
test_rounds(struct dbs *s)
{
	struct db *db = new_judged(s, "rounds");

	told_reset(db);
	told.change = change_security;
	told.changes = 1000;
	CHECK_INT(EDIT(db, "{\"_id\":\"a\"}"), ERR_BUSY);
	CHECK_INT(told.hearings, LIMIT_HEARINGS + 1);
	CHECK_STR(winner(db, "a"), "");
	told.changes = 0;
	CHECK_INT(EDIT(db, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(db->file->heard_bytes, 0);
	end_db(db);
}

/* A validator that fails: so do the writes, and the next ones do not. */
static void
test_failing(struct dbs *s)
{
	static const int errors[] = {ERR_NOMEM, ERR_BUSY, ERR_INTERNAL};
	struct db *db = new_judged(s, "failing");

	CHECK_INT(EDIT(db, "{\"_id\":\"a\"}"), 0);
	for (size_t i = 0; i < 3; i++) {
		told.fail = errors[i];
		CHECK_INT(EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", winner(db, "a")), errors[i]);
		CHECK_INT(EDIT(db, "{\"_id\":\"b\",\"say\":\"no\"}"), ERR_FORBIDDEN); /* a verdict stands */
		CHECK_STR(winner(db, "a"), "1-967a00dff5e02add41819138abb3284d");
	}
	told.fail = 0;
	CHECK_INT(EDIT(db, "{\"_id\":\"a\",\"_rev\":\"%s\",\"n\":1}", winner(db, "a")), 0);
	end_db(db);
}

/* The writes of a conditional request are all made, or none. */
static void
test_together(struct dbs *s)
{
	struct db *db = new_judged(s, "together");
	struct rev leaves[2] = {{1, (const unsigned char *)"x", 1}, {1, (const unsigned char *)"y", 1}};
	struct db_request req = {.nwrites = 2, .leaves = leaves, .nleaves = 2};

	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-x\"}"), 0);
	CHECK_INT(REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"1-y\"}"), 0);
	for (int forbidden = 1; forbidden >= 0; forbidden--) {
		struct db_write w[2] = {write_of(forbidden ? "{\"_id\":\"a\",\"_rev\":\"1-y\",\"say\":\"no\"}"
							   : "{\"_id\":\"a\",\"_rev\":\"1-y\",\"n\":1}",
					    1),
		    write_of("{\"_id\":\"a\",\"_rev\":\"1-x\",\"_deleted\":true}", 1)};

		told_reset(db);
		told.change = change_security;
		told.changes = 1;
		req.writes = w;
		CHECK_INT(submit(db, &req), 0);
		CHECK_INT(w[0].err, forbidden ? ERR_FORBIDDEN : 0);
		CHECK_INT(w[1].err, forbidden ? ERR_FORBIDDEN : 0);
		CHECK_INT(told.hearings, forbidden ? 1 : 2);
		if (forbidden)
			CHECK_STR(winner(db, "a"), "1-y");
	}
	CHECK_INT(winner(db, "a")[0], '2');
	end_db(db);
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
	s = new_dbs(store, 1);
	db = new_judged(s, "lost");
	w[0] = write_of("{\"_id\":\"a\"}", 1);
	w[1] = write_of("{\"_id\":\"_design/x\"}", 1);
	told_reset(db);
	told.change = change_security;
	told.changes = 1;
	store_mem_fail(store, 2, ERR_IO, 0); /* the first is the change's */
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(w[0].err, ERR_IO);
	CHECK_INT(w[1].err, ERR_IO);
	/* Now the second of its two. */
	w[0] = write_of("{\"_id\":\"a\"}", 1);
	w[1] = write_of("{\"_id\":\"_design/x\"}", 1);
	told.changes = 1;
	store_mem_fail(store, 3, ERR_IO, 0);
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(w[0].err, ERR_IO);
	CHECK_INT(w[1].err, 0);
	CHECK(winner(db, "_design/x")[0] != '\0');
	CHECK_STR(winner(db, "a"), "");
	CHECK_INT(db->file->heard_bytes, 0);
	end_db(db);
	dbs_free(s);
}

/* A database without validators gets one between a write and its transaction. */
static void
test_first_validator(struct dbs *s)
{
	struct db *db = new_db(s, "first");
	struct db_write design = write_of("{\"_id\":\"_design/v\",\"validate_doc_update\":\"x\"}", 1);
	struct db_write big[3], a = write_of("{\"_id\":\"a\",\"say\":\"no\"}", 1);
	struct db_request reqs[3] = {
	    {.writes = &design, .nwrites = 1}, {.writes = big, .nwrites = 3}, {.writes = &a, .nwrites = 1}};
	int over[3] = {0};
	char *text = arena_alloc(arena, 7900001);

	told_reset(db);
	CHECK_INT(EDIT(db, "{\"_id\":\"quiet\"}"), 0);
	CHECK_INT(told.hearings, 0);
	memset(text, ' ', 7900000);
	text[0] = '{';
	text[7899999] = '}';
	for (unsigned i = 0; i < 3; i++) {
		big[i] = write_of("{\"_id\":\"big\"}", 1);
		big[i].body = (struct jstr){text, 7900000};
	}
	for (unsigned i = 0; i < 3; i++) {
		reqs[i].done = done;
		reqs[i].cookie = &over[i];
		CHECK_INT(db_submit(db, &reqs[i]), 0);
	}
	drain();
	CHECK(over[0] && over[1] && over[2]);
	CHECK_INT(design.err, 0);
	CHECK(told.hearings > 0);
	CHECK_INT(a.err, ERR_FORBIDDEN);
	CHECK_STR(winner(db, "a"), "");
	/* Without it, all is quiet again. */
	CHECK_INT(EDIT(db, "{\"_id\":\"_design/v\",\"_rev\":\"%s\"}", winner(db, "_design/v")), 0);
	told_reset(db);
	CHECK_INT(EDIT(db, "{\"_id\":\"a\",\"say\":\"no\"}"), 0);
	CHECK_INT(told.hearings, 0);
	end_db(db);
}

static void
test_dropped(struct dbs *s)
{
	struct db *db = new_judged(s, "dropped");
	struct db_write w = write_of("{\"_id\":\"a\"}", 1);
	int over = 0;
	struct db_request req = {.writes = &w, .nwrites = 1, .done = done, .cookie = &over};

	CHECK_INT(db_submit(db, &req), 0);
	CHECK_INT(dbs_drop(s, "dropped", &dbtest_admin), 0);
	drain();
	CHECK(over);
	CHECK_INT(w.err, ERR_NO_DB);
	db_close(db);
}

/* ---- Rules ---- */

/*
 * The rules of database "ruled": a body's {"plain":X} becomes {"packed":1}; whoever is no administrator sees document "own",
 * of "half" the body {"half":1}, of "gone" nothing, and is told of "shut".
 */
static unsigned asked;

static int
before_write(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted, struct arena *a,
    struct jstr *bodyp, struct errtext *why)
{
	asked++;
	CHECK(cookie == &told && !deleted);
	CHECK_STR(by->database, "ruled");
	if (jstr_is(id, "bad"))
		return err_why(why, ERR_FORBIDDEN, "a bad one of %s", by->who->name);
	if (says(bodyp, "\"plain\"")) {
		const char *packed = arena_dup(a, "{ \"packed\" : 1 }", 16);

		*bodyp = (struct jstr){packed, 16};
	}
	return 0;
}

static int
may_read(void *cookie, const struct db_asker *by, const struct jstr *id)
{
	CHECK(cookie == &told);
	if (by->is_admin || jstr_is(id, "own") || jstr_is(id, "half") || jstr_is(id, "gone"))
		return 0;
	return jstr_is(id, "shut") ? ERR_FORBIDDEN : ERR_MISSING;
}

static int
shown(void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp)
{
	CHECK(cookie == &told);
	if (by->is_admin || jstr_is(id, "own"))
		return 0;
	if (jstr_is(id, "gone"))
		return ERR_MISSING;
	*bodyp = (struct jstr){arena_dup(a, "{\"half\":1}", 10), 10};
	return 0;
}

static int
before_security(void *cookie, const struct db_asker *by, struct errtext *why)
{
	(void)by;
	CHECK(cookie == &told);
	return err_why(why, ERR_FORBIDDEN, "not this one");
}

static const struct db_rules rules = {.cookie = &told,
    .list_admin_only = 1,
    .before_write = before_write,
    .validate = validate,
    .may_read = may_read,
    .shown = shown,
    .before_security = before_security};

static const struct db_rules *
rules_of(void *cookie, const char *name)
{
	CHECK(cookie == &asked);
	return strcmp(name, "ruled") == 0 ? &rules : NULL;
}

static void
test_ruled_writes(struct db *db, struct db *plain)
{
	struct db_write w = write_of("{\"_id\":\"bad\"}", 1);
	struct db_request req = {.writes = &w, .nwrites = 1};

	told_reset(db);
	asked = 0;
	CHECK_INT(EDIT(db, "{\"_id\":\"own\",\"plain\":\"secret\"}"), 0);
	CHECK_INT(asked, 1);
	CHECK_STR(told.text, "{\"_id\":\"own\",\"packed\":1} <- null\n");
	CHECK_INT(EDIT(plain, "{\"_id\":\"own\",\"packed\":1}"), 0);
	CHECK_STR(winner(db, "own"), winner(plain, "own"));
	CHECK_INT(REPLICATE(db, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"plain\":1}"), 0);
	CHECK_INT(asked, 2);
	CHECK(strstr(told.text, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"packed\":1,") != NULL);
	CHECK_INT(EDIT(db, "{\"_id\":\"gone\",\"n\":1}"), 0);
	CHECK_INT(EDIT(db, "{\"_id\":\"shut\",\"n\":1}"), 0);
	CHECK_INT(EDIT(db, "{\"_id\":\"hidden\",\"n\":1}"), 0);
	CHECK_INT(EDIT(db, "{\"_id\":\"hidden2\",\"say\":\"no\"}"), ERR_FORBIDDEN);
	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(w.err, ERR_FORBIDDEN);
	CHECK_STR(w.why.text, "a bad one of admin");
	CHECK_INT(set_security(db, "{}"), ERR_FORBIDDEN);
}

/* body_of: Of a document; an error of db_get() or db_doc_rev() is *${errp}. */
static const char *
body_of(struct db *db, const char *id, int *errp)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev = {.body = {"", 0}};

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if ((*errp = db_get(snap, id, strlen(id), arena, &doc)) == 0)
		*errp = db_doc_rev(&doc, &doc.winner, arena, &rev);
	id = *errp == 0 ? arena_dup(arena, rev.body.s, rev.body.len) : "";
	db_snap_end(snap);
	return id;
}

/* ids_of: What scans see: of documents, then of changes, then of _local documents. */
static const char *
ids_of(struct db *db)
{
	const struct db_range all = {0};
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct db_change change;
	struct jstr id, body;
	uint64_t rev;
	struct buf b;

	buf_init_arena(&b, arena, 4096);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_open(snap, &all, &scan), 0);
	while (db_docs_next(scan, arena, &doc) == 0)
		CHECK_INT(buf_printf(&b, "%.*s ", (int)doc.id.len, doc.id.s), 0);
	db_scan_close(scan);
	CHECK_INT(buf_putc(&b, '|'), 0);
	CHECK_INT(db_changes_open(snap, 0, 1, &scan), 0);
	while (db_changes_next(scan, arena, &change) == 0)
		CHECK_INT(buf_printf(&b, " %.*s", (int)change.id.len, change.id.s), 0);
	db_scan_close(scan);
	CHECK_INT(buf_putc(&b, '|'), 0);
	CHECK_INT(db_locals_open(snap, &all, &scan), 0);
	while (db_locals_next(scan, arena, &id, &rev, &body) == 0)
		CHECK_INT(buf_printf(&b, " %.*s", (int)id.len, id.s), 0);
	db_scan_close(scan);
	db_snap_end(snap);
	return arena_dup(arena, b.data, b.len);
}

static void
test_ruled_reads(struct dbs *s, struct db *db)
{
	static const char *const roles[] = {"_admin"};
	const struct principal user = {"user", roles, 1, 0};
	struct db_write local = {.kind = DB_WRITE_LOCAL, .id = {"_local/l", 8}, .body = {"{}", 2}};
	struct db_request req = {.writes = &local, .nwrites = 1};
	struct db_snap *snap;
	struct jstr body;
	uint64_t rev;
	struct db *theirs;
	int err;

	CHECK_INT(submit(db, &req), 0);
	CHECK_INT(local.err, 0);
	/* A role of the security object lets them in as administrators: the rules decide by that. */
	CHECK_INT(db_open(s, "ruled", &user, &theirs), 0);
	CHECK_STR(body_of(theirs, "hidden", &err), "{\"n\":1}");
	CHECK_INT(db_may_list(theirs), ERR_NOT_ADMIN);
	CHECK_INT(db_may_list(db), 0);
	CHECK(!db_shows_alike(db));
	theirs->by.is_admin = 0;
	CHECK_STR(body_of(theirs, "own", &err), "{\"packed\":1}");
	CHECK_STR(body_of(theirs, "half", &err), "{\"half\":1}");
	(void)body_of(theirs, "gone", &err);
	CHECK_INT(err, ERR_MISSING);
	(void)body_of(theirs, "shut", &err);
	CHECK_INT(err, ERR_FORBIDDEN);
	(void)body_of(theirs, "hidden", &err);
	CHECK_INT(err, ERR_MISSING);
	CHECK_STR(ids_of(theirs), "gone half own | gone half own|");
	CHECK_STR(ids_of(db), "gone half hidden own shut | hidden shut gone half own| _local/l");
	CHECK_INT(db_snap_begin(theirs, &snap), 0);
	CHECK_INT(db_local_get(snap, "_local/l", 8, arena, &rev, &body), ERR_MISSING);
	db_snap_end(snap);
	CHECK_STR(body_of(db, "half", &err), "{\"packed\":1}");
	/* Validators see the whole old document, whoever writes. */
	told_reset(theirs);
	CHECK_INT(EDIT(theirs, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"plain\":2}"), 0);
	CHECK(strstr(told.text, " <- {\"_id\":\"half\",\"_rev\":\"1-x\",\"packed\":1,") != NULL);
	db_close(theirs);
}

static void
test_rules(void)
{
	struct dbs_config config = {
	    .ex = &one, .rules = rules_of, .rules_cookie = &asked, .default_security_admin_only = 1};
	struct dbs *s;
	struct db *db, *plain;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = new_db(s, "ruled");
	plain = new_db(s, "plain");
	CHECK(db_shows_alike(plain));
	test_ruled_writes(db, plain);
	test_ruled_reads(s, db);
	end_db(db);
	end_db(plain);
	dbs_free(s);
}

/* ---- Security objects ---- */

static int
may_open(struct dbs *s, const struct principal *who, int *adminp)
{
	struct db *db;
	int err = db_open(s, "secured", who, &db);

	*adminp = 0;
	if (err)
		return err;
	*adminp = db_is_admin(db);
	db_close(db);
	return 0;
}

static void
security_is(struct db *db, const char *text)
{
	struct buf b;

	buf_init_arena(&b, arena, 4096);
	CHECK_INT(db_security(db, &b), 0);
	CHECK_MEM(b.data, b.len, text, strlen(text));
}

#define ADMIN_ONLY "{\"members\":{\"roles\":[\"_admin\"]},\"admins\":{\"roles\":[\"_admin\"]}}"

/* What a database is made with stays, whatever becomes the default. */
static void
test_default_security(struct dbs *s)
{
	const struct principal nobody = {NULL, NULL, 0, 0};
	struct db *closed, *open;
	int admin;

	dbs_set_default_security(s, 1);
	closed = new_db(s, "secured");
	security_is(closed, ADMIN_ONLY);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	dbs_set_default_security(s, 0);
	security_is(closed, ADMIN_ONLY);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	open = new_db(s, "open");
	security_is(open, "{}");
	dbs_set_default_security(s, 1);
	security_is(open, "{}");
	end_db(open);
	end_db(closed);
}

static void
test_security(struct dbs *s)
{
	static const char *const roles[] = {"r1", "r2"};
	const struct principal nobody = {NULL, NULL, 0, 0}, ann = {"ann", NULL, 0, 0}, bob = {"bob", roles, 2, 0};
	struct db *db = dbtest_open(s, "secured");
	int admin;

	CHECK_INT(may_open(s, &ann, &admin), ERR_FORBIDDEN);
	CHECK_INT(set_security(db, "{\"admins\":{\"names\":[\"bob\"]}}"), 0); /* no members: everyone */
	CHECK_INT(may_open(s, &nobody, &admin), 0);
	CHECK(!admin);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(admin);
	CHECK_INT(set_security(db, "{\"readers\":{\"names\":[\"ann\"]},\"admins\":{\"roles\":[\"r2\"]}}"), 0);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	CHECK_INT(may_open(s, &ann, &admin), 0);
	CHECK(!admin);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(admin);
	/* readers is of no account where there are members. */
	CHECK_INT(set_security(db, "{\"readers\":{\"names\":[\"ann\"]},\"members\":{\"roles\":[\"r1\"]}}"), 0);
	CHECK_INT(may_open(s, &ann, &admin), ERR_FORBIDDEN);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(!admin);
	CHECK_INT(set_security(db, "{\"members\":{},\"readers\":{\"names\":[\"ann\"]}}"), 0);
	CHECK_INT(may_open(s, &nobody, &admin), 0);
	end_db(db);
}

/* Handles that are open obey a new security object at once. */
static void
test_security_of_handles(struct dbs *s)
{
	const struct principal nobody = {NULL, NULL, 0, 0}, ann = {"ann", NULL, 0, 0};
	struct db *db = dbtest_open(s, "secured"), *theirs, *nobodys;
	struct db_write w;
	struct db_request req = {.writes = &w, .nwrites = 1};
	struct db_snap *snap;

	CHECK_INT(set_security(db, "{\"admins\":{\"names\":[\"ann\"]}}"), 0);
	CHECK_INT(db_open(s, "secured", &ann, &theirs), 0);
	CHECK_INT(db_open(s, "secured", &nobody, &nobodys), 0);
	CHECK_INT(EDIT(theirs, "{\"_id\":\"_design/a\"}"), 0);
	CHECK_INT(EDIT(nobodys, "{\"_id\":\"_design/b\"}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(REPLICATE(nobodys, "{\"_id\":\"_design/b\",\"_rev\":\"1-b\"}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(set_security(nobodys, "{}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(set_security(db, "{\"members\":{\"names\":[\"ann\"]}}"), 0);
	CHECK(!db_is_admin(theirs));
	CHECK_INT(EDIT(theirs, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(EDIT(theirs, "{\"_id\":\"_design/b\"}"), ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(set_security(theirs, "{}"), ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(db_compact(theirs), ERR_NOT_DB_ADMIN);
	CHECK_INT(db_snap_begin(nobodys, &snap), ERR_UNAUTHORIZED);
	w = write_of("{\"_id\":\"b\"}", 1);
	CHECK_INT(db_submit(nobodys, &req), ERR_UNAUTHORIZED);
	CHECK_INT(set_security(db, ADMIN_ONLY), 0);
	CHECK_INT(db_snap_begin(theirs, &snap), ERR_FORBIDDEN);
	CHECK_INT(db_submit(theirs, &req), ERR_FORBIDDEN);
	db_close(theirs);
	db_close(nobodys);
	end_db(db);
}

int
main(void)
{
	struct store *store;
	struct dbs *s;

	CHECK_INT(arena_new(256u << 20, &arena), 0);
	CHECK_INT(store_mem_new(&store), 0);
	s = new_dbs(store, 1);
	test_verdicts(s);
	test_old_of_edits(s);
	test_old_of_replicated(s);
	test_old_after_compaction(s);
	test_attachments(s);
	test_batches(s);
	test_changes(s);
	test_changes_around(s);
	test_rounds(s);
	test_failing(s);
	test_together(s);
	test_first_validator(s);
	test_dropped(s);
	test_lost_commit();
	test_rules();
	test_default_security(s);
	test_security(s);
	test_security_of_handles(s);
	dbs_free(s);
	arena_free(arena);
	return check_done();
}
