/* mac.c: keyed digests by name, over OpenSSL. */
#include "mac.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <string.h>

const struct mac *
mac_find(const char *name, size_t len)
{
	static const struct mac all[] = {{"sha", 20}, {"sha224", 28}, {"sha256", 32}, {"sha384", 48}, {"sha512", 64}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strlen(all[i].name) == len && memcmp(all[i].name, name, len) == 0)
			return &all[i];
	}
	return NULL;
}

static const EVP_MD *
digest_of(const struct mac *m)
{
	switch (m->len) {
	case 20:
		return EVP_sha1();
	case 28:
		return EVP_sha224();
	case 32:
		return EVP_sha256();
	case 48:
		return EVP_sha384();
	default:
		return EVP_sha512();
	}
}

int
mac_make(const struct mac *m, const void *key, size_t klen, const void *data, size_t len, unsigned char out[MAC_LEN])
{
	if (klen > INT32_MAX)
		return ERR_NOMEM;
	/* Without a key OpenSSL would take one from the call before. */
	return HMAC(digest_of(m), klen > 0 ? key : "", (int)klen, data, len, out, NULL) ? 0 : ERR_NOMEM;
}
