/* outfile.c: written beside its place, synced, and renamed to a name that nobody has. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static char unfinished[PATH_MAX]; /* what a signal removes */

static int
complain(const char *path, int code)
{
	cli_say("%s: %s", path, strerror(code));
	return err_errno(code);
}

static void
on_signal(int signo)
{
	(void)unlink(unfinished);
	/* The handler is gone by SA_RESETHAND: this time the signal ends the process. */
	(void)raise(signo);
}

static int
refuse_existing(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : complain(path, errno);
	cli_say("%s exists already", path);
	return ERR_IO;
}

int
outfile_begin(struct outfile *o, const char *path, int create)
{
	int n = snprintf(o->part, sizeof(o->part), "%s.part", path);
	struct stat st;

	o->path = path;
	o->fd = -1;
	o->bytes = 0;
	if (n < 0 || n >= PATH_MAX)
		return complain(path, ENAMETOOLONG);
	if (refuse_existing(path) != 0)
		return ERR_IO;
	if (lstat(o->part, &st) == 0) {
		cli_say("%s exists: another copy is being made, or one was cut off; then remove it", o->part);
		return ERR_IO;
	}
	if (create) {
		o->fd = open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (o->fd < 0)
			return complain(o->part, errno);
	}
	(void)snprintf(unfinished, sizeof(unfinished), "%s", o->part);
	cli_signals(on_signal, (int)SA_RESETHAND);
	return 0;
}

int
outfile_write(struct outfile *o, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(o->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return complain(o->part, n < 0 ? errno : EIO);
		p += n;
		len -= (size_t)n;
		o->bytes += (size_t)n;
	}
	return 0;
}

void
outfile_abort(struct outfile *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	(void)unlink(o->part);
	cli_signals(SIG_DFL, 0);
}

/* Not every file system can refuse to replace in the rename itself. */
static int
rename_to_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return complain(to, errno);
	if (refuse_existing(to) != 0)
		return ERR_IO;
	return rename(from, to) == 0 ? 0 : complain(to, errno);
}

static int
sync_parent(const char *path, int file)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, err = 0;

	(void)snprintf(dir, sizeof(dir), "%.*s",
	    slash == NULL   ? 1
	    : slash == path ? 1
			    : (int)(slash - path),
	    slash == NULL ? "." : path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* One that may not be read is synced with all that its file system has. */
	if (fd < 0 && errno == EACCES)
		return syncfs(file) == 0 ? 0 : complain(dir, errno);
	if (fd < 0)
		return complain(dir, errno);
	/* A file system that cannot sync a folder has no better to offer. */
	if (fsync(fd) != 0 && errno != EINVAL)
		err = complain(dir, errno);
	close(fd);
	return err;
}

int
outfile_end(struct outfile *o)
{
	struct stat st;
	int err = 0;

	if (o->fd < 0)
		o->fd = open(o->part, O_RDONLY | O_CLOEXEC);
	if (o->fd < 0 || fstat(o->fd, &st) != 0 || fsync(o->fd) != 0)
		err = complain(o->part, errno);
	if (err == 0)
		err = rename_to_new(o->part, o->path);
	if (err) {
		outfile_abort(o);
		return err;
	}
	cli_signals(SIG_DFL, 0);
	o->bytes = (uint64_t)st.st_size;
	err = sync_parent(o->path, o->fd);
	close(o->fd);
	o->fd = -1;
	if (err)
		(void)unlink(o->path);
	return err;
}
