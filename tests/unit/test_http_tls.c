/* TLS without sockets: names in settings and in certificates, tickets, and files that change between two connections. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "http/tls.h"
#include "http/tls_names.h"

#define HOUR 3600

static EVP_PKEY *ca_key, *own_key;
static X509 *ca;
static char cert_file[] = "/tmp/divan-cert-XXXXXX", key_file[] = "/tmp/divan-key-XXXXXX",
	    ca_file[] = "/tmp/divan-ca-XXXXXX";
static long serial;

/* ---- Certificates ---- */

static void
must(int ok)
{
	if (!ok)
		abort();
}

static X509 *
make(EVP_PKEY *key, long from_s, long to_s)
{
	X509 *cert = X509_new();

	must(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), to_s);
	X509_set_pubkey(cert, key);
	return cert;
}

static void
add_cn(X509 *cert, int type, const char *name, int len)
{
	must(X509_NAME_add_entry_by_NID(
		 X509_get_subject_name(cert), NID_commonName, type, (const unsigned char *)name, len, -1, 0) == 1);
}

static void
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(ext != NULL && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

static X509 *
sign(X509 *cert)
{
	X509_set_issuer_name(cert, X509_get_subject_name(ca != NULL ? ca : cert));
	must(X509_sign(cert, ca_key, EVP_sha256()) > 0);
	return cert;
}

static void
save(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	must(f != NULL && (cert == NULL || PEM_write_X509(f, cert) == 1) &&
	     (key == NULL || PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1) && fclose(f) == 0);
}

static void
make_files(void)
{
	X509 *cert;

	ca_key = EVP_EC_gen("P-256");
	own_key = EVP_EC_gen("P-256");
	ca = make(ca_key, -HOUR, HOUR);
	add_cn(ca, MBSTRING_ASC, "CA", -1);
	add_extension(ca, NID_basic_constraints, "critical,CA:TRUE");
	X509_set_issuer_name(ca, X509_get_subject_name(ca));
	must(X509_sign(ca, ca_key, EVP_sha256()) > 0);
	cert = make(own_key, -HOUR, HOUR);
	add_cn(cert, MBSTRING_ASC, "server", -1);
	sign(cert);
	close(mkstemp(cert_file)), close(mkstemp(key_file)), close(mkstemp(ca_file));
	save(cert_file, cert, NULL);
	save(key_file, NULL, own_key);
	save(ca_file, ca, NULL);
	X509_free(cert);
}

/* ---- A connection in memory ---- */

struct pair {
	SSL *server, *client;
	SSL_CTX *client_ctx;
	int ok;
};

static void
shake(struct pair *p, struct server_tls *t, X509 *cert, SSL_SESSION *session)
{
	SSL_CTX *ctx = server_tls_take(t);
	BIO *a, *b;
	int i, rc[2] = {0, 0};

	p->client_ctx = SSL_CTX_new(TLS_client_method());
	p->server = SSL_new(ctx);
	server_tls_release(ctx);
	p->client = SSL_new(p->client_ctx);
	must(SSL_set_max_proto_version(p->client, TLS1_2_VERSION) == 1);
	if (cert != NULL)
		must(SSL_use_certificate(p->client, cert) == 1 && SSL_use_PrivateKey(p->client, own_key) == 1);
	if (session != NULL)
		must(SSL_set_session(p->client, session) == 1);
	must(BIO_new_bio_pair(&a, 0, &b, 0) == 1);
	SSL_set_bio(p->server, a, a);
	SSL_set_bio(p->client, b, b);
	SSL_set_accept_state(p->server);
	SSL_set_connect_state(p->client);
	for (i = 0; i < 20 && (rc[0] != 1 || rc[1] != 1); i++) {
		rc[0] = SSL_do_handshake(p->client);
		rc[1] = SSL_do_handshake(p->server);
	}
	p->ok = rc[0] == 1 && rc[1] == 1;
}

static void
hang_up(struct pair *p)
{
	/* Sessions of connections that did not say goodbye are not resumed. */
	SSL_shutdown(p->client);
	SSL_shutdown(p->server);
	SSL_free(p->server);
	SSL_free(p->client);
	SSL_CTX_free(p->client_ctx);
}

/* ---- Tests ---- */

static void
test_versions(void)
{
	static const struct {
		const char *list;
		int min, max; /* 0: refused */
	} cases[] = {{NULL, TLS1_2_VERSION, TLS1_3_VERSION}, {"", TLS1_2_VERSION, TLS1_3_VERSION},
	    {"tlsv1.2", TLS1_2_VERSION, TLS1_2_VERSION}, {"['tlsv1.3']", TLS1_3_VERSION, TLS1_3_VERSION},
	    {"[tlsv1, 'tlsv1.1', 'tlsv1.2']", TLS1_2_VERSION, TLS1_2_VERSION},
	    {"tlsv1.3,tlsv1.2", TLS1_2_VERSION, TLS1_3_VERSION}, {"tlsv1", 0, 0}, {"[]", 0, 0}, {"tlsv1.4", 0, 0},
	    {"tlsv1.2.", 0, 0}, {"an-item-that-is-longer-than-any-version-could-be", 0, 0}};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int min = 0, max = 0, ok = server_tls_versions(cases[i].list, &min, &max);

		CHECK_INT(ok, cases[i].min != 0);
		if (ok) {
			CHECK_INT(min, cases[i].min);
			CHECK_INT(max, cases[i].max);
		}
	}
}

static void
test_lists(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char many[8192];

	CHECK_INT(server_tls_ciphers(ctx, NULL), 1);
	CHECK_INT(server_tls_ciphers(ctx, "[\"ECDHE-RSA-AES128-GCM-SHA256\", \"TLS_AES_128_GCM_SHA256\"]"), 1);
	CHECK_STR(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(SSL_CTX_get_ciphers(ctx), 0)), "TLS_AES_128_GCM_SHA256");
	CHECK_INT(sk_SSL_CIPHER_num(SSL_CTX_get_ciphers(ctx)), 2);
	CHECK_INT(server_tls_ciphers(ctx, "TLS_AES_256_GCM_SHA384"), 1);
	CHECK_INT(server_tls_ciphers(ctx, "nonsense"), 0);
	CHECK_INT(server_tls_ciphers(ctx, " , "), 0);
	memset(many, 'A', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	CHECK_INT(server_tls_ciphers(ctx, many), 0);
	memset(many, ',', 100);
	CHECK_INT(server_tls_curves(ctx, many), 0);
	CHECK_INT(server_tls_curves(ctx, ""), 1);
	CHECK_INT(server_tls_curves(ctx, "[secp256r1, x25519]"), 1);
	CHECK_INT(server_tls_curves(ctx, "P-256:X25519"), 1);
	CHECK_INT(server_tls_curves(ctx, "secp256r1,nonsense"), 0);
	SSL_CTX_free(ctx);
}

/* What a server makes of a client's certificate, which it has not verified here: how it came about does not matter. */
static void
named(struct server_tls *t, X509 *cert, enum http_cert_name what, const char *want)
{
	struct pair p;
	char name[64] = "";

	shake(&p, t, sign(cert), NULL);
	CHECK_INT(p.ok, 1);
	CHECK_INT(server_tls_name(p.server, what, name, sizeof(name)), strlen(want));
	if (*want != '\0')
		CHECK_STR(name, want);
	hang_up(&p);
	X509_free(cert);
}

static X509 *
client(int type, const char *cn, int len, const char *san)
{
	X509 *cert = make(own_key, -HOUR, HOUR);

	if (cn != NULL)
		add_cn(cert, type, cn, len);
	if (san != NULL)
		add_extension(cert, NID_subject_alt_name, san);
	return cert;
}

static void
test_names(struct server_tls *t)
{
	char longest[65];
	X509 *cert;

	named(t, client(MBSTRING_ASC, "bob", -1, NULL), HTTP_CERT_CN, "bob");
	named(t, client(MBSTRING_UTF8, "z\xc3\xbc", -1, NULL), HTTP_CERT_CN, "z\xc3\xbc");
	named(t, client(V_ASN1_BMPSTRING, "\0z\0\xfc", 4, NULL), HTTP_CERT_CN, "z\xc3\xbc");
	named(t, client(MBSTRING_UTF8, "admin\0.evil", 11, NULL), HTTP_CERT_CN, "");
	named(t, client(V_ASN1_BMPSTRING, "\0a\0\0\0b", 6, NULL), HTTP_CERT_CN, "");
	memset(longest, 'x', 64);
	longest[64] = '\0';
	named(t, client(MBSTRING_ASC, longest, -1, NULL), HTTP_CERT_CN, "");
	named(t, client(MBSTRING_ASC, longest, 63, NULL), HTTP_CERT_CN, longest + 1);
	cert = client(MBSTRING_ASC, "bob", -1, NULL);
	add_cn(cert, MBSTRING_ASC, "admin", -1);
	named(t, cert, HTTP_CERT_CN, "");
	named(t, client(0, NULL, 0, "email:bob@example.org"), HTTP_CERT_CN, "");
	named(t, client(MBSTRING_ASC, "bob", -1, "email:b@x.org,URI:urn:b,DNS:b.x.org"), HTTP_CERT_EMAIL, "b@x.org");
	named(t, client(MBSTRING_ASC, "bob", -1, "email:b@x.org,URI:urn:b,DNS:b.x.org"), HTTP_CERT_URI, "urn:b");
	named(t, client(MBSTRING_ASC, "bob", -1, "email:b@x.org,URI:urn:b,DNS:b.x.org"), HTTP_CERT_DNS, "b.x.org");
	named(t, client(MBSTRING_ASC, "bob", -1, "email:b@x.org,email:a@x.org"), HTTP_CERT_EMAIL, "");
	named(t, client(MBSTRING_ASC, "bob", -1, "DNS:b.x.org"), HTTP_CERT_EMAIL, "");
	named(t, client(MBSTRING_ASC, "bob", -1, NULL), HTTP_CERT_URI, "");
}

static void
test_verify(struct server_tls *t, const struct http_tls *settings)
{
	struct http_tls off = *settings;
	X509 *good = client(MBSTRING_ASC, "bob", -1, NULL), *old = make(own_key, -2 * HOUR, -HOUR), *strange;
	struct pair p, q;
	char name[64];

	shake(&p, t, sign(good), NULL);
	CHECK_INT(p.ok, 1);
	CHECK_INT(server_tls_verify(t, p.server), 1);
	shake(&q, t, sign(old), NULL);
	CHECK_INT(q.ok, 0);
	hang_up(&q);
	strange = make(own_key, -HOUR, HOUR);
	X509_set_issuer_name(strange, X509_get_subject_name(ca));
	must(X509_sign(strange, own_key, EVP_sha256()) > 0);
	shake(&q, t, strange, NULL);
	CHECK_INT(q.ok, 0);
	hang_up(&q);
	shake(&q, t, NULL, NULL);
	CHECK_INT(q.ok, 1);
	CHECK_INT(server_tls_verify(t, q.server), 0);
	CHECK_INT(server_tls_name(q.server, HTTP_CERT_CN, name, sizeof(name)), 0);
	hang_up(&q);

	off.verify = 0;
	CHECK_INT(server_tls_set(t, &off), 0);
	CHECK_INT(server_tls_verify(t, p.server), 0);
	CHECK_INT(server_tls_generation(t), 2);
	off.ciphers = "nonsense";
	CHECK_INT(server_tls_set(t, &off), ERR_IO);
	CHECK_INT(server_tls_generation(t), 2);
	CHECK_INT(server_tls_set(t, settings), 0);
	CHECK_INT(server_tls_verify(t, p.server), 1);
	hang_up(&p);
	X509_free(good);
	X509_free(old);
	X509_free(strange);
}

/* Tickets hold beyond a new context, but not at another server, nor where clients show certificates. */
static void
test_tickets(const struct http_tls *settings)
{
	struct http_tls plain = *settings;
	struct server_tls *t, *other;
	SSL_SESSION *session;
	struct pair p;
	int i;

	plain.verify = 0;
	must(server_tls_open(&plain, NULL, &t) == 0 && server_tls_open(&plain, NULL, &other) == 0);
	shake(&p, t, NULL, NULL);
	session = SSL_get1_session(p.client);
	CHECK_INT(SSL_SESSION_has_ticket(session), 1);
	hang_up(&p);
	for (i = 0; i < 2; i++) {
		shake(&p, t, NULL, session);
		CHECK_INT(p.ok, 1);
		CHECK_INT(SSL_session_reused(p.server), 1);
		hang_up(&p);
		CHECK_INT(server_tls_set(t, &plain), 0);
	}
	shake(&p, other, NULL, session);
	CHECK_INT(p.ok, 1);
	CHECK_INT(SSL_session_reused(p.server), 0);
	hang_up(&p);
	CHECK_INT(server_tls_set(t, settings), 0);
	shake(&p, t, NULL, session);
	CHECK_INT(p.ok, 1);
	CHECK_INT(SSL_session_reused(p.server), 0);
	CHECK_INT(SSL_SESSION_has_ticket(SSL_get_session(p.client)), 0);
	hang_up(&p);
	SSL_SESSION_free(session);
	server_tls_close(t);
	server_tls_close(other);
}

static int told;

static void
seen(const struct ssl_st *ssl)
{
	told += SSL_get0_peer_certificate(ssl) != NULL;
}

int
main(void)
{
	struct http_tls settings = {
	    .cert_file = cert_file, .key_file = key_file, .ca_file = ca_file, .verify = 1, .depth = 1};
	struct server_tls *t;

	signal(SIGPIPE, SIG_IGN);
	make_files();
	test_versions();
	test_lists();
	must(server_tls_open(&settings, seen, &t) == 0);
	test_names(t);
	CHECK_INT(told, 15);
	test_verify(t, &settings);
	test_tickets(&settings);
	server_tls_close(t);
	settings.key_file = "/nonexistent";
	CHECK_INT(server_tls_open(&settings, NULL, &t), ERR_IO);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(own_key);
	unlink(cert_file), unlink(key_file), unlink(ca_file);
	return check_done();
}
