/*
 * Packing and unpacking one body.
 *
 * Small texts repeat each other more than themselves: without a dictionary a contact of 500 bytes shrinks by
 * a quarter at five microseconds, with one by three quarters at two.  So bodies below ALONE_MIN are kept raw
 * until the database has a dictionary; larger ones have enough of their own, and those above SHARED_MAX so much that
 * a dictionary does not help.  A compressed form that saves less than an eighth is not worth the time it takes to read.
 *
 * Compaction has more time, and packs what is not large tight: at a higher level, and without what zstd puts around a block.  Of a frame
 * with one compressed block that is magic number, header and block header, 9 or 10 bytes, all of which follow from the text's
 * length and the block's; they are put before it again for zstd to read.
 *
 * Contexts are kept per thread.
 */
#include "body_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/once.h"

#define ALONE_MIN 1024u
#define WORTH_MIN 64u
#define SHARED_MAX 65536u
#define TIGHT_MAX 16384u

#define FRAME_HEAD 12u /* magic (4), descriptor (1), length of the text (4), block header (3) */
#define FRAME_STACK 2048u

struct contexts {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

static pthread_key_t contexts_key;
static struct once contexts_keyed = ONCE_INIT;

static void
contexts_free(void *arg)
{
	struct contexts *x = arg;

	ZSTD_freeCCtx(x->c);
	ZSTD_freeDCtx(x->d);
	free(x);
}

static int
contexts_make_key(void)
{
	return pthread_key_create(&contexts_key, contexts_free) == 0 ? 0 : ERR_NOMEM;
}

static struct contexts *
contexts(void)
{
	struct contexts *x;

	if (once_make(&contexts_keyed, contexts_make_key) != 0)
		return NULL;
	if ((x = pthread_getspecific(contexts_key)) != NULL)
		return x;
	if ((x = calloc(1, sizeof(*x))) == NULL)
		return NULL;
	if (pthread_setspecific(contexts_key, x) != 0) {
		free(x);
		return NULL;
	}
	return x;
}

static ZSTD_CCtx *
compressor(void)
{
	struct contexts *x = contexts();

	if (x != NULL && x->c == NULL && (x->c = ZSTD_createCCtx()) != NULL) {
		/* The record has its own checksum and dictionary number. */
		(void)ZSTD_CCtx_setParameter(x->c, ZSTD_c_compressionLevel, body_level_(BODY_QUICK));
		(void)ZSTD_CCtx_setParameter(x->c, ZSTD_c_dictIDFlag, 0);
	}
	return x != NULL ? x->c : NULL;
}

static ZSTD_DCtx *
decompressor(void)
{
	struct contexts *x = contexts();

	if (x != NULL && x->d == NULL)
		x->d = ZSTD_createDCtx();
	return x != NULL ? x->d : NULL;
}

/* ---- Packing ---- */

static int
pack_raw(const char *text, size_t len, struct buf *b)
{
	buf_putc(b, BODY_RAW);
	return buf_put(b, text, len);
}

/* put_frame: Append a frame, whatever its size; a tight one has the text's length in its head. */
static int
put_frame(struct zdict *d, enum body_effort effort, const char *text, size_t len, struct buf *b)
{
	const ZSTD_CDict *compiled = NULL;
	ZSTD_CCtx *ctx = compressor();
	size_t bound = ZSTD_compressBound(len), n;
	char *room;
	int err;

	if (ctx == NULL || (d != NULL && (compiled = body_for_packing_(d, effort)) == NULL))
		return ERR_NOMEM;
	if ((err = buf_reserve(b, bound, &room)) != 0)
		return err;
	(void)ZSTD_CCtx_setParameter(ctx, ZSTD_c_contentSizeFlag, effort == BODY_TIGHTLY);
	(void)ZSTD_CCtx_refCDict(ctx, compiled);
	n = ZSTD_compress2(ctx, room, bound, text, len);
	if (ZSTD_isError(n))
		return ERR_NOMEM;
	buf_commit(b, n);
	return 0;
}

/* pack_frame: Append head and frame, or nothing and ERR_MISSING where it does not pay. */
static int
pack_frame(struct zdict *d, const char *text, size_t len, struct buf *b)
{
	size_t start = b->len, from;
	int err;

	buf_putc(b, d != NULL ? BODY_DICT : BODY_ZSTD);
	if (d != NULL)
		buf_put_varint(b, d->number);
	if ((err = buf_put_varint(b, len)) != 0)
		return err;
	from = b->len;
	err = put_frame(d, BODY_QUICK, text, len, b);
	if (err == 0 && b->len - from > len - len / 8)
		err = ERR_MISSING;
	if (err)
		b->len = start;
	return err;
}

int
body_pack_alone(const char *text, size_t len, struct buf *b)
{
	int err = len < ALONE_MIN ? ERR_MISSING : pack_frame(NULL, text, len, b);

	return err == ERR_MISSING ? pack_raw(text, len, b) : err;
}

int
body_pack(struct body_dicts *z, const char *text, size_t len, struct buf *b)
{
	struct zdict *d = atomic_load(&z->head);
	int err;

	if (d == NULL || len > SHARED_MAX)
		return body_pack_alone(text, len, b);
	err = len < WORTH_MIN ? ERR_MISSING : pack_frame(d, text, len, b);
	return err == ERR_MISSING ? pack_raw(text, len, b) : err;
}

/* block_of: Where the content of a frame's only block begins; 0: there are several, or it is not a compressed one. */
static size_t
block_of(const unsigned char *frame, size_t n)
{
	static const unsigned char size_len[] = {1, 2, 4, 8};
	unsigned descriptor = n > 5 ? frame[4] : 0, head;
	size_t at;

	if ((descriptor & 0x3f) != 0x20) /* one segment, no checksum, no dictionary id */
		return 0;
	at = 5 + size_len[descriptor >> 6];
	if (n < at + 3)
		return 0;
	head = frame[at] | (unsigned)frame[at + 1] << 8 | (unsigned)frame[at + 2] << 16;
	return (head & 7) == 5 && head >> 3 == n - at - 3 ? at + 3 : 0; /* the last, compressed */
}

static void
put_tight(struct buf *b, uint64_t number)
{
	if (number <= UINT8_MAX - BODY_TIGHT_FIRST) {
		buf_putc(b, (char)(BODY_TIGHT_FIRST + number));
		return;
	}
	buf_putc(b, BODY_TIGHT);
	buf_put_varint(b, number);
}

int
body_pack_tight(struct body_dicts *z, const char *text, size_t len, struct buf *b)
{
	struct zdict *d = atomic_load(&z->head);
	size_t start = b->len, from, skip;
	int err;

	if (d == NULL || len > TIGHT_MAX)
		return body_pack(z, text, len, b);
	if (len < WORTH_MIN)
		return pack_raw(text, len, b);
	put_tight(b, d->number);
	if ((err = buf_put_varint(b, len)) != 0)
		return err;
	from = b->len;
	if ((err = put_frame(d, BODY_TIGHTLY, text, len, b)) != 0)
		return err;
	skip = block_of((const unsigned char *)b->data + from, b->len - from);
	if (skip == 0) { /* seldom: a few hundred bytes that do not compress at all, or a text that zstd cuts up */
		b->len = start;
		return body_pack(z, text, len, b);
	}
	if (b->len - from - skip > len - len / 8) {
		b->len = start;
		return pack_raw(text, len, b);
	}
	memmove(b->data + from, b->data + from + skip, b->len - from - skip);
	b->len -= skip;
	return 0;
}

/* ---- Looking ---- */

/* take_codec: The codec, and the dictionary's number where there is one. */
static unsigned
take_codec(struct bytes *r, uint64_t *numberp)
{
	unsigned codec = bytes_u8(r);

	*numberp = 0;
	if (codec > BODY_TIGHT_FIRST) {
		*numberp = codec - BODY_TIGHT_FIRST;
		return BODY_TIGHT;
	}
	if (codec == BODY_DICT || codec == BODY_TIGHT)
		*numberp = bytes_varint(r);
	return codec;
}

uint64_t
body_dict_of(const struct bytes *r)
{
	struct bytes copy = *r;
	uint64_t number;

	(void)take_codec(&copy, &number);
	return copy.bad ? 0 : number;
}

int
body_loose(struct body_dicts *z, const struct bytes *r)
{
	uint64_t current = body_dicts_current(z), number, len;
	struct bytes copy = *r;

	switch (take_codec(&copy, &number)) {
	case BODY_RAW:
		return current != 0 && bytes_left(&copy) >= WORTH_MIN && bytes_left(&copy) <= SHARED_MAX;
	case BODY_ZSTD:
		len = bytes_varint(&copy);
		return current != 0 && !copy.bad && len <= SHARED_MAX;
	case BODY_DICT:
		len = bytes_varint(&copy);
		return !copy.bad && (number != current || len <= TIGHT_MAX);
	case BODY_TIGHT:
		return !copy.bad && number != current;
	default:
		return 0;
	}
}

/* ---- Unpacking ---- */

static int
unpack_frame(struct zdict *d, const void *frame, size_t n, uint64_t len, struct arena *a, struct jstr *textp)
{
	const ZSTD_DDict *compiled = NULL;
	ZSTD_DCtx *ctx = decompressor();
	char *text;

	if (len > UINT32_MAX)
		return ERR_CORRUPT;
	if (ctx == NULL || (d != NULL && (compiled = body_for_reading_(d)) == NULL) ||
	    (text = arena_alloc(a, (size_t)len + 1)) == NULL)
		return ERR_NOMEM;
	n = d != NULL ? ZSTD_decompress_usingDDict(ctx, text, (size_t)len, frame, n, compiled)
		      : ZSTD_decompressDCtx(ctx, text, (size_t)len, frame, n);
	if (ZSTD_isError(n) || n != len)
		return ERR_CORRUPT;
	textp->s = text;
	textp->len = n;
	return 0;
}

static int
unpack_tight(struct zdict *d, const void *block, size_t n, uint64_t len, struct arena *a, struct jstr *textp)
{
	unsigned char few[FRAME_STACK], *frame = few;
	const uint32_t head = (uint32_t)n << 3 | 5;

	if (n == 0 || n > TIGHT_MAX || len > TIGHT_MAX)
		return ERR_CORRUPT;
	if (n > FRAME_STACK - FRAME_HEAD && (frame = arena_alloc(a, n + FRAME_HEAD)) == NULL)
		return ERR_NOMEM;
	/* Descriptor: one segment, the text's length in four bytes. */
	memcpy(frame, "\x28\xb5\x2f\xfd\xa0", 5);
	for (unsigned i = 0; i < 4; i++)
		frame[5 + i] = (unsigned char)(len >> 8 * i);
	for (unsigned i = 0; i < 3; i++)
		frame[9 + i] = (unsigned char)(head >> 8 * i);
	memcpy(frame + FRAME_HEAD, block, n);
	return unpack_frame(d, frame, n + FRAME_HEAD, len, a, textp);
}

uint64_t
body_len(const struct bytes *r)
{
	struct bytes copy = *r;
	uint64_t number, len;

	len = take_codec(&copy, &number) == BODY_RAW ? bytes_left(&copy) : bytes_varint(&copy);
	return copy.bad ? 0 : len;
}

int
body_unpack(struct body_dicts *z, struct bytes *r, struct arena *a, struct jstr *textp)
{
	struct zdict *d = NULL;
	uint64_t number, len;
	unsigned codec = take_codec(r, &number);
	size_t left;

	if (codec > BODY_TIGHT)
		return ERR_CORRUPT;
	if (codec == BODY_RAW && !r->bad) {
		textp->len = bytes_left(r);
		textp->s = bytes_take(r, textp->len);
		return 0;
	}
	if (codec >= BODY_DICT && (d = body_dict_find_(z, number)) == NULL)
		return ERR_CORRUPT;
	len = bytes_varint(r);
	left = bytes_left(r);
	if (r->bad)
		return ERR_CORRUPT;
	return codec == BODY_TIGHT ? unpack_tight(d, bytes_take(r, left), left, len, a, textp)
				   : unpack_frame(d, bytes_take(r, left), left, len, a, textp);
}
