/*
 * peer_http_fetch.c: documents of a source behind HTTP: many with one _bulk_get or, where it has none, each with a
 * request of its own, some at a time.
 *
 *  1. So many are asked for as are thought to fit into what the call may take, by how large they have been; an answer
 *     that is larger nevertheless is cut behind a whole result.
 *  2. A call answers for the first of its wants, without gaps: the others are asked for again.
 *  3. Without gaps means: each revision has come or is said to be missing. Otherwise the call fails.
 */
#include <stdlib.h>
#include <string.h>

#include "peer_http_impl.h"

#define REVS_MAX 1000u /* revisions that are asked for at once */
#define PARALLEL 16u   /* requests for single documents */
#define DOC_SIZE_MIN 128u

struct fetch;

/* A request for some revisions of one document. */
struct single {
	struct peer_rq rq;
	struct fetch *f;
	size_t want, from, to, end; /* revisions: asked for now are those up to ${to} */
	int busy;
};

struct fetch {
	struct peer_op op;
	struct peer_rq rq;
	struct peer_fetch *c;
	struct peer_found found;
	struct errtext words; /* of what is taken apart */
	size_t asked;         /* wants */
	int tried;            /* _bulk_get did not answer for the first: it is asked for alone */

	pthread_mutex_t lock; /* of the rest: singles end on several threads */
	struct single *singles;
	size_t nsingles, busy;
	size_t next_want, next_rev;
	int err;
	struct errtext why;
};

static void start_singles(struct fetch *f);

static void
release(struct peer_op *op)
{
	struct fetch *f = (struct fetch *)op;

	peer_rq_release(&f->rq);
	peer_found_release(&f->found);
	free(f->singles);
	pthread_mutex_destroy(&f->lock);
}

static void
end(struct fetch *f, int err, const struct errtext *why)
{
	peer_op_end(&f->op, err, why);
}

/* ---- How much to ask for ---- */

static size_t
how_many(struct fetch *f)
{
	struct peer_http *p = f->op.p;
	size_t i, n = 0, max;

	pthread_mutex_lock(&p->lock);
	max = f->c->max_bytes / p->doc_size;
	pthread_mutex_unlock(&p->lock);
	if (max > REVS_MAX)
		max = REVS_MAX;
	for (i = 0; i < f->c->nwants; i++) {
		n += f->c->wants[i].nrevs;
		if (n > max && i > 0)
			break;
	}
	return i;
}

static void
note_size(struct fetch *f)
{
	struct peer_http *p = f->op.p;
	size_t size;

	if (f->found.came == 0)
		return;
	size = f->found.bytes / f->found.came;
	pthread_mutex_lock(&p->lock);
	p->doc_size = (p->doc_size * 3 + size) / 4;
	if (p->doc_size < DOC_SIZE_MIN)
		p->doc_size = DOC_SIZE_MIN;
	pthread_mutex_unlock(&p->lock);
}

static void
put_revs(struct buf *b, const struct rev *revs, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		(void)buf_puts(b, i > 0 ? ",\"" : "\"");
		(void)rev_put(b, &revs[i]);
		(void)buf_putc(b, '"');
	}
}

/* ---- _bulk_get ---- */

static void
start_bulk(struct fetch *f)
{
	struct buf *b = &f->rq.body;
	size_t i, k, n = 0;

	buf_clear(b);
	(void)buf_puts(b, "{\"docs\":[");
	for (i = 0; i < f->asked; i++) {
		const struct peer_want *want = &f->c->wants[i];

		for (k = 0; k < want->nrevs; k++) {
			(void)buf_puts(b, n++ > 0 ? ",{\"id\":" : "{\"id\":");
			(void)buf_put_json(b, want->id.s, want->id.len);
			(void)buf_puts(b, ",\"rev\":");
			put_revs(b, &want->revs[k], 1);
			(void)buf_putc(b, '}');
		}
	}
	(void)buf_puts(b, "]}");
	f->c->bulk_attempts += n;
	f->rq.soft = f->asked > 1 ? f->c->max_bytes + f->c->max_bytes / 4 : 0;
	peer_rq_start(&f->rq);
}

static int
init_found(struct fetch *f)
{
	peer_found_release(&f->found);
	f->words.text[0] = '\0';
	return peer_found_init(&f->found, f->c->wants, f->asked, f->op.call->arena, &f->words);
}

/* It ends early, each time: what comes next may be what the source cannot read. */
static int
is_broken_off(const struct peer_rq *rq)
{
	return rq->err == ERR_IO && rq->status == 200 && !peer_rq_is_page(rq);
}

/* It has no such request, or it fails: then each document is asked for by itself, for good if it is the former. */
static int
is_without_bulk(struct fetch *f)
{
	struct peer_http *p = f->op.p;
	int status = f->rq.status, never;

	if (is_broken_off(&f->rq))
		return 1;
	if (status < 400 || status == 401 || status == 403 || status == 429 || status == 503)
		return 0;
	never = status == 400 || status == 404 || status == 405 || status == 415 || status == 501;
	pthread_mutex_lock(&p->lock);
	if (never)
		p->bulk_get = 0;
	pthread_mutex_unlock(&p->lock);
	return 1;
}

static const struct peer_want *
unanswered(const struct fetch *f)
{
	return &f->c->wants[peer_found_whole(&f->found)];
}

/* Its answer is more than is gathered. */
static int
is_endless(const struct peer_rq *rq)
{
	return rq->err == ERR_TOO_LARGE && rq->status == 200;
}

/* 1 if the first want was too large to come with others, and is asked for alone. */
static int
is_alone(struct fetch *f)
{
	if (f->asked <= 1 || f->tried)
		return 0;
	f->tried = 1;
	f->asked = 1;
	if (init_found(f) != 0)
		return 0;
	start_bulk(f);
	return 1;
}

static void
take_bulk(struct fetch *f)
{
	struct peer_rq *rq = &f->rq;
	size_t done;
	int err = peer_found_bulk(&f->found, rq->answer.data, rq->answer.len, rq->cut);

	done = peer_found_whole(&f->found);
	if (err == 0 && done == 0 && f->asked > 0 && rq->cut && is_alone(f))
		return;
	if (err == 0 && done < f->asked && (!rq->cut || done == 0)) {
		const struct peer_want *w = unanswered(f);

		err = err_why(&f->words, ERR_IO, "says nothing of \"%.*s\", which was asked for",
		    (int)(w->id.len < 100 ? w->id.len : 100), w->id.s);
	}
	peer_rq_judge(rq, err, &f->words);
	if (err == 0) {
		note_size(f);
		f->c->bulk_docs += f->found.came;
		rq->err = peer_found_end(&f->found, done, f->c);
	}
	end(f, rq->err, &rq->why);
}

static void
bulk_done(struct peer_rq *rq)
{
	struct fetch *f = (struct fetch *)rq->op;

	if (peer_rq_ok(rq)) {
		take_bulk(f);
	} else if (is_endless(rq)) {
		if (!is_alone(f))
			start_singles(f);
	} else if (is_without_bulk(f)) {
		start_singles(f);
	} else {
		end(f, rq->err, &rq->why);
	}
}

/* ---- One by one ---- */

/* Is it the document that is not there, and not the database? */
static int
is_missing(const struct peer_rq *rq)
{
	struct peer_said said;

	if (rq->status != 404)
		return 0;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	return strcmp(said.error, "not_found") == 0 &&
	       (strcmp(said.reason, "missing") == 0 || strcmp(said.reason, "deleted") == 0);
}

/* Under the lock: the others are to end as well. */
static void
fail(struct fetch *f, int err, const struct errtext *why)
{
	struct peer_http *p = f->op.p;
	size_t i;

	if (f->err != 0)
		return;
	f->err = err;
	if (why != NULL)
		f->why = *why;
	pthread_mutex_lock(&p->lock);
	for (i = 0; i < f->nsingles; i++)
		if (f->singles[i].busy)
			peer_rq_cancel(&f->singles[i].rq);
	pthread_mutex_unlock(&p->lock);
}

static void single_done(struct peer_rq *rq);

/* Under the lock: revisions behind ${from}, as many as fit into a URL. */
static size_t
fitting(const struct fetch *f, const struct peer_want *want, size_t from, size_t end)
{
	struct peer_http *p = f->op.p;
	size_t room, to = from, len = want->id.len * 3 + strlen(p->end.url) + 60;

	pthread_mutex_lock(&p->lock);
	room = p->url_max;
	pthread_mutex_unlock(&p->lock);
	while (to < end && (to == from || len + 9 + want->revs[to].len * 2 + 21 < room))
		len += 9 + want->revs[to++].len * 2 + 21;
	return to;
}

/* Under the lock. */
static void
ask_single(struct fetch *f, struct single *s)
{
	const struct peer_want *want = &f->c->wants[s->want];
	struct buf revs;

	peer_rq_init(&s->rq, &f->op, "GET", single_done);
	s->rq.divisible = s->to - s->from > 1;
	peer_put_id(&s->rq.path, want->id);
	(void)buf_puts(&s->rq.path, "?revs=true&latest=true&open_revs=");
	buf_init(&revs, PEER_ANSWER);
	(void)buf_putc(&revs, '[');
	put_revs(&revs, want->revs + s->from, s->to - s->from);
	(void)buf_putc(&revs, ']');
	peer_put_encoded(&s->rq.path, revs.data, revs.len);
	if (revs.failed != 0)
		s->rq.path.failed = revs.failed;
	buf_release(&revs);
	peer_rq_start(&s->rq);
}

/* Under the lock. */
static void
start_single(struct fetch *f, struct single *s)
{
	const struct peer_want *want = &f->c->wants[f->next_want];

	memset(s, 0, sizeof(*s));
	s->f = f;
	s->busy = 1;
	s->want = f->next_want;
	s->from = f->next_rev;
	s->to = s->end = fitting(f, want, s->from, want->nrevs);
	f->next_rev = s->end;
	if (f->next_rev == want->nrevs) {
		f->next_want++;
		f->next_rev = 0;
	}
	f->busy++;
	ask_single(f, s);
}

/* Under the lock. */
static void
start_more(struct fetch *f)
{
	size_t i;

	for (i = 0; i < f->nsingles; i++) {
		while (f->next_want < f->c->nwants && f->c->wants[f->next_want].nrevs == 0)
			f->next_want++;
		if (f->err != 0 || f->next_want == f->c->nwants ||
		    (f->found.taken >= f->c->max_bytes && f->next_rev == 0 && f->next_want > 0))
			return;
		if (!f->singles[i].busy)
			start_single(f, &f->singles[i]);
	}
}

static void
end_singles(struct fetch *f)
{
	if (f->err == 0) {
		size_t done = peer_found_whole(&f->found);

		if (done < f->next_want)
			f->err = err_why(&f->why, ERR_IO, "%s says nothing of \"%.*s\", which was asked for",
			    f->op.p->base.name, (int)(unanswered(f)->id.len < 100 ? unanswered(f)->id.len : 100),
			    unanswered(f)->id.s);
		else
			f->err = peer_found_end(&f->found, done, f->c);
	}
	if (f->err == 0)
		note_size(f);
	end(f, f->err, &f->why);
}

/* What the source cannot read: it has words for it, or breaks off. */
static int
is_unreadable(const struct peer_rq *rq)
{
	return peer_rq_is_said(rq) || is_broken_off(rq);
}

/* What fewer revisions may do without: a URL or an answer that was too long, or what cannot be read. */
static int
is_of_some(const struct peer_rq *rq)
{
	return rq->err == ERR_BAD_URL || is_endless(rq) || is_unreadable(rq);
}

/* Under the lock, behind an answer: 1 if more of its revisions are to be asked for. */
static int
is_single_going_on(struct fetch *f, struct single *s)
{
	struct peer_http *p = f->op.p;

	if (f->err == 0 && s->rq.err == 0) {
		s->from = s->to;
		s->to = fitting(f, &f->c->wants[s->want], s->from, s->end);
		return s->from < s->end;
	}
	if (f->err != 0 || !is_of_some(&s->rq) || s->to - s->from < 2)
		return 0;
	s->to = s->from + (s->to - s->from) / 2;
	if (s->rq.err != ERR_BAD_URL)
		return 1;
	pthread_mutex_lock(&p->lock);
	if (p->url_max / 2 >= PEER_URL_MIN)
		p->url_max /= 2;
	pthread_mutex_unlock(&p->lock);
	return 1;
}

static void
single_done(struct peer_rq *rq)
{
	struct single *s = (struct single *)rq;
	struct fetch *f = s->f;
	int err = 0, over, again;

	pthread_mutex_lock(&f->lock);
	f->words.text[0] = '\0';
	if (peer_rq_ok(rq)) {
		err = peer_found_one(&f->found, s->want, rq->answer.data, rq->answer.len);
		peer_rq_judge(rq, err, &f->words);
	} else if (is_missing(rq)) {
		rq->err = peer_found_missing(&f->found, s->want);
	} else if (is_of_some(rq) && s->to - s->from == 1) {
		err = is_unreadable(rq) ? ERR_HELD_BACK : ERR_DOC_TOO_LARGE;
		rq->err = peer_found_failed(&f->found, s->want, s->from, err, &rq->why);
	}
	again = is_single_going_on(f, s);
	if (!again && rq->err != 0)
		fail(f, rq->err, &rq->why);
	peer_rq_release(rq);
	if (again) {
		ask_single(f, s);
	} else {
		s->busy = 0;
		f->busy--;
		start_more(f);
	}
	over = f->busy == 0;
	pthread_mutex_unlock(&f->lock);
	if (over)
		end_singles(f);
}

static void
start_singles(struct fetch *f)
{
	f->nsingles = f->op.p->connections < PARALLEL ? f->op.p->connections : PARALLEL;
	f->asked = f->c->nwants;
	f->singles = calloc(f->nsingles, sizeof(*f->singles));
	if (f->singles == NULL || init_found(f) != 0) {
		end(f, ERR_NOMEM, NULL);
		return;
	}
	pthread_mutex_lock(&f->lock);
	start_more(f);
	pthread_mutex_unlock(&f->lock);
}

/* ---- The call ---- */

/* What begins without a request goes by way of the executor: the call has not returned yet. */
static void
begin(struct peer_rq *rq)
{
	struct fetch *f = (struct fetch *)rq->op;

	if (rq->err != 0)
		end(f, rq->err, &rq->why);
	else
		start_singles(f);
}

void
peer_http_fetch(struct peer *peer, struct peer_fetch *c)
{
	struct peer_http *p = (struct peer_http *)peer;
	struct fetch *f = peer_op_new(peer, &c->call, sizeof(*f));
	int bulk;

	if (f == NULL)
		return;
	c->docs = NULL;
	c->ndocs = c->done = 0;
	c->bulk_docs = c->bulk_attempts = 0;
	f->c = c;
	(void)pthread_mutex_init(&f->lock, NULL);
	peer_rq_init(&f->rq, &f->op, "POST", bulk_done);
	f->op.release = release;
	f->asked = how_many(f);
	pthread_mutex_lock(&p->lock);
	bulk = p->bulk_get;
	pthread_mutex_unlock(&p->lock);
	if (bulk && init_found(f) == 0) {
		(void)buf_puts(&f->rq.path, "_bulk_get?revs=true&latest=true&attachments=false");
		f->rq.type = "Content-Type: application/json";
		start_bulk(f);
		return;
	}
	f->rq.done = begin;
	peer_rq_run(&f->rq);
}
