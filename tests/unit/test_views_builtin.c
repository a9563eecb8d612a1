/* Native reductions: as recorded of CouchDB 3.5, and equal however the rows are divided. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "check.h"
#include "views/builtin.h"

#define MAX 64u

static struct jstr
str(const char *s)
{
	return (struct jstr){s, strlen(s)};
}

/* reduce: As many rows as ${values} has texts up to NULL. */
static int
reduce(enum ddoc_reduce kind, unsigned n, const char *const *values, struct buf *out, struct errtext *why)
{
	struct jstr v[MAX], part;
	struct buf b;
	size_t k = 0;
	int err;

	while (values[k] != NULL) {
		v[k] = str(values[k]);
		k++;
	}
	buf_init(&b, 1 << 20);
	err = builtin_rows(kind, n, v, v, k, &b, why);
	part = (struct jstr){b.data, b.len};
	if (err == 0)
		err = builtin_final(kind, part, out);
	buf_release(&b);
	return err;
}

static void
gives(enum ddoc_reduce kind, unsigned n, const char *const *values, const char *want)
{
	struct errtext why = {""};
	struct buf b;

	buf_init(&b, 1 << 20);
	CHECK_INT(reduce(kind, n, values, &b, &why), 0);
	CHECK_MEM(b.data, b.len, want, strlen(want));
	buf_release(&b);
}

#define GIVES(kind, n, want, ...) gives(kind, n, (const char *const[]){__VA_ARGS__, NULL}, want)

static void
test_recorded(void)
{
	struct errtext why = {""};
	char text[300];
	struct buf b;

	GIVES(DDOC_SUM, 0, "173", "31", "25", "42", "25", "19", "31");
	GIVES(DDOC_SUM, 0, "5.5", "1.5", "3.5", "0.5");
	GIVES(DDOC_SUM, 0, "4.0", "1.5", "2.5");
	GIVES(DDOC_SUM, 0, "[4,997.5]", "[1,2]", "[3,-4.5]", "[0,1000]");
	GIVES(DDOC_SUM, 0, "{\"x\":4,\"y\":{\"z\":997.5}}", "{\"x\":1,\"y\":{\"z\":2}}", "{\"x\":3,\"y\":{\"z\":-4.5}}",
	    "{\"x\":0,\"y\":{\"z\":1000}}");
	GIVES(DDOC_SUM, 0, "[12,997.5,3]", "1", "[1]", "[1,2,1]", "3", "[3]", "[3,-4.5,1]", "0", "[0]", "[0,1000,1]");
	/* A sum takes in members and elements of values, and is added to further. */
	GIVES(DDOC_SUM, 0, "{\"a\":{\"x\":3,\"y\":[2,5,1]},\"b\":[1,2]}", "{\"a\":{\"x\":1}}",
	    "{\"a\":{\"y\":[1,2]},\"b\":1}", "{\"a\":{\"x\":2},\"b\":[0,2]}", "{\"a\":{\"y\":[1,3,1]}}");
	/* Integers as long as 64 bits hold them: times in nanoseconds. */
	GIVES(DDOC_SUM, 0, "3400000000000000001", "1700000000000000000", "1700000000000000001");
	GIVES(DDOC_SUM, 0, "-9223372036854775808", "-9223372036854775807", "-1");
	GIVES(DDOC_STATS, 0,
	    "{\"sum\":3400000000000000001,\"count\":2,\"min\":1700000000000000000,\"max\":1700000000000000001,"
	    "\"sumsqr\":5.78e+36}",
	    "1700000000000000001", "1700000000000000000");
	GIVES(DDOC_SUM, 0, "18446744073709552000.0", "9223372036854775808", "9223372036854775807", "1");
	GIVES(DDOC_COUNT, 0, "3", "null", "1", "\"x\"");
	GIVES(DDOC_STATS, 0, "{\"sum\":22.5,\"count\":6,\"min\":0,\"max\":7.5,\"sumsqr\":123.75}", "0", "1.5", "3",
	    "4.5", "6", "7.5");
	GIVES(DDOC_STATS, 0,
	    "[{\"sum\":4,\"count\":3,\"min\":0,\"max\":3,\"sumsqr\":10},{\"sum\":997.5,\"count\":3,\"min\":-4.5,"
	    "\"max\":1000,\"sumsqr\":"
	    "1000024.25}]",
	    "[1,2]", "[3,-4.5]", "[0,1000]");
	GIVES(DDOC_DISTINCT, 0, "4", "1", "2", "1", "\"a\"", "[1]", "[1]");
	GIVES(DDOC_FIRST, 0, "1", "1", "2");
	GIVES(DDOC_LAST, 0, "\"z\"", "1", "\"z\"");
	GIVES(DDOC_TOP, 2, "[\"b\",\"a\"]", "1", "\"b\"", "null", "\"a\"");
	GIVES(DDOC_BOTTOM, 2, "[null,1]", "1", "\"b\"", "null", "\"a\"");
	GIVES(DDOC_BOTTOM, 100, "[null,1]", "1", "null");
	/* Equal values count once: the first stays. */
	GIVES(DDOC_TOP, 2, "[5,4]", "5", "3", "5", "4", "5.0");
	GIVES(DDOC_BOTTOM, 3, "[3,4.0,5]", "5", "4.0", "3", "3", "4");
	/* What _sum cannot add is its result; _stats refuses. */
	buf_init(&b, 1 << 20);
	CHECK_INT(reduce(DDOC_SUM, 0, (const char *const[]){"1", "\"text\"", NULL}, &b, &why), 0);
	CHECK(b.len > 40 && memcmp(b.data, "{\"error\":\"builtin_reduce_error\"", 31) == 0);
	CHECK(memmem(b.data, b.len, "\"caused_by\":\"text\"}", 19) != NULL);
	buf_clear(&b);
	CHECK_INT(reduce(DDOC_SUM, 0, (const char *const[]){"{\"a\":1}", "1", NULL}, &b, &why), 0);
	CHECK(memmem(b.data, b.len, "builtin_reduce_error", 20) != NULL);
	buf_clear(&b);
	CHECK_INT(reduce(DDOC_STATS, 0, (const char *const[]){"\"text\"", NULL}, &b, &why), ERR_REDUCE);
	CHECK(strstr(why.text, "numbers or arrays of numbers") != NULL);
	/* A long value is cut between characters. */
	(void)snprintf(text, sizeof(text), "\"%s", "ab");
	for (size_t i = strlen(text); i + 3 < sizeof(text); i += 2)
		(void)snprintf(text + i, sizeof(text) - i, "\xc3\xa9\"");
	CHECK_INT(reduce(DDOC_STATS, 0, (const char *const[]){text, NULL}, &b, &why), ERR_REDUCE);
	CHECK(jread_utf8_ok(why.text, strlen(why.text)));
	buf_release(&b);
}

/* Any division of the rows into ranges gives what all of them give. */
static void
divide(enum ddoc_reduce kind, unsigned max, const struct jstr *v, size_t n)
{
	struct buf whole, piece[8], all;
	struct jstr parts[8], part;
	size_t from = 0, k = 0;

	buf_init(&whole, 1 << 20);
	buf_init(&all, 1 << 20);
	CHECK_INT(builtin_rows(kind, max, v, v, n, &whole, NULL), 0);
	while (from < n) {
		size_t len = k == 7 ? n - from : 1 + (size_t)random() % 5;

		if (len > n - from)
			len = n - from;
		buf_init(&piece[k], 1 << 20);
		CHECK_INT(builtin_rows(kind, max, v + from, v + from, len, &piece[k], NULL), 0);
		parts[k] = (struct jstr){piece[k].data, piece[k].len};
		k++;
		from += len;
	}
	CHECK_INT(builtin_combine(kind, max, parts, k, &all, NULL), 0);
	CHECK_MEM(all.data, all.len, whole.data, whole.len);
	/* And so once more. */
	part = (struct jstr){all.data, all.len};
	buf_clear(&whole);
	CHECK_INT(builtin_combine(kind, max, &part, 1, &whole, NULL), 0);
	CHECK_MEM(all.data, all.len, whole.data, whole.len);
	while (k-- > 0)
		buf_release(&piece[k]);
	buf_release(&whole);
	buf_release(&all);
}

static void
test_divided(void)
{
	static char text[MAX][16];
	struct jstr v[MAX];

	for (int round = 0; round < 200; round++) {
		size_t n = 1 + (size_t)random() % 30;

		for (size_t i = 0; i < n; i++) {
			int len =
			    snprintf(text[i], sizeof(text[i]), round % 2 ? "%ld" : "%ld.5", random() % 1000 - 500);

			v[i] = (struct jstr){text[i], (size_t)len};
		}
		for (enum ddoc_reduce kind = DDOC_SUM; kind < DDOC_SCRIPT; kind++)
			divide(kind, 1 + (unsigned)random() % 9, v, n);
	}
	/* Sums that have more digits than what is added. */
	for (size_t i = 0; i < 18; i++)
		v[i] = (struct jstr){"500000000000000001", 18};
	divide(DDOC_SUM, 0, v, 18);
	/* The same values again and again. */
	for (size_t i = 0; i < 18; i++) {
		(void)snprintf(text[i], sizeof(text[i]), "%ld", random() % 4);
		v[i] = (struct jstr){text[i], 1};
	}
	divide(DDOC_TOP, 3, v, 18);
	divide(DDOC_BOTTOM, 3, v, 18);
}

/* Many keys are counted within a few percent. */
static void
test_distinct(void)
{
	struct buf all, part, both, out;
	char text[32];
	long got;

	buf_init(&all, 1 << 20);
	buf_init(&part, 1 << 20);
	buf_init(&both, 1 << 20);
	buf_init(&out, 1 << 20);
	for (int i = 0; i < 50000; i++) {
		struct jstr key = {text, (size_t)snprintf(text, sizeof(text), "\"key %d\"", i)}, two[2];

		buf_clear(&part);
		CHECK_INT(builtin_rows(DDOC_DISTINCT, 0, &key, &key, 1, &part, NULL), 0);
		if (all.len == 0) {
			buf_put(&all, part.data, part.len);
			continue;
		}
		two[0] = (struct jstr){all.data, all.len};
		two[1] = (struct jstr){part.data, part.len};
		buf_clear(&both);
		CHECK_INT(builtin_combine(DDOC_DISTINCT, 0, two, 2, &both, NULL), 0);
		buf_clear(&all);
		buf_put(&all, both.data, both.len);
	}
	CHECK_INT(builtin_final(DDOC_DISTINCT, (struct jstr){all.data, all.len}, &out), 0);
	buf_putc(&out, '\0');
	got = strtol(out.data, NULL, 10);
	if (!CHECK(got > 46000 && got < 54000))
		fprintf(stderr, "%ld\n", got);
	buf_release(&all);
	buf_release(&part);
	buf_release(&both);
	buf_release(&out);
}

int
main(void)
{
	srandom(1);
	test_recorded();
	test_divided();
	test_distinct();
	return check_done();
}
