/*
 * The reader keeps no state but its place and depth.  Whether an object's or array's first member is next is
 * told from the byte before the reader: only jread_object_begin() and jread_array_begin() leave it behind a
 * '{' or '[', since a value ends in neither.
 */
#include "base/jread.h"

#include <string.h>

#include "base/limits.h"
#include "jsonnum.h"
#include "jsonscan.h"

void
jread_init(struct jread *j, const char *text, size_t len)
{
	static const char nothing[] = "";

	j->p = text != NULL ? text : nothing;
	j->end = j->p + len;
	j->depth = 0;
}

enum jread_type
jread_peek(struct jread *j)
{
	j->p = jsonscan_ws(j->p, j->end);
	if (j->p == j->end)
		return JREAD_ERROR;
	switch (*j->p) {
	case '{':
		return JREAD_OBJECT;
	case '[':
		return JREAD_ARRAY;
	case '"':
		return JREAD_STRING;
	case 't':
		return JREAD_TRUE;
	case 'f':
		return JREAD_FALSE;
	case 'n':
		return JREAD_NULL;
	default:
		return *j->p == '-' || (*j->p >= '0' && *j->p <= '9') ? JREAD_NUMBER : JREAD_ERROR;
	}
}

/* What to say of a value that is not of the type asked for. */
static int
wrong_type(enum jread_type found)
{
	return found == JREAD_ERROR ? ERR_BAD_JSON : ERR_BAD_REQUEST;
}

static int
begin(struct jread *j, enum jread_type type)
{
	enum jread_type found = jread_peek(j);

	if (found != type)
		return wrong_type(found);
	if (j->depth >= LIMIT_JSON_DEPTH)
		return ERR_BAD_JSON;
	j->depth++;
	j->p++;
	return 0;
}

int
jread_object_begin(struct jread *j)
{
	return begin(j, JREAD_OBJECT);
}

int
jread_array_begin(struct jread *j)
{
	return begin(j, JREAD_ARRAY);
}

/* Pass the comma or the closing bracket: ERR_END behind the latter. */
static int
next(struct jread *j, char open, char close)
{
	int first = j->p[-1] == open;

	j->p = jsonscan_ws(j->p, j->end);
	if (j->p == j->end)
		return ERR_BAD_JSON;
	if (*j->p == close) {
		j->p++;
		j->depth--;
		return ERR_END;
	}
	if (first)
		return 0;
	if (*j->p != ',')
		return ERR_BAD_JSON;
	j->p = jsonscan_ws(j->p + 1, j->end);
	return 0;
}

/* Read the string whose quote is at j->p. */
static int
read_string(struct jread *j, struct buf *scratch, struct jstr *sp)
{
	const char *s = j->p + 1;
	const char *q = jsonscan_run(s, j->end);

	if (q == NULL)
		return ERR_BAD_JSON;
	if (*q == '"') {
		*sp = (struct jstr){s, (size_t)(q - s)};
		j->p = q + 1;
		return 0;
	}
	buf_clear(scratch);
	while (*q == '\\') {
		char out[4];
		size_t n;

		buf_put(scratch, s, (size_t)(q - s));
		s = jsonscan_escape(q, j->end, out, &n);
		if (s == NULL)
			return ERR_BAD_JSON;
		buf_put(scratch, out, n);
		q = jsonscan_run(s, j->end);
		if (q == NULL)
			return ERR_BAD_JSON;
	}
	buf_put(scratch, s, (size_t)(q - s));
	if (buf_failed(scratch) != 0)
		return buf_failed(scratch);
	*sp = (struct jstr){scratch->data, scratch->len};
	j->p = q + 1;
	return 0;
}

int
jread_object_next(struct jread *j, struct buf *scratch, struct jstr *keyp)
{
	int err = next(j, '{', '}');

	if (err != 0)
		return err;
	if (j->p == j->end || *j->p != '"')
		return ERR_BAD_JSON;
	err = read_string(j, scratch, keyp);
	if (err != 0)
		return err;
	j->p = jsonscan_ws(j->p, j->end);
	if (j->p == j->end || *j->p != ':')
		return ERR_BAD_JSON;
	j->p++;
	return 0;
}

int
jread_array_next(struct jread *j)
{
	return next(j, '[', ']');
}

int
jread_string(struct jread *j, struct buf *scratch, struct jstr *sp)
{
	enum jread_type found = jread_peek(j);

	if (found != JREAD_STRING)
		return wrong_type(found);
	return read_string(j, scratch, sp);
}

int
jread_bool(struct jread *j, int *vp)
{
	enum jread_type found = jread_peek(j);

	if (found != JREAD_TRUE && found != JREAD_FALSE)
		return wrong_type(found);
	*vp = found == JREAD_TRUE;
	return jread_skip(j, NULL);
}

int
jread_u64(struct jread *j, uint64_t *vp)
{
	enum jread_type found = jread_peek(j);
	const char *end;
	uint64_t v = 0;
	int is_float;

	if (found != JREAD_NUMBER)
		return wrong_type(found);
	end = jsonnum_end(j->p, j->end, &is_float);
	if (end == NULL)
		return ERR_BAD_JSON;
	if (is_float || (*j->p == '-' && !(end - j->p == 2 && j->p[1] == '0')))
		return ERR_BAD_REQUEST;
	for (const char *p = j->p + (*j->p == '-'); p < end; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (v > (UINT64_MAX - digit) / 10)
			return ERR_BAD_REQUEST;
		v = v * 10 + digit;
	}
	*vp = v;
	j->p = end;
	return 0;
}

/* The skip_*() functions return what is behind the value, or NULL. */
static const char *
skip_string(const char *p, const char *end)
{
	p = jsonscan_run(p + 1, end);
	while (p != NULL && *p == '\\') {
		char out[4];
		size_t n;

		p = jsonscan_escape(p, end, out, &n);
		if (p != NULL)
			p = jsonscan_run(p, end);
	}
	return p != NULL ? p + 1 : NULL;
}

static const char *
skip_number(const char *p, const char *end)
{
	int is_float;
	double v;
	const char *behind = jsonnum_end(p, end, &is_float);

	/* Without an exponent, 300 characters cannot reach beyond a double. */
	if (behind == NULL || !is_float)
		return behind;
	if (behind - p < 300 && memchr(p, 'e', (size_t)(behind - p)) == NULL &&
	    memchr(p, 'E', (size_t)(behind - p)) == NULL)
		return behind;
	return jsonnum_float(p, (size_t)(behind - p), NULL, NULL, &v) == 0 ? behind : NULL;
}

static const char *skip_value(const char *p, const char *end, unsigned depth);

static const char *
skip_key(const char *p, const char *end)
{
	if (p == end || *p != '"')
		return NULL;
	p = skip_string(p, end);
	if (p == NULL)
		return NULL;
	p = jsonscan_ws(p, end);
	return p < end && *p == ':' ? p + 1 : NULL;
}

/* An object or array.  The recursion is bounded by LIMIT_JSON_DEPTH. */
static const char *
skip_container(const char *p, const char *end, unsigned depth)
{
	int object = *p == '{';
	char close = object ? '}' : ']';

	if (depth >= LIMIT_JSON_DEPTH)
		return NULL;
	p = jsonscan_ws(p + 1, end);
	if (p < end && *p == close)
		return p + 1;
	for (;;) {
		if (object) {
			p = skip_key(p, end);
			if (p == NULL)
				return NULL;
		}
		p = skip_value(jsonscan_ws(p, end), end, depth + 1);
		if (p == NULL)
			return NULL;
		p = jsonscan_ws(p, end);
		if (p == end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p != ',')
			return NULL;
		p = jsonscan_ws(p + 1, end);
	}
}

static const char *
skip_value(const char *p, const char *end, unsigned depth)
{
	if (p == end)
		return NULL;
	switch (*p) {
	case '{':
	case '[':
		return skip_container(p, end, depth);
	case '"':
		return skip_string(p, end);
	case 't':
		return jsonscan_literal(p, end, "true", 4) ? p + 4 : NULL;
	case 'f':
		return jsonscan_literal(p, end, "false", 5) ? p + 5 : NULL;
	case 'n':
		return jsonscan_literal(p, end, "null", 4) ? p + 4 : NULL;
	default:
		return skip_number(p, end);
	}
}

int
jread_find(struct jread *j, struct buf *scratch, struct jstr name)
{
	struct jstr key;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return ERR_END;
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		if (jstr_equal(key, name))
			return 0;
		err = jread_skip(j, NULL);
	}
	return err;
}

int
jread_skip(struct jread *j, struct jstr *spanp)
{
	const char *behind;

	j->p = jsonscan_ws(j->p, j->end);
	behind = skip_value(j->p, j->end, j->depth);
	if (behind == NULL)
		return ERR_BAD_JSON;
	if (spanp != NULL)
		*spanp = (struct jstr){j->p, (size_t)(behind - j->p)};
	j->p = behind;
	return 0;
}

int
jread_end(struct jread *j)
{
	j->p = jsonscan_ws(j->p, j->end);
	return j->p == j->end && j->depth == 0 ? 0 : ERR_BAD_JSON;
}

int
jread_utf8_ok(const char *s, size_t len)
{
	const char *end = s + len;

	while (s < end) {
		size_t n = 1;

		if ((unsigned char)*s >= 0x80)
			n = jsonscan_utf8(s, end);
		if (n == 0)
			return 0;
		s += n;
	}
	return 1;
}
