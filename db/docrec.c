/*
 * The records of the trees docs, changes and revs, as bytes.  docs/FORMAT.md describes them for readers of a file; here
 * is the code.
 *
 *   docs:    flags (1), varint seq, [varint docno], varint length of tree, tree, [varint length of ext, ext], payload
 * to the end changes: flags (1), winner's rev, [varint other leaves, each: deleted (1), rev], [varint length of ext,
 * ext], id to the end a rev:   varint gen * 2 + odd, [odd: length (1)], bytes (16 unless odd)
 *
 * The payload is there if the winner's body is inline.  Tags within ext are skipped by readers that do not know them.
 */
#include "dbi.h"

#include <string.h>

#define DOC_DELETED 1u
#define DOC_HAS_DOCNO 2u
#define DOC_HAS_EXT 4u

#define CHANGE_DELETED 1u
#define CHANGE_HAS_LEAVES 2u
#define CHANGE_HAS_EXT 4u

void
put_u64be(unsigned char out[8], uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		out[i] = (unsigned char)n;
}

uint64_t
get_u64be(const unsigned char in[8])
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | in[i];
	return n;
}

static struct jstr
take_span(struct bytes *r, uint64_t len)
{
	struct jstr s = {NULL, 0};

	if (len > bytes_left(r)) {
		r->bad = 1;
		return s;
	}
	s.s = bytes_take(r, (size_t)len);
	s.len = (size_t)len;
	return s;
}

int
docrec_decode(struct bytes *r, struct docrec *out)
{
	unsigned flags = bytes_u8(r);

	memset(out, 0, sizeof(*out));
	out->deleted = (flags & DOC_DELETED) != 0;
	out->seq = bytes_varint(r);
	if (flags & DOC_HAS_DOCNO)
		out->docno = bytes_varint(r);
	out->tree = take_span(r, bytes_varint(r));
	if (flags & DOC_HAS_EXT)
		out->ext = take_span(r, bytes_varint(r));
	out->payload = take_span(r, bytes_left(r));
	return r->bad ? ERR_CORRUPT : 0;
}

int
docrec_encode(struct buf *b, const struct docrec *d)
{
	unsigned flags =
	    (d->deleted ? DOC_DELETED : 0) | (d->docno != 0 ? DOC_HAS_DOCNO : 0) | (d->ext.len > 0 ? DOC_HAS_EXT : 0);

	buf_putc(b, (char)flags);
	buf_put_varint(b, d->seq);
	if (d->docno != 0)
		buf_put_varint(b, d->docno);
	buf_put_varint(b, d->tree.len);
	buf_put(b, d->tree.s, d->tree.len);
	if (d->ext.len > 0) {
		buf_put_varint(b, d->ext.len);
		buf_put(b, d->ext.s, d->ext.len);
	}
	buf_put(b, d->payload.s, d->payload.len);
	return buf_failed(b);
}

uint64_t
docrec_live(const struct store_val *val)
{
	return val->len > 0 && (*(const unsigned char *)val->p & DOC_DELETED) == 0;
}

uint64_t
docrec_weigh(const struct store_val *key, const struct store_val *val)
{
	return idkey_is_pointer(key) ? idkey_weight(val) : docrec_live(val);
}

static void
rowrev_put(struct buf *b, const struct rev *r)
{
	int odd = r->len != REV_MD5_LEN;

	buf_put_varint(b, r->gen << 1 | (unsigned)odd);
	if (odd)
		buf_putc(b, (char)r->len);
	buf_put(b, r->id, r->len);
}

static struct rev
rowrev_take(struct bytes *r)
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
	rowrev_put(b, &winner->rev);
	if (n > 1)
		buf_put_varint(b, n - 1);
	for (size_t i = 1; i < n; i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		buf_putc(b, (char)leaf->deleted);
		rowrev_put(b, &leaf->rev);
	}
	buf_put(b, id, idlen);
	return buf_failed(b);
}

int
changerow_decode(struct bytes *r, struct arena *a, struct db_change *out)
{
	unsigned flags = bytes_u8(r);
	struct rev winner = rowrev_take(r);
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
		out->leaves[i] = rowrev_take(r);
	}
	if (flags & CHANGE_HAS_EXT)
		(void)take_span(r, bytes_varint(r));
	out->id = take_span(r, bytes_left(r));
	return r->bad ? ERR_CORRUPT : 0;
}

uint64_t
changerow_weigh(const struct store_val *key, const struct store_val *val)
{
	(void)key;
	(void)val;
	return 1;
}

struct revkey
revkey_of(uint64_t docno, uint32_t run, uint64_t block)
{
	struct revkey k;

	put_u64be(k.bytes, docno);
	for (int i = 0; i < 4; i++)
		k.bytes[8 + i] = (unsigned char)(run >> (24 - 8 * i));
	put_u64be(k.bytes + 12, block);
	return k;
}

const struct idkey_trees db_doc_trees = {TREE_DOCS, TREE_DOCS_DEEP};
const struct idkey_trees db_local_trees = {TREE_LOCAL, TREE_LOCAL_DEEP};

void
counts_of_docs(const struct dbfile *f, struct counts_of *out)
{
	*out = (struct counts_of){TREE_DOCS, TREE_COUNTS, 'd', f->state.salt, docrec_weigh};
}

void
counts_of_changes(const struct dbfile *f, struct counts_of *out)
{
	*out = (struct counts_of){TREE_CHANGES, TREE_COUNTS, 'c', f->state.salt, changerow_weigh};
}
