/* buf.h: a growable byte buffer that states its maximum at birth. */
#ifndef BASE_BUF_H_
#define BASE_BUF_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/*
 * Invariants: len <= cap <= max; data is NULL only while cap is 0.  A failed
 * append leaves the buffer as it was and sets failed, so that a run of appends
 * may be checked once at its end with buf_failed().
 */
struct buf {
	char *data;          /* the bytes; not terminated */
	size_t len;          /* bytes in use */
	size_t cap;          /* bytes allocated */
	size_t max;          /* never grows beyond this many bytes */
	int failed;          /* ERR_NOMEM or ERR_TOO_LARGE once an append failed, else 0 */
	struct arena *arena; /* where the memory comes from; NULL: the heap */
};

struct arena;

/** buf_init(b, max): An empty buffer of at most ${max} bytes.  Allocates nothing. */
void buf_init(struct buf *b, size_t max);

/** buf_init_arena(b, a, max): The same, but the memory is ${a}'s: nothing need be released, and growing wastes what was outgrown. */
void buf_init_arena(struct buf *b, struct arena *a, size_t max);

/** buf_release(b): Free the memory.  ${b} is then empty with the same maximum. */
void buf_release(struct buf *b);

/** buf_clear(b): Forget the bytes and a failure; keep the memory. */
void buf_clear(struct buf *b);

/**
 * buf_reserve(b, n, pp):
 * Make room for ${n} bytes behind the last; *${pp} points there until the next
 * call.  Add what was written with buf_commit().  Errors: ERR_NOMEM, ERR_TOO_LARGE.
 */
int buf_reserve(struct buf *b, size_t n, char **pp) MUST_CHECK;

/** buf_commit(b, n): ${n} bytes were written into the room buf_reserve() made. */
void buf_commit(struct buf *b, size_t n);

/* Appends.  Errors are kept in b->failed as well as returned. */
int buf_put(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_put_u64(struct buf *b, uint64_t n);    /* decimal digits */
int buf_put_varint(struct buf *b, uint64_t n); /* LEB128, 1 to 10 bytes */
int buf_put_u32be(struct buf *b, uint32_t n);
int buf_put_u64be(struct buf *b, uint64_t n);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** buf_put_json(b, s, len): Append ${s}, valid UTF-8, as a quoted JSON string in CouchDB's form. */
int buf_put_json(struct buf *b, const char *s, size_t len);

/** buf_json_plain(s, len): How many bytes at the start of ${s} stand for themselves in a JSON string. */
size_t buf_json_plain(const char *s, size_t len);

/** buf_failed(b): The first error of any append since buf_init() or buf_clear(), or 0. */
int buf_failed(const struct buf *b) MUST_CHECK;

/** buf_take(b, lenp): Give the memory to the caller, who frees it; ${b} is then empty. */
char *buf_take(struct buf *b, size_t *lenp);

/*
 * Reading: a cursor over borrowed bytes.  A read past the end yields zeros and
 * sets bad, so that a decoder may check once at its end.
 */
struct bytes {
	const unsigned char *p;
	const unsigned char *end;
	int bad;
};

void bytes_init(struct bytes *r, const void *data, size_t len);
size_t bytes_left(const struct bytes *r);
uint8_t bytes_u8(struct bytes *r);
uint32_t bytes_u32be(struct bytes *r);
uint64_t bytes_u64be(struct bytes *r);
uint64_t bytes_varint(struct bytes *r);
/** bytes_take(r, n): The next ${n} bytes, borrowed, or NULL (and bad) if there are fewer. */
const void *bytes_take(struct bytes *r, size_t n);

/** bytes_store_u64be(out, n), bytes_load_u64be(in): A number as a key, so that keys sort as numbers do. */
void bytes_store_u64be(unsigned char out[8], uint64_t n);
uint64_t bytes_load_u64be(const unsigned char in[8]);

#endif
