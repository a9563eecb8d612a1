/*
 * dbi.h: what the files of db/ share and nobody else sees.
 *
 * A database file is opened once (struct dbfile) however many handles (struct db) it has.  Locks, in the
 * order in which they are taken: dbs.lock (the table of databases, reference counts, the list of idle ones),
 * dbfile.lock (queue, published state, security). The committer of a database runs at most once at a time;
 * what only it touches needs no lock and is marked (C).
 */
#ifndef DB_DBI_H_
#define DB_DBI_H_

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/hash.h"
#include "db/body.h"
#include "store/counts.h"
#include "db/db.h"
#include "db/idkey.h"
#include "db/payload.h"
#include "db/trees.h"
#include "store/record.h"
#include "store/store.h"

/*
 * OUTER_OF(p, type, member): The ${type} whose ${member} ${p} points to: how a callback finds what its work
 * is part of.
 */
#define OUTER_OF(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

#define HISTORY_LEN 16u
#define HISTORY_TEXT_LEN 22u
#define FORMAT_VERSION 2u

/* The counters of a database: one record, rewritten by every commit. */
struct dbstate {
	uint64_t update_seq;
	uint64_t doc_count;
	uint64_t doc_del_count;
	uint64_t external_bytes; /* of all leaves: bodies as JSON, attachments as stored */
	uint64_t purge_seq;
	uint64_t next_body; /* number of the next record of tree bodies */
	uint64_t next_blob;
	uint64_t next_docno; /* numbers for documents with spilled revisions */
	uint64_t next_node;  /* numbers for nodes of long ids */
	uint64_t revs_limit;
	uint64_t purged_limit; /* purges that are remembered */
	uint64_t partitioned;  /* 1: ids are PARTITION:ID */
	uint64_t created_us;
	uint64_t commits;      /* transactions so far; tells whether one in doubt was made */
	uint64_t salt;         /* of counts.h */
	uint64_t counted_from; /* bodies with lower numbers are not in superseded_bytes: the file is older than it */
	uint64_t
	    superseded_bytes;  /* payloads in tree bodies of revisions that are no leaves: what compaction may drop */
	uint64_t keep_revs;    /* superseded bodies that compaction leaves on a live leaf's path, for merging, */
	uint64_t keep_seconds; /* and how old they may be to be left whatever their number; 0: none */
	uint64_t superseded_atts; /* of attachments, an estimate: see docedit_atts.c */
};

/* One history: the database's life between two restores, copies or moves. */
struct history {
	unsigned char id[HISTORY_LEN];
	uint64_t first_seq;          /* the update sequence when it began */
	char text[HISTORY_TEXT_LEN]; /* id as sequences on the wire have it */
};

/* The security object, compiled.  Immutable; replaced whole. */
struct access;

/* The design documents with validate_doc_update that a database had at some moment. */
struct validators {
	uint64_t designs; /* dbfile.designs then */
	size_t n;
	struct db_validator *v;
	struct arena *arena; /* theirs, and this */
};

/* What waits for the committer. */
enum work_kind { WORK_REQUEST, WORK_BLOB, WORK_BLOB_DROP, WORK_DICT, WORK_COMPACT };

struct dbwork {
	enum work_kind kind;
	struct dbwork *next;
	size_t bytes;
	int err;
	void (*done)(struct dbwork *w);
};

struct dbfile {
	/* Fixed. */
	struct dbs *dbs;
	char *name;
	uint64_t incarnation;                   /* history_number(); 0 in an entry that stands in for a file */
	uint64_t salt;                          /* state.salt, which never changes */
	int partitioned;                        /* nor does this: while the file is being made, what was asked for */
	_Atomic(const struct db_rules *) rules; /* NULL: none */
	struct store_db *store;
	struct history *histories; /* oldest first; the last is current */
	size_t nhistories;
	unsigned char session[HISTORY_LEN]; /* (C) what the file has; see history.c */
	unsigned char drawn[HISTORY_LEN];   /* (C) what the commit on its way gives it */
	int session_begun;                  /* (C) the session was drawn since the opening */

	/* The table's, under dbs.lock. */
	struct dbfile *hash_next;
	struct dbfile *idle_prev, *idle_next; /* the list of files without handles, oldest first */
	unsigned refs;                        /* handles, and 1 while work is queued */
	int in_table;
	int busy; /* it is being made, opened or removed; or stands in for one that is */

	pthread_mutex_t
	    telling; /* held while dbs_config.moved is told of a commit, and while the file becomes a dropped one */

	/* Under lock. */
	pthread_mutex_t lock;
	struct dbwork *head, *tail; /* the queue */
	size_t queued_bytes;
	int scheduled;        /* the committer's job is submitted or runs */
	_Atomic int dropped;  /* also read without the lock: a drop may always come a moment later */
	_Atomic int broken;   /* a commit is in doubt and could not be settled; also read without the lock */
	struct dbstate state; /* as of the last commit */
	struct access *access;
	struct buf security;             /* its text; empty: never set */
	_Atomic uint64_t security_stamp; /* counts its changes; also read without the lock */
	uint64_t
	    designs; /* the sequence of the last commit that touched a design document; 0: none since the opening */
	uint64_t opened_seq;           /* the update sequence at the opening */
	struct validators *validators; /* as of some moment, or NULL */
	size_t heard_bytes;            /* of requests that wait for rules and validators, or are with them */
	int compact_running;
	int compact_wanted;   /* one that began by itself runs or waits */
	uint64_t waste_floor; /* none begins by itself as long as there is no more waste than this */

	/* The committer's. */
	struct exec_job job;
	struct store_batch *batch;
	struct arena *arena;           /* a transaction's */
	struct arena *doc_arena;       /* what it needs for one document */
	struct body_dicts *dicts;      /* body.h; has its own lock */
	int dict_wanted;               /* (C) a training was started */
	uint64_t atts_since;           /* (C) of state.superseded_atts, what came since a compaction began */
	uint64_t dict_first;           /* (C) lower dictionaries are no longer in the file */
	uint64_t dict_low;             /* (C) the lowest that is in use, as far as the running compaction knows */
	int pack_all;                  /* (C) the running compaction packs every body */
	uint64_t ages_due;             /* (C) when the next note in ages.c is due, seconds since 1970 */
	size_t look_bytes;             /* (C) put since the waste was last looked at, */
	unsigned look_commits;         /* (C) in so many commits; */
	uint64_t looked_ms;            /* (C) and when that was */
	_Atomic uint64_t committed_ms; /* of the last commit */
};

struct dbs {
	struct dbs_config config;
	_Atomic int admin_only;                                  /* new databases are for server administrators */
	_Atomic uint64_t max_document_size, max_attachment_size; /* as dbs_set_limits() */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a file was released or its work ended */
	struct dbfile **buckets;
	size_t nbuckets; /* power of two */
	size_t nopen;    /* files in the table */
	size_t nfiles;   /* files, in the table or not */
	struct dbfile *idle_head, *idle_tail;
	_Atomic int closing;             /* dbs_free() was called: what would go on for long ends */
	struct compactwork *compactions; /* those that run */
	struct compactwork *waiting;     /* those that are to begin by themselves, oldest first */
	unsigned nauto;                  /* how many run that began by themselves */
	_Atomic unsigned nwaiting;       /* how many wait */
	struct exec_job watch;           /* compact_auto_watch() */
	int watching;                    /* it is set, or runs */
};

struct db {
	struct dbfile *file;
	struct db_asker by;
	uint64_t security_stamp; /* of the security object that let it be opened */
};

struct db_snap {
	struct dbfile *file;
	struct db_asker by;           /* of the handle */
	const struct db_rules *rules; /* the file's; NULL where they do not bind */
	struct store_snap *snap;
	int have_state;
	int quiet;            /* what is damaged is known, and not logged */
	struct dbstate state; /* as this snapshot sees it */
};

extern const char *const db_tree_names[TREE_COUNT];

/* dbs.c */
void dbs_file_ref(struct dbfile *f);
void dbs_file_unref(struct dbfile *f);

/* meta.c: the tree `meta` */
int meta_state_get(struct store_snap *snap, struct dbstate *out) MUST_CHECK;
int meta_state_put(struct store_batch *batch, const struct dbstate *s) MUST_CHECK;
/**
 * meta_load(f): Read or, in a new file, write format, state, histories, security, dictionaries; remove
 * unfinished uploads.
 */
int meta_load(struct dbfile *f) MUST_CHECK;
int meta_put(struct store_batch *batch, const char *key, const void *val, size_t len) MUST_CHECK;
/**
 * meta_find(snap, key, r): A meta record's bytes, in the snapshot's memory.  Errors: ERR_MISSING, ERR_CORRUPT.
 */
int meta_find(struct store_snap *snap, const char *key, struct bytes *r) MUST_CHECK;
/** meta_get(snap, key, b): Append a meta record's bytes to ${b}.  Errors: ERR_MISSING, ERR_CORRUPT. */
int meta_get(struct store_snap *snap, const char *key, struct buf *b) MUST_CHECK;

/* history.c */
int history_load(struct dbfile *f, struct store_snap *snap) MUST_CHECK;
/** history_number(f): A number, never 0, that the current history alone has, as good as surely: of 63 random bits. */
uint64_t history_number(const struct dbfile *f);
/** history_moved(f, snap, movedp): 1 if the file is not the one that was last written here. */
int history_moved(struct dbfile *f, struct store_snap *snap, int *movedp) MUST_CHECK;
/** history_begin(f, batch): A new current history, from the present sequence on. */
int history_begin(struct dbfile *f, struct store_batch *batch) MUST_CHECK;
/**
 * history_session(f, batch), history_committed(f): To be called for each commit, and when it was made: the
 * first after the opening draws a new session.
 */
int history_session(struct dbfile *f, struct store_batch *batch) MUST_CHECK;
void history_committed(struct dbfile *f);
/** history_close(f): Note what the file was like when it was closed. */
void history_close(struct dbfile *f);

/* access.c */
/** access_default(admin_only): The text of what a new database has. */
const char *access_default(int admin_only);
/** access_parse(text, len, default_admin_only, ap): Compile a security object; text NULL: none was ever set. */
int access_parse(const char *text, size_t len, int default_admin_only, struct access **ap) MUST_CHECK;
void access_free(struct access *a);
/**
 * access_check(a, who, adminp): May ${who} read and write?  *${adminp}: does it administer?
 * Errors: ERR_UNAUTHORIZED, ERR_FORBIDDEN.
 */
int access_check(const struct access *a, const struct principal *who, int *adminp) MUST_CHECK;
/** access_refusal(who): What one who is no administrator of the database hears. */
int access_refusal(const struct principal *who) MUST_CHECK;
/**
 * access_now(db, by): Who asks, by the security object as it is now.  Errors: ERR_NO_DB; ERR_UNAUTHORIZED,
 * ERR_FORBIDDEN: a member no more.
 */
int access_now(const struct db *db, struct db_asker *by) MUST_CHECK;

/* docrec.c: a document's record.  See docs/FORMAT.md. */
struct docrec {
	int deleted;
	uint64_t seq;
	uint64_t docno;      /* 0: nothing is spilled */
	struct jstr tree;    /* as revtree_encode() wrote it */
	struct jstr ext;     /* tagged extension fields, kept as they are */
	struct jstr payload; /* the winner's, if it is inline; else empty */
};
/** docrec_span(r, len): The next ${len} bytes, borrowed; ${r} is bad if there are fewer. */
struct jstr docrec_span(struct bytes *r, uint64_t len);
/** docrec_decode(r, out): Errors: ERR_CORRUPT. */
int docrec_decode(struct bytes *r, struct docrec *out) MUST_CHECK;
int docrec_encode(struct buf *b, const struct docrec *d) MUST_CHECK;
/** docrec_weigh: 1 for a live document, 0 for a deleted one, a pointer's weight for a pointer. */
uint64_t docrec_weigh(const struct store_val *key, const struct store_val *val);
/** docrec_live(val): The same for a record that is known to be no pointer. */
uint64_t docrec_live(const struct store_val *val);

/* A row of the tree `changes`. */
/** changerow_put_rev(b, r), changerow_take_rev(r): A revision id as rows have it. */
void changerow_put_rev(struct buf *b, const struct rev *r);
struct rev changerow_take_rev(struct bytes *r);
int changerow_encode(struct buf *b, const struct revtree *t, const char *id, size_t idlen) MUST_CHECK;
int changerow_decode(struct bytes *r, struct arena *a, struct db_change *out) MUST_CHECK;
uint64_t changerow_weigh(const struct store_val *key, const struct store_val *val);

struct docrec_key {
	unsigned char bytes[20];
};
/** docrec_block_key(docno, run, block): The key of a spilled block. */
struct docrec_key docrec_block_key(uint64_t docno, uint32_t run, uint64_t block);

void db_counts_of_docs(const struct dbfile *f, struct counts_of *out);
void db_counts_of_changes(const struct dbfile *f, struct counts_of *out);
extern const struct idkey_trees db_doc_trees;
extern const struct idkey_trees db_local_trees;

void bytes_store_u64be(unsigned char out[8], uint64_t n);
uint64_t bytes_load_u64be(const unsigned char in[8]);

/* snap.c */
/** snap_payload(snap, number, r): The payload of body ${number}, in the snapshot's memory. */
int snap_payload(struct store_snap *snap, uint64_t number, struct bytes *r) MUST_CHECK;
int snap_doc(struct db_snap *snap, struct jstr id, unsigned tree, const struct store_val *key,
    const struct store_val *val, struct arena *a, struct db_doc *out) MUST_CHECK;
/** snap_may_read(snap, id): As the rules of the database have it, 0 or their error. */
int snap_may_read(const struct db_snap *snap, const struct jstr *id) MUST_CHECK;
int snap_local(struct db_snap *snap, struct jstr id, unsigned tree, const struct store_val *key,
    const struct store_val *val, struct arena *a, uint64_t *revp, struct jstr *bodyp) MUST_CHECK;
/** snap_damaged(snap, id, what, err): ${err}; if it is ERR_CORRUPT, log that ${what} of document ${id} is damaged. */
int snap_damaged(const struct db_snap *snap, struct jstr id, const char *what, int err) MUST_CHECK;

/* hear.c: what the verdict about a write holds for. */
enum heard_how {
	HEARD_SKIPPED, /* nobody is asked about such a write */
	HEARD_IDLE,    /* there were no validators */
	HEARD_UNASKED, /* it would end in a conflict, or bring what is there already */
	HEARD_NONE,    /* there was no old document */
	HEARD_OLD      /* there was one */
};
struct heard {
	enum heard_how how;
	struct rev old; /* HEARD_OLD */
	int by_winner;  /* a rule was told of a replicated revision: it may have looked at the document as it stood, */
	struct rev winner; /* whose winner this was; len 0: there was none */
	uint64_t designs;  /* dbfile.designs, */
	uint64_t security; /* dbfile.security_stamp then */
};

/* prepare.c: what is known of a write before it is queued. */
struct prepared {
	struct revbuf rev;    /* EDIT: the revision id, if the parent is as given */
	struct doc_att *atts; /* natts; blob 0 where the bytes are new: see write->atts[i].blob */
	struct jstr body;     /* codec, lengths and bytes: what follows the attachments in a payload */
	uint64_t external;    /* bytes of the body's text and of the attachments */
	int refused;          /* EDIT: of a design document, by one who is no administrator: the error */
	struct jstr text;     /* the body's JSON text and */
	struct jstr etf;      /* external term, as the rules of the database want it */
	struct heard heard;
	int again;   /* (C) the verdict did not hold any longer */
	int settled; /* its outcome stands, though others of the request are still to come */
};
/**
 * prepare_write(db, by, w, a, scratch): Fills w->prepared with ${a}'s memory; a write that can't be made gets
 * w->err.
 */
void prepare_write(struct db *db, const struct db_asker *by, struct db_write *w, struct arena *a, struct buf *scratch);
/**
 * prepare_rev(w, parent, anew, out): The revision id of an edit.  ${anew}: it makes a deleted document anew
 * without naming its tombstone; CouchDB computes the id a second time then, when it no longer sees what the
 * attachments are.
 */
int prepare_rev(const struct db_write *w, const struct rev *parent, int anew, struct revbuf *out) MUST_CHECK;

/* judge.c: validators, and which document is the old one */
/**
 * judge_old(t, w, here, cookie, atp): Which document is the old one for ${w}: HEARD_OLD and its place, HEARD_NONE, or
 * HEARD_UNASKED.  ${here}: is this revision's body on disk?  What is spilled is not looked at.
 */
enum heard_how judge_old(const struct revtree *t, const struct db_write *w,
    int (*here)(const struct revnode *node, const void *cookie), const void *cookie, struct revpos *atp);
/** judge_quiet(f, designsp): 1 if it is known that there are no validators, as of *${designsp}. */
int judge_quiet(struct dbfile *f, uint64_t *designsp);
/** judge_validators(snap, a, vp, np): Those that ${snap} sees. */
int judge_validators(struct db_snap *snap, struct arena *a, const struct db_validator **vp, size_t *np) MUST_CHECK;
void judge_validators_free(struct validators *v);

/* hear.c */
/**
 * hear_wanted(db, req, designsp): May a rule or validator have to be asked about ${req}?  If not, there were no validators
 * as of *${designsp}.
 */
int hear_wanted(struct db *db, const struct db_request *req, uint64_t *designsp);
/** hear_checks_designs(db, req): Are there design documents in ${req} that hear_designs() is to check? */
int hear_checks_designs(struct db *db, const struct db_request *req);
/**
 * hear_writes(db, writes, n, again, may_wait, a): Ask about the writes without an outcome, or of these only those that are to be
 * asked about ${again}; what the verdicts hold for is kept in ${a}.  ERR_AGAIN: there are validators, and not ${may_wait}:
 * it is to be called once more, of the executor for what is slow.
 */
int hear_writes(struct db *db, struct db_write *writes, size_t n, int again, int may_wait, struct arena *a);
/** hear_designs(db, writes, n): Have the design documents among the prepared writes checked; may wait. */
void hear_designs(struct db *db, struct db_write *writes, size_t n);

/* blob.c */
struct db_blob {
	struct db *db;
	enum db_blob_mode mode;
	struct hash_both *stored_hash;   /* of the stored bytes; NULL once ended */
	struct hash_both *identity_hash; /* of the bytes as added; NULL where they are the stored ones */
	struct z_stream_s *z;            /* mode COMPRESS */
	struct buf pending;              /* stored bytes that the store does not have yet */
	uint64_t identity_len, stored_len;
	uint64_t flushed;     /* stored bytes that the store has: whole chunks */
	uint64_t number;      /* the blob's, once something was flushed; else 0 */
	size_t flushing;      /* (C) bytes of pending that the flush on its way puts, */
	uint64_t flushing_as; /* (C) and under which number */
	int ended;
	int adopted; /* its bytes are a document's, or were removed for an equal blob's: nothing is left to remove */
	unsigned char md5[MD5_LEN], sha256[SHA256_LEN], identity_md5[MD5_LEN];
	struct dbwork work; /* a flush on its way */
	void (*done)(void *cookie, int err);
	void *cookie;
};

/* commit.c: one storage transaction in the making. */
struct blobref {
	uint64_t number;
	int64_t change;
};

struct newblob {
	const struct db_blob *blob;
	uint64_t number;
	struct newblob *next_sha256, *next_number; /* in their buckets */
};

/* Those of a transaction. */
struct newblobs {
	struct newblob **by_sha256, **by_number;
	size_t n, nbuckets; /* nbuckets: a power of two, or 0 */
};

/* A blob that a document of the transaction takes: its own bytes, or older ones that equal them. */
struct takenblob {
	struct db_blob *blob;
	struct takenblob *next;
};

struct countlist {
	struct counts_change *v;
	size_t n, cap;
};

struct commit {
	struct dbfile *f;
	struct store_snap *snap;
	struct store_batch *batch;
	struct arena *a;     /* until the transaction ends */
	struct arena *doc_a; /* until the next document: trees and payloads, so that their number has no bound */
	struct dbstate state;
	struct idkey_batch *doc_keys, *local_keys; /* made when first needed */
	struct countlist docs, changes;
	struct blobref *refs;
	size_t nrefs, cap_refs;
	struct newblobs newblobs;
	struct takenblob *taken;
	struct access *access; /* a new security object, or NULL */
	struct buf security;   /* its text */
	struct buf scratch;
	int touched; /* something was put besides what state says */
	int designs; /* a design document was */
	int dict_put;
	int young_known;
	uint64_t young_from; /* if it is known: bodies from this number on may be younger than state.keep_seconds */
	size_t put_bytes;    /* of the batch that was committed */
};

/* A write and where it comes from. */
struct pending_write {
	struct db_write *w;
	struct db_request *req;
	size_t order; /* of arrival */
};

/* submit.c: a request, or a part of a large one that goes into a transaction of its own. */
struct reqwork {
	struct dbwork work;
	struct db_request *req;
	struct db_write *writes;
	size_t n;
	struct exec_job job; /* asks anew about writes whose verdicts did not hold, */
	unsigned hearings;   /* which was so often, */
	struct arena *arena; /* in this memory; NULL: never */
};
/** submit_is_open(w): The write has no outcome yet. */
int submit_is_open(const struct db_write *w);

void commit_job(void *arg);
/** commit_queue_full(f, bytes): LIMIT_QUEUE_BYTES would wait.  Under f->lock. */
int commit_queue_full(const struct dbfile *f, size_t bytes);
/**
 * commit_queue_chain(f, first, last, bytes, heard): Queue all of a chain, or none of it.  ${heard}: whether there is room
 * was asked before.  Errors: as commit_queue().
 */
int commit_queue_chain(struct dbfile *f, struct dbwork *first, struct dbwork *last, size_t bytes, int heard) MUST_CHECK;
/**
 * commit_queue(f, w): Hand ${w} to the committer, which calls w->done(w) with w->err set.  Errors: ERR_NO_DB; ERR_BUSY,
 * if it has bytes.
 */
int commit_queue(struct dbfile *f, struct dbwork *w) MUST_CHECK;
int commit_doc_keys(struct commit *c, struct idkey_batch **bp) MUST_CHECK;
int commit_local_keys(struct commit *c, struct idkey_batch **bp) MUST_CHECK;
int commit_count(struct commit *c, struct countlist *l, const struct counts_change *change) MUST_CHECK;

/* docedit.c: all writes of one document in one transaction. */
/**
 * docedit_run(c, pw, n): Apply ${n} writes of one id, in order; outcomes stand in the writes.  An error
 * returned is the whole transaction's.
 */
int docedit_run(struct commit *c, struct pending_write *pw, size_t n) MUST_CHECK;
/**
 * docedit_trim(c, id): For compaction: drop the bodies of superseded revisions or keep them for merging alone, and pack the
 * others anew.  The sequence stays.
 */
int docedit_trim(struct commit *c, const struct jstr *id) MUST_CHECK;
/** docedit_local(c, pw, n): The same for a _local document. */
int docedit_local(struct commit *c, struct pending_write *pw, size_t n) MUST_CHECK;

/* blob.c, the committer's side */
int blob_commit_flush(struct commit *c, struct db_blob *b) MUST_CHECK;
/** blob_commit_drop(c, number): Remove the bytes of an upload that no document took. */
int blob_commit_drop(struct commit *c, uint64_t number) MUST_CHECK;
/**
 * blob_commit_adopt(c, b, numberp): A document takes the bytes: *${numberp} is the blob that has them,
 * perhaps an older, equal one.  blob_commit_is_new(c, number): Was this blob not there before this transaction?
 */
int blob_commit_adopt(struct commit *c, struct db_blob *b, uint64_t *numberp) MUST_CHECK;
int blob_commit_is_new(const struct commit *c, uint64_t number);
/**
 * blob_commit_ref(c, number, change): A stored revision more, or less, has the blob.  blob_commit_end: settle
 * all of them.
 */
int blob_commit_ref(struct commit *c, uint64_t number, int change) MUST_CHECK;
int blob_commit_end(struct commit *c) MUST_CHECK;
/** blob_uploading(snap, number): 1 if the blob is noted as an upload that has not finished. */
int blob_uploading(struct store_snap *snap, uint64_t number);
/**
 * blob_committed(c): The transaction was made: the blobs that it took are no longer their writers' to remove.
 */
void blob_committed(struct commit *c);

/* purge.c: what is remembered of purges */
/** purge_remember(c, w): Count a purge, and keep it for those who copy purges. */
int purge_remember(struct commit *c, struct db_write *w) MUST_CHECK;
/** purge_forget(c): Once all is applied: drop what is beyond the limit. */
int purge_forget(struct commit *c) MUST_CHECK;

/* dict.c */
/**
 * dict_consider(f): Start to train a dictionary if the database has enough documents and no dictionary.  From
 * the committer.
 */
void dict_consider(struct dbfile *f);
struct dictwork {
	struct dbwork work;
	struct dbfile *f;
	struct exec_job job;
	uint64_t number;
	size_t max;
	struct buf bytes;
	void (*then)(void *cookie); /* NULL: nobody waits */
	void *cookie;
};
/**
 * dict_renew(f, then, cookie): Before a compaction: train another dictionary, take it if it serves better, and call
 * ${then} on an executor thread.  0: there is nothing to do, and ${then} will not be called.
 */
int dict_renew(struct dbfile *f, void (*then)(void *cookie), void *cookie);
int dict_commit(struct commit *c, struct dictwork *d) MUST_CHECK;
void dict_publish(struct dbfile *f, const struct dictwork *d);
/** dict_refresh(c, body): Pack ${body}, of a writer, anew if its dictionary is no longer in the file. */
int dict_refresh(struct commit *c, struct jstr *body) MUST_CHECK;
/** dict_used(f, number): Compaction leaves a body that needs this dictionary. */
void dict_used(struct dbfile *f, uint64_t number);
/**
 * dict_pass_begin(f), dict_pass_end(c): Around the transactions in which compaction sees every document: the last one
 * drops the dictionaries that nobody uses.  ${thorough}: bodies that have the current dictionary are packed anew too.
 */
void dict_pass_begin(struct dbfile *f, int thorough);
int dict_pass_end(struct commit *c) MUST_CHECK;

/* ages.c: about when a body was given its number */
/** ages_note(c): Numbers are given from here on; notes the time now and then if state.keep_seconds asks for it. */
int ages_note(struct commit *c) MUST_CHECK;
/** ages_begin(c): state.keep_seconds was set: what is there counts as written now. */
int ages_begin(struct commit *c) MUST_CHECK;
/** ages_young(c): Finds c->young_from. */
int ages_young(struct commit *c) MUST_CHECK;

/* compact.c */
enum compact_phase { COMPACT_TRIM, COMPACT_COPY, COMPACT_FINISH };

/* A compaction that runs, or waits. */
struct compactwork {
	struct dbwork work;  /* a slice or the finish, by the committer */
	struct exec_job job; /* a step of the copy */
	struct dbfile *f;
	struct compactwork *next; /* in dbs.compactions or dbs.waiting */
	int automatic;            /* it began by itself, or waits to */
	uint64_t waits_ms;        /* since when */
	enum compact_phase phase;
	struct buf after; /* the last id that was trimmed */
	uint64_t trimmed; /* documents */
	unsigned tries;   /* to finish */
	struct store_rewrite *rewrite;
	struct db_task task; /* under dbs.lock */
};
/** compact_slice(c, k): Trim some documents more. */
int compact_slice(struct commit *c, struct compactwork *k) MUST_CHECK;
/** compact_new(f, automatic): One that did not begin yet, or NULL. */
struct compactwork *compact_new(struct dbfile *f, int automatic);
/** compact_begin(k): Takes ${k}.  Errors: those of commit_queue(); ERR_END: one runs already, or it is not wanted any more. */
int compact_begin(struct compactwork *k);
/** compact_free(k): One that does not run. */
void compact_free(struct compactwork *k);

/* compact_auto.c */
/** compact_auto_consider(f, bytes): So much was committed: is there too much waste?  From the committer. */
void compact_auto_consider(struct dbfile *f, size_t bytes);
/** compact_auto_look(f): The same now, whatever was committed. */
void compact_auto_look(struct dbfile *f);
/**
 * compact_auto_needed(f, u, neededp): The file, and how many bytes of it a compaction would leave, by whole pages and without what was
 * superseded; microseconds.  Errors: those of the store.
 */
int compact_auto_needed(struct dbfile *f, struct store_usage *u, uint64_t *neededp) MUST_CHECK;
/** compact_auto_waste(f, u): Bytes of the file that a compaction may give back; 0 if that is not known. */
uint64_t compact_auto_waste(struct dbfile *f, struct store_usage *u);
/** compact_auto_wanted(f): There is so much that the settings ask for a compaction. */
int compact_auto_wanted(struct dbfile *f);
/** compact_auto_left(f): One that was begun by itself ended, or could not begin. */
void compact_auto_left(struct dbfile *f);
/** compact_auto_watch(s): Begins those whose time has come; a job. */
void compact_auto_watch(void *s);
/** compact_auto_stop(s): The server closes: none waits any longer, soon. */
void compact_auto_stop(struct dbs *s);

#endif
