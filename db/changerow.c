/*
 * The rows of the tree `changes`, as bytes: what a _changes row needs without a second look-up.
 *
 *   flags (1), winner's rev, [varint other leaves, each: deleted (1), rev], [varint length of ext, ext], id to the end
 *   a rev: varint gen * 2 + odd, [odd: length (1)], bytes (16 unless odd)
 */
#include "dbi.h"

#define CHANGE_DELETED 1u
#define CHANGE_HAS_LEAVES 2u
#define CHANGE_HAS_EXT 4u

void
changerow_put_rev(struct buf *b, const struct rev *r)
{
	int odd = r->len != REV_MD5_LEN;

	buf_put_varint(b, r->gen << 1 | (unsigned)odd);
	if (odd)
		buf_putc(b, (char)r->len);
	buf_put(b, r->id, r->len);
}

struct rev
changerow_take_rev(struct bytes *r)
{
	struct rev rev = {0, NULL, REV_MD5_LEN};
	uint64_t head = bytes_varint(r);

	rev.gen = head >> 1;
	if (head & 1)
		rev.len = bytes_u8(r);
	rev.id = bytes_take(r, rev.len);
	return rev;
}

int
changerow_encode(struct buf *b, const struct revtree *t, const char *id, size_t idlen)
{
	size_t n = revtree_nleaves(t);
	const struct revnode *winner = revtree_leaf(t, 0);

	buf_putc(b, (char)((winner->deleted ? CHANGE_DELETED : 0) | (n > 1 ? CHANGE_HAS_LEAVES : 0)));
	changerow_put_rev(b, &winner->rev);
	if (n > 1)
		buf_put_varint(b, n - 1);
	for (size_t i = 1; i < n; i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		buf_putc(b, (char)leaf->deleted);
		changerow_put_rev(b, &leaf->rev);
	}
	buf_put(b, id, idlen);
	return buf_failed(b);
}

int
changerow_decode(struct bytes *r, struct arena *a, struct db_change *out)
{
	unsigned flags = bytes_u8(r);
	struct rev winner = changerow_take_rev(r);
	uint64_t others = flags & CHANGE_HAS_LEAVES ? bytes_varint(r) : 0;
	unsigned char *deleted;

	/* Each leaf takes at least two bytes, so a length beyond the record is found before memory is asked for. */
	if (r->bad || others > bytes_left(r) / 2)
		return ERR_CORRUPT;
	out->nleaves = (size_t)others + 1;
	out->leaves = arena_calloc(a, out->nleaves, sizeof(*out->leaves));
	deleted = arena_alloc(a, out->nleaves);
	if (out->leaves == NULL || deleted == NULL)
		return ERR_NOMEM;
	out->deleted = (flags & CHANGE_DELETED) != 0;
	out->leaf_deleted = deleted;
	out->leaves[0] = winner;
	deleted[0] = (unsigned char)out->deleted;
	for (size_t i = 1; i < out->nleaves; i++) {
		deleted[i] = bytes_u8(r);
		out->leaves[i] = changerow_take_rev(r);
	}
	if (flags & CHANGE_HAS_EXT)
		(void)docrec_span(r, bytes_varint(r));
	out->id = docrec_span(r, bytes_left(r));
	return r->bad ? ERR_CORRUPT : 0;
}

uint64_t
changerow_weigh(const struct store_val *key, const struct store_val *val)
{
	(void)key;
	(void)val;
	return 1;
}
