/* find_words.h: reading the bodies of Mango's requests, and CouchDB's words for what is wrong in them. */
#ifndef HTTPAPI_FIND_WORDS_H_
#define HTTPAPI_FIND_WORDS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"

/* A member that an object may have. */
struct find_member {
	const char *name;
	struct jstr value; /* JSON as CouchDB prints it; len 0: not given */
};

/**
 * find_words_body(a, body, outp, why): The JSON object ${body} as CouchDB prints it, in ${a}: of members that are given twice, however deep, the
 * last.  Errors: ERR_BAD_JSON, ERR_BAD_REQUEST ("Request body must be a JSON object"), ERR_TOO_LARGE (LIMIT_FIND_LEN), ERR_NOMEM.
 */
int find_words_body(struct arena *a, struct jstr body, struct jstr *outp, struct errtext *why) MUST_CHECK;
/**
 * find_words_members(a, object, members, n, unknownp): The values of ${object}, which find_words_body() gave or is part of what it gave; they point
 * into it.  *${unknownp} is the first name that is none of theirs, in ${a}, and its s is NULL if there is none: CouchDB
 * finds fault with that one last, by find_words_unknown().  Errors: ERR_BAD_JSON (no object), ERR_NOMEM.
 */
int find_words_members(
    struct arena *a, struct jstr object, struct find_member *members, size_t n, struct jstr *unknownp) MUST_CHECK;

/* What is wrong: each returns its error, so that a caller can `return find_words_missing(...)`. */

/** find_words_missing(name, why): ERR_MISSING_KEY.  find_words_unknown(name, why): ERR_INVALID_KEY. */
int find_words_missing(const char *name, struct errtext *why) MUST_CHECK;
int find_words_unknown(struct jstr name, struct errtext *why) MUST_CHECK;
/**
 * find_words_wrong(code, before, json, behind, why): "BEFORE<<120>>BEHIND": the value "x" as Erlang writes terms (~w).
 * find_words_wrong_pretty(): the same as it prints them for people (~p): <<"x">>.
 */
int find_words_wrong(
    int code, const char *before, struct jstr json, const char *behind, struct errtext *why) MUST_CHECK;
int find_words_wrong_pretty(
    int code, const char *before, struct jstr json, const char *behind, struct errtext *why) MUST_CHECK;

/* Values.  What is given is JSON as CouchDB prints it. */

/** find_words_string(a, json, outp, why): Unescaped, in ${a}, terminated.  Errors: ERR_NOT_STRING, ERR_NOMEM. */
int find_words_string(struct arena *a, struct jstr json, struct jstr *outp, struct errtext *why) MUST_CHECK;
/** find_words_bool(json, vp, why): Errors: ERR_NOT_BOOLEAN. */
int find_words_bool(struct jstr json, int *vp, struct errtext *why) MUST_CHECK;
/** find_words_natural(json, vp, why): An integer from 0; what is beyond FIND_WORDS_MANY is that.  Errors: ERR_NOT_NATURAL. */
int find_words_natural(struct jstr json, uint64_t *vp, struct errtext *why) MUST_CHECK;
/** find_words_positive(json, vp, why): The same from 1.  Errors: ERR_NOT_POSITIVE. */
int find_words_positive(struct jstr json, uint64_t *vp, struct errtext *why) MUST_CHECK;
#define FIND_WORDS_MANY (UINT64_C(1) << 53)

#endif
