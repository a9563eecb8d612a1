/*
 * h2o_dispatch.c: from h2o to the handler, and what is refused on
 * the way.
 */
#include <h2o.h>

#include <stdlib.h>
#include <string.h>

#include "h2o_impl.h"

/* Over HTTP/1. */
static int
framing_ok(const struct http_req *req)
{
	struct http_conn *conn = req->conn;
	struct server_head h;

	if (!conn->framed) {
		/* The head still stands at the input's start: h2o consumes a request when it has been answered. */
		server_head_read(conn->sock->input->bytes, conn->sock->input->size, &h);
		if (!server_head_ok(&h))
			return 0;
		/* Chunks that h2o has read may end elsewhere for others: it takes nearly any line for a chunk's size. */
		conn->drops = h.chunked;
		conn->closes = h.closes || h.chunked;
	}
	if (conn->closes)
		req->h2o->http1_is_persistent = 0;
	return 1;
}

/* What a request to a proxy has before the path, as in "GET http://host/path": RFC 9112, 3.2.2. */
static size_t
authority_len(const char *path, size_t len)
{
	const char *colon = memchr(path, ':', len), *slash;

	if (len == 0 || *path == '/' || colon == NULL || (size_t)(path + len - colon) < 3 ||
	    memcmp(colon, "://", 3) != 0)
		return 0;
	slash = memchr(colon + 3, '/', (size_t)(path + len - colon - 3));
	return slash != NULL ? (size_t)(slash - path) : 0;
}

/* "http://host" or "https://host", as authority_len() found it. */
static int
set_authority(h2o_req_t *h2o, size_t len)
{
	const char *s = h2o->input.path.base;
	size_t scheme = len >= 8 && h2o_lcstris(s, 8, H2O_STRLIT("https://")) ? 8 : 7;

	if (len <= scheme || (scheme == 7 && !h2o_lcstris(s, 7, H2O_STRLIT("http://"))) ||
	    !server_host_ok(s + scheme, len - scheme))
		return ERR_BAD_REQUEST;
	h2o->input.authority = h2o_iovec_init(s + scheme, len - scheme);
	return 0;
}

static int
target_ok(const char *path, size_t len)
{
	return len > 0 && (*path == '/' || (len == 1 && *path == '*'));
}

static int
req_fill(struct http_req *req, h2o_req_t *h2o)
{
	size_t skip = authority_len(h2o->input.path.base, h2o->input.path.len), len = h2o->input.path.len - skip;
	size_t path_len = h2o->input.query_at == SIZE_MAX ? len : h2o->input.query_at - skip;
	char *path = arena_dup(req->arena, h2o->input.path.base + skip, len);

	if (path == NULL || path_len > len || h2o->input.method.len >= METHOD_MAX || !target_ok(path, len) ||
	    !server_token_ok(h2o->input.method.base, h2o->input.method.len))
		return ERR_BAD_REQUEST;
	if (h2o->version >= 0x200) {
		int err = server_h2_head_ok(h2o);

		if (err != 0)
			return err;
	}
	/* The target's authority counts: RFC 9112, 3.2.2. */
	if (skip > 0 && set_authority(h2o, skip) != 0)
		return ERR_BAD_REQUEST;
	memcpy(req->method, h2o->input.method.base, h2o->input.method.len);
	req->path = (struct jstr){path, path_len};
	req->query = (struct jstr){"", 0};
	if (path_len < len)
		req->query = (struct jstr){path + path_len + 1, len - path_len - 1};
	req->is_head = h2o_memis(h2o->input.method.base, h2o->input.method.len, H2O_STRLIT("HEAD"));
	req->entity = h2o->entity;
	req->version = h2o->version;
	req->tls = h2o->input.scheme == &H2O_URL_SCHEME_HTTPS;
	return 0;
}

void
http_drop_content(struct http_req *req)
{
	static const char *const names[] = {"content-encoding", "content-md5", "content-range", "content-disposition",
	    "accept-ranges", "etag", "last-modified", "location"};
	ssize_t at;

	for (size_t i = 0; req->h2o != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
		h2o_headers_t *headers = &req->h2o->res.headers;

		while ((at = h2o_find_header_by_str(headers, names[i], strlen(names[i]), -1)) != -1)
			h2o_delete_header(headers, at);
	}
}

void
server_refuse(struct http_req *req, int err)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "{\"error\":\"%s\",\"reason\":\"%s\"}\n", err_name(err), err_reason(err));

	http_drop_content(req);
	http_set_header(req, "content-type", "application/json", 16);
	if (err == ERR_TOO_MANY_REQUESTS || err == ERR_BUSY)
		http_set_static(req, "retry-after", "1");
	http_reply(req, err_status(err), text, (size_t)n);
}

static void
refuse(struct http_req *req, int err)
{
	req->h2o->http1_is_persistent = 0;
	server_refuse(req, err);
}

int
server_on_req(h2o_handler_t *handler, h2o_req_t *h2o)
{
	struct http_server *s = ((struct handler *)handler)->server;
	struct http_thread *t = H2O_STRUCT_FROM_MEMBER(struct http_thread, ctx, h2o->conn->ctx);
	struct http_req *req = server_req_new(t);
	int err;

	if (req == NULL) {
		h2o->http1_is_persistent = 0; /* a body may follow */
		h2o_send_error_503(h2o, "Service Unavailable", "out of memory", 0);
		return 0;
	}
	req->h2o = h2o;
	req->conn = server_conn_of(h2o);
	req->conn->is_h2 = h2o->version >= 0x200;
	req->version = h2o->version;
	req->refs = 2; /* the engine's, and ours until the handler has returned */
	server_req_begun(req);
	server_room_begin(req);
	server_body_begin(req);
	if (req->conn->is_h2)
		server_h2_head(req);
	err = req_fill(req, h2o);
	if (err == 0 && h2o->version < 0x200 && !framing_ok(req))
		err = ERR_BAD_REQUEST;
	if (err == 0)
		err = server_admit_job(req);
	if (err == 0 && server_room_refuses(req))
		err = ERR_BUSY;
	if (err != 0)
		refuse(req, err);
	else if (http_body_len(req) > s->max_body && http_body_len(req) != UINT64_MAX)
		refuse(req, ERR_TOO_LARGE);
	else
		s->config.handle(req, s->config.cookie);
	if (req->h2o != NULL && (!req->answered || req->held)) {
		if (!req->started)
			server_hook_pool(req);
		if (!req->conn->is_h2)
			server_watch(req->conn, req);
	}
	server_flush(t);
	http_release(req);
	return 0;
}

/*
 * h2o answers some requests by itself (400, 413, 417), all through the fallback path.  A filter there
 * puts CouchDB's form in place of its text.
 */
static void
error_send(h2o_ostream_t *self, h2o_req_t *h2o, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state)
{
	h2o_iovec_t json = {NULL, h2o->res.content_length};

	(void)bufs;
	if (n > 0 && json.len > 0) {
		json.base = h2o_mem_alloc_pool(&h2o->pool, json.len + 1);
		snprintf(json.base, json.len + 1, "{\"error\":\"%s\",\"reason\":\"%s\"}\n",
		    err_name(h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST),
		    err_reason(h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST));
		h2o_ostream_send_next(self, h2o, &json, 1, state);
	} else {
		h2o_ostream_send_next(self, h2o, NULL, 0, state);
	}
}

void
server_error_setup(h2o_filter_t *self, h2o_req_t *h2o, h2o_ostream_t **slot)
{
	int code = h2o->res.status == 413 ? ERR_TOO_LARGE : ERR_BAD_REQUEST;
	h2o_ostream_t *out = h2o_add_ostream(h2o, sizeof(*out), slot);

	(void)self;
	server_put_name(H2O_STRUCT_FROM_MEMBER(struct http_thread, ctx, h2o->conn->ctx)->server, h2o);
	h2o->res.reason = server_reason(h2o->res.status);
	h2o->res.content_length =
	    strlen(err_name(code)) + strlen(err_reason(code)) + sizeof("{\"error\":\"\",\"reason\":\"\"}\n") - 1;
	h2o_set_header(&h2o->pool, &h2o->res.headers, H2O_TOKEN_CONTENT_TYPE, H2O_STRLIT("application/json"), 1);
	out->do_send = error_send;
	h2o_setup_next_ostream(h2o, &out->next);
}
