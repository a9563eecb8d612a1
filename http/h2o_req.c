/*
 * h2o_req.c: a request's life and memory, and what handlers ask of it:
 * see h2o_impl.h for the rules.
 */
#include <h2o.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "h2o_impl.h"
#include "base/limits.h"

#define ARENA_MAX (256u << 20) /* bytes of one request's arena */
#define FREE_MAX 64u           /* requests a thread keeps for reuse */
#define FREE_BYTES (8u << 20)  /* of an arena that are freed within a turn: a millisecond */

/* ---- Requests and their memory ---- */

struct http_req *
server_req_new(struct http_thread *t)
{
	struct http_req *req = t->free;
	struct arena *arena = NULL;

	if (req != NULL) {
		t->free = req->next;
		t->nfree--;
		arena = req->arena;
	} else if ((req = malloc(sizeof(*req))) == NULL) {
		return NULL;
	}
	memset(req, 0, sizeof(*req));
	req->arena = arena;
	req->thread = t;
	if (arena == NULL && arena_new(ARENA_MAX, &req->arena) != 0) {
		free(req);
		return NULL;
	}
	t->live++;
	return req;
}

static void
req_free(struct http_req *req)
{
	struct http_thread *t = req->thread;

	assert(req->h2o == NULL && !req->on_flush);
	t->live--;
	free(req->out);
	server_raw_free(req);
	encode_stream_free(req->enc);
	free(req->body_copy);
	server_body_release(req);
	if (req->input != NULL)
		h2o_buffer_dispose(&req->input);
	if (t->nfree < FREE_MAX)
		arena_reset(req->arena);
	else
		arena_free(req->arena);
	/* Only now is there room for another. */
	server_room_end(req);
	server_admit_done(req);
	if (t->nfree < FREE_MAX) {
		req->next = t->free;
		t->free = req;
		t->nfree++;
	} else {
		free(req);
	}
}

/* end_req: Nobody has the request any more. */
static void
end_req(void *arg)
{
	struct http_req *req = arg;

	if (!req->thread->stopping && arena_free_some(req->arena, FREE_BYTES)) {
		/* Nobody waits for its body any more. */
		req->body_msg = (struct http_msg){.fn = end_req, .arg = req};
		http_post(req->thread, &req->body_msg);
	} else {
		req_free(req);
	}
}

void
http_hold(struct http_req *req)
{
	req->refs++;
}

void
http_release(struct http_req *req)
{
	assert(req->refs > 0);
	if (--req->refs == 0)
		end_req(req);
}

void
http_cut(struct http_req *req)
{
	if (req->h2o != NULL)
		shutdown(h2o_socket_get_fd(req->conn->sock), SHUT_RDWR);
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void
server_req_begun(struct http_req *req)
{
	struct http_conn *conn = req->conn;

	conn->refs++;
	conn->jobs++;
	req->addr = conn->addr;
	if (conn->proxy)
		server_req_addr(req, &req->addr);
	if (req->thread->server->config.ended == NULL)
		return;
	/* A clock costs more than all else here: within a turn one request begins where another ended. */
	if (req->thread->clock_us == 0)
		req->thread->clock_us = now_us();
	req->begun_us = req->thread->clock_us;
	if (conn->text[0] == '\0')
		server_addr_text(&conn->addr, conn->text);
}

static void
tell_end(struct http_req *req)
{
	const struct http_config *c = &req->thread->server->config;
	struct http_end end;
	char forwarded[SERVER_ADDR_TEXT];

	if (c->ended == NULL)
		return;
	if (req->conn->proxy)
		server_addr_text(&req->addr, forwarded);
	req->thread->clock_us = now_us();
	end = (struct http_end){req->note, req->conn->proxy ? forwarded : req->conn->text, req->path, req->query,
	    req->method, req->thread->index, req->status, req->complete, req->bytes,
	    req->thread->clock_us - req->begun_us, req->thread->clock_us};
	c->ended(&end, c->cookie);
}

/* h2o's request is no longer ours to touch: drops the engine's reference. */
void
server_detach(struct http_req *req)
{
	tell_end(req);
	req->h2o = NULL;
	if (req->hook != NULL) {
		*req->hook = NULL;
		req->hook = NULL;
	}
	if (req->conn->req == req)
		req->conn->req = NULL;
	if (!req->conn->is_h2)
		server_gate_answered(req->conn);
	http_release(req);
}

void
server_vanish(struct http_req *req)
{
	void (*stop)(void *) = req->stop;

	req->gone = 1;
	server_h2_reset(req->conn);
	if (req->version < 0x200 && req->entity.len > 0) {
		/* A worker may still read the body: it outlives the connection. */
		req->input = req->conn->sock->input;
		h2o_buffer_init(&req->conn->sock->input, &h2o_socket_buffer_prototype);
	}
	req->refs++;
	server_detach(req);
	if (req->started && stop != NULL) {
		req->stop = NULL;
		stop(req->cookie);
	}
	http_release(req);
}

/* h2o clears the pool of a request that nobody has answered. */
static void
on_pool_clear(void *p)
{
	struct http_req *req = *(struct http_req **)p;

	if (req != NULL) {
		req->hook = NULL;
		server_vanish(req);
	}
}

void
server_hook_pool(struct http_req *req)
{
	req->hook = h2o_mem_alloc_shared(&req->h2o->pool, sizeof(struct http_req *), on_pool_clear);
	*req->hook = req;
}

/* ---- What handlers ask ---- */

struct http_thread *
http_req_thread(struct http_req *req)
{
	return req->thread;
}

const char *
http_method(const struct http_req *req)
{
	return req->method;
}

struct jstr
http_path(const struct http_req *req)
{
	return req->path;
}

struct jstr
http_query(const struct http_req *req)
{
	return req->query;
}

static struct jstr
arena_jstr(struct arena *a, const char *s, size_t len)
{
	char *copy = arena_dup(a, s, len);

	return copy != NULL ? (struct jstr){copy, len} : (struct jstr){NULL, 0};
}

/* White space behind a value is none of it (RFC 9110, 5.5); h2o leaves it there. */
static struct jstr
trimmed(h2o_iovec_t value)
{
	while (value.len > 0 && (value.base[value.len - 1] == ' ' || value.base[value.len - 1] == '\t'))
		value.len--;
	return (struct jstr){value.base, value.len};
}

/*
 * Several headers of a name as one value.  HTTP/2 clients may send their cookies so (RFC 9113, 8.2.3).  Of credentials
 * none may be looked at alone: whoever checked requests in front of us may have looked at another.
 */
static struct jstr
join(const struct http_req *req, const h2o_token_t *token, ssize_t at)
{
	const h2o_headers_t *headers = &req->h2o->headers;
	size_t len = 0;
	char *s, *p;
	ssize_t i;

	for (i = at; i != -1; i = h2o_find_header(headers, token, i))
		len += headers->entries[i].value.len + 2;
	s = arena_alloc(req->arena, len);
	if (s == NULL)
		return (struct jstr){NULL, 0};
	for (p = s, i = at; i != -1; i = h2o_find_header(headers, token, i)) {
		if (p != s) {
			memcpy(p, token == H2O_TOKEN_COOKIE ? "; " : ", ", 2);
			p += 2;
		}
		memcpy(p, headers->entries[i].value.base, headers->entries[i].value.len);
		p += headers->entries[i].value.len;
	}
	return (struct jstr){s, (size_t)(p - s)};
}

/* The headers that h2o takes out of its list. */
static struct jstr
special_header(const struct http_req *req, const char *name, size_t len)
{
	char digits[24];

	if (h2o_memis(name, len, H2O_STRLIT("host")))
		return arena_jstr(req->arena, req->h2o->input.authority.base, req->h2o->input.authority.len);
	if (h2o_memis(name, len, H2O_STRLIT("content-length")) && (req->entity.base != NULL || req->body != NULL)) {
		uint64_t body = req->body != NULL ? server_body_announced(req) : req->entity.len;
		int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)body);

		if (body == UINT64_MAX)
			return (struct jstr){NULL, 0};
		return arena_jstr(req->arena, digits, (size_t)n);
	}
	return (struct jstr){NULL, 0};
}

struct jstr
http_header(const struct http_req *req, const char *name)
{
	size_t len = strlen(name), i;
	const h2o_headers_t *headers;
	const h2o_token_t *token;
	struct jstr value;

	if (req->h2o == NULL)
		return (struct jstr){NULL, 0};
	/* Most requests have a few headers, and not the one that is asked for. */
	headers = &req->h2o->headers;
	for (i = 0; i < headers->size; i++)
		if (h2o_memis(headers->entries[i].name->base, headers->entries[i].name->len, name, len))
			break;
	if (i == headers->size)
		return special_header(req, name, len);
	token = H2O_STRUCT_FROM_MEMBER(const h2o_token_t, buf, headers->entries[i].name);
	if ((token == H2O_TOKEN_COOKIE || token == H2O_TOKEN_AUTHORIZATION) &&
	    h2o_find_header(headers, token, (ssize_t)i) != -1)
		return join(req, token, (ssize_t)i);
	value = trimmed(headers->entries[i].value);
	return arena_jstr(req->arena, value.s, value.len);
}

int
http_headers(const struct http_req *req, int (*fn)(struct jstr name, struct jstr value, void *cookie), void *cookie)
{
	static const char *const special[] = {"host", "content-length"};
	int rc = 0;

	if (req->h2o == NULL)
		return 0;
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]) && rc == 0; i++) {
		struct jstr value = http_header(req, special[i]);

		if (value.s != NULL)
			rc = fn((struct jstr){special[i], strlen(special[i])}, value, cookie);
	}
	for (size_t i = 0; i < req->h2o->headers.size && rc == 0; i++) {
		const h2o_header_t *h = &req->h2o->headers.entries[i];

		rc = fn((struct jstr){h->name->base, h->name->len}, trimmed(h->value), cookie);
	}
	return rc;
}

int
http_is_tls(const struct http_req *req)
{
	return req->tls;
}

int
http_version(const struct http_req *req)
{
	return req->version;
}

const char *
http_peer(const struct http_req *req)
{
	char text[SERVER_ADDR_TEXT];
	const char *copy;

	server_addr_text(&req->addr, text);
	copy = arena_dup(req->arena, text, strlen(text));
	return copy != NULL ? copy : "-";
}

void
http_note(struct http_req *req, void *note)
{
	req->note = note;
}

struct arena *
http_arena(struct http_req *req)
{
	return req->arena;
}

int
http_gone(const struct http_req *req)
{
	return req->gone;
}
