/* live_set.h: the documents that a live query has found, in its order, and what is kept of each.  Pure. */
#ifndef HTTPAPI_LIVE_SET_H_
#define HTTPAPI_LIVE_SET_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/jread.h"

/* What is kept of a document. */
struct live_member {
	struct jstr key; /* what it is ordered by, before its id: bytes */
	struct jstr id;
	uint64_t mark; /* of what is shown of it: another one where that has changed */
};

struct live_slot {
	uint32_t at;   /* its record */
	uint32_t hash; /* of its id */
};

/* Shared by those who hold it, and changed only by one who holds it alone. */
struct live_set {
	unsigned refs;
	int descending;
	int keyed;               /* some key was not empty */
	struct live_slot *slots; /* in order */
	uint32_t n, cap;
	char *bytes; /* the records */
	uint32_t used, size;
	uint32_t gone;  /* bytes of records that nobody names */
	uint32_t fence; /* a record: nothing is known of what is behind it.  LIVE_SET_NO_FENCE: all is known */
};

#define LIVE_SET_NO_FENCE UINT32_MAX

/**
 * live_set_new(descending, sp): An empty one, held once.  live_set_copy(s, sp): Another one with the same members.
 * live_set_hold(s), live_set_drop(s): NULL is allowed.  Errors: ERR_NOMEM.
 */
int live_set_new(int descending, struct live_set **sp) MUST_CHECK;
int live_set_copy(const struct live_set *s, struct live_set **sp) MUST_CHECK;
struct live_set *live_set_hold(struct live_set *s);
void live_set_drop(struct live_set *s);

/** live_set_get(s, i): The member at ${i}; it lives until the set is changed. */
struct live_member live_set_get(const struct live_set *s, uint32_t i);
/** live_set_find(s, id): Where the document ${id} is; s->n: it is no member. */
uint32_t live_set_find(const struct live_set *s, struct jstr id);
/** live_set_place(s, key, id): Where such a member would stand: how many are before it. */
uint32_t live_set_place(const struct live_set *s, struct jstr key, struct jstr id);

/**
 * live_set_put(s, m, ip): Take in ${m}, whose id no member has; *${ip} is its place.  Errors: ERR_NOMEM; ERR_TOO_LARGE: there are
 * LIMIT_LIVE_MEMBERS, or LIMIT_LIVE_BYTES of them; ${s} is then unchanged.
 * live_set_del(s, i): Take out the member at ${i}.  live_set_mark(s, i, mark): Its mark is another one now.
 */
int live_set_put(struct live_set *s, const struct live_member *m, uint32_t *ip) MUST_CHECK;
void live_set_del(struct live_set *s, uint32_t i);
void live_set_mark(struct live_set *s, uint32_t i, uint64_t mark);

/**
 * live_set_fence(s, key, id): From now on nothing is known of what is behind this place; who is told of a document there does not
 * take it in.  live_set_unfence(s): All is known.  live_set_is_behind(s, key, id): Is this place behind the fence?
 * live_set_trim(s, n): Take out all but the first ${n}, which are more than 0, and put the fence behind them.
 * Errors: as live_set_put().
 */
int live_set_fence(struct live_set *s, struct jstr key, struct jstr id) MUST_CHECK;
void live_set_unfence(struct live_set *s);
int live_set_is_behind(const struct live_set *s, struct jstr key, struct jstr id);
int live_set_trim(struct live_set *s, uint32_t n) MUST_CHECK;

/** live_set_check(s): Assert what live_set.c says of it.  For tests. */
void live_set_check(const struct live_set *s);

#endif
