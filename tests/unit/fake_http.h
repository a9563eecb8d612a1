/*
 * fake_http.h: the HTTP engine's functions without sockets, for unit tests of what stands on them: a request is a
 * struct, its answer is kept in it, and jobs and messages run when the test says so.
 */
#ifndef TESTS_UNIT_FAKE_HTTP_H_
#define TESTS_UNIT_FAKE_HTTP_H_

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/exec.h"
#include "http/http.h"
#include "tests/lib/http_stubs.h"

struct http_req {
	const char *method;
	const char *target;         /* path?query */
	const char *const *headers; /* name, value, ..., NULL */
	const char *body;
	struct arena *arena;
	int refs;
	int status;      /* 0: not answered */
	struct buf head; /* "name: value\n" ... */
	struct buf out;
	void *note;
};

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static struct http_msg *fake_first, **fake_last = &fake_first;
static struct exec_job *fake_jobs;
static unsigned fake_jobs_run;
static const char *fake_peer = "192.0.2.1";
static uint64_t fake_wall_us = UINT64_C(1700000000000000);

static void
fake_submit(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	job->next = fake_jobs;
	fake_jobs = job;
}

static uint64_t
fake_wall(struct executor *ex)
{
	(void)ex;
	return fake_wall_us;
}

static uint64_t
fake_now(struct executor *ex)
{
	return fake_wall(ex) / 1000;
}

static struct executor fake_executor = {.submit = fake_submit, .now_ms = fake_now, .wall_us = fake_wall};

/* Run what waits until nothing does. */
static void
fake_drain(void)
{
	for (;;) {
		struct exec_job *job = fake_jobs;
		if (job) {
			fake_jobs = job->next;
			fake_jobs_run++;
			job->fn(job->arg);
			continue;
		}
		pthread_mutex_lock(&fake_lock);
		struct http_msg *m = fake_first;
		if (m && !(fake_first = m->next))
			fake_last = &fake_first;
		pthread_mutex_unlock(&fake_lock);
		if (!m)
			return;
		m->fn(m->arg);
	}
}

static inline void
fake_begin(struct http_req *req, const char *method, const char *target, const char *const *headers, const char *body)
{
	*req = (struct http_req){
	    .method = method, .target = target, .headers = headers, .body = body ? body : "", .refs = 1};
	buf_init(&req->head, 1u << 20);
	buf_init(&req->out, 1u << 24);
	if (arena_new(1u << 24, &req->arena))
		abort();
}

static inline void
fake_end(struct http_req *req)
{
	buf_release(&req->head);
	buf_release(&req->out);
	arena_free(req->arena);
}

/* The value of the first header of the answer, or NULL. */
static inline const char *
fake_header(struct http_req *req, const char *name)
{
	static char value[4096];
	size_t n = strlen(name);
	const char *p = req->head.data;
	const char *end = p ? p + req->head.len : p;
	while (p && p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)(nl - p);
		if (len > n + 2 && memcmp(p, name, n) == 0 && p[n] == ':' && len - n - 2 < sizeof(value)) {
			memcpy(value, p + n + 2, len - n - 2);
			value[len - n - 2] = '\0';
			return value;
		}
		p = nl + 1;
	}
	return NULL;
}

const char *
http_method(const struct http_req *req)
{
	return req->method;
}

struct jstr
http_path(const struct http_req *req)
{
	return (struct jstr){req->target, strcspn(req->target, "?")};
}

struct jstr
http_query(const struct http_req *req)
{
	const char *q = strchr(req->target, '?');
	return q ? (struct jstr){q + 1, strlen(q + 1)} : (struct jstr){"", 0};
}

struct jstr
http_header(const struct http_req *req, const char *name)
{
	for (const char *const *h = req->headers; h && *h; h += 2) {
		if (strcasecmp(h[0], name) == 0)
			return (struct jstr){h[1], strlen(h[1])};
	}
	return (struct jstr){NULL, 0};
}

int
http_headers(const struct http_req *req, int (*fn)(struct jstr name, struct jstr value, void *cookie), void *cookie)
{
	(void)req;
	(void)fn;
	(void)cookie;
	return 0;
}

const char *
http_peer(const struct http_req *req)
{
	(void)req;
	return fake_peer;
}

void
http_note(struct http_req *req, void *note)
{
	req->note = note;
}

struct arena *
http_arena(struct http_req *req)
{
	return req->arena;
}

uint64_t
http_body_len(const struct http_req *req)
{
	return strlen(req->body);
}

int
http_body_all(struct http_req *req, struct jstr *bodyp)
{
	*bodyp = (struct jstr){req->body, strlen(req->body)};
	return 0;
}

int
http_body_read(struct http_req *req, struct jstr *piecep)
{
	*piecep = (struct jstr){req->body, strlen(req->body)};
	req->body += piecep->len;
	return 0;
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
	(void)req;
	return 1;
}

void
http_body_wait(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	(void)req;
	fn(arg);
}

void
http_body_gather(struct http_req *req, void (*fn)(void *arg), void *arg)
{
	http_body_wait(req, fn, arg);
}

void
http_hold(struct http_req *req)
{
	req->refs++;
}

void
http_release(struct http_req *req)
{
	req->refs--;
}

int
http_gone(const struct http_req *req)
{
	(void)req;
	return 0;
}

void
http_add_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	(void)buf_puts(&req->head, name);
	(void)buf_puts(&req->head, ": ");
	(void)buf_put(&req->head, value, len);
	(void)buf_putc(&req->head, '\n');
}

void
http_reply(struct http_req *req, int status, const void *body, size_t len)
{
	if (req->status)
		abort(); /* a handler answers once */
	req->status = status;
	(void)buf_put(&req->out, body, len);
	http_release(req);
}

void
http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie), void (*stop)(void *cookie),
    void *cookie)
{
	(void)length, (void)ready, (void)stop, (void)cookie;
	req->status = status;
}

void
http_send(struct http_req *req, const void *data, size_t len)
{
	(void)buf_put(&req->out, data, len);
}

int
http_can_send(const struct http_req *req)
{
	(void)req;
	return 1;
}

void
http_finish(struct http_req *req)
{
	http_release(req);
}

void
http_abort(struct http_req *req)
{
	http_release(req);
}

void
http_post(struct http_thread *t, struct http_msg *m)
{
	(void)t;
	pthread_mutex_lock(&fake_lock);
	m->next = NULL;
	*fake_last = m;
	fake_last = &m->next;
	pthread_mutex_unlock(&fake_lock);
}

int
http_timer_new(struct http_thread *t, void (*fn)(void *arg), void *arg, struct http_timer **tp)
{
	(void)t, (void)fn, (void)arg;
	*tp = NULL;
	return 0;
}

void
http_timer_set(struct http_timer *t, uint64_t ms)
{
	(void)t, (void)ms;
}

void
http_timer_cancel(struct http_timer *t)
{
	(void)t;
}

void
http_timer_free(struct http_timer *t)
{
	(void)t;
}

#endif
