/* The order of CouchDB's views: as documented, as recorded of CouchDB 3.5 (views.json), and ICU's own. */
#include <dlfcn.h>
#include <unicode/uvernum.h>

#include "base/buf.h"
#include "base/limits.h"
#include "check.h"
#include "query/collate.h"
#include "query/icu.h"
#include "query/query.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

static int
sign(int order)
{
	return (order > 0) - (order < 0);
}

static int
collated(const char *a, const char *b)
{
	int order = 99;

	if (!CHECK_INT(query_collate(str(a), str(b), &order), 0))
		fprintf(stderr, "%s, %s\n", a, b);
	return sign(order);
}

/* Each pair of ${texts}, which ascend. */
static void
check_ascending(const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n; k++)
			if (!CHECK_INT(collated(texts[i], texts[k]), (i > k) - (i < k)))
				fprintf(stderr, "%s, %s\n", texts[i], texts[k]);
}

/* The rows of scenario "collation", in the order in which they came. */
static void
test_recorded(void)
{
	static const char *const rows[] = {"null", "false", "true", "-1", "0", "0.5", "1", "2", "10", "1000", "\"\"",
	    "\" \"", "\"10\"", "\"a\"", "\"A\"", "\"aa\"", "\"b\"", "\"B\"", "\"ba\"", "\"bb\"", "\"é\"", "[]",
	    "[null]", "[1]", "[\"a\"]", "[\"b\"]", "[\"b\",\"c\"]", "[\"b\",\"c\",\"a\"]", "[\"b\",\"d\"]",
	    "[\"b\",\"d\",\"e\"]", "[[]]", "{}", "{\"a\":1}", "{\"a\":2}", "{\"b\":1}", "{\"b\":2}",
	    "{\"b\":2,\"a\":1}", "{\"b\":2,\"c\":2}"};

	check_ascending(rows, COUNT(rows));
}

/* The rows of scenario "string-collation". */
static void
test_recorded_strings(void)
{
	static const char *const rows[] = {"\"\"", "\"_\"", "\"-\"", "\",\"", "\";\"", "\":\"", "\"!\"", "\"?\"",
	    "\".\"", "\"'\"", "\"\\\"\"", "\"(\"", "\")\"", "\"[\"", "\"]\"", "\"{\"", "\"}\"", "\"@\"", "\"*\"",
	    "\"/\"", "\"\\\\\"", "\"&\"", "\"#\"", "\"%\"", "\"`\"", "\"^\"", "\"+\"", "\"<\"", "\"=\"", "\">\"",
	    "\"|\"", "\"~\"", "\"😀\"", "\"$\"", "\"0\"", "\"1\"", "\"9\"", "\"a\"", "\"A\"", "\"ä\"", "\"Ä\"",
	    "\"a b\"", "\"a_b\"", "\"a-b\"", "\"ab\"", "\"aB\"", "\"Ab\"", "\"AB\"", "\"b\"", "\"B\"", "\"co-op\"",
	    "\"CO-OP\"", "\"coop\"", "\"ñ\"", "\"resume\"", "\"Resume\"", "\"résumé\"", "\"ß\"", "\"z\"", "\"Z\"",
	    "\"з\"", "\"你\""};

	check_ascending(rows, COUNT(rows));
}

/* Integers of any size are told from each other and from floats. */
static void
test_numbers(void)
{
	static const char *const rows[] = {"-1.0e+300", "-123456789012345678901234567890", "-9223372036854775809",
	    "-9223372036854775808", "-1000000000000000000", "-999999999999999999", "-9007199254740993",
	    "-9007199254740992.0", "-9007199254740991", "-1.5", "-1", "-0.5", "0", "5.0e-324", "0.1", "1", "1.5",
	    "9007199254740991", "9007199254740992.0", "9007199254740993", "9007199254740994.0", "999999999999999999",
	    "1000000000000000000", "18446744073709551615", "18446744073709551616.0", "18446744073709551617",
	    "99999999999999999999.0", "100000000000000000001", "1.0e+22", "10000000000000000000001",
	    "1.7976931348623157e+308"};
	static const char *const same[] = {"1", "1.0", "1e0", "100e-2", "1.00"};

	check_ascending(rows, COUNT(rows));
	for (size_t i = 0; i < COUNT(same); i++)
		CHECK_INT(collated(same[0], same[i]), 0);
	CHECK_INT(collated("-0.0", "0"), 0);
	CHECK_INT(collated("1000000000000000000", "1e18"), 0);
	CHECK_INT(collated("-36893488147419103232", "-3.6893488147419103232e19"), 0);
}

/* What ICU takes for equal is equal. */
static void
test_equal_strings(void)
{
	CHECK_INT(collated("\"\\u00e1\"", "\"a\\u0301\""), 0);
	CHECK_INT(collated("\"a\\u0000b\"", "\"ab\""), 0);
	CHECK_INT(collated("\"a\\u200d\"", "\"a\""), 0);
	CHECK_INT(collated("\"l\\u00b7\"", "\"l\\u0387\""), 0);
	CHECK_INT(collated("{\"\\u00e1\":1}", "{\"a\\u0301\":1.0}"), 0);
	CHECK_INT(collated("\"\\u0041\"", "\"A\""), 0);
	/* ICU is asked for what stands behind the difference. */
	CHECK_INT(collated("\"a\\u0301b\"", "\"ab\""), 1);
	CHECK_INT(collated("\"a\"", "\"b\\u0301\""), -1);
	CHECK_INT(collated("\"a\\u030a\"", "\"z\""), -1);
}

static void
test_white_space_and_errors(void)
{
	int order;

	CHECK_INT(collated(" [ 1 , {\"a\" : 2 } ] ", "[1,{\"a\":2}]"), 0);
	CHECK_INT(query_collate(str(""), str("1"), &order), ERR_BAD_JSON);
	CHECK_INT(query_collate(str("[1"), str("[1]"), &order), ERR_BAD_JSON);
	CHECK_INT(query_collate(str("[1]"), str("[1"), &order), ERR_BAD_JSON);
	CHECK_INT(query_collate(str("\"\\ud800\""), str("\"a\""), &order), ERR_BAD_JSON);
	CHECK_INT(query_collate(str("{1}"), str("{}"), &order), ERR_BAD_JSON);
}

/* The table for ASCII and the library are one order: random strings, with a share of what only ICU knows. */
static void
test_table(void)
{
	static const char *const others[] = {"\xcc\x81", "\xc3\xa4", "\xc2\xb7", "\xe2\x80\x8d", "\x01", "\xd0\xb7"};
	unsigned seed = 7;
	char text[2][64];

	for (int round = 0; round < 200000; round++) {
		struct jstr s[2];
		int ours = 0, icu = 0;

		for (int k = 0; k < 2; k++) {
			unsigned len = (seed = seed * 1103515245u + 12345u) >> 16 & 7;
			char *p = text[k];

			/* Mostly a few letters, so that strings have long prefixes in common. */
			for (unsigned i = 0; i < len; i++) {
				unsigned r = (seed = seed * 1103515245u + 12345u) >> 8;

				if (r % 16 == 0) {
					const char *o = others[r / 16 % COUNT(others)];

					memcpy(p, o, strlen(o));
					p += strlen(o);
				} else if (r % 16 < 6) {
					*p++ = "aAbBlL"[r / 16 % 6];
				} else {
					*p++ = (char)(' ' + r / 16 % 95);
				}
			}
			s[k] = (struct jstr){text[k], (size_t)(p - text[k])};
		}
		CHECK_INT(collate_strings(s[0], s[1], &ours), 0);
		CHECK_INT(icu_compare(s[0], s[1], &icu), 0);
		if (!CHECK_INT(sign(ours), sign(icu)))
			fprintf(stderr, "\"%.*s\" \"%.*s\"\n", (int)s[0].len, s[0].s, (int)s[1].len, s[1].s);
	}
}

static int
is_loaded(void)
{
	void *lib = dlopen("libicui18n.so." U_ICU_VERSION_SHORT, RTLD_LAZY | RTLD_NOLOAD);

	if (lib != NULL)
		dlclose(lib);
	return lib != NULL;
}

/* Nothing loads ICU as long as ASCII decides, nor where bytes are equal. */
static void
test_lazy(void)
{
	CHECK_INT(collated("\"abc\"", "\"abd\""), -1);
	CHECK_INT(collated("{\"a\":[1,\"x\"]}", "{\"a\":[1,\"Y\"]}"), -1);
	CHECK_INT(collated("\"ä\"", "\"ä\""), 0);
	CHECK(!is_loaded());
	CHECK_INT(collated("\"ä\"", "\"b\""), -1);
	CHECK(is_loaded());
}

static void
test_terms(void)
{
	static const char *const cases[][2] = {{"5", "5"}, {"-1.5", "-1.5"}, {"\"x\"", "<<120>>"}, {"\"\"", "<<>>"},
	    {"[1,[]]", "[1,[]]"}, {"{}", "{[]}"},
	    {"{\"a\":\"up\",\"b\":null}", "{[{<<97>>,<<117,112>>},{<<98>>,null}]}"}, {"true", "true"}};
	struct buf out;

	for (size_t i = 0; i < COUNT(cases); i++) {
		buf_init(&out, 1000);
		CHECK_INT(query_put_term(&out, str(cases[i][0])), 0);
		CHECK_MEM(out.data, out.len, cases[i][1], strlen(cases[i][1]));
		buf_release(&out);
	}
	buf_init(&out, 16);
	CHECK_INT(query_put_term(&out, str("[\"a long string\"]")), ERR_TOO_LARGE);
	CHECK(out.len <= 16);
	buf_release(&out);
}

int
main(void)
{
	test_lazy();
	test_recorded();
	test_recorded_strings();
	test_numbers();
	test_equal_strings();
	test_white_space_and_errors();
	test_table();
	test_terms();
	return check_done();
}
