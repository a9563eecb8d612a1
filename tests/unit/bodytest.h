/* bodytest.h: what the tests of stored bodies share: a clock, stores, edits, compaction, and what a revision's body is. */
#ifndef TESTS_UNIT_BODYTEST_H_
#define TESTS_UNIT_BODYTEST_H_

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/dbi.h"
#include "dbtest.h"
#include "execpass.h"

#define BODYTEST_THREADS 3u

static struct arena *bodytest_arena;

/* An executor whose wall clock is the test's. */
static _Atomic uint64_t bodytest_wall_s = 1800000000;

static inline uint64_t
bodytest_clock_wall_us(struct executor *ex)
{
	(void)ex;
	return bodytest_wall_s * 1000000;
}

static struct executor bodytest_ex = {
    execpass_submit, execpass_later, execpass_cancel, execpass_now_ms, bodytest_clock_wall_us, execpass_random};

static inline struct dbs *
bodytest_new_dbs(struct store *store)
{
	struct dbs_config config = {.store = store, .ex = &bodytest_ex};
	struct dbs *s = NULL;

	CHECK_INT(dbs_new(&config, &s), 0);
	return s;
}

static inline struct db *
bodytest_new_db(struct dbs *s, const char *name)
{
	const struct db_options plain = {0};
	struct errtext why;

	CHECK_INT(dbs_create(s, name, &plain, &dbtest_admin, &why), 0);
	return dbtest_open(s, name);
}

static inline void
bodytest_compact_damaged(struct db *db)
{
	struct db_info info;

	CHECK_INT(db_compact(db), 0);
	do {
		usleep(200);
		CHECK_INT(db_info(db, &info), 0);
	} while (info.compact_running);
}

static inline void
bodytest_compact(struct db *db)
{
	bodytest_compact_damaged(db);
	dbtest_check(db);
}

static inline uint64_t
bodytest_superseded(struct db *db)
{
	uint64_t n;

	(void)pthread_mutex_lock(&db->file->lock);
	n = db->file->state.superseded_bytes;
	(void)pthread_mutex_unlock(&db->file->lock);
	return n;
}

/* What is asked of a revision: its body as everybody sees it, or as those who merge do. */
enum bodytest_view { BODYTEST_CLIENTS, BODYTEST_MERGERS };

/* bodytest_body_is: ${want} is the body of revision ${rev}; "" if there is none. */
static inline int
bodytest_body_is(struct db *db, const char *id, const struct revbuf *rev, enum bodytest_view view, const char *want)
{
	struct rev wanted = rev_of(rev);
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev content;
	struct revtree *t;
	struct revpos at;
	int ok = 0, err;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (CHECK_INT(db_get(snap, id, strlen(id), bodytest_arena, &doc), 0) &&
	    CHECK_INT(db_doc_tree(&doc, 1, &t), 0) && CHECK(revtree_find(t, &wanted, &at))) {
		err = view == BODYTEST_CLIENTS ? db_doc_rev(&doc, revtree_at(t, at), bodytest_arena, &content)
					       : db_doc_base(&doc, revtree_at(t, at), bodytest_arena, &content);
		if (err == ERR_MISSING)
			ok = want[0] == '\0';
		else
			ok = err == 0 && content.body.len == strlen(want) &&
			     memcmp(content.body.s, want, content.body.len) == 0;
	}
	db_snap_end(snap);
	return ok;
}

static inline int
bodytest_write_json(struct db *db, int new_edits, struct revbuf *out, const char *format, ...)
{
	char json[4096];
	struct db_write w;
	va_list ap;
	int err;

	va_start(ap, format);
	(void)vsnprintf(json, sizeof(json), format, ap);
	va_end(ap);
	err = dbtest_write(db, bodytest_arena, json, new_edits, &w);
	if (out != NULL)
		*out = w.rev;
	return err;
}

/* bodytest_edits: Revisions 1 to ${n} of ${id}, with bodies {"n":1} and so on. */
static inline void
bodytest_edits(struct db *db, const char *id, unsigned n, struct revbuf *revs)
{
	for (unsigned i = 1; i <= n; i++)
		if (i == 1)
			CHECK_INT(bodytest_write_json(db, 1, &revs[1], "{\"_id\":\"%s\",\"n\":1}", id), 0);
		else
			CHECK_INT(bodytest_write_json(db, 1, &revs[i], "{\"_id\":\"%s\",\"_rev\":\"%s\",\"n\":%u}", id,
				      dbtest_rev_text(&revs[i - 1]), i),
			    0);
}

static inline void
bodytest_set_kept(struct db *db, uint64_t revs, uint64_t seconds)
{
	struct db_write w = {.kind = DB_WRITE_HISTORY_KEPT, .number = revs, .seconds = seconds};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* ---- Running ---- */

static char bodytest_dir[] = "/tmp/divan-test-body-XXXXXX";

static inline struct store *
bodytest_open_dir(void)
{
	struct store *store = NULL;

	CHECK_INT(store_lmdb_new(bodytest_dir, &store), 0);
	return store;
}

/* bodytest_begin: Threads, the arena, a folder. */
static inline void
bodytest_begin(void)
{
	CHECK(mkdtemp(bodytest_dir) != NULL);
	CHECK_INT(exec_threads_new(BODYTEST_THREADS, &dbtest_threads), 0);
	CHECK_INT(arena_new(1u << 30, &bodytest_arena), 0);
}

static inline void
bodytest_end(void)
{
	char command[64];

	arena_free(bodytest_arena);
	exec_threads_free(dbtest_threads);
	(void)snprintf(command, sizeof(command), "rm -rf %s", bodytest_dir);
	CHECK_INT(system(command), 0);
}

/* bodytest_store: In memory, or in the folder. */
static inline struct store *
bodytest_store(int lmdb)
{
	struct store *store = NULL;

	if (lmdb)
		return bodytest_open_dir();
	CHECK_INT(store_mem_new(&store), 0);
	return store;
}

#endif
