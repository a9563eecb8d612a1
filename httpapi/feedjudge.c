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

#include "base/limits.h"
#include "render.h"
#include "scripting.h"

#define MESSAGE_BYTES ((size_t)4 << 20) /* a message ends behind the document that passes this */
#define MESSAGE_MAX ((size_t)256 << 20)
#define VERDICTS_MAX ((size_t)64 << 20)

struct verdict {
	uint64_t seq;
	size_t first, n; /* its leaves, in pass */
};

struct feedjudge {
	struct apireq *r;
	unsigned refs;
	int all_leaves;
	struct jstr program;
	size_t revs_max;    /* that functions see of a document */
	struct buf head;    /* of a message: [["filters",NAME],[ */
	struct buf tail;    /* ],REQ] */
	uint64_t low, high; /* the rows that are wanted */
	size_t max;
	struct buf verdicts;         /* struct verdict, ascending */
	struct buf pass;             /* a byte for each leaf */
	struct scripting_call error; /* what went wrong, if anything did */
	struct exec_job job;
	struct http_msg msg;
	void (*done)(void *cookie);
	void *cookie;
};

/* ---- Made and given back ---- */

static int
put_frame(struct feedjudge *j, const char *kind, struct jstr name)
{
	struct jstr body = {"", 0};
	int err, has_body = strcmp(j->r->method, "POST") == 0;

	buf_puts(&j->head, "[[");
	buf_put_json(&j->head, kind, strlen(kind));
	buf_putc(&j->head, ',');
	buf_put_json(&j->head, name.s, name.len);
	buf_puts(&j->head, "],[");
	if (has_body && (err = api_body(j->r, &body, NULL)) != 0)
		return err;
	buf_puts(&j->tail, "],");
	if ((err = scripting_put_request(&j->tail, j->r, (struct jstr){"", 0}, has_body ? &body : NULL)) != 0)
		return err;
	buf_putc(&j->tail, ']');
	return buf_failed(&j->head) ? buf_failed(&j->head) : buf_failed(&j->tail);
}

int
feedjudge_new(
    struct apireq *r, struct jstr ddoc, const char *kind, struct jstr name, int all_leaves, struct feedjudge **jp)
{
	struct feedjudge *j = arena_calloc(r->arena, 1, sizeof(*j));
	struct db_snap *snap;
	int err;

	if (j == NULL)
		return ERR_NOMEM;
	j->r = r;
	j->refs = 1;
	j->all_leaves = all_leaves;
	j->revs_max = (size_t)config_u64(r->api->config, "query_server_config", "revs_limit", 20);
	buf_init(&j->verdicts, VERDICTS_MAX);
	buf_init(&j->pass, VERDICTS_MAX);
	buf_init_arena(&j->head, r->arena, 8 * LIMIT_URL_LEN);
	buf_init_arena(&j->tail, r->arena, MESSAGE_MAX);
	if ((err = db_snap_begin(r->db, &snap)) != 0)
		return err;
	err = scripting_program(snap, ddoc, r->arena, &j->program);
	db_snap_end(snap);
	if (err == 0)
		err = put_frame(j, kind, name);
	*jp = j;
	return err;
}

void
feedjudge_release(struct feedjudge *j)
{
	if (j == NULL || --j->refs > 0)
		return;
	buf_release(&j->verdicts);
	buf_release(&j->pass);
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
	if (!j->all_leaves || c->nleaves == 1) {
		*passp = v->n > 0 && j->pass.data[v->first] != 0;
		return 0;
	}
	struct rev *leaves = arena_calloc(a, c->nleaves, sizeof(*leaves));
	if (leaves == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < c->nleaves && i < v->n; i++)
		if (j->pass.data[v->first + i] != 0)
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

/* A batch on its way. */
struct batch {
	struct feedjudge *j;
	struct arena *a; /* of one row */
	struct buf text;
	size_t nrows, ndocs, first; /* first: of its leaves, in pass */
};

/* put_leaf: ${at} NULL: the winner.  One whose body is not kept passes no filter: it gets no text, and its byte stays 0. */
static int
put_leaf(struct batch *b, struct db_doc *doc, const struct revpos *at)
{
	const struct render_opts o = {.revs = 1, .revs_max = b->j->revs_max, .conflicts = at == NULL};
	size_t len = b->text.len;
	int err;

	if (len > 0)
		buf_putc(&b->text, ',');
	err = at == NULL ? render_doc(&b->text, doc, &o, b->a, NULL) : render_rev(&b->text, doc, *at, &o, b->a);
	if (err == ERR_MISSING) {
		b->text.len = len;
		return buf_putc(&b->j->pass, 0);
	}
	b->ndocs++;
	return err != 0 ? err : buf_putc(&b->j->pass, 1);
}

static int
put_row(struct batch *b, struct db_snap *snap, const struct db_change *c)
{
	struct feedjudge *j = b->j;
	struct verdict v = {c->seq, j->pass.len, 0};
	struct revtree *tree;
	struct db_doc doc;
	int err = db_get(snap, c->id.s, c->id.len, b->a, &doc);

	if (err == 0 && j->all_leaves && c->nleaves > 1) {
		err = db_doc_tree(&doc, 1, &tree);
		for (size_t i = 0; err == 0 && i < c->nleaves; i++) {
			struct revpos at;

			err = revtree_find(tree, &c->leaves[i], &at) ? put_leaf(b, &doc, &at) : ERR_CORRUPT;
		}
	} else if (err == 0) {
		err = put_leaf(b, &doc, NULL);
	}
	v.n = j->pass.len - v.first;
	b->nrows++;
	return err != 0 ? err : buf_put(&j->verdicts, (const char *)&v, sizeof(v));
}

/* read_rows: Until the batch is full; *${lastp}: the last one's sequence. */
static int
read_rows(struct batch *b, struct db_snap *snap, uint64_t *lastp)
{
	struct db_scan *scan;
	struct db_change c;
	int err = db_changes_open(snap, *lastp, 0, &scan);

	if (err != 0)
		return err;
	while (b->nrows < FEEDJUDGE_ROWS && b->text.len < MESSAGE_BYTES) {
		arena_reset(b->a);
		err = db_changes_next(scan, b->a, &c);
		if (err == 0 && c.seq >= b->j->high)
			err = ERR_END;
		if (err != 0 || (err = put_row(b, snap, &c)) != 0)
			break;
		*lastp = c.seq;
	}
	db_scan_close(scan);
	return err != 0 ? err : buf_failed(&b->text);
}

/* The answer's booleans, in the place of the ones of those that were asked about. */
static int
take_answer(struct batch *b, struct jstr answer)
{
	struct feedjudge *j = b->j;
	struct jread in;
	int yes, err;

	jread_init(&in, answer.s, answer.len);
	err = jread_array_begin(&in);
	for (size_t i = b->first; i < j->pass.len && err == 0; i++) {
		if (j->pass.data[i] == 0)
			continue;
		if ((err = jread_array_next(&in)) == 0 && (err = jread_bool(&in, &yes)) == 0)
			j->pass.data[i] = (char)yes;
	}
	return err == 0 && jread_array_next(&in) == ERR_END ? 0 : ERR_SCRIPT_DIED;
}

static int
ask(struct batch *b, struct script *sc)
{
	struct feedjudge *j = b->j;
	const struct jstr parts[] = {
	    {j->head.data, j->head.len}, {b->text.data, b->text.len}, {j->tail.data, j->tail.len}};
	struct jstr answer;
	int err = script_send(sc, SCRIPT_DESIGN, parts, 3);

	if (err == 0)
		err = script_receive(sc, &answer, &j->error.why);
	if (err == ERR_SCRIPT)
		(void)snprintf(j->error.error, sizeof(j->error.error), "%s", script_error(sc));
	return err != 0 ? err : take_answer(b, answer);
}

/* judge_batch: ERR_END: no row is left. */
static int
judge_batch(struct feedjudge *j, struct db *db, struct script **scp, struct batch *b, uint64_t *lastp)
{
	const char *database = j->r->part[0].s;
	struct db_snap *snap;
	int end, err = db_snap_begin(db, &snap);

	if (err != 0)
		return err;
	b->first = j->pass.len;
	b->nrows = b->ndocs = 0;
	buf_clear(&b->text);
	end = read_rows(b, snap, lastp);
	/* No snapshot is held while a function runs. */
	db_snap_end(snap);
	if (end != 0 && end != ERR_END)
		return end;
	if (b->ndocs > 0 && *scp == NULL &&
	    (err = script_open(j->r->api->scripts, database, j->program, scp, &j->error.why)) == ERR_SCRIPT)
		(void)snprintf(j->error.error, sizeof(j->error.error), "compilation_error");
	if (err == 0 && b->ndocs > 0)
		err = ask(b, *scp);
	return err != 0 ? err : end;
}

static int
judge(struct feedjudge *j, struct db *db, struct batch *b)
{
	struct script *sc = NULL;
	uint64_t last = j->low;
	size_t n = 0;
	int err;

	do {
		err = judge_batch(j, db, &sc, b, &last);
		n += b->nrows;
	} while (err == 0 && n < j->max);
	script_close(sc);
	return err == ERR_END ? 0 : err;
}

void
feedjudge_ask(struct feedjudge *j)
{
	struct batch b = {.j = j};
	struct db *db;
	int err = db_open(j->r->api->dbs, j->r->part[0].s, &j->r->who, &db);

	buf_clear(&j->verdicts);
	buf_clear(&j->pass);
	j->error.why.text[0] = j->error.error[0] = '\0';
	if (err == 0) {
		buf_init(&b.text, MESSAGE_MAX);
		if ((err = arena_new(MESSAGE_MAX, &b.a)) == 0)
			err = judge(j, db, &b);
		arena_free(b.a);
		buf_release(&b.text);
		db_close(db);
	}
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
