/*
 * server_h2o.c: the HTTP engine on libh2o-evloop 2.2.  The only file that sees h2o.
 *
 * One event loop per thread, each with its own listening sockets (SO_REUSEPORT), its own h2o context, its own timers
 *and its own requests; nothing of h2o is shared between threads.  A thread's loop:
 *
 *	wait for sockets (messages from http_post() come as one)  ->  messages posted meanwhile  ->  timers that are due
 *
 * A request (struct http_req) outlives h2o's: a worker may still hold it when its client has vanished.  So:
 *
 * 1. req->h2o is h2o's request while that lives and is not yet answered in full, else NULL; then every call does
 *nothing.
 * 2. The engine holds one reference while req->h2o is set.  What ends it: the final h2o_send() (answered), or h2o
 *disposing of its request (vanished: stop() of a started stream, or the pool entry of hook_pool() before that).
 * 3. Method, path and headers that handlers see are copies in the request's arena.  A body is lent out of h2o's buffer
 *over HTTP/1, where nothing is freed before the answer; HTTP/2 may drop a stream at any moment, so there it is copied.
 * 4. After h2o_send(FINAL) h2o's request may be gone already or be the next one: it is not touched again.
 *
 * Output of a stream is collected in req->out and goes to h2o when the callback into the handler returns (flush()), so
 *that a head and its first rows, or the last rows and the end, share one write; and handlers are never called from
 *within their own calls.
 *
 *	http_start -> [in flight] -> proceed -> ready() -> http_send -> [in flight] ... -> http_finish -> final
 *
 * h2o does not read from an HTTP/1 connection while its request is being answered, so it does not see that a client of
 *an idle feed has gone.  Each thread therefore has an epoll of its own which watches such sockets for a hang-up alone.
 *A client that merely half-closed may still read: only a stream that stays idle is then ended.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server_impl.h"
#include "base/limits.h"
#include "base/log.h"

#define ARENA_MAX (256u << 20)            /* bytes of one request's arena */
#define FREE_MAX 64u                      /* requests a thread keeps for reuse */
#define PIECE_MAX (1u << 20)              /* http_body_read()'s pieces */
#define SMALL_BODY 4096u                  /* copied into h2o's pool rather than handed over */
#define KEEP_OUT 512u                     /* an idle stream keeps no larger buffer than this */
#define IDLE_MS (300u * 1000u)            /* keep-alive, and all of an HTTP/1 request's head and body */
#define GRACE_MS 10000u                   /* for requests in flight when the server stops */
#define SWEEP_MS 50u                      /* between looks at connections that are to end */
#define REOPEN_MS 200u                    /* until the next try to accept after descriptors ran out */
#define SPOOL_THRESHOLD ((size_t)8 << 20) /* request bodies beyond this go to a file */
#define RESETS_FREE 200u                  /* streams that a connection may reset beyond half of those it let finish */
#define ACCEPTS_PER_TURN 64
#define METHOD_MAX 24u

/* A connection, from accept to close: found by h2o's on_close hook of the socket. */
struct http_conn {
	struct http_thread *thread;
	h2o_socket_t *sock;
	struct http_conn *next, **linkp;
	struct http_req *req; /* HTTP/1: the one being answered after its handler returned */
	unsigned resets;      /* HTTP/2 streams that vanished unanswered */
	unsigned served;
	unsigned char is_h2;
	unsigned char watched; /* in the thread's epoll */
	unsigned char hung_up; /* the client closed its side */
	unsigned char busy;    /* scratch of sweep(): has streams */
	uint64_t idle_mark;    /* req->nsent when sweep() first saw it idle, plus 1 */
};

struct http_req {
	h2o_req_t *h2o; /* invariant 1 */
	struct http_thread *thread;
	struct http_conn *conn;
	struct arena *arena;    /* made when first asked for, kept with the request */
	struct http_req *next;  /* free list, or the thread's flush list */
	struct http_req **hook; /* in h2o's pool: points here while h2o must tell us of its end */
	unsigned refs;
	char method[METHOD_MAX];
	struct jstr path, query;
	h2o_iovec_t entity;
	uint64_t body_at;    /* read by http_body_read() */
	char *body_copy;     /* HTTP/2: what was lent */
	h2o_buffer_t *input; /* HTTP/1, vanished: what the body was lent from */
	int version;
	unsigned char gone, tls, is_head;
	unsigned char started, headed, in_flight, finishing, aborting, on_flush, want_ready, answered;

	h2o_generator_t gen;
	void (*ready)(void *cookie);
	void (*stop)(void *cookie);
	void *cookie;
	char *out; /* what waits for the next h2o_send() or, in flight, is being written */
	size_t out_len, out_cap;
	uint64_t nsent;
};

struct shutdown_hook {
	void (*fn)(void *arg);
	void *arg;
	struct shutdown_hook *next;
};

struct http_thread {
	struct http_server *server;
	unsigned index;
	pthread_t id;
	h2o_context_t ctx;
	h2o_accept_ctx_t accept[2]; /* plain, TLS */
	h2o_socket_t *listener[2];
	h2o_socket_t *wake;  /* an eventfd */
	h2o_socket_t *watch; /* an epoll: see the top */
	int wake_fd, watch_fd;
	_Atomic(struct http_msg *) inbox; /* newest first */
	struct timers timers;
	struct http_timer sweeper;
	struct http_timer reopener; /* listens again after descriptors had run out */
	struct http_conn *conns;
	struct http_req *flush, **flush_tail;
	struct http_req *free;
	unsigned nfree;
	unsigned live; /* requests that somebody still holds */
	int stopping;
	uint64_t stop_at_ms; /* when grace is over */
	struct shutdown_hook *hooks;
};

struct handler {
	h2o_handler_t super;
	struct http_server *server;
};

struct http_server {
	struct http_config config;
	h2o_globalconf_t global;
	h2o_hostconf_t *host;
	struct ssl_ctx_st *tls;
	unsigned port, tls_port, nthreads;
	_Atomic int stop;
	struct http_thread *threads;
	int *fds[2];
};

static _Thread_local struct http_thread *self_thread;

/* ---- Requests and their memory ---- */

static struct http_req *
req_new(struct http_thread *t)
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
	free(req->body_copy);
	if (req->input != NULL)
		h2o_buffer_dispose(&req->input);
	if (t->nfree < FREE_MAX) {
		arena_reset(req->arena);
		req->next = t->free;
		t->free = req;
		t->nfree++;
	} else {
		arena_free(req->arena);
		free(req);
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
		req_free(req);
}

/* h2o's request is no longer ours to touch: drops the engine's reference. */
static void
detach(struct http_req *req)
{
	req->h2o = NULL;
	if (req->hook != NULL) {
		*req->hook = NULL;
		req->hook = NULL;
	}
	if (req->conn->req == req)
		req->conn->req = NULL;
	http_release(req);
}

static void
count_reset(struct http_conn *conn)
{
	if (!conn->is_h2)
		return;
	conn->resets++;
	/* A client that opens streams only to reset them costs us a handler's run each time. */
	if (conn->resets > RESETS_FREE + conn->served / 2)
		shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
}

static void
vanish(struct http_req *req)
{
	void (*stop)(void *) = req->finishing || req->aborting ? NULL : req->stop;

	req->gone = 1;
	count_reset(req->conn);
	if (req->version < 0x200 && req->entity.len > 0) {
		/* A worker may still read the body: it outlives the connection. */
		req->input = req->conn->sock->input;
		h2o_buffer_init(&req->conn->sock->input, &h2o_socket_buffer_prototype);
	}
	req->refs++;
	detach(req);
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
		vanish(req);
	}
}

static void
hook_pool(struct http_req *req)
{
	req->hook = h2o_mem_alloc_shared(&req->h2o->pool, sizeof(struct http_req *), on_pool_clear);
	*req->hook = req;
}

static void
on_pool_free(void *p)
{
	free(*(void **)p);
}

/* ${mem} is freed with h2o's request. */
static void
give_to_pool(h2o_req_t *h2o, void *mem)
{
	void **slot = h2o_mem_alloc_shared(&h2o->pool, sizeof(void *), on_pool_free);

	*slot = mem;
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

/* HTTP/2 clients may send their cookies as several headers: RFC 9113, 8.2.3. */
static struct jstr
join_cookies(const struct http_req *req, ssize_t at)
{
	const h2o_headers_t *headers = &req->h2o->headers;
	size_t len = 0;
	char *s, *p;
	ssize_t i;

	for (i = at; i != -1; i = h2o_find_header(headers, H2O_TOKEN_COOKIE, i))
		len += headers->entries[i].value.len + 2;
	s = arena_alloc(req->arena, len);
	if (s == NULL)
		return (struct jstr){NULL, 0};
	for (p = s, i = at; i != -1; i = h2o_find_header(headers, H2O_TOKEN_COOKIE, i)) {
		if (p != s) {
			memcpy(p, "; ", 2);
			p += 2;
		}
		memcpy(p, headers->entries[i].value.base, headers->entries[i].value.len);
		p += headers->entries[i].value.len;
	}
	return (struct jstr){s, (size_t)(p - s)};
}

/* The headers that h2o takes out of its list. */
static struct jstr
special_header(const struct http_req *req, const h2o_token_t *token)
{
	char digits[24];

	if (token == H2O_TOKEN_HOST)
		return arena_jstr(req->arena, req->h2o->input.authority.base, req->h2o->input.authority.len);
	if (token == H2O_TOKEN_CONTENT_LENGTH && req->entity.base != NULL) {
		int n = snprintf(digits, sizeof(digits), "%zu", req->entity.len);

		return arena_jstr(req->arena, digits, (size_t)n);
	}
	return (struct jstr){NULL, 0};
}

struct jstr
http_header(const struct http_req *req, const char *name)
{
	size_t len = strlen(name);
	const h2o_token_t *token;
	ssize_t at;

	if (req->h2o == NULL)
		return (struct jstr){NULL, 0};
	token = h2o_lookup_token(name, len);
	if (token == NULL)
		at = h2o_find_header_by_str(&req->h2o->headers, name, len, -1);
	else
		at = h2o_find_header(&req->h2o->headers, token, -1);
	if (at == -1)
		return token != NULL ? special_header(req, token) : (struct jstr){NULL, 0};
	if (token == H2O_TOKEN_COOKIE && h2o_find_header(&req->h2o->headers, token, at) != -1)
		return join_cookies(req, at);
	return arena_jstr(
	    req->arena, req->h2o->headers.entries[at].value.base, req->h2o->headers.entries[at].value.len);
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
	struct sockaddr_storage sa;
	char host[NI_MAXHOST];
	socklen_t len;
	size_t n = SIZE_MAX;
	const char *copy;

	if (req->h2o == NULL)
		return "-";
	len = req->h2o->conn->callbacks->get_peername(req->h2o->conn, (struct sockaddr *)&sa);
	if (len > 0)
		n = h2o_socket_getnumerichost((struct sockaddr *)&sa, len, host);
	if (n == SIZE_MAX)
		return "-";
	copy = arena_dup(req->arena, host, n);
	return copy != NULL ? copy : "-";
}

struct arena *
http_arena(struct http_req *req)
{
	return req->arena;
}

uint64_t
http_body_len(const struct http_req *req)
{
	return req->entity.len;
}

/* Lends ${n} bytes of the body from ${at} on: invariant 3. */
static int
lend_body(struct http_req *req, uint64_t at, size_t n, struct jstr *outp)
{
	char *copy;

	*outp = (struct jstr){"", 0};
	if (n == 0)
		return 0;
	if (req->h2o == NULL)
		return ERR_IO;
	if (req->version < 0x200) {
		*outp = (struct jstr){req->entity.base + at, n};
		return 0;
	}
	copy = realloc(req->body_copy, n);
	if (copy == NULL)
		return ERR_NOMEM;
	req->body_copy = copy;
	memcpy(copy, req->entity.base + at, n);
	*outp = (struct jstr){copy, n};
	return 0;
}

int
http_body_read(struct http_req *req, struct jstr *piecep)
{
	uint64_t left = req->entity.len - req->body_at;
	int err = lend_body(req, req->body_at, left < PIECE_MAX ? (size_t)left : PIECE_MAX, piecep);

	if (err == 0)
		req->body_at += piecep->len;
	return err;
}

int
http_body_all(struct http_req *req, struct jstr *bodyp)
{
	int err;

	assert(req->body_at == 0 || req->body_at == req->entity.len);
	if (req->body_at > 0 && req->body_copy != NULL) {
		*bodyp = (struct jstr){req->body_copy, req->entity.len};
		return 0;
	}
	err = lend_body(req, 0, req->entity.len, bodyp);
	if (err == 0)
		req->body_at = req->entity.len;
	return err;
}

int
http_gone(const struct http_req *req)
{
	return req->gone;
}

/* ---- Answers ---- */

static void
put_header(struct http_req *req, const char *name, const char *value, size_t len, int replace)
{
	h2o_req_t *h2o = req->h2o;
	const h2o_token_t *token;
	size_t nlen = strlen(name);
	char *copy;

	if (h2o == NULL)
		return;
	token = h2o_lookup_token(name, nlen);
	copy = h2o_mem_alloc_pool(&h2o->pool, len + 1);
	memcpy(copy, value, len);
	copy[len] = '\0';
	if (token == NULL && replace)
		h2o_set_header_by_str(&h2o->pool, &h2o->res.headers, name, nlen, 0, copy, len, 1);
	else if (token == NULL)
		h2o_add_header_by_str(&h2o->pool, &h2o->res.headers, name, nlen, 0, NULL, copy, len);
	else if (replace)
		h2o_set_header(&h2o->pool, &h2o->res.headers, token, copy, len, 1);
	else
		h2o_add_header(&h2o->pool, &h2o->res.headers, token, NULL, copy, len);
}

void
http_set_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	put_header(req, name, value, len, 1);
}

void
http_add_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	put_header(req, name, value, len, 0);
}

static void
reply_iov(struct http_req *req, int status, h2o_iovec_t body)
{
	static h2o_generator_t whole = {NULL, NULL};
	h2o_req_t *h2o = req->h2o;
	int is_head = req->is_head;

	h2o->res.status = status;
	h2o->res.reason = server_reason(status);
	h2o->res.content_length = body.len;
	req->answered = 1;
	req->conn->served++;
	detach(req);
	h2o_start_response(h2o, &whole);
	h2o_send(h2o, &body, is_head || body.len == 0 ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void
http_reply(struct http_req *req, int status, const void *body, size_t len)
{
	h2o_iovec_t iov = {NULL, len};

	assert(!req->started && !req->answered);
	if (req->h2o == NULL)
		return;
	if (!req->is_head && len > 0) {
		iov.base = h2o_mem_alloc_pool(&req->h2o->pool, len);
		memcpy(iov.base, body, len);
	}
	reply_iov(req, status, iov);
}

void
http_reply_take(struct http_req *req, int status, char *body, size_t len)
{
	if (req->h2o == NULL || req->is_head || len <= SMALL_BODY) {
		http_reply(req, status, body, len);
		free(body);
		return;
	}
	assert(!req->started && !req->answered);
	give_to_pool(req->h2o, body);
	reply_iov(req, status, h2o_iovec_init(body, len));
}

/* ---- Streams ---- */

static void
schedule_flush(struct http_req *req)
{
	struct http_thread *t = req->thread;

	if (req->on_flush)
		return;
	req->on_flush = 1;
	req->refs++;
	req->next = NULL;
	*t->flush_tail = req;
	t->flush_tail = &req->next;
}

/*
 * A head without a body yet.  h2o keeps it back over HTTP/1 until there is a byte of body, and its chunked encoder
 * passes on no empty buffer; so the empty buffer goes to the last output stream directly.
 */
static void
send_head(h2o_req_t *h2o)
{
	static char nothing[1];
	h2o_iovec_t iov = {nothing, 0};
	h2o_ostream_t *last = h2o->_ostr_top;

	while (last->next != NULL)
		last = last->next;
	last->do_send(last, h2o, &iov, 1, H2O_SEND_STATE_IN_PROGRESS);
}

/* Gives what is collected to h2o; called when nothing is in flight. */
static void
push(struct http_req *req)
{
	h2o_req_t *h2o = req->h2o;
	h2o_iovec_t iov = {req->out, req->out_len};
	size_t n = req->out_len > 0 ? 1 : 0;
	int head_alone = !req->headed && n == 0;

	req->headed = 1;
	if (req->finishing || req->aborting) {
		h2o_send_state_t state = req->aborting ? H2O_SEND_STATE_ERROR : H2O_SEND_STATE_FINAL;

		if (req->out != NULL)
			give_to_pool(h2o, req->out);
		req->out = NULL;
		req->conn->served++;
		detach(req);
		h2o_send(h2o, &iov, n, state);
		return;
	}
	req->in_flight = 1;
	req->nsent++;
	if (head_alone)
		send_head(h2o);
	else
		h2o_send(h2o, &iov, n, H2O_SEND_STATE_IN_PROGRESS);
}

static void
flush_one(struct http_req *req)
{
	if (req->h2o != NULL && !req->in_flight &&
	    (!req->headed || req->out_len > 0 || req->finishing || req->aborting)) {
		push(req);
	} else if (req->gone && req->started && req->stop != NULL) {
		void (*stop)(void *) = req->stop;

		/* It was started after its client had gone. */
		req->stop = NULL;
		stop(req->cookie);
	} else if (req->is_head && req->want_ready && !req->finishing) {
		/* Nothing goes out after the head of a HEAD, but the handler counts on being asked for more. */
		req->want_ready = 0;
		req->ready(req->cookie);
	}
}

static void
flush(struct http_thread *t)
{
	struct http_req *req;

	while ((req = t->flush) != NULL) {
		t->flush = req->next;
		if (t->flush == NULL)
			t->flush_tail = &t->flush;
		req->on_flush = 0;
		flush_one(req);
		http_release(req);
	}
}

static void
on_proceed(h2o_generator_t *gen, h2o_req_t *h2o)
{
	struct http_req *req = H2O_STRUCT_FROM_MEMBER(struct http_req, gen, gen);
	struct http_thread *t = req->thread;

	(void)h2o;
	req->in_flight = 0;
	req->out_len = 0;
	if (req->out_cap > KEEP_OUT) {
		free(req->out);
		req->out = NULL;
		req->out_cap = 0;
	}
	if (req->finishing || req->aborting) {
		push(req);
		return;
	}
	if (req->want_ready) {
		req->want_ready = 0;
		req->ready(req->cookie);
	}
	flush(t);
}

static void
on_stop(h2o_generator_t *gen, h2o_req_t *h2o)
{
	struct http_req *req = H2O_STRUCT_FROM_MEMBER(struct http_req, gen, gen);
	struct http_thread *t = req->thread;

	(void)h2o;
	vanish(req);
	flush(t);
}

void
http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie), void (*stop)(void *cookie),
    void *cookie)
{
	h2o_req_t *h2o = req->h2o;

	assert(!req->started && !req->answered);
	req->started = 1;
	req->ready = ready;
	req->stop = stop;
	req->cookie = cookie;
	if (h2o == NULL) {
		schedule_flush(req);
		return;
	}
	h2o->res.status = status;
	h2o->res.reason = server_reason(status);
	h2o->res.content_length = length <= SIZE_MAX ? (size_t)length : SIZE_MAX;
	if (req->is_head) {
		static h2o_generator_t whole = {NULL, NULL};

		req->refs++; /* the handler still counts on the request until http_finish() */
		detach(req);
		h2o_start_response(h2o, &whole);
		h2o_send(h2o, NULL, 0, H2O_SEND_STATE_FINAL);
		return;
	}
	req->gen = (h2o_generator_t){on_proceed, on_stop};
	h2o_start_response(h2o, &req->gen);
	schedule_flush(req);
}

int
http_can_send(const struct http_req *req)
{
	return req->started && !req->in_flight && req->out_len == 0 && !req->want_ready && !req->finishing &&
	       !req->aborting;
}

void
http_send(struct http_req *req, const void *data, size_t len)
{
	assert(req->started && !req->finishing && !req->aborting && !req->want_ready);
	if (req->gone)
		return;
	req->want_ready = 1;
	if (req->h2o != NULL && len > 0) {
		if (req->out_cap < len) {
			char *out = realloc(req->out, len);

			if (out == NULL) {
				http_abort(req);
				return;
			}
			req->out = out;
			req->out_cap = len;
		}
		memcpy(req->out, data, len);
		req->out_len = len;
	}
	schedule_flush(req);
}

void
http_finish(struct http_req *req)
{
	assert(req->started && !req->finishing);
	if (req->gone || req->aborting)
		return;
	req->finishing = 1;
	if (req->h2o != NULL)
		schedule_flush(req);
	else if (req->is_head)
		http_release(req);
}

void
http_abort(struct http_req *req)
{
	if (!req->started) {
		http_reply(req, 500, NULL, 0);
		return;
	}
	if (req->gone || req->finishing || req->aborting)
		return;
	req->aborting = 1;
	if (req->h2o != NULL)
		schedule_flush(req);
	else if (req->is_head)
		http_release(req);
}

/* ---- Connections ---- */

static struct http_conn *
conn_of(h2o_req_t *h2o)
{
	return h2o->conn->callbacks->get_socket(h2o->conn)->on_close.data;
}

static void
on_conn_close(void *data)
{
	struct http_conn *conn = data;

	*conn->linkp = conn->next;
	if (conn->next != NULL)
		conn->next->linkp = conn->linkp;
	free(conn);
}

static void
on_accept(h2o_socket_t *listener, const char *err)
{
	h2o_accept_ctx_t *accept = listener->data;
	struct http_thread *t = H2O_STRUCT_FROM_MEMBER(struct http_thread, ctx, accept->ctx);
	int i;

	if (err != NULL)
		return;
	errno = 0;
	for (i = 0; i < ACCEPTS_PER_TURN; i++) {
		h2o_socket_t *sock = h2o_evloop_socket_accept(listener);
		struct http_conn *conn;

		if (sock == NULL) {
			/* With no descriptor left, a listener that stays readable would keep the loop busy for nothing.
			 */
			if (errno == EMFILE || errno == ENFILE) {
				h2o_socket_read_stop(listener);
				http_timer_set(&t->reopener, REOPEN_MS);
			}
			return;
		}
		conn = calloc(1, sizeof(*conn));
		if (conn == NULL) {
			h2o_socket_close(sock);
			return;
		}
		conn->thread = t;
		conn->sock = sock;
		conn->linkp = &t->conns;
		conn->next = t->conns;
		if (conn->next != NULL)
			conn->next->linkp = &conn->next;
		t->conns = conn;
		sock->on_close.cb = on_conn_close;
		sock->on_close.data = conn;
		h2o_accept(accept, sock);
	}
}

static void
on_reopen(void *arg)
{
	struct http_thread *t = arg;
	int i;

	for (i = 0; i < 2; i++)
		if (t->listener[i] != NULL)
			h2o_socket_read_start(t->listener[i], on_accept);
}

/* Watch for the hang-up of a connection whose request goes on after its handler returned. */
static void
watch(struct http_conn *conn, struct http_req *req)
{
	struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = conn};

	conn->req = req;
	conn->idle_mark = 0;
	if (!conn->watched && epoll_ctl(conn->thread->watch_fd, EPOLL_CTL_ADD, h2o_socket_get_fd(conn->sock), &ev) == 0)
		conn->watched = 1;
	if (conn->hung_up && conn->thread->sweeper.at == 0)
		http_timer_set(&conn->thread->sweeper, SWEEP_MS);
}

static int
is_idle(const struct http_req *req)
{
	return req->started && !req->in_flight && req->out_len == 0 && !req->on_flush;
}

/* Ends an HTTP/1 connection whose client is gone: h2o learns it from a write that fails. */
static void
hang_up(struct http_conn *conn)
{
	static char byte[1] = " ";
	struct http_req *req = conn->req;
	h2o_iovec_t iov = {byte, 1};

	shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
	if (req != NULL && is_idle(req)) {
		req->in_flight = 1;
		h2o_send(req->h2o, &iov, 1, H2O_SEND_STATE_IN_PROGRESS);
	}
}

static void
on_watch(h2o_socket_t *sock, const char *err)
{
	struct http_thread *t = sock->data;
	struct epoll_event ev[64];
	int i, n;

	(void)err;
	n = epoll_wait(t->watch_fd, ev, 64, 0);
	for (i = 0; i < n; i++) {
		struct http_conn *conn = ev[i].data.ptr;

		conn->hung_up = 1;
		if (conn->req == NULL)
			continue;
		if (ev[i].events & (EPOLLERR | EPOLLHUP)) {
			conn->req->gone |= !conn->req->started;
			hang_up(conn);
		} else if (t->sweeper.at == 0) {
			http_timer_set(&t->sweeper, SWEEP_MS);
		}
	}
}

static int
mark_busy(h2o_req_t *h2o, void *data)
{
	(void)data;
	conn_of(h2o)->busy = 1;
	return 0;
}

/* Has nothing to finish: may be closed when the server stops. */
static int
conn_at_rest(struct http_conn *conn)
{
	return conn->req == NULL && !conn->busy && !h2o_socket_is_writing(conn->sock) && conn->sock->input->size == 0;
}

/* Looks after connections that are to end: idle streams of clients that half-closed and, once the server stops, all
 * that are at rest. */
static void
on_sweep(void *arg)
{
	struct http_thread *t = arg;
	struct http_conn *conn, *next;
	int again = 0;

	if (t->stopping) {
		for (conn = t->conns; conn != NULL; conn = conn->next)
			conn->busy = 0;
		t->server->global.http2.callbacks.foreach_request(&t->ctx, mark_busy, NULL);
	}
	for (conn = t->conns; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->hung_up && conn->req != NULL && is_idle(conn->req)) {
			if (conn->idle_mark == conn->req->nsent + 1)
				hang_up(conn);
			conn->idle_mark = conn->req->nsent + 1;
		}
		again |= conn->hung_up && conn->req != NULL;
		if (t->stopping && conn_at_rest(conn))
			shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
	}
	if (again || t->stopping)
		http_timer_set(&t->sweeper, SWEEP_MS);
}

/* ---- From h2o to the handler ---- */

static int
framing_ok(const struct http_req *req)
{
	const h2o_buffer_t *in = req->conn->sock->input;

	/* The head still stands at the input's start: h2o consumes a request when it has been answered. */
	return req->version >= 0x200 || req->entity.base == NULL || server_framing_ok(in->bytes, in->size);
}

/* What a request to a proxy has before the path, as in "GET http://host/path": RFC 9112, 3.2.2. */
static size_t
authority_len(const char *path, size_t len)
{
	const char *colon = memchr(path, ':', len), *slash;

	if (len == 0 || *path == '/' || colon == NULL || (size_t)(path + len - colon) < 3 ||
	    memcmp(colon, "://", 3) != 0)
		return 0;
	slash = memchr(colon + 3, '/', (size_t)(path + len - colon - 3));
	return slash != NULL ? (size_t)(slash - path) : 0;
}

static int
req_fill(struct http_req *req, h2o_req_t *h2o)
{
	size_t skip = authority_len(h2o->input.path.base, h2o->input.path.len), len = h2o->input.path.len - skip;
	size_t path_len = h2o->input.query_at == SIZE_MAX ? len : h2o->input.query_at - skip;
	char *path = arena_dup(req->arena, h2o->input.path.base + skip, len);

	if (path == NULL || path_len > len || h2o->input.method.len >= METHOD_MAX)
		return ERR_BAD_REQUEST;
	memcpy(req->method, h2o->input.method.base, h2o->input.method.len);
	req->path = (struct jstr){path, path_len};
	req->query = (struct jstr){"", 0};
	if (path_len < len)
		req->query = (struct jstr){path + path_len + 1, len - path_len - 1};
	req->is_head = h2o_memis(h2o->input.method.base, h2o->input.method.len, H2O_STRLIT("HEAD"));
	req->entity = h2o->entity;
	req->version = h2o->version;
	req->tls = h2o->input.scheme == &H2O_URL_SCHEME_HTTPS;
	return 0;
}

static void
refuse(struct http_req *req)
{
	static const char text[] = "{\"error\":\"bad_request\",\"reason\":\"bad request\"}\n";

	req->h2o->http1_is_persistent = 0;
	http_set_header(req, "content-type", "application/json", 16);
	http_reply(req, 400, text, sizeof(text) - 1);
}

static int
on_req(h2o_handler_t *handler, h2o_req_t *h2o)
{
	struct http_server *s = ((struct handler *)handler)->server;
	struct http_thread *t = H2O_STRUCT_FROM_MEMBER(struct http_thread, ctx, h2o->conn->ctx);
	struct http_req *req = req_new(t);

	if (req == NULL) {
		h2o_send_error_503(h2o, "Service Unavailable", "out of memory", 0);
		return 0;
	}
	req->h2o = h2o;
	req->conn = conn_of(h2o);
	req->conn->is_h2 = h2o->version >= 0x200;
	req->refs = 2; /* the engine's, and ours until the handler has returned */
	if (req_fill(req, h2o) != 0 || !framing_ok(req))
		refuse(req);
	else
		s->config.handle(req, s->config.cookie);
	if (req->h2o != NULL && !req->answered) {
		if (!req->started)
			hook_pool(req);
		if (!req->conn->is_h2)
			watch(req->conn, req);
	}
	flush(t);
	http_release(req);
	return 0;
}

/*
 * h2o answers some requests by itself (400, 413, 417), all through the fallback path.  A filter there
 * puts CouchDB's form in place of its text.
 */
static void
error_send(h2o_ostream_t *self, h2o_req_t *h2o, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	h2o_iovec_t json = {NULL, h2o->res.content_length};

	(void)bufs;
	if (n > 0 && json.len > 0) {
		json.base = h2o_mem_alloc_pool(&h2o->pool, json.len + 1);
		snprintf(json.base, json.len + 1, "{\"error\":\"%s\",\"reason\":\"%s\"}\n",
		    err_name(h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST),
		    err_reason(h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST));
		h2o_ostream_send_next(self, h2o, &json, 1, state);
	} else {
		h2o_ostream_send_next(self, h2o, NULL, 0, state);
	}
}

static void
error_setup(h2o_filter_t *self, h2o_req_t *h2o, h2o_ostream_t **slot)
{
	int code = h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST;
	h2o_ostream_t *out = h2o_add_ostream(h2o, sizeof(*out), slot);

	(void)self;
	h2o->res.reason = server_reason(h2o->res.status);
	h2o->res.content_length =
	    strlen(err_name(code)) + strlen(err_reason(code)) + sizeof("{\"error\":\"\",\"reason\":\"\"}\n") - 1;
	h2o_set_header(&h2o->pool, &h2o->res.headers, H2O_TOKEN_CONTENT_TYPE, H2O_STRLIT("application/json"), 1);
	out->do_send = error_send;
	h2o_setup_next_ostream(h2o, &out->next);
}

/* ---- Messages and timers ---- */

static void
wake(struct http_thread *t)
{
	uint64_t one = 1;
	ssize_t rc;

	do
		rc = write(t->wake_fd, &one, sizeof(one));
	while (rc < 0 && errno == EINTR);
}

void
http_post(struct http_thread *t, struct http_msg *m)
{
	struct http_msg *head = atomic_load_explicit(&t->inbox, memory_order_relaxed);

	do
		m->next = head;
	while (!atomic_compare_exchange_weak_explicit(&t->inbox, &head, m, memory_order_acq_rel, memory_order_relaxed));
	/* Whoever finds the box empty wakes the loop; the loop empties it before it sleeps. */
	if (head == NULL && t != self_thread)
		wake(t);
}

static void
run_messages(struct http_thread *t)
{
	struct http_msg *m = atomic_exchange_explicit(&t->inbox, NULL, memory_order_acquire);
	struct http_msg *next, *inorder = NULL;

	for (; m != NULL; m = next) {
		next = m->next;
		m->next = inorder;
		inorder = m;
	}
	for (m = inorder; m != NULL; m = next) {
		next = m->next;
		m->fn(m->arg);
		flush(t);
	}
}

static void
on_wake(h2o_socket_t *sock, const char *err)
{
	struct http_thread *t = sock->data;
	uint64_t n;

	(void)err;
	if (read(t->wake_fd, &n, sizeof(n)) == sizeof(n))
		run_messages(t);
}

static int
run_timers(struct http_thread *t)
{
	struct http_timer *timer;
	uint64_t now;
	int ran = 0;

	if (t->timers.n == 0)
		return 0;
	now = server_timers_now();
	for (; (timer = server_timers_next(&t->timers, now)) != NULL; ran = 1) {
		timer->fn(timer->arg);
		flush(t);
	}
	return ran;
}

int
http_timer_new(struct http_thread *t, void (*fn)(void *arg), void *arg, struct http_timer **tp)
{
	struct http_timer *timer = malloc(sizeof(*timer));
	int err = timer != NULL ? server_timers_add(&t->timers, timer, fn, arg) : ERR_NOMEM;

	if (err != 0) {
		free(timer);
		return err;
	}
	*tp = timer;
	return 0;
}

/* ---- The loop ---- */

static void
begin_stop(struct http_thread *t)
{
	struct shutdown_hook *hook;
	int i;

	t->stopping = 1;
	t->stop_at_ms = server_timers_now() + GRACE_MS;
	for (i = 0; i < 2; i++) {
		if (t->listener[i] != NULL)
			h2o_socket_close(t->listener[i]);
		t->listener[i] = NULL;
	}
	h2o_context_request_shutdown(&t->ctx);
	for (hook = t->hooks; hook != NULL; hook = hook->next) {
		hook->fn(hook->arg);
		flush(t);
	}
	http_timer_set(&t->sweeper, 0);
}

static void *
thread_main(void *arg)
{
	struct http_thread *t = arg;
	int ran = 0;

	self_thread = t;
	while (!t->stopping || ((t->conns != NULL || t->live > 0) && server_timers_now() < t->stop_at_ms)) {
		/* What runs outside of h2o's loop may leave it callbacks that it runs only after its next look at the
		 * sockets. */
		h2o_evloop_run(t->ctx.loop, ran ? 0 : server_timers_wait(&t->timers));
		ran = 0;
		if (atomic_load_explicit(&t->inbox, memory_order_relaxed) != NULL) {
			run_messages(t);
			ran = 1;
		}
		ran |= run_timers(t);
		if (!t->stopping && atomic_load_explicit(&t->server->stop, memory_order_relaxed)) {
			begin_stop(t);
			ran = 1;
		}
	}
	self_thread = NULL;
	return NULL;
}

int
http_server_run(struct http_server *s)
{
	pthread_attr_t attr;
	unsigned i, n = 1;
	int rc = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	for (; n < s->nthreads && rc == 0; n++)
		rc = pthread_create(&s->threads[n].id, &attr, thread_main, &s->threads[n]);
	pthread_attr_destroy(&attr);
	if (rc != 0) {
		log_line(LOG_ERROR, "cannot start a thread: %s", strerror(rc));
		n--;
		http_server_stop(s);
	}
	thread_main(&s->threads[0]);
	for (i = 1; i < n; i++)
		pthread_join(s->threads[i].id, NULL);
	if (rc != 0)
		return ERR_IO;
	for (i = 0; i < n; i++)
		if (s->threads[i].conns != NULL || s->threads[i].live > 0)
			return ERR_BUSY;
	return 0;
}

void
http_server_stop(struct http_server *s)
{
	unsigned i;
	int saved = errno;

	atomic_store(&s->stop, 1);
	for (i = 0; i < s->nthreads; i++)
		wake(&s->threads[i]);
	errno = saved;
}

/* ---- Birth and death ---- */

unsigned
http_server_port(const struct http_server *s)
{
	return s->port;
}

unsigned
http_server_tls_port(const struct http_server *s)
{
	return s->tls_port;
}

unsigned
http_server_threads(const struct http_server *s)
{
	return s->nthreads;
}

struct http_thread *
http_server_thread(struct http_server *s, unsigned i)
{
	return &s->threads[i];
}

unsigned
http_thread_index(const struct http_thread *t)
{
	return t->index;
}

int
http_thread_on_shutdown(struct http_thread *t, void (*fn)(void *arg), void *arg)
{
	struct shutdown_hook *hook = malloc(sizeof(*hook));

	if (hook == NULL)
		return ERR_NOMEM;
	*hook = (struct shutdown_hook){fn, arg, t->hooks};
	t->hooks = hook;
	return 0;
}

static void
configure(struct http_server *s)
{
	h2o_globalconf_t *g = &s->global;
	struct handler *handler;
	h2o_filter_t *errors;

	h2o_config_init(g);
	if (s->config.server_name != NULL)
		g->server_name = h2o_iovec_init(s->config.server_name, strlen(s->config.server_name));
	g->max_request_entity_size = s->config.max_body > 0 ? s->config.max_body : LIMIT_REQUEST_LEN;
	g->http1.req_timeout = IDLE_MS;
	g->http2.idle_timeout = IDLE_MS;
	s->host = h2o_config_register_host(g, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	handler = (struct handler *)h2o_create_handler(h2o_config_register_path(s->host, "/", 0), sizeof(*handler));
	handler->super.on_req = on_req;
	handler->server = s;
	errors = h2o_create_filter(&s->host->fallback_path, sizeof(*errors));
	errors->on_setup_ostream = error_setup;
	h2o_socket_buffer_mmap_settings.threshold = SPOOL_THRESHOLD;
	if (s->config.spool_dir != NULL)
		snprintf(h2o_socket_buffer_mmap_settings.fn_template,
		    sizeof(h2o_socket_buffer_mmap_settings.fn_template), "%s/.body.XXXXXX", s->config.spool_dir);
}

static h2o_socket_t *
add_socket(struct http_thread *t, int fd, void *data, h2o_socket_cb cb)
{
	h2o_socket_t *sock = h2o_evloop_socket_create(t->ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);

	sock->data = data;
	h2o_socket_read_start(sock, cb);
	return sock;
}

static int
thread_init(struct http_server *s, struct http_thread *t, unsigned index)
{
	int i, err;

	t->server = s;
	t->index = index;
	t->flush_tail = &t->flush;
	t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	t->watch_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->wake_fd < 0 || t->watch_fd < 0) {
		log_line(LOG_ERROR, "cannot make an event loop: %s", strerror(errno));
		return ERR_IO;
	}
	err = server_timers_add(&t->timers, &t->sweeper, on_sweep, t);
	if (err == 0)
		err = server_timers_add(&t->timers, &t->reopener, on_reopen, t);
	if (err != 0)
		return err;
	h2o_context_init(&t->ctx, h2o_evloop_create(), &s->global);
	t->wake = add_socket(t, t->wake_fd, t, on_wake);
	t->watch = add_socket(t, t->watch_fd, t, on_watch);
	for (i = 0; i < 2; i++) {
		if (s->fds[i] == NULL)
			continue;
		t->accept[i] =
		    (h2o_accept_ctx_t){.ctx = &t->ctx, .hosts = s->global.hosts, .ssl_ctx = i == 1 ? s->tls : NULL};
		t->listener[i] = add_socket(t, s->fds[i][index], &t->accept[i], on_accept);
		s->fds[i][index] = -1;
	}
	return 0;
}

static int
open_listeners(struct http_server *s)
{
	const struct http_config *c = &s->config;
	int err;

	s->fds[0] = calloc(s->nthreads, sizeof(int));
	if (s->fds[0] == NULL)
		return ERR_NOMEM;
	memset(s->fds[0], -1, s->nthreads * sizeof(int));
	err = server_listen(c->bind, c->port, s->nthreads, s->fds[0], &s->port);
	if (err != 0 || c->tls_bind == NULL)
		return err;
	err = server_tls_new(c->cert_file, c->key_file, &s->tls);
	if (err != 0)
		return err;
	s->fds[1] = calloc(s->nthreads, sizeof(int));
	if (s->fds[1] == NULL)
		return ERR_NOMEM;
	memset(s->fds[1], -1, s->nthreads * sizeof(int));
	return server_listen(c->tls_bind, c->tls_port, s->nthreads, s->fds[1], &s->tls_port);
}

int
http_server_new(const struct http_config *config, struct http_server **sp)
{
	struct http_server *s = calloc(1, sizeof(*s));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned i, n;
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->config = *config;
	n = config->threads > 0 ? config->threads : cores > 0 ? (unsigned)cores : 1;
	s->threads = calloc(n, sizeof(*s->threads));
	if (s->threads == NULL) {
		free(s);
		return ERR_NOMEM;
	}
	s->nthreads = n;
	for (i = 0; i < n; i++)
		s->threads[i].wake_fd = s->threads[i].watch_fd = -1;
	err = open_listeners(s);
	if (err == 0)
		configure(s);
	for (i = 0; i < n && err == 0; i++)
		err = thread_init(s, &s->threads[i], i);
	if (err != 0) {
		http_server_free(s);
		return err;
	}
	*sp = s;
	return 0;
}

/* Takes h2o's part of a thread down, which it can only do when no connection is left. */
static void
loop_release(struct http_thread *t)
{
	int i;

	for (i = 0; i < 2; i++)
		if (t->listener[i] != NULL)
			h2o_socket_close(t->listener[i]);
	h2o_socket_close(t->wake);
	h2o_socket_close(t->watch);
	t->wake_fd = t->watch_fd = -1;
	h2o_evloop_run(t->ctx.loop, 0);
	/* The second half of a graceful shutdown, a second after the first: there is nobody left to tell. */
	if (h2o_timeout_is_linked(&t->ctx.http2._graceful_shutdown_timeout))
		h2o_timeout_unlink(&t->ctx.http2._graceful_shutdown_timeout);
	h2o_context_dispose(&t->ctx);
	h2o_evloop_run(t->ctx.loop, 0);
	h2o_evloop_destroy(t->ctx.loop);
}

static void
thread_release(struct http_thread *t)
{
	struct http_req *req;
	struct shutdown_hook *hook;

	if (t->watch != NULL)
		loop_release(t);
	while ((req = t->free) != NULL) {
		t->free = req->next;
		arena_free(req->arena);
		free(req);
	}
	while ((hook = t->hooks) != NULL) {
		t->hooks = hook->next;
		free(hook);
	}
	server_timers_release(&t->timers);
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	if (t->watch_fd >= 0)
		close(t->watch_fd);
}

void
http_server_free(struct http_server *s)
{
	unsigned i, k;

	if (s == NULL)
		return;
	for (i = 0; i < s->nthreads; i++) {
		assert(s->threads[i].conns == NULL && s->threads[i].live == 0);
		thread_release(&s->threads[i]);
	}
	if (s->host != NULL)
		h2o_config_dispose(&s->global);
	for (k = 0; k < 2; k++) {
		for (i = 0; s->fds[k] != NULL && i < s->nthreads; i++)
			if (s->fds[k][i] >= 0)
				close(s->fds[k][i]);
		free(s->fds[k]);
	}
	server_tls_free(s->tls);
	free(s->threads);
	free(s);
}

#if defined(__SANITIZE_ADDRESS__)
/* h2o keeps buffers for reuse in each thread, and its message queues, for good. */
const char *
__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libh2o-evloop\n";
}
#endif
