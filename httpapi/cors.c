/*
 * cors.c: requests from pages of other origins, by CouchDB's settings: chttpd/enable_cors and the
 * section cors: origins (a list, or "*"), credentials, methods, headers, exposed_headers, max_age; a section
 * cors:HOST holds what differs for those who ask for this server by that name.
 * "http://localhost:*" is any port of that host, which CouchDB lacks.
 *
 * The settings are read once and replaced as a whole when they change; what was replaced is kept
 * for requests that are looking at it.
 */
#include "cors.h"

#include <strings.h>

#include "base/log.h"

#define CORS_EXPOSE "accept-ranges, etag, server, x-couch-request-id, x-couch-update-newrev, x-couchdb-body-time"
#define CORS_METHODS "CONNECT, COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT, TRACE"
#define CORS_HEADERS                                                                            \
	"accept, accept-language, authorization, content-length, content-range, content-type, " \
	"destination, expires, if-match, last-modified, origin, pragma, x-couch-full-commit, "  \
	"x-couch-id, x-couch-persist, x-couchdb-www-authenticate, x-http-method-override, "     \
	"x-requested-with, x-couchdb-vhost-path"

#define CORS_HOSTS 64u     /* sections of hosts that are looked at */
#define CORS_HOST_MAX 255u /* bytes of a host's name */

/* What pages may do with one name of this server, or with all others. */
struct cors_rules {
	const char *host; /* NULL: all others */
	int credentials;
	const char *origins;
	const char *methods;
	const char *headers;
	char *expose;
	char max_age[24];
};

struct cors {
	int enabled;
	size_t n;
	struct cors_rules *rules; /* the first are those without a host */
	struct cors *older;
};

/* ---- Settings ---- */

struct section {
	const struct config *c;
	char name[CORS_HOST_MAX + 8]; /* "cors:HOST"; empty: there is none */
};

/* A section of a host holds what differs. */
static const char *
setting(const struct section *s, const char *key, const char *dflt)
{
	const char *v = *s->name ? config_get(s->c, s->name, key, "") : "";

	if (!*v)
		v = config_get(s->c, "cors", key, "");
	return *v ? v : dflt;
}

/* What answers expose: whatever else the list says, the two that a script can't do without. */
static char *
exposed(const char *list)
{
	static const char always[] = "content-type, cache-control, ";
	size_t len = strlen(list);
	char *s = malloc(sizeof(always) + len);

	if (!s)
		return NULL;
	memcpy(s, always, sizeof(always) - 1);
	memcpy(s + sizeof(always) - 1, list, len + 1);
	for (char *p = s; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p;
	return s;
}

static int
load_rules(const struct config *c, const char *host, struct cors_rules *out)
{
	struct section s = {c, ""};
	const char *max_age;

	if (host)
		snprintf(s.name, sizeof(s.name), "cors:%s", host);
	out->host = host;
	out->credentials = config_bool(c, "cors", "credentials", 0);
	if (host)
		out->credentials = config_bool(c, s.name, "credentials", out->credentials);
	out->origins = setting(&s, "origins", "");
	out->methods = setting(&s, "methods", CORS_METHODS);
	out->headers = setting(&s, "headers", CORS_HEADERS);
	out->expose = exposed(setting(&s, "exposed_headers", CORS_EXPOSE));
	max_age = setting(&s, "max_age", "600");
	if (strspn(max_age, "0123456789") != strlen(max_age) || strlen(max_age) >= sizeof(out->max_age))
		max_age = "600";
	snprintf(out->max_age, sizeof(out->max_age), "%s", max_age);
	return out->expose ? 0 : ERR_NOMEM;
}

struct hosts {
	const char *name[CORS_HOSTS];
	size_t n;
};

static int
note_host(const char *section, const char *key, const char *value, void *cookie)
{
	struct hosts *h = cookie;

	(void)key, (void)value;
	if (strncmp(section, "cors:", 5) != 0 || strlen(section + 5) > CORS_HOST_MAX || h->n == CORS_HOSTS)
		return 0;
	for (size_t i = 0; i < h->n; i++) {
		if (strcmp(h->name[i], section + 5) == 0)
			return 0;
	}
	h->name[h->n++] = section + 5;
	return 0;
}

static void
drop(struct cors *c)
{
	for (size_t i = 0; c->rules && i < c->n; i++)
		free(c->rules[i].expose);
	free(c->rules);
	free(c);
}

int
cors_load(struct api *api)
{
	const struct config *c = api->config;
	struct cors *n = calloc(1, sizeof(*n));
	struct hosts hosts = {.n = 0};
	int err = 0;

	if (!n)
		return ERR_NOMEM;
	n->enabled = config_bool(c, "chttpd", "enable_cors", config_bool(c, "httpd", "enable_cors", 0));
	config_all(c, note_host, &hosts);
	n->n = 1 + hosts.n;
	n->rules = calloc(n->n, sizeof(*n->rules));
	if (!n->rules)
		err = ERR_NOMEM;
	for (size_t i = 0; i < n->n && !err; i++)
		err = load_rules(c, i > 0 ? hosts.name[i - 1] : NULL, &n->rules[i]);
	if (err) {
		drop(n);
		return err;
	}
	n->older = __atomic_load_n(&api->cors, __ATOMIC_ACQUIRE);
	while (!__atomic_compare_exchange_n(&api->cors, &n->older, n, 0, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE)) {
	}
	return 0;
}

static void
changed(const char *section, const char *key, void *cookie)
{
	if ((strncmp(section, "cors", 4) == 0 || strcmp(key, "enable_cors") == 0) && cors_load(cookie))
		log_line(LOG_ERROR, "CORS: no memory for a changed setting");
}

int
cors_new(struct api *api)
{
	int err = cors_load(api);

	return err ? err : config_on_change(api->config, changed, api);
}

void
cors_free(struct api *api)
{
	struct cors *next;

	for (struct cors *c = api->cors; c; c = next) {
		next = c->older;
		drop(c);
	}
	api->cors = NULL;
}

/* ---- Lists ---- */

static int
list_has(const char *list, const struct jstr *what, int (*same)(struct jstr, const struct jstr *))
{
	struct jstr item;
	const char *end = list + strlen(list);

	while (api_item(&list, end, &item)) {
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
	if (item.len < 3 || memcmp(item.s + item.len - 2, ":*", 2) != 0)
		return item.len == origin->len && memcmp(item.s, origin->s, item.len) == 0;
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
same_method(struct jstr item, const struct jstr *what)
{
	return item.len == what->len && memcmp(item.s, what->s, item.len) == 0;
}

static int
headers_allowed(const struct cors_rules *c, const struct jstr *asked)
{
	struct jstr item;
	const char *p = asked->s;
	const char *end = p ? p + asked->len : p;

	while (p && api_item(&p, end, &item)) {
		if (!list_has(c->headers, &item, same_word))
			return 0;
	}
	return 1;
}

/* ---- Requests ---- */

/* By the name that the client has used for this server. */
static const struct cors_rules *
rules_of(const struct cors *c, struct apireq *r)
{
	struct jstr host;
	const char *colon;

	if (c->n == 1)
		return c->rules;
	host = api_forwarded(r, "x_forwarded_host");
	if (!host.s)
		host = http_header(r->http, "host");
	colon = host.s ? memchr(host.s, ':', host.len) : NULL;
	if (colon)
		host.len = (size_t)(colon - host.s);
	for (size_t i = 1; host.s && i < c->n; i++) {
		if (strlen(c->rules[i].host) == host.len && strncasecmp(c->rules[i].host, host.s, host.len) == 0)
			return &c->rules[i];
	}
	return c->rules;
}

/* 1 if a preflight was allowed and has been answered; what is not allowed goes its way, most often to a 405. */
static int
preflight(struct apireq *r, const struct cors_rules *c)
{
	struct jstr method = http_header(r->http, "access-control-request-method");
	struct jstr asked = http_header(r->http, "access-control-request-headers");

	if (!method.s || !list_has(c->methods, &method, same_method) || !headers_allowed(c, &asked))
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
	const struct cors *all = __atomic_load_n(&r->api->cors, __ATOMIC_ACQUIRE);
	const struct cors_rules *c;
	struct jstr origin;

	if (!all->enabled)
		return 0;
	origin = http_header(r->http, "origin");
	/* Caches must not show one origin's answer to another. */
	http_add_header(r->http, "vary", "origin", 6);
	if (!origin.s || origin.len == 0)
		return 0;
	c = rules_of(all, r);
	if (!list_has(c->origins, &origin, same_origin))
		return 0;
	http_set_header(r->http, "access-control-allow-origin", origin.s, origin.len);
	/* "*" is no origin that a browser sends; as an answer it would mean everybody. */
	if (c->credentials && !jstr_is(&origin, "*"))
		http_set_header(r->http, "access-control-allow-credentials", "true", 4);
	if (strcmp(r->method, "OPTIONS") == 0 && preflight(r, c))
		return 1;
	http_set_header(r->http, "access-control-expose-headers", c->expose, strlen(c->expose));
	return 0;
}

int
cors_trusts(struct apireq *r, const struct jstr *origin)
{
	const struct cors *all = __atomic_load_n(&r->api->cors, __ATOMIC_ACQUIRE);
	const struct cors_rules *c = rules_of(all, r);

	return all->enabled && c->credentials && list_has(c->origins, origin, same_origin);
}
