/*
 * test_db_salvage_faults.c: a salvage whose n-th allocation, read or commit fails, once or for good, for n = 1, 2, 3 ...: it ends with that
 * error, or as if nothing had failed.  What cannot be had for a moment is not told as lost.
 *
 * FAULTS_STEP=1 makes each n its turn; else it is each 9th.
 */
#include "faults.h"
#include "salvagetest.h"

/* ---- Faults: of this thread, which salvages, and of the commits, whoever makes them ---- */

enum { ALLOCATIONS = 1, READS, COMMITS };
static int commit_err;

static int
refused(int what)
{
	return (what == COMMITS ? salvaging : salvages) && fault_due(what);
}

#ifdef MALLOCS_OWN
static int
refused_bytes(size_t size)
{
	(void)size;
	return refused(ALLOCATIONS);
}

FAULTS_MALLOCS(refused_bytes)
#endif

static int
f_make(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = real->make(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &outliving;
	return err;
}

static int
f_open(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = refused(READS) ? ERR_IO : real->open(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &outliving;
	return err;
}

static int
f_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	int err = refused(READS) ? ERR_IO : real->snap_begin(db, snapp);

	if (!err)
		(*snapp)->impl = &outliving;
	return err;
}

static int
f_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	int err = refused(READS) ? ERR_IO : real->cursor_open(snap, tree, cp);

	if (!err)
		(*cp)->impl = &outliving;
	return err;
}

static int
f_get(struct store_snap *snap, unsigned tree, struct store_val key, struct store_val *valp)
{
	return refused(READS) ? ERR_IO : real->get(snap, tree, key, valp);
}

static int
f_count(struct store_snap *snap, unsigned tree, uint64_t *np)
{
	return refused(READS) ? ERR_IO : real->count(snap, tree, np);
}

static int
f_move(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	return refused(READS) ? ERR_IO : real->move(c, how, key, keyp, valp);
}

static int
f_commit(struct store_db *db, const struct store_item *items, size_t n)
{
	return refused(COMMITS) ? commit_err : real->commit(db, items, n);
}

static void
make_calls_fail(void)
{
	outliving.make = f_make;
	outliving.open = f_open;
	outliving.snap_begin = f_snap_begin;
	outliving.cursor_open = f_cursor_open;
	outliving.get = f_get;
	outliving.count = f_count;
	outliving.move = f_move;
	outliving.commit = f_commit;
}

/* ---- A salvage with each of them ---- */

static void
test_faults(int what, int for_good, const struct result *right)
{
	struct result r;
	unsigned by = what == COMMITS ? 1 : step; /* there are five commits */
	unsigned n = 1 + (unsigned)(what * 2 + for_good) % by;

	for (;; n += by) {
		commit_err = !for_good ? ERR_IO : n % 2 ? ERR_NOSPACE : ERR_READONLY;
		fault_begin(what, n, for_good);
		salvage(&r);
		fault.what = 0;
		if (r.err == 0) {
			CHECK_MEM(r.told.data, r.told.len, right->told.data, right->told.len);
			CHECK_MEM(r.text.data, r.text.len, right->text.data, right->text.len);
		} else if (!CHECK(r.err == (what == ALLOCATIONS ? ERR_NOMEM : what == COMMITS ? commit_err : ERR_IO))) {
			fprintf(stderr, "fault %d, the %u-th: %s\n", what, n, err_reason(r.err));
		}
		release(&r);
		if (fault.made == 0)
			break;
	}
	if (getenv("SHOW") != NULL)
		fprintf(stderr, "fault %d: %u\n", what, n);
}

static void
test_all_faults(void)
{
	struct result right;

	memcpy(copy, file, file_len);
	for (size_t i = 0; i < newer.n; i++)
		if (i % 5 == 0 && newer.v[i].tree != TREE_META)
			spoil(&newer.v[i], (unsigned)i * 2654435761u >> 8, 0);
	write_copy(file_len);
	salvage(&right);
	CHECK_INT(right.err, 0);
	CHECK(right.out.lost > 5);
	for (int for_good = 0; for_good < 2; for_good++) {
#ifdef MALLOCS_OWN
		test_faults(ALLOCATIONS, for_good, &right);
#endif
		test_faults(READS, for_good, &right);
		test_faults(COMMITS, for_good, &right);
	}
	release(&right);
}

int
main(void)
{
	if (!salvagetest_begin())
		return 1;
	make_calls_fail();
	test_all_faults();
	salvagetest_end();
	return check_done();
}
