/* secret.h: stored passwords in CouchDB's forms. */
#ifndef HTTPAPI_SECRET_H_
#define HTTPAPI_SECRET_H_

#include <stddef.h>
#include "base/err.h"

#define SECRET_ITERATIONS 600000u        /* chttpd_auth/iterations' default */
#define SECRET_MAX_ITERATIONS 100000000u /* more is not taken from anywhere: a quarter of a minute a guess */
#define SECRET_LEN 256u                  /* room for a stored form that secret_hash() makes, with its NUL */
#define SECRET_SALT_LEN 32u              /* characters of a salt that is made here */
#define SECRET_SALT_MAX 1024u            /* of one that is taken from elsewhere */
#define SECRET_KEY_MAX 64u               /* bytes of the longest key */

/* A stored password taken apart. */
struct secret {
	char prf
	    [8]; /* of PBKDF2: sha, sha224, sha256, sha384 or sha512; empty: "simple", SHA-1 over password and salt */
	unsigned char key[SECRET_KEY_MAX];
	size_t key_len;
	const char *salt; /* borrowed */
	size_t salt_len;
	unsigned iterations; /* of PBKDF2 */
};

/** secret_key_len(prf): Bytes of a key that ${prf} makes ("": simple); 0: it is not known. */
size_t secret_key_len(const char *prf);

/** secret_is_hashed(stored): 1 if ${stored} is a hash, 0 if it is the password itself. */
int secret_is_hashed(const char *stored);

/**
 * secret_parse(stored, out): 1, and ${stored} taken apart, if it is a hash in a form that is known: "-pbkdf2:PRF-KEY,SALT,ITERATIONS",
 * "-pbkdf2-KEY,SALT,ITERATIONS" (SHA-1), "-hashed-KEY,SALT".  A key must have its algorithm's length.
 */
int secret_parse(const char *stored, struct secret *out) MUST_CHECK;

/**
 * secret_put(s, out, max): Write ${s} in that form, terminated, to ${out} of ${max} bytes; 0 if it has no room or ${s} has no
 * such form (a salt with a NUL).
 */
int secret_put(const struct secret *s, char *out, size_t max) MUST_CHECK;

/** secret_salt(out): A random salt, not terminated. */
void secret_salt(char out[SECRET_SALT_LEN]);

/**
 * secret_derive(s, password, len): Set s->key and its length by the rest of ${s}.  Costs 0.14 s of CPU at 600,000 iterations of
 * sha256: not on an event loop.  Errors: ERR_INTERNAL, also for a PRF that is not known.
 */
int secret_derive(struct secret *s, const char *password, size_t len) MUST_CHECK;

/**
 * secret_hash(password, len, iterations, out): "-pbkdf2:sha256-KEY,SALT,ITERATIONS" with a random salt.
 * Cost as secret_derive().  Errors: ERR_INTERNAL.
 */
int secret_hash(const char *password, size_t len, unsigned iterations, char out[SECRET_LEN]) MUST_CHECK;

/**
 * secret_check(stored, password, len, okp): *${okp}: 1 if ${password} is the one that ${stored} was made of.
 * Knows what secret_parse() does, and plain text.  Cost as secret_derive().  Errors: ERR_INTERNAL: it is not known, and no wrong password.
 */
int secret_check(const char *stored, const char *password, size_t len, int *okp) MUST_CHECK;

#endif
