/*
 * h2o_clock.c: the time that h2o goes by.
 *
 * h2o counts its timeouts, and the ages of connections and requests, by gettimeofday(), the wall clock.  That one is set: by people, by ntpd at
 * boot, when a virtual machine wakes up.  Set back within a turn of the loop, what is then due is so only when the old time has come again: the thread
 * spins, and no timer runs, for an hour perhaps.  Set forward, all that comes in or waits is overdue, and is cut.
 *
 * So the library gets another gettimeofday(): the wall clock as it was at the start, and what CLOCK_MONOTONIC has counted since.  The linker binds
 * shared libraries to the program's symbols first.
 *
 * 1. What it tells never goes back, and never jumps.
 * 2. Dates in answers are those of the wall clock: of h2o's cache, the text comes from there, and only the age from here.
 * 3. Whatever else asks (OpenSSL, for the age of sessions) wants differences, and gets them right.
 */
#include <h2o.h>

#include <pthread.h>
#include <sys/time.h>
#include <time.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct timespec offset; /* from CLOCK_MONOTONIC to what is told */

static void
set_offset(void)
{
	struct timespec wall, ticks;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &ticks);
	offset.tv_sec = wall.tv_sec - ticks.tv_sec;
	offset.tv_nsec = wall.tv_nsec - ticks.tv_nsec;
	if (offset.tv_nsec < 0) {
		offset.tv_nsec += 1000000000;
		offset.tv_sec--;
	}
}

/* Instead of the C library's. */
int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ticks;

	(void)zone;
	pthread_once(&once, set_offset);
	clock_gettime(CLOCK_MONOTONIC, &ticks);
	tv->tv_sec = offset.tv_sec + ticks.tv_sec;
	tv->tv_usec = (offset.tv_nsec + ticks.tv_nsec) / 1000;
	if (tv->tv_usec >= 1000000) {
		tv->tv_usec -= 1000000;
		tv->tv_sec++;
	}
	return 0;
}

/* Instead of h2o's: invariant 2. */
void
h2o_context_update_timestamp_cache(h2o_context_t *ctx)
{
	time_t before = ctx->_timestamp_cache.tv_at.tv_sec;
	struct timespec wall;
	struct tm tm;

	ctx->_timestamp_cache.uv_now_at = h2o_now(ctx->loop);
	(void)gettimeofday(&ctx->_timestamp_cache.tv_at, NULL);
	if (ctx->_timestamp_cache.tv_at.tv_sec == before && ctx->_timestamp_cache.value != NULL)
		return;
	/* Requests that are being answered may hold the old one. */
	if (ctx->_timestamp_cache.value != NULL)
		h2o_mem_release_shared(ctx->_timestamp_cache.value);
	ctx->_timestamp_cache.value = h2o_mem_alloc_shared(NULL, sizeof(*ctx->_timestamp_cache.value), NULL);
	clock_gettime(CLOCK_REALTIME, &wall);
	(void)gmtime_r(&wall.tv_sec, &tm);
	h2o_time2str_rfc1123(ctx->_timestamp_cache.value->rfc1123, &tm);
	h2o_time2str_log(ctx->_timestamp_cache.value->log, wall.tv_sec);
}
