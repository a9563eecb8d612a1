/*
 * api.c: the way of a request into the API: its path and query are decoded into the
 * arena, CORS comes before authentication, authentication before routing.
 *
 * This runs for every request, so it makes one arena allocation for the
 * request, one for the path, and reads no configuration.
 */
#include "api.h"
#include "accounts.h"
#include "auth.h"
#include "cors.h"
#include "router.h"
#include "transport.h"
#include "web.h"
#include "xframe.h"
#include "base/hash.h"
#include "base/limits.h"

#include <strings.h>

#define MINIMAL "return=minimal"

int
api_new(struct api *api)
{
	/* Clients ask for it; there is one shard. */
	int err = config_get(api->config, "cluster", "q", NULL) ? 0 : config_set(api->config, "cluster", "q", "1");
	if (!err)
		err = transport_new(api);
	if (!err)
		err = cors_new(api);
	if (!err)
		err = xframe_new(api);
	if (!err)
		err = accounts_new(api);
	if (!err)
		err = auth_new(api);
	if (!err)
		err = web_new(api);
	if (err)
		api_free(api);
	return err;
}

void
api_free(struct api *api)
{
	web_free(api);
	auth_free(api);
	accounts_free(api);
	cors_free(api);
	transport_free(api);
}

/* Ten digits that tell requests apart in a log; nothing depends on their being hard to guess. */
static void
make_request_id(char out[10])
{
	static _Thread_local uint64_t state;

	if (state == 0)
		hash_random(&state, sizeof(state));
	state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	hex_encode(&z, 5, out);
}

static int
is_request_id(const struct jstr *id)
{
	if (!id->s || id->len == 0 || id->len > 36)
		return 0;
	for (size_t i = 0; i < id->len; i++) {
		char c = id->s[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			c == '_'))
			return 0;
	}
	return 1;
}

static void
set_common_headers(struct apireq *r)
{
	struct jstr given = http_header(r->http, "prefer");
	xframe_set(r);
	r->minimal = given.len == strlen(MINIMAL) && strncasecmp(given.s, MINIMAL, given.len) == 0;
	given = http_header(r->http, "x-couch-request-id");
	if (is_request_id(&given)) {
		r->request_id = given;
	} else {
		make_request_id(r->made_id);
		r->request_id = (struct jstr){r->made_id, sizeof(r->made_id)};
	}
	if (r->minimal)
		return;
	http_set_header(r->http, "x-couch-request-id", r->request_id.s, r->request_id.len);
	http_set_static(r->http, "x-couchdb-body-time", "0");
}

/* Decode up to the next '/', and return where it was; NULL: bad percent-encoding. */
static const char *
decode_part(const struct config *conf, const char *p, const char *end, char **dp)
{
	char *d = *dp;
	int plus_is_space;
	const char *slash = memchr(p, '/', (size_t)(end - p));
	const char *stop = slash ? slash : end;
	size_t len = (size_t)(stop - p);
	if (!memchr(p, '%', len) && !memchr(p, '+', len)) {
		memcpy(d, p, len);
		*dp = d + len;
		return stop;
	}
	plus_is_space = config_bool(conf, "chttpd", "decode_plus_to_space", 1);
	while (p < stop) {
		char c = *p++;
		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			unsigned char byte;

			if (stop - p < 2 || hex_decode(p, 2, &byte))
				return NULL;
			c = (char)byte;
			p += 2;
		}
		*d++ = c;
	}
	*dp = d;
	return p;
}

/*
 * All parts go into one piece of memory, each terminated, so that the router
 * joins "_design" and its name by putting the slash back.  Empty parts are
 * passed over, as CouchDB does.
 */
static int
split_path(struct apireq *r, struct jstr raw)
{
	const char *p = raw.s;
	/* A fragment is the client's own affair; some send it. */
	const char *hash = memchr(raw.s, '#', raw.len);
	const char *end = hash ? hash : p + raw.len;
	char *d = arena_alloc(r->arena, raw.len + 2);
	if (!d)
		return ERR_NOMEM;
	r->nparts = 0;
	r->raw_rest = end;
	while (p < end) {
		if (*p == '/') {
			p++;
			continue;
		}
		if (r->nparts == API_PATH_PARTS) {
			/* The rest stays in the last part, with its slash. */
			d[-1] = '/';
			r->nparts--;
		} else {
			r->part[r->nparts].s = d;
		}
		p = decode_part(r->api->config, p, end, &d);
		if (!p)
			return ERR_BAD_URL;
		struct jstr *part = &r->part[r->nparts++];
		part->len = (size_t)(d - part->s);
		*d++ = '\0';
		if (r->nparts == 1)
			r->raw_rest = p < end ? p + 1 : end;
	}
	r->raw_rest_len = (size_t)(end - r->raw_rest);
	return 0;
}

static int
split_query(struct apireq *r, struct jstr q)
{
	r->params = NULL;
	r->nparams = 0;
	if (q.len == 0)
		return 0;
	size_t n = 1;
	for (size_t i = 0; i < q.len; i++)
		n += q.s[i] == '&' || q.s[i] == ';';
	struct api_param *params = arena_calloc(r->arena, n, sizeof(*params));
	if (!params)
		return ERR_NOMEM;
	const char *p = q.s;
	const char *end = q.s + q.len;
	while (p < end) {
		const char *stop = api_param_end(p, end);
		const char *eq = memchr(p, '=', (size_t)(stop - p));
		const char *name_end = eq ? eq : stop;
		const char *value = eq ? eq + 1 : stop;
		struct api_param *out = &params[r->nparams];
		int err = api_url_decode(r->arena, p, (size_t)(name_end - p), 1, &out->name);
		if (!err)
			err = api_url_decode(r->arena, value, (size_t)(stop - value), 1, &out->value);
		if (err)
			return err;
		r->nparams += stop > p;
		p = stop + 1;
	}
	r->params = params;
	return 0;
}

int
api_path(struct apireq *r, struct jstr path, struct jstr query)
{
	int err = split_path(r, path);

	api_done(r);
	r->id = (struct jstr){"", 0};
	r->nid = 0;
	r->cookie = NULL;
	return err ? err : split_query(r, query);
}

static const char *
method_of(struct http_req *http)
{
	static const char *const may[] = {"GET", "HEAD", "PUT", "DELETE", "COPY", "POST"};
	const char *method = http_method(http);
	if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		return "GET";
	if (strcmp(method, "POST") != 0)
		return method;
	struct jstr over = http_header(http, "x-http-method-override");
	for (size_t i = 0; over.s && i < sizeof(may) / sizeof(may[0]); i++) {
		if (strlen(may[i]) == over.len && memcmp(may[i], over.s, over.len) == 0)
			return i == 1 ? "GET" : may[i];
	}
	return method;
}

void
api_handle(struct http_req *http, void *cookie)
{
	struct arena *a = http_arena(http);
	struct apireq *r = arena_alloc(a, sizeof(*r));
	if (!r) {
		http_reply(http, 500, "", 0);
		return;
	}
	/* The parts are set as they are found; they are most of the struct. */
	r->api = cookie;
	r->http = http;
	http_note(http, r);
	r->arena = a;
	r->method = method_of(http);
	r->id = (struct jstr){"", 0};
	r->nid = 0;
	r->who = (struct principal){0};
	r->authenticated = NULL;
	r->db = NULL;
	r->cookie = NULL;
	r->selector = NULL;
	r->fields = NULL;
	r->judge = NULL;
	r->live = NULL;
	r->rewrites = 0;
	r->body_err = ERR_INTERNAL; /* until api_gather() */
	r->body_max = UINT64_MAX;
	set_common_headers(r);
	if (transport_step(r) || cors_step(r))
		return;
	int err = split_path(r, http_path(r->http));
	if (!err && http_query(r->http).len > LIMIT_QUERY_LEN)
		err = ERR_QUERY_LONG;
	if (!err)
		err = split_query(r, http_query(r->http));
	if (err)
		api_error(r, err, NULL);
	else
		auth_step(r, router_go);
}
