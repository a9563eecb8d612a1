/*
 * documents.c: replications that documents describe: `_replicator` and databases whose names end in "/_replicator".
 *
 * Each such database is watched: a job reads the changes since it last looked. What a document describes becomes a job of the
 * scheduler, and goes with it; one that is purged leaves no change behind, so purges are read as well. When a replication is done,
 * or can't be done, its document is told so, and is not run again unless that is taken out of it.
 *
 *  1. One reader per database at a time; what comes meanwhile makes it read again, and so does a failure, after a rest.
 *  2. A document is told only if it still is the revision that was run.
 */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "db/doc.h"

#define MEMORY ((size_t)64 << 20)

static const char *const server_roles[] = {"_replicator"};
static const struct principal server = {.roles = server_roles, .nroles = 1, .server_admin = 1};

int
replicator_is_database(const char *name, size_t len)
{
	static const char word[] = "_replicator";
	size_t n = sizeof(word) - 1;

	return len >= n && memcmp(name + len - n, word, n) == 0 && (len == n || name[len - n - 1] == '/');
}

/* ---- Bodies ---- */

/* What a document says of itself: member ${name}, a string or anything else as text; empty: not there.  Errors: ERR_NOMEM. */
static int
member(struct arena *a, struct jstr body, const char *name, struct jstr *out)
{
	struct buf scratch;
	struct jread j;
	int err;

	*out = (struct jstr){"", 0};
	buf_init_arena(&scratch, a, MEMORY);
	jread_init(&j, body.s, body.len);
	err = jread_find(&j, &scratch, (struct jstr){name, strlen(name)});
	if (err == 0 && jread_skip(&j, out) != 0)
		*out = (struct jstr){"", 0};
	return err == ERR_NOMEM ? err : 0;
}

static int
is_own(const struct jstr *key)
{
	static const char prefix[] = "_replication_";

	return key->len >= sizeof(prefix) - 1 && memcmp(key->s, prefix, sizeof(prefix) - 1) == 0;
}

/* The object ${body} without what the replicator has put there, and without its end. */
static int
put_without_own(struct arena *a, struct jstr body, struct buf *b)
{
	struct jstr key, value;
	struct buf scratch;
	struct jread j;
	int err;

	buf_init_arena(&scratch, a, MEMORY);
	jread_init(&j, body.s, body.len);
	buf_putc(b, '{');
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		int own = is_own(&key);

		if (!own) {
			if (b->data[b->len - 1] != '{')
				buf_putc(b, ',');
			buf_put_json(b, key.s, key.len);
			buf_putc(b, ':');
		}
		err = jread_skip(&j, &value);
		if (err == 0 && !own)
			buf_put(b, value.s, value.len);
	}
	return err == ERR_END ? buf_failed(b) : err;
}

/* ---- Telling a document ---- */

struct telling {
	struct job *job;
	struct arena *arena;
	struct db *db;
	struct doc_in in;
	struct db_write write;
	struct db_request req;
};

static void
told(struct telling *t, int err)
{
	struct job *j = t->job;

	if (t->db != NULL)
		db_close(t->db);
	arena_free(t->arena);
	free(t);
	job_told(j, err);
}

static void
submitted(struct db_request *req)
{
	struct telling *t = req->cookie;

	told(t, t->write.err);
}

static int
put_state(const struct job *j, struct buf *b)
{
	if (b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_printf(b, "\"_replication_state\":\"%s\",\"_replication_state_time\":",
	    j->state == JOB_COMPLETED ? "completed" : "failed");
	report_time(b, j->updated_us);
	if (j->state == JOB_COMPLETED) {
		buf_puts(b, ",\"_replication_stats\":");
		report_info(j, b);
		b->len--;
		buf_puts(b, ",\"start_time\":");
		report_time(b, j->stats.started_us);
		buf_putc(b, '}');
	} else {
		buf_puts(b, ",\"_replication_state_reason\":");
		buf_put_json(b, j->reason, strlen(j->reason));
	}
	buf_putc(b, '}');
	return buf_failed(b);
}

/* Its attachments stay. */
static int
keep_atts(struct telling *t, const struct db_rev *rev)
{
	size_t i;

	if ((t->write.atts = arena_calloc(t->arena, rev->natts + 1, sizeof(*t->write.atts))) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < rev->natts; i++) {
		struct db_write_att *att = &t->write.atts[i];

		att->name.s = arena_dup(t->arena, rev->atts[i].name.s, rev->atts[i].name.len);
		att->name.len = rev->atts[i].name.len;
		att->type.s = arena_dup(t->arena, rev->atts[i].type.s, rev->atts[i].type.len);
		att->type.len = rev->atts[i].type.len;
		if (att->name.s == NULL || att->type.s == NULL)
			return ERR_NOMEM;
	}
	t->write.natts = rev->natts;
	return 0;
}

static int
make_edit(struct telling *t, struct db_snap *snap)
{
	const struct job *j = t->job;
	struct errtext why;
	struct db_doc doc;
	struct db_rev rev;
	struct jread read;
	struct buf b;
	int err = db_get(snap, j->doc.s, j->doc.len, t->arena, &doc);

	if (err == 0 && !rev_equal(&doc.winner.rev, &j->doc_rev))
		err = ERR_CHANGED;
	if (err == 0)
		err = db_doc_rev(&doc, &doc.winner, t->arena, &rev);
	buf_init_arena(&b, t->arena, MEMORY);
	if (err == 0)
		err = put_without_own(t->arena, rev.body, &b);
	if (err == 0)
		err = put_state(j, &b);
	if (err == 0)
		err = keep_atts(t, &rev);
	if (err != 0)
		return err;
	jread_init(&read, b.data, b.len);
	if ((err = doc_parse(&read, t->arena, &t->in, &why)) != 0)
		return err;
	t->write.kind = DB_WRITE_EDIT;
	t->write.id = j->doc;
	t->write.has_parent = 1;
	rev_copy(&t->write.parent, &j->doc_rev);
	t->write.body = t->in.body;
	t->write.body_etf = t->in.body_etf;
	return 0;
}

static void
tell(void *arg)
{
	struct job *j = arg;
	const struct replicator_config *c = &j->r->config;
	struct telling *t = calloc(1, sizeof(*t));
	struct db_snap *snap;
	int err;

	if (t == NULL) {
		job_told(j, ERR_NOMEM);
		return;
	}
	t->job = j;
	err = arena_new(MEMORY, &t->arena);
	if (err == 0)
		err = db_open(c->dbs, j->database.s, &server, &t->db);
	if (err == 0 && (err = db_snap_begin(t->db, &snap)) == 0) {
		err = make_edit(t, snap);
		db_snap_end(snap);
	}
	if (err == 0) {
		t->req = (struct db_request){.writes = &t->write, .nwrites = 1, .done = submitted, .cookie = t};
		if ((err = db_submit(t->db, &t->req)) == 0)
			return;
	}
	told(t, err);
}

void
documents_tell(struct job *j)
{
	struct executor *ex = j->r->config.ex;

	j->launch.fn = tell;
	j->launch.arg = j;
	ex->submit(ex, &j->launch);
}

/* ---- Reading documents ---- */

static int
job_from(
    struct watched *w, const struct db_doc *doc, struct jstr body, struct job **jp, struct errtext *why, int *readp)
{
	struct job *j;
	int err = job_new(w->r, jp);

	if (err != 0)
		return err;
	j = *jp;
	j->database.len = strlen(w->name);
	j->database.s = arena_dup(j->arena, w->name, j->database.len);
	j->doc.len = doc->id.len;
	j->doc.s = arena_dup(j->arena, doc->id.s, doc->id.len);
	j->doc_rev = doc->winner.rev;
	j->doc_rev.id = (unsigned char *)arena_dup(j->arena, doc->winner.rev.id, doc->winner.rev.len);
	if (j->database.s == NULL || j->doc.s == NULL || j->doc_rev.id == NULL) {
		arena_free(j->arena);
		free(j);
		return ERR_NOMEM;
	}
	*readp = job_read(j, body, why);
	return 0;
}

/* One that ended before the server began, or that the document's author says has.  What it says besides is only shown. */
static void
add_ended(struct job *j, struct jstr body, enum job_state state)
{
	struct errtext why = {""};
	struct jstr stats, reason;
	struct jread read;
	struct buf b;

	(void)member(j->arena, body, "_replication_stats", &stats);
	(void)member(j->arena, body, "_replication_state_reason", &reason);
	buf_init_arena(&b, j->arena, MEMORY);
	jread_init(&read, reason.s, reason.len);
	if (reason.len > 0 && jread_peek(&read) == JREAD_STRING && jread_string(&read, &b, &reason) == 0)
		(void)err_why(
		    &why, ERR_OK, "%.*s", (int)(reason.len < ERRTEXT_MAX ? reason.len : ERRTEXT_MAX), reason.s);
	j->told.s = arena_dup(j->arena, stats.s, stats.len);
	j->told.len = j->told.s != NULL ? stats.len : 0;
	job_add_dead(j, state, state == JOB_FAILED ? why.text : "");
}

/* Under the lock: it is to run, if it describes a replication, and no other does that runs.  ERR_NOMEM: it is in no table. */
static int
add_live(struct watched *w, struct job *j, int err, const struct errtext *why)
{
	struct replicator *r = w->r;
	struct executor *ex = r->config.ex;
	uint64_t jitter = r->config.limits.jitter_ms, at;

	if (err != 0) {
		job_add_dead(j, JOB_FAILED, why->text[0] != '\0' ? why->text : err_reason(err));
		r->count.failed++;
		job_tell(j);
		return 0;
	}
	if (w->starting && jitter > 0) {
		ex->random(ex, &at, sizeof(at));
		j->due_ms = ex->now_ms(ex) + at % jitter;
	}
	err = job_add(j);
	/* Its document is not told: the other may go. */
	if (err == ERR_CONFLICT)
		err = job_add_behind(j, "another document or request describes the same replication");
	return err;
}

/* Under the lock: ${j} takes the place of what its document described.  ERR_NOMEM: nothing does. */
static int
add(struct watched *w, struct job *j, struct jstr body, int err, const struct errtext *why)
{
	struct job *old = job_of_doc(w->r, j->database, j->doc);
	struct jstr state;

	/* Without its state one that has ended would run again. */
	if (member(j->arena, body, "_replication_state", &state) != 0) {
		job_remove(j);
		return ERR_NOMEM;
	}
	if (old != NULL && rev_equal(&old->doc_rev, &j->doc_rev)) {
		job_remove(j);
		return 0;
	}
	if (jstr_is(&state, "\"completed\"") || jstr_is(&state, "\"failed\"")) {
		enum job_state is = jstr_is(&state, "\"failed\"") ? JOB_FAILED : JOB_COMPLETED;

		/* What has just been told. */
		if (old != NULL && old->state == is && !old->behind) {
			job_remove(j);
			return 0;
		}
		if (old != NULL)
			job_remove(old);
		add_ended(j, body, is);
		return 0;
	}
	/* Where it is the same replication still, it comes before those that stand behind it. */
	if (old != NULL)
		old->removed = 1;
	if ((err = add_live(w, j, err, why)) != 0)
		job_remove(j);
	if (old != NULL)
		job_remove(old);
	return err;
}

static void
forget(struct watched *w, struct jstr id)
{
	struct jstr name = {w->name, strlen(w->name)};
	struct job *j;

	pthread_mutex_lock(&w->r->lock);
	if ((j = job_of_doc(w->r, name, id)) != NULL)
		job_remove(j);
	pthread_mutex_unlock(&w->r->lock);
}

static int
read_doc(struct watched *w, struct db_snap *snap, struct arena *a, const struct db_change *c)
{
	struct replicator *r = w->r;
	struct errtext why = {""};
	struct db_doc doc;
	struct db_rev rev;
	struct job *j;
	int readable = 0, err = db_get(snap, c->id.s, c->id.len, a, &doc);

	if (doc_id_is_design(c->id))
		return 0;
	if (err == 0 && doc.winner.deleted) {
		forget(w, doc.id);
		return 0;
	}
	if (err == 0)
		err = db_doc_rev(&doc, &doc.winner, a, &rev);
	if (err == 0)
		err = job_from(w, &doc, rev.body, &j, &why, &readable);
	if (err != 0)
		return err;
	pthread_mutex_lock(&r->lock);
	/* What passes is no fault of the document's. */
	if ((err = readable) == ERR_NOMEM || err == ERR_BUSY)
		job_remove(j);
	else
		err = add(w, j, rev.body, readable, &why);
	pthread_mutex_unlock(&r->lock);
	return err;
}

/* Its replications go with a database. */
static void
forget_all(struct watched *w)
{
	struct job *j, *next;

	for (j = w->r->jobs; j != NULL; j = next) {
		next = j->next;
		if (jstr_is(&j->database, w->name) && !j->removed)
			job_remove(j);
	}
}

/* A document that is gone without a trace takes its replication along. */
static int
look_for(struct watched *w, struct db_snap *snap, struct arena *a, struct jstr id)
{
	struct db_doc doc;
	int err = db_get(snap, id.s, id.len, a, &doc);

	if (err == ERR_MISSING)
		forget(w, id);
	return err == ERR_MISSING || err == ERR_CORRUPT ? 0 : err;
}

/* The documents that have jobs. */
static int
list_ids(struct watched *w, struct arena *a, struct jstr **idsp, size_t *np)
{
	struct jstr *ids;
	struct job *j;
	size_t n = 0;
	int err = 0;

	pthread_mutex_lock(&w->r->lock);
	if ((ids = arena_calloc(a, w->r->count.jobs + 1, sizeof(*ids))) == NULL)
		err = ERR_NOMEM;
	for (j = w->r->jobs; j != NULL && err == 0; j = j->next) {
		if (j->removed || !jstr_is(&j->database, w->name))
			continue;
		ids[n] = (struct jstr){arena_dup(a, j->doc.s, j->doc.len), j->doc.len};
		if (ids[n++].s == NULL)
			err = ERR_NOMEM;
	}
	pthread_mutex_unlock(&w->r->lock);
	*idsp = ids;
	*np = n;
	return err;
}

/* Where purges were forgotten before they were read here, each document that has a job is looked for. */
static int
look_for_all(struct watched *w, struct db_snap *snap, struct arena *a)
{
	struct jstr *ids = NULL;
	struct arena *own;
	size_t i, n = 0;
	int err = arena_new(MEMORY, &own);

	if (err != 0)
		return err;
	err = list_ids(w, own, &ids, &n);
	for (i = 0; i < n && err == 0; i++) {
		arena_reset(a);
		err = look_for(w, snap, a, ids[i]);
	}
	arena_free(own);
	return err;
}

static int
follow_purges(struct watched *w, struct db_snap *snap, struct arena *a)
{
	struct db_scan *scan;
	struct db_purge p;
	int err = db_purges_open(snap, w->purged, &scan);

	if (err != 0)
		return err;
	while ((err = db_purges_next(scan, a, &p)) == 0) {
		err = p.seq > w->purged + 1 ? look_for_all(w, snap, a) : look_for(w, snap, a, p.id);
		if (err != 0)
			break;
		w->purged = p.seq;
		arena_reset(a);
	}
	db_scan_close(scan);
	arena_reset(a);
	return err == ERR_END ? 0 : err;
}

/* What is damaged says not whom it was about, and says so each time: it is passed over up to ${known}, a number of purges that ${snap} has. */
static int
read_purges(struct watched *w, struct db_snap *snap, uint64_t known, struct arena *a)
{
	int err = follow_purges(w, snap, a);

	if (err != ERR_CORRUPT)
		return err;
	log_line(LOG_ERROR,
	    "database %s: what is remembered of purges is damaged; each replication's document is looked for", w->name);
	err = look_for_all(w, snap, a);
	arena_reset(a);
	if (err == 0 && w->purged < known)
		w->purged = known;
	return err;
}

/* A damaged row keeps none behind it from its turn; the log has it. */
static int
next_change(struct db_scan *scan, struct arena *a, struct db_change *c)
{
	uint64_t before = c->seq;
	int err;

	while ((err = db_changes_next(scan, a, c)) == ERR_CORRUPT && c->seq > before)
		before = c->seq;
	return err;
}

static int
read_changes(struct watched *w, struct db *db)
{
	struct db_scan *scan = NULL;
	struct db_snap *snap;
	struct db_change c;
	struct db_info info;
	struct arena *a;
	int one, failed, err = db_info(db, &info);

	if (err != 0 || (err = arena_new(MEMORY, &a)) != 0)
		return err;
	if (w->incarnation != db_incarnation(db)) {
		pthread_mutex_lock(&w->r->lock);
		forget_all(w);
		pthread_mutex_unlock(&w->r->lock);
		w->seen = w->purged = 0;
	}
	w->incarnation = db_incarnation(db);
	if ((err = db_snap_begin(db, &snap)) != 0) {
		arena_free(a);
		return err;
	}
	failed = read_purges(w, snap, info.purge_seq, a);
	c.seq = w->seen;
	err = db_changes_open(snap, w->seen, 0, &scan);
	while (err == 0 && (err = next_change(scan, a, &c)) == 0) {
		uint64_t seq = c.seq;

		/* One that cannot be read keeps no other from its turn, and has its own later, unless it is damaged. */
		one = read_doc(w, snap, a, &c);
		if (err_status(one) >= 500 && one != ERR_CORRUPT)
			failed = one;
		if (failed == 0)
			w->seen = seq;
		if (one == ERR_NOMEM)
			err = one;
		arena_reset(a);
	}
	if (scan != NULL)
		db_scan_close(scan);
	db_snap_end(snap);
	arena_free(a);
	return err == ERR_END ? failed : err;
}

static void
read_all(void *arg)
{
	struct watched *w = arg;
	struct replicator *r = w->r;
	struct executor *ex = r->config.ex;
	struct db *db = NULL;
	int err;

	pthread_mutex_lock(&r->lock);
	w->rests = 0;
	pthread_mutex_unlock(&r->lock);
	err = db_open(r->config.dbs, w->name, &server, &db);
	if (err == 0)
		err = read_changes(w, db);
	if (db != NULL)
		db_close(db);
	pthread_mutex_lock(&r->lock);
	w->starting = 0;
	if (err == ERR_NO_DB) {
		forget_all(w);
		err = 0;
	}
	if (r->stopping || (err == 0 && !w->again)) {
		w->busy = 0;
		r->busy--;
	} else if (err == 0) {
		w->again = 0;
		ex->submit(ex, &w->job);
	} else {
		w->rests = 1;
		ex->later(ex, &w->job, r->config.limits.backoff_ms);
	}
	job_schedule(r);
	pthread_cond_broadcast(&r->quiet);
	pthread_mutex_unlock(&r->lock);
}

static struct watched *
watched_of(struct replicator *r, const char *name)
{
	struct watched *w;

	for (w = r->watched; w != NULL; w = w->next)
		if (strcmp(w->name, name) == 0)
			return w;
	if ((w = calloc(1, sizeof(*w))) == NULL || (w->name = strdup(name)) == NULL) {
		free(w);
		return NULL;
	}
	w->r = r;
	w->job.fn = read_all;
	w->job.arg = w;
	w->next = r->watched;
	r->watched = w;
	return w;
}

static void
look(struct replicator *r, const char *name)
{
	struct executor *ex = r->config.ex;
	struct watched *w = watched_of(r, name);

	if (w == NULL || r->stopping)
		return;
	if (!w->busy) {
		w->busy = 1;
		r->busy++;
		ex->submit(ex, &w->job);
	} else if (w->rests && ex->cancel(ex, &w->job)) {
		w->rests = 0;
		ex->submit(ex, &w->job);
	} else {
		w->again = 1;
	}
}

void
documents_moved(struct replicator *r, const char *name)
{
	pthread_mutex_lock(&r->lock);
	look(r, name);
	pthread_mutex_unlock(&r->lock);
}

static int
look_at_listed(const char *name, void *cookie)
{
	struct replicator *r = cookie;
	struct watched *w;

	if (!replicator_is_database(name, strlen(name)))
		return 0;
	pthread_mutex_lock(&r->lock);
	if ((w = watched_of(r, name)) != NULL)
		w->starting = w->seen == 0;
	look(r, name);
	pthread_mutex_unlock(&r->lock);
	return w != NULL ? 0 : ERR_NOMEM;
}

int
documents_start(struct replicator *r)
{
	return dbs_list(r->config.dbs, look_at_listed, r);
}

void
documents_stop(struct replicator *r)
{
	struct executor *ex = r->config.ex;
	struct watched *w;

	for (w = r->watched; w != NULL; w = w->next)
		if (w->rests && ex->cancel(ex, &w->job)) {
			w->rests = w->busy = 0;
			r->busy--;
		}
}

void
documents_free(struct replicator *r)
{
	struct watched *w;

	while ((w = r->watched) != NULL) {
		r->watched = w->next;
		free(w->name);
		free(w);
	}
}
