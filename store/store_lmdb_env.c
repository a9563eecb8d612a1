/*
 * store_lmdb_env.c: one file as an LMDB environment, and the gate before it.
 *
 * 1. The map starts small and doubles when a commit finds it full.  LMDB remaps
 *    under live readers without an error, so each snapshot is counted at a
 *    gate, which store_lmdb_drain() shuts until none is left.  A thread that begins a
 *    second snapshot would then wait for its own first one: the gate opens
 *    again for a moment between ever longer waits.
 * 2. A file shorter than its meta page says (cut by a copy, say) is extended
 *    with zeros, which LMDB reports as corrupt, where a read past the end of a
 *    file would end the process.
 */
#include "store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"

#define MAP_MIN ((size_t)16 << 20) /* bytes of a small file's map: address space only */
#define READERS_MAX 1022u          /* snapshots at one time */
#define DRAIN_FIRST_MS 20          /* the gate's first wait for snapshots to end */
#define DRAIN_LAST_MS 5120L        /* its last where a writer needs the room, after which it gets ERR_BUSY */

int
store_lmdb_err(int rc, const char *what, const char *file)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return ERR_MISSING;
	case MDB_READERS_FULL:
		return ERR_BUSY;
	case MDB_VERSION_MISMATCH:
		return ERR_NEWER_FORMAT;
	default:
		break;
	}
	if (rc > 0)
		return store_files_err(rc, what, file);
	log_line(LOG_ERROR, "%s: %s: %s", file, what, mdb_strerror(rc));
	if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_INCOMPATIBLE)
		return ERR_CORRUPT;
	return ERR_IO;
}

/* LMDB reports a write that was cut short as EIO. */
int
store_lmdb_why(const struct lmdb_env *e, int rc)
{
	int fd;

	return rc == EIO && mdb_env_get_fd(e->mdb, &fd) == 0 ? store_files_why(fd, rc) : rc;
}

void
store_lmdb_tmp_name(struct lmdb_store *s, char file[STORE_FILE_MAX + 1])
{
	snprintf(file, STORE_FILE_MAX + 1, "%s%ld-%lu", STORE_TMP_PREFIX, (long)getpid(), ++s->ntmp);
}

/* 0 if path is a file whose size LMDB can read; an empty one it would take for a new one. */
static int
check_file(const char *path, struct stat *st)
{
	if (stat(path, st) != 0)
		return errno == ENOENT ? ERR_NO_DB : store_lmdb_err(errno, "stat", path);
	if (!S_ISREG(st->st_mode) || st->st_size < 8192)
		return store_lmdb_err(MDB_INVALID, "open", path);
	return 0;
}

/* After the open: remembers which file it is, and sees to it that it is as long as it says. */
static int
check_env(struct lmdb_env *e, const char *path)
{
	MDB_envinfo info;
	MDB_stat ms;
	struct stat st;
	off_t need;
	int fd, rc;

	if ((rc = mdb_env_get_fd(e->mdb, &fd)) != 0 || (rc = mdb_env_info(e->mdb, &info)) != 0 ||
	    (rc = mdb_env_stat(e->mdb, &ms)) != 0)
		return store_lmdb_err(rc, "info", path);
	/* LMDB opens its data file without the flag. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fstat(fd, &st) != 0)
		return store_lmdb_err(errno, "fstat", path);
	if (info.me_last_pgno >= (size_t)INT64_MAX / ms.ms_psize - 1)
		return store_lmdb_err(MDB_INVALID, "open", path);
	need = (off_t)((info.me_last_pgno + 1) * ms.ms_psize);
	if (st.st_size < need && ftruncate(fd, need) != 0)
		return store_lmdb_err(errno, "ftruncate", path);
	e->dev = st.st_dev;
	e->ino = st.st_ino;
	e->map = info.me_mapsize;
	e->page = ms.ms_psize;
	return 0;
}

static int
open_trees(struct lmdb_env *e, const char *const *trees, unsigned n, int create, const char *path)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(e->mdb, NULL, create ? 0 : MDB_RDONLY, &txn);

	if (rc != 0)
		return store_lmdb_err(rc, "begin", path);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = mdb_dbi_open(txn, trees[i], create ? MDB_CREATE : 0, &e->dbi[i]);
	if (rc == 0)
		return store_lmdb_err(mdb_txn_commit(txn), "commit", path);
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? ERR_NEWER_FORMAT : store_lmdb_err(rc, "open trees", path);
}

int
store_lmdb_env_open(
    struct lmdb_env *e, const char *path, const char *const *trees, unsigned ntrees, int create, unsigned flags)
{
	struct stat st = {0};
	size_t map = MAP_MIN;
	int rc;

	if (!create && (rc = check_file(path, &st)) != 0)
		return rc;
	while (map / 2 < (size_t)st.st_size)
		map *= 2;
	if ((rc = mdb_env_create(&e->mdb)) != 0)
		return store_lmdb_err(rc, "create", path);
	if ((rc = mdb_env_set_mapsize(e->mdb, map)) == 0 && (rc = mdb_env_set_maxdbs(e->mdb, ntrees)) == 0 &&
	    (rc = mdb_env_set_maxreaders(e->mdb, READERS_MAX)) == 0)
		rc = mdb_env_open(e->mdb, path, MDB_NOSUBDIR | MDB_NOTLS | flags, 0600);
	rc = rc != 0 ? store_lmdb_err(rc, "open", path) : check_env(e, path);
	if (rc == 0)
		rc = open_trees(e, trees, ntrees, create, path);
	if (rc != 0) {
		mdb_env_close(e->mdb);
		e->mdb = NULL;
	}
	return rc;
}

int
store_lmdb_stamp_of(MDB_env *mdb, unsigned char out[16])
{
	struct statx sx;
	uint64_t words[2];
	int fd, rc = mdb_env_get_fd(mdb, &fd);

	if (rc == 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) != 0)
		rc = errno;
	if (rc != 0)
		return rc;
	words[0] = sx.stx_ino;
	words[1] = ((uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor) * UINT64_C(0x9e3779b97f4a7c15);
	if ((sx.stx_mask & STATX_BTIME) != 0)
		words[1] ^= (uint64_t)sx.stx_btime.tv_sec * 1000000000u + sx.stx_btime.tv_nsec;
	memcpy(out, words, 16);
	return 0;
}

/*
 * The gate.
 */

void
store_lmdb_free_idle(struct lmdb_db *db)
{
	struct lmdb_snap *next;

	for (struct lmdb_snap *p = db->idle; p != NULL; p = next) {
		next = p->next;
		mdb_txn_abort(p->txn);
		free(p);
	}
	db->idle = NULL;
}

static struct timespec
in_ms(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* Shuts the gate and waits until no snapshot is left.  Errors: ERR_BUSY; the gate is then open. */
int
store_lmdb_drain(struct lmdb_db *db, long last_ms)
{
	pthread_mutex_lock(&db->gate);
	for (long ms = DRAIN_FIRST_MS; ms <= last_ms; ms *= 2) {
		struct timespec until;
		int timed_out = 0;

		until = in_ms(ms);
		db->shut = 1;
		while (db->live > 0 && !timed_out)
			timed_out =
			    pthread_cond_clockwait(&db->drained, &db->gate, CLOCK_MONOTONIC, &until) == ETIMEDOUT;
		if (db->live == 0) {
			pthread_mutex_unlock(&db->gate);
			return 0;
		}
		db->shut = 0;
		pthread_cond_broadcast(&db->opened);
		until = in_ms(1);
		(void)pthread_cond_clockwait(&db->drained, &db->gate, CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&db->gate);
	log_line(LOG_WARNING, "%s: a snapshot is held too long", db->file);
	return ERR_BUSY;
}

void
store_lmdb_undrain(struct lmdb_db *db)
{
	pthread_mutex_lock(&db->gate);
	db->shut = 0;
	pthread_cond_broadcast(&db->opened);
	pthread_mutex_unlock(&db->gate);
}

/* Grows the map to hold at least more bytes beyond what it has. */
int
store_lmdb_grow(struct lmdb_db *db, size_t more)
{
	size_t map = db->env.map * 2;
	void *probe;
	int rc;

	while (map - db->env.map < more)
		map *= 2;
	/* LMDB has no way back once it has unmapped: first see whether there is room. */
	probe = mmap(NULL, map, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (probe == MAP_FAILED)
		return store_lmdb_err(errno, "mmap", db->file);
	(void)munmap(probe, map);
	rc = store_lmdb_drain(db, DRAIN_LAST_MS);
	if (rc != 0)
		return rc;
	rc = mdb_env_set_mapsize(db->env.mdb, map);
	if (rc != 0) {
		/* Nothing is mapped now: keep the gate shut for good would hang readers, so they get an error until the file is opened again. */
		(void)store_lmdb_err(rc, "set_mapsize", db->file);
		store_lmdb_free_idle(db);
		mdb_env_close(db->env.mdb);
		db->env.mdb = NULL;
		rc = ERR_IN_DOUBT;
	} else {
		db->env.map = map;
	}
	store_lmdb_undrain(db);
	return rc;
}

int
store_lmdb_env_named(const struct lmdb_env *e, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? ERR_NO_DB : store_lmdb_err(errno, "stat", path);
	return st.st_dev == e->dev && st.st_ino == e->ino ? 0 : ERR_NO_DB;
}

/* Reads the file again, with no snapshot left and the store's lock held. */
static int
env_again(struct lmdb_db *db)
{
	struct lmdb_env fresh = {0};
	char path[PATH_MAX];
	int rc;

	if (store_files_path(db->s->dir, db->file, "", path) != 0)
		return ERR_IO;
	if ((rc = store_lmdb_env_named(&db->env, path)) != 0)
		return rc;
	store_lmdb_free_idle(db);
	if (db->env.mdb != NULL)
		mdb_env_close(db->env.mdb);
	db->env.mdb = NULL;
	rc = store_lmdb_env_open(&fresh, path, db->trees, db->base.ntrees, 0, 0);
	if (rc == 0)
		db->env = fresh;
	return rc;
}

int
store_lmdb_reopen(struct store_db *base)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	int rc;

	pthread_mutex_lock(&db->write_lock);
	rc = store_lmdb_drain(db, DRAIN_LAST_MS);
	if (rc == 0) {
		pthread_mutex_lock(&db->s->lock);
		/* ERR_BUSY says that all is as it was: that of descriptors that have run out comes too late for that. */
		if ((rc = env_again(db)) == ERR_BUSY)
			rc = ERR_IO;
		pthread_mutex_unlock(&db->s->lock);
		store_lmdb_undrain(db);
	}
	if (rc == 0)
		db->failed = 0;
	pthread_mutex_unlock(&db->write_lock);
	return rc;
}
