/*
 * test_db_faults.c: the life of a database, again and again, each time with another allocation or call of the store that fails.
 *
 * The life is one series of steps with one queue of jobs, so that the n-th of these calls is the same one each time.  It fails
 * once, or it and all after it, for n = 1, 2, 3 ... until the life passes untouched.  A step may fail; but
 *
 * 1. every request ends;
 * 2. with the fault gone, the database opens, is without a fault and takes writes, without a restart and after one;
 * 3. what was acknowledged is there.
 *
 * Instead of failing, a call of the store may give a record with a byte that is another: then the same holds.  Or one that was
 * made wrong, with the right checksum: of this, which does not happen, only 1 is asked, and that it ends in no harm to the process.
 *
 * FAULTS_STEP=1 makes each n its turn; else it is each 7th, from a place that differs between the kinds of faults.
 */
#include <errno.h>
#include <stdlib.h>

#include "mallocs.h"
#include "ruletest.h"
#include "store/record.h"
#include "store/store_impl.h"

/* ---- Faults ---- */

enum { ALLOCATIONS = 1, STORE_CALLS, DAMAGE, FORGERY };
static struct {
	int what;     /* of the calls that may fail now; 0: none */
	int for_good; /* all that follow fail, too */
	unsigned left;
	unsigned made;
	unsigned salt; /* of what becomes of a record */
	unsigned nth;  /* the number that left began with */
} fault;

static int
refused(int what)
{
	if (fault.what != what)
		return 0;
	if (fault.left > 1) {
		fault.left--;
		return 0;
	}
	if (fault.left == 0 && !fault.for_good)
		return 0;
	fault.left = 0;
	fault.made++;
	return 1;
}

/* pause_faults: What a test does for itself does not fail; what is returned is put back into fault.what. */
static int
pause_faults(void)
{
	int what = fault.what;

	fault.what = 0;
	return what;
}

#ifdef MALLOCS_OWN
static void *
none(void)
{
	errno = ENOMEM;
	return NULL;
}

void *
malloc(size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return refused(ALLOCATIONS) ? none() : __libc_realloc(p, size);
}
#endif

/* A sanitizer or Valgrind may have allocations of its own. */
static int
allocations_fail(void)
{
	void *volatile p;
	int failed;

	fault.what = ALLOCATIONS;
	fault.left = 1;
	p = malloc(1);
	fault.what = 0;
	failed = p == NULL;
	free(p);
	return failed;
}

/* ---- A store whose calls fail: the one in memory with some of its functions replaced ---- */

static const struct store_impl *real;
static struct store_impl faulty;

static int
f_create(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->create(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static int
f_open(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->open(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static int
f_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->snap_begin(db, snapp);

	if (!err)
		(*snapp)->impl = &faulty;
	return err;
}

static unsigned moved_in; /* the tree of the newest cursor; another one's records are not altered right, but altered */

static int
f_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->cursor_open(snap, tree, cp);

	if (!err) {
		(*cp)->impl = &faulty;
		moved_in = tree;
	}
	return err;
}

/* Another byte, fewer or more of them: what and where comes from the number of the fault. */
static void
alter(unsigned tree, struct store_val key, struct store_val *v)
{
	size_t n = v->len - RECORD_SUM_LEN;
	unsigned how = (fault.nth + fault.salt * 1000) * 2654435761u >> 8;
	unsigned char *p;

	if (v->len <= RECORD_SUM_LEN || (!refused(DAMAGE) && !refused(FORGERY)))
		return;
	p = arena_alloc(ruletest_arena, v->len + 1);
	memcpy(p, v->p, v->len);
	if (fault.what == DAMAGE) {
		p[how % v->len] ^= (unsigned char)(1u << how % 8);
	} else {
		if (how % 4 == 0)
			n -= how / 4 % n;
		else if (how % 4 == 1)
			p[n++] = (unsigned char)(how >> 4);
		else
			p[how / 8 % n] = how % 4 == 2 ? 0xFF : (unsigned char)(how >> 4);
		record_sum(tree, key.p, key.len, p, n);
	}
	v->p = p;
	v->len = n + RECORD_SUM_LEN;
}

static int
f_get(struct store_snap *snap, unsigned tree, struct store_val key, struct store_val *valp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->get(snap, tree, key, valp);

	if (!err)
		alter(tree, key, valp);
	return err;
}

static int
f_count(struct store_snap *snap, unsigned tree, uint64_t *np)
{
	return refused(STORE_CALLS) ? ERR_IO : real->count(snap, tree, np);
}

static int
f_move(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	int err = refused(STORE_CALLS) ? ERR_IO : real->move(c, how, key, keyp, valp);

	if (!err)
		alter(moved_in, *keyp, valp);
	return err;
}

static int
f_commit(struct store_db *db, const struct store_item *items, size_t n)
{
	return refused(STORE_CALLS) ? ERR_IO : real->commit(db, items, n);
}

static int
f_rewrite_begin(struct store_db *db, const char *path, struct store_rewrite **rp)
{
	return refused(STORE_CALLS) ? ERR_IO : real->rewrite_begin(db, path, rp);
}

static int
f_rewrite_step(struct store_rewrite *r)
{
	return refused(STORE_CALLS) ? ERR_IO : real->rewrite_step(r);
}

static int
f_rewrite_finish(struct store_rewrite *r, const struct store_item *items, size_t n)
{
	return refused(STORE_CALLS) ? ERR_IO : real->rewrite_finish(r, items, n);
}

static int
f_usage(struct store_db *db, struct store_usage *up)
{
	return refused(STORE_CALLS) ? ERR_IO : real->usage(db, up);
}

static struct store *
new_store(void)
{
	struct store *s;

	CHECK_INT(store_mem_new(&s), 0);
	real = s->impl;
	faulty = *real;
	faulty.create = f_create;
	faulty.open = f_open;
	faulty.snap_begin = f_snap_begin;
	faulty.cursor_open = f_cursor_open;
	faulty.get = f_get;
	faulty.count = f_count;
	faulty.move = f_move;
	faulty.commit = f_commit;
	faulty.rewrite_begin = f_rewrite_begin;
	faulty.rewrite_step = f_rewrite_step;
	faulty.rewrite_finish = f_rewrite_finish;
	faulty.usage = f_usage;
	s->impl = &faulty;
	return s;
}

/* ---- A life ---- */

#define NAME "faults"
static const char *const ids[] = {"a", "b", "big", "c", "photo", "_local/l", "_design/d"};
#define NIDS (sizeof(ids) / sizeof(ids[0]))
static struct {
	int created;   /* that was acknowledged */
	int put[NIDS]; /* the same */
	struct revbuf revs[NIDS];
	unsigned steps; /* that failed */
} life;

static int
seen(int err)
{
	life.steps += err != 0;
	return err;
}

/* Like dbtest_submit(); the request ends whatever fails. */
static int
submit(struct db *db, struct db_write *w)
{
	struct db_request req = {.writes = w, .nwrites = 1};
	int err = ruletest_submit(db, &req);

	return seen(err ? err : w->err);
}

static int
put(struct db *db, size_t which, int new_edits, const char *json)
{
	int what = pause_faults(), err;
	struct db_write w = ruletest_write_of(json, new_edits);

	if (strncmp(ids[which], "_local/", 7) == 0)
		w.kind = DB_WRITE_LOCAL;
	if (new_edits && life.put[which] && w.kind == DB_WRITE_EDIT) {
		w.has_parent = 1;
		w.parent = life.revs[which];
	}
	fault.what = what;
	err = submit(db, &w);
	if (!err && !w.deleted) {
		life.put[which] = 1;
		life.revs[which] = w.rev;
	}
	return err;
}

static void
flushed(void *cookie, int err)
{
	*(int *)cookie = err;
}

/* An attachment of some chunks, compressed. */
static void
put_photo(struct db *db)
{
	static char bytes[200000];
	struct db_blob *b = NULL;
	struct db_write_att att = {.name = {"p.txt", 5}, .type = {"text/plain", 10}};
	struct db_write w = {.kind = DB_WRITE_EDIT,
	    .id = {"photo", 5},
	    .body = {"{}", 2},
	    .body_etf = {"h\001j", 3},
	    .atts = &att,
	    .natts = 1};
	int flush = -1;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)('a' + i * i % 23);
	if (seen(db_blob_new(db, DB_BLOB_COMPRESS, &b)) != 0)
		return;
	if (seen(db_blob_add(b, bytes, sizeof(bytes))) == 0) {
		db_blob_flush(b, flushed, &flush);
		ruletest_drain();
		CHECK(flush != -1);
		if (seen(flush) == 0 && seen(db_blob_end(b)) == 0) {
			att.blob = b;
			if (submit(db, &w) == 0) {
				life.put[4] = 1;
				life.revs[4] = w.rev;
			}
		}
	}
	db_blob_free(b);
}

static void
write_all(struct db *db)
{
	static char big[900];
	struct db_write w = {.kind = DB_WRITE_REVS_LIMIT, .number = 20};
	unsigned char gone;
	struct rev at;

	memset(big, 'x', sizeof(big) - 1);
	memcpy(big, "{\"_id\":\"big\",\"s\":\"", 18);
	memcpy(big + sizeof(big) - 3, "\"}", 3);
	(void)put(db, 0, 1, "{\"_id\":\"a\",\"n\":1}");
	(void)put(db, 0, 1, "{\"_id\":\"a\",\"n\":2}");
	(void)put(
	    db, 1, 0, "{\"_id\":\"b\",\"_rev\":\"3-c\",\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]}}");
	(void)put(db, 1, 0,
	    "{\"_id\":\"b\",\"_rev\":\"2-x\",\"_revisions\":{\"start\":2,\"ids\":[\"x\",\"a\"]},\"v\":[1,2.5,null]}");
	(void)put(db, 2, 1, big);
	(void)put(db, 3, 1, "{\"_id\":\"c\"}");
	(void)put(db, 5, 1, "{\"_id\":\"_local/l\",\"seq\":5}");
	(void)put(db, 6, 1, "{\"_id\":\"_design/d\",\"views\":{}}");
	put_photo(db);
	(void)submit(db, &w);
	w = (struct db_write){.kind = DB_WRITE_SECURITY, .body = {"{\"admins\":{\"names\":[\"x\"]}}", 26}};
	(void)submit(db, &w);
	if (life.put[3]) { /* a purge takes it away again */
		at = rev_of(&life.revs[3]);
		w = (struct db_write){.kind = DB_WRITE_PURGE, .id = {"c", 1}, .path = &at, .npath = 1, .purged = &gone};
		life.put[3] = 0;
		(void)submit(db, &w);
	}
}

static void
read_doc(struct db_snap *snap, struct arena *a, const char *id)
{
	struct revtree *t;
	struct db_doc doc;
	struct db_rev rev;
	struct rev *path;
	struct buf b;
	size_t n;

	if (seen(db_get(snap, id, strlen(id), a, &doc)) != 0 || seen(db_doc_tree(&doc, 1, &t)) != 0)
		return;
	(void)seen(db_doc_older_leaves(&doc, 3, &path, &n));
	if (seen(db_doc_rev(&doc, &doc.winner, a, &rev)) != 0 || rev.natts == 0)
		return;
	buf_init(&b, 4u << 20);
	(void)seen(db_att_read(snap, rev.atts, 0, &b));
	buf_release(&b);
}

static void
scan(struct db_snap *snap, struct arena *a)
{
	struct db_range range = {.skip = 1};
	struct db_scan *s;
	struct db_change change;
	struct db_purge purge;
	struct db_doc doc;
	struct jstr id, body;
	uint64_t n;
	int err;

	if (seen(db_docs_open(snap, &range, &s)) == 0) {
		while ((err = db_docs_next(s, a, &doc)) == 0)
			;
		(void)seen(err == ERR_END ? 0 : err);
		db_scan_close(s);
	}
	range = (struct db_range){.descending = 1};
	if (seen(db_locals_open(snap, &range, &s)) == 0) {
		while ((err = db_locals_next(s, a, &id, &n, &body)) == 0)
			;
		(void)seen(err == ERR_END ? 0 : err);
		db_scan_close(s);
	}
	for (int down = 0; down < 2; down++) {
		if (seen(db_changes_open(snap, 0, down, &s)) != 0)
			continue;
		while ((err = db_changes_next(s, a, &change)) == 0)
			;
		(void)seen(err == ERR_END ? 0 : err);
		db_scan_close(s);
	}
	if (seen(db_purges_open(snap, 0, &s)) == 0) {
		while ((err = db_purges_next(s, a, &purge)) == 0)
			;
		(void)seen(err == ERR_END ? 0 : err);
		db_scan_close(s);
	}
	(void)seen(db_changes_pending(snap, 1, &n));
	(void)seen(db_docs_before(snap, "c", 1, &n));
	(void)seen(db_docs_deleted(snap, &range, &n));
}

static void
read_all(struct db *db)
{
	struct arena *a;
	struct db_snap *snap;
	struct db_info info;
	struct errtext why;
	struct buf b;
	uint64_t seq, rev;
	struct jstr body;

	if (seen(arena_new(64u << 20, &a)) != 0)
		return;
	buf_init(&b, 1u << 20);
	(void)seen(db_info(db, &info));
	(void)seen(db_security(db, &b));
	b.len = 0;
	if (seen(db_seq_put(db, &b, 3)) == 0)
		(void)seen(db_seq_parse(db, b.data, b.len, &seq));
	(void)seen(db_check(db, &why));
	if (seen(db_snap_begin(db, &snap)) == 0) {
		for (size_t i = 0; i < NIDS; i++)
			read_doc(snap, a, ids[i]);
		(void)seen(db_local_get(snap, "_local/l", 8, a, &rev, &body));
		scan(snap, a);
		db_snap_end(snap);
	}
	buf_release(&b);
	arena_free(a);
}

static int forged; /* wrong records may have been believed */

/* What was acknowledged is there; a fault that comes after nothing has happened yet leaves nothing. */
static void
all_there(struct db *db)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct jstr body;
	uint64_t rev;

	if (forged)
		return;
	dbtest_check(db);
	if (!CHECK_INT(db_snap_begin(db, &snap), 0))
		return;
	for (size_t i = 0; i < NIDS; i++) {
		if (life.put[i] && strncmp(ids[i], "_local/", 7) == 0)
			CHECK_INT(db_local_get(snap, ids[i], strlen(ids[i]), ruletest_arena, &rev, &body), 0);
		else if (life.put[i])
			CHECK_INT(db_get(snap, ids[i], strlen(ids[i]), ruletest_arena, &doc), 0);
	}
	db_snap_end(snap);
}

/* Opens, whole, and writable, in the same process and by another. */
static void
recovered(struct dbs *s, const char *id)
{
	int err = dbs_create(s, NAME, NULL, &dbtest_admin, NULL);
	struct db *db;

	CHECK(forged || err == (life.created || err == ERR_DB_EXISTS ? ERR_DB_EXISTS : 0));
	if (db_open(s, NAME, &dbtest_admin, &db) != 0) {
		CHECK(forged);
		return;
	}
	all_there(db);
	err = RULETEST_EDIT(db, "{\"_id\":\"%s\"}", id);
	CHECK(forged || err == 0);
	CHECK_INT(db_compact(db), 0);
	ruletest_drain();
	all_there(db);
	db_close(db);
}

static void
live(struct store *store, int what, unsigned n, int for_good)
{
	struct dbs_config config = {.store = store, .ex = &ruletest_ex};
	struct store *later;
	struct dbs *s = NULL;
	struct db *db;

	memset(&life, 0, sizeof(life));
	forged = what == FORGERY;
	fault.for_good = for_good;
	fault.left = n;
	fault.nth = n;
	fault.made = 0;
	fault.what = what;
	if (seen(dbs_new(&config, &s)) == 0) {
		life.created = seen(dbs_create(s, NAME, NULL, &dbtest_admin, NULL)) == 0;
		if (seen(db_open(s, NAME, &dbtest_admin, &db)) == 0) {
			write_all(db);
			read_all(db);
			(void)seen(db_compact(db));
			ruletest_drain();
			read_all(db);
			db_close(db);
		}
		ruletest_drain();
		fault.what = 0;
		recovered(s, "again");
		ruletest_drain();
	}
	fault.what = 0;
	CHECK_INT(store_mem_copy(store, 0, &later), 0);
	if (s != NULL)
		dbs_free(s);
	else
		store_free(store);
	s = ruletest_new_dbs(later, 0);
	recovered(s, "anew");
	ruletest_drain();
	dbs_free(s); /* with its store */
}

static void
sweep(int what, int for_good, unsigned first, unsigned step)
{
	unsigned n = first;

	do {
		unsigned failed_before = check_failed_;

		arena_reset(ruletest_arena);
		live(new_store(), what, n, for_good);
		if (check_failed_ > failed_before)
			fprintf(stderr, "what=%d n=%u for_good=%d\n", what, n, for_good);
		n += step;
	} while (fault.made > 0 && check_failed_ < 20);
	CHECK(n > 200); /* there are so many calls; else the last life ended early */
	if (getenv("VERBOSE") != NULL)
		fprintf(stderr, "what=%d for_good=%d: up to n=%u\n", what, for_good, n);
}

int
main(void)
{
	const char *every = getenv("FAULTS_STEP");
	unsigned step = every != NULL ? (unsigned)strtoul(every, NULL, 10) : 7;

	if (step == 0)
		step = 1;
	CHECK_INT(arena_new(256u << 20, &ruletest_arena), 0);
	for (int for_good = 0; for_good < 2; for_good++) {
		if (allocations_fail())
			sweep(ALLOCATIONS, for_good, 1 + 3u * (unsigned)for_good % step, step);
		sweep(STORE_CALLS, for_good, 1 + 5u * (unsigned)for_good % step, step);
		sweep(DAMAGE, for_good, 1 + 2u * (unsigned)for_good % step, step);
	}
	for (fault.salt = 0; fault.salt < (step == 1 ? 24 : 4); fault.salt++)
		sweep(FORGERY, 0, 1 + fault.salt % step, step);
	arena_free(ruletest_arena);
	return check_done();
}
