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
#include "xframe.h"

#define TEXT_MAX ((size_t)64 << 20) /* bytes of a body */

static const char html[] = "text/html; charset=utf-8";

struct header {
	struct header *next;
	const char *name; /* lower case */
	struct jstr value;
};

/* What a function may answer. */
struct response {
	uint64_t code;
	struct buf body;
	int has_body;
	const char *type;              /* of the body, if the function says nothing */
	const char *tag;               /* its ETag, which is not the function's to set; or NULL */
	struct header *first, **lastp; /* in the request's arena */
};

/* A response on its way through an executor; lives in the request's arena. */
struct reply {
	struct jstr text;
	struct response out;
	int err;
	const char *type;                           /* of the answer, if the function says nothing */
	void (*then)(struct apireq *r, int status); /* of a stream; NULL: the response is the answer */
	void *cookie;                               /* the handler's */
};

static int
is_token(const struct jstr *s)
{
	for (size_t i = 0; i < s->len; i++)
		if (s->s[i] == '\0' || (!isalnum((unsigned char)s->s[i]) && strchr("-_.!#$%&'*+^`|~", s->s[i]) == NULL))
			return 0;
	return s->len > 0;
}

static struct jstr
skip(struct jstr s, const char *what)
{
	while (s.len > 0 && *s.s != '\0' && strchr(what, *s.s) != NULL) {
		s.s++;
		s.len--;
	}
	return s;
}

/* Browsers pass over the space around a cookie's name, and send one without a name as its value alone. */
static int
sets_session(struct jstr cookie)
{
	static const char name[] = "AuthSession";

	cookie = skip(cookie, " \t=");
	if (cookie.len < sizeof(name) - 1 || memcmp(cookie.s, name, sizeof(name) - 1) != 0)
		return 0;
	cookie = skip((struct jstr){cookie.s + sizeof(name) - 1, cookie.len - (sizeof(name) - 1)}, " \t");
	return cookie.len > 0 && *cookie.s == '=';
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
	return strcmp(name, "set-cookie") != 0 || !sets_session(value);
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
add_header(struct arena *a, struct response *out, const char *name, struct jstr value)
{
	struct header *h = arena_calloc(a, 1, sizeof(*h));

	if (h == NULL || (h->value.s = arena_dup(a, value.s, value.len)) == NULL)
		return ERR_NOMEM;
	h->name = name;
	h->value.len = value.len;
	*out->lastp = h;
	out->lastp = &h->next;
	return 0;
}

static int
read_headers(struct arena *a, struct jread *j, struct buf *scratch, struct response *out)
{
	struct jstr key, value;
	int err = jread_object_begin(j);

	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		char *name = is_token(&key) && key.len < 128 ? arena_calloc(a, 1, key.len + 1) : NULL;

		if (name == NULL || jread_peek(j) != JREAD_STRING) {
			err = jread_skip(j, NULL);
			continue;
		}
		for (size_t i = 0; i < key.len; i++)
			name[i] = (char)tolower((unsigned char)key.s[i]);
		err = jread_string(j, scratch, &value);
		if (err == 0 && may_set(name, value) && !is_ours(out, name, value)) {
			err = add_header(a, out, name, value);
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

/* read_response: Nothing of it is the answer's yet. */
static int
read_response(struct arena *a, struct jstr text, struct response *out)
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
			err = read_headers(a, &j, &scratch, out);
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

/* set_common: What all such answers have, whatever the function says. */
static void
set_common(struct apireq *r, const struct response *out)
{
	http_add_header(r->http, "vary", "Accept", 6);
	if (out->type != NULL)
		http_set_static(r->http, "content-type", out->type);
	/* A page that a function makes is of this origin, but must not act for whoever looks at it. */
	csp_set(r, "showlist", "sandbox");
	xframe_set(r);
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
send_whole(struct apireq *r, struct reply *p)
{
	struct response *out = &p->out;
	size_t len;
	char *data;

	if (p->err != 0) {
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

/* begin_stream: The body is not of the response, so neither is the type that a body there would have. */
static void
begin_stream(struct apireq *r, struct reply *p)
{
	buf_release(&p->out.body);
	if (p->err != 0 || has_no_body(p->out.code)) {
		refuse(r);
		p->then(r, 0);
		return;
	}
	if (p->out.type != NULL)
		p->out.type = p->type;
	set_common(r, &p->out);
	p->then(r, (int)p->out.code);
}

static void
read_work(struct apireq *r)
{
	struct reply *p = r->cookie;

	p->err = read_response(r->arena, p->text, &p->out);
	if (p->err == 0 && (p->out.code < 200 || p->out.code > 599))
		p->err = ERR_SCRIPT;
}

static void
read_done(struct apireq *r)
{
	struct reply *p = r->cookie;

	r->cookie = p->cookie;
	for (const struct header *h = p->out.first; h != NULL; h = h->next)
		http_set_header(r->http, h->name, h->value.s, h->value.len);
	if (p->then != NULL)
		begin_stream(r, p);
	else
		send_whole(r, p);
}

/* go: Read ${p}'s text, on an executor thread if it is long, and answer with it. */
static void
go(struct apireq *r, const struct reply *given)
{
	struct reply *p = arena_alloc(r->arena, sizeof(*p));

	if (p == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		if (given->then != NULL)
			given->then(r, 0);
		return;
	}
	*p = *given;
	p->out.type = p->type;
	p->out.lastp = &p->out.first;
	buf_init(&p->out.body, TEXT_MAX);
	p->cookie = r->cookie;
	r->cookie = p;
	if (api_work_by(r, p->text.len, read_work, read_done) != 0) {
		r->cookie = p->cookie;
		if (p->then != NULL)
			p->then(r, 0);
	}
}

void
scripting_reply(struct apireq *r, struct jstr response, int status)
{
	scripting_reply_as(r, response, status, html);
}

void
scripting_reply_as(struct apireq *r, struct jstr response, int status, const char *type)
{
	go(r, &(struct reply){.text = response, .type = type, .out.code = (uint64_t)status});
}

void
scripting_reply_tagged(struct apireq *r, struct jstr response, const char *tag)
{
	if (!api_not_modified(r, tag, strlen(tag)))
		go(r, &(struct reply){.text = response, .type = html, .out = {.code = 200, .tag = tag}});
}

void
scripting_reply_begin(
    struct apireq *r, struct jstr response, const char *type, void (*then)(struct apireq *r, int status))
{
	go(r, &(struct reply){.text = response, .type = type, .then = then, .out.code = 200});
}
