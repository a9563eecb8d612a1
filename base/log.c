/*
 * log.c: lines of the log, and the thread that writes them.
 *
 * A line is put together by who has something to say and appended to a buffer; a thread of the log's own takes the whole
 * buffer and writes it.  So nobody waits for a slow disk, or for a pipe that nobody reads: a full buffer drops lines and
 * counts them.  Waking the thread costs a system call, so an ordinary line wakes it only from idleness, and the thread
 * then waits for GATHER_MS for others to come.
 *
 * 1. The two buffers: who has the lock appends to one; the thread alone writes from the other.
 * 2. Before log_start() and after log_stop() lines are written at once.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/utf8.h"

#define GATHER_MS 20
#define STOP_S 2
#define KEEP ((size_t)64 << 10) /* a buffer that has held more gives its memory back, later */

static const char *const names[] = {"debug", "info", "notice", "warning", "error"};

static _Atomic int threshold = LOG_NOTICE;
static _Atomic uint64_t dropped;
static int out_fd = STDERR_FILENO; /* set once; a reopened file takes its number */
static char out_path[PATH_MAX];

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake, done;
	pthread_t thread;
	int running, stopping, urgent, ended;
	char *fill, *write; /* LIMIT_LOG_BUFFER bytes each */
	size_t len;
	uint64_t told; /* of those that were dropped */
} w = {.lock = PTHREAD_MUTEX_INITIALIZER};

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

int
log_level_of(const char *name, enum log_level *levelp)
{
	static const struct {
		const char *name;
		enum log_level level;
	} all[] = {{"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"notice", LOG_NOTICE}, {"warning", LOG_WARNING},
	    {"warn", LOG_WARNING}, {"error", LOG_ERROR}, {"err", LOG_ERROR}, {"critical", LOG_ERROR},
	    {"crit", LOG_ERROR}, {"alert", LOG_ERROR}, {"emergency", LOG_ERROR}, {"emerg", LOG_ERROR},
	    {"none", LOG_NONE}};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcasecmp(name, all[i].name) == 0) {
			*levelp = all[i].level;
			return 0;
		}
	}
	return ERR_BAD_REQUEST;
}

int
log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

uint64_t
log_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

/* ---- A line ---- */

static void
put_digits(char *out, unsigned long n, int digits)
{
	while (digits-- > 0) {
		out[digits] = (char)('0' + n % 10);
		n /= 10;
	}
}

/* The date is made once a second. */
static size_t
put_head(char *line, enum log_level level, struct timespec now)
{
	static _Thread_local time_t second;
	static _Thread_local char date[24];
	static _Thread_local size_t date_len;
	struct tm tm;
	size_t n, len = strlen(names[level]);

	if (now.tv_sec != second || date_len == 0) {
		gmtime_r(&now.tv_sec, &tm);
		date_len = strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S.", &tm);
		second = now.tv_sec;
	}
	n = date_len;
	memcpy(line, date, sizeof(date));
	put_digits(line + n, (unsigned long)now.tv_nsec / 1000, 6);
	n += 6;
	memcpy(line + n, "Z [", 3);
	memcpy(line + n + 3, names[level], len);
	n += 3 + len;
	memcpy(line + n, "] ", 2);
	return n + 2;
}

static struct timespec
real_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

/* A second clock would cost as much as the rest of the line: how far the two are apart is asked once a second. */
static struct timespec
real_time_of(uint64_t at_us)
{
	static _Thread_local uint64_t asked_us, apart_us;
	struct timespec now;

	if (asked_us == 0 || at_us - asked_us > 1000000) {
		now = real_time();
		apart_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - at_us;
		asked_us = at_us;
	}
	at_us += apart_us;
	now.tv_sec = (time_t)(at_us / 1000000);
	now.tv_nsec = (long)(at_us % 1000000) * 1000;
	return now;
}

static void
drop(uint64_t lines)
{
	atomic_fetch_add_explicit(&dropped, lines, memory_order_relaxed);
}

static uint64_t
count_lines(const char *p, size_t n)
{
	uint64_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += p[i] == '\n';
	return lines;
}

/* Returns how many lines could not be written whole. */
static uint64_t
write_all(const char *p, size_t n)
{
	struct pollfd pfd = {.fd = out_fd, .events = POLLOUT};
	ssize_t rc;

	while (n > 0) {
		rc = write(out_fd, p, n);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0 && errno == EAGAIN && (poll(&pfd, 1, -1) >= 0 || errno == EINTR))
			continue;
		if (rc < 0)
			return count_lines(p, n);
		p += rc;
		n -= (size_t)rc;
	}
	return 0;
}

static void
emit(enum log_level level, const char *line, size_t n)
{
	int saved = errno;

	pthread_mutex_lock(&w.lock);
	if (!w.running) {
		/* There is nobody to tell that the log cannot be written. */
		(void)write_all(line, n);
	} else if (w.len + n > LIMIT_LOG_BUFFER) {
		drop(1);
	} else {
		int first = w.len == 0, half = w.len < LIMIT_LOG_BUFFER / 2;

		memcpy(w.fill + w.len, line, n);
		w.len += n;
		if (level >= LOG_WARNING || (half && w.len >= LIMIT_LOG_BUFFER / 2))
			w.urgent = 1;
		if (first || w.urgent)
			pthread_cond_signal(&w.wake);
	}
	pthread_mutex_unlock(&w.lock);
	errno = saved;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	size_t n, room, from;
	int saved = errno;
	va_list ap;
	int more;

	if (!log_enabled(level))
		return;
	n = from = put_head(line, level, real_time());
	room = sizeof(line) - 1 - n;
	va_start(ap, fmt);
	errno = saved;
	more = vsnprintf(line + n, room, fmt, ap);
	va_end(ap);
	if (more > 0)
		n += (size_t)more < room ? (size_t)more : utf8_whole(line + n, room - 1);
	for (size_t i = from; i < n; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
			line[i] = '?';
	}
	line[n++] = '\n';
	emit(level, line, n);
	errno = saved;
}

void
log_text(enum log_level level, uint64_t at_us, const char *text, size_t len)
{
	char line[LOG_LINE_MAX];
	size_t n;

	if (!log_enabled(level))
		return;
	n = put_head(line, level, real_time_of(at_us));
	if (len > sizeof(line) - 1 - n)
		len = utf8_whole(text, sizeof(line) - 1 - n);
	memcpy(line + n, text, len);
	n += len;
	line[n++] = '\n';
	emit(level, line, n);
}

/* ---- The file ---- */

int
log_open(const char *path)
{
	size_t len = strlen(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);

	if (fd < 0) {
		log_line(LOG_ERROR, "cannot open the log %s: %s", path, strerror(errno));
		return ERR_IO;
	}
	assert(len < sizeof(out_path)); /* no longer name can be opened */
	if (path != out_path)
		memcpy(out_path, path, len + 1);
	/* One number for good: the thread may be writing to it just now. */
	if (out_fd == STDERR_FILENO) {
		pthread_mutex_lock(&w.lock);
		out_fd = fd;
		pthread_mutex_unlock(&w.lock);
	} else {
		dup3(fd, out_fd, O_CLOEXEC);
		close(fd);
	}
	return 0;
}

int
log_reopen(void)
{
	return out_path[0] != '\0' ? log_open(out_path) : 0;
}

/* ---- The thread ---- */

static void
write_batch(size_t n, uint64_t lost, int *touched)
{
	char line[LOG_LINE_MAX];
	size_t len;

	drop(write_all(w.write, n));
	if (lost > 0) {
		len = put_head(line, LOG_WARNING, real_time());
		len += (size_t)snprintf(line + len, sizeof(line) - len,
		    "%llu lines of the log were dropped: what takes them is too slow, or fails\n",
		    (unsigned long long)lost);
		(void)write_all(line, len);
	}
	/* Once there is less to write: the pages that were touched would stay with the process. */
	if (n > KEEP)
		*touched = 2;
	else if (*touched > 0) {
		(*touched)--;
		free(w.write);
		w.write = malloc(LIMIT_LOG_BUFFER);
	}
}

static void
gather(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (!w.urgent && !w.stopping && pthread_cond_timedwait(&w.wake, &w.lock, &until) == 0) {
	}
}

static void *
writer(void *arg)
{
	int touched = 0; /* buffers that have held much */

	pthread_mutex_lock(&w.lock);
	for (;;) {
		uint64_t lost;
		size_t n;
		char *full;

		while (w.len == 0 && !w.stopping)
			pthread_cond_wait(&w.wake, &w.lock);
		if (w.len == 0)
			break;
		gather();
		if (w.write == NULL) {
			/* There was no memory for the other buffer: this batch is lost, the next may not be. */
			drop(count_lines(w.fill, w.len));
			w.len = 0;
			w.write = malloc(LIMIT_LOG_BUFFER);
			continue;
		}
		full = w.fill;
		w.fill = w.write;
		w.write = full;
		n = w.len;
		w.len = 0;
		w.urgent = 0;
		lost = log_dropped() - w.told;
		w.told += lost;
		pthread_mutex_unlock(&w.lock);
		write_batch(n, lost, &touched);
		pthread_mutex_lock(&w.lock);
	}
	w.ended = 1;
	pthread_cond_signal(&w.done);
	pthread_mutex_unlock(&w.lock);
	return arg;
}

static void
drop_buffers(void)
{
	free(w.fill);
	free(w.write);
	w.fill = w.write = NULL;
}

int
log_start(void)
{
	pthread_condattr_t clock;
	pthread_attr_t attr;
	int rc;

	w.fill = malloc(LIMIT_LOG_BUFFER);
	w.write = malloc(LIMIT_LOG_BUFFER);
	if (w.fill == NULL || w.write == NULL) {
		drop_buffers();
		return ERR_NOMEM;
	}
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&w.wake, &clock);
	pthread_cond_init(&w.done, &clock);
	pthread_condattr_destroy(&clock);
	w.stopping = w.ended = 0;
	if ((rc = pthread_attr_init(&attr)) == 0) {
		pthread_attr_setstacksize(&attr, 65536);
		rc = pthread_create(&w.thread, &attr, writer, NULL);
		pthread_attr_destroy(&attr);
	}
	if (rc != 0) {
		drop_buffers();
		return ERR_NOMEM;
	}
	pthread_mutex_lock(&w.lock);
	w.running = 1;
	pthread_mutex_unlock(&w.lock);
	return 0;
}

void
log_stop(void)
{
	struct timespec until;
	int ended;

	pthread_mutex_lock(&w.lock);
	if (!w.running) {
		pthread_mutex_unlock(&w.lock);
		return;
	}
	w.stopping = 1;
	pthread_cond_signal(&w.wake);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_S;
	while (!w.ended && pthread_cond_timedwait(&w.done, &w.lock, &until) == 0) {
	}
	ended = w.ended;
	if (ended)
		w.running = 0;
	pthread_mutex_unlock(&w.lock);
	/* A thread that still waits for who reads keeps its buffers. */
	if (!ended)
		return;
	pthread_join(w.thread, NULL);
	drop_buffers();
}
