/*
 * lists.c: /{db}/_design/{d}/_list/{name}/[{other}/]{view}: a function answers with what it makes of a view's rows.
 *
 *	lists_any -> (the view's rows are ready) -> (a thread that may wait: rows, function) -> list_end
 *
 * The rows are made as a view's answer, and handed to the function by the batch as it asks for them.  What it sends is
 * collected and answered as a whole; both are bounded.
 */
#include "scripting.h"

#include <stdio.h>

#include "base/limits.h"
#include "view_rows.h"

#define PARTS 4u                        /* {db}, "_design", {d}, "_list" */
#define BATCH_BYTES ((size_t)256 << 10) /* rows that a function gets at a time */
#define SCRATCH_MAX ((size_t)256 << 20)

/* One request; lives in its arena. */
struct list {
	struct scripting_call call;
	struct jstr program;
	struct view_rows *l;
	struct buf text;     /* the view's answer */
	struct jread rows;   /* before its next row */
	int at_end;          /* there is none */
	struct jstr head;    /* the other members of it */
	struct buf body;     /* what the function has sent, as it is */
	struct buf response; /* its headers and code: JSON text */
};

/* ---- Rows ---- */

static int
make_rows(struct list *f)
{
	struct arena *scratch;
	struct buf batch;
	int err = arena_new(SCRATCH_MAX, &scratch);

	if (err != 0)
		return err;
	buf_init(&batch, LIMIT_SCRIPT_ANSWER);
	do {
		arena_reset(scratch);
		buf_clear(&batch);
		err = view_rows_fill(f->l, &batch, scratch);
		buf_put(&f->text, batch.data, batch.len);
		if (err == 0 || err == ERR_END)
			err = buf_failed(&batch)     ? buf_failed(&batch)
			      : buf_failed(&f->text) ? buf_failed(&f->text)
						     : err;
	} while (err == 0);
	buf_release(&batch);
	arena_free(scratch);
	if (err == ERR_SCRIPT) {
		f->call.why = f->l->why;
		(void)snprintf(f->call.error, sizeof(f->call.error), "%s", f->l->error);
	}
	return err == ERR_END ? 0 : err;
}

/* read_head: {"total_rows":5,"offset":0,"rows":[...]} without the rows. */
static int
read_head(struct list *f, struct apireq *r)
{
	struct jread j;
	struct jstr key, span;
	struct buf scratch, head;
	int err;

	buf_init(&scratch, API_SCRATCH);
	buf_init_arena(&head, r->arena, API_SCRATCH);
	buf_putc(&head, '{');
	jread_init(&j, f->text.data, f->text.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		int rows = jstr_is(&key, "rows");

		(void)jread_peek(&j);
		if (rows)
			f->rows = j;
		if ((err = jread_skip(&j, &span)) != 0 || rows)
			continue;
		if (head.len > 1)
			buf_putc(&head, ',');
		buf_put_json(&head, key.s, key.len);
		buf_putc(&head, ':');
		buf_put(&head, span.s, span.len);
	}
	buf_putc(&head, '}');
	buf_release(&scratch);
	f->head = (struct jstr){head.data, head.len};
	if (err == ERR_END)
		err = buf_failed(&head);
	return err != 0 ? err : jread_array_begin(&f->rows);
}

/* send_rows: The next ones, or nothing behind the last. */
static int
send_rows(struct list *f, struct script *sc)
{
	struct jstr row;
	struct buf b;
	int err = 0;

	buf_init(&b, LIMIT_SCRIPT_ANSWER + 16);
	while (!f->at_end && b.len < BATCH_BYTES && (err = jread_array_next(&f->rows)) == 0) {
		(void)jread_peek(&f->rows);
		if ((err = jread_skip(&f->rows, &row)) != 0)
			break;
		buf_putc(&b, b.len > 0 ? ',' : '[');
		buf_put(&b, row.s, row.len);
	}
	f->at_end |= err == ERR_END;
	if (b.len > 0)
		buf_putc(&b, ']');
	if (err == 0 || err == ERR_END)
		err = buf_failed(&b);
	if (err == 0)
		err = script_rows(sc, (struct jstr){b.len > 0 ? b.data : "", b.len});
	buf_release(&b);
	return err;
}

/* ---- The function ---- */

/* take: [CHUNKS] or [CHUNKS,RESPONSE] */
static int
take(struct list *f, struct jstr sent)
{
	struct buf scratch;
	struct jread j;
	struct jstr s;
	int err;

	buf_init(&scratch, sent.len + API_SCRATCH);
	jread_init(&j, sent.s, sent.len);
	if ((err = jread_array_begin(&j)) == 0 && (err = jread_array_next(&j)) == 0)
		err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		if ((err = jread_string(&j, &scratch, &s)) == 0)
			err = buf_put(&f->body, s.s, s.len);
	if (err == ERR_END && (err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &s)) == 0)
		err = buf_put(&f->response, s.s, s.len);
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static int
converse(struct list *f, struct script *sc)
{
	struct scripting_call *c = &f->call;
	struct jstr sent;
	struct buf name;
	int err;

	buf_init(&name, 8 * LIMIT_URL_LEN);
	buf_puts(&name, "[[\"lists\",");
	buf_put_json(&name, c->name.s, c->name.len);
	buf_puts(&name, "],");
	if ((err = buf_failed(&name)) == 0) {
		const struct jstr parts[] = {
		    {name.data, name.len}, f->head, {",", 1}, {c->request.data, c->request.len}, {"]", 1}};

		err = script_send_list(sc, parts, 5);
	}
	buf_release(&name);
	while (err == 0 && (err = script_receive(sc, &sent, &c->why)) == ERR_AGAIN)
		if ((err = take(f, sent)) == 0)
			err = send_rows(f, sc);
	return err != 0 ? err : take(f, sent);
}

static void
run(struct apireq *r)
{
	struct list *f = r->cookie;
	struct scripting_call *c = &f->call;
	struct script *sc;

	if ((c->err = make_rows(f)) != 0 || (c->err = read_head(f, r)) != 0)
		return;
	c->err = script_open(r->api->scripts, r->part[0].s, f->program, &sc, &c->why);
	if (c->err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "compilation_error");
	if (c->err != 0)
		return;
	c->err = converse(f, sc);
	if (c->err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "%s", script_error(sc));
	script_close(sc);
}

/* put_whole: The response with what was sent as its body. */
static int
put_whole(struct list *f)
{
	struct buf *b = &f->response;

	if (b->len < 2 || b->data[0] != '{')
		return ERR_SCRIPT_DIED;
	b->len--;
	buf_puts(b, b->len > 1 ? ",\"body\":" : "\"body\":");
	buf_put_json(b, f->body.data, f->body.len);
	return buf_putc(b, '}');
}

static void
list_end(struct apireq *r)
{
	struct list *f = r->cookie;
	struct scripting_call *c = &f->call;

	view_rows_drop(f->l);
	if (c->err == 0)
		c->err = put_whole(f);
	if (c->err != 0)
		scripting_call_fail(r, c);
	else
		scripting_reply_as(r, (struct jstr){f->response.data, f->response.len}, 200, "application/json");
	buf_release(&f->text);
	buf_release(&f->body);
	buf_release(&f->response);
}

static void
ready(struct apireq *r, struct view_rows *l, void *cookie)
{
	struct list *f = cookie;

	f->l = l;
	r->cookie = f;
	buf_init(&f->text, LIMIT_SCRIPT_ANSWER);
	buf_init(&f->body, LIMIT_SCRIPT_ANSWER);
	buf_init(&f->response, 8 * (size_t)LIMIT_SCRIPT_ANSWER);
	api_work_slow(r, run, list_end);
}

/* ---- The way in ---- */

static int
prepare(struct apireq *r, struct list *f)
{
	struct jstr body = {"", 0}, id;
	struct db_snap *snap;
	struct buf b;
	int post = strcmp(r->method, "POST") == 0, err;

	buf_init_arena(&b, r->arena, LIMIT_URL_LEN);
	buf_puts(&b, "_design/");
	buf_put(&b, r->part[2].s, r->part[2].len);
	id = (struct jstr){b.data, b.len};
	if (post && !api_is_json(r))
		return ERR_CONTENT_TYPE;
	if ((err = buf_failed(&b)) != 0 || (post && (err = api_body(r, &body, &f->call.why)) != 0) ||
	    (err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = scripting_program(snap, id, r->arena, &f->program);
	db_snap_end(snap);
	f->call.kind = "lists";
	f->call.name = r->part[PARTS];
	if (err == 0)
		err = scripting_find(&f->call, f->program);
	return err != 0 ? err : scripting_put_request(&f->call.request, r, (struct jstr){"", 0}, post ? &body : NULL);
}

void
lists_any(struct apireq *r)
{
	struct list *f;
	int err;

	if (r->nparts != PARTS + 2 && r->nparts != PARTS + 3) {
		api_error_text(r, 404, "list_error", "Invalid path.");
		return;
	}
	if ((f = arena_calloc(r->arena, 1, sizeof(*f))) == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	scripting_call_init(&f->call, r->arena);
	if ((err = prepare(r, f)) != 0)
		api_error(r, err, &f->call.why);
	else
		view_rows_take(
		    r, r->nparts == PARTS + 3 ? r->part[PARTS + 1] : r->part[2], r->part[r->nparts - 1], ready, f);
}
