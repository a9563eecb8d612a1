/* servertest.h: a server of the engine with a handler of its own, and clients that speak to it over sockets. */
#ifndef TESTS_UNIT_SERVERTEST_H_
#define TESTS_UNIT_SERVERTEST_H_

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "http/http.h"

#define SERVERTEST_WAIT_MS 5000 /* for what must happen; much less is the rule */
#define SERVERTEST_SLOW_MS 600

static struct http_server *servertest_server;
static _Atomic unsigned servertest_stops, servertest_gones, servertest_hooks, servertest_lates, servertest_lost;

/* ---- The handler ---- */

struct servertest_feed {
	struct http_req *req;
	struct http_timer *timer;
	struct servertest_feed *next;
	unsigned left;
};

static struct servertest_feed *servertest_feeds; /* of thread 0: the test's server has one */

static inline void
servertest_feed_end(struct servertest_feed *f)
{
	struct servertest_feed **p;

	for (p = &servertest_feeds; *p != NULL; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	http_timer_free(f->timer);
	free(f);
}

static inline void
servertest_feed_stop(void *cookie)
{
	atomic_fetch_add(&servertest_stops, 1);
	servertest_feed_end(cookie);
}

static inline void
servertest_feed_tick(void *cookie)
{
	struct servertest_feed *f = cookie;

	if (http_can_send(f->req))
		http_send(f->req, "tick", 4);
}

static inline void
servertest_feed_ready(void *cookie)
{
	struct servertest_feed *f = cookie;

	if (--f->left == 0) {
		http_finish(f->req);
		servertest_feed_end(f);
	} else {
		http_timer_set(f->timer, 5);
	}
}

static inline void
servertest_open_feed(struct http_req *req, unsigned ticks)
{
	struct servertest_feed *f = calloc(1, sizeof(*f));

	if (f == NULL || http_timer_new(http_req_thread(req), servertest_feed_tick, f, &f->timer) != 0)
		abort();
	f->req = req;
	f->left = ticks;
	f->next = servertest_feeds;
	servertest_feeds = f;
	http_start(req, 200, UINT64_MAX, servertest_feed_ready, servertest_feed_stop, f);
	if (ticks > 0)
		http_timer_set(f->timer, 5);
}

static inline void
servertest_end_feeds(void *arg)
{
	(void)arg;
	atomic_fetch_add(&servertest_hooks, 1);
	while (servertest_feeds != NULL) {
		struct servertest_feed *f = servertest_feeds;

		http_send(f->req, "bye", 3);
		http_finish(f->req);
		servertest_feed_end(f);
	}
}

/* Megabytes in pieces. */
struct servertest_pour {
	struct http_req *req;
	unsigned left;
};

static char servertest_piece[65536];

static inline void
servertest_pour_more(void *cookie)
{
	struct servertest_pour *p = cookie;

	if (p->left-- == 0) {
		http_finish(p->req);
		free(p);
	} else {
		http_send(p->req, servertest_piece, sizeof(servertest_piece));
	}
}

static inline void
servertest_pour_stop(void *cookie)
{
	atomic_fetch_add(&servertest_stops, 1);
	free(cookie);
}

static inline void
servertest_open_pour(struct http_req *req, unsigned pieces)
{
	struct servertest_pour *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	p->req = req;
	p->left = pieces;
	http_start(
	    req, 200, (uint64_t)pieces * sizeof(servertest_piece), servertest_pour_more, servertest_pour_stop, p);
	servertest_pour_more(p);
}

struct servertest_late {
	struct http_msg msg;
	struct http_req *req;
	useconds_t after_us;
};

static inline void
servertest_late_answer(void *arg)
{
	struct servertest_late *l = arg;

	atomic_fetch_add(&servertest_lates, 1);
	if (http_gone(l->req))
		atomic_fetch_add(&servertest_gones, 1);
	http_reply(l->req, 201, "late", 4);
	http_release(l->req);
	free(l);
}

static inline void *
servertest_late_worker(void *arg)
{
	struct servertest_late *l = arg;

	usleep(l->after_us);
	http_post(http_req_thread(l->req), &l->msg);
	return NULL;
}

static inline void
servertest_answer_late(struct http_req *req, useconds_t after_us)
{
	struct servertest_late *l = calloc(1, sizeof(*l));
	pthread_t id;

	if (l == NULL)
		abort();
	*l = (struct servertest_late){{servertest_late_answer, l, NULL}, req, after_us};
	http_hold(req);
	if (pthread_create(&id, NULL, servertest_late_worker, l) != 0)
		abort();
	pthread_detach(id);
}

/* ---- Bodies ---- */

static inline uint32_t
servertest_fnv(uint32_t h, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * 16777619u;
	return h;
}

static inline void
servertest_reply_err(struct http_req *req, int err)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "{\"error\":\"%s\"}", err_name(err));

	if (err == ERR_IO)
		atomic_fetch_add(&servertest_lost, 1);
	http_reply(req, err_status(err), text, (size_t)n);
}

static inline void
servertest_echo_body(void *arg)
{
	struct http_req *req = arg;
	struct jstr p = http_path(req), q = http_query(req), host = http_header(req, "host"),
		    x = http_header(req, "x-thing"), body;
	char line[4096];
	int n, err = http_body_all(req, &body);

	if (err != 0) {
		servertest_reply_err(req, err);
		return;
	}
	n = snprintf(line, sizeof(line), "%s|%.*s|%.*s|%.*s|%.*s|%x|", http_method(req), (int)p.len, p.s, (int)q.len,
	    q.s, (int)host.len, host.s, (int)x.len, x.len > 0 ? x.s : "", (unsigned)http_version(req));
	if (body.len < 3500)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%.*s", (int)body.len, body.s);
	else
		n += snprintf(
		    line + n, sizeof(line) - (size_t)n, "%zu %08x", body.len, servertest_fnv(0, body.s, body.len));
	http_set_header(req, "content-type", "text/plain", 10);
	http_set_header(req, "etag", "\"1\"", 3);
	http_set_header(req, "etag", "\"2\"", 3);
	http_add_header(req, "x-own", "a", 1);
	http_add_header(req, "x-split", "a\r\nx-smuggled: b", 16);
	http_set_header(req, "x-nul", "a\0b", 3);
	http_reply(req, 200, line, (size_t)n);
}

static inline void
servertest_echo(struct http_req *req)
{
	if (http_body_is_whole(req))
		servertest_echo_body(req);
	else
		http_body_gather(req, servertest_echo_body, req);
}

/* Reads a body piece by piece, each on another thread, and answers with its length and sum. */
struct servertest_summing {
	struct http_msg msg;
	struct http_req *req;
	struct jstr piece;
	uint64_t len;
	uint32_t sum;
	unsigned pieces, waits;
	int half; /* answer before the end */
};

static inline void servertest_sum_next(void *arg);

static inline void *
servertest_sum_worker(void *arg)
{
	struct servertest_summing *s = arg;

	usleep(500);
	s->sum = servertest_fnv(s->sum, s->piece.s, s->piece.len);
	s->len += s->piece.len;
	http_post(http_req_thread(s->req), &s->msg);
	return NULL;
}

static inline void
servertest_sum_end(struct servertest_summing *s, int err)
{
	char text[128];
	struct jstr len = http_header(s->req, "content-length");
	int n = snprintf(text, sizeof(text), "sum %llu %08x %.*s", (unsigned long long)s->len, s->sum, (int)len.len,
	    len.len > 0 ? len.s : "");

	if (err != 0)
		servertest_reply_err(s->req, err);
	else
		http_reply(s->req, 200, text, (size_t)n);
	http_release(s->req);
	free(s);
}

static inline void
servertest_sum_next(void *arg)
{
	struct servertest_summing *s = arg;
	pthread_t id;
	int err = http_body_read(s->req, &s->piece);

	if (err == ERR_AGAIN) {
		s->waits++;
		http_body_wait(s->req, servertest_sum_next, s);
	} else if (err != 0 || s->piece.len == 0 || (s->half && s->pieces > 0)) {
		servertest_sum_end(s, err);
	} else {
		s->pieces++;
		if (pthread_create(&id, NULL, servertest_sum_worker, s) != 0)
			abort();
		pthread_detach(id);
	}
}

static inline void
servertest_sum_body(struct http_req *req, int half)
{
	struct servertest_summing *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->msg = (struct http_msg){servertest_sum_next, s, NULL};
	s->req = req;
	s->half = half;
	http_hold(req);
	servertest_sum_next(s);
}

static inline int
servertest_path_is(struct http_req *req, const char *path)
{
	struct jstr p = http_path(req);

	return p.len == strlen(path) && memcmp(p.s, path, p.len) == 0;
}

static inline void
servertest_handle(struct http_req *req, void *cookie)
{
	(void)cookie;
	if (servertest_path_is(req, "/feed"))
		servertest_open_feed(req, 0);
	else if (servertest_path_is(req, "/ticks"))
		servertest_open_feed(req, 3);
	else if (servertest_path_is(req, "/pour"))
		servertest_open_pour(req, 64);
	else if (servertest_path_is(req, "/late"))
		servertest_answer_late(req, 2000);
	else if (servertest_path_is(req, "/later"))
		servertest_answer_late(req, 300000);
	else if (servertest_path_is(req, "/sum"))
		servertest_sum_body(req, 0);
	else if (servertest_path_is(req, "/half"))
		servertest_sum_body(req, 1);
	else if (servertest_path_is(req, "/refuse"))
		servertest_reply_err(req, ERR_UNAUTHORIZED);
	else
		servertest_echo(req);
}

/* ---- The client ---- */

static inline int
servertest_dial_port(unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		abort();
	return fd;
}

static inline int
servertest_dial(void)
{
	return servertest_dial_port(http_server_port(servertest_server));
}

static inline void
servertest_say(int fd, const char *text, size_t len)
{
	/* The other side may have closed already, which is then seen when its answer is read. */
	(void)!send(fd, text, len, MSG_NOSIGNAL);
}

static inline void
servertest_say_text(int fd, const char *text)
{
	servertest_say(fd, text, strlen(text));
}

/* Reads until ${until} (NULL: the end of the connection) has come; returns the bytes read, terminated. */
static inline size_t
servertest_hear(int fd, char *buf, size_t size, const char *until)
{
	struct pollfd p = {fd, POLLIN, 0};
	size_t n = 0;
	ssize_t got;

	buf[0] = '\0';
	while (n + 1 < size && (until == NULL || memmem(buf, n, until, strlen(until)) == NULL)) {
		if (poll(&p, 1, SERVERTEST_WAIT_MS) != 1 || (got = recv(fd, buf + n, size - n - 1, 0)) <= 0)
			break;
		n += (size_t)got;
		buf[n] = '\0';
	}
	return n;
}

/* One request on a connection of its own, and all that comes back. */
static inline char *
servertest_ask(const char *request)
{
	static char buf[8192];
	int fd = servertest_dial();

	servertest_say(fd, request, strlen(request));
	shutdown(fd, SHUT_WR);
	servertest_hear(fd, buf, sizeof(buf), NULL);
	close(fd);
	return buf;
}

static inline int
servertest_has(const char *text, const char *part)
{
	if (strstr(text, part) != NULL)
		return 1;
	fprintf(stderr, "no \"%s\" in: %s\n", part, text);
	return 0;
}

static inline int
servertest_reaches(_Atomic unsigned *counter, unsigned n)
{
	int ms;

	for (ms = 0; ms < SERVERTEST_WAIT_MS && atomic_load(counter) < n; ms++)
		usleep(1000);
	return atomic_load(counter) == n;
}

#define SERVERTEST_CLOSE "Connection: close\r\n\r\n"

/* The answer on a connection that goes on. */
static inline int
servertest_hears(int fd, const char *what)
{
	static char buf[8192];

	servertest_hear(fd, buf, sizeof(buf), what);
	return servertest_has(buf, what);
}

/* ---- Large bodies ---- */

/* Over HTTP/1 more than h2o is given to collect; gathered, a chunked one goes to a file. */
#define SERVERTEST_BIG 900000u

static char servertest_big[SERVERTEST_BIG + 1];
static char servertest_big_sum[64]; /* what /sum says of it */
static char servertest_big_echo[64];

static inline void
servertest_make_big(void)
{
	unsigned i;

	for (i = 0; i < SERVERTEST_BIG; i++)
		servertest_big[i] = (char)('a' + (i * 7919u >> 5) % 26);
	snprintf(servertest_big_sum, sizeof(servertest_big_sum), "sum %u %08x ", SERVERTEST_BIG,
	    servertest_fnv(0, servertest_big, SERVERTEST_BIG));
	snprintf(servertest_big_echo, sizeof(servertest_big_echo), "||h||101|%u %08x", SERVERTEST_BIG,
	    servertest_fnv(0, servertest_big, SERVERTEST_BIG));
}

static inline void
servertest_say_head(int fd, const char *path, const char *headers)
{
	char head[512];
	int n = snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, headers);

	servertest_say(fd, head, (size_t)n);
}

#define SERVERTEST_BIG_LEN "Content-Length: 900000\r\n"
#define SERVERTEST_CHUNKED "Transfer-Encoding: chunked\r\n"

/* ---- Its life ---- */

static pthread_t servertest_thread;
static int servertest_rc = -1; /* what its run returned */

/* servertest_config: The settings of a server without TLS. */
static inline struct http_config
servertest_config(void)
{
	return (struct http_config){.bind = "127.0.0.1",
	    .threads = 1,
	    .max_body = 1000000,
	    .slow_ms = SERVERTEST_SLOW_MS,
	    .spool_dir = "/tmp",
	    .server_name = "test",
	    .handle = servertest_handle};
}

static inline void *
servertest_serve(void *arg)
{
	(void)arg;
	servertest_rc = http_server_run(servertest_server);
	return NULL;
}

static inline void
servertest_start(const struct http_config *config)
{
	signal(SIGPIPE, SIG_IGN);
	memset(servertest_piece, 'p', sizeof(servertest_piece));
	servertest_make_big();
	if (http_server_new(config, &servertest_server) != 0 ||
	    http_thread_on_shutdown(http_server_thread(servertest_server, 0), servertest_end_feeds, NULL) != 0 ||
	    pthread_create(&servertest_thread, NULL, servertest_serve, NULL) != 0)
		abort();
}

/* servertest_join: Wait for the end of a server that was told to stop; returns what its run did. */
static inline int
servertest_join(void)
{
	pthread_join(servertest_thread, NULL);
	return servertest_rc;
}

static inline void
servertest_end(void)
{
	http_server_stop(servertest_server);
	if (servertest_join() != 0)
		abort();
	http_server_free(servertest_server);
}

#endif
