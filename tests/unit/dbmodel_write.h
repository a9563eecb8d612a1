/* dbmodel_write.h: random writes to a database, made from the model and judged by it. */
#ifndef TESTS_UNIT_DBMODEL_WRITE_H_
#define TESTS_UNIT_DBMODEL_WRITE_H_

#include <stdio.h>

#include "db/dbi.h"
#include "dbmodel.h"
#include "dbtest.h"

/* A write on its way, with what the model needs to judge it. */
struct dbmodel_trial {
	struct db_write w;
	struct db_write_att atts[DBMODEL_NATTS];
	struct db_blob *blobs[DBMODEL_NATTS];
	struct rev path[DBMODEL_MAXPATH];
	int way[DBMODEL_MAXPATH]; /* the path's places in the universe */
	struct dbmodel_doc *doc;
	struct dbmodel_local *local;
	int parent; /* EDIT: in the universe, or -1 */
	int want;   /* an error that is certain before the write is queued */
	unsigned n;
	int att[DBMODEL_NATTS];
	unsigned char purged[4];
};

static struct store *dbmodel_store;
static struct dbs *dbmodel_set;
static struct db *dbmodel_db;
static struct arena *dbmodel_arena;
static int dbmodel_faulty; /* the store's commits can be made to fail */

/* ---- Making writes ---- */

/*
 * dbmodel_fail_next: The next commit fails. What is queued comes before it: the removal of an upload that nothing took is not tried again
 * until the database is next opened.
 */
static inline void
dbmodel_fail_next(void)
{
	struct db_write w = {.kind = DB_WRITE_LOCAL, .id = {"_local/none", 11}, .deleted = 1, .body = {"{}", 2}};
	struct db_request req = {.writes = &w, .nwrites = 1};

	CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
	store_mem_fail(dbmodel_store, 1, dbmodel_dice(2) != 0 ? ERR_NOSPACE : ERR_IN_DOUBT, (int)dbmodel_dice(2));
}

/* dbmodel_blob_of: The bytes number ${c}; now and then a flush of them fails and is made again. */
static inline struct db_blob *
dbmodel_blob_of(int c)
{
	struct db_blob *b;
	size_t half = dbmodel_dice(2) != 0 ? dbmodel_content_len[c] / 2 : dbmodel_content_len[c];

	CHECK_INT(db_blob_new(dbmodel_db, c % 2 != 0 ? DB_BLOB_COMPRESS : DB_BLOB_PLAIN, &b), 0);
	CHECK_INT(db_blob_add(b, dbmodel_content[c], half), 0);
	if (dbmodel_dice(2) != 0) {
		if (dbmodel_faulty && dbmodel_dice(3) == 0) {
			dbmodel_fail_next();
			(void)dbtest_flush(b);
			store_mem_fail(dbmodel_store, 0, 0, 0);
		}
		CHECK_INT(dbtest_flush(b), 0);
	}
	CHECK_INT(db_blob_add(b, dbmodel_content[c] + half, dbmodel_content_len[c] - half), 0);
	CHECK_INT(db_blob_end(b), 0);
	return b;
}

/* dbmodel_add_atts: The attachments of a write; stubs, often, where ${from} (-1: none) has the same bytes of that name. */
static inline void
dbmodel_add_atts(struct dbmodel_trial *t, int from)
{
	static const char *const names[DBMODEL_NATTS] = {"a.txt", "b.bin"};

	for (int i = 0; i < DBMODEL_NATTS; i++) {
		struct db_write_att *a = &t->atts[t->w.natts];
		const struct dbmodel_rev *v = from >= 0 ? &t->doc->v[from] : NULL;

		if (t->att[i] < 0)
			continue;
		*a = (struct db_write_att){.name = {names[i], 5}, .type = {"image/png", 9}};
		if (v != NULL && v->body && v->att[i] == t->att[i] && dbmodel_dice(4) != 0)
			; /* a stub */
		else if (i == 1 && t->blobs[0] != NULL && t->att[0] == t->att[1] && dbmodel_dice(2) != 0)
			a->blob = t->blobs[0];
		else
			a->blob = t->blobs[i] = dbmodel_blob_of(t->att[i]);
		t->w.natts++;
	}
	t->w.atts = t->atts;
}

static inline void
dbmodel_set_body(struct dbmodel_trial *t)
{
	const char *text = dbmodel_body_of(t->n);
	struct doc_in in;
	struct jread j;
	struct errtext why;
	char *copy = arena_dup(dbmodel_arena, text, strlen(text));

	jread_init(&j, copy, strlen(text));
	CHECK_INT(doc_parse(&j, dbmodel_arena, &in, &why), 0);
	t->w.body = in.body;
	t->w.body_etf = in.body_etf;
}

/* dbmodel_bad_stub: Now and then a stub of an attachment that was never there. */
static inline void
dbmodel_bad_stub(struct dbmodel_trial *t, int conflict)
{
	if (t->w.natts == DBMODEL_NATTS || dbmodel_dice(25) != 0)
		return;
	t->atts[t->w.natts++] = (struct db_write_att){.name = {"none", 4}, .type = {"image/png", 9}};
	t->w.atts = t->atts;
	t->want = conflict ? ERR_CONFLICT : ERR_MISSING_STUB;
}

static inline void
dbmodel_try_edit(struct dbmodel_trial *t)
{
	struct dbmodel_doc *d = t->doc;
	int best = dbmodel_winner(d), from, conflict;
	unsigned kind = dbmodel_dice(10);

	t->w.kind = DB_WRITE_EDIT;
	t->parent = kind < 6 ? best : kind == 6 || d->n == 0 ? -1 : (int)dbmodel_dice((unsigned)d->n);
	if (t->parent >= 0) {
		t->w.has_parent = 1;
		t->w.parent = d->v[t->parent].rev;
	}
	t->w.deleted = dbmodel_dice(6) == 0;
	t->n = dbmodel_dice(3) != 0 ? dbmodel.next_n++ : dbmodel_dice(3);
	dbmodel_set_body(t);
	from = t->parent >= 0 ? t->parent : best;
	conflict = best >= 0 && (t->parent >= 0 ? !dbmodel_is_leaf(d, t->parent) : !d->v[best].deleted);
	for (int i = 0; i < DBMODEL_NATTS; i++) {
		unsigned how = dbmodel_dice(5);

		t->att[i] = how == 0               ? (int)dbmodel_dice(DBMODEL_NCONTENTS)
			    : how < 4 && from >= 0 ? d->v[from].att[i]
						   : -1;
	}
	dbmodel_add_atts(t, best >= 0 && dbmodel_is_leaf(d, from) ? from : -1);
	dbmodel_bad_stub(t, conflict);
	for (size_t i = 0; i < t->w.natts; i++)
		if (t->atts[i].blob == NULL && conflict)
			t->want =
			    ERR_CONFLICT; /* stubs are resolved before the queue, whatever is made of the document there */
}

static inline void
dbmodel_try_replicated(struct dbmodel_trial *t)
{
	struct dbmodel_doc *d = t->doc;
	int at = d->n > 0 && dbmodel_dice(5) != 0 ? (int)dbmodel_dice((unsigned)d->n) : -1, from = -1;
	unsigned want = dbmodel_dice(8) != 0 ? 1 + dbmodel_dice(20) : DBMODEL_MAXPATH;

	if (at < 0 || !d->v[at].known || dbmodel_dice(3) != 0)
		for (unsigned i = 0; i <= dbmodel_dice(3); i++)
			at = dbmodel_make_up(d, at);
	t->w.kind = DB_WRITE_REPLICATE;
	t->n = d->v[at].n;
	dbmodel_set_body(t);
	t->w.deleted = d->v[at].deleted;
	memcpy(t->att, d->v[at].att, sizeof(t->att));
	for (int i = at; i >= 0 && t->w.npath < want; i = d->v[i].parent) {
		t->way[t->w.npath] = i;
		t->path[t->w.npath++] = rev_of(&d->v[i].rev);
		if (from < 0 && d->v[i].in && d->v[i].body)
			from = i;
	}
	t->w.path = t->path;
	dbmodel_add_atts(t, from);
	dbmodel_bad_stub(t, 0);
}

static inline void
dbmodel_try_purge(struct dbmodel_trial *t)
{
	struct dbmodel_doc *d = t->doc;
	unsigned n = 1 + dbmodel_dice(3);

	t->w.kind = DB_WRITE_PURGE;
	t->w.purged = t->purged;
	for (unsigned i = 0; i < n && d->n > 0; i++) {
		int at = dbmodel_dice(2) != 0 ? dbmodel_winner(d) : (int)dbmodel_dice((unsigned)d->n);

		at = at >= 0 ? at : 0;
		t->way[t->w.npath] = at;
		t->path[t->w.npath++] = rev_of(&d->v[at].rev);
	}
	t->w.path = t->path;
}

static inline void
dbmodel_try_local(struct dbmodel_trial *t)
{
	struct dbmodel_local *l = &dbmodel.locals[dbmodel_dice(DBMODEL_NLOCALS)];

	t->local = l;
	t->w.kind = DB_WRITE_LOCAL;
	t->w.id = (struct jstr){l->id, strlen(l->id)};
	t->w.deleted = dbmodel_dice(4) == 0;
	t->n = dbmodel.next_n++;
	dbmodel_set_body(t);
	if (l->exists && dbmodel_dice(4) != 0) {
		t->w.has_parent = 1;
		t->w.parent.len =
		    (size_t)snprintf((char *)t->w.parent.id, LIMIT_REV_LEN, "%llu", (unsigned long long)l->number);
	}
}

static inline void
dbmodel_try_any(struct dbmodel_trial *t)
{
	unsigned kind = dbmodel_dice(20);

	memset(t, 0, sizeof(*t));
	t->doc = &dbmodel.docs[dbmodel_dice(DBMODEL_NDOCS)];
	if (t->doc->n > (int)DBMODEL_NREVS - 200)
		kind = 19;
	t->w.id = (struct jstr){t->doc->id, strlen(t->doc->id)};
	if (kind < 9)
		dbmodel_try_edit(t);
	else if (kind < 17)
		dbmodel_try_replicated(t);
	else if (kind < 18)
		dbmodel_try_purge(t);
	else
		dbmodel_try_local(t);
}

/* ---- Judging them ---- */

static inline int
dbmodel_judge_edit(struct dbmodel_trial *t)
{
	struct dbmodel_doc *d = t->doc;
	int best = dbmodel_winner(d), way[2] = {-1, t->parent};

	if (best >= 0) {
		if (t->parent >= 0 && !dbmodel_is_leaf(d, t->parent))
			return ERR_CONFLICT;
		if (t->parent >= 0 ? d->v[best].deleted && d->v[t->parent].deleted && !t->w.deleted
				   : !d->v[best].deleted)
			return ERR_CONFLICT;
		if (t->parent < 0)
			way[1] = best;
	}
	if (t->w.err)
		return 0;
	way[0] = dbmodel_find(d, &t->w.rev);
	if (way[0] < 0) {
		struct dbmodel_rev *v = &d->v[way[0] = dbmodel_add(d, &t->w.rev, way[1])];

		v->known = 1;
		v->deleted = t->w.deleted;
		v->n = t->n;
		memcpy(v->att, t->att, sizeof(v->att));
	}
	CHECK_INT(d->v[way[0]].n, t->n);
	dbmodel_merge(d, way, way[1] >= 0 ? 2 : 1);
	return 0;
}

static inline int
dbmodel_judge_local(struct dbmodel_trial *t)
{
	struct dbmodel_local *l = t->local;
	char text[24];

	if (t->w.deleted && !l->exists)
		return ERR_MISSING;
	if (t->w.err)
		return 0;
	l->exists = !t->w.deleted;
	l->number = t->w.deleted ? 0 : t->w.has_parent ? strtoull((const char *)t->w.parent.id, NULL, 10) + 1 : 1;
	l->n = t->n;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)l->number);
	CHECK_MEM((const char *)t->w.rev.id, t->w.rev.len, text, strlen(text));
	return 0;
}

static inline int
dbmodel_judge(struct dbmodel_trial *t)
{
	size_t n = t->w.npath < dbmodel.revs_limit ? t->w.npath : (size_t)dbmodel.revs_limit;

	if (t->want)
		return t->want;
	switch (t->w.kind) {
	case DB_WRITE_EDIT:
		return dbmodel_judge_edit(t);
	case DB_WRITE_REPLICATE:
		if (t->w.err == 0)
			dbmodel_merge(t->doc, t->way, n);
		return 0;
	case DB_WRITE_PURGE:
		for (size_t i = 0; i < t->w.npath && t->w.err == 0; i++)
			CHECK_INT(t->purged[i], dbmodel_purge(t->doc, t->way[i]));
		return 0;
	default:
		return dbmodel_judge_local(t);
	}
}

/* dbmodel_failed: Did the whole transaction? */
static inline int
dbmodel_failed(const struct dbmodel_trial *t, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (t[i].w.err == ERR_IO || t[i].w.err == ERR_NOSPACE)
			return 1;
	return 0;
}

static inline void
dbmodel_settle(void)
{
	for (int i = 0; i < DBMODEL_NDOCS; i++) {
		if (dbmodel.docs[i].changed)
			dbmodel_stem(&dbmodel.docs[i]);
		dbmodel.docs[i].changed = 0;
	}
}

/* dbmodel_request: Some writes in one request, which may be made to fail. */
static inline void
dbmodel_request(size_t n)
{
	static struct dbmodel_trial t[4];
	struct db_write w[4];
	struct db_request req = {.writes = w, .nwrites = n};
	int inject = dbmodel_faulty && dbmodel_dice(12) == 0;

	for (size_t i = 0; i < n; i++)
		dbmodel_try_any(&t[i]);
	for (size_t i = 0; i < n; i++)
		w[i] = t[i].w;
	if (inject)
		dbmodel_fail_next();
	CHECK_INT(dbtest_submit(dbmodel_db, &req), 0);
	if (inject)
		store_mem_fail(dbmodel_store, 0, 0, 0);
	for (size_t i = 0; i < n; i++)
		t[i].w = w[i];
	if (inject && dbmodel_failed(t, n)) {
		for (size_t i = 0; i < n; i++)
			CHECK(t[i].w.err != 0 && t[i].w.seq == 0);
	} else {
		for (size_t i = 0; i < n; i++)
			CHECK_INT(t[i].w.err, dbmodel_judge(&t[i]));
		dbmodel_settle();
	}
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < DBMODEL_NATTS; k++)
			db_blob_free(t[i].blobs[k]);
	arena_reset(dbmodel_arena);
}

#endif
