/*
 * test_store_rewrite.c: databases that are written anew while they are read and written: compaction and copies, against
 * a model step by step, with threads, killed, and without room.
 */
#include "store/store.h"
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/limits.h"

#define TREES 3
static const char *const trees[TREES] = {"id", "seq", "third"};
static char dir[] = "/tmp/divan-rewrite-XXXXXX";

static struct store *
open_store(void)
{
	struct store *s = NULL;

	if (!CHECK_INT(store_lmdb_new(dir, &s), 0))
		exit(1);
	return s;
}

static struct store_batch *
batch(struct store_db *db)
{
	struct store_batch *b = NULL;

	if (!CHECK_INT(store_batch_new(db, &b), 0))
		exit(1);
	return b;
}

/* Files in the folder whose names begin with ${prefix}. */
static int
files(const char *prefix)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	if (d != NULL)
		closedir(d);
	return n;
}

/*
 * Against a model.
 */

#define KEYS 1500
struct model {
	unsigned version[TREES][KEYS]; /* 0: not there */
	unsigned last;
};

#define FILLING ((size_t)2 << 20)

/* Keys of one to some hundred bytes, in no order of their numbers. */
static size_t
key_of(unsigned tree, unsigned i, char key[STORE_KEY_MAX])
{
	size_t len = (size_t)snprintf(key, 32, "%x", i * 2654435761u >> 8 ^ tree);

	for (; i % 50 == 0 && len < 400; len++)
		key[len] = (char)('a' + len % 23);
	return len;
}

/* A version's value has a length of its own; a few take more than a step. */
static size_t
len_of(unsigned version)
{
	return version % 4001 == 4000 ? FILLING : version * 7919 % 3000 + sizeof(version);
}

static void
put_version(struct store_batch *b, unsigned tree, unsigned i, unsigned version)
{
	char key[STORE_KEY_MAX];
	size_t klen = key_of(tree, i, key);
	void *room = NULL;

	if (version == 0) {
		CHECK_INT(store_del(b, tree, key, klen), 0);
		return;
	}
	if (CHECK_INT(store_put_room(b, tree, key, klen, len_of(version), &room), 0)) {
		memset(room, (int)version, len_of(version));
		memcpy(room, &version, sizeof(version));
	}
}

static void
change(struct model *m, struct store_batch *b, unsigned n, unsigned *seed)
{
	for (; n > 0; n--) {
		unsigned tree = (unsigned)rand_r(seed) % TREES, i = (unsigned)rand_r(seed) % KEYS;

		m->version[tree][i] = rand_r(seed) % 4 == 0 ? 0 : ++m->last;
		put_version(b, tree, i, m->version[tree][i]);
	}
	CHECK_INT(store_commit(b), 0);
}

static void
compare(struct store_db *db, const struct model *m)
{
	struct store_snap *sn = NULL;
	char key[STORE_KEY_MAX];
	uint64_t n, want;

	if (!CHECK_INT(store_snap_begin(db, &sn), 0))
		return;
	for (unsigned t = 0; t < TREES; t++) {
		want = 0;
		for (unsigned i = 0; i < KEYS; i++) {
			struct store_val v = {NULL, 0};
			unsigned version = m->version[t][i];
			int rc = store_get(sn, t, key, key_of(t, i, key), &v);

			want += version != 0;
			if (rc == 0 && version != 0 && v.len == len_of(version) &&
			    memcmp(v.p, &version, sizeof(version)) == 0)
				continue;
			CHECK(version == 0 && rc == ERR_MISSING);
		}
		CHECK_INT(store_count(sn, t, &n), 0);
		CHECK_INT(n, want);
	}
	store_snap_end(sn);
}

static void
test_model(struct store *s, unsigned seed)
{
	struct model *m = calloc(1, sizeof(*m)), *at_copy = calloc(1, sizeof(*m));
	unsigned was = check_failed_, r = seed, steps = 0;
	unsigned char before[16], promised[16], after[16];
	struct store_rewrite *rw = NULL, *copy = NULL;
	struct store_db *db = NULL, *twin = NULL;
	struct store_batch *b, *extra;
	uint64_t done, total;
	char path[300];
	int rc, copy_rc = 0;

	if (m == NULL || at_copy == NULL || !CHECK_INT(store_create(s, "model", trees, TREES, &db), 0))
		exit(1);
	b = batch(db);
	extra = batch(db);
	for (int i = 0; i < 20; i++)
		change(m, b, 300, &r);
	CHECK_INT(store_stamp(db, before), 0);
	snprintf(path, sizeof(path), "%s/twin.divan", dir);
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	CHECK_INT(store_rewrite_begin(db, path, &copy), 0);
	while ((rc = store_rewrite_step(rw)) == 0) {
		steps++;
		if (copy_rc == 0)
			copy_rc = store_rewrite_step(copy);
		/* Some rounds see much, some nothing. */
		if (rand_r(&r) % 3 != 0)
			change(m, b, (unsigned)rand_r(&r) % (steps % 4 == 0 ? 400 : 20), &r);
	}
	CHECK_INT(rc, ERR_END);
	CHECK(steps > 3);
	store_rewrite_progress(rw, &done, &total);
	CHECK(done > 0 && total > 0);
	change(m, b, 50, &r);
	CHECK_INT(store_rewrite_stamp(rw, promised), 0);
	m->version[1][7] = ++m->last;
	put_version(extra, 1, 7, m->last);
	m->version[2][0] = 0;
	put_version(extra, 2, 0, 0);
	CHECK_INT(store_rewrite_finish(rw, extra), 0);
	CHECK_INT(store_batch_bytes(extra), 0);
	store_rewrite_end(rw);
	CHECK_INT(store_stamp(db, after), 0);
	CHECK_MEM(after, 16, promised, 16);
	CHECK(memcmp(before, after, 16) != 0);
	compare(db, m);
	change(m, b, 100, &r);
	while (copy_rc == 0)
		copy_rc = store_rewrite_step(copy);
	CHECK_INT(copy_rc, ERR_END);
	change(m, b, 100, &r);
	*at_copy = *m;
	CHECK_INT(store_rewrite_finish(copy, NULL), 0);
	store_rewrite_end(copy);
	change(m, b, 100, &r);
	compare(db, m);
	store_batch_free(b);
	store_batch_free(extra);
	store_close(db);
	CHECK_INT(files(".tmp-"), 0);
	CHECK_INT(files("twin"), 1);
	for (int i = 0; i < 2; i++) {
		if (CHECK_INT(store_open(s, i == 0 ? "model" : "twin", trees, TREES, &twin), 0)) {
			compare(twin, i == 0 ? m : at_copy);
			store_close(twin);
		}
		CHECK_INT(store_drop(s, i == 0 ? "model" : "twin"), 0);
	}
	if (check_failed_ != was)
		fprintf(stderr, "seed %u\n", seed);
	free(m);
	free(at_copy);
}

/* What was begun and not finished leaves nothing, and the old file goes on. */
static void
test_given_up(struct store *s)
{
	enum { N = LIMIT_REWRITE_LOG / STORE_KEY_MAX + 1 };
	struct store_rewrite *rw = NULL;
	struct store_db *db = NULL;
	struct store_batch *b;
	char key[STORE_KEY_MAX];
	struct store_snap *sn;
	uint64_t n = 0;

	CHECK_INT(store_create(s, "given-up", trees, TREES, &db), 0);
	b = batch(db);
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	store_rewrite_end(rw);
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	CHECK_INT(store_rewrite_step(rw), 0);
	memset(key, 'k', sizeof(key));
	for (unsigned i = 0; i < N; i++) {
		memcpy(key, &i, sizeof(i));
		CHECK_INT(store_put(b, 0, key, sizeof(key), "", 0), 0);
	}
	CHECK_INT(store_commit(b), 0);
	CHECK_INT(store_rewrite_step(rw), ERR_BUSY);
	CHECK_INT(store_rewrite_step(rw), ERR_BUSY);
	store_rewrite_end(rw);
	CHECK_INT(files(".tmp-"), 0);
	CHECK_INT(store_compact(db), 0);
	CHECK_INT(store_snap_begin(db, &sn), 0);
	CHECK_INT(store_count(sn, 0, &n), 0);
	CHECK_INT(n, N);
	store_snap_end(sn);
	/* A database that is dropped meanwhile keeps its name free. */
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	while (store_rewrite_step(rw) == 0)
		;
	CHECK_INT(store_drop(s, "given-up"), 0);
	CHECK_INT(store_rewrite_finish(rw, NULL), ERR_NO_DB);
	store_rewrite_end(rw);
	CHECK_INT(files(".tmp-"), 0);
	store_batch_free(b);
	store_close(db);
}

/* Many small changes all over a tree, which do not fit into one transaction nor one round. */
static void
test_scattered(struct store *s)
{
	enum { N = 60000, CHANGES = 20000 };
	struct store_rewrite *rw = NULL;
	struct store_db *db = NULL;
	struct store_batch *b;
	struct store_snap *sn = NULL;
	char val[200] = {0};
	uint64_t n = 0;
	int rc;

	CHECK_INT(store_create(s, "scattered", trees, TREES, &db), 0);
	b = batch(db);
	for (uint32_t i = 0; i < N; i++) {
		unsigned char key[4] = {
		    (unsigned char)(i >> 24), (unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i};

		CHECK_INT(store_put(b, 0, key, sizeof(key), val, sizeof(val)), 0);
		if (i % 20000 == 19999)
			CHECK_INT(store_commit(b), 0);
	}
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	while ((rc = store_rewrite_step(rw)) == 0)
		;
	for (uint32_t i = 0; i < CHANGES; i++) {
		uint32_t at = i * (N / CHANGES);
		unsigned char key[4] = {
		    (unsigned char)(at >> 24), (unsigned char)(at >> 16), (unsigned char)(at >> 8), (unsigned char)at};

		CHECK_INT(store_put(b, 0, key, sizeof(key), "x", 1), 0);
		if (i % 5000 == 4999)
			CHECK_INT(store_commit(b), 0);
	}
	CHECK_INT(store_rewrite_step(rw), 0); /* much was to be done, so there is one more */
	CHECK_INT(store_rewrite_step(rw), ERR_END);
	CHECK_INT(store_rewrite_finish(rw, NULL), 0);
	store_rewrite_end(rw);
	CHECK_INT(store_snap_begin(db, &sn), 0);
	CHECK_INT(store_count(sn, 0, &n), 0);
	CHECK_INT(n, N);
	for (uint32_t i = 0; i < N; i++) {
		unsigned char key[4] = {
		    (unsigned char)(i >> 24), (unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i};
		struct store_val v = {NULL, 0};

		if (store_get(sn, 0, key, sizeof(key), &v) != 0 ||
		    v.len != (i % (N / CHANGES) == 0 && i / (N / CHANGES) < CHANGES ? 1 : sizeof(val)))
			CHECK(!"a value that is not what was put");
	}
	store_snap_end(sn);
	store_batch_free(b);
	store_close(db);
	CHECK_INT(store_drop(s, "scattered"), 0);
}

/* While a snapshot is held, the old file stays; the rewrite goes on and is finished later. */
static void
test_held(struct store *s)
{
	struct store_rewrite *rw = NULL;
	struct model *m = calloc(1, sizeof(*m));
	struct store_snap *sn = NULL;
	struct store_db *db = NULL;
	struct store_batch *b, *extra;
	unsigned char promised[16], after[16];
	unsigned r = 3;

	CHECK_INT(store_create(s, "held", trees, TREES, &db), 0);
	b = batch(db);
	extra = batch(db);
	if (m != NULL)
		change(m, b, 500, &r);
	CHECK_INT(store_snap_begin(db, &sn), 0);
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	for (int i = 0; i < 3; i++) {
		while (store_rewrite_step(rw) == 0)
			;
		m->version[2][3] = ++m->last;
		put_version(extra, 2, 3, m->last);
		if (i == 2)
			store_snap_end(sn);
		CHECK_INT(store_rewrite_stamp(rw, promised), 0);
		CHECK_INT(store_rewrite_finish(rw, extra), i < 2 ? ERR_BUSY : 0);
		if (i < 2)
			change(m, b, 100, &r);
	}
	store_rewrite_end(rw);
	CHECK_INT(store_stamp(db, after), 0);
	CHECK_MEM(after, 16, promised, 16);
	compare(db, m);
	free(m);
	store_batch_free(b);
	store_batch_free(extra);
	store_close(db);
	CHECK_INT(store_drop(s, "held"), 0);
	CHECK_INT(files(".tmp-"), 0);
}

/* Where no snapshot can be begun for the last round, what was committed since the round before is not lost. */
static void
test_crowded(struct store *s)
{
	enum { ROOM = 2048 };
	struct store_snap **held = calloc(ROOM, sizeof(struct store_snap *));
	struct store_rewrite *rw = NULL;
	struct model *m = calloc(1, sizeof(*m));
	struct store_db *db = NULL;
	struct store_batch *b;
	unsigned n = 0, r = 5;
	int rc = 0;

	CHECK_INT(store_create(s, "crowded", trees, TREES, &db), 0);
	b = batch(db);
	change(m, b, 500, &r);
	CHECK_INT(store_rewrite_begin(db, NULL, &rw), 0);
	while ((rc = store_rewrite_step(rw)) == 0)
		;
	CHECK_INT(rc, ERR_END);
	change(m, b, 100, &r);
	while (n < ROOM && (rc = store_snap_begin(db, &held[n])) == 0)
		n++;
	CHECK_INT(rc, ERR_BUSY);
	CHECK_INT(store_rewrite_finish(rw, NULL), ERR_BUSY);
	while (n > 0)
		store_snap_end(held[--n]);
	while ((rc = store_rewrite_step(rw)) == 0)
		;
	if (rc == ERR_END)
		CHECK_INT(store_rewrite_finish(rw, NULL), 0);
	store_rewrite_end(rw);
	compare(db, m);
	CHECK_INT(store_compact(db), 0);
	compare(db, m);
	free(held);
	free(m);
	store_batch_free(b);
	store_close(db);
	CHECK_INT(store_drop(s, "crowded"), 0);
	CHECK_INT(files(".tmp-"), 0);
}

/* The limit on a file's size stands in for a full disk. */
static void
test_full(struct store *s)
{
	struct rlimit was, small;
	struct store_db *db = NULL;
	struct store_batch *b;
	struct model *m = calloc(1, sizeof(*m));
	unsigned r = 4;

	CHECK_INT(store_create(s, "full", trees, TREES, &db), 0);
	b = batch(db);
	for (int i = 0; m != NULL && i < 10; i++)
		change(m, b, 300, &r);
	(void)signal(SIGXFSZ, SIG_IGN);
	CHECK_INT(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = was;
	for (rlim_t bytes = 0; bytes < 2 << 20; bytes += 300000) {
		small.rlim_cur = bytes;
		CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
		CHECK_INT(store_compact(db), ERR_NOSPACE);
		CHECK_INT(setrlimit(RLIMIT_FSIZE, &was), 0);
		CHECK_INT(files(".tmp-"), 0);
		change(m, b, 10, &r);
		compare(db, m);
	}
	CHECK_INT(store_compact(db), 0);
	compare(db, m);
	free(m);
	store_batch_free(b);
	store_close(db);
	CHECK_INT(store_drop(s, "full"), 0);
}

/* Lengths that do not stay within their page. */
struct beyond {
	const char *key; /* which it is said of, */
	int of_key;      /* of it, or of its value */
	uint32_t len;
};

/* say_len: In the file of a database that is closed, where the key stands once.  The lengths stand before it. */
static void
say_len(const char *name, const char *key, int of_key, uint32_t len)
{
	static unsigned char bytes[1 << 20];
	uint16_t half[2] = {(uint16_t)len, (uint16_t)(len >> 16)};
	size_t size = of_key ? sizeof(half[0]) : sizeof(half);
	unsigned char *at;
	char path[300];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.divan", dir, name);
	CHECK((fd = open(path, O_RDWR)) >= 0);
	n = pread(fd, bytes, sizeof(bytes), 0);
	at = n > 0 ? memmem(bytes, (size_t)n, key, strlen(key)) : NULL;
	if (CHECK(at != NULL))
		CHECK_INT(pwrite(fd, half, size, at - bytes - (of_key ? 2 : 8)), size);
	close(fd);
}

/* A key or a value that a damaged page says goes beyond it is neither read nor copied.  The first key stands at the page's end. */
static void
test_damaged(struct store *s)
{
	static const struct beyond all[] = {{"key20", 0, 0x7ffffff0}, {"key20", 0, 8000}, {"key00", 1, 480}};
	struct store_cursor *c = NULL;
	struct store_db *db = NULL;
	struct store_batch *b;
	struct store_snap *sn = NULL;
	struct store_val v;
	char key[16], path[300];

	snprintf(path, sizeof(path), "%s/twin.divan", dir);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CHECK_INT(store_create(s, "damaged", trees, TREES, &db), 0);
		b = batch(db);
		for (int at = 0; at < 40; at++) {
			snprintf(key, sizeof(key), "key%02d", at);
			CHECK_INT(store_put(b, 0, key, strlen(key), "a value of its own", 18), 0);
		}
		CHECK_INT(store_commit(b), 0);
		store_batch_free(b);
		store_close(db);
		say_len("damaged", all[i].key, all[i].of_key, all[i].len);
		CHECK_INT(store_open(s, "damaged", trees, TREES, &db), 0);
		CHECK_INT(store_compact(db), ERR_CORRUPT);
		CHECK_INT(store_copy(db, path), ERR_CORRUPT);
		CHECK_INT(files("twin"), 0);
		CHECK_INT(files(".tmp-"), 0);
		CHECK_INT(store_snap_begin(db, &sn), 0);
		CHECK_INT(store_get(sn, 0, "key21", 5, &v), 0);
		CHECK_INT(store_cursor_open(sn, 0, &c), 0);
		CHECK_INT(store_seek(c, all[i].key, 5, NULL, &v), ERR_CORRUPT);
		store_cursor_close(c);
		store_snap_end(sn);
		store_close(db);
		CHECK_INT(store_drop(s, "damaged"), 0);
	}
}

/*
 * Under load.  Each commit writes its number under the same keys, and one more key of its own.
 */

#define SAME 40
struct load {
	struct store *s;
	struct store_db *db;
	atomic_int done;
	atomic_int bad;
	atomic_ulong reads;
	atomic_ulong commits; /* the last that was made */
};

static int
write_number(struct store_batch *b, unsigned long number)
{
	char key[32], fill[900];
	int rc = 0;

	memset(fill, (int)number, sizeof(fill));
	for (int i = 0; i < SAME && rc == 0; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		rc = store_put(b, 0, key, strlen(key), &number, sizeof(number));
	}
	snprintf(key, sizeof(key), "%08lx", number * 2654435761u & 0xffffffff);
	if (rc == 0)
		rc = store_put(b, 1, key, strlen(key), fill, sizeof(fill));
	snprintf(key, sizeof(key), "%016lx", number);
	if (rc == 0)
		rc = store_put(b, 2, key, strlen(key), &number, sizeof(number));
	return rc != 0 ? rc : store_commit(b);
}

/* The number that all of a snapshot agrees on; ULONG_MAX: it does not. */
static unsigned long
number_in(struct store_db *db)
{
	unsigned long first = 0, got = 0;
	struct store_cursor *c = NULL;
	struct store_snap *sn;
	struct store_val v;
	uint64_t n[TREES] = {0};
	int rc, same = 0;

	if (store_snap_begin(db, &sn) != 0)
		return ULONG_MAX;
	rc = store_cursor_open(sn, 0, &c);
	for (rc = rc != 0 ? rc : store_seek(c, NULL, 0, NULL, &v); rc == 0; rc = store_next(c, NULL, &v), same++) {
		memcpy(&got, v.p, sizeof(got));
		if (same == 0)
			first = got;
		if (got != first)
			break;
	}
	store_cursor_close(c);
	for (unsigned t = 0; t < TREES; t++)
		if (store_count(sn, t, &n[t]) != 0)
			rc = ERR_IO;
	store_snap_end(sn);
	if (rc != ERR_MISSING || n[1] != first || n[2] != first || (same != SAME && same != 0))
		return ULONG_MAX;
	return first;
}

static void *
reader(void *arg)
{
	struct load *l = arg;

	while (!atomic_load(&l->done)) {
		unsigned long least = atomic_load(&l->commits), got = number_in(l->db);

		if (got == ULONG_MAX || got < least)
			atomic_fetch_add(&l->bad, 1);
		atomic_fetch_add(&l->reads, 1);
	}
	return NULL;
}

static void *
writer(void *arg)
{
	struct load *l = arg;
	struct store_batch *b = batch(l->db);

	for (unsigned long n = 1; !atomic_load(&l->done); n++) {
		if (write_number(b, n) != 0)
			atomic_fetch_add(&l->bad, 1);
		atomic_store(&l->commits, n);
	}
	store_batch_free(b);
	return NULL;
}

static void *
copier(void *arg)
{
	struct load *l = arg;
	struct store_db *twin;
	char path[300];

	snprintf(path, sizeof(path), "%s/copied.divan", dir);
	while (!atomic_load(&l->done)) {
		unsigned long least = atomic_load(&l->commits), got = ULONG_MAX;

		if (store_copy(l->db, path) == 0 && store_open(l->s, "copied", trees, TREES, &twin) == 0) {
			got = number_in(twin);
			store_close(twin);
		}
		if (got == ULONG_MAX || got < least || store_drop(l->s, "copied") != 0)
			atomic_fetch_add(&l->bad, 1);
	}
	return NULL;
}

static void
test_load(struct store *s, int rewrites)
{
	struct load l = {.s = s};
	pthread_t t[4];
	struct store_usage u = {0};

	CHECK_INT(store_create(s, "load", trees, TREES, &l.db), 0);
	CHECK_INT(pthread_create(&t[0], NULL, writer, &l), 0);
	CHECK_INT(pthread_create(&t[1], NULL, reader, &l), 0);
	CHECK_INT(pthread_create(&t[2], NULL, reader, &l), 0);
	CHECK_INT(pthread_create(&t[3], NULL, copier, &l), 0);
	for (int i = 0; i < rewrites; i++) {
		unsigned long before = atomic_load(&l.commits);

		CHECK_INT(store_compact(l.db), 0);
		while (atomic_load(&l.commits) < before + 20 && l.bad == 0)
			usleep(100);
	}
	atomic_store(&l.done, 1);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_INT(l.bad, 0);
	CHECK(l.reads > 0);
	CHECK_INT(number_in(l.db), atomic_load(&l.commits));
	CHECK_INT(store_usage(l.db, &u), 0);
	CHECK(u.active_bytes >= 900 * atomic_load(&l.commits));
	store_close(l.db);
	CHECK_INT(store_open(s, "load", trees, TREES, &l.db), 0);
	CHECK_INT(number_in(l.db), atomic_load(&l.commits));
	store_close(l.db);
	CHECK_INT(store_drop(s, "load"), 0);
	CHECK_INT(files(".tmp-"), 0);
}

/*
 * Killed.
 */

static void *
compactor(void *arg)
{
	struct load *l = arg;

	while (store_compact(l->db) == 0)
		;
	return NULL;
}

/* A process of its own: commits from ${from} on and tells each, while it compacts without end. */
static _Noreturn void
victim(unsigned long from, int tell)
{
	struct load l = {.s = open_store()};
	struct store_batch *b;
	pthread_t t;

	if (store_open(l.s, "killed", trees, TREES, &l.db) != 0 || pthread_create(&t, NULL, compactor, &l) != 0)
		_exit(1);
	b = batch(l.db);
	for (unsigned long n = from; write_number(b, n) == 0; n++)
		if (write(tell, &n, sizeof(n)) != (ssize_t)sizeof(n))
			break;
	_exit(1);
}

static unsigned long
run_victim(unsigned long last, unsigned commits)
{
	unsigned long told = last;
	int ends[2], status = 0;
	pid_t pid;

	if (!CHECK_INT(pipe(ends), 0) || !CHECK((pid = fork()) >= 0))
		return last;
	if (pid == 0) {
		close(ends[0]);
		victim(last + 1, ends[1]);
	}
	close(ends[1]);
	while (commits-- > 0 && read(ends[0], &told, sizeof(told)) == (ssize_t)sizeof(told))
		;
	CHECK_INT(kill(pid, SIGKILL), 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	while (read(ends[0], &told, sizeof(told)) == (ssize_t)sizeof(told))
		;
	close(ends[0]);
	return told;
}

/* The store is not open while it forks. */
static void
test_killed(unsigned kills, unsigned seed)
{
	struct store *s = open_store();
	struct store_db *db = NULL;
	unsigned long told = 0, found = 0;
	unsigned was = check_failed_, r = seed;

	CHECK_INT(store_create(s, "killed", trees, TREES, &db), 0);
	store_close(db);
	store_free(s);
	for (unsigned i = 0; i < kills; i++) {
		told = run_victim(found, (unsigned)rand_r(&r) % 150 + 1);
		s = open_store();
		CHECK_INT(files(".tmp-"), 0);
		if (CHECK_INT(store_open(s, "killed", trees, TREES, &db), 0)) {
			found = number_in(db);
			CHECK(found == told || found == told + 1);
			store_close(db);
		}
		store_free(s);
	}
	if (check_failed_ != was)
		fprintf(stderr, "seed %u\n", seed);
	s = open_store();
	CHECK_INT(store_drop(s, "killed"), 0);
	store_free(s);
}

int
main(void)
{
	struct store *s;

	alarm(300);
	if (!CHECK(mkdtemp(dir) != NULL))
		return 1;
	test_killed(15, 17);
	s = open_store();
	for (unsigned seed = 1; seed <= 6; seed++)
		test_model(s, seed);
	test_given_up(s);
	test_scattered(s);
	test_held(s);
	test_crowded(s);
	test_full(s);
	test_damaged(s);
	test_load(s, 25);
	store_free(s);
	CHECK_INT(rmdir(dir), 0);
	return check_done();
}
