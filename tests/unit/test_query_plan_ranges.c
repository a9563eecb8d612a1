/* Tests of the planner: which rows of an index it reads for a selector. */
#include "plantest.h"

/* With the index x/x of ${columns}: the keys of ${in} are in one range, those of ${out} in none; both separated by spaces. */
static void
check_ranges(const char *selector, const char *columns, size_t nranges, const char *in, const char *out)
{
	char indexes[100];
	struct given g = {.selector = selector, .indexes = indexes};
	struct jstr keys[MAX];
	struct made *m;

	snprintf(indexes, sizeof(indexes), "x/x %s", columns);
	m = make(&g);
	CHECK_INT(m->plan->parts[0].nranges, nranges);
	for (int inside = 0; inside < 2; inside++) {
		const char *list = inside ? in : out;
		size_t n = words_split(list, list + strlen(list), keys);

		for (size_t i = 0; i < n; i++) {
			char key[200];

			snprintf(key, sizeof(key), "%.*s", (int)keys[i].len, keys[i].s);
			if (!CHECK_INT(is_in(&m->plan->parts[0], key), inside))
				fprintf(stderr, "  %s for %s\n", key, selector);
		}
	}
	release(m);
}

static void
test_ranges(void)
{
	check_ranges("{\"a\":{\"$gt\":1,\"$lt\":3}}", "a", 1, "[1.1] [2] [2,null]", "[1] [1,{}] [3] [null] [\"a\"]");
	check_ranges("{\"a\":{\"$gte\":1,\"$lte\":3}}", "a", 1, "[1] [1,{}] [3] [3,{}]", "[0.9] [3.1]");
	check_ranges("{\"a\":{\"$gt\":null}}", "a", 1, "[false] [{}]", "[null]");
	check_ranges("{\"a\":null}", "a", 1, "[null]", "[false] [0]");
	check_ranges("{\"a\":{\"$lte\":null}}", "a", 1, "[null]", "[false]");
	check_ranges("{\"a\":{\"$gte\":null}}", "a", 1, "[null] [{\"z\":1}]", "");
	check_ranges("{\"a\":{\"$lt\":null}}", "a", 0, "", "[null] [false]");
	check_ranges("{\"a\":{\"$gt\":5,\"$lt\":5}}", "a", 0, "", "[5]");
	check_ranges("{\"$and\":[{\"a\":1},{\"a\":2}]}", "a", 0, "", "[1] [2]");
	/* Equal columns, then one range; what is behind is not looked at. */
	check_ranges("{\"a\":1,\"b\":{\"$gt\":2},\"c\":3}", "a b c", 1, "[1,3,3] [1,3,4]", "[1,2,3] [2,3,3] [0,3,3]");
	check_ranges("{\"a\":1,\"c\":3,\"b\":{\"$exists\":true}}", "a b c", 1, "[1,null,0]", "[0,0,3]");
	/* $in: its values, and arrays, of which one element may be it. */
	check_ranges(
	    "{\"a\":{\"$in\":[3,1,1,\"x\"]}}", "a", 4, "[1] [3] [\"x\"] [[]] [[9]]", "[2] [\"y\"] [{}] [null]");
	check_ranges("{\"a\":{\"$in\":[]}}", "a", 1, "[[1]]", "[1] [null]");
	check_ranges(
	    "{\"a\":{\"$in\":[1,2]},\"b\":{\"$in\":[1,2]}}", "a b", 7, "[1,1] [2,2] [1,[]] [[],9]", "[1,3] [3,1]");
	check_ranges("{\"a\":{\"$in\":[1,5,9],\"$gt\":3,\"$type\":\"number\"}}", "a", 2, "[5] [9]", "[1] [[5]]");
	/* Types. */
	check_ranges("{\"a\":{\"$regex\":\"x\"}}", "a", 1, "[\"\"] [\"\\uffff\"]", "[1] [true] [[]]");
	check_ranges("{\"a\":{\"$size\":1}}", "a", 1, "[[]] [[{}]]", "[\"a\"] [{}]");
	check_ranges("{\"a\":{\"$mod\":[2,0]}}", "a", 1, "[0] [-1e300]", "[true] [\"a\"]");
	check_ranges("{\"a\":{\"$type\":\"boolean\"}}", "a", 1, "[true] [false]", "[null] [0]");
	check_ranges("{\"a\":{\"$keyMapMatch\":{\"$eq\":\"k\"}}}", "a", 1, "[{}]", "[[]]");
	/* $or within one field. */
	check_ranges("{\"$or\":[{\"a\":1},{\"a\":{\"$gt\":0,\"$lt\":2}},{\"a\":{\"$gte\":9}}]}", "a", 2,
	    "[1] [0.5] [9]", "[0] [2]");
	/* ids by the order of strings: only what is equal. */
	check_ranges("{\"a\":1,\"_id\":{\"$gt\":\"B\"}}", "a _id", 1, "[1,\"a\"] [1,\"c\"]", "[2,\"c\"]");
	check_ranges("{\"a\":1,\"_id\":\"B\"}", "a _id", 1, "[1,\"B\"]", "[1,\"b\"] [1,\"C\"]");
}

/* ---- $beginsWith ---- */

static void
test_beginning(void)
{
	static const char *const indexes = "l/l location|nl/nl name location";

	/* As in CouchDB's test suite. */
	check_plan((struct given){.selector = "{\"location\":{\"$beginsWith\":\"A\"}}", .indexes = indexes},
	    "index l [\"A\"] [\"A\xef\xbf\xbf\",\"<MAX>\"]");
	check_plan(
	    (struct given){.selector = "{\"name\":\"Eddie\",\"location\":{\"$beginsWith\":\"A\"}}", .indexes = indexes},
	    "index nl [\"Eddie\",\"A\"] [\"Eddie\",\"A\xef\xbf\xbf\",\"<MAX>\"]");
	check_plan((struct given){.selector = "{\"_id\":{\"$beginsWith\":\"a\"}}", .sort = "_id"},
	    "all_docs _all_docs \"a\" \"a\xef\xbf\xbf\"");
	check_plan((struct given){.selector = "{\"foo\":{\"$beginsWith\":\"a\"}}", .indexes = indexes}, ALL);
	check_plan((struct given){.selector = "{\"location\":{\"$beginsWith\":\"b\\n\\\"\",\"$gt\":\"c\"}}",
		       .indexes = indexes},
	    "index l null null noop 0");
	check_ranges("{\"a\":{\"$beginsWith\":\"ab\"}}", "a", 1,
	    "[\"ab\"] [\"abc\"] [\"ab\\ufffd\"] [\"ab\\u0301\"] [\"ab.z\"]",
	    "[\"a\"] [\"ac\"] [\"bab\"] [\"aab\"] [1] [[\"ab\"]]");
	check_ranges("{\"a\":{\"$beginsWith\":\"a\\u00e9x\"}}", "a", 1, "[\"a\\u00e9x\"] [\"ab\"]", "[\"b\"] [\"\"]");
	check_ranges("{\"a\":{\"$beginsWith\":\"\"}}", "a", 1, "[\"\"] [\"z\"]", "[1] [[]]");
	check_ranges("{\"a\":{\"$beginsWith\":\"\\u4e00\"}}", "a", 1, "[\"\\u4e00\"]", "[1] [[]]");
}

static size_t
put_utf8(char *out, unsigned c)
{
	if (c < 0x80)
		return (size_t)sprintf(out, "%c", (int)c);
	if (c < 0x800)
		return (size_t)sprintf(out, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 63)));
	if (c < 0x10000)
		return (size_t)sprintf(
		    out, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
	return (size_t)sprintf(out, "%c%c%c%c", (int)(0xf0 | c >> 18), (int)(0x80 | (c >> 12 & 63)),
	    (int)(0x80 | (c >> 6 & 63)), (int)(0x80 | (c & 63)));
}

/* A string of ${first}, as JSON has it, ${c} and more is in the range. */
static void
check_behind(const struct query_range *r, const char *first, unsigned c, struct buf *key, struct buf *scratch)
{
	char text[40];
	size_t n;

	if ((c >= 0xd800 && c < 0xe000) || c == '"' || c == '\\')
		return;
	n = (size_t)sprintf(text, "[\"%s", first);
	n += put_utf8(text + n, c);
	n += (size_t)sprintf(text + n, "z\"]");
	buf_clear(key);
	if (query_sortkey((struct jstr){text, n}, scratch, key) != 0 || key->len < r->low.len ||
	    memcmp(key->data, r->low.s, r->low.len) != 0)
		CHECK_INT(c, *first);
}

/*
 * Whatever stands behind it, a string is in the range of what it begins with: all characters behind each of ASCII with
 * PLAN_LETTERS=1, which takes a minute; else some, and those that might contract.
 */
static void
test_letters(void)
{
	static const unsigned special[] = {
	    0xb7, 0x387, 0x300, 0x301, 0x308, 0x327, 0x338, 0x345, 0xe40, 0xfffd, 0x1d165, 0x10fffe};
	unsigned step = getenv("PLAN_LETTERS") != NULL ? 1 : 2003;
	struct buf key, scratch;

	buf_init(&key, 4096);
	buf_init(&scratch, 4096);
	for (char first = ' '; first < 0x7f; first++) {
		char quoted[8], selector[100];
		struct given g = {.selector = selector, .indexes = "x/x a"};
		const struct query_range *r;
		struct made *m;

		snprintf(quoted, sizeof(quoted), first == '"' || first == '\\' ? "\\%c" : "%c", first);
		snprintf(selector, sizeof(selector), "{\"a\":{\"$beginsWith\":\"%s\"}}", quoted);
		m = make(&g);
		r = &m->plan->parts[0].ranges[0];
		CHECK(r->low.len > 2 && jstr_equal(r->low, r->high));
		for (unsigned c = 0x20; c < 0x110000; c += step)
			check_behind(r, quoted, c, &key, &scratch);
		for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
			check_behind(r, quoted, special[i], &key, &scratch);
		release(m);
	}
	buf_release(&key);
	buf_release(&scratch);
}

static void
test_exact(void)
{
	check_plan(
	    (struct given){.selector = "{\"$or\":[{\"a\":1},{\"a\":{\"$gt\":5}}],\"b\":2}", .indexes = "x/x a b"},
	    "ranges x [] [\"<MAX>\"] 2");
	check_plan((struct given){.selector = "{\"a\":1,\"_id\":\"x\"}", .indexes = "x/x a _id"},
	    "index x [1,\"x\"] [1,\"x\",\"<MAX>\"]");
	check_plan((struct given){.selector = "{\"a\":{\"$type\":\"number\"}}", .indexes = "x/x a"},
	    "index x [] [\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"$or\":[{\"$and\":[{\"a\":1},{\"b\":2}]}]}", .indexes = "x/x a b"},
	    "index x [] [\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":1,\"_rev\":\"1-a\"}", .indexes = "x/x a _rev", .fields = "a"},
	    "index x [1,\"1-a\"] [1,\"1-a\",\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":1}", .indexes = "x/x a", .fields = "a _id"},
	    "index x [1] [1,\"<MAX>\"] covered exact");
	check_plan((struct given){.selector = "{\"a\":1}", .indexes = "x/x a", .fields = "a", .conflicts = 1},
	    "index x [1] [1,\"<MAX>\"] exact");
	check_plan((struct given){.selector = "{\"a\":{\"$gt\":3,\"$lt\":2}}", .indexes = "x/x a"},
	    "index x null null noop 0");
}

/* $in of more values than there may be ranges, and keys that are too long: wider ranges. */
static void
test_limits(void)
{
	struct buf b;

	buf_init(&b, 1 << 22);
	buf_puts(&b, "{\"a\":{\"$in\":[");
	for (unsigned i = 0; i < 5000; i++)
		buf_printf(&b, "%s%u", i > 0 ? "," : "", 5000 - i);
	buf_puts(&b, "]},\"b\":7}");
	buf_putc(&b, '\0');
	check_ranges(b.data, "a b", 2, "[1,1] [5000,7] [[]]", "[0,7] [5001,7]");
	buf_clear(&b);
	buf_puts(&b, "{\"b\":{\"$in\":[");
	for (unsigned i = 0; i < 40; i++)
		buf_printf(&b, "%s%u", i > 0 ? "," : "", i);
	buf_puts(&b, "]},\"a\":{\"$in\":[");
	for (unsigned i = 0; i < 40; i++)
		buf_printf(&b, "%s%u", i > 0 ? "," : "", i);
	buf_puts(&b, "]}}");
	buf_putc(&b, '\0');
	check_ranges(b.data, "a b", 41, "[1,1] [39,0] [[]]", "[40,7]");
	buf_clear(&b);
	buf_puts(&b, "{\"a\":{\"$gt\":\"");
	for (unsigned i = 0; i < 5000; i++)
		buf_putc(&b, 'x');
	buf_puts(&b, "\"},\"b\":1}");
	buf_putc(&b, '\0');
	check_ranges(b.data, "a b", 1, "[\"y\",1]", "[\"a\",1]");
	buf_release(&b);
}

static void
put_many(struct buf *b, const char *before, const char *one, const char *behind)
{
	buf_clear(b);
	buf_puts(b, before);
	for (unsigned i = 0; i < 1500; i++) {
		buf_puts(b, i > 0 ? "," : "");
		for (const char *p = one; *p != '\0'; p++) {
			if (*p == '#')
				buf_put_u64(b, i);
			else
				buf_putc(b, *p);
		}
	}
	buf_puts(b, behind);
	buf_putc(b, '\0');
}

/* Thousands of conditions on one field: as one by one they would take memory as the square of that. */
static void
test_many(void)
{
	struct buf b;

	buf_init(&b, 1 << 22);
	put_many(&b, "{\"$or\":[", "{\"a\":#},{\"a\":{\"$lt\":0}}", "]}");
	check_ranges(b.data, "a", 1, "[-1] [0] [1499]", "[1500] [\"a\"]");
	put_many(&b, "{\"$or\":[", "{\"_id\":\"#\"},{\"_id\":\"x#\"}", "]}");
	check_plan((struct given){.selector = b.data}, "all_docs _all_docs null \"<MAX>\" 3000");
	put_many(&b, "{\"$and\":[", "{\"$or\":[{\"a\":{\"$lt\":#}},{\"a\":{\"$gt\":#}}]}", "]}");
	check_ranges(b.data, "a", 1, "[-1] [1500]", "");
	put_many(&b, "{\"a\":{\"$in\":[", "#", "]},\"$and\":[{\"a\":{\"$gte\":700}},{\"a\":{\"$lt\":702}}]}");
	check_ranges(b.data, "a", 1, "[700] [701]", "[699] [702] [[]]");
	buf_release(&b);
}

int
main(void)
{
	test_ranges();
	test_many();
	test_exact();
	test_beginning();
	test_letters();
	test_limits();
	return check_done();
}
