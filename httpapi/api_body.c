/* api_body.c: what a request says about itself and its body: type, encoding, host. */
#include "api.h"
#include "base/limits.h"

#include <strings.h>
#include <zlib.h>

#define UNPACKED_MAX (256u << 20) /* bytes of a body that came compressed */
#define ENCODING_SHOWN 64         /* bytes of one that is not known */

int
api_is_json(const struct apireq *r)
{
	struct jstr type = http_header(r->http, "content-type");
	const char *semi;
	size_t n;

	if (!type.s)
		return 0;
	semi = memchr(type.s, ';', type.len);
	n = semi ? (size_t)(semi - type.s) : type.len;
	while (n > 0 && type.s[n - 1] == ' ')
		n--;
	return n == 16 && strncasecmp(type.s, "application/json", 16) == 0;
}

int
api_json_post(struct apireq *r)
{
	if (strcmp(r->method, "POST") != 0) {
		api_method_not_allowed(r, "POST");
		return 0;
	}
	if (api_is_json(r))
		return 1;
	api_error(r, ERR_CONTENT_TYPE, NULL);
	return 0;
}

int
api_object(struct jread *j, struct jstr text, struct errtext *why)
{
	jread_init(j, text.s, text.len);
	if (jread_peek(j) == JREAD_OBJECT)
		return jread_object_begin(j);
	if (jread_skip(j, NULL) != 0 || jread_end(j) != 0)
		return ERR_BAD_JSON;
	return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
}

/* Inflate ${in} into ${cap} bytes at ${out}, or only count what comes of it where ${out} is NULL. */
static int
gunzip(const struct jstr *in, char *out, size_t cap, size_t *lenp)
{
	/* zlib does not write what it reads, and does not say so. */
	union {
		const char *in;
		Bytef *z;
	} text = {in->s};
	z_stream z = {0};
	Bytef unused[16384];
	int rc = Z_OK;

	*lenp = 0;
	/* 16: a gzip header is required. */
	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return ERR_NOMEM;
	z.next_in = text.z;
	z.avail_in = (uInt)in->len;
	while (rc == Z_OK && *lenp <= cap) {
		uInt n = out ? (uInt)(cap - *lenp) : sizeof(unused);

		z.next_out = out ? (Bytef *)out + *lenp : unused;
		z.avail_out = n;
		rc = inflate(&z, Z_NO_FLUSH);
		*lenp += n - z.avail_out;
	}
	inflateEnd(&z);
	return *lenp > cap ? ERR_TOO_LARGE : rc == Z_STREAM_END ? 0 : ERR_BAD_REQUEST;
}

int
api_body_encoding(const struct apireq *r, int *gzipp, struct errtext *why)
{
	struct jstr enc = http_header(r->http, "content-encoding");

	*gzipp = enc.s && enc.len == 4 && strncasecmp(enc.s, "gzip", 4) == 0;
	if (*gzipp || !enc.s || enc.len == 0 || (enc.len == 8 && strncasecmp(enc.s, "identity", 8) == 0))
		return 0;
	return err_why(why, ERR_CONTENT_TYPE, "Only gzip and identity content-encodings are supported");
}

/* Inflated twice, so that one that is too large, or a lie, costs no memory. */
static int
unpack(struct apireq *r, const struct jstr *body)
{
	size_t max = r->body_max < UNPACKED_MAX ? (size_t)r->body_max : UNPACKED_MAX, len;
	char *out;
	int err = body->len > max ? ERR_TOO_LARGE : gunzip(body, NULL, max, &len);

	if (err)
		return err;
	out = arena_alloc(r->arena, len + 1);
	if (!out)
		return ERR_TOO_LARGE;
	err = gunzip(body, out, len, &len);
	out[len] = '\0';
	r->body = (struct jstr){out, len};
	return err;
}

static void
unpack_work(struct apireq *r)
{
	r->body_err = unpack(r, &r->body);
}

static int
is_too_long(const struct apireq *r)
{
	uint64_t len = http_body_len(r->http);

	return len > r->body_max && len != UINT64_MAX;
}

static void
gathered(void *arg)
{
	struct apireq *r = arg;
	struct errtext why;
	int gzip, err = api_body_encoding(r, &gzip, &why);

	r->body_err = err ? err : is_too_long(r) ? ERR_TOO_LARGE : http_body_all(r->http, &r->body);
	if (r->body_err == 0 && gzip)
		api_work(r, unpack_work, r->gathered);
	else
		r->gathered(r);
}

void
api_gather(struct apireq *r, api_f *fn)
{
	struct errtext why;
	int gzip;

	r->gathered = fn;
	if (is_too_long(r) || http_body_is_whole(r->http) || api_body_encoding(r, &gzip, &why)) {
		gathered(r);
	} else {
		http_body_bound(r->http, r->body_max);
		http_body_gather(r->http, gathered, r);
	}
}

int
api_body(struct apireq *r, struct jstr *bodyp, struct errtext *why)
{
	struct jstr encoding;
	int gzip, err = r->body_err;

	*bodyp = r->body;
	if (err == 0)
		return 0;
	encoding = http_header(r->http, "content-encoding");
	if (err == ERR_CONTENT_TYPE)
		return err_why(why, err, "%.*s is not a supported content encoding.",
		    encoding.len > ENCODING_SHOWN ? ENCODING_SHOWN : (int)encoding.len, encoding.s);
	if (err == ERR_BAD_REQUEST && !api_body_encoding(r, &gzip, why) && gzip)
		return err_why(why, err, "Request body is not properly gzipped.");
	return err;
}

struct jstr
api_forwarded(const struct apireq *r, const char *which)
{
	const struct config *c = r->api->config;
	const char *name = config_get(c, "chttpd", which, "");
	char lower[64];
	size_t i;

	if (!*name)
		name = config_get(c, "httpd", which, "");
	/* The usual headers are the settings' names. */
	if (!*name)
		name = which;
	for (i = 0; name[i] && i < sizeof(lower) - 1; i++) {
		char ch = name[i];

		lower[i] = (char)(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch == '_' ? '-' : ch);
	}
	lower[i] = '\0';
	return http_header(r->http, lower);
}

static struct jstr
host_of(const struct apireq *r)
{
	struct jstr host = api_forwarded(r, "x_forwarded_host");

	if (!host.s || host.len == 0)
		host = http_header(r->http, "host");
	return host;
}

int
api_base_url(struct apireq *r, struct buf *b)
{
	struct jstr ssl = api_forwarded(r, "x_forwarded_ssl");
	struct jstr proto = api_forwarded(r, "x_forwarded_proto");
	int https = http_is_tls(r->http) || jstr_is(&ssl, "on") || jstr_is(&proto, "https");
	struct jstr host = host_of(r);

	buf_puts(b, https ? "https://" : "http://");
	if (host.s && host.len > 0)
		return buf_put(b, host.s, host.len);
	return buf_printf(
	    b, "127.0.0.1:%u", https ? http_server_tls_port(r->api->server) : http_server_port(r->api->server));
}

int
api_location(struct apireq *r, struct jstr id, struct jstr att)
{
	const struct jstr parts[] = {r->part[0], id, att};
	struct buf b;
	int err;

	if (r->minimal)
		return 0;
	buf_init(&b, LIMIT_URL_LEN * 4);
	api_base_url(r, &b);
	for (size_t i = 0; i < 3 && parts[i].len > 0; i++) {
		buf_putc(&b, '/');
		api_url_encode(&b, parts[i].s, parts[i].len);
	}
	err = buf_failed(&b);
	if (!err)
		http_set_header(r->http, "location", b.data, b.len);
	buf_release(&b);
	return err;
}

int
api_referer_check(const struct apireq *r, struct errtext *why)
{
	struct jstr ref = http_header(r->http, "referer");
	struct jstr host;
	const char *end, *p, *stop;

	if (!ref.s)
		return err_why(why, ERR_BAD_REQUEST, "Referer header required.");
	host = host_of(r);
	end = ref.s + ref.len;
	p = memmem(ref.s, ref.len, "://", 3);
	p = p ? p + 3 : ref.s;
	stop = p;
	while (stop < end && *stop != '/' && *stop != '?' && *stop != '#')
		stop++;
	if (!host.s || (size_t)(stop - p) != host.len || strncasecmp(p, host.s, host.len) != 0)
		return err_why(why, ERR_BAD_REQUEST, "Referer header must match host.");
	return 0;
}
