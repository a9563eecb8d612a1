/*
 * transport.c: how clients may come: TLS by CouchDB's section ssl, and what becomes of plain HTTP.
 *
 * chttpd/plain_http says what an answer over plain HTTP is: `allow` as ever, `redirect` to TLS, `refuse`, or `local`:
 * as ever to clients on this machine, refused to others.  Only GET and HEAD are redirected: the body of a PUT, like
 * the password in any request, has then been sent in the clear already, and a client that followed would never notice.
 */
#include "transport.h"

#include <stdatomic.h>
#include <strings.h>

#include "base/limits.h"
#include "base/log.h"

#define HOST_MAX 255u
#define HSTS_MAX 48u

enum plain { PLAIN_ALLOW, PLAIN_REDIRECT, PLAIN_REFUSE, PLAIN_LOCAL };

struct transport {
	_Atomic int plain;     /* enum plain */
	_Atomic int cert_user; /* enum http_cert_name, -1: off */
	_Atomic int cert_admins;
	_Atomic uint32_t hsts_s; /* 0: no header */
};

/* ---- Settings ---- */

static const char *
text_of(const struct config *c, const char *key)
{
	const char *value = config_get(c, "ssl", key, NULL);

	return value && *value ? value : NULL;
}

/* Of names for one thing and the other; an error is -1. */
static int
word_of(const struct config *c, const char *key, const char *no, const char *yes)
{
	const char *value = text_of(c, key);

	if (!value || strcasecmp(value, no) == 0)
		return 0;
	if (strcasecmp(value, yes) == 0)
		return 1;
	log_line(LOG_ERROR, "ssl/%s: '%s' is neither %s nor %s", key, value, no, yes);
	return -1;
}

int
transport_tls(const struct config *c, struct http_tls *out)
{
	uint64_t depth = config_u64(c, "ssl", "depth", 1);

	*out = (struct http_tls){.cert_file = text_of(c, "cert_file"),
	    .key_file = text_of(c, "key_file"),
	    .password = text_of(c, "password"),
	    .ca_file = text_of(c, "cacert_file"),
	    .crl_file = text_of(c, "crl_file"),
	    .ciphers = text_of(c, "ciphers"),
	    .curves = text_of(c, "ecc_curves"),
	    .versions = text_of(c, "tls_versions"),
	    .depth = depth < 100 ? (unsigned)depth : 100};
	out->verify = word_of(c, "verify", "verify_none", "verify_peer");
	out->require = config_bool(c, "ssl", "fail_if_no_peer_cert", 0);
	if (!config_bool(c, "ssl", "enable", out->cert_file && out->key_file))
		return 0;
	if (!out->cert_file || !out->key_file) {
		log_line(LOG_ERROR, "ssl/enable wants ssl/cert_file and ssl/key_file");
		return -ERR_BAD_REQUEST;
	}
	if (out->verify < 0)
		return -ERR_BAD_REQUEST;
	if (out->verify && !out->ca_file) {
		log_line(LOG_ERROR, "ssl/verify: verify_peer wants ssl/cacert_file");
		return -ERR_BAD_REQUEST;
	}
	return 1;
}

static void
load(struct transport *t, const struct config *c)
{
	static const char *const words[] = {"allow", "redirect", "refuse", "local"};
	static const char *const names[] = {[HTTP_CERT_CN] = "cn",
	    [HTTP_CERT_EMAIL] = "san_email",
	    [HTTP_CERT_URI] = "san_uri",
	    [HTTP_CERT_DNS] = "san_dns"};
	const char *user = config_get(c, "ssl", "client_cert_user", "");
	int where = -1;
	const char *value = config_get(c, "chttpd", "plain_http", "");
	uint64_t hsts_s = config_u64(c, "ssl", "hsts_max_age", 0);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(value, words[i]) == 0 || (i == PLAIN_ALLOW && !*value))
			atomic_store(&t->plain, (int)i);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(user, names[i]) == 0)
			where = (int)i;
	}
	atomic_store(&t->cert_admins, config_bool(c, "ssl", "client_cert_admins", 0));
	atomic_store(&t->cert_user, where);
	atomic_store(&t->hsts_s, hsts_s < UINT32_MAX ? (uint32_t)hsts_s : UINT32_MAX);
}

static void
changed(const char *section, const char *key, void *cookie)
{
	struct api *api = cookie;
	struct http_tls tls;

	load(api->transport, api->config);
	if (strcmp(section, "ssl") != 0 || strcmp(key, "hsts_max_age") == 0 || strncmp(key, "client_cert_", 12) == 0)
		return;
	/* What is wrong is told in the log; what was stays. */
	if (api->server && http_server_tls_port(api->server) && transport_tls(api->config, &tls) > 0 &&
	    http_server_tls(api->server, &tls))
		log_line(LOG_ERROR, "TLS goes on as it was");
}

int
transport_new(struct api *api)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (!t)
		return ERR_NOMEM;
	api->transport = t;
	load(t, api->config);
	return config_on_change(api->config, changed, api);
}

void
transport_free(struct api *api)
{
	free(api->transport);
	api->transport = NULL;
}

int
transport_cert_user(const struct api *api, enum http_cert_name *whatp)
{
	int where = api->transport ? atomic_load_explicit(&api->transport->cert_user, memory_order_relaxed) : -1;

	if (where < 0)
		return 0;
	*whatp = (enum http_cert_name)where;
	return 1;
}

int
transport_cert_admins(const struct api *api)
{
	return api->transport && atomic_load_explicit(&api->transport->cert_admins, memory_order_relaxed);
}

/* ---- Plain HTTP ---- */

/* The host in a Host header: a name, an address in its notation; len 0: nothing that we would repeat. */
static struct jstr
host_of(const struct jstr *h)
{
	const struct jstr none = {NULL, 0};
	size_t n = 0, at;

	if (!h->s || h->len == 0 || h->len > HOST_MAX)
		return none;
	if (h->s[0] == '[') {
		for (n = 1; n < h->len && strchr("0123456789abcdefABCDEF:.", h->s[n]) && h->s[n]; n++) {
		}
		if (n < 3 || n == h->len || h->s[n] != ']')
			return none;
		n++;
	} else {
		while (n < h->len &&
		       ((h->s[n] >= 'a' && h->s[n] <= 'z') || (h->s[n] >= 'A' && h->s[n] <= 'Z') ||
			   (h->s[n] >= '0' && h->s[n] <= '9') || (n > 0 && (h->s[n] == '.' || h->s[n] == '-'))))
			n++;
	}
	at = n;
	if (at < h->len && h->s[at] == ':') {
		for (at++; at < h->len && h->s[at] >= '0' && h->s[at] <= '9'; at++) {
		}
	}
	return at == h->len && n > 0 ? (struct jstr){h->s, n} : none;
}

/* To the same path and query over TLS, if the client says which host it has meant. */
static int
redirect(struct apireq *r)
{
	struct jstr h = http_header(r->http, "host"), path = http_path(r->http), query = http_query(r->http);
	struct jstr host = host_of(&h);
	unsigned port = http_server_tls_port(r->api->server);
	struct buf b;
	int done;

	if (host.len == 0 || port == 0 || strcmp(r->method, "GET") != 0 || path.len == 0 || path.s[0] != '/')
		return 0;
	buf_init(&b, LIMIT_URL_LEN * 4);
	buf_puts(&b, "https://");
	buf_put(&b, host.s, host.len);
	if (port != 443)
		buf_printf(&b, ":%u", port);
	buf_put(&b, path.s, path.len);
	if (query.len > 0) {
		buf_putc(&b, '?');
		buf_put(&b, query.s, query.len);
	}
	done = !buf_failed(&b);
	if (done) {
		http_set_header(r->http, "location", b.data, b.len);
		http_reply(r->http, 301, "", 0);
	}
	buf_release(&b);
	return done;
}

static void
refuse(struct apireq *r)
{
	api_error_text(r, 403, "forbidden", "This server wants TLS: ask by https.");
}

int
transport_step(struct apireq *r)
{
	const struct transport *t = r->api->transport;
	uint32_t hsts_s;
	char text[HSTS_MAX];

	if (!t)
		return 0;
	if (http_is_tls(r->http)) {
		hsts_s = atomic_load_explicit(&t->hsts_s, memory_order_relaxed);
		if (hsts_s > 0) {
			int n = snprintf(text, sizeof(text), "max-age=%lu", (unsigned long)hsts_s);

			http_set_header(r->http, "strict-transport-security", text, (size_t)n);
		}
		return 0;
	}
	switch (atomic_load_explicit(&t->plain, memory_order_relaxed)) {
	case PLAIN_REDIRECT:
		if (!redirect(r))
			refuse(r);
		return 1;
	case PLAIN_REFUSE:
		refuse(r);
		return 1;
	case PLAIN_LOCAL:
		if (http_is_local(r->http))
			return 0;
		refuse(r);
		return 1;
	default:
		return 0;
	}
}
