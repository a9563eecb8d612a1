/* Documents: one that is taken is written as a document that is taken, and is the same. */
#include <string.h>

#include "base/hash.h"
#include "db/doc.h"
#include "fuzz.h"

#define MAX ((size_t)64 << 20)

static int
same(struct jstr a, struct jstr b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}

static int
put_att(void *cookie, size_t i, enum doc_att_form *formp, struct buf *base64)
{
	const struct doc_in *in = cookie;
	const struct doc_att_in *att = &in->atts[i];

	*formp = att->kind == DOC_ATT_STUB   ? DOC_ATT_AS_STUB
		 : att->kind == DOC_ATT_DATA ? DOC_ATT_AS_DATA
					     : DOC_ATT_AS_FOLLOWS;
	return att->kind == DOC_ATT_DATA ? base64_put(base64, att->data.s, att->data.len) : 0;
}

static struct doc_att *
stored_atts(struct arena *a, const struct doc_in *in)
{
	struct doc_att *atts = arena_calloc(a, in->natts + 1, sizeof(*atts));

	FUZZ_CHECK(atts != NULL);
	for (size_t i = 0; i < in->natts; i++) {
		atts[i].name = in->atts[i].name;
		atts[i].type = in->atts[i].type;
		atts[i].revpos = in->atts[i].has_revpos ? in->atts[i].revpos : 1;
		atts[i].length = in->atts[i].has_length ? in->atts[i].length : in->atts[i].data.len;
		atts[i].stored_length = in->atts[i].has_encoded_length ? in->atts[i].encoded_length : atts[i].length;
		atts[i].encoding = in->atts[i].encoding;
		memcpy(atts[i].md5, in->atts[i].md5, sizeof(atts[i].md5));
	}
	return atts;
}

static void
check_atts(const struct doc_in *in, const struct doc_in *out)
{
	FUZZ_CHECK(in->natts == out->natts);
	for (size_t i = 0; i < in->natts; i++) {
		const struct doc_att_in *a = &in->atts[i], *b = &out->atts[i];

		FUZZ_CHECK(same(a->name, b->name) && same(a->type, b->type) && a->kind == b->kind);
		FUZZ_CHECK(a->encoding == b->encoding);
		FUZZ_CHECK(b->has_revpos && (!a->has_revpos || a->revpos == b->revpos));
		FUZZ_CHECK(!a->has_digest || (b->has_digest && memcmp(a->md5, b->md5, sizeof(a->md5)) == 0));
		if (a->kind == DOC_ATT_DATA)
			FUZZ_CHECK(same(a->data, b->data));
		else
			FUZZ_CHECK(!a->has_length || (b->has_length && a->length == b->length));
	}
}

static void
check_same(const struct doc_in *in, const struct doc_in *out)
{
	struct rev a = rev_of(&in->rev), b = rev_of(&out->rev);

	FUZZ_CHECK(out->has_id && (!in->has_id || same(in->id, out->id)));
	FUZZ_CHECK(in->has_rev == out->has_rev && (!in->has_rev || rev_equal(&a, &b)));
	FUZZ_CHECK(in->deleted == out->deleted);
	FUZZ_CHECK(in->nrevisions == out->nrevisions);
	for (size_t i = 0; i < in->nrevisions; i++)
		FUZZ_CHECK(rev_equal(&in->revisions[i], &out->revisions[i]));
	FUZZ_CHECK(same(in->body, out->body));
	FUZZ_CHECK(
	    in->body_etf.len == out->body_etf.len && fuzz_same_term(in->body_etf.s, out->body_etf.s, in->body_etf.len));
	check_atts(in, out);
}

static void
round_trip(struct arena *a, const struct doc_in *in)
{
	struct doc_out d = {.id = {"x", 1},
	    .deleted = in->deleted,
	    .body = in->body,
	    .natts = in->natts,
	    .att_encoding_info = 1,
	    .att = put_att,
	    .revisions = in->revisions,
	    .nrevisions = in->nrevisions};
	struct errtext why;
	struct doc_in again;
	struct doc_in source = *in;
	struct jread j;
	struct buf b;

	if (in->has_id)
		d.id = in->id;
	if (in->has_rev)
		d.rev = rev_of(&in->rev);
	d.cookie = &source;
	d.atts = stored_atts(a, in);
	buf_init(&b, MAX);
	FUZZ_CHECK(doc_put_json(&b, &d) == 0);
	jread_init(&j, b.data, b.len);
	if (doc_parse(&j, a, &again, &why) != 0) {
		fprintf(stderr, "%s: %.*s\n", why.text, (int)b.len, b.data);
		abort();
	}
	FUZZ_CHECK(jread_end(&j) == 0);
	check_same(in, &again);
	buf_release(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct arena *a;
	struct errtext why;
	struct doc_in in;
	struct jread j, skipper;
	int err;

	FUZZ_CHECK(arena_new(MAX, &a) == 0);
	jread_init(&j, (const char *)data, len);
	err = doc_parse(&j, a, &in, &why);
	FUZZ_CHECK(err != ERR_NOMEM && err != ERR_INTERNAL);
	jread_init(&skipper, (const char *)data, len);
	/* A refused document has been read over, unless it is no JSON. */
	FUZZ_CHECK((jread_skip(&skipper, NULL) == 0) == (err != ERR_BAD_JSON));
	if (err != ERR_BAD_JSON)
		FUZZ_CHECK(j.p == skipper.p);
	/* Generation 0 is for _local documents, whose revisions are not written by rev_put(); of others callers refuse it. */
	if (err == 0 && !(in.has_rev && in.rev.gen == 0) && !(in.nrevisions > 0 && in.revisions[0].gen == 0))
		round_trip(a, &in);
	arena_free(a);
	return 0;
}
