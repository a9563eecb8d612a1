/*
 * auth.c: who asks.
 *
 * The handlers of chttpd/authentication_handlers are asked in turn until one knows: cookies, Basic
 * credentials ("default"), bearer tokens, a proxy's headers.  What was verified is remembered (auth_cache.c), what
 * must be derived waits off the event loop (auth_check.c).
 *
 *	auth_step --a handler knows--> then
 *	    |  \--a handler refuses--> answered
 *	    +--Basic, not remembered--> auth_check -> basic_end -> then, or answered
 *	    +--none knows--> the client's certificate -> then
 *	                         \--none--> anonymous -> then, or 401 where the settings want somebody
 *
 * The settings (auth_settings.c) are a set that never changes.  A thread takes the newest when a request comes, and gives back
 * the one before: so nobody waits for a lock to look at them, and none is freed under a reader.
 */
#include "auth.h"
#include "auth_cert.h"
#include "auth_impl.h"
#include "base/counters.h"
#include "base/limits.h"
#include "base/log.h"

#include <strings.h>

const char *
auth_handler_name(enum auth_how how)
{
	static const char *const names[] = {"cookie", "default", "jwt", "proxy"};

	return names[how];
}

/* ---- The settings ---- */

static void
settings_put(struct sessions *s, struct auth_settings *old)
{
	unsigned left = 1;

	pthread_mutex_lock(&s->lock);
	if (old)
		left = --old->refs;
	pthread_mutex_unlock(&s->lock);
	if (left == 0)
		auth_settings_free(old);
}

int
auth_load(struct api *api)
{
	struct sessions *s = api->auth;
	struct auth_settings *n, *old;
	int err;

	/* One at a time, or an older set could stand behind a newer one. */
	pthread_mutex_lock(&s->loading);
	err = auth_settings_new(api, atomic_load(&s->serial) + 1, &n);
	if (!err) {
		pthread_mutex_lock(&s->lock);
		old = s->current;
		s->current = n;
		atomic_store_explicit(&s->serial, n->serial, memory_order_release);
		pthread_mutex_unlock(&s->lock);
		settings_put(s, old);
	}
	pthread_mutex_unlock(&s->loading);
	return err;
}

/* The thread's table with the newest settings; only when a request begins. */
static struct auth_table *
refresh(struct apireq *r)
{
	struct sessions *s = r->api->auth;
	struct auth_table *t = auth_table_of(r);
	struct auth_settings *old;

	if (!t || (t->settings && t->settings->serial == atomic_load_explicit(&s->serial, memory_order_acquire)))
		return t;
	old = t->settings;
	pthread_mutex_lock(&s->lock);
	t->settings = s->current;
	t->settings->refs++;
	pthread_mutex_unlock(&s->lock);
	settings_put(s, old);
	return t;
}

static void
changed(const char *section, const char *key, void *cookie)
{
	static const char *const ours[] = {
	    "chttpd", "chttpd_auth", "chttpd_auth_lockout", "couch_httpd_auth", "httpd", "jwt_auth", "jwt_keys"};
	struct api *api = cookie;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcmp(section, ours[i]) == 0 && api->auth && auth_load(api))
			log_line(LOG_ERROR, "no memory for the change of %s/%s", section, key);
	}
}

int
auth_new(struct api *api)
{
	struct sessions *s = calloc(1, sizeof(*s));
	unsigned char secret[SHA256_LEN];
	int err;

	if (!s)
		return ERR_NOMEM;
	if (pthread_mutex_init(&s->lock, NULL) || pthread_mutex_init(&s->loading, NULL)) {
		free(s);
		return ERR_NOMEM;
	}
	hash_random(s->key, sizeof(s->key));
	hash_random(secret, sizeof(secret));
	if (api->secret[0])
		memcpy(s->own_secret, api->secret, sizeof(s->own_secret));
	else
		hex_encode(secret, sizeof(secret), s->own_secret);
	api->auth = s;
	err = lockout_new(&s->lockout);
	if (!err)
		err = auth_load(api);
	return err ? err : config_on_change(api->config, changed, api);
}

static void
table_free(struct sessions *s, struct auth_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < AUTH_SLOTS; i++)
		free(t->slots[i].blob);
	settings_put(s, t->settings);
	free(t);
}

void
auth_free(struct api *api)
{
	struct sessions *s = api->auth;

	if (!s)
		return;
	for (size_t i = 0; i < AUTH_THREADS; i++)
		table_free(s, s->tables[i]);
	settings_put(s, s->current);
	lockout_free(s->lockout);
	free(s->known);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->loading);
	free(s);
	api->auth = NULL;
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

const struct auth_settings *
auth_settings_of(struct apireq *r)
{
	return auth_table_of(r)->settings;
}

/* ---- Who it is ---- */

static int
copy_roles(struct apireq *r, const char *const *roles, size_t n)
{
	const char **copy = arena_calloc(r->arena, n + 1, sizeof(*copy));

	if (!copy)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		copy[i] = arena_dup(r->arena, roles[i], strlen(roles[i]));
		if (!copy[i])
			return ERR_NOMEM;
		r->who.server_admin |= strcmp(roles[i], "_admin") == 0;
	}
	r->who.roles = copy;
	r->who.nroles = n;
	return 0;
}

int
auth_grant(struct apireq *r, struct jstr name, const char *const *roles, size_t nroles, enum auth_how how)
{
	const char *copy = arena_dup(r->arena, name.s, name.len);

	/* A name is text to all that follows: what stands behind a zero byte would not count. */
	if (memchr(name.s, '\0', name.len))
		return ERR_BAD_REQUEST;
	r->who = (struct principal){NULL, NULL, 0, 0};
	if (!copy || copy_roles(r, roles, nroles)) {
		r->who = (struct principal){NULL, NULL, 0, 0};
		return ERR_NOMEM;
	}
	r->who.name = copy;
	r->authenticated = auth_handler_name(how);
	return 0;
}

void
auth_forget(struct jstr text)
{
	union {
		const char *s;
		volatile char *p;
	} u = {text.s};

	for (size_t i = 0; i < text.len; i++)
		u.p[i] = 0;
}

uint64_t
auth_peer(struct apireq *r)
{
	return lockout_peer(r->api->auth->lockout, http_peer(r->http), http_header(r->http, "x-forwarded-for"));
}

static void
go_on(struct apireq *r, api_f *then)
{
	http_trust(r->http);
	then(r);
}

/* ---- Nobody ---- */

static int
is_wanted(struct apireq *r)
{
	const struct auth_settings *s = auth_settings_of(r);
	int up = r->nparts == 1 && strcmp(r->part[0].s, "_up") == 0;

	/* Whoever must log in must be able to. */
	if (r->nparts == 1 && strcmp(r->part[0].s, "_session") == 0 && strcmp(r->method, "POST") == 0)
		return 0;
	return up ? s->required && !s->required_but_up : s->required || s->required_but_up;
}

/* Without other credentials, what the client has shown in TLS counts: the last step of all. */
static int
by_certificate(struct apireq *r, api_f *then)
{
	int rc = auth_cert_step(r);

	if (rc > 0)
		go_on(r, then);
	else if (rc < 0)
		api_error(r, -rc, NULL);
	return rc != 0;
}

static void
anonymous(struct apireq *r, api_f *then)
{
	if (by_certificate(r, then))
		return;
	if (is_wanted(r))
		api_error_text(r, 401, "unauthorized", "Authentication required.");
	else
		then(r);
}

int
auth_challenge(struct apireq *r, const char **pagep)
{
	struct jstr ask = http_header(r->http, "x-couchdb-www-authenticate");
	struct auth_table *t = auth_table_of(r);
	const struct auth_settings *s = t ? t->settings : NULL;

	*pagep = "";
	if (ask.s) {
		http_set_header(r->http, "www-authenticate", ask.s, ask.len);
	} else if (s && s->www_auth) {
		http_set_header(r->http, "www-authenticate", s->www_auth, strlen(s->www_auth));
	} else if (s && s->login_page && (s->required || s->required_but_up)) {
		http_set_static(r->http, "www-authenticate", "Basic realm=\"server\"");
	} else {
		*pagep = s && s->login_page ? s->login_page : "";
		return 0;
	}
	return 1;
}

/* ---- Basic ---- */

/* "Basic BASE64" taken apart, in the arena, terminated; ERR_MISSING: it does not name anybody. */
static int
decode_basic(struct apireq *r, struct jstr h, struct jstr *name, struct jstr *password)
{
	struct buf b;
	char *text, *colon;
	int err;

	buf_init_arena(&b, r->arena, LIMIT_ID_LEN);
	err = base64_get(&b, h.s + 6, h.len - 6);
	if (!err)
		err = buf_putc(&b, '\0');
	if (err)
		return err;
	text = b.data;
	colon = memchr(text, ':', b.len - 1);
	if (!colon || strcmp(text, "_:_") == 0) /* how browsers are made to forget */
		return ERR_MISSING;
	*colon = '\0';
	*name = (struct jstr){text, (size_t)(colon - text)};
	*password = (struct jstr){colon + 1, b.len - 1 - name->len - 1};
	return 0;
}

static void
basic_end(struct apireq *r, api_f *then, const struct auth_verdict *v)
{
	int err = v->err;

	if (!err)
		err = auth_grant(r, v->name, v->account->roles, v->account->nroles, AUTH_DEFAULT);
	if (err)
		api_error(r, err, NULL);
	else
		go_on(r, then);
}

/*
 * Somebody is locked out: these credentials, too?  Those that this address has used before go on, or a stranger who
 * shares it could end them.
 */
static int
is_locked_out(struct apireq *r, const struct auth_entry *e)
{
	struct lockout *l = r->api->auth->lockout;
	uint64_t now = r->api->ex->now_ms(r->api->ex);
	struct jstr name = {e->blob, e->name_len};
	struct account account;
	enum lockout_state state;
	uint64_t peer, guess;

	if (accounts_find(r->api, name.s, name.len, r->arena, &account))
		return 0;
	peer = auth_peer(r);
	state = lockout_state(l, name, account.salt, peer, now);
	if (state == LOCKOUT_NONE || (state == LOCKOUT_SOFT && e->peer == peer))
		return 0;
	memcpy(&guess, e->digest, sizeof(guess));
	(void)lockout_fail(l, name, account.salt, peer, guess, now);
	return 1;
}

static int
basic_known(struct apireq *r, const struct auth_entry *e)
{
	int err = 0;

	if (!lockout_quiet(r->api->auth->lockout) && is_locked_out(r, e))
		err = ERR_LOCKED_OUT;
	if (!err)
		err = auth_grant_entry(r, e);
	counters_add(COUNTER_HASH_FAST, !err);
	if (!err)
		return 1;
	api_error(r, err, NULL);
	return -1;
}

/* 1: it says who asks; 0: it has nothing to say; -1: the request is answered, or will be. */
static int
basic_step(struct apireq *r, api_f *then)
{
	struct jstr h = http_header(r->http, "authorization");
	unsigned char digest[SHA256_LEN];
	struct jstr name, password;
	struct auth_entry *e;
	int err;

	if (!h.s || h.len <= 6 || strncasecmp(h.s, "Basic ", 6) != 0)
		return 0;
	auth_digest(r->api->auth, h.s, h.len, digest);
	err = auth_recall(r, digest, &e);
	if (!err && e->how == AUTH_DEFAULT)
		return basic_known(r, e);
	if (!err || err == ERR_MISSING) {
		err = decode_basic(r, h, &name, &password);
		if (err == ERR_MISSING)
			return 0;
	}
	if (!err)
		auth_check(r, digest, name, password, NULL, then, basic_end);
	else if (err == ERR_BAD_BASE64 || err == ERR_TOO_LARGE)
		api_error_text(r, 400, "bad_request", "Authorization header has invalid base64 value");
	else
		api_error(r, err, NULL);
	return -1;
}

static int
step(struct apireq *r, api_f *then, enum auth_how how)
{
	switch (how) {
	case AUTH_COOKIE:
		return auth_cookie_step(r);
	case AUTH_JWT:
		return auth_jwt_step(r);
	case AUTH_PROXY:
		return auth_proxy_step(r);
	default:
		return basic_step(r, then);
	}
}

void
auth_step(struct apireq *r, api_f *then)
{
	const struct auth_table *t = refresh(r);

	if (!t) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	for (size_t i = 0; i < t->settings->nhandlers; i++) {
		int rc = step(r, then, t->settings->handlers[i]);

		if (rc > 0)
			go_on(r, then);
		if (rc != 0)
			return;
	}
	anonymous(r, then);
}
