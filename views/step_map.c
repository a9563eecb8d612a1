/*
 * step_map.c: documents to a child, rows back.
 *
 * A document whose rows are too much (for the child's memory, for an answer, for LIMIT_ROW_KEY or LIMIT_ROWS_KEYS) has none, as one for which the function
 * throws, and the log says so: it holds up no other.
 */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "step.h"

#define BATCH_ROWS ((size_t)16 << 20)     /* of rows' JSON, behind which the batch ends */
#define MESSAGE_BYTES ((size_t)256 << 10) /* of documents' JSON in a message */
#define WEIGH_FROM \
	((size_t)512 << 10) /* of one document's rows: fewer have no more than LIMIT_ROWS_KEYS of sort keys */
#define ROW_MIN 6u          /* bytes of a row's JSON */
#define LONG_ID 256u        /* bytes of an id, from which on it counts as a part of what its rows are sorted by */
#define MESSAGE_DOCS 100u
#define MESSAGE_ROWS ((size_t)2 << 20) /* about so much is to come of a message, as far as the last one tells */
#define MESSAGE_MS 1000u               /* for a message of several documents */

/* send: The next documents, from *${ip} on, as one message; none: there are none. */
static int
send(struct step *s, struct script *sc, size_t *ip, size_t *sentp)
{
	struct jstr parts[3] = {{"[", 1}, {NULL, 0}, {"]", 1}};
	size_t docs = 0, max = s->ix->careful > 0 ? 1 : s->ix->message_docs > 0 ? s->ix->message_docs : MESSAGE_DOCS;

	while (*ip < s->n && docs < max && parts[1].len < MESSAGE_BYTES) {
		const struct changed *c = &s->docs[(*ip)++];

		if (c->json_len == 0)
			continue;
		/* They stand behind each other. */
		if (docs++ == 0)
			parts[1].s = s->json.data + c->json_at;
		parts[1].len = (size_t)(s->json.data + c->json_at + c->json_len - parts[1].s);
	}
	*sentp = docs;
	if (docs == 0)
		return 0;
	s->ix->careful -= s->ix->careful > 0;
	return script_send(sc, SCRIPT_MAP, parts, 3);
}

/* leave_out: The document has no rows. */
static void
leave_out(struct step *s, struct changed *c, const char *why)
{
	const struct jstr *design = &s->ix->design;

	c->rows = (struct jstr){NULL, 0};
	c->json_len = 0;
	log_line(LOG_WARNING, "an index of %s, %.*s: document %.*s has no rows: %s", s->ix->database, (int)design->len,
	    design->s, (int)c->id.len, c->id.s, why[0] != '\0' ? why : err_reason(ERR_TOO_LARGE));
}

/* take_row: [KEY,VALUE] */
static int
take_row(struct jread *j, struct jstr *keyp)
{
	int err = jread_array_begin(j);

	if (err == 0 && (err = jread_array_next(j)) == 0 && (err = jread_skip(j, keyp)) == 0 &&
	    (err = jread_array_next(j)) == 0 && (err = jread_skip(j, NULL)) == 0)
		err = jread_array_next(j);
	return err == ERR_END ? 0 : ERR_SCRIPT_DIED;
}

/* weigh_map: Add up the sort keys of one map's rows, and ${more} for each; ERR_TOO_LARGE. */
static int
weigh_map(struct step *s, unsigned map, struct jread *j, size_t more, size_t *sump)
{
	struct jstr key;
	int err = map < s->ix->ddoc.nmaps ? jread_array_begin(j) : ERR_SCRIPT_DIED;

	while (err == 0 && (err = jread_array_next(j)) == 0) {
		if ((err = take_row(j, &key)) != 0)
			break;
		if (key.len > LIMIT_ROW_KEY)
			return ERR_TOO_LARGE;
		buf_clear(&s->sortkey);
		err = ddoc_sortkey(s->ix->ddoc.maps[map].raw, key, &s->scratch, &s->sortkey);
		*sump += s->sortkey.len + more;
		if (err == 0 && *sump > LIMIT_ROWS_KEYS)
			err = ERR_TOO_LARGE;
	}
	return err == ERR_END ? 0 : err;
}

/* weigh: ERR_TOO_LARGE: the keys among a document's rows are too long, or all of them together. */
static int
weigh(struct step *s, const struct changed *c, struct jstr rows)
{
	unsigned map = 0;
	size_t sum = 0, more = c->id.len < LONG_ID ? 0 : c->id.len;
	struct jread j;
	int err;

	if (rows.len < WEIGH_FROM && rows.len / ROW_MIN * more < LIMIT_ROWS_KEYS / 2)
		return 0;
	jread_init(&j, rows.s, rows.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		err = weigh_map(s, map++, &j, more, &sum);
	return err == ERR_END ? 0 : err;
}

/* keep_rows: What came for one document. */
static int
keep_rows(struct step *s, struct changed *c, struct jstr rows)
{
	int err = weigh(s, c, rows);

	if (err == ERR_TOO_LARGE) {
		leave_out(s, c, "their keys are too large");
		return 0;
	}
	if (err != 0)
		return err;
	c->rows = (struct jstr){arena_dup(s->a, rows.s, rows.len), rows.len};
	s->rows_bytes += rows.len;
	return c->rows.s != NULL ? 0 : ERR_NOMEM;
}

/* plan_messages: ${len} bytes came of ${docs} documents. */
static void
plan_messages(struct view_index *ix, size_t docs, size_t len)
{
	size_t fit = docs * MESSAGE_ROWS / (len + 1);

	ix->message_docs = fit > MESSAGE_DOCS ? MESSAGE_DOCS : fit > 0 ? fit : 1;
}

/* receive: Rows for the documents from *${ip} on that were sent. */
static int
receive(struct step *s, struct script *sc, size_t *ip, size_t sent)
{
	struct jstr answer, rows;
	struct jread j;
	int err;

	script_limit(sc, sent > 1 ? MESSAGE_MS : 0);
	err = script_receive(sc, &answer, &s->why);

	if (err == ERR_SCRIPT)
		(void)snprintf(s->error, sizeof(s->error), "%s", script_error(sc));
	if (err != 0)
		return err;
	plan_messages(s->ix, sent, answer.len);
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	while (err == 0 && sent > 0) {
		struct changed *c = &s->docs[(*ip)++];

		if (c->json_len == 0)
			continue;
		sent--;
		if ((err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &rows)) == 0)
			err = keep_rows(s, c, rows);
	}
	return err == ERR_END || err == ERR_BAD_JSON ? ERR_SCRIPT_DIED : err;
}

/* map: Two messages are under way at a time, so that neither side waits for the other.  *${gotp}: of so many documents there are rows. */
static int
map(struct step *s, struct script *sc, size_t *gotp, size_t *failedp)
{
	uint64_t began = step_now(s);
	size_t sent_at = 0, first, second;
	int err = send(s, sc, &sent_at, &first), full = 0;

	for (*gotp = 0; err == 0 && first > 0; first = second) {
		size_t at = *gotp;

		second = 0;
		if (!full && (err = send(s, sc, &sent_at, &second)) != 0)
			break;
		if ((err = receive(s, sc, &at, first)) != 0)
			break;
		*gotp = at;
		full = (s->rows_bytes > BATCH_ROWS || step_now(s) - began > STEP_MS) && *gotp > s->npurged;
	}
	*failedp = first;
	if (err == 0 && full && *gotp < s->n)
		step_cut(s, *gotp);
	return err;
}

/* is_too_much: 1 if what functions gave was more than their child could hold or tell. */
static int
is_too_much(const struct step *s, int err)
{
	return err == ERR_TOO_LARGE || (err == ERR_SCRIPT && (strcmp(s->error, "os_process_error") == 0 ||
								 strcmp(s->error, "InternalError") == 0));
}

/* is_for_good: May the document ${c}, which was alone in its message, be taken for the cause? */
static int
is_for_good(struct step *s, const struct changed *c, int err)
{
	struct view_index *ix = s->ix;

	/* A child that dies may have been killed by somebody else, once; one without memory may have had others' to hold. */
	if ((err != ERR_SCRIPT_DIED && !is_too_much(s, err)) || c->seq == 0 || ix->died_seq == c->seq)
		return 1;
	ix->died_seq = c->seq;
	return 0;
}

static void
remember(struct step *s, uint64_t seq, int err)
{
	struct index_failure *f = &s->ix->failure;

	*f = (struct index_failure){.seq = seq, .until_ms = step_now(s) + INDEX_FAILED_MS, .err = err, .why = s->why};
	memcpy(f->error, s->error, sizeof(f->error));
}

/*
 * go_on: What is to be done after a message of ${sent} documents failed, from ${got} on: 0: the batch is what is before it; ERR_AGAIN: it is tried again;
 * else it is the update's error.
 */
static int
go_on(struct step *s, size_t got, size_t sent, int err)
{
	int alone = sent == 1, for_good = 0;

	while (got < s->n && s->docs[got].json_len == 0)
		got++;
	if (err == ERR_NOMEM || sent == 0 || got == s->n)
		return err;
	s->ix->careful = alone ? 1 : sent;
	for_good = alone && is_for_good(s, &s->docs[got], err);
	if (for_good && is_too_much(s, err)) {
		leave_out(s, &s->docs[got], s->why.text);
		return ERR_AGAIN;
	}
	if (for_good && got >= s->npurged)
		remember(s, s->docs[got].seq, err);
	if (got >= s->npurged && got > 0) {
		step_cut(s, got);
		return 0;
	}
	return for_good ? err : ERR_AGAIN;
}

/* forget_why: What follows may fail by something else, and tell no words of its own. */
static void
forget_why(struct step *s)
{
	s->why.text[0] = '\0';
	s->error[0] = '\0';
}

/*
 * What fails is mapped again, one document a message: limits of time and size are there for one document, and a
 * hundred may exceed them where each does not.  A message of several gets little time, so that a function that does not end
 * costs little more than the time that it may take.
 */
int
step_map(struct step *s, struct script **scp)
{
	struct view_index *ix = s->ix;
	size_t got, failed;
	int err;

	do {
		forget_why(s);
		err = script_open(ix->views->config.scripts, ix->database, ix->program, scp, &s->why);
		if (err == ERR_SCRIPT)
			(void)snprintf(s->error, sizeof(s->error), "compilation_error");
		if (err == ERR_SCRIPT_TIMEOUT)
			remember(s, INDEX_ALL, err);
		if (err != 0)
			return err;
		s->rows_bytes = 0;
		if ((err = map(s, *scp, &got, &failed)) == 0)
			return 0;
		script_close(*scp);
		*scp = NULL;
		err = go_on(s, got, failed, err);
	} while (err == ERR_AGAIN);
	if (err == 0)
		forget_why(s);
	return err;
}
