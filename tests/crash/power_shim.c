/*
 * power_shim.c: preloaded into divand, it records what happens to the files of a folder, in the order in which it happens.
 *
 * POWER_ROOT: the folder; all of it is recorded.  POWER_LOG: the log (power_log.h).  POWER_KEEP: a folder that gets a link to each file, so that
 * power_disk.c can put a content of any moment into the very same file: a disk after a power cut has the inodes that it had.
 *
 * 1. A write is in the log before it is made, and a sync's record comes after the sync: a log that is cut anywhere says at most of a write that it
 *    happened, and at most of a sync that it did not.
 * 2. What was told a file before its sync began is on the disk when it ends; a write to a descriptor with O_DSYNC when that write ends.
 * 3. One lock makes the order of the log that of the calls.  Syncs are not made, only waited for a little, so that others overtake them.
 * 4. Whatever would go past the log ends the process: writes through a map (but of LMDB's tables of readers, which hold nothing of value), and
 *    calls that nobody uses.  Files without a name are nobody's business.  power_disk.c compares the log's end with the files.
 *
 * POWER_FAULT plants a fault: `fdatasync`, `fsync`, `folder` (fsync of one), `fresh` (any of a file that was opened under its first name), `dsync`: of this sort, one call in POWER_FAULT_ONE_IN (1) does nothing.
 */
#include "power_log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FDS 65536

/* An open descriptor of a file below the root. */
struct handle {
	uint64_t file;
	char used, dsync, folder, lock, fresh; /* fresh: it has not yet the name that it will have */
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static struct handle handles[FDS];
static struct power_head *head;
static const char *root, *keep, *fault;
static unsigned long fault_one_in = 1, faulty, sync_us = 400;

#define REAL(name)                     \
	static __typeof__(&name) real; \
	if (real == NULL)              \
	*(void **)&real = dlsym(RTLD_NEXT, #name)

static void
give_up(const char *what, const char *path)
{
	char line[PATH_MAX + 100];
	int n = snprintf(line, sizeof(line), "power_shim: %s: %s (%s)\n", what, path, strerror(errno));

	(void)!syscall(SYS_write, 2, line, (size_t)n);
	abort();
}

__attribute__((constructor)) static void
begin(void)
{
	const char *log = getenv("POWER_LOG"), *n = getenv("POWER_FAULT_ONE_IN");
	int fd;

	root = getenv("POWER_ROOT");
	keep = getenv("POWER_KEEP");
	fault = getenv("POWER_FAULT");
	if (n != NULL)
		fault_one_in = strtoul(n, NULL, 10);
	if (root == NULL || keep == NULL || log == NULL)
		give_up("POWER_ROOT, POWER_KEEP, POWER_LOG", "not set");
	fd = open(log, O_RDWR | O_CLOEXEC);
	head =
	    fd < 0 ? MAP_FAILED : mmap(NULL, POWER_LOG_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (head == MAP_FAILED)
		give_up("open", log);
	close(fd);
	unsetenv("LD_PRELOAD");
}

/* Before whatever is recorded. */
static void
enter(void)
{
	pthread_mutex_lock(&order);
	if (head != NULL && head->halt != 0)
		kill(getpid(), SIGKILL);
}

static void
leave(void)
{
	pthread_mutex_unlock(&order);
}

/* ---- Records.  Under `order`, as all that follows. ---- */

static uint64_t
record(enum power_kind kind, uint64_t file, uint64_t at, const struct iovec *data, int n)
{
	uint64_t used = head->bytes, ops = head->ops;
	char *p = (char *)head + POWER_LOG_HEAD + used;
	struct power_rec r = {.kind = kind, .file = file, .at = at};

	for (int i = 0; i < n; i++)
		r.len += (uint32_t)data[i].iov_len;
	if (POWER_LOG_HEAD + used + power_rec_size(&r) > POWER_LOG_MAX)
		give_up("record", "the log is full");
	memcpy(p, &r, sizeof(r));
	p += sizeof(r);
	for (int i = 0; i < n; i++) {
		if (data[i].iov_len > 0)
			memcpy(p, data[i].iov_base, data[i].iov_len);
		p += data[i].iov_len;
	}
	head->bytes = used + power_rec_size(&r);
	head->ops = ops + 1;
	return ops;
}

static int
is_fault(const char *what)
{
	return fault != NULL && strcmp(fault, what) == 0 && ++faulty % fault_one_in == 0;
}

static int
is_ours(const char *path)
{
	size_t n = strlen(root);

	return head != NULL && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static struct handle *
handle_of(int fd)
{
	return fd >= 0 && fd < FDS && handles[fd].used ? &handles[fd] : NULL;
}

static const char *
name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

static uint64_t
folder_of(const char *path)
{
	char dir[PATH_MAX];
	struct stat st;

	snprintf(dir, sizeof(dir), "%.*s", (int)(name_of(path) - 1 - path), path);
	if (stat(dir, &st) != 0)
		give_up("stat", dir);
	return st.st_ino;
}

/* What happened to a name: ${more}, unless NULL, is the new one. */
static void
record_name(enum power_kind kind, uint64_t file, const char *path, const char *more)
{
	const char *name = name_of(path), *to = more != NULL ? name_of(more) : "";
	union {
		const char *p;
		void *base;
	} a = {name}, b = {to};
	struct iovec v[2] = {{a.base, strlen(name) + 1}, {b.base, strlen(to) + 1}};

	record(kind, file, folder_of(path), v, more != NULL ? 2 : 1);
}

/* ---- Opening ---- */

static void
created(const char *path, uint64_t file)
{
	char link_path[PATH_MAX];

	snprintf(link_path, sizeof(link_path), "%s/%llu", keep, (unsigned long long)file);
	if (link(path, link_path) != 0)
		give_up("link", path);
	record_name(POWER_CREATE, file, path, NULL);
}

static void
opened(int fd, const char *path, int flags, int fresh, off_t size)
{
	size_t len = strlen(path);
	struct stat st;

	if (fd >= FDS || fstat(fd, &st) != 0)
		give_up("open", path);
	if (fresh)
		created(path, st.st_ino);
	if ((flags & O_TRUNC) != 0 && !fresh && size > 0)
		record(POWER_TRUNCATE, st.st_ino, 0, NULL, 0);
	handles[fd] = (struct handle){
	    .file = st.st_ino,
	    .used = 1,
	    .dsync = (flags & O_DSYNC) != 0,
	    .folder = S_ISDIR(st.st_mode),
	    .lock = len > 5 && strcmp(path + len - 5, "-lock") == 0,
	    .fresh = strncmp(name_of(path), ".tmp-", 5) == 0,
	};
}

static int
open_it(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
	struct stat st = {0};
	int fd, fresh;

	if (head == NULL || !is_ours(path) || (flags & O_TMPFILE) == O_TMPFILE)
		return real(path, flags, mode);
	enter();
	fresh = stat(path, &st) != 0;
	fd = real(path, flags, mode);
	if (fd >= 0)
		opened(fd, path, flags, fresh, st.st_size);
	leave();
	return fd;
}

#define OPEN(name)                                            \
	int name(const char *path, int flags, ...)            \
	{                                                     \
		REAL(name);                                   \
		mode_t mode = 0;                              \
		if ((flags & (O_CREAT | __O_TMPFILE)) != 0) { \
			va_list ap;                           \
			va_start(ap, flags);                  \
			mode = va_arg(ap, mode_t);            \
			va_end(ap);                           \
		}                                             \
		return open_it(real, path, flags, mode);      \
	}
#undef open64
OPEN(open)
OPEN(open64)

int __open_2(const char *path, int flags);
int
__open_2(const char *path, int flags)
{
	return open(path, flags);
}

/* A body on its way: its name is gone at once, and what is in it is written through a map. */
#define MKOSTEMP(name, params, args)                \
	int name params                             \
	{                                           \
		REAL(name);                         \
		struct stat st;                     \
		int fd;                             \
		if (head == NULL || !is_ours(path)) \
			return real args;           \
		enter();                            \
		fd = real args;                     \
		if (fd >= 0 && fstat(fd, &st) == 0) \
			created(path, st.st_ino);   \
		leave();                            \
		return fd;                          \
	}
MKOSTEMP(mkostemp, (char *path, int flags), (path, flags))
MKOSTEMP(mkstemp, (char *path), (path))

int
close(int fd)
{
	REAL(close);
	struct handle *h;

	enter();
	if ((h = handle_of(fd)) != NULL)
		h->used = 0;
	leave();
	return real(fd);
}

/* ---- Writing ---- */

/* Records a write, then has it made; ${at} < 0: where the descriptor stands. */
static ssize_t
write_it(int fd, const struct iovec *v, int n, off_t at)
{
	static ssize_t (*real)(int, const struct iovec *, int, off_t);
	static ssize_t (*plain)(int, const struct iovec *, int);
	struct handle *h;
	uint64_t number = 0;
	ssize_t done, want = 0;
	int here = at < 0;

	if (real == NULL) {
		*(void **)&plain = dlsym(RTLD_NEXT, "writev");
		*(void **)&real = dlsym(RTLD_NEXT, "pwritev");
	}
	enter();
	if ((h = handle_of(fd)) == NULL) {
		leave();
		return here ? plain(fd, v, n) : real(fd, v, n, at);
	}
	if (here)
		at = lseek(fd, 0, SEEK_CUR);
	for (int i = 0; i < n; i++)
		want += (ssize_t)v[i].iov_len;
	number = record(POWER_WRITE, h->file, (uint64_t)at, v, n);
	done = here ? plain(fd, v, n) : real(fd, v, n, at);
	if (done != want)
		give_up("a write was cut short", "");
	if (h->dsync && !is_fault("dsync")) {
		uint64_t file = h->file;

		leave();
		usleep((useconds_t)(number * 2654435761u % sync_us));
		enter();
		record(POWER_WROTE, file, number, NULL, 0);
	}
	leave();
	return done;
}

static struct iovec
one(const void *p, size_t len)
{
	union {
		const void *p;
		void *base;
	} u = {p};

	return (struct iovec){u.base, len};
}

ssize_t
write(int fd, const void *p, size_t len)
{
	struct iovec v = one(p, len);

	return write_it(fd, &v, 1, -1);
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
	return write_it(fd, v, n, -1);
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t at)
{
	struct iovec v = one(p, len);

	return write_it(fd, &v, 1, at);
}

ssize_t
pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return write_it(fd, v, n, at);
}

#undef pwrite64
ssize_t pwrite64(int fd, const void *p, size_t len, off_t at) __attribute__((alias("pwrite")));

int
ftruncate(int fd, off_t size)
{
	REAL(ftruncate);
	struct handle *h;
	int rc;

	enter();
	if ((h = handle_of(fd)) != NULL)
		record(POWER_TRUNCATE, h->file, (uint64_t)size, NULL, 0);
	rc = real(fd, size);
	leave();
	return rc;
}

int
fsetxattr(int fd, const char *name, const void *p, size_t len, int flags)
{
	REAL(fsetxattr);
	struct iovec v = one(p, len);
	struct handle *h;
	int rc;

	enter();
	rc = real(fd, name, p, len, flags);
	if ((h = handle_of(fd)) != NULL && rc == 0)
		record(POWER_NOTE, h->file, 0, &v, 1);
	leave();
	return rc;
}

/* ---- Syncs ---- */

static int
sync_it(int fd, const char *what, enum power_kind kind)
{
	struct handle *h;
	uint64_t upto = 0, file = 0;

	enter();
	if ((h = handle_of(fd)) != NULL && !is_fault(h->folder ? "folder" : what) && !(h->fresh && is_fault("fresh"))) {
		upto = head->ops;
		file = h->file;
	}
	leave();
	if (file == 0)
		return 0;
	usleep((useconds_t)(upto * 2654435761u % sync_us));
	enter();
	record(kind, file, upto, NULL, 0);
	leave();
	return 0;
}

int
fsync(int fd)
{
	return sync_it(fd, "fsync", POWER_SYNC);
}

int
fdatasync(int fd)
{
	return sync_it(fd, "fdatasync", POWER_DATASYNC);
}

/* ---- Names ---- */

int
rename(const char *from, const char *to)
{
	REAL(rename);
	struct stat st;
	int rc;

	if (head == NULL || !is_ours(from))
		return real(from, to);
	enter();
	rc = stat(from, &st);
	if (rc == 0 && (rc = real(from, to)) == 0) {
		if (folder_of(from) != folder_of(to))
			give_up("a rename to another folder", to);
		record_name(POWER_RENAME, st.st_ino, from, to);
	}
	leave();
	return rc;
}

int
unlink(const char *path)
{
	REAL(unlink);
	struct stat st;
	int rc;

	if (head == NULL || !is_ours(path))
		return real(path);
	enter();
	rc = stat(path, &st);
	if (rc == 0 && (rc = real(path)) == 0)
		record_name(POWER_UNLINK, st.st_ino, path, NULL);
	leave();
	return rc;
}

int
mkdir(const char *path, mode_t mode)
{
	REAL(mkdir);
	struct stat st;
	int rc;

	if (head == NULL || !is_ours(path) || strcmp(path, root) == 0)
		return real(path, mode);
	enter();
	if ((rc = real(path, mode)) == 0 && stat(path, &st) == 0)
		record_name(POWER_MKDIR, st.st_ino, path, NULL);
	leave();
	return rc;
}

/* ---- What must not be ---- */

static void *
map_it(void *(*real)(void *, size_t, int, int, int, off_t), void *p, size_t len, int prot, int flags, int fd, off_t at)
{
	const struct handle *h = fd >= 0 && head != NULL ? handle_of(fd) : NULL;

	if (h != NULL && !h->lock && (prot & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0)
		give_up("a map that is written", "");
	return real(p, len, prot, flags, fd, at);
}

void *
mmap(void *p, size_t len, int prot, int flags, int fd, off_t at)
{
	REAL(mmap);
	return map_it(real, p, len, prot, flags, fd, at);
}

#define NEVER_FD(result, name, params, args)              \
	result name params                                \
	{                                                 \
		REAL(name);                               \
		if (handle_of(fd) != NULL)                \
			give_up("nobody records", #name); \
		return real args;                         \
	}
#define NEVER_PATH(name, params, args)                    \
	int name params                                   \
	{                                                 \
		REAL(name);                               \
		if (head != NULL && is_ours(path))        \
			give_up("nobody records", #name); \
		return real args;                         \
	}
NEVER_FD(int, fallocate, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))
NEVER_FD(int, posix_fallocate, (int fd, off_t at, off_t len), (fd, at, len))
NEVER_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t n), (fd, from, at, n))
NEVER_FD(ssize_t, copy_file_range, (int from, off_t *a, int fd, off_t *b, size_t n, unsigned flags),
    (from, a, fd, b, n, flags))
NEVER_FD(int, dup, (int fd), (fd))
NEVER_PATH(truncate, (const char *path, off_t size), (path, size))
NEVER_PATH(symlink, (const char *to, const char *path), (to, path))
NEVER_PATH(rmdir, (const char *path), (path))
NEVER_PATH(
    renameat2, (int from, const char *path, int to, const char *new, unsigned flags), (from, path, to, new, flags))
