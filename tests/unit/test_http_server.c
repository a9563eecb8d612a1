/* The engine over sockets: whole answers and streams, HTTP/2, messages, timers, refusals, slow clients, the end. */
#include <errno.h>

#include "servertest.h"

static int
has_ended(int fd)
{
	char byte;
	ssize_t rc = recv(fd, &byte, 1, MSG_DONTWAIT);

	return rc == 0 || (rc < 0 && errno != EAGAIN);
}

/* ---- HTTP/1 ---- */

static void
test_whole(void)
{
	char *a = servertest_ask(
	    "POST /a%2Fb/../c?x=%20&y HTTP/1.1\r\nHost: h:1\r\nX-Thing: t\r\nContent-Length: 3\r\n" SERVERTEST_CLOSE
	    "abc");

	CHECK(strncmp(a, "HTTP/1.1 200 OK\r\n", 17) == 0);
	CHECK(servertest_has(a, "\r\n\r\nPOST|/a%2Fb/../c|x=%20&y|h:1|t|101|abc"));
	CHECK(servertest_has(a, "\r\netag: \"2\"\r\n"));
	CHECK(strstr(a, "\"1\"") == NULL);
	CHECK(servertest_has(a, "\r\nServer: test\r\n"));
	a = servertest_ask("HEAD /h HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(servertest_has(a, "Content-Length: 16\r\n"));
	CHECK(servertest_has(a, "\r\nx-own: a\r\n"));
	CHECK(!servertest_has(a, "x-split") && !servertest_has(a, "x-smuggled") && !servertest_has(a, "x-nul"));
	CHECK_STR(strstr(a, "\r\n\r\n"), "\r\n\r\n");
	a = servertest_ask("GET http://other/p?q HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(servertest_has(a, "GET|/p|q|other||101|"));
	a = servertest_ask("PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" SERVERTEST_CLOSE
			   "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	CHECK(servertest_has(a, "PUT|/c||h||101|abcde"));
	a = servertest_ask("GET /late HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(strncmp(a, "HTTP/1.1 201 Created\r\n", 22) == 0);
	CHECK(servertest_has(a, "\r\n\r\nlate"));
}

static void
test_pipeline(void)
{
	char *a = servertest_ask("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /late HTTP/1.1\r\nHost: h\r\n\r\nGET /ticks "
				 "HTTP/1.1\r\nHost: h\r\n\r\n"
				 "POST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxyGET /5 HTTP/1.1\r\nHost: "
				 "h\r\n" SERVERTEST_CLOSE);
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
		char *a = servertest_ask(bad[i].request);

		if (!CHECK(strncmp(a, bad[i].head, strlen(bad[i].head)) == 0) || !CHECK(servertest_has(a, bad[i].body)))
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
	servertest_say_text(fd, "GET /n HTTP/1.1\r\nHost: h\r\n");
	for (i = 1; i < n; i++)
		servertest_say(fd, line, len);
	servertest_say_text(fd, SERVERTEST_CLOSE);
	servertest_hear(fd, buf, sizeof(buf), NULL);
	close(fd);
	return buf;
}

static void
test_long_heads(void)
{
	static const char json[] = "\r\nContent-Type: application/json\r\n";
	char buf[2048];
	int fd;
	char *a = ask_headers(servertest_dial(), 99, 100);

	CHECK(servertest_has(a, "GET|/n|"));
	a = ask_headers(servertest_dial(), 100, 10);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && servertest_has(a, json));
	CHECK(servertest_has(
	    a, "{\"error\":\"request_header_fields_too_large\",\"reason\":\"the request head is too large\"}\n"));
	a = ask_headers(servertest_dial(), 3, 60000);
	CHECK(servertest_has(a, "GET|/n|"));
	a = ask_headers(servertest_dial(), 4, 60000);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && servertest_has(a, json));
	a = ask_headers(servertest_dial(), 31, 65000);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && servertest_has(a, json));
	/* The gate is back for the next request on the same connection. */
	fd = servertest_dial();
	servertest_say_text(fd, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
	servertest_hear(fd, buf, sizeof(buf), "late");
	servertest_say_text(fd, "PUT /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
	servertest_hear(fd, buf, sizeof(buf), "|abc");
	a = ask_headers(fd, 120, 20);
	CHECK(strncmp(a, "HTTP/1.1 431 ", 13) == 0 && servertest_has(a, json));
}

static void
test_streams(void)
{
	static char big[64 * sizeof(servertest_piece) + 4096];
	char buf[2048];
	char *a;
	int fd = servertest_dial();
	size_t n;

	/* The head comes although nothing is ever sent; a client that leaves is noticed although nothing is ever sent.
	 */
	servertest_say(fd, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	servertest_hear(fd, buf, sizeof(buf), "\r\n\r\n");
	CHECK(servertest_has(buf, "transfer-encoding: chunked\r\n"));
	close(fd);
	CHECK(servertest_reaches(&servertest_stops, 1));
	/* So it is with data behind the request, which nobody reads until the feed ends. */
	fd = servertest_dial();
	servertest_say(fd, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n", 47);
	servertest_hear(fd, buf, sizeof(buf), "\r\n\r\n");
	close(fd);
	CHECK(servertest_reaches(&servertest_stops, 2));
	a = servertest_ask("GET /ticks HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(servertest_has(a, "4\r\ntick\r\n4\r\ntick\r\n4\r\ntick\r\n0\r\n\r\n"));
	/* A client that has closed its side still reads to the end. */
	fd = servertest_dial();
	servertest_say(fd, "GET /pour HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE, 30 + 20);
	shutdown(fd, SHUT_WR);
	n = servertest_hear(fd, big, sizeof(big), NULL);
	a = strstr(big, "\r\n\r\n");
	CHECK(a != NULL && n - (size_t)(a + 4 - big) == 64 * sizeof(servertest_piece));
	close(fd);
	CHECK_INT(atomic_load(&servertest_stops), 2);
	a = servertest_ask("HEAD /pour HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(servertest_has(a, "Content-Length: 4194304\r\n"));
	CHECK_STR(strstr(a, "\r\n\r\n"), "\r\n\r\n");
}

/* ---- HTTP/2, time, the end ---- */

/* A frame of HTTP/2. */
static void
say_frame(int fd, unsigned char type, unsigned char flags, unsigned stream, const char *payload, unsigned char len)
{
	char head[9] = {0, 0, (char)len, (char)type, (char)flags, 0, 0, (char)(stream >> 8), (char)stream};

	servertest_say(fd, head, sizeof(head));
	servertest_say(fd, payload, len);
}

static int
dial_h2(void)
{
	int fd = servertest_dial();

	servertest_say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
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
	unsigned before = atomic_load(&servertest_stops), left = atomic_load(&servertest_gones), answered;

	get_h2(fd, 1, "/h2h2");
	n = servertest_hear(fd, buf, sizeof(buf), "|200|");
	CHECK(memmem(buf, n, "GET|/h2h2||h||200|", 18) != NULL);
	/* A stream that is reset ends its feed; one that waits for a worker is gone when that comes back. */
	get_h2(fd, 3, "/feed");
	usleep(20000);
	say_frame(fd, 3, 0, 3, "\0\0\0\x08", 4);
	CHECK(servertest_reaches(&servertest_stops, before + 1));
	answered = atomic_load(&servertest_lates);
	get_h2(fd, 5, "/late");
	say_frame(fd, 3, 0, 5, "\0\0\0\x08", 4);
	CHECK(servertest_reaches(&servertest_lates, answered + 1));
	CHECK(servertest_reaches(&servertest_gones, left + 1));
	/* A connection that is lost ends its feeds. */
	get_h2(fd, 7, "/feed");
	usleep(20000);
	close(fd);
	CHECK(servertest_reaches(&servertest_stops, before + 2));
}

static void
say_data(int fd, unsigned stream, size_t len, unsigned char flags)
{
	static const char zeros[16384];
	char head[9] = {0, (char)(len >> 8), (char)len, 0, (char)flags, 0, 0, (char)(stream >> 8), (char)stream};

	servertest_say(fd, head, sizeof(head));
	servertest_say(fd, zeros, len);
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
	n = servertest_hear(fd, buf, sizeof(buf), json);
	CHECK(memmem(buf, n, json, sizeof(json) - 1) != NULL);
	say_frame(fd, 1, 4, 3, post, sizeof(post) - 1);
	say_data(fd, 3, 5, 1);
	n = servertest_hear(fd, buf, sizeof(buf), "POST|/body|");
	CHECK(memmem(buf, n, "POST|/body||h||200|", 19) != NULL);
	/* A limit so near to the largest number that 64 MiB more would be 0. */
	http_server_set_max_body(servertest_server, UINT64_MAX - (64u << 20) + 1);
	say_frame(fd, 1, 4, 5, post, sizeof(post) - 1);
	say_data(fd, 5, 5, 1);
	n = servertest_hear(fd, buf, sizeof(buf), "POST|/body|");
	CHECK(memmem(buf, n, "POST|/body||h||200|", 19) != NULL);
	http_server_set_max_body(servertest_server, servertest_config().max_body);
	close(fd);
}

/* Who sends too slowly is cut off, who is merely idle is not. */
static void
test_slow(void)
{
	char buf[2048], hundred[100];
	int head = servertest_dial(), body = servertest_dial(), large = servertest_dial(), stream = dial_h2(),
	    feed = servertest_dial(), steady = servertest_dial(), calm = servertest_dial(), i;
	unsigned before = atomic_load(&servertest_stops), left = atomic_load(&servertest_lost);

	memset(hundred, 'h', sizeof(hundred));
	servertest_say(feed, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	servertest_hear(feed, buf, sizeof(buf), "\r\n\r\n");
	servertest_say_text(head, "GET / HTTP/1.1\r\nHost: h");
	servertest_say_text(body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1");
	say_frame(stream, 1, 4, 1, "\x83\x86\x41\x01h\x04\x05/body", 12);
	servertest_say_head(large, "/sum", SERVERTEST_BIG_LEN);
	servertest_say_text(large, "1");
	servertest_say_head(calm, "/sum", SERVERTEST_CHUNKED);
	servertest_say_text(steady, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n" SERVERTEST_CLOSE);
	for (i = 0; i < 30; i++) {
		servertest_say(steady, hundred, sizeof(hundred));
		servertest_say_text(calm, "64\r\n");
		servertest_say(calm, hundred, sizeof(hundred));
		servertest_say_text(calm, "\r\n");
		usleep(2 * SERVERTEST_SLOW_MS * 1000 / 30);
	}
	servertest_hear(steady, buf, sizeof(buf), NULL);
	CHECK(servertest_has(buf, "POST|/||h||101|hhh"));
	servertest_say_text(calm, "0\r\n\r\n");
	CHECK(servertest_hears(calm, "sum 3000 "));
	CHECK_INT(servertest_hear(large, buf, sizeof(buf), NULL), 0);
	CHECK_INT(atomic_load(&servertest_lost), left + 1);
	CHECK_INT(servertest_hear(head, buf, sizeof(buf), NULL), 0);
	CHECK_INT(servertest_hear(body, buf, sizeof(buf), NULL), 0);
	servertest_hear(stream, buf, sizeof(buf), NULL);
	CHECK(has_ended(stream));
	CHECK(!has_ended(feed));
	CHECK_INT(atomic_load(&servertest_stops), before);
	close(head), close(body), close(large), close(calm), close(stream), close(feed), close(steady);
	CHECK(servertest_reaches(&servertest_stops, before + 1));
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
	CHECK(servertest_hear(fd, buf, sizeof(buf), NULL) < sizeof(buf) - 1);
	CHECK(has_ended(fd));
	close(fd);
	a = servertest_ask("GET /alive HTTP/1.1\r\nHost: h\r\n" SERVERTEST_CLOSE);
	CHECK(servertest_has(a, "GET|/alive|"));
}

static void
test_second_server(const struct http_config *config)
{
	struct http_config again = *config;
	struct http_server *other;

	again.port = http_server_port(servertest_server);
	CHECK_INT(http_server_new(&again, &other), ERR_IO);
}

/* Feeds get their last line, a request that a worker has gets its answer, idle connections are closed. */
static void
test_stop(void)
{
	char buf[2048];
	int feed = servertest_dial(), later = servertest_dial(), idle = servertest_dial(), head = servertest_dial(),
	    body = servertest_dial(), stream = dial_h2();

	servertest_say(feed, "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n", 31);
	servertest_hear(feed, buf, sizeof(buf), "\r\n\r\n");
	servertest_say(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27);
	servertest_hear(idle, buf, sizeof(buf), "|101|");
	servertest_say(later, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 32);
	/* These would take longer than a stop may. */
	servertest_say_text(head, "GET / HTTP/1.1\r\n");
	servertest_say_head(body, "/sum", SERVERTEST_BIG_LEN);
	say_frame(stream, 1, 4, 1, "\x83\x86\x41\x01h\x04\x05/body", 12);
	usleep(50000);
	http_server_stop(servertest_server);
	servertest_hear(feed, buf, sizeof(buf), NULL);
	CHECK(servertest_has(buf, "3\r\nbye\r\n0\r\n\r\n"));
	CHECK_INT(servertest_hear(idle, buf, sizeof(buf), NULL), 0);
	servertest_hear(later, buf, sizeof(buf), NULL);
	CHECK(servertest_has(buf, "\r\n\r\nlate"));
	CHECK_INT(servertest_join(), 0);
	CHECK_INT(atomic_load(&servertest_hooks), 1);
	close(feed);
	close(later);
	close(idle);
	close(head), close(body), close(stream);
}

int
main(void)
{
	struct http_config config = servertest_config();

	servertest_start(&config);
	CHECK(http_server_port(servertest_server) != 0);
	CHECK_INT(http_server_threads(servertest_server), 1);
	test_whole();
	test_pipeline();
	test_refused();
	test_long_heads();
	test_streams();
	test_h2();
	test_h2_too_large();
	test_slow();
	test_rapid_reset();
	test_second_server(&config);
	test_stop();
	http_server_free(servertest_server);
	return check_done();
}
