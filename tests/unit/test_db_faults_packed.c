/*
 * test_db_faults_packed.c: lives as in test_db_faults.c that begin with a database which is there: a thousand documents with a dictionary for their
 * bodies, ids that are long, a deep tree, an attachment, and the bytes of an upload that did not end.  What fails is its opening
 * and some use of it, or its compaction, which looks for a better dictionary.
 */
#include "dice.h"
#include "faultlife.h"

#define DOCS 1000u
#define LONG 600u

static struct store *prepared;
static char long_id[LONG + 1];
static const char *ids[] = {"n00001", "n00500", "photo", "deep", long_id};

/* ---- What is there ---- */

static void
note_text(char *out, size_t size, const char *kind, unsigned i)
{
	(void)snprintf(out, size,
	    "{\"_id\":\"%s%05u\",\"type\":\"%s\",\"title\":\"the title of %u\",\"colour\":\"yellow %u\",\"text\":\"a "
	    "longer "
	    "text that says what is to be done with number %u before the end of the week\"}",
	    kind, i, kind, i * 7919u % 100000, i * 104729u % 1000, i);
}

static void
put_notes(struct db *db, const char *kind, unsigned from, unsigned n)
{
	struct db_write *writes = calloc(n, sizeof(*writes));
	struct db_request req = {.writes = writes, .nwrites = n};
	char json[512];

	if (!CHECK(writes != NULL))
		return;
	for (unsigned i = 0; i < n; i++) {
		note_text(json, sizeof(json), kind, from + i);
		writes[i] = ruletest_write_of(json, 1);
	}
	CHECK_INT(ruletest_submit(db, &req), 0);
	for (unsigned i = 0; i < n; i++)
		CHECK_INT(writes[i].err, 0);
	free(writes);
}

/* An upload, with all but its last bytes in the file. */
static struct db_blob *
upload(struct db *db)
{
	static char bytes[3 * LIMIT_BLOB_CHUNK + 100];
	struct db_blob *b = NULL;
	uint64_t seed = 1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(dice_next(&seed) >> 50);
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &b), 0);
	CHECK_INT(db_blob_add(b, bytes, sizeof(bytes)), 0);
	CHECK_INT(ruletest_flush(b), 0);
	return b;
}

static void
put_photo(struct db *db)
{
	struct db_write_att att = {.name = {"p", 1}, .type = {"image/png", 9}, .blob = upload(db)};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {"photo", 5},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};

	CHECK_INT(db_blob_end(att.blob), 0);
	CHECK_INT(submit(db, &w), 0);
	db_blob_free(att.blob);
}

static void
put_deep(struct db *db)
{
	char json[2048];
	size_t n = (size_t)snprintf(
	    json, sizeof(json), "{\"_id\":\"deep\",\"_rev\":\"90-r\",\"_revisions\":{\"start\":90,\"ids\":[\"r\"");

	for (unsigned i = 89; i > 0; i--)
		n += (size_t)snprintf(json + n, sizeof(json) - n, ",\"r%u\"", i);
	(void)snprintf(json + n, sizeof(json) - n, "]}}");
	CHECK_INT(RULETEST_REPLICATE(db, "{\"_id\":\"deep\",\"_rev\":\"1-q\"}"), 0);
	CHECK_INT(ruletest_put(db, 0, "%s", json), 0);
}

static void
prepare(void)
{
	struct store *store = NULL;
	struct db_write kept = {.kind = DB_WRITE_HISTORY_KEPT, .number = 1, .seconds = 100};
	struct db_blob *unfinished;
	struct dbs *s;
	struct db *db;

	CHECK_INT(store_mem_new(&store), 0);
	s = ruletest_new_dbs(store, 0);
	db = ruletest_new_db(s, NAME);
	put_notes(db, "n", 0, DOCS);
	ruletest_drain();
	CHECK_INT(submit(db, &kept), 0);
	put_notes(db, "m", 0, 20); /* by the dictionary */
	CHECK_INT(ruletest_put(db, 1, "{\"_id\":\"%s\"}", long_id), 0);
	put_photo(db);
	put_deep(db);
	CHECK_INT(db_compact(db), 0);
	ruletest_drain();
	put_deep(db); /* known already: nothing */
	unfinished = upload(db);
	CHECK_INT(store_mem_copy(store, 0, &prepared), 0);
	db_blob_free(unfinished);
	ruletest_drain();
	db_close(db);
	dbs_free(s);
}

/* As it was left, or, each second time, as a file that was put back. */
static struct store *
copy_of_prepared(void)
{
	static unsigned turn;
	struct store *copy = NULL;

	CHECK_INT(store_mem_copy(prepared, ++turn % 2 == 0, &copy), 0);
	return faulty_store(copy);
}

/* ---- Lives ---- */

static void
use(struct db *db)
{
	const struct db_range range = {.skip = 990};
	char json[512];
	struct db_info info;
	struct arena *a;
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct db_rev rev;
	int err;

	note_text(json, sizeof(json), "x", 1);
	for (int i = 0; i < 2; i++) {
		struct db_write w = life_write(i == 0 ? json : "{\"_id\":\"n00001\",\"_deleted\":true}", 1);

		(void)submit(db, &w);
	}
	(void)seen(db_info(db, &info));
	if (seen(arena_new(16u << 20, &a)) != 0)
		return;
	if (seen(db_snap_begin(db, &snap)) == 0) {
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
			read_doc(snap, a, ids[i]);
		read_doc(snap, a, "m00003");
		if (seen(db_docs_open(snap, &range, &scan)) == 0) {
			while ((err = db_docs_next(scan, a, &doc)) == 0 &&
			       (err = db_doc_rev(&doc, &doc.winner, a, &rev)) == 0)
				;
			scan_end(scan, err);
		}
		db_snap_end(snap);
	}
	arena_free(a);
}

/* Like life_begin(), where all was put before. */
static void
begin_faults(int what, unsigned n, int for_good)
{
	life_begin(what, n, for_good);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		life.put[i] = 1;
	life.created = 1;
}

/* No look at all of it each time: it is large. */
static void
still_usable(struct dbs *s, unsigned n)
{
	struct db *db;

	if (db_open(s, NAME, &dbtest_admin, &db) != 0) {
		CHECK(forged);
		return;
	}
	if (n % 16 == 1)
		all_there(db);
	CHECK(RULETEST_EDIT(db, "{\"_id\":\"afterwards\"}") == 0 || forged);
	db_close(db);
}

static void
live_open(struct store *store, int what, unsigned n, int for_good)
{
	struct dbs_config config = {.store = store, .ex = &ruletest_ex};
	struct dbs *s = NULL;
	struct db *db;

	begin_faults(what, n, for_good);
	if (seen(dbs_new(&config, &s)) == 0 && seen(db_open(s, NAME, &dbtest_admin, &db)) == 0) {
		use(db);
		db_close(db);
	}
	ruletest_drain();
	fault.what = 0;
	if (s == NULL) {
		store_free(store);
		return;
	}
	still_usable(s, n);
	ruletest_drain();
	dbs_free(s);
}

static void
live_compact(struct store *store, int what, unsigned n, int for_good)
{
	struct dbs *s = ruletest_new_dbs(store, 0);
	struct db *db = dbtest_open(s, NAME);

	put_notes(db, "v", 0, 300); /* for another dictionary */
	begin_faults(what, n, for_good);
	(void)seen(db_compact(db));
	ruletest_drain();
	fault.what = 0;
	db_close(db);
	still_usable(s, n);
	ruletest_drain();
	dbs_free(s);
}

int
main(void)
{
	unsigned step = life_step(29);

	memset(long_id, 'l', LONG);
	life_ids = ids;
	life_nids = sizeof(ids) / sizeof(ids[0]);
	life_store = copy_of_prepared;
	/* libzstd 1.5.4 ends the process where it gets no memory for a compiled dictionary. */
	spared_from = 8192;
	spared_to = 4u << 20;
	CHECK_INT(arena_new(256u << 20, &ruletest_arena), 0);
	prepare();
	life_least = 50;
	walk(live_open, step, step < 4 ? 8 : 1);
	/* Of these calls there are three hundred thousand, most of them alike. */
	life_near = step < 4 ? 60 : 1;
	life_far = step < 4 ? 9973 : 99991;
	for (int for_good = 0; for_good < 2; for_good++) {
		if (allocations_fail())
			sweep(live_compact, ALLOCATIONS, for_good, 1 + (unsigned)for_good, step < 4 ? 1 : 29);
		sweep(live_compact, STORE_CALLS, for_good, 1 + (unsigned)for_good, step < 4 ? 1 : 29);
	}
	sweep(live_compact, DAMAGE, 0, 1, step < 4 ? 1 : 29);
	store_free(prepared);
	arena_free(ruletest_arena);
	return check_done();
}
