/*
 * updatefeeds.c: _db_updates: its requests, and those of them that wait.
 *
 * Each HTTP thread has a table of the feeds that wait on it.  They are few, since only server administrators have
 * them, so a table is a list that is walked.  A storm of commits must not become a storm of rows: a table is served
 * at once when something moves, and then not again for COALESCE_MS; as a row stands for all that happened to a database
 * meanwhile, nothing is lost.
 *
 *	add --rows, not at the end--> sent --ready--> serve
 *	    --at the end, longpoll with rows, limit--> finished
 *	    --at the end--> waiting --something moved--> serve
 *	                            --interval is over--> heartbeat, or finished
 *
 * Invariants:
 * 1. A feed that waits is in its table before its first look at the log, so no row falls between the two.
 * 2. posted is guarded by the table's lock, and so is listening, which says whether a message is wanted; all else is
 *    the thread's own.
 * 3. A feed that is not in its table any more (ending) only waits to send its last line.
 */
#include "updatefeeds.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "rows.h"
#include "updates.h"

#define INTERVAL_DEFAULT_MS 60000u
#define COALESCE_MS 250u
#define BATCH_MAX ((size_t)1 << 20)
#define NEVER UINT64_MAX

struct feed {
	struct feed *prev, *next;
	struct table *table;
	struct apireq *r;
	struct updates_scan scan;
	uint64_t active_ms; /* when it last sent something or began to wait */
	uint32_t interval_ms;
	uint8_t heartbeat;
	uint8_t started;   /* the head is out */
	uint8_t more;      /* its last turn ended before the rows did */
	uint8_t in_flight; /* on_ready() will come */
	uint8_t listed;    /* in the table */
	uint8_t ending;    /* left; its last line waits for the client */
};

/* One HTTP thread's. */
struct table {
	struct updatefeeds *all;
	struct http_thread *thread;
	struct http_timer *timer;
	struct feed *feeds;
	struct buf b;
	uint64_t served_ms;
	int moved; /* since the feeds were served last */
	int stopping;
	pthread_mutex_t lock;
	struct http_msg msg;
	int posted;
	int listening;
};

struct updatefeeds {
	struct api *api;
	struct updates *log;
	unsigned n;
	struct table tables[];
};

static uint64_t
now_ms(const struct table *t)
{
	return t->all->api->ex->now_ms(t->all->api->ex);
}

void
updatefeeds_moved(struct api *api, const char *name, uint64_t seq, int dropped)
{
	struct updatefeeds *all = api->updatefeeds;
	unsigned i;

	if (all == NULL)
		return;
	updates_moved(all->log, name, seq, dropped);
	for (i = 0; i < all->n; i++) {
		struct table *t = &all->tables[i];

		pthread_mutex_lock(&t->lock);
		if (t->listening && !t->posted) {
			t->posted = 1;
			http_post(t->thread, &t->msg);
		}
		pthread_mutex_unlock(&t->lock);
	}
}

/* ---- The table ---- */

static void
set_listening(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	t->listening = t->feeds != NULL;
	pthread_mutex_unlock(&t->lock);
}

static void
join(struct feed *f)
{
	struct table *t = f->table;

	f->listed = 1;
	f->next = t->feeds;
	if (t->feeds != NULL)
		t->feeds->prev = f;
	t->feeds = f;
	set_listening(t);
}

static void
leave(struct feed *f)
{
	struct table *t = f->table;

	if (!f->listed)
		return;
	f->listed = 0;
	*(f->prev != NULL ? &f->prev->next : &t->feeds) = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	set_listening(t);
}

/* To the first interval that ends, or to when the feeds may be served again. */
static void
set_timer(struct table *t)
{
	uint64_t now = now_ms(t), first = t->moved ? t->served_ms + COALESCE_MS : NEVER;
	const struct feed *f;

	for (f = t->feeds; f != NULL; f = f->next)
		if (f->active_ms + f->interval_ms < first)
			first = f->active_ms + f->interval_ms;
	if (first == NEVER || t->feeds == NULL)
		http_timer_cancel(t->timer);
	else
		http_timer_set(t->timer, first > now ? first - now : 0);
}

/* ---- Serving ---- */

static void
send(struct feed *f, const char *data, size_t len)
{
	f->in_flight = 1;
	http_send(f->r->http, data, len);
}

/* Send the rows in the table's buffer and the last line, and end. */
static void
finish(struct feed *f)
{
	struct buf *b = &f->table->b;
	struct http_req *http = f->r->http;

	leave(f);
	if (f->started && f->in_flight) {
		f->ending = 1;
		return;
	}
	/* A head that is on its way alone leaves no room for a last line. */
	if (!f->started || http_can_send(http))
		updates_tail(f->table->all->log, &f->scan, b);
	api_done(f->r);
	if (!f->started) {
		http_reply(http, 200, b->data, b->len);
	} else {
		if (b->len > 0 && http_can_send(http))
			http_send(http, b->data, b->len);
		http_finish(http);
	}
}

static int
is_done(const struct feed *f, int err)
{
	if (err != ERR_END)
		return 0;
	return f->scan.limit == 0 || f->table->stopping || f->interval_ms == 0 ||
	       (f->scan.form == UPDATES_LONGPOLL && f->scan.emitted > 0);
}

static void
serve(struct feed *f)
{
	struct table *t = f->table;
	int err;

	if (!http_can_send(f->r->http)) {
		/* on_ready() comes back to it, but for a head that is on its way alone. */
		t->moved |= !f->in_flight;
		return;
	}
	buf_clear(&t->b);
	err = updates_fill(t->all->log, &f->scan, &t->b);
	f->more = err == 0;
	if (is_done(f, err)) {
		finish(f);
	} else if (err != 0 && err != ERR_END) {
		leave(f);
		api_done(f->r);
		http_abort(f->r->http);
	} else if (t->b.len > 0) {
		send(f, t->b.data, t->b.len);
		f->active_ms = now_ms(t);
	} else {
		t->moved |= f->more;
	}
}

static void
serve_all(struct table *t)
{
	struct feed *f, *next;
	uint64_t now = now_ms(t);

	if (t->moved && now >= t->served_ms + COALESCE_MS) {
		t->moved = 0;
		t->served_ms = now;
		for (f = t->feeds; f != NULL; f = next) {
			next = f->next;
			if (!f->in_flight)
				serve(f);
		}
	}
	set_timer(t);
}

static void
on_message(void *arg)
{
	struct table *t = arg;

	pthread_mutex_lock(&t->lock);
	t->posted = 0;
	pthread_mutex_unlock(&t->lock);
	t->moved = 1;
	serve_all(t);
}

static void
on_ready(void *cookie)
{
	struct feed *f = cookie;
	struct table *t = f->table;

	f->in_flight = 0;
	if (f->ending) {
		buf_clear(&t->b);
		finish(f);
		return;
	}
	if (f->more)
		serve(f);
	else if (updates_seq(t->all->log) > f->scan.since)
		t->moved = 1;
	set_timer(t);
}

static void
on_stop(void *cookie)
{
	struct feed *f = cookie;

	leave(f);
	api_done(f->r);
}

static void
interval_over(struct feed *f, uint64_t now)
{
	static const char event[] = "event: heartbeat\ndata: \n\n";
	const char *beat = f->scan.form == UPDATES_EVENTSOURCE ? event : "\n";

	f->active_ms = now;
	if (f->heartbeat && http_can_send(f->r->http)) {
		send(f, beat, strlen(beat));
	} else if (!f->heartbeat && !f->more) {
		buf_clear(&f->table->b);
		finish(f);
	}
}

static void
on_timer(void *arg)
{
	struct table *t = arg;
	uint64_t now = now_ms(t);
	struct feed *f, *next;

	for (f = t->feeds; f != NULL; f = next) {
		next = f->next;
		if (f->active_ms + f->interval_ms <= now)
			interval_over(f, now);
	}
	serve_all(t);
}

static void
on_shutdown(void *arg)
{
	struct table *t = arg;

	t->stopping = 1;
	while (t->feeds != NULL) {
		buf_clear(&t->b);
		finish(t->feeds);
	}
}

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
add(struct feed *f)
{
	struct table *t = f->table;
	int err;

	join(f);
	buf_clear(&t->b);
	updates_head(&f->scan, &t->b);
	err = updates_fill(t->all->log, &f->scan, &t->b);
	f->more = err == 0;
	if (err != 0 && err != ERR_END) {
		leave(f);
		api_error(f->r, err, NULL);
	} else if (is_done(f, err)) {
		finish(f);
	} else {
		f->started = 1;
		http_start(f->r->http, 200, UINT64_MAX, on_ready, on_stop, f);
		if (t->b.len > 0)
			send(f, t->b.data, t->b.len);
		else
			t->moved |= f->more;
	}
	set_timer(t);
}

static void
send_feed(struct apireq *r, const struct query *q)
{
	struct updatefeeds *all = r->api->updatefeeds;
	uint64_t most = config_u64(r->api->config, "chttpd", "changes_timeout", INTERVAL_DEFAULT_MS);
	uint64_t ms = q->heartbeat ? q->heartbeat_ms : q->has_timeout ? q->timeout_ms : most;
	struct feed *f = arena_calloc(r->arena, 1, sizeof(*f));

	if (f == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	if (q->scan.form == UPDATES_EVENTSOURCE) {
		http_set_header(r->http, "content-type", "text/event-stream", 17);
		http_set_header(r->http, "cache-control", "no-cache", 8);
		http_may_encode(r->http);
	} else {
		api_json_head(r);
	}
	f->table = &all->tables[http_thread_index(http_req_thread(r->http))];
	f->r = r;
	f->scan = q->scan;
	f->heartbeat = q->heartbeat != 0;
	ms = ms > most ? most : ms;
	f->interval_ms = ms > UINT32_MAX / 2 ? UINT32_MAX / 2 : f->heartbeat && ms == 0 ? 1 : (uint32_t)ms;
	f->active_ms = now_ms(f->table);
	add(f);
}

void
updatefeeds_any(struct apireq *r)
{
	struct query q;
	struct errtext why = {""};
	int err;

	if (strcmp(r->method, "GET") != 0) {
		api_method_not_allowed(r, "GET,HEAD");
		return;
	}
	if (!r->who.server_admin) {
		api_error(r, ERR_NOT_ADMIN, NULL);
		return;
	}
	err = parse(r, &q, &why);
	if (err != 0)
		api_error(r, err, &why);
	else if (q.scan.form == UPDATES_NORMAL || rows_is_head(r))
		send_normal(r, &q.scan);
	else
		send_feed(r, &q);
}

/* ---- Set-up ---- */

static int
table_init(struct table *t, struct updatefeeds *all, unsigned i)
{
	int err;

	t->all = all;
	t->thread = http_server_thread(all->api->server, i);
	t->msg.fn = on_message;
	t->msg.arg = t;
	pthread_mutex_init(&t->lock, NULL);
	buf_init(&t->b, BATCH_MAX);
	err = http_timer_new(t->thread, on_timer, t, &t->timer);
	return err ? err : http_thread_on_shutdown(t->thread, on_shutdown, t);
}

int
updatefeeds_new(struct api *api)
{
	unsigned i, n = http_server_threads(api->server);
	struct updatefeeds *all = calloc(1, sizeof(*all) + n * sizeof(all->tables[0]));
	int err;

	if (all == NULL)
		return ERR_NOMEM;
	all->api = api;
	err = updates_new(api->dbs, &all->log);
	for (i = 0; i < n && err == 0; i++) {
		err = table_init(&all->tables[i], all, i);
		all->n++;
	}
	api->updatefeeds = all;
	if (err != 0)
		updatefeeds_free(api);
	return err;
}

void
updatefeeds_free(struct api *api)
{
	struct updatefeeds *all = api->updatefeeds;
	unsigned i;

	if (all == NULL)
		return;
	for (i = 0; i < all->n; i++) {
		struct table *t = &all->tables[i];

		if (t->timer != NULL)
			http_timer_free(t->timer);
		buf_release(&t->b);
		pthread_mutex_destroy(&t->lock);
	}
	updates_free(all->log);
	free(all);
	api->updatefeeds = NULL;
}
