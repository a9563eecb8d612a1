/*
 * lists.c: /{db}/_design/{d}/_list/{name}/[{other}/]{view}: a function answers with what it makes of a view's rows, or of those of
 * _all_docs, if that is the view's name.
 *
 *	lists_any -> prepare: design document and request -> (the view's rows are ready) -> run: what the function sends first
 *	  `-> list_end: all of it, an error, or the head of a stream -> fill -> (sent) -> fill ... -> drop
 *	                                                                `-> ahead, ahead ... while it is sent
 *
 * 1. The rows are made as a view's answer, a batch at a time as the function asks for them, and what it sends goes out a batch at
 *    a time: neither is ever held in memory as a whole.
 * 2. prepare(), run(), fill() and ahead() are on threads that may wait, one at a time.  Between them the function stands still, in its process.
 * 3. No process is waited for while one is held: where the rows are themselves a function's reductions, all of them are made first.
 * 4. Who holds a process never waits for a thread that waits for one: what follows run() is on api->lists, where nobody does.
 * 5. A slow client keeps no process that others need: ahead of it the function works on, and what it sends waits on disk, behind what is
 *    older and before f->body.  Where there is no room the function stands still, and its process may be ended for who waits for one.
 */
#include "scripting.h"

#include <stdio.h>
#include <stdlib.h>

#include "alldocs.h"
#include "base/limits.h"
#include "rows.h"
#include "view_rows.h"

#define PARTS 4u /* {db}, "_design", {d}, "_list" */
#define SCRATCH_MAX ((size_t)256 << 20)
#define BODY_MAX ((size_t)1 << 20) /* bytes of what was sent that are kept in memory for long */
#define ROWS_END "\r\n]}\n"        /* what stands behind a view's rows */

/* One request; lives in its arena. */
struct list {
	struct apireq *r;
	struct scripting_call call;
	struct scripting_request asked;
	struct jstr program;
	struct view_rows *l;
	struct listing *docs; /* instead of l: _all_docs */
	struct script *sc;
	struct arena *scratch;
	struct buf text;     /* rows that the function has not been given, with commas between them */
	int at_end;          /* there are no others */
	struct jstr head;    /* what a view's answer has beside them */
	struct spool spool;  /* what the function has sent, */
	struct buf body;     /* and what of it is newest, until it is a batch */
	int done;            /* it has sent all */
	struct buf response; /* its headers and code: JSON text */
};

/* ---- Rows ---- */

/* all_first: Do the view's rows take a process? */
static int
all_first(const struct list *f)
{
	return f->docs == NULL && read_reduces(f->l->view) == READ_SCRIPT && f->l->nqueries > 0 &&
	       f->l->queries[0].reduce;
}

static int
more_text(struct list *f)
{
	struct buf batch;
	int err;

	buf_init(&batch, LIMIT_SCRIPT_ANSWER);
	arena_reset(f->scratch);
	err = f->docs != NULL ? alldocs_fill(f->docs, &batch, f->scratch) : view_rows_fill(f->l, &batch, f->scratch);
	if (err == 0 || err == ERR_END) {
		f->at_end = err == ERR_END;
		err = buf_failed(&batch) ? buf_failed(&batch) : buf_put(&f->text, batch.data, batch.len);
	}
	buf_release(&batch);
	if (err == ERR_SCRIPT) {
		f->call.why = f->l->why;
		(void)snprintf(f->call.error, sizeof(f->call.error), "%s", f->l->error);
	}
	return err;
}

/* cut_end: Of the last rows. */
static int
cut_end(struct list *f)
{
	const size_t n = sizeof(ROWS_END) - 1;

	if (!f->at_end)
		return 0;
	if (f->text.len < n || memcmp(f->text.data + f->text.len - n, ROWS_END, n) != 0)
		return ERR_CORRUPT;
	f->text.len -= n;
	return 0;
}

/* read_head: {"total_rows":5,"offset":0,"rows":[ becomes {"total_rows":5,"offset":0}; no text of others is before the rows. */
static int
read_head(struct list *f)
{
	static const char mark[] = "\"rows\":[\r\n";
	const char *at = memmem(f->text.data, f->text.len, mark, sizeof(mark) - 1);
	size_t len, behind;
	char *head;

	if (at == NULL || f->text.data[0] != '{')
		return ERR_CORRUPT;
	len = (size_t)(at - f->text.data);
	behind = len + sizeof(mark) - 1;
	if ((head = arena_calloc(f->r->arena, 1, len + 2)) == NULL)
		return ERR_NOMEM;
	memcpy(head, f->text.data, len);
	if (head[len - 1] == ',')
		len--;
	head[len] = '}';
	f->head = (struct jstr){head, len + 1};
	memmove(f->text.data, f->text.data + behind, f->text.len - behind);
	f->text.len -= behind;
	return 0;
}

static int
first_rows(struct list *f)
{
	int err = more_text(f);

	while (err == 0 && !f->at_end && all_first(f))
		err = more_text(f);
	if (err == 0)
		err = cut_end(f);
	return err != 0 ? err : read_head(f);
}

/* send_rows: The next ones, or nothing behind the last. */
static int
send_rows(struct list *f)
{
	struct jstr parts[] = {{"[", 1}, {"", 0}, {"]", 1}};
	int err;

	while (f->text.len == 0 && !f->at_end)
		if ((err = more_text(f)) != 0 || (err = cut_end(f)) != 0)
			return err;
	if (f->text.len == 0)
		return script_rows(f->sc, parts, 0);
	parts[1] = (struct jstr){f->text.data, f->text.len};
	/* What is between this batch and the one before. */
	if (parts[1].len >= 3 && memcmp(parts[1].s, ",\r\n", 3) == 0) {
		parts[1].s += 3;
		parts[1].len -= 3;
	}
	err = script_rows(f->sc, parts, 3);
	buf_clear(&f->text);
	return err;
}

/* ---- The function ---- */

/* take: [CHUNKS] or [CHUNKS,RESPONSE]; until there is text, a later response takes the place of the one before. */
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
	if (err == ERR_END && (err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &s)) == 0) {
		buf_clear(&f->response);
		err = buf_put(&f->response, s.s, s.len);
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static int
send_call(struct list *f)
{
	struct scripting_call *c = &f->call;
	struct buf name;
	int err;

	buf_init(&name, 8 * LIMIT_URL_LEN);
	buf_puts(&name, "[[\"lists\",");
	buf_put_json(&name, c->name.s, c->name.len);
	buf_puts(&name, "],");
	if ((err = buf_failed(&name)) == 0) {
		const struct jstr parts[] = {
		    {name.data, name.len}, f->head, {",", 1}, {c->request.data, c->request.len}, {"]", 1}};

		err = script_send_list(f->sc, parts, 5);
	}
	buf_release(&name);
	return err;
}

/* converse: Until the function has sent a batch, or all; what it asks for when there is a batch waits. */
static int
converse(struct list *f, int asks)
{
	struct jstr sent;
	int err = asks ? send_rows(f) : 0;

	while (err == 0) {
		err = script_receive(f->sc, &sent, &f->call.why);
		if (err != 0 && err != ERR_AGAIN)
			break;
		f->done = err == 0;
		if ((err = take(f, sent)) != 0 || f->done || f->body.len >= ROWS_BATCH_BYTES)
			break;
		err = send_rows(f);
	}
	if (err == ERR_SCRIPT && f->call.error[0] == '\0')
		(void)snprintf(f->call.error, sizeof(f->call.error), "%s", script_error(f->sc));
	return err;
}

/* put_whole: The response with what was sent as its body. */
static int
put_whole(struct list *f)
{
	const struct buf *head = &f->response;
	struct buf *b = &f->call.answer;
	char *room;
	int err;

	if (head->len < 2 || head->data[0] != '{')
		return ERR_SCRIPT_DIED;
	/* An arena's buffer had better not grow. */
	if ((err = buf_reserve(b, head->len + f->body.len + f->body.len / 8 + 64, &room)) != 0)
		return err;
	buf_put(b, head->data, head->len - 1);
	buf_puts(b, head->len > 2 ? ",\"body\":" : "\"body\":");
	buf_put_json(b, f->body.data, f->body.len);
	return buf_putc(b, '}');
}

static void
run(struct apireq *r)
{
	struct list *f = r->cookie;
	struct scripting_call *c = &f->call;

	if (f->docs != NULL && (c->err = alldocs_read(f->docs, &c->why)) != 0)
		return;
	if ((c->err = arena_new(SCRATCH_MAX, &f->scratch)) != 0 || (c->err = first_rows(f)) != 0)
		return;
	c->err = script_open(r->api->scripts, r->part[0].s, f->program, &f->sc, &c->why);
	if (c->err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "compilation_error");
	if (c->err == 0 && (c->err = send_call(f)) == 0)
		c->err = converse(f, 0);
	if (c->err == 0 && f->done)
		c->err = put_whole(f);
}

/* ---- Answers ---- */

struct closing {
	struct exec_job job;
	struct script *sc;
};

static void
close_elsewhere(void *arg)
{
	struct closing *c = arg;

	script_close(c->sc);
	free(c);
}

/* drop: A process that is left in the middle of its work is ended, which takes a while. */
static void
drop(void *cookie)
{
	struct list *f = cookie;
	struct executor *ex = f->r->api->lists;
	struct closing *c = f->sc != NULL ? calloc(1, sizeof(*c)) : NULL;

	if (c != NULL) {
		*c = (struct closing){.job = {.fn = close_elsewhere, .arg = c}, .sc = f->sc};
		ex->submit(ex, &c->job);
	} else {
		script_close(f->sc);
	}
	if (f->docs != NULL)
		alldocs_drop(f->docs);
	else
		view_rows_drop(f->l);
	arena_free(f->scratch);
	buf_release(&f->text);
	spool_release(&f->spool);
	buf_release(&f->body);
	buf_release(&f->response);
}

/* make_more: A batch, or the function's end: then its process is others'. */
static int
make_more(struct list *f)
{
	int err = converse(f, 1);

	if (err != 0 || f->done) {
		script_close(f->sc);
		f->sc = NULL;
		f->call.err = err;
		buf_release(&f->text);
	}
	return err;
}

static int
spool_body(struct list *f)
{
	int err = f->body.len > 0 ? spool_put(&f->spool, f->body.data, f->body.len) : 0;

	if (err == 0)
		buf_release(&f->body);
	return err;
}

/* fill: A rows_f. */
static int
fill(void *cookie, struct buf *b, struct arena *scratch)
{
	struct list *f = cookie;
	int err = 0;

	(void)scratch;
	if (spool_left(&f->spool) == 0 && f->body.len == 0 && f->sc != NULL)
		(void)make_more(f);
	/* A large one need not lie in memory; where there is no room on disk, it does. */
	if (f->body.len > BODY_MAX)
		(void)spool_body(f);
	if (spool_left(&f->spool) > 0) {
		err = spool_take(&f->spool, b, ROWS_BATCH_BYTES);
	} else {
		buf_put(b, f->body.data, f->body.len);
		buf_clear(&f->body);
	}
	if (err != 0 || f->sc != NULL || f->body.len > 0 || spool_left(&f->spool) > 0)
		return err;
	/* What was sent before the function's error goes out before that is told. */
	return f->call.err == 0 ? ERR_END : b->len > 0 ? 0 : f->call.err;
}

/* ahead: What the client does not take yet. */
static int
ahead(void *cookie)
{
	struct list *f = cookie;

	if (f->sc == NULL)
		return ERR_END;
	if (spool_body(f) != 0) {
		script_park(f->sc);
		return ERR_BUSY;
	}
	return make_more(f);
}

static void
stream(struct apireq *r, int status)
{
	struct list *f = r->cookie;

	if (status != 0)
		rows_stream_ahead(r, status, r->api->lists, fill, ahead, drop, f);
	else
		drop(f);
}

static void
list_end(struct apireq *r)
{
	static const char json[] = "application/json";
	struct list *f = r->cookie;
	struct scripting_call *c = &f->call;

	if (c->err == 0 && !f->done) {
		scripting_reply_begin(r, (struct jstr){f->response.data, f->response.len}, json, stream);
		return;
	}
	drop(f);
	if (c->err != 0)
		scripting_call_fail(r, c);
	else
		scripting_reply_as(r, (struct jstr){c->answer.data, c->answer.len}, 200, json);
}

static void
begin(struct apireq *r, struct list *f)
{
	f->r = r;
	r->cookie = f;
	buf_init(&f->text, LIMIT_SCRIPT_ANSWER);
	buf_init(&f->body, LIMIT_SCRIPT_ANSWER);
	buf_init(&f->response, 8 * (size_t)LIMIT_SCRIPT_ANSWER);
	spool_init(&f->spool, &r->api->spools, LIMIT_SPOOL_BYTES);
	api_work_slow(r, run, list_end);
}

static void
ready(struct apireq *r, struct view_rows *l, void *cookie)
{
	struct list *f = cookie;

	f->l = l;
	begin(r, f);
}

/* ---- The way in ---- */

/* take_request: What is told of it, and which function is asked for. */
static int
take_request(struct apireq *r, struct list *f)
{
	struct jstr body = {"", 0};
	int post = strcmp(r->method, "POST") == 0, err;

	if (post && !api_is_json(r))
		return ERR_CONTENT_TYPE;
	f->call.kind = "lists";
	f->call.name = r->part[PARTS];
	if ((err = api_ddoc_id(r, r->part[2], &f->call.ddoc)) != 0 ||
	    (post && (err = api_body(r, &body, &f->call.why)) != 0))
		return err;
	return scripting_request_take(&f->asked, r, (struct jstr){"", 0}, post ? &body : NULL);
}

/* prepare: Neither the body nor the design document need be short. */
static void
prepare(struct apireq *r)
{
	struct list *f = r->cookie;
	struct scripting_call *c = &f->call;
	struct db_snap *snap;

	if ((c->err = db_snap_begin(r->db, &snap)) != 0)
		return;
	c->err = scripting_program(snap, c->ddoc, r->arena, &f->program);
	db_snap_end(snap);
	if (c->err == 0 && (c->err = scripting_find(c, f->program)) == 0)
		c->err = scripting_request_put(&c->request, r, &f->asked);
}

/* other_exists: A design document that the path names beside the list's. */
static int
other_exists(struct apireq *r, struct jstr name)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct jstr id;
	int err = api_ddoc_id(r, name, &id);

	if (err != 0 || (err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = db_get(snap, id.s, id.len, r->arena, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	db_snap_end(snap);
	return err;
}

static void
list_docs(struct apireq *r, struct list *f)
{
	int err = r->nparts == PARTS + 3 ? other_exists(r, r->part[PARTS + 1]) : 0;

	if (err != 0 || (err = alldocs_open(r, &f->docs)) != 0)
		api_error(r, err, &f->call.why);
	else
		begin(r, f);
}

static void
prepared(struct apireq *r)
{
	struct list *f = r->cookie;

	if (f->call.err != 0)
		api_error(r, f->call.err, &f->call.why);
	else if (jstr_is(&r->part[r->nparts - 1], "_all_docs"))
		list_docs(r, f);
	else
		view_rows_take(
		    r, r->nparts == PARTS + 3 ? r->part[PARTS + 1] : r->part[2], r->part[r->nparts - 1], ready, f);
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
	r->cookie = f;
	if ((err = take_request(r, f)) != 0)
		api_error(r, err, &f->call.why);
	else
		api_work(r, prepare, prepared);
}
