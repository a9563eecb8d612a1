/* scripting.c: a function of a design document is called with a document and the request. */
#include "scripting.h"

#include <stdio.h>

#include "base/limits.h"
#include "render.h"

#define TEXT_MAX ((size_t)64 << 20) /* bytes of one message to a function */

int
scripting_program(struct db_snap *snap, struct jstr id, struct arena *a, struct jstr *outp)
{
	struct db_doc doc;
	struct buf b;
	int err = db_get(snap, id.s, id.len, a, &doc);

	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	if (err != 0)
		return err;
	buf_init_arena(&b, a, TEXT_MAX);
	buf_puts(&b, "{\"ddoc\":");
	if ((err = render_doc(&b, &doc, NULL, a, NULL)) == 0)
		err = buf_putc(&b, '}');
	*outp = (struct jstr){b.data, b.len};
	return err;
}

/* ---- A call ---- */

void
scripting_call_init(struct scripting_call *c, struct arena *a)
{
	memset(c, 0, sizeof(*c));
	buf_init_arena(&c->request, a, TEXT_MAX);
	buf_init_arena(&c->answer, a, TEXT_MAX);
}

static int
has_function(const struct scripting_call *c, struct jstr program)
{
	struct buf scratch;
	struct jread j;
	struct jstr key;
	const struct jstr kind = {c->kind, strlen(c->kind)};
	const struct jstr *path[] = {&kind, &c->name};
	int found = 0;

	buf_init(&scratch, program.len + API_SCRATCH);
	jread_init(&j, program.s + 8, program.len - 9); /* within {"ddoc":...} */
	for (size_t i = 0; i < 2; i++) {
		found = 0;
		if (jread_peek(&j) != JREAD_OBJECT || jread_object_begin(&j) != 0)
			break;
		while (!found && jread_object_next(&j, &scratch, &key) == 0) {
			found = key.len == path[i]->len && memcmp(key.s, path[i]->s, key.len) == 0;
			if (!found && jread_skip(&j, NULL) != 0)
				break;
		}
		if (!found)
			break;
	}
	buf_release(&scratch);
	return found;
}

int
scripting_find(struct scripting_call *c, struct jstr program)
{
	if (has_function(c, program))
		return 0;
	return err_why(
	    &c->why, ERR_MISSING, "missing json key: %.*s", (int)(c->name.len < 256 ? c->name.len : 256), c->name.s);
}

/* read_document: As who asks may see it, or null. */
static int
read_document(struct apireq *r, struct scripting_call *c, struct db_snap *snap, struct buf *text)
{
	struct db_doc doc;
	int err = c->id.len > 0 ? db_get(snap, c->id.s, c->id.len, r->arena, &doc) : ERR_MISSING;

	c->has_doc = err == 0 && !doc.winner.deleted;
	if (!c->has_doc) {
		buf_puts(text, "null");
		return err == ERR_MISSING ? 0 : err;
	}
	rev_copy(&c->seen, &doc.winner.rev);
	return render_doc(text, &doc, NULL, r->arena, NULL);
}

static int
read_program(struct apireq *r, struct scripting_call *c, struct db_snap *snap, struct jstr *programp)
{
	struct db_doc doc;
	int err = scripting_program(snap, c->ddoc, r->arena, programp);

	if (err == 0 && (err = db_get(snap, c->ddoc.s, c->ddoc.len, r->arena, &doc)) == 0)
		rev_copy(&c->made, &doc.winner.rev);
	return err != 0 ? err : scripting_find(c, *programp);
}

/* A function may be called by who may not read it, as those of _users are: what it shows is for its author to choose. */
static int
read_both(struct apireq *r, struct scripting_call *c, struct jstr *programp, struct buf *doc_text)
{
	struct db_snap *snap;
	int of_doc, err = db_snap_begin(r->db, &snap);

	if (err != 0)
		return err;
	of_doc = read_document(r, c, snap, doc_text);
	db_snap_unbind(snap);
	err = read_program(r, c, snap, programp);
	db_snap_end(snap);
	if (err == 0)
		err = of_doc;
	return err != 0 ? err : buf_failed(doc_text);
}

static int
call(struct apireq *r, struct scripting_call *c, struct jstr program, const struct buf *doc)
{
	struct script *sc;
	struct jstr answer;
	struct buf head;
	int err = script_open(r->api->scripts, r->part[0].s, program, &sc, &c->why);

	if (err != 0) {
		(void)snprintf(c->error, sizeof(c->error), "compilation_error");
		return err;
	}
	buf_init(&head, 64 + 8 * LIMIT_URL_LEN);
	buf_puts(&head, "[[");
	buf_put_json(&head, c->kind, strlen(c->kind));
	buf_putc(&head, ',');
	buf_put_json(&head, c->name.s, c->name.len);
	buf_puts(&head, "],");
	if ((err = buf_failed(&head)) == 0) {
		const struct jstr parts[] = {{head.data, head.len}, {doc->data, doc->len}, {",", 1},
		    {c->request.data, c->request.len}, {"]", 1}};

		err = script_send(sc, SCRIPT_DESIGN, parts, 5);
	}
	if (err == 0 && (err = script_receive(sc, &answer, &c->why)) == 0)
		err = buf_put(&c->answer, answer.s, answer.len);
	if (err == ERR_SCRIPT)
		(void)snprintf(c->error, sizeof(c->error), "%s", script_error(sc));
	script_close(sc);
	buf_release(&head);
	return err;
}

void
scripting_call_run(struct apireq *r, struct scripting_call *c)
{
	struct jstr program;
	struct buf doc;

	buf_init(&doc, TEXT_MAX);
	c->err = read_both(r, c, &program, &doc);
	if (c->err == 0)
		c->err = call(r, c, program, &doc);
	buf_release(&doc);
}

/* What functions name their errors by, and its status. */
static int
status_of(const char *error)
{
	static const struct {
		const char *name;
		int status;
	} known[] = {{"not_found", 404}, {"bad_request", 400}, {"unauthorized", 401}, {"forbidden", 403},
	    {"method_not_allowed", 405}, {"not_acceptable", 406}, {"conflict", 409}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, error) == 0)
			return known[i].status;
	return 500;
}

void
scripting_call_fail(struct apireq *r, const struct scripting_call *c)
{
	if (c->err == ERR_SCRIPT && c->error[0] != '\0')
		api_error_text(r, status_of(c->error), c->error, c->why.text);
	else
		api_error(r, c->err, &c->why);
}
