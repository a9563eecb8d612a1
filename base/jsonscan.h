/* jsonscan.h: the innermost loops of the JSON reader, shared by its files.  Private to base/. */
#ifndef BASE_JSONSCAN_H_
#define BASE_JSONSCAN_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/** jsonscan_ws(p, end): The first byte that is no white space, or ${end}. */
static inline const char *
jsonscan_ws(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/**
 * jsonscan_plain(p, end): The first byte that is not simply itself within a string: quote, backslash, control
 * or beyond ASCII; or ${end}.
 */
static inline const char *
jsonscan_plain(const char *p, const char *end)
{
#if defined(__SSE2__)
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* Signed comparison: bytes beyond ASCII are negative, so they are caught with the controls. */
		__m128i stop = _mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
		    _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
		unsigned mask = (unsigned)_mm_movemask_epi8(stop);

		if (mask != 0)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	for (; p < end; p++) {
		unsigned char c = (unsigned char)*p;

		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			break;
	}
	return p;
}

/**
 * jsonscan_utf8(p, end): Bytes of the character beyond ASCII at ${p}, 2 to 4; 0 if it is malformed, overlong, a
 * surrogate or above U+10FFFF.
 */
static inline size_t
jsonscan_utf8(const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;
	size_t left = (size_t)(end - p);

	if (u[0] < 0xC2 || left < 2 || (u[1] & 0xC0) != 0x80)
		return 0;
	if (u[0] < 0xE0)
		return 2;
	if (left < 3 || (u[2] & 0xC0) != 0x80)
		return 0;
	if (u[0] < 0xF0)
		return (u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F) ? 0 : 3;
	if (left < 4 || (u[3] & 0xC0) != 0x80 || u[0] > 0xF4)
		return 0;
	return (u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F) ? 0 : 4;
}

/**
 * jsonscan_run(p, end): Within a string: the closing quote or the next backslash; NULL if what stands before
 * it is not valid.
 */
static inline const char *
jsonscan_run(const char *p, const char *end)
{
	for (;;) {
		size_t n;

		p = jsonscan_plain(p, end);
		if (p == end)
			return NULL;
		if (*p == '"' || *p == '\\')
			return p;
		if ((unsigned char)*p < 0x20)
			return NULL;
		n = jsonscan_utf8(p, end);
		if (n == 0)
			return NULL;
		p += n;
	}
}

/**
 * jsonscan_escape(p, end, out, np): Decode the escape at ${p}, a backslash, to the 1 to 4 bytes of ${out}.
 * Returns what is behind it; NULL if it is not valid (a lone surrogate is not).
 */
const char *jsonscan_escape(const char *p, const char *end, char out[4], size_t *np);

/** jsonscan_literal(p, end, word, len): 1 if ${word} stands at ${p}. */
static inline int
jsonscan_literal(const char *p, const char *end, const char *word, size_t len)
{
	return (size_t)(end - p) >= len && __builtin_memcmp(p, word, len) == 0;
}

#endif
