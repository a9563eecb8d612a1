/* The engine over TLS: streamed bodies, long heads, and certificates that are renewed while it serves. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "servertest.h"

static void
save_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || (cert != NULL && PEM_write_X509(f, cert) != 1) ||
	    (key != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) != 1) || fclose(f) != 0)
		abort();
}

static void
make_certificate(const struct http_config *config, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	if (key == NULL || cert == NULL)
		abort();
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(
	    X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	save_pem(config->tls.cert_file, cert, NULL);
	save_pem(config->tls.key_file, NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static SSL *
dial_tls(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);

	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, servertest_dial_port(http_server_tls_port(servertest_server)));
	if (SSL_connect(ssl) != 1)
		abort();
	return ssl;
}

/* Reads until ${until} (NULL: the end of the connection) has come. */
static char *
hear_tls(SSL *ssl, const char *until)
{
	static char buf[8192];
	int n = 0, got;

	buf[0] = '\0';
	while (n < (int)sizeof(buf) - 1 && (until == NULL || strstr(buf, until) == NULL) &&
	       (got = SSL_read(ssl, buf + n, (int)sizeof(buf) - 1 - n)) > 0) {
		n += got;
		buf[n] = '\0';
	}
	return buf;
}

static void
end_tls(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
}

/* Asks over TLS; the server's name goes to ${name}. */
static char *
ask_tls(const char *request, char *name, int size)
{
	SSL *ssl = dial_tls();
	X509 *cert = SSL_get1_peer_certificate(ssl);
	char *answer;

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, size);
	X509_free(cert);
	SSL_write(ssl, request, (int)strlen(request));
	answer = hear_tls(ssl, NULL);
	end_tls(ssl);
	return answer;
}

static void
write_tls(SSL *ssl, const char *text, size_t len)
{
	/* As with servertest_say(). */
	(void)!SSL_write(ssl, text, (int)len);
}

#define HEAD_TLS(path, headers) "PUT " path " HTTP/1.1\r\nHost: h\r\n" headers "\r\n"

static void
test_streamed_tls(void)
{
	static const char sum[] = HEAD_TLS("/sum", SERVERTEST_BIG_LEN),
			  expect[] = HEAD_TLS("/sum", SERVERTEST_BIG_LEN "Expect: 100-continue\r\n"),
			  refuse[] = HEAD_TLS("/refuse", SERVERTEST_BIG_LEN "Expect: 100-continue\r\n"),
			  chunked[] = HEAD_TLS("/gathered", SERVERTEST_CHUNKED),
			  next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	static char all[sizeof(sum) + SERVERTEST_BIG + sizeof(next)];
	unsigned before = atomic_load(&servertest_lost);
	SSL *ssl = dial_tls();
	int i;

	/* With the first bytes, and another request behind. */
	memcpy(all, sum, sizeof(sum) - 1);
	memcpy(all + sizeof(sum) - 1, servertest_big, SERVERTEST_BIG);
	memcpy(all + sizeof(sum) - 1 + SERVERTEST_BIG, next, sizeof(next) - 1);
	write_tls(ssl, all, sizeof(sum) - 1 + SERVERTEST_BIG + sizeof(next) - 1);
	CHECK(servertest_has(hear_tls(ssl, "GET|/next|"), "GET|/next|"));
	for (i = 0; i < 3; i++) {
		write_tls(ssl, expect, sizeof(expect) - 1);
		CHECK(servertest_has(hear_tls(ssl, "100 Continue\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n"));
		write_tls(ssl, servertest_big, SERVERTEST_BIG);
		CHECK(servertest_has(hear_tls(ssl, servertest_big_sum), servertest_big_sum));
		write_tls(ssl, chunked, sizeof(chunked) - 1);
		write_tls(ssl, "dbba0\r\n", 7);
		write_tls(ssl, servertest_big, SERVERTEST_BIG);
		write_tls(ssl, "\r\n0\r\n\r\n", 7);
		CHECK(servertest_has(hear_tls(ssl, servertest_big_echo), servertest_big_echo));
	}
	write_tls(ssl, refuse, sizeof(refuse) - 1);
	CHECK(strncmp(hear_tls(ssl, NULL), "HTTP/1.1 401 Unauthorized\r\n", 27) == 0);
	end_tls(ssl);
	ssl = dial_tls();
	write_tls(ssl, sum, sizeof(sum) - 1);
	write_tls(ssl, servertest_big, 400000);
	usleep(10000);
	end_tls(ssl);
	CHECK(servertest_reaches(&servertest_lost, before + 1));
}

/* A renewed certificate serves new connections; one that does not fit its key changes nothing. */
static void
test_tls(const struct http_config *config)
{
	char name[64], many[4096] = "GET /t HTTP/1.1\r\n";
	char *a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE, name, sizeof(name));
	EVP_PKEY *other;
	int i;

	CHECK(servertest_has(a, "GET|/t||h||101|"));
	CHECK_STR(name, "first");
	for (i = 0; i < 200; i++)
		memcpy(many + 17 + 6 * i, "a: b\r\n", 7);
	memcpy(many + 17 + 6 * 200, SERVERTEST_CLOSE, sizeof(SERVERTEST_CLOSE));
	a = ask_tls(many, name, sizeof(name));
	CHECK(servertest_has(
	    a, "{\"error\":\"request_header_fields_too_large\",\"reason\":\"the request head is too large\"}\n"));
	make_certificate(config, "second");
	for (i = 0; i < SERVERTEST_WAIT_MS / 100 && strcmp(name, "second") != 0; i++) {
		usleep(100000);
		a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE, name, sizeof(name));
	}
	CHECK_STR(name, "second");
	CHECK(servertest_has(a, "GET|/t||h||101|"));
	other = EVP_EC_gen("P-256");
	save_pem(config->tls.key_file, NULL, other);
	EVP_PKEY_free(other);
	usleep(1100000);
	a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE, name, sizeof(name));
	CHECK_STR(name, "second");
	CHECK(servertest_has(a, "GET|/t||h||101|"));
}

int
main(void)
{
	struct http_config config = servertest_config();
	char cert[] = "/tmp/divan-cert-XXXXXX", key[] = "/tmp/divan-key-XXXXXX";

	close(mkstemp(cert));
	close(mkstemp(key));
	config.tls_bind = "127.0.0.1";
	config.tls.cert_file = cert;
	config.tls.key_file = key;
	make_certificate(&config, "first");
	servertest_start(&config);
	test_streamed_tls();
	test_tls(&config);
	servertest_end();
	unlink(cert);
	unlink(key);
	return check_done();
}
