/*
 * designfuns.c: /{db}/_design/{d}/_show/{name}[/{id}] and /_update/{name}[/{id}]: functions that answer requests
 * themselves.
 *
 *	begin -> (a thread that may wait: the function) -> show_end: its response
 *	                                               `-> update_end: the document that it made -> update_parse -> edit_store -> its response
 *
 * Request, document and response may be long: they are read and written off the event loop.
 */
#include "httpapi/edit.h"
#include "httpapi/scripting.h"

#include "base/hash.h"
#include "base/limits.h"

#define TEXT_MAX ((size_t)64 << 20)
#define PARTS 4u /* {db}, "_design", {d}, "_show" */

/* One request; lives in its arena. */
struct designfun {
	struct scripting_call call;
	struct scripting_request asked;
	api_f *run, *end;
	struct jstr accept;        /* a show's, */
	char tag[2 * MD5_LEN + 3]; /* and its ETag */
	struct jstr doc, response; /* an update's, within call.answer */
};

static struct designfun *
designfun_new(struct apireq *r, const char *kind, api_f *run, api_f *end)
{
	struct designfun *f = arena_calloc(r->arena, 1, sizeof(*f));

	if (f == NULL)
		return NULL;
	scripting_call_init(&f->call, r->arena);
	f->call.kind = kind;
	f->call.name = r->part[PARTS];
	f->run = run;
	f->end = end;
	if (api_ddoc_id(r, r->part[2], &f->call.ddoc) != 0 || api_tail(r, PARTS + 1, &f->call.id) != 0)
		return NULL;
	r->cookie = f;
	return f;
}

static void
call(struct apireq *r, struct designfun *f)
{
	f->call.err = scripting_request_put(&f->call.request, r, &f->asked);
	if (f->call.err == 0)
		scripting_call_run(r, &f->call);
}

/* The body is there: tell the function all that it may want to know. */
static void
begin(struct apireq *r)
{
	struct designfun *f = r->cookie;
	struct jstr body = {"", 0}, accept = http_header(r->http, "accept");
	int has_body = strcmp(r->method, "GET") != 0;
	int err = has_body ? api_body(r, &body, &f->call.why) : 0;

	if (err == 0 && accept.s != NULL) {
		f->accept = (struct jstr){arena_dup(r->arena, accept.s, accept.len), accept.len};
		err = f->accept.s == NULL ? ERR_NOMEM : 0;
	}
	if (err == 0)
		err = scripting_request_take(&f->asked, r, f->call.id, has_body ? &body : NULL);
	if (err != 0) {
		f->call.err = err;
		scripting_call_fail(r, &f->call);
		return;
	}
	api_work_slow(r, f->run, f->end);
}

static void
start(struct apireq *r, const char *kind, const char *invalid, api_f *run, api_f *end)
{
	if (r->nparts <= PARTS) {
		api_error_text(r, 404, invalid, "Invalid path.");
	} else if (designfun_new(r, kind, run, end) == NULL) {
		api_error(r, ERR_NOMEM, NULL);
	} else {
		api_gather(r, begin);
	}
}

/* ---- Shows ---- */

/* What the answer depends on: both documents, who asks, and what is accepted. */
static int
make_tag(struct apireq *r, struct designfun *f)
{
	const struct rev made = rev_of(&f->call.made), seen = rev_of(&f->call.seen);
	unsigned char digest[MD5_LEN];
	struct buf b;
	int err;

	buf_init(&b, TEXT_MAX);
	rev_put(&b, &made);
	buf_putc(&b, '\n');
	if (f->call.has_doc)
		rev_put(&b, &seen);
	buf_putc(&b, '\n');
	buf_put(&b, f->accept.s, f->accept.len);
	buf_putc(&b, '\n');
	scripting_put_user(&b, r->part[0].s, &r->who);
	buf_put(&b, f->call.answer.data, f->call.answer.len);
	err = buf_failed(&b);
	if (err == 0) {
		hash_md5(b.data, b.len, digest);
		f->tag[0] = '"';
		hex_encode(digest, MD5_LEN, f->tag + 1);
		f->tag[1 + 2 * MD5_LEN] = '"';
		f->tag[2 + 2 * MD5_LEN] = '\0';
	}
	buf_release(&b);
	return err;
}

static void
show_run(struct apireq *r)
{
	struct designfun *f = r->cookie;

	call(r, f);
	if (f->call.err == 0)
		f->call.err = make_tag(r, f);
}

static void
show_end(struct apireq *r)
{
	struct designfun *f = r->cookie;

	if (f->call.err != 0) {
		scripting_call_fail(r, &f->call);
		return;
	}
	scripting_reply_tagged(r, (struct jstr){f->call.answer.data, f->call.answer.len}, f->tag);
}

void
designfuns_show(struct apireq *r)
{
	start(r, "shows", "show_error", show_run, show_end);
}

/* ---- Updates ---- */

/* r->cookie is the edit by now; the function is behind it. */
static void
update_answer(struct apireq *r)
{
	struct edit *e = r->cookie;
	struct designfun *f = e->cookie;
	const struct rev rev = rev_of(&e->w.rev);
	struct buf b;

	buf_init(&b, REV_TEXT_MAX + LIMIT_ID_LEN);
	if (rev_put(&b, &rev) == 0)
		http_set_header(r->http, "x-couch-update-newrev", b.data, b.len);
	http_set_header(r->http, "x-couch-id", e->id.s, e->id.len);
	buf_release(&b);
	scripting_reply(r, f->response, 201);
	write_release(&e->w, 1);
}

static void
update_parsed(struct apireq *r)
{
	struct edit *e = r->cookie;
	int err = e->err;

	e->id = e->in.id;
	if (err == 0 && !e->in.has_id)
		err = ERR_ID_EMPTY;
	if (err == 0)
		err = doc_id_check(e->id.s, e->id.len, &e->why);
	if (err == 0)
		err = edit_convert(r);
	if (err != 0)
		edit_fail(r, err);
	else
		edit_store(r);
}

/* The document that the function made is stored as if it had been PUT. */
static void
update_store(struct apireq *r)
{
	struct designfun *f = r->cookie;
	struct edit *e = edit_new(r);

	if (e == NULL)
		return;
	e->text = f->doc;
	e->cookie = f;
	e->answer = update_answer;
	(void)api_work_by(r, e->text.len, edit_parse, update_parsed);
}

/* [DOC or null, RESPONSE] */
static int
split(struct designfun *f)
{
	struct jread j;
	int err;

	jread_init(&j, f->call.answer.data, f->call.answer.len);
	if ((err = jread_array_begin(&j)) != 0 || (err = jread_array_next(&j)) != 0 ||
	    (err = jread_skip(&j, &f->doc)) != 0 || (err = jread_array_next(&j)) != 0)
		return err;
	return jread_skip(&j, &f->response);
}

static void
update_run(struct apireq *r)
{
	struct designfun *f = r->cookie;

	call(r, f);
	if (f->call.err == 0)
		f->call.err = split(f);
}

static void
update_end(struct apireq *r)
{
	struct designfun *f = r->cookie;

	if (f->call.err != 0)
		scripting_call_fail(r, &f->call);
	else if (jstr_is(&f->doc, "null"))
		scripting_reply(r, f->response, 200);
	else
		update_store(r);
}

void
designfuns_update(struct apireq *r)
{
	start(r, "updates", "update_error", update_run, update_end);
}
