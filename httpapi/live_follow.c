/*
 * live_follow.c: from what has changed in a database to what has changed in the result of a query.
 *
 * The set of members (live_set.h) is in the query's order.  The listener has the first at->shown of them: while the first ones are sent
 * that grows up to all, or to the limit; then a member that goes takes one away, and the next ones make up for it.  So
 * sending the result, refilling a limited one and following changes are the same, and each event is right by itself: whoever
 * applies them in order has the first members of the set, at every step.
 *
 * Documents are looked at as they are in one snapshot, which may be newer than the row of _changes that names them: the row of the
 * newer change follows, and then finds nothing new.
 *
 *	purges -> changes --a design document, of either--> LIVE_NEED_PLAN
 *	                  --fewer than the limit, and a fence--> LIVE_NEED_MORE
 *	                  --all looked at--> members that are not shown yet -> "ready" or "progress"
 *
 * Invariants:
 * 1. shown <= min(set->n, limit).
 * 2. The sequence in an event is one from which a listener that saw this event last, and nothing behind it, misses nothing.
 * 3. What is behind the fence is no member.
 * 4. A document has one row of changes, of its last one: that it changed before the set was built may be known by a row from after it.
 */
#include "live_follow.h"

#include <assert.h>
#include <string.h>

#include "base/limits.h"
#include "live_build.h"
#include "rows.h"

#define NOWHERE UINT32_MAX

struct turn {
	struct live_at *at;
	struct db *db;
	struct db_snap *snap;
	uint64_t seq; /* of the snapshot */
	struct arena *arena;
	struct live_work *work;
	struct buf *b;
	struct rows_turn rows;
};

/* ---- Events ---- */

static void
put_seq(struct buf *b, struct jstr history, uint64_t seq)
{
	buf_put_u64(b, seq);
	if (seq == 0)
		return;
	buf_putc(b, '-');
	buf_put(b, history.s, history.len);
}

static void
begin_event(int eventsource, struct buf *b, const char *name)
{
	if (eventsource) {
		buf_puts(b, "event: ");
		buf_puts(b, name);
		buf_puts(b, "\ndata: ");
	}
	buf_puts(b, "{\"event\":\"");
	buf_puts(b, name);
	buf_putc(b, '"');
}

static void
end_event(int eventsource, struct buf *b, struct jstr history, uint64_t seq)
{
	buf_puts(b, "}\n");
	if (!eventsource)
		return;
	buf_puts(b, "id: ");
	put_seq(b, history, seq);
	buf_puts(b, "\n\n");
}

static void
put_place(struct buf *b, const char *name, uint32_t i)
{
	if (i == NOWHERE)
		return;
	buf_puts(b, ",\"");
	buf_puts(b, name);
	buf_puts(b, "\":");
	buf_put_u64(b, i);
}

/* safe_seq: See invariant 2.  ${seq}: of the change that is being looked at.  Where places count, a part of what a change does is of no use. */
static uint64_t
safe_seq(const struct live_at *at, uint64_t seq)
{
	return at->known && !at->lq->ordered ? seq : 0;
}

/* put_event: ${text}: the document, or NULL. */
static int
put_event(
    struct turn *t, const char *name, struct jstr id, uint64_t seq, uint32_t from, uint32_t at, const struct jstr *text)
{
	struct jstr history = db_history(t->db);
	struct buf *b = t->b;
	int err = 0;

	seq = safe_seq(t->at, seq);
	if (!t->at->lq->ordered)
		from = at = NOWHERE;
	begin_event(t->at->eventsource, b, name);
	buf_puts(b, ",\"id\":");
	buf_put_json(b, id.s, id.len);
	buf_puts(b, ",\"seq\":\"");
	put_seq(b, history, seq);
	buf_putc(b, '"');
	put_place(b, "from", from);
	put_place(b, "at", at);
	if (text != NULL) {
		buf_puts(b, ",\"doc\":");
		err = live_query_put(t->at->lq, *text, b);
	}
	end_event(t->at->eventsource, b, history, seq);
	t->at->dirty = 1;
	return err != 0 ? err : buf_failed(b);
}

/* put_mark: An event of no document. */
static int
put_mark(struct turn *t, const char *name, uint64_t seq)
{
	struct jstr history = db_history(t->db);

	begin_event(t->at->eventsource, t->b, name);
	buf_puts(t->b, ",\"seq\":\"");
	put_seq(t->b, history, seq);
	buf_putc(t->b, '"');
	end_event(t->at->eventsource, t->b, history, seq);
	return buf_failed(t->b);
}

void
live_follow_end(const struct live_at *at, struct jstr history, int err, const char *reason, struct buf *b)
{
	uint64_t seq = 0;

	if (at->lq != NULL && at->known)
		seq = !at->lq->ordered ? at->since : at->dirty ? 0 : at->told;
	begin_event(at->eventsource, b, "end");
	buf_puts(b, ",\"seq\":\"");
	put_seq(b, history, seq);
	buf_putc(b, '"');
	if (err != 0) {
		if (reason == NULL || reason[0] == '\0')
			reason = err_reason(err);
		buf_puts(b, ",\"error\":\"");
		buf_puts(b, err_name(err));
		buf_puts(b, "\",\"reason\":");
		buf_put_json(b, reason, strlen(reason));
	}
	end_event(at->eventsource, b, history, seq);
}

/* ---- Members ---- */

/* own_set: Before it is changed. */
static int
own_set(struct live_at *at)
{
	struct live_set *copy;
	int err;

	if (at->set->refs == 1)
		return 0;
	if ((err = live_set_copy(at->set, &copy)) != 0)
		return err;
	live_set_drop(at->set);
	at->set = copy;
	return 0;
}

static int
take_out(struct turn *t, uint32_t i, struct jstr id, uint64_t seq)
{
	struct live_at *at = t->at;
	int err = own_set(at);

	if (err != 0)
		return err;
	live_set_del(at->set, i);
	if (i >= at->shown)
		return 0;
	at->shown--;
	return put_event(t, "left", id, seq, i, NOWHERE, NULL);
}

/* push_out: The last one that is shown, as another one is to stand before it and no more are wanted. */
static int
push_out(struct turn *t, uint64_t seq)
{
	struct live_member last = live_set_get(t->at->set, t->at->shown - 1);

	t->at->shown--;
	return put_event(t, "left", last.id, seq, t->at->shown, NOWHERE, NULL);
}

/* trim: So that a limited set does not grow for ever. */
static int
trim(struct live_at *at)
{
	uint32_t kept = live_build_kept(at->lq->limit);

	if (at->lq->limit == UINT32_MAX || at->set->n < kept + kept / 2)
		return 0;
	return live_set_trim(at->set, kept);
}

/* change_name: Of the event of a document that is found; ${member}: it was shown before. */
static const char *
change_name(const struct live_at *at, int member)
{
	return member && !at->resumed ? "changed" : "entered";
}

/* take_in: A document that is no member; ${from}: where it was shown until now, or NOWHERE. */
static int
take_in(struct turn *t, const struct live_member *m, struct jstr text, uint64_t seq, uint32_t from)
{
	struct live_at *at = t->at;
	uint32_t i = live_set_place(at->set, m->key, m->id);
	int err = own_set(at), shows = i <= at->shown && i < at->lq->limit;

	/* It leaves by itself where it is not to be shown any more. */
	if (err == 0 && !shows && from != NOWHERE)
		err = put_event(t, "left", m->id, seq, from, NOWHERE, NULL);
	if (err == 0 && shows && at->shown == at->lq->limit)
		err = push_out(t, seq);
	if (err == 0)
		err = live_set_put(at->set, m, &i);
	if (err != 0)
		return err;
	if (shows) {
		at->shown++;
		err = put_event(t, change_name(at, from != NOWHERE), m->id, seq, from == i ? NOWHERE : from, i, &text);
	}
	return err != 0 ? err : trim(at);
}

/* renew: A member that stays where it is. */
static int
renew(struct turn *t, uint32_t i, const struct live_member *m, struct jstr text, uint64_t seq)
{
	struct live_at *at = t->at;
	int err;

	if (live_set_get(at->set, i).mark == m->mark && !at->resumed)
		return 0;
	if ((err = own_set(at)) != 0)
		return err;
	live_set_mark(at->set, i, m->mark);
	if (i >= at->shown)
		return 0;
	return put_event(t, change_name(at, 1), m->id, seq, NOWHERE, i, &text);
}

/* apply: The document may have changed. */
static int
apply(struct turn *t, struct jstr id, uint64_t seq)
{
	struct live_at *at = t->at;
	uint32_t i = live_set_find(at->set, id);
	int found, known = i < at->set->n, err;
	struct live_found d;
	struct live_member m;

	if ((err = live_query_find(at->lq, t->snap, id, t->work, &d, &found)) != 0)
		return err;
	m = (struct live_member){d.key, id, d.mark};
	if (found && live_set_is_behind(at->set, m.key, id))
		found = 0;
	if (!found && !known)
		return at->resumed ? put_event(t, "left", id, seq, NOWHERE, NOWHERE, NULL) : 0;
	if (!found)
		return take_out(t, i, id, seq);
	if (!known)
		return take_in(t, &m, d.text, seq, NOWHERE);
	if (jstr_equal(live_set_get(at->set, i).key, m.key))
		return renew(t, i, &m, d.text, seq);
	if ((err = own_set(at)) != 0)
		return err;
	live_set_del(at->set, i);
	if (i >= at->shown)
		return take_in(t, &m, d.text, seq, NOWHERE);
	at->shown--;
	return take_in(t, &m, d.text, seq, i);
}

int
live_follow_merge(struct live_at *at, const struct live_set *more)
{
	struct live_member m;
	uint32_t place;
	int err = own_set(at);

	for (uint32_t i = 0; err == 0 && i < more->n; i++) {
		m = live_set_get(more, i);
		if (live_set_is_behind(at->set, m.key, m.id) && live_set_find(at->set, m.id) == at->set->n)
			err = live_set_put(at->set, &m, &place);
	}
	if (err != 0)
		return err;
	if (more->fence == LIVE_SET_NO_FENCE) {
		live_set_unfence(at->set);
		return 0;
	}
	/* Where many came in before the fence, the new one is before the old one. */
	m = live_set_get(more, more->n - 1);
	return live_set_is_behind(at->set, m.key, m.id) ? live_set_fence(at->set, m.key, m.id) : 0;
}

/* ---- What has changed ---- */

/* is_over: Of this turn.  A row may cost a selector much, so the clock is looked at behind each. */
static int
is_over(struct turn *t)
{
	return rows_turn_over(&t->rows, t->b) || rows_turn_late(&t->rows);
}

/* is_planned_anew: A design document has changed, or was purged, at ${seq}, which the plan knows of up to ${known}. */
static int
is_planned_anew(struct live_at *at, struct jstr id, uint64_t seq, uint64_t known)
{
	if (!doc_id_is_design(id) || at->lq->settled || seq <= known)
		return 0;
	at->need = LIVE_NEED_PLAN;
	return 1;
}

/* follow_purges: All of them, as few are remembered.  A document that is gone has no row of changes. */
static int
follow_purges(struct turn *t)
{
	struct live_at *at = t->at;
	struct db_scan *scan;
	struct db_purge p;
	int err = db_purges_open(t->snap, at->purged, &scan);

	if (err != 0)
		return err;
	for (;;) {
		arena_reset(t->arena);
		if ((err = db_purges_next(scan, t->arena, &p)) != 0)
			break;
		if (p.seq != at->purged + 1) {
			at->need = LIVE_NEED_ALL;
			err = ERR_AGAIN;
			break;
		}
		if (is_planned_anew(at, p.id, p.seq, at->lq->designs_purged)) {
			err = ERR_AGAIN;
			break;
		}
		if ((err = apply(t, p.id, at->since)) != 0)
			break;
		at->purged = p.seq;
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

/* follow_changes: Returns 0 if the turn is over, ERR_END at the end. */
static int
follow_changes(struct turn *t)
{
	struct live_at *at = t->at;
	struct db_scan *scan;
	struct db_change c;
	int err;

	if (at->since >= t->seq)
		return ERR_END;
	if ((err = db_changes_open(t->snap, at->since, 0, &scan)) != 0)
		return err;
	do {
		arena_reset(t->arena);
		err = db_changes_step(scan, t->arena, &c);
		if (err == ERR_AGAIN) {
			at->since = c.seq;
			err = 0;
			continue;
		}
		if (err != 0)
			break;
		if (is_planned_anew(at, c.id, c.seq, at->lq->designs)) {
			err = ERR_AGAIN;
			break;
		}
		if ((err = apply(t, c.id, c.seq)) != 0)
			break;
		at->since = c.seq;
	} while (!is_over(t));
	db_scan_close(scan);
	if (err == ERR_END)
		at->since = t->seq;
	return err;
}

/* show: Members that are not shown yet.  Returns 0 if the turn is over, ERR_END at the end. */
static int
show(struct turn *t)
{
	struct live_at *at = t->at;
	struct live_member m;
	struct live_found d;
	int err, found;

	while (at->shown < at->set->n && at->shown < at->lq->limit) {
		arena_reset(t->arena);
		m = live_set_get(at->set, at->shown);
		err = live_query_find(at->lq, t->snap, m.id, t->work, &d, &found);
		if (err == 0 && found)
			err = put_event(t, "entered", m.id, at->since, NOWHERE, at->shown++, &d.text);
		/* All that has changed has been looked at, so it can only be that it is not to be seen any more. */
		else if (err == 0 && (err = own_set(at)) == 0)
			live_set_del(at->set, at->shown);
		if (err != 0)
			return err;
		if (is_over(t))
			return 0;
	}
	return ERR_END;
}

static int
is_short(const struct live_at *at)
{
	return at->set->fence != LIVE_SET_NO_FENCE && at->set->n < at->lq->limit;
}

/* settle: All is told. */
static int
settle(struct turn *t)
{
	struct live_at *at = t->at;
	int err = 0;

	if (!at->ready)
		err = put_mark(t, "ready", at->since);
	else if (at->dirty || (at->progress && at->told < at->since))
		err = put_mark(t, "progress", at->since);
	/* It is so whether or not it was said; then all who are here are at the same place. */
	at->told = at->since;
	at->known = at->ready = 1;
	at->resumed = at->dirty = 0;
	return err;
}

static int
run(struct turn *t)
{
	struct live_at *at = t->at;
	int err = 0;

	if (at->reset)
		err = put_mark(t, "reset", 0);
	at->reset = 0;
	if (err != 0 || (err = follow_purges(t)) != 0 || (err = follow_changes(t)) != ERR_END)
		return err;
	if (is_short(at)) {
		at->need = LIVE_NEED_MORE;
		return ERR_AGAIN;
	}
	if ((err = show(t)) != ERR_END)
		return err;
	err = settle(t);
	return err != 0 ? err : ERR_END;
}

int
live_follow(struct live_at *at, struct db *db, struct arena *a, struct live_work *w, struct buf *b, uint64_t *seqp)
{
	struct turn t = {.at = at, .db = db, .arena = a, .work = w, .b = b};
	int err;

	if (at->need != LIVE_NEED_NOTHING)
		return ERR_AGAIN;
	if ((err = db_snap_begin(db, &t.snap)) != 0)
		return err;
	w->arena = a;
	rows_turn_begin(&t.rows, b);
	if ((err = db_snap_seq(t.snap, &t.seq)) == 0)
		err = run(&t);
	*seqp = t.seq;
	assert(at->shown <= at->set->n);
	db_snap_end(t.snap);
	return err;
}
