/*
 * secret.c: stored passwords.
 *
 * CouchDB has changed its form thrice, and accounts outlive that: every form is verified, and the
 * newest is made.  What is compared is compared in constant time.  A stored form comes from the
 * configuration, so its lengths and its number of iterations are bounded here.
 */
#include "secret.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SALT_LEN 16u
#define KEY_MAX 64u
#define ITERATIONS_MAX 100000000u /* more would be a denial of service by configuration */
#define PBKDF2 "-pbkdf2-"
#define PBKDF2_PRF "-pbkdf2:"
#define HASHED "-hashed-"

/* A stored form taken apart. */
struct parts {
	char prf[16]; /* empty: SHA-1 over password and salt, once */
	unsigned char key[KEY_MAX];
	size_t key_len;
	const char *salt;
	size_t salt_len;
	unsigned iterations;
};

int
secret_is_hashed(const char *stored)
{
	return strncmp(stored, PBKDF2, strlen(PBKDF2)) == 0 || strncmp(stored, PBKDF2_PRF, strlen(PBKDF2_PRF)) == 0 ||
	       strncmp(stored, HASHED, strlen(HASHED)) == 0;
}

/* Reads KEY,SALT and, where there is a PRF, ITERATIONS. */
static int
take_apart(struct parts *p, const char *s)
{
	const char *comma = strchr(s, ','), *comma2;
	unsigned long n;
	char *end;

	if (comma == NULL || comma == s || (size_t)(comma - s) > 2 * KEY_MAX || (comma - s) % 2 != 0 ||
	    hex_decode(s, (size_t)(comma - s), p->key) != 0)
		return 0;
	p->key_len = (size_t)(comma - s) / 2;
	p->salt = comma + 1;
	if (p->prf[0] == '\0') {
		p->salt_len = strlen(p->salt);
		return p->key_len == SHA1_LEN;
	}
	comma2 = strchr(p->salt, ',');
	if (comma2 == NULL)
		return 0;
	p->salt_len = (size_t)(comma2 - p->salt);
	n = strtoul(comma2 + 1, &end, 10);
	p->iterations = (unsigned)n;
	return *end == '\0' && n >= 1 && n <= ITERATIONS_MAX;
}

static int
parse(struct parts *p, const char *stored)
{
	const char *dash;

	*p = (struct parts){.iterations = 0};
	if (strncmp(stored, HASHED, strlen(HASHED)) == 0)
		return take_apart(p, stored + strlen(HASHED));
	if (strncmp(stored, PBKDF2, strlen(PBKDF2)) == 0) {
		memcpy(p->prf, "sha", 4);
		return take_apart(p, stored + strlen(PBKDF2));
	}
	if (strncmp(stored, PBKDF2_PRF, strlen(PBKDF2_PRF)) != 0)
		return 0;
	stored += strlen(PBKDF2_PRF);
	dash = strchr(stored, '-');
	if (dash == NULL || dash == stored || (size_t)(dash - stored) >= sizeof(p->prf))
		return 0;
	memcpy(p->prf, stored, (size_t)(dash - stored));
	return take_apart(p, dash + 1);
}

int
secret_hash(const char *password, size_t len, unsigned iterations, char out[SECRET_LEN])
{
	unsigned char random[SALT_LEN], key[SHA256_LEN];
	char salt[2 * SALT_LEN + 1], hex[2 * SHA256_LEN + 1];
	int err;

	hash_random(random, sizeof(random));
	hex_encode(random, sizeof(random), salt);
	salt[2 * SALT_LEN] = '\0';
	err = hash_pbkdf2("sha256", password, len, salt, 2 * SALT_LEN, iterations, key, sizeof(key));
	if (err != 0)
		return err;
	hex_encode(key, sizeof(key), hex);
	hex[2 * SHA256_LEN] = '\0';
	snprintf(out, SECRET_LEN, PBKDF2_PRF "sha256-%s,%s,%u", hex, salt, iterations);
	return 0;
}

static int
sha1_of(const char *password, size_t len, const char *salt, size_t salt_len, unsigned char out[SHA1_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
		 EVP_DigestUpdate(ctx, password, len) == 1 && EVP_DigestUpdate(ctx, salt, salt_len) == 1 &&
		 EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

/* Over digests, so that neither the password's length nor its first difference shows in the time it takes. */
static int
check_plain(const char *stored, const char *password, size_t len)
{
	unsigned char a[SHA256_LEN], b[SHA256_LEN];

	hash_sha256(stored, strlen(stored), a);
	hash_sha256(password, len, b);
	return hash_equal(a, b, sizeof(a));
}

int
secret_check(const char *stored, const char *password, size_t len)
{
	unsigned char key[KEY_MAX];
	struct parts p;

	if (!secret_is_hashed(stored))
		return check_plain(stored, password, len);
	if (!parse(&p, stored))
		return 0;
	if (p.prf[0] == '\0') {
		if (!sha1_of(password, len, p.salt, p.salt_len, key))
			return 0;
	} else if (hash_pbkdf2(p.prf, password, len, p.salt, p.salt_len, p.iterations, key, p.key_len) != 0) {
		return 0;
	}
	return hash_equal(key, p.key, p.key_len);
}
