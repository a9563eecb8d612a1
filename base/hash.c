/*
 * MD5, SHA-1 and SHA-256 run on OpenSSL's block functions with their state on the stack: no allocation, no look-up
 * of a provider, nothing that can fail, which matters where a revision id is made for each document.  OpenSSL
 * calls these functions deprecated because a FIPS provider cannot stand behind them; MD5 is no secret's guard
 * here.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

void
hash_md5(const void *data, size_t len, unsigned char out[MD5_LEN])
{
	MD5_CTX ctx;

	MD5_Init(&ctx);
	MD5_Update(&ctx, data, len);
	MD5_Final(out, &ctx);
}

void
hash_sha1(const void *data, size_t len, unsigned char out[SHA1_LEN])
{
	SHA_CTX ctx;

	SHA1_Init(&ctx);
	SHA1_Update(&ctx, data, len);
	SHA1_Final(out, &ctx);
}

void
hash_sha256(const void *data, size_t len, unsigned char out[SHA256_LEN])
{
	SHA256_CTX ctx;

	SHA256_Init(&ctx);
	SHA256_Update(&ctx, data, len);
	SHA256_Final(out, &ctx);
}

struct hash_both {
	MD5_CTX md5;
	SHA256_CTX sha256;
};

int
hash_both_new(struct hash_both **hp)
{
	struct hash_both *h = malloc(sizeof(*h));

	if (h == NULL)
		return ERR_NOMEM;
	MD5_Init(&h->md5);
	SHA256_Init(&h->sha256);
	*hp = h;
	return 0;
}

void
hash_both_add(struct hash_both *h, const void *data, size_t len)
{
	MD5_Update(&h->md5, data, len);
	SHA256_Update(&h->sha256, data, len);
}

void
hash_both_end(struct hash_both *h, unsigned char md5[MD5_LEN], unsigned char sha256[SHA256_LEN])
{
	MD5_Final(md5, &h->md5);
	SHA256_Final(sha256, &h->sha256);
	free(h);
}

void
hash_both_free(struct hash_both *h)
{
	free(h);
}

void
hash_md5_init(struct hash_md5 *h)
{
	MD5_CTX md5;

	static_assert(sizeof(md5) <= sizeof(h->state), "struct hash_md5 holds OpenSSL's state");
	MD5_Init(&md5);
	memcpy(h->state, &md5, sizeof(md5));
}

void
hash_md5_add(struct hash_md5 *h, const void *data, size_t len)
{
	MD5_CTX md5;

	memcpy(&md5, h->state, sizeof(md5));
	MD5_Update(&md5, data, len);
	memcpy(h->state, &md5, sizeof(md5));
}

void
hash_md5_end(struct hash_md5 *h, unsigned char out[MD5_LEN])
{
	MD5_CTX md5;

	memcpy(&md5, h->state, sizeof(md5));
	MD5_Final(out, &md5);
}

/*
 * RFC 2104.  HMAC() of OpenSSL allocates, and may fail, which no caller could answer: a wrong digest must never stand in for a right one.
 * The key's block, with one of two bytes over it, goes before the data, and before the digest of that.
 */
#define HMAC_BLOCK 64u

/* The digest of two pieces, one behind the other. */
typedef void digest_two_f(const void *a, size_t alen, const void *b, size_t blen, unsigned char *out);

static void
sha1_two(const void *a, size_t alen, const void *b, size_t blen, unsigned char *out)
{
	SHA_CTX ctx;

	SHA1_Init(&ctx);
	SHA1_Update(&ctx, a, alen);
	SHA1_Update(&ctx, b, blen);
	SHA1_Final(out, &ctx);
}

static void
sha256_two(const void *a, size_t alen, const void *b, size_t blen, unsigned char *out)
{
	SHA256_CTX ctx;

	SHA256_Init(&ctx);
	SHA256_Update(&ctx, a, alen);
	SHA256_Update(&ctx, b, blen);
	SHA256_Final(out, &ctx);
}

static void
hmac_block(const unsigned char *key, size_t klen, unsigned char over, unsigned char block[HMAC_BLOCK])
{
	memset(block, over, HMAC_BLOCK);
	for (size_t i = 0; i < klen; i++)
		block[i] ^= key[i];
}

static void
hmac(digest_two_f *digest, size_t digest_len, const void *key, size_t klen, const void *data, size_t len,
    unsigned char *out)
{
	unsigned char block[HMAC_BLOCK], shorter[SHA256_LEN], inner[SHA256_LEN];

	if (klen > HMAC_BLOCK) {
		digest(key, klen, "", 0, shorter);
		key = shorter;
		klen = digest_len;
	}
	hmac_block(key, klen, 0x36, block);
	digest(block, sizeof(block), data, len, inner);
	hmac_block(key, klen, 0x5C, block);
	digest(block, sizeof(block), inner, digest_len, out);
	/* Whoever reads the stack later finds no key. */
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(shorter, sizeof(shorter));
}

void
hash_hmac_sha1(const void *key, size_t klen, const void *data, size_t len, unsigned char out[SHA1_LEN])
{
	hmac(sha1_two, SHA1_LEN, key, klen, data, len, out);
}

void
hash_hmac_sha256(const void *key, size_t klen, const void *data, size_t len, unsigned char out[SHA256_LEN])
{
	hmac(sha256_two, SHA256_LEN, key, klen, data, len, out);
}

int
hash_pbkdf2(const char *prf, const char *pass, size_t plen, const char *salt, size_t slen, unsigned iterations,
    unsigned char *out, size_t outlen)
{
	static const struct {
		const char *name;
		const EVP_MD *(*md)(void);
	} known[] = {{"sha", EVP_sha1}, {"sha224", EVP_sha224}, {"sha256", EVP_sha256}, {"sha384", EVP_sha384},
	    {"sha512", EVP_sha512}};
	const EVP_MD *md = NULL;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(prf, known[i].name) == 0)
			md = known[i].md();
	if (md == NULL)
		return ERR_INTERNAL;
	if (plen > INT32_MAX || slen > INT32_MAX || outlen > INT32_MAX || iterations > INT32_MAX)
		return ERR_INTERNAL;
	if (PKCS5_PBKDF2_HMAC(
		pass, (int)plen, (const unsigned char *)salt, (int)slen, (int)iterations, md, (int)outlen, out) != 1)
		return ERR_INTERNAL;
	return 0;
}

void
hash_random(void *out, size_t len)
{
	unsigned char *p = out;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log_line(LOG_ERROR, "no random bytes: errno %d", errno);
			abort();
		}
		p += n;
		len -= (size_t)n;
	}
}

int
hash_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
