/*
 * live.c: live queries as feeds (feeds.h).
 *
 *	live_open -> seek --nobody has the same query--> live_build_start --message--> opened -> feeds_open
 *	                  --somebody builds it--> wait_for --go_on--> seek
 *	                  --somebody has it--> join -> feeds_open
 *	fill --ERR_AGAIN--> wait --> live_build_start --message--> built -> fill
 *	                         --somebody builds it--> wait_for --go_on--> fill
 *
 * A waiting one has no handle on its database, no snapshot and no open index: it is a record with a place (struct live_at), whose query
 * and set it shares with those who asked the same.  Each turn opens the database anew, which also asks whether the
 * reader may still read.
 *
 * 1. What at holds is given back by live_release(), once, when the request is done; a build that is then under way finds nothing
 *    to give its result to.
 * 2. Only queries whose readers all see the same are found by others.
 * 3. A build ends in opened() or built(), whatever becomes of the request, and these in led(): nobody waits for ever.
 */
#include "live.h"

#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "feeds.h"
#include "feedscan.h"
#include "feedtable.h"
#include "live_build.h"
#include "live_follow.h"
#include "live_home.h"

#define INTERVAL_DEFAULT_MS 60000u

/* What the query string says. */
struct params {
	int eventsource, progress, heartbeat;
	uint32_t interval_ms;
	int has_since;
	uint64_t since;
};

struct live {
	struct feed feed; /* first: they are cast */
	struct live_at at;
	char history[FEEDSCAN_HISTORY];      /* of its sequences */
	unsigned char name[LIVE_QUERY_NAME]; /* what tells queries apart */
	int alone;                           /* others do not see the same */
	struct live_query *lead;             /* for whose sake it builds, while others wait; held */
	struct live *next_waiting;
	struct params p;
	struct live_build *build; /* that is under way */
	int err;                  /* it ends because of this, */
	char *reason;             /* in these words, or NULL */
};

static struct live *
of(struct feed *f)
{
	return (struct live *)(void *)f;
}

static const struct live *
of_const(const struct feed *f)
{
	return (const struct live *)(const void *)f;
}

/* ---- The query string ---- */

static int
get_number(const struct jstr *v, uint64_t *np)
{
	size_t i;

	for (i = 0, *np = 0; i < v->len && v->s[i] >= '0' && v->s[i] <= '9'; i++)
		*np = *np > UINT32_MAX ? UINT32_MAX : *np * 10 + (uint64_t)(v->s[i] - '0');
	return v->len > 0 && i == v->len ? 0 : ERR_BAD_REQUEST;
}

static int
read_interval(const struct apireq *r, struct params *p, struct errtext *why)
{
	const struct jstr *beat = api_param(r, "heartbeat"), *timeout = api_param(r, "timeout");
	uint64_t most = config_u64(r->api->config, "chttpd", "changes_timeout", INTERVAL_DEFAULT_MS), ms = most;
	int err = 0;

	p->heartbeat = beat != NULL && !jstr_is(beat, "false");
	if (p->heartbeat) {
		ms = INTERVAL_DEFAULT_MS;
		if (!jstr_is(beat, "true"))
			err = get_number(beat, &ms);
		if (err != 0 || ms == 0)
			return err_why(why, ERR_BAD_REQUEST,
			    "The heartbeat value should be a positive integer (in milliseconds).");
	} else if (timeout != NULL && (err = get_number(timeout, &ms)) != 0) {
		return err_why(why, err, "The timeout value should be a non-negative integer (in milliseconds).");
	}
	ms = ms > most ? most : ms;
	p->interval_ms = ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)ms;
	return 0;
}

static int
read_since(const struct apireq *r, struct params *p, struct errtext *why)
{
	const struct jstr *param = api_param(r, "since");
	struct jstr s = p->eventsource ? http_header(r->http, "last-event-id") : (struct jstr){NULL, 0};

	/* Who connects again by itself tells how far it had come, and asks for what it asked for at first. */
	if (s.s == NULL || s.len == 0) {
		if (param == NULL)
			return 0;
		s = *param;
	}
	p->has_since = 1;
	if (s.len == 0 || db_seq_parse(r->db, s.s, s.len, &p->since) != 0)
		return err_why(why, ERR_BAD_REQUEST, "Malformed sequence supplied in 'since' parameter.");
	return 0;
}

static int
read_params(const struct apireq *r, struct params *p, struct errtext *why)
{
	const struct jstr *feed = api_param(r, "feed");
	int err;

	memset(p, 0, sizeof(*p));
	p->eventsource = jstr_is(feed, "eventsource");
	if (!p->eventsource && !jstr_is(feed, "continuous"))
		return err_why(why, ERR_BAD_REQUEST, "Supported `feed` types: normal, continuous, eventsource");
	if ((err = api_param_bool(r, "progress", &p->progress, why)) != 0 || (err = read_interval(r, p, why)) != 0)
		return err;
	return read_since(r, p, why);
}

/* ---- The kind of feed ---- */

static void
close_db(struct live *c)
{
	struct apireq *r = c->feed.r;

	db_close(r->db);
	r->db = NULL;
}

static int
open_db(struct live *c)
{
	struct apireq *r = c->feed.r;
	int err = db_open(r->api->dbs, r->part[0].s, &r->who, &r->db);

	if (err != 0) {
		r->db = NULL;
		return err;
	}
	err = db_may_list(r->db);
	/* Another one of this name has seen nothing of what this one told. */
	if (err == 0 && !jstr_equal((struct jstr){c->history, FEEDSCAN_HISTORY}, db_history(r->db)))
		err = ERR_NO_DB;
	if (err != 0)
		close_db(c);
	return err;
}

/* begin: The first turn is like all others, so that those who begin together share it. */
static int
begin(struct feed *f, struct buf *b)
{
	(void)b;
	close_db(of(f));
	return 0;
}

static void
set_reason(struct live *c, const char *text)
{
	c->reason = arena_dup(c->feed.r->arena, text, strlen(text));
}

/* remember: The set is true as of now: whoever asks the same may begin with it. */
static void
remember(const struct live_at *at)
{
	struct live_query *lq = at->lq;

	if (lq->home == NULL)
		return;
	live_set_hold(at->set);
	live_set_drop(lq->newest);
	lq->newest = at->set;
	lq->newest_seq = lq->newest_end = at->since;
	lq->newest_purged = at->purged;
}

static int
take_turn(struct live *c, struct live_home *home, struct buf **bp)
{
	struct feed *f = &c->feed;
	struct live_at *at = &c->at;
	struct live_share *share = NULL;
	uint64_t seq = 0;
	int err;

	/* So that one who is alone with it changes it in place. */
	if (at->ready && at->lq->newest == at->set) {
		live_set_drop(at->lq->newest);
		at->lq->newest = NULL;
	}
	if (live_home_is_shared(home, at)) {
		share = live_home_share(home);
		live_home_move(&share->before, at);
		*bp = &share->b;
	}
	err = live_follow(at, f->r->db, f->table->scratch, &home->work, *bp, &seq);
	f->seen = err == ERR_END ? seq : 0;
	if (err != 0 && err != ERR_END && err != ERR_AGAIN) {
		if (share != NULL)
			live_home_leave(&share->before);
		return err;
	}
	if (share != NULL) {
		live_home_move(&share->after, at);
		share->seen = f->seen;
		share->err = err;
	}
	if (err == ERR_END)
		remember(at);
	return err;
}

static int
fill(struct feed *f, struct buf **bp)
{
	struct live_home *home = live_home_of(f->r);
	struct live *c = of(f);
	struct live_share *s;
	uint64_t since = c->at.since;
	int err, known = c->at.known;

	*bp = &f->table->b;
	buf_clear(*bp);
	if (c->err != 0)
		return ERR_END;
	if (c->at.need != LIVE_NEED_NOTHING && live_home_follow(home, &c->at) == NULL)
		return ERR_AGAIN;
	if ((err = open_db(c)) != 0) {
		c->err = err;
		return err;
	}
	if ((s = live_home_follow(home, &c->at)) != NULL) {
		live_home_move(&c->at, &s->after);
		f->seen = s->seen;
		err = s->err;
		*bp = &s->b;
	} else {
		err = take_turn(c, home, bp);
	}
	close_db(c);
	live_query_work_tidy(&home->work);
	if (err == 0 || err == ERR_END || err == ERR_AGAIN)
		return err;
	c->err = err;
	if (err != ERR_TOO_LARGE) {
		/* This turn's events will not be sent: who goes on from here gets them. */
		c->at.since = since;
		c->at.known = known;
		return err;
	}
	set_reason(c, "The query finds more than a live query keeps.");
	return ERR_END;
}

static int
is_over(const struct feed *f)
{
	return of_const(f)->err != 0;
}

static void
tail(struct feed *f, struct buf *b)
{
	struct live *c = of(f);

	/* Who ends it because of its database does not say so here. */
	if (c->err == 0 && (c->err = open_db(c)) == 0)
		close_db(c);
	live_follow_end(&c->at, (struct jstr){c->history, FEEDSCAN_HISTORY}, c->err, c->reason, b);
}

static const char *
heartbeat(const struct feed *f)
{
	return of_const(f)->at.eventsource ? "event: heartbeat\ndata: \n\n" : "\n";
}

/* ---- What is built ---- */

static void seek(struct live *c);

/* wait_for: Until the one who builds it is done. */
static void
wait_for(struct live *c, struct live_query *lq)
{
	http_hold(c->feed.r->http);
	c->next_waiting = lq->waiting;
	lq->waiting = c;
}

static void
lead(struct live *c, struct live_query *lq)
{
	lq->building = 1;
	c->lead = live_query_hold(lq);
}

/* go_on: One who has waited: with what was built, or it fails for the same reason, or it builds. */
static void
go_on(struct live *c, const struct live_query *lq, int err, const struct errtext *why)
{
	int failed = err != 0 && err != ERR_CANCELLED;

	if (c->feed.table == NULL && !failed) {
		seek(c);
	} else if (c->feed.table == NULL) {
		api_error(c->feed.r, err, why);
	} else {
		if (failed && c->at.lq == lq) {
			c->err = err;
			set_reason(c, why->text);
		}
		feeds_waited(&c->feed);
	}
}

/* led: Its build has ended; ERR_CANCELLED: without a result for others. */
static void
led(struct live *c, int err, const struct errtext *why)
{
	struct live_query *lq = c->lead;
	struct live *w, *next;

	if (lq == NULL)
		return;
	c->lead = NULL;
	lq->building = 0;
	w = lq->waiting;
	lq->waiting = NULL;
	/* One of them may build again, and others of them wait for that. */
	for (; w != NULL; w = next) {
		struct http_req *http = w->feed.r->http;

		next = w->next_waiting;
		go_on(w, lq, err, why);
		http_release(http);
	}
	live_query_drop(lq);
}

/* led_to: What came of its build; where it was refused itself, others may read all the same. */
static void
led_to(struct live *c, const struct live_built *out, int err)
{
	led(c, out->refused ? ERR_CANCELLED : err, &out->why);
}

/* adopt: The query and set that were built, as its own and as others'. */
static int
adopt(struct live *c, struct live_built *out)
{
	struct live_query *lq = out->query;
	struct live_at *at = &c->at;

	live_home_leave(at);
	at->lq = lq;
	at->set = out->set;
	out->query = NULL;
	out->set = NULL;
	at->since = out->seq;
	at->purged = out->purge_seq;
	if (c->alone)
		return 0;
	lq->newest = live_set_hold(at->set);
	lq->newest_seq = out->seq;
	lq->newest_end = out->end;
	lq->newest_purged = out->purge_seq;
	return live_home_add(live_home_of(c->feed.r), lq, c->name);
}

/* begin_anew: Whatever the listener has is not true any more. */
static int
begin_anew(struct live *c, struct live_built *out)
{
	struct live_at *at = &c->at;

	at->told = 0;
	at->shown = 0;
	at->known = at->resumed = at->ready = at->dirty = 0;
	at->reset = 1;
	return adopt(c, out);
}

static int
use(struct live *c, struct live_built *out)
{
	struct live_at *at = &c->at;
	int need = at->need;

	at->need = LIVE_NEED_NOTHING;
	if (out->err != 0)
		return out->err;
	if (out->alike)
		live_query_planned(at->lq, out->seq, out->purge_seq, out->weighed);
	if (!out->alike || need == LIVE_NEED_ALL)
		return begin_anew(c, out);
	return need == LIVE_NEED_MORE ? live_follow_merge(at, out->set) : 0;
}

/* share: Who waits at the same place goes the same way. */
static void
share(struct live *c, const struct live_at *before)
{
	struct live_share *s = live_home_share(live_home_of(c->feed.r));

	live_home_move(&s->before, before);
	live_home_move(&s->after, &c->at);
	s->seen = 0;
	s->err = 0;
}

static void
built(void *cookie, struct live_built *out)
{
	struct live *c = cookie;
	struct live_at before = {.lq = NULL, .set = NULL};
	int err = ERR_CANCELLED;

	c->build = NULL;
	/* It may have ended meanwhile. */
	if (c->at.lq != NULL) {
		live_home_move(&before, &c->at);
		if ((err = c->err = use(c, out)) != 0)
			set_reason(c, out->why.text);
		else
			share(c, &before);
		live_home_leave(&before);
		feeds_waited(&c->feed);
	}
	led_to(c, out, err);
}

static void
wait(struct feed *f)
{
	struct live *c = of(f);
	struct live_query *lq = c->at.lq;
	int err;

	if (lq->building) {
		wait_for(c, lq);
		return;
	}
	lead(c, lq);
	err = live_build_start(f->r, lq->body, lq, c->at.need != LIVE_NEED_PLAN, built, c, &c->build);
	if (err == 0)
		return;
	c->err = err;
	feeds_waited(f);
	led(c, ERR_CANCELLED, NULL);
}

static const struct feed_kind kind = {begin, fill, wait, is_over, tail, heartbeat};

/* ---- Requests ---- */

/*
 * resume: The listener knows what was found as of p.since.  Without places it is enough to tell it what has become of each document that has
 * changed; with them nothing may have, nor may the plan: a sequence settles which indexes there are, and so a plan for
 * which no rows were counted.  ${end}: everything that the set knows happened up to here.
 */
static void
resume(struct live *c, uint64_t end)
{
	struct live_at *at = &c->at;

	at->reset = 1;
	if (c->p.since == 0 || c->p.since > at->since)
		return;
	if (at->lq->ordered ? c->p.since != end || at->lq->weighed : !at->lq->settled)
		return;
	at->reset = 0;
	at->known = 1;
	at->told = c->p.since;
	at->shown = at->set->n < at->lq->limit ? at->set->n : at->lq->limit;
	if (at->lq->ordered)
		return;
	at->since = c->p.since;
	at->purged = 0;
	at->resumed = 1;
}

static void
start(struct live *c, uint64_t end)
{
	struct apireq *r = c->feed.r;

	c->at.progress = c->p.progress != 0;
	c->at.eventsource = c->p.eventsource != 0;
	if (c->p.has_since)
		resume(c, end);
	if (c->p.eventsource)
		feeds_event_head(r);
	else
		api_json_head(r);
	c->feed.early = FEED_EARLY_CLOSED;
	feeds_open(&c->feed, r, &kind, r->part[0].s, c->p.heartbeat, c->p.interval_ms);
}

/* join: Somebody has the same query and its members. */
static void
join(struct live *c, struct live_query *lq)
{
	c->at.lq = live_query_hold(lq);
	c->at.set = live_set_hold(lq->newest);
	c->at.since = lq->newest_seq;
	c->at.purged = lq->newest_purged;
	start(c, lq->newest_end);
}

static void
opened(void *cookie, struct live_built *out)
{
	struct live *c = cookie;
	int err = out->err;

	c->build = NULL;
	if (err == 0)
		err = adopt(c, out);
	if (err == 0)
		start(c, out->end);
	else
		api_error(c->feed.r, err, &out->why);
	led_to(c, out, err);
}

/* take_lead: Others who ask the same meanwhile wait for it: by ${known}, or by a query that has its name and nothing else yet. */
static int
take_lead(struct live *c, struct live_query *known)
{
	struct live_query *lq = live_query_hold(known);
	int err = 0;

	if (c->alone)
		return 0;
	if (lq == NULL && (err = live_query_empty(&lq)) == 0)
		err = live_home_add(live_home_of(c->feed.r), lq, c->name);
	if (err == 0)
		lead(c, lq);
	live_query_drop(lq);
	return err;
}

static int
build(struct live *c, struct live_query *known)
{
	struct apireq *r = c->feed.r;
	struct errtext why;
	struct jstr body;
	int err = api_body(r, &body, &why);

	if (err == 0)
		err = take_lead(c, known);
	return err != 0 ? err : live_build_start(r, body, NULL, 0, opened, c, &c->build);
}

static void
seek(struct live *c)
{
	struct live_query *lq = c->alone ? NULL : live_home_find(live_home_of(c->feed.r), c->name);
	int err;

	if (lq != NULL && lq->newest != NULL) {
		join(c, lq);
	} else if (lq != NULL && lq->building) {
		wait_for(c, lq);
	} else if ((err = build(c, lq)) != 0) {
		api_error(c->feed.r, err, NULL);
		led(c, ERR_CANCELLED, NULL);
	}
}

/* set_name: From the database, all that query string and path may say of the query, and the body. */
static int
set_name(struct live *c, struct jstr body)
{
	struct apireq *r = c->feed.r;
	const struct jstr *partition = api_param(r, "partition");
	struct buf b;
	int err;

	c->alone = !db_shows_alike(r->db);
	buf_init(&b, 2 * (size_t)LIMIT_URL_LEN);
	buf_put_u64(&b, db_incarnation(r->db));
	for (size_t i = 1; i < r->nparts; i++) {
		buf_putc(&b, '\0');
		buf_put(&b, r->part[i].s, r->part[i].len);
	}
	buf_putc(&b, '?');
	if (partition != NULL)
		buf_put(&b, partition->s, partition->len);
	err = buf_failed(&b);
	hash_sha256(b.data, b.len, c->name);
	hash_sha256(body.s, body.len, c->name + SHA256_LEN);
	buf_release(&b);
	return err;
}

int
live_is_asked(const struct apireq *r)
{
	const struct jstr *feed = api_param(r, "feed");

	return feed != NULL && !jstr_is(feed, "normal");
}

void
live_open(struct apireq *r)
{
	struct live *c = arena_calloc(r->arena, 1, sizeof(*c));
	struct errtext why = {""};
	struct jstr body, history;
	int err = c != NULL ? db_may_list(r->db) : ERR_NOMEM;

	if (err == 0)
		err = read_params(r, &c->p, &why);
	if (err == 0)
		err = api_body(r, &body, &why);
	if (err == 0 && body.len > LIMIT_LIVE_LEN)
		err = ERR_TOO_LARGE;
	if (err == 0) {
		history = db_history(r->db);
		memcpy(c->history, history.s, history.len < FEEDSCAN_HISTORY ? history.len : FEEDSCAN_HISTORY);
		c->feed.r = r;
		r->live = c;
		err = set_name(c, body);
	}
	if (err == 0)
		seek(c);
	else
		api_error(r, err, &why);
}

void
live_release(struct live *l)
{
	if (l == NULL)
		return;
	if (l->build != NULL)
		live_build_cancel(l->build);
	live_home_leave(&l->at);
}
