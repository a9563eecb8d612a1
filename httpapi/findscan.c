/*
 * findscan.c: reading what a plan says: part by part, range by range, row by row.
 *
 * Between turns only the place is kept, as rows.c has it: in an index the place of the last row, of all documents the last id.
 *
 * 1. A row of an index tells which document may match; the document is read as it is now, and the selector decides, unless the
 *    plan is covered and the row not cut: then the row is all there is to look at.  A range that holds just what matches decides alone where index and database
 *    are of one sequence.
 * 2. Of several parts a document counts in the first whose branch it matches, so none is given twice, however the
 *    database changes between the turns, as long as the document itself does not.
 */
#include "findscan.h"

#include <string.h>

#include "base/limits.h"
#include "db/doc.h"
#include "feedmatch.h"
#include "render.h"

#define DESIGN "_design/"

/* ---- Ranges ---- */

static const struct query_part *
part_of(const struct findscan *fs)
{
	return &fs->plan->parts[fs->part];
}

static const struct query_range *
range_of(const struct findscan *fs)
{
	const struct query_part *p = part_of(fs);

	return &p->ranges[fs->plan->descending ? p->nranges - 1 - fs->range : fs->range];
}

static const struct findscan_index *
index_of(const struct findscan *fs, const struct query_index *index)
{
	for (size_t i = 0; i < fs->nindexes; i++)
		if (fs->indexes[i].index == index)
			return &fs->indexes[i];
	return NULL;
}

static int
begins_with(struct jstr s, struct jstr prefix)
{
	return s.len >= prefix.len && memcmp(s.s, prefix.s, prefix.len) == 0;
}

/* is_within: The row behind which a bookmark begins is no further than this end of the range: ${side} -1 for the low one, 1 for the high one. */
static int
is_within(const struct findscan *fs, struct jstr end, int outside, int side)
{
	struct jstr after = {fs->after_sortkey.data, fs->after_sortkey.len};

	if (end.len == 0)
		return 1;
	return begins_with(after, end) ? !outside : jstr_order(&after, &end) * side < 0;
}

/* open_rows: In a range of an index. */
static int
open_rows(struct findscan *fs)
{
	const struct findscan_index *at = index_of(fs, part_of(fs)->index);
	const struct query_range *r = range_of(fs);
	uint64_t seq;
	int down = fs->plan->descending, err;
	struct read_bound low = {.set = r->low.len > 0, .sortkey = r->low},
			  high = {.set = r->high.len > 0, .sortkey = r->high};
	struct read_range range = {.descending = down};

	range.start = down ? high : low;
	range.end = down ? low : high;
	range.exclusive_start = down ? r->high_before : r->low_behind;
	range.exclusive_end = down ? r->low_behind : r->high_before;
	if (read_is_partitioned(at->ix))
		range.partition = fs->q->partition;
	if (fs->after_sortkey.len > 0 &&
	    (down ? is_within(fs, r->high, r->high_before, 1) : is_within(fs, r->low, r->low_behind, -1))) {
		range.start = (struct read_bound){.set = 1,
		    .sortkey = {fs->after_sortkey.data, fs->after_sortkey.len},
		    .has_id = 1,
		    .id = fs->after_id};
		range.exclusive_start = 1;
	}
	/* What a turn could not keep of its place is no reason to begin anew. */
	if ((err = buf_failed(&fs->place)) != 0 || (fs->snap == NULL && (err = read_begin(at->ix, &fs->snap)) != 0) ||
	    (err = db_snap_seq(fs->dbsnap, &seq)) != 0)
		return err;
	fs->exact = fs->plan->exact && read_seq(fs->snap) == seq;
	return read_range(fs->snap, at->view, &range, (struct jstr){fs->place.data, fs->place.len});
}

/* narrow: Only ids of the partition. */
static void
narrow(const struct findscan *fs, struct db_range *range)
{
	struct jstr *first = range->descending ? &range->end : &range->start,
		    *last = range->descending ? &range->start : &range->end;
	int *has_first = range->descending ? &range->has_end : &range->has_start,
	    *has_last = range->descending ? &range->has_start : &range->has_end;

	if (fs->partition_first.len == 0)
		return;
	if (!*has_first || jstr_order(first, &fs->partition_first) < 0)
		*first = fs->partition_first;
	if (!*has_last || jstr_order(last, &fs->partition_end) > 0)
		*last = fs->partition_end;
	*has_first = *has_last = 1;
}

/* open_docs: In a range of all documents. */
static int
open_docs(struct findscan *fs)
{
	const struct query_range *r = range_of(fs);
	struct db_range range = {.descending = fs->plan->descending};
	struct jstr after = fs->place.len > 0 ? (struct jstr){fs->place.data, fs->place.len} : fs->after_id;
	int err;

	range.start = range.descending ? r->high : r->low;
	range.end = range.descending ? r->low : r->high;
	range.has_start = range.start.len > 0;
	range.has_end = range.end.len > 0;
	range.start_after = range.descending ? r->high_before : r->low_behind;
	range.exclusive_end = range.descending ? r->low_behind : r->high_before;
	narrow(fs, &range);
	if (after.len > 0 &&
	    (!range.has_start || jstr_order(&after, &range.start) * (range.descending ? -1 : 1) >= 0)) {
		/* Not the place itself, which moves with each document. */
		buf_clear(&fs->begin);
		if ((err = buf_put(&fs->begin, after.s, after.len)) != 0)
			return err;
		range.has_start = 1;
		range.start = (struct jstr){fs->begin.data, fs->begin.len};
		range.start_after = 1;
	}
	fs->exact = fs->plan->exact;
	return db_docs_open(fs->dbsnap, &range, &fs->scan);
}

static void
close_range(struct findscan *fs)
{
	if (fs->scan != NULL)
		db_scan_close(fs->scan);
	fs->scan = NULL;
	fs->opened = fs->moved = 0;
}

static void
next_part(struct findscan *fs)
{
	fs->part++;
	fs->range = 0;
	/* A bookmark's place is one in its own part. */
	fs->after_id.len = 0;
	buf_clear(&fs->after_sortkey);
	if (fs->snap != NULL)
		read_end(fs->snap);
	fs->snap = NULL;
}

static void
next_range(struct findscan *fs)
{
	close_range(fs);
	buf_clear(&fs->place);
	if (++fs->range == part_of(fs)->nranges)
		next_part(fs);
}

/* open_range: The one that is read next; ERR_END: there is none. */
static int
open_range(struct findscan *fs)
{
	int err;

	if (fs->opened)
		return 0;
	while (fs->part < fs->plan->nparts && part_of(fs)->nranges == 0)
		next_part(fs);
	if (fs->part >= fs->plan->nparts)
		return ERR_END;
	err = part_of(fs)->index != NULL ? open_rows(fs) : open_docs(fs);
	fs->opened = err == 0;
	return err;
}

/* ---- Turns ---- */

int
findscan_begin(struct findscan *fs)
{
	return db_snap_begin(fs->db, &fs->dbsnap);
}

/* keep_place: Behind the row that was read last. */
static void
keep_place(struct findscan *fs)
{
	if (fs->snap == NULL || !fs->moved)
		return;
	buf_clear(&fs->place);
	/* What it lacks shows as an error of the next turn. */
	(void)read_place(fs->snap, &fs->place);
	fs->moved = 0;
}

void
findscan_pause(struct findscan *fs)
{
	keep_place(fs);
	close_range(fs);
	if (fs->snap != NULL)
		read_end(fs->snap);
	fs->snap = NULL;
	if (fs->dbsnap != NULL)
		db_snap_end(fs->dbsnap);
	fs->dbsnap = NULL;
}

/* ---- Documents ---- */

static int
put_doc(struct findscan *fs, struct db_doc *doc, const struct db_rev *rev, struct arena *a)
{
	struct doc_out plain = {.id = doc->id, .rev = doc->winner.rev, .body = rev->body};
	struct render_opts o = {.conflicts = fs->q->conflicts};

	buf_clear(&fs->text);
	/* What has nothing beside its body need not be read anew. */
	if (rev->natts == 0 && (!fs->q->conflicts || doc->nleaves == 1))
		return doc_put_json(&fs->text, &plain);
	return render_doc(&fs->text, doc, &o, a, NULL);
}

/* matches: Does the document count, in this part?  ${rev}: its content, or NULL. */
static int
matches(struct findscan *fs, struct db_doc *doc, const struct db_rev *rev, struct arena *a, int *passp)
{
	const struct query_plan *p = fs->plan;
	int conflicts = fs->q->conflicts, before = 0, err;

	*passp = 1;
	if (fs->exact)
		return 0;
	err = feedmatch_doc(fs->q->selector, doc, rev, conflicts, a, passp);
	if (err != 0 || !*passp || part_of(fs)->branch == NULL)
		return err;
	err = feedmatch_doc(part_of(fs)->branch, doc, rev, conflicts, a, passp);
	for (size_t i = 0; err == 0 && *passp && !before && i < fs->part; i++)
		err = feedmatch_doc(p->parts[i].branch, doc, rev, conflicts, a, &before);
	*passp &= !before;
	return err;
}

/* leaves: Is the document to be read elsewhere?  Nothing is counted of it yet. */
static int
leaves(struct findscan *fs, const struct db_doc *doc)
{
	fs->large = fs->here && db_doc_is_large(doc);
	return fs->large;
}

static int
look_at(struct findscan *fs, struct db_doc *doc, struct arena *a, struct findscan_doc *out)
{
	int pass, known = fs->exact || (query_selector_wants(fs->q->selector) & QUERY_WANTS_BODY) != 0, err;
	struct db_rev rev;

	fs->docs_examined++;
	if (known && (err = db_doc_rev(doc, &doc->winner, a, &rev)) != 0)
		return err;
	if ((err = matches(fs, doc, known ? &rev : NULL, a, &pass)) != 0)
		return err;
	if (!pass)
		return ERR_AGAIN;
	if ((!known && (err = db_doc_rev(doc, &doc->winner, a, &rev)) != 0) || (err = put_doc(fs, doc, &rev, a)) != 0)
		return err;
	out->id = doc->id;
	out->is_fields = 0;
	out->text = (struct jstr){fs->text.data, fs->text.len};
	return buf_failed(&fs->text);
}

/* look_at_row: The row is all that is needed. */
static int
look_at_row(struct findscan *fs, const struct read_row *row, struct findscan_doc *out)
{
	struct query_doc doc = {.id = row->id};
	int pass = 1, err;

	out->id = row->id;
	out->is_fields = fs->covered != NULL;
	buf_clear(&fs->text);
	if (fs->covered != NULL) {
		err = query_covered_put(fs->covered, row->key, row->id, &fs->text);
		out->text = (struct jstr){fs->text.data, fs->text.len};
		return err;
	}
	if ((err = query_columns_doc(fs->columns, row->key, row->id, &fs->text)) != 0)
		return err;
	doc.body = (struct jstr){fs->text.data, fs->text.len};
	if (!fs->plan->exact && (err = query_selector_match(fs->q->selector, &doc, &pass)) != 0)
		return err;
	if (!pass)
		return ERR_AGAIN;
	out->text = doc.body;
	return 0;
}

static int
next_row(struct findscan *fs, struct arena *a, struct findscan_doc *out)
{
	struct read_row row;
	struct db_doc doc;
	int err = read_next(fs->snap, a, &row);

	/* Of the row before it nothing is left in ${a} that read_place() could tell. */
	fs->moved = err == 0;
	if (err != 0)
		return err;
	out->key = row.key;
	out->sortkey = row.sortkey;
	out->cut = row.cut;
	if (fs->plan->covered && !row.cut) {
		fs->keys_examined++;
		return look_at_row(fs, &row, out);
	}
	err = db_get(fs->dbsnap, row.id.s, row.id.len, a, &doc);
	if (err == 0 && leaves(fs, &doc)) {
		fs->moved = 0;
		return ERR_AGAIN;
	}
	fs->keys_examined++;
	if (err == ERR_MISSING || (err == 0 && doc.winner.deleted))
		return ERR_AGAIN;
	return err != 0 ? err : look_at(fs, &doc, a, out);
}

static int
next_doc(struct findscan *fs, struct arena *a, struct findscan_doc *out)
{
	struct db_doc doc;
	int err = db_docs_step(fs->scan, a, &doc);

	fs->passed = err == ERR_AGAIN;
	if (err != 0 && !fs->passed)
		return err;
	if (!fs->passed && leaves(fs, &doc))
		return ERR_AGAIN;
	buf_clear(&fs->place);
	if ((err = buf_put(&fs->place, doc.id.s, doc.id.len)) != 0)
		return err;
	if (fs->passed)
		return ERR_AGAIN;
	fs->keys_examined++;
	if (begins_with(doc.id, (struct jstr){DESIGN, sizeof(DESIGN) - 1})) {
		fs->docs_examined++;
		return ERR_AGAIN;
	}
	out->key = (struct jstr){"", 0};
	return look_at(fs, &doc, a, out);
}

/* keep: What a bookmark behind this document is made of. */
static int
keep(struct findscan *fs, const struct findscan_doc *doc)
{
	fs->found = 1;
	fs->found_part = fs->part;
	buf_clear(&fs->key);
	buf_clear(&fs->id);
	fs->cut = doc->key.len > 0 && doc->cut;
	if (fs->cut)
		buf_put(&fs->key, doc->sortkey.s, doc->sortkey.len);
	else
		buf_put(&fs->key, doc->key.s, doc->key.len);
	buf_put(&fs->id, doc->id.s, doc->id.len);
	return buf_failed(&fs->key) != 0 ? buf_failed(&fs->key) : buf_failed(&fs->id);
}

int
findscan_peek(struct findscan *fs, struct arena *a, struct findscan_doc *out)
{
	int err;

	/* The next row may be one that is left here. */
	if (fs->here)
		keep_place(fs);
	arena_reset(a);
	fs->passed = fs->large = 0;
	if ((err = open_range(fs)) != 0)
		return err;
	err = part_of(fs)->index != NULL ? next_row(fs, a, out) : next_doc(fs, a, out);
	if (err != ERR_END)
		return err;
	/* There may be thousands of ranges without a row. */
	next_range(fs);
	return ERR_AGAIN;
}

int
findscan_next(struct findscan *fs, struct arena *a, struct findscan_doc *out)
{
	int err = findscan_peek(fs, a, out);

	return err != 0 ? err : keep(fs, out);
}
