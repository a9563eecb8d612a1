/*
 * spool.c: queues on disk.  What they are for, and why they are rings: docs/decisions/0015.
 *
 * The byte that is put as number n stands at n modulo max, so that the file never grows beyond max.  The size that counts is the end of
 * what was written: what is taken makes no room on the disk until the queue is empty, and then the file goes.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"

void
spool_init(struct spool *s, struct spools *all, uint64_t max)
{
	*s = (struct spool){.all = all, .max = max, .fd = -1};
}

uint64_t
spool_left(const struct spool *s)
{
	return s->put - s->taken;
}

void
spool_release(struct spool *s)
{
	if (s->fd < 0)
		return;
	(void)close(s->fd);
	atomic_fetch_sub(&s->all->files, 1);
	atomic_fetch_sub(&s->all->bytes, s->size);
	s->fd = -1;
	s->put = s->taken = s->size = 0;
}

/* ---- Room ---- */

static int
failed(struct spool *s, const char *what)
{
	log_line(LOG_WARNING, "an answer cannot wait on disk: %s: %s", what, strerror(errno));
	s->failed = 1;
	return ERR_NOSPACE;
}

static int
open_file(struct spool *s)
{
	char path[PATH_MAX];

	if (s->all->dir == NULL)
		return ERR_NOSPACE;
	if (atomic_fetch_add(&s->all->files, 1) >= LIMIT_SPOOLS) {
		atomic_fetch_sub(&s->all->files, 1);
		return ERR_NOSPACE;
	}
	/* What has such a name is removed at the start: setup_data_dir(). */
	(void)snprintf(path, sizeof(path), "%s/.body.XXXXXX", s->all->dir);
	if ((s->fd = mkostemp(path, O_CLOEXEC)) < 0) {
		atomic_fetch_sub(&s->all->files, 1);
		return failed(s, path);
	}
	(void)unlink(path);
	return 0;
}

static int
disk_has(int fd, uint64_t bytes)
{
	struct statvfs v;

	return fstatvfs(fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize >= bytes;
}

/* grow: The file may be of ${size} bytes. */
static int
grow(struct spool *s, uint64_t size)
{
	uint64_t more = size - s->size, all;

	if (size <= s->size)
		return 0;
	all = atomic_fetch_add(&s->all->bytes, more) + more;
	if (all > LIMIT_SPOOLS_BYTES || size > LIMIT_SPOOLS_BYTES - all || !disk_has(s->fd, more + size)) {
		atomic_fetch_sub(&s->all->bytes, more);
		return ERR_NOSPACE;
	}
	s->size = size;
	return 0;
}

/* ---- Bytes ---- */

/* straight: How many of ${len} bytes from number ${n} on stand in a row. */
static size_t
straight(const struct spool *s, uint64_t n, size_t len)
{
	uint64_t until_end = s->max - n % s->max;

	return len < until_end ? len : (size_t)until_end;
}

static int
write_all(struct spool *s, const char *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		uint64_t to = s->put + at;
		ssize_t n = pwrite(s->fd, data + at, straight(s, to, len - at), (off_t)(to % s->max));

		if (n < 0 && errno != EINTR)
			return failed(s, "pwrite");
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int
spool_put(struct spool *s, const void *data, size_t len)
{
	int err = s->failed || len > s->max - spool_left(s) ? ERR_NOSPACE : 0;

	if (err == 0 && s->fd < 0)
		err = open_file(s);
	if (err == 0)
		err = grow(s, s->put + len < s->max ? s->put + len : s->max);
	if (err == 0 && (err = write_all(s, data, len)) == 0)
		s->put += len;
	if (spool_left(s) == 0)
		spool_release(s);
	return err;
}

static ssize_t
read_some(struct spool *s, char *to, size_t len)
{
	ssize_t n;

	do
		n = pread(s->fd, to, straight(s, s->taken, len), (off_t)(s->taken % s->max));
	while (n < 0 && errno == EINTR);
	return n;
}

int
spool_take(struct spool *s, struct buf *b, size_t max)
{
	size_t want = spool_left(s) < max ? (size_t)spool_left(s) : max;
	char *room;
	int err;

	while (want > 0) {
		ssize_t n;

		if ((err = buf_reserve(b, want, &room)) != 0)
			return err;
		if ((n = read_some(s, room, want)) <= 0) {
			log_line(LOG_ERROR, "an answer that waited on disk cannot be read: %s",
			    n < 0 ? strerror(errno) : "it was cut short");
			return ERR_IO;
		}
		buf_commit(b, (size_t)n);
		s->taken += (uint64_t)n;
		want -= (size_t)n;
	}
	if (spool_left(s) == 0)
		spool_release(s);
	return 0;
}
