/*
 * h2o_frames.c: HTTP/2 at the gate: what h2o 2.2 would let a client do.
 *
 * frames.c counts what comes; here is what is done about it, and what only h2o's own tables tell.  They are read
 * (and, to end a connection, written as h2o does itself) through its header http2_internal.h.
 *
 * 1. Every byte of an HTTP/2 connection passes server_h2_look() before h2o sees it: over TLS from the handshake on
 *    (server_gate_http2()), without TLS from the preface on, which on_gate() recognises.  There is no third way in: an
 *    HTTP/1 request cannot be upgraded.
 * 2. sock->data is h2o's connection once conn->read is no longer HTTP/1's.
 * 3. While h2o is in one of its functions (a stream vanishes), the connection is only shut down; h2o finds out.
 * 4. h2o takes in whole bodies before it says that there is a request: they count as server_admit_spooled() says.
 */
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "h2o_impl.h"
#include "base/limits.h"

#define STOCK_BYTES ((uint64_t)1 << 20) /* of bodies between two looks at what waits */

int
server_h2_open(struct http_conn *conn)
{
	conn->frames = calloc(1, sizeof(*conn->frames));
	if (conn->frames == NULL)
		return ERR_NOMEM;
	conn->frames->began_ms = h2o_now(conn->thread->ctx.loop);
	return 0;
}

/* ---- The end ---- */

void
server_h2_goaway(struct http_conn *conn, const char *why)
{
	h2o_http2_conn_t *c = conn->sock->data;

	server_admit_log(conn, why);
	conn->cut = 1;
	if (conn->read == conn->thread->read1 || c->_write.buf_in_flight != NULL ||
	    c->state >= H2O_HTTP2_CONN_STATE_IS_CLOSING) {
		shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
		return;
	}
	h2o_http2_encode_goaway_frame(&c->_write.buf, c->pull_stream_ids.max_open, H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM,
	    h2o_iovec_init(why, strlen(why)));
	h2o_http2_conn_request_write(c);
	/* h2o writes, closes, and tells all streams. */
	c->state = H2O_HTTP2_CONN_STATE_IS_CLOSING;
	h2o_socket_read_stop(conn->sock);
}

void
server_h2_reset(struct http_conn *conn)
{
	struct server_frames *f = conn->frames;

	if (f == NULL || conn->cut)
		return;
	f->now_ms = h2o_now(conn->thread->ctx.loop);
	f->served = conn->served;
	/* Streams may be made to end by us as well: then no RST_STREAM has come. */
	if (++conn->resets <= server_frames_resets(f))
		return;
	conn->cut = 1;
	server_admit_log(conn, "too many streams that ended early");
	shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
}

/* ---- Bodies of strangers ---- */

static uint64_t
bodies_coming(h2o_http2_conn_t *c)
{
	uint64_t sum = 0;
	khiter_t i;

	for (i = 0; i < kh_end(c->streams); i++) {
		const h2o_http2_stream_t *stream = kh_exist(c->streams, i) ? kh_val(c->streams, i) : NULL;

		if (stream != NULL && stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY && stream->_req_body != NULL)
			sum += stream->_req_body->size;
	}
	return sum;
}

int
server_h2_count_spooled(struct http_conn *conn)
{
	conn->frames->looked = conn->frames->data;
	return server_admit_spooled(conn, bodies_coming(conn->sock->data));
}

void
server_h2_close(struct http_conn *conn)
{
	free(conn->frames);
	conn->frames = NULL;
}

/* ---- Looks ---- */

int
server_h2_look(struct http_conn *conn, size_t n)
{
	struct server_frames *f = conn->frames;
	const h2o_buffer_t *in = conn->sock->input;
	const char *why;

	/* h2o 2.2 goes round for ever when it has said goodbye and the rest of a head comes. */
	if (conn->thread->stopping && f->in_block) {
		shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
		return 0;
	}
	f->now_ms = h2o_now(conn->thread->ctx.loop);
	f->served = conn->served;
	f->sent = conn->sock->bytes_written;
	why = server_frames_walk(f, in->bytes + in->size - n, n);
	if (why == NULL)
		return 1;
	server_h2_goaway(conn, why);
	return 0;
}

void
server_h2_taken(struct http_conn *conn)
{
	const struct server_frames *f = conn->frames;

	if (conn->read == conn->thread->read1 || conn->cut)
		return;
	server_room_streams(conn);
	if (f->data - f->looked >= STOCK_BYTES && !conn->cut && !server_h2_count_spooled(conn))
		server_h2_goaway(conn, SERVER_SPOOLED);
}

int
server_h2_owes(struct http_conn *conn)
{
	const h2o_http2_conn_t *c = conn->sock->data;
	khiter_t i;

	if (c->_write.buf_in_flight != NULL)
		return 1;
	for (i = 0; c->num_streams.pull.open > 0 && i < kh_end(c->streams); i++)
		if (kh_exist(c->streams, i) && kh_val(c->streams, i)->_data.size > 0)
			return 1;
	return 0;
}

int
server_h2_idle(const struct http_conn *conn)
{
	const h2o_http2_conn_t *c = conn->sock->data;

	return c->num_streams.pull.open == 0;
}

/* ---- Heads ---- */

/* No byte that HTTP/1 would not let stand in a request line: the path goes to logs and into URLs. */
static int
is_visible(const h2o_iovec_t *s)
{
	size_t i = 0;
	uint64_t v, bad;

	/* Eight at a time: a byte's high bit in ${bad} says that it, or one before it, is not above ' ', or is DEL. */
	for (; s->len - i >= 8; i += 8) {
		memcpy(&v, s->base + i, 8);
		bad = ((v - UINT64_C(0x2121212121212121)) |
			  ((v ^ UINT64_C(0x7f7f7f7f7f7f7f7f)) - UINT64_C(0x0101010101010101))) &
		      ~v;
		if ((bad & UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	for (; i < s->len; i++)
		if ((unsigned char)s->base[i] <= ' ' || (unsigned char)s->base[i] == 0x7f)
			return 0;
	return s->len > 0;
}

int
server_h2_head_ok(h2o_req_t *h2o)
{
	const h2o_http2_stream_t *stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, h2o);
	const struct server_frames *f = server_conn_of(h2o)->frames;
	const h2o_headers_t *headers = &h2o->headers;
	size_t len = h2o->input.path.len, i;

	if (!is_visible(&h2o->input.path) || !is_visible(&h2o->input.method) ||
	    !server_host_ok(h2o->input.authority.base, h2o->input.authority.len))
		return ERR_BAD_REQUEST;
	if (h2o->input.path.base[0] != '/' && !h2o_memis(h2o->input.path.base, h2o->input.path.len, H2O_STRLIT("*")))
		return ERR_BAD_REQUEST;
	/* h2o compares a body that came in DATA frames alone. */
	if (h2o->entity.base == NULL && stream->_expected_content_length != SIZE_MAX &&
	    stream->_expected_content_length != 0)
		return ERR_BAD_REQUEST;
	/* It takes trailers for headers. */
	if (h2o->entity.base != NULL && f != NULL && stream->stream_id <= f->trailers)
		return ERR_BAD_REQUEST;
	for (i = 0; i < headers->size; i++) {
		len += headers->entries[i].name->len + headers->entries[i].value.len;
		if (headers->entries[i].name->len == 0)
			return ERR_BAD_REQUEST;
	}
	return headers->size > LIMIT_HEADERS || len > LIMIT_HEAD_LEN ? ERR_HEAD_TOO_LARGE : 0;
}
