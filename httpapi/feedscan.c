/*
 * feedscan.c: the rows of a changes feed.
 *
 * Upward, a turn resumes behind the last row's sequence.  Downward the database can only begin at
 * the newest row, so all turns but the first read a window of sequences upward and write it
 * backwards: each sequence has at most one row, so a window of 256 is a batch; where rows are
 * sparse it doubles, and where they are long it has fewer.
 *
 * A feed of few ids asks for each document instead of walking over all rows.
 *
 *	normal, longpoll:  {"results":[\n row,\n row \n],\n"last_seq":SEQ,"pending":N}\n
 *	continuous:        row\n row\n {"last_seq":SEQ,"pending":N}\n
 *	eventsource:       data: row\nid: SEQ\n\n
 */
#include "feedscan.h"

#include <stdlib.h>

#include "feedjudge.h"
#include "feedmatch.h"
#include "rows.h"

#define IDS_BY_GET 100u /* up to so many ids are asked for one by one */
#define WINDOW_MAX ((uint64_t)1 << 24)
#define WINDOW_SLOW 4u    /* where each row may take long */
#define WINDOW_ASKED 128u /* where rows are judged together */

void
feedscan_init(struct feedscan *f, struct db *db, uint64_t since)
{
	struct jstr history = db_history(db);

	memset(f, 0, sizeof(*f));
	f->db = db;
	if (history.len <= FEEDSCAN_HISTORY)
		memcpy(f->history, history.s, history.len);
	f->since = f->first = f->last = since;
	f->until = f->limit = UINT64_MAX;
}

int
feedscan_reopen(struct feedscan *f, struct db *db)
{
	struct jstr history;

	f->db = db;
	if (db == NULL)
		return 0;
	history = db_history(db);
	return history.len == FEEDSCAN_HISTORY && memcmp(history.s, f->history, history.len) == 0 ? 0 : ERR_NO_DB;
}

static int
in_lines(const struct feedscan *f)
{
	return f->form == FEEDSCAN_CONTINUOUS || f->form == FEEDSCAN_EVENTSOURCE;
}

void
feedscan_head(const struct feedscan *f, struct buf *b)
{
	if (!in_lines(f))
		buf_puts(b, "{\"results\":[\n");
}

const char *
feedscan_heartbeat(const struct feedscan *f)
{
	return f->form == FEEDSCAN_EVENTSOURCE ? "event: heartbeat\ndata: \n\n" : "\n";
}

static int
cmp_id(const void *a, const void *b)
{
	const struct jstr *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int c = n > 0 ? memcmp(x->s, y->s, n) : 0;

	return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

void
feedscan_only(struct feedscan *f, struct jstr *ids, size_t n)
{
	size_t i;

	if (n > 0)
		qsort(ids, n, sizeof(*ids), cmp_id);
	f->filter = FEEDSCAN_DOC_IDS;
	f->ids = ids;
	f->nids = 0;
	for (i = 0; i < n; i++)
		if (f->nids == 0 || cmp_id(&ids[f->nids - 1], &ids[i]) != 0)
			ids[f->nids++] = ids[i];
}

static int
passes(const struct feedscan *f, const struct jstr *id)
{
	if (f->filter == FEEDSCAN_ALL)
		return 1;
	if (f->filter == FEEDSCAN_DESIGN)
		return id->len > 8 && memcmp(id->s, "_design/", 8) == 0;
	return f->nids > 0 && bsearch(id, f->ids, f->nids, sizeof(*f->ids), cmp_id) != NULL;
}

/* Does the row pass the filter?  A selector may leave fewer leaves in it. */
static int
admit(const struct feedscan *f, struct feedrow *w, struct db_change *c, int *passp)
{
	if (f->filter == FEEDSCAN_SELECTOR)
		return feedmatch_row(f->selector, w->snap, w->arena, w->opts.all_leaves, w->here, c, passp);
	if (f->filter == FEEDSCAN_SCRIPT)
		return feedjudge_row(f->judge, w->arena, c, passp);
	*passp = passes(f, &c->id);
	return 0;
}

/* A row may cost a selector as much as a turn may take, so the clock is looked at behind each. */
static int
is_late(const struct feedscan *f, const struct rows_turn *turn)
{
	return f->filter == FEEDSCAN_SELECTOR && rows_now_us() - turn->start_us >= ROWS_TURN_US;
}

/* ---- One row ---- */

static void
put_behind(struct feedscan *f, uint64_t seq, struct buf *b)
{
	if (f->form == FEEDSCAN_EVENTSOURCE) {
		buf_puts(b, "\nid: \"");
		db_seq_put(f->db, b, seq);
		buf_puts(b, "\"\n\n");
	} else if (in_lines(f)) {
		buf_putc(b, '\n');
	}
	f->emitted++;
	f->limit--;
}

static const char *
before(const struct feedscan *f)
{
	return f->form == FEEDSCAN_EVENTSOURCE ? "data: " : in_lines(f) || f->emitted == 0 ? "" : ",\n";
}

/* CouchDB counts what is left of the limit, which is 10^15 where none was given. */
static int
wants_seq(const struct feedscan *f)
{
	const uint64_t unlimited = UINT64_C(1000000000000000);
	uint64_t left = f->limit + f->emitted == UINT64_MAX ? unlimited - f->emitted : f->limit;

	return f->interval == 0 || left % f->interval == 0;
}

static int
put_row(struct feedscan *f, struct feedrow *w, const struct db_change *c, struct buf *b)
{
	size_t len = b->len;
	int err = feedrow_put(w, c, wants_seq(f), before(f), b);

	if (err == 0)
		put_behind(f, c->seq, b);
	else
		b->len = len;
	return err;
}

/* ---- Upward ---- */

static void
advance(struct feedscan *f, uint64_t seq)
{
	if (seq > f->since)
		f->since = f->last = seq;
}

/*
 * pass_over: At the limit.  As in CouchDB last_seq tells of rows that did not pass, as far as they are judged; what is
 * pending is counted from the last one that did.
 */
static void
pass_over(struct feedscan *f, struct feedrow *w, struct db_scan *scan)
{
	struct db_change c;
	int pass;

	while (f->filter == FEEDSCAN_SCRIPT) {
		arena_reset(w->arena);
		if (db_changes_next(scan, w->arena, &c) != 0 || c.seq > f->until || admit(f, w, &c, &pass) != 0 || pass)
			return;
		f->last = c.seq;
	}
}

static int
fill_up(struct feedscan *f, uint64_t seq, struct feedrow *w, struct buf *b)
{
	uint64_t end = seq < f->until ? seq : f->until;
	struct rows_turn turn;
	struct db_scan *scan;
	struct db_change c;
	int pass, err = db_changes_open(w->snap, f->since, 0, &scan);

	if (err != 0)
		return err;
	rows_turn_begin(&turn, b);
	for (;;) {
		arena_reset(w->arena);
		err = db_changes_next(scan, w->arena, &c);
		if (err == 0 && c.seq > f->until)
			err = ERR_END;
		if (err == ERR_END) {
			advance(f, end);
			f->at_end = 1;
		}
		if (err != 0)
			break;
		err = admit(f, w, &c, &pass);
		if (err == ERR_AGAIN && f->judge != NULL)
			feedjudge_want(f->judge, f->since, f->until == UINT64_MAX ? f->until : f->until + 1, 1);
		if (err == 0 && pass)
			err = put_row(f, w, &c, b);
		if (err != 0)
			break;
		advance(f, c.seq);
		if (f->limit == 0) {
			pass_over(f, w, scan);
			err = ERR_END;
		}
		if (err != 0 || rows_turn_over(&turn, b) || is_late(f, &turn))
			break;
	}
	db_scan_close(scan);
	return err;
}

/* ---- Downward ---- */

static int
reached_bottom(struct feedscan *f)
{
	f->descending = 0;
	f->at_end = 1;
	return ERR_END;
}

static int
fill_newest(struct feedscan *f, uint64_t seq, struct feedrow *w, struct buf *b)
{
	struct rows_turn turn;
	struct db_scan *scan;
	struct db_change c;
	int pass, err = db_changes_open(w->snap, 0, 1, &scan);

	if (err != 0)
		return err;
	/* What comes later comes upward from here. */
	f->since = seq;
	rows_turn_begin(&turn, b);
	for (;;) {
		arena_reset(w->arena);
		err = db_changes_next(scan, w->arena, &c);
		if (err == ERR_END)
			err = reached_bottom(f);
		if (err != 0)
			break;
		err = admit(f, w, &c, &pass);
		if (err == 0 && pass)
			err = put_row(f, w, &c, b);
		if (err != 0)
			break;
		f->down = f->last = c.seq;
		f->looked++;
		if (f->limit == 0)
			err = ERR_END;
		if (err != 0 || rows_turn_over(&turn, b) || is_late(f, &turn))
			break;
	}
	db_scan_close(scan);
	return err;
}

/* The rows of one window, in the order of the scan; those that do not pass have no text. */
struct window {
	struct buf text;
	size_t n;
	size_t end[LIMIT_ROWS_PER_TURN]; /* where the text of each ends */
	uint64_t seq[LIMIT_ROWS_PER_TURN];
};

/* Read (low, f->down).  Returns ERR_TOO_LARGE if it has more rows than the ${w}->n that fit, or more text: but one row fits always. */
static int
read_window(struct feedscan *f, uint64_t low, struct feedrow *row, struct window *w)
{
	const int several = f->down - low > 2;
	struct db_scan *scan;
	struct db_change c;
	int pass, err = db_changes_open(row->snap, low, 0, &scan);

	if (err != 0)
		return err;
	w->n = 0;
	buf_clear(&w->text);
	for (;;) {
		arena_reset(row->arena);
		err = db_changes_next(scan, row->arena, &c);
		if (err == 0 && c.seq >= f->down)
			err = ERR_END;
		if (err == 0 && w->n == LIMIT_ROWS_PER_TURN)
			err = ERR_TOO_LARGE;
		if (err != 0)
			break;
		err = admit(f, row, &c, &pass);
		if (err == ERR_AGAIN && f->judge != NULL)
			feedjudge_want(f->judge, low, f->down, LIMIT_ROWS_PER_TURN);
		if (err == 0 && pass)
			err = feedrow_put(row, &c, 1, "", &w->text);
		if (err == 0)
			err = several && w->text.len > ROWS_BATCH_BYTES ? ERR_TOO_LARGE : buf_failed(&w->text);
		if (err != 0)
			break;
		w->seq[w->n] = c.seq;
		w->end[w->n++] = w->text.len;
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

static void
put_window(struct feedscan *f, const struct window *w, struct buf *b)
{
	size_t i, from;

	for (i = w->n; i-- > 0 && f->limit > 0;) {
		from = i > 0 ? w->end[i - 1] : 0;
		if (w->end[i] > from) {
			buf_puts(b, before(f));
			buf_put(b, w->text.data + from, w->end[i] - from);
			put_behind(f, w->seq[i], b);
		}
		f->down = f->last = w->seq[i];
		f->looked++;
	}
}

static uint64_t
window_of(const struct feedscan *f)
{
	return f->filter == FEEDSCAN_SELECTOR ? WINDOW_SLOW
	       : f->filter == FEEDSCAN_SCRIPT ? WINDOW_ASKED
					      : LIMIT_ROWS_PER_TURN;
}

/* narrower: About as many as fitted, of ${width}; the long row may be the last, so half of them at most. */
static uint64_t
narrower(size_t fitted, uint64_t width)
{
	uint64_t n = fitted < width / 2 ? fitted : width / 2;

	return n > 0 ? n : 1;
}

static int
fill_down(struct feedscan *f, struct feedrow *row, struct buf *b)
{
	uint64_t most = window_of(f), width = f->width > 0 && f->width < most ? f->width : most, low;
	uint64_t begin = rows_now_us();
	struct window *w = malloc(sizeof(*w));
	int err = 0;

	if (w == NULL)
		return ERR_NOMEM;
	buf_init(&w->text, ROWS_BATCH_MAX);
	do {
		low = f->down - 1 > width ? f->down - 1 - width : 0;
		err = read_window(f, low, row, w);
		if (err == ERR_TOO_LARGE && f->down - low > 2) {
			width = narrower(w->n, f->down - low - 1);
			err = 0;
			continue;
		}
		if (err != 0)
			break;
		put_window(f, w, b);
		if (f->limit == 0)
			err = ERR_END;
		else if (low == 0)
			err = reached_bottom(f);
		else if (w->n == 0 || w->seq[0] > low + 1)
			f->down = low + 1;
		if (w->n < LIMIT_ROWS_PER_TURN / 4 && w->text.len < ROWS_BATCH_BYTES / 4 && width < WINDOW_MAX)
			width *= 2;
	} while (err == 0 && b->len < ROWS_BATCH_BYTES / 2 && rows_now_us() - begin < ROWS_TURN_US);
	f->width = (uint32_t)width;
	buf_release(&w->text);
	free(w);
	return err;
}

/* fill_from: Where rows have to be judged first, the newest may be others by then: what is newer than now comes upward. */
static int
fill_from(struct feedscan *f, uint64_t seq, struct feedrow *row, struct buf *b)
{
	f->since = seq;
	f->down = f->since + 1;
	return fill_down(f, row, b);
}

/* ---- Few ids ---- */

struct hit {
	uint64_t seq;
	size_t index;
};

static int
cmp_hit(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static int
put_hit(struct feedscan *f, const struct hit *hit, struct feedrow *w, struct buf *b)
{
	const struct jstr *id = &f->ids[hit->index];
	struct db_change c = {.nleaves = 1};
	struct revtree *tree;
	struct db_doc doc;
	size_t i;
	int err;

	arena_reset(w->arena);
	err = db_get(w->snap, id->s, id->len, w->arena, &doc);
	if (err != 0)
		return err;
	c.seq = doc.seq;
	c.id = doc.id;
	c.deleted = doc.winner.deleted;
	c.leaves = &doc.winner.rev;
	if (w->opts.all_leaves && doc.nleaves > 1) {
		err = db_doc_tree(&doc, 0, &tree);
		if (err != 0)
			return err;
		c.nleaves = revtree_nleaves(tree);
		c.leaves = arena_calloc(w->arena, c.nleaves, sizeof(*c.leaves));
		if (c.leaves == NULL)
			return ERR_NOMEM;
		for (i = 0; i < c.nleaves; i++)
			c.leaves[i] = revtree_leaf(tree, i)->rev;
	}
	return put_row(f, w, &c, b);
}

static int
fill_ids(struct feedscan *f, uint64_t seq, struct feedrow *w, struct buf *b)
{
	uint64_t end = seq < f->until ? seq : f->until;
	struct hit hits[IDS_BY_GET];
	struct rows_turn turn;
	struct db_doc doc;
	size_t i, n = 0;
	int err, over = 0;

	if (f->descending && f->down == 0)
		f->since = end; /* what comes later comes upward from here */
	for (i = 0; i < f->nids; i++) {
		arena_reset(w->arena);
		err = db_get(w->snap, f->ids[i].s, f->ids[i].len, w->arena, &doc);
		if (err != 0 && err != ERR_MISSING)
			return err;
		if (err == 0 && doc.seq <= end &&
		    (f->descending ? f->down == 0 || doc.seq < f->down : doc.seq > f->since))
			hits[n++] = (struct hit){doc.seq, i};
	}
	qsort(hits, n, sizeof(hits[0]), cmp_hit);
	rows_turn_begin(&turn, b);
	for (i = 0; i < n && f->limit > 0 && !over; i++) {
		const struct hit *hit = &hits[f->descending ? n - 1 - i : i];
		err = put_hit(f, hit, w, b);
		if (err != 0)
			return err;
		f->last = hit->seq;
		*(f->descending ? &f->down : &f->since) = hit->seq;
		over = rows_turn_over(&turn, b);
	}
	if (i < n && f->limit > 0)
		return 0;
	if (f->limit > 0) {
		f->at_end = 1;
		if (!f->descending)
			advance(f, end);
		f->descending = 0;
	}
	return ERR_END;
}

int
feedscan_fill(struct feedscan *f, struct buf *b, struct arena *a, uint64_t *seqp)
{
	struct db_snap *snap;
	struct feedrow w;
	int err;

	if (f->limit == 0 && (!f->descending || f->emitted > 0))
		return ERR_END;
	err = db_snap_begin(f->db, &snap);
	if (err != 0)
		return err;
	err = db_snap_seq(snap, seqp);
	if (err == 0 && f->limit == 0) {
		/* No row was asked for: the place is where the first would have been. */
		f->last = *seqp;
		err = ERR_END;
	}
	if (err != 0) {
		db_snap_end(snap);
		return err;
	}
	f->at_end = 0;
	feedrow_init(&w, f->db, snap, a, &f->row);
	w.fields = f->fields;
	w.here = f->here;
	if (f->filter == FEEDSCAN_DOC_IDS && f->nids <= IDS_BY_GET)
		err = fill_ids(f, *seqp, &w, b);
	else if (!f->descending)
		err = fill_up(f, *seqp, &w, b);
	else if (f->down == 0 && f->filter == FEEDSCAN_SCRIPT)
		err = fill_from(f, *seqp, &w, b);
	else if (f->down == 0)
		err = fill_newest(f, *seqp, &w, b);
	else
		err = fill_down(f, &w, b);
	db_snap_end(snap);
	if (err == ERR_AGAIN)
		f->here = 0;
	if (err == 0 || err == ERR_END || err == ERR_AGAIN)
		return buf_failed(b) ? buf_failed(b) : err;
	return err;
}

/* ---- The end ---- */

int
feedscan_must_count(const struct feedscan *f)
{
	return f->form != FEEDSCAN_EVENTSOURCE &&
	       (!f->at_end || f->filter == FEEDSCAN_DESIGN || f->until != UINT64_MAX);
}

static int
pending(const struct feedscan *f, uint64_t *np)
{
	struct db_snap *snap;
	uint64_t n = 0, done = 0;
	uint64_t from = f->since;
	int err;

	*np = 0;
	if (!feedscan_must_count(f))
		return 0;
	if (f->db == NULL)
		return ERR_NO_DB;
	if ((err = db_snap_begin(f->db, &snap)) != 0)
		return err;
	if (f->descending) {
		from = 0;
		done = f->looked;
	} else if (f->filter == FEEDSCAN_DESIGN) {
		/* CouchDB counts what it has not written. */
		from = f->first;
		done = f->emitted;
	}
	err = db_changes_pending(snap, from, &n);
	db_snap_end(snap);
	*np = n < done ? 0 : n - done;
	return err;
}

/* What cannot be counted is not said: 0 would be the end for who copies page by page. */
void
feedscan_tail(const struct feedscan *f, struct buf *b)
{
	uint64_t n;

	if (f->form == FEEDSCAN_EVENTSOURCE)
		return;
	buf_puts(b, in_lines(f) ? "{\"last_seq\":\"" : "\n],\n\"last_seq\":\"");
	buf_put_u64(b, f->last);
	buf_putc(b, '-');
	buf_puts(b, f->history);
	buf_putc(b, '"');
	if (pending(f, &n) == 0) {
		buf_puts(b, ",\"pending\":");
		buf_put_u64(b, n);
	}
	buf_puts(b, "}\n");
}

/* ---- Sharing ---- */

int
feedscan_same(const struct feedscan *x, const struct feedscan *y, uint64_t rows)
{
	return x->since == y->since && x->form == y->form && x->filter == FEEDSCAN_ALL && y->filter == FEEDSCAN_ALL &&
	       !x->descending && !y->descending && x->until == y->until &&
	       memcmp(&x->row, &y->row, sizeof(x->row)) == 0 && x->interval == 0 && y->interval == 0 &&
	       x->limit > rows && y->limit > rows && (in_lines(x) || (x->emitted == 0) == (y->emitted == 0));
}

void
feedscan_follow(struct feedscan *f, const struct feedscan *before, const struct feedscan *after)
{
	uint64_t rows = after->emitted - before->emitted;

	f->since = after->since;
	f->last = after->last;
	f->at_end = after->at_end;
	f->emitted += rows;
	f->limit -= rows;
}
