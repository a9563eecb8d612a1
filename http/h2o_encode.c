/*
 * h2o_encode.c: which answers go out compressed, and their way through encode.c.
 *
 * An answer is encoded if its handler allows it (JSON and event streams; attachments have a Content-Encoding of
 * their own), the client takes gzip or zstd, it is on another machine (or the setting says always), and the body has
 * MIN_BYTES or a length that is not known.  A client that refuses what is not encoded gets it whatever the length
 * and wherever it is; one that takes nothing at all is answered plainly, for its request has been carried out.
 *
 * An answer that shows secrets beside text that a foreign page chose would tell of them by its length (BREACH).  So
 * what a browser asks for another site's page, with the user's credentials, goes out plain, unless CORS lets
 * that page read it anyway.
 */
#include <h2o.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "h2o_impl.h"

#define MIN_BYTES 1024u /* below, a packet is a packet */

void
http_may_encode(struct http_req *req)
{
	req->may_encode = 1;
}

void
http_expect(struct http_req *req, uint64_t len)
{
	req->expected = len;
}

void
http_server_compress(struct http_server *s, enum http_compress mode)
{
	atomic_store_explicit(&s->compress, (int)mode, memory_order_relaxed);
}

/* ---- Whether ---- */

static int
address_is_local(const struct sockaddr *sa)
{
	static const unsigned char mapped[13] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127};

	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;

		return IN6_IS_ADDR_LOOPBACK(a) || memcmp(a, mapped, sizeof(mapped)) == 0;
	}
	return sa->sa_family == AF_UNIX;
}

int
http_is_local(const struct http_req *req)
{
	struct sockaddr_storage sa;

	if (req->h2o == NULL)
		return 0;
	if (req->conn->place == 0) {
		h2o_conn_t *conn = req->h2o->conn;
		socklen_t len = conn->callbacks->get_peername(conn, (struct sockaddr *)&sa);

		req->conn->place = len > 0 && address_is_local((struct sockaddr *)&sa) ? 1 : 2;
	}
	return req->conn->place == 1;
}

static const h2o_iovec_t *
find(const h2o_headers_t *headers, const char *name)
{
	const h2o_token_t *token = h2o_lookup_token(name, strlen(name));
	ssize_t at = token != NULL ? h2o_find_header(headers, token, -1)
				   : h2o_find_header_by_str(headers, name, strlen(name), -1);

	return at != -1 ? &headers->entries[at].value : NULL;
}

static int
is_text(const h2o_iovec_t *v, const char *text)
{
	return v->len == strlen(text) && strncasecmp(v->base, text, v->len) == 0;
}

/* "https://HOST" with the host that was asked. */
static int
is_own_origin(const struct http_req *req, const h2o_iovec_t *origin)
{
	const h2o_iovec_t *host = &req->h2o->input.authority;
	const char *slash = memchr(origin->base, '/', origin->len);
	size_t skip = slash != NULL ? (size_t)(slash - origin->base) + 2 : origin->len;

	return skip <= origin->len && origin->len - skip == host->len &&
	       strncasecmp(origin->base + skip, host->base, host->len) == 0;
}

/* The length of the answer may be what somebody is after: see the top. */
static int
is_watched(const struct http_req *req)
{
	const h2o_headers_t *asked = &req->h2o->headers;
	const h2o_iovec_t *site = find(asked, "sec-fetch-site"), *origin = find(asked, "origin");

	if (site != NULL ? is_text(site, "same-origin") || is_text(site, "none")
			 : origin == NULL || is_own_origin(req, origin))
		return 0;
	if (find(asked, "cookie") == NULL && find(asked, "authorization") == NULL)
		return 0;
	return find(&req->h2o->res.headers, "access-control-allow-credentials") == NULL;
}

static void
add_vary(struct http_req *req)
{
	h2o_headers_t *headers = &req->h2o->res.headers;
	ssize_t at = -1;

	while ((at = h2o_find_header(headers, H2O_TOKEN_VARY, at)) != -1)
		if (is_text(&headers->entries[at].value, "accept-encoding"))
			return;
	http_add_header(req, "vary", "Accept-Encoding", 15);
}

static struct encode_accept
taken(const struct http_req *req)
{
	const h2o_headers_t *headers = &req->h2o->headers;
	struct encode_accept a = ENCODE_ACCEPT_NONE;
	ssize_t at = -1;

	while ((at = h2o_find_header(headers, H2O_TOKEN_ACCEPT_ENCODING, at)) != -1)
		encode_accept_add(&a, headers->entries[at].value.base, headers->entries[at].value.len);
	return a;
}

enum encode_coding
server_encode_choose(struct http_req *req, int status, uint64_t len)
{
	int mode = atomic_load_explicit(&req->thread->server->compress, memory_order_relaxed);
	enum encode_coding coding;
	struct encode_accept a;
	int wanted, forced;

	if (!req->may_encode || mode == HTTP_COMPRESS_NEVER || status == 204)
		return ENCODE_IDENTITY;
	a = taken(req);
	wanted = (len >= MIN_BYTES || status == 304) && (mode == HTTP_COMPRESS_ALWAYS || !http_is_local(req));
	forced = encode_refuses_identity(&a);
	if (!wanted && !forced)
		return ENCODE_IDENTITY;
	add_vary(req);
	coding = encode_choose(&a, len > ENCODE_PIECE);
	if (status == 304 || len == 0 || coding == ENCODE_IDENTITY || find(&req->h2o->res.headers, "content-encoding"))
		return ENCODE_IDENTITY;
	/* Nobody knows yet whether the answer to such a GET is long enough. */
	if ((req->is_head && len == UINT64_MAX) || is_watched(req))
		return ENCODE_IDENTITY;
	return coding;
}

/* ---- How ---- */

static int
need_ctx(struct http_thread *t)
{
	return t->encode != NULL ? 0 : encode_ctx_new(&t->encode);
}

void
server_encode_name(struct http_req *req, enum encode_coding coding)
{
	http_set_header(req, "content-encoding", encode_name(coding), strlen(encode_name(coding)));
}

int
server_encode_whole(struct http_req *req, enum encode_coding coding, h2o_iovec_t *body)
{
	const char *out;
	size_t len;
	int err = need_ctx(req->thread);

	if (err == 0)
		err = encode_whole(req->thread->encode, coding, body->base, body->len, &out, &len);
	if (err != 0)
		return err;
	server_encode_name(req, coding);
	*body = h2o_strdup(&req->h2o->pool, out, len);
	return 0;
}

int
server_encode_begin(struct http_req *req, enum encode_coding coding)
{
	int err = need_ctx(req->thread);

	if (err == 0)
		err = encode_stream_new(coding, &req->enc);
	if (err == 0)
		server_encode_name(req, coding);
	return err;
}

int
server_encode_next(struct http_req *req)
{
	size_t left = req->raw_len - req->raw_at, out_len, len = left < ENCODE_PIECE ? left : ENCODE_PIECE;
	const char *out;
	char *room;
	int err = encode_stream_put(req->thread->encode, req->enc, req->raw != NULL ? req->raw + req->raw_at : NULL,
	    len, len == left && req->finishing, &out, &out_len);

	if (err != 0)
		return err;
	if (req->out_cap < out_len) {
		room = realloc(req->out, out_len);
		if (room == NULL)
			return ERR_NOMEM;
		req->out = room;
		req->out_cap = out_len;
	}
	if (out_len > 0)
		memcpy(req->out, out, out_len);
	req->out_len = out_len;
	req->raw_at += len;
	if (len == left)
		server_raw_free(req);
	return 0;
}
