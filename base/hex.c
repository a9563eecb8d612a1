#include "base/hash.h"

#if defined(__SSE2__)
#include <emmintrin.h>

/* 16 bytes at a time: a revision id is that long, and each row of a feed or listing has one. */
static void
encode16(const unsigned char *p, char *out)
{
	const __m128i low4 = _mm_set1_epi8(15), nine = _mm_set1_epi8(9), zero = _mm_set1_epi8('0');
	const __m128i to_letter = _mm_set1_epi8('a' - '0' - 10);
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i high = _mm_and_si128(_mm_srli_epi16(v, 4), low4), low = _mm_and_si128(v, low4);
	__m128i a = _mm_unpacklo_epi8(high, low), b = _mm_unpackhi_epi8(high, low);

	a = _mm_add_epi8(_mm_add_epi8(a, zero), _mm_and_si128(_mm_cmpgt_epi8(a, nine), to_letter));
	b = _mm_add_epi8(_mm_add_epi8(b, zero), _mm_and_si128(_mm_cmpgt_epi8(b, nine), to_letter));
	_mm_storeu_si128((__m128i *)(void *)out, a);
	_mm_storeu_si128((__m128i *)(void *)(out + 16), b);
}
#endif

void
hex_encode(const void *in, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = in;
	size_t i = 0;

#if defined(__SSE2__)
	for (; len - i >= 16; i += 16)
		encode16(p + i, out + 2 * i);
#endif
	for (; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
}

static int
value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
hex_decode(const char *in, size_t len, unsigned char *out)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		int high = value(in[i]), low = value(in[i + 1]);

		if (high < 0 || low < 0)
			return ERR_BAD_REQUEST;
		out[i / 2] = (unsigned char)(high << 4 | low);
	}
	return len % 2 == 0 ? 0 : ERR_BAD_REQUEST;
}
