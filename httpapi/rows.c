/*
 * rows.c: answers of many rows.
 *
 * A listing of a million rows must neither be held in memory nor keep a snapshot open while a slow
 * client reads, nor keep its event loop from others.  So the producer makes one batch per turn and
 * remembers the last key itself:
 *
 *	rows_send -> fill -> ERR_END: one answer
 *	                  -> 0: http_start, send --ready--> step -> fill, send ... -> ERR_END: http_finish
 *	                                                      \ nothing to send: yield --message--> step
 *	any fill -> ERR_AGAIN: leave -> (another thread: fill) --message--> as above; so are all behind it
 *
 * Invariants:
 * 1. release() runs once, before the last http_* call or in on_stop(); nothing of the request is
 *    touched behind it.
 * 2. While a message is under way the request is held, because its memory is the request's.
 * 3. Who vanishes while a batch is made on another thread is let go when that is done.
 * 4. One job of a request is under way at most.  While it works ahead a batch is lent, which it does not touch.
 */
#include "rows.h"

#include <time.h>

#include "base/log.h"

#define SCRATCH_MAX ((size_t)256 << 20) /* memory for one row: its record, tree and body */
#define CLOCK_EVERY 32u                 /* rows between two looks at the clock */

struct rows {
	struct apireq *r;
	rows_f *fill;
	void (*drop)(void *cookie);
	void *cookie;
	struct arena *scratch;
	struct buf b;
	struct http_msg msg; /* to yield to the loop where nothing is sent */
	int stopped;
	int chunked; /* never with a length */
	/* Where batches are made elsewhere: */
	struct executor *ex;
	struct exec_job job;
	struct http_msg filled;
	void (*fail)(void *cookie, int err);
	int status;
	uint64_t length; /* UINT64_MAX: not known */
	int (*ahead)(void *cookie);
	int err;      /* what came of the batch */
	int working;  /* it is being made, */
	int is_ahead; /* or there is work ahead of it */
	int wanted;   /* meanwhile the client has come to want it */
	int begun;
};

uint64_t
rows_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void
rows_turn_begin(struct rows_turn *t, const struct buf *b)
{
	t->start_us = rows_now_us();
	t->rows = 0;
	t->base = b->len;
}

int
rows_turn_over(struct rows_turn *t, const struct buf *b)
{
	t->rows++;
	if (t->rows >= ROWS_TURN_ROWS || b->len - t->base >= ROWS_BATCH_BYTES)
		return 1;
	return t->rows % CLOCK_EVERY == 0 && rows_turn_late(t);
}

int
rows_turn_late(const struct rows_turn *t)
{
	return rows_now_us() - t->start_us >= ROWS_TURN_US;
}

int
rows_is_head(const struct apireq *r)
{
	return strcmp(http_method(r->http), "HEAD") == 0;
}

int
rows_object(struct jread *j, const struct jstr *text, struct errtext *why)
{
	struct jread check;
	int err;

	jread_init(&check, text->s, text->len);
	err = jread_skip(&check, NULL);
	if (err == 0)
		err = jread_end(&check);
	if (err != 0)
		return err;
	jread_init(j, text->s, text->len);
	if (jread_peek(j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	return jread_object_begin(j);
}

int
rows_queries(struct jread *j, const struct jstr *body, struct errtext *why)
{
	struct buf scratch;
	struct jstr name;
	int found = 0, err = rows_object(j, body, why);

	buf_init(&scratch, LIMIT_URL_LEN);
	while (err == 0 && !found && (err = jread_object_next(j, &scratch, &name)) == 0) {
		found = jstr_is(&name, "queries");
		if (!found)
			err = jread_skip(j, NULL);
	}
	buf_release(&scratch);
	if (err == ERR_END)
		return err_why(why, ERR_BAD_REQUEST, "POST body must include `queries` parameter.");
	if (err == 0 && jread_peek(j) != JREAD_ARRAY)
		return err_why(why, ERR_BAD_REQUEST, "`queries` member must be an array.");
	return err != 0 ? err : jread_array_begin(j);
}

int
rows_string(struct arena *a, const struct jstr *text, struct jstr *outp)
{
	struct buf scratch;
	struct jread j;
	char *copy;
	int err;

	buf_init(&scratch, text->len + 16);
	jread_init(&j, text->s, text->len);
	err = jread_string(&j, &scratch, outp);
	if (err == 0)
		err = jread_end(&j);
	if (err == 0 && (outp->s < text->s || outp->s >= text->s + text->len)) {
		copy = arena_dup(a, outp->s, outp->len);
		outp->s = copy;
		if (copy == NULL)
			err = ERR_NOMEM;
	}
	buf_release(&scratch);
	return err;
}

static void
on_nothing(void *cookie)
{
	(void)cookie;
}

static void
send_whole(struct http_req *http, int status, const struct buf *b)
{
	http_expect(http, b->len);
	http_start(http, status, UINT64_MAX, on_nothing, on_nothing, NULL);
	if (b->len > 0)
		http_send(http, b->data, b->len);
}

void
rows_reply(struct apireq *r, int status, const struct buf *b)
{
	struct http_req *http = r->http;

	send_whole(http, status, b);
	api_done(r);
	http_finish(http);
}

static void
release(struct rows *s)
{
	if (s->drop != NULL)
		s->drop(s->cookie);
	arena_free(s->scratch);
	buf_release(&s->b);
	api_done(s->r);
}

static void
yield(struct rows *s)
{
	http_hold(s->r->http);
	http_post(http_req_thread(s->r->http), &s->msg);
}

static int
make(struct rows *s)
{
	int err = s->fill(s->cookie, &s->b, s->scratch);

	/* The batch may wait for long. */
	arena_reset(s->scratch);
	if (err == 0 || err == ERR_END)
		err = buf_failed(&s->b) ? buf_failed(&s->b) : err;
	return err;
}

static void
make_elsewhere(struct rows *s)
{
	s->working = 1;
	http_hold(s->r->http);
	s->ex->submit(s->ex, &s->job);
}

static void
run_job(void *arg)
{
	struct rows *s = arg;

	s->err = s->is_ahead ? s->ahead(s->cookie) : make(s);
	http_post(http_req_thread(s->r->http), &s->filled);
}

static void
go_ahead(struct rows *s)
{
	/* To lend a batch may have cut the stream off. */
	if (s->ahead == NULL || s->stopped)
		return;
	s->is_ahead = 1;
	make_elsewhere(s);
}

/* leave: From now on batches are made elsewhere; what this one has stays in it. */
static void
leave(struct rows *s)
{
	s->ex = s->r->api->ex;
	make_elsewhere(s);
}

static void pass_on(struct rows *s, int err);

static void
step(struct rows *s)
{
	if (s->working) {
		s->wanted = 1;
		return;
	}
	/* The head may still be on its way alone, and nobody tells when it is out. */
	if (!http_can_send(s->r->http)) {
		yield(s);
		return;
	}
	buf_clear(&s->b);
	if (s->ex != NULL)
		make_elsewhere(s);
	else
		pass_on(s, make(s));
}

/* pass_on: A batch of a stream. */
static void
pass_on(struct rows *s, int err)
{
	struct http_req *http = s->r->http;

	if (err == ERR_AGAIN) {
		leave(s);
		return;
	}
	if (err == 0 && s->b.len == 0) {
		yield(s);
		return;
	}
	if (err == 0) {
		http_lend(http, s->b.data, s->b.len);
		go_ahead(s);
		return;
	}
	if (err != ERR_END) {
		log_line(LOG_ERROR, "a listing was cut off: %s", err_reason(err));
		release(s);
		http_abort(http);
		return;
	}
	if (s->b.len > 0)
		http_send(http, s->b.data, s->b.len);
	release(s);
	http_finish(http);
}

static void
on_ready(void *cookie)
{
	step(cookie);
}

static void
on_stop(void *cookie)
{
	struct rows *s = cookie;

	s->stopped = 1;
	if (!s->working)
		release(s);
}

static void
on_yielded(void *arg)
{
	struct rows *s = arg;
	struct http_req *http = s->r->http;

	if (!s->stopped)
		step(s);
	http_release(http);
}

/* The head alone; the producer is not asked. */
static void
send_head(struct apireq *r, int status, uint64_t length)
{
	api_done(r);
	http_start(r->http, status, length, on_nothing, on_nothing, NULL);
	http_finish(r->http);
}

static void on_filled(void *arg);

static struct rows *
rows_new(struct apireq *r, int status, rows_f *fill, void (*drop)(void *cookie), void *cookie)
{
	struct rows *s = arena_calloc(r->arena, 1, sizeof(*s));

	if (s == NULL || arena_new(SCRATCH_MAX, &s->scratch) != 0)
		return NULL;
	s->r = r;
	s->status = status;
	s->length = UINT64_MAX;
	s->fill = fill;
	s->drop = drop;
	s->cookie = cookie;
	s->msg = (struct http_msg){.fn = on_yielded, .arg = s};
	s->job = (struct exec_job){.fn = run_job, .arg = s};
	s->filled = (struct http_msg){.fn = on_filled, .arg = s};
	buf_init(&s->b, ROWS_BATCH_MAX);
	return s;
}

/* The first batch: the whole answer, the beginning of a stream, or an error. */
static void
begin(struct rows *s, int err)
{
	struct apireq *r = s->r;
	char *data;
	size_t len;

	if (err == ERR_AGAIN) {
		leave(s);
		return;
	}
	s->begun = 1;
	if ((err == 0 || err == ERR_END) && !http_may_stream(r->http, s->b.len))
		err = ERR_BUSY;
	if (err == ERR_END && s->chunked) {
		send_whole(r->http, s->status, &s->b);
		release(s);
		http_finish(r->http);
	} else if (err == ERR_END) {
		data = buf_take(&s->b, &len);
		release(s);
		http_reply_take(r->http, s->status, data, len);
	} else if (err == 0) {
		http_start(r->http, s->status, s->length, on_ready, on_stop, s);
		if (s->b.len > 0) {
			http_lend(r->http, s->b.data, s->b.len);
			go_ahead(s);
		} else {
			yield(s);
		}
	} else {
		release(s);
		if (s->fail != NULL)
			s->fail(s->cookie, err);
		else
			api_error(r, err, NULL);
	}
}

static void
been_ahead(struct rows *s)
{
	int wanted = s->wanted;

	s->is_ahead = s->wanted = 0;
	if (wanted)
		step(s);
	else if (s->err == 0)
		go_ahead(s);
}

static void
on_filled(void *arg)
{
	struct rows *s = arg;
	struct http_req *http = s->r->http;

	s->working = 0;
	if (s->stopped)
		release(s);
	else if (s->is_ahead)
		been_ahead(s);
	else if (s->begun)
		pass_on(s, s->err);
	else
		begin(s, s->err);
	http_release(http);
}

static void
send_rows(
    struct apireq *r, int status, uint64_t length, int chunked, rows_f *fill, void (*drop)(void *cookie), void *cookie)
{
	struct rows *s = rows_is_head(r) ? NULL : rows_new(r, status, fill, drop, cookie);

	if (s == NULL) {
		if (drop != NULL)
			drop(cookie);
		if (rows_is_head(r))
			send_head(r, status, length);
		else
			api_error(r, ERR_NOMEM, NULL);
		return;
	}
	s->chunked = chunked;
	s->length = length;
	begin(s, make(s));
}

void
rows_stream(struct apireq *r, int status, uint64_t length, rows_f *fill, void (*drop)(void *cookie), void *cookie)
{
	send_rows(r, status, length, 0, fill, drop, cookie);
}

void
rows_send(struct apireq *r, rows_f *fill, void (*drop)(void *cookie), void *cookie)
{
	send_rows(r, 200, UINT64_MAX, 0, fill, drop, cookie);
}

void
rows_send_chunked(struct apireq *r, rows_f *fill, void *cookie)
{
	send_rows(r, 200, UINT64_MAX, 1, fill, NULL, cookie);
}

static struct rows *
rows_on(struct apireq *r, int status, struct executor *ex, rows_f *fill, void (*drop)(void *cookie), void *cookie)
{
	struct rows *s = rows_is_head(r) ? NULL : rows_new(r, status, fill, drop, cookie);

	if (s == NULL) {
		if (drop != NULL)
			drop(cookie);
		if (rows_is_head(r))
			send_head(r, status, UINT64_MAX);
		else
			api_error(r, ERR_NOMEM, NULL);
		return NULL;
	}
	s->ex = ex;
	s->job.lane = ex == r->api->ex ? 0 : exec_lane(r->part[0].s);
	return s;
}

void
rows_stream_ahead(struct apireq *r, int status, struct executor *ex, rows_f *fill, int (*ahead)(void *cookie),
    void (*drop)(void *cookie), void *cookie)
{
	struct rows *s = rows_on(r, status, ex, fill, drop, cookie);

	if (s == NULL)
		return;
	s->ahead = ahead;
	make_elsewhere(s);
}

void
rows_send_on(struct apireq *r, struct executor *ex, rows_f *fill, void (*drop)(void *cookie),
    void (*fail)(void *cookie, int err), void *cookie)
{
	struct rows *s = rows_on(r, 200, ex, fill, drop, cookie);

	if (s == NULL)
		return;
	s->fail = fail;
	make_elsewhere(s);
}
