/*
 * faultlife.h: what the tests share that live the life of a database again and again, each time with another allocation or call of the
 * store that fails, or another record that is damaged or forged: a store that has such faults, what a life does, and the walk over the faults.
 *
 * FAULTS_STEP=1 makes each n its turn; else it is each of some, from a place that differs between the kinds of faults.
 */
#ifndef TESTS_UNIT_FAULTLIFE_H_
#define TESTS_UNIT_FAULTLIFE_H_

#include <limits.h>
#include <stdlib.h>

#include "faults.h"
#include "ruletest.h"
#include "store/record.h"
#include "store/store_impl.h"

/* ---- Faults ---- */

enum { ALLOCATIONS = 1, STORE_CALLS, DAMAGE, FORGERY };
static unsigned fault_salt; /* of what becomes of a record */
static unsigned fault_nth;  /* the number that fault.left began with */

/* Allocations of a size from the one to the other do not fail. */
static size_t spared_from = SIZE_MAX, spared_to = SIZE_MAX;

static inline int
refused_bytes(size_t size)
{
	return (size < spared_from || size >= spared_to) && fault_due(ALLOCATIONS);
}

FAULTS_MALLOCS(refused_bytes)

/* A sanitizer or Valgrind may have allocations of its own. */
static inline int
allocations_fail(void)
{
	/* Of malloc() by its name the compiler knows that it reads nothing of ours. */
	void *(*volatile take)(size_t size) = malloc;
	void *p;

	fault_begin(ALLOCATIONS, 1, 0);
	p = take(1);
	fault.what = 0;
	free(p);
#ifdef MALLOCS_OWN
	{
		const char *preload = getenv("LD_PRELOAD");

		CHECK(p == NULL || (preload != NULL && strstr(preload, "vgpreload") != NULL));
	}
#endif
	return p == NULL;
}

/* ---- A store whose calls fail: the one in memory with some of its functions replaced ---- */

static const struct store_impl *real;
static struct store_impl faulty;

static inline int
f_make(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->make(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static inline int
f_publish(struct store_db *db)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->publish(db);
}

static inline int
f_open(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->open(s, name, trees, ntrees, dbp);

	if (!err)
		(*dbp)->impl = &faulty;
	return err;
}

static inline int
f_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->snap_begin(db, snapp);

	if (!err)
		(*snapp)->impl = &faulty;
	return err;
}

static unsigned moved_in; /* the tree of the newest cursor; another one's records are not altered right, but altered */

static inline int
f_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->cursor_open(snap, tree, cp);

	if (!err) {
		(*cp)->impl = &faulty;
		moved_in = tree;
	}
	return err;
}

/* Another byte, fewer or more of them: what and where comes from the number of the fault. */
static inline void
alter(unsigned tree, struct store_val key, struct store_val *v)
{
	size_t n = v->len - RECORD_SUM_LEN;
	unsigned how = (fault_nth + fault_salt * 1000) * 2654435761u >> 8;
	unsigned char *p;

	if (v->len <= RECORD_SUM_LEN || (!fault_due(DAMAGE) && !fault_due(FORGERY)))
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

static inline int
f_get(struct store_snap *snap, unsigned tree, struct store_val key, struct store_val *valp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->get(snap, tree, key, valp);

	if (!err)
		alter(tree, key, valp);
	return err;
}

static inline int
f_count(struct store_snap *snap, unsigned tree, uint64_t *np)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->count(snap, tree, np);
}

static inline int
f_move(
    struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	int err = fault_due(STORE_CALLS) ? ERR_IO : real->move(c, how, key, keyp, valp);

	if (!err)
		alter(moved_in, *keyp, valp);
	return err;
}

static inline int
f_commit(struct store_db *db, const struct store_item *items, size_t n)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->commit(db, items, n);
}

static inline int
f_rewrite_begin(struct store_db *db, const char *path, struct store_rewrite **rp)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->rewrite_begin(db, path, rp);
}

static inline int
f_rewrite_step(struct store_rewrite *r)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->rewrite_step(r);
}

static inline int
f_rewrite_finish(struct store_rewrite *r, const struct store_item *items, size_t n)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->rewrite_finish(r, items, n);
}

static inline int
f_usage(struct store_db *db, struct store_usage *up)
{
	return fault_due(STORE_CALLS) ? ERR_IO : real->usage(db, up);
}

/* faulty_store: The store in memory ${s} with these functions. */
static inline struct store *
faulty_store(struct store *s)
{
	real = s->impl;
	faulty = *real;
	faulty.make = f_make;
	faulty.publish = f_publish;
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

static inline struct store *
new_store(void)
{
	struct store *s;

	CHECK_INT(store_mem_new(&s), 0);
	return faulty_store(s);
}

/* ---- A life ---- */

#define NAME "faults"
#define LIFE_IDS 24
static const char *const *life_ids; /* of the documents that life.put and life.revs speak of */
static size_t life_nids;
static const char *life_prefix = ""; /* of the ids that are written afterwards */
static struct {
	int created;       /* that was acknowledged */
	int put[LIFE_IDS]; /* the same */
	struct revbuf revs[LIFE_IDS];
	unsigned steps; /* that failed */
} life;

static inline int
seen(int err)
{
	life.steps += err != 0;
	return err;
}

/* Like dbtest_submit(); the request ends whatever fails. */
static inline int
submit(struct db *db, struct db_write *w)
{
	struct db_request req = {.writes = w, .nwrites = 1};
	int err = ruletest_submit(db, &req);

	return seen(err ? err : w->err);
}

/* life_write: ruletest_write_of(); what a test does for itself does not fail. */
static inline struct db_write
life_write(const char *json, int new_edits)
{
	int what = fault.what;
	struct db_write w;

	fault.what = 0;
	w = ruletest_write_of(json, new_edits);
	fault.what = what;
	return w;
}

static inline int
put(struct db *db, size_t which, int new_edits, const char *json)
{
	struct db_write w = life_write(json, new_edits);
	int err;

	if (strncmp(life_ids[which], "_local/", 7) == 0)
		w.kind = DB_WRITE_LOCAL;
	if (new_edits && life.put[which] && w.kind == DB_WRITE_EDIT) {
		w.has_parent = 1;
		w.parent = life.revs[which];
	}
	err = submit(db, &w);
	if (!err && !w.deleted) {
		life.put[which] = 1;
		life.revs[which] = w.rev;
	}
	return err;
}

static inline void
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

/* scan_end: ${err} is what the last step gave. */
static inline void
scan_end(struct db_scan *s, int err)
{
	(void)seen(err == ERR_END ? 0 : err);
	db_scan_close(s);
}

static inline void
scan_docs(struct db_snap *snap, struct arena *a, const struct db_range *range)
{
	struct db_scan *s;
	struct db_doc doc;
	int err;

	if (seen(db_docs_open(snap, range, &s)) != 0)
		return;
	while ((err = db_docs_next(s, a, &doc)) == 0)
		;
	scan_end(s, err);
}

static inline void
scan(struct db_snap *snap, struct arena *a)
{
	struct db_range range = {.skip = 1};
	struct db_scan *s;
	struct db_change change;
	struct db_purge purge;
	struct jstr id, body;
	struct db_docs_sum sum;
	uint64_t n;
	int err;

	scan_docs(snap, a, &range);
	range = (struct db_range){.descending = 1};
	if (seen(db_locals_open(snap, &range, &s)) == 0) {
		while ((err = db_locals_step(s, a, &id, &n, &body)) == 0)
			;
		scan_end(s, err);
	}
	for (int down = 0; down < 2; down++) {
		if (seen(db_changes_open(snap, 0, down, &s)) != 0)
			continue;
		while ((err = db_changes_next(s, a, &change)) == 0)
			;
		scan_end(s, err);
	}
	if (seen(db_purges_open(snap, 0, &s)) == 0) {
		while ((err = db_purges_next(s, a, &purge)) == 0)
			;
		scan_end(s, err);
	}
	(void)seen(db_changes_pending(snap, 1, &n));
	(void)seen(db_docs_before(snap, "c", 1, &n));
	(void)seen(db_docs_sum(snap, &range, &sum));
}

static inline void
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
		for (size_t i = 0; i < life_nids; i++)
			read_doc(snap, a, life_ids[i]);
		(void)seen(db_local_get(snap, "_local/l", 8, a, &rev, &body));
		scan(snap, a);
		db_snap_end(snap);
	}
	buf_release(&b);
	arena_free(a);
}

static int forged; /* wrong records may have been believed */

/* What was acknowledged is there; a fault that comes after nothing has happened yet leaves nothing. */
static inline void
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
	for (size_t i = 0; i < life_nids; i++) {
		if (life.put[i] && strncmp(life_ids[i], "_local/", 7) == 0)
			CHECK_INT(db_local_get(snap, life_ids[i], strlen(life_ids[i]), ruletest_arena, &rev, &body), 0);
		else if (life.put[i])
			CHECK_INT(db_get(snap, life_ids[i], strlen(life_ids[i]), ruletest_arena, &doc), 0);
	}
	db_snap_end(snap);
}

/* Opens, whole, and writable. */
static inline void
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
	err = RULETEST_EDIT(db, "{\"_id\":\"%s%s\"}", life_prefix, id);
	CHECK(forged || err == 0);
	CHECK_INT(db_compact(db), 0);
	ruletest_drain();
	all_there(db);
	db_close(db);
}

/* life_begin: From here on the n-th call of the kind fails; nothing is acknowledged yet. */
static inline void
life_begin(int what, unsigned n, int for_good)
{
	memset(&life, 0, sizeof(life));
	forged = what == FORGERY;
	fault_nth = n;
	fault_begin(what, n, for_good);
}

/* life_end: The fault goes; then what must hold does, here and in another process.  ${s} is NULL where it could not be made; both are taken. */
static inline void
life_end(struct dbs *s, struct store *store)
{
	struct store *later;

	fault.what = 0;
	if (s != NULL) {
		recovered(s, "again");
		ruletest_drain();
	}
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

static struct store *(*life_store)(void) = new_store; /* what each life begins with */
static unsigned life_least = 200;                     /* calls, in a life */
/* From the so manyth call on, only each so manyth is a fault's turn. */
static unsigned life_near = UINT_MAX, life_far = 1;

/* life_f: One life with the n-th call of a kind failing, and what must hold behind it. */
typedef void life_f(struct store *store, int what, unsigned n, int for_good);

static inline void
sweep(life_f *live, int what, int for_good, unsigned first, unsigned step)
{
	unsigned n = first;

	do {
		unsigned failed_before = check_failed_;

		arena_reset(ruletest_arena);
		live(life_store(), what, n, for_good);
		if (check_failed_ > failed_before)
			fprintf(stderr, "what=%d n=%u for_good=%d\n", what, n, for_good);
		n += n < life_near ? step : life_far;
	} while (fault.made > 0 && check_failed_ < 20);
	CHECK(n > life_least); /* there are so many calls; else the last life ended early */
	if (getenv("VERBOSE") != NULL)
		fprintf(stderr, "what=%d for_good=%d: up to n=%u\n", what, for_good, n);
}

/* life_step: Each ${step}-th, or what FAULTS_STEP says. */
static inline unsigned
life_step(unsigned step)
{
	const char *every = getenv("FAULTS_STEP");

	if (every != NULL)
		step = (unsigned)strtoul(every, NULL, 10);
	return step > 0 ? step : 1;
}

/* walk: All faults, and so many ways to forge a record. */
static inline void
walk(life_f *live, unsigned step, unsigned forgeries)
{
	for (int for_good = 0; for_good < 2; for_good++) {
		if (allocations_fail())
			sweep(live, ALLOCATIONS, for_good, 1 + 3u * (unsigned)for_good % step, step);
		sweep(live, STORE_CALLS, for_good, 1 + 5u * (unsigned)for_good % step, step);
		sweep(live, DAMAGE, for_good, 1 + 2u * (unsigned)for_good % step, step);
	}
	for (fault_salt = 0; fault_salt < forgeries; fault_salt++)
		sweep(live, FORGERY, 0, 1 + fault_salt % step, step);
}

#endif
