/*
 * peruser.c: a database for each user.
 *
 * One job at a time walks the changes of the database of accounts, a batch of ids in a snapshot, then
 * user by user: makes the database, puts the user into its security object, or undoes that.  What is done is
 * noted in a _local document of the database of accounts at the end of the walk, with the prefix it was
 * done with, and the databases that could not be opened or changed:
 *
 *	{"seq":"12-opaque","prefix":"userdb-","passed_over":["userdb-6b696d"]}
 *
 *	idle --peruser_look--> walk --batch--> user --(security written)--> user ... --> walk --no more--> note --> idle
 *	                        ^                 |
 *	                        `---5 s later-----+ what passes is waited for
 *
 * 1. Every step may be repeated.  What a crash cut off is done again after the start, because the
 *    note is written after the last step.
 * 2. A start looks at all users, whatever the note says, but where it says done only for a database
 *    that is not there: such a user costs a look at the table of files, and no file is opened.
 * 3. A database is made with its user in its security object: one that is there needs nothing more.
 * 4. Of a deletion only what came behind the note counts: whoever enables this does not lose the
 *    databases of users who were deleted before.  The first walk may end in the middle, so it begins with
 *    a note from where on deletions count: "since" stands there instead of "seq".
 * 5. A database that is damaged keeps no other user from his turn.  It is tried again when its user changes, and
 *    at the next start.  The note names it: of others what it says is done is not done again, for a name may have been
 *    taken out by hand since.
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
#include <string.h>

#define BATCH 16u
#define OVER_MAX 256u
#define RETRY_MS 5000u
#define NOTE "_local/couch_peruser"
#define NOTE_MAX (1u << 20)
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
	int first;              /* 1: that is to be noted before anything is done */
	char *over[OVER_MAX];   /* databases that were passed over */
	size_t nover;
	int over_changed;                     /* 1: the note has others */
	char database[LIMIT_DB_NAME_LEN + 1]; /* the user's who is looked at */
	uint64_t incarnation;                 /* of the database of accounts */
	char prefix[LIMIT_DB_NAME_LEN + 1];
	int delete_dbs;
	int failing; /* 1: it was logged */
};

static void walk(void *arg);
static void submit_walk(struct peruser *p);
static void next_user(struct peruser *p);
static void finish(struct peruser *p, int err);

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

/* ---- Those that are passed over ---- */

static size_t
find_over(const struct peruser *p, const char *database)
{
	size_t i;

	for (i = 0; i < p->nover && strcmp(p->over[i], database) != 0; i++)
		;
	return i;
}

static int
add_over(struct peruser *p, const char *database)
{
	if (find_over(p, database) < p->nover || p->nover == OVER_MAX)
		return 0;
	p->over[p->nover] = strdup(database);
	if (!p->over[p->nover])
		return ERR_NOMEM;
	p->nover++;
	p->over_changed = 1;
	return 0;
}

static void
remove_over(struct peruser *p, const char *database)
{
	size_t i = find_over(p, database);

	if (i == p->nover)
		return;
	free(p->over[i]);
	p->over[i] = p->over[--p->nover];
	p->over_changed = 1;
}

static void
forget_over(struct peruser *p)
{
	while (p->nover > 0)
		free(p->over[--p->nover]);
	p->over_changed = 0;
}

/* What passes is waited for, with all who come behind. */
static int
passes(int err)
{
	return err == ERR_NOMEM || err == ERR_BUSY || err == ERR_NOSPACE || err == ERR_READONLY ||
	       err == ERR_IN_DOUBT || err == ERR_SHUTDOWN;
}

/* ${err} came of the user's database.  Returns what ends the walk. */
static int
outcome(struct peruser *p, int err)
{
	if (passes(err))
		return err;
	if (!err) {
		remove_over(p, p->database);
		return 0;
	}
	log_line(LOG_ERROR, "couch_peruser: database %s: %s; it is passed over until its user changes%s", p->database,
	    err_reason(err), p->nover < OVER_MAX ? ", or the next start" : "");
	return add_over(p, p->database);
}

/* ---- The note ---- */

/* The value of a member; len 0: none. */
static int
member_of(const struct jstr *note, const char *key, struct jstr *valuep)
{
	struct buf scratch;
	struct jread j;
	int err;

	*valuep = (struct jstr){NULL, 0};
	buf_init(&scratch, note->len + API_SCRATCH);
	jread_init(&j, note->s, note->len);
	err = jread_find(&j, &scratch, (struct jstr){key, strlen(key)});
	if (!err)
		err = jread_skip(&j, valuep);
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

/* *${seqp}: 0 where there is none that holds. */
static int
read_seq(struct peruser *p, struct db_snap *snap, const struct jstr *note, const char *key, uint64_t *seqp)
{
	struct jstr seq = {NULL, 0};
	uint64_t now;
	int err = member_of(note, key, &seq);

	*seqp = 0;
	if (err || seq.len == 0 || (err = db_snap_seq(snap, &now)) != 0)
		return err;
	err = userdoc_string(&seq, p->users.arena, &seq);
	if (!err)
		err = db_seq_parse(p->users.db, seq.s, seq.len, seqp);
	/* Who may write there could promise that all deletions to come were seen to. */
	if (err || *seqp > now)
		*seqp = 0;
	return err;
}

static int
read_over(struct peruser *p, const struct jstr *note)
{
	struct jstr list, name;
	struct buf scratch;
	struct jread j;
	int err = member_of(note, "passed_over", &list);

	if (err || list.len == 0)
		return err;
	buf_init(&scratch, list.len + API_SCRATCH);
	jread_init(&j, list.s, list.len);
	err = jread_array_begin(&j);
	while (!err && (err = jread_array_next(&j)) == 0) {
		buf_clear(&scratch);
		err = jread_string(&j, &scratch, &name);
		if (!err && dbs_name_check(name.s, name.len, NULL) == 0) {
			char database[LIMIT_DB_NAME_LEN + 1];

			snprintf(database, sizeof(database), "%.*s", (int)name.len, name.s);
			err = add_over(p, database);
		}
	}
	buf_release(&scratch);
	p->over_changed = 0;
	return err == ERR_END ? 0 : err;
}

static int
read_note(struct peruser *p, struct db_snap *snap, uint64_t *sincep)
{
	struct arena *a = p->users.arena;
	struct jstr body, prefix = {NULL, 0};
	uint64_t rev;
	int err = db_local_get(snap, NOTE, strlen(NOTE), a, &rev, &body);

	p->noted = *sincep = 0;
	if (!err)
		err = member_of(&body, "prefix", &prefix);
	if (!err)
		err = userdoc_string(&prefix, a, &prefix);
	if (!err && jstr_is(&prefix, p->prefix)) {
		err = read_seq(p, snap, &body, "seq", &p->noted);
		if (!err)
			err = read_seq(p, snap, &body, "since", sincep);
		if (!err)
			err = read_over(p, &body);
	}
	/* One that somebody wrote by hand, or that is damaged, is none. */
	return err == ERR_MISSING || err == ERR_BAD_REQUEST || err == ERR_BAD_JSON || err == ERR_CORRUPT ? 0 : err;
}

static void
note_written(struct background *b)
{
	struct peruser *p = (struct peruser *)(void *)((char *)b - offsetof(struct peruser, users));
	int err = b->w.err;

	if (!err && p->first) {
		p->first = 0;
		submit_walk(p);
		return;
	}
	if (!err) {
		p->noted = p->seq;
		p->over_changed = 0;
	} else if (p->over_changed) {
		/* What fails here, too, was no fault of those databases. */
		pthread_mutex_lock(&p->lock);
		p->anew = 1;
		pthread_mutex_unlock(&p->lock);
	}
	finish(p, err);
}

static int
write_note(struct peruser *p)
{
	struct buf text;
	int err;

	buf_init_arena(&text, p->users.arena, NOTE_MAX);
	buf_puts(&text, p->first ? "{\"since\":\"" : "{\"seq\":\"");
	db_seq_put(p->users.db, &text, p->first ? p->deleted_since : p->seq);
	buf_puts(&text, "\",\"prefix\":");
	buf_put_json(&text, p->prefix, strlen(p->prefix));
	for (size_t i = 0; i < p->nover; i++) {
		buf_puts(&text, i > 0 ? "," : ",\"passed_over\":[");
		buf_put_json(&text, p->over[i], strlen(p->over[i]));
	}
	buf_puts(&text, p->nover > 0 ? "]}" : "}");
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
	err = outcome(p, err == ERR_NO_DB ? 0 : err);
	if (err) {
		finish(p, err);
		return;
	}
	p->seq = p->batch[p->i++].seq;
	next_user(p);
}

/* ERR_AGAIN: the write is on its way. */
static int
set_security(struct peruser *p, const struct subject *s)
{
	struct buf now, then;
	int changed = 0, err = background_open(&p->own, p->api, p->database);

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

/* Invariant 3. */
static int
make(struct peruser *p, const struct subject *s)
{
	const char *now = dbs_default_security(p->api->dbs);
	struct db_options options = {0};
	struct errtext why = {""};
	struct buf then;
	int changed, err;

	buf_init_arena(&then, p->users.arena, SECURITY_MAX);
	err = peruser_security((struct jstr){now, strlen(now)}, s->name, 1, &then, &changed);
	if (err)
		return err;
	options.security = (struct jstr){then.data, then.len};
	return dbs_create(p->api->dbs, p->database, &options, background_server(), &why);
}

/* ${name}'s database into p->database.  ERR_ILLEGAL_DB_NAME: there can be none. */
static int
name_database(struct peruser *p, const struct jstr *name, struct errtext *why)
{
	struct buf b;
	int err;

	buf_init_arena(&b, p->users.arena, 2u * LIMIT_ID_LEN + sizeof(p->prefix));
	err = peruser_database(p->prefix, name->s, name->len, &b);
	if (!err)
		err = dbs_name_check(b.data, b.len - 1, why);
	if (!err)
		memcpy(p->database, b.data, b.len);
	return err;
}

static int
do_user(struct peruser *p, const struct subject *s)
{
	struct errtext why = {""};
	int done, err;

	if (s->name.len == 0)
		return 0;
	err = name_database(p, &s->name, &why);
	if (err == ERR_ILLEGAL_DB_NAME) {
		log_line(LOG_WARNING, "couch_peruser: %s", why.text);
		return 0;
	}
	if (err)
		return err;
	done = s->seq <= (s->deleted ? p->deleted_since : p->noted) && find_over(p, p->database) == p->nover;
	if (s->deleted && done)
		return 0;
	if (s->deleted && p->delete_dbs) {
		err = dbs_drop(p->api->dbs, p->database, background_server());
		return outcome(p, err == ERR_NO_DB ? 0 : err);
	}
	if (!s->deleted) {
		err = make(p, s);
		/* Of the folder: nobody's alone. */
		if (err == ERR_IO)
			return err;
		if (err != ERR_DB_EXISTS || done)
			return outcome(p, err == ERR_DB_EXISTS ? 0 : err);
	}
	err = set_security(p, s);
	return err == ERR_AGAIN ? err : outcome(p, err);
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

/* What is no user's document has no name, and is walked by; so is a damaged row, which the log has. */
static int
add_subject(struct peruser *p, const struct db_change *c, int damaged)
{
	const size_t prefix = strlen(USERDOC_PREFIX);
	struct subject *s = &p->batch[p->n++];

	*s = (struct subject){.name = {"", 0}, .seq = c->seq};
	if (damaged || c->id.len <= prefix || memcmp(c->id.s, USERDOC_PREFIX, prefix) != 0)
		return 0;
	s->deleted = c->deleted;
	s->name.len = c->id.len - prefix;
	s->name.s = arena_dup(p->users.arena, c->id.s + prefix, s->name.len);
	return s->name.s ? 0 : ERR_NOMEM;
}

static int
read_batch(struct peruser *p, struct db_snap *snap)
{
	struct db_change c = {.seq = p->seq};
	struct db_scan *scan = NULL;
	int err = db_changes_open(snap, p->seq, 0, &scan);

	p->n = p->i = 0;
	while (!err && p->n < BATCH) {
		uint64_t before = c.seq;
		int damaged;

		err = db_changes_next(scan, p->users.arena, &c);
		damaged = err == ERR_CORRUPT && c.seq > before;
		if (!err || damaged)
			err = add_subject(p, &c, damaged);
	}
	if (scan)
		db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

/* All users are looked at, with the settings as they are now. */
static int
begin(struct peruser *p, struct db_snap *snap)
{
	const struct config *c = p->api->config;
	uint64_t since, now;
	int err = db_snap_seq(snap, &now);

	if (err)
		return err;
	forget_over(p);
	snprintf(p->prefix, sizeof(p->prefix), "%s", config_get(c, "couch_peruser", "database_prefix", "userdb-"));
	p->incarnation = db_incarnation(p->users.db);
	p->seq = 0;
	err = read_note(p, snap, &since);
	p->first = p->noted == 0 && since == 0;
	p->deleted_since = p->first ? now : p->noted > 0 ? p->noted : since;
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
	if (!err && p->n > 0 && !p->first) {
		next_user(p);
		return;
	}
	if (!err && (p->first || p->seq > p->noted || p->over_changed)) {
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
		p->running = p->waiting = 0;
	while (p->running)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

void
peruser_free(struct peruser *p)
{
	if (!p)
		return;
	forget_over(p);
	pthread_cond_destroy(&p->idle);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
