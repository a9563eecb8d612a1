/* auth_session.c: /_session: log in, log out, and who am I. */
#include "auth_impl.h"
#include "base/limits.h"

#include <strings.h>

/* A login; lives in the request's arena. */
struct login {
	struct jstr name, username, password, token;
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
	const struct auth_settings *set = auth_settings_of(r);
	const struct jstr *ask = api_param(r, "basic");
	const char *users;
	struct buf b;

	if (!r->who.name && ask && strcmp(ask->s, "true") == 0) {
		api_error_text(r, 401, "unauthorized", "Please login.");
		return;
	}
	buf_init(&b, 65536);
	buf_puts(&b, "{\"ok\":true,\"userCtx\":{");
	put_name(&b, &r->who);
	buf_puts(&b, "},\"info\":{\"authentication_handlers\":[");
	for (size_t i = 0; i < set->nhandlers; i++)
		buf_printf(&b, "%s\"%s\"", i > 0 ? "," : "", auth_handler_name(set->handlers[i]));
	buf_putc(&b, ']');
	if (r->authenticated)
		buf_printf(&b, ",\"authenticated\":\"%s\"", r->authenticated);
	/* Only where it is set, as in CouchDB. */
	users = config_get(r->api->config, "chttpd_auth", "authentication_db", "");
	if (*users) {
		buf_puts(&b, ",\"authentication_db\":");
		buf_put_json(&b, users, strlen(users));
	}
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
	int err = auth_cookie_issue(r, NULL, (struct jstr){"", 0});
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
login_end(struct apireq *r, api_f *then, const struct auth_verdict *v)
{
	int err = v->err;
	struct buf b;

	(void)then;
	if (err == ERR_BAD_LOGIN) {
		refuse(r);
		return;
	}
	if (!err)
		err = auth_grant(r, v->name, v->account->roles, v->account->nroles, AUTH_DEFAULT);
	if (!err)
		err = auth_cookie_issue(r, r->who.name, v->account->salt);
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

static int
keep(struct apireq *r, struct login *l, const struct jstr *key, const struct jstr *value)
{
	struct jstr *to = NULL;

	if (jstr_is(key, "name"))
		to = &l->name;
	else if (jstr_is(key, "username"))
		to = &l->username;
	else if (jstr_is(key, "password"))
		to = &l->password;
	else if (jstr_is(key, "token"))
		to = &l->token;
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
		const char *stop = api_param_end(p, end);
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

/* The digest that the same credentials have as a Basic header, so that either finds what the other has verified. */
static int
digest_of(struct apireq *r, const struct login *l, unsigned char out[SHA256_LEN])
{
	struct buf plain, text;
	int err;

	/* Such a name can't be told from a password in a header. */
	if (memchr(l->name.s, ':', l->name.len)) {
		hash_random(out, SHA256_LEN);
		return 0;
	}
	buf_init_arena(&plain, r->arena, 2 * LIMIT_ID_LEN);
	buf_init_arena(&text, r->arena, 4 * LIMIT_ID_LEN);
	buf_put(&plain, l->name.s, l->name.len);
	buf_putc(&plain, ':');
	buf_put(&plain, l->password.s, l->password.len);
	buf_puts(&text, "Basic ");
	err = buf_failed(&plain);
	if (!err)
		err = base64_put(&text, plain.data, plain.len);
	if (err)
		return err;
	auth_digest(r->api->auth, text.data, text.len, out);
	auth_forget((struct jstr){plain.data, plain.len});
	auth_forget((struct jstr){text.data, text.len});
	return 0;
}

/* Under which of its two names it comes. */
static int
name_of(struct login *l, struct errtext *why)
{
	if (!l->name.s && !l->username.s)
		return err_why(why, ERR_BAD_REQUEST, "request body must contain a username");
	if (!l->name.s)
		l->name = l->username;
	if (l->username.s && (l->name.len != l->username.len || memcmp(l->name.s, l->username.s, l->name.len) != 0))
		return err_why(why, ERR_BAD_REQUEST, "request body contains different usernames");
	return 0;
}

static int
read_login(struct apireq *r, int form, struct login *l, struct errtext *why)
{
	struct jstr body;
	int err = api_body(r, &body, why);

	if (!err)
		err = form ? read_form(r, &body, l) : read_json(r, &body, l, why);
	return err ? err : name_of(l, why);
}

static void
login(struct apireq *r)
{
	struct jstr type = http_header(r->http, "content-type");
	int form = has_type(&type, "application/x-www-form-urlencoded");
	unsigned char digest[SHA256_LEN];
	struct errtext why = {""};
	struct login l = {.password = {NULL, 0}, .token = {"", 0}};
	int err;

	if (!form && !has_type(&type, "application/json")) {
		api_error_text(r, 415, "bad_content_type",
		    "Content-Type must be 'application/x-www-form-urlencoded' or "
		    "'application/json'");
		return;
	}
	err = read_login(r, form, &l, &why);
	if (!err && !l.password.s)
		l.password.s = arena_dup(r->arena, "", 0);
	if (!err && !l.password.s)
		err = ERR_NOMEM;
	if (!err)
		err = digest_of(r, &l, digest);
	if (err)
		api_error(r, err, &why);
	else
		auth_check(r, digest, l.name, l.password, &l.token, NULL, login_end);
}

static void
logout(struct apireq *r)
{
	int err = auth_cookie_issue(r, NULL, (struct jstr){"", 0});

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
	else
		logout(r);
}
