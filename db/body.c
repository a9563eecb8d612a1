/*
 * Small texts repeat each other more than themselves: without a dictionary a contact of 500 bytes shrinks by
 * a quarter at five microseconds, with one by two thirds at two.  So bodies below BODY_ALONE_MIN are kept raw
 * until the database has a dictionary; larger ones have enough of their own.  A compressed form that saves
 * less than an eighth is not worth the time it takes to read.
 *
 * Contexts are kept per thread.  A dictionary's compressed form is built when first used; dictionaries are
 * few (one per training) and never removed, so readers need no lock once they have found one: the list is
 * only ever prepended to.
 */
#include "body.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <zdict.h>
#include <zstd.h>

#include "base/limits.h"

#define BODY_LEVEL 1
#define BODY_ALONE_MIN 1024u
#define BODY_WORTH_MIN 64u

struct zdict {
	uint64_t number;
	struct zdict *next;
	_Atomic(ZSTD_CDict *) c; /* made at first use */
	_Atomic(ZSTD_DDict *) d;
	size_t len;
	char bytes[]; /* as it was trained */
};

struct body_dicts {
	_Atomic(struct zdict *) head; /* newest first */
};

struct contexts {
	ZSTD_CCtx *c;
	ZSTD_DCtx *d;
};

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;

static void
contexts_free(void *arg)
{
	struct contexts *x = arg;

	ZSTD_freeCCtx(x->c);
	ZSTD_freeDCtx(x->d);
	free(x);
}

static void
contexts_make_key(void)
{
	(void)pthread_key_create(&contexts_key, contexts_free);
}

static struct contexts *
contexts(void)
{
	struct contexts *x;

	(void)pthread_once(&contexts_once, contexts_make_key);
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
		/* The record has its own checksum, length and dictionary number. */
		(void)ZSTD_CCtx_setParameter(x->c, ZSTD_c_compressionLevel, BODY_LEVEL);
		(void)ZSTD_CCtx_setParameter(x->c, ZSTD_c_dictIDFlag, 0);
		(void)ZSTD_CCtx_setParameter(x->c, ZSTD_c_contentSizeFlag, 0);
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

int
body_dicts_new(struct body_dicts **zp)
{
	*zp = calloc(1, sizeof(**zp));
	return *zp != NULL ? 0 : ERR_NOMEM;
}

static void
zdict_free(struct zdict *d)
{
	ZSTD_freeCDict(atomic_load(&d->c));
	ZSTD_freeDDict(atomic_load(&d->d));
	free(d);
}

/* for_packing, for_reading: The compiled form, made by whoever needs it first; NULL: no memory. */
static const ZSTD_CDict *
for_packing(struct zdict *d)
{
	ZSTD_CDict *c = atomic_load(&d->c), *mine;

	if (c != NULL || (mine = ZSTD_createCDict(d->bytes, d->len, BODY_LEVEL)) == NULL)
		return c;
	if (atomic_compare_exchange_strong(&d->c, &c, mine))
		return mine;
	ZSTD_freeCDict(mine);
	return c;
}

static const ZSTD_DDict *
for_reading(struct zdict *d)
{
	ZSTD_DDict *r = atomic_load(&d->d), *mine;

	if (r != NULL || (mine = ZSTD_createDDict(d->bytes, d->len)) == NULL)
		return r;
	if (atomic_compare_exchange_strong(&d->d, &r, mine))
		return mine;
	ZSTD_freeDDict(mine);
	return r;
}

void
body_dicts_free(struct body_dicts *z)
{
	struct zdict *d, *next;

	if (z == NULL)
		return;
	for (d = atomic_load(&z->head); d != NULL; d = next) {
		next = d->next;
		zdict_free(d);
	}
	free(z);
}

int
body_dicts_add(struct body_dicts *z, uint64_t number, const void *data, size_t len)
{
	struct zdict *d = calloc(1, sizeof(*d) + len);

	if (d == NULL)
		return ERR_NOMEM;
	d->number = number;
	d->len = len;
	if (len > 0)
		memcpy(d->bytes, data, len);
	d->next = atomic_load(&z->head);
	atomic_store(&z->head, d);
	return 0;
}

uint64_t
body_dicts_current(struct body_dicts *z)
{
	struct zdict *d = atomic_load(&z->head);

	return d != NULL ? d->number : 0;
}

static struct zdict *
zdicts_find(struct body_dicts *z, uint64_t number)
{
	struct zdict *d;

	for (d = atomic_load(&z->head); d != NULL && d->number != number; d = d->next)
		;
	return d;
}

int
body_dict_train(const void *samples, const size_t *sizes, unsigned n, struct buf *out)
{
	char *room;
	size_t len;
	int err = buf_reserve(out, BODY_DICT_LEN, &room);

	if (err)
		return err;
	len = ZDICT_trainFromBuffer(room, BODY_DICT_LEN, samples, sizes, n);
	if (ZDICT_isError(len))
		return ERR_MISSING;
	buf_commit(out, len);
	return 0;
}

static int
pack_raw(const char *text, size_t len, struct buf *b)
{
	buf_putc(b, BODY_RAW);
	return buf_put(b, text, len);
}

/* pack_frame: Append head and frame, or nothing and ERR_MISSING where it does not pay. */
static int
pack_frame(struct zdict *d, const char *text, size_t len, struct buf *b)
{
	const ZSTD_CDict *compiled = NULL;
	ZSTD_CCtx *ctx = compressor();
	size_t start = b->len, bound = ZSTD_compressBound(len), n;
	char *room;
	int err;

	if (ctx == NULL || (d != NULL && (compiled = for_packing(d)) == NULL))
		return ERR_NOMEM;
	buf_putc(b, d != NULL ? BODY_DICT : BODY_ZSTD);
	if (d != NULL)
		buf_put_varint(b, d->number);
	buf_put_varint(b, len);
	if ((err = buf_reserve(b, bound, &room)) != 0)
		return err;
	(void)ZSTD_CCtx_refCDict(ctx, compiled);
	n = ZSTD_compress2(ctx, room, bound, text, len);
	if (ZSTD_isError(n) || n > len - len / 8) {
		b->len = start;
		return ZSTD_isError(n) ? ERR_NOMEM : ERR_MISSING;
	}
	buf_commit(b, n);
	return 0;
}

int
body_pack(struct body_dicts *z, const char *text, size_t len, struct buf *b)
{
	struct zdict *d = atomic_load(&z->head);
	int err;

	if (len < BODY_WORTH_MIN || (d == NULL && len < BODY_ALONE_MIN))
		return pack_raw(text, len, b);
	err = pack_frame(d, text, len, b);
	return err == ERR_MISSING ? pack_raw(text, len, b) : err;
}

static int
unpack_frame(struct zdict *d, struct bytes *r, struct arena *a, struct jstr *textp)
{
	const ZSTD_DDict *compiled = NULL;
	ZSTD_DCtx *ctx = decompressor();
	uint64_t len = bytes_varint(r);
	size_t left = bytes_left(r), n;
	char *text;

	if (r->bad || len > UINT32_MAX)
		return ERR_CORRUPT;
	if (ctx == NULL || (d != NULL && (compiled = for_reading(d)) == NULL) ||
	    (text = arena_alloc(a, (size_t)len + 1)) == NULL)
		return ERR_NOMEM;
	n = d != NULL ? ZSTD_decompress_usingDDict(ctx, text, (size_t)len, bytes_take(r, left), left, compiled)
		      : ZSTD_decompressDCtx(ctx, text, (size_t)len, bytes_take(r, left), left);
	if (ZSTD_isError(n) || n != len)
		return ERR_CORRUPT;
	textp->s = text;
	textp->len = n;
	return 0;
}

int
body_unpack(struct body_dicts *z, struct bytes *r, struct arena *a, struct jstr *textp)
{
	struct zdict *d;
	unsigned codec = bytes_u8(r);

	if (r->bad)
		return ERR_CORRUPT;
	if (codec == BODY_RAW) {
		textp->len = bytes_left(r);
		textp->s = bytes_take(r, textp->len);
		return 0;
	}
	if (codec == BODY_ZSTD)
		return unpack_frame(NULL, r, a, textp);
	if (codec != BODY_DICT || (d = zdicts_find(z, bytes_varint(r))) == NULL)
		return ERR_CORRUPT;
	return unpack_frame(d, r, a, textp);
}
