/* changes.c: _changes: the normal feed, and the way to the others (changefeeds.c). */
#include "changefeeds.h"
#include "changes_query.h"
#include "rows.h"

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
	struct db_snap *snap;
	int err = n == NULL ? ERR_NOMEM : db_snap_begin(r->db, &snap);

	if (err != 0) {
		api_error(r, err, NULL);
		return;
	}
	n->scan = *scan;
	/* Whatever is written meanwhile: a feed that chases it would not end. */
	n->scan.until = db_snap_seq(snap);
	db_snap_end(snap);
	if (tagged(r, n->scan.until))
		return;
	api_json_head(r);
	rows_send_chunked(r, fill, n);
}

void
changes_any(struct apireq *r)
{
	struct changes_query q;
	struct errtext why = {""};
	int err;

	err = db_may_list(r->db);
	if (err == 0)
		err = changes_query_parse(r, &q, &why);
	if (err != 0) {
		api_error(r, err, &why);
		return;
	}
	if (q.scan.form == FEEDSCAN_NORMAL || rows_is_head(r))
		send_normal(r, &q.scan);
	else
		changefeeds_add(r, &q);
}
