/* userdoc.h: the members of a user's document, such as _users has them. */
#ifndef HTTPAPI_USERDOC_H_
#define HTTPAPI_USERDOC_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "secret.h"

#define USERDOC_PREFIX "org.couchdb.user:"

enum userdoc_field {
	USERDOC_NAME,
	USERDOC_TYPE,
	USERDOC_ROLES,
	USERDOC_TOTP,
	/* The password's, from here on. */
	USERDOC_PASSWORD,
	USERDOC_PASSWORD_SCHEME,
	USERDOC_PASSWORD_SHA,
	USERDOC_PBKDF2_PRF,
	USERDOC_DERIVED_KEY,
	USERDOC_SALT,
	USERDOC_ITERATIONS,
	USERDOC_PRESERVE_SALT,
	USERDOC_FIELDS
};

/* JSON texts of members, within the document's; len 0: it has none of that name. */
struct userdoc {
	struct jstr field[USERDOC_FIELDS];
};

/** userdoc_parse(body, out): Find the members of ${body}, a document without underscore members.  Errors: ERR_BAD_JSON, ERR_NOMEM. */
int userdoc_parse(struct jstr body, struct userdoc *out) MUST_CHECK;

/** userdoc_field(key): Which member ${key} is, or USERDOC_FIELDS. */
enum userdoc_field userdoc_field(const struct jstr *key);

/** userdoc_true(value): Does JavaScript take it for true?  What is not there, false, null, 0 and "" are not. */
int userdoc_true(const struct jstr *value);

/** userdoc_string(value, a, outp): A string's content.  Errors: ERR_BAD_REQUEST (it is none), ERR_NOMEM. */
int userdoc_string(const struct jstr *value, struct arena *a, struct jstr *outp) MUST_CHECK;

/**
 * userdoc_roles(value, a, rolesp, np): The strings of an array, terminated.  Errors: ERR_BAD_REQUEST (it is none, or has
 * an element of another type), ERR_NOMEM.
 */
int userdoc_roles(const struct jstr *value, struct arena *a, struct jstr **rolesp, size_t *np) MUST_CHECK;

/**
 * userdoc_secret(doc, a, max_iterations, out): What the document's password was made into.  Errors: ERR_MISSING: it has
 * none, or one in a form that is not known, or one that takes more iterations; ERR_NOMEM.
 */
int userdoc_secret(const struct userdoc *doc, struct arena *a, unsigned max_iterations, struct secret *out) MUST_CHECK;

/**
 * userdoc_copy(body, keep, cookie, b): Append the members of ${body} for whose key ${keep} returns not 0, each with a
 * comma before it if the last byte of ${b} is not '{'.  Errors: ERR_BAD_JSON, ERR_NOMEM, ERR_TOO_LARGE.
 */
typedef int userdoc_keep_f(const void *cookie, const struct jstr *key);
int userdoc_copy(struct jstr body, userdoc_keep_f *keep, const void *cookie, struct buf *b) MUST_CHECK;

#endif
