/*
 * bulk_diff.c: _revs_diff and _missing_revs: which of a replicator's revisions are not here.
 *
 * A request is answered in one pass.  Small ones are compared on the event loop, others on an executor
 * thread; so are all that name a document with many branches.  There it takes turns, so that others
 * have theirs, no snapshot stays open, and who has hung up is not worked for:
 *
 *	diff -> diff_begin -> [diff_work -> diff_then]... -> answered
 */
#include "httpapi/rows.h"

#define DIFF_INLINE_BYTES 4096u      /* bodies up to this are compared on the event loop */
#define DIFF_MAX ((size_t)256 << 20) /* bytes of the answer */
#define TURN_US 50000u               /* until others have theirs, and a new snapshot begins */

struct diff {
	struct jstr body;
	int missing_revs; /* the older form of the answer */
	struct buf out;
	const struct db *db;
	struct db_snap *snap;
	struct arena *arena;
	struct jread j;           /* behind what has been compared */
	struct buf keys, scratch; /* what is unescaped of it */
	int here;                 /* on the event loop, */
	int large;                /* where this is not to be compared */
	int over;                 /* with ${err} */
	struct revbuf *revs;      /* of the document at hand */
	size_t n, cap;
	size_t count; /* documents in the answer */
	int err;
	struct errtext why;
};

static int
read_revs(struct diff *d, struct arena *a)
{
	struct jread *j = &d->j;
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
		if (jread_string(j, &d->scratch, &s) != 0 || rev_parse(s.s, s.len, &d->revs[d->n]) != 0)
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
	unsigned char *known = arena_calloc(d->arena, d->n, 1);
	struct db_doc doc;
	struct rev rev;
	uint64_t newest = 0;
	size_t i;
	int err, found;

	if (known == NULL)
		return ERR_NOMEM;

	err = db_get(d->snap, id.s, id.len, d->arena, &doc);
	if (err != 0 && err != ERR_MISSING)
		return err;
	found = err == 0;
	d->large = found && d->here && db_doc_is_large(&doc);
	if (d->large)
		return 0;
	err = found ? db_doc_knows_each(&doc, d->revs, d->n, known) : 0;
	if (err != 0)
		return err;
	for (i = 0; i < d->n; i++) {
		if (known[i])
			continue;
		rev = rev_of(&d->revs[i]);
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

/* From the beginning, ${here} or not. */
static int
diff_begin(struct diff *d, int here)
{
	d->here = here;
	d->large = d->over = 0;
	d->count = 0;
	buf_clear(&d->out);
	buf_puts(&d->out, d->missing_revs ? "{\"missing_revs\":{" : "{");
	return api_object(&d->j, d->body, &d->why);
}

/* Compare what one turn has room for: 0 if there is more, ERR_END behind the last. */
static int
diff_some(struct diff *d, struct arena *a)
{
	uint64_t begun = rows_now_us();
	struct jstr id;
	int err = 0;

	while (err == 0 && !d->large && (d->here || rows_now_us() - begun < TURN_US)) {
		if ((err = jread_object_next(&d->j, &d->keys, &id)) == 0)
			err = db_id_place(d->db, id.s, id.len, &d->why);
		if (err == 0)
			err = read_revs(d, a);
		if (err == 0 && d->n > 0)
			err = diff_one(d, id);
		arena_reset(d->arena);
	}
	if (err == ERR_END && jread_end(&d->j) != 0)
		err = ERR_BAD_JSON;
	return err;
}

static void
diff_work(struct apireq *r)
{
	struct diff *d = r->cookie;

	d->err = arena_new(DIFF_MAX, &d->arena);
	if (d->err == 0 && (d->err = db_snap_begin(r->db, &d->snap)) == 0) {
		d->err = diff_some(d, r->arena);
		db_snap_end(d->snap);
	}
	arena_free(d->arena);
	d->arena = NULL;
	d->over = d->err != 0;
	if (d->err != ERR_END)
		return;
	buf_puts(&d->out, d->missing_revs ? "}}" : "}");
	d->err = buf_failed(&d->out);
}

static void
diff_then(struct apireq *r)
{
	struct diff *d = r->cookie;

	int answered = 0;

	if (!d->over && !http_gone(r->http)) {
		if (api_work(r, diff_work, diff_then) == 0)
			return;
		answered = 1;
	}
	buf_release(&d->keys);
	buf_release(&d->scratch);
	if (d->over && d->err == 0) {
		api_json(r, 200, &d->out);
		return;
	}
	buf_release(&d->out);
	if (!answered)
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
	buf_init(&d->keys, d->body.len + 16);
	buf_init(&d->scratch, d->body.len + 16);
	d->err = diff_begin(d, d->body.len <= DIFF_INLINE_BYTES);
	d->over = d->err != 0;
	if (!d->over && d->here) {
		diff_work(r);
		if (d->large)
			d->err = diff_begin(d, 0);
	}
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
