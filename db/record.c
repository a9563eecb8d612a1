#include "db/record.h"

#include <string.h>

#include "base/hash.h"
#include "base/log.h"

static uint32_t
checksum(unsigned tree, const void *key, size_t klen, const void *val, size_t vlen)
{
	unsigned char head = (unsigned char)tree;
	uint32_t sum = hash_crc32c(0, &head, 1);

	sum = hash_crc32c(sum, key, klen);
	return hash_crc32c(sum, val, vlen);
}

static void
store_u32(unsigned char *p, uint32_t n)
{
	p[0] = (unsigned char)(n >> 24);
	p[1] = (unsigned char)(n >> 16);
	p[2] = (unsigned char)(n >> 8);
	p[3] = (unsigned char)n;
}

int
record_seal(unsigned tree, const void *key, size_t klen, struct buf *b, size_t from)
{
	return buf_put_u32be(b, checksum(tree, key, klen, b->data + from, b->len - from));
}

/* damaged: Say which record it is: the tree's number, and the key as text and digits. */
static int
damaged(unsigned tree, const void *key, size_t klen)
{
	char text[33], hex[65];
	size_t n = klen < 32 ? klen : 32;

	for (size_t i = 0; i < n; i++) {
		char c = ((const char *)key)[i];

		text[i] = '.';
		if (c >= ' ' && c <= '~')
			text[i] = c;
	}
	text[n] = '\0';
	hex_encode(key, n, hex);
	hex[2 * n] = '\0';
	log_line(LOG_ERROR, "a damaged record: tree %u, key %s (%s), %zu bytes", tree, text, hex, klen);
	return ERR_CORRUPT;
}

int
record_open(unsigned tree, const void *key, size_t klen, const struct store_val *val, struct bytes *r)
{
	unsigned char sum[RECORD_SUM_LEN];
	size_t vlen;

	if (val->len < RECORD_SUM_LEN)
		return damaged(tree, key, klen);
	vlen = val->len - RECORD_SUM_LEN;
	store_u32(sum, checksum(tree, key, klen, val->p, vlen));
	bytes_init(r, val->p, vlen);
	return memcmp(sum, (const unsigned char *)val->p + vlen, RECORD_SUM_LEN) == 0 ? 0 : damaged(tree, key, klen);
}

int
record_put(struct store_batch *batch, unsigned tree, const void *key, size_t klen, const void *val, size_t vlen)
{
	void *room;
	int err = store_put_room(batch, tree, key, klen, vlen + RECORD_SUM_LEN, &room);

	if (err)
		return err;
	if (vlen > 0)
		memcpy(room, val, vlen);
	store_u32((unsigned char *)room + vlen, checksum(tree, key, klen, val, vlen));
	return 0;
}
