/* icu.h: ICU's root collation, loaded when it is first needed. */
#ifndef QUERY_ICU_H_
#define QUERY_ICU_H_

#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

/** icu_compare(a, b, orderp): Compare two valid UTF-8 strings.  Any thread.  Errors: as library_load(), ERR_NOMEM; ERR_INTERNAL: ICU failed. */
int icu_compare(struct jstr a, struct jstr b, int *orderp) MUST_CHECK;
/**
 * icu_sortkey(s, max, out): Append the first ${max} bytes of the sort key of a valid UTF-8 string, which has no NUL here.  Errors: as icu_compare(), and
 * ${out}'s.
 */
int icu_sortkey(struct jstr s, size_t max, struct buf *out) MUST_CHECK;
/** icu_version(out): The version of the collation, 4 bytes: keys of different ones do not compare.  Errors: as library_load(). */
int icu_version(unsigned char out[4]) MUST_CHECK;

#endif
