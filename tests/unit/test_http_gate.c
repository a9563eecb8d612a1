/* What the gate counts: frames of HTTP/2 and what they earn, addresses and nets, and what each address takes. */
#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "check.h"
#include "http/http_impl.h"
#include "http/peers.h"

/* ---- Frames ---- */

static struct server_frames frames;

static void
begin(void)
{
	frames = (struct server_frames){0};
	CHECK(server_frames_walk(&frames, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) == NULL);
}

static const char *
frame(unsigned type, unsigned flags, unsigned stream, const char *payload, size_t len)
{
	char bytes[9 + 70000] = {(char)(len >> 16), (char)(len >> 8), (char)len, (char)type, (char)flags,
	    (char)(stream >> 24), (char)(stream >> 16), (char)(stream >> 8), (char)stream};

	memcpy(bytes + 9, payload, len);
	return server_frames_walk(&frames, bytes, 9 + len);
}

static const char get[] = "\x82\x86\x84\x41\x01h";

/* How many of a frame pass before the connection is ended; at most ${most}. */
static unsigned
passes(unsigned type, unsigned flags, const char *payload, size_t len, unsigned most)
{
	unsigned n = 0;

	while (n < most && frame(type, flags, type == 4 || type == 6 ? 0 : 1, payload, len) == NULL)
		n++;
	return n;
}

static void
test_floods(void)
{
	static const struct {
		unsigned type, flags;
		size_t len;
		unsigned most;
	} kinds[] = {{6, 0, 8, LIMIT_H2_CONTROLS}, {4, 0, 6, LIMIT_H2_CONTROLS}, {2, 0, 5, LIMIT_H2_CONTROLS},
	    {0, 0, 0, LIMIT_H2_CONTROLS}, {99, 0, 3, LIMIT_H2_CONTROLS}, {7, 0, 8, LIMIT_H2_CONTROLS},
	    {6, 1, 8, LIMIT_H2_CONTROLS}, {8, 0, 4, LIMIT_H2_WINDOWS}, {3, 0, 4, LIMIT_H2_RESETS}};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		begin();
		CHECK_INT(
		    passes(kinds[i].type, kinds[i].flags, "\0\0\0\0\0\0\0\0", kinds[i].len, 100000), kinds[i].most);
		/* Time earns. */
		begin();
		frames.now_ms = 60000;
		CHECK(passes(kinds[i].type, kinds[i].flags, "\0\0\0\0\0\0\0\0", kinds[i].len, 100000) > kinds[i].most);
	}
	/* DATA that is there, and an end, cost nothing. */
	begin();
	CHECK_INT(passes(0, 0, "x", 1, 5000), 5000);
	CHECK_INT(passes(0, 1, "", 0, 5000), 5000);
	/* Who is sent much may say that it came. */
	begin();
	frames.sent = 1 << 20;
	CHECK_INT(passes(8, 0, "\0\0\0\1", 4, 100000), LIMIT_H2_WINDOWS + (1 << 20) / 128);
}

static void
test_streams(void)
{
	unsigned n;

	/* Without an answer. */
	begin();
	for (n = 0; frame(1, 5, 2 * n + 1, get, sizeof(get) - 1) == NULL; n++)
		continue;
	CHECK_INT(n, 100 + LIMIT_H2_RESETS);
	/* Who waits for answers goes on for ever. */
	begin();
	for (n = 0; n < 5000; n++) {
		frames.served = n;
		if (!CHECK(frame(1, 5, 2 * n + 1, get, sizeof(get) - 1) == NULL))
			break;
	}
	/* And may reset half as many. */
	for (n = 0; n < 4000 && frame(3, 0, 1, "\0\0\0\x08", 4) == NULL; n++)
		continue;
	CHECK_INT(n, LIMIT_H2_RESETS + 4999 / 2);
	CHECK_INT(frames.streams, 5000);
	CHECK_INT(frames.trailers, 0);
	begin();
	CHECK(frame(1, 5, 9, get, sizeof(get) - 1) == NULL);
	CHECK(frame(1, 5, 7, "\x82", 1) == NULL);
	CHECK_INT(frames.trailers, 7);
}

static void
test_heads(void)
{
	static char fields[20000], value[70000];
	unsigned n;

	/* Pieces without end. */
	begin();
	CHECK(frame(1, 1, 1, get, sizeof(get) - 1) == NULL);
	for (n = 0; frame(9, 0, 1, "", 0) == NULL; n++)
		continue;
	CHECK_INT(n, LIMIT_H2_CONTINUATIONS);
	/* Bytes without end. */
	begin();
	memset(value, 'v', sizeof(value));
	memcpy(value, "\x00\x01n\x7f\xf0\xa1\x04", 7); /* a literal of 127 + 69,872 bytes */
	CHECK(frame(1, 1, 1, value, 65535) == NULL);
	CHECK(frame(9, 0, 1, value, 65535) == NULL);
	CHECK(frame(9, 0, 1, value, 16384) != NULL);
	/* One byte each, and the next head counts anew. */
	memset(fields, 0xbe, sizeof(fields));
	begin();
	CHECK(frame(1, 5, 1, fields, LIMIT_H2_FIELDS) == NULL);
	CHECK_INT(frames.fields, LIMIT_H2_FIELDS);
	CHECK(frame(1, 5, 3, fields, LIMIT_H2_FIELDS) == NULL);
	CHECK(frame(1, 5, 5, fields, LIMIT_H2_FIELDS + 1) != NULL);
	/* Bytes of strings are none, however they are cut; nor are padding and a priority. */
	begin();
	CHECK(frame(1, 0x2d, 1, "\x03\0\0\0\0\x10\x82\x40\x03\xbe\xbe\xbe\x7f\x01\xbe", 15) == NULL);
	CHECK_INT(frames.fields, 2);
	begin();
	memset(value, 0xbe, sizeof(value));
	memcpy(value, "\x40\x01n\x7f\x89\x07", 6); /* 127 + 905 bytes */
	CHECK(frame(1, 1, 1, value, 500) == NULL);
	CHECK(frame(9, 0, 1, value + 500, 1) == NULL);
	CHECK(frame(9, 4, 1, value + 501, 6 + 1032 - 501 + 3) == NULL);
	CHECK_INT(frames.fields, 1 + 3);
}

static void
test_preface(void)
{
	begin();
	frames = (struct server_frames){0};
	CHECK(server_frames_walk(&frames, "PRI * HTTP/2.0\r\n\r\nSM\r\n", 22) == NULL);
	CHECK(server_frames_walk(&frames, "\rx", 2) != NULL);
}

/* ---- Addresses ---- */

static struct server_addr
addr(const char *text)
{
	struct server_addr a = {{0}};

	CHECK_INT(server_addr_parse(text, strlen(text), &a), 0);
	return a;
}

static void
test_addresses(void)
{
	static const char *const good[][2] = {{"10.1.2.3", "10.1.2.3"}, {"10.1.2.3:80", "10.1.2.3"}, {"::1", "::1"},
	    {"[2001:db8::1]:443", "2001:db8::1"}, {"[::1]", "::1"}, {"::ffff:1.2.3.4", "1.2.3.4"}};
	static const char *const bad[] = {"", "x", "1.2.3", "1.2.3.4.5", "[::1", "unknown", "1.2.3.4/8", "_hidden"};
	struct server_addr a;
	char text[SERVER_ADDR_TEXT];
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		a = addr(good[i][0]);
		server_addr_text(&a, text);
		CHECK_STR(text, good[i][1]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(server_addr_parse(bad[i], strlen(bad[i]), &a) != 0);
	a = addr("2001:db8:1:2:3:4:5:6");
	server_addr_group(&a);
	server_addr_text(&a, text);
	CHECK_STR(text, "2001:db8:1:2::");
	a = addr("10.1.2.3");
	server_addr_group(&a);
	server_addr_text(&a, text);
	CHECK_STR(text, "10.1.2.3");
}

static int
have(const char *list, const char *text)
{
	struct server_nets *nets = NULL;
	struct server_addr a = addr(text);
	int is;

	if (!CHECK_INT(server_nets_new(list, &nets), 0))
		return -1;
	is = server_nets_have(nets, &a);
	server_nets_free(nets);
	return is;
}

static void
test_nets(void)
{
	static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/", "::/129", "x", "10.0.0.0/8x", "1.2.3.4, y"};
	struct server_nets *nets;
	size_t i;

	CHECK(have("127.0.0.0/8, ::1", "127.3.2.1") == 1);
	CHECK(have("127.0.0.0/8, ::1", "128.0.0.1") == 0);
	CHECK(have("127.0.0.0/8, ::1", "::1") == 1);
	CHECK(have("127.0.0.0/8, ::1", "::2") == 0);
	CHECK(have("10.0.0.128/25", "10.0.0.127") == 0);
	CHECK(have("10.0.0.128/25", "10.0.0.200") == 1);
	CHECK(have("2001:db8::/33", "2001:db8:7fff::1") == 1);
	CHECK(have("2001:db8::/33", "2001:db8:8000::1") == 0);
	CHECK(have("none", "127.0.0.1") == 0);
	CHECK(have("", "127.0.0.1") == 0);
	CHECK(have("0.0.0.0/0", "8.8.8.8") == 1);
	CHECK(have("0.0.0.0/0", "2001:db8::1") == 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_INT(server_nets_new(bad[i], &nets), ERR_BAD_REQUEST);
}

static const char *
forwarded(const char *from, const char *value)
{
	static char text[SERVER_ADDR_TEXT];
	struct server_nets *nets = NULL;
	struct server_addr a = addr(from);

	if (!CHECK_INT(server_nets_new("10.0.0.1, 10.0.0.2", &nets), 0))
		return "";
	server_forwarded(value, strlen(value), nets, &a);
	server_nets_free(nets);
	server_addr_text(&a, text);
	return text;
}

static void
test_forwarded(void)
{
	CHECK_STR(forwarded("10.0.0.1", "1.2.3.4"), "1.2.3.4");
	/* What a client writes stands before what the proxy adds. */
	CHECK_STR(forwarded("10.0.0.1", "9.9.9.9, 1.2.3.4"), "1.2.3.4");
	CHECK_STR(forwarded("10.0.0.1", "9.9.9.9,1.2.3.4 , 10.0.0.2"), "1.2.3.4");
	CHECK_STR(forwarded("10.0.0.3", "1.2.3.4"), "10.0.0.3");
	CHECK_STR(forwarded("10.0.0.1", "1.2.3.4, rubbish"), "10.0.0.1");
	CHECK_STR(forwarded("10.0.0.1", ""), "10.0.0.1");
	CHECK_STR(forwarded("10.0.0.1", " , ,"), "10.0.0.1");
	CHECK_STR(forwarded("10.0.0.1", "[2001:db8::7]:1234"), "2001:db8::7");
}

/* ---- Peers ---- */

static void
test_peers(void)
{
	struct server_addr a = addr("192.0.2.1"), b = addr("192.0.2.2"), v6 = addr("2001:db8::1"),
			   v6b = addr("2001:db8::2"), other = addr("2001:db8:0:1::1");
	struct server_peer *p[4] = {NULL}, *q = NULL;
	struct server_peers *all;

	if (!CHECK_INT(server_peers_new(&all), 0))
		return;
	CHECK_INT(server_peers_connect(all, &a, 2, &p[0]), 0);
	CHECK_INT(server_peers_connect(all, &a, 2, &p[1]), 0);
	CHECK(p[0] == p[1]);
	CHECK_INT(server_peers_connect(all, &a, 2, &q), ERR_BUSY);
	CHECK_INT(server_peers_connect(all, &b, 2, &p[2]), 0);
	CHECK(p[2] != p[0]);
	/* Closed, while a request of it goes on: the connection no longer counts, the request does. */
	CHECK_INT(server_peers_begin(p[0], 1, 0), 0);
	server_peers_disconnect(p[1]);
	CHECK_INT(server_peers_connect(all, &a, 2, &q), 0);
	CHECK_INT(server_peers_begin(q, 1, 0), ERR_BUSY);
	server_peers_end(p[0]);
	CHECK_INT(server_peers_begin(q, 1, 0), 0);
	server_peers_end(q);
	/* What is owed to an address is so without connections. */
	server_peers_owe(p[0], 1000);
	server_peers_owe(p[0], 10);
	server_peers_paid(p[0], 1000);
	CHECK_INT(server_peers_owed(q), 10);
	CHECK(server_peers_hold(q) == q && server_peers_hold(NULL) == NULL);
	server_peers_put(q);
	server_peers_owe(NULL, 1);
	server_peers_paid(NULL, 1);
	CHECK_INT(server_peers_owed(NULL) + server_peers_owed(p[2]), 0);
	/* A rate has a burst; who comes again is the same. */
	CHECK_INT(server_peers_get(all, &v6, &p[3]), 0);
	{
		unsigned n = 0;

		while (n < 100 && server_peers_begin(p[3], 0, 10) == 0)
			n++;
		CHECK(n >= 50 && n <= 52);
		server_peers_put(p[3]);
		CHECK_INT(server_peers_get(all, &v6b, &p[3]), 0);
		CHECK_INT(server_peers_begin(p[3], 0, 10), ERR_BUSY);
		server_peers_put(p[3]);
		CHECK_INT(server_peers_get(all, &other, &p[3]), 0);
		CHECK_INT(server_peers_begin(p[3], 0, 10), 0);
		server_peers_put(p[3]);
	}
	server_peers_disconnect(p[0]);
	server_peers_put(p[0]);
	server_peers_put(p[1]);
	server_peers_disconnect(q);
	server_peers_put(q);
	server_peers_paid(p[0], 10);
	server_peers_disconnect(p[2]);
	server_peers_put(p[2]);
	server_peers_free(all);
}

int
main(void)
{
	test_floods();
	test_streams();
	test_heads();
	test_preface();
	test_addresses();
	test_nets();
	test_forwarded();
	test_peers();
	return check_done();
}
