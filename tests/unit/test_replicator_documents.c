/*
 * test_replicator_documents.c: a replication that a document describes, behind an allocation or a commit that fails once: what fails passes, so it
 * runs all the same, and the document is told how it ended.  Behind a damaged row of the changes, and a damaged note of a purge, it runs and ends, too.
 */
#include "reptest.h"

#include <stdatomic.h>

#include "db/trees.h"
#include "faults.h"
#include "store/store_impl.h"

enum { ALLOC = 1 };

static pthread_t main_thread;

static _Atomic int own_too;

/* The test's own allocations succeed. */
static inline int
refused(size_t size)
{
	(void)size;
	return fault.what != 0 && (own_too || !pthread_equal(pthread_self(), main_thread)) && fault_due(ALLOC);
}

FAULTS_MALLOCS(refused)

/* A document that the replicator has not been told of. */
static void
describe(const char *id, const char *how)
{
	struct replicator *r = reptest_rep;
	char json[256];

	(void)snprintf(json, sizeof(json), "{\"_id\":\"%s\",%s,\"user_ctx\":{\"roles\":[\"_admin\"]}}", id, how);
	reptest_rep = NULL;
	dbtest_put(reptest_dbs, "_replicator", json, 1);
	reptest_rep = r;
}

static void
is_told(const char *id, const char *state)
{
	char text[8192], want[64];

	replicator_moved(reptest_rep, "_replicator", 0, 0);
	(void)snprintf(want, sizeof(want), "\"_replication_state\":\"%s\"", state);
	reptest_wait_for_doc("_replicator", id, want);
	reptest_get("_replicator", id, text, sizeof(text));
	CHECK(strncmp(text, "2-", 2) == 0);
}

/* Each allocation in turn, until none of that number comes up, three times: threads do not always make as many. */
static void
without_memory(const char *name, const char *how, const char *state)
{
	unsigned n, untouched = 0;
	char id[32];

	for (n = 1; untouched < 3; n++) {
		(void)snprintf(id, sizeof(id), "%s-%u", name, n);
		describe(id, how);
		fault_begin(ALLOC, n, 0);
		is_told(id, state);
		untouched = fault.made ? 0 : untouched + 1;
		fault.what = 0;
	}
}

/* The first commits of the run, of its checkpoints, and the one that tells the document. */
static void
without_commits(const char *name, const char *how, const char *state, int code, int applied)
{
	char id[64];
	unsigned n;

	for (n = 1; n <= 5; n++) {
		(void)snprintf(id, sizeof(id), "%s-%s-%d-%u", name, err_name(code), applied, n);
		describe(id, how);
		store_mem_fail(reptest_store, n, code, applied);
		is_told(id, state);
		store_mem_fail(reptest_store, 0, 0, 0);
	}
}

/* ---- Damage: the store in memory, whose rows of one tree and sequence may be damaged ---- */

static const struct store_impl *real;
static struct store_impl store, rows[TREE_COUNT];
static _Atomic uint64_t damaged[TREE_COUNT]; /* that sequence's; 0: none */
static _Atomic unsigned lookups;             /* scans of purges */

static int
move(enum db_tree tree, struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp,
    struct store_val *valp)
{
	int err = real->move(c, how, key, keyp, valp);

	if (err == 0 && keyp->len == 8 && damaged[tree] != 0 && bytes_load_u64be(keyp->p) == damaged[tree])
		valp->len = 1;
	return err;
}

static int
move_changes(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	return move(TREE_CHANGES, c, how, key, keyp, valp);
}

static int
move_purges(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	return move(TREE_PURGES, c, how, key, keyp, valp);
}

static int
open_rows(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	int err = real->cursor_open(snap, tree, cp);

	if (err == 0 && (tree == TREE_CHANGES || tree == TREE_PURGES))
		(*cp)->impl = &rows[tree];
	lookups += tree == TREE_PURGES;
	return err;
}

static int
begin_snap(struct store_db *db, struct store_snap **snapp)
{
	int err = real->snap_begin(db, snapp);

	if (err == 0)
		(*snapp)->impl = &store;
	return err;
}

static int
make_db(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = real->make(s, name, trees, ntrees, dbp);

	if (err == 0)
		(*dbp)->impl = &store;
	return err;
}

static void
begin_damage(void)
{
	real = reptest_store->impl;
	store = rows[TREE_CHANGES] = rows[TREE_PURGES] = *real;
	store.make = make_db;
	store.snap_begin = begin_snap;
	store.cursor_open = open_rows;
	rows[TREE_CHANGES].move = move_changes;
	rows[TREE_PURGES].move = move_purges;
	reptest_store->impl = &store;
}

static void
is_gone(const char *doc)
{
	struct jstr database = {"_replicator", 11}, id = {doc, strlen(doc)};
	unsigned i;
	int err = 0;

	for (i = 0; i < 5000 && err != ERR_MISSING; i++) {
		struct buf b;

		buf_init(&b, 1u << 20);
		err = replicator_put_doc(reptest_rep, database, id, &b);
		buf_release(&b);
		usleep(1000);
	}
	CHECK_INT(err, ERR_MISSING);
}

/* A member's name with an escape, long enough for memory of its own. */
static const char *
long_name(void)
{
	static const char begin[] = "\"\\u0061";
	static char text[100000];

	memset(text, 'a', sizeof(text) - 2);
	memcpy(text, begin, sizeof(begin) - 1);
	text[sizeof(text) - 2] = '"';
	return text;
}

static void
answered(void *cookie, int err, const struct errtext *why, struct jstr answer)
{
	(void)cookie, (void)err, (void)why, (void)answer;
}

/* What there is no memory to read is no bad JSON. */
static void
request_without_memory(void)
{
	static char body[1u << 17];
	unsigned n, untouched = 0;
	struct errtext why;
	struct buf b;
	int err, status;

	(void)snprintf(body, sizeof(body), "{%s:1,\"cancel\":true,\"replication_id\":\"none\"}", long_name());
	for (n = 1; untouched < 3; n++) {
		buf_init(&b, 4096);
		own_too = 1;
		fault_begin(ALLOC, n, 0);
		err = replicator_run(
		    reptest_rep, (struct jstr){body, strlen(body)}, &dbtest_admin, answered, NULL, &b, &status, &why);
		untouched = fault.made ? 0 : untouched + 1;
		fault.what = 0;
		own_too = 0;
		CHECK(err == ERR_NOMEM || err == ERR_MISSING);
		buf_release(&b);
	}
	CHECK_INT(err, ERR_MISSING);
}

/* What says which document was purged cannot be read: its replication ends all the same, and the replicator comes to rest. */
static void
damaged_purge(struct db *db)
{
	struct replicator *r = reptest_rep;
	unsigned before;

	describe("purged", "\"source\":\"a\",\"target\":\"b\",\"continuous\":true");
	replicator_moved(r, "_replicator", 0, 0);
	reptest_wait_for_state("purged", "running");
	reptest_rep = NULL;
	damaged[TREE_PURGES] = reptest_purge(db, "purged");
	reptest_rep = r;
	replicator_moved(r, "_replicator", 0, 0);
	is_gone("purged");
	usleep(50000);
	before = lookups;
	usleep(100000);
	CHECK_INT(lookups, before);
	damaged[TREE_PURGES] = 0;
}

/* A document whose row in the changes cannot be read has no replication; those behind it do. */
static void
damaged_change(struct db *db)
{
	struct db_info info;

	describe("unread", "\"source\":\"a\",\"target\":\"b\"");
	CHECK_INT(db_info(db, &info), 0);
	damaged[TREE_CHANGES] = info.update_seq;
	describe("behind", "\"source\":\"a\",\"target\":\"b\"");
	is_told("behind", "completed");
	damaged[TREE_CHANGES] = 0;
}

int
main(void)
{
	static const char *const runs = "\"source\":\"a\",\"target\":\"b\"", *const wrong = "\"source\":5";
	struct db *open[3];
	size_t i;

	main_thread = pthread_self();
	reptest_open();
	begin_damage();
	dbtest_create(reptest_dbs, "_replicator");
	dbtest_create(reptest_dbs, "a");
	dbtest_create(reptest_dbs, "b");
	dbtest_put(reptest_dbs, "a", "{\"_id\":\"x\"}", 1);
	/* They stay open: who opens one together with another may get that one's error. */
	open[0] = dbtest_open(reptest_dbs, "_replicator");
	open[1] = dbtest_open(reptest_dbs, "a");
	open[2] = dbtest_open(reptest_dbs, "b");
	reptest_begin((struct replicator_limits){.backoff_ms = 4});
	without_memory("runs", runs, "completed");
	without_memory("wrong", wrong, "failed");
	request_without_memory();
	without_commits("runs", runs, "completed", ERR_NOSPACE, 0);
	without_commits("runs", runs, "completed", ERR_IN_DOUBT, 0);
	without_commits("runs", runs, "completed", ERR_IN_DOUBT, 1);
	without_commits("wrong", wrong, "failed", ERR_NOSPACE, 0);
	damaged_purge(open[0]);
	damaged_change(open[0]);
	reptest_end();
	for (i = 0; i < 3; i++)
		db_close(open[i]);
	reptest_close();
	return check_done();
}
