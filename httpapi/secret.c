/*
 * secret.c: stored passwords.
 *
 * CouchDB has changed its form thrice, and accounts outlive that: every form is verified, and the
 * newest is made.  What is compared is compared in constant time.
 *
 * 1. A stored form may come from a document that anybody wrote, so its lengths and its number of
 *    iterations are bounded here.
 * 2. A key has exactly the length of its algorithm's digest: a shorter one could be guessed, a
 *    longer one costs several derivations.  CouchDB's comparison has the same outcome.
 * 3. What cannot be taken apart verifies nothing.
 */
#include "secret.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define PBKDF2 "-pbkdf2-"
#define PBKDF2_PRF "-pbkdf2:"
#define HASHED "-hashed-"

size_t
secret_key_len(const char *prf)
{
	static const struct {
		const char *name;
		size_t len;
	} known[] = {{"", 20}, {"sha", 20}, {"sha224", 28}, {"sha256", 32}, {"sha384", 48}, {"sha512", 64}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(prf, known[i].name) == 0)
			return known[i].len;
	return 0;
}

int
secret_is_hashed(const char *stored)
{
	return strncmp(stored, PBKDF2, strlen(PBKDF2)) == 0 || strncmp(stored, PBKDF2_PRF, strlen(PBKDF2_PRF)) == 0 ||
	       strncmp(stored, HASHED, strlen(HASHED)) == 0;
}

/* Reads KEY,SALT and, where there is a PRF, ITERATIONS.  Only the salt may have commas of its own. */
static int
take_apart(struct secret *out, const char *s)
{
	const char *comma = strchr(s, ','), *last = strrchr(s, ',');
	unsigned long n;
	char *end;

	out->key_len = secret_key_len(out->prf);
	if (comma == NULL || out->key_len == 0 || (size_t)(comma - s) != 2 * out->key_len ||
	    hex_decode(s, (size_t)(comma - s), out->key) != 0)
		return 0;
	out->salt = comma + 1;
	out->salt_len = strlen(out->salt);
	if (out->prf[0] != '\0') {
		if (last == comma || last[1] < '0' || last[1] > '9')
			return 0;
		out->salt_len = (size_t)(last - out->salt);
		n = strtoul(last + 1, &end, 10);
		if (*end != '\0' || n < 1 || n > SECRET_MAX_ITERATIONS)
			return 0;
		out->iterations = (unsigned)n;
	}
	return out->salt_len <= SECRET_SALT_MAX;
}

int
secret_parse(const char *stored, struct secret *out)
{
	const char *dash;

	*out = (struct secret){.iterations = 0};
	if (strncmp(stored, HASHED, strlen(HASHED)) == 0)
		return take_apart(out, stored + strlen(HASHED));
	if (strncmp(stored, PBKDF2, strlen(PBKDF2)) == 0) {
		memcpy(out->prf, "sha", 4);
		return take_apart(out, stored + strlen(PBKDF2));
	}
	if (strncmp(stored, PBKDF2_PRF, strlen(PBKDF2_PRF)) != 0)
		return 0;
	stored += strlen(PBKDF2_PRF);
	dash = strchr(stored, '-');
	if (dash == NULL || dash == stored || (size_t)(dash - stored) >= sizeof(out->prf))
		return 0;
	memcpy(out->prf, stored, (size_t)(dash - stored));
	return take_apart(out, dash + 1);
}

int
secret_put(const struct secret *s, char *out, size_t max)
{
	char key[2 * SECRET_KEY_MAX + 1];
	int n;

	if (s->key_len == 0 || s->key_len != secret_key_len(s->prf) || s->salt_len > SECRET_SALT_MAX ||
	    memchr(s->salt, '\0', s->salt_len) != NULL)
		return 0;
	hex_encode(s->key, s->key_len, key);
	key[2 * s->key_len] = '\0';
	if (s->prf[0] == '\0')
		n = snprintf(out, max, HASHED "%s,%.*s", key, (int)s->salt_len, s->salt);
	else
		n = snprintf(
		    out, max, PBKDF2_PRF "%s-%s,%.*s,%u", s->prf, key, (int)s->salt_len, s->salt, s->iterations);
	return n > 0 && (size_t)n < max;
}

void
secret_salt(char out[SECRET_SALT_LEN])
{
	unsigned char random[SECRET_SALT_LEN / 2];

	hash_random(random, sizeof(random));
	hex_encode(random, sizeof(random), out);
}

static int
sha1_of(const char *password, size_t len, const char *salt, size_t salt_len, unsigned char out[SHA1_LEN])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 &&
		 EVP_DigestUpdate(ctx, password, len) == 1 && EVP_DigestUpdate(ctx, salt, salt_len) == 1 &&
		 EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : ERR_INTERNAL;
}

int
secret_derive(struct secret *s, const char *password, size_t len)
{
	s->key_len = secret_key_len(s->prf);
	if (s->key_len == 0)
		return ERR_INTERNAL;
	if (s->prf[0] == '\0')
		return sha1_of(password, len, s->salt, s->salt_len, s->key);
	return hash_pbkdf2(s->prf, password, len, s->salt, s->salt_len, s->iterations, s->key, s->key_len);
}

int
secret_hash(const char *password, size_t len, unsigned iterations, char out[SECRET_LEN])
{
	char salt[SECRET_SALT_LEN];
	struct secret s = {.prf = "sha256", .salt = salt, .salt_len = sizeof(salt), .iterations = iterations};
	int err;

	secret_salt(salt);
	err = secret_derive(&s, password, len);
	if (err == 0 && !secret_put(&s, out, SECRET_LEN))
		err = ERR_INTERNAL;
	return err;
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
secret_check(const char *stored, const char *password, size_t len, int *okp)
{
	struct secret s, made;
	int err;

	*okp = 0;
	if (!secret_is_hashed(stored)) {
		*okp = check_plain(stored, password, len);
		return 0;
	}
	if (!secret_parse(stored, &s))
		return 0;
	made = s;
	if ((err = secret_derive(&made, password, len)) == 0)
		*okp = hash_equal(made.key, s.key, s.key_len);
	return err;
}
