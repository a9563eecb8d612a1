/* hash.h: digests, encodings, randomness and the comparison of secrets, over OpenSSL. */
#ifndef BASE_HASH_H_
#define BASE_HASH_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/buf.h"

#define MD5_LEN 16u
#define SHA1_LEN 20u
#define SHA256_LEN 32u

/** hash_md5(data, len, out): One-shot MD5, without a heap allocation per call. */
void hash_md5(const void *data, size_t len, unsigned char out[MD5_LEN]);
void hash_sha256(const void *data, size_t len, unsigned char out[SHA256_LEN]);
/** hash_sha1(data, len, out): For names that others hash so; it protects nothing. */
void hash_sha1(const void *data, size_t len, unsigned char out[SHA1_LEN]);

/* Incremental digests: MD5 and SHA-256 of the same bytes at once, for attachments. */
struct hash_both;
int hash_both_new(struct hash_both **hp) MUST_CHECK;
void hash_both_add(struct hash_both *h, const void *data, size_t len);
/** hash_both_end(h, md5, sha256): Write both digests and free ${h}. */
void hash_both_end(struct hash_both *h, unsigned char md5[MD5_LEN], unsigned char sha256[SHA256_LEN]);
void hash_both_free(struct hash_both *h);

/* Incremental MD5, in place. */
struct hash_md5 {
	unsigned char state[128];
};
void hash_md5_init(struct hash_md5 *h);
void hash_md5_add(struct hash_md5 *h, const void *data, size_t len);
void hash_md5_end(struct hash_md5 *h, unsigned char out[MD5_LEN]);

/** hash_hmac_sha1/256(key, klen, data, len, out). */
void hash_hmac_sha1(const void *key, size_t klen, const void *data, size_t len, unsigned char out[SHA1_LEN]);
void hash_hmac_sha256(const void *key, size_t klen, const void *data, size_t len, unsigned char out[SHA256_LEN]);

/**
 * hash_pbkdf2(prf, pass, plen, salt, slen, iterations, out, outlen): ${prf} is "sha", "sha224",
 * "sha256", "sha384" or "sha512".  Errors: ERR_INTERNAL.
 */
int hash_pbkdf2(const char *prf, const char *pass, size_t plen, const char *salt, size_t slen, unsigned iterations,
    unsigned char *out, size_t outlen) MUST_CHECK;

/** hash_random(out, len): Bytes from the system's generator; ends the process if there are none. */
void hash_random(void *out, size_t len);

/** hash_equal(a, b, len): 1 if equal, in time that depends on ${len} alone. */
int hash_equal(const void *a, const void *b, size_t len) MUST_CHECK;

/**
 * hash_crc32c(seed, data, len): CRC-32C (Castagnoli), continued from ${seed} (0 to begin); SSE4.2 where the
 * CPU has it.
 */
uint32_t hash_crc32c(uint32_t seed, const void *data, size_t len);
/** hash_crc32c_by_table(): From now on as where the CPU has none.  For tests, before there are threads. */
void hash_crc32c_by_table(void);

/** hex_encode(in, len, out): 2 * ${len} lower-case digits, not terminated. */
void hex_encode(const void *in, size_t len, char *out);

/**
 * hex_decode(in, len, out): ${len} digits (even) to ${len} / 2 bytes.  Returns 0, or ERR_BAD_REQUEST if one
 * is no hex digit.
 */
int hex_decode(const char *in, size_t len, unsigned char *out) MUST_CHECK;

/** base64_put(b, in, len): Append standard base64 with padding. */
int base64_put(struct buf *b, const void *in, size_t len);

/**
 * base64_get(b, in, len): Append what ${in} encodes: standard or URL alphabet, white space skipped, padding
 * optional, as CouchDB's decoder.  Errors: ERR_BAD_BASE64, ERR_NOMEM, ERR_TOO_LARGE.
 */
int base64_get(struct buf *b, const char *in, size_t len) MUST_CHECK;

#endif
