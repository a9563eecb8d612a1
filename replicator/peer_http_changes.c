/*
 * peer_http_changes.c: what has changed at a source behind HTTP.
 *
 * Each call is one request: a page of changes or, where it waits, a long poll, which a peer may end without a change:
 * it is then asked again, from where it has come to. An answer that does not end, or has more rows than were asked for,
 * is cut behind a row.
 *
 * A page without changes is the end, unless the peer says that some are pending: then its filter has failed on the way, and what
 * comes behind last_seq is asked for, where that got any further.
 */
#include <string.h>

#include "base/limits.h"
#include "peer_http_impl.h"

#define SOFT_BYTES ((size_t)4 << 20) /* behind which an answer is cut */
#define HEARTBEAT_MIN 1000u
#define HEARTBEAT_MAX 60000u
#define POLL_MS 1000u /* between long polls that end at once */

struct changes {
	struct peer_op op;
	struct peer_rq rq;
	struct peer_changes *c;
	struct buf since;    /* of an answer without changes; empty: the call's */
	struct arena *polls; /* of answers to long polls, most of which have no changes; NULL: it does not wait */
	uint64_t asked_ms;
};

static void
release(struct peer_op *op)
{
	struct changes *o = (struct changes *)op;

	peer_rq_release(&o->rq);
	buf_release(&o->since);
	arena_free(o->polls);
}

/* ---- The request ---- */

/* A string goes as it is, as PouchDB sends it; anything else as JSON. */
static void
put_value(struct buf *b, struct jstr json)
{
	struct jread j;
	struct buf word;
	struct jstr s;
	int err;

	jread_init(&j, json.s, json.len);
	buf_init(&word, LIMIT_URL_LEN);
	if (jread_peek(&j) != JREAD_STRING)
		peer_put_encoded(b, json.s, json.len);
	else if ((err = jread_string(&j, &word, &s)) == 0)
		peer_put_encoded(b, s.s, s.len);
	else
		b->failed = err; /* with another value it would be another filter */
	buf_release(&word);
}

static int
is_view_param(const struct jstr *name)
{
	static const char *const names[] = {"key", "keys", "startkey", "start_key", "endkey", "end_key"};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (jstr_is(name, names[i]))
			return 1;
	return 0;
}

static int
is_ours(const struct jstr *name)
{
	static const char *const names[] = {"feed", "style", "since", "limit", "heartbeat", "timeout", "filter"};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (jstr_is(name, names[i]))
			return 1;
	return 0;
}

/* The query_params of a replication; a view's keys stay JSON. */
static int
put_params(struct buf *b, const struct peer_filter *f)
{
	int view = jstr_is(&f->filter, "_view"), err;
	struct jstr key, value;
	struct buf word;
	struct jread j;

	if (f->query.len == 0)
		return 0;
	buf_init(&word, LIMIT_URL_LEN);
	jread_init(&j, f->query.s, f->query.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &word, &key)) == 0) {
		int ours = is_ours(&key), json = view && is_view_param(&key);

		if (!ours) {
			(void)buf_putc(b, '&');
			peer_put_encoded(b, key.s, key.len);
			(void)buf_putc(b, '=');
		}
		err = jread_skip(&j, &value);
		if (err == 0 && !ours && json)
			peer_put_encoded(b, value.s, value.len);
		else if (err == 0 && !ours)
			put_value(b, value);
	}
	buf_release(&word);
	return err == ERR_END ? 0 : err;
}

static void
put_ids(struct buf *b, const struct peer_filter *f)
{
	size_t i;

	(void)buf_puts(b, "{\"doc_ids\":[");
	for (i = 0; i < f->ndoc_ids; i++) {
		if (i > 0)
			(void)buf_putc(b, ',');
		(void)buf_put_json(b, f->doc_ids[i].s, f->doc_ids[i].len);
	}
	(void)buf_puts(b, "]}");
}

static void
put_filter(struct peer_rq *rq, const struct peer_filter *f)
{
	if (f == NULL)
		return;
	if (f->doc_ids != NULL) {
		(void)buf_puts(&rq->path, "&filter=_doc_ids");
		put_ids(&rq->body, f);
	} else if (f->selector.len > 0) {
		(void)buf_puts(&rq->path, "&filter=_selector");
		(void)buf_puts(&rq->body, "{\"selector\":");
		(void)buf_put(&rq->body, f->selector.s, f->selector.len);
		(void)buf_putc(&rq->body, '}');
	} else if (f->filter.len > 0) {
		(void)buf_puts(&rq->path, "&filter=");
		peer_put_encoded(&rq->path, f->filter.s, f->filter.len);
		if (put_params(&rq->path, f) != 0)
			rq->path.failed = ERR_BAD_REQUEST;
	}
	if (rq->body.len > 0) {
		rq->method = "POST";
		rq->type = "Content-Type: application/json";
	}
}

static void
make_request(struct changes *o)
{
	struct peer_http *p = o->op.p;
	const struct peer_filter *f = p->filter;
	struct peer_rq *rq = &o->rq;
	struct jstr since = o->c->since;
	uint32_t beat = p->timeout_ms / 3;

	if (o->since.len > 0)
		since = (struct jstr){o->since.data, o->since.len};
	beat = beat < HEARTBEAT_MIN ? HEARTBEAT_MIN : beat > HEARTBEAT_MAX ? HEARTBEAT_MAX : beat;
	buf_clear(&rq->path);
	buf_clear(&rq->body);
	(void)buf_printf(&rq->path, "_changes?feed=%s&style=%s&limit=%zu&heartbeat=%u",
	    o->c->wait ? "longpoll" : "normal", f != NULL && f->winners ? "main_only" : "all_docs", o->c->limit, beat);
	if (since.len > 0) {
		(void)buf_puts(&rq->path, "&since=");
		put_value(&rq->path, since);
	}
	put_filter(rq, f);
	rq->http.feed = o->c->wait != 0;
	rq->soft = SOFT_BYTES;
	rq->head_factor = 4;
	o->asked_ms = p->ex->now_ms(p->ex);
}

/* ---- The answer ---- */

/* It may be the filter that is not there, or fails, and not the database. */
static void
blame_filter(struct changes *o)
{
	const struct peer_filter *f = o->op.p->filter;
	struct peer_rq *rq = &o->rq;
	struct jstr name = {"_selector", 9};
	struct errtext why = rq->why;
	struct peer_said said;

	if (f == NULL || rq->status < 400 || (f->doc_ids == NULL && f->selector.len == 0 && f->filter.len == 0))
		return;
	if (f->doc_ids != NULL)
		name = (struct jstr){"_doc_ids", 8};
	else if (f->filter.len > 0)
		name = f->filter;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	if (rq->status == 404 && strcmp(said.reason, "no_db_file") != 0 &&
	    strcmp(said.reason, "Database does not exist.") != 0)
		rq->err = ERR_MISSING;
	(void)err_why(
	    &rq->why, rq->err, "the filter %.*s: %s", (int)(name.len < 100 ? name.len : 100), name.s, why.text);
}

/* CouchDB looks at some documents alone for these, and counts as pending all the others. */
static int
counts_others(const struct peer_filter *f)
{
	return f != NULL && (f->doc_ids != NULL || jstr_is(&f->filter, "_design"));
}

static void
look_further(struct changes *o)
{
	struct peer_changes *c = o->c;

	if (c->wait || c->n > 0 || c->pending <= 0 || counts_others(o->op.p->filter))
		return;
	if (c->last_seq.len == c->since.len && memcmp(c->last_seq.s, c->since.s, c->since.len) == 0)
		(void)peer_rq_bad(&o->rq, ERR_IO, "its answer has none of the changes that it says are pending");
	else
		c->more = 1;
}

/* 1 if it is asked again. */
static int
is_polling(struct changes *o)
{
	struct peer_http *p = o->op.p;
	struct peer_changes *c = o->c;
	uint64_t took = p->ex->now_ms(p->ex) - o->asked_ms;

	if (!c->wait || c->n > 0)
		return 0;
	buf_clear(&o->since);
	o->rq.err = buf_put(&o->since, c->last_seq.s, c->last_seq.len);
	c->last_seq.len = 0; /* it is not of the call's memory */
	if (o->rq.err != 0)
		return 0;
	make_request(o);
	peer_rq_start_later(&o->rq, took < POLL_MS ? POLL_MS - took : 0);
	return 1;
}

/* The call's memory is not for answers without changes, of which there may be any number. */
static int
take(struct changes *o, struct errtext *why)
{
	struct peer_changes *c = o->c;
	struct peer_rq *rq = &o->rq;
	struct arena *calls = c->call.arena;
	int err;

	if (o->polls != NULL) {
		arena_reset(o->polls);
		c->call.arena = o->polls;
		err = peer_json_changes(rq->answer.data, rq->answer.len, rq->cut, c, why);
		c->call.arena = calls;
		if (err != 0 || c->n == 0)
			return err;
	}
	return peer_json_changes(rq->answer.data, rq->answer.len, rq->cut, c, why);
}

static void
got(struct peer_rq *rq)
{
	struct changes *o = (struct changes *)rq->op;
	struct errtext why = {""};

	if (!peer_rq_ok(rq))
		blame_filter(o);
	else
		peer_rq_judge(rq, take(o, &why), &why);
	if (rq->err == 0)
		look_further(o);
	if (rq->err == 0 && is_polling(o))
		return;
	peer_op_end(&o->op, rq->err, &rq->why);
}

void
peer_http_changes(struct peer *peer, struct peer_changes *c)
{
	struct changes *o = peer_op_new(peer, &c->call, sizeof(*o));

	if (o == NULL)
		return;
	o->c = c;
	peer_rq_init(&o->rq, &o->op, "GET", got);
	buf_init(&o->since, LIMIT_URL_LEN);
	o->op.release = release;
	make_request(o);
	if (c->wait && arena_new(PEER_ANSWER, &o->polls) != 0)
		o->rq.path.failed = ERR_NOMEM;
	peer_rq_start(&o->rq);
}
