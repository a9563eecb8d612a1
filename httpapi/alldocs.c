/*
 * alldocs.c: _all_docs, _design_docs, _local_docs and their /queries.
 *
 * A listing is one query or several.  Rows are appended straight to the batch's buffer; what lives
 * from one batch to the next is the number of rows left and the last id (or the place in keys).
 * total_rows and offset come from the counts, so that the first row of a listing costs the same in
 * a database of any size.
 *
 *	{"total_rows":N,"offset":N,"rows":[\r\n row,\r\n row \r\n]}\n
 *	{"results":[\r\n listing,\r\n listing \r\n]}\n
 */
#include "alldocs.h"
#include "alldocs_query.h"
#include "base/limits.h"
#include "rows.h"

enum kind { ALL, DESIGN, LOCAL };

static const char design_first[] = "_design/";
static const char design_end[] = "_design0"; /* behind every design document; nobody's id */

struct listing {
	struct apireq *r;
	int err; /* of what is asked */
	struct errtext why;
	enum kind kind;
	struct jstr first, behind; /* DESIGN, or of the path's partition: ids from first on, below behind; else empty */
	int multi;                 /* /queries */
	struct alldocs_query *queries;
	size_t nqueries;
	size_t current;
	struct rows_turn turn; /* of all of them */
	int here;              /* on an event loop, where large documents are not read */
	/* Of the current query: */
	int headed;      /* its head is written */
	int rows;        /* 1 once a row is written */
	uint64_t left;   /* rows still allowed */
	size_t next_key; /* place in its keys */
	int has_last;
	struct buf last; /* id of the last row, or that was passed over, */
	int again;       /* or of the next row */
	uint64_t skip;   /* LOCAL: rows behind that one to skip */
};

static struct jstr
jstr_of(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static int
cmp(const struct jstr *a, const struct jstr *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int c = n > 0 ? memcmp(a->s, b->s, n) : 0;

	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* A bound may be longer than any id can be; one byte more says as much. */
static struct jstr
cut(struct jstr s)
{
	if (s.len > LIMIT_ID_LEN + 1u)
		s.len = LIMIT_ID_LEN + 1u;
	return s;
}

/* ---- Ranges ---- */

/* Set ${out} to the first or last id that ${q} wants in scan direction; returns 0 if nothing can match. */
static int
range_of(const struct listing *l, const struct alldocs_query *q, struct db_range *out)
{
	const struct jstr *first = l->behind.len > 0 ? &l->first : &q->first;
	const struct jstr *behind = l->behind.len > 0 ? &l->behind : &q->behind;
	struct jstr *low, *high;
	int *has_low, *has_high;

	memset(out, 0, sizeof(*out));
	out->descending = q->descending;
	out->exclusive_end = q->exclusive_end;
	out->skip = q->skip;
	if ((q->start.set && q->start.low && q->descending) || (q->end.set && q->end.low && !q->descending))
		return 0;
	out->has_start = q->start.set && !q->start.low;
	out->start = cut(q->start.id);
	out->has_end = q->end.set && !q->end.low;
	out->end = cut(q->end.id);
	if (behind->len == 0)
		return 1;
	low = q->descending ? &out->end : &out->start;
	has_low = q->descending ? &out->has_end : &out->has_start;
	high = q->descending ? &out->start : &out->end;
	has_high = q->descending ? &out->has_start : &out->has_end;
	if (!*has_low || cmp(low, first) < 0)
		*low = *first;
	if (!*has_high || cmp(high, behind) > 0)
		*high = *behind;
	*has_low = *has_high = 1;
	return 1;
}

/* Live documents before the first row in scan direction. */
static int
offset_of(struct db_snap *snap, const struct alldocs_query *q, const struct db_range *range, uint64_t total,
    struct arena *a, uint64_t *np)
{
	uint64_t n = 0;
	char *behind;
	int err = 0;

	if (range->has_start && range->descending) {
		/* The least id that is greater. */
		behind = arena_dup(a, range->start.s, range->start.len);
		if (behind == NULL)
			return ERR_NOMEM;
		err = db_docs_before(snap, behind, range->start.len + 1, &n);
		n = total > n ? total - n : 0;
	} else if (range->has_start) {
		err = db_docs_before(snap, range->start.s, range->start.len, &n);
	} else if (q->start.set && q->descending) {
		n = total;
	}
	*np = n > total || q->skip > total - n ? total : n + q->skip;
	return err;
}

static int
put_counts(struct listing *l, const struct alldocs_query *q, struct db_snap *snap, struct buf *b, struct arena *a)
{
	struct db_range range;
	uint64_t total, low = 0, high = 0, offset = 0;
	int err;

	range_of(l, q, &range);
	err = db_docs_before(snap, NULL, 0, &total);
	if (err == 0 && l->kind == DESIGN)
		err = db_docs_before(snap, design_first, strlen(design_first), &low);
	if (err == 0 && l->kind == DESIGN)
		err = db_docs_before(snap, design_end, strlen(design_end), &high);
	if (err == 0 && !q->has_keys)
		err = offset_of(snap, q, &range, total, a, &offset);
	if (err != 0)
		return err;
	buf_puts(b, "{\"total_rows\":");
	buf_put_u64(b, l->kind == DESIGN ? high - low : total);
	buf_puts(b, ",\"offset\":");
	if (q->has_keys)
		buf_puts(b, "null");
	else
		buf_put_u64(b, offset);
	return 0;
}

static int
put_head(struct listing *l, const struct alldocs_query *q, struct db_snap *snap, struct buf *b, struct arena *a)
{
	uint64_t seq;
	int err = 0;

	if (l->multi)
		buf_puts(b, l->current == 0 ? "{\"results\":[\r\n" : ",\r\n");
	if (l->kind == LOCAL)
		buf_puts(b, "{\"total_rows\":null,\"offset\":null");
	else
		err = put_counts(l, q, snap, b, a);
	if (err == 0 && q->update_seq && (err = db_snap_seq(snap, &seq)) == 0) {
		buf_puts(b, ",\"update_seq\":\"");
		db_seq_put(l->r->db, b, seq);
		buf_putc(b, '"');
	}
	buf_puts(b, ",\"rows\":[\r\n");
	l->headed = 1;
	l->rows = 0;
	l->has_last = 0;
	l->left = q->limit;
	l->next_key = 0;
	return err;
}

/* ---- Rows ---- */

/* {"id":ID,"key":ID,"value":{"rev":" */
static void
put_row_start(struct listing *l, struct buf *b, const struct jstr *id)
{
	size_t from, len;
	char *p;

	buf_puts(b, l->rows ? ",\r\n{\"id\":" : "{\"id\":");
	l->rows = 1;
	from = b->len;
	buf_put_json(b, id->s, id->len);
	len = b->len - from;
	buf_put(b, ",\"key\":", 7);
	/* Escaped once, copied for the second time. */
	if (buf_reserve(b, len, &p) == 0) {
		memcpy(p, b->data + from, len);
		buf_commit(b, len);
	}
	buf_put(b, ",\"value\":{\"rev\":\"", 17);
}

static int
put_doc_row(struct listing *l, const struct alldocs_query *q, struct db_doc *doc, struct buf *b, struct arena *a)
{
	int err = 0;

	put_row_start(l, b, &doc->id);
	rev_put(b, &doc->winner.rev);
	buf_puts(b, doc->winner.deleted ? "\",\"deleted\":true}" : "\"}");
	if (q->include_docs) {
		buf_puts(b, ",\"doc\":");
		if (doc->winner.deleted)
			buf_puts(b, "null");
		else
			err = render_doc(b, doc, &q->render, a, NULL);
	}
	buf_putc(b, '}');
	return err;
}

static void
put_local_row(struct listing *l, const struct alldocs_query *q, const struct jstr *id, uint64_t rev,
    const struct jstr *body, struct buf *b)
{
	put_row_start(l, b, id);
	buf_puts(b, "0-");
	buf_put_u64(b, rev);
	buf_puts(b, "\"}");
	if (q->include_docs) {
		buf_puts(b, ",\"doc\":{\"_id\":");
		buf_put_json(b, id->s, id->len);
		buf_puts(b, ",\"_rev\":\"0-");
		buf_put_u64(b, rev);
		buf_putc(b, '"');
		/* The body's members follow: its text without the opening brace. */
		if (body->len > 2)
			buf_putc(b, ',');
		buf_put(b, body->s + 1, body->len - 1);
	}
	buf_putc(b, '}');
}

static int
put_missing_row(struct listing *l, const struct alldocs_key *key, struct buf *b)
{
	struct jread j;
	int err;

	buf_puts(b, l->rows ? ",\r\n{\"key\":" : "{\"key\":");
	l->rows = 1;
	jread_init(&j, key->text.s, key->text.len);
	err = jread_text(&j, b, NULL);
	buf_puts(b, ",\"error\":\"not_found\"}");
	return err;
}

/* ---- Batches: 0 when the turn is over, ERR_END behind the query's last row, ERR_AGAIN before a document that is too large for here ---- */

/* leaves: Is the row to be made elsewhere?  So are all behind it. */
static int
leaves(struct listing *l, const struct alldocs_query *q, const struct db_doc *doc)
{
	if (!l->here || !q->include_docs || !db_doc_is_large(doc))
		return 0;
	l->here = 0;
	return 1;
}

static int
remember(struct listing *l, const struct jstr *id)
{
	buf_clear(&l->last);
	l->has_last = 1;
	return buf_put(&l->last, id->s, id->len);
}

static void
resume(struct listing *l, struct db_range *range)
{
	if (!l->has_last)
		return;
	range->has_start = 1;
	range->start_after = !l->again;
	range->start.s = l->last.data;
	range->start.len = l->last.len;
	range->skip = l->skip;
}

static int
fill_docs(struct listing *l, const struct alldocs_query *q, struct db_snap *snap, struct buf *b, struct arena *a)
{
	struct db_range range;
	struct db_scan *scan;
	struct db_doc doc;
	int err, passed, over = 0;

	if (!range_of(l, q, &range) || l->left == 0)
		return ERR_END;
	resume(l, &range);
	err = db_docs_open(snap, &range, &scan);
	if (err != 0)
		return err;
	l->again = 0;
	do {
		arena_reset(a);
		passed = (err = db_docs_step(scan, a, &doc)) == ERR_AGAIN;
		if (err != 0 && !passed)
			break;
		if (!passed && leaves(l, q, &doc)) {
			l->again = 1;
			err = remember(l, &doc.id);
			err = err != 0 ? err : ERR_AGAIN;
			break;
		}
		err = passed ? 0 : put_doc_row(l, q, &doc, b, a);
		over = passed ? rows_turn_late(&l->turn) : rows_turn_over(&l->turn, b);
		if (err == 0 && !passed && --l->left == 0)
			err = ERR_END;
		else if (err == 0 && over)
			err = remember(l, &doc.id);
	} while (err == 0 && !over);
	db_scan_close(scan);
	return err;
}

static int
fill_locals(struct listing *l, const struct alldocs_query *q, struct db_snap *snap, struct buf *b, struct arena *a)
{
	struct db_range range;
	struct db_scan *scan;
	struct jstr id, body;
	uint64_t rev;
	int err, passed, over = 0;

	if (!range_of(l, q, &range) || l->left == 0)
		return ERR_END;
	resume(l, &range);
	err = db_locals_open(snap, &range, &scan);
	if (err != 0)
		return err;
	do {
		arena_reset(a);
		passed = (err = db_locals_step(scan, a, &id, &rev, &body)) == ERR_AGAIN;
		if (err != 0 && !passed)
			break;
		err = 0;
		if (!passed)
			put_local_row(l, q, &id, rev, &body, b);
		over = passed ? rows_turn_late(&l->turn) : rows_turn_over(&l->turn, b);
		l->skip = db_locals_skip(scan);
		if (!passed && --l->left == 0)
			err = ERR_END;
		else if (over)
			err = remember(l, &id);
	} while (err == 0 && !over);
	db_scan_close(scan);
	return err;
}

static int
put_key(struct listing *l, const struct alldocs_query *q, const struct alldocs_key *key, struct db_snap *snap,
    struct buf *b, struct arena *a)
{
	struct db_doc doc;
	struct jstr body;
	uint64_t rev;
	int err = ERR_MISSING;

	if (key->id.s != NULL && key->id.len > 0 && key->id.len <= LIMIT_ID_LEN) {
		if (l->kind == LOCAL)
			err = db_local_get(snap, key->id.s, key->id.len, a, &rev, &body);
		else
			err = db_get(snap, key->id.s, key->id.len, a, &doc);
	}
	if (err == ERR_MISSING)
		return put_missing_row(l, key, b);
	if (err != 0)
		return err;
	if (l->kind == LOCAL) {
		put_local_row(l, q, &key->id, rev, &body, b);
		return 0;
	}
	if (leaves(l, q, &doc))
		return ERR_AGAIN;
	return put_doc_row(l, q, &doc, b, a);
}

static int
wanted(const struct listing *l, const struct alldocs_key *key)
{
	const char *prefix = l->kind == DESIGN ? design_first : "_local/";

	if (l->kind == ALL)
		return 1;
	return key->id.s != NULL && key->id.len > strlen(prefix) && memcmp(key->id.s, prefix, strlen(prefix)) == 0;
}

static int
fill_keys(struct listing *l, const struct alldocs_query *q, struct db_snap *snap, struct buf *b, struct arena *a)
{
	const struct alldocs_key *key;
	int err = 0, over = 0;

	if (l->next_key < q->skip)
		l->next_key = q->skip < q->nkeys ? (size_t)q->skip : q->nkeys;
	while (err == 0 && !over) {
		if (l->next_key >= q->nkeys || l->left == 0)
			return ERR_END;
		key = &q->keys[q->descending ? q->nkeys - 1 - l->next_key : l->next_key];
		if (wanted(l, key)) {
			arena_reset(a);
			if ((err = put_key(l, q, key, snap, b, a)) == ERR_AGAIN)
				return err;
			l->left--;
		}
		l->next_key++;
		over = rows_turn_over(&l->turn, b);
	}
	return err;
}

static int
fill_query(struct listing *l, struct db_snap *snap, struct buf *b, struct arena *a)
{
	const struct alldocs_query *q = &l->queries[l->current];
	int err = 0;

	if (!l->headed)
		err = put_head(l, q, snap, b, a);
	if (err != 0)
		return err;
	if (q->has_keys)
		err = fill_keys(l, q, snap, b, a);
	else if (l->kind == LOCAL)
		err = fill_locals(l, q, snap, b, a);
	else
		err = fill_docs(l, q, snap, b, a);
	if (err == ERR_END) {
		buf_puts(b, "\r\n]}");
		l->current++;
		l->headed = 0;
	}
	return err;
}

int
alldocs_fill(void *cookie, struct buf *b, struct arena *a)
{
	struct listing *l = cookie;
	struct db_snap *snap;
	int err;

	err = db_snap_begin(l->r->db, &snap);
	if (err != 0)
		return err;
	rows_turn_begin(&l->turn, b);
	do
		err = l->current < l->nqueries ? fill_query(l, snap, b, a) : ERR_END;
	while (err == ERR_END && l->current < l->nqueries && !rows_turn_over(&l->turn, b) && !rows_turn_late(&l->turn));
	db_snap_end(snap);
	if (err != ERR_END)
		return err;
	if (l->current < l->nqueries)
		return 0;
	if (l->multi)
		buf_puts(b, l->nqueries == 0 ? "{\"results\":[\r\n\r\n]}" : "\r\n]}");
	buf_putc(b, '\n');
	return ERR_END;
}

void
alldocs_drop(void *cookie)
{
	struct listing *l = cookie;

	buf_release(&l->last);
}

/* ---- Requests ---- */

/* bound: The ids of the partition that a query names, where the path does not. */
static int
bound(struct listing *l, struct alldocs_query *q, struct errtext *why)
{
	struct db_info db;
	int err;

	if (l->kind != ALL || l->behind.len > 0 || q->partition.s == NULL || q->behind.len > 0)
		return 0;
	if ((err = db_info(l->r->db, &db)) != 0)
		return err;
	if (!db.partitioned)
		return err_why(why, ERR_QUERY_PARSE, "`partition` parameter is not supported on this db");
	return partition_ids(l->r->arena, &q->partition, &q->first, &q->behind);
}

/* finish: Once all of a query is read. */
static int
finish(struct listing *l, struct alldocs_query *q, struct errtext *why)
{
	int err = bound(l, q, why);

	if (err == 0)
		err = alldocs_value_limit(
		    l->r, l->kind == ALL && (l->behind.len > 0 || q->behind.len > 0), &q->limit, why);
	return err ? err : alldocs_query_check(q, why);
}

static int
add_query(struct listing *l, struct jread *j, const struct alldocs_query *base, size_t *capp, struct errtext *why)
{
	struct alldocs_query *more;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return err_why(why, ERR_BAD_REQUEST, "Each of `queries` must be an object.");
	if (l->nqueries == *capp) {
		*capp = *capp == 0 ? 8 : *capp * 2;
		more = arena_calloc(l->r->arena, *capp, sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		if (l->nqueries > 0)
			memcpy(more, l->queries, l->nqueries * sizeof(*more));
		l->queries = more;
	}
	more = &l->queries[l->nqueries++];
	*more = *base;
	err = jread_object_begin(j);
	if (err == 0)
		err = alldocs_query_members(l->r, j, more, why);
	return err ? err : finish(l, more, why);
}

static int
parse_queries(struct listing *l, const struct jstr *body, struct errtext *why)
{
	struct alldocs_query base;
	struct jread j;
	size_t cap = 0;
	int err;

	alldocs_query_init(&base);
	err = alldocs_query_params(l->r, &base, why);
	if (err == 0)
		err = bound(l, &base, why);
	if (err == 0)
		err = rows_queries(&j, body, why);
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		err = add_query(l, &j, &base, &cap, why);
	return err == ERR_END ? 0 : err;
}

static int
parse_one(struct listing *l, const struct jstr *body, struct errtext *why)
{
	struct jread j;
	int err = 0;

	l->queries = arena_calloc(l->r->arena, 1, sizeof(*l->queries));
	if (l->queries == NULL)
		return ERR_NOMEM;
	l->nqueries = 1;
	alldocs_query_init(l->queries);
	if (body != NULL)
		err = rows_object(&j, body, why);
	if (err == 0 && body != NULL)
		err = alldocs_query_members(l->r, &j, l->queries, why);
	if (err == 0)
		err = alldocs_query_params(l->r, l->queries, why);
	return err ? err : finish(l, l->queries, why);
}

static enum kind
kind_of(const struct jstr *name)
{
	if (jstr_is(name, "_all_docs"))
		return ALL;
	return name->len == strlen("_design_docs") ? DESIGN : LOCAL;
}

static int
is_post(const struct apireq *r)
{
	return strcmp(r->method, "POST") == 0;
}

int
alldocs_read(struct listing *l, struct errtext *why)
{
	struct jstr body;
	int err;

	if (!is_post(l->r))
		return parse_one(l, NULL, why);
	if ((err = api_body(l->r, &body, why)) != 0)
		return err;
	return l->multi ? parse_queries(l, &body, why) : parse_one(l, &body, why);
}

static void
parse(struct apireq *r)
{
	struct listing *l = r->cookie;

	l->err = alldocs_read(l, &l->why);
}

static void
parsed(struct apireq *r)
{
	struct listing *l = r->cookie;

	if (l->err != 0) {
		api_error(r, l->err, &l->why);
		return;
	}
	api_json_head(r);
	/* Keys may be long, and _local documents are read to pass over them. */
	if (r->body.len > API_INLINE_BYTES || l->kind == LOCAL) {
		rows_send_on(r, r->api->ex, alldocs_fill, alldocs_drop, NULL, l);
		return;
	}
	l->here = 1;
	rows_send(r, alldocs_fill, alldocs_drop, l);
}

static int
listing_new(struct apireq *r, enum kind kind, const struct jstr *partition, int multi, struct listing **lp)
{
	struct listing *l = arena_calloc(r->arena, 1, sizeof(*l));
	int err = 0;

	if (l == NULL)
		return ERR_NOMEM;
	*l = (struct listing){.r = r, .kind = kind, .multi = multi};
	buf_init(&l->last, LIMIT_ID_LEN);
	if (kind == DESIGN) {
		l->first = jstr_of(design_first);
		l->behind = jstr_of(design_end);
	}
	if (partition != NULL)
		err = partition_ids(r->arena, partition, &l->first, &l->behind);
	*lp = l;
	return err == 0 && is_post(r) && !api_is_json(r) ? ERR_CONTENT_TYPE : err;
}

static void
list(struct apireq *r, enum kind kind, const struct jstr *partition, int multi)
{
	struct listing *l;
	int err = listing_new(r, kind, partition, multi, &l);

	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	r->cookie = l;
	api_parse(r, parse, parsed);
}

int
alldocs_open(struct apireq *r, struct listing **lp)
{
	/* Rows know nothing of who may see which document. */
	return db_shows_all(r->db) ? listing_new(r, ALL, NULL, 0, lp) : ERR_NOT_ADMIN;
}

void
alldocs_any(struct apireq *r)
{
	list(r, kind_of(&r->part[1]), NULL, r->nparts > 2);
}

void
alldocs_partition(struct apireq *r)
{
	list(r, ALL, &r->part[2], r->nparts > 4);
}
