/*
 * replicator.h: the replications of one server: those that requests ask for, and those that documents of replicator
 * databases describe; when each runs; and what they tell.
 *
 * No call waits, but for replicator_free().  Replications run on the executor.
 */
#ifndef REPLICATOR_REPLICATOR_H_
#define REPLICATOR_REPLICATOR_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"
#include "db/db.h"
#include "replicator/peer_local.h"
#include "replicator/spec.h"

struct replicator;
struct httpc_loop;

/* How jobs are run.  0: the value given. */
struct replicator_limits {
	unsigned max_jobs;    /* at a time; 500 */
	unsigned max_churn;   /* of those, so many make room for others at a time; 20 */
	uint64_t interval_ms; /* and so often; 60,000 */
	unsigned max_history; /* events that are remembered of a job; 20 */
	uint64_t jitter_ms;   /* at the start of the server jobs begin spread over so long; 5,000 */
	uint64_t backoff_ms;  /* behind a first failure; doubles with each; 30,000 */
};

struct replicator_config {
	struct dbs *dbs; /* borrowed, as all */
	struct executor *ex;
	struct executor *slow; /* for filters; NULL: ${ex} */
	const char *node;      /* this server's name, for reports */
	struct rep_defaults defaults;
	struct replicator_limits limits;
	struct peer_judge judge;
	/*
	 * Who the owner ${name} of a replication document is now, in ${a}'s memory.  Errors: ERR_MISSING: nobody.  NULL: owners have no roles.
	 * May wait.
	 */
	int (*account)(void *cookie, const char *name, struct arena *a, struct principal *out);
	/* An end behind HTTP.  NULL: there are none. */
	int (*remote)(void *cookie, const struct rep_spec *spec, const struct rep_end *end,
	    const struct peer_filter *filter, uint64_t owner, struct peer **pp, struct errtext *why);
	void *cookie;
};

int replicator_new(const struct replicator_config *config, struct replicator **rp) MUST_CHECK;
/** replicator_start(r): Read the replication documents, and run them.  Errors: those of dbs_list(). */
int replicator_start(struct replicator *r) MUST_CHECK;
/** replicator_stop(r): All runs end soon, with a checkpoint.  replicator_free(r): Waits until they have.  NULL is allowed. */
void replicator_stop(struct replicator *r);
void replicator_free(struct replicator *r);

/** replicator_moved(r, name, seq, dropped): For dbs_config.moved. */
void replicator_moved(struct replicator *r, const char *name, uint64_t seq, int dropped);

/** replicator_is_database(name, len): 1 for _replicator and what ends in /_replicator. */
int replicator_is_database(const char *name, size_t len);

/* ---- Requests ---- */

/* Called once, on an executor's thread: err 0 and the JSON object that is the answer; or an error with its reason. */
typedef void replicator_done_f(void *cookie, int err, const struct errtext *why, struct jstr answer);

/**
 * replicator_run(r, body, who, done, cookie, b, why): What a POST of ${body} to _replicate asks ${who} may have.  Returns 0: ${done} will be
 * called at its end.  ERR_END: it is continuous, or a cancellation, or "dry_run": true (nothing begins, the answer tells the id), and done with: ${b} has the
 * answer, and *${statusp} its status.  Other errors, with
 * CouchDB's words: ERR_BAD_REQUEST, ERR_MISSING (nothing to cancel), ERR_UNAUTHORIZED (another's), ERR_NOMEM.
 */
int replicator_run(struct replicator *r, struct jstr body, const struct principal *who, replicator_done_f *done,
    void *cookie, struct buf *b, int *statusp, struct errtext *why) MUST_CHECK;

/* ---- Documents ---- */

/**
 * replicator_check(r, body, why): May a replication document have this body (JSON object without underscore members but
 * _replication_*)?  Errors: ERR_BAD_REQUEST with the parser's words, ERR_NOMEM.
 */
int replicator_check(struct replicator *r, struct jstr body, struct errtext *why) MUST_CHECK;

/* ---- Reports: each appends JSON ---- */

/** replicator_put_jobs(r, skip, limit, b): The answer of _scheduler/jobs. */
int replicator_put_jobs(struct replicator *r, uint64_t skip, uint64_t limit, struct buf *b) MUST_CHECK;
/** replicator_put_job(r, id, b): One of them.  Errors: ERR_MISSING. */
int replicator_put_job(struct replicator *r, struct jstr id, struct buf *b) MUST_CHECK;
/**
 * replicator_put_docs(r, database, states, skip, limit, b): The answer of _scheduler/docs and _scheduler/docs/DATABASE (empty: of all), of documents in one of
 * the ${states}, names with commas; empty: all.
 */
int replicator_put_docs(struct replicator *r, struct jstr database, struct jstr states, uint64_t skip, uint64_t limit,
    struct buf *b) MUST_CHECK;
/** replicator_put_doc(r, database, id, b): One of them.  Errors: ERR_MISSING. */
int replicator_put_doc(struct replicator *r, struct jstr database, struct jstr id, struct buf *b) MUST_CHECK;
/** replicator_put_tasks(r, b): Elements of _active_tasks for those that run, each with a comma before it. */
int replicator_put_tasks(struct replicator *r, struct buf *b) MUST_CHECK;

/* For statistics. */
struct replicator_count {
	uint64_t jobs, running, pending, crashing;
	uint64_t starts, crashes, completed, failed; /* since the server began */
};
void replicator_count(struct replicator *r, struct replicator_count *out);

#endif
