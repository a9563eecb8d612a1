/*
 * store_lmdb_read.c: snapshots and reads.  Snapshots are read transactions that are reset and renewed rather
 * than made: each database keeps a list of idle ones.
 */
#include "store_lmdb.h"

#include <stdlib.h>
#include <string.h>

/* LMDB's pages, as lmdb.h does not say: a value of its own pages stands behind the head of the first. */
#define PAGE_HEAD 16u
#define PAGE_FLAGS 10u /* where they stand, 2 bytes */
#define PAGE_PAGES 12u /* how many, 4 bytes */
#define PAGE_OVERFLOW 0x04u

struct lmdb_cursor {
	struct store_cursor base;
	MDB_cursor *mc;
	const struct lmdb_env *env;
};

static void
leave(struct lmdb_db *db, struct lmdb_snap *idle)
{
	pthread_mutex_lock(&db->gate);
	if (idle != NULL) {
		idle->next = db->idle;
		db->idle = idle;
	}
	if (--db->live == 0 && db->shut)
		pthread_cond_signal(&db->drained);
	pthread_mutex_unlock(&db->gate);
}

static int
snap_new(struct lmdb_db *db, struct lmdb_snap **snapp)
{
	struct lmdb_snap *snap = calloc(1, sizeof(*snap));
	int rc;

	if (snap == NULL)
		return ERR_NOMEM;
	snap->base.impl = db->base.impl;
	snap->base.db = &db->base;
	rc = db->env.mdb == NULL ? MDB_PANIC : mdb_txn_begin(db->env.mdb, NULL, MDB_RDONLY, &snap->txn);
	if (rc != 0) {
		free(snap);
		return store_lmdb_err(rc, "begin", db->file);
	}
	*snapp = snap;
	return 0;
}

int
store_lmdb_snap_begin(struct store_db *base, struct store_snap **snapp)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct lmdb_snap *snap;
	int rc;

	pthread_mutex_lock(&db->gate);
	while (db->shut)
		pthread_cond_wait(&db->opened, &db->gate);
	db->live++;
	snap = db->idle;
	if (snap != NULL)
		db->idle = snap->next;
	pthread_mutex_unlock(&db->gate);
	if (snap == NULL) {
		rc = snap_new(db, &snap);
	} else if ((rc = mdb_txn_renew(snap->txn)) != 0) {
		mdb_txn_abort(snap->txn);
		free(snap);
		rc = store_lmdb_err(rc, "renew", db->file);
	}
	if (rc != 0) {
		leave(db, NULL);
		return rc;
	}
	*snapp = &snap->base;
	return 0;
}

void
store_lmdb_snap_end(struct store_snap *base)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;

	mdb_txn_reset(snap->txn);
	leave((struct lmdb_db *)base->db, snap);
}

static MDB_dbi
dbi_of(const struct store_snap *snap, unsigned tree)
{
	return ((const struct lmdb_db *)snap->db)->env.dbi[tree];
}

static int
read_err(const struct store_snap *snap, int rc)
{
	return rc == MDB_NOTFOUND ? ERR_MISSING : store_lmdb_err(rc, "read", ((const struct lmdb_db *)snap->db)->file);
}

/* LMDB takes keys as void *, and does not write to them. */
MDB_val
store_lmdb_val(const void *p, size_t len)
{
	union {
		const void *in;
		void *out;
	} u = {p};

	return (MDB_val){len, u.out};
}

/* offset_of: Where in its page ${p} points. */
static size_t
offset_of(const struct lmdb_env *e, const void *p)
{
	return (uintptr_t)p & (e->page - 1);
}

int
store_lmdb_is_whole(const struct lmdb_env *e, const MDB_val *key, const MDB_val *v)
{
	const unsigned char *p = v->mv_data;
	size_t at = offset_of(e, p);
	uint16_t flags;
	uint32_t pages;

	if (key != NULL && (key->mv_size > STORE_KEY_MAX || offset_of(e, key->mv_data) + key->mv_size > e->page))
		return 0;
	if (p == NULL)
		return 0;
	/* One that begins where its page ends is empty. */
	if (at == 0)
		return v->mv_size == 0;
	if (at != PAGE_HEAD)
		return v->mv_size <= e->page - at;
	memcpy(&flags, p - PAGE_HEAD + PAGE_FLAGS, sizeof(flags));
	memcpy(&pages, p - PAGE_HEAD + PAGE_PAGES, sizeof(pages));
	return (flags & PAGE_OVERFLOW) != 0 && pages <= e->map / e->page && v->mv_size + PAGE_HEAD <= pages * e->page;
}

int
store_lmdb_get(struct store_snap *base, unsigned tree, struct store_val key, struct store_val *valp)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	MDB_val k = store_lmdb_val(key.p, key.len), v = {0, NULL};
	int rc = mdb_get(snap->txn, dbi_of(base, tree), &k, &v);

	if (rc != 0)
		return read_err(base, rc);
	if (!store_lmdb_is_whole(&((const struct lmdb_db *)base->db)->env, NULL, &v))
		return ERR_CORRUPT;
	valp->p = v.mv_data;
	valp->len = v.mv_size;
	return 0;
}

int
store_lmdb_count(struct store_snap *base, unsigned tree, uint64_t *np)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	MDB_stat st;
	int rc = mdb_stat(snap->txn, dbi_of(base, tree), &st);

	if (rc == 0)
		*np = st.ms_entries;
	return read_err(base, rc);
}

int
store_lmdb_cursor_open(struct store_snap *base, unsigned tree, struct store_cursor **cp)
{
	struct lmdb_snap *snap = (struct lmdb_snap *)base;
	struct lmdb_cursor *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return ERR_NOMEM;
	c->base.impl = base->impl;
	c->env = &((const struct lmdb_db *)base->db)->env;
	rc = mdb_cursor_open(snap->txn, dbi_of(base, tree), &c->mc);
	if (rc != 0) {
		free(c);
		return read_err(base, rc);
	}
	*cp = &c->base;
	return 0;
}

void
store_lmdb_cursor_close(struct store_cursor *base)
{
	struct lmdb_cursor *c = (struct lmdb_cursor *)base;

	mdb_cursor_close(c->mc);
	free(c);
}

static int
seek_le(MDB_cursor *mc, struct store_val key, MDB_val *k, MDB_val *v)
{
	int rc;

	if (key.len == 0)
		return mdb_cursor_get(mc, k, v, MDB_LAST);
	*k = store_lmdb_val(key.p, key.len);
	rc = mdb_cursor_get(mc, k, v, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(mc, k, v, MDB_LAST);
	if (rc == 0 && store_key_cmp(k->mv_data, k->mv_size, key.p, key.len) != 0)
		return mdb_cursor_get(mc, k, v, MDB_PREV);
	return rc;
}

int
store_lmdb_move(struct store_cursor *base, enum store_move how, struct store_val key, struct store_val *keyp,
    struct store_val *valp)
{
	struct lmdb_cursor *c = (struct lmdb_cursor *)base;
	MDB_val k = store_lmdb_val(key.p, key.len), v = {0, NULL};
	int rc;

	if (how == STORE_SEEK)
		rc = mdb_cursor_get(c->mc, &k, &v, key.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
	else if (how == STORE_SEEK_LE)
		rc = seek_le(c->mc, key, &k, &v);
	else
		rc = mdb_cursor_get(c->mc, &k, &v, how == STORE_NEXT ? MDB_NEXT : MDB_PREV);
	if (rc != 0)
		return store_lmdb_err(rc, "cursor", "store");
	if (!store_lmdb_is_whole(c->env, &k, &v))
		return ERR_CORRUPT;
	*keyp = (struct store_val){k.mv_data, k.mv_size};
	*valp = (struct store_val){v.mv_data, v.mv_size};
	return 0;
}
