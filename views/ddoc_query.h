/* ddoc_query.h: what a view of the language "query" defines: columns and a filter.  Pure.  Private to views/. */
#ifndef VIEWS_DDOC_QUERY_H_
#define VIEWS_DDOC_QUERY_H_

#include "ddoc.h"

/**
 * ddoc_query_map(def, a, out): Of ${def}, the object that stands where another language has a function; ${out}'s text is the same for definitions of the
 * same rows.  ERR_END: it defines nothing that could be built, and is left out.  Errors: ERR_NOMEM, ERR_INTERNAL.
 */
int ddoc_query_map(struct jstr def, struct arena *a, struct ddoc_map *out) MUST_CHECK;

#endif
