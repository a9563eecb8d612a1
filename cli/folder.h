/* folder.h: a data folder that no divand serves. */
#ifndef CLI_FOLDER_H_
#define CLI_FOLDER_H_

#include <limits.h>
#include "base/exec.h"
#include "db/db.h"

/* Its databases, open for this process alone. */
struct folder {
	int lock_fd; /* -1: the lock is somebody else's business */
	struct exec_threads *threads;
	struct dbs *dbs;
};

/* Who sits at the machine may do everything. */
extern const struct principal folder_owner;

/**
 * folder_lock(dir, fdp): Take the folder's lock for this process, until *${fdp} is closed.  The folder must exist and
 * belong to this user, so that no file appears in it that its divand cannot open.  Errors: ERR_LOCKED, ERR_IO, each
 * said on standard error.
 */
int folder_lock(const char *dir, int *fdp) MUST_CHECK;

/** folder_path(dir, file, path): DIR/FILE.  Errors, said on standard error: ERR_IO. */
int folder_path(const char *dir, const char *file, char path[PATH_MAX]) MUST_CHECK;

/**
 * folder_open(dir, lock_fd, f), folder_close(f): The databases in ${dir}; ${lock_fd} goes with it, or is -1 where
 * ${dir} lies below a folder that is locked.  Errors are said on standard error; ${lock_fd} is then closed.
 */
int folder_open(const char *dir, int lock_fd, struct folder *f) MUST_CHECK;
void folder_close(struct folder *f);

#endif
