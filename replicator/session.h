/*
 * session.h: one run of one replication: from its checkpoint to the end of the source's changes or, where it is
 * continuous, until it is stopped or fails.  A state machine: it starts no thread and never waits.
 */
#ifndef REPLICATOR_SESSION_H_
#define REPLICATOR_SESSION_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "replicator/peer.h"
#include "replicator/spec.h"

struct session;

/* What it did, in this run. */
struct session_stats {
	uint64_t checked; /* revisions that the target was asked about: missing_checked, revisions_checked */
	uint64_t missing; /* that it lacked: missing_found */
	uint64_t read;
	uint64_t written;
	uint64_t
	    failures; /* documents that the target refused, or that are beyond what is kept here: doc_write_failures */
	uint64_t bulk_docs, bulk_attempts;
	uint64_t bytes;      /* of texts and attachments that were written */
	int64_t pending;     /* changes behind the last that was read; -1: not known */
	uint64_t retry_ms;   /* an end asked to be left alone for so long */
	uint64_t started_us; /* since 1970 */
	uint64_t updated_us;
	uint64_t held;          /* documents that could not be copied now, and are to come in a later run */
	uint64_t held_ms;       /* by the executor's clock: the first of them */
	char held_id[64];       /* its id, as much as fits */
	struct errtext refusal; /* of the last of ${failures} and ${held}: its id, and why; empty: there is none */
};

struct session_config {
	const struct rep_spec *spec; /* borrowed until it ended */
	struct peer *source;         /* the session's; closed when it ends */
	struct peer *target;
	struct executor *ex;
	uint64_t stop_ms; /* that the last checkpoint of a run that is stopped may take; 0: 5,000 */
	uint64_t hold_ms; /* that a continuous run goes on at least behind the first document that it holds back */
	/*
	 * Once, on an executor's thread.  err 0: all is copied; ERR_HELD_BACK: all but what ${why} names the first of; ERR_CANCELLED:
	 * session_stop().  ${why} is for people.  The session may be freed in it.
	 */
	void (*ended)(void *cookie, struct session *s, int err, const struct errtext *why);
	/* Documents refused for good: each is told of, if this is not NULL.  Quick. */
	void (*refused)(void *cookie, const struct peer_doc *doc);
	void *cookie;
};

/** session_new(config, sp), session_start(s): ended() comes once after the latter. */
int session_new(const struct session_config *config, struct session **sp) MUST_CHECK;
void session_start(struct session *s);
/** session_stop(s): End soon, with a checkpoint of what is done.  Any thread; before ended() has returned. */
void session_stop(struct session *s);
/** session_free(s): It has ended, or was never started. */
void session_free(struct session *s);

/** session_stats(s, out): Any thread. */
void session_stats(struct session *s, struct session_stats *out);
/** session_seqs(s, b): Append "checkpointed_source_seq":...,"source_seq":...,"through_seq":... as JSON members; null where there is none.  Any thread. */
int session_seqs(struct session *s, struct buf *b);
/** session_idle(s): 1 if it waits for changes and has nothing to do.  Any thread. */
int session_idle(struct session *s);
/**
 * session_result(s, b): Append what `_replicate` answers for a run that ended well, as JSON object.  In ended() or behind it.
 */
int session_result(struct session *s, struct buf *b);

#endif
