/* The log: levels, what a line may hold, files, the thread that writes; counters of many threads. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/jread.h"
#include "base/log.h"
#include "mallocs.h"

#ifdef MALLOCS_OWN
static _Atomic int no_buffers; /* so many buffers of the log are had, then none */
static _Atomic int count_buffers;
static _Atomic int interrupted; /* so many calls of write() are interrupted, or write a byte */

void *
malloc(size_t size)
{
	if (size == LIMIT_LOG_BUFFER && count_buffers && no_buffers-- <= 0)
		return NULL;
	return __libc_malloc(size);
}

ssize_t
write(int fd, const void *p, size_t n)
{
	if (interrupted > 0 && interrupted-- % 2 == 1) {
		errno = EINTR;
		return -1;
	}
	return syscall(SYS_write, fd, p, interrupted > 0 && n > 1 ? 1 : n);
}
#endif

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

/* ---- Who reads is slow, or gone ---- */

static char fifo[64];
static _Atomic int reader = -1;
static _Atomic size_t lines_read, told_lost, bytes_read;

/* Counts lines, and adds up what they say of others that were dropped. */
static void
take_line(const char *line)
{
	const char *at = strstr(line, "] ");

	if (at != NULL && strstr(at, "lines of the log were dropped") != NULL)
		told_lost += strtoul(at + 2, NULL, 10);
	else
		lines_read++;
}

static void *
read_all(void *arg)
{
	static char line[LOG_LINE_MAX + 1];
	struct pollfd p = {.fd = reader, .events = POLLIN};
	size_t len = 0;
	ssize_t n;
	char in[4096];

	for (;;) {
		n = read(reader, in, sizeof(in));
		if (n == 0)
			break;
		if (n < 0) {
			(void)poll(&p, 1, -1);
			continue;
		}
		bytes_read += (size_t)n;
		for (ssize_t i = 0; i < n; i++) {
			if (in[i] == '\n') {
				line[len] = '\0';
				take_line(line);
				len = 0;
			} else if (len < LOG_LINE_MAX) {
				line[len++] = in[i];
			}
		}
	}
	return arg;
}

/* The descriptor that the log has of the fifo; it shall not wait in write(). */
static void
do_not_wait(void)
{
	char name[64], to[128];
	ssize_t n;

	for (int fd = 0; fd < 64; fd++) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		if (fd == reader || (n = readlink(name, to, sizeof(to) - 1)) < 0)
			continue;
		to[n] = '\0';
		if (strcmp(to, fifo) == 0)
			CHECK_INT(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
	}
}

/* Each line is read, or counted as dropped, and the log says so itself. */
static void
test_slow_reader(void)
{
	char text[1000];
	size_t written = 0;
	uint64_t dropped = log_dropped();
	pthread_t thread;

	snprintf(fifo, sizeof(fifo), "%s.fifo", path);
	CHECK_INT(mkfifo(fifo, 0600), 0);
	reader = open(fifo, O_RDONLY | O_NONBLOCK);
	CHECK(reader >= 0);
	CHECK_INT(log_open(fifo), 0);
	do_not_wait();
	CHECK_INT(log_start(), 0);
	memset(text, 'x', sizeof(text));
	while (log_dropped() == dropped && written < 10 * LIMIT_LOG_BUFFER / sizeof(text)) {
		log_text(written % 7 == 0 ? LOG_WARNING : LOG_NOTICE, now_us(), text, sizeof(text));
		written++;
	}
	CHECK(log_dropped() > dropped);
	for (int i = 0; i < 10; i++, written++)
		log_line(LOG_ERROR, "%.999s", text);
	CHECK_INT(pthread_create(&thread, NULL, read_all, NULL), 0);
	/* Once the first batch is out lines are taken again. */
	for (int i = 0; i < 20000 && bytes_read < LIMIT_LOG_BUFFER; i++)
		(void)usleep(1000);
	CHECK(bytes_read >= LIMIT_LOG_BUFFER);
	for (int i = 0; i < 10; i++, written++)
		log_line(LOG_NOTICE, "%s", "small");
	log_stop();
	CHECK_INT(log_open(path), 0); /* nobody has the fifo open for writing any more */
	pthread_join(thread, NULL);
	CHECK_INT(lines_read + (log_dropped() - dropped), written);
	CHECK_INT(told_lost, log_dropped() - dropped);
	close(reader);
}

/* Nobody reads: what cannot be written is counted, and nobody waits for it. */
static void
test_no_reader(void)
{
	uint64_t dropped = log_dropped();

	reader = open(fifo, O_RDONLY | O_NONBLOCK);
	CHECK_INT(log_open(fifo), 0);
	close(reader);
	CHECK_INT(log_start(), 0);
	log_line(LOG_ERROR, "into nothing");
	log_stop();
	CHECK_INT(log_dropped(), dropped + 1);
	CHECK_INT(log_open(path), 0);
	CHECK_INT(unlink(fifo), 0);
}

/* What the file system refuses is counted by lines, and told once it takes them again. */
static void
test_no_room(void)
{
	uint64_t dropped = log_dropped();

	CHECK_INT(log_open("/dev/full"), 0);
	CHECK_INT(log_start(), 0);
	for (int i = 0; i < 5; i++)
		log_line(LOG_NOTICE, "no room for line %d", i);
	log_stop();
	CHECK_INT(log_dropped(), dropped + 5);
	CHECK_INT(log_open(path), 0);
	CHECK_INT(log_start(), 0);
	log_line(LOG_NOTICE, "room again");
	log_stop();
	CHECK(strstr(read_log(), "room again") != NULL);
	CHECK(strstr(read_log(), " 5 lines of the log were dropped") != NULL);
}

/* ---- What a line may hold ---- */

static void
test_lines(void)
{
	static char text[2 * LOG_LINE_MAX], longest[PATH_MAX + 1];
	const char *at;

	memset(text, 'y', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_line(LOG_NOTICE, "begin%send", text);
	at = strstr(read_log(), "[notice] beginy");
	if (CHECK(at != NULL))
		CHECK(strcspn(at, "\n") < LOG_LINE_MAX && strcspn(at, "\n") > LOG_LINE_MAX - 50);
	log_text(LOG_NOTICE, now_us(), text, sizeof(text) - 1);
	at = strstr(read_log(), "[notice] yyy");
	if (CHECK(at != NULL))
		CHECK(strcspn(at, "\n") < LOG_LINE_MAX && strcspn(at, "\n") > LOG_LINE_MAX - 50);
	/* Whole characters, wherever the cut falls. */
	for (size_t shift = 0; shift < 4; shift++) {
		size_t n = (size_t)snprintf(text, sizeof(text), shift % 2 ? "::" : ":");

		for (size_t i = n; i + 1 < sizeof(text); i++)
			text[i] = "\xc3\xa9"[(i - n) % 2];
		if (shift < 2)
			log_line(LOG_NOTICE, "%s", text);
		else
			log_text(LOG_NOTICE, now_us(), text, sizeof(text) - 1);
		at = strrchr(read_log(), ':');
		if (CHECK(at != NULL))
			CHECK(jread_utf8_ok(at, strcspn(at, "\n")));
	}
	log_text(LOG_DEBUG, now_us(), "not this", 8);
	CHECK(strstr(read_log(), "not this") == NULL);
	log_line(LOG_NOTICE, "%s", "");
	log_line(LOG_NOTICE, "delete \x7f");
	CHECK(strstr(read_log(), "delete ?") != NULL);
	log_stop(); /* that was not begun */
	memset(longest, '/', PATH_MAX);
	memcpy(longest + PATH_MAX - 8, "tmp/none", 8);
	CHECK_INT(log_open(longest), ERR_IO);
}

/* What is asked for again is made again: the log begins without its memory, or loses a batch, and goes on. */
static void
test_no_memory(void)
{
#ifdef MALLOCS_OWN
	count_buffers = 1;
	for (int had = 0; had < 2; had++) {
		no_buffers = had;
		CHECK_INT(log_start(), ERR_NOMEM);
		log_line(LOG_NOTICE, "without a thread %d", had);
	}
	CHECK(strstr(read_log(), "without a thread 1") != NULL);
	count_buffers = 0;
	interrupted = 400;
	CHECK_INT(log_start(), 0);
	log_line(LOG_ERROR, "one byte after the other");
	log_stop();
	interrupted = 0;
	CHECK(strstr(read_log(), "[error] one byte after the other\n") != NULL);
#endif
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
	(void)signal(SIGPIPE, SIG_IGN);
	CHECK_INT(log_reopen(), 0); /* no file yet: nothing */
	test_levels();
	test_thread();
	test_reopen();
	test_lines();
	test_no_memory();
	test_slow_reader();
	test_no_reader();
	test_no_room();
	test_counters();
	unlink(path);
	return check_done();
}
