/*
 * ruletest.h: what the tests of validators and rules share: writes, and a validator that keeps what it is told.
 *
 * The executor is one queue that the test empties.  A validator may write, too: what it writes is committed, whole, after
 * the snapshot of the hearing that it is in.
 */
#ifndef TESTS_UNIT_RULETEST_H_
#define TESTS_UNIT_RULETEST_H_

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dbtest.h"

static struct arena *ruletest_arena;

/* ---- One queue ---- */

static struct exec_job *ruletest_queue;

static inline void
ruletest_ex_submit(struct executor *ex, struct exec_job *job)
{
	struct exec_job **end = &ruletest_queue;

	(void)ex;
	job->next = NULL;
	while (*end != NULL)
		end = &(*end)->next;
	*end = job;
}

static inline void
ruletest_ex_later(struct executor *ex, struct exec_job *job, uint64_t delay_ms)
{
	(void)ex;
	(void)job;
	(void)delay_ms;
}

static inline int
ruletest_ex_cancel(struct executor *ex, struct exec_job *job)
{
	(void)ex;
	(void)job;
	return 1;
}

static inline uint64_t
ruletest_ex_now(struct executor *ex)
{
	(void)ex;
	return 1000;
}

static inline uint64_t
ruletest_ex_wall(struct executor *ex)
{
	(void)ex;
	return 1800000000000000;
}

static inline void
ruletest_ex_random(struct executor *ex, void *out, unsigned len)
{
	static unsigned char n;

	(void)ex;
	memset(out, ++n, len);
}

static struct executor ruletest_ex = {
    ruletest_ex_submit, ruletest_ex_later, ruletest_ex_cancel, ruletest_ex_now, ruletest_ex_wall, ruletest_ex_random};

static inline int
ruletest_step(void)
{
	struct exec_job *job = ruletest_queue;

	if (job == NULL)
		return 0;
	ruletest_queue = job->next;
	job->fn(job->arg);
	return 1;
}

static inline void
ruletest_drain(void)
{
	while (ruletest_step())
		;
}

static inline void
ruletest_done(struct db_request *req)
{
	*(int *)req->cookie = 1;
}

/* ---- Writes ---- */

static inline struct db_write
ruletest_write_of(const char *json, int new_edits)
{
	struct db_write w = {.kind = new_edits ? DB_WRITE_EDIT : DB_WRITE_REPLICATE};
	struct doc_in in;
	struct jread j;
	struct errtext why;
	struct rev *path;

	jread_init(&j, arena_dup(ruletest_arena, json, strlen(json)), strlen(json));
	CHECK_INT(doc_parse(&j, ruletest_arena, &in, &why), 0);
	w.id = in.id;
	w.deleted = in.deleted;
	w.body = in.body;
	w.body_etf = in.body_etf;
	w.has_parent = new_edits && in.has_rev;
	w.parent = in.rev;
	if (!new_edits) {
		path = arena_alloc(ruletest_arena, sizeof(*path));
		*path = rev_of(&in.rev);
		path->id = (const unsigned char *)arena_dup(ruletest_arena, path->id, path->len);
		w.path = in.nrevisions > 0 ? in.revisions : path;
		w.npath = in.nrevisions > 0 ? in.nrevisions : 1;
	}
	return w;
}

static inline int
ruletest_submit(struct db *db, struct db_request *req)
{
	int over = 0, err;

	req->done = ruletest_done;
	req->cookie = &over;
	if ((err = db_submit(db, req)) != 0)
		return err;
	while (!over && ruletest_step())
		;
	CHECK(over);
	return 0;
}

/* ruletest_write: One write, of a request that is not refused as a whole; returns its error. */
static inline int
ruletest_write(struct db *db, struct db_write *w)
{
	struct db_request req = {.writes = w, .nwrites = 1};

	CHECK_INT(ruletest_submit(db, &req), 0);
	return w->err;
}

static inline void
ruletest_flushed(void *cookie, int err)
{
	*(int *)cookie = err;
}

/* ruletest_flush: Flush what there is of an upload, and wait.  Returns its error. */
static inline int
ruletest_flush(struct db_blob *b)
{
	int err = -1;

	db_blob_flush(b, ruletest_flushed, &err);
	ruletest_drain();
	CHECK(err != -1);
	return err;
}

/* ruletest_put: One write; its text is a format. */
static inline int PRINTF_LIKE(3, 4) ruletest_put(struct db *db, int new_edits, const char *fmt, ...)
{
	struct db_write w;
	struct db_request req = {.writes = &w, .nwrites = 1};
	char json[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(json, sizeof(json), fmt, ap);
	va_end(ap);
	w = ruletest_write_of(json, new_edits);
	if (ruletest_submit(db, &req) != 0)
		return ERR_INTERNAL;
	return w.err;
}

#define RULETEST_EDIT(db, ...) ruletest_put(db, 1, __VA_ARGS__)
#define RULETEST_REPLICATE(db, ...) ruletest_put(db, 0, __VA_ARGS__)

static inline int
ruletest_set_security(struct db *db, const char *text)
{
	struct db_write w = {.kind = DB_WRITE_SECURITY, .body = {text, strlen(text)}};

	return ruletest_write(db, &w);
}

/* ruletest_winner: The text of the winning revision's id; "" if the document is not there or deleted. */
static inline const char *
ruletest_winner(struct db *db, const char *id)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct buf b;

	buf_init_arena(&b, ruletest_arena, 4096);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, id, strlen(id), ruletest_arena, &doc) == 0 && !doc.winner.deleted)
		CHECK_INT(rev_put(&b, &doc.winner.rev), 0);
	db_snap_end(snap);
	return b.len > 0 ? arena_dup(ruletest_arena, b.data, b.len) : "";
}

/* ---- The validator ---- */

/*
 * It keeps what it is told, a line for each write: the new document, the old one; and obeys the member "say" of the new
 * one, and the security object's.
 */
static struct ruletest_told {
	char text[8192];
	unsigned hearings, writes;
	size_t nvalidators;
	char security[256];
	int fail;                      /* what it returns */
	unsigned changes;              /* so often before its verdict, */
	void (*change)(struct db *db); /* this happens */
	struct db *db;
} ruletest_told;

static inline int
ruletest_says(const struct jstr *body, const char *word)
{
	return memmem(body->s, body->len, word, strlen(word)) != NULL;
}

static inline void
ruletest_told_add(const struct db_verdict *v)
{
	struct buf b;

	buf_init_arena(&b, ruletest_arena, 1u << 20);
	CHECK_INT(db_judged_json(&b, &v->id, &v->new_doc), 0);
	CHECK_INT(buf_puts(&b, " <- "), 0);
	CHECK_INT(v->has_old ? db_judged_json(&b, &v->id, &v->old_doc) : buf_puts(&b, "null"), 0);
	CHECK_INT(buf_putc(&b, '\n'), 0);
	if (strlen(ruletest_told.text) + b.len < sizeof(ruletest_told.text))
		(void)strncat(ruletest_told.text, b.data, b.len);
}

static inline int
ruletest_validate(void *cookie, struct db_hearing *h)
{
	/* What a script is told is there without the snapshot; only the rules of a database leave it open. */
	CHECK(cookie == &ruletest_told);
	if (strcmp(h->by.database, "ruled") != 0)
		db_hearing_release(h);
	ruletest_told.hearings++;
	ruletest_told.nvalidators = h->nvalidators;
	(void)snprintf(
	    ruletest_told.security, sizeof(ruletest_told.security), "%.*s", (int)h->security.len, h->security.s);
	for (size_t i = 0; i < h->n; i++) {
		struct db_verdict *v = &h->verdicts[i];

		ruletest_told.writes++;
		CHECK_INT(v->err, 0);
		ruletest_told_add(v);
		if (ruletest_says(&v->new_doc.body, "\"no\"") || ruletest_says(&h->security, "\"no\""))
			v->err = err_why(&v->why, ERR_FORBIDDEN, "no, %s", h->by.who->name);
		else if (ruletest_says(&v->new_doc.body, "\"login\""))
			v->err = err_why(&v->why, ERR_UNAUTHORIZED, "log in");
		else if (v->has_old && ruletest_says(&v->old_doc.body, "\"locked\""))
			v->err = err_why(&v->why, ERR_FORBIDDEN, "locked");
	}
	if (ruletest_told.changes > 0 && ruletest_told.change != NULL) {
		ruletest_told.changes--;
		ruletest_told.change(ruletest_told.db);
	}
	return ruletest_told.fail;
}

static inline void
ruletest_told_reset(struct db *db)
{
	memset(&ruletest_told, 0, sizeof(ruletest_told));
	ruletest_told.db = db;
}

static inline struct dbs *
ruletest_new_dbs(struct store *store, int with_validate)
{
	struct dbs_config config = {.store = store, .ex = &ruletest_ex};
	struct dbs *s = NULL;

	if (with_validate) {
		config.validate = ruletest_validate;
		config.validate_cookie = &ruletest_told;
	}
	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

/* ruletest_begin: Databases in memory, and a validator for them; ruletest_end() takes them. */
static inline struct dbs *
ruletest_begin(void)
{
	struct store *store = NULL;

	CHECK_INT(arena_new(256u << 20, &ruletest_arena), 0);
	CHECK_INT(store_mem_new(&store), 0);
	return ruletest_new_dbs(store, 1);
}

/* ruletest_end: Returns what main() does. */
static inline int
ruletest_end(struct dbs *s)
{
	dbs_free(s);
	arena_free(ruletest_arena);
	return check_done();
}

static inline struct db *
ruletest_new_db(struct dbs *s, const char *name)
{
	CHECK_INT(dbs_create(s, name, NULL, &dbtest_admin, NULL), 0);
	return dbtest_open(s, name);
}

static inline struct db *
ruletest_new_judged(struct dbs *s, const char *name)
{
	struct db *db = ruletest_new_db(s, name);

	ruletest_told_reset(db);
	CHECK_INT(RULETEST_EDIT(db, "{\"_id\":\"_design/v\",\"validate_doc_update\":\"x\"}"), 0);
	CHECK_INT(ruletest_told.hearings, 0);
	return db;
}

static inline void
ruletest_end_db(struct db *db)
{
	dbtest_check(db);
	db_close(db);
}

#endif
