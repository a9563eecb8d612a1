/*
 * session.c: one run of a replication: its phases, the reader of changes, and the end.
 *
 * Everything that happens is a call of a peer that is done, or the timer. Each takes the session's lock, does what follows
 * from it, and then advance() begins whatever can begin. Calls never finish within the call that began them, so nothing here
 * runs twice at a time.
 *
 *  1. Changes are read in order, one page at a time, while earlier batches are still on their way.
 *  2. Batches end in any order, but count as through in the order of their changes: `through` is a sequence up to which all
 *     is at the target, durable.
 *  3. An error of any call ends the run, unless it is about one document. What is under way is cancelled, and
 *     the run ends when the last call is done. Who runs it tries again later, from the last checkpoint.
 *  4. A revision that the source has no more was replaced: a page that is read from then on has the new one, so a one-shot run ends
 *     with none that was begun before.
 *  5. A continuous run that waits has one call under way, at the source, and no timer, unless it holds something back.
 *  6. A document that cannot be copied now, for a reason of its own, is held back: `through` stays before its batch, and all that
 *     comes behind it is copied. The run then ends with an error: one-shot when all is read, continuous when it has also gone on
 *     for hold_ms. The next one begins before that batch, and tries again.
 */
#include "session_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"

#define STOP_MS 5000u

static void advance(struct session *s);

int
session_new(const struct session_config *config, struct session **sp)
{
	unsigned char bytes[CHECKPOINT_SESSION_LEN / 2];
	struct session *s = calloc(1, sizeof(*s));
	size_t i;

	if (s == NULL)
		return ERR_NOMEM;
	if (arena_new(SESSION_ROWS, &s->arena) != 0 || arena_new(SESSION_ROWS, &s->logs[SOURCE].arena) != 0 ||
	    arena_new(SESSION_ROWS, &s->logs[TARGET].arena) != 0 || pthread_mutex_init(&s->lock, NULL) != 0) {
		arena_free(s->logs[TARGET].arena);
		arena_free(s->logs[SOURCE].arena);
		arena_free(s->arena);
		free(s);
		return ERR_NOMEM;
	}
	s->config = *config;
	s->spec = config->spec;
	s->last = &s->first;
	s->stats.pending = -1;
	s->stats.started_us = s->stats.updated_us = config->ex->wall_us(config->ex);
	buf_init(&s->next, SESSION_ROWS);
	buf_init(&s->through, SESSION_ROWS);
	buf_init(&s->noted, SESSION_ROWS);
	buf_init(&s->noting, SESSION_ROWS);
	buf_init(&s->log, SESSION_ROWS);
	for (i = 0; i < 2; i++)
		buf_init(&s->logs[i].rev, LIMIT_ID_LEN);
	config->ex->random(config->ex, bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), s->id);
	*sp = s;
	return 0;
}

void
session_free(struct session *s)
{
	struct batch *b;
	size_t i;

	if (s == NULL)
		return;
	assert(s->flights == NULL);
	while ((b = s->first) != NULL) {
		s->first = b->next;
		session_batch_free(b);
	}
	for (i = 0; i < 2; i++) {
		checkpoint_free(s->logs[i].found);
		buf_release(&s->logs[i].rev);
		arena_free(s->logs[i].arena);
	}
	buf_release(&s->next);
	buf_release(&s->through);
	buf_release(&s->noted);
	buf_release(&s->noting);
	buf_release(&s->log);
	arena_free(s->arena);
	s->config.source->ops->close(s->config.source);
	s->config.target->ops->close(s->config.target);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- Calls under way ---- */

void
session_enter(struct session *s)
{
	pthread_mutex_lock(&s->lock);
}

void
session_leave(struct session *s)
{
	struct errtext why;
	int ended, err;

	advance(s);
	ended = s->phase == SESSION_ENDED;
	err = s->err != 0 ? s->err : s->stopping && !s->gave_up ? ERR_CANCELLED : s->stats.held > 0 ? ERR_HELD_BACK : 0;
	why = err == ERR_HELD_BACK ? s->held : s->why;
	pthread_mutex_unlock(&s->lock);
	if (ended)
		s->config.ended(s->config.cookie, s, err, &why);
}

static void
flight_end(struct flight *f)
{
	*f->link = f->next;
	if (f->next != NULL)
		f->next->link = f->link;
	f->link = NULL;
}

static void
landed(struct peer_call *call)
{
	struct flight *f = call->cookie;
	struct session *s = f->s;

	session_enter(s);
	flight_end(f);
	if (call->err != 0 && call->retry_ms > s->stats.retry_ms)
		s->stats.retry_ms = call->retry_ms;
	f->then(f->owner);
	session_leave(s);
}

void
session_flight(struct flight *f, struct session *s, struct peer *peer, struct peer_call *call,
    void (*then)(void *owner), void *owner)
{
	assert(f->link == NULL);
	*f = (struct flight){
	    .next = s->flights, .link = &s->flights, .s = s, .peer = peer, .call = call, .then = then, .owner = owner};
	if (s->flights != NULL)
		s->flights->link = &f->next;
	s->flights = f;
	call->done = landed;
	call->cookie = f;
	call->err = 0;
	call->why.text[0] = '\0';
	call->retry_ms = 0;
}

void
session_fail(struct session *s, int err, const struct errtext *why)
{
	if (s->err != 0 || (err == ERR_CANCELLED && s->stopping))
		return;
	s->err = err;
	if (why != NULL)
		s->why = *why;
}

int
session_over(const struct session *s)
{
	return s->err != 0 || s->stopping;
}

/* A checkpoint on its way may end by itself where the run is only stopped. */
static void
cancel_calls(struct session *s)
{
	struct flight *f;

	for (f = s->flights; f != NULL; f = f->next)
		if (s->err != 0 || !s->noting_now ||
		    (f != &s->commit_flight && f != &s->logs[SOURCE].flight && f != &s->logs[TARGET].flight))
			f->peer->ops->cancel(f->peer, f->call);
}

/* ---- Reading the changes ---- */

static void
copying_begin(struct session *s)
{
	s->phase = SESSION_COPYING;
	if (s->start.len > 0 &&
	    (buf_put(&s->next, s->start.s, s->start.len) != 0 || buf_put(&s->through, s->start.s, s->start.len) != 0 ||
		buf_put(&s->noted, s->start.s, s->start.len) != 0))
		session_fail(s, ERR_NOMEM, NULL);
}

static void
changes_read(void *owner)
{
	struct session *s = owner;
	struct peer_changes *c = &s->read;
	struct batch *b = s->reading;

	s->reading = NULL;
	s->stats.updated_us = s->config.ex->wall_us(s->config.ex);
	if (c->call.err != 0 || session_over(s)) {
		session_fail(s, c->call.err, &c->call.why);
		session_batch_free(b);
		return;
	}
	s->stats.pending = c->pending;
	s->read_all = !c->more && s->lost == 0 && !s->spec->continuous;
	buf_clear(&s->next);
	if (buf_put(&s->next, c->last_seq.s, c->last_seq.len) != 0) {
		session_fail(s, ERR_NOMEM, NULL);
		session_batch_free(b);
		return;
	}
	*s->last = b;
	s->last = &b->next;
	s->nbatches++;
	session_batch_start(b, c);
}

/* Waits for what is to come once what is there has been read. */
static void
read_more(struct session *s)
{
	struct peer *source = s->config.source;
	struct batch *b;
	int wait;

	if (s->reading != NULL || s->read_all || s->nbatches >= s->spec->workers)
		return;
	wait = s->spec->continuous && s->read.last_seq.len > 0 && !s->read.more;
	if (wait && s->tired)
		return;
	if (session_batch_new(s, &b) != 0) {
		session_fail(s, ERR_NOMEM, NULL);
		return;
	}
	s->reading = b;
	s->read = (struct peer_changes){.since = {s->next.data, s->next.len},
	    .limit = s->spec->batch,
	    .wait = wait,
	    .once = !s->spec->continuous,
	    .lost = s->lost};
	s->lost = 0;
	s->read.call.arena = b->arena;
	s->waiting = wait;
	session_flight(&s->read_flight, s, source, &s->read.call, changes_read, s);
	source->ops->changes(source, &s->read);
}

/* What is done from the first on is through, up to what was held back.  Of a run that is to end, what is not done is dropped. */
static void
pass_batches(struct session *s)
{
	struct batch *b, **at;

	while ((b = s->first) != NULL && b->done) {
		s->stuck |= b->held;
		if (!s->stuck) {
			buf_clear(&s->through);
			if (buf_put(&s->through, b->last_seq.s, b->last_seq.len) != 0)
				session_fail(s, ERR_NOMEM, NULL);
		}
		if ((s->first = b->next) == NULL)
			s->last = &s->first;
		s->nbatches--;
		session_batch_free(b);
	}
	if (!session_over(s))
		return;
	for (at = &s->first; (b = *at) != NULL;) {
		if (!session_batch_idle(b)) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		s->nbatches--;
		session_batch_free(b);
	}
	s->last = at;
}

/* ---- Checkpoints: when ---- */

static int
worth_noting(const struct session *s)
{
	return s->spec->checkpoints && s->err == 0 && !s->late && s->through.len > 0 &&
	       (s->noted.len > 0 || !checkpoint_is_zero((struct jstr){s->through.data, s->through.len})) &&
	       (s->through.len != s->noted.len || memcmp(s->through.data, s->noted.data, s->noted.len) != 0);
}

static void
timer_rang(void *arg)
{
	struct session *s = arg;
	struct flight *f;

	session_enter(s);
	s->timer_set = 0;
	s->due = 1;
	/* The last checkpoint has taken too long. */
	if (s->hurried)
		s->late = 1;
	for (f = s->flights; s->late && f != NULL; f = f->next)
		f->peer->ops->cancel(f->peer, f->call);
	session_leave(s);
}

static void
set_timer(struct session *s, uint64_t ms)
{
	struct executor *ex = s->config.ex;

	s->timer_set = 1;
	s->timer.fn = timer_rang;
	s->timer.arg = s;
	ex->later(ex, &s->timer, ms);
}

static void
note_in_time(struct session *s)
{
	if (!worth_noting(s) || s->noting_now)
		return;
	if (s->due) {
		s->due = 0;
		session_note(s);
	} else if (!s->timer_set) {
		set_timer(s, s->spec->checkpoint_ms);
	}
}

/* ---- What is held back ---- */

static void
patience_ended(void *arg)
{
	struct session *s = arg;

	session_enter(s);
	s->patience_set = 0;
	s->tired = 1;
	session_leave(s);
}

/* It ends as one that is stopped, with a checkpoint, once it has caught up and nothing is on its way. */
static void
give_up(struct session *s)
{
	int caught_up = s->reading != NULL ? s->waiting : s->read.last_seq.len > 0 && !s->read.more;

	if (s->tired && caught_up && s->first == NULL && !session_over(s))
		s->stopping = s->gave_up = 1;
}

void
session_held(struct session *s)
{
	struct executor *ex = s->config.ex;

	if (!s->spec->continuous || s->patience_set || s->tired)
		return;
	s->patience_set = 1;
	s->patience.fn = patience_ended;
	s->patience.arg = s;
	ex->later(ex, &s->patience, s->config.hold_ms);
}

/* ---- The whole ---- */

static void
copy_on(struct session *s)
{
	if (!session_over(s)) {
		read_more(s);
		note_in_time(s);
	}
	if ((session_over(s) || s->read_all) && s->first == NULL && s->reading == NULL && !s->noting_now) {
		s->phase = SESSION_LAST;
		if (worth_noting(s))
			session_note(s);
	}
}

/* A timer that was set and cannot be taken back will come here. */
static int
timer_gone(struct session *s, struct exec_job *timer, int *setp)
{
	struct executor *ex = s->config.ex;

	if (*setp && ex->cancel(ex, timer))
		*setp = 0;
	return !*setp;
}

static void
advance(struct session *s)
{
	if (s->phase == SESSION_COPYING) {
		pass_batches(s);
		give_up(s);
	}
	if (session_over(s) && !s->cancelled && s->phase != SESSION_ENDED) {
		s->cancelled = 1;
		cancel_calls(s);
	}
	if (s->phase == SESSION_INFO && s->flights == NULL && !session_over(s))
		session_logs(s);
	if (s->phase == SESSION_LOGS && s->flights == NULL && !session_over(s))
		copying_begin(s);
	if (s->phase == SESSION_COPYING)
		copy_on(s);
	if (session_over(s) && s->phase < SESSION_COPYING)
		s->phase = SESSION_LAST;
	if (s->phase == SESSION_LAST && s->flights == NULL && !s->kicked && timer_gone(s, &s->timer, &s->timer_set) &&
	    timer_gone(s, &s->patience, &s->patience_set))
		s->phase = SESSION_ENDED;
	else if (s->stopping && s->flights != NULL && !s->hurried && timer_gone(s, &s->timer, &s->timer_set)) {
		s->hurried = 1;
		set_timer(s, s->config.stop_ms != 0 ? s->config.stop_ms : STOP_MS);
	}
}

/* ---- From outside ---- */

static void
kicked(void *arg)
{
	struct session *s = arg;

	session_enter(s);
	s->kicked = 0;
	if (s->phase == SESSION_NEW)
		session_info(s);
	session_leave(s);
}

/* Under the lock. */
static void
kick(struct session *s)
{
	if (s->kicked)
		return;
	s->kicked = 1;
	s->kick.fn = kicked;
	s->kick.arg = s;
	s->config.ex->submit(s->config.ex, &s->kick);
}

void
session_start(struct session *s)
{
	session_enter(s);
	kick(s);
	pthread_mutex_unlock(&s->lock);
}

void
session_stop(struct session *s)
{
	session_enter(s);
	if (s->phase != SESSION_ENDED && !s->stopping) {
		s->stopping = 1;
		kick(s);
	}
	pthread_mutex_unlock(&s->lock);
}

void
session_stats(struct session *s, struct session_stats *out)
{
	session_enter(s);
	*out = s->stats;
	pthread_mutex_unlock(&s->lock);
}

int
session_idle(struct session *s)
{
	int idle;

	session_enter(s);
	idle = s->phase == SESSION_COPYING && s->first == NULL && s->reading != NULL && s->waiting;
	pthread_mutex_unlock(&s->lock);
	return idle;
}

static void
put_seq(struct buf *b, const char *name, const struct buf *seq)
{
	buf_printf(b, "\"%s\":", name);
	if (seq->len > 0)
		buf_put(b, seq->data, seq->len);
	else
		buf_puts(b, "null");
}

int
session_seqs(struct session *s, struct buf *b)
{
	session_enter(s);
	put_seq(b, "checkpointed_source_seq", &s->noted);
	buf_putc(b, ',');
	put_seq(b, "source_seq", &s->next);
	buf_putc(b, ',');
	put_seq(b, "through_seq", &s->through);
	pthread_mutex_unlock(&s->lock);
	return buf_failed(b);
}
