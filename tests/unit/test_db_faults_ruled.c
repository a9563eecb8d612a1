/*
 * test_db_faults_ruled.c: another life as in test_db_faults.c: of a partitioned database that has rules, validators and checked design documents, is
 * used by others than administrators, and holds long ids, deep trees, several leaves and bodies of older revisions.
 */
#include "faultlife.h"

#define LONG 500u /* longer than what is a key of its own */

enum { A, B, ATT, RULED, HIDDEN, LONG_A, LONG_B, LONG_C, LONG_LOCAL, LOCAL, DEEP, VALID, OTHER, AGAIN, MANY, IDS };
static const char *ids[IDS] = {[A] = "p:a",
    [B] = "q:b",
    [ATT] = "p:att",
    [RULED] = "p:ruled",
    [HIDDEN] = "p:hidden",
    [LOCAL] = "_local/l",
    [DEEP] = "p:deep",
    [VALID] = "_design/v",
    [OTHER] = "_design/o",
    [AGAIN] = "p:again0",
    [MANY] = "q:many"};
static char long_ids[4][LONG + 16];

static const char *const roles[] = {"other", "crew"};
static const struct principal member = {.name = "mia", .roles = roles, .nroles = 2};
static const struct principal boss = {.name = "boss"};
static const struct principal stranger = {.name = "zoe", .roles = roles, .nroles = 1};
static const struct principal nobody;

/* ---- Rules ---- */

static int
before_write(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted, struct arena *a,
    struct jstr *bodyp, struct errtext *why)
{
	static const char text[] = "{\"by\":\"rule\"}";
	char *body;

	(void)cookie;
	(void)by;
	if (jstr_is(id, "p:refused"))
		return err_why(why, ERR_FORBIDDEN, "not this");
	if (!jstr_is(id, "p:ruled") || deleted)
		return 0;
	if ((body = arena_dup(a, text, sizeof(text) - 1)) == NULL)
		return ERR_NOMEM;
	*bodyp = (struct jstr){body, sizeof(text) - 1};
	return 0;
}

static struct db *asked_of; /* where what follows happens when "p:again0" is heard for the first time */

static int
validate(void *cookie, struct db_hearing *h)
{
	struct db_write w = {.kind = DB_WRITE_SECURITY, .body = {"{\"members\":{\"roles\":[\"crew\"]}}", 30}};
	struct db *db = asked_of;

	(void)cookie;
	if (h->n > 0 && jstr_is(&h->verdicts[0].id, "p:again0") && db != NULL) {
		asked_of = NULL;
		db_hearing_release(h);
		(void)submit(db, &w);
	}
	for (size_t i = 0; i < h->n; i++)
		if (jstr_is(&h->verdicts[i].id, "q:no"))
			h->verdicts[i].err = ERR_FORBIDDEN;
	return 0;
}

static int
stands_for(void *cookie, const struct jstr *id, const struct jstr *body)
{
	(void)cookie;
	(void)body;
	return jstr_is(id, "_design/o");
}

static int
may_read(void *cookie, const struct db_asker *by, const struct jstr *id)
{
	(void)cookie;
	return jstr_is(id, "p:hidden") && !by->who->server_admin ? ERR_MISSING : 0;
}

static int
shown(void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp)
{
	(void)cookie;
	(void)a;
	if (jstr_is(id, "p:ruled") && !by->who->server_admin)
		*bodyp = (struct jstr){"{}", 2};
	return 0;
}

static int
before_security(void *cookie, const struct db_asker *by, struct errtext *why)
{
	(void)cookie;
	return by->who->name != NULL && strcmp(by->who->name, "boss") == 0 ? err_why(why, ERR_FORBIDDEN, "not the boss")
									   : 0;
}

static const struct db_rules the_rules = {.before_write = before_write,
    .validate = validate,
    .stands_for = stands_for,
    .may_read = may_read,
    .shown = shown,
    .before_security = before_security};

static const struct db_rules *
rules_of(void *cookie, const char *name)
{
	(void)cookie;
	return strcmp(name, NAME) == 0 ? &the_rules : NULL;
}

static void
check_design(void *cookie, const char *database, struct db_design *designs, size_t n)
{
	(void)cookie;
	(void)database;
	for (size_t i = 0; i < n; i++)
		if (memmem(designs[i].body.s, designs[i].body.len, "bad", 3) != NULL)
			designs[i].err = err_why(&designs[i].why, ERR_BAD_REQUEST, "bad");
}

/* ---- The life ---- */

static int PRINTF_LIKE(4, 5) tell(struct db *db, unsigned which, int new_edits, const char *fmt, ...)
{
	static char json[4 * LONG + 4096];
	va_list ap;
	size_t n = (size_t)snprintf(json, sizeof(json), "{\"_id\":\"%s\"", ids[which]);

	va_start(ap, fmt);
	(void)vsnprintf(json + n, sizeof(json) - n, fmt, ap);
	va_end(ap);
	return put(db, which, new_edits, json);
}

/* ",..." of a revision ${from} generations deep; those behind ${own} are its own, the others all have. */
static const char *
path_text(unsigned from, unsigned own, const char *name)
{
	static char text[4096];
	size_t n = (size_t)snprintf(text, sizeof(text),
	    ",\"_rev\":\"%u-%s%u\",\"v\":\"%s\",\"_revisions\":{\"start\":%u,\"ids\":[", from, name, from, name, from);

	for (unsigned i = from; i > 0; i--)
		n += (size_t)snprintf(
		    text + n, sizeof(text) - n, "%s\"%s%u\"", i < from ? "," : "", i > own ? name : "r", i);
	(void)snprintf(text + n, sizeof(text) - n, "]}}");
	return text;
}

static int
submit_to(struct db *db, struct db_write *writes, size_t n)
{
	struct db_request req = {.writes = writes, .nwrites = n};
	int err = seen(ruletest_submit(db, &req));

	for (size_t i = 0; i < n && err == 0; i++)
		(void)seen(writes[i].err);
	return err;
}

static void
set(struct db *db, enum db_write_kind kind, const char *text, uint64_t number, uint64_t seconds)
{
	struct db_write w = {.kind = kind, .body = {text, strlen(text)}, .number = number, .seconds = seconds};

	(void)submit(db, &w);
}

/* An attachment in one piece; then a write that names it, and a replicated one that names it and brings another. */
static void
put_atts(struct db *db)
{
	struct db_blob *b = NULL;
	struct db_write_att atts[2] = {
	    {.name = {"x", 1}, .type = {"text/plain", 10}}, {.name = {"y", 1}, .type = {"text/plain", 10}}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {"p:att", 5},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = atts,
	    .natts = 1};
	struct rev path[2];

	if (seen(db_blob_new(db, DB_BLOB_PLAIN, &b)) != 0)
		return;
	if (seen(db_blob_add(b, "some bytes", 10)) == 0 && seen(db_blob_end(b)) == 0) {
		atts[0].blob = b;
		(void)submit(db, &w);
		if (w.err == 0 && w.rev.len > 0) {
			life.put[ATT] = 1;
			life.revs[ATT] = w.rev;
			w.has_parent = 1;
			w.parent = w.rev;
			atts[0].blob = NULL;
			if (submit(db, &w) == 0)
				life.revs[ATT] = w.rev;
			path[0] = (struct rev){9, (const unsigned char *)"other", 5};
			path[1] = rev_of(&w.rev);
			path[1].gen = 8;
			w.kind = DB_WRITE_REPLICATE;
			w.path = path;
			w.npath = 2;
			atts[1].blob = b;
			w.natts = 2;
			(void)submit(db, &w);
		}
	}
	db_blob_free(b);
}

static void
purge(struct db *db, unsigned which)
{
	struct rev at = rev_of(&life.revs[which]);
	unsigned char gone;
	struct db_write w = {
	    .kind = DB_WRITE_PURGE, .id = {ids[which], strlen(ids[which])}, .path = &at, .npath = 1, .purged = &gone};

	if (!life.put[which])
		return;
	life.put[which] = 0;
	(void)submit(db, &w);
}

/* Some documents in one request: one is new, one has changed, one is refused, one is what is there. */
static void
put_several(struct db *db)
{
	struct db_write writes[5] = {life_write("{\"_id\":\"q:several\",\"n\":1}", 1),
	    life_write("{\"_id\":\"q:no\"}", 1), life_write("{\"_id\":\"p:refused\"}", 1),
	    life_write("{\"_id\":\"_design/bad\",\"x\":\"bad\"}", 1), life_write("{\"_id\":\"q:b\"}", 1)};

	(void)submit_to(db, writes, 5);
}

static void
write_documents(struct db *db)
{
	(void)tell(db, A, 1, ",\"n\":1}");
	(void)tell(db, A, 1, ",\"n\":2}");
	(void)tell(db, B, 0, ",\"_rev\":\"2-y\",\"_revisions\":{\"start\":2,\"ids\":[\"y\",\"x\"]},\"v\":1}");
	(void)tell(db, B, 0, ",\"_rev\":\"2-z\",\"_revisions\":{\"start\":2,\"ids\":[\"z\",\"x\"]},\"v\":2}");
	(void)tell(db, B, 0, ",\"_rev\":\"3-w\",\"_revisions\":{\"start\":3,\"ids\":[\"w\",\"z\",\"x\"]},\"v\":2}");
	(void)tell(db, VALID, 1, ",\"validate_doc_update\":\"function\"}");
	(void)tell(db, OTHER, 1, ",\"validate_doc_update\":\"function\",\"language\":\"x\"}");
	(void)tell(db, RULED, 1, ",\"n\":1}");
	(void)tell(db, RULED, 1, ",\"n\":2}");
	(void)tell(db, HIDDEN, 1, "}");
	put_atts(db);
	put_several(db);
	for (unsigned i = LONG_A; i <= LONG_C; i++)
		(void)tell(db, i, 1, ",\"i\":%u}", i);
	(void)tell(db, LONG_B, 1, ",\"i\":\"again\"}");
	(void)tell(db, LONG_LOCAL, 1, ",\"n\":1}");
	(void)tell(db, LOCAL, 1, ",\"n\":1}");
	(void)tell(db, LOCAL, 1, ",\"_rev\":\"0-1\",\"n\":2}");
	(void)tell(db, DEEP, 0, "%s", path_text(110, 109, "r"));
	(void)tell(db, DEEP, 0, "%s", path_text(70, 50, "z"));
	(void)tell(db, DEEP, 0, "%s", path_text(111, 110, "r"));
}

static void
delete_one(struct db *db, unsigned which)
{
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {ids[which], strlen(ids[which])},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .deleted = 1,
	    .has_parent = 1,
	    .parent = life.revs[which]};

	if (strncmp(ids[which], "_local/", 7) == 0) {
		w.kind = DB_WRITE_LOCAL;
		w.parent = (struct revbuf){.gen = 0, .len = 1, .id = "1"};
	}
	if (!life.put[which])
		return;
	life.put[which] = 0; /* whatever comes of it */
	(void)submit(db, &w);
}

static void
write_all(struct db *db)
{
	set(db, DB_WRITE_HISTORY_KEPT, "", 2, 1000);
	write_documents(db);
	set(db, DB_WRITE_SECURITY,
	    "{\"admins\":{\"names\":[\"boss\",1],\"roles\":[\"chiefs\"],\"x\":[]},\"members\":{\"names\":[\"joe\"],"
	    "\"roles\":[\"crew\",null]},\"readers\":{\"names\":{}},\"other\":{\"a\":1}}",
	    0, 0);
	asked_of = db;
	(void)tell(db, AGAIN, 1, ",\"n\":1}");
	delete_one(db, LONG_C);
	delete_one(db, LONG_LOCAL);
	purge(db, LONG_A);
	purge(db, A);
	set(db, DB_WRITE_PURGED_LIMIT, "", 1, 0);
	set(db, DB_WRITE_REVS_LIMIT, "", 40, 0);
}

/* ---- Reading ---- */

static int
count_found(struct db_doc *doc, struct revpos at, void *cookie)
{
	(void)doc;
	(void)at;
	++*(unsigned *)cookie;
	return 0;
}

static void
read_more_of(struct db_snap *snap, struct arena *a, const char *id)
{
	const struct rev known = {2, (const unsigned char *)"z", 1}, old = {60, (const unsigned char *)"r60", 3};
	struct db_doc doc;
	struct db_rev rev;
	struct rev *path;
	struct revtree *t;
	unsigned found = 0;
	size_t n;
	int knows;

	if (seen(db_get(snap, id, strlen(id), a, &doc)) != 0)
		return;
	(void)seen(db_doc_knows(&doc, &known, &knows));
	(void)seen(db_doc_find(&doc, &known, 1, count_found, &found, &n));
	(void)seen(db_doc_find(&doc, &old, 0, count_found, &found, &n));
	if (seen(db_doc_tree(&doc, 0, &t)) == 0 && revtree_nleaves(t) > 0)
		(void)seen(db_doc_path(&doc, revtree_leaf_pos(t, 0), &path, &n));
	(void)seen(db_doc_base(&doc, &doc.winner, a, &rev));
}

static void
read_range(struct db_snap *snap, struct arena *a, struct db_range range)
{
	struct db_docs_sum sum;
	uint64_t n;

	scan_docs(snap, a, &range);
	(void)seen(db_docs_sum(snap, &range, &sum));
	if (range.has_start)
		(void)seen(db_docs_before(snap, range.start.s, range.start.len, &n));
}

static void
read_more(struct db *db)
{
	const struct jstr b = {ids[LONG_B], strlen(ids[LONG_B])}, c = {ids[LONG_C], strlen(ids[LONG_C])};
	struct db_snap *snap;
	struct arena *a;

	if (seen(arena_new(64u << 20, &a)) != 0)
		return;
	if (seen(db_snap_begin(db, &snap)) == 0) {
		for (unsigned i = 0; i < IDS; i++)
			if (strncmp(ids[i], "_local/", 7) != 0)
				read_more_of(snap, a, ids[i]);
		read_range(snap, a, (struct db_range){.has_start = 1, .start = b, .skip = 1});
		read_range(snap, a,
		    (struct db_range){
			.descending = 1, .has_start = 1, .start = c, .has_end = 1, .end = b, .start_after = 1});
		db_snap_end(snap);
	}
	arena_free(a);
}

static void
as(struct dbs *s, const struct principal *who)
{
	struct db *db;
	struct principal copy;
	struct arena *a;
	struct errtext why;
	struct db_write writes[2] = {
	    life_write("{\"_id\":\"p:of-member\"}", 1), life_write("{\"_id\":\"_design/not\"}", 1)};

	if (seen(arena_new(1u << 20, &a)) != 0)
		return;
	if (seen(db_principal_copy(a, who, &copy)) == 0 && seen(db_open(s, NAME, &copy, &db)) == 0) {
		(void)seen(db_may_list(db));
		(void)seen(db_may_set(db, DB_WRITE_SECURITY, &why));
		(void)seen(db_may_set(db, DB_WRITE_PURGE, &why));
		(void)seen(db_doc_check(db, "nowhere", 7, 10, &why));
		(void)submit_to(db, writes, 2);
		read_more(db);
		db_close(db);
	}
	arena_free(a);
}

static void
live(struct store *store, int what, unsigned n, int for_good)
{
	struct dbs_config config = {
	    .store = store, .ex = &ruletest_ex, .validate = validate, .check_design = check_design, .rules = rules_of};
	const struct db_options options = {.partitioned = 1};
	struct dbs *s = NULL;
	struct db *db;

	asked_of = NULL;
	life_begin(what, n, for_good);
	if (seen(dbs_new(&config, &s)) == 0) {
		life.created = seen(dbs_create(s, NAME, &options, &dbtest_admin, NULL)) == 0;
		if (seen(db_open(s, NAME, &dbtest_admin, &db)) == 0) {
			write_all(db);
			read_more(db);
			(void)seen(db_compact(db));
			ruletest_drain();
			read_more(db);
			(void)tell(db, DEEP, 0, "%s", path_text(112, 55, "y"));
			read_all(db);
			db_close(db);
		}
		ruletest_drain();
		as(s, &member);
		as(s, &boss);
		as(s, &stranger);
		as(s, &nobody);
		ruletest_drain();
	}
	life_end(s, store);
}

int
main(void)
{
	for (unsigned i = 0; i < 4; i++) {
		size_t at = (size_t)snprintf(long_ids[i], sizeof(long_ids[i]), "%s", i < 3 ? "p:" : "_local/");

		memset(long_ids[i] + at, 'l', LONG);
		long_ids[i][at + LONG] = (char)('a' + i);
		ids[LONG_A + i] = long_ids[i];
	}
	life_ids = ids;
	life_nids = IDS;
	life_prefix = "p:";
	CHECK_INT(arena_new(256u << 20, &ruletest_arena), 0);
	walk(live, life_step(41), life_step(41) < 4 ? 8 : 2);
	arena_free(ruletest_arena);
	return check_done();
}
