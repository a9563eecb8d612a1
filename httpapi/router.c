/*
 * router.c: from a path to its handler, and who may come in by it: the tables below are the API, each line a
 * path, its handler, who may ask, which methods are served, and whose body is gathered.
 *
 *	/                     the server                        server_table
 *	/_x...                of the server                     server_table
 *	/{db}                 the database; it is not opened for PUT and DELETE
 *	/{db}/_x...           of the database                   db_table
 *	/{db}/_design/{d}...  a document, its functions (design_table), its attachments
 *	/{db}/_local/{l}      a local document
 *	/{db}/{id}[/{name...}] a document, an attachment        the places
 *
 * A path's first line that fits holds.  {x} is any one part, ... is any number of parts or none.  What stands in no
 * table is a document's id: its handler says what is wrong with ids such as "_foo".
 *
 * 1. Who asks is looked at first, as CouchDB does, before the method, the body, and for server administrators
 *    before the database: who may not come in learns nothing of what is behind the door.
 * 2. Members of a database are told from others by db_open().  Rights that depend on what is written (a design
 *    document, the security object) are db's to check, whichever way the write comes.
 * 3. What begins with an underscore and is in no table is the server administrators': it is the name of a system
 *    database.  _users and _replicator are open as far as their rules go.
 *
 * A large body may still be on its way.  Where a table says so it is gathered before the handler runs, unless
 * the handler will refuse the request without it; documents and attachments see to theirs themselves.  One that is longer than
 * the table allows is neither read nor unpacked: the handler finds ERR_TOO_LARGE in its place.
 */
#include "router.h"
#include "base/limits.h"

enum who {
	ANYBODY,
	ACCOUNT,  /* who is logged in */
	LISTER,   /* anybody, or a server administrator: chttpd/admin_only_all_dbs */
	WATCHER,  /* a server administrator, or who has the role _metrics */
	ADMIN,    /* a server administrator */
	MEMBER,   /* of the database */
	DB_ADMIN, /* an administrator of the database */
};

struct route {
	const char *path;
	api_f *fn;
	enum who who;
	const char *allow; /* the methods, as 405 tells them; GET is HEAD too */
	/* the requests whose body it reads, and what that may have, unpacked, where it is short by nature; PUT_SET: of an administrator of the database */
	enum { NONE, POST_JSON, POST_64K, POST_1M, PUT_64K, PUT_1M, PUT_SET } body;
};

static void
temp_view(struct apireq *r)
{
	api_error_text(r, 410, "gone", "Temporary views are not supported in CouchDB");
}

/* A path below _view that names no view. */
static void
view_place(struct apireq *r)
{
	api_method_not_allowed(r, "GET,POST,HEAD");
}

static const struct route server_table[] = {
    {"_up", root_up, ANYBODY, "GET,HEAD", NONE},
    {"_session", auth_session, ANYBODY, "GET,HEAD,POST,DELETE", POST_64K},
    {"_all_dbs", root_all_dbs, LISTER, "GET,HEAD", NONE},
    {"_dbs_info", root_dbs_info, LISTER, "GET,HEAD,POST", POST_1M},
    {"_uuids", root_uuids, ANYBODY, "GET", NONE},
    {"_active_tasks", root_active_tasks, ADMIN, "GET,HEAD", NONE},
    {"_membership", root_membership, ADMIN, "GET", NONE},
    {"_node/{node}/_config/{section}/{key}", node_any, ADMIN, "GET,PUT,DELETE", PUT_1M},
    {"_node/{node}/_config/_reload", node_any, ADMIN, "POST", NONE},
    {"_node/{node}/_config/{section}/{key}/...", node_any, ADMIN, "GET,PUT,DELETE", NONE},
    {"_node/{node}/_config/...", node_any, ADMIN, "GET", NONE},
    {"_node/{node}/_stats/...", node_any, WATCHER, "GET", NONE},
    {"_node/{node}/_prometheus", node_any, WATCHER, "GET", NONE},
    {"_node/{node}/_system", node_any, WATCHER, "GET", NONE},
    {"_node/...", node_any, ADMIN, "GET", NONE},
    {"_utils/...", web_file, ANYBODY, "GET,HEAD", NONE},
    {"_replicate", replicate_post, ACCOUNT, "GET,POST", POST_JSON},
    {"_scheduler/...", replicate_scheduler, ADMIN, "GET,HEAD", NONE},
    {"_reload_query_servers", root_reload_scripts, ADMIN, "POST", NONE},
    {"_db_updates", updatefeeds_any, ADMIN, "GET,HEAD", NONE},
    {"_cluster_setup", cluster_setup, ADMIN, "GET,POST", POST_64K},
    {"_reshard", cluster_reshard, ADMIN, "GET,HEAD", NONE},
    {"_reshard/state", cluster_reshard_state, ADMIN, "GET,HEAD,PUT", NONE},
    {"_reshard/jobs", cluster_reshard_jobs, ADMIN, "GET,HEAD,POST", NONE},
    {"_reshard/jobs/{job}", cluster_reshard_job, ADMIN, "GET,HEAD,DELETE", NONE},
    {"_reshard/jobs/{job}/state", cluster_reshard_job, ADMIN, "GET,HEAD,PUT", NONE},
    {"_reshard/...", cluster_reshard_job, ADMIN, "GET,HEAD", NONE},
    {"_search_analyze", search_clouseau, ADMIN, "GET,POST", NONE},
    {"_nouveau_analyze", search_nouveau, ADMIN, "POST", NONE},
    {"favicon.ico", web_file, ANYBODY, "GET,HEAD", NONE},
};

static const struct route db_table[] = {
    {"_changes", changes_any, MEMBER, "GET,POST,HEAD", POST_JSON},
    {"_bulk_docs", bulk_docs, MEMBER, "POST", POST_JSON},
    {"_bulk_get", bulk_get, MEMBER, "POST", POST_JSON},
    {"_revs_diff", bulk_revs_diff, MEMBER, "POST", POST_JSON},
    {"_missing_revs", bulk_missing_revs, MEMBER, "POST", POST_JSON},
    {"_all_docs", alldocs_any, MEMBER, "GET,HEAD,POST", POST_JSON},
    {"_all_docs/queries", alldocs_any, MEMBER, "POST", POST_JSON},
    {"_design_docs", alldocs_any, MEMBER, "GET,HEAD,POST", POST_JSON},
    {"_design_docs/queries", alldocs_any, MEMBER, "POST", POST_JSON},
    {"_local_docs", alldocs_any, MEMBER, "GET,HEAD,POST", POST_JSON},
    {"_local_docs/queries", alldocs_any, MEMBER, "POST", POST_JSON},
    {"_ensure_full_commit", database_full_commit, MEMBER, "POST", NONE},
    {"_security", database_security, MEMBER, "PUT,GET", PUT_SET},
    {"_revs_limit", database_revs_limit, MEMBER, "PUT,GET", PUT_SET},
    {"_history_kept", database_history_kept, DB_ADMIN, "GET,PUT", PUT_64K},
    {"_compact", database_compact, DB_ADMIN, "POST", NONE},
    {"_compact/{ddoc}", view_compact, DB_ADMIN, "POST", NONE},
    {"_view_cleanup", view_cleanup, DB_ADMIN, "POST", NONE},
    {"_search_cleanup", search_cleanup, MEMBER, "POST", NONE},
    {"_nouveau_cleanup", search_cleanup, MEMBER, "POST", NONE},
    {"_temp_view", temp_view, MEMBER, "GET,POST", NONE},
    {"_find", find_post, MEMBER, "POST", POST_JSON},
    {"_explain", find_explain, MEMBER, "POST", POST_JSON},
    {"_index", find_index_any, MEMBER, "GET,POST", POST_JSON},
    {"_index/_bulk_delete", find_index_bulk_delete, MEMBER, "POST", POST_JSON},
    {"_index/_design/{ddoc}/{type}/{name}", find_index_delete, MEMBER, "DELETE", NONE},
    {"_index/{ddoc}/{type}/{name}", find_index_delete, MEMBER, "DELETE", NONE},
    {"_index/...", find_index_none, MEMBER, "GET,HEAD,POST,PUT,DELETE,COPY", NONE},
    {"_copy", copyfile_get, ADMIN, "GET", NONE},
    {"_purge", purge_docs, ADMIN, "POST", POST_JSON},
    {"_purged_infos", purge_infos, ADMIN, "GET", NONE},
    {"_purged_infos_limit", database_purged_limit, ADMIN, "GET,PUT", PUT_64K},
    {"_partition", partition_any, MEMBER, "GET", NONE},
    {"_partition/{p}", partition_any, MEMBER, "GET,POST", NONE},
    {"_partition/{p}/_all_docs", partition_any, MEMBER, "GET,HEAD,POST", POST_JSON},
    {"_partition/{p}/_all_docs/queries", partition_any, MEMBER, "POST", POST_JSON},
    {"_partition/{p}/_find", partition_any, MEMBER, "POST", POST_JSON},
    {"_partition/{p}/_explain", partition_any, MEMBER, "POST", POST_JSON},
    {"_partition/{p}/_index", partition_any, MEMBER, "GET,POST", POST_JSON},
    {"_partition/{p}/_index/_bulk_delete", partition_any, MEMBER, "POST", POST_JSON},
    {"_partition/{p}/_index/_design/{ddoc}/{type}/{name}", partition_any, MEMBER, "DELETE", NONE},
    {"_partition/{p}/_index/{ddoc}/{type}/{name}", partition_any, MEMBER, "DELETE", NONE},
    {"_partition/{p}/_index/...", find_index_none, MEMBER, "GET,HEAD,POST,PUT,DELETE,COPY", NONE},
    {"_partition/{p}/_design/{d}/_view/{v}", partition_any, MEMBER, "GET,HEAD,POST", POST_JSON},
    {"_partition/{p}/_design/{d}/_view/{v}/queries", partition_any, MEMBER, "POST", POST_JSON},
    {"_partition/...", partition_any, MEMBER, "GET,HEAD,POST", NONE},
    {"_shards", cluster_shards, MEMBER, "GET", NONE},
    {"_shards/{id}", cluster_shards, MEMBER, "GET", NONE},
    {"_sync_shards", cluster_sync_shards, ADMIN, "POST", NONE},
};

/* Functions of a design document; every other name behind it is an attachment's. */
static const struct route design_table[] = {
    {"_view/{v}", view_any, MEMBER, "GET,POST,HEAD", POST_JSON},
    {"_view/{v}/queries", view_any, MEMBER, "POST", POST_JSON},
    {"_view/...", view_place, MEMBER, "GET,POST,HEAD", NONE},
    {"_info", view_info, MEMBER, "GET", NONE},
    {"_show/...", designfuns_show, MEMBER, "GET,HEAD,POST,PUT,DELETE,COPY,OPTIONS", NONE},
    {"_list/...", lists_any, MEMBER, "GET,HEAD,POST,OPTIONS", POST_JSON},
    {"_update/...", designfuns_update, MEMBER, "GET,HEAD,POST,PUT,DELETE,COPY", NONE},
    {"_rewrite/...", rewrites_any, MEMBER, "GET,HEAD,POST,PUT,DELETE,COPY", NONE},
    {"_search/...", search_clouseau, MEMBER, "GET,POST", NONE},
    {"_search_info/...", search_clouseau, MEMBER, "GET", NONE},
    {"_search_disk_size/...", search_clouseau, MEMBER, "GET", NONE},
    {"_nouveau/...", search_nouveau, MEMBER, "GET,POST", NONE},
    {"_nouveau_info/...", search_nouveau, MEMBER, "GET", NONE},
};

static void database_any(struct apireq *r);
static void redirect_design(struct apireq *r);

/* The places. */
static const struct route root_place = {"/", root_welcome, ANYBODY, "GET,HEAD", NONE};
static const struct route make_place = {"{db}", database_root, ADMIN, "PUT,DELETE", NONE};
static const struct route db_place = {"{db}", database_any, MEMBER, "DELETE,GET,HEAD,POST", NONE};
static const struct route redirect_place = {"_design%2F{d}", redirect_design, MEMBER, "GET", NONE};
static const struct route local_place = {"_local/{l}", local_any, MEMBER, "DELETE,GET,HEAD,PUT,COPY", NONE};
static const struct route document_place = {"{id}", document_any, MEMBER, "DELETE,GET,HEAD,POST,PUT,COPY", NONE};
static const struct route attachment_place = {"{id}/{name}/...", attachment_any, MEMBER, "DELETE,GET,HEAD,PUT", NONE};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int
is(const struct jstr *part, const char *name, size_t len)
{
	return part->len == len && memcmp(part->s, name, len) == 0;
}

/* fits: 1 if ${path} is the request's, from part ${from} on. */
static int
fits(const char *path, const struct apireq *r, size_t from)
{
	const char *p = path;
	size_t i = from;

	/* Only "..." begins with a dot. */
	while (p[0] != '.') {
		const struct jstr *part = &r->part[i];
		size_t len;

		if (i == r->nparts || (p[0] != '{' && (part->len < 2 || part->s[1] != p[1])))
			return 0;
		len = strcspn(p, "/");
		if (p[0] != '{' && !is(part, p, len))
			return 0;
		i++;
		p += len;
		if (*p++ == '\0')
			return i == r->nparts;
	}
	return 1;
}

static const struct route *
lookup(const struct route *table, size_t n, const struct apireq *r, size_t from)
{
	for (size_t i = 0; i < n; i++) {
		if (fits(table[i].path, r, from))
			return &table[i];
	}
	return NULL;
}

/* ---- Who may ---- */

static int
has_role(const struct principal *who, const char *role)
{
	for (size_t i = 0; i < who->nroles; i++) {
		if (strcmp(who->roles[i], role) == 0)
			return 1;
	}
	return 0;
}

/* Documents of these are their own users' to read: not so the lists of all, nor the files themselves. */
static int
is_system(const struct jstr *name)
{
	return is(name, "_users", 6) || is(name, "_replicator", 11);
}

static enum who
who_may(const struct apireq *r, const struct route *route)
{
	const struct jstr *first = &r->part[0];

	if (r->nparts == 0 || route->who < ADMIN)
		return route->who;
	if (!is_system(first))
		return first->s[0] == '_' ? ADMIN : route->who;
	if (r->nparts > 1 && (is(&r->part[1], "_all_docs", 9) || is(&r->part[1], "_changes", 8)))
		return ADMIN;
	return route->who;
}

/* may_enter: 1 if who asks is not kept out before the database is opened; else it is answered. */
static int
may_enter(struct apireq *r, enum who who)
{
	if (r->who.server_admin || who == ANYBODY || who == MEMBER || who == DB_ADMIN)
		return 1;
	if (who == LISTER && !config_bool(r->api->config, "chttpd", "admin_only_all_dbs", 1))
		return 1;
	if (who == ACCOUNT && r->who.name != NULL)
		return 1;
	if (who == ACCOUNT) {
		api_error_text(r, 401, "unauthorized", "You are not an authenticated user");
		return 0;
	}
	if (who != WATCHER) {
		api_error(r, ERR_NOT_ADMIN, NULL);
		return 0;
	}
	if (has_role(&r->who, "_metrics"))
		return 1;
	api_error_text(r, 401, "unauthorized", "You are not a server admin or read-only metrics user");
	return 0;
}

/* is_served: 1 if ${allow} has the method; else it is answered.  HEAD is GET here. */
static int
is_served(struct apireq *r, const char *allow)
{
	size_t len = strlen(r->method);
	const char *p = allow;

	for (;;) {
		size_t n = strcspn(p, ",");

		if (n == len && memcmp(p, r->method, len) == 0)
			return 1;
		p += n;
		if (*p++ == '\0')
			break;
	}
	api_method_not_allowed(r, allow);
	return 0;
}

/* ---- The way in ---- */

/* reads_body: 1 if the route's handler gets as far as the body: what it refuses by the head is not waited for. */
static int
reads_body(const struct apireq *r, const struct route *route)
{
	switch (route->body) {
	case NONE:
		return 0;
	case POST_JSON:
		return strcmp(r->method, "POST") == 0 && api_is_json(r);
	case POST_64K:
	case POST_1M:
		return strcmp(r->method, "POST") == 0;
	case PUT_64K:
	case PUT_1M:
		return strcmp(r->method, "PUT") == 0;
	case PUT_SET:
		return strcmp(r->method, "PUT") == 0 && db_is_admin(r->db);
	}
	return 0;
}

static uint64_t
body_max(const struct route *route)
{
	switch (route->body) {
	case POST_64K:
	case PUT_64K:
		return 64u << 10;
	case POST_1M:
	case PUT_1M:
		return 1u << 20;
	case NONE:
	case POST_JSON:
	case PUT_SET:
		break;
	}
	return UINT64_MAX;
}

static void
enter(struct apireq *r, const struct route *route)
{
	if (!is_served(r, route->allow))
		return;
	r->body_max = body_max(route);
	if (reads_body(r, route))
		api_gather(r, route->fn);
	else
		route->fn(r);
}

/* Part 1 and part 2 are one id: the slash between them is put back where the splitter ended part 1. */
static void
join_id(struct apireq *r)
{
	char *slash;

	union {
		const char *c;
		char *m;
	} s = {r->part[1].s};
	slash = s.m + r->part[1].len;
	*slash = '/';
	r->id.s = r->part[1].s;
	r->id.len = r->part[1].len + 1 + r->part[2].len;
	r->nid = 3;
}

/* GET /{db}/_design%2Fx is sent to the form with the slash. */
static void
redirect_design(struct apireq *r)
{
	struct buf b;
	struct jstr raw = {r->raw_rest, r->raw_rest_len};
	struct jstr name = r->part[0];
	const char *rest;
	struct jstr q;

	buf_init(&b, LIMIT_URL_LEN * 4);
	api_base_url(r, &b);
	buf_putc(&b, '/');
	api_url_encode(&b, name.s, name.len);
	buf_puts(&b, "/_design/");
	/* Behind "_design%2F", which was written in one of two ways. */
	rest = memmem(raw.s, raw.len, "_design%2", 9);
	if (rest)
		buf_put(&b, rest + 10, (size_t)(raw.s + raw.len - rest) - 10);
	else
		api_url_encode(&b, r->part[1].s + 8, r->part[1].len - 8);
	q = http_query(r->http);
	if (q.len > 0) {
		buf_putc(&b, '?');
		buf_put(&b, q.s, q.len);
	}
	if (buf_failed(&b)) {
		int err = buf_failed(&b);

		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_done(r);
	http_set_header(r->http, "location", b.data, b.len);
	http_reply(r->http, 301, "", 0);
	buf_release(&b);
}

static void
database_any(struct apireq *r)
{
	if (strcmp(r->method, "POST") == 0)
		document_post(r);
	else
		database_root(r);
}

static const struct route *
plain_place(struct apireq *r)
{
	r->id = r->part[1];
	r->nid = 2;
	return r->nparts > 2 ? &attachment_place : &document_place;
}

static const struct route *
design_place(struct apireq *r)
{
	const struct route *route = NULL;

	if (r->nparts > 3)
		route = lookup(design_table, COUNT(design_table), r, 3);
	if (!route) {
		join_id(r);
		route = r->nparts > 3 ? &attachment_place : &document_place;
	}
	return route;
}

/* place: What is below /{db}. */
static const struct route *
place(struct apireq *r)
{
	const struct jstr *name = &r->part[1];
	const struct route *route;

	if (r->nparts == 1)
		return &db_place;
	if (name->len == 0 || name->s[0] != '_')
		return plain_place(r);
	if (is(name, "_design", 7) && r->nparts > 2)
		return design_place(r);
	if (is(name, "_local", 6) && r->nparts > 2) {
		join_id(r);
		return &local_place;
	}
	if (is(name, "_local", 6) || (name->len >= 7 && memcmp(name->s, "_local/", 7) == 0)) {
		plain_place(r);
		return &local_place;
	}
	if (name->len > 8 && memcmp(name->s, "_design/", 8) == 0 && strcmp(r->method, "GET") == 0)
		return &redirect_place;
	route = lookup(db_table, COUNT(db_table), r, 1);
	return route ? route : plain_place(r);
}

static void
go_database(struct apireq *r)
{
	const struct route *route;
	enum who who;
	int err;

	if (r->nparts == 1 && (strcmp(r->method, "PUT") == 0 || strcmp(r->method, "DELETE") == 0)) {
		if (may_enter(r, ADMIN))
			enter(r, &make_place);
		return;
	}
	route = place(r);
	who = who_may(r, route);
	if (!may_enter(r, who))
		return;
	/* A NUL would cut the name short and so name another database. */
	if (memchr(r->part[0].s, '\0', r->part[0].len)) {
		api_error(r, ERR_NO_DB, NULL);
		return;
	}
	err = db_open(r->api->dbs, r->part[0].s, &r->who, &r->db);
	if (err) {
		r->db = NULL;
		api_error(r, err, NULL);
	} else if (who == DB_ADMIN && !db_is_admin(r->db)) {
		api_error_text(r, 401, "unauthorized", "You are not a server or db admin.");
	} else {
		enter(r, route);
	}
}

void
router_go(struct apireq *r)
{
	const struct route *route = NULL;

	if (r->nparts == 0)
		route = &root_place;
	else if (r->part[0].s[0] == '_' || is(&r->part[0], "favicon.ico", 11))
		route = lookup(server_table, COUNT(server_table), r, 0);
	if (!route)
		go_database(r);
	else if (may_enter(r, who_may(r, route)))
		enter(r, route);
}
