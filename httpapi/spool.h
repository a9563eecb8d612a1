/*
 * spool.h: bytes that wait on disk for who takes them slowly, so that who made them need not wait: a queue in a file without a name,
 * which is gone with its process.
 *
 * All spools of a server share LIMIT_SPOOLS_BYTES, and the disk.  One grows only while more is left of either than it has: there is some
 * for whoever comes next, and for what has to be kept.
 */
#ifndef HTTPAPI_SPOOL_H_
#define HTTPAPI_SPOOL_H_

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

/* What those of one server have in common. */
struct spools {
	const char *dir; /* where the files are made; borrowed.  NULL: nowhere, there is never room */
	_Atomic uint64_t bytes;
	_Atomic unsigned files;
};

/* One; its user's, on one thread at a time. */
struct spool {
	struct spools *all;
	uint64_t max;        /* bytes of the file, in which the queue goes round */
	uint64_t put, taken; /* bytes, in all */
	uint64_t size;       /* of the file */
	int fd;              /* -1: the queue is empty, and there is no file */
	int failed;          /* it cannot be written */
};

void spool_init(struct spool *s, struct spools *all, uint64_t max);
/** spool_release(s): What is in it goes. */
void spool_release(struct spool *s);

/** spool_left(s): Bytes that can be taken. */
uint64_t spool_left(const struct spool *s);
/** spool_put(s, data, len): All of it, or ERR_NOSPACE: there is no room, maybe until something is taken. */
int spool_put(struct spool *s, const void *data, size_t len) MUST_CHECK;
/** spool_take(s, b, max): Append up to ${max} of the oldest bytes to ${b}.  Errors: ERR_IO with a log line, ERR_NOMEM. */
int spool_take(struct spool *s, struct buf *b, size_t max) MUST_CHECK;

#endif
