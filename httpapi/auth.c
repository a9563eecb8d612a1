/*
 * auth.c: who asks.
 *
 * A password is verified by deriving a key from it, which takes a good part of a second by design,
 * so it happens on an executor thread, and its outcome is kept: per HTTP thread a small table,
 * looked up by a digest of what the client sent under a key that only this process knows.  A hit
 * costs one HMAC.  Requests that bring the same credentials while they are being verified wait for
 * the one derivation.  Failures are not kept.  One HTTP thread has one derivation running and the
 * others in line, so that whoever guesses passwords does not take the executor away from commits.
 *
 *	auth_step --cookie, cached or anonymous--> then
 *	    |
 *	    +--unknown credentials--> check_begin -> (executor) derive -> check_end -> then, for all
 *
 * An entry holds for one generation of the configuration: a changed password ends it at once.
 */
#include "auth.h"
#include "auth_impl.h"
#include "secret.h"
#include "base/limits.h"

#include <strings.h>

/* A request that waits for a derivation; lives in that request's arena. */
struct waiter {
	struct apireq *r;
	api_f *then;
	struct waiter *next;
};

/* A derivation; lives in the arena of the request that began it. */
struct auth_check {
	unsigned char digest[SHA256_LEN];
	struct apireq *r;
	struct exec_job job;
	struct http_msg msg;
	struct jstr name, password;
	const char *stored;
	int unknown; /* there is no such account */
	uint64_t generation;
	int ok;
	struct waiter *waiters; /* the first is r's own */
	struct auth_check *next;
};

/* What a cookie says of requests that other sites cause; without the setting browsers decide. */
static const char *
same_site_of(const struct config *c)
{
	const char *value = config_get(c, "chttpd_auth", "same_site", "");

	if (!*value)
		value = config_get(c, "couch_httpd_auth", "same_site", "");
	if (strcasecmp(value, "strict") == 0)
		return "; SameSite=Strict";
	if (strcasecmp(value, "lax") == 0)
		return "; SameSite=Lax";
	if (strcasecmp(value, "none") == 0)
		return "; SameSite=None";
	return "";
}

int
auth_load(struct api *api)
{
	struct sessions *s = api->auth;
	const struct config *c = api->config;
	const char *secret = config_get(c, "chttpd_auth", "secret", "");
	uint64_t timeout;
	int required;

	if (!*secret)
		secret = config_get(c, "couch_httpd_auth", "secret", "");
	atomic_store(&s->secret, *secret ? secret : s->own_secret);
	atomic_store(&s->same_site, same_site_of(c));
	timeout = config_u64(c, "chttpd_auth", "timeout", 600);
	atomic_store(&s->timeout_s, config_u64(c, "couch_httpd_auth", "timeout", timeout));
	required = config_bool(c, "chttpd_auth", "require_valid_user", 0);
	atomic_store(&s->required, config_bool(c, "chttpd", "require_valid_user", required));
	atomic_fetch_add(&s->generation, 1);
	return 0;
}

int
auth_new(struct api *api)
{
	struct sessions *s = calloc(1, sizeof(*s));
	unsigned char secret[SHA256_LEN];
	uint64_t n;

	if (!s)
		return ERR_NOMEM;
	hash_random(s->key, sizeof(s->key));
	hash_random(secret, sizeof(secret));
	n = config_u64(api->config, "chttpd_auth", "iterations", SECRET_ITERATIONS);
	if (n < 1 || n > UINT32_MAX)
		n = SECRET_ITERATIONS;
	snprintf(s->nobody, sizeof(s->nobody), "-pbkdf2:sha256-%064d,%032d,%llu", 0, 0, (unsigned long long)n);
	for (size_t i = 0; i < AUTH_BLOCK; i++) {
		unsigned char k = i < sizeof(s->key) ? s->key[i] : 0;

		s->inner[i] = k ^ 0x36;
		s->outer[i] = k ^ 0x5c;
	}
	if (api->secret[0])
		memcpy(s->own_secret, api->secret, sizeof(s->own_secret));
	else
		hex_encode(secret, sizeof(secret), s->own_secret);
	api->auth = s;
	return auth_load(api);
}

void
auth_free(struct api *api)
{
	struct sessions *s = api->auth;

	if (!s)
		return;
	for (size_t i = 0; i < AUTH_THREADS; i++)
		free(s->tables[i]);
	free(s);
	api->auth = NULL;
}

int
auth_required(const struct api *api)
{
	return atomic_load_explicit(&api->auth->required, memory_order_relaxed);
}

const char *
auth_stored(struct api *api, const char *name, size_t len)
{
	char key[LIMIT_ID_LEN];

	if (len == 0 || len >= sizeof(key) || memchr(name, '\0', len))
		return NULL;
	memcpy(key, name, len);
	key[len] = '\0';
	return config_get(api->config, "admins", key, NULL);
}

struct auth_table *
auth_table_of(struct apireq *r)
{
	unsigned i = http_thread_index(http_req_thread(r->http));
	struct auth_table **tp;

	if (i >= AUTH_THREADS)
		return NULL;
	tp = &r->api->auth->tables[i];
	if (!*tp)
		*tp = calloc(1, sizeof(**tp));
	return *tp;
}

int
auth_grant(struct apireq *r, const char *name, size_t len, const char *how)
{
	static const char *const roles[] = {"_admin"};

	r->who.name = arena_dup(r->arena, name, len);
	if (!r->who.name)
		return ERR_NOMEM;
	/* Every account is an administrator until there are others. */
	r->who.roles = roles;
	r->who.nroles = 1;
	r->who.server_admin = 1;
	r->authenticated = how;
	return 0;
}

/*
 * Every request with credentials comes here, and the library's HMAC costs more than the two hashes
 * it is made of.
 */
void
auth_digest(const struct sessions *s, const char *text, size_t len, unsigned char out[SHA256_LEN])
{
	unsigned char m[AUTH_BLOCK + 512];

	if (len > sizeof(m) - AUTH_BLOCK) {
		hash_hmac_sha256(s->key, sizeof(s->key), text, len, out);
		return;
	}
	memcpy(m, s->inner, AUTH_BLOCK);
	memcpy(m + AUTH_BLOCK, text, len);
	hash_sha256(m, AUTH_BLOCK + len, out);
	memcpy(m, s->outer, AUTH_BLOCK);
	memcpy(m + AUTH_BLOCK, out, SHA256_LEN);
	hash_sha256(m, AUTH_BLOCK + SHA256_LEN, out);
}

int
auth_recall(struct apireq *r, const unsigned char digest[SHA256_LEN], struct auth_entry **ep)
{
	struct sessions *s = r->api->auth;
	struct auth_table *t = auth_table_of(r);
	struct auth_entry *e;

	if (!t)
		return 0;
	e = &t->slots[digest[0] & (AUTH_SLOTS - 1)];
	*ep = e;
	return e->generation == atomic_load_explicit(&s->generation, memory_order_acquire) &&
	       hash_equal(e->digest, digest, SHA256_LEN);
}

void
auth_remember(
    struct apireq *r, const unsigned char digest[SHA256_LEN], uint64_t generation, struct jstr name, uint64_t issued_s)
{
	struct auth_table *t = auth_table_of(r);
	struct auth_entry *e;

	if (!t || name.len >= AUTH_NAME_MAX)
		return;
	e = &t->slots[digest[0] & (AUTH_SLOTS - 1)];
	memcpy(e->digest, digest, SHA256_LEN);
	memcpy(e->name, name.s, name.len);
	e->name[name.len] = '\0';
	e->issued_s = issued_s;
	e->generation = generation;
}

static void
conclude(struct apireq *r, api_f *then, int ok, const struct jstr *name)
{
	if (!ok)
		api_error(r, ERR_BAD_LOGIN, NULL);
	else if (auth_grant(r, name->s, name->len, "default"))
		api_error(r, ERR_NOMEM, NULL);
	else
		then(r);
}

static void
derive(void *arg)
{
	struct auth_check *c = arg;

	c->ok = secret_check(c->stored, c->password.s, c->password.len) && !c->unknown;
	http_post(http_req_thread(c->r->http), &c->msg);
}

static void
check_start(struct auth_check *c)
{
	struct executor *ex = c->r->api->ex;

	ex->submit(ex, &c->job);
}

static void
check_end(void *arg)
{
	struct auth_check *c = arg;
	struct auth_table *t = auth_table_of(c->r);
	/* It holds the memory of the check itself. */
	struct http_req *first = c->r->http;
	struct waiter *next;

	if (t) {
		t->checks = c->next;
		t->nchecks--;
		if (t->checks)
			check_start(t->checks);
	}
	if (c->ok)
		auth_remember(c->r, c->digest, c->generation, c->name, 0);
	for (struct waiter *w = c->waiters; w; w = next) {
		struct http_req *http;

		next = w->next;
		http = w->r->http;
		conclude(w->r, w->then, c->ok, &c->name);
		if (http != first)
			http_release(http);
	}
	http_release(first);
}

/* 1: there is a derivation of the same credentials to wait for; 0: there is a place in line. */
static int
join(struct auth_table *t, struct waiter *w, const unsigned char digest[SHA256_LEN])
{
	for (struct auth_check *c = t->checks; c; c = c->next) {
		if (hash_equal(c->digest, digest, SHA256_LEN)) {
			w->next = c->waiters->next;
			c->waiters->next = w;
			http_hold(w->r->http);
			return 1;
		}
	}
	return t->nchecks < AUTH_CHECKS ? 0 : -ERR_BUSY;
}

static void
line_up(struct auth_table *t, struct auth_check *c)
{
	c->job.fn = derive;
	c->msg.fn = check_end;
	c->job.arg = c->msg.arg = c;
	http_hold(c->r->http);
	if (t) {
		struct auth_check **cp = &t->checks;

		while (*cp)
			cp = &(*cp)->next;
		*cp = c;
		if (t->nchecks++ > 0)
			return;
	}
	check_start(c);
}

static void
check_begin(struct apireq *r, api_f *then, const unsigned char digest[SHA256_LEN], struct jstr plain)
{
	struct auth_table *t = auth_table_of(r);
	struct auth_check *c = arena_calloc(r->arena, 1, sizeof(*c));
	struct waiter *w = arena_calloc(r->arena, 1, sizeof(*w));
	int joined;
	const char *colon;

	if (!c || !w) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	*w = (struct waiter){r, then, NULL};
	joined = t ? join(t, w, digest) : 0;
	if (joined) {
		if (joined < 0)
			api_error(r, -joined, NULL);
		return;
	}
	colon = memchr(plain.s, ':', plain.len);
	memcpy(c->digest, digest, SHA256_LEN);
	c->r = r;
	c->waiters = w;
	c->name = (struct jstr){plain.s, (size_t)(colon - plain.s)};
	c->password = (struct jstr){colon + 1, plain.len - c->name.len - 1};
	/* Before the stored password is read: a change in between makes the entry void, not the other way. */
	c->generation = atomic_load(&r->api->auth->generation);
	c->stored = auth_stored(r->api, c->name.s, c->name.len);
	c->unknown = c->stored == NULL;
	/* Who guesses names is not told by the time it takes. */
	if (c->unknown)
		c->stored = r->api->auth->nobody;
	line_up(t, c);
}

static void
anonymous(struct apireq *r, api_f *then)
{
	/* Whoever must log in must be able to. */
	int login = r->nparts == 1 && strcmp(r->part[0].s, "_session") == 0 && strcmp(r->method, "POST") == 0;

	if (auth_required(r->api) && !login)
		api_error_text(r, 401, "unauthorized", "Authentication required.");
	else
		then(r);
}

/* "Basic BASE64" decoded into the arena; ERR_MISSING: it does not name anybody. */
static int
decode_basic(struct apireq *r, const struct jstr *h, struct jstr *plainp)
{
	struct buf b;
	int err;

	buf_init(&b, LIMIT_ID_LEN);
	err = base64_get(&b, h->s + 6, h->len - 6);
	if (!err && (b.len == 0 || !memchr(b.data, ':', b.len)))
		err = ERR_MISSING;
	if (!err && b.len == 3 && memcmp(b.data, "_:_", 3) == 0)
		err = ERR_MISSING; /* how browsers are made to forget */
	if (!err) {
		plainp->s = arena_dup(r->arena, b.data, b.len);
		plainp->len = b.len;
		err = plainp->s ? 0 : ERR_NOMEM;
	}
	buf_release(&b);
	return err;
}

static void
basic(struct apireq *r, api_f *then, const struct jstr *h)
{
	unsigned char digest[SHA256_LEN];
	struct auth_entry *e;
	struct jstr plain;
	int err;

	auth_digest(r->api->auth, h->s, h->len, digest);
	if (auth_recall(r, digest, &e)) {
		if (auth_grant(r, e->name, strlen(e->name), "default"))
			api_error(r, ERR_NOMEM, NULL);
		else
			then(r);
		return;
	}
	err = decode_basic(r, h, &plain);
	if (err == ERR_MISSING)
		anonymous(r, then);
	else if (err == ERR_BAD_BASE64 || err == ERR_TOO_LARGE)
		api_error_text(r, 400, "bad_request", "Authorization header has invalid base64 value");
	else if (err)
		api_error(r, err, NULL);
	else
		check_begin(r, then, digest, plain);
}

void
auth_step(struct apireq *r, api_f *then)
{
	int cookie = auth_cookie_step(r);
	struct jstr h;

	if (cookie > 0) {
		then(r);
		return;
	}
	if (cookie < 0) {
		struct errtext why = {""};

		if (cookie == -ERR_BAD_REQUEST)
			err_why(&why, ERR_BAD_REQUEST, "Malformed AuthSession cookie. Please clear your cookies.");
		api_error(r, -cookie, &why);
		return;
	}
	h = http_header(r->http, "authorization");
	if (h.s && h.len > 6 && strncasecmp(h.s, "Basic ", 6) == 0)
		basic(r, then, &h);
	else
		anonymous(r, then);
}
