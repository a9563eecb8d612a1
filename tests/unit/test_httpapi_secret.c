/*
 * test_httpapi_secret.c: stored passwords are compared by what takes the same time whatever they are: each form, right ones and wrong ones,
 * comes to CRYPTO_memcmp(), which is this file's, with all of the bytes that decide.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "check.h"
#include "httpapi/secret.h"
#include "nocrypto.h"

static size_t compared; /* bytes, of the last comparison */
static unsigned comparisons;

/* Instead of the library's: the linker takes the program's. */
int
CRYPTO_memcmp(const void *a, const void *b, size_t len)
{
	compared = len;
	comparisons++;
	return memcmp(a, b, len);
}

static void
decides(const char *stored, size_t bytes)
{
	static const char *const tried[] = {"secret", "secreT", "Secret", "secre", "secrets", ""};
	int ok;

	for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
		comparisons = 0;
		compared = 0;
		CHECK_INT(secret_check(stored, tried[i], strlen(tried[i]), &ok), 0);
		CHECK_INT(ok, i == 0);
		CHECK_INT(comparisons, 1);
		CHECK_INT(compared, bytes);
	}
	/* A derivation that cannot be made says nothing of the password. */
	nocrypto_none = 1;
	CHECK_INT(secret_check(stored, "secret", 6, &ok), secret_is_hashed(stored) ? ERR_INTERNAL : 0);
	CHECK_INT(ok, !secret_is_hashed(stored));
	nocrypto_none = 0;
}

int
main(void)
{
	struct secret s = {.salt = "salt", .salt_len = 4};
	char stored[SECRET_LEN];

	nocrypto_begin();
	decides("secret", 32);
	CHECK_INT(secret_hash("secret", 6, 10, stored), 0);
	decides(stored, 32);
	CHECK_INT(secret_derive(&s, "secret", 6), 0);
	CHECK(secret_put(&s, stored, sizeof(stored)));
	decides(stored, 20);
	s = (struct secret){.prf = "sha", .salt = "salt", .salt_len = 4, .iterations = 10};
	CHECK_INT(secret_derive(&s, "secret", 6), 0);
	CHECK(secret_put(&s, stored, sizeof(stored)));
	decides(stored, 20);
	return check_done();
}
