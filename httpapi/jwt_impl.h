/* jwt_impl.h: what jwt.c and jwt_keys.c share.  Not for others. */
#ifndef HTTPAPI_JWT_IMPL_H_
#define HTTPAPI_JWT_IMPL_H_

#include "jwt.h"

enum jwt_kty { JWT_HMAC, JWT_RSA, JWT_EC, JWT_EDDSA };

struct jwt_alg {
	const char *name;
	enum jwt_kty kty;
	const char *hash; /* "sha256", ...; NULL: the key's own */
	size_t part;      /* of EC: bytes of one half of a signature */
};

/** jwt_alg_find(name): NULL for one that is not accepted, as "none". */
const struct jwt_alg *jwt_alg_find(struct jstr name);

/**
 * jwt_key_find(rules, kty, kid, keyp, why): The key of that type and name; a ${kid} without text is "_default".  A token's
 * algorithm says which type may verify it, so a public key is never taken for a secret.  Errors: ERR_BAD_REQUEST.
 */
int jwt_key_find(const struct jwt_rules *rules, enum jwt_kty kty, struct jstr kid, const struct jwt_key **keyp,
    struct errtext *why) MUST_CHECK;

/** jwt_key_verify(key, alg, text, signature, okp): *${okp}: 1 if ${signature} is that of ${text}.  Errors: ERR_NOMEM. */
int jwt_key_verify(
    const struct jwt_key *key, const struct jwt_alg *alg, struct jstr text, struct jstr signature, int *okp) MUST_CHECK;

#endif
