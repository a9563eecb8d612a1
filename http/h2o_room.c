/*
 * h2o_room.c: when connections, requests and answers take of the memory that all of them share, how much, and what becomes of
 * who waits.  The sum itself and its queue are room.c's, which knows none of them: what is called with a struct server_room
 * stands there, the rest of server_room_*() here.
 *
 *	bytes come: parked by the connection
 *	  -> a handler asks for the body (http_body_is_whole, _gather, _wait, _read): there is room, or it waits for some
 *	  -> held until the last reference to the request goes (req_free()), or its answer begins as a stream (http_start())
 *	  -> or ERR_BUSY, which the handler answers with 503: at once if nothing more can be parked or the server ends, else behind
 *	     room_wait_ms
 *	its answer is made (http_reply, http_may_stream, http_keep): there is room, or it is refused
 *	  -> owed until the client has taken it, or is cut: h2o_pace.c
 *
 * So a request is refused by its handler, like any other: who it is has been looked at, and the answer has all its headers.
 *
 * 1. Over HTTP/1 what waits is hardly more than a head: the gate reads no further than that of a body that has to wait.
 * 2. h2o takes HTTP/2 bodies in by itself.  Where those of streams that are still coming find no room, the newest of this connection
 *    is given up: its bytes are dropped, now and as they come, and at its end it is answered.  To answer before would reset
 *    the stream under the client's hands, which many take for a broken connection.
 * 3. A stream that was given up is marked by http1_is_persistent, which h2o uses over HTTP/1 alone.
 * 4. h2o's buffers are files from SERVER_SPOOL_BYTES on, and so are gathered bodies: they hold little memory.
 * 5. What is owed counts thrice: by the connection, by the request's address, and in all, but for what connections are owed that
 *    are being shut down.  It may outlive the request, so it has references of its own.
 */
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include <assert.h>
#include <stdlib.h>

#include "h2o_body.h"

#define STREAMED ((uint64_t)512 << 10) /* what an upload has in memory at most, before server_room_cost() */
#define FILED ((uint64_t)64 << 10)     /* what a body in a file costs */
#define FIRST ((uint64_t)8 << 10)      /* of a connection's input: not counted */
#define PLACE ((uint64_t)4 << 10)      /* what a place in the queue costs at least */
#define ARENA_FREE ((size_t)64 << 10)  /* of an arena: not counted */
#define CALM_MS 1000u
#define CROWD 1000u                       /* connections and requests whose memory is worth giving back */
#define LARGE_ANSWER ((size_t)64 << 10)   /* smaller ones are not counted, */
#define LARGE_PIECE ((uint64_t)256 << 10) /* nor are pieces of streams: those of usual listings */

static void
count_shed(struct http_thread *t)
{
	atomic_fetch_add_explicit(&t->server->room.shed, 1, memory_order_relaxed);
}

/* ---- What has come ---- */

static int
park(struct http_conn *conn, uint64_t bytes)
{
	if (!server_room_park(&conn->thread->server->room, conn->parked, bytes))
		return 0;
	conn->parked = bytes;
	return 1;
}

int
server_room_input(struct http_conn *conn, uint64_t more)
{
	const h2o_buffer_t *in = conn->sock->input;
	uint64_t bytes = in->_fd >= 0 && in->bytes != NULL ? FILED : in->capacity;

	if (bytes < more)
		bytes = more;
	return park(conn, bytes > FIRST ? bytes : 0);
}

void
server_room_leave(struct http_conn *conn)
{
	if (conn->parked > 0)
		(void)park(conn, 0);
}

/* ---- HTTP/2: bodies that come ---- */

static int
is_given_up(const h2o_http2_stream_t *stream)
{
	return stream->req.http1_is_persistent != 0;
}

static void
drop(h2o_http2_stream_t *stream)
{
	if (stream->_req_body->size == 0)
		return;
	h2o_buffer_dispose(&stream->_req_body);
	h2o_buffer_init(&stream->_req_body, &h2o_socket_buffer_prototype);
}

static void
give_up(struct http_conn *conn, h2o_http2_stream_t *stream)
{
	count_shed(conn->thread);
	stream->req.http1_is_persistent = 1;
	/* h2o compares what is left of it at its end. */
	stream->_expected_content_length = SIZE_MAX;
	drop(stream);
}

/* Bytes of bodies that are coming in; *${newestp}: the one that began last, or NULL. */
static uint64_t
coming(h2o_http2_conn_t *c, h2o_http2_stream_t **newestp)
{
	uint64_t sum = 0;
	khiter_t i;

	*newestp = NULL;
	for (i = 0; i < kh_end(c->streams); i++) {
		h2o_http2_stream_t *stream = kh_exist(c->streams, i) ? kh_val(c->streams, i) : NULL;

		if (stream == NULL || stream->state != H2O_HTTP2_STREAM_STATE_RECV_BODY || stream->_req_body == NULL)
			continue;
		if (is_given_up(stream)) {
			drop(stream);
			continue;
		}
		sum += stream->_req_body->bytes == NULL ? 0
		       : stream->_req_body->_fd >= 0    ? FILED
							: stream->_req_body->capacity;
		if (*newestp == NULL || (*newestp)->stream_id < stream->stream_id)
			*newestp = stream;
	}
	return sum;
}

void
server_room_streams(struct http_conn *conn)
{
	h2o_http2_conn_t *c = conn->sock->data;
	h2o_http2_stream_t *newest;

	if (conn->parked == 0 && c->num_streams.pull.open == c->num_streams.pull.half_closed)
		return;
	while (!park(conn, coming(c, &newest)) && newest != NULL)
		give_up(conn, newest);
}

/* ---- Requests ---- */

void
server_room_begin(struct http_req *req)
{
	struct server_room *m = &req->thread->server->room;

	server_room_busy(req->thread);
	if (m->share > 0)
		arena_count(req->arena, &m->held, ARENA_FREE, server_room_most(m));
	if (req->version >= 0x200 && req->h2o->http1_is_persistent)
		req->room_err = ERR_BUSY;
}

int
server_room_refuses(struct http_req *req)
{
	struct server_room *m = &req->thread->server->room;

	/* What is only read ends at a quarter of what may be owed: the rest is what streams keep of requests, and writes are told. */
	if (atomic_load_explicit(&m->held, memory_order_relaxed) < server_room_most(m) &&
	    server_peers_owed(req->peer) <= server_room_most(m) / 2)
		return 0;
	count_shed(req->thread);
	return 1;
}

static uint64_t
cost(const struct http_req *req, int in_pieces)
{
	const struct server_room *m = &req->thread->server->room;
	uint64_t len = http_body_len(req);

	/* h2o's buffer, which doubled until the body fitted, and our copy of it. */
	if (req->version >= 0x200 && len < SERVER_SPOOL_BYTES / 2)
		len += len / 2;
	if ((in_pieces && len > STREAMED) || len == UINT64_MAX)
		len = STREAMED;
	return server_room_cost(m, len);
}

static void
admitted(struct http_req *req, uint64_t bytes)
{
	const struct server_room *m = &req->thread->server->room;

	req->room = bytes;
	req->admitted = 1;
	arena_count(req->arena, &req->thread->server->room.held, bytes > ARENA_FREE ? (size_t)bytes : ARENA_FREE,
	    server_room_most(m));
	/* What this connection has parked is this request's, over HTTP/1. */
	if (req->version < 0x200)
		server_room_leave(req->conn);
}

int
server_room_admit(struct http_req *req, int in_pieces)
{
	struct server_room *m = &req->thread->server->room;
	uint64_t bytes;

	if (req->admitted || m->share == 0)
		return 1;
	if (req->room_err != 0 || req->queued != NULL)
		return 0;
	if (req->body == NULL && req->entity.len == 0) {
		req->admitted = 1;
		return 1;
	}
	bytes = cost(req, in_pieces);
	if (!server_room_take(m, bytes))
		return 0;
	admitted(req, bytes);
	return 1;
}

/* What stands in memory of the body, as far as it is worth counting. */
static uint64_t
body_kept(const struct http_req *req)
{
	uint64_t len = req->room > 0 ? http_body_len(req) : 0;

	return len < ARENA_FREE ? 0 : len < STREAMED * 2 ? len : STREAMED * 2;
}

static void
owe(struct http_req *req, uint64_t n)
{
	struct http_conn *conn = req->conn;

	if (n == 0)
		return;
	if (!conn->shut)
		server_room_owe(&conn->thread->server->room, n);
	server_peers_owe(req->peer, n);
	if (conn->debtor != req->peer) {
		server_peers_put(conn->debtor);
		conn->debtor = server_peers_hold(req->peer);
	}
	conn->owed += n;
	server_pace_owed(conn);
}

static void
paid(struct http_conn *conn, struct server_peer *peer, uint64_t n)
{
	if (n == 0)
		return;
	conn->owed -= n;
	server_peers_paid(peer, n);
	if (!conn->shut)
		server_room_paid(&conn->thread->server->room, n);
	server_room_quiet(conn->thread);
}

/* ${n} bytes more stay until the end. */
static void
owe_to_end(struct http_req *req, uint64_t n)
{
	n = server_room_debt(&req->thread->server->room, n);
	owe(req, n);
	req->kept += n;
}

void
server_room_settle(struct http_req *req)
{
	struct server_room *m = &req->thread->server->room;
	size_t arena = arena_size(req->arena);

	if (m->share == 0)
		return;
	owe_to_end(req, body_kept(req) + (arena > ARENA_FREE ? arena : 0));
	arena_count(req->arena, &m->held, arena > ARENA_FREE ? arena : ARENA_FREE, server_room_most(m));
	server_room_give(m, req->room);
	req->room = 0;
}

void
server_room_end(struct http_req *req)
{
	struct http_thread *t = req->thread;

	server_room_count_piece(req, 0);
	paid(req->conn, req->peer, req->kept);
	server_room_give(&t->server->room, req->room);
	server_room_quiet(t);
}

/* ---- When a load is over ---- */

static unsigned
busy(const struct http_thread *t)
{
	return t->live + atomic_load_explicit(&t->server->nconns, memory_order_relaxed);
}

void
server_room_busy(struct http_thread *t)
{
	unsigned n = busy(t);

	if (n > t->busiest)
		t->busiest = n;
}

static int
is_quiet(const struct http_thread *t)
{
	return t->busiest >= CROWD && busy(t) <= t->busiest / 8;
}

void
server_room_quiet(struct http_thread *t)
{
	if (!timers_is_set(&t->calmer) && (is_quiet(t) || server_room_calm(&t->server->room, 0)))
		http_timer_set(&t->calmer, CALM_MS);
}

void
server_on_calm(void *arg)
{
	struct http_thread *t = arg;
	const struct http_config *c = &t->server->config;
	int quiet = is_quiet(t);

	if (quiet)
		t->busiest = busy(t);
	if ((server_room_calm(&t->server->room, 1) || quiet) && c->calm != NULL)
		c->calm(c->cookie);
}

/* ---- Waiting ---- */

struct room_place {
	struct server_room_waiter wait;
	struct http_msg msg;
	struct http_req *req;
	uint64_t parked;
};

static void
refused(struct http_req *req)
{
	count_shed(req->thread);
	req->room_err = ERR_BUSY;
}

static void
on_told(void *arg)
{
	struct room_place *p = arg;
	struct http_req *req = p->req;

	req->queued = NULL;
	(void)server_room_park(&req->thread->server->room, p->parked, 0);
	if (p->wait.got)
		admitted(req, p->wait.bytes);
	else
		refused(req);
	server_body_go_on(req);
}

static void
told(struct server_room_waiter *w)
{
	struct room_place *p = H2O_STRUCT_FROM_MEMBER(struct room_place, wait, w);

	http_post(p->req->thread, &p->msg);
}

void
server_on_expire(void *arg)
{
	struct http_thread *t = arg;
	uint64_t now = timers_now(), due = server_room_expire(&t->server->room, now);

	if (due != 0)
		http_timer_set(&t->expirer, due > now ? due - now : 1);
}

void
server_room_stop(struct http_thread *t)
{
	(void)server_room_expire(&t->server->room, UINT64_MAX);
}

void
server_room_wait(struct http_req *req, int in_pieces)
{
	struct http_thread *t = req->thread;
	struct server_room *m = &t->server->room;
	/* Over HTTP/1 the connection has it parked. */
	uint64_t has = req->version >= 0x200 ? req->entity.len : 0;
	struct room_place *p = req->room_err == 0 ? arena_alloc(req->arena, sizeof(*p)) : NULL;

	has = has < PLACE ? PLACE : has < SERVER_SPOOL_BYTES / 2 ? has : FILED;
	/* A body that came with its head, or that did not fit when it came, waits nowhere; nor does anything once the server ends. */
	if (p == NULL || t->stopping || (req->body != NULL && req->body->unfit) || !server_room_park(m, 0, has)) {
		if (req->room_err == 0)
			refused(req);
		server_body_go_on(req);
		return;
	}
	*p = (struct room_place){.req = req, .parked = has};
	p->msg = (struct http_msg){.fn = on_told, .arg = p};
	p->wait.bytes = cost(req, in_pieces);
	p->wait.due_ms = timers_now() + t->server->config.gate.room_wait_ms;
	p->wait.told = told;
	req->queued = p;
	/* It is we who do not read. */
	if (req->version < 0x200)
		server_pace_receiving(req->conn, 0);
	if (!timers_is_set(&t->expirer))
		http_timer_set(&t->expirer, t->server->config.gate.room_wait_ms);
	server_room_queue(m, &p->wait);
}

/* ---- Answers ---- */

int
server_room_strains(const struct http_conn *conn)
{
	const struct server_room *m = &conn->thread->server->room;

	/* A proxy's HTTP/2 connection carries the answers of many. */
	if (conn->owed == 0 || conn->shut || (conn->proxy && conn->is_h2))
		return 0;
	return server_room_strained(m, conn->debtor != NULL ? server_peers_owed(conn->debtor) : UINT64_MAX);
}

void
server_room_shut(struct http_conn *conn)
{
	if (conn->shut)
		return;
	conn->shut = 1;
	server_room_paid(&conn->thread->server->room, conn->owed);
}

int
server_room_grant(const struct http_req *req, uint64_t len)
{
	if (len < LARGE_ANSWER || server_room_fits(&req->thread->server->room, len, server_peers_owed(req->peer)))
		return 1;
	count_shed(req->thread);
	return 0;
}

int
http_may_stream(const struct http_req *req, uint64_t len)
{
	len += arena_size(req->arena); /* server_room_settle() */
	return len < LARGE_PIECE || server_room_grant(req, len);
}

int
http_keep(struct http_req *req, uint64_t len)
{
	if (!server_room_grant(req, len + arena_size(req->arena)))
		return ERR_BUSY;
	owe_to_end(req, len < LARGE_ANSWER ? 0 : len);
	return 0;
}

int
server_room_grant_piece(struct http_req *req, uint64_t len)
{
	if (len < LARGE_PIECE || server_room_grant(req, len))
		return 1;
	server_admit_log(req->conn, "too much waits to be taken, in all or by its address");
	return 0;
}

void
server_room_count_piece(struct http_req *req, uint64_t len)
{
	len = len < LARGE_PIECE ? 0 : server_room_debt(&req->thread->server->room, len);
	paid(req->conn, req->peer, req->piece);
	owe(req, len);
	req->piece = len;
}

struct counted {
	void *mem;
	struct http_conn *conn;
	struct server_peer *peer;
	uint64_t bytes;
};

static void
on_sent(void *p)
{
	struct counted *c = p;

	free(c->mem);
	if (c->bytes == 0)
		return;
	paid(c->conn, c->peer, c->bytes);
	server_conn_put(c->conn);
}

void
server_give_to_pool(struct http_req *req, void *mem, size_t len)
{
	struct counted *c = h2o_mem_alloc_shared(&req->h2o->pool, sizeof(*c), on_sent);

	*c = (struct counted){mem, req->conn, req->peer, 0};
	if (len < LARGE_ANSWER)
		return;
	c->bytes = server_room_debt(&req->thread->server->room, len);
	c->conn->refs++;
	owe(req, c->bytes);
}

void
server_raw_take(struct http_req *req, char *raw, size_t len)
{
	req->raw = raw;
	req->raw_len = len;
	req->raw_at = 0;
	server_room_count_piece(req, len);
}

void
server_raw_free(struct http_req *req)
{
	server_room_count_piece(req, 0);
	free(req->raw);
	req->raw = NULL;
	req->raw_at = req->raw_len = 0;
}

void
http_server_room(struct http_server *s, struct http_room *out)
{
	const struct server_room *m = &s->room;

	*out = (struct http_room){.share = m->share,
	    .held = atomic_load_explicit(&m->held, memory_order_relaxed),
	    .owed = atomic_load_explicit(&m->owed, memory_order_relaxed),
	    .parked = atomic_load_explicit(&m->parked, memory_order_relaxed),
	    .waiting = atomic_load_explicit(&m->waiting, memory_order_relaxed),
	    .shed = atomic_load_explicit(&m->shed, memory_order_relaxed)};
}
