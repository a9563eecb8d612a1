/* idkey_node.h: the entries of the trie of ids, for idkey.c and idkey_walk.c alone. */
#ifndef DB_IDKEY_NODE_H_
#define DB_IDKEY_NODE_H_

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/limits.h"
#include "db/idkey.h"

#define IDKEY_NODE_LEN 8u
#define IDKEY_POINTER_MARK 0x01
#define IDKEY_POINTER_LEN (IDKEY_SHORT + 1) /* of a pointer's key, without the node's number */
#define IDKEY_DEPTH_MAX 18u

static_assert(IDKEY_NODE_LEN + IDKEY_POINTER_LEN <= STORE_KEY_MAX, "a pointer's key fits the store");
static_assert(IDKEY_DEPTH_MAX * IDKEY_SHORT >= LIMIT_ID_LEN, "the deepest node takes the longest id");

/* A pointer's value. */
struct idkey_pointer {
	uint64_t node;
	uint64_t weight;
	uint64_t entries;
};

/** idkey_node_head(p, node): What the keys of ${node} in `deep` begin with: IDKEY_NODE_LEN bytes. */
void idkey_node_head(unsigned char *p, uint64_t node);

/**
 * idkey_node_place(out, t, node, rest, len): The key in ${node} (0: `top`) of the record ${rest} or, where
 * ${len} bytes are too many, of its pointer.
 */
void idkey_node_place(
    struct idkey_place *out, const struct idkey_trees *t, uint64_t node, const char *rest, size_t len);

/** idkey_node_has(key, node): 1 if ${key} of `deep` is in ${node}. */
int idkey_node_has(const struct store_val *key, uint64_t node);

/** idkey_node_is_pointer(key): 1 if a key of `deep` is a pointer's. */
int idkey_node_is_pointer(const struct store_val *key);

/** idkey_node_cmp(a, b, blen): Compare a key with ${b} bytewise: < 0, 0, > 0. */
int idkey_node_cmp(const struct store_val *a, const unsigned char *b, size_t blen);

/** idkey_node_pointer(tree, key, klen, val, out): Read a pointer's value.  Errors: ERR_CORRUPT. */
int idkey_node_pointer(
    unsigned tree, const void *key, size_t klen, const struct store_val *val, struct idkey_pointer *out) MUST_CHECK;

/**
 * idkey_node_weight(tree, key, val, weigh, weightp): What an entry of `deep` (${tree}) weighs.  Errors:
 * ERR_CORRUPT.
 */
int idkey_node_weight(unsigned tree, const struct store_val *key, const struct store_val *val, idkey_weigh_f *weigh,
    uint64_t *weightp) MUST_CHECK;

#endif
