/*
 * Integers of up to 18 digits are compared as such, longer ones by their digits (there are no leading zeros,
 * so more digits are more), and floats as doubles.  Across kinds nothing is rounded: a double of 2^53 or more is an integer,
 * which can be written out in full.
 */
#include "number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonnum.h"

#define EXACT 9007199254740992.0 /* 2^53: doubles below hold every integer */
#define SMALL_MAX 1e18           /* above every NUMBER_SMALL */

void
number_read(struct jstr text, struct number *n)
{
	int is_float = 0;

	*n = (struct number){.kind = NUMBER_SMALL, .text = text};
	if (jsonnum_end(text.s, text.s + text.len, &is_float) == NULL)
		return;
	if (is_float) {
		n->kind = NUMBER_FLOAT;
		if (jsonnum_float(text.s, text.len, NULL, NULL, &n->d) != 0)
			n->d = *text.s == '-' ? -HUGE_VAL : HUGE_VAL;
	} else if (!jsonnum_small(text.s, text.len, &n->i)) {
		n->kind = NUMBER_BIG;
	}
}

static int
sign(const struct number *n)
{
	switch (n->kind) {
	case NUMBER_SMALL:
		return (n->i > 0) - (n->i < 0);
	case NUMBER_FLOAT:
		return (n->d > 0) - (n->d < 0);
	case NUMBER_BIG:
		break;
	}
	return *n->text.s == '-' ? -1 : 1;
}

static int
digits_compare(const char *a, size_t alen, const char *b, size_t blen)
{
	if (alen != blen)
		return alen < blen ? -1 : 1;
	return memcmp(a, b, alen);
}

/* Two numbers of one sign, not both small, of which ${a} is an integer; the magnitudes' order. */
static int
magnitudes(const struct number *a, const struct number *b)
{
	size_t aneg = *a->text.s == '-', bneg = *b->text.s == '-';
	char whole[320];
	int n;

	if (b->kind != NUMBER_FLOAT)
		return digits_compare(a->text.s + aneg, a->text.len - aneg, b->text.s + bneg, b->text.len - bneg);
	if (isinf(b->d))
		return -1;
	/* A long integer is the only one that gets here. */
	if (fabs(b->d) < SMALL_MAX)
		return 1;
	n = snprintf(whole, sizeof(whole), "%.0f", fabs(b->d));
	return digits_compare(a->text.s + aneg, a->text.len - aneg, whole, (size_t)n);
}

static int
small_float(int64_t i, double d)
{
	int64_t whole;

	if (i < (int64_t)EXACT && i > -(int64_t)EXACT)
		return ((double)i > d) - ((double)i < d);
	if (d >= SMALL_MAX || d <= -SMALL_MAX)
		return d > 0 ? -1 : 1;
	whole = (int64_t)d;
	if (i != whole)
		return i < whole ? -1 : 1;
	return ((double)whole > d) - ((double)whole < d);
}

int
number_compare(const struct number *a, const struct number *b)
{
	int asign, bsign, order;

	if (a->kind == NUMBER_SMALL && b->kind == NUMBER_SMALL)
		return (a->i > b->i) - (a->i < b->i);
	if (a->kind == NUMBER_FLOAT && b->kind == NUMBER_FLOAT)
		return (a->d > b->d) - (a->d < b->d);
	if (a->kind == NUMBER_SMALL && b->kind == NUMBER_FLOAT)
		return small_float(a->i, b->d);
	if (a->kind == NUMBER_FLOAT && b->kind == NUMBER_SMALL)
		return -small_float(b->i, a->d);
	asign = sign(a);
	bsign = sign(b);
	if (asign != bsign)
		return asign < bsign ? -1 : 1;
	order = a->kind == NUMBER_FLOAT ? -magnitudes(b, a) : magnitudes(a, b);
	return asign < 0 ? -order : order;
}

int
number_is_slow(const struct number *a, const struct number *b)
{
	if (a->kind == NUMBER_FLOAT)
		return b->kind == NUMBER_BIG && fabs(a->d) >= SMALL_MAX;
	return a->kind == NUMBER_BIG && b->kind == NUMBER_FLOAT && fabs(b->d) >= SMALL_MAX;
}

/* The magnitude of a long integer by ${d}: digit after digit; the remainder so far stays below ${d}, 64 bits. */
static uint64_t
digits_rem(const char *s, size_t len, uint64_t d)
{
	__extension__ unsigned __int128 rem = 0;

	for (size_t k = 0; k < len; k++)
		rem = (rem * 10 + (unsigned)(s[k] - '0')) % d;
	return (uint64_t)rem;
}

int
number_rem(const struct number *n, int64_t d, int64_t r)
{
	size_t neg = *n->text.s == '-';
	int64_t rem;

	switch (n->kind) {
	case NUMBER_SMALL:
		return n->i % d == r;
	case NUMBER_FLOAT:
		return 0;
	case NUMBER_BIG:
		break;
	}
	/* Below |d|, so at most INT64_MAX. */
	rem = (int64_t)digits_rem(n->text.s + neg, n->text.len - neg, d < 0 ? 0 - (uint64_t)d : (uint64_t)d);
	return (neg ? -rem : rem) == r;
}
