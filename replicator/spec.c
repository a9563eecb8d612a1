/*
 * spec.c: descriptions of replications.
 *
 * Secrets go from the text into struct rep_end and nowhere else: not into the id, not into reasons.
 *
 * The id is made of what decides which documents go where: the ends without what authenticates there but with the name of
 * who does, and which changes are wanted. Whatever else is asked for may change and the checkpoints still hold.
 */
#include "spec.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/httpc.h"
#include "base/jread.h"
#include "base/jtree.h"
#include "base/limits.h"
#include "db/db.h"

#define SPEC_TEXT_MAX ((size_t)64 << 20)
#define SPEC_HEADERS 20u /* that a request has room for */
#define SPEC_DOC_IDS 1000000u

/* Bounds of numbers: what lies outside is taken for the nearest. */
#define BATCH_MAX 10000u
#define WORKERS_MAX 64u
#define CONNECTIONS_MAX 100u
#define RETRIES_MAX 50u
#define HOUR_MS 3600000u

struct reader {
	struct jstr text;
	json_t *o; /* of it; what is kept as text is taken from there */
	struct arena *a;
	struct errtext *why;
	int err;
};

/* ---- Members ---- */

static void
fail(struct reader *r, int err)
{
	if (r->err == 0)
		r->err = err;
}

static void PRINTF_LIKE(2, 3) refuse(struct reader *r, const char *fmt, ...)
{
	char text[ERRTEXT_MAX];
	va_list ap;

	if (r->err != 0)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->err = err_why(r->why, ERR_BAD_REQUEST, "%s", text);
}

/* NULL: not there, or null, which is the same. */
static json_t *
member(const json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	return json_is_null(v) ? NULL : v;
}

static const char *
keep(struct reader *r, const char *s, size_t len)
{
	const char *copy = arena_dup(r->a, s, len);

	if (copy == NULL)
		fail(r, ERR_NOMEM);
	return copy;
}

/* Strings with a NUL in them are no names or URLs. */
static const char *
string_of(struct reader *r, const json_t *v, const char *what)
{
	if (v == NULL)
		return NULL;
	if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)) {
		refuse(r, "parameter `%s` must be a string", what);
		return NULL;
	}
	return keep(r, json_string_value(v), json_string_length(v));
}

static struct jstr
text_of(struct reader *r, const json_t *v)
{
	struct jstr out = {"", 0};
	const char *copy;
	char *text;

	if (v == NULL)
		return out;
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	if (text == NULL) {
		fail(r, ERR_NOMEM);
		return out;
	}
	if ((copy = keep(r, text, strlen(text))) != NULL)
		out = (struct jstr){copy, strlen(text)};
	free(text);
	return out;
}

/* The value of the text's own member ${name}, the last of several; empty: not there, or null. */
static int
span_of(const struct reader *r, const char *name, struct jstr *out)
{
	struct jstr key, value;
	struct buf word;
	struct jread j;
	int err;

	*out = (struct jstr){"", 0};
	buf_init(&word, r->text.len + 64);
	jread_init(&j, r->text.s, r->text.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &word, &key)) == 0) {
		int hit = jstr_is(&key, name);

		err = jread_skip(&j, &value);
		if (err == 0 && hit)
			*out = jstr_is(&value, "null") ? (struct jstr){"", 0} : value;
	}
	buf_release(&word);
	return err == ERR_END ? 0 : err;
}

/* A value as text that is part of the id.  One that a tree has no room for is as it was written, but for white space and the like. */
static struct jstr
kept_text(struct reader *r, const char *name)
{
	struct jstr span, out = {"", 0};
	json_t *tree = NULL;
	struct jread j;
	struct buf b;
	int err = span_of(r, name, &span);

	if (err == 0 && span.len > 0 && (err = jtree_load(span, JTREE_NUL, &tree)) == 0) {
		out = text_of(r, tree);
	} else if (err == ERR_BAD_JSON) {
		buf_init_arena(&b, r->a, SPEC_TEXT_MAX);
		jread_init(&j, span.s, span.len);
		if ((err = jread_text(&j, &b, NULL)) == 0)
			out = (struct jstr){b.data, b.len};
	}
	if (err != 0)
		fail(r, err);
	json_decref(tree);
	return out;
}

static int
flag(struct reader *r, const char *name, int dflt)
{
	const json_t *v = json_object_get(r->o, name);

	if (v == NULL)
		return dflt;
	if (!json_is_boolean(v))
		refuse(r, "parameter `%s` must be a boolean", name);
	return json_is_true(v);
}

/* CouchDB takes the digits of a string, too. */
static uint64_t
number(struct reader *r, const char *name, uint64_t dflt, uint64_t min, uint64_t max)
{
	const json_t *v = member(r->o, name);
	long long n;
	char *end = NULL;

	if (v == NULL)
		return dflt;
	n = json_is_string(v) ? strtoll(json_string_value(v), &end, 10) : json_integer_value(v);
	if (json_is_string(v) ? end == json_string_value(v) || *end != '\0' : !json_is_integer(v)) {
		refuse(r, "parameter `%s` must be an integer", name);
		return dflt;
	}
	return n < (long long)min ? min : (uint64_t)n > max ? max : (uint64_t)n;
}

/* ---- Ends ---- */

/* What says where a request ends, or is of one connection alone, is not the user's. */
static int
is_framing(const char *name)
{
	static const char *const names[] = {
	    "Connection", "Content-Length", "Expect", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade"};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(names[i], name) == 0)
			return 1;
	return 0;
}

/* Neither name nor value may end the line. */
static int
is_header(const char *name, const char *value)
{
	return !is_framing(name) && *name != '\0' && strpbrk(name, "\r\n: ") == NULL && strpbrk(value, "\r\n") == NULL;
}

static void
headers_of(struct reader *r, const json_t *o, struct rep_end *end)
{
	json_t *headers = member(o, "headers");
	const char **lines;
	const char *name;
	json_t *v;

	if (headers == NULL)
		return;
	if (!json_is_object(headers) || json_object_size(headers) > SPEC_HEADERS) {
		refuse(r, "`headers` must be an object of at most %u members", SPEC_HEADERS);
		return;
	}
	if ((lines = arena_calloc(r->a, json_object_size(headers) + 1, sizeof(*lines))) == NULL) {
		fail(r, ERR_NOMEM);
		return;
	}
	json_object_foreach(headers, name, v)
	{
		struct buf b;

		if (!json_is_string(v) || !is_header(name, json_string_value(v))) {
			refuse(r, "`headers` has one that is none");
			return;
		}
		buf_init_arena(&b, r->a, LIMIT_HEAD_LEN);
		buf_printf(&b, "%s: %s", name, json_string_value(v));
		buf_putc(&b, '\0');
		if (buf_failed(&b) != 0)
			fail(r, buf_failed(&b));
		lines[end->nheaders++] = b.data;
	}
	end->headers = lines;
}

static void
auth_of(struct reader *r, const json_t *o, struct rep_end *end)
{
	const json_t *auth = json_object_get(o, "auth"), *basic = member(auth, "basic");

	if (auth != NULL && !json_is_object(auth))
		refuse(r, "`auth` must be an object");
	if (basic == NULL)
		return;
	end->user = string_of(r, member(basic, "username"), "username");
	end->password = string_of(r, member(basic, "password"), "password");
	if (end->user == NULL || end->password == NULL)
		refuse(r, "`auth.basic` must have `username` and `password`");
}

static int
is_url(const char *s)
{
	return strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0;
}

static void
url_of(struct reader *r, const char *text, const char *what, struct rep_end *end)
{
	struct errtext why;
	struct httpc_url u;
	struct buf b;
	int err = httpc_url_split(text, &u, &why);

	if (err == ERR_BAD_REQUEST)
		refuse(r, "`%s` is not a URL: %s", what, why.text);
	else if (err != 0)
		fail(r, err);
	if (err != 0)
		return;
	buf_init_arena(&b, r->a, LIMIT_URL_LEN);
	buf_printf(&b, "%s://%s:%u%s", u.scheme, u.host, u.port, u.path);
	if (u.path[strlen(u.path) - 1] != '/')
		buf_putc(&b, '/');
	buf_putc(&b, '\0');
	if (buf_failed(&b) != 0)
		fail(r, buf_failed(&b));
	end->url = b.data;
	if (u.user != NULL && end->user == NULL) {
		end->user = keep(r, u.user, strlen(u.user));
		end->password =
		    keep(r, u.password != NULL ? u.password : "", u.password != NULL ? strlen(u.password) : 0);
	}
	httpc_url_release(&u);
}

static void
end_of(struct reader *r, const char *what, struct rep_end *end)
{
	json_t *v = member(r->o, what);
	const char *text;
	char proxy[16];

	if (v == NULL) {
		refuse(r, "Missing `%s`", what);
		return;
	}
	if (json_is_object(v)) {
		auth_of(r, v, end);
		headers_of(r, v, end);
		v = member(v, "url");
	}
	if (!json_is_string(v)) {
		refuse(r, "`%s` must be a URL, the name of a database, or an object with `url`", what);
		return;
	}
	if ((text = string_of(r, v, what)) == NULL)
		return;
	if (is_url(text)) {
		url_of(r, text, what, end);
	} else if (strstr(text, "://") != NULL) {
		/* It may have a password in it: it is not repeated. */
		refuse(r, "`%s` is a URL that is not one of http or https", what);
	} else {
		fail(r, dbs_name_check(text, strlen(text), r->why));
		end->name = text;
	}
	snprintf(proxy, sizeof(proxy), "%s_proxy", what);
	end->proxy = string_of(r, member(r->o, proxy), proxy);
	if (end->proxy == NULL)
		end->proxy = string_of(r, member(r->o, "proxy"), "proxy");
	else if (member(r->o, "proxy") != NULL)
		refuse(r, "`proxy` is mutually exclusive with `%s`", proxy);
}

/* Values of create_target_params as those of a query. */
static void
create_of(struct reader *r, struct rep_spec *out)
{
	json_t *params = member(r->o, "create_target_params");
	const char *name;
	json_t *v;
	struct buf b;

	if (params == NULL)
		return;
	if (!json_is_object(params)) {
		refuse(r, "parameter `create_target_params` must be a JSON object");
		return;
	}
	buf_init_arena(&b, r->a, 1024);
	json_object_foreach(params, name, v)
	{
		struct jstr text = text_of(r, v);
		int quoted = json_is_string(v);

		if (strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name) || text.len > 64 ||
		    strpbrk(text.s, "&#% +=") != NULL) {
			refuse(r, "parameter `create_target_params` has one that is none");
			return;
		}
		buf_printf(&b, "%s%s=%.*s", b.len > 0 ? "&" : "", name, (int)text.len - 2 * quoted, text.s + quoted);
	}
	out->create_query = (struct jstr){b.data, b.len};
	if (buf_failed(&b) != 0)
		fail(r, buf_failed(&b));
}

/* ---- Which changes ---- */

/*
 * unquote: As in CouchDB, ids may be percent-encoded; what is no escape stands for itself.  A plus stays a plus: CouchDB,
 * which makes a space of it, copies no document with one.
 */
static struct jstr
unquote(struct reader *r, const json_t *id)
{
	const char *s = json_string_value(id);
	size_t len = json_string_length(id), n = 0;
	char *out = arena_calloc(r->a, len + 1, 1);

	if (out == NULL) {
		fail(r, ERR_NOMEM);
		return (struct jstr){NULL, 0};
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char byte;

		if (s[i] == '%' && len - i > 2 && hex_decode(s + i + 1, 2, &byte) == 0) {
			out[n++] = (char)byte;
			i += 2;
		} else {
			out[n++] = s[i];
		}
	}
	if (jread_utf8_ok(out, n))
		return (struct jstr){out, n};
	memcpy(out, s, len); /* no id would be that */
	return (struct jstr){out, len};
}

static void
doc_ids_of(struct reader *r, const json_t *v, struct peer_filter *f)
{
	struct jstr *ids;
	size_t i, n = 0;

	if (!json_is_array(v) || json_array_size(v) > SPEC_DOC_IDS) {
		refuse(r, "parameter `doc_ids` must be an array");
		return;
	}
	if ((ids = arena_calloc(r->a, json_array_size(v) + 1, sizeof(*ids))) == NULL) {
		fail(r, ERR_NOMEM);
		return;
	}
	for (i = 0; i < json_array_size(v); i++) {
		const json_t *id = json_array_get(v, i);

		if (!json_is_string(id)) {
			refuse(r, "parameter `doc_ids` must be an array of strings");
			return;
		}
		ids[i] = unquote(r, id);
		if (ids[i].s == NULL)
			return;
	}
	qsort(ids, i, sizeof(*ids), jstr_order);
	for (i = 0; i < json_array_size(v); i++)
		if (n == 0 || !jstr_equal(ids[i], ids[n - 1]))
			ids[n++] = ids[i];
	f->doc_ids = ids;
	f->ndoc_ids = n;
}

static void
filter_of(struct reader *r, struct peer_filter *f)
{
	const json_t *ids = member(r->o, "doc_ids"), *selector = member(r->o, "selector");
	const json_t *filter = member(r->o, "filter"), *query = member(r->o, "query_params");
	const char *name;

	if (ids != NULL)
		doc_ids_of(r, ids, f);
	if (selector != NULL && !json_is_object(selector))
		refuse(r, "parameter `selector` must be a JSON object");
	if ((ids != NULL) + (selector != NULL) + (filter != NULL) > 1) {
		refuse(r, "`doc_ids`,`filter`,`selector` are mutually exclusive");
		return;
	}
	if (query != NULL && !json_is_object(query))
		refuse(r, "parameter `query_params` must be an object");
	f->selector = kept_text(r, "selector");
	f->query = kept_text(r, "query_params");
	f->winners = flag(r, "winning_revs_only", 0);
	if ((name = string_of(r, filter, "filter")) != NULL)
		f->filter = (struct jstr){name, strlen(name)};
}

static void
user_of(struct reader *r, struct rep_spec *out)
{
	const json_t *ctx = member(r->o, "user_ctx"), *roles = member(ctx, "roles");
	const char **list;
	size_t i;

	out->user = string_of(r, ctx != NULL ? member(ctx, "name") : member(r->o, "owner"), "owner");
	if (roles == NULL)
		return;
	if (!json_is_array(roles)) {
		refuse(r, "`user_ctx.roles` must be an array");
		return;
	}
	if ((list = arena_calloc(r->a, json_array_size(roles) + 1, sizeof(*list))) == NULL) {
		fail(r, ERR_NOMEM);
		return;
	}
	for (i = 0; i < json_array_size(roles); i++)
		if ((list[i] = string_of(r, json_array_get(roles, i), "user_ctx.roles")) == NULL)
			refuse(r, "`user_ctx.roles` must be an array of strings");
	out->roles = list;
	out->nroles = i;
}

/* ---- The id ---- */

static void
put_end(struct buf *b, const struct rep_end *end)
{
	size_t i;

	buf_puts(b, end->url != NULL ? end->url : end->name);
	buf_putc(b, '\n');
	if (end->user != NULL)
		buf_puts(b, end->user);
	buf_putc(b, '\n');
	for (i = 0; i < end->nheaders; i++)
		if (strncasecmp(end->headers[i], "authorization:", 14) != 0 &&
		    strncasecmp(end->headers[i], "cookie:", 7) != 0) {
			buf_puts(b, end->headers[i]);
			buf_putc(b, '\n');
		}
	buf_putc(b, '\0');
}

static void
id_of(struct reader *r, const struct rep_defaults *d, struct rep_spec *out)
{
	const struct peer_filter *f = &out->filter;
	unsigned char md5[MD5_LEN];
	struct buf b;
	char *id;
	size_t i;

	buf_init(&b, SPEC_TEXT_MAX);
	buf_puts(&b, d->server);
	buf_putc(&b, '\n');
	put_end(&b, &out->source);
	put_end(&b, &out->target);
	if (f->doc_ids != NULL)
		buf_puts(&b, "doc_ids");
	for (i = 0; i < f->ndoc_ids; i++)
		buf_put_json(&b, f->doc_ids[i].s, f->doc_ids[i].len);
	buf_puts(&b, "\nselector");
	buf_put(&b, f->selector.s, f->selector.len);
	buf_puts(&b, "\nfilter");
	buf_put(&b, f->filter.s, f->filter.len);
	buf_puts(&b, "\nquery");
	buf_put(&b, f->query.s, f->query.len);
	buf_puts(&b, f->winners ? "\nwinners" : "");
	/* What lies before it is not copied: its checkpoints say nothing of that. */
	if (out->since.len > 0)
		buf_puts(&b, "\nsince");
	buf_put(&b, out->since.s, out->since.len);
	if ((id = arena_calloc(r->a, REP_ID_LEN + sizeof("+continuous+create_target"), 1)) == NULL ||
	    buf_failed(&b) != 0) {
		fail(r, ERR_NOMEM);
	} else {
		hash_md5(b.data, b.len, md5);
		hex_encode(md5, sizeof(md5), id);
		(void)snprintf(id + REP_ID_LEN, sizeof("+continuous+create_target"), "%s%s",
		    out->continuous ? "+continuous" : "", out->create_target ? "+create_target" : "");
		out->id = id;
	}
	buf_release(&b);
}

/* ---- All of it ---- */

static void
spec_of(struct reader *r, const struct rep_defaults *d, struct rep_spec *out)
{
	(void)flag(r, "cancel", 0); /* what it asks for is the caller's business */
	end_of(r, "source", &out->source);
	end_of(r, "target", &out->target);
	out->create_target = flag(r, "create_target", 0);
	create_of(r, out);
	out->continuous = flag(r, "continuous", 0);
	filter_of(r, &out->filter);
	out->since = kept_text(r, "since_seq");
	out->checkpoints = flag(r, "use_checkpoints", d->checkpoints);
	out->checkpoint_ms = number(r, "checkpoint_interval", d->checkpoint_ms, 1, HOUR_MS);
	out->workers = (unsigned)number(r, "worker_processes", d->workers, 1, WORKERS_MAX);
	out->batch = (unsigned)number(r, "worker_batch_size", d->batch, 1, BATCH_MAX);
	out->connections = (unsigned)number(r, "http_connections", d->connections, 1, CONNECTIONS_MAX);
	out->timeout_ms = number(r, "connection_timeout", d->timeout_ms, 100, HOUR_MS);
	out->retries = (unsigned)number(r, "retries_per_request", d->retries, 0, RETRIES_MAX);
	out->bulk_get = flag(r, "use_bulk_get", d->bulk_get);
	user_of(r, out);
	if (r->err == 0)
		id_of(r, d, out);
}

int
spec_parse(struct jstr text, const struct rep_defaults *d, struct arena *a, struct rep_spec *out, struct errtext *why)
{
	struct reader r = {.text = text, .a = a, .why = why};

	*out = (struct rep_spec){.create_query = {"", 0}, .since = {"", 0}, .filter = {.filter = {"", 0}}};
	if (why != NULL)
		why->text[0] = '\0';
	if ((r.err = jtree_load(text, JTREE_NUL | JTREE_NEAR, &r.o)) != 0)
		return r.err;
	if (!json_is_object(r.o))
		r.err = err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	else
		spec_of(&r, d, out);
	json_decref(r.o);
	return r.err;
}

int
spec_end_shown(const struct rep_end *end, struct buf *b)
{
	const char *rest = end->url;

	if (rest == NULL)
		return buf_puts(b, end->name);
	if (end->user != NULL) {
		rest = strstr(end->url, "://") + 3;
		buf_put(b, end->url, (size_t)(rest - end->url));
		buf_puts(b, end->user);
		buf_puts(b, ":*****@");
	}
	return buf_puts(b, rest);
}
