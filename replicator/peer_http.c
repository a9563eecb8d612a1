/*
 * peer_http.c: a database behind HTTP: the peer, its calls under way, and those that are a single request.
 *
 *   peer_http_rq.c    a request: repeated, cancelled, explained
 *   peer_http_auth.c  the session that requests carry
 *   peer_http_json.c, peer_http_docs.c  answers taken apart
 *   peer_http_changes.c, _write.c, _fetch.c, _open.c, _put.c  the other calls
 *
 * 1. A call has a struct peer_op from its function until done(); it is reached through call->state, under the lock.
 * 2. done() is called by peer_op_end() alone, always from a job, behind which nothing of the call is touched: pipes
 *    may still hold a reference to the op, which keeps the peer's memory too.
 * 3. A call for which there was no memory waits in a list of such calls for a job that the peer always has.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "peer_http_impl.h"

#define BACKOFF_MS 250u
#define TIMEOUT_MS 30000u
#define DOC_SIZE 1024u /* how large documents are thought to be at first */
#define ENDS_BYTES ((size_t)1 << 20)

/* ---- Calls ---- */

static void
end_hopeless(void *arg)
{
	struct peer_http *p = arg;
	struct peer_call *call, *next;

	pthread_mutex_lock(&p->lock);
	call = p->hopeless;
	p->hopeless = NULL;
	p->hopeless_passed = 0;
	pthread_mutex_unlock(&p->lock);
	for (; call != NULL; call = next) {
		next = call->state;
		call->state = NULL;
		call->err = ERR_NOMEM;
		call->done(call);
	}
	peer_http_unref(p);
}

void *
peer_op_new(struct peer *peer, struct peer_call *call, size_t size)
{
	struct peer_http *p = (struct peer_http *)peer;
	struct peer_op *op = calloc(1, size);

	call->err = 0;
	call->why.text[0] = '\0';
	call->retry_ms = 0;
	pthread_mutex_lock(&p->lock);
	if (op != NULL) {
		op->p = p;
		op->call = call;
		op->refs = 1;
		call->state = op;
		peer_http_ref(p);
	} else {
		call->state = p->hopeless;
		p->hopeless = call;
		if (!p->hopeless_passed) {
			p->hopeless_passed = 1;
			peer_http_ref(p);
			p->ex->submit(p->ex, &p->hopeless_job);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return op;
}

void
peer_op_ref(struct peer_op *op)
{
	pthread_mutex_lock(&op->p->lock);
	op->refs++;
	pthread_mutex_unlock(&op->p->lock);
}

void
peer_op_unref(struct peer_op *op)
{
	struct peer_http *p = op->p;
	unsigned left;

	pthread_mutex_lock(&p->lock);
	left = --op->refs;
	pthread_mutex_unlock(&p->lock);
	if (left > 0)
		return;
	if (op->release != NULL)
		op->release(op);
	free(op);
	peer_http_unref(p);
}

void
peer_op_end(struct peer_op *op, int err, const struct errtext *why)
{
	struct peer_http *p = op->p;
	struct peer_call *call;

	pthread_mutex_lock(&p->lock);
	call = op->call;
	op->call = NULL;
	call->state = NULL;
	call->err = err != 0 && op->cancelled ? ERR_CANCELLED : err;
	if (err != 0 && why != NULL)
		call->why = *why;
	pthread_mutex_unlock(&p->lock);
	call->done(call);
	peer_op_unref(op);
}

/* A call for which there was no memory ends soon anyway. */
static void
cancel(struct peer *peer, struct peer_call *call)
{
	struct peer_http *p = (struct peer_http *)peer;
	struct peer_call *c;
	struct peer_op *op;
	struct peer_rq *rq;

	pthread_mutex_lock(&p->lock);
	for (c = p->hopeless; c != NULL && c != call; c = c->state)
		continue;
	op = c == NULL ? call->state : NULL;
	if (op != NULL) {
		op->cancelled = 1;
		for (rq = op->rqs; rq != NULL; rq = rq->next)
			peer_rq_cancel(rq);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- Single requests ---- */

struct simple {
	struct peer_op op;
	struct peer_rq rq;
	union {
		struct peer_info *info;
		struct peer_local *local;
		struct peer_read *read;
	} c;
};

static void
release_simple(struct peer_op *op)
{
	peer_rq_release(&((struct simple *)op)->rq);
}

static struct simple *
simple_new(struct peer *peer, struct peer_call *call, const char *method, void (*done)(struct peer_rq *rq))
{
	struct simple *s = peer_op_new(peer, call, sizeof(*s));

	if (s == NULL)
		return NULL;
	peer_rq_init(&s->rq, &s->op, method, done);
	s->op.release = release_simple;
	return s;
}

static void
end_simple(struct peer_rq *rq)
{
	peer_op_end(rq->op, rq->err, &rq->why);
}

static void
info_done(struct peer_rq *rq)
{
	struct simple *s = (struct simple *)rq->op;
	struct peer_http *p = rq->p;
	struct errtext why = {""};
	struct peer_about about;

	if (peer_rq_ok(rq)) {
		peer_rq_judge(rq,
		    peer_json_info(
			rq->answer.data, rq->answer.len, s->op.call->arena, &s->c.info->update_seq, &about, &why),
		    &why);
		if (rq->err == 0) {
			pthread_mutex_lock(&p->lock);
			p->about = about;
			pthread_mutex_unlock(&p->lock);
		}
	}
	end_simple(rq);
}

void
peer_http_info(struct peer *peer, struct peer_info *c)
{
	struct simple *s = simple_new(peer, &c->call, "GET", info_done);

	if (s == NULL)
		return;
	s->c.info = c;
	s->rq.hard = PEER_INFO_ANSWER;
	peer_rq_start(&s->rq);
}

static void
create_done(struct peer_rq *rq)
{
	struct peer_said said;

	if (!peer_rq_ok(rq) && rq->status == 412) {
		rq->err = 0;
	} else if (rq->err != 0 && rq->status == 400) {
		peer_json_said(rq->answer.data, rq->answer.len, &said);
		if (strcmp(said.error, "illegal_database_name") == 0)
			rq->err = ERR_ILLEGAL_DB_NAME;
	}
	end_simple(rq);
}

void
peer_http_create(struct peer *peer, struct peer_create *c)
{
	struct simple *s = simple_new(peer, &c->call, "PUT", create_done);

	if (s == NULL)
		return;
	s->rq.head_factor = 4;
	s->rq.hard = PEER_ERROR_ANSWER;
	if (c->query.len > 0) {
		(void)buf_putc(&s->rq.path, '?');
		(void)buf_put(&s->rq.path, c->query.s, c->query.len);
	}
	peer_rq_start(&s->rq);
}

/* ---- A document's winner ---- */

static void
read_got(struct peer_rq *rq)
{
	struct simple *s = (struct simple *)rq->op;
	struct jstr *text = &s->c.read->text;

	if (!peer_rq_ok(rq)) {
		rq->err = rq->status == 404 ? ERR_MISSING : rq->err;
	} else {
		text->len = rq->answer.len;
		if ((text->s = arena_dup(s->op.call->arena, rq->answer.data, rq->answer.len)) == NULL)
			rq->err = ERR_NOMEM;
	}
	end_simple(rq);
}

void
peer_http_read(struct peer *peer, struct peer_read *c)
{
	struct simple *s = simple_new(peer, &c->call, "GET", read_got);

	if (s == NULL)
		return;
	s->c.read = c;
	peer_put_id(&s->rq.path, c->id);
	peer_rq_start(&s->rq);
}

/* ---- _local documents ---- */

/* Whether it is the database or the document that is not there makes no difference for a document. */
static void
local_got(struct peer_rq *rq)
{
	struct simple *s = (struct simple *)rq->op;
	struct errtext why = {""};

	if (peer_rq_ok(rq))
		peer_rq_judge(rq,
		    peer_json_local(
			rq->answer.data, rq->answer.len, s->op.call->arena, &s->c.local->rev, &s->c.local->body, &why),
		    &why);
	else if (rq->status == 404)
		rq->err = ERR_MISSING;
	end_simple(rq);
}

static void
local_put(struct peer_rq *rq)
{
	struct simple *s = (struct simple *)rq->op;
	struct errtext why = {""};

	if (peer_rq_ok(rq))
		peer_rq_judge(rq,
		    peer_json_rev(rq->answer.data, rq->answer.len, s->op.call->arena, &s->c.local->rev, &why), &why);
	end_simple(rq);
}

static struct simple *
local_new(struct peer *peer, struct peer_local *c, const char *method, void (*done)(struct peer_rq *rq))
{
	struct simple *s = simple_new(peer, &c->call, method, done);

	if (s == NULL)
		return NULL;
	s->c.local = c;
	(void)buf_puts(&s->rq.path, "_local/");
	peer_put_encoded(&s->rq.path, c->id.s, c->id.len);
	return s;
}

void
peer_http_local_get(struct peer *peer, struct peer_local *c)
{
	struct simple *s = local_new(peer, c, "GET", local_got);

	if (s != NULL)
		peer_rq_start(&s->rq);
}

void
peer_http_local_put(struct peer *peer, struct peer_local *c)
{
	struct simple *s = local_new(peer, c, "PUT", local_put);
	struct jstr body = c->body;

	if (s == NULL)
		return;
	s->rq.type = "Content-Type: application/json";
	s->rq.head_factor = 4;
	(void)buf_puts(&s->rq.body, "{\"_id\":\"_local/");
	/* The id as JSON, without its first quote. */
	if (buf_put_json(&s->rq.body, c->id.s, c->id.len) == 0) {
		size_t at = sizeof("{\"_id\":\"_local/") - 1;

		memmove(s->rq.body.data + at, s->rq.body.data + at + 1, s->rq.body.len - at - 1);
		s->rq.body.len--;
	}
	if (c->rev.len > 0) {
		(void)buf_puts(&s->rq.body, ",\"_rev\":");
		(void)buf_put_json(&s->rq.body, c->rev.s, c->rev.len);
	}
	while (body.len > 0 && body.s[0] != '{') {
		body.s++;
		body.len--;
	}
	body.s += body.len > 0;
	body.len -= body.len > 0;
	while (body.len > 0 && strchr(" \t\r\n", body.s[0]) != NULL && body.s[0] != '\0') {
		body.s++;
		body.len--;
	}
	if (body.len == 0 || body.s[0] != '}')
		(void)buf_putc(&s->rq.body, ',');
	(void)buf_put(&s->rq.body, body.s, body.len);
	peer_rq_start(&s->rq);
}

/* ---- Durability ---- */

/* A peer that does not know the request has nothing to flush. */
static void
committed(struct peer_rq *rq)
{
	struct peer_http *p = rq->p;
	struct jstr seq;
	struct errtext why = {""};
	struct peer_about about;
	struct arena *a = NULL;
	int other = 0, err;

	if (!peer_rq_ok(rq)) {
		if (rq->status == 405 || rq->status == 501)
			rq->err = 0;
	} else if ((err = arena_new(PEER_ERROR_ANSWER * 2, &a)) != 0) {
		rq->err = err;
	} else {
		/* It says of a database what is said of one, without an update_seq. */
		err = peer_json_info(rq->answer.data, rq->answer.len, a, &seq, &about, &why);
		peer_rq_judge(rq, err == ERR_NO_DB ? 0 : err, &why);
		pthread_mutex_lock(&p->lock);
		other = rq->err == 0 && about.born[0] != '\0' && p->about.born[0] != '\0' &&
			strcmp(p->about.born, about.born) != 0;
		pthread_mutex_unlock(&p->lock);
	}
	if (other)
		(void)peer_rq_bad(
		    rq, ERR_IO, "the database is another than at the beginning: it was deleted and created anew");
	arena_free(a);
	end_simple(rq);
}

void
peer_http_commit(struct peer *peer, struct peer_call *c)
{
	struct simple *s = simple_new(peer, c, "POST", committed);

	if (s == NULL)
		return;
	s->rq.type = "Content-Type: application/json";
	s->rq.head_factor = 4;
	s->rq.hard = PEER_ERROR_ANSWER;
	(void)buf_puts(&s->rq.path, "_ensure_full_commit");
	peer_rq_start(&s->rq);
}

/* ---- The peer ---- */

void
peer_http_ref(struct peer_http *p)
{
	p->refs++;
}

void
peer_http_unref(struct peer_http *p)
{
	unsigned left;

	pthread_mutex_lock(&p->lock);
	left = --p->refs;
	pthread_mutex_unlock(&p->lock);
	if (left > 0)
		return;
	pthread_mutex_destroy(&p->lock);
	explicit_bzero(p->cookie, sizeof(p->cookie));
	arena_free(p->arena);
	free(p);
}

static void
close_peer(struct peer *peer)
{
	struct peer_http *p = (struct peer_http *)peer;

	pthread_mutex_lock(&p->lock);
	p->closed = 1;
	peer_auth_close(p);
	pthread_mutex_unlock(&p->lock);
	peer_http_unref(p);
}

static const struct peer_ops ops = {
    .info = peer_http_info,
    .create = peer_http_create,
    .local_get = peer_http_local_get,
    .local_put = peer_http_local_put,
    .read = peer_http_read,
    .changes = peer_http_changes,
    .fetch = peer_http_fetch,
    .open_doc = peer_http_open_doc,
    .diff = peer_http_diff,
    .write = peer_http_write,
    .put_doc = peer_http_put_doc,
    .commit = peer_http_commit,
    .cancel = cancel,
    .close = close_peer,
};

static int
copy_text(struct arena *a, const char *text, const char **outp)
{
	*outp = text != NULL ? arena_dup(a, text, strlen(text)) : NULL;
	return text != NULL && *outp == NULL ? ERR_NOMEM : 0;
}

/* A request that was cancelled may still be read by the client when the end's owner is gone. */
static int
copy_end(struct peer_http *p, const struct rep_end *end)
{
	const char **headers = arena_calloc(p->arena, end->nheaders + 1, sizeof(*headers));
	int err = headers == NULL ? ERR_NOMEM : 0;
	size_t i;

	for (i = 0; i < end->nheaders && err == 0; i++)
		err = copy_text(p->arena, end->headers[i], &headers[i]);
	p->end.headers = headers;
	p->end.nheaders = end->nheaders;
	if (err == 0)
		err = copy_text(p->arena, end->url, &p->end.url);
	if (err == 0)
		err = copy_text(p->arena, end->user, &p->end.user);
	if (err == 0)
		err = copy_text(p->arena, end->password, &p->end.password);
	if (err == 0)
		err = copy_text(p->arena, end->proxy, &p->end.proxy);
	return err;
}

int
peer_http_new(const struct peer_http_config *config, struct peer **pp)
{
	const struct rep_spec *spec = config->spec;
	struct peer_http *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return ERR_NOMEM;
	if (arena_new(ENDS_BYTES, &p->arena) != 0 || copy_end(p, config->end) != 0 ||
	    pthread_mutex_init(&p->lock, NULL) != 0) {
		arena_free(p->arena);
		free(p);
		return ERR_NOMEM;
	}
	p->base.ops = &ops;
	p->base.name = p->end.url;
	p->loop = config->loop;
	p->ex = config->ex;
	p->filter = config->filter;
	p->owner = config->owner;
	p->timeout_ms = spec->timeout_ms == 0               ? TIMEOUT_MS
			: spec->timeout_ms < UINT32_MAX / 8 ? (uint32_t)spec->timeout_ms
							    : UINT32_MAX / 8;
	p->backoff_ms = config->backoff_ms != 0 ? config->backoff_ms : BACKOFF_MS;
	p->retries = spec->retries;
	p->connections = spec->connections > 0 ? spec->connections : 1;
	p->paired = spec->source.url != NULL && spec->target.url != NULL;
	p->bulk_get = spec->bulk_get;
	p->doc_size = DOC_SIZE;
	p->url_max = PEER_URL_LEN;
	p->refs = 1;
	p->hopeless_job = (struct exec_job){.fn = end_hopeless, .arg = p};
	peer_auth_init(p);
	*pp = &p->base;
	return 0;
}
