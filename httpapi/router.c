/*
 * router.c: from a path to its handler.
 *
 *	/                     the server                        server_table
 *	/_x...                of the server                     server_table
 *	/{db}                 database_root; the database is not opened for PUT and DELETE
 *	/{db}/_x...           of the database                   db_table
 *	/{db}/_design/{d}...  a document, its functions, its attachments
 *	/{db}/_local/{l}      a local document
 *	/{db}/{id}[/{name...}] a document, an attachment
 *
 * What stands in no table is a document's id: its handler says what is wrong with ids such as "_foo".
 *
 * A large body may still be on its way.  Where a table says so it is gathered before the handler runs, unless
 * the handler will refuse the request without it; documents and attachments see to theirs themselves.
 */
#include "router.h"
#include "base/limits.h"

struct route {
	const char *name;
	api_f *fn;
	size_t max_parts;                                                        /* more are not served */
	enum { NONE, POST_JSON, POST_ANY, PUT_ANY, POST_ADMIN, PUT_ADMIN } body; /* the requests whose body it reads */
};

static void
not_implemented(struct apireq *r)
{
	api_error_text(r, 501, "not_implemented", "This endpoint is not implemented.");
}

static const struct route server_table[] = {
    {"_up", root_up, 1, NONE},
    {"_session", auth_session, 1, POST_ANY},
    {"_all_dbs", root_all_dbs, 1, NONE},
    {"_dbs_info", root_dbs_info, 1, POST_ADMIN},
    {"_uuids", root_uuids, 1, NONE},
    {"_active_tasks", root_active_tasks, 1, NONE},
    {"_membership", root_membership, 1, NONE},
    {"_node", node_any, API_PATH_PARTS, PUT_ADMIN},
    {"_utils", web_file, API_PATH_PARTS, NONE},
    {"_replicate", not_implemented, 1, NONE},
    {"_scheduler", not_implemented, API_PATH_PARTS, NONE},
    {"_db_updates", updatefeeds_any, 1, NONE},
    {"_cluster_setup", cluster_setup, 1, NONE},
};

static const struct route db_table[] = {
    {"_changes", changes_any, 2, POST_JSON},
    {"_bulk_docs", bulk_docs, 2, POST_JSON},
    {"_bulk_get", bulk_get, 2, POST_JSON},
    {"_revs_diff", bulk_revs_diff, 2, POST_JSON},
    {"_missing_revs", bulk_missing_revs, 2, POST_JSON},
    {"_all_docs", alldocs_any, 3, POST_JSON},
    {"_design_docs", alldocs_any, 3, POST_JSON},
    {"_local_docs", alldocs_any, 3, POST_JSON},
    {"_ensure_full_commit", database_full_commit, 2, NONE},
    {"_security", database_security, 2, PUT_ANY},
    {"_revs_limit", database_revs_limit, 2, PUT_ANY},
    {"_history_kept", database_history_kept, 2, PUT_ANY},
    {"_compact", database_compact, 3, NONE},
    {"_view_cleanup", database_view_cleanup, 2, NONE},
    {"_find", not_implemented, 2, NONE},
    {"_explain", not_implemented, 2, NONE},
    {"_index", not_implemented, API_PATH_PARTS, NONE},
    {"_copy", copyfile_get, 2, NONE},
    {"_purge", purge_docs, 2, POST_ADMIN},
    {"_purged_infos", purge_infos, 2, NONE},
    {"_purged_infos_limit", database_purged_limit, 2, PUT_ADMIN},
    {"_partition", partition_any, API_PATH_PARTS, POST_JSON},
    {"_shards", cluster_shards, 3, NONE},
    {"_sync_shards", cluster_sync_shards, 2, NONE},
};

/* Functions of a design document; every other name behind it is an attachment's. */
static const struct route design_table[] = {
    {"_view", not_implemented, API_PATH_PARTS, NONE},
    {"_info", not_implemented, 4, NONE},
    {"_show", not_implemented, API_PATH_PARTS, NONE},
    {"_list", not_implemented, API_PATH_PARTS, NONE},
    {"_update", not_implemented, API_PATH_PARTS, NONE},
    {"_rewrite", not_implemented, API_PATH_PARTS, NONE},
    {"_search", not_implemented, API_PATH_PARTS, NONE},
    {"_search_info", not_implemented, API_PATH_PARTS, NONE},
    {"_nouveau", not_implemented, API_PATH_PARTS, NONE},
    {"_nouveau_info", not_implemented, API_PATH_PARTS, NONE},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int
is(const struct jstr *part, const char *name, size_t len)
{
	return part->len == len && memcmp(part->s, name, len) == 0;
}

static const struct route *
lookup(const struct route *table, size_t n, const struct jstr *name, size_t nparts)
{
	for (size_t i = 0; i < n; i++) {
		if (is(name, table[i].name, strlen(table[i].name)))
			return nparts <= table[i].max_parts ? &table[i] : NULL;
	}
	return NULL;
}

/* reads_body: 1 if the route's handler gets as far as the body: what it refuses by the head is not waited for. */
static int
reads_body(const struct apireq *r, const struct route *route)
{
	switch (route->body) {
	case NONE:
		return 0;
	case POST_JSON:
		return strcmp(r->method, "POST") == 0 && api_is_json(r);
	case POST_ANY:
		return strcmp(r->method, "POST") == 0;
	case PUT_ANY:
		return strcmp(r->method, "PUT") == 0;
	case POST_ADMIN:
		return strcmp(r->method, "POST") == 0 && r->who.server_admin && api_is_json(r);
	case PUT_ADMIN:
		return strcmp(r->method, "PUT") == 0 && r->who.server_admin;
	}
	return 0;
}

static void
enter(struct apireq *r, const struct route *route)
{
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
go_document(struct apireq *r)
{
	r->id = r->part[1];
	r->nid = 2;
	if (r->nparts > 2)
		attachment_any(r);
	else
		document_any(r);
}

static void
go_design(struct apireq *r)
{
	if (r->nparts > 3) {
		const struct route *route = lookup(design_table, COUNT(design_table), &r->part[3], r->nparts);

		if (route) {
			enter(r, route);
			return;
		}
	}
	join_id(r);
	if (r->nparts > 3)
		attachment_any(r);
	else
		document_any(r);
}

static void
go_underscore(struct apireq *r)
{
	const struct jstr *name = &r->part[1];

	if (is(name, "_design", 7) && r->nparts > 2) {
		go_design(r);
	} else if (is(name, "_local", 6) && r->nparts > 2) {
		join_id(r);
		local_any(r);
	} else if (is(name, "_local", 6) || (name->len > 7 && memcmp(name->s, "_local/", 7) == 0)) {
		r->id = *name;
		r->nid = 2;
		local_any(r);
	} else if (name->len > 8 && memcmp(name->s, "_design/", 8) == 0 && strcmp(r->method, "GET") == 0) {
		redirect_design(r);
	} else {
		const struct route *route = lookup(db_table, COUNT(db_table), name, r->nparts);

		if (route)
			enter(r, route);
		else
			go_document(r);
	}
}

/* for_server_admins: Who asks for these is looked at before the database is. */
static int
for_server_admins(const struct apireq *r)
{
	const struct jstr *name = &r->part[1];

	return r->nparts == 2 && (is(name, "_purge", 6) || is(name, "_purged_infos", 13) ||
				     is(name, "_purged_infos_limit", 19) || is(name, "_sync_shards", 12));
}

static void
go_database(struct apireq *r)
{
	int err;

	if (r->nparts == 1 && (strcmp(r->method, "PUT") == 0 || strcmp(r->method, "DELETE") == 0)) {
		database_root(r);
		return;
	}
	/* A NUL would cut the name short and so name another database. */
	if (memchr(r->part[0].s, '\0', r->part[0].len)) {
		api_error(r, ERR_NO_DB, NULL);
		return;
	}
	if (for_server_admins(r) && !r->who.server_admin) {
		api_error(r, ERR_NOT_ADMIN, NULL);
		return;
	}
	err = db_open(r->api->dbs, r->part[0].s, &r->who, &r->db);
	if (err) {
		r->db = NULL;
		api_error(r, err, NULL);
	} else if (r->nparts == 1) {
		if (strcmp(r->method, "POST") == 0)
			document_post(r);
		else
			database_root(r);
	} else if (r->part[1].len > 0 && r->part[1].s[0] == '_') {
		go_underscore(r);
	} else {
		go_document(r);
	}
}

void
router_go(struct apireq *r)
{
	const struct jstr *first;
	const struct route *route = NULL;

	if (r->nparts == 0) {
		root_welcome(r);
		return;
	}
	first = &r->part[0];
	if (first->s[0] == '_')
		route = lookup(server_table, COUNT(server_table), first, r->nparts);
	if (route)
		enter(r, route);
	else if (r->nparts == 1 && is(first, "favicon.ico", 11))
		web_file(r);
	else
		go_database(r);
}
