/* dbtest.h: what the tests of db share: an executor of threads, stores, and requests that are waited for. */
#ifndef TESTS_UNIT_DBTEST_H_
#define TESTS_UNIT_DBTEST_H_

#include <pthread.h>
#include <stdlib.h>
#include "base/exec.h"
#include "check.h"
#include "db/db.h"

static struct exec_threads *dbtest_threads;
static const struct principal dbtest_admin = {.name = "admin", .server_admin = 1};

struct dbtest_wait {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int done;
	int err;
};

static inline void
dbtest_wait_init(struct dbtest_wait *w)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->done = 0;
	w->err = 0;
}

static inline void
dbtest_wake(struct dbtest_wait *w)
{
	pthread_mutex_lock(&w->lock);
	w->done = 1;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static inline int
dbtest_woken(struct dbtest_wait *w)
{
	int done;

	pthread_mutex_lock(&w->lock);
	done = w->done;
	pthread_mutex_unlock(&w->lock);
	return done;
}

static inline void
dbtest_wait_for(struct dbtest_wait *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->done)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->cond);
}

static inline void
dbtest_request_done(struct db_request *req)
{
	dbtest_wake(req->cookie);
}

/* dbtest_submit: Submit and wait.  Returns db_submit()'s error. */
static inline int
dbtest_submit(struct db *db, struct db_request *req)
{
	struct dbtest_wait w;
	int err;

	dbtest_wait_init(&w);
	req->done = dbtest_request_done;
	req->cookie = &w;
	if ((err = db_submit(db, req)) == 0)
		dbtest_wait_for(&w);
	return err;
}

static inline void
dbtest_done(void *cookie, int err)
{
	((struct dbtest_wait *)cookie)->err = err;
	dbtest_wake(cookie);
}

/* dbtest_flush: Flush what there is of an upload, and wait.  Returns its error. */
static inline int
dbtest_flush(struct db_blob *b)
{
	struct dbtest_wait w;

	dbtest_wait_init(&w);
	db_blob_flush(b, dbtest_done, &w);
	dbtest_wait_for(&w);
	return w.err;
}

static inline struct dbs *
dbtest_dbs(struct store *store)
{
	struct dbs_config config = {.store = store, .ex = exec_threads_executor(dbtest_threads)};
	struct dbs *s = NULL;

	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

static inline struct db *
dbtest_open(struct dbs *s, const char *name)
{
	struct db *db = NULL;

	CHECK_INT(db_open(s, name, &dbtest_admin, &db), 0);
	return db;
}

static inline void
dbtest_check(struct db *db)
{
	struct errtext why = {""};
	int err = db_check(db, &why);

	if (!CHECK_INT(err, 0))
		fprintf(stderr, "db_check: %s: %s\n", err_reason(err), why.text);
}

/* dbtest_write: One write of a document given as JSON text; the outcome is in w. */
static inline int
dbtest_write(struct db *db, struct arena *a, const char *json, int new_edits, struct db_write *w)
{
	struct db_request req = {.writes = w, .nwrites = 1};
	struct doc_in in;
	struct jread j;
	struct errtext why;
	struct rev *path;

	memset(w, 0, sizeof(*w));
	jread_init(&j, json, strlen(json));
	if (!CHECK_INT(doc_parse(&j, a, &in, &why), 0))
		return ERR_BAD_JSON;
	w->id = in.id;
	w->deleted = in.deleted;
	w->body = in.body;
	w->body_etf = in.body_etf;
	if (new_edits) {
		w->kind = DB_WRITE_EDIT;
		w->has_parent = in.has_rev;
		w->parent = in.rev;
	} else {
		w->kind = DB_WRITE_REPLICATE;
		path = arena_alloc(a, sizeof(*path));
		*path = rev_of(&in.rev);
		w->path = in.nrevisions > 0 ? in.revisions : path;
		w->npath = in.nrevisions > 0 ? in.nrevisions : 1;
	}
	if (dbtest_submit(db, &req) != 0)
		return ERR_INTERNAL;
	return w->err;
}

/* dbtest_rev_text: Stands until three more are asked for. */
static inline const char *
dbtest_rev_text(const struct revbuf *r)
{
	static char text[4][REV_TEXT_MAX + 1];
	static unsigned next;
	struct rev rev = rev_of(r);
	char *out = text[next++ % 4];
	struct buf b;

	buf_init(&b, REV_TEXT_MAX);
	CHECK_INT(rev_put(&b, &rev), 0);
	memcpy(out, b.data, b.len);
	out[b.len] = '\0';
	buf_release(&b);
	return out;
}

static inline void
dbtest_create(struct dbs *s, const char *name)
{
	CHECK_INT(dbs_create(s, name, NULL, &dbtest_admin, NULL), 0);
}

/* dbtest_put: The same by the database's name, of a write that is to be made. */
static inline void
dbtest_put(struct dbs *s, const char *name, const char *json, int new_edits)
{
	struct db *db = dbtest_open(s, name);
	struct db_write w;
	struct arena *a;

	CHECK_INT(arena_new(1u << 20, &a), 0);
	CHECK_INT(dbtest_write(db, a, json, new_edits, &w), 0);
	arena_free(a);
	db_close(db);
}

#endif
