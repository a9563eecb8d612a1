/*
 * http_stubs.h: what http/http.h declares and no test without sockets needs: one server, one thread, one plain connection from this host; all
 * else of the engine is the includer's (tests/unit/fake_http.h, tests/fuzz/engine.h).  For one file of a program.
 */
#ifndef TESTS_LIB_HTTP_STUBS_H_
#define TESTS_LIB_HTTP_STUBS_H_

#include <stdlib.h>
#include <string.h>

#include "http/http.h"

int
http_is_tls(const struct http_req *req)
{
	(void)req;
	return 0;
}

int
http_is_local(const struct http_req *req)
{
	(void)req;
	return 1;
}

struct jstr
http_cert_name(struct http_req *req, enum http_cert_name what)
{
	(void)req, (void)what;
	return (struct jstr){NULL, 0};
}

int
http_server_tls(struct http_server *s, const struct http_tls *tls)
{
	(void)s, (void)tls;
	return 0;
}

int
http_version(const struct http_req *req)
{
	(void)req;
	return 0x101;
}

void
http_trust(struct http_req *req)
{
	(void)req;
}

void
http_set_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	http_add_header(req, name, value, len);
}

void
http_set_static(struct http_req *req, const char *name, const char *value)
{
	http_add_header(req, name, value, strlen(value));
}

void
http_drop_content(struct http_req *req)
{
	(void)req;
}

void
http_expect(struct http_req *req, uint64_t len)
{
	(void)req, (void)len;
}

int
http_may_stream(const struct http_req *req, uint64_t len)
{
	(void)req, (void)len;
	return 1;
}

void
http_wrote(struct http_req *req)
{
	(void)req;
}

int
http_keep(struct http_req *req, uint64_t len)
{
	(void)req, (void)len;
	return 0;
}

void
http_may_encode(struct http_req *req)
{
	(void)req;
}

void
http_server_compress(struct http_server *s, enum http_compress mode)
{
	(void)s;
	(void)mode;
}

void
http_server_room(struct http_server *s, struct http_room *out)
{
	(void)s;
	*out = (struct http_room){0};
}

unsigned
http_server_lag_ms(struct http_server *s, int reset)
{
	(void)s;
	(void)reset;
	return 0;
}

void
http_reply_take(struct http_req *req, int status, char *body, size_t len)
{
	http_reply(req, status, body, len);
	free(body);
}

void
http_lend(struct http_req *req, const void *data, size_t len)
{
	http_send(req, data, len);
}

void
http_cut(struct http_req *req)
{
	(void)req;
}

struct http_thread *
http_req_thread(struct http_req *req)
{
	(void)req;
	return NULL;
}

unsigned
http_thread_index(const struct http_thread *t)
{
	(void)t;
	return 0;
}

unsigned
http_server_port(const struct http_server *s)
{
	(void)s;
	return 5984;
}

unsigned
http_server_tls_port(const struct http_server *s)
{
	(void)s;
	return 0;
}

unsigned
http_server_threads(const struct http_server *s)
{
	(void)s;
	return 1;
}

struct http_thread *
http_server_thread(struct http_server *s, unsigned i)
{
	(void)s, (void)i;
	return NULL;
}

int
http_thread_on_shutdown(struct http_thread *t, void (*fn)(void *arg), void *arg)
{
	(void)t, (void)fn, (void)arg;
	return 0;
}

#endif
