/* The peer behind HTTP against a server that says what the test wants it to: what it asks, what it believes, what it repeats. */
#include <zlib.h>

#include "base/hash.h"
#include "tests/unit/peertest.h"

static char url[64];
static struct rep_end end;
static struct rep_spec spec;
static struct arena *a;

static struct peer *
new_peer(const struct peer_filter *filter)
{
	struct peer_http_config config = {.loop = peertest_loop,
	    .ex = peertest_ex,
	    .end = &end,
	    .spec = &spec,
	    .filter = filter,
	    .owner = 1,
	    .backoff_ms = 2};
	struct peer *p;

	if (peer_http_new(&config, &p) != 0)
		abort();
	return p;
}

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static struct rev
rev(const char *text)
{
	struct revbuf b;
	struct rev r;

	if (rev_parse(text, strlen(text), &b) != 0)
		abort();
	r = rev_of(&b);
	r.id = (unsigned char *)arena_dup(a, b.id, b.len);
	return r;
}

#define HAS(text, part) CHECK(strstr((text), (part)) != NULL)
#define R1 "1-11111111111111111111111111111111"
#define R2 "2-22222222222222222222222222222222"
#define H1 "11111111111111111111111111111111"
#define H2 "22222222222222222222222222222222"

static int
info(struct peer *p, struct peer_info *c)
{
	memset(c, 0, sizeof(*c));
	return peertest_do(p, info, c, a);
}

/* ---- Simple calls, and what any answer may be ---- */

static void
test_info(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_info c;

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", " ", 200, NULL, "{\"update_seq\":\"5-abc\",\"x\":[1],\"instance_start_time\":\"77\"}", .times = 2});
	CHECK_INT(info(p, &c), 0);
	CHECK_MEM(c.update_seq.s, c.update_seq.len, "\"5-abc\"", 7);
	HAS(peertest_head, "GET /db HTTP/1.1");
	peertest_rule("POST", "/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"77\"}");
	{
		struct peer_info commit = {.update_seq = {NULL, 0}};
		int flag;

		peertest_prepare(&commit.call, a, &flag);
		p->ops->commit(p, &commit.call);
		CHECK_INT(peertest_wait(&commit.call, &flag), 0);
		/* A database that was made anew has not what was written to the old one. */
		peertest_clear();
		peertest_rule("POST", "/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"78\"}");
		peertest_prepare(&commit.call, a, &flag);
		p->ops->commit(p, &commit.call);
		CHECK_INT(peertest_wait(&commit.call, &flag), ERR_IO);
		HAS(commit.call.why.text, "created anew");
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
		struct peer *p = new_peer(NULL);

		peertest_clear();
		peertest_add((struct peertest_rule){
		    "GET", " ", cases[i].status, cases[i].headers, cases[i].body, .then = cases[i].then});
		if (!CHECK_INT(info(p, &c), cases[i].err) || strstr(c.call.why.text, cases[i].words) == NULL)
			fprintf(stderr, "case %zu: %s\n", i, c.call.why.text);
		HAS(c.call.why.text, cases[i].words);
		CHECK(strstr(c.call.why.text, "secret") == NULL);
		p->ops->close(p);
	}
}

static void
test_repeats(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_info c;

	/* Cut, busy, failing: then it answers. */
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", 0, .then = PT_CLOSE, .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 503, NULL, "{}", .times = 1});
	peertest_add((struct peertest_rule){"GET", " ", 500, NULL, "{}", .times = 1});
	peertest_rule("GET", " ", 200, "{\"update_seq\":7}");
	CHECK_INT(info(p, &c), 0);
	CHECK_INT(peertest_requests, 4);
	/* As often as it may be, no more. */
	peertest_clear();
	peertest_rule("GET", " ", 500, "{}");
	CHECK_INT(info(p, &c), ERR_IO);
	CHECK_INT(peertest_requests, spec.retries + 1);
	/* Not what is final. */
	peertest_clear();
	peertest_rule("GET", " ", 403, "{}");
	CHECK_INT(info(p, &c), ERR_FORBIDDEN);
	CHECK_INT(peertest_requests, 1);
	/* A peer that wants to be left alone is, and it is told on. */
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", 429, "Retry-After: 120\r\n", "{}", .times = 0});
	CHECK_INT(info(p, &c), ERR_TOO_MANY_REQUESTS);
	CHECK_INT(peertest_requests, 1);
	CHECK_INT(c.call.retry_ms, 120000);
	peertest_clear();
	peertest_add(
	    (struct peertest_rule){"GET", " ", 503, "Retry-After: 99999999999999999999\r\n", "{}", .times = 0});
	CHECK_INT(info(p, &c), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 3600000);
	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", " ", 503, "Retry-After: Fri, 31 Dec 2999 23:59:59 GMT\r\n", "{}", .times = 0});
	CHECK_INT(info(p, &c), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 3600000);
	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", " ", 503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", "{}", .times = 0});
	CHECK_INT(info(p, &c), ERR_BUSY);
	CHECK_INT(c.call.retry_ms, 0);
	/* The answer's words come before the connection's end. */
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", " ", 403, NULL, "{\"error\":\"forbidden\"", .then = PT_CLOSE});
	CHECK_INT(info(p, &c), ERR_FORBIDDEN);
	p->ops->close(p);
}

static void
test_create(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_create c = {.query = {"q=1&n=2", 7}};

	peertest_clear();
	peertest_add((struct peertest_rule){"PUT", "?q=1&n=2", 412, NULL, "{\"error\":\"file_exists\"}", .times = 1});
	peertest_add((struct peertest_rule){"PUT", "?q=1&n=2", 401, NULL, "{\"error\":\"unauthorized\"}", .times = 1});
	peertest_add(
	    (struct peertest_rule){"PUT", "?", 400, NULL, "{\"error\":\"illegal_database_name\"}", .times = 1});
	peertest_rule("PUT", "?", 201, "{\"ok\":true}");
	CHECK_INT(peertest_do(p, create, &c, a), 0);
	CHECK_INT(peertest_do(p, create, &c, a), ERR_UNAUTHORIZED);
	CHECK_INT(peertest_do(p, create, &c, a), ERR_ILLEGAL_DB_NAME);
	CHECK_INT(peertest_do(p, create, &c, a), 0);
	p->ops->close(p);
}

static void
test_local(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_local c = {.id = {"a/b", 3}};

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", "/_local/a%2Fb ", 404, NULL, "{\"error\":\"not_found\",\"reason\":\"missing\"}", .times = 1});
	peertest_rule("GET", "/_local/a%2Fb ", 200, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":1}");
	CHECK_INT(peertest_do(p, local_get, &c, a), ERR_MISSING);
	CHECK_INT(peertest_do(p, local_get, &c, a), 0);
	CHECK_MEM(c.rev.s, c.rev.len, "0-3", 3);
	CHECK_MEM(c.body.s, c.body.len, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":1}", 39);
	peertest_rule("PUT", "/_local/a%2Fb ", 201, "{\"ok\":true,\"id\":\"_local/a/b\",\"rev\":\"0-4\"}");
	c.body = str("{\"x\":2}");
	CHECK_INT(peertest_do(p, local_put, &c, a), 0);
	CHECK_MEM(c.rev.s, c.rev.len, "0-4", 3);
	CHECK_STR(peertest_body, "{\"_id\":\"_local/a/b\",\"_rev\":\"0-3\",\"x\":2}");
	c.body = str("{ }");
	c.rev.len = 0;
	CHECK_INT(peertest_do(p, local_put, &c, a), 0);
	CHECK_STR(peertest_body, "{\"_id\":\"_local/a/b\"}");
	peertest_clear();
	peertest_rule("PUT", "/_local/a%2Fb ", 409, "{\"error\":\"conflict\"}");
	CHECK_INT(peertest_do(p, local_put, &c, a), ERR_CONFLICT);
	p->ops->close(p);
}

/* ---- Credentials ---- */

static void
test_cookie(void)
{
	struct peer_info c;
	struct peer *p;

	end.user = "bob";
	end.password = "p&ss wörd";
	p = new_peer(NULL);
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
	CHECK_INT(info(p, &c), 0);
	HAS(peertest_head, "Cookie: AuthSession=one\r\n");
	CHECK(strcasestr(peertest_head, "authorization:") == NULL);
	/* It ran out: once more, with a new one; what is reissued is taken. */
	CHECK_INT(info(p, &c), 0);
	HAS(peertest_head, "Cookie: AuthSession=two\r\n");
	CHECK_MEM(c.update_seq.s, c.update_seq.len, "8", 1);
	/* Refused with a session as good as new: asked once more at most. */
	peertest_add((struct peertest_rule){
	    "POST", "/_session", 200, "Set-Cookie: AuthSession=four\r\n", "{\"ok\":true}", .times = 0});
	CHECK_INT(info(p, &c), ERR_UNAUTHORIZED);
	HAS(peertest_head, "Cookie: AuthSession=four\r\n");
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
		struct peer *p = new_peer(NULL);

		peertest_clear();
		peertest_add((struct peertest_rule){
		    "POST", "/_session", cases[i].status, cases[i].headers, cases[i].body, .times = 0});
		peertest_rule("GET", " ", 200, "{\"update_seq\":7}");
		CHECK_INT(info(p, &c), cases[i].err);
		CHECK_INT(info(p, &c), cases[i].err);
		if (cases[i].err == 0) {
			HAS(peertest_head, "uthorization: Basic Ym9iOnAmc3Mgd8O2cmQ=");
			CHECK_INT(peertest_requests, 3);
		} else {
			CHECK(strstr(c.call.why.text, "p&ss") == NULL);
			HAS(c.call.why.text, "_session");
		}
		p->ops->close(p);
	}
	{
		const char *headers[] = {"Authorization: Bearer xyz"};
		struct peer *p;

		end.headers = headers;
		end.nheaders = 1;
		p = new_peer(NULL);
		peertest_clear();
		peertest_rule("GET", " ", 200, "{\"update_seq\":7}");
		CHECK_INT(info(p, &c), 0);
		CHECK_INT(peertest_requests, 1);
		HAS(peertest_head, "Authorization: Bearer xyz\r\n");
		p->ops->close(p);
	}
	end.user = end.password = NULL;
	end.headers = NULL;
	end.nheaders = 0;
}

/* ---- Changes ---- */

#define ROW(seq, id) "{\"seq\":" seq ",\"id\":\"" id "\",\"changes\":[{\"rev\":\"" R1 "\"}]}"

static int
changes(struct peer *p, struct peer_changes *c, const char *since, size_t limit, int wait)
{
	memset(c, 0, sizeof(*c));
	c->since = str(since);
	c->limit = limit;
	c->wait = wait;
	return peertest_do(p, changes, c, a);
}

static void
test_changes(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_changes c;

	peertest_clear();
	peertest_rule("GET", "/_changes?", 200,
	    "\n\n{\"x\":{\"y\":[1]},\"results\":[\n" ROW(
		"\"1-a\"", "a") ",\n{\"doc\":{},\"seq\":[2,\"b\"],\"id\":\"\\u0062\",\"deleted\":true,"
				"\"changes\":[{\"rev\":\"" R2 "\"},{\"rev\":\"" R1
				"\",\"z\":0}]}\n],\n\"last_seq\":\"3-c\",\"pending\":0}\n");
	CHECK_INT(changes(p, &c, "\"0-x/y\"", 10, 0), 0);
	HAS(peertest_head, "feed=normal&style=all_docs&limit=10&heartbeat=");
	HAS(peertest_head, "&since=0-x%2Fy ");
	CHECK_INT(c.n, 2);
	CHECK_MEM(c.rows[0].seq.s, c.rows[0].seq.len, "\"1-a\"", 5);
	CHECK_MEM(c.rows[1].id.s, c.rows[1].id.len, "b", 1);
	CHECK_MEM(c.rows[1].seq.s, c.rows[1].seq.len, "[2,\"b\"]", 7);
	CHECK_INT(c.rows[1].deleted, 1);
	CHECK_INT(c.rows[1].nrevs, 2);
	CHECK_INT(c.rows[1].revs[0].gen, 2);
	CHECK_MEM(c.last_seq.s, c.last_seq.len, "\"3-c\"", 5);
	CHECK_INT(c.pending, 0);
	CHECK_INT(c.more, 0);
	CHECK_INT(changes(p, &c, "17", 2, 0), 0);
	HAS(peertest_head, "&since=17 ");
	CHECK_INT(c.more, 0);
	/* More than was asked for: the rest is left. */
	CHECK_INT(changes(p, &c, "", 1, 0), 0);
	CHECK(strstr(peertest_head, "since") == NULL);
	CHECK_INT(c.n, 1);
	CHECK_INT(c.more, 1);
	CHECK_INT(c.pending, -1);
	CHECK_MEM(c.last_seq.s, c.last_seq.len, "\"1-a\"", 5);
	/* The same again and again is no progress. */
	CHECK_INT(changes(p, &c, "[2,\"b\"]", 10, 0), ERR_IO);
	/* A page that is not full, of a peer that says that there is more. */
	peertest_clear();
	peertest_rule("GET", "/_changes?", 200, "{\"results\":[" ROW("1", "a") "],\"last_seq\":1,\"pending\":7}");
	CHECK_INT(changes(p, &c, "", 10, 0), 0);
	CHECK_INT(c.more, 1);
	p->ops->close(p);
}

static void
test_bad_changes(void)
{
	static const char *const bodies[] = {"{\"results\":[" ROW("1", "a"), "{\"results\":[" ROW("1", "a") "]}",
	    "{\"last_seq\":1}", "{\"results\":[{\"id\":\"a\",\"changes\":[{\"rev\":\"" R1 "\"}]}],\"last_seq\":1}",
	    "{\"results\":[" ROW("null", "a") "],\"last_seq\":1}", "{\"results\":[" ROW("1", "") "],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":\"a\",\"changes\":[]}],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":\"a\",\"changes\":[{\"rev\":\"x\"}]}],\"last_seq\":1}",
	    "{\"results\":[{\"seq\":1,\"id\":7,\"changes\":[{\"rev\":\"" R1 "\"}]}],\"last_seq\":1}",
	    "{\"results\":{},\"last_seq\":1}", "[]", "null", "{\"results\":[1],\"last_seq\":1}"};
	struct peer *p = new_peer(NULL);
	struct peer_changes c;
	size_t i;

	for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		peertest_clear();
		peertest_rule("GET", "/_changes?", 200, bodies[i]);
		if (!CHECK_INT(changes(p, &c, "", 10, 0), ERR_IO))
			fprintf(stderr, "%s\n", bodies[i]);
		HAS(c.call.why.text, "/_changes: its answer ");
	}
	p->ops->close(p);
}

/* An answer that does not end is cut where it has become too much, behind a row. */
static void
test_endless_changes(void)
{
	static const char row[] = ",\n" ROW("12345", "some-document");
	struct peer *p = new_peer(NULL);
	size_t room = (size_t)5 << 20, len = 0;
	char *text = arena_alloc(a, room + sizeof(row));
	struct peer_changes c;

	len = (size_t)snprintf(text, room, "{\"results\":[" ROW("1", "a"));
	while (len < room) {
		memcpy(text + len, row, sizeof(row) - 1);
		len += sizeof(row) - 1;
	}
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/_changes?", 200, NULL, text, .body_len = len, .then = PT_ENDLESS});
	CHECK_INT(changes(p, &c, "", 100, 0), 0);
	CHECK_INT(c.n, 100);
	CHECK_INT(c.more, 1);
	CHECK_INT(changes(p, &c, "", 1000000, 0), 0);
	CHECK(c.n > 1000 && c.n < 1000000);
	CHECK_INT(c.more, 1);
	p->ops->close(p);
}

static void
test_filters(void)
{
	struct jstr ids[2] = {str("a\"b"), str("c")};
	struct peer_filter by_ids = {.doc_ids = ids, .ndoc_ids = 2, .winners = 1};
	struct peer_filter by_selector = {.selector = str("{\"a\":1}")};
	struct peer_filter by_view = {
	    .filter = str("_view"), .query = str("{\"view\":\"d/v\",\"key\":\"k\",\"limit\":3,\"n\":7}")};
	struct peer_filter by_name = {.filter = str("d/f"), .query = str("{\"key\":\"k\",\"o\":{\"x\":1}}")};
	struct peer_changes c;
	struct peer *p;

	peertest_clear();
	peertest_rule("POST", "/_changes?", 200, "{\"results\":[],\"last_seq\":1}");
	peertest_add(
	    (struct peertest_rule){"GET", "/_changes?", 200, NULL, "{\"results\":[],\"last_seq\":1}", .times = 2});
	peertest_add((struct peertest_rule){"GET", "/_changes?", 404, NULL,
	    "{\"error\":\"not_found\",\"reason\":\"missing json key: f\"}", .times = 0});
	p = new_peer(&by_ids);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	HAS(peertest_head, "style=main_only");
	HAS(peertest_head, "&filter=_doc_ids ");
	HAS(peertest_head, "Content-Type: application/json\r\n");
	CHECK_STR(peertest_body, "{\"doc_ids\":[\"a\\\"b\",\"c\"]}");
	p->ops->close(p);
	p = new_peer(&by_selector);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	HAS(peertest_head, "&filter=_selector ");
	CHECK_STR(peertest_body, "{\"selector\":{\"a\":1}}");
	p->ops->close(p);
	p = new_peer(&by_view);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	HAS(peertest_head, "&filter=_view&view=d%2Fv&key=%22k%22&n=7 ");
	p->ops->close(p);
	p = new_peer(&by_name);
	CHECK_INT(changes(p, &c, "", 5, 0), 0);
	HAS(peertest_head, "&filter=d%2Ff&key=k&o=%7B%22x%22%3A1%7D ");
	CHECK_INT(changes(p, &c, "", 5, 0), ERR_MISSING);
	HAS(c.call.why.text, "the filter d/f: ");
	HAS(c.call.why.text, "missing json key");
	p->ops->close(p);
}

/* A long poll may end with nothing: it is asked again, from there; one that waits can be cancelled. */
static void
test_waiting(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_changes c;
	int flag;

	peertest_clear();
	peertest_add((struct peertest_rule){
	    "GET", "/_changes?feed=longpoll", 200, NULL, "\n\n{\"results\":[],\"last_seq\":\"5-x\"}", .times = 1});
	peertest_rule("GET", "/_changes?feed=longpoll", 200,
	    "{\"results\":[" ROW("\"6-y\"", "a") "],\"last_seq\":\"6-y\",\"pending\":0}");
	CHECK_INT(changes(p, &c, "\"4-w\"", 10, 1), 0);
	HAS(peertest_head, "&since=5-x ");
	CHECK_INT(c.n, 1);
	CHECK_INT(peertest_requests, 2);

	peertest_clear();
	peertest_held = 0;
	peertest_add((struct peertest_rule){"GET", "/_changes?", 200, NULL, "\n", .then = PT_HOLD});
	memset(&c, 0, sizeof(c));
	c.limit = 10;
	c.wait = 1;
	peertest_prepare(&c.call, a, &flag);
	p->ops->changes(p, &c);
	while (peertest_held == 0)
		usleep(1000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	/* Just ended. */
	p->ops->cancel(p, &c.call);
	p->ops->close(p);
}

/* Whatever a call is doing, it can be cancelled: waiting to be repeated, or for a session. */
static void
test_cancel(void)
{
	struct peer_http_config config = {
	    .loop = peertest_loop, .ex = peertest_ex, .end = &end, .spec = &spec, .backoff_ms = 1000000};
	struct peer_info c;
	struct peer *p;
	int flag;

	peertest_clear();
	peertest_rule("GET", " ", 500, "{}");
	if (peer_http_new(&config, &p) != 0)
		abort();
	memset(&c, 0, sizeof(c));
	peertest_prepare(&c.call, a, &flag);
	p->ops->info(p, &c);
	while (peertest_requests == 0)
		usleep(1000);
	/* It waits by now, or is about to: either will do. */
	usleep(20000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	p->ops->close(p);

	end.user = "bob";
	end.password = "x";
	peertest_clear();
	peertest_held = 0;
	peertest_add((struct peertest_rule){"POST", "/_session", 200, NULL, "{", .then = PT_HOLD});
	if (peer_http_new(&config, &p) != 0)
		abort();
	peertest_prepare(&c.call, a, &flag);
	p->ops->info(p, &c);
	while (peertest_held == 0)
		usleep(1000);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	/* The session's request is still under way. */
	p->ops->close(p);
	end.user = end.password = NULL;
}

/* ---- What is missing, and writes ---- */

static void
test_diff(void)
{
	struct rev one[2], two[1];
	struct peer_want wants[2];
	struct peer_diff c = {.wants = wants, .n = 2};
	struct peer *p = new_peer(NULL);

	one[0] = rev(R1);
	one[1] = rev(R2);
	two[0] = rev(R1);
	wants[0] = (struct peer_want){.id = str("z\"1"), .revs = one, .nrevs = 2};
	wants[1] = (struct peer_want){.id = str("a"), .revs = two, .nrevs = 1};
	peertest_clear();
	peertest_rule(
	    "POST", "/_revs_diff", 200, "{\"z\\\"1\":{\"missing\":[\"" R2 "\"],\"possible_ancestors\":[\"" R1 "\"]}}");
	CHECK_INT(peertest_do(p, diff, &c, a), 0);
	CHECK_STR(peertest_body, "{\"z\\\"1\":[\"" R1 "\",\"" R2 "\"],\"a\":[\"" R1 "\"]}");
	CHECK_INT(wants[0].nrevs, 1);
	CHECK_INT(wants[0].revs[0].gen, 2);
	CHECK_INT(wants[0].nancestors, 1);
	CHECK_INT(wants[1].nrevs, 0);
	/* Asked about twice: what is said is of the second alone. */
	one[0] = rev(R1);
	wants[0] = (struct peer_want){.id = str("a"), .revs = one, .nrevs = 1};
	two[0] = rev(R2);
	wants[1].nrevs = 1;
	peertest_clear();
	peertest_rule("POST", "/_revs_diff", 200, "{}");
	CHECK_INT(peertest_do(p, diff, &c, a), 0);
	CHECK_INT(wants[0].nrevs, 1);
	CHECK_INT(wants[1].nrevs, 1);
	one[1] = rev(R2);
	wants[0] = (struct peer_want){.id = str("z\"1"), .revs = one, .nrevs = 2};
	two[0] = rev(R1);
	{
		static const char *const bad[] = {"{\"b\":{\"missing\":[\"" R2 "\"]}}",
		    "{\"a\":{\"missing\":[\"" R2 "\"]}}", "{\"a\":{\"missing\":[\"" R1 "\",\"" R1 "\"]}}",
		    "{\"a\":{\"missing\":[1]}}", "{\"a\":[\"" R1 "\"]}", "{\"a\":{\"missing\":\"x\"}}", "[]", "{",
		    "{\"a\":{\"missing\":[\"x\"]}}"};
		size_t i;

		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			wants[0].nrevs = 2;
			wants[1].nrevs = 1;
			peertest_clear();
			peertest_rule("POST", "/_revs_diff", 200, bad[i]);
			if (!CHECK_INT(peertest_do(p, diff, &c, a), ERR_IO))
				fprintf(stderr, "%s\n", bad[i]);
		}
	}
	p->ops->close(p);
}

static void
test_write(void)
{
	struct peer_doc docs[3] = {{.id = {"a", 1}, .text = {"{\"_id\":\"a\"}", 11}},
	    {.id = {"b", 1}, .text = {"{\"_id\":\"b\"}", 11}},
	    {.id = {"b", 1}, .text = {"{\"_id\":\"b\",\"c\":1}", 17}}};
	struct peer_write c = {.docs = docs, .n = 3};
	struct peer *p = new_peer(NULL);

	docs[0].rev = docs[1].rev = rev(R1);
	docs[2].rev = rev(R2);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_docs", 201, NULL, "[]", .times = 1});
	CHECK_INT(peertest_do(p, write, &c, a), 0);
	CHECK_STR(
	    peertest_body, "{\"new_edits\":false,\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"},{\"_id\":\"b\",\"c\":1}]}");
	CHECK(docs[0].err == 0 && docs[1].err == 0 && docs[2].err == 0);
	peertest_rule("POST", "/_bulk_docs", 201,
	    "[{\"id\":\"b\",\"rev\":\"" R2
	    "\",\"error\":\"forbidden\",\"reason\":\"no\"},{\"ok\":true,\"id\":\"b\",\"rev\":\"" R1 "\"},"
	    "{\"id\":\"a\",\"error\":\"missing_stub\"}]");
	CHECK_INT(peertest_do(p, write, &c, a), 0);
	CHECK_INT(docs[0].err, ERR_MISSING_STUB);
	CHECK_INT(docs[1].err, 0);
	CHECK_INT(docs[2].err, ERR_FORBIDDEN);
	HAS(docs[2].why->text, "forbidden: no");
	{
		static const struct {
			int status;
			const char *body;
			int err;
		} bad[] = {{413, "{\"error\":\"too_large\"}", ERR_TOO_LARGE}, {201, "{}", ERR_IO},
		    {201, "[{\"id\":\"x\",\"error\":\"forbidden\"}]", ERR_IO}, {201, "[{},{},{},{}]", ERR_IO},
		    {201, "[", ERR_IO}, {401, "{}", ERR_UNAUTHORIZED}, {400, "{}", ERR_IO},
		    {417, "[{\"id\":\"a\",\"error\":\"forbidden\"}]", 0}};
		size_t i;

		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			peertest_clear();
			peertest_rule("POST", "/_bulk_docs", bad[i].status, bad[i].body);
			if (!CHECK_INT(peertest_do(p, write, &c, a), bad[i].err))
				fprintf(stderr, "%s\n", bad[i].body);
		}
		CHECK_INT(docs[0].err, ERR_FORBIDDEN);
	}
	p->ops->close(p);
}

/* ---- Documents ---- */

#define DOC1(id) "{\"_id\":\"" id "\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]},\"x\":1}"
#define DOC2(id) "{\"_revisions\":{\"ids\":[\"" H2 "\",\"" H1 "\"],\"start\":2},\"_id\":\"" id "\",\"_rev\":\"" R2 "\"}"
#define OTHER(id) \
	"{\"_id\":\"" id "\",\"_rev\":\"" R2 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" H2 "\",\"" H2 "\"]}}"

static struct peer_want wants[3];

static void
make_wants(void)
{
	static const char *const names[] = {"a", "_design/b", "c d"};
	size_t i;

	for (i = 0; i < 3; i++) {
		wants[i] =
		    (struct peer_want){.id = str(names[i]), .revs = arena_calloc(a, 1, sizeof(struct rev)), .nrevs = 1};
		wants[i].revs[0] = rev(R1);
	}
}

static int
fetch(struct peer *p, struct peer_fetch *c, size_t max)
{
	memset(c, 0, sizeof(*c));
	c->wants = wants;
	c->nwants = 3;
	c->max_bytes = max;
	return peertest_do(p, fetch, c, a);
}

#define BULK(x, y, z)                                                 \
	"{\"results\":[{\"id\":\"a\",\"docs\":[" x "]},{\"docs\":[" y \
	"],\"id\":\"_design/b\"},{\"id\":\"c d\",\"docs\":[" z "]}]}"

static void
test_bulk_get(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_fetch c;

	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 200,
	    BULK("{\"ok\":" DOC1("a") "}", "{\"ok\":" DOC2("_design/b") "}",
		"{\"error\":{\"id\":\"c d\",\"rev\":\"" R1 "\",\"error\":\"not_found\",\"reason\":\"missing\"}}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	HAS(peertest_head, "/_bulk_get?revs=true&latest=true&attachments=false ");
	HAS(peertest_body, "{\"id\":\"_design/b\",\"rev\":\"" R1 "\"}");
	CHECK_INT(c.done, 3);
	CHECK_INT(c.ndocs, 3);
	CHECK_MEM(c.docs[0].text.s, c.docs[0].text.len, DOC1("a"), sizeof(DOC1("a")) - 1);
	CHECK_INT(c.docs[1].rev.gen, 2);
	CHECK_INT(c.docs[2].err, ERR_MISSING);
	CHECK_INT(c.bulk_attempts, 3);
	CHECK_INT(c.bulk_docs, 2);
	/* PouchDB's form of errors; attachments; several successors of one. */
	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 200,
	    BULK("{\"error\":\"not_found\",\"reason\":\"missing\"}",
		"{\"ok\":" DOC1("_design/b") "},{\"ok\":" DOC2("_design/b") "}",
		"{\"ok\":{\"_id\":\"c d\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1
		"\"]},\"_attachments\":{\"x\":{\"stub\":true}}}}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.ndocs, 4);
	{
		size_t i;
		int atts = 0, missing = 0;

		for (i = 0; i < c.ndocs; i++) {
			atts += c.docs[i].has_atts;
			missing += c.docs[i].err == ERR_MISSING;
		}
		CHECK_INT(atts, 1);
		CHECK_INT(missing, 1);
	}
	p->ops->close(p);
}

static void
test_bad_docs(void)
{
	static const char *const firsts[] = {
	    "",                                             /* says nothing of it */
	    "{\"ok\":" DOC1("x") "}",                       /* another document */
	    "{\"ok\":" OTHER("a") "}",                      /* another revision */
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R1 "\"}}", /* no history */
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R2 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H2 "\"]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[]}}}",
	    "{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\",\"" H2 "\"]}}}",
	    "{\"ok\":{\"_id\":7,\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]}}}",
	    "{\"ok\":null}",
	    "{}",
	    "{\"error\":{\"id\":\"a\",\"rev\":\"" R1 "\",\"error\":\"internal_server_error\",\"reason\":\"timeout\"}}",
	    "{\"error\":{\"id\":\"a\",\"rev\":\"" R2 "\",\"error\":\"not_found\",\"reason\":\"missing\"}}",
	};
	struct peer *p = new_peer(NULL);
	struct peer_fetch c;
	char text[4096];
	size_t i;

	for (i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		(void)snprintf(text, sizeof(text),
		    "{\"results\":[{\"id\":\"a\",\"docs\":[%s]},{\"id\":\"_design/b\",\"docs\":[{\"ok\":" DOC1(
			"_design/b") "}]},{\"id\":\"c d\",\"docs\":[{\"ok\":" DOC1("c d") "}]}]}",
		    firsts[i]);
		peertest_clear();
		peertest_rule("POST", "/_bulk_get?", 200, arena_dup(a, text, strlen(text)));
		if (!CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO))
			fprintf(stderr, "%s\n", firsts[i]);
		HAS(c.call.why.text, "/_bulk_get: its answer ");
	}
	/* A history that is forgotten at its end is believed. */
	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 200,
	    BULK("{\"ok\":{\"_id\":\"a\",\"_rev\":\"" R2 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" H2 "\"]}}}",
		"{\"ok\":" DOC1("_design/b") "}", "{\"ok\":" DOC1("c d") "}"));
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	p->ops->close(p);
}

/* More than the call may take: what has come whole is taken, the rest is left for another call. */
static void
test_bulk_cut(void)
{
	size_t big = 3u << 20, len;
	char *text = arena_alloc(a, 2 * big);
	struct peer *p = new_peer(NULL);
	struct peer_fetch c;

	len = (size_t)snprintf(text, 2 * big,
	    "{\"results\":[{\"id\":\"a\",\"docs\":[{\"ok\":" DOC1(
		"a") "}]},{\"id\":\"_design/b\",\"docs\":[{\"ok\":{\"_id\":\"_design/b\",\"_rev\":\"" R1
		     "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]},\"x\":\"");
	memset(text + len, 'x', big);
	len += big;
	len += (size_t)snprintf(
	    text + len, 2 * big - len, "\"}}]},{\"id\":\"c d\",\"docs\":[{\"ok\":" DOC1("c d") "}]}]}");
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, text, .body_len = len});
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.done, 1);
	CHECK_INT(c.ndocs, 1);
	p->ops->close(p);
}

static void
test_singles(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_fetch c;

	peertest_clear();
	peertest_rule("POST", "/_bulk_get?", 404, "{\"error\":\"not_found\"}");
	peertest_rule("GET", "/a?revs=true&latest=true&open_revs=%5B%22" R1 "%22%5D ", 200, "[{\"ok\":" DOC2("a") "}]");
	peertest_rule("GET", "/_design/b?", 404, "{\"error\":\"not_found\",\"reason\":\"missing\"}");
	peertest_rule("GET", "/c%20d?", 200, "[{\"missing\":\"" R1 "\"}]");
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(peertest_requests, 4);
	CHECK_INT(c.done, 3);
	CHECK_INT(c.ndocs, 3);
	CHECK_INT(c.bulk_docs, 0);
	/* It is not asked again what it does not know. */
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(peertest_requests, 7);
	/* Few bytes: fewer documents, at least one. */
	CHECK_INT(fetch(p, &c, 1), 0);
	CHECK(c.done >= 1);
	/* A database that is gone is not a document that is missing. */
	peertest_clear();
	peertest_rule("GET", "/", 404, "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_NO_DB);
	peertest_clear();
	peertest_rule("GET", "/", 200, "[]");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO);
	peertest_clear();
	peertest_rule("GET", "/", 200, "[{\"ok\":" DOC1("a") "}]");
	CHECK_INT(fetch(p, &c, 1 << 20), ERR_IO);
	p->ops->close(p);
	/* A document beyond what is gathered is passed over, and keeps no other from coming. */
	p = new_peer(NULL);
	peertest_clear();
	peertest_add((struct peertest_rule){"POST", "/_bulk_get?", 200, NULL, "{\"results\":[", .then = PT_ENDLESS});
	peertest_add((struct peertest_rule){"GET", "/a?", 200, NULL, "[", .then = PT_ENDLESS});
	peertest_rule("GET", "/_design/b?", 404, "{\"error\":\"not_found\",\"reason\":\"missing\"}");
	peertest_rule("GET", "/c%20d?", 200, "[{\"missing\":\"" R1 "\"}]");
	CHECK_INT(fetch(p, &c, 1 << 20), 0);
	CHECK_INT(c.done, 3);
	if (CHECK_INT(c.ndocs, 3))
		CHECK_INT((c.docs[0].err == ERR_DOC_TOO_LARGE) + (c.docs[1].err == ERR_DOC_TOO_LARGE) +
			      (c.docs[2].err == ERR_DOC_TOO_LARGE),
		    1);
	p->ops->close(p);
}

/* ---- Attachments ---- */

struct reading {
	struct pipe *pipe;
	char text[1 << 16];
	size_t len;
	int err;
};

static atomic_int readies;

static void
count_ready(struct peer_open *o)
{
	(void)o;
	readies++;
}

static void
wake(void *cookie)
{
	(void)cookie;
	pthread_mutex_lock(&peertest_lock);
	pthread_cond_broadcast(&peertest_cond);
	pthread_mutex_unlock(&peertest_lock);
}

/* Reads ${r}'s pipe to its end. */
static void
read_pipe(struct reading *r)
{
	size_t n;

	for (;;) {
		char piece[1000];

		r->err = pipe_take(r->pipe, piece, sizeof(piece), &n, wake, r);
		if (r->err == ERR_AGAIN) {
			usleep(500);
			continue;
		}
		if (r->err != 0)
			return;
		if (r->len + n <= sizeof(r->text))
			memcpy(r->text + r->len, piece, n);
		r->len += n;
	}
}

static int
open_doc(struct peer *p, struct peer_open *c, struct reading *r)
{
	int flag, err;

	memset(c, 0, sizeof(*c));
	memset(r, 0, sizeof(*r));
	if (pipe_new(&r->pipe) != 0)
		abort();
	c->id = str("a");
	c->rev = rev(R1);
	c->pipe = r->pipe;
	c->ready = count_ready;
	readies = 0;
	peertest_prepare(&c->call, a, &flag);
	p->ops->open_doc(p, c);
	read_pipe(r);
	err = peertest_wait(&c->call, &flag);
	pipe_free(r->pipe);
	return err;
}

#define ATTDOC                                                                                                        \
	"{\"_id\":\"a\",\"_rev\":\"" R1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]},\"_attachments\":{"     \
	"\"x\":{\"content_type\":\"text/"                                                                             \
	"plain\",\"revpos\":1,\"digest\":\"md5-XUFAKrxLKna5cZ2REBfFkg==\",\"length\":5,\"follows\":true},"            \
	"\"old\":{\"content_type\":\"text/plain\",\"revpos\":1,\"digest\":\"md5-AAAA\",\"length\":50,\"stub\":true}," \
	"\"y\":{\"content_type\":\"a/"                                                                                \
	"b\",\"revpos\":1,\"digest\":\"md5-ICy5YqxZB1uWSwcVLSNLcA==\",\"length\":99,\"encoded_length\":3,"            \
	"\"encoding\":\"gzip\",\"follows\":true}}}"
#define INNER(x, y)                                                             \
	"--in\r\nContent-Type: application/json\r\n\r\n" ATTDOC                 \
	"\r\n--in\r\nContent-Disposition: attachment; filename=\"x\"\r\n\r\n" x \
	"\r\n--in\r\nContent-Encoding: gzip\r\n\r\n" y "\r\n--in--"
#define MIXED(part) "--out\r\n" part "\r\n--out--"
#define RELATED(x, y) "Content-Type: multipart/related; boundary=\"in\"\r\n\r\n" INNER(x, y)

static void
test_open(void)
{
	struct peer *p = new_peer(NULL);
	struct peer_open c;
	struct reading r;

	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/a?", 200, "Content-Type: multipart/mixed; boundary=\"out\"\r\n",
	    MIXED(RELATED("hello", "123")), .times = 1});
	CHECK_INT(open_doc(p, &c, &r), 0);
	HAS(peertest_head, "GET /db/a?attachments=true&revs=true&latest=true&open_revs=%5B%22" R1 "%22%5D ");
	HAS(peertest_head, "Accept: multipart/mixed,");
	CHECK_INT(readies, 1);
	CHECK_INT(c.natts, 2);
	CHECK_INT(c.atts[1].length, 3);
	CHECK_INT(c.atts[1].gzip, 1);
	CHECK_MEM(c.atts[0].name.s, c.atts[0].name.len, "x", 1);
	CHECK_MEM(c.doc.text.s, c.doc.text.len, ATTDOC, sizeof(ATTDOC) - 1);
	CHECK_INT(r.err, ERR_END);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	/* Without the outer parts. */
	peertest_add((struct peertest_rule){
	    "GET", "/a?", 200, "Content-Type: multipart/related; boundary=in\r\n", INNER("hello", "123"), .times = 1});
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	/* None follows. */
	peertest_add((struct peertest_rule){"GET", "/a?", 200, "Content-Type: multipart/mixed; boundary=\"out\"\r\n",
	    MIXED("Content-Type: application/json\r\n\r\n" DOC2("a")), .times = 1});
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(c.natts, 0);
	CHECK_INT(c.doc.rev.gen, 2);
	CHECK_INT(r.err, ERR_END);
	/* JSON with the attachments inside. */
	peertest_add((struct peertest_rule){"GET", "/a?", 200, NULL, "[{\"ok\":" DOC1("a") "}]", .times = 1});
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(readies, 1);
	CHECK_MEM(c.doc.text.s, c.doc.text.len, DOC1("a"), sizeof(DOC1("a")) - 1);
	/* Broken once before anything was told: asked again. */
	peertest_add((struct peertest_rule){"GET", "/a?", 200, "Content-Type: multipart/mixed; boundary=out\r\n",
	    "--out\r\nContent-Ty", .then = PT_CLOSE, .times = 1});
	peertest_add((struct peertest_rule){"GET", "/a?", 200, "Content-Type: multipart/mixed; boundary=out\r\n",
	    MIXED(RELATED("hello", "123")), .times = 1});
	CHECK_INT(open_doc(p, &c, &r), 0);
	CHECK_INT(readies, 1);
	CHECK_MEM(r.text, r.len, "hello123", 8);
	p->ops->close(p);
}

static void
test_bad_open(void)
{
	static const struct {
		int status;
		const char *type, *body;
		int err, ready;
		enum peertest_then then;
	} cases[] = {
	    {200, "multipart/mixed; boundary=out",
		MIXED("Content-Type: application/json; error=\"true\"\r\n\r\n{\"missing\":\"" R1 "\"}"), ERR_MISSING, 0,
		PT_KEEP},
	    {200, "application/json", "[{\"missing\":\"" R1 "\"}]", ERR_MISSING, 0, PT_KEEP},
	    {200, "application/json", "[]", ERR_MISSING, 0, PT_KEEP},
	    {404, "application/json", "{\"error\":\"not_found\",\"reason\":\"missing\"}", ERR_MISSING, 0, PT_KEEP},
	    {404, "application/json", "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}", ERR_NO_DB, 0,
		PT_KEEP},
	    {200, "application/json", "[{\"ok\":" DOC1("b") "}]", ERR_IO, 0, PT_KEEP},
	    {200, "application/json", "[{\"ok\":" OTHER("a") "}]", ERR_IO, 0, PT_KEEP},
	    {200, "text/html", "<p>", ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed", MIXED(RELATED("hello", "123")), ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", "--out\r\n", ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", "--out--", ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out",
		MIXED("Content-Type: multipart/related\r\n\r\n" INNER("hello", "123")), ERR_IO, 0, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED("Content-Type: application/json\r\n\r\n{"), ERR_IO, 0,
		PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hullo", "123")), ERR_IO, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hell", "123")), ERR_IO, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hello!", "123")), ERR_IO, 1, PT_KEEP},
	    {200, "multipart/mixed; boundary=out", MIXED(RELATED("hello", "123\r\n--in\r\n\r\nx")), ERR_IO, 1, PT_KEEP},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in--", ERR_IO, 1, PT_KEEP},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in\r\n\r\nhel", ERR_IO, 1, PT_CLOSE},
	    {200, "multipart/related; boundary=in", "--in\r\n\r\n" ATTDOC "\r\n--in\r\n\r\nhello\r\n--in\r\n\r\n12",
		ERR_IO, 1, PT_KEEP},
	    {200, "multipart/related; boundary=in", INNER("hello", "123"), 0, 1, PT_ENDLESS},
	    {200, "multipart/mixed; boundary=out", "", ERR_IO, 0, PT_ENDLESS},
	};
	struct peer *p = new_peer(NULL);
	struct peer_open c;
	struct reading r;
	char type[128];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(type, sizeof(type), "Content-Type: %s\r\n", cases[i].type);
		peertest_clear();
		peertest_add(
		    (struct peertest_rule){"GET", "/a?", cases[i].status, type, cases[i].body, .then = cases[i].then});
		if (!CHECK_INT(open_doc(p, &c, &r), cases[i].err) || !CHECK_INT(readies, cases[i].ready))
			fprintf(stderr, "case %zu: %s\n", i, c.call.why.text);
		CHECK_INT(r.err, cases[i].err != 0 ? cases[i].err : ERR_END);
		CHECK(cases[i].err == 0 || c.call.why.text[0] != '\0');
	}
	p->ops->close(p);
}

/* Lists in URLs become shorter when they are too long. */
static void
test_ancestors(void)
{
	struct peer *p = new_peer(NULL);
	struct rev *many = arena_calloc(a, 1000, sizeof(*many));
	struct peer_open c = {.id = {"a", 1}, .ready = count_ready};
	struct pipe *pipe;
	char *query;
	size_t i;

	for (i = 0; i < 1000; i++)
		many[i] = rev(R1);
	peertest_clear();
	peertest_add((struct peertest_rule){"GET", "/a?", 414, NULL, "{}", .times = 1});
	peertest_rule("GET", "/a?", 200, "[{\"ok\":" DOC1("a") "}]");
	if (pipe_new(&pipe) != 0)
		abort();
	c.rev = rev(R1);
	c.pipe = pipe;
	c.ancestors = many;
	c.nancestors = 1000;
	CHECK_INT(peertest_do(p, open_doc, &c, a), 0);
	CHECK_INT(peertest_requests, 2);
	query = strstr(peertest_head, "&atts_since=%5B%22" R1 "%22%2C%22" R1 "%22");
	CHECK(query != NULL);
	CHECK(strcspn(peertest_head, "\r") < 3200);
	pipe_free(pipe);
	p->ops->close(p);
}

struct feeding {
	struct pipe *pipe;
	size_t pieces;
	int end;
};

static void *
feed_pipe(void *arg)
{
	struct feeding *f = arg;
	static char piece[65536];
	int err = 0;

	memset(piece, 'p', sizeof(piece));
	while (f->pieces > 0) {
		err = pipe_put(f->pipe, piece, sizeof(piece), wake, f);
		if (err == ERR_AGAIN)
			usleep(500);
		else if (err != 0)
			return NULL;
		else
			f->pieces--;
	}
	pipe_end(f->pipe, f->end);
	return NULL;
}

static int
put_doc(struct peer *p, size_t said, size_t sent, int end_err, struct errtext *why)
{
	static struct peer_doc doc = {.id = {"_design/a b", 11}, .text = {"{\"_id\":\"x\"}", 11}};
	struct peer_att atts[2] = {{.name = {"q\"\r\n", 4}, .type = {"t/x\nEvil: 1", 11}, .length = said},
	    {.name = {"z", 1}, .type = {"", 0}, .length = 0, .gzip = 1}};
	struct peer_put c = {.doc = &doc, .atts = atts, .natts = 2};
	struct feeding f = {.pieces = sent / 65536, .end = end_err};
	pthread_t thread;
	int err;

	if (pipe_new(&f.pipe) != 0 || pthread_create(&thread, NULL, feed_pipe, &f) != 0)
		abort();
	c.pipe = f.pipe;
	err = peertest_do(p, put_doc, &c, a);
	pthread_join(thread, NULL);
	pipe_free(f.pipe);
	*why = c.call.why;
	return err;
}

static void
test_put(void)
{
	struct peer *p = new_peer(NULL);
	struct errtext why;
	const char *boundary;

	peertest_clear();
	peertest_add(
	    (struct peertest_rule){"PUT", "/_design/a%20b?new_edits=false ", 201, NULL, "{\"ok\":true}", .times = 0});
	CHECK_INT(put_doc(p, 10 * 65536, 10 * 65536, 0, &why), 0);
	boundary = strstr(peertest_head, "boundary=\"");
	if (CHECK(boundary != NULL)) {
		char want[512];
		size_t n = (size_t)snprintf(want, sizeof(want),
		    "--%.32s\r\nContent-Type: "
		    "application/json\r\n\r\n{\"_id\":\"x\"}\r\n--%.32s\r\nContent-Disposition: attachment; "
		    "filename=\"q\\\"  \"\r\nContent-Type: t/x Evil: 1\r\nContent-Length: 655360\r\n\r\n",
		    boundary + 10, boundary + 10);
		size_t m;

		CHECK_MEM(peertest_body, n, want, n);
		m = (size_t)snprintf(want, sizeof(want),
		    "p\r\n--%.32s\r\nContent-Disposition: attachment; filename=\"z\"\r\nContent-Type: "
		    "application/octet-stream\r\n"
		    "Content-Length: 0\r\nContent-Encoding: gzip\r\n\r\n\r\n--%.32s--",
		    boundary + 10, boundary + 10);
		CHECK_INT(peertest_body_len, n + 655360 + m - 1);
		CHECK_MEM(peertest_body + peertest_body_len - m, m, want, m);
	}
	/* The source breaks off, or has less than it said: the target has not the whole. */
	CHECK_INT(put_doc(p, 10 * 65536, 65536, ERR_CORRUPT, &why), ERR_CORRUPT);
	CHECK_INT(put_doc(p, 10 * 65536, 65536, 0, &why), ERR_IO);
	p->ops->close(p);
}

/* ${len} bytes of "p" as gzip; returns the length. */
static size_t
pack(char *out, size_t room, size_t len)
{
	char *plain = arena_alloc(a, len);
	z_stream z;

	memset(&z, 0, sizeof(z));
	memset(plain, 'p', len);
	if (deflateInit2(&z, 8, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	z.next_in = (unsigned char *)plain;
	z.avail_in = (uInt)len;
	z.next_out = (unsigned char *)out;
	z.avail_out = (uInt)room;
	CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&z);
	return room - z.avail_out;
}

/* PouchDB gets attachments as they are; what is no gzip, or is longer or shorter than it says, is not sent whole. */
static void
test_put_plain(void)
{
	static const struct {
		size_t said;
		int spoilt, err;
	} cases[] = {{200000, 0, 0}, {199999, 0, ERR_NOT_GZIP}, {200001, 0, ERR_NOT_GZIP}, {1, 0, ERR_NOT_GZIP},
	    {200000, 1, ERR_NOT_GZIP}};
	struct peer *p = new_peer(NULL);
	struct peer_info about;
	char text[512], packed[4096];
	size_t i, len = pack(packed, sizeof(packed), 200000);

	peertest_clear();
	peertest_rule("GET", " ", 200, "{\"update_seq\":1,\"backend_adapter\":\"x\"}");
	peertest_rule("PUT", "/a?new_edits=false ", 201, "{\"ok\":true}");
	CHECK_INT(info(p, &about), 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer_att att = {.name = {"t", 1}, .type = {"a/b", 3}, .length = len, .gzip = 1};
		struct peer_doc doc = {.id = {"a", 1}};
		struct peer_put c = {.doc = &doc, .atts = &att, .natts = 1};

		doc.text.len = (size_t)snprintf(text, sizeof(text),
		    "{\"_id\":\"a\",\"_rev\":\"" R1 "\",\"_attachments\":{\"t\":{\"follows\":true,\"encoding\":"
		    "\"gzip\",\"length\":%zu,\"encoded_length\":%zu}}}",
		    cases[i].said, len);
		doc.text.s = text;
		if (pipe_new(&c.pipe) != 0)
			abort();
		packed[2] ^= (char)cases[i].spoilt;
		CHECK_INT(pipe_put(c.pipe, packed, len, wake, NULL), 0);
		pipe_end(c.pipe, 0);
		CHECK_INT(peertest_do(p, put_doc, &c, a), cases[i].err);
		pipe_free(c.pipe);
		if (i > 0)
			continue;
		CHECK(strstr(peertest_body, "Content-Length: 200000\r\n\r\nppp") != NULL);
		CHECK(strstr(peertest_body, "Content-Encoding") == NULL);
		CHECK(memmem(peertest_body + peertest_body_len - 50, 50, "ppp\r\n--", 7) != NULL);
	}
	p->ops->close(p);
}

static void
test_refused_put(void)
{
	static const struct {
		int status;
		const char *body;
		int err;
	} cases[] = {
	    {412, "{\"error\":\"missing_stub\",\"reason\":\"x\"}", ERR_MISSING_STUB},
	    {413, "{\"error\":\"document_too_large\"}", ERR_DOC_TOO_LARGE},
	    {403, "{\"error\":\"forbidden\",\"reason\":\"x\"}", ERR_FORBIDDEN},
	    {401, "{\"error\":\"unauthorized\",\"reason\":\"x\"}", ERR_UNAUTHORIZED},
	    {400, "{\"error\":\"doc_validation\",\"reason\":\"x\"}", ERR_DOC_VALIDATION},
	    {404, "{\"error\":\"not_found\",\"reason\":\"no_db_file\"}", ERR_NO_DB},
	    {500, "{}", ERR_IO},
	};
	struct peer *p = new_peer(NULL);
	struct errtext why;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* Also while it still sends: far more than connections hold. */
		peertest_clear();
		peertest_add(
		    (struct peertest_rule){"PUT", "/_design/", cases[i].status, NULL, cases[i].body, .then = PT_EARLY});
		if (!CHECK_INT(put_doc(p, 1u << 30, 1u << 30, 0, &why), cases[i].err))
			fprintf(stderr, "%d: %s\n", cases[i].status, why.text);
	}
	p->ops->close(p);
}

int
main(void)
{
	peertest_begin();
	peertest_serve();
	a = peertest_arena();
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/db/", peertest_port);
	end.url = url;
	spec = (struct rep_spec){.timeout_ms = 20000, .retries = 3, .connections = 4, .bulk_get = 1};
	make_wants();
	test_info();
	test_answers();
	test_repeats();
	test_create();
	test_local();
	test_cookie();
	test_basic();
	test_changes();
	test_bad_changes();
	test_endless_changes();
	test_filters();
	test_waiting();
	test_cancel();
	test_diff();
	test_write();
	test_bulk_get();
	test_bad_docs();
	test_bulk_cut();
	test_singles();
	test_open();
	test_bad_open();
	test_ancestors();
	test_put();
	test_put_plain();
	test_refused_put();
	peertest_end();
	arena_free(a);
	return check_done();
}
