/* The log: levels, what a line may hold, files, the thread that writes; counters of many threads. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/log.h"

static char path[] = "/tmp/divan-log-XXXXXX";

static char *
read_log(void)
{
	static char text[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
test_levels(void)
{
	enum log_level level = LOG_DEBUG;

	CHECK_INT(log_level_of("Warn", &level), 0);
	CHECK_INT(level, LOG_WARNING);
	CHECK_INT(log_level_of("none", &level), 0);
	CHECK_INT(level, LOG_NONE);
	CHECK_INT(log_level_of("loud", &level), ERR_BAD_REQUEST);
	log_set_level(LOG_WARNING);
	CHECK(!log_enabled(LOG_NOTICE) && log_enabled(LOG_WARNING));
	log_set_level(LOG_INFO);
}

/* Lines that were written are there once log_stop() returns, in order. */
static void
test_thread(void)
{
	char expected[64], *text;
	unsigned i;

	CHECK_INT(log_open(path), 0);
	log_line(LOG_NOTICE, "before\n%c", 27);
	CHECK_INT(log_start(), 0);
	for (i = 0; i < 200; i++)
		log_line(LOG_NOTICE, "line %u.", i);
	log_text(LOG_NOTICE, now_us(), "as it is", 8);
	log_line(LOG_DEBUG, "not this");
	log_stop();
	log_line(LOG_ERROR, "behind");
	text = read_log();
	CHECK(strstr(text, "[notice] before??\n") != NULL && strstr(text, "[error] behind\n") != NULL);
	CHECK(strstr(text, "Z [notice] as it is\n") != NULL && strstr(text, "not this") == NULL);
	for (i = 0; i < 200 && text != NULL; i++) {
		snprintf(expected, sizeof(expected), "[notice] line %u.\n", i);
		text = strstr(text, expected);
	}
	CHECK(text != NULL);
	CHECK_INT(log_dropped(), 0);
}

static void
test_reopen(void)
{
	char old[64];

	snprintf(old, sizeof(old), "%s.1", path);
	CHECK_INT(rename(path, old), 0);
	log_line(LOG_NOTICE, "into the old");
	CHECK_INT(log_reopen(), 0);
	log_line(LOG_NOTICE, "into the new");
	CHECK(strstr(read_log(), "into the old") == NULL && strstr(read_log(), "into the new") != NULL);
	CHECK_INT(log_open("/nonexistent/log"), ERR_IO);
	log_line(LOG_NOTICE, "still here");
	CHECK(strstr(read_log(), "still here") != NULL);
	CHECK_INT(unlink(old), 0);
}

static void *
count(void *arg)
{
	for (int i = 0; i < 10000; i++)
		counters_add(COUNTER_GET, 2);
	return arg;
}

static void
test_counters(void)
{
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, count, NULL), 0);
	CHECK(counters_get(COUNTER_GET) <= 80000);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(counters_get(COUNTER_GET), 80000);
	CHECK_INT(counters_get(COUNTER_PUT), 0);
}

int
main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	test_levels();
	test_thread();
	test_reopen();
	test_counters();
	unlink(path);
	return check_done();
}
