/* icu.h: ICU's root collation, loaded when it is first needed. */
#ifndef QUERY_ICU_H_
#define QUERY_ICU_H_

#include "base/err.h"
#include "base/jread.h"

/** icu_compare(a, b, orderp): Compare two valid UTF-8 strings.  Any thread.  Errors: ERR_INTERNAL: ICU cannot be loaded, or failed. */
int icu_compare(struct jstr a, struct jstr b, int *orderp) MUST_CHECK;

#endif
