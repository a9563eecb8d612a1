#include "store/record.h"

#include <stdatomic.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"

static uint32_t
checksum(unsigned tree, const void *key, size_t klen, const void *val, size_t vlen)
{
	/* Of the byte alone; 0 is computed again. */
	static _Atomic uint32_t seeds[STORE_TREES_MAX];
	uint32_t sum = tree < STORE_TREES_MAX ? atomic_load_explicit(&seeds[tree], memory_order_relaxed) : 0;

	if (sum == 0) {
		unsigned char head = (unsigned char)tree;

		sum = hash_crc32c(0, &head, 1);
		if (tree < STORE_TREES_MAX)
			atomic_store_explicit(&seeds[tree], sum, memory_order_relaxed);
	}
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

static uint32_t
load_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
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
record_fits(unsigned tree, const void *key, size_t klen, const struct store_val *val)
{
	size_t vlen = val->len - RECORD_SUM_LEN;

	return val->len >= RECORD_SUM_LEN &&
	       load_u32((const unsigned char *)val->p + vlen) == checksum(tree, key, klen, val->p, vlen);
}

int
record_open(unsigned tree, const void *key, size_t klen, const struct store_val *val, struct bytes *r)
{
	size_t vlen;

	if (val->len < RECORD_SUM_LEN)
		return damaged(tree, key, klen);
	vlen = val->len - RECORD_SUM_LEN;
	bytes_init(r, val->p, vlen);
	if (!record_fits(tree, key, klen, val))
		return damaged(tree, key, klen);
	return 0;
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
	record_sum(tree, key, klen, room, vlen);
	return 0;
}

void
record_sum(unsigned tree, const void *key, size_t klen, unsigned char *val, size_t vlen)
{
	store_u32(val + vlen, checksum(tree, key, klen, val, vlen));
}
