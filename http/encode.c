/*
 * encode.c: Accept-Encoding, and answers compressed by it.
 *
 * Ten thousand feeds may be open, each sending a row now and then which its reader wants at once.  A deflate state
 * of its own for each would be hundreds of megabytes.  But a flush ends on a byte, and what follows it need not come
 * from the same deflate state: any blocks do that refer to nothing but what the reader has seen.  So a thread has
 * one state for all of its gzip streams, which is reset for each piece and given the last TAIL bytes of the stream
 * as its dictionary; a stream keeps those, its checksum and its length.  Feeds of one database send the same row
 * behind the same tail: the last small piece is kept, and the next stream that is as far gets a copy.
 *
 * zstd's blocks depend on more than the text (repeated offsets, tables), so a zstd stream keeps a context of its
 * own, made with a small window.  It is chosen for streams only where gzip is not taken, or less liked.
 *
 * Invariants:
 * 1. What a gzip stream has put out is a header, whole blocks up to a byte's edge, and at its end a trailer.
 * 2. Nothing here lasts longer than a piece of ENCODE_PIECE bytes takes.
 */
#include "encode.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define LEVEL_GZIP 1
#define LEVEL_ZSTD 1
#define MEM_LEVEL 7    /* 96 KiB a thread beside the window; resetting it costs a microsecond */
#define WINDOW_LOG 12  /* of zstd streams */
#define TAIL 1024u     /* bytes of a stream that the next piece may refer to */
#define MEMO_MAX 2048u /* pieces that are kept for the next stream */
#define OUT_ROOM (ENCODE_PIECE + (ENCODE_PIECE >> 3) + 2048)
#define GZIP_HEAD "\x1f\x8b\x08\0\0\0\0\0\0\x03" /* RFC 1952: deflate, no name, no time, Unix */
#define GZIP_HEAD_LEN 10u

/* The last small piece of a gzip stream, and what became of it. */
struct memo {
	int end;
	size_t tail_len, len, out_len; /* out_len 0: none */
	char tail[TAIL];
	char data[MEMO_MAX];
	char out[MEMO_MAX + 64];
};

struct encode_ctx {
	z_stream z; /* raw deflate */
	ZSTD_CCtx *zstd;
	struct memo memo;
	char out[OUT_ROOM];
};

struct encode_stream {
	enum encode_coding coding;
	int begun;
	ZSTD_CCtx *zstd;
	uint32_t crc, total; /* gzip: of the text, modulo 2^32 */
	size_t tail_len;
	char tail[]; /* gzip: TAIL */
};

const char *
encode_name(enum encode_coding coding)
{
	static const char *const names[] = {"identity", "gzip", "zstd"};

	return names[coding];
}

/* ---- What a client takes ---- */

static int
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* ";q=0.5" in thousandths; 1000 where there is none, -1 where it is no weight. */
static int
weight(const char *p, const char *end)
{
	int q, i, digit = 100;

	while (p < end && (is_space(*p) || *p == ';'))
		p++;
	if (p == end)
		return 1000;
	if (end - p < 3 || (*p != 'q' && *p != 'Q') || p[1] != '=' || (p[2] != '0' && p[2] != '1'))
		return -1;
	q = (p[2] - '0') * 1000;
	p += 3;
	if (p < end && *p == '.')
		for (i = 0, p++; i < 3 && p < end && *p >= '0' && *p <= '9'; i++, p++, digit /= 10)
			q += (*p - '0') * digit;
	while (p < end && is_space(*p))
		p++;
	return p == end && q <= 1000 ? q : -1;
}

static int
is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

static void
add_one(struct encode_accept *a, const char *p, const char *end)
{
	const char *name;
	size_t len;
	int q;

	while (p < end && is_space(*p))
		p++;
	name = p;
	while (p < end && *p != ';' && !is_space(*p))
		p++;
	len = (size_t)(p - name);
	q = weight(p, end);
	if (q < 0)
		return;
	if (is_word(name, len, "gzip") || is_word(name, len, "x-gzip"))
		a->gzip = q;
	else if (is_word(name, len, "zstd"))
		a->zstd = q;
	else if (is_word(name, len, "identity"))
		a->identity = q;
	else if (len == 1 && *name == '*')
		a->any = q;
}

void
encode_accept_add(struct encode_accept *a, const char *s, size_t len)
{
	const char *end, *comma;

	if (len == 0) /* and s NULL, maybe */
		return;
	for (end = s + len; s < end;) {
		comma = memchr(s, ',', (size_t)(end - s));
		add_one(a, s, comma != NULL ? comma : end);
		s = comma != NULL ? comma + 1 : end;
	}
}

static int
weight_of(const struct encode_accept *a, int named)
{
	return named >= 0 ? named : a->any >= 0 ? a->any : 0;
}

enum encode_coding
encode_choose(const struct encode_accept *a, int stream)
{
	int gzip = weight_of(a, a->gzip), zstd = weight_of(a, a->zstd);
	int best = gzip > zstd ? gzip : zstd;

	/* Not named, identity is taken where nothing better is. */
	if (best == 0 || best < a->identity)
		return ENCODE_IDENTITY;
	if (gzip == zstd)
		return stream ? ENCODE_GZIP : ENCODE_ZSTD;
	return gzip > zstd ? ENCODE_GZIP : ENCODE_ZSTD;
}

int
encode_refuses_identity(const struct encode_accept *a)
{
	return a->identity == 0 || (a->identity < 0 && a->any == 0);
}

/* ---- What a thread shares ---- */

int
encode_ctx_new(struct encode_ctx **cp)
{
	struct encode_ctx *c = malloc(sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	memset(&c->z, 0, sizeof(c->z));
	c->memo.out_len = 0;
	c->zstd = ZSTD_createCCtx();
	if (c->zstd == NULL) {
		free(c);
		return ERR_NOMEM;
	}
	if (deflateInit2(&c->z, LEVEL_GZIP, Z_DEFLATED, -15, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
		ZSTD_freeCCtx(c->zstd);
		free(c);
		return ERR_NOMEM;
	}
	*cp = c;
	return 0;
}

void
encode_ctx_free(struct encode_ctx *c)
{
	if (c == NULL)
		return;
	deflateEnd(&c->z);
	ZSTD_freeCCtx(c->zstd);
	free(c);
}

/* ---- gzip ---- */

static void
put_u32(char *p, uint32_t n)
{
	int i;

	for (i = 0; i < 4; i++)
		p[i] = (char)(n >> 8 * i & 0xff);
}

static size_t
put_trailer(char *p, uint32_t crc, uint32_t total)
{
	put_u32(p, crc);
	put_u32(p + 4, total);
	return 8;
}

/* Blocks of ${data} behind ${tail} into ${c}->out from ${at} on; returns where they end. */
static size_t
deflate_piece(struct encode_ctx *c, const char *tail, size_t tail_len, const void *data, size_t len, int end, size_t at)
{
	static const char nothing[1];
	int rc = deflateReset(&c->z);

	if (rc == Z_OK && tail_len > 0)
		rc = deflateSetDictionary(&c->z, (const Bytef *)tail, (uInt)tail_len);
	assert(rc == Z_OK);
	c->z.next_in = (z_const Bytef *)(uintptr_t)(len > 0 ? data : nothing);
	c->z.avail_in = (uInt)len;
	c->z.next_out = (Bytef *)c->out + at;
	c->z.avail_out = (uInt)(OUT_ROOM - at);
	rc = deflate(&c->z, end ? Z_FINISH : Z_SYNC_FLUSH);
	/* There is room for the worst case, so it never stops half way. */
	assert(c->z.avail_in == 0 && c->z.avail_out > 8 && rc == (end ? Z_STREAM_END : Z_OK));
	return (size_t)((char *)c->z.next_out - c->out);
}

static int
remembers(const struct memo *m, const struct encode_stream *s, const void *data, size_t len, int end)
{
	return m->out_len > 0 && m->len == len && m->tail_len == s->tail_len && m->end == end &&
	       memcmp(m->data, data, len) == 0 && memcmp(m->tail, s->tail, s->tail_len) == 0;
}

static void
remember(struct memo *m, const struct encode_stream *s, const void *data, size_t len, int end, const char *out,
    size_t out_len)
{
	m->out_len = 0;
	if (len == 0 || len > sizeof(m->data) || out_len > sizeof(m->out))
		return;
	m->end = end;
	m->len = len;
	m->tail_len = s->tail_len;
	m->out_len = out_len;
	memcpy(m->tail, s->tail, s->tail_len);
	memcpy(m->data, data, len);
	memcpy(m->out, out, out_len);
}

static void
move_tail(struct encode_stream *s, const char *data, size_t len)
{
	size_t keep = len >= TAIL ? 0 : s->tail_len + len <= TAIL ? s->tail_len : TAIL - len;

	if (len > TAIL) {
		data += len - TAIL;
		len = TAIL;
	}
	memmove(s->tail, s->tail + s->tail_len - keep, keep);
	memcpy(s->tail + keep, data, len);
	s->tail_len = keep + len;
}

static size_t
gzip_piece(struct encode_ctx *c, struct encode_stream *s, const void *data, size_t len, int end)
{
	size_t at = 0, blocks;

	if (!s->begun) {
		memcpy(c->out, GZIP_HEAD, GZIP_HEAD_LEN);
		at = GZIP_HEAD_LEN;
		s->begun = 1;
	}
	blocks = at;
	if (len > 0 && remembers(&c->memo, s, data, len, end)) {
		memcpy(c->out + at, c->memo.out, c->memo.out_len);
		at += c->memo.out_len;
	} else if (len > 0 || end) {
		at = deflate_piece(c, s->tail, s->tail_len, data, len, end, at);
		remember(&c->memo, s, data, len, end, c->out + blocks, at - blocks);
	}
	/* Of no bytes at NULL zlib gives the checksum of an empty text. */
	if (len > 0)
		s->crc = (uint32_t)crc32(s->crc, data, (uInt)len);
	s->total += (uint32_t)len;
	if (len > 0)
		move_tail(s, data, len);
	if (end)
		at += put_trailer(c->out + at, s->crc, s->total);
	return at;
}

/* ---- Whole texts ---- */

int
encode_whole(
    struct encode_ctx *c, enum encode_coding coding, const void *data, size_t len, const char **outp, size_t *out_lenp)
{
	size_t n;

	assert(len <= ENCODE_PIECE && coding != ENCODE_IDENTITY);
	*outp = c->out;
	if (coding == ENCODE_ZSTD) {
		n = ZSTD_compressCCtx(c->zstd, c->out, sizeof(c->out), data, len, LEVEL_ZSTD);
		if (ZSTD_isError(n))
			return ERR_NOMEM;
		*out_lenp = n;
		return 0;
	}
	memcpy(c->out, GZIP_HEAD, GZIP_HEAD_LEN);
	n = deflate_piece(c, NULL, 0, data, len, 1, GZIP_HEAD_LEN);
	n += put_trailer(c->out + n, (uint32_t)crc32(0, data, (uInt)len), (uint32_t)len);
	*out_lenp = n;
	return 0;
}

/* ---- Streams ---- */

int
encode_stream_new(enum encode_coding coding, struct encode_stream **sp)
{
	struct encode_stream *s = malloc(sizeof(*s) + (coding == ENCODE_GZIP ? TAIL : 0));

	assert(coding != ENCODE_IDENTITY);
	if (s == NULL)
		return ERR_NOMEM;
	memset(s, 0, sizeof(*s));
	s->coding = coding;
	if (coding == ENCODE_ZSTD) {
		s->zstd = ZSTD_createCCtx();
		if (s->zstd == NULL ||
		    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, LEVEL_ZSTD)) ||
		    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_windowLog, WINDOW_LOG)) ||
		    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_hashLog, WINDOW_LOG - 1))) {
			encode_stream_free(s);
			return ERR_NOMEM;
		}
	}
	*sp = s;
	return 0;
}

void
encode_stream_free(struct encode_stream *s)
{
	if (s == NULL)
		return;
	ZSTD_freeCCtx(s->zstd);
	free(s);
}

size_t
encode_stream_size(const struct encode_stream *s)
{
	return sizeof(*s) + (s->coding == ENCODE_GZIP ? TAIL : ZSTD_sizeof_CCtx(s->zstd));
}

int
encode_stream_put(struct encode_ctx *c, struct encode_stream *s, const void *data, size_t len, int end,
    const char **outp, size_t *out_lenp)
{
	ZSTD_inBuffer in = {data, len, 0};
	ZSTD_outBuffer out = {c->out, sizeof(c->out), 0};
	size_t left;

	assert(len <= ENCODE_PIECE);
	*outp = c->out;
	if (s->coding == ENCODE_GZIP) {
		*out_lenp = gzip_piece(c, s, data, len, end);
		return 0;
	}
	left = len > 0 || end ? ZSTD_compressStream2(s->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_flush) : 0;
	if (ZSTD_isError(left))
		return ERR_NOMEM;
	/* ${out} takes the worst case of small blocks too. */
	assert(left == 0 && in.pos == in.size);
	*out_lenp = out.pos;
	return 0;
}
