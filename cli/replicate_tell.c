/* replicate_tell.c: what `divan replicate` tells: how far it is, and what was done. */
#include "replicate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli.h"
#include "server.h"

#define NOTE_SHOWN 60

/* ---- What servers say ---- */

int
replicate_from_job(struct jstr job, struct copied *c)
{
	struct jstr info;

	if (!server_member(job, "info", &info) || !server_number(info, "revisions_checked", &c->checked))
		return 0;
	(void)server_number(info, "missing_revisions_found", &c->missing);
	(void)server_number(info, "docs_read", &c->read);
	(void)server_number(info, "docs_written", &c->written);
	(void)server_number(info, "doc_write_failures", &c->refused);
	(void)server_number(info, "bytes_written", &c->bytes);
	c->has_pending = server_number(info, "changes_pending", &c->pending);
	return 1;
}

/* The log's newest entry, which is an earlier run's where this one found nothing to do. */
void
replicate_from_answer(struct jstr answer, struct copied *c)
{
	struct jstr history, newest, no_changes;
	struct jread j;

	(void)server_number(answer, "bytes_written", &c->bytes);
	if (server_member(answer, "no_changes", &no_changes) && jstr_is(&no_changes, "true"))
		return;
	if (!server_member(answer, "history", &history))
		return;
	jread_init(&j, history.s, history.len);
	if (jread_array_begin(&j) != 0 || jread_array_next(&j) != 0 || jread_skip(&j, &newest) != 0)
		return;
	(void)server_number(newest, "missing_checked", &c->checked);
	(void)server_number(newest, "missing_found", &c->missing);
	(void)server_number(newest, "docs_read", &c->read);
	(void)server_number(newest, "docs_written", &c->written);
	(void)server_number(newest, "doc_write_failures", &c->refused);
}

/* ---- Numbers for people ---- */

/* With commas: 12,345. */
static const char *
number(uint64_t n, char out[32])
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	char *p = out;

	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return out;
}

static const char *
size(uint64_t bytes, char out[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double n = (double)bytes;
	size_t unit = 0;

	for (; n >= 1024 && unit < 4; unit++)
		n /= 1024;
	(void)snprintf(out, 32, unit == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[unit]);
	return out;
}

static const char *
duration(double seconds, char out[32])
{
	unsigned long s = (unsigned long)(seconds + 0.5);

	if (s >= 3600)
		(void)snprintf(out, 32, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	else
		(void)snprintf(out, 32, "%lu:%02lu", s / 60, s % 60);
	return out;
}

uint64_t
replicate_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* ---- While it runs ---- */

void
replicate_progress_init(struct progress *p, int quiet)
{
	*p = (struct progress){.active = !quiet && isatty(STDERR_FILENO)};
	p->start_ms = p->last_ms = replicate_now_ms();
}

/* Half of it is of the last seconds, so that it follows, and does not jump. */
static void
measure(struct progress *p, const struct copied *c)
{
	uint64_t now = replicate_now_ms();
	double seconds = (double)(now - p->last_ms) / 1000;

	if (seconds < 0.25 || c->checked < p->last_checked)
		return;
	p->rate += ((double)(c->checked - p->last_checked) / seconds - p->rate) * (p->rate > 0 ? 0.25 : 1);
	p->last_ms = now;
	p->last_checked = c->checked;
}

void
replicate_progress_show(struct progress *p, const struct copied *c, const char *note)
{
	char line[160], a[32], b[32];
	int n;

	if (!p->active)
		return;
	measure(p, c);
	n = snprintf(line, sizeof(line), "%s documents", number(c->written, a));
	if (c->bytes > 0)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s", size(c->bytes, a));
	n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s changes read", number(c->checked, a));
	if (c->has_pending)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " of about %s", number(c->checked + c->pending, b));
	if (p->rate >= 1)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s/s", number((uint64_t)p->rate, a));
	if (p->rate >= 1 && c->has_pending && c->pending > 0)
		n += snprintf(
		    line + n, sizeof(line) - (size_t)n, ", %s left", duration((double)c->pending / p->rate, a));
	fprintf(stderr, "\r\x1b[K%s%s", line, note[0] != '\0' ? "; " : "");
	cli_print(stderr, note, NOTE_SHOWN);
	fflush(stderr);
	p->shown = 1;
}

void
replicate_progress_clear(struct progress *p)
{
	if (p->shown)
		fputs("\r\x1b[K", stderr);
	fflush(stderr);
	p->shown = 0;
}

/* ---- At the end ---- */

static uint64_t
there_already(const struct copied *c)
{
	return c->checked > c->missing ? c->checked - c->missing : 0;
}

void
replicate_print(const struct copied *c, const char *source, const char *target, double seconds)
{
	char a[32], b[32], d[32];

	printf("%s to %s: %s written, %s there already, %s refused", source, target, number(c->written, a),
	    number(there_already(c), b), number(c->refused, d));
	if (c->bytes > 0)
		printf("; %s", size(c->bytes, a));
	printf(" in %.1f s\n", seconds);
	fflush(stdout);
}

void
replicate_print_json(const struct copied *c, const char *state, const char *id, double seconds, const char *reason)
{
	struct buf b;

	buf_init(&b, 65536);
	buf_printf(&b, "{\"state\":\"%s\",\"id\":", state);
	buf_put_json(&b, id, strlen(id));
	buf_printf(&b, ",\"written\":%llu,\"skipped\":%llu,\"refused\":%llu,\"read\":%llu,\"checked\":%llu",
	    (unsigned long long)c->written, (unsigned long long)there_already(c), (unsigned long long)c->refused,
	    (unsigned long long)c->read, (unsigned long long)c->checked);
	/* A short run is over before it was watched. */
	if (c->bytes > 0)
		buf_printf(&b, ",\"bytes\":%llu", (unsigned long long)c->bytes);
	buf_printf(&b, ",\"seconds\":%.3f,\"reason\":", seconds);
	if (reason[0] != '\0')
		buf_put_json(&b, reason, strlen(reason));
	else
		buf_puts(&b, "null");
	buf_puts(&b, "}\n");
	if (buf_failed(&b) == 0)
		(void)fwrite(b.data, 1, b.len, stdout);
	buf_release(&b);
	fflush(stdout);
}
