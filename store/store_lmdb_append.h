/* store_lmdb_append.h: every tree of one LMDB environment, written anew into another.  Private to store/. */
#ifndef STORE_LMDB_APPEND_H_
#define STORE_LMDB_APPEND_H_

#include <lmdb.h>
#include "base/err.h"

/**
 * store_lmdb_append(from, from_dbi, to, to_dbi, ntrees):
 * Write what is committed in ${from} into the empty trees of ${to}, in the order
 * of keys, so that pages are full, and sync ${to}, whose map is large enough and
 * which is not synced before the end.  Returns 0 or an error of LMDB; ${to} is then of no use.
 */
int store_lmdb_append(
    MDB_env *from, const MDB_dbi *from_dbi, MDB_env *to, const MDB_dbi *to_dbi, unsigned ntrees) MUST_CHECK;

#endif
