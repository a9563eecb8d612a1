/*
 * bulk_diff.c: _revs_diff and _missing_revs: which of a replicator's revisions are not here.
 *
 * A request is answered in one pass over one snapshot.  Small ones are compared on the event loop,
 * others on an executor thread.
 */
#include "httpapi/api.h"

#define DIFF_INLINE_BYTES 4096u      /* bodies up to this are compared on the event loop */
#define DIFF_MAX ((size_t)256 << 20) /* bytes of the answer */

struct diff {
	struct jstr body;
	int missing_revs; /* the older form of the answer */
	struct buf out;
	const struct db *db;
	struct db_snap *snap;
	struct arena *arena;
	struct revbuf *revs; /* of the document at hand */
	size_t n, cap;
	size_t count; /* documents in the answer */
	int err;
	struct errtext why;
};

static int
read_revs(struct diff *d, struct jread *j, struct buf *scratch, struct arena *a)
{
	struct revbuf *more;
	struct jstr s;
	int err;

	d->n = 0;
	if (jread_peek(j) != JREAD_ARRAY)
		return err_why(&d->why, ERR_BAD_REQUEST, "Revisions must be a list");
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		if (d->n == d->cap) {
			d->cap = d->cap == 0 ? 16 : 2 * d->cap;
			more = arena_calloc(a, d->cap, sizeof(*more));
			if (more == NULL)
				return ERR_NOMEM;
			if (d->n > 0)
				memcpy(more, d->revs, d->n * sizeof(*more));
			d->revs = more;
		}
		if (jread_string(j, scratch, &s) != 0 || rev_parse(s.s, s.len, &d->revs[d->n]) != 0)
			return ERR_BAD_REV;
		d->n++;
	}
	return err == ERR_END ? 0 : err;
}

static int
put_ancestors(struct diff *d, struct db_doc *doc, uint64_t newest)
{
	struct rev *revs;
	size_t i, n;
	int err = db_doc_older_leaves(doc, newest, &revs, &n);

	if (err != 0)
		return err;
	for (i = 0; i < n; i++) {
		buf_puts(&d->out, i == 0 ? ",\"possible_ancestors\":[\"" : ",\"");
		rev_put(&d->out, &revs[i]);
		buf_putc(&d->out, '"');
	}
	if (n > 0)
		buf_putc(&d->out, ']');
	return buf_failed(&d->out);
}

static void
put_id(struct diff *d, struct jstr id)
{
	if (d->count++ > 0)
		buf_putc(&d->out, ',');
	buf_put_json(&d->out, id.s, id.len);
	buf_puts(&d->out, d->missing_revs ? ":[\"" : ":{\"missing\":[\"");
}

static int
diff_one(struct diff *d, struct jstr id)
{
	struct db_doc doc;
	struct rev rev;
	uint64_t newest = 0;
	size_t i;
	int err, found, known = 0;

	err = db_get(d->snap, id.s, id.len, d->arena, &doc);
	if (err != 0 && err != ERR_MISSING)
		return err;
	found = err == 0;
	for (i = 0; i < d->n; i++) {
		rev = rev_of(&d->revs[i]);
		err = found ? db_doc_knows(&doc, &rev, &known) : 0;
		if (err != 0)
			return err;
		if (known)
			continue;
		if (newest == 0)
			put_id(d, id);
		else
			buf_puts(&d->out, ",\"");
		rev_put(&d->out, &rev);
		buf_putc(&d->out, '"');
		newest = rev.gen > newest ? rev.gen : newest;
	}
	if (newest == 0)
		return 0;
	buf_putc(&d->out, ']');
	if (d->missing_revs)
		return buf_failed(&d->out);
	err = found ? put_ancestors(d, &doc, newest) : 0;
	buf_putc(&d->out, '}');
	return err;
}

static int
diff_all(struct diff *d, struct arena *a)
{
	struct buf keys, scratch;
	struct jread j;
	struct jstr id;
	int err;

	err = api_object(&j, d->body, &d->why);
	buf_init(&keys, d->body.len + 16);
	buf_init(&scratch, d->body.len + 16);
	while (err == 0 && (err = jread_object_next(&j, &keys, &id)) == 0) {
		err = db_id_place(d->db, id.s, id.len, &d->why);
		if (err == 0)
			err = read_revs(d, &j, &scratch, a);
		if (err == 0 && d->n > 0)
			err = diff_one(d, id);
		arena_reset(d->arena);
	}
	buf_release(&keys);
	buf_release(&scratch);
	if (err != ERR_END)
		return err;
	return jread_end(&j) != 0 ? ERR_BAD_JSON : 0;
}

static void
diff_work(struct apireq *r)
{
	struct diff *d = r->cookie;

	d->err = arena_new(DIFF_MAX, &d->arena);
	if (d->err != 0)
		return;
	d->err = db_snap_begin(r->db, &d->snap);
	if (d->err == 0) {
		buf_puts(&d->out, d->missing_revs ? "{\"missing_revs\":{" : "{");
		d->err = diff_all(d, r->arena);
		buf_puts(&d->out, d->missing_revs ? "}}" : "}");
		db_snap_end(d->snap);
	}
	arena_free(d->arena);
}

static void
diff_then(struct apireq *r)
{
	struct diff *d = r->cookie;

	if (d->err == 0) {
		api_json(r, 200, &d->out);
		return;
	}
	buf_release(&d->out);
	api_error(r, d->err, &d->why);
}

static void
diff(struct apireq *r, int missing_revs)
{
	struct errtext why = {{0}};
	struct diff *d;
	int err;

	if (!api_json_post(r))
		return;
	d = arena_calloc(r->arena, 1, sizeof(*d));
	err = d == NULL ? ERR_NOMEM : api_body(r, &d->body, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	r->cookie = d;
	d->db = r->db;
	d->missing_revs = missing_revs;
	buf_init(&d->out, DIFF_MAX);
	if (d->body.len > DIFF_INLINE_BYTES) {
		api_work(r, diff_work, diff_then);
		return;
	}
	diff_work(r);
	diff_then(r);
}

void
bulk_revs_diff(struct apireq *r)
{
	diff(r, 0);
}

void
bulk_missing_revs(struct apireq *r)
{
	diff(r, 1);
}
