#include "base/hash.h"

void
hex_encode(const void *in, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = in;

	for (size_t i = 0; i < len; i++) {
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
