/*
 * session_batch.c: one batch of changes: the target is asked what it lacks, that is fetched, and written.
 *
 * Documents go together, as long as they have no attachments. Those that have some, and design documents, which a target may
 * refuse on its own, go by themselves (session_singles.c). What the target does not take for good is counted and passed over;
 * what else goes wrong with one document holds it back, and its batch is not through; everything else ends the run.
 *
 *  1. At most SESSION_TEXTS of documents are held, or one that is larger: what a fetch leaves is fetched in the next round.
 *  2. Each round's memory is freed behind it.
 *  3. A document is through when the target has answered for it, and the batch when all its documents are.
 */
#include "session_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"

#define ID_SHOWN 200u        /* bytes of an id in a reason */
#define REFUSALS_LOGGED 100u /* documents of a run that the log names */

static void not_copied(struct batch *b, struct peer_doc *doc, int err, const struct errtext *why);
static void ask_target(struct batch *b);
static void write_texts(struct batch *b);

int
session_batch_new(struct session *s, struct batch **bp)
{
	struct batch *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	if (arena_new(SESSION_ROWS, &b->arena) != 0 || arena_new(SESSION_ROUND, &b->round) != 0) {
		arena_free(b->arena);
		free(b);
		return ERR_NOMEM;
	}
	b->s = s;
	*bp = b;
	return 0;
}

void
session_batch_free(struct batch *b)
{
	session_singles_free(b);
	arena_free(b->round);
	arena_free(b->arena);
	free(b);
}

int
session_batch_idle(const struct batch *b)
{
	return b->flight.link == NULL && session_singles_idle(b);
}

/* ---- Many at once ---- */

/*
 * Of the ${n} that a call was made for, the first of which is ${first}: how many are settled. All, if it went well; none, where fewer
 * are to be tried, or the run fails; one that is alone and to blame is held back.
 */
static size_t
settle(struct batch *b, const struct peer_call *call, size_t n, const struct peer_doc *first)
{
	if (call->err == 0) {
		if (b->narrowing)
			b->together *= 2;
		return n;
	}
	if (n > 1 && (call->err == ERR_TOO_LARGE || call->err == ERR_HELD_BACK)) {
		b->together = n / 2;
		b->narrowing = call->err == ERR_HELD_BACK;
		return 0;
	}
	if (call->err == ERR_HELD_BACK) {
		session_batch_failed(b, first, call->err, &call->why);
		return 1;
	}
	session_fail(b->s, call->err, &call->why);
	return 0;
}

/* ---- What does the target lack? ---- */

/* Drops what is there already. */
static void
keep_missing(struct batch *b)
{
	size_t i, n = 0;

	for (i = 0; i < b->nwants; i++) {
		b->s->stats.missing += b->wants[i].nrevs;
		if (b->wants[i].nrevs > 0)
			b->wants[n++] = b->wants[i];
	}
	b->nwants = n;
}

static void
diffed(void *owner)
{
	struct batch *b = owner;
	struct peer_want *first = b->diff.wants;
	size_t settled = settle(b, &b->diff.call, b->diff.n, &(struct peer_doc){.id = first->id});

	if (settled > 0 && b->diff.call.err != 0)
		first->nrevs = 0; /* held back */
	b->asked += settled;
	if (!session_over(b->s))
		ask_target(b);
}

static void
ask_target(struct batch *b)
{
	struct session *s = b->s;
	struct peer *target = s->config.target;
	size_t n = b->nwants - b->asked;

	if (n == 0) {
		keep_missing(b);
		session_batch_round(b);
		return;
	}
	b->diff = (struct peer_diff){
	    .wants = b->wants + b->asked, .n = n < b->together ? n : b->together, .call.arena = b->arena};
	session_flight(&b->flight, s, target, &b->diff.call, diffed, b);
	target->ops->diff(target, &b->diff);
}

void
session_batch_start(struct batch *b, const struct peer_changes *c)
{
	struct session *s = b->s;
	size_t i;

	b->last_seq = c->last_seq;
	if (c->n == 0) {
		b->done = 1;
		return;
	}
	if ((b->wants = arena_calloc(b->arena, c->n, sizeof(*b->wants))) == NULL) {
		session_fail(s, ERR_NOMEM, NULL);
		return;
	}
	for (i = 0; i < c->n; i++) {
		const struct peer_change *row = &c->rows[i];

		if (row->err != 0) {
			not_copied(b, &(struct peer_doc){.id = row->id}, row->err, row->why);
			continue;
		}
		b->wants[b->nwants++] = (struct peer_want){.id = row->id, .revs = row->revs, .nrevs = row->nrevs};
		s->stats.checked += row->nrevs;
	}
	b->done = b->nwants == 0;
	if (b->done || session_over(s))
		return;
	b->together = b->nwants;
	ask_target(b);
}

/* ---- Outcomes of single documents ---- */

int
session_batch_is_final(int err)
{
	int status = err_status(err);

	return status >= 400 && status < 500 && status != 409 && err != ERR_TOO_MANY_REQUESTS && err != ERR_NO_DB &&
	       err != ERR_MISSING_STUB;
}

void
session_batch_written(struct session *s, const struct peer_doc *doc)
{
	s->stats.written++;
	s->stats.bytes += doc->text.len;
	s->stats.updated_us = s->config.ex->wall_us(s->config.ex);
}

/* Its id, and why: the last, for reports. */
static void
name_last(struct session *s, const struct peer_doc *doc, int err, const struct errtext *why)
{
	size_t shown = utf8_whole(doc->id.s, doc->id.len < ID_SHOWN ? doc->id.len : ID_SHOWN);
	const char *reason = why != NULL && why->text[0] != '\0' ? why->text : err_reason(err);

	(void)err_why(&s->stats.refusal, err, "%.*s%s: %s: %s", (int)shown, doc->id.s, shown < doc->id.len ? "..." : "",
	    err_name(err), reason);
}

void
session_batch_refused(struct session *s, struct peer_doc *doc, int err, const struct errtext *why)
{
	doc->err = err;
	s->stats.failures++;
	name_last(s, doc, err, why);
	if (s->stats.failures <= REFUSALS_LOGGED)
		log_line(LOG_WARNING, "replication %s: document %s%s", s->spec->id, s->stats.refusal.text,
		    s->stats.failures == REFUSALS_LOGGED ? "; the next ones of this run are counted alone" : "");
	if (s->config.refused != NULL)
		s->config.refused(s->config.cookie, doc);
}

/* Errors that are said of a document alone, where it is a document's.  What the disk, the way there or a busy server says is not. */
static int
is_of_one(int err)
{
	return err == ERR_HELD_BACK || err == ERR_CORRUPT || err == ERR_NOT_GZIP || err == ERR_CONFLICT ||
	       err == ERR_SCRIPT || err == ERR_SCRIPT_TIMEOUT || err == ERR_SCRIPT_DIED;
}

void
session_batch_failed(struct batch *b, const struct peer_doc *doc, int err, const struct errtext *why)
{
	struct session *s = b->s;

	if (!is_of_one(err)) {
		session_fail(s, err, why);
		return;
	}
	/* Then it is the end that is at fault: an error as any other, behind which the run rests. */
	if (s->stats.held == SESSION_HELD) {
		session_fail(s, ERR_IO, &s->held);
		return;
	}
	b->held = 1;
	if (s->stats.held++ == 0) {
		s->stats.held_ms = s->config.ex->now_ms(s->config.ex);
		(void)snprintf(s->stats.held_id, sizeof(s->stats.held_id), "%.*s",
		    (int)(doc->id.len < ID_SHOWN ? doc->id.len : ID_SHOWN), doc->id.s);
	}
	name_last(s, doc, err, why);
	log_line(LOG_WARNING, "replication %s: held back, and to be tried again: document %s", s->spec->id,
	    s->stats.refusal.text);
	if (s->held.text[0] == '\0')
		(void)err_why(&s->held, ERR_HELD_BACK, "%s", s->stats.refusal.text);
	session_held(s);
}

/* For good, or not. */
static void
not_copied(struct batch *b, struct peer_doc *doc, int err, const struct errtext *why)
{
	if (session_batch_is_final(err))
		session_batch_refused(b->s, doc, err, why);
	else
		session_batch_failed(b, doc, err, why);
}

void
session_batch_lost(struct session *s)
{
	s->lost++;
	s->read_all = 0;
}

/* ---- Fetching ---- */

static int
goes_alone(const struct peer_doc *doc)
{
	static const char design[] = "_design/";

	return doc->has_atts ||
	       (doc->id.len >= sizeof(design) - 1 && memcmp(doc->id.s, design, sizeof(design) - 1) == 0);
}

static int
sort_out(struct batch *b)
{
	struct session *s = b->s;
	size_t i;

	b->ntexts = b->nsingles = b->text = b->single = 0;
	b->texts = arena_calloc(b->round, b->fetch.ndocs + 1, sizeof(*b->texts));
	b->singles = arena_calloc(b->round, b->fetch.ndocs + 1, sizeof(*b->singles));
	if (b->texts == NULL || b->singles == NULL)
		return ERR_NOMEM;
	for (i = 0; i < b->fetch.ndocs; i++) {
		struct peer_doc *doc = &b->fetch.docs[i];

		if (doc->err != 0) {
			if (doc->err == ERR_MISSING)
				session_batch_lost(s);
			else
				not_copied(b, doc, doc->err, doc->why);
			continue;
		}
		s->stats.read += !doc->has_atts;
		if (goes_alone(doc))
			b->singles[b->nsingles++] = *doc;
		else
			b->texts[b->ntexts++] = *doc;
	}
	b->together = b->ntexts;
	b->narrowing = 0;
	return 0;
}

static void
fetched(void *owner)
{
	struct batch *b = owner;
	struct session *s = b->s;

	s->stats.bulk_docs += b->fetch.bulk_docs;
	s->stats.bulk_attempts += b->fetch.bulk_attempts;
	if (b->fetch.call.err != 0) {
		session_fail(s, b->fetch.call.err, &b->fetch.call.why);
		return;
	}
	b->at += b->fetch.done;
	if (sort_out(b) != 0)
		session_fail(s, ERR_NOMEM, NULL);
	if (!session_over(s))
		write_texts(b);
}

void
session_batch_round(struct batch *b)
{
	struct session *s = b->s;
	struct peer *source = s->config.source;

	if (session_over(s))
		return;
	if (b->at == b->nwants) {
		b->done = 1;
		return;
	}
	arena_reset(b->round);
	b->fetch = (struct peer_fetch){
	    .wants = b->wants + b->at, .nwants = b->nwants - b->at, .max_bytes = SESSION_TEXTS, .call.arena = b->round};
	session_flight(&b->flight, s, source, &b->fetch.call, fetched, b);
	source->ops->fetch(source, &b->fetch);
}

/* ---- Writing together ---- */

/* One that lacks an attachment at the target, or is too large with others, goes alone. */
static void
outcome_of_text(struct batch *b, struct peer_doc *doc)
{
	if (doc->err == 0)
		session_batch_written(b->s, doc);
	else if (doc->err == ERR_MISSING_STUB)
		b->singles[b->nsingles++] = *doc;
	else
		not_copied(b, doc, doc->err, doc->why);
}

static void
texts_written(void *owner)
{
	struct batch *b = owner;
	struct peer_write *w = &b->write;
	size_t i;

	for (i = 0; w->call.err == 0 && i < w->n; i++)
		outcome_of_text(b, &w->docs[i]);
	if (w->call.err == ERR_TOO_LARGE && w->n == 1) {
		session_batch_refused(b->s, w->docs, ERR_DOC_TOO_LARGE, &w->call.why);
		b->text++;
	} else {
		b->text += settle(b, &w->call, w->n, w->docs);
	}
	if (!session_over(b->s))
		write_texts(b);
}

static void
write_texts(struct batch *b)
{
	struct session *s = b->s;
	struct peer *target = s->config.target;
	size_t n = b->ntexts - b->text;

	if (n == 0) {
		session_singles_go(b);
		return;
	}
	b->write = (struct peer_write){
	    .docs = b->texts + b->text, .n = n < b->together ? n : b->together, .call.arena = b->round};
	session_flight(&b->flight, s, target, &b->write.call, texts_written, b);
	target->ops->write(target, &b->write);
}
