/*
 * users.c: who may do what to users' documents, and what becomes of a password.
 *
 * CouchDB does this in two places: hooks hash and hide, and a JavaScript function in `_design/_auth`
 * validates.  Here all of it is native, so that it holds without a script and whoever deletes that
 * document.
 *
 *	write   before_write: only one's own document (others are "missing"), but for administrators of the database and the
 *	        anonymous, who may sign up where the security object lets them; the password is hashed
 *	        validate: fields, roles, names
 *	read    may_read, shown: one's own document; of others the public fields, if there are some; all for administrators
 *	list    server administrators
 *
 * 1. A password in the clear never leaves before_write(): the revision id is made of the hash, the log says nothing of it.
 * 2. Hashing costs what the settings say, whatever a client sends; what a client brings hashed is
 *    bounded where it is used (accounts.c).
 */
#include "users.h"
#include "accounts_impl.h"
#include "passrules.h"
#include "secret.h"
#include "userdoc.h"
#include "base/hash.h"
#include "query/query.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Which databases ---- */

/* Is ${suffix} all of ${name}, or what follows its last slash? */
static int
ends_with(const char *name, const char *suffix)
{
	const char *slash = strrchr(name, '/');

	return strcmp(slash ? slash + 1 : name, suffix) == 0;
}

const struct db_rules *
users_rules(void *cookie, const char *name)
{
	struct api *api = cookie;
	const struct config *c = api->config;

	if (ends_with(name, "_users") || ends_with(name, config_get(c, "couchdb", "users_db_suffix", "_users")) ||
	    strcmp(name, users_database(c)) == 0)
		return &api->users;
	return NULL;
}

/* ---- Whose document ---- */

static int
is_design(const struct jstr *id)
{
	return id->len >= 8 && memcmp(id->s, "_design/", 8) == 0;
}

static int
is_own(const struct db_asker *by, const struct jstr *id)
{
	const size_t n = strlen(USERDOC_PREFIX);

	return by->who->name && id->len == n + strlen(by->who->name) && memcmp(id->s, USERDOC_PREFIX, n) == 0 &&
	       memcmp(id->s + n, by->who->name, id->len - n) == 0;
}

static int
is_public(const void *cookie, const struct jstr *key)
{
	const char *p = cookie;

	/* Names between commas and white space. */
	while (*p) {
		size_t len = strcspn(p, ", \t\r\n");

		if (len > 0 && len == key->len && memcmp(p, key->s, len) == 0)
			return 1;
		p += len;
		p += strspn(p, ", \t\r\n");
	}
	return 0;
}

/* ---- Reading ---- */

static int
may_read(void *cookie, const struct db_asker *by, const struct jstr *id)
{
	const struct api *api = cookie;

	if (by->is_admin || is_own(by, id))
		return 0;
	if (is_design(id))
		return ERR_USERS_DESIGN;
	if (id->len >= 7 && memcmp(id->s, "_local/", 7) == 0)
		return 0;
	return *config_get_auth(api->config, "public_fields", "") ? 0 : ERR_MISSING;
}

static int
shown(void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp)
{
	const struct api *api = cookie;
	struct buf b;
	int err;

	if (by->is_admin || is_own(by, id))
		return 0;
	buf_init_arena(&b, a, bodyp->len + 64);
	buf_putc(&b, '{');
	err = userdoc_copy(*bodyp, is_public, config_get_auth(api->config, "public_fields", ""), &b);
	if (err)
		return err;
	if (b.len == 1)
		return ERR_MISSING;
	err = buf_putc(&b, '}');
	*bodyp = (struct jstr){b.data, b.len};
	return err;
}

/* ---- Writing: the password ---- */

static int
not_of_password(const void *cookie, const struct jstr *key)
{
	enum userdoc_field field = userdoc_field(key);

	(void)cookie;
	return field < USERDOC_PASSWORD || field == USERDOC_FIELDS;
}

/* "NAME value of 'VALUE' is invalid." */
static int
invalid_value(const char *name, const struct jstr *value, struct errtext *why)
{
	struct buf term;

	buf_init(&term, 256);
	query_put_term(&term, *value);
	err_why(why, ERR_FORBIDDEN, "%s value of '%.*s' is invalid.", name, (int)term.len, term.len ? term.data : "");
	buf_release(&term);
	return ERR_FORBIDDEN;
}

/* Who changes nothing but the hash keeps the salt, and with it the sessions. */
static int
choose_salt(const struct userdoc *doc, struct arena *a, struct secret *s, struct errtext *why)
{
	const struct jstr *given = &doc->field[USERDOC_SALT];
	char *made;
	struct jstr salt;
	int err;

	if (given->len > 0 && jstr_is(&doc->field[USERDOC_PRESERVE_SALT], "true")) {
		err = userdoc_string(given, a, &salt);
		if (err == ERR_NOMEM)
			return err;
		if (err || salt.len > SECRET_SALT_MAX)
			return invalid_value("Salt", given, why);
		s->salt = salt.s;
		s->salt_len = salt.len;
		return 0;
	}
	made = arena_alloc(a, SECRET_SALT_LEN);
	if (!made)
		return ERR_NOMEM;
	secret_salt(made);
	s->salt = made;
	s->salt_len = SECRET_SALT_LEN;
	return 0;
}

/* The members in CouchDB's order, then the rest of the document. */
static int
put_secret(const struct secret *s, struct jstr body, struct buf *b)
{
	char key[2 * SECRET_KEY_MAX];
	int err;

	hex_encode(s->key, s->key_len, key);
	if (s->prf[0]) {
		buf_printf(b, "{\"password_scheme\":\"pbkdf2\",\"pbkdf2_prf\":\"%s\",\"salt\":", s->prf);
		buf_put_json(b, s->salt, s->salt_len);
		buf_printf(b, ",\"iterations\":%u,\"derived_key\":\"%.*s\"", s->iterations, (int)(2 * s->key_len), key);
	} else {
		buf_puts(b, "{\"password_scheme\":\"simple\",\"salt\":");
		buf_put_json(b, s->salt, s->salt_len);
		buf_printf(b, ",\"password_sha\":\"%.*s\"", (int)(2 * s->key_len), key);
	}
	err = userdoc_copy(body, not_of_password, NULL, b);
	buf_putc(b, '}');
	return err ? err : buf_failed(b);
}

static int
hash_password(
    const struct config *c, const struct userdoc *doc, struct arena *a, struct jstr *bodyp, struct errtext *why)
{
	const struct jstr *given = &doc->field[USERDOC_PASSWORD];
	struct users_policy policy;
	struct jstr password = {"", 0};
	struct secret s = {.iterations = 0};
	struct buf b;
	int err = users_policy(c, &policy);

	if (err)
		return err_why(why, err, "Server cannot hash passwords at this time.");
	err = userdoc_string(given, a, &password);
	if (err == ERR_BAD_REQUEST)
		return invalid_value("Password", given, why);
	if (!err)
		err = passrules_check(config_get_auth(c, "password_regexp", ""), password, why);
	if (!err)
		err = choose_salt(doc, a, &s, why);
	if (err)
		return err;
	snprintf(s.prf, sizeof(s.prf), "%s", policy.prf);
	s.iterations = policy.iterations;
	err = secret_derive(&s, password.s, password.len);
	if (err)
		return err;
	buf_init_arena(&b, a, bodyp->len + 8 * SECRET_SALT_MAX);
	err = put_secret(&s, *bodyp, &b);
	*bodyp = (struct jstr){b.data, b.len};
	return err;
}

static int
before_write(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted, struct arena *a,
    struct jstr *bodyp, struct errtext *why)
{
	const struct api *api = cookie;
	struct userdoc doc;
	int err;

	(void)deleted;
	/* As for who reads: whether it is there is not told. */
	if (!by->is_admin && by->who->name && !is_own(by, id))
		return ERR_MISSING;
	err = userdoc_parse(*bodyp, &doc);
	if (err)
		return err;
	if (doc.field[USERDOC_PASSWORD].len == 0 || jstr_is(&doc.field[USERDOC_PASSWORD], "null"))
		return 0;
	return hash_password(api->config, &doc, a, bodyp, why);
}

static int
before_security(void *cookie, const struct db_asker *by, struct errtext *why)
{
	const struct api *api = cookie;

	if (strcmp(by->database, users_database(api->config)) == 0 &&
	    !config_bool(api->config, "couchdb", "users_db_security_editable", 0))
		return err_why(why, ERR_FORBIDDEN, "You can't edit the security object of the user database.");
	return 0;
}

/* ---- Writing: validation ---- */

static int
forbid(struct errtext *why, const char *words)
{
	return err_why(why, ERR_FORBIDDEN, "%s", words);
}

/* In any order. */
static int
same_roles(struct jstr *a, size_t na, struct jstr *b, size_t nb)
{
	if (na != nb)
		return 0;
	qsort(a, na, sizeof(*a), jstr_order);
	qsort(b, nb, sizeof(*b), jstr_order);
	for (size_t i = 0; i < na; i++)
		if (!jstr_equal(a[i], b[i]))
			return 0;
	return 1;
}

static int
check_password_fields(const struct userdoc *doc, struct arena *a, struct errtext *why)
{
	const struct jstr *scheme = &doc->field[USERDOC_PASSWORD_SCHEME];
	struct jstr s = {"", 0};
	int err;

	if (userdoc_true(&doc->field[USERDOC_PASSWORD_SHA]) && !userdoc_true(&doc->field[USERDOC_SALT]))
		return forbid(why, "Users with password_sha must have a salt."
				   "See /_utils/script/couch.js for example code.");
	if (!userdoc_true(scheme))
		return 0;
	err = userdoc_string(scheme, a, &s);
	if (err == ERR_NOMEM)
		return err;
	if (err || (!jstr_is(&s, "simple") && !jstr_is(&s, "pbkdf2") && !jstr_is(&s, "simple+pbkdf2"))) {
		const struct jstr *shown_as = err ? scheme : &s;

		return err_why(
		    why, ERR_FORBIDDEN, "Password scheme `%.*s` not supported.", (int)shown_as->len, shown_as->s);
	}
	if (jstr_is(&s, "pbkdf2")) {
		const struct jstr *n = &doc->field[USERDOC_ITERATIONS];
		const struct jstr *key = &doc->field[USERDOC_DERIVED_KEY];

		if (n->len == 0 || (n->s[0] != '-' && (n->s[0] < '0' || n->s[0] > '9')))
			return forbid(why, "iterations must be a number.");
		if (key->len == 0 || key->s[0] != '"')
			return forbid(why, "derived_key must be a string.");
	}
	return 0;
}

/* Who does not administer the database. */
static int
check_roles_change(const struct db_verdict *v, const struct jstr *name, const struct db_asker *by,
    const struct userdoc *old, struct jstr *roles, size_t nroles, struct arena *a, struct errtext *why)
{
	struct jstr *had = NULL;
	size_t nhad = 0;
	int err = 0;

	if (!v->has_old)
		return nroles > 0 ? forbid(why, "Only _admin may set roles") : 0;
	if (!by->who->name || !jstr_is(name, by->who->name))
		return forbid(why, "You may only update your own user document.");
	/* Who deletes their own document may write into it what they like. */
	if (!v->old_doc.deleted && userdoc_true(&old->field[USERDOC_ROLES]))
		err = userdoc_roles(&old->field[USERDOC_ROLES], a, &had, &nhad);
	if (err == ERR_NOMEM)
		return err;
	if (err || !same_roles(had, nhad, roles, nroles))
		return forbid(why, "Only _admin may edit roles");
	return 0;
}

static int
check_names(const struct jstr *name, const struct jstr *roles, size_t nroles, struct errtext *why)
{
	for (size_t i = 0; i < nroles; i++)
		if (roles[i].len > 0 && roles[i].s[0] == '_' && !jstr_is(&roles[i], "_metrics"))
			return forbid(why, "No system roles (starting with underscore) in users db.");
	if (name->s[0] == '_')
		return forbid(why, "Username may not start with underscore.");
	if (memchr(name->s, ':', name->len))
		return forbid(why, "Character `:` is not allowed in usernames.");
	return 0;
}

/* The name, which is the id's end, and the roles. */
static int
check_fields(const struct db_asker *by, const struct db_verdict *v, const struct userdoc *doc, struct arena *a,
    struct jstr *name, struct jstr **rolesp, size_t *np, struct errtext *why)
{
	const size_t n = strlen(USERDOC_PREFIX);
	const struct jstr *type = &doc->field[USERDOC_TYPE];
	/* CouchDB validates a database that became the users' while it ran only after a restart. */
	int lax = by->who->server_admin && type->len == 0 && !ends_with(by->database, "_users");
	int err;

	if (!jstr_is(type, "\"user\"") && !lax)
		return forbid(why, "doc.type must be user");
	if (!userdoc_true(&doc->field[USERDOC_NAME]))
		return forbid(why, "doc.name is required");
	if (!userdoc_true(&doc->field[USERDOC_ROLES]))
		return forbid(why, "doc.roles must exist");
	if (doc->field[USERDOC_ROLES].s[0] != '[')
		return forbid(why, "doc.roles must be an array");
	err = userdoc_roles(&doc->field[USERDOC_ROLES], a, rolesp, np);
	if (err)
		return err == ERR_NOMEM ? err : forbid(why, "doc.roles can only contain strings");
	err = userdoc_string(&doc->field[USERDOC_NAME], a, name);
	if (err == ERR_NOMEM)
		return err;
	if (err || v->id.len != n + name->len || memcmp(v->id.s, USERDOC_PREFIX, n) != 0 ||
	    memcmp(v->id.s + n, name->s, name->len) != 0)
		return forbid(why, "Doc ID must be of the form org.couchdb.user:name");
	return 0;
}

static int
judge(const struct db_asker *by, struct db_verdict *v, struct arena *a)
{
	struct userdoc new_doc, old_doc = {.field = {{NULL, 0}}};
	struct jstr name = {"", 0}, old_name = {"", 0}, *roles = NULL;
	size_t nroles = 0;
	int err = v->has_old ? userdoc_parse(v->old_doc.body, &old_doc) : 0;

	if (!err)
		err = userdoc_parse(v->new_doc.body, &new_doc);
	if (err)
		return err;
	if (v->has_old && userdoc_string(&old_doc.field[USERDOC_NAME], a, &old_name) == ERR_NOMEM)
		return ERR_NOMEM;
	if (v->new_doc.deleted) {
		if (by->who->server_admin || (by->who->name && v->has_old && jstr_is(&old_name, by->who->name)))
			return 0;
		return forbid(&v->why, "Only admins may delete other user docs.");
	}
	err = check_fields(by, v, &new_doc, a, &name, &roles, &nroles, &v->why);
	if (!err && v->has_old && (name.len != old_name.len || memcmp(name.s, old_name.s, name.len) != 0))
		err = forbid(&v->why, "Usernames can not be changed.");
	if (!err)
		err = check_password_fields(&new_doc, a, &v->why);
	if (!err && !by->is_admin)
		err = check_roles_change(v, &name, by, &old_doc, roles, nroles, a, &v->why);
	return err ? err : check_names(&name, roles, nroles, &v->why);
}

/*
 * Who does not administer brings a revision that does not descend from the one that counts.  Of a name that is free it is
 * a sign-up.  Of another's document it would be a new password; of one's own, beside a revision that has been replaced, it
 * would bring back what an administrator has taken away.
 */
static int
is_taken(const struct db_hearing *h, const struct db_verdict *v, int *takenp)
{
	struct db_doc doc;
	int err;

	*takenp = 0;
	if (h->by.is_admin || !v->replicated || v->new_doc.deleted)
		return 0;
	err = db_get(h->snap, v->id.s, v->id.len, h->arena, &doc);
	if (!err)
		*takenp = v->has_old ? !rev_equal(&v->old_doc.path[0], &doc.winner.rev) : !doc.winner.deleted;
	return err == ERR_MISSING ? 0 : err;
}

static int
validate(void *cookie, struct db_hearing *h)
{
	(void)cookie;
	for (size_t i = 0; i < h->n; i++) {
		struct db_verdict *v = &h->verdicts[i];
		int taken;

		v->err = is_taken(h, v, &taken);
		if (!v->err && taken)
			v->err = forbid(&v->why, "You may only update your own user document.");
		if (!v->err)
			v->err = judge(&h->by, v, h->arena);
	}
	return 0;
}

static int
stands_for(void *cookie, const struct jstr *id, const struct jstr *body)
{
	(void)cookie;
	return accounts_design_is(id, body);
}

void
users_init(struct api *api)
{
	api->users = (struct db_rules){.cookie = api,
	    .list_admin_only = 1,
	    .admins_see_all = 1,
	    .before_write = before_write,
	    .validate = validate,
	    .stands_for = stands_for,
	    .may_read = may_read,
	    .shown = shown,
	    .before_security = before_security};
}
