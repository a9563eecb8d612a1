/* test_base_httpc_loop.c: many requests at once: turns, streams, bounds, cancelling. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "httpc_peer.h"
#include "listening.h"

#define BIG UINT64_C(100000000)
#ifdef __SANITIZE_ADDRESS__
#define MORE_KIB 1000000 /* it keeps what is freed */
#else
#define MORE_KIB 16384
#endif

static void
test_reuse(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct httpc_stats stats;

	for (int i = 0; i < 50; i++)
		fetch(l, "plain", "/hello", 200, "hello");
	httpc_loop_stats(l, &stats);
	CHECK_INT(stats.connections, 1);
	httpc_loop_free(l);
}

static void
test_words(void)
{
	static const char *const headers[] = {"X-One: 1", "X-Empty:", "Content-Type: application/json"};
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct call c;

	call_init(&c, l, "plain", "/echo/%2F../a%20b?x=y");
	c.req.method = "PUT";
	c.req.body = "{\"a\":1}";
	c.req.body_len = 7;
	c.req.headers = headers;
	c.req.nheaders = 3;
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	CHECK(strstr(c.body.data, "\"method\":\"PUT\"") != NULL);
	CHECK(strstr(c.body.data, "\"url\":\"/echo/%2F../a%20b?x=y\"") != NULL);
	CHECK(strstr(c.body.data, "\"X-Empty\",\"\"") != NULL);
	CHECK(strstr(c.body.data, "\"X-One\",\"1\"") != NULL);
	CHECK(strstr(c.body.data, "\"Content-Type\",\"application/json\"") != NULL);
	CHECK(strstr(c.body.data, "Expect") == NULL);
	CHECK(strstr(c.body.data, "\"body\":\"{\\\"a\\\":1}\"") != NULL);
	call_release(&c);

	call_init(&c, l, "plain", "/echo");
	c.req.method = "POST";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	CHECK(strstr(c.body.data, "\"Content-Length\",\"0\"") != NULL);
	CHECK(strstr(c.body.data, "Content-Type") == NULL);
	call_release(&c);

	call_init(&c, l, "plain", "/heads");
	c.want = "set-cookie";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.done_status, 503);
	CHECK_STR(c.type, "text/x");
	CHECK_STR(c.extra, "one=1;two=2;");
	call_release(&c);

	call_init(&c, l, "plain", "/hello");
	c.req.method = "HEAD";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.done_status, 200);
	CHECK_INT(c.received, 0);
	call_release(&c);
	httpc_loop_free(l);
}

static void
refuse(struct httpc_loop *l, void (*spoil)(struct call *))
{
	struct call c;

	call_init(&c, l, "plain", "/hello");
	spoil(&c);
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_BAD_REQUEST);
	CHECK(c.why.text[0] != '\0');
	CHECK(strstr(c.why.text, "secret") == NULL);
	CHECK_INT(c.heads, 0);
	call_release(&c);
}

static const char *spoilt;

static void
spoil_header(struct call *c)
{
	c->req.headers = &spoilt;
	c->req.nheaders = 1;
}

static void
spoil_method(struct call *c)
{
	c->req.method = spoilt;
}

static void
spoil_proxy(struct call *c)
{
	c->req.proxy = spoilt;
}

static void
spoil_url(struct call *c)
{
	c->req.url = spoilt;
}

static void
test_refused(void)
{
	static const char *const headers[] = {
	    "X: a\r\nY: b", "nothing", ": x", "Content-Length: 3", "transfer-encoding: chunked", "A B: c"};
	static const char *const proxies[] = {
	    "ftp://u:secret@127.0.0.1", "u:secret@127.0.0.1:8080", "://secret", "http://u:secret@"};
	static const char *const urls[] = {
	    "http://u:secret@h/", "file:///x", "", "http://", "http://h:99999/", "http://a b/"};
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		spoilt = headers[i];
		refuse(l, spoil_header);
	}
	for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) {
		spoilt = proxies[i];
		refuse(l, spoil_proxy);
	}
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		spoilt = urls[i];
		refuse(l, spoil_url);
	}
	spoilt = "GET / HTTP/1.1\r\nX:";
	refuse(l, spoil_method);
	httpc_loop_free(l);
}

/* 300 at once on 5 connections, with feeds beside them that the 5 do not count. */
static void
test_many(void)
{
	enum { N = 300, FEEDS = 12 };
	static struct call calls[N], feeds[FEEDS];
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 5});
	struct httpc_loop *other = new_loop((struct httpc_config){.per_host = 1});
	struct httpc_stats stats;

	fetch(other, "plain", "/forget", 200, NULL);
	for (int i = 0; i < FEEDS; i++) {
		call_init(&feeds[i], l, "plain", "/hold");
		feeds[i].req.feed = 1;
		call_start(&feeds[i]);
	}
	for (int i = 0; i < N; i++) {
		call_init(&calls[i], l, "plain", "/hello");
		calls[i].req.owner = (uint64_t)i % 7;
		call_start(&calls[i]);
	}
	for (int i = 0; i < N; i++) {
		CHECK_INT(call_wait(&calls[i]), 0);
		CHECK_INT(calls[i].done_status, 200);
		call_release(&calls[i]);
	}
	CHECK(peer_stat(other, "connections") <= 5 + FEEDS);
	CHECK(peer_stat(other, "connections") > 5); /* it is counted */
	httpc_loop_stats(l, &stats);
	CHECK_INT(stats.feeds, FEEDS);
	CHECK_INT(stats.waiting, 0);
	fetch(other, "plain", "/release", 200, "released");
	for (int i = 0; i < FEEDS; i++) {
		CHECK_INT(call_wait(&feeds[i]), 0);
		CHECK_MEM(feeds[i].body.data, feeds[i].body.len, "held", 4);
		call_release(&feeds[i]);
	}
	httpc_loop_free(l);
	httpc_loop_free(other);
}

/* One owner asks for much, another comes later: they take turns. */
static void
test_turns(void)
{
	enum { N = 40 };
	static struct call greedy[N], modest[3];
	struct call first;
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 1});
	struct httpc_loop *other = new_loop((struct httpc_config){.per_host = 1});
	struct httpc_stats stats;

	call_init(&first, l, "plain", "/hold");
	call_start(&first);
	for (int i = 0; i < N; i++) {
		call_init(&greedy[i], l, "plain", "/hello");
		greedy[i].req.owner = 1;
		call_start(&greedy[i]);
	}
	for (int i = 0; i < 3; i++) {
		call_init(&modest[i], l, "plain", "/hello");
		modest[i].req.owner = 2;
		call_start(&modest[i]);
	}
	do
		httpc_loop_stats(l, &stats);
	while (stats.waiting < N + 3 || stats.running == 0);
	CHECK_INT(stats.running, 1);
	while (peer_stat(other, "running") < 2) /* the held one, and the one that asks */
		;
	fetch(other, "plain", "/release", 200, NULL);
	CHECK_INT(call_wait(&first), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(call_wait(&modest[i]), 0);
		CHECK_INT(call_wait(&greedy[i + 1]), 0);
		CHECK(modest[i].order > greedy[i].order);
		CHECK(modest[i].order < greedy[i + 1].order);
	}
	for (int i = 0; i < N; i++) {
		CHECK_INT(call_wait(&greedy[i]), 0);
		if (i > 0)
			CHECK(greedy[i].order > greedy[i - 1].order);
		call_release(&greedy[i]);
	}
	for (int i = 0; i < 3; i++)
		call_release(&modest[i]);
	call_release(&first);
	httpc_loop_free(l);
	httpc_loop_free(other);
}

/* ---- Streams ---- */

static long
resident_kib(void)
{
	char line[200];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	if (!CHECK(f != NULL))
		return 0;
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "VmRSS:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	fclose(f);
	return kib;
}

static void
test_pausing_down(const char *server)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct httpc_loop *other = new_loop((struct httpc_config){.per_host = 1});
	struct call c;
	long before;

	fetch(other, "plain", "/forget", 200, NULL);
	fetch(l, server, "/hello", 200, "hello");
	before = resident_kib();
	call_init(&c, l, server, "/bytes/100000000");
	c.req.pauses = 1;
	c.pause_every = c.next_pause = 1000000;
	call_start(&c);
	while (call_wait_pause(&c)) {
		if (c.pauses == 3)
			CHECK(peer_stat(other, "sent") < BIG / 2);
		httpc_resume(&c.req);
	}
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.received, BIG);
	CHECK(c.pauses > 90);
	CHECK(resident_kib() - before < MORE_KIB);
	call_release(&c);
	httpc_loop_free(l);
	httpc_loop_free(other);
}

static void
test_pausing_up(const char *server)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct call c;
	long before;

	fetch(l, server, "/hello", 200, "hello");
	before = resident_kib();
	call_init(&c, l, server, "/sink");
	c.req.method = "PUT";
	c.req.on_read = call_read_;
	c.req.body_len = BIG;
	c.pause_every = c.next_pause = 1000000;
	call_start(&c);
	while (call_wait_pause(&c))
		httpc_resume(&c.req);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.sent, BIG);
	CHECK(c.pauses > 90);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	CHECK(strstr(c.body.data, "{\"bytes\":100000000,") != NULL);
	CHECK(resident_kib() - before < MORE_KIB);
	call_release(&c);
	httpc_loop_free(l);
}

static unsigned answers_lost;

/*
 * An answer before the body is sent: it is seen, and it ends the sending, also while the sender pauses.  A server that
 * closes at once may have it lost, since the kernel may tell of the closing first: then that is said.
 */
static void
test_early_answer(const char *path, uint64_t pause_every, void *body)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct call c;

	call_init(&c, l, "plain", path);
	c.req.method = "PUT";
	c.req.on_read = body == NULL ? call_read_ : NULL;
	c.req.body = body;
	c.req.body_len = BIG;
	c.pause_every = c.next_pause = pause_every;
	call_start(&c);
	if (call_wait(&c) != 0 && strstr(path, "keep") == NULL) {
		CHECK_INT(c.err, ERR_IO);
		CHECK_INT(c.done_status, 0);
		answers_lost++;
	} else {
		CHECK_INT(c.err, 0);
		CHECK_INT(c.done_status, 413);
		CHECK_MEM(c.body.data, c.body.len, "{\"error\":\"too_large\"}", 21);
	}
	CHECK(c.sent < BIG);
	call_release(&c);
	fetch(l, "plain", "/hello", 200, "hello");
	httpc_loop_free(l);
}

static void
test_early_answers(void)
{
	static const char *const paths[] = {"/refuse/keep", "/refuse/close", "/refuse/reset"};
	void *body = calloc(1, BIG);

	for (int i = 0; i < 15; i++) {
		test_early_answer(paths[i % 3], 0, NULL);
		test_early_answer(paths[i % 3], 100000, NULL);
		test_early_answer(paths[i % 3], UINT64_MAX, NULL);
		test_early_answer(paths[i % 3], 0, body);
	}
	free(body);
	CHECK(answers_lost < 40); /* not one of those that may be */
}

/* A body that is too short ends the request; so does an error of the sender. */
static int
read_too_little(void *cookie, void *buf, size_t size, size_t *lenp)
{
	(void)cookie;
	(void)buf;
	(void)size;
	*lenp = 0;
	return 0;
}

static int
read_error(void *cookie, void *buf, size_t size, size_t *lenp)
{
	struct call *c = cookie;

	if (c->sent > 0)
		return ERR_CORRUPT;
	return call_read_(cookie, buf, size, lenp);
}

static void
test_bad_sender(int (*on_read)(void *, void *, size_t, size_t *), int err)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct call c;

	call_init(&c, l, "plain", "/sink");
	c.req.method = "PUT";
	c.req.on_read = on_read;
	c.req.body_len = BIG;
	call_start(&c);
	CHECK_INT(call_wait(&c), err);
	call_release(&c);
	httpc_loop_free(l);
}

static void
test_decoding(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 4});
	struct call c;

	call_init(&c, l, "plain", "/gzip/3000000");
	c.req.decode = 1;
	c.want = "X-Offered";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.received, 3000000);
	CHECK_STR(c.extra, "gzip, deflate;");
	CHECK_MEM(c.body.data, 3, "aaa", 3);
	call_release(&c);
	call_init(&c, l, "plain", "/gzip/3000000");
	c.want = "X-Offered";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK(c.received < 10000);
	CHECK_STR(c.extra, ";");
	call_release(&c);
	/* What is inside may pause too. */
	call_init(&c, l, "plain", "/gzip/3000000");
	c.req.decode = c.req.pauses = 1;
	c.pause_every = c.next_pause = 100000;
	call_start(&c);
	while (call_wait_pause(&c))
		httpc_resume(&c.req);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(c.received, 3000000);
	call_release(&c);
	httpc_loop_free(l);
}

/* ---- Time ---- */

static void
test_times(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.times = {.head_ms = 300, .stall_ms = 300}});
	struct call c, silent, feed;

	/* Heartbeats are life: this one takes longer than the bound. */
	call_init(&feed, l, "plain", "/feed/20");
	feed.req.feed = 1;
	call_start(&feed);
	call_init(&silent, l, "plain", "/hold");
	silent.req.feed = 1;
	call_start(&silent);
	call_init(&c, l, "plain", "/hold");
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK_STR(c.why.text, "no answer came in time");
	CHECK_INT(c.done_status, 0);
	call_release(&c);
	call_init(&c, l, "plain", "/stall");
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK_INT(c.done_status, 200);
	CHECK_INT(c.received, 5);
	CHECK_STR(c.why.text, "nothing came or went for too long");
	call_release(&c);
	/* A paused one is not slow. */
	call_init(&c, l, "plain", "/bytes/3000000");
	c.req.pauses = 1;
	c.pause_every = c.next_pause = 1000000;
	call_start(&c);
	CHECK_INT(call_wait_pause(&c), 1);
	CHECK_INT(call_wait(&feed), 0);
	CHECK_INT(feed.received, 25);
	while (c.dones == 0) {
		httpc_resume(&c.req);
		(void)call_wait_pause(&c);
	}
	CHECK_INT(call_wait(&c), 0);
	call_release(&c);
	call_release(&feed);
	/* A feed may be without a head for ever. */
	CHECK_INT(silent.dones, 0);
	httpc_cancel(&silent.req);
	CHECK_INT(call_wait(&silent), ERR_CANCELLED);
	call_release(&silent);
	httpc_loop_free(l);
}

/* A port of 127.0.0.1 where connections are made by the kernel, and nobody takes them. */
static int
deaf(char url[static 100], const char *scheme)
{
	unsigned port;
	int fd = listening(&port);

	snprintf(url, 100, "%s://127.0.0.1:%u/", scheme, port);
	return fd;
}

/* Those that wait for one connection do not try one after the other. */
static void
test_connect_hangs(void)
{
	enum { N = 8 };
	static struct call calls[N];
	struct httpc_loop *l = new_loop((struct httpc_config){.times = {.connect_ms = 400}});
	struct httpc_stats stats;
	char url[100];
	int fd = deaf(url, "https");

	for (int i = 0; i < N; i++) {
		call_init(&calls[i], l, "tls", "/");
		calls[i].req.url = url;
		call_start(&calls[i]);
	}
	for (int i = 0; i < N; i++) {
		CHECK_INT(call_wait(&calls[i]), ERR_IO);
		CHECK(calls[i].why.text[0] != '\0');
		call_release(&calls[i]);
	}
	httpc_loop_stats(l, &stats);
	CHECK(stats.connections < N);
	httpc_loop_free(l);
	close(fd);
}

/* Nobody takes the upload: the other end has its buffers full and reads nothing. */
static void
test_upload_stalls(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.times = {.stall_ms = 1500}});
	struct call c;
	char url[100];
	int fd = deaf(url, "http");

	call_init(&c, l, "plain", "/");
	c.req.url = url;
	c.req.method = "PUT";
	c.req.on_read = call_read_;
	c.req.body_len = BIG;
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK_STR(c.why.text, "nothing came or went for too long");
	CHECK(c.sent > 0);
	call_release(&c);
	close(fd);
	call_init(&c, l, "plain", "/");
	c.req.url = url;
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO); /* refused */
	CHECK(c.why.text[0] != '\0');
	call_release(&c);
	httpc_loop_free(l);
}

/* After a while without requests connections are closed; the next makes one anew. */
static void
test_idle(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.idle_ms = 50});
	struct httpc_loop *other = new_loop((struct httpc_config){.per_host = 1});
	uint64_t open;

	open = peer_stat(other, "open");
	fetch(l, "plain", "/hello", 200, "hello");
	while (peer_stat(other, "open") > open)
		;
	fetch(l, "plain", "/hello", 200, "hello");
	httpc_loop_free(l);
	httpc_loop_free(other);
}

/* ---- Ends ---- */

/* Cancelled in all states: waiting, connecting, with a head, within the body, paused, sending, at the end, after it. */
static void
test_cancel(unsigned rounds)
{
	static const char *const paths[] = {
	    "/hello", "/hold", "/bytes/3000000", "/stall", "/sink", "/feed/3", "/refuse/close"};
	enum { N = 42 };
	static struct call calls[N];
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 3});
	unsigned cancelled = 0, whole = 0;

	srand(1);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < N; i++) {
			call_init(&calls[i], l, "plain", paths[i % 7]);
			calls[i].req.feed = i % 2;
			calls[i].req.pauses = i % 3 == 0;
			if (i % 3 == 0)
				calls[i].pause_every = calls[i].next_pause = 500000;
			if (i % 7 == 4 || i % 7 == 6) {
				calls[i].req.method = "PUT";
				calls[i].req.on_read = call_read_;
				calls[i].req.body_len = 2000000;
			}
			call_start(&calls[i]);
		}
		for (unsigned n = 0; n < 3 * N; n++) {
			struct call *c = &calls[(unsigned)rand() % N];

			switch (rand() % 5) {
			case 0:
				httpc_cancel(&c->req);
				break;
			case 1:
				if (c->req.feed && c->req.on_read == NULL && strstr(c->url, "hold") == NULL)
					call_wait_head(c);
				break;
			default:
				httpc_resume(&c->req);
			}
		}
		for (unsigned i = 0; i < N; i++) {
			httpc_cancel(&calls[i].req);
			if (call_wait(&calls[i]) == ERR_CANCELLED)
				cancelled++;
			else
				whole += calls[i].err == 0;
			httpc_cancel(&calls[i].req); /* does nothing now */
			httpc_resume(&calls[i].req);
			call_release(&calls[i]);
		}
	}
	CHECK(cancelled > rounds);
	CHECK(whole > 0);
	fetch(l, "plain", "/hello", 200, "hello");
	httpc_loop_free(l);
}

static _Atomic unsigned again;

static void
start_again(struct call *c)
{
	if (again++ < 20) {
		c->dones = 0;
		c->heads = 0;
		c->received = 0;
		CHECK_INT(httpc_start(c->loop, &c->req), 0);
	}
}

static void
start_late(struct call *c)
{
	if (c->err == ERR_CANCELLED)
		CHECK_INT(httpc_start(c->loop, &c->req), ERR_SHUTDOWN);
}

static void
test_from_callbacks(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 3});
	static struct call c;

	call_init(&c, l, "plain", "/hello");
	c.then = start_again;
	call_start(&c);
	while (again < 21)
		(void)usleep(1000);
	httpc_loop_free(l);
	CHECK_INT(c.dones, 1);
	CHECK_INT(c.err, 0);
	call_release(&c);
}

static unsigned
open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* Each request comes to its end, and nothing is left. */
static void
test_loop_ends(void)
{
	enum { N = 30 };
	static struct call calls[N];
	unsigned files = open_files();

	for (int when = 0; when < 20; when++) {
		struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 3});

		for (int i = 0; i < N; i++) {
			call_init(&calls[i], l, "plain",
			    i % 3 == 0   ? "/hold"
			    : i % 3 == 1 ? "/bytes/3000000"
					 : "/stall");
			calls[i].req.feed = i % 5 == 0;
			calls[i].then = start_late;
			call_start(&calls[i]);
		}
		if (when % 3 > 0)
			call_wait_head(&calls[10]); /* a feed with a body */
		httpc_loop_free(l);
		for (int i = 0; i < N; i++) {
			CHECK(calls[i].err == ERR_CANCELLED || calls[i].received == 3000000);
			call_release(&calls[i]);
		}
	}
	httpc_loop_free(new_loop((struct httpc_config){.per_host = 3})); /* never used */
	CHECK_INT(open_files(), files);
}

/* ---- Addresses ---- */

static int
allow(void *cookie, const struct sockaddr *addr, unsigned len)
{
	_Atomic unsigned *asked = cookie;
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;

	CHECK(len >= sizeof(*in));
	if (addr->sa_family == AF_INET)
		CHECK_INT(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
	return (*asked)++ >= 1;
}

static void
test_allow(void)
{
	_Atomic unsigned asked = 0;
	struct httpc_loop *l = new_loop((struct httpc_config){.allow = allow, .allow_cookie = &asked});
	struct call c;
	int flags, files = 0;

	call_init(&c, l, "plain", "/hello");
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_FORBIDDEN);
	CHECK_STR(c.why.text, "connections to 127.0.0.1 are not allowed here");
	call_release(&c);
	/* The proxy's address is what is asked for. */
	asked = 0;
	call_init(&c, l, "plain", "/hello");
	c.req.url = "http://192.0.2.1/";
	c.req.proxy = "http://127.0.0.1:1/";
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_FORBIDDEN);
	call_release(&c);
	fetch(l, "plain", "/hello", 200, "hello");
	/* What a child does not inherit. */
	for (int fd = 3; fd < 64; fd++)
		if ((flags = fcntl(fd, F_GETFD)) >= 0) {
			struct sockaddr_in addr;
			socklen_t len = sizeof(addr);

			if (getpeername(fd, (struct sockaddr *)&addr, &len) == 0 && addr.sin_family == AF_INET) {
				CHECK(flags & FD_CLOEXEC);
				files++;
			}
		}
	CHECK(files > 0);
	httpc_loop_free(l);
}

int
main(void)
{
	peer_start();
	test_reuse();
	test_words();
	test_refused();
	test_many();
	test_turns();
	test_pausing_down("plain");
	test_pausing_down("tls");
	test_pausing_down("h2");
	test_pausing_up("plain");
	test_pausing_up("tls");
	test_pausing_up("h2");
	test_early_answers();
	test_bad_sender(read_too_little, ERR_INTERNAL);
	test_bad_sender(read_error, ERR_CORRUPT);
	test_decoding();
	test_times();
	test_connect_hangs();
	test_upload_stalls();
	test_idle();
	test_cancel(20);
	test_from_callbacks();
	test_loop_ends();
	test_allow();
	peer_stop();
	return check_done();
}
