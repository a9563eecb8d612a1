/* mac.h: keyed digests by the names that settings have for them. */
#ifndef HTTPAPI_MAC_H_
#define HTTPAPI_MAC_H_

#include <stddef.h>
#include "base/err.h"

#define MAC_LEN 64u /* bytes of the longest */

/* An algorithm of mac_find(). */
struct mac {
	const char *name; /* "sha256", ... as chttpd_auth/hash_algorithms has it */
	size_t len;       /* bytes of its result */
};

/** mac_find(name, len): The HMAC of "sha" (SHA-1), "sha224", "sha256", "sha384" or "sha512"; NULL for other names. */
const struct mac *mac_find(const char *name, size_t len);

/** mac_make(m, key, klen, data, len, out): m->len bytes.  Errors: ERR_NOMEM. */
int mac_make(const struct mac *m, const void *key, size_t klen, const void *data, size_t len,
    unsigned char out[MAC_LEN]) MUST_CHECK;

#endif
