/*
 * jwt.h: JSON Web Tokens (RFC 7519) as CouchDB takes them: HS, RS and ES with 256, 384 and 512, and EdDSA.  Pure: no request, no
 * clock, no configuration of its own.
 */
#ifndef HTTPAPI_JWT_H_
#define HTTPAPI_JWT_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"

#define JWT_LEN_MAX 16384u  /* characters of a token */
#define JWT_ROLES_MAX 1024u /* roles in one */
#define JWT_KEYS_MAX 1000u  /* keys in the configuration */
#define JWT_PATH_MAX 16u    /* steps of roles_claim_path */

/* Opaque: one key. */
struct jwt_key;

/* What tokens must be. */
struct jwt_rules {
	struct jwt_key *keys;
	unsigned need;                  /* JWT_NEED_* */
	struct jstr iss;                /* what that claim must be; len 0: not asked */
	int bad;                        /* the settings make no sense: all tokens are refused */
	struct jstr path[JWT_PATH_MAX]; /* where the roles are */
	size_t npath;
	int is_path; /* by roles_claim_path, where a missing claim is an error */
};

enum { JWT_NEED_EXP = 1, JWT_NEED_NBF = 2, JWT_NEED_IAT = 4, JWT_NEED_KID = 8, JWT_NEED_TYP = 16, JWT_NEED_ISS = 32 };

/* What a token says.  Memory: the arena's. */
struct jwt_claims {
	struct jstr sub;
	const char *const *roles;
	size_t nroles;
	uint64_t until_s; /* exp, rounded down; UINT64_MAX: never */
};

/**
 * jwt_rules_require(rules, text, a): Read jwt_auth/required_claims, such as `exp, {iss, "me"}`.
 * jwt_rules_roles(rules, name, path, a): Read roles_claim_name and roles_claim_path (may be NULL), which wins.  What makes no
 * sense sets rules->bad.  Both keep strings in ${a}.  Errors: ERR_NOMEM.
 */
int jwt_rules_require(struct jwt_rules *rules, const char *text, struct arena *a) MUST_CHECK;
int jwt_rules_roles(struct jwt_rules *rules, const char *name, const char *path, struct arena *a) MUST_CHECK;

/**
 * jwt_rules_key(rules, name, value): Add a key of the section jwt_keys: ${name} is "hmac:KID" (base64), "rsa:KID", "ec:KID" or
 * "eddsa:KID" (public keys as PEM, with \n for new lines).  One that can't be read is kept, to say so to who uses it.
 * Errors: ERR_NOMEM, ERR_TOO_LARGE (there are too many), ERR_BAD_REQUEST (kept, and worth a line in the log).
 */
int jwt_rules_key(struct jwt_rules *rules, const char *name, const char *value) MUST_CHECK;
/** jwt_rules_release(rules): Free the keys. */
void jwt_rules_release(struct jwt_rules *rules);

/**
 * jwt_verify(rules, token, now_s, a, out, why): Take ${token} apart, verify its signature and claims.  Errors, with CouchDB's words in
 * ${why}: ERR_BAD_REQUEST; ERR_UNAUTHORIZED (its time is over or not come, or it names nobody); ERR_MISSING (no claim at roles_claim_path); ERR_INTERNAL
 * (the settings make no sense); ERR_NOMEM.
 */
int jwt_verify(const struct jwt_rules *rules, struct jstr token, uint64_t now_s, struct arena *a,
    struct jwt_claims *out, struct errtext *why) MUST_CHECK;

#endif
