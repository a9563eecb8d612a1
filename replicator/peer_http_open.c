/*
 * peer_http_open.c: one revision of a source behind HTTP, with its attachments, whose bytes go into a pipe while they
 * come.
 *
 * open_revs answers with multipart/mixed, of whose parts the first with a document is taken: JSON, or where attachments
 * come with it a multipart/related of its own: the JSON, then each that "follows", in order. Some peers answer with that
 * at once, and some with JSON alone, attachments inside; that text is handed on as it is.
 *
 *   on the client's thread:  on_body --> multipart --> JSON part: ready() --> attachment's bytes --> pipe
 *                               ^                                                                     | full
 *                               +-- resumed <-- job: what is left over goes into the pipe <-----------+
 *
 * 1. What of a piece does not fit into the pipe is left over; no other piece is taken meanwhile.
 * 2. Each attachment has the length and the digest that the document says, or the call fails: the reader of the pipe
 *    learns it before it has the last of the bytes, since the pipe ends with the error.
 * 3. Behind ready() nothing is repeated, and the call's arena is not used: it may be the reader's as well.
 * 4. The pipe is not touched behind done(): `over`, under the lock.
 */
#include <string.h>

#include "base/limits.h"
#include "base/multipart.h"
#include "peer_http_impl.h"

#define PIECE ((size_t)64 << 10)      /* bytes that are handed on at once */
#define WORDS ((size_t)64 << 10)      /* of boundaries */
#define BEHIND_MAX ((size_t)32 << 10) /* bytes behind the document that are read for the end of the answer */

enum part { PART_NONE, PART_JSON, PART_ERROR, PART_RELATED, PART_BEHIND };

struct opening {
	struct peer_op op;
	struct peer_rq rq;
	struct peer_open *c;
	size_t since; /* ancestors that are asked with */

	/* The client's thread's. */
	struct arena *words;
	struct multipart *outer, *inner;
	enum part part; /* of the outer */
	struct buf json;
	struct peer_stub *stubs; /* those that follow */
	size_t nstubs, stub, inner_part;
	uint64_t count; /* bytes of the present one */
	size_t behind;
	struct hash_md5 md5;
	int related; /* the answer is a multipart/related itself */
	int told;    /* ready() was called */
	int whole;   /* the document is there, with all that follows */
	int missing;
	int err; /* what is wrong with the answer, with words: */
	struct errtext why;

	pthread_mutex_t lock; /* of the rest */
	struct buf left;      /* does not fit into the pipe yet */
	size_t left_at;
	int waiting;  /* for room */
	int pipe_err; /* why there will be none */
	int ended;    /* the request is over: what is left is all */
	int over;     /* the call is */
	struct exec_job job;
};

static void conclude(struct opening *o, int err, const struct errtext *why);

static void
release(struct peer_op *op)
{
	struct opening *o = (struct opening *)op;

	peer_rq_release(&o->rq);
	multipart_free(o->outer);
	multipart_free(o->inner);
	arena_free(o->words);
	buf_release(&o->json);
	buf_release(&o->left);
	pthread_mutex_destroy(&o->lock);
}

/* ---- Into the pipe ---- */

static void flush(void *arg);

/* On the reader's thread. */
static void
on_room(void *cookie)
{
	struct opening *o = cookie;
	struct executor *ex = o->op.p->ex;

	ex->submit(ex, &o->job);
}

/* Under the lock. */
static int
put(struct opening *o, const void *data, size_t len)
{
	int err;

	peer_op_ref(&o->op);
	o->waiting = 1;
	err = pipe_put(o->c->pipe, data, len, on_room, o);
	if (err == ERR_AGAIN)
		return err;
	o->waiting = 0;
	/* Not the last: the call's own is left. */
	peer_op_unref(&o->op);
	return err;
}

/* Under the lock: ERR_AGAIN: some is left, and the job will run. */
static int
put_left(struct opening *o)
{
	int err = 0;

	while (o->left_at < o->left.len && err == 0) {
		size_t n = o->left.len - o->left_at < PIECE ? o->left.len - o->left_at : PIECE;

		err = put(o, o->left.data + o->left_at, n);
		if (err == 0)
			o->left_at += n;
	}
	if (err != ERR_AGAIN) {
		buf_clear(&o->left);
		o->left_at = 0;
	}
	return err;
}

/* There is room again. */
static void
flush(void *arg)
{
	struct opening *o = arg;
	int err = 0, last = 0;

	pthread_mutex_lock(&o->lock);
	o->waiting = 0;
	if (!o->over && (err = put_left(o)) != ERR_AGAIN) {
		last = o->ended;
		o->pipe_err = err;
		httpc_resume(&o->rq.http);
	}
	pthread_mutex_unlock(&o->lock);
	if (last)
		conclude(o, err, NULL);
	peer_op_unref(&o->op);
}

/* On the client's thread. */
static int
pass_on(struct opening *o, const char *data, size_t len)
{
	int err = 0;

	pthread_mutex_lock(&o->lock);
	while (len > 0 && err == 0 && o->left.len == 0) {
		size_t n = len < PIECE ? len : PIECE;

		err = put(o, data, n);
		if (err != 0)
			break;
		data += n;
		len -= n;
	}
	if (err == ERR_AGAIN)
		err = 0;
	if (err == 0 && len > 0)
		err = buf_put(&o->left, data, len);
	pthread_mutex_unlock(&o->lock);
	return err;
}

/* ---- The document ---- */

static int
bad(struct opening *o, int err, const char *what, struct jstr name)
{
	o->err = err;
	return err_why(&o->why, err, "its answer %s%s%.*s%s", what, name.len > 0 ? ": \"" : "",
	    (int)(name.len < 100 ? name.len : 100), name.len > 0 ? name.s : "", name.len > 0 ? "\"" : "");
}

/* Those that follow are moved to the front. */
static int
keep_stubs(struct opening *o, size_t n)
{
	struct peer_open *c = o->c;
	size_t i;

	o->nstubs = 0;
	for (i = 0; i < n; i++)
		if (o->stubs[i].follows)
			o->stubs[o->nstubs++] = o->stubs[i];
	c->natts = o->nstubs;
	c->atts = arena_calloc(c->call.arena, o->nstubs + 1, sizeof(*c->atts));
	if (c->atts == NULL)
		return ERR_NOMEM;
	for (i = 0; i < o->nstubs; i++)
		c->atts[i] = o->stubs[i].att;
	return 0;
}

static int
tell(struct opening *o)
{
	struct jstr none = {NULL, 0};
	struct errtext why = {""};
	size_t n;
	int err = peer_json_opened(
	    o->json.data, o->json.len, &o->c->id, &o->c->rev, o->c->call.arena, &o->c->doc, &o->stubs, &n, &why);

	if (err == 0)
		err = keep_stubs(o, n);
	if (err != 0)
		return bad(o, err, why.text, none);
	buf_clear(&o->json);
	o->whole = o->nstubs == 0;
	o->told = 1;
	o->rq.once = 1;
	o->c->ready(o->c);
	return 0;
}

/* ---- multipart/related ---- */

static int
related_begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct opening *o = cookie;
	struct jstr none = {NULL, 0}, encoding = multipart_find(headers, n, "content-encoding");

	if (o->inner_part++ == 0)
		return 0;
	if (o->stub == o->nstubs)
		return bad(o, ERR_IO, "has more attachments than the document", none);
	if (encoding.s != NULL && jstr_is(&encoding, "gzip") && !o->stubs[o->stub].att.gzip)
		return bad(o, ERR_IO, "has an attachment in another form than it says", o->stubs[o->stub].att.name);
	hash_md5_init(&o->md5);
	o->count = 0;
	return 0;
}

static int
related_data(void *cookie, const char *data, size_t len)
{
	struct opening *o = cookie;
	const struct peer_stub *s;

	if (o->inner_part == 1)
		return buf_put(&o->json, data, len);
	s = &o->stubs[o->stub];
	o->count += len;
	if (o->count > s->att.length)
		return bad(o, ERR_IO, "has an attachment longer than it says", s->att.name);
	hash_md5_add(&o->md5, data, len);
	return pass_on(o, data, len);
}

static int
related_end(void *cookie)
{
	struct opening *o = cookie;
	unsigned char md5[MD5_LEN];
	const struct peer_stub *s;

	if (o->inner_part == 1)
		return tell(o);
	s = &o->stubs[o->stub];
	hash_md5_end(&o->md5, md5);
	if (o->count != s->att.length)
		return bad(o, ERR_IO, "has an attachment shorter than it says", s->att.name);
	if (s->has_digest && memcmp(md5, s->md5, MD5_LEN) != 0)
		return bad(o, ERR_IO, "has an attachment that is not what its digest says", s->att.name);
	o->whole = ++o->stub == o->nstubs;
	return 0;
}

static int
make_parser(struct opening *o, struct jstr type, const struct multipart_sink *sink, struct multipart **mp)
{
	struct jstr boundary, none = {NULL, 0};

	if (multipart_param(type, "boundary", o->words, &boundary) != 0 || multipart_new(boundary, sink, mp) != 0)
		return bad(o, ERR_IO, "has parts without a boundary", none);
	return 0;
}

/* ---- multipart/mixed ---- */

static int
mixed_begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct opening *o = cookie;
	struct multipart_sink sink = {related_begin, related_data, related_end, o};
	struct jstr type = multipart_find(headers, n, "content-type"), error;

	if (o->told) {
		o->part = PART_BEHIND;
	} else if (multipart_is(type, "multipart/related")) {
		o->part = PART_RELATED;
		multipart_free(o->inner);
		o->inner = NULL;
		o->inner_part = 0;
		return make_parser(o, type, &sink, &o->inner);
	} else {
		o->part = multipart_param(type, "error", o->words, &error) == 0 ? PART_ERROR : PART_JSON;
	}
	return 0;
}

static int
feed(struct opening *o, struct multipart *m, const char *data, size_t len)
{
	struct jstr none = {NULL, 0};
	int err = 0;

	while (len > 0 && err == 0) {
		size_t n = len < PIECE ? len : PIECE;

		err = multipart_feed(m, data, n);
		data += n;
		len -= n;
	}
	if (err == ERR_BAD_REQUEST && o->err == 0)
		return bad(o, ERR_IO, "is no multipart text", none);
	return err;
}

static int
mixed_data(void *cookie, const char *data, size_t len)
{
	struct opening *o = cookie;

	switch (o->part) {
	case PART_JSON:
		return buf_put(&o->json, data, len);
	case PART_RELATED:
		return feed(o, o->inner, data, len);
	case PART_NONE:
	case PART_ERROR:
	case PART_BEHIND:
		break;
	}
	return 0;
}

static int
mixed_end(void *cookie)
{
	struct opening *o = cookie;

	if (o->part == PART_ERROR)
		o->missing = 1;
	return o->part == PART_JSON ? tell(o) : 0;
}

/* ---- The answer ---- */

static int
on_head(struct peer_rq *rq, const struct httpc_head *head)
{
	struct opening *o = (struct opening *)rq->op;
	struct jstr type = {head->type, strlen(head->type)};
	struct multipart_sink mixed = {mixed_begin, mixed_data, mixed_end, o};
	struct multipart_sink related = {related_begin, related_data, related_end, o};

	multipart_free(o->outer);
	multipart_free(o->inner);
	o->outer = o->inner = NULL;
	arena_reset(o->words);
	buf_clear(&o->json);
	o->part = PART_NONE;
	o->err = o->missing = 0;
	o->why.text[0] = '\0';
	o->inner_part = o->stub = o->behind = 0;
	if (multipart_is(type, "multipart/mixed"))
		return make_parser(o, type, &mixed, &o->outer);
	if (multipart_is(type, "multipart/related"))
		return make_parser(o, type, &related, &o->outer);
	return 0;
}

/* A piece that was refused comes again. */
static int
on_body(struct peer_rq *rq, const void *data, size_t len)
{
	struct opening *o = (struct opening *)rq->op;
	int full, err;

	if (o->outer == NULL)
		return o->json.len + len > PEER_ANSWER ? ERR_TOO_LARGE : buf_put(&o->json, data, len);
	if (o->whole && (o->behind += len) > BEHIND_MAX)
		return ERR_END;
	pthread_mutex_lock(&o->lock);
	full = o->left.len > 0;
	err = o->pipe_err;
	pthread_mutex_unlock(&o->lock);
	if (err != 0)
		return err;
	if (full)
		return HTTPC_PAUSE;
	err = feed(o, o->outer, data, len);
	if (err != 0 && o->err == 0)
		o->err = err;
	return err;
}

/* ---- The end ---- */

static void
conclude(struct opening *o, int err, const struct errtext *why)
{
	pthread_mutex_lock(&o->lock);
	o->over = 1;
	pthread_mutex_unlock(&o->lock);
	pipe_end(o->c->pipe, err);
	peer_op_end(&o->op, err, why);
}

/* Its attachments, if it has any, are in its text. */
static void
take_json(struct opening *o)
{
	struct peer_open *c = o->c;
	struct errtext why = {""};
	int err = peer_json_open_revs(o->json.data, o->json.len, &c->id, &c->rev, c->call.arena, &c->doc, &why);

	buf_release(&o->json);
	peer_rq_judge(&o->rq, err, &why);
	if (err == 0) {
		c->atts = NULL;
		c->natts = 0;
		o->told = o->whole = 1;
		c->ready(c);
	}
}

/* What the request came to, in o->rq. */
static void
judge(struct opening *o)
{
	struct peer_rq *rq = &o->rq;
	struct jstr none = {NULL, 0};

	if (o->err != 0 && rq->status == 200 && rq->err != ERR_CANCELLED) {
		rq->err = o->err;
		if (o->why.text[0] != '\0')
			(void)peer_rq_bad(rq, o->err, "%s", o->why.text);
		else
			rq->why.text[0] = '\0';
		return;
	}
	if (!peer_rq_ok(rq))
		return;
	if (o->outer == NULL)
		take_json(o);
	else if (!o->told && o->missing)
		(void)peer_rq_bad(rq, ERR_MISSING, "it has no such revision");
	else if (!o->whole && bad(o, ERR_IO, "is not whole", none) != 0)
		(void)peer_rq_bad(rq, ERR_IO, "%s", o->why.text);
}

/* Is it this document's answer that is wrong, cut off, or a database's error?  Without words it is the pipe's reader who has failed. */
static int
is_of_one(struct opening *o)
{
	const struct peer_rq *rq = &o->rq;
	int piped;

	pthread_mutex_lock(&o->lock);
	piped = o->pipe_err != 0;
	pthread_mutex_unlock(&o->lock);
	if (rq->err != ERR_IO || piped || rq->why.text[0] == '\0')
		return 0;
	if (rq->status == 200)
		return !peer_rq_is_page(rq);
	return peer_rq_is_said(rq);
}

static int make_request(struct opening *o);

/* 1 if it is asked again with fewer ancestors. */
static int
is_shorter(struct opening *o)
{
	struct peer_http *p = o->op.p;
	int shorter;

	if (o->rq.err != ERR_BAD_URL || o->told || o->since == 0)
		return 0;
	pthread_mutex_lock(&p->lock);
	shorter = p->url_max / 2 >= PEER_URL_MIN;
	if (shorter)
		p->url_max /= 2;
	pthread_mutex_unlock(&p->lock);
	if (!shorter)
		return 0;
	(void)make_request(o);
	peer_rq_start(&o->rq);
	return 1;
}

static int
is_missing(const struct peer_rq *rq)
{
	struct peer_said said;

	if (rq->err != ERR_NO_DB || rq->status != 404)
		return 0;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	return strcmp(said.error, "not_found") == 0 &&
	       (strcmp(said.reason, "missing") == 0 || strcmp(said.reason, "deleted") == 0);
}

static void
got(struct peer_rq *rq)
{
	struct opening *o = (struct opening *)rq->op;
	int left;

	judge(o);
	if (rq->err != 0 && is_shorter(o))
		return;
	if (is_missing(rq))
		rq->err = ERR_MISSING;
	else if (is_of_one(o))
		rq->err = ERR_HELD_BACK;
	pthread_mutex_lock(&o->lock);
	o->ended = 1;
	if (rq->err == 0)
		rq->err = o->pipe_err;
	left = rq->err == 0 && o->left.len > 0;
	pthread_mutex_unlock(&o->lock);
	if (!left)
		conclude(o, rq->err, &rq->why);
}

/* ---- The request ---- */

static int
make_request(struct opening *o)
{
	struct peer_open *c = o->c;
	struct buf *b = &o->rq.path;
	size_t i, room = o->op.p->url_max, used = strlen(o->op.p->end.url) + 40;

	buf_clear(b);
	peer_put_id(b, c->id);
	(void)buf_puts(b, "?attachments=true&revs=true&latest=true&open_revs=%5B%22");
	(void)rev_put(b, &c->rev);
	(void)buf_puts(b, "%22%5D");
	used += b->len;
	for (i = 0; i < c->nancestors; i++) {
		used += 30 + 2 * c->ancestors[i].len;
		if (used > room)
			break;
		(void)buf_puts(b, i == 0 ? "&atts_since=%5B%22" : "%2C%22");
		(void)rev_put(b, &c->ancestors[i]);
		(void)buf_puts(b, "%22");
	}
	if (i > 0)
		(void)buf_puts(b, "%5D");
	o->since = i;
	return buf_failed(b);
}

void
peer_http_open_doc(struct peer *peer, struct peer_open *c)
{
	struct opening *o = peer_op_new(peer, &c->call, sizeof(*o));

	if (o == NULL)
		return;
	o->c = c;
	c->atts = NULL;
	c->natts = 0;
	peer_rq_init(&o->rq, &o->op, "GET", got);
	(void)pthread_mutex_init(&o->lock, NULL);
	buf_init(&o->json, PEER_ANSWER);
	buf_init(&o->left, PEER_ANSWER);
	o->op.release = release;
	o->job = (struct exec_job){.fn = flush, .arg = o};
	o->rq.accept = "Accept: multipart/mixed, multipart/related;q=0.9, application/json;q=0.5";
	o->rq.http.pauses = 1;
	o->rq.on_head = on_head;
	o->rq.on_body = on_body;
	(void)make_request(o);
	if (arena_new(WORDS, &o->words) != 0)
		o->rq.path.failed = ERR_NOMEM;
	peer_rq_start(&o->rq);
}
