/*
 * root.c: the server itself: welcome, liveness, ids, lists of databases, and what a cluster of
 * one tells of itself.
 */
#include "database.h"
#include "uuid.h"
#include "base/hash.h"
#include "base/limits.h"
#include "replicator/replicator.h"
#include "script/script.h"
#include "views/views.h"

#include <strings.h>

#define ROOT_UUIDS_MAX 1000u
#define ROOT_INFO_KEYS 100u

static void
reply_text(struct apireq *r, const char *text)
{
	struct buf b;

	buf_init(&b, 4096);
	buf_puts(&b, text);
	api_json(r, 200, &b);
}

/* ${b} with an ETag made of it. */
static void
reply_tagged(struct apireq *r, struct buf *b)
{
	unsigned char md5[MD5_LEN];
	char tag[2 * MD5_LEN + 2];

	if (buf_failed(b)) {
		api_json(r, 200, b); /* which tells the failure */
		return;
	}
	hash_md5(b->data, b->len, md5);
	tag[0] = tag[sizeof(tag) - 1] = '"';
	hex_encode(md5, sizeof(md5), tag + 1);
	if (api_not_modified(r, tag, sizeof(tag)))
		buf_release(b);
	else
		api_json(r, 200, b);
}

void
root_welcome(struct apireq *r)
{
	struct buf b;

	buf_init(&b, 4096);
	buf_puts(&b, "{\"couchdb\":\"Welcome\",\"version\":\"" API_COUCHDB_VERSION "\",\"git_sha\":\"");
	buf_puts(&b, "divan\",\"uuid\":\"");
	buf_puts(&b, r->api->uuid);
	buf_puts(&b,
	    "\",\"features\":[\"partitioned\",\"scheduler\"],\"vendor\":{\"name\":\"Divan\",\"version\":\"0.1.0\"}}");
	api_json(r, 200, &b);
}

void
root_up(struct apireq *r)
{
	const char *mode = config_get(r->api->config, "couchdb", "maintenance_mode", "false");
	int is_true = strcasecmp(mode, "true") == 0;
	struct buf b;

	if (!is_true && strcasecmp(mode, "nolb") != 0) {
		reply_text(r, "{\"status\":\"ok\",\"seeds\":{}}");
		return;
	}
	buf_init(&b, 64);
	buf_printf(&b, "{\"status\":\"%s\"}", is_true ? "maintenance_mode" : "nolb");
	api_json(r, 404, &b);
}

/* ---- /_uuids ---- */

static int
uuid_count(struct apireq *r, uint64_t *np, struct errtext *why)
{
	int err;

	*np = 1;
	err = api_param_u64(r, "count", np, why);
	if (err)
		return err_why(why, ERR_BAD_REQUEST, "count must be a positive integer");
	if (*np > ROOT_UUIDS_MAX || *np > config_u64(r->api->config, "uuids", "max_count", ROOT_UUIDS_MAX))
		return err_why(why, ERR_BAD_REQUEST, "count parameter too large");
	return 0;
}

/* Not api_json(): nobody may cache an id. */
static void
reply_uuids(struct apireq *r, struct buf *b)
{
	unsigned char md5[MD5_LEN];
	char tag[2 * MD5_LEN + 2];
	size_t len;
	char *data;

	hash_md5(b->data, b->len, md5);
	tag[0] = tag[sizeof(tag) - 1] = '"';
	hex_encode(md5, sizeof(md5), tag + 1);
	http_set_header(r->http, "cache-control", "no-cache", 8);
	http_set_header(r->http, "pragma", "no-cache", 8);
	http_set_header(r->http, "content-type", "application/json", 16);
	http_set_header(r->http, "etag", tag, sizeof(tag));
	data = buf_take(b, &len);
	api_done(r);
	http_reply_take(r->http, 200, data, len);
}

/* One id, by uuids/algorithm. */
static void
put_uuid(const struct config *c, const char *algorithm, struct buf *b)
{
	char id[UUID_LEN];

	if (strcasecmp(algorithm, "random") == 0) {
		uuid_random(id);
	} else if (strcasecmp(algorithm, "utc_random") == 0) {
		uuid_random(id);
		uuid_time(id);
	} else if (strcasecmp(algorithm, "utc_id") == 0) {
		const char *suffix = config_get(c, "uuids", "utc_id_suffix", "");

		uuid_time(id);
		buf_put(b, id, UUID_TIME_LEN);
		/* What needs an escape in JSON is left out. */
		buf_put(b, suffix, buf_json_plain(suffix, strlen(suffix)));
		return;
	} else {
		uuid_next(id);
	}
	buf_put(b, id, sizeof(id));
}

void
root_uuids(struct apireq *r)
{
	const char *algorithm = config_get(r->api->config, "uuids", "algorithm", "sequential");
	struct errtext why = {""};
	uint64_t n;
	int err;
	struct buf b;

	err = uuid_count(r, &n, &why);
	if (err) {
		api_error(r, err, &why);
		return;
	}
	buf_init(&b, (size_t)4 << 20);
	buf_puts(&b, "{\"uuids\":[");
	for (uint64_t i = 0; i < n; i++) {
		buf_puts(&b, i > 0 ? ",\"" : "\"");
		put_uuid(r->api->config, algorithm, &b);
		buf_putc(&b, '"');
	}
	buf_puts(&b, "]}\n");
	if (buf_failed(&b)) {
		err = buf_failed(&b);
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	reply_uuids(r, &b);
}

/* ---- Lists of databases ---- */

/* What is asked for, and found; lives in the request's arena. */
struct listing {
	struct jstr low, high; /* s NULL: no bound */
	int low_open, high_open;
	int descending;
	uint64_t skip, limit;
	struct apireq *r;
	const char **names;
	size_t n, cap;
	int err;
	struct errtext why;
	int infos;    /* each with its information */
	int by_keys;  /* the names are the client's, who is told what is missing */
	struct buf b; /* the answer */
};

/* A bound is a JSON string; any other value bounds nothing. */
static int
bound(struct apireq *r, const char *name, struct jstr *out, struct errtext *why)
{
	int err = api_param_json_string(r, name, out, why);

	return err == ERR_BAD_REQUEST ? 0 : err;
}

static int
read_range(struct apireq *r, struct listing *l)
{
	struct jstr start = {NULL, 0}, end = {NULL, 0}, key = {NULL, 0};
	int inclusive = 1;
	int err;

	l->limit = UINT64_MAX;
	err = bound(r, "startkey", &start, &l->why);
	err = err ? err : bound(r, "start_key", &start, &l->why);
	err = err ? err : bound(r, "endkey", &end, &l->why);
	err = err ? err : bound(r, "end_key", &end, &l->why);
	err = err ? err : bound(r, "key", &key, &l->why);
	err = err ? err : api_param_u64(r, "limit", &l->limit, &l->why);
	err = err ? err : api_param_u64(r, "skip", &l->skip, &l->why);
	err = err ? err : api_param_bool(r, "descending", &l->descending, &l->why);
	err = err ? err : api_param_bool(r, "inclusive_end", &inclusive, &l->why);
	if (key.s)
		start = end = key;
	l->low = l->descending ? end : start;
	l->high = l->descending ? start : end;
	l->low_open = l->descending && !inclusive;
	l->high_open = !l->descending && !inclusive;
	return err;
}

static int
compare(const char *name, const struct jstr *bound_)
{
	size_t len = strlen(name);
	size_t n = len < bound_->len ? len : bound_->len;
	int c = memcmp(name, bound_->s, n);

	return c ? c : (len > bound_->len) - (len < bound_->len);
}

static int
push(struct listing *l, const char *name)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		const char **names = arena_calloc(l->r->arena, cap, sizeof(*names));

		if (!names)
			return ERR_NOMEM;
		if (l->n > 0)
			memcpy(names, l->names, l->n * sizeof(*names));
		l->names = names;
		l->cap = cap;
	}
	l->names[l->n] = arena_dup(l->r->arena, name, strlen(name));
	return l->names[l->n++] ? 0 : ERR_NOMEM;
}

static int
take_name(const char *name, void *cookie)
{
	struct listing *l = cookie;

	if (l->low.s) {
		int c = compare(name, &l->low);

		if (c < 0 || (c == 0 && l->low_open))
			return 0;
	}
	if (l->high.s) {
		int c = compare(name, &l->high);

		if (c > 0 || (c == 0 && l->high_open))
			return 0;
	}
	return push(l, name);
}

static int
put_info(struct listing *l, const char *name)
{
	struct apireq *r = l->r;
	struct db *db;
	int err = db_open(r->api->dbs, name, &r->who, &db);

	if (err == ERR_NO_DB && !l->by_keys)
		return ERR_NO_DB; /* deleted since it was listed */
	buf_puts(&l->b, l->b.len > 1 ? ",{\"key\":" : "{\"key\":");
	buf_put_json(&l->b, name, strlen(name));
	/* Where chttpd/admin_only_all_dbs is false, names are told to all, and no more than that of what is closed. */
	if (err == ERR_NO_DB || err == ERR_UNAUTHORIZED || err == ERR_FORBIDDEN || err == ERR_CORRUPT ||
	    err == ERR_NEWER_FORMAT) {
		buf_printf(&l->b, ",\"error\":\"%s\"}", err_name(err));
		return 0;
	}
	if (err)
		return err;
	buf_puts(&l->b, ",\"info\":");
	err = database_put_info(&l->b, db, name);
	buf_putc(&l->b, '}');
	db_close(db);
	return err;
}

static int
put_name(struct listing *l, const char *name)
{
	if (l->infos) {
		int err = put_info(l, name);

		return err == ERR_NO_DB ? 0 : err;
	}
	if (l->b.len > 1)
		buf_putc(&l->b, ',');
	return buf_put_json(&l->b, name, strlen(name));
}

/* Walks the data folder and opens databases, so it is done on an executor thread. */
static void
list_work(struct apireq *r)
{
	struct listing *l = r->cookie;

	if (!l->by_keys)
		l->err = dbs_list(r->api->dbs, take_name, l);
	buf_init(&l->b, (size_t)1 << 30);
	buf_putc(&l->b, '[');
	for (size_t i = 0; !l->err && i < l->n && l->limit > 0; i++) {
		if (l->skip > 0) {
			l->skip--;
			continue;
		}
		l->limit--;
		l->err = put_name(l, l->names[l->descending ? l->n - 1 - i : i]);
	}
	buf_putc(&l->b, ']');
}

static void
list_end(struct apireq *r)
{
	struct listing *l = r->cookie;

	if (l->err) {
		buf_release(&l->b);
		api_error(r, l->err, &l->why);
	} else if (l->by_keys) {
		api_json(r, 200, &l->b);
	} else {
		reply_tagged(r, &l->b);
	}
}

static struct listing *
new_listing(struct apireq *r)
{
	struct listing *l = arena_calloc(r->arena, 1, sizeof(*l));

	if (!l) {
		api_error(r, ERR_NOMEM, NULL);
		return NULL;
	}
	l->r = r;
	r->cookie = l;
	return l;
}

static void
list(struct apireq *r, int infos)
{
	struct listing *l = new_listing(r);
	int err;

	if (!l)
		return;
	l->infos = infos;
	err = read_range(r, l);
	if (err)
		api_error(r, err, &l->why);
	else
		api_work(r, list_work, list_end);
}

void
root_all_dbs(struct apireq *r)
{
	list(r, 0);
}

static int
read_names(struct listing *l, struct jread *j, struct buf *scratch)
{
	uint64_t max = config_u64(l->r->api->config, "chttpd", "max_db_number_for_dbs_info_req", ROOT_INFO_KEYS);
	struct jstr name;
	int err;

	if (max > ROOT_INFO_KEYS)
		max = ROOT_INFO_KEYS;
	if (jread_peek(j) != JREAD_ARRAY)
		return err_why(&l->why, ERR_BAD_REQUEST, "`keys` member must be an array.");
	err = jread_array_begin(j);
	while (!err && (err = jread_array_next(j)) == 0) {
		const char *copy;

		if (jread_peek(j) != JREAD_STRING)
			return err_why(&l->why, ERR_BAD_REQUEST, "`keys` must be an array of strings.");
		err = jread_string(j, scratch, &name);
		if (!err && l->n >= max)
			return err_why(&l->why, ERR_BAD_REQUEST, "too_many_keys");
		copy = err ? NULL : arena_dup(l->r->arena, name.s, name.len);
		if (!err)
			err = copy ? push(l, copy) : ERR_NOMEM;
	}
	return err == ERR_END ? 0 : err;
}

static int
read_keys(struct listing *l, const struct jstr *body, struct buf *scratch)
{
	struct jread j;
	struct jstr key;
	int found = 0;
	int err;

	/* First all of it: bad JSON is said before what else is wrong. */
	jread_init(&j, body->s, body->len);
	err = jread_skip(&j, NULL);
	err = err ? err : jread_end(&j);
	if (err)
		return err;
	jread_init(&j, body->s, body->len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return err_why(&l->why, ERR_BAD_REQUEST, "Request body must be a JSON object");
	err = jread_object_begin(&j);
	while (!err && (err = jread_object_next(&j, scratch, &key)) == 0) {
		if (!jstr_is(&key, "keys")) {
			err = jread_skip(&j, NULL);
			continue;
		}
		found = 1;
		l->n = 0;
		err = read_names(l, &j, scratch);
	}
	if (err != ERR_END)
		return err;
	return found ? 0 : err_why(&l->why, ERR_BAD_REQUEST, "`keys` member must exist.");
}

static void
infos_of(struct apireq *r)
{
	struct listing *l = new_listing(r);
	struct jstr body;
	struct buf scratch;
	int err;

	if (!l)
		return;
	l->infos = l->by_keys = 1;
	l->limit = UINT64_MAX;
	err = api_is_json(r) ? api_body(r, &body, &l->why) : ERR_CONTENT_TYPE;
	if (!err) {
		buf_init(&scratch, body.len + API_SCRATCH);
		err = read_keys(l, &body, &scratch);
		buf_release(&scratch);
	}
	if (err)
		api_error(r, err, &l->why);
	else
		api_work(r, list_work, list_end);
}

void
root_dbs_info(struct apireq *r)
{
	if (strcmp(r->method, "POST") == 0)
		infos_of(r);
	else
		list(r, 1);
}

/* ---- A cluster of one ---- */

struct tasks {
	struct buf b;
	unsigned n;
};

static int
put_task(const struct db_task *t, void *cookie)
{
	struct tasks *all = cookie;
	struct buf *b = &all->b;

	buf_puts(b, all->n++ > 0 ? "," : "");
	buf_printf(b, "{\"node\":\"" API_NODE "\",\"pid\":\"<0.%u.0>\",\"process_status\":\"running\",", all->n);
	buf_printf(b, "\"changes_done\":%llu,\"database\":", (unsigned long long)t->done);
	buf_put_json(b, t->database, strlen(t->database));
	buf_printf(b, ",\"phase\":\"%s\",\"progress\":%llu,\"started_on\":%llu,", t->phase,
	    (unsigned long long)(t->total > 0 ? t->done * 100 / t->total : 0),
	    (unsigned long long)(t->started_us / 1000000));
	buf_printf(b, "\"total_changes\":%llu,\"type\":\"%s\",\"updated_on\":%llu}", (unsigned long long)t->total,
	    t->type, (unsigned long long)(t->updated_us / 1000000));
	return buf_failed(b);
}

/* An index that is brought up to date; its phase is the design document. */
static int
put_indexer(const struct db_task *t, void *cookie)
{
	struct tasks *all = cookie;
	struct buf *b = &all->b;

	buf_puts(b, all->n++ > 0 ? "," : "");
	buf_printf(b, "{\"node\":\"" API_NODE "\",\"pid\":\"<0.%u.0>\",\"process_status\":\"running\",", all->n);
	buf_printf(b, "\"changes_done\":%llu,\"database\":", (unsigned long long)t->done);
	buf_put_json(b, t->database, strlen(t->database));
	buf_puts(b, ",\"design_document\":");
	buf_put_json(b, t->phase, strlen(t->phase));
	buf_printf(b, ",\"progress\":%llu,\"started_on\":%llu,\"total_changes\":%llu,",
	    (unsigned long long)(t->total > 0 ? t->done * 100 / t->total : 0),
	    (unsigned long long)(t->started_us / 1000000), (unsigned long long)t->total);
	buf_printf(b, "\"type\":\"%s\",\"updated_on\":%llu}", t->type, (unsigned long long)(t->updated_us / 1000000));
	return buf_failed(b);
}

void
root_active_tasks(struct apireq *r)
{
	struct tasks all = {.n = 0};
	int err;

	buf_init(&all.b, 1u << 20);
	buf_puts(&all.b, "[");
	err = dbs_tasks(r->api->dbs, put_task, &all);
	if (err == 0)
		err = views_tasks(r->api->views, put_indexer, &all);
	/* Those come with a comma before each. */
	if (err == 0 && r->api->replicator != NULL) {
		size_t at = all.b.len;

		err = replicator_put_tasks(r->api->replicator, &all.b);
		if (err == 0 && all.n == 0 && all.b.len > at)
			all.b.data[at] = ' ';
	}
	buf_puts(&all.b, "]\n");
	if (err) {
		buf_release(&all.b);
		api_error(r, err, NULL);
		return;
	}
	api_json(r, 200, &all.b);
}

void
root_membership(struct apireq *r)
{
	reply_text(r, "{\"all_nodes\":[\"" API_NODE "\"],\"cluster_nodes\":[\"" API_NODE "\"]}");
}

static void
reload_scripts(struct apireq *r)
{
	scripts_reload(r->api->scripts);
}

static void
reloaded(struct apireq *r)
{
	api_ok(r, 200);
}

void
root_reload_scripts(struct apireq *r)
{
	if (!api_is_json(r))
		api_error(r, ERR_CONTENT_TYPE, NULL);
	else
		(void)api_work(r, reload_scripts, reloaded);
}
