/*
 * api.h: what every handler of the HTTP API shares: the request's context, its decoded
 * path and query, answers in CouchDB's form, and work off the event loop.
 */
#ifndef HTTPAPI_API_H_
#define HTTPAPI_API_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"
#include "db/db.h"
#include "httpapi/config.h"
#include "http/http.h"
#include "httpapi/spool.h"

#define API_COUCHDB_VERSION "3.5.0" /* of CouchDB, as clients compare it */
#define API_NODE "divan@127.0.0.1"  /* the one node's name, also known as _local */
#define API_SCRATCH 65536u          /* what the JSON reader may ask of a scratch buffer beyond its text */
#define API_PATH_PARTS 8u           /* decoded parts of a path; attachment names keep the rest in the last */

/* The whole API of one server. */
struct api {
	struct dbs *dbs;
	struct executor *ex;
	struct executor *slow;    /* for what may take seconds: users' functions */
	struct executor *lists;   /* for requests that keep a process of users' functions: nothing here waits for one */
	struct executor *hashers; /* for the passwords of logins, which wait behind nothing else; NULL: ex */
	struct http_server *server;
	struct config *config;
	char uuid[33];                   /* of this server, kept in the data folder */
	char secret[65];                 /* of session cookies, where none is configured; kept there too */
	struct feeds *feeds;             /* open _changes requests: feeds.c */
	struct updatefeeds *updatefeeds; /* _db_updates: updatefeeds.c */
	struct accounts *accounts;       /* who has an account: accounts.c */
	struct db_rules users;           /* of the databases that have users' documents: users.c */
	struct sessions *auth;           /* cached credential checks: auth.c */
	struct cors *cors;               /* what is allowed to pages of other origins: cors.c */
	int xframe;                      /* answers say who may show them in a frame: xframe.c */
	struct transport *transport;     /* what becomes of plain HTTP: transport.c */
	struct web *web;                 /* the built page: web.c */
	struct spools spools;            /* what waits for slow clients: lists.c */
	struct copies *copies;           /* copies of databases on their way: copyfile.c */
	struct scripts *scripts;         /* users' JavaScript */
	struct replicator *replicator;   /* copies between databases: replications.c */
	struct replications *replications;
	struct db_rules repdocs; /* of the databases that describe replications: repdocs.c */
	struct views *views;     /* indexes of what it emits */
	struct lives *lives;     /* what live queries share: live_home.c */
};

/* One parameter of the query string, decoded. */
struct api_param {
	struct jstr name;
	struct jstr value;
};

/* Handlers end in exactly one answer, at once or later. */
struct apireq;
struct query_selector;
struct query_fields;
struct feedjudge;
typedef void api_f(struct apireq *r);

/* One request. */
struct apireq {
	struct api *api;
	struct http_req *http;
	struct arena *arena; /* the request's */
	const char *method;  /* X-HTTP-Method-Override is applied; "GET" for HEAD too (http_method() tells) */
	struct jstr part[API_PATH_PARTS]; /* decoded: part[0] is the database or "_session" ... */
	size_t nparts;
	struct jstr id;       /* of a document, whole and decoded, such as "_design/d" or "_local/l" */
	size_t nid;           /* index of the first part behind the id; see api_tail() */
	const char *raw_rest; /* undecoded path behind part[0]'s slash, not terminated; */
	size_t raw_rest_len;  /* api_tail() is what attachment names want */
	const struct api_param *params;
	size_t nparams;
	struct principal who;      /* set by auth.c before a handler runs */
	const char *authenticated; /* "default", "cookie", or NULL: anonymous */
	struct db *db;             /* opened by the router for /{db}/...; closed by api_done() */
	void *cookie;              /* the handler's own state */
	api_f *gathered;           /* who waits for the body: api_gather() */
	struct jstr request_id;    /* in the answer's x-couch-request-id and in the log */
	char made_id[10];          /* where the client brought none */
	int minimal;               /* "Prefer: return=minimal": only headers that clients can't do without */
	struct jstr body;          /* what api_body() gives, */
	int body_err;              /* or says */
	uint64_t body_max;         /* what it may have, unpacked: more is ERR_TOO_LARGE; the router sets it */
	/* Of a feed's filter; freed by api_done(). */
	struct query_selector *selector;
	struct query_fields *fields;
	struct feedjudge *judge;
	struct live *live; /* a live query; likewise */
	unsigned rewrites; /* how often rewrites.c has sent it on */
};

/**
 * api_new(api): Make what the files below keep, once dbs, ex, config and uuid are set.  api_free()
 * frees that alone.
 */
int api_new(struct api *api) MUST_CHECK;
void api_free(struct api *api);
/**
 * api_handle(http, cookie): The engine's handle() callback: builds the struct apireq,
 * authenticates, routes.  ${cookie} is the struct api.
 */
void api_handle(struct http_req *http, void *cookie);

/**
 * api_path(r, path, query): From now on ${r} is a request of this path and query, for router_go(); ${path} lives as long as it.
 * Errors: ERR_NOMEM, ERR_BAD_URL.
 */
int api_path(struct apireq *r, struct jstr path, struct jstr query) MUST_CHECK;

/* ---- Parameters ---- */

/** api_param(r, name): The last value of query parameter ${name}, or NULL. */
const struct jstr *api_param(const struct apireq *r, const char *name);
/** api_item(pp, end, item): The next item of a comma-separated list between *${pp} and ${end}, trimmed and not empty; 0 at its end. */
int api_item(const char **pp, const char *end, struct jstr *item);
/** api_param_is(r, name, value): 1 if ${name} was given and is ${value}. */
int api_param_is(const struct apireq *r, const char *name, const char *value);
/**
 * api_param_bool(r, name, vp): *${vp} is set if the parameter is "true" or "false"; other values:
 * ERR_QUERY_PARSE and ${why} in CouchDB's words.
 */
int api_param_bool(const struct apireq *r, const char *name, int *vp, struct errtext *why) MUST_CHECK;
/** api_param_u64(r, name, vp, why): The same for a non-negative integer. */
int api_param_u64(const struct apireq *r, const char *name, uint64_t *vp, struct errtext *why) MUST_CHECK;
/**
 * api_param_json_string(r, name, outp, why): A parameter that is a JSON string, such as startkey,
 * unescaped into the arena; *${outp} stays as it was where there is none.  Errors: ERR_BAD_JSON;
 * ERR_BAD_REQUEST where it is JSON of another type; ERR_NOMEM.
 */
int api_param_json_string(const struct apireq *r, const char *name, struct jstr *outp, struct errtext *why) MUST_CHECK;
/**
 * api_tail(r, from, outp): The decoded parts from index ${from} on, joined by '/' and terminated,
 * in the arena; len 0 if there are none.  Errors: ERR_NOMEM.
 */
int api_tail(struct apireq *r, size_t from, struct jstr *outp) MUST_CHECK;
/** api_ddoc_id(r, name, idp): The id of the design document that a path calls ${name}, terminated, in the arena.  Errors: ERR_NOMEM. */
int api_ddoc_id(struct apireq *r, struct jstr name, struct jstr *idp) MUST_CHECK;
/** api_param_end(p, end): The "&" or ";" that ends the parameter at ${p} of a query or a form, as in CouchDB; ${end}: there is none. */
const char *api_param_end(const char *p, const char *end);
/**
 * api_url_decode(a, s, len, plus_is_space, outp): Percent-decode into ${a}, terminated.  Errors:
 * ERR_BAD_URL, ERR_NOMEM.
 */
int api_url_decode(struct arena *a, const char *s, size_t len, int plus_is_space, struct jstr *outp) MUST_CHECK;

/* ---- Answers ---- */

/*
 * The common headers (x-couch-request-id, x-couchdb-body-time, CORS) are set before a handler runs.
 * The api_* answers call api_done(); who answers through http_reply() or http_start() calls it
 * itself, before the last http_* call on the request (http_reply, http_finish, http_abort) and in
 * the stream's stop callback.
 */
/**
 * api_done(r): Close what the router opened for the request.  May be called again; r->db is NULL
 * behind it.
 */
void api_done(struct apireq *r);
/**
 * api_json_head(r): The headers of a JSON answer (content-type, cache-control: must-revalidate),
 * for streams.
 */
void api_json_head(struct apireq *r);
/** api_compress_load(api): Tell ${api}->server what chttpd/compress_responses says: at the start, and when it changes. */
void api_compress_load(struct api *api);
/**
 * api_not_modified(r, etag, len): Set the ETag header (${etag} has its quotes) and, if
 * If-None-Match names it, answer 304 and return 1: the request is then over.
 */
int api_not_modified(struct apireq *r, const char *etag, size_t len) MUST_CHECK;

/** api_error(r, code, why): {"error","reason"} with the status of ${code}; ${why} may be NULL or empty. */
void api_error(struct apireq *r, int code, const struct errtext *why);
/** api_error_text(r, status, error, reason): The same with words that stand in no table. */
void api_error_text(struct apireq *r, int status, const char *error, const char *reason);
/**
 * api_json(r, status, b): ${b} with a newline behind it as application/json; ${b}'s memory is
 * taken.  cache-control and the like are set here.
 */
void api_json(struct apireq *r, int status, struct buf *b);
/** api_ok(r, status): {"ok":true}. */
void api_ok(struct apireq *r, int status);
/** api_method_not_allowed(r, allow): 405 with Allow: ${allow}, e.g. "GET,HEAD". */
void api_method_not_allowed(struct apireq *r, const char *allow);
/**
 * api_is_json(r): 0 if the Content-Type is missing or not application/json; the caller answers
 * ERR_CONTENT_TYPE.  Only POST endpoints ask.
 */
int api_is_json(const struct apireq *r);
/** api_json_post(r): 1 if the request is a POST of JSON; else it is answered, by 405 or 415. */
int api_json_post(struct apireq *r) MUST_CHECK;
/** api_referer_check(r, why): A form's Referer must name this host.  Errors: ERR_BAD_REQUEST. */
int api_referer_check(const struct apireq *r, struct errtext *why) MUST_CHECK;
/**
 * api_gather(r, fn): ${fn}(r) once all of the request's body is there and unpacked, which is at once for all but large
 * or compressed ones.  What can be refused without the body is refused before.
 */
void api_gather(struct apireq *r, api_f *fn);
/**
 * api_body(r, bodyp, why): The request's body, for who was called by api_gather() alone, uncompressed
 * (Content-Encoding: gzip, bounded).  On any thread if r->body_err is 0, else on the request's: the headers say what was wrong.
 * Errors: ERR_TOO_LARGE, ERR_BAD_REQUEST, ERR_CONTENT_TYPE (415 for other encodings).
 */
int api_body(struct apireq *r, struct jstr *bodyp, struct errtext *why) MUST_CHECK;
/** api_body_encoding(r, gzipp, why): *${gzipp} is 1 if the body comes as gzip.  Errors: ERR_CONTENT_TYPE for other encodings. */
int api_body_encoding(const struct apireq *r, int *gzipp, struct errtext *why) MUST_CHECK;
/**
 * api_object(j, text, why): Set ${j} before the first member of the object that the body ${text} must
 * be; what follows is not looked at yet.  Errors: ERR_BAD_JSON, ERR_BAD_REQUEST.
 */
int api_object(struct jread *j, struct jstr text, struct errtext *why) MUST_CHECK;
/**
 * api_url_encode(b, s, len): Append ${s} with everything but letters, digits and "-._:" as %XX, as
 * CouchDB writes ids into Location.
 */
int api_url_encode(struct buf *b, const char *s, size_t len);
/**
 * api_forwarded(r, which): What a reverse proxy says in the header that the setting ${which} of chttpd or httpd names:
 * x_forwarded_host, x_forwarded_proto, x_forwarded_ssl.
 */
struct jstr api_forwarded(const struct apireq *r, const char *which);
/** api_base_url(r, b): Append "http://host[:port]", as the client sees this server. */
int api_base_url(struct apireq *r, struct buf *b);
/**
 * api_location(r, id, att): Set Location to the URL of the request's database, of its document ${id}
 * where that is not empty, of that one's attachment ${att} likewise.  Without memory none is set,
 * which is an error only to who says so: ERR_NOMEM, ERR_TOO_LARGE.
 */
int api_location(struct apireq *r, struct jstr id, struct jstr att);

/* ---- Off the event loop ---- */

/**
 * api_work(r, work, then): Run ${work}(r) on an executor thread, then ${then}(r) on the request's
 * own thread.  ${work} may use r->arena, r->db and r->cookie, and nothing of r->http.  Holds the
 * request meanwhile.
 * Without memory it answers the request and returns ERR_NOMEM, which only those look at who have
 * more to undo.
 */
int api_work(struct apireq *r, api_f *work, api_f *then);
/** api_work_slow(r, work, then): The same for work that may take seconds: nobody's commit waits behind it. */
int api_work_slow(struct apireq *r, api_f *work, api_f *then);
/** api_work_by(r, len, work, then): api_work() if there are more than API_INLINE_BYTES to work on, ${len}; else both at once, and 0. */
int api_work_by(struct apireq *r, size_t len, api_f *work, api_f *then);
/**
 * api_parse(r, parse, then): api_work_by() the length of the body that api_gather() brought, which ${parse} reads.  Without one that can
 * be read ${parse} runs at once, and finds api_body()'s error.
 */
void api_parse(struct apireq *r, api_f *parse, api_f *then);

/**
 * api_submit(r, req, then): db_submit() and ${then}(r) on the request's own thread once the request
 * is done.  Large requests are prepared on an executor thread (more than API_INLINE_BYTES of
 * bodies, or as much else to do); one with attachments waits while the database's queue is full.  If it could not be queued, every write's err
 * is set, and ${then} runs all the same.  The request counts as one that wrote (http_wrote()).
 */
void api_submit(struct apireq *r, struct db_request *req, api_f *then);
#define API_INLINE_BYTES 65536u

/* ---- Handlers, by file.  The router (router.c) has the table. ---- */

/* root.c */
void root_welcome(struct apireq *r);        /* / */
void root_up(struct apireq *r);             /* /_up */
void root_uuids(struct apireq *r);          /* /_uuids */
void root_all_dbs(struct apireq *r);        /* /_all_dbs */
void root_dbs_info(struct apireq *r);       /* /_dbs_info */
void root_active_tasks(struct apireq *r);   /* /_active_tasks */
void root_membership(struct apireq *r);     /* /_membership */
void root_reload_scripts(struct apireq *r); /* /_reload_query_servers */

/* node.c, auth_session.c, web.c */
void node_any(struct apireq *r);     /* /_node/... */
void auth_session(struct apireq *r); /* /_session */
void web_file(struct apireq *r);     /* /_utils/... and /favicon.ico */

/* cluster.c */
void cluster_setup(struct apireq *r);         /* /_cluster_setup */
void cluster_reshard(struct apireq *r);       /* /_reshard */
void cluster_reshard_state(struct apireq *r); /* /_reshard/state */
void cluster_reshard_jobs(struct apireq *r);  /* /_reshard/jobs */
void cluster_reshard_job(struct apireq *r);   /* /_reshard/jobs/{job}, its state, and what else is below _reshard */
void cluster_shards(struct apireq *r);        /* /{db}/_shards and /{db}/_shards/{id} */
void cluster_sync_shards(struct apireq *r);   /* /{db}/_sync_shards */

/* database.c */
void database_root(struct apireq *r);         /* /{db}, but for POST */
void database_security(struct apireq *r);     /* /{db}/_security */
void database_revs_limit(struct apireq *r);   /* /{db}/_revs_limit */
void database_purged_limit(struct apireq *r); /* /{db}/_purged_infos_limit */
void database_history_kept(struct apireq *r); /* /{db}/_history_kept */
void database_full_commit(struct apireq *r);  /* /{db}/_ensure_full_commit */
void database_compact(struct apireq *r);      /* /{db}/_compact */

/* search.c: what stands in for full-text search */
void search_clouseau(struct apireq *r); /* /{db}/_design/{d}/_search..., /_search_analyze */
void search_nouveau(struct apireq *r);  /* /{db}/_design/{d}/_nouveau..., /_nouveau_analyze */
void search_cleanup(struct apireq *r);  /* /{db}/_search_cleanup, /{db}/_nouveau_cleanup */

/* alldocs.c, partition.c */
void alldocs_any(struct apireq *r);       /* /{db}/_all_docs, _design_docs, _local_docs, their /queries */
void alldocs_partition(struct apireq *r); /* /{db}/_partition/{p}/_all_docs */
void partition_any(struct apireq *r);     /* /{db}/_partition/... */
/** partition_check(name): NULL, or what is wrong with a partition's name, in CouchDB's words.  Static. */
const char *partition_check(const struct jstr *name);
/** partition_ids(a, name, firstp, behindp): Its documents' ids: from *${firstp} on, below *${behindp}, both in ${a}.  Errors: ERR_NOMEM, ERR_TOO_LARGE. */
int partition_ids(struct arena *a, const struct jstr *name, struct jstr *firstp, struct jstr *behindp) MUST_CHECK;

/* bulk.c, bulk_diff.c, bulk_get.c */
void bulk_docs(struct apireq *r);         /* /{db}/_bulk_docs */
void bulk_revs_diff(struct apireq *r);    /* /{db}/_revs_diff */
void bulk_missing_revs(struct apireq *r); /* /{db}/_missing_revs */
void bulk_get(struct apireq *r);          /* /{db}/_bulk_get */

/* changes.c, purge.c */
void changes_any(struct apireq *r); /* /{db}/_changes */
void purge_docs(struct apireq *r);  /* /{db}/_purge */
void purge_infos(struct apireq *r); /* /{db}/_purged_infos */

/* updatefeeds.c */
void updatefeeds_any(struct apireq *r); /* /_db_updates */

/* find_explain.c */
void find_explain(struct apireq *r); /* /{db}/_explain, /{db}/_partition/{p}/_explain */

/* find_index.c */
void find_index_any(struct apireq *r);         /* /{db}/_index */
void find_index_bulk_delete(struct apireq *r); /* /{db}/_index/_bulk_delete */
void find_index_delete(struct apireq *r);      /* /{db}/_index/{ddoc}/{type}/{name} */
void find_index_none(struct apireq *r);        /* /{db}/_index/... */

/* view.c, view_info.c */
void view_any(struct apireq *r);       /* /{db}/_design/{d}/_view/... */
void view_partition(struct apireq *r); /* /{db}/_partition/{p}/_design/{d}/_view/{v} */
void view_info(struct apireq *r);      /* /{db}/_design/{d}/_info */
void view_compact(struct apireq *r);   /* /{db}/_compact/{ddoc} */
void view_cleanup(struct apireq *r);   /* /{db}/_view_cleanup */

/* find.c */
void find_post(struct apireq *r); /* /{db}/_find and /{db}/_partition/{p}/_find */

/* copyfile.c */
void copyfile_get(struct apireq *r); /* /{db}/_copy */

/* designfuns.c */
void designfuns_show(struct apireq *r);   /* /{db}/_design/{d}/_show/... */
void designfuns_update(struct apireq *r); /* /{db}/_design/{d}/_update/... */

/* replicate.c */
void replicate_post(struct apireq *r);      /* /_replicate */
void replicate_scheduler(struct apireq *r); /* /_scheduler/... */

/* lists.c, rewrites.c */
void lists_any(struct apireq *r);    /* /{db}/_design/{d}/_list/... */
void rewrites_any(struct apireq *r); /* /{db}/_design/{d}/_rewrite/... */

/* document.c, local.c, attachment.c */
void document_post(struct apireq *r);  /* POST /{db} */
void document_any(struct apireq *r);   /* /{db}/{id}, /{db}/_design/{d} */
void local_any(struct apireq *r);      /* /{db}/_local/{id} */
void attachment_any(struct apireq *r); /* /{db}/{id}/{name...} */

#endif
