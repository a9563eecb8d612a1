/* Trees of Jansson's from our reader: what it has no room for is refused, and what is taken prints as Jansson's own reader would have it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/jtree.h"
#include "base/limits.h"
#include "check.h"

/* What the tree prints as; NULL where there is none. */
static char *
printed(struct jstr text, unsigned how)
{
	json_t *v;
	char *out;
	int err = jtree_load(text, how, &v);

	if (err != 0) {
		CHECK_INT(err, ERR_BAD_JSON);
		CHECK(v == NULL);
		return NULL;
	}
	out = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	CHECK(out != NULL);
	json_decref(v);
	return out;
}

static void
check_one(const char *text, unsigned how, const char *expected)
{
	size_t len = strlen(text);
	char *apart = malloc(len + 1); /* without a NUL behind it, so that a sanitizer sees a read behind its end */
	char *out;

	if (!CHECK(apart != NULL))
		return;
	memcpy(apart + 1, text, len);
	out = printed((struct jstr){apart + 1, len}, how);
	if (expected == NULL)
		CHECK(out == NULL);
	else if (CHECK(out != NULL))
		CHECK_STR(out, expected);
	free(out);
	free(apart);
}

static void
test_values(void)
{
	static const struct {
		const char *text;
		unsigned how;
		const char *expected;
	} cases[] = {
	    {" null ", 0, "null"},
	    {"[true,false,null,[],{}]", 0, "[true,false,null,[],{}]"},
	    {"{\"a\" : {\"b\\n\":[\"\\u00e9\\ud83d\\ude00\\/\\u007f\"]} , \"\":\"\"}", 0,
		"{\"a\":{\"b\\n\":[\"\303\251\360\237\230\200/\177\"]},\"\":\"\"}"},
	    {"\"sixteen bytes and many more, \\\"escaped\\\" and not, for which memory must grow\"", 0,
		"\"sixteen bytes and many more, \\\"escaped\\\" and not, for which memory must grow\""},
	    /* The last of members with the same key, at the first one's place. */
	    {"{\"k\":1,\"x\":2,\"\\u006b\":3}", 0, "{\"k\":3,\"x\":2}"},
	    /* The key with an escape is still there when its value, with escapes, has been read. */
	    {"{\"a\\t1\":{\"b\\t2\":\"c\\t3\"},\"d\\t4\":\"e\\t5\"}", 0,
		"{\"a\\t1\":{\"b\\t2\":\"c\\t3\"},\"d\\t4\":\"e\\t5\"}"},
	    {"[0,-0,9223372036854775807,-9223372036854775808]", 0, "[0,0,9223372036854775807,-9223372036854775808]"},
	    {"9223372036854775808", 0, NULL},
	    {"[-9223372036854775809]", 0, NULL},
	    {"[1.5,1e2,-0.0,0.1,5e-324]", 0, "[1.5,100.0,-0.0,0.10000000000000001,4.9406564584124654e-324]"},
	    {"[1e400]", 0, NULL},
	    {"[7,9223372036854775808]", JTREE_REALS, "[7.0,9.2233720368547758e18]"},
	    {"[7,9223372036854775808]", JTREE_NEAR, "[7,9223372036854775807]"},
	    {"{\"a\\u0000b\":[1],\"c\":2}", JTREE_NEAR, "{\"c\":2}"},
	    {"{\"a\\u0000b\":[1", JTREE_NEAR, NULL},
	    {"\"a\\u0000b\"", JTREE_NUL, "\"a\\u0000b\""},
	    {"\"a\\u0000b\"", 0, NULL},
	    {"{\"a\\u0000b\":1}", JTREE_NUL, NULL},
	    {"\"\\ud83d\"", JTREE_NUL, NULL},
	    {"", 0, NULL},
	    {"[1", 0, NULL},
	    {"[1] 2", 0, NULL},
	    {"{\"a\":{\"b\":[1,2", 0, NULL},
	    {"{\"a\":1,\"a\":}", 0, NULL},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_one(cases[i].text, cases[i].how, cases[i].expected);
}

/* Integers too large for any double, where they are to be doubles. */
static void
test_huge(void)
{
	char digits[401];

	memset(digits, '7', sizeof(digits) - 1);
	digits[sizeof(digits) - 1] = '\0';
	check_one(digits, 0, NULL);
	check_one(digits, JTREE_REALS, NULL);
}

static void
test_depth(void)
{
	size_t n = LIMIT_JSON_DEPTH + 1;
	char *text = malloc(2 * n), *out;

	if (!CHECK(text != NULL))
		return;
	memset(text, '[', n);
	memset(text + n, ']', n);
	CHECK(printed((struct jstr){text, 2 * n}, 0) == NULL);
	out = printed((struct jstr){text + 1, 2 * (n - 1)}, 0);
	CHECK(out != NULL);
	free(out);
	free(text);
}

int
main(void)
{
	test_values();
	test_huge();
	test_depth();
	return check_done();
}
