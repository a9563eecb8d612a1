/*
 * store_lmdb.c: databases as LMDB files, one file and one environment each.
 *
 * 1. Snapshots are read transactions that are reset and renewed rather than
 *    made: each environment keeps a list of idle ones.
 * 2. The map starts small and doubles when a commit finds it full.  LMDB remaps
 *    under live readers without an error, so each snapshot is counted at a
 *    gate, which drain() shuts until none is left.  A thread that begins a
 *    second snapshot would then wait for its own first one: the gate opens
 *    again for a moment between ever longer waits.
 * 3. A failed commit is in doubt only if LMDB failed to write the meta page;
 *    it then refuses every further transaction (MDB_PANIC), which is how that
 *    is told from failures before, where the old meta page still holds.
 * 4. A file appears under its name by rename alone: made whole under a name
 *    that begins with a dot, synced, renamed, and the folder synced.  The lock
 *    file NAME.divan-lock is renamed before it; a stale one harms nothing,
 *    since the first to open a file makes its lock table anew.
 * 5. A file is opened once per process, as LMDB demands: the list of open
 *    files is kept by device and inode, so that a name can be made anew while
 *    the dropped file is still open.
 * 6. A file shorter than its meta page says (cut by a copy, say) is extended
 *    with zeros, which LMDB reports as corrupt, where a read past the end of a
 *    file would end the process.
 *
 * Locks, in this order: write_lock (commits, compaction), store lock (names,
 * open files), gate.
 */
#include "store_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/log.h"
#include "store_lmdb_append.h"

#define MAP_MIN ((size_t)16 << 20) /* bytes of a small file's map: address space only */
#define READERS_MAX 1022u          /* snapshots at one time */
#define DRAIN_FIRST_MS 20          /* the gate's first wait for snapshots to end */
#define DRAIN_LAST_MS 5120         /* its last, after which the caller gets ERR_BUSY */
#define NOTE_ATTR "user.divan"     /* the extended attribute that holds a note */

struct lmdb_store {
	struct store base;
	pthread_mutex_t lock;
	char *dir;
	unsigned long ntmp;   /* temporary files made so far */
	struct lmdb_db *open; /* open databases */
};

/* Everything that belongs to one open file, so that compaction can change files. */
struct lmdb_env {
	MDB_env *mdb;
	size_t map; /* bytes of its map */
	dev_t dev;
	ino_t ino;
	MDB_dbi dbi[STORE_TREES_MAX];
};

struct lmdb_db {
	struct store_db base;
	struct lmdb_store *s;
	struct lmdb_db *next;          /* in s->open */
	char file[STORE_FILE_MAX + 1]; /* its file's name when it was opened */
	const char *trees[STORE_TREES_MAX];
	struct lmdb_env env;        /* changes with live == 0 and the gate shut */
	int failed;                 /* 1: no write until reopened; under write_lock */
	pthread_mutex_t write_lock; /* one writer */
	pthread_mutex_t gate;       /* guards what follows */
	pthread_cond_t opened;      /* the gate was opened */
	pthread_cond_t drained;     /* live or copying fell to 0 */
	int shut;                   /* 1: no snapshot begins */
	unsigned live;              /* snapshots begun and not ended */
	unsigned copying;           /* long readers that the gate does not count */
	struct lmdb_snap *idle;     /* reset transactions */
};

struct lmdb_snap {
	struct store_snap base;
	MDB_txn *txn;
	struct lmdb_snap *next; /* in db->idle */
};

struct lmdb_cursor {
	struct store_cursor base;
	MDB_cursor *mc;
};

static const struct store_impl lmdb_impl;

static int
err_of(int rc, const char *what, const char *file)
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

/* A name for a temporary file, under the store's lock. */
static void
tmp_name(struct lmdb_store *s, char file[STORE_FILE_MAX + 1])
{
	snprintf(file, STORE_FILE_MAX + 1, "%s%ld-%lu", STORE_TMP_PREFIX, (long)getpid(), ++s->ntmp);
}

/*
 * Environments.
 */

/* 0 if path is a file whose size LMDB can read; an empty one it would take for a new one. */
static int
check_file(const char *path, struct stat *st)
{
	if (stat(path, st) != 0)
		return errno == ENOENT ? ERR_NO_DB : err_of(errno, "stat", path);
	if (!S_ISREG(st->st_mode) || st->st_size < 8192)
		return err_of(MDB_INVALID, "open", path);
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
		return err_of(rc, "info", path);
	/* LMDB opens its data file without the flag. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fstat(fd, &st) != 0)
		return err_of(errno, "fstat", path);
	if (info.me_last_pgno >= (size_t)INT64_MAX / ms.ms_psize - 1)
		return err_of(MDB_INVALID, "open", path);
	need = (off_t)((info.me_last_pgno + 1) * ms.ms_psize);
	if (st.st_size < need && ftruncate(fd, need) != 0)
		return err_of(errno, "ftruncate", path);
	e->dev = st.st_dev;
	e->ino = st.st_ino;
	e->map = info.me_mapsize;
	return 0;
}

static int
open_trees(struct lmdb_env *e, const char *const *trees, unsigned n, int create, const char *path)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(e->mdb, NULL, create ? 0 : MDB_RDONLY, &txn);

	if (rc != 0)
		return err_of(rc, "begin", path);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = mdb_dbi_open(txn, trees[i], create ? MDB_CREATE : 0, &e->dbi[i]);
	if (rc == 0)
		return err_of(mdb_txn_commit(txn), "commit", path);
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? ERR_NEWER_FORMAT : err_of(rc, "open trees", path);
}

static int
env_open(struct lmdb_env *e, const char *path, const char *const *trees, unsigned ntrees, int create)
{
	struct stat st = {0};
	size_t map = MAP_MIN;
	int rc;

	if (!create && (rc = check_file(path, &st)) != 0)
		return rc;
	while (map / 2 < (size_t)st.st_size)
		map *= 2;
	if ((rc = mdb_env_create(&e->mdb)) != 0)
		return err_of(rc, "create", path);
	if ((rc = mdb_env_set_mapsize(e->mdb, map)) == 0 && (rc = mdb_env_set_maxdbs(e->mdb, ntrees)) == 0 &&
	    (rc = mdb_env_set_maxreaders(e->mdb, READERS_MAX)) == 0)
		rc = mdb_env_open(e->mdb, path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
	rc = rc != 0 ? err_of(rc, "open", path) : check_env(e, path);
	if (rc == 0)
		rc = open_trees(e, trees, ntrees, create, path);
	if (rc != 0) {
		mdb_env_close(e->mdb);
		e->mdb = NULL;
	}
	return rc;
}

/*
 * The gate.
 */

static void
free_idle(struct lmdb_db *db)
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

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* Shuts the gate and waits until no snapshot is left.  Errors: ERR_BUSY; the gate is then open. */
static int
drain(struct lmdb_db *db)
{
	pthread_mutex_lock(&db->gate);
	for (long ms = DRAIN_FIRST_MS; ms <= DRAIN_LAST_MS; ms *= 2) {
		struct timespec until;
		int timed_out = 0;

		while (db->copying > 0)
			pthread_cond_wait(&db->drained, &db->gate);
		until = in_ms(ms);
		db->shut = 1;
		while (db->live > 0 && !timed_out)
			timed_out = pthread_cond_timedwait(&db->drained, &db->gate, &until) == ETIMEDOUT;
		if (db->live == 0) {
			pthread_mutex_unlock(&db->gate);
			return 0;
		}
		db->shut = 0;
		pthread_cond_broadcast(&db->opened);
		until = in_ms(1);
		(void)pthread_cond_timedwait(&db->drained, &db->gate, &until);
	}
	pthread_mutex_unlock(&db->gate);
	log_line(LOG_WARNING, "%s: a snapshot is held too long", db->file);
	return ERR_BUSY;
}

static void
reopen_gate(struct lmdb_db *db)
{
	pthread_mutex_lock(&db->gate);
	db->shut = 0;
	pthread_cond_broadcast(&db->opened);
	pthread_mutex_unlock(&db->gate);
}

/* Grows the map to hold at least more bytes beyond what it has. */
static int
grow(struct lmdb_db *db, size_t more)
{
	size_t map = db->env.map * 2;
	void *probe;
	int rc;

	while (map - db->env.map < more)
		map *= 2;
	/* LMDB has no way back once it has unmapped: first see whether there is room. */
	probe = mmap(NULL, map, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (probe == MAP_FAILED)
		return err_of(errno, "mmap", db->file);
	(void)munmap(probe, map);
	rc = drain(db);
	if (rc != 0)
		return rc;
	rc = mdb_env_set_mapsize(db->env.mdb, map);
	if (rc != 0) {
		/* Nothing is mapped now: keep the gate shut for good would hang readers, so they get an error. */
		rc = err_of(rc, "set_mapsize", db->file);
		free_idle(db);
		mdb_env_close(db->env.mdb);
		db->env.mdb = NULL;
	} else {
		db->env.map = map;
	}
	reopen_gate(db);
	return rc;
}

/*
 * Stores and names.
 */

static void
lmdb_free(struct store *base)
{
	struct lmdb_store *s = (struct lmdb_store *)base;

	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
}

int
store_lmdb_new(const char *dir, struct store **sp)
{
	struct lmdb_store *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return ERR_NOMEM;
	/*
	 * LMDB allocates 2 MiB per environment of which it touches little.  By itself malloc would
	 * carve such blocks out of the heap once it has seen one freed, and clear and keep them.
	 */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	s->base.impl = &lmdb_impl;
	s->dir = strdup(dir);
	if (s->dir == NULL) {
		free(s);
		return ERR_NOMEM;
	}
	rc = pthread_mutex_init(&s->lock, NULL) == 0 ? store_files_sweep(s->dir) : ERR_NOMEM;
	if (rc != 0) {
		lmdb_free(&s->base);
		return rc;
	}
	*sp = &s->base;
	return 0;
}

static int
lmdb_list(struct store *base, const char *after, int (*fn)(const char *name, void *cookie), void *cookie)
{
	struct lmdb_store *s = (struct lmdb_store *)base;
	struct store_names names = {0};
	char name[STORE_FILE_MAX + 1];
	DIR *d = opendir(s->dir);
	struct dirent *e;
	int rc = 0;

	if (d == NULL)
		return err_of(errno, "opendir", s->dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		if (store_names_decode(e->d_name, name) == 0 && (after == NULL || strcmp(name, after) > 0))
			rc = store_names_add(&names, name);
	}
	closedir(d);
	if (rc != 0) {
		store_names_release(&names);
		return rc;
	}
	return store_names_tell(&names, fn, cookie);
}

/*
 * Databases.
 */

static struct lmdb_db *
db_new(struct lmdb_store *s, const char *file, const char *const *trees, unsigned ntrees)
{
	struct lmdb_db *db = calloc(1, sizeof(*db));

	if (db == NULL)
		return NULL;
	db->base.impl = &lmdb_impl;
	db->base.ntrees = ntrees;
	db->s = s;
	snprintf(db->file, sizeof(db->file), "%s", file);
	for (unsigned i = 0; i < ntrees; i++)
		db->trees[i] = trees[i];
	pthread_mutex_init(&db->write_lock, NULL);
	pthread_mutex_init(&db->gate, NULL);
	pthread_cond_init(&db->opened, NULL);
	pthread_cond_init(&db->drained, NULL);
	return db;
}

static void
db_release(struct lmdb_db *db)
{
	free_idle(db);
	if (db->env.mdb != NULL)
		mdb_env_close(db->env.mdb);
	pthread_cond_destroy(&db->drained);
	pthread_cond_destroy(&db->opened);
	pthread_mutex_destroy(&db->gate);
	pthread_mutex_destroy(&db->write_lock);
	free(db);
}

/* Makes the whole file under a temporary name, then publishes it. */
static int
make_db(struct lmdb_db *db, const char *final)
{
	struct lmdb_store *s = db->s;
	char tmp[STORE_FILE_MAX + 1], path[PATH_MAX];
	int rc;

	tmp_name(s, tmp);
	if (store_files_path(s->dir, tmp, "", path) != 0)
		return ERR_IO;
	rc = env_open(&db->env, path, db->trees, db->base.ntrees, 1);
	if (rc == 0)
		rc = store_files_sync(path, 0);
	if (rc == 0) {
		rc = store_files_publish(s->dir, tmp, db->file);
		/* What was renamed before the folder could not be synced must not appear later. */
		if (rc != 0 && access(final, F_OK) == 0)
			store_files_unlink(s->dir, db->file);
	}
	if (rc != 0)
		store_files_unlink(s->dir, tmp);
	return rc;
}

static int
lmdb_create(struct store *base, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	struct lmdb_store *s = (struct lmdb_store *)base;
	char file[STORE_FILE_MAX + 1], path[PATH_MAX];
	struct lmdb_db *db;
	int rc = store_names_encode(name, file);

	if (rc != 0)
		return rc;
	if (store_files_path(s->dir, file, "", path) != 0)
		return ERR_IO;
	db = db_new(s, file, trees, ntrees);
	if (db == NULL)
		return ERR_NOMEM;
	pthread_mutex_lock(&s->lock);
	if (access(path, F_OK) == 0)
		rc = ERR_DB_EXISTS;
	else if (errno != ENOENT)
		rc = err_of(errno, "access", path);
	if (rc == 0)
		rc = make_db(db, path);
	if (rc == 0) {
		db->next = s->open;
		s->open = db;
	}
	pthread_mutex_unlock(&s->lock);
	if (rc != 0) {
		db_release(db);
		return rc;
	}
	*dbp = &db->base;
	return 0;
}

/* ERR_BUSY if the file is open already (invariant 5). */
static int
check_closed(const struct lmdb_store *s, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? ERR_NO_DB : err_of(errno, "stat", path);
	for (const struct lmdb_db *db = s->open; db != NULL; db = db->next) {
		if (db->env.mdb != NULL && db->env.dev == st.st_dev && db->env.ino == st.st_ino)
			return ERR_BUSY;
	}
	return 0;
}

static int
lmdb_open(struct store *base, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	struct lmdb_store *s = (struct lmdb_store *)base;
	char file[STORE_FILE_MAX + 1], path[PATH_MAX];
	struct lmdb_db *db;
	int rc;

	if (store_names_encode(name, file) != 0)
		return ERR_NO_DB;
	if (store_files_path(s->dir, file, "", path) != 0)
		return ERR_IO;
	db = db_new(s, file, trees, ntrees);
	if (db == NULL)
		return ERR_NOMEM;
	pthread_mutex_lock(&s->lock);
	rc = check_closed(s, path);
	if (rc == 0)
		rc = env_open(&db->env, path, trees, ntrees, 0);
	if (rc == 0) {
		db->next = s->open;
		s->open = db;
	}
	pthread_mutex_unlock(&s->lock);
	if (rc != 0) {
		db_release(db);
		return rc;
	}
	*dbp = &db->base;
	return 0;
}

static void
lmdb_close(struct store_db *base)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_store *s = db->s;

	pthread_mutex_lock(&s->lock);
	for (struct lmdb_db **pp = &s->open; *pp != NULL; pp = &(*pp)->next) {
		if (*pp == db) {
			*pp = db->next;
			break;
		}
	}
	/* Closed under the lock, so that nobody opens the file in between. */
	db_release(db);
	pthread_mutex_unlock(&s->lock);
}

static int
lmdb_drop(struct store *base, const char *name)
{
	struct lmdb_store *s = (struct lmdb_store *)base;
	char file[STORE_FILE_MAX + 1], path[PATH_MAX];
	int rc = 0;

	if (store_names_encode(name, file) != 0)
		return ERR_NO_DB;
	if (store_files_path(s->dir, file, "", path) != 0)
		return ERR_IO;
	pthread_mutex_lock(&s->lock);
	if (unlink(path) != 0)
		rc = errno == ENOENT ? ERR_NO_DB : err_of(errno, "unlink", path);
	if (rc == 0) {
		store_files_unlink(s->dir, file);
		rc = store_files_sync(s->dir, O_DIRECTORY);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/*
 * Snapshots and reads.
 */

static void
leave(struct lmdb_db *db, struct lmdb_snap *idle)
{
	pthread_mutex_lock(&db->gate);
	if (idle != NULL) {
		idle->next = db->idle;
		db->idle = idle;
	}
	if (--db->live == 0 && db->shut)
		pthread_cond_signal(&db->drained);
	pthread_mutex_unlock(&db->gate);
}

static int
snap_new(struct lmdb_db *db, struct lmdb_snap **snapp)
{
	struct lmdb_snap *snap = calloc(1, sizeof(*snap));
	int rc;

	if (snap == NULL)
		return ERR_NOMEM;
	snap->base.impl = &lmdb_impl;
	snap->base.db = &db->base;
	rc = db->env.mdb == NULL ? MDB_PANIC : mdb_txn_begin(db->env.mdb, NULL, MDB_RDONLY, &snap->txn);
	if (rc != 0) {
		free(snap);
		return err_of(rc, "begin", db->file);
	}
	*snapp = snap;
	return 0;
}

static int
lmdb_snap_begin(struct store_db *base, struct store_snap **snapp)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_snap *snap;
	int rc;

	pthread_mutex_lock(&db->gate);
	while (db->shut)
		pthread_cond_wait(&db->opened, &db->gate);
	db->live++;
	snap = db->idle;
	if (snap != NULL)
		db->idle = snap->next;
	pthread_mutex_unlock(&db->gate);
	if (snap == NULL) {
		rc = snap_new(db, &snap);
	} else if ((rc = mdb_txn_renew(snap->txn)) != 0) {
		mdb_txn_abort(snap->txn);
		free(snap);
		rc = err_of(rc, "renew", db->file);
	}
	if (rc != 0) {
		leave(db, NULL);
		return rc;
	}
	*snapp = &snap->base;
	return 0;
}

static void
lmdb_snap_end(struct store_snap *base)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;

	mdb_txn_reset(snap->txn);
	leave((struct lmdb_db *)base->db, snap);
}

static MDB_dbi
dbi_of(const struct store_snap *snap, unsigned tree)
{
	return ((const struct lmdb_db *)snap->db)->env.dbi[tree];
}

static int
read_err(const struct store_snap *snap, int rc)
{
	return rc == MDB_NOTFOUND ? ERR_MISSING : err_of(rc, "read", ((const struct lmdb_db *)snap->db)->file);
}

/* LMDB takes keys as void *, and does not write to them. */
static MDB_val
to_mdb(const void *p, size_t len)
{
	union {
		const void *in;
		void *out;
	} u = {p};

	return (MDB_val){len, u.out};
}

static int
lmdb_get(struct store_snap *base, unsigned tree, struct store_val key, struct store_val *valp)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	MDB_val k = to_mdb(key.p, key.len), v;
	int rc = mdb_get(snap->txn, dbi_of(base, tree), &k, &v);

	if (rc != 0)
		return read_err(base, rc);
	valp->p = v.mv_data;
	valp->len = v.mv_size;
	return 0;
}

static int
lmdb_count(struct store_snap *base, unsigned tree, uint64_t *np)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	MDB_stat st;
	int rc = mdb_stat(snap->txn, dbi_of(base, tree), &st);

	if (rc == 0)
		*np = st.ms_entries;
	return read_err(base, rc);
}

static int
lmdb_cursor_open(struct store_snap *base, unsigned tree, struct store_cursor **cp)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	struct lmdb_cursor *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return ERR_NOMEM;
	c->base.impl = &lmdb_impl;
	rc = mdb_cursor_open(snap->txn, dbi_of(base, tree), &c->mc);
	if (rc != 0) {
		free(c);
		return read_err(base, rc);
	}
	*cp = &c->base;
	return 0;
}

static void
lmdb_cursor_close(struct store_cursor *base)
{
	struct lmdb_cursor *c = (struct lmdb_cursor *)base;

	mdb_cursor_close(c->mc);
	free(c);
}

static int
seek_le(MDB_cursor *mc, struct store_val key, MDB_val *k, MDB_val *v)
{
	int rc;

	if (key.len == 0)
		return mdb_cursor_get(mc, k, v, MDB_LAST);
	*k = to_mdb(key.p, key.len);
	rc = mdb_cursor_get(mc, k, v, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(mc, k, v, MDB_LAST);
	if (rc == 0 && store_key_cmp(k->mv_data, k->mv_size, key.p, key.len) != 0)
		return mdb_cursor_get(mc, k, v, MDB_PREV);
	return rc;
}

static int
lmdb_move(struct store_cursor *base, enum store_move how, struct store_val key, struct store_val *keyp,
    struct store_val *valp)
{
	struct lmdb_cursor *c = (struct lmdb_cursor *)base;
	MDB_val k = to_mdb(key.p, key.len), v;
	int rc;

	if (how == STORE_SEEK)
		rc = mdb_cursor_get(c->mc, &k, &v, key.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
	else if (how == STORE_SEEK_LE)
		rc = seek_le(c->mc, key, &k, &v);
	else
		rc = mdb_cursor_get(c->mc, &k, &v, how == STORE_NEXT ? MDB_NEXT : MDB_PREV);
	if (rc != 0)
		return err_of(rc, "cursor", "store");
	*keyp = (struct store_val){k.mv_data, k.mv_size};
	*valp = (struct store_val){v.mv_data, v.mv_size};
	return 0;
}

/*
 * Writes.
 */

/* The tree's last key before the batch: what sorts behind it is appended, or cannot be deleted. */
struct tail {
	unsigned char key[STORE_KEY_MAX];
	size_t len; /* 0: the tree is empty */
};

static int
find_tail(MDB_cursor *mc, struct tail *t)
{
	MDB_val k, v;
	int rc = mdb_cursor_get(mc, &k, &v, MDB_LAST);

	t->len = 0;
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc == 0 && k.mv_size > sizeof(t->key))
		return MDB_CORRUPTED;
	if (rc == 0) {
		memcpy(t->key, k.mv_data, k.mv_size);
		t->len = k.mv_size;
	}
	return rc;
}

/* Applies the items of one tree, which rise. */
static int
apply_tree(MDB_txn *txn, MDB_dbi dbi, const struct store_item *items, size_t n)
{
	MDB_cursor *mc;
	struct tail tail;
	int beyond = 0, rc = mdb_cursor_open(txn, dbi, &mc);

	if (rc != 0)
		return rc;
	rc = find_tail(mc, &tail);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const struct store_op *op = items[i].op;
		MDB_val k = to_mdb(op->key, op->klen), v = to_mdb(op->val, op->vlen);

		if (!beyond)
			beyond = store_key_cmp(op->key, op->klen, tail.key, tail.len) > 0;
		if (!op->del) {
			rc = mdb_cursor_put(mc, &k, &v, beyond ? MDB_APPEND : 0);
		} else if (!beyond) {
			rc = mdb_del(txn, dbi, &k, NULL);
			if (rc == MDB_NOTFOUND)
				rc = 0;
		}
	}
	mdb_cursor_close(mc);
	return rc;
}

static int
apply(struct lmdb_env *e, MDB_txn *txn, const struct store_item *items, size_t n)
{
	size_t end;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i = end) {
		unsigned tree = items[i].op->tree;

		for (end = i + 1; end < n && items[end].op->tree == tree;)
			end++;
		rc = apply_tree(txn, e->dbi[tree], items + i, end - i);
	}
	return rc;
}

/* One try: an LMDB error after which nothing has changed, or *doubtp set to 1. */
static int
try_commit(struct lmdb_env *e, const struct store_item *items, size_t n, int *doubtp)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(e->mdb, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	rc = apply(e, txn, items, n);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	rc = mdb_txn_commit(txn);
	if (rc != 0 && rc != MDB_MAP_FULL) {
		/* Invariant 3: only a meta page that could not be written makes LMDB refuse to go on. */
		int again = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);

		if (again == 0)
			mdb_txn_abort(txn);
		else
			*doubtp = 1;
	}
	return rc;
}

/* LMDB reports a write that was cut short as EIO. */
static int
why_failed(const struct lmdb_env *e, int rc)
{
	int fd;

	return rc == EIO && mdb_env_get_fd(e->mdb, &fd) == 0 ? store_files_why(fd, rc) : rc;
}

static size_t
bytes_of(const struct store_item *items, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += items[i].op->klen + items[i].op->vlen + 16;
	return sum;
}

static int
lmdb_commit(struct store_db *base, const struct store_item *items, size_t n)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	int doubt = 0, rc, full;

	pthread_mutex_lock(&db->write_lock);
	do {
		full = 0;
		rc = db->failed || db->env.mdb == NULL ? ERR_IO : 0;
		if (rc == 0) {
			rc = try_commit(&db->env, items, n, &doubt);
			full = rc == MDB_MAP_FULL;
			if (full)
				rc = grow(db, 2 * bytes_of(items, n));
			else
				rc = err_of(doubt ? rc : why_failed(&db->env, rc), "commit", db->file);
		}
	} while (full && rc == 0);
	if (doubt) {
		db->failed = 1;
		rc = ERR_IN_DOUBT;
	}
	pthread_mutex_unlock(&db->write_lock);
	return rc;
}

/*
 * Copies.
 */

/* A compact, synced copy of what is committed now. */
static int
copy_to(struct lmdb_db *db, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), rc;

	if (fd < 0)
		return err_of(errno, "create", path);
	rc = mdb_env_copyfd2(db->env.mdb, fd, MDB_CP_COMPACT);
	if (rc == 0 && fsync(fd) != 0)
		rc = errno;
	if (close(fd) != 0 && rc == 0)
		rc = errno;
	if (rc != 0)
		(void)unlink(path);
	return err_of(rc, "copy", path);
}

/* Writes the trees anew: a copy by LMDB keeps the pages that keys in no order left two thirds full. */
static int
rewrite(struct lmdb_db *db, const char *path)
{
	struct lmdb_env fresh = {0};
	int rc = env_open(&fresh, path, db->trees, db->base.ntrees, 1);

	if (rc != 0)
		return rc;
	rc = mdb_env_set_mapsize(fresh.mdb, db->env.map);
	if (rc == 0)
		rc = store_lmdb_append(db->env.mdb, db->env.dbi, fresh.mdb, fresh.dbi, db->base.ntrees);
	rc = err_of(rc, "rewrite", path);
	mdb_env_close(fresh.mdb);
	return rc != 0 ? rc : store_files_sync(path, 0);
}

static int
lmdb_copy(struct store_db *base, const char *path)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	int rc;

	pthread_mutex_lock(&db->gate);
	while (db->shut)
		pthread_cond_wait(&db->opened, &db->gate);
	db->copying++;
	pthread_mutex_unlock(&db->gate);
	rc = db->env.mdb == NULL ? ERR_IO : copy_to(db, path);
	pthread_mutex_lock(&db->gate);
	if (--db->copying == 0)
		pthread_cond_broadcast(&db->drained);
	pthread_mutex_unlock(&db->gate);
	if (rc == 0) {
		rc = store_files_sync_parent(path);
		if (rc != 0)
			(void)unlink(path);
	}
	return rc;
}

/* Puts the copy in the file's place, with no snapshot left and the store's lock held. */
static int
swap_env(struct lmdb_db *db, const char *tmp)
{
	struct lmdb_store *s = db->s;
	struct lmdb_env fresh = {0};
	char path[PATH_MAX];
	struct stat st;
	int rc;

	if (store_files_path(s->dir, db->file, "", path) != 0)
		return ERR_IO;
	/* Its name may belong to another database by now. */
	if (stat(path, &st) != 0 || st.st_dev != db->env.dev || st.st_ino != db->env.ino)
		return ERR_NO_DB;
	if (store_files_path(s->dir, tmp, "", path) != 0)
		return ERR_IO;
	rc = env_open(&fresh, path, db->trees, db->base.ntrees, 0);
	if (rc != 0)
		return rc;
	rc = store_files_publish(s->dir, tmp, db->file);
	if (rc != 0 && stat(path, &st) == 0) {
		mdb_env_close(fresh.mdb);
		return rc;
	}
	/* The new file stands under the name, even if the folder could not be synced. */
	free_idle(db);
	mdb_env_close(db->env.mdb);
	db->env = fresh;
	return rc;
}

static int
lmdb_compact(struct store_db *base)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_store *s = db->s;
	char tmp[STORE_FILE_MAX + 1], path[PATH_MAX];
	int rc;

	pthread_mutex_lock(&db->write_lock);
	pthread_mutex_lock(&s->lock);
	tmp_name(s, tmp);
	pthread_mutex_unlock(&s->lock);
	rc = store_files_path(s->dir, tmp, "", path);
	if (rc == 0)
		rc = db->failed || db->env.mdb == NULL ? ERR_IO : rewrite(db, path);
	if (rc == 0)
		rc = drain(db);
	if (rc == 0) {
		pthread_mutex_lock(&s->lock);
		rc = swap_env(db, tmp);
		pthread_mutex_unlock(&s->lock);
		reopen_gate(db);
	}
	if (rc != 0)
		store_files_unlink(s->dir, tmp);
	pthread_mutex_unlock(&db->write_lock);
	return rc;
}

/* Reads the file again, with no snapshot left and the store's lock held. */
static int
env_again(struct lmdb_db *db)
{
	struct lmdb_env fresh = {0};
	char path[PATH_MAX];
	struct stat st;
	int rc;

	if (store_files_path(db->s->dir, db->file, "", path) != 0)
		return ERR_IO;
	if (stat(path, &st) != 0 || st.st_dev != db->env.dev || st.st_ino != db->env.ino)
		return ERR_NO_DB;
	free_idle(db);
	if (db->env.mdb != NULL)
		mdb_env_close(db->env.mdb);
	db->env.mdb = NULL;
	rc = env_open(&fresh, path, db->trees, db->base.ntrees, 0);
	if (rc == 0)
		db->env = fresh;
	return rc;
}

static int
lmdb_reopen(struct store_db *base)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	int rc;

	pthread_mutex_lock(&db->write_lock);
	rc = drain(db);
	if (rc == 0) {
		pthread_mutex_lock(&db->s->lock);
		rc = env_again(db);
		pthread_mutex_unlock(&db->s->lock);
		reopen_gate(db);
	}
	if (rc == 0)
		db->failed = 0;
	pthread_mutex_unlock(&db->write_lock);
	return rc;
}

/*
 * Facts.
 */

static int
sum_pages(MDB_txn *txn, const struct lmdb_db *db, uint64_t *bytesp)
{
	MDB_stat st;
	int rc = mdb_env_stat(db->env.mdb, &st);

	if (rc != 0)
		return rc;
	*bytesp = (2 + st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * (uint64_t)st.ms_psize;
	for (unsigned i = 0; i < db->base.ntrees; i++) {
		if ((rc = mdb_stat(txn, db->env.dbi[i], &st)) != 0)
			return rc;
		*bytesp += (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * (uint64_t)st.ms_psize;
	}
	return 0;
}

static int
lmdb_usage(struct store_db *base, struct store_usage *up)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct store_snap *snap;
	struct stat st;
	int fd, rc = lmdb_snap_begin(base, &snap);

	if (rc != 0)
		return rc;
	rc = mdb_env_get_fd(db->env.mdb, &fd);
	if (rc == 0 && fstat(fd, &st) != 0)
		rc = errno;
	if (rc == 0) {
		up->file_bytes = (uint64_t)st.st_size;
		rc = sum_pages(((struct lmdb_snap *)snap)->txn, db, &up->active_bytes);
	}
	lmdb_snap_end(snap);
	return err_of(rc, "stat", db->file);
}

static int
lmdb_stamp(struct store_db *base, unsigned char out[16])
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct store_snap *snap;
	struct statx sx;
	uint64_t words[2];
	int fd, rc = lmdb_snap_begin(base, &snap);

	if (rc != 0)
		return rc;
	rc = mdb_env_get_fd(db->env.mdb, &fd);
	if (rc == 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) != 0)
		rc = errno;
	lmdb_snap_end(snap);
	if (rc != 0)
		return err_of(rc, "statx", db->file);
	words[0] = sx.stx_ino;
	words[1] = ((uint64_t)sx.stx_dev_major << 32 | sx.stx_dev_minor) * UINT64_C(0x9e3779b97f4a7c15);
	if ((sx.stx_mask & STATX_BTIME) != 0)
		words[1] ^= (uint64_t)sx.stx_btime.tv_sec * 1000000000u + sx.stx_btime.tv_nsec;
	memcpy(out, words, 16);
	return 0;
}

/* The file that carries the note, with a snapshot that keeps it from being exchanged meanwhile. */
static int
note_fd(struct store_db *base, struct store_snap **snapp)
{
	int fd = -1;

	if (lmdb_snap_begin(base, snapp) != 0)
		return -1;
	if (mdb_env_get_fd(((struct lmdb_db *)base)->env.mdb, &fd) != 0)
		fd = -1;
	return fd;
}

static void
lmdb_note_put(struct store_db *base, const void *note, size_t len)
{
	struct store_snap *snap = NULL;
	int fd = note_fd(base, &snap);

	if (fd >= 0)
		(void)fsetxattr(fd, NOTE_ATTR, note, len, 0);
	if (snap != NULL)
		lmdb_snap_end(snap);
}

static void
lmdb_note_get(struct store_db *base, void *note, size_t *lenp)
{
	struct store_snap *snap = NULL;
	int fd = note_fd(base, &snap);
	ssize_t n = fd >= 0 ? fgetxattr(fd, NOTE_ATTR, note, *lenp) : -1;

	*lenp = n > 0 ? (size_t)n : 0;
	if (snap != NULL)
		lmdb_snap_end(snap);
}

static const struct store_impl lmdb_impl = {
    .free = lmdb_free,
    .list = lmdb_list,
    .create = lmdb_create,
    .open = lmdb_open,
    .drop = lmdb_drop,
    .close = lmdb_close,
    .copy = lmdb_copy,
    .compact = lmdb_compact,
    .reopen = lmdb_reopen,
    .usage = lmdb_usage,
    .stamp = lmdb_stamp,
    .note_put = lmdb_note_put,
    .note_get = lmdb_note_get,
    .snap_begin = lmdb_snap_begin,
    .snap_end = lmdb_snap_end,
    .get = lmdb_get,
    .count = lmdb_count,
    .cursor_open = lmdb_cursor_open,
    .cursor_close = lmdb_cursor_close,
    .move = lmdb_move,
    .commit = lmdb_commit,
    .reads_wait = 0,
};
