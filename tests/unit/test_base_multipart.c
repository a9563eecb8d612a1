/* Multipart bodies, whole and cut at every place, must give the same parts; malformed ones an error and no crash. */
#include <stdlib.h>
#include <string.h>

#include "base/multipart.h"
#include "tests/unit/check.h"

/* The parts as one text: [name=value;...]data| */
struct taken {
	struct buf b;
	int fail_at_data;
};

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct taken *t = cookie;
	size_t i;

	buf_putc(&t->b, '[');
	for (i = 0; i < n; i++) {
		buf_put(&t->b, headers[i].name.s, headers[i].name.len);
		buf_putc(&t->b, '=');
		buf_put(&t->b, headers[i].value.s, headers[i].value.len);
		buf_putc(&t->b, ';');
	}
	return buf_putc(&t->b, ']');
}

static int
data(void *cookie, const char *bytes, size_t len)
{
	struct taken *t = cookie;

	if (t->fail_at_data)
		return ERR_NOSPACE;
	return buf_put(&t->b, bytes, len);
}

static int
end(void *cookie)
{
	struct taken *t = cookie;

	return buf_putc(&t->b, '|');
}

/* Feed ${text} in pieces of ${step}, the first of ${first}.  The parts are in ${t}. */
static int
feed(const char *boundary, const char *text, size_t len, size_t first, size_t step, struct taken *t, int *donep)
{
	struct multipart_sink sink = {begin, data, end, t};
	struct jstr b = {boundary, strlen(boundary)};
	struct multipart *m;
	size_t at = 0, n = first;
	int err;

	buf_clear(&t->b);
	err = multipart_new(b, &sink, &m);
	if (err != 0)
		return err;
	while (err == 0 && at < len) {
		n = n < len - at ? n : len - at;
		err = multipart_feed(m, text + at, n);
		at += n;
		n = step;
	}
	*donep = multipart_done(m);
	multipart_free(m);
	return err;
}

static void
check_parts(const char *boundary, const char *text, const char *want)
{
	size_t len = strlen(text), i;
	struct taken t = {.fail_at_data = 0};
	int done = 0;

	buf_init(&t.b, 65536);
	for (i = 1; i <= len; i++) {
		CHECK_INT(feed(boundary, text, len, i, i % 7 + 1, &t, &done), 0);
		CHECK(done);
		CHECK_MEM(t.b.data, t.b.len, want, strlen(want));
	}
	buf_release(&t.b);
}

static void
test_parts(void)
{
	check_parts("b", "--b\r\n\r\nhello\r\n--b\r\n\r\ntail\r\n--b--", "[]hello|[]tail|");
	check_parts("b", "preamble\r\n--b\r\nA: x\r\nB:y \r\n\r\n\r\n--b--\r\nepilogue", "[A=x;B=y;]|");
	check_parts("b", "--b  \r\nA: \"q;r\"\r\n\r\n\r\r\n-\r\n--\r\n--a\r\n--b\r\n\r\n\r\n--b--",
	    "[A=\"q;r\";]\r\r\n-\r\n--\r\n--a|[]|");
	check_parts("b", "--b\t \r\n\tA\t:\t\r\n:\r\n \t\r\n\r\nx\r\n--b--", "[A=;=;=;]x|");
	check_parts("b", "--b\r\nA: \"q\\\"\r\nB: \\\"x\r\n\r\n\r\n--b--", "[A=\"q\\\";B=\\\"x;]|");
	check_parts("bnd:1 x", "--bnd:1 x\r\n\r\n--bnd:1 x is data\r\n--bnd:1 x--", "[]--bnd:1 x is data|");
}

static void
test_malformed(void)
{
	struct taken t = {.fail_at_data = 0};
	struct multipart_sink sink = {begin, data, end, &t};
	struct jstr none = {"", 0};
	struct multipart *m = NULL;
	char long_headers[MULTIPART_HEADERS + 64];
	int done = 1;

	buf_init(&t.b, 65536);
	CHECK_INT(multipart_new(none, &sink, &m), ERR_BAD_REQUEST);
	CHECK_INT(feed("zz", "not multipart at all", 20, 20, 1, &t, &done), 0);
	CHECK(!done);
	CHECK_INT(t.b.len, 0);
	CHECK_INT(feed("b", "--b\r\n\r\ncut off", 14, 14, 1, &t, &done), 0);
	CHECK(!done);
	CHECK_INT(feed("b", "--bx\r\n\r\ndata", 12, 12, 1, &t, &done), ERR_BAD_REQUEST);
	memset(long_headers, 'h', sizeof(long_headers));
	memcpy(long_headers, "--b\r\n", 5);
	CHECK_INT(feed("b", long_headers, sizeof(long_headers), sizeof(long_headers), 1, &t, &done), ERR_BAD_REQUEST);
	memset(long_headers, ' ', sizeof(long_headers));
	memcpy(long_headers, "--b", 3);
	CHECK_INT(feed("b", long_headers, sizeof(long_headers), sizeof(long_headers), 1, &t, &done), ERR_BAD_REQUEST);
	CHECK_INT(feed("b", "--b-x\r\n\r\n", 9, 9, 1, &t, &done), ERR_BAD_REQUEST);
	CHECK_INT(feed("b", "--b\rx", 5, 5, 1, &t, &done), ERR_BAD_REQUEST);
	CHECK_INT(feed("b", "--b \t\t", 6, 6, 1, &t, &done), 0);
	CHECK(!done);
	t.fail_at_data = 1;
	CHECK_INT(feed("b", "--b\r\n\r\ndata\r\n--b--", 18, 3, 3, &t, &done), ERR_NOSPACE);
	buf_release(&t.b);
}

/* ${len} times 'x' between ${before} and ${behind}, in pieces of ${step}. */
static int
feed_long(const char *before, size_t len, const char *behind, size_t step, int *donep)
{
	struct taken t = {.fail_at_data = 0};
	struct buf text;
	size_t i;
	int err;

	buf_init(&t.b, 1 << 20);
	buf_init(&text, 1 << 20);
	buf_puts(&text, before);
	for (i = 0; i < len; i++)
		buf_putc(&text, 'x');
	buf_puts(&text, behind);
	*donep = 0;
	err = feed("b", text.data, text.len, step, step, &t, donep);
	buf_release(&t.b);
	buf_release(&text);
	return err;
}

/* What is passed over ends somewhere, in whatever pieces it comes. */
static void
test_bounds(void)
{
	static const size_t steps[] = {1 << 20, 1000, 7};
	int done;

	for (size_t i = 0; i < 3; i++) {
		CHECK_INT(feed_long("", 60000, "\r\n--b\r\n\r\n\r\n--b--", steps[i], &done), 0);
		CHECK(done);
		CHECK_INT(feed_long("", 70000, "\r\n--b\r\n\r\n\r\n--b--", steps[i], &done), ERR_BAD_REQUEST);
		CHECK_INT(feed_long("--b\r\n\r\n\r\n--b--", 60000, "", steps[i], &done), 0);
		CHECK(done);
		CHECK_INT(feed_long("--b\r\n\r\n\r\n--b--", 70000, "", steps[i], &done), ERR_BAD_REQUEST);
		CHECK_INT(feed_long("--b\r\nA: ", 16000, "\r\n\r\n\r\n--b--", steps[i], &done), 0);
		CHECK(done);
		CHECK_INT(feed_long("--b\r\nA: ", 17000, "\r\n\r\n\r\n--b--", steps[i], &done), ERR_BAD_REQUEST);
		CHECK_INT(feed_long("--b\r\n\r\n", 500000, "\r\n--b--", steps[i], &done), 0);
		CHECK(done);
	}
}

/* Binary data that is full of almost-delimiters comes through whole. */
static void
test_random(unsigned seed)
{
	static const char letters[] = "\r\n-bX";
	struct taken t = {.fail_at_data = 0};
	struct buf text, want;
	size_t i, n;
	int done, round, bad = 0;

	srand(seed);
	buf_init(&t.b, 1 << 20);
	buf_init(&text, 1 << 20);
	buf_init(&want, 1 << 20);
	for (round = 0; round < 300; round++) {
		buf_clear(&text);
		buf_clear(&want);
		buf_puts(&text, "--bX-b\r\n\r\n");
		buf_puts(&want, "[]");
		n = (size_t)(rand() % 400);
		for (i = 0; i < n; i++) {
			buf_putc(&want, letters[rand() % 5]);
			buf_putc(&text, want.data[want.len - 1]);
		}
		if (n > 0 && memmem(want.data, want.len, "\r\n--bX-b", 8) != NULL)
			continue;
		buf_puts(&text, "\r\n--bX-b--");
		buf_putc(&want, '|');
		done = 0;
		if (feed("bX-b", text.data, text.len, (size_t)(rand() % 30) + 1, (size_t)(rand() % 30) + 1, &t,
			&done) != 0 ||
		    !done || t.b.len != want.len || memcmp(t.b.data, want.data, want.len) != 0)
			bad++;
	}
	if (!CHECK_INT(bad, 0))
		fprintf(stderr, "seed %u\n", seed);
	buf_release(&t.b);
	buf_release(&text);
	buf_release(&want);
}

/* What has failed once goes on failing; a part has so many headers at most. */
static void
test_ended(void)
{
	struct taken t = {.fail_at_data = 1};
	struct multipart_sink sink = {begin, data, end, &t};
	struct multipart *m = NULL;
	struct buf text;
	int done = 0;

	buf_init(&t.b, 65536);
	buf_init(&text, 65536);
	CHECK_INT(multipart_new((struct jstr){"b", 1}, &sink, &m), 0);
	CHECK_INT(multipart_feed(m, "--b\r\n\r\ndata", 11), ERR_NOSPACE);
	t.fail_at_data = 0;
	CHECK_INT(multipart_feed(m, "data", 4), ERR_NOSPACE);
	multipart_free(m);
	multipart_free(NULL);
	for (int n = 32; n <= 33; n++) {
		buf_clear(&text);
		buf_puts(&text, "--b\r\n");
		for (int i = 0; i < n; i++)
			buf_puts(&text, "A: b\r\n");
		buf_puts(&text, "\r\n\r\n--b--");
		CHECK_INT(feed("b", text.data, text.len, text.len, 1, &t, &done), n == 32 ? 0 : ERR_BAD_REQUEST);
	}
	buf_clear(&text);
	for (size_t i = 0; i < MULTIPART_BOUNDARY; i++)
		buf_putc(&text, 'b');
	CHECK_INT(multipart_new((struct jstr){text.data, text.len}, &sink, &m), 0);
	multipart_free(m);
	buf_putc(&text, 'b');
	CHECK_INT(multipart_new((struct jstr){text.data, text.len}, &sink, &m), ERR_BAD_REQUEST);
	buf_release(&text);
	buf_release(&t.b);
}

static struct jstr
str(const char *s)
{
	struct jstr out = {s, s == NULL ? 0 : strlen(s)};

	return out;
}

static void
test_headers(void)
{
	struct jstr v = {NULL, 0};
	struct arena *a;

	if (!CHECK_INT(arena_new(4096, &a), 0))
		return;
	CHECK(multipart_is(str("multipart/related; boundary=x"), "multipart/related"));
	CHECK(multipart_is(str("Multipart/Related"), "multipart/related"));
	CHECK(!multipart_is(str("multipart/relatedx"), "multipart/related"));
	CHECK(!multipart_is(str(NULL), "multipart/related"));
	CHECK_INT(multipart_param(str("a/b; x=1; boundary=\"a;\\\"b\""), "boundary", a, &v), 0);
	CHECK_MEM(v.s, v.len, "a;\"b", 4);
	CHECK_INT(multipart_param(str("a/b;boundary=zz ; q"), "boundary", a, &v), 0);
	CHECK_MEM(v.s, v.len, "zz", 2);
	CHECK_INT(multipart_param(str("a/b"), "boundary", a, &v), ERR_MISSING);
	CHECK_INT(multipart_param(str(NULL), "boundary", a, &v), ERR_MISSING);
	CHECK_INT(multipart_param(str("a/b;x=\"y\\"), "x", a, &v), 0);
	CHECK_MEM(v.s, v.len, "\"y\\", 3);
	CHECK_INT(multipart_param(str("a/b;x=\""), "x", a, &v), 0);
	CHECK_MEM(v.s, v.len, "\"", 1);
	CHECK_INT(multipart_param(str("a/b;x=\"y\\\""), "x", a, &v), 0);
	CHECK_MEM(v.s, v.len, "y\\", 2);
	CHECK_INT(arena_alloc(a, 4000) == NULL, 0);
	CHECK_INT(multipart_param(str("a/b;x=\"0123456789012345678901234567890123456789012345678901234567890123456789"
				      "01234567890123456789\""),
		      "x", a, &v),
	    ERR_NOMEM);
	CHECK(multipart_accepted(str(NULL), "multipart/mixed"));
	CHECK(multipart_accepted(str("*/*"), "multipart/mixed"));
	CHECK(multipart_accepted(str("application/json, multipart/*;q=0.1"), "multipart/mixed"));
	CHECK(!multipart_accepted(str("application/json"), "multipart/mixed"));
	CHECK(!multipart_accepted(str("multipart/mixed;q=0, text/html"), "multipart/mixed"));
	CHECK(!multipart_accepted(str("multipart/related"), "multipart/mixed"));
	CHECK(multipart_accepted(str("*"), "multipart/mixed"));
	CHECK(multipart_accepted(str("multipart/mixed;x=0;q=0.01"), "multipart/mixed"));
	CHECK(!multipart_accepted(str("*/*;q=0.000"), "multipart/mixed"));
	CHECK(multipart_accepted(str("*/*;q=0, MULTIPART/*;level"), "multipart/mixed"));
	CHECK(!multipart_accepted(str("multipart/+, textipart/*"), "multipart/mixed"));
	{
		const struct multipart_header headers[] = {{str("A"), str("1")}, {str("Content-ID"), str("2")}};

		v = multipart_find(headers, 2, "content-id");
		CHECK_MEM(v.s, v.len, "2", 1);
		CHECK(multipart_find(headers, 2, "content").s == NULL);
	}
	arena_free(a);
}

int
main(void)
{
	test_parts();
	test_malformed();
	test_bounds();
	test_random(20250703);
	test_headers();
	test_ended();
	return check_done();
}
