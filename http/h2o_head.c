/*
 * h2o_head.c: heads of answers over HTTP/2, where h2o would spend a third of an answer's work on them.
 *
 * h2o 2.2 puts each field that it sends into HPACK's table, and looks through the table's 32 entries for each.  Two fields
 * of nearly every answer have a value that never comes again, X-Couch-Request-ID and ETag (or Location): they fill the table,
 * and push those out of it that do come again.  So a head whose other fields all stand in the table is written here: those
 * fields as one byte each, these as literals that go into no table (RFC 7541, 6.2.2).  Any other head is h2o's to write, which
 * puts its fields into the table: a connection's first, and the first of each second, which has a new Date.
 *
 * 1. The table is h2o's and only read here: what the client's decoder holds changes with h2o's alone.
 * 2. Where a field stood last time is a guess: name and value are compared before its place is sent.
 * 3. Nothing is written before it is known that all of the head can be.
 * 4. h2o does not look at how large a table the client allows; where that is less than h2o's, the table is made that small, and the head
 *    says so first (RFC 7541, 4.2 and 6.3).
 * 5. What else h2o does with a head depends on pushes, CASPER's cookie and types that a page waits for: those are h2o's.
 */
#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include <stddef.h>
#include <string.h>

#include "h2o_impl.h"

#define TABLE_AT 62u    /* the index of the newest entry: those below are HPACK's own */
#define ONE_BYTE 127u   /* a length below it takes one */
#define SHORT_INDEX 15u /* an index below it stands in a literal's first byte */
#define INDEXED 0x80u
#define RESIZE 0x20u    /* a table's new size, in five bits or, if they are all set, */
#define RESIZE_MORE 31u /* with more behind them */
#define FIXED_LEN 64u   /* of a head, besides its fields: frame header, status and Content-Length */

/* How a field goes out: its place in the table, or a literal with a name from a table. */
struct field {
	unsigned index;
	const h2o_iovec_t *value; /* NULL: the value stands there as well */
};

struct head {
	struct field fields[SERVER_H2_FIELDS];
	unsigned n;
	size_t len; /* at most */
	const h2o_hpack_header_table_t *table;
	unsigned char *places; /* invariant 2 */
};

/* h2o_iovec_is_token(), without a call. */
static int
is_token(const h2o_iovec_t *name)
{
	return (uintptr_t)name - (uintptr_t)h2o__tokens < sizeof(h2o__tokens);
}

static int
same(const h2o_iovec_t *a, const h2o_iovec_t *b)
{
	return a->len == b->len && (a->base == b->base || memcmp(a->base, b->base, a->len) == 0);
}

/* Tokens are h2o's own names: there is one of each. */
static int
stands(const h2o_hpack_header_table_entry_t *e, const h2o_iovec_t *name, const h2o_iovec_t *value)
{
	return (name == e->name || (!is_token(name) && same(name, e->name))) &&
	       (value == NULL || same(value, e->value));
}

static const h2o_hpack_header_table_entry_t *
entry(const h2o_hpack_header_table_t *table, unsigned i)
{
	size_t at = table->entry_start_index + i;

	return &table->entries[at < table->entry_capacity ? at : at - table->entry_capacity];
}

/* The field's place in the table, from the newest on, or the number of entries.  ${value} NULL: any.  ${guess}: see 2. */
static unsigned
find(const h2o_hpack_header_table_t *table, const h2o_iovec_t *name, const h2o_iovec_t *value, unsigned char *guess)
{
	unsigned i = *guess, n = (unsigned)table->num_entries;

	if (i < n && stands(entry(table, i), name, value))
		return i;
	for (i = 0; i < n; i++)
		if (stands(entry(table, i), name, value))
			break;
	*guess = (unsigned char)i;
	return i;
}

/* A field whose value is new each time. */
static int
is_passing(const h2o_iovec_t *name)
{
	return name == &H2O_TOKEN_ETAG->buf || name == &H2O_TOKEN_LOCATION->buf ||
	       h2o_memis(name->base, name->len, H2O_STRLIT("x-couch-request-id"));
}

/* 0: it cannot be said without the table's taking it in. */
static int
add(struct head *h, const h2o_iovec_t *name, const h2o_iovec_t *value)
{
	int passing = is_passing(name);
	unsigned at;

	if (h->n == SERVER_H2_FIELDS || (passing && value->len >= ONE_BYTE))
		return 0;
	if (passing && is_token(name)) {
		const void *token = (const char *)name - offsetof(h2o_token_t, buf);

		at = (unsigned char)((const h2o_token_t *)token)->http2_static_table_name_index;
	} else {
		at = find(h->table, name, passing ? NULL : value, &h->places[h->n]);
		if (at == h->table->num_entries)
			return 0;
		at += TABLE_AT;
	}
	h->fields[h->n++] = (struct field){at, passing ? value : NULL};
	h->len += passing ? 3 + value->len : 1;
	return at > 0 && at < ONE_BYTE;
}

/* h2o sends first what holds a page up: style sheets and scripts. */
static int
may_hold_up(const h2o_header_t *h)
{
	return h->name == &H2O_TOKEN_CONTENT_TYPE->buf &&
	       !h2o_memis(h->value.base, h->value.len, H2O_STRLIT("application/json"));
}

static int
collect(const h2o_req_t *h2o, struct head *h)
{
	h2o_context_t *ctx = h2o->conn->ctx;
	h2o_iovec_t date;
	size_t i;

	h2o_get_timestamp(ctx, NULL, NULL);
	date = h2o_iovec_init(ctx->_timestamp_cache.value->rfc1123, H2O_TIMESTR_RFC1123_LEN);
	if ((ctx->globalconf->server_name.len > 0 && !add(h, &H2O_TOKEN_SERVER->buf, &ctx->globalconf->server_name)) ||
	    !add(h, &H2O_TOKEN_DATE->buf, &date))
		return 0;
	for (i = 0; i < h2o->res.headers.size; i++) {
		const h2o_header_t *field = &h2o->res.headers.entries[i];

		if (may_hold_up(field) || !add(h, field->name, &field->value))
			return 0;
	}
	return 1;
}

static unsigned char *
put_literal(unsigned char *p, unsigned name, const char *value, size_t len)
{
	if (name < SHORT_INDEX) {
		*p++ = (unsigned char)name;
	} else {
		*p++ = SHORT_INDEX;
		*p++ = (unsigned char)(name - SHORT_INDEX);
	}
	*p++ = (unsigned char)len;
	memcpy(p, value, len);
	return p + len;
}

/* Decimal, and its length. */
static size_t
digits(char out[20], uint64_t n)
{
	char text[20];
	size_t i = sizeof(text);

	do {
		text[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	memcpy(out, text + i, sizeof(text) - i);
	return sizeof(text) - i;
}

/* Indexes of HPACK's own table: RFC 7541, appendix A. */
static unsigned char *
put_status(unsigned char *p, int status)
{
	char text[20];
	size_t len;

	switch (status) {
	case 200:
		*p++ = INDEXED | 8;
		return p;
	case 304:
		*p++ = INDEXED | 11;
		return p;
	case 404:
		*p++ = INDEXED | 13;
		return p;
	default:
		len = digits(text, (uint64_t)status);
		return put_literal(p, 8, text, len);
	}
}

/* 0: it is h2o's to write. */
static int
write_head(h2o_http2_conn_t *c, h2o_http2_stream_t *stream, struct server_frames *frames)
{
	const h2o_res_t *res = &stream->req.res;
	struct head h = {.len = FIXED_LEN, .table = &c->_output_header_table, .places = frames->places};
	unsigned char *begin, *p;
	char text[20];
	unsigned i;

	if (c->casper != NULL || stream->cache_digests != NULL || !collect(&stream->req, &h))
		return 0;
	begin = (unsigned char *)h2o_buffer_reserve(&c->_write.buf, h.len).base;
	if (begin == NULL)
		return 0;
	p = put_status(begin + H2O_HTTP2_FRAME_HEADER_SIZE, res->status);
	for (i = 0; i < h.n; i++) {
		const struct field *f = &h.fields[i];

		if (f->value == NULL)
			*p++ = (unsigned char)(INDEXED | f->index);
		else
			p = put_literal(p, f->index, f->value->base, f->value->len);
	}
	if (res->content_length != SIZE_MAX)
		p = put_literal(p, 28, text, digits(text, res->content_length));
	h2o_http2_encode_frame_header(begin, (size_t)(p - begin) - H2O_HTTP2_FRAME_HEADER_SIZE,
	    H2O_HTTP2_FRAME_TYPE_HEADERS, H2O_HTTP2_FRAME_FLAG_END_HEADERS, (int32_t)stream->stream_id);
	c->_write.buf->size += (size_t)(p - begin);
	return 1;
}

/* put_sizes: The client's table is emptied, then as large as it allows. */
static size_t
put_sizes(unsigned char out[6], uint32_t size)
{
	size_t n = 0;

	out[n++] = RESIZE;
	if (size == 0)
		return n;
	if (size < RESIZE_MORE) {
		out[n++] = (unsigned char)(RESIZE | size);
		return n;
	}
	out[n++] = RESIZE | RESIZE_MORE;
	for (size -= RESIZE_MORE; size >= 128; size >>= 7)
		out[n++] = (unsigned char)(size | 128);
	out[n++] = (unsigned char)size;
	return n;
}

/* begins_with_head: Does a frame with a head stand there that has room for ${more} bytes? */
static int
begins_with_head(const h2o_http2_conn_t *c, size_t at, size_t more)
{
	const unsigned char *frame = (const unsigned char *)c->_write.buf->bytes + at;

	return c->_write.buf->size >= at + H2O_HTTP2_FRAME_HEADER_SIZE && frame[3] == H2O_HTTP2_FRAME_TYPE_HEADERS &&
	       ((size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2]) + more <= c->peer_settings.max_frame_size;
}

/* shrink: h2o's table, which is emptied; then h2o writes the head, and what the client's table becomes is put before its fields. */
static void
shrink(h2o_http2_conn_t *c, struct http_conn *conn, h2o_ostream_t *self, h2o_req_t *h2o, h2o_iovec_t *bufs, size_t n,
    h2o_send_state_t state)
{
	h2o_hpack_header_table_t *table = &c->_output_header_table;
	size_t at = c->_write.buf->size, was = table->hpack_capacity, len;
	unsigned char sizes[6], *frame;

	h2o_hpack_dispose_header_table(table);
	*table = (h2o_hpack_header_table_t){.hpack_capacity = c->peer_settings.header_table_size,
	    .hpack_max_capacity = c->peer_settings.header_table_size};
	len = put_sizes(sizes, c->peer_settings.header_table_size);
	conn->thread->h2_send(self, h2o, bufs, n, state);
	if (!begins_with_head(c, at, len) || h2o_buffer_reserve(&c->_write.buf, len).base == NULL) {
		/* The next head says it. */
		table->hpack_capacity = was;
		return;
	}
	frame = (unsigned char *)c->_write.buf->bytes + at;
	memmove(frame + H2O_HTTP2_FRAME_HEADER_SIZE + len, frame + H2O_HTTP2_FRAME_HEADER_SIZE,
	    c->_write.buf->size - at - H2O_HTTP2_FRAME_HEADER_SIZE);
	memcpy(frame + H2O_HTTP2_FRAME_HEADER_SIZE, sizes, len);
	c->_write.buf->size += len;
	len += (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
	frame[0] = (unsigned char)(len >> 16);
	frame[1] = (unsigned char)(len >> 8);
	frame[2] = (unsigned char)len;
}

/* In h2o's place when the first of an answer goes out. */
static void
on_first(h2o_ostream_t *self, h2o_req_t *h2o, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	h2o_http2_stream_t *stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, _ostr_final, self);
	struct http_conn *conn = server_conn_of(h2o);
	h2o_http2_conn_t *c = (h2o_http2_conn_t *)h2o->conn;

	self->do_send = conn->thread->h2_send;
	if (stream->state == H2O_HTTP2_STREAM_STATE_SEND_HEADERS &&
	    c->peer_settings.header_table_size < c->_output_header_table.hpack_capacity) {
		shrink(c, conn, self, h2o, bufs, n, state);
		return;
	}
	if (stream->state == H2O_HTTP2_STREAM_STATE_SEND_HEADERS && write_head(c, stream, conn->frames)) {
		h2o_http2_conn_request_write(c);
		h2o_http2_stream_set_state(c, stream, H2O_HTTP2_STREAM_STATE_SEND_BODY);
	}
	self->do_send(self, h2o, bufs, n, state);
}

void
server_h2_head(struct http_req *req)
{
	h2o_http2_stream_t *stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req->h2o);

	if (h2o_http2_stream_is_push(stream->stream_id) || req->conn->frames == NULL)
		return;
	req->thread->h2_send = stream->_ostr_final.do_send;
	stream->_ostr_final.do_send = on_first;
}
