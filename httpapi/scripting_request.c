/*
 * scripting_request.c: what a function is told of a request.
 *
 * Not what opens an account: passwords, tokens, the session's cookie.
 */
#include "scripting.h"

#include <ctype.h>
#include <strings.h>

#include "base/limits.h"
#include "database.h"
#include "uuid.h"

#define TEXT_MAX ((size_t)16 << 20) /* bytes of all but the body */

static void
put_name(struct buf *b, struct jstr name, int *firstp)
{
	if (!*firstp)
		buf_putc(b, ',');
	*firstp = 0;
	buf_put_json(b, name.s, name.len);
	buf_putc(b, ':');
}

int
scripting_put_user(struct buf *b, const char *database, const struct principal *who)
{
	int has_admin = 0;

	buf_puts(b, "{\"db\":");
	buf_put_json(b, database, strlen(database));
	buf_puts(b, ",\"name\":");
	if (who->name != NULL)
		buf_put_json(b, who->name, strlen(who->name));
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"roles\":[");
	for (size_t i = 0; i < who->nroles; i++) {
		buf_puts(b, i > 0 ? "," : "");
		buf_put_json(b, who->roles[i], strlen(who->roles[i]));
		has_admin |= strcmp(who->roles[i], "_admin") == 0;
	}
	if (who->server_admin && !has_admin)
		buf_puts(b, who->nroles > 0 ? ",\"_admin\"" : "\"_admin\"");
	return buf_puts(b, "]}");
}

/* is_value: CouchDB tells functions what these are, not how they are written. */
static int
is_value(const struct api_param *p)
{
	static const char *const names[] = {"startkey", "endkey", "key", "descending"};
	struct jread j;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!jstr_is(&p->name, names[i]))
			continue;
		jread_init(&j, p->value.s, p->value.len);
		return jread_skip(&j, NULL) == 0 && jread_end(&j) == 0;
	}
	return 0;
}

static void
put_query(struct buf *b, const struct apireq *r)
{
	int first = 1;

	buf_puts(b, ",\"query\":{");
	for (size_t i = 0; i < r->nparams; i++) {
		if (!jread_utf8_ok(r->params[i].name.s, r->params[i].name.len) ||
		    !jread_utf8_ok(r->params[i].value.s, r->params[i].value.len))
			continue;
		put_name(b, r->params[i].name, &first);
		if (is_value(&r->params[i]))
			buf_put(b, r->params[i].value.s, r->params[i].value.len);
		else
			buf_put_json(b, r->params[i].value.s, r->params[i].value.len);
	}
	buf_putc(b, '}');
}

struct header_list {
	struct apireq *r;
	struct buf *b;
	int first;
};

/*
 * What opens an account is not for functions: who may write a design document, or an administrator of one database, would be
 * whoever looks at what it shows.
 */
static int
is_credential(const struct api *api, struct jstr name)
{
	const char *own = config_get_auth(api->config, "x_auth_token", "X-Auth-CouchDB-Token");
	const char *const names[] = {"authorization", "proxy-authorization", own};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == name.len && strncasecmp(names[i], name.s, name.len) == 0)
			return 1;
	return 0;
}

static int
is_session(struct jstr pair)
{
	static const char name[] = "AuthSession=";

	return pair.len >= sizeof(name) - 1 && memcmp(pair.s, name, sizeof(name) - 1) == 0;
}

/* The cookies without the session's, in ${b}'s memory. */
static int
put_cookies(struct buf *b, struct jstr text)
{
	const char *p = text.s, *end = p + text.len;

	while (p < end) {
		const char *stop = memchr(p, ';', (size_t)(end - p));

		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		if (p < stop && !is_session((struct jstr){p, (size_t)(stop - p)})) {
			buf_puts(b, b->len > 0 ? "; " : "");
			buf_put(b, p, (size_t)(stop - p));
		}
		p = stop + 1;
	}
	return buf_failed(b);
}

/* The request's, less the session's. */
static struct jstr
cookies_of(struct apireq *r)
{
	struct jstr text = http_header(r->http, "cookie");
	struct buf b;

	if (text.s == NULL || memmem(text.s, text.len, "AuthSession=", 12) == NULL)
		return text;
	buf_init_arena(&b, r->arena, text.len + 64);
	return put_cookies(&b, text) == 0 && b.len > 0 ? (struct jstr){b.data, b.len} : (struct jstr){NULL, 0};
}

/* As clients of HTTP/1 mostly write them: Content-Type. */
static int
put_header(struct jstr name, struct jstr value, void *cookie)
{
	struct header_list *l = cookie;
	char shown[64];
	int up = 1;

	if (name.len == 6 && strncasecmp(name.s, "cookie", 6) == 0)
		value = cookies_of(l->r);
	if (name.len >= sizeof(shown) || value.s == NULL || is_credential(l->r->api, name) ||
	    !jread_utf8_ok(value.s, value.len))
		return 0;
	for (size_t i = 0; i < name.len; i++) {
		shown[i] = (char)(up ? toupper((unsigned char)name.s[i]) : tolower((unsigned char)name.s[i]));
		up = name.s[i] == '-';
	}
	put_name(l->b, (struct jstr){shown, name.len}, &l->first);
	buf_put_json(l->b, value.s, value.len);
	return 0;
}

static void
put_headers(struct buf *b, struct apireq *r)
{
	struct header_list l = {r, b, 1};

	buf_puts(b, ",\"headers\":{");
	(void)http_headers(r->http, put_header, &l);
	buf_putc(b, '}');
}

/* The parts of the path, decoded, as an array. */
static void
put_path(struct buf *b, struct apireq *r)
{
	buf_putc(b, '[');
	for (size_t i = 0; i < r->nparts; i++) {
		buf_puts(b, i > 0 ? "," : "");
		if (jread_utf8_ok(r->part[i].s, r->part[i].len))
			buf_put_json(b, r->part[i].s, r->part[i].len);
		else
			buf_puts(b, "null");
	}
	buf_putc(b, ']');
}

/* NAME=VALUE pairs as an object: a form's, or those of the header Cookie. */
static void
put_pairs(struct buf *b, struct apireq *r, struct jstr text, int is_form)
{
	const char *p = text.len > 0 ? text.s : "", *end = p + text.len;
	int first = 1;

	buf_putc(b, '{');
	while (p < end) {
		const char *stop = is_form ? api_param_end(p, end) : memchr(p, ';', (size_t)(end - p)), *eq;
		struct jstr name, value;

		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		eq = memchr(p, '=', (size_t)(stop - p));
		if (eq != NULL) {
			name = (struct jstr){p, (size_t)(eq - p)};
			value = (struct jstr){eq + 1, (size_t)(stop - eq) - 1};
			if ((!is_form || (api_url_decode(r->arena, name.s, name.len, 1, &name) == 0 &&
					     api_url_decode(r->arena, value.s, value.len, 1, &value) == 0)) &&
			    jread_utf8_ok(name.s, name.len) && jread_utf8_ok(value.s, value.len)) {
				put_name(b, name, &first);
				buf_put_json(b, value.s, value.len);
			}
		}
		p = stop + 1;
	}
	buf_putc(b, '}');
}

static int
is_form(struct apireq *r)
{
	static const char form[] = "application/x-www-form-urlencoded";
	struct jstr type = http_header(r->http, "content-type");

	return type.s != NULL && type.len >= sizeof(form) - 1 && strncasecmp(type.s, form, sizeof(form) - 1) == 0;
}

static void
put_body(struct buf *b, struct apireq *r, const struct scripting_request *q)
{
	static const struct jstr none = {"", 0};

	buf_puts(b, ",\"body\":");
	if (!q->has_body)
		buf_puts(b, "\"undefined\"");
	else if (jread_utf8_ok(q->body.s, q->body.len))
		buf_put_json(b, q->body.s, q->body.len);
	else
		buf_puts(b, "\"\"");
	buf_puts(b, ",\"form\":");
	put_pairs(b, r, q->is_form ? q->body : none, 1);
}

/* put_requested: The parts of the path that the client asked for; a rewrite has made another of it. */
static void
put_requested(struct buf *b, struct apireq *r)
{
	struct jstr path = http_path(r->http), part;
	const char *p = path.s, *end = p + path.len;
	int first = 1;

	if (r->rewrites == 0) {
		put_path(b, r);
		return;
	}
	buf_putc(b, '[');
	while (p < end) {
		const char *slash = memchr(p, '/', (size_t)(end - p)), *stop = slash != NULL ? slash : end;

		if (stop > p) {
			buf_puts(b, first ? "" : ",");
			first = 0;
			if (api_url_decode(r->arena, p, (size_t)(stop - p), 0, &part) == 0 &&
			    jread_utf8_ok(part.s, part.len))
				buf_put_json(b, part.s, part.len);
			else
				buf_puts(b, "null");
		}
		p = stop + 1;
	}
	buf_putc(b, ']');
}

/* put_before: All before the body. */
static int
put_before(struct buf *b, struct apireq *r, struct jstr id)
{
	struct jstr raw = http_path(r->http), query = http_query(r->http);
	char uuid[UUID_LEN];
	int err;

	uuid_next(uuid);
	buf_puts(b, "{\"info\":");
	if ((err = database_put_info(b, r->db, r->part[0].s)) != 0)
		return err;
	buf_puts(b, ",\"id\":");
	if (id.len > 0)
		buf_put_json(b, id.s, id.len);
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"uuid\":");
	buf_put_json(b, uuid, sizeof(uuid));
	buf_puts(b, ",\"method\":");
	buf_put_json(b, r->method, strlen(r->method));
	buf_puts(b, ",\"requested_path\":");
	put_requested(b, r);
	buf_puts(b, ",\"path\":");
	put_path(b, r);
	buf_puts(b, ",\"raw_path\":\"");
	/* What is no plain ASCII came percent-encoded, or is no URL. */
	for (size_t i = 0; i < raw.len; i++)
		buf_putc(b, raw.s[i] > ' ' && raw.s[i] < 127 && raw.s[i] != '"' && raw.s[i] != '\\' ? raw.s[i] : '?');
	if (query.len > 0 && jread_utf8_ok(query.s, query.len)) {
		size_t at = b->len;

		/* buf_put_json() writes quotes of its own. */
		buf_put_json(b, query.s, query.len);
		if (!buf_failed(b)) {
			b->data[at] = '?';
			b->len--;
		}
	}
	buf_putc(b, '"');
	put_query(b, r);
	put_headers(b, r);
	return buf_failed(b);
}

/* put_behind: All behind the body and its form. */
static int
put_behind(struct buf *b, struct apireq *r)
{
	const char *peer = http_peer(r->http), *name = r->part[0].s;
	int err;

	buf_puts(b, ",\"cookie\":");
	put_pairs(b, r, cookies_of(r), 0);
	buf_puts(b, ",\"peer\":");
	buf_put_json(b, peer, strlen(peer));
	buf_puts(b, ",\"userCtx\":");
	scripting_put_user(b, name, &r->who);
	buf_puts(b, ",\"secObj\":");
	if ((err = db_security(r->db, b)) != 0)
		return err;
	buf_putc(b, '}');
	return buf_failed(b);
}

static void
take_body(struct scripting_request *q, struct apireq *r, const struct jstr *body)
{
	memset(q, 0, sizeof(*q));
	if (body == NULL)
		return;
	q->body = *body;
	q->has_body = 1;
	q->is_form = is_form(r);
}

int
scripting_request_take(struct scripting_request *q, struct apireq *r, struct jstr id, const struct jstr *body)
{
	int err;

	take_body(q, r, body);
	buf_init_arena(&q->before, r->arena, TEXT_MAX);
	buf_init_arena(&q->behind, r->arena, TEXT_MAX);
	err = put_before(&q->before, r, id);
	return err != 0 ? err : put_behind(&q->behind, r);
}

int
scripting_request_put(struct buf *b, struct apireq *r, const struct scripting_request *q)
{
	buf_put(b, q->before.data, q->before.len);
	put_body(b, r, q);
	return buf_put(b, q->behind.data, q->behind.len);
}

int
scripting_put_request(struct buf *b, struct apireq *r, struct jstr id, const struct jstr *body)
{
	struct scripting_request q;
	int err = put_before(b, r, id);

	if (err != 0)
		return err;
	take_body(&q, r, body);
	put_body(b, r, &q);
	return put_behind(b, r);
}
