/*
 * framing.c: where an HTTP/1 request's body begins and ends: what its head says of that, and chunked
 * bodies.  Bytes only.
 *
 * h2o takes a body in whole before it says that there is a request.  A body that is to be streamed is therefore
 * kept from it: the names of the headers that tell of a body are overwritten by others of the same length, so that
 * nothing moves.
 */
#include "http_impl.h"

#include <string.h>
#include <strings.h>

#define CHUNK_LINE_MAX 1024u /* bytes of a chunk's size and extensions */
#define TRAILER_MAX 8192u    /* bytes behind the last chunk */
#define LENGTH_DIGITS 18u    /* of a Content-Length, and 15 hexadecimal ones of a chunk's: below 2^63 */
#define CHUNK_DIGITS 15u

/* ---- The head ---- */

enum field {
	FIELD_OTHER,
	FIELD_LENGTH,
	FIELD_ENCODING,
	FIELD_EXPECT,
	FIELD_UPGRADE,
	FIELD_HOST,
	FIELD_CONNECTION,
	FIELD_FOLDED
};

static const struct {
	const char *name, *hidden;
	size_t len;
} fields[] = {
    [FIELD_LENGTH] = {"content-length", "x-divan-length", 14},
    [FIELD_ENCODING] = {"transfer-encoding", "x-divan-encodings", 17},
    [FIELD_EXPECT] = {"expect", "x-wait", 6},
    [FIELD_UPGRADE] = {"upgrade", "x-other", 7},
    [FIELD_HOST] = {"host", "host", 4},
    [FIELD_CONNECTION] = {"connection", "connection", 10},
};

/* A bit for each character of ASCII: what a token is made of, and what the name of a host and its port are. */
static const uint64_t token_chars[2] = {UINT64_C(0x03ff6cfa00000000), UINT64_C(0x57ffffffc7fffffe)};
static const uint64_t host_chars[2] = {UINT64_C(0x2fff6ff200000000), UINT64_C(0x47fffffeaffffffe)};

static int
are_all(const char *s, size_t n, const uint64_t chars[2])
{
	uint64_t ok = 1;
	size_t i;

	for (i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		ok &= chars[c >> 6 & 1] >> (c & 63) & (c < 128);
	}
	return (int)ok;
}

int
server_token_ok(const char *s, size_t n)
{
	return n > 0 && are_all(s, n, token_chars);
}

int
server_host_ok(const char *s, size_t n)
{
	return are_all(s, n, host_chars);
}

static enum field
field_of(const char *line, size_t n)
{
	enum field f = FIELD_OTHER;

	switch (n > 0 ? line[0] | 0x20 : 0) {
	case 'c':
		f = n > 10 && line[10] == ':' ? FIELD_CONNECTION : FIELD_LENGTH;
		break;
	case 't':
		f = FIELD_ENCODING;
		break;
	case 'e':
		f = FIELD_EXPECT;
		break;
	case 'u':
		f = FIELD_UPGRADE;
		break;
	case 'h':
		f = FIELD_HOST;
		break;
	default:
		return n > 0 && (line[0] == ' ' || line[0] == '\t') ? FIELD_FOLDED : FIELD_OTHER;
	}
	if (n > fields[f].len && line[fields[f].len] == ':' && strncasecmp(line, fields[f].name, fields[f].len) == 0)
		return f;
	return FIELD_OTHER;
}

/* The next line, without its end; *pp moves behind it.  0 where there is none; 2: it ends without a CR. */
static int
next_line(const char **pp, const char *end, struct jstr *linep)
{
	int rc = 1;

	const char *p = *pp, *eol = memchr(p, '\n', (size_t)(end - p));

	if (eol == NULL)
		return 0;
	*pp = eol + 1;
	if (eol > p && eol[-1] == '\r')
		eol--;
	else
		rc = 2;
	*linep = (struct jstr){p, (size_t)(eol - p)};
	return rc;
}

static void
trim(struct jstr *v)
{
	while (v->len > 0 && (*v->s == ' ' || *v->s == '\t')) {
		v->s++;
		v->len--;
	}
	while (v->len > 0 && (v->s[v->len - 1] == ' ' || v->s[v->len - 1] == '\t'))
		v->len--;
}

static int
is_text(const struct jstr *v, const char *text)
{
	return v->len == strlen(text) && strncasecmp(v->s, text, v->len) == 0;
}

static uint64_t
length_of(const struct jstr *v)
{
	uint64_t n = 0;
	size_t i;

	if (v->len == 0 || v->len > LENGTH_DIGITS)
		return UINT64_MAX;
	for (i = 0; i < v->len; i++) {
		if (v->s[i] < '0' || v->s[i] > '9')
			return UINT64_MAX;
		n = n * 10 + (uint64_t)(v->s[i] - '0');
	}
	return n;
}

/* Is the token close in the list?  Most say keep-alive, and nothing else. */
static int
has_close(const struct jstr *v)
{
	const char *p = v->s, *end = v->s + v->len;

	if (is_text(v, "keep-alive"))
		return 0;
	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct jstr part = {p, (size_t)((comma != NULL ? comma : end) - p)};

		trim(&part);
		if (is_text(&part, "close"))
			return 1;
		p = comma != NULL ? comma + 1 : end;
	}
	return 0;
}

static void
read_field(struct server_head *h, const struct jstr *line)
{
	enum field f = field_of(line->s, line->len);
	struct jstr v;

	if (f == FIELD_OTHER)
		return;
	if (f == FIELD_FOLDED) {
		h->folded = 1;
		return;
	}
	v = (struct jstr){line->s + fields[f].len + 1, line->len - fields[f].len - 1};
	trim(&v);
	if (f == FIELD_HOST) {
		h->hosts++;
		h->bad |= !server_host_ok(v.s, v.len);
	} else if (f == FIELD_CONNECTION) {
		h->closes |= has_close(&v);
	} else if (f == FIELD_LENGTH) {
		h->framings++;
		h->body_len = length_of(&v);
		h->odd |= h->body_len == UINT64_MAX;
	} else if (f == FIELD_ENCODING) {
		h->framings++;
		h->chunked = 1;
		h->odd |= !is_text(&v, "chunked");
	} else if (f == FIELD_EXPECT) {
		h->expects = 1;
		h->odd |= !is_text(&v, "100-continue");
	}
}

void
server_head_read(const char *head, size_t len, struct server_head *h)
{
	const char *p = head, *end = head + len;
	struct jstr line;
	int first = 1, rc;

	*h = (struct server_head){.len = len, .body_len = UINT64_MAX};
	while ((rc = next_line(&p, end, &line)) != 0) {
		if (line.len == 0 && first)
			continue;
		h->bad |= rc == 2;
		if (line.len == 0)
			break;
		if (first) {
			h->odd = line.len < 8 || memcmp(line.s + line.len - 8, "HTTP/1.1", 8) != 0;
			h->old = h->odd && line.len >= 8 && memcmp(line.s + line.len - 8, "HTTP/1.0", 8) == 0;
		} else {
			read_field(h, &line);
		}
		first = 0;
	}
}

int
server_head_ok(const struct server_head *h)
{
	return h->framings <= 1 && !h->folded && !h->bad && (h->hosts == 1 || (h->hosts == 0 && h->old)) &&
	       !(h->old && h->chunked);
}

int
server_head_framed(const struct server_head *h)
{
	return !h->odd && server_head_ok(h) && h->framings == 1;
}

void
server_head_hide(char *head, size_t len)
{
	const char *p = head, *end = head + len;
	struct jstr line;

	while (next_line(&p, end, &line)) {
		enum field f = field_of(line.s, line.len);

		if (f != FIELD_OTHER && f != FIELD_FOLDED)
			memcpy(head + (line.s - head), fields[f].hidden, fields[f].len);
	}
}

/* ---- Chunks ---- */

enum {
	SIZE,    /* its digits */
	BLANK,   /* behind them, up to an extension */
	EXT,     /* up to the line's end */
	SIZE_LF, /* behind CR */
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER, /* at the beginning of a line */
	TRAILER_LINE,
	TRAILER_LF,
	LAST_LF,
	DONE,
	BAD
};

int
server_chunks_done(const struct server_chunks *c)
{
	return c->state == DONE;
}

int
server_chunks_bad(const struct server_chunks *c)
{
	return c->state == BAD;
}

static int
hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int
is_control(char ch)
{
	return ((unsigned char)ch < ' ' && ch != '\t') || ch == 0x7f;
}

static unsigned
on_size(struct server_chunks *c, char ch)
{
	int digit = hex(ch);

	if (digit >= 0) {
		c->left = c->left * 16 + (uint64_t)digit;
		return ++c->digits <= CHUNK_DIGITS ? SIZE : BAD;
	}
	if (c->digits == 0)
		return BAD;
	if (ch == '\r')
		return SIZE_LF;
	return ch == ';' ? EXT : ch == ' ' || ch == '\t' ? BLANK : BAD;
}

/* The state behind one byte of what is no data. */
static unsigned
step(struct server_chunks *c, char ch)
{
	switch (c->state) {
	case SIZE:
		return on_size(c, ch);
	case BLANK:
		return ch == '\r' ? SIZE_LF : ch == ';' ? EXT : ch == ' ' || ch == '\t' ? BLANK : BAD;
	case EXT:
		return ch == '\r' ? SIZE_LF : is_control(ch) ? BAD : EXT;
	case SIZE_LF:
		c->line = 0;
		c->digits = 0;
		return ch != '\n' ? BAD : c->left > 0 ? DATA : TRAILER;
	case DATA_CR:
		return ch == '\r' ? DATA_LF : BAD;
	case DATA_LF:
		c->line = 0;
		return ch == '\n' ? SIZE : BAD;
	case TRAILER:
	case TRAILER_LINE:
		if (ch == '\r')
			return c->state == TRAILER ? LAST_LF : TRAILER_LF;
		return is_control(ch) ? BAD : TRAILER_LINE;
	case TRAILER_LF:
		return ch == '\n' ? TRAILER : BAD;
	case LAST_LF:
		return ch == '\n' ? DONE : BAD;
	default:
		return BAD;
	}
}

size_t
server_chunks_next(struct server_chunks *c, const char *p, size_t n, size_t max, struct jstr *datap)
{
	size_t i = 0, len;

	*datap = (struct jstr){p, 0};
	while (i < n && c->state != DATA && c->state != DONE && c->state != BAD) {
		unsigned limit = c->state >= TRAILER ? TRAILER_MAX : CHUNK_LINE_MAX;

		c->state = (unsigned char)(++c->line > limit ? BAD : step(c, p[i]));
		i++;
	}
	if (c->state != DATA)
		return i;
	len = n - i < max ? n - i : max;
	if (len > c->left)
		len = (size_t)c->left;
	*datap = (struct jstr){p + i, len};
	c->left -= len;
	if (c->left == 0)
		c->state = DATA_CR;
	return i + len;
}
