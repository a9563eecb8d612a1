/*
 * Sequences on the wire: "N-" and the history that N belongs to, as 22 characters of URL-safe base64.
 *
 * A file's histories are listed with the sequence at which each began.  What a client saw of an older listed
 * history is still true up to where the next one began; of a history that is not listed nothing is known.
 */
#include "dbi.h"

#include <string.h>

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
	memcpy(room + n + 1, f->histories[f->nhistories - 1].text, HISTORY_TEXT_LEN);
	buf_commit(b, n + 1 + HISTORY_TEXT_LEN);
	return 0;
}

struct jstr
db_history(const struct db *db)
{
	const struct dbfile *f = db->file;

	return (struct jstr){f->histories[f->nhistories - 1].text, HISTORY_TEXT_LEN};
}

static uint64_t
shared_seq(const struct dbfile *f, const char *text, uint64_t seq)
{
	for (size_t i = f->nhistories; i-- > 0;) {
		if (memcmp(f->histories[i].text, text, HISTORY_TEXT_LEN) != 0)
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
