#include "jsonscan.h"

static int
hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (c - 'A' + 10);
		else
			return -1;
	}
	return v;
}

static size_t
encode(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* ${p} is at the 'u'. */
static const char *
unicode(const char *p, const char *end, char out[4], size_t *np)
{
	int high, low;

	if (end - p < 5)
		return NULL;
	high = hex4(p + 1);
	p += 5;
	if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
		return NULL;
	if (high >= 0xD800 && high <= 0xDBFF) {
		if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
			return NULL;
		low = hex4(p + 2);
		if (low < 0xDC00 || low > 0xDFFF)
			return NULL;
		high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
		p += 6;
	}
	*np = encode((uint32_t)high, out);
	return p;
}

const char *
jsonscan_escape(const char *p, const char *end, char out[4], size_t *np)
{
	if (end - p < 2)
		return NULL;
	p++;
	*np = 1;
	switch (*p) {
	case '"':
	case '\\':
	case '/':
		out[0] = *p;
		break;
	case 'b':
		out[0] = '\b';
		break;
	case 'f':
		out[0] = '\f';
		break;
	case 'n':
		out[0] = '\n';
		break;
	case 'r':
		out[0] = '\r';
		break;
	case 't':
		out[0] = '\t';
		break;
	case 'u':
		return unicode(p, end, out, np);
	default:
		return NULL;
	}
	return p + 1;
}
