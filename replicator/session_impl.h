/* session_impl.h: what the files of a session share. */
#ifndef REPLICATOR_SESSION_IMPL_H_
#define REPLICATOR_SESSION_IMPL_H_

#include <pthread.h>
#include "base/arena.h"
#include "replicator/checkpoint.h"
#include "replicator/session.h"

#define SESSION_TEXTS (2u << 20) /* bytes of documents that a batch holds at a time, but for one that is larger */
#define SESSION_ROUND ((size_t)1 << 30)
#define SESSION_SINGLES 4u              /* documents of a batch that go by themselves at a time */
#define SESSION_ROWS ((size_t)64 << 20) /* bytes that a batch's changes may take */
#define SESSION_HELD 100u               /* documents that a run holds back; the next ends it */

/* A call under way.  All of a session's are in its list, so that they can be cancelled. */
struct flight {
	struct flight *next, **link; /* link NULL: not under way */
	struct session *s;
	struct peer *peer;
	struct peer_call *call;
	void (*then)(void *owner); /* behind it, under the session's lock */
	void *owner;
};

/* A place for a document that goes by itself. */
struct single {
	struct batch *b;
	struct peer_doc *doc; /* NULL: none */
	struct pipe *pipe;    /* NULL: it has no attachments */
	struct flight open_flight, put_flight;
	struct peer_open open;
	struct peer_put put;
	struct arena *open_arena, *put_arena; /* of one document */
	int ready;                            /* open.ready() was called */
	int in_full;                          /* the target lacked what a stub stands for: all attachments are sent */
};

/* Some changes on their way: what is missing, fetched, written. */
struct batch {
	struct session *s;
	struct batch *next;
	struct arena *arena; /* the changes, and what the target lacks of them */
	struct arena *round; /* documents, and what was said of them */
	struct jstr last_seq;
	struct flight flight;
	struct peer_want *wants;
	size_t nwants, asked, at; /* of those before them it is known what the target lacks; they are done */
	struct peer_diff diff;
	struct peer_fetch fetch;
	/* What was fetched: texts go together, the others by themselves. */
	struct peer_doc *texts, *singles;
	size_t ntexts, nsingles, text, single;
	size_t together; /* how many wants the target is asked for, or texts are written, at once */
	int narrowing; /* one is looked for that keeps the others from being answered: more go together once some were */
	struct peer_write write;
	struct single *places; /* SESSION_SINGLES of them, once one was wanted */
	int held;              /* some of it is not at the target, and is to come in a later run */
	int done;
};

/* The log of one end. */
struct log_end {
	struct flight flight;
	struct peer_local local;
	struct arena *arena;      /* of the present call */
	struct checkpoint *found; /* as it was at the start */
	struct buf rev;           /* as of now; empty: there is none */
	int again;                /* it was written by another, and has been read anew */
};

/* Where an end stands in what there is of both. */
enum { SOURCE, TARGET };

enum session_phase {
	SESSION_NEW,
	SESSION_INFO, /* are both ends there? */
	SESSION_LOGS, /* what do their logs say? */
	SESSION_COPYING,
	SESSION_LAST, /* the last checkpoint */
	SESSION_ENDED
};

struct session {
	struct session_config config;
	const struct rep_spec *spec;
	pthread_mutex_t lock;
	enum session_phase phase;
	struct flight *flights;
	int stopping; /* session_stop() */
	int err;      /* the first that ended it */
	struct errtext why;
	int cancelled; /* calls were told to end */
	char id[CHECKPOINT_SESSION_LEN + 1];
	struct arena *arena; /* what the start is made of */

	struct exec_job kick; /* so that ended() comes from no call of ours */
	int kicked;

	struct flight info_flight[2];
	struct peer_info info[2];
	struct peer_create create;
	int created;
	struct log_end logs[2]; /* source, target */
	struct flight filter_flight;
	struct peer_read filter_read;
	char log_id[REP_ID_LEN + 1]; /* of both logs */

	struct jstr start; /* JSON text of the sequence that it began behind; empty: from the beginning */
	struct flight read_flight;
	struct peer_changes read;
	struct batch *reading; /* what is being read, or NULL */
	struct buf next;       /* the sequence to read behind */
	int waiting;           /* for changes that are not there yet */
	int read_all;          /* one-shot: no more comes */
	size_t lost;           /* revisions that the source had no more, since the last page was begun */
	struct batch *first, **last;
	unsigned nbatches;

	struct buf through;               /* all up to it is at the target */
	int stuck;                        /* behind it something was held back: it stays */
	struct errtext held;              /* the first that was, and why; empty: nothing was */
	struct exec_job patience;         /* continuous: how long it goes on nevertheless */
	int patience_set, tired, gave_up; /* it is set; has rung; and the run has ended for it */
	struct buf noted;                 /* the logs say so */
	struct buf noting;                /* they are being told so */
	struct buf log;                   /* its text */
	struct flight commit_flight;
	struct peer_call commit;
	struct exec_job timer;
	int timer_set;
	int hurried, late; /* it was set for the end of a run that was stopped; and has rung */
	int due;           /* a checkpoint is */
	int noting_now;    /* calls for it are under way */
	struct session_stats stats;
};

/** session_flight(f, s, peer, call, then, owner): To be called before the peer's function; ${call}->arena is the caller's to set. */
void session_flight(struct flight *f, struct session *s, struct peer *peer, struct peer_call *call,
    void (*then)(void *owner), void *owner);

/** session_fail(s, err, why): The first holds. */
void session_fail(struct session *s, int err, const struct errtext *why);
/** session_held(s): Something is held back: a continuous run is to end some time. */
void session_held(struct session *s);
/** session_over(s): It is to end: nothing new begins. */
int session_over(const struct session *s);
/** session_enter(s), session_leave(s): Around what changes the session from outside a call; the latter may end it. */
void session_enter(struct session *s);
void session_leave(struct session *s);

/* session_begin.c */
/** session_info(s): Ask both ends what they are; makes the target if that is wanted.  session_logs(s): Read the logs; then s->start is known. */
void session_info(struct session *s);
void session_logs(struct session *s);

/* session_batch.c */
int session_batch_new(struct session *s, struct batch **bp) MUST_CHECK;
void session_batch_free(struct batch *b);
/** session_batch_start(b, c): Its changes have been read. */
void session_batch_start(struct batch *b, const struct peer_changes *c);
/** session_batch_idle(b): 1 if no call of it is under way. */
int session_batch_idle(const struct batch *b);
/** session_batch_round(b): All that was fetched is written: fetch more, or be done. */
void session_batch_round(struct batch *b);
/** session_batch_is_final(err): It will not do at another time either: the document, or who writes it, is at fault. */
int session_batch_is_final(int err);
/** session_batch_written(s, doc), session_batch_refused(s, doc, err, why): Count it; ${why} may be NULL. */
void session_batch_written(struct session *s, const struct peer_doc *doc);
void session_batch_refused(struct session *s, struct peer_doc *doc, int err, const struct errtext *why);
/**
 * session_batch_failed(b, doc, err, why): It may do at another time: the document is held back, where the error is its own, or the
 * run fails.
 */
void session_batch_failed(struct batch *b, const struct peer_doc *doc, int err, const struct errtext *why);
/** session_batch_lost(s): The source has a revision no more: it is passed over, and what has replaced it is read. */
void session_batch_lost(struct session *s);

/* session_singles.c */
/** session_singles_go(b): Begin what has a place; behind the last, session_batch_round(). */
void session_singles_go(struct batch *b);
int session_singles_idle(const struct batch *b);
void session_singles_free(struct batch *b);

/* session_note.c */
/** session_note(s): Write what s->through says into both logs. */
void session_note(struct session *s);

#endif
