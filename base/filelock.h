/* filelock.h: a data folder is one process's at a time. */
#ifndef BASE_FILELOCK_H_
#define BASE_FILELOCK_H_

#include "base/err.h"

/**
 * filelock_take(dir, fdp): Lock the data folder ${dir}, which must exist, for as long as *${fdp} is open in this
 * process: an exclusive flock() on ${dir}/.lock, which is made where it is missing.  Errors: ERR_LOCKED (another
 * process has it; not logged), ERR_IO with a log line.
 */
int filelock_take(const char *dir, int *fdp) MUST_CHECK;

#endif
