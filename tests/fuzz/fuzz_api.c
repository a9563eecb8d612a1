/*
 * The document API as HTTP requests: paths, parameters, headers and bodies go through routing and the handlers to databases in
 * memory.  The input is text, requests one after the other:
 *
 *	METHOD /target
 *	@header: value          any number; @anon: without credentials; @piece: N: the body comes N bytes at a time;
 *	                        @gone: the client vanishes behind the first half of its body, or of the answer
 *	body
 *	%%
 *
 * $R in target, headers and body is the newest revision that was answered, $S the one before, $T the one before that.  The
 * databases are /d and /p, which is partitioned.  Each request gets one answer, which says what it is in CouchDB's form, and
 * never a 500; at the end both databases are sound, and what they count is what they list.
 */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "db/db.h"
#include "fuzz.h"
#include "httpapi/api.h"
#include "httpapi/copyfile.h"
#include "httpapi/feeds.h"
#include "httpapi/server.h"
#include "script/script.h"
#include "views/views.h"

#define MAX ((size_t)64 << 20)
#define REQUESTS 64u
#define HEADERS 16u
#define EVENTS 20000u /* of one request: more never end */
#define TIMERS 64u
#define FIRES 8u /* timers that fire while a request waits, before its client goes */
#define REV_MAX 160u

static const struct principal admin = {.name = "admin", .server_admin = 1};

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

static struct api api;
static struct exec_job *jobs, **jobs_end = &jobs;
static struct exec_job *later_jobs;
static struct http_msg *msgs, **msgs_end = &msgs;
static struct event events[64];
static size_t nevents;
static struct http_timer *timers[TIMERS];
static uint64_t now = 1000000;
static unsigned random_next;

/* ---- The executor: one queue ---- */

static void
submit(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	job->next = NULL;
	*jobs_end = job;
	jobs_end = &job->next;
}

static void
later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	(void)delay_ms;
	job->next = later_jobs;
	later_jobs = job;
}

static int
cancel(struct executor *ex, struct exec_job *job)
{
	struct exec_job **at;

	(void)ex;
	for (at = &later_jobs; *at != NULL; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			return 1;
		}
	return 0;
}

static uint64_t
clock_of(struct executor *ex)
{
	(void)ex;
	return now;
}

static void
random_bytes(struct executor *ex, void *out, unsigned len)
{
	unsigned char *p = out;

	(void)ex;
	while (len-- > 0)
		*p++ = (unsigned char)(random_next++ * 151u >> 3);
}

static struct executor executor = {.submit = submit,
    .later = later,
    .cancel = cancel,
    .now_ms = clock_of,
    .wall_us = clock_of,
    .random = random_bytes};

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
	} else if (jobs != NULL) {
		struct exec_job *j = jobs;

		if ((jobs = j->next) == NULL)
			jobs_end = &jobs;
		j->fn(j->arg);
	} else {
		return 0;
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

static void
run_all(void)
{
	for (unsigned n = 0; step(); n++)
		FUZZ_CHECK(n < EVENTS);
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
	(void)req;
	(void)fn;
	(void)cookie;
	return 0;
}

int
http_is_tls(const struct http_req *req)
{
	(void)req;
	return 0;
}

int
http_is_local(const struct http_req *req)
{
	(void)req;
	return 1;
}

struct jstr
http_cert_name(struct http_req *req, enum http_cert_name what)
{
	(void)req, (void)what;
	return (struct jstr){NULL, 0};
}

int
http_server_tls(struct http_server *s, const struct http_tls *tls)
{
	(void)s, (void)tls;
	return 0;
}

int
http_version(const struct http_req *req)
{
	(void)req;
	return 0x101;
}

const char *
http_peer(const struct http_req *req)
{
	(void)req;
	return "fuzz";
}

void
http_trust(struct http_req *req)
{
	(void)req;
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

int
http_body_is_whole(const struct http_req *req)
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
	if (strcmp(name, "content-type") == 0)
		req->json = len == 16 && memcmp(value, "application/json", 16) == 0;
}

void
http_set_header(struct http_req *req, const char *name, const char *value, size_t len)
{
	http_add_header(req, name, value, len);
}

void
http_set_static(struct http_req *req, const char *name, const char *value)
{
	http_set_header(req, name, value, strlen(value));
}

void
http_expect(struct http_req *req, uint64_t len)
{
	(void)req, (void)len;
}

void
http_may_encode(struct http_req *req)
{
	(void)req;
}

void
http_server_compress(struct http_server *s, enum http_compress mode)
{
	(void)s;
	(void)mode;
}

unsigned
http_server_lag_ms(struct http_server *s, int reset)
{
	(void)s;
	(void)reset;
	return 0;
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

void
http_reply_take(struct http_req *req, int status, char *body, size_t len)
{
	http_reply(req, status, body, len);
	free(body);
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

void
http_lend(struct http_req *req, const void *data, size_t len)
{
	http_send(req, data, len);
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
http_cut(struct http_req *req)
{
	(void)req;
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

struct http_thread *
http_req_thread(struct http_req *req)
{
	(void)req;
	return NULL;
}

unsigned
http_thread_index(const struct http_thread *t)
{
	(void)t;
	return 0;
}

unsigned
http_server_port(const struct http_server *s)
{
	(void)s;
	return 5984;
}

unsigned
http_server_tls_port(const struct http_server *s)
{
	(void)s;
	return 0;
}

unsigned
http_server_threads(const struct http_server *s)
{
	(void)s;
	return 1;
}

struct http_thread *
http_server_thread(struct http_server *s, unsigned i)
{
	(void)s;
	(void)i;
	return NULL;
}

int
http_thread_on_shutdown(struct http_thread *t, void (*fn)(void *arg), void *arg)
{
	(void)t;
	(void)fn;
	(void)arg;
	return 0;
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

/* ---- Requests ---- */

static char revs[3][REV_MAX]; /* the newest first */

/* remember: The last "rev":"..." of an answer. */
static void
remember(const struct buf *out)
{
	static const char key[] = "\"rev\":\"";
	const char *p = out->data, *end = p != NULL ? p + out->len : NULL, *at = NULL, *stop;

	while (p != NULL && p < end && (p = memmem(p, (size_t)(end - p), key, sizeof(key) - 1)) != NULL)
		at = p += sizeof(key) - 1;
	if (at == NULL || (stop = memchr(at, '"', (size_t)(end - at))) == NULL || stop - at >= (long)REV_MAX)
		return;
	memcpy(revs[2], revs[1], REV_MAX);
	memcpy(revs[1], revs[0], REV_MAX);
	memset(revs[0], 0, REV_MAX);
	memcpy(revs[0], at, (size_t)(stop - at));
}

/* fill_in: ${text} with revisions in the place of $R, $S and $T. */
static struct jstr
fill_in(struct arena *a, const uint8_t *text, size_t len)
{
	struct buf b;
	char *copy;

	buf_init(&b, MAX);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '$' && i + 1 < len && text[i + 1] >= 'R' && text[i + 1] <= 'T')
			buf_puts(&b, revs[text[++i] - 'R']);
		else
			buf_putc(&b, (char)text[i]);
	}
	FUZZ_CHECK(buf_failed(&b) == 0);
	copy = arena_dup(a, b.len > 0 ? b.data : "", b.len);
	FUZZ_CHECK(copy != NULL);
	len = b.len;
	buf_release(&b);
	return (struct jstr){copy, len};
}

static size_t
line_len(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));

	return nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);
}

static void
add_header(struct http_req *req, const char *name, struct jstr value)
{
	if (req->nheaders == HEADERS)
		return;
	req->names[req->nheaders] = (struct jstr){name, strlen(name)};
	req->values[req->nheaders++] = value;
}

/* "@name: value"; 1 if the request comes without credentials. */
static int
read_header(struct http_req *req, struct jstr line)
{
	const char *colon = memchr(line.s, ':', line.len);
	size_t n = colon != NULL ? (size_t)(colon - line.s) : line.len;
	struct jstr value = {line.s + line.len, 0};
	char *name = arena_dup(req->arena, line.s, n);

	FUZZ_CHECK(name != NULL);
	if (strlen(name) != n)
		return 0; /* no engine lets it through */
	if (colon != NULL)
		value = (struct jstr){colon + 1, line.len - n - 1};
	while (value.len > 0 && *value.s == ' ') {
		value.s++;
		value.len--;
	}
	if (strcmp(name, "anon") == 0)
		return 1;
	if (strcmp(name, "gone") == 0)
		req->leaves = 1;
	else if (strcmp(name, "piece") == 0)
		req->piece = (size_t)strtoul(arena_dup(req->arena, value.s, value.len), NULL, 10) % 4096;
	else if (memchr(value.s, '\0', value.len) == NULL && strcmp(name, "authorization") != 0)
		add_header(req, name, (struct jstr){arena_dup(req->arena, value.s, value.len), value.len});
	return 0;
}

/* read_request: One request; 0 if its first line is none. */
static int
read_request(struct http_req *req, const uint8_t *p, const uint8_t *end)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "COPY", "HEAD", "OPTIONS"};
	size_t n = line_len(p, end), m;
	int anon = 0;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]) && req->method == NULL; i++) {
		m = strlen(methods[i]);
		if (n > m + 1 && memcmp(p, methods[i], m) == 0 && p[m] == ' ' && p[m + 1] == '/') {
			req->method = methods[i];
			req->target = fill_in(req->arena, p + m + 1, n - m - 1);
		}
	}
	/* Sessions and configuration are the process's, and would make inputs depend on each other. */
	if (req->method == NULL || memchr(req->target.s, '\0', req->target.len) != NULL ||
	    (req->target.len > 1 && req->target.s[1] == '_') || (req->target.len > 1 && req->target.s[1] == '%'))
		return 0;
	for (p += n + (p + n < end); p < end && *p == '@'; p += n + (p + n < end)) {
		n = line_len(p, end);
		anon |= read_header(req, fill_in(req->arena, p + 1, n - 1));
	}
	if (!anon)
		add_header(req, "authorization", (struct jstr){"Basic YWRtaW46YWRt", 18});
	if (http_header(req, "content-type").s == NULL)
		add_header(req, "content-type", (struct jstr){"application/json", 16});
	add_header(req, "host", (struct jstr){"127.0.0.1:5984", 14});
	req->body = fill_in(req->arena, p, (size_t)(end - p));
	req->there = req->piece > 0 || req->leaves ? 0 : req->body.len;
	req->piece = req->piece > 0 ? req->piece : 7;
	return 1;
}

static void
check_answer(const struct http_req *req)
{
	struct jread j;
	int err;

	if (req->leaves) /* nobody hears what is said of the half that did not come */
		return;
	if (req->status == 500 && memmem(req->out.data, req->out.len, "stored as gzip", 14) != NULL)
		return; /* the input lied, as CouchDB lets it */
	if (req->status == 500 && memmem(req->out.data, req->out.len, "input/output error", 18) != NULL)
		return; /* it wants a function, and there is no child; nothing else here has a disk */
	if (req->status == 500)
		fprintf(stderr, "%s %.*s: %.*s\n", req->method, (int)req->target.len, req->target.s, (int)req->out.len,
		    req->out.data);
	FUZZ_CHECK(req->status != 500);
	if (!req->json || req->bytes || req->gone || strcmp(req->method, "HEAD") == 0 ||
	    memmem(req->target.s, req->target.len, "feed", 4) != NULL)
		return;
	jread_init(&j, req->out.data != NULL ? req->out.data : "", req->out.len);
	err = jread_skip(&j, NULL);
	err = err ? err : jread_end(&j);
	if (err)
		fprintf(stderr, "%s %.*s: no JSON: %.*s\n", req->method, (int)req->target.len, req->target.s,
		    (int)req->out.len, req->out.data);
	FUZZ_CHECK(err == 0);
	if (req->status >= 400)
		FUZZ_CHECK(memcmp(req->out.data, "{\"error\":", 9) == 0 || req->out.data[0] == '[');
}

static void
serve(const uint8_t *p, const uint8_t *end)
{
	struct http_req req = {.refs = 1};

	FUZZ_CHECK(arena_new(MAX, &req.arena) == 0);
	buf_init(&req.out, MAX);
	if (read_request(&req, p, end)) {
		api_handle(&req, &api);
		run_all();
		for (unsigned n = 0; !req.finished && n < FIRES && fire(); n++)
			run_all();
		if (!req.finished) { /* it waits for what does not come; its client goes */
			FUZZ_CHECK(req.started);
			if (!req.gone)
				req.stop(req.cookie);
			req.gone = 1;
			run_all();
			FUZZ_CHECK(req.finished || req.refs <= 1);
		}
		FUZZ_CHECK(req.refs == (req.finished ? 0 : 1));
		check_answer(&req);
		remember(&req.out);
	}
	buf_release(&req.out);
	arena_free(req.arena);
}

/* ---- The databases ---- */

static uint64_t
count_docs(struct db_snap *snap)
{
	struct db_range all = {0};
	struct db_scan *scan;
	struct db_doc doc;
	struct arena *a;
	uint64_t n = 0;
	int err;

	FUZZ_CHECK(arena_new(MAX, &a) == 0);
	FUZZ_CHECK(db_docs_open(snap, &all, &scan) == 0);
	while ((err = db_docs_next(scan, a, &doc)) == 0) {
		FUZZ_CHECK(!doc.winner.deleted);
		n++;
		arena_reset(a);
	}
	FUZZ_CHECK(err == ERR_END);
	db_scan_close(scan);
	arena_free(a);
	return n;
}

static void
check_db(const char *name, int compact)
{
	struct errtext why = {""};
	struct db_info info;
	struct db_snap *snap;
	struct db *db;
	int err = db_open(api.dbs, name, &admin, &db);

	if (err == ERR_NO_DB) /* the input removed it */
		return;
	FUZZ_CHECK(err == 0);
	if (compact) {
		FUZZ_CHECK(db_compact(db) == 0);
		run_all();
	}
	err = db_check(db, &why);
	if (err != 0)
		fprintf(stderr, "db_check of %s: %s: %s\n", name, err_reason(err), why.text);
	FUZZ_CHECK(err == 0);
	FUZZ_CHECK(db_info(db, &info) == 0 && db_snap_begin(db, &snap) == 0);
	FUZZ_CHECK(count_docs(snap) == info.doc_count);
	db_snap_end(snap);
	db_close(db);
}

static void
moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	(void)cookie;
	(void)incarnation;
	feeds_moved(&api, name, seq, dropped);
}

/* Accounts outlive the inputs: a password's hash is slow to make. */
static void
set_up_once(void)
{
	if (api.config != NULL)
		return;
	FUZZ_CHECK(config_new(&api.config) == 0 && config_set(api.config, "admins", "admin", "adm") == 0);
	FUZZ_CHECK(config_set(api.config, "chttpd_auth", "iterations", "1") == 0);
	api.ex = api.slow = api.hashers = &executor;
	memset(api.secret, 's', sizeof(api.secret) - 1);
	FUZZ_CHECK(api_new(&api) == 0);
	/* No child can be started: what needs users' functions ends in an error. */
	const struct scripts_config scripts = {
	    .exe = "/nonexistent", .max_children = 1, .idle_ms = 1000, .timeout_ms = 1000, .ex = &executor};

	FUZZ_CHECK(scripts_new(&scripts, &api.scripts) == 0);
	FUZZ_CHECK(copyfile_new(&api, &executor, "/nonexistent") == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct db_options partitioned = {.partitioned = 1};
	const uint8_t *end = data + len, *stop;
	struct dbs_config config = {.ex = &executor, .moved = moved, .max_document_size = 100000};
	struct views_config indexes;

	log_set_level(LOG_ERROR + 1);
	set_up_once();
	random_next = 1;
	now = 1000000;
	memset(revs, 0, sizeof(revs));
	FUZZ_CHECK(store_mem_new(&config.store) == 0);
	FUZZ_CHECK(dbs_new(&config, &api.dbs) == 0 && feeds_new(&api) == 0);
	indexes = (struct views_config){.dbs = api.dbs, .scripts = api.scripts, .ex = &executor, .max_updates = 1};
	FUZZ_CHECK(store_mem_new(&indexes.store) == 0 && views_new(&indexes, &api.views) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "d", NULL, &admin, NULL) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "p", &partitioned, &admin, NULL) == 0);
	for (unsigned i = 0; i < REQUESTS && data < end; i++) {
		stop = memmem(data, (size_t)(end - data), "\n%%\n", 4);
		serve(data, stop != NULL ? stop : end);
		data = stop != NULL ? stop + 4 : end;
	}
	for (int compact = 0; compact < 2; compact++) {
		check_db("d", compact);
		check_db("p", compact);
	}
	run_all();
	views_free(api.views);
	later_jobs = NULL;
	dbs_free(api.dbs);
	run_all();
	feeds_free(&api);
	return 0;
}
