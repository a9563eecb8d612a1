/*
 * api_reply.c: answers in CouchDB's form: JSON with a newline behind it, errors as
 * {"error","reason"}.
 */
#include "api.h"
#include "auth.h"
#include "feedjudge.h"
#include "live.h"
#include "base/limits.h"
#include "query/query.h"

#include <strings.h>

void
api_done(struct apireq *r)
{
	if (r->db) {
		db_close(r->db);
		r->db = NULL;
	}
	query_selector_free(r->selector);
	query_fields_free(r->fields);
	feedjudge_release(r->judge);
	r->selector = NULL;
	r->fields = NULL;
	r->judge = NULL;
	live_release(r->live);
	r->live = NULL;
}

void
api_json_head(struct apireq *r)
{
	http_set_static(r->http, "cache-control", "must-revalidate");
	http_set_static(r->http, "content-type", "application/json");
	http_may_encode(r->http);
}

void
api_compress_load(struct api *api)
{
	const char *mode = config_get(api->config, "chttpd", "compress_responses", "auto");

	http_server_compress(api->server, strcasecmp(mode, "always") == 0  ? HTTP_COMPRESS_ALWAYS
					  : strcasecmp(mode, "never") == 0 ? HTTP_COMPRESS_NEVER
									   : HTTP_COMPRESS_AUTO);
}

void
api_json(struct apireq *r, int status, struct buf *b)
{
	size_t len;
	char *data;

	buf_putc(b, '\n');
	if (buf_failed(b)) {
		int err = buf_failed(b);

		buf_release(b);
		api_error(r, err, NULL);
		return;
	}
	data = buf_take(b, &len);
	api_done(r);
	api_json_head(r);
	http_reply_take(r->http, status, data, len);
}

void
api_ok(struct apireq *r, int status)
{
	api_done(r);
	api_json_head(r);
	http_reply(r->http, status, "{\"ok\":true}\n", 12);
}

/* Client bytes may stand in a reason, and they need not be UTF-8. */
static void
put_text(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	if (jread_utf8_ok(s, len)) {
		buf_put_json(b, s, len);
		return;
	}
	buf_putc(b, '"');
	for (; *s; s++)
		buf_putc(b, *s < ' ' || *s == '"' || *s == '\\' || *s == 127 ? '?' : *s);
	buf_putc(b, '"');
}

/*
 * 1 if an Accept header names ${type}, or "*" or "*" "/" "*" alike, as far as browsers and tools
 * write them.
 */
static int
accepts(const struct jstr *accept, const char *type)
{
	size_t tlen = strlen(type);
	const char *slash = strchr(type, '/');
	size_t major = (size_t)(slash - type) + 1;
	const char *p = accept->s;
	const char *end = p + accept->len;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;
		const char *semi;
		size_t n;

		while (p < stop && *p == ' ')
			p++;
		semi = memchr(p, ';', (size_t)(stop - p));
		n = (size_t)((semi ? semi : stop) - p);
		while (n > 0 && p[n - 1] == ' ')
			n--;
		if ((n == tlen && strncasecmp(p, type, n) == 0) || (n == 3 && memcmp(p, "*/*", 3) == 0) ||
		    (n == 1 && *p == '*') || (n == major + 1 && p[n - 1] == '*' && strncasecmp(p, type, major) == 0))
			return 1;
		p = comma ? comma + 1 : end;
	}
	return 0;
}

/* A browser that is not logged in is sent to the page where it can be.  Returns 1 if the headers say so. */
static int
redirect_to_login(struct apireq *r, const char *page, const char *reason)
{
	struct jstr accept = http_header(r->http, "accept");
	struct buf b;
	struct jstr path, raw;
	int ok;

	if (!*page || !accept.s || accepts(&accept, "application/json") || !accepts(&accept, "text/html"))
		return 0;
	raw = http_path(r->http);
	if (api_url_decode(r->arena, raw.s, raw.len, 0, &path))
		return 0;
	buf_init(&b, LIMIT_URL_LEN * 4);
	api_base_url(r, &b);
	buf_puts(&b, page);
	buf_puts(&b, "?return=");
	api_url_encode(&b, path.s, path.len);
	buf_puts(&b, "&reason=");
	api_url_encode(&b, reason, strlen(reason));
	ok = !buf_failed(&b);
	if (ok)
		http_set_header(r->http, "location", b.data, b.len);
	buf_release(&b);
	return ok;
}

static int
unauthorized(struct apireq *r, const char *reason)
{
	const char *page;

	return !auth_challenge(r, &page) && redirect_to_login(r, page, reason) ? 302 : 401;
}

void
api_error_text(struct apireq *r, int status, const char *error, const char *reason)
{
	static const char last[] = "{\"error\":\"internal_server_error\",\"reason\":\"out of memory\"}\n";
	struct buf b;
	size_t len;
	char *data;

	buf_init(&b, 64 + 8 * ERRTEXT_MAX + 8 * strlen(reason));
	buf_puts(&b, "{\"error\":");
	put_text(&b, error);
	buf_puts(&b, ",\"reason\":");
	put_text(&b, reason);
	buf_puts(&b, "}\n");
	http_drop_content(r->http);
	if (status == 401 && strcmp(error, "unauthorized") == 0)
		status = unauthorized(r, reason);
	api_done(r);
	api_json_head(r);
	if (status == 503)
		http_set_static(r->http, "retry-after", "1");
	if (buf_failed(&b)) {
		buf_release(&b);
		http_reply(r->http, 500, last, sizeof(last) - 1);
		return;
	}
	data = buf_take(&b, &len);
	http_reply_take(r->http, status, data, len);
}

void
api_error(struct apireq *r, int code, const struct errtext *why)
{
	const char *reason = why && why->text[0] ? why->text : err_reason(code);

	api_error_text(r, err_status(code), err_name(code), reason);
}

void
api_method_not_allowed(struct apireq *r, const char *allow)
{
	char reason[128];

	snprintf(reason, sizeof(reason), "Only %s allowed", allow);
	http_set_header(r->http, "allow", allow, strlen(allow));
	api_error_text(r, 405, "method_not_allowed", reason);
}

int
api_not_modified(struct apireq *r, const char *etag, size_t len)
{
	struct jstr list;
	const char *p, *end;

	http_set_header(r->http, "etag", etag, len);
	list = http_header(r->http, "if-none-match");
	p = list.s;
	end = list.s ? list.s + list.len : NULL;
	while (p && p < end) {
		const char *start;

		while (p < end && (*p == ' ' || *p == ','))
			p++;
		start = p;
		while (p < end && *p != ' ' && *p != ',')
			p++;
		/* A proxy that compresses makes a tag weak; it still names the same content. */
		if (p - start > 2 && start[0] == 'W' && start[1] == '/')
			start += 2;
		if ((size_t)(p - start) == len && memcmp(start, etag, len) == 0) {
			api_done(r);
			http_set_header(r->http, "cache-control", "must-revalidate", 15);
			http_reply(r->http, 304, "", 0);
			return 1;
		}
	}
	return 0;
}
