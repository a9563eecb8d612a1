/*
 * accesslog.c: the line that the log has of a request, and what is counted of it.
 *
 *	TIME [notice] ID PEER USER METHOD TARGET STATUS BYTES MS
 *
 * The line is put together by hand: this runs for every request.  Nothing that a client sends may look like two lines or
 * two fields, so what is no visible ASCII is written as %XX; what may be a password is written as "***": between "://"
 * and '@', and the values of parameters that are called so.
 */
#include "accesslog.h"

#include <string.h>
#include <strings.h>

#include "api.h"
#include "base/counters.h"
#include "base/log.h"

#define TARGET_MAX 1024u

struct line {
	char text[LOG_LINE_MAX - 64];
	size_t n;
};

static void
put(struct line *l, const char *s, size_t len)
{
	if (len > sizeof(l->text) - l->n)
		len = sizeof(l->text) - l->n;
	memcpy(l->text + l->n, s, len);
	l->n += len;
}

static void
put_char(struct line *l, char c)
{
	if (l->n < sizeof(l->text))
		l->text[l->n++] = c;
}

/* How many of the bytes at ${s} are visible ASCII, from the first on. */
static size_t
visible(const char *s, size_t len)
{
	size_t i = 0;

	/* Eight at a time: none is below 0x21 or above 0x7E where no byte's high bit is set by these. */
	for (; len - i >= 8; i += 8) {
		uint64_t v;

		memcpy(&v, s + i, 8);
		if (((v | (v - UINT64_C(0x2121212121212121)) | (v + UINT64_C(0x0101010101010101))) &
			UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	while (i < len && s[i] > 0x20 && s[i] < 0x7F)
		i++;
	return i;
}

/* At most ${max} bytes of the line, and three dots where that is not all. */
static void
put_escaped(struct line *l, const char *s, size_t len, size_t max)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t i = 0, end = l->n + max < sizeof(l->text) - 256 ? l->n + max : sizeof(l->text) - 256;

	while (i < len && l->n < end) {
		size_t run = visible(s + i, len - i < end - l->n ? len - i : end - l->n);

		memcpy(l->text + l->n, s + i, run);
		l->n += run;
		i += run;
		if (i < len && l->n < end) {
			unsigned char c = (unsigned char)s[i++];
			char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};

			put(l, escaped, 3);
		}
	}
	if (i < len)
		put(l, "...", 3);
}

static void
put_number(struct line *l, uint64_t n)
{
	char digits[20];
	size_t i = sizeof(digits);

	if (n < 10) {
		put_char(l, (char)('0' + n));
		return;
	}
	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	put(l, digits + i, sizeof(digits) - i);
}

/* Where the part of a URL begins and ends that may hold a password; 0: there is none. */
static int
find_credentials(const char *s, size_t len, size_t *from, size_t *to)
{
	static const char *const marks[] = {"://", "%3A%2F%2F", "%3a%2f%2f"};
	static const char *const ats[] = {"@", "%40"};
	size_t i, k;

	for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		const char *m = memmem(s, len, marks[i], strlen(marks[i]));

		if (m == NULL)
			continue;
		*from = (size_t)(m - s) + strlen(marks[i]);
		for (k = 0; k < 2; k++) {
			const char *at = memmem(s + *from, len - *from, ats[k], strlen(ats[k]));

			if (at != NULL) {
				*to = (size_t)(at - s);
				return 1;
			}
		}
	}
	return 0;
}

static void
put_safe(struct line *l, const char *s, size_t len, size_t max)
{
	size_t from, to;

	/* What most targets lack is looked for first; a request that could not be read has none. */
	if (len > 0 && (memchr(s, '@', len) != NULL || memchr(s, '%', len) != NULL) &&
	    find_credentials(s, len, &from, &to)) {
		put_escaped(l, s, from, max);
		put(l, "***", 3);
		put_escaped(l, s + to, len - to, max);
	} else {
		put_escaped(l, s, len, max);
	}
}

static int
is_secret(const char *name, size_t len)
{
	static const char *const words[] = {"password", "passwd", "secret", "token", "jwt", "authorization"};
	size_t i, at;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (at = 0; at + strlen(words[i]) <= len; at++)
			if (strncasecmp(name + at, words[i], strlen(words[i])) == 0)
				return 1;
	return 0;
}

/*
 * How much of a parameter that ends at ${stop} is shown before something secret that may go on up to ${amp}, since a password
 * may have a semicolon in it; 0: there is none.
 */
static size_t
before_secret(const char *p, const char *stop, const char *amp)
{
	const char *eq = memchr(p, '=', (size_t)(stop - p));
	size_t from, to;

	if (eq != NULL && is_secret(p, (size_t)(eq - p)))
		return (size_t)(eq - p) + 1;
	if (stop < amp && find_credentials(p, (size_t)(amp - p), &from, &to) && p + from <= stop && p + to > stop)
		return from;
	return 0;
}

static void
put_query(struct line *l, struct jstr q)
{
	const char *p = q.s, *end = q.s + q.len;
	size_t most = l->n + TARGET_MAX;

	while (p < end && l->n < most) {
		const char *stop = api_param_end(p, end), *amp = stop;
		size_t shown;

		while (amp < end && *amp != '&')
			amp++;
		shown = before_secret(p, stop, amp);
		put_char(l, p == q.s ? '?' : p[-1]);
		if (shown > 0) {
			put_escaped(l, p, shown, most - l->n);
			put(l, "***", 3);
			stop = amp;
		} else {
			put_safe(l, p, (size_t)(stop - p), most - l->n);
		}
		p = stop + 1;
	}
}

static void
write_line(const struct http_end *e)
{
	const struct apireq *r = e->note;
	const char *user = r != NULL && r->who.name != NULL ? r->who.name : "-";
	struct line l;

	l.n = 0;
	if (r != NULL && r->request_id.len > 0)
		put(&l, r->request_id.s, r->request_id.len);
	else
		put_char(&l, '-');
	put_char(&l, ' ');
	put(&l, e->peer, strlen(e->peer));
	put_char(&l, ' ');
	put_escaped(&l, user, strlen(user), 128);
	put_char(&l, ' ');
	put(&l, e->method, strlen(e->method));
	put_char(&l, ' ');
	put_safe(&l, e->path.s, e->path.len, TARGET_MAX);
	if (e->query.len > 0)
		put_query(&l, e->query);
	put_char(&l, ' ');
	if (e->status != 0)
		put_number(&l, (uint64_t)e->status);
	else
		put_char(&l, '-');
	put_char(&l, ' ');
	put_number(&l, e->bytes);
	put_char(&l, ' ');
	put_number(&l, e->us / 1000);
	put_char(&l, '.');
	put_number(&l, e->us / 100 % 10);
	if (!e->complete)
		put(&l, " cut", 4);
	log_text(LOG_NOTICE, e->at_us, l.text, l.n);
}

static unsigned
method_counter(const char *method)
{
	static const struct {
		const char *name;
		unsigned counter;
	} all[] = {{"GET", COUNTER_GET}, {"PUT", COUNTER_PUT}, {"POST", COUNTER_POST}, {"HEAD", COUNTER_HEAD},
	    {"DELETE", COUNTER_DELETE}, {"OPTIONS", COUNTER_OPTIONS}, {"COPY", COUNTER_COPY}};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(method, all[i].name) == 0)
			return all[i].counter;
	return COUNTER_OTHER;
}

static void
count(const struct http_end *e)
{
	unsigned bucket = e->us < 2 ? 0 : 63 - (unsigned)__builtin_clzll(e->us);

	counters_add(COUNTER_REQUESTS, 1);
	counters_add(method_counter(e->method), 1);
	if (e->status >= 100 && e->status < 600)
		counters_add(COUNTER_STATUS + (unsigned)e->status - 100, 1);
	if (!e->complete)
		counters_add(COUNTER_ABORTED, 1);
	counters_add(COUNTER_BYTES_OUT, e->bytes);
	counters_add(COUNTER_TIME_US, e->us);
	counters_add(COUNTER_TIMES + (bucket < 40 ? bucket : 39), 1);
}

void
accesslog_ended(const struct http_end *end, void *cookie)
{
	(void)cookie;
	count(end);
	if (log_enabled(LOG_NOTICE))
		write_line(end);
}
