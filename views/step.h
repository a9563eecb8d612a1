/* step.h: one batch of an update, from the database's changes to a commit of the index.  Private to views/. */
#ifndef VIEWS_STEP_H_
#define VIEWS_STEP_H_

#include "db/doc.h"
#include "index.h"

#define STEP_MEM ((size_t)2 << 30)
#define STEP_KEY INDEX_DOC_KEY
#define STEP_DOCS 20000u /* of a batch at most */
#define STEP_MS 1000u    /* about how long a step may take while others wait for their turn */

/* A document of a batch. */
struct changed {
	struct jstr id;
	size_t json_at, json_len; /* in the step's buffer; no length: it has no rows */
	uint64_t seq;             /* the sequence that is reached behind it */
	unsigned char key[STEP_KEY];
	struct jstr rows; /* what its functions emitted: the text of an array, or step_native_next()'s; len 0: none */
};

struct step {
	struct view_index *ix;
	struct db *db;
	struct store_batch *batch;
	struct store_snap *own; /* the index's, while documents are gathered; NULL in a first build */
	struct arena *a;        /* the batch's */
	struct arena *doc_a;    /* a document's, while it is read */
	struct changed *docs;
	size_t n, cap;
	size_t npurged;          /* the first ones are documents that were purged */
	size_t bytes;            /* of documents, */
	size_t rows_bytes;       /* of what functions emitted for them, */
	size_t held_bytes;       /* and of the rows and lists that came of that */
	struct buf json;         /* the documents, with commas between them */
	struct native *native;   /* what makes rows where no function does; NULL: functions do */
	uint64_t began_ms;       /* with native */
	uint64_t from;           /* the sequence behind which it begins */
	uint64_t seq, purge_seq; /* up to which the batch goes */
	int more;                /* there is more behind it */
	int bulk_ends;           /* what comes next is no part of the first build */
	int held;                /* nothing is committed yet */
	int unsettled;           /* there are reductions left to find out */
	int foreign;             /* what is damaged is the database: the index is as good as it was */
	struct rows_change *changes;
	size_t nchanges, cap_changes;
	struct buf sortkey, scratch, order, value, list;
	struct errtext why;
	char error[64];
};

/** step_grow(s, v, n, capp, size): A doubled copy of the array ${v}, in the batch's memory; NULL: there is none. */
void *step_grow(struct step *s, void *v, size_t n, size_t *capp, size_t size);

/** step_now(s): Milliseconds. */
uint64_t step_now(const struct step *s);

/** step_cut(s, n): The batch ends behind its first ${n} documents, which are not fewer than those that were purged. */
void step_cut(struct step *s, size_t n);

/** step_database(s, err): ${err} of a call to the database, which may set s->foreign. */
int step_database(struct step *s, int err);

/**
 * step_gather(s): The documents of the batch, and the sequences that it reaches.  Errors: also that of the document that failed a moment ago; ERR_CORRUPT,
 * with s->foreign unless it is the index's.
 */
int step_gather(struct step *s) MUST_CHECK;
/** step_map(s, scp): What functions emit for them; the batch may become shorter.  *${scp}: the child, if it is needed further; the caller closes it. */
int step_map(struct step *s, struct script **scp) MUST_CHECK;
/**
 * step_native_begin(s), step_native_end(s): Make ready what makes rows without functions.  Errors: ERR_NOMEM, ERR_INTERNAL.
 * step_native_doc(s, d, c): The rows of a document, as functions would see it, into c->rows.  Errors: ERR_BAD_JSON, ERR_NOMEM, ERR_TOO_LARGE, ERR_INTERNAL.
 * step_native_next(rows, mapp, keyp, sortkeyp): Take the next of them; a key of no bytes is cut.  0: there is none.
 */
int step_native_begin(struct step *s) MUST_CHECK;
void step_native_end(struct step *s);
int step_native_doc(struct step *s, const struct doc_out *d, struct changed *c) MUST_CHECK;
int step_native_next(struct jstr *rows, unsigned *mapp, struct jstr *keyp, struct jstr *sortkeyp);
/** step_write(s): Rows, lists of rows, counts and reductions, in one commit; the batch may become shorter, as in step_hold(). */
int step_write(struct step *s) MUST_CHECK;
/** step_hold(s): The same into the index's first build, which is written once it is whole; else s->held. */
int step_hold(struct step *s) MUST_CHECK;
/**
 * step_settle(s, scp): Reductions that are not known, once the rows are there and if it is worth a commit; s->unsettled: some are left for the next step.
 * *${scp} is the child, which may be replaced.
 */
int step_settle(struct step *s, struct script **scp) MUST_CHECK;

#endif
