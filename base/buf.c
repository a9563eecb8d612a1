#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define FIRST_CAP 64u

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void
buf_init_arena(struct buf *b, struct arena *a, size_t max)
{
	*b = (struct buf){.max = max, .arena = a};
}

void
buf_release(struct buf *b)
{
	if (b->arena == NULL)
		free(b->data);
	*b = (struct buf){.max = b->max, .arena = b->arena};
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = 0;
}

static int
fail(struct buf *b, int err)
{
	if (b->failed == 0)
		b->failed = err;
	return err;
}

/* Out of line: the appends below are inlined around the case where there is room. */
static __attribute__((noinline)) int
grow(struct buf *b, size_t n)
{
	size_t cap = b->cap > 0 ? b->cap : FIRST_CAP;
	char *data;

	if (b->failed != 0)
		return b->failed;
	if (n > b->max - b->len)
		return fail(b, ERR_TOO_LARGE);
	while (cap - b->len < n)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if (cap > b->max)
		cap = b->max;
	if (b->arena == NULL) {
		data = realloc(b->data, cap);
	} else {
		data = arena_alloc(b->arena, cap);
		if (data != NULL && b->len > 0)
			memcpy(data, b->data, b->len);
	}
	if (data == NULL)
		return fail(b, ERR_NOMEM);
	b->data = data;
	b->cap = cap;
	return 0;
}

/* ${n} is not 0, so that there are bytes where there is room. */
static inline int
room(struct buf *b, size_t n)
{
	if (b->cap - b->len >= n && b->failed == 0)
		return 0;
	return grow(b, n);
}

int
buf_reserve(struct buf *b, size_t n, char **pp)
{
	int err = room(b, n > 0 ? n : 1);

	if (err == 0)
		*pp = b->data + b->len;
	return err;
}

void
buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->len);
	b->len += n;
}

int
buf_put(struct buf *b, const void *data, size_t len)
{
	int err;

	if (len == 0)
		return b->failed;
	err = room(b, len);
	if (err == 0) {
		memcpy(b->data + b->len, data, len);
		b->len += len;
	}
	return err;
}

int
buf_puts(struct buf *b, const char *s)
{
	return buf_put(b, s, strlen(s));
}

int
buf_putc(struct buf *b, char c)
{
	int err = room(b, 1);

	if (err == 0)
		b->data[b->len++] = c;
	return err;
}

int
buf_put_u64(struct buf *b, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return buf_put(b, digits + at, sizeof(digits) - at);
}

int
buf_put_varint(struct buf *b, uint64_t n)
{
	unsigned char bytes[10];
	size_t len = 0;

	while (n >= 0x80) {
		bytes[len++] = (unsigned char)(n | 0x80);
		n >>= 7;
	}
	bytes[len++] = (unsigned char)n;
	return buf_put(b, bytes, len);
}

int
buf_put_u32be(struct buf *b, uint32_t n)
{
	unsigned char bytes[4];

	for (int i = 3; i >= 0; i--, n >>= 8)
		bytes[i] = (unsigned char)n;
	return buf_put(b, bytes, sizeof(bytes));
}

int
buf_put_u64be(struct buf *b, uint64_t n)
{
	unsigned char bytes[8];

	for (int i = 7; i >= 0; i--, n >>= 8)
		bytes[i] = (unsigned char)n;
	return buf_put(b, bytes, sizeof(bytes));
}

int
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	char *p;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return fail(b, ERR_INTERNAL);
	/* vsnprintf() ends with a NUL, which takes room for a moment. */
	if (room(b, (size_t)n + 1) != 0)
		return b->failed;
	p = b->data + b->len;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

size_t
buf_json_plain(const char *s, size_t len)
{
	size_t i = 0;

#if defined(__SSE2__)
	for (; len - i >= 16; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
		__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
		__m128i marks =
		    _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, marks));

		if (mask != 0)
			return i + (size_t)__builtin_ctz(mask);
	}
#endif
	while (i < len && (unsigned char)s[i] >= 0x20 && s[i] != '"' && s[i] != '\\')
		i++;
	return i;
}

int
buf_put_json(struct buf *b, const char *s, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t from = 0;

	if (buf_json_plain(s, len) == len && room(b, len + 2) == 0) {
		char *p = b->data + b->len;

		p[0] = '"';
		if (len > 0)
			memcpy(p + 1, s, len);
		p[len + 1] = '"';
		b->len += len + 2;
		return 0;
	}
	buf_putc(b, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		char esc[6] = {'\\', 0, '0', '0', 0, 0};
		size_t n = 2;

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		switch (c) {
		case '"':
		case '\\':
			esc[1] = (char)c;
			break;
		case '\b':
			esc[1] = 'b';
			break;
		case '\f':
			esc[1] = 'f';
			break;
		case '\n':
			esc[1] = 'n';
			break;
		case '\r':
			esc[1] = 'r';
			break;
		case '\t':
			esc[1] = 't';
			break;
		default:
			esc[1] = 'u';
			esc[4] = hex[c >> 4];
			esc[5] = hex[c & 15];
			n = 6;
			break;
		}
		buf_put(b, s + from, i - from);
		buf_put(b, esc, n);
		from = i + 1;
	}
	buf_put(b, s + from, len - from);
	return buf_putc(b, '"');
}

int
buf_failed(const struct buf *b)
{
	return b->failed;
}

char *
buf_take(struct buf *b, size_t *lenp)
{
	char *data = b->data;

	if (lenp != NULL)
		*lenp = b->len;
	*b = (struct buf){.max = b->max, .arena = b->arena};
	return data;
}
