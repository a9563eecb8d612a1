#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_LEN 2048

static _Atomic int threshold = LOG_NOTICE;

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

int
log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static size_t
put_head(char *line, size_t size, enum log_level level)
{
	static const char *const names[] = {"debug", "info", "notice", "warning", "error"};
	struct timespec now;
	struct tm tm;
	size_t n;
	int more;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	more = snprintf(line + n, size - n, ".%06ldZ [%s] ", now.tv_nsec / 1000, names[level]);
	return more > 0 ? n + (size_t)more : n;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_LEN];
	size_t n, room, from;
	int saved = errno;
	va_list ap;
	int more;

	if (!log_enabled(level))
		return;
	n = from = put_head(line, sizeof(line), level);
	room = sizeof(line) - 1 - n;
	va_start(ap, fmt);
	errno = saved;
	more = vsnprintf(line + n, room, fmt, ap);
	va_end(ap);
	if (more > 0)
		n += (size_t)more < room ? (size_t)more : room - 1;
	for (size_t i = from; i < n; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
			line[i] = '?';
	}
	line[n++] = '\n';
	/* There is nobody to tell that the log cannot be written. */
	if (write(STDERR_FILENO, line, n) < 0)
		errno = saved;
	errno = saved;
}
