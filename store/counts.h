/*
 * counts.h: how many entries lie in a key range, without a scan.
 *
 * Beside an ordered tree of keys, each of which weighs 0 or more, the counts keep the sums
 * of ranges in two levels.  Which keys begin a range is decided by a keyed hash of the key (1 in 256
 * at the first level, 1 in 16,384 at the second), so the layout depends on the set of keys alone and
 * needs no rebalancing.  The salt is the database's, so that nobody can choose ids that make a range long.
 * Key in tree `counts`: which (1 byte: 'd' docs, 'c' changes), level (1 byte: 1 or 2), first key of the
 * range (empty for the first range, which may be absent while it weighs 0).
 * Value: varint sum, then the record checksum.
 * The weights of a whole tree must add up to less than 2^64.
 */
#ifndef STORE_COUNTS_H_
#define STORE_COUNTS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"

/* A tree that is counted. */
struct counts_of {
	unsigned tree;        /* the tree whose keys are counted */
	unsigned counts_tree; /* where the sums are */
	unsigned char which;  /* first byte of the sums' keys */
	uint64_t salt;        /* of the database; secret */
	/* weigh(key, val): what the entry counts, 0 or more */
	uint64_t (*weigh)(const struct store_val *key, const struct store_val *val);
};

/* One entry's change within a batch. */
struct counts_change {
	const void *key;
	size_t klen;
	int existed;         /* the snapshot has the key */
	int exists;          /* the batch leaves the key there */
	uint64_t old_weight; /* 0 where it did not exist */
	uint64_t new_weight; /* 0 where it will not exist */
};

/**
 * counts_apply(c, snap, batch, a, changes, n): Put into ${batch} the sums that follow from ${changes}, which
 * are sorted by key, one per key, and complete with regard to ${snap}, the state that ${batch} will be applied
 * to.  One call per counted tree and batch.  Memory from ${a}.  Errors: ERR_NOMEM, ERR_IO, ERR_CORRUPT.
 */
int counts_apply(const struct counts_of *c, struct store_snap *snap, struct store_batch *batch, struct arena *a,
    const struct counts_change *changes, size_t n) MUST_CHECK;

/** counts_before(c, snap, key, klen, np): The weight of all entries with keys less than ${key}. */
int counts_before(
    const struct counts_of *c, struct store_snap *snap, const void *key, size_t klen, uint64_t *np) MUST_CHECK;

/** counts_total(c, snap, np): The weight of all entries. */
int counts_total(const struct counts_of *c, struct store_snap *snap, uint64_t *np) MUST_CHECK;

/**
 * counts_seek(c, snap, n, cursor, keyp, valp, skippedp): Move ${cursor} (of c->tree, same snapshot) to the
 * entry within whose weight the ${n}-th unit (from 0) lies; *${skippedp} is the weight before that entry.
 * ${keyp} and ${valp} may be NULL. ERR_MISSING: there are not so many.
 */
int counts_seek(const struct counts_of *c, struct store_snap *snap, uint64_t n, struct store_cursor *cursor,
    struct store_val *keyp, struct store_val *valp, uint64_t *skippedp) MUST_CHECK;

/** counts_hash(salt, key, klen): Whoever chooses keys and does not know the salt chooses no hashes. */
uint64_t counts_hash(uint64_t salt, const void *key, size_t klen);
/** counts_level(salt, key, klen): The highest level at which ${key} begins a range; 0: at none. */
#define COUNTS_LEVELS 2u
unsigned counts_level(uint64_t salt, const void *key, size_t klen);

/** counts_check(c, snap, why): Compare with a recount.  Errors: ERR_CORRUPT and ${why}. */
int counts_check(const struct counts_of *c, struct store_snap *snap, struct errtext *why) MUST_CHECK;

#endif
