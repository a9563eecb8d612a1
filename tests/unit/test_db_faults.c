/*
 * test_db_faults.c: the life of a database, again and again, each time with another allocation or call of the store that fails.
 *
 * The life is one series of steps with one queue of jobs, so that the n-th of these calls is the same one each time.  It fails
 * once, or it and all after it, for n = 1, 2, 3 ... until the life passes untouched.  A step may fail; but
 *
 * 1. every request ends;
 * 2. with the fault gone, the database opens, is without a fault and takes writes, without a restart and after one;
 * 3. what was acknowledged is there.
 *
 * Instead of failing, a call of the store may give a record with a byte that is another: then the same holds.  Or one that was
 * made wrong, with the right checksum: of this, which does not happen, only 1 is asked, and that it ends in no harm to the process.
 *
 * FAULTS_STEP=1 makes each n its turn; else it is each 7th, from a place that differs between the kinds of faults.
 */
#include "faultlife.h"

static const char *const ids[] = {"a", "b", "big", "c", "photo", "_local/l", "_design/d"};

/* An attachment of some chunks, compressed. */
static void
put_photo(struct db *db)
{
	static char bytes[200000];
	struct db_blob *b = NULL;
	struct db_write_att att = {.name = {"p.txt", 5}, .type = {"text/plain", 10}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {"photo", 5},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)('a' + i * i % 23);
	if (seen(db_blob_new(db, DB_BLOB_COMPRESS, &b)) != 0)
		return;
	if (seen(db_blob_add(b, bytes, sizeof(bytes))) == 0 && seen(ruletest_flush(b)) == 0 &&
	    seen(db_blob_end(b)) == 0) {
		att.blob = b;
		if (submit(db, &w) == 0) {
			life.put[4] = 1;
			life.revs[4] = w.rev;
		}
	}
	db_blob_free(b);
}

static void
write_all(struct db *db)
{
	static char big[900];
	struct db_write w = {.kind = DB_WRITE_REVS_LIMIT, .number = 20};
	unsigned char gone;
	struct rev at;

	memset(big, 'x', sizeof(big) - 1);
	memcpy(big, "{\"_id\":\"big\",\"s\":\"", 18);
	memcpy(big + sizeof(big) - 3, "\"}", 3);
	(void)put(db, 0, 1, "{\"_id\":\"a\",\"n\":1}");
	(void)put(db, 0, 1, "{\"_id\":\"a\",\"n\":2}");
	(void)put(
	    db, 1, 0, "{\"_id\":\"b\",\"_rev\":\"3-c\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]}}");
	(void)put(db, 1, 0,
	    "{\"_id\":\"b\",\"_rev\":\"2-x\",\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]},\"v\":[1,2.5,null]}");
	(void)put(db, 2, 1, big);
	(void)put(db, 3, 1, "{\"_id\":\"c\"}");
	(void)put(db, 5, 1, "{\"_id\":\"_local/l\",\"seq\":5}");
	(void)put(db, 6, 1, "{\"_id\":\"_design/d\",\"views\":{}}");
	put_photo(db);
	(void)submit(db, &w);
	w = (struct db_write){.kind = DB_WRITE_SECURITY, .body = {"{\"admins\":{\"names\":[\"x\"]}}", 26}};
	(void)submit(db, &w);
	if (life.put[3]) { /* a purge takes it away again */
		at = rev_of(&life.revs[3]);
		w = (struct db_write){.kind = DB_WRITE_PURGE, .id = {"c", 1}, .path = &at, .npath = 1, .purged = &gone};
		life.put[3] = 0;
		(void)submit(db, &w);
	}
}

static void
live(struct store *store, int what, unsigned n, int for_good)
{
	struct dbs_config config = {.store = store, .ex = &ruletest_ex};
	struct dbs *s = NULL;
	struct db *db;

	life_begin(what, n, for_good);
	if (seen(dbs_new(&config, &s)) == 0) {
		life.created = seen(dbs_create(s, NAME, NULL, &dbtest_admin, NULL)) == 0;
		if (seen(db_open(s, NAME, &dbtest_admin, &db)) == 0) {
			write_all(db);
			read_all(db);
			(void)seen(db_compact(db));
			ruletest_drain();
			read_all(db);
			db_close(db);
		}
		ruletest_drain();
	}
	life_end(s, store);
}

int
main(void)
{
	life_ids = ids;
	life_nids = sizeof(ids) / sizeof(ids[0]);
	CHECK_INT(arena_new(256u << 20, &ruletest_arena), 0);
	walk(live, life_step(7), life_step(7) == 1 ? 24 : 4);
	arena_free(ruletest_arena);
	return check_done();
}
