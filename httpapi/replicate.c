/*
 * replicate.c: replications over HTTP: /_replicate, and what is told of them below /_scheduler.
 *
 *	replicate_post -> start (may wait) -> started: the answer, or nothing yet
 *	                    `-> ended (the replication's end, any thread) -> answered
 *
 * 1. A request whose replication runs is held by it: ended() comes once, perhaps before started().  Both are heard on the
 *    request's thread, and only one of them answers.
 * 2. A client that goes away leaves its replication running, as in CouchDB.
 */
#include "httpapi/api.h"

#include <stdlib.h>

#include "base/limits.h"
#include "replicator/replicator.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define REPORT_MAX ((size_t)64 << 20)
#define JOBS_LIMIT 100u /* where none is asked for */

/* ---- /_replicate ---- */

/* Lives in the request's arena. */
struct run {
	struct apireq *r;
	struct http_msg msg;
	struct jstr body;
	struct buf answer;
	int status;
	int err; /* of the start: 0: it runs */
	struct errtext why;
	int end_err; /* of the end */
	struct errtext end_why;
	struct buf end_answer;
};

static void
fail(struct apireq *r, int err, const struct errtext *why)
{
	if (err == ERR_NO_DB)
		api_error_text(r, 404, "db_not_found", why->text[0] != '\0' ? why->text : err_reason(err));
	else if (err == ERR_CANCELLED)
		api_error_text(r, 500, "stopped", "The replication was cancelled.");
	else
		api_error(r, err, why);
}

static void
answered(void *arg)
{
	struct run *run = arg;
	struct http_req *http = run->r->http;

	if (run->end_err != 0) {
		buf_release(&run->end_answer);
		fail(run->r, run->end_err, &run->end_why);
	} else {
		api_json(run->r, 200, &run->end_answer);
	}
	http_release(http);
}

static void
ended(void *cookie, int err, const struct errtext *why, struct jstr answer)
{
	struct run *run = cookie;

	run->end_err = err;
	if (why != NULL)
		run->end_why = *why;
	buf_init(&run->end_answer, ANSWER_MAX);
	if (err == 0)
		run->end_err = buf_put(&run->end_answer, answer.s, answer.len);
	http_post(http_req_thread(run->r->http), &run->msg);
}

/* What there is to read may be long, and libcurl may have to be loaded. */
static void
start(struct apireq *r)
{
	struct run *run = r->cookie;

	run->err =
	    replicator_run(r->api->replicator, run->body, &r->who, ended, run, &run->answer, &run->status, &run->why);
}

static void
started(struct apireq *r)
{
	struct run *run = r->cookie;
	struct http_req *http = r->http;

	if (run->err == 0) {
		buf_release(&run->answer);
		return;
	}
	if (run->err == ERR_END) {
		api_json(r, run->status, &run->answer);
	} else {
		buf_release(&run->answer);
		fail(r, run->err, &run->why);
	}
	http_release(http);
}

void
replicate_post(struct apireq *r)
{
	struct run *run;
	struct errtext why = {""};
	int err;

	if (strcmp(r->method, "GET") == 0) {
		api_error_text(r, 400, "bad_request", "Missing request body");
		return;
	}
	if (!api_json_post(r))
		return;
	if ((run = arena_calloc(r->arena, 1, sizeof(*run))) == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if ((err = api_body(r, &run->body, &why)) != 0) {
		api_error(r, err, &why);
		return;
	}
	run->r = r;
	run->msg.fn = answered;
	run->msg.arg = run;
	buf_init(&run->answer, ANSWER_MAX);
	r->cookie = run;
	http_hold(r->http);
	if (api_work(r, start, started) != 0)
		http_release(r->http);
}

/* ---- /_scheduler ---- */

struct report {
	int (*put)(struct apireq *r, struct report *q);
	struct jstr database, id, states;
	uint64_t skip, limit;
	struct buf b;
	int err;
};

static int
put_jobs(struct apireq *r, struct report *q)
{
	return replicator_put_jobs(r->api->replicator, q->skip, q->limit, &q->b);
}

static int
put_job(struct apireq *r, struct report *q)
{
	return replicator_put_job(r->api->replicator, q->id, &q->b);
}

static int
put_docs(struct apireq *r, struct report *q)
{
	struct db *db;
	int err = db_open(r->api->dbs, q->database.s, &r->who, &db);

	if (err != 0)
		return err;
	db_close(db);
	return replicator_put_docs(r->api->replicator, q->database, q->states, q->skip, q->limit, &q->b);
}

static int
put_doc(struct apireq *r, struct report *q)
{
	return replicator_put_doc(r->api->replicator, q->database, q->id, &q->b);
}

static void
make(struct apireq *r)
{
	struct report *q = r->cookie;

	q->err = q->put(r, q);
}

static void
made(struct apireq *r)
{
	struct report *q = r->cookie;

	if (q->err == 0) {
		api_json(r, 200, &q->b);
		return;
	}
	buf_release(&q->b);
	api_error(r, q->err, NULL);
}

/* "running,FAILED": as replicator_put_docs() wants them. */
static int
read_states(struct apireq *r, struct jstr *out, struct errtext *why)
{
	static const char *const known[] = {
	    "initializing", "error", "pending", "running", "crashing", "completed", "failed"};
	const struct jstr *given = api_param(r, "states");
	const char *p;
	char *copy;
	size_t i;

	if (given == NULL || given->len == 0)
		return 0;
	if ((copy = arena_alloc(r->arena, given->len + 1)) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < given->len; i++)
		copy[i] = given->s[i] >= 'A' && given->s[i] <= 'Z' ? (char)(given->s[i] | 0x20) : given->s[i];
	copy[i] = '\0';
	for (p = copy; *p != '\0'; p += *p == ',') {
		size_t n = strcspn(p, ",");

		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (n == 0 || (strlen(known[i]) == n && memcmp(known[i], p, n) == 0))
				break;
		if (i == sizeof(known) / sizeof(known[0]))
			return err_why(why, ERR_QUERY_PARSE,
			    "States must be among initializing, error, pending, "
			    "running, crashing, completed, failed");
		p += n;
	}
	*out = (struct jstr){copy, given->len};
	return 0;
}

static int
is_word(const struct jstr *part, const char *word)
{
	return jstr_is(part, word);
}

/*
 * docs_place: What of docs/... is asked for: *${databasep}, terminated, and perhaps *${idp}.  A database's name may come
 * encoded in one part, or in several, for no document is called _replicator.
 */
static int
docs_place(struct apireq *r, struct jstr *databasep, struct jstr *idp)
{
	size_t i, end = 2;
	struct buf b;

	if (r->nparts == 2) {
		*databasep = (struct jstr){"_replicator", 11};
		return 0;
	}
	if (!replicator_is_database(r->part[2].s, r->part[2].len))
		while (end < r->nparts && !is_word(&r->part[end], "_replicator"))
			end++;
	if (end == r->nparts || r->nparts > end + 2)
		return ERR_BAD_REQUEST;
	buf_init_arena(&b, r->arena, LIMIT_URL_LEN + 64);
	for (i = 2; i <= end; i++) {
		buf_puts(&b, i > 2 ? "/" : "");
		buf_put(&b, r->part[i].s, r->part[i].len);
	}
	buf_putc(&b, '\0');
	*databasep = (struct jstr){b.data, b.len > 0 ? b.len - 1 : 0};
	if (r->nparts == end + 2)
		*idp = r->part[end + 1];
	return buf_failed(&b);
}

/* place: ERR_MISSING: there is no such place. */
static int
place(struct apireq *r, struct report *q)
{
	int err;

	if (r->nparts > 1 && is_word(&r->part[1], "jobs") && r->nparts <= 3) {
		q->put = r->nparts == 2 ? put_jobs : put_job;
		q->limit = JOBS_LIMIT;
		if (r->nparts == 3)
			q->id = r->part[2];
		return 0;
	}
	if (r->nparts < 2 || !is_word(&r->part[1], "docs"))
		return ERR_MISSING;
	err = docs_place(r, &q->database, &q->id);
	q->put = q->id.len > 0 ? put_doc : put_docs;
	q->limit = UINT64_MAX;
	return err;
}

void
replicate_scheduler(struct apireq *r)
{
	struct report *q = arena_calloc(r->arena, 1, sizeof(*q));
	struct errtext why = {""};
	struct buf b;
	int err;

	if (q == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if ((err = place(r, q)) == ERR_MISSING) {
		buf_init(&b, 64);
		buf_puts(&b, "{\"error\":\"not found\"}");
		api_json(r, 404, &b);
		return;
	}
	if (err == 0)
		err = api_param_u64(r, "limit", &q->limit, &why);
	if (err == 0)
		err = api_param_u64(r, "skip", &q->skip, &why);
	if (err == 0)
		err = read_states(r, &q->states, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	buf_init(&q->b, REPORT_MAX);
	r->cookie = q;
	if (api_work(r, make, made) != 0)
		buf_release(&q->b);
}
