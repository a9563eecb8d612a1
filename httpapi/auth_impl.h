/* auth_impl.h: what auth.c, auth_cookie.c and auth_session.c share.  Not for others. */
#ifndef HTTPAPI_AUTH_IMPL_H_
#define HTTPAPI_AUTH_IMPL_H_

#include <stdatomic.h>
#include <stdint.h>
#include "httpapi/auth.h"
#include "secret.h"
#include "base/hash.h"

#define AUTH_THREADS 128u /* HTTP threads that cache; more do without */
#define AUTH_SLOTS 64u    /* cached credentials of one thread; a power of 2 */
#define AUTH_NAME_MAX 128u
#define AUTH_BLOCK 64u  /* bytes that SHA-256 takes at a time */
#define AUTH_CHECKS 64u /* passwords that one thread may have in line */
#define AUTH_LOGINS 4u  /* logins that one thread may have in derivation */

/* Credentials that were verified.  Looked up by the keyed digest of what the client sent. */
struct auth_entry {
	unsigned char digest[SHA256_LEN];
	uint64_t generation; /* of the configuration; 0: empty */
	uint64_t issued_s;   /* a cookie's time; 0: not a cookie */
	char name[AUTH_NAME_MAX];
};

/* What one HTTP thread keeps; touched by that thread alone. */
struct auth_table {
	struct auth_entry slots[AUTH_SLOTS];
	struct auth_check *checks; /* passwords in derivation */
	unsigned nchecks;
	unsigned nlogins;
};

struct sessions {
	unsigned char key[SHA256_LEN];   /* of the digests; random per process */
	unsigned char inner[AUTH_BLOCK]; /* the key as HMAC mixes it in */
	unsigned char outer[AUTH_BLOCK];
	char own_secret[2 * SHA256_LEN + 1]; /* cookies' secret where none is configured */
	char nobody[SECRET_LEN];             /* a stored password that nothing verifies */
	_Atomic(const char *) secret;
	_Atomic(const char *) same_site; /* the attribute as it ends a cookie, or "" */
	atomic_uint_fast64_t generation; /* grows with every change of the configuration */
	atomic_uint_fast64_t timeout_s;
	atomic_int required; /* no anonymous requests */
	struct auth_table *tables[AUTH_THREADS];
};

/** auth_stored(api, name, len): The stored password of account ${name} (not terminated), or NULL. */
const char *auth_stored(struct api *api, const char *name, size_t len);
/** auth_table_of(r): The table of ${r}'s thread, or NULL. */
struct auth_table *auth_table_of(struct apireq *r);
/** auth_grant(r, name, len, how): Set who asks; ERR_NOMEM. */
int auth_grant(struct apireq *r, const char *name, size_t len, const char *how) MUST_CHECK;

/** auth_digest(s, text, len, out): The HMAC-SHA256 of what a client sent, under the process's key. */
void auth_digest(const struct sessions *s, const char *text, size_t len, unsigned char out[SHA256_LEN]);
/** auth_recall(r, digest, ep): 1 and the entry if these credentials were verified. */
int auth_recall(struct apireq *r, const unsigned char digest[SHA256_LEN], struct auth_entry **ep) MUST_CHECK;
/** auth_remember(r, digest, generation, name, issued_s): Keep verified credentials, as of ${generation}. */
void auth_remember(
    struct apireq *r, const unsigned char digest[SHA256_LEN], uint64_t generation, struct jstr name, uint64_t issued_s);

/**
 * auth_cookie_step(r): 1 if a session cookie says who asks, 0 if there is none or it is over, else
 * a negative ERR_*: -ERR_BAD_REQUEST for one that is malformed.
 */
int auth_cookie_step(struct apireq *r) MUST_CHECK;
/**
 * auth_cookie_issue(r, name, stored): Set the Set-Cookie header of a new session; NULL: of the end
 * of one.
 */
int auth_cookie_issue(struct apireq *r, const char *name, const char *stored) MUST_CHECK;

#endif
