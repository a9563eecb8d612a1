/*
 * Multipart bodies: cut anywhere they have the same parts; any bytes come through as a part's data; headers are taken apart.
 * The first byte says how to cut, the next the boundary's length.
 */
#include <string.h>

#include "base/multipart.h"
#include "fuzz.h"

#define MAX ((size_t)64 << 20)

static int
begin(void *cookie, const struct multipart_header *headers, size_t n)
{
	struct buf *b = cookie;

	buf_putc(b, '[');
	for (size_t i = 0; i < n; i++) {
		buf_put(b, headers[i].name.s, headers[i].name.len);
		buf_putc(b, '=');
		buf_put(b, headers[i].value.s, headers[i].value.len);
		buf_putc(b, ';');
	}
	(void)multipart_find(headers, n, "content-disposition");
	return buf_putc(b, ']');
}

static int
data_of(void *cookie, const char *bytes, size_t len)
{
	FUZZ_CHECK(len > 0);
	return buf_put(cookie, bytes, len);
}

static int
end(void *cookie)
{
	return buf_putc(cookie, '|');
}

/* feed: Pieces of ${step} bytes; 0: in one. */
static int
feed(struct jstr boundary, const uint8_t *data, size_t len, size_t step, struct buf *parts, int *donep)
{
	struct multipart_sink sink = {begin, data_of, end, parts};
	struct multipart *m;
	int err = multipart_new(boundary, &sink, &m);

	*donep = 0;
	if (err != 0)
		return err;
	for (size_t at = 0, n; err == 0 && at < len; at += n) {
		char *piece;

		n = step == 0 || len - at < step ? len - at : step;
		piece = fuzz_copy(data + at, n);
		err = multipart_feed(m, piece, n);
		free(piece);
	}
	*donep = multipart_done(m);
	multipart_free(m);
	return err;
}

static void
check_cuts(struct jstr boundary, const uint8_t *data, size_t len, size_t step)
{
	struct buf whole, cut;
	int err, done, done2;

	buf_init(&whole, MAX);
	buf_init(&cut, MAX);
	err = feed(boundary, data, len, 0, &whole, &done);
	FUZZ_CHECK(feed(boundary, data, len, step, &cut, &done2) == err);
	if (err == 0) {
		FUZZ_CHECK(done == done2);
		FUZZ_CHECK(whole.len == cut.len && (whole.len == 0 || memcmp(whole.data, cut.data, whole.len) == 0));
	}
	buf_release(&whole);
	buf_release(&cut);
}

/* check_through: The input as one part's data. */
static void
check_through(const uint8_t *data, size_t len, size_t step)
{
	static const struct jstr boundary = {"--b--", 5};
	struct buf body, parts, want;
	int done;

	if (len >= 9 && memmem(data, len, "\r\n----b--", 9) != NULL)
		return;
	buf_init(&body, MAX);
	buf_init(&parts, MAX);
	buf_init(&want, MAX);
	buf_puts(&body, "----b--\r\n\r\n");
	buf_put(&body, data, len);
	buf_puts(&body, "\r\n----b----");
	buf_puts(&want, "[]");
	buf_put(&want, data, len);
	buf_putc(&want, '|');
	FUZZ_CHECK(buf_failed(&body) == 0 && buf_failed(&want) == 0);
	FUZZ_CHECK(feed(boundary, (const uint8_t *)body.data, body.len, step, &parts, &done) == 0);
	FUZZ_CHECK(done && parts.len == want.len && memcmp(parts.data, want.data, want.len) == 0);
	buf_release(&body);
	buf_release(&parts);
	buf_release(&want);
}

static void
check_headers(struct jstr h)
{
	static const char *const names[] = {"boundary", "filename", "q"};
	struct arena *a;
	struct jstr out;

	FUZZ_CHECK(arena_new(MAX, &a) == 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		FUZZ_CHECK(multipart_param(h, names[i], a, &out) != 0 || out.len <= h.len);
	(void)multipart_is(h, "multipart/related");
	(void)multipart_accepted(h, "multipart/mixed");
	arena_free(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct jstr boundary;
	size_t step;

	if (len < 2)
		return 0;
	step = data[0] % 16;
	boundary.len = data[1] % 32;
	data += 2;
	len -= 2;
	if (boundary.len > len)
		return 0;
	boundary.s = (const char *)data;
	check_cuts(boundary, data + boundary.len, len - boundary.len, step);
	check_through(data, len, step);
	check_headers((struct jstr){(const char *)data, len});
	return 0;
}
