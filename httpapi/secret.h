/* secret.h: stored passwords in CouchDB's forms. */
#ifndef HTTPAPI_SECRET_H_
#define HTTPAPI_SECRET_H_

#include <stddef.h>
#include "base/err.h"

#define SECRET_ITERATIONS 600000u /* chttpd_auth/iterations' default */
#define SECRET_LEN 160u           /* room for a stored form that secret_hash() makes, with its NUL */

/** secret_is_hashed(stored): 1 if ${stored} is a hash, 0 if it is the password itself. */
int secret_is_hashed(const char *stored);

/**
 * secret_hash(password, len, iterations, out): "-pbkdf2:sha256-KEY,SALT,ITERATIONS" with a random salt.
 * Costs 0.14 s of CPU at 600,000 iterations: not on an event loop.  Errors: ERR_INTERNAL.
 */
int secret_hash(const char *password, size_t len, unsigned iterations, char out[SECRET_LEN]) MUST_CHECK;

/**
 * secret_check(stored, password, len): 1 if ${password} is the one that ${stored} was made of.
 * Knows "-pbkdf2:PRF-KEY,SALT,ITERATIONS", "-pbkdf2-KEY,SALT,ITERATIONS" (SHA-1),
 * "-hashed-KEY,SALT" and plain text.  Cost as secret_hash().
 */
int secret_check(const char *stored, const char *password, size_t len) MUST_CHECK;

#endif
