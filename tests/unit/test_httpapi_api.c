/* The way into the API: paths, parameters, CORS, the page's files. */
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "fake_accounts.h"
#include "fake_http.h"
#include "base/hash.h"
#include "httpapi/api.h"
#include "httpapi/cors.h"

static struct api api;

static void
ask(struct http_req *q, const char *method, const char *target, const char *const *headers, const char *body)
{
	fake_begin(q, method, target, headers, body);
	api_handle(q, &api);
	fake_drain();
	(void)buf_putc(&q->out, '\0');
}

static void
expect(const char *method, const char *target, const char *const *headers, int status, const char *part)
{
	struct http_req q;
	ask(&q, method, target, headers, NULL);
	if (!CHECK_INT(q.status, status) || !CHECK(strstr(q.out.data, part) != NULL))
		fprintf(stderr, "%s %s: %s", method, target, q.out.data);
	CHECK_INT(q.refs, 0);
	fake_end(&q);
}

static const char *const admin[] = {"authorization", "Basic YWRtaW46YWRt", NULL}; /* admin:adm */

static void
test_paths(void)
{
	static const char *const override[] = {
	    "x-http-method-override", "GET", "authorization", "Basic YWRtaW46YWRt", NULL};
	expect("GET", "/", NULL, 200, "\"couchdb\":\"Welcome\"");
	expect("HEAD", "//", NULL, 200, "Welcome");
	expect("GET", "/_up", NULL, 200, "ok");
	expect("GET", "/%5fup", NULL, 200, "ok");
	expect("GET", "/_up/", NULL, 200, "ok");
	expect("GET", "/_up#x/y", NULL, 200, "ok");
	expect("GET", "/%zz", NULL, 400, "invalid_url_encoding");
	expect("GET", "/_up?a=%4", NULL, 400, "invalid_url_encoding");
	expect("POST", "/", override, 200, "Welcome");
	expect("PUT", "/", override, 405, "Only GET,HEAD allowed");
	expect("GET", "/_node/_local/_config/a/b/c/d/e/f/g/h/i/j/k", admin, 404, "\"reason\":\"missing\"");
	CHECK_INT(config_set(api.config, "s c", "k/y", "v\"1"), 0);
	expect("GET", "/_node/_local/_config/s+c/k%2Fy", admin, 200, "\"v\\\"1\"\n");
	expect("GET", "/_node/_local/_config/s%20c", admin, 200, "{\"k/y\":\"v\\\"1\"}\n");
}

static void
test_parameters(void)
{
	expect("GET", "/_uuids?count=2", NULL, 200, "\",\"");
	expect("GET", "/_uuids?count=2&count=0", NULL, 200, "{\"uuids\":[]}");
	expect("GET", "/_uuids?count=99999999999999999999999", NULL, 400, "too large");
	expect("GET", "/_uuids?count=%2d1", NULL, 400, "positive integer");
	expect("GET", "/_uuids?count=", NULL, 400, "positive integer");
	expect("GET", "/_uuids?&=&x&count=0&", NULL, 200, "[]");
	expect("GET", "/_all_dbs?limit=x%22y", admin, 400, "Invalid value for integer: \\\"x\\\"y\\\"");
	expect("GET", "/_all_dbs?limit=%ff", admin, 400, "Invalid value for integer: ");
	expect("GET", "/_all_dbs?descending=1", admin, 400, "Invalid boolean parameter");
	expect("GET", "/_all_dbs?startkey=\"a", admin, 400, "invalid UTF-8 JSON");
}

/* ${origin} may, or may not, ask. */
static void
origin(const char *from, const char *allowed)
{
	const char *const headers[] = {"origin", from, "access-control-request-method", "PUT", NULL};
	struct http_req q;
	ask(&q, "GET", "/", headers, NULL);
	const char *got = fake_header(&q, "access-control-allow-origin");
	CHECK_INT(q.status, 200);
	CHECK_STR(got ? got : "", allowed);
	fake_end(&q);
	ask(&q, "OPTIONS", "/", headers, NULL);
	CHECK_INT(q.status, *allowed ? 204 : 405);
	fake_end(&q);
}

static void
test_cors(void)
{
	origin("http://localhost:8080", "");
	CHECK_INT(config_set(api.config, "chttpd", "enable_cors", "true"), 0);
	CHECK_INT(config_set(api.config, "cors", "origins", "https://a.example, http://localhost:*"), 0);
	CHECK_INT(cors_load(&api), 0);
	origin("https://a.example", "https://a.example");
	origin("https://a.example.evil", "");
	origin("http://a.example", "");
	origin("http://localhost:8080", "http://localhost:8080");
	origin("http://localhost", "http://localhost");
	origin("http://localhost:", "");
	origin("http://localhost:80x", "");
	origin("http://localhost.evil:80", "");
	origin("http://localhost:80.evil", "");
	CHECK_INT(config_set(api.config, "chttpd", "enable_cors", "false"), 0);
	CHECK_INT(cors_load(&api), 0);
}

static void
test_web(void)
{
	static const char *const none[] = {"if-none-match", "\"d41d8cd98f00b204e9800998ecf8427e\"", NULL};
	expect("GET", "/_utils", NULL, 301, "");
	expect("GET", "/_utils/", NULL, 200, "<p>hello");
	expect("GET", "/_utils/empty.js", NULL, 200, "");
	expect("GET", "/_utils/empty.js", none, 304, "");
	expect("GET", "/_utils/missing.js", NULL, 404, "missing");
	expect("GET", "/_utils/sub", NULL, 404, "missing");
	expect("GET", "/_utils/../secret", NULL, 404, "missing");
	expect("GET", "/_utils/%2e%2e/secret", NULL, 404, "missing");
	expect("GET", "/_utils/sub%2f..%2f..%2fsecret", NULL, 404, "missing");
	expect("GET", "/_utils/index.html%00.js", NULL, 404, "missing");
	expect("PUT", "/_utils/index.html", NULL, 405, "Only GET,HEAD allowed");
}

static void
put_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

/* What a request costs besides its handler: ns of GET / with and without credentials. */
static void
measure(const char *what, const char *const *headers)
{
	struct timespec a, b;
	struct http_req q;
	enum { N = 300000 };
	fake_begin(&q, "GET", "/_up", headers, NULL);
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < N; i++) {
		api_handle(&q, &api);
		arena_reset(q.arena);
		buf_clear(&q.head);
		buf_clear(&q.out);
		q.status = 0;
		q.refs = 1;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%s: %.0f ns\n", what, ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / N);
	fake_end(&q);
}

static unsigned parses, thens;

static void
on_parse(struct apireq *r)
{
	(void)r;
	parses++;
}

static void
on_then(struct apireq *r)
{
	(void)r;
	CHECK_INT(parses, thens + 1);
	thens++;
}

/* test_bodies: A long body is parsed by a job, a short one and what is none at once; one that is longer than it may be is not there. */
static void
test_bodies(void)
{
	static char text[API_INLINE_BYTES + 2];
	const struct {
		size_t len;
		uint64_t max;
		int err;
		unsigned jobs;
	} cases[] = {{0, UINT64_MAX, 0, 0}, {API_INLINE_BYTES, UINT64_MAX, 0, 0},
	    {API_INLINE_BYTES + 1, UINT64_MAX, 0, 1}, {1000, 1000, 0, 0}, {1001, 1000, ERR_TOO_LARGE, 0},
	    {API_INLINE_BYTES + 1, 1000, ERR_TOO_LARGE, 0}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned jobs = fake_jobs_run;
		struct errtext why = {""};
		struct jstr body;
		struct http_req q;
		struct apireq r = {.api = &api, .http = &q, .body_max = cases[i].max};

		memset(text, ' ', cases[i].len);
		text[cases[i].len] = '\0';
		fake_begin(&q, "POST", "/", NULL, text);
		r.arena = q.arena;
		parses = thens = 0;
		api_gather(&r, on_parse);
		CHECK_INT(parses, 1);
		CHECK_INT(api_body(&r, &body, &why), cases[i].err);
		if (cases[i].err == 0)
			CHECK_INT(body.len, cases[i].len);
		parses = 0;
		api_parse(&r, on_parse, on_then);
		CHECK_INT(thens, cases[i].jobs == 0);
		fake_drain();
		CHECK_INT(thens, 1);
		CHECK_INT(fake_jobs_run - jobs, cases[i].jobs);
		fake_end(&q);
	}
}

int
main(int argc, char **argv)
{
	char dir[] = "/tmp/divan-test-XXXXXX";
	char sub[64];
	(void)argv;
	if (!mkdtemp(dir) || config_new(&api.config))
		return 1;
	(void)snprintf(sub, sizeof(sub), "%s/web", dir);
	if (mkdir(sub, 0700) != 0)
		return 1;
	put_file(dir, "secret", "secret");
	if (config_set(api.config, "divan", "web_dir", sub) || config_set(api.config, "admins", "admin", "adm"))
		return 1;
	put_file(sub, "index.html", "<p>hello");
	put_file(sub, "empty.js", "");
	api.ex = &fake_executor;
	if (api_new(&api))
		return 1;
	if (argc > 1) {
		measure("anonymous", NULL);
		expect("GET", "/", admin, 200, "Welcome");
		measure("Basic, remembered", admin);
	}
	test_paths();
	test_parameters();
	test_bodies();
	test_cors();
	test_web();
	api_free(&api);
	config_free(api.config);
	return check_done();
}
