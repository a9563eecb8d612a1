/*
 * server_h2o_body.c: request bodies, lent from where h2o has them or read from the socket by ourselves.
 *
 * h2o 2.2 takes a body in whole before it says that there is a request.  Over HTTP/1 the gate therefore hides a
 * large or chunked body from it (server_framing.c), h2o calls us with the head alone, and what follows is read here:
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
 *    nothing is read, and the minimum rate (server_h2o_gate.c) does not count.
 * 3. An answer before the body's end is the connection's last.  To close it while the client sends would take the
 *    answer from it: what still comes is dropped, for one window behind the answer (h2o's own call back,
 *    which closes, waits in body->close).
 * 4. A body has a reference of its connection, until that is gone or past it, and one of its request.  What has
 *    been lent therefore lives as long as the request.
 * 5. What is gathered beyond GATHER_MEM goes to a file without a name by write(), which, unlike a mapping, says when
 *    the disk is full; once it is whole it is mapped.
 */
#include <h2o.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server_h2o_impl.h"
#include "base/log.h"

#define PIECE ((size_t)512 << 10)    /* of a body that is streamed */
#define LENT_MAX ((size_t)1 << 20)   /* http_body_read()'s pieces of a body that is whole */
#define GATHER_MEM ((size_t)1 << 20) /* a body of a known length up to this is gathered in memory */
#define REST_MAX ((size_t)16 << 10)  /* of a pipelined request behind the body */
#define RCVBUF (256 << 10)           /* over TLS h2o reads all that the kernel has */

struct http_body {
	unsigned refs;
	struct http_conn *conn; /* NULL: gone, or past this body */
	struct http_req *req;   /* NULL: before h2o's call, or released */
	h2o_buffer_t *head;     /* NULL: not taken aside yet, or put back */
	h2o_buffer_t *input;    /* what came with the head, until h2o's call */
	uint64_t announced;     /* UINT64_MAX: chunked */
	uint64_t left;          /* of announced */
	uint64_t total, max;    /* taken in so far; allowed */
	struct server_chunks chunks;
	char *fill, *lent;         /* invariant 2 */
	size_t cap, lent_cap, len; /* of fill; len: bytes in it */
	char *map;                 /* gathered, from a file */
	uint64_t map_at;           /* read by http_body_read() */
	uint64_t spooled;
	int fd;              /* the file, or -1 */
	int err;             /* no more of it can be had */
	h2o_socket_cb close; /* invariant 3 */
	unsigned char tls, ended;
	unsigned char expects; /* the client waits for 100 Continue */
	unsigned char reading, gathering, gathered;
	unsigned char waiting;  /* req->body_fn is to be called */
	unsigned char posted;   /* req->body_msg is on its way to do that */
	unsigned char dropping; /* the answer has begun: nobody wants the rest */
	unsigned char over;     /* nothing more will come */
	unsigned char out;      /* the answer has been written */
};

static void
body_release(struct http_body *b)
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
		log_line(LOG_ERROR, "cannot make %s: %s", path, strerror(errno));
		return errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
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
			err = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
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
	if (b->dropping)
		b->len = 0;
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

static void
finish_gather(struct http_body *b)
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

/* Takes what has been read into sock->input. */
static void
pump(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;

	while (!b->ended && b->err == 0 && sock->input->size > 0 && has_room(b))
		h2o_buffer_consume(&sock->input, feed(b, sock->input->bytes, sock->input->size));
	if (b->err != 0 && sock->input->size > 0)
		h2o_buffer_consume(&sock->input, sock->input->size);
	if (b->ended && b->err == 0 && b->gathering && !b->gathered)
		finish_gather(b);
}

/* One read from a socket without TLS, into the buffer itself.  0: the client has gone. */
static int
read_plain(struct http_body *b)
{
	char dropped[16384];
	h2o_socket_t *sock = b->conn->sock;
	int room = has_room(b);
	char *to = room ? b->fill + b->len : dropped;
	size_t n = room ? b->cap - b->len : sizeof(dropped), eaten;
	ssize_t got;

	if (!room && b->err == 0)
		return 1;
	/* What comes behind the body stays where it is. */
	if (b->announced != UINT64_MAX && n > b->left)
		n = (size_t)b->left;
	got = recv(h2o_socket_get_fd(sock), to, n, 0);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	b->conn->got += (uint64_t)got;
	if (!room)
		return 1;
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

static void
start_reading(struct http_body *b, h2o_socket_cb cb)
{
	/* Without TLS h2o only says that there is something. */
	if (!b->tls)
		h2o_socket_dont_read(b->conn->sock, 1);
	h2o_socket_read_start(b->conn->sock, cb);
	b->reading = 1;
}

static void
stop_reading(struct http_body *b)
{
	if (!b->reading)
		return;
	b->reading = 0;
	h2o_socket_read_stop(b->conn->sock);
	h2o_socket_dont_read(b->conn->sock, 0);
	server_gate_receiving(b->conn, 0);
}

static int
is_ready(const struct http_body *b)
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

static void
post_waiting(struct http_body *b)
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
		start_reading(b, on_body);
		server_gate_receiving(b->conn, 1);
	} else if (!more) {
		stop_reading(b);
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
		stop_reading(b);
		conn->read(sock, err != NULL ? err : h2o_socket_error_closed);
	}
	if (b->waiting && !b->posted && is_ready(b))
		call_waiting(b);
	server_flush(t);
	body_release(b);
}

static void
on_continued(h2o_socket_t *sock, const char *err)
{
	struct http_conn *conn = sock->on_close.data;
	struct http_thread *t = conn->thread;
	struct http_req *req = conn->body->req;

	if (err != NULL) {
		stop_reading(conn->body);
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

/* The handler wants more of it. */
static void
want(struct http_body *b)
{
	if (b->conn == NULL || b->dropping || b->ended || b->err != 0)
		return;
	if (b->expects)
		send_continue(b);
	pump(b);
	adjust(b);
}

/* ---- From the gate to the handler ---- */

int
server_body_open(struct http_conn *conn, const struct server_head *h)
{
	struct http_body *b = calloc(1, sizeof(*b));
	h2o_buffer_t *in = conn->sock->input;
	size_t more = in->size - h->len;
	int bytes = RCVBUF;

	if (b == NULL)
		return ERR_NOMEM;
	b->refs = 1;
	b->conn = conn;
	b->fd = -1;
	b->announced = b->left = h->body_len;
	b->max = conn->thread->server->global.max_request_entity_size;
	b->expects = h->expects;
	b->tls = conn->sock->ssl != NULL;
	if (b->tls)
		setsockopt(h2o_socket_get_fd(conn->sock), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	h2o_buffer_init(&b->input, &h2o_socket_buffer_prototype);
	if (more > 0) {
		h2o_iovec_t to = h2o_buffer_reserve(&b->input, more);

		if (to.base == NULL) {
			body_release(b);
			return ERR_NOSPACE;
		}
		memcpy(to.base, in->bytes + h->len, more);
		b->input->size = more;
	}
	in->size = h->len;
	server_head_hide(in->bytes, h->len);
	/* For put_back(), while nothing points into it. */
	h2o_buffer_reserve(&conn->sock->input, REST_MAX);
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

/* The connection goes on without it, or is gone. */
static void
leave_conn(struct http_body *b)
{
	b->conn->body = NULL;
	b->conn = NULL;
	b->reading = 0;
	body_release(b);
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
		post_waiting(b);
	leave_conn(b);
}

void
server_body_release(struct http_req *req)
{
	struct http_body *b = req->body;

	if (b == NULL)
		return;
	req->body = NULL;
	b->req = NULL;
	body_release(b);
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

/* ---- The answer ---- */

/* Drops what has come.  0: the client has gone. */
static int
discard(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;

	if (!b->tls && sock->input->size == 0)
		return read_plain(b);
	pump(b);
	return 1;
}

static void
close_now(struct http_body *b, const char *err)
{
	h2o_socket_t *sock = b->conn->sock;

	stop_reading(b);
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
		stop_reading(b);
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
	stop_reading(b);
	b->dropping = 1;
	b->gathering = 0;
	post_waiting(b);
	pump(b);
	b->over = b->ended;
	if (!b->over)
		start_reading(b, on_dropped);
}

/* Invariant 1. */
static void
put_back(struct http_body *b)
{
	h2o_socket_t *sock = b->conn->sock;
	h2o_buffer_t *rest = sock->input, *head = b->head;
	size_t used = (size_t)(head->bytes - head->_buf) + head->size;

	stop_reading(b);
	if (rest->size > 0 && rest->size <= head->capacity - used) {
		memcpy(head->bytes + head->size, rest->bytes, rest->size);
		head->size += rest->size;
	}
	sock->input = head;
	b->head = NULL;
	h2o_buffer_dispose(&rest);
	leave_conn(b);
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
	body_release(b);
}

/* ---- What handlers ask ---- */

/* Lends ${n} bytes of a body that h2o has taken in, from ${at} on: server_h2o_impl.h, invariant 3. */
static int
lend(struct http_req *req, uint64_t at, size_t n, struct jstr *outp)
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

static int
read_gathered(struct http_body *b, struct jstr *piecep)
{
	uint64_t left = b->total - b->map_at;

	*piecep = (struct jstr){b->map + b->map_at, left < LENT_MAX ? (size_t)left : LENT_MAX};
	b->map_at += piecep->len;
	return 0;
}

static int
read_stream(struct http_body *b, struct jstr *piecep)
{
	char *lent = b->lent;
	size_t cap = b->lent_cap;

	*piecep = (struct jstr){"", 0};
	if (b->req->h2o == NULL || b->dropping)
		return ERR_IO;
	if (b->map != NULL)
		return read_gathered(b, piecep);
	if (b->len == 0)
		want(b);
	if (b->len == 0)
		return b->err != 0 ? b->err : b->ended ? 0 : ERR_AGAIN;
	*piecep = (struct jstr){b->fill, b->len};
	b->lent = b->fill;
	b->lent_cap = b->cap;
	b->fill = lent;
	b->cap = cap;
	b->len = 0;
	want(b);
	return 0;
}

int
http_body_read(struct http_req *req, struct jstr *piecep)
{
	uint64_t left;
	int err;

	if (req->body != NULL)
		return read_stream(req->body, piecep);
	left = req->entity.len - req->body_at;
	err = lend(req, req->body_at, left < LENT_MAX ? (size_t)left : LENT_MAX, piecep);
	if (err == 0)
		req->body_at += piecep->len;
	return err;
}

static int
all_of_stream(struct http_body *b, struct jstr *bodyp)
{
	*bodyp = (struct jstr){"", 0};
	if (b->req->h2o == NULL || b->dropping)
		return ERR_IO;
	if (b->err != 0)
		return b->err;
	/* Whoever did not gather finds a body that is not there. */
	if (!b->ended || (b->spooled > 0 && b->map == NULL))
		return ERR_AGAIN;
	if (b->map != NULL)
		*bodyp = (struct jstr){b->map, (size_t)b->total};
	else if (b->len > 0)
		*bodyp = (struct jstr){b->fill, b->len};
	return 0;
}

int
http_body_all(struct http_req *req, struct jstr *bodyp)
{
	int err;

	if (req->body != NULL)
		return all_of_stream(req->body, bodyp);
	assert(req->body_at == 0 || req->body_at == req->entity.len);
	if (req->body_at > 0 && req->body_copy != NULL) {
		*bodyp = (struct jstr){req->body_copy, req->entity.len};
		return 0;
	}
	err = lend(req, 0, req->entity.len, bodyp);
	if (err == 0)
		req->body_at = req->entity.len;
	return err;
}

int
http_body_is_whole(const struct http_req *req)
{
	return req->body == NULL || req->body->ended;
}

uint64_t
http_body_len(const struct http_req *req)
{
	if (req->body == NULL)
		return req->entity.len;
	return req->body->ended ? req->body->total : req->body->announced;
}

static void
body_ready(void *arg)
{
	struct http_req *req = arg;

	req->body_fn(req->body_arg);
	http_release(req);
}

void
http_body_wait(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	struct http_body *b = req->body;

	http_hold(req);
	req->body_fn = fn;
	req->body_arg = arg;
	if (b == NULL) {
		req->body_msg = (struct http_msg){.fn = body_ready, .arg = req};
		http_post(req->thread, &req->body_msg);
		return;
	}
	assert(!b->waiting);
	b->waiting = 1;
	want(b);
	if (is_ready(b) || b->conn == NULL)
		post_waiting(b);
}

void
http_body_gather(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	struct http_body *b = req->body;

	if (b != NULL && !b->dropping) {
		b->gathering = 1;
		if (b->ended && b->err == 0 && !b->gathered)
			finish_gather(b);
	}
	http_body_wait(req, fn, arg);
}
