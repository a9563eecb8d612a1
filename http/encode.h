/*
 * encode.h: answers compressed on their way out: which coding a client takes (RFC 9110, 12.5.3), and gzip and
 * zstd as whole texts and as streams whose reader sees every piece at once.  Knows nothing of HTTP beyond the
 * header's value.
 */
#ifndef HTTP_ENCODE_H_
#define HTTP_ENCODE_H_

#include <stddef.h>
#include "base/err.h"

#define ENCODE_PIECE ((size_t)64 << 10) /* at most so much is compressed in one call: less than 1 ms */

enum encode_coding { ENCODE_IDENTITY, ENCODE_GZIP, ENCODE_ZSTD };

/** encode_name(coding): As Content-Encoding has it. */
const char *encode_name(enum encode_coding coding);

/* ---- What a client takes ---- */

/* Weights in thousandths; -1: not named.  Starts as ENCODE_ACCEPT_NONE. */
struct encode_accept {
	int gzip, zstd, identity, any;
};
#define ENCODE_ACCEPT_NONE ((struct encode_accept){-1, -1, -1, -1})

/** encode_accept_add(a, s, len): One Accept-Encoding header; of several, each.  What is malformed is passed over. */
void encode_accept_add(struct encode_accept *a, const char *s, size_t len);
/**
 * encode_choose(a, stream): The coding with the greatest weight; of equals the cheaper one: zstd for a whole
 * answer, gzip for a ${stream}, of which thousands may be open.  ENCODE_IDENTITY where nothing else is taken.
 */
enum encode_coding encode_choose(const struct encode_accept *a, int stream);
/** encode_refuses_identity(a): 1 if the client wants no answer that is not encoded. */
int encode_refuses_identity(const struct encode_accept *a);

/* ---- Compressing ---- */

/* What all answers of one thread share: at most some 600 KiB. */
struct encode_ctx;

/** encode_ctx_new(cp), encode_ctx_free(c): Errors: ERR_NOMEM.  Free takes NULL. */
int encode_ctx_new(struct encode_ctx **cp) MUST_CHECK;
void encode_ctx_free(struct encode_ctx *c);

/**
 * encode_whole(c, coding, data, len, outp, out_lenp): All of a text, at most ENCODE_PIECE.  *${outp} lives until the
 * next call with ${c}.  Errors: ERR_NOMEM.
 */
int encode_whole(struct encode_ctx *c, enum encode_coding coding, const void *data, size_t len, const char **outp,
    size_t *out_lenp) MUST_CHECK;

/* A text that comes piece by piece.  Between pieces it takes 1.1 KiB as gzip; as zstd 60 KiB. */
struct encode_stream;

/** encode_stream_new(coding, sp), encode_stream_free(s): Errors: ERR_NOMEM.  Free takes NULL. */
int encode_stream_new(enum encode_coding coding, struct encode_stream **sp) MUST_CHECK;
void encode_stream_free(struct encode_stream *s);
/** encode_stream_size(s): The bytes of memory that it takes. */
size_t encode_stream_size(const struct encode_stream *s);
/**
 * encode_stream_put(c, s, data, len, end, outp, out_lenp): The next piece, at most ENCODE_PIECE, and with ${end}
 * the text's end behind it.  A reader of *${outp}, which lives until the next call with ${c}, can decode all of the
 * piece.  Errors: ERR_NOMEM; the stream is then of no use any more.
 */
int encode_stream_put(struct encode_ctx *c, struct encode_stream *s, const void *data, size_t len, int end,
    const char **outp, size_t *out_lenp) MUST_CHECK;

#endif
