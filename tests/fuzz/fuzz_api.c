/*
 * The whole HTTP API as series of requests: paths, parameters, headers and bodies go through routing and the handlers to databases,
 * indexes, accounts and replications in memory, with everything that main.c joins but sockets, disks and the network.  The input is
 * text, requests one after the other:
 *
 *	METHOD /target
 *	@header: value          any number; @anon: without credentials; @as: NAME:PASSWORD: with these; @piece: N: the body comes
 *	                        N bytes at a time; @gone: the client vanishes behind the first half of its body, or of the answer;
 *	                        @keep: a client that waits stays until the end; @later: what was to run later runs before
 *	body
 *	%%
 *
 * In target, headers and body $R is the newest revision that was answered, $S the one before, $T the one before that, $B the
 * newest bookmark, $L the newest last_seq, $C the cookie of the newest session.  The databases are /d and /p, which is partitioned, and
 * _users and _replicator.  What JavaScript answers stands in the functions: children.h.  Each request gets one answer, which says what
 * it is in CouchDB's form, and never a 500; at the end all databases are sound, and what they count is what they list.
 */
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/log.h"
#include "children.h"
#include "db/db.h"
#include "engine.h"
#include "fuzz.h"
#include "httpapi/api.h"
#include "httpapi/accounts.h"
#include "httpapi/config_impl.h"
#include "httpapi/copyfile.h"
#include "httpapi/designcheck.h"
#include "httpapi/feeds.h"
#include "httpapi/live_home.h"
#include "httpapi/repdocs.h"
#include "httpapi/repfilter.h"
#include "httpapi/replications.h"
#include "http/http.h"
#include "httpapi/updatefeeds.h"
#include "httpapi/users.h"
#include "httpapi/validators.h"
#include "replicator/replicator.h"
#include "replicator/spec.h"
#include "script/script.h"
#include "views/views.h"

#define REQUESTS 64u
#define KEPT 4u        /* clients that wait while others are served */
#define NAMED_MAX 600u /* of a bookmark or a sequence */

static const struct principal admin = {.name = "admin", .server_admin = 1};
static const struct rep_defaults defaults = {.server = "fuzz",
    .checkpoint_ms = 5000,
    .workers = 1,
    .batch = 10,
    .connections = 2,
    .retries = 1,
    .timeout_ms = 1000,
    .checkpoints = 1,
    .bulk_get = 1};

static struct api api;
static struct http_req *kept[KEPT];

/* ---- The replicator: of this server's databases alone ---- */

int
replications_parse(struct api *a, struct jstr text, struct arena *arena, struct rep_spec *out, struct errtext *why)
{
	(void)a;
	return spec_parse(text, &defaults, arena, out, why);
}

/* ---- Requests ---- */

static char revs[3][REV_MAX]; /* the newest first */
static char bookmark[NAMED_MAX], last_seq[NAMED_MAX], session[SESSION_MAX];

/* last_of: The text behind the last ${key} of an answer, up to the next quote, into ${to}; 0 if there is none. */
static int
last_of(const struct buf *out, const char *key, char *to, size_t max)
{
	const char *p = out->data, *end = p != NULL ? p + out->len : NULL, *at = NULL, *stop;
	size_t n = strlen(key);

	while (p != NULL && p < end && (p = memmem(p, (size_t)(end - p), key, n)) != NULL)
		at = p += n;
	if (at == NULL || (stop = memchr(at, '"', (size_t)(end - at))) == NULL || stop - at >= (long)max)
		return 0;
	memcpy(to, at, (size_t)(stop - at));
	to[stop - at] = '\0';
	return 1;
}

/* remember: What later requests may name. */
static void
remember(const struct http_req *req)
{
	char rev[REV_MAX];

	if (last_of(&req->out, "\"rev\":\"", rev, sizeof(rev))) {
		memcpy(revs[2], revs[1], REV_MAX);
		memcpy(revs[1], revs[0], REV_MAX);
		memcpy(revs[0], rev, REV_MAX);
	}
	(void)last_of(&req->out, "\"bookmark\":\"", bookmark, sizeof(bookmark));
	(void)last_of(&req->out, "\"last_seq\":\"", last_seq, sizeof(last_seq));
	if (req->session[0] != '\0')
		memcpy(session, req->session, sizeof(session));
}

/* named: What "$X" stands for, or NULL. */
static const char *
named(uint8_t x)
{
	if (x >= 'R' && x <= 'T')
		return revs[x - 'R'];
	return x == 'B' ? bookmark : x == 'L' ? last_seq : x == 'C' ? session : NULL;
}

/* fill_in: ${text} with what is named by $R and so on in the place of that. */
static struct jstr
fill_in(struct arena *a, const uint8_t *text, size_t len)
{
	struct buf b;
	char *copy;

	buf_init(&b, MAX);
	for (size_t i = 0; i < len; i++) {
		const char *name = text[i] == '$' && i + 1 < len ? named(text[i + 1]) : NULL;

		if (name != NULL) {
			buf_puts(&b, name);
			i++;
		} else {
			buf_putc(&b, (char)text[i]);
		}
	}
	FUZZ_CHECK(buf_failed(&b) == 0);
	copy = arena_dup(a, b.len > 0 ? b.data : "", b.len);
	FUZZ_CHECK(copy != NULL);
	len = b.len;
	buf_release(&b);
	return (struct jstr){copy, len};
}

static size_t
line_len(const uint8_t *p, const uint8_t *end)
{
	const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));

	return nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);
}

static void
add_header(struct http_req *req, const char *name, struct jstr value)
{
	if (req->nheaders == HEADERS)
		return;
	req->names[req->nheaders] = (struct jstr){name, strlen(name)};
	req->values[req->nheaders++] = value;
}

/* as: The credentials "NAME:PASSWORD". */
static void
as(struct http_req *req, struct jstr credentials)
{
	struct buf b;

	buf_init(&b, MAX);
	FUZZ_CHECK(buf_puts(&b, "Basic ") == 0 && base64_put(&b, credentials.s, credentials.len) == 0);
	add_header(req, "authorization", (struct jstr){arena_dup(req->arena, b.data, b.len), b.len});
	buf_release(&b);
}

/* What the lines of a request say of its client. */
struct client {
	int anon, keep;
};

/* "@name: value". */
static void
read_header(struct http_req *req, struct jstr line, struct client *c)
{
	const char *colon = memchr(line.s, ':', line.len);
	size_t n = colon != NULL ? (size_t)(colon - line.s) : line.len;
	struct jstr value = {line.s + line.len, 0};
	char *name = arena_dup(req->arena, line.s, n);

	FUZZ_CHECK(name != NULL);
	if (strlen(name) != n)
		return; /* no engine lets it through */
	if (colon != NULL)
		value = (struct jstr){colon + 1, line.len - n - 1};
	while (value.len > 0 && *value.s == ' ') {
		value.s++;
		value.len--;
	}
	if (strcmp(name, "anon") == 0) {
		c->anon = 1;
	} else if (strcmp(name, "keep") == 0) {
		c->keep = 1;
	} else if (strcmp(name, "later") == 0) {
		(void)run_later();
	} else if (strcmp(name, "gone") == 0) {
		req->leaves = 1;
	} else if (strcmp(name, "piece") == 0) {
		req->piece = (size_t)strtoul(arena_dup(req->arena, value.s, value.len), NULL, 10) % 4096;
	} else if (strcmp(name, "as") == 0) {
		c->anon = 1;
		as(req, value);
	} else if (memchr(value.s, '\0', value.len) == NULL && strcmp(name, "authorization") != 0) {
		add_header(req, name, (struct jstr){arena_dup(req->arena, value.s, value.len), value.len});
	}
}

/* read_request: One request; 0 if its first line is none. */
static int
read_request(struct http_req *req, const uint8_t *p, const uint8_t *end, struct client *c)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "COPY", "HEAD", "OPTIONS"};
	size_t n = line_len(p, end), m;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]) && req->method == NULL; i++) {
		m = strlen(methods[i]);
		if (n > m + 1 && memcmp(p, methods[i], m) == 0 && p[m] == ' ' && p[m + 1] == '/') {
			req->method = methods[i];
			req->target = fill_in(req->arena, p + m + 1, n - m - 1);
		}
	}
	if (req->method == NULL || memchr(req->target.s, '\0', req->target.len) != NULL)
		return 0;
	for (p += n + (p + n < end); p < end && *p == '@'; p += n + (p + n < end)) {
		n = line_len(p, end);
		read_header(req, fill_in(req->arena, p + 1, n - 1), c);
	}
	if (!c->anon)
		as(req, (struct jstr){"admin:adm", 9});
	if (http_header(req, "content-type").s == NULL)
		add_header(req, "content-type", (struct jstr){"application/json", 16});
	add_header(req, "host", (struct jstr){"127.0.0.1:5984", 14});
	req->body = fill_in(req->arena, p, (size_t)(end - p));
	req->there = req->piece > 0 || req->leaves ? 0 : req->body.len;
	req->piece = req->piece > 0 ? req->piece : 7;
	return 1;
}

/* Is what is answered a function's own? */
static int
is_functions(const struct http_req *req)
{
	static const char *const kinds[] = {"_list", "_show", "_update", "_rewrite"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (memmem(req->target.s, req->target.len, kinds[i], strlen(kinds[i])) != NULL)
			return 1;
	return fake_spoke;
}

static void
check_answer(const struct http_req *req)
{
	struct jread j;
	int err;

	if (req->leaves) /* nobody hears what is said of the half that did not come */
		return;
	if (req->status == 500 && memmem(req->out.data, req->out.len, "is no gzip, or not as long", 26) != NULL)
		return; /* the input lied, as CouchDB lets it */
	if (req->status == 500 && (fake_spoke || memmem(req->out.data, req->out.len, "\"invalid_value\"", 15) != NULL))
		return; /* what a function, or one that is built in, does not take is told so, as CouchDB does */
	if (req->status == 500)
		fprintf(stderr, "%s %.*s: %.*s\n", req->method, (int)req->target.len, req->target.s, (int)req->out.len,
		    req->out.data);
	FUZZ_CHECK(req->status != 500);
	if (!req->json || req->bytes || req->gone || strcmp(req->method, "HEAD") == 0 || is_functions(req) ||
	    memmem(req->target.s, req->target.len, "feed", 4) != NULL)
		return;
	jread_init(&j, req->out.data != NULL ? req->out.data : "", req->out.len);
	err = jread_skip(&j, NULL);
	err = err ? err : jread_end(&j);
	if (err)
		fprintf(stderr, "%s %.*s: no JSON: %.*s\n", req->method, (int)req->target.len, req->target.s,
		    (int)req->out.len, req->out.data);
	FUZZ_CHECK(err == 0);
	if (req->status >= 400)
		FUZZ_CHECK(memcmp(req->out.data, "{\"error\":", 9) == 0 || req->out.data[0] == '[');
}

static void
end_request(struct http_req *req)
{
	FUZZ_CHECK(req->refs == (req->finished ? 0 : 1));
	check_answer(req);
	remember(req);
	buf_release(&req->out);
	arena_free(req->arena);
	free(req);
}

/* leave: Its client waits for what does not come, and goes. */
static void
leave(struct http_req *req)
{
	if (!req->finished) {
		FUZZ_CHECK(req->started);
		if (!req->gone)
			req->stop(req->cookie);
		req->gone = 1;
		run_all();
		FUZZ_CHECK(req->finished || req->refs <= 1);
	}
	end_request(req);
}

/* keep: It stays, if there is room. */
static int
keep(struct http_req *req)
{
	for (size_t i = 0; i < KEPT; i++)
		if (kept[i] == NULL && !req->finished && req->started && !req->leaves) {
			kept[i] = req;
			return 1;
		}
	return 0;
}

static void
serve(const uint8_t *p, const uint8_t *end)
{
	struct http_req *req = calloc(1, sizeof(*req));
	struct client c = {0, 0};

	FUZZ_CHECK(req != NULL && arena_new(MAX, &req->arena) == 0);
	req->refs = 1;
	buf_init(&req->out, MAX);
	if (!read_request(req, p, end, &c)) {
		buf_release(&req->out);
		arena_free(req->arena);
		free(req);
		return;
	}
	api_handle(req, &api);
	run_all();
	/* What is neither answered nor waits for a client's sake waits for time. */
	for (unsigned n = 0; !req->finished && n < (c.keep ? 1 : FIRES) && fire(); n++)
		run_all();
	for (unsigned n = 0; !req->finished && !req->started && n < LATER && (run_later() || fire()); n++)
		run_all();
	if (!c.keep || !keep(req))
		leave(req);
}

/* ---- The databases ---- */

static uint64_t
count_docs(struct db_snap *snap)
{
	struct db_range all = {0};
	struct db_scan *scan;
	struct db_doc doc;
	struct arena *a;
	uint64_t n = 0;
	int err;

	FUZZ_CHECK(arena_new(MAX, &a) == 0);
	FUZZ_CHECK(db_docs_open(snap, &all, &scan) == 0);
	while ((err = db_docs_next(scan, a, &doc)) == 0) {
		FUZZ_CHECK(!doc.winner.deleted);
		n++;
		arena_reset(a);
	}
	FUZZ_CHECK(err == ERR_END);
	db_scan_close(scan);
	arena_free(a);
	return n;
}

static void
check_db(const char *name, int compact)
{
	struct errtext why = {""};
	struct db_info info;
	struct db_snap *snap;
	struct db *db;
	int err = db_open(api.dbs, name, &admin, &db);

	if (err == ERR_NO_DB) /* the input removed it */
		return;
	FUZZ_CHECK(err == 0);
	if (compact) {
		FUZZ_CHECK(db_compact(db) == 0);
		run_all();
	}
	err = db_check(db, &why);
	if (err != 0)
		fprintf(stderr, "db_check of %s: %s: %s\n", name, err_reason(err), why.text);
	FUZZ_CHECK(err == 0);
	FUZZ_CHECK(db_info(db, &info) == 0 && db_snap_begin(db, &snap) == 0);
	FUZZ_CHECK(count_docs(snap) == info.doc_count);
	db_snap_end(snap);
	db_close(db);
}

/* ---- The server, as main.c makes it ---- */

static void
moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	(void)cookie;
	(void)incarnation;
	if (api.accounts != NULL)
		accounts_moved(&api, name, seq, dropped);
	if (api.feeds != NULL)
		feeds_moved(&api, name, seq, dropped);
	if (api.updatefeeds != NULL)
		updatefeeds_moved(&api, name, seq, dropped);
	if (api.replicator != NULL)
		replicator_moved(api.replicator, name, seq, dropped);
	if (api.views == NULL)
		return;
	if (dropped)
		views_dropped(api.views, name);
	else
		views_moved(api.views, name);
	if (dropped)
		scripts_forget(api.scripts, name);
}

static const struct db_rules *
rules(void *cookie, const char *name)
{
	const struct db_rules *found = users_rules(cookie, name);

	return found != NULL ? found : repdocs_rules(cookie, name);
}

static int
owner_account(void *cookie, const char *name, struct arena *a, struct principal *out)
{
	(void)cookie, (void)a;
	*out = (struct principal){.name = name};
	return 0;
}

static void
open_databases(void)
{
	static const struct db_options partitioned = {.partitioned = 1};
	struct dbs_config config = {.ex = &executor,
	    .slow = &executor,
	    .preparer = &executor,
	    .moved = moved,
	    .validate = validators_run,
	    .validate_cookie = &api,
	    .check_design = designcheck_run,
	    .check_design_cookie = &api,
	    .rules = rules,
	    .rules_cookie = &api,
	    .max_document_size = 100000};
	struct views_config indexes = {.scripts = api.scripts, .ex = &executor, .max_updates = 1};

	FUZZ_CHECK(store_mem_new(&config.store) == 0 && dbs_new(&config, &api.dbs) == 0);
	indexes.dbs = api.dbs;
	FUZZ_CHECK(store_mem_new(&indexes.store) == 0 && views_new(&indexes, &api.views) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "_users", NULL, &admin, NULL) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "_replicator", NULL, &admin, NULL) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "d", NULL, &admin, NULL) == 0);
	FUZZ_CHECK(dbs_create(api.dbs, "p", &partitioned, &admin, NULL) == 0);
}

static void
start(void)
{
	const struct scripts_config scripts = {.exe = "/nonexistent",
	    .max_children = 2,
	    .idle_ms = 1000,
	    .timeout_ms = 1000,
	    .max_answer = 1 << 20,
	    .ex = &executor};

	memset(&api, 0, sizeof(api));
	FUZZ_CHECK(config_new(&api.config) == 0);
	/* Of the layer that no reload of files takes away. */
	FUZZ_CHECK(config_put(api.config, CONFIG_GIVEN, "admins", "admin", "adm") == 0 &&
		   config_put(api.config, CONFIG_GIVEN, "chttpd_auth", "iterations", "1") == 0);
	api.ex = api.slow = api.lists = api.hashers = &executor;
	memset(api.uuid, 'u', sizeof(api.uuid) - 1);
	memset(api.secret, 's', sizeof(api.secret) - 1);
	FUZZ_CHECK(scripts_new(&scripts, &api.scripts) == 0);
	users_init(&api);
	repdocs_init(&api);
	open_databases();
	FUZZ_CHECK(api_new(&api) == 0 && copyfile_new(&api, &executor, "/nonexistent") == 0);
	const struct replicator_config replications = {.dbs = api.dbs,
	    .ex = &executor,
	    .node = API_NODE,
	    .defaults = defaults,
	    .judge = repfilter_judge(&api),
	    .account = owner_account};

	FUZZ_CHECK(replicator_new(&replications, &api.replicator) == 0);
	FUZZ_CHECK(feeds_new(&api) == 0 && updatefeeds_new(&api) == 0 && live_home_new(&api) == 0);
	accounts_start(&api);
	FUZZ_CHECK(replicator_start(api.replicator) == 0);
	run_all();
}

/* stop: As main.c ends, but nothing waits for another thread: what is left to do is done before. */
static void
stop(void)
{
	struct replicator *r = api.replicator;

	replicator_stop(r);
	run_out();
	api.replicator = NULL;
	replicator_free(r);
	run_out();
	accounts_stop(&api);
	live_home_free(&api);
	views_free(api.views);
	api.views = NULL;
	run_out();
	dbs_free(api.dbs);
	run_all();
	scripts_free(api.scripts);
	later_jobs = NULL;
	copyfile_free(&api);
	feeds_free(&api);
	updatefeeds_free(&api);
	api_free(&api);
	config_free(api.config);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const names[] = {"d", "p", "_users", "_replicator"};
	const uint8_t *end = data + len, *at;

	log_set_level(LOG_ERROR + 1);
	executor_begin();
	fake_spoke = 0;
	memset(revs, 0, sizeof(revs));
	bookmark[0] = last_seq[0] = session[0] = '\0';
	start();
	for (unsigned i = 0; i < REQUESTS && data < end; i++) {
		at = memmem(data, (size_t)(end - data), "\n%%\n", 4);
		serve(data, at != NULL ? at : end);
		data = at != NULL ? at + 4 : end;
	}
	for (size_t i = 0; i < KEPT; i++) {
		if (kept[i] != NULL)
			leave(kept[i]);
		kept[i] = NULL;
	}
	for (int compact = 0; compact < 2; compact++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			check_db(names[i], compact);
	run_all();
	stop();
	return 0;
}
