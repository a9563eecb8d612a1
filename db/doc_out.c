#include "db/doc.h"

#include "base/hash.h"

static void
put_attachment(struct buf *b, const struct doc_out *d, size_t i, int *errp)
{
	const struct doc_att *att = &d->atts[i];
	enum doc_att_form form = DOC_ATT_AS_STUB;
	size_t mark;

	if (i > 0)
		buf_putc(b, ',');
	buf_put_json(b, att->name.s, att->name.len);
	buf_puts(b, ":{\"content_type\":");
	buf_put_json(b, att->type.s, att->type.len);
	buf_puts(b, ",\"revpos\":");
	buf_put_u64(b, att->revpos);
	buf_puts(b, ",\"digest\":\"md5-");
	base64_put(b, att->md5, sizeof(att->md5));
	buf_putc(b, '"');
	/* The form is known only when data has been appended, so data's name is there first and may go again. */
	mark = b->len;
	if (d->att != NULL) {
		buf_puts(b, ",\"data\":\"");
		*errp = d->att(d->cookie, i, &form, b);
	}
	if (form == DOC_ATT_AS_DATA) {
		buf_putc(b, '"');
	} else {
		b->len = mark;
		buf_puts(b, ",\"length\":");
		buf_put_u64(b, att->length);
		buf_puts(b, form == DOC_ATT_AS_FOLLOWS ? ",\"follows\":true" : ",\"stub\":true");
	}
	if (d->att_encoding_info && att->encoding == DOC_GZIP) {
		buf_puts(b, ",\"encoding\":\"gzip\",\"encoded_length\":");
		buf_put_u64(b, att->stored_length);
	}
	buf_putc(b, '}');
}

static void
put_revisions(struct buf *b, const struct doc_out *d)
{
	buf_puts(b, ",\"_revisions\":{\"start\":");
	buf_put_u64(b, d->revisions[0].gen);
	buf_puts(b, ",\"ids\":[");
	for (size_t i = 0; i < d->nrevisions; i++) {
		buf_puts(b, i > 0 ? ",\"" : "\"");
		rev_put_id(b, &d->revisions[i]);
		buf_putc(b, '"');
	}
	buf_puts(b, "]}");
}

int
doc_put_json(struct buf *b, const struct doc_out *d)
{
	int err = 0;

	buf_puts(b, "{\"_id\":");
	buf_put_json(b, d->id.s, d->id.len);
	if (d->rev.len > 0) {
		buf_puts(b, ",\"_rev\":\"");
		rev_put(b, &d->rev);
		buf_putc(b, '"');
	}
	if (d->body.len > 2) {
		buf_putc(b, ',');
		buf_put(b, d->body.s + 1, d->body.len - 2);
	}
	if (d->deleted)
		buf_puts(b, ",\"_deleted\":true");
	if (d->nrevisions > 0)
		put_revisions(b, d);
	if (d->extra != NULL)
		buf_put(b, d->extra, d->extra_len);
	if (d->natts > 0) {
		buf_puts(b, ",\"_attachments\":{");
		for (size_t i = 0; i < d->natts && err == 0; i++)
			put_attachment(b, d, i, &err);
		buf_putc(b, '}');
	}
	buf_putc(b, '}');
	return err != 0 ? err : buf_failed(b);
}
