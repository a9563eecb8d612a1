/* test_base_httpc.c: the HTTP client against a server of canned answers. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/httpc.h"
#include "check.h"
#include "listening.h"

/* ---- The server: one connection at a time; the path names the answer ---- */

struct canned {
	const char *path;
	const char *answer;
	enum { KEEP, CLOSE, HOLD, LATE } then; /* HOLD: until the client goes; LATE: the answer comes after a while */
};

static const struct canned answers[] = {
    {"/whole", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/x\r\n\r\nhello", KEEP},
    {"/empty", "HTTP/1.1 204 No Content\r\n\r\n", KEEP},
    {"/interim", "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", KEEP},
    {"/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", KEEP},
    {"/missing", "HTTP/1.1 404 Object Not Found\r\nContent-Length: 2\r\n\r\n{}", KEEP},
    {"/redirect", "HTTP/1.1 302 Found\r\nLocation: /whole\r\nContent-Length: 0\r\n\r\n", KEEP},
    {"/cut", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", CLOSE},
    {"/cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", CLOSE},
    {"/no-answer", "", CLOSE},
    {"/silent", "", HOLD},
    {"/stalls", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", HOLD},
    {"/late", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate", LATE},
};

static unsigned port;
static int listener;
static atomic_uint connections;
static atomic_uint requests;
static char head[4096]; /* of the request at hand */
static char last[4096]; /* of the request before; read when its answer has come */

/* Returns the length of a request's head, 0 at the end of the connection. */
static size_t
read_head(int fd)
{
	size_t len = 0;

	memset(head, 0, sizeof(head));
	while (len + 1 < sizeof(head) && strstr(head, "\r\n\r\n") == NULL) {
		if (recv(fd, head + len, 1, 0) != 1)
			return 0;
		len++;
	}
	return len;
}

static const struct canned *
find_answer(void)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		size_t len = strlen(answers[i].path);

		if (strncmp(head, "GET ", 4) == 0 && strncmp(head + 4, answers[i].path, len) == 0 &&
		    head[4 + len] == ' ')
			return &answers[i];
	}
	return NULL;
}

static void
serve_connection(int fd)
{
	const struct timespec while_ms = {1, 300000000};
	const struct canned *a;
	char byte;

	while (read_head(fd) > 0 && (a = find_answer()) != NULL) {
		requests++;
		memcpy(last, head, sizeof(last));
		if (a->then == LATE)
			(void)nanosleep(&while_ms, NULL);
		(void)!send(fd, a->answer, strlen(a->answer), MSG_NOSIGNAL);
		if (a->then == HOLD)
			(void)!recv(fd, &byte, 1, 0);
		if (a->then == HOLD || a->then == CLOSE)
			break;
	}
	close(fd);
}

static void *
serve(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		connections++;
		serve_connection(fd);
	}
	return NULL;
}

/* ---- Requests ---- */

/* What came. */
struct answer {
	struct buf body;
	int heads;
	int status;
	uint64_t length;
	char type[32], location[128];
	int head_err, body_err; /* what the callbacks return */
	struct errtext why;
};

static int
on_head(void *cookie, const struct httpc_head *h)
{
	struct answer *a = cookie;

	a->heads++;
	CHECK_INT(a->body.len, 0);
	CHECK(h->status > 0);
	a->length = h->length;
	snprintf(a->type, sizeof(a->type), "%s", h->type);
	snprintf(a->location, sizeof(a->location), "%s", h->location);
	return a->head_err;
}

static int
on_body(void *cookie, const void *data, size_t len)
{
	struct answer *a = cookie;

	CHECK_INT(a->heads, 1);
	CHECK_INT(buf_put(&a->body, data, len), 0);
	return a->body_err;
}

static int
get_url(struct httpc_loop *c, const char *url, struct answer *a)
{
	static const char *const headers[] = {"X-One: 1", "X-Two: 2"};
	struct httpc_request req = {.url = url,
	    .user = "me",
	    .password = "secret:x",
	    .headers = headers,
	    .nheaders = 2,
	    .on_head = on_head,
	    .on_body = on_body,
	    .cookie = a};

	buf_init(&a->body, 1000);
	return httpc_get(c, &req, &a->status, &a->why);
}

static int
get(struct httpc_loop *c, const char *path, struct answer *a)
{
	char url[200];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
	return get_url(c, url, a);
}

static struct httpc_loop *
client(const struct httpc_config *config)
{
	struct httpc_loop *c = NULL;

	CHECK_INT(httpc_loop_new(config, &c), 0);
	return c;
}

static void
expect(struct httpc_loop *c, const char *path, int status, const char *body)
{
	struct answer a = {.length = 0};

	CHECK_INT(get(c, path, &a), 0);
	CHECK_INT(a.status, status);
	CHECK_INT(a.heads, 1);
	CHECK_MEM(a.body.data, a.body.len, body, strlen(body));
	buf_release(&a.body);
}

static void
expect_failure(struct httpc_loop *c, const char *path, int err)
{
	struct answer a = {.length = 0};

	CHECK_INT(get(c, path, &a), err);
	CHECK(a.why.text[0] != '\0');
	buf_release(&a.body);
}

/* ---- Tests ---- */

static void
test_answers(void)
{
	struct httpc_loop *c = client(&(struct httpc_config){0});
	struct answer a = {.length = 0};
	unsigned before;

	CHECK_INT(get(c, "/whole", &a), 0);
	CHECK_INT(a.length, 5);
	CHECK_STR(a.type, "text/x");
	CHECK_MEM(a.body.data, a.body.len, "hello", 5);
	CHECK(strstr(last, "\r\nAuthorization: Basic bWU6c2VjcmV0Ong=\r\n") != NULL);
	CHECK(strstr(last, "\r\nX-One: 1\r\nX-Two: 2\r\n") != NULL);
	CHECK(strstr(last, "\r\nUser-Agent: Divan/") != NULL);
	buf_release(&a.body);

	before = connections;
	expect(c, "/empty", 204, "");
	expect(c, "/interim", 200, "ok");
	expect(c, "/chunked", 200, "abcde");
	expect(c, "/missing", 404, "{}");
	CHECK_INT(connections, before); /* all on one */
	httpc_loop_free(c);
}

static void
test_redirect(void)
{
	struct httpc_loop *c = client(&(struct httpc_config){0});
	struct answer a = {.length = 0};
	unsigned before = requests;

	CHECK_INT(get(c, "/redirect", &a), 0);
	CHECK_INT(a.status, 302);
	CHECK_INT(requests, before + 1);
	CHECK_STR(a.location, "/whole");
	buf_release(&a.body);
	httpc_loop_free(c);
}

static void
test_callbacks(void)
{
	struct httpc_loop *c = client(&(struct httpc_config){0});
	struct answer a = {.body_err = ERR_NOSPACE};

	CHECK_INT(get(c, "/whole", &a), ERR_NOSPACE);
	CHECK_INT(a.heads, 1);
	buf_release(&a.body);
	a = (struct answer){.head_err = ERR_CONFLICT};
	CHECK_INT(get(c, "/whole", &a), ERR_CONFLICT);
	CHECK_INT(a.body.len, 0);
	buf_release(&a.body);
	a = (struct answer){.head_err = ERR_CONFLICT};
	CHECK_INT(get(c, "/empty", &a), ERR_CONFLICT);
	buf_release(&a.body);
	expect(c, "/whole", 200, "hello");
	httpc_loop_free(c);
}

static void
test_cut_off(void)
{
	struct httpc_loop *c = client(&(struct httpc_config){0});

	expect_failure(c, "/cut", ERR_IO);
	expect_failure(c, "/cut-chunk", ERR_IO);
	expect_failure(c, "/no-answer", ERR_IO);
	expect(c, "/whole", 200, "hello");
	httpc_loop_free(c);
}

static void
test_bounds(void)
{
	struct httpc_loop *c = client(&(struct httpc_config){.times = {.head_ms = 10}});

	expect_failure(c, "/silent", ERR_IO);
	httpc_loop_free(c);
	c = client(&(struct httpc_config){.times = {.stall_ms = 10}});
	expect_failure(c, "/stalls", ERR_IO);
	/* The bound of a body is not one of the wait for the head. */
	expect(c, "/late", 200, "late");
	httpc_loop_free(c);
}

static void
test_urls(void)
{
	static const char *const bad[] = {
	    "http://me:secret@127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/", "http://", ""};
	struct httpc_loop *c = client(&(struct httpc_config){0});
	struct answer a = {.length = 0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		a = (struct answer){.length = 0};
		CHECK_INT(get_url(c, bad[i], &a), ERR_BAD_REQUEST);
		CHECK(a.why.text[0] != '\0');
		CHECK(strstr(a.why.text, "secret") == NULL);
	}
	httpc_loop_free(c);
}

int
main(void)
{
	struct httpc_loop *c;
	struct answer a = {.length = 0};
	pthread_t thread;

	/* Neither is looked at. */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	listener = listening(&port);
	CHECK_INT(pthread_create(&thread, NULL, serve, NULL), 0);
	test_answers();
	test_redirect();
	test_callbacks();
	test_cut_off();
	test_bounds();
	test_urls();
	shutdown(listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listener);

	c = client(&(struct httpc_config){0});
	CHECK_INT(get(c, "/whole", &a), ERR_IO);
	CHECK(a.why.text[0] != '\0');
	httpc_loop_free(c);
	return check_done();
}
