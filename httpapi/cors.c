/*
 * cors.c: requests from pages of other origins, by CouchDB's settings: chttpd/enable_cors and the
 * section cors: origins (a list, or "*"), credentials, methods, headers, max_age.
 * "http://localhost:*" is any port of that host, which CouchDB lacks.
 *
 * The settings are read once and replaced as a whole when they change; what was replaced is kept
 * for requests that are looking at it.
 */
#include "cors.h"

#include <strings.h>

#define CORS_EXPOSE                                                                      \
	"content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, " \
	"x-couch-update-newrev, x-couchdb-body-time"
#define CORS_METHODS "CONNECT, COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT, TRACE"
#define CORS_HEADERS                                                                            \
	"accept, accept-language, authorization, content-length, content-range, content-type, " \
	"destination, expires, if-match, last-modified, origin, pragma, x-couch-full-commit, "  \
	"x-couch-id, x-couch-persist, x-couchdb-www-authenticate, x-http-method-override, "     \
	"x-requested-with, x-couchdb-vhost-path"

struct cors {
	int enabled;
	int credentials;
	const char *origins;
	const char *methods;
	const char *headers;
	char max_age[24];
	struct cors *older;
};

static const char *
setting(const struct config *c, const char *key, const char *dflt)
{
	const char *v = config_get(c, "cors", key, dflt);

	return *v ? v : dflt;
}

int
cors_load(struct api *api)
{
	const struct config *c = api->config;
	struct cors *n = calloc(1, sizeof(*n));

	if (!n)
		return ERR_NOMEM;
	n->enabled = config_bool(c, "chttpd", "enable_cors", config_bool(c, "httpd", "enable_cors", 0));
	n->credentials = config_bool(c, "cors", "credentials", 0);
	n->origins = setting(c, "origins", "");
	n->methods = setting(c, "methods", CORS_METHODS);
	n->headers = setting(c, "headers", CORS_HEADERS);
	snprintf(n->max_age, sizeof(n->max_age), "%llu", (unsigned long long)config_u64(c, "cors", "max_age", 600));
	n->older = __atomic_load_n(&api->cors, __ATOMIC_ACQUIRE);
	while (!__atomic_compare_exchange_n(&api->cors, &n->older, n, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE)) {
	}
	return 0;
}

void
cors_free(struct api *api)
{
	struct cors *next;

	for (struct cors *c = api->cors; c; c = next) {
		next = c->older;
		free(c);
	}
	api->cors = NULL;
}

/* The next item of a comma-separated list, trimmed; 0 at the end. */
static int
next_item(const char **pp, const char *end, struct jstr *item)
{
	const char *p = *pp;
	const char *start;

	while (p < end && (*p == ' ' || *p == ',' || *p == '\t'))
		p++;
	start = p;
	while (p < end && *p != ',')
		p++;
	*pp = p;
	while (p > start && (p[-1] == ' ' || p[-1] == '\t'))
		p--;
	*item = (struct jstr){start, (size_t)(p - start)};
	return item->len > 0;
}

static int
list_has(const char *list, const struct jstr *what, int (*same)(struct jstr, const struct jstr *))
{
	struct jstr item;
	const char *end = list + strlen(list);

	while (next_item(&list, end, &item)) {
		if (same(item, what))
			return 1;
	}
	return 0;
}

static int
same_word(struct jstr item, const struct jstr *what)
{
	return item.len == what->len && strncasecmp(item.s, what->s, item.len) == 0;
}

static int
same_origin(struct jstr item, const struct jstr *origin)
{
	size_t n;

	if (item.len == 1 && *item.s == '*')
		return 1;
	if (item.len == origin->len && memcmp(item.s, origin->s, item.len) == 0)
		return 1;
	if (item.len < 3 || memcmp(item.s + item.len - 2, ":*", 2) != 0)
		return 0;
	/* Any port, which may be left out where it is the scheme's own. */
	n = item.len - 2;
	if (origin->len < n || memcmp(item.s, origin->s, n) != 0)
		return 0;
	if (origin->len == n)
		return 1;
	if (origin->s[n] != ':' || origin->len == n + 1 || origin->len > n + 6)
		return 0;
	for (size_t i = n + 1; i < origin->len; i++) {
		if (origin->s[i] < '0' || origin->s[i] > '9')
			return 0;
	}
	return 1;
}

static int
headers_allowed(const struct cors *c, const struct jstr *asked)
{
	struct jstr item;
	const char *p = asked->s;
	const char *end = p ? p + asked->len : p;

	while (p && next_item(&p, end, &item)) {
		if (!list_has(c->headers, &item, same_word))
			return 0;
	}
	return 1;
}

/* 1 if a preflight was allowed and has been answered; what is not allowed goes its way to a 405. */
static int
preflight(struct apireq *r, const struct cors *c)
{
	struct jstr method = http_header(r->http, "access-control-request-method");
	struct jstr asked = http_header(r->http, "access-control-request-headers");

	if (!method.s || !list_has(c->methods, &method, same_word) || !headers_allowed(c, &asked))
		return 0;
	http_set_header(r->http, "access-control-allow-methods", c->methods, strlen(c->methods));
	http_set_header(r->http, "access-control-allow-headers", asked.s ? asked.s : "", asked.s ? asked.len : 0);
	http_set_header(r->http, "access-control-max-age", c->max_age, strlen(c->max_age));
	http_reply(r->http, 204, "", 0);
	return 1;
}

int
cors_step(struct apireq *r)
{
	const struct cors *c = __atomic_load_n(&r->api->cors, __ATOMIC_ACQUIRE);
	struct jstr origin;

	if (!c->enabled)
		return 0;
	origin = http_header(r->http, "origin");
	/* Caches must not show one origin's answer to another. */
	http_add_header(r->http, "vary", "origin", 6);
	if (!origin.s || origin.len == 0 || !list_has(c->origins, &origin, same_origin))
		return 0;
	http_set_header(r->http, "access-control-allow-origin", origin.s, origin.len);
	if (c->credentials)
		http_set_header(r->http, "access-control-allow-credentials", "true", 4);
	if (strcmp(r->method, "OPTIONS") == 0 && preflight(r, c))
		return 1;
	http_set_header(r->http, "access-control-expose-headers", CORS_EXPOSE, sizeof(CORS_EXPOSE) - 1);
	return 0;
}
