/*
 * idkey.h: document ids of up to 8 KiB as keys of at most 511 bytes, in bytewise order.
 *
 * An id of at most IDKEY_SHORT bytes is its own key in the tree `top`.  The ids that are longer and share their first IDKEY_SHORT bytes P
 * hang below one pointer, at key P followed by 0x01 in `top` (no short id sorts between P and it, nor is it a prefix of any): its
 * value names a node.  In the tree `deep`, the keys of a node begin with its number, 8 bytes big-endian, and go on with the id's next
 * at most IDKEY_SHORT bytes: a record, or again a pointer.  So the depth is at most 18.  A pointer's value also keeps the weight (live documents) below it,
 * so that counts.h can count it as one entry.
 * A pointer's value: varint node, varint weight, varint number of records and pointers in the node, then the record checksum.
 */
#ifndef DB_IDKEY_H_
#define DB_IDKEY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "store/store.h"

#define IDKEY_SHORT 480u

/* The two trees that hold one kind of records (documents, or _local documents). */
struct idkey_trees {
	unsigned top;
	unsigned deep;
};

/* Where a record is. */
struct idkey_place {
	unsigned tree;
	size_t klen;
	unsigned char key[STORE_KEY_MAX];
};

/** idkey_is_pointer(key): 1 if a key of `top` is a pointer's. */
int idkey_is_pointer(const struct store_val *key);
/** idkey_weight(val): The weight that a pointer's value keeps. */
uint64_t idkey_weight(const struct store_val *val);

/** idkey_find(t, snap, id, len, out): Where the record of ${id} is if there is one; a short id costs no read.  Errors: ERR_MISSING, ERR_CORRUPT, ERR_IO. */
int idkey_find(const struct idkey_trees *t, struct store_snap *snap, const char *id, size_t len, struct idkey_place *out) MUST_CHECK;

/*
 * Writing: one struct idkey_batch per storage transaction.  Pointers are made, weighed and removed here; the caller puts and deletes the records.
 */
struct idkey_batch;
/** idkey_batch_new(t, snap, a, next_node, bp): *${next_node} is the database's counter of nodes; it is counted up. */
int idkey_batch_new(const struct idkey_trees *t, struct store_snap *snap, struct arena *a, uint64_t *next_node, struct idkey_batch **bp) MUST_CHECK;
/** idkey_put(b, id, len, existed, weight_change, out): Where the record of ${id} is to be put; ${existed}: it is there already. */
int idkey_put(struct idkey_batch *b, const char *id, size_t len, int existed, int64_t weight_change, struct idkey_place *out) MUST_CHECK;
/** idkey_del(b, id, len, weight_change, out): The same for a record that is to be deleted; empty nodes lose their pointers. */
int idkey_del(struct idkey_batch *b, const char *id, size_t len, int64_t weight_change, struct idkey_place *out) MUST_CHECK;
/**
 * idkey_batch_end(b, batch, fn, cookie): Put the changed pointers into ${batch}; ${fn} is told of each changed pointer of `top`, in key order, for
 * counts_apply().  Errors: ERR_NOMEM, or ${fn}'s.
 */
int idkey_batch_end(struct idkey_batch *b, struct store_batch *batch,
    int (*fn)(const void *key, size_t klen, int existed, int exists, uint64_t old_weight, uint64_t new_weight, void *cookie), void *cookie) MUST_CHECK;

/* Walking in order of ids. */
struct idkey_walk;
int idkey_walk_open(const struct idkey_trees *t, struct store_snap *snap, struct arena *a, struct idkey_walk **wp) MUST_CHECK;
void idkey_walk_close(struct idkey_walk *w);
/** idkey_walk_seek(w, id, len, descending): To the first id >= ${id}, or the last <= ${id}; len 0: the first, the last.  Then read by idkey_walk_step(). */
int idkey_walk_seek(struct idkey_walk *w, const char *id, size_t len, int descending) MUST_CHECK;
/** idkey_walk_skip(w, n, skippedp): Before the first step after a seek ascending to the start: pass over a whole pointer's subtree whose weight is at most ${n}; used with counts_seek(). */
/** idkey_walk_step(w, idp, valp): The record the walk stands on, then moves on.  ${idp} lives until the next step, ${valp} too.  ERR_END: no more.  Errors: ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
int idkey_walk_step(struct idkey_walk *w, struct jstr *idp, struct store_val *valp) MUST_CHECK;

#endif
