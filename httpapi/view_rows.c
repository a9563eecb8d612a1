/*
 * view_rows.c: rows and groups of a view as text, batch by batch; what lives from one batch to the next is the place.
 *
 *	{"total_rows":N,"offset":N,"rows":[\r\n row,\r\n row \r\n]}\n
 *	{"rows":[\r\n group,\r\n group \r\n]}\n
 *	{"results":[\r\n answer,\r\n answer \r\n]}\n
 */
#include "view_rows.h"

#include "base/limits.h"
#include "rows.h"

#define GROUPS 256u                    /* that are reduced at a time, */
#define GROUPS_LARGE ((size_t)4 << 20) /* but more than the last time only where their values were fewer bytes */

/* ---- Heads ---- */

/* range_of: What the query reads, or with keys the rows of the ${i}-th, whose ids the range may bound as well. */
static struct read_range
range_of(const struct view_query *q, size_t i)
{
	struct read_range range = q->range;

	if (q->keys != NULL && i < q->keys->n) {
		range.start.set = range.end.set = 1;
		range.start.sortkey = range.end.sortkey = q->keys->sortkeys[range.descending ? q->keys->n - 1 - i : i];
	}
	return range;
}

static int
put_counts(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct buf *b)
{
	struct read_range range = range_of(q, 0);
	uint64_t total, before;
	int err = read_range(snap, l->view, &range, (struct jstr){NULL, 0});

	if (err != 0 || (err = read_counts(snap, &total, &before)) != 0)
		return err;
	if (q->keys != NULL && q->keys->n == 0)
		before = 0;
	buf_puts(b, "\"total_rows\":");
	buf_put_u64(b, total);
	buf_puts(b, ",\"offset\":");
	buf_put_u64(b, before > total || q->skip > total - before ? total : before + q->skip);
	return 0;
}

static int
put_head(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct buf *b)
{
	int err = 0;

	if (l->multi)
		buf_puts(b, l->current == 0 ? "{\"results\":[\r\n" : ",\r\n");
	buf_putc(b, '{');
	if (!q->reduce) {
		err = put_counts(l, q, snap, b);
		buf_putc(b, ',');
	}
	if (q->update_seq) {
		buf_puts(b, "\"update_seq\":\"");
		db_seq_put(l->r->db, b, read_seq(snap));
		buf_puts(b, "\",");
	}
	buf_puts(b, "\"rows\":[\r\n");
	l->headed = 1;
	l->rows = 0;
	l->left = q->limit;
	l->skip = q->skip;
	l->next_key = 0;
	buf_clear(&l->place);
	return err;
}

/* ---- Documents of rows ---- */

/* What a row's value says of the document that it stands for. */
struct link {
	struct jstr id; /* s NULL: what it says is no id */
	struct jstr rev;
};

static int
read_link(struct jstr value, struct arena *a, struct link *out)
{
	struct jstr name, span;
	struct buf scratch;
	struct jread j;
	int err;

	jread_init(&j, value.s, value.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return 0;
	buf_init(&scratch, value.len + API_SCRATCH);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &name)) == 0) {
		int id = jstr_is(&name, "_id"), rev = jstr_is(&name, "_rev");
		int string = jread_peek(&j) == JREAD_STRING;

		if ((err = jread_skip(&j, &span)) != 0)
			break;
		if (id && !string)
			out->id = (struct jstr){NULL, 0};
		else if (id)
			err = rows_string(a, &span, &out->id);
		else if (rev && string)
			err = rows_string(a, &span, &out->rev);
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err;
}

static int
put_rev(const struct view_query *q, struct db_doc *doc, struct jstr text, struct buf *b, struct arena *a)
{
	struct revbuf named;
	struct revtree *t;
	struct revpos at;
	struct rev rev;
	int err;

	if (rev_parse(text.s, text.len, &named) != 0)
		return ERR_MISSING;
	rev = rev_of(&named);
	if (rev_equal(&rev, &doc->winner.rev))
		return render_doc(b, doc, &q->render, a, NULL);
	if ((err = db_doc_tree(doc, 1, &t)) != 0)
		return err;
	return revtree_find(t, &rev, &at) ? render_rev(b, doc, at, &q->render, a) : ERR_MISSING;
}

static int
put_doc(const struct view_query *q, struct db_snap *db, const struct read_row *row, struct buf *b, struct arena *a)
{
	struct link link = {row->id, {NULL, 0}};
	struct db_doc doc;
	int err = read_link(row->value, a, &link);

	if (err != 0)
		return err;
	buf_puts(b, ",\"doc\":");
	err = link.id.s == NULL || link.id.len == 0 || link.id.len > LIMIT_ID_LEN
		  ? ERR_MISSING
		  : db_get(db, link.id.s, link.id.len, a, &doc);
	if (err == 0 && link.rev.s != NULL)
		err = put_rev(q, &doc, link.rev, b, a);
	else if (err == 0)
		err = doc.winner.deleted ? ERR_MISSING : render_doc(b, &doc, &q->render, a, NULL);
	return err == ERR_MISSING ? buf_puts(b, "null") : err;
}

/* ---- Rows: 0 when the turn is over, ERR_END behind the query's last row ---- */

static char *
append(char *p, const char *s, size_t len)
{
	memcpy(p, s, len);
	return p + len;
}

#define APPEND(p, literal) append(p, literal, sizeof(literal) - 1)

/* put_texts: A row without its end; room is looked for once. */
static int
put_texts(struct buf *b, const struct read_row *row, int follows)
{
	const size_t around = sizeof(",\r\n{\"id\":\"\",\"key\":,\"value\":");
	char *begin, *p;
	int err;

	if (buf_json_plain(row->id.s, row->id.len) < row->id.len) {
		buf_puts(b, follows ? ",\r\n{\"id\":" : "{\"id\":");
		buf_put_json(b, row->id.s, row->id.len);
		buf_puts(b, ",\"key\":");
		buf_put(b, row->key.s, row->key.len);
		buf_puts(b, ",\"value\":");
		return buf_put(b, row->value.s, row->value.len);
	}
	if ((err = buf_reserve(b, around + row->id.len + row->key.len + row->value.len, &begin)) != 0)
		return err;
	p = follows ? APPEND(begin, ",\r\n{\"id\":\"") : APPEND(begin, "{\"id\":\"");
	p = append(p, row->id.s, row->id.len);
	p = APPEND(p, "\",\"key\":");
	p = append(p, row->key.s, row->key.len);
	p = APPEND(p, ",\"value\":");
	p = append(p, row->value.s, row->value.len);
	buf_commit(b, (size_t)(p - begin));
	return 0;
}

static int
put_row(struct view_rows *l, const struct view_query *q, struct db_snap *db, const struct read_row *row, struct buf *b,
    struct arena *a)
{
	int err = put_texts(b, row, l->rows);

	l->rows = 1;
	if (err == 0 && q->include_docs)
		err = put_doc(q, db, row, b, a);
	buf_putc(b, '}');
	return err;
}

/* fill_range: The rows of one range, from l->place on. */
static int
fill_range(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct db_snap *db, struct buf *b,
    struct arena *a)
{
	struct read_range range = range_of(q, l->next_key);
	struct read_row row;
	int err = read_range(snap, l->view, &range, (struct jstr){l->place.data, l->place.len});

	if (err == 0)
		err = read_skip(snap, &l->skip);
	while (err == 0) {
		if (l->left == 0)
			return ERR_END;
		arena_reset(a);
		if ((err = read_next(snap, a, &row)) != 0 || (err = put_row(l, q, db, &row, b, a)) != 0)
			break;
		l->left--;
		if (rows_turn_over(&l->turn, b)) {
			buf_clear(&l->place);
			return read_place(snap, &l->place);
		}
	}
	return err;
}

static int
fill_rows(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct db_snap *db, struct buf *b,
    struct arena *a)
{
	size_t nranges = q->keys != NULL ? q->keys->n : 1;
	int err, over = 0;

	while (!over) {
		if (l->next_key >= nranges || l->left == 0)
			return ERR_END;
		if ((err = fill_range(l, q, snap, db, b, a)) != ERR_END)
			return err;
		l->next_key++;
		buf_clear(&l->place);
		over = rows_turn_over(&l->turn, b);
	}
	return 0;
}

/* ---- Groups ---- */

/* put_group: As CouchDB, without the key where the function's result grew too fast. */
static void
put_group(struct view_rows *l, const struct jstr *key, const struct buf *value, struct buf *b)
{
	const size_t len = sizeof(READ_OVERFLOW) - 1;

	buf_puts(b, l->rows ? ",\r\n{\"key\":" : "{\"key\":");
	l->rows = 1;
	if (read_reduces(l->view) == READ_SCRIPT && value->len > len && memcmp(value->data, READ_OVERFLOW, len) == 0) {
		buf_puts(b, "null,\"error\":\"reduce_overflow_error\",\"reason\":");
		buf_put(b, value->data + len, value->len - len);
		return;
	}
	buf_put(b, key->s, key->len);
	buf_puts(b, ",\"value\":");
	buf_put(b, value->data, value->len);
	buf_putc(b, '}');
}

static void
put_groups(struct view_rows *l, const struct read_groups *g, struct buf *b)
{
	for (size_t i = 0; i < g->n; i++)
		put_group(l, &g->keys[i], &g->values[i], b);
	l->left -= g->n;
}

/* gather: Some groups, and remember the place behind them. */
static int
gather(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct read_groups *g)
{
	size_t nranges = q->keys != NULL ? q->keys->n : 1, looked = 0;
	int err = 0;

	while (l->next_key < nranges && looked++ < GROUPS) {
		struct read_range range = range_of(q, l->next_key);

		err = read_range(snap, l->view, &range, (struct jstr){l->place.data, l->place.len});
		if (err == 0)
			err = read_gather(snap, g, &l->skip);
		buf_clear(&l->place);
		if (err == 0)
			return read_place(snap, &l->place);
		if (err != ERR_END)
			return err;
		l->next_key++;
	}
	return l->next_key < nranges ? 0 : ERR_END;
}

/* Where a batch of groups begins. */
struct mark {
	size_t next_key;
	uint64_t skip;
	struct jstr place;
};

/* go_back: The values of so many groups are too much: fewer come from the same place. */
static int
go_back(struct view_rows *l, const struct mark *m, size_t groups)
{
	l->groups = groups;
	l->next_key = m->next_key;
	l->skip = m->skip;
	buf_clear(&l->place);
	return buf_put(&l->place, m->place.s, m->place.len);
}

static int
fill_groups(struct view_rows *l, const struct view_query *q, struct view_snap *snap, struct buf *b, struct arena *a)
{
	struct read_groups g = {.level = q->level, .why = &l->why, .a = a};
	struct mark m = {l->next_key, l->skip, {arena_dup(a, l->place.data, l->place.len), l->place.len}};
	size_t before = b->len, max = l->groups > 0 ? l->groups : GROUPS;
	int end, err;

	if (l->left == 0)
		return ERR_END;
	if (m.place.s == NULL)
		return ERR_NOMEM;
	g.max = l->left < max ? (size_t)l->left : max;
	end = gather(l, q, snap, &g);
	if (end != 0 && end != ERR_END)
		return end;
	if ((err = read_reduce(snap, l->view, &g)) == ERR_AGAIN)
		return go_back(l, &m, g.n);
	if (err != 0) {
		memcpy(l->error, g.error, sizeof(l->error));
		return err;
	}
	put_groups(l, &g, b);
	if (b->len - before < GROUPS_LARGE)
		l->groups = max < GROUPS / 2 ? 2 * max : GROUPS;
	return l->left == 0 || q->level == 0 ? ERR_END : end;
}

/* ---- Batches ---- */

static int
fill_query(struct view_rows *l, struct view_snap *snap, struct db_snap *db, struct buf *b, struct arena *a)
{
	const struct view_query *q = &l->queries[l->current];
	int err = l->headed ? 0 : put_head(l, q, snap, b);

	if (err != 0)
		return err;
	arena_reset(a);
	err = q->reduce ? fill_groups(l, q, snap, b, a) : fill_rows(l, q, snap, db, b, a);
	if (err == ERR_END) {
		buf_puts(b, "\r\n]}");
		l->current++;
		l->headed = 0;
	}
	return err;
}

/* Where functions reduce, the database's snapshot would be held as long as they take. */
static int
wants_docs(const struct view_rows *l)
{
	for (size_t i = l->current; i < l->nqueries; i++)
		if (l->queries[i].include_docs)
			return 1;
	return 0;
}

int
view_rows_fill(void *cookie, struct buf *b, struct arena *a)
{
	struct view_rows *l = cookie;
	struct view_snap *snap;
	struct db_snap *db = NULL;
	int err = wants_docs(l) ? db_snap_begin(l->r->db, &db) : 0, over = 0;

	if (err != 0)
		return err;
	if ((err = read_begin(l->ix, &snap)) == 0) {
		rows_turn_begin(&l->turn, b);
		err = ERR_END;
		while (err == ERR_END && l->current < l->nqueries && !over && !read_is_over(snap)) {
			err = fill_query(l, snap, db, b, a);
			over = rows_turn_over(&l->turn, b) || rows_turn_late(&l->turn);
		}
		read_end(snap);
	}
	if (db != NULL)
		db_snap_end(db);
	if (err != ERR_END)
		return err;
	if (l->current < l->nqueries)
		return 0;
	if (l->multi)
		buf_puts(b, l->nqueries == 0 ? "{\"results\":[\r\n\r\n]}" : "\r\n]}");
	buf_putc(b, '\n');
	return ERR_END;
}
