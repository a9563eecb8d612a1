/*
 * changefeeds.c: _changes requests that stay open.
 *
 * A feed that waits has no handle on its database, so that ten thousand of them on as many databases need no open
 * files; each turn opens one.  That also asks anew whether the reader may read: a feed that may not any more ends
 * before the next row, and so does one whose database became another.
 *
 * Feeds that stand at the same place and want the same form get the same bytes: the rows of the
 * last few forms served are kept for the next feeds within a turn.
 */
#include "changefeeds.h"

#include "feedjudge.h"
#include "feeds.h"
#include "feedscan.h"
#include "feedtable.h"

struct changefeed {
	struct feed feed; /* first: they are cast */
	struct feedscan scan;
};

static struct changefeed *
of(struct feed *f)
{
	return (struct changefeed *)(void *)f;
}

static const struct changefeed *
of_const(const struct feed *f)
{
	return (const struct changefeed *)(const void *)f;
}

static void
close_db(struct changefeed *c)
{
	struct apireq *r = c->feed.r;

	db_close(r->db);
	r->db = NULL;
	c->scan.db = NULL;
}

static int
open_db(struct changefeed *c)
{
	struct apireq *r = c->feed.r;
	int err = db_open(r->api->dbs, r->part[0].s, &r->who, &r->db);

	if (err != 0) {
		r->db = NULL;
		return err;
	}
	err = db_may_list(r->db);
	if (err == 0)
		err = feedscan_reopen(&c->scan, r->db);
	if (err != 0)
		close_db(c);
	return err;
}

static int
begin(struct feed *f, struct buf *b)
{
	struct changefeed *c = of(f);
	int err;

	feedscan_head(&c->scan, b);
	err = feedscan_fill(&c->scan, b, f->table->scratch, &f->seen);
	close_db(c);
	return err;
}

static int
fill_share(struct changefeed *c, struct feedshare *s)
{
	struct feed *f = &c->feed;
	uint64_t seq = f->seen;
	int err;

	s->before = c->scan;
	err = feedscan_fill(&c->scan, &s->b, f->table->scratch, &seq);
	if (err != 0 && err != ERR_END && err != ERR_AGAIN) {
		c->scan = s->before; /* the rows will not be sent: who goes on from here gets them */
		return err;
	}
	f->seen = err == ERR_END ? seq : 0;
	s->group = db_shows_alike(c->feed.r->db) ? f->group : NULL;
	s->after = c->scan;
	s->seq = f->seen;
	s->err = err;
	return err;
}

static int
fill(struct feed *f, struct buf **bp)
{
	struct changefeed *c = of(f);
	struct feedshare *s;
	int err = open_db(c);

	if (err != 0)
		return err;
	s = feedshare_find(&f->table->shares, f->group, &c->scan);
	if (s != NULL) {
		feedscan_follow(&c->scan, &s->before, &s->after);
		f->seen = s->seq;
		err = s->err;
	} else {
		s = feedshare_begin(&f->table->shares);
		err = fill_share(c, s);
	}
	*bp = &s->b;
	close_db(c);
	return err;
}

static int
is_over(const struct feed *f)
{
	const struct feedscan *scan = &of_const(f)->scan;

	return scan->limit == 0 || scan->form == FEEDSCAN_NORMAL ||
	       (scan->form == FEEDSCAN_LONGPOLL && scan->emitted > 0);
}

static void
tail(struct feed *f, struct buf *b)
{
	struct changefeed *c = of(f);

	if (feedscan_must_count(&c->scan) && open_db(c) == 0) {
		feedscan_tail(&c->scan, b);
		close_db(c);
	} else {
		feedscan_tail(&c->scan, b);
	}
}

static const char *
heartbeat(const struct feed *f)
{
	return feedscan_heartbeat(&of_const(f)->scan);
}

static void
waited(void *cookie)
{
	feeds_waited(cookie);
}

static void
wait(struct feed *f)
{
	feedjudge_start(of(f)->scan.judge, waited, f);
}

static const struct feed_kind kind = {begin, fill, wait, is_over, tail, heartbeat};

void
changefeeds_add(struct apireq *r, const struct changes_query *q)
{
	struct changefeed *c = arena_calloc(r->arena, 1, sizeof(*c));

	if (c == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if (q->scan.form == FEEDSCAN_EVENTSOURCE)
		feeds_event_head(r);
	else
		api_json_head(r);
	c->scan = q->scan;
	c->feed.early = q->scan.form == FEEDSCAN_NORMAL     ? FEED_EARLY_CUT
			: q->scan.form == FEEDSCAN_LONGPOLL ? FEED_EARLY_CLOSED
							    : FEED_EARLY_BARE;
	feeds_open(&c->feed, r, &kind, r->part[0].s, q->heartbeat, q->interval_ms);
}
