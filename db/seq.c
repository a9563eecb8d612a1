/*
 * Sequences on the wire: "N-" and the history that N belongs to, as 22 characters of URL-safe base64.
 *
 * A file's histories are listed with the sequence at which each began.  What a client saw of an older listed
 * history is still true up to where the next one began; of a history that is not listed nothing is known.
 */
#include "dbi.h"

#include <string.h>

#define HISTORY_TEXT_LEN 22u

static void
history_text(const unsigned char id[HISTORY_LEN], char out[HISTORY_TEXT_LEN])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	/* Three bytes, four digits; of the last byte two. */
	for (size_t i = 0; i + 2 < HISTORY_LEN; i += 3, out += 4) {
		unsigned bits = (unsigned)id[i] << 16 | (unsigned)id[i + 1] << 8 | id[i + 2];

		out[0] = digits[bits >> 18];
		out[1] = digits[bits >> 12 & 63];
		out[2] = digits[bits >> 6 & 63];
		out[3] = digits[bits & 63];
	}
	out[0] = digits[id[HISTORY_LEN - 1] >> 2];
	out[1] = digits[id[HISTORY_LEN - 1] << 4 & 63];
}

int
db_seq_put(struct db *db, struct buf *b, uint64_t seq)
{
	const struct dbfile *f = db->file;
	char digits[20], *room;
	size_t at = sizeof(digits), n;
	int err;

	do
		digits[--at] = (char)('0' + seq % 10);
	while ((seq /= 10) != 0);
	n = sizeof(digits) - at;
	if ((err = buf_reserve(b, n + 1 + HISTORY_TEXT_LEN, &room)) != 0)
		return err;
	memcpy(room, digits + at, n);
	room[n] = '-';
	history_text(f->histories[f->nhistories - 1].id, room + n + 1);
	buf_commit(b, n + 1 + HISTORY_TEXT_LEN);
	return 0;
}

static uint64_t
shared_seq(const struct dbfile *f, const char *text, uint64_t seq)
{
	char own[HISTORY_TEXT_LEN];

	for (size_t i = f->nhistories; i-- > 0;) {
		history_text(f->histories[i].id, own);
		if (memcmp(own, text, HISTORY_TEXT_LEN) != 0)
			continue;
		if (i + 1 < f->nhistories && seq > f->histories[i + 1].first_seq)
			return f->histories[i + 1].first_seq;
		return seq;
	}
	return 0;
}

int
db_seq_parse(struct db *db, const char *s, size_t len, uint64_t *seqp)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
		if (n > (UINT64_MAX - 9) / 10)
			return ERR_BAD_REQUEST;
		n = n * 10 + (unsigned)(s[i] - '0');
	}
	if (i == 0 && len > 0)
		return ERR_BAD_REQUEST;
	if (i == len) {
		*seqp = n;
		return 0;
	}
	if (s[i] != '-')
		return ERR_BAD_REQUEST;
	i++;
	/* Another server's opaque part is well formed, and of a history that is not listed. */
	*seqp = len - i == HISTORY_TEXT_LEN ? shared_seq(db->file, s + i, n) : 0;
	return 0;
}
