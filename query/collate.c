/*
 * Two values are compared by walking both texts at once: no tree is built, and the walk ends at the first difference.
 *
 * Strings go by ICU's root collation.  Where it cannot matter ICU is not asked: of two strings of printable ASCII
 * the root collation compares the letters without regard to case by the table below, and then case, small before
 * capital, at the first place where it differs.  Of strings that go on beyond ASCII that still decides, if the character after the
 * first difference is ASCII as well: a mark that would change the weight of what stands before it must follow at once.
 *
 * 1. The table is the order of the ICU that the build has headers of (a test compares the two), so that both ways
 *    of comparing are one order.
 * 2. Two different strings of printable ASCII are never equal; others may be, as composed and decomposed letters are.
 */
#include "collate.h"

#include <string.h>

#include "base/limits.h"
#include "icu.h"
#include "query.h"

/* What a step of struct collate pays for. */
#define READ_BYTES 4     /* bytes of any value that is read */
#define PLAIN_BYTES 32   /* bytes of a string that has no escapes */
#define SAME_BYTES 4     /* bytes that are equal but for case */
#define ICU_STEPS 3      /* for each byte, where ICU compares */
#define PRINT_STEPS 1000 /* for a double that is written out */

/* The place of each printable ASCII character, small and capital letters sharing one; 0: ask ICU. */
static const unsigned char weights[256] = {
    [0x20] = 1,
    7,
    11,
    23,
    33,
    24,
    22,
    10,
    12,
    13,
    19,
    27,
    4,
    3,
    9,
    20,
    [0x30] = 34,
    35,
    36,
    37,
    38,
    39,
    40,
    41,
    42,
    43,
    6,
    5,
    28,
    29,
    30,
    8,
    [0x40] = 18,
    44,
    45,
    46,
    47,
    48,
    49,
    50,
    51,
    52,
    53,
    54,
    55,
    56,
    57,
    58,
    [0x50] = 59,
    60,
    61,
    62,
    63,
    64,
    65,
    66,
    67,
    68,
    69,
    14,
    21,
    15,
    26,
    2,
    [0x60] = 25,
    44,
    45,
    46,
    47,
    48,
    49,
    50,
    51,
    52,
    53,
    54,
    55,
    56,
    57,
    58,
    [0x70] = 59,
    60,
    61,
    62,
    63,
    64,
    65,
    66,
    67,
    68,
    69,
    16,
    31,
    17,
    32,
    0,
};

static int
is_plain(struct jstr s, size_t at)
{
	return at >= s.len || weights[(unsigned char)s.s[at]] != 0;
}

/* Returns 1 and the order if ASCII decides. */
static int
ascii_compare(struct jstr a, struct jstr b, int *orderp)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int by_case = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char ca = (unsigned char)a.s[i], cb = (unsigned char)b.s[i];
		unsigned wa = weights[ca], wb = weights[cb];

		if (wa == 0 || wb == 0)
			return 0;
		if (wa != wb) {
			*orderp = wa < wb ? -1 : 1;
			return is_plain(a, i + 1) && is_plain(b, i + 1);
		}
		if (ca != cb && by_case == 0)
			by_case = ca > cb ? -1 : 1;
	}
	*orderp = a.len != b.len ? (a.len < b.len ? -1 : 1) : by_case;
	return is_plain(a, len) && is_plain(b, len);
}

/* Returns 1 and the order if ICU need not be asked. */
static int
without_icu(struct jstr a, struct jstr b, int *orderp)
{
	if (a.len == b.len && memcmp(a.s, b.s, a.len) == 0) {
		*orderp = 0;
		return 1;
	}
	return ascii_compare(a, b, orderp);
}

int
collate_strings(struct jstr a, struct jstr b, int *orderp)
{
	return without_icu(a, b, orderp) ? 0 : icu_compare(a, b, orderp);
}

static int
bytes_compare(struct jstr a, struct jstr b)
{
	int order = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int
strings(struct collate *c, struct jstr a, struct jstr b, int *orderp)
{
	size_t len = a.len < b.len ? a.len : b.len;

	c->steps += len / SAME_BYTES;
	if (c->raw) {
		*orderp = bytes_compare(a, b);
		return 0;
	}
	if (without_icu(a, b, orderp))
		return 0;
	c->steps += len * ICU_STEPS;
	return icu_compare(a, b, orderp);
}

static int
numbers(struct collate *c, const struct number *a, const struct number *b)
{
	c->steps += (a->text.len + b->text.len) / READ_BYTES;
	c->steps += number_is_slow(a, b) ? PRINT_STEPS : 0;
	return number_compare(a, b);
}

void
collate_init(struct collate *c)
{
	buf_init(&c->a, LIMIT_REQUEST_LEN);
	buf_init(&c->b, LIMIT_REQUEST_LEN);
	c->raw = 0;
	c->steps = 0;
}

void
collate_release(struct collate *c)
{
	buf_release(&c->a);
	buf_release(&c->b);
}

/* Types do not mix.  Erlang's order: numbers, false, null, true, objects (tuples), lists, strings. */
static unsigned
rank(const struct collate *c, enum jread_type type)
{
	static const unsigned char by_view[] = {[JREAD_NULL] = 0,
	    [JREAD_FALSE] = 1,
	    [JREAD_TRUE] = 2,
	    [JREAD_NUMBER] = 3,
	    [JREAD_STRING] = 4,
	    [JREAD_ARRAY] = 5,
	    [JREAD_OBJECT] = 6};
	static const unsigned char by_term[] = {[JREAD_NUMBER] = 0,
	    [JREAD_FALSE] = 1,
	    [JREAD_NULL] = 2,
	    [JREAD_TRUE] = 3,
	    [JREAD_OBJECT] = 4,
	    [JREAD_ARRAY] = 5,
	    [JREAD_STRING] = 6};

	return c->raw ? by_term[type] : by_view[type];
}

struct value
collate_value(struct jstr text)
{
	struct jread j;

	jread_init(&j, text.s, text.len);
	return (struct value){.type = jread_peek(&j), .text = text};
}

int
collate_plain(const struct value *v, struct buf *scratch, struct jstr *sp)
{
	struct jread j;

	if (v->plain) {
		*sp = v->text;
		return 0;
	}
	jread_init(&j, v->text.s, v->text.len);
	return jread_string(&j, scratch, sp);
}

size_t
collate_plain_steps(size_t raw, size_t plain)
{
	/* What is longer in JSON are escapes, read one by one, and the quotes. */
	return plain / PLAIN_BYTES + (raw > plain + 2 ? raw - plain - 2 : 0);
}

static int walk(struct collate *c, struct jread *a, struct jread *b, int *orderp);

static int
walk_arrays(struct collate *c, struct jread *a, struct jread *b, int *orderp)
{
	int aerr = jread_array_begin(a), berr = jread_array_begin(b);

	while (aerr == 0 && berr == 0) {
		aerr = jread_array_next(a);
		berr = jread_array_next(b);
		if (aerr != 0 || berr != 0)
			break;
		aerr = walk(c, a, b, orderp);
		if (aerr != 0 || *orderp != 0)
			return aerr;
	}
	if ((aerr != 0 && aerr != ERR_END) || (berr != 0 && berr != ERR_END))
		return aerr != 0 && aerr != ERR_END ? aerr : berr;
	*orderp = (berr == ERR_END) - (aerr == ERR_END);
	return 0;
}

static int
walk_objects(struct collate *c, struct jread *a, struct jread *b, int *orderp)
{
	int aerr = jread_object_begin(a), berr = jread_object_begin(b);

	while (aerr == 0 && berr == 0) {
		struct jstr akey, bkey;

		aerr = jread_object_next(a, &c->a, &akey);
		berr = jread_object_next(b, &c->b, &bkey);
		if (aerr != 0 || berr != 0)
			break;
		c->steps += (akey.len + bkey.len) / READ_BYTES;
		aerr = strings(c, akey, bkey, orderp);
		if (aerr == 0 && *orderp == 0)
			aerr = walk(c, a, b, orderp);
		if (aerr != 0 || *orderp != 0)
			return aerr;
	}
	if ((aerr != 0 && aerr != ERR_END) || (berr != 0 && berr != ERR_END))
		return aerr != 0 && aerr != ERR_END ? aerr : berr;
	*orderp = (berr == ERR_END) - (aerr == ERR_END);
	return 0;
}

static int
read_string(struct collate *c, struct jread *j, struct buf *scratch, struct jstr *sp)
{
	const char *from = j->p;
	int err = jread_string(j, scratch, sp);

	if (err == 0)
		c->steps += collate_plain_steps((size_t)(j->p - from), sp->len);
	return err;
}

static int
walk_scalars(struct collate *c, struct jread *a, struct jread *b, enum jread_type type, int *orderp)
{
	struct jstr as, bs;
	struct number an, bn;
	int err;

	if (type == JREAD_STRING) {
		err = read_string(c, a, &c->a, &as);
		if (err == 0)
			err = read_string(c, b, &c->b, &bs);
		return err != 0 ? err : strings(c, as, bs, orderp);
	}
	err = jread_skip(a, &as);
	if (err == 0)
		err = jread_skip(b, &bs);
	if (err != 0)
		return err;
	*orderp = 0;
	if (type == JREAD_NUMBER) {
		number_read(as, &an);
		number_read(bs, &bn);
		*orderp = numbers(c, &an, &bn);
	}
	return 0;
}

/* The recursion is bounded by the readers: LIMIT_JSON_DEPTH. */
static int
walk(struct collate *c, struct jread *a, struct jread *b, int *orderp)
{
	enum jread_type at = jread_peek(a), bt = jread_peek(b);

	c->steps++;
	if (at == JREAD_ERROR || bt == JREAD_ERROR)
		return ERR_BAD_JSON;
	if (at != bt) {
		*orderp = rank(c, at) < rank(c, bt) ? -1 : 1;
		return 0;
	}
	switch (at) {
	case JREAD_ARRAY:
		return walk_arrays(c, a, b, orderp);
	case JREAD_OBJECT:
		return walk_objects(c, a, b, orderp);
	default:
		return walk_scalars(c, a, b, at, orderp);
	}
}

int
collate_texts(struct collate *c, struct jstr a, struct jstr b, int *orderp)
{
	struct jread ja, jb;

	jread_init(&ja, a.s, a.len);
	jread_init(&jb, b.s, b.len);
	return walk(c, &ja, &jb, orderp);
}

int
collate_constant(struct collate *c, const struct value *v, const struct constant *k, int *orderp)
{
	struct number num;
	struct jstr s;
	int err;

	if (v->type != k->v.type) {
		*orderp = rank(c, v->type) < rank(c, k->v.type) ? -1 : 1;
		return 0;
	}
	switch (v->type) {
	case JREAD_STRING:
		err = collate_plain(v, &c->a, &s);
		if (err != 0)
			return err;
		c->steps += collate_plain_steps(v->text.len, s.len);
		return strings(c, s, k->v.text, orderp);
	case JREAD_NUMBER:
		number_read(v->text, &num);
		*orderp = numbers(c, &num, &k->num);
		return 0;
	case JREAD_ARRAY:
	case JREAD_OBJECT:
		return collate_texts(c, v->text, k->v.text, orderp);
	default:
		*orderp = 0;
		return 0;
	}
}

int
query_collate(struct jstr a, struct jstr b, int *orderp)
{
	struct collate c;
	int err;

	collate_init(&c);
	err = collate_texts(&c, a, b, orderp);
	collate_release(&c);
	return err;
}
