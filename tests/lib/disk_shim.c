/*
 * disk_shim.c: preloaded into divand, it makes the file system fail that the data are in: as one does that the kernel has made read-only at an error
 * of its device, or whose quota is used up.  (`mount -o remount,ro` refuses as long as a file is open for writing.)
 *
 * DISK_FAULT: a file of two 32-bit numbers, which a test changes while divand runs: the calls that fail (a bit of each sort), and with which errno.
 * DISK_ROOT: the folder.  Reads, maps and locks go on; so do sockets and pipes.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

enum {
	WRITES = 1, /* bytes, and sizes that grow */
	SYNCS = 2,
	OPENS = 4, /* of what is there, for writing */
	NAMES = 8, /* made */
	GONE = 16, /* names that go */
	/* Of writes alone what goes to the first pages: with them LMDB ends a commit, whose outcome is then not known. */
	META = 32,
	FOLDERS = 64, /* their syncs: names may not be durable */
	LATER = 128   /* not before a database has got its name, which takes this bit away */
};

static _Atomic uint32_t *fault; /* sorts, errno */
static const char *root;

#define REAL(name)                     \
	static __typeof__(&name) real; \
	if (real == NULL)              \
	*(void **)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void
start(void)
{
	root = getenv("DISK_ROOT");
	if (root != NULL)
		fault = shim_map("DISK_FAULT", 2 * sizeof(*fault));
}

static int
fails(uint32_t sort)
{
	uint32_t sorts = fault != NULL ? atomic_load(&fault[0]) : 0;

	if ((sorts & sort) == 0 || (sorts & LATER) != 0)
		return 0;
	errno = (int)atomic_load(&fault[1]);
	return 1;
}

static int
path_fails(uint32_t sort, const char *path)
{
	return root != NULL && strncmp(path, root, strlen(root)) == 0 && fails(sort);
}

static int
fd_fails(uint32_t sort, int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	if (fault == NULL || (atomic_load(&fault[0]) & sort) == 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	return path_fails(sort, path);
}

static int
open_fails(const char *path, int flags)
{
	if ((flags & (O_CREAT | O_TMPFILE)) != 0 && access(path, F_OK) != 0)
		return path_fails(NAMES, path);
	return (flags & O_ACCMODE) != O_RDONLY && path_fails(OPENS, path);
}

#define OPEN(name)                                                                              \
	int name(const char *path, int flags, ...)                                              \
	{                                                                                       \
		REAL(name);                                                                     \
		mode_t mode = 0;                                                                \
		if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {               \
			va_list args;                                                           \
			va_start(args, flags);                                                  \
			mode = va_arg(args, mode_t);                                            \
			va_end(args);                                                           \
		}                                                                               \
		return fault != NULL && open_fails(path, flags) ? -1 : real(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

#define OF_FD(type, name, sort, params, ...)                        \
	type name params                                            \
	{                                                           \
		REAL(name);                                         \
		return fd_fails(sort, fd) ? -1 : real(__VA_ARGS__); \
	}
OF_FD(ssize_t, write, WRITES, (int fd, const void *p, size_t n), fd, p, n)
OF_FD(ssize_t, pwrite, WRITES | (at < 8192 ? META : 0), (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
OF_FD(ssize_t, pwrite64, WRITES | (at < 8192 ? META : 0), (int fd, const void *p, size_t n, off64_t at), fd, p, n, at)
OF_FD(ssize_t, writev, WRITES, (int fd, const struct iovec *v, int n), fd, v, n)
OF_FD(ssize_t, pwritev, WRITES, (int fd, const struct iovec *v, int n, off_t at), fd, v, n, at)
OF_FD(int, ftruncate, WRITES, (int fd, off_t len), fd, len)
OF_FD(int, ftruncate64, WRITES, (int fd, off64_t len), fd, len)
OF_FD(int, fdatasync, SYNCS, (int fd), fd)
OF_FD(int, fsetxattr, WRITES, (int fd, const char *name, const void *p, size_t n, int flags), fd, name, p, n, flags)

int
fsync(int fd)
{
	struct stat st;
	REAL(fsync);

	if (fd_fails(SYNCS, fd) || (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && fd_fails(FOLDERS, fd)))
		return -1;
	return real(fd);
}

#define OF_PATH(name, sort, params, ...)                                \
	int name params                                                 \
	{                                                               \
		REAL(name);                                             \
		return path_fails(sort, path) ? -1 : real(__VA_ARGS__); \
	}
OF_PATH(mkostemp, NAMES, (char *path, int flags), path, flags) /* a file that has no name soon */
OF_PATH(mkdir, NAMES, (const char *path, mode_t mode), path, mode)
OF_PATH(unlink, GONE, (const char *path), path)
OF_PATH(
    setxattr, WRITES, (const char *path, const char *name, const void *p, size_t n, int flags), path, name, p, n, flags)
OF_PATH(removexattr, GONE, (const char *path, const char *name), path, name)

int
rename(const char *path, const char *to)
{
	size_t len;
	int err;
	REAL(rename);

	if (path_fails(GONE, path))
		return -1;
	err = real(path, to);
	len = strlen(to);
	if (err == 0 && fault != NULL && len > 6 && strcmp(to + len - 6, ".divan") == 0)
		atomic_fetch_and(&fault[0], ~(uint32_t)LATER);
	return err;
}
