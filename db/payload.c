#include "dbi.h"

#include <string.h>

static void
take_att(struct bytes *r, struct doc_att *out)
{
	const void *md5;

	memset(out, 0, sizeof(*out));
	out->name = docrec_span(r, bytes_varint(r));
	out->type = docrec_span(r, bytes_varint(r));
	out->revpos = bytes_varint(r);
	out->length = bytes_varint(r);
	out->encoding = bytes_u8(r) == DOC_GZIP ? DOC_GZIP : DOC_IDENTITY;
	out->stored_length = out->encoding == DOC_GZIP ? bytes_varint(r) : out->length;
	if ((md5 = bytes_take(r, sizeof(out->md5))) != NULL)
		memcpy(out->md5, md5, sizeof(out->md5));
	out->blob = bytes_varint(r);
}

int
payload_atts(struct bytes *r, struct arena *a, struct doc_att **attsp, size_t *np)
{
	uint64_t n = bytes_varint(r);

	*attsp = NULL;
	*np = 0;
	if (r->bad || n > LIMIT_ATTACHMENTS)
		return ERR_CORRUPT;
	if (n == 0)
		return 0;
	if ((*attsp = arena_calloc(a, (size_t)n, sizeof(**attsp))) == NULL)
		return ERR_NOMEM;
	for (*np = 0; *np < n && !r->bad; (*np)++)
		take_att(r, &(*attsp)[*np]);
	return r->bad ? ERR_CORRUPT : 0;
}

static void
put_string(struct buf *b, const struct jstr *s)
{
	buf_put_varint(b, s->len);
	buf_put(b, s->s, s->len);
}

int
payload_put_atts(struct buf *b, const struct doc_att *atts, size_t n)
{
	buf_put_varint(b, n);
	for (size_t i = 0; i < n; i++) {
		put_string(b, &atts[i].name);
		put_string(b, &atts[i].type);
		buf_put_varint(b, atts[i].revpos);
		buf_put_varint(b, atts[i].length);
		buf_putc(b, (char)atts[i].encoding);
		if (atts[i].encoding == DOC_GZIP)
			buf_put_varint(b, atts[i].stored_length);
		buf_put(b, atts[i].md5, sizeof(atts[i].md5));
		buf_put_varint(b, atts[i].blob);
	}
	return buf_failed(b);
}

struct payload_key
payload_blob_key(uint64_t number, uint32_t chunk)
{
	struct payload_key k;

	for (int i = 0; i < 8; i++)
		k.bytes[i] = (unsigned char)(number >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		k.bytes[8 + i] = (unsigned char)(chunk >> (24 - 8 * i));
	return k;
}
