/*
 * validators.c: users' validate_doc_update functions give their verdicts, in batches: one message to a child per design
 * document, whatever the number of writes.
 *
 * A function that throws {forbidden: TEXT} or {unauthorized: TEXT} refuses the write with that text; one that throws
 * anything else, or fails, makes the write an error; one that cannot be compiled or run makes all writes errors: what
 * is to be validated is never stored without.
 */
#include "validators.h"

#include "scripting.h"

#define MESSAGE_MAX \
	((size_t)256 << 20) /* the writes of one hearing, their old documents, and the security object for each */

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

/* put_message: All writes that nobody has refused yet; *${np} is how many. */
static int
put_message(struct buf *b, const struct db_hearing *h, size_t *np)
{
	int err = 0;

	*np = 0;
	buf_puts(b, "[[\"validate_doc_update\"],[");
	for (size_t i = 0; i < h->n && err == 0; i++) {
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
take_verdicts(struct jstr answer, struct db_hearing *h)
{
	struct buf scratch;
	struct jread j;
	int err;

	buf_init(&scratch, answer.len + API_SCRATCH);
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	for (size_t i = 0; i < h->n && err == 0; i++)
		if (h->verdicts[i].err == 0 && (err = jread_array_next(&j)) == 0)
			err = take_verdict(&j, &scratch, &h->verdicts[i]);
	if (err == 0 && jread_array_next(&j) != ERR_END)
		err = ERR_SCRIPT_DIED;
	buf_release(&scratch);
	return err;
}

static int
ask(struct scripts *scripts, struct jstr program, struct db_hearing *h, struct errtext *why)
{
	struct jstr answer, message;
	struct script *sc;
	struct buf b;
	size_t n;
	int err = script_open(scripts, h->by.database, program, &sc, why);

	if (err != 0)
		return err;
	buf_init(&b, MESSAGE_MAX);
	err = put_message(&b, h, &n);
	message = (struct jstr){b.data, b.len};
	if (err == 0 && n > 0 && (err = script_send(sc, SCRIPT_DESIGN, &message, 1)) == 0 &&
	    (err = script_receive(sc, &answer, why)) == 0)
		err = take_verdicts(answer, h);
	script_close(sc);
	buf_release(&b);
	return err;
}

int
validators_run(void *cookie, struct db_hearing *h)
{
	struct api *api = cookie;
	struct errtext why = {""};
	struct jstr *programs = arena_calloc(h->arena, h->nvalidators, sizeof(*programs));
	int err = programs != NULL ? 0 : ERR_NOMEM;

	for (size_t i = 0; i < h->nvalidators && err == 0; i++)
		err = scripting_program(h->snap, h->validators[i].id, h->arena, &programs[i]);
	db_hearing_release(h);
	for (size_t i = 0; i < h->nvalidators && err == 0; i++)
		err = ask(api->scripts, programs[i], h, &why);
	for (size_t i = 0; i < h->n && err != 0; i++) {
		if (h->verdicts[i].err != 0)
			continue;
		h->verdicts[i].err = err;
		h->verdicts[i].why = why;
	}
	return err;
}
