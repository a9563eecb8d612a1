/* What of the API is done on the request's own thread, and what elsewhere: by the work, not by the request's length. */
#include <unistd.h>

#include "dbtest.h"
#include "fake_accounts.h"
#include "fake_http.h"
#include "httpapi/api.h"

#define BRANCHES 40u

static struct api api;
static struct dbs *dbs;

/* ask: Returns how many jobs went to the executor; the answer must have ${part}. */
static unsigned
ask(const char *method, const char *target, const char *body, int status, const char *part)
{
	static const char *const headers[] = {
	    "authorization", "Basic YWRtaW46YWRt", "content-type", "application/json", NULL};
	unsigned before = fake_jobs_run;
	struct http_req q;

	fake_begin(&q, method, target, headers, body);
	api_handle(&q, &api);
	/* Writes are made by the database's own threads. */
	for (fake_drain(); q.status == 0 && q.refs > 0; fake_drain())
		usleep(100);
	fake_drain();
	(void)buf_putc(&q.out, '\0');
	if (!CHECK_INT(q.status, status) || !CHECK(strstr(q.out.data, part) != NULL))
		fprintf(stderr, "%s %s: %s", method, target, q.out.data);
	CHECK_INT(q.refs, 0);
	fake_end(&q);
	return fake_jobs_run - before;
}

static void
fill(void)
{
	char doc[128];

	dbtest_put(dbs, "db", "{\"_id\":\"small\",\"_rev\":\"1-aa\"}", 0);
	for (unsigned i = 0; i < BRANCHES; i++) {
		(void)snprintf(doc, sizeof(doc), "{\"_id\":\"large\",\"_rev\":\"1-%02x\"}", i);
		dbtest_put(dbs, "db", doc, 0);
	}
}

static void
test_reads(void)
{
	CHECK_INT(ask("GET", "/db/small?revs=true", NULL, 200, "\"ids\":[\"aa\"]"), 0);
	CHECK_INT(ask("GET", "/db/large?revs=true", NULL, 200, "\"ids\":[\"27\"]"), 1);
	CHECK_INT(ask("GET", "/db/large?conflicts=true", NULL, 200, "\"_conflicts\":[\"1-26\""), 1);
	CHECK_INT(ask("GET", "/db/small?open_revs=[\"1-aa\"]", NULL, 200, "\"1-aa\""), 0);
	CHECK_INT(ask("GET", "/db/large?latest=true&open_revs=[\"1-05\",\"1-07\"]", NULL, 200, "1-07"), 1);
}

static void
test_bulk_get(void)
{
	CHECK_INT(ask("POST", "/db/_bulk_get", "{\"docs\":[{\"id\":\"small\"},{\"id\":\"none\"}]}", 200,
		      "{\"results\":[{\"id\":\"small\",\"docs\":[{\"ok\":{\"_id\":\"small\",\"_rev\":\"1-aa\"}}]},{"
		      "\"id\":\"none\","),
	    0);
	/* What had been answered before is said once. */
	CHECK_INT(
	    ask("POST", "/db/_bulk_get", "{\"docs\":[{\"id\":\"small\"},{\"id\":\"large\",\"rev\":\"1-05\"}]}", 200,
		"{\"results\":[{\"id\":\"small\",\"docs\":[{\"ok\":{\"_id\":\"small\",\"_rev\":\"1-aa\"}}]},"
		"{\"id\":\"large\",\"docs\":[{\"ok\":{\"_id\":\"large\",\"_rev\":\"1-05\"}}]}]}\n"),
	    1);
	CHECK_INT(
	    ask("POST", "/db/_bulk_get", "{\"docs\":[{\"id\":\"large\"},{\"id\":1}]}", 400, "id must be a string"), 0);
}

static void
test_diff(void)
{
	CHECK_INT(ask("POST", "/db/_revs_diff", "{\"small\":[\"1-bb\",\"1-aa\"],\"none\":[\"1-a\"]}", 200,
		      "{\"small\":{\"missing\":[\"1-bb\"]},\"none\":{\"missing\":[\"1-a\"]}}"),
	    0);
	/* What had been compared before is said once. */
	CHECK_INT(
	    ask("POST", "/db/_revs_diff", "{\"small\":[\"1-bb\"],\"large\":[\"2-bb\",\"1-05\"],\"none\":[\"1-a\"]}",
		200,
		"{\"small\":{\"missing\":[\"1-bb\"]},\"large\":{\"missing\":[\"2-bb\"],\"possible_ancestors\":[\""),
	    1);
	CHECK_INT(
	    ask("POST", "/db/_revs_diff", "{\"large\":[\"1-05\"],\"none\":7}", 400, "Revisions must be a list"), 1);
}

/* Many are looked for in one way through the tree: known or not, and more than once. */
static void
test_many(void)
{
	struct buf b, expected;

	buf_init(&b, 1u << 16);
	buf_init(&expected, 1u << 16);
	buf_puts(&b, "{\"large\":[");
	buf_puts(&expected, "{\"missing_revs\":{\"large\":[");
	for (unsigned i = 2 * BRANCHES; i-- > 0;) {
		buf_printf(&b, "\"1-%02x\",\"1-%02x\"%s", i, i, i > 0 ? "," : "]}");
		if (i >= BRANCHES)
			buf_printf(&expected, "\"1-%02x\",\"1-%02x\"%s", i, i, i > BRANCHES ? "," : "]}}");
	}
	buf_putc(&b, '\0');
	buf_putc(&expected, '\0');
	CHECK_INT(ask("POST", "/db/_missing_revs", b.data, 200, expected.data), 1);
	buf_release(&b);
	buf_release(&expected);
}

static void
test_stubs(void)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	for (unsigned n = 1; n <= 16; n *= 16) {
		buf_clear(&b);
		buf_puts(&b, "{\"docs\":[");
		for (unsigned i = 0; i < n; i++)
			buf_puts(&b, i == 0 ? "{\"_id\":\"small\",\"_attachments\":{\"f\":{\"stub\":true}}}"
					    : ",{\"_id\":\"small\",\"_attachments\":{\"f\":{\"stub\":true}}}");
		buf_puts(&b, "]}");
		buf_putc(&b, '\0');
		CHECK_INT(ask("POST", "/db/_bulk_docs", b.data, 201, "\"id\":\"small\""), n > 1);
	}
	buf_release(&b);
}

int
main(void)
{
	struct store *store;

	CHECK_INT(exec_threads_new(3, &dbtest_threads), 0);
	CHECK_INT(store_mem_new(&store), 0);
	if (config_new(&api.config) || config_set(api.config, "admins", "admin", "adm"))
		return 1;
	dbs = dbtest_dbs(store);
	dbtest_create(dbs, "db");
	api.dbs = dbs;
	api.ex = api.slow = &fake_executor;
	if (api_new(&api))
		return 1;
	fill();
	(void)ask("GET", "/", NULL, 200, "Welcome");
	(void)ask("GET", "/", NULL, 200, "Welcome");
	test_reads();
	test_bulk_get();
	test_diff();
	test_many();
	test_stubs();
	api_free(&api);
	config_free(api.config);
	dbs_free(dbs);
	exec_threads_free(dbtest_threads);
	return check_done();
}
