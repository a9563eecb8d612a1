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

#define LOOK_BACK 100u /* ancestors of a leaf that are looked at for attachments that it has again, */
#define LOOK_BACK_BYTES ((size_t)16 << 20) /* and what is read of all of them; one more may be, */
#define LOOK_BACK_EACH ((size_t)1 << 10)   /* where each counts so much more */
#define LOOK_BACK_MEM ((size_t)16 << 20)   /* what the attachments of one may take */

/* The bytes of an attachment.  Equal ones are stored once. */
struct stored {
	uint64_t blob;
	uint64_t len; /* 0: of a new leaf's, not to be subtracted, or not any longer */
};

/* In order of the blobs, each of them once. */
struct blobs {
	struct stored *v;
	size_t n;
};

static int
by_blob(const void *a, const void *b)
{
	const struct stored *x = a, *y = b;

	return (x->blob > y->blob) - (x->blob < y->blob);
}

static void
put_in_order(struct blobs *s)
{
	size_t n = 0;

	if (s->n > 0)
		qsort(s->v, s->n, sizeof(*s->v), by_blob);
	for (size_t i = 0; i < s->n; i++)
		if (n == 0 || s->v[n - 1].blob != s->v[i].blob)
			s->v[n++] = s->v[i];
	s->n = n;
}

static struct stored *
find(const struct blobs *s, uint64_t blob)
{
	const struct stored key = {.blob = blob};

	return s->n > 0 ? bsearch(&key, s->v, s->n, sizeof(key), by_blob) : NULL;
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

/* gather_old: What the superseded revisions have. */
static int
gather_old(const struct docedit *e, struct blobs *out)
{
	size_t n = 0;

	for (const struct oldatts *o = e->oldatts; o != NULL; o = o->next)
		n += o->n;
	if (n > 0 && (out->v = arena_calloc(e->c->doc_a, n, sizeof(*out->v))) == NULL)
		return ERR_NOMEM;
	for (const struct oldatts *o = e->oldatts; o != NULL; o = o->next)
		for (size_t i = 0; i < o->n; i++)
			out->v[out->n++] = (struct stored){o->v[i].blob, o->v[i].stored_length};
	put_in_order(out);
	return 0;
}

/* leaf_of: The write of a pending body, if its revision is a leaf. */
static const struct db_write *
leaf_of(const struct pendbody *p)
{
	return p->leaf ? p->w : NULL;
}

/* gather_new: What the leaves have that this transaction writes. */
static int
gather_new(const struct docedit *e, struct blobs *out)
{
	size_t n = 0;

	for (size_t i = 0; i < e->npend; i++)
		n += leaf_of(&e->pend[i]) != NULL ? leaf_of(&e->pend[i])->natts : 0;
	if (n > 0 && (out->v = arena_calloc(e->c->doc_a, n, sizeof(*out->v))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < e->npend; i++) {
		const struct db_write *w = leaf_of(&e->pend[i]);
		const struct prepared *prep = w != NULL ? w->prepared : NULL;

		for (size_t k = 0; w != NULL && k < w->natts; k++)
			out->v[out->n++] = (struct stored){prep->atts[k].blob, prep->atts[k].stored_length};
	}
	put_in_order(out);
	return 0;
}

static uint64_t
less(uint64_t sum, uint64_t len)
{
	return sum > len ? sum - len : 0;
}

/* uncount: Of what new leaves have again, a superseded revision has these. */
static void
uncount(struct docedit *e, const struct doc_att *atts, size_t natts, const struct blobs *again)
{
	for (size_t i = 0; i < natts; i++) {
		struct stored *t = find(again, atts[i].blob);

		if (t == NULL)
			continue;
		e->c->state.superseded_atts = less(e->c->state.superseded_atts, t->len);
		e->c->f->atts_since = less(e->c->f->atts_since, t->len);
		t->len = 0;
	}
}

/* look_back: At the nearest ancestors that still have bodies.  One that can't be read is passed over: this is an estimate. */
static void
look_back(struct docedit *e, struct revpos at, const struct blobs *again, struct arena *a, size_t *leftp)
{
	for (unsigned i = 0; *leftp > 0 && i < LOOK_BACK && revtree_parent(e->t, at, &at); i++) {
		uint64_t body = revtree_at(e->t, at)->body;
		struct doc_att *atts;
		size_t natts, cost;
		struct bytes r;

		if (body < REVTREE_BODY_FIRST || snap_payload(e->c->snap, body, &r) != 0)
			continue;
		cost = bytes_left(&r) + LOOK_BACK_EACH;
		*leftp -= cost < *leftp ? cost : *leftp;
		if (payload_atts(&r, a, &atts, &natts) == 0)
			uncount(e, atts, natts, again);
		arena_reset(a);
	}
}

/* retake: What new leaves have again of what was superseded: what was here, and no leaf had that they supersede. */
static void
retake(struct docedit *e, struct blobs *news, const struct blobs *olds)
{
	size_t left = LOOK_BACK_BYTES, n = 0;
	struct arena *a;

	for (size_t i = 0; i < news->n; i++) {
		if (blob_commit_is_new(e->c, news->v[i].blob) || find(olds, news->v[i].blob) != NULL)
			news->v[i].len = 0;
		n += news->v[i].len > 0;
	}
	if (n == 0 || !e->existed || arena_new(LOOK_BACK_MEM, &a) != 0)
		return;
	for (size_t i = 0; i < e->npend; i++)
		if (leaf_of(&e->pend[i]) != NULL)
			look_back(e, e->pend[i].at, news, a, &left);
	arena_free(a);
}

void
docedit_atts_settle_(struct docedit *e)
{
	struct blobs olds = {NULL, 0}, news = {NULL, 0};

	if (gather_old(e, &olds) != 0 || gather_new(e, &news) != 0)
		return;
	for (size_t i = 0; i < olds.n; i++)
		if (find(&news, olds.v[i].blob) == NULL) {
			e->c->state.superseded_atts += olds.v[i].len;
			e->c->f->atts_since += olds.v[i].len;
		}
	retake(e, &news, &olds);
}
