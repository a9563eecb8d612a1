/* store_lmdb.h: what the files store_lmdb*.c share.  Private to them. */
#ifndef STORE_STORE_LMDB_H_
#define STORE_STORE_LMDB_H_

#include <lmdb.h>
#include <pthread.h>
#include <sys/types.h>
#include "store_impl.h"

struct lmdb_rewrite;

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
	size_t map;  /* bytes of its map */
	size_t page; /* of a page; a power of two */
	dev_t dev;
	ino_t ino;
	MDB_dbi dbi[STORE_TREES_MAX];
};

/* Locks, in this order: write_lock, the store's lock, gate; log_lock is taken last and alone. */
struct lmdb_db {
	struct store_db base;
	struct lmdb_store *s;
	struct lmdb_db *next;          /* in s->open */
	char file[STORE_FILE_MAX + 1]; /* its file's name when it was opened, or that it is to have */
	char tmp[STORE_FILE_MAX + 1];  /* the one that it has until it is published; then empty */
	const char *trees[STORE_TREES_MAX];
	struct lmdb_env env; /* changes with live == 0 and the gate shut */
	int failed;          /* 1: no write until reopened; under write_lock */
	int unsynced; /* 1: no write until the folder is synced: a crash may bring back an older file; likewise */
	pthread_mutex_t write_lock;    /* one writer */
	struct lmdb_rewrite *rewrites; /* those that run; under write_lock */
	pthread_mutex_t log_lock;      /* guards what their logs hold */
	pthread_mutex_t gate;          /* guards what follows */
	pthread_cond_t opened;         /* the gate was opened */
	pthread_cond_t drained;        /* live fell to 0 */
	int shut;                      /* 1: no snapshot begins */
	unsigned live;                 /* snapshots begun and not ended */
	struct lmdb_snap *idle;        /* reset transactions */
};

struct lmdb_snap {
	struct store_snap base;
	MDB_txn *txn;
	struct lmdb_snap *next; /* in db->idle */
};

/* store_lmdb_env.c: one file as an environment, and the gate before it */

/** store_lmdb_err(rc, what, file): The ERR_* of an error of LMDB or an errno, logged. */
int store_lmdb_err(int rc, const char *what, const char *file);
/** store_lmdb_why(e, rc): LMDB reports a write that was cut short as EIO: what it was. */
int store_lmdb_why(const struct lmdb_env *e, int rc) MUST_CHECK;
/** store_lmdb_tmp_name(s, file): A name for a temporary file, under the store's lock. */
void store_lmdb_tmp_name(struct lmdb_store *s, char file[STORE_FILE_MAX + 1]);
/**
 * store_lmdb_env_open(e, path, trees, ntrees, create, flags): Open a file, or make it, with LMDB's ${flags} besides the
 * usual.  Errors: as store_open().
 */
int store_lmdb_env_open(struct lmdb_env *e, const char *path, const char *const *trees, unsigned ntrees, int create,
    unsigned flags) MUST_CHECK;
/** store_lmdb_env_named(e, path): 0 if ${path} is the file of ${e}; ERR_NO_DB if it is another one or none; else why that is not known. */
int store_lmdb_env_named(const struct lmdb_env *e, const char *path) MUST_CHECK;
/** store_lmdb_stamp_of(mdb, out): As store_stamp(); returns an errno. */
int store_lmdb_stamp_of(MDB_env *mdb, unsigned char out[16]) MUST_CHECK;
/**
 * store_lmdb_drain(db, last_ms), store_lmdb_undrain(db): Shut the gate and wait until no snapshot is left, again and again
 * for up to ${last_ms} and twice that in all; open it again.  Errors: ERR_BUSY; the gate is then open.
 */
int store_lmdb_drain(struct lmdb_db *db, long last_ms) MUST_CHECK;
void store_lmdb_undrain(struct lmdb_db *db);
/** store_lmdb_free_idle(db): End the idle transactions; the gate is shut. */
void store_lmdb_free_idle(struct lmdb_db *db);
/**
 * store_lmdb_grow(db, more): Let the map hold at least ${more} bytes beyond what it has.  Under write_lock.  ERR_IN_DOUBT: nothing is mapped any
 * more, and the file has to be opened again.
 */
int store_lmdb_grow(struct lmdb_db *db, size_t more) MUST_CHECK;
int store_lmdb_reopen(struct store_db *base) MUST_CHECK;

/* store_lmdb_read.c */
int store_lmdb_snap_begin(struct store_db *base, struct store_snap **snapp) MUST_CHECK;
void store_lmdb_snap_end(struct store_snap *base);
/** store_lmdb_val(p, len): LMDB takes keys as void *, and does not write to them. */
MDB_val store_lmdb_val(const void *p, size_t len);
/**
 * store_lmdb_is_whole(e, key, v): 0: a page that the disk has damaged says that a key (NULL: it was asked for) or its value is where
 * there may be no memory, or that there are only keys.
 */
int store_lmdb_is_whole(const struct lmdb_env *e, const MDB_val *key, const MDB_val *v) MUST_CHECK;
int store_lmdb_get(struct store_snap *base, unsigned tree, struct store_val key, struct store_val *valp) MUST_CHECK;
int store_lmdb_count(struct store_snap *base, unsigned tree, uint64_t *np) MUST_CHECK;
int store_lmdb_cursor_open(struct store_snap *base, unsigned tree, struct store_cursor **cp) MUST_CHECK;
void store_lmdb_cursor_close(struct store_cursor *base);
int store_lmdb_move(struct store_cursor *base, enum store_move how, struct store_val key, struct store_val *keyp,
    struct store_val *valp) MUST_CHECK;

/* store_lmdb_write.c */
/** store_lmdb_may_write(db): 0 if something may be committed, once the folder is synced where it was not.  Under write_lock. */
int store_lmdb_may_write(struct lmdb_db *db) MUST_CHECK;
int store_lmdb_commit(struct store_db *base, const struct store_item *items, size_t n) MUST_CHECK;
int store_lmdb_fill(struct store_db *base, struct store_source *src) MUST_CHECK;
/** store_lmdb_apply(e, txn, items, n): Make the operations of a batch.  Returns an error of LMDB. */
int store_lmdb_apply(struct lmdb_env *e, MDB_txn *txn, const struct store_item *items, size_t n) MUST_CHECK;

/* store_lmdb_log.c: what changes while a database is written anew */

/* Keys, as a sequence of tree (1 byte), length (2) and key. */
struct lmdb_log {
	unsigned char *p;
	size_t len, cap;
	size_t nkeys;
	uint64_t work; /* bytes of these keys and of the values that were put, and something for each */
	int err;       /* keys are missing from it */
};

/** store_lmdb_log_add(log, items, n): Append the keys of a batch; what is wrong is told by log->err. */
void store_lmdb_log_add(struct lmdb_log *log, const struct store_item *items, size_t n);
/**
 * store_lmdb_log_sort(log, vp, np): Its keys in order, each once, in ${log}'s memory; *${vp} is the caller's to free.
 * Errors: ERR_NOMEM.
 */
struct lmdb_key {
	const unsigned char *p;
	uint16_t len;
	uint8_t tree;
};
int store_lmdb_log_sort(const struct lmdb_log *log, struct lmdb_key **vp, size_t *np) MUST_CHECK;

/* store_lmdb_rewrite.c: a database written anew */
int store_lmdb_rewrite_begin(struct store_db *base, const char *path, struct store_rewrite **rp) MUST_CHECK;
int store_lmdb_rewrite_step(struct store_rewrite *base) MUST_CHECK;
int store_lmdb_rewrite_finish(struct store_rewrite *base, const struct store_item *items, size_t n) MUST_CHECK;
void store_lmdb_rewrite_end(struct store_rewrite *base);
void store_lmdb_rewrite_progress(const struct store_rewrite *base, uint64_t *donep, uint64_t *totalp);
int store_lmdb_rewrite_stamp(struct store_rewrite *base, unsigned char out[16]) MUST_CHECK;
/** store_lmdb_rewrite_note(db, items, n): A batch was committed.  Under write_lock. */
void store_lmdb_rewrite_note(struct lmdb_db *db, const struct store_item *items, size_t n);
/** store_lmdb_rewrite_doubt(db): A commit may have been made or not: what is being written anew is of no use. */
void store_lmdb_rewrite_doubt(struct lmdb_db *db);

#endif
