/*
 * h2o_body_end.c: what the answer does to a body that is streamed: the connection goes on behind it, or is
 * closed in a way that lets the answer through.  Invariants 1 and 3 of h2o_body.c.
 */
#include <h2o.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "h2o_body.h"

/* Drops what has come, also behind the body.  0: the client has gone. */
static int
discard(struct http_body *b)
{
	char dropped[16384];
	h2o_socket_t *sock = b->conn->sock;
	ssize_t got;

	if (sock->input->size > 0)
		h2o_buffer_consume(&sock->input, sock->input->size);
	if (b->tls)
		return 1;
	got = recv(h2o_socket_get_fd(sock), dropped, sizeof(dropped), 0);
	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void
close_now(struct http_body *b, const char *err)
{
	h2o_socket_t *sock = b->conn->sock;

	server_body_stop(b);
	b->close(sock, err);
}

static void
on_dropped(h2o_socket_t *sock, const char *err)
{
	struct http_body *b = ((struct http_conn *)sock->on_close.data)->body;

	if (err == NULL && discard(b))
		return;
	b->over = 1;
	if (b->out)
		close_now(b, NULL);
	else
		server_body_stop(b);
}

/* In place of h2o's own callback, which closes. */
static void
on_answered(h2o_socket_t *sock, const char *err)
{
	struct http_body *b = ((struct http_conn *)sock->on_close.data)->body;

	b->out = 1;
	if (err != NULL || b->over)
		close_now(b, err);
	else
		shutdown(h2o_socket_get_fd(sock), SHUT_WR);
}

/* What came behind the body has room behind the head. */
static int
rest_fits(const struct http_body *b)
{
	const h2o_buffer_t *head = b->head;
	size_t used = (size_t)(head->bytes - head->_buf) + head->size;

	return b->conn->sock->input->size <= head->capacity - used;
}

void
server_body_answer(struct http_req *req)
{
	struct http_body *b = req->body;

	if (b == NULL || b->conn == NULL || b->dropping || (b->ended && b->err == 0 && rest_fits(b)))
		return;
	req->h2o->http1_is_persistent = 0;
	server_body_stop(b);
	b->dropping = 1;
	b->gathering = 0;
	server_body_post(b);
	server_body_start(b, on_dropped);
}

/* Invariant 1. */
static void
put_back(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;
	h2o_buffer_t *rest = sock->input, *head = b->head;

	server_body_stop(b);
	if (rest->size > 0) {
		memcpy(head->bytes + head->size, rest->bytes, rest->size);
		head->size += rest->size;
	}
	sock->input = head;
	b->head = NULL;
	h2o_buffer_dispose(&rest);
	server_body_leave(b);
}

/* Invariant 3. */
static void
linger(struct http_body *b)
{
	struct http_conn *conn = b->conn;

	if (conn == NULL || b->over || conn->sock->_cb.write == NULL)
		return;
	b->close = conn->sock->_cb.write;
	conn->sock->_cb.write = on_answered;
	conn->lingers = 1;
	server_pace_receiving(conn, 1);
}

/* Its body was h2o's. */
static void
send_whole(struct http_req *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	struct http_conn *conn = req->conn;
	h2o_req_t *h2o = req->h2o;

	server_detach(req);
	h2o_send(h2o, bufs, n, state);
	if (conn->drops)
		server_gate_last(conn);
}

static void
send_streamed(struct http_req *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	h2o_req_t *h2o = req->h2o;
	struct http_body *b = req->body;

	b->refs++;
	if (b->conn != NULL && !b->dropping)
		put_back(b);
	server_detach(req);
	h2o_send(h2o, bufs, n, state);
	linger(b);
	server_body_unref(b);
}

void
server_send_last(struct http_req *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	struct http_conn *conn = req->conn;

	conn->served++;
	conn->refs++;
	if (req->body != NULL)
		send_streamed(req, bufs, n, state);
	else
		send_whole(req, bufs, n, state);
	if (!conn->is_h2)
		server_gate_sent(conn);
	server_conn_put(conn);
}
