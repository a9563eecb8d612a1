/* The JSON reader at its bounds: what is longest, deepest, widest; buffers that are full; texts that are cut off. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonnum.h"
#include "base/limits.h"
#include "jsontest.h"

/* ---- Depth and numbers ---- */

static void
check_depth(unsigned depth, int want)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	for (unsigned i = 0; i < depth; i++)
		buf_puts(&b, i % 2 ? "{\"a\":" : "[");
	buf_puts(&b, "1");
	for (unsigned i = depth; i-- > 0;)
		buf_puts(&b, i % 2 ? "}" : "]");
	check_input("depth", b.data, b.len, want);
	buf_release(&b);
}

static void
test_depth(void)
{
	struct buf b;

	check_depth(400, 1);
	check_depth(LIMIT_JSON_DEPTH, 1);
	check_depth(LIMIT_JSON_DEPTH + 1, 0);
	buf_init(&b, 1u << 20);
	for (int i = 0; i < 200000; i++)
		buf_putc(&b, '[');
	check_input("open arrays", b.data, b.len, 0);
	buf_release(&b);
}

/* test_longest: Of the most digits, with nothing behind them: too large for a double, and zero. */
static void
test_longest(void)
{
	char text[LIMIT_NUMBER_LEN];
	double d;

	memset(text, '0', sizeof(text));
	text[0] = '1';
	CHECK_INT(jsonnum_float(text, sizeof(text), NULL, NULL, &d), ERR_BAD_JSON);
	CHECK_INT(jsonnum_float(text, 300, NULL, NULL, &d), 0);
	CHECK(d == 1e299);
	memcpy(text + 400, "e-399", 5);
	CHECK_INT(jsonnum_float(text, 405, NULL, NULL, &d), 0);
	CHECK(d > 0.9 && d < 1.1);
}

/* Nothing at all, and zeros of any length. */
static void
test_nothing(void)
{
	struct jread j;
	double d = 1;
	char zeros[600];
	size_t len = 0;
	char out[JSONNUM_FLOAT_MAX];

	jread_init(&j, NULL, 0);
	CHECK_INT(jread_peek(&j), JREAD_ERROR);
	CHECK_INT(jread_end(&j), 0);
	memset(zeros, '0', sizeof(zeros));
	zeros[1] = '.';
	CHECK_INT(jsonnum_float(zeros, sizeof(zeros), out, &len, &d), 0);
	CHECK(d == 0 && !signbit(d));
	CHECK_MEM(out, len, "0.0", 3);
	CHECK_INT(jsonnum_float("-0e500", 6, out, &len, &d), 0);
	CHECK(d == 0 && signbit(d));
	CHECK_MEM(out, len, "0.0", 3);
	memset(zeros, '1', sizeof(zeros));
	CHECK_INT(pulls(zeros, sizeof(zeros)), 0);
}

/* A number may have so many digits, and no more. */
static void
test_number_bound(void)
{
	char *text = malloc(LIMIT_NUMBER_LEN + 1);

	if (!CHECK(text != NULL))
		return;
	memset(text, '1', LIMIT_NUMBER_LEN + 1);
	check_input("longest", text, LIMIT_NUMBER_LEN, 1);
	check_input("too long", text, LIMIT_NUMBER_LEN + 1, 0);
	free(text);
}

/* ---- Members that are many, or alike ---- */

/* Wide objects go another way to find duplicates. */
static void
test_wide(void)
{
	struct buf in, want, text, etf;

	buf_init(&in, 1u << 20);
	buf_init(&want, 1u << 20);
	buf_init(&text, 1u << 20);
	buf_init(&etf, 1u << 20);
	buf_putc(&in, '{');
	buf_putc(&want, '{');
	for (int i = 0; i < 1000; i++) {
		/* Keys that the hash cannot tell apart: equal ends. */
		buf_printf(&in, "%s\"prefix--%d--suffix0\":%d", i > 0 ? "," : "", 1000 + i % 900, i);
		if (i >= 100)
			buf_printf(&want, "%s\"prefix--%d--suffix0\":%d", i > 100 ? "," : "", 1000 + i % 900, i);
	}
	buf_putc(&in, '}');
	buf_putc(&want, '}');
	CHECK_INT(to_text(in.data, in.len, &text, &etf), 0);
	CHECK_MEM(text.data, text.len, want.data, want.len);
	/* The term's list says how many are left. */
	CHECK(etf.len > 7 && (unsigned char)etf.data[5] == 900 >> 8 && (unsigned char)etf.data[6] == (900 & 255));
	buf_release(&in);
	buf_release(&want);
	buf_release(&text);
	buf_release(&etf);
}

/* Two keys of other lengths, and others of the same, which the hash of keys cannot tell apart. */
static void
test_alike_keys(void)
{
	static const struct pair pairs[] = {
	    {"{\"brefix--1--suffix0\":1,\"crefix--12--suffix0\":2,\"brefix--2--suffix0\":3,\"brefix--1--suffix0\":4}",
		"{\"crefix--12--suffix0\":2,\"brefix--2--suffix0\":3,\"brefix--1--suffix0\":4}"},
	};
	struct buf in, text;

	check_pairs(pairs, 1);
	buf_init(&in, 1u << 20);
	buf_init(&text, 1u << 20);
	/* Among many: each key twice, in disorder, those of one hash and those of others. */
	for (int i = 0; i < 200; i++) {
		int n = i * 37 % 100;

		buf_printf(&in, "%s\"%crefix--%d--suffix0\":%d", i > 0 ? "," : "{", n < 50 ? 'b' : 'c',
		    n < 50 ? n % 10 : n, i);
	}
	for (int i = 0; i < 100; i++)
		buf_printf(&in, ",\"own %d\":%d", i * 61 % 100, i);
	buf_putc(&in, '}');
	CHECK_INT(to_text(in.data, in.len, &text, NULL), 0);
	/* Of each key the last: no key is left twice, and each of them is there. */
	for (int i = 0; i < 100; i++) {
		char key[64], *at;

		snprintf(key, sizeof(key), "\"%crefix--%d--suffix0\":", i < 50 ? 'b' : 'c', i < 50 ? i % 10 : i);
		at = memmem(text.data, text.len, key, strlen(key));
		if (CHECK(at != NULL))
			CHECK(memmem(at + 1, text.len - (size_t)(at + 1 - text.data), key, strlen(key)) == NULL);
	}
	buf_release(&in);
	buf_release(&text);
}

/* ---- Terms, buffers, ends ---- */

/* 2 to the power of 2048 is a term of more than 255 bytes; 65,536 small numbers are no string any more. */
static void
test_large_terms(void)
{
	struct buf in, text, etf;
	char *digits = NULL;
	size_t len;

	buf_init(&in, 1u << 20);
	buf_init(&text, 1u << 20);
	buf_init(&etf, 1u << 20);
	buf_putc(&in, '1');
	for (int i = 0; i < 2048; i++) {
		int carry = 0;

		for (size_t k = 0; k < in.len; k++) { /* the lowest digit first */
			int d = (in.data[k] - '0') * 2 + carry;

			in.data[k] = (char)('0' + d % 10);
			carry = d / 10;
		}
		if (carry > 0)
			buf_putc(&in, '1');
	}
	buf_putc(&in, '-');
	digits = buf_take(&in, &len);
	for (size_t i = len; i > 0; i--)
		buf_putc(&in, digits[i - 1]);
	free(digits);
	CHECK_INT(to_text(in.data, in.len, &text, &etf), 0);
	CHECK_MEM(text.data, text.len, in.data, in.len);
	if (CHECK_INT(etf.len, 6 + 257)) {
		CHECK_MEM(etf.data, 6, "\157\0\0\001\001\001", 6);
		CHECK_INT(etf.data[6 + 256], 1);
		for (size_t i = 6; i < 6 + 256; i++)
			CHECK_INT(etf.data[i], 0);
	}
	for (int n = 65535; n <= 65536; n++) {
		buf_clear(&in);
		buf_clear(&text);
		buf_clear(&etf);
		for (int i = 0; i < n; i++)
			buf_puts(&in, i > 0 ? ",7" : "[7");
		buf_putc(&in, ']');
		CHECK_INT(to_text(in.data, in.len, &text, &etf), 0);
		CHECK_INT(etf.len, n == 65535 ? 3 + 65535 : 5 + 2 * 65536 + 1);
		CHECK_INT((unsigned char)etf.data[0], n == 65535 ? 107 : 108);
	}
	buf_release(&in);
	buf_release(&text);
	buf_release(&etf);
}

/* Every kind of token, with others before and behind it. */
static const char *const crowded[] = {
    "[true,false,null,0,255,256,-1,99999,-2147483649,123456789012345678901234567890,1.5,1e-7,\"\",\"a\"]",
    "{\"a\":true,\"bb\":{\"c\":[],\"d\":{}},\"e\":[[1],[\"x\",2]],\"f\":\"\"}",
    "[\"\\n\\u00e9\\ud83d\\ude00 behind\",\"\\\"between\\\\\\/\\u001f\",[\"of more than 32 bytes in a row\"]]",
    "{\"k\":1,\"l\":2.5,\"k\":null,\"long key of more than 32 bytes, a row of them\":[true,[]]}",
    "[1,2,3,[true],[[null]],{\"x\":[1,2,300]}]",
    "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "{\"\\u0061\\n\":\"\\t\"}",
};

static void
check_full(const char *token, int of_etf)
{
	size_t len, max, before = 3;
	char in[512];
	struct buf text, etf, want_text, want_etf;
	int err = ERR_TOO_LARGE;

	/* A buffer begins with some room: what is looked at stands behind that. */
	len = (size_t)snprintf(in, sizeof(in), "[%s,%s]", crowded[0], token);
	buf_init(&want_text, 1u << 20);
	buf_init(&want_etf, 1u << 20);
	CHECK_INT(to_text(in, len, &want_text, &want_etf), 0);
	for (max = before; err != 0 && max < 4096; max++) {
		buf_init(&text, of_etf ? 1u << 20 : max);
		buf_init(&etf, of_etf ? max : 1u << 20);
		CHECK_INT(buf_put(&text, "abc", before), 0);
		CHECK_INT(buf_put(&etf, "abc", before), 0);
		err = to_text(in, len, &text, &etf);
		if (err == 0) {
			CHECK_MEM(text.data + before, text.len - before, want_text.data, want_text.len);
			CHECK_MEM(etf.data + before, etf.len - before, want_etf.data, want_etf.len);
			CHECK(max <= before + 128 + (of_etf ? want_etf.len : want_text.len));
		} else {
			CHECK_INT(err, ERR_TOO_LARGE);
			CHECK_MEM(text.data, text.len, "abc", before);
			CHECK_MEM(etf.data, etf.len, "abc", before);
		}
		buf_release(&text);
		buf_release(&etf);
	}
	CHECK_INT(err, 0);
	buf_release(&want_text);
	buf_release(&want_etf);
}

static void
test_full(void)
{
	struct buf none, scratch;
	struct jread j;
	struct jstr s;

	for (size_t i = 0; i < sizeof(crowded) / sizeof(crowded[0]); i++) {
		check_full(crowded[i], 0);
		check_full(crowded[i], 1);
	}
	buf_init(&none, 4);
	CHECK_INT(to_text("1", 1, &none, NULL), ERR_TOO_LARGE);
	buf_init(&scratch, 4);
	jread_init(&j, "\"1234\\n\"", 8);
	CHECK_INT(jread_string(&j, &scratch, &s), ERR_TOO_LARGE);
	jread_init(&j, "{\"1234\\n\":1}", 12);
	CHECK_INT(jread_object_begin(&j), 0);
	CHECK_INT(jread_object_next(&j, &scratch, &s), ERR_TOO_LARGE);
	buf_release(&scratch);
	buf_release(&none);
}

/* What begins well and is cut off, or goes on wrong, is refused wherever that is. */
static void
test_cut(void)
{
	for (size_t i = 0; i < sizeof(crowded) / sizeof(crowded[0]); i++) {
		size_t len = strlen(crowded[i]);
		char *cut;

		if (crowded[i][0] != '[' && crowded[i][0] != '{')
			continue;
		for (size_t n = 0; n < len; n++) {
			cut = malloc(n + 1);
			if (!CHECK(cut != NULL))
				return;
			memcpy(cut, crowded[i], n);
			check_input("cut", cut, n, 0);
			cut[n] = '\x01';
			check_input("cut, and a control", cut, n + 1, 0);
			free(cut);
		}
	}
}

int
main(void)
{
	test_depth();
	test_longest();
	test_nothing();
	test_number_bound();
	test_wide();
	test_alike_keys();
	test_large_terms();
	test_full();
	test_cut();
	return check_done();
}
