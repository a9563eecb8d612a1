/* ceiling.h: what the ceilings share: how they fail, and what their work took. */
#ifndef BENCH_CEILING_CEILING_H_
#define BENCH_CEILING_CEILING_H_

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/** need(ok, what): End the program, with ${what}, unless ${ok}. */
static inline void
need(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
		exit(1);
	}
}

/** cpu_us(): Of this process so far. */
static inline double
cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/** wall_us(): On the monotonic clock. */
static inline double
wall_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

#endif
