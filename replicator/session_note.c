/*
 * session_note.c: checkpoints: the target is asked to make everything durable, then both logs are written.
 *
 * A log that another has written meanwhile is in conflict. It may be this session - the answer to an earlier write was lost - or one
 * that does the same work, once instead of continuously. Either way it is written again: what this session says has come through is
 * so, whoever else says what.
 */
#include "session_impl.h"

#include <string.h>

static struct peer *
peer_of(struct session *s, const struct log_end *l)
{
	return l == &s->logs[SOURCE] ? s->config.source : s->config.target;
}

static void log_written(void *owner);

static void
log_put(struct session *s, struct log_end *l)
{
	struct peer *peer = peer_of(s, l);

	arena_reset(l->arena);
	l->local.rev = (struct jstr){l->rev.data, l->rev.len};
	l->local.body = (struct jstr){s->log.data, s->log.len};
	session_flight(&l->flight, s, peer, &l->local.call, log_written, l);
	peer->ops->local_put(peer, &l->local);
}

static int
rev_take(struct log_end *l)
{
	buf_clear(&l->rev);
	return buf_put(&l->rev, l->local.rev.s, l->local.rev.len);
}

/* Where it was, and is no more, so may be what was copied. */
static void
log_read_anew(void *owner)
{
	struct log_end *l = owner;
	struct session *s = l->flight.s;
	const struct peer_call *call = &l->local.call;
	struct errtext why;

	if (call->err == ERR_MISSING && l->rev.len > 0)
		session_fail(s,
		    err_why(&why, ERR_IO, "%s has lost its checkpoint: it was deleted and created anew",
			peer_of(s, l)->name),
		    &why);
	else if (call->err == ERR_MISSING)
		buf_clear(&l->rev);
	else if (call->err != 0)
		session_fail(s, call->err, &call->why);
	else if (rev_take(l) != 0)
		session_fail(s, ERR_NOMEM, NULL);
	if (s->err == 0)
		log_put(s, l);
}

static void
noted(struct session *s)
{
	if (s->logs[SOURCE].flight.link != NULL || s->logs[TARGET].flight.link != NULL)
		return;
	s->noting_now = 0;
	if (s->err != 0 || s->logs[SOURCE].local.call.err != 0 || s->logs[TARGET].local.call.err != 0)
		return;
	buf_clear(&s->noted);
	if (buf_put(&s->noted, s->noting.data, s->noting.len) != 0)
		session_fail(s, ERR_NOMEM, NULL);
}

static void
log_written(void *owner)
{
	struct log_end *l = owner;
	struct session *s = l->flight.s;
	struct peer *peer = peer_of(s, l);
	const struct peer_call *call = &l->local.call;

	if (call->err == ERR_CONFLICT && !l->again && s->err == 0) {
		l->again = 1;
		session_flight(&l->flight, s, peer, &l->local.call, log_read_anew, l);
		peer->ops->local_get(peer, &l->local);
		return;
	}
	if (call->err != 0)
		session_fail(s, call->err, &call->why);
	else if (rev_take(l) != 0)
		session_fail(s, ERR_NOMEM, NULL);
	noted(s);
}

static int
make_log(struct session *s)
{
	struct executor *ex = s->config.ex;
	const struct checkpoint_note note = {.session = s->id,
	    .by_ids = s->spec->filter.doc_ids != NULL,
	    .now_us = ex->wall_us(ex),
	    .start = s->start,
	    .seq = {s->noting.data, s->noting.len},
	    .stats = &s->stats};

	buf_clear(&s->log);
	return checkpoint_write(s->logs[SOURCE].found, s->logs[TARGET].found, &note, &s->log);
}

static void
committed(void *owner)
{
	struct session *s = owner;
	size_t i;
	int err = s->commit.err;

	if (err == 0)
		err = make_log(s);
	if (err != 0) {
		s->noting_now = 0;
		session_fail(s, err, &s->commit.why);
		return;
	}
	for (i = 0; i < 2; i++) {
		s->logs[i].again = 0;
		log_put(s, &s->logs[i]);
	}
}

void
session_note(struct session *s)
{
	struct peer *target = s->config.target;

	s->noting_now = 1;
	buf_clear(&s->noting);
	if (buf_put(&s->noting, s->through.data, s->through.len) != 0) {
		s->noting_now = 0;
		session_fail(s, ERR_NOMEM, NULL);
		return;
	}
	arena_reset(s->logs[TARGET].arena);
	s->commit.arena = s->logs[TARGET].arena;
	session_flight(&s->commit_flight, s, target, &s->commit, committed, s);
	target->ops->commit(target, &s->commit);
}

int
session_result(struct session *s, struct buf *b)
{
	size_t from = b->len;
	int changed, err = 0;

	session_enter(s);
	changed = s->stats.checked + s->stats.failures > 0;
	/* One that notes nothing tells what it would have noted. */
	if (!s->spec->checkpoints && changed && s->log.len == 0) {
		buf_clear(&s->noting);
		if ((err = buf_put(&s->noting, s->through.data, s->through.len)) == 0)
			err = make_log(s);
	}
	buf_puts(b, "{\"ok\":true");
	/* As in CouchDB, only what passed is a change: where the feed ended may have been noted without one. */
	if (s->log.len > 0 && changed) {
		buf_putc(b, ',');
		buf_put(b, s->log.data + 1, s->log.len - 1);
	} else {
		buf_puts(b, ",\"no_changes\":true");
		if (err == 0 && s->logs[SOURCE].found != NULL)
			err = checkpoint_members(s->logs[SOURCE].found, b);
		buf_putc(b, '}');
	}
	pthread_mutex_unlock(&s->lock);
	if (err == 0)
		err = buf_failed(b);
	if (err != 0)
		b->len = from;
	return err;
}
