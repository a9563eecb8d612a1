/*
 * scripting_reply.c: what a function answers, as an answer.
 *
 * It says what it likes but how the message is cut, and who the browser is from now on.
 */
#include "scripting.h"

#include <ctype.h>
#include <strings.h>

#include "base/hash.h"
#include "csp.h"

#define TEXT_MAX ((size_t)64 << 20) /* bytes of a body */

static const char html[] = "text/html; charset=utf-8";

/* What a function may answer. */
struct response {
	uint64_t code;
	struct buf body;
	int has_body;
	const char *type; /* of the body, if the function says nothing */
	const char *tag;  /* its ETag, which is not the function's to set; or NULL */
};

static int
is_token(const struct jstr *s)
{
	for (size_t i = 0; i < s->len; i++)
		if (!isalnum((unsigned char)s->s[i]) && strchr("-_.!#$%&'*+^`|~", s->s[i]) == NULL)
			return 0;
	return s->len > 0;
}

/* What says how the message is cut is not the function's to set, nor who the browser is from now on. */
static int
may_set(const char *name, struct jstr value)
{
	static const char *const ours[] = {
	    "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(ours[i], name) == 0)
			return 0;
	while (value.len > 0 && (*value.s == ' ' || *value.s == '\t')) {
		value.s++;
		value.len--;
	}
	return strcmp(name, "set-cookie") != 0 || !scripting_is_session(value);
}

/* is_ours: What the answer has anyhow: a tag, which the function cannot know, and `Vary: Accept`. */
static int
is_ours(const struct response *out, const char *name, struct jstr value)
{
	if (strcmp(name, "etag") == 0)
		return out->tag != NULL;
	return strcmp(name, "vary") == 0 && value.len == 6 && strncasecmp(value.s, "accept", 6) == 0;
}

static int
set_headers(struct apireq *r, struct jread *j, struct buf *scratch, struct response *out)
{
	struct jstr key, value;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		char *name = is_token(&key) && key.len < 128 ? arena_calloc(r->arena, 1, key.len + 1) : NULL;

		if (name == NULL || jread_peek(j) != JREAD_STRING) {
			err = jread_skip(j, NULL);
			continue;
		}
		for (size_t i = 0; i < key.len; i++)
			name[i] = (char)tolower((unsigned char)key.s[i]);
		err = jread_string(j, scratch, &value);
		if (err == 0 && may_set(name, value) && !is_ours(out, name, value)) {
			http_set_header(r->http, name, value.s, value.len);
			if (strcmp(name, "content-type") == 0)
				out->type = NULL;
		}
	}
	return err == ERR_END ? 0 : err;
}

static int
take_body(struct jread *j, struct buf *scratch, struct response *out, const char *type, int base64)
{
	struct jstr s;
	int err;

	if (jread_peek(j) != JREAD_STRING)
		return jread_skip(j, NULL);
	if ((err = jread_string(j, scratch, &s)) != 0)
		return err;
	buf_clear(&out->body);
	out->has_body = 1;
	if (out->type != NULL)
		out->type = type;
	return base64 ? base64_get(&out->body, s.s, s.len) : buf_put(&out->body, s.s, s.len);
}

static int
take_json(struct jread *j, struct response *out)
{
	struct jstr span;
	int err = jread_skip(j, &span);

	if (err != 0)
		return err;
	buf_clear(&out->body);
	out->has_body = 1;
	if (out->type != NULL)
		out->type = "application/json";
	return buf_put(&out->body, span.s, span.len);
}

static int
read_response(struct apireq *r, struct jstr text, struct response *out)
{
	struct buf scratch;
	struct jread j;
	struct jstr key;
	int err;

	buf_init(&scratch, text.len + API_SCRATCH);
	jread_init(&j, text.s, text.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		if (jstr_is(&key, "code") && jread_peek(&j) == JREAD_NUMBER)
			err = jread_u64(&j, &out->code);
		else if (jstr_is(&key, "headers") && jread_peek(&j) == JREAD_OBJECT)
			err = set_headers(r, &j, &scratch, out);
		else if (jstr_is(&key, "body"))
			err = take_body(&j, &scratch, out, out->type, 0);
		else if (jstr_is(&key, "base64"))
			err = take_body(&j, &scratch, out, "application/binary", 1);
		else if (jstr_is(&key, "json"))
			err = take_json(&j, out);
		else
			err = jread_skip(&j, NULL);
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

/* set_common: What all such answers have. */
static void
set_common(struct apireq *r, const struct response *out)
{
	http_add_header(r->http, "vary", "Accept", 6);
	if (out->type != NULL)
		http_set_static(r->http, "content-type", out->type);
	/* A page that a function makes is of this origin, but must not act for whoever looks at it. */
	csp_set(r, "showlist", "sandbox");
}

/* has_no_body: Who gets one takes it for the next answer. */
static int
has_no_body(uint64_t code)
{
	return code == 204 || code == 205 || code == 304;
}

static void
refuse(struct apireq *r)
{
	api_error_text(r, 500, "render_error", "the function's response cannot be sent");
}

static void
reply(struct apireq *r, struct jstr response, struct response *out)
{
	size_t len;
	char *data;
	int err;

	buf_init(&out->body, TEXT_MAX);
	err = read_response(r, response, out);
	if (err != 0 || out->code < 200 || out->code > 599) {
		buf_release(&out->body);
		refuse(r);
		return;
	}
	api_done(r);
	set_common(r, out);
	if (has_no_body(out->code))
		buf_clear(&out->body);
	data = buf_take(&out->body, &len);
	http_reply_take(r->http, (int)out->code, data, len);
}

void
scripting_reply(struct apireq *r, struct jstr response, int status)
{
	scripting_reply_as(r, response, status, html);
}

void
scripting_reply_as(struct apireq *r, struct jstr response, int status, const char *type)
{
	struct response out = {.code = (uint64_t)status, .type = type};

	reply(r, response, &out);
}

void
scripting_reply_tagged(struct apireq *r, struct jstr response, const char *tag)
{
	struct response out = {.code = 200, .type = html, .tag = tag};

	if (!api_not_modified(r, tag, strlen(tag)))
		reply(r, response, &out);
}

int
scripting_reply_begin(struct apireq *r, struct jstr response, const char *type, int *statusp)
{
	struct response out = {.code = 200, .type = type};
	int err;

	buf_init(&out.body, TEXT_MAX);
	err = read_response(r, response, &out);
	buf_release(&out.body);
	if (err != 0 || out.code < 200 || out.code > 599 || has_no_body(out.code)) {
		refuse(r);
		return ERR_SCRIPT;
	}
	/* The body is not of the response, so neither is the type that a body there would have. */
	if (out.type != NULL)
		out.type = type;
	set_common(r, &out);
	*statusp = (int)out.code;
	return 0;
}
