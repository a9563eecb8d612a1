/*
 * Frames of HTTP/2 cut anywhere are the same frames: the same counts, and the same reason to end the connection.  Of whole frames
 * the counts are those of a plain reading of the bytes.
 * The first byte says how to cut; what follows stands behind the preface.
 */
#include "base/limits.h"
#include "fuzz.h"
#include "http/http_impl.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static const char *
walk(struct server_frames *f, const uint8_t *p, size_t n, size_t step)
{
	const char *why = NULL;

	while (n > 0 && why == NULL) {
		size_t len = step == 0 || step > n ? n : step;
		char *piece = fuzz_copy(p, len);

		why = server_frames_walk(f, piece, len);
		free(piece);
		p += len;
		n -= len;
	}
	return why;
}

/* What a plain reading finds, up to the first frame that is not whole. */
static void
check_counts(const struct server_frames *f, const uint8_t *p, size_t n)
{
	uint64_t resets = 0, windows = 0, data = 0, streams = 0;
	uint32_t last = 0;

	while (n >= 9) {
		size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		uint32_t stream =
		    ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) & 0x7fffffff;

		data += p[3] == 0 ? len : 0;
		resets += p[3] == 3;
		windows += p[3] == 8;
		if (p[3] == 1 && stream > last) {
			last = stream;
			streams++;
		}
		if (len > n - 9)
			break;
		p += 9 + len;
		n -= 9 + len;
	}
	FUZZ_CHECK(f->data == data && f->resets == resets && f->windows == windows && f->streams == streams);
	FUZZ_CHECK(f->last_stream == last && f->trailers <= last);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct server_frames whole = {0}, cut = {0};
	const char *why, *again;

	if (len < 1)
		return 0;
	FUZZ_CHECK(server_frames_walk(&whole, preface, sizeof(preface) - 1) == NULL);
	FUZZ_CHECK(walk(&cut, (const uint8_t *)preface, sizeof(preface) - 1, data[0] % 7) == NULL);
	why = walk(&whole, data + 1, len - 1, 0);
	again = walk(&cut, data + 1, len - 1, data[0] % 64 + 1);
	FUZZ_CHECK(why == again);
	FUZZ_CHECK(whole.controls == cut.controls && whole.fields == cut.fields && whole.block_len == cut.block_len);
	FUZZ_CHECK(whole.pieces <= LIMIT_H2_CONTINUATIONS + 1 && whole.fields <= LIMIT_H2_FIELDS + 1);
	if (why == NULL) {
		FUZZ_CHECK(memcmp(&whole, &cut, sizeof(whole)) == 0);
		check_counts(&whole, data + 1, len - 1);
	}
	return 0;
}
