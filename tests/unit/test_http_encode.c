/* Accept-Encoding, and what is compressed by it: read back with zlib and libzstd, after every piece. */
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "check.h"
#include "http/encode.h"

#define TEXT_MAX (512u << 10)

/* ---- What a client takes ---- */

static void
test_choice(void)
{
	static const struct {
		const char *header;
		enum encode_coding whole, stream;
		int refuses;
	} cases[] = {
	    {"", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"gzip", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"x-gzip", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"GZip", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"zstd", ENCODE_ZSTD, ENCODE_ZSTD, 0},
	    {"deflate, br", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"gzip, deflate, br, zstd", ENCODE_ZSTD, ENCODE_GZIP, 0},
	    {"gzip;q=0.9, zstd;q=1.0", ENCODE_ZSTD, ENCODE_ZSTD, 0},
	    {"gzip , zstd ; q=0.999", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"\tgzip;q=0.001\t", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"gzip;q=0", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"gzip;q=0.000, zstd;q=0.", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"*", ENCODE_ZSTD, ENCODE_GZIP, 0},
	    {"*;q=0", ENCODE_IDENTITY, ENCODE_IDENTITY, 1},
	    {"gzip;q=0, *", ENCODE_ZSTD, ENCODE_ZSTD, 0},
	    {"zstd;q=0, *;q=0.1", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"gzip, *;q=0", ENCODE_GZIP, ENCODE_GZIP, 1},
	    {"identity", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"identity, gzip;q=0.5", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"identity;q=0.5, gzip;q=0.5", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"identity;q=0", ENCODE_IDENTITY, ENCODE_IDENTITY, 1},
	    {"identity;q=0, gzip", ENCODE_GZIP, ENCODE_GZIP, 1},
	    {"identity;q=0.1, *;q=0, gzip;q=0.2", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"gzip;q=2, zstd;q=x, identity;q", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"gzip;level=9", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {"gzip;q=1.5", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	    {",, ,;q=1,gzip,", ENCODE_GZIP, ENCODE_GZIP, 0},
	    {"gzipp, zst", ENCODE_IDENTITY, ENCODE_IDENTITY, 0},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct encode_accept a = ENCODE_ACCEPT_NONE;
		int ok;

		encode_accept_add(&a, cases[i].header, strlen(cases[i].header));
		ok = encode_choose(&a, 0) == cases[i].whole && encode_choose(&a, 1) == cases[i].stream &&
		     encode_refuses_identity(&a) == cases[i].refuses;
		if (!CHECK(ok))
			fprintf(stderr, "  Accept-Encoding: %s\n", cases[i].header);
	}
}

static void
test_headers_add_up(void)
{
	struct encode_accept a = ENCODE_ACCEPT_NONE;

	CHECK_INT(encode_choose(&a, 0), ENCODE_IDENTITY);
	CHECK_INT(encode_refuses_identity(&a), 0);
	encode_accept_add(&a, "gzip;q=0.5", 10);
	encode_accept_add(&a, NULL, 0);
	encode_accept_add(&a, "zstd;q=0.4, identity;q=0", 24);
	CHECK_INT(encode_choose(&a, 0), ENCODE_GZIP);
	CHECK_INT(encode_refuses_identity(&a), 1);
}

/* ---- A reader ---- */

struct reader {
	enum encode_coding coding;
	z_stream z;
	ZSTD_DCtx *zstd;
	int ended;
	size_t n;
	char text[TEXT_MAX];
};

static struct reader *
reader_new(enum encode_coding coding)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (r == NULL || (r->zstd = ZSTD_createDCtx()) == NULL || inflateInit2(&r->z, 15 + 16) != Z_OK)
		abort();
	r->coding = coding;
	return r;
}

static void
reader_free(struct reader *r)
{
	ZSTD_freeDCtx(r->zstd);
	inflateEnd(&r->z);
	free(r);
}

/* Takes what came; 0 if it can't be read. */
static int
reader_feed(struct reader *r, const char *data, size_t len)
{
	if (r->coding == ENCODE_ZSTD) {
		ZSTD_inBuffer in = {data, len, 0};
		ZSTD_outBuffer out = {r->text, sizeof(r->text), r->n};
		size_t rc = 1;

		while (in.pos < in.size && !ZSTD_isError(rc))
			rc = ZSTD_decompressStream(r->zstd, &out, &in);
		r->n = out.pos;
		r->ended = rc == 0;
		return !ZSTD_isError(rc);
	}
	r->z.next_in = (z_const Bytef *)(uintptr_t)data;
	r->z.avail_in = (uInt)len;
	r->z.next_out = (Bytef *)r->text + r->n;
	r->z.avail_out = (uInt)(sizeof(r->text) - r->n);
	if (len > 0) {
		int rc = inflate(&r->z, Z_SYNC_FLUSH);

		r->ended = rc == Z_STREAM_END;
		if (rc != Z_OK && rc != Z_STREAM_END)
			return 0;
	}
	r->n = (size_t)((char *)r->z.next_out - r->text);
	return r->z.avail_in == 0;
}

/* ---- Texts ---- */

static uint32_t state = 1;

static uint32_t
rnd(void)
{
	state = state * 1664525u + 1013904223u;
	return state >> 8;
}

static size_t
put_row(char *p, unsigned i)
{
	return (size_t)sprintf(p,
	    "{\"seq\":\"%u-AbCdEfGhIjKlMnOpQrStUv\",\"id\":\"%06x%06x%06x%06x%06x\",\"changes\":[{\"rev\":\"1-%06x%06x%"
	    "06x%06x"
	    "%06x\"}]}\n",
	    i, rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), rnd());
}

static size_t
make_rows(char *p, size_t most)
{
	size_t n = 0;
	unsigned i;

	for (i = 1; n + 400 < most; i++)
		n += put_row(p + n, i);
	return n;
}

static void
make_noise(char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (char)rnd();
}

/* ---- Whole texts ---- */

static void
check_whole(struct encode_ctx *c, enum encode_coding coding, const char *text, size_t len)
{
	struct reader *r = reader_new(coding);
	const char *out;
	size_t n;

	if (CHECK_INT(encode_whole(c, coding, text, len, &out, &n), 0)) {
		CHECK(reader_feed(r, out, n));
		CHECK(r->ended);
		CHECK_INT(r->n, len);
		CHECK(memcmp(r->text, text, r->n) == 0);
	}
	reader_free(r);
}

static void
test_whole(struct encode_ctx *c, char *text)
{
	static const size_t lens[] = {0, 1, 100, 1024, 10000, ENCODE_PIECE - 1, ENCODE_PIECE};
	enum encode_coding coding;
	const char *out;
	size_t i, n;

	for (coding = ENCODE_GZIP; coding <= ENCODE_ZSTD; coding++) {
		for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
			make_rows(text, ENCODE_PIECE);
			check_whole(c, coding, text, lens[i]);
			make_noise(text, lens[i]);
			check_whole(c, coding, text, lens[i]);
		}
		memset(text, 'a', ENCODE_PIECE);
		check_whole(c, coding, text, ENCODE_PIECE);
		n = make_rows(text, ENCODE_PIECE);
		CHECK_INT(encode_whole(c, coding, text, n, &out, &i), 0);
		CHECK(i < n * 6 / 10);
	}
}

/* ---- Streams ---- */

/* Pieces as ${next} cuts them; after each the reader must have all of them. */
static size_t
check_stream(
    struct encode_ctx *c, enum encode_coding coding, const char *text, size_t len, size_t (*next)(void), int end_alone)
{
	struct encode_stream *s;
	struct reader *r = reader_new(coding);
	size_t at = 0, n, total = 0, ok = 1;
	const char *out;
	int end = 0;

	if (!CHECK_INT(encode_stream_new(coding, &s), 0))
		abort();
	while (ok && !end) {
		size_t piece = next();

		if (piece > len - at)
			piece = len - at;
		end = at + piece == len && (!end_alone || piece == 0);
		ok = CHECK_INT(encode_stream_put(c, s, piece > 0 ? text + at : NULL, piece, end, &out, &n), 0) &&
		     CHECK(reader_feed(r, out, n));
		at += piece;
		total += n;
		ok = ok && r->n == at && r->ended == end;
	}
	CHECK(ok);
	CHECK(r->n == len && memcmp(r->text, text, len) == 0);
	/* What docs/OPERATIONS.md says of an open feed. */
	CHECK(encode_stream_size(s) <= (coding == ENCODE_GZIP ? 1152u : 64u << 10));
	encode_stream_free(s);
	reader_free(r);
	return total;
}

static size_t
next_random(void)
{
	static const size_t most[] = {1, 8, 300, 3000, 20000, ENCODE_PIECE};
	uint32_t k = rnd() % 7;

	return k == 6 ? 0 : 1 + rnd() % most[k];
}

static size_t
next_row(void)
{
	return 133;
}

static size_t
next_most(void)
{
	return ENCODE_PIECE;
}

static void
test_streams(struct encode_ctx *c, char *text)
{
	enum encode_coding coding;
	size_t n;
	int i;

	for (coding = ENCODE_GZIP; coding <= ENCODE_ZSTD; coding++) {
		for (i = 0; i < 20; i++) {
			n = make_rows(text, 1 + rnd() % TEXT_MAX);
			check_stream(c, coding, text, n, next_random, i & 1);
			n = rnd() % TEXT_MAX;
			make_noise(text, n);
			check_stream(c, coding, text, n, next_random, i & 1);
		}
		make_noise(text, TEXT_MAX);
		check_stream(c, coding, text, TEXT_MAX, next_most, 0);
		check_stream(c, coding, text, 0, next_most, 0);
		n = make_rows(text, 65536);
		CHECK(check_stream(c, coding, text, n, next_most, 0) < n * 6 / 10);
		/* Row by row it is still worth it: the rows refer to those before. */
		CHECK(check_stream(c, coding, text, n, next_row, 0) < n * 75 / 100);
	}
}

/* Streams take turns on one context, at different places and with equal rows, as feeds do. */
static void
test_many_streams(struct encode_ctx *c)
{
	enum { STREAMS = 6 };
	struct encode_stream *s[STREAMS];
	struct reader *r[STREAMS];
	char rows[40][400], sent[STREAMS][20000];
	size_t len[STREAMS] = {0}, n;
	const char *out;
	int i, k;

	for (k = 0; k < STREAMS; k++) {
		r[k] = reader_new(k == 5 ? ENCODE_ZSTD : ENCODE_GZIP);
		if (!CHECK_INT(encode_stream_new(r[k]->coding, &s[k]), 0))
			abort();
	}
	for (i = 0; i < 40; i++) {
		n = put_row(rows[i], (unsigned)i);
		rows[i][n] = '\0';
		for (k = 0; k < STREAMS; k++) {
			/* The third missed one; the fourth gets heartbeats; the fifth begins late. */
			const char *text = (k == 2 && i == 7) || (k == 4 && i < 20) ? ""
					   : k == 3 && i % 5 == 0                   ? "\n"
										    : rows[i];

			CHECK_INT(encode_stream_put(c, s[k], text, strlen(text), i == 39, &out, &n), 0);
			CHECK(reader_feed(r[k], out, n));
			memcpy(sent[k] + len[k], text, strlen(text));
			len[k] += strlen(text);
			CHECK_MEM(r[k]->text, r[k]->n, sent[k], len[k]);
		}
	}
	for (k = 0; k < STREAMS; k++) {
		CHECK(r[k]->ended);
		reader_free(r[k]);
		encode_stream_free(s[k]);
	}
}

int
main(void)
{
	char *text = calloc(1, TEXT_MAX);
	struct encode_ctx *c;

	if (text == NULL || !CHECK_INT(encode_ctx_new(&c), 0))
		return 1;
	test_choice();
	test_headers_add_up();
	test_whole(c, text);
	test_streams(c, text);
	test_many_streams(c);
	encode_ctx_free(c);
	encode_ctx_free(NULL);
	encode_stream_free(NULL);
	free(text);
	return check_done();
}
