/*
 * update.c: bringing an index up to its database, a batch at a time.
 *
 *	views_want -> (queue) -> update_step: step_gather -> step_map -> step_write -> update_step ... -> everybody is told
 *
 * Where no function runs, step_gather makes the rows, and there is no step_map.
 *
 * 1. A batch is one commit of the index file: rows, lists of rows, counts, reductions, and the sequence up to which they are right.
 *    Killed at any moment, the index is that of some sequence, and goes on from there.
 * 2. Per document the index has the list of its rows, so that an update touches exactly what changes.
 * 3. No snapshot is held while functions run, and a child only for one batch.
 * 4. An update fails whoever waits for it, and nobody else; the index shows what was before the document that functions failed for,
 *    and that failure is told for a while without another try (struct index_failure), as long as the document is what it was.
 * 5. Indexes take turns by the step, and a step takes STEP_MS and one document's time: a long build keeps no short update waiting.
 * 6. Each step has a snapshot of its own, and a document that changes between two of them leaves the rows of _changes that are still to be
 *    read for a place behind them.  So who waits is told where the index has come to the end of the newest snapshot: not before are
 *    all documents there that were when it asked.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "bulk.h"
#include "compact.h"
#include "index.h"
#include "step.h"

#define TRIM_FROM ((size_t)1 << 20)

/* ---- A step ---- */

static int
step_begin(struct step *s, struct view_index *ix)
{
	static const struct principal server = {.server_admin = 1};
	struct jstr history;
	int err;

	*s = (struct step){.ix = ix, .seq = ix->head.seq, .purge_seq = ix->head.purge_seq};
	if (ix->bulk != NULL)
		s->seq = bulk_seq(ix->bulk);
	s->from = s->seq;
	buf_init(&s->json, STEP_MEM);
	buf_init(&s->list, STEP_MEM);
	buf_init(&s->sortkey, STEP_MEM);
	buf_init(&s->scratch, STEP_MEM);
	buf_init(&s->order, STEP_MEM);
	buf_init(&s->value, STEP_MEM);
	if ((err = arena_new(STEP_MEM, &s->a)) != 0 || (err = arena_new(STEP_MEM, &s->doc_a)) != 0 ||
	    (err = store_batch_new(ix->store, &s->batch)) != 0 ||
	    (err = step_database(s, db_open(ix->views->config.dbs, ix->database, &server, &s->db))) != 0)
		return err;
	history = db_history(s->db);
	/* Another database of this name has other indexes. */
	return jstr_is(&history, ix->history) ? 0 : ERR_NO_DB;
}

static void
step_end(struct step *s)
{
	if (s->db != NULL)
		db_close(s->db);
	if (s->batch != NULL)
		store_batch_free(s->batch);
	buf_release(&s->json);
	buf_release(&s->list);
	buf_release(&s->sortkey);
	buf_release(&s->scratch);
	buf_release(&s->order);
	buf_release(&s->value);
	arena_free(s->a);
	arena_free(s->doc_a);
}

static int
step_run(struct step *s)
{
	struct view_index *ix = s->ix;
	struct script *sc = NULL;
	int err = ix->ddoc.is_query ? step_native_begin(s) : 0, settled = 0;

	if (err == 0)
		err = step_gather(s);
	step_native_end(s);
	if (err != 0)
		return err;
	if (ix->ddoc.nmaps > 0 && !ix->ddoc.is_query)
		err = step_map(s, &sc);
	if (err == 0)
		err = ix->bulk != NULL ? step_hold(s) : step_write(s);
	/* What is not settled, queries find out, and what fails for that is theirs to tell, unless it is the file that does. */
	if (err == 0 && !s->more)
		settled = step_settle(s, &sc);
	script_close(sc);
	return settled == ERR_CORRUPT || settled == ERR_IN_DOUBT ? settled : err;
}

/* ---- Who waits ---- */

/* shows: See 6; under the lock. */
static int
shows(const struct view_index *ix, uint64_t seq, uint64_t purge_seq)
{
	return seq <= ix->head.seq && ix->seen <= ix->head.seq && purge_seq <= ix->head.purge_seq;
}

int
views_shows(struct view_index *ix, uint64_t seq, uint64_t purge_seq)
{
	int yes;

	(void)pthread_mutex_lock(&ix->lock);
	yes = shows(ix, seq, purge_seq);
	(void)pthread_mutex_unlock(&ix->lock);
	return yes;
}

static uint64_t
now_us(const struct view_index *ix)
{
	struct executor *ex = ix->views->config.ex;

	return ex->wall_us(ex);
}

/* take_waiting: Those whose wish is fulfilled, or with ${err} all of them. */
static struct view_wait *
take_waiting(struct view_index *ix, int err)
{
	struct view_wait *taken = NULL, **p = &ix->waiting;

	while (*p != NULL) {
		struct view_wait *w = *p;

		if (err == 0 && !shows(ix, w->seq, w->purge_seq)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = taken;
		taken = w;
	}
	return taken;
}

static void
tell(struct view_wait *list, int err, const struct errtext *why, const char *error)
{
	for (struct view_wait *next; list != NULL; list = next) {
		next = list->next;
		list->err = err;
		if (err != 0) {
			list->why = *why;
			(void)snprintf(list->error, sizeof(list->error), "%s", error);
		}
		list->done(list);
	}
}

static struct view_index *
take_first(struct update_queue *q)
{
	struct view_index *ix = q->first;

	if (ix != NULL && (q->first = ix->next_update) == NULL)
		q->end = &q->first;
	return ix;
}

/*
 * begin_some: Updates whose turn has come; under the lock of the views.  Those that begin, which are mostly short, go before those that go on, but for every other
 * turn: so they wait for a step of the long ones and not for all of them.
 */
static void
begin_some(struct views *v)
{
	unsigned max = v->config.max_updates > 0 ? v->config.max_updates : 1;
	struct view_index *ix;

	while (v->nupdates < max) {
		int fresh = v->fresh.first != NULL && (v->going.first == NULL || !v->passed);

		/* One that begins has passed those that go on, or there are none. */
		v->passed = fresh && v->going.first != NULL;
		if ((ix = take_first(fresh ? &v->fresh : &v->going)) == NULL)
			return;
		v->nupdates++;
		v->config.ex->submit(v->config.ex, &ix->job);
	}
}

/* line_up: Wait for a turn; under the lock of the views. */
static void
line_up(struct view_index *ix, struct update_queue *q)
{
	ix->next_update = NULL;
	*q->end = ix;
	q->end = &ix->next_update;
}

static void
enqueue(struct view_index *ix)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	ix->refs++;
	/* One that failed by the time it took is no short one. */
	line_up(ix, ix->failure.seq != 0 ? &v->going : &v->fresh);
	begin_some(v);
	(void)pthread_mutex_unlock(&v->lock);
}

/* finish: The update ends, or goes on behind those that wait for a turn.  Who frees the views waits for the count of updates. */
static void
finish(struct view_index *ix, int again)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	if (again)
		line_up(ix, &v->going);
	else
		index_unref(ix);
	v->nupdates--;
	begin_some(v);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
}

/* end_well: What an update leaves to do. */
static void
end_well(struct view_index *ix)
{
	if (ix->untidy)
		cleanup_later(ix);
	ix->untidy = 0;
	compact_consider(ix);
}

/* note: What the step has reached. */
static void
note(struct view_index *ix, const struct step *s)
{
	(void)pthread_mutex_lock(&ix->lock);
	if (!s->held) {
		ix->head.seq = s->seq;
		ix->head.purge_seq = s->purge_seq;
		ix->head.ready |= !s->more;
	}
	ix->task.done += s->n - s->npurged;
	ix->task.updated_us = now_us(ix);
	(void)pthread_mutex_unlock(&ix->lock);
}

/* doom_orphan: Another database has its name, or none has: what it was opened for is gone. */
static void
doom_orphan(struct view_index *ix)
{
	(void)pthread_mutex_lock(&ix->views->lock);
	index_doom(ix);
	(void)pthread_mutex_unlock(&ix->views->lock);
}

/* save: A first build that cannot go on is written as far as it is whole, unless that is of no use, either. */
static void
save(struct view_index *ix, int err, int foreign)
{
	uint64_t seq, purge_seq;

	if ((err == ERR_SHUTDOWN || err == ERR_SCRIPT || err == ERR_SCRIPT_DIED || err == ERR_SCRIPT_TIMEOUT ||
		foreign) &&
	    bulk_is_whole(ix->bulk)) {
		seq = bulk_seq(ix->bulk);
		purge_seq = bulk_purge_seq(ix->bulk);
		if (index_settled(ix, bulk_write(ix, 0)) == 0) {
			(void)pthread_mutex_lock(&ix->lock);
			ix->head.seq = seq;
			ix->head.purge_seq = purge_seq;
			(void)pthread_mutex_unlock(&ix->lock);
		}
	}
	bulk_free(ix);
}

void
update_step(void *arg)
{
	struct view_index *ix = arg;
	struct view_wait *told;
	struct step s;
	int again, err = step_begin(&s, ix);

	if (err == 0)
		err = ix->views->closing ? ERR_SHUTDOWN : index_settled(ix, step_run(&s));
	if (err == 0)
		note(ix, &s);
	else if (ix->bulk != NULL)
		save(ix, err, s.foreign);
	if (err != 0)
		ix->lost.purge_seq = 0; /* what the step found has not gone */
	/* Once it is told that no update runs, another one may begin: what is the updater's is done before. */
	if (err == 0 && !s.more && !s.unsettled)
		end_well(ix);
	if (err == ERR_NO_DB)
		doom_orphan(ix);
	if (!s.foreign)
		(void)index_damaged(ix, err);
	(void)pthread_mutex_lock(&ix->lock);
	/* Who waits gets reductions that are known. */
	told = err != 0 || !s.unsettled ? take_waiting(ix, err) : NULL;
	again = err == 0 && (s.more || s.unsettled || ix->waiting != NULL);
	ix->updating = again;
	(void)pthread_mutex_unlock(&ix->lock);
	step_end(&s);
	/* What a batch took goes back: malloc keeps it for this thread otherwise. */
	if (!again && s.bytes + s.rows_bytes + s.held_bytes > TRIM_FROM)
		(void)malloc_trim(0);
	tell(told, err, &s.why, s.error);
	finish(ix, again);
}

static void
want(struct view_index *ix, struct view_wait *w)
{
	int start;

	(void)pthread_mutex_lock(&ix->lock);
	if (w != NULL && shows(ix, w->seq, w->purge_seq)) {
		(void)pthread_mutex_unlock(&ix->lock);
		w->err = 0;
		w->done(w);
		return;
	}
	if (w != NULL) {
		w->next = ix->waiting;
		ix->waiting = w;
	}
	start = !ix->updating;
	ix->updating = 1;
	if (start) {
		ix->task = (struct db_task){.type = "indexer", .database = ix->database, .phase = ix->design.s};
		ix->task.started_us = ix->task.updated_us = now_us(ix);
	}
	(void)pthread_mutex_unlock(&ix->lock);
	if (start)
		enqueue(ix);
}

void
views_want(struct view_index *ix, struct view_wait *w)
{
	want(ix, w);
}

void
views_update(struct view_index *ix)
{
	want(ix, NULL);
}

int
views_tasks(struct views *v, int (*fn)(const struct db_task *task, void *cookie), void *cookie)
{
	int rc = 0;

	(void)pthread_mutex_lock(&v->lock);
	for (struct view_index *ix = v->all; ix != NULL && rc == 0; ix = ix->next) {
		struct db_task task;
		int updating;

		(void)pthread_mutex_lock(&ix->lock);
		task = ix->task;
		updating = ix->updating;
		(void)pthread_mutex_unlock(&ix->lock);
		if (updating)
			rc = fn(&task, cookie);
	}
	if (rc == 0)
		rc = compact_tasks(v, fn, cookie);
	(void)pthread_mutex_unlock(&v->lock);
	return rc;
}
