/*
 * test_store.c: the rules of store.h, over both implementations, and what is
 * LMDB's alone: growth, compaction, copies, damaged files, a full disk.
 */
#include "store/store.h"
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const trees[] = {"id", "seq", "third"};
static char dir[] = "/tmp/divan-store-XXXXXX";
static int is_mem;

static void
put(struct store_batch *b, unsigned tree, const char *key, const char *val)
{
	CHECK_INT(store_put(b, tree, key, strlen(key), val, strlen(val)), 0);
}

static struct store_db *
make(struct store *s, const char *name)
{
	struct store_db *db = NULL;

	if (!CHECK_INT(store_create(s, name, trees, 3, &db), 0))
		exit(1);
	return db;
}

static struct store_batch *
batch(struct store_db *db)
{
	struct store_batch *b = NULL;

	if (!CHECK_INT(store_batch_new(db, &b), 0))
		exit(1);
	return b;
}

static struct store_snap *
snap(struct store_db *db)
{
	struct store_snap *sn = NULL;

	if (!CHECK_INT(store_snap_begin(db, &sn), 0))
		exit(1);
	return sn;
}

/* The value under key, "" if missing. */
static void
expect(struct store_snap *sn, unsigned tree, const char *key, const char *val)
{
	struct store_val v = {"", 0};
	int rc = store_get(sn, tree, key, strlen(key), &v);

	CHECK_INT(rc, val == NULL ? ERR_MISSING : 0);
	if (rc == 0 && val != NULL)
		CHECK_MEM(v.p, v.len, val, strlen(val));
}

static void
test_batches(struct store *s)
{
	struct store_db *db = make(s, "batches");
	struct store_batch *b = batch(db);
	struct store_snap *sn, *old;
	uint64_t n = 99;
	void *room;

	CHECK_INT(store_commit(b), 0);
	put(b, 0, "b", "1");
	put(b, 0, "a", "2");
	put(b, 1, "a", "other");
	put(b, 0, "b", "3");
	CHECK_INT(store_del(b, 0, "a", 1), 0);
	put(b, 0, "c", "");
	CHECK_INT(store_del(b, 0, "d", 1), 0);
	put(b, 0, "d", "back");
	CHECK_INT(store_put_room(b, 0, "r", 1, 4, &room), 0);
	memcpy(room, "room", 4);
	CHECK(store_batch_bytes(b) >= 9 + 1 + 1 + 5 + 1 + 4 + 4);
	CHECK_INT(store_put(b, 0, "", 0, "x", 1), ERR_INTERNAL);
	old = snap(db);
	CHECK_INT(store_commit(b), 0);
	CHECK_INT(store_batch_bytes(b), 0);
	sn = snap(db);
	expect(old, 0, "b", NULL);
	expect(sn, 0, "a", NULL);
	expect(sn, 0, "b", "3");
	expect(sn, 0, "c", "");
	expect(sn, 0, "d", "back");
	expect(sn, 0, "r", "room");
	expect(sn, 1, "a", "other");
	expect(sn, 2, "a", NULL);
	CHECK_INT(store_count(sn, 0, &n), 0);
	CHECK_INT(n, 4);
	CHECK_INT(store_count(old, 0, &n), 0);
	CHECK_INT(n, 0);
	store_snap_end(old);
	CHECK_INT(store_del(b, 0, "b", 1), 0);
	CHECK_INT(store_del(b, 0, "zzz", 3), 0);
	put(b, 0, "zz", "tail");
	CHECK_INT(store_commit(b), 0);
	expect(sn, 0, "b", "3");
	expect(sn, 0, "zz", NULL);
	store_snap_end(sn);
	sn = snap(db);
	expect(sn, 0, "b", NULL);
	expect(sn, 0, "zz", "tail");
	store_snap_end(sn);
	CHECK_INT(store_reads_wait(db), 0);
	store_batch_free(b);
	store_close(db);
}

static void
test_keys(struct store *s)
{
	struct store_db *db = make(s, "keys");
	struct store_batch *b = batch(db);
	char key[600], big[100000];
	struct store_cursor *c;
	struct store_snap *sn;
	struct store_val k, v;

	memset(key, 'k', sizeof(key));
	memset(big, 'v', sizeof(big));
	CHECK_INT(store_put(b, 0, key, STORE_KEY_MAX + 1, "x", 1), ERR_INTERNAL);
	CHECK_INT(store_put(b, 0, key, STORE_KEY_MAX, big, sizeof(big)), 0);
	CHECK_INT(store_put(b, 0, "\xff\x00", 2, "x", 1), 0);
	CHECK_INT(store_commit(b), 0);
	sn = snap(db);
	CHECK_INT(store_get(sn, 0, key, STORE_KEY_MAX, &v), 0);
	CHECK_MEM(v.p, v.len, big, sizeof(big));
	CHECK_INT(store_get(sn, 0, key, 512, &v), ERR_MISSING);
	CHECK_INT(store_get(sn, 0, key, 0, &v), ERR_MISSING);
	CHECK_INT(store_cursor_open(sn, 0, &c), 0);
	CHECK_INT(store_seek(c, key, 600, &k, NULL), 0);
	CHECK_MEM(k.p, k.len, "\xff", 2);
	CHECK_INT(store_seek_le(c, key, 600, &k, &v), 0);
	CHECK_INT(k.len, STORE_KEY_MAX);
	key[300] = 'a';
	CHECK_INT(store_seek(c, key, 600, &k, &v), 0);
	CHECK_INT(k.len, STORE_KEY_MAX);
	CHECK_INT(v.len, sizeof(big));
	CHECK_INT(store_seek_le(c, key, 600, &k, NULL), ERR_MISSING);
	store_cursor_close(c);
	store_snap_end(sn);
	store_batch_free(b);
	store_close(db);
}

/* Walks and seeks over keys that are prefixes of each other, have NULs and high bytes. */
static void
test_cursors(struct store *s)
{
	static const struct store_val keys[] = {{"\0", 1}, {"a", 1}, {"a\0", 2}, {"a\0b", 3}, {"ab", 2}, {"b", 1},
	    {"\x7f", 1}, {"\x80", 1}, {"\xff\xff", 2}};
	enum { N = sizeof(keys) / sizeof(keys[0]) };
	struct store_db *db = make(s, "cursors");
	struct store_batch *b = batch(db);
	struct store_cursor *c, *empty;
	struct store_snap *sn;
	struct store_val k, v;
	int i;

	for (i = 0; i < N; i++)
		CHECK_INT(store_put(b, 1, keys[(i * 4) % N].p, keys[(i * 4) % N].len, "v", 1), 0);
	CHECK_INT(store_commit(b), 0);
	sn = snap(db);
	CHECK_INT(store_cursor_open(sn, 0, &empty), 0);
	CHECK_INT(store_cursor_open(sn, 1, &c), 0);
	CHECK_INT(store_seek(empty, NULL, 0, &k, &v), ERR_MISSING);
	CHECK_INT(store_seek_le(empty, NULL, 0, &k, &v), ERR_MISSING);
	CHECK_INT(store_seek_le(empty, "x", 1, &k, &v), ERR_MISSING);
	CHECK_INT(store_next(c, &k, &v), ERR_MISSING);
	CHECK_INT(store_prev(c, &k, &v), ERR_MISSING);
	for (i = 0; i < N; i++) {
		CHECK_INT(i == 0 ? store_seek(c, NULL, 0, &k, &v) : store_next(c, &k, NULL), 0);
		CHECK_MEM(k.p, k.len, keys[i].p, keys[i].len);
	}
	CHECK_INT(store_next(c, &k, &v), ERR_MISSING);
	CHECK_INT(store_next(c, &k, &v), ERR_MISSING);
	CHECK_INT(store_prev(c, &k, &v), ERR_MISSING);
	for (i = N - 1; i >= 0; i--) {
		CHECK_INT(i == N - 1 ? store_seek_le(c, NULL, 0, &k, &v) : store_prev(c, &k, &v), 0);
		CHECK_MEM(k.p, k.len, keys[i].p, keys[i].len);
	}
	CHECK_INT(store_prev(c, NULL, NULL), ERR_MISSING);
	for (i = 0; i < N; i++) {
		CHECK_INT(store_seek(c, keys[i].p, keys[i].len, &k, &v), 0);
		CHECK_MEM(k.p, k.len, keys[i].p, keys[i].len);
		CHECK_INT(store_seek_le(c, keys[i].p, keys[i].len, &k, &v), 0);
		CHECK_MEM(k.p, k.len, keys[i].p, keys[i].len);
		CHECK_INT(store_prev(c, &k, &v), i == 0 ? ERR_MISSING : 0);
		if (i > 0)
			CHECK_MEM(k.p, k.len, keys[i - 1].p, keys[i - 1].len);
	}
	CHECK_INT(store_seek(c, "aa", 2, &k, &v), 0);
	CHECK_MEM(k.p, k.len, "ab", 2);
	CHECK_INT(store_prev(c, &k, &v), 0);
	CHECK_MEM(k.p, k.len, "a\0b", 3);
	CHECK_INT(store_seek_le(c, "aa", 2, &k, &v), 0);
	CHECK_MEM(k.p, k.len, "a\0b", 3);
	CHECK_INT(store_next(c, &k, &v), 0);
	CHECK_MEM(k.p, k.len, "ab", 2);
	CHECK_INT(store_seek_le(c, "\xff\xff\xff", 3, &k, &v), 0);
	CHECK_MEM(k.p, k.len, "\xff\xff", 2);
	CHECK_INT(store_seek(c, "\xff\xff\xff", 3, &k, &v), ERR_MISSING);
	store_cursor_close(c);
	store_cursor_close(empty);
	store_snap_end(sn);
	store_batch_free(b);
	store_close(db);
}

/* Random batches against an array. */
static void
test_random(struct store *s, unsigned seed)
{
	enum { KEYS = 500 };
	static int model[KEYS];
	struct store_db *db = make(s, "random");
	struct store_batch *b = batch(db);
	unsigned was = check_failed_, r = seed;
	char key[16];

	memset(model, 0, sizeof(model));
	for (int round = 0; round < 60; round++) {
		struct store_snap *sn;
		uint64_t n = 0, want = 0;

		for (int i = rand_r(&r) % 200; i > 0; i--) {
			int at = rand_r(&r) % KEYS, val = rand_r(&r) % 3 == 0 ? 0 : rand_r(&r) % 1000 + 1;

			snprintf(key, sizeof(key), "%x", at * 7919);
			model[at] = val;
			if (val == 0)
				CHECK_INT(store_del(b, 2, key, strlen(key)), 0);
			else
				CHECK_INT(store_put(b, 2, key, strlen(key), &val, sizeof(val)), 0);
		}
		CHECK_INT(store_commit(b), 0);
		sn = snap(db);
		for (int i = 0; i < KEYS; i++) {
			struct store_val v;
			int rc;

			snprintf(key, sizeof(key), "%x", i * 7919);
			rc = store_get(sn, 2, key, strlen(key), &v);
			CHECK_INT(rc, model[i] == 0 ? ERR_MISSING : 0);
			if (rc == 0)
				CHECK_MEM(v.p, v.len, &model[i], sizeof(int));
			want += model[i] != 0;
		}
		CHECK_INT(store_count(sn, 2, &n), 0);
		CHECK_INT(n, want);
		store_snap_end(sn);
	}
	if (check_failed_ != was)
		fprintf(stderr, "seed %u\n", seed);
	store_batch_free(b);
	store_close(db);
}

struct seen {
	char text[4096];
	int stop_after;
};

static int
see(const char *name, void *cookie)
{
	struct seen *seen = cookie;
	size_t len = strlen(seen->text);

	snprintf(seen->text + len, sizeof(seen->text) - len, "%s ", name);
	return --seen->stop_after == 0 ? 7 : 0;
}

static void
test_names(struct store *s)
{
	static const char *const names[] = {"n", "n$", "n/", "n/a", "n0", "n_", "na", "a/b/c", "_users", "n+(x)"};
	struct seen seen = {"", 0}, part = {"", 2};
	struct store_db *db;
	char slashes[239];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		store_close(make(s, names[i]));
	CHECK_INT(store_create(s, "n/a", trees, 3, &db), ERR_DB_EXISTS);
	CHECK_INT(store_list(s, "_usert", see, &seen), 0);
	CHECK(strstr(seen.text, "n n$ n+(x) n/ n/a n0 n_ na ") != NULL);
	CHECK(strstr(seen.text, "_users") == NULL);
	CHECK_INT(store_list(s, "n", see, &part), 7);
	CHECK_STR(part.text, "n$ n+(x) ");
	memset(slashes, '/', sizeof(slashes));
	slashes[0] = 'n';
	slashes[238] = '\0';
	store_close(make(s, slashes));
	CHECK_INT(store_open(s, slashes, trees, 3, &db), 0);
	store_close(db);
	seen = (struct seen){"", 0};
	CHECK_INT(store_list(s, "n/.", see, &seen), 0);
	CHECK(strstr(seen.text, slashes) != NULL);
	CHECK_INT(store_drop(s, slashes), 0);
	CHECK_INT(store_open(s, slashes, trees, 3, &db), ERR_NO_DB);
	CHECK_INT(store_open(s, "absent", trees, 3, &db), ERR_NO_DB);
	CHECK_INT(store_drop(s, "absent"), ERR_NO_DB);
	CHECK_INT(store_create(s, "", trees, 3, &db), ERR_ILLEGAL_DB_NAME);
}

/* What is made has no name before it is published: whoever dies before leaves nothing. */
static void
test_publish(struct store *s)
{
	struct store_db *db, *other;
	struct store_batch *b;
	struct store_snap *sn;
	struct seen seen;

	for (int published = 0; published < 2; published++) {
		CHECK_INT(store_make(s, "made", trees, 3, &db), 0);
		b = batch(db);
		put(b, 0, "k", "first");
		CHECK_INT(store_commit(b), 0);
		store_batch_free(b);
		seen = (struct seen){"", 0};
		CHECK_INT(store_list(s, "madd", see, &seen), 0);
		CHECK(strstr(seen.text, "made") == NULL);
		CHECK_INT(store_open(s, "made", trees, 3, &other), ERR_NO_DB);
		CHECK_INT(store_drop(s, "made"), ERR_NO_DB);
		if (published)
			CHECK_INT(store_publish(db), 0);
		sn = snap(db);
		expect(sn, 0, "k", "first");
		store_snap_end(sn);
		store_close(db);
	}
	CHECK_INT(store_make(s, "made", trees, 3, &db), ERR_DB_EXISTS);
	CHECK_INT(store_open(s, "made", trees, 3, &db), 0);
	sn = snap(db);
	expect(sn, 0, "k", "first");
	store_snap_end(sn);
	store_close(db);
}

/* Of two of one name the one that is published second is not. */
static void
test_publish_twice(struct store *s)
{
	struct store_db *db, *other;

	CHECK_INT(store_make(s, "twice", trees, 3, &db), 0);
	other = make(s, "twice");
	CHECK_INT(store_publish(db), ERR_DB_EXISTS);
	store_close(db);
	store_close(other);
	CHECK_INT(store_open(s, "twice", trees, 3, &db), 0);
	store_close(db);
}

static void
test_reopen_and_drop(struct store *s)
{
	struct store_db *db = make(s, "drop"), *again;
	struct store_batch *b = batch(db);
	unsigned char one[16], two[16];
	struct store_usage u = {0};
	struct store_snap *sn;

	CHECK_INT(store_open(s, "drop", trees, 3, &again), ERR_BUSY);
	put(b, 0, "k", "old");
	CHECK_INT(store_commit(b), 0);
	CHECK_INT(store_usage(db, &u), 0);
	CHECK(u.file_bytes > 0 && u.active_bytes > 0 && u.active_bytes <= u.file_bytes);
	CHECK_INT(store_stamp(db, one), 0);
	store_batch_free(b);
	store_close(db);
	CHECK_INT(store_open(s, "drop", trees, 3, &db), 0);
	CHECK_INT(store_stamp(db, two), 0);
	CHECK_MEM(one, 16, two, 16);
	sn = snap(db);
	expect(sn, 0, "k", "old");
	for (int i = 0; i < 5; i++) {
		CHECK_INT(store_drop(s, "drop"), 0);
		CHECK_INT(store_open(s, "drop", trees, 3, &again), ERR_NO_DB);
		again = make(s, "drop");
		CHECK_INT(store_stamp(again, two), 0);
		CHECK(memcmp(one, two, 16) != 0);
		b = batch(again);
		put(b, 0, "k", "new");
		CHECK_INT(store_commit(b), 0);
		store_batch_free(b);
		expect(sn, 0, "k", "old");
		store_close(again);
	}
	store_snap_end(sn);
	sn = snap(db);
	expect(sn, 0, "k", "old");
	store_snap_end(sn);
	store_close(db);
}

/* Whether a file is still the database's may not be known: that does not make it another one. */
static void
test_reopen_unknown(struct store *s)
{
	struct store_db *db = make(s, "unknown");
	char path[300], aside[300];

	snprintf(path, sizeof(path), "%s/unknown.divan", dir);
	snprintf(aside, sizeof(aside), "%s/aside", dir);
	CHECK_INT(rename(path, aside), 0);
	CHECK_INT(store_reopen(db), ERR_NO_DB);
	CHECK_INT(symlink("unknown.divan", path), 0);
	CHECK_INT(store_reopen(db), ERR_IO);
	CHECK_INT(store_compact(db), ERR_IO);
	CHECK_INT(rename(aside, path), 0);
	CHECK_INT(store_compact(db), 0);
	CHECK_INT(store_reopen(db), 0);
	store_close(db);
}

/* One writer and four readers; each commit writes the same number under all keys. */
#define LOAD_KEYS 40
struct load {
	struct store_db *db;
	atomic_int done;
	atomic_int bad;
	atomic_ulong reads;
};

static void *
reader(void *arg)
{
	struct load *l = arg;

	while (!atomic_load(&l->done)) {
		unsigned long first = 0, got;
		struct store_cursor *c = NULL;
		struct store_snap *sn;
		struct store_val v;
		int n = 0, rc;

		if (store_snap_begin(l->db, &sn) != 0 || store_cursor_open(sn, 0, &c) != 0) {
			atomic_fetch_add(&l->bad, 1);
			return NULL;
		}
		for (rc = store_seek(c, NULL, 0, NULL, &v); rc == 0; rc = store_next(c, NULL, &v)) {
			memcpy(&got, v.p, sizeof(got));
			if (n++ == 0)
				first = got;
			if (got != first)
				atomic_fetch_add(&l->bad, 1);
		}
		if (n != LOAD_KEYS && n != 0)
			atomic_fetch_add(&l->bad, 1);
		store_cursor_close(c);
		store_snap_end(sn);
		atomic_fetch_add(&l->reads, 1);
	}
	return NULL;
}

/* Copies again and again, which the growth of the map and compaction wait for. */
static void *
copier(void *arg)
{
	struct load *l = arg;
	char path[300];

	snprintf(path, sizeof(path), "%s/copy-under-load", dir);
	while (!atomic_load(&l->done)) {
		if (store_copy(l->db, path) != 0 || unlink(path) != 0)
			atomic_fetch_add(&l->bad, 1);
		usleep(20000);
	}
	return NULL;
}

static void
write_round(struct load *l, struct store_batch *b, unsigned long round, const char *fill, size_t len)
{
	char key[32];

	for (int i = 0; i < LOAD_KEYS; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		CHECK_INT(store_put(b, 0, key, strlen(key), &round, sizeof(round)), 0);
	}
	snprintf(key, sizeof(key), "%010lu", round);
	CHECK_INT(store_put(b, 1, key, strlen(key), fill, len), 0);
	CHECK_INT(store_commit(b), 0);
	(void)l;
}

static void
test_load(struct store *s, unsigned rounds, size_t len)
{
	struct load l = {make(s, "load"), 0, 0, 0};
	struct store_batch *b = batch(l.db);
	char *fill = calloc(1, len);
	struct store_usage u;
	pthread_t t[4], copies;

	for (int i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&t[i], NULL, reader, &l), 0);
	if (!is_mem)
		CHECK_INT(pthread_create(&copies, NULL, copier, &l), 0);
	for (unsigned i = 0; i < rounds && fill != NULL; i++) {
		write_round(&l, b, i + 1, fill, len);
		if (i % 25 == 24)
			CHECK_INT(store_compact(l.db), 0);
	}
	while (
	    atomic_load(&l.reads) == 0 && atomic_load(&l.bad) == 0) /* the machine may have had no time for readers */
		usleep(1000);
	atomic_store(&l.done, 1);
	if (!is_mem)
		pthread_join(copies, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_INT(l.bad, 0);
	CHECK(l.reads > 0);
	CHECK_INT(store_usage(l.db, &u), 0);
	CHECK(u.active_bytes > rounds * len);
	free(fill);
	store_batch_free(b);
	store_close(l.db);
}

static void
test_faults(struct store *s)
{
	for (int applied = 0; applied < 2; applied++) {
		struct store_db *db = make(s, applied ? "faults1" : "faults0");
		struct store_batch *b = batch(db);
		struct store_snap *sn;

		store_mem_fail(s, 2, ERR_NOSPACE, 0);
		put(b, 0, "a", "1");
		CHECK_INT(store_commit(b), 0);
		put(b, 0, "a", "2");
		CHECK_INT(store_commit(b), ERR_NOSPACE);
		sn = snap(db);
		expect(sn, 0, "a", "1");
		store_snap_end(sn);
		store_mem_fail(s, 1, ERR_IN_DOUBT, applied);
		put(b, 0, "a", "3");
		CHECK_INT(store_commit(b), ERR_IN_DOUBT);
		put(b, 0, "a", "4");
		CHECK_INT(store_commit(b), ERR_IO);
		store_batch_free(b);
		store_close(db);
		CHECK_INT(store_open(s, applied ? "faults1" : "faults0", trees, 3, &db), 0);
		sn = snap(db);
		expect(sn, 0, "a", applied ? "3" : "1");
		store_snap_end(sn);
		b = batch(db);
		put(b, 0, "a", "5");
		CHECK_INT(store_commit(b), 0);
		store_batch_free(b);
		store_close(db);
	}
}

static void
write_file(const char *name, const void *data, size_t len)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static void
test_damaged(struct store *s)
{
	static char zeros[40000];
	struct store_db *db;
	struct store_snap *sn;
	struct store_batch *b;
	struct store_val v;
	struct seen seen = {"", 0};
	char path[300];

	write_file("empty.divan", "", 0);
	write_file("zeros.divan", zeros, sizeof(zeros));
	write_file("text.divan", "hello", 5);
	write_file("X.divan", "no name encodes to this", 23);
	write_file("zz.txt", "not ours", 8);
	CHECK_INT(store_open(s, "empty", trees, 3, &db), ERR_CORRUPT);
	CHECK_INT(store_open(s, "zeros", trees, 3, &db), ERR_CORRUPT);
	CHECK_INT(store_open(s, "text", trees, 3, &db), ERR_CORRUPT);
	CHECK_INT(store_list(s, "x", see, &seen), 0);
	CHECK_STR(seen.text, "zeros ");
	CHECK_INT(store_drop(s, "zeros"), 0);
	CHECK_INT(store_drop(s, "text"), 0);
	CHECK_INT(store_drop(s, "empty"), 0);
	db = make(s, "cut");
	CHECK_INT(store_open(s, "cut", trees, 3, &db), ERR_BUSY);
	b = batch(db);
	for (int i = 0; i < 100; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		CHECK_INT(store_put(b, 0, key, strlen(key), zeros, 3000), 0);
	}
	CHECK_INT(store_commit(b), 0);
	store_batch_free(b);
	store_close(db);
	snprintf(path, sizeof(path), "%s/cut.divan", dir);
	CHECK_INT(truncate(path, 8192), 0);
	if (store_open(s, "cut", trees, 3, &db) == 0) {
		sn = snap(db);
		CHECK(store_get(sn, 0, "1", 1, &v) != 0);
		store_snap_end(sn);
		store_close(db);
	}
	CHECK_INT(store_drop(s, "cut"), 0);
}

static void
test_copies(struct store *s)
{
	struct store_db *db = make(s, "copy"), *two;
	struct store_batch *b = batch(db);
	struct store_usage before, after;
	struct store_snap *sn;
	char val[3000] = "v", path[300], key[16];

	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < 500; i++) {
			snprintf(key, sizeof(key), "%d", i);
			CHECK_INT(pass == 0 ? store_put(b, 0, key, strlen(key), val, sizeof(val))
					    : store_del(b, 0, key, strlen(key)),
			    0);
		}
		put(b, 0, "x", "kept");
		CHECK_INT(store_commit(b), 0);
	}
	snprintf(path, sizeof(path), "%s/twin.divan", dir);
	CHECK_INT(store_copy(db, path), 0);
	CHECK_INT(store_copy(db, path), ERR_IO);
	CHECK_INT(store_open(s, "twin", trees, 3, &two), 0);
	CHECK_INT(store_usage(db, &before), 0);
	CHECK_INT(store_compact(db), 0);
	CHECK_INT(store_usage(db, &after), 0);
	CHECK(after.file_bytes * 10 < before.file_bytes);
	for (int i = 0; i < 2; i++) {
		sn = snap(i == 0 ? db : two);
		expect(sn, 0, "x", "kept");
		expect(sn, 0, "1", NULL);
		store_snap_end(sn);
	}
	put(b, 0, "y", "after");
	CHECK_INT(store_commit(b), 0);
	store_batch_free(b);
	store_close(two);
	store_close(db);
	CHECK_INT(store_open(s, "copy", trees, 3, &db), 0);
	sn = snap(db);
	expect(sn, 0, "y", "after");
	store_snap_end(sn);
	CHECK_INT(store_drop(s, "copy"), 0);
	CHECK_INT(store_compact(db), ERR_NO_DB);
	sn = snap(db);
	expect(sn, 0, "y", "after");
	store_snap_end(sn);
	store_close(db);
}

/* The limit on a file's size stands in for a full disk. */
static void
test_full(struct store *s)
{
	static char val[400000];
	struct store_db *db = make(s, "full");
	struct store_batch *b = batch(db);
	struct rlimit was, small;
	struct store_snap *sn;

	put(b, 0, "k", "v");
	CHECK_INT(store_commit(b), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = was;
	small.rlim_cur = 200000;
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 3; i++) {
		put(b, 0, "k", "new");
		CHECK_INT(store_put(b, 1, "big", 3, val, sizeof(val)), 0);
		CHECK_INT(store_commit(b), ERR_NOSPACE);
		sn = snap(db);
		expect(sn, 0, "k", "v");
		store_snap_end(sn);
	}
	put(b, 0, "small", "fits");
	CHECK_INT(store_commit(b), 0);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
	CHECK_INT(store_put(b, 1, "big", 3, val, sizeof(val)), 0);
	CHECK_INT(store_commit(b), 0);
	sn = snap(db);
	expect(sn, 0, "k", "v");
	expect(sn, 0, "small", "fits");
	store_snap_end(sn);
	store_batch_free(b);
	store_close(db);
}

/* A commit that fails is not in doubt, also where no snapshot can be begun. */
static void
test_full_and_crowded(struct store *s)
{
	enum { ROOM = 2048 };
	static char val[400000];
	struct store_snap **held = calloc(ROOM, sizeof(struct store_snap *));
	struct store_db *db = make(s, "crowded");
	struct store_batch *b = batch(db);
	struct rlimit was, small;
	unsigned n = 0;
	int rc = 0;

	while (held != NULL && n < ROOM && (rc = store_snap_begin(db, &held[n])) == 0)
		n++;
	CHECK_INT(rc, ERR_BUSY);
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = was;
	small.rlim_cur = 200000;
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
	CHECK_INT(store_put(b, 1, "big", 3, val, sizeof(val)), 0);
	CHECK_INT(store_commit(b), ERR_NOSPACE);
	CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
	put(b, 0, "k", "v");
	CHECK_INT(store_commit(b), 0);
	while (n > 0)
		store_snap_end(held[--n]);
	free(held);
	store_batch_free(b);
	store_close(db);
}

static _Atomic int no_maps; /* files cannot be mapped */

/* TSan calls it before TSan is ready. */
__attribute__((no_sanitize("thread"))) void *
mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
	if (no_maps && fd >= 0) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, p, n, prot, flags, fd, at);
}

/* put_large: More than the file's map holds. */
static void
put_large(struct store_batch *b)
{
	void *room;

	put(b, 0, "k", "large");
	CHECK_INT(store_put_room(b, 1, "large", 5, (size_t)20 << 20, &room), 0);
	memset(room, 'x', (size_t)20 << 20);
}

static void
expect_k(struct store_db *db, const char *val)
{
	struct store_snap *sn = snap(db);

	expect(sn, 0, "k", val);
	store_snap_end(sn);
}

/* A file that cannot be mapped any larger is in doubt, and is as it was once it is opened again. */
static void
test_no_map(struct store *s)
{
	struct store_db *db = make(s, "nomap");
	struct store_batch *b = batch(db);
	struct store_snap *sn;

	put(b, 0, "k", "v");
	CHECK_INT(store_commit(b), 0);
	put_large(b);
	no_maps = 1;
	CHECK_INT(store_commit(b), ERR_IN_DOUBT);
	CHECK_INT(store_snap_begin(db, &sn), ERR_IO);
	put(b, 0, "k", "w");
	CHECK_INT(store_commit(b), ERR_IO);
	CHECK_INT(store_reopen(db), ERR_NOMEM);
	no_maps = 0;
	CHECK_INT(store_reopen(db), 0);
	expect_k(db, "v");
	put_large(b);
	CHECK_INT(store_commit(b), 0);
	expect_k(db, "large");
	store_batch_free(b);
	store_close(db);
}

/* Descriptors that run out while a file is opened again leave nothing to read: ERR_BUSY says that all is as it was. */
static void
test_no_descriptors(struct store *s)
{
	struct store_db *db = make(s, "nofds"), *other;
	struct store_batch *b = batch(db);
	struct rlimit was, none;
	struct store_snap *sn;

	put(b, 0, "k", "v");
	CHECK_INT(store_commit(b), 0);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_INT(store_reopen(db), ERR_IO);
	CHECK_INT(store_snap_begin(db, &sn), ERR_IO);
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &was), 0);
	/* Others may open it. */
	CHECK_INT(store_open(s, "nofds", trees, 3, &other), 0);
	expect_k(other, "v");
	store_close(other);
	CHECK_INT(store_reopen(db), 0);
	expect_k(db, "v");
	store_batch_free(b);
	store_close(db);
}

/* What is left in the folder after an interruption. */
static void
test_sweep(void)
{
	struct store *s;
	char path[300];

	write_file(".tmp-1-1", "x", 1);
	write_file("gone.divan-lock", "x", 1);
	write_file("keep.txt", "x", 1);
	CHECK_INT(store_lmdb_new(dir, &s), 0);
	snprintf(path, sizeof(path), "%s/.tmp-1-1", dir);
	CHECK(access(path, F_OK) != 0);
	snprintf(path, sizeof(path), "%s/gone.divan-lock", dir);
	CHECK(access(path, F_OK) != 0);
	snprintf(path, sizeof(path), "%s/keep.txt", dir);
	CHECK(access(path, F_OK) == 0);
	store_free(s);
}

static void
suite(struct store *s)
{
	test_batches(s);
	test_keys(s);
	test_cursors(s);
	test_random(s, 20 + (unsigned)is_mem);
	test_names(s);
	test_publish(s);
	test_publish_twice(s);
	test_reopen_and_drop(s);
	test_load(s, is_mem ? 200 : 110, is_mem ? 1000 : (size_t)1 << 20);
}

static int
collect(const char *name, void *cookie)
{
	return store_drop(cookie, name);
}

int
main(void)
{
	struct store *s;

	alarm(300);
	is_mem = 1;
	CHECK_INT(store_mem_new(&s), 0);
	suite(s);
	test_faults(s);
	store_free(s);

	is_mem = 0;
	if (!CHECK(mkdtemp(dir) != NULL) || !CHECK_INT(store_lmdb_new(dir, &s), 0))
		return 1;
	suite(s);
	test_copies(s);
	test_damaged(s);
	test_full(s);
	test_full_and_crowded(s);
	test_no_map(s);
	test_reopen_unknown(s);
	test_no_descriptors(s);
	CHECK_INT(store_list(s, NULL, collect, s), 0);
	store_free(s);
	test_sweep();
	{
		char cmd[300];

		snprintf(cmd, sizeof(cmd), "rm %s/keep.txt %s/zz.txt %s/X.divan && rmdir %s", dir, dir, dir, dir);
		CHECK_INT(system(cmd), 0);
	}
	return check_done();
}
