/* docedit_impl.h: what docedit*.c share: one document within one transaction. */
#ifndef DB_DOCEDIT_IMPL_H_
#define DB_DOCEDIT_IMPL_H_

#include "dbi.h"

/* A node's body that has no place yet: this plus an index into docedit.pend. */
#define DOCEDIT_PENDING (UINT64_C(1) << 62)

/*
 * A record above 1,950 bytes takes whole pages of the store; the rest of a record is seldom above 300 bytes,
 * so a payload up to this stays in the document's record, where one look-up finds it.
 */
#define DOCEDIT_INLINE_MAX 1400u

/* A body on its way to its place: packed in the store already (raw), or of a write. */
struct pendbody {
	struct jstr raw;
	const struct db_write *w;
	int gone;         /* its revision left the tree again */
	int leaf;         /* its revision is one, now that the tree is as it will be, */
	struct revpos at; /* and stands here until the tree is spilled */
};

/* The attachments of a revision that was superseded. */
struct oldatts {
	struct doc_att *v;
	size_t n;
	struct oldatts *next;
};

/* What a node's mark says here. */
#define DOCEDIT_WAS_LEAF 1u /* it was a leaf when the document was loaded */
#define DOCEDIT_WANTED 2u   /* compaction leaves its body */

struct docedit {
	struct commit *c;
	struct jstr id;
	struct docrec rec; /* as loaded */
	int existed;
	struct revtree *t;
	struct pendbody *pend;
	size_t npend, cap_pend;
	struct revspill *spills; /* as loaded */
	size_t nspills;
	struct oldatts *oldatts;
	uint64_t old_external;
	int changed;
	int unspilled;
	struct revsize size; /* the tree's is not above it */
	int size_rough;      /* and may be below it */
	int err;             /* of a callback */
};

/** docedit_load_(e, c, id): The document as it is stored, or an empty tree. */
int docedit_load_(struct docedit *e, struct commit *c, const struct jstr *id) MUST_CHECK;

/** docedit_unspill_(e): Bring back all revisions, if they are not there yet. */
int docedit_unspill_(struct docedit *e) MUST_CHECK;

/** docedit_distrust_(e, revs, n): Before a path from elsewhere is merged: unspill if it names what is spilled elsewhere. */
int docedit_distrust_(struct docedit *e, const struct rev *revs, size_t n) MUST_CHECK;

/** docedit_block_(e, run_id, block, r): A block of spilled revisions. */
int docedit_block_(struct docedit *e, uint32_t run_id, uint64_t block, struct bytes *r) MUST_CHECK;

/** docedit_heard_(e, w, holdsp): Does the verdict about ${w} hold, as the document is now?  docedit_heard.c. */
int docedit_heard_(struct docedit *e, const struct db_write *w, int *holdsp) MUST_CHECK;

/** docedit_pend_(e, p, bodyp): Take in a body on its way; *${bodyp} names it. */
int docedit_pend_(struct docedit *e, const struct pendbody *p, uint64_t *bodyp) MUST_CHECK;

/**
 * docedit_gone_(node, e): A revision left the tree, or what it has of bodies is not kept any longer.  An error is left
 * in e->err.
 */
void docedit_gone_(const struct revnode *node, void *e);

/** docedit_gone_number_(e, number, counted): The same for one record of `bodies`; ${counted}: as superseded. */
int docedit_gone_number_(struct docedit *e, uint64_t number, int counted) MUST_CHECK;

/** docedit_superseded_(c, number, is, len): Is a body of ${len} bytes superseded now, or is it no longer counted so? */
void docedit_superseded_(struct commit *c, uint64_t number, int is, size_t len);

/**
 * docedit_atts_note_(e, payload, len): A revision with this payload is superseded now.
 * docedit_atts_settle_(e): Once the blobs of the new leaves are known, and before the tree is spilled: count what they do
 * not have, and no longer what they have again.
 */
int docedit_atts_note_(struct docedit *e, const void *payload, size_t len) MUST_CHECK;
void docedit_atts_settle_(struct docedit *e);

/**
 * docedit_alone_(c, err, put, refs): Is ${err} of the document alone, which is damaged, or takes more memory than one may, and
 * nothing of it in the transaction, which had ${put} bytes and ${refs} references before?
 */
int docedit_alone_(const struct commit *c, int err, size_t put, size_t refs) MUST_CHECK;

/** docedit_settle_(e, seq): Bodies, spilled blocks and the record, once the tree is as it will be. */
int docedit_settle_(struct docedit *e, uint64_t seq) MUST_CHECK;

/** docedit_put_change_(e, seq): The document's row moves to its new sequence. */
int docedit_put_change_(struct docedit *e, uint64_t seq) MUST_CHECK;

/** docedit_remove_(e): Nothing is left of the document. */
int docedit_remove_(struct docedit *e) MUST_CHECK;

#endif
