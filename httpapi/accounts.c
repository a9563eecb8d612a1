/*
 * accounts.c: look-up of accounts.
 *
 * Documents of the authentication database are remembered in a table with one place per hash of a
 * name, in the form that a look-up gives out.  A look-up that finds its record of the present
 * generation costs a lock and a copy; else the document is read, which is a snapshot and a seek.
 *
 * 1. The generation grows after a commit is visible and before it is acknowledged (dbs_config.moved);
 *    it is read before the document is.  So a record of the present generation is never older than
 *    what was acknowledged.
 * 2. A document gives nobody a role that begins with "_" but for _metrics: only the configuration
 *    makes administrators.
 * 3. Unknown names are not remembered, so that whoever tries names evicts nothing.
 * 4. What a credential from a document may cost is bounded by chttpd_auth/max_iterations.
 */
#include "accounts_impl.h"
#include "background.h"
#include "peruser.h"
#include "userdoc.h"
#include "users.h"
#include "base/counters.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdlib.h>

#define STORED_MAX (SECRET_SALT_MAX + SECRET_LEN)
#define DOC_MEM (64u << 20)
#define TOTP_MAX 4096u /* what users write themselves must not make their record too large to be remembered */

/* ---- Background work ---- */

int
accounts_work_begin(struct accounts *s)
{
	if (s->stopping)
		return 0;
	s->running++;
	return 1;
}

void
accounts_work_end(struct accounts *s)
{
	pthread_mutex_lock(&s->lock);
	if (--s->running == 0)
		pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
}

/* ---- Life ---- */

static void
settings_changed(const char *section, const char *key, void *cookie)
{
	struct api *api = cookie;

	if (strcmp(section, "admins") == 0 || strcmp(section, "chttpd_auth") == 0 ||
	    strcmp(section, "couch_httpd_auth") == 0)
		atomic_fetch_add(&api->accounts->generation, 1);
	if (strcmp(key, "authentication_db") == 0 && api->dbs)
		dbs_ask_rules(api->dbs);
	if (strcmp(section, "couch_peruser") == 0 || strcmp(key, "authentication_db") == 0)
		peruser_look(api->accounts->peruser, 1);
}

int
accounts_new(struct api *api)
{
	struct accounts *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return ERR_NOMEM;
	atomic_store(&s->generation, 1);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->idle, NULL);
	api->accounts = s;
	err = peruser_new(api, &s->peruser);
	if (!err)
		err = config_on_change(api->config, settings_changed, api);
	return err;
}

void
accounts_start(struct api *api)
{
	accounts_design(api);
	peruser_look(api->accounts->peruser, 1);
}

void
accounts_stop(struct api *api)
{
	struct accounts *s = api->accounts;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = 1;
	while (s->running > 0)
		pthread_cond_wait(&s->idle, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (s->peruser)
		peruser_stop(s->peruser);
	pthread_mutex_lock(&s->lock);
	db_close(s->keep);
	s->keep = NULL;
	pthread_mutex_unlock(&s->lock);
}

void
accounts_free(struct api *api)
{
	struct accounts *s = api->accounts;

	if (!s)
		return;
	accounts_stop(api);
	for (size_t i = 0; i < ACCOUNTS_SLOTS; i++)
		free(s->slots[i]);
	free(s->keep_name);
	peruser_free(s->peruser);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
	api->accounts = NULL;
}

uint64_t
accounts_generation(const struct api *api)
{
	return atomic_load_explicit(&api->accounts->generation, memory_order_acquire);
}

void
accounts_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	if (!api->accounts || strcmp(name, users_database(api->config)) != 0)
		return;
	atomic_fetch_add(&api->accounts->generation, 1);
	if (seq == 0 && !dropped)
		accounts_design(api);
	if (!dropped)
		peruser_look(api->accounts->peruser, 0);
}

/* ---- Reading a document ---- */

/* One open handle holds the file open, and lets go of one that was dropped. */
static int
open_users(struct api *api, struct db **dbp)
{
	struct accounts *s = api->accounts;
	const char *name = users_database(api->config);
	struct db *db, *old = NULL;
	/* Parts of the API can be had without databases. */
	int err = api->dbs ? db_open(api->dbs, name, background_server(), dbp) : ERR_NO_DB;
	int stale;

	pthread_mutex_lock(&s->lock);
	stale = err ? s->keep != NULL
		    : !s->keep || strcmp(s->keep_name, name) != 0 || db_incarnation(s->keep) != db_incarnation(*dbp);
	pthread_mutex_unlock(&s->lock);
	if (!stale)
		return err;
	db = NULL;
	if (!err && db_open(api->dbs, name, background_server(), &db))
		db = NULL;
	name = db ? strdup(name) : NULL;
	if (db && !name) {
		db_close(db);
		db = NULL;
	}
	pthread_mutex_lock(&s->lock);
	if (!s->stopping) {
		char *old_name = s->keep_name;

		old = s->keep;
		s->keep = db;
		s->keep_name = (char *)(uintptr_t)name;
		free(old_name);
	} else {
		old = db;
		free((char *)(uintptr_t)name);
	}
	pthread_mutex_unlock(&s->lock);
	db_close(old);
	return err;
}

/* 1: leaves that are not deleted besides the winner. */
static int
has_conflicts(struct db_doc *doc, int *yesp)
{
	struct revtree *t;
	size_t live = 0;
	int err;

	*yesp = 0;
	if (doc->nleaves < 2)
		return 0;
	err = db_doc_tree(doc, 0, &t);
	for (size_t i = 0; !err && i < doc->nleaves; i++)
		live += !revtree_at(t, revtree_leaf_pos(t, i))->deleted;
	*yesp = !err && live > 1;
	return err;
}

static int
read_document(struct api *api, struct jstr id, struct arena *a, struct jstr *bodyp, int *conflictsp)
{
	struct db_snap *snap = NULL;
	struct db_doc doc;
	struct db_rev rev;
	struct db *db;
	int err = open_users(api, &db);

	if (err)
		return err == ERR_NO_DB ? ERR_MISSING : err;
	err = db_snap_begin(db, &snap);
	if (!err)
		err = db_get(snap, id.s, id.len, a, &doc);
	if (!err && doc.winner.deleted)
		err = ERR_MISSING;
	if (!err)
		err = has_conflicts(&doc, conflictsp);
	if (!err)
		err = db_doc_rev(&doc, &doc.winner, a, &rev);
	if (!err) {
		*bodyp = (struct jstr){arena_dup(a, rev.body.s, rev.body.len), rev.body.len};
		err = bodyp->s ? 0 : ERR_NOMEM;
	}
	db_snap_end(snap);
	db_close(db);
	return err == ERR_NO_DB ? ERR_MISSING : err;
}

/* ---- Records ---- */

static int
counts_for_nothing(const struct jstr *role)
{
	return role->len == 0 || memchr(role->s, '\0', role->len) != NULL ||
	       (role->s[0] == '_' && !jstr_is(role, "_metrics"));
}

static size_t
count_roles(struct jstr *roles, size_t n, size_t *bytesp)
{
	size_t kept = 0;

	*bytesp = 0;
	for (size_t i = 0; i < n; i++) {
		if (counts_for_nothing(&roles[i]))
			continue;
		*bytesp += roles[i].len + 1;
		roles[kept++] = roles[i];
	}
	return kept;
}

static int
make_record(struct jstr name, int err, const char *stored, struct jstr salt, struct jstr *roles, size_t nroles,
    struct jstr totp, struct arena *a, struct account_record **rp)
{
	size_t stored_len = strlen(stored), bytes, len;
	struct account_record *r;
	char *p;

	nroles = count_roles(roles, nroles, &bytes);
	len = name.len + 1 + stored_len + 1 + salt.len + 1 + bytes + totp.len;
	r = arena_calloc(a, 1, sizeof(*r) + len);
	if (!r)
		return ERR_NOMEM;
	r->err = err;
	r->name_len = name.len;
	r->stored_len = stored_len;
	r->salt_at = name.len + 1 + stored_len + 1;
	r->salt_len = salt.len;
	r->nroles = nroles;
	r->totp_len = totp.len;
	r->len = len;
	memcpy(r->data, name.s, name.len);
	memcpy(r->data + name.len + 1, stored, stored_len);
	memcpy(r->data + r->salt_at, salt.s, salt.len);
	p = r->data + r->salt_at + salt.len + 1;
	for (size_t i = 0; i < nroles; i++) {
		memcpy(p, roles[i].s, roles[i].len);
		p += roles[i].len + 1;
	}
	if (totp.len > 0)
		memcpy(p, totp.s, totp.len);
	*rp = r;
	return 0;
}

static int
read_record(struct api *api, struct jstr name, struct arena *a, struct account_record **rp)
{
	unsigned min, max;
	struct jstr id = {NULL, strlen(USERDOC_PREFIX) + name.len}, body, *roles = NULL;
	struct userdoc doc;
	struct secret s = {.salt = "", .salt_len = 0};
	char stored[STORED_MAX] = "", *text = arena_alloc(a, id.len + 1);
	int conflicts = 0, err;
	size_t nroles = 0;

	if (!text)
		return ERR_NOMEM;
	users_iterations_taken(api->config, &min, &max);
	memcpy(text, USERDOC_PREFIX, strlen(USERDOC_PREFIX));
	memcpy(text + strlen(USERDOC_PREFIX), name.s, name.len);
	id.s = text;
	err = read_document(api, id, a, &body, &conflicts);
	if (!err)
		err = userdoc_parse(body, &doc);
	if (!err && doc.field[USERDOC_TOTP].len > TOTP_MAX)
		err = ERR_MISSING;
	if (!err)
		err = userdoc_roles(&doc.field[USERDOC_ROLES], a, &roles, &nroles);
	if (err == ERR_BAD_REQUEST)
		err = 0, nroles = 0;
	if (err)
		return err;
	err = userdoc_secret(&doc, a, max, &s);
	if (!err && (!secret_put(&s, stored, sizeof(stored)) || (s.prf[0] && s.iterations < min)))
		err = ERR_MISSING;
	if (err == ERR_MISSING)
		stored[0] = '\0';
	else if (err)
		return err;
	else if (conflicts && !config_bool(api->config, "chttpd_auth", "allow_conflicted_user_docs", 0))
		err = ERR_USER_CONFLICTS;
	return make_record(
	    name, err, stored, (struct jstr){s.salt, s.salt_len}, roles, nroles, doc.field[USERDOC_TOTP], a, rp);
}

static size_t
slot_of(struct jstr name)
{
	return hash_crc32c(0, name.s, name.len) % ACCOUNTS_SLOTS;
}

static int
is_of(const struct account_record *r, struct jstr name)
{
	return r && r->name_len == name.len && memcmp(r->data, name.s, name.len) == 0;
}

/* ERR_AGAIN: there is none of the present generation. */
static int
recall(struct accounts *s, struct jstr name, int is_admin, uint64_t generation, struct arena *a,
    struct account_record **rp)
{
	struct account_record *r;
	int err = ERR_AGAIN;

	pthread_mutex_lock(&s->lock);
	r = s->slots[slot_of(name)];
	if (is_of(r, name)) {
		if (r->generation == generation) {
			*rp = (struct account_record *)(void *)arena_dup(a, r, sizeof(*r) + r->len);
			err = *rp ? 0 : ERR_NOMEM;
		}
	}
	/* One that is out of date counts as remembered, too: it is only read again.  Administrators have no document, as a rule. */
	if (!is_admin)
		counters_add(is_of(r, name) ? COUNTER_AUTH_HITS : COUNTER_AUTH_MISSES, 1);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* NULL: it is gone. */
static void
remember(struct accounts *s, struct jstr name, uint64_t generation, const struct account_record *r)
{
	struct account_record *copy = NULL, *old, **slot = &s->slots[slot_of(name)];

	if (r && r->len <= ACCOUNTS_RECORD_MAX && (copy = malloc(sizeof(*r) + r->len)) != NULL) {
		memcpy(copy, r, sizeof(*r) + r->len);
		copy->generation = generation;
	}
	pthread_mutex_lock(&s->lock);
	old = *slot;
	if (copy || is_of(old, name))
		*slot = copy;
	else
		old = NULL;
	pthread_mutex_unlock(&s->lock);
	free(old);
}

/* ${*rp} NULL: there is no document. */
static int
find_record(struct api *api, struct jstr name, int is_admin, struct arena *a, struct account_record **rp)
{
	struct accounts *s = api->accounts;
	uint64_t generation = accounts_generation(api);
	struct account_record *r = NULL;
	struct arena *reading;
	int err = recall(s, name, is_admin, generation, a, rp);

	if (err != ERR_AGAIN)
		return err;
	err = arena_new(DOC_MEM, &reading);
	if (err)
		return err;
	err = read_record(api, name, reading, &r);
	/* An administrator has no document, as a rule. */
	if (err == ERR_MISSING && is_admin)
		err = make_record(
		    name, ERR_MISSING, "", (struct jstr){"", 0}, NULL, 0, (struct jstr){"", 0}, reading, &r);
	if (!err || err == ERR_MISSING)
		remember(s, name, generation, err ? NULL : r);
	*rp = NULL;
	if (!err) {
		*rp = (struct account_record *)(void *)arena_dup(a, r, sizeof(*r) + r->len);
		err = *rp ? 0 : ERR_NOMEM;
	}
	arena_free(reading);
	return err == ERR_MISSING ? 0 : err;
}

/* ---- Accounts ---- */

static int
set_roles(const struct account_record *r, struct arena *a, struct account *out)
{
	size_t n = r ? r->nroles : 0;
	const char **roles = arena_calloc(a, n + 1, sizeof(*roles));
	const char *p;

	if (!roles)
		return ERR_NOMEM;
	out->roles = roles;
	out->nroles = 0;
	if (out->server_admin)
		roles[out->nroles++] = "_admin";
	p = r ? r->data + r->salt_at + r->salt_len + 1 : NULL;
	for (size_t i = 0; i < n; i++) {
		roles[out->nroles++] = p;
		p += strlen(p) + 1;
	}
	return 0;
}

static int
set_stamp(struct account *out)
{
	unsigned char digest[SHA256_LEN];
	struct buf b;
	int err;

	buf_init(&b, DOC_MEM);
	buf_put(&b, out->stored, strlen(out->stored) + 1);
	buf_putc(&b, (char)out->server_admin);
	for (size_t i = 0; i < out->nroles; i++)
		buf_put(&b, out->roles[i], strlen(out->roles[i]) + 1);
	buf_put(&b, out->totp.s, out->totp.len);
	err = buf_failed(&b);
	if (!err) {
		hash_sha256(b.data, b.len, digest);
		memcpy(out->stamp, digest, sizeof(out->stamp));
	}
	buf_release(&b);
	return err;
}

/* Of a hash its salt, of a password in the clear all of it. */
static struct jstr
salt_of(const char *stored)
{
	struct secret s;

	if (secret_parse(stored, &s) && s.salt_len > 0)
		return (struct jstr){s.salt, s.salt_len};
	return (struct jstr){stored, strlen(stored)};
}

int
accounts_find(struct api *api, const char *name, size_t len, struct arena *a, struct account *out)
{
	char key[LIMIT_ID_LEN];
	struct account_record *r;
	const char *admin;
	int err;

	if (len == 0 || len >= sizeof(key) - strlen(USERDOC_PREFIX) || memchr(name, '\0', len))
		return ERR_MISSING;
	memcpy(key, name, len);
	key[len] = '\0';
	admin = config_get(api->config, "admins", key, NULL);
	if (admin && !*admin)
		admin = NULL;
	err = find_record(api, (struct jstr){key, len}, admin != NULL, a, &r);
	if (err)
		return err;
	if (!admin && (!r || r->err))
		return r ? r->err : ERR_MISSING;
	out->server_admin = admin != NULL;
	out->stored = admin ? arena_dup(a, admin, strlen(admin)) : r->data + r->name_len + 1;
	if (!out->stored)
		return ERR_NOMEM;
	out->salt = salt_of(out->stored);
	/* An administrator of the configuration has roles of the document, and nothing else. */
	out->totp = admin ? (struct jstr){"", 0} : (struct jstr){r->data + r->len - r->totp_len, r->totp_len};
	err = set_roles(r, a, out);
	return err ? err : set_stamp(out);
}
