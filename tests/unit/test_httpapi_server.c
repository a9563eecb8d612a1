/* The engine over sockets: whole answers and streams, what clients may do to them, messages, timers, refusals, the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "httpapi/server.h"

#define WAIT_MS 5000 /* for what must happen; much less is the rule */
#define SLOW_MS 600

static struct http_server *server;
static _Atomic unsigned stops, gones, hooks, lates, lost;

/* ---- The handler ---- */

struct feed {
	struct http_req *req;
	struct http_timer *timer;
	struct feed *next;
	unsigned left;
};

static struct feed *feeds; /* of thread 0: the test's server has one */

static void
feed_end(struct feed *f)
{
	struct feed **p;

	for (p = &feeds; *p != NULL; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	http_timer_free(f->timer);
	free(f);
}

static void
feed_stop(void *cookie)
{
	atomic_fetch_add(&stops, 1);
	feed_end(cookie);
}

static void
feed_tick(void *cookie)
{
	struct feed *f = cookie;

	if (http_can_send(f->req))
		http_send(f->req, "tick", 4);
}

static void
feed_ready(void *cookie)
{
	struct feed *f = cookie;

	if (--f->left == 0) {
		http_finish(f->req);
		feed_end(f);
	} else {
		http_timer_set(f->timer, 5);
	}
}

static void
open_feed(struct http_req *req, unsigned ticks)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (f == NULL || http_timer_new(http_req_thread(req), feed_tick, f, &f->timer) != 0)
		abort();
	f->req = req;
	f->left = ticks;
	f->next = feeds;
	feeds = f;
	http_start(req, 200, UINT64_MAX, feed_ready, feed_stop, f);
	if (ticks > 0)
		http_timer_set(f->timer, 5);
}

static void
end_feeds(void *arg)
{
	(void)arg;
	atomic_fetch_add(&hooks, 1);
	while (feeds != NULL) {
		struct feed *f = feeds;

		http_send(f->req, "bye", 3);
		http_finish(f->req);
		feed_end(f);
	}
}

/* Megabytes in pieces. */
struct pour {
	struct http_req *req;
	unsigned left;
};

static char piece[65536];

static void
pour_more(void *cookie)
{
	struct pour *p = cookie;

	if (p->left-- == 0) {
		http_finish(p->req);
		free(p);
	} else {
		http_send(p->req, piece, sizeof(piece));
	}
}

static void
pour_stop(void *cookie)
{
	atomic_fetch_add(&stops, 1);
	free(cookie);
}

static void
open_pour(struct http_req *req, unsigned pieces)
{
	struct pour *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	p->req = req;
	p->left = pieces;
	http_start(req, 200, (uint64_t)pieces * sizeof(piece), pour_more, pour_stop, p);
	pour_more(p);
}

struct late {
	struct http_msg msg;
	struct http_req *req;
	useconds_t after_us;
};

static void
late_answer(void *arg)
{
	struct late *l = arg;

	atomic_fetch_add(&lates, 1);
	if (http_gone(l->req))
		atomic_fetch_add(&gones, 1);
	http_reply(l->req, 201, "late", 4);
	http_release(l->req);
	free(l);
}

static void *
late_worker(void *arg)
{
	struct late *l = arg;

	usleep(l->after_us);
	http_post(http_req_thread(l->req), &l->msg);
	return NULL;
}

static void
answer_late(struct http_req *req, useconds_t after_us)
{
	struct late *l = calloc(1, sizeof(*l));
	pthread_t id;

	if (l == NULL)
		abort();
	*l = (struct late){{late_answer, l, NULL}, req, after_us};
	http_hold(req);
	if (pthread_create(&id, NULL, late_worker, l) != 0)
		abort();
	pthread_detach(id);
}

/* ---- Bodies ---- */

static uint32_t
fnv(uint32_t h, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * 16777619u;
	return h;
}

static void
reply_err(struct http_req *req, int err)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "{\"error\":\"%s\"}", err_name(err));

	if (err == ERR_IO)
		atomic_fetch_add(&lost, 1);
	http_reply(req, err_status(err), text, (size_t)n);
}

static void
echo_body(void *arg)
{
	struct http_req *req = arg;
	struct jstr p = http_path(req), q = http_query(req), host = http_header(req, "host"),
		    x = http_header(req, "x-thing"), body;
	char line[4096];
	int n, err = http_body_all(req, &body);

	if (err != 0) {
		reply_err(req, err);
		return;
	}
	n = snprintf(line, sizeof(line), "%s|%.*s|%.*s|%.*s|%.*s|%x|", http_method(req), (int)p.len, p.s, (int)q.len,
	    q.s, (int)host.len, host.s, (int)x.len, x.len > 0 ? x.s : "", (unsigned)http_version(req));
	if (body.len < 3500)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%.*s", (int)body.len, body.s);
	else
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%zu %08x", body.len, fnv(0, body.s, body.len));
	http_set_header(req, "content-type", "text/plain", 10);
	http_set_header(req, "etag", "\"1\"", 3);
	http_set_header(req, "etag", "\"2\"", 3);
	http_add_header(req, "x-own", "a", 1);
	http_add_header(req, "x-split", "a\r\nx-smuggled: b", 16);
	http_set_header(req, "x-nul", "a\0b", 3);
	http_reply(req, 200, line, (size_t)n);
}

static void
echo(struct http_req *req)
{
	if (http_body_is_whole(req))
		echo_body(req);
	else
		http_body_gather(req, echo_body, req);
}

/* Reads a body piece by piece, each on another thread, and answers with its length and sum. */
struct summing {
	struct http_msg msg;
	struct http_req *req;
	struct jstr piece;
	uint64_t len;
	uint32_t sum;
	unsigned pieces, waits;
	int half; /* answer before the end */
};

static void sum_next(void *arg);

static void *
sum_worker(void *arg)
{
	struct summing *s = arg;

	usleep(500);
	s->sum = fnv(s->sum, s->piece.s, s->piece.len);
	s->len += s->piece.len;
	http_post(http_req_thread(s->req), &s->msg);
	return NULL;
}

static void
sum_end(struct summing *s, int err)
{
	char text[128];
	struct jstr len = http_header(s->req, "content-length");
	int n = snprintf(text, sizeof(text), "sum %llu %08x %.*s", (unsigned long long)s->len, s->sum, (int)len.len,
	    len.len > 0 ? len.s : "");

	if (err != 0)
		reply_err(s->req, err);
	else
		http_reply(s->req, 200, text, (size_t)n);
	http_release(s->req);
	free(s);
}

static void
sum_next(void *arg)
{
	struct summing *s = arg;
	pthread_t id;
	int err = http_body_read(s->req, &s->piece);

	if (err == ERR_AGAIN) {
		s->waits++;
		http_body_wait(s->req, sum_next, s);
	} else if (err != 0 || s->piece.len == 0 || (s->half && s->pieces > 0)) {
		sum_end(s, err);
	} else {
		s->pieces++;
		if (pthread_create(&id, NULL, sum_worker, s) != 0)
			abort();
		pthread_detach(id);
	}
}

static void
sum_body(struct http_req *req, int half)
{
	struct summing *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->msg = (struct http_msg){sum_next, s, NULL};
	s->req = req;
	s->half = half;
	http_hold(req);
	sum_next(s);
}

static int
path_is(struct http_req *req, const char *path)
{
	struct jstr p = http_path(req);

	return p.len == strlen(path) && memcmp(p.s, path, p.len) == 0;
}

static void
handle(struct http_req *req, void *cookie)
{
	(void)cookie;
	if (path_is(req, "/feed"))
		open_feed(req, 0);
	else if (path_is(req, "/ticks"))
		open_feed(req, 3);
	else if (path_is(req, "/pour"))
		open_pour(req, 64);
	else if (path_is(req, "/late"))
		answer_late(req, 2000);
	else if (path_is(req, "/later"))
		answer_late(req, 300000);
	else if (path_is(req, "/sum"))
		sum_body(req, 0);
	else if (path_is(req, "/half"))
		sum_body(req, 1);
	else if (path_is(req, "/refuse"))
		reply_err(req, ERR_UNAUTHORIZED);
	else
		echo(req);
}

/* ---- The client ---- */

static int
dial_port(unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		abort();
	return fd;
}

static int
dial(void)
{
	return dial_port(http_server_port(server));
}

static void
say(int fd, const char *text, size_t len)
{
	/* The other side may have closed already, which is then seen when its answer is read. */
	(void)!send(fd, text, len, MSG_NOSIGNAL);
}

static void
say_text(int fd, const char *text)
{
	say(fd, text, strlen(text));
}

/* Reads until ${until} (NULL: the end of the connection) has come; returns the bytes read, terminated. */
static size_t
hear(int fd, char *buf, size_t size, const char *until)
{
	struct pollfd p = {fd, POLLIN, 0};
	size_t n = 0;
	ssize_t got;

	buf[0] = '\0';
	while (n + 1 < size && (until == NULL || memmem(buf, n, until, strlen(until)) == NULL)) {
		if (poll(&p, 1, WAIT_MS) != 1 || (got = recv(fd, buf + n, size - n - 1, 0)) <= 0)
			break;
		n += (size_t)got;
		buf[n] = '\0';
	}
	return n;
}

/* One request on a connection of its own, and all that comes back. */
static char *
ask(const char *request)
{
	static char buf[8192];
	int fd = dial();

	say(fd, request, strlen(request));
	shutdown(fd, SHUT_WR);
	hear(fd, buf, sizeof(buf), NULL);
	close(fd);
	return buf;
}

static int
has_ended(int fd)
{
	char byte;
	ssize_t rc = recv(fd, &byte, 1, MSG_DONTWAIT);

	return rc == 0 || (rc < 0 && errno != EAGAIN);
}

static int
has(const char *text, const char *part)
{
	if (strstr(text, part) != NULL)
		return 1;
	fprintf(stderr, "no \"%s\" in: %s\n", part, text);
	return 0;
}

static int
reaches(_Atomic unsigned *counter, unsigned n)
{
	int ms;

	for (ms = 0; ms < WAIT_MS && atomic_load(counter) < n; ms++)
		usleep(1000);
	return atomic_load(counter) == n;
}

#define CLOSE "Connection: close\r\n\r\n"

static void
test_whole(void)
{
	char *a =
	    ask("POST /a%2Fb/../c?x=%20&y HTTP/1.1\r\nHost: h:1\r\nX-Thing: t\r\nContent-Length: 3\r\n" CLOSE "abc");

	CHECK(strncmp(a, "HTTP/1.1 200 OK\r\n", 17) == 0);
	CHECK(has(a, "\r\n\r\nPOST|/a%2Fb/../c|x=%20&y|h:1|t|101|abc"));
	CHECK(has(a, "\r\netag: \"2\"\r\n"));
	CHECK(strstr(a, "\"1\"") == NULL);
	CHECK(has(a, "\r\nServer: test\r\n"));
	a = ask("HEAD /h HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(has(a, "Content-Length: 16\r\n"));
	CHECK(has(a, "\r\nx-own: a\r\n"));
	CHECK(!has(a, "x-split") && !has(a, "x-smuggled") && !has(a, "x-nul"));
	CHECK_STR(strstr(a, "\r\n\r\n"), "\r\n\r\n");
	a = ask("GET http://other/p?q HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(has(a, "GET|/p|q|other||101|"));
	a = ask(
	    "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" CLOSE "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	CHECK(has(a, "PUT|/c||h||101|abcde"));
	a = ask("GET /late HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(strncmp(a, "HTTP/1.1 201 Created\r\n", 22) == 0);
	CHECK(has(a, "\r\n\r\nlate"));
}

static void
test_pipeline(void)
{
	char *a = ask("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /late HTTP/1.1\r\nHost: h\r\n\r\nGET /ticks "
		      "HTTP/1.1\r\nHost: h\r\n\r\n"
		      "POST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxyGET /5 HTTP/1.1\r\nHost: h\r\n" CLOSE);
	const char *one = strstr(a, "GET|/1|"), *two = strstr(a, "\r\n\r\nlate"),
		   *three = strstr(a, "4\r\ntick\r\n0\r\n\r\n"), *four = strstr(a, "POST|/4||h||101|xy"),
		   *five = strstr(a, "GET|/5|");

	CHECK(one != NULL && two != NULL && three != NULL && four != NULL && five != NULL);
	CHECK(one < two && two < three && three < four && four < five);
}

/* Each is answered with CouchDB's JSON and the connection closed. */
static void
test_refused(void)
{
	static const struct {
		const char *request;
		const char *head;
		const char *body;
	} bad[] = {
	    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: "
	     "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 400 ", "\"error\":\"bad_request\""},
	    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\nabcd", "HTTP/1.1 400 ",
		"\"error\":\"bad_request\""},
	    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1x\r\n\r\na", "HTTP/1.1 400 ", "\"error\":\"bad_request\""},
	    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 ",
		"\"error\":\"bad_request\""},
	    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000001\r\n\r\na", "HTTP/1.1 413 ",
		"{\"error\":\"too_large\",\"reason\":\"the request entity is too large\"}\n"},
	    {"GETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 ",
		"\"error\":\"bad_request\""},
	    {"\x01\x02\x03\r\n\r\n", "HTTP/1.1 400 ", "\"error\":\"bad_request\""},
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *a = ask(bad[i].request);

		if (!CHECK(strncmp(a, bad[i].head, strlen(bad[i].head)) == 0) || !CHECK(has(a, bad[i].body)))
			fprintf(stderr, "case %zu\n", i);
	}
}

/* A head of ${n} headers of ${len} bytes each, in pieces, or at once behind another request. */
static char *
ask_headers(int fd, unsigned n, size_t len)
{
	static char buf[8192], line[65536];
	unsigned i;

	memset(line, 'x', sizeof(line));
	memcpy(line, "a: ", 3);
	memcpy(line + len - 2, "\r\n", 2);
	say_text(fd, "GET /n HTTP/1.1\r\nHost: h\r\n");
	for (i = 1; i < n; i++)
		say(fd, line, len);
	say_text(fd, CLOSE);
	hear(fd, buf, sizeof(buf), NULL);
	close(fd);
	return buf;
}

static void
test_long_heads(void)
{
	static const char json[] = "\r\nContent-Type: application/json\r\n";
	char buf[2048];
	int fd;
	char *a = ask_headers(dial(), 99, 100);

	CHECK(has(a, "GET|/n|"));
	a = ask_headers(dial(), 100, 10);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && has(a, json));
	CHECK(has(a, "{\"error\":\"request_header_fields_too_large\",\"reason\":\"the request head is too large\"}\n"));
	a = ask_headers(dial(), 3, 60000);
	CHECK(has(a, "GET|/n|"));
	a = ask_headers(dial(), 4, 60000);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && has(a, json));
	a = ask_headers(dial(), 31, 65000);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && has(a, json));
	/* The gate is back for the next request on the same connection. */
	fd = dial();
	say_text(fd, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
	hear(fd, buf, sizeof(buf), "late");
	say_text(fd, "PUT /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
	hear(fd, buf, sizeof(buf), "|abc");
	a = ask_headers(fd, 120, 20);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && has(a, json));
}

static void
test_streams(void)
{
	static char big[64 * sizeof(piece) + 4096];
	char buf[2048];
	char *a;
	int fd = dial();
	size_t n;

	/* The head comes although nothing is ever sent; a client that leaves is noticed although nothing is ever sent.
	 */
	say(fd, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	hear(fd, buf, sizeof(buf), "\r\n\r\n");
	CHECK(has(buf, "transfer-encoding: chunked\r\n"));
	close(fd);
	CHECK(reaches(&stops, 1));
	/* So it is with data behind the request, which nobody reads until the feed ends. */
	fd = dial();
	say(fd, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n", 47);
	hear(fd, buf, sizeof(buf), "\r\n\r\n");
	close(fd);
	CHECK(reaches(&stops, 2));
	a = ask("GET /ticks HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(has(a, "4\r\ntick\r\n4\r\ntick\r\n4\r\ntick\r\n0\r\n\r\n"));
	/* A client that has closed its side still reads to the end. */
	fd = dial();
	say(fd, "GET /pour HTTP/1.1\r\nHost: h\r\n" CLOSE, 30 + 20);
	shutdown(fd, SHUT_WR);
	n = hear(fd, big, sizeof(big), NULL);
	a = strstr(big, "\r\n\r\n");
	CHECK(a != NULL && n - (size_t)(a + 4 - big) == 64 * sizeof(piece));
	close(fd);
	CHECK_INT(atomic_load(&stops), 2);
	a = ask("HEAD /pour HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(has(a, "Content-Length: 4194304\r\n"));
	CHECK_STR(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}

/* ---- Streamed bodies ---- */

#define BIG 900000u /* over HTTP/1 more than h2o is given to collect; gathered, a chunked one goes to a file */

static char big[BIG + 1];
static char big_sum[64]; /* what /sum says of it */
static char big_echo[64];

static void
make_big(void)
{
	unsigned i;

	for (i = 0; i < BIG; i++)
		big[i] = (char)('a' + (i * 7919u >> 5) % 26);
	snprintf(big_sum, sizeof(big_sum), "sum %u %08x ", BIG, fnv(0, big, BIG));
	snprintf(big_echo, sizeof(big_echo), "||h||101|%u %08x", BIG, fnv(0, big, BIG));
}

static void
say_head(int fd, const char *path, const char *headers)
{
	char head[512];
	int n = snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, headers);

	say(fd, head, (size_t)n);
}

#define BIG_LEN "Content-Length: 900000\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void
say_chunks(int fd, size_t size)
{
	size_t at = 0;
	char line[64];

	while (at < BIG) {
		size_t n = BIG - at < size ? BIG - at : size;

		say(fd, line, (size_t)snprintf(line, sizeof(line), "%zX%s\r\n", n, at == 0 ? ";a=b" : ""));
		say(fd, big + at, n);
		say_text(fd, "\r\n");
		at += n;
	}
	say_text(fd, "0\r\nx-trailer: 1\r\n\r\n");
}

/* The answer on a connection that goes on. */
static int
hears(int fd, const char *what)
{
	static char buf[8192];

	hear(fd, buf, sizeof(buf), what);
	return has(buf, what);
}

static int
hears_end(int fd, const char *what)
{
	static char buf[8192];

	hear(fd, buf, sizeof(buf), NULL);
	return has(buf, what) && has(buf, "Connection: close");
}

static void
test_streamed(void)
{
	static const char next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd = dial(), i;

	say_head(fd, "/sum", BIG_LEN);
	say(fd, big, BIG);
	CHECK(hears(fd, big_sum));
	say_head(fd, "/sum", CHUNKED);
	say_chunks(fd, 70000);
	CHECK(hears(fd, big_sum));
	say_head(fd, "/gathered", BIG_LEN);
	say(fd, big, BIG);
	CHECK(hears(fd, big_echo));
	say_head(fd, "/gathered", CHUNKED);
	say_chunks(fd, 1000);
	CHECK(hears(fd, big_echo));
	/* In small pieces, with pauses. */
	say_head(fd, "/sum", BIG_LEN);
	for (i = 0; i < 30; i++) {
		say(fd, big + (BIG / 30) * (unsigned)i, BIG / 30);
		usleep(2000);
	}
	CHECK(hears(fd, big_sum));
	/* Requests that come right behind. */
	say_head(fd, "/sum", BIG_LEN);
	say(fd, big, BIG);
	say_text(fd, next);
	CHECK(hears(fd, "GET|/next|"));
	say_head(fd, "/sum", CHUNKED);
	say_chunks(fd, 70000);
	say_text(fd, next);
	CHECK(hears(fd, "GET|/next|"));
	say_head(fd, "/next", "Content-Length: 3\r\n");
	say_text(fd, "abc");
	CHECK(hears(fd, "|abc"));
	close(fd);
}

/* Chunks whose framing comes byte by byte. */
static void
test_dribbled(void)
{
	static const char text[] = "3;x=y\r\nabc\r\n00a\r\n0123456789\r\n1 \r\nZ\r\n0\r\nt: 1\r\nu: 2\r\n\r\n";
	const char *p;
	int fd = dial();

	say_head(fd, "/echo", CHUNKED);
	for (p = text; *p != '\0'; p++) {
		say(fd, p, 1);
		usleep(200);
	}
	CHECK(hears(fd, "PUT|/echo||h||101|abc0123456789Z"));
	say_text(fd, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(hears(fd, "GET|/next|"));
	close(fd);
}

static void
test_bad_chunks(void)
{
	static const char *const bad[] = {"xyz\r\n", "\r\n", "3\nabc", "0000000000000003\r\nabc",
	    "ffffffffffffffff\r\nabc", "-3\r\nabc", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n",
	    "3\r\nabc0\r\n\r\n", "0\r\nt: 1\n\r\n", "0\r\n\rx", "3;a\nabc", "3,\r\nabc"};
	static char lines[9000], line[2000];
	size_t i;
	int fd;

	for (i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
		fd = dial();
		say_head(fd, i % 2 ? "/sum" : "/gathered", CHUNKED);
		usleep(1000);
		say_text(fd, bad[i / 2]);
		if (!CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n")))
			fprintf(stderr, "case %zu\n", i / 2);
		close(fd);
	}
	fd = dial();
	memset(line, ' ', sizeof(line));
	line[0] = '3';
	say_head(fd, "/sum", CHUNKED);
	say(fd, line, sizeof(line));
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
	fd = dial();
	memset(lines, 't', sizeof(lines));
	say_head(fd, "/sum", CHUNKED);
	say_text(fd, "0\r\n");
	say(fd, lines, sizeof(lines));
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
}

/* An answer before the end of the body reaches a client that has sent nothing, or sends it all before it reads. */
static void
test_refused_body(void)
{
	static const char json[] = "{\"error\":\"too_large\"";
	int fd = dial(), i;

	say_head(fd, "/refuse", BIG_LEN);
	CHECK(hears_end(fd, "HTTP/1.1 401 Unauthorized\r\n"));
	close(fd);
	fd = dial();
	say_head(fd, "/refuse", BIG_LEN);
	say(fd, big, BIG);
	CHECK(hears_end(fd, "HTTP/1.1 401 Unauthorized\r\n"));
	close(fd);
	fd = dial();
	say_head(fd, "/half", CHUNKED);
	say_chunks(fd, 300);
	CHECK(hears_end(fd, "HTTP/1.1 200 OK\r\n"));
	close(fd);
	fd = dial();
	say_head(fd, "/sum", "Content-Length: 200000000\r\n");
	CHECK(hears_end(fd, json));
	close(fd);
	fd = dial();
	say_head(fd, "/sum", "Content-Length: 4000000\r\n");
	for (i = 0; i < 4; i++)
		say(fd, big, BIG);
	CHECK(hears_end(fd, json));
	close(fd);
	for (i = 0; i < 2; i++) {
		fd = dial();
		say_head(fd, i == 0 ? "/sum" : "/gathered", CHUNKED);
		say_text(fd, "f4242\r\n");
		say(fd, big, BIG);
		say(fd, big, 1000002 - BIG);
		CHECK(hears_end(fd, json));
		close(fd);
	}
	fd = dial();
	say_head(fd, "/sum", BIG_LEN CHUNKED);
	say_chunks(fd, 1000);
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
	/* What a GET brings is not wanted. */
	fd = dial();
	say_text(fd, "GET /sum HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	usleep(2000);
	for (i = 0; i < 3; i++) {
		say_text(fd, "dbba0\r\n");
		say(fd, big, BIG);
		say_text(fd, "\r\n");
	}
	CHECK(hears_end(fd, json));
	close(fd);
}

static void
test_expect(void)
{
	char buf[4096];
	int fd = dial();

	say_head(fd, "/sum", BIG_LEN "Expect: 100-continue\r\n");
	CHECK(hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	say(fd, big, BIG);
	CHECK(hears(fd, big_sum));
	say_head(fd, "/gathered", "expect: 100-Continue\r\n" CHUNKED);
	CHECK(hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	say_chunks(fd, 5000);
	CHECK(hears(fd, big_echo));
	say_head(fd, "/refuse", BIG_LEN "Expect: 100-continue\r\n");
	hear(fd, buf, sizeof(buf), NULL);
	CHECK(strncmp(buf, "HTTP/1.1 401 Unauthorized\r\n", 27) == 0);
	close(fd);
	/* Small bodies are h2o's. */
	fd = dial();
	say_head(fd, "/small", "Content-Length: 3\r\nExpect: 100-continue\r\n");
	CHECK(hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	say_text(fd, "abc");
	CHECK(hears(fd, "|abc"));
	close(fd);
	fd = dial();
	say_head(fd, "/sum", BIG_LEN "Expect: 200-ok\r\n");
	CHECK(hears(fd, "HTTP/1.1 417 "));
	close(fd);
}

/* Clients that leave in the middle. */
static void
test_body_lost(void)
{
	static const char *const paths[] = {"/sum", "/gathered"};
	unsigned before = atomic_load(&lost), answered = atomic_load(&lates), i;
	struct linger hard = {1, 0};
	int fd;

	for (i = 0; i < 8; i++) {
		fd = dial();
		say_head(fd, paths[i % 2], i & 2 ? BIG_LEN : CHUNKED);
		say_text(fd, "dbba0\r\n");
		say(fd, big, i & 1 ? 300000 : 1);
		usleep(20000);
		if (i & 4)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
		CHECK(reaches(&lost, before + i + 1));
	}
	/* While nobody reads. */
	fd = dial();
	say_head(fd, "/later", BIG_LEN);
	say(fd, big, 100000);
	usleep(5000);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	CHECK(reaches(&lates, answered + 1));
}

/* A frame of HTTP/2. */
static void
say_frame(int fd, unsigned char type, unsigned char flags, unsigned stream, const char *payload, unsigned char len)
{
	char head[9] = {0, 0, (char)len, (char)type, (char)flags, 0, 0, (char)(stream >> 8), (char)stream};

	say(fd, head, sizeof(head));
	say(fd, payload, len);
}

static int
dial_h2(void)
{
	int fd = dial();

	say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	say_frame(fd, 4, 0, 0, "", 0);
	return fd;
}

/* GET with authority "h", path of five bytes. */
static void
get_h2(int fd, unsigned stream, const char *path5)
{
	char headers[] = "\x82\x86\x41\x01h\x04\x05/xxxx";

	memcpy(headers + 7, path5, 5);
	say_frame(fd, 1, 5, stream, headers, sizeof(headers) - 1);
}

static void
test_h2(void)
{
	char buf[4096];
	size_t n;
	int fd = dial_h2();
	unsigned before = atomic_load(&stops), left = atomic_load(&gones), answered;

	get_h2(fd, 1, "/h2h2");
	n = hear(fd, buf, sizeof(buf), "|200|");
	CHECK(memmem(buf, n, "GET|/h2h2||h||200|", 18) != NULL);
	/* A stream that is reset ends its feed; one that waits for a worker is gone when that comes back. */
	get_h2(fd, 3, "/feed");
	usleep(20000);
	say_frame(fd, 3, 0, 3, "\0\0\0\x08", 4);
	CHECK(reaches(&stops, before + 1));
	answered = atomic_load(&lates);
	get_h2(fd, 5, "/late");
	say_frame(fd, 3, 0, 5, "\0\0\0\x08", 4);
	CHECK(reaches(&lates, answered + 1));
	CHECK(reaches(&gones, left + 1));
	/* A connection that is lost ends its feeds. */
	get_h2(fd, 7, "/feed");
	usleep(20000);
	close(fd);
	CHECK(reaches(&stops, before + 2));
}

static void
say_data(int fd, unsigned stream, size_t len, unsigned char flags)
{
	static const char zeros[16384];
	char head[9] = {0, (char)(len >> 8), (char)len, 0, (char)flags, 0, 0, (char)(stream >> 8), (char)stream};

	say(fd, head, sizeof(head));
	say(fd, zeros, len);
}

/* A body beyond the limit gets an answer, and the connection goes on. */
static void
test_h2_too_large(void)
{
	static const char json[] = "{\"error\":\"too_large\",\"reason\":\"the request entity is too large\"}\n";
	static const char post[] = "\x83\x86\x41\x01h\x04\x05/body";
	char buf[8192];
	int fd = dial_h2(), i;
	size_t n;

	say_frame(fd, 1, 4, 1, post, sizeof(post) - 1);
	for (i = 0; i < 62; i++)
		say_data(fd, 1, 16384, i == 61);
	n = hear(fd, buf, sizeof(buf), json);
	CHECK(memmem(buf, n, json, sizeof(json) - 1) != NULL);
	say_frame(fd, 1, 4, 3, post, sizeof(post) - 1);
	say_data(fd, 3, 5, 1);
	n = hear(fd, buf, sizeof(buf), "POST|/body|");
	CHECK(memmem(buf, n, "POST|/body||h||200|", 19) != NULL);
	close(fd);
}

/* Who sends too slowly is cut off, who is merely idle is not. */
static void
test_slow(void)
{
	char buf[2048], hundred[100];
	int head = dial(), body = dial(), large = dial(), stream = dial_h2(), feed = dial(), steady = dial(),
	    calm = dial(), i;
	unsigned before = atomic_load(&stops), left = atomic_load(&lost);

	memset(hundred, 'h', sizeof(hundred));
	say(feed, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	hear(feed, buf, sizeof(buf), "\r\n\r\n");
	say_text(head, "GET / HTTP/1.1\r\nHost: h");
	say_text(body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1");
	say_frame(stream, 1, 4, 1, "\x83\x86\x41\x01h\x04\x05/body", 12);
	say_head(large, "/sum", BIG_LEN);
	say_text(large, "1");
	say_head(calm, "/sum", CHUNKED);
	say_text(steady, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n" CLOSE);
	for (i = 0; i < 30; i++) {
		say(steady, hundred, sizeof(hundred));
		say_text(calm, "64\r\n");
		say(calm, hundred, sizeof(hundred));
		say_text(calm, "\r\n");
		usleep(2 * SLOW_MS * 1000 / 30);
	}
	hear(steady, buf, sizeof(buf), NULL);
	CHECK(has(buf, "POST|/||h||101|hhh"));
	say_text(calm, "0\r\n\r\n");
	CHECK(hears(calm, "sum 3000 "));
	CHECK_INT(hear(large, buf, sizeof(buf), NULL), 0);
	CHECK_INT(atomic_load(&lost), left + 1);
	CHECK_INT(hear(head, buf, sizeof(buf), NULL), 0);
	CHECK_INT(hear(body, buf, sizeof(buf), NULL), 0);
	hear(stream, buf, sizeof(buf), NULL);
	CHECK(has_ended(stream));
	CHECK(!has_ended(feed));
	CHECK_INT(atomic_load(&stops), before);
	close(head), close(body), close(large), close(calm), close(stream), close(feed), close(steady);
	CHECK(reaches(&stops, before + 1));
}

/* Streams opened only to be reset: the connection is cut, others are served. */
static void
test_rapid_reset(void)
{
	int fd = dial_h2();
	unsigned stream;
	char buf[65536];
	char *a;

	for (stream = 1; stream < 1000; stream += 2) {
		get_h2(fd, stream, "/late");
		say_frame(fd, 3, 0, stream, "\0\0\0\x08", 4);
	}
	/* Not a GOAWAY for idleness, which comes after minutes: the connection ends at once. */
	CHECK(hear(fd, buf, sizeof(buf), NULL) < sizeof(buf) - 1);
	CHECK(has_ended(fd));
	close(fd);
	a = ask("GET /alive HTTP/1.1\r\nHost: h\r\n" CLOSE);
	CHECK(has(a, "GET|/alive|"));
}

/* ---- TLS ---- */

static void
save_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	if (f == NULL || (cert != NULL && PEM_write_X509(f, cert) != 1) ||
	    (key != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) != 1) || fclose(f) != 0)
		abort();
}

static void
make_certificate(const struct http_config *config, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	if (key == NULL || cert == NULL)
		abort();
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(
	    X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	save_pem(config->tls.cert_file, cert, NULL);
	save_pem(config->tls.key_file, NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static SSL *
dial_tls(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);

	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, dial_port(http_server_tls_port(server)));
	if (SSL_connect(ssl) != 1)
		abort();
	return ssl;
}

/* Reads until ${until} (NULL: the end of the connection) has come. */
static char *
hear_tls(SSL *ssl, const char *until)
{
	static char buf[8192];
	int n = 0, got;

	buf[0] = '\0';
	while (n < (int)sizeof(buf) - 1 && (until == NULL || strstr(buf, until) == NULL) &&
	       (got = SSL_read(ssl, buf + n, (int)sizeof(buf) - 1 - n)) > 0) {
		n += got;
		buf[n] = '\0';
	}
	return buf;
}

static void
end_tls(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
}

/* Asks over TLS; the server's name goes to ${name}. */
static char *
ask_tls(const char *request, char *name, int size)
{
	SSL *ssl = dial_tls();
	X509 *cert = SSL_get1_peer_certificate(ssl);
	char *answer;

	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, size);
	X509_free(cert);
	SSL_write(ssl, request, (int)strlen(request));
	answer = hear_tls(ssl, NULL);
	end_tls(ssl);
	return answer;
}

static void
write_tls(SSL *ssl, const char *text, size_t len)
{
	/* As with say(). */
	(void)!SSL_write(ssl, text, (int)len);
}

#define HEAD_TLS(path, headers) "PUT " path " HTTP/1.1\r\nHost: h\r\n" headers "\r\n"

static void
test_streamed_tls(void)
{
	static const char sum[] = HEAD_TLS("/sum", BIG_LEN),
			  expect[] = HEAD_TLS("/sum", BIG_LEN "Expect: 100-continue\r\n"),
			  refuse[] = HEAD_TLS("/refuse", BIG_LEN "Expect: 100-continue\r\n"),
			  chunked[] = HEAD_TLS("/gathered", CHUNKED), next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	static char all[sizeof(sum) + BIG + sizeof(next)];
	unsigned before = atomic_load(&lost);
	SSL *ssl = dial_tls();
	int i;

	/* With the first bytes, and another request behind. */
	memcpy(all, sum, sizeof(sum) - 1);
	memcpy(all + sizeof(sum) - 1, big, BIG);
	memcpy(all + sizeof(sum) - 1 + BIG, next, sizeof(next) - 1);
	write_tls(ssl, all, sizeof(sum) - 1 + BIG + sizeof(next) - 1);
	CHECK(has(hear_tls(ssl, "GET|/next|"), "GET|/next|"));
	for (i = 0; i < 3; i++) {
		write_tls(ssl, expect, sizeof(expect) - 1);
		CHECK(has(hear_tls(ssl, "100 Continue\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n"));
		write_tls(ssl, big, BIG);
		CHECK(has(hear_tls(ssl, big_sum), big_sum));
		write_tls(ssl, chunked, sizeof(chunked) - 1);
		write_tls(ssl, "dbba0\r\n", 7);
		write_tls(ssl, big, BIG);
		write_tls(ssl, "\r\n0\r\n\r\n", 7);
		CHECK(has(hear_tls(ssl, big_echo), big_echo));
	}
	write_tls(ssl, refuse, sizeof(refuse) - 1);
	CHECK(strncmp(hear_tls(ssl, NULL), "HTTP/1.1 401 Unauthorized\r\n", 27) == 0);
	end_tls(ssl);
	ssl = dial_tls();
	write_tls(ssl, sum, sizeof(sum) - 1);
	write_tls(ssl, big, 400000);
	usleep(10000);
	end_tls(ssl);
	CHECK(reaches(&lost, before + 1));
}

/* A renewed certificate serves new connections; one that does not fit its key changes nothing. */
static void
test_tls(const struct http_config *config)
{
	char name[64], many[4096] = "GET /t HTTP/1.1\r\n";
	char *a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" CLOSE, name, sizeof(name));
	EVP_PKEY *other;
	int i;

	CHECK(has(a, "GET|/t||h||101|"));
	CHECK_STR(name, "first");
	for (i = 0; i < 200; i++)
		memcpy(many + 17 + 6 * i, "a: b\r\n", 7);
	memcpy(many + 17 + 6 * 200, CLOSE, sizeof(CLOSE));
	a = ask_tls(many, name, sizeof(name));
	CHECK(has(a, "{\"error\":\"request_header_fields_too_large\",\"reason\":\"the request head is too large\"}\n"));
	make_certificate(config, "second");
	for (i = 0; i < WAIT_MS / 100 && strcmp(name, "second") != 0; i++) {
		usleep(100000);
		a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" CLOSE, name, sizeof(name));
	}
	CHECK_STR(name, "second");
	CHECK(has(a, "GET|/t||h||101|"));
	other = EVP_EC_gen("P-256");
	save_pem(config->tls.key_file, NULL, other);
	EVP_PKEY_free(other);
	usleep(1100000);
	a = ask_tls("GET /t HTTP/1.1\r\nHost: h\r\n" CLOSE, name, sizeof(name));
	CHECK_STR(name, "second");
	CHECK(has(a, "GET|/t||h||101|"));
}

static void
test_second_server(const struct http_config *config)
{
	struct http_config again = *config;
	struct http_server *other;

	again.port = http_server_port(server);
	CHECK_INT(http_server_new(&again, &other), ERR_IO);
}

static void *
serve(void *arg)
{
	*(int *)arg = http_server_run(server);
	return NULL;
}

/* Feeds get their last line, a request that a worker has gets its answer, idle connections are closed. */
static void
test_stop(pthread_t id)
{
	char buf[2048];
	int feed = dial(), later = dial(), idle = dial(), head = dial(), body = dial(), stream = dial_h2();

	say(feed, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	hear(feed, buf, sizeof(buf), "\r\n\r\n");
	say(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
	hear(idle, buf, sizeof(buf), "|101|");
	say(later, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 32);
	/* These would take longer than a stop may. */
	say_text(head, "GET / HTTP/1.1\r\n");
	say_head(body, "/sum", BIG_LEN);
	say_frame(stream, 1, 4, 1, "\x83\x86\x41\x01h\x04\x05/body", 12);
	usleep(50000);
	http_server_stop(server);
	hear(feed, buf, sizeof(buf), NULL);
	CHECK(has(buf, "3\r\nbye\r\n0\r\n\r\n"));
	CHECK_INT(hear(idle, buf, sizeof(buf), NULL), 0);
	hear(later, buf, sizeof(buf), NULL);
	CHECK(has(buf, "\r\n\r\nlate"));
	pthread_join(id, NULL);
	CHECK_INT(atomic_load(&hooks), 1);
	close(feed);
	close(later);
	close(idle);
	close(head), close(body), close(stream);
}

int
main(void)
{
	struct http_config config = {.bind = "127.0.0.1",
	    .threads = 1,
	    .max_body = 1000000,
	    .slow_ms = SLOW_MS,
	    .spool_dir = "/tmp",
	    .server_name = "test",
	    .tls_bind = "127.0.0.1",
	    .handle = handle};
	char cert[] = "/tmp/divan-cert-XXXXXX", key[] = "/tmp/divan-key-XXXXXX";
	pthread_t id;
	int rc = -1;

	signal(SIGPIPE, SIG_IGN);
	memset(piece, 'p', sizeof(piece));
	close(mkstemp(cert));
	close(mkstemp(key));
	config.tls.cert_file = cert;
	config.tls.key_file = key;
	make_certificate(&config, "first");
	if (http_server_new(&config, &server) != 0 ||
	    http_thread_on_shutdown(http_server_thread(server, 0), end_feeds, NULL) != 0)
		return 1;
	CHECK(http_server_port(server) != 0);
	CHECK_INT(http_server_threads(server), 1);
	if (pthread_create(&id, NULL, serve, &rc) != 0)
		return 1;
	test_whole();
	test_pipeline();
	test_refused();
	test_long_heads();
	test_streams();
	make_big();
	test_streamed();
	test_dribbled();
	test_bad_chunks();
	test_refused_body();
	test_expect();
	test_body_lost();
	test_h2();
	test_h2_too_large();
	test_slow();
	test_rapid_reset();
	test_streamed_tls();
	test_tls(&config);
	test_second_server(&config);
	test_stop(id);
	CHECK_INT(rc, 0);
	http_server_free(server);
	unlink(cert);
	unlink(key);
	return check_done();
}
