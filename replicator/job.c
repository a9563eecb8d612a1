/*
 * job.c: which replication runs when.
 *
 * A job is pending, runs as a session, or has crashed and waits. At most max_jobs run; where more want to, those that have run
 * longest make room every interval. A crash doubles the wait for the next start, up to BACKOFF_MAX, and a run that went well for
 * HEALTHY_MS forgets the crashes before. Runs that held a document back are counted for themselves: both ends were there.
 *
 *  1. A job that runs has a session, or its launch is on its way; in both cases it counts as busy, and is not freed.
 *  2. Sessions are made without the lock: to find out who the owner is, or to open an end, may take its time.
 *  3. Whoever waits for a turn stands in one of two queues: none of them is looked for.
 *  4. One job at a time has an id. Those of other documents that describe the same stand behind it, as failed; when it is gone,
 *     completed or not, the one that has stood there longest is to run.
 */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define REASON_MAX 256u       /* bytes of a reason in the history */
#define SEQS_MAX (200u << 10) /* bytes of three sequences, of 64 KiB at most each */
#define JOB_MEMORY ((size_t)256 << 20)
#define BACKOFF_MAX_MS (8u * 3600000u)
#define HEALTHY_MS 120000u

static uint64_t
now_ms(const struct replicator *r)
{
	return r->config.ex->now_ms(r->config.ex);
}

static uint64_t
wall_us(const struct replicator *r)
{
	return r->config.ex->wall_us(r->config.ex);
}

static uint64_t
random_below(const struct replicator *r, uint64_t n)
{
	uint64_t x;

	r->config.ex->random(r->config.ex, &x, sizeof(x));
	return n > 0 ? x % n : 0;
}

/* ---- What is remembered ---- */

static void
remember(struct job *j, enum job_event_kind kind, const char *reason)
{
	unsigned max = j->r->config.limits.max_history;
	size_t len = strlen(reason);

	j->updated_us = wall_us(j->r);
	if (max > JOB_EVENTS)
		max = JOB_EVENTS;
	if (max == 0)
		return;
	if (j->nevents < max)
		j->nevents++;
	else
		free(j->events[max - 1].reason);
	memmove(j->events + 1, j->events, (j->nevents - 1) * sizeof(j->events[0]));
	j->events[0].kind = kind;
	j->events[0].at_us = j->updated_us;
	j->events[0].reason = len > 0 ? strndup(reason, len < REASON_MAX ? len : utf8_whole(reason, REASON_MAX)) : NULL;
}

void
job_snapshot(struct job *j)
{
	if (j->session == NULL)
		return;
	session_stats(j->session, &j->stats);
	buf_clear(&j->seqs);
	if (session_seqs(j->session, &j->seqs) != 0)
		buf_clear(&j->seqs);
}

/* ---- Tables ---- */

static unsigned
hash(const char *s, size_t len, unsigned h)
{
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

static struct job **
id_bucket(struct replicator *r, const char *id, size_t len)
{
	return &r->by_id[hash(id, len, 2166136261u) % JOB_BUCKETS];
}

static struct job **
doc_bucket(struct replicator *r, struct jstr database, struct jstr doc)
{
	return &r->by_doc[hash(doc.s, doc.len, hash(database.s, database.len, 2166136261u)) % JOB_BUCKETS];
}

struct job *
job_find(struct replicator *r, const char *id, size_t len)
{
	struct job *j = *id_bucket(r, id, len);

	while (j != NULL && (j->removed || j->behind || strlen(j->spec.id) != len || memcmp(j->spec.id, id, len) != 0))
		j = j->hash_next;
	return j;
}

struct job *
job_of_doc(struct replicator *r, struct jstr database, struct jstr doc)
{
	struct job *j = *doc_bucket(r, database, doc);

	while (j != NULL && (j->removed || !jstr_equal(j->database, database) || !jstr_equal(j->doc, doc)))
		j = j->doc_next;
	return j;
}

int
job_new(struct replicator *r, struct job **jp)
{
	struct job *j = calloc(1, sizeof(*j));

	if (j == NULL || arena_new(JOB_MEMORY, &j->arena) != 0) {
		free(j);
		return ERR_NOMEM;
	}
	j->r = r;
	j->stats.pending = -1;
	buf_init(&j->seqs, SEQS_MAX);
	buf_init_arena(&j->source_shown, j->arena, LIMIT_URL_LEN);
	buf_init_arena(&j->target_shown, j->arena, LIMIT_URL_LEN);
	*jp = j;
	return 0;
}

int
job_read(struct job *j, struct jstr text, struct errtext *why)
{
	int err = spec_parse(text, &j->r->config.defaults, j->arena, &j->spec, why);

	if (err == 0)
		err = spec_end_shown(&j->spec.source, &j->source_shown);
	if (err == 0)
		err = spec_end_shown(&j->spec.target, &j->target_shown);
	if (err != 0)
		j->spec.id = NULL;
	return err;
}

/* Another of the same id that is listed, or NULL. */
static struct job *
twin(const struct job *j)
{
	struct job *k = *id_bucket(j->r, j->spec.id, strlen(j->spec.id));

	while (k != NULL && (k == j || k->behind || strcmp(k->spec.id, j->spec.id) != 0))
		k = k->hash_next;
	return k;
}

/* It waits for its turn; where one of the same id is about to go, which may still write its checkpoint, not before that is gone. */
static void
queue_up(struct job *j)
{
	struct replicator *r = j->r;

	if (j->removed || twin(j) != NULL)
		return;
	if (j->due_ms > now_ms(r))
		heap_add(&r->later, &j->place, j->due_ms);
	else
		heap_add(&r->ready, &j->place, r->turns++);
}

/* It is the one that has its id, and is to run at j->due_ms. */
static void
make_pending(struct job *j)
{
	j->listed = 1;
	j->state = JOB_PENDING;
	remember(j, EVENT_ADDED, "");
	queue_up(j);
}

static void
list_id(struct job *j)
{
	struct job **bucket = id_bucket(j->r, j->spec.id, strlen(j->spec.id));

	j->hash_next = *bucket;
	*bucket = j;
}

/* Of those that stand behind an id, the one that has done so longest becomes the one that has it. */
static void
follow(struct replicator *r, const char *id)
{
	struct job *j, *first = NULL;

	for (j = *id_bucket(r, id, strlen(id)); j != NULL; j = j->hash_next)
		if (j->behind && strcmp(j->spec.id, id) == 0)
			first = j;
	if (first == NULL)
		return;
	first->behind = 0;
	first->reason[0] = '\0';
	first->added_us = wall_us(r);
	make_pending(first);
}

static void
unlist_id(struct job *j)
{
	struct job **at = id_bucket(j->r, j->spec.id, strlen(j->spec.id));
	struct job *next = twin(j);
	int listed = j->listed;

	while (*at != j)
		at = &(*at)->hash_next;
	*at = j->hash_next;
	j->listed = j->behind = 0;
	if (!listed)
		return;
	if (next == NULL)
		follow(j->r, j->spec.id);
	else if (next->place.at == 0 && (next->state == JOB_PENDING || next->state == JOB_CRASHING))
		queue_up(next);
}

static void
unlist_doc(struct job *j)
{
	struct job **at = doc_bucket(j->r, j->database, j->doc);

	while (*at != j)
		at = &(*at)->doc_next;
	*at = j->doc_next;
}

static void
job_free(struct job *j)
{
	unsigned i;

	heap_remove(&j->place);
	for (i = 0; i < j->nevents; i++)
		free(j->events[i].reason);
	if (j->listed || j->behind)
		unlist_id(j);
	if (j->link != NULL) {
		*j->link = j->next;
		if (j->next != NULL)
			j->next->link = j->link;
		if (j->doc.len > 0)
			unlist_doc(j);
		j->r->count.jobs--;
	}
	buf_release(&j->seqs);
	arena_free(j->arena);
	free(j);
}

/* ---- In and out ---- */

static void
link_job(struct job *j)
{
	struct replicator *r = j->r;

	j->next = r->jobs;
	j->link = &r->jobs;
	if (j->next != NULL)
		j->next->link = &j->next;
	r->jobs = j;
	if (j->doc.len > 0) {
		struct job **bucket = doc_bucket(r, j->database, j->doc);

		j->doc_next = *bucket;
		*bucket = j;
	}
	r->count.jobs++;
	j->added_us = j->updated_us = wall_us(r);
}

/* Room in the queues for one more. */
static int
reserve(struct replicator *r)
{
	int err = heap_reserve(&r->later, r->count.jobs + 1);

	return err != 0 ? err : heap_reserve(&r->ready, r->count.jobs + 1);
}

int
job_add(struct job *j)
{
	if (job_find(j->r, j->spec.id, strlen(j->spec.id)) != NULL)
		return ERR_CONFLICT;
	if (reserve(j->r) != 0)
		return ERR_NOMEM;
	list_id(j);
	link_job(j);
	make_pending(j);
	return 0;
}

int
job_add_behind(struct job *j, const char *reason)
{
	if (reserve(j->r) != 0)
		return ERR_NOMEM;
	list_id(j);
	j->behind = 1;
	job_add_dead(j, JOB_FAILED, reason);
	return 0;
}

void
job_add_dead(struct job *j, enum job_state state, const char *reason)
{
	link_job(j);
	j->state = state;
	(void)snprintf(j->reason, sizeof(j->reason), "%s", reason);
}

/* Requests are answered without the lock. */
static void
answer(struct waiter *w, int err, const struct errtext *why, struct jstr text)
{
	struct waiter *next;

	for (; w != NULL; w = next) {
		next = w->next;
		w->done(w->cookie, err, why, text);
		free(w);
	}
}

/* ---- The end of a run ---- */

/* The rest behind the last of so many failures in a row. */
static uint64_t
backoff(const struct replicator *r, unsigned failures)
{
	unsigned doublings = failures > 1 ? failures - 1 : 0;
	uint64_t ms = r->config.limits.backoff_ms << (doublings < 16 ? doublings : 16);

	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	return ms + random_below(r, ms / 4);
}

static void
crashed(struct job *j, int err, const struct errtext *why)
{
	const char *reason = why->text[0] != '\0' ? why->text : err_reason(err);
	const char *name = err == ERR_NO_DB ? "db_not_found" : err_name(err);
	struct replicator *r = j->r;
	uint64_t now = now_ms(r), wait;
	/* From the first document that was held back on nothing went well; a long way to the one of last time is no success either. */
	uint64_t well = (j->stats.held > 0 ? j->stats.held_ms : now) - j->started_ms;
	int again = j->stats.held > 0 && strcmp(j->stats.held_id, j->held_id) == 0;

	if (well >= HEALTHY_MS) {
		j->errors = 0;
		if (!again)
			j->holds = 0;
	}
	if (j->stats.held > 0)
		(void)snprintf(j->held_id, sizeof(j->held_id), "%s", j->stats.held_id);
	if (err == ERR_HELD_BACK) {
		j->errors = 0;
		j->holds++;
		/* A continuous run went on behind the document: it has waited already. */
		wait = j->spec.continuous ? 0 : backoff(r, j->holds);
	} else {
		wait = backoff(r, ++j->errors);
	}
	(void)snprintf(j->reason, sizeof(j->reason), "%s: %s", name, reason);
	remember(j, EVENT_CRASHED, j->reason);
	j->state = JOB_CRASHING;
	j->due_ms = now + (j->stats.retry_ms > wait ? j->stats.retry_ms : wait);
	r->count.crashes++;
}

void
job_tell(struct job *j)
{
	j->telling = 1;
	j->r->busy++;
	documents_tell(j);
}

/* What is wrong with the document does not pass, nor that it is another now. */
void
job_told(struct job *j, int err)
{
	struct replicator *r = j->r;

	pthread_mutex_lock(&r->lock);
	j->telling = 0;
	if (j->removed) {
		job_free(j);
	} else if (err_status(err) >= 500 && heap_reserve(&r->later, r->count.jobs) == 0) {
		heap_add(&r->later, &j->place, now_ms(r) + backoff(r, ++j->untold));
		job_schedule(r);
	}
	r->busy--;
	pthread_cond_broadcast(&r->quiet);
	pthread_mutex_unlock(&r->lock);
}

/* Under the lock: what becomes of the job. */
static void
settle(struct job *j, int err, const struct errtext *why)
{
	struct replicator *r = j->r;
	int asked = j->waiters != NULL;

	r->count.running--;
	if (j->removed || r->stopping) {
		j->state = JOB_PENDING;
		j->removed = 1;
	} else if (err == 0) {
		j->state = JOB_COMPLETED;
		j->errors = j->holds = 0;
		j->updated_us = wall_us(r);
		r->count.completed++;
		unlist_id(j);
		j->removed = j->doc.len == 0;
	} else if (err == ERR_CANCELLED && j->resting) {
		j->state = JOB_PENDING;
		j->due_ms = 0;
		remember(j, EVENT_STOPPED, "");
		queue_up(j);
	} else {
		crashed(j, err, why);
		j->removed = asked;
		queue_up(j);
	}
	j->resting = 0;
}

/* A run has ended, or could not begin. */
static void
run_over(struct job *j, int err, const struct errtext *why, struct jstr text)
{
	struct replicator *r = j->r;
	struct waiter *waiters;

	pthread_mutex_lock(&r->lock);
	settle(j, err, why);
	waiters = j->waiters;
	j->waiters = NULL;
	if (j->removed)
		job_free(j);
	else if (j->state == JOB_COMPLETED)
		job_tell(j);
	job_schedule(r);
	pthread_mutex_unlock(&r->lock);
	answer(waiters, err, why, text);
	pthread_mutex_lock(&r->lock);
	r->busy--;
	pthread_cond_broadcast(&r->quiet);
	pthread_mutex_unlock(&r->lock);
}

static void
ended(void *cookie, struct session *s, int err, const struct errtext *why)
{
	struct job *j = cookie;
	struct replicator *r = j->r;
	struct buf b;

	buf_init(&b, (size_t)16 << 20);
	if (err == 0)
		err = session_result(s, &b);
	pthread_mutex_lock(&r->lock);
	job_snapshot(j);
	j->session = NULL;
	pthread_mutex_unlock(&r->lock);
	session_free(s);
	run_over(j, err, why, (struct jstr){b.data, b.len});
	buf_release(&b);
}

/* ---- The start of a run ---- */

static int
open_end(struct job *j, const struct rep_end *end, const struct peer_filter *filter, const struct principal *who,
    struct peer **pp, struct errtext *why)
{
	const struct replicator_config *c = &j->r->config;

	if (end->url == NULL)
		return peer_local_new(j->r->locals, end->name, who, filter, pp);
	if (c->remote == NULL)
		return err_why(why, ERR_NOT_IMPLEMENTED, "there are no remote ends here");
	return c->remote(c->cookie, &j->spec, end, filter, (uint64_t)(uintptr_t)j, pp, why);
}

/* Who it runs as: of a document its owner as he is now, or what an administrator has put there. */
static int
principal_of(struct job *j, struct arena *a, struct principal *out, struct errtext *why)
{
	const struct replicator_config *c = &j->r->config;
	int err = 0;
	size_t i;

	*out = j->who;
	if (j->doc.len == 0)
		return 0;
	*out = (struct principal){.name = j->spec.user, .roles = j->spec.roles, .nroles = j->spec.nroles};
	for (i = 0; i < j->spec.nroles; i++)
		out->server_admin |= strcmp(j->spec.roles[i], "_admin") == 0;
	if (out->name != NULL && out->nroles == 0 && c->account != NULL)
		err = c->account(c->cookie, j->spec.user, a, out);
	if (err == ERR_MISSING)
		return err_why(why, ERR_UNAUTHORIZED, "the owner %s has no account", j->spec.user);
	return err;
}

static int
make_session(struct job *j, struct session **sp, struct errtext *why)
{
	struct session_config c = {
	    .spec = &j->spec, .ex = j->r->config.ex, .hold_ms = j->hold_ms, .ended = ended, .cookie = j};
	struct principal who;
	struct arena *a;
	int err = arena_new(JOB_MEMORY, &a);

	if (err != 0)
		return err;
	err = principal_of(j, a, &who, why);
	if (err == 0)
		err = open_end(j, &j->spec.source, &j->spec.filter, &who, &c.source, why);
	if (err == 0)
		err = open_end(j, &j->spec.target, NULL, &who, &c.target, why);
	if (err == 0)
		err = session_new(&c, sp);
	if (err != 0 && c.target != NULL)
		c.target->ops->close(c.target);
	if (err != 0 && c.source != NULL)
		c.source->ops->close(c.source);
	arena_free(a);
	return err;
}

static void
launch(void *arg)
{
	struct job *j = arg;
	struct replicator *r = j->r;
	struct session *s = NULL;
	struct errtext why = {""};
	int over, err = 0;

	pthread_mutex_lock(&r->lock);
	if (j->removed)
		err = ERR_CANCELLED;
	pthread_mutex_unlock(&r->lock);
	if (err == 0)
		err = make_session(j, &s, &why);
	if (err != 0) {
		run_over(j, err, &why, (struct jstr){"", 0});
		return;
	}
	pthread_mutex_lock(&r->lock);
	j->session = s;
	over = j->removed || r->stopping;
	session_start(s);
	if (over)
		session_stop(s);
	pthread_mutex_unlock(&r->lock);
}

static void
start(struct job *j)
{
	struct replicator *r = j->r;
	struct executor *ex = r->config.slow != NULL ? r->config.slow : r->config.ex;

	heap_remove(&j->place);
	j->stats.retry_ms = j->stats.held = 0;
	j->state = JOB_RUNNING;
	j->started_ms = now_ms(r);
	j->hold_ms = backoff(r, j->holds + 1);
	remember(j, EVENT_STARTED, "");
	r->count.running++;
	r->count.starts++;
	r->busy++;
	j->launch.fn = launch;
	j->launch.arg = j;
	ex->submit(ex, &j->launch);
}

/* Who waits for one that never ran is answered as if it had. */
void
job_remove(struct job *j)
{
	j->removed = 1;
	heap_remove(&j->place);
	if (j->session != NULL)
		session_stop(j->session);
	else if (j->state == JOB_RUNNING || j->telling)
		return;
	else if (j->waiters != NULL)
		start(j);
	else
		job_free(j);
}

/* ---- Whose turn it is ---- */

static struct job *
job_at(struct heap_place *p)
{
	return (struct job *)((char *)p - offsetof(struct job, place));
}

static struct job *
longest_running(struct replicator *r, uint64_t since)
{
	struct job *j, *longest = NULL;

	for (j = r->jobs; j != NULL; j = j->next)
		if (j->session != NULL && j->spec.continuous && !j->resting && !j->removed && j->started_ms <= since &&
		    (longest == NULL || j->started_ms < longest->started_ms))
			longest = j;
	return longest;
}

/* All places are taken, and some wait. */
static void
make_room(struct replicator *r, uint64_t now)
{
	uint64_t interval = r->config.limits.interval_ms;
	unsigned n;

	if (now - r->rested_ms < interval)
		return;
	r->rested_ms = now;
	for (n = 0; n < r->config.limits.max_churn && n < r->ready.n; n++) {
		struct job *j = longest_running(r, now - interval);

		if (j == NULL)
			break;
		j->resting = 1;
		session_stop(j->session);
	}
}

static void
rang(void *arg)
{
	struct replicator *r = arg;

	pthread_mutex_lock(&r->lock);
	r->timer_set = 0;
	job_schedule(r);
	pthread_cond_broadcast(&r->quiet);
	pthread_mutex_unlock(&r->lock);
}

static void
set_timer(struct replicator *r, uint64_t at, uint64_t now)
{
	struct executor *ex = r->config.ex;

	if (r->timer_set && (r->timer_ms <= at || !ex->cancel(ex, &r->timer)))
		return;
	r->timer_set = 1;
	r->timer_ms = at;
	r->timer.fn = rang;
	r->timer.arg = r;
	ex->later(ex, &r->timer, at > now ? at - now : 0);
}

void
job_schedule(struct replicator *r)
{
	uint64_t now = now_ms(r), later = UINT64_MAX;
	struct heap_place *p;

	if (r->stopping)
		return;
	while ((p = heap_first(&r->later)) != NULL && p->key <= now) {
		struct job *j = job_at(p);

		heap_remove(p);
		if (j->state == JOB_COMPLETED || j->state == JOB_FAILED)
			job_tell(j);
		else
			heap_add(&r->ready, p, r->turns++);
	}
	if (p != NULL)
		later = p->key;
	while ((p = heap_first(&r->ready)) != NULL && r->count.running < r->config.limits.max_jobs)
		start(job_at(p));
	if (p != NULL) {
		make_room(r, now);
		later = now + r->config.limits.interval_ms < later ? now + r->config.limits.interval_ms : later;
	}
	if (later != UINT64_MAX)
		set_timer(r, later, now);
}
