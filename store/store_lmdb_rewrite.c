/*
 * store_lmdb_rewrite.c: a database written anew while it is read and written.
 *
 * The problem: a file that was written in no order has pages that are two thirds full, and pages that are free; and
 * neither readers nor writers can wait until all of it is copied.  A long snapshot is no way out: the file would grow by
 * all that is written meanwhile.
 *
 * The idea: the copy goes through the trees in the order of keys, a MiB at a step, each step in a snapshot of its own.
 * Behind its position the copy is kept up: each commit notes the keys that it changed in a log.
 *
 *   begin --> step: take the log, begin a snapshot; settle the log's keys up to the position; copy on from there
 *               |       until the last key, then until the log is short
 *               v
 *             finish, with no commit on its way: settle the rest, sync; rename over the old file, change environments
 *
 * 1. A commit logs its keys after it is made and before the next one begins.  So what a taken log names, the snapshot
 *    that is begun afterwards shows; what that snapshot shows and the log does not name yet, a later log will.
 * 2. After each step, every key up to the position has the value of that step's snapshot, or is in the log.  Keys beyond
 *    it are left out of the settling: the copy will come to them, in this snapshot or a later one.
 * 3. The new file appears under its name by rename, whole and synced.  Until then its name begins with a dot, and it is
 *    removed at the next start.  Its environment has no lock file and syncs only when told: nobody else reads it.
 * 4. Nothing here is without a bound: a log beyond LIMIT_REWRITE_LOG ends the rewrite (ERR_BUSY) and the old file goes on;
 *    after ROUNDS_MAX rounds behind writers that do not let the log become short, finish makes them wait for one round more.
 * 5. The new file is synced every SYNC_BYTES, so that no sync, and no writer's behind it, waits for all of it.
 */
#include "store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/limits.h"
#include "base/log.h"

#define STEP_BYTES ((size_t)1 << 20)  /* copied in one snapshot */
#define SYNC_BYTES ((size_t)8 << 20)  /* written between two syncs */
#define TXN_BYTES ((size_t)4 << 20)   /* settled in one transaction */
#define MAP_SLACK ((size_t)64 << 20)  /* room in the map beyond what a transaction puts */
#define SHORT_LOG ((uint64_t)4 << 20) /* work that writers may wait for at the end */
#define PAGE_BYTES 4096u              /* what a key that is settled makes dirty, besides its value */
#define ROUNDS_MAX 16u
#define DRAIN_MS 160L /* the last wait for snapshots to end, while writers wait too */

struct lmdb_rewrite {
	struct store_rewrite base;
	struct lmdb_rewrite *next;    /* in db->rewrites */
	char tmp[STORE_FILE_MAX + 1]; /* the new file's name in the folder until it is published; "": it is a copy */
	char path[PATH_MAX];
	struct lmdb_env fresh;
	MDB_txn *txn;     /* into it; NULL between steps */
	size_t txn_bytes; /* what it puts */
	size_t unsynced;

	/* The position: the last key that was copied; klen 0: before the first of the tree. */
	unsigned tree; /* db->base.ntrees: all is copied */
	size_t klen;
	unsigned char key[STORE_KEY_MAX];

	unsigned rounds;     /* since all is copied */
	int listed;          /* it is in db->rewrites */
	int finished;        /* the new file stays */
	struct lmdb_log log; /* under db->log_lock */
	_Atomic uint64_t done;
	uint64_t total;
};

/*
 * The log.
 */

void
store_lmdb_rewrite_note(struct lmdb_db *db, const struct store_item *items, size_t n)
{
	if (db->rewrites == NULL)
		return;
	pthread_mutex_lock(&db->log_lock);
	for (struct lmdb_rewrite *r = db->rewrites; r != NULL; r = r->next)
		store_lmdb_log_add(&r->log, items, n);
	pthread_mutex_unlock(&db->log_lock);
}

void
store_lmdb_rewrite_doubt(struct lmdb_db *db)
{
	pthread_mutex_lock(&db->log_lock);
	for (struct lmdb_rewrite *r = db->rewrites; r != NULL; r = r->next)
		r->log.err = ERR_IO;
	pthread_mutex_unlock(&db->log_lock);
}

/* What was logged so far; the log begins anew. */
static struct lmdb_log
take(struct lmdb_rewrite *r)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;
	struct lmdb_log log;

	pthread_mutex_lock(&db->log_lock);
	log = r->log;
	r->log = (struct lmdb_log){.err = log.err};
	pthread_mutex_unlock(&db->log_lock);
	return log;
}

/* Under write_lock. */
static void
unlist(struct lmdb_rewrite *r)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;

	for (struct lmdb_rewrite **rp = &db->rewrites; *rp != NULL; rp = &(*rp)->next) {
		if (*rp == r) {
			*rp = r->next;
			break;
		}
	}
	r->listed = 0;
}

/*
 * The new file.
 */

/* Gives the map room for a transaction that puts so many bytes. */
static int
room(struct lmdb_rewrite *r, size_t bytes)
{
	MDB_envinfo info;
	MDB_stat st;
	size_t map = r->fresh.map, used;
	int rc;

	if ((rc = mdb_env_info(r->fresh.mdb, &info)) != 0 || (rc = mdb_env_stat(r->fresh.mdb, &st)) != 0)
		return rc;
	used = (info.me_last_pgno + 1) * st.ms_psize;
	while (map - used < 2 * bytes + MAP_SLACK)
		map *= 2;
	if (map == r->fresh.map)
		return 0;
	if ((rc = mdb_env_set_mapsize(r->fresh.mdb, map)) == 0)
		r->fresh.map = map;
	return rc;
}

static int
flush(struct lmdb_rewrite *r)
{
	int rc = r->txn != NULL ? mdb_txn_commit(r->txn) : 0;

	r->txn = NULL;
	r->unsynced += r->txn_bytes;
	r->txn_bytes = 0;
	return rc;
}

/* Before so many bytes are put. */
static int
need(struct lmdb_rewrite *r, size_t bytes)
{
	int rc = 0;

	if (r->txn != NULL && r->txn_bytes + bytes > TXN_BYTES)
		rc = flush(r);
	if (rc == 0 && r->txn == NULL && (rc = room(r, bytes + TXN_BYTES)) == 0)
		rc = mdb_txn_begin(r->fresh.mdb, NULL, 0, &r->txn);
	r->txn_bytes += bytes;
	return rc;
}

static int
sync_new(struct lmdb_rewrite *r)
{
	r->unsynced = 0;
	return mdb_env_sync(r->fresh.mdb, 1);
}

/*
 * Steps.  These return errors of LMDB.
 */

static int
is_ahead(const struct lmdb_rewrite *r, const struct lmdb_key *k)
{
	return k->tree != r->tree ? k->tree > r->tree : store_key_cmp(k->p, k->len, r->key, r->klen) > 0;
}

/* Gives the keys of the log the values of the snapshot, as far as the copy has come. */
static int
settle(struct lmdb_rewrite *r, MDB_txn *from, const struct lmdb_key *v, size_t n)
{
	const struct lmdb_env *env = &((struct lmdb_db *)r->base.db)->env;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0 && !is_ahead(r, &v[i]); i++) {
		MDB_val k = store_lmdb_val(v[i].p, v[i].len), val;

		rc = mdb_get(from, env->dbi[v[i].tree], &k, &val);
		if (rc == 0 && !store_lmdb_is_whole(env, NULL, &val))
			return MDB_CORRUPTED;
		if (rc == 0) {
			if ((rc = need(r, PAGE_BYTES + val.mv_size)) == 0)
				rc = mdb_put(r->txn, r->fresh.dbi[v[i].tree], &k, &val, 0);
		} else if (rc == MDB_NOTFOUND && (rc = need(r, PAGE_BYTES)) == 0) {
			rc = mdb_del(r->txn, r->fresh.dbi[v[i].tree], &k, NULL);
			rc = rc == MDB_NOTFOUND ? 0 : rc;
		}
	}
	return rc;
}

/* Puts in on the key behind the position. */
static int
resume(const struct lmdb_rewrite *r, MDB_cursor *in, MDB_val *k, MDB_val *v)
{
	int rc;

	if (r->klen == 0)
		return mdb_cursor_get(in, k, v, MDB_FIRST);
	*k = store_lmdb_val(r->key, r->klen);
	rc = mdb_cursor_get(in, k, v, MDB_SET_RANGE);
	if (rc == 0 && store_key_cmp(k->mv_data, k->mv_size, r->key, r->klen) == 0)
		rc = mdb_cursor_get(in, k, v, MDB_NEXT);
	return rc;
}

/* Appends keys from in, until enough is copied or the tree ends (MDB_NOTFOUND). */
static int
append(struct lmdb_rewrite *r, MDB_cursor *in, size_t *copiedp)
{
	const struct lmdb_env *env = &((struct lmdb_db *)r->base.db)->env;
	MDB_cursor *out = NULL;
	MDB_val k, v;
	int rc = resume(r, in, &k, &v);

	for (; rc == 0 && *copiedp < STEP_BYTES; rc = mdb_cursor_get(in, &k, &v, MDB_NEXT)) {
		size_t size = k.mv_size + v.mv_size;

		if (!store_lmdb_is_whole(env, &k, &v))
			return MDB_CORRUPTED;
		/* A transaction's cursors end with it, so a large value has one for itself. */
		if (out != NULL && size > STEP_BYTES)
			return 0;
		if (out == NULL && ((rc = need(r, size + STEP_BYTES)) != 0 ||
				       (rc = mdb_cursor_open(r->txn, r->fresh.dbi[r->tree], &out)) != 0))
			return rc;
		if ((rc = mdb_cursor_put(out, &k, &v, MDB_APPEND)) != 0)
			return rc;
		memcpy(r->key, k.mv_data, k.mv_size);
		r->klen = k.mv_size;
		*copiedp += size;
		r->done++;
	}
	return rc;
}

static int
copy_on(struct lmdb_rewrite *r, MDB_txn *from)
{
	const struct lmdb_db *db = (struct lmdb_db *)r->base.db;
	size_t copied = 0;
	int rc = 0;

	while (copied < STEP_BYTES && r->tree < db->base.ntrees) {
		MDB_cursor *in;

		if ((rc = mdb_cursor_open(from, db->env.dbi[r->tree], &in)) != 0)
			return rc;
		rc = append(r, in, &copied);
		mdb_cursor_close(in);
		if (rc != MDB_NOTFOUND)
			return rc;
		r->tree++;
		r->klen = 0;
		rc = 0;
	}
	return rc;
}

/* What went wrong stays wrong. */
static int
fail(struct lmdb_rewrite *r, int rc)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;

	pthread_mutex_lock(&db->log_lock);
	r->log.err = rc;
	pthread_mutex_unlock(&db->log_lock);
	return rc;
}

/* Settles what was logged and, while there is more to copy, copies on.  *${workp}: what was logged.  After an error that is lost. */
static int
round_of(struct lmdb_rewrite *r, uint64_t *workp)
{
	struct lmdb_log log = take(r);
	struct lmdb_key *keys = NULL;
	struct store_snap *snap;
	size_t n = 0;
	int rc = log.err, lrc = 0;

	if (rc == 0 && (rc = store_lmdb_log_sort(&log, &keys, &n)) == 0 &&
	    (rc = store_lmdb_snap_begin(r->base.db, &snap)) == 0) {
		MDB_txn *from = ((struct lmdb_snap *)snap)->txn;

		lrc = settle(r, from, keys, n);
		if (lrc == 0)
			lrc = copy_on(r, from);
		store_lmdb_snap_end(snap);
		if (lrc == 0)
			lrc = flush(r);
		if (lrc == 0 && r->unsynced >= SYNC_BYTES)
			lrc = sync_new(r);
		rc = store_lmdb_err(store_lmdb_why(&r->fresh, lrc), "rewrite", r->path);
	}
	if (r->txn != NULL)
		mdb_txn_abort(r->txn);
	r->txn = NULL;
	r->txn_bytes = 0;
	free(keys);
	free(log.p);
	*workp = log.work;
	return rc != 0 ? fail(r, rc) : 0;
}

int
store_lmdb_rewrite_step(struct store_rewrite *base)
{
	struct lmdb_rewrite *r = (struct lmdb_rewrite *)base;
	int copied = r->tree == base->db->ntrees, rc;
	uint64_t work;

	if ((rc = round_of(r, &work)) != 0)
		return rc;
	if (!copied)
		return 0;
	/* The last round is short if this one was; what it has to sync is then little too. */
	if (work > SHORT_LOG && ++r->rounds < ROUNDS_MAX)
		return 0;
	rc = store_lmdb_err(sync_new(r), "sync", r->path);
	return rc != 0 ? fail(r, rc) : ERR_END;
}

/*
 * Beginning.
 */

static int
count_keys(struct lmdb_rewrite *r)
{
	struct store_snap *snap;
	uint64_t n;
	int rc = store_lmdb_snap_begin(r->base.db, &snap);

	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < r->base.db->ntrees && rc == 0; i++)
		if ((rc = store_lmdb_count(snap, i, &n)) == 0)
			r->total += n;
	store_lmdb_snap_end(snap);
	return rc;
}

/* It is better not to begin than to take the last of the disk from those who write. */
static int
check_room(struct lmdb_rewrite *r)
{
	struct store_usage usage;
	struct statvfs fs;
	int fd, rc = r->base.db->impl->usage(r->base.db, &usage);

	if (rc != 0)
		return rc;
	if ((rc = mdb_env_get_fd(r->fresh.mdb, &fd)) != 0 || fstatvfs(fd, &fs) != 0)
		return store_lmdb_err(rc != 0 ? rc : errno, "statvfs", r->path);
	if ((uint64_t)fs.f_bavail * fs.f_frsize >= usage.active_bytes)
		return 0;
	log_line(LOG_WARNING, "%s: %llu bytes are needed, which the disk does not have", r->path,
	    (unsigned long long)usage.active_bytes);
	return ERR_NOSPACE;
}

/* The new file, empty. */
static int
make_file(struct lmdb_rewrite *r, const char *path)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;
	struct lmdb_store *s = db->s;
	int fd, rc;

	if (path == NULL) {
		pthread_mutex_lock(&s->lock);
		store_lmdb_tmp_name(s, r->tmp);
		pthread_mutex_unlock(&s->lock);
		if (store_files_path(s->dir, r->tmp, "", r->path) != 0)
			return ERR_IO;
	} else if (strlen(path) < sizeof(r->path)) {
		memcpy(r->path, path, strlen(path) + 1);
	} else {
		return ERR_IO;
	}
	fd = open(r->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return store_lmdb_err(errno, "create", r->path);
	close(fd);
	rc = store_lmdb_env_open(&r->fresh, r->path, db->trees, db->base.ntrees, 1, MDB_NOLOCK | MDB_NOSYNC);
	if (rc != 0)
		(void)unlink(r->path);
	return rc;
}

int
store_lmdb_rewrite_begin(struct store_db *base, const char *path, struct store_rewrite **rp)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_rewrite *r = calloc(1, sizeof(*r));
	int rc;

	if (r == NULL)
		return ERR_NOMEM;
	r->base.db = base;
	if ((rc = make_file(r, path)) != 0) {
		free(r);
		return rc;
	}
	if ((rc = check_room(r)) == 0 && (rc = count_keys(r)) == 0) {
		pthread_mutex_lock(&db->write_lock);
		rc = store_lmdb_may_write(db);
		if (rc == 0) {
			r->next = db->rewrites;
			db->rewrites = r;
			r->listed = 1;
		}
		pthread_mutex_unlock(&db->write_lock);
	}
	if (rc != 0) {
		store_lmdb_rewrite_end(&r->base);
		return rc;
	}
	*rp = &r->base;
	return 0;
}

/*
 * Finishing.
 */

static int
put_extra(struct lmdb_rewrite *r, const struct store_item *items, size_t n)
{
	size_t bytes = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		bytes += items[i].op->klen + items[i].op->vlen;
	if (n > 0 && (rc = need(r, bytes)) == 0)
		rc = store_lmdb_apply(&r->fresh, r->txn, items, n);
	if (rc == 0)
		rc = flush(r);
	else if (r->txn != NULL)
		mdb_txn_abort(r->txn);
	r->txn = NULL;
	return store_lmdb_err(store_lmdb_why(&r->fresh, rc), "rewrite", r->path);
}

/* With no commit on its way: everything that was committed is in the new file. */
static int
last_round(struct lmdb_rewrite *r, const struct store_item *items, size_t n)
{
	uint64_t work;
	int rc = store_lmdb_may_write((struct lmdb_db *)r->base.db);

	if (rc == 0)
		rc = round_of(r, &work);
	return rc != 0 ? rc : put_extra(r, items, n);
}

/* The new file takes the old one's name and place, with no snapshot left and the store's lock held. */
static int
swap(struct lmdb_rewrite *r, struct lmdb_env *fresh)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;
	struct lmdb_store *s = db->s;
	struct lmdb_env old = db->env;
	char path[PATH_MAX];
	int rc;

	if (store_files_path(s->dir, db->file, "", path) != 0)
		return ERR_IO;
	/* Its name may belong to another database by now. */
	if ((rc = store_lmdb_env_named(&old, path)) != 0 || (rc = store_files_rename(s->dir, r->tmp, db->file)) != 0)
		return rc;
	store_lmdb_free_idle(db);
	db->env = *fresh;
	*fresh = old;
	r->finished = 1;
	db->unsynced = 1;
	return store_lmdb_may_write(db);
}

/* The new file as it is used from now on: with a lock file.  LMDB opens a file once in a process. */
static int
open_again(struct lmdb_rewrite *r, struct lmdb_env *fresh)
{
	const struct lmdb_db *db = (struct lmdb_db *)r->base.db;

	mdb_env_close(r->fresh.mdb);
	r->fresh.mdb = NULL;
	return store_lmdb_env_open(fresh, r->path, db->trees, db->base.ntrees, 0, 0);
}

/* Changes the database's environment.  Under write_lock; *${oldp} is then the one to close. */
static int
exchange(struct lmdb_rewrite *r, struct lmdb_env *oldp)
{
	struct lmdb_db *db = (struct lmdb_db *)r->base.db;
	int rc = store_lmdb_err(sync_new(r), "sync", r->path);

	if (rc != 0 || (rc = store_lmdb_drain(db, DRAIN_MS)) != 0)
		return rc;
	if ((rc = open_again(r, oldp)) == 0) {
		pthread_mutex_lock(&db->s->lock);
		rc = swap(r, oldp);
		pthread_mutex_unlock(&db->s->lock);
	}
	store_lmdb_undrain(db);
	return rc;
}

int
store_lmdb_rewrite_finish(struct store_rewrite *base, const struct store_item *items, size_t n)
{
	struct lmdb_rewrite *r = (struct lmdb_rewrite *)base;
	struct lmdb_db *db = (struct lmdb_db *)base->db;
	struct lmdb_env old = {0};
	int rc;

	pthread_mutex_lock(&db->write_lock);
	rc = last_round(r, items, n);
	if (rc == 0 && r->tmp[0] != '\0')
		rc = exchange(r, &old);
	/* ERR_BUSY says that it may go on: that of descriptors that have run out comes too late for that. */
	if (rc == ERR_BUSY && r->fresh.mdb == NULL)
		rc = ERR_IO;
	if (rc == 0 || r->fresh.mdb == NULL)
		unlist(r); /* else it may go on */
	if (r->finished)
		store_lmdb_rewrite_note(db, items, n); /* for copies that go on from the new file */
	pthread_mutex_unlock(&db->write_lock);
	/* Freeing a large file takes a while, for which nobody has to wait. */
	if (old.mdb != NULL)
		mdb_env_close(old.mdb);
	if (rc == 0 && r->tmp[0] == '\0') {
		if ((rc = store_lmdb_err(sync_new(r), "sync", r->path)) == 0)
			rc = store_files_sync_parent(r->path);
		r->finished = rc == 0;
	}
	return rc != 0 && rc != ERR_BUSY ? fail(r, rc) : rc;
}

void
store_lmdb_rewrite_end(struct store_rewrite *base)
{
	struct lmdb_rewrite *r = (struct lmdb_rewrite *)base;
	struct lmdb_db *db = (struct lmdb_db *)base->db;

	if (r->listed) {
		pthread_mutex_lock(&db->write_lock);
		unlist(r);
		pthread_mutex_unlock(&db->write_lock);
	}
	if (r->fresh.mdb != NULL)
		mdb_env_close(r->fresh.mdb);
	if (!r->finished) {
		(void)unlink(r->path);
		if (r->tmp[0] != '\0')
			store_files_unlink(db->s->dir, r->tmp);
	}
	free(r->log.p);
	free(r);
}

void
store_lmdb_rewrite_progress(const struct store_rewrite *base, uint64_t *donep, uint64_t *totalp)
{
	const struct lmdb_rewrite *r = (const struct lmdb_rewrite *)base;

	*donep = r->done;
	*totalp = r->total;
}

int
store_lmdb_rewrite_stamp(struct store_rewrite *base, unsigned char out[16])
{
	struct lmdb_rewrite *r = (struct lmdb_rewrite *)base;

	return store_lmdb_err(store_lmdb_stamp_of(r->fresh.mdb, out), "statx", r->path);
}
