/* test_base_httpc_peers.c: TLS and HTTP/2, proxies, and servers that speak no HTTP; URLs taken apart. */
#include "httpc_peer.h"

/* ---- TLS ---- */

static void
test_trust(void)
{
	struct httpc_loop *strict = new_loop((struct httpc_config){.verify_depth = 1});
	struct httpc_loop *system = new_loop((struct httpc_config){.ca_file = "/etc/ssl/certs/ca-certificates.crt"});
	struct httpc_loop *lax = new_loop((struct httpc_config){.no_verify = 1});
	static const char *const bad[] = {"wrong", "ended"};
	struct call c;

	fetch(strict, "tls", "/hello", 200, "hello");
	for (int i = 0; i < 2; i++) {
		call_init(&c, strict, bad[i], "/hello");
		call_start(&c);
		CHECK_INT(call_wait(&c), ERR_IO);
		CHECK(strstr(c.why.text, "certificate") != NULL);
		CHECK_INT(c.heads, 0);
		call_release(&c);
		fetch(lax, bad[i], "/hello", 200, "hello");
	}
	call_init(&c, system, "tls", "/hello");
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK(strstr(c.why.text, "certificate") != NULL);
	call_release(&c);
	httpc_loop_free(strict);
	httpc_loop_free(system);
	httpc_loop_free(lax);
}

static void
test_own_certificate(void)
{
	char cert[300], key[300];
	struct httpc_loop *nobody = new_loop((struct httpc_config){.per_host = 1});
	struct httpc_loop *known;
	struct call c;

	snprintf(cert, sizeof(cert), "%s", peer_word("cert"));
	snprintf(key, sizeof(key), "%s", peer_word("key"));
	known = new_loop((struct httpc_config){.cert_file = cert, .key_file = key});
	call_init(&c, nobody, "mutual", "/hello");
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	call_release(&c);
	fetch(known, "mutual", "/hello", 200, "hello");
	httpc_loop_free(nobody);
	httpc_loop_free(known);
}

/* Many on one connection, with feeds on it; what pauses has its own. */
static void
test_http2(void)
{
	enum { N = 100, FEEDS = 4 };
	static struct call calls[N], feeds[FEEDS];
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 10});
	struct httpc_stats stats;
	struct call c;

	for (int i = 0; i < FEEDS; i++) {
		call_init(&feeds[i], l, "h2", "/feed/20");
		feeds[i].req.feed = 1;
		call_start(&feeds[i]);
	}
	for (int i = 0; i < N; i++) {
		call_init(&calls[i], l, "h2", i % 10 == 0 ? "/bytes/300000" : "/echo");
		calls[i].req.method = i % 10 == 0 ? "GET" : "POST";
		calls[i].req.body = i % 10 == 0 ? NULL : "abc";
		calls[i].req.body_len = i % 10 == 0 ? 0 : 3;
		call_start(&calls[i]);
	}
	for (int i = 0; i < N; i++) {
		CHECK_INT(call_wait(&calls[i]), 0);
		CHECK_INT(calls[i].done_status, 200);
		if (i % 10 == 0) {
			CHECK_INT(calls[i].received, 300000);
		} else {
			CHECK_INT(buf_put(&calls[i].body, "", 1), 0);
			CHECK(strstr(calls[i].body.data, "\"version\":\"2.0\"") != NULL);
			CHECK(strstr(calls[i].body.data, "\"body\":\"abc\"") != NULL);
		}
		call_release(&calls[i]);
	}
	for (int i = 0; i < FEEDS; i++) {
		CHECK_INT(call_wait(&feeds[i]), 0);
		CHECK_INT(feeds[i].received, 25);
		call_release(&feeds[i]);
	}
	httpc_loop_stats(l, &stats);
	CHECK_INT(stats.connections, 1);
	call_init(&c, l, "h2", "/echo");
	c.req.pauses = 1;
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	CHECK(strstr(c.body.data, "\"version\":\"1.1\"") != NULL);
	call_release(&c);
	httpc_loop_stats(l, &stats);
	CHECK_INT(stats.connections, 2);
	httpc_loop_free(l);
}

/* Node ends a connection after about 1,000 requests of libcurl's, at one that it does not answer: nobody notices. */
static void
test_connection_ends(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 10});
	struct httpc_stats stats;
	unsigned n = 0;

	do {
		fetch(l, "h2", "/hello", 200, "hello");
		httpc_loop_stats(l, &stats);
	} while (stats.connections < 2 && ++n < 3000);
	httpc_loop_free(l);
}

/* A large body in memory, over both, as it must be when it goes piece by piece. */
static void
test_large_body(const char *server)
{
	enum { LEN = 5000000 };
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 10});
	struct call c;
	char *body = malloc(LEN);

	memset(body, 'u', LEN);
	fetch(l, server, "/hello", 200, "hello");
	call_init(&c, l, server, "/sink");
	c.req.method = "POST";
	c.req.body = body;
	c.req.body_len = LEN;
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_INT(buf_put(&c.body, "", 1), 0);
	CHECK_STR(c.body.data, "{\"bytes\":5000000,\"md5\":\"42e350867de2bafe7877a3743b10b317\"}");
	call_release(&c);
	free(body);
	httpc_loop_free(l);
}

/* ---- Proxies ---- */

static void
test_proxy(void)
{
	struct httpc_loop *l = new_loop((struct httpc_config){.per_host = 10});
	char proxy[100];
	struct call c;

	snprintf(proxy, sizeof(proxy), "http://u:p%%40ss@127.0.0.1:%s", peer_word("proxy"));
	call_init(&c, l, "plain", "/hello");
	c.req.proxy = proxy;
	c.req.url = "http://never.invalid/x";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_MEM(c.body.data, c.body.len, "proxied http://never.invalid/x Basic dTpwQHNz", 45);
	call_release(&c);
	call_init(&c, l, "tls", "/hello");
	c.req.proxy = proxy;
	c.want = "X-Proxy";
	call_start(&c);
	CHECK_INT(call_wait(&c), 0);
	CHECK_MEM(c.body.data, c.body.len, "hello", 5);
	CHECK_STR(c.extra, ""); /* the proxy's head is not the answer's */
	call_release(&c);
	/* It wants a password. */
	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%s", peer_word("proxy"));
	call_init(&c, l, "tls", "/hello");
	c.req.proxy = proxy;
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK(strstr(c.why.text, "407") != NULL);
	CHECK_INT(c.heads, 0);
	call_release(&c);
	call_init(&c, l, "tls", "/hello");
	c.req.proxy = "socks5://u:secret@127.0.0.1:1";
	call_start(&c);
	CHECK_INT(call_wait(&c), ERR_IO);
	CHECK(strstr(c.why.text, "secret") == NULL);
	call_release(&c);
	httpc_loop_free(l);
}

/* ---- Hostile servers ---- */

static int
stop_at_a_million(void *cookie, const void *data, size_t len)
{
	struct call *c = cookie;

	(void)data;
	c->received += len;
	return c->received > 1000000 ? ERR_TOO_LARGE : 0;
}

static void
test_hostile(void)
{
	static const struct {
		const char *path;
		int err;
	} servers[] = {{"/garbage", ERR_IO}, {"/nothing", ERR_IO}, {"/reset", ERR_IO}, {"/half-head", ERR_IO},
	    {"/endless-head", ERR_IO}, {"/endless-line", ERR_IO}, {"/endless-interim", ERR_IO},
	    {"/endless-body", ERR_TOO_LARGE}, {"/endless-chunk", ERR_IO}, {"/huge-chunk", ERR_IO},
	    {"/bad-length", ERR_IO}, {"/bad-gzip", ERR_IO}, {"/nul-head", ERR_IO}, {"/nowhere", ERR_IO}};
	struct httpc_loop *l = new_loop((struct httpc_config){.times = {.head_ms = 1000}});
	struct call c;

	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		call_init(&c, l, "raw", servers[i].path);
		c.req.on_body = stop_at_a_million;
		c.req.decode = 1;
		call_start(&c);
		if (!CHECK_INT(call_wait(&c), servers[i].err))
			fprintf(stderr, "%s: %s\n", servers[i].path, c.why.text);
		CHECK(c.err == ERR_TOO_LARGE || c.why.text[0] != '\0');
		CHECK(c.heads <= 1);
		call_release(&c);
	}
	fetch(l, "plain", "/hello", 200, "hello");
	httpc_loop_free(l);
}

/* ---- URLs ---- */

static void
split(const char *text, const char *want)
{
	struct httpc_url u;
	struct errtext why = {.text = ""};
	char got[400];

	if (httpc_url_split(text, &u, &why) != 0) {
		CHECK(why.text[0] != '\0');
		CHECK(strstr(why.text, "secret") == NULL);
		CHECK(u.url == NULL && u.password == NULL);
		snprintf(got, sizeof(got), "refused");
	} else {
		snprintf(got, sizeof(got), "%s %s %s:%s %s %u %s ?%s", u.url, u.scheme, u.user != NULL ? u.user : "-",
		    u.password != NULL ? u.password : "-", u.host, u.port, u.path, u.query);
		httpc_url_release(&u);
	}
	CHECK_STR(got, want);
}

static void
test_urls(void)
{
	split("http://H.Example", "http://h.example/ http -:- h.example 80 / ?");
	split("HTTPS://ann:s%40cr%3At@h:443/db%2Fx?a=b#f", "https://h/db%2Fx?a=b https ann:s@cr:t h 443 /db%2Fx ?a=b");
	split("http://ann@h:5984/a/../b", "http://h:5984/b http ann: h 5984 /b ?");
	split("http://:pw@h/", "http://h/ http :pw h 80 / ?");
	split("http://[::1]:5984/db", "http://[::1]:5984/db http -:- [::1] 5984 /db ?");
	split("http://u:secret/x@h/", "refused");
	split("http://u:secret%00@h/", "refused");
	split("ftp://u:secret@h/", "refused");
	split("h/db", "refused");
	split("", "refused");
	split("http://u:secret@", "refused");
	split("http://u:secret@h:0x1/", "refused");
	split("http://u:secret@h h/", "refused");
}

int
main(void)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("no_proxy", "*", 1);
	peer_start();
	test_trust();
	test_own_certificate();
	test_http2();
	test_connection_ends();
	test_large_body("plain");
	test_large_body("tls");
	test_large_body("h2");
	test_proxy();
	test_hostile();
	test_urls();
	peer_stop();
	return check_done();
}
