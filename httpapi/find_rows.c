/*
 * find_rows.c: documents that were found as text, batch by batch.
 *
 *	{"docs":[\r\n doc,\r\n doc \r\n],\r\n"bookmark": "..."[,\r\n"execution_stats": {...}][,\r\n"warning": "..."]}\r\n
 */
#include "find_rows.h"

#include "base/limits.h"
#include "rows.h"

static const char no_index[] = "No matching index found, create an index to optimize query time.";
static const char many_docs[] =
    "The number of documents examined is high in proportion to the number of results returned. "
    "Consider adding a more specific index to improve this.";

/* ---- The end ---- */

/* CouchDB reads documents from so many nodes where r is above 1, and counts them apart. */
static void
put_stats(const struct find_rows *f, struct buf *b)
{
	int quorum = f->q.r > 1;

	buf_puts(b, ",\r\n\"execution_stats\": {\"total_keys_examined\":");
	buf_put_u64(b, f->scan.keys_examined);
	buf_puts(b, ",\"total_docs_examined\":");
	buf_put_u64(b, quorum ? 0 : f->scan.docs_examined);
	buf_puts(b, ",\"total_quorum_docs_examined\":");
	buf_put_u64(b, quorum ? f->scan.docs_examined : 0);
	buf_puts(b, ",\"results_returned\":");
	buf_put_u64(b, f->returned);
	buf_printf(b, ",\"execution_time_ms\":%.3f}", (double)(rows_now_us() - f->began_us) / 1000.0);
}

/* put_unused: CouchDB's two ways of saying that use_index was of no use. */
static void
put_unused(const struct find_query *q, struct buf *b)
{
	buf_put(b, q->use_ddoc.s, q->use_ddoc.len);
	if (q->use_name.len == 0) {
		buf_puts(b, " was not used because it does not contain a valid index for this query.");
		return;
	}
	buf_puts(b, ", ");
	buf_put(b, q->use_name.s, q->use_name.len);
	buf_puts(b, " was not used because it is not a valid index for this query.");
}

static int
put_warning(const struct find_rows *f, struct buf *b)
{
	const struct findscan *fs = &f->scan;
	struct buf w;
	int err;

	buf_init(&w, LIMIT_URL_LEN + 4 * LIMIT_ID_LEN);
	if (f->q.use_ddoc.len > 0 && !findscan_is_asked_for(fs))
		put_unused(&f->q, &w);
	/* A union reads several; CouchDB has no such plan. */
	if (fs->plan->chosen == NULL && fs->plan->nparts < 2) {
		buf_puts(&w, w.len > 0 ? "\n" : "");
		buf_puts(&w, no_index);
	}
	if (f->warn_ratio > 0 && fs->docs_examined > f->warn_ratio * (f->returned > 0 ? f->returned : 1)) {
		buf_puts(&w, w.len > 0 ? "\n" : "");
		buf_puts(&w, many_docs);
	}
	if (w.len > 0) {
		buf_puts(b, ",\r\n\"warning\": ");
		buf_put_json(b, w.data, w.len);
	}
	err = buf_failed(&w);
	buf_release(&w);
	return err;
}

static int
put_end(struct find_rows *f, struct buf *b)
{
	int err;

	/* CouchDB has looked at nothing then, and has nothing to say of it. */
	if (f->scan.plan->noop) {
		buf_puts(b, "\r\n]}\r\n");
		return ERR_END;
	}
	buf_puts(b, "\r\n],\r\n\"bookmark\": \"");
	if ((err = findscan_bookmark(&f->scan, b)) != 0)
		return err;
	buf_putc(b, '"');
	if (f->q.execution_stats)
		put_stats(f, b);
	if ((err = put_warning(f, b)) != 0)
		return err;
	buf_puts(b, "}\r\n");
	return ERR_END;
}

/* ---- Documents ---- */

/* put_found: 0, or ERR_END where it was the last one that is wanted. */
static int
put_found(struct find_rows *f, const struct findscan_doc *doc, struct buf *b)
{
	int err;

	if (f->skip > 0) {
		f->skip--;
		return 0;
	}
	buf_puts(b, f->returned > 0 ? ",\r\n" : "");
	if (f->q.fields != NULL && !doc->is_fields)
		err = query_fields_put(f->q.fields, doc->text, b);
	else
		err = buf_put(b, doc->text.s, doc->text.len);
	f->returned++;
	return err != 0 ? err : --f->left == 0 ? ERR_END : 0;
}

/*
 * is_over: Of this turn, behind what came with ${err}.  A selector may take 20 ms for one document, and many may be passed over until there is one, so
 * the clock is looked at behind each.
 */
static int
is_over(const struct find_rows *f, struct rows_turn *turn, const struct buf *b, int err)
{
	return rows_turn_over(turn, b) || ((err == ERR_AGAIN || !f->scan.plan->exact) && rows_turn_late(turn));
}

/* count_next: CouchDB sees that there is enough when it meets the next one, and counts that.  0: it is not met yet. */
static int
count_next(struct find_rows *f, struct rows_turn *turn, const struct buf *b, struct arena *a)
{
	struct findscan_doc doc;
	int err;

	if (!f->q.execution_stats || f->returned == 0)
		return ERR_END;
	while ((err = findscan_peek(&f->scan, a, &doc)) == ERR_AGAIN && f->scan.passed)
		if (is_over(f, turn, b, err))
			return 0;
	if (f->scan.large)
		return ERR_AGAIN;
	return err == 0 || err == ERR_AGAIN ? ERR_END : err;
}

static int
fill(struct find_rows *f, struct buf *b, struct arena *a)
{
	struct findscan_doc doc;
	struct rows_turn turn;
	int err;

	rows_turn_begin(&turn, b);
	if (f->left == 0)
		return count_next(f, &turn, b, a);
	do {
		err = findscan_next(&f->scan, a, &doc);
		if (f->scan.large)
			return ERR_AGAIN;
		if (err == 0 && (err = put_found(f, &doc, b)) == ERR_END)
			return count_next(f, &turn, b, a);
		if ((err == 0 || err == ERR_AGAIN) && is_over(f, &turn, b, err))
			return 0;
	} while (err == 0 || err == ERR_AGAIN);
	return err;
}

int
find_rows_fill(void *cookie, struct buf *b, struct arena *a)
{
	struct find_rows *f = cookie;
	int err = findscan_begin(&f->scan);

	if (err != 0)
		return err;
	if (!f->headed)
		buf_puts(b, "{\"docs\":[\r\n");
	f->headed = 1;
	err = fill(f, b, a);
	findscan_pause(&f->scan);
	if (err == ERR_AGAIN)
		f->scan.here = 0;
	return err == ERR_END ? put_end(f, b) : err;
}
