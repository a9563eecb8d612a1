/*
 * api_param.c: the query string and percent-encoding; lists of words.  Values are decoded once, when the
 * request is built, into its arena; '+' is a space, as CouchDB has it.
 */
#include "api.h"

#include <strings.h>
#include "base/hash.h"

int
api_url_decode(struct arena *a, const char *s, size_t len, int plus_is_space, struct jstr *outp)
{
	char *d = arena_alloc(a, len + 1);
	size_t n = 0;

	if (!d)
		return ERR_NOMEM;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '%') {
			unsigned char byte;

			if (len - i < 3 || hex_decode(s + i + 1, 2, &byte))
				return ERR_BAD_URL;
			c = (char)byte;
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
			buf_putc(b, (char)c);
		} else {
			char hex[3] = {'%', digits[c >> 4], digits[c & 15]};

			buf_put(b, hex, sizeof(hex));
		}
	}
	return buf_failed(b);
}

const char *
api_param_end(const char *p, const char *end)
{
	while (p < end && *p != '&' && *p != ';')
		p++;
	return p;
}

const struct jstr *
api_param(const struct apireq *r, const char *name)
{
	for (size_t i = r->nparams; i > 0; i--) {
		if (jstr_is(&r->params[i - 1].name, name))
			return &r->params[i - 1].value;
	}
	return NULL;
}

int
api_param_is(const struct apireq *r, const char *name, const char *value)
{
	const struct jstr *v = api_param(r, name);

	return v && jstr_is(v, value);
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
	else if (v->len == 0)
		return err_why(why, ERR_QUERY_PARSE, "Invalid boolean parameter: []");
	else
		return err_why(why, ERR_QUERY_PARSE, "Invalid boolean parameter: \"%.200s\"", v->s);
	return 0;
}

int
api_param_u64(const struct apireq *r, const char *name, uint64_t *vp, struct errtext *why)
{
	const struct jstr *v = api_param(r, name);
	size_t i;
	uint64_t n = 0;
	int digits = 0;

	if (!v)
		return 0;
	i = v->len > 0 && (v->s[0] == '-' || v->s[0] == '+');
	for (; i < v->len && v->s[i] >= '0' && v->s[i] <= '9'; i++, digits = 1) {
		unsigned d = (unsigned)(v->s[i] - '0');

		/* What is beyond any count means as much as the largest. */
		n = n > (UINT64_MAX - d) / 10 ? UINT64_MAX : n * 10 + d;
	}
	if (v->len == 0)
		return err_why(why, ERR_QUERY_PARSE, "Invalid value for integer: []");
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
	struct buf scratch;
	struct jread j;
	struct jstr s;
	int err;

	if (!v)
		return 0;
	buf_init(&scratch, v->len + API_SCRATCH);
	jread_init(&j, v->s, v->len);
	err = jread_string(&j, &scratch, &s);
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
	size_t len;
	char *d;

	outp->s = "";
	outp->len = 0;
	if (from >= r->nparts)
		return 0;
	len = r->nparts - from - 1;
	for (size_t i = from; i < r->nparts; i++)
		len += r->part[i].len;
	d = arena_alloc(r->arena, len + 1);
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

int
api_ddoc_id(struct apireq *r, struct jstr name, struct jstr *idp)
{
	static const char prefix[] = "_design/";
	const size_t len = sizeof(prefix) - 1;
	char *id = arena_alloc(r->arena, len + name.len + 1);

	if (id == NULL)
		return ERR_NOMEM;
	memcpy(id, prefix, len);
	memcpy(id + len, name.s, name.len);
	id[len + name.len] = '\0';
	*idp = (struct jstr){id, len + name.len};
	return 0;
}

/* ---- Lists ---- */

int
api_item(const char **pp, const char *end, struct jstr *item)
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
