/* jsontest.h: what the tests of the JSON reader share: each way to read a text, which must agree, and texts with what becomes of them. */
#ifndef TESTS_UNIT_JSONTEST_H_
#define TESTS_UNIT_JSONTEST_H_

#include "base/jread.h"
#include "check.h"

/* Append the whole of ${in} as text; ${etf} may be NULL. */
static inline int
to_text(const char *in, size_t len, struct buf *text, struct buf *etf)
{
	struct jread j;
	int err;

	jread_init(&j, in, len);
	err = jread_text(&j, text, etf);
	return err != 0 ? err : jread_end(&j);
}

static inline int
skips(const char *in, size_t len)
{
	struct jread j;
	int err;

	jread_init(&j, in, len);
	err = jread_skip(&j, NULL);
	return err != 0 ? err : jread_end(&j);
}

/* pull_value: Reads a value through each of the reader's own steps.  Any error but ERR_BAD_JSON is a failure of the test. */
static inline int
pull_value(struct jread *j, struct buf *scratch)
{
	enum jread_type type = jread_peek(j);
	struct jstr s;
	uint64_t n;
	int v, err;

	switch (type) {
	case JREAD_OBJECT:
		if ((err = jread_object_begin(j)) != 0)
			return err;
		while ((err = jread_object_next(j, scratch, &s)) == 0 && (err = pull_value(j, scratch)) == 0)
			;
		return err == ERR_END ? 0 : err;
	case JREAD_ARRAY:
		if ((err = jread_array_begin(j)) != 0)
			return err;
		while ((err = jread_array_next(j)) == 0 && (err = pull_value(j, scratch)) == 0)
			;
		return err == ERR_END ? 0 : err;
	case JREAD_STRING:
		return jread_string(j, scratch, &s);
	case JREAD_TRUE:
	case JREAD_FALSE:
		return jread_bool(j, &v);
	case JREAD_NUMBER:
		if ((err = jread_u64(j, &n)) != ERR_BAD_REQUEST)
			return err;
		return jread_skip(j, NULL);
	default:
		CHECK_INT(jread_string(j, scratch, &s), type == JREAD_NULL ? ERR_BAD_REQUEST : ERR_BAD_JSON);
		return jread_skip(j, NULL);
	}
}

static inline int
pulls(const char *in, size_t len)
{
	struct buf scratch;
	struct jread j;
	int err;

	buf_init(&scratch, 64u << 20);
	jread_init(&j, in, len);
	err = pull_value(&j, &scratch);
	buf_release(&scratch);
	return err != 0 ? err : jread_end(&j);
}

/* Check that ${in} is accepted, or refused, in every way of reading; and that its text is its own text. */
static inline void
check_input(const char *name, const char *in, size_t len, int want)
{
	struct buf text, again, etf, etf2;
	int err;

	buf_init(&text, 64u << 20);
	buf_init(&again, 64u << 20);
	buf_init(&etf, 64u << 20);
	buf_init(&etf2, 64u << 20);
	err = to_text(in, len, &text, &etf);
	if (!CHECK(want < 0 || (err == 0) == want))
		fprintf(stderr, "%s: error %d\n", name, err);
	CHECK_INT(skips(in, len), err);
	CHECK_INT(pulls(in, len), err);
	if (err == 0) {
		CHECK_INT(to_text(text.data, text.len, &again, &etf2), 0);
		if (!CHECK_MEM(again.data, again.len, text.data, text.len))
			fprintf(stderr, "%s\n", name);
		buf_clear(&again);
		CHECK_INT(to_text(in, len, &again, NULL), 0);
		CHECK_MEM(again.data, again.len, text.data, text.len);
	} else {
		CHECK_INT(err, ERR_BAD_JSON);
	}
	buf_release(&text);
	buf_release(&again);
	buf_release(&etf);
	buf_release(&etf2);
}

/* A text and what CouchDB makes of it; NULL: refused. */
struct pair {
	const char *in;
	const char *out;
};

static inline void
check_pairs(const struct pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct buf text;
		int err;

		buf_init(&text, 1u << 20);
		err = to_text(pairs[i].in, strlen(pairs[i].in), &text, NULL);
		CHECK_INT(err, pairs[i].out != NULL ? 0 : ERR_BAD_JSON);
		if (err == 0 && pairs[i].out != NULL)
			CHECK_MEM(text.data, text.len, pairs[i].out, strlen(pairs[i].out));
		check_input(pairs[i].in, pairs[i].in, strlen(pairs[i].in), pairs[i].out != NULL);
		buf_release(&text);
	}
}

#endif
