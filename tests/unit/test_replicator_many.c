/*
 * test_replicator_many.c: ten thousand replications that documents describe: all get their turn, those that fail come again later,
 * those that follow a database wait for it.
 */
#include "reptest.h"

#include <time.h>

#define MANY 10000u
#define AT_ONCE 500u

/* ${n} documents from number ${from} on; format takes the number twice. */
static void
put_some(struct db *db, const char *format, unsigned from, unsigned n)
{
	struct db_write *w = calloc(n, sizeof(*w));
	struct doc_in *in = calloc(n, sizeof(*in));
	struct db_request req = {.writes = w, .nwrites = n};
	struct errtext why;
	struct jread j;
	struct arena *a;
	char json[512];
	unsigned i;

	CHECK_INT(arena_new(64u << 20, &a), 0);
	for (i = 0; i < n; i++) {
		int len = snprintf(json, sizeof(json), format, from + i, from + i);

		jread_init(&j, arena_dup(a, json, (size_t)len), (size_t)len);
		CHECK_INT(doc_parse(&j, a, &in[i], &why), 0);
		w[i].kind = DB_WRITE_EDIT;
		w[i].id = in[i].id;
		w[i].body = in[i].body;
		w[i].body_etf = in[i].body_etf;
	}
	CHECK_INT(dbtest_submit(db, &req), 0);
	for (i = 0; i < n; i++)
		if (w[i].err != 0)
			CHECK_INT(w[i].err, 0);
	arena_free(a);
	free(in);
	free(w);
}

static void
put_many(const char *name, const char *format, unsigned n)
{
	struct db *db = dbtest_open(reptest_dbs, name);
	unsigned i;

	for (i = 0; i < n; i += AT_ONCE)
		put_some(db, format, i, AT_ONCE);
	db_close(db);
}

static double
seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static long
rss_kib(void)
{
	long pages = 0, all;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f != NULL) {
		if (fscanf(f, "%ld %ld", &all, &pages) != 2)
			pages = 0;
		fclose(f);
	}
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
tell(const char *what)
{
	static double wall, cpu;
	double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);

	if (wall > 0 && getenv("VERBOSE") != NULL)
		fprintf(stderr, "%-24s %6.2f s, CPU %6.2f s, %ld KiB\n", what, w - wall, c - cpu, rss_kib());
	wall = w;
	cpu = c;
}

static struct replicator_count
counted(void)
{
	struct replicator_count c;

	replicator_count(reptest_rep, &c);
	return c;
}

static struct replicator_limits
limits(unsigned max_jobs)
{
	return (struct replicator_limits){.max_jobs = max_jobs, .interval_ms = 10000, .backoff_ms = 3600000};
}

/* None of them can run: each fails, and waits. */
static void
test_crashing(void)
{
	dbtest_create(reptest_dbs, "_replicator");
	reptest_begin(limits(10));
	tell("");
	put_many("_replicator",
	    "{\"_id\":\"%u\",\"source\":\"none%u\",\"target\":\"b\",\"user_ctx\":{\"roles\":[\"_admin\"]}}", MANY);
	tell("written");
	while (counted().crashes < MANY)
		usleep(1000);
	tell("all crashed");
	CHECK_INT(counted().crashing, MANY);
	CHECK_INT(counted().crashes, MANY);
	CHECK_INT(counted().running, 0);
	reptest_end();
	tell("ended");
	CHECK_INT(dbs_drop(reptest_dbs, "_replicator", &dbtest_admin), 0);
}

/* All follow one database. */
static void
test_waiting(void)
{
	unsigned i;
	double t;

	dbtest_create(reptest_dbs, "_replicator");
	dbtest_create(reptest_dbs, "a");
	dbtest_create(reptest_dbs, "b");
	dbtest_create(reptest_dbs, "c");
	reptest_begin(limits(MANY));
	tell("");
	put_many("_replicator",
	    "{\"_id\":\"%u\",\"source\":\"a\",\"target\":\"b\",\"continuous\":true,\"doc_ids\":[\"x%u\"],"
	    "\"user_ctx\":{\"roles\":[\"_admin\"]}}",
	    MANY);
	while (counted().running < MANY)
		usleep(1000);
	tell("all run");
	/* What others write is nothing to them. */
	t = seconds(CLOCK_MONOTONIC);
	for (i = 0; i < 100; i++)
		replicator_moved(reptest_rep, "c", i, 0);
	if (getenv("VERBOSE") != NULL)
		fprintf(stderr, "a commit elsewhere: %.1f us\n", (seconds(CLOCK_MONOTONIC) - t) * 1e4);
	put_many("a", "{\"_id\":\"x%u\",\"n\":%u}", AT_ONCE);
	for (;;) {
		struct db *db = dbtest_open(reptest_dbs, "b");
		struct db_info info;

		CHECK_INT(db_info(db, &info), 0);
		db_close(db);
		if (info.doc_count == AT_ONCE)
			break;
		usleep(1000);
	}
	tell("copied");
	CHECK_INT(counted().running, MANY);
	reptest_end();
	tell("ended");
}

int
main(void)
{
	reptest_open();
	test_crashing();
	test_waiting();
	reptest_close();
	return check_done();
}
