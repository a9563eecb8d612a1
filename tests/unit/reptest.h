/* reptest.h: a replicator over databases in memory, and what became of the documents that describe its replications. */
#ifndef TESTS_UNIT_REPTEST_H_
#define TESTS_UNIT_REPTEST_H_

#include "dbtest.h"

#include <unistd.h>

#include "replicator/replicator.h"

static struct store *reptest_store; /* in memory */
static struct dbs *reptest_dbs;
static struct replicator *_Atomic reptest_rep; /* NULL: nobody is told of commits */
static struct executor *reptest_ex;            /* the replicator's; NULL: the threads' */

static inline void
reptest_moved(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	struct replicator *r = reptest_rep;

	(void)cookie;
	(void)incarnation;
	if (r != NULL)
		replicator_moved(r, name, seq, dropped);
}

/* The winner's body and revision, "" if there is none. */
static inline void
reptest_get(const char *name, const char *id, char *out, size_t room)
{
	struct db *db = dbtest_open(reptest_dbs, name);
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev;
	struct arena *a;
	struct buf b;

	out[0] = '\0';
	CHECK_INT(arena_new(1u << 20, &a), 0);
	CHECK_INT(db_snap_begin(db, &snap), 0);
	if (db_get(snap, id, strlen(id), a, &doc) == 0 && db_doc_rev(&doc, &doc.winner, a, &rev) == 0) {
		buf_init_arena(&b, a, 64);
		rev_put(&b, &doc.winner.rev);
		snprintf(out, room, "%.*s %.*s", (int)b.len, b.data, (int)rev.body.len, rev.body.s);
	}
	db_snap_end(snap);
	arena_free(a);
	db_close(db);
}

/* reptest_purge: A document of _replicator that has no conflicts.  Returns its purge's sequence. */
static inline uint64_t
reptest_purge(struct db *db, const char *id)
{
	unsigned char purged[1];
	struct db_write w = {.kind = DB_WRITE_PURGE, .id = {id, strlen(id)}, .npath = 1, .purged = purged};
	struct db_request req = {.writes = &w, .nwrites = 1};
	char text[512];
	struct revbuf rev;
	struct rev one;

	reptest_get("_replicator", id, text, sizeof(text));
	CHECK_INT(rev_parse(text, strcspn(text, " "), &rev), 0);
	one = rev_of(&rev);
	w.path = &one;
	CHECK_INT(dbtest_submit(db, &req), 0);
	CHECK_INT(w.err, 0);
	CHECK_INT(purged[0], 1);
	return w.number;
}

static inline void
reptest_wait_for_doc(const char *name, const char *id, const char *what)
{
	char text[8192];
	unsigned i;

	for (i = 0; i < 20000; i++) {
		reptest_get(name, id, text, sizeof(text));
		if (strstr(text, what) != NULL)
			return;
		usleep(1000);
	}
	CHECK_STR(text, what);
}

static inline void
reptest_wait_for_state(const char *doc, const char *state)
{
	char want[64];
	struct buf b;
	unsigned i;

	snprintf(want, sizeof(want), "\"state\":\"%s\"", state);
	buf_init(&b, 1u << 20);
	for (i = 0; i < 20000; i++) {
		struct jstr database = {"_replicator", 11}, id = {doc, strlen(doc)};

		buf_clear(&b);
		if (replicator_put_doc(reptest_rep, database, id, &b) == 0 &&
		    memmem(b.data, b.len, want, strlen(want)) != NULL)
			break;
		usleep(1000);
	}
	CHECK(i < 20000);
	if (i == 20000)
		fprintf(stderr, "%s: %.*s\n", doc, (int)b.len, b.data);
	buf_release(&b);
}

static inline void
reptest_open(void)
{
	struct dbs_config c = {.moved = reptest_moved};

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(store_mem_new(&reptest_store), 0);
	c.store = reptest_store;
	c.ex = exec_threads_executor(dbtest_threads);
	CHECK_INT(dbs_new(&c, &reptest_dbs), 0);
}

static inline void
reptest_close(void)
{
	dbs_free(reptest_dbs);
	exec_threads_free(dbtest_threads);
}

/* The replicator begins. */
static inline void
reptest_begin(struct replicator_limits limits)
{
	struct replicator_config c = {.node = "divan@test",
	    .dbs = reptest_dbs,
	    .ex = reptest_ex != NULL ? reptest_ex : exec_threads_executor(dbtest_threads),
	    .defaults = {.server = "0123",
		.checkpoint_ms = 60000,
		.workers = 2,
		.batch = 100,
		.connections = 4,
		.retries = 2,
		.timeout_ms = 5000,
		.checkpoints = 1,
		.bulk_get = 1},
	    .limits = limits};
	struct replicator *r = NULL;

	CHECK_INT(replicator_new(&c, &r), 0);
	reptest_rep = r;
	CHECK_INT(replicator_start(r), 0);
}

static inline void
reptest_end(void)
{
	struct replicator *r = reptest_rep;

	replicator_stop(r);
	reptest_rep = NULL;
	replicator_free(r);
}

#endif
