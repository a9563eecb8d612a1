/*
 * server_impl.h: what the engine needs that is not h2o: listening sockets, TLS set-up, checks of
 * bytes.  Private to it.
 */
#ifndef HTTPAPI_SERVER_IMPL_H_
#define HTTPAPI_SERVER_IMPL_H_

#include <stddef.h>
#include <stdint.h>
#include "httpapi/server.h"

/**
 * server_listen(addr, port, n, fds, portp): ${n} sockets that share one port (SO_REUSEPORT),
 * listening, after a plain bind has shown that nobody else has it.  Errors: ERR_IO with a log line;
 * no socket is then left open.
 */
int server_listen(const char *addr, unsigned port, unsigned n, int *fds, unsigned *portp) MUST_CHECK;

/**
 * server_tls_new(cert, key, ctxp): An SSL_CTX for TLS 1.2 and 1.3 that offers h2 and http/1.1.
 * Errors: ERR_IO with a log line.
 */
struct ssl_ctx_st;
int server_tls_new(const char *cert_file, const char *key_file, struct ssl_ctx_st **ctxp) MUST_CHECK;
/** server_tls_hold(ctx), server_tls_free(ctx): One more reference, one less.  NULL is allowed. */
struct ssl_ctx_st *server_tls_hold(struct ssl_ctx_st *ctx);
void server_tls_free(struct ssl_ctx_st *ctx);
/**
 * server_tls_stamp(cert, key): Differs from what it was when one of the files has changed; 0: one
 * is missing.
 */
uint64_t server_tls_stamp(const char *cert_file, const char *key_file);

/** server_reason(status): The reason phrase of an HTTP status.  Static. */
const char *server_reason(int status);

/**
 * server_framing_ok(head, len): 0 if an HTTP/1 request's head frames its body in more than one way
 * (Content-Length and Transfer-Encoding, or two of one): what request smuggling is made of.
 * ${head} may go on behind the empty line.
 */
int server_framing_ok(const char *head, size_t len);

#endif
