/*
 * test_replicator_jobs.c: replications that requests and documents ask for: that they run, are told of, end, are cancelled,
 * crash and come again, and that many wait for their turn.
 */
#include "reptest.h"

#include <stdatomic.h>

#include "dbdamage.h"
#include "execpass.h"

struct answer {
	struct dbtest_wait wait;
	int err;
	char why[ERRTEXT_MAX];
	char text[4096];
};

static void
answered(void *cookie, int err, const struct errtext *why, struct jstr text)
{
	struct answer *a = cookie;

	a->err = err;
	snprintf(a->why, sizeof(a->why), "%s", why->text);
	snprintf(a->text, sizeof(a->text), "%.*s", (int)text.len, text.s != NULL ? text.s : "");
	dbtest_wake(&a->wait);
}

/* Returns what replicator_run() did; waits for the answer, if it comes later. */
static int
ask(const char *body, const struct principal *who, struct answer *a, int *statusp)
{
	struct errtext why = {""};
	struct buf b;
	int err;

	memset(a, 0, sizeof(*a));
	dbtest_wait_init(&a->wait);
	buf_init(&b, sizeof(a->text) - 1);
	err = replicator_run(reptest_rep, (struct jstr){body, strlen(body)}, who, answered, a, &b, statusp, &why);
	if (err == 0)
		dbtest_wait_for(&a->wait);
	else if (err == ERR_END)
		memcpy(a->text, b.data, b.len);
	else
		snprintf(a->why, sizeof(a->why), "%s", why.text);
	buf_release(&b);
	return err;
}

static void
remove_doc(const char *name, const char *id)
{
	char text[8192], json[256];

	reptest_get(name, id, text, sizeof(text));
	snprintf(json, sizeof(json), "{\"_id\":\"%s\",\"_rev\":\"%.*s\",\"_deleted\":true}", id,
	    (int)strcspn(text, " "), text);
	dbtest_put(reptest_dbs, name, json, 1);
}

static void
test_request(void)
{
	struct answer a;
	int status;

	dbtest_create(reptest_dbs, "a");
	dbtest_create(reptest_dbs, "b");
	dbtest_put(reptest_dbs, "a", "{\"_id\":\"x\",\"n\":1}", 1);
	CHECK_INT(ask("{\"source\":\"a\",\"target\":\"b\"}", &dbtest_admin, &a, &status), 0);
	CHECK_INT(a.err, 0);
	CHECK(strstr(a.text, "\"docs_written\":1") != NULL);
	CHECK_INT(ask("{\"source\":\"a\",\"target\":\"none\"}", &dbtest_admin, &a, &status), 0);
	CHECK_INT(a.err, ERR_NO_DB);
	CHECK_STR(a.why, "could not open none");
	CHECK_INT(ask("[]", &dbtest_admin, &a, &status), ERR_BAD_REQUEST);
	CHECK_INT(ask("{", &dbtest_admin, &a, &status), ERR_BAD_JSON);
	CHECK_INT(ask("{\"source\":\"a\"}", &dbtest_admin, &a, &status), ERR_BAD_REQUEST);
	CHECK_INT(
	    ask("{\"source\":\"a\",\"target\":\"b\",\"doc_ids\":\"x\"}", &dbtest_admin, &a, &status), ERR_BAD_REQUEST);
	CHECK_STR(a.why, "parameter `doc_ids` must be an array");
	CHECK_INT(ask("{\"replication_id\":\"nope\",\"cancel\":true}", &dbtest_admin, &a, &status), ERR_MISSING);
}

static void
test_continuous(void)
{
	static const struct principal other = {.name = "other"};
	static const char body[] = "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true}";
	static const char cancel[] = "{\"source\":\"a\",\"target\":\"b\",\"continuous\":true,\"cancel\":true}";
	struct answer a, again;
	struct buf b;
	int status;

	CHECK_INT(ask(body, &dbtest_admin, &a, &status), ERR_END);
	CHECK_INT(status, 202);
	CHECK_INT(ask(body, &dbtest_admin, &again, &status), ERR_END);
	CHECK_STR(again.text, a.text);
	dbtest_put(reptest_dbs, "a", "{\"_id\":\"live\"}", 1);
	reptest_wait_for_doc("b", "live", "1-");
	buf_init(&b, 1u << 20);
	CHECK_INT(replicator_put_jobs(reptest_rep, 0, 10, &b), 0);
	buf_putc(&b, '\0');
	CHECK(strstr(b.data, "{\"total_rows\":1,\"offset\":0,\"jobs\":[{\"database\":null,\"id\":\"") == b.data);
	CHECK(strstr(b.data, "\"type\":\"started\"") != NULL);
	buf_clear(&b);
	CHECK_INT(replicator_put_tasks(reptest_rep, &b), 0);
	CHECK(memmem(b.data, b.len, "\"continuous\":true", 17) != NULL);
	buf_release(&b);
	CHECK_INT(ask(cancel, &other, &a, &status), ERR_UNAUTHORIZED);
	CHECK_INT(ask(cancel, &dbtest_admin, &a, &status), ERR_END);
	CHECK_INT(status, 200);
	CHECK_STR(a.text, again.text);
	CHECK_INT(ask(cancel, &dbtest_admin, &a, &status), ERR_MISSING);
}

#define SAME "\"source\":\"a\",\"target\":\"same\",\"continuous\":true"

static void
describe(const char *id, const char *how)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"_id\":\"%s\",%s,\"user_ctx\":{\"roles\":[\"_admin\"]}}", id, how);
	dbtest_put(reptest_dbs, "_replicator", json, 1);
}

/* It is written anew, and describes the same still. */
static void
describe_again(const char *id, const char *how)
{
	char json[1024], text[512];

	reptest_get("_replicator", id, text, sizeof(text));
	snprintf(json, sizeof(json),
	    "{\"_id\":\"%s\",\"_rev\":\"%.*s\",%s,\"note\":1,\"user_ctx\":{\"roles\":[\"_admin\"]}}", id,
	    (int)strcspn(text, " "), text, how);
	dbtest_put(reptest_dbs, "_replicator", json, 1);
}

/* Of those who describe the same replication one has it; when that one goes, the others follow in their order. */
static void
test_same(void)
{
	struct replicator *r = reptest_rep;
	struct answer a;
	int status;

	dbtest_create(reptest_dbs, "same");
	CHECK_INT(ask("{" SAME "}", &dbtest_admin, &a, &status), ERR_END);
	describe("first", SAME);
	reptest_wait_for_state("first", "failed");
	describe("next", SAME);
	reptest_wait_for_state("next", "failed");
	CHECK_INT(ask("{" SAME "}", &dbtest_admin, &a, &status), ERR_END);
	CHECK_INT(ask("{" SAME ",\"cancel\":true}", &dbtest_admin, &a, &status), ERR_END);
	reptest_wait_for_state("first", "running");
	reptest_wait_for_state("next", "failed");
	CHECK_INT(ask("{" SAME "}", &dbtest_admin, &a, &status), ERR_CONFLICT);
	describe_again("first", SAME);
	dbtest_put(reptest_dbs, "_replicator", "{\"_id\":\"read\",\"source\":5}", 1);
	reptest_wait_for_state("read", "failed");
	reptest_wait_for_state("first", "running");
	reptest_wait_for_state("next", "failed");
	/* The name of its document is another now: the new one is read first. */
	reptest_rep = NULL;
	describe("early", SAME);
	remove_doc("_replicator", "next");
	remove_doc("_replicator", "first");
	reptest_rep = r;
	replicator_moved(r, "_replicator", 0, 0);
	reptest_wait_for_state("early", "running");
	dbtest_put(reptest_dbs, "a", "{\"_id\":\"renamed\"}", 1);
	reptest_wait_for_doc("same", "renamed", "1-");
	remove_doc("_replicator", "early");
}

static void
wait_until_gone(const char *doc)
{
	struct jstr database = {"_replicator", 11}, id = {doc, strlen(doc)};
	struct buf b;
	unsigned i;
	int err = 0;

	for (i = 0; i < 20000 && err != ERR_MISSING; i++) {
		buf_init(&b, 1u << 20);
		err = replicator_put_doc(reptest_rep, database, id, &b);
		buf_release(&b);
		if (err != ERR_MISSING)
			usleep(1000);
	}
	CHECK_INT(err, ERR_MISSING);
}

/* A document that is purged takes its replication along, also where that many are purged that the first are forgotten. */
static void
test_purged(void)
{
	struct db *db = dbtest_open(reptest_dbs, "_replicator");
	struct db_write limit = {.kind = DB_WRITE_PURGED_LIMIT, .number = 1};
	struct db_request req = {.writes = &limit, .nwrites = 1};
	struct replicator *r = reptest_rep;
	char name[24];
	int i;

	dbtest_create(reptest_dbs, "purged");
	for (i = 0; i < 4; i++) {
		char how[128];

		snprintf(name, sizeof(name), "purge%d", i);
		snprintf(how, sizeof(how),
		    "\"source\":\"a\",\"target\":\"purged\",\"continuous\":true,\"doc_ids\":[\"%d\"]", i);
		describe(name, how);
	}
	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "purge%d", i);
		reptest_wait_for_state(name, "running");
	}
	reptest_purge(db, "purge0");
	wait_until_gone("purge0");
	CHECK_INT(dbtest_submit(db, &req), 0);
	reptest_rep = NULL;
	reptest_purge(db, "purge1");
	reptest_purge(db, "purge2");
	reptest_rep = r;
	replicator_moved(r, "_replicator", 0, 0);
	wait_until_gone("purge2");
	wait_until_gone("purge1");
	reptest_wait_for_state("purge3", "running");
	remove_doc("_replicator", "purge3");
	db_close(db);
}

/* Of two that end, each is told that it has. */
static void
test_same_ends(void)
{
	static const char how[] = "\"source\":\"a\",\"target\":\"soon\"";

	describe("ends", how);
	reptest_wait_for_state("ends", "crashing");
	describe("too", how);
	reptest_wait_for_state("too", "failed");
	describe_again("ends", how);
	dbtest_put(reptest_dbs, "_replicator", "{\"_id\":\"read too\",\"source\":5}", 1);
	reptest_wait_for_state("read too", "failed");
	reptest_wait_for_state("too", "failed");
	dbtest_create(reptest_dbs, "soon");
	reptest_wait_for_doc("_replicator", "ends", "\"_replication_state\":\"completed\"");
	reptest_wait_for_doc("_replicator", "too", "\"_replication_state\":\"completed\"");
}

static void
test_documents(void)
{
	char text[8192];

	dbtest_put(reptest_dbs, "_replicator",
	    "{\"_id\":\"one\",\"source\":\"a\",\"target\":\"made\",\"create_target\":true,\"user_ctx\":{"
	    "\"roles\":[\"_admin\"]}}",
	    1);
	reptest_wait_for_doc("_replicator", "one", "\"_replication_state\":\"completed\"");
	reptest_wait_for_state("one", "completed");
	reptest_wait_for_doc("made", "live", "1-");
	reptest_get("_replicator", "one", text, sizeof(text));
	CHECK(strncmp(text, "2-", 2) == 0);
	CHECK(strstr(text, "\"docs_written\":2") != NULL);
	CHECK(strstr(text, "\"changes_pending\":null") != NULL);

	dbtest_put(reptest_dbs, "_replicator", "{\"_id\":\"bad\",\"source\":5}", 1);
	reptest_wait_for_doc("_replicator", "bad", "\"_replication_state\":\"failed\"");
	reptest_wait_for_state("bad", "failed");

	dbtest_put(reptest_dbs, "_replicator",
	    "{\"_id\":\"lost\",\"source\":\"a\",\"target\":\"later\",\"user_ctx\":{\"roles\":[\"_admin\"]}}", 1);
	reptest_wait_for_state("lost", "crashing");
	dbtest_create(reptest_dbs, "later");
	reptest_wait_for_state("lost", "completed");

	dbtest_put(reptest_dbs, "_replicator",
	    "{\"_id\":\"on\",\"source\":\"a\",\"target\":\"later\",\"continuous\":true,\"user_ctx\":{"
	    "\"roles\":[\"_admin\"]}}",
	    1);
	reptest_wait_for_state("on", "running");
	dbtest_put(reptest_dbs, "_replicator",
	    "{\"_id\":\"same\",\"source\":\"a\",\"target\":\"later\",\"continuous\":true,\"user_ctx\":{"
	    "\"roles\":[\"_admin\"]}}",
	    1);
	reptest_wait_for_state("same", "failed");
	dbtest_put(reptest_dbs, "a", "{\"_id\":\"more\"}", 1);
	reptest_wait_for_doc("later", "more", "1-");
	remove_doc("_replicator", "on");
	wait_until_gone("on");
}

/* More continuous ones than may run at a time: each gets its turn. */
static void
test_turns(void)
{
	struct replicator_count count;
	char name[32], json[256];
	unsigned i;

	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "turn%u", i);
		dbtest_create(reptest_dbs, name);
		snprintf(json, sizeof(json),
		    "{\"_id\":\"turn%u\",\"source\":\"a\",\"target\":\"turn%u\",\"continuous\":true,\"user_ctx\":{"
		    "\"roles\":[\"_admin\"]}}",
		    i, i);
		dbtest_put(reptest_dbs, "_replicator", json, 1);
	}
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "turn%u", i);
		reptest_wait_for_doc(name, "more", "1-");
		replicator_count(reptest_rep, &count);
		CHECK(count.running <= 4);
	}
}

/* The replications of a database that is gone are not those of the one that has its name now. */
static void
test_made_anew(void)
{
	struct jstr database = {"x/_replicator", 13}, id = {"old", 3};
	struct replicator *r = reptest_rep;
	struct buf b;

	dbtest_create(reptest_dbs, "x/_replicator");
	dbtest_put(reptest_dbs, "x/_replicator",
	    "{\"_id\":\"old\",\"source\":\"a\",\"target\":\"b\",\"continuous\":true,"
	    "\"user_ctx\":{\"roles\":[\"_admin\"]}}",
	    1);
	buf_init(&b, 1u << 20);
	while (replicator_put_doc(reptest_rep, database, id, &b) == ERR_MISSING)
		usleep(1000);
	/* Nobody is told that it goes, as when it is there again before anybody looked. */
	reptest_rep = NULL;
	CHECK_INT(dbs_drop(reptest_dbs, "x/_replicator", &dbtest_admin), 0);
	dbtest_create(reptest_dbs, "x/_replicator");
	reptest_rep = r;
	dbtest_put(reptest_dbs, "x/_replicator",
	    "{\"_id\":\"ended\",\"source\":\"a\",\"target\":\"b\",\"_replication_state\":"
	    "\"failed\",\"_replication_state_reason\":\"so \\\"it\\\" was\"}",
	    1);
	id = (struct jstr){"ended", 5};
	buf_clear(&b);
	while (replicator_put_doc(reptest_rep, database, id, &b) == ERR_MISSING)
		usleep(1000);
	buf_putc(&b, '\0');
	CHECK(strstr(b.data, "\"info\":{\"error\":\"so \\\"it\\\" was\"}") != NULL);
	id = (struct jstr){"old", 3};
	buf_clear(&b);
	CHECK_INT(replicator_put_doc(reptest_rep, database, id, &b), ERR_MISSING);
	buf_release(&b);
	CHECK_INT(dbs_drop(reptest_dbs, "x/_replicator", &dbtest_admin), 0);
}

/* ---- Rests ---- */

#define REST_MS 600000u
#define RESTS 5u

/* An executor whose clock jumps over long rests, which it notes, and by ${look_ms} whenever somebody looks. */
static _Atomic uint64_t jumped_ms, look_ms, rests[RESTS];
static _Atomic unsigned nrests, nfirst; /* nfirst: of those, no longer than what is not doubled */

static void
jumping_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	unsigned n;

	if (delay_ms > REST_MS / 2) {
		n = atomic_fetch_add(&nrests, 1);
		nfirst += delay_ms <= REST_MS / 4 * 5;
		if (n < RESTS)
			rests[n] = delay_ms;
		jumped_ms += delay_ms;
		delay_ms = 1;
	}
	execpass_later(ex, job, delay_ms);
}

static uint64_t
jumping_now_ms(struct executor *ex)
{
	return execpass_now_ms(ex) + (jumped_ms += look_ms);
}

static struct executor jumping = {
    execpass_submit, jumping_later, execpass_cancel, jumping_now_ms, execpass_wall_us, execpass_random};

/* Begin to replicate a database that has a damaged document; wait for so many rests. */
static void
replicate_hurt(const char *target)
{
	char text[256];
	unsigned i;

	nrests = nfirst = 0;
	dbtest_create(reptest_dbs, "_replicator");
	reptest_ex = &jumping;
	reptest_begin((struct replicator_limits){.max_jobs = 4, .interval_ms = 50, .backoff_ms = REST_MS});
	snprintf(text, sizeof(text),
	    "{\"_id\":\"to-%s\",\"source\":\"hurt\",\"target\":\"%s\",\"continuous\":true,\"user_ctx\":{"
	    "\"roles\":[\"_admin\"]}}",
	    target, target);
	dbtest_put(reptest_dbs, "_replicator", text, 1);
	for (i = 0; i < 20000 && nrests < RESTS; i++)
		usleep(1000);
	CHECK(nrests >= RESTS);
}

static void
replicate_no_more(void)
{
	reptest_end();
	reptest_ex = NULL;
	CHECK_INT(dbs_drop(reptest_dbs, "_replicator", &dbtest_admin), 0);
}

/*
 * Behind a document that cannot be copied a continuous run rests twice as long as the one before: it goes on meanwhile, and however
 * long that is, or the way to the document, the failures before are not forgotten.
 */
static void
test_rests(const char *target, uint64_t way_ms)
{
	unsigned i;

	dbtest_create(reptest_dbs, target);
	look_ms = way_ms;
	replicate_hurt(target);
	look_ms = 0;
	for (i = 0; i < RESTS; i++) {
		CHECK(rests[i] >= (uint64_t)REST_MS << i);
		CHECK(rests[i] <= ((uint64_t)REST_MS << i) / 4 * 5);
	}
	replicate_no_more();
}

/* What comes behind an outage does not rest as long as that has lasted. */
static void
test_rests_anew(void)
{
	unsigned i;

	replicate_hurt("late");
	CHECK_INT(nfirst, 1);
	dbtest_create(reptest_dbs, "late");
	for (i = 0; i < 20000 && nfirst == 1; i++)
		usleep(1000);
	CHECK(nfirst > 1);
	replicate_no_more();
}

int
main(void)
{
	struct db *db;

	reptest_open();
	dbtest_create(reptest_dbs, "_replicator");
	reptest_begin((struct replicator_limits){.max_jobs = 4, .interval_ms = 50, .backoff_ms = 50});
	test_request();
	test_continuous();
	test_documents();
	test_same();
	test_same_ends();
	test_purged();
	test_made_anew();
	test_turns();
	reptest_end();
	reptest_close();
	reptest_open();
	dbtest_create(reptest_dbs, "hurt");
	dbtest_put(reptest_dbs, "hurt", "{\"_id\":\"x\"}", 1);
	db = dbtest_open(reptest_dbs, "hurt");
	dbdamage_record(db, TREE_DOCS, "x", 1);
	test_rests("rest", 0);
	test_rests("far", 130000);
	test_rests_anew();
	db_close(db);
	reptest_close();
	return check_done();
}
