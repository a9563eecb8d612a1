/*
 * updatefeeds.c: _db_updates.
 *
 * Its feeds are like those of any database (feeds.c), in a group of their own; the rows come from a log in memory (updates.c).
 * A storm of commits must not become a storm of rows: the feeds are told at once when something moves, and then not
 * again for COALESCE_MS; as a row stands for all that happened to a database meanwhile, nothing is lost.
 *
 * Invariant: if job_waits is 0, the feeds were told of the newest row, or are being told.  It is guarded by the lock, and so
 * is told_ms.
 */
#include "updatefeeds.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "feeds.h"
#include "feedtable.h"
#include "rows.h"
#include "updates.h"

#define INTERVAL_DEFAULT_MS 60000u
#define COALESCE_MS 250u

struct updatefeeds {
	struct api *api;
	struct updates *log;
	pthread_mutex_t lock;
	struct exec_job job;
	int job_waits;
	uint64_t told_ms; /* when the feeds were told last */
};

struct updatefeed {
	struct feed feed; /* first: they are cast */
	struct updates *log;
	struct updates_scan scan;
};

/* ---- Telling ---- */

static void
tell(void *arg)
{
	struct updatefeeds *all = arg;

	pthread_mutex_lock(&all->lock);
	all->job_waits = 0;
	all->told_ms = all->api->ex->now_ms(all->api->ex);
	pthread_mutex_unlock(&all->lock);
	feeds_moved(all->api, FEEDTABLE_UPDATES, updates_seq(all->log), 0);
}

void
updatefeeds_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	struct updatefeeds *all = api->updatefeeds;
	uint64_t now, due;

	if (all == NULL)
		return;
	updates_moved(all->log, name, seq, dropped);
	pthread_mutex_lock(&all->lock);
	if (!all->job_waits) {
		all->job_waits = 1;
		now = api->ex->now_ms(api->ex);
		due = all->told_ms + COALESCE_MS;
		if (due > now)
			api->ex->later(api->ex, &all->job, due - now);
		else
			api->ex->submit(api->ex, &all->job);
	}
	pthread_mutex_unlock(&all->lock);
}

/* ---- The kind of feed ---- */

static struct updatefeed *
of(struct feed *f)
{
	return (struct updatefeed *)(void *)f;
}

static const struct updatefeed *
of_const(const struct feed *f)
{
	return (const struct updatefeed *)(const void *)f;
}

static int
fill_buf(struct updatefeed *u, struct buf *b)
{
	uint64_t seq = updates_seq(u->log);
	struct updates_scan before = u->scan;
	int err = updates_fill(u->log, &u->scan, b);

	if (err != 0 && err != ERR_END)
		u->scan = before; /* the rows will not be sent */
	u->feed.seen = err == ERR_END ? seq : 0;
	return err;
}

static int
begin(struct feed *f, struct buf *b)
{
	updates_head(&of(f)->scan, b);
	return fill_buf(of(f), b);
}

static int
fill(struct feed *f, struct buf **bp)
{
	buf_clear(&f->table->b);
	*bp = &f->table->b;
	return fill_buf(of(f), *bp);
}

static int
is_over(const struct feed *f)
{
	const struct updates_scan *scan = &of_const(f)->scan;

	return scan->limit == 0 || (scan->form == UPDATES_LONGPOLL && scan->emitted > 0);
}

static void
tail(struct feed *f, struct buf *b)
{
	updates_tail(of(f)->log, &of(f)->scan, b);
}

static const char *
heartbeat(const struct feed *f)
{
	return of_const(f)->scan.form == UPDATES_EVENTSOURCE ? "event: heartbeat\ndata: \n\n" : "\n";
}

static const struct feed_kind kind = {begin, fill, NULL, is_over, tail, heartbeat};

/* ---- Requests ---- */

struct query {
	struct updates_scan scan;
	int has_timeout, heartbeat;
	uint64_t timeout_ms, heartbeat_ms;
};

static int
set_feed(struct query *q, const struct jstr *v, struct errtext *why)
{
	if (jstr_is(v, "normal"))
		q->scan.form = UPDATES_NORMAL;
	else if (jstr_is(v, "longpoll"))
		q->scan.form = UPDATES_LONGPOLL;
	else if (jstr_is(v, "continuous"))
		q->scan.form = UPDATES_CONTINUOUS;
	else if (jstr_is(v, "eventsource"))
		q->scan.form = UPDATES_EVENTSOURCE;
	else
		return err_why(
		    why, ERR_BAD_REQUEST, "Supported `feed` types: normal, continuous, longpoll, eventsource");
	return 0;
}

static int
get_number(const struct jstr *v, uint64_t *np, struct errtext *why)
{
	size_t i = v->len > 1 && v->s[0] == '+';

	for (*np = 0; i < v->len && v->s[i] >= '0' && v->s[i] <= '9'; i++)
		*np = *np > UINT64_MAX / 100 ? UINT64_MAX / 100 : *np * 10 + (uint64_t)(v->s[i] - '0');
	return v->len > 0 && i == v->len ? 0 : err_why(why, ERR_BAD_REQUEST, "invalid_integer");
}

static int
set_since(struct query *q, const struct updatefeeds *all, struct jstr v, struct errtext *why)
{
	uint64_t seq = 0;
	int err = 0;

	/* Event ids are JSON strings, and come back as they went out. */
	if (v.len >= 2 && v.s[0] == '"' && v.s[v.len - 1] == '"') {
		v.s++;
		v.len -= 2;
	}
	if (jstr_is(&v, "now"))
		seq = updates_seq(all->log);
	else
		err = updates_seq_parse(all->log, v.s, v.len, &seq);
	if (err != 0)
		return err_why(why, err, "Malformed sequence supplied in 'since' parameter.");
	q->scan.since = q->scan.last = seq;
	return 0;
}

static int
set(struct query *q, const struct updatefeeds *all, const struct api_param *p, struct errtext *why)
{
	if (jstr_is(&p->name, "feed"))
		return set_feed(q, &p->value, why);
	if (jstr_is(&p->name, "since") || jstr_is(&p->name, "last-event-id"))
		return set_since(q, all, p->value, why);
	if (jstr_is(&p->name, "limit"))
		return get_number(&p->value, &q->scan.limit, why);
	if (jstr_is(&p->name, "descending"))
		q->scan.descending = jstr_is(&p->value, "true");
	if (jstr_is(&p->name, "timeout")) {
		q->has_timeout = 1;
		return get_number(&p->value, &q->timeout_ms, why);
	}
	if (jstr_is(&p->name, "heartbeat")) {
		q->heartbeat = !jstr_is(&p->value, "false");
		q->heartbeat_ms = INTERVAL_DEFAULT_MS;
		if (q->heartbeat && !jstr_is(&p->value, "true"))
			return get_number(&p->value, &q->heartbeat_ms, why);
	}
	return 0;
}

static int
parse(struct apireq *r, struct query *q, struct errtext *why)
{
	const struct updatefeeds *all = r->api->updatefeeds;
	struct jstr header = http_header(r->http, "last-event-id");
	size_t i;
	int err = 0;

	memset(q, 0, sizeof(*q));
	q->scan.until = q->scan.limit = q->scan.down = UINT64_MAX;
	for (i = 0; i < r->nparams && err == 0; i++)
		err = set(q, all, &r->params[i], why);
	if (err == 0 && q->scan.form == UPDATES_EVENTSOURCE && header.s != NULL && header.len > 0)
		err = set_since(q, all, header, why);
	return err;
}

struct normal {
	struct updates *log;
	struct updates_scan scan;
	int headed;
};

static int
fill_normal(void *cookie, struct buf *b, struct arena *scratch)
{
	struct normal *n = cookie;
	int err;

	(void)scratch;
	if (!n->headed)
		updates_head(&n->scan, b);
	n->headed = 1;
	err = updates_fill(n->log, &n->scan, b);
	if (err == ERR_END)
		updates_tail(n->log, &n->scan, b);
	return err;
}

static void
send_normal(struct apireq *r, const struct updates_scan *scan)
{
	struct normal *n = arena_calloc(r->arena, 1, sizeof(*n));
	struct buf tag;
	int done;

	if (n == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	n->log = r->api->updatefeeds->log;
	n->scan = *scan;
	/* Whatever happens meanwhile: a feed that chases it would not end. */
	n->scan.until = updates_seq(n->log);
	buf_init(&tag, 256);
	buf_putc(&tag, '"');
	updates_seq_put(n->log, &tag, n->scan.until);
	buf_putc(&tag, '"');
	done = !buf_failed(&tag) && api_not_modified(r, tag.data, tag.len);
	buf_release(&tag);
	if (done)
		return;
	api_json_head(r);
	rows_send(r, fill_normal, NULL, n);
}

static void
send_feed(struct apireq *r, const struct query *q)
{
	uint64_t most = config_u64(r->api->config, "chttpd", "changes_timeout", INTERVAL_DEFAULT_MS);
	uint64_t ms = q->heartbeat ? q->heartbeat_ms : q->has_timeout ? q->timeout_ms : most;
	struct updatefeed *u = arena_calloc(r->arena, 1, sizeof(*u));

	if (u == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if (q->scan.form == UPDATES_EVENTSOURCE)
		feeds_event_head(r);
	else
		api_json_head(r);
	u->log = r->api->updatefeeds->log;
	u->scan = q->scan;
	u->feed.early = q->scan.form == UPDATES_LONGPOLL ? FEED_EARLY_CLOSED : FEED_EARLY_BARE;
	ms = ms > most ? most : ms;
	ms = ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : q->heartbeat && ms == 0 ? 1 : ms;
	feeds_open(&u->feed, r, &kind, FEEDTABLE_UPDATES, q->heartbeat, (uint32_t)ms);
}

void
updatefeeds_any(struct apireq *r)
{
	struct query q;
	struct errtext why = {""};
	int err;

	err = parse(r, &q, &why);
	if (err != 0)
		api_error(r, err, &why);
	else if (q.scan.form == UPDATES_NORMAL || rows_is_head(r))
		send_normal(r, &q.scan);
	else
		send_feed(r, &q);
}

/* ---- Set-up ---- */

int
updatefeeds_new(struct api *api)
{
	struct updatefeeds *all = calloc(1, sizeof(*all));
	int err;

	if (all == NULL)
		return ERR_NOMEM;
	all->api = api;
	all->job = (struct exec_job){.fn = tell, .arg = all};
	err = pthread_mutex_init(&all->lock, NULL) == 0 ? updates_new(api->dbs, &all->log) : ERR_NOMEM;
	if (err != 0)
		free(all);
	else
		api->updatefeeds = all;
	return err;
}

void
updatefeeds_free(struct api *api)
{
	struct updatefeeds *all = api->updatefeeds;

	if (all == NULL)
		return;
	updates_free(all->log);
	pthread_mutex_destroy(&all->lock);
	free(all);
	api->updatefeeds = NULL;
}
