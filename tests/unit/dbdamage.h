/* dbdamage.h: an open database of which a record is damaged. */
#ifndef TESTS_UNIT_DBDAMAGE_H_
#define TESTS_UNIT_DBDAMAGE_H_

#include "check.h"
#include "db/dbi.h"

/* dbdamage_state: Its counters, the update sequence among them, cannot be read from the next snapshot on. */
static inline void
dbdamage_state(struct db *db)
{
	struct store_batch *b;

	CHECK_INT(store_batch_new(db->file->store, &b), 0);
	CHECK_INT(store_put(b, TREE_META, "state", 5, "x", 1), 0);
	CHECK_INT(store_commit(b), 0);
	store_batch_free(b);
}

#endif
