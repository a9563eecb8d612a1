/* jwt_keys.c: keys of the section jwt_keys, and signatures. */
#include "jwt_impl.h"
#include "mac.h"
#include "base/buf.h"
#include "base/hash.h"

#include <limits.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define SECRET_MAX 4096u /* bytes of an HMAC key */
#define PEM_MAX 65536u

struct jwt_key {
	enum jwt_kty kty;
	char *kid;
	unsigned char *secret; /* of HMAC */
	size_t secret_len;
	EVP_PKEY *public;
	size_t part;       /* of EC: bytes of the numbers of its curve; 0: no algorithm has it */
	const char *fault; /* why it can't be used, in CouchDB's words, or NULL */
	struct jwt_key *next;
};

static const char *const ktys[] = {"hmac", "rsa", "ec", "eddsa"};

const struct jwt_alg *
jwt_alg_find(struct jstr name)
{
	static const struct jwt_alg all[] = {{"HS256", JWT_HMAC, "sha256", 0}, {"HS384", JWT_HMAC, "sha384", 0},
	    {"HS512", JWT_HMAC, "sha512", 0}, {"RS256", JWT_RSA, "sha256", 0}, {"RS384", JWT_RSA, "sha384", 0},
	    {"RS512", JWT_RSA, "sha512", 0}, {"ES256", JWT_EC, "sha256", 32}, {"ES384", JWT_EC, "sha384", 48},
	    {"ES512", JWT_EC, "sha512", 66}, {"EdDSA", JWT_EDDSA, NULL, 0}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (jstr_is(&name, all[i].name))
			return &all[i];
	}
	return NULL;
}

/* ---- Reading keys ---- */

static int
read_secret(struct jwt_key *k, const char *value)
{
	struct buf b;
	int err;

	buf_init(&b, SECRET_MAX);
	err = base64_get(&b, value, strlen(value));
	/* With an empty key everybody could sign. */
	if (err || b.len == 0)
		k->fault = "Not a valid key";
	else
		k->secret = (unsigned char *)buf_take(&b, &k->secret_len);
	buf_release(&b);
	return err == ERR_NOMEM ? err : 0;
}

/* A PEM whose lines may end in the two characters \n. */
static int
unescape(struct buf *b, const char *pem)
{
	for (; *pem; pem++) {
		if (pem[0] == '\\' && pem[1] == 'n') {
			buf_putc(b, '\n');
			pem++;
		} else {
			buf_putc(b, *pem);
		}
	}
	return buf_failed(b);
}

static EVP_PKEY *
decode(const char *pem, size_t len)
{
	EVP_PKEY *pkey = NULL;
	OSSL_DECODER_CTX *d = OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", NULL, NULL, EVP_PKEY_PUBLIC_KEY, NULL, NULL);
	const unsigned char *p = (const unsigned char *)pem;

	if (d)
		(void)OSSL_DECODER_from_data(d, &p, &len);
	OSSL_DECODER_CTX_free(d);
	ERR_clear_error();
	return pkey;
}

static int
is_of(const EVP_PKEY *pkey, enum jwt_kty kty)
{
	switch (kty) {
	case JWT_RSA:
		return EVP_PKEY_is_a(pkey, "RSA");
	case JWT_EC:
		return EVP_PKEY_is_a(pkey, "EC");
	default:
		return EVP_PKEY_is_a(pkey, "ED25519") || EVP_PKEY_is_a(pkey, "ED448");
	}
}

static size_t
part_of(const EVP_PKEY *pkey)
{
	static const struct {
		const char *curve;
		size_t part;
	} all[] = {{"prime256v1", 32}, {"secp384r1", 48}, {"secp521r1", 66}};
	char name[64];
	size_t len;

	if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) != 1)
		return 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(name, all[i].curve) == 0)
			return all[i].part;
	return 0;
}

static int
read_public(struct jwt_key *k, const char *value)
{
	static const char *const faults[] = {
	    "", "not an RSA public key", "not an EC public key", "not an EdDSA public key"};
	struct buf b;
	int err;

	buf_init(&b, PEM_MAX);
	err = unescape(&b, value);
	if (!err)
		k->public = decode(b.data, b.len);
	buf_release(&b);
	if (!k->public)
		k->fault = "Not a valid key";
	else if (!is_of(k->public, k->kty))
		k->fault = faults[k->kty];
	else if (k->kty == JWT_EC)
		k->part = part_of(k->public);
	return err == ERR_NOMEM ? err : 0;
}

static void
key_free(struct jwt_key *k)
{
	if (k->secret)
		OPENSSL_cleanse(k->secret, k->secret_len);
	free(k->secret);
	EVP_PKEY_free(k->public);
	free(k->kid);
	free(k);
}

/* "rsa:KID" taken apart; 0: it is no key's name. */
static int
take_apart(const char *name, enum jwt_kty *ktyp, const char **kidp)
{
	const char *colon = strchr(name, ':');
	struct jstr word = {name, colon ? (size_t)(colon - name) : 0};

	for (size_t i = 0; colon && i < sizeof(ktys) / sizeof(ktys[0]); i++) {
		if (jstr_is(&word, ktys[i])) {
			*ktyp = (enum jwt_kty)i;
			*kidp = colon + 1;
			return 1;
		}
	}
	return 0;
}

int
jwt_rules_key(struct jwt_rules *rules, const char *name, const char *value)
{
	struct jwt_key *k;
	const char *kid;
	enum jwt_kty kty;
	size_t n = 0;
	int err;

	if (!take_apart(name, &kty, &kid))
		return ERR_BAD_REQUEST;
	for (k = rules->keys; k; k = k->next)
		n++;
	if (n >= JWT_KEYS_MAX)
		return ERR_TOO_LARGE;
	k = calloc(1, sizeof(*k));
	if (!k)
		return ERR_NOMEM;
	k->kty = kty;
	k->kid = strdup(kid);
	err = k->kid ? 0 : ERR_NOMEM;
	if (!err)
		err = kty == JWT_HMAC ? read_secret(k, value) : read_public(k, value);
	if (err) {
		key_free(k);
		return err;
	}
	k->next = rules->keys;
	rules->keys = k;
	return k->fault ? ERR_BAD_REQUEST : 0;
}

void
jwt_rules_release(struct jwt_rules *rules)
{
	struct jwt_key *next;

	for (struct jwt_key *k = rules->keys; k; k = next) {
		next = k->next;
		key_free(k);
	}
	rules->keys = NULL;
}

int
jwt_key_find(
    const struct jwt_rules *rules, enum jwt_kty kty, struct jstr kid, const struct jwt_key **keyp, struct errtext *why)
{
	if (!kid.s)
		kid = (struct jstr){"_default", 8};
	for (const struct jwt_key *k = rules->keys; k; k = k->next) {
		if (k->kty != kty || !jstr_is(&kid, k->kid))
			continue;
		*keyp = k;
		return k->fault ? err_why(why, ERR_BAD_REQUEST, "%s", k->fault) : 0;
	}
	return err_why(why, ERR_BAD_REQUEST, "Unknown kid");
}

/* ---- Signatures ---- */

/* failed: What OpenSSL failed for: ERR_NOMEM, or 0: what it was given is wrong. */
static int
failed(void)
{
	unsigned long e;
	int err = 0;

	while ((e = ERR_get_error()) != 0)
		if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
			err = ERR_NOMEM;
	return err;
}

static int
verify_secret(const struct jwt_key *k, const struct jwt_alg *alg, struct jstr text, struct jstr signature, int *okp)
{
	const struct mac *m = mac_find(alg->hash, strlen(alg->hash));
	unsigned char mac[MAC_LEN];
	int err;

	if (!m || signature.len != m->len)
		return 0;
	err = mac_make(m, k->secret, k->secret_len, text.s, text.len, mac);
	if (!err)
		*okp = hash_equal(mac, signature.s, m->len);
	return err;
}

static int
verify_public(EVP_PKEY *pkey, const char *hash, struct jstr text, const void *signature, size_t len, int *okp)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int err = 0;

	ERR_clear_error();
	if (!ctx)
		return ERR_NOMEM;
	*okp = EVP_DigestVerifyInit_ex(ctx, NULL, hash, NULL, NULL, pkey, NULL) == 1 &&
	       EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text.s, text.len) == 1;
	if (!*okp)
		err = failed();
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return err;
}

/* Two numbers of fixed length. */
static ECDSA_SIG *
ec_numbers(const unsigned char *p, size_t part)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(p, (int)part, NULL), *s = BN_bin2bn(p + part, (int)part, NULL);

	if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1)
		return sig;
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return NULL;
}

/* OpenSSL wants DER. */
static int
verify_ec(const struct jwt_key *k, const struct jwt_alg *alg, struct jstr text, struct jstr signature, int *okp)
{
	unsigned char *der = NULL;
	ECDSA_SIG *sig;
	int len, err = ERR_NOMEM;

	/* RFC 7518 section 3.4: an algorithm has its curve. */
	if (signature.len != 2 * alg->part || k->part != alg->part)
		return 0;
	sig = ec_numbers((const unsigned char *)signature.s, alg->part);
	len = sig ? i2d_ECDSA_SIG(sig, &der) : 0;
	if (len > 0)
		err = verify_public(k->public, alg->hash, text, der, (size_t)len, okp);
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return err;
}

int
jwt_key_verify(const struct jwt_key *key, const struct jwt_alg *alg, struct jstr text, struct jstr signature, int *okp)
{
	*okp = 0;
	if (key->kty != alg->kty || key->fault)
		return 0;
	switch (alg->kty) {
	case JWT_HMAC:
		return verify_secret(key, alg, text, signature, okp);
	case JWT_EC:
		return verify_ec(key, alg, text, signature, okp);
	default:
		return verify_public(key->public, alg->hash, text, signature.s, signature.len, okp);
	}
}
