/*
 * checkpoint.h: the _local documents in which both ends of a replication note how far it came, as CouchDB and PouchDB
 * write them.
 */
#ifndef REPLICATOR_CHECKPOINT_H_
#define REPLICATOR_CHECKPOINT_H_

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "replicator/session.h"

#define CHECKPOINT_HISTORY 50u /* runs that are remembered */
#define CHECKPOINT_SESSION_LEN 32u

/* Opaque: a log as it was read. */
struct checkpoint;

/**
 * checkpoint_read(text, cp): ${text} is the document, or empty: there is none.  What is no log counts as none.  Errors: ERR_NOMEM.
 */
int checkpoint_read(struct jstr text, struct checkpoint **cp) MUST_CHECK;
/** checkpoint_free(c): NULL is allowed. */
void checkpoint_free(struct checkpoint *c);

#define CHECKPOINT_FILTER_LEN 32u

/**
 * checkpoint_filter(ddoc, name, out): A digest of the function filters[${name}] in the design document's text ${ddoc}, terminated; "" if
 * there is none.  Errors: ERR_NOMEM.
 */
int checkpoint_filter(struct jstr ddoc, struct jstr name, char out[CHECKPOINT_FILTER_LEN + 1]) MUST_CHECK;
/** checkpoint_is_zero(seq): 1 if ${seq}, JSON text, is one before all changes. */
int checkpoint_is_zero(struct jstr seq);

/**
 * checkpoint_common(source, target, a, seqp): JSON text of the sequence that both have noted last, in ${a}; empty: they have nothing in
 * common, begin at the beginning.  Errors: ERR_NOMEM.
 */
int checkpoint_common(
    const struct checkpoint *source, const struct checkpoint *target, struct arena *a, struct jstr *seqp) MUST_CHECK;

/* What is to be noted. */
struct checkpoint_note {
	const char *session;
	int by_ids; /* the replication is of doc_ids: its log says more at the top */
	uint64_t now_us;
	struct jstr start; /* JSON text of the sequence that this run began behind; empty: 0 */
	struct jstr seq;   /* and of the one that it has come to */
	const struct session_stats *stats;
};

/** checkpoint_write(source, target, note, b): Append the new log, a JSON object, whose past is what both remember. */
int checkpoint_write(const struct checkpoint *source, const struct checkpoint *target,
    const struct checkpoint_note *note, struct buf *b) MUST_CHECK;

/** checkpoint_members(c, b): Append the log's members as they were read, each with a comma before it, but for those of every document. */
int checkpoint_members(const struct checkpoint *c, struct buf *b) MUST_CHECK;

#endif
