/* auth_settings.c: what the configuration says of authentication, read once for each change of it. */
#include "auth_impl.h"
#include "users.h"
#include "base/log.h"

#include <ctype.h>
#include <strings.h>

/* NULL where it is not set, or to nothing. */
static const char *
text_or_null(const struct config *c, const char *section, const char *key)
{
	const char *value = config_get(c, section, key, "");

	return *value ? value : NULL;
}

/* As config_get_auth(). */
static int
get_bool(const struct config *c, const char *key, int dflt)
{
	return config_bool(c, "chttpd_auth", key, config_bool(c, "couch_httpd_auth", key, dflt));
}

static uint64_t
get_u64(const struct config *c, const char *key, uint64_t dflt)
{
	return config_u64(c, "chttpd_auth", key, config_u64(c, "couch_httpd_auth", key, dflt));
}

/* A copy; *${outp} is NULL where there is none. */
static int
copy(struct auth_settings *s, const char *value, const char **outp)
{
	*outp = value ? arena_dup(s->arena, value, strlen(value)) : NULL;
	return value && !*outp ? ERR_NOMEM : 0;
}

static int
copy_lower(struct auth_settings *s, const char *value, const char **outp)
{
	char *p = arena_dup(s->arena, value, strlen(value));

	*outp = p;
	for (; p && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return *outp ? 0 : ERR_NOMEM;
}

/* What a cookie says of requests that other sites cause; without the setting browsers decide. */
static const char *
same_site_of(const struct config *c)
{
	const char *value = config_get_auth(c, "same_site", "");

	if (strcasecmp(value, "strict") == 0)
		return "; SameSite=Strict";
	if (strcasecmp(value, "lax") == 0)
		return "; SameSite=Lax";
	if (strcasecmp(value, "none") == 0)
		return "; SameSite=None";
	if (*value)
		log_line(LOG_ERROR, "chttpd_auth/same_site is none of strict, lax, none");
	return "";
}

/* Words of [a-z0-9_]; 0 at the end. */
static int
next_word(const char **pp, struct jstr *word)
{
	const char *p = *pp;
	size_t len = 0;

	while (*p && !islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_')
		p++;
	while (islower((unsigned char)p[len]) || isdigit((unsigned char)p[len]) || p[len] == '_')
		len++;
	*word = (struct jstr){p, len};
	*pp = p + len;
	return len > 0;
}

/* "cookie" or "cookie_authentication_handler". */
static int
how_of(struct jstr word, enum auth_how *howp)
{
	static const char *const ends[] = {"", "_authentication_handler", "_authentification_handler"};

	for (enum auth_how how = 0; how < AUTH_HOWS; how++) {
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
			const char *name = auth_handler_name(how);
			size_t len = strlen(name);

			if (word.len == len + strlen(ends[i]) && memcmp(word.s, name, len) == 0 &&
			    memcmp(word.s + len, ends[i], strlen(ends[i])) == 0) {
				*howp = how;
				return 1;
			}
		}
	}
	return 0;
}

static void
put_handler(struct auth_settings *s, enum auth_how how)
{
	for (size_t i = 0; i < s->nhandlers; i++) {
		if (s->handlers[i] == how)
			return;
	}
	s->handlers[s->nhandlers++] = how;
}

/* "{chttpd_auth, cookie_authentication_handler}, ..." as CouchDB has it, or "cookie, ...". */
static void
load_handlers(struct auth_settings *s, const struct config *c)
{
	const char *p = text_or_null(c, "chttpd", "authentication_handlers");
	struct jstr word;
	enum auth_how how;

	if (!p)
		p = config_get_auth(c, "authentication_handlers", "");
	while (next_word(&p, &word)) {
		if (how_of(word, &how))
			put_handler(s, how);
		else if (!jstr_is(&word, "chttpd_auth") && !jstr_is(&word, "couch_httpd_auth"))
			log_line(LOG_ERROR, "chttpd/authentication_handlers: there is no handler \"%.*s\"",
			    (int)word.len, word.s);
	}
	if (s->nhandlers == 0) {
		put_handler(s, AUTH_COOKIE);
		put_handler(s, AUTH_DEFAULT);
	}
}

static void
load_macs(struct auth_settings *s, const struct config *c)
{
	const char *p = config_get_auth(c, "hash_algorithms", "sha256, sha");
	struct jstr word;

	while (next_word(&p, &word) && s->nmacs < AUTH_MACS) {
		const struct mac *m = mac_find(word.s, word.len);

		if (m)
			s->macs[s->nmacs++] = m;
		else
			log_line(LOG_ERROR, "chttpd_auth/hash_algorithms: there is no \"%.*s\"", (int)word.len, word.s);
	}
	if (s->nmacs == 0) {
		s->macs[s->nmacs++] = mac_find("sha256", 6);
		s->macs[s->nmacs++] = mac_find("sha", 3);
	}
}

/* A cookie attribute that would end, or begin another one, is none. */
static const char *
attribute(const char *value)
{
	for (const char *p = value; *p; p++) {
		if (*p == ';' || (unsigned char)*p <= ' ' || *p == 127)
			return "";
	}
	return value;
}

static int
load_cookie(struct auth_settings *s, struct api *api)
{
	const struct config *c = api->config;
	const char *secret = config_get_auth(c, "secret", "");
	int err;

	err = copy(s, *secret ? secret : api->auth->own_secret, &s->secret);
	if (!err)
		err = copy(s, attribute(config_get_auth(c, "cookie_domain", "")), &s->cookie_domain);
	if (err)
		return err;
	s->secret_len = strlen(s->secret);
	s->same_site = same_site_of(c);
	s->timeout_s = get_u64(c, "timeout", 600);
	if (s->timeout_s > UINT32_MAX)
		s->timeout_s = UINT32_MAX;
	s->persistent = get_bool(c, "allow_persistent_cookies", 1);
	s->secure = get_bool(c, "secure", 0);
	load_macs(s, c);
	return 0;
}

static int
load_proxy(struct auth_settings *s, const struct config *c)
{
	int err = copy_lower(s, config_get_auth(c, "x_auth_username", "X-Auth-CouchDB-UserName"), &s->proxy_user);

	if (!err)
		err = copy_lower(s, config_get_auth(c, "x_auth_roles", "X-Auth-CouchDB-Roles"), &s->proxy_roles);
	if (!err)
		err = copy_lower(s, config_get_auth(c, "x_auth_token", "X-Auth-CouchDB-Token"), &s->proxy_token);
	s->proxy_use_secret = get_bool(c, "proxy_use_secret", 0);
	for (size_t i = 0; i < s->nhandlers && !err; i++) {
		if (s->handlers[i] == AUTH_PROXY && !s->proxy_use_secret)
			log_line(LOG_WARNING, "the proxy handler believes everyone who names a user: set "
					      "chttpd_auth/proxy_use_secret");
	}
	return err;
}

static int
put_key(const char *key, const char *value, void *cookie)
{
	struct auth_settings *s = cookie;
	int err = jwt_rules_key(&s->jwt, key, value);

	if (err == ERR_BAD_REQUEST)
		log_line(LOG_ERROR, "jwt_keys/%s is no key", key);
	else if (err == ERR_TOO_LARGE)
		log_line(LOG_ERROR, "jwt_keys has too many keys: %s is left out", key);
	return err == ERR_NOMEM ? err : 0;
}

static int
load_jwt(struct auth_settings *s, const struct config *c)
{
	const char *name = config_get(c, "jwt_auth", "roles_claim_name", "_couchdb.roles");
	const char *path = text_or_null(c, "jwt_auth", "roles_claim_path");
	int err = jwt_rules_require(&s->jwt, config_get(c, "jwt_auth", "required_claims", "exp"), s->arena);

	if (!err)
		err = jwt_rules_roles(&s->jwt, name, path, s->arena);
	if (s->jwt.bad)
		log_line(LOG_ERROR, "the settings of section jwt_auth make no sense: no token is accepted");
	return err ? err : config_each(c, "jwt_keys", put_key, s);
}

static int
load_answers(struct auth_settings *s, const struct config *c)
{
	const char *www = text_or_null(c, "chttpd", "WWW-Authenticate");
	int err;

	if (!www)
		www = text_or_null(c, "httpd", "WWW-Authenticate");
	err = copy(s, www, &s->www_auth);
	if (!err)
		err = copy(s, config_get_auth(c, "authentication_redirect", "/_utils/session.html"), &s->login_page);
	s->required = config_bool(c, "chttpd", "require_valid_user", get_bool(c, "require_valid_user", 0));
	s->required_but_up = config_bool(
	    c, "chttpd", "require_valid_user_except_for_up", get_bool(c, "require_valid_user_except_for_up", 0));
	return err;
}

static void
load_lockout(struct lockout *l, const struct config *c)
{
	static const char section[] = "chttpd_auth_lockout";
	const char *mode = config_get(c, section, "mode", "enforce");
	struct lockout_settings o = {.mode = LOCKOUT_ENFORCE};
	uint64_t threshold = config_u64(c, section, "threshold", 5);
	uint64_t objects = config_u64(c, section, "max_objects", 10000);

	if (strcasecmp(mode, "off") == 0)
		o.mode = LOCKOUT_OFF;
	else if (strcasecmp(mode, "warn") == 0)
		o.mode = LOCKOUT_WARN;
	else if (strcasecmp(mode, "enforce") != 0)
		log_line(LOG_ERROR, "chttpd_auth_lockout/mode is none of off, warn, enforce: it is enforce");
	o.threshold = threshold < 1 ? 1 : threshold > 1000000 ? 1000000 : (unsigned)threshold;
	o.max_objects = objects > AUTH_FAILURES_MAX ? AUTH_FAILURES_MAX : (unsigned)objects;
	o.max_lifetime_ms = config_u64(c, section, "max_lifetime", 300000);
	if (o.max_lifetime_ms > UINT32_MAX)
		o.max_lifetime_ms = UINT32_MAX;
	lockout_set(l, &o);
}

int
auth_settings_new(struct api *api, uint64_t serial, struct auth_settings **sp)
{
	struct auth_settings *s = calloc(1, sizeof(*s));
	const struct config *c = api->config;
	int err;

	if (!s)
		return ERR_NOMEM;
	s->refs = 1;
	s->serial = serial;
	err = arena_new(AUTH_SETTINGS_MAX, &s->arena);
	if (!err) {
		load_handlers(s, c);
		err = load_cookie(s, api);
	}
	if (!err)
		err = load_proxy(s, c);
	if (!err)
		err = load_jwt(s, c);
	if (!err)
		err = load_answers(s, c);
	if (err) {
		auth_settings_free(s);
		return err;
	}
	s->iterations = users_iterations(c);
	snprintf(s->nobody, sizeof(s->nobody), "-pbkdf2:sha256-%064d,%032d,%u", 0, 0, s->iterations);
	load_lockout(api->auth->lockout, c);
	*sp = s;
	return 0;
}

void
auth_settings_free(struct auth_settings *s)
{
	jwt_rules_release(&s->jwt);
	arena_free(s->arena);
	free(s);
}
