/*
 * changes.c: _changes: the normal feed, and the way to the others (changefeeds.c).
 *
 * Where a filter is JavaScript its first verdicts are there before the answer begins, so that one that fails is told by a status.
 */
#include "changefeeds.h"
#include "changes_query.h"
#include "feedjudge.h"
#include "rows.h"

#define SCRATCH_MAX ((size_t)256 << 20)

struct normal {
	struct feedscan scan;
	int headed;
};

static int
fill(void *cookie, struct buf *b, struct arena *scratch)
{
	struct normal *n = cookie;
	uint64_t seq = 0;
	int err;

	if (!n->headed)
		feedscan_head(&n->scan, b);
	n->headed = 1;
	err = feedscan_fill(&n->scan, b, scratch, &seq);
	if (err == ERR_END)
		feedscan_tail(&n->scan, b);
	return err;
}

/* The entity tag is the state of the database, whatever was asked of it.  Returns 1 if that was an answer. */
static int
tagged(struct apireq *r, uint64_t seq)
{
	struct buf b;
	int done;

	buf_init(&b, 1024);
	buf_putc(&b, '"');
	db_seq_put(r->db, &b, seq);
	buf_putc(&b, '"');
	done = !buf_failed(&b) && api_not_modified(r, b.data, b.len);
	buf_release(&b);
	return done;
}

static void
send_normal(struct apireq *r, const struct feedscan *scan)
{
	struct normal *n = arena_calloc(r->arena, 1, sizeof(*n));

	if (n == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	n->scan = *scan;
	n->scan.here = 1;
	api_json_head(r);
	rows_send_chunked(r, fill, n);
}

static int
is_normal(const struct apireq *r, const struct changes_query *q)
{
	return q->scan.form == FEEDSCAN_NORMAL || rows_is_head(r);
}

static void
answer(struct apireq *r, const struct changes_query *q)
{
	if (rows_is_head(r) || (q->scan.form == FEEDSCAN_NORMAL && q->scan.filter != FEEDSCAN_SCRIPT))
		send_normal(r, &q->scan);
	else
		changefeeds_add(r, q);
}

static void
judged(void *cookie)
{
	struct apireq *r = cookie;
	const struct changes_query *q = r->cookie;

	if (feedjudge_failed(r->judge))
		feedjudge_fail(r->judge, r);
	else
		answer(r, q);
}

/* first_verdicts: The feed says which rows it wants; there are none if it is at its end. */
static void
first_verdicts(struct apireq *r, const struct changes_query *q)
{
	struct changes_query *kept = arena_alloc(r->arena, sizeof(*kept));
	struct arena *scratch = NULL;
	uint64_t seq;
	struct buf b;
	int err = kept != NULL ? arena_new(SCRATCH_MAX, &scratch) : ERR_NOMEM;

	buf_init(&b, ROWS_BATCH_MAX);
	if (err == 0) {
		*kept = *q;
		err = feedscan_fill(&kept->scan, &b, scratch, &seq);
	}
	buf_release(&b);
	arena_free(scratch);
	r->cookie = kept;
	if (err == ERR_AGAIN)
		feedjudge_start(r->judge, judged, r);
	else if (err == 0 || err == ERR_END)
		answer(r, q);
	else
		api_error(r, err, NULL);
}

/* begin_normal: Whatever is written meanwhile is left out: a feed that chases it would not end.  Returns 1 if it is answered. */
static int
begin_normal(struct apireq *r, struct feedscan *scan)
{
	struct db_snap *snap;
	int err = db_snap_begin(r->db, &snap);

	if (err == 0) {
		err = db_snap_seq(snap, &scan->until);
		db_snap_end(snap);
	}
	if (err != 0) {
		api_error(r, err, NULL);
		return 1;
	}
	return tagged(r, scan->until);
}

static void
begin(struct apireq *r, struct changes_query *q, int err, const struct errtext *why)
{
	if (err != 0) {
		api_error(r, err, why);
		return;
	}
	if (is_normal(r, q) && begin_normal(r, &q->scan))
		return;
	if (q->scan.filter == FEEDSCAN_SCRIPT && !rows_is_head(r))
		first_verdicts(r, q);
	else
		answer(r, q);
}

/* Of a long body: ids to put in order, a selector to compile. */
struct asked {
	struct changes_query q;
	struct scripting_request request; /* for a filter in JavaScript */
	struct errtext why;
	int err;
};

static void
parse(struct apireq *r)
{
	struct asked *k = r->cookie;

	k->err = changes_query_parse(r, &k->q, &k->why);
}

static void
parsed(struct apireq *r)
{
	struct asked *k = r->cookie;

	begin(r, &k->q, k->err, &k->why);
}

static void
parse_long(struct apireq *r, const struct changes_query *q)
{
	struct asked *k = arena_calloc(r->arena, 1, sizeof(*k));
	const int is_post = strcmp(r->method, "POST") == 0;
	int err = 0;

	if (k == NULL) {
		api_error(r, ERR_NOMEM, NULL);
		return;
	}
	k->q = *q;
	if (changes_query_has_function(r)) {
		err = scripting_request_take(&k->request, r, (struct jstr){"", 0}, is_post ? &r->body : NULL);
		k->q.request = &k->request;
	}
	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	r->cookie = k;
	api_parse(r, parse, parsed);
}

void
changes_any(struct apireq *r)
{
	struct changes_query q;
	struct errtext why = {""};
	int err;

	if ((err = db_may_list(r->db)) == 0 && (err = changes_query_init(r, &q)) == 0) {
		/* Of thousands of feeds each has a short one, or none: that is to leave nothing behind. */
		if (r->body_err == 0 && r->body.len > API_INLINE_BYTES) {
			parse_long(r, &q);
			return;
		}
		err = changes_query_parse(r, &q, &why);
	}
	begin(r, &q, err, &why);
}
