/* sorter.h: more records than fit into memory, given back in the order of their keys.  Private to views/. */
#ifndef VIEWS_SORTER_H_
#define VIEWS_SORTER_H_

#include <stddef.h>
#include "base/err.h"
#include "base/jread.h"

/* Opaque. */
struct sorter;

/** sorter_new(dir, sp): What does not fit goes into a file without a name in the folder ${dir}; NULL: into memory all the same.  Errors: ERR_NOMEM. */
int sorter_new(const char *dir, struct sorter **sp) MUST_CHECK;
/** sorter_free(s): NULL is allowed. */
void sorter_free(struct sorter *s);

/**
 * sorter_add(s, tag, key, val): A copy is kept.  The order is that of the tags, then of the keys as bytes; no key is the beginning of another of its
 * tag.  Errors: ERR_NOMEM, ERR_IO, ERR_NOSPACE.
 */
int sorter_add(struct sorter *s, unsigned char tag, struct jstr key, struct jstr val) MUST_CHECK;
/** sorter_bytes(s): Of all keys and values. */
size_t sorter_bytes(const struct sorter *s);

/** sorter_sort(s): All is there; sorter_next() begins with the first.  May be called again, to begin again.  Errors: as sorter_add(). */
int sorter_sort(struct sorter *s) MUST_CHECK;
/** sorter_next(s, tag, key, val): Memory: the sorter's, until its end.  ERR_END: that was all. */
int sorter_next(struct sorter *s, unsigned char *tag, struct jstr *key, struct jstr *val) MUST_CHECK;

#endif
