/*
 * frames.c: the frames of an HTTP/2 connection, counted before h2o is given them.
 *
 * h2o 2.2 obeys every frame and counts none: a client may open streams only to reset them, send pings, settings or
 * priorities without end, cut a head into thousands of pieces, or name one large header of HPACK's table a hundred thousand
 * times.  So the gate walks over the bytes first.  It decodes nothing but what it needs to count: frame headers, and of a
 * header block where one field ends and the next begins.
 *
 *	PREFACE -> HEAD -> [PADLEN] -> [PRIORITY] -> PAYLOAD or BLOCK -> [PADDING] -> HEAD
 *
 * 1. Bytes may come cut anywhere: what is known is kept in struct server_frames alone.
 * 2. Where the framing is broken h2o says so, with the right code, and ends the connection: nothing that stands behind
 *    counts.  So whatever h2o would obey is counted, and the reverse need not hold.
 * 3. A budget is a sum that legitimate use earns: by time, by answers, by bytes that were sent.
 */
#include "http_impl.h"

#include <string.h>

#include "base/limits.h"

#define FRAME_HEAD 9u
#define STREAMS 100u /* that h2o lets be open at one time */

enum { PREFACE, HEAD, PADLEN, PRIORITY, PAYLOAD, BLOCK, PADDING };

/* Where in a header block: RFC 7541, 6. */
enum { FIELD, FIELD_INT, NAME, NAME_INT, VALUE, VALUE_INT };

enum { T_DATA, T_HEADERS, T_PRIORITY, T_RST, T_SETTINGS, T_PUSH, T_PING, T_GOAWAY, T_WINDOW, T_CONTINUATION };

#define F_ACK 0x1u
#define F_END_STREAM 0x1u
#define F_END_HEADERS 0x4u
#define F_PADDED 0x8u
#define F_PRIORITY 0x20u

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* ---- Budgets ---- */

static uint64_t
seconds(const struct server_frames *f)
{
	return f->now_ms > f->began_ms ? (f->now_ms - f->began_ms) / 1000 : 0;
}

uint64_t
server_frames_resets(const struct server_frames *f)
{
	return LIMIT_H2_RESETS + f->served / 2 + seconds(f);
}

static const char *
count_control(struct server_frames *f)
{
	return ++f->controls > LIMIT_H2_CONTROLS + seconds(f) * LIMIT_H2_CONTROLS_PER_S + f->streams
		   ? "too many frames that ask for nothing"
		   : NULL;
}

/* A client that reads what it has been sent may say so for each quarter KiB, and twice. */
static const char *
count_window(struct server_frames *f)
{
	return ++f->windows > LIMIT_H2_WINDOWS + f->sent / 128 + seconds(f) * LIMIT_H2_CONTROLS_PER_S
		   ? "too many window updates"
		   : NULL;
}

/* RST_STREAM, and streams that ended in any other way than by an answer. */
static const char *
count_reset(struct server_frames *f)
{
	return ++f->resets > server_frames_resets(f) ? "too many resets" : NULL;
}

static const char *
count_stream(struct server_frames *f)
{
	if (f->stream <= f->last_stream) {
		if (f->stream > f->trailers)
			f->trailers = f->stream;
		return NULL;
	}
	f->last_stream = f->stream;
	f->streams++;
	return f->streams > f->served + STREAMS + server_frames_resets(f) ? "too many streams without an answer" : NULL;
}

/* ---- Header blocks ---- */

static const char *
begin_field(struct server_frames *f, unsigned char c)
{
	unsigned bits;

	if (++f->fields > LIMIT_H2_FIELDS)
		return "too many header fields";
	if (c >= 128) {
		bits = 7; /* a field of the table */
		f->then = FIELD;
	} else if (c >= 64) {
		bits = 6;
		f->then = VALUE;
	} else if (c >= 32) {
		bits = 5; /* the table's size */
		f->then = FIELD;
	} else {
		bits = 4;
		f->then = VALUE;
	}
	c &= (unsigned char)((1u << bits) - 1);
	if (c == (1u << bits) - 1)
		f->hpack = FIELD_INT;
	else
		f->hpack = c == 0 && f->then == VALUE ? NAME : f->then;
	return NULL;
}

/* A string's length, 7 bits and more where those are all set; ${then} comes behind the string. */
static void
begin_string(struct server_frames *f, unsigned char c, unsigned char more, unsigned char then)
{
	f->then = then;
	f->skip = c & 0x7fu;
	f->shift = 0;
	f->hpack = f->skip == 0x7f ? more : then;
}

/* One more byte of a number that did not fit its prefix.  h2o takes four. */
static int
more_of_int(struct server_frames *f, unsigned char c)
{
	if (f->hpack != FIELD_INT)
		f->skip += (uint32_t)(c & 0x7f) << f->shift;
	f->shift += 7;
	if ((c & 0x80) == 0) {
		f->hpack = f->then;
		f->shift = 0;
	}
	return f->shift < 28;
}

/* ${n} bytes of a header block. */
static const char *
walk_block(struct server_frames *f, const unsigned char *p, size_t n)
{
	const unsigned char *end = p + n;
	const char *why = NULL;

	while (p < end && why == NULL && !f->broken) {
		/* A length is whole once its state has been left. */
		if (f->skip > 0 && f->hpack != NAME_INT && f->hpack != VALUE_INT) {
			size_t step = (size_t)(end - p) < f->skip ? (size_t)(end - p) : f->skip;

			f->skip -= (uint32_t)step;
			p += step;
			continue;
		}
		switch (f->hpack) {
		case FIELD:
			f->shift = 0;
			why = begin_field(f, *p);
			break;
		case NAME:
			begin_string(f, *p, NAME_INT, VALUE);
			break;
		case VALUE:
			begin_string(f, *p, VALUE_INT, FIELD);
			break;
		default:
			f->broken = !more_of_int(f, *p);
		}
		p++;
	}
	return why;
}

/* ---- Frames ---- */

static const char *
begin_block(struct server_frames *f)
{
	if (f->type == T_HEADERS) {
		f->fields = f->pieces = 0;
		f->block_len = f->skip = 0;
		f->hpack = FIELD;
		f->broken = 0;
	} else if (++f->pieces > LIMIT_H2_CONTINUATIONS) {
		return "a head in too many pieces";
	}
	f->in_block = (f->flags & F_END_HEADERS) == 0;
	f->block_len += f->left;
	return f->block_len > LIMIT_HEAD_LEN ? "too long a head" : NULL;
}

static const char *
count_frame(struct server_frames *f)
{
	const char *why;

	switch (f->type) {
	case T_DATA:
		f->data += f->left;
		return f->left == 0 && (f->flags & F_END_STREAM) == 0 ? count_control(f) : NULL;
	case T_HEADERS:
		why = count_stream(f);
		return why != NULL ? why : begin_block(f);
	case T_CONTINUATION:
		return begin_block(f);
	case T_RST:
		return count_reset(f);
	case T_WINDOW:
		return count_window(f);
	case T_SETTINGS:
		return (f->flags & F_ACK) != 0 && f->controls == 0 ? NULL : count_control(f);
	default:
		return count_control(f);
	}
}

/* What follows a frame's header, or a part of it that is over. */
static void
next_part(struct server_frames *f, unsigned after)
{
	int in_block = f->type == T_HEADERS || f->type == T_CONTINUATION;

	f->part = 0;
	if (after < PADLEN && f->type == T_HEADERS && (f->flags & F_PADDED) && f->left > 0) {
		f->state = PADLEN;
		f->part = 1;
	} else if (after < PRIORITY && f->type == T_HEADERS && (f->flags & F_PRIORITY) && f->left > 0) {
		f->state = PRIORITY;
		f->part = f->left < 5 ? f->left : 5;
	} else if (after < PAYLOAD && f->left > f->pad) {
		f->state = in_block ? BLOCK : PAYLOAD;
		f->part = f->left - f->pad;
	} else if (after < PADDING && f->left > 0) {
		f->state = PADDING;
		f->part = f->left;
	} else {
		f->state = HEAD;
		f->at = 0;
	}
}

static const char *
begin_frame(struct server_frames *f)
{
	const unsigned char *h = f->head;

	f->left = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
	f->type = h[3];
	f->flags = h[4];
	f->stream = ((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8]) & 0x7fffffffu;
	f->pad = 0;
	next_part(f, HEAD);
	return count_frame(f);
}

/* Takes bytes of the part that is being read.  Returns how many. */
static size_t
take_part(struct server_frames *f, const unsigned char *p, size_t n, const char **whyp)
{
	unsigned state = f->state;

	if (n > f->part)
		n = f->part;
	if (state == PADLEN)
		f->pad = *p;
	else if (state == BLOCK)
		*whyp = walk_block(f, p, n);
	f->part -= (uint32_t)n;
	f->left -= (uint32_t)n;
	if (f->part == 0)
		next_part(f, state);
	return n;
}

const char *
server_frames_walk(struct server_frames *f, const char *bytes, size_t n)
{
	const unsigned char *p = (const unsigned char *)bytes, *end = p + n;
	const char *why = NULL;
	size_t step;

	while (p < end && why == NULL) {
		if (f->state > HEAD) {
			p += take_part(f, p, (size_t)(end - p), &why);
		} else if (f->state == PREFACE) {
			if (*p++ != (unsigned char)preface[f->at++])
				return "no HTTP/2";
			if (f->at == sizeof(preface) - 1) {
				f->state = HEAD;
				f->at = 0;
			}
		} else {
			step = FRAME_HEAD - f->at < (size_t)(end - p) ? FRAME_HEAD - f->at : (size_t)(end - p);
			memcpy(f->head + f->at, p, step);
			f->at += (unsigned char)step;
			p += step;
			if (f->at == FRAME_HEAD)
				why = begin_frame(f);
		}
	}
	return why;
}
