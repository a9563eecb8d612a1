/*
 * compact.c: an index file written anew without its free pages, while it is read and updated.
 *
 *	views_compact() or by itself --> (queue) --> compact_step: store_rewrite_step ... --> store_rewrite_finish
 *
 * 1. The store keeps the copy up with what updates commit, and exchanges the files in one rename: killed at any moment, the old or the new
 *    file is the index.
 * 2. A step is a MiB, and no thread is held between two.  The index is open as long as its compaction is there.
 * 3. One that begins by itself does so behind an update, where the file is mostly waste; where it did not help, or failed, the waste
 *    must double before the next.
 */
#include "compact.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"

/* The files are not exchanged while a snapshot is held; how often, and after how long, that is tried again. */
#define FINISH_TRIES 100u
#define FINISH_AGAIN_MS 200u

struct compaction {
	struct exec_job job;
	struct view_index *ix;
	struct store_rewrite *rewrite; /* NULL: it has not begun */
	unsigned tries;
	int running;
	struct db_task task;     /* under the lock of the views */
	struct compaction *next; /* in views.compactions */
};

static uint64_t
wall_us(const struct views *v)
{
	return v->config.ex->wall_us(v->config.ex);
}

/* begin_some: Those whose turn has come; under the lock of the views. */
static void
begin_some(struct views *v)
{
	unsigned max = v->config.autocompact.concurrency, running = 0;

	for (const struct compaction *k = v->compactions; k != NULL; k = k->next)
		running += (unsigned)k->running;
	for (struct compaction *k = v->compactions; k != NULL && (running < max || running == 0 || v->closing);
	     k = k->next) {
		if (k->running)
			continue;
		k->running = 1;
		running++;
		v->config.ex->submit(v->config.ex, &k->job);
	}
}

static void
remove_one(struct views *v, struct compaction *k)
{
	struct compaction **at = &v->compactions;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	v->ncompactions--;
}

static uint64_t
waste_of(struct view_index *ix, struct store_usage *u)
{
	return store_usage(ix->store, u) == 0 && u->active_bytes < u->file_bytes ? u->file_bytes - u->active_bytes : 0;
}

static void
end(struct compaction *k, int err)
{
	struct view_index *ix = k->ix;
	struct views *v = ix->views;
	struct store_usage u = {0};
	uint64_t waste;

	store_rewrite_end(k->rewrite);
	waste = waste_of(ix, &u);
	if (err == 0)
		log_line(LOG_INFO, "database %s: the index of %s is compacted to %llu bytes", ix->database,
		    ix->design.s, (unsigned long long)u.file_bytes);
	else if (err != ERR_NO_DB && err != ERR_SHUTDOWN)
		log_line(LOG_WARNING, "database %s: compaction of the index of %s ended early: %s", ix->database,
		    ix->design.s, err_reason(err));
	(void)pthread_mutex_lock(&v->lock);
	ix->waste_floor = 2 * waste;
	ix->compacting = 0;
	remove_one(v, k);
	begin_some(v);
	index_unref(ix);
	(void)pthread_mutex_unlock(&v->lock);
	free(k);
}

static void
tell(struct compaction *k)
{
	struct views *v = k->ix->views;
	uint64_t done, total;

	store_rewrite_progress(k->rewrite, &done, &total);
	(void)pthread_mutex_lock(&v->lock);
	k->task.done = done < total ? done : total;
	k->task.total = total;
	k->task.updated_us = wall_us(v);
	(void)pthread_mutex_unlock(&v->lock);
}

static void
compact_step(void *arg)
{
	struct compaction *k = arg;
	struct views *v = k->ix->views;
	struct executor *ex = v->config.ex;
	int gone, closing, err = 0;

	(void)pthread_mutex_lock(&v->lock);
	gone = k->ix->gone;
	closing = v->closing;
	(void)pthread_mutex_unlock(&v->lock);
	if (gone || closing)
		err = gone ? ERR_NO_DB : ERR_SHUTDOWN;
	else if (k->rewrite == NULL)
		err = store_rewrite_begin(k->ix->store, NULL, &k->rewrite);
	if (err == 0 && (err = store_rewrite_step(k->rewrite)) == 0) {
		tell(k);
		ex->submit(ex, &k->job);
		return;
	}
	if (err == ERR_END) {
		tell(k);
		err = store_rewrite_finish(k->rewrite, NULL);
		if (err == ERR_BUSY && ++k->tries < FINISH_TRIES) {
			ex->later(ex, &k->job, FINISH_AGAIN_MS);
			return;
		}
	}
	end(k, err);
}

int
views_compact(struct view_index *ix)
{
	struct views *v = ix->views;
	struct compaction *k = calloc(1, sizeof(*k)), **at;
	int err = k == NULL ? ERR_NOMEM : 0;

	(void)pthread_mutex_lock(&v->lock);
	if (err == 0 && v->ncompactions >= LIMIT_COMPACTIONS)
		err = ERR_BUSY;
	if (err == 0 && v->closing)
		err = ERR_SHUTDOWN;
	if (err == 0 && !ix->compacting && !ix->gone) {
		k->ix = ix;
		k->job = (struct exec_job){.fn = compact_step, .arg = k, .lane = ix->job.lane};
		k->task = (struct db_task){.type = "view_compaction", .database = ix->database, .phase = ix->design.s};
		k->task.started_us = k->task.updated_us = wall_us(v);
		ix->compacting = 1;
		ix->refs++;
		for (at = &v->compactions; *at != NULL; at = &(*at)->next)
			;
		*at = k;
		v->ncompactions++;
		begin_some(v);
		k = NULL;
	}
	(void)pthread_mutex_unlock(&v->lock);
	free(k);
	return err;
}

void
compact_consider(struct view_index *ix)
{
	const struct db_autocompact *set = &ix->views->config.autocompact;
	struct store_usage u;
	uint64_t waste;
	int wanted;

	if (set->ratio_percent == 0 && set->slack_bytes == 0)
		return;
	waste = waste_of(ix, &u);
	if (waste <= ix->waste_floor || u.file_bytes < set->min_bytes)
		return;
	wanted = set->ratio_percent != 0 && u.file_bytes / set->ratio_percent * 100 > u.active_bytes;
	wanted |= set->slack_bytes != 0 && waste >= set->slack_bytes;
	/* Where too many wait, a later update asks again. */
	if (wanted && views_compact(ix) != 0)
		log_line(LOG_DEBUG, "database %s: the index of %s is compacted later", ix->database, ix->design.s);
}

void
compact_stop(struct views *v)
{
	begin_some(v);
	while (v->ncompactions > 0)
		(void)pthread_cond_wait(&v->changed, &v->lock);
}

int
compact_tasks(struct views *v, int (*fn)(const struct db_task *task, void *cookie), void *cookie)
{
	int rc = 0;

	for (const struct compaction *k = v->compactions; k != NULL && rc == 0; k = k->next)
		rc = fn(&k->task, cookie);
	return rc;
}
