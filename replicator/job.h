/* job.h: what the files of the scheduler share. */
#ifndef REPLICATOR_JOB_H_
#define REPLICATOR_JOB_H_

#include <pthread.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/heap.h"
#include "replicator/replicator.h"
#include "replicator/session.h"

#define JOB_BUCKETS 4096u
#define JOB_EVENTS 20u /* that are kept at most */

enum job_state {
	JOB_PENDING,   /* is to run when there is room */
	JOB_RUNNING,   /* has a session */
	JOB_CRASHING,  /* failed; is to run again later */
	JOB_COMPLETED, /* of a document: it is done */
	JOB_FAILED     /* of a document: it can't be run */
};

enum job_event_kind { EVENT_ADDED, EVENT_STARTED, EVENT_STOPPED, EVENT_CRASHED };

struct job_event {
	enum job_event_kind kind;
	uint64_t at_us;
	char *reason; /* of a crash; or NULL */
};

/* A request that waits for a job's end. */
struct waiter {
	struct waiter *next;
	replicator_done_f *done;
	void *cookie;
};

/* A replication. */
struct job {
	struct replicator *r;
	struct job *next, **link; /* all of them */
	struct job *hash_next;    /* by id */
	struct job *doc_next;     /* by document */
	struct arena *arena;      /* of what follows, up to the state */
	struct rep_spec spec;     /* spec.id NULL: it could not be read */
	struct principal who;
	struct jstr database, doc; /* where it is described; empty: in a request */
	struct rev doc_rev;
	struct buf source_shown, target_shown;
	struct waiter *waiters; /* requests that are answered at its end */

	enum job_state state;
	int removed; /* it is to go when it has ended */
	int listed;  /* it is in the table of ids: it may run */
	int behind;  /* FAILED: it is in the table of ids, too, and follows who is listed there */
	int telling; /* its document is being told how it ended */
	int resting; /* it was stopped to make room */
	struct session *session;
	struct exec_job launch;  /* RUNNING without a session, or telling: this is on its way */
	unsigned errors;         /* in a row, but for runs that held a document back: */
	unsigned holds;          /* those, since the last that went well for a while */
	char held_id[64];        /* what the last of them held back first, as session_stats have it */
	unsigned untold;         /* COMPLETED, FAILED: so often its document could not be told */
	uint64_t due_ms;         /* PENDING, CRASHING: not before */
	struct heap_place place; /* PENDING, CRASHING: in r->later or r->ready, unless one of its id is about to go;
				   * COMPLETED, FAILED: in r->later, if its document is to be told again */
	uint64_t started_ms;
	uint64_t hold_ms; /* that a continuous run goes on behind a document that it holds back */
	uint64_t added_us, updated_us;
	struct job_event events[JOB_EVENTS]; /* newest first */
	unsigned nevents;
	struct session_stats stats; /* of the last run */
	struct buf seqs;            /* as session_seqs() had them, or empty */
	char reason[ERRTEXT_MAX + 64];
	struct jstr
	    told; /* JSON object: what its document says of a run that ended before the server began; or empty */
};

/* A replicator database that is watched. */
struct watched {
	struct watched *next;
	struct replicator *r;
	char *name;
	struct exec_job job;
	int busy;             /* the job runs, is about to, or rests */
	int rests;            /* reading failed, and is tried again after a while */
	int again;            /* there is more since */
	int starting;         /* what is read now was there when the server began */
	uint64_t seen;        /* changes up to here were read, */
	uint64_t purged;      /* and purges up to here, */
	uint64_t incarnation; /* of this one */
};

struct replicator {
	struct replicator_config config;
	pthread_mutex_t lock;
	pthread_cond_t quiet; /* a run ended, or a job of ours */
	struct peer_locals *locals;
	struct job *jobs;
	struct job *by_id[JOB_BUCKETS], *by_doc[JOB_BUCKETS];
	struct watched *watched;
	struct replicator_count count;
	struct heap later; /* whose time has not come, by due_ms */
	struct heap ready; /* in the order in which it came */
	uint64_t turns;    /* that were given in ready */
	unsigned busy;     /* jobs of the executor and calls that are under way */
	int stopping;
	struct exec_job timer;
	int timer_set;
	uint64_t timer_ms;
	uint64_t rested_ms; /* when some made room last */
	uint64_t next_owner;
};

/* All under r->lock but where it is said. */

/** job_new(r, jp): With an arena, in no table. */
int job_new(struct replicator *r, struct job **jp) MUST_CHECK;
/** job_read(j, text, why): Fill the description from the JSON ${text}.  Without the lock.  Errors: spec_parse()'s. */
int job_read(struct job *j, struct jstr text, struct errtext *why) MUST_CHECK;
/** job_add(j): Put it into the tables, to run at j->due_ms.  Errors: ERR_CONFLICT: one of that id is there, which is not about to go; ERR_NOMEM. */
int job_add(struct job *j) MUST_CHECK;
/** job_add_behind(j, reason): The same for one of a document whose id another has: it counts as failed for that reason until the other is gone, and is to run then.  Errors: ERR_NOMEM. */
int job_add_behind(struct job *j, const char *reason) MUST_CHECK;
/** job_add_dead(j, state, reason): The same for one that is not to run. */
void job_add_dead(struct job *j, enum job_state state, const char *reason);
struct job *job_find(struct replicator *r, const char *id, size_t len);
struct job *job_of_doc(struct replicator *r, struct jstr database, struct jstr doc);
/** job_remove(j): It ends soon, and is gone then; at once, if it does not run. */
void job_remove(struct job *j);
/** job_snapshot(j): Take stats and seqs of its session, if it has one. */
void job_snapshot(struct job *j);
/** job_schedule(r): Start what is due and has room; set the timer for what is not. */
void job_schedule(struct replicator *r);
/** job_tell(j): Have its document told how it ended. */
void job_tell(struct job *j);
/** job_told(j, err): Without the lock: that is done; or it could not be, and is tried again if that may help. */
void job_told(struct job *j, int err);

/* documents.c */
/** documents_moved(r, name), documents_start(r): Without the lock: read what has changed, in one database or in all.  Errors: dbs_list()'s. */
void documents_moved(struct replicator *r, const char *name);
int documents_start(struct replicator *r) MUST_CHECK;
/** documents_stop(r): No reading is tried again. */
void documents_stop(struct replicator *r);
void documents_free(struct replicator *r);
/** documents_tell(j): Write its final state into its document soon; job_told() comes when that is done. */
void documents_tell(struct job *j);

/* report.c */
/** report_info(j, b): The object `info`, without the lock if the job is the caller's. */
int report_info(const struct job *j, struct buf *b);
int report_time(struct buf *b, uint64_t us);

#endif
