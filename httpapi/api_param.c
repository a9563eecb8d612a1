/*
 * The query string and percent-encoding.  Values are decoded once, when the
 * request is built, into its arena; '+' is a space, as CouchDB has it.
 */
#include "api.h"

#include <strings.h>

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
api_url_decode(struct arena *a, const char *s, size_t len, int plus_is_space, struct jstr *outp)
{
	char *d = arena_alloc(a, len + 1);
	if (!d)
		return ERR_NOMEM;
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		if (c == '%') {
			int hi = i + 2 < len ? hex_digit(s[i + 1]) : -1;
			int lo = hi >= 0 ? hex_digit(s[i + 2]) : -1;
			if (lo < 0)
				return ERR_BAD_URL;
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		d[n++] = c;
	}
	d[n] = '\0';
	outp->s = d;
	outp->len = n;
	return 0;
}

int
api_url_encode(struct buf *b, const char *s, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		    c == '.' || c == '_' || c == ':') {
			(void)buf_putc(b, (char)c);
		} else {
			char hex[3] = {'%', digits[c >> 4], digits[c & 15]};
			(void)buf_put(b, hex, sizeof(hex));
		}
	}
	return buf_failed(b);
}

const struct jstr *
api_param(const struct apireq *r, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = r->nparams; i > 0; i--) {
		const struct api_param *p = &r->params[i - 1];
		if (p->name.len == len && memcmp(p->name.s, name, len) == 0)
			return &p->value;
	}
	return NULL;
}

int
api_param_bool(const struct apireq *r, const char *name, int *vp, struct errtext *why)
{
	const struct jstr *v = api_param(r, name);
	if (!v)
		return 0;
	if (v->len == 4 && strncasecmp(v->s, "true", 4) == 0)
		*vp = 1;
	else if (v->len == 5 && strncasecmp(v->s, "false", 5) == 0)
		*vp = 0;
	else
		return err_why(why, ERR_QUERY_PARSE, "Invalid boolean parameter: \"%.200s\"", v->s);
	return 0;
}

int
api_param_u64(const struct apireq *r, const char *name, uint64_t *vp, struct errtext *why)
{
	const struct jstr *v = api_param(r, name);
	if (!v)
		return 0;
	size_t i = v->len > 0 && (v->s[0] == '-' || v->s[0] == '+');
	uint64_t n = 0;
	int digits = 0;
	for (; i < v->len && v->s[i] >= '0' && v->s[i] <= '9'; i++, digits = 1) {
		unsigned d = (unsigned)(v->s[i] - '0');
		/* What is beyond any count means as much as the largest. */
		n = n > (UINT64_MAX - d) / 10 ? UINT64_MAX : n * 10 + d;
	}
	if (!digits || i < v->len)
		return err_why(why, ERR_QUERY_PARSE, "Invalid value for integer: \"%.200s\"", v->s);
	if (v->s[0] == '-' && n > 0)
		return err_why(why, ERR_QUERY_PARSE, "Invalid value for positive integer: \"%.200s\"", v->s);
	*vp = n;
	return 0;
}

int
api_param_json_string(const struct apireq *r, const char *name, struct jstr *outp, struct errtext *why)
{
	const struct jstr *v = api_param(r, name);
	if (!v)
		return 0;
	struct buf scratch;
	buf_init(&scratch, v->len + API_SCRATCH);
	struct jread j;
	struct jstr s;
	jread_init(&j, v->s, v->len);
	int err = jread_string(&j, &scratch, &s);
	if (!err && (err = jread_end(&j)) == 0) {
		outp->s = arena_dup(r->arena, s.s, s.len);
		outp->len = s.len;
		if (!outp->s)
			err = ERR_NOMEM;
	} else if (err == ERR_BAD_REQUEST && (jread_skip(&j, NULL) || jread_end(&j))) {
		err = ERR_BAD_JSON;
	}
	if (err == ERR_BAD_JSON)
		err = err_why(why, ERR_BAD_JSON, "%s", err_reason(ERR_BAD_JSON));
	buf_release(&scratch);
	return err;
}

int
api_tail(struct apireq *r, size_t from, struct jstr *outp)
{
	outp->s = "";
	outp->len = 0;
	if (from >= r->nparts)
		return 0;
	size_t len = r->nparts - from - 1;
	for (size_t i = from; i < r->nparts; i++)
		len += r->part[i].len;
	char *d = arena_alloc(r->arena, len + 1);
	if (!d)
		return ERR_NOMEM;
	outp->s = d;
	outp->len = len;
	for (size_t i = from; i < r->nparts; i++) {
		memcpy(d, r->part[i].s, r->part[i].len);
		d += r->part[i].len;
		*d++ = i + 1 < r->nparts ? '/' : '\0';
	}
	return 0;
}
