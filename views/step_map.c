/* step_map.c: documents to a child, rows back. */
#include <stdio.h>
#include <string.h>

#include "step.h"

#define BATCH_ROWS ((size_t)16 << 20)     /* of rows' JSON, behind which the batch ends */
#define MESSAGE_BYTES ((size_t)256 << 10) /* of documents' JSON in a message */
#define MESSAGE_DOCS 100u
#define MESSAGE_MS 1000u /* for a message of several documents */

/* send: The next documents, from *${ip} on, as one message; none: there are none. */
static int
send(struct step *s, struct script *sc, size_t *ip, size_t *sentp)
{
	struct jstr parts[3] = {{"[", 1}, {NULL, 0}, {"]", 1}};
	size_t docs = 0, max = s->ix->careful > 0 ? 1 : MESSAGE_DOCS;

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
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	while (err == 0 && sent > 0) {
		struct changed *c = &s->docs[(*ip)++];

		if (c->json_len == 0)
			continue;
		sent--;
		if ((err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &rows)) == 0) {
			c->rows = (struct jstr){arena_dup(s->a, rows.s, rows.len), rows.len};
			s->rows_bytes += rows.len;
			err = c->rows.s != NULL ? 0 : ERR_NOMEM;
		}
	}
	return err == ERR_END || err == ERR_BAD_JSON ? ERR_SCRIPT_DIED : err;
}

/* cut: The batch ends behind its first ${n} documents. */
static void
cut(struct step *s, size_t n)
{
	s->n = n;
	s->seq = n > s->npurged ? s->docs[n - 1].seq : s->from;
	s->more = 1;
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
		cut(s, *gotp);
	return err;
}

/* is_for_good: May the document ${c}, which was alone in its message, be taken for the cause? */
static int
is_for_good(struct step *s, const struct changed *c, int err)
{
	struct view_index *ix = s->ix;

	/* A child that dies may have been killed by somebody else, once. */
	if (err != ERR_SCRIPT_DIED || c->seq == 0 || ix->died_seq == c->seq)
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
	if (alone && (for_good = is_for_good(s, &s->docs[got], err)) && got >= s->npurged)
		remember(s, s->docs[got].seq, err);
	if (got >= s->npurged && got > 0) {
		cut(s, got);
		return 0;
	}
	return for_good ? err : ERR_AGAIN;
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
	return err;
}
