/*
 * tls.h: TLS of one server: its settings, and what OpenSSL makes of them and of the files that
 * they name.  Private to the engine; knows nothing of h2o.
 */
#ifndef HTTP_TLS_H_
#define HTTP_TLS_H_

#include <stddef.h>
#include "http/http.h"

/* Opaque; safe to use from any thread. */
struct server_tls;
struct ssl_st;
struct ssl_ctx_st;

/**
 * server_tls_open(settings, seen, tp): Read the files and make a context of them.  ${seen} (may be NULL) is called when
 * the handshake of a connection that has been asked for a certificate is over.  Errors: ERR_IO with a log line,
 * ERR_NOMEM.
 */
int server_tls_open(
    const struct http_tls *settings, void (*seen)(const struct ssl_st *ssl), struct server_tls **tp) MUST_CHECK;
/** server_tls_close(t): Once its connections are gone.  NULL is allowed. */
void server_tls_close(struct server_tls *t);

/**
 * server_tls_take(t): A reference to the context for new connections, made anew if one of its files has changed, at
 * which it looks once in a second at most; files that do not fit leave the old one, with a log line.
 * server_tls_release(ctx) gives it back; NULL is allowed.
 */
struct ssl_ctx_st *server_tls_take(struct server_tls *t) MUST_CHECK;
void server_tls_release(struct ssl_ctx_st *ctx);

/** server_tls_set(t, settings): These from now on.  Errors: ERR_IO with a log line; those before then stay. */
int server_tls_set(struct server_tls *t, const struct http_tls *settings) MUST_CHECK;

/** server_tls_generation(t): Grows with each new context. */
unsigned server_tls_generation(const struct server_tls *t);
/**
 * server_tls_verify(t, ssl): 1 if the certificate that the client of ${ssl} showed would pass a handshake now: signed by
 * who may, not revoked, not expired.
 */
int server_tls_verify(struct server_tls *t, const struct ssl_st *ssl) MUST_CHECK;
/**
 * server_tls_name(ssl, what, out, size): The name that ${what} of the client's certificate is, terminated.  Returns
 * its length; 0 if there is no certificate, none or more than one such name in it, one that does not fit or has a zero
 * byte, or if its time is over.
 */
size_t server_tls_name(const struct ssl_st *ssl, enum http_cert_name what, char *out, size_t size) MUST_CHECK;

#endif
