/*
 * feedjudge.c: filters in JavaScript.
 *
 * A function may take seconds, so nothing waits for it but the feed that it is for: documents are read and rendered on a thread that may
 * wait, in a snapshot that has ended before the function is asked, and what comes back is one byte for each leaf that was judged.
 * A verdict holds for the row's sequence: a document that changes gets another.
 *
 * 1. While a job is under way the feed does not look at the verdicts, and the job alone writes them.
 * 2. The request and the job have a reference each; both are given back on the request's thread.
 */
#include "feedjudge.h"

#include <stdio.h>
#include <stdlib.h>

#include "judging.h"
#include "scripting.h"

#define ROW_MAX ((size_t)256 << 20)
#define VERDICTS_MAX ((size_t)64 << 20)

struct verdict {
	uint64_t seq;
	size_t first, n; /* its leaves, in pass */
};

struct feedjudge {
	struct apireq *r;
	unsigned refs;
	struct judging all;
	uint64_t low, high; /* the rows that are wanted */
	size_t max;
	struct buf verdicts;         /* struct verdict, ascending */
	struct scripting_call error; /* what went wrong, if anything did */
	struct exec_job job;
	struct http_msg msg;
	void (*done)(void *cookie);
	void *cookie;
};

/* ---- Made and given back ---- */

static int
put_frame(struct feedjudge *j, const char *kind, struct jstr name, const struct scripting_request *request)
{
	struct jstr body = {"", 0};
	struct buf *tail = &j->all.tail;
	int err, has_body = request == NULL && strcmp(j->r->method, "POST") == 0;

	if ((err = judging_put_head(&j->all, kind, name)) != 0 ||
	    (has_body && (err = api_body(j->r, &body, NULL)) != 0))
		return err;
	buf_puts(tail, "],");
	if (request != NULL)
		err = scripting_request_put(tail, j->r, request);
	else
		err = scripting_put_request(tail, j->r, (struct jstr){"", 0}, has_body ? &body : NULL);
	if (err != 0)
		return err;
	return buf_putc(tail, ']');
}

int
feedjudge_new(struct apireq *r, const struct scripting_request *request, struct jstr ddoc, const char *kind,
    struct jstr name, int all_leaves, struct feedjudge **jp)
{
	struct feedjudge *j = arena_calloc(r->arena, 1, sizeof(*j));
	struct db_snap *snap;
	int err;

	if (j == NULL)
		return ERR_NOMEM;
	j->r = r;
	j->refs = 1;
	judging_init(&j->all, r->api, r->part[0].s, all_leaves, r->arena);
	buf_init(&j->verdicts, VERDICTS_MAX);
	if ((err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = scripting_program(snap, ddoc, r->arena, &j->all.program);
	db_snap_end(snap);
	if (err == 0)
		err = put_frame(j, kind, name, request);
	*jp = j;
	return err;
}

void
feedjudge_release(struct feedjudge *j)
{
	if (j == NULL || --j->refs > 0)
		return;
	buf_release(&j->verdicts);
	judging_release(&j->all);
}

/* ---- Verdicts ---- */

static int
cmp_seq(const void *a, const void *b)
{
	const struct verdict *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

int
feedjudge_row(struct feedjudge *j, struct arena *a, struct db_change *c, int *passp)
{
	const struct verdict want = {.seq = c->seq}, *v;
	size_t n = 0;

	*passp = 0;
	if (j->error.err != 0)
		return j->error.err;
	v = j->verdicts.len == 0 ? NULL
				 : bsearch(&want, j->verdicts.data, j->verdicts.len / sizeof(*v), sizeof(*v), cmp_seq);
	if (v == NULL)
		return ERR_AGAIN;
	if (!j->all.all_leaves || c->nleaves == 1) {
		*passp = v->n > 0 && j->all.pass.data[v->first] != 0;
		return 0;
	}
	struct rev *leaves = arena_calloc(a, c->nleaves, sizeof(*leaves));
	if (leaves == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < c->nleaves && i < v->n; i++)
		if (j->all.pass.data[v->first + i] != 0)
			leaves[n++] = c->leaves[i];
	c->leaves = leaves;
	c->nleaves = n;
	*passp = n > 0;
	return 0;
}

void
feedjudge_want(struct feedjudge *j, uint64_t low, uint64_t high, size_t max)
{
	j->low = low;
	j->high = high;
	j->max = max;
}

int
feedjudge_failed(const struct feedjudge *j)
{
	return j->error.err != 0;
}

void
feedjudge_fail(const struct feedjudge *j, struct apireq *r)
{
	scripting_call_fail(r, &j->error);
}

/* ---- Judging ---- */

/* read_rows: Until the batch is full; *${lastp}: the last one's sequence; *${np}: how many there were. */
static int
read_rows(struct feedjudge *j, struct db_snap *snap, struct arena *a, uint64_t *lastp, size_t *np)
{
	struct db_scan *scan;
	struct db_change c;
	int err = db_changes_open(snap, *lastp, 0, &scan);

	if (err != 0)
		return err;
	for (*np = 0; *np < JUDGING_ROWS && !judging_full(&j->all); ++*np) {
		struct verdict v = {.first = j->all.pass.len};

		arena_reset(a);
		err = db_changes_next(scan, a, &c);
		if (err == 0 && c.seq >= j->high)
			err = ERR_END;
		if (err != 0 || (err = judging_put(&j->all, snap, a, &c)) != 0)
			break;
		v.seq = *lastp = c.seq;
		v.n = j->all.pass.len - v.first;
		if ((err = buf_put(&j->verdicts, (const char *)&v, sizeof(v))) != 0)
			break;
	}
	db_scan_close(scan);
	return err;
}

/* judge_batch: ERR_END: no row is left. */
static int
judge_batch(struct feedjudge *j, struct db *db, struct arena *a, uint64_t *lastp, size_t *np)
{
	struct db_snap *snap;
	int end, err = db_snap_begin(db, &snap);

	if (err != 0)
		return err;
	judging_begin(&j->all);
	end = read_rows(j, snap, a, lastp, np);
	/* No snapshot is held while a function runs. */
	db_snap_end(snap);
	if (end != 0 && end != ERR_END)
		return end;
	err = judging_ask(&j->all);
	return err != 0 ? err : end;
}

static int
judge(struct feedjudge *j, struct db *db, struct arena *a)
{
	uint64_t last = j->low;
	size_t n = 0, more = 0;
	int err;

	do {
		err = judge_batch(j, db, a, &last, &more);
		n += more;
	} while (err == 0 && n < j->max);
	judging_end(&j->all);
	return err == ERR_END ? 0 : err;
}

void
feedjudge_ask(struct feedjudge *j)
{
	struct arena *a = NULL;
	struct db *db;
	int err = db_open(j->r->api->dbs, j->r->part[0].s, &j->r->who, &db);

	buf_clear(&j->verdicts);
	buf_clear(&j->all.pass);
	j->all.why.text[0] = j->all.error[0] = '\0';
	if (err == 0) {
		if ((err = arena_new(ROW_MAX, &a)) == 0)
			err = judge(j, db, a);
		arena_free(a);
		buf_release(&j->all.text);
		db_close(db);
	}
	j->error.why = j->all.why;
	(void)snprintf(j->error.error, sizeof(j->error.error), "%s", j->all.error);
	j->error.err = err;
}

/* ---- Off the request's thread and back ---- */

static void
run(void *arg)
{
	struct feedjudge *j = arg;

	feedjudge_ask(j);
	http_post(http_req_thread(j->r->http), &j->msg);
}

static void
come_back(void *arg)
{
	struct feedjudge *j = arg;
	struct http_req *http = j->r->http;

	j->done(j->cookie);
	feedjudge_release(j);
	http_release(http);
}

void
feedjudge_start(struct feedjudge *j, void (*done)(void *cookie), void *cookie)
{
	struct executor *slow = j->r->api->slow;

	j->done = done;
	j->cookie = cookie;
	j->refs++;
	j->job = (struct exec_job){.fn = run, .arg = j, .lane = exec_lane(j->r->part[0].s)};
	j->msg.fn = come_back;
	j->msg.arg = j;
	http_hold(j->r->http);
	slow->submit(slow, &j->job);
}
