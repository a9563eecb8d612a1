/* server_impl.h: what server_h2o.c needs that is not h2o: listening sockets, TLS set-up, and a heap of timers.  Private
 * to the engine. */
#ifndef HTTPAPI_SERVER_IMPL_H_
#define HTTPAPI_SERVER_IMPL_H_

#include <stddef.h>
#include <stdint.h>
#include "httpapi/server.h"

/**
 * server_listen(addr, port, n, fds, portp): ${n} sockets that share one port (SO_REUSEPORT), listening, after a plain
 * bind has shown that nobody else has it.  Errors: ERR_IO with a log line; no socket is then left open.
 */
int
server_listen(const char *addr, unsigned port, unsigned n, int *fds, unsigned *portp) MUST_CHECK;

/** server_tls_new(cert, key, ctxp): An SSL_CTX for TLS 1.2 and 1.3 that offers h2 and http/1.1.  Errors: ERR_IO with a
 * log line. */
struct ssl_ctx_st;
int
server_tls_new(const char *cert_file, const char *key_file, struct ssl_ctx_st **ctxp) MUST_CHECK;
void
server_tls_free(struct ssl_ctx_st *ctx);

/** server_reason(status): The reason phrase of an HTTP status.  Static. */
const char *
server_reason(int status);

/**
 * server_framing_ok(head, len): 0 if an HTTP/1 request's head frames its body in more than one way (Content-Length and
 * Transfer-Encoding, or two of one): what request smuggling is made of.  ${head} may go on behind the empty line.
 */
int
server_framing_ok(const char *head, size_t len);

/* A timer; in a heap while it is set. */
struct http_timer {
	struct timers *heap;
	void (*fn)(void *arg);
	void *arg;
	uint64_t due_ms; /* monotonic */
	size_t at;       /* place in the heap counted from 1; 0: not set */
};

/* Timers of one loop, the next one due at slot[1].  room is at least the number of timers that exist, so that setting
 * never fails. */
struct timers {
	struct http_timer **slot;
	size_t n;
	size_t room;
	size_t exist;
};

int
server_timers_add(struct timers *h, struct http_timer *t, void (*fn)(void *arg), void *arg) MUST_CHECK;
void
server_timers_remove(struct http_timer *t);
/** server_timers_wait(h): Milliseconds until the next is due, at most INT32_MAX. */
int32_t
server_timers_wait(const struct timers *h);
/** server_timers_next(h): Take out a timer that is due, or NULL. */
struct http_timer *
server_timers_next(struct timers *h, uint64_t now_ms);
uint64_t
server_timers_now(void);
void
server_timers_release(struct timers *h);

#endif
