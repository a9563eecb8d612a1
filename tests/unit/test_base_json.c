/* The JSON reader against JSONTestSuite, CouchDB's recorded texts, and itself. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "dice.h"
#include "jsontest.h"

#define SUITE "tests/data/JSONTestSuite/"

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

int
main(void)
{
	test_suite();
	test_numbers();
	test_strings();
	test_structure();
	test_pull();
	test_doubles(1);
	test_damage(2);
	test_find();
	test_order();
	test_members();
	test_u64();
	return check_done();
}
