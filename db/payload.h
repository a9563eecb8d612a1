/* payload.h: what is stored of one revision's content: its attachments and its body.  Private to db/. */
#ifndef DB_PAYLOAD_H_
#define DB_PAYLOAD_H_

#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/doc.h"

/*
 * A payload: varint number of attachments; for each: varint length and bytes of name, the same of type,
 * varint revpos, varint length, encoding (1), [encoded: varint stored length], MD5 (16), varint blob; then
 * the body as body.h has it, to the end.
 */

/**
 * payload_atts(r, a, attsp, np): Read the attachments; ${r} then stands at the body.  Strings point into ${r}'s
 * memory.
 */
int payload_atts(struct bytes *r, struct arena *a, struct doc_att **attsp, size_t *np) MUST_CHECK;
int payload_put_atts(struct buf *b, const struct doc_att *atts, size_t n) MUST_CHECK;

struct payload_key {
	unsigned char bytes[12];
};
/**
 * payload_blob_key(number, chunk): The key of a chunk of a blob in tree `blobs`.  The blob's own record has
 * the first 8 bytes alone.
 */
struct payload_key payload_blob_key(uint64_t number, uint32_t chunk);

#endif
