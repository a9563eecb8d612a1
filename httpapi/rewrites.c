/*
 * rewrites.c: /{db}/_design/{d}/_rewrite/...: the request goes on as one of another path, which the design document's rules name, or
 * its function.
 *
 *	rewrites_any -> look: a list of rules: the first whose method and "from" fit -> "to", with what "from" and the query have bound
 *	             -> a function: (a thread that may wait) -> its path, or its own answer
 *
 * A large design document is read off the event loop, and so is what a function answers.
 *
 * 1. A path stays within its database, whatever the rules, the function and the request say: who may write a design
 *    document of one database is not to send an administrator who follows its links elsewhere.
 * 2. What it goes on as is routed like a request: rights are looked at there.
 * 3. A request is sent on so many times at most.
 */
#include "scripting.h"

#include <stdio.h>

#include "base/limits.h"
#include "router.h"

#define PARTS 4u      /* {db}, "_design", {d}, "_rewrite" */
#define SEGMENTS 64u  /* of a path */
#define PAIRS 128u    /* bound names */
#define NESTED 16u    /* values in a rule's query */
#define REWRITES 100u /* httpd/rewrite_limit's default in CouchDB */
#define TEXT_MAX ((size_t)16 << 20)

/* A name and its value, as JSON text. */
struct pair {
	struct jstr name, json;
};

struct pairs {
	size_t n;
	struct pair v[PAIRS];
};

struct segments {
	size_t n;
	struct jstr v[SEGMENTS];
};

struct rewrite {
	struct apireq *r;
	struct scripting_call call;
	struct jstr program, rules;
	struct segments in; /* what stands behind _rewrite */
	struct pairs bound; /* by "from", then by the query */
	struct pairs query; /* of the rule */
	struct jstr formats;
	struct segments out;
	struct buf scratch;
	struct buf to_query;
	const char *to_method; /* NULL: the request's own */
	int here, large;       /* on the event loop, where this is not to be read */
	int err;
	int is_answer; /* what the function said is the answer itself */
};

/* ---- Texts ---- */

static int
same(struct jstr a, struct jstr b)
{
	return a.len == b.len && memcmp(a.s, b.s, a.len) == 0;
}

static struct jstr
quoted(struct apireq *r, struct jstr s)
{
	struct buf b;

	buf_init_arena(&b, r->arena, TEXT_MAX);
	buf_put_json(&b, s.s, s.len);
	return (struct jstr){b.data, buf_failed(&b) ? 0 : b.len};
}

/* plain: A string's characters; anything else as it stands. */
static struct jstr
plain(struct rewrite *w, struct jstr json)
{
	struct jread j;
	struct jstr s = json;

	jread_init(&j, json.s, json.len);
	if (jread_peek(&j) != JREAD_STRING || jread_string(&j, &w->scratch, &s) != 0)
		return json;
	s.s = arena_dup(w->r->arena, s.s, s.len);
	return s.s != NULL ? s : (struct jstr){"", 0};
}

static int
is_key(struct jstr name)
{
	static const char *const names[] = {"key", "startkey", "start_key", "endkey", "end_key", "keys"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (jstr_is(&name, names[i]))
			return 1;
	return 0;
}

static int
add_pair(struct pairs *p, struct jstr name, struct jstr json)
{
	if (p->n == PAIRS)
		return ERR_BAD_REQUEST;
	p->v[p->n++] = (struct pair){name, json};
	return 0;
}

static const struct jstr *
value_of(const struct pairs *p, struct jstr name)
{
	for (size_t i = 0; i < p->n; i++)
		if (same(p->v[i].name, name))
			return &p->v[i].json;
	return NULL;
}

/* member: Of a JSON object; 0: it has none. */
static int
member(struct rewrite *w, struct jstr object, const char *name, struct jstr *out)
{
	struct jread j;
	struct jstr key;

	jread_init(&j, object.s, object.len);
	if (jread_peek(&j) != JREAD_OBJECT || jread_object_begin(&j) != 0)
		return 0;
	while (jread_object_next(&j, &w->scratch, &key) == 0) {
		int found = jstr_is(&key, name);

		(void)jread_peek(&j);
		if (jread_skip(&j, out) != 0)
			return 0;
		if (found)
			return 1;
	}
	return 0;
}

/* split: ${path} at its slashes; empty parts do not count. */
static int
split(struct jstr path, struct segments *out)
{
	const char *p = path.s, *end = p + path.len;

	out->n = 0;
	while (p < end) {
		const char *slash = memchr(p, '/', (size_t)(end - p)), *stop = slash != NULL ? slash : end;

		if (stop > p) {
			if (out->n == SEGMENTS)
				return ERR_BAD_REQUEST;
			out->v[out->n++] = (struct jstr){p, (size_t)(stop - p)};
		}
		p = stop + 1;
	}
	return 0;
}

/* ---- Where it goes ---- */

/* normal: Without "." and ".."; ERR_FORBIDDEN if it leaves the database, whose name is the first. */
static int
normal(struct segments *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (jstr_is(&s->v[i], "."))
			continue;
		if (!jstr_is(&s->v[i], ".."))
			s->v[n++] = s->v[i];
		else if (--n == 0)
			return ERR_FORBIDDEN;
	}
	s->n = n;
	return 0;
}

/* put_path: ${encoded}: the segments are so already, but for those of the prefix. */
static int
put_path(struct buf *b, const struct segments *s, int encoded)
{
	for (size_t i = 0; i < s->n; i++) {
		buf_putc(b, '/');
		if (encoded && i > 0)
			buf_put(b, s->v[i].s, s->v[i].len);
		else
			api_url_encode(b, s->v[i].s, s->v[i].len);
	}
	return buf_failed(b);
}

static void
insecure(struct apireq *r)
{
	api_error_text(r, 500, "insecure_rewrite_rule", "too many ../.. segments");
}

/* go_on: To what w->out says, below the design document. */
static void
go_on(struct rewrite *w, int encoded)
{
	struct apireq *r = w->r;
	struct segments all = {.n = 3, .v = {r->part[0], {"_design", 7}, r->part[2]}};
	struct buf b;
	int err;

	if (r->rewrites++ >= REWRITES) {
		api_error_text(r, 400, "bad_request", "Exceeded rewrite recursion limit");
		return;
	}
	/* What does not fit is no shorter path. */
	if (w->out.n > SEGMENTS - all.n) {
		api_error(r, ERR_BAD_REQUEST, NULL);
		return;
	}
	for (size_t i = 0; i < w->out.n; i++)
		all.v[all.n++] = w->out.v[i];
	if (normal(&all) != 0) {
		insecure(r);
		return;
	}
	buf_init_arena(&b, r->arena, 8 * LIMIT_URL_LEN);
	err = put_path(&b, &all, encoded);
	if (w->to_method != NULL)
		r->method = w->to_method;
	if (err == 0)
		err = api_path(r, (struct jstr){b.data, b.len}, (struct jstr){w->to_query.data, w->to_query.len});
	if (err != 0)
		api_error(r, err, NULL);
	else
		router_go(r);
}

/* ---- Rules ---- */

/* fits_from: 1 if the request's segments are those of ${from}; what it names is bound, as CouchDB does the last first. */
static int
fits_from(struct rewrite *w, const struct segments *from, size_t *restp)
{
	size_t i;

	w->bound.n = 0;
	for (i = 0; i < from->n; i++) {
		const struct jstr *token = &from->v[i];

		if (i == w->in.n)
			return 0;
		if (jstr_is(token, "*")) {
			*restp = i;
			return add_pair(&w->bound, *token, quoted(w->r, w->in.v[i])) == 0;
		}
		if (token->len > 1 && token->s[0] == ':') {
			if (add_pair(
				&w->bound, (struct jstr){token->s + 1, token->len - 1}, quoted(w->r, w->in.v[i])) != 0)
				return 0;
		} else if (!same(*token, w->in.v[i])) {
			return 0;
		}
	}
	*restp = w->in.n;
	return i == w->in.n;
}

static int
bind_query(struct rewrite *w)
{
	const struct apireq *r = w->r;
	int err = 0;

	for (size_t i = 0; i < r->nparams && err == 0; i++) {
		const struct api_param *p = &r->params[i];

		err = add_pair(&w->bound, p->name, is_key(p->name) ? p->value : quoted(w->r, p->value));
	}
	return err;
}

/* put_bound: The value of what a rule's string names, or the string. */
static int
put_bound(struct rewrite *w, struct jstr s, struct buf *b)
{
	int names = jstr_is(&s, "*") || (s.len > 1 && s.s[0] == ':');
	struct jstr name = jstr_is(&s, "*") ? s : (struct jstr){s.s + 1, s.len - 1}, format, text;
	const struct jstr *value = names ? value_of(&w->bound, name) : NULL;
	char key[64];

	if (value == NULL)
		return buf_put_json(b, s.s, s.len);
	if (name.len < sizeof(key)) {
		memcpy(key, name.s, name.len);
		key[name.len] = '\0';
		if (member(w, w->formats, key, &format) && jstr_is(&format, "\"int\"")) {
			text = plain(w, *value);
			for (size_t i = 0; i < text.len; i++)
				if (text.s[i] < '0' || text.s[i] > '9')
					return buf_put(b, value->s, value->len);
			return text.len > 0 ? buf_put(b, text.s, text.len) : buf_put(b, value->s, value->len);
		}
	}
	return buf_put(b, value->s, value->len);
}

/* put_value: A value of a rule's query, with what its strings name. */
static int
put_value(struct rewrite *w, struct jread *j, struct buf *b, unsigned depth)
{
	int array = jread_peek(j) == JREAD_ARRAY, err, first = 1;
	struct jstr s;

	if (jread_peek(j) == JREAD_STRING) {
		err = jread_string(j, &w->scratch, &s);
		if (err == 0 && (s.s = arena_dup(w->r->arena, s.s, s.len)) == NULL)
			err = ERR_NOMEM;
		return err != 0 ? err : put_bound(w, s, b);
	}
	if (!array || depth == NESTED) {
		err = jread_skip(j, &s);
		return err != 0 ? err : buf_put(b, s.s, s.len);
	}
	buf_putc(b, '[');
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		buf_puts(b, first ? "" : ",");
		first = 0;
		err = put_value(w, j, b, depth + 1);
	}
	return err == ERR_END ? buf_putc(b, ']') : err;
}

static int
fill_query(struct rewrite *w, struct jstr rule)
{
	struct jstr query, key;
	struct buf names;
	struct jread j;
	int err = 0;

	w->query.n = 0;
	if (!member(w, rule, "formats", &w->formats))
		w->formats = (struct jstr){"{}", 2};
	if (!member(w, rule, "query", &query))
		return 0;
	jread_init(&j, query.s, query.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return 0;
	buf_init(&names, query.len + API_SCRATCH);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &names, &key)) == 0) {
		struct jstr name = {arena_dup(w->r->arena, key.s, key.len), key.len};
		struct buf b;

		buf_init_arena(&b, w->r->arena, TEXT_MAX);
		err = name.s == NULL ? ERR_NOMEM : put_value(w, &j, &b, 0);
		if (err == 0)
			err = add_pair(&w->query, name, (struct jstr){b.data, b.len});
	}
	buf_release(&names);
	return err == ERR_END ? 0 : err;
}

/* put_pair: ${keys}: what views take for keys goes as JSON. */
static void
put_pair(struct rewrite *w, struct buf *b, const struct pair *p, int keys)
{
	struct jstr value = keys && is_key(p->name) ? p->json : plain(w, p->json);

	if (jstr_is(&p->name, "*"))
		return;
	buf_puts(b, b->len > 0 ? "&" : "");
	api_url_encode(b, p->name.s, p->name.len);
	buf_putc(b, '=');
	api_url_encode(b, value.s, value.len);
}

/* put_query: What the rule's query has; and all that is bound but not named there. */
static int
put_query(struct rewrite *w, struct buf *b)
{
	for (size_t i = 0; i < w->bound.n; i++)
		if (value_of(&w->query, w->bound.v[i].name) == NULL)
			put_pair(w, b, &w->bound.v[i], 1);
	for (size_t i = 0; i < w->query.n; i++)
		put_pair(w, b, &w->query.v[i], 1);
	return buf_failed(b);
}

/* fill_to: ERR_FORBIDDEN: the rule leaves the database. */
static int
fill_to(struct rewrite *w, const struct segments *to, size_t rest)
{
	unsigned up = 0;

	w->out.n = 0;
	for (size_t i = 0; i < to->n; i++) {
		struct jstr s = to->v[i];
		const struct jstr *value;

		up += jstr_is(&s, "..");
		if (up > 2)
			return ERR_FORBIDDEN;
		if (jstr_is(&s, "*")) {
			for (; rest < w->in.n && w->out.n < SEGMENTS; rest++)
				w->out.v[w->out.n++] = w->in.v[rest];
			return rest == w->in.n ? 0 : ERR_BAD_REQUEST;
		}
		if (s.len > 1 && s.s[0] == ':') {
			const struct jstr name = {s.s + 1, s.len - 1};

			value =
			    value_of(&w->query, name) != NULL ? value_of(&w->query, name) : value_of(&w->bound, name);
			s = value != NULL ? plain(w, *value) : (struct jstr){"undefined", 9};
		}
		w->out.v[w->out.n++] = s;
	}
	return 0;
}

/* try_rule: ERR_MISSING: it does not fit. */
static int
try_rule(struct rewrite *w, struct jstr rule, struct buf *query)
{
	struct jstr method, from = {"\"*\"", 3}, to;
	struct segments from_parts, to_parts;
	size_t rest;
	int err;

	if (member(w, rule, "method", &method)) {
		method = plain(w, method);
		if (!jstr_is(&method, "*") && !jstr_is(&method, w->r->method))
			return ERR_MISSING;
	}
	(void)member(w, rule, "from", &from);
	if (!member(w, rule, "to", &to))
		return err_why(&w->call.why, ERR_BAD_REQUEST, "invalid_rewrite_target");
	if ((err = split(plain(w, from), &from_parts)) != 0 || (err = split(plain(w, to), &to_parts)) != 0)
		return err;
	if (!fits_from(w, &from_parts, &rest))
		return ERR_MISSING;
	if ((err = bind_query(w)) != 0 || (err = fill_query(w, rule)) != 0 || (err = fill_to(w, &to_parts, rest)) != 0)
		return err;
	return put_query(w, query);
}

/* try_rules: ERR_FORBIDDEN: that which fits leaves the database. */
static int
try_rules(struct rewrite *w)
{
	struct jread j;
	struct jstr rule;
	int err;

	jread_init(&j, w->rules.s, w->rules.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		(void)jread_peek(&j);
		if ((err = jread_skip(&j, &rule)) != 0)
			break;
		if ((err = try_rule(w, rule, &w->to_query)) != ERR_MISSING)
			break;
		err = 0;
	}
	return err == ERR_END ? ERR_MISSING : err;
}

static void
by_rules(struct rewrite *w)
{
	if (w->err == 0)
		go_on(w, 0);
	else if (w->err == ERR_FORBIDDEN)
		insecure(w->r);
	else
		api_error(w->r, w->err, &w->call.why);
}

/* ---- A function ---- */

static void
ask(struct apireq *r, struct rewrite *w)
{
	struct scripting_call *c = &w->call;
	const struct jstr parts[] = {{"[[\"rewrites\"],", 14}, {c->request.data, c->request.len}, {"]", 1}};
	struct script *sc;
	struct jstr answer;

	c->err = script_open(r->api->scripts, r->part[0].s, w->program, &sc, &c->why);
	if (c->err != 0)
		return;
	if ((c->err = script_send(sc, SCRIPT_DESIGN, parts, 3)) == 0 &&
	    (c->err = script_receive(sc, &answer, &c->why)) == 0)
		c->err = buf_put(&c->answer, answer.s, answer.len);
	if (c->err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "%s", script_error(sc));
	script_close(sc);
}

static const char *
method_named(struct jstr name)
{
	static const char *const may[] = {"GET", "PUT", "DELETE", "COPY", "POST"};

	for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++)
		if (jstr_is(&name, may[i]))
			return may[i];
	return jstr_is(&name, "HEAD") ? "GET" : NULL;
}

/* put_params: The request's own query. */
static void
put_params(struct buf *b, const struct apireq *r)
{
	for (size_t i = 0; i < r->nparams; i++) {
		buf_puts(b, b->len > 0 ? "&" : "");
		api_url_encode(b, r->params[i].name.s, r->params[i].name.len);
		buf_putc(b, '=');
		api_url_encode(b, r->params[i].value.s, r->params[i].value.len);
	}
}

/* take_query: Of the function's answer. */
static int
take_query(struct rewrite *w, struct jstr given)
{
	struct buf rule;
	int err;

	buf_init_arena(&rule, w->r->arena, given.len + 16);
	buf_puts(&rule, "{\"query\":");
	buf_put(&rule, given.s, given.len);
	w->bound.n = 0;
	if ((err = buf_putc(&rule, '}')) == 0)
		err = fill_query(w, (struct jstr){rule.data, rule.len});
	for (size_t i = 0; i < w->query.n && err == 0; i++)
		put_pair(w, &w->to_query, &w->query.v[i], 0);
	return err;
}

/* take_path: One from the root names the database. */
static int
take_path(struct rewrite *w, struct jstr path)
{
	int err = split(path, &w->out);

	if (err != 0 || path.len == 0 || path.s[0] != '/')
		return err;
	if (w->out.n == 0 || !same(w->out.v[0], w->r->part[0]))
		return ERR_FORBIDDEN;
	memmove(&w->out.v[2], &w->out.v[1], (w->out.n < SEGMENTS ? w->out.n - 1 : SEGMENTS - 2) * sizeof(w->out.v[0]));
	w->out.n = w->out.n < SEGMENTS ? w->out.n + 1 : SEGMENTS;
	w->out.v[0] = w->out.v[1] = (struct jstr){"..", 2};
	return 0;
}

/*
 * read_answer: {"path","query","method"}; the path may have a query of its own.  Without either the request keeps its own.
 * ERR_END: there is no path.  ERR_FORBIDDEN: it leaves the database.
 */
static int
read_answer(struct rewrite *w, struct jstr answer)
{
	struct jstr path, more, method;
	const char *mark;
	int err = 0;

	if (!member(w, answer, "path", &path))
		return ERR_END;
	path = plain(w, path);
	if ((mark = memchr(path.s, '?', path.len)) != NULL) {
		buf_put(&w->to_query, mark + 1, (size_t)(path.s + path.len - mark) - 1);
		path.len = (size_t)(mark - path.s);
	}
	if (member(w, answer, "query", &more))
		err = take_query(w, more);
	else if (mark == NULL)
		put_params(&w->to_query, w->r);
	if (member(w, answer, "method", &method))
		w->to_method = method_named(plain(w, method));
	return err != 0 ? err : take_path(w, path);
}

static void
run(struct apireq *r)
{
	struct rewrite *w = r->cookie;
	struct jstr answer, code;

	ask(r, w);
	answer = (struct jstr){w->call.answer.data, w->call.answer.len};
	if (w->call.err != 0)
		return;
	if (answer.len == 0 || answer.s[0] != '{')
		w->err = ERR_MISSING;
	else if (member(w, answer, "code", &code))
		w->is_answer = 1;
	else
		w->err = read_answer(w, answer);
}

static void
answered(struct apireq *r)
{
	struct rewrite *w = r->cookie;

	if (w->call.err != 0)
		scripting_call_fail(r, &w->call);
	else if (w->is_answer)
		scripting_reply(r, (struct jstr){w->call.answer.data, w->call.answer.len}, 200);
	else if (w->err == ERR_MISSING)
		api_error_text(r, 404, "rewrite_error", "Invalid path.");
	else if (w->err == ERR_END)
		api_error_text(r, 500, "rewrite_error", "bad rewrite");
	else if (w->err == ERR_FORBIDDEN)
		insecure(r);
	else if (w->err != 0)
		api_error(r, w->err, NULL);
	else
		go_on(w, 1);
}

static void
by_function(struct rewrite *w)
{
	struct apireq *r = w->r;
	struct jstr none = {"", 0};
	int err = scripting_put_request(&w->call.request, r, none, NULL);

	if (err != 0)
		api_error(r, err, NULL);
	else
		api_work_slow(r, run, answered);
}

/* ---- The way in ---- */

/* read_segments: Behind {d}/_rewrite, decoded one by one, for they may hold slashes. */
static int
read_segments(struct rewrite *w)
{
	struct apireq *r = w->r;
	struct segments all;
	int err = split((struct jstr){r->raw_rest, r->raw_rest_len}, &all);

	for (size_t i = 3; i < all.n && err == 0; i++)
		err = api_url_decode(r->arena, all.v[i].s, all.v[i].len, 0, &w->in.v[w->in.n++]);
	return err;
}

static int
read_rules(struct rewrite *w)
{
	struct jstr id, ddoc;
	struct db_snap *snap;
	struct db_doc doc;
	int err = api_ddoc_id(w->r, w->r->part[2], &id);

	if (err != 0 || (err = db_snap_begin(w->r->db, &snap)) != 0)
		return err;
	if (w->here && (err = db_get(snap, id.s, id.len, w->r->arena, &doc)) == 0)
		w->large = db_doc_is_large(&doc);
	if (err == 0 && !w->large)
		err = scripting_program(snap, id, w->r->arena, &w->program);
	db_snap_end(snap);
	if (err == 0 && !w->large && (!member(w, w->program, "ddoc", &ddoc) || !member(w, ddoc, "rewrites", &w->rules)))
		w->rules = (struct jstr){"", 0};
	return err;
}

static int
has_rules(const struct rewrite *w)
{
	return w->rules.len > 0 && w->rules.s[0] == '[';
}

static void
look(struct apireq *r)
{
	struct rewrite *w = r->cookie;

	w->err = read_rules(w);
	if (w->err != 0 || w->large)
		return;
	if (has_rules(w))
		w->err = try_rules(w);
}

static void
looked(struct apireq *r)
{
	struct rewrite *w = r->cookie;

	if (has_rules(w))
		by_rules(w);
	else if (w->err != 0)
		api_error(r, w->err, NULL);
	else if (w->rules.len > 0 && w->rules.s[0] == '"')
		by_function(w);
	else
		api_error_text(r, 404, "rewrite_error", "Invalid path.");
}

void
rewrites_any(struct apireq *r)
{
	struct rewrite *w = arena_calloc(r->arena, 1, sizeof(*w));
	int err;

	if (w == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	w->r = r;
	r->cookie = w;
	scripting_call_init(&w->call, r->arena);
	buf_init_arena(&w->scratch, r->arena, TEXT_MAX);
	buf_init_arena(&w->to_query, r->arena, 8 * LIMIT_URL_LEN);
	if ((err = read_segments(w)) != 0) {
		api_error(r, err, NULL);
		return;
	}
	/* Most design documents are small; only the first look tells. */
	w->here = 1;
	look(r);
	if (!w->large) {
		looked(r);
		return;
	}
	w->here = w->large = 0;
	(void)api_work(r, look, looked);
}
