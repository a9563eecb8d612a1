/* store_impl.h: what store.c and the implementations of a store share.  Private to store/. */
#ifndef STORE_STORE_IMPL_H_
#define STORE_STORE_IMPL_H_

#include <limits.h>
#include "store/store.h"

/* One operation of a batch. */
struct store_op {
	const unsigned char *key; /* in the batch's memory */
	const void *val;          /* the same; NULL for a delete */
	size_t vlen;              /* bytes of val */
	uint16_t klen;            /* bytes of key */
	uint8_t tree;             /* the tree's number */
	uint8_t del;              /* 1: a delete */
};

/* What is sorted in the place of an operation. */
struct store_item {
	uint64_t prefix;           /* the key's first 8 bytes, big-endian */
	const struct store_op *op; /* the operation */
};

enum store_move { STORE_SEEK, STORE_SEEK_LE, STORE_NEXT, STORE_PREV };

/*
 * An implementation.  store.c has checked the arguments: trees exist, keys are
 * at most STORE_KEY_MAX bytes, next and prev come to a cursor that stands on a
 * key.  commit is given at least one item; they are sorted by tree, then key,
 * each key once; rewrite_finish may be given none.  The others are as in store.h.
 */
struct store_impl {
	void (*free)(struct store *s);
	int (*list)(struct store *s, const char *after, int (*fn)(const char *name, void *cookie), void *cookie);
	int (*make)(
	    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp);
	int (*publish)(struct store_db *db);
	int (*open)(
	    struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp);
	int (*drop)(struct store *s, const char *name);
	void (*close)(struct store_db *db);
	int (*verify)(
	    struct store *s, const char *name); /* store_open_checked()'s part before the open; NULL: nothing */
	void (*mark)(struct store_db *db);      /* store_close_checked()'s before the close; NULL: nothing */
	int (*rewrite_begin)(struct store_db *db, const char *path, struct store_rewrite **rp);
	int (*rewrite_step)(struct store_rewrite *r);
	int (*rewrite_finish)(struct store_rewrite *r, const struct store_item *items, size_t n);
	void (*rewrite_end)(struct store_rewrite *r);
	void (*rewrite_progress)(const struct store_rewrite *r, uint64_t *donep, uint64_t *totalp);
	int (*rewrite_stamp)(struct store_rewrite *r, unsigned char out[16]);
	int (*reopen)(struct store_db *db);
	int (*usage)(struct store_db *db, struct store_usage *up);
	int (*stamp)(struct store_db *db, unsigned char out[16]);
	void (*note_put)(struct store_db *db, const void *note, size_t len);
	void (*note_get)(struct store_db *db, void *note, size_t *lenp);
	int (*snap_begin)(struct store_db *db, struct store_snap **snapp);
	void (*snap_end)(struct store_snap *snap);
	int (*get)(struct store_snap *snap, unsigned tree, struct store_val key, struct store_val *valp);
	int (*count)(struct store_snap *snap, unsigned tree, uint64_t *np);
	int (*cursor_open)(struct store_snap *snap, unsigned tree, struct store_cursor **cp);
	void (*cursor_close)(struct store_cursor *c);
	int (*move)(struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp,
	    struct store_val *valp);
	int (*commit)(struct store_db *db, const struct store_item *items, size_t n);
	int (*fill)(struct store_db *db, struct store_source *src); /* NULL: a batch does it */
	int reads_wait;
};

/* Each implementation's objects begin with these. */
struct store {
	const struct store_impl *impl;
};

struct store_db {
	const struct store_impl *impl;
	unsigned ntrees;
};

struct store_snap {
	const struct store_impl *impl;
	struct store_db *db;
};

struct store_rewrite {
	struct store_db *db;
};

struct store_cursor {
	const struct store_impl *impl;
	int placed; /* 1: it stands on a key (store.c's) */
};

/** store_key_cmp(a, alen, b, blen): Below, equal to or above 0, in the order of keys. */
int store_key_cmp(const void *a, size_t alen, const void *b, size_t blen);

/*
 * File names of databases (store_names.c).
 */
#define STORE_SUFFIX ".divan"
#define STORE_FILE_MAX 250u /* bytes of a file name with its suffix; LMDB adds 5 for the lock file's */

/** store_names_encode(name, file): ${name}'s file name with the suffix.  Errors: ERR_ILLEGAL_DB_NAME. */
int store_names_encode(const char *name, char file[STORE_FILE_MAX + 1]) MUST_CHECK;

/** store_names_decode(file, name): The name whose file name is ${file}.  Errors: ERR_ILLEGAL_DB_NAME, it is no
 * database's. */
int store_names_decode(const char *file, char name[STORE_FILE_MAX + 1]) MUST_CHECK;

/*
 * The folder (store_files.c).  ${suffix} is "" or "-lock".
 */
#define STORE_TMP_PREFIX ".tmp-" /* of unfinished files */

/** store_files_err(code, what, file): The ERR_* of an errno, logged. */
int store_files_err(int code, const char *what, const char *file);
/**
 * store_files_why(fd, code): A write to ${fd} was cut short: the errno of one more behind the end of the
 * file, if the disk is full, else ${code}.  The file stays as it is.
 */
int store_files_why(int fd, int code) MUST_CHECK;
int store_files_path(const char *dir, const char *file, const char *suffix, char path[PATH_MAX]) MUST_CHECK;
/**
 * store_files_sync(path, flags), store_files_sync_parent(path): fsync a file (0) or folder (O_DIRECTORY); the
 * folder that ${path} is in.
 */
int store_files_sync(const char *path, int flags) MUST_CHECK;
int store_files_sync_parent(const char *path) MUST_CHECK;
/** store_files_unlink(dir, file): Remove a file and its lock file, if they are there. */
void store_files_unlink(const char *dir, const char *file);
/** store_files_rename(dir, tmp, file): Give the synced file ${tmp} the name ${file}; durably once ${dir} is synced.  After an error ${file} is what it was. */
int store_files_rename(const char *dir, const char *tmp, const char *file) MUST_CHECK;
/** store_files_sweep(dir): Remove unfinished files, and lock files whose database is gone. */
int store_files_sweep(const char *dir) MUST_CHECK;

/* Names to be sorted and told. */
struct store_names {
	char **v;
	size_t n;
	size_t cap;
};

int store_names_add(struct store_names *names, const char *name) MUST_CHECK;
/** store_names_tell(names, fn, cookie): Sort, call ${fn} as store_list() does, and release. */
int store_names_tell(struct store_names *names, int (*fn)(const char *name, void *cookie), void *cookie) MUST_CHECK;
void store_names_release(struct store_names *names);

#endif
