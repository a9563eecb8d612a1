/*
 * fail.c: linked into a program, it lets calls fail: allocations, calls of files, of the store, of the system and of OpenSSL.
 *
 * The linker puts __wrap_NAME() into the place of NAME() (--wrap) for our objects and for what is linked with them as an archive: LMDB, zstd, zlib,
 * libyaml, PCRE and Jansson.  Shared libraries (h2o, OpenSSL, ICU, curl, libc) keep theirs.
 *
 * A test makes millions of calls, but from few places.  A place is a sort of call and the return addresses behind it, up to the first function of a
 * test.  Each place has its turn: what comes there first, or the n-th time, fails, and is not asked again.  A program is run again, or a request made
 * again, until nothing is left that has not failed: then it passes untouched.  TORTURE_CONTROL names the file that says so (fail.h).
 *
 * Left out are calls that fail in no system on which this runs: locks, conditions and attributes of threads that glibc makes, random bytes, eventfd's bytes.
 *
 * 1. What tests call themselves does not fail: functions of test_*.c and fuzz_*.c are found in the program's own table of symbols.
 * 2. Nothing fails while `armed` is 0, and only one call does while it is 1; with `for_good` all behind it of the same sort.
 * 3. What is here neither allocates nor locks through what it replaces.
 */
#include "tests/torture/fail.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"

#define RANGES 4096      /* functions of tests */
#define STATUS_STOP 77   /* a check failed behind a fault */
#define STATUS_LOCKED 78 /* and a lock was held */
#define STATUS_LEAK 79   /* and memory was lost */

extern const char __executable_start, etext;

struct range {
	uintptr_t from, to;
};

static struct fail_control *control;
static struct range ranges[RANGES];
static size_t nranges;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static __thread uintptr_t stack_end;
static __thread int held; /* locks of this thread */
static __thread int inside;

/* ---- Which functions are a test's ---- */

static int
range_cmp(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static int
of_a_test(uintptr_t at)
{
	size_t lo = 0, hi = nranges;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (at < ranges[mid].from)
			hi = mid;
		else if (at > ranges[mid].to)
			lo = mid + 1;
		else
			return 1;
	}
	return 0;
}

static int
is_test_source(const char *name)
{
	return strncmp(name, "test_", 5) == 0 || strncmp(name, "fuzz_", 5) == 0 || strcmp(name, "driver.c") == 0;
}

/* Functions that stand in a table of symbols behind the name of a test's source, up to the next source; and main(). */
static void
add_tests(const Elf64_Sym *sym, size_t n, const char *names)
{
	int mine = 0, any = 0;

	for (; n > 0; sym++, n--) {
		unsigned type = ELF64_ST_TYPE(sym->st_info);
		const char *name = names + sym->st_name;

		if (type == STT_FILE) {
			mine = is_test_source(name);
			any |= mine;
		}
		if (type != STT_FUNC || nranges == RANGES || sym->st_size == 0)
			continue;
		if ((mine && ELF64_ST_BIND(sym->st_info) == STB_LOCAL) ||
		    (any && (strcmp(name, "main") == 0 || strncmp(name, "LLVMFuzzer", 10) == 0))) {
			uintptr_t from = (uintptr_t)&__executable_start + sym->st_value;

			ranges[nranges++] = (struct range){from, from + sym->st_size};
		}
	}
}

static void
find_tests(void)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
	struct stat st;
	const char *file;
	const Elf64_Ehdr *head;
	const Elf64_Shdr *sec;

	if (fd < 0 || syscall(SYS_fstat, fd, &st) != 0)
		return;
	file = (const char *)syscall(SYS_mmap, NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	syscall(SYS_close, fd);
	if (file == MAP_FAILED)
		return;
	head = (const Elf64_Ehdr *)(const void *)file;
	sec = (const Elf64_Shdr *)(const void *)(file + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++)
		if (sec[i].sh_type == SHT_SYMTAB)
			add_tests((const Elf64_Sym *)(const void *)(file + sec[i].sh_offset),
			    sec[i].sh_size / sizeof(Elf64_Sym), file + sec[sec[i].sh_link].sh_offset);
	syscall(SYS_munmap, file, (size_t)st.st_size);
	qsort(ranges, nranges, sizeof(ranges[0]), range_cmp);
}

static void
disarm(void)
{
	if (control != NULL)
		control->armed = 0;
}

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("TORTURE_CONTROL");
	int fd = path != NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
	void *map;

	if (fd < 0)
		return;
	map = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (map == MAP_FAILED)
		return;
	find_tests();
	(void)atexit(disarm);        /* before coverage is written */
	unsetenv("TORTURE_CONTROL"); /* what is started from here is not meant */
	control = map;
	control->held = 0;
	control->snaps = 0;
}

/* ---- Places ---- */

static uintptr_t
end_of_stack(void)
{
	pthread_attr_t attr;
	void *at;
	size_t size;

	if (stack_end == 0) {
		stack_end = 1;
		if (pthread_getattr_np(pthread_self(), &attr) == 0) {
			if (pthread_attr_getstack(&attr, &at, &size) == 0)
				stack_end = (uintptr_t)at + size;
			pthread_attr_destroy(&attr);
		}
	}
	return stack_end;
}

/* The return addresses from ${frame} on that are the program's, and no test's.  What has no frame pointers (archives) is passed over as far as can be told. */
static unsigned
trace(const uintptr_t *frame, uint64_t out[FAIL_FRAMES], unsigned max)
{
	uintptr_t end = end_of_stack();
	unsigned n = 0;

	while (n < max) {
		uintptr_t at = frame[1], next = frame[0];

		if (at < (uintptr_t)&__executable_start || at >= (uintptr_t)&etext || of_a_test(at))
			break;
		out[n++] = at - (uintptr_t)&__executable_start;
		if (next <= (uintptr_t)frame || next + 16 > end || next % 8 != 0)
			break;
		frame = (const uintptr_t *)next;
	}
	return n;
}

static struct fail_point *
point_of(uint64_t hash)
{
	for (uint32_t i = (uint32_t)(hash >> 20), n = 0; n < FAIL_POINTS / 2; i++, n++) {
		struct fail_point *p = &control->point[i % FAIL_POINTS];

		if (p->hash == 0) {
			p->hash = hash;
			control->points++;
		}
		if (p->hash == hash)
			return p;
	}
	control->full = 1;
	return NULL;
}

static int
its_turn(uint64_t hash)
{
	struct fail_point *p = point_of(hash);

	if (p == NULL)
		return 0;
	if (p->turn != control->turn) {
		p->turn = control->turn;
		p->seen = 0;
	}
	if (p->done || (hash >> 7) % control->step != control->seed % control->step || p->seen++ < control->skip)
		return 0;
	p->done = 1;
	return 1;
}

/* Does the call whose frame is ${frame} fail? */
static int
refused(enum fail_sort sort, const char *what, const uintptr_t *frame)
{
	uint64_t at[FAIL_FRAMES], hash = 14695981039346656037u + sort;
	unsigned n;
	int fails = 0;

	if (control == NULL || !control->armed || (control->sorts >> sort & 1) == 0 || inside)
		return 0;
	if (control->fired > 0 && (!control->for_good || control->sort != (uint32_t)sort))
		return 0;
	inside = 1;
	n = trace(frame, at, control->depth < FAIL_FRAMES ? control->depth : FAIL_FRAMES);
	inside = 0;
	if (n == 0)
		return 0;
	if (control->fired > 0) {
		control->fired++;
		return 1;
	}
	for (unsigned i = 0; i < n; i++)
		hash = (hash ^ at[i]) * 1099511628211u;
	hash ^= hash >> 29;
	while (atomic_flag_test_and_set(&busy))
		;
	if (control->armed && control->fired == 0 && its_turn(hash | 1)) {
		control->sort = (uint32_t)sort;
		control->nframes = trace(frame, control->frames, FAIL_FRAMES);
		strncpy(control->what, what, sizeof(control->what) - 1);
		control->fired = fails = 1;
	}
	atomic_flag_clear(&busy);
	return fails;
}

/* ---- The end of a test behind a fault: check.h calls it where a check fails ---- */

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void torture_stop(void);

void
torture_stop(void)
{
	if (control == NULL || control->fired == 0)
		return;
	disarm();
	if (held > 0) {
		fprintf(stderr, "torture: %d locks are held\n", held);
		_exit(STATUS_LOCKED);
	}
	if (__lsan_do_recoverable_leak_check == NULL)
		exit(STATUS_STOP);
	_exit(__lsan_do_recoverable_leak_check() != 0 ? STATUS_LEAK : STATUS_STOP);
}

/* ---- What may fail.  The Makefile takes the names from these lines. ---- */

#define FAILS(sort, type, name, params, args, result, why)                                        \
	extern type __real_##name params __attribute__((weak));                                   \
	type __wrap_##name params;                                                                \
	__attribute__((noinline)) type __wrap_##name params                                       \
	{                                                                                         \
		if (refused(FAIL_##sort, #name, (const uintptr_t *)__builtin_frame_address(0))) { \
			errno = why;                                                              \
			return result;                                                            \
		}                                                                                 \
		return __real_##name args;                                                        \
	}

/* What wakes a thread (eventfd) always can be written and read. */
static int
may_fail(int fd)
{
	struct stat st;

	return control != NULL && control->armed && syscall(SYS_fstat, fd, &st) == 0 && (st.st_mode & S_IFMT) != 0;
}

#define PASSES(name, params, args, why)                                                                         \
	extern ssize_t __real_##name params;                                                                    \
	ssize_t __wrap_##name params;                                                                           \
	__attribute__((noinline)) ssize_t __wrap_##name params                                                  \
	{                                                                                                       \
		if (may_fail(fd) && refused(FAIL_FILE, #name, (const uintptr_t *)__builtin_frame_address(0))) { \
			errno = why;                                                                            \
			return -1;                                                                              \
		}                                                                                               \
		return __real_##name args;                                                                      \
	}

/* clang-format off */
FAILS(ALLOC, void *, malloc, (size_t n), (n), NULL, ENOMEM)
FAILS(ALLOC, void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM)
FAILS(ALLOC, void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
FAILS(ALLOC, void *, reallocarray, (void *p, size_t n, size_t size), (p, n, size), NULL, ENOMEM)
FAILS(ALLOC, void *, aligned_alloc, (size_t to, size_t n), (to, n), NULL, ENOMEM)
FAILS(ALLOC, int, posix_memalign, (void **pp, size_t to, size_t n), (pp, to, n), ENOMEM, ENOMEM)
FAILS(ALLOC, char *, strdup, (const char *s), (s), NULL, ENOMEM)
FAILS(ALLOC, char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM)

PASSES(read, (int fd, void *p, size_t n), (fd, p, n), EIO)
FAILS(FILE, ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), -1, EIO)
PASSES(write, (int fd, const void *p, size_t n), (fd, p, n), ENOSPC)
FAILS(FILE, ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at), -1, ENOSPC)
PASSES(writev, (int fd, const struct iovec *v, int n), (fd, v, n), ENOSPC)
FAILS(FILE, ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at), -1, ENOSPC)
FAILS(FILE, int, fsync, (int fd), (fd), -1, EIO)
FAILS(FILE, int, fdatasync, (int fd), (fd), -1, EIO)
FAILS(FILE, int, msync, (void *p, size_t n, int flags), (p, n, flags), -1, EIO)
FAILS(FILE, int, ftruncate, (int fd, off_t n), (fd, n), -1, ENOSPC)
FAILS(FILE, int, rename, (const char *from, const char *to), (from, to), -1, EIO)
FAILS(FILE, int, unlink, (const char *path), (path), -1, EIO)
FAILS(FILE, int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), -1, EIO)
FAILS(FILE, int, mkdir, (const char *path, mode_t mode), (path, mode), -1, ENOSPC)
FAILS(FILE, int, rmdir, (const char *path), (path), -1, EIO)
FAILS(FILE, int, link, (const char *from, const char *to), (from, to), -1, ENOSPC)
FAILS(FILE, int, stat, (const char *path, struct stat *st), (path, st), -1, EIO)
FAILS(FILE, int, lstat, (const char *path, struct stat *st), (path, st), -1, EIO)
FAILS(FILE, int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO)
FAILS(FILE, int, fstatvfs, (int fd, struct statvfs *st), (fd, st), -1, EIO)
FAILS(FILE, int, fstatfs, (int fd, struct statfs *st), (fd, st), -1, EIO)
FAILS(FILE, int, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *st), (dir, path, flags, mask, st), -1, EIO)
FAILS(FILE, ssize_t, readlink, (const char *path, char *p, size_t n), (path, p, n), -1, EIO)
FAILS(FILE, off_t, lseek, (int fd, off_t at, int how), (fd, at, how), -1, EINVAL)
FAILS(FILE, int, flock, (int fd, int how), (fd, how), -1, ENOLCK)
FAILS(FILE, ssize_t, fgetxattr, (int fd, const char *name, void *p, size_t n), (fd, name, p, n), -1, EIO)
FAILS(FILE, int, fsetxattr, (int fd, const char *name, const void *p, size_t n, int flags), (fd, name, p, n, flags), -1, ENOSPC)
FAILS(FILE, int, fremovexattr, (int fd, const char *name), (fd, name), -1, EIO)
FAILS(FILE, DIR *, opendir, (const char *path), (path), NULL, EMFILE)
FAILS(FILE, struct dirent *, readdir, (DIR *dir), (dir), NULL, EIO)
FAILS(FILE, FILE *, fopen, (const char *path, const char *how), (path, how), NULL, EMFILE)
FAILS(FILE, size_t, fwrite, (const void *p, size_t size, size_t n, FILE *f), (p, size, n, f), 0, ENOSPC)
FAILS(FILE, size_t, fread, (void *p, size_t size, size_t n, FILE *f), (p, size, n, f), 0, EIO)
FAILS(FILE, int, fflush, (FILE *f), (f), EOF, ENOSPC)
FAILS(FILE, int, mkostemp, (char *path, int flags), (path, flags), -1, ENOSPC)
FAILS(FILE, int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, EMFILE)
FAILS(FILE, void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t at), (p, n, prot, flags, fd, at), MAP_FAILED, ENOMEM)

FAILS(OTHER, int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
FAILS(OTHER, int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), -1, EMFILE)
FAILS(OTHER, int, bind, (int fd, const struct sockaddr *sa, socklen_t n), (fd, sa, n), -1, ENOBUFS)
FAILS(OTHER, int, listen, (int fd, int n), (fd, n), -1, ENOBUFS)
FAILS(OTHER, int, setsockopt, (int fd, int level, int name, const void *p, socklen_t n), (fd, level, name, p, n), -1, ENOBUFS)
FAILS(OTHER, int, getsockname, (int fd, struct sockaddr *sa, socklen_t *np), (fd, sa, np), -1, ENOBUFS)
FAILS(OTHER, ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags), -1, ECONNRESET)
FAILS(OTHER, ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags), -1, ECONNRESET)
FAILS(OTHER, ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), -1, ECONNRESET)
FAILS(OTHER, int, eventfd, (unsigned n, int flags), (n, flags), -1, EMFILE)
FAILS(OTHER, int, epoll_create1, (int flags), (flags), -1, EMFILE)
FAILS(OTHER, int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e), -1, ENOMEM)
FAILS(OTHER, int, epoll_wait, (int ep, struct epoll_event *e, int n, int ms), (ep, e, n, ms), -1, EINTR)
FAILS(OTHER, int, poll, (struct pollfd *p, nfds_t n, int ms), (p, n, ms), -1, EINTR)
FAILS(OTHER, int, pipe2, (int fds[2], int flags), (fds, flags), -1, EMFILE)
FAILS(OTHER, int, getaddrinfo, (const char *host, const char *port, const struct addrinfo *want, struct addrinfo **out), (host, port, want, out), EAI_MEMORY, ENOMEM)
FAILS(OTHER, int, posix_spawn, (pid_t *pid, const char *path, const posix_spawn_file_actions_t *acts, const posix_spawnattr_t *attr, char *const *argv, char *const *env), (pid, path, acts, attr, argv, env), EAGAIN, EAGAIN)
FAILS(OTHER, int, posix_spawn_file_actions_init, (posix_spawn_file_actions_t *acts), (acts), ENOMEM, ENOMEM)
FAILS(OTHER, int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *acts, int from, int to), (acts, from, to), ENOMEM, ENOMEM)
FAILS(OTHER, int, posix_spawnattr_init, (posix_spawnattr_t *attr), (attr), ENOMEM, ENOMEM)
FAILS(OTHER, int, pthread_create, (pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg), (t, attr, run, arg), EAGAIN, EAGAIN)
FAILS(OTHER, int, pthread_key_create, (pthread_key_t *key, void (*gone)(void *)), (key, gone), EAGAIN, EAGAIN)
FAILS(OTHER, int, pthread_setspecific, (pthread_key_t key, const void *p), (key, p), ENOMEM, ENOMEM)
FAILS(OTHER, void *, dlopen, (const char *path, int flags), (path, flags), NULL, ENOMEM)
FAILS(OTHER, void *, dlsym, (void *lib, const char *name), (lib, name), NULL, ENOMEM)

FAILS(OTHER, void *, EVP_MD_CTX_new, (void), (), NULL, ENOMEM)
FAILS(OTHER, int, EVP_DigestInit_ex, (void *ctx, const void *md, void *engine), (ctx, md, engine), 0, ENOMEM)
FAILS(OTHER, int, EVP_DigestUpdate, (void *ctx, const void *p, size_t n), (ctx, p, n), 0, ENOMEM)
FAILS(OTHER, int, EVP_DigestFinal_ex, (void *ctx, unsigned char *md, unsigned *np), (ctx, md, np), 0, ENOMEM)
FAILS(OTHER, unsigned char *, HMAC, (const void *md, const void *key, int klen, const unsigned char *p, size_t n, unsigned char *out, unsigned *np), (md, key, klen, p, n, out, np), NULL, ENOMEM)
FAILS(OTHER, int, PKCS5_PBKDF2_HMAC, (const char *pass, int plen, const unsigned char *salt, int slen, int iter, const void *md, int klen, unsigned char *out), (pass, plen, salt, slen, iter, md, klen, out), 0, ENOMEM)
FAILS(OTHER, void *, SSL_CTX_new, (const void *method), (method), NULL, ENOMEM)
FAILS(OTHER, void *, BIO_new_mem_buf, (const void *p, int n), (p, n), NULL, ENOMEM)

struct store; struct store_db; struct store_snap; struct store_cursor; struct store_batch; struct store_val; struct store_rewrite; struct store_usage; struct store_source;
FAILS(STORE, int, store_create, (struct store *s, const char *name, const char *const *trees, unsigned n, struct store_db **dbp), (s, name, trees, n, dbp), ERR_IO, EIO)
FAILS(STORE, int, store_make, (struct store *s, const char *name, const char *const *trees, unsigned n, struct store_db **dbp), (s, name, trees, n, dbp), ERR_IO, EIO)
FAILS(STORE, int, store_publish, (struct store_db *db), (db), ERR_IO, EIO)
FAILS(STORE, int, store_open, (struct store *s, const char *name, const char *const *trees, unsigned n, struct store_db **dbp), (s, name, trees, n, dbp), ERR_IO, EIO)
FAILS(STORE, int, store_open_checked, (struct store *s, const char *name, const char *const *trees, unsigned n, struct store_db **dbp), (s, name, trees, n, dbp), ERR_IO, EIO)
FAILS(STORE, int, store_drop, (struct store *s, const char *name), (s, name), ERR_IO, EIO)
FAILS(STORE, int, store_list, (struct store *s, const char *after, int (*fn)(const char *name, void *cookie), void *cookie), (s, after, fn, cookie), ERR_IO, EIO)
FAILS(STORE, int, store_rewrite_begin, (struct store_db *db, const char *path, struct store_rewrite **rp), (db, path, rp), ERR_IO, EIO)
FAILS(STORE, int, store_rewrite_step, (struct store_rewrite *r), (r), ERR_IO, EIO)
FAILS(STORE, int, store_rewrite_finish, (struct store_rewrite *r, struct store_batch *extra), (r, extra), ERR_IO, EIO)
FAILS(STORE, int, store_rewrite_stamp, (struct store_rewrite *r, unsigned char out[16]), (r, out), ERR_IO, EIO)
FAILS(STORE, int, store_copy, (struct store_db *db, const char *path), (db, path), ERR_IO, EIO)
FAILS(STORE, int, store_compact, (struct store_db *db), (db), ERR_IO, EIO)
FAILS(STORE, int, store_reopen, (struct store_db *db), (db), ERR_IO, EIO)
FAILS(STORE, int, store_usage, (struct store_db *db, struct store_usage *up), (db, up), ERR_IO, EIO)
FAILS(STORE, int, store_stamp, (struct store_db *db, unsigned char out[16]), (db, out), ERR_IO, EIO)
FAILS(STORE, int, store_get, (struct store_snap *snap, unsigned tree, const void *key, size_t klen, struct store_val *valp), (snap, tree, key, klen, valp), ERR_IO, EIO)
FAILS(STORE, int, store_count, (struct store_snap *snap, unsigned tree, uint64_t *np), (snap, tree, np), ERR_IO, EIO)
FAILS(STORE, int, store_cursor_open, (struct store_snap *snap, unsigned tree, struct store_cursor **cp), (snap, tree, cp), ERR_IO, EIO)
FAILS(STORE, int, store_seek, (struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp), (c, key, klen, keyp, valp), ERR_IO, EIO)
FAILS(STORE, int, store_seek_le, (struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp), (c, key, klen, keyp, valp), ERR_IO, EIO)
FAILS(STORE, int, store_next, (struct store_cursor *c, struct store_val *keyp, struct store_val *valp), (c, keyp, valp), ERR_IO, EIO)
FAILS(STORE, int, store_prev, (struct store_cursor *c, struct store_val *keyp, struct store_val *valp), (c, keyp, valp), ERR_IO, EIO)
FAILS(STORE, int, store_batch_new, (struct store_db *db, struct store_batch **bp), (db, bp), ERR_NOMEM, ENOMEM)
FAILS(STORE, int, store_put, (struct store_batch *b, unsigned tree, const void *key, size_t klen, const void *val, size_t vlen), (b, tree, key, klen, val, vlen), ERR_NOMEM, ENOMEM)
FAILS(STORE, int, store_put_room, (struct store_batch *b, unsigned tree, const void *key, size_t klen, size_t vlen, void **valp), (b, tree, key, klen, vlen, valp), ERR_NOMEM, ENOMEM)
FAILS(STORE, int, store_del, (struct store_batch *b, unsigned tree, const void *key, size_t klen), (b, tree, key, klen), ERR_NOMEM, ENOMEM)
FAILS(STORE, int, store_fill, (struct store_db *db, struct store_source *src), (db, src), ERR_IO, EIO)
/* clang-format on */

/* A failed commit empties its batch, too. */
extern int __real_store_commit(struct store_batch *b) __attribute__((weak));
extern void store_batch_clear(struct store_batch *b) __attribute__((weak));
int __wrap_store_commit(struct store_batch *b);
__attribute__((noinline)) int
__wrap_store_commit(struct store_batch *b)
{
	if (refused(FAIL_STORE, "store_commit", (const uintptr_t *)__builtin_frame_address(0))) {
		store_batch_clear(b);
		return ERR_IO;
	}
	return __real_store_commit(b);
}

extern int __real_store_snap_begin(struct store_db *db, struct store_snap **snapp) __attribute__((weak));
extern void __real_store_snap_end(struct store_snap *snap) __attribute__((weak));
int __wrap_store_snap_begin(struct store_db *db, struct store_snap **snapp);
void __wrap_store_snap_end(struct store_snap *snap);
__attribute__((noinline)) int
__wrap_store_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	int err;

	if (refused(FAIL_STORE, "store_snap_begin", (const uintptr_t *)__builtin_frame_address(0)))
		return ERR_IO;
	err = __real_store_snap_begin(db, snapp);
	if (!err && control != NULL)
		__atomic_add_fetch(&control->snaps, 1, __ATOMIC_RELAXED);
	return err;
}

void
__wrap_store_snap_end(struct store_snap *snap)
{
	if (snap != NULL && control != NULL)
		__atomic_add_fetch(&control->snaps, -1, __ATOMIC_RELAXED);
	__real_store_snap_end(snap);
}

#define OPENS(name, params, args)                                                               \
	extern int __real_##name params __attribute__((weak));                                  \
	int __wrap_##name params;                                                               \
	__attribute__((noinline)) int __wrap_##name params                                      \
	{                                                                                       \
		mode_t mode = 0;                                                                \
		if (refused(FAIL_FILE, #name, (const uintptr_t *)__builtin_frame_address(0))) { \
			errno = (flags & O_CREAT) != 0 ? ENOSPC : EMFILE;                       \
			return -1;                                                              \
		}                                                                               \
		if ((flags & (O_CREAT | __O_TMPFILE)) != 0) {                                   \
			va_list ap;                                                             \
			va_start(ap, flags);                                                    \
			mode = va_arg(ap, mode_t);                                              \
			va_end(ap);                                                             \
		}                                                                               \
		return __real_##name args;                                                      \
	}
OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

extern int __real_fcntl(int fd, int how, ...);
int __wrap_fcntl(int fd, int how, ...);
__attribute__((noinline)) int
__wrap_fcntl(int fd, int how, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, how);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (refused(FAIL_FILE, "fcntl", (const uintptr_t *)__builtin_frame_address(0))) {
		errno = ENOLCK;
		return -1;
	}
	return __real_fcntl(fd, how, arg);
}

/* ---- Locks that are held ---- */

static void
holds(int by)
{
	held += by;
	if (control != NULL)
		__atomic_add_fetch(&control->held, by, __ATOMIC_RELAXED);
}

#define LOCKS(name, params, args, by)        \
	extern int __real_##name params;     \
	int __wrap_##name params;            \
	int __wrap_##name params             \
	{                                    \
		int rc = __real_##name args; \
		if (rc == 0)                 \
			holds(by);           \
		return rc;                   \
	}
#define WAITS(name, params, args)        \
	extern int __real_##name params; \
	int __wrap_##name params;        \
	int __wrap_##name params         \
	{                                \
		int rc;                  \
		holds(-1);               \
		rc = __real_##name args; \
		holds(1);                \
		return rc;               \
	}
LOCKS(pthread_mutex_lock, (pthread_mutex_t * m), (m), 1)
LOCKS(pthread_mutex_trylock, (pthread_mutex_t * m), (m), 1)
LOCKS(pthread_mutex_unlock, (pthread_mutex_t * m), (m), -1)
WAITS(pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
WAITS(pthread_cond_timedwait, (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *t), (c, m, t))
WAITS(pthread_cond_clockwait, (pthread_cond_t * c, pthread_mutex_t *m, clockid_t id, const struct timespec *t),
    (c, m, id, t))
