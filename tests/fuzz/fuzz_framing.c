/*
 * Where HTTP/1 bodies end: the head of a request says the same whatever stands behind it, and nothing once it is hidden;
 * a chunked body cut anywhere is the same body, and one that is whole is what the grammar allows.
 * The first byte says which, and how to cut; the second how much is taken at once.
 */
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "fuzz.h"
#include "http/http_impl.h"

#define MAX ((size_t)1 << 20)

/* ---- Heads ---- */

/* The bytes up to and with the empty line behind the first line that is not empty; 0: there is none. */
static size_t
head_len(const char *s, size_t len)
{
	int lines = 0;

	for (size_t at = 0; at < len;) {
		const char *eol = memchr(s + at, '\n', len - at);
		size_t n;

		if (eol == NULL)
			return 0;
		n = (size_t)(eol - s) - at;
		n -= n > 0 && eol[-1] == '\r';
		at = (size_t)(eol - s) + 1;
		if (n == 0 && lines > 0)
			return at;
		lines += n > 0;
	}
	return 0;
}

static int
begins(const char *s, size_t len, const char *name)
{
	return len >= strlen(name) && strncasecmp(s, name, strlen(name)) == 0;
}

/* Lines behind the first that name a body's length. */
static unsigned
framings(const char *s, size_t len)
{
	unsigned n = 0;
	int lines = 0;

	for (size_t at = 0; at < len; at = (size_t)((const char *)memchr(s + at, '\n', len - at) - s) + 1) {
		if (lines > 0)
			n += begins(s + at, len - at, "content-length:") ||
			     begins(s + at, len - at, "transfer-encoding:");
		lines += s[at] != '\n' && memcmp(s + at, "\r\n", 2) != 0;
	}
	return n;
}

static void
check_head(const char *s, size_t len)
{
	struct server_head h, longer, hidden;
	size_t n = head_len(s, len);
	char *copy;

	if (n == 0)
		return;
	copy = fuzz_copy(s, n);
	server_head_read(copy, n, &h);
	FUZZ_CHECK(h.len == n && h.framings == framings(copy, n));
	/* What stands behind it is not looked at. */
	server_head_read(s, len, &longer);
	FUZZ_CHECK(server_head_ok(&longer) == server_head_ok(&h));
	FUZZ_CHECK(!server_head_framed(&h) || server_head_ok(&h));
	if (server_head_framed(&h))
		FUZZ_CHECK(h.chunked ? h.body_len == UINT64_MAX : h.body_len < UINT64_C(1000000000000000000));
	server_head_hide(copy, n);
	FUZZ_CHECK(head_len(copy, n) == n && framings(copy, n) == 0);
	server_head_read(copy, n, &hidden);
	FUZZ_CHECK(hidden.framings == 0 && !hidden.expects && !hidden.chunked && hidden.folded == h.folded);
	free(copy);
}

/* ---- Chunks ---- */

struct result {
	struct buf data;
	size_t taken;
	int done, bad;
};

/* In pieces of ${step} bytes, 0: in one, and of at most ${max} bytes of data. */
static void
decode(const char *s, size_t len, size_t step, size_t max, struct result *r)
{
	struct server_chunks c = {0};
	struct jstr data;

	buf_init(&r->data, MAX);
	r->taken = 0;
	while (r->taken < len && !server_chunks_done(&c) && !server_chunks_bad(&c)) {
		size_t n = step == 0 || len - r->taken < step ? len - r->taken : step, at = 0;
		char *piece = fuzz_copy(s + r->taken, n);

		while (at < n && !server_chunks_done(&c) && !server_chunks_bad(&c)) {
			size_t eaten = server_chunks_next(&c, piece + at, n - at, max, &data);

			FUZZ_CHECK(eaten > 0 && eaten <= n - at && data.len <= max && data.len <= eaten);
			FUZZ_CHECK(data.len == 0 || data.s + data.len == piece + at + eaten);
			FUZZ_CHECK(c.left < UINT64_C(1) << 60 || server_chunks_bad(&c));
			FUZZ_CHECK(buf_put(&r->data, data.s, data.len) == 0);
			at += eaten;
		}
		r->taken += at;
		free(piece);
	}
	r->done = server_chunks_done(&c);
	r->bad = server_chunks_bad(&c);
}

/* The next line, which ends with CR LF; *atp moves behind it. */
static size_t
line(const char *s, size_t len, size_t *atp)
{
	const char *eol = memchr(s + *atp, '\n', len - *atp);
	size_t n;

	FUZZ_CHECK(eol != NULL && eol > s + *atp && eol[-1] == '\r');
	n = (size_t)(eol - s) - 1 - *atp;
	*atp += n + 2;
	return n;
}

/* What was found to be a whole body is read again by its grammar: RFC 9112, 7.1. */
static void
check_whole(const char *s, const struct result *r)
{
	size_t at = 0, put = 0, begin, n;
	unsigned long long size;
	char *end;

	do {
		begin = at;
		n = line(s, r->taken, &at);
		FUZZ_CHECK(n > 0 && strspn(s + begin, "0123456789abcdefABCDEF") > 0);
		size = strtoull(s + begin, &end, 16);
		FUZZ_CHECK(end <= s + begin + n && size <= r->data.len - put);
		FUZZ_CHECK(end == s + begin + n || strchr("; \t", *end) != NULL);
		if (size > 0) {
			FUZZ_CHECK(r->taken - at >= size + 2 && memcmp(r->data.data + put, s + at, size) == 0);
			put += size;
			at += size;
			FUZZ_CHECK(line(s, r->taken, &at) == 0);
		}
	} while (size > 0);
	while (line(s, r->taken, &at) > 0)
		continue;
	FUZZ_CHECK(at == r->taken && put == r->data.len);
}

static void
check_chunks(const char *s, size_t len, size_t step, size_t max)
{
	struct result whole, cut;

	decode(s, len, 0, SIZE_MAX, &whole);
	decode(s, len, step, max, &cut);
	FUZZ_CHECK(whole.done == cut.done && whole.bad == cut.bad && whole.taken == cut.taken);
	FUZZ_CHECK(!whole.done || !whole.bad);
	FUZZ_CHECK(whole.data.len == cut.data.len);
	FUZZ_CHECK(cut.data.len == 0 || memcmp(whole.data.data, cut.data.data, cut.data.len) == 0);
	if (whole.done)
		check_whole(s, &whole);
	buf_release(&whole.data);
	buf_release(&cut.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;

	if (len < 3)
		return 0;
	text = malloc(len - 1);
	FUZZ_CHECK(text != NULL);
	memcpy(text, data + 2, len - 2);
	text[len - 2] = '\0'; /* for strtoull() */
	if (data[0] & 0x80)
		check_head(text, len - 2);
	else
		check_chunks(text, len - 2, data[0] % 64, data[1] == 0 ? SIZE_MAX : data[1]);
	free(text);
	return 0;
}
