/*
 * Compaction of one database, while it is read and written.
 *
 *   db_compact() or by itself --> dictionary --> trim --> copy --> finish --> end
 *
 * dictionary  On the executor, a better one for bodies is trained, if there is one (dict_renew).
 * trim    In the committer, a slice of documents in a transaction of its own: the bodies of superseded revisions go
 *         (compact_slice).  A slice that others wait behind ends after SLICE_MS.
 * copy    On the executor, a step of the store's rewrite after another; commits go on (compact_step).
 * finish  In the committer, between two transactions: what was committed since the last step, and the exchange of the files
 *         (compact_file).
 *
 * Killed at any point, the database is whole: a slice is a transaction, and the new file, which has the stamp that it
 * will be known by, replaces the old one in one rename.  No thread is held while it runs; what is on its way stands in the
 * server's list, from which dbs_tasks() tells.
 *
 * What begins by itself, and when: compact_auto.c.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define SLICE_DOCS 256u
#define SLICE_MS 10u /* about what a group of writers takes on a disk */

/* The files are not exchanged while a snapshot is held; how often, and after how long, that is tried again. */
#define FINISH_TRIES 100u
#define FINISH_AGAIN_MS 200u

/* ---- The list of tasks; under s->lock ---- */

static void
list_add(struct compactwork *k)
{
	struct dbs *s = k->f->dbs;

	k->task.started_us = k->task.updated_us = s->config.ex->wall_us(s->config.ex);
	(void)pthread_mutex_lock(&s->lock);
	k->next = s->compactions;
	s->compactions = k;
	(void)pthread_mutex_unlock(&s->lock);
}

static void
list_remove(struct compactwork *k)
{
	struct dbs *s = k->f->dbs;

	(void)pthread_mutex_lock(&s->lock);
	for (struct compactwork **p = &s->compactions; *p != NULL; p = &(*p)->next)
		if (*p == k) {
			*p = k->next;
			break;
		}
	(void)pthread_mutex_unlock(&s->lock);
}

static void
tell(struct compactwork *k, const char *phase, uint64_t done, uint64_t total)
{
	struct dbs *s = k->f->dbs;

	(void)pthread_mutex_lock(&s->lock);
	k->task.phase = phase;
	k->task.done = done < total ? done : total;
	k->task.total = total;
	k->task.updated_us = s->config.ex->wall_us(s->config.ex);
	(void)pthread_mutex_unlock(&s->lock);
}

int
dbs_tasks(struct dbs *s, int (*fn)(const struct db_task *task, void *cookie), void *cookie)
{
	int rc = 0;

	(void)pthread_mutex_lock(&s->lock);
	for (const struct compactwork *k = s->compactions; k != NULL && rc == 0; k = k->next)
		rc = fn(&k->task, cookie);
	(void)pthread_mutex_unlock(&s->lock);
	return rc;
}

/* ---- Trim ---- */

/* others_wait: Writers are queued behind the slice. */
static int
others_wait(struct dbfile *f)
{
	int waiting;

	(void)pthread_mutex_lock(&f->lock);
	waiting = f->head != NULL;
	(void)pthread_mutex_unlock(&f->lock);
	return waiting;
}

static int
trim_slice(struct commit *c, struct compactwork *k)
{
	struct executor *ex = k->f->dbs->config.ex;
	uint64_t began = ex->now_ms(ex);
	struct idkey_walk *walk;
	struct store_val val;
	struct jstr id;
	unsigned n = 0;
	int err;

	if (k->after.len == 0) {
		dict_pass_begin(k->f, !k->automatic);
		k->f->atts_since = 0;
	}
	if ((err = idkey_walk_open(&db_doc_trees, c->snap, c->a, &walk)) != 0)
		return err;
	err = idkey_walk_seek(walk, k->after.data, k->after.len, 0);
	for (; n <= SLICE_DOCS && err == 0 && store_batch_bytes(c->batch) < LIMIT_TXN_BYTES; n++) {
		if (n > 1 && ex->now_ms(ex) - began >= SLICE_MS && others_wait(k->f))
			break;
		if ((err = idkey_walk_step(walk, &id, &val)) != 0)
			break;
		buf_clear(&k->after);
		if ((err = buf_put(&k->after, id.s, id.len)) == 0)
			err = docedit_trim(c, &id);
	}
	idkey_walk_close(walk);
	k->trimmed += n > 0 ? n - 1 : 0; /* the walk begins at the last document of the slice before */
	if (err == ERR_END) {
		k->phase = COMPACT_COPY;
		err = dict_pass_end(c);
		c->touched |= c->state.superseded_atts != k->f->atts_since;
		c->state.superseded_atts = k->f->atts_since;
	}
	tell(k, "document_trim", k->trimmed, c->state.doc_count + c->state.doc_del_count);
	return err;
}

int
compact_slice(struct commit *c, struct compactwork *k)
{
	return k->phase == COMPACT_TRIM ? trim_slice(c, k) : 0;
}

/* ---- Beginning and end ---- */

static void compact_step(void *arg);
static void compact_done(struct dbwork *w);
static void end(struct compactwork *k, int err);

struct compactwork *
compact_new(struct dbfile *f, int automatic)
{
	struct compactwork *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	k->f = f;
	k->automatic = automatic;
	k->work.kind = WORK_COMPACT;
	k->work.done = compact_done;
	k->job = (struct exec_job){.fn = compact_step, .arg = k};
	k->task = (struct db_task){.type = "database_compaction", .database = f->name, .phase = "document_trim"};
	buf_init(&k->after, LIMIT_ID_LEN);
	dbs_file_ref(f);
	return k;
}

void
compact_free(struct compactwork *k)
{
	struct dbfile *f = k->f;

	if (k->automatic)
		compact_auto_left(f);
	buf_release(&k->after);
	free(k);
	dbs_file_unref(f);
}

/* trim_begin: A better dictionary is in force, if there is one. */
static void
trim_begin(void *cookie)
{
	struct compactwork *k = cookie;
	int err = k->f->dbs->closing ? ERR_SHUTDOWN : commit_queue(k->f, &k->work);

	if (err)
		end(k, err);
}

/* try_begin: Errors: those of commit_queue(); ERR_END: it is not wanted any more. */
static int
try_begin(struct compactwork *k)
{
	struct dbfile *f = k->f;
	int running, err;

	if (f->dbs->closing)
		return ERR_SHUTDOWN;
	if (k->automatic && !compact_auto_wanted(f))
		return ERR_END;
	(void)pthread_mutex_lock(&f->lock);
	running = f->compact_running;
	f->compact_running = 1;
	(void)pthread_mutex_unlock(&f->lock);
	if (running)
		return ERR_END;
	list_add(k);
	/* One that begins by itself in the middle of much writing must cost little. */
	if ((!k->automatic && dict_renew(f, trim_begin, k)) || (err = commit_queue(f, &k->work)) == 0)
		return 0;
	list_remove(k);
	(void)pthread_mutex_lock(&f->lock);
	f->compact_running = 0;
	(void)pthread_mutex_unlock(&f->lock);
	return err;
}

int
compact_begin(struct compactwork *k)
{
	int err = try_begin(k);

	if (err)
		compact_free(k);
	return err;
}

static void
end(struct compactwork *k, int err)
{
	struct dbfile *f = k->f;
	struct store_usage u = {0};
	uint64_t waste, came;

	store_rewrite_end(k->rewrite);
	if (err && err != ERR_NO_DB && err != ERR_SHUTDOWN)
		log_line(LOG_WARNING, "database %s: compaction ended early: %s", f->name, err_reason(err));
	waste = compact_auto_waste(f, &u);
	if (err == 0)
		log_line(LOG_INFO, "database %s: compacted to %llu bytes", f->name, (unsigned long long)u.file_bytes);
	list_remove(k);
	(void)pthread_mutex_lock(&f->lock);
	/* What came to be waste meanwhile it could not help with. */
	came = err == 0 ? f->state.superseded_atts : 0;
	f->waste_floor = came < waste ? 2 * (waste - came) : 0;
	f->compact_running = 0;
	(void)pthread_mutex_unlock(&f->lock);
	dbs_file_ref(f);
	compact_free(k);
	if (came > 0)
		compact_auto_look(f);
	dbs_file_unref(f);
}

/* ---- Copy and finish ---- */

/* compact_file: Nobody else commits meanwhile. */
static int
compact_file(struct compactwork *k)
{
	struct dbfile *f = k->f;
	unsigned char stamp[16];
	int err;

	if ((err = store_rewrite_stamp(k->rewrite, stamp)) == 0 &&
	    (err = meta_put(f->batch, "stamp", stamp, sizeof(stamp))) == 0)
		err = store_rewrite_finish(k->rewrite, f->batch);
	else
		store_batch_clear(f->batch);
	/* The file may be another one now, without a note; its history goes on, and the next commit notes it. */
	if (err != ERR_BUSY)
		f->session_begun = 0;
	return err;
}

static void
compact_step(void *arg)
{
	struct compactwork *k = arg;
	struct executor *ex = k->f->dbs->config.ex;
	uint64_t done, total;
	int err = 0;

	if (k->f->dropped)
		err = ERR_NO_DB;
	else if (k->f->dbs->closing)
		err = ERR_SHUTDOWN;
	if (err == 0)
		err = store_rewrite_step(k->rewrite);
	if (err == 0 || err == ERR_END) {
		store_rewrite_progress(k->rewrite, &done, &total);
		tell(k, "document_copy", done, total);
	}
	if (err == ERR_END) {
		k->phase = COMPACT_FINISH;
		if ((err = commit_queue(k->f, &k->work)) == 0)
			return;
	}
	if (err == 0)
		ex->submit(ex, &k->job);
	else
		end(k, err);
}

/* compact_done: The committer did its part. */
static void
compact_done(struct dbwork *w)
{
	struct compactwork *k = OUTER_OF(w, struct compactwork, work);
	struct executor *ex = k->f->dbs->config.ex;
	int err = w->err;

	if (err == 0 && k->f->dbs->closing)
		err = ERR_SHUTDOWN;
	if (err == 0 && k->phase == COMPACT_TRIM && (err = commit_queue(k->f, &k->work)) == 0)
		return;
	if (err == 0 && k->phase == COMPACT_COPY) {
		if ((err = store_rewrite_begin(k->f->store, NULL, &k->rewrite)) == 0) {
			ex->submit(ex, &k->job);
			return;
		}
	}
	if (err == 0 && (err = compact_file(k)) == ERR_BUSY && ++k->tries < FINISH_TRIES) {
		k->phase = COMPACT_COPY; /* a reader is slow: what is committed until it ends is copied as well */
		ex->later(ex, &k->job, FINISH_AGAIN_MS);
		return;
	}
	end(k, err);
}

int
db_compact(struct db *db)
{
	struct compactwork *k;
	int err;

	if (db->file->dropped)
		return ERR_NO_DB;
	if (!db_is_admin(db))
		return ERR_NOT_DB_ADMIN;
	if ((k = compact_new(db->file, 0)) == NULL)
		return ERR_NOMEM;
	err = compact_begin(k);
	return err == ERR_END ? 0 : err; /* one is running */
}
