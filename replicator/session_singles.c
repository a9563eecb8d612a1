/*
 * session_singles.c: documents of a batch that go by themselves, some at a time: those with attachments, which flow from one end
 * to the other through a pipe, and design documents.
 *
 *	begin -> put_begin -------------------------------------> put_done    -> over -> the next
 *	    `-> open_begin -> opened -> put_begin -> put_done, open_done  -'
 *
 *  1. Each has a place, with a pipe and the memory of its calls; so what they hold is bounded by SESSION_SINGLES.
 *  2. Where both ends are behind HTTP they go one at a time in a batch: an answer that waits for its reader keeps a connection.
 */
#include "session_impl.h"

#include <stdlib.h>
#include <string.h>

static void begin(struct single *p);

static size_t
how_many(const struct session *s)
{
	const struct rep_spec *spec = s->spec;
	unsigned each = spec->workers > 0 ? spec->connections / spec->workers : 0;

	if (spec->source.url == NULL && spec->target.url == NULL)
		return SESSION_SINGLES;
	if ((spec->source.url != NULL && spec->target.url != NULL) || each == 0)
		return 1;
	return each < SESSION_SINGLES ? each : SESSION_SINGLES;
}

static int
place_idle(const struct single *p)
{
	return p->open_flight.link == NULL && p->put_flight.link == NULL;
}

int
session_singles_idle(const struct batch *b)
{
	size_t i;

	for (i = 0; b->places != NULL && i < SESSION_SINGLES; i++)
		if (!place_idle(&b->places[i]))
			return 0;
	return 1;
}

void
session_singles_free(struct batch *b)
{
	size_t i;

	for (i = 0; b->places != NULL && i < SESSION_SINGLES; i++) {
		pipe_free(b->places[i].pipe);
		arena_free(b->places[i].open_arena);
		arena_free(b->places[i].put_arena);
	}
	free(b->places);
	b->places = NULL;
}

/* Of one document: what the one before left is freed. */
static int
fresh(struct arena **ap)
{
	if (*ap == NULL)
		return arena_new(SESSION_ROUND, ap);
	arena_reset(*ap);
	return 0;
}

void
session_singles_go(struct batch *b)
{
	struct session *s = b->s;
	size_t i, busy = 0, n = how_many(s);

	if (b->places == NULL && b->nsingles > 0 && (b->places = calloc(SESSION_SINGLES, sizeof(*b->places))) == NULL)
		session_fail(s, ERR_NOMEM, NULL);
	for (i = 0; b->places != NULL && i < n && !session_over(s); i++) {
		struct single *p = &b->places[i];

		if (p->doc == NULL && b->single < b->nsingles) {
			p->b = b;
			p->doc = &b->singles[b->single++];
			begin(p);
		}
		busy += p->doc != NULL;
	}
	if (busy == 0 && !session_over(s))
		session_batch_round(b);
}

/* What was asked for when the document came. */
static const struct peer_want *
want_of(const struct batch *b, const struct peer_doc *doc)
{
	size_t i;

	for (i = 0; i < b->nwants; i++)
		if (b->wants[i].id.len == doc->id.len && memcmp(b->wants[i].id.s, doc->id.s, doc->id.len) == 0)
			return &b->wants[i];
	return NULL;
}

/* Of a source's errors: it has it no more, or it cannot be had at any time. What is not allowed now may be later. */
static int
is_lost(int err)
{
	return err == ERR_MISSING || err == ERR_TOO_LARGE || err == ERR_DOC_TOO_LARGE || err == ERR_ATT_TOO_LARGE ||
	       err == ERR_BAD_URL;
}

/*
 * Where both calls failed, the pipe has handed the error of one to the other. Where the source has words of its own, what the target
 * was sent was not the document, and what it says of it counts for nothing.
 */
static const struct peer_call *
who_failed(const struct single *p)
{
	const struct peer_call *open = &p->open.call, *put = &p->put.call;
	int own = open->err != 0 && open->why.text[0] != '\0' && !session_batch_is_final(open->err);

	if (put->err == 0 || own || (open->err != 0 && pipe_broken_by(p->pipe) == 'w'))
		return open;
	return put;
}

/* It will be so in another run, too. */
static int
is_for_good(const struct single *p, const struct peer_call *failed)
{
	if (failed == &p->open.call)
		return is_lost(failed->err);
	return !p->put.of_all && (failed->err == ERR_MISSING_STUB || session_batch_is_final(failed->err));
}

/* Behind the last of its calls. */
static void
over(struct single *p)
{
	struct session *s = p->b->s;
	int with_atts = p->pipe != NULL, again = 0;
	const struct peer_call *failed;
	struct peer_doc *doc;

	if (session_over(s) || !place_idle(p))
		return;
	doc = p->ready ? &p->open.doc : p->doc;
	failed = with_atts ? who_failed(p) : &p->put.call;
	if (failed->err == 0) {
		session_batch_written(s, doc);
		if (with_atts)
			s->stats.bytes += pipe_passed(p->pipe);
	} else if (with_atts && failed->err == ERR_MISSING_STUB && !p->in_full) {
		again = 1;
	} else if (is_for_good(p, failed)) {
		if (p->ready || !with_atts || failed->err != ERR_MISSING)
			session_batch_refused(s, doc, failed->err, &failed->why);
		else
			session_batch_lost(s);
	} else {
		session_batch_failed(p->b, doc, failed->err, &failed->why);
		if (session_over(s))
			return;
	}
	pipe_free(p->pipe);
	p->pipe = NULL;
	p->in_full = again;
	if (again) {
		begin(p);
		return;
	}
	p->doc = NULL;
	session_singles_go(p->b);
}

static void
put_done(void *owner)
{
	struct single *p = owner;

	if (p->pipe != NULL)
		pipe_stop(p->pipe, p->put.call.err != 0 ? p->put.call.err : ERR_END);
	over(p);
}

static void
put_begin(struct single *p, const struct peer_doc *doc)
{
	struct session *s = p->b->s;
	struct peer *target = s->config.target;

	if (fresh(&p->put_arena) != 0) {
		session_fail(s, ERR_NOMEM, NULL);
		if (p->pipe != NULL)
			pipe_stop(p->pipe, ERR_NOMEM);
		return;
	}
	p->put = (struct peer_put){
	    .doc = doc, .atts = p->open.atts, .natts = p->open.natts, .pipe = p->pipe, .call.arena = p->put_arena};
	session_flight(&p->put_flight, s, target, &p->put.call, put_done, p);
	target->ops->put_doc(target, &p->put);
}

/* On any thread, while open_doc() is under way. */
static void
opened(struct peer_open *o)
{
	struct flight *f = o->call.cookie;
	struct single *p = f->owner;
	struct session *s = p->b->s;

	session_enter(s);
	p->ready = 1;
	s->stats.read++;
	if (session_over(s))
		pipe_stop(p->pipe, ERR_CANCELLED);
	else
		put_begin(p, &p->open.doc);
	session_leave(s);
}

static void
open_done(void *owner)
{
	struct single *p = owner;

	pipe_end(p->pipe, p->open.call.err);
	over(p);
}

static void
open_begin(struct single *p)
{
	struct session *s = p->b->s;
	struct peer *source = s->config.source;
	const struct peer_want *want = p->in_full ? NULL : want_of(p->b, p->doc);

	if (fresh(&p->open_arena) != 0 || pipe_new(&p->pipe) != 0) {
		session_fail(s, ERR_NOMEM, NULL);
		return;
	}
	p->open = (struct peer_open){
	    .id = p->doc->id, .rev = p->doc->rev, .pipe = p->pipe, .ready = opened, .call.arena = p->open_arena};
	if (want != NULL) {
		p->open.ancestors = want->ancestors;
		p->open.nancestors = want->nancestors;
	}
	session_flight(&p->open_flight, s, source, &p->open.call, open_done, p);
	source->ops->open_doc(source, &p->open);
}

static void
begin(struct single *p)
{
	p->ready = 0;
	p->put = (struct peer_put){.doc = NULL};
	p->open = (struct peer_open){.atts = NULL};
	if (p->doc->has_atts || p->doc->err == ERR_MISSING_STUB)
		open_begin(p);
	else
		put_begin(p, p->doc);
}
