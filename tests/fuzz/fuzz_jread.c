/*
 * JSON.  Every way of reading agrees on what is JSON, and a tree is the one that Jansson's reader makes; what is written is its own
 * text, with the same external term; the term is well-formed.
 */
#include <jansson.h>
#include <string.h>

#include "base/jread.h"
#include "base/jtree.h"
#include "fuzz.h"

#define MAX ((size_t)64 << 20)

static int
read_text(const char *in, size_t len, struct buf *text, struct buf *etf)
{
	struct jread j;
	int err;

	jread_init(&j, in, len);
	err = jread_text(&j, text, etf);
	return err != 0 ? err : jread_end(&j);
}

/* walk: Read a value by the pull calls. */
static int
walk(struct jread *j, struct buf *scratch)
{
	struct jstr s;
	uint64_t n;
	int err, b;

	switch (jread_peek(j)) {
	case JREAD_OBJECT:
		if ((err = jread_object_begin(j)) != 0)
			return err;
		while ((err = jread_object_next(j, scratch, &s)) == 0)
			if ((err = walk(j, scratch)) != 0)
				return err;
		return err == ERR_END ? 0 : err;
	case JREAD_ARRAY:
		if ((err = jread_array_begin(j)) != 0)
			return err;
		while ((err = jread_array_next(j)) == 0)
			if ((err = walk(j, scratch)) != 0)
				return err;
		return err == ERR_END ? 0 : err;
	case JREAD_STRING:
		if ((err = jread_string(j, scratch, &s)) == 0)
			FUZZ_CHECK(jread_utf8_ok(s.s, s.len));
		return err;
	case JREAD_TRUE:
	case JREAD_FALSE:
		return jread_bool(j, &b);
	case JREAD_NUMBER:
		err = jread_u64(j, &n);
		return err == ERR_BAD_REQUEST ? jread_skip(j, NULL) : err;
	case JREAD_NULL:
	case JREAD_ERROR:
		break;
	}
	return jread_skip(j, NULL);
}

/* ---- The external term format, as far as JSON needs it ---- */

static void
skip_bytes(struct bytes *r, size_t n)
{
	FUZZ_CHECK(bytes_left(r) >= n);
	(void)bytes_take(r, n);
}

static void check_term(struct bytes *r);

static void
check_list(struct bytes *r)
{
	for (uint32_t n = bytes_u32be(r); n > 0; n--)
		check_term(r);
	FUZZ_CHECK(bytes_u8(r) == 'j');
}

static void
check_term(struct bytes *r)
{
	switch (bytes_u8(r)) {
	case 'a': /* 0 to 255 */
		skip_bytes(r, 1);
		break;
	case 'b': /* 32 bits */
		skip_bytes(r, 4);
		break;
	case 'F': /* a double */
		skip_bytes(r, 8);
		break;
	case 'n': /* an integer of n bytes and a sign */
		skip_bytes(r, 1u + bytes_u8(r));
		break;
	case 'o':
		skip_bytes(r, 1u + bytes_u32be(r));
		break;
	case 'd': /* true, false, null */
		skip_bytes(r, bytes_u8(r) << 8 | bytes_u8(r));
		break;
	case 's':
	case 'w':
		skip_bytes(r, bytes_u8(r));
		break;
	case 'k': /* a list of bytes as a string */
		skip_bytes(r, (size_t)bytes_u8(r) << 8 | bytes_u8(r));
		break;
	case 'm': /* a string */
		skip_bytes(r, bytes_u32be(r));
		break;
	case 'h':
		for (unsigned n = bytes_u8(r); n > 0; n--)
			check_term(r);
		break;
	case 'l':
		check_list(r);
		break;
	case 'j':
		break;
	default:
		FUZZ_CHECK(!"a term of a known kind");
	}
	FUZZ_CHECK(!r->bad);
}

static void
check_etf(const struct buf *etf)
{
	struct bytes r;

	bytes_init(&r, etf->data, etf->len);
	check_term(&r);
	FUZZ_CHECK(bytes_left(&r) == 0);
}

/* ---- */

static int
same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Near the end of a double's range CouchDB reads numbers by its own arithmetic, and its own text as another number. */
static int
has_extremes(const struct buf *text)
{
	for (size_t i = 0; i + 3 < text->len; i++)
		if (memcmp(text->data + i, "e-29", 4) == 0 || memcmp(text->data + i, "e-3", 3) == 0 ||
		    memcmp(text->data + i, "e+3", 3) == 0 || memcmp(text->data + i, "e+29", 4) == 0)
			return 1;
	return 0;
}

static void
check_fixed_point(const struct buf *text, const struct buf *etf)
{
	struct buf again, etf2, plain;

	buf_init(&again, MAX);
	buf_init(&etf2, MAX);
	buf_init(&plain, MAX);
	FUZZ_CHECK(read_text(text->data, text->len, &again, &etf2) == 0);
	FUZZ_CHECK(same(&again, text) && etf2.len == etf->len && fuzz_same_term(etf->data, etf2.data, etf->len));
	FUZZ_CHECK(read_text(text->data, text->len, &plain, NULL) == 0);
	FUZZ_CHECK(same(&plain, text));
	buf_release(&again);
	buf_release(&etf2);
	buf_release(&plain);
}

/* A tree is the one that Jansson's own reader makes of what is JSON. */
static void
check_tree(const char *in, size_t len, int err)
{
	json_t *ours, *theirs;
	int other = jtree_load((struct jstr){in, len}, JTREE_NUL, &ours);

	FUZZ_CHECK(other == 0 ? err == 0 && ours != NULL : other == ERR_BAD_JSON && ours == NULL);
	if (err != 0)
		return;
	theirs = json_loadb(in, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	FUZZ_CHECK(theirs == NULL ? ours == NULL : json_equal(ours, theirs));
	json_decref(ours);
	json_decref(theirs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *in = (const char *)data;
	struct buf text, etf, scratch;
	struct jread j;
	int err, other;

	buf_init(&text, MAX);
	buf_init(&etf, MAX);
	buf_init(&scratch, MAX);
	err = read_text(in, len, &text, &etf);
	FUZZ_CHECK(err == 0 || err == ERR_BAD_JSON);
	jread_init(&j, in, len);
	other = jread_skip(&j, NULL);
	FUZZ_CHECK((other != 0 ? other : jread_end(&j)) == err);
	jread_init(&j, in, len);
	other = walk(&j, &scratch);
	FUZZ_CHECK((other != 0 ? other : jread_end(&j)) == err);
	check_tree(in, len, err);
	if (err == 0) {
		FUZZ_CHECK(jread_utf8_ok(text.data, text.len));
		check_etf(&etf);
		if (!has_extremes(&text))
			check_fixed_point(&text, &etf);
	}
	buf_release(&text);
	buf_release(&etf);
	buf_release(&scratch);
	return 0;
}
