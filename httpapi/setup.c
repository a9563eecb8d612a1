/*
 * setup.c: the data folder before a database is opened.
 *
 * Two servers in one folder would destroy it, so a lock is taken first and held by the process.
 * Small files are written beside their place, synced and renamed, so that a crash leaves the old
 * one or the new one.
 */
#include "setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/filelock.h"
#include "base/hash.h"
#include "base/log.h"

static int
complain(const char *what, const char *path)
{
	int err = err_errno(errno);

	log_line(LOG_ERROR, "cannot %s %s: %s", what, path, strerror(errno));
	return err;
}

static int
join(char out[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	if (n > 0 && n < PATH_MAX)
		return 0;
	log_line(LOG_ERROR, "the data folder's name is too long");
	return ERR_IO;
}

/* A folder that may not be read cannot be synced: whoever made it so keeps it. */
static int
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return errno == EACCES ? 0 : complain("sync the folder", dir);
	if (fsync(fd) != 0)
		err = complain("sync the folder", dir);
	close(fd);
	return err;
}

int
setup_make_dir(const char *path)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int there = mkdir(path, 0700) != 0;

	if (there && errno != EEXIST)
		return complain("make the folder", path);
	/* One that is there may be of a process that was killed before it came to this; what it stands in may be no file system that syncs. */
	snprintf(parent, sizeof(parent), "%.*s", slash == NULL || slash == path ? 1 : (int)(slash - path),
	    slash == NULL ? "." : path);
	(void)sync_dir(parent);
	return 0;
}

/* mkdir -p */
static int
make_dirs(const char *dir)
{
	char path[PATH_MAX];
	char *p;
	size_t len = strlen(dir);
	int err;

	if (len == 0 || len >= sizeof(path)) {
		errno = len == 0 ? ENOENT : ENAMETOOLONG;
		return complain("make the data folder", dir);
	}
	memcpy(path, dir, len + 1);
	/* A slash at the end would hide the parent. */
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	for (p = path + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
		*p = '\0';
		if (access(path, F_OK) != 0 && (err = setup_make_dir(path)) != 0)
			return err;
	}
	return setup_make_dir(path);
}

/* What was on its way when the process or the machine ended: request bodies (spool_dir), a file that was to replace another. */
static void
sweep(const char *dir)
{
	DIR *d = opendir(dir);
	char path[PATH_MAX];
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if ((strncmp(e->d_name, ".body.", 6) == 0 || strcmp(e->d_name, ".new") == 0) &&
		    join(path, dir, e->d_name) == 0)
			(void)unlink(path);
	if (d != NULL)
		closedir(d);
}

int
setup_data_dir(const char *dir, int *lock_fdp)
{
	int err;

	if ((err = make_dirs(dir)) != 0)
		return err;
	err = filelock_take(dir, lock_fdp);
	if (err == 0)
		sweep(dir);
	if (err == ERR_LOCKED)
		log_line(LOG_ERROR, "another divand is running on the data folder %s", dir);
	return err;
}

static int
replace(const char *dir, const char *path, const char *tmp, const char *text, size_t len)
{
	int fd, ok;

	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return complain("write", tmp);
	errno = ENOSPC; /* of a write that is cut short */
	ok = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
	if (close(fd) != 0 || !ok || rename(tmp, path) != 0)
		return complain("write", path);
	return sync_dir(dir);
}

int
setup_write(const char *dir, const char *name, const char *text, size_t len)
{
	/* Two at a time would take each other's half of the way. */
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	char path[PATH_MAX], tmp[PATH_MAX];
	int err;

	if (join(path, dir, name) != 0 || join(tmp, dir, ".new") != 0)
		return ERR_IO;
	pthread_mutex_lock(&one);
	err = replace(dir, path, tmp, text, len);
	pthread_mutex_unlock(&one);
	return err;
}

/* ${digits} of ${fd}, which it closes. */
static int
read_digits(int fd, const char *path, size_t digits, char *out)
{
	unsigned char decoded[SETUP_SECRET_DIGITS / 2];
	ssize_t n = read(fd, out, digits);
	int err = n < 0 ? complain("read", path) : 0;

	close(fd);
	if (err == 0 && (n != (ssize_t)digits || hex_decode(out, digits, decoded) != 0)) {
		log_line(LOG_ERROR, "%s does not hold %zu hexadecimal digits", path, digits);
		err = ERR_IO;
	}
	out[digits] = '\0';
	return err;
}

/* Random bytes as digits: drawn at the first start and written to a file, later read from it. */
static int
kept_random(const char *dir, const char *name, size_t digits, char *out)
{
	unsigned char random[SETUP_SECRET_DIGITS / 2];
	char path[PATH_MAX];
	int fd;

	if (join(path, dir, name) != 0)
		return ERR_IO;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return complain("read", path);
	if (fd >= 0)
		return read_digits(fd, path, digits, out);
	hash_random(random, digits / 2);
	hex_encode(random, digits / 2, out);
	out[digits] = '\n';
	if (setup_write(dir, name, out, digits + 1) != 0)
		return ERR_IO;
	out[digits] = '\0';
	return 0;
}

int
setup_uuid(const char *dir, char out[SETUP_UUID_DIGITS + 1])
{
	return kept_random(dir, "uuid", SETUP_UUID_DIGITS, out);
}

int
setup_secret(const char *dir, char out[SETUP_SECRET_DIGITS + 1])
{
	return kept_random(dir, "secret", SETUP_SECRET_DIGITS, out);
}
