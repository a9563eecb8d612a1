/*
 * find_index.c: /{db}/_index: declared indexes are created and deleted.
 *
 * An index is a view of a design document of the language "query", so that creating and deleting are edits of such documents, made in rounds:
 *
 *	read the request -> round: read documents, change their texts -> write them -> whose document another writer changed meanwhile: the next round
 *	                                                                            -> none is left: answer
 *
 * 1. What is written goes the way of every document, with the rights of who asks.  Reading comes first: an index that is there already is
 *    no news, whoever asks for it.
 * 2. A round's memory is its own arena's, and a round holds no more than some documents, however many there are to be changed.
 * 3. A document keeps its attachments and whatever stands in it besides views.  Without its last index it is deleted.
 */
#include "api.h"

#include "base/limits.h"
#include "find_index.h"
#include "httpapi/write.h"

#define ROUND 64u                     /* documents */
#define ROUND_BYTES ((size_t)4 << 20) /* of their texts: the one that passes this ends the round */
#define ROUND_MEM ((size_t)1 << 30)   /* a document has as many bytes as the settings allow, some times over */

/* A design document that is to be changed. */
struct change {
	struct jstr id;
	const struct find_index *add; /* NULL: an index is taken away: */
	struct jstr name;             /* this one; s NULL: all of them */
	int pending;
	int exists; /* 1: there was nothing to do */
	unsigned tries;
	int err;
	struct errtext why;
};

/* A request; lives in its arena. */
struct edits {
	struct change *changes;
	size_t n;
	struct arena *a; /* the round's */
	struct db_request req;
	struct db_write writes[ROUND];
	struct change *of[ROUND]; /* each write's */
	struct jstr body;
	struct find_index ix;
	int err; /* of reading the request */
	struct errtext why;
	api_f *answer;
};

static struct edits *
edits_new(struct apireq *r, api_f *answer)
{
	struct edits *e = arena_calloc(r->arena, 1, sizeof(*e));

	if (e == NULL || arena_new(ROUND_MEM, &e->a) != 0) {
		api_error(r, ERR_NOMEM, NULL);
		return NULL;
	}
	e->answer = answer;
	r->cookie = e;
	return e;
}

static int
edits_changes(struct apireq *r, size_t n)
{
	struct edits *e = r->cookie;

	e->changes = arena_calloc(r->arena, n + 1, sizeof(*e->changes));
	if (e->changes == NULL)
		return ERR_NOMEM;
	e->n = n;
	for (size_t i = 0; i < n; i++)
		e->changes[i].pending = 1;
	return 0;
}

/* ---- Rounds ---- */

/* keep_atts: Stubs of all attachments. */
static int
keep_atts(struct arena *a, const struct db_rev *rev, struct doc_in *in)
{
	in->atts = arena_calloc(a, rev->natts + 1, sizeof(*in->atts));
	if (in->atts == NULL)
		return ERR_NOMEM;
	in->natts = rev->natts;
	for (size_t i = 0; i < rev->natts; i++) {
		const struct doc_att *from = &rev->atts[i];

		in->atts[i].kind = DOC_ATT_STUB;
		in->atts[i].name = (struct jstr){arena_dup(a, from->name.s, from->name.len), from->name.len};
		in->atts[i].type = (struct jstr){arena_dup(a, from->type.s, from->type.len), from->type.len};
		if (in->atts[i].name.s == NULL || in->atts[i].type.s == NULL)
			return ERR_NOMEM;
	}
	return 0;
}

/* set_body: ${text} as CouchDB prints it, and as it is hashed. */
static int
set_body(struct arena *a, struct jstr text, struct doc_in *in)
{
	struct buf body, etf;
	struct jread j;
	char *room;
	int err;

	buf_init_arena(&body, a, ROUND_MEM);
	buf_init_arena(&etf, a, ROUND_MEM);
	jread_init(&j, text.s, text.len);
	/* An arena's buffer had better not grow. */
	if ((err = buf_reserve(&body, text.len + 128, &room)) != 0 ||
	    (err = buf_reserve(&etf, 4 * text.len + 128, &room)) != 0 || (err = jread_text(&j, &body, &etf)) != 0)
		return err;
	in->body = (struct jstr){body.data, body.len};
	in->body_etf = (struct jstr){etf.data, etf.len};
	return 0;
}

/* change_doc: What becomes of the document, whose content is ${rev}; NULL: there is none. */
static int
change_doc(struct arena *a, struct change *c, const struct db_rev *rev, struct doc_in *in)
{
	const struct jstr old = rev != NULL ? rev->body : (struct jstr){"", 0};
	struct jstr text;
	int err;

	if (c->add != NULL)
		err = find_index_add(a, old, c->add, &text, &c->why);
	else
		err = find_index_remove(a, old, c->name, &text);
	if (err != 0)
		return err;
	in->deleted = text.len == 0;
	err = set_body(a, in->deleted ? (struct jstr){"{}", 2} : text, in);
	if (err == 0 && rev != NULL && !in->deleted)
		err = keep_atts(a, rev, in);
	c->exists = err == 0 && c->add != NULL && jstr_equal(in->body, old);
	return err;
}

static int
read_doc(struct arena *a, struct db_snap *snap, struct change *c, struct doc_in *in)
{
	struct db_doc doc;
	struct db_rev rev;
	int err = db_get(snap, c->id.s, c->id.len, a, &doc);

	if (err == ERR_MISSING || (err == 0 && doc.winner.deleted))
		return c->add != NULL ? change_doc(a, c, NULL, in) : ERR_MISSING;
	if (err != 0 || (err = db_doc_rev(&doc, &doc.winner, a, &rev)) != 0)
		return err;
	in->has_rev = 1;
	rev_copy(&in->rev, &doc.winner.rev);
	return change_doc(a, c, &rev, in);
}

static int
prepare(struct apireq *r, struct db_snap *snap, struct change *c)
{
	struct edits *e = r->cookie;
	struct doc_in in = {.has_rev = 0};
	int err = doc_id_check(c->id.s, c->id.len, &c->why);

	if (err != 0 || (err = read_doc(e->a, snap, c, &in)) != 0 || c->exists)
		return err;
	err = write_convert(r->db, &in, c->id, 1, e->a, &e->writes[e->req.nwrites], &c->why);
	if (err == 0)
		e->of[e->req.nwrites++] = c;
	return err;
}

static void
run_round(struct apireq *r)
{
	struct edits *e = r->cookie;
	struct db_snap *snap = NULL;
	size_t bytes = 0;
	int err = db_snap_begin(r->db, &snap);

	arena_reset(e->a);
	e->req = (struct db_request){.writes = e->writes};
	for (size_t i = 0; i < e->n && e->req.nwrites < ROUND && bytes < ROUND_BYTES; i++) {
		struct change *c = &e->changes[i];

		if (!c->pending)
			continue;
		c->why.text[0] = '\0';
		c->err = err != 0 ? err : prepare(r, snap, c);
		if (c->err != 0 || c->exists)
			c->pending = 0;
		else
			bytes += e->writes[e->req.nwrites - 1].body.len;
	}
	if (err == 0)
		db_snap_end(snap);
}

static void submit(struct apireq *r);

static void
edits_end(struct apireq *r)
{
	struct edits *e = r->cookie;

	arena_free(e->a);
	e->a = NULL;
}

static void
begin_round(struct apireq *r, api_f *work)
{
	if (api_work(r, work, submit) != 0)
		edits_end(r);
}

static void
submitted(struct apireq *r)
{
	struct edits *e = r->cookie;
	int again = 0;

	for (size_t i = 0; i < e->req.nwrites; i++) {
		struct change *c = e->of[i];

		c->err = e->writes[i].err;
		c->why = e->writes[i].why;
		c->pending = c->err == ERR_CONFLICT && ++c->tries < LIMIT_INDEX_TRIES;
		if (c->err == ERR_CONFLICT)
			err_why(&c->why, c->err, "Encountered a conflict while saving the design document.");
	}
	for (size_t i = 0; i < e->n && !again; i++)
		again = e->changes[i].pending;
	if (again) {
		begin_round(r, run_round);
		return;
	}
	edits_end(r);
	e->answer(r);
}

static void
submit(struct apireq *r)
{
	struct edits *e = r->cookie;

	if (e->err != 0) {
		edits_end(r);
		api_error(r, e->err, &e->why);
	} else if (e->req.nwrites > 0) {
		api_submit(r, &e->req, submitted);
	} else {
		submitted(r);
	}
}

/* ---- Creating ---- */

static void
read_creation(struct apireq *r)
{
	struct edits *e = r->cookie;

	if ((e->err = find_index_read(r->arena, e->body, &e->ix, &e->why)) != 0 || (e->err = edits_changes(r, 1)) != 0)
		return;
	e->changes[0].id = e->ix.id;
	e->changes[0].add = &e->ix;
	run_round(r);
}

static void
answer_creation(struct apireq *r)
{
	struct edits *e = r->cookie;
	const struct change *c = &e->changes[0];
	struct buf b;

	if (c->err != 0) {
		api_error(r, c->err, &c->why);
		return;
	}
	buf_init(&b, 16 * (size_t)LIMIT_FIND_LEN);
	buf_printf(&b, "{\"result\":\"%s\",\"id\":", c->exists ? "exists" : "created");
	buf_put_json(&b, e->ix.id.s, e->ix.id.len);
	buf_puts(&b, ",\"name\":");
	buf_put_json(&b, e->ix.name.s, e->ix.name.len);
	if (buf_putc(&b, '}') == 0) {
		api_json(r, 200, &b);
		return;
	}
	buf_release(&b);
	api_error(r, ERR_NOMEM, NULL);
}

/* begin_body: A request whose body ${work} reads. */
static void
begin_body(struct apireq *r, api_f *work, api_f *answer)
{
	struct edits *e = edits_new(r, answer);

	if (e == NULL)
		return;
	e->err = api_body(r, &e->body, &e->why);
	if (e->err != 0)
		submit(r);
	else
		begin_round(r, work);
}

void
find_index_any(struct apireq *r)
{
	if (strcmp(r->method, "GET") == 0)
		find_index_list(r);
	else if (api_json_post(r))
		begin_body(r, read_creation, answer_creation);
}

/* ---- Deleting ---- */

static void
answer_deletion(struct apireq *r)
{
	const struct edits *e = r->cookie;

	if (e->changes[0].err != 0)
		api_error(r, e->changes[0].err, &e->changes[0].why);
	else
		api_ok(r, 200);
}

void
find_index_delete(struct apireq *r)
{
	/* _index/{ddoc}/{type}/{name}, or _design before it, which is to be passed over. */
	const struct jstr *part = &r->part[r->nparts - 3];
	struct edits *e;

	if (!jstr_is(&part[1], "json")) {
		api_error(r, ERR_MISSING, NULL);
		return;
	}
	if ((e = edits_new(r, answer_deletion)) == NULL)
		return;
	if ((e->err = edits_changes(r, 1)) != 0 ||
	    (e->err = find_index_id(r->arena, part[0], &e->changes[0].id)) != 0) {
		submit(r);
		return;
	}
	e->changes[0].name = part[2];
	begin_round(r, run_round);
}

static void
read_deletions(struct apireq *r)
{
	struct edits *e = r->cookie;
	struct jstr *ids;
	size_t n;

	if ((e->err = find_index_docids(r->arena, e->body, &ids, &n, &e->why)) != 0 ||
	    (e->err = db_may_set(r->db, DB_WRITE_EDIT, &e->why)) != 0 || (e->err = edits_changes(r, n)) != 0)
		return;
	for (size_t i = 0; i < n; i++)
		e->changes[i].id = ids[i];
	run_round(r);
}

/* put_outcomes: Of those that failed, or of the others, the last first, as in CouchDB. */
static void
put_outcomes(struct buf *b, const struct edits *e, int failed)
{
	int n = 0;

	for (size_t i = e->n; i-- > 0;) {
		const struct change *c = &e->changes[i];

		if ((c->err != 0) != failed)
			continue;
		buf_puts(b, n++ > 0 ? ",{\"id\":" : "{\"id\":");
		buf_put_json(b, c->id.s, c->id.len);
		if (failed)
			buf_printf(b, ",\"error\":\"%s\"}", err_name(c->err));
		else
			buf_puts(b, ",\"ok\":true}");
	}
}

static void
answer_deletions(struct apireq *r)
{
	struct edits *e = r->cookie;
	struct buf b;

	buf_init(&b, 16 * (size_t)LIMIT_FIND_LEN);
	buf_puts(&b, "{\"success\":[");
	put_outcomes(&b, e, 0);
	buf_puts(&b, "],\"fail\":[");
	put_outcomes(&b, e, 1);
	if (buf_puts(&b, "]}") == 0) {
		api_json(r, 200, &b);
		return;
	}
	buf_release(&b);
	api_error(r, ERR_NOMEM, NULL);
}

void
find_index_bulk_delete(struct apireq *r)
{
	if (api_json_post(r))
		begin_body(r, read_deletions, answer_deletions);
}

void
find_index_none(struct apireq *r)
{
	api_error(r, ERR_MISSING, NULL);
}
