/*
 * attread.c: the bytes of a stored attachment on their way out.
 *
 * The answer is a row of pieces, each some text (the heads of multipart/byteranges) and a range of
 * the stored bytes; a whole attachment is one piece.  What is stored compressed and wanted plain is
 * inflated on the way, one chunk or one buffer full at a time, whichever is less, so that a small
 * attachment that inflates to a large one holds no memory.
 */
#include "attread.h"

#include <strings.h>

#include <zlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "csp.h"
#include "http/encode.h"
#include "rows.h"

#define RANGES_MAX 9u /* a client that asks for more gets everything */
#define BOUNDARY_LEN 32u
#define TURN_BYTES ((size_t)128 << 10)       /* sent in one turn of the event loop */
#define TURN_CHUNKS 16u                      /* read in one turn: compressed bytes may stand for nothing at all */
#define TEXT_MAX (LIMIT_ATT_NAME_LEN + 256u) /* bytes of the head of one range */

/* Stored bytes [from, to). */
struct range {
	uint64_t from, to;
};

struct attread {
	struct apireq *r;
	struct doc_att att;
	struct range ranges[RANGES_MAX];
	size_t nranges; /* 0: all of it */
	size_t current;
	uint64_t at;  /* next stored byte */
	int in_range; /* the current range's text is out */
	int whole;    /* whatever ranges were asked for */
	char boundary[BOUNDARY_LEN + 1];
	int inflating;
	z_stream z;
	struct buf chunk; /* what z reads */
	uint64_t next_chunk;
	int begun;     /* the answer is a stream: its head is out, */
	uint64_t sent; /* and so many bytes */
};

/* ---- Headers ---- */

/* 1 if an Accept-Encoding header takes gzip. */
static int
takes_gzip(struct jstr h)
{
	const char *p = h.s, *end = h.s != NULL ? h.s + h.len : NULL, *stop, *q;
	size_t n;

	while (p != NULL && p < end) {
		stop = memchr(p, ',', (size_t)(end - p));
		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		for (n = 0; p + n < stop && p[n] != ';' && p[n] != ' ';)
			n++;
		if ((n == 4 && strncasecmp(p, "gzip", 4) == 0) || (n == 1 && *p == '*')) {
			q = memmem(p, (size_t)(stop - p), "q=0", 3);
			/* q=0 and q=0.000 refuse it; q=0.5 does not. */
			for (q = q != NULL ? q + 3 : NULL; q != NULL && q < stop && (*q == '.' || *q == '0');)
				q++;
			return q == NULL || (q < stop && *q >= '1' && *q <= '9');
		}
		p = stop + 1;
	}
	return 0;
}

/* takes_neither: 1 if it takes an attachment neither as gzip nor as it is. */
static int
takes_neither(struct jstr h)
{
	struct encode_accept a = ENCODE_ACCEPT_NONE;

	encode_accept_add(&a, h.s, h.len);
	return encode_refuses_identity(&a) && !takes_gzip(h);
}

/* A type comes from a document's JSON, where it may hold what ends a header. */
static void
make_safe(struct jstr *type)
{
	static const char binary[] = "application/octet-stream";

	for (size_t i = 0; i < type->len; i++)
		if ((unsigned char)type->s[i] < ' ' || type->s[i] == 127) {
			*type = (struct jstr){binary, sizeof(binary) - 1};
			return;
		}
}

/* Digits at *${pp}; returns 0 if there are none. */
static int
number(const char **pp, const char *end, uint64_t *np)
{
	const char *p = *pp;

	*np = 0;
	while (p < end && *p >= '0' && *p <= '9') {
		unsigned digit = (unsigned)(*p++ - '0');

		*np = *np > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *np * 10 + digit;
	}
	if (p == *pp)
		return 0;
	*pp = p;
	return 1;
}

/* One of "a-b", "a-", "-n" at *${pp}.  Returns 0, ERR_RANGE, or ERR_BAD_REQUEST if all is to be sent: it is none of them, or "0-". */
static int
parse_range(const char **pp, const char *end, uint64_t len, struct range *out)
{
	uint64_t a = 0, b = 0;
	int has_a, has_b;

	while (*pp < end && **pp == ' ')
		(*pp)++;
	has_a = number(pp, end, &a);
	if (*pp == end || **pp != '-')
		return ERR_BAD_REQUEST;
	(*pp)++;
	has_b = number(pp, end, &b);
	while (*pp < end && **pp == ' ')
		(*pp)++;
	if ((!has_a && !has_b) || (*pp < end && **pp != ','))
		return ERR_BAD_REQUEST;
	if (has_a && a == 0 && !has_b)
		return ERR_BAD_REQUEST; /* CouchDB answers it with 200 */
	if (!has_a) {
		a = b < len ? len - b : 0;
		b = b > 0 ? UINT64_MAX : 0;
	} else if (!has_b) {
		b = UINT64_MAX;
	}
	if (a >= len || b < a)
		return ERR_RANGE;
	*out = (struct range){a, b >= len ? len : b + 1};
	return 0;
}

/* The request's ranges.  A header that is none is passed over.  Errors: ERR_RANGE. */
static int
parse_ranges(struct attread *t)
{
	struct jstr h = http_header(t->r->http, "range");
	const char *p = h.s, *end = p != NULL ? p + h.len : NULL;
	int err = 0;

	if (h.s == NULL || h.len < 6 || strncasecmp(p, "bytes=", 6) != 0)
		return 0;
	for (p += 6; err == 0; p++) {
		if (t->nranges == RANGES_MAX)
			err = ERR_BAD_REQUEST;
		else
			err = parse_range(&p, end, t->att.stored_length, &t->ranges[t->nranges]);
		if (err == 0)
			t->nranges++;
		if (p >= end)
			break;
	}
	if (err != 0)
		t->nranges = 0;
	return err == ERR_RANGE ? err : 0;
}

/* Returns 1 if the request is answered by its If-None-Match.  A range of another version (If-Range) is not wanted. */
static int
set_tag(struct attread *t)
{
	struct jstr part_of = http_header(t->r->http, "if-range");
	struct buf b;
	int done;

	buf_init(&b, 64);
	buf_putc(&b, '"');
	base64_put(&b, t->att.md5, sizeof(t->att.md5));
	buf_putc(&b, '"');
	t->whole = part_of.s != NULL && (part_of.len != b.len || memcmp(part_of.s, b.data, b.len) != 0);
	done = !buf_failed(&b) && api_not_modified(t->r, b.data, b.len);
	buf_release(&b);
	return done;
}

static void
set_md5(struct apireq *r, const struct doc_att *att)
{
	struct buf b;

	buf_init(&b, 64);
	if (base64_put(&b, att->md5, sizeof(att->md5)) == 0)
		http_set_header(r->http, "content-md5", b.data, b.len);
	buf_release(&b);
}

/* ---- Bytes ---- */

/* The part's head in multipart/byteranges; returns its length. */
static size_t
part_head(const struct attread *t, const struct range *range, char *out, size_t cap)
{
	int n = snprintf(out, cap, "\r\n--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
	    t->boundary, (int)t->att.type.len, t->att.type.s, (unsigned long long)range->from,
	    (unsigned long long)range->to - 1, (unsigned long long)t->att.stored_length);

	return n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
}

static size_t
part_end(const struct attread *t, char *out, size_t cap)
{
	int n = snprintf(out, cap, "\r\n--%s--", t->boundary);

	return n < 0 ? 0 : (size_t)n;
}

static uint64_t
body_length(const struct attread *t)
{
	char text[TEXT_MAX];
	uint64_t n = 0;
	size_t i;

	if (t->inflating)
		/* Who uploads compressed bytes may not tell how many they will be. */
		return t->att.length == t->att.stored_length ? UINT64_MAX : t->att.length;
	if (t->nranges == 0)
		return t->att.stored_length;
	for (i = 0; i < t->nranges; i++) {
		n += t->ranges[i].to - t->ranges[i].from;
		if (t->nranges > 1)
			n += part_head(t, &t->ranges[i], text, sizeof(text));
	}
	return t->nranges > 1 ? n + part_end(t, text, sizeof(text)) : n;
}

/* Append stored bytes from t->at, up to the end of their chunk and of the range. */
static int
copy_some(struct attread *t, uint64_t to, struct db_snap *snap, struct buf *b)
{
	uint64_t skip = t->at % LIMIT_BLOB_CHUNK, n;
	size_t begin = b->len;
	int err = db_att_read_later(snap, &t->att, t->at / LIMIT_BLOB_CHUNK, b);

	if (err != 0)
		return err == ERR_END ? ERR_CORRUPT : err;
	n = b->len - begin;
	if (n <= skip)
		return ERR_CORRUPT;
	n -= skip;
	if (n > to - t->at)
		n = to - t->at;
	if (skip > 0)
		memmove(b->data + begin, b->data + begin + skip, (size_t)n);
	b->len = begin + (size_t)n;
	t->at += n;
	return 0;
}

static int
fill_ranges(struct attread *t, struct db_snap *snap, struct buf *b)
{
	struct range whole = {0, t->att.stored_length};
	size_t n = t->nranges > 0 ? t->nranges : 1;
	char text[TEXT_MAX];
	int err = 0;

	while (err == 0 && b->len < TURN_BYTES) {
		const struct range *range;

		if (t->current == n) {
			if (n > 1)
				buf_put(b, text, part_end(t, text, sizeof(text)));
			return ERR_END;
		}
		range = t->nranges > 0 ? &t->ranges[t->current] : &whole;
		if (!t->in_range) {
			t->in_range = 1;
			t->at = range->from;
			if (n > 1)
				buf_put(b, text, part_head(t, range, text, sizeof(text)));
		}
		if (t->at < range->to) {
			err = copy_some(t, range->to, snap, b);
		} else {
			t->in_range = 0;
			t->current++;
		}
	}
	return err;
}

static int
fill_inflated(struct attread *t, struct db_snap *snap, struct buf *b)
{
	unsigned chunks = 0;
	char *room;
	int err, ret;

	while (b->len < TURN_BYTES) {
		if (t->z.avail_in == 0) {
			if (chunks++ == TURN_CHUNKS)
				return 0;
			buf_clear(&t->chunk);
			err = db_att_read_later(snap, &t->att, t->next_chunk, &t->chunk);
			/* What ends before its compressed stream does was uploaded so. */
			if (err != 0)
				return err;
			t->next_chunk++;
			t->z.next_in = (Bytef *)t->chunk.data;
			t->z.avail_in = (uInt)t->chunk.len;
		}
		err = buf_reserve(b, LIMIT_BLOB_CHUNK, &room);
		if (err != 0)
			return err;
		t->z.next_out = (Bytef *)room;
		t->z.avail_out = LIMIT_BLOB_CHUNK;
		ret = inflate(&t->z, Z_NO_FLUSH);
		buf_commit(b, LIMIT_BLOB_CHUNK - t->z.avail_out);
		if (ret == Z_STREAM_END)
			return ERR_END;
		if (ret != Z_OK && ret != Z_BUF_ERROR)
			return ERR_NOT_GZIP;
	}
	return 0;
}

/*
 * hold_length: Whoever uploads compressed bytes may say of their length what they like.  A stream of another length than its head
 * told would run into the next answer of its connection: it is cut off.  ${n}: bytes of this batch.
 */
static int
hold_length(struct attread *t, size_t n, int err)
{
	uint64_t length = body_length(t);
	int whole = err == ERR_END && !t->begun, ended = err == ERR_END;

	if ((err != 0 && !ended) || whole || length == UINT64_MAX)
		return err;
	t->begun = 1;
	t->sent += n;
	return t->sent > length || (ended && t->sent < length) ? ERR_NOT_GZIP : err;
}

static int
fill(void *cookie, struct buf *b, struct arena *scratch)
{
	struct attread *t = cookie;
	struct db_snap *snap;
	int err = db_snap_begin(t->r->db, &snap);

	(void)scratch;
	if (err != 0)
		return err;
	err = t->inflating ? fill_inflated(t, snap, b) : fill_ranges(t, snap, b);
	db_snap_end(snap);
	return hold_length(t, b->len, err);
}

static void
drop(void *cookie)
{
	struct attread *t = cookie;

	if (t->inflating)
		inflateEnd(&t->z);
	buf_release(&t->chunk);
}

/* ---- The answer ---- */

static void
set_ranges(struct attread *t)
{
	char text[128];
	unsigned char random[BOUNDARY_LEN / 2];
	int n;

	if (t->nranges == 1) {
		n = snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)t->ranges[0].from,
		    (unsigned long long)t->ranges[0].to - 1, (unsigned long long)t->att.stored_length);
		http_set_header(t->r->http, "content-range", text, (size_t)n);
	} else {
		hash_random(random, sizeof(random));
		hex_encode(random, sizeof(random), t->boundary);
		n = snprintf(text, sizeof(text), "multipart/byteranges; boundary=\"%s\"", t->boundary);
		http_set_header(t->r->http, "content-type", text, (size_t)n);
	}
}

static void
set_headers(struct attread *t, int as_stored)
{
	struct http_req *http = t->r->http;
	int plain = t->att.encoding == DOC_IDENTITY;

	http_set_header(http, "cache-control", "must-revalidate", 15);
	http_set_header(http, "content-type", t->att.type.s, t->att.type.len);
	csp_set(t->r, "attachments", "sandbox");
	http_set_header(http, "accept-ranges", plain ? "bytes" : "none", plain ? 5 : 4);
	if (!plain && as_stored)
		http_set_header(http, "content-encoding", "gzip", 4);
	if (t->nranges > 0)
		set_ranges(t);
	else if (as_stored)
		set_md5(t->r, &t->att);
}

void
attread_send(struct apireq *r, const struct doc_att *att)
{
	struct attread *t = arena_calloc(r->arena, 1, sizeof(*t));
	struct jstr accept = http_header(r->http, "accept-encoding");
	int as_stored = att->encoding == DOC_IDENTITY || takes_gzip(accept);

	if (t == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if (takes_neither(accept)) {
		api_error_text(r, 406, "not_acceptable", "unsupported encoding");
		return;
	}
	t->r = r;
	t->att = *att;
	if (set_tag(t))
		return;
	make_safe(&t->att.type);
	buf_init(&t->chunk, LIMIT_BLOB_CHUNK);
	if (att->encoding == DOC_IDENTITY && !t->whole && parse_ranges(t) != 0) {
		api_error(r, ERR_RANGE, NULL);
		return;
	}
	if (!as_stored && inflateInit2(&t->z, 16 + MAX_WBITS) != Z_OK) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	t->inflating = !as_stored;
	set_headers(t, as_stored);
	rows_stream(r, t->nranges > 0 ? 206 : 200, body_length(t), fill, drop, t);
}
