/* scripting.c: what users' functions are told, and what they answer. */
#include "scripting.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "base/hash.h"
#include "base/limits.h"
#include "database.h"
#include "render.h"
#include "uuid.h"

#define TEXT_MAX ((size_t)64 << 20) /* bytes of one message to a function */

int
scripting_program(struct db_snap *snap, struct jstr id, struct arena *a, struct jstr *outp)
{
	struct db_doc doc;
	struct buf b;
	int err = db_get(snap, id.s, id.len, a, &doc);

	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	if (err != 0)
		return err;
	buf_init_arena(&b, a, TEXT_MAX);
	buf_puts(&b, "{\"ddoc\":");
	if ((err = render_doc(&b, &doc, NULL, a, NULL)) == 0)
		err = buf_putc(&b, '}');
	*outp = (struct jstr){b.data, b.len};
	return err;
}

/* ---- The request ---- */

static void
put_name(struct buf *b, struct jstr name, int *firstp)
{
	if (!*firstp)
		buf_putc(b, ',');
	*firstp = 0;
	buf_put_json(b, name.s, name.len);
	buf_putc(b, ':');
}

int
scripting_put_user(struct buf *b, const char *database, const struct principal *who)
{
	int has_admin = 0;

	buf_puts(b, "{\"db\":");
	buf_put_json(b, database, strlen(database));
	buf_puts(b, ",\"name\":");
	if (who->name != NULL)
		buf_put_json(b, who->name, strlen(who->name));
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"roles\":[");
	for (size_t i = 0; i < who->nroles; i++) {
		buf_puts(b, i > 0 ? "," : "");
		buf_put_json(b, who->roles[i], strlen(who->roles[i]));
		has_admin |= strcmp(who->roles[i], "_admin") == 0;
	}
	if (who->server_admin && !has_admin)
		buf_puts(b, who->nroles > 0 ? ",\"_admin\"" : "\"_admin\"");
	return buf_puts(b, "]}");
}

static void
put_query(struct buf *b, const struct apireq *r)
{
	int first = 1;

	buf_puts(b, ",\"query\":{");
	for (size_t i = 0; i < r->nparams; i++) {
		if (!jread_utf8_ok(r->params[i].name.s, r->params[i].name.len) ||
		    !jread_utf8_ok(r->params[i].value.s, r->params[i].value.len))
			continue;
		put_name(b, r->params[i].name, &first);
		buf_put_json(b, r->params[i].value.s, r->params[i].value.len);
	}
	buf_putc(b, '}');
}

struct header_list {
	struct apireq *r;
	struct buf *b;
	int first;
};

/*
 * What opens an account is not for functions: who may write a design document, or an administrator of one database, would be
 * whoever looks at what it shows.
 */
static int
is_credential(const struct api *api, struct jstr name)
{
	const char *own = config_get(api->config, "chttpd_auth", "x_auth_token", "X-Auth-CouchDB-Token");
	const char *const names[] = {"authorization", "proxy-authorization", own};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == name.len && strncasecmp(names[i], name.s, name.len) == 0)
			return 1;
	return 0;
}

static int
is_session(struct jstr pair)
{
	static const char name[] = "AuthSession=";

	return pair.len >= sizeof(name) - 1 && memcmp(pair.s, name, sizeof(name) - 1) == 0;
}

/* The cookies without the session's, in ${b}'s memory. */
static int
put_cookies(struct buf *b, struct jstr text)
{
	const char *p = text.s, *end = p + text.len;

	while (p < end) {
		const char *stop = memchr(p, ';', (size_t)(end - p));

		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		if (p < stop && !is_session((struct jstr){p, (size_t)(stop - p)})) {
			buf_puts(b, b->len > 0 ? "; " : "");
			buf_put(b, p, (size_t)(stop - p));
		}
		p = stop + 1;
	}
	return buf_failed(b);
}

/* The request's, less the session's. */
static struct jstr
cookies_of(struct apireq *r)
{
	struct jstr text = http_header(r->http, "cookie");
	struct buf b;

	if (text.s == NULL || memmem(text.s, text.len, "AuthSession=", 12) == NULL)
		return text;
	buf_init_arena(&b, r->arena, text.len + 64);
	return put_cookies(&b, text) == 0 && b.len > 0 ? (struct jstr){b.data, b.len} : (struct jstr){NULL, 0};
}

/* As clients of HTTP/1 mostly write them: Content-Type. */
static int
put_header(struct jstr name, struct jstr value, void *cookie)
{
	struct header_list *l = cookie;
	char shown[64];
	int up = 1;

	if (name.len == 6 && strncasecmp(name.s, "cookie", 6) == 0)
		value = cookies_of(l->r);
	if (name.len >= sizeof(shown) || value.s == NULL || is_credential(l->r->api, name) ||
	    !jread_utf8_ok(value.s, value.len))
		return 0;
	for (size_t i = 0; i < name.len; i++) {
		shown[i] = (char)(up ? toupper((unsigned char)name.s[i]) : tolower((unsigned char)name.s[i]));
		up = name.s[i] == '-';
	}
	put_name(l->b, (struct jstr){shown, name.len}, &l->first);
	buf_put_json(l->b, value.s, value.len);
	return 0;
}

static void
put_headers(struct buf *b, struct apireq *r)
{
	struct header_list l = {r, b, 1};

	buf_puts(b, ",\"headers\":{");
	(void)http_headers(r->http, put_header, &l);
	buf_putc(b, '}');
}

/* The parts of the path, decoded, as an array. */
static void
put_path(struct buf *b, struct apireq *r)
{
	buf_putc(b, '[');
	for (size_t i = 0; i < r->nparts; i++) {
		buf_puts(b, i > 0 ? "," : "");
		if (jread_utf8_ok(r->part[i].s, r->part[i].len))
			buf_put_json(b, r->part[i].s, r->part[i].len);
		else
			buf_puts(b, "null");
	}
	buf_putc(b, ']');
}

/* NAME=VALUE pairs, ${sep} between them, as an object. */
static void
put_pairs(struct buf *b, struct apireq *r, struct jstr text, char sep, int decode)
{
	const char *p = text.s, *end = p + text.len;
	int first = 1;

	buf_putc(b, '{');
	while (p != NULL && p < end) {
		const char *stop = memchr(p, sep, (size_t)(end - p)), *eq;
		struct jstr name, value;

		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		eq = memchr(p, '=', (size_t)(stop - p));
		if (eq != NULL) {
			name = (struct jstr){p, (size_t)(eq - p)};
			value = (struct jstr){eq + 1, (size_t)(stop - eq) - 1};
			if ((!decode || (api_url_decode(r->arena, name.s, name.len, 1, &name) == 0 &&
					    api_url_decode(r->arena, value.s, value.len, 1, &value) == 0)) &&
			    jread_utf8_ok(name.s, name.len) && jread_utf8_ok(value.s, value.len)) {
				put_name(b, name, &first);
				buf_put_json(b, value.s, value.len);
			}
		}
		p = stop + 1;
	}
	buf_putc(b, '}');
}

static int
is_form(struct apireq *r)
{
	static const char form[] = "application/x-www-form-urlencoded";
	struct jstr type = http_header(r->http, "content-type");

	return type.s != NULL && type.len >= sizeof(form) - 1 && strncasecmp(type.s, form, sizeof(form) - 1) == 0;
}

static void
put_body(struct buf *b, struct apireq *r, const struct jstr *body)
{
	static const struct jstr none = {"", 0};

	buf_puts(b, ",\"body\":");
	if (body == NULL)
		buf_puts(b, "\"undefined\"");
	else if (jread_utf8_ok(body->s, body->len))
		buf_put_json(b, body->s, body->len);
	else
		buf_puts(b, "\"\"");
	buf_puts(b, ",\"form\":");
	put_pairs(b, r, body != NULL && is_form(r) ? *body : none, '&', 1);
	buf_puts(b, ",\"cookie\":");
	put_pairs(b, r, cookies_of(r), ';', 0);
}

int
scripting_put_request(struct buf *b, struct apireq *r, struct jstr id, const struct jstr *body)
{
	struct jstr raw = http_path(r->http), query = http_query(r->http);
	const char *peer = http_peer(r->http), *name = r->part[0].s;
	char uuid[UUID_LEN];
	int err;

	uuid_next(uuid);
	buf_puts(b, "{\"info\":");
	if ((err = database_put_info(b, r->db, name)) != 0)
		return err;
	buf_puts(b, ",\"id\":");
	if (id.len > 0)
		buf_put_json(b, id.s, id.len);
	else
		buf_puts(b, "null");
	buf_puts(b, ",\"uuid\":");
	buf_put_json(b, uuid, sizeof(uuid));
	buf_puts(b, ",\"method\":");
	buf_put_json(b, http_method(r->http), strlen(http_method(r->http)));
	buf_puts(b, ",\"requested_path\":");
	put_path(b, r);
	buf_puts(b, ",\"path\":");
	put_path(b, r);
	buf_puts(b, ",\"raw_path\":\"");
	/* What is no plain ASCII came percent-encoded, or is no URL. */
	for (size_t i = 0; i < raw.len; i++)
		buf_putc(b, raw.s[i] > ' ' && raw.s[i] < 127 && raw.s[i] != '"' && raw.s[i] != '\\' ? raw.s[i] : '?');
	if (query.len > 0 && jread_utf8_ok(query.s, query.len)) {
		size_t at = b->len;

		/* buf_put_json() writes quotes of its own. */
		buf_put_json(b, query.s, query.len);
		if (!buf_failed(b)) {
			b->data[at] = '?';
			b->len--;
		}
	}
	buf_putc(b, '"');
	put_query(b, r);
	put_headers(b, r);
	put_body(b, r, body);
	buf_puts(b, ",\"peer\":");
	buf_put_json(b, peer, strlen(peer));
	buf_puts(b, ",\"userCtx\":");
	scripting_put_user(b, name, &r->who);
	buf_puts(b, ",\"secObj\":");
	if ((err = db_security(r->db, b)) != 0)
		return err;
	buf_putc(b, '}');
	return buf_failed(b);
}

/* ---- A call ---- */

void
scripting_call_init(struct scripting_call *c, struct arena *a)
{
	memset(c, 0, sizeof(*c));
	buf_init_arena(&c->request, a, TEXT_MAX);
	buf_init_arena(&c->answer, a, TEXT_MAX);
}

static int
has_function(const struct scripting_call *c, struct jstr program)
{
	struct buf scratch;
	struct jread j;
	struct jstr key;
	const struct jstr kind = {c->kind, strlen(c->kind)};
	const struct jstr *path[] = {&kind, &c->name};
	int found = 0;

	buf_init(&scratch, program.len + API_SCRATCH);
	jread_init(&j, program.s + 8, program.len - 9); /* within {"ddoc":...} */
	for (size_t i = 0; i < 2; i++) {
		found = 0;
		if (jread_peek(&j) != JREAD_OBJECT || jread_object_begin(&j) != 0)
			break;
		while (!found && jread_object_next(&j, &scratch, &key) == 0) {
			found = key.len == path[i]->len && memcmp(key.s, path[i]->s, key.len) == 0;
			if (!found && jread_skip(&j, NULL) != 0)
				break;
		}
		if (!found)
			break;
	}
	buf_release(&scratch);
	return found;
}

int
scripting_find(struct scripting_call *c, struct jstr program)
{
	if (has_function(c, program))
		return 0;
	return err_why(
	    &c->why, ERR_MISSING, "missing json key: %.*s", (int)(c->name.len < 256 ? c->name.len : 256), c->name.s);
}

/* The program, and the document or null. */
static int
read_documents(struct apireq *r, struct scripting_call *c, struct jstr *programp, struct buf *doc_text)
{
	struct db_snap *snap;
	struct db_doc doc;
	int err = db_snap_begin(r->db, &snap);

	if (err != 0)
		return err;
	err = scripting_program(snap, c->ddoc, r->arena, programp);
	if (err == 0 && (err = db_get(snap, c->ddoc.s, c->ddoc.len, r->arena, &doc)) == 0)
		rev_copy(&c->made, &doc.winner.rev);
	if (err == 0)
		err = scripting_find(c, *programp);
	if (err == 0 && c->id.len > 0) {
		int missing = db_get(snap, c->id.s, c->id.len, r->arena, &doc);

		c->has_doc = missing == 0 && !doc.winner.deleted;
		if (missing != 0 && missing != ERR_MISSING)
			err = missing;
	}
	if (err == 0 && c->has_doc) {
		rev_copy(&c->seen, &doc.winner.rev);
		err = render_doc(doc_text, &doc, NULL, r->arena, NULL);
	}
	db_snap_end(snap);
	if (!c->has_doc)
		buf_puts(doc_text, "null");
	return err != 0 ? err : buf_failed(doc_text);
}

static int
call(struct apireq *r, struct scripting_call *c, struct jstr program, const struct buf *doc)
{
	struct script *sc;
	struct jstr answer;
	struct buf head;
	int err = script_open(r->api->scripts, r->part[0].s, program, &sc, &c->why);

	if (err != 0) {
		(void)snprintf(c->error, sizeof(c->error), "compilation_error");
		return err;
	}
	buf_init(&head, 64 + 8 * LIMIT_URL_LEN);
	buf_puts(&head, "[[");
	buf_put_json(&head, c->kind, strlen(c->kind));
	buf_putc(&head, ',');
	buf_put_json(&head, c->name.s, c->name.len);
	buf_puts(&head, "],");
	if ((err = buf_failed(&head)) == 0) {
		const struct jstr parts[] = {{head.data, head.len}, {doc->data, doc->len}, {",", 1},
		    {c->request.data, c->request.len}, {"]", 1}};

		err = script_send(sc, SCRIPT_DESIGN, parts, 5);
	}
	if (err == 0 && (err = script_receive(sc, &answer, &c->why)) == 0)
		err = buf_put(&c->answer, answer.s, answer.len);
	if (err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "%s", script_error(sc));
	script_close(sc);
	buf_release(&head);
	return err;
}

void
scripting_call_run(struct apireq *r, struct scripting_call *c)
{
	struct jstr program;
	struct buf doc;

	buf_init(&doc, TEXT_MAX);
	c->err = read_documents(r, c, &program, &doc);
	if (c->err == 0)
		c->err = call(r, c, program, &doc);
	buf_release(&doc);
}

/* What functions name their errors by, and its status. */
static int
status_of(const char *error)
{
	static const struct {
		const char *name;
		int status;
	} known[] = {{"not_found", 404}, {"bad_request", 400}, {"unauthorized", 401}, {"forbidden", 403},
	    {"method_not_allowed", 405}, {"not_acceptable", 406}, {"conflict", 409}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, error) == 0)
			return known[i].status;
	return 500;
}

void
scripting_call_fail(struct apireq *r, const struct scripting_call *c)
{
	if (c->err == ERR_SCRIPT && c->error[0] != '\0')
		api_error_text(r, status_of(c->error), c->error, c->why.text);
	else
		api_error(r, c->err, &c->why);
}

/* ---- The answer ---- */

/* What a function may answer. */
struct response {
	uint64_t code;
	struct buf body;
	int has_body;
	const char *type; /* of the body, if the function says nothing */
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
	return strcmp(name, "set-cookie") != 0 || !is_session(value);
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
		if ((err = jread_string(j, scratch, &value)) == 0 && may_set(name, value)) {
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

void
scripting_reply(struct apireq *r, struct jstr response, int status)
{
	scripting_reply_as(r, response, status, "text/html; charset=utf-8");
}

void
scripting_reply_as(struct apireq *r, struct jstr response, int status, const char *type)
{
	struct response out = {.code = (uint64_t)status, .type = type};
	size_t len;
	char *data;
	int err;

	buf_init(&out.body, TEXT_MAX);
	err = read_response(r, response, &out);
	if (err != 0 || out.code < 200 || out.code > 599) {
		buf_release(&out.body);
		api_error_text(r, 500, "render_error", "the function's response cannot be sent");
		return;
	}
	api_done(r);
	http_add_header(r->http, "vary", "Accept", 6);
	if (out.type != NULL)
		http_set_static(r->http, "content-type", out.type);
	/* A page that a function makes is of this origin, but must not act for whoever looks at it. */
	if (config_bool(r->api->config, "csp", "showlist_enable", 1))
		http_set_static(r->http, "content-security-policy", "sandbox");
	/* These have no body, and who gets one takes it for the next answer. */
	if (out.code == 204 || out.code == 205 || out.code == 304)
		buf_clear(&out.body);
	data = buf_take(&out.body, &len);
	http_reply_take(r->http, (int)out.code, data, len);
}
