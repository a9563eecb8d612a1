/* step_map.c: documents to a child, rows back. */
#include <stdio.h>

#include "step.h"

#define BATCH_ROWS ((size_t)16 << 20)     /* of rows' JSON, behind which the batch ends */
#define MESSAGE_BYTES ((size_t)256 << 10) /* of documents' JSON in a message */
#define MESSAGE_DOCS 100u

/* send: The next documents, from *${ip} on, as one message; none: there are none. */
static int
send(struct step *s, struct script *sc, size_t *ip, size_t *sentp)
{
	struct jstr parts[2 * MESSAGE_DOCS + 2];
	size_t n = 0, docs = 0, bytes = 0;

	while (*ip < s->n && docs < s->message_docs && bytes < MESSAGE_BYTES) {
		const struct changed *c = &s->docs[(*ip)++];

		if (c->json.len == 0)
			continue;
		parts[n++] = (struct jstr){docs++ > 0 ? "," : "[", 1};
		parts[n++] = c->json;
		bytes += c->json.len;
	}
	*sentp = docs;
	if (docs == 0)
		return 0;
	parts[n++] = (struct jstr){"]", 1};
	return script_send(sc, SCRIPT_MAP, parts, n);
}

/* receive: Rows for the documents from *${ip} on that were sent. */
static int
receive(struct step *s, struct script *sc, size_t *ip, size_t sent)
{
	struct jstr answer, rows;
	struct jread j;
	int err = script_receive(sc, &answer, &s->why);

	if (err == ERR_SCRIPT)
		(void)snprintf(s->error, sizeof(s->error), "%s", script_error(sc));
	if (err != 0)
		return err;
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	while (err == 0 && sent > 0) {
		struct changed *c = &s->docs[(*ip)++];

		if (c->json.len == 0)
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

/* cut: The batch ends behind what was mapped. */
static void
cut(struct step *s, size_t n)
{
	s->n = n;
	s->seq = s->docs[n - 1].seq;
	s->more = 1;
}

/* map: Two messages are under way at a time, so that neither side waits for the other. */
static int
map(struct step *s, struct script *sc)
{
	size_t sent_at = 0, got_at = 0, first, second;
	int err = send(s, sc, &sent_at, &first), full = 0;

	while (err == 0 && first > 0) {
		second = 0;
		if (full || (err = send(s, sc, &sent_at, &second)) == 0)
			err = receive(s, sc, &got_at, first);
		first = second;
		full = s->rows_bytes > BATCH_ROWS && got_at > s->npurged;
	}
	if (err == 0 && full && got_at < s->n)
		cut(s, got_at);
	return err;
}

/*
 * What fails is mapped again, one document a message: limits of time and size are there for one document, and a
 * hundred may exceed them where each does not.
 */
int
step_map(struct step *s, struct script **scp)
{
	struct view_index *ix = s->ix;
	int err = 0;

	for (s->message_docs = MESSAGE_DOCS; s->message_docs > 0; s->message_docs /= MESSAGE_DOCS) {
		err = script_open(ix->views->config.scripts, ix->database, ix->program, scp, &s->why);
		if (err == ERR_SCRIPT)
			(void)snprintf(s->error, sizeof(s->error), "compilation_error");
		if (err != 0)
			return err;
		s->rows_bytes = 0;
		err = map(s, *scp);
		if (err == 0 || err == ERR_NOMEM)
			return err;
		script_close(*scp);
		*scp = NULL;
	}
	return err;
}
