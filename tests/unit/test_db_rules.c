/* test_db_rules.c: who may read and write what: the rules of a kind of database, and security objects. */
#include "ruletest.h"

#include <string.h>

#include "db/dbi.h"

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
	CHECK(cookie == &ruletest_told && !deleted);
	CHECK_STR(by->database, "ruled");
	if (jstr_is(id, "bad"))
		return err_why(why, ERR_FORBIDDEN, "a bad one of %s", by->who->name);
	if (ruletest_says(bodyp, "\"plain\"")) {
		const char *packed = arena_dup(a, "{ \"packed\" : 1 }", 16);

		*bodyp = (struct jstr){packed, 16};
	}
	return 0;
}

static int
may_read(void *cookie, const struct db_asker *by, const struct jstr *id)
{
	CHECK(cookie == &ruletest_told);
	if (by->is_admin || jstr_is(id, "own") || jstr_is(id, "half") || jstr_is(id, "gone"))
		return 0;
	return jstr_is(id, "shut") ? ERR_FORBIDDEN : ERR_MISSING;
}

static int
shown(void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp)
{
	CHECK(cookie == &ruletest_told);
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
	CHECK(cookie == &ruletest_told);
	return err_why(why, ERR_FORBIDDEN, "not this one");
}

static const struct db_rules rules = {.cookie = &ruletest_told,
    .list_admin_only = 1,
    .before_write = before_write,
    .validate = ruletest_validate,
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
	struct db_write w = ruletest_write_of("{\"_id\":\"bad\"}", 1);

	ruletest_told_reset(db);
	asked = 0;
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"own\",\"plain\":\"secret\"}"), 0);
	CHECK_INT(asked, 1);
	CHECK_STR(ruletest_told.text, "{\"_id\":\"own\",\"packed\":1} <- null\n");
	CHECK_INT(RULETEST_EDIT(plain, "{\"_id\":\"own\",\"packed\":1}"), 0);
	CHECK_STR(ruletest_winner(db, "own"), ruletest_winner(plain, "own"));
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"plain\":1}"), 0);
	CHECK_INT(asked, 2);
	CHECK(strstr(ruletest_told.text, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"packed\":1,") != NULL);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"gone\",\"n\":1}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"shut\",\"n\":1}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"hidden\",\"n\":1}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"hidden2\",\"say\":\"no\"}"), ERR_FORBIDDEN);
	CHECK_INT(ruletest_write(db, &w), ERR_FORBIDDEN);
	CHECK_STR(w.why.text, "a bad one of admin");
	CHECK_INT(ruletest_set_security(db, "{}"), ERR_FORBIDDEN);
}

/* body_of: Of a document; an error of db_get() or db_doc_rev() is *${errp}. */
static const char *
body_of(struct db *db, const char *id, int *errp)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev = {.body = {"", 0}};

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if ((*errp = db_get(snap, id, strlen(id), ruletest_arena, &doc)) == 0)
		*errp = db_doc_rev(&doc, &doc.winner, ruletest_arena, &rev);
	id = *errp == 0 ? arena_dup(ruletest_arena, rev.body.s, rev.body.len) : "";
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

	buf_init_arena(&b, ruletest_arena, 4096);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_docs_open(snap, &all, &scan), 0);
	while (db_docs_next(scan, ruletest_arena, &doc) == 0)
		CHECK_INT(buf_printf(&b, "%.*s ", (int)doc.id.len, doc.id.s), 0);
	db_scan_close(scan);
	CHECK_INT(buf_putc(&b, '|'), 0);
	CHECK_INT(db_changes_open(snap, 0, 1, &scan), 0);
	while (db_changes_next(scan, ruletest_arena, &change) == 0)
		CHECK_INT(buf_printf(&b, " %.*s", (int)change.id.len, change.id.s), 0);
	db_scan_close(scan);
	CHECK_INT(buf_putc(&b, '|'), 0);
	CHECK_INT(db_locals_open(snap, &all, &scan), 0);
	while (db_locals_step(scan, ruletest_arena, &id, &rev, &body) == 0)
		CHECK_INT(buf_printf(&b, " %.*s", (int)id.len, id.s), 0);
	db_scan_close(scan);
	db_snap_end(snap);
	return arena_dup(ruletest_arena, b.data, b.len);
}

static void
test_ruled_reads(struct dbs *s, struct db *db)
{
	static const char *const roles[] = {"_admin"};
	const struct principal user = {"user", roles, 1, 0};
	struct db_write local = {.kind = DB_WRITE_LOCAL, .id = {"_local/l", 8}, .body = {"{}", 2}};
	struct db_snap *snap;
	struct jstr body;
	uint64_t rev;
	struct db *theirs;
	int err;

	CHECK_INT(ruletest_write(db, &local), 0);
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
	CHECK_INT(db_local_get(snap, "_local/l", 8, ruletest_arena, &rev, &body), ERR_MISSING);
	db_snap_end(snap);
	CHECK_STR(body_of(db, "half", &err), "{\"packed\":1}");
	/* Validators see the whole old document, whoever writes. */
	ruletest_told_reset(theirs);
	CHECK_INT(RULETEST_EDIT(theirs, "{\"_id\":\"half\",\"_rev\":\"1-x\",\"plain\":2}"), 0);
	CHECK(strstr(ruletest_told.text, " <- {\"_id\":\"half\",\"_rev\":\"1-x\",\"packed\":1,") != NULL);
	db_close(theirs);
}

/* What rules hide is passed over a step at a time. */
static void
test_ruled_steps(struct dbs *s, struct db *db)
{
	static const struct principal user = {"user", NULL, 0, 0};
	const unsigned hidden = DB_SCAN_STEP + 20;
	const struct db_range all = {0};
	struct db_change change;
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct db *theirs;
	uint64_t since;

	CHECK_INT(db_open(s, "ruled", db->by.who, &theirs), 0);
	theirs->by.who = &user;
	theirs->by.is_admin = 0;
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_snap_seq(snap, &since), 0);
	db_snap_end(snap);
	for (unsigned i = 0; i < hidden; i++)
		CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a%04u\"}", i), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"gone\",\"_rev\":\"%s\"}", ruletest_winner(db, "gone")), 0);
	CHECK_INT(db_snap_begin(theirs, &snap), 0);
	CHECK_INT(db_docs_open(snap, &all, &scan), 0);
	CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), ERR_AGAIN);
	CHECK(jstr_is(&doc.id, "a0255"));
	CHECK_INT(db_docs_step(scan, ruletest_arena, &doc), 0);
	CHECK(jstr_is(&doc.id, "gone"));
	db_scan_close(scan);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(db_changes_open(snap, since, 0, &scan), 0);
		if (i == 0) {
			CHECK_INT(db_changes_step(scan, ruletest_arena, &change), ERR_AGAIN);
			CHECK_INT(change.seq, since + DB_SCAN_STEP);
		}
		CHECK_INT(db_changes_next(scan, ruletest_arena, &change), 0);
		CHECK_INT(change.seq, since + hidden + 1);
		CHECK_INT(db_changes_next(scan, ruletest_arena, &change), ERR_END);
		db_scan_close(scan);
	}
	db_snap_end(snap);
	db_close(theirs);
}

static void
test_rules(void)
{
	struct dbs_config config = {
	    .ex = &ruletest_ex, .rules = rules_of, .rules_cookie = &asked, .default_security_admin_only = 1};
	struct dbs *s;
	struct db *db, *plain;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = ruletest_new_db(s, "ruled");
	plain = ruletest_new_db(s, "plain");
	CHECK(db_shows_alike(plain));
	test_ruled_writes(db, plain);
	test_ruled_reads(s, db);
	test_ruled_steps(s, db);
	ruletest_end_db(db);
	ruletest_end_db(plain);
	dbs_free(s);
}

/* ---- Rules that change, and bodies that they may not give ---- */

static const struct db_rules *rules_now;

static const struct db_rules *
rules_of_now(void *cookie, const char *name)
{
	(void)cookie;
	(void)name;
	return rules_now;
}

static const char *given;

static int
give(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted, struct arena *a, struct jstr *bodyp,
    struct errtext *why)
{
	(void)cookie;
	(void)by;
	(void)id;
	(void)deleted;
	(void)a;
	(void)why;
	*bodyp = (struct jstr){given, strlen(given)};
	return 0;
}

static void
test_changing_rules(void)
{
	static const struct db_rules listing = {.list_admin_only = 1}, giving = {.before_write = give};
	static const struct principal ann = {.name = "ann"};
	struct dbs_config config = {.ex = &ruletest_ex, .rules = rules_of_now};
	struct dbs *s;
	struct db *db, *of_ann;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = ruletest_new_db(s, "ruled");
	CHECK_INT(db_open(s, "ruled", &ann, &of_ann), 0);
	CHECK_INT(db_may_list(of_ann), 0);
	rules_now = &listing;
	CHECK_INT(db_may_list(of_ann), 0);
	dbs_ask_rules(s);
	CHECK_INT(db_may_list(of_ann), ERR_NOT_ADMIN);
	CHECK_INT(db_may_list(db), 0);
	CHECK(db_shows_alike(of_ann));
	dbs_ask_rules(s);
	CHECK_INT(db_may_list(of_ann), ERR_NOT_ADMIN);
	rules_now = &giving;
	dbs_ask_rules(s);
	CHECK_INT(db_may_list(of_ann), 0);
	given = "[1]";
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), ERR_INTERNAL);
	given = "{\"a\":}";
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), ERR_BAD_JSON);
	given = "{} {}";
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), ERR_BAD_JSON);
	given = "{\"a\":1}";
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	rules_now = NULL;
	dbs_ask_rules(s);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"b\",\"a\":1}"), 0);
	CHECK_STR(ruletest_winner(db, "a"), ruletest_winner(db, "b"));
	db_close(of_ann);
	ruletest_end_db(db);
	dbs_free(s);
}

/* ---- Design documents that are checked ---- */

static unsigned checks, checked;

static void
check_design(void *cookie, const char *database, struct db_design *designs, size_t n)
{
	CHECK(cookie == &checks);
	CHECK_STR(database, "designs");
	checks++;
	checked += (unsigned)n;
	for (size_t i = 0; i < n; i++)
		if (memmem(designs[i].body.s, designs[i].body.len, "bad", 3) != NULL)
			designs[i].err = err_why(
			    &designs[i].why, ERR_BAD_REQUEST, "bad %.*s", (int)designs[i].id.len, designs[i].id.s);
}

/* What is written of a design document, however many at once, is looked at; what is not, and what may not be, is not. */
static void
test_designs(void)
{
	static const struct principal ann = {.name = "ann"};
	struct dbs_config config = {.ex = &ruletest_ex, .check_design = check_design, .check_design_cookie = &checks};
	struct dbs *s;
	struct db *db, *of_ann;
	struct db_write writes[43];
	struct db_request req = {.writes = writes, .nwrites = 43};
	char json[100];

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = ruletest_new_db(s, "designs");
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"plain\",\"say\":\"bad\"}"), 0);
	CHECK_INT(checks, 0);
	for (int i = 0; i < 40; i++) {
		snprintf(
		    json, sizeof(json), "{\"_id\":\"_design/d%d\",\"say\":\"%s\"}", i, i % 10 == 3 ? "bad" : "good");
		writes[i] = ruletest_write_of(json, 1);
	}
	writes[40] =
	    ruletest_write_of("{\"_id\":\"_design/gone\",\"_rev\":\"2-x\",\"say\":\"bad\",\"_deleted\":true}", 0);
	writes[41] = ruletest_write_of("{\"_id\":\"_design/other\",\"_rev\":\"1-x\",\"say\":\"bad\"}", 0);
	writes[42] = ruletest_write_of("{\"_id\":\"more\",\"say\":\"bad\"}", 1);
	CHECK_INT(ruletest_submit(db, &req), 0);
	for (int i = 0; i < 40; i++) {
		CHECK_INT(writes[i].err, i % 10 == 3 ? ERR_BAD_REQUEST : 0);
		if (i == 3)
			CHECK_STR(writes[i].why.text, "bad _design/d3");
	}
	CHECK_INT(writes[40].err, 0);
	CHECK_INT(writes[41].err, ERR_BAD_REQUEST);
	CHECK_INT(writes[42].err, 0);
	CHECK_INT(checked, 41);
	CHECK_INT(checks, 2);
	CHECK_INT(db_open(s, "designs", &ann, &of_ann), 0);
	CHECK_INT(RULETEST_EDIT(of_ann, "{\"_id\":\"_design/mine\",\"say\":\"bad\"}"), ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(RULETEST_REPLICATE(of_ann, "{\"_id\":\"_design/mine\",\"_rev\":\"1-x\",\"say\":\"bad\"}"),
	    ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(checked, 41);
	db_close(of_ann);
	ruletest_end_db(db);
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

	buf_init_arena(&b, ruletest_arena, 4096);
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
	closed = ruletest_new_db(s, "secured");
	security_is(closed, ADMIN_ONLY);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	dbs_set_default_security(s, 0);
	security_is(closed, ADMIN_ONLY);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	open = ruletest_new_db(s, "open");
	security_is(open, "{}");
	dbs_set_default_security(s, 1);
	security_is(open, "{}");
	ruletest_end_db(open);
	ruletest_end_db(closed);
}

static void
test_security(struct dbs *s)
{
	static const char *const roles[] = {"r1", "r2"};
	const struct principal nobody = {NULL, NULL, 0, 0}, ann = {"ann", NULL, 0, 0}, bob = {"bob", roles, 2, 0};
	struct db *db = dbtest_open(s, "secured");
	int admin;

	CHECK_INT(may_open(s, &ann, &admin), ERR_FORBIDDEN);
	CHECK_INT(ruletest_set_security(db, "{\"admins\":{\"names\":[\"bob\"]}}"), 0); /* no members: everyone */
	CHECK_INT(may_open(s, &nobody, &admin), 0);
	CHECK(!admin);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(admin);
	CHECK_INT(ruletest_set_security(db, "{\"readers\":{\"names\":[\"ann\"]},\"admins\":{\"roles\":[\"r2\"]}}"), 0);
	CHECK_INT(may_open(s, &nobody, &admin), ERR_UNAUTHORIZED);
	CHECK_INT(may_open(s, &ann, &admin), 0);
	CHECK(!admin);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(admin);
	/* readers is of no account where there are members. */
	CHECK_INT(ruletest_set_security(db, "{\"readers\":{\"names\":[\"ann\"]},\"members\":{\"roles\":[\"r1\"]}}"), 0);
	CHECK_INT(may_open(s, &ann, &admin), ERR_FORBIDDEN);
	CHECK_INT(may_open(s, &bob, &admin), 0);
	CHECK(!admin);
	/* What is no list of strings names nobody; other members are kept, and say nothing. */
	CHECK_INT(ruletest_set_security(db, "{\"members\":{\"names\":[1,null,[\"bob\"],\"ann\"],\"roles\":{\"a\":"
					    "\"r1\"},\"x\":[1]},\"admins\":[\"bob\"],\"y\":{}}"),
	    0);
	CHECK_INT(may_open(s, &(struct principal){.name = "ann"}, &admin), 0);
	CHECK_INT(admin, 0);
	CHECK_INT(may_open(s, &(struct principal){.name = "bob"}, &admin), ERR_FORBIDDEN);
	CHECK_INT(ruletest_set_security(db, "{\"members\":\"ann\",\"admins\":{\"names\":\"bob\",\"roles\":7}}"), 0);
	CHECK_INT(may_open(s, &(struct principal){.name = "zoe"}, &admin), 0);
	CHECK_INT(admin, 0);
	CHECK_INT(ruletest_set_security(db, "{\"members\":{},\"readers\":{\"names\":[\"ann\"]}}"), 0);
	CHECK_INT(may_open(s, &nobody, &admin), 0);
	ruletest_end_db(db);
}

/* Who asks is copied whole, or not at all, into an arena of each size. */
static void
test_principals(void)
{
	static const char *const roles[] = {"a role", "another one, with a longer name"};
	const struct principal from = {.name = "somebody", .roles = roles, .nroles = 2, .server_admin = 1},
			       nobody = {0};
	struct principal to;
	struct arena *a;
	int err = ERR_NOMEM;

	for (size_t max = 0; err != 0 && max < 1000; max += 16) {
		CHECK_INT(arena_new(max, &a), 0);
		err = db_principal_copy(a, &from, &to);
		CHECK(err == 0 || err == ERR_NOMEM);
		if (err == 0) {
			CHECK_STR(to.name, "somebody");
			CHECK_INT(to.nroles, 2);
			CHECK_STR(to.roles[1], roles[1]);
			CHECK(to.roles[1] != roles[1] && to.name != from.name && to.server_admin);
		}
		arena_free(a);
	}
	CHECK_INT(err, 0);
	CHECK_INT(arena_new(100, &a), 0);
	CHECK_INT(db_principal_copy(a, &nobody, &to), 0);
	CHECK(to.name == NULL && to.nroles == 0);
	arena_free(a);
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

	CHECK_INT(ruletest_set_security(db, "{\"admins\":{\"names\":[\"ann\"]}}"), 0);
	CHECK_INT(db_open(s, "secured", &ann, &theirs), 0);
	CHECK_INT(db_open(s, "secured", &nobody, &nobodys), 0);
	CHECK_INT(RULETEST_EDIT(theirs, "{\"_id\":\"_design/a\"}"), 0);
	CHECK_INT(RULETEST_EDIT(nobodys, "{\"_id\":\"_design/b\"}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(RULETEST_REPLICATE(nobodys, "{\"_id\":\"_design/b\",\"_rev\":\"1-b\"}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(ruletest_set_security(nobodys, "{}"), ERR_NOT_DB_ADMIN);
	CHECK_INT(ruletest_set_security(db, "{\"members\":{\"names\":[\"ann\"]}}"), 0);
	CHECK(!db_is_admin(theirs));
	CHECK_INT(RULETEST_EDIT(theirs, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(RULETEST_EDIT(theirs, "{\"_id\":\"_design/b\"}"), ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(ruletest_set_security(theirs, "{}"), ERR_NOT_DB_ADMIN_NAMED);
	CHECK_INT(db_compact(theirs), ERR_NOT_DB_ADMIN);
	CHECK_INT(db_snap_begin(nobodys, &snap), ERR_UNAUTHORIZED);
	w = ruletest_write_of("{\"_id\":\"b\"}", 1);
	CHECK_INT(db_submit(nobodys, &req), ERR_UNAUTHORIZED);
	CHECK_INT(ruletest_set_security(db, ADMIN_ONLY), 0);
	CHECK_INT(db_snap_begin(theirs, &snap), ERR_FORBIDDEN);
	CHECK_INT(db_submit(theirs, &req), ERR_FORBIDDEN);
	db_close(theirs);
	db_close(nobodys);
	ruletest_end_db(db);
}

int
main(void)
{
	struct dbs *s = ruletest_begin();

	test_rules();
	test_changing_rules();
	test_principals();
	test_designs();
	test_default_security(s);
	test_security(s);
	test_security_of_handles(s);
	return ruletest_end(s);
}
