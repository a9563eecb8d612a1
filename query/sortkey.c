/*
 * Sort keys: bytes whose order is the collation of the JSON values that they are made from, so that an ordered tree of
 * bytes is an index in CouchDB's order.
 *
 *	null 0x10, false 0x11, true 0x12
 *	number   0x20, the nearest double (8 bytes, so that they ascend), and what the double lacks
 *	string   0x30, ICU's sort key, which has no 0x00, 0x00
 *	array    0x40, its values, 0x00
 *	object   0x50, its members: the key as a string, the value; 0x00
 *
 * In the raw order types have other first bytes, and strings are their own bytes, 0x00 as 0x01 0x01 and 0x01 as 0x01 0x02, then 0x00:
 *
 *	number 0x20, false 0x21, null 0x22, true 0x23, object 0x30, array 0x40, string 0x50
 *
 * 1. Every value begins with a byte above 0x00, so that what ends first comes first.
 * 2. No key is a prefix of another: what is put behind a key does not disturb the order.
 * 3. Rounding to the nearest double never turns an order around, so what is left over need be compared only where the doubles
 *    are equal: 0x80 nothing, 0x81 more, 0x7f less (with its bytes inverted), then the difference's length and digits.
 * 4. Strings that ICU takes for equal have equal keys; in the raw order none but equal ones have.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonnum.h"
#include "base/limits.h"
#include "icu.h"
#include "number.h"
#include "query.h"
#include "sortkey.h"

enum { REST_LESS = 0x7f, REST_NONE = 0x80, REST_MORE = 0x81 };

/* First bytes of the raw order; numbers have SORTKEY_NUMBER. */
enum { RAW_FALSE = 0x21, RAW_NULL, RAW_TRUE, RAW_OBJECT = 0x30, RAW_ARRAY = 0x40, RAW_STRING = 0x50 };
#define RAW_ESCAPE 0x01 /* in raw characters: before one that is not above it, which is then one more */

#define WHOLE_ROOM 320u /* digits of the largest double */

/* What makes an order. */
struct order {
	unsigned char tags[JREAD_NULL + 1]; /* first bytes, by type */
	int (*put_characters)(
	    struct jstr s, size_t max, struct buf *out); /* without SORTKEY_END; no more than is beyond ${max} bytes */
};

/* A key that is being made. */
struct making {
	const struct order *o;
	struct buf *scratch, *out;
	size_t end; /* bytes of ${out} from which on nothing more is wanted: ERR_AGAIN */
};

static int put_value(struct jread *j, const struct making *m);

/* ---- Numbers ---- */

static void
put_double(struct buf *out, double d)
{
	uint64_t bits;

	d += 0.0; /* -0.0 is 0.0 */
	memcpy(&bits, &d, sizeof(bits));
	bits = bits >> 63 != 0 ? ~bits : bits | UINT64_C(1) << 63;
	buf_put_u64be(out, bits);
}

/* Digits without leading zeros; those of ${b} are at most those of ${a}.  ${out} has ${a}'s room.  Returns the length of a - b. */
static size_t
subtract(const char *a, size_t alen, const char *b, size_t blen, char *out)
{
	size_t zeros = 0;
	int borrow = 0;

	for (size_t i = 0; i < alen; i++) {
		int d = a[alen - 1 - i] - '0' - borrow - (i < blen ? b[blen - 1 - i] - '0' : 0);

		borrow = d < 0;
		out[alen - 1 - i] = (char)('0' + d + 10 * borrow);
	}
	while (zeros < alen && out[zeros] == '0')
		zeros++;
	memmove(out, out + zeros, alen - zeros);
	return alen - zeros;
}

static int
put_rest(struct buf *out, int more, const char *digits, size_t len)
{
	const unsigned char flip = more ? 0 : 0xff;

	buf_putc(out, (char)(more ? REST_MORE : REST_LESS));
	buf_putc(out, (char)((unsigned char)(len >> 8) ^ flip));
	buf_putc(out, (char)((unsigned char)len ^ flip));
	for (size_t i = 0; i < len; i++)
		buf_putc(out, (char)((unsigned char)digits[i] ^ flip));
	return buf_failed(out);
}

/*
 * An integer that a double may not hold: the nearest one, and the difference.  Not inlined into put_value(), whose frame is there once
 * for each level.
 */
__attribute__((noinline)) static int
put_big(struct buf *out, struct jstr text)
{
	size_t neg = *text.s == '-', len = text.len - neg, wlen = 0, rlen;
	const char *digits = text.s + neg;
	char whole[WHOLE_ROOM], rest[LIMIT_NUMBER_LEN];
	double d;
	int order;

	if (len > sizeof(rest))
		return ERR_BAD_JSON;
	if (jsonnum_float(text.s, text.len, NULL, NULL, &d) != 0)
		d = neg ? -HUGE_VAL : HUGE_VAL;
	put_double(out, d);
	if (!isinf(d))
		wlen = (size_t)snprintf(whole, sizeof(whole), "%.0f", fabs(d));
	order = len != wlen ? (len > wlen ? 1 : -1) : memcmp(digits, whole, len);
	if (order == 0)
		return buf_putc(out, (char)REST_NONE);
	rlen = order > 0 ? subtract(digits, len, whole, wlen, rest) : subtract(whole, wlen, digits, len, rest);
	return put_rest(out, (order > 0) != (neg != 0), rest, rlen);
}

static int
put_number(struct jread *j, struct buf *out)
{
	const int64_t exact = INT64_C(1) << 53;
	struct number n;
	struct jstr text;
	int err = jread_skip(j, &text);

	if (err != 0)
		return err;
	number_read(text, &n);
	buf_putc(out, SORTKEY_NUMBER);
	if (n.kind == NUMBER_BIG || (n.kind == NUMBER_SMALL && (n.i > exact || n.i < -exact)))
		return put_big(out, text);
	put_double(out, n.kind == NUMBER_FLOAT ? n.d : (double)n.i);
	return buf_putc(out, (char)REST_NONE);
}

/* ---- The rest ---- */

static int
put_raw(struct jstr s, size_t max, struct buf *out)
{
	size_t from = 0;

	s.len = s.len < max ? s.len : max;
	for (size_t i = 0; i < s.len; i++) {
		if ((unsigned char)s.s[i] > RAW_ESCAPE)
			continue;
		buf_put(out, s.s + from, i - from);
		buf_putc(out, RAW_ESCAPE);
		buf_putc(out, (char)(s.s[i] + 1));
		from = i + 1;
	}
	return buf_put(out, s.s + from, s.len - from);
}

static int
is_enough(const struct making *m)
{
	return m->out->len >= m->end;
}

static int
put_characters(struct jstr s, const struct making *m)
{
	int err = is_enough(m) ? ERR_AGAIN : m->o->put_characters(s, m->end - m->out->len, m->out);

	return err != 0 ? err : buf_putc(m->out, SORTKEY_END);
}

static int
put_string(struct jread *j, const struct making *m)
{
	struct jstr s;
	int err = jread_string(j, m->scratch, &s);

	if (err != 0)
		return err;
	buf_putc(m->out, (char)m->o->tags[JREAD_STRING]);
	return put_characters(s, m);
}

static int
put_array(struct jread *j, const struct making *m)
{
	int err = jread_array_begin(j);

	buf_putc(m->out, (char)m->o->tags[JREAD_ARRAY]);
	while (err == 0 && (err = jread_array_next(j)) == 0)
		err = put_value(j, m);
	return err == ERR_END ? buf_putc(m->out, SORTKEY_END) : err;
}

static int
put_object(struct jread *j, const struct making *m)
{
	struct jstr key;
	int err = jread_object_begin(j);

	buf_putc(m->out, (char)m->o->tags[JREAD_OBJECT]);
	while (err == 0 && (err = jread_object_next(j, m->scratch, &key)) == 0) {
		/* A member, even one without a name, comes behind the end of an object without it. */
		buf_putc(m->out, (char)m->o->tags[JREAD_STRING]);
		if ((err = put_characters(key, m)) == 0)
			err = put_value(j, m);
	}
	return err == ERR_END ? buf_putc(m->out, SORTKEY_END) : err;
}

static int
put_word(struct jread *j, unsigned char tag, struct buf *out)
{
	int err = jread_skip(j, NULL);

	return err != 0 ? err : buf_putc(out, (char)tag);
}

/* The recursion is bounded by the reader: LIMIT_JSON_DEPTH. */
static int
put_value(struct jread *j, const struct making *m)
{
	enum jread_type type = jread_peek(j);

	if (is_enough(m))
		return ERR_AGAIN;
	switch (type) {
	case JREAD_NULL:
	case JREAD_FALSE:
	case JREAD_TRUE:
		return put_word(j, m->o->tags[type], m->out);
	case JREAD_NUMBER:
		return put_number(j, m->out);
	case JREAD_STRING:
		return put_string(j, m);
	case JREAD_ARRAY:
		return put_array(j, m);
	case JREAD_OBJECT:
		return put_object(j, m);
	case JREAD_ERROR:
		break;
	}
	return ERR_BAD_JSON;
}

/* put: At most ${max} bytes. */
static int
put(struct jstr json, const struct order *o, size_t max, struct buf *scratch, struct buf *out)
{
	size_t before = out->len;
	struct making m = {o, scratch, out, max < SIZE_MAX - before ? before + max : SIZE_MAX};
	struct jread j;
	int err;

	jread_init(&j, json.s, json.len);
	err = put_value(&j, &m);
	if (buf_failed(out) != 0)
		err = buf_failed(out);
	if (err == 0)
		err = jread_end(&j);
	if (err == ERR_AGAIN)
		err = 0;
	out->len = err != 0 ? before : out->len < m.end ? out->len : m.end;
	return err;
}

static const struct order by_view = {{[JREAD_NULL] = SORTKEY_NULL,
					 [JREAD_FALSE] = SORTKEY_FALSE,
					 [JREAD_TRUE] = SORTKEY_TRUE,
					 [JREAD_STRING] = SORTKEY_STRING,
					 [JREAD_ARRAY] = SORTKEY_ARRAY,
					 [JREAD_OBJECT] = SORTKEY_OBJECT},
    icu_sortkey};

static const struct order by_raw = {{[JREAD_FALSE] = RAW_FALSE,
					[JREAD_NULL] = RAW_NULL,
					[JREAD_TRUE] = RAW_TRUE,
					[JREAD_OBJECT] = RAW_OBJECT,
					[JREAD_ARRAY] = RAW_ARRAY,
					[JREAD_STRING] = RAW_STRING},
    put_raw};

int
query_sortkey(struct jstr json, struct buf *scratch, struct buf *out)
{
	return put(json, &by_view, SIZE_MAX, scratch, out);
}

int
query_sortkey_beginning(struct jstr json, size_t max, struct buf *scratch, struct buf *out)
{
	return put(json, &by_view, max, scratch, out);
}

int
query_sortkey_raw(struct jstr json, struct buf *scratch, struct buf *out)
{
	return put(json, &by_raw, SIZE_MAX, scratch, out);
}

int
query_sortkey_version(unsigned char out[QUERY_SORTKEY_VERSION])
{
	out[0] = 2; /* of what stands above, and of icu.c */
	return icu_version(out + 1);
}
