/*
 * find_bookmark.c: a bookmark is base64 of
 *
 *	u8 version | u8 flags | varint part | varint nparts | varint either | u32 hash, nparts times | ddoc | name | key | id
 *	| u32 CRC-32C of all before
 *
 * where a text is varint length and its bytes; a flag tells that key is a sort key, of a row that is cut.
 * The checksum finds accidents, not malice: who makes one of his own reads from a place of his choice what he may read anyway.
 */
#include "find_bookmark.h"

#include "base/hash.h"
#include "base/limits.h"

#define VERSION 1u
#define DESCENDING 1u
#define CUT 4u
#define CRC 4u

static void
put_text(struct buf *b, struct jstr s)
{
	buf_put_varint(b, s.len);
	buf_put(b, s.s, s.len);
}

int
find_bookmark_put(const struct find_bookmark *m, struct buf *out)
{
	struct buf b;
	int err;

	/* As base64 it is as long as may be read. */
	buf_init(&b, LIMIT_BOOKMARK_LEN / 4 * 3);
	buf_putc(&b, (char)VERSION);
	buf_putc(&b, (char)((m->descending ? DESCENDING : 0) | (m->cut ? CUT : 0)));
	buf_put_varint(&b, m->part);
	buf_put_varint(&b, m->nparts);
	buf_put_varint(&b, m->either);
	for (uint64_t i = 0; i < m->nparts; i++)
		buf_put_u32be(&b, m->hashes[i]);
	put_text(&b, m->ddoc);
	put_text(&b, m->name);
	put_text(&b, m->key);
	put_text(&b, m->id);
	buf_put_u32be(&b, hash_crc32c(0, b.data, b.len));
	if ((err = buf_failed(&b)) == 0)
		err = base64_put(out, b.data, b.len);
	buf_release(&b);
	return err;
}

static struct jstr
take_text(struct bytes *r)
{
	uint64_t len = bytes_varint(r);
	struct jstr s = {NULL, 0};

	if (len > bytes_left(r)) {
		r->bad = 1;
		return s;
	}
	s.len = (size_t)len;
	s.s = bytes_take(r, s.len);
	return s;
}

static int
decode(const struct buf *b, struct arena *a, struct find_bookmark *out)
{
	struct bytes r, end;
	uint32_t *hashes;
	unsigned flags;

	if (b->len < CRC)
		return ERR_BOOKMARK;
	bytes_init(&end, b->data + b->len - CRC, CRC);
	if (bytes_u32be(&end) != hash_crc32c(0, b->data, b->len - CRC))
		return ERR_BOOKMARK;
	bytes_init(&r, b->data, b->len - CRC);
	if (bytes_u8(&r) != VERSION)
		return ERR_BOOKMARK;
	flags = bytes_u8(&r);
	out->descending = (flags & DESCENDING) != 0;
	out->cut = (flags & CUT) != 0;
	out->part = bytes_varint(&r);
	out->nparts = bytes_varint(&r);
	out->either = bytes_varint(&r);
	if (out->nparts > LIMIT_FIND_PARTS)
		return ERR_BOOKMARK;
	out->hashes = hashes = arena_calloc(a, (size_t)out->nparts + 1, sizeof(*hashes));
	if (hashes == NULL)
		return ERR_NOMEM;
	for (uint64_t i = 0; i < out->nparts; i++)
		hashes[i] = bytes_u32be(&r);
	out->ddoc = take_text(&r);
	out->name = take_text(&r);
	out->key = take_text(&r);
	out->id = take_text(&r);
	if ((flags & ~(DESCENDING | CUT)) != 0 || (out->cut && out->key.len > LIMIT_INDEX_KEY))
		return ERR_BOOKMARK;
	return r.bad || bytes_left(&r) > 0 || out->part >= out->nparts ? ERR_BOOKMARK : 0;
}

int
find_bookmark_read(struct jstr text, struct arena *a, struct find_bookmark *out)
{
	struct buf b;

	*out = (struct find_bookmark){0};
	if (text.len > LIMIT_BOOKMARK_LEN)
		return ERR_BOOKMARK;
	buf_init_arena(&b, a, text.len + 16);
	if (base64_get(&b, text.s, text.len) != 0)
		return buf_failed(&b) == ERR_NOMEM ? ERR_NOMEM : ERR_BOOKMARK;
	return decode(&b, a, out);
}
