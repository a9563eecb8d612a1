/*
 * h2o_stream.c: answers, whole and streamed.
 *
 * Output of a stream is collected in req->out and goes to h2o when the callback into the handler
 * returns (server_flush()), so that a head and its first rows, or the last rows and the end, share
 * one write; and handlers are never called from within their own calls.
 *
 *	http_start -> [in flight] -> proceed -> ready() -> http_send -> [in flight] ... -> http_finish -> final
 *
 * What is encoded waits in req->raw and goes into req->out piece by piece, whenever the one before has gone to the
 * socket: ready() comes behind the last.  A whole answer of more than a piece is such a stream without a handler.
 *
 * Where a piece finds no memory or no room the engine aborts the stream: over HTTP/2 it alone is reset.  req->stop is set
 * until the handler ends the stream, which is then told.
 */
#include <h2o.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "h2o_impl.h"

#define SMALL_BODY 4096u  /* copied into h2o's pool rather than handed over */
#define HEADERS_FIRST 10u /* of an answer: most have no more */
#define KEEP_OUT 512u     /* an idle stream keeps no larger buffer than this */

/* ---- Answers ---- */

static h2o_header_t *
find_header(h2o_headers_t *headers, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < headers->size; i++)
		if (h2o_memis(headers->entries[i].name->base, headers->entries[i].name->len, name, len))
			return &headers->entries[i];
	return NULL;
}

/* ${name} and ${value} are the pool's, or static. */
static void
append_header(h2o_req_t *h2o, h2o_iovec_t *name, const char *orig_name, const char *value, size_t len)
{
	h2o_headers_t *headers = &h2o->res.headers;

	/* h2o makes room for four, and then anew. */
	if (headers->size == headers->capacity)
		h2o_vector_reserve(&h2o->pool, headers, headers->size + HEADERS_FIRST);
	headers->entries[headers->size++] = (h2o_header_t){name, orig_name, h2o_iovec_init(value, len)};
}

/* A name as h2o keeps it; those of CouchDB's own that every answer has need no memory. */
static h2o_iovec_t *
name_of(h2o_req_t *h2o, const char *name, size_t len)
{
	static char request_id[] = "x-couch-request-id", body_time[] = "x-couchdb-body-time";
	static h2o_iovec_t ours[] = {{request_id, sizeof(request_id) - 1}, {body_time, sizeof(body_time) - 1}};
	const h2o_token_t *token = h2o_lookup_token(name, len);
	h2o_iovec_t *iov;
	size_t i;

	if (token != NULL)
		return &h2o__tokens[token - h2o__tokens].buf;
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (h2o_memis(name, len, ours[i].base, ours[i].len))
			return &ours[i];
	iov = h2o_mem_alloc_pool(&h2o->pool, sizeof(*iov));
	*iov = h2o_iovec_init(name, len);
	return iov;
}

static void
put_header(struct http_req *req, const char *name, const char *value, size_t len, int replace)
{
	size_t nlen = strlen(name);
	h2o_header_t *h = replace ? find_header(&req->h2o->res.headers, name, nlen) : NULL;

	if (h != NULL)
		h->value = h2o_iovec_init(value, len);
	else
		append_header(req->h2o, name_of(req->h2o, name, nlen), NULL, value, len);
}

static void
copy_header(struct http_req *req, const char *name, const char *value, size_t len, int replace)
{
	char *copy;

	/* Whoever made the value should have seen to it: what would begin another header is not sent. */
	if (req->h2o == NULL || memchr(value, '\r', len) || memchr(value, '\n', len) || memchr(value, '\0', len))
		return;
	copy = h2o_mem_alloc_pool(&req->h2o->pool, len + 1);
	memcpy(copy, value, len);
	copy[len] = '\0';
	put_header(req, name, copy, len, replace);
}

void
http_set_static(struct http_req *req, const char *name, const char *value)
{
	if (req->h2o != NULL)
		put_header(req, name, value, strlen(value), 1);
}

void
http_set_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	copy_header(req, name, value, len, 1);
}

void
http_add_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	copy_header(req, name, value, len, 0);
}

static void
send_whole(struct http_req *req)
{
	static h2o_generator_t whole = {NULL, NULL};
	h2o_iovec_t body = req->last;

	h2o_start_response(req->h2o, &whole);
	req->complete = 1;
	server_send_last(req, &body, req->is_head || body.len == 0 ? 0 : 1, H2O_SEND_STATE_FINAL);
}

void
server_put_name(const struct http_server *s, h2o_req_t *h2o)
{
	if (s->config.server_name != NULL)
		append_header(h2o, &H2O_TOKEN_SERVER->buf, "Server", s->config.server_name, s->name_len);
}

/* What the head of an answer begins with, and whether the connection goes on behind it. */
static void
set_status(struct http_req *req, int status, uint64_t length)
{
	h2o_req_t *h2o = req->h2o;

	req->status = status;
	h2o->res.status = status;
	h2o->res.reason = server_reason(status);
	h2o->res.content_length = length <= SIZE_MAX ? (size_t)length : SIZE_MAX;
	server_put_name(req->thread->server, h2o);
	server_body_answer(req);
}

static void
reply_iov(struct http_req *req, int status, h2o_iovec_t body, uint64_t length)
{
	set_status(req, status, length);
	req->answered = 1;
	req->bytes = req->is_head ? 0 : body.len;
	req->last = body;
	req->held = req->in_flight;
	if (!req->held)
		send_whole(req);
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
	h2o_iovec_t iov;
	size_t n;
	int head_alone;

	if (req->enc != NULL && !req->aborting && server_encode_next(req) != 0)
		req->aborting = 1;
	iov = h2o_iovec_init(req->lent != NULL ? req->lent : req->out, req->out_len);
	n = req->out_len > 0 ? 1 : 0;
	req->bytes += req->out_len;
	head_alone = !req->headed && n == 0;
	req->headed = 1;
	if ((req->finishing && req->raw_len == 0) || req->aborting) {
		h2o_send_state_t state = req->aborting ? H2O_SEND_STATE_ERROR : H2O_SEND_STATE_FINAL;

		server_room_count_piece(req, 0);
		if (req->out != NULL)
			server_give_to_pool(req, req->out, req->out_cap);
		req->out = NULL;
		req->complete = !req->aborting;
		/* Cut off: the handler, which did not end it, is told by the next flush. */
		if (req->stop != NULL) {
			req->gone = 1;
			schedule_flush(req);
		}
		server_send_last(req, &iov, n, state);
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
	    (!req->headed || req->out_len > 0 || req->raw_len > 0 || req->finishing || req->aborting)) {
		push(req);
	} else if (req->gone && req->started && req->stop != NULL) {
		void (*stop)(void *) = req->stop;

		/* It was started after its client had gone, or cut off. */
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

void
server_send_held(struct http_req *req)
{
	if (req->held) {
		req->held = 0;
		send_whole(req);
	} else if (req->started) {
		schedule_flush(req);
	}
}

static void
go_on(struct http_req *req)
{
	if (req->h2o == NULL || req->in_flight)
		return;
	if (req->finishing || req->aborting || req->raw_len > 0) {
		push(req);
	} else if (req->want_ready && req->out_len == 0) {
		req->want_ready = 0;
		req->ready(req->cookie);
	}
}

static void
on_go_on(void *arg)
{
	struct http_req *req = arg;

	req->turned = 0;
	go_on(req);
	http_release(req);
}

/*
 * A write that the socket takes at once is told of within the same turn of the loop: a client that reads as fast as it is
 * written to would keep the loop for all of its answer.
 */
static void
on_proceed(h2o_generator_t *gen, h2o_req_t *h2o)
{
	struct http_req *req = H2O_STRUCT_FROM_MEMBER(struct http_req, gen, gen);
	struct http_thread *t = req->thread;

	(void)h2o;
	req->in_flight = 0;
	req->out_len = 0;
	req->lent = NULL;
	if (req->raw_len == 0)
		server_room_count_piece(req, 0);
	if (req->out_cap > KEEP_OUT) {
		free(req->out);
		req->out = NULL;
		req->out_cap = 0;
	}
	if (req->turned)
		return;
	if (server_turn_is_long(t)) {
		req->turned = 1;
		req->go_on_msg = (struct http_msg){.fn = on_go_on, .arg = req};
		http_hold(req);
		http_post(t, &req->go_on_msg);
		return;
	}
	go_on(req);
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

/* The head; what follows goes out when the callback into the handler returns. */
static void
begin_stream(struct http_req *req, int status, uint64_t length)
{
	set_status(req, status, length);
	req->gen = (h2o_generator_t){on_proceed, on_stop};
	/* Over HTTP/1 h2o sends chunks with a 200 alone; else the end of the connection is that of the answer, whole or cut off. */
	req->h2o->res.status = 200;
	h2o_start_response(req->h2o, &req->gen);
	req->h2o->res.status = status;
	schedule_flush(req);
}

/* The head of a HEAD, and nothing behind it. */
static void
begin_head(struct http_req *req, int status, uint64_t length)
{
	/* The handler counts on the request until http_finish(), or stop() where its client hung up before. */
	if (req->gone)
		schedule_flush(req);
	else
		req->refs++;
	reply_iov(req, status, h2o_iovec_init(NULL, 0), length);
}

void
http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie), void (*stop)(void *cookie),
    void *cookie)
{
	enum encode_coding coding;

	assert(!req->started && !req->answered);
	req->started = 1;
	req->ready = ready;
	req->stop = stop;
	req->cookie = cookie;
	server_room_settle(req);
	if (req->h2o == NULL) {
		schedule_flush(req);
		return;
	}
	if (req->may_encode) {
		coding = server_encode_choose(req, status, req->expected > 0 ? req->expected : length);
		if (coding != ENCODE_IDENTITY && req->is_head)
			server_encode_name(req, coding);
		else if (coding != ENCODE_IDENTITY && server_encode_begin(req, coding) != 0)
			coding = ENCODE_IDENTITY;
		if (coding != ENCODE_IDENTITY)
			length = UINT64_MAX;
	}
	if (req->is_head)
		begin_head(req, status, length);
	else
		begin_stream(req, status, length);
}

int
http_can_send(const struct http_req *req)
{
	return req->started && !req->in_flight && req->out_len == 0 && !req->want_ready && !req->finishing &&
	       !req->aborting;
}

/* Bytes that wait for the next push: as they go out, or to be encoded. */
static int
keep(struct http_req *req, const void *data, size_t len)
{
	char *copy;

	if (!server_room_grant_piece(req, len))
		return ERR_BUSY;
	if (req->enc != NULL) {
		copy = malloc(len);
		if (copy == NULL)
			return ERR_NOMEM;
		memcpy(copy, data, len);
		server_raw_take(req, copy, len);
		return 0;
	}
	if (req->out_cap < len) {
		copy = realloc(req->out, len);
		if (copy == NULL)
			return ERR_NOMEM;
		req->out = copy;
		req->out_cap = len;
	}
	memcpy(req->out, data, len);
	req->out_len = len;
	server_room_count_piece(req, len);
	return 0;
}

void
http_send(struct http_req *req, const void *data, size_t len)
{
	assert(req->started && !req->finishing && !req->aborting && !req->want_ready);
	if (req->gone)
		return;
	req->want_ready = 1;
	if (req->h2o != NULL && len > 0 && keep(req, data, len) != 0)
		req->aborting = 1;
	schedule_flush(req);
}

void
http_lend(struct http_req *req, const void *data, size_t len)
{
	assert(req->started && !req->finishing && !req->aborting && !req->want_ready && len > 0);
	if (req->enc != NULL || req->h2o == NULL) {
		http_send(req, data, len);
		return;
	}
	req->want_ready = 1;
	if (server_room_grant_piece(req, len)) {
		req->lent = data;
		req->out_len = len;
		server_room_count_piece(req, len);
	} else {
		req->aborting = 1;
	}
	schedule_flush(req);
}

void
http_finish(struct http_req *req)
{
	assert(req->started && !req->finishing && req->lent == NULL);
	req->stop = NULL;
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
	req->stop = NULL;
	if (req->gone || req->finishing || req->aborting)
		return;
	req->aborting = 1;
	if (req->h2o != NULL)
		schedule_flush(req);
	else if (req->is_head)
		http_release(req);
}

/* ---- Whole answers ---- */

/* More than a piece: a stream that ends by itself.  ${body} is then the request's. */
static int
reply_in_pieces(struct http_req *req, int status, enum encode_coding coding, char *body, size_t len)
{
	int err = server_encode_begin(req, coding);

	if (err != 0)
		return err;
	server_room_settle(req);
	server_raw_take(req, body, len);
	req->started = 1;
	req->finishing = 1;
	begin_stream(req, status, SIZE_MAX);
	return 0;
}

/*
 * 1 if the answer goes out encoded; without memory for that it goes as it is.  *${ownp} is ${body} where that is
 * malloc()ed, and NULL if it was taken.
 */
static int
reply_encoded(struct http_req *req, int status, const void *body, size_t len, char **ownp)
{
	enum encode_coding coding = server_encode_choose(req, status, len);
	h2o_iovec_t iov = h2o_iovec_init(body, len);
	char *copy = *ownp;

	if (coding == ENCODE_IDENTITY)
		return 0;
	if (req->is_head) {
		/* The length is not known before the work has been done, and may be left out. */
		server_encode_name(req, coding);
		reply_iov(req, status, h2o_iovec_init(NULL, 0), SIZE_MAX);
		return 1;
	}
	if (len <= ENCODE_PIECE) {
		if (server_encode_whole(req, coding, &iov) != 0)
			return 0;
		reply_iov(req, status, iov, iov.len);
		return 1;
	}
	if (copy == NULL) {
		copy = malloc(len);
		if (copy == NULL)
			return 0;
		memcpy(copy, body, len);
	}
	if (reply_in_pieces(req, status, coding, copy, len) != 0) {
		if (copy != *ownp)
			free(copy);
		return 0;
	}
	*ownp = NULL;
	return 1;
}

static void
reply_copy(struct http_req *req, int status, const void *body, size_t len)
{
	h2o_iovec_t iov = {NULL, len};

	if (!req->is_head && len > 0) {
		iov.base = h2o_mem_alloc_pool(&req->h2o->pool, len);
		memcpy(iov.base, body, len);
	}
	reply_iov(req, status, iov, len);
}

void
http_wrote(struct http_req *req)
{
	req->wrote = 1;
}

/* is_shed: 1 if there is no room for the answer.  What was done is told all the same: it is counted. */
static int
is_shed(const struct http_req *req, size_t len)
{
	return !req->is_head && !req->wrote && !server_room_grant(req, len);
}

void
http_reply(struct http_req *req, int status, const void *body, size_t len)
{
	char *own = NULL;

	assert(!req->started && !req->answered);
	if (req->h2o == NULL)
		return;
	if (is_shed(req, len))
		server_refuse(req, ERR_BUSY);
	else if (!req->may_encode || !reply_encoded(req, status, body, len, &own))
		reply_copy(req, status, body, len);
}

void
http_reply_take(struct http_req *req, int status, char *body, size_t len)
{
	assert(!req->started && !req->answered);
	if (req->h2o != NULL && is_shed(req, len)) {
		server_refuse(req, ERR_BUSY);
		free(body);
	} else if (req->h2o == NULL || (req->may_encode && reply_encoded(req, status, body, len, &body))) {
		free(body);
	} else if (req->is_head || len <= SMALL_BODY) {
		reply_copy(req, status, body, len);
		free(body);
	} else {
		server_give_to_pool(req, body, len);
		reply_iov(req, status, h2o_iovec_init(body, len), len);
	}
}
