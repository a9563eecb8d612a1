/* auth_session.c: /_session: log in, log out, and who am I. */
#include "auth_impl.h"
#include "secret.h"
#include "base/limits.h"

#include <strings.h>

/* A login; lives in the request's arena. */
struct login {
	struct jstr name, password;
	const char *stored;
	int unknown; /* there is no such account */
	int ok;
};

static void
put_roles(struct buf *b, const struct principal *who)
{
	buf_putc(b, '[');
	for (size_t i = 0; i < who->nroles; i++) {
		if (i > 0)
			buf_putc(b, ',');
		buf_put_json(b, who->roles[i], strlen(who->roles[i]));
	}
	buf_putc(b, ']');
}

static void
put_name(struct buf *b, const struct principal *who)
{
	buf_puts(b, "\"name\":");
	if (who->name)
		buf_put_json(b, who->name, strlen(who->name));
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"roles\":");
	put_roles(b, who);
}

static void
tell(struct apireq *r)
{
	const struct jstr *ask = api_param(r, "basic");
	struct buf b;

	if (!r->who.name && ask && strcmp(ask->s, "true") == 0) {
		api_error_text(r, 401, "unauthorized", "Please login.");
		return;
	}
	buf_init(&b, 65536);
	buf_puts(&b, "{\"ok\":true,\"userCtx\":{");
	put_name(&b, &r->who);
	buf_puts(&b, "},\"info\":{\"authentication_handlers\":[\"cookie\",\"default\"]");
	if (r->authenticated)
		buf_printf(&b, ",\"authenticated\":\"%s\"", r->authenticated);
	buf_puts(&b, "}}");
	api_json(r, 200, &b);
}

/* Where the client asked to be sent; only within this server.  Returns 1 if the headers say so. */
static int
redirect(struct apireq *r, const char *param)
{
	const struct jstr *to = api_param(r, param);
	struct buf b;
	int ok;

	if (!to || to->len == 0 || to->s[0] != '/' || to->s[1] == '/' || to->s[1] == '\\')
		return 0;
	for (size_t i = 0; i < to->len; i++) {
		if ((unsigned char)to->s[i] <= ' ' || to->s[i] == 127)
			return 0;
	}
	buf_init(&b, LIMIT_URL_LEN * 2);
	api_base_url(r, &b);
	buf_put(&b, to->s, to->len);
	ok = !buf_failed(&b);
	if (ok)
		http_set_header(r->http, "location", b.data, b.len);
	buf_release(&b);
	return ok;
}

static void
refuse(struct apireq *r)
{
	int err = auth_cookie_issue(r, NULL, NULL);
	struct buf b;

	if (err) {
		api_error(r, err, NULL);
		return;
	}
	/* Not api_error(): a program that tries to log in is not sent to the page where one can. */
	buf_init(&b, 1024);
	buf_printf(&b, "{\"error\":\"%s\",\"reason\":\"%s\"}", err_name(ERR_BAD_LOGIN), err_reason(ERR_BAD_LOGIN));
	api_json(r, redirect(r, "fail") ? 302 : 401, &b);
}

static void
login_end(struct apireq *r)
{
	struct login *l = r->cookie;
	struct auth_table *t = auth_table_of(r);
	int err;
	struct buf b;

	if (t)
		t->nlogins--;
	if (!l->ok) {
		refuse(r);
		return;
	}
	err = auth_grant(r, l->name.s, l->name.len, "default");
	if (!err)
		err = auth_cookie_issue(r, r->who.name, l->stored);
	if (err) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&b, 65536);
	buf_puts(&b, "{\"ok\":true,");
	put_name(&b, &r->who);
	buf_putc(&b, '}');
	api_json(r, redirect(r, "next") ? 302 : 200, &b);
}

static void
login_work(struct apireq *r)
{
	struct login *l = r->cookie;

	l->ok = secret_check(l->stored, l->password.s, l->password.len) && !l->unknown;
}

static int
keep(struct apireq *r, struct login *l, const struct jstr *key, const struct jstr *value)
{
	struct jstr *to = NULL;

	if (jstr_is(key, "name") || jstr_is(key, "username"))
		to = &l->name;
	else if (jstr_is(key, "password"))
		to = &l->password;
	if (!to)
		return 0;
	to->s = arena_dup(r->arena, value->s, value->len);
	to->len = value->len;
	return to->s ? 0 : ERR_NOMEM;
}

static int
read_form(struct apireq *r, const struct jstr *body, struct login *l)
{
	const char *p = body->s;
	const char *end = p + body->len;
	int err = 0;

	while (p < end && !err) {
		const char *amp = memchr(p, '&', (size_t)(end - p));
		const char *stop = amp ? amp : end;
		const char *eq = memchr(p, '=', (size_t)(stop - p));

		if (eq) {
			struct jstr key, value;

			err = api_url_decode(r->arena, p, (size_t)(eq - p), 1, &key);
			if (!err)
				err = api_url_decode(r->arena, eq + 1, (size_t)(stop - eq) - 1, 1, &value);
			if (!err)
				err = keep(r, l, &key, &value);
		}
		p = stop + 1;
	}
	return err;
}

static int
read_member(struct apireq *r, struct jread *j, struct buf *scratch, struct login *l)
{
	struct jstr key, value;
	int err = jread_object_next(j, scratch, &key);
	const char *copy;

	if (err)
		return err;
	copy = arena_dup(r->arena, key.s, key.len);
	if (!copy)
		return ERR_NOMEM;
	key.s = copy;
	if (jread_peek(j) != JREAD_STRING)
		return jread_skip(j, NULL);
	err = jread_string(j, scratch, &value);
	return err ? err : keep(r, l, &key, &value);
}

static int
read_json(struct apireq *r, const struct jstr *body, struct login *l, struct errtext *why)
{
	struct jread j;
	struct buf scratch;
	int err;

	jread_init(&j, body->s, body->len);
	if (jread_peek(&j) != JREAD_OBJECT) {
		int bad = jread_skip(&j, NULL);

		if (!bad)
			bad = jread_end(&j);
		return bad ? bad : err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	}
	buf_init(&scratch, body->len + API_SCRATCH);
	err = jread_object_begin(&j);
	while (!err)
		err = read_member(r, &j, &scratch, l);
	if (err == ERR_END)
		err = jread_end(&j);
	buf_release(&scratch);
	return err;
}

static int
has_type(const struct jstr *type, const char *want)
{
	size_t len = strlen(want);

	return type->s && type->len >= len && strncasecmp(type->s, want, len) == 0;
}

static void
login(struct apireq *r)
{
	struct jstr type = http_header(r->http, "content-type");
	int form = has_type(&type, "application/x-www-form-urlencoded");
	struct errtext why;
	struct jstr body;
	struct login *l;
	int err;
	struct auth_table *t;

	if (!form && !has_type(&type, "application/json")) {
		api_error_text(r, 415, "bad_content_type",
		    "Content-Type must be 'application/x-www-form-urlencoded' or "
		    "'application/json'");
		return;
	}
	why = (struct errtext){""};
	l = arena_calloc(r->arena, 1, sizeof(*l));
	err = l ? api_body(r, &body, &why) : ERR_NOMEM;
	if (!err)
		err = form ? read_form(r, &body, l) : read_json(r, &body, l, &why);
	if (err) {
		api_error(r, err, &why);
		return;
	}
	if (l->name.s)
		l->stored = auth_stored(r->api, l->name.s, l->name.len);
	if (!l->name.s || !l->password.s) {
		refuse(r);
		return;
	}
	/* Who guesses names is not told by the time it takes. */
	l->unknown = l->stored == NULL;
	if (l->unknown)
		l->stored = r->api->auth->nobody;
	t = auth_table_of(r);
	if (t && t->nlogins >= AUTH_LOGINS) {
		api_error(r, ERR_BUSY, NULL);
		return;
	}
	r->cookie = l;
	if (t)
		t->nlogins++;
	if (api_work(r, login_work, login_end) && t)
		t->nlogins--;
}

static void
logout(struct apireq *r)
{
	int err = auth_cookie_issue(r, NULL, NULL);

	if (err) {
		api_error(r, err, NULL);
		return;
	}
	if (redirect(r, "next"))
		api_ok(r, 302);
	else
		api_ok(r, 200);
}

void
auth_session(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		tell(r);
	else if (strcmp(r->method, "POST") == 0)
		login(r);
	else if (strcmp(r->method, "DELETE") == 0)
		logout(r);
	else
		api_method_not_allowed(r, "GET,HEAD,POST,DELETE");
}
