/*
 * accounts_upgrade.c: hashes of an older kind are replaced when their owner logs in: only then is the
 * password known.
 *
 * One at a time, in the background.  The document is edited as anybody would: with the password in
 * it, which the rules of the database (users.c) hash as the settings say.  The salt stays, so that
 * sessions do; a document that has changed since the login is left alone, because the edit names the
 * revision that was read before the account was compared.
 */
#include "accounts_impl.h"
#include "background.h"
#include "userdoc.h"
#include "users.h"
#include "base/limits.h"
#include "base/log.h"

#include <openssl/crypto.h>
#include <stdlib.h>

struct account_upgrade {
	struct account_upgrade *next;
	struct background b;
	struct exec_job job;
	unsigned char stamp[ACCOUNTS_STAMP_LEN];
	size_t password_len;
	char *password; /* in the same memory, behind id */
	size_t id_len;
	char id[];
};

static void begin(struct api *api, struct account_upgrade *u);

static int
wanted(const struct config *c, const struct account *seen)
{
	struct users_policy policy;
	struct secret s;

	if (seen->server_admin || !config_bool(c, "chttpd_auth", "upgrade_hash_on_auth", 1) ||
	    !secret_parse(seen->stored, &s) || users_policy(c, &policy))
		return 0;
	return strcmp(s.prf, policy.prf) != 0 || (*policy.prf && s.iterations != policy.iterations);
}

static void
forget(struct account_upgrade *u)
{
	background_close(&u->b);
	OPENSSL_cleanse(u->password, u->password_len);
	free(u);
}

static void
end(struct background *b)
{
	struct api *api = b->api;
	struct accounts *s = api->accounts;
	struct account_upgrade *u, *next;
	int over;

	pthread_mutex_lock(&s->lock);
	u = s->upgrades;
	next = s->upgrades = u->next;
	s->nupgrades--;
	over = !next || s->stopping;
	if (over) {
		s->upgrades = NULL;
		s->nupgrades = 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (u->b.w.err && u->b.w.err != ERR_CONFLICT)
		log_line(LOG_INFO, "the hash of %.*s's password was not replaced: %s",
		    (int)(u->id_len - strlen(USERDOC_PREFIX)), u->id + strlen(USERDOC_PREFIX), err_reason(u->b.w.err));
	forget(u);
	if (!over) {
		begin(api, next);
		return;
	}
	while (next) {
		u = next;
		next = u->next;
		forget(u);
	}
	accounts_work_end(s);
}

static int
not_given(const void *cookie, const struct jstr *key)
{
	(void)cookie;
	return !jstr_is(key, "password") && !jstr_is(key, "preserve_salt");
}

/* The same attachments. */
static int
keep_attachments(struct account_upgrade *u, const struct db_rev *rev)
{
	struct db_write *w = &u->b.w;

	w->atts = arena_calloc(u->b.arena, rev->natts + 1, sizeof(*w->atts));
	if (!w->atts)
		return ERR_NOMEM;
	w->natts = rev->natts;
	for (size_t i = 0; i < rev->natts; i++) {
		struct jstr name = rev->atts[i].name, type = rev->atts[i].type;

		w->atts[i].name = (struct jstr){arena_dup(u->b.arena, name.s, name.len), name.len};
		w->atts[i].type = (struct jstr){arena_dup(u->b.arena, type.s, type.len), type.len};
		if (!w->atts[i].name.s || !w->atts[i].type.s)
			return ERR_NOMEM;
	}
	return 0;
}

static int
make_edit(struct account_upgrade *u, const struct db_rev *rev)
{
	struct buf text;
	struct jstr id = {u->id, u->id_len};
	int err;

	buf_init_arena(&text, u->b.arena, rev->body.len + 6 * u->password_len + 256);
	buf_puts(&text, "{\"password\":");
	buf_put_json(&text, u->password, u->password_len);
	buf_puts(&text, ",\"preserve_salt\":true");
	err = userdoc_copy(rev->body, not_given, NULL, &text);
	buf_putc(&text, '}');
	if (!err)
		err = buf_failed(&text);
	if (!err)
		err = background_parse(&u->b, id, (struct jstr){text.data, text.len});
	if (!err)
		err = keep_attachments(u, rev);
	if (err)
		return err;
	u->b.w.has_parent = 1;
	rev_copy(&u->b.w.parent, &rev->node.rev);
	return 0;
}

static int
unchanged(struct account_upgrade *u)
{
	const size_t n = strlen(USERDOC_PREFIX);
	struct account now;
	int err = accounts_find(u->b.api, u->id + n, u->id_len - n, u->b.arena, &now);

	if (err)
		return err;
	return memcmp(now.stamp, u->stamp, sizeof(now.stamp)) == 0 && wanted(u->b.api->config, &now) ? 0 : ERR_CONFLICT;
}

static int
prepare(struct account_upgrade *u, struct api *api)
{
	struct db_snap *snap = NULL;
	struct db_doc doc;
	struct db_rev rev;
	int err = background_open(&u->b, api, users_database(api->config));

	if (err)
		return err;
	err = db_snap_begin(u->b.db, &snap);
	if (!err)
		err = db_get(snap, u->id, u->id_len, u->b.arena, &doc);
	if (!err && doc.winner.deleted)
		err = ERR_CONFLICT;
	if (!err)
		err = db_doc_rev(&doc, &doc.winner, u->b.arena, &rev);
	if (!err)
		err = unchanged(u);
	if (!err)
		err = make_edit(u, &rev);
	db_snap_end(snap);
	return err;
}

static void
run(void *arg)
{
	struct account_upgrade *u = arg;
	int err = prepare(u, u->b.api);

	if (err) {
		u->b.w.err = err;
		end(&u->b);
		return;
	}
	background_submit(&u->b, end);
}

static void
begin(struct api *api, struct account_upgrade *u)
{
	u->b.api = api;
	u->job = (struct exec_job){.fn = run, .arg = u};
	api->ex->submit(api->ex, &u->job);
}

static struct account_upgrade *
make(const char *name, const char *password, size_t len, const struct account *seen)
{
	size_t id_len = strlen(USERDOC_PREFIX) + strlen(name);
	struct account_upgrade *u = calloc(1, sizeof(*u) + id_len + 1 + len + 1);

	if (!u)
		return NULL;
	memcpy(u->stamp, seen->stamp, sizeof(u->stamp));
	u->id_len = id_len;
	snprintf(u->id, id_len + 1, USERDOC_PREFIX "%s", name);
	u->password = u->id + id_len + 1;
	memcpy(u->password, password, len);
	u->password_len = len;
	return u;
}

void
accounts_upgrade(struct api *api, const char *name, const char *password, size_t len, const struct account *seen)
{
	struct accounts *s = api->accounts;
	struct account_upgrade *u, **up;

	if (!wanted(api->config, seen) || !jread_utf8_ok(password, len) ||
	    (u = make(name, password, len, seen)) == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	for (up = &s->upgrades; *up; up = &(*up)->next)
		if (strcmp((*up)->id, u->id) == 0)
			break;
	if (*up || s->nupgrades == ACCOUNTS_UPGRADES || (s->nupgrades == 0 && !accounts_work_begin(s))) {
		pthread_mutex_unlock(&s->lock);
		forget(u);
		return;
	}
	*up = u;
	if (s->nupgrades++ == 0)
		begin(api, u);
	pthread_mutex_unlock(&s->lock);
}
