/* dbdamage.h: an open database of which a record is damaged, from the next snapshot on. */
#ifndef TESTS_UNIT_DBDAMAGE_H_
#define TESTS_UNIT_DBDAMAGE_H_

#include "check.h"
#include "db/dbi.h"

static inline void
dbdamage_record(struct db *db, unsigned tree, const void *key, size_t klen)
{
	struct store_batch *b;

	CHECK_INT(store_batch_new(db->file->store, &b), 0);
	CHECK_INT(store_put(b, tree, key, klen, "x", 1), 0);
	CHECK_INT(store_commit(b), 0);
	store_batch_free(b);
}

/* dbdamage_state: Its counters, the update sequence among them. */
static inline void
dbdamage_state(struct db *db)
{
	dbdamage_record(db, TREE_META, "state", 5);
}

/* dbdamage_last: The last record of ${tree}, whose keys are short. */
static inline void
dbdamage_last(struct db *db, unsigned tree)
{
	struct store_cursor *c;
	struct db_snap *snap;
	struct store_val key, val;
	unsigned char last[64];
	size_t len;

	CHECK_INT(db_snap_begin(db, &snap), 0);
	CHECK_INT(store_cursor_open(snap->snap, tree, &c), 0);
	CHECK_INT(store_seek_le(c, NULL, 0, &key, &val), 0);
	len = key.len;
	CHECK(len > 0 && len <= sizeof(last));
	memcpy(last, key.p, len);
	store_cursor_close(c);
	db_snap_end(snap);
	dbdamage_record(db, tree, last, len);
}

#endif
