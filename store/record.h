/* record.h: every stored record ends with a checksum over tree, key and value. */
#ifndef STORE_RECORD_H_
#define STORE_RECORD_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"

#define RECORD_SUM_LEN 4u

/**
 * record_seal(tree, key, klen, b, from): Append the checksum of the value that stands in ${b} from offset
 * ${from}.
 */
int record_seal(unsigned tree, const void *key, size_t klen, struct buf *b, size_t from);

/**
 * record_open(tree, key, klen, val, r): Verify ${val} and give its bytes without the checksum.  Errors:
 * ERR_CORRUPT.
 */
int record_open(unsigned tree, const void *key, size_t klen, const struct store_val *val, struct bytes *r) MUST_CHECK;

/** record_fits(tree, key, klen, val): 1 if the checksum matches; nothing is logged. */
int record_fits(unsigned tree, const void *key, size_t klen, const struct store_val *val);

/** record_sum(tree, key, klen, val, vlen): Put the checksum of the ${vlen} bytes at ${val} behind them. */
void record_sum(unsigned tree, const void *key, size_t klen, unsigned char *val, size_t vlen);

/** record_put(batch, tree, key, klen, val, vlen): Put ${val} with its checksum. */
int record_put(
    struct store_batch *batch, unsigned tree, const void *key, size_t klen, const void *val, size_t vlen) MUST_CHECK;

#endif
