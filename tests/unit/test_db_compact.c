/*
 * test_db_compact.c: compactions that begin by themselves, take turns, are listed, and end with the server or the database.
 */
#include "bodytest.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"

static char dir[] = "/tmp/divan-test-compact-XXXXXX";
static struct arena *arena;

static struct dbs *
open_dbs(struct db_autocompact autocompact)
{
	struct dbs_config config = {.ex = exec_threads_executor(dbtest_threads), .autocompact = autocompact};
	struct dbs *s = NULL;

	CHECK_INT(store_lmdb_new(dir, &config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

static struct db *
make(struct dbs *s, const char *name)
{
	CHECK_INT(dbs_create(s, name, NULL, &dbtest_admin, NULL), 0);
	return dbtest_open(s, name);
}

/* Another number after each compaction. */
static ino_t
file_of(const char *name)
{
	char path[300];
	struct stat st = {0};

	snprintf(path, sizeof(path), "%s/%s.divan", dir, name);
	CHECK_INT(stat(path, &st), 0);
	return st.st_ino;
}

static int
unfinished(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		n += strncmp(e->d_name, ".tmp-", 5) == 0;
	if (d != NULL)
		closedir(d);
	return n;
}

/* Writes a document of so many bytes that do not compress, anew or over the last. */
static void
put(struct db *db, const char *id, size_t bytes)
{
	unsigned char noise[20000];
	static char json[50000];
	struct db_snap *snap;
	struct db_write w;
	struct db_doc doc;
	struct buf rev;
	int len;

	if (!CHECK_INT(db_snap_begin(db, &snap), 0))
		return;
	buf_init(&rev, 1000);
	if (db_get(snap, id, strlen(id), arena, &doc) == 0) {
		buf_puts(&rev, ",\"_rev\":\"");
		CHECK_INT(rev_put(&rev, &doc.winner.rev), 0);
		buf_puts(&rev, "\"");
	}
	db_snap_end(snap);
	hash_random(noise, bytes / 2);
	len =
	    snprintf(json, sizeof(json), "{\"_id\":\"%s\"%.*s,\"n\":\"", id, (int)rev.len, rev.len > 0 ? rev.data : "");
	buf_release(&rev);
	hex_encode(noise, bytes / 2, json + len);
	len += (int)(bytes / 2 * 2);
	snprintf(json + len, sizeof(json) - (size_t)len, "\"}");
	CHECK_INT(dbtest_write(db, arena, json, 1, &w), 0);
	arena_reset(arena);
}

struct seen {
	unsigned n;
	struct db_task last;
	char database[64], phase[64];
};

static int
see(const struct db_task *t, void *cookie)
{
	struct seen *seen = cookie;

	seen->n++;
	seen->last = *t;
	snprintf(seen->database, sizeof(seen->database), "%s", t->database);
	snprintf(seen->phase, sizeof(seen->phase), "%s", t->phase);
	CHECK_STR(t->type, "database_compaction");
	CHECK(t->done <= t->total);
	CHECK(t->started_us > 0 && t->updated_us >= t->started_us);
	return 0;
}

static struct seen
tasks(struct dbs *s)
{
	struct seen seen = {0};

	CHECK_INT(dbs_tasks(s, see, &seen), 0);
	return seen;
}

static int
is_running(struct db *db)
{
	struct db_info info = {0};

	CHECK_INT(db_info(db, &info), 0);
	return info.compact_running;
}

/* Edits until the file is another one. */
static void
edit_until_compacted(struct db *db, const char *name)
{
	ino_t was = file_of(name);

	while (file_of(name) == was)
		put(db, "doc", 20000);
	while (is_running(db))
		put(db, "doc", 100);
}

static uint64_t
file_bytes(struct db *db)
{
	uint64_t file, active;

	CHECK_INT(db_usage(db, &file, &active), 0);
	return file;
}

static void
test_by_itself(void)
{
	struct dbs *s = open_dbs((struct db_autocompact){.ratio_percent = 200, .min_bytes = 200000});
	struct db *db = make(s, "ratio");

	for (int i = 0; i < 3; i++) {
		/* What is edited while it runs goes along, which may be more than there was. */
		for (int tries = 0; tries < 10; tries++) {
			edit_until_compacted(db, "ratio");
			if (file_bytes(db) < 200000)
				break;
		}
		CHECK(file_bytes(db) < 200000);
		dbtest_check(db);
	}
	db_close(db);
	dbs_free(s);
	s = open_dbs((struct db_autocompact){.slack_bytes = 300000});
	db = make(s, "slack");
	edit_until_compacted(db, "slack");
	dbtest_check(db);
	db_close(db);
	/* Nothing is superseded: a file that only grows stays the same. */
	db = make(s, "growing");
	for (int i = 0; i < 100; i++) {
		char id[16];

		snprintf(id, sizeof(id), "doc%d", i);
		put(db, id, 19000);
	}
	CHECK_INT(tasks(s).n, 0);
	CHECK(file_bytes(db) > 1000000);
	db_close(db);
	dbs_free(s);
	CHECK_INT(unfinished(), 0);
}

/* What is left alone becomes compact without another commit; and a server may end while it waits for that. */
static void
test_quiet(void)
{
	struct dbs *s = open_dbs((struct db_autocompact){.ratio_percent = 200, .min_bytes = 200000, .quiet_ms = 60});
	struct db *db = make(s, "quiet");
	ino_t was = file_of("quiet");

	for (int i = 0; i < 40; i++)
		put(db, "doc", 20000);
	for (int i = 0; i < 20000 && file_of("quiet") == was; i++)
		usleep(1000);
	CHECK(file_of("quiet") != was);
	while (is_running(db))
		usleep(1000);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
	s = open_dbs((struct db_autocompact){.ratio_percent = 200, .min_bytes = 200000, .quiet_ms = 3600000});
	db = dbtest_open(s, "quiet");
	was = file_of("quiet");
	for (int i = 0; i < 40; i++)
		put(db, "doc", 20000);
	CHECK_INT(tasks(s).n, 0);
	db_close(db);
	dbs_free(s);
	CHECK(file_of("quiet") == was);
	CHECK_INT(unfinished(), 0);
}

static uint64_t shortest = UINT64_MAX;

static void
note_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	if (delay_ms < shortest)
		shortest = delay_ms;
	execpass_later(ex, job, delay_ms);
}

/* Who waits for nothing but a turn does not look for it without a pause. */
static void
test_pauses(void)
{
	struct executor ex = bodytest_ex;
	struct dbs_config config = {
	    .ex = &ex, .autocompact = {.ratio_percent = 200, .min_bytes = 200000, .quiet_ms = 0}};
	struct dbs *s = NULL;
	struct db *db;

	ex.later = note_later;
	CHECK_INT(store_lmdb_new(dir, &config.store), 0);
	CHECK_INT(dbs_new(&config, &s), 0);
	db = make(s, "pauses");
	edit_until_compacted(db, "pauses");
	db_close(db);
	dbs_free(s);
	CHECK(shortest > 0 && shortest < UINT64_MAX);
}

/* put_photo: A document with an attachment of ${bytes} random bytes, or, with 0, its tombstone. */
static void
put_photo(struct db *db, const char *id, size_t bytes, struct revbuf *rev)
{
	struct db_write_att att = {.name = {"photo", 5}, .type = {"image/png", 9}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {id, strlen(id)},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .has_parent = rev->gen > 0,
	    .parent = *rev,
	    .deleted = bytes == 0,
	    .atts = &att,
	    .natts = bytes > 0};
	struct db_request req = {.writes = &w, .nwrites = 1};
	char *noise = malloc(bytes + 1);

	hash_random(noise, bytes);
	CHECK_INT(db_blob_new(db, DB_BLOB_PLAIN, &att.blob), 0);
	CHECK_INT(db_blob_add(att.blob, noise, bytes), 0);
	CHECK_INT(db_blob_end(att.blob), 0);
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	*rev = w.rev;
	db_blob_free(att.blob);
	free(noise);
}

/* Attachments that were replaced, or of documents that were deleted, are waste too. */
static void
wait_smaller(struct db *db, uint64_t bytes)
{
	struct db_info info;

	do {
		usleep(1000);
		CHECK_INT(db_info(db, &info), 0);
	} while (file_bytes(db) >= bytes || info.compact_running);
}

static void
test_photos(void)
{
	enum { N = 8, LEN = 200000 };
	struct dbs *s = open_dbs((struct db_autocompact){.ratio_percent = 200, .min_bytes = 500000});
	struct db *db = make(s, "photos");
	struct revbuf rev[N] = {{0}};
	ino_t was = file_of("photos");
	char id[N][16];

	for (int i = 0; i < N; i++) {
		snprintf(id[i], sizeof(id[i]), "doc%d", i);
		put_photo(db, id[i], LEN, &rev[i]);
	}
	CHECK(file_of("photos") == was);
	for (int i = 0; i < 2 * N; i++)
		put_photo(db, id[i % N], LEN, &rev[i % N]);
	wait_smaller(db, (2 * N + 1) * LEN);
	for (int i = 0; i < N; i++)
		put_photo(db, id[i], 0, &rev[i]);
	wait_smaller(db, N * LEN * 3 / 4);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
}

/* A threshold that no compaction gets below: it is not tried again and again. */
static void
test_no_circles(void)
{
	enum { WRITES = 150 };
	struct dbs *s = open_dbs((struct db_autocompact){.ratio_percent = 1, .min_bytes = 1});
	struct db *db = make(s, "circles");
	ino_t was = file_of("circles");
	int changes = 0;

	for (int i = 0; i < WRITES; i++) {
		char id[16];

		snprintf(id, sizeof(id), "doc%d", i);
		put(db, id, 20000);
		do
			put(db, "small", 10);
		while (is_running(db));
		changes += file_of("circles") != was;
		was = file_of("circles");
	}
	CHECK(changes > 0);
	CHECK(changes < WRITES / 3);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
}

static void
wait_at(void *arg)
{
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
}

/* With the only thread of the executor held, what was begun stands still. */
static void
test_listed(void)
{
	struct exec_threads *threads = dbtest_threads;
	pthread_barrier_t held;
	struct exec_job job = {.fn = wait_at, .arg = &held};
	struct executor *ex;
	struct seen seen;
	struct dbs *s;
	struct db *db;

	CHECK_INT(exec_threads_new(1, &dbtest_threads), 0);
	ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(pthread_barrier_init(&held, NULL, 2), 0);
	s = open_dbs((struct db_autocompact){0});
	db = make(s, "listed");
	for (int i = 0; i < 20; i++)
		put(db, i % 2 ? "a" : "b", 5000);
	CHECK_INT(tasks(s).n, 0);
	ex->submit(ex, &job);
	pthread_barrier_wait(&held);
	CHECK_INT(db_compact(db), 0);
	CHECK_INT(db_compact(db), 0);
	CHECK(is_running(db));
	seen = tasks(s);
	CHECK_INT(seen.n, 1);
	CHECK_STR(seen.database, "listed");
	CHECK_STR(seen.phase, "document_trim");
	pthread_barrier_wait(&held);
	while (is_running(db))
		put(db, "a", 100);
	CHECK_INT(tasks(s).n, 0);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
	exec_threads_free(dbtest_threads);
	dbtest_threads = threads;
	(void)pthread_barrier_destroy(&held);
}

/* Several are wasteful at a time, and one runs after another. */
static void
test_turns(void)
{
	enum { N = 4 };
	struct dbs *s = open_dbs((struct db_autocompact){.ratio_percent = 150, .min_bytes = 500000});
	const char *const names[N] = {"turn0", "turn1", "turn2", "turn3"};
	struct db *db[N];
	ino_t was[N];
	int left = N;

	for (int i = 0; i < N; i++) {
		db[i] = make(s, names[i]);
		was[i] = file_of(names[i]);
	}
	while (left > 0) {
		left = 0;
		for (int i = 0; i < N; i++) {
			put(db[i], "doc", 20000);
			CHECK(tasks(s).n <= 1);
			left += file_of(names[i]) == was[i];
		}
	}
	for (int i = 0; i < N; i++)
		db_close(db[i]);
	dbs_free(s);
	CHECK_INT(unfinished(), 0);
}

/* A server ends, or a database is dropped, at any moment of a compaction. */
static void
test_ended(void)
{
	for (int i = 0; i < 12; i++) {
		struct dbs *s = open_dbs((struct db_autocompact){0});
		struct db *db = i == 0 ? make(s, "ended") : dbtest_open(s, "ended");

		for (int k = 0; i == 0 && k < 400; k++) {
			char id[16];

			snprintf(id, sizeof(id), "doc%d", k % 250);
			put(db, id, 10000);
		}
		dbtest_check(db);
		CHECK_INT(db_compact(db), 0);
		for (int k = 0; k < i / 2; k++)
			put(db, "more", 1000);
		if (i == 11)
			CHECK_INT(dbs_drop(s, "ended", &dbtest_admin), 0);
		db_close(db);
		dbs_free(s);
		CHECK_INT(unfinished(), 0);
	}
}

/* While a reader holds its snapshot the files are not exchanged, and once it ends they are. */
static void
test_slow_reader(void)
{
	struct dbs *s = open_dbs((struct db_autocompact){0});
	struct db *db = make(s, "slow");
	ino_t was = file_of("slow");
	struct db_snap *snap = NULL;
	struct seen seen;

	put(db, "a", 5000);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(db_compact(db), 0);
	do {
		put(db, "a", 500);
		seen = tasks(s);
		CHECK_INT(seen.n, 1);
	} while (strcmp(seen.phase, "document_copy") != 0);
	for (int i = 0; i < 10; i++)
		put(db, "a", 500);
	CHECK(is_running(db));
	CHECK(file_of("slow") == was);
	db_snap_end(snap);
	while (is_running(db))
		put(db, "a", 500);
	CHECK(file_of("slow") != was);
	dbtest_check(db);
	db_close(db);
	dbs_free(s);
}

int
main(void)
{
	char command[64];

	CHECK(mkdtemp(dir) != NULL);
	alarm(300);
	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 30, &arena), 0);
	test_by_itself();
	test_quiet();
	test_pauses();
	test_photos();
	test_no_circles();
	test_listed();
	test_turns();
	test_slow_reader();
	test_ended();
	arena_free(arena);
	exec_threads_free(dbtest_threads);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
