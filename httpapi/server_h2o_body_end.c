/*
 * server_h2o_body_end.c: what the answer does to a body that is streamed: the connection goes on behind it, or is
 * closed in a way that lets the answer through.  Invariants 1 and 3 of server_h2o_body.c.
 */
#include <h2o.h>

#include <string.h>
#include <sys/socket.h>

#include "server_h2o_body.h"

/* Drops what has come.  0: the client has gone. */
static int
discard(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;

	if (!b->tls && sock->input->size == 0)
		return server_body_read_plain(b);
	server_body_pump(b);
	return 1;
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

	if (err == NULL && discard(b) && !b->ended)
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

void
server_body_answer(struct http_req *req)
{
	struct http_body *b = req->body;

	if (b == NULL || b->conn == NULL || b->dropping)
		return;
	if (b->ended && b->err == 0) {
		const h2o_buffer_t *head = b->head;
		size_t used = (size_t)(head->bytes - head->_buf) + head->size;

		if (b->conn->sock->input->size > head->capacity - used)
			req->h2o->http1_is_persistent = 0;
		return;
	}
	req->h2o->http1_is_persistent = 0;
	server_body_stop(b);
	b->dropping = 1;
	b->gathering = 0;
	server_body_post(b);
	server_body_pump(b);
	b->over = b->ended;
	if (!b->over)
		server_body_start(b, on_dropped);
}

/* Invariant 1. */
static void
put_back(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;
	h2o_buffer_t *rest = sock->input, *head = b->head;
	size_t used = (size_t)(head->bytes - head->_buf) + head->size;

	server_body_stop(b);
	if (rest->size > 0 && rest->size <= head->capacity - used) {
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
	server_gate_receiving(conn, 1);
}

void
server_send_last(struct http_req *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	h2o_req_t *h2o = req->h2o;
	struct http_body *b = req->body;

	req->conn->served++;
	if (b == NULL) {
		server_detach(req);
		h2o_send(h2o, bufs, n, state);
		return;
	}
	b->refs++;
	if (b->conn != NULL && !b->dropping)
		put_back(b);
	server_detach(req);
	h2o_send(h2o, bufs, n, state);
	linger(b);
	server_body_unref(b);
}
