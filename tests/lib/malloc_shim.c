/*
 * malloc_shim.c: preloaded into divand, it tells what malloc has given out, which the memory that a process takes does not: of that, a part is free
 * and waits to be given out again.
 *
 * MALLOC_FIGURES: a path; PATH.ask and PATH.told are FIFOs.  For each byte that is written to the first, a line comes from the second: bytes in use,
 * bytes that are free, both as malloc counts them (what a thread keeps to give out again counts as in use, unless GLIBC_TUNABLES has
 * glibc.malloc.tcache_count=0).  'T' before that gives back what is free.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ask_fd;
static int told_fd;

static void *
tell(void *cookie)
{
	char c, line[128];

	while (read(ask_fd, &c, 1) == 1) {
		if (c == 'T')
			malloc_trim(0);
		struct mallinfo2 m = mallinfo2();
		int n = snprintf(line, sizeof(line), "%zu %zu\n", m.uordblks + m.hblkhd, m.fordblks);
		if (write(told_fd, line, (size_t)n) != n)
			break;
	}
	return cookie;
}

static int
end_of(const char *path, const char *which)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s.%s", path, which);
	return open(name, O_RDWR | O_CLOEXEC);
}

/* Not in what divand starts: those have the variable as well. */
__attribute__((constructor)) static void
start(void)
{
	const char *path = getenv("MALLOC_FIGURES");
	pthread_t thread;
	sigset_t all, before;

	if (path == NULL || strcmp(program_invocation_short_name, "divand") != 0)
		return;
	ask_fd = end_of(path, "ask");
	told_fd = end_of(path, "told");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (ask_fd >= 0 && told_fd >= 0 && pthread_create(&thread, NULL, tell, NULL) == 0)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
