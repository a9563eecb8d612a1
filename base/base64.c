#include "base/hash.h"

/* Values of the characters; WHITE is skipped, PAD ends, BAD is refused. */
#define WHITE 64
#define PAD 65
#define BAD 66

static unsigned
value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26u;
	if (c >= '0' && c <= '9')
		return c - '0' + 52u;
	switch (c) {
	case '+':
	case '-':
		return 62;
	case '/':
	case '_':
		return 63;
	case '=':
		return PAD;
	case ' ':
	case '\t':
	case '\n':
	case '\r':
		return WHITE;
	default:
		return BAD;
	}
}

int
base64_put(struct buf *b, const void *in, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = in;
	size_t whole = len / 3 * 3;
	char *out;
	int err;

	err = buf_reserve(b, (len + 2) / 3 * 4, &out);
	if (err != 0)
		return err;
	for (size_t i = 0; i < whole; i += 3, out += 4) {
		unsigned v = (unsigned)p[i] << 16 | (unsigned)p[i + 1] << 8 | p[i + 2];

		out[0] = alphabet[v >> 18];
		out[1] = alphabet[v >> 12 & 63];
		out[2] = alphabet[v >> 6 & 63];
		out[3] = alphabet[v & 63];
	}
	if (whole < len) {
		unsigned v = (unsigned)p[whole] << 16 | (whole + 1 < len ? (unsigned)p[whole + 1] << 8 : 0);

		out[0] = alphabet[v >> 18];
		out[1] = alphabet[v >> 12 & 63];
		out[2] = whole + 1 < len ? alphabet[v >> 6 & 63] : '=';
		out[3] = '=';
	}
	buf_commit(b, (len + 2) / 3 * 4);
	return 0;
}

/* Writes to ${out} and returns the number of bytes, or -1. */
static long
decode(const unsigned char *in, size_t len, unsigned char *out)
{
	unsigned bits = 0, n = 0, pads = 0;
	unsigned char *p = out;

	for (size_t i = 0; i < len; i++) {
		unsigned v = value(in[i]);

		if (v == WHITE)
			continue;
		if (v == BAD || (v == PAD && (n < 2 || ++pads + n > 4)) || (v < 64 && pads > 0))
			return -1;
		if (v == PAD)
			continue;
		bits = bits << 6 | v;
		if (++n == 4) {
			p[0] = (unsigned char)(bits >> 16);
			p[1] = (unsigned char)(bits >> 8);
			p[2] = (unsigned char)bits;
			p += 3;
			n = 0;
		}
	}
	if (n == 1 || (pads > 0 && n + pads != 4))
		return -1;
	if (n >= 2)
		*p++ = (unsigned char)(n == 2 ? bits >> 4 : bits >> 10);
	if (n == 3)
		*p++ = (unsigned char)(bits >> 2);
	return (long)(p - out);
}

int
base64_get(struct buf *b, const char *in, size_t len)
{
	char *out;
	long n;
	int err;

	err = buf_reserve(b, len / 4 * 3 + 3, &out);
	if (err != 0)
		return err;
	n = decode((const unsigned char *)in, len, (unsigned char *)out);
	if (n < 0)
		return ERR_BAD_BASE64;
	buf_commit(b, (size_t)n);
	return 0;
}
