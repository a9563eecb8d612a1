/* test_db_bounds.c: what is too long, too large, too many, of no known form, or not allowed is refused in so many words, and what is just within is not. */
#include "ruletest.h"

#include "base/limits.h"
#include "dice.h"

static struct dbs *all;

/* ---- Names and who may make databases ---- */

static void
name_is(const char *name, size_t len, int err)
{
	struct errtext why;

	CHECK_INT(dbs_name_check(name, len, &why), err);
	CHECK_INT(dbs_name_check(name, len, NULL), err);
}

static void
test_names(void)
{
	static const char *const good[] = {"a", "z", "az09_$()+-/", "_users", "_replicator", "_global_changes", "a/b"};
	static const char *const bad[] = {
	    "", "A", "1a", "_a", "_userz", "_user", "a b", "aA", "a:", "a`", "a{", "a@", "a[", "`", "{", "a\x7f"};
	char longest[LIMIT_DB_NAME_LEN + 1];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		name_is(good[i], strlen(good[i]), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		name_is(bad[i], strlen(bad[i]), ERR_ILLEGAL_DB_NAME);
	name_is("a\0b", 3, ERR_ILLEGAL_DB_NAME);
	memset(longest, 'n', sizeof(longest));
	name_is(longest, LIMIT_DB_NAME_LEN, 0);
	name_is(longest, LIMIT_DB_NAME_LEN + 1, ERR_ILLEGAL_DB_NAME);
}

static void
test_who(void)
{
	const struct principal ann = {.name = "ann"};
	struct db *db;

	CHECK_INT(dbs_create(all, "who", NULL, &ann, NULL), ERR_NOT_ADMIN);
	CHECK_INT(dbs_drop(all, "who", &ann), ERR_NOT_ADMIN);
	CHECK_INT(dbs_drop(all, "who", &dbtest_admin), ERR_NO_DB);
	CHECK_INT(dbs_drop(all, "WHO", &dbtest_admin), ERR_NO_DB);
	CHECK_INT(db_open(all, "who", &ann, &db), ERR_NO_DB);
	CHECK_INT(db_open(all, "WHO", &ann, &db), ERR_NO_DB);
	CHECK_INT(dbs_create(all, "who", NULL, &dbtest_admin, NULL), 0);
	CHECK_INT(dbs_create(all, "who", NULL, &dbtest_admin, NULL), ERR_DB_EXISTS);
	if (CHECK_INT(db_open(all, "who", &ann, &db), 0)) {
		CHECK(!db_is_admin(db));
		CHECK_INT(db_compact(db), ERR_NOT_DB_ADMIN);
		CHECK_INT(db_copy(db, "/nonexistent/x"), ERR_NOT_ADMIN);
		CHECK_INT(db_may_set(db, DB_WRITE_PURGE, NULL), ERR_NOT_ADMIN);
		CHECK_INT(db_may_set(db, DB_WRITE_PURGED_LIMIT, NULL), ERR_NOT_ADMIN);
		CHECK_INT(db_may_set(db, DB_WRITE_LOCAL, NULL), 0);
		CHECK_INT(db_may_list(db), 0);
		CHECK(db_shows_alike(db));
		db_close(db);
	}
}

/* A handle of a database that is gone says so, whatever is asked. */
static void
test_dropped(void)
{
	struct db *db = ruletest_new_db(all, "gone");
	struct db_write w = ruletest_write_of("{\"_id\":\"a\"}", 1);
	struct db_request req = {.writes = &w, .nwrites = 1};
	struct db_blob *blob = NULL;
	struct db_snap *snap;
	struct db_info info;
	struct errtext why;
	struct buf b;

	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\"}"), 0);
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &blob), 0);
	CHECK_INT(db_blob_add(blob, "x", 1), 0);
	CHECK_INT(dbs_drop(all, "gone", &dbtest_admin), 0);
	buf_init(&b, 1000);
	CHECK_INT(ruletest_submit(db, &req), ERR_NO_DB);
	CHECK_INT(db_snap_begin(db, &snap), ERR_NO_DB);
	CHECK_INT(db_info(db, &info), ERR_NO_DB);
	CHECK_INT(db_security(db, &b), ERR_NO_DB);
	CHECK_INT(db_compact(db), ERR_NO_DB);
	CHECK_INT(db_copy(db, "/nonexistent/x"), ERR_NO_DB);
	CHECK_INT(db_may_set(db, DB_WRITE_EDIT, &why), ERR_NO_DB);
	CHECK(!db_is_admin(db));
	db_blob_free(blob);
	buf_release(&b);
	db_close(db);
	ruletest_drain();
}

/* names: {"members":{"names":["a","a",...]}}, of ${n} names. */
static void
names(struct buf *b, unsigned n)
{
	int err = buf_puts(b, "{\"members\":{\"names\":[\"root\"");

	for (unsigned i = 0; i < n && err == 0; i++)
		err = buf_puts(b, ",\"\"");
	CHECK_INT(err ? err : buf_puts(b, "]}}"), 0);
}

/* A security object may be full of names; one that is too large is refused by itself, not what is written together with it. */
static void
test_security(void)
{
	static const struct {
		unsigned names;
		int err;
	} cases[] = {{300000, 0}, {400000, ERR_TOO_LARGE}};
	struct db *db = ruletest_new_db(all, "secure");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct db_write w[2] = {
		    {.kind = DB_WRITE_SECURITY}, ruletest_write_of(i == 0 ? "{\"_id\":\"a\"}" : "{\"_id\":\"b\"}", 1)};
		struct db_request req = {.writes = w, .nwrites = 2};
		struct buf b;

		buf_init(&b, 2u << 20);
		names(&b, cases[i].names);
		w[0].body = (struct jstr){b.data, b.len};
		CHECK_INT(ruletest_submit(db, &req), 0);
		CHECK_INT(w[0].err, cases[i].err);
		CHECK_INT(w[1].err, 0);
		buf_release(&b);
	}
	db_close(db);
	ruletest_drain();
}

/* ---- Documents ---- */

static int
check_doc(struct db *db, const char *id, size_t len, size_t body_len)
{
	struct errtext why;

	return db_doc_check(db, id, len, body_len, &why);
}

static void
test_ids(void)
{
	const struct db_options parted = {.partitioned = 1};
	static char id[LIMIT_ID_LEN + 2];
	struct db *db = ruletest_new_db(all, "ids"), *parts;
	struct errtext why;

	CHECK_INT(dbs_create(all, "parts", &parted, &dbtest_admin, NULL), 0);
	parts = dbtest_open(all, "parts");
	CHECK(db_is_partitioned(parts) && !db_is_partitioned(db));
	memset(id, 'i', sizeof(id));
	CHECK_INT(check_doc(db, id, LIMIT_ID_LEN, 0), 0);
	CHECK_INT(check_doc(db, id, LIMIT_ID_LEN + 1, 0), ERR_ID_TOO_LONG);
	CHECK_INT(check_doc(db, "", 0, 0), ERR_ID_EMPTY);
	CHECK_INT(check_doc(db, "a", 1, LIMIT_BODY_LEN), 0);
	CHECK_INT(check_doc(db, "a", 1, LIMIT_BODY_LEN + 1), ERR_DOC_TOO_LARGE);
	CHECK_INT(check_doc(db, "\xff", 1, 0), ERR_ID_NOT_UTF8);
	CHECK_INT(check_doc(parts, "a", 1, 0), ERR_RESERVED_ID);
	CHECK_INT(check_doc(parts, ":a", 2, 0), ERR_ILLEGAL_PARTITION);
	CHECK_INT(check_doc(parts, "a:", 2, 0), ERR_ID_EMPTY);
	CHECK_INT(check_doc(parts, "a:b", 3, 0), 0);
	CHECK_INT(check_doc(parts, "a:b:", 4, 0), 0);
	CHECK_INT(check_doc(parts, "_design/a", 9, 0), 0);
	CHECK_INT(check_doc(parts, "_x", 2, 0), ERR_RESERVED_ID);
	CHECK_INT(db_id_place(parts, "", 0, &why), 0);
	CHECK_INT(db_id_place(parts, "a", 1, &why), ERR_RESERVED_ID);
	CHECK_INT(db_id_place(parts, "_local/a", 8, &why), 0);
	CHECK_INT(db_id_place(db, "a", 1, &why), 0);
	ruletest_end_db(parts);
	ruletest_end_db(db);
}

/* What comes past the checks of whoever reads requests. */
static void
test_writes(void)
{
	static char id[LIMIT_ID_LEN + 1];
	struct db *db = ruletest_new_db(all, "writes");
	struct db_write w = ruletest_write_of("{\"_id\":\"a\"}", 1);
	static const struct doc_att same = {.stored_length = 1};
	struct db_write_att *atts;
	struct db_snap *snap;
	struct db_doc doc;
	struct jstr body;
	uint64_t number;

	memset(id, 'i', sizeof(id));
	w.id = (struct jstr){id, 0};
	CHECK_INT(ruletest_write(db, &w), ERR_ID_EMPTY);
	w.id = (struct jstr){id, sizeof(id)};
	CHECK_INT(ruletest_write(db, &w), ERR_ID_TOO_LONG);
	w.kind = DB_WRITE_LOCAL;
	CHECK_INT(ruletest_write(db, &w), ERR_ID_TOO_LONG);
	w.kind = DB_WRITE_EDIT;
	w.id = (struct jstr){"a", 1};
	w.body.len = LIMIT_BODY_LEN + 1; /* nothing of it is read */
	CHECK_INT(ruletest_write(db, &w), ERR_DOC_TOO_LARGE);
	w.body.len = 2;
	w.natts = LIMIT_ATTACHMENTS + 1;
	atts = calloc(w.natts, sizeof(*atts));
	w.atts = atts;
	if (CHECK(atts != NULL)) {
		for (size_t i = 0; i < w.natts; i++)
			atts[i] = (struct db_write_att){.name = {"x", 1}, .same = &same};
		CHECK_INT(ruletest_write(db, &w), ERR_TOO_LARGE);
	}
	free(atts);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_get(snap, id, 0, ruletest_arena, &doc), ERR_MISSING);
	CHECK_INT(db_get(snap, id, sizeof(id), ruletest_arena, &doc), ERR_MISSING);
	CHECK_INT(db_local_get(snap, id, 0, ruletest_arena, &number, &body), ERR_MISSING);
	CHECK_INT(db_local_get(snap, id, sizeof(id), ruletest_arena, &number, &body), ERR_MISSING);
	db_snap_end(snap);
	ruletest_end_db(db);
}

/* More attachments than are looked at on the stack, each with its own bytes; their revision is that of the same again. */
static void
test_many_atts(void)
{
	struct db *db = ruletest_new_db(all, "atts");
	struct db_write_att atts[20];
	struct db_write w = ruletest_write_of("{\"_id\":\"a\"}", 1), again;
	static char names[20][2];

	memset(atts, 0, sizeof(atts));
	for (int i = 0; i < 20; i++) {
		names[i][0] = (char)('a' + i);
		atts[i].name = (struct jstr){names[i], 1};
		atts[i].type = (struct jstr){"x/y", 3};
		CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &atts[i].blob), 0);
		CHECK_INT(db_blob_add(atts[i].blob, names[i], 1), 0);
		CHECK_INT(db_blob_end(atts[i].blob), 0);
	}
	w.atts = atts;
	w.natts = 20;
	again = w;
	again.id = (struct jstr){"b", 1};
	CHECK_INT(ruletest_write(db, &w), 0);
	CHECK_INT(ruletest_write(db, &again), 0);
	CHECK_MEM(w.rev.id, w.rev.len, again.rev.id, again.rev.len);
	/* Stubs keep them all; one that names nothing does not. */
	for (int i = 0; i < 20; i++) {
		db_blob_free(atts[i].blob);
		atts[i].blob = NULL;
	}
	again.has_parent = 1;
	again.parent = again.rev;
	CHECK_INT(ruletest_write(db, &again), 0);
	CHECK_INT(again.rev.gen, 2);
	again.parent = again.rev;
	atts[19].name = (struct jstr){"none", 4};
	CHECK_INT(ruletest_write(db, &again), ERR_MISSING_STUB);
	ruletest_end_db(db);
}

/* Many new attachments of one transaction, each of whose bytes comes twice: they are stored once, and their references counted. */
static void
test_equal_atts(void)
{
	enum { DOCS = 3, ATTS = 400, DIFFERENT = ATTS * DOCS / 2 };
	struct db *db = ruletest_new_db(all, "equal");
	struct db_write_att *atts = arena_calloc(ruletest_arena, DOCS * ATTS, sizeof(*atts));
	struct db_request req = {.nwrites = DOCS};
	struct db_write w[DOCS];
	struct db_info info;
	char text[32];

	for (int i = 0; i < DOCS * ATTS; i++) {
		int len = snprintf(text, sizeof(text), "%d", i % DIFFERENT);

		atts[i].name = (struct jstr){arena_dup(ruletest_arena, text, (size_t)len), (size_t)len};
		atts[i].type = (struct jstr){"x/y", 3};
		CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &atts[i].blob), 0);
		CHECK_INT(db_blob_add(atts[i].blob, text, (size_t)len), 0);
		CHECK_INT(db_blob_end(atts[i].blob), 0);
	}
	for (int i = 0; i < DOCS; i++) {
		snprintf(text, sizeof(text), "{\"_id\":\"d%d\"}", i);
		w[i] = ruletest_write_of(text, 1);
		w[i].atts = atts + i * ATTS;
		w[i].natts = ATTS;
	}
	req.writes = w;
	CHECK_INT(ruletest_submit(db, &req), 0);
	for (int i = 0; i < DOCS * ATTS; i++)
		db_blob_free(atts[i].blob);
	ruletest_drain();
	CHECK_INT(db_info(db, &info), 0);
	CHECK_INT(info.doc_count, DOCS);
	dbtest_check(db);
	ruletest_end_db(db);
}

enum { LEAVES = 4, LEAF_ATTS = 25 };

/* put_leaves: One request: each leaf gets a child with attachments of its own, number ${from} and those behind it, and one that all have. */
static void
put_leaves(struct db *db, uint64_t gen, int from)
{
	static char bytes[6000], hashes[2 * LEAVES], names[LEAF_ATTS + 1][12];
	struct db_write_att *atts = arena_calloc(ruletest_arena, LEAVES * (LEAF_ATTS + 1), sizeof(*atts));
	struct rev paths[LEAVES][2];
	struct db_write w[LEAVES];
	struct db_request req = {.writes = w, .nwrites = LEAVES};

	for (int i = 0; i < LEAVES; i++) {
		w[i] = ruletest_write_of("{\"_id\":\"leaves\"}", 1);
		w[i].kind = DB_WRITE_REPLICATE;
		hashes[2 * i] = hashes[2 * i + 1] = (char)('a' + i);
		paths[i][0] = (struct rev){.gen = gen, .id = (unsigned char *)&hashes[2 * i], .len = 1 + gen % 2};
		paths[i][1] = (struct rev){.gen = gen - 1, .id = (unsigned char *)&hashes[2 * i], .len = 2 - gen % 2};
		w[i].path = paths[i];
		w[i].npath = gen > 1 ? 2 : 1;
		w[i].atts = atts + i * (LEAF_ATTS + 1);
		w[i].natts = LEAF_ATTS + 1;
		for (int k = 0; k <= LEAF_ATTS; k++) {
			struct db_write_att *att = &w[i].atts[k];

			memset(bytes, 0, sizeof(bytes));
			snprintf(bytes, sizeof(bytes), "%d", k < LEAF_ATTS ? from + i * LEAF_ATTS + k : -1);
			snprintf(names[k], sizeof(names[k]), "%d", k);
			att->name = (struct jstr){names[k], strlen(names[k])};
			att->type = (struct jstr){"x/y", 3};
			CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att->blob), 0);
			CHECK_INT(db_blob_add(att->blob, bytes, sizeof(bytes)), 0);
			CHECK_INT(db_blob_end(att->blob), 0);
		}
	}
	CHECK_INT(ruletest_submit(db, &req), 0);
	for (int i = 0; i < LEAVES; i++)
		CHECK_INT(w[i].err, 0);
	for (int i = 0; i < LEAVES * (LEAF_ATTS + 1); i++)
		db_blob_free(atts[i].blob);
	ruletest_drain();
}

static int
has_active(struct db *db, uint64_t atts)
{
	const uint64_t each = 8192, other = 100000;
	uint64_t file, active;

	CHECK_INT(db_usage(db, &file, &active), 0);
	return CHECK(active >= atts * 6000 && active <= atts * each + other);
}

/* What is superseded of many leaves' attachments, whichever leaf has them now. */
static void
test_leaves_atts(void)
{
	struct db *db = ruletest_new_db(all, "leafatts");

	put_leaves(db, 1, 0);
	has_active(db, LEAVES * LEAF_ATTS + 1);
	put_leaves(db, 2, 1000);
	has_active(db, LEAVES * LEAF_ATTS + 1);
	/* Half of them move from leaf to leaf, the others are new. */
	put_leaves(db, 3, 1000 + LEAVES * LEAF_ATTS / 2);
	has_active(db, LEAVES * LEAF_ATTS + 1);
	/* The first ones are there again. */
	put_leaves(db, 4, 0);
	has_active(db, LEAVES * LEAF_ATTS + 1);
	dbtest_check(db);
	ruletest_end_db(db);
}

/* Writes of _local documents in one request are made in their order, each document's by itself. */
static void
test_locals(void)
{
	static const struct {
		const char *id;
		int deleted, err, number;
	} steps[] = {{"_local/b", 0, 0, 1}, {"_local/a", 1, ERR_MISSING, 0}, {"_local/a", 0, 0, 1},
	    {"_local/b", 1, 0, 0}, {"_local/b", 1, ERR_MISSING, 0}, {"_local/a", 1, 0, 0}, {"_local/a", 0, 0, 1},
	    {"_local/c", 0, 0, 1}};
	enum { N = sizeof(steps) / sizeof(steps[0]) };
	struct db *db = ruletest_new_db(all, "locals");
	struct db_request req = {.nwrites = N};
	struct db_write w[N];
	struct db_snap *snap;
	struct jstr body;
	uint64_t rev;

	for (size_t i = 0; i < N; i++)
		w[i] = (struct db_write){.kind = DB_WRITE_LOCAL,
		    .id = {steps[i].id, strlen(steps[i].id)},
		    .deleted = steps[i].deleted,
		    .body = {"{}", 2}};
	req.writes = w;
	for (int again = 0; again < 2; again++) {
		CHECK_INT(ruletest_submit(db, &req), 0);
		for (size_t i = 0; i < N; i++) {
			/* a is there by then. */
			CHECK_INT(w[i].err, again && i == 1 ? 0 : steps[i].err);
			if (w[i].err == 0)
				CHECK_MEM(w[i].rev.id, w[i].rev.len, steps[i].number ? "1" : "0", 1);
		}
	}
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_local_get(snap, "_local/a", 8, ruletest_arena, &rev, &body), 0);
	CHECK_INT(db_local_get(snap, "_local/b", 8, ruletest_arena, &rev, &body), ERR_MISSING);
	CHECK_INT(db_local_get(snap, "_local/c", 8, ruletest_arena, &rev, &body), 0);
	db_snap_end(snap);
	dbtest_check(db);
	ruletest_end_db(db);
}

/* ---- Blobs ---- */

static void
mode_is(struct db *db, const char *type, enum db_blob_mode want)
{
	CHECK_INT(db_blob_mode_for(db, type, strlen(type)), want);
}

static void
test_blobs(void)
{
	struct dbs_config config = {.ex = &ruletest_ex, .max_attachment_size = 10};
	struct db_blob *b = NULL;
	struct store *store = NULL;
	struct dbs *s = NULL;
	struct db *db;

	CHECK_INT(store_mem_new(&store), 0);
	config.store = store;
	CHECK_INT(dbs_new(&config, &s), 0);
	db = ruletest_new_db(s, "blobs");
	mode_is(db, "text/plain", DB_BLOB_COMPRESS);
	mode_is(db, "TEXT/x \t; charset=x", DB_BLOB_COMPRESS);
	mode_is(db, "text/", DB_BLOB_PLAIN);
	mode_is(db, "application/json ; a", DB_BLOB_COMPRESS);
	mode_is(db, "Application/JavaScript", DB_BLOB_COMPRESS);
	mode_is(db, "application/jsox", DB_BLOB_PLAIN);
	mode_is(db, " \t ", DB_BLOB_PLAIN);
	mode_is(db, "", DB_BLOB_PLAIN);
	mode_is(db, ";", DB_BLOB_PLAIN);
	CHECK_INT(db_blob_expect(db, 10), 0);
	CHECK_INT(db_blob_expect(db, 11), ERR_ATT_TOO_LARGE);
	for (int mode = DB_BLOB_PLAIN; mode <= DB_BLOB_GZIPPED; mode++) {
		CHECK_INT(db_blob_new(db, (enum db_blob_mode)mode, &b), 0);
		CHECK_INT(db_blob_add(b, "0123456789", 10), 0);
		CHECK_INT(db_blob_add(b, "", 0), 0);
		CHECK_INT(db_blob_add(b, "x", 1), ERR_ATT_TOO_LARGE);
		db_blob_free(b);
	}
	db_blob_free(NULL);
	ruletest_drain();
	ruletest_end_db(db);
	dbs_free(s);
}

enum { FLUSH_BEFORE = 1, FLUSH_AFTER = 2 };

/* A document with these bytes, some of which are in the file before the document is. */
static void
put_upload(struct db *db, const char *id, const char *bytes, size_t len, int how)
{
	struct db_write_att att = {.name = {"x", 1}, .type = {"x/y", 3}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {id, strlen(id)},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};

	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, bytes, len), 0);
	CHECK_INT(db_blob_pending(att.blob), len);
	if (how & FLUSH_BEFORE) {
		CHECK_INT(ruletest_flush(att.blob), 0);
		CHECK_INT(db_blob_pending(att.blob), len % LIMIT_BLOB_CHUNK); /* whole chunks go */
	}
	CHECK_INT(db_blob_end(att.blob), 0);
	if (how & FLUSH_AFTER) {
		CHECK_INT(ruletest_flush(att.blob), 0);
		CHECK_INT(db_blob_pending(att.blob), 0);
	}
	CHECK_INT(ruletest_write(db, &w), 0);
	db_blob_free(att.blob);
	ruletest_drain();
	dbtest_check(db);
}

/* The same bytes again, whatever of them is in the file already, are stored once; what is given up is removed. */
static void
test_uploads(void)
{
	static char bytes[2 * LIMIT_BLOB_CHUNK + 77];
	static const char *const ids[] = {"a", "b", "c", "d", "e"};
	struct db *db = ruletest_new_db(all, "uploads");
	struct db_blob *b = NULL;
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev;
	struct buf read;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 2654435761u >> 24);
	put_upload(db, ids[0], bytes, sizeof(bytes), FLUSH_BEFORE | FLUSH_AFTER);
	put_upload(db, ids[1], bytes, sizeof(bytes), FLUSH_BEFORE);
	put_upload(db, ids[2], bytes, sizeof(bytes), FLUSH_AFTER);
	put_upload(db, ids[3], bytes, sizeof(bytes), 0);
	put_upload(db, ids[4], "few", 3, FLUSH_BEFORE | FLUSH_AFTER);
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &b), 0);
	CHECK_INT(db_blob_add(b, bytes, sizeof(bytes)), 0);
	CHECK_INT(ruletest_flush(b), 0);
	CHECK_INT(ruletest_flush(b), 0); /* nothing is left that could be */
	dbtest_check(db);
	db_blob_free(b);
	ruletest_drain();
	dbtest_check(db);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	buf_init(&read, sizeof(bytes) + 10);
	for (size_t i = 0; i < 4; i++) {
		buf_clear(&read);
		CHECK_INT(db_get(snap, ids[i], 1, ruletest_arena, &doc), 0);
		CHECK_INT(db_doc_rev(&doc, &doc.winner, ruletest_arena, &rev), 0);
		CHECK_INT(rev.natts, 1);
		for (uint64_t chunk = 0; chunk < 3; chunk++)
			CHECK_INT(db_att_read(snap, rev.atts, chunk, &read), 0);
		CHECK_INT(db_att_read(snap, rev.atts, 3, &read), ERR_END);
		CHECK_MEM(read.data, read.len, bytes, sizeof(bytes));
	}
	buf_release(&read);
	db_snap_end(snap);
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &b), 0);
	CHECK_INT(db_blob_add(b, bytes, sizeof(bytes)), 0);
	CHECK_INT(dbs_drop(all, "uploads", &dbtest_admin), 0);
	CHECK_INT(ruletest_flush(b), ERR_NO_DB);
	db_blob_free(b);
	db_close(db);
	ruletest_drain();
}

/* ---- Queues ---- */

static unsigned answered;

static void
answer(struct db_request *req)
{
	CHECK_INT(req->writes[0].err, 0);
	answered++;
}

/* So many bytes may wait to be committed, or heard; what comes then is refused at once, and may come again later. */
static void
queue_full(struct db *db)
{
	static char body[7u << 20];
	static struct db_write writes[40];
	static struct db_request reqs[40];
	static char names[40][4];
	uint64_t seed = 5;
	unsigned n = 0;
	int err = 0;

	memcpy(body, "{\"a\":\"", 6);
	for (size_t i = 6; i < sizeof(body) - 2; i++)
		body[i] = (char)('0' + (dice_next(&seed) >> 58) % 40); /* none is to be escaped */
	memcpy(body + sizeof(body) - 2, "\"}", 2);
	answered = 0;
	for (; n < 40; n++) {
		(void)snprintf(names[n], sizeof(names[n]), "%u", n);
		writes[n] = (struct db_write){.kind = DB_WRITE_EDIT,
		    .id = {names[n], strlen(names[n])},
		    .body = {body, sizeof(body)},
		    .body_etf = {"h\001j", 3}};
		reqs[n] = (struct db_request){.writes = &writes[n], .nwrites = 1, .done = answer};
		if ((err = db_submit(db, &reqs[n])) != 0)
			break;
	}
	CHECK_INT(err, ERR_BUSY);
	CHECK(n >= 8);
	ruletest_drain();
	CHECK_INT(answered, n);
	CHECK_INT(db_submit(db, &reqs[n]), 0);
	ruletest_drain();
	CHECK_INT(answered, n + 1);
}

static int
approve(void *cookie, struct db_hearing *h)
{
	(void)cookie;
	CHECK(h->n > 0);
	return 0;
}

static void
test_queues(void)
{
	struct dbs_config config = {.ex = &ruletest_ex, .validate = approve};
	struct dbs *s;
	struct db *db;

	CHECK_INT(store_mem_new(&config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = ruletest_new_db(s, "queue");
	queue_full(db);
	db_close(db);
	db = ruletest_new_db(s, "heard");
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"_design/v\",\"validate_doc_update\":\"x\"}"), 0);
	queue_full(db);
	db_close(db);
	dbs_free(s);
}

/* ---- Leaves ---- */

/* A tree of as many leaves as there may be takes what it knows and what goes on from a leaf, and no more. */
static void
test_leaves(void)
{
	struct db *db = ruletest_new_db(all, "leaves");
	struct db_write *writes = calloc(LIMIT_LEAVES, sizeof(*writes));
	struct rev(*paths)[2] = calloc(LIMIT_LEAVES, sizeof(*paths));
	unsigned char(*names)[4] = calloc(LIMIT_LEAVES + 1, sizeof(*names));
	struct db_request req = {.writes = writes, .nwrites = LIMIT_LEAVES};
	struct db_write w;
	struct rev more[2];

	if (!CHECK(writes != NULL && paths != NULL && names != NULL))
		return;
	for (unsigned i = 0; i <= LIMIT_LEAVES; i++) {
		for (unsigned k = 0, left = i; k < 4; k++, left /= 26)
			names[i][k] = (unsigned char)('a' + left % 26);
		if (i == LIMIT_LEAVES)
			break;
		paths[i][0] = (struct rev){1, names[i], 4};
		writes[i] = (struct db_write){.kind = DB_WRITE_REPLICATE,
		    .id = {"a", 1},
		    .body = {"{}", 2},
		    .body_etf = {"h\001j", 3},
		    .path = paths[i],
		    .npath = 1};
	}
	CHECK_INT(ruletest_submit(db, &req), 0);
	for (unsigned i = 0; i < LIMIT_LEAVES; i++)
		CHECK_INT(writes[i].err, 0);
	w = writes[0]; /* is known */
	CHECK_INT(ruletest_write(db, &w), 0);
	more[0] = (struct rev){1, names[LIMIT_LEAVES], 4};
	w.path = more;
	CHECK_INT(ruletest_write(db, &w), ERR_DOC_TOO_LARGE);
	more[0].gen = 2;
	more[1] = (struct rev){1, (const unsigned char *)"none", 4};
	w.npath = 2;
	CHECK_INT(ruletest_write(db, &w), ERR_DOC_TOO_LARGE);
	more[1] = paths[3][0];
	CHECK_INT(ruletest_write(db, &w), 0);
	more[0].id = names[0]; /* another child of what is no leaf now */
	CHECK_INT(ruletest_write(db, &w), ERR_DOC_TOO_LARGE);
	free(writes);
	free(paths);
	free(names);
	db_close(db); /* without a look at all of it, which takes seconds */
}

/* ---- Revisions ---- */

/* Paths that share nothing; ids of ${len} bytes. */
struct branches {
	struct rev *revs;
	unsigned char *ids;
	size_t n, each, len;
};

static int
branches_new(struct branches *b, size_t n, size_t each, size_t len)
{
	*b = (struct branches){calloc(n * each, sizeof(struct rev)), calloc(n * each, len), n, each, len};
	for (size_t i = 0; b->revs != NULL && b->ids != NULL && i < n * each; i++) {
		unsigned char *id = b->ids + i * len;

		memset(id, 'x', len);
		for (unsigned k = 0; k < 4; k++)
			id[k] = (unsigned char)('a' + (i >> 6 * k) % 64);
		b->revs[i] = (struct rev){each - i % each, id, len};
	}
	return CHECK(b->revs != NULL && b->ids != NULL);
}

static struct db_write
branch_write(const char *id, struct rev *path, size_t npath)
{
	return (struct db_write){.kind = DB_WRITE_REPLICATE,
	    .id = {id, 1},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .path = path,
	    .npath = npath};
}

/* write_branches: One by one, with a write of another document behind it, which never fails; how many were taken. */
static size_t
write_branches(struct db *db, const struct branches *b)
{
	struct db_write *writes = calloc(b->n + 1, sizeof(*writes));
	struct db_request req = {.writes = writes, .nwrites = b->n + 1};
	struct rev other = {1, (const unsigned char *)"b", 1};
	size_t n = 0;

	if (!CHECK(writes != NULL))
		return 0;
	for (size_t i = 0; i < b->n; i++)
		writes[i] = branch_write("a", b->revs + i * b->each, b->each);
	writes[b->n] = branch_write("b", &other, 1);
	CHECK_INT(ruletest_submit(db, &req), 0);
	while (n < b->n && writes[n].err == 0)
		n++;
	for (size_t i = n; i < b->n; i++)
		CHECK_INT(writes[i].err, ERR_DOC_TOO_LARGE);
	CHECK_INT(writes[b->n].err, 0);
	free(writes);
	return n;
}

static void
is_full(struct db *db, struct branches *b, size_t taken)
{
	struct rev path[2] = {{b->each + 1, (const unsigned char *)"0123456789abcdef", 16}, b->revs[0]};
	struct db_write next = branch_write("a", path, 2), other = branch_write("c", path, 1), w;
	struct rev root[2] = {{2, (const unsigned char *)"new root", 8}, {1, (const unsigned char *)"below it", 8}};

	w = branch_write("a", b->revs + b->each, b->each);
	CHECK_INT(ruletest_write(db, &w), 0); /* is known */
	w = branch_write("a", b->revs + taken * b->each, b->each);
	CHECK_INT(ruletest_write(db, &w), ERR_DOC_TOO_LARGE);
	CHECK_INT(ruletest_write(db, &next), 0); /* goes on from a leaf */
	w = branch_write("a", root, 2);
	(void)ruletest_write(db, &w); /* may fit, or not */
	CHECK(w.err == 0 || w.err == ERR_DOC_TOO_LARGE);
	CHECK_INT(ruletest_write(db, &other), 0);
	CHECK_INT(db_compact(db), 0);
	ruletest_drain();
	CHECK_INT(ruletest_write(db, &other), 0);
}

/* A tree takes so many bytes: what comes then is refused by itself, and what is written with it is not. */
static void
test_tree_bytes(void)
{
	struct db *db = ruletest_new_db(all, "treebytes");
	struct branches b;
	size_t n;

	if (!branches_new(&b, 4000, 40, LIMIT_REV_LEN))
		return;
	n = write_branches(db, &b);
	CHECK(n > 2800 && n < LIMIT_TREE_BYTES / 40 / LIMIT_REV_LEN);
	is_full(db, &b, n);
	free(b.revs);
	free(b.ids);
	db_close(db);
}

/* And so many revisions: 1,000 branches of 1,000 are taken. */
static void
test_tree_revs(void)
{
	struct db *db = ruletest_new_db(all, "treerevs");
	struct branches b;
	size_t n;

	if (!branches_new(&b, 1100, 1000, REV_MD5_LEN))
		return;
	n = write_branches(db, &b);
	CHECK_INT(n, LIMIT_TREE_REVS / 1000);
	is_full(db, &b, n);
	free(b.revs);
	free(b.ids);
	db_close(db);
}

/* The highest generation is taken, and has no child: the write that would make one is refused, and no other. */
static void
test_generations(void)
{
	struct db *db = ruletest_new_db(all, "generations");
	struct db_write w[2];
	struct db_request req = {.writes = w, .nwrites = 2};

	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"a\",\"_rev\":\"9007199254740990-x\"}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"a\",\"_rev\":\"9007199254740990-x\"}"), 0);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"b\",\"_rev\":\"9007199254740991-x\"}"), 0);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"b\",\"_rev\":\"9007199254740991-x\"}"), ERR_BAD_REV);
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"c\",\"_rev\":\"9007199254740991-x\",\"_deleted\":true}"), 0);
	w[0] = ruletest_write_of("{\"_id\":\"c\"}", 1);
	w[1] = ruletest_write_of("{\"_id\":\"d\"}", 1);
	CHECK_INT(ruletest_submit(db, &req), 0);
	CHECK_INT(w[0].err, ERR_BAD_REV);
	CHECK_INT(w[1].err, 0);
	dbtest_check(db);
	db_close(db);
}

static int
long_forms(void)
{
	const char *every = getenv("FAULTS_STEP");

	return every != NULL && strcmp(every, "1") == 0;
}

int
main(void)
{
	all = ruletest_begin();
	test_names();
	test_who();
	test_dropped();
	test_security();
	test_ids();
	test_writes();
	test_many_atts();
	test_equal_atts();
	test_leaves_atts();
	test_locals();
	test_blobs();
	test_uploads();
	test_queues();
	test_generations();
	test_tree_bytes();
	if (long_forms()) { /* they take seconds */
		test_leaves();
		test_tree_revs();
	}
	return ruletest_end(all);
}
