/*
 * multipart_out.c: multipart answers.
 *
 * An answer is a row of segments, each a stretch of the gathered text or an attachment.  Its length
 * is known before the first byte goes out.  Small answers go out at once.  Others are streamed:
 * whenever the client took what it was sent, the next chunk is read in a snapshot of its own, so
 * that a slow reader pins none.  An attachment that was compacted away meanwhile breaks the answer
 * off.
 */
#include <string.h>

#include "base/limits.h"
#include "httpapi/api.h"
#include "httpapi/multipart.h"
#include "httpapi/render.h"
#include "httpapi/uuid.h"

#define SMALL_ANSWER 65536u
#define PIECE 65536u
#define TYPE_MAX 128u

/* A stretch of text, or an attachment. */
struct multipart_seg {
	size_t from, len;
	const struct doc_att *att;
};

void
multipart_out_init(struct multipart_out *o, struct arena *a)
{
	memset(o, 0, sizeof(*o));
	o->arena = a;
	buf_init(&o->text, RENDER_MAX);
}

void
multipart_out_release(struct multipart_out *o)
{
	buf_release(&o->text);
}

static int
add_seg(struct multipart_out *o, const struct multipart_seg *seg)
{
	struct multipart_seg *more;

	if (o->nsegs == o->capsegs) {
		o->capsegs = o->capsegs == 0 ? 16 : 2 * o->capsegs;
		more = arena_calloc(o->arena, o->capsegs, sizeof(*more));
		if (more == NULL)
			return ERR_NOMEM;
		if (o->nsegs > 0)
			memcpy(more, o->segs, o->nsegs * sizeof(*more));
		o->segs = more;
	}
	o->segs[o->nsegs++] = *seg;
	return 0;
}

/* The text since the last segment becomes one. */
static int
end_text(struct multipart_out *o)
{
	struct multipart_seg seg = {o->text_done, o->text.len - o->text_done, NULL};
	int err = buf_failed(&o->text);

	if (err != 0 || seg.len == 0)
		return err;
	o->text_done = o->text.len;
	o->length += seg.len;
	return add_seg(o, &seg);
}

static int
add_att(struct multipart_out *o, const struct doc_att *att)
{
	struct multipart_seg seg = {0, 0, att};
	int err = end_text(o);

	if (err != 0 || att->stored_length == 0)
		return err;
	o->length += att->stored_length;
	return add_seg(o, &seg);
}

/* A header's value: no line breaks, quotes escaped. */
static void
put_header_text(struct buf *b, struct jstr s)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		if (s.s[i] == '"' || s.s[i] == '\\')
			buf_putc(b, '\\');
		if ((unsigned char)s.s[i] >= ' ')
			buf_putc(b, s.s[i]);
	}
}

static int
put_att(struct multipart_out *o, const struct doc_att *att)
{
	struct buf *b = &o->text;

	buf_puts(b, "\r\nContent-Disposition: attachment; filename=\"");
	put_header_text(b, att->name);
	buf_puts(b, "\"\r\nContent-Type: ");
	put_header_text(b, att->type);
	buf_puts(b, "\r\nContent-Length: ");
	buf_put_u64(b, att->stored_length);
	if (att->encoding == DOC_GZIP)
		buf_puts(b, "\r\nContent-Encoding: gzip");
	buf_puts(b, "\r\n\r\n");
	return add_att(o, att);
}

int
multipart_out_related(struct multipart_out *o, const char *boundary, const char *json, size_t jlen,
    const struct doc_att *const *atts, size_t natts)
{
	struct buf *b = &o->text;
	size_t i;
	int err;

	buf_puts(b, "--");
	buf_put(b, boundary, MULTIPART_BOUNDARY_LEN);
	buf_puts(b, "\r\nContent-Type: application/json\r\n\r\n");
	buf_put(b, json, jlen);
	for (i = 0; i < natts; i++) {
		buf_puts(b, "\r\n--");
		buf_put(b, boundary, MULTIPART_BOUNDARY_LEN);
		err = put_att(o, atts[i]);
		if (err != 0)
			return err;
	}
	buf_puts(b, "\r\n--");
	buf_put(b, boundary, MULTIPART_BOUNDARY_LEN);
	buf_puts(b, "--");
	return buf_failed(b);
}

int
multipart_out_mixed(struct multipart_out *o, const char *boundary, const char *json, size_t jlen,
    const struct doc_att *const *atts, size_t natts, int error)
{
	struct buf *b = &o->text;
	char inner[MULTIPART_BOUNDARY_LEN];
	int err = 0;

	if (natts > 0) {
		uuid_random(inner);
		buf_puts(b, "\r\n");
		buf_put(b, o->heads.s, o->heads.len);
		buf_puts(b, "Content-Type: multipart/related; boundary=\"");
		buf_put(b, inner, sizeof(inner));
		buf_puts(b, "\"\r\n\r\n");
		err = multipart_out_related(o, inner, json, jlen, atts, natts);
	} else {
		buf_puts(b, error ? "\r\nContent-Type: application/json; error=\"true\"\r\n\r\n"
				  : "\r\nContent-Type: application/json\r\n\r\n");
		buf_put(b, json, jlen);
	}
	buf_puts(b, "\r\n--");
	buf_put(b, boundary, MULTIPART_BOUNDARY_LEN);
	return err != 0 ? err : buf_failed(b);
}

/* ---- Sending ---- */

/* The next of a stretch of text, a piece's worth. */
static int
next_text(struct multipart_out *o, const struct multipart_seg *seg, struct buf *b)
{
	size_t left = seg->len - o->text_at, n = left < PIECE ? left : PIECE;
	const char *from = o->text.data + seg->from + o->text_at;

	o->text_at += n;
	if (n == left) {
		o->text_at = 0;
		o->seg++;
	}
	return buf_put(b, from, n);
}

/* The next piece into ${b}; ERR_END behind the last. */
static int
next_piece(struct multipart_out *o, struct buf *b)
{
	const struct multipart_seg *seg;
	struct db_snap *snap;
	int err;

	while (o->seg < o->nsegs) {
		seg = &o->segs[o->seg];
		if (seg->att == NULL)
			return next_text(o, seg, b);
		err = db_snap_begin(o->r->db, &snap);
		if (err != 0)
			return err;
		err = db_att_read_later(snap, seg->att, o->chunk++, b);
		db_snap_end(snap);
		if (err != ERR_END)
			return err;
		o->chunk = 0;
		o->seg++;
	}
	return ERR_END;
}

static void
stop(void *cookie)
{
	struct multipart_out *o = cookie;

	multipart_out_release(o);
	api_done(o->r);
}

static void
ready(void *cookie)
{
	struct multipart_out *o = cookie;
	struct http_req *http = o->r->http;
	struct buf b;
	int err = 0;

	buf_init(&b, RENDER_MAX);
	while (err == 0 && b.len < PIECE)
		err = next_piece(o, &b);
	if (err == 0 || err == ERR_END) {
		if (b.len > 0)
			http_send(http, b.data, b.len);
	}
	buf_release(&b);
	if (err == 0)
		return;
	stop(o);
	if (err == ERR_END)
		http_finish(http);
	else
		http_abort(http);
}

static void
send_small(struct multipart_out *o)
{
	struct apireq *r = o->r;
	struct buf b;
	size_t len;
	char *data;
	int err;

	buf_init(&b, RENDER_MAX);
	do
		err = next_piece(o, &b);
	while (err == 0);
	multipart_out_release(o);
	if (err != ERR_END) {
		buf_release(&b);
		api_error(r, err, NULL);
		return;
	}
	api_done(r);
	data = buf_take(&b, &len);
	http_reply_take(r->http, 200, data, len);
}

void
multipart_out_send(struct multipart_out *o, struct apireq *r, const char *kind, const char *boundary)
{
	char type[TYPE_MAX];
	int is_head = strcmp(http_method(r->http), "HEAD") == 0, n, err = end_text(o);

	o->r = r;
	if (err != 0) {
		multipart_out_release(o);
		api_error(r, err, NULL);
		return;
	}
	n = snprintf(type, sizeof(type), "%s; boundary=\"%.*s\"", kind, (int)MULTIPART_BOUNDARY_LEN, boundary);
	http_set_header(r->http, "content-type", type, (size_t)n);
	if (o->length <= SMALL_ANSWER) {
		send_small(o);
		return;
	}
	if (!is_head && (err = http_keep(r->http, o->text.len)) != 0) {
		multipart_out_release(o);
		api_error(r, err, NULL);
		return;
	}
	http_start(r->http, 200, o->length, ready, stop, o);
	if (is_head) {
		stop(o);
		http_finish(r->http);
		return;
	}
	ready(o);
}
