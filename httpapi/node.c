/*
 * node.c: /_node/{name}: the one node: its configuration, and what monitoring asks for.
 *
 * A changed value holds at once, and until the server ends; the file that the
 * values came from is its administrator's.
 */
#include "auth.h"
#include "cors.h"
#include "secret.h"

#define NODE_VALUE_MAX ((size_t)1 << 20) /* bytes of an answer about the configuration */

static void
reply_text(struct apireq *r, const char *text)
{
	struct buf b;

	buf_init(&b, NODE_VALUE_MAX);
	buf_puts(&b, text);
	api_json(r, 200, &b);
}

static void
put_string(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	if (jread_utf8_ok(s, len))
		buf_put_json(b, s, len);
	else
		buf_puts(b, "\"\"");
}

/* ---- Configuration ---- */

static void
unknown(struct apireq *r)
{
	api_error_text(r, 404, "not_found", "unknown_config_value");
}

/* An object being written from the configuration's pairs, which come in no order of sections. */
struct dump {
	const struct config *c;
	struct buf *b;
	const char *section;
	size_t count;
};

static int
put_pair(const char *key, const char *value, void *cookie)
{
	struct dump *d = cookie;

	if (d->count++ > 0)
		buf_putc(d->b, ',');
	put_string(d->b, key);
	buf_putc(d->b, ':');
	put_string(d->b, value);
	return buf_failed(d->b);
}

static void
put_section(const struct config *c, const char *section, struct buf *b)
{
	struct dump d = {c, b, section, 0};

	buf_putc(b, '{');
	config_each(c, section, put_pair, &d);
	buf_putc(b, '}');
}

/* The first key of a section; finds out whether another pair began it. */
static int
first_key(const char *key, const char *value, void *cookie)
{
	const char **first = cookie;

	(void)value;
	*first = key;
	return 1;
}

static int
put_all(const char *section, const char *key, const char *value, void *cookie)
{
	struct dump *d = cookie;
	const char *first = NULL;

	(void)value;
	config_each(d->c, section, first_key, &first);
	if (!first || strcmp(first, key) != 0)
		return 0;
	if (d->count++ > 0)
		buf_putc(d->b, ',');
	put_string(d->b, section);
	buf_putc(d->b, ':');
	put_section(d->c, section, d->b);
	return buf_failed(d->b);
}

static void
show_sections(struct apireq *r)
{
	struct buf b;
	struct dump d = {r->api->config, &b, NULL, 0};

	if (strcmp(r->method, "GET") != 0) {
		api_method_not_allowed(r, "GET");
		return;
	}
	buf_init(&b, NODE_VALUE_MAX);
	buf_putc(&b, '{');
	if (r->nparts == 3)
		config_all(d.c, put_all, &d);
	buf_putc(&b, '}');
	if (r->nparts > 3) {
		buf_clear(&b);
		put_section(d.c, r->part[3].s, &b);
	}
	api_json(r, 200, &b);
}

static void
show_value(struct apireq *r, const char *value)
{
	struct buf b;

	buf_init(&b, NODE_VALUE_MAX);
	put_string(&b, value);
	api_json(r, 200, &b);
}

/* A change on its way; lives in the request's arena. */
struct change {
	const char *value;
	const char *hashed; /* what is stored of a password */
	int err;
};

static void
change_end(struct apireq *r)
{
	struct change *c = r->cookie;
	struct api *api = r->api;
	const char *section = r->part[3].s;
	const char *key = r->part[4].s;
	const char *old = config_get(api->config, section, key, "");
	int err = c->err;

	if (!err)
		err = config_set(api->config, section, key, c->hashed ? c->hashed : c->value);
	if (!err)
		err = cors_load(api);
	if (!err)
		err = auth_load(api);
	if (!err)
		api_compress_load(api);
	if (err)
		api_error(r, err, NULL);
	else
		show_value(r, old);
}

/* Passwords are not kept. */
static void
hash_work(struct apireq *r)
{
	struct change *c = r->cookie;
	char *out = arena_alloc(r->arena, SECRET_LEN);
	uint64_t n = config_u64(r->api->config, "chttpd_auth", "iterations", SECRET_ITERATIONS);

	c->err = ERR_NOMEM;
	if (out)
		c->err = secret_hash(
		    c->value, strlen(c->value), n > 0 && n < 100000000 ? (unsigned)n : SECRET_ITERATIONS, out);
	c->hashed = out;
}

static int
read_value(struct apireq *r, struct change *c, struct errtext *why)
{
	struct jstr body, value;
	struct jread j;
	struct buf scratch;
	int err = api_body(r, &body, why);

	if (err)
		return err;
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_STRING) {
		err = jread_skip(&j, NULL);
		err = err ? err : jread_end(&j);
		return err ? err : err_why(why, ERR_BAD_REQUEST, "a JSON string expected");
	}
	buf_init(&scratch, body.len + API_SCRATCH);
	err = jread_string(&j, &scratch, &value);
	err = err ? err : jread_end(&j);
	if (!err && memchr(value.s, '\0', value.len))
		err = err_why(why, ERR_BAD_REQUEST, "a value must not hold a zero byte");
	if (!err && value.len > NODE_VALUE_MAX / 8)
		err = ERR_TOO_LARGE;
	if (!err) {
		c->value = arena_dup(r->arena, value.s, value.len);
		err = c->value ? 0 : ERR_NOMEM;
	}
	buf_release(&scratch);
	return err;
}

static void
set_value(struct apireq *r)
{
	struct errtext why = {""};
	struct change *c = arena_calloc(r->arena, 1, sizeof(*c));
	int err = c ? read_value(r, c, &why) : ERR_NOMEM;

	if (err) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = c;
	if (strcmp(r->part[3].s, "admins") == 0 && *c->value && !secret_is_hashed(c->value))
		api_work(r, hash_work, change_end);
	else
		change_end(r);
}

static void
one_value(struct apireq *r)
{
	const char *old = config_get(r->api->config, r->part[3].s, r->part[4].s, NULL);

	if (strcmp(r->method, "PUT") == 0) {
		set_value(r);
	} else if (strcmp(r->method, "GET") == 0) {
		if (old)
			show_value(r, old);
		else
			unknown(r);
	} else if (strcmp(r->method, "DELETE") == 0) {
		struct change *c = arena_calloc(r->arena, 1, sizeof(*c));

		r->cookie = c;
		if (!c)
			api_error(r, ERR_NOMEM, NULL);
		else if (old)
			change_end(r);
		else
			unknown(r);
	} else {
		api_method_not_allowed(r, "GET,PUT,DELETE");
	}
}

static void
configuration(struct apireq *r)
{
	if (!r->who.server_admin)
		api_error(r, ERR_NOT_ADMIN, NULL);
	else if (r->nparts == 4 && strcmp(r->part[3].s, "_reload") == 0)
		api_error(r, ERR_NOT_IMPLEMENTED, NULL);
	else if (r->nparts < 5)
		show_sections(r);
	else if (memchr(r->part[3].s, '\0', r->part[3].len) || memchr(r->part[4].s, '\0', r->part[4].len) ||
		 r->nparts > 5)
		unknown(r);
	else
		one_value(r);
}

/* ---- Monitoring ---- */

/* A number of a group: of one group, or one of its numbers, if the path says so. */
static int
is_asked(const struct apireq *r, const char *group, const char *name)
{
	return (r->nparts < 4 || strcmp(r->part[3].s, group) == 0) &&
	       (r->nparts < 5 || strcmp(r->part[4].s, name) == 0);
}

static void
put_number(struct apireq *r, struct buf *b, const char *group, const char *name, const char *value)
{
	buf_puts(b, b->len == 0 ? "" : ",");
	if (r->nparts < 4)
		buf_printf(b, "\"%s\":", group);
	if (r->nparts < 5)
		buf_printf(b, "{\"%s\":", name);
	buf_puts(b, value);
	buf_puts(b, r->nparts < 5 ? "}" : "");
}

static void
statistics(struct apireq *r)
{
	static const char zero[] = "{\"value\":{\"min\":0,\"max\":0,\"arithmetic_mean\":0,\"n\":0},"
				   "\"type\":\"histogram\",\"desc\":\"length of a request\"}";
	char lag[256];
	struct buf b, whole;

	if (!r->who.server_admin) {
		api_error_text(r, 401, "unauthorized", "You are not a server admin or read-only metrics user");
		return;
	}
	if (strcmp(r->method, "GET") != 0) {
		api_method_not_allowed(r, "GET");
		return;
	}
	buf_init(&b, 4096);
	if (is_asked(r, "couchdb", "request_time"))
		put_number(r, &b, "couchdb", "request_time", zero);
	if (is_asked(r, "divan", "loop_lag_ms")) {
		snprintf(lag, sizeof(lag),
		    "{\"value\":%u,\"type\":\"gauge\",\"desc\":\"longest time that an HTTP thread was busy at a "
		    "stretch "
		    "since this was last asked\"}",
		    http_server_lag_ms(r->api->server, 1));
		put_number(r, &b, "divan", "loop_lag_ms", lag);
	}
	buf_init(&whole, 4096);
	buf_puts(&whole, r->nparts < 4 ? "{" : "");
	if (b.len > 0)
		buf_put(&whole, b.data, b.len);
	else
		buf_puts(&whole, "null");
	buf_puts(&whole, r->nparts < 4 ? "}" : "");
	buf_release(&b);
	api_json(r, 200, &whole);
}

static void
about(struct apireq *r, const char *what)
{
	if (!r->who.server_admin)
		api_error(r, ERR_NOT_ADMIN, NULL);
	else if (strcmp(r->method, "GET") != 0)
		api_method_not_allowed(r, "GET");
	else
		reply_text(r, what);
}

void
node_any(struct apireq *r)
{
	static const char name[] = API_NODE;

	if (r->nparts < 2)
		api_error_text(r, 400, "bad_request", "Incomplete path to _node request");
	else if (strcmp(r->part[1].s, "_local") != 0 && strcmp(r->part[1].s, name) != 0)
		api_error_text(r, 404, "not_found", "no such node");
	else if (r->nparts == 2)
		about(r, "{\"name\":\"" API_NODE "\"}");
	else if (strcmp(r->part[2].s, "_config") == 0)
		configuration(r);
	else if (strcmp(r->part[2].s, "_stats") == 0)
		statistics(r);
	else if (strcmp(r->part[2].s, "_system") == 0)
		about(r, "{\"memory\":{},\"run_queue\":0,\"message_queues\":{}}");
	else if (strcmp(r->part[2].s, "_versions") == 0)
		about(r, "{\"collation_driver\":{\"name\":\"libicu\"},"
			 "\"javascript_engine\":{\"name\":\"javascriptcore\"}}");
	else
		api_error(r, ERR_MISSING, NULL);
}
