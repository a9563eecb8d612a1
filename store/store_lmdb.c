/*
 * store_lmdb.c: databases as LMDB files, one file and one environment each.
 *
 * 1. A file appears under its name by rename alone: made whole under a name
 *    that begins with a dot, synced, renamed, and the folder synced.  The lock
 *    file NAME.divan-lock is renamed before it; a stale one harms nothing,
 *    since the first to open a file makes its lock table anew.
 * 2. A file is opened once per process, as LMDB demands: the list of open
 *    files is kept by device and inode, so that a name can be made anew while
 *    the dropped file is still open.
 * 3. What store_close_checked() closes bears a mark of its size and time, which store_open_checked() takes away.  Without the
 *    mark LMDB gets to see the file once all its pages are found sound (store_lmdb_pages.c).
 */
#include "store_lmdb.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "store/pages.h"

#define NOTE_ATTR "user.divan"          /* the extended attribute that holds a note */
#define CLOSED_ATTR "user.divan.closed" /* and the one that says what the file was when it was closed */

static const struct store_impl lmdb_impl;

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
		return store_lmdb_err(errno, "opendir", s->dir);
	/* A folder that cannot be read to its end is not one with fewer databases. */
	while (rc == 0 && (errno = 0, e = readdir(d)) != NULL) {
		if (store_names_decode(e->d_name, name) == 0 && (after == NULL || strcmp(name, after) > 0))
			rc = store_names_add(&names, name);
	}
	if (rc == 0 && errno != 0)
		rc = store_lmdb_err(errno, "readdir", s->dir);
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
	pthread_mutex_init(&db->log_lock, NULL);
	pthread_mutex_init(&db->gate, NULL);
	pthread_cond_init(&db->opened, NULL);
	pthread_cond_init(&db->drained, NULL);
	return db;
}

static void
db_release(struct lmdb_db *db)
{
	store_lmdb_free_idle(db);
	if (db->env.mdb != NULL)
		mdb_env_close(db->env.mdb);
	pthread_cond_destroy(&db->drained);
	pthread_cond_destroy(&db->opened);
	pthread_mutex_destroy(&db->gate);
	pthread_mutex_destroy(&db->log_lock);
	pthread_mutex_destroy(&db->write_lock);
	free(db);
}

static int
check_absent(const char *path)
{
	if (access(path, F_OK) == 0)
		return ERR_DB_EXISTS;
	return errno == ENOENT ? 0 : store_lmdb_err(errno, "access", path);
}

/* Makes the whole file under a temporary name. */
static int
make_db(struct lmdb_db *db)
{
	char path[PATH_MAX];
	int rc;

	store_lmdb_tmp_name(db->s, db->tmp);
	if (store_files_path(db->s->dir, db->tmp, "", path) != 0)
		return ERR_IO;
	rc = store_lmdb_env_open(&db->env, path, db->trees, db->base.ntrees, 1, 0);
	if (rc != 0)
		store_files_unlink(db->s->dir, db->tmp);
	return rc;
}

static int
lmdb_make(struct store *base, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
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
	rc = check_absent(path);
	if (rc == 0)
		rc = make_db(db);
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

static int
lmdb_publish(struct store_db *base)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_store *s = db->s;
	char path[PATH_MAX];
	int rc;

	if (store_files_path(s->dir, db->tmp, "", path) != 0)
		return ERR_IO;
	if ((rc = store_files_sync(path, 0)) != 0)
		return rc;
	if (store_files_path(s->dir, db->file, "", path) != 0)
		return ERR_IO;
	pthread_mutex_lock(&s->lock);
	rc = check_absent(path);
	if (rc == 0 && (rc = store_files_rename(s->dir, db->tmp, db->file)) == 0) {
		db->tmp[0] = '\0';
		/* What cannot be made durable must not appear later. */
		if ((rc = store_files_sync(s->dir, O_DIRECTORY)) != 0)
			store_files_unlink(s->dir, db->file);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* ERR_BUSY if the file is open already (invariant 5). */
static int
check_closed(const struct lmdb_store *s, const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? ERR_NO_DB : store_lmdb_err(errno, "stat", path);
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
		rc = store_lmdb_env_open(&db->env, path, trees, ntrees, 0, 0);
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

	assert(db->rewrites == NULL && db->live == 0);
	pthread_mutex_lock(&s->lock);
	for (struct lmdb_db **pp = &s->open; *pp != NULL; pp = &(*pp)->next) {
		if (*pp == db) {
			*pp = db->next;
			break;
		}
	}
	if (db->tmp[0] != '\0')
		store_files_unlink(s->dir, db->tmp);
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
		rc = errno == ENOENT ? ERR_NO_DB : store_lmdb_err(errno, "unlink", path);
	if (rc == 0) {
		store_files_unlink(s->dir, file);
		if (store_files_sync(s->dir, O_DIRECTORY) != 0)
			rc = ERR_IN_DOUBT;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/*
 * Facts.
 */

static int
sum_pages(MDB_txn *txn, const struct lmdb_db *db, struct store_usage *up)
{
	MDB_stat st;
	int rc = mdb_env_stat(db->env.mdb, &st);

	if (rc != 0)
		return rc;
	up->active_bytes = (2 + st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * (uint64_t)st.ms_psize;
	for (unsigned i = 0; i < db->base.ntrees; i++) {
		if ((rc = mdb_stat(txn, db->env.dbi[i], &st)) != 0)
			return rc;
		up->tree_bytes[i] =
		    (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * (uint64_t)st.ms_psize;
		up->active_bytes += up->tree_bytes[i];
	}
	return 0;
}

static int
lmdb_usage(struct store_db *base, struct store_usage *up)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct store_snap *snap;
	struct stat st;
	int fd, rc = store_lmdb_snap_begin(base, &snap);

	if (rc != 0)
		return rc;
	rc = mdb_env_get_fd(db->env.mdb, &fd);
	if (rc == 0 && fstat(fd, &st) != 0)
		rc = errno;
	if (rc == 0) {
		up->file_bytes = (uint64_t)st.st_size;
		rc = sum_pages(((struct lmdb_snap *)snap)->txn, db, up);
	}
	store_lmdb_snap_end(snap);
	return store_lmdb_err(rc, "stat", db->file);
}

static int
lmdb_stamp(struct store_db *base, unsigned char out[16])
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct store_snap *snap;
	int rc = store_lmdb_snap_begin(base, &snap);

	if (rc != 0)
		return rc;
	rc = store_lmdb_stamp_of(db->env.mdb, out);
	store_lmdb_snap_end(snap);
	return store_lmdb_err(rc, "statx", db->file);
}

/* The file that carries the note, with a snapshot that keeps it from being exchanged meanwhile. */
static int
note_fd(struct store_db *base, struct store_snap **snapp)
{
	int fd = -1;

	if (store_lmdb_snap_begin(base, snapp) != 0)
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
		store_lmdb_snap_end(snap);
}

static void
lmdb_note_get(struct store_db *base, void *note, size_t *lenp)
{
	struct store_snap *snap = NULL;
	int fd = note_fd(base, &snap);
	ssize_t n = fd >= 0 ? fgetxattr(fd, NOTE_ATTR, note, *lenp) : -1;

	*lenp = n > 0 ? (size_t)n : 0;
	if (snap != NULL)
		store_lmdb_snap_end(snap);
}

/* What a file is, as far as that is known without reading it. */
struct closed {
	int64_t size, sec, nsec;
};

static int
closed_now(int fd, struct closed *out)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return 0;
	*out = (struct closed){st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
	return 1;
}

static void
lmdb_mark(struct store_db *base)
{
	struct store_snap *snap = NULL;
	struct closed now;
	int fd = note_fd(base, &snap);

	if (closed_now(fd, &now))
		(void)fsetxattr(fd, CLOSED_ATTR, &now, sizeof(now), 0);
	if (snap != NULL)
		store_lmdb_snap_end(snap);
}

/* The mark is taken away: whoever dies with the file open leaves none. */
static int
lmdb_verify(struct store *base, const char *name)
{
	struct lmdb_store *s = (struct lmdb_store *)base;
	char file[STORE_FILE_MAX + 1], path[PATH_MAX];
	struct closed now, then;
	struct errtext why = {""};
	int fd, same, rc;

	if (store_names_encode(name, file) != 0)
		return ERR_NO_DB;
	if (store_files_path(s->dir, file, "", path) != 0)
		return ERR_IO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? ERR_NO_DB : store_lmdb_err(errno, "open", path);
	same = closed_now(fd, &now) && fgetxattr(fd, CLOSED_ATTR, &then, sizeof(then)) == (ssize_t)sizeof(then) &&
	       memcmp(&now, &then, sizeof(now)) == 0 && fremovexattr(fd, CLOSED_ATTR) == 0;
	close(fd);
	if (same)
		return 0;
	rc = store_pages_check(path, &why);
	if (rc == ERR_CORRUPT)
		log_line(LOG_ERROR, "%s: %s", path, why.text);
	return rc;
}

static const struct store_impl lmdb_impl = {
    .free = lmdb_free,
    .list = lmdb_list,
    .make = lmdb_make,
    .publish = lmdb_publish,
    .open = lmdb_open,
    .drop = lmdb_drop,
    .close = lmdb_close,
    .verify = lmdb_verify,
    .mark = lmdb_mark,
    .rewrite_begin = store_lmdb_rewrite_begin,
    .rewrite_step = store_lmdb_rewrite_step,
    .rewrite_finish = store_lmdb_rewrite_finish,
    .rewrite_end = store_lmdb_rewrite_end,
    .rewrite_progress = store_lmdb_rewrite_progress,
    .rewrite_stamp = store_lmdb_rewrite_stamp,
    .reopen = store_lmdb_reopen,
    .usage = lmdb_usage,
    .stamp = lmdb_stamp,
    .note_put = lmdb_note_put,
    .note_get = lmdb_note_get,
    .snap_begin = store_lmdb_snap_begin,
    .snap_end = store_lmdb_snap_end,
    .get = store_lmdb_get,
    .count = store_lmdb_count,
    .cursor_open = store_lmdb_cursor_open,
    .cursor_close = store_lmdb_cursor_close,
    .move = store_lmdb_move,
    .commit = store_lmdb_commit,
    .fill = store_lmdb_fill,
    .reads_wait = 0,
};
