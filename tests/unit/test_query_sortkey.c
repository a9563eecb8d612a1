/* Sort keys: their order as bytes is that of the values, of views and raw, for every pair of many values of every kind. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "check.h"
#include "dice.h"
#include "query/collate.h"
#include "query/query.h"

#define NVALUES 700
#define ROUNDS 6

struct item {
	struct buf json, key;
};

static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

static unsigned
below(unsigned n)
{
	return (unsigned)(dice_next(&state) >> 33) % n;
}

static const char *const strings[] = {"\"\"", "\"a\"", "\"A\"", "\"aa\"", "\"ab\"", "\"a b\"", "\"é\"", "\"e\\u0301\"",
    "\"ß\"", "\"ss\"", "\"\\u0000\"", "\"a\\u0000\"", "\"\\\\\"", "\"\\\"\"", "\"co-op\"", "\"coop\"", "\"😀\"",
    "\"你\"", "\"z\"", "\"0\"", "\"10\"", "\"9\"", "\"_\"", "\"-\"", "\"~\"", "\"\\u0001\"", "\"\\u0002\"",
    "\"a\\u0001\"", "\"a\\u0001\\u0001\"", "\"a\\u0000\\u0002\""};
static const char *const numbers[] = {"0", "-0.0", "1", "-1", "1.5", "0.1", "-0.1", "1.0", "9007199254740991",
    "9007199254740992", "9007199254740993", "9007199254740992.0", "-9007199254740993", "18446744073709551616",
    "18446744073709551617", "18446744073709551615", "1.8446744073709552e+19", "-18446744073709551617",
    "123456789012345678901234567890", "1.0e+300", "-1.0e+300", "5.0e-324", "1.7976931348623157e+308",
    "100000000000000000000000", "1.0e+23", "99999999999999991611392"};

static void
put_digits(struct buf *b, unsigned n)
{
	buf_putc(b, (char)('1' + below(9)));
	while (n-- > 1)
		buf_putc(b, (char)('0' + below(10)));
}

static void
make_number(struct buf *b)
{
	switch (below(5)) {
	case 0:
		buf_puts(b, numbers[below(sizeof(numbers) / sizeof(numbers[0]))]);
		break;
	case 1:
		buf_printf(b, "%d", (int)below(2000) - 1000);
		break;
	case 2:
		buf_printf(b, "%d.%u", (int)below(20) - 10, 1 + 2 * below(5));
		break;
	default:
		if (below(2))
			buf_putc(b, '-');
		/* Some beyond all doubles. */
		put_digits(b, below(20) == 0 ? 300 + below(30) : 14 + below(12));
	}
}

static void
make_string(struct buf *b)
{
	static const char *const letters[] = {"a", "b", "A", "é", " ", "-", "\\n", "z", "1", "\\u00e4"};

	if (below(2)) {
		buf_puts(b, strings[below(sizeof(strings) / sizeof(strings[0]))]);
		return;
	}
	buf_putc(b, '"');
	for (unsigned n = below(6); n > 0; n--)
		buf_puts(b, letters[below(10)]);
	buf_putc(b, '"');
}

static void
make_value(struct buf *b, unsigned depth)
{
	static const char *const words[] = {"null", "false", "true"};
	unsigned kind = below(depth > 0 ? 8 : 6), n = below(4);

	if (kind < 1) {
		buf_puts(b, words[below(3)]);
	} else if (kind < 3) {
		make_number(b);
	} else if (kind < 6) {
		make_string(b);
	} else if (kind == 6) {
		buf_putc(b, '[');
		for (unsigned i = 0; i < n; i++) {
			buf_puts(b, i > 0 ? "," : "");
			make_value(b, depth - 1);
		}
		buf_putc(b, ']');
	} else {
		buf_putc(b, '{');
		for (unsigned i = 0; i < n; i++) {
			buf_puts(b, i > 0 ? "," : "");
			make_string(b);
			buf_putc(b, ':');
			make_value(b, depth - 1);
		}
		buf_putc(b, '}');
	}
}

static int
sign(int order)
{
	return (order > 0) - (order < 0);
}

static int
key_order(const struct buf *a, const struct buf *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int order = memcmp(a->data, b->data, n);

	/* No key is a prefix of another one. */
	if (order == 0 && a->len != b->len)
		return 99;
	return sign(order);
}

static void
compare_all(struct item *v, unsigned n, int raw)
{
	struct collate c;

	collate_init(&c);
	c.raw = raw;
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < n; k++) {
			struct jstr a = {v[i].json.data, v[i].json.len}, b = {v[k].json.data, v[k].json.len};
			int order = 99;

			if (collate_texts(&c, a, b, &order) != 0 || sign(order) != key_order(&v[i].key, &v[k].key)) {
				CHECK(0);
				fprintf(stderr, "%.*s, %.*s: %d, by keys %d\n", (int)a.len, a.s, (int)b.len, b.s,
				    sign(order), key_order(&v[i].key, &v[k].key));
			}
		}
	}
	collate_release(&c);
	CHECK(n > 0);
}

static int
put_key(int raw, const struct buf *json, struct buf *scratch, struct buf *out)
{
	struct jstr text = {json->data, json->len};

	return raw ? query_sortkey_raw(text, scratch, out) : query_sortkey(text, scratch, out);
}

static void
test_pairs(int raw)
{
	static struct item v[NVALUES];
	struct buf scratch;

	buf_init(&scratch, 1 << 20);
	for (unsigned i = 0; i < NVALUES; i++) {
		buf_init(&v[i].json, 1 << 20);
		buf_init(&v[i].key, 1 << 20);
		if (i < sizeof(numbers) / sizeof(numbers[0]))
			buf_puts(&v[i].json, numbers[i]);
		else
			make_value(&v[i].json, 3);
		CHECK_INT(put_key(raw, &v[i].json, &scratch, &v[i].key), 0);
	}
	compare_all(v, NVALUES, raw);
	for (unsigned i = 0; i < NVALUES; i++) {
		buf_release(&v[i].json);
		buf_release(&v[i].key);
	}
	buf_release(&scratch);
}

/* The values of CouchDB's test of raw collation, and some in between, in their order, which Erlang gives terms. */
static void
test_raw(void)
{
	static const char *const ordered[] = {"-1", "1", "1.5", "2", "100000000000000000000", "false", "null", "true",
	    "{}", "{\"\":null}", "{\"a\":1}", "{\"a\":1,\"b\":0}", "{\"a\":2}", "{\"a\":[]}", "{\"b\":1}", "{\"b\":2}",
	    "{\"b\":2,\"a\":1}", "{\"b\":2,\"c\":2}", "[]", "[1]", "[true,{}]", "[{}]", "[[]]", "[\"a\"]", "[\"b\"]",
	    "[\"b\",\"c\"]", "[\"b\",\"c\",\"a\"]", "[\"b\",\"d\"]", "[\"b\",\"d\",\"e\"]", "\"\"", "\"\\u0000\"",
	    "\"\\u0000a\"", "\"\\u0001\"", "\"A\"", "\"B\"", "\"a\"", "\"a\\u0000\"", "\"aa\"", "\"b\"", "\"ba\"",
	    "\"bb\"", "\"e\\u0301\"", "\"\\u00e9\"", "\"\\uffff\"", "\"\\ud83d\\ude00\""};
	struct buf scratch, keys[2];

	buf_init(&scratch, 1 << 10);
	buf_init(&keys[0], 1 << 10);
	buf_init(&keys[1], 1 << 10);
	for (size_t i = 0; i < sizeof(ordered) / sizeof(ordered[0]); i++) {
		struct buf *key = &keys[i % 2];

		buf_clear(key);
		CHECK_INT(query_sortkey_raw((struct jstr){ordered[i], strlen(ordered[i])}, &scratch, key), 0);
		if (i > 0 && key_order(&keys[1 - i % 2], key) != -1) {
			CHECK(0);
			fprintf(stderr, "%s, %s\n", ordered[i - 1], ordered[i]);
		}
	}
	CHECK(!buf_failed(&scratch));
	buf_release(&scratch);
	buf_release(&keys[0]);
	buf_release(&keys[1]);
}

/* A long key, a deep one, and what is no JSON. */
static void
test_edges(void)
{
	static const char *const bad[] = {"", "nul", "[1", "{\"a\"}", "\"\\ud800\"", "1 2", "[1,]"};
	struct buf text, scratch, key;

	buf_init(&text, 1 << 20);
	buf_init(&scratch, 1 << 20);
	buf_init(&key, 1 << 20);
	buf_putc(&text, '"');
	for (unsigned i = 0; i < 100000; i++)
		buf_putc(&text, (char)('a' + i % 26));
	buf_putc(&text, '"');
	CHECK_INT(query_sortkey((struct jstr){text.data, text.len}, &scratch, &key), 0);
	CHECK(key.len >= 100000);
	buf_clear(&text);
	buf_clear(&key);
	for (unsigned i = 0; i < 1000; i++)
		buf_putc(&text, '[');
	for (unsigned i = 0; i < 1000; i++)
		buf_putc(&text, ']');
	CHECK_INT(query_sortkey((struct jstr){text.data, text.len}, &scratch, &key), 0);
	CHECK_INT(key.len, 2000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(query_sortkey((struct jstr){bad[i], strlen(bad[i])}, &scratch, &key) != 0);
		CHECK_INT(key.len, 2000);
	}
	buf_release(&text);
	buf_release(&scratch);
	buf_release(&key);
}

/* The beginning of a key is the key's, however long the string, and wherever its weights stand. */
static void
test_beginnings(void)
{
	/* Each ${unit} ${n} times, then ${tail}. */
	static const struct {
		const char *unit, *tail;
		unsigned n;
	} longs[] = {{"aB", "z", 100000}, {"\xe4\xb8\xad\xe6\x96\x87", "", 50000}, {"\xef\xb7\xba", "", 50000},
	    {"\\u0001", "letters", 50000}, {"\xc2\xad", "x", 100000}, {"e\xcc\x81\xcc\xa3", "", 50000},
	    {"\xf0\x9f\x98\x80", "", 40000}, {"7", "", 3000}, {"", "", 0}};
	static const size_t max[] = {1, 2, 300, 4096, 16385, 1 << 20};
	struct buf text, scratch, key, beginning;

	buf_init(&text, 1 << 20);
	buf_init(&scratch, 1 << 20);
	buf_init(&key, 1 << 23);
	buf_init(&beginning, 1 << 23);
	for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
		buf_clear(&text);
		buf_clear(&key);
		buf_puts(&text, "{\"a\":[1,\"");
		for (unsigned n = 0; n < longs[i].n; n++)
			buf_puts(&text, longs[i].unit);
		buf_puts(&text, longs[i].tail);
		buf_puts(&text, "\",2]}");
		CHECK_INT(query_sortkey((struct jstr){text.data, text.len}, &scratch, &key), 0);
		for (size_t k = 0; k < sizeof(max) / sizeof(max[0]); k++) {
			size_t len = key.len < max[k] ? key.len : max[k];

			buf_clear(&beginning);
			buf_puts(&beginning, "before");
			CHECK_INT(
			    query_sortkey_beginning((struct jstr){text.data, text.len}, max[k], &scratch, &beginning),
			    0);
			CHECK_INT(beginning.len, 6 + len);
			CHECK(memcmp(beginning.data + 6, key.data, len) == 0);
		}
	}
	buf_release(&text);
	buf_release(&scratch);
	buf_release(&key);
	buf_release(&beginning);
}

int
main(void)
{
	unsigned char version[QUERY_SORTKEY_VERSION];

	for (int i = 0; i < 2 * ROUNDS; i++)
		test_pairs(i % 2);
	test_raw();
	test_edges();
	test_beginnings();
	CHECK_INT(query_sortkey_version(version), 0);
	CHECK(version[1] != 0);
	return check_done();
}
