/*
 * builtin.c: _sum, _count, _stats, _approx_count_distinct, _first, _last, _top_N, _bottom_N.
 *
 * Plain numbers are added as they are read.  Integers stay integers as long as 64 bits hold them; with a float, or beyond that, the sum is a
 * double, as JavaScript's would be.  Arrays and objects of numbers, which _sum and _stats take as well, are added as trees (base/jtree.h).
 *
 * _approx_count_distinct is a HyperLogLog of 2,048 registers (1.6 KiB; standard error 2.3%), counted linearly while most are empty.  Its
 * partial result is a text: a digit for each register, most significant bits of a hash of the key choosing which.
 */
#include "builtin.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/jtree.h"
#include "base/utf8.h"
#include "query/query.h"

#define REGISTERS 2048u
#define REGISTER_BITS 11u
#define REGISTER_ZERO '0'        /* a register's value is its character less this: at most 54, a printable one */
#define EXACT 9007199254740992.0 /* 2^53: below, doubles hold every integer */
#define DEPTH_MAX 64u            /* nesting of values that are added */
#define SHOWN 200u               /* bytes of a value that an error shows */

static const char sum_takes[] =
    "The _sum function requires that map values be numbers, arrays of numbers, or objects. Objects cannot be mixed "
    "with "
    "other data structures. Objects can be arbitrarily nested, provided that the values for all fields are themselves "
    "numbers, arrays of numbers, or objects.";

/* ---- Numbers ---- */

struct number {
	int is_float;
	int64_t i;
	double d;
};

static double
as_double(const struct number *n)
{
	return n->is_float ? n->d : (double)n->i;
}

static void
add(struct number *to, const struct number *n)
{
	int64_t sum;

	if (!to->is_float && !n->is_float && !__builtin_add_overflow(to->i, n->i, &sum)) {
		to->i = sum;
		return;
	}
	to->d = as_double(to) + as_double(n);
	to->is_float = 1;
}

/* read_whole: Most numbers are whole and have few digits. */
static int
read_whole(struct jstr text, struct number *out)
{
	size_t sign = text.len > 0 && text.s[0] == '-', i = sign;
	int64_t n = 0;

	for (; i < text.len && text.s[i] >= '0' && text.s[i] <= '9'; i++)
		n = 10 * n + (text.s[i] - '0');
	if (i < text.len || i == sign)
		return 0;
	*out = (struct number){.i = sign ? -n : n};
	return 1;
}

static int
read_number(struct jstr text, struct number *out)
{
	char copy[64], *end;
	size_t len = text.len;

	if (len <= 18 && read_whole(text, out))
		return 1;
	if (len == 0 || len >= sizeof(copy) || (text.s[0] != '-' && (text.s[0] < '0' || text.s[0] > '9')))
		return 0;
	memcpy(copy, text.s, len);
	copy[len] = '\0';
	*out = (struct number){.is_float = strpbrk(copy, ".eE") != NULL};
	if (!out->is_float) {
		errno = 0;
		out->i = strtoll(copy, &end, 10);
		out->is_float = errno == ERANGE;
	}
	if (out->is_float)
		out->d = strtod(copy, &end);
	return end == copy + len;
}

/* A double as CouchDB prints it: the reader of documents knows how. */
static int
put_double(struct buf *out, double d)
{
	struct jread j;
	char text[40];
	int n;

	if (!isfinite(d))
		return buf_puts(out, "null");
	n = snprintf(text, sizeof(text), "%.17g", d + 0.0);
	if (strpbrk(text, ".e") == NULL)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ".0");
	jread_init(&j, text, (size_t)n);
	return jread_text(&j, out, NULL);
}

static int
put_number(struct buf *out, const struct number *n)
{
	return n->is_float ? put_double(out, n->d) : buf_printf(out, "%lld", (long long)n->i);
}

/* ---- Values that are no plain numbers ---- */

/* What can't be added.  Where only memory is lacking it is ERR_NOMEM, which must not stand in an index as an error of its values. */
#define NOT_ADDED ERR_BAD_REQUEST

/* The text is JSON: what a tree has no room for (numbers, a NUL in a key) can't be added. */
static int
load(struct jstr text, json_t **vp)
{
	int err = jtree_load(text, JTREE_NUL | JTREE_REALS, vp);

	return err == ERR_BAD_JSON ? NOT_ADDED : err;
}

static int
dump_piece(const char *text, size_t len, void *out)
{
	return buf_put(out, text, len);
}

/* put_json: As CouchDB prints it; numbers that are whole stand as integers. */
static int
put_json(struct buf *out, const json_t *v)
{
	const char *key;
	json_t *member;
	size_t i, n = 0;
	double d;

	switch (json_typeof(v)) {
	case JSON_REAL:
		d = json_real_value(v);
		return d == floor(d) && fabs(d) < EXACT ? buf_printf(out, "%.0f", d + 0.0) : put_double(out, d);
	case JSON_ARRAY:
		buf_putc(out, '[');
		for (i = 0; i < json_array_size(v); i++) {
			buf_puts(out, i > 0 ? "," : "");
			put_json(out, json_array_get(v, i));
		}
		return buf_putc(out, ']');
	case JSON_OBJECT:
		buf_putc(out, '{');
		json_object_foreach((json_t *)(uintptr_t)v, key, member)
		{
			buf_puts(out, n++ > 0 ? "," : "");
			buf_put_json(out, key, strlen(key));
			buf_putc(out, ':');
			put_json(out, member);
		}
		return buf_putc(out, '}');
	default:
		return json_dump_callback(v, dump_piece, out, JSON_ENCODE_ANY | JSON_COMPACT) == 0 ? buf_failed(out)
												   : ERR_NOMEM;
	}
}

static int plus(json_t *a, json_t *b, unsigned depth, json_t **sump);

static int
hand_over(int err, json_t *sum, json_t **sump)
{
	if (err)
		json_decref(sum);
	else
		*sump = sum;
	return err;
}

/* owned: What nobody else holds is added to in its place: a sum may be large, and what comes to it small.  Else a copy; NULL: no memory. */
static json_t *
owned(json_t *a)
{
	return a->refcount == 1 ? json_incref(a) : json_copy(a);
}

/* Element by element; a number is an array of one.  The longer one's rest stays. */
static int
plus_arrays(json_t *a, json_t *b, unsigned depth, json_t **sump)
{
	json_t *sum = json_is_array(a) ? owned(a) : json_array(), *one;
	size_t bn = json_is_array(b) ? json_array_size(b) : 1;
	int err = sum == NULL || (!json_is_array(a) && json_array_append(sum, a) != 0) ? ERR_NOMEM : 0;

	for (size_t i = 0; err == 0 && (i < json_array_size(sum) || i < bn); i++) {
		json_t *x = json_array_get(sum, i), *y = i >= bn ? NULL : json_is_array(b) ? json_array_get(b, i) : b;

		if (x == NULL || y == NULL)
			one = json_incref(x == NULL ? y : x);
		else if ((err = plus(x, y, depth, &one)) != 0)
			break;
		if (!json_is_real(one)) {
			json_decref(one);
			err = NOT_ADDED;
		} else if ((x == NULL ? json_array_append_new(sum, one) : json_array_set_new(sum, i, one)) != 0) {
			err = ERR_NOMEM;
		}
	}
	return hand_over(err, sum, sump);
}

static int
plus_objects(json_t *a, json_t *b, unsigned depth, json_t **sump)
{
	json_t *sum = owned(a), *y, *one;
	const char *key;
	int err = sum == NULL ? ERR_NOMEM : 0;

	if (err)
		return err;
	json_object_foreach(b, key, y)
	{
		json_t *x = json_object_get(sum, key);

		if (x == NULL)
			one = json_incref(y);
		else if ((err = plus(x, y, depth + 1, &one)) != 0)
			break;
		if (json_object_set_new(sum, key, one) != 0) {
			err = ERR_NOMEM;
			break;
		}
	}
	return hand_over(err, sum, sump);
}

/* plus: *${sump}: ${a} and ${b}.  It may be ${a} itself, if nobody else holds that; what fails may have changed it. */
static int
plus(json_t *a, json_t *b, unsigned depth, json_t **sump)
{
	if (depth > DEPTH_MAX)
		return NOT_ADDED;
	if (json_is_real(a) && json_is_real(b))
		return (*sump = json_real(json_real_value(a) + json_real_value(b))) != NULL ? 0 : ERR_NOMEM;
	if (json_is_object(a) && json_is_object(b))
		return plus_objects(a, b, depth, sump);
	if ((json_is_array(a) || json_is_real(a)) && (json_is_array(b) || json_is_real(b)))
		return plus_arrays(a, b, depth, sump);
	return NOT_ADDED;
}

/* ---- _sum ---- */

static int
is_sum_error(const json_t *v)
{
	const char *error = json_string_value(json_object_get(v, "error"));

	return json_is_object(v) && error != NULL && strcmp(error, "builtin_reduce_error") == 0;
}

static int
put_sum_error(struct buf *out, struct jstr culprit)
{
	buf_puts(out, "{\"error\":\"builtin_reduce_error\",\"reason\":");
	buf_put_json(out, sum_takes, sizeof(sum_takes) - 1);
	buf_puts(out, ",\"caused_by\":");
	buf_put(out, culprit.s, culprit.len);
	return buf_putc(out, '}');
}

/* A value alone is added to nothing of its kind, which tells whether it can be added at all. */
static int
plus_nothing(json_t *v, json_t **sump)
{
	json_t *none = json_is_object(v) ? json_object() : json_array();
	int err = none == NULL ? ERR_NOMEM : json_is_real(v) ? plus(v, none, 0, sump) : plus(none, v, 0, sump);

	if (err == 0 && json_is_real(v)) {
		json_decref(*sump);
		*sump = json_incref(v);
	}
	json_decref(none);
	return err;
}

static int
sum_others(const struct jstr *values, size_t n, struct buf *out)
{
	json_t *sum = NULL;
	int err;

	for (size_t i = 0; i < n; i++) {
		json_t *v, *next = NULL;

		if ((err = load(values[i], &v)) == 0 && is_sum_error(v)) {
			json_decref(v);
			json_decref(sum);
			return buf_put(out, values[i].s, values[i].len);
		}
		if (err == 0)
			err = sum == NULL ? plus_nothing(v, &next) : plus(sum, v, 0, &next);
		json_decref(v);
		json_decref(sum);
		sum = next;
		if (err == NOT_ADDED)
			return put_sum_error(out, values[i]);
		if (err)
			return err;
	}
	err = put_json(out, sum);
	json_decref(sum);
	return err;
}

static int
sum_values(const struct jstr *values, size_t n, struct buf *out)
{
	struct number sum = {0, 0, 0}, one;

	for (size_t i = 0; i < n; i++) {
		if (!read_number(values[i], &one))
			return sum_others(values, n, out);
		add(&sum, &one);
	}
	return put_number(out, &sum);
}

/* ---- _stats ---- */

struct stats {
	struct number sum, count, min, max, sumsqr;
};

static int
number_less(const struct number *a, const struct number *b)
{
	return !a->is_float && !b->is_float ? a->i < b->i : as_double(a) < as_double(b);
}

static void
stats_add(struct stats *s, const struct stats *other)
{
	if (s->count.i == 0 && !s->count.is_float) {
		*s = *other;
		return;
	}
	add(&s->sum, &other->sum);
	add(&s->count, &other->count);
	add(&s->sumsqr, &other->sumsqr);
	if (number_less(&other->min, &s->min))
		s->min = other->min;
	if (number_less(&s->max, &other->max))
		s->max = other->max;
}

static struct stats
stats_of(const struct number *n)
{
	struct stats s = {.sum = *n, .count = {0, 1, 0}, .min = *n, .max = *n, .sumsqr = *n};

	if (n->is_float || __builtin_mul_overflow(n->i, n->i, &s.sumsqr.i))
		s.sumsqr = (struct number){1, 0, as_double(n) * as_double(n)};
	return s;
}

static int
put_stats(struct buf *out, const struct stats *s)
{
	buf_puts(out, "{\"sum\":");
	put_number(out, &s->sum);
	buf_puts(out, ",\"count\":");
	put_number(out, &s->count);
	buf_puts(out, ",\"min\":");
	put_number(out, &s->min);
	buf_puts(out, ",\"max\":");
	put_number(out, &s->max);
	buf_puts(out, ",\"sumsqr\":");
	put_number(out, &s->sumsqr);
	return buf_putc(out, '}');
}

static int
read_member(struct jread *j, struct jstr key, struct stats *out, unsigned *seenp)
{
	static const char *const names[] = {"sum", "count", "min", "max", "sumsqr"};
	struct number *const fields[] = {&out->sum, &out->count, &out->min, &out->max, &out->sumsqr};
	struct jstr text;
	int err;

	for (size_t i = 0; i < 5; i++) {
		if (!jstr_is(&key, names[i]))
			continue;
		if ((err = jread_skip(j, &text)) != 0)
			return err;
		*seenp |= 1u << i;
		return read_number(text, fields[i]) ? 0 : ERR_REDUCE;
	}
	return jread_skip(j, NULL);
}

/* read_own: What put_stats() made. */
static int
read_own(struct jstr text, struct stats *out)
{
	static const char *const before[] = {"{\"sum\":", ",\"count\":", ",\"min\":", ",\"max\":", ",\"sumsqr\":"};
	struct number *const fields[] = {&out->sum, &out->count, &out->min, &out->max, &out->sumsqr};
	const char *p = text.s, *end = p + text.len, *from;

	for (size_t i = 0; i < 5; i++) {
		size_t len = strlen(before[i]);

		if ((size_t)(end - p) < len || memcmp(p, before[i], len) != 0)
			return 0;
		for (from = p += len; p < end && *p != ',' && *p != '}'; p++)
			;
		if (!read_number((struct jstr){from, (size_t)(p - from)}, fields[i]))
			return 0;
	}
	return end - p == 1 && *p == '}';
}

/* A number, or an object that has been through _stats already: users emit such, and partial results are. */
static int
read_stats(struct jstr text, struct buf *scratch, struct stats *out)
{
	struct number n;
	struct jread j;
	struct jstr key;
	unsigned seen = 0;
	int err;

	if (read_number(text, &n)) {
		*out = stats_of(&n);
		return 0;
	}
	if (read_own(text, out))
		return 0;
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return ERR_REDUCE;
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, scratch, &key)) == 0)
		err = read_member(&j, key, out, &seen);
	return err != ERR_END ? err : seen == 31 ? 0 : ERR_REDUCE;
}

/* The elements of an array, or the value itself; *${arrayp}: it is an array. */
static int
read_all_stats(struct jstr text, struct buf *scratch, struct stats **vp, size_t *np, int *arrayp)
{
	struct jread j;
	struct jstr one;
	size_t n = 0, cap = 4;
	int err;

	jread_init(&j, text.s, text.len);
	*arrayp = jread_peek(&j) == JREAD_ARRAY;
	if ((*vp = calloc(cap, sizeof(**vp))) == NULL)
		return ERR_NOMEM;
	if (!*arrayp) {
		*np = 1;
		return read_stats(text, scratch, *vp);
	}
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		if (n == cap) {
			struct stats *grown = reallocarray(*vp, 2 * cap, sizeof(*grown));

			if (grown == NULL)
				return ERR_NOMEM;
			memset(grown + cap, 0, cap * sizeof(*grown));
			*vp = grown;
			cap *= 2;
		}
		if ((err = jread_skip(&j, &one)) == 0)
			err = read_stats(one, scratch, *vp + n++);
	}
	*np = n;
	return err == ERR_END ? 0 : err;
}

static int
stats_refuse(struct jstr value, struct errtext *why)
{
	size_t len = value.len < SHOWN ? value.len : utf8_whole(value.s, SHOWN);

	return err_why(why, ERR_REDUCE,
	    "The _stats function requires that map values be numbers or arrays of numbers, not '%.*s'", (int)len,
	    value.s);
}

static int
stats_values(const struct jstr *values, size_t n, struct buf *out, struct errtext *why)
{
	struct stats *all = NULL, *one, sum = {.count = {0, 0, 0}}, plain;
	size_t nall = 0, none, nplain = 0;
	int array = 0, is_array, err = 0;
	struct buf scratch;

	buf_init(&scratch, 1u << 16);
	for (; nplain < n && read_stats(values[nplain], &scratch, &plain) == 0; nplain++)
		stats_add(&sum, &plain);
	if (nplain == n) {
		buf_release(&scratch);
		return put_stats(out, &sum);
	}
	for (size_t i = 0; i < n && err == 0; i++) {
		one = NULL;
		err = read_all_stats(values[i], &scratch, &one, &none, &is_array);
		if (err == 0 && i > 0 && (none != nall || is_array != array))
			err = ERR_REDUCE;
		if (err == ERR_REDUCE)
			err = stats_refuse(values[i], why);
		if (err == 0 && i == 0) {
			all = one;
			nall = none;
			array = is_array;
			continue;
		}
		for (size_t k = 0; k < nall && err == 0; k++)
			stats_add(&all[k], &one[k]);
		free(one);
	}
	if (err == 0) {
		buf_puts(out, array ? "[" : "");
		for (size_t k = 0; k < nall; k++) {
			buf_puts(out, k > 0 ? "," : "");
			put_stats(out, &all[k]);
		}
		buf_puts(out, array ? "]" : "");
	}
	free(all);
	buf_release(&scratch);
	return err != 0 ? err : buf_failed(out);
}

/* ---- _approx_count_distinct ---- */

static void
registers_add(unsigned char r[REGISTERS], struct jstr key)
{
	unsigned char digest[MD5_LEN];
	uint64_t h;
	unsigned zeros;

	hash_md5(key.s, key.len, digest);
	memcpy(&h, digest, sizeof(h));
	/* The lowest bit set behind those that choose the register. */
	zeros = (unsigned)__builtin_ctzll(h >> REGISTER_BITS | UINT64_C(1) << (64 - REGISTER_BITS)) + 1;
	if (r[h % REGISTERS] < zeros)
		r[h % REGISTERS] = (unsigned char)zeros;
}

static int
put_registers(struct buf *out, const unsigned char r[REGISTERS])
{
	buf_putc(out, '"');
	for (size_t i = 0; i < REGISTERS; i++) {
		char c = (char)(REGISTER_ZERO + r[i]);

		/* The one character in reach that JSON escapes. */
		buf_putc(out, c == '\\' ? '~' : c);
	}
	return buf_putc(out, '"');
}

static int
take_registers(unsigned char r[REGISTERS], struct jstr part)
{
	if (part.len != REGISTERS + 2)
		return ERR_BAD_JSON;
	for (size_t i = 0; i < REGISTERS; i++) {
		unsigned char v = (unsigned char)((part.s[i + 1] == '~' ? '\\' : part.s[i + 1]) - REGISTER_ZERO);

		if (r[i] < v)
			r[i] = v;
	}
	return 0;
}

static double
estimate(const unsigned char r[REGISTERS])
{
	double sum = 0, raw;
	unsigned empty = 0;

	for (size_t i = 0; i < REGISTERS; i++) {
		sum += ldexp(1, -(int)r[i]);
		empty += r[i] == 0;
	}
	raw = 0.7213 / (1 + 1.079 / REGISTERS) * REGISTERS * REGISTERS / sum;
	return raw <= 2.5 * REGISTERS && empty > 0 ? REGISTERS * log((double)REGISTERS / empty) : raw;
}

/* ---- _top_N, _bottom_N ---- */

/* The most extreme values so far, the most extreme first; of equal ones the first that came. */
struct extremes {
	struct jstr *v;
	size_t n, max;
	int top;
};

/* extremes_add: Values are compared as far as they differ: sort keys would be made of all that is in them. */
static int
extremes_add(struct extremes *e, struct jstr text)
{
	size_t low = 0, high = e->n;
	int order, err;

	/* The last one first: most values are not beyond it. */
	for (size_t i = high - (high > 0); low < high; i = low + (high - low) / 2) {
		if ((err = query_collate(text, e->v[i], &order)) != 0)
			return err;
		if (order == 0)
			return 0;
		if ((order > 0) == e->top)
			high = i;
		else
			low = i + 1;
	}
	if (low == e->max)
		return 0;
	e->n += e->n < e->max;
	memmove(&e->v[low + 1], &e->v[low], (e->n - 1 - low) * sizeof(*e->v));
	e->v[low] = text;
	return 0;
}

/* put_extremes: The ${max} greatest or least of ${n} values, the most extreme first; equal ones count once, as in CouchDB. */
static int
put_extremes(const struct jstr *values, size_t n, int top, unsigned max, struct buf *out)
{
	struct extremes e = {calloc((size_t)max + 1, sizeof(*e.v)), 0, max, top != 0};
	int err = e.v == NULL ? ERR_NOMEM : 0;

	for (size_t i = 0; i < n && err == 0; i++)
		err = extremes_add(&e, values[i]);
	if (err == 0) {
		buf_putc(out, '[');
		for (size_t i = 0; i < e.n; i++) {
			buf_puts(out, i > 0 ? "," : "");
			buf_put(out, e.v[i].s, e.v[i].len);
		}
		err = buf_putc(out, ']');
	}
	free(e.v);
	return err;
}

/* The elements of all the arrays, one after the other. */
static int
elements(const struct jstr *arrays, size_t n, struct jstr **vp, size_t *np)
{
	size_t cap = 0;
	struct jread j;
	int err = 0;

	*vp = NULL;
	*np = 0;
	for (size_t i = 0; i < n && err == 0; i++) {
		jread_init(&j, arrays[i].s, arrays[i].len);
		err = jread_array_begin(&j);
		while (err == 0 && (err = jread_array_next(&j)) == 0) {
			if (*np == cap) {
				struct jstr *grown = reallocarray(*vp, cap = cap != 0 ? 2 * cap : 64, sizeof(*grown));

				if (grown == NULL)
					return ERR_NOMEM;
				*vp = grown;
			}
			err = jread_skip(&j, &(*vp)[(*np)++]);
		}
		err = err == ERR_END ? 0 : err;
	}
	return err;
}

/* ---- All of them ---- */

int
builtin_rows(enum ddoc_reduce kind, unsigned max, const struct jstr *keys, const struct jstr *values, size_t n,
    struct buf *out, struct errtext *why)
{
	unsigned char registers[REGISTERS] = {0};

	switch (kind) {
	case DDOC_COUNT:
		return buf_put_u64(out, n);
	case DDOC_SUM:
		return sum_values(values, n, out);
	case DDOC_STATS:
		return stats_values(values, n, out, why);
	case DDOC_DISTINCT:
		for (size_t i = 0; i < n; i++)
			registers_add(registers, keys[i]);
		return put_registers(out, registers);
	case DDOC_FIRST:
		return buf_put(out, values[0].s, values[0].len);
	case DDOC_LAST:
		return buf_put(out, values[n - 1].s, values[n - 1].len);
	case DDOC_TOP:
	case DDOC_BOTTOM:
		return put_extremes(values, n, kind == DDOC_TOP, max, out);
	case DDOC_NONE:
	case DDOC_SCRIPT:
		break;
	}
	return ERR_INTERNAL;
}

int
builtin_combine(
    enum ddoc_reduce kind, unsigned max, const struct jstr *parts, size_t n, struct buf *out, struct errtext *why)
{
	unsigned char registers[REGISTERS] = {0};
	struct jstr *all;
	size_t nall;
	int err = 0;

	switch (kind) {
	case DDOC_COUNT:
	case DDOC_SUM:
		return sum_values(parts, n, out);
	case DDOC_STATS:
		return stats_values(parts, n, out, why);
	case DDOC_DISTINCT:
		for (size_t i = 0; i < n && err == 0; i++)
			err = take_registers(registers, parts[i]);
		return err != 0 ? err : put_registers(out, registers);
	case DDOC_FIRST:
		return buf_put(out, parts[0].s, parts[0].len);
	case DDOC_LAST:
		return buf_put(out, parts[n - 1].s, parts[n - 1].len);
	case DDOC_TOP:
	case DDOC_BOTTOM:
		if ((err = elements(parts, n, &all, &nall)) == 0)
			err = put_extremes(all, nall, kind == DDOC_TOP, max, out);
		free(all);
		return err;
	case DDOC_NONE:
	case DDOC_SCRIPT:
		break;
	}
	return ERR_INTERNAL;
}

int
builtin_final(enum ddoc_reduce kind, struct jstr part, struct buf *out)
{
	unsigned char registers[REGISTERS] = {0};
	int err;

	if (kind != DDOC_DISTINCT)
		return buf_put(out, part.s, part.len);
	err = take_registers(registers, part);
	return err != 0 ? err : buf_put_u64(out, (uint64_t)llround(estimate(registers)));
}
