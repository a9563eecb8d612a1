/*
 * h2o_gate.c: what h2o 2.2 does not look at while a request comes in:
 * how long its head is, and whether its body is large, so that we had better read it ourselves.  How fast: h2o_pace.c.
 *
 * The gate stands before h2o's own read callback: server_gate_turn() puts it there whenever h2o has
 * begun to read.
 *
 *	ungated --server_gate_turn()--> gated --request complete, h2o stops reading--> ungated
 *	  ^ accept, answer given                                                  a feed leaves until its answer
 *
 * 1. conn->read is what h2o asked to be called; while the gate is in place, sock->_cb.read is
 *    on_gate().
 * 2. HTTP/1 is being read where conn->read is t->read1; else it is HTTP/2, a TLS handshake, or the
 *    end of TLS.
 * 3. Bytes that were read together with an earlier request never pass the gate.  They had nothing
 *    to wait for.  A head that stands among them is h2o's, with its body: conn->head_done is then set
 *    when the gate is put in place.  What h2o takes for a chunk may be something else for whoever stands before us, so
 *    behind chunks that it has read nothing counts: conn->drops.
 * 4. Over HTTP/1 a request whose body is large, or chunked and not there yet, is given to h2o without it:
 *    h2o_body.c.  GET and HEAD are not looked at; what they have for a body is small or refused.
 * 5. While conn->body is set, the socket is that file's and not gated.
 * 6. HTTP/2 begins with TLS's word for it, or with its preface as a connection's first bytes; from there on each byte passes
 *    server_h2_look().  h2o turns to HTTP/2 only where it is allowed to, for that one call.
 * 7. HTTP/1 without TLS is read here, a head's worth at a time, or what is left of a body that h2o is to have: what the kernel holds
 *    back costs us nothing.  h2o then only says that there is something.
 * 8. h2o takes large bodies in whole where 3 and 4 say so, and where the head names another version than HTTP/1.1: these count as
 *    those over HTTP/2 do.
 * 9. While an HTTP/1 answer is being written, conn->written is what h2o asked to be called then.  In a turn that is long it is called
 *    in the next.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "h2o_impl.h"
#include "base/limits.h"
#include "base/log.h"

#define SMALL_HEAD 400u                /* 100 headers need more: nothing to count */
#define STREAM_MIN ((size_t)256 << 10) /* bodies up to this are taken in whole by h2o */
#define FIRST_READ ((size_t)16 << 10)  /* bytes that are read at once, more or less, before a head is known */
#define GET_MAX ((size_t)1 << 20)      /* a GET's head and body */
#define SLACK (64u << 20) /* over HTTP/2: how much too large a body is taken in, so that it gets an answer */

static void
link_conn(struct http_conn *conn)
{
	struct http_thread *t = conn->thread;

	if (conn->gate_linkp != NULL)
		return;
	conn->gate_linkp = &t->ungated;
	conn->gate_next = t->ungated;
	if (conn->gate_next != NULL)
		conn->gate_next->gate_linkp = &conn->gate_next;
	t->ungated = conn;
}

static void
unlink_conn(struct http_conn *conn)
{
	if (conn->gate_linkp == NULL)
		return;
	*conn->gate_linkp = conn->gate_next;
	if (conn->gate_next != NULL)
		conn->gate_next->gate_linkp = conn->gate_linkp;
	conn->gate_linkp = NULL;
}

void
server_gate_close(struct http_conn *conn)
{
	unlink_conn(conn);
	server_h2_close(conn);
	server_body_closed(conn);
	server_room_leave(conn);
	if (conn->thread->in_gate == conn)
		conn->thread->in_gate = NULL;
}

void
server_gate_answered(struct http_conn *conn)
{
	conn->head_done = 0;
	conn->framed = 0;
	conn->head_lines = 0;
	conn->head_at = 0;
	conn->want = 0;
	server_room_leave(conn);
	(void)server_admit_spooled(conn, 0);
	link_conn(conn);
}

/* ---- HTTP/1: from one request to the next ---- */

static void
go_on(struct http_conn *conn)
{
	h2o_socket_cb written = conn->written;

	conn->written = NULL;
	link_conn(conn);
	written(conn->sock, NULL);
}

static void
on_next_turn(void *arg)
{
	struct http_conn *conn = arg;

	if (conn->sock != NULL)
		go_on(conn);
	server_conn_put(conn);
}

/* h2o goes on at once with what has come behind the request, and so would do all that a client has sent in one turn: invariant 9. */
static void
on_written(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;

	if (err != NULL) {
		conn->written(sock, err);
	} else if (server_turn_is_long(conn->thread)) {
		conn->refs++;
		conn->written_msg = (struct http_msg){.fn = on_next_turn, .arg = conn};
		http_post(conn->thread, &conn->written_msg);
	} else {
		go_on(conn);
	}
}

void
server_gate_sent(struct http_conn *conn)
{
	/* Nothing was left to be written, and perhaps the next request is being answered already. */
	if (conn->sock == NULL || conn->sock->_cb.write == NULL || conn->written != NULL)
		return;
	conn->written = conn->sock->_cb.write;
	conn->sock->_cb.write = on_written;
}

/* ---- HTTP/1: the head ---- */

/* Counts the lines that have come since the last look. */
static void
scan_head(struct http_conn *conn)
{
	const h2o_buffer_t *in = conn->sock->input;
	const char *eol;

	while (!conn->head_done && conn->head_at < in->size &&
	       (eol = memchr(in->bytes + conn->head_at, '\n', in->size - conn->head_at)) != NULL) {
		const char *line = in->bytes + conn->head_at;

		if (eol == line || (eol == line + 1 && *line == '\r'))
			conn->head_done = conn->head_lines > 0;
		else
			conn->head_lines++;
		conn->head_at = (size_t)(eol + 1 - in->bytes);
	}
}

int
server_gate_has_head(struct http_conn *conn)
{
	scan_head(conn);
	return conn->head_done;
}

/* 0, or an error: h2o would answer these in plain text. */
static int
head_err(struct http_conn *conn)
{
	const h2o_buffer_t *in = conn->sock->input;

	if (in->size == 0)
		return 0;
	if ((unsigned char)in->bytes[0] <= ' ' || (unsigned char)in->bytes[0] >= 0x7f)
		return in->bytes[0] == '\r' || in->bytes[0] == '\n' ? 0 : ERR_BAD_REQUEST;
	if (in->size < SMALL_HEAD)
		return 0;
	scan_head(conn);
	if (conn->head_lines <= 1 + LIMIT_HEADERS && (conn->head_done ? conn->head_at : in->size) <= LIMIT_HEAD_LEN)
		return 0;
	return ERR_HEAD_TOO_LARGE;
}

/* The client has closed, or its window is over: h2o closes. */
static void
on_dropped(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;

	if (err == NULL) {
		h2o_buffer_consume(&sock->input, sock->input->size);
	} else if (conn->close == NULL) {
		conn->read(sock, err);
	} else {
		h2o_socket_read_stop(sock);
		conn->close(sock, NULL);
	}
}

/*
 * To close while the client still sends would take the answer from it: what comes is dropped, for
 * one window.
 */
static void
drop_rest(struct http_conn *conn)
{
	shutdown(h2o_socket_get_fd(conn->sock), SHUT_WR);
	server_pace_receiving(conn, 1);
	h2o_socket_dont_read(conn->sock, 0);
	h2o_socket_read_start(conn->sock, on_dropped);
}

static void
on_refused(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;

	if (err != NULL)
		conn->read(sock, err);
	else
		drop_rest(conn);
}

static void
on_last(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;

	if (err != NULL) {
		conn->close(sock, err);
		return;
	}
	unlink_conn(conn);
	drop_rest(conn);
}

void
server_gate_last(struct http_conn *conn)
{
	if (conn->sock == NULL || conn->sock->_cb.write == NULL)
		return;
	conn->close = conn->sock->_cb.write;
	conn->sock->_cb.write = on_last;
	conn->lingers = 1;
}

#define REFUSAL(status, len, body)                                                                           \
	"HTTP/1.1 " status "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " len \
	"\r\n\r\n" body
#define BAD_HEAD "{\"error\":\"bad_request\",\"reason\":\"malformed request head\"}\n"
#define LONG_HEAD "{\"error\":\"request_header_fields_too_large\",\"reason\":\"the request head is too large\"}\n"
#define NO_ROOM "{\"error\":\"insufficient_storage\",\"reason\":\"no room for the request body\"}\n"
#define BUSY "{\"error\":\"service_unavailable\",\"reason\":\"too much work is waiting\"}\n"
#define TOO_LARGE "{\"error\":\"too_large\",\"reason\":\"the request entity is too large\"}\n"

static char bad_head[] = REFUSAL("400 Bad Request", "58", BAD_HEAD);
static char long_head[] = REFUSAL("431 Request Header Fields Too Large", "85", LONG_HEAD);
static char no_room[] = REFUSAL("507 Insufficient Storage", "73", NO_ROOM);
static char busy[] = REFUSAL("503 Service Unavailable\r\nRetry-After: 1", "68", BUSY);
static char too_large[] = REFUSAL("413 Request Entity Too Large", "65", TOO_LARGE);
_Static_assert(sizeof(BAD_HEAD) == 58 + 1 && sizeof(LONG_HEAD) == 85 + 1 && sizeof(NO_ROOM) == 73 + 1 &&
		   sizeof(TOO_LARGE) == 65 + 1 && sizeof(BUSY) == 68 + 1,
    "Content-Length");

static void
refuse(struct http_conn *conn, char *answer)
{
	h2o_iovec_t iov = {answer, strlen(answer)};

	h2o_socket_read_stop(conn->sock);
	h2o_socket_write(conn->sock, &iov, 1, on_refused);
}

/* ---- A body that is to be streamed ---- */

static int
is_get(const h2o_buffer_t *in)
{
	const char *p = in->bytes, *end = p + in->size;

	/* h2o skips an empty line before a head. */
	while (p < end && (*p == '\r' || *p == '\n'))
		p++;
	return end - p >= 2 && (memcmp(p, "GE", 2) == 0 || memcmp(p, "HE", 2) == 0);
}

/* 1 if all of a chunked body has come with its head. */
static int
chunks_are_there(const h2o_buffer_t *in, size_t at)
{
	struct server_chunks c = {0};
	struct jstr data;

	while (at < in->size && !server_chunks_done(&c) && !server_chunks_bad(&c))
		at += server_chunks_next(&c, in->bytes + at, in->size - at, SIZE_MAX, &data);
	return server_chunks_done(&c);
}

/* Of a head that has just become complete.  0: it was refused. */
static int
look_at_framing(struct http_conn *conn)
{
	const h2o_buffer_t *in = conn->sock->input;
	struct server_head h;

	server_head_read(in->bytes, conn->head_at, &h);
	if (!server_head_ok(&h)) {
		refuse(conn, bad_head);
		return 0;
	}
	conn->framed = 1;
	conn->closes = h.closes;
	conn->want = h.len + (h.body_len <= STREAM_MIN ? (size_t)h.body_len : 0);
	if (!server_head_framed(&h) ||
	    (!h.chunked && h.body_len <= STREAM_MIN && server_room_input(conn, conn->want)) ||
	    (h.chunked && chunks_are_there(in, h.len)))
		return 1;
	if (server_body_open(conn, &h) == 0)
		return 1;
	refuse(conn, no_room);
	return 0;
}

/* What h2o reads as HTTP/1 before it is given it.  0: it was refused. */
static int
look(struct http_conn *conn)
{
	int err;

	if (conn->head_done)
		return 1;
	err = head_err(conn);
	if (err != 0) {
		refuse(conn, err == ERR_BAD_REQUEST ? bad_head : long_head);
		return 0;
	}
	if (conn->sock->input->size == 0 || is_get(conn->sock->input))
		return 1;
	scan_head(conn);
	return !conn->head_done || look_at_framing(conn);
}

static int
end_after_answer(h2o_req_t *h2o, void *data)
{
	if (server_conn_of(h2o) == data)
		h2o->http1_is_persistent = 0;
	return 0;
}

/* h2o has been given a head without its body. */
static void
see_if_begun(struct http_conn *conn)
{
	struct http_thread *t = conn->thread;

	if (server_body_begun(conn))
		return;
	/* It has answered by itself, or did not see the end that we saw: the body must not be taken for a request. */
	server_body_closed(conn);
	t->global.http1.callbacks.foreach_request(&t->ctx, end_after_answer, conn);
	if (conn->sock->_cb.read != NULL)
		refuse(conn, bad_head);
}

/* What has come of a request is given up: it neither is held nor counts while its client stays. */
static void
refuse_busy(struct http_conn *conn)
{
	h2o_buffer_dispose(&conn->sock->input);
	h2o_buffer_init(&conn->sock->input, &h2o_socket_buffer_prototype);
	(void)server_admit_spooled(conn, 0);
	refuse(conn, busy);
}

/* A body that h2o takes in whole although it is large: invariant 8. */
static void
count_body(struct http_conn *conn)
{
	size_t size = conn->sock->input->size;

	if (server_admit_spooled(conn, size > STREAM_MIN ? size : 0))
		return;
	server_admit_log(conn, SERVER_SPOOLED);
	refuse_busy(conn);
}

/* ---- The gate ---- */

static void on_gate(h2o_socket_t *sock, const char *err);

int
server_gate_stands(const struct http_conn *conn)
{
	return conn->sock->_cb.read == on_gate;
}

static int
reads(const struct http_conn *conn)
{
	return conn->read == conn->thread->read1 && conn->sock->ssl == NULL;
}

/* h2o would take all that the kernel has.  Returns what it would say. */
static const char *
take_in(struct http_conn *conn)
{
	h2o_socket_t *sock = conn->sock;
	size_t had = sock->input->size, most = conn->want > had + FIRST_READ ? conn->want : had + FIRST_READ;
	h2o_iovec_t to;
	ssize_t n;

	do {
		to = h2o_buffer_reserve(&sock->input, 4096);
		if (to.base == NULL)
			return h2o_socket_error_out_of_memory;
		do
			n = recv(h2o_socket_get_fd(sock), to.base, to.len, 0);
		while (n < 0 && errno == EINTR);
		if (n == 0 && sock->input->size == had)
			return h2o_socket_error_closed;
		if (n < 0 && errno != EAGAIN)
			return h2o_socket_error_io;
		if (n > 0)
			sock->input->size += (size_t)n;
	} while (n == (ssize_t)to.len && sock->input->size < most);
	sock->bytes_read = sock->input->size - had;
	return NULL;
}

static void
put_gate(struct http_conn *conn)
{
	conn->read = conn->sock->_cb.read;
	conn->sock->_cb.read = on_gate;
	/* Invariant 7. */
	h2o_socket_dont_read(conn->sock, reads(conn));
	/* Of HTTP/2 it is not known here: server_on_pace() asks h2o. */
	server_pace_receiving(conn, conn->read != conn->thread->read1 || conn->sock->input->size > 0);
}

static int
is_preface(const struct http_conn *conn)
{
	static const char begin[] = "PRI * HTTP/2";
	const h2o_buffer_t *in = conn->sock->input;

	return conn->served == 0 && conn->got == in->size && in->size >= sizeof(begin) - 1 &&
	       memcmp(in->bytes, begin, sizeof(begin) - 1) == 0;
}

/* All that has come is HTTP/2's: h2o's reader of HTTP/1 hands it over, once it has seen enough of the preface. */
static void
begin_h2(struct http_conn *conn)
{
	h2o_socket_t *sock = conn->sock;
	struct http_thread *t = conn->thread;

	if (conn->frames == NULL) {
		if (server_h2_open(conn) != 0) {
			conn->read(sock, h2o_socket_error_out_of_memory);
			return;
		}
		sock->bytes_read = sock->input->size;
	}
	if (!server_h2_look(conn, sock->bytes_read))
		return;
	t->global.http1.upgrade_to_http2 = 1;
	t->global.max_request_entity_size = t->server->max_body + SLACK;
	sock->_cb.read = conn->read;
	t->in_gate = conn;
	conn->read(sock, NULL);
	t->global.http1.upgrade_to_http2 = 0;
	if (t->in_gate == NULL)
		return;
	t->in_gate = NULL;
	if (sock->_cb.read == NULL) {
		link_conn(conn);
		return;
	}
	put_gate(conn);
	/* As in on_gate(); over TLS its next read is the first that counts. */
	if (sock->ssl == NULL)
		server_h2_taken(conn);
}

static void
on_gate(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;
	struct http_thread *t = conn->thread;
	int is_http1 = conn->read == t->read1;

	if (err == NULL && reads(conn))
		err = take_in(conn);
	conn->got += sock->bytes_read;
	if (is_http1 && err == NULL && (conn->frames != NULL || is_preface(conn))) {
		begin_h2(conn);
		return;
	}
	if (err == NULL && conn->frames != NULL && !server_h2_look(conn, sock->bytes_read))
		return;
	if (is_http1 && err == NULL && !look(conn))
		return;
	/* Neither memory nor the disk that bodies wait on has room.  What came is given up, so that the rest fits. */
	if (is_http1 && err == h2o_socket_error_out_of_memory && conn->req == NULL) {
		h2o_buffer_consume(&sock->input, sock->input->size);
		refuse(conn, no_room);
		return;
	}
	sock->_cb.read = conn->read;
	t->in_gate = conn;
	/* Over HTTP/1 h2o answers; over HTTP/2 it would reset the stream, so server_on_req() answers. */
	t->global.max_request_entity_size = t->server->max_body + (is_http1 ? 0 : SLACK);
	conn->read(sock, err);
	if (t->in_gate == NULL)
		return;
	t->in_gate = NULL;
	if (conn->body != NULL) {
		see_if_begun(conn);
		return;
	}
	/* What it has ended over TLS is gone, although its socket still has a goodbye to write. */
	if (conn->frames != NULL && sock->_cb.read == conn->read)
		server_h2_taken(conn);
	if (sock->_cb.read != NULL) {
		put_gate(conn);
		/* What is still to come of a body stays counted, so its client is not told in the middle of it. */
		if (is_http1 && !server_room_input(conn, conn->want) && !conn->framed)
			refuse_busy(conn);
		else if (is_http1 && sock->input->size > GET_MAX && is_get(sock->input))
			refuse(conn, too_large);
		else if (is_http1)
			count_body(conn);
	} else {
		/* All of it has come. */
		(void)server_admit_spooled(conn, 0);
		server_pace_receiving(conn, 0);
		link_conn(conn);
	}
}

static void
accept_at_gate(struct http_conn *conn, h2o_accept_ctx_t *accept,
    void (*accept_f)(h2o_accept_ctx_t *accept, h2o_socket_t *sock, struct timeval at))
{
	h2o_socket_t *sock = conn->sock;
	h2o_buffer_t *early = sock->input;

	/* h2o would parse at once what came with the end of the handshake. */
	h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
	accept_f(accept, sock, *h2o_get_timestamp(accept->ctx, NULL, NULL));
	h2o_buffer_dispose(&sock->input);
	sock->input = early;
	if (early->size == 0)
		return;
	unlink_conn(conn);
	put_gate(conn);
	sock->bytes_read = early->size;
	on_gate(sock, NULL);
}

void
server_gate_http1(struct http_conn *conn, h2o_accept_ctx_t *accept)
{
	accept_at_gate(conn, accept, h2o_http1_accept);
}

void
server_gate_http2(struct http_conn *conn, h2o_accept_ctx_t *accept)
{
	if (server_h2_open(conn) != 0)
		h2o_socket_close(conn->sock);
	else
		accept_at_gate(conn, accept, h2o_http2_accept);
}

/* h2o's reader of HTTP/1 has no name outside of it: it is what a first connection asks to be called. */
int
server_gate_learn(struct http_thread *t)
{
	h2o_accept_ctx_t accept = {.ctx = &t->ctx, .hosts = t->server->global.hosts};
	h2o_socket_t *sock;
	struct timeval now = {0, 0};
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
		log_line(LOG_ERROR, "cannot make a pair of sockets: %s", strerror(errno));
		return ERR_IO;
	}
	sock = h2o_evloop_socket_create(t->ctx.loop, fds[0], 0);
	h2o_http1_accept(&accept, sock, now);
	t->read1 = sock->_cb.read;
	t->read1(sock, h2o_socket_error_closed);
	close(fds[1]);
	return 0;
}

void
server_gate_turn(struct http_thread *t)
{
	struct http_conn *conn, *next;

	for (conn = t->ungated; conn != NULL; conn = next) {
		next = conn->gate_next;
		if (conn->body != NULL) {
			unlink_conn(conn);
		} else if (conn->sock->_cb.read != NULL) {
			unlink_conn(conn);
			if (conn->sock->_cb.read != on_gate) {
				put_gate(conn);
				if (conn->read == t->read1)
					scan_head(conn);
			}
		} else if (conn->req != NULL || conn->written != NULL) {
			unlink_conn(conn);
		}
	}
}

void
server_gate_open(struct http_conn *conn)
{
	link_conn(conn);
	server_pace_open(conn);
}
