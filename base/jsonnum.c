/*
 * CouchDB keeps integers of any size, and every other number as a double that it prints in the fewest digits
 * that read back the same.  Nearly all floats in documents have at most 15 significant digits.  Two such
 * decimals never share a double, so the shortest text of the double is made of the very digits that were
 * read, and nothing need be converted to print them.  The rest goes through the C library: print with 15, 16
 * and 17 digits until one reads back equal.
 *
 * CouchDB's decoder leaves a number that strtod() calls out of range to Erlang: with a fraction it is read
 * again, without one it is integer * pow(10, exponent).  That is why 5e-324 is 0.0 (the power alone vanishes)
 * and 4.9e-324 is not.
 */
#include "jsonnum.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define EXACT_DIGITS 15 /* decimals of so many digits are told apart by a double */
#define EXACT_INT (1ull << 53)
#define SAFE_EXP 280 /* decimal exponents well within a double's normal range */
#define EXP_CLAMP 100000

/* (-1)^neg * digits * 10^exp; exact unless more than 19 digits were significant. */
struct decimal {
	uint64_t digits;
	int ndigits;
	int exp;
	int neg;
	int exact;
	int dot;
};

static inline const char *
skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

const char *
jsonnum_end(const char *p, const char *end, int *floatp)
{
	const char *start = p, *from;

	*floatp = 0;
	if (p < end && *p == '-')
		p++;
	if (p == end || *p < '0' || *p > '9')
		return NULL;
	p = *p == '0' ? p + 1 : skip_digits(p, end);
	if (p < end && *p == '.') {
		*floatp = 1;
		from = ++p;
		p = skip_digits(p, end);
		if (p == from)
			return NULL;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		*floatp = 1;
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		from = p;
		p = skip_digits(p, end);
		if (p == from)
			return NULL;
	}
	return p - start <= (ptrdiff_t)LIMIT_NUMBER_LEN ? p : NULL;
}

static int
read_exponent(const char *p, const char *end)
{
	int neg = *p == '-', v = 0;

	if (*p == '-' || *p == '+')
		p++;
	for (; p < end; p++) {
		if (v < EXP_CLAMP)
			v = v * 10 + (*p - '0');
	}
	return neg ? -v : v;
}

static void
read_decimal(const char *p, size_t len, struct decimal *d)
{
	const char *end = p + len;

	*d = (struct decimal){.exact = 1};
	if (*p == '-') {
		d->neg = 1;
		p++;
	}
	for (; p < end; p++) {
		if (*p == '.') {
			d->dot = 1;
		} else if (*p == 'e' || *p == 'E') {
			d->exp += read_exponent(p + 1, end);
			break;
		} else if (d->ndigits < 19) {
			d->digits = d->digits * 10 + (uint64_t)(*p - '0');
			d->ndigits += d->digits > 0;
			d->exp -= d->dot;
		} else {
			d->exact &= *p == '0';
			d->exp += !d->dot;
		}
	}
	while (d->digits > 0 && d->digits % 10 == 0) {
		d->digits /= 10;
		d->ndigits--;
		d->exp++;
	}
}

static int
by_library(const char *s, size_t len, const struct decimal *d, double *vp)
{
	char text[LIMIT_NUMBER_LEN + 1];
	char *e;
	double v;

	memcpy(text, s, len);
	text[len] = '\0';
	errno = 0;
	v = strtod(text, NULL);
	if (errno == ERANGE && !d->dot) {
		e = text + strcspn(text, "eE");
		if (*e != '\0')
			*e++ = '\0';
		v = strtod(text, NULL) * pow(10, read_exponent(e, text + len));
	}
	*vp = v;
	return isfinite(v) ? 0 : ERR_BAD_JSON;
}

static int
to_double(const char *s, size_t len, const struct decimal *d, double *vp)
{
	static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
	    1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	double v;

	/* Both factors are exact, so the one operation rounds correctly. */
	if (d->exact && d->digits <= EXACT_INT && d->exp >= -22 && d->exp <= 22) {
		v = (double)d->digits;
		v = d->exp < 0 ? v / powers[-d->exp] : v * powers[d->exp];
		*vp = d->neg ? -v : v;
		return 0;
	}
	if (d->exact && d->digits == 0) {
		*vp = d->neg ? -0.0 : 0.0;
		return 0;
	}
	return by_library(s, len, d, vp);
}

/* Write 0.DIGITS * 10^point as CouchDB does: plain from 1e-6 to below 1e21. */
static size_t
layout(char *out, int neg, const char *digits, int n, int point)
{
	char *p = out;

	if (neg)
		*p++ = '-';
	if (point > 21 || point <= -6) {
		*p++ = digits[0];
		if (n > 1) {
			*p++ = '.';
			memcpy(p, digits + 1, (size_t)n - 1);
			p += n - 1;
		}
		p += snprintf(p, 8, "e%+d", point - 1);
		return (size_t)(p - out);
	}
	if (point <= 0) {
		*p++ = '0';
		*p++ = '.';
		memset(p, '0', (size_t)-point);
		p += -point;
		memcpy(p, digits, (size_t)n);
		return (size_t)(p + n - out);
	}
	if (point >= n) {
		memcpy(p, digits, (size_t)n);
		memset(p + n, '0', (size_t)(point - n));
		p += point;
		*p++ = '.';
		*p++ = '0';
		return (size_t)(p - out);
	}
	memcpy(p, digits, (size_t)point);
	p[point] = '.';
	memcpy(p + point + 1, digits + point, (size_t)(n - point));
	return (size_t)(p + n + 1 - out);
}

static size_t
put_digits(char *out, int neg, uint64_t v, int exp)
{
	char digits[20];
	int at = sizeof(digits);

	for (; v > 0; v /= 10)
		digits[--at] = (char)('0' + v % 10);
	return layout(out, neg, digits + at, (int)sizeof(digits) - at, (int)sizeof(digits) - at + exp);
}

/* At a power of two the doubles below lie closer than those above: the shortest text may be the next one up. */
static int
round_up(const char *text, double v, struct decimal *d)
{
	char next[40];

	read_decimal(text, strlen(text), d);
	d->digits++;
	snprintf(next, sizeof(next), "%s%llue%d", d->neg ? "-" : "", (unsigned long long)d->digits, d->exp);
	return strtod(next, NULL) == v;
}

static size_t
put_shortest(char *out, double v)
{
	char text[40];
	struct decimal d;
	uint64_t bits;
	int prec;

	memcpy(&bits, &v, sizeof(bits));
	/* Below the normal range a double holds fewer digits. */
	for (prec = fabs(v) < 2.2250738585072014e-308 ? 1 : EXACT_DIGITS; prec < 17; prec++) {
		snprintf(text, sizeof(text), "%.*e", prec - 1, v);
		if (strtod(text, NULL) == v)
			break;
		if ((bits & (EXACT_INT / 2 - 1)) == 0 && round_up(text, v, &d))
			return put_digits(out, d.neg, d.digits, d.exp);
	}
	snprintf(text, sizeof(text), "%.*e", prec - 1, v);
	read_decimal(text, strlen(text), &d);
	return put_digits(out, d.neg, d.digits, d.exp);
}

int
jsonnum_float(const char *s, size_t len, char *out, size_t *lenp, double *vp)
{
	struct decimal d;
	int err;

	read_decimal(s, len, &d);
	err = to_double(s, len, &d, vp);
	if (err != 0 || out == NULL)
		return err;
	if (*vp == 0) {
		memcpy(out, "0.0", 3);
		*lenp = 3;
	} else if (d.exact && d.ndigits <= EXACT_DIGITS && d.exp >= -SAFE_EXP && d.exp <= SAFE_EXP) {
		*lenp = put_digits(out, d.neg, d.digits, d.exp);
	} else {
		*lenp = put_shortest(out, *vp);
	}
	return 0;
}

int
jsonnum_small(const char *s, size_t len, int64_t *vp)
{
	int neg = len > 0 && *s == '-';
	int64_t v = 0;

	if (len - (size_t)neg > 18)
		return 0;
	for (size_t i = (size_t)neg; i < len; i++)
		v = v * 10 + (s[i] - '0');
	*vp = neg ? -v : v;
	return 1;
}

size_t
jsonnum_big(const char *s, size_t len, unsigned char *out)
{
	uint32_t limbs[LIMIT_NUMBER_LEN / 9 + 2];
	size_t n = 0, bytes;
	const char *end = s + len;

	if (s < end && *s == '-')
		s++;
	while (s < end) {
		uint32_t chunk = 0, scale = 1;

		for (int i = 0; i < 9 && s < end; i++, s++) {
			chunk = chunk * 10 + (uint32_t)(*s - '0');
			scale *= 10;
		}
		for (size_t i = 0; i < n; i++) {
			uint64_t v = (uint64_t)limbs[i] * scale + chunk;

			limbs[i] = (uint32_t)v;
			chunk = (uint32_t)(v >> 32);
		}
		if (chunk > 0)
			limbs[n++] = chunk;
	}
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < 4; k++)
			out[i * 4 + (size_t)k] = (unsigned char)(limbs[i] >> 8 * k);
	}
	bytes = n * 4;
	while (bytes > 0 && out[bytes - 1] == 0)
		bytes--;
	return bytes;
}
