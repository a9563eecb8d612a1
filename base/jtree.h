/* jtree.h: JSON text as a tree of Jansson's, for what is looked at in no order or changed. */
#ifndef BASE_JTREE_H_
#define BASE_JTREE_H_

#include "base/err.h"
#include "base/jread.h"

struct json_t; /* Jansson's */

#define JTREE_NUL 1u   /* strings may have a NUL in them; keys never do */
#define JTREE_REALS 2u /* integers become reals */
#define JTREE_NEAR \
	4u /* for looking at: an integer beyond 64 bits becomes the nearest within, a member whose key has a NUL is left out */

/**
 * jtree_load(text, how, vp): *${vp} is the value that ${text} is, the caller's to json_decref(); ${how}: JTREE_*.  Of members with the same key
 * the last holds, in the first one's place.  Errors: ERR_NOMEM; ERR_BAD_JSON: no JSON, or a tree has no room for it: a NUL,
 * an integer beyond 64 bits, a number beyond a double.
 */
int jtree_load(struct jstr text, unsigned how, struct json_t **vp) MUST_CHECK;

#endif
