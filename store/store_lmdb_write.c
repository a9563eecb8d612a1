/*
 * store_lmdb_write.c: commits.  A failed commit is in doubt only if LMDB failed to write the meta page; it then
 * refuses every further transaction (MDB_PANIC), which is how that is told from failures before, where the old
 * meta page still holds.
 */
#include "store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int
store_lmdb_may_write(struct lmdb_db *db)
{
	int err = 0;

	if (db->failed || db->env.mdb == NULL)
		return ERR_IO;
	if (db->unsynced && (err = store_files_sync(db->s->dir, O_DIRECTORY)) == 0)
		db->unsynced = 0;
	return err;
}

/* The tree's last key before the batch: what sorts behind it is appended, or cannot be deleted. */
struct tail {
	unsigned char key[STORE_KEY_MAX];
	size_t len; /* 0: the tree is empty */
};

static int
find_tail(MDB_cursor *mc, struct tail *t)
{
	MDB_val k, v;
	int rc = mdb_cursor_get(mc, &k, &v, MDB_LAST);

	t->len = 0;
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc == 0 && k.mv_size > sizeof(t->key))
		return MDB_CORRUPTED;
	if (rc == 0) {
		memcpy(t->key, k.mv_data, k.mv_size);
		t->len = k.mv_size;
	}
	return rc;
}

/* Applies the items of one tree, which rise. */
static int
apply_tree(MDB_txn *txn, MDB_dbi dbi, const struct store_item *items, size_t n)
{
	MDB_cursor *mc;
	struct tail tail;
	int beyond = 0, rc = mdb_cursor_open(txn, dbi, &mc);

	if (rc != 0)
		return rc;
	rc = find_tail(mc, &tail);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const struct store_op *op = items[i].op;
		MDB_val k = store_lmdb_val(op->key, op->klen), v = store_lmdb_val(op->val, op->vlen);

		if (!beyond)
			beyond = store_key_cmp(op->key, op->klen, tail.key, tail.len) > 0;
		if (!op->del) {
			rc = mdb_cursor_put(mc, &k, &v, beyond ? MDB_APPEND : 0);
		} else if (!beyond) {
			rc = mdb_del(txn, dbi, &k, NULL);
			if (rc == MDB_NOTFOUND)
				rc = 0;
		}
	}
	mdb_cursor_close(mc);
	return rc;
}

int
store_lmdb_apply(struct lmdb_env *e, MDB_txn *txn, const struct store_item *items, size_t n)
{
	size_t end;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i = end) {
		unsigned tree = items[i].op->tree;

		for (end = i + 1; end < n && items[end].op->tree == tree;)
			end++;
		rc = apply_tree(txn, e->dbi[tree], items + i, end - i);
	}
	return rc;
}

/* One tree that is filled. */
struct filling {
	MDB_cursor *mc;
	struct tail tail;
	int beyond;
};

static int
fill_one(struct lmdb_env *e, MDB_txn *txn, struct filling *f, unsigned tree, const struct store_val *key,
    const struct store_val *val)
{
	MDB_val k = store_lmdb_val(key->p, key->len), v = store_lmdb_val(val->p, val->len);
	int rc = 0;

	if (f->mc == NULL && (rc = mdb_cursor_open(txn, e->dbi[tree], &f->mc)) == 0)
		rc = find_tail(f->mc, &f->tail);
	if (rc != 0)
		return rc;
	if (!f->beyond)
		f->beyond = store_key_cmp(key->p, key->len, f->tail.key, f->tail.len) > 0;
	return mdb_cursor_put(f->mc, &k, &v, f->beyond ? MDB_APPEND : 0);
}

/* fill: Returns an error of LMDB; *${errp}: the source's. */
static int
fill(struct lmdb_env *e, MDB_txn *txn, struct store_source *src, int *errp)
{
	struct filling trees[STORE_TREES_MAX];
	struct store_val key, val;
	unsigned tree;
	int rc = 0;

	for (unsigned t = 0; t < STORE_TREES_MAX; t++) {
		trees[t].mc = NULL;
		trees[t].beyond = 0;
	}
	*errp = src->rewind(src);
	while (rc == 0 && *errp == 0 && (*errp = src->next(src, &tree, &key, &val)) == 0)
		rc = fill_one(e, txn, &trees[tree], tree, &key, &val);
	*errp = *errp == ERR_END ? 0 : *errp;
	for (unsigned t = 0; t < STORE_TREES_MAX; t++)
		if (trees[t].mc != NULL)
			mdb_cursor_close(trees[t].mc);
	return rc;
}

/* What is committed: a batch's items, or a source. */
struct content {
	const struct store_item *items;
	size_t n;
	struct store_source *src; /* NULL: the items */
	int err;                  /* the source's */
};

/* One try: an LMDB error after which nothing has changed, or *doubtp set to 1; c->err: the source failed, and nothing has changed. */
static int
try_commit(struct lmdb_env *e, struct content *c, int *doubtp)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(e->mdb, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	rc = c->src != NULL ? fill(e, txn, c->src, &c->err) : store_lmdb_apply(e, txn, c->items, c->n);
	if (rc != 0 || c->err != 0) {
		mdb_txn_abort(txn);
		return rc;
	}
	rc = mdb_txn_commit(txn);
	if (rc != 0 && rc != MDB_MAP_FULL) {
		/* Only a meta page that could not be written makes LMDB refuse to go on.  A snapshot may find no room besides. */
		int again = mdb_txn_begin(e->mdb, NULL, 0, &txn);

		if (again == 0)
			mdb_txn_abort(txn);
		else
			*doubtp = 1;
	}
	return rc;
}

static size_t
bytes_of(const struct store_item *items, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += items[i].op->klen + items[i].op->vlen + 16;
	return sum;
}

static int
commit(struct store_db *base, struct content *c)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	size_t bytes = c->src != NULL ? c->src->bytes : bytes_of(c->items, c->n);
	int doubt = 0, rc, full;

	pthread_mutex_lock(&db->write_lock);
	do {
		full = 0;
		rc = store_lmdb_may_write(db);
		if (rc == 0) {
			rc = try_commit(&db->env, c, &doubt);
			full = rc == MDB_MAP_FULL;
			if (full)
				rc = store_lmdb_grow(db, 2 * bytes);
			else
				rc = store_lmdb_err(doubt ? rc : store_lmdb_why(&db->env, rc), "commit", db->file);
		}
	} while (full && rc == 0);
	if (rc == 0)
		rc = c->err;
	if (rc == 0 && c->src == NULL)
		store_lmdb_rewrite_note(db, c->items, c->n);
	if (doubt)
		db->failed = 1;
	/* What a source gave is not remembered, for whoever writes the database anew meanwhile. */
	if (doubt || (rc == 0 && c->src != NULL))
		store_lmdb_rewrite_doubt(db);
	pthread_mutex_unlock(&db->write_lock);
	return doubt ? ERR_IN_DOUBT : rc;
}

int
store_lmdb_commit(struct store_db *base, const struct store_item *items, size_t n)
{
	struct content c = {.items = items, .n = n};

	return commit(base, &c);
}

/* A map that is too small is found out only at the end of much work. */
int
store_lmdb_fill(struct store_db *base, struct store_source *src)
{
	struct lmdb_db *db = (struct lmdb_db *)base;
	struct content c = {.src = src};
	int rc = 0;

	pthread_mutex_lock(&db->write_lock);
	if (db->env.mdb != NULL && src->bytes > db->env.map / 4)
		rc = store_lmdb_grow(db, 2 * src->bytes);
	pthread_mutex_unlock(&db->write_lock);
	return rc != 0 ? rc : commit(base, &c);
}
