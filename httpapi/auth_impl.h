/* auth_impl.h: what the files auth*.c share.  Not for others. */
#ifndef HTTPAPI_AUTH_IMPL_H_
#define HTTPAPI_AUTH_IMPL_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include "httpapi/accounts.h"
#include "httpapi/auth.h"
#include "lockout.h"
#include "jwt.h"
#include "mac.h"
#include "secret.h"
#include "base/hash.h"

#define AUTH_THREADS 1024u            /* HTTP threads */
#define AUTH_SLOTS 256u               /* verified credentials that one thread keeps; a power of 2 */
#define AUTH_SHARED (16u << 10)       /* passwords that all threads together know to be right; a power of 2 */
#define AUTH_WAYS 4u                  /* places that a password may have among those */
#define AUTH_BLOB_MAX 8192u           /* bytes of a name and roles that are kept; larger ones are verified each time */
#define AUTH_CHECKS 64u               /* passwords that one thread may have in line */
#define AUTH_FAILURES_MAX (1u << 20)  /* chttpd_auth_lockout/max_objects */
#define AUTH_SETTINGS_MAX (16u << 20) /* bytes of copies of settings */
#define AUTH_MACS 8u                  /* items of chttpd_auth/hash_algorithms */

enum auth_how { AUTH_COOKIE, AUTH_DEFAULT, AUTH_JWT, AUTH_PROXY, AUTH_HOWS };

/*
 * The settings as of one moment.  They never change; a thread looks at one set for the whole of a request and keeps it
 * alive by a reference.
 */
struct auth_settings {
	unsigned refs;   /* under sessions.lock */
	uint64_t serial; /* grows with each set */
	struct arena *arena;
	enum auth_how handlers[AUTH_HOWS]; /* in the order in which they are asked */
	size_t nhandlers;
	const char *secret; /* of cookies and proxies' tokens */
	size_t secret_len;
	const struct mac *macs[AUTH_MACS]; /* the first makes, all verify */
	size_t nmacs;
	uint64_t timeout_s;                                 /* of a session */
	int persistent;                                     /* its cookie outlives the browser's run */
	int secure;                                         /* Secure also where the connection is none */
	const char *cookie_domain;                          /* or "" */
	const char *same_site;                              /* the attribute as it ends a cookie, or "" */
	const char *www_auth;                               /* the WWW-Authenticate header of a 401, or NULL */
	const char *login_page;                             /* where browsers are sent, or "" */
	int required, required_but_up;                      /* no anonymous requests (but for /_up) */
	const char *proxy_user, *proxy_roles, *proxy_token; /* headers, lower case */
	int proxy_use_secret;
	unsigned iterations; /* of new passwords: what a wrong one costs */
	struct jwt_rules jwt;
	char nobody[SECRET_LEN]; /* a stored password that nothing verifies */
};

/* Credentials that were verified.  Looked up by the keyed digest of what the client sent. */
struct auth_entry {
	unsigned char digest[SHA256_LEN];
	uint64_t serial;     /* of the settings; 0: empty */
	uint64_t generation; /* of the accounts, when the stamp was last seen to hold */
	uint64_t time_s;     /* a cookie's: when it was made; a token's: when it ends */
	uint64_t peer;       /* the address from which it was verified */
	unsigned char stamp[ACCOUNTS_STAMP_LEN];
	enum auth_how how;
	int server_admin;
	unsigned nroles, name_len, blob_len;
	char *blob; /* the name and the roles, each terminated */
};

struct auth_check;

/* What one HTTP thread keeps; touched by that thread alone. */
struct auth_table {
	struct auth_settings *settings;
	struct auth_check *checks; /* passwords in line */
	int running;               /* the first of them is in derivation */
	unsigned nchecks;
	struct auth_entry slots[AUTH_SLOTS];
};

/* A password that was verified by some thread. */
struct auth_known {
	unsigned char digest[SHA256_LEN];
	unsigned char stamp[ACCOUNTS_STAMP_LEN];
	uint64_t peer;
	uint64_t used; /* when, in uses; 0: empty */
};

struct sessions {
	unsigned char key[SHA256_LEN];       /* of the digests; random per process */
	char own_secret[2 * SHA256_LEN + 1]; /* where none is configured */
	pthread_mutex_t loading;             /* taken before the other */
	pthread_mutex_t lock;
	struct auth_settings *current; /* under the lock */
	atomic_uint_fast64_t serial;   /* current's */
	struct auth_known *known;      /* AUTH_SHARED of them, once there is one; under the lock */
	uint64_t uses;                 /* under the lock */
	struct lockout *lockout;       /* failures by account and address */
	struct auth_table *tables[AUTH_THREADS];
};

/* ---- auth.c ---- */

/** auth_table_of(r): The table of ${r}'s thread, with the settings of this request; NULL: no memory for one. */
struct auth_table *auth_table_of(struct apireq *r);
/** auth_settings_of(r): The settings of this request.  Behind auth_step() there always are some. */
const struct auth_settings *auth_settings_of(struct apireq *r);
/** auth_handler_name(how): "cookie", "default", "jwt" or "proxy". */
const char *auth_handler_name(enum auth_how how);
/** auth_grant(r, name, roles, nroles, how): Set who asks, copied.  Server administrators have the role _admin.  ERR_NOMEM. */
int auth_grant(
    struct apireq *r, struct jstr name, const char *const *roles, size_t nroles, enum auth_how how) MUST_CHECK;
/** auth_forget(text): Overwrite what was a password. */
void auth_forget(struct jstr text);
/** auth_peer(r): A number for the client's address; see lockout.h. */
uint64_t auth_peer(struct apireq *r);

/* ---- auth_settings.c ---- */

/** auth_settings_new(api, serial, sp): The settings as they stand, with one reference.  Errors: ERR_NOMEM. */
int auth_settings_new(struct api *api, uint64_t serial, struct auth_settings **sp) MUST_CHECK;
/** auth_settings_free(s): No reference is left. */
void auth_settings_free(struct auth_settings *s);

/* ---- auth_cache.c ---- */

/** auth_digest(s, text, len, out): What a client sent, under the process's key: never kept itself. */
void auth_digest(const struct sessions *s, const char *text, size_t len, unsigned char out[SHA256_LEN]);
/**
 * auth_recall(r, digest, ep): 0 and the entry of credentials that were verified and still hold; ERR_MISSING: they must be
 * verified.  Other errors: ERR_NOMEM, ERR_IO, ERR_CORRUPT.
 */
int auth_recall(struct apireq *r, const unsigned char digest[SHA256_LEN], struct auth_entry **ep) MUST_CHECK;
/** auth_grant_entry(r, e): auth_grant() of what ${e} says. */
int auth_grant_entry(struct apireq *r, const struct auth_entry *e) MUST_CHECK;
/**
 * auth_remember(r, model, name, roles, nroles): Keep ${model} (whose digest, generation, time_s, peer, stamp and how are
 * set) for this thread.  Without memory it is not kept.
 */
void auth_remember(
    struct apireq *r, const struct auth_entry *model, struct jstr name, const char *const *roles, size_t nroles);
/**
 * auth_known(s, digest, stamp, peerp): 1 if some thread has verified this password when the account had this stamp; from
 * address *${peerp}.  auth_make_known(): Some thread has.
 */
int auth_known(struct sessions *s, const unsigned char digest[SHA256_LEN],
    const unsigned char stamp[ACCOUNTS_STAMP_LEN], uint64_t *peerp) MUST_CHECK;
void auth_make_known(struct sessions *s, const unsigned char digest[SHA256_LEN],
    const unsigned char stamp[ACCOUNTS_STAMP_LEN], uint64_t peer);

/* ---- auth_check.c ---- */

/* How the check of a password ended. */
struct auth_verdict {
	int err; /* 0: it is right; ERR_BAD_LOGIN, ERR_LOCKED_OUT, ERR_BUSY, ERR_NOMEM, ... */
	struct jstr name;
	const struct account *account; /* if it is right */
};
/** An auth_done_f gets what it needs of ${v} now: it does not live longer. */
typedef void auth_done_f(struct apireq *r, api_f *then, const struct auth_verdict *v);

/**
 * auth_check(r, digest, name, password, then, done): Verify a password, and call ${done} at once or later, on the
 * request's thread.  ${name} and ${password} live in the request's arena, terminated; the password is overwritten.
 * Of an account that wants a one-time password no password is right without ${token}, which a Basic header has not (NULL).
 */
void auth_check(struct apireq *r, const unsigned char digest[SHA256_LEN], struct jstr name, struct jstr password,
    const struct jstr *token, api_f *then, auth_done_f *done);

/* ---- auth_cookie.c, auth_jwt.c, auth_proxy.c ---- */

/*
 * A step of one way to authenticate: 1: it says who asks; 0: it has nothing to say; -1: the request is answered.
 */
int auth_cookie_step(struct apireq *r) MUST_CHECK;
int auth_jwt_step(struct apireq *r) MUST_CHECK;
int auth_proxy_step(struct apireq *r) MUST_CHECK;
/**
 * auth_cookie_issue(r, name, salt): Set the Set-Cookie header of a new session of the account with this salt; NULL: of
 * the end of one.
 */
int auth_cookie_issue(struct apireq *r, const char *name, struct jstr salt) MUST_CHECK;

#endif
