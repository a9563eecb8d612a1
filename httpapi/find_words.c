/* find_words.c: CouchDB names wrong values as Erlang prints their terms, in two ways: as lists of bytes and as text. */
#include "find_words.h"

#include <string.h>

#include "base/limits.h"
#include "query/query.h"

/* ---- Bodies ---- */

int
find_words_body(struct arena *a, struct jstr body, struct jstr *outp, struct errtext *why)
{
	struct jread j;
	struct buf text;
	char *room;
	int err;

	if (body.len > LIMIT_FIND_LEN)
		return ERR_TOO_LARGE;
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_OBJECT) {
		if (jread_skip(&j, NULL) != 0 || jread_end(&j) != 0)
			return ERR_BAD_JSON;
		return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	}
	/* Numbers may become longer: 1e9 is 1.0e9.  An arena's buffer had better not grow often. */
	buf_init_arena(&text, a, 4 * (size_t)LIMIT_FIND_LEN);
	if ((err = buf_reserve(&text, body.len + 128, &room)) != 0 || (err = jread_text(&j, &text, NULL)) != 0 ||
	    (err = jread_end(&j)) != 0)
		return err;
	*outp = (struct jstr){text.data, text.len};
	return 0;
}

/* take: Keep ${value} as that of ${key}; 0: none of the members is called so. */
static int
take(struct find_member *members, size_t n, const struct jstr *key, struct jstr value)
{
	for (size_t i = 0; i < n; i++)
		if (jstr_is(key, members[i].name)) {
			members[i].value = value;
			return 1;
		}
	return 0;
}

int
find_words_members(struct arena *a, struct jstr object, struct find_member *members, size_t n, struct jstr *unknownp)
{
	struct jread j;
	struct buf scratch;
	struct jstr key, value;
	int err;

	*unknownp = (struct jstr){NULL, 0};
	buf_init(&scratch, LIMIT_FIND_LEN);
	jread_init(&j, object.s, object.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		/* The key may lie in scratch, which reading the value leaves as it is. */
		if ((err = jread_skip(&j, &value)) != 0 || take(members, n, &key, value) || unknownp->s != NULL)
			continue;
		*unknownp = (struct jstr){arena_dup(a, key.s, key.len), key.len};
		if (unknownp->s == NULL)
			err = ERR_NOMEM;
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

/* ---- Words ---- */

int
find_words_missing(const char *name, struct errtext *why)
{
	return err_why(why, ERR_MISSING_KEY, "Missing required key: %s", name);
}

int
find_words_unknown(struct jstr name, struct errtext *why)
{
	return err_why(why, ERR_INVALID_KEY, "Invalid key %.*s for this request.",
	    (int)(name.len < ERRTEXT_MAX ? name.len : ERRTEXT_MAX), name.s);
}

/* What does not fit is cut, here as in the reason itself. */
static int
refuse(int code, const char *before, const struct buf *term, const char *behind, struct errtext *why)
{
	return err_why(why, code, "%s%.*s%s", before, (int)term->len, term->len > 0 ? term->data : "", behind);
}

int
find_words_wrong(int code, const char *before, struct jstr json, const char *behind, struct errtext *why)
{
	struct buf term;

	buf_init(&term, ERRTEXT_MAX);
	(void)query_put_term(&term, json);
	code = refuse(code, before, &term, behind, why);
	buf_release(&term);
	return code;
}

/* is_text: What Erlang takes for text in ISO 8859-1, and prints as such: bytes of UTF-8 may or may not be. */
static int
is_text(struct jstr s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.s[i];

		if ((c < 32 && (c < 8 || (c > 13 && c != 27))) || (c > 126 && c < 160))
			return 0;
	}
	return 1;
}

static void
put_text(struct buf *out, struct jstr s)
{
	static const char names[] = "btnvfr"; /* of 8 to 13 */

	if (s.len == 0) {
		buf_puts(out, "<<>>");
		return;
	}
	buf_puts(out, "<<\"");
	for (size_t i = 0; i < s.len && buf_failed(out) == 0; i++) {
		char c = s.s[i];

		if (c == '"' || c == '\\')
			buf_putc(out, '\\');
		if (c >= 8 && c <= 13)
			buf_printf(out, "\\%c", names[c - 8]);
		else if (c == 27)
			buf_puts(out, "\\e");
		else
			buf_putc(out, c);
	}
	buf_puts(out, "\">>");
}

static void
put_bytes(struct buf *out, struct jstr s)
{
	for (size_t i = 0; i < s.len && buf_failed(out) == 0; i++)
		buf_printf(out, i > 0 ? ",%u" : "<<%u", (unsigned)(unsigned char)s.s[i]);
	buf_puts(out, ">>");
}

/* put_pretty: Stops where ${out} is full. */
static int
put_pretty(struct buf *out, struct jread *j, struct buf *scratch)
{
	enum jread_type type = jread_peek(j);
	int err, n = 0;
	struct jstr s;

	if (type == JREAD_STRING) {
		if ((err = jread_string(j, scratch, &s)) == 0)
			(is_text(s) ? put_text : put_bytes)(out, s);
	} else if (type == JREAD_ARRAY) {
		err = jread_array_begin(j);
		buf_putc(out, '[');
		while (err == 0 && (err = jread_array_next(j)) == 0) {
			buf_puts(out, n++ > 0 ? "," : "");
			err = put_pretty(out, j, scratch);
		}
		buf_putc(out, ']');
	} else if (type == JREAD_OBJECT) {
		err = jread_object_begin(j);
		buf_puts(out, "{[");
		while (err == 0 && (err = jread_object_next(j, scratch, &s)) == 0) {
			buf_puts(out, n++ > 0 ? ",{" : "{");
			(is_text(s) ? put_text : put_bytes)(out, s);
			buf_putc(out, ',');
			err = put_pretty(out, j, scratch);
			buf_putc(out, '}');
		}
		buf_puts(out, "]}");
	} else if ((err = jread_skip(j, &s)) == 0) {
		buf_put(out, s.s, s.len);
	}
	return err == 0 || err == ERR_END ? buf_failed(out) : err;
}

int
find_words_wrong_pretty(int code, const char *before, struct jstr json, const char *behind, struct errtext *why)
{
	struct buf term, scratch;
	struct jread j;

	buf_init(&term, ERRTEXT_MAX);
	buf_init(&scratch, LIMIT_FIND_LEN);
	jread_init(&j, json.s, json.len);
	(void)put_pretty(&term, &j, &scratch);
	code = refuse(code, before, &term, behind, why);
	buf_release(&scratch);
	buf_release(&term);
	return code;
}

/* ---- Values ---- */

int
find_words_string(struct arena *a, struct jstr json, struct jstr *outp, struct errtext *why)
{
	struct jread j;
	struct buf scratch;
	struct jstr s;
	int err;

	buf_init(&scratch, LIMIT_FIND_LEN);
	jread_init(&j, json.s, json.len);
	if ((err = jread_string(&j, &scratch, &s)) == 0) {
		*outp = (struct jstr){arena_dup(a, s.s, s.len), s.len};
		err = outp->s != NULL ? 0 : ERR_NOMEM;
	} else if (err == ERR_BAD_REQUEST) {
		err = find_words_wrong(ERR_NOT_STRING, "Invalid string: ", json, "", why);
	}
	buf_release(&scratch);
	return err;
}

int
find_words_bool(struct jstr json, int *vp, struct errtext *why)
{
	struct jread j;

	jread_init(&j, json.s, json.len);
	if (jread_bool(&j, vp) == 0)
		return 0;
	return find_words_wrong(ERR_NOT_BOOLEAN, "Invalid boolean value: ", json, "", why);
}

/* natural: 1: ${json} has no sign, fraction or exponent. */
static int
natural(struct jstr json, uint64_t *vp)
{
	uint64_t v = 0;

	for (size_t i = 0; i < json.len; i++) {
		if (json.s[i] < '0' || json.s[i] > '9')
			return 0;
		if (v < FIND_WORDS_MANY)
			v = v * 10 + (uint64_t)(json.s[i] - '0');
	}
	*vp = v < FIND_WORDS_MANY ? v : FIND_WORDS_MANY;
	return json.len > 0;
}

int
find_words_natural(struct jstr json, uint64_t *vp, struct errtext *why)
{
	if (natural(json, vp))
		return 0;
	return find_words_wrong(ERR_NOT_NATURAL, "", json, " is not an integer greater than or equal to zero", why);
}

int
find_words_positive(struct jstr json, uint64_t *vp, struct errtext *why)
{
	if (natural(json, vp) && *vp > 0)
		return 0;
	return find_words_wrong(ERR_NOT_POSITIVE, "", json, " is not an integer greater than zero", why);
}
