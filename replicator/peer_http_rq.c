/*
 * peer_http_rq.c: one request to a peer, repeated where that helps.
 *
 *   start --> AUTH (a session is being made) --> SENT --> PASSED --> done()
 *                ^                                          |
 *                +------------------ WAITING <--------------+   the way there or the server failed: after a while again
 *
 * 1. The state changes under the peer's lock.  httpc's functions are called under it too: they never call back.
 * 2. Answers arrive on the client's thread, which gathers them (or hands them on) and does no more; what they mean is
 *    found out on the executor.
 * 3. done() comes once for each peer_rq_start(), as a job of its own, so it may release the request.
 * 4. What is gathered is bounded: an answer that is a list may be cut behind a whole element, another is refused.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/limits.h"
#include "peer_http_impl.h"

#define WAIT_MAX_MS 30000u    /* before a request is repeated */
#define PATH_SHOWN 200u       /* bytes of a path in a reason */
#define RETRY_MAX_MS 3600000u /* that a peer may ask for */
#define REQUEST_BODY ((size_t)256 << 20)

static void begin(struct peer_rq *rq);
static void ended(void *arg);

void
peer_rq_init(struct peer_rq *rq, struct peer_op *op, const char *method, void (*done)(struct peer_rq *rq))
{
	memset(rq, 0, sizeof(*rq));
	rq->op = op;
	rq->method = method;
	rq->done = done;
	rq->hard = PEER_ANSWER;
	buf_init(&rq->path, LIMIT_URL_LEN);
	buf_init(&rq->url, LIMIT_URL_LEN + 8192);
	buf_init(&rq->body, REQUEST_BODY);
	buf_init(&rq->answer, PEER_ANSWER);
	if (op == NULL)
		return;
	rq->p = op->p;
	pthread_mutex_lock(&op->p->lock);
	rq->next = op->rqs;
	op->rqs = rq;
	pthread_mutex_unlock(&op->p->lock);
}

void
peer_rq_release(struct peer_rq *rq)
{
	struct peer_rq **at;

	if (rq->op != NULL) {
		pthread_mutex_lock(&rq->p->lock);
		for (at = &rq->op->rqs; *at != NULL && *at != rq; at = &(*at)->next)
			continue;
		if (*at == rq)
			*at = rq->next;
		assert(rq->state == PEER_RQ_IDLE);
		pthread_mutex_unlock(&rq->p->lock);
	}
	buf_release(&rq->path);
	buf_release(&rq->url);
	buf_release(&rq->body);
	buf_release(&rq->answer);
}

/* ---- URLs ---- */

void
peer_put_encoded(struct buf *b, const char *s, size_t len)
{
	static const char plain[] = "-._~";
	static const char digits[] = "0123456789ABCDEF";
	size_t i;

	/* A path's part of dots alone would mean another place. */
	if ((len == 1 || len == 2) && memcmp(s, "..", len) == 0) {
		(void)buf_puts(b, len == 1 ? "%2E" : "%2E%2E");
		return;
	}
	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    (c != '\0' && strchr(plain, c) != NULL)) {
			(void)buf_putc(b, (char)c);
		} else {
			char hex[3] = {'%', digits[c >> 4], digits[c & 15]};

			(void)buf_put(b, hex, 3);
		}
	}
}

void
peer_put_id(struct buf *b, struct jstr id)
{
	static const char design[] = "_design/";
	size_t len = sizeof(design) - 1;

	if (id.len > len && memcmp(id.s, design, len) == 0) {
		(void)buf_put(b, design, len);
		id.s += len;
		id.len -= len;
	}
	peer_put_encoded(b, id.s, id.len);
}

/* The database itself has no slash behind its name. */
static int
make_url(struct peer_rq *rq)
{
	size_t len = strlen(rq->p->end.url);

	if (rq->plain)
		return buf_failed(&rq->url);
	buf_clear(&rq->url);
	if ((rq->path.len == 0 || rq->path.data[0] == '?') && len > 0 && rq->p->end.url[len - 1] == '/')
		len--;
	(void)buf_put(&rq->url, rq->p->end.url, len);
	(void)buf_put(&rq->url, rq->path.data, rq->path.len);
	return buf_putc(&rq->url, '\0');
}

/* ---- The answer arrives: on the client's thread ---- */

static void
keep(char *out, size_t size, const char *text)
{
	size_t i;

	for (i = 0; text[i] != '\0' && i + 1 < size; i++)
		out[i] = (unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~' ? '?' : text[i];
	out[i] = '\0';
}

/* A date, as milliseconds from now. */
static uint64_t
until_date(const char *text, uint64_t now_us)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	time_t at = end != NULL ? timegm(&tm) : -1;
	uint64_t ms;

	if (at < 0 || (uint64_t)at * 1000u <= now_us / 1000u)
		return 0;
	ms = (uint64_t)at * 1000u - now_us / 1000u;
	return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

/* Seconds, or a date. */
static uint64_t
retry_after(const char *text, uint64_t now_us)
{
	uint64_t n = 0;

	if (text == NULL)
		return 0;
	if (*text < '0' || *text > '9')
		return until_date(text, now_us);
	while (*text >= '0' && *text <= '9' && n <= RETRY_MAX_MS)
		n = n * 10 + (uint64_t)(*text++ - '0');
	n *= 1000;
	return n < RETRY_MAX_MS ? n : RETRY_MAX_MS;
}

static int
on_head(void *cookie, const struct httpc_head *head)
{
	struct peer_rq *rq = cookie;
	const char *text;
	size_t i;

	rq->status = head->status;
	keep(rq->answer_type, sizeof(rq->answer_type), head->type);
	keep(rq->location, sizeof(rq->location), head->location);
	rq->challenged = httpc_header(head, "WWW-Authenticate", 0) != NULL;
	if (head->status == 429 || head->status == 503)
		rq->retry_ms = retry_after(httpc_header(head, "Retry-After", 0), rq->p->ex->wall_us(rq->p->ex));
	for (i = 0; rq->epoch != 0 && i < 16 && (text = httpc_header(head, "Set-Cookie", i)) != NULL; i++)
		peer_auth_taken(rq->p, rq->epoch, text);
	return head->status == 200 && rq->on_head != NULL ? rq->on_head(rq, head) : 0;
}

static int
on_body(void *cookie, const void *data, size_t len)
{
	struct peer_rq *rq = cookie;
	int good = rq->status >= 200 && rq->status <= 299;
	int err;

	if (rq->status == 200 && rq->on_body != NULL)
		return rq->on_body(rq, data, len);
	if (!good && rq->answer.len + len > PEER_ERROR_ANSWER)
		return ERR_END;
	if (rq->answer.len + len > rq->hard)
		return ERR_TOO_LARGE;
	err = buf_put(&rq->answer, data, len);
	if (err != 0 || !good || rq->soft == 0 || rq->answer.len <= rq->soft)
		return err;
	peer_scan_more(&rq->scan, rq->answer.data, rq->answer.len);
	if (rq->scan.end == 0)
		return 0;
	rq->answer.len = rq->scan.end;
	rq->cut = 1;
	return ERR_END;
}

static void
on_done(void *cookie, int err, int status, const struct errtext *why)
{
	struct peer_rq *rq = cookie;
	struct peer_http *p = rq->p;

	pthread_mutex_lock(&p->lock);
	rq->err = err;
	if (status != 0)
		rq->status = status;
	if (err != 0 && why != NULL)
		rq->why = *why;
	rq->state = PEER_RQ_PASSED;
	rq->job.fn = ended;
	p->ex->submit(p->ex, &rq->job);
	pthread_mutex_unlock(&p->lock);
}

/* ---- Sending ---- */

static void
add_header(struct peer_rq *rq, const char *text)
{
	if (text != NULL && rq->http.nheaders < PEER_HEADERS)
		rq->headers[rq->http.nheaders++] = text;
}

static void
add_headers(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	size_t i;

	rq->http.nheaders = 0;
	rq->http.user = rq->http.password = NULL;
	rq->epoch = rq->plain ? p->epoch : 0; /* the session's own request is of the one that it asks for */
	add_header(rq, rq->accept != NULL ? rq->accept : "Accept: application/json");
	add_header(rq, rq->type);
	add_header(rq, rq->extra);
	if (!rq->plain && p->auth == PEER_AUTH_COOKIE) {
		(void)snprintf(rq->cookie, sizeof(rq->cookie), "Cookie: %s", p->cookie);
		add_header(rq, rq->cookie);
		rq->epoch = p->epoch;
	} else if (!rq->plain && p->auth == PEER_AUTH_BASIC) {
		rq->http.user = p->end.user;
		rq->http.password = p->end.password;
	}
	for (i = 0; i < p->end.nheaders; i++)
		add_header(rq, p->end.headers[i]);
	rq->http.headers = rq->headers;
}

void
peer_rq_send(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	uint64_t head_ms = (uint64_t)p->timeout_ms * (rq->head_factor != 0 ? rq->head_factor : 1);
	int err = make_url(rq);

	rq->status = rq->err = rq->cut = rq->challenged = 0;
	rq->retry_ms = 0;
	rq->answer_type[0] = rq->location[0] = rq->why.text[0] = '\0';
	buf_clear(&rq->answer);
	memset(&rq->scan, 0, sizeof(rq->scan));
	add_headers(rq);
	rq->http.method = rq->method;
	rq->http.url = rq->url.data;
	rq->http.proxy = p->end.proxy;
	rq->http.owner = p->owner;
	rq->http.times.connect_ms = rq->http.times.stall_ms = p->timeout_ms;
	rq->http.times.head_ms = head_ms < HTTPC_FOREVER ? (uint32_t)head_ms : HTTPC_FOREVER;
	rq->http.decode = 1;
	if (rq->http.on_read == NULL) {
		rq->http.body = rq->body.len > 0 ? rq->body.data : NULL;
		rq->http.body_len = rq->body.len;
	}
	rq->http.on_head = on_head;
	rq->http.on_body = on_body;
	rq->http.on_done = on_done;
	rq->http.cookie = rq;
	if (rq->on_send != NULL)
		rq->on_send(rq);
	rq->state = PEER_RQ_SENT;
	if (err == 0)
		err = httpc_start(p->loop, &rq->http);
	if (err != 0)
		peer_rq_pass(rq, err);
}

/* The peer's cookie or password may have to be had first. */
static void
begin(struct peer_rq *rq)
{
	if (rq->op != NULL ? rq->op->cancelled : rq->p->closed)
		peer_rq_pass(rq, ERR_CANCELLED);
	else if (rq->plain || !peer_auth_wanted(rq->p, rq))
		peer_rq_send(rq);
}

static void
begin_later(void *arg)
{
	struct peer_rq *rq = arg;

	pthread_mutex_lock(&rq->p->lock);
	begin(rq);
	pthread_mutex_unlock(&rq->p->lock);
}

void
peer_rq_pass(struct peer_rq *rq, int err)
{
	struct peer_http *p = rq->p;

	rq->failed = err;
	rq->state = PEER_RQ_PASSED;
	rq->job.arg = rq;
	rq->job.fn = err != 0 ? ended : begin_later;
	p->ex->submit(p->ex, &rq->job);
}

/* Under the lock: its job is to run after a while. */
static void
go_on_later(struct peer_rq *rq, uint64_t wait)
{
	struct peer_http *p = rq->p;

	if (rq->op != NULL ? rq->op->cancelled : p->closed) {
		peer_rq_pass(rq, ERR_CANCELLED);
		return;
	}
	rq->state = PEER_RQ_WAITING;
	rq->job.fn = begin_later;
	p->ex->later(p->ex, &rq->job, wait);
}

static void
start(struct peer_rq *rq, uint64_t wait)
{
	struct peer_http *p = rq->p;
	int err = buf_failed(&rq->path);

	if (err == 0)
		err = buf_failed(&rq->body);
	pthread_mutex_lock(&p->lock);
	assert(rq->state == PEER_RQ_IDLE);
	rq->job.arg = rq;
	rq->attempt = 0;
	rq->renewed = rq->failed = 0;
	if (rq->shown == 0)
		while (rq->shown < rq->path.len && rq->path.data[rq->shown] != '?')
			rq->shown++;
	if (err != 0)
		peer_rq_pass(rq, err);
	else if (wait > 0)
		go_on_later(rq, wait);
	else
		begin(rq);
	pthread_mutex_unlock(&p->lock);
}

void
peer_rq_start(struct peer_rq *rq)
{
	start(rq, 0);
}

void
peer_rq_start_later(struct peer_rq *rq, uint64_t wait)
{
	start(rq, wait);
}

static void
run(void *arg)
{
	struct peer_rq *rq = arg;

	pthread_mutex_lock(&rq->p->lock);
	rq->state = PEER_RQ_IDLE;
	rq->err = rq->op->cancelled ? ERR_CANCELLED : 0;
	pthread_mutex_unlock(&rq->p->lock);
	rq->done(rq);
}

void
peer_rq_run(struct peer_rq *rq)
{
	rq->state = PEER_RQ_PASSED;
	rq->job.fn = run;
	rq->job.arg = rq;
	rq->p->ex->submit(rq->p->ex, &rq->job);
}

void
peer_rq_cancel(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	struct peer_rq **at;

	switch (rq->state) {
	case PEER_RQ_IDLE:
	case PEER_RQ_PASSED:
		break;
	case PEER_RQ_SENT:
		httpc_cancel(&rq->http);
		break;
	case PEER_RQ_AUTH:
		for (at = &p->waiting; *at != NULL && *at != rq; at = &(*at)->next_waiting)
			continue;
		if (*at == rq)
			*at = rq->next_waiting;
		peer_rq_pass(rq, ERR_CANCELLED);
		break;
	case PEER_RQ_WAITING:
		if (p->ex->cancel(p->ex, &rq->job))
			peer_rq_pass(rq, ERR_CANCELLED);
		break;
	}
}

/* ---- The end of an attempt ---- */

int
peer_rq_is_page(const struct peer_rq *rq)
{
	return strncasecmp(rq->answer_type, "text/html", 9) == 0;
}

/* A database's. */
static int
has_words(const struct peer_rq *rq)
{
	struct peer_said said;

	if (peer_rq_is_page(rq))
		return 0;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	return said.error[0] != '\0';
}

static int
is_passing(const struct peer_rq *rq)
{
	if (rq->err != 0)
		return rq->err == ERR_IO;
	if (rq->divisible && rq->status == 500 && has_words(rq))
		return 0;
	return rq->status == 408 || rq->status == 429 || (rq->status >= 500 && rq->status != 501 && rq->status != 507);
}

/* How long to wait before the next attempt; 0: there is none. */
static uint64_t
wait_ms(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	uint64_t wait;
	uint32_t dice;

	if (rq->once || rq->attempt >= p->retries || !is_passing(rq) || rq->retry_ms > WAIT_MAX_MS)
		return 0;
	p->ex->random(p->ex, &dice, sizeof(dice));
	wait = (uint64_t)p->backoff_ms << (rq->attempt < 16 ? rq->attempt : 16);
	if (wait > WAIT_MAX_MS)
		wait = WAIT_MAX_MS;
	/* Those that failed together are not to come back together. */
	wait = wait / 2 + dice % (wait / 2 + 1);
	return wait + rq->retry_ms + 1;
}

static void
finish(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;

	pthread_mutex_lock(&p->lock);
	rq->state = PEER_RQ_IDLE;
	if (rq->op != NULL && rq->op->call != NULL && rq->retry_ms > rq->op->call->retry_ms)
		rq->op->call->retry_ms = rq->retry_ms;
	pthread_mutex_unlock(&p->lock);
	rq->done(rq);
}

/* 1 if the peer's answer about credentials is not the last word: the request is under way anew. */
static int
is_renewed(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	int again;

	if (rq->plain)
		return 0;
	if (rq->err != 0 || (rq->status != 401 && rq->status != 403)) {
		if (rq->err == 0)
			peer_auth_accepted(p, rq);
		return 0;
	}
	pthread_mutex_lock(&p->lock);
	again = peer_auth_refused(p, rq);
	if (again && !rq->once)
		begin(rq);
	pthread_mutex_unlock(&p->lock);
	if (!again || !rq->once)
		return again;
	rq->err = ERR_IO;
	(void)err_why(&rq->why, ERR_IO, "the session has run out; it is to be tried again");
	return 0;
}

static void
ended(void *arg)
{
	struct peer_rq *rq = arg;
	struct peer_http *p = rq->p;
	uint64_t wait;

	if (rq->failed != 0) {
		rq->err = rq->failed;
		rq->status = 0;
		finish(rq);
		return;
	}
	/* It was us who ended it, or it had said enough before it was cut off. */
	if (rq->err == ERR_END || (rq->err == ERR_IO && rq->status >= 400))
		rq->err = 0;
	if (is_renewed(rq))
		return;
	wait = wait_ms(rq);
	if (wait == 0) {
		finish(rq);
		return;
	}
	pthread_mutex_lock(&p->lock);
	rq->attempt++;
	go_on_later(rq, wait);
	pthread_mutex_unlock(&p->lock);
}

/* ---- What it was ---- */

int
peer_rq_bad(struct peer_rq *rq, int err, const char *fmt, ...)
{
	char text[ERRTEXT_MAX];
	int shown = (int)(rq->shown < PATH_SHOWN ? rq->shown : PATH_SHOWN);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rq->err = err;
	return err_why(&rq->why, err, "%s %s%.*s%s: %s", rq->method, rq->p->base.name, shown,
	    rq->path.data != NULL ? rq->path.data : "", rq->shown > PATH_SHOWN ? "..." : "", text);
}

void
peer_rq_judge(struct peer_rq *rq, int err, const struct errtext *why)
{
	if (err != 0)
		(void)peer_rq_bad(rq, err, "its answer %s", why->text[0] != '\0' ? why->text : err_reason(err));
}

int
peer_rq_is_said(const struct peer_rq *rq)
{
	return rq->err == ERR_IO && rq->status == 500 && has_words(rq);
}

/* Without the credentials that a location may have. */
static const char *
place(const char *location)
{
	const char *at = strchr(location, '@');

	return at != NULL ? at + 1 : location[0] != '\0' ? location : "nowhere";
}

static int
status_code(const struct peer_rq *rq, const struct peer_said *said)
{
	switch (rq->status) {
	case 401:
		return ERR_UNAUTHORIZED;
	case 403:
		return ERR_FORBIDDEN;
	case 404:
		return ERR_NO_DB;
	case 409:
		return ERR_CONFLICT;
	case 412:
		return strcmp(said->error, "missing_stub") == 0 ? ERR_MISSING_STUB : ERR_IO;
	case 413:
		return ERR_TOO_LARGE;
	case 414:
	case 431:
		/* A short URL is not at fault. */
		return rq->path.len >= PEER_URL_MIN ? ERR_BAD_URL : ERR_IO;
	case 429:
		return ERR_TOO_MANY_REQUESTS;
	case 503:
		return ERR_BUSY;
	case 507:
		return ERR_NOSPACE;
	default:
		return ERR_IO;
	}
}

int
peer_rq_ok(struct peer_rq *rq)
{
	struct peer_said said;
	struct errtext why;

	if (rq->err != 0) {
		why = rq->why;
		if (rq->err != ERR_CANCELLED)
			(void)peer_rq_bad(rq, rq->err, "%s", why.text[0] != '\0' ? why.text : err_reason(rq->err));
		return 0;
	}
	if (rq->status >= 300 && rq->status <= 399) {
		(void)peer_rq_bad(rq, ERR_IO, "answered %d: it has moved to %.200s; redirects are not followed",
		    rq->status, place(rq->location));
		return 0;
	}
	if (peer_rq_is_page(rq)) {
		(void)peer_rq_bad(rq, status_code(rq, &(struct peer_said){"", ""}), "answered %d with a web page%s",
		    rq->status, rq->status < 400 || rq->status == 404 ? ": no database is there" : "");
		return 0;
	}
	if (rq->status >= 200 && rq->status <= 299)
		return 1;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	(void)peer_rq_bad(rq, status_code(rq, &said), "answered %d%s%s%s%s", rq->status,
	    said.error[0] != '\0' ? ", " : "", said.error, said.reason[0] != '\0' ? ": " : "", said.reason);
	return 0;
}
