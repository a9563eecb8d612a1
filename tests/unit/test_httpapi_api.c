/* The way into the API: paths, parameters, authentication, CORS, the page's files. */
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "fake_http.h"
#include "base/hash.h"
#include "httpapi/api.h"
#include "httpapi/auth.h"
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
	expect("GET", "/_node/_local/_config/a/b/c/d/e/f/g/h/i/j/k", admin, 404, "unknown_config_value");
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

static void
test_basic(void)
{
	static const char *const wrong[] = {"authorization", "Basic YWRtaW46YWRs", NULL};
	static const char *const nobody[] = {"authorization", "Basic bm9ib2R5OmFkbQ==", NULL};
	static const char *const bad[] = {"authorization", "Basic !!!", NULL};
	static const char *const colon[] = {"authorization", "Basic: YWRtaW46YWRs", NULL};
	expect("GET", "/_session", admin, 200, "\"name\":\"admin\",\"roles\":[\"_admin\"]");
	/* Verified once, then remembered. */
	unsigned before = fake_jobs_run;
	expect("GET", "/_session", admin, 200, "\"authenticated\":\"default\"");
	CHECK_INT(fake_jobs_run, before);
	/* Failures are not. */
	expect("GET", "/", wrong, 401, "Name or password is incorrect.");
	expect("GET", "/", wrong, 401, "Name or password is incorrect.");
	CHECK_INT(fake_jobs_run, before + 2);
	expect("GET", "/", nobody, 401, "Name or password is incorrect.");
	expect("GET", "/", bad, 400, "Authorization header has invalid base64 value");
	expect("GET", "/", colon, 200, "Welcome");
	expect("GET", "/_session", colon, 200, "\"name\":null");
}

static void
test_same_credentials_wait_together(void)
{
	struct http_req q[3];
	CHECK_INT(auth_load(&api), 0); /* forgets */
	unsigned before = fake_jobs_run;
	for (int i = 0; i < 3; i++) {
		fake_begin(&q[i], "GET", "/_session", admin, NULL);
		api_handle(&q[i], &api);
		CHECK_INT(q[i].status, 0);
	}
	fake_drain();
	CHECK_INT(fake_jobs_run, before + 1);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(q[i].status, 200);
		CHECK_INT(q[i].refs, 0);
		fake_end(&q[i]);
	}
}

static void
test_changed_password(void)
{
	CHECK_INT(config_set(api.config, "admins", "admin", "other"), 0);
	CHECK_INT(auth_load(&api), 0);
	expect("GET", "/", admin, 401, "Name or password");
	CHECK_INT(config_set(api.config, "admins", "admin", "adm"), 0);
	CHECK_INT(auth_load(&api), 0);
	expect("GET", "/", admin, 200, "Welcome");
}

static void
test_cookie(void)
{
	static const char *const form[] = {"content-type", "application/x-www-form-urlencoded", NULL};
	char cookie[1024];
	const char *const with[] = {"cookie", cookie, NULL};
	struct http_req q;
	ask(&q, "POST", "/_session", form, "name=admin&password=%61dm");
	CHECK_INT(q.status, 200);
	const char *set = fake_header(&q, "set-cookie");
	CHECK(set != NULL && strstr(set, "; Max-Age=600; Path=/; HttpOnly") != NULL);
	(void)snprintf(cookie, sizeof(cookie), "x=1; %.*s", (int)strcspn(set ? set : "", ";"), set ? set : "");
	fake_end(&q);
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	expect("GET", "/_session", with, 200, "\"name\":\"admin\"");
	fake_wall_us += UINT64_C(100000000);
	ask(&q, "GET", "/_session", with, NULL);
	CHECK(fake_header(&q, "set-cookie") != NULL);
	fake_end(&q);
	fake_wall_us += UINT64_C(501000000);
	expect("GET", "/_session", with, 200, "\"name\":null");
	fake_wall_us -= UINT64_C(601000000);
	expect("GET", "/_session", with, 200, "\"name\":\"admin\"");
	cookie[strlen(cookie) - 8] = cookie[strlen(cookie) - 8] == 'A' ? 'B' : 'A';
	expect("GET", "/_session", with, 200, "\"name\":null");
	(void)snprintf(cookie, sizeof(cookie), "AuthSession=garbage");
	expect("GET", "/_session", with, 400, "Malformed AuthSession cookie");
	ask(&q, "POST", "/_session?next=//evil.example/", form, "name=admin&password=adm");
	CHECK_INT(q.status, 200);
	CHECK(strstr(fake_header(&q, "set-cookie"), "SameSite") == NULL);
	fake_end(&q);
	CHECK_INT(config_set(api.config, "chttpd_auth", "same_site", "Strict"), 0);
	CHECK_INT(auth_load(&api), 0);
	ask(&q, "POST", "/_session", form, "name=admin&password=adm");
	CHECK(strstr(fake_header(&q, "set-cookie"), "; HttpOnly; SameSite=Strict") != NULL);
	fake_end(&q);
	CHECK_INT(config_set(api.config, "chttpd_auth", "same_site", NULL), 0);
	CHECK_INT(auth_load(&api), 0);
}

static void
test_required(void)
{
	CHECK_INT(config_set(api.config, "chttpd", "require_valid_user", "true"), 0);
	CHECK_INT(auth_load(&api), 0);
	expect("GET", "/", NULL, 401, "Authentication required.");
	expect("GET", "/", admin, 200, "Welcome");
	expect("POST", "/_session", NULL, 415, "bad_content_type");
	CHECK_INT(config_set(api.config, "chttpd", "require_valid_user", NULL), 0);
	CHECK_INT(auth_load(&api), 0);
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
	test_basic();
	test_same_credentials_wait_together();
	test_changed_password();
	test_cookie();
	test_required();
	test_cors();
	test_web();
	api_free(&api);
	config_free(api.config);
	return check_done();
}
