/*
 * idkey.h: document ids of up to 8 KiB as keys of at most 511 bytes, in bytewise order.
 *
 * An id of at most IDKEY_SHORT bytes is its own key in the tree `top`.  The ids that are longer and share
 * their first IDKEY_SHORT bytes P hang below one pointer, at key P followed by 0x01 in `top` (no short id
 * sorts between P and it, nor is it a prefix of any): its value names a node.  In the tree `deep`, the keys
 * of a node begin with its number, 8 bytes big-endian, and go on with the id's next at most IDKEY_SHORT
 * bytes: a record, or, where more follows, again 0x01 and a pointer.  So the depth is at most 18.  A
 * pointer's value also keeps the weight (live documents) below it, so that counts.h can count it as one
 * entry. A pointer's value: varint node, varint weight, varint number of records and pointers in the node,
 * then the record checksum.
 */
#ifndef DB_IDKEY_H_
#define DB_IDKEY_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"
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

/* What a record (never a pointer) weighs: 0 or 1 for a dead or a live document. */
typedef uint64_t idkey_weigh_f(const struct store_val *val);

/** idkey_is_pointer(key): 1 if a key of `top` is a pointer's.  (Not for keys of `deep`.) */
int idkey_is_pointer(const struct store_val *key);
/** idkey_weight(val): The weight that a pointer's value keeps.  Does not verify the checksum. */
uint64_t idkey_weight(const struct store_val *val);

/**
 * idkey_find(t, snap, id, len, out): Where the record of ${id} is if there is one; a short id costs no read.
 * Errors: ERR_MISSING, ERR_CORRUPT, ERR_IO.
 */
int idkey_find(const struct idkey_trees *t, struct store_snap *snap, const char *id, size_t len,
    struct idkey_place *out) MUST_CHECK;

/**
 * idkey_rank(t, snap, id, len, weigh, topp, np): For the number of live documents before ${id}: it is
 * counts_before() of the key *${topp} of `top`, plus *${np}, the weight before ${id} of what hangs below
 * that key.  A short id costs no read and *${np} is 0.  Reads each node on the way up to the id.
 * Errors: ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
int idkey_rank(const struct idkey_trees *t, struct store_snap *snap, const char *id, size_t len, idkey_weigh_f *weigh,
    struct idkey_place *topp, uint64_t *np) MUST_CHECK;

/*
 * Writing: one struct idkey_batch per storage transaction.  Pointers are made, weighed and removed here; the
 * caller puts and deletes the records.  Memory is the arena's; a short id takes none and costs no read.
 * After an error the batch is of no further use.
 */
struct idkey_batch;
/**
 * idkey_batch_new(t, snap, a, next_node, bp): *${next_node} is the database's counter of nodes; it is counted
 * up.
 */
int idkey_batch_new(const struct idkey_trees *t, struct store_snap *snap, struct arena *a, uint64_t *next_node,
    struct idkey_batch **bp) MUST_CHECK;
/**
 * idkey_put(b, id, len, existed, weight_change, out): Where the record of ${id} is to be put; ${existed}: it is
 * there already, by the snapshot or an earlier put of this batch.
 * Errors: ERR_ID_EMPTY, ERR_ID_TOO_LONG, ERR_NOMEM, ERR_IO, ERR_CORRUPT.
 */
int idkey_put(struct idkey_batch *b, const char *id, size_t len, int existed, int64_t weight_change,
    struct idkey_place *out) MUST_CHECK;
/**
 * idkey_del(b, id, len, weight_change, out): The same for a record that is there and is to be deleted; empty
 * nodes lose their pointers.
 */
int idkey_del(
    struct idkey_batch *b, const char *id, size_t len, int64_t weight_change, struct idkey_place *out) MUST_CHECK;
/**
 * idkey_batch_end(b, batch, fn, cookie): Put the changed pointers into ${batch}; ${fn} (may be NULL) is told
 * of each pointer of `top` that came, went or changed its weight, in key order, for counts_apply(); the key
 * lives as long as the arena.  Errors: ERR_NOMEM, or ${fn}'s.
 */
int idkey_batch_end(struct idkey_batch *b, struct store_batch *batch,
    int (*fn)(
	const void *key, size_t klen, int existed, int exists, uint64_t old_weight, uint64_t new_weight, void *cookie),
    void *cookie) MUST_CHECK;

/* Walking in order of ids. */
struct idkey_walk;
/** idkey_walk_open(t, snap, a, wp): A walk that stands nowhere.  Close it before the snapshot. */
int idkey_walk_open(
    const struct idkey_trees *t, struct store_snap *snap, struct arena *a, struct idkey_walk **wp) MUST_CHECK;
/** idkey_walk_close(w): NULL is allowed. */
void idkey_walk_close(struct idkey_walk *w);
/**
 * idkey_walk_seek(w, id, len, descending): To the first id >= ${id}, or the last <= ${id}; len 0: the first,
 * the last.  Then read by idkey_walk_step(), which goes on in the same direction.
 */
int idkey_walk_seek(struct idkey_walk *w, const char *id, size_t len, int descending) MUST_CHECK;
/**
 * idkey_walk_seek_weight(w, key, n, weigh, descending): To the record within whose weight the ${n}-th unit
 * (from 0) lies, counted in ascending order from the entry ${key} of `top`, a record or a pointer.  After
 * counts_seek(n, ..., &key, &val, &skipped): ${n} - skipped.  Then read by idkey_walk_step() in the direction
 * given.  Takes time by the entries of the pointer's nodes.  Errors: ERR_MISSING: ${key} is not there;
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
int idkey_walk_seek_weight(
    struct idkey_walk *w, const struct store_val *key, uint64_t n, idkey_weigh_f *weigh, int descending) MUST_CHECK;
/**
 * idkey_walk_step(w, idp, valp): The record the walk stands on; the next step moves on first.  ${idp} and
 * ${valp} live until the next step.  ERR_END: no more.  Errors: ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
int idkey_walk_step(struct idkey_walk *w, struct jstr *idp, struct store_val *valp) MUST_CHECK;
/**
 * idkey_walk_place(w, treep, keyp): Tree and key of the record of the last step, for its checksum; borrowed
 * until the next step.
 */
void idkey_walk_place(const struct idkey_walk *w, unsigned *treep, struct store_val *keyp);

/**
 * idkey_check(t, snap, weigh, why): Compare every pointer with a recount of its node.  Errors: ERR_CORRUPT
 * and ${why}.
 */
int idkey_check(
    const struct idkey_trees *t, struct store_snap *snap, idkey_weigh_f *weigh, struct errtext *why) MUST_CHECK;

#endif
