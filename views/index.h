/* index.h: an index: its file, what defines it, how far it is built.  Private to views/. */
#ifndef VIEWS_INDEX_H_
#define VIEWS_INDEX_H_

#include <pthread.h>
#include <stdatomic.h>
#include "base/arena.h"
#include "ddoc.h"
#include "known.h"
#include "mango_lists.h"
#include "rows.h"
#include "store/counts.h"
#include "sums.h"
#include "views.h"

#define INDEX_NAME KNOWN_NAME /* bytes of a file's name in the store, with its NUL */
#define INDEX_HISTORY 64u     /* bytes of a history's text at most */
#define INDEX_OPEN 64u        /* files that stay open though nobody reads, */
#define INDEX_IDLE_MS 60000u  /* for about so long: an open one keeps memory of its largest commit */
#define INDEX_PREFIX 33u      /* bytes of what the names of a database's files begin with, with its NUL */
#define INDEX_EARLIER 16u     /* revisions of a design document whose indexes are looked for */

/*
 * A document that functions failed for; the next step need not pay for it again.  Its sequence names one revision: another
 * one may pass.
 */
struct index_failure {
	uint64_t seq; /* of the document; 0: there is none; INDEX_ALL: the functions cannot be loaded */
	uint64_t until_ms;
	int err;
	struct errtext why;
	char error[64];
};
#define INDEX_ALL UINT64_MAX
#define INDEX_FAILED_MS 20000u /* how long that is taken for granted */

/*
 * Reductions that are found out behind an update.  Where a child dies or takes too long, nothing is stored, and it is tried again by an update after
 * a while, which is twice as long each time; from the third time on it is for good as long as that while lasts, so that the others are kept.
 */
struct index_settling {
	unsigned failed;   /* times in a row */
	uint64_t until_ms; /* not before */
	struct sums_bad bad;
};

#define INDEX_DOC_KEY 16u /* bytes of a document's key in tree docs */

/* The search for documents that are gone, where their purges were forgotten; of several steps, or of none. */
struct index_lost {
	uint64_t purge_seq;              /* up to this one; 0: it is not under way */
	unsigned char at[INDEX_DOC_KEY]; /* where it goes on */
};

/* What the file says of itself; rewritten by every commit. */
struct index_head {
	uint64_t salt; /* of counts.h and sums.h */
	uint64_t seq;  /* of the database: what the rows show */
	uint64_t purge_seq;
	int ready; /* it has shown all that its database had, once */
};

struct view_index {
	struct views *views;
	char name[INDEX_NAME];
	char *database;
	char history[INDEX_HISTORY]; /* of the database, as its sequences have it: another one has other indexes */
	struct arena *arena;         /* what follows, as long as it is open */
	struct ddoc ddoc;
	int partitioned; /* rows of a partition are together */
	char signature[2 * MD5_LEN + 1];
	struct jstr program;       /* of its functions */
	struct jstr design;        /* the id of a design document that defines it */
	struct known_key revision; /* of that, as it was when the index was opened */
	struct store_db *store;

	/* Under views.lock. */
	unsigned refs;
	uint64_t idle_ms; /* since when there are none */
	int compacting;   /* or waits for that */
	int busy;         /* it is being opened or closed, or its file removed */
	int gone; /* its file is removed, or is open no more: who has it open reads on if that can be, another one takes its name */
	struct view_index *next; /* in views.all, the last used first */

	/* Under lock. */
	pthread_mutex_t lock;
	struct index_head head;
	uint64_t seen; /* the last sequence of the newest snapshot of the database that a step had */
	struct view_wait *waiting;
	int updating; /* its job is given, or runs */
	int wanted;   /* somebody wants it up to date, without waiting */
	struct db_task task;

	/* The updater's. */
	struct bulk *bulk; /* the first build, as long as it is not written */
	struct index_failure failure;
	struct index_settling settling;
	struct index_lost lost;
	size_t batch_docs;            /* in a batch, as the rows of more were too much; 0: STEP_DOCS */
	int untidy;                   /* a design document has changed: there may be files that nothing defines */
	size_t careful;               /* so many documents are sent one by one */
	size_t message_docs;          /* in a message, as many rows came of those in the last; 0: nothing is known */
	_Atomic uint64_t waste_floor; /* only more than that is worth a compaction */
	uint64_t died_seq;            /* of the document that a child died of last */
	struct exec_job job;
	struct view_index *next_update; /* in a queue of the views */
};

/* Updates that wait for their turn. */
struct update_queue {
	struct view_index *first, **end;
};

struct views {
	struct views_config config;
	char *folder;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct view_index *all;
	struct known known;
	struct mango_lists lists;
	struct update_queue fresh, going; /* those that begin, and those that go on: they take turns */
	int passed;                       /* the last one began, while others were to go on */
	unsigned nupdates;
	_Atomic unsigned nbulks;
	unsigned nremovals;             /* jobs that remove files */
	struct background *background;  /* NULL: there is none */
	struct removal *cleanups;       /* that have not begun */
	struct compaction *compactions; /* that run or wait, the oldest first */
	unsigned ncompactions;
	struct exec_job closer; /* closes what nobody reads, where there are too many */
	struct exec_job tidier; /* and what nobody has read for long */
	int closer_set, tidier_set;
	_Atomic int closing;
	_Atomic int reduce_limit; /* enum views_reduce_limit */
};

/** index_counts(salt, out): The counts of an index's rows. */
void index_counts(uint64_t salt, struct counts_of *out);
/** index_head_record(h, out): What stands in the tree meta at this key, with its checksum. */
#define INDEX_HEAD_KEY "head"
#define INDEX_HEAD (25u + 4u)
void index_head_record(const struct index_head *h, unsigned char out[INDEX_HEAD]);
/** index_head_put(batch, h), index_head_get(snap, h). */
int index_head_put(struct store_batch *batch, const struct index_head *h) MUST_CHECK;
int index_head_get(struct store_snap *snap, struct index_head *h) MUST_CHECK;

/** index_doom(ix): Its file goes, and nobody opens it any more; under the lock of the views, which is given up meanwhile. */
void index_doom(struct view_index *ix);
/** index_damaged(ix, err): ${err}; if it says that the file is damaged, whoever opens the index next builds it anew. */
int index_damaged(struct view_index *ix, int err);
/**
 * index_settled(ix, err): ${err} of a commit of the updater's; where that is in doubt, ERR_IO, and the file is read again: who updates next goes on
 * from what it says.  If that cannot be read, whoever opens the index next opens it, or builds it anew.
 */
int index_settled(struct view_index *ix, int err);
/** index_reopen(ix): As store_reopen(); where nothing can be read behind it, whoever opens the index next opens its file. */
int index_reopen(struct view_index *ix) MUST_CHECK;
/** index_unref(ix): Somebody is done with it; under the lock of the views.  What is to be closed, a job closes. */
void index_unref(struct view_index *ix);

/** index_prefix(database, out): What the names of its files begin with. */
void index_prefix(const char *database, char out[INDEX_PREFIX]);
/** index_drop_file(v, name): Remove it.  It is nobody's business any more, so a failure is logged. */
void index_drop_file(struct views *v, const char *name);
/**
 * index_new(v, db, database, ddoc, nth, ip), index_free(ix): What a design document defines, or its revision ${nth} before the winner, not opened yet.
 * Errors: as views_open(); ERR_END: there is no such revision.  index_is_none(err): 1 if that says that it defines none, as far as that matters to others.
 */
int index_new(struct views *v, struct db *db, const char *database, struct jstr ddoc, size_t nth,
    struct view_index **ip) MUST_CHECK;
void index_free(struct view_index *ix);
int index_is_none(int err);
/** index_open_ready(v, fresh, ip): ${fresh}, which is taken, or the same that is open already; ERR_NO_DB unless it is there and has been ready. */
int index_open_ready(struct views *v, struct view_index *fresh, struct view_index **ip) MUST_CHECK;
/** index_find(v, name): Where the index of that name stands; one whose file is gone has none, once it is gone.  Under the lock. */
struct view_index **index_find(struct views *v, const char *name);

/** cleanup_later(ix): Have files removed that its database needs no more; a job. */
void cleanup_later(struct view_index *ix);
/** cleanup_sweep_later(v): Have the files removed of databases that are not there; a job.  Before anybody uses ${v}. */
void cleanup_sweep_later(struct views *v);

/** update_step(ix): One batch of an update; a job. */
void update_step(void *ix);

#endif
