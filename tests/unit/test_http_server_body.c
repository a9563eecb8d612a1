/* Request bodies over sockets: streamed, in chunks, refused, announced with Expect, lost in the middle. */
#include "servertest.h"

static void
say_chunks(int fd, size_t size)
{
	size_t at = 0;
	char line[64];

	while (at < SERVERTEST_BIG) {
		size_t n = SERVERTEST_BIG - at < size ? SERVERTEST_BIG - at : size;

		servertest_say(fd, line, (size_t)snprintf(line, sizeof(line), "%zX%s\r\n", n, at == 0 ? ";a=b" : ""));
		servertest_say(fd, servertest_big + at, n);
		servertest_say_text(fd, "\r\n");
		at += n;
	}
	servertest_say_text(fd, "0\r\nx-trailer: 1\r\n\r\n");
}

static int
hears_end(int fd, const char *what)
{
	static char buf[8192];

	servertest_hear(fd, buf, sizeof(buf), NULL);
	return servertest_has(buf, what) && servertest_has(buf, "Connection: close");
}

static void
test_streamed(void)
{
	static const char next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd = servertest_dial(), i;

	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN);
	servertest_say(fd, servertest_big, SERVERTEST_BIG);
	CHECK(servertest_hears(fd, servertest_big_sum));
	servertest_say_head(fd, "/sum", SERVERTEST_CHUNKED);
	say_chunks(fd, 70000);
	CHECK(servertest_hears(fd, servertest_big_sum));
	servertest_say_head(fd, "/gathered", SERVERTEST_BIG_LEN);
	servertest_say(fd, servertest_big, SERVERTEST_BIG);
	CHECK(servertest_hears(fd, servertest_big_echo));
	servertest_say_head(fd, "/gathered", SERVERTEST_CHUNKED);
	say_chunks(fd, 1000);
	CHECK(servertest_hears(fd, servertest_big_echo));
	/* In small pieces, with pauses. */
	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN);
	for (i = 0; i < 30; i++) {
		servertest_say(fd, servertest_big + (SERVERTEST_BIG / 30) * (unsigned)i, SERVERTEST_BIG / 30);
		usleep(2000);
	}
	CHECK(servertest_hears(fd, servertest_big_sum));
	/* Requests that come right behind. */
	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN);
	servertest_say(fd, servertest_big, SERVERTEST_BIG);
	servertest_say_text(fd, next);
	CHECK(servertest_hears(fd, "GET|/next|"));
	servertest_say_head(fd, "/sum", SERVERTEST_CHUNKED);
	say_chunks(fd, 70000);
	servertest_say_text(fd, next);
	CHECK(servertest_hears(fd, "GET|/next|"));
	servertest_say_head(fd, "/next", "Content-Length: 3\r\n");
	servertest_say_text(fd, "abc");
	CHECK(servertest_hears(fd, "|abc"));
	close(fd);
}

/* Chunks whose framing comes byte by byte. */
static void
test_dribbled(void)
{
	static const char text[] = "3;x=y\r\nabc\r\n00a\r\n0123456789\r\n1 \r\nZ\r\n0\r\nt: 1\r\nu: 2\r\n\r\n";
	const char *p;
	int fd = servertest_dial();

	servertest_say_head(fd, "/echo", SERVERTEST_CHUNKED);
	for (p = text; *p != '\0'; p++) {
		servertest_say(fd, p, 1);
		usleep(200);
	}
	CHECK(servertest_hears(fd, "PUT|/echo||h||101|abc0123456789Z"));
	servertest_say_text(fd, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(servertest_hears(fd, "GET|/next|"));
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
		fd = servertest_dial();
		servertest_say_head(fd, i % 2 ? "/sum" : "/gathered", SERVERTEST_CHUNKED);
		usleep(1000);
		servertest_say_text(fd, bad[i / 2]);
		if (!CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n")))
			fprintf(stderr, "case %zu\n", i / 2);
		close(fd);
	}
	fd = servertest_dial();
	memset(line, ' ', sizeof(line));
	line[0] = '3';
	servertest_say_head(fd, "/sum", SERVERTEST_CHUNKED);
	servertest_say(fd, line, sizeof(line));
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
	fd = servertest_dial();
	memset(lines, 't', sizeof(lines));
	servertest_say_head(fd, "/sum", SERVERTEST_CHUNKED);
	servertest_say_text(fd, "0\r\n");
	servertest_say(fd, lines, sizeof(lines));
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
}

/* An answer before the end of the body reaches a client that has sent nothing, or sends it all before it reads. */
static void
test_refused_body(void)
{
	static const char json[] = "{\"error\":\"too_large\"";
	int fd = servertest_dial(), i;

	servertest_say_head(fd, "/refuse", SERVERTEST_BIG_LEN);
	CHECK(hears_end(fd, "HTTP/1.1 401 Unauthorized\r\n"));
	close(fd);
	fd = servertest_dial();
	servertest_say_head(fd, "/refuse", SERVERTEST_BIG_LEN);
	servertest_say(fd, servertest_big, SERVERTEST_BIG);
	CHECK(hears_end(fd, "HTTP/1.1 401 Unauthorized\r\n"));
	close(fd);
	fd = servertest_dial();
	servertest_say_head(fd, "/half", SERVERTEST_CHUNKED);
	say_chunks(fd, 300);
	CHECK(hears_end(fd, "HTTP/1.1 200 OK\r\n"));
	close(fd);
	fd = servertest_dial();
	servertest_say_head(fd, "/sum", "Content-Length: 200000000\r\n");
	CHECK(hears_end(fd, json));
	close(fd);
	fd = servertest_dial();
	servertest_say_head(fd, "/sum", "Content-Length: 4000000\r\n");
	for (i = 0; i < 4; i++)
		servertest_say(fd, servertest_big, SERVERTEST_BIG);
	CHECK(hears_end(fd, json));
	close(fd);
	for (i = 0; i < 2; i++) {
		fd = servertest_dial();
		servertest_say_head(fd, i == 0 ? "/sum" : "/gathered", SERVERTEST_CHUNKED);
		servertest_say_text(fd, "f4242\r\n");
		servertest_say(fd, servertest_big, SERVERTEST_BIG);
		servertest_say(fd, servertest_big, 1000002 - SERVERTEST_BIG);
		CHECK(hears_end(fd, json));
		close(fd);
	}
	fd = servertest_dial();
	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN SERVERTEST_CHUNKED);
	say_chunks(fd, 1000);
	CHECK(hears_end(fd, "HTTP/1.1 400 Bad Request\r\n"));
	close(fd);
	/* What a GET brings is not wanted. */
	fd = servertest_dial();
	servertest_say_text(fd, "GET /sum HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	usleep(2000);
	for (i = 0; i < 3; i++) {
		servertest_say_text(fd, "dbba0\r\n");
		servertest_say(fd, servertest_big, SERVERTEST_BIG);
		servertest_say_text(fd, "\r\n");
	}
	CHECK(hears_end(fd, json));
	close(fd);
}

static void
test_expect(void)
{
	char buf[4096];
	int fd = servertest_dial();

	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN "Expect: 100-continue\r\n");
	CHECK(servertest_hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	servertest_say(fd, servertest_big, SERVERTEST_BIG);
	CHECK(servertest_hears(fd, servertest_big_sum));
	servertest_say_head(fd, "/gathered", "expect: 100-Continue\r\n" SERVERTEST_CHUNKED);
	CHECK(servertest_hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	say_chunks(fd, 5000);
	CHECK(servertest_hears(fd, servertest_big_echo));
	servertest_say_head(fd, "/refuse", SERVERTEST_BIG_LEN "Expect: 100-continue\r\n");
	servertest_hear(fd, buf, sizeof(buf), NULL);
	CHECK(strncmp(buf, "HTTP/1.1 401 Unauthorized\r\n", 27) == 0);
	close(fd);
	/* Small bodies are h2o's. */
	fd = servertest_dial();
	servertest_say_head(fd, "/small", "Content-Length: 3\r\nExpect: 100-continue\r\n");
	CHECK(servertest_hears(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
	servertest_say_text(fd, "abc");
	CHECK(servertest_hears(fd, "|abc"));
	close(fd);
	fd = servertest_dial();
	servertest_say_head(fd, "/sum", SERVERTEST_BIG_LEN "Expect: 200-ok\r\n");
	CHECK(servertest_hears(fd, "HTTP/1.1 417 "));
	close(fd);
}

/* Clients that leave in the middle. */
static void
test_body_lost(void)
{
	static const char *const paths[] = {"/sum", "/gathered"};
	unsigned before = atomic_load(&servertest_lost), answered = atomic_load(&servertest_lates), i;
	struct linger hard = {1, 0};
	int fd;

	for (i = 0; i < 8; i++) {
		fd = servertest_dial();
		servertest_say_head(fd, paths[i % 2], i & 2 ? SERVERTEST_BIG_LEN : SERVERTEST_CHUNKED);
		servertest_say_text(fd, "dbba0\r\n");
		servertest_say(fd, servertest_big, i & 1 ? 300000 : 1);
		usleep(20000);
		if (i & 4)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
		CHECK(servertest_reaches(&servertest_lost, before + i + 1));
	}
	/* While nobody reads. */
	fd = servertest_dial();
	servertest_say_head(fd, "/later", SERVERTEST_BIG_LEN);
	servertest_say(fd, servertest_big, 100000);
	usleep(5000);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	CHECK(servertest_reaches(&servertest_lates, answered + 1));
}

int
main(void)
{
	struct http_config config = servertest_config();

	servertest_start(&config);
	test_streamed();
	test_dribbled();
	test_bad_chunks();
	test_refused_body();
	test_expect();
	test_body_lost();
	servertest_end();
	return check_done();
}
