/*
 * h2o_body.c: request bodies that are read from the socket by ourselves.
 *
 * h2o 2.2 takes a body in whole before it says that there is a request.  Over HTTP/1 the gate therefore hides a
 * large or chunked body from it (framing.c), h2o calls us with the head alone, and what follows is read here:
 *
 * (http_body_* stand in h2o_body_lend.c, what the answer does in h2o_body_end.c)
 *
 *	server_body_open (gate: head complete) -> server_body_begin (h2o's call; the head is taken aside)
 *	  -> http_body_read, _wait, _gather: on_body() reads as far as there is room  -> ended
 *	  -> server_body_answer (the answer begins) -> server_send_last (it ends)
 *
 * 1. From its call to its answer h2o does not read from the socket nor look at sock->input.  What it has parsed points
 *    into the head's buffer (body->head); sock->input is a fresh one for the body.  Before h2o is given the end of
 *    an answer behind which the connection goes on, the head's buffer is put back, with what came behind the body
 *    behind it: h2o takes the head off and goes on with the rest.
 * 2. Two buffers: what came last is lent to the handler, perhaps to another thread; the other one is filled.  So at
 *    most 2 * PIECE bytes wait, over TLS also what one read brings (RCVBUF).  Where there is no room
 *    nothing is read, and the minimum rate (h2o_pace.c) does not count.
 * 3. An answer before the body's end is the connection's last, and so is one behind whose body more came than the
 *    head's buffer takes.  To close while the client sends would take the answer from it: all that comes is dropped
 *    until the client closes, for one window behind the answer (h2o's own call back, which closes, waits in
 *    body->close).
 * 4. A body has a reference of its connection, until that is gone or past it, and one of its request.  What has
 *    been lent therefore lives as long as the request.
 * 5. What is gathered beyond GATHER_MEM goes to a file without a name by write(), which, unlike a mapping, says when
 *    the disk is full; once it is whole it is mapped.
 */
#include <h2o.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "h2o_body.h"
#include "base/log.h"

#define PIECE ((size_t)512 << 10)    /* of a body that is streamed */
#define GATHER_MEM ((size_t)1 << 20) /* a body of a known length up to this is gathered in memory */
#define REST_MAX ((size_t)16 << 10)  /* of a pipelined request behind the body */
#define RCVBUF (256 << 10)           /* over TLS h2o reads all that the kernel has */

void
server_body_unref(struct http_body *b)
{
	if (--b->refs > 0)
		return;
	if (b->head != NULL)
		h2o_buffer_dispose(&b->head);
	if (b->input != NULL)
		h2o_buffer_dispose(&b->input);
	if (b->map != NULL)
		munmap(b->map, (size_t)b->total);
	if (b->fd >= 0)
		close(b->fd);
	free(b->fill);
	free(b->lent);
	free(b);
}

/* ---- Taking it in ---- */

/* A file that ends with us. */
static int
open_spool(struct http_body *b)
{
	const char *dir = b->req->thread->server->config.spool_dir;
	char path[4096];

	snprintf(path, sizeof(path), "%s/.body.XXXXXX", dir != NULL ? dir : "/tmp");
	b->fd = mkostemp(path, O_CLOEXEC);
	if (b->fd < 0) {
		int err = err_errno(errno);

		log_line(LOG_ERROR, "cannot make %s: %s", path, strerror(errno));
		return err;
	}
	unlink(path);
	return 0;
}

/* What is in ${b}->fill goes to the file. */
static int
spool(struct http_body *b)
{
	size_t at = 0;
	int err = b->fd < 0 ? open_spool(b) : 0;

	while (err == 0 && at < b->len) {
		ssize_t n = pwrite(b->fd, b->fill + at, b->len - at, (off_t)b->spooled);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = err_errno(errno);
			log_line(LOG_ERROR, "cannot keep a request body of more than %llu bytes: %s",
			    (unsigned long long)b->spooled, strerror(errno));
			break;
		}
		at += (size_t)n;
		b->spooled += (uint64_t)n;
	}
	b->len = 0;
	return err;
}

static int
has_room(struct http_body *b)
{
	if (b->fill == NULL) {
		size_t cap = b->gathering && b->announced <= GATHER_MEM ? (size_t)b->announced : PIECE;

		b->fill = malloc(cap);
		b->cap = cap;
		if (b->fill == NULL) {
			b->err = ERR_NOMEM;
			return 0;
		}
	}
	if (b->len == b->cap && b->gathering && !b->ended)
		b->err = spool(b);
	return b->err == 0 && b->len < b->cap;
}

/* Takes bytes from ${p}, which may stand in b->fill behind what is there.  Returns how many. */
static size_t
feed(struct http_body *b, const char *p, size_t n)
{
	size_t at = 0;

	while (at < n && !b->ended && b->err == 0 && b->len < b->cap) {
		size_t room = b->cap - b->len, eaten;
		struct jstr data = {p + at, n - at < room ? n - at : room};

		if (b->announced != UINT64_MAX) {
			if (data.len > b->left)
				data.len = (size_t)b->left;
			eaten = data.len;
			b->left -= eaten;
			b->ended = b->left == 0;
		} else {
			eaten = server_chunks_next(&b->chunks, p + at, n - at, room, &data);
			b->ended = server_chunks_done(&b->chunks) != 0;
			if (server_chunks_bad(&b->chunks))
				b->err = ERR_BAD_REQUEST;
		}
		at += eaten;
		b->total += data.len;
		if (b->total > b->max) {
			b->err = ERR_TOO_LARGE;
		} else if (data.len > 0) {
			memmove(b->fill + b->len, data.s, data.len);
			b->len += data.len;
		}
	}
	return at;
}

void
server_body_end_gather(struct http_body *b)
{
	if (b->spooled > 0) {
		b->err = spool(b);
		if (b->err != 0)
			return;
		b->map = mmap(NULL, (size_t)b->total, PROT_READ, MAP_SHARED, b->fd, 0);
		if (b->map == MAP_FAILED) {
			b->map = NULL;
			b->err = ERR_NOMEM;
			return;
		}
		close(b->fd);
		b->fd = -1;
		free(b->fill);
		b->fill = NULL;
	}
	b->gathered = 1;
}

/* Takes what has been read into sock->input, as far as there is room. */
static void
pump(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;

	while (!b->ended && b->err == 0 && sock->input->size > 0 && has_room(b))
		h2o_buffer_consume(&sock->input, feed(b, sock->input->bytes, sock->input->size));
	if (b->ended && b->err == 0 && b->gathering && !b->gathered)
		server_body_end_gather(b);
}

/* One read from a socket without TLS.  0: the client has gone. */
static int
read_plain(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;
	size_t n, eaten;
	ssize_t got;
	char *to;

	if (!has_room(b))
		return 1;
	to = b->fill + b->len;
	n = b->cap - b->len;
	/* What comes behind the body stays where it is. */
	if (b->announced != UINT64_MAX && n > b->left)
		n = (size_t)b->left;
	got = recv(h2o_socket_get_fd(sock), to, n, 0);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	b->conn->got += (uint64_t)got;
	eaten = feed(b, to, (size_t)got);
	if (b->ended && eaten < (size_t)got) {
		h2o_iovec_t rest = h2o_buffer_reserve(&sock->input, (size_t)got - eaten);

		memcpy(rest.base, to + eaten, (size_t)got - eaten);
		sock->input->size += (size_t)got - eaten;
	}
	pump(b);
	return 1;
}

/* ---- The socket ---- */

void
server_body_start(struct http_body *b, h2o_socket_cb cb)
{
	/* Without TLS h2o only says that there is something. */
	if (!b->tls)
		h2o_socket_dont_read(b->conn->sock, 1);
	h2o_socket_read_start(b->conn->sock, cb);
	b->reading = 1;
}

void
server_body_stop(struct http_body *b)
{
	if (!b->reading)
		return;
	b->reading = 0;
	h2o_socket_read_stop(b->conn->sock);
	h2o_socket_dont_read(b->conn->sock, 0);
	server_pace_receiving(b->conn, 0);
}

int
server_body_is_ready(const struct http_body *b)
{
	if (b->err != 0 || b->dropping)
		return 1;
	return b->gathering ? b->gathered : b->len > 0 || b->ended;
}

static void
call_waiting(struct http_body *b)
{
	struct http_req *req = b->req;

	b->waiting = 0;
	b->posted = 0;
	req->body_fn(req->body_arg);
	http_release(req);
}

static void
on_posted(void *arg)
{
	struct http_body *b = arg;

	call_waiting(b);
}

void
server_body_post(struct http_body *b)
{
	if (!b->waiting || b->posted)
		return;
	b->posted = 1;
	b->req->body_msg = (struct http_msg){.fn = on_posted, .arg = b};
	http_post(b->req->thread, &b->req->body_msg);
}

static void on_body(h2o_socket_t *sock, const char *err);

/* Reads if there is room. */
static void
adjust(struct http_body *b)
{
	int more = !b->ended && b->err == 0 && b->conn->sock->input->size == 0 && has_room(b);

	if (more && !b->reading) {
		server_body_start(b, on_body);
		server_pace_receiving(b->conn, 1);
	} else if (!more) {
		server_body_stop(b);
	}
}

static void
on_body(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;
	struct http_thread *t = conn->thread;
	struct http_body *b = conn->body;
	int there = err == NULL;

	b->refs++;
	if (there && b->tls) {
		conn->got += sock->bytes_read;
		pump(b);
	} else if (there) {
		there = read_plain(b);
	}
	if (there) {
		adjust(b);
	} else {
		/* h2o ends the connection, and with it the request. */
		server_body_stop(b);
		conn->read(sock, err != NULL ? err : h2o_socket_error_closed);
	}
	if (b->waiting && !b->posted && server_body_is_ready(b))
		call_waiting(b);
	server_flush(t);
	server_body_unref(b);
}

static void
on_continued(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;
	struct http_thread *t = conn->thread;
	struct http_req *req = conn->body->req;

	if (err != NULL) {
		server_body_stop(conn->body);
		conn->read(sock, err);
	} else {
		req->in_flight = 0;
		server_send_held(req);
	}
	server_flush(t);
}

/* As long as this is being written, an answer waits for it: req->in_flight. */
static void
send_continue(struct http_body *b)
{
	static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	h2o_iovec_t iov = {text, sizeof(text) - 1};
	h2o_socket_t *sock = b->conn->sock;

	b->expects = 0;
	if (b->total > 0 || sock->input->size > 0)
		return;
	b->req->in_flight = 1;
	h2o_socket_write(sock, &iov, 1, on_continued);
}

void
server_body_want(struct http_body *b)
{
	if (b->conn == NULL || b->dropping || b->ended || b->err != 0)
		return;
	if (b->expects)
		send_continue(b);
	pump(b);
	adjust(b);
}

/* ---- From the gate to the handler ---- */

/* The head goes into a buffer of its own, with room for put_back(), while nothing points into it: it may stay for long. */
static void
part(struct http_body *b, size_t len)
{
	h2o_socket_t *sock = b->conn->sock;
	h2o_buffer_t *in = sock->input;

	h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
	memcpy(h2o_buffer_reserve(&sock->input, len + REST_MAX).base, in->bytes, len);
	sock->input->size = len;
	server_head_hide(sock->input->bytes, len);
	h2o_buffer_consume(&in, len);
	b->input = in;
}

int
server_body_open(struct http_conn *conn, const struct server_head *h)
{
	struct http_body *b = calloc(1, sizeof(*b));
	int bytes = RCVBUF;

	if (b == NULL)
		return ERR_NOMEM;
	b->refs = 1;
	b->conn = conn;
	b->fd = -1;
	b->announced = b->left = h->body_len;
	b->max = conn->thread->server->max_body;
	b->expects = h->expects;
	b->tls = conn->sock->ssl != NULL;
	if (b->tls)
		setsockopt(h2o_socket_get_fd(conn->sock), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	part(b, h->len);
	if (!server_room_input(conn, b->input->capacity)) {
		h2o_buffer_consume(&b->input, b->input->size);
		b->unfit = 1;
		b->err = ERR_BUSY;
	}
	conn->body = b;
	return 0;
}

void
server_body_begin(struct http_req *req)
{
	struct http_body *b = req->conn->body;

	if (b == NULL || b->input == NULL)
		return;
	b->refs++;
	b->req = req;
	req->body = b;
	b->head = req->conn->sock->input;
	req->conn->sock->input = b->input;
	b->input = NULL;
}

int
server_body_begun(const struct http_conn *conn)
{
	return conn->body->input == NULL;
}

void
server_body_leave(struct http_body *b)
{
	b->conn->body = NULL;
	b->conn = NULL;
	b->reading = 0;
	server_body_unref(b);
}

void
server_body_closed(struct http_conn *conn)
{
	struct http_body *b = conn->body;

	if (b == NULL)
		return;
	if (!b->ended && b->err == 0)
		b->err = ERR_IO;
	if (b->req != NULL)
		server_body_post(b);
	server_body_leave(b);
}

void
server_body_release(struct http_req *req)
{
	struct http_body *b = req->body;

	if (b == NULL)
		return;
	req->body = NULL;
	b->req = NULL;
	server_body_unref(b);
}

int
server_body_coming(const struct http_conn *conn)
{
	return conn->body != NULL && !conn->body->ended && !conn->body->dropping;
}

uint64_t
server_body_announced(const struct http_req *req)
{
	return req->body->announced;
}
