#include "base/buf.h"

void
bytes_init(struct bytes *r, const void *data, size_t len)
{
	r->p = data;
	r->end = len > 0 ? r->p + len : r->p;
	r->bad = 0;
}

size_t
bytes_left(const struct bytes *r)
{
	return (size_t)(r->end - r->p);
}

const void *
bytes_take(struct bytes *r, size_t n)
{
	const unsigned char *p = r->p;

	if (n > bytes_left(r)) {
		r->bad = 1;
		r->p = r->end;
		return NULL;
	}
	r->p += n;
	return p;
}

uint8_t
bytes_u8(struct bytes *r)
{
	if (r->p == r->end) {
		r->bad = 1;
		return 0;
	}
	return *r->p++;
}

static uint64_t
big_endian(struct bytes *r, size_t n)
{
	const unsigned char *p = bytes_take(r, n);
	uint64_t v = 0;

	for (size_t i = 0; p != NULL && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

uint32_t
bytes_u32be(struct bytes *r)
{
	return (uint32_t)big_endian(r, 4);
}

uint64_t
bytes_u64be(struct bytes *r)
{
	return big_endian(r, 8);
}

uint64_t
bytes_varint(struct bytes *r)
{
	uint64_t v = 0;

	if (r->p < r->end && *r->p < 0x80) /* most are this small */
		return *r->p++;
	for (unsigned shift = 0;; shift += 7) {
		uint8_t c = bytes_u8(r);

		if (shift == 63 && c > 1)
			break;
		v |= (uint64_t)(c & 0x7Fu) << shift;
		if (c < 0x80)
			return v;
	}
	r->bad = 1;
	return 0;
}

void
bytes_store_u64be(unsigned char out[8], uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		out[i] = (unsigned char)n;
}

uint64_t
bytes_load_u64be(const unsigned char in[8])
{
	/* Written out, gcc makes one load of it. */
	return (uint64_t)in[0] << 56 | (uint64_t)in[1] << 48 | (uint64_t)in[2] << 40 | (uint64_t)in[3] << 32 |
	       (uint64_t)in[4] << 24 | (uint64_t)in[5] << 16 | (uint64_t)in[6] << 8 | (uint64_t)in[7];
}
