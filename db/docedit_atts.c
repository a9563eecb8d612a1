/*
 * How much of attachments was superseded: what a compaction would drop of `blobs`, about.
 *
 * When a revision is superseded, its attachments stay until compaction drops its body.  Those that the document's new leaves
 * have as well will be there then too; the others are added to state.superseded_atts.  Where a later leaf has such bytes
 * again, one of its superseded ancestors has them, and they are subtracted.  It is an estimate, for whether a compaction is
 * worth its while, and for the bytes that a database is said to need.  What other documents, or other leaves, have of the
 * same bytes, or what is kept for merging, is counted although it will not go, until a compaction has seen all documents.
 */
#include <stdlib.h>

#include "docedit_impl.h"

#define LOOK_BACK 100u                     /* ancestors that are looked at for attachments that a leaf has again, */
#define LOOK_BACK_BYTES ((size_t)16 << 20) /* and what is read of them; one more may be */
#define LOOK_BACK_MEM ((size_t)16 << 20)   /* what the attachments of one may take */

/* An attachment of a new leaf that was here already, and that no leaf had which it supersedes. */
struct taken {
	uint64_t blob;
	uint64_t len; /* 0: no longer counted as superseded */
};

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

static int
is_old_leafs(const struct docedit *e, uint64_t blob)
{
	for (const struct oldatts *o = e->oldatts; o != NULL; o = o->next)
		for (size_t i = 0; i < o->n; i++)
			if (o->v[i].blob == blob)
				return 1;
	return 0;
}

static int
by_blob(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return (x->blob > y->blob) - (x->blob < y->blob);
}

static size_t
gather_taken(const struct docedit *e, struct taken *v)
{
	size_t n = 0;

	for (size_t i = 0; i < e->npend; i++) {
		const struct db_write *w = e->pend[i].leaf ? e->pend[i].w : NULL;
		const struct prepared *prep = w != NULL ? w->prepared : NULL;

		for (size_t k = 0; w != NULL && k < w->natts; k++)
			if (!blob_commit_is_new(e->c, prep->atts[k].blob) && !is_old_leafs(e, prep->atts[k].blob))
				v[n++] = (struct taken){prep->atts[k].blob, prep->atts[k].stored_length};
	}
	qsort(v, n, sizeof(*v), by_blob);
	return n;
}

static uint64_t
less(uint64_t sum, uint64_t len)
{
	return sum > len ? sum - len : 0;
}

/* uncount: Of what was taken, a superseded revision has these; equal bytes count once. */
static void
uncount(struct docedit *e, const struct doc_att *atts, size_t natts, struct taken *v, size_t n)
{
	for (size_t i = 0; i < natts; i++) {
		const struct taken key = {.blob = atts[i].blob};
		struct taken *t = bsearch(&key, v, n, sizeof(*v), by_blob);

		if (t == NULL)
			continue;
		e->c->state.superseded_atts = less(e->c->state.superseded_atts, t->len);
		e->c->f->atts_since = less(e->c->f->atts_since, t->len);
		t->len = 0;
	}
}

/* look_back: At the nearest ancestors that still have bodies.  One that can't be read is passed over: this is an estimate. */
static void
look_back(struct docedit *e, struct revpos at, struct taken *v, size_t n, struct arena *a)
{
	size_t left = LOOK_BACK_BYTES;

	for (unsigned i = 0; i < LOOK_BACK && left > 0 && revtree_parent(e->t, at, &at); i++) {
		uint64_t body = revtree_at(e->t, at)->body;
		struct doc_att *atts;
		size_t natts;
		struct bytes r;

		if (body < REVTREE_BODY_FIRST || snap_payload(e->c->snap, body, &r) != 0)
			continue;
		left -= bytes_left(&r) < left ? bytes_left(&r) : left;
		if (payload_atts(&r, a, &atts, &natts) == 0)
			uncount(e, atts, natts, v, n);
		arena_reset(a);
	}
}

/* retake: What new leaves have again of what was superseded. */
static void
retake(struct docedit *e)
{
	struct taken *v = NULL;
	struct arena *a;
	size_t n = 0;

	for (size_t i = 0; i < e->npend; i++)
		n += e->pend[i].leaf && e->pend[i].w != NULL ? e->pend[i].w->natts : 0;
	if (n == 0 || !e->existed || (v = arena_calloc(e->c->doc_a, n, sizeof(*v))) == NULL ||
	    (n = gather_taken(e, v)) == 0 || arena_new(LOOK_BACK_MEM, &a) != 0)
		return;
	for (size_t i = 0; i < e->npend; i++)
		if (e->pend[i].leaf && e->pend[i].w != NULL)
			look_back(e, e->pend[i].at, v, n, a);
	arena_free(a);
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
	retake(e);
}
