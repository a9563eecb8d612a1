/*
 * h2o_cert.c: the certificate that a client has shown in TLS.
 *
 * The handshake let it pass.  Connections may live for days, so before its name counts it is looked at again: at each
 * request whether its time is over, and once whenever settings, authorities or revocations have changed, whether it
 * would still pass.
 */
#include <h2o.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "h2o_impl.h"

#define NAME_MAX_LEN 512u

void
server_cert_seen(const struct ssl_st *ssl)
{
	/* h2o keeps its SSL to itself, but hands its socket to OpenSSL as what bytes are read from. */
	const h2o_socket_t *sock = BIO_get_data(SSL_get_rbio(ssl));
	struct http_conn *conn = sock->on_close.data;

	conn->ssl = ssl;
}

/* 1 if the certificate would pass a handshake now. */
static int
still_passes(struct http_conn *conn)
{
	struct server_tls *tls = conn->thread->server->tls;
	unsigned generation = server_tls_generation(tls);

	/* First of all when it is first asked for: settings may have changed during the handshake. */
	if (conn->cert_generation != generation) {
		conn->cert_ok = (unsigned char)server_tls_verify(tls, conn->ssl);
		conn->cert_generation = generation;
	}
	return conn->cert_ok;
}

struct jstr
http_cert_name(struct http_req *req, enum http_cert_name what)
{
	const struct jstr none = {NULL, 0};
	char name[NAME_MAX_LEN];
	char *copy;
	size_t len;

	if (req->h2o == NULL || req->conn->ssl == NULL)
		return none;
	len = server_tls_name(req->conn->ssl, what, name, sizeof(name));
	if (len == 0 || !still_passes(req->conn))
		return none;
	copy = arena_dup(req->arena, name, len);
	return copy != NULL ? (struct jstr){copy, len} : none;
}

int
http_server_tls(struct http_server *s, const struct http_tls *tls)
{
	return s->tls != NULL ? server_tls_set(s->tls, tls) : ERR_IO;
}
