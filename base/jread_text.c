/*
 * One pass writes a value twice: as CouchDB's text, and as the external term that its revision ids hash.
 *
 * 1. Output goes through struct out, whose p runs ahead of its buffer's len; room() before each token is
 *    the only bound check.
 * 2. An object's member is written as `"key":value,` and, in the term, as a pair: whole segments, so that
 *    a duplicate is removed by moving the segments behind it.  The last comma becomes the closing brace.
 * 3. Lengths in the term are patched when a container ends.  An array whose elements were all integers
 *    from 0 to 255 is then folded into the term's STRING_EXT, as Erlang does.
 * 4. Duplicates are found by a hash of each key's text, which is canonical by then; equal hashes are
 *    compared in full. Wide objects sort the hashes, so that no input costs more than n log n.
 */
#include "base/jread.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "jsonnum.h"
#include "jsonscan.h"

/* Tags of Erlang's external term format. */
enum {
	TAG_NEW_FLOAT = 70,
	TAG_SMALL_INTEGER = 97,
	TAG_INTEGER = 98,
	TAG_ATOM = 100,
	TAG_SMALL_TUPLE = 104,
	TAG_NIL = 106,
	TAG_STRING = 107,
	TAG_LIST = 108,
	TAG_BINARY = 109,
	TAG_SMALL_BIG = 110,
	TAG_LARGE_BIG = 111
};

#define SLACK 32u       /* bytes that may be written behind what room() was asked for */
#define FEW_MEMBERS 16u /* up to so many, each pair of hashes is compared */
#define INLINE_MEMBERS 48u

struct out {
	char *p;
	char *end;
	struct buf *b;
};

struct member {
	size_t text;    /* offset of its segment in the text */
	size_t etf;     /* and in the term */
	size_t key_len; /* of the key's text, with its quotes */
	uint32_t hash;
	int dropped;
};

struct writer {
	const char *p;
	const char *end;
	struct out text;
	struct out etf; /* b is NULL if no term is wanted */
	unsigned depth;
	int escaped; /* the string last written had escapes */
	struct jread *j;
	json_member_f *fn; /* for members of the outermost object, or NULL */
	void *cookie;
	unsigned fn_depth;
	struct member *members; /* of all objects that are open, outermost first */
	size_t nmembers;
	size_t members_cap;
	struct member inline_members[INLINE_MEMBERS];
};

static int put_value(struct writer *w);

/* ---- Output ---- */

static size_t
offset(const struct out *o)
{
	return (size_t)(o->p - o->b->data);
}

static __attribute__((noinline)) int
more_room(struct out *o, size_t n)
{
	char *p;
	int err;

	if (o->p != NULL)
		o->b->len = offset(o);
	err = buf_reserve(o->b, n + SLACK, &p);
	if (err != 0)
		return err;
	o->p = p;
	o->end = o->b->data + o->b->cap;
	return 0;
}

static inline int
room(struct out *o, size_t n)
{
	return (size_t)(o->end - o->p) >= n + SLACK ? 0 : more_room(o, n);
}

static inline void
store_u32be(char *p, size_t v)
{
	uint32_t be = __builtin_bswap32((uint32_t)v);

	memcpy(p, &be, sizeof(be));
}

/* Short strings are copied 16 bytes at a time, beyond their end: there is SLACK. */
static inline char *
copy(char *to, const char *from, size_t len, const char *end)
{
	if (len <= 32 && end - from >= 32) {
		memcpy(to, from, 16);
		memcpy(to + 16, from + 16, 16);
	} else {
		memcpy(to, from, len);
	}
	return to + len;
}

/* ---- Scalars ---- */

static char *
put_escape(char *t, unsigned char c)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char letters[32] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};

	*t++ = '\\';
	if (c == '"' || c == '\\') {
		*t++ = (char)c;
	} else if (letters[c] != 0) {
		*t++ = letters[c];
	} else {
		memcpy(t, "u00", 3);
		t[3] = hex[c >> 4];
		t[4] = hex[c & 15];
		t += 5;
	}
	return t;
}

static int
put_run(struct writer *w, const char *s, size_t len)
{
	int err = room(&w->text, len);

	if (err != 0)
		return err;
	w->text.p = copy(w->text.p, s, len, w->end);
	if (w->etf.b == NULL)
		return 0;
	err = room(&w->etf, len);
	if (err != 0)
		return err;
	w->etf.p = copy(w->etf.p, s, len, w->end);
	return 0;
}

/*
 * The rest of a string from its first escape ${q} on; what is before has been written.  ${etf_at}: where its
 * term began.
 */
static int
put_escaped(struct writer *w, const char *q, size_t etf_at)
{
	int err;

	while (*q == '\\') {
		char c[4];
		size_t n;
		const char *s = jsonscan_escape(q, w->end, c, &n);

		if (s == NULL)
			return ERR_BAD_JSON;
		if (w->etf.b != NULL) {
			memcpy(w->etf.p, c, n);
			w->etf.p += n;
		}
		if (n == 1 && ((unsigned char)c[0] < 0x20 || c[0] == '"' || c[0] == '\\')) {
			w->text.p = put_escape(w->text.p, (unsigned char)c[0]);
		} else {
			memcpy(w->text.p, c, n);
			w->text.p += n;
		}
		q = jsonscan_run(s, w->end);
		if (q == NULL)
			return ERR_BAD_JSON;
		/* Behind a run there is SLACK, which has room for the next escape, or the quote. */
		err = put_run(w, s, (size_t)(q - s));
		if (err != 0)
			return err;
	}
	if (w->etf.b != NULL)
		store_u32be(w->etf.b->data + etf_at + 1, offset(&w->etf) - etf_at - 5);
	*w->text.p++ = '"';
	w->p = q + 1;
	return 0;
}

/* w->p is at the opening quote. */
static int
put_string(struct writer *w)
{
	const char *s = w->p + 1;
	const char *q = jsonscan_run(s, w->end);
	size_t len, etf_at = 0;
	int err;

	if (q == NULL)
		return ERR_BAD_JSON;
	len = (size_t)(q - s);
	err = room(&w->text, len + 2);
	if (err != 0)
		return err;
	*w->text.p++ = '"';
	w->text.p = copy(w->text.p, s, len, w->end);
	if (w->etf.b != NULL) {
		err = room(&w->etf, len + 5);
		if (err != 0)
			return err;
		etf_at = offset(&w->etf);
		*w->etf.p = TAG_BINARY;
		store_u32be(w->etf.p + 1, len);
		w->etf.p = copy(w->etf.p + 5, s, len, w->end);
	}
	w->escaped = *q == '\\';
	if (w->escaped)
		return put_escaped(w, q, etf_at);
	*w->text.p++ = '"';
	w->p = q + 1;
	return 0;
}

static int
put_big_term(struct out *o, const char *s, size_t len)
{
	size_t n, head = 3;
	int err = room(o, len / 2 + 16);

	if (err != 0)
		return err;
	n = jsonnum_big(s, len, (unsigned char *)o->p + 6);
	if (n < 256) {
		o->p[0] = TAG_SMALL_BIG;
		o->p[1] = (char)n;
		memmove(o->p + 3, o->p + 6, n);
	} else {
		head = 6;
		o->p[0] = TAG_LARGE_BIG;
		store_u32be(o->p + 1, n);
	}
	o->p[head - 1] = *s == '-';
	o->p += head + n;
	return 0;
}

static int
put_integer_term(struct out *o, const char *s, size_t len)
{
	int64_t v;
	int err;

	if (!jsonnum_small(s, len, &v))
		return put_big_term(o, s, len);
	err = room(o, 5);
	if (err != 0)
		return err;
	if (v >= 0 && v <= 255) {
		o->p[0] = TAG_SMALL_INTEGER;
		o->p[1] = (char)v;
		o->p += 2;
	} else if (v >= INT32_MIN && v <= INT32_MAX) {
		o->p[0] = TAG_INTEGER;
		store_u32be(o->p + 1, (uint32_t)v);
		o->p += 5;
	} else {
		return put_big_term(o, s, len);
	}
	return 0;
}

static int
put_float(struct writer *w, const char *s, size_t len)
{
	uint64_t bits;
	double v;
	size_t n;
	int err = room(&w->text, JSONNUM_FLOAT_MAX);

	if (err == 0)
		err = jsonnum_float(s, len, w->text.p, &n, &v);
	if (err != 0)
		return err;
	w->text.p += n;
	if (w->etf.b == NULL)
		return 0;
	err = room(&w->etf, 9);
	if (err != 0)
		return err;
	memcpy(&bits, &v, sizeof(bits));
	bits = __builtin_bswap64(bits);
	*w->etf.p++ = TAG_NEW_FLOAT;
	memcpy(w->etf.p, &bits, sizeof(bits));
	w->etf.p += sizeof(bits);
	return 0;
}

static int
put_number(struct writer *w)
{
	const char *s = w->p;
	int is_float, err;
	size_t len;

	w->p = jsonnum_end(s, w->end, &is_float);
	if (w->p == NULL)
		return ERR_BAD_JSON;
	len = (size_t)(w->p - s);
	if (is_float)
		return put_float(w, s, len);
	if (len == 2 && s[0] == '-' && s[1] == '0') {
		s++;
		len--;
	}
	err = room(&w->text, len);
	if (err != 0)
		return err;
	w->text.p = copy(w->text.p, s, len, w->end);
	return w->etf.b != NULL ? put_integer_term(&w->etf, s, len) : 0;
}

static int
put_literal(struct writer *w, const char *word, size_t len)
{
	int err;

	if (!jsonscan_literal(w->p, w->end, word, len))
		return ERR_BAD_JSON;
	w->p += len;
	err = room(&w->text, len);
	if (err != 0)
		return err;
	memcpy(w->text.p, word, len);
	w->text.p += len;
	if (w->etf.b == NULL)
		return 0;
	err = room(&w->etf, len + 3);
	if (err != 0)
		return err;
	w->etf.p[0] = TAG_ATOM;
	w->etf.p[1] = 0;
	w->etf.p[2] = (char)len;
	memcpy(w->etf.p + 3, word, len);
	w->etf.p += len + 3;
	return 0;
}

/* ---- Duplicate members ---- */

static int
same_key(const struct writer *w, const struct member *a, const struct member *b)
{
	const char *text = w->text.b->data;

	return a->hash == b->hash && a->key_len == b->key_len &&
	       memcmp(text + a->text, text + b->text, a->key_len) == 0;
}

static int
cmp_u64(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

static int
cmp_keys(const void *a, const void *b, void *arg)
{
	const struct writer *w = arg;
	const struct member *base = w->members;
	uint64_t x, y;
	const struct member *ma, *mb;
	int c;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	ma = base + (uint32_t)x;
	mb = base + (uint32_t)y;
	if (ma->key_len != mb->key_len)
		return ma->key_len < mb->key_len ? -1 : 1;
	c = memcmp(w->text.b->data + ma->text, w->text.b->data + mb->text, ma->key_len);
	return c != 0 ? c : x < y ? -1 : 1;
}

/* Mark all but the last of equal keys among many members. */
static int
mark_many(struct writer *w, size_t base, int *foundp)
{
	size_t n = w->nmembers - base;
	uint64_t *order = malloc(n * sizeof(*order));

	if (order == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = (uint64_t)w->members[base + i].hash << 32 | (uint32_t)(base + i);
	qsort(order, n, sizeof(*order), cmp_u64);
	for (size_t i = 0, run; i < n; i = run) {
		for (run = i + 1; run < n && order[run] >> 32 == order[i] >> 32; run++)
			;
		if (run - i < 2)
			continue;
		qsort_r(order + i, run - i, sizeof(*order), cmp_keys, w);
		for (size_t k = i; k + 1 < run; k++) {
			struct member *m = w->members + (uint32_t)order[k];

			if (same_key(w, m, w->members + (uint32_t)order[k + 1])) {
				m->dropped = 1;
				*foundp = 1;
			}
		}
	}
	free(order);
	return 0;
}

static int
mark_few(struct writer *w, size_t base)
{
	int found = 0;

	for (size_t i = base; i < w->nmembers; i++) {
		for (size_t k = i + 1; k < w->nmembers; k++) {
			if (w->members[i].hash == w->members[k].hash && same_key(w, &w->members[i], &w->members[k])) {
				w->members[i].dropped = 1;
				found = 1;
				break;
			}
		}
	}
	return found;
}

/* Close the gaps that the dropped members leave.  Returns how many are left. */
static size_t
close_gaps(struct writer *w, size_t base)
{
	char *text = w->text.b->data + w->members[base].text;
	char *etf = w->etf.b != NULL ? w->etf.b->data + w->members[base].etf : NULL;
	size_t left = 0;

	for (size_t i = base; i < w->nmembers; i++) {
		const struct member *m = &w->members[i];
		int last = i + 1 == w->nmembers;
		size_t text_len = (last ? offset(&w->text) : m[1].text) - m->text;
		size_t etf_len;

		if (m->dropped)
			continue;
		left++;
		memmove(text, w->text.b->data + m->text, text_len);
		text += text_len;
		if (etf == NULL)
			continue;
		etf_len = (last ? offset(&w->etf) : m[1].etf) - m->etf;
		memmove(etf, w->etf.b->data + m->etf, etf_len);
		etf += etf_len;
	}
	w->text.p = text;
	if (etf != NULL)
		w->etf.p = etf;
	return left;
}

static int
drop_duplicates(struct writer *w, size_t base, size_t *leftp)
{
	int found = 0, err;

	*leftp = w->nmembers - base;
	if (*leftp <= FEW_MEMBERS) {
		found = mark_few(w, base);
	} else {
		err = mark_many(w, base, &found);
		if (err != 0)
			return err;
	}
	if (found)
		*leftp = close_gaps(w, base);
	return 0;
}

/* ---- Containers ---- */

/* ${end}: behind the memory that ${s} stands in. */
static uint32_t
hash_key(const char *s, size_t len, const char *end)
{
	uint64_t a = 0, b = 0;

	if (len >= 8) {
		memcpy(&a, s, 8);
		memcpy(&b, s + len - 8, 8);
	} else if (len > 0 && end - s >= 8) {
		memcpy(&a, s, 8);
		a <<= 64 - 8 * len;
	} else if (len > 0) {
		memcpy((char *)&a + 8 - len, s, len);
	}
	a = (a ^ len) * UINT64_C(0x9E3779B97F4A7C15);
	b = (b + (a >> 29) + a) * UINT64_C(0xBF58476D1CE4E5B9);
	return (uint32_t)(b >> 32);
}

static int
grow_members(struct writer *w)
{
	size_t cap = w->members_cap * 2;
	struct member *m;

	if (cap > UINT32_MAX)
		return ERR_TOO_LARGE;
	m = realloc(w->members == w->inline_members ? NULL : w->members, cap * sizeof(*m));
	if (m == NULL)
		return ERR_NOMEM;
	if (w->members == w->inline_members)
		memcpy(m, w->inline_members, sizeof(w->inline_members));
	w->members = m;
	w->members_cap = cap;
	return 0;
}

/* Offer the member whose key has just been written to fn.  ERR_END: it is to be written. */
static int
offer(struct writer *w, const struct member *m)
{
	const char *term = w->etf.b->data + m->etf + 2;
	struct jstr key = {term + 5, offset(&w->etf) - m->etf - 7};
	int err;

	if (key.len == 0 || key.s[0] != '_')
		return ERR_END;
	w->j->p = w->p;
	w->j->depth = w->depth;
	err = w->fn(w->cookie, key, w->j);
	if (err != 0)
		return err;
	w->p = w->j->p;
	w->text.p = w->text.b->data + m->text;
	w->etf.p = w->etf.b->data + m->etf;
	w->nmembers--;
	return 0;
}

static int
put_member(struct writer *w)
{
	struct member m = {.text = offset(&w->text)};
	const char *key = w->p + 1;
	int err;

	if (w->etf.b != NULL) {
		err = room(&w->etf, 2);
		if (err != 0)
			return err;
		m.etf = offset(&w->etf);
		*w->etf.p++ = TAG_SMALL_TUPLE;
		*w->etf.p++ = 2;
	}
	err = put_string(w);
	if (err != 0)
		return err;
	m.key_len = offset(&w->text) - m.text;
	/* What was just written in small pieces is slow to read back: a key without escapes is hashed where it came
	 * from. */
	if (w->escaped)
		m.hash = hash_key(w->text.b->data + m.text + 1, m.key_len - 2, w->text.end);
	else
		m.hash = hash_key(key, m.key_len - 2, w->end);
	if (w->nmembers == w->members_cap) {
		err = grow_members(w);
		if (err != 0)
			return err;
	}
	w->members[w->nmembers++] = m;
	*w->text.p++ = ':';
	w->p = jsonscan_ws(w->p, w->end);
	if (w->p == w->end || *w->p != ':')
		return ERR_BAD_JSON;
	w->p++;
	if (w->fn != NULL && w->depth == w->fn_depth) {
		err = offer(w, &m);
		if (err != ERR_END)
			return err;
	}
	err = put_value(w);
	if (err == 0)
		err = room(&w->text, 1);
	if (err == 0)
		*w->text.p++ = ',';
	return err;
}

/* Pass what follows a member or element: ERR_END behind ${close}. */
static inline int
separator(struct writer *w, char close)
{
	w->p = jsonscan_ws(w->p, w->end);
	if (w->p == w->end)
		return ERR_BAD_JSON;
	if (*w->p == close) {
		w->p++;
		return ERR_END;
	}
	if (*w->p != ',')
		return ERR_BAD_JSON;
	w->p = jsonscan_ws(w->p + 1, w->end);
	return 0;
}

/* Write the heads of a container, and step into it.  ERR_END: it is empty and closed. */
static int
begin(struct writer *w, char close, size_t *etf_at)
{
	int err = room(&w->text, 2);

	if (err == 0 && w->etf.b != NULL)
		err = room(&w->etf, 8);
	if (err != 0)
		return err;
	if (w->depth >= LIMIT_JSON_DEPTH)
		return ERR_BAD_JSON;
	*w->text.p++ = *w->p++;
	if (w->etf.b != NULL) {
		if (close == '}') {
			*w->etf.p++ = TAG_SMALL_TUPLE;
			*w->etf.p++ = 1;
		}
		*etf_at = offset(&w->etf);
		*w->etf.p = TAG_LIST;
		w->etf.p += 5;
	}
	w->p = jsonscan_ws(w->p, w->end);
	if (w->p == w->end)
		return ERR_BAD_JSON;
	if (*w->p != close)
		return 0;
	w->p++;
	return ERR_END;
}

/* Write the ends: the last comma gives way to ${close}. */
static int
finish(struct writer *w, char close, size_t etf_at, size_t count)
{
	int err;

	if (count > 0)
		w->text.p[-1] = close;
	else
		*w->text.p++ = close;
	if (w->etf.b == NULL)
		return 0;
	err = room(&w->etf, 1);
	if (err != 0)
		return err;
	if (count == 0) {
		w->etf.p = w->etf.b->data + etf_at;
	} else {
		store_u32be(w->etf.b->data + etf_at + 1, count);
	}
	*w->etf.p++ = TAG_NIL;
	return 0;
}

static int
put_object(struct writer *w)
{
	size_t etf_at = 0, count = 0, base = w->nmembers;
	int err = begin(w, '}', &etf_at);

	w->depth++;
	while (err == 0) {
		if (w->p == w->end || *w->p != '"')
			return ERR_BAD_JSON;
		err = put_member(w);
		if (err != 0)
			return err;
		err = separator(w, '}');
	}
	w->depth--;
	if (err != ERR_END)
		return err;
	err = drop_duplicates(w, base, &count);
	if (err != 0)
		return err;
	w->nmembers = base;
	return finish(w, '}', etf_at, count);
}

/* The list at ${etf_at}, of ${count} small integers, becomes a string of as many bytes. */
static void
fold(struct writer *w, size_t etf_at, size_t count)
{
	char *p = w->etf.b->data + etf_at;

	p[0] = TAG_STRING;
	p[1] = (char)(count >> 8);
	p[2] = (char)count;
	for (size_t i = 0; i < count; i++)
		p[3 + i] = p[5 + 2 * i + 1];
	w->etf.p = p + 3 + count;
}

static int
put_array(struct writer *w)
{
	size_t etf_at = 0, count = 0, from;
	int all_bytes = w->etf.b != NULL;
	int err = begin(w, ']', &etf_at);

	w->depth++;
	for (; err == 0; count++) {
		from = all_bytes ? offset(&w->etf) : 0;
		err = put_value(w);
		if (err == 0)
			err = room(&w->text, 1);
		if (err != 0)
			return err;
		all_bytes = all_bytes && w->etf.b->data[from] == TAG_SMALL_INTEGER;
		*w->text.p++ = ',';
		err = separator(w, ']');
	}
	w->depth--;
	if (err != ERR_END)
		return err;
	err = finish(w, ']', etf_at, count);
	if (err == 0 && all_bytes && count > 0 && count <= 65535)
		fold(w, etf_at, count);
	return err;
}

/* The recursion is bounded by LIMIT_JSON_DEPTH. */
static int
put_value(struct writer *w)
{
	w->p = jsonscan_ws(w->p, w->end);
	if (w->p == w->end)
		return ERR_BAD_JSON;
	switch (*w->p) {
	case '{':
		return put_object(w);
	case '[':
		return put_array(w);
	case '"':
		return put_string(w);
	case 't':
		return put_literal(w, "true", 4);
	case 'f':
		return put_literal(w, "false", 5);
	case 'n':
		return put_literal(w, "null", 4);
	default:
		return put_number(w);
	}
}

static int
open_out(struct out *o, struct buf *b)
{
	*o = (struct out){.b = b};
	return more_room(o, 64);
}

static int
write_value(struct jread *j, struct buf *text, struct buf *etf, json_member_f *fn, void *cookie)
{
	size_t text_len = text->len, etf_len = etf != NULL ? etf->len : 0;
	struct writer w;
	int err;

	/* Not initialised as a whole: inline_members is large. */
	w.p = j->p;
	w.end = j->end;
	w.depth = j->depth;
	w.j = j;
	w.fn = fn;
	w.cookie = cookie;
	w.fn_depth = j->depth + 1;
	w.members = w.inline_members;
	w.nmembers = 0;
	w.members_cap = INLINE_MEMBERS;
	w.etf.b = NULL;
	err = open_out(&w.text, text);
	if (err == 0 && etf != NULL)
		err = open_out(&w.etf, etf);
	if (err == 0)
		err = put_value(&w);
	if (w.members != w.inline_members)
		free(w.members);
	text->len = err == 0 ? offset(&w.text) : text_len;
	if (etf != NULL)
		etf->len = err == 0 ? offset(&w.etf) : etf_len;
	if (err == 0) {
		j->p = w.p;
		j->depth = w.depth;
	}
	return err;
}

int
jread_text(struct jread *j, struct buf *text, struct buf *etf)
{
	return write_value(j, text, etf, NULL, NULL);
}

int
jread_text_members(struct jread *j, struct buf *text, struct buf *etf, json_member_f *fn, void *cookie)
{
	enum jread_type found = jread_peek(j);

	assert(etf != NULL);
	if (found != JREAD_OBJECT)
		return found == JREAD_ERROR ? ERR_BAD_JSON : ERR_BAD_REQUEST;
	return write_value(j, text, etf, fn, cookie);
}
