/*
 * The records of the trees docs and revs, as bytes.  docs/FORMAT.md describes them for readers of a file;
 * here is the code.
 *
 *   docs: flags (1), varint seq, [varint docno], varint length of tree, tree, [varint length of ext, ext],
 *         payload to the end
 *
 * The payload is there if the winner's body is inline.  Tags within ext are skipped by readers that do not
 * know them.
 */
#include "dbi.h"

#include <string.h>

#define DOC_DELETED 1u
#define DOC_HAS_DOCNO 2u
#define DOC_HAS_EXT 4u

struct jstr
docrec_span(struct bytes *r, uint64_t len)
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
	out->tree = docrec_span(r, bytes_varint(r));
	if (flags & DOC_HAS_EXT)
		out->ext = docrec_span(r, bytes_varint(r));
	out->payload = docrec_span(r, bytes_left(r));
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

struct docrec_key
docrec_block_key(uint64_t docno, uint32_t run, uint64_t block)
{
	struct docrec_key k;

	bytes_store_u64be(k.bytes, docno);
	for (int i = 0; i < 4; i++)
		k.bytes[8 + i] = (unsigned char)(run >> (24 - 8 * i));
	bytes_store_u64be(k.bytes + 12, block);
	return k;
}

const struct idkey_trees db_doc_trees = {TREE_DOCS, TREE_DOCS_DEEP};
const struct idkey_trees db_local_trees = {TREE_LOCAL, TREE_LOCAL_DEEP};

void
db_counts_of_docs(const struct dbfile *f, struct counts_of *out)
{
	*out = (struct counts_of){TREE_DOCS, TREE_COUNTS, 'd', f->salt, docrec_weigh};
}

void
db_counts_of_changes(const struct dbfile *f, struct counts_of *out)
{
	*out = (struct counts_of){TREE_CHANGES, TREE_COUNTS, 'c', f->salt, changerow_weigh};
}
