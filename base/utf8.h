/* utf8.h: where a text may be cut. */
#ifndef BASE_UTF8_H_
#define BASE_UTF8_H_

#include <stddef.h>

/** utf8_whole(s, len): How many of the first ${len} bytes of ${s}, valid UTF-8, are whole characters.  Reads no byte behind them. */
static inline size_t
utf8_whole(const char *s, size_t len)
{
	size_t lead = len, n;
	unsigned char c;

	if (len == 0)
		return 0;
	do
		c = (unsigned char)s[--lead];
	while (lead > 0 && (c & 0xc0) == 0x80);
	n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
	return lead + n > len ? lead : len;
}

#endif
