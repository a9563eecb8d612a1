/* What _db_updates lists: places, the bound on databases that are gone, sequences of other runs. */
#include "httpapi/updates.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "check.h"
#include "store/store_lmdb.h"
#include "dbtest.h"

static struct updates *u;

/* Rows behind ${since}, whose text is then in ${b}. */
static uint64_t
count(uint64_t since, int descending, uint64_t limit, struct buf *b)
{
	struct updates_scan scan = {.since = since, .until = UINT64_MAX, .down = UINT64_MAX, .limit = limit};
	int err;

	scan.form = UPDATES_CONTINUOUS;
	scan.descending = descending != 0;
	buf_clear(b);
	while ((err = updates_fill(u, &scan, b)) == 0)
		;
	CHECK_INT(err, ERR_END);
	return scan.emitted;
}

static int
lists(const struct buf *b, const char *row)
{
	size_t i, len = strlen(row);

	for (i = 0; i + len <= b->len; i++)
		if (memcmp(b->data + i, row, len) == 0)
			return 1;
	return 0;
}

static void
test_places(struct buf *b)
{
	uint64_t since = updates_seq(u);
	unsigned i;

	updates_moved(u, "a", 0, 0);
	updates_moved(u, "b", 0, 0);
	for (i = 1; i <= 10000; i++)
		updates_moved(u, i % 3 ? "a" : "b", i, 0);
	CHECK_INT(updates_seq(u), since + 10002);
	CHECK_INT(count(since, 0, UINT64_MAX, b), 4);
	CHECK_INT(count(since + 2, 0, UINT64_MAX, b), 2);
	CHECK_INT(count(since + 10001, 0, UINT64_MAX, b), 1);
	CHECK(lists(b, "{\"db_name\":\"a\",\"type\":\"updated\",\"seq\":\"10002-"));
	CHECK_INT(count(since + 10002, 0, UINT64_MAX, b), 0);
	CHECK_INT(count(0, 1, 1, b), 1);
	CHECK(lists(b, "\"db_name\":\"a\",\"type\":\"updated\""));
	CHECK_INT(count(0, 1, UINT64_MAX, b), count(0, 0, UINT64_MAX, b));
}

/* Those that are gone are forgotten, the oldest first; one that was made again is not gone. */
static void
test_gone(struct buf *b)
{
	unsigned i, n = LIMIT_UPDATES_GONE + 100;
	uint64_t before = count(0, 0, UINT64_MAX, b);
	char name[32];

	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "gone%u", i);
		updates_moved(u, name, 0, 0);
		updates_moved(u, name, 1, 0);
		updates_moved(u, name, 0, 1);
		if (i == 0)
			updates_moved(u, name, 0, 0);
	}
	CHECK_INT(count(0, 0, UINT64_MAX, b), before + 3 + 3 * (uint64_t)LIMIT_UPDATES_GONE);
	CHECK(lists(b, "\"gone0\",\"type\":\"created\""));
	CHECK(lists(b, "\"gone0\",\"type\":\"deleted\""));
	CHECK(!lists(b, "\"gone1\""));
	CHECK(!lists(b, "\"gone99\""));
	CHECK(lists(b, "\"gone100\",\"type\":\"deleted\""));
	CHECK_INT(count(0, 1, UINT64_MAX, b), before + 3 + 3 * (uint64_t)LIMIT_UPDATES_GONE);
	updates_moved(u, "gone1", 0, 0);
	CHECK_INT(count(updates_seq(u) - 1, 0, UINT64_MAX, b), 1);
}

static void
test_seqs(struct buf *b)
{
	static const char *const wrong[] = {"", "x", "-", "1-", "1x", "-1"};
	uint64_t seq = updates_seq(u), got = 0;
	size_t i;

	buf_clear(b);
	updates_seq_put(u, b, seq);
	CHECK_INT(updates_seq_parse(u, b->data, b->len, &got), 0);
	CHECK_INT(got, seq);
	b->data[b->len - 1] ^= 1;
	CHECK_INT(updates_seq_parse(u, b->data, b->len, &got), 0);
	CHECK_INT(got, 0);
	CHECK_INT(updates_seq_parse(u, "7", 1, &got), 0);
	CHECK_INT(got, 7);
	CHECK_INT(updates_seq_parse(u, "99999999999999999999999", 23, &got), 0);
	CHECK_INT(got, 0);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK_INT(updates_seq_parse(u, wrong[i], strlen(wrong[i]), &got), ERR_BAD_REQUEST);
}

int
main(void)
{
	char dir[] = "/tmp/divan-test-updates-XXXXXX", command[64];
	struct store *store = NULL;
	struct dbs *s;
	struct buf b;

	CHECK(mkdtemp(dir) != NULL);
	alarm(120);
	buf_init(&b, 16u << 20);
	CHECK_INT(exec_threads_new(2, &dbtest_threads), 0);
	CHECK_INT(store_lmdb_new(dir, &store), 0);
	s = dbtest_dbs(store);
	CHECK_INT(updates_new(s, &u), 0);
	CHECK_INT(count(0, 0, UINT64_MAX, &b), 0);
	test_places(&b);
	test_gone(&b);
	test_seqs(&b);
	updates_free(u);
	/* A run begins with what is there. */
	CHECK_INT(dbs_create(s, "here", NULL, &dbtest_admin, NULL), 0);
	CHECK_INT(updates_new(s, &u), 0);
	CHECK_INT(count(0, 0, UINT64_MAX, &b), 2);
	CHECK(lists(&b, "{\"db_name\":\"here\",\"type\":\"created\",\"seq\":\"1-"));
	CHECK(lists(&b, "{\"db_name\":\"here\",\"type\":\"updated\",\"seq\":\"2-"));
	updates_free(u);
	dbs_free(s);
	exec_threads_free(dbtest_threads);
	buf_release(&b);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	CHECK_INT(system(command), 0);
	return check_done();
}
