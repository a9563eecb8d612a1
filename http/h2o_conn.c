/*
 * h2o_conn.c: connections, from accept to close, and clients that leave
 * without a word.
 *
 * h2o does not read from an HTTP/1 connection while its request is being answered, so it does not
 * see that a client of an idle feed has gone.  Each thread therefore has an epoll of its own which
 * watches such sockets for a hang-up alone.  A client that merely half-closed may still read: only
 * a stream that stays idle is then ended.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "h2o_impl.h"

#define SWEEP_MS 50u   /* between looks at connections that are to end */
#define REOPEN_MS 200u /* until the next try to accept after descriptors ran out */
#define ACCEPTS_PER_TURN 64

struct http_conn *
server_conn_of(h2o_req_t *h2o)
{
	return h2o->conn->callbacks->get_socket(h2o->conn)->on_close.data;
}

static void
on_conn_close(void *data)
{
	struct http_conn *conn = data;

	server_gate_close(conn);
	if (conn->watched)
		conn->thread->watching[conn->watch_fd] = NULL;
	*conn->linkp = conn->next;
	if (conn->next != NULL)
		conn->next->linkp = conn->linkp;
	server_tls_release(conn->tls);
	conn->tls = NULL;
	conn->sock = NULL;
	server_admit_left(conn);
	server_conn_put(conn);
}

static void
on_handshake(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;
	struct http_thread *t = conn->thread;
	h2o_iovec_t proto;

	conn->handshaking = 0;
	if (err != NULL) {
		h2o_socket_close(sock);
		return;
	}
	proto = h2o_socket_ssl_get_selected_protocol(sock);
	if (h2o_memis(proto.base, proto.len, H2O_STRLIT("h2")))
		server_gate_http2(conn, &t->accept[1]);
	else
		server_gate_http1(conn, &t->accept[1]);
}

void
server_on_accept(h2o_socket_t *listener, const char *err)
{
	h2o_accept_ctx_t *accept = listener->data;
	struct http_thread *t = H2O_STRUCT_FROM_MEMBER(struct http_thread, ctx, accept->ctx);
	int i;

	if (err != NULL)
		return;
	errno = 0;
	for (i = 0; i < ACCEPTS_PER_TURN; i++) {
		h2o_socket_t *sock = NULL;
		struct http_conn *conn;

		if (server_admit_full(t->server))
			errno = EMFILE;
		else
			sock = h2o_evloop_socket_accept(listener);

		if (sock == NULL) {
			/*
			 * With no descriptor left, a listener that stays readable would keep the
			 * loop busy for nothing.
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
		conn->refs = 1;
		if (server_admit(conn) != 0) {
			if (accept != &t->accept[1])
				server_admit_refused(conn);
			h2o_socket_close(sock);
			server_conn_put(conn);
			continue;
		}
		conn->linkp = &t->conns;
		conn->next = t->conns;
		if (conn->next != NULL)
			conn->next->linkp = &conn->next;
		t->conns = conn;
		sock->on_close.cb = on_conn_close;
		sock->on_close.data = conn;
		server_gate_open(conn);
		if (accept != &t->accept[1]) {
			h2o_accept(accept, sock);
			continue;
		}
		conn->tls = server_tls_take(t->server->tls);
		conn->handshaking = 1;
		h2o_socket_ssl_handshake(sock, conn->tls, NULL, on_handshake);
	}
}

void
server_on_reopen(void *arg)
{
	struct http_thread *t = arg;
	int i;

	for (i = 0; i < 2; i++)
		if (t->listener[i] != NULL)
			h2o_socket_read_start(t->listener[i], server_on_accept);
}

/*
 * watch: The kernel tells of a socket after its end, as long as a process that is just being started has its descriptors: so
 * it is told a number, and what that stands for is looked up.  Errors: ERR_NOMEM, ERR_IO.
 */
static int
watch(struct http_conn *conn)
{
	struct http_thread *t = conn->thread;
	size_t fd = (size_t)h2o_socket_get_fd(conn->sock), n = t->nwatching != 0 ? t->nwatching : 64;
	struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET};

	while (n <= fd)
		n *= 2;
	if (n > t->nwatching) {
		struct http_conn **grown = realloc(t->watching, n * sizeof(struct http_conn *));

		if (grown == NULL)
			return ERR_NOMEM;
		memset(grown + t->nwatching, 0, (n - t->nwatching) * sizeof(struct http_conn *));
		t->watching = grown;
		t->nwatching = n;
	}
	conn->watch_fd = (int)fd;
	conn->watch_serial = ++t->watch_serial;
	ev.data.u64 = (uint64_t)fd << 32 | conn->watch_serial;
	if (epoll_ctl(t->watch_fd, EPOLL_CTL_ADD, conn->watch_fd, &ev) != 0)
		return ERR_IO;
	t->watching[fd] = conn;
	conn->watched = 1;
	return 0;
}

/* watched: NULL: it has ended. */
static struct http_conn *
watched(const struct http_thread *t, uint64_t told)
{
	size_t fd = (size_t)(told >> 32);
	struct http_conn *conn = fd < t->nwatching ? t->watching[fd] : NULL;

	return conn != NULL && conn->watch_serial == (uint32_t)told ? conn : NULL;
}

/* Watch for the hang-up of a connection whose request goes on after its handler returned. */
void
server_watch(struct http_conn *conn, struct http_req *req)
{
	conn->req = req;
	conn->idle_mark = 0;
	/* Where that fails, the end is seen with the next write. */
	if (!conn->watched)
		(void)watch(conn);
	if (conn->hung_up && !timers_is_set(&conn->thread->sweeper))
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

void
server_on_watch(h2o_socket_t *sock, const char *err)
{
	struct http_thread *t = sock->data;
	struct epoll_event ev[64];
	int i, n;

	(void)err;
	n = epoll_wait(t->watch_fd, ev, 64, 0);
	for (i = 0; i < n; i++) {
		struct http_conn *conn = watched(t, ev[i].data.u64);

		if (conn == NULL)
			continue;
		conn->hung_up = 1;
		if (conn->req == NULL)
			continue;
		if (ev[i].events & (EPOLLERR | EPOLLHUP)) {
			conn->req->gone |= !conn->req->started;
			hang_up(conn);
		} else if (!timers_is_set(&t->sweeper)) {
			http_timer_set(&t->sweeper, SWEEP_MS);
		}
	}
}

static int
mark_busy(h2o_req_t *h2o, void *data)
{
	/* A stream whose request is still coming in is given some time, as it is over HTTP/1. */
	if (h2o->processed_at.at.tv_sec != 0 || !*(const int *)data)
		server_conn_of(h2o)->busy = 1;
	return 0;
}

/* Has nothing to finish: may be closed when the server stops.  ${late}: what still comes in is given up. */
static int
conn_at_rest(struct http_conn *conn, int late)
{
	if (late && conn->receiving && !conn->busy && (conn->req == NULL || server_body_coming(conn)))
		return 1;
	return conn->req == NULL && !conn->busy && !h2o_socket_is_writing(conn->sock) && conn->sock->input->size == 0;
}

/*
 * Looks after connections that are to end: idle streams of clients that half-closed and, once the
 * server stops, all that are at rest.
 */
void
server_on_sweep(void *arg)
{
	struct http_thread *t = arg;
	struct http_conn *conn, *next;
	int again = 0, late = t->stopping && timers_now() >= t->stop_coming_ms;

	if (t->stopping) {
		for (conn = t->conns; conn != NULL; conn = conn->next)
			conn->busy = 0;
		t->server->global.http2.callbacks.foreach_request(&t->ctx, mark_busy, &late);
	}
	for (conn = t->conns; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->hung_up && conn->req != NULL && is_idle(conn->req)) {
			if (conn->idle_mark == conn->req->nsent + 1)
				hang_up(conn);
			conn->idle_mark = conn->req->nsent + 1;
		}
		again |= conn->hung_up && conn->req != NULL;
		if (t->stopping && conn_at_rest(conn, late))
			shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
	}
	if (again || t->stopping)
		http_timer_set(&t->sweeper, SWEEP_MS);
}
