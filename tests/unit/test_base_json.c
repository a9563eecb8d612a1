/* The JSON reader against JSONTestSuite, CouchDB's recorded texts, and itself. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jread.h"
#include "base/jsonnum.h"
#include "base/limits.h"
#include "check.h"
#include "dice.h"

#define SUITE "tests/data/JSONTestSuite/"

/* Append the whole of ${in} as text; ${etf} may be NULL. */
static int
to_text(const char *in, size_t len, struct buf *text, struct buf *etf)
{
	struct jread j;
	int err;

	jread_init(&j, in, len);
	err = jread_text(&j, text, etf);
	return err != 0 ? err : jread_end(&j);
}

static int
skips(const char *in, size_t len)
{
	struct jread j;
	int err;

	jread_init(&j, in, len);
	err = jread_skip(&j, NULL);
	return err != 0 ? err : jread_end(&j);
}

/* ---- Reading step by step ---- */

/* pull_value: Reads a value through each of the reader's own steps.  Any error but ERR_BAD_JSON is a failure of the test. */
static int
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

static int
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
static void
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

static size_t
read_file(const char *path, char *out, size_t max)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!CHECK(f != NULL))
		return 0;
	n = fread(out, 1, max, f);
	fclose(f);
	return n;
}

static int
check_dir(const char *name, int names_tell)
{
	static char in[1u << 20];
	DIR *dir = opendir(name);
	struct dirent *e;
	int n = 0;

	if (!CHECK(dir != NULL))
		return 0;
	while ((e = readdir(dir)) != NULL) {
		char path[512], *exact;
		size_t len;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", name, e->d_name);
		len = read_file(path, in, sizeof(in));
		/* Memory of the exact size, so that a read past the end is seen. */
		exact = malloc(len > 0 ? len : 1);
		if (CHECK(exact != NULL)) {
			memcpy(exact, in, len);
			check_input(
			    e->d_name, exact, len, !names_tell || e->d_name[0] == 'i' ? -1 : e->d_name[0] == 'y');
		}
		free(exact);
		n++;
	}
	closedir(dir);
	return n;
}

static void
test_suite(void)
{
	CHECK_INT(check_dir(SUITE "test_parsing", 1), 318);
	CHECK_INT(check_dir(SUITE "test_transform", 0), 22);
}

/* A text and what CouchDB makes of it; NULL: refused. */
struct pair {
	const char *in;
	const char *out;
};

static void
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

static void
test_numbers(void)
{
	static const struct pair pairs[] = {
	    {"0", "0"},
	    {"-0", "0"},
	    {"-2147483649", "-2147483649"},
	    {"9223372036854775808", "9223372036854775808"},
	    {"123456789012345678901234567890", "123456789012345678901234567890"},
	    {"1.0", "1.0"},
	    {"-0.0", "0.0"},
	    {"0e0", "0.0"},
	    {"0.1", "0.1"},
	    {"1.5e3", "1500.0"},
	    {"1e3", "1000.0"},
	    {"1E+2", "100.0"},
	    {"1e-7", "1e-7"},
	    {"0.000001", "0.000001"},
	    {"0.0000001", "1e-7"},
	    {"-1.25e-9", "-1.25e-9"},
	    {"123456.789", "123456.789"},
	    {"1e15", "1000000000000000.0"},
	    {"1e16", "10000000000000000.0"},
	    {"1e20", "100000000000000000000.0"},
	    {"1e21", "1e+21"},
	    {"1e22", "1e+22"},
	    {"1.7976931348623157e308", "1.7976931348623157e+308"},
	    {"0.30000000000000004", "0.30000000000000004"},
	    {"12345678901234567.0", "12345678901234568.0"},
	    {"1234567890.123456789", "1234567890.1234567"},
	    {"3.14159265358979323846", "3.141592653589793"},
	    {"0.1000000000000000000000", "0.1"},
	    {"5.684341886080802e-14", "5.684341886080802e-14"},
	    {"5e-324", "0.0"},
	    {"1e-400", "0.0"},
	    {"-1e-400", "0.0"},
	    {"1.5E-7", "1.5e-7"},
	    {"1e300", "1e+300"},
	    {"1e400", NULL},
	    {"-1.5e309", NULL},
	    {"01", NULL},
	    {"+1", NULL},
	    {".5", NULL},
	    {"5.", NULL},
	    {"1e", NULL},
	    {"1e+", NULL},
	    {"-", NULL},
	    {"NaN", NULL},
	    {"0x1", NULL},
	};

	check_pairs(pairs, sizeof(pairs) / sizeof(pairs[0]));
}

static void
test_strings(void)
{
	static const struct pair pairs[] = {
	    {"\"\"", "\"\""},
	    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
	    {"\"\\u0000\\u001b\\u001F\\u007f\"", "\"\\u0000\\u001B\\u001F\x7f\""},
	    {"\"\\u0041\\u00e9\\u4f60\\ud83d\\ude00\"", "\"A\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\""},
	    {"\"\\ufeff\\uffff\\u2028\"", "\"\xef\xbb\xbf\xef\xbf\xbf\xe2\x80\xa8\""},
	    {"\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\\n\\n.\"",
		"\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\\n\\n.\""},
	    {"\"\\ud800\"", NULL},
	    {"\"\\ud800x\"", NULL},
	    {"\"\\udc00x\"", NULL},
	    {"\"\\ude00\\ud83d\"", NULL},
	    {"\"\\ud83d\\u0041\"", NULL},
	    {"\"\\ud83d\\ue000\"", NULL},
	    {"\"\\ud83d......\"", NULL},
	    {"\"\\ud83d\\n....\"", NULL},
	    {"\"\n\"", NULL},
	    {"\"\\x\"", NULL},
	    {"\"\\u12\"", NULL},
	    {"\"\xff\"", NULL},
	    {"\"\xc0\xaf\"", NULL},
	    {"\"\xed\xa0\x80\"", NULL},
	    {"\"\xf4\x90\x80\x80\"", NULL},
	    {"\"\xe4\xbd\"", NULL},
	    {"\"open", NULL},
	    {"\xef\xbb\xbf\"a\"", NULL},
	};

	check_pairs(pairs, sizeof(pairs) / sizeof(pairs[0]));
	check_input("NUL byte", "\"a\0b\"", 5, 0);
	check_input("NUL behind", "1\0", 2, 0);
}

static void
test_structure(void)
{
	static const struct pair pairs[] = {
	    {" \t\r\n{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }\n", "{\"a\":1,\"b\":[1,2]}"},
	    {"{}", "{}"},
	    {"[ ]", "[]"},
	    {"[[],{},[{}]]", "[[],{},[{}]]"},
	    {"[true,false,null]", "[true,false,null]"},
	    {"{\"z\":1,\"a\":2,\"10\":4,\"9\":5}", "{\"z\":1,\"a\":2,\"10\":4,\"9\":5}"},
	    {"{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}"},
	    {"{\"a\":1,\"a\":2}", "{\"a\":2}"},
	    {"{\"a\":1,\"\\u0061\":2}", "{\"a\":2}"},
	    {"{\"a\":{\"k\":1,\"l\":[1],\"k\":2},\"b\":1,\"a\":[{\"x\":1,\"x\":{}}]}", "{\"b\":1,\"a\":[{\"x\":{}}]}"},
	    {"{\"a\":1,\"b\":2,\"c\":3,\"b\":4,\"c\":5,\"a\":6}", "{\"b\":4,\"c\":5,\"a\":6}"},
	    {"", NULL},
	    {" ", NULL},
	    {"{", NULL},
	    {"{\"a\":}", NULL},
	    {"{\"a\" 1}", NULL},
	    {"{\"a\":1,}", NULL},
	    {"[1,]", NULL},
	    {"[,1]", NULL},
	    {"[1 2]", NULL},
	    {"{a:1}", NULL},
	    {"{'a':1}", NULL},
	    {"{} {}", NULL},
	    {"{}x", NULL},
	    {"tru", NULL},
	    {"//c\n{}", NULL},
	    {"]", NULL},
	    {"[}", NULL},
	};

	check_pairs(pairs, sizeof(pairs) / sizeof(pairs[0]));
}

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

static void
test_pull(void)
{
	static const char in[] =
	    " { \"a\\n\" : [ 1 , \"x\\u0041\" , true ] , \"b\" : 18446744073709551615, \"c\":{}, \"d\":[] } ";
	struct buf scratch;
	struct jstr s;
	struct jread j;
	uint64_t n;
	int v;

	buf_init(&scratch, 1000);
	jread_init(&j, in, sizeof(in) - 1);
	CHECK_INT(jread_peek(&j), JREAD_OBJECT);
	CHECK_INT(jread_array_begin(&j), ERR_BAD_REQUEST);
	CHECK_INT(jread_object_begin(&j), 0);
	CHECK_INT(jread_object_next(&j, &scratch, &s), 0);
	CHECK_MEM(s.s, s.len, "a\n", 2);
	CHECK_INT(jread_array_begin(&j), 0);
	CHECK_INT(jread_array_next(&j), 0);
	CHECK_INT(jread_string(&j, &scratch, &s), ERR_BAD_REQUEST);
	CHECK_INT(jread_u64(&j, &n), 0);
	CHECK_INT(n, 1);
	CHECK_INT(jread_array_next(&j), 0);
	CHECK_INT(jread_bool(&j, &v), ERR_BAD_REQUEST);
	CHECK_INT(jread_string(&j, &scratch, &s), 0);
	CHECK_MEM(s.s, s.len, "xA", 2);
	CHECK_INT(jread_array_next(&j), 0);
	CHECK_INT(jread_bool(&j, &v), 0);
	CHECK_INT(v, 1);
	CHECK_INT(jread_array_next(&j), ERR_END);
	CHECK_INT(jread_object_next(&j, &scratch, &s), 0);
	CHECK_INT(jread_u64(&j, &n), 0);
	CHECK(n == UINT64_MAX);
	CHECK_INT(jread_object_next(&j, &scratch, &s), 0);
	CHECK_INT(jread_object_begin(&j), 0);
	CHECK_INT(jread_object_next(&j, &scratch, &s), ERR_END);
	CHECK_INT(jread_object_next(&j, &scratch, &s), 0);
	CHECK_INT(jread_array_begin(&j), 0);
	CHECK_INT(jread_end(&j), ERR_BAD_JSON);
	CHECK_INT(jread_array_next(&j), ERR_END);
	CHECK_INT(jread_object_next(&j, &scratch, &s), ERR_END);
	CHECK_INT(jread_end(&j), 0);
	jread_init(&j, "18446744073709551616", 20);
	CHECK_INT(jread_u64(&j, &n), ERR_BAD_REQUEST);
	jread_init(&j, "-1", 2);
	CHECK_INT(jread_u64(&j, &n), ERR_BAD_REQUEST);
	jread_init(&j, "[1,]", 4);
	CHECK_INT(jread_array_begin(&j), 0);
	CHECK_INT(jread_array_next(&j), 0);
	CHECK_INT(jread_u64(&j, &n), 0);
	CHECK_INT(jread_array_next(&j), 0);
	CHECK_INT(jread_u64(&j, &n), ERR_BAD_JSON);
	buf_release(&scratch);
}

static int
significant(const char *p)
{
	int digits = 0, zeros = 0;

	for (; *p != '\0' && *p != 'e'; p++) {
		if (*p >= '1' && *p <= '9') {
			digits += zeros + 1;
			zeros = 0;
		} else if (*p == '0' && digits > 0) {
			zeros++;
		}
	}
	return digits;
}

static void
check_double(double v)
{
	char in[64];
	struct buf text;
	int prec = 1;

	for (; prec < 17; prec++) {
		snprintf(in, sizeof(in), "%.*e", prec - 1, v);
		if (strtod(in, NULL) == v)
			break;
	}
	snprintf(in, sizeof(in), "%.17e", v);
	buf_init(&text, 4096);
	CHECK_INT(to_text(in, strlen(in), &text, NULL), 0);
	buf_putc(&text, '\0');
	if (!CHECK(strtod(text.data, NULL) == v) || !CHECK(significant(text.data) <= prec))
		fprintf(stderr, "%s became %s\n", in, text.data);
	buf_release(&text);
}

/* Doubles of every size read back as themselves, in no more digits than the C library needs. */
static void
test_doubles(uint64_t seed)
{
	for (int i = 0; i < 20000; i++) {
		double v;

		dice_next(&seed);
		memcpy(&v, &seed, sizeof(v));
		if (i % 3 == 0)
			v = (double)(int64_t)(seed >> 20) / 1e6;
		if (isfinite(v) && fabs(v) > 1e-300)
			check_double(v);
	}
	for (int e = -900; e < 1000; e++)
		check_double(ldexp(1, e));
}

/* Random bytes and damaged documents never crash, and what is accepted prints as itself. */
static void
test_damage(uint64_t seed)
{
	static const char doc[] = "{\"_id\":\"a\",\"n\":[1,2.5e3,-7,\"x\\u00e9y\",{\"k\":null,\"k\":true}],\"s\":"
				  "\"\\\"\\n\xc3\xa9\",\"e\":{}}";
	char *copy = malloc(sizeof(doc));

	if (!CHECK(copy != NULL))
		return;
	for (int i = 0; i < 20000; i++) {
		size_t len = sizeof(doc) - 1;

		memcpy(copy, doc, len);
		for (int k = 0; k < 1 + i % 3; k++) {
			dice_next(&seed);
			copy[(seed >> 33) % len] = i % 2 ? (char)(seed >> 25) : doc[(seed >> 20) % len];
		}
		check_input("damaged", copy, len - (seed >> 60), -1);
	}
	free(copy);
}

static void
check_find(const char *text, const char *name, int want_err, const char *want)
{
	struct buf scratch;
	struct jstr value;
	struct jread j;

	buf_init(&scratch, 4096);
	jread_init(&j, text, strlen(text));
	CHECK_INT(jread_find(&j, &scratch, (struct jstr){name, strlen(name)}), want_err);
	if (want_err == 0 && CHECK_INT(jread_skip(&j, &value), 0))
		CHECK_MEM(value.s, value.len, want, strlen(want));
	buf_release(&scratch);
}

static void
test_find(void)
{
	check_find("{\"a\":1,\"b\":[2],\"b\":3}", "b", 0, "[2]");
	check_find(" {\"\\u0062\":{}}", "b", 0, "{}");
	check_find("{\"a\":{\"b\":1}}", "b", ERR_END, "");
	check_find("{}", "b", ERR_END, "");
	check_find("[\"b\"]", "b", ERR_END, "");
	check_find("{\"a\":1", "b", ERR_BAD_JSON, "");
	check_find("{\"a\":x", "b", ERR_BAD_JSON, "");
}

static void
test_order(void)
{
	const struct jstr none = {NULL, 0}, a = {"a", 1}, ab = {"ab", 2}, b = {"b", 1}, high = {"\xc3\xa9", 2};

	CHECK(jstr_order(&none, &a) < 0);
	CHECK(jstr_order(&a, &ab) < 0);
	CHECK(jstr_order(&ab, &b) < 0);
	CHECK(jstr_order(&high, &b) > 0);
	CHECK_INT(jstr_order(&ab, &ab), 0);
	CHECK(jstr_equal(none, (struct jstr){"", 0}));
	CHECK(!jstr_equal(a, ab));
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

/* ---- Buffers that are full, and memory that is not there ---- */

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

static int
member(void *cookie, struct jstr key, struct jread *j)
{
	if (jstr_is(&key, "_skip"))
		return jread_skip(j, cookie);
	return jstr_is(&key, "_stop") ? ERR_CONFLICT : ERR_END;
}

static void
check_members(const char *in, int want_err, const char *want)
{
	struct jstr span = {NULL, 0};
	struct buf text, etf;
	struct jread j;

	buf_init(&text, 1000);
	buf_init(&etf, 1000);
	jread_init(&j, in, strlen(in));
	CHECK_INT(jread_text_members(&j, &text, &etf, member, &span), want_err);
	CHECK_MEM(text.data, text.len, want, strlen(want));
	buf_release(&text);
	buf_release(&etf);
}

static void
test_members(void)
{
	check_members(
	    "{\"_skip\":[1],\"a\":{\"_skip\":2},\"_kept\":3,\"\":4}", 0, "{\"a\":{\"_skip\":2},\"_kept\":3,\"\":4}");
	check_members("{\"_skip\":[1}", ERR_BAD_JSON, "");
	check_members("{\"a\":1,\"_stop\":2}", ERR_CONFLICT, "");
	check_members("[1]", ERR_BAD_REQUEST, "");
	check_members("", ERR_BAD_JSON, "");
}

static void
check_u64(const char *in, int want_err, uint64_t want)
{
	struct jread j;
	uint64_t n = 0;

	jread_init(&j, in, strlen(in));
	CHECK_INT(jread_u64(&j, &n), want_err);
	CHECK(n == want);
}

static void
test_u64(void)
{
	check_u64("-0", 0, 0);
	check_u64("-10", ERR_BAD_REQUEST, 0);
	check_u64("-5.5", ERR_BAD_REQUEST, 0);
	check_u64("-1", ERR_BAD_REQUEST, 0);
	check_u64("1.0", ERR_BAD_REQUEST, 0);
	check_u64("1.", ERR_BAD_JSON, 0);
	check_u64("-", ERR_BAD_JSON, 0);
	check_u64("x", ERR_BAD_JSON, 0);
	check_u64("null", ERR_BAD_REQUEST, 0);
	check_u64("18446744073709551609", 0, UINT64_C(18446744073709551609));
	check_u64("18446744073709551620", ERR_BAD_REQUEST, 0);
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

int
main(void)
{
	test_suite();
	test_numbers();
	test_longest();
	test_strings();
	test_structure();
	test_depth();
	test_wide();
	test_pull();
	test_doubles(1);
	test_damage(2);
	test_find();
	test_order();
	test_full();
	test_alike_keys();
	test_large_terms();
	test_cut();
	test_members();
	test_u64();
	test_nothing();
	test_number_bound();
	return check_done();
}
