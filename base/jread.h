/*
 * jread.h: a pull reader over JSON text that validates as CouchDB does and
 * writes values in CouchDB's own text form.  No tree is built.
 *
 * Use: jread_init(); then one value by jread_object_*, jread_array_*,
 * jread_string, jread_text or jread_skip; then jread_end().  Every error is
 * ERR_BAD_JSON but where stated, and the reader is then of no further use.
 */
#ifndef BASE_JREAD_H_
#define BASE_JREAD_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"

enum jread_type {
	JREAD_ERROR,
	JREAD_OBJECT,
	JREAD_ARRAY,
	JREAD_STRING,
	JREAD_NUMBER,
	JREAD_TRUE,
	JREAD_FALSE,
	JREAD_NULL
};

struct jread {
	const char *p;   /* next byte to read */
	const char *end; /* behind the last byte */
	unsigned depth;  /* objects and arrays entered and not left */
};

/* A string as it stands in the input, or unescaped in a caller's buffer. */
struct jstr {
	const char *s;
	size_t len;
};

/** jstr_is(s, word): 1 if ${s} is ${word}, byte for byte. */
static inline int
jstr_is(const struct jstr *s, const char *word)
{
	size_t len = strlen(word);

	return s->len == len && (len == 0 || memcmp(s->s, word, len) == 0);
}

/** jstr_equal(a, b): Byte for byte. */
static inline int
jstr_equal(struct jstr a, struct jstr b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}

/** jstr_order(a, b): Of two struct jstr, for qsort() and bsearch(): by bytes. */
static inline int
jstr_order(const void *a, const void *b)
{
	const struct jstr *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int c = n > 0 ? memcmp(x->s, y->s, n) : 0;

	return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

/** jread_init(j, text, len): Start to read ${text}, which must outlive ${j}. */
void jread_init(struct jread *j, const char *text, size_t len);

/** jread_peek(j): Skip white space and tell the type of the next value from its first byte alone; JREAD_ERROR at the end of input. */
enum jread_type jread_peek(struct jread *j);

/** jread_object_begin(j), jread_array_begin(j): Step into an object or array. */
int jread_object_begin(struct jread *j) MUST_CHECK;
int jread_array_begin(struct jread *j) MUST_CHECK;

/**
 * jread_object_next(j, scratch, keyp):
 * Step to the next member: *${keyp} is its key, pointing into the input or,
 * where it has escapes, into ${scratch} (cleared first), until the next use of
 * ${scratch}; the reader then stands before the value, which the caller must
 * read.  Returns ERR_END once behind the closing brace.
 */
int jread_object_next(struct jread *j, struct buf *scratch, struct jstr *keyp) MUST_CHECK;

/** jread_array_next(j): Step to the next element.  Returns ERR_END once behind the closing bracket. */
int jread_array_next(struct jread *j) MUST_CHECK;

/**
 * jread_find(j, scratch, name): From before an object to before the value of its first member ${name}; the reader is then within the object.  ERR_END:
 * it has none, or there is no object (which is not consumed).
 */
int jread_find(struct jread *j, struct buf *scratch, struct jstr name) MUST_CHECK;

/** jread_string(j, scratch, sp): Read a string, unescaped; memory as for keys.  A value of another type is ERR_BAD_REQUEST and is not consumed. */
int jread_string(struct jread *j, struct buf *scratch, struct jstr *sp) MUST_CHECK;

/** jread_bool(j, vp), jread_u64(j, vp): Read true or false; a non-negative integer up to 2^64 - 1.  Another type or range: ERR_BAD_REQUEST, not consumed. */
int jread_bool(struct jread *j, int *vp) MUST_CHECK;
int jread_u64(struct jread *j, uint64_t *vp) MUST_CHECK;

/**
 * jread_text(j, text, etf):
 * Read a value, and append it to ${text} as CouchDB prints it (ARCHITECTURE
 * section 5: no white space, minimal escapes, integers of any size, floats as the shortest double in
 * CouchDB's form, duplicate members: the last) and to ${etf}, if not NULL, as the
 * Erlang external term that CouchDB hashes, without the version byte.
 * Errors also: ERR_NOMEM, ERR_TOO_LARGE (up to 64 bytes before a buffer's maximum); both buffers then hold what they held before.
 */
int jread_text(struct jread *j, struct buf *text, struct buf *etf) MUST_CHECK;

/**
 * jread_text_members(j, text, etf, fn, cookie):
 * As jread_text() of an object, but each of its own members (not those deeper) whose key begins
 * with '_' is given to ${fn} first, unescaped.  It reads the value from ${j} and returns 0: the member is then not
 * written.  Or it reads nothing and returns ERR_END: the member is written as any other.  What else it returns ends
 * the reading.  ${etf} must not be NULL; ${key} lives until ${fn} returns.  Errors: as jread_text(); ERR_BAD_REQUEST: no object (not consumed).
 */
typedef int json_member_f(void *cookie, struct jstr key, struct jread *j);
int jread_text_members(struct jread *j, struct buf *text, struct buf *etf, json_member_f *fn, void *cookie) MUST_CHECK;

/** jread_skip(j, spanp): Validate and pass over a value; *${spanp} (may be NULL) is its text in the input. */
int jread_skip(struct jread *j, struct jstr *spanp) MUST_CHECK;

/** jread_end(j): ERR_BAD_JSON unless only white space is left. */
int jread_end(struct jread *j) MUST_CHECK;

/** jread_utf8_ok(s, len): 1 if ${s} is valid UTF-8 as CouchDB takes it. */
int jread_utf8_ok(const char *s, size_t len) MUST_CHECK;

#endif
