/*
 * engine.h: the HTTP engine of the fuzz targets that serve requests: one thread, with the executor of executor.h.  For one file of a program: it
 * defines what http/http.h declares.
 *
 * A request is answered within run_all(), or waits; a client that was kept (keep()) takes what comes for it while others are served.
 */
#ifndef TESTS_FUZZ_ENGINE_H_
#define TESTS_FUZZ_ENGINE_H_

#include <string.h>
#include <strings.h>

#include "executor.h"
#include "fuzz.h"
#include "http/http.h"
#include "tests/lib/http_stubs.h"

#define MAX ((size_t)64 << 20)
#define HEADERS 16u
#define EVENTS 20000u /* of one request: more never end */
#define LATER 500u    /* jobs of later times that run before the end */
#define TIMERS 64u
#define SESSION_MAX 200u
#define FIRES 8u /* timers that fire while a request waits, before its client goes */
#define REV_MAX 160u

struct http_req {
	const char *method;
	struct jstr target;
	struct jstr names[HEADERS], values[HEADERS];
	size_t nheaders;
	struct jstr body;
	size_t read, there; /* of the body: taken, and come so far */
	size_t piece;       /* 0: all of it is there */
	int leaves;         /* in the middle */
	struct arena *arena;
	int refs, status, started, finished, gone, json, bytes;
	char session[SESSION_MAX]; /* of the cookie that the answer sets */
	struct buf out;
	void (*ready)(void *cookie);
	void (*stop)(void *cookie);
	void *cookie;
	int may_send;
};

struct http_timer {
	void (*fn)(void *arg);
	void *arg;
	int set;
};

/* Something to be run on the loop: the engine's own calls of handlers. */
struct event {
	void (*fn)(void *arg);
	void *arg;
	struct http_req *req; /* released behind it */
};

static struct http_msg *msgs, **msgs_end = &msgs;
static struct event events[256];
static size_t nevents;
static struct http_timer *timers[TIMERS];

/* ---- The engine ---- */

static void
add_event(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	FUZZ_CHECK(nevents < sizeof(events) / sizeof(events[0]));
	req->refs++;
	events[nevents++] = (struct event){fn, arg, req};
}

static int
step(void)
{
	if (nevents > 0) {
		struct event e = events[0];

		memmove(events, events + 1, --nevents * sizeof(events[0]));
		e.fn(e.arg);
		http_release(e.req);
	} else if (msgs != NULL) {
		struct http_msg *m = msgs;

		if ((msgs = m->next) == NULL)
			msgs_end = &msgs;
		m->fn(m->arg);
	} else {
		return run_job();
	}
	return 1;
}

static int
fire(void)
{
	for (size_t i = 0; i < TIMERS; i++)
		if (timers[i] != NULL && timers[i]->set) {
			timers[i]->set = 0;
			now += 60000;
			timers[i]->fn(timers[i]->arg);
			return 1;
		}
	return 0;
}

/* run_all: All that can happen now. */
static void
run_all(void)
{
	for (unsigned n = 0; step(); n++)
		FUZZ_CHECK(n < EVENTS);
}

/* run_later: What is due first of what was to run later; 0 if there is nothing. */
static int
run_later(void)
{
	if (!bring_later())
		return 0;
	run_all();
	return 1;
}

/* run_out: Until nothing is left to do, or only what begins itself again. */
static void
run_out(void)
{
	run_all();
	for (unsigned n = 0; n < LATER && run_later(); n++)
		;
}

const char *
http_method(const struct http_req *req)
{
	return req->method;
}

struct jstr
http_path(const struct http_req *req)
{
	const char *q = memchr(req->target.s, '?', req->target.len);

	return (struct jstr){req->target.s, q != NULL ? (size_t)(q - req->target.s) : req->target.len};
}

struct jstr
http_query(const struct http_req *req)
{
	size_t n = http_path(req).len;

	return n < req->target.len ? (struct jstr){req->target.s + n + 1, req->target.len - n - 1}
				   : (struct jstr){"", 0};
}

struct jstr
http_header(const struct http_req *req, const char *name)
{
	for (size_t i = 0; i < req->nheaders; i++)
		if (req->names[i].len == strlen(name) && strncasecmp(req->names[i].s, name, req->names[i].len) == 0)
			return req->values[i];
	return (struct jstr){NULL, 0};
}

int
http_headers(const struct http_req *req, int (*fn)(struct jstr name, struct jstr value, void *cookie), void *cookie)
{
	int rc = 0;

	for (size_t i = 0; i < req->nheaders && rc == 0; i++)
		rc = fn(req->names[i], req->values[i], cookie);
	return rc;
}

const char *
http_peer(const struct http_req *req)
{
	(void)req;
	return "fuzz";
}

void
http_note(struct http_req *req, void *note)
{
	(void)req;
	(void)note;
}

struct arena *
http_arena(struct http_req *req)
{
	return req->arena;
}

uint64_t
http_body_len(const struct http_req *req)
{
	return req->piece % 2 == 1 && req->there < req->body.len ? UINT64_MAX : req->body.len;
}

void
http_body_bound(struct http_req *req, uint64_t max)
{
	(void)req;
	(void)max;
}

int
http_body_is_whole(struct http_req *req)
{
	return !req->leaves && req->there >= req->body.len;
}

int
http_body_read(struct http_req *req, struct jstr *piecep)
{
	size_t n = req->there - req->read;

	*piecep = (struct jstr){req->body.s + req->read, n};
	if (n == 0 && req->there < req->body.len)
		return req->leaves && req->there > req->body.len / 2 ? ERR_IO : ERR_AGAIN;
	req->read += n;
	return 0;
}

int
http_body_all(struct http_req *req, struct jstr *bodyp)
{
	FUZZ_CHECK(req->read == 0);
	if (req->leaves && req->there < req->body.len)
		return ERR_IO;
	FUZZ_CHECK(req->there == req->body.len);
	*bodyp = req->body;
	return 0;
}

static void
come(struct http_req *req, size_t n)
{
	size_t most = req->leaves ? req->body.len / 2 + 1 : req->body.len;

	most = most < req->body.len ? most : req->body.len;
	req->there = n < most - req->there ? req->there + n : most;
}

void
http_body_wait(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	come(req, req->piece);
	add_event(req, fn, arg);
}

void
http_body_gather(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	come(req, req->body.len);
	add_event(req, fn, arg);
}

void
http_hold(struct http_req *req)
{
	req->refs++;
}

void
http_release(struct http_req *req)
{
	FUZZ_CHECK(req->refs > 0);
	req->refs--;
}

int
http_gone(const struct http_req *req)
{
	return req->gone;
}

void
http_add_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	if (strcmp(name, "accept-ranges") == 0)
		req->bytes = 1; /* an attachment may be of any type */
	if (strcmp(name, "set-cookie") == 0 && len > 12 && memcmp(value, "AuthSession=", 12) == 0) {
		const char *end = memchr(value, ';', len);
		size_t n = end != NULL ? (size_t)(end - value) : len;

		(void)snprintf(req->session, sizeof(req->session), "%.*s", (int)n, value);
	}
	if (strcmp(name, "content-type") == 0)
		req->json = len == 16 && memcmp(value, "application/json", 16) == 0;
}

void
http_reply(struct http_req *req, int status, const void *body, size_t len)
{
	FUZZ_CHECK(req->status == 0 && status >= 200 && status < 600);
	req->status = status;
	req->finished = 1;
	(void)buf_put(&req->out, body, len);
	http_release(req);
}

static void
sent(void *arg)
{
	struct http_req *req = arg;

	if (req->finished || req->gone)
		return;
	if (req->leaves) {
		req->gone = 1;
		req->stop(req->cookie);
		return;
	}
	req->may_send = 1;
	req->ready(req->cookie);
}

void
http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie), void (*stop)(void *cookie),
    void *cookie)
{
	FUZZ_CHECK(req->status == 0);
	(void)length;
	req->status = status;
	req->started = req->may_send = 1;
	req->ready = ready;
	req->stop = stop;
	req->cookie = cookie;
}

void
http_send(struct http_req *req, const void *data, size_t len)
{
	FUZZ_CHECK(req->gone || (req->started && !req->finished && req->may_send));
	req->may_send = 0;
	if (req->gone)
		return;
	(void)buf_put(&req->out, data, len);
	add_event(req, sent, req);
}

int
http_can_send(const struct http_req *req)
{
	return req->may_send && !req->gone;
}

void
http_finish(struct http_req *req)
{
	FUZZ_CHECK(req->started && !req->finished);
	req->finished = 1;
	http_release(req);
}

void
http_abort(struct http_req *req)
{
	req->json = 0;
	http_finish(req);
}

void
http_post(struct http_thread *t, struct http_msg *m)
{
	(void)t;
	m->next = NULL;
	*msgs_end = m;
	msgs_end = &m->next;
}

int
http_timer_new(struct http_thread *t, void (*fn)(void *arg), void *arg, struct http_timer **tp)
{
	(void)t;
	for (size_t i = 0; i < TIMERS; i++)
		if (timers[i] == NULL) {
			FUZZ_CHECK((*tp = timers[i] = calloc(1, sizeof(**tp))) != NULL);
			timers[i]->fn = fn;
			timers[i]->arg = arg;
			return 0;
		}
	return ERR_NOMEM;
}

void
http_timer_set(struct http_timer *t, uint64_t ms)
{
	(void)ms;
	t->set = 1;
}

void
http_timer_cancel(struct http_timer *t)
{
	t->set = 0;
}

void
http_timer_free(struct http_timer *t)
{
	for (size_t i = 0; i < TIMERS; i++)
		if (timers[i] == t)
			timers[i] = NULL;
	free(t);
}

#endif
