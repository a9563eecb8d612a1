/*
 * clock_shim.c: preloaded into divand, it sets the wall clock alone: CLOCK_MONOTONIC goes on as it was.
 *
 * CLOCK_JUMP: a file of two 64-bit numbers: the seconds, of either sign, by which the clock is off, and by how much more after each look at it.
 * A test changes them while divand runs.
 */
#include "shim.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static _Atomic int64_t *jump;

__attribute__((constructor)) static void
start(void)
{
	jump = shim_map("CLOCK_JUMP", 2 * sizeof(*jump));
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
	int rc = (int)syscall(SYS_clock_gettime, id, t);

	if (rc == 0 && jump != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		t->tv_sec += atomic_fetch_add(&jump[0], atomic_load(&jump[1]));
	return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (at != NULL)
		*at = t.tv_sec;
	return t.tv_sec;
}
