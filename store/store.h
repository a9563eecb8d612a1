/*
 * store.h: the ordered key-value seam.  A store holds named databases; a
 * database holds a few trees of ordered keys.  Nothing here knows what a
 * document is, and nothing above may assume LMDB, a local file, or that the
 * process that wrote a database is the only one that reads it.
 *
 * Rules that every implementation keeps (tests/unit/test_store.c proves them):
 * 1. Keys are 1 to STORE_KEY_MAX bytes and ordered as unsigned bytes, a prefix first.
 * 2. A batch is a set of puts and deletes without reads; of several operations
 *    on one key the last counts.  It is applied in key order, tree by tree.
 * 3. A commit is atomic and durable.  It ends done (0), not done (any error
 *    but ERR_IN_DOUBT: nothing changed), or in doubt (ERR_IN_DOUBT: the
 *    database takes no write until it was closed and opened again).
 * 4. A snapshot sees one commit whole.  Memory that a get returns lives until
 *    the snapshot's end; memory that a cursor returns, until its next move.
 * 5. Snapshots are used by one thread at a time, and held for milliseconds:
 *    a long scan ends its snapshot, begins another and resumes by key.  A
 *    thread holds none of a database while it commits to it or compacts it:
 *    both may have to wait for snapshots (at most about 10 s, then ERR_BUSY).
 * 6. One thread at a time writes a database (commit, copy and drop aside, every
 *    call may come from any thread).
 */
#ifndef STORE_STORE_H_
#define STORE_STORE_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define STORE_KEY_MAX 511u
#define STORE_TREES_MAX 16u

/* Opaque types. */
struct store;
struct store_db;
struct store_snap;
struct store_cursor;
struct store_batch;

/* Borrowed bytes. */
struct store_val {
	const void *p;
	size_t len;
};

struct store_usage {
	uint64_t file_bytes;                  /* what the database takes of the file system */
	uint64_t active_bytes;                /* pages in use, */
	uint64_t tree_bytes[STORE_TREES_MAX]; /* and of them those of each tree */
};

/**
 * store_lmdb_new(dir, sp): A store of one LMDB file per database, dir/NAME.divan
 * (names encoded, so that any name is a safe path).  Removes what an
 * interrupted create, copy or drop left.  Errors: ERR_IO, ERR_NOMEM.
 * The caller holds the folder's lock.
 */
int store_lmdb_new(const char *dir, struct store **sp) MUST_CHECK;

/**
 * store_mem_new(sp): A store in memory, for tests.  Its faults are set by
 * store_mem_fail(): the ${nth} commit (1 = the next) fails with ${code};
 * with ERR_IN_DOUBT, ${applied} says whether it took effect all the same.
 */
int store_mem_new(struct store **sp) MUST_CHECK;
void store_mem_fail(struct store *s, unsigned nth, int code, int applied);
/**
 * store_mem_copy(s, moved, sp): What is committed in ${s}, a store in memory, in one of its own: as after a crash.  With ${moved} the databases' files
 * have other stamps: as after an older copy was put back.  Errors: ERR_NOMEM.
 */
int store_mem_copy(struct store *s, int moved, struct store **sp) MUST_CHECK;

/**
 * store_lmdb_file(name, file): The file name, with its suffix, that database ${name} has in such a store's folder.
 * Errors: ERR_ILLEGAL_DB_NAME.
 */
#define STORE_FILE_ROOM 256u
int store_lmdb_file(const char *name, char file[STORE_FILE_ROOM]) MUST_CHECK;

/** store_free(s): Every database must be closed. */
void store_free(struct store *s);

/**
 * store_list(s, after, fn, cookie): Call ${fn} with each database's name, in bytewise
 * order, that is greater than ${after} (NULL: all) until it returns not 0, which
 * is then returned.
 */
int store_list(struct store *s, const char *after, int (*fn)(const char *name, void *cookie), void *cookie) MUST_CHECK;

/**
 * store_create(s, name, trees, ntrees, dbp), store_open(...): Make or open a
 * database whose trees are numbered in the order of ${trees} (static strings).
 * A create is durable when it returns.  Errors: ERR_DB_EXISTS, ERR_NO_DB, ERR_IO,
 * ERR_NOSPACE, ERR_NOMEM, ERR_NEWER_FORMAT (a tree is missing, or LMDB's version),
 * ERR_CORRUPT (not a database), ERR_BUSY (it is open already, or the process has too many files open), ERR_ILLEGAL_DB_NAME.
 */
int store_create(
    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp) MUST_CHECK;
int store_open(
    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp) MUST_CHECK;

/**
 * store_make(...), store_publish(db): A create in two steps, for a database that must not be there without its first content.
 * Before it is published it is neither listed nor opened, may be read and committed to, and is gone once it is closed or the
 * process ends; publishing gives it its name, durably.  After an error it can only be closed.  Errors: as store_create().
 */
int store_make(
    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp) MUST_CHECK;
int store_publish(struct store_db *db) MUST_CHECK;

/** store_close(db): No snapshot (that is looked at) or batch of ${db} may be left.  NULL is allowed. */
void store_close(struct store_db *db);

/**
 * store_open_checked(...), store_close_checked(db): The same for what can be made anew, and is to be thrown away when it is damaged.
 * A file that is not as the latter left it, to its size and time, or was open when the process ended, is read page by page
 * before anything believes what stands in it: ERR_CORRUPT if it is damaged.
 */
int store_open_checked(
    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp) MUST_CHECK;
void store_close_checked(struct store_db *db);

/**
 * store_drop(s, name): Remove a database; snapshots that are open on it still read it.  Durable on return.
 * Errors: ERR_NO_DB, ERR_READONLY, ERR_IO: it is still there; ERR_IN_DOUBT: it is gone, and may be there again after a crash.
 */
int store_drop(struct store *s, const char *name) MUST_CHECK;

/*
 * Writing a database anew, in the order of keys and without free space, while it is read and written: begin, steps of
 * milliseconds until one says ERR_END, finish, end.  It holds no snapshot between steps.  Its calls may come from any
 * thread, one at a time; it ends before the database is closed.
 */
struct store_rewrite;

/**
 * store_rewrite_begin(db, path, rp): Into a file that takes the place of the database's own (${path} NULL), or into a
 * file ${path} that must not exist, as a copy.  Errors: ERR_IO, ERR_NOSPACE (there is less room than it will take), ERR_NOMEM;
 * ERR_NOT_IMPLEMENTED.
 */
int store_rewrite_begin(struct store_db *db, const char *path, struct store_rewrite **rp) MUST_CHECK;

/**
 * store_rewrite_step(r): Copy more of it, and what was committed behind what is copied.  ERR_END: little is left to
 * do, which store_rewrite_finish() does.  Other errors end the rewrite: ERR_IO, ERR_NOSPACE, ERR_NOMEM, ERR_CORRUPT, ERR_BUSY
 * (what was committed between two steps is beyond LIMIT_REWRITE_LOG).
 */
int store_rewrite_step(struct store_rewrite *r) MUST_CHECK;

/**
 * store_rewrite_finish(r, extra): After ERR_END: what was committed since goes into the new file, and the operations of
 * ${extra} (NULL: none), which it empties; then the file is synced and, killed at any point, either the old or the new one
 * is the database.  Keeps commits out meanwhile, and waits for snapshots unless it is a copy: if they do not end within
 * some 0.3 s, ERR_BUSY, and the rewrite may go on with store_rewrite_step(), to be finished later with the same ${extra}.
 * Other errors: as store_rewrite_step(); ERR_NO_DB if the database was dropped.
 */
int store_rewrite_finish(struct store_rewrite *r, struct store_batch *extra) MUST_CHECK;

/** store_rewrite_end(r): Unless it is finished, nothing is left of it.  NULL is allowed. */
void store_rewrite_end(struct store_rewrite *r);

/** store_rewrite_progress(r, donep, totalp): Keys copied, of as many as there were at the beginning. */
void store_rewrite_progress(const struct store_rewrite *r, uint64_t *donep, uint64_t *totalp);

/** store_rewrite_stamp(r, out): The stamp that the new file will have. */
int store_rewrite_stamp(struct store_rewrite *r, unsigned char out[16]) MUST_CHECK;

/**
 * store_copy(db, path), store_compact(db): A rewrite in one go.  The copy is of one moment, the call's end.
 * The stamp changes with a compaction.  ERR_BUSY if snapshots do not end within some 10 s.
 */
int store_copy(struct store_db *db, const char *path) MUST_CHECK;
int store_compact(struct store_db *db) MUST_CHECK;

/**
 * store_reopen(db): Forget what is held in memory and read the file again: how a database leaves the state
 * that ERR_IN_DOUBT put it in.  Waits for snapshots: ERR_BUSY if they do not end within some 10 s, and all is as it was.  After other
 * errors (ERR_IO, ERR_NOMEM, ERR_CORRUPT, ERR_NO_DB) there may be nothing to read either, until one succeeds, here or by store_open().
 */
int store_reopen(struct store_db *db) MUST_CHECK;

int store_usage(struct store_db *db, struct store_usage *up) MUST_CHECK;

/**
 * store_stamp(db, out): 16 bytes that name the file itself (device, inode and the like): another value means
 * that the file was put there from elsewhere.
 */
int store_stamp(struct store_db *db, unsigned char out[16]) MUST_CHECK;

/**
 * store_note_put(db, note, len), store_note_get(db, note, lenp):
 * At most STORE_NOTE_MAX bytes that stand beside the database and not in it: they do not travel with its
 * content when the file is overwritten from elsewhere, nor when it is copied.  A hint: not part of any
 * commit, and a file system may not keep it. *${lenp} is the room, then the length; 0: there is no note.
 */
#define STORE_NOTE_MAX 64u
void store_note_put(struct store_db *db, const void *note, size_t len);
void store_note_get(struct store_db *db, void *note, size_t *lenp);

/** store_reads_wait(db): 1 if reads may wait for a network or disk beyond page faults. */
int store_reads_wait(const struct store_db *db);

/**
 * store_snap_begin(db, snapp), store_snap_end(snap): Errors: ERR_NOMEM, ERR_IO, ERR_BUSY (over a thousand at
 * one time).
 */
int store_snap_begin(struct store_db *db, struct store_snap **snapp) MUST_CHECK;
void store_snap_end(struct store_snap *snap);

/**
 * store_get(snap, tree, key, klen, valp): Errors: ERR_MISSING, ERR_IO.  A key longer than STORE_KEY_MAX is
 * missing.
 */
int store_get(struct store_snap *snap, unsigned tree, const void *key, size_t klen, struct store_val *valp) MUST_CHECK;

/** store_count(snap, tree, np): The number of keys in ${tree}. */
int store_count(struct store_snap *snap, unsigned tree, uint64_t *np) MUST_CHECK;

/** store_cursor_open(snap, tree, cp): A cursor that stands nowhere.  Close it before the snapshot. */
int store_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp) MUST_CHECK;
void store_cursor_close(struct store_cursor *c);

/**
 * Moves: seek to the first key that is >= ${key} (klen 0: the first of all);
 * seek_le to the last key that is <= ${key} (klen 0: the last of all); next, prev.
 * Each sets *${keyp} and *${valp} (either may be NULL).  ERR_MISSING: there is none,
 * and the cursor stands nowhere; next and prev from nowhere are ERR_MISSING too.
 */
int store_seek(
    struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp) MUST_CHECK;
int store_seek_le(
    struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp) MUST_CHECK;
int store_next(struct store_cursor *c, struct store_val *keyp, struct store_val *valp) MUST_CHECK;
int store_prev(struct store_cursor *c, struct store_val *keyp, struct store_val *valp) MUST_CHECK;

/**
 * store_batch_new(db, bp): An empty batch; it may be filled while snapshots are
 * read.  put and del copy what they are given; put_room hands out ${vlen} bytes
 * for the caller to fill before the next call on ${b}.  Errors: ERR_NOMEM;
 * ERR_INTERNAL for a key that is empty or too long.
 */
int store_batch_new(struct store_db *db, struct store_batch **bp) MUST_CHECK;
int store_put(
    struct store_batch *b, unsigned tree, const void *key, size_t klen, const void *val, size_t vlen) MUST_CHECK;
int store_put_room(
    struct store_batch *b, unsigned tree, const void *key, size_t klen, size_t vlen, void **valp) MUST_CHECK;
int store_del(struct store_batch *b, unsigned tree, const void *key, size_t klen) MUST_CHECK;
size_t store_batch_bytes(const struct store_batch *b);

/** store_batch_clear(b): Forget what was put, keep the memory for the next use. */
void store_batch_clear(struct store_batch *b);

/**
 * store_commit(b): Apply ${b} (rule 3) and, whatever comes of it, empty it for the next use.  ERR_NOSPACE,
 * ERR_IO, ERR_IN_DOUBT, ERR_BUSY, ERR_NOMEM, ERR_CORRUPT.
 */
int store_commit(struct store_batch *b) MUST_CHECK;
void store_batch_free(struct store_batch *b);

/* Much that goes into a database at once, without being held in memory. */
struct store_source {
	/* next(s, treep, key, val): In each tree the keys rise; memory lives until the next call.  ERR_END: that was all. */
	int (*next)(struct store_source *s, unsigned *treep, struct store_val *key, struct store_val *val);
	int (*rewind)(struct store_source *s); /* begin again */
	size_t bytes;                          /* of keys and values, about */
};

/**
 * store_fill(db, src): Put all of it in one commit.  Takes memory in proportion to the pages that change: to append to trees is best.
 * Errors: those of store_commit(), and ${src}'s.
 */
int store_fill(struct store_db *db, struct store_source *src) MUST_CHECK;

#endif
