/*
 * Who may use a database, by its security object: {"admins":{"names":[],"roles":[]},"members":{...}}.  A
 * database whose members name nobody is public.  A new one has an object that couchdb/default_security names; a file of an
 * older Divan may have none, and then counts as what the setting says when it is opened.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	struct entry *next;
	struct jstr text;
};

enum group { ADMINS, MEMBERS, READERS /* members, before CouchDB 1.2 */, GROUPS };

struct access {
	struct arena *arena;
	struct entry *names[GROUPS];
	struct entry *roles[GROUPS];
	int admin_only;
};

const char *
access_default(int admin_only)
{
	return admin_only ? "{\"members\":{\"roles\":[\"_admin\"]},\"admins\":{\"roles\":[\"_admin\"]}}" : "{}";
}

/* ---- Compiling.  What is no list of strings names nobody. ---- */

static int
parse_list(struct jread *j, struct arena *a, struct buf *scratch, struct entry **listp)
{
	struct entry *e;
	struct jstr s;
	int err;

	if (jread_peek(j) != JREAD_ARRAY)
		return jread_skip(j, NULL);
	if ((err = jread_array_begin(j)) != 0)
		return err;
	while ((err = jread_array_next(j)) == 0) {
		if (jread_peek(j) != JREAD_STRING) {
			err = jread_skip(j, NULL);
		} else if ((err = jread_string(j, scratch, &s)) == 0) {
			if ((e = arena_alloc(a, sizeof(*e))) == NULL || (e->text.s = arena_dup(a, s.s, s.len)) == NULL)
				return ERR_NOMEM;
			e->text.len = s.len;
			e->next = *listp;
			*listp = e;
		}
		if (err)
			return err;
	}
	return err == ERR_END ? 0 : err;
}

static int
key_is(const struct jstr *key, const char *word)
{
	return key->len == strlen(word) && memcmp(key->s, word, key->len) == 0;
}

static int
parse_group(struct jread *j, struct access *x, enum group g, struct buf *scratch)
{
	struct jstr key;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return jread_skip(j, NULL);
	if ((err = jread_object_begin(j)) != 0)
		return err;
	while ((err = jread_object_next(j, scratch, &key)) == 0) {
		if (key_is(&key, "names"))
			err = parse_list(j, x->arena, scratch, &x->names[g]);
		else if (key_is(&key, "roles"))
			err = parse_list(j, x->arena, scratch, &x->roles[g]);
		else
			err = jread_skip(j, NULL);
		if (err)
			return err;
	}
	return err == ERR_END ? 0 : err;
}

static int
parse_object(struct jread *j, struct access *x, struct buf *scratch)
{
	struct jstr key;
	int err, members = 0;

	if ((err = jread_object_begin(j)) != 0)
		return err;
	while ((err = jread_object_next(j, scratch, &key)) == 0) {
		members |= key_is(&key, "members");
		if (key_is(&key, "admins"))
			err = parse_group(j, x, ADMINS, scratch);
		else if (key_is(&key, "members"))
			err = parse_group(j, x, MEMBERS, scratch);
		else if (key_is(&key, "readers"))
			err = parse_group(j, x, READERS, scratch);
		else
			err = jread_skip(j, NULL);
		if (err)
			return err;
	}
	if (err == ERR_END && !members) {
		x->names[MEMBERS] = x->names[READERS];
		x->roles[MEMBERS] = x->roles[READERS];
	}
	return err == ERR_END ? jread_end(j) : err;
}

int
access_parse(const char *text, size_t len, int default_admin_only, struct access **ap)
{
	struct access *x = calloc(1, sizeof(*x));
	struct buf scratch;
	struct jread j;
	int err;

	if (x == NULL)
		return ERR_NOMEM;
	x->admin_only = text == NULL && default_admin_only;
	/* Of each three bytes, `"",`, may come an entry. */
	if ((err = arena_new(16 * len + 65536, &x->arena)) == 0 && text != NULL) {
		buf_init(&scratch, len + 1);
		jread_init(&j, text, len);
		err = parse_object(&j, x, &scratch);
		buf_release(&scratch);
	}
	if (err) {
		access_free(x);
		return err == ERR_NOMEM ? err : ERR_CORRUPT;
	}
	*ap = x;
	return 0;
}

void
access_free(struct access *x)
{
	if (x == NULL)
		return;
	arena_free(x->arena);
	free(x);
}

/* ---- Checking ---- */

static int
has(const struct entry *list, const char *s)
{
	size_t len = strlen(s);

	for (; list != NULL; list = list->next)
		if (list->text.len == len && memcmp(list->text.s, s, len) == 0)
			return 1;
	return 0;
}

static int
listed(const struct access *x, enum group g, const struct principal *who)
{
	if (who->name != NULL && has(x->names[g], who->name))
		return 1;
	for (size_t i = 0; i < who->nroles; i++)
		if (has(x->roles[g], who->roles[i]))
			return 1;
	return 0;
}

int
access_check(const struct access *x, const struct principal *who, int *adminp)
{
	*adminp = who->server_admin || listed(x, ADMINS, who);
	if (*adminp)
		return 0;
	if (!x->admin_only && x->names[MEMBERS] == NULL && x->roles[MEMBERS] == NULL)
		return 0;
	if (!x->admin_only && listed(x, MEMBERS, who))
		return 0;
	return who->name == NULL ? ERR_UNAUTHORIZED : ERR_FORBIDDEN;
}

int
access_refusal(const struct principal *who)
{
	return who->name == NULL ? ERR_NOT_DB_ADMIN : ERR_NOT_DB_ADMIN_NAMED;
}

int
access_now(const struct db *db, struct db_asker *by)
{
	struct dbfile *f = db->file;
	int err;

	*by = db->by;
	if (f->dropped)
		return ERR_NO_DB;
	if (db->security_stamp == f->security_stamp)
		return 0;
	(void)pthread_mutex_lock(&f->lock);
	err = access_check(f->access, by->who, &by->is_admin);
	(void)pthread_mutex_unlock(&f->lock);
	return err;
}

int
db_principal_copy(struct arena *a, const struct principal *from, struct principal *to)
{
	const char **roles = arena_calloc(a, from->nroles + 1, sizeof(*roles));
	size_t i;

	*to = *from;
	if (roles == NULL)
		return ERR_NOMEM;
	for (i = 0; i < from->nroles; i++)
		if ((roles[i] = arena_dup(a, from->roles[i], strlen(from->roles[i]))) == NULL)
			return ERR_NOMEM;
	to->roles = roles;
	if (from->name != NULL && (to->name = arena_dup(a, from->name, strlen(from->name))) == NULL)
		return ERR_NOMEM;
	return 0;
}
