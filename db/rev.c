/*
 * CouchDB's revision id is the MD5 of an Erlang term in its external format.  The term is written here byte
 * by byte around the body's, which jread_text() made while it read the document.
 */
#include "db/rev.h"

#include <string.h>

#include "base/hash.h"

/* Tags of Erlang's external term format. */
enum {
	TAG_VERSION = 131,
	TAG_SMALL_INTEGER = 97,
	TAG_INTEGER = 98,
	TAG_ATOM = 100,
	TAG_SMALL_TUPLE = 104,
	TAG_NIL = 106,
	TAG_LIST = 108,
	TAG_BINARY = 109,
	TAG_SMALL_BIG = 110
};

#define INLINE_TERM 2048u /* a term that fits is made on the stack */
#define LOCAL_DIGITS 18u  /* of the count in a _local document's revision: it fits 64 bits */

/* Revision ids are written into headers and JSON as they are. */
static int
is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < '!' || s[i] > '~' || s[i] == '"' || s[i] == '\\')
			return 0;
	return 1;
}

int
rev_parse_id(const char *s, size_t len, uint64_t gen, struct revbuf *out)
{
	if (gen == 0 || gen > LIMIT_REV_GEN || len == 0 || len > LIMIT_REV_LEN)
		return ERR_BAD_REV;
	out->gen = gen;
	if (!is_plain(s, len))
		return ERR_BAD_REV;
	if (len == 2 * REV_MD5_LEN) {
		if (hex_decode(s, len, out->id) != 0)
			return ERR_BAD_REV;
		out->len = REV_MD5_LEN;
	} else {
		memcpy(out->id, s, len);
		out->len = len;
	}
	return 0;
}

int
rev_parse(const char *s, size_t len, struct revbuf *out)
{
	uint64_t gen = 0;
	size_t i;

	for (i = 0; i < len && s[i] != '-'; i++) {
		if (s[i] < '0' || s[i] > '9' || gen > LIMIT_REV_GEN)
			return ERR_BAD_REV;
		gen = gen * 10 + (uint64_t)(s[i] - '0');
	}
	if (i == 0 || i == len)
		return ERR_BAD_REV;
	return rev_parse_id(s + i + 1, len - i - 1, gen, out);
}

int
rev_parse_local(const char *s, size_t len, struct revbuf *out)
{
	size_t i;

	if (len < 3 || len > 2 + LOCAL_DIGITS || memcmp(s, "0-", 2) != 0)
		return ERR_BAD_REV;
	for (i = 2; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return ERR_BAD_REV;
	out->gen = 0;
	out->len = len - 2;
	memcpy(out->id, s + 2, out->len);
	return 0;
}

struct rev
rev_of(const struct revbuf *r)
{
	return (struct rev){r->gen, r->id, r->len};
}

void
rev_copy(struct revbuf *out, const struct rev *r)
{
	out->gen = r->gen;
	out->len = r->len;
	memcpy(out->id, r->id, r->len);
}

int
rev_put_id(struct buf *b, const struct rev *r)
{
	char *p;
	int err;

	/* Of a _local document it is a number's digits. */
	if (r->len != REV_MD5_LEN || r->gen == 0)
		return buf_put(b, r->id, r->len);
	err = buf_reserve(b, 2 * REV_MD5_LEN, &p);
	if (err != 0)
		return err;
	hex_encode(r->id, REV_MD5_LEN, p);
	buf_commit(b, 2 * REV_MD5_LEN);
	return 0;
}

int
rev_put(struct buf *b, const struct rev *r)
{
	char *p;
	int err;

	if (r->len == REV_MD5_LEN && r->gen > 0 && r->gen < 10) {
		/* Nearly all: in one piece. */
		if ((err = buf_reserve(b, 2 + 2 * REV_MD5_LEN, &p)) != 0)
			return err;
		p[0] = (char)('0' + r->gen);
		p[1] = '-';
		hex_encode(r->id, REV_MD5_LEN, p + 2);
		buf_commit(b, 2 + 2 * REV_MD5_LEN);
		return 0;
	}
	buf_put_u64(b, r->gen);
	buf_putc(b, '-');
	return rev_put_id(b, r);
}

int
rev_equal(const struct rev *a, const struct rev *b)
{
	return a->gen == b->gen && a->len == b->len && memcmp(a->id, b->id, a->len) == 0;
}

int
rev_cmp(const struct rev *a, const struct rev *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int c;

	if (a->gen != b->gen)
		return a->gen < b->gen ? -1 : 1;
	c = memcmp(a->id, b->id, len);
	if (c != 0)
		return c;
	return a->len < b->len ? -1 : a->len > b->len;
}

static void
put_integer(struct buf *b, uint64_t v)
{
	if (v <= 255) {
		buf_putc(b, TAG_SMALL_INTEGER);
		buf_putc(b, (char)v);
	} else if (v <= INT32_MAX) {
		buf_putc(b, TAG_INTEGER);
		buf_put_u32be(b, (uint32_t)v);
	} else {
		unsigned char bytes[8];
		size_t n = 0;

		for (; v > 0; v >>= 8)
			bytes[n++] = (unsigned char)v;
		buf_putc(b, TAG_SMALL_BIG);
		buf_putc(b, (char)n);
		buf_putc(b, 0);
		buf_put(b, bytes, n);
	}
}

static void
put_binary(struct buf *b, const void *data, size_t len)
{
	buf_putc(b, TAG_BINARY);
	buf_put_u32be(b, (uint32_t)len);
	buf_put(b, data, len);
}

static void
put_list(struct buf *b, size_t count)
{
	if (count == 0)
		return;
	buf_putc(b, TAG_LIST);
	buf_put_u32be(b, (uint32_t)count);
}

static void
put_atom(struct buf *b, const char *name)
{
	buf_putc(b, TAG_ATOM);
	buf_putc(b, 0);
	buf_putc(b, (char)strlen(name));
	buf_puts(b, name);
}

static void
put_atts(struct buf *b, const struct rev_att *atts, size_t natts)
{
	put_list(b, natts);
	/* CouchDB builds this list from its end. */
	for (size_t i = natts; i-- > 0;) {
		buf_putc(b, TAG_SMALL_TUPLE);
		buf_putc(b, 3);
		if (atts[i].name == NULL) {
			for (int k = 0; k < 3; k++)
				put_atom(b, "undefined");
			continue;
		}
		put_binary(b, atts[i].name, atts[i].name_len);
		put_binary(b, atts[i].type, atts[i].type_len);
		put_binary(b, atts[i].md5, MD5_LEN);
	}
	buf_putc(b, TAG_NIL);
}

int
rev_make(int deleted, const struct rev *parent, const void *body_etf, size_t etf_len, const struct rev_att *atts,
    size_t natts, struct revbuf *out)
{
	char inline_term[INLINE_TERM];
	struct buf b;
	int err;

	if (parent != NULL && parent->gen >= LIMIT_REV_GEN)
		return ERR_BAD_REV;
	/* A buffer that already has memory, and never grows beyond it where the term is sure to fit. */
	buf_init(&b, SIZE_MAX / 2);
	if (natts == 0 && etf_len + LIMIT_REV_LEN + 64 <= INLINE_TERM)
		b = (struct buf){.data = inline_term, .cap = INLINE_TERM, .max = INLINE_TERM};
	buf_putc(&b, (char)TAG_VERSION);
	put_list(&b, 5);
	put_atom(&b, deleted ? "true" : "false");
	put_integer(&b, parent != NULL ? parent->gen : 0);
	if (parent != NULL)
		put_binary(&b, parent->id, parent->len);
	else
		put_integer(&b, 0);
	buf_put(&b, body_etf, etf_len);
	put_atts(&b, atts, natts);
	buf_putc(&b, TAG_NIL);
	err = buf_failed(&b);
	if (err == 0) {
		hash_md5(b.data, b.len, out->id);
		out->len = REV_MD5_LEN;
		out->gen = parent != NULL ? parent->gen + 1 : 1;
	}
	if (b.data != inline_term)
		buf_release(&b);
	return err;
}
