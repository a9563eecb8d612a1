/*
 * server_h2o_stream.c: answers, whole and streamed.
 *
 * Output of a stream is collected in req->out and goes to h2o when the callback into the handler
 * returns (server_flush()), so that a head and its first rows, or the last rows and the end, share
 * one write; and handlers are never called from within their own calls.
 *
 *	http_start -> [in flight] -> proceed -> ready() -> http_send -> [in flight] ... -> http_finish -> final
 */
#include <h2o.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server_h2o_impl.h"

#define SMALL_BODY 4096u /* copied into h2o's pool rather than handed over */
#define KEEP_OUT 512u    /* an idle stream keeps no larger buffer than this */

/* ---- Answers ---- */

static void
put_header(struct http_req *req, const char *name, const char *value, size_t len, int replace)
{
	h2o_req_t *h2o = req->h2o;
	const h2o_token_t *token;
	size_t nlen = strlen(name);
	char *copy;

	/* Whoever made the value should have seen to it: what would begin another header is not sent. */
	if (h2o == NULL || memchr(value, '\r', len) || memchr(value, '\n', len) || memchr(value, '\0', len))
		return;
	token = h2o_lookup_token(name, nlen);
	copy = h2o_mem_alloc_pool(&h2o->pool, len + 1);
	memcpy(copy, value, len);
	copy[len] = '\0';
	if (token == NULL && replace)
		h2o_set_header_by_str(&h2o->pool, &h2o->res.headers, name, nlen, 0, copy, len, 1);
	else if (token == NULL)
		h2o_add_header_by_str(&h2o->pool, &h2o->res.headers, name, nlen, 0, NULL, copy, len);
	else if (replace)
		h2o_set_header(&h2o->pool, &h2o->res.headers, token, copy, len, 1);
	else
		h2o_add_header(&h2o->pool, &h2o->res.headers, token, NULL, copy, len);
}

void
http_set_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	put_header(req, name, value, len, 1);
}

void
http_add_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	put_header(req, name, value, len, 0);
}

static void
reply_iov(struct http_req *req, int status, h2o_iovec_t body)
{
	static h2o_generator_t whole = {NULL, NULL};
	h2o_req_t *h2o = req->h2o;
	int is_head = req->is_head;

	h2o->res.status = status;
	h2o->res.reason = server_reason(status);
	h2o->res.content_length = body.len;
	req->answered = 1;
	req->conn->served++;
	server_detach(req);
	h2o_start_response(h2o, &whole);
	h2o_send(h2o, &body, is_head || body.len == 0 ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void
http_reply(struct http_req *req, int status, const void *body, size_t len)
{
	h2o_iovec_t iov = {NULL, len};

	assert(!req->started && !req->answered);
	if (req->h2o == NULL)
		return;
	if (!req->is_head && len > 0) {
		iov.base = h2o_mem_alloc_pool(&req->h2o->pool, len);
		memcpy(iov.base, body, len);
	}
	reply_iov(req, status, iov);
}

void
http_reply_take(struct http_req *req, int status, char *body, size_t len)
{
	if (req->h2o == NULL || req->is_head || len <= SMALL_BODY) {
		http_reply(req, status, body, len);
		free(body);
		return;
	}
	assert(!req->started && !req->answered);
	server_give_to_pool(req->h2o, body);
	reply_iov(req, status, h2o_iovec_init(body, len));
}

/* ---- Streams ---- */

static void
schedule_flush(struct http_req *req)
{
	struct http_thread *t = req->thread;

	if (req->on_flush)
		return;
	req->on_flush = 1;
	req->refs++;
	req->next = NULL;
	*t->flush_tail = req;
	t->flush_tail = &req->next;
}

/*
 * A head without a body yet.  h2o keeps it back over HTTP/1 until there is a byte of body, and its
 * chunked encoder passes on no empty buffer; so the empty buffer goes to the last output stream
 * directly.
 */
static void
send_head(h2o_req_t *h2o)
{
	static char nothing[1];
	h2o_iovec_t iov = {nothing, 0};
	h2o_ostream_t *last = h2o->_ostr_top;

	while (last->next != NULL)
		last = last->next;
	last->do_send(last, h2o, &iov, 1, H2O_SEND_STATE_IN_PROGRESS);
}

/* Gives what is collected to h2o; called when nothing is in flight. */
static void
push(struct http_req *req)
{
	h2o_req_t *h2o = req->h2o;
	h2o_iovec_t iov = {req->out, req->out_len};
	size_t n = req->out_len > 0 ? 1 : 0;
	int head_alone = !req->headed && n == 0;

	req->headed = 1;
	if (req->finishing || req->aborting) {
		h2o_send_state_t state = req->aborting ? H2O_SEND_STATE_ERROR : H2O_SEND_STATE_FINAL;

		if (req->out != NULL)
			server_give_to_pool(h2o, req->out);
		req->out = NULL;
		req->conn->served++;
		server_detach(req);
		h2o_send(h2o, &iov, n, state);
		return;
	}
	req->in_flight = 1;
	req->nsent++;
	if (head_alone)
		send_head(h2o);
	else
		h2o_send(h2o, &iov, n, H2O_SEND_STATE_IN_PROGRESS);
}

static void
flush_one(struct http_req *req)
{
	if (req->h2o != NULL && !req->in_flight &&
	    (!req->headed || req->out_len > 0 || req->finishing || req->aborting)) {
		push(req);
	} else if (req->gone && req->started && req->stop != NULL) {
		void (*stop)(void *) = req->stop;

		/* It was started after its client had gone. */
		req->stop = NULL;
		stop(req->cookie);
	} else if (req->is_head && req->want_ready && !req->finishing) {
		/*
		 * Nothing goes out after the head of a HEAD, but the handler counts on being asked
		 * for more.
		 */
		req->want_ready = 0;
		req->ready(req->cookie);
	}
}

void
server_flush(struct http_thread *t)
{
	struct http_req *req;

	while ((req = t->flush) != NULL) {
		t->flush = req->next;
		if (t->flush == NULL)
			t->flush_tail = &t->flush;
		req->on_flush = 0;
		flush_one(req);
		http_release(req);
	}
}

static void
on_proceed(h2o_generator_t *gen, h2o_req_t *h2o)
{
	struct http_req *req = H2O_STRUCT_FROM_MEMBER(struct http_req, gen, gen);
	struct http_thread *t = req->thread;

	(void)h2o;
	req->in_flight = 0;
	req->out_len = 0;
	if (req->out_cap > KEEP_OUT) {
		free(req->out);
		req->out = NULL;
		req->out_cap = 0;
	}
	if (req->finishing || req->aborting) {
		push(req);
		return;
	}
	if (req->want_ready) {
		req->want_ready = 0;
		req->ready(req->cookie);
	}
	server_flush(t);
}

static void
on_stop(h2o_generator_t *gen, h2o_req_t *h2o)
{
	struct http_req *req = H2O_STRUCT_FROM_MEMBER(struct http_req, gen, gen);
	struct http_thread *t = req->thread;

	(void)h2o;
	server_vanish(req);
	server_flush(t);
}

void
http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie), void (*stop)(void *cookie),
    void *cookie)
{
	h2o_req_t *h2o = req->h2o;

	assert(!req->started && !req->answered);
	req->started = 1;
	req->ready = ready;
	req->stop = stop;
	req->cookie = cookie;
	if (h2o == NULL) {
		schedule_flush(req);
		return;
	}
	h2o->res.status = status;
	h2o->res.reason = server_reason(status);
	h2o->res.content_length = length <= SIZE_MAX ? (size_t)length : SIZE_MAX;
	if (req->is_head) {
		static h2o_generator_t whole = {NULL, NULL};

		req->refs++; /* the handler still counts on the request until http_finish() */
		server_detach(req);
		h2o_start_response(h2o, &whole);
		h2o_send(h2o, NULL, 0, H2O_SEND_STATE_FINAL);
		return;
	}
	req->gen = (h2o_generator_t){on_proceed, on_stop};
	h2o_start_response(h2o, &req->gen);
	schedule_flush(req);
}

int
http_can_send(const struct http_req *req)
{
	return req->started && !req->in_flight && req->out_len == 0 && !req->want_ready && !req->finishing &&
	       !req->aborting;
}

void
http_send(struct http_req *req, const void *data, size_t len)
{
	assert(req->started && !req->finishing && !req->aborting && !req->want_ready);
	if (req->gone)
		return;
	req->want_ready = 1;
	if (req->h2o != NULL && len > 0) {
		if (req->out_cap < len) {
			char *out = realloc(req->out, len);

			if (out == NULL) {
				http_abort(req);
				return;
			}
			req->out = out;
			req->out_cap = len;
		}
		memcpy(req->out, data, len);
		req->out_len = len;
	}
	schedule_flush(req);
}

void
http_finish(struct http_req *req)
{
	assert(req->started && !req->finishing);
	if (req->gone || req->aborting)
		return;
	req->finishing = 1;
	if (req->h2o != NULL)
		schedule_flush(req);
	else if (req->is_head)
		http_release(req);
}

void
http_abort(struct http_req *req)
{
	if (!req->started) {
		http_reply(req, 500, NULL, 0);
		return;
	}
	if (req->gone || req->finishing || req->aborting)
		return;
	req->aborting = 1;
	if (req->h2o != NULL)
		schedule_flush(req);
	else if (req->is_head)
		http_release(req);
}
