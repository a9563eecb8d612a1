/* The peer behind HTTP against canned answers, whatever the call: what it believes, what it repeats, who it says it is, and that it can be cancelled. */
#include "tests/unit/canned.h"

#include "faults.h"

enum { ALLOC = 1 };

/* Where answers are judged: libcurl, on its own thread, does not survive all that it could be refused. */
static _Thread_local int is_executor;
static pthread_barrier_t all_marked;

static inline int
refused(size_t size)
{
	(void)size;
	return is_executor && fault.what != 0 && fault_due(ALLOC);
}

FAULTS_MALLOCS(refused)

static void
mark(void *arg)
{
	(void)arg;
	is_executor = 1;
	pthread_barrier_wait(&all_marked);
}

static void
mark_executor(void)
{
	static struct exec_job jobs[PEERTEST_THREADS];
	size_t i;

	CHECK_INT(pthread_barrier_init(&all_marked, NULL, PEERTEST_THREADS + 1), 0);
	for (i = 0; i < PEERTEST_THREADS; i++) {
		jobs[i] = (struct exec_job){.fn = mark};
		peertest_ex->submit(peertest_ex, &jobs[i]);
	}
	pthread_barrier_wait(&all_marked);
}

/* ---- Simple calls, and what any answer may be ---- */

static int
commit(struct peer *p, struct peer_call *call)
{
	int flag;

	peertest_prepare(call, canned_arena, &flag);
	p->ops->commit(p, call);
	return peertest_wait(call, &flag);
}

static void
test_info(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_info c;

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", " ", 200, NULL, "{\"update_seq\":\"5-abc\",\"x\":[1],\"instance_start_time\":\"77\"}", .times = 2});
	CHECK_INT(canned_info(p, &c), 0);
	CHECK_MEM(c.update_seq.s, c.update_seq.len, "\"5-abc\"", 7);
	CANNED_HAS(peertest_head, "GET /db HTTP/1.1");
	peertest_rule("POST", "/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"77\"}");
	{
		struct peer_info made = {.update_seq = {NULL, 0}};

		CHECK_INT(commit(p, &made.call), 0);
		/* A database that was made anew has not what was written to the old one. */
		canned_only("POST", "/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"78\"}");
		CHECK_INT(commit(p, &made.call), ERR_IO);
		CANNED_HAS(made.call.why.text, "created anew");
	}
	p->ops->close(p);
}

/* A cluster's sequences grow with its shards, and a database tells two of them. */
static void
test_long_info(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_info c;
	struct buf b;
	size_t i;

	buf_init(&b, 1u << 20);
	buf_puts(&b, "{\"purge_seq\":\"");
	for (i = 0; i < 60000; i++)
		buf_putc(&b, 'p');
	buf_puts(&b, "\",\"update_seq\":\"5-");
	for (i = 0; i < 60000; i++)
		buf_putc(&b, 'u');
	buf_puts(&b, "\"}");
	buf_putc(&b, '\0');
	canned_only("GET", " ", 200, b.data);
	CHECK_INT(canned_info(p, &c), 0);
	CHECK_INT(c.update_seq.len, 60004);
	peertest_release(&b);
	p->ops->close(p);
}

/* Without memory it is not known whether it is the same database still: no answer is a yes. */
static void
test_unknown_database(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_info c, made = {.update_seq = {NULL, 0}};
	unsigned n, untouched = 0;

	peertest_clear();
	peertest_rule("GET", " ", 200, "{\"update_seq\":\"5-abc\",\"instance_start_time\":\"77\"}");
	peertest_rule("POST", "/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"78\"}");
	CHECK_INT(canned_info(p, &c), 0);
	for (n = 1; untouched < 3; n++) {
		fault_begin(ALLOC, n, 0);
		CHECK(commit(p, &made.call) != 0);
		untouched = fault.made ? 0 : untouched + 1;
		fault.what = 0;
	}
	p->ops->close(p);
}

static void
test_answers(void)
{
	static const struct {
		int status;
		const char *headers, *body;
		enum peertest_then then;
		int err;
		const char *words;
	} cases[] = {
	    {404, NULL, "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}", PT_KEEP, ERR_NO_DB,
		"404, not_found"},
	    {401, NULL, "{\"error\":\"unauthorized\",\"reason\":\"no\"}", PT_KEEP, ERR_UNAUTHORIZED,
		"unauthorized: no"},
	    {403, NULL, "{\"error\":\"forbidden\",\"reason\":\"no\\nway\"}", PT_KEEP, ERR_FORBIDDEN, "no way"},
	    {302, "Location: http://bob:secret@elsewhere/db\r\n", "", PT_KEEP, ERR_IO, "elsewhere/db"},
	    {200, "Content-Type: text/html; charset=utf-8\r\n", "<html>", PT_KEEP, ERR_IO, "web page"},
	    {404, "Content-Type: text/html\r\n", "<html>", PT_KEEP, ERR_NO_DB, "web page"},
	    {200, NULL, "{\"couchdb\":\"Welcome\"}", PT_KEEP, ERR_NO_DB, "update_seq"},
	    {200, NULL, "{\"update_seq\":", PT_KEEP, ERR_IO, "JSON"},
	    {200, NULL, "<html>", PT_KEEP, ERR_IO, "JSON"},
	    {200, NULL, "{\"update_seq\":true}", PT_KEEP, ERR_IO, "not what was asked for"},
	    {200, NULL, "[]", PT_KEEP, ERR_IO, "not what was asked for"},
	    {200, NULL, "", PT_KEEP, ERR_IO, "JSON"},
	    {200, NULL, "{\"update_seq\":1}", PT_CLOSE, ERR_IO, "GET http"},
	    {200, NULL, "{", PT_ENDLESS, ERR_TOO_LARGE, "GET http"},
	    {500, NULL, "{}", PT_KEEP, ERR_IO, "answered 500"},
	    {500, NULL, "oops", PT_ENDLESS, ERR_IO, "answered 500"},
	    {503, NULL, "{}", PT_KEEP, ERR_BUSY, "answered 503"},
	    {429, NULL, "{}", PT_KEEP, ERR_TOO_MANY_REQUESTS, "answered 429"},
	    {0, NULL, NULL, PT_CLOSE, ERR_IO, "GET http"},
	};
	struct peer_info c;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *p = canned_peer(NULL);

		peertest_clear();
		peertest_add((struct peertest_rule){
		    "GET", " ", cases[i].status, cases[i].headers, cases[i].body, .then = cases[i].then});
		if (!CHECK_INT(canned_info(p, &c), cases[i].err) || strstr(c.call.why.text, cases[i].words) == NULL)
			fprintf(stderr, "case %zu: %s\n", i, c.call.why.text);
		CANNED_HAS(c.call.why.text, cases[i].words);
		CHECK(strstr(c.call.why.text, "secret") == NULL);
		p->ops->close(p);
	}
}

/* Asks a peer that says ${status} and when to come back. */
static int
info_later(struct peer *p, struct peer_info *c, int status, const char *retry_after)
{
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", status, retry_after, "{}", .times = 0});
	return canned_info(p, c);
}

static void
test_repeats(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_info c;

	/* Cut, busy, failing: then it answers. */
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", 0, .then = PT_CLOSE, .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 503, NULL, "{}", .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 500, NULL, "{}", .times = 1});
	peertest_rule("GET", " ", 200, "{\"update_seq\":7}");
	CHECK_INT(canned_info(p, &c), 0);
	CHECK_INT(peertest_requests, 4);
	/* As often as it may be, no more. */
	canned_only("GET", " ", 500, "{}");
	CHECK_INT(canned_info(p, &c), ERR_IO);
	CHECK_INT(peertest_requests, canned_spec.retries + 1);
	/* Not what is final. */
	canned_only("GET", " ", 403, "{}");
	CHECK_INT(canned_info(p, &c), ERR_FORBIDDEN);
	CHECK_INT(peertest_requests, 1);
	/* A peer that wants to be left alone is, and it is told on. */
	CHECK_INT(info_later(p, &c, 429, "Retry-After: 120\r\n"), ERR_TOO_MANY_REQUESTS);
	CHECK_INT(peertest_requests, 1);
	CHECK_INT(c.call.retry_ms, 120000);
	CHECK_INT(info_later(p, &c, 503, "Retry-After: 99999999999999999999\r\n"), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 3600000);
	CHECK_INT(info_later(p, &c, 503, "Retry-After: Fri, 31 Dec 2999 23:59:59 GMT\r\n"), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 3600000);
	CHECK_INT(info_later(p, &c, 503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 0);
	/* The answer's words come before the connection's end. */
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", 403, NULL, "{\"error\":\"forbidden\"", .then = PT_CLOSE});
	CHECK_INT(canned_info(p, &c), ERR_FORBIDDEN);
	p->ops->close(p);
}

static void
test_create(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_create c = {.query = {"q=1&n=2", 7}};

	peertest_clear();
	peertest_add((struct peertest_rule){"PUT", "?q=1&n=2", 412, NULL, "{\"error\":\"file_exists\"}", .times = 1});
	peertest_add((struct peertest_rule){"PUT", "?q=1&n=2", 401, NULL, "{\"error\":\"unauthorized\"}", .times = 1});
	peertest_add(
	    (struct peertest_rule){"PUT", "?", 400, NULL, "{\"error\":\"illegal_database_name\"}", .times = 1});
	peertest_rule("PUT", "?", 201, "{\"ok\":true}");
	CHECK_INT(canned_do(p, create, &c), 0);
	CHECK_INT(canned_do(p, create, &c), ERR_UNAUTHORIZED);
	CHECK_INT(canned_do(p, create, &c), ERR_ILLEGAL_DB_NAME);
	CHECK_INT(canned_do(p, create, &c), 0);
	p->ops->close(p);
}

static void
test_local(void)
{
	struct peer *p = canned_peer(NULL);
	struct peer_local c = {.id = {"a/b", 3}};

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", "/_local/a%2Fb ", 404, NULL, "{\"error\":\"not_found\",\"reason\":\"missing\"}", .times = 1});
	peertest_rule("GET", "/_local/a%2Fb ", 200, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":1}");
	CHECK_INT(canned_do(p, local_get, &c), ERR_MISSING);
	CHECK_INT(canned_do(p, local_get, &c), 0);
	CHECK_MEM(c.rev.s, c.rev.len, "0-3", 3);
	CHECK_MEM(c.body.s, c.body.len, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":1}", 39);
	peertest_rule("PUT", "/_local/a%2Fb ", 201, "{\"ok\":true,\"id\":\"_local/a/b\",\"rev\":\"0-4\"}");
	c.body = canned_str("{\"x\":2}");
	CHECK_INT(canned_do(p, local_put, &c), 0);
	CHECK_MEM(c.rev.s, c.rev.len, "0-4", 3);
	CHECK_STR(peertest_body, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":2}");
	c.body = canned_str("{ }");
	c.rev.len = 0;
	CHECK_INT(canned_do(p, local_put, &c), 0);
	CHECK_STR(peertest_body, "{\"_id\":\"_local/a/b\"}");
	canned_only("PUT", "/_local/a%2Fb ", 409, "{\"error\":\"conflict\"}");
	CHECK_INT(canned_do(p, local_put, &c), ERR_CONFLICT);
	p->ops->close(p);
}

/* ---- Credentials ---- */

static void
test_cookie(void)
{
	struct peer_info c;
	struct peer *p;

	canned_rep_end.user = "bob";
	canned_rep_end.password = "p&ss wörd";
	p = canned_peer(NULL);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_session", 200,
	    "Set-Cookie: AuthSession=one; Path=/; HttpOnly\r\n", "{\"ok\":true}", .times = 1});
	peertest_add((struct peertest_rule){
	    "POST", "/_session", 200, "Set-Cookie: AuthSession=two; Max-Age=600\r\n", "{\"ok\":true}", .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 200, NULL, "{\"update_seq\":7}", .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 401, NULL, "{\"error\":\"unauthorized\"}", .times = 1});
	peertest_add((struct peertest_rule){
	    "GET", " ", 200, "Set-Cookie: AuthSession=three; Path=/\r\n", "{\"update_seq\":8}", .times = 1});
	peertest_rule("GET", " ", 401, "{\"error\":\"unauthorized\"}");
	CHECK_INT(canned_info(p, &c), 0);
	CANNED_HAS(peertest_head, "Cookie: AuthSession=one\r\n");
	CHECK(strcasestr(peertest_head, "authorization:") == NULL);
	/* It ran out: once more, with a new one; what is reissued is taken. */
	CHECK_INT(canned_info(p, &c), 0);
	CANNED_HAS(peertest_head, "Cookie: AuthSession=two\r\n");
	CHECK_MEM(c.update_seq.s, c.update_seq.len, "8", 1);
	/* Refused with a session as good as new: asked once more at most. */
	peertest_add((struct peertest_rule){
	    "POST", "/_session", 200, "Set-Cookie: AuthSession=four\r\n", "{\"ok\":true}", .times = 0});
	CHECK_INT(canned_info(p, &c), ERR_UNAUTHORIZED);
	CANNED_HAS(peertest_head, "Cookie: AuthSession=four\r\n");
	p->ops->close(p);
}

static void
test_basic(void)
{
	static const struct {
		int status;
		const char *headers, *body;
		int err;
	} cases[] = {
	    {404, NULL, "{\"error\":\"not_found\"}", 0},
	    {200, NULL, "{\"ok\":true}", 0},
	    {401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "{}", 0},
	    {401, NULL, "{\"error\":\"unauthorized\",\"reason\":\"Name or password is incorrect.\"}", ERR_UNAUTHORIZED},
	    {403, NULL, "{}", ERR_FORBIDDEN},
	};
	struct peer_info c;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *p = canned_peer(NULL);

		peertest_clear();
		peertest_add((struct peertest_rule){
		    "POST", "/_session", cases[i].status, cases[i].headers, cases[i].body, .times = 0});
		peertest_rule("GET", " ", 200, "{\"update_seq\":7}");
		CHECK_INT(canned_info(p, &c), cases[i].err);
		CHECK_INT(canned_info(p, &c), cases[i].err);
		if (cases[i].err == 0) {
			CANNED_HAS(peertest_head, "uthorization: Basic Ym9iOnAmc3Mgd8O2cmQ=");
			CHECK_INT(peertest_requests, 3);
		} else {
			CHECK(strstr(c.call.why.text, "p&ss") == NULL);
			CANNED_HAS(c.call.why.text, "_session");
		}
		p->ops->close(p);
	}
	{
		struct peer *p = canned_peer(NULL);

		peertest_clear();
		peertest_add((struct peertest_rule){
		    "POST", "/_session", 429, "Retry-After: 100\r\n", "{\"error\":\"too_many_requests\"}", .times = 0});
		CHECK_INT(canned_info(p, &c), ERR_TOO_MANY_REQUESTS);
		CHECK_INT(c.call.retry_ms, 100000);
		p->ops->close(p);
	}
	{
		const char *headers[] = {"Authorization: Bearer xyz"};
		struct peer *p;

		canned_rep_end.headers = headers;
		canned_rep_end.nheaders = 1;
		p = canned_peer(NULL);
		canned_only("GET", " ", 200, "{\"update_seq\":7}");
		CHECK_INT(canned_info(p, &c), 0);
		CHECK_INT(peertest_requests, 1);
		CANNED_HAS(peertest_head, "Authorization: Bearer xyz\r\n");
		p->ops->close(p);
	}
	canned_rep_end.user = canned_rep_end.password = NULL;
	canned_rep_end.headers = NULL;
	canned_rep_end.nheaders = 0;
}

/* ---- Cancelling ---- */

/* Whatever a call is doing, it can be cancelled: waiting to be repeated, or for a session. */
static void
test_cancel(void)
{
	struct peer_http_config config = {.loop = peertest_loop,
	    .ex = peertest_ex,
	    .end = &canned_rep_end,
	    .spec = &canned_spec,
	    .backoff_ms = 1000000};
	struct peer_info c;
	struct peer *p;
	int flag;

	canned_only("GET", " ", 500, "{}");
	if (peer_http_new(&config, &p) != 0)
		abort();
	memset(&c, 0, sizeof(c));
	peertest_prepare(&c.call, canned_arena, &flag);
	p->ops->info(p, &c);
	while (peertest_requests == 0)
		usleep(1000);
	/* It waits by now, or is about to: either will do. */
	usleep(20000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	p->ops->close(p);

	canned_rep_end.user = "bob";
	canned_rep_end.password = "x";
	peertest_clear();
	peertest_held = 0;
	peertest_add((struct peertest_rule){"POST", "/_session", 200, NULL, "{", .then = PT_HOLD});
	if (peer_http_new(&config, &p) != 0)
		abort();
	peertest_prepare(&c.call, canned_arena, &flag);
	p->ops->info(p, &c);
	while (peertest_held == 0)
		usleep(1000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	/* The session's request is still under way. */
	p->ops->close(p);
	canned_rep_end.user = canned_rep_end.password = NULL;
}

int
main(void)
{
	canned_begin();
	mark_executor();
	test_info();
	test_long_info();
	test_unknown_database();
	test_answers();
	test_repeats();
	test_create();
	test_local();
	test_cookie();
	test_basic();
	test_cancel();
	canned_end();
	return check_done();
}
