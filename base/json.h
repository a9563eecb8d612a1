/*
 * json.h: a pull reader over JSON text that validates as CouchDB does and
 * writes values in CouchDB's own text form.  No tree is built.
 *
 * Use: json_init(); then one value by json_object_*, json_array_*,
 * json_string, json_text or json_skip; then json_end().  Every error is
 * ERR_BAD_JSON but where stated, and the reader is then of no further use.
 */
#ifndef BASE_JSON_H_
#define BASE_JSON_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

enum json_type {
	JSON_ERROR,
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL
};

struct json {
	const char *p;   /* next byte to read */
	const char *end; /* behind the last byte */
	unsigned depth;  /* objects and arrays entered and not left */
};

/* A string as it stands in the input, or unescaped in a caller's buffer. */
struct jstr {
	const char *s;
	size_t len;
};

/** json_init(j, text, len): Start to read ${text}, which must outlive ${j}. */
void json_init(struct json *j, const char *text, size_t len);

/** json_peek(j): Skip white space and tell the type of the next value from its first byte alone; JSON_ERROR at the end of input. */
enum json_type json_peek(struct json *j);

/** json_object_begin(j), json_array_begin(j): Step into an object or array. */
int json_object_begin(struct json *j) MUST_CHECK;
int json_array_begin(struct json *j) MUST_CHECK;

/**
 * json_object_next(j, scratch, keyp):
 * Step to the next member: *${keyp} is its key, pointing into the input or,
 * where it has escapes, into ${scratch} (cleared first), until the next use of
 * ${scratch}; the reader then stands before the value, which the caller must
 * read.  Returns ERR_END once behind the closing brace.
 */
int json_object_next(struct json *j, struct buf *scratch, struct jstr *keyp) MUST_CHECK;

/** json_array_next(j): Step to the next element.  Returns ERR_END once behind the closing bracket. */
int json_array_next(struct json *j) MUST_CHECK;

/** json_string(j, scratch, sp): Read a string, unescaped; memory as for keys.  A value of another type is ERR_BAD_REQUEST and is not consumed. */
int json_string(struct json *j, struct buf *scratch, struct jstr *sp) MUST_CHECK;

/** json_bool(j, vp), json_u64(j, vp): Read true or false; a non-negative integer up to 2^64 - 1.  Another type or range: ERR_BAD_REQUEST, not consumed. */
int json_bool(struct json *j, int *vp) MUST_CHECK;
int json_u64(struct json *j, uint64_t *vp) MUST_CHECK;

/**
 * json_text(j, text, etf):
 * Read a value, and append it to ${text} as CouchDB prints it (ARCHITECTURE
 * section 5: no white space, minimal escapes, integers of any size, floats as the shortest double in
 * CouchDB's form, duplicate members: the last) and to ${etf}, if not NULL, as the
 * Erlang external term that CouchDB hashes, without the version byte.
 * Errors also: ERR_NOMEM, ERR_TOO_LARGE (up to 64 bytes before a buffer's maximum); both buffers then hold what they held before.
 */
int json_text(struct json *j, struct buf *text, struct buf *etf) MUST_CHECK;

/**
 * json_text_members(j, text, etf, fn, cookie):
 * As json_text() of an object, but each of its own members (not those deeper) whose key begins
 * with '_' is given to ${fn} first, unescaped.  It reads the value from ${j} and returns 0: the member is then not
 * written.  Or it reads nothing and returns ERR_END: the member is written as any other.  What else it returns ends
 * the reading.  ${etf} must not be NULL; ${key} lives until ${fn} returns.  Errors: as json_text(); ERR_BAD_REQUEST: no object (not consumed).
 */
typedef int json_member_f(void *cookie, struct jstr key, struct json *j);
int json_text_members(struct json *j, struct buf *text, struct buf *etf, json_member_f *fn, void *cookie) MUST_CHECK;

/** json_skip(j, spanp): Validate and pass over a value; *${spanp} (may be NULL) is its text in the input. */
int json_skip(struct json *j, struct jstr *spanp) MUST_CHECK;

/** json_end(j): ERR_BAD_JSON unless only white space is left. */
int json_end(struct json *j) MUST_CHECK;

/** json_utf8_ok(s, len): 1 if ${s} is valid UTF-8 as CouchDB takes it. */
int json_utf8_ok(const char *s, size_t len) MUST_CHECK;

#endif
