/*
 * peer_http_put.c: one document to a target behind HTTP, with the bytes of its attachments from a pipe, in a
 * multipart/related body whose length is told beforehand.
 *
 * 1. The body is a row of texts (the document, and what stands before each attachment) and of attachments between
 *    them; it is made while it is sent.
 * 2. Once a byte was taken from the pipe the request cannot be repeated.
 * 3. PouchDB keeps what it is sent as it is, whatever the document says of its encoding: it gets no compressed bytes.
 *    It also finds an attachment by the name in its header: what that server's reader takes for more than itself is sent as
 *    "&#NNNN;", and a name with a backslash, up to which it drops the name, cannot be sent; nor can a document of more than
 *    POUCHDB_FIELD, or a name that takes more than POUCHDB_HEAD.
 * 4. An attachment is as long as was said, or the request is ended before its body is: the target has nothing of it.
 */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "peer_http_impl.h"

#define BOUNDARY_LEN 32u
#define POUCHDB_FIELD (2u << 20) /* bytes of a part without a name that its server's reader takes */
#define POUCHDB_HEAD (16u << 10) /* and of a part's headers */

struct putting {
	struct peer_op op;
	struct peer_rq rq;
	struct peer_put *c;
	char boundary[BOUNDARY_LEN + 1];
	char type[96];
	int piped;          /* the error is the pipe's */
	const char *unsent; /* why PouchDB's server is not sent the document; NULL: it is */

	/* The client's thread's. */
	struct buf text; /* that is sent now, but for the document's own */
	size_t text_at, doc_at;
	size_t att;    /* the next, or that which is being sent */
	uint64_t left; /* bytes of it */
	int step;      /* 0: before the document, 1: it, 2: behind it */

	/* Where no compressed bytes may be sent. */
	uint64_t *plain; /* the lengths of attachments; NULL: they are sent as they come */
	uint64_t packed; /* bytes of the present one that are still to come */
	z_stream z;
	int inflating;
	unsigned char in[16384];
};

static void
end_inflating(struct putting *o)
{
	if (o->inflating)
		(void)inflateEnd(&o->z);
	o->inflating = 0;
}

static int
is_inflated(const struct putting *o, size_t i)
{
	return o->plain != NULL && o->c->atts[i].gzip;
}

static uint64_t
length_of(const struct putting *o, size_t i)
{
	return is_inflated(o, i) ? o->plain[i] : o->c->atts[i].length;
}

static void
release(struct peer_op *op)
{
	struct putting *o = (struct putting *)op;

	peer_rq_release(&o->rq);
	buf_release(&o->text);
	end_inflating(o);
}

/* ---- The body ---- */

/* As it can stand in a header. */
static void
put_word(struct buf *b, struct jstr s, int quoted)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		if ((unsigned char)s.s[i] < ' ' || s.s[i] == 127) {
			(void)buf_putc(b, ' ');
			continue;
		}
		if (quoted && (s.s[i] == '"' || s.s[i] == '\\'))
			(void)buf_putc(b, '\\');
		(void)buf_putc(b, s.s[i]);
	}
}

/* As PouchDB's server reads it; its older versions know four digits alone. */
static void
put_pouchdb_name(struct buf *b, struct jstr s)
{
	size_t i;

	for (i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.s[i];

		if (c < ' ' || c == 127 || c == '"' || c == '%' || c == '&')
			(void)buf_printf(b, "&#%04u;", c);
		else
			(void)buf_putc(b, s.s[i]);
	}
}

static void
put_head(const struct putting *o, struct buf *b)
{
	(void)buf_printf(b, "--%s\r\nContent-Type: application/json\r\n\r\n", o->boundary);
}

/* What stands before attachment ${i}, or behind the last. */
static void
put_between(const struct putting *o, size_t i, struct buf *b)
{
	const struct peer_att *att = &o->c->atts[i];

	(void)buf_printf(b, "\r\n--%s", o->boundary);
	if (i == o->c->natts) {
		(void)buf_puts(b, "--");
		return;
	}
	(void)buf_puts(b, "\r\nContent-Disposition: attachment; filename=\"");
	if (o->op.p->about.pouchdb)
		put_pouchdb_name(b, att->name);
	else
		put_word(b, att->name, 1);
	(void)buf_puts(b, "\"\r\nContent-Type: ");
	if (att->type.len > 0)
		put_word(b, att->type, 0);
	else
		(void)buf_puts(b, "application/octet-stream");
	(void)buf_printf(b, "\r\nContent-Length: %llu\r\n", (unsigned long long)length_of(o, i));
	if (att->gzip && !is_inflated(o, i))
		(void)buf_puts(b, "Content-Encoding: gzip\r\n");
	(void)buf_puts(b, "\r\n");
}

static int
measure(struct putting *o, uint64_t *lenp)
{
	struct buf b;
	uint64_t n = o->c->doc->text.len;
	size_t i;
	int err;

	buf_init(&b, LIMIT_ATT_NAME_LEN * 8);
	put_head(o, &b);
	n += b.len;
	err = buf_failed(&b);
	for (i = 0; i <= o->c->natts && err == 0; i++) {
		buf_clear(&b);
		put_between(o, i, &b);
		err = buf_failed(&b);
		n += b.len;
		if (err == 0 && i < o->c->natts && length_of(o, i) > UINT64_MAX / 2 - n)
			err = ERR_ATT_TOO_LARGE;
		else if (i < o->c->natts)
			n += length_of(o, i);
	}
	buf_release(&b);
	*lenp = n;
	return err;
}

/* ---- Sending: on the client's thread ---- */

/* On the writer's thread. */
static void
on_bytes(void *cookie)
{
	struct putting *o = cookie;

	httpc_resume(&o->rq.http);
	peer_op_unref(&o->op);
}

/* Bytes from the pipe, at most ${max}. */
static int
take(struct putting *o, void *out, size_t max, size_t *lenp)
{
	int err;

	peer_op_ref(&o->op);
	err = pipe_take(o->c->pipe, out, max, lenp, on_bytes, o);
	if (err == ERR_AGAIN)
		return HTTPC_PAUSE;
	/* Not the last: the call's own is left. */
	peer_op_unref(&o->op);
	if (err != 0) {
		o->piped = 1;
		return err == ERR_END ? ERR_IO : err;
	}
	o->rq.once = 1;
	return 0;
}

static int
take_plain(struct putting *o, void *out, size_t size, size_t *lenp)
{
	int err = take(o, out, o->left < size ? (size_t)o->left : size, lenp);

	if (err == 0)
		o->left -= *lenp;
	return err;
}

/* *${lenp} may be 0: the last bytes of a compressed attachment hold nothing. */
static int
take_inflated(struct putting *o, void *out, size_t size, size_t *lenp)
{
	size_t n = 0;
	int err, rc;

	if (o->z.avail_in == 0 && o->packed > 0) {
		err = take(o, o->in, o->packed < sizeof(o->in) ? (size_t)o->packed : sizeof(o->in), &n);
		if (err != 0)
			return err;
		o->packed -= n;
		o->z.next_in = o->in;
		o->z.avail_in = (uInt)n;
	}
	o->z.next_out = out;
	o->z.avail_out = (uInt)(o->left < size ? o->left : size);
	n = o->z.avail_out;
	rc = inflate(&o->z, Z_NO_FLUSH);
	*lenp = n - o->z.avail_out;
	o->left -= *lenp;
	if (rc == Z_STREAM_END) {
		end_inflating(o);
		return o->left > 0 || o->packed > 0 ? ERR_NOT_GZIP : 0;
	}
	/* With bytes left over and no room for more it is longer than was said. */
	return rc == Z_OK || (rc == Z_BUF_ERROR && o->packed > 0 && o->z.avail_in == 0) ? 0 : ERR_NOT_GZIP;
}

static size_t
copy_some(void *out, size_t size, const char *from, size_t len, size_t *at)
{
	size_t n = len - *at < size ? len - *at : size;

	if (n > 0)
		memcpy(out, from + *at, n);
	*at += n;
	return n;
}

/* The next text, when that before it and its attachment have been sent. */
static int
next_text(struct putting *o)
{
	size_t i = o->step == 2 ? o->att : 0;

	buf_clear(&o->text);
	o->text_at = 0;
	put_between(o, i, &o->text);
	o->left = i < o->c->natts ? length_of(o, i) : 0;
	o->att = i + 1;
	o->step = 2;
	if (i < o->c->natts && is_inflated(o, i)) {
		memset(&o->z, 0, sizeof(o->z));
		o->packed = o->c->atts[i].length;
		if (inflateInit2(&o->z, MAX_WBITS + 16) != Z_OK)
			return ERR_NOMEM;
		o->inflating = 1;
	}
	return buf_failed(&o->text);
}

static int
on_read(void *cookie, void *out, size_t size, size_t *lenp)
{
	struct peer_rq *rq = cookie;
	struct putting *o = (struct putting *)rq->op;
	const struct jstr *doc = &o->c->doc->text;
	int err;

	*lenp = 0;
	while (*lenp == 0) {
		if (o->text_at < o->text.len) {
			*lenp = copy_some(out, size, o->text.data, o->text.len, &o->text_at);
		} else if (o->step == 0) {
			o->step = 1;
		} else if (o->step == 1 && o->doc_at < doc->len) {
			*lenp = copy_some(out, size, doc->s, doc->len, &o->doc_at);
		} else if (o->inflating) {
			err = take_inflated(o, out, size, lenp);
			if (err != 0)
				return err;
		} else if (o->step == 2 && o->left > 0) {
			return take_plain(o, out, size, lenp);
		} else {
			if (o->step == 2 && o->att > o->c->natts)
				return ERR_INTERNAL;
			err = next_text(o);
			if (err != 0)
				return err;
		}
	}
	return 0;
}

/* Under the peer's lock: from the beginning. */
static void
rewind_body(struct peer_rq *rq)
{
	struct putting *o = (struct putting *)rq->op;

	buf_clear(&o->text);
	put_head(o, &o->text);
	o->text_at = o->doc_at = o->att = 0;
	o->left = 0;
	o->step = 0;
	end_inflating(o);
}

/* ---- The end ---- */

/* A database names its error in JSON; a page, a word, another object or nothing is of somebody before it. */
static int
is_foreign(const struct peer_rq *rq)
{
	struct peer_said said;

	if (rq->status != 401 && rq->status != 403)
		return 0;
	peer_json_said(rq->answer.data, rq->answer.len, &said);
	return said.error[0] == '\0';
}

/* CouchDB answers with an object, PouchDB with an empty array; who answers with anything else has written nothing. */
static int
check_answer(const struct peer_rq *rq, struct errtext *why)
{
	enum jread_type type;
	struct jread j;

	jread_init(&j, rq->answer.data, rq->answer.len);
	type = jread_peek(&j);
	if ((type == JREAD_OBJECT || type == JREAD_ARRAY) && jread_skip(&j, NULL) == 0 && jread_end(&j) == 0)
		return 0;
	return err_why(why, ERR_IO, "is no JSON, or not all of it");
}

/* An error of this document, or of more than it? */
static void
judge(struct putting *o)
{
	struct peer_rq *rq = &o->rq;
	struct peer_said said;
	struct errtext why;

	if (peer_rq_ok(rq)) {
		peer_rq_judge(rq, check_answer(rq, &why), &why);
		return;
	}
	if (o->piped) {
		/* The other end has the words for it. */
		rq->why.text[0] = '\0';
		return;
	}
	if (o->unsent != NULL) {
		(void)peer_rq_bad(rq, ERR_DOC_VALIDATION, "PouchDB's server takes no %s", o->unsent);
		return;
	}
	/* Or is it the answer that is too much? */
	if (rq->err == ERR_TOO_LARGE)
		rq->err = rq->status >= 200 && rq->status <= 299 ? ERR_IO : ERR_DOC_TOO_LARGE;
	if (rq->status == 400 && rq->err == ERR_IO) {
		peer_json_said(rq->answer.data, rq->answer.len, &said);
		rq->err = peer_json_code(said.error);
	} else if (peer_rq_is_said(rq)) {
		rq->err = ERR_HELD_BACK;
	}
	/* What cannot be sent, or no session is to be had for, is no refusal of the document; nor is what a proxy says. */
	o->c->of_all = rq->status == 0 || is_foreign(rq);
}

static void
put_done(struct peer_rq *rq)
{
	struct putting *o = (struct putting *)rq->op;

	judge(o);
	if (o->c->pipe != NULL)
		pipe_stop(o->c->pipe, rq->err != 0 ? rq->err : ERR_END);
	peer_op_end(&o->op, rq->err, &rq->why);
}

/* The lengths that compressed attachments have when they are not. */
static int
plain_lengths(struct putting *o)
{
	struct peer_put *c = o->c;
	struct peer_stub *stubs;
	size_t n, i, k = 0;
	struct errtext why;
	int err = peer_json_stubs(c->doc->text.s, c->doc->text.len, c->call.arena, &stubs, &n, &why);

	if (err != 0)
		return err;
	o->plain = arena_calloc(c->call.arena, c->natts, sizeof(*o->plain));
	if (o->plain == NULL)
		return ERR_NOMEM;
	for (i = 0; i < n && k < c->natts; i++)
		if (stubs[i].follows)
			o->plain[k++] = stubs[i].plain;
	for (i = 0; i < c->natts; i++)
		if (c->atts[i].gzip && (i >= k || o->plain[i] == UINT64_MAX))
			return ERR_IO;
	return 0;
}

/* PouchDB's server would end, or keep something else. */
static int
check_sendable(struct putting *o)
{
	struct buf head;
	size_t i;
	int err = 0;

	buf_init(&head, POUCHDB_HEAD);
	if (o->c->doc->text.len > POUCHDB_FIELD)
		o->unsent = "document of more than 2 MiB with attachments";
	for (i = 0; i < o->c->natts && o->unsent == NULL && err == 0; i++) {
		const struct jstr *name = &o->c->atts[i].name;

		buf_clear(&head);
		put_between(o, i, &head);
		err = buf_failed(&head);
		if (err == ERR_TOO_LARGE)
			o->unsent = "attachment whose name and type take more than 16 KiB";
		else if (name->len > 0 && memchr(name->s, '\\', name->len) != NULL)
			o->unsent = "attachment whose name has a backslash";
	}
	buf_release(&head);
	return o->unsent != NULL ? ERR_DOC_VALIDATION : err;
}

static void
with_atts(struct putting *o)
{
	struct executor *ex = o->op.p->ex;
	unsigned char dice[BOUNDARY_LEN / 2];
	int err;

	ex->random(ex, dice, sizeof(dice));
	hex_encode(dice, sizeof(dice), o->boundary);
	(void)snprintf(o->type, sizeof(o->type), "Content-Type: multipart/related; boundary=\"%s\"", o->boundary);
	o->rq.type = o->type;
	err = o->op.p->about.pouchdb ? check_sendable(o) : 0;
	if (err == 0 && o->op.p->about.pouchdb)
		err = plain_lengths(o);
	if (err == 0)
		err = measure(o, &o->rq.http.body_len);
	if (err != 0)
		o->rq.path.failed = err;
	o->rq.http.on_read = on_read;
	o->rq.http.paired = o->op.p->paired;
	o->rq.on_send = rewind_body;
}

void
peer_http_put_doc(struct peer *peer, struct peer_put *c)
{
	struct putting *o = peer_op_new(peer, &c->call, sizeof(*o));

	if (o == NULL)
		return;
	o->c = c;
	peer_rq_init(&o->rq, &o->op, "PUT", put_done);
	buf_init(&o->text, LIMIT_ATT_NAME_LEN * 8);
	o->op.release = release;
	o->rq.head_factor = 4;
	peer_put_id(&o->rq.path, c->doc->id);
	(void)buf_puts(&o->rq.path, "?new_edits=false");
	if (c->natts > 0) {
		with_atts(o);
	} else {
		o->rq.type = "Content-Type: application/json";
		(void)buf_put(&o->rq.body, c->doc->text.s, c->doc->text.len);
	}
	peer_rq_start(&o->rq);
}
