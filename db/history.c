/*
 * A database's histories: which past its sequences belong to.
 *
 * A client that comes back with a sequence trusts that the server's past is the one it saw. That ceases when
 * somebody puts an older copy in the file's place. So a file whose content is not what was last written here
 * begins a new history. Two signs tell:
 *
 * 1. The stamp: the file's device, inode and birth are kept in the file. A copy, or a restore into a new
 *    file, has others.
 * 2. The note: bytes beside the content (an extended attribute), which stay when the content is
 *    overwritten in place. The first commit after an opening draws a session, 16 random bytes, and puts it in
 *    the file and, just before, in the note, next to the session that the file had. The note of a file that
 *    was closed also has its number of commits. So an older content has another session, or fewer commits.
 *
 *   note: state (1: NOTE_OPEN or NOTE_CLOSED), session (16), session before it (16), commits (8, NOTE_CLOSED)
 *
 * A crash between note and commit leaves a file that has the session before. Where the file system keeps no
 * notes, the stamp alone decides. A false alarm costs nothing: a sequence of the older history is still good
 * up to where the new one began.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

enum note_state { NOTE_OPEN = 1, NOTE_CLOSED = 2 };

#define NOTE_LEN (1u + 2u * HISTORY_LEN + 8u)

/* write_text: The id as 22 characters of URL-safe base64. */
static void
write_text(const unsigned char id[HISTORY_LEN], char out[HISTORY_TEXT_LEN])
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

/* room_for_one_more: The list may be one entry longer. */
static int
room_for_one_more(struct dbfile *f)
{
	struct history *grown = realloc(f->histories, (f->nhistories + 1) * sizeof(*grown));

	if (grown == NULL)
		return ERR_NOMEM;
	f->histories = grown;
	return 0;
}

int
history_load(struct dbfile *f, struct store_snap *snap)
{
	struct bytes r;
	const void *id;
	int err = meta_find(snap, "histories", &r);

	while (err == 0 && bytes_left(&r) > 0) {
		if ((err = room_for_one_more(f)) != 0)
			return err;
		if ((id = bytes_take(&r, HISTORY_LEN)) == NULL)
			return ERR_CORRUPT;
		memcpy(f->histories[f->nhistories].id, id, HISTORY_LEN);
		write_text(id, f->histories[f->nhistories].text);
		f->histories[f->nhistories++].first_seq = bytes_varint(&r);
	}
	if (err == 0 && (r.bad || f->nhistories == 0))
		return ERR_CORRUPT;
	if (err || (err = meta_find(snap, "session", &r)) == ERR_MISSING)
		return err == ERR_MISSING ? 0 : err; /* nothing was written yet */
	if (err == 0 && (id = bytes_take(&r, HISTORY_LEN)) != NULL)
		memcpy(f->session, id, HISTORY_LEN);
	return err;
}

static int
histories_put(struct dbfile *f, struct store_batch *batch)
{
	struct buf b;
	int err;

	buf_init(&b, f->nhistories * (HISTORY_LEN + 10));
	for (size_t i = 0; i < f->nhistories; i++) {
		buf_put(&b, f->histories[i].id, HISTORY_LEN);
		buf_put_varint(&b, f->histories[i].first_seq);
	}
	if ((err = buf_failed(&b)) == 0)
		err = meta_put(batch, "histories", b.data, b.len);
	buf_release(&b);
	return err;
}

int
history_begin(struct dbfile *f, struct store_batch *batch)
{
	struct executor *ex = f->dbs->config.ex;
	unsigned char stamp[16];
	int err = room_for_one_more(f);

	if (err)
		return err;
	ex->random(ex, f->histories[f->nhistories].id, HISTORY_LEN);
	write_text(f->histories[f->nhistories].id, f->histories[f->nhistories].text);
	f->histories[f->nhistories++].first_seq = f->state.update_seq;
	if ((err = store_stamp(f->store, stamp)) != 0 || (err = meta_put(batch, "stamp", stamp, sizeof(stamp))) != 0)
		return err;
	return histories_put(f, batch);
}

uint64_t
history_number(const struct dbfile *f)
{
	return bytes_load_u64be(f->histories[f->nhistories - 1].id) | 1;
}

/* ---- Signs ---- */

static int
stamp_differs(struct dbfile *f, struct store_snap *snap, int *differsp)
{
	unsigned char stamp[16];
	struct bytes r;
	const void *kept;
	int err = store_stamp(f->store, stamp);

	if (err || (err = meta_find(snap, "stamp", &r)) != 0)
		return err;
	kept = bytes_take(&r, sizeof(stamp));
	*differsp = kept == NULL || memcmp(kept, stamp, sizeof(stamp)) != 0;
	return 0;
}

static int
note_differs(struct dbfile *f)
{
	unsigned char note[STORE_NOTE_MAX];
	size_t len = sizeof(note);
	int now, before;

	store_note_get(f->store, note, &len);
	if (len != NOTE_LEN)
		return 0;
	now = memcmp(note + 1, f->session, HISTORY_LEN) == 0;
	before = memcmp(note + 1 + HISTORY_LEN, f->session, HISTORY_LEN) == 0;
	if (note[0] == NOTE_CLOSED)
		return !now || bytes_load_u64be(note + 1 + 2 * HISTORY_LEN) != f->state.commits;
	return !now && !before;
}

int
history_moved(struct dbfile *f, struct store_snap *snap, int *movedp)
{
	int err = stamp_differs(f, snap, movedp);

	if (err == 0 && !*movedp)
		*movedp = note_differs(f);
	return err;
}

/* ---- Sessions ---- */

int
history_session(struct dbfile *f, struct store_batch *batch)
{
	struct executor *ex = f->dbs->config.ex;
	unsigned char note[NOTE_LEN] = {NOTE_OPEN};

	if (f->session_begun)
		return 0;
	memcpy(note + 1 + HISTORY_LEN, f->session, HISTORY_LEN);
	ex->random(ex, f->drawn, HISTORY_LEN);
	memcpy(note + 1, f->drawn, HISTORY_LEN);
	store_note_put(f->store, note, sizeof(note));
	return meta_put(batch, "session", f->drawn, HISTORY_LEN);
}

void
history_committed(struct dbfile *f)
{
	if (f->session_begun)
		return;
	memcpy(f->session, f->drawn, HISTORY_LEN);
	f->session_begun = 1;
}

void
history_close(struct dbfile *f)
{
	unsigned char note[NOTE_LEN] = {NOTE_CLOSED};

	if (!f->session_begun || f->broken || f->dropped)
		return;
	memcpy(note + 1, f->session, HISTORY_LEN);
	bytes_store_u64be(note + 1 + 2 * HISTORY_LEN, f->state.commits);
	store_note_put(f->store, note, sizeof(note));
}
