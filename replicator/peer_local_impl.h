/* peer_local_impl.h: what the files of the local end share. */
#ifndef REPLICATOR_PEER_LOCAL_IMPL_H_
#define REPLICATOR_PEER_LOCAL_IMPL_H_

#include <pthread.h>
#include <stdatomic.h>
#include "replicator/peer_local.h"

#define LOCAL_BUCKETS 1024u

struct peer_locals {
	struct peer_locals_config config;
	pthread_mutex_t lock;
	struct local_call *waiting[LOCAL_BUCKETS]; /* by the database's name */
};

struct local {
	struct peer peer;
	struct peer_locals *locals;
	const struct peer_filter *filter;
	struct principal who; /* its strings are in this arena */
	struct arena *arena;
	atomic_ullong incarnation; /* of the database; 0: none was opened yet */
	/* Of a run that ends. */
	uint64_t goal;   /* where the database was; 0: not asked yet */
	uint64_t unseen; /* changes up to there that have not come */
};

/* A call under way; in the call's arena. */
struct local_call {
	void (*run)(struct local_call *c);
	struct local *p;
	struct peer_call *call;
	void *of;      /* the call as what it is */
	struct db *db; /* while it runs, or waits for a write */
	atomic_int cancelled;
	/* Of one that waits, under peer_locals.lock. */
	struct local_call *next, **link; /* in a list of peer_locals.waiting; link NULL: not there */
	int looking, woken;
	int looked;
	uint64_t seen; /* changes up to here were looked at */
	struct db_request req;
	void *state; /* of its file */
};

/** peer_local_begin(p, call, of, run): Have ${run} called on an executor's thread. */
void peer_local_begin(struct peer *p, struct peer_call *call, void *of, void (*run)(struct local_call *c));
/** peer_local_again(c): The same once more. */
void peer_local_again(struct local_call *c);
/** peer_local_open(c): Have c->db. */
int peer_local_open(struct local_call *c) MUST_CHECK;
/** peer_local_end(c, err): The call is done. */
void peer_local_end(struct local_call *c, int err);
/** peer_local_dup(a, from, out): A copy in ${a}. */
int peer_local_dup(struct arena *a, struct jstr from, struct jstr *out) MUST_CHECK;

/* peer_local_docs.c */
void peer_local_diff(struct peer *p, struct peer_diff *c);
void peer_local_read(struct peer *p, struct peer_read *c);
void peer_local_fetch(struct peer *p, struct peer_fetch *c);
void peer_local_open_doc(struct peer *p, struct peer_open *c);
/* peer_local_write.c */
void peer_local_write(struct peer *p, struct peer_write *c);
void peer_local_put_doc(struct peer *p, struct peer_put *c);
void peer_local_put_local(struct peer *p, struct peer_local *c);

#endif
