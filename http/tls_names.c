/*
 * tls_names.c: names in TLS: what lists of settings mean, and who a certificate is of.
 */
#include "tls_names.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

#define LIST_MAX 4096u

/* ---- Lists ---- */

/* The next name of "[a, 'b']", "a,b" or "a:b" into ${out}; 0 at the end, -1: one that is too long. */
static int
next_name(const char **pp, char *out, size_t size)
{
	static const char between[] = " \t,:;[]{}'\"";
	const char *p = *pp + strspn(*pp, between);
	size_t len = strcspn(p, between);

	*pp = p + len;
	if (len >= size)
		return -1;
	memcpy(out, p, len);
	out[len] = '\0';
	return len > 0;
}

int
server_tls_versions(const char *list, int *minp, int *maxp)
{
	static const struct {
		const char *name;
		int version;
	} known[] = {
	    {"tlsv1.2", TLS1_2_VERSION}, {"tlsv1.3", TLS1_3_VERSION}, {"tlsv1", 0}, {"tlsv1.1", 0}, {"sslv3", 0}};
	char name[32];
	size_t i;
	int rc;

	*minp = TLS1_2_VERSION;
	*maxp = TLS1_3_VERSION;
	if (list == NULL || *list == '\0')
		return 1;
	*minp = *maxp = 0;
	while ((rc = next_name(&list, name, sizeof(name))) > 0) {
		for (i = 0; i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].name, name) != 0; i++)
			continue;
		if (i == sizeof(known) / sizeof(known[0]))
			return 0;
		if (known[i].version == 0)
			continue;
		*minp = *minp == 0 || known[i].version < *minp ? known[i].version : *minp;
		*maxp = known[i].version > *maxp ? known[i].version : *maxp;
	}
	return rc == 0 && *minp != 0;
}

/* Appends to "a:b"; 0: no room. */
static int
append(char *list, const char *name)
{
	size_t at = strlen(list);
	int n = snprintf(list + at, LIST_MAX - at, "%s%s", at > 0 ? ":" : "", name);

	return n > 0 && (size_t)n < LIST_MAX - at;
}

int
server_tls_ciphers(struct ssl_ctx_st *ctx, const char *list)
{
	char older[LIST_MAX] = "", suites[LIST_MAX] = "", name[128];
	int rc;

	if (list == NULL || *list == '\0')
		return 1;
	while ((rc = next_name(&list, name, sizeof(name))) > 0) {
		/* Those of TLS 1.3 are a list of their own. */
		int is_13 = strncmp(name, "TLS_AES_", 8) == 0 || strncmp(name, "TLS_CHACHA20_", 13) == 0;

		if (!append(is_13 ? suites : older, name))
			return 0;
	}
	return rc == 0 && (*older != '\0' || *suites != '\0') &&
	       (*older == '\0' || SSL_CTX_set_cipher_list(ctx, older) == 1) &&
	       (*suites == '\0' || SSL_CTX_set_ciphersuites(ctx, suites) == 1);
}

int
server_tls_curves(struct ssl_ctx_st *ctx, const char *list)
{
	char names[LIST_MAX] = "", name[64];
	int rc;

	if (list == NULL || *list == '\0')
		return 1;
	while ((rc = next_name(&list, name, sizeof(name))) > 0)
		if (!append(names, name))
			return 0;
	return rc == 0 && *names != '\0' && SSL_CTX_set1_groups_list(ctx, names) == 1;
}

/* ---- Certificates ---- */

static size_t
copy_name(const unsigned char *s, int len, char *out, size_t size)
{
	if (s == NULL || len <= 0 || (size_t)len >= size || memchr(s, '\0', (size_t)len) != NULL)
		return 0;
	memcpy(out, s, (size_t)len);
	out[len] = '\0';
	return (size_t)len;
}

static size_t
common_name(const X509 *cert, char *out, size_t size)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), len;
	unsigned char *text = NULL;
	size_t n;

	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return 0;
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	n = len > 0 ? copy_name(text, len, out, size) : 0;
	OPENSSL_free(text);
	return n;
}

static size_t
alternative_name(const X509 *cert, int type, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const ASN1_IA5STRING *found = NULL;
	size_t n = 0;
	int i, many = 0;

	for (i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != type)
			continue;
		many += found != NULL;
		found = name->d.ia5;
	}
	if (found != NULL && !many)
		n = copy_name(ASN1_STRING_get0_data(found), ASN1_STRING_length(found), out, size);
	GENERAL_NAMES_free(names);
	return n;
}

size_t
server_tls_name(const struct ssl_st *ssl, enum http_cert_name what, char *out, size_t size)
{
	const X509 *cert = SSL_get0_peer_certificate(ssl);

	if (cert == NULL || X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
		return 0;
	switch (what) {
	case HTTP_CERT_CN:
		return common_name(cert, out, size);
	case HTTP_CERT_EMAIL:
		return alternative_name(cert, GEN_EMAIL, out, size);
	case HTTP_CERT_URI:
		return alternative_name(cert, GEN_URI, out, size);
	case HTTP_CERT_DNS:
		return alternative_name(cert, GEN_DNS, out, size);
	}
	return 0;
}
