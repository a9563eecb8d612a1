#include "store_lmdb_append.h"

#include "base/limits.h"

/* Appends one tree to another, in transactions of bounded size. */
static int
append_tree(MDB_txn *from, MDB_dbi dbi, MDB_env *to, MDB_dbi to_dbi)
{
	MDB_cursor *in, *out = NULL;
	MDB_txn *txn = NULL;
	MDB_val k, v;
	size_t bytes = 0;
	int end, rc = mdb_cursor_open(from, dbi, &in);

	if (rc != 0)
		return rc;
	while ((end = mdb_cursor_get(in, &k, &v, MDB_NEXT)) == 0 && rc == 0) {
		if (txn == NULL && (rc = mdb_txn_begin(to, NULL, 0, &txn)) == 0)
			rc = mdb_cursor_open(txn, to_dbi, &out);
		if (rc == 0)
			rc = mdb_cursor_put(out, &k, &v, MDB_APPEND);
		bytes += k.mv_size + v.mv_size;
		if (rc == 0 && bytes >= LIMIT_TXN_BYTES) {
			rc = mdb_txn_commit(txn); /* frees the cursor */
			txn = NULL;
			bytes = 0;
		}
	}
	mdb_cursor_close(in);
	if (rc == 0 && end != MDB_NOTFOUND)
		rc = end;
	if (txn != NULL && rc == 0)
		rc = mdb_txn_commit(txn);
	else if (txn != NULL)
		mdb_txn_abort(txn);
	return rc;
}

int
store_lmdb_append(MDB_env *from, const MDB_dbi *from_dbi, MDB_env *to, const MDB_dbi *to_dbi, unsigned ntrees)
{
	MDB_txn *txn;
	int rc = mdb_env_set_flags(to, MDB_NOSYNC, 1);

	if (rc == 0)
		rc = mdb_txn_begin(from, NULL, MDB_RDONLY, &txn);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < ntrees && rc == 0; i++)
		rc = append_tree(txn, from_dbi[i], to, to_dbi[i]);
	mdb_txn_abort(txn);
	return rc != 0 ? rc : mdb_env_sync(to, 1);
}
