/*
 * Compactions that begin by themselves.
 *
 * Now and then, after a commit, the file's size is held against what is needed of it: the pages in use without what
 * compaction would drop.  If too much is waste, a compaction is put on the server's list.
 *
 *   compact_auto_consider() --> waiting --watch: its database is quiet, and fewer run than may--> compact_begin()
 *
 * Under way, writers leave many pages free that they use again at once, and a compaction would only be in their way.  So
 * each waits until nothing was committed for quiet_ms; but one behind writers who never rest begins all the same after
 * PATIENCE times that.  What it was wanted for may have gone by then: try_begin() looks again.
 *
 * 1. It does not run in circles: where it did not help, or failed, the waste must double before it begins by itself again.
 * 2. As long as one waits, the watch is set or runs (dbs.watching); without, nothing wakes up.
 * 3. One that waits keeps its file open, and dbs_free() waiting: compact_auto_stop() lets go of all.
 */
#include "dbi.h"

/* How often the waste is looked at: after so many bytes, written or superseded, or commits, or after a commit when so much time has passed. */
#define LOOK_BYTES (64u << 10)
#define LOOK_COMMITS 64u
#define LOOK_MS 50u

#define PATIENCE 15u

/* ---- Waste ---- */

int
compact_auto_needed(struct dbfile *f, struct store_usage *u, uint64_t *neededp)
{
	uint64_t bodies, atts;
	int err = store_usage(f->store, u);

	*neededp = 0;
	if (err)
		return err;
	(void)pthread_mutex_lock(&f->lock);
	bodies = f->state.superseded_bytes;
	atts = f->state.superseded_atts;
	(void)pthread_mutex_unlock(&f->lock);
	/* The state may be another commit's than the pages; and what is told of attachments may be too much. */
	bodies = bodies < u->tree_bytes[TREE_BODIES] ? bodies : u->tree_bytes[TREE_BODIES];
	atts = atts < u->tree_bytes[TREE_BLOBS] ? atts : u->tree_bytes[TREE_BLOBS];
	*neededp = u->active_bytes - bodies - atts;
	if (*neededp > u->file_bytes)
		*neededp = u->file_bytes;
	return 0;
}

uint64_t
compact_auto_waste(struct dbfile *f, struct store_usage *u)
{
	uint64_t needed;

	return compact_auto_needed(f, u, &needed) == 0 ? u->file_bytes - needed : 0;
}

/* is_wasteful: *${wastep} is so much that the settings ask for a compaction. */
static int
is_wasteful(struct dbfile *f, uint64_t *wastep)
{
	const struct db_autocompact *set = &f->dbs->config.autocompact;
	struct store_usage u;
	uint64_t waste = compact_auto_waste(f, &u);

	*wastep = waste;
	if (waste == 0 || u.file_bytes < set->min_bytes)
		return 0;
	if (set->ratio_percent != 0 && u.file_bytes / set->ratio_percent * 100 > u.file_bytes - waste)
		return 1;
	return set->slack_bytes != 0 && waste >= set->slack_bytes;
}

int
compact_auto_wanted(struct dbfile *f)
{
	uint64_t waste;

	return is_wasteful(f, &waste);
}

/* ---- Those that wait ---- */

static uint64_t
now_of(const struct dbs *s)
{
	return s->config.ex->now_ms(s->config.ex);
}

static void
set_watch(struct dbs *s)
{
	unsigned ms = s->config.autocompact.quiet_ms / 4;

	s->config.ex->later(s->config.ex, &s->watch, ms > LOOK_MS ? ms : LOOK_MS);
}

static int
may_begin(const struct compactwork *k, uint64_t now)
{
	const struct dbs *s = k->f->dbs;
	uint64_t quiet = s->config.autocompact.quiet_ms;

	return s->closing || k->f->dropped || now - k->f->committed_ms >= quiet ||
	       now - k->waits_ms >= PATIENCE * quiet;
}

/* take_waiting: One whose time has come, or NULL; then the watch is set again while any waits. */
static struct compactwork *
take_waiting(struct dbs *s)
{
	unsigned limit = s->config.autocompact.concurrency != 0 ? s->config.autocompact.concurrency : 1;
	struct compactwork **at, *k = NULL;
	uint64_t now = now_of(s);

	(void)pthread_mutex_lock(&s->lock);
	for (at = &s->waiting; *at != NULL && !may_begin(*at, now); at = &(*at)->next)
		;
	if (*at != NULL && (s->nauto < limit || s->closing)) {
		k = *at;
		*at = k->next;
		s->nwaiting--;
		s->nauto++;
	} else if (s->waiting == NULL) {
		s->watching = 0;
		(void)pthread_cond_broadcast(&s->idle);
	} else {
		set_watch(s);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return k;
}

void
compact_auto_watch(void *arg)
{
	struct dbs *s = arg;
	struct compactwork *k;

	while ((k = take_waiting(s)) != NULL)
		(void)compact_begin(k);
}

void
compact_auto_left(struct dbfile *f)
{
	(void)pthread_mutex_lock(&f->lock);
	f->compact_wanted = 0;
	(void)pthread_mutex_unlock(&f->lock);
	(void)pthread_mutex_lock(&f->dbs->lock);
	f->dbs->nauto--;
	(void)pthread_mutex_unlock(&f->dbs->lock);
}

void
compact_auto_stop(struct dbs *s)
{
	/* Else it runs, or is about to, and finds that the server closes. */
	if (s->config.ex->cancel != NULL && s->config.ex->cancel(s->config.ex, &s->watch))
		compact_auto_watch(s);
}

/* ---- Looking ---- */

/* is_due: Is it time to look? */
static int
is_due(struct dbfile *f, size_t bytes, uint64_t now)
{
	f->look_bytes += bytes;
	f->look_commits++;
	if (f->look_bytes < LOOK_BYTES && f->look_commits < LOOK_COMMITS && now - f->looked_ms < LOOK_MS)
		return 0;
	f->look_bytes = 0;
	f->look_commits = 0;
	f->looked_ms = now;
	return 1;
}

static void
wait_turn(struct compactwork *k)
{
	struct dbs *s = k->f->dbs;
	struct compactwork **at;

	k->waits_ms = now_of(s);
	(void)pthread_mutex_lock(&s->lock);
	for (at = &s->waiting; *at != NULL; at = &(*at)->next)
		;
	*at = k;
	s->nwaiting++;
	if (!s->watching) {
		s->watching = 1;
		set_watch(s);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

/* claim: 1 if a compaction of ${f} may wait now, which is then to be made. */
static int
claim(struct dbfile *f, uint64_t waste)
{
	int may;

	(void)pthread_mutex_lock(&f->lock);
	may = waste > f->waste_floor && !f->compact_running && !f->compact_wanted && !f->dropped && !f->dbs->closing &&
	      f->dbs->nwaiting < LIMIT_COMPACTIONS; /* or a later commit asks again */
	f->compact_wanted |= may;
	(void)pthread_mutex_unlock(&f->lock);
	return may;
}

static int
is_off(const struct dbfile *f)
{
	const struct db_autocompact *set = &f->dbs->config.autocompact;

	return set->ratio_percent == 0 && set->slack_bytes == 0;
}

void
compact_auto_consider(struct dbfile *f, size_t bytes)
{
	if (is_off(f))
		return;
	f->committed_ms = now_of(f->dbs);
	if (is_due(f, bytes, f->committed_ms))
		compact_auto_look(f);
}

void
compact_auto_look(struct dbfile *f)
{
	struct compactwork *k;
	uint64_t waste;

	if (is_off(f) || !is_wasteful(f, &waste) || !claim(f, waste))
		return;
	if ((k = compact_new(f, 1)) != NULL) {
		wait_turn(k);
		return;
	}
	(void)pthread_mutex_lock(&f->lock);
	f->compact_wanted = 0;
	(void)pthread_mutex_unlock(&f->lock);
}
