/* outfile.h: a file that is there whole or not at all. */
#ifndef CLI_OUTFILE_H_
#define CLI_OUTFILE_H_

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* Written under the name FILE.part until it is complete. */
struct outfile {
	const char *path;
	char part[PATH_MAX];
	int fd; /* -1: not open here */
	uint64_t bytes;
};

/**
 * outfile_begin(o, path, create): Neither ${path} nor its .part may exist.  With ${create} the latter is made, for this
 * user alone, to be written by outfile_write(); without, somebody else makes it, under the name o->part.  From now on
 * SIGINT, SIGTERM and SIGHUP, unless they are ignored, remove it before they end the process.  One at a time.  Errors,
 * said on standard error: ERR_IO.
 */
int outfile_begin(struct outfile *o, const char *path, int create) MUST_CHECK;
/** outfile_write(o, data, len): Errors, said on standard error: ERR_NOSPACE, ERR_IO. */
int outfile_write(struct outfile *o, const void *data, size_t len) MUST_CHECK;
/**
 * outfile_end(o): Durable under its name, or (ERR_IO, ERR_NOSPACE, said on standard error) gone: also where a file
 * of that name has appeared meanwhile.  o->bytes is its size.
 */
int outfile_end(struct outfile *o) MUST_CHECK;
/** outfile_abort(o): Remove what was written. */
void outfile_abort(struct outfile *o);

#endif
