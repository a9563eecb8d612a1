/*
 * node_config.c: /_node/{name}/_config: settings over HTTP.
 *
 * A changed value holds at once and is kept in the data folder, unless X-Couch-Persist says false.  What is secret is
 * shown as HIDDEN, and that text is not taken for a new value: who reads settings and writes them back changes none.
 */
#include "node.h"

#include <strings.h>

#include "config_known.h"
#include "secret.h"
#include "setup.h"
#include "users.h"

#define NODE_VALUE_MAX ((size_t)1 << 20) /* bytes of an answer about the configuration */
#define HIDDEN "********"

static void
put_string(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	if (jread_utf8_ok(s, len))
		buf_put_json(b, s, len);
	else
		buf_puts(b, "\"\"");
}

/* What is shown of a value: of a secret nothing, of a password's hash its kind, by which clients know that it is one. */
static void
put_shown(struct buf *b, const char *section, const char *key, const char *value)
{
	const char *dash = *value == '-' ? strchr(value + 1, '-') : NULL;
	char kind[64];

	if (*value == '\0' || !config_known_is_secret(section, key)) {
		put_string(b, value);
		return;
	}
	if (strcmp(section, "admins") != 0 || !secret_is_hashed(value) || !dash || dash - value > 32)
		dash = NULL;
	snprintf(kind, sizeof(kind), "%.*s" HIDDEN, dash ? (int)(dash - value) + 1 : 0, value);
	put_string(b, kind);
}

static int
is_hidden(const char *value)
{
	size_t len = strlen(value), n = strlen(HIDDEN);

	return len >= n && strcmp(value + len - n, HIDDEN) == 0;
}

static void
unknown(struct apireq *r)
{
	api_error_text(r, 404, "not_found", "unknown_config_value");
}

/* An object being written from the configuration's pairs, which come in no order of sections. */
struct dump {
	const struct config *c;
	struct buf *b;
	const char *section;
	size_t count;
};

static int
put_pair(const char *key, const char *value, void *cookie)
{
	struct dump *d = cookie;

	if (d->count++ > 0)
		buf_putc(d->b, ',');
	put_string(d->b, key);
	buf_putc(d->b, ':');
	put_shown(d->b, d->section, key, value);
	return buf_failed(d->b);
}

static void
put_section(const struct config *c, const char *section, struct buf *b)
{
	struct dump d = {c, b, section, 0};

	buf_putc(b, '{');
	config_each(c, section, put_pair, &d);
	buf_putc(b, '}');
}

/* The first key of a section; finds out whether another pair began it. */
static int
first_key(const char *key, const char *value, void *cookie)
{
	const char **first = cookie;

	(void)value;
	*first = key;
	return 1;
}

static int
put_all(const char *section, const char *key, const char *value, void *cookie)
{
	struct dump *d = cookie;
	const char *first = NULL;

	(void)value;
	config_each(d->c, section, first_key, &first);
	if (!first || strcmp(first, key) != 0)
		return 0;
	if (d->count++ > 0)
		buf_putc(d->b, ',');
	put_string(d->b, section);
	buf_putc(d->b, ':');
	put_section(d->c, section, d->b);
	return buf_failed(d->b);
}

static void
show_sections(struct apireq *r)
{
	struct buf b;
	struct dump d = {r->api->config, &b, NULL, 0};

	buf_init(&b, NODE_VALUE_MAX);
	buf_putc(&b, '{');
	if (r->nparts == 3)
		config_all(d.c, put_all, &d);
	buf_putc(&b, '}');
	if (r->nparts > 3) {
		buf_clear(&b);
		put_section(d.c, r->part[3].s, &b);
	}
	api_json(r, 200, &b);
}

static void
show_value(struct apireq *r, const char *value)
{
	const char *section = r->part[3].s, *key = r->part[4].s;
	struct buf b;

	buf_init(&b, NODE_VALUE_MAX);
	put_shown(&b, section, key, value);
	api_json(r, 200, &b);
}

/* ---- Changes ---- */

/* A change on its way; lives in the request's arena. */
struct change {
	const char *value; /* NULL: DELETE */
	const char *old;
	int keep;
	int err;
};

static void
change_end(struct apireq *r)
{
	struct change *c = r->cookie;

	if (c->err)
		api_error(r, c->err, NULL);
	else
		show_value(r, c->old);
}

/* Passwords are not kept: as at the start, so here. */
static int
hash_password(struct apireq *r, struct change *c)
{
	char *out = arena_alloc(r->arena, SECRET_LEN);
	int err = ERR_NOMEM;

	if (out)
		err = secret_hash(c->value, strlen(c->value), users_iterations(r->api->config), out);
	c->value = out;
	return err;
}

/* On an executor thread: a password costs a good part of a second, and the file is synced. */
static void
change_work(struct apireq *r)
{
	struct change *c = r->cookie;
	const char *section = r->part[3].s;

	if (c->value && *c->value && strcmp(section, "admins") == 0 && !secret_is_hashed(c->value))
		c->err = hash_password(r, c);
	if (!c->err)
		c->err = config_change(r->api->config, section, r->part[4].s, c->value, c->keep);
}

static int
is_false(const struct jstr *v)
{
	return v->s && v->len == 5 && strncasecmp(v->s, "false", 5) == 0;
}

static void
begin_change(struct apireq *r, struct change *c)
{
	struct jstr persist = http_header(r->http, "x-couch-persist");

	c->old = config_shown(r->api->config, r->part[3].s, r->part[4].s);
	if (!c->old)
		c->old = "";
	c->keep = !is_false(&persist);
	r->cookie = c;
	api_work(r, change_work, change_end);
}

/* Without the white space around it, as CouchDB keeps it. */
static struct jstr
trim(struct jstr s)
{
	while (s.len > 0 && strchr(" \t\r\n", s.s[s.len - 1]))
		s.len--;
	while (s.len > 0 && strchr(" \t\r\n", *s.s)) {
		s.s++;
		s.len--;
	}
	return s;
}

static int
read_value(struct apireq *r, struct change *c, struct errtext *why)
{
	struct jstr body, value;
	struct jread j;
	struct buf scratch;
	int err = api_body(r, &body, why);

	if (err)
		return err;
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_STRING) {
		err = jread_skip(&j, NULL);
		err = err ? err : jread_end(&j);
		return err ? err : err_why(why, ERR_BAD_REQUEST, "a JSON string expected");
	}
	buf_init(&scratch, body.len + API_SCRATCH);
	err = jread_string(&j, &scratch, &value);
	err = err ? err : jread_end(&j);
	if (!err && memchr(value.s, '\0', value.len))
		err = err_why(why, ERR_BAD_REQUEST, "a value must not hold a zero byte");
	if (!err && value.len > NODE_VALUE_MAX / 8)
		err = ERR_TOO_LARGE;
	if (!err) {
		value = trim(value);
		c->value = arena_dup(r->arena, value.s, value.len);
		err = c->value ? 0 : ERR_NOMEM;
	}
	buf_release(&scratch);
	return err;
}

static int
check_value(struct apireq *r, const struct change *c, struct errtext *why)
{
	const char *section = r->part[3].s, *key = r->part[4].s;
	struct errtext must = {""};

	if (!jread_utf8_ok(section, r->part[3].len) || !jread_utf8_ok(key, r->part[4].len))
		return err_why(why, ERR_BAD_REQUEST, "section and key must be UTF-8");
	if (config_known_is_secret(section, key) && is_hidden(c->value))
		return err_why(why, ERR_BAD_REQUEST, "this stands for a secret that is not shown");
	if (config_known_check(section, key, c->value, &must))
		return err_why(why, ERR_BAD_REQUEST, "%s/%s %s", section, key, must.text);
	return 0;
}

static void
set_value(struct apireq *r)
{
	struct errtext why = {""};
	struct change *c = arena_calloc(r->arena, 1, sizeof(*c));
	int err = c ? read_value(r, c, &why) : ERR_NOMEM;

	err = err ? err : check_value(r, c, &why);
	if (err)
		api_error(r, err, &why);
	else
		begin_change(r, c);
}

/* ---- What may be changed ---- */

/*
 * Sections whose change would let programs run, in CouchDB; and settings that say what divand may do, and which files
 * are written, or shown to everybody: who administers the server over HTTP is not therefore an account of the machine.
 */
static int
is_barred(const char *section, const char *key)
{
	static const char *const files[][2] = {{"couchdb", "database_dir"}, {"couchdb", "view_index_dir"},
	    {"divan", "web_dir"}, {"divan", "user"}, {"divan", "confine"}, {"divan", "core_dumps"},
	    {"divan", "write_also"}, {"log", "file"}, {"log", "writer"}};
	static const char *const sections[] = {"daemons", "external", "httpd_design_handlers", "httpd_db_handlers",
	    "httpd_global_handlers", "native_query_servers", "os_daemons", "query_servers"};

	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		if (strcmp(section, sections[i]) == 0)
			return 1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (strcmp(section, files[i][0]) == 0 && strcmp(key, files[i][1]) == 0)
			return 1;
	return 0;
}

/* One word of a pair: chttpd, "chttpd" or <<"chttpd">>. */
static int
is_word(const char *from, const char *to, const char *word)
{
	static const char marks[] = " \t\r\n<>\"'";

	while (from < to && strchr(marks, *from))
		from++;
	while (to > from && strchr(marks, to[-1]))
		to--;
	return (size_t)(to - from) == strlen(word) && memcmp(from, word, (size_t)(to - from)) == 0;
}

/*
 * Does a list such as "[{chttpd,config_whitelist}, {log,level}]" or "log/level, cors/origins" name the setting?
 * *${pairsp}: how many it names; what is no pair is passed over.
 */
static int
names(const char *list, const char *section, const char *key, unsigned *pairsp)
{
	int found = 0;

	*pairsp = 0;
	while (*list) {
		int tuple = *list == '{';
		const char *from = list + tuple, *to = from + strcspn(from, tuple ? "}" : ",]{");
		const char *mark = memchr(from, tuple ? ',' : '/', (size_t)(to - from));

		if (mark && !memchr(mark + 1, tuple ? ',' : '/', (size_t)(to - mark - 1))) {
			++*pairsp;
			found |= is_word(from, mark, section) && is_word(mark + 1, to, key);
		}
		list = *to && (tuple || *to != '{') ? to + 1 : to;
	}
	return found;
}

/* 1 if there is a list of what may be changed, and this does not stand in it. */
static int
is_locked(const struct apireq *r)
{
	const char *section = r->part[3].s, *key = r->part[4].s;
	const char *list = config_get(r->api->config, "chttpd", "config_whitelist", "");
	unsigned pairs;

	if (!*list)
		list = config_get(r->api->config, "httpd", "config_whitelist", "");
	if (!*list || names(list, section, key, &pairs))
		return 0;
	/* What is no list would lock its own repair out. */
	return pairs > 0 || strcmp(key, "config_whitelist") != 0;
}

static void
delete_value(struct apireq *r)
{
	struct change *c;

	if (!config_shown(r->api->config, r->part[3].s, r->part[4].s)) {
		unknown(r);
		return;
	}
	c = arena_calloc(r->arena, 1, sizeof(*c));
	if (c)
		begin_change(r, c);
	else
		api_error(r, ERR_NOMEM, NULL);
}

static void
one_value(struct apireq *r)
{
	const char *section = r->part[3].s, *key = r->part[4].s;
	int put = strcmp(r->method, "PUT") == 0;

	if (strcmp(r->method, "GET") == 0) {
		const char *value = config_shown(r->api->config, section, key);

		if (value)
			show_value(r, value);
		else
			unknown(r);
	} else if (is_barred(section, key)) {
		api_error_text(r, 403, "forbidden", "Config section blacklisted for modification over HTTP API.");
	} else if (is_locked(r)) {
		api_error_text(r, 400, "modification_not_allowed", "This config variable is read-only");
	} else {
		http_wrote(r->http); /* the answer is the value that was */
		if (put)
			set_value(r);
		else
			delete_value(r);
	}
}

/* ---- Reading the files again ---- */

struct reload {
	int err;
	struct errtext why;
};

static void
reload_work(struct apireq *r)
{
	struct reload *l = r->cookie;

	l->err = setup_reload(r->api->config, &l->why);
}

static void
reload_end(struct apireq *r)
{
	struct reload *l = r->cookie;

	if (l->err)
		api_error(r, l->err, &l->why);
	else
		api_ok(r, 200);
}

static void
reload(struct apireq *r)
{
	r->cookie = arena_calloc(r->arena, 1, sizeof(struct reload));
	if (r->cookie)
		api_work(r, reload_work, reload_end);
	else
		api_error(r, ERR_NOMEM, NULL);
}

void
node_config(struct apireq *r)
{
	if (r->nparts == 4 && strcmp(r->part[3].s, "_reload") == 0)
		reload(r);
	else if (r->nparts < 5)
		show_sections(r);
	else if (memchr(r->part[3].s, '\0', r->part[3].len) || memchr(r->part[4].s, '\0', r->part[4].len) ||
		 r->nparts > 5)
		unknown(r);
	else
		one_value(r);
}
