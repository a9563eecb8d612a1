/*
 * feedrow.c: rows of _changes as text.
 *
 * A full scan is made of these and of little else, so the row that nearly all are (one leaf, an MD5 revision, an id
 * without escapes, no document) is written in one go into room that was made once, from pieces of constant length.
 *
 *	{"seq":"N-HISTORY","id":"ID","changes":[{"rev":"G-HASH"},...],"deleted":true,"doc":{...}}
 */
#include "feedrow.h"

#include <string.h>

#include "base/hash.h"
#include "render.h"

#define CHANGES "\",\"changes\":[{\"rev\":\""
#define DELETED "\"}],\"deleted\":true}"
/* The longest plain row but for its id. */
#define PLAIN_ROOM (FEEDROW_BEFORE + FEEDROW_HEAD + sizeof(CHANGES) + 3 + 2 * REV_MD5_LEN + sizeof(DELETED))

/* All up to the id, which of row to row changes in the number alone, and mostly in its last digit alone. */
static void
set_head(struct feedrow *w, uint64_t seq)
{
	struct buf b;
	const char *dash;

	w->head_len = 0;
	buf_init_arena(&b, w->arena, 2 * FEEDROW_HEAD);
	buf_puts(&b, "{\"seq\":\"");
	db_seq_put(w->db, &b, seq);
	buf_puts(&b, "\",\"id\":\"");
	if (buf_failed(&b) || b.len > FEEDROW_HEAD || (dash = memchr(b.data, '-', b.len)) == NULL)
		return;
	w->seq = seq;
	w->last = (size_t)(dash - b.data) - 1;
	w->head_len = b.len;
	memcpy(w->head, b.data, b.len);
}

static void
move_head(struct feedrow *w, uint64_t seq)
{
	if (w->head_len > 0 && seq - w->seq <= (uint64_t)('9' - w->head[w->last])) {
		w->head[w->last] = (char)(w->head[w->last] + (int)(seq - w->seq));
		w->seq = seq;
	} else {
		set_head(w, seq);
	}
}

void
feedrow_init(struct feedrow *w, struct db *db, struct db_snap *snap, struct arena *a, const struct feedrow_opts *opts)
{
	*w = (struct feedrow){.db = db, .snap = snap, .arena = a, .opts = *opts};
}

/* ---- The row that nearly all are ---- */

#define ADD(p, literal) (memcpy((p), (literal), sizeof(literal) - 1), (p) + sizeof(literal) - 1)

static int
is_plain(const struct feedrow *w, const struct db_change *c)
{
	const struct rev *rev = &c->leaves[0];

	return (c->nleaves == 1 || !w->opts.all_leaves) && !w->opts.include_docs && rev->len == REV_MD5_LEN &&
	       rev->gen < 100 && buf_json_plain(c->id.s, c->id.len) == c->id.len;
}

static int
put_plain(const struct feedrow *w, const struct db_change *c, const char *before, struct buf *b)
{
	unsigned gen = (unsigned)c->leaves[0].gen;
	char *room, *p;
	int err = buf_reserve(b, PLAIN_ROOM + c->id.len, &room);

	if (err != 0)
		return err;
	for (p = room; *before != '\0'; p++)
		*p = *before++;
	memcpy(p, w->head, FEEDROW_HEAD); /* always all of it: a constant length is a few instructions */
	p += w->head_len;
	memcpy(p, c->id.s, c->id.len);
	p += c->id.len;
	p = ADD(p, CHANGES);
	if (gen >= 10)
		*p++ = (char)('0' + gen / 10);
	*p++ = (char)('0' + gen % 10);
	*p++ = '-';
	hex_encode(c->leaves[0].id, REV_MD5_LEN, p);
	p += 2 * REV_MD5_LEN;
	p = c->deleted ? ADD(p, DELETED) : ADD(p, "\"}]}");
	buf_commit(b, (size_t)(p - room));
	return 0;
}

/* ---- All others ---- */

static int
put_doc(struct feedrow *w, const struct jstr *id, struct buf *b)
{
	struct render_opts o;
	struct db_doc doc;
	struct buf whole;
	int err = db_get(w->snap, id->s, id->len, w->arena, &doc);

	if (err == 0 && w->here && db_doc_is_large(&doc))
		err = ERR_AGAIN;
	if (err != 0)
		return err;
	memset(&o, 0, sizeof(o));
	o.conflicts = w->opts.conflicts;
	o.attachments = w->opts.attachments;
	o.att_encoding_info = w->opts.att_encoding_info;
	if (w->fields == NULL)
		return render_doc(b, &doc, &o, w->arena, NULL);
	buf_init_arena(&whole, w->arena, RENDER_MAX);
	err = render_doc(&whole, &doc, &o, w->arena, NULL);
	return err != 0 ? err : query_fields_put(w->fields, (struct jstr){whole.data, whole.len}, b);
}

int
feedrow_put(struct feedrow *w, const struct db_change *c, int with_seq, const char *before, struct buf *b)
{
	size_t i, n = w->opts.all_leaves ? c->nleaves : 1;
	int err = 0;

	if (with_seq && is_plain(w, c)) {
		move_head(w, c->seq);
		if (w->head_len > 0)
			return put_plain(w, c, before, b);
	}
	buf_puts(b, before);
	if (with_seq) {
		buf_puts(b, "{\"seq\":\"");
		db_seq_put(w->db, b, c->seq);
		buf_puts(b, "\",\"id\":");
	} else {
		buf_puts(b, "{\"seq\":null,\"id\":");
	}
	buf_put_json(b, c->id.s, c->id.len);
	buf_puts(b, ",\"changes\":[{\"rev\":\"");
	rev_put(b, &c->leaves[0]);
	for (i = 1; i < n; i++) {
		buf_puts(b, "\"},{\"rev\":\"");
		rev_put(b, &c->leaves[i]);
	}
	buf_puts(b, "\"}]");
	if (c->deleted)
		buf_puts(b, ",\"deleted\":true");
	if (w->opts.include_docs) {
		buf_puts(b, ",\"doc\":");
		err = put_doc(w, &c->id, b);
	}
	buf_putc(b, '}');
	return err;
}
