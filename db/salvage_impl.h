/*
 * salvage_impl.h: what the parts of db_salvage_copy() share: salvage.c walks the pile, salvage_docs.c reads what is left of a document,
 * salvage_lost.c says what is not, salvage_write.c writes and tells.  Private to them.
 */
#ifndef DB_SALVAGE_IMPL_H_
#define DB_SALVAGE_IMPL_H_

#include <pthread.h>
#include "db/salvage.h"
#include "dbi.h"

#define SALVAGE_WRITES 256u
#define SALVAGE_BLOBS 64u               /* and those of one revision more */
#define SALVAGE_BYTES ((size_t)8 << 20) /* of a transaction, about */

struct salvage {
	struct db_snap *snap; /* of the pile */
	struct db *to;
	struct db_salvage *out;
	struct arena *a;      /* documents' whose writes wait */
	struct arena *bodies; /* the batch's: contents, ids in messages */
	struct db_write writes[SALVAGE_WRITES];
	size_t nwrites;
	struct db_blob *blobs[SALVAGE_BLOBS + LIMIT_ATTACHMENTS];
	size_t nblobs;
	size_t bytes;
	uint64_t batches; /* committed */
	uint64_t deep;    /* records in docs_deep that were reached */
	/* a request on its way */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done, err;
};

/* An id for "%.*s". */
#define SALVAGE_ID(id) (int)((id).len < LIMIT_ID_LEN ? (id).len : LIMIT_ID_LEN), (id).s

/* salvage_is_lost: What cannot be read, or is not there; any other error is no matter of one document. */
static inline int
salvage_is_lost(int err)
{
	return err == ERR_CORRUPT || err == ERR_MISSING;
}

/* salvage_write.c */

/** salvage_tell(s, fmt, ...), salvage_tell_doc(s, id, how): A loss; of a whole document. */
void salvage_tell(struct salvage *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void salvage_tell_doc(struct salvage *s, struct jstr id, const char *how);
/** salvage_rev_text(s, r): "N-HASH", until the batch is committed. */
const char *salvage_rev_text(struct salvage *s, const struct rev *r);
/** salvage_submit(s, writes, n): Have them written.  Errors: what is no matter of one write; of each, its own err. */
int salvage_submit(struct salvage *s, struct db_write *writes, size_t n) MUST_CHECK;
/** salvage_is_full(s), salvage_commit(s): Is the batch large enough; write it, and forget it.  Errors: as above. */
int salvage_is_full(const struct salvage *s);
int salvage_commit(struct salvage *s) MUST_CHECK;
/** salvage_flush(s, b): Have what is pending of an attachment written.  Errors: ERR_IO, ERR_NOSPACE, ERR_NOMEM. */
int salvage_flush(struct salvage *s, struct db_blob *b) MUST_CHECK;

/* salvage_docs.c */

/**
 * salvage_put_doc(s, id, tree, key, val): Add to the batch what is left of a document; ${key} and ${val}, its record, live as long
 * as s->a.  Errors: what is no matter of this document.
 */
int salvage_put_doc(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key,
    const struct store_val *val) MUST_CHECK;

/* salvage_lost.c */

/** salvage_check_lost(s): Tell every document of which it can be said that it is lost.  Errors: ERR_NOMEM, ERR_IO. */
int salvage_check_lost(struct salvage *s) MUST_CHECK;
/** salvage_check_counts(s, state): Tell what is lost without a name, of what ${state} counted.  Errors: as db_info(). */
int salvage_check_counts(struct salvage *s, const struct dbstate *state) MUST_CHECK;

#endif
