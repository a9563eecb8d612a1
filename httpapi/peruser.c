/*
 * peruser.c: a database for each user.
 *
 * One job at a time walks the changes of the database of accounts, a batch of ids in a snapshot, then
 * user by user: makes the database, puts the user into its security object, or undoes that.  What is done is
 * noted in a _local document of the database of accounts at the end of the walk, with the prefix it was
 * done with:
 *
 *	{"seq":"12-opaque","prefix":"userdb-"}
 *
 *	idle --peruser_look--> walk --batch--> user --(security written)--> user ... --> walk --no more--> note --> idle
 *	                        ^                 |
 *	                        `---5 s later-----+ what went wrong is tried again
 *
 * 1. Every step may be repeated.  What a crash cut off is done again after the start, because the
 *    note is written after the last step.
 * 2. A start looks at all users, whatever the note says, but where it says done only for a database
 *    that is not there: such a user costs a look at the table of files, and no file is opened.
 * 3. Of a deletion only what came behind the note counts: whoever enables this does not lose the
 *    databases of users who were deleted before.
 */
#include "peruser.h"
#include "background.h"
#include "userdoc.h"
#include "users.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH 16u
#define RETRY_MS 5000u
#define NOTE "_local/couch_peruser"
#define SECURITY_MAX (16u << 20)

struct subject {
	struct jstr name;
	uint64_t seq;
	int deleted;
};

struct peruser {
	struct api *api;
	struct exec_job job;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	int running;  /* 1: the job is somewhere */
	int waiting;  /* 1: for its time, to try again */
	int again;    /* there is more since it began */
	int anew;     /* and all users are to be looked at */
	int stopping; /* 1: it ends at the next step */

	/* The job's own. */
	struct background users; /* the database of accounts, open while a batch is walked */
	struct background own;   /* a user's database, while its security object is written */
	struct subject batch[BATCH];
	size_t n, i;
	uint64_t seq;           /* what was walked to */
	uint64_t noted;         /* what the note says was done */
	uint64_t deleted_since; /* deletions up to here are nobody's business */
	uint64_t incarnation;   /* of the database of accounts */
	char prefix[LIMIT_DB_NAME_LEN + 1];
	int delete_dbs;
	int failing; /* 1: it was logged */
};

static void walk(void *arg);
static void next_user(struct peruser *p);
static void finish(struct peruser *p, int err);

/* ---- Names and security objects ---- */

int
peruser_database(const char *prefix, const char *name, size_t len, struct buf *b)
{
	char hex[2];

	buf_puts(b, prefix);
	for (size_t i = 0; i < len; i++) {
		hex_encode(name + i, 1, hex);
		buf_put(b, hex, 2);
	}
	return buf_putc(b, '\0');
}

/* The array ${names} with ${name} in front, as CouchDB has it, or without it; what is no array is an empty one. */
static int
put_names(struct jstr names, const struct jstr *name, int add, struct buf *out, int *changedp)
{
	struct buf scratch, rest;
	struct jstr span, s;
	struct jread j;
	int err, found = 0;

	if (names.len == 0 || names.s[0] != '[')
		names = (struct jstr){"[]", 2};
	buf_init(&scratch, names.len + API_SCRATCH);
	buf_init(&rest, names.len);
	jread_init(&j, names.s, names.len);
	err = jread_array_begin(&j);
	while (!err && (err = jread_array_next(&j)) == 0) {
		struct jread at = j;
		int is = jread_peek(&at) == JREAD_STRING && !jread_string(&at, &scratch, &s) && s.len == name->len &&
			 memcmp(s.s, name->s, s.len) == 0;

		found |= is;
		err = jread_skip(&j, &span);
		if (!err && (add || !is)) {
			buf_puts(&rest, rest.len > 0 ? "," : "");
			buf_put(&rest, span.s, span.len);
		}
	}
	buf_putc(out, '[');
	if (add && !found) {
		buf_put_json(out, name->s, name->len);
		buf_puts(out, rest.len > 0 ? "," : "");
	}
	buf_put(out, rest.data, rest.len);
	buf_putc(out, ']');
	if (err == ERR_END)
		err = buf_failed(&rest);
	*changedp |= add ? !found : found;
	buf_release(&scratch);
	buf_release(&rest);
	return err;
}

static int
is_another(const void *cookie, const struct jstr *key)
{
	return !jstr_is(key, cookie);
}

static int
is_rest(const void *cookie, const struct jstr *key)
{
	(void)cookie;
	return !jstr_is(key, "admins") && !jstr_is(key, "members");
}

/* The value of member ${key} of an object; len 0: none. */
static int
member_of(const struct jstr *object, const char *key, struct jstr *valuep)
{
	struct buf scratch;
	struct jstr name, span;
	struct jread j;
	int err;

	*valuep = (struct jstr){NULL, 0};
	buf_init(&scratch, object->len + API_SCRATCH);
	jread_init(&j, object->s, object->len);
	err = jread_object_begin(&j);
	while (!err && (err = jread_object_next(&j, &scratch, &name)) == 0) {
		int is = jstr_is(&name, key);

		err = jread_skip(&j, &span);
		if (!err && is)
			*valuep = span;
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static int
is_no_list(const void *cookie, const struct jstr *key)
{
	(void)cookie;
	return !jstr_is(key, "names") && !jstr_is(key, "roles");
}

/* A group that names nobody means everybody: a database that has lost its user is the administrators'. */
static int
put_group(const struct jstr *group, const struct jstr *name, int add, struct buf *out, int *changedp)
{
	struct jstr object = group->len > 0 && group->s[0] == '{' ? *group : (struct jstr){"{}", 2};
	struct jstr names = {"", 0}, roles = {"", 0};
	struct buf list;
	int err = member_of(&object, "names", &names), left, changed = 0;

	buf_init(&list, names.len + 8 * name->len + 64);
	if (!err)
		err = member_of(&object, "roles", &roles);
	if (!err)
		err = put_names(names, name, add, &list, &changed);
	left = add || !changed || list.len > 2 || (roles.len > 2 && roles.s[0] == '[');
	buf_putc(out, '{');
	if (!err)
		err = userdoc_copy(object, left ? is_another : is_no_list, "names", out);
	if (!err) {
		buf_puts(out, out->data[out->len - 1] == '{' ? "" : ",");
		buf_puts(out, left ? "\"names\":" : "\"roles\":[\"_admin\"],\"names\":");
		buf_put(out, list.data, list.len);
		buf_putc(out, '}');
		err = buf_failed(&list) ? buf_failed(&list) : buf_failed(out);
	}
	*changedp |= changed;
	buf_release(&list);
	return err;
}

int
peruser_security(struct jstr text, struct jstr name, int add, struct buf *out, int *changedp)
{
	struct jstr admins, members;
	int err = member_of(&text, "admins", &admins), in_members = 0;

	*changedp = 0;
	if (!err)
		err = member_of(&text, "members", &members);
	if (err)
		return err;
	buf_puts(out, "{\"admins\":");
	err = put_group(&admins, &name, add, out, changedp);
	buf_puts(out, ",\"members\":");
	if (!err)
		err = put_group(&members, &name, add, out, &in_members);
	*changedp |= in_members;
	if (!err)
		err = userdoc_copy(text, is_rest, NULL, out);
	buf_putc(out, '}');
	return err ? err : buf_failed(out);
}

/* ---- The note ---- */

/* *${seqp}: 0 where there is none that holds. */
static int
read_note(struct peruser *p, struct db_snap *snap, uint64_t *seqp)
{
	struct arena *a = p->users.arena;
	struct jstr body, seq = {NULL, 0}, prefix = {NULL, 0};
	uint64_t rev;
	int err = db_local_get(snap, NOTE, strlen(NOTE), a, &rev, &body);

	*seqp = 0;
	if (!err)
		err = member_of(&body, "seq", &seq);
	if (!err)
		err = member_of(&body, "prefix", &prefix);
	if (!err)
		err = userdoc_string(&seq, a, &seq);
	if (!err)
		err = userdoc_string(&prefix, a, &prefix);
	if (!err && jstr_is(&prefix, p->prefix))
		err = db_seq_parse(p->users.db, seq.s, seq.len, seqp);
	/* Who may write there could promise that all deletions to come were seen to. */
	if (*seqp > db_snap_seq(snap))
		*seqp = 0;
	/* One that somebody wrote by hand is none. */
	return err == ERR_MISSING || err == ERR_BAD_REQUEST || err == ERR_BAD_JSON ? 0 : err;
}

static void
note_written(struct background *b)
{
	struct peruser *p = (struct peruser *)(void *)((char *)b - offsetof(struct peruser, users));

	if (!b->w.err)
		p->noted = p->seq;
	finish(p, b->w.err);
}

static int
write_note(struct peruser *p)
{
	struct buf text;
	int err;

	buf_init_arena(&text, p->users.arena, 4096);
	buf_puts(&text, "{\"seq\":\"");
	db_seq_put(p->users.db, &text, p->seq);
	buf_puts(&text, "\",\"prefix\":");
	buf_put_json(&text, p->prefix, strlen(p->prefix));
	buf_putc(&text, '}');
	err = buf_failed(&text);
	if (err)
		return err;
	p->users.w =
	    (struct db_write){.kind = DB_WRITE_LOCAL, .id = {NOTE, strlen(NOTE)}, .body = {text.data, text.len}};
	background_submit(&p->users, note_written);
	return 0;
}

/* ---- One user ---- */

static void
security_written(struct background *b)
{
	struct peruser *p = (struct peruser *)(void *)((char *)b - offsetof(struct peruser, own));
	int err = b->w.err;

	background_close(b);
	if (err && err != ERR_NO_DB) {
		finish(p, err);
		return;
	}
	p->seq = p->batch[p->i++].seq;
	next_user(p);
}

/* ERR_AGAIN: the write is on its way. */
static int
set_security(struct peruser *p, const char *database, const struct subject *s)
{
	struct buf now, then;
	int changed = 0, err = background_open(&p->own, p->api, database);

	if (err)
		return err == ERR_NO_DB ? 0 : err;
	buf_init_arena(&now, p->own.arena, SECURITY_MAX);
	buf_init_arena(&then, p->own.arena, SECURITY_MAX);
	err = db_security(p->own.db, &now);
	if (!err)
		err = peruser_security((struct jstr){now.data, now.len}, s->name, !s->deleted, &then, &changed);
	if (err || !changed) {
		background_close(&p->own);
		return err;
	}
	p->own.w = (struct db_write){.kind = DB_WRITE_SECURITY, .body = {then.data, then.len}};
	background_submit(&p->own, security_written);
	return ERR_AGAIN;
}

static int
do_user(struct peruser *p, const struct subject *s)
{
	struct errtext why = {""};
	struct buf b;
	int err;

	if (s->name.len == 0 || (s->deleted && s->seq <= p->deleted_since))
		return 0;
	buf_init_arena(&b, p->users.arena, 2u * LIMIT_ID_LEN + sizeof(p->prefix));
	err = peruser_database(p->prefix, s->name.s, s->name.len, &b);
	if (err)
		return err;
	if (dbs_name_check(b.data, b.len - 1, &why)) {
		log_line(LOG_WARNING, "couch_peruser: %s", why.text);
		return 0;
	}
	if (s->deleted && p->delete_dbs) {
		err = dbs_drop(p->api->dbs, b.data, background_server());
		return err == ERR_NO_DB ? 0 : err;
	}
	if (!s->deleted) {
		err = dbs_create(p->api->dbs, b.data, NULL, background_server(), &why);
		if (err == ERR_DB_EXISTS && s->seq <= p->noted)
			return 0;
		if (err && err != ERR_DB_EXISTS)
			return err;
	}
	return set_security(p, b.data, s);
}

/* ---- The walk ---- */

static int
is_stopping(struct peruser *p)
{
	int yes;

	pthread_mutex_lock(&p->lock);
	yes = p->stopping;
	pthread_mutex_unlock(&p->lock);
	return yes;
}

static void
submit_walk(struct peruser *p)
{
	p->job = (struct exec_job){.fn = walk, .arg = p};
	p->api->ex->submit(p->api->ex, &p->job);
}

static void
finish(struct peruser *p, int err)
{
	struct executor *ex = p->api->ex;

	background_close(&p->own);
	background_close(&p->users);
	if (err && !p->failing)
		log_line(LOG_ERROR, "couch_peruser: %s; it is tried again", err_reason(err));
	p->failing = err != 0;
	pthread_mutex_lock(&p->lock);
	if (p->stopping || (!err && !p->again)) {
		p->running = 0;
		pthread_cond_broadcast(&p->idle);
	} else if (err) {
		p->waiting = 1;
		p->job = (struct exec_job){.fn = walk, .arg = p};
		ex->later(ex, &p->job, RETRY_MS);
	} else {
		submit_walk(p);
	}
	pthread_mutex_unlock(&p->lock);
}

static void
next_user(struct peruser *p)
{
	int err = 0;

	while (p->i < p->n && !is_stopping(p)) {
		err = do_user(p, &p->batch[p->i]);
		if (err == ERR_AGAIN)
			return;
		if (err)
			break;
		p->seq = p->batch[p->i++].seq;
	}
	if (err || p->i < p->n)
		finish(p, err);
	else
		submit_walk(p);
}

static int
read_batch(struct peruser *p, struct db_snap *snap)
{
	const size_t prefix = strlen(USERDOC_PREFIX);
	struct db_scan *scan;
	struct db_change c;
	int err = db_changes_open(snap, p->seq, 0, &scan);

	p->n = p->i = 0;
	if (err)
		return err;
	while (p->n < BATCH && (err = db_changes_next(scan, p->users.arena, &c)) == 0) {
		struct subject *s = &p->batch[p->n];

		/* What is no user's document has no name, and is walked by. */
		s->seq = c.seq;
		s->name = (struct jstr){"", 0};
		s->deleted = c.deleted;
		if (c.id.len > prefix && memcmp(c.id.s, USERDOC_PREFIX, prefix) == 0)
			s->name = (struct jstr){
			    arena_dup(p->users.arena, c.id.s + prefix, c.id.len - prefix), c.id.len - prefix};
		if (!s->name.s) {
			err = ERR_NOMEM;
			break;
		}
		p->n++;
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

/* All users are looked at, with the settings as they are now. */
static int
begin(struct peruser *p, struct db_snap *snap)
{
	const struct config *c = p->api->config;
	int err;

	snprintf(p->prefix, sizeof(p->prefix), "%s", config_get(c, "couch_peruser", "database_prefix", "userdb-"));
	p->incarnation = db_incarnation(p->users.db);
	p->seq = 0;
	err = read_note(p, snap, &p->noted);
	p->deleted_since = p->noted > 0 ? p->noted : db_snap_seq(snap);
	return err;
}

static int
read_users(struct peruser *p, int anew)
{
	struct db_snap *snap;
	int err = db_snap_begin(p->users.db, &snap);

	if (err)
		return err;
	p->delete_dbs = config_bool(p->api->config, "couch_peruser", "delete_dbs", 0);
	if (anew || p->incarnation != db_incarnation(p->users.db))
		err = begin(p, snap);
	if (!err)
		err = read_batch(p, snap);
	db_snap_end(snap);
	return err;
}

static void
walk(void *arg)
{
	struct peruser *p = arg;
	int anew, stopping, err;

	pthread_mutex_lock(&p->lock);
	p->waiting = p->again = 0;
	anew = p->anew;
	p->anew = 0;
	stopping = p->stopping;
	pthread_mutex_unlock(&p->lock);
	background_close(&p->users);
	if (stopping || !config_bool(p->api->config, "couch_peruser", "enable", 0)) {
		finish(p, 0);
		return;
	}
	err = background_open(&p->users, p->api, users_database(p->api->config));
	if (!err)
		err = read_users(p, anew);
	if (err && anew) {
		pthread_mutex_lock(&p->lock);
		p->anew = 1;
		pthread_mutex_unlock(&p->lock);
	}
	if (!err && p->n > 0) {
		next_user(p);
		return;
	}
	if (!err && p->seq > p->noted) {
		err = write_note(p);
		if (!err)
			return;
	}
	finish(p, err == ERR_NO_DB ? 0 : err);
}

/* ---- Life ---- */

int
peruser_new(struct api *api, struct peruser **pp)
{
	struct peruser *p = calloc(1, sizeof(*p));

	if (!p)
		return ERR_NOMEM;
	p->api = api;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->idle, NULL);
	*pp = p;
	return 0;
}

void
peruser_look(struct peruser *p, int anew)
{
	struct executor *ex = p->api->ex;

	pthread_mutex_lock(&p->lock);
	p->anew |= anew;
	if (!config_bool(p->api->config, "couch_peruser", "enable", 0) || p->stopping) {
		pthread_mutex_unlock(&p->lock);
		return;
	}
	p->again = 1;
	if (!p->running || (p->waiting && anew && ex->cancel(ex, &p->job))) {
		p->running = 1;
		p->waiting = 0;
		submit_walk(p);
	}
	pthread_mutex_unlock(&p->lock);
}

void
peruser_stop(struct peruser *p)
{
	struct executor *ex = p->api->ex;

	pthread_mutex_lock(&p->lock);
	p->stopping = 1;
	if (p->waiting && ex->cancel(ex, &p->job))
		p->running = 0;
	while (p->running)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void
peruser_free(struct peruser *p)
{
	if (!p)
		return;
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
