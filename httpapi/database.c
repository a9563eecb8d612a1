/*
 * database.c: /{db} itself: create, delete, information, the security object, limits and
 * maintenance.
 */
#include "database.h"
#include "base/limits.h"

int
database_put_info(struct buf *b, struct db *db, const char *name)
{
	struct db_info info;
	uint64_t file_bytes, active_bytes;
	int err = db_info(db, &info);

	if (err != 0 || (err = db_usage(db, &file_bytes, &active_bytes)) != 0)
		return err;
	buf_printf(b, "{\"instance_start_time\":\"%llu\",\"db_name\":", (unsigned long long)info.created_us);
	buf_put_json(b, name, strlen(name));
	buf_puts(b, ",\"purge_seq\":\"");
	db_seq_put(db, b, info.purge_seq);
	buf_puts(b, "\",\"update_seq\":\"");
	db_seq_put(db, b, info.update_seq);
	buf_puts(b, "\",\"sizes\":{\"file\":");
	buf_put_u64(b, file_bytes);
	buf_puts(b, ",\"external\":");
	buf_put_u64(b, info.external_bytes);
	buf_puts(b, ",\"active\":");
	buf_put_u64(b, active_bytes);
	buf_puts(b, info.partitioned ? "},\"props\":{\"partitioned\":true},\"doc_del_count\":"
				     : "},\"props\":{},\"doc_del_count\":");
	buf_put_u64(b, info.doc_del_count);
	buf_puts(b, ",\"doc_count\":");
	buf_put_u64(b, info.doc_count);
	buf_printf(b,
	    ",\"disk_format_version\":8,\"compact_running\":%s,"
	    "\"cluster\":{\"q\":1,\"n\":1,\"w\":1,\"r\":1}}",
	    info.compact_running ? "true" : "false");
	return buf_failed(b);
}

static void
show_info(struct apireq *r)
{
	struct buf b;
	int err;

	buf_init(&b, 65536);
	err = database_put_info(&b, r->db, r->part[0].s);
	if (err) {
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_json(r, 200, &b);
}

/* ---- Create and delete: durable, so off the event loop ---- */

struct outcome {
	int err;
	struct errtext why;
};

static void
create_work(struct apireq *r)
{
	struct outcome *o = r->cookie;
	const struct jstr *partitioned = api_param(r, "partitioned");
	const struct db_options options = {.partitioned = partitioned != NULL && strcmp(partitioned->s, "true") == 0};

	o->err = dbs_create(r->api->dbs, r->part[0].s, &options, &r->who, &o->why);
}

static void
create_end(struct apireq *r)
{
	struct outcome *o = r->cookie;

	if (o->err) {
		api_error(r, o->err, &o->why);
		return;
	}
	api_location(r, (struct jstr){NULL, 0}, (struct jstr){NULL, 0});
	api_ok(r, 201);
}

static void
drop_work(struct apireq *r)
{
	struct outcome *o = r->cookie;

	o->err = dbs_drop(r->api->dbs, r->part[0].s, &r->who);
}

static void
drop_end(struct apireq *r)
{
	struct outcome *o = r->cookie;

	if (o->err)
		api_error(r, o->err, NULL);
	else
		api_ok(r, 200);
}

static void
go(struct apireq *r, api_f *work, api_f *then)
{
	r->cookie = arena_calloc(r->arena, 1, sizeof(struct outcome));
	if (r->cookie)
		api_work(r, work, then);
	else
		api_error(r, ERR_NOMEM, NULL);
}

static int
is_positive(const struct jstr *v)
{
	int some = 0;

	for (size_t i = 0; i < v->len; i++) {
		if (v->s[i] < '0' || v->s[i] > '9')
			return 0;
		some |= v->s[i] != '0';
	}
	return some && v->len <= 18;
}

/* "zone:n,zone:n" */
static int
is_placement(const struct jstr *v)
{
	const char *p = v->s, *end = v->s + v->len;

	while (p < end) {
		const char *stop = memchr(p, ',', (size_t)(end - p));
		const char *colon = memchr(p, ':', (size_t)(end - p));
		struct jstr n;

		stop = stop != NULL ? stop : end;
		if (colon == NULL || colon == p || colon >= stop)
			return 0;
		n = (struct jstr){colon + 1, (size_t)(stop - colon - 1)};
		if (!is_positive(&n))
			return 0;
		p = stop + 1;
	}
	return v->len > 0;
}

/* is_system_name: _users, _replicator and the like, also behind a folder. */
static int
is_system_name(const struct jstr *name)
{
	static const char *const names[] = {"_dbs", "_nodes", "_users", "_replicator", "_global_changes"};
	const char *slash = memrchr(name->s, '/', name->len);
	struct jstr last = *name;

	if (slash != NULL)
		last = (struct jstr){slash + 1, (size_t)(name->s + name->len - slash - 1)};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (jstr_is(&last, names[i]))
			return 1;
	return 0;
}

/* There is one shard on one node; what clients ask for is checked and then not needed. */
static int
check_layout(struct apireq *r, struct errtext *why)
{
	static const char *const names[] = {"q", "n"};
	const struct jstr *v;

	for (size_t i = 0; i < 2; i++) {
		v = api_param(r, names[i]);
		if (v && !is_positive(v))
			return err_why(why, ERR_BAD_REQUEST, "The `%s` value should be a positive integer.", names[i]);
	}
	v = api_param(r, "partitioned");
	if (v && strcmp(v->s, "true") != 0 && strcmp(v->s, "false") != 0)
		return err_why(why, ERR_BAD_REQUEST, "Invalid `partitioned` parameter");
	if (v && strcmp(v->s, "true") == 0 && is_system_name(&r->part[0]))
		return err_why(why, ERR_BAD_REQUEST, "Cannot partition a system database");
	v = api_param(r, "placement");
	if (v && !is_placement(v))
		return err_why(why, ERR_BAD_REQUEST, "The `placement` value should be in a format `zone:n`.");
	v = api_param(r, "engine");
	if (v && !jstr_is(v, "couch"))
		return err_why(why, ERR_BAD_REQUEST, "invalid_engine_extension");
	return 0;
}

/* Names that no C string or struct errtext can hold; 1 if the request was answered. */
static int
refuse_name(struct apireq *r)
{
	const struct jstr *name = &r->part[0];
	int nul = memchr(name->s, '\0', name->len) != NULL;
	struct buf b, text;

	if (!nul && name->len <= LIMIT_DB_NAME_LEN)
		return 0;
	if (!jread_utf8_ok(name->s, name->len)) {
		api_error(r, ERR_ILLEGAL_DB_NAME, NULL);
		return 1;
	}
	buf_init(&b, LIMIT_URL_LEN * 8);
	buf_init(&text, LIMIT_URL_LEN * 2);
	if (nul) {
		buf_puts(&text, "Name: '");
		buf_put(&text, name->s, name->len);
		buf_puts(&text, "'. Only lowercase characters (a-z), digits (0-9), and any of the "
				"characters _, $, (, ), +, -, and / are allowed. Must begin with a letter.");
	} else {
		buf_puts(&text, "At least one path segment of `");
		buf_put(&text, name->s, name->len);
		buf_puts(&text, "` is too long.");
	}
	buf_printf(&b, "{\"error\":\"%s\",\"reason\":", nul ? "illegal_database_name" : "database_name_too_long");
	buf_put_json(&b, text.data, text.len);
	buf_putc(&b, '}');
	buf_release(&text);
	api_json(r, 400, &b);
	return 1;
}

static void
create(struct apireq *r)
{
	struct errtext why = {""};
	int err = check_layout(r, &why);

	if (err)
		api_error(r, err, &why);
	else if (!refuse_name(r))
		go(r, create_work, create_end);
}

static void
drop(struct apireq *r)
{
	if (api_param(r, "rev"))
		api_error_text(r, 400, "bad_request",
		    "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE "
		    "a document instead?");
	else if (memchr(r->part[0].s, '\0', r->part[0].len))
		api_error(r, ERR_NO_DB, NULL);
	else
		go(r, drop_work, drop_end);
}

void
database_root(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		show_info(r);
	else if (strcmp(r->method, "PUT") == 0)
		create(r);
	else
		drop(r);
}

/* ---- The security object ---- */

/* A list of strings; other values are what ${what} must not be. */
static int
check_strings(struct jread *j, struct buf *scratch, const char *what, struct errtext *why)
{
	struct jstr s;
	int err;

	if (jread_peek(j) != JREAD_ARRAY)
		return err_why(why, ERR_BAD_REQUEST, "%s must be a JSON list of strings", what);
	err = jread_array_begin(j);
	while (!err && (err = jread_array_next(j)) == 0) {
		if (jread_peek(j) != JREAD_STRING)
			return err_why(why, ERR_BAD_REQUEST, "%s must be a JSON list of strings", what);
		err = jread_string(j, scratch, &s);
	}
	return err == ERR_END ? 0 : err;
}

/* {"names":[...],"roles":[...]}; other members are anybody's. */
static int
check_party(struct jread *j, struct buf *scratch, struct errtext *why)
{
	struct jstr key;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "admins and members must be JSON objects");
	err = jread_object_begin(j);
	while (!err && (err = jread_object_next(j, scratch, &key)) == 0) {
		if (jstr_is(&key, "names"))
			err = check_strings(j, scratch, "names", why);
		else if (jstr_is(&key, "roles"))
			err = check_strings(j, scratch, "roles", why);
		else
			err = jread_skip(j, NULL);
	}
	return err == ERR_END ? 0 : err;
}

static int
is_party(const struct jstr *key)
{
	return jstr_is(key, "admins") || jstr_is(key, "members") || jstr_is(key, "readers");
}

static int
check_security(const struct jstr *text, struct buf *scratch, struct errtext *why)
{
	struct jread j;
	struct jstr key;
	int err;

	jread_init(&j, text->s, text->len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	err = jread_object_begin(&j);
	while (!err && (err = jread_object_next(&j, scratch, &key)) == 0)
		err = is_party(&key) ? check_party(&j, scratch, why) : jread_skip(&j, NULL);
	return err == ERR_END ? 0 : err;
}

/* The body's one JSON value in CouchDB's text form, in the arena. */
static int
body_text(struct apireq *r, struct jstr *textp, struct errtext *why)
{
	struct jstr body;
	int err = api_body(r, &body, why);
	struct jread j;
	struct buf b;

	if (err)
		return err;
	/* Escapes may grow, and the arena bounds what is kept. */
	buf_init(&b, body.len * 6 + API_SCRATCH);
	jread_init(&j, body.s, body.len);
	err = jread_text(&j, &b, NULL);
	if (!err)
		err = jread_end(&j);
	if (!err) {
		textp->s = arena_dup(r->arena, b.data, b.len);
		textp->len = b.len;
		err = textp->s ? 0 : ERR_NOMEM;
	}
	buf_release(&b);
	return err;
}

/* A request of one write, and its end. */
struct setting {
	struct db_request req;
	struct db_write write;
	const char *name; /* of a number */
	int err;          /* of the body */
	struct errtext why;
};

static void
set_end(struct apireq *r)
{
	struct setting *s = r->cookie;

	if (s->write.err)
		api_error(r, s->write.err, &s->write.why);
	else
		api_ok(r, 200);
}

static void
set(struct apireq *r)
{
	struct setting *s = r->cookie;

	if (s->err)
		api_error(r, s->err, &s->why);
	else
		api_submit(r, &s->req, set_end);
}

/* begin_set: ${parse} makes the write of the body. */
static void
begin_set(struct apireq *r, enum db_write_kind kind, const char *name, api_f *parse)
{
	struct setting *s = arena_calloc(r->arena, 1, sizeof(*s));

	if (!s) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	s->write.kind = kind;
	s->name = name;
	s->req.writes = &s->write;
	s->req.nwrites = 1;
	r->cookie = s;
	api_parse(r, parse, set);
}

static void
security_parse(struct apireq *r)
{
	struct setting *s = r->cookie;
	struct buf scratch;

	if ((s->err = db_may_set(r->db, DB_WRITE_SECURITY, &s->why)) != 0 ||
	    (s->err = body_text(r, &s->write.body, &s->why)) != 0)
		return;
	buf_init(&scratch, s->write.body.len + API_SCRATCH);
	s->err = check_security(&s->write.body, &scratch, &s->why);
	buf_release(&scratch);
}

static void
security_get(struct apireq *r)
{
	struct buf b;
	int err;

	buf_init(&b, LIMIT_BODY_LEN);
	err = db_security(r->db, &b);
	if (err) {
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_json(r, 200, &b);
}

void
database_security(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		security_get(r);
	else
		begin_set(r, DB_WRITE_SECURITY, NULL, security_parse);
}

/* ---- revs_limit, purged_infos_limit ---- */

static void
limit_parse(struct apireq *r)
{
	struct setting *s = r->cookie;
	struct jstr text;
	struct jread j;
	uint64_t n = 0;

	if ((s->err = db_may_set(r->db, s->write.kind, &s->why)) != 0 || (s->err = body_text(r, &text, &s->why)) != 0)
		return;
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) == JREAD_NUMBER && !jread_u64(&j, &n) && !jread_end(&j) && n > 0 && n <= INT32_MAX)
		s->write.number = n;
	else
		s->err = err_why(&s->why, ERR_BAD_REQUEST, "`%s` must be positive integer", s->name);
}

static void
limit_get(struct apireq *r, enum db_write_kind kind)
{
	struct db_info info;
	struct buf b;
	int err = db_info(r->db, &info);

	if (err) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&b, 64);
	buf_put_u64(&b, kind == DB_WRITE_REVS_LIMIT ? info.revs_limit : info.purged_limit);
	api_json(r, 200, &b);
}

static void
limit_any(struct apireq *r, enum db_write_kind kind, const char *name)
{
	if (strcmp(r->method, "GET") == 0)
		limit_get(r, kind);
	else
		begin_set(r, kind, name, limit_parse);
}

void
database_revs_limit(struct apireq *r)
{
	limit_any(r, DB_WRITE_REVS_LIMIT, "revs_limit");
}

void
database_purged_limit(struct apireq *r)
{
	limit_any(r, DB_WRITE_PURGED_LIMIT, "purged_infos_limit");
}

/* ---- What compaction leaves for merging ---- */

static int
history_member(struct jread *j, const struct jstr *key, struct db_write *w)
{
	uint64_t *n = jstr_is(key, "revs") ? &w->number : jstr_is(key, "seconds") ? &w->seconds : NULL;

	if (n == NULL || jread_peek(j) != JREAD_NUMBER || jread_u64(j, n) || *n > INT32_MAX)
		return ERR_BAD_REQUEST;
	return 0;
}

/* {"revs":N,"seconds":T}: a member that is not there is 0. */
static int
history_parse(const struct jstr *text, struct db_write *w)
{
	struct buf scratch;
	struct jread j;
	struct jstr key;
	int err = ERR_BAD_REQUEST;

	buf_init(&scratch, text->len + API_SCRATCH);
	jread_init(&j, text->s, text->len);
	if (jread_peek(&j) == JREAD_OBJECT && (err = jread_object_begin(&j)) == 0)
		while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0)
			err = history_member(&j, &key, w);
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static void
history_read(struct apireq *r)
{
	struct setting *s = r->cookie;
	struct jstr text;

	s->err = body_text(r, &text, &s->why);
	if (s->err == 0 && history_parse(&text, &s->write) != 0)
		s->err = err_why(
		    &s->why, ERR_BAD_REQUEST, "`_history_kept` must be {\"revs\":N,\"seconds\":T}, integers from 0 on");
}

static void
history_get(struct apireq *r)
{
	struct db_info info;
	struct buf b;
	int err = db_info(r->db, &info);

	if (err) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&b, 128);
	buf_printf(&b, "{\"revs\":%llu,\"seconds\":%llu}", (unsigned long long)info.keep_revs,
	    (unsigned long long)info.keep_seconds);
	api_json(r, 200, &b);
}

void
database_history_kept(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		history_get(r);
	else
		begin_set(r, DB_WRITE_HISTORY_KEPT, NULL, history_read);
}

/* ---- Maintenance ---- */

/* Every acknowledged write is durable: there is nothing left to commit. */
void
database_full_commit(struct apireq *r)
{
	struct db_info info;
	struct buf b;
	int err;

	err = api_is_json(r) ? db_info(r->db, &info) : ERR_CONTENT_TYPE;
	if (err) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&b, 128);
	buf_printf(&b, "{\"ok\":true,\"instance_start_time\":\"%llu\"}", (unsigned long long)info.created_us);
	api_json(r, 201, &b);
}

void
database_compact(struct apireq *r)
{
	int err;

	if (!api_is_json(r)) {
		api_error(r, ERR_CONTENT_TYPE, NULL);
		return;
	}
	err = db_compact(r->db);
	if (err)
		api_error(r, err, NULL);
	else
		api_ok(r, 202);
}
