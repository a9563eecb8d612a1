/*
 * How much of attachments was superseded: what a compaction would drop of `blobs`, about.
 *
 * When a revision is superseded, its attachments stay until compaction drops its body.  Those that the document's new leaves
 * have as well will be there then too; the others are added to state.superseded_atts.  It is an estimate, for
 * whether a compaction is worth its while, and for the bytes that a database is said to need.  What other documents, or other
 * leaves, have of the same bytes, or what is kept for merging, is counted although it will not go, until a compaction has
 * seen all documents.
 */
#include "docedit_impl.h"

/* is_new_leafs: Does a leaf that was written by this transaction have the blob? */
static int
is_new_leafs(const struct docedit *e, uint64_t blob)
{
	for (size_t i = 0; i < e->npend; i++) {
		const struct db_write *w = e->pend[i].leaf ? e->pend[i].w : NULL;
		const struct prepared *prep = w != NULL ? w->prepared : NULL;

		for (size_t k = 0; w != NULL && k < w->natts; k++)
			if (prep->atts[k].blob == blob)
				return 1;
	}
	return 0;
}

/* is_counted: Did an attachment before ${o}->v[i] have the same blob?  Equal bytes are stored once. */
static int
is_counted(const struct docedit *e, const struct oldatts *o, size_t i)
{
	for (const struct oldatts *p = e->oldatts; p != NULL; p = p->next) {
		for (size_t k = 0; k < (p == o ? i : p->n); k++)
			if (p->v[k].blob == o->v[i].blob)
				return 1;
		if (p == o)
			break;
	}
	return 0;
}

int
docedit_atts_note_(struct docedit *e, const void *payload, size_t len)
{
	struct oldatts *o;
	struct bytes r;
	int err;

	if (len == 0 || *(const unsigned char *)payload == 0) /* it has none */
		return 0;
	if ((o = arena_alloc(e->c->doc_a, sizeof(*o))) == NULL)
		return ERR_NOMEM;
	bytes_init(&r, payload, len);
	if ((err = payload_atts(&r, e->c->doc_a, &o->v, &o->n)) != 0)
		return err;
	o->next = e->oldatts;
	e->oldatts = o;
	return 0;
}

void
docedit_atts_settle_(struct docedit *e)
{
	for (const struct oldatts *o = e->oldatts; o != NULL; o = o->next)
		for (size_t i = 0; i < o->n; i++)
			if (!is_new_leafs(e, o->v[i].blob) && !is_counted(e, o, i)) {
				e->c->state.superseded_atts += o->v[i].stored_length;
				e->c->f->atts_since += o->v[i].stored_length;
			}
}
