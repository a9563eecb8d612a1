/*
 * test_replicator_documents.c: a replication that a document describes, behind an allocation or a commit that fails once: what fails passes, so it
 * runs all the same, and the document is told how it ended.
 */
#include "reptest.h"

#include "faults.h"

enum { ALLOC = 1 };

static pthread_t main_thread;

/* The test's own allocations succeed. */
static inline int
refused(size_t size)
{
	(void)size;
	return fault.what != 0 && !pthread_equal(pthread_self(), main_thread) && fault_due(ALLOC);
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

int
main(void)
{
	static const char *const runs = "\"source\":\"a\",\"target\":\"b\"", *const wrong = "\"source\":5";
	struct db *open[3];
	size_t i;

	main_thread = pthread_self();
	reptest_open();
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
	without_commits("runs", runs, "completed", ERR_NOSPACE, 0);
	without_commits("runs", runs, "completed", ERR_IN_DOUBT, 0);
	without_commits("runs", runs, "completed", ERR_IN_DOUBT, 1);
	without_commits("wrong", wrong, "failed", ERR_NOSPACE, 0);
	reptest_end();
	for (i = 0; i < 3; i++)
		db_close(open[i]);
	reptest_close();
	return check_done();
}
