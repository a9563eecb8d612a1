/*
 * multipart.c: multipart bodies taken apart.
 *
 * The body comes in pieces that are cut anywhere.  What can't be decided yet (the beginning of a
 * delimiter, incomplete headers) is held over to the next piece:
 *
 *   PREAMBLE --delimiter--> BOUNDARY --CRLF--> HEADERS --empty line--> DATA --delimiter--> BOUNDARY
 *                              |
 *                              +--"--"--> EPILOGUE
 *
 * A delimiter is CRLF "--" boundary.  The CRLF belongs to it, so one is held at the start: the
 * first delimiter may open the body.  What stands before the first and behind the last is passed over, but not
 * without end; nor are the headers of a part.
 */
#include "base/multipart.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"

#define HEADERS_PER_PART 32u
#define HOLD_MAX ((size_t)2 << 20)
#define OUTSIDE_MAX 65536u /* bytes before the first delimiter, and behind the last */

enum state { PREAMBLE, BOUNDARY, HEADERS, DATA, EPILOGUE };

struct multipart {
	struct multipart_sink sink;
	enum state state;
	int bad;         /* the error that ended it */
	struct buf hold; /* bytes that are not decided yet */
	size_t outside;  /* bytes passed over so far: preamble and epilogue */
	size_t dlen;     /* of the delimiter */
	char delimiter[MULTIPART_BOUNDARY + 4];
};

/* ---- Headers ---- */

static int
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct jstr
trim(struct jstr s)
{
	while (s.len > 0 && is_space(s.s[0])) {
		s.s++;
		s.len--;
	}
	while (s.len > 0 && is_space(s.s[s.len - 1]))
		s.len--;
	return s;
}

/* Cut ${s} at the first ${c} outside quotes: what stands before it; *restp is what stands behind. */
static struct jstr
cut(struct jstr s, char c, struct jstr *restp)
{
	struct jstr head = s;
	int quoted = 0;
	size_t i;

	restp->s = s.s + s.len;
	restp->len = 0;
	for (i = 0; i < s.len; i++) {
		if (s.s[i] == '\\' && quoted)
			i++;
		else if (s.s[i] == '"')
			quoted = !quoted;
		else if (s.s[i] == c && !quoted) {
			head.len = i;
			restp->s = s.s + i + 1;
			restp->len = s.len - i - 1;
			break;
		}
	}
	return head;
}

static int
word_is(struct jstr s, const char *word)
{
	size_t len = strlen(word);

	return s.len == len && strncasecmp(s.s, word, len) == 0;
}

int
multipart_is(struct jstr type, const char *kind)
{
	struct jstr rest;

	if (type.s == NULL)
		return 0;
	return word_is(trim(cut(type, ';', &rest)), kind);
}

static int
unquote(struct jstr v, struct arena *a, struct jstr *outp)
{
	char *text;
	size_t i, n = 0;

	*outp = v;
	if (v.len < 2 || v.s[0] != '"' || v.s[v.len - 1] != '"')
		return 0;
	v.s++;
	v.len -= 2;
	text = arena_alloc(a, v.len + 1);
	if (text == NULL)
		return ERR_NOMEM;
	for (i = 0; i < v.len; i++) {
		if (v.s[i] == '\\' && i + 1 < v.len)
			i++;
		text[n++] = v.s[i];
	}
	text[n] = '\0';
	outp->s = text;
	outp->len = n;
	return 0;
}

int
multipart_param(struct jstr header, const char *name, struct arena *a, struct jstr *outp)
{
	struct jstr rest, item, key, value;

	if (header.s == NULL)
		return ERR_MISSING;
	cut(header, ';', &rest);
	while (rest.len > 0) {
		item = cut(rest, ';', &rest);
		key = trim(cut(item, '=', &value));
		if (word_is(key, name))
			return unquote(trim(value), a, outp);
	}
	return ERR_MISSING;
}

/* 0 if one of the parameters is a weight of zero. */
static int
has_weight(struct jstr params)
{
	struct jstr item, key, value;
	size_t i;

	while (params.len > 0) {
		item = cut(params, ';', &params);
		key = trim(cut(item, '=', &value));
		value = trim(value);
		if (!word_is(key, "q"))
			continue;
		for (i = 0; i < value.len; i++)
			if (value.s[i] >= '1' && value.s[i] <= '9')
				return 1;
		return 0;
	}
	return 1;
}

int
multipart_accepted(struct jstr accept, const char *type)
{
	size_t major = (size_t)(strchr(type, '/') - type) + 1;
	struct jstr range, params;

	if (accept.s == NULL)
		return 1;
	while (accept.len > 0) {
		range = trim(cut(cut(accept, ',', &accept), ';', &params));
		if (!word_is(range, type) && !word_is(range, "*/*") && !word_is(range, "*") &&
		    !(range.len == major + 1 && range.s[major] == '*' && strncasecmp(range.s, type, major) == 0))
			continue;
		if (has_weight(params))
			return 1;
	}
	return 0;
}

struct jstr
multipart_find(const struct multipart_header *headers, size_t n, const char *name)
{
	struct jstr none = {NULL, 0};
	size_t i;

	for (i = 0; i < n; i++)
		if (word_is(headers[i].name, name))
			return headers[i].value;
	return none;
}

/* ---- Parsing ---- */

int
multipart_new(struct jstr boundary, const struct multipart_sink *sink, struct multipart **mp)
{
	struct multipart *m;
	int err;

	if (boundary.len == 0 || boundary.len > MULTIPART_BOUNDARY)
		return ERR_BAD_REQUEST;
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return ERR_NOMEM;
	m->sink = *sink;
	m->state = PREAMBLE;
	memcpy(m->delimiter, "\r\n--", 4);
	memcpy(m->delimiter + 4, boundary.s, boundary.len);
	m->dlen = boundary.len + 4;
	buf_init(&m->hold, HOLD_MAX);
	err = buf_put(&m->hold, "\r\n", 2);
	if (err != 0) {
		multipart_free(m);
		return err;
	}
	*mp = m;
	return 0;
}

void
multipart_free(struct multipart *m)
{
	if (m == NULL)
		return;
	buf_release(&m->hold);
	free(m);
}

int
multipart_done(const struct multipart *m)
{
	return m->state == EPILOGUE;
}

/* The lines of one part's headers, without the empty one. */
static int
take_headers(struct multipart *m, const char *p, const char *end)
{
	struct multipart_header list[HEADERS_PER_PART];
	struct jstr line;
	const char *eol;
	size_t n = 0;

	while (p < end) {
		eol = memmem(p, (size_t)(end - p), "\r\n", 2);
		line.s = p;
		line.len = (size_t)((eol != NULL ? eol : end) - p);
		p = eol != NULL ? eol + 2 : end;
		if (line.len == 0)
			continue;
		if (n == HEADERS_PER_PART)
			return ERR_BAD_REQUEST;
		list[n].name = trim(cut(line, ':', &list[n].value));
		list[n].value = trim(list[n].value);
		n++;
	}
	return m->sink.begin(m->sink.cookie, list, n);
}

/*
 * Each step takes what it can decide of the ${len} bytes at ${p}: *${usedp} 0 and no change of
 * state mean that more is needed.
 */

static int
pass_over(struct multipart *m, size_t n)
{
	m->outside += n;
	return m->outside > OUTSIDE_MAX ? ERR_BAD_REQUEST : 0;
}

/* How many of the ${len} bytes at ${p}, which hold no delimiter, are not the beginning of one either. */
static size_t
plain_bytes(const struct multipart *m, const char *p, size_t len)
{
	size_t from = len >= m->dlen ? len - m->dlen + 1 : 0;
	const char *cr = memchr(p + from, '\r', len - from);

	return cr != NULL ? (size_t)(cr - p) : len;
}

static int
step_data(struct multipart *m, const char *p, size_t len, size_t *usedp)
{
	const char *at = memmem(p, len, m->delimiter, m->dlen);
	size_t n = at != NULL ? (size_t)(at - p) : plain_bytes(m, p, len);
	int err = 0;

	if (n > 0)
		err = m->state == DATA ? m->sink.data(m->sink.cookie, p, n) : pass_over(m, n);
	*usedp = n;
	if (err != 0 || at == NULL)
		return err;
	*usedp += m->dlen;
	if (m->state == DATA)
		err = m->sink.end(m->sink.cookie);
	m->state = BOUNDARY;
	return err;
}

static int
step_boundary(struct multipart *m, const char *p, size_t len, size_t *usedp)
{
	size_t i = 0;

	if (len >= 2 && p[0] == '-' && p[1] == '-') {
		m->state = EPILOGUE;
		*usedp = 2;
		return 0;
	}
	while (i < len && (p[i] == ' ' || p[i] == '\t'))
		i++;
	if (len - i < 2)
		return len > MULTIPART_HEADERS ? ERR_BAD_REQUEST : 0;
	if (p[i] != '\r' || p[i + 1] != '\n')
		return ERR_BAD_REQUEST;
	/* The CRLF stays: with the next it is the empty line of a part without headers. */
	*usedp = i;
	m->state = HEADERS;
	return 0;
}

static int
step_headers(struct multipart *m, const char *p, size_t len, size_t *usedp)
{
	const char *at = memmem(p, len, "\r\n\r\n", 4);

	if ((at != NULL ? (size_t)(at - p) : len) > MULTIPART_HEADERS)
		return ERR_BAD_REQUEST;
	if (at == NULL)
		return 0;
	*usedp = (size_t)(at - p) + 4;
	m->state = DATA;
	return take_headers(m, p, at);
}

/* As many steps as the ${len} bytes at ${p} allow; *${usedp} of them are done with. */
static int
steps(struct multipart *m, const char *p, size_t len, size_t *usedp)
{
	enum state before;
	size_t used;
	int err = 0;

	*usedp = 0;
	do {
		before = m->state;
		used = 0;
		switch (m->state) {
		case PREAMBLE:
		case DATA:
			err = step_data(m, p, len, &used);
			break;
		case BOUNDARY:
			err = step_boundary(m, p, len, &used);
			break;
		case HEADERS:
			err = step_headers(m, p, len, &used);
			break;
		case EPILOGUE:
			used = len;
			err = pass_over(m, len);
			break;
		}
		p += used;
		len -= used;
		*usedp += used;
	} while (err == 0 && len > 0 && (used > 0 || m->state != before));
	return err;
}

int
multipart_feed(struct multipart *m, const char *data, size_t len)
{
	size_t used;
	int err;

	if (m->bad != 0)
		return m->bad;
	if (m->hold.len == 0) {
		err = steps(m, data, len, &used);
		if (err == 0 && used < len)
			err = buf_put(&m->hold, data + used, len - used);
	} else {
		err = buf_put(&m->hold, data, len);
		if (err == 0)
			err = steps(m, m->hold.data, m->hold.len, &used);
		if (err == 0) {
			m->hold.len -= used;
			memmove(m->hold.data, m->hold.data + used, m->hold.len);
		}
	}
	m->bad = err;
	return err;
}
