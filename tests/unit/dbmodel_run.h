/* dbmodel_run.h: one seed of random steps, after some of which the database is compared with the model. */
#ifndef TESTS_UNIT_DBMODEL_RUN_H_
#define TESTS_UNIT_DBMODEL_RUN_H_

#include <unistd.h>

#include "dbmodel_write.h"

/* ---- Comparing ---- */

static inline void
dbmodel_compare_atts(struct db_snap *snap, const struct dbmodel_rev *v, const struct db_rev *got)
{
	size_t k = 0;

	for (int i = 0; i < DBMODEL_NATTS; i++) {
		struct buf b;
		size_t want;

		if (v->att[i] < 0)
			continue;
		if (!CHECK(k < got->natts))
			return;
		want = dbmodel_content_len[v->att[i]];
		CHECK_INT(got->atts[k].length, want);
		buf_init(&b, 1u << 20);
		for (uint64_t chunk = 0; db_att_read(snap, &got->atts[k], chunk, &b) == 0; chunk++)
			;
		CHECK_INT(b.len, got->atts[k].stored_length);
		if (v->att[i] % 2 == 0)
			CHECK(b.len == want && (want == 0 || memcmp(b.data, dbmodel_content[v->att[i]], want) == 0));
		buf_release(&b);
		k++;
	}
	CHECK_INT(got->natts, k);
}

/* dbmodel_compare_base: What those see who merge. */
static inline void
dbmodel_compare_base(struct db_doc *doc, const struct dbmodel_rev *v, const struct revnode *node)
{
	struct db_rev got;
	int err = db_doc_base(doc, node, dbmodel_arena, &got);

	if (!CHECK_INT(err, v->body || v->base ? 0 : ERR_MISSING) || err)
		return;
	CHECK_MEM(got.body.s, got.body.len, dbmodel_body_of(v->n), strlen(dbmodel_body_of(v->n)));
	dbmodel_compare_atts(doc->snap, v, &got);
}

static inline void
dbmodel_compare_rev(struct db_doc *doc, const struct dbmodel_doc *d, int i, struct revtree *t)
{
	const struct dbmodel_rev *v = &d->v[i];
	struct rev r = rev_of(&v->rev), up;
	struct revpos at, parent;
	struct db_rev got;
	int err;

	if (!CHECK(revtree_find(t, &r, &at)))
		return;
	if (CHECK_INT(revtree_parent(t, at, &parent), v->up >= 0) && v->up >= 0) {
		up = rev_of(&d->v[v->up].rev);
		CHECK(rev_equal(&revtree_at(t, parent)->rev, &up));
	}
	CHECK_INT(revtree_is_leaf(t, at), v->kids == 0);
	dbmodel_compare_base(doc, v, revtree_at(t, at));
	err = db_doc_rev(doc, revtree_at(t, at), dbmodel_arena, &got);
	if (!CHECK_INT(err, v->body ? 0 : ERR_MISSING) || err)
		return;
	CHECK_INT(got.node.deleted, v->deleted);
	CHECK_MEM(got.body.s, got.body.len, dbmodel_body_of(v->n), strlen(dbmodel_body_of(v->n)));
	dbmodel_compare_atts(doc->snap, v, &got);
}

static inline int
dbmodel_count_node(struct revnode *node, struct revpos at, void *cookie)
{
	(void)node;
	(void)at;
	++*(size_t *)cookie;
	return 0;
}

static inline void
dbmodel_compare_doc(struct db_snap *snap, struct dbmodel_doc *d)
{
	int best = dbmodel_winner(d);
	struct db_doc doc;
	struct revtree *t;
	struct rev r;
	size_t in = 0, have = 0;
	int err = db_get(snap, d->id, strlen(d->id), dbmodel_arena, &doc);

	if (!CHECK_INT(err, best >= 0 ? 0 : ERR_MISSING) || err)
		return;
	r = rev_of(&d->v[best].rev);
	CHECK(rev_equal(&doc.winner.rev, &r));
	CHECK_INT(db_doc_tree(&doc, 1, &t), 0);
	for (int i = 0; i < d->n; i++)
		if (d->v[i].in) {
			in++;
			dbmodel_compare_rev(&doc, d, i, t);
		}
	/* Of a spilled block, what was stemmed may come back until the document is next compacted: it hangs below a root. */
	(void)revtree_each(t, dbmodel_count_node, &have);
	CHECK_INT(have, in);
}

static inline void
dbmodel_compare_changes(struct db_snap *snap)
{
	struct db_scan *scan;
	struct db_change row;
	uint64_t last = 0, seen = 0, pending = 0;
	int err;

	CHECK_INT(db_changes_open(snap, 0, 0, &scan), 0);
	while ((err = db_changes_next(scan, dbmodel_arena, &row)) == 0) {
		struct dbmodel_doc *d = NULL;
		size_t leaves = 0;
		int best;

		CHECK(row.seq > last);
		last = row.seq;
		seen++;
		for (int i = 0; i < DBMODEL_NDOCS; i++)
			if (row.id.len == strlen(dbmodel.docs[i].id) &&
			    memcmp(row.id.s, dbmodel.docs[i].id, row.id.len) == 0)
				d = &dbmodel.docs[i];
		if (!CHECK(d != NULL) || !CHECK((best = dbmodel_winner(d)) >= 0))
			continue;
		for (int i = 0; i < d->n; i++)
			leaves += dbmodel_is_leaf(d, i) != 0;
		CHECK_INT(row.nleaves, leaves);
		CHECK_INT(row.deleted, d->v[best].deleted);
	}
	CHECK_INT(err, ERR_END);
	db_scan_close(scan);
	CHECK_INT(db_changes_pending(snap, 0, &pending), 0);
	CHECK_INT(pending, seen);
}

static inline void
dbmodel_compare_locals(struct db_snap *snap)
{
	for (int i = 0; i < DBMODEL_NLOCALS; i++) {
		struct dbmodel_local *l = &dbmodel.locals[i];
		uint64_t number;
		struct jstr body;
		int err = db_local_get(snap, l->id, strlen(l->id), dbmodel_arena, &number, &body);

		if (!CHECK_INT(err, l->exists ? 0 : ERR_MISSING) || err)
			continue;
		CHECK_INT(number, l->number);
		CHECK_MEM(body.s, body.len, dbmodel_body_of(l->n), strlen(dbmodel_body_of(l->n)));
	}
}

/* dbmodel_compare_purges: No more are remembered than there may be, and the last of them is. */
static inline void
dbmodel_compare_purges(struct db_snap *snap, uint64_t purge_seq)
{
	struct db_scan *scan;
	struct db_purge p = {.seq = 0};
	uint64_t n = 0;
	int err;

	CHECK_INT(db_purges_open(snap, 0, &scan), 0);
	while ((err = db_purges_next(scan, dbmodel_arena, &p)) == 0)
		n++;
	CHECK_INT(err, ERR_END);
	CHECK(n <= dbmodel.purged_limit);
	CHECK_INT(p.seq, purge_seq);
	db_scan_close(scan);
}

static inline void
dbmodel_compare(void)
{
	struct db_snap *snap;
	struct db_info info;
	uint64_t live = 0, dead = 0;

	dbtest_check(dbmodel_db);
	CHECK_INT(db_snap_begin(dbmodel_db, &snap), 0);
	for (int i = 0; i < DBMODEL_NDOCS; i++) {
		int best = dbmodel_winner(&dbmodel.docs[i]);

		live += best >= 0 && !dbmodel.docs[i].v[best].deleted;
		dead += best >= 0 && dbmodel.docs[i].v[best].deleted;
		dbmodel_compare_doc(snap, &dbmodel.docs[i]);
	}
	dbmodel_compare_changes(snap);
	dbmodel_compare_locals(snap);
	CHECK_INT(db_info(dbmodel_db, &info), 0);
	dbmodel_compare_purges(snap, info.purge_seq);
	db_snap_end(snap);
	CHECK_INT(info.doc_count, live);
	CHECK_INT(info.doc_del_count, dead);
	arena_reset(dbmodel_arena);
}

/* ---- Other steps ---- */

static inline void
dbmodel_setting(enum db_write_kind kind, uint64_t number)
{
	struct db_write w = {.kind = kind, .number = number};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
	CHECK_INT(w.err, 0);
}

/* dbmodel_keep: By number or by age; younger than the setting is everything that was there when it was made. */
static inline void
dbmodel_keep(void)
{
	struct db_write w = {
	    .kind = DB_WRITE_HISTORY_KEPT, .number = dbmodel_dice(5), .seconds = dbmodel_dice(4) == 0 ? 1000000 : 0};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
	CHECK_INT(w.err, 0);
	dbmodel.keep = w.seconds > 0 ? UINT64_MAX : w.number;
}

static inline uint64_t
dbmodel_commits(void)
{
	uint64_t n;

	(void)pthread_mutex_lock(&dbmodel_db->file->lock);
	n = dbmodel_db->file->state.commits;
	(void)pthread_mutex_unlock(&dbmodel_db->file->lock);
	return n;
}

/* dbmodel_compact: All documents are trimmed in one transaction; if that fails, the compaction ends and nothing has changed. */
static inline void
dbmodel_compact(void)
{
	int inject = dbmodel_faulty && dbmodel_dice(3) == 0;
	struct db_info info;
	uint64_t before;

	if (inject)
		dbmodel_fail_next();
	before = dbmodel_commits();
	CHECK_INT(db_compact(dbmodel_db), 0);
	do {
		usleep(200);
		CHECK_INT(db_info(dbmodel_db, &info), 0);
	} while (info.compact_running);
	if (inject)
		store_mem_fail(dbmodel_store, 0, 0, 0);
	for (int i = 0; i < DBMODEL_NDOCS && (!inject || dbmodel_commits() > before); i++)
		dbmodel_trim(&dbmodel.docs[i]);
}

/* dbmodel_burst: A long history, so that some of it is spilled. */
static inline void
dbmodel_burst(void)
{
	struct dbmodel_doc *d = &dbmodel.docs[dbmodel_dice(2)];

	for (int i = 0; i < 60 && d->n < (int)DBMODEL_NREVS - 200; i++) {
		static struct dbmodel_trial t;
		struct db_request req = {.writes = &t.w, .nwrites = 1};

		memset(&t, 0, sizeof(t));
		t.doc = d;
		t.w.id = (struct jstr){d->id, strlen(d->id)};
		t.w.kind = DB_WRITE_EDIT;
		t.parent = dbmodel_winner(d);
		if (t.parent >= 0) {
			t.w.has_parent = 1;
			t.w.parent = d->v[t.parent].rev;
			t.w.deleted = d->v[t.parent].deleted;
		}
		t.n = dbmodel.next_n++;
		memset(t.att, -1, sizeof(t.att));
		dbmodel_set_body(&t);
		CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
		CHECK_INT(t.w.err, dbmodel_judge(&t));
		dbmodel_settle();
	}
	arena_reset(dbmodel_arena);
}

static inline void
dbmodel_reopen(const char *dir)
{
	db_close(dbmodel_db);
	dbs_free(dbmodel_set);
	CHECK_INT(store_lmdb_new(dir, &dbmodel_store), 0);
	dbmodel_set = dbtest_dbs(dbmodel_store);
	dbmodel_db = dbtest_open(dbmodel_set, "model");
}

static inline void
dbmodel_step(const char *dir)
{
	static const unsigned limits[] = {1, 3, 10, 40, 100, 1000};
	unsigned kind = dbmodel_dice(60);

	if (kind == 0) {
		dbmodel.revs_limit = limits[dbmodel_dice(6)];
		dbmodel_setting(DB_WRITE_REVS_LIMIT, dbmodel.revs_limit);
	} else if (kind == 1) {
		dbmodel.purged_limit = 1 + dbmodel_dice(10);
		dbmodel_setting(DB_WRITE_PURGED_LIMIT, dbmodel.purged_limit);
	} else if (kind == 2) {
		dbmodel_compact();
	} else if (kind == 3) {
		dbmodel_burst();
	} else if (kind == 4 && dir != NULL) {
		dbmodel_reopen(dir);
	} else if (kind == 5) {
		dbmodel_keep();
	} else {
		dbmodel_request(1 + dbmodel_dice(4));
	}
}

/* dbmodel_purge_all: When every document is purged, and every _local one deleted, the trees are empty: nothing was left behind. */
static inline void
dbmodel_purge_all(void)
{
	static const unsigned trees[] = {TREE_DOCS, TREE_DOCS_DEEP, TREE_REVS, TREE_CHANGES, TREE_BODIES, TREE_BLOBS,
	    TREE_DIGESTS, TREE_LOCAL, TREE_LOCAL_DEEP};
	struct store_snap *snap;
	uint64_t n;
	int at;

	for (int i = 0; i < DBMODEL_NDOCS; i++)
		while ((at = dbmodel_winner(&dbmodel.docs[i])) >= 0) {
			struct rev r = rev_of(&dbmodel.docs[i].v[at].rev);
			unsigned char purged = 0;
			struct db_write w = {.kind = DB_WRITE_PURGE,
			    .id = {dbmodel.docs[i].id, strlen(dbmodel.docs[i].id)},
			    .path = &r,
			    .npath = 1,
			    .purged = &purged};
			struct db_request req = {.writes = &w, .nwrites = 1};

			CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
			CHECK_INT(w.err, 0);
			(void)dbmodel_purge(&dbmodel.docs[i], at);
			dbmodel_settle();
		}
	for (int i = 0; i < DBMODEL_NLOCALS; i++) {
		struct db_write w = {.kind = DB_WRITE_LOCAL,
		    .id = {dbmodel.locals[i].id, strlen(dbmodel.locals[i].id)},
		    .deleted = 1,
		    .body = {"{}", 2}};
		struct db_request req = {.writes = &w, .nwrites = 1};

		CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
		CHECK_INT(w.err, dbmodel.locals[i].exists ? 0 : ERR_MISSING);
	}
	dbtest_check(dbmodel_db);
	CHECK_INT(store_snap_begin(dbmodel_db->file->store, &snap), 0);
	for (size_t i = 0; i < sizeof(trees) / sizeof(*trees); i++) {
		CHECK_INT(store_count(snap, trees[i], &n), 0);
		if (!CHECK_INT(n, 0))
			fprintf(stderr, "tree %s\n", db_tree_names[trees[i]]);
	}
	store_snap_end(snap);
}

/* dbmodel_run: One seed.  ${dir}: of an LMDB store, which can be reopened; NULL: a store in memory, whose commits can fail. */
static inline void
dbmodel_run(unsigned seed, unsigned steps, const char *dir)
{
	unsigned before = check_failed_;

	dbmodel_rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	dbmodel_faulty = dir == NULL;
	dbmodel_init();
	CHECK_INT(dir != NULL ? store_lmdb_new(dir, &dbmodel_store) : store_mem_new(&dbmodel_store), 0);
	dbmodel_set = dbtest_dbs(dbmodel_store);
	CHECK_INT(dbs_create(dbmodel_set, "model", NULL, &dbtest_admin, NULL), 0);
	dbmodel_db = dbtest_open(dbmodel_set, "model");
	for (unsigned i = 0; i < steps && check_failed_ == before; i++) {
		dbmodel_step(dir);
		if (i % 50 == 49)
			dbmodel_compare();
	}
	dbmodel_compare();
	if (check_failed_ == before)
		dbmodel_purge_all();
	if (check_failed_ != before)
		fprintf(stderr, "seed %u (%s)\n", seed, dir != NULL ? "lmdb" : "memory");
	db_close(dbmodel_db);
	CHECK_INT(dbs_drop(dbmodel_set, "model", &dbtest_admin), 0);
	dbs_free(dbmodel_set);
	dbmodel_free();
}

/* ---- For all seeds ---- */

/* dbmodel_begin: The threads, the arena and the contents of attachments that every seed uses. */
static inline int
dbmodel_begin(void)
{
	int err;

	if ((err = exec_threads_new(2, &dbtest_threads)) == 0)
		err = arena_new(1u << 28, &dbmodel_arena);
	dbmodel_contents_init();
	return err;
}

static inline void
dbmodel_end(void)
{
	dbmodel_contents_free();
	arena_free(dbmodel_arena);
	exec_threads_free(dbtest_threads);
}

#endif
