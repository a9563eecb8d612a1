/* jsonnum.h: JSON's numbers as CouchDB reads, prints and hashes them.  Private to base/ and to query/number.c. */
#ifndef BASE_JSONNUM_H_
#define BASE_JSONNUM_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define JSONNUM_FLOAT_MAX 32u /* bytes of a float's text */

/**
 * jsonnum_end(p, end, floatp): Behind the number at ${p}; NULL if it is none.  *${floatp}: it has a fraction
 * or an exponent.
 */
const char *jsonnum_end(const char *p, const char *end, int *floatp);

/**
 * jsonnum_float(s, len, out, lenp, vp):
 * The value of ${s}, a number for jsonnum_end() with a fraction or an exponent, and its text in CouchDB's form
 * (${out} may be NULL).  Errors: ERR_BAD_JSON: beyond a double.
 */
int jsonnum_float(const char *s, size_t len, char *out, size_t *lenp, double *vp) MUST_CHECK;

/** jsonnum_small(s, len, vp): Returns 1 and the value if the integer ${s} has at most 18 digits, else 0. */
int jsonnum_small(const char *s, size_t len, int64_t *vp);

/**
 * jsonnum_big(s, len, out): The magnitude of the integer ${s} as little-endian bytes without leading zeros into
 * ${out}, which has room for ${len} / 2 + 8.  Returns their number.
 */
size_t jsonnum_big(const char *s, size_t len, unsigned char *out);

#endif
