/* Who asks: passwords, sessions, tokens, proxies, lock-out; over an engine without sockets and accounts without a database. */
#include "check.h"
#include "fake_accounts.h"
#include "fake_http.h"
#include "base/hash.h"
#include "httpapi/api.h"
#include "httpapi/auth_impl.h"
#include "httpapi/secret.h"
#include "nocrypto.h"

static struct api api;

static const char *const form[] = {"content-type", "application/x-www-form-urlencoded", NULL};
static const char *const json[] = {"content-type", "application/json", NULL};

static void
set(const char *section, const char *key, const char *value)
{
	CHECK_INT(config_set(api.config, section, key, value), 0);
	if (strcmp(section, "admins") == 0)
		fake_accounts_changed();
}

static void
ask(struct http_req *q, const char *method, const char *target, const char *const *headers, const char *body)
{
	fake_begin(q, method, target, headers, body);
	api_handle(q, &api);
	fake_drain();
	(void)buf_putc(&q->out, '\0');
}

static void
expect_body(
    const char *method, const char *target, const char *const *headers, const char *body, int status, const char *part)
{
	struct http_req q;

	ask(&q, method, target, headers, body);
	if (!CHECK_INT(q.status, status) || !CHECK(strstr(q.out.data, part) != NULL))
		fprintf(stderr, "%s %s: %s, not %s\n", method, target, q.out.data, part);
	CHECK_INT(q.refs, 0);
	fake_end(&q);
}

static void
expect(const char *method, const char *target, const char *const *headers, int status, const char *part)
{
	expect_body(method, target, headers, NULL, status, part);
}

/* The Authorization header of "name:password". */
static const char *const *
basic(const char *plain)
{
	static char text[4][512];
	static const char *headers[4][3];
	static unsigned turn;
	unsigned i = turn++ % 4;
	struct buf b;

	buf_init(&b, 400);
	(void)base64_put(&b, plain, strlen(plain));
	(void)snprintf(text[i], sizeof(text[i]), "Basic %.*s", (int)b.len, b.data);
	buf_release(&b);
	headers[i][0] = "authorization";
	headers[i][1] = text[i];
	return headers[i];
}

static void
test_basic(void)
{
	static const char *const bad[] = {"authorization", "Basic !!!", NULL};
	static const char *const colon[] = {"authorization", "Basic: YWRtaW46YWRs", NULL};
	static const char *const zero[] = {"authorization", "Basic YWRtaW4AOmFkbQ==", NULL}; /* admin, NUL, :adm */
	unsigned before;

	expect("GET", "/_session", basic("admin:adm"), 200, "\"name\":\"admin\",\"roles\":[\"_admin\"]");
	/* Verified once, then remembered. */
	before = fake_jobs_run;
	expect("GET", "/_session", basic("admin:adm"), 200, "\"authenticated\":\"default\"");
	CHECK_INT(fake_jobs_run, before);
	/* Failures are not. */
	expect("GET", "/", basic("admin:adl"), 401, "Name or password is incorrect.");
	expect("GET", "/", basic("admin:adl"), 401, "Name or password is incorrect.");
	CHECK_INT(fake_jobs_run, before + 2);
	expect("GET", "/", basic("nobody:adm"), 401, "Name or password is incorrect.");
	CHECK_INT(fake_jobs_run, before + 3);
	expect("GET", "/", zero, 401, "Name or password is incorrect.");
	expect("GET", "/", bad, 400, "Authorization header has invalid base64 value");
	expect("GET", "/", colon, 200, "Welcome");
	expect("GET", "/_session", colon, 200, "\"name\":null");
	expect("GET", "/_session", basic("_:_"), 200, "\"name\":null");
	expect("GET", "/_session", basic("adm"), 200, "\"name\":null");
}

/* Requests with the same password wait for one derivation. */
static void
test_same_credentials_wait_together(void)
{
	struct http_req q[3];
	unsigned before = fake_jobs_run;

	set("admins", "new", "pw");
	for (int i = 0; i < 3; i++) {
		fake_begin(&q[i], "GET", "/_session", basic("new:pw"), NULL);
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

/* The line is bounded, and who fills it makes room for others. */
static void
test_line(void)
{
	enum { N = AUTH_CHECKS };
	static struct http_req q[N + 2];
	static char plain[N + 2][32];

	set("chttpd_auth_lockout", "mode", "off");
	for (int i = 0; i < N + 1; i++) {
		(void)snprintf(plain[i], sizeof(plain[i]), "u%d:x", i);
		fake_begin(&q[i], "GET", "/", basic(plain[i]), NULL);
		api_handle(&q[i], &api);
		CHECK_INT(q[i].status, i < N ? 0 : 503);
	}
	fake_peer = "192.0.2.2";
	fake_begin(&q[N + 1], "GET", "/_session", basic("admin:adm2"), NULL);
	api_handle(&q[N + 1], &api);
	CHECK_INT(q[N + 1].status, 0);
	CHECK_INT(q[N - 1].status, 503);
	fake_peer = "192.0.2.1";
	fake_drain();
	for (int i = 0; i < N + 2; i++) {
		CHECK_INT(q[i].status, i == N - 1 || i == N ? 503 : 401);
		CHECK_INT(q[i].refs, 0);
		fake_end(&q[i]);
	}
	set("chttpd_auth_lockout", "mode", NULL);
}

/* The change of an account ends what was remembered of it, and costs the others no derivation. */
static void
test_changed_password(void)
{
	unsigned before;

	fake_accounts[0].name = "ann", fake_accounts[0].stored = "pw-ann", fake_accounts[0].role = "x";
	fake_accounts[1].name = "bob", fake_accounts[1].stored = "pw-bob", fake_accounts[1].role = "y";
	fake_accounts_changed();
	expect("GET", "/_session", basic("ann:pw-ann"), 200, "\"name\":\"ann\",\"roles\":[\"x\"]");
	expect("GET", "/_session", basic("bob:pw-bob"), 200, "\"name\":\"bob\",\"roles\":[\"y\"]");
	fake_accounts[1].stored = "other";
	fake_accounts_changed();
	before = fake_jobs_run;
	expect("GET", "/_session", basic("ann:pw-ann"), 200, "\"roles\":[\"x\"]");
	CHECK_INT(fake_jobs_run, before);
	expect("GET", "/", basic("bob:pw-bob"), 401, "Name or password");
	expect("GET", "/_session", basic("bob:other"), 200, "\"name\":\"bob\"");
	/* Roles are the account's at once. */
	fake_accounts[0].role = "z";
	fake_accounts_changed();
	expect("GET", "/_session", basic("ann:pw-ann"), 200, "\"roles\":[\"z\"]");
	fake_accounts[0].name = NULL;
	fake_accounts_changed();
	expect("GET", "/", basic("ann:pw-ann"), 401, "Name or password");
	fake_accounts[0].name = "ann";
	fake_accounts_changed();
	/* Nobody looks an account up while nothing changes. */
	expect("GET", "/_session", basic("ann:pw-ann"), 200, "\"name\":\"ann\"");
	before = fake_finds;
	expect("GET", "/_session", basic("ann:pw-ann"), 200, "\"name\":\"ann\"");
	CHECK_INT(fake_finds, before);
}

/* A request that came after a change of the account waits for no derivation that began before it. */
static void
test_changed_while_deriving(void)
{
	struct http_req q[3];

	fake_accounts[2].name = "eve", fake_accounts[2].stored = "pw-eve", fake_accounts[2].role = "boss";
	fake_accounts_changed();
	for (int i = 0; i < 3; i++) {
		fake_begin(&q[i], "GET", "/_session", basic("eve:pw-eve"), NULL);
		api_handle(&q[i], &api);
		CHECK_INT(q[i].status, 0);
		if (i == 0)
			fake_accounts[2].role = "guest";
		else
			fake_accounts[2].stored = "pw-new";
		fake_accounts_changed();
	}
	fake_drain();
	for (int i = 0; i < 3; i++) {
		(void)buf_putc(&q[i].out, '\0');
		CHECK_INT(q[i].status, i < 2 ? 200 : 401);
		CHECK(strstr(q[i].out.data, i == 0 ? "boss" : i == 1 ? "guest" : "Name or password") != NULL);
		CHECK_INT(q[i].refs, 0);
		fake_end(&q[i]);
	}
	fake_accounts[2].name = NULL;
	fake_accounts_changed();
}

/* What another thread has verified, or a login, is not derived again. */
static void
test_shared(void)
{
	unsigned before = fake_jobs_run;

	set("admins", "tess", "pw-tess");
	expect_body("POST", "/_session", form, "name=tess&password=pw-tess", 200, "\"ok\":true,\"name\":\"tess\"");
	CHECK_INT(fake_jobs_run, before + 1);
	/* The thread's own table holds for one set of settings. */
	CHECK_INT(auth_load(&api), 0);
	expect("GET", "/_session", basic("tess:pw-tess"), 200, "\"name\":\"tess\"");
	expect_body(
	    "POST", "/_session", json, "{\"username\":\"tess\",\"password\":\"pw-tess\"}", 200, "\"name\":\"tess\"");
	CHECK_INT(fake_jobs_run, before + 1);
	/* Names with a colon have no header of their own. */
	set("admins", "a:b", "pw");
	set("admins", "a", "no");
	expect_body("POST", "/_session", form, "name=a:b&password=pw", 200, "\"name\":\"a:b\"");
	expect("GET", "/_session", basic("a:b:pw"), 401, "Name or password");
	set("admins", "a:b", NULL);
	set("admins", "a", NULL);
}

/* The cookie that an answer sets, as "AuthSession=..." */
static void
login(const char *body, char *cookie, size_t max)
{
	struct http_req q;
	const char *set_cookie;

	ask(&q, "POST", "/_session", form, body);
	CHECK_INT(q.status, 200);
	set_cookie = fake_header(&q, "set-cookie");
	(void)snprintf(
	    cookie, max, "x=1; %.*s", (int)strcspn(set_cookie ? set_cookie : "", ";"), set_cookie ? set_cookie : "");
	fake_end(&q);
}

static void
expect_set_cookie(const char *const *headers, const char *part, int there)
{
	struct http_req q;
	const char *set_cookie;

	ask(&q, "POST", "/_session", headers, "name=admin&password=adm");
	set_cookie = fake_header(&q, "set-cookie");
	CHECK(set_cookie != NULL);
	if (!CHECK_INT(set_cookie && strstr(set_cookie, part) != NULL, there))
		fprintf(stderr, "%s: %s\n", part, set_cookie ? set_cookie : "");
	fake_end(&q);
}

static void
test_cookie(void)
{
	char cookie[1024];
	const char *const with[] = {"cookie", cookie, NULL};
	struct http_req q;

	login("name=admin&password=%61dm", cookie, sizeof(cookie));
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
	/* A time that is none is over. */
	(void)snprintf(cookie, sizeof(cookie), "AuthSession=YWRtaW46eHg6bWFj");
	expect("GET", "/_session", with, 200, "\"name\":null");
	/* Other origins are no place to go. */
	expect_body("POST", "/_session?next=//evil.example/", form, "name=admin&password=adm", 200, "\"ok\":true");
	expect_body("POST", "/_session?next=/%5cevil.example/", form, "name=admin&password=adm", 200, "\"ok\":true");
	expect_body(
	    "POST", "/_session?next=https://evil.example/", form, "name=admin&password=adm", 200, "\"ok\":true");
	expect_body("POST", "/_session?next=/%0d%0aSet-Cookie:x", form, "name=admin&password=adm", 200, "\"ok\":true");
	expect_body("POST", "/_session?next=/x", form, "name=admin&password=adm", 302, "\"ok\":true");
	expect_body("POST", "/_session?fail=/x", form, "name=admin&password=no", 302, "incorrect");
	expect_body("POST", "/_session", form, "password=adm", 400, "must contain a username");
	expect_body("POST", "/_session", form, "name=a&username=b&password=adm", 400, "different usernames");
	expect_body("POST", "/_session", form, "name=admin", 401, "Name or password is incorrect.");
}

static void
test_cookie_attributes(void)
{
	static const char *const https[] = {
	    "content-type", "application/x-www-form-urlencoded", "x-forwarded-proto", "https", NULL};

	expect_set_cookie(form, "; Max-Age=600; Path=/; HttpOnly", 1);
	expect_set_cookie(form, "SameSite", 0);
	expect_set_cookie(form, "Secure", 0);
	expect_set_cookie(https, "; Secure; Path=/; HttpOnly", 1);
	set("chttpd_auth", "same_site", "Strict");
	expect_set_cookie(form, "; HttpOnly; SameSite=Strict", 1);
	set("chttpd_auth", "same_site", "rubbish");
	expect_set_cookie(form, "SameSite", 0);
	set("chttpd_auth", "same_site", NULL);
	set("chttpd_auth", "cookie_domain", "example.com");
	expect_set_cookie(form, "; Domain=example.com; Path=/", 1);
	set("chttpd_auth", "cookie_domain", "x; SameSite=None");
	expect_set_cookie(form, "Domain", 0);
	set("chttpd_auth", "cookie_domain", NULL);
	set("chttpd_auth", "allow_persistent_cookies", "false");
	expect_set_cookie(form, "Max-Age", 0);
	expect_set_cookie(form, "Expires", 0);
	set("chttpd_auth", "allow_persistent_cookies", NULL);
	set("chttpd_auth", "timeout", "60");
	expect_set_cookie(form, "; Max-Age=60;", 1);
	set("chttpd_auth", "timeout", NULL);
	set("chttpd_auth", "secure", "true");
	expect_set_cookie(form, "; Secure;", 1);
	set("chttpd_auth", "secure", NULL);
}

/* The value of a cookie as CouchDB makes it, of parts. */
static void
make_cookie(char *out, size_t max, const char *name, uint64_t time_s, const char *mac_name, const char *key)
{
	const struct mac *m = mac_find(mac_name, strlen(mac_name));
	unsigned char mac[MAC_LEN];
	char text[256];
	int n = snprintf(text, sizeof(text), "%s:%llX", name, (unsigned long long)time_s);
	struct buf b;

	CHECK_INT(mac_make(m, key, strlen(key), text, (size_t)n, mac), 0);
	text[n] = ':';
	memcpy(text + n + 1, mac, m->len);
	buf_init(&b, 1000);
	(void)base64_put(&b, text, (size_t)n + 1 + m->len);
	for (size_t i = 0; i < b.len; i++)
		b.data[i] = b.data[i] == '+' ? '-' : b.data[i] == '/' ? '_' : b.data[i];
	while (b.len > 0 && b.data[b.len - 1] == '=')
		b.len--;
	(void)snprintf(out, max, "AuthSession=%.*s", (int)b.len, b.data);
	buf_release(&b);
}

/* A session that another server with the same secret and salt has made counts, and ours is the same. */
static void
test_cookie_interoperates(void)
{
	uint64_t now_s = fake_wall_us / 1000000;
	char cookie[1024], ours[1024];
	const char *const with[] = {"cookie", cookie, NULL};

	set("chttpd_auth", "secret", "the secret");
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha256", "the secretadm");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	login("name=admin&password=adm", ours, sizeof(ours));
	CHECK_STR(ours + strlen("x=1; "), cookie);
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha", "the secretadm");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha512", "the secretadm");
	expect("GET", "/_session", with, 200, "\"name\":null");
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha256", "another secretadm");
	expect("GET", "/_session", with, 200, "\"name\":null");
	make_cookie(cookie, sizeof(cookie), "admin", now_s - 601, "sha256", "the secretadm");
	expect("GET", "/_session", with, 200, "\"name\":null");
	make_cookie(cookie, sizeof(cookie), "admin", now_s + 601, "sha256", "the secretadm");
	expect("GET", "/_session", with, 200, "\"name\":null");
	set("chttpd_auth", "hash_algorithms", "sha512, sha256");
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha512", "the secretadm");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	login("name=admin&password=adm", ours, sizeof(ours));
	CHECK_STR(ours + strlen("x=1; "), cookie);
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha", "the secretadm");
	expect("GET", "/_session", with, 200, "\"name\":null");
	set("chttpd_auth", "hash_algorithms", NULL);
	/* A new password or secret ends sessions. */
	make_cookie(cookie, sizeof(cookie), "admin", now_s, "sha256", "the secretadm");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	set("admins", "admin", "adm2");
	expect("GET", "/_session", with, 200, "\"name\":null");
	set("admins", "admin", "adm");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"cookie\"");
	set("chttpd_auth", "secret", NULL);
	expect("GET", "/_session", with, 200, "\"name\":null");
}

static void
test_required(void)
{
	set("chttpd", "require_valid_user", "true");
	expect("GET", "/", NULL, 401, "Authentication required.");
	expect("GET", "/_up", NULL, 401, "Authentication required.");
	expect("GET", "/", basic("admin:adm"), 200, "Welcome");
	expect("POST", "/_session", NULL, 415, "bad_content_type");
	set("chttpd", "require_valid_user_except_for_up", "true");
	expect("GET", "/_up", NULL, 200, "ok");
	expect("GET", "/", NULL, 401, "Authentication required.");
	set("chttpd", "require_valid_user", NULL);
	expect("GET", "/_up", NULL, 200, "ok");
	expect("GET", "/_up/x", NULL, 401, "Authentication required.");
	expect("GET", "/", NULL, 401, "Authentication required.");
	set("chttpd", "require_valid_user_except_for_up", NULL);
	expect("GET", "/", NULL, 200, "Welcome");
}

static void
expect_challenge(const char *const *headers, int status, const char *challenge)
{
	struct http_req q;
	const char *got;

	ask(&q, "GET", "/_session?basic=true", headers, NULL);
	CHECK_INT(q.status, status);
	got = fake_header(&q, "www-authenticate");
	CHECK_STR(got ? got : "", challenge);
	fake_end(&q);
}

static void
test_challenge(void)
{
	static const char *const asked[] = {"x-couchdb-www-authenticate", "Cookie", NULL};
	static const char *const browser[] = {"accept", "text/html", NULL};

	expect_challenge(NULL, 401, "");
	expect_challenge(asked, 401, "Cookie");
	expect_challenge(browser, 302, "");
	set("chttpd", "WWW-Authenticate", "Basic realm=\"x\"");
	expect_challenge(NULL, 401, "Basic realm=\"x\"");
	expect_challenge(browser, 401, "Basic realm=\"x\"");
	expect_challenge(asked, 401, "Cookie");
	set("chttpd", "WWW-Authenticate", NULL);
	set("chttpd", "require_valid_user", "true");
	expect_challenge(NULL, 401, "Basic realm=\"server\"");
	set("chttpd", "require_valid_user", NULL);
	set("chttpd_auth", "authentication_redirect", "");
	expect_challenge(browser, 401, "");
	set("chttpd_auth", "authentication_redirect", NULL);
}

static void
test_proxy(void)
{
	static const char *const plain[] = {
	    "x-auth-couchdb-username", "joe", "x-auth-couchdb-roles", "a, b ,c,,", NULL};
	char token[2 * MAC_LEN + 1];
	const char *const signed_[] = {
	    "x-auth-couchdb-username", "joe", "x-auth-couchdb-roles", "_admin", "x-auth-couchdb-token", token, NULL};
	static const char *const named[] = {"x-me", "joe", NULL};
	unsigned char mac[MAC_LEN];

	/* Not believed unless the settings say so. */
	expect("GET", "/_session", plain, 200, "\"name\":null");
	set("chttpd", "authentication_handlers",
	    "{chttpd_auth, proxy_authentication_handler}, {chttpd_auth, cookie_authentication_handler}");
	expect("GET", "/_session", plain, 200,
	    "\"name\":\"joe\",\"roles\":[\"a\",\"b\",\"c\"]},\"info\":{\"authentication_handlers\":[\"proxy\","
	    "\"cookie\"],"
	    "\"authenticated\":\"proxy\"");
	/* Basic is off now. */
	expect("GET", "/_session", basic("admin:adm"), 200, "\"name\":null");
	set("chttpd_auth", "x_auth_username", "X-Me");
	expect("GET", "/_session", named, 200, "\"name\":\"joe\",\"roles\":[]");
	set("chttpd_auth", "x_auth_username", NULL);
	set("chttpd_auth", "proxy_use_secret", "true");
	set("chttpd_auth", "secret", "the secret");
	expect("GET", "/_session", plain, 200, "\"name\":null");
	for (int i = 0; i < 3; i++) {
		const struct mac *m = mac_find(i ? "sha256" : "sha", i ? 6 : 3);

		CHECK_INT(mac_make(m, "the secret", 10, "joe", 3, mac), 0);
		hex_encode(mac, m->len, token);
		token[2 * m->len] = '\0';
		token[0] = i == 2 ? 'x' : token[0];
		nocrypto_none = 1;
		expect("GET", "/_session", signed_, 500, "internal_server_error");
		nocrypto_none = 0;
		expect("GET", "/_session", signed_, 200,
		    i < 2 ? "\"name\":\"joe\",\"roles\":[\"_admin\"]" : "\"name\":null");
	}
	set("chttpd_auth", "proxy_use_secret", NULL);
	set("chttpd_auth", "secret", NULL);
	set("chttpd", "authentication_handlers", NULL);
}

static void
test_jwt(void)
{
	char header[1024];
	const char *const with[] = {"authorization", header, NULL};
	static const char text[] = "eyJhbGciOiJIUzI1NiJ9."                     /* {"alg":"HS256"} */
				   "eyJzdWIiOiJib2IiLCJleHAiOjE3MDAwMDAwNjB9"; /* {"sub":"bob","exp":1700000060} */
	unsigned char mac[SHA256_LEN];
	struct buf b;

	hash_hmac_sha256("key", 3, text, sizeof(text) - 1, mac);
	buf_init(&b, 100);
	(void)base64_put(&b, mac, sizeof(mac));
	for (size_t i = 0; i < b.len; i++)
		b.data[i] = b.data[i] == '+' ? '-' : b.data[i] == '/' ? '_' : b.data[i];
	(void)snprintf(header, sizeof(header), "Bearer %s.%.*s", text, (int)b.len - 1, b.data);
	buf_release(&b);
	expect("GET", "/_session", with, 200, "\"name\":null");
	set("chttpd", "authentication_handlers", "jwt, default");
	expect("GET", "/_session", with, 400, "Unknown kid");
	set("jwt_keys", "hmac:_default", "a2V5"); /* key */
	expect("GET", "/_session", with, 200, "\"name\":\"bob\"");
	expect("GET", "/_session", with, 200, "\"authenticated\":\"jwt\"");
	expect("GET", "/_session", basic("admin:adm"), 200, "\"authenticated\":\"default\"");
	/* Remembered, it ends when it says. */
	fake_wall_us += 60 * UINT64_C(1000000);
	expect("GET", "/_session", with, 401, "exp not in future");
	fake_wall_us -= 60 * UINT64_C(1000000);
	expect("GET", "/_session", with, 200, "\"name\":\"bob\"");
	/* A key that is changed or gone verifies nothing. */
	set("jwt_keys", "hmac:_default", "a2V4");
	expect("GET", "/_session", with, 400, "Bad HMAC");
	set("jwt_keys", "hmac:_default", NULL);
	expect("GET", "/_session", with, 400, "Unknown kid");
	set("jwt_auth", "required_claims", "{iss, 1}");
	expect("GET", "/_session", with, 400, "Missing iss claim");
	set("jwt_auth", "required_claims", NULL);
	set("chttpd", "authentication_handlers", NULL);
}

static void
fail_times(int n, const char *plain, int status)
{
	for (int i = 0; i < n; i++)
		expect("GET", "/_session", basic(plain), status, status == 401 ? "incorrect" : "temporarily locked");
}

/* Without memory for a derivation or a MAC nothing is said of a password or a session, and nothing counts. */
static void
test_no_memory(void)
{
	char cookie[1024], hash[SECRET_LEN];
	const char *const with[] = {"cookie", cookie, NULL};

	CHECK_INT(secret_hash("word", 4, 1000, hash), 0);
	set("admins", "pass", hash);
	nocrypto_none = 1;
	for (int i = 0; i < 40; i++) {
		char plain[32];

		(void)snprintf(plain, sizeof(plain), "pass:word%d", i);
		expect("GET", "/_session", basic(i % 2 ? "pass:word" : plain), 500, "internal_server_error");
	}
	expect_body("POST", "/_session", form, "name=pass&password=word", 500, "internal_server_error");
	nocrypto_none = 0;
	expect("GET", "/_session", basic("pass:word"), 200, "\"name\":\"pass\"");
	login("name=pass&password=word", cookie, sizeof(cookie));
	nocrypto_none = 1;
	expect("GET", "/_session", with, 500, "internal_server_error");
	nocrypto_none = 0;
	expect("GET", "/_session", with, 200, "\"name\":\"pass\"");
	set("admins", "pass", NULL);
}

static void
test_lockout(void)
{
	char cookie[1024];
	const char *const with[] = {"cookie", cookie, NULL};

	CHECK_INT(auth_load(&api), 0);
	fake_wall_us += UINT64_C(400000000); /* what was before is over */
	fake_accounts[2].name = "eve", fake_accounts[2].stored = "pw-eve", fake_accounts[2].role = "x";
	fake_accounts_changed();
	login("name=eve&password=pw-eve", cookie, sizeof(cookie));
	fake_peer = "192.0.2.9";
	fail_times(5, "eve:bad", 401);
	/* A stranger's guesses end, right or not, as one name's do and another's. */
	fail_times(2, "eve:bad", 403);
	expect("GET", "/_session", basic("eve:pw-eve"), 403, "temporarily locked");
	expect_body("POST", "/_session", form, "name=eve&password=pw-eve", 403, "temporarily locked");
	fail_times(5, "mallory:bad", 401);
	fail_times(1, "mallory:bad", 403);
	/* Others, elsewhere and by session, go on. */
	expect("GET", "/_session", with, 200, "\"name\":\"eve\"");
	expect("GET", "/_session", basic("admin:adm"), 200, "\"name\":\"admin\"");
	fake_peer = "192.0.2.1";
	expect("GET", "/_session", basic("eve:pw-eve"), 200, "\"name\":\"eve\"");
	expect_body("POST", "/_session", form, "name=eve&password=pw-eve", 200, "\"name\":\"eve\"");
	/* A device with an old password does not end its neighbour, guesses do. */
	fail_times(5, "eve:old", 401);
	fail_times(30, "eve:old", 403);
	expect("GET", "/_session", basic("eve:pw-eve"), 200, "\"name\":\"eve\"");
	for (int i = 0; i < 24; i++) {
		char plain[32];

		(void)snprintf(plain, sizeof(plain), "eve:guess%d", i);
		fail_times(1, plain, 403);
	}
	expect("GET", "/_session", basic("eve:pw-eve"), 403, "temporarily locked");
	/* A new password is another account. */
	fake_accounts[2].stored = "pw-new";
	fake_accounts_changed();
	expect("GET", "/_session", basic("eve:pw-new"), 200, "\"name\":\"eve\"");
	fake_accounts[2].stored = "pw-eve";
	fake_accounts_changed();
	/* It ends. */
	fake_wall_us += UINT64_C(301000000);
	expect("GET", "/_session", basic("eve:pw-eve"), 200, "\"name\":\"eve\"");
	fail_times(4, "eve:bad", 401);
	set("chttpd_auth_lockout", "mode", "warn");
	fail_times(3, "eve:bad", 401);
	set("chttpd_auth_lockout", "mode", "enforce");
	fail_times(1, "eve:bad", 403);
	set("chttpd_auth_lockout", "mode", "off");
	fail_times(1, "eve:bad", 401);
	set("chttpd_auth_lockout", "mode", NULL);
	fake_wall_us += UINT64_C(301000000);
}

/* From loopback it is the last that a proxy names; of IPv6 the network counts. */
static void
test_peers(void)
{
	struct jstr none = {"", 0}, two = {"9.9.9.9, 8.8.8.8", 16}, one = {"8.8.8.8", 7}, bad = {"8.8.8.8, x", 10};
	struct lockout *l;

	CHECK_INT(lockout_new(&l), 0);
	CHECK(lockout_peer(l, "10.0.0.1", none) != lockout_peer(l, "10.0.0.2", none));
	CHECK(lockout_peer(l, "10.0.0.1", two) == lockout_peer(l, "10.0.0.1", none));
	CHECK(lockout_peer(l, "127.0.0.1", two) == lockout_peer(l, "8.8.8.8", none));
	CHECK(lockout_peer(l, "::1", two) == lockout_peer(l, "127.0.0.1", one));
	CHECK(lockout_peer(l, "127.0.0.1", bad) == lockout_peer(l, "127.0.0.1", none));
	CHECK(lockout_peer(l, "2001:db8:1:2:3::4", none) == lockout_peer(l, "2001:db8:1:2:ffff::", none));
	CHECK(lockout_peer(l, "2001:db8:1:3::", none) != lockout_peer(l, "2001:db8:1:2::", none));
	CHECK(lockout_peer(l, "::ffff:10.0.0.1", none) == lockout_peer(l, "10.0.0.1", none));
	lockout_free(l);
}

/* Full, the table forgets the oldest, and no more than it has places for. */
static void
test_bounded(void)
{
	struct lockout_settings o = {LOCKOUT_ENFORCE, 1, 16, 1000};
	struct jstr salt = {"s", 1};
	struct lockout *l;
	char name[32];
	int locked = 0;

	CHECK_INT(lockout_new(&l), 0);
	lockout_set(l, &o);
	CHECK(lockout_quiet(l));
	for (int i = 0; i < 1000; i++) {
		int n = snprintf(name, sizeof(name), "u%d", i);

		CHECK_INT(lockout_fail(l, (struct jstr){name, (size_t)n}, salt, 1, 1, (uint64_t)i / 10), 1);
	}
	for (int i = 0; i < 1000; i++) {
		int n = snprintf(name, sizeof(name), "u%d", i);

		locked += lockout_state(l, (struct jstr){name, (size_t)n}, salt, 1, 100) != LOCKOUT_NONE;
	}
	CHECK_INT(locked, 16);
	CHECK_INT(lockout_state(l, (struct jstr){"u999", 4}, salt, 1, 100), LOCKOUT_SOFT);
	CHECK_INT(lockout_state(l, (struct jstr){"u999", 4}, salt, 1, 1099), LOCKOUT_NONE);
	CHECK_INT(lockout_state(l, (struct jstr){"u999", 4}, salt, 1, 1100), LOCKOUT_NONE);
	CHECK(lockout_quiet(l));
	lockout_free(l);
}

/* What a request costs besides its handler, in ns. */
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

static void
measure_all(void)
{
	char cookie[1024];
	const char *const with[] = {"cookie", cookie, NULL};

	measure("anonymous", NULL);
	expect("GET", "/", basic("admin:adm"), 200, "Welcome");
	measure("Basic, remembered", basic("admin:adm"));
	login("name=admin&password=adm", cookie, sizeof(cookie));
	measure("cookie, remembered", with);
}

int
main(int argc, char **argv)
{
	(void)argv;
	nocrypto_begin();
	if (config_new(&api.config) || config_set(api.config, "chttpd_auth", "iterations", "1000"))
		return 1;
	set("admins", "admin", "adm");
	api.ex = &fake_executor;
	if (api_new(&api))
		return 1;
	if (argc > 1)
		measure_all();
	test_basic();
	test_same_credentials_wait_together();
	test_line();
	test_changed_password();
	test_changed_while_deriving();
	test_shared();
	test_cookie();
	test_cookie_attributes();
	test_cookie_interoperates();
	test_required();
	test_challenge();
	test_proxy();
	test_jwt();
	test_no_memory();
	test_lockout();
	test_peers();
	test_bounded();
	api_free(&api);
	config_free(api.config);
	return check_done();
}
