/*
 * validators.c: users' validate_doc_update functions give their verdicts, in batches: a message to a child per design
 * document and MESSAGE_DOCS writes.
 *
 * A function that throws {forbidden: TEXT} or {unauthorized: TEXT} refuses the write with that text; one that throws
 * anything else, or fails, makes the write an error; one that cannot be compiled or run makes all writes errors: what
 * is to be validated is never stored without.
 *
 * A function that does not come back about a message is asked about its writes one by one: only those fail that it does not
 * come back about.  That takes a few times the time of one answer at most, however many they are: who is not heard by then fails, too.
 */
#include "validators.h"

#include "base/counters.h"
#include "scripting.h"

#define MESSAGE_DOCS 128u
#define MESSAGE_MAX ((size_t)256 << 20) /* its writes, their old documents, and the security object for each */
#define CAREFUL_PART 5u                 /* of the time for an answer: for one write, where a message failed, */
#define CAREFUL_TIMES 2u                /* and so many times that time for all of them */

/* What one design document says. */
struct asking {
	struct scripts *scripts;
	struct executor *ex;
	struct jstr program;
	struct db_hearing *h;
	struct script *sc; /* NULL: none is open */
	struct errtext why;
	int careful; /* a message failed: one write at a time */
	uint64_t until_ms;
};

static int
put_verdict(struct buf *b, const struct db_hearing *h, const struct db_verdict *v)
{
	int err;

	buf_putc(b, '[');
	if ((err = db_judged_json(b, &v->id, &v->new_doc)) != 0)
		return err;
	buf_putc(b, ',');
	if (!v->has_old)
		buf_puts(b, "null");
	else if ((err = db_judged_json(b, &v->id, &v->old_doc)) != 0)
		return err;
	buf_putc(b, ',');
	scripting_put_user(b, h->by.database, h->by.who);
	buf_putc(b, ',');
	buf_put(b, h->security.s, h->security.len);
	return buf_putc(b, ']');
}

/* put_message: Of ${n} writes those that nobody has refused yet; *${np} is how many. */
static int
put_message(struct buf *b, const struct db_hearing *h, size_t first, size_t n, size_t *np)
{
	int err = 0;

	*np = 0;
	buf_puts(b, "[[\"validate_doc_update\"],[");
	for (size_t i = first; i < first + n && err == 0; i++) {
		if (h->verdicts[i].err != 0)
			continue;
		buf_puts(b, (*np)++ > 0 ? "," : "");
		err = put_verdict(b, h, &h->verdicts[i]);
	}
	buf_puts(b, "]]");
	return err != 0 ? err : buf_failed(b);
}

/* The reason that was thrown: a text as it is, anything else as JSON. */
static int
take_reason(struct jread *j, struct buf *scratch, int code, struct db_verdict *v)
{
	struct jstr s;
	int err = jread_peek(j) == JREAD_STRING ? jread_string(j, scratch, &s) : jread_skip(j, &s);

	if (err == 0)
		v->err = err_why(&v->why, code, "%.*s", (int)(s.len < ERRTEXT_MAX ? s.len : ERRTEXT_MAX), s.s);
	return err;
}

static int
take_thrown(struct jread *j, struct buf *scratch, struct db_verdict *v)
{
	struct jstr key;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return take_reason(j, scratch, ERR_SCRIPT, v);
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, scratch, &key)) == 0) {
		if (jstr_is(&key, "forbidden"))
			err = take_reason(j, scratch, ERR_FORBIDDEN, v);
		else if (jstr_is(&key, "unauthorized"))
			err = take_reason(j, scratch, ERR_UNAUTHORIZED, v);
		else if (v->err == 0)
			err = take_reason(j, scratch, ERR_SCRIPT, v);
		else
			err = jread_skip(j, NULL);
	}
	if (err == ERR_END && v->err == 0)
		v->err = ERR_SCRIPT;
	return err == ERR_END ? 0 : err;
}

/* null, {"threw":...} or {"failed":...} */
static int
take_verdict(struct jread *j, struct buf *scratch, struct db_verdict *v)
{
	struct jstr key;
	int err;

	if (jread_peek(j) == JREAD_NULL)
		return jread_skip(j, NULL);
	if ((err = jread_object_begin(j)) != 0 || (err = jread_object_next(j, scratch, &key)) != 0)
		return err;
	err = jstr_is(&key, "threw") ? take_thrown(j, scratch, v) : take_reason(j, scratch, ERR_SCRIPT, v);
	if (err == 0)
		err = jread_object_next(j, scratch, &key);
	return err == ERR_END ? 0 : ERR_SCRIPT_DIED;
}

static int
take_verdicts(struct jstr answer, struct db_hearing *h, size_t first, size_t n)
{
	struct buf scratch;
	struct jread j;
	int err;

	buf_init(&scratch, answer.len + API_SCRATCH);
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	for (size_t i = first; i < first + n && err == 0; i++) {
		struct db_verdict *v = &h->verdicts[i];

		if (v->err != 0 || (err = jread_array_next(&j)) != 0)
			continue;
		err = take_verdict(&j, &scratch, v);
		if (v->err == ERR_FORBIDDEN || v->err == ERR_UNAUTHORIZED)
			counters_add(COUNTER_VDU_REJECTS, 1);
	}
	if (err == 0 && jread_array_next(&j) != ERR_END)
		err = ERR_SCRIPT_DIED;
	buf_release(&scratch);
	return err;
}

static void
hang_up(struct asking *q)
{
	script_close(q->sc);
	q->sc = NULL;
}

static int
ask_some(struct asking *q, size_t first, size_t n)
{
	unsigned ms = scripts_timeout_ms(q->scripts);
	struct jstr answer, message;
	struct buf b;
	size_t asked;
	int err;

	buf_init(&b, MESSAGE_MAX);
	err = put_message(&b, q->h, first, n, &asked);
	message = (struct jstr){b.data, b.len};
	if (err == 0 && asked > 0 && q->sc == NULL)
		err = script_open(q->scripts, q->h->by.database, q->program, &q->sc, &q->why);
	if (err == 0 && asked > 0) {
		script_limit(q->sc, q->careful ? ms / CAREFUL_PART : 0);
		if ((err = script_send(q->sc, SCRIPT_DESIGN, &message, 1)) == 0 &&
		    (err = script_receive(q->sc, &answer, &q->why)) == 0)
			err = take_verdicts(answer, q->h, first, n);
	}
	buf_release(&b);
	return err;
}

/* is_theirs: May what went wrong be one write's fault? */
static int
is_theirs(int err)
{
	return err == ERR_SCRIPT_TIMEOUT || err == ERR_SCRIPT_DIED || err == ERR_TOO_LARGE;
}

static void
fail_from(struct asking *q, size_t i, size_t n, int err)
{
	for (; i < n; i++) {
		struct db_verdict *v = &q->h->verdicts[i];

		if (v->err != 0)
			continue;
		v->err = err;
		v->why = q->why;
	}
}

static void
ask(struct asking *q)
{
	size_t i = 0;

	q->why.text[0] = '\0';
	while (i < q->h->n) {
		size_t left = q->h->n - i, n = q->careful ? 1 : MESSAGE_DOCS < left ? MESSAGE_DOCS : left;
		int err = ask_some(q, i, n);

		if (err == 0) {
			i += n;
			continue;
		}
		hang_up(q);
		if (!is_theirs(err)) {
			fail_from(q, i, q->h->n, err);
			break;
		}
		if (!q->careful) {
			q->careful = 1;
			q->until_ms = q->ex->now_ms(q->ex) + CAREFUL_TIMES * scripts_timeout_ms(q->scripts);
			continue;
		}
		fail_from(q, i, q->ex->now_ms(q->ex) < q->until_ms ? i + 1 : q->h->n, err);
		q->why.text[0] = '\0';
		i++;
	}
	hang_up(q);
}

int
validators_run(void *cookie, struct db_hearing *h)
{
	struct api *api = cookie;
	struct asking q = {.scripts = api->scripts, .ex = api->ex, .h = h};
	struct jstr *programs = arena_calloc(h->arena, h->nvalidators, sizeof(*programs));
	int err = programs != NULL ? 0 : ERR_NOMEM;

	for (size_t i = 0; i < h->nvalidators && err == 0; i++)
		err = scripting_program(h->snap, h->validators[i].id, h->arena, &programs[i]);
	db_hearing_release(h);
	for (size_t i = 0; i < h->nvalidators && err == 0; i++) {
		q.program = programs[i];
		ask(&q);
	}
	return err;
}
