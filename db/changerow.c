/*
 * The rows of the tree `changes`, as bytes: what a _changes row needs without a second look-up.
 *
 *   flags (1), winner's rev, [varint other leaves, each: deleted (1), rev], [varint length of ext, ext], id to the end
 *   a rev: varint gen * 2 + odd, [odd: length (1)], bytes (16 unless odd)
 *
 * Most ids are made by servers or libraries: 32 lower-case hexadecimal digits, or a UUID in its usual form.  Of these the
 * 16 bytes are stored that they stand for.
 */
#include "dbi.h"

#include <string.h>

#define CHANGE_DELETED 1u
#define CHANGE_HAS_LEAVES 2u
#define CHANGE_HAS_EXT 4u
#define CHANGE_HEX_ID 8u
#define CHANGE_UUID_ID 16u
#define CHANGE_ID_FORM (CHANGE_HEX_ID | CHANGE_UUID_ID)

#define ID_BYTES 16u
#define HEX_LEN 32u
#define UUID_LEN 36u

/* is_dash: Is there a dash in a UUID's text at ${i}? */
static int
is_dash(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

/* pack_id: The flag of the form that the id has, and its 16 bytes; 0: it has neither. */
static unsigned
pack_id(const char *id, size_t len, unsigned char *out)
{
	unsigned high = 0;
	size_t n = 0;

	if (len != HEX_LEN && len != UUID_LEN)
		return 0;
	for (size_t i = 0; i < len; i++) {
		unsigned c = (unsigned char)id[i], digit;

		if (len == UUID_LEN && is_dash(i)) {
			if (c != '-')
				return 0;
			continue;
		}
		digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;
		if (digit == 16)
			return 0;
		if (n++ % 2 == 0)
			high = digit << 4;
		else
			out[n / 2 - 1] = (unsigned char)(high | digit);
	}
	return len == HEX_LEN ? CHANGE_HEX_ID : CHANGE_UUID_ID;
}

/* spell_id: The text of a packed id, at most UUID_LEN characters. */
static struct jstr
spell_id(const void *packed, unsigned form, char *text)
{
	char digits[HEX_LEN];

	if (form & CHANGE_HEX_ID) {
		hex_encode(packed, ID_BYTES, text);
		return (struct jstr){text, HEX_LEN};
	}
	hex_encode(packed, ID_BYTES, digits);
	for (size_t i = 0, n = 0; i < UUID_LEN; i++)
		text[i] = is_dash(i) ? '-' : digits[n++];
	return (struct jstr){text, UUID_LEN};
}

static int
unpack_id(struct bytes *r, unsigned form, struct arena *a, struct jstr *out)
{
	const void *packed = bytes_take(r, ID_BYTES);
	char *text;

	if (packed == NULL)
		return ERR_CORRUPT;
	if ((text = arena_alloc(a, UUID_LEN)) == NULL)
		return ERR_NOMEM;
	*out = spell_id(packed, form, text);
	return 0;
}

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
	unsigned char packed[ID_BYTES];
	unsigned form = pack_id(id, idlen, packed);

	buf_putc(b, (char)((winner->deleted ? CHANGE_DELETED : 0) | (n > 1 ? CHANGE_HAS_LEAVES : 0) | form));
	changerow_put_rev(b, &winner->rev);
	if (n > 1)
		buf_put_varint(b, n - 1);
	for (size_t i = 1; i < n; i++) {
		const struct revnode *leaf = revtree_leaf(t, i);

		buf_putc(b, (char)leaf->deleted);
		changerow_put_rev(b, &leaf->rev);
	}
	if (form != 0)
		buf_put(b, packed, sizeof(packed));
	else
		buf_put(b, id, idlen);
	return buf_failed(b);
}

/* The row that nearly all are: one leaf, named by an MD5, generation below 64, no extension.  1 if this is one. */
static int
decode_plain(struct bytes *r, struct arena *a, struct db_change *out)
{
	const unsigned char *p = r->p, *id = p + 2 + REV_MD5_LEN;
	unsigned char *deleted;
	unsigned form;

	if (bytes_left(r) < 2 + REV_MD5_LEN || (p[0] & ~(CHANGE_DELETED | CHANGE_ID_FORM)) != 0 || (p[1] & 0x81) != 0)
		return 0;
	form = p[0] & CHANGE_ID_FORM;
	if (form != 0 && r->end - id != ID_BYTES)
		return 0;
	out->leaves = arena_alloc(a, sizeof(*out->leaves) + 1 + (form != 0 ? UUID_LEN : 0));
	if (out->leaves == NULL)
		return 0;
	out->leaves[0] = (struct rev){p[1] >> 1, p + 2, REV_MD5_LEN};
	out->nleaves = 1;
	out->deleted = p[0] & CHANGE_DELETED;
	deleted = (unsigned char *)(out->leaves + 1);
	*deleted = (unsigned char)out->deleted;
	out->leaf_deleted = deleted;
	if (form != 0)
		out->id = spell_id(id, form, (char *)deleted + 1);
	else
		out->id = (struct jstr){(const char *)id, (size_t)(r->end - id)};
	return 1;
}

int
changerow_decode(struct bytes *r, struct arena *a, struct db_change *out)
{
	unsigned char *deleted;
	uint64_t others;
	struct rev winner;
	unsigned flags;

	if (decode_plain(r, a, out))
		return 0;
	flags = bytes_u8(r);
	winner = changerow_take_rev(r);
	others = flags & CHANGE_HAS_LEAVES ? bytes_varint(r) : 0;
	/* Each leaf takes at least two bytes, so a length beyond the record is found before memory is asked for. */
	if (r->bad || others > bytes_left(r) / 2)
		return ERR_CORRUPT;
	out->nleaves = (size_t)others + 1;
	out->leaves = arena_alloc(a, out->nleaves * (sizeof(*out->leaves) + 1));
	if (out->leaves == NULL)
		return ERR_NOMEM;
	deleted = (unsigned char *)(out->leaves + out->nleaves);
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
	if (flags & CHANGE_ID_FORM)
		return unpack_id(r, flags, a, &out->id);
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
