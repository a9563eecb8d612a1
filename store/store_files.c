/*
 * store_files.c: the folder of a store: paths, syncs, and the rename that makes
 * a whole file appear under its name.  A database's lock file NAME-lock goes
 * with it: renamed before it, so that a crash in between leaves one that belongs to nothing
 * or is stale, and either harms nothing.
 */
#include "store_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"

int
store_files_err(int code, const char *what, const char *file)
{
	if (code == 0)
		return 0;
	if (code != ENOMEM)
		log_line(LOG_ERROR, "%s: %s: %s", file, what, strerror(code));
	return err_errno(code);
}

int
store_files_why(int fd, int code)
{
	static const char page[4096];
	struct stat st;

	if (fstat(fd, &st) != 0)
		return code;
	if (pwrite(fd, page, sizeof(page), st.st_size) < 0 && err_errno(errno) != ERR_IO)
		code = errno;
	if (ftruncate(fd, st.st_size) != 0)
		log_line(LOG_WARNING, "a failed write left up to %zu bytes behind a file", sizeof(page));
	return code;
}

int
store_files_path(const char *dir, const char *file, const char *suffix, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s%s", dir, file, suffix);

	return n > 0 && n < PATH_MAX ? 0 : ERR_IO;
}

int
store_files_sync(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags), rc;

	if (fd < 0)
		return store_files_err(errno, "open", path);
	rc = fsync(fd) == 0 ? 0 : store_files_err(errno, "fsync", path);
	close(fd);
	return rc;
}

void
store_files_unlink(const char *dir, const char *file)
{
	char path[PATH_MAX];

	if (store_files_path(dir, file, "", path) == 0)
		(void)unlink(path);
	if (store_files_path(dir, file, "-lock", path) == 0)
		(void)unlink(path);
}

int
store_files_rename(const char *dir, const char *tmp, const char *file)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (store_files_path(dir, tmp, "-lock", from) != 0 || store_files_path(dir, file, "-lock", to) != 0)
		return ERR_IO;
	if (rename(from, to) != 0)
		return store_files_err(errno, "rename", to);
	if (store_files_path(dir, tmp, "", from) != 0 || store_files_path(dir, file, "", to) != 0)
		return ERR_IO;
	return rename(from, to) == 0 ? 0 : store_files_err(errno, "rename", to);
}

int
store_files_sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int n;

	if (slash == NULL)
		return store_files_sync(".", O_DIRECTORY);
	n = snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return n < (int)sizeof(folder) ? store_files_sync(folder, O_DIRECTORY) : ERR_IO;
}

int
store_files_sweep(const char *dir)
{
	DIR *d = opendir(dir);
	char path[PATH_MAX];
	struct dirent *e;

	if (d == NULL)
		return store_files_err(errno, "opendir", dir);
	while ((e = readdir(d)) != NULL) {
		size_t len = strlen(e->d_name);

		if (store_files_path(dir, e->d_name, "", path) != 0)
			continue;
		if (strncmp(e->d_name, STORE_TMP_PREFIX, sizeof(STORE_TMP_PREFIX) - 1) == 0) {
			(void)unlink(path);
		} else if (len > 11 && strcmp(e->d_name + len - 11, STORE_SUFFIX "-lock") == 0) {
			size_t plen = strlen(path);

			path[plen - 5] = '\0';
			if (access(path, F_OK) != 0 && errno == ENOENT) {
				path[plen - 5] = '-';
				(void)unlink(path);
			}
		}
	}
	closedir(d);
	return 0;
}
