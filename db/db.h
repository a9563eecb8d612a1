/*
 * db.h: databases: documents, revisions, changes, attachments.
 *
 * Reads are synchronous, against a snapshot, and never wait for a writer; they may run on an event loop.
 * Writes are requests: db_submit() prepares them in the calling thread (hashing, compressing, resolving
 * stubs), queues them, and the database's committer answers by a callback on one of the executor's threads
 * after ONE durable storage transaction for everything that was waiting.
 *
 * Every call that reads, writes or waits goes through a handle (struct db) that was opened for a principal;
 * what the principal may not do ends in ERR_UNAUTHORIZED or ERR_FORBIDDEN here, whoever calls.
 */
#ifndef DB_DB_H_
#define DB_DB_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"
#include "db/doc.h"
#include "db/rev.h"
#include "db/revtree.h"
#include "store/store.h"

/* Opaque types. */
struct dbs;     /* all databases of one server */
struct db;      /* a handle: one open database, seen by one principal */
struct db_snap; /* a snapshot */
struct db_scan; /* a walk over documents or changes */
struct db_blob; /* attachment bytes on their way in */

/* Who asks.  The server administrator may do everything. */
struct principal {
	const char *name; /* NULL: anonymous */
	const char *const *roles;
	size_t nroles;
	int server_admin;
};

/** db_principal_copy(a, from, to): With all that it points to.  Errors: ERR_NOMEM. */
int db_principal_copy(struct arena *a, const struct principal *from, struct principal *to) MUST_CHECK;

/* ---- Rules: what decides about documents besides the security object ---- */

/* Who asks for what, as the callbacks below see it. */
struct db_asker {
	const struct principal
	    *who;     /* a server administrator has the role _admin, whether or not it is among the roles */
	int is_admin; /* of the database, which a server administrator always is */
	const char *database;
};

/* A design document with validate_doc_update. */
struct db_validator {
	struct jstr id;
	struct rev rev;
};

/* A revision and where it comes from. */
struct db_judged {
	const struct rev *path; /* newest first; perhaps none */
	size_t npath;
	int deleted;
	struct jstr body; /* JSON text without underscore members */
	const struct doc_att *atts;
	size_t natts;
};

/* A write about which a verdict is wanted. */
struct db_verdict {
	struct jstr id;
	int replicated;
	struct db_judged
	    new_doc; /* path: what CouchDB passes on as _rev and _revisions: of an edit the parent that it names, */
		     /* if it does; of a replicated revision all that it brings */
	int has_old;
	struct db_judged old_doc; /* of an edit the leaf that it names; of a replicated revision its nearest ancestor */
				  /* whose body is here.  None, as in CouchDB: where a deleted document is made anew. */
	int err; /* out: 0, or ERR_FORBIDDEN or ERR_UNAUTHORIZED, or what went wrong; the write ends with it, */
	struct errtext why; /* out: and with this reason, if there is one */
};

/*
 * Some writes of one request.  Everything lives until validate() returns.  Verdicts are asked for again, on another
 * thread, if the old document, the security object or the validators have changed before the write was committed.
 */
struct db_hearing {
	struct db_asker by;
	struct jstr security;                  /* the security object's text */
	uint64_t incarnation;                  /* of the database, see db_incarnation() */
	struct db_snap *snap;                  /* of the validators and old documents; no rules bind it */
	const struct db_validator *validators; /* by id */
	size_t nvalidators;
	struct db_verdict *verdicts;
	size_t n;
	struct arena *arena; /* for the callback's own use */
};

/**
 * db_hearing_release(h): Nothing more is read: ends h->snap.  For dbs_config's validate(), before it waits for anything: as
 * long as there is a snapshot the file cannot grow, and readers may have to wait for a writer that wants it to.
 */
void db_hearing_release(struct db_hearing *h);

/**
 * db_judged_json(b, id, doc): Append what CouchDB passes to validate_doc_update: the document with _id, _rev, _revisions,
 * _deleted and stubs of its attachments.
 */
int db_judged_json(struct buf *b, const struct jstr *id, const struct db_judged *doc) MUST_CHECK;

/**
 * db_validate_f(cookie, h): Fill h->verdicts[].err and why, which are 0 and empty before.  Runs on an executor thread and
 * may take its time.  Another result than 0 is that of each write without one.  Design documents and _local documents
 * are not asked about.
 */
typedef int db_validate_f(void *cookie, struct db_hearing *h);

/* A design document that is to be written, as an edit or a replicated revision; not its deletion. */
struct db_design {
	struct jstr id;
	struct jstr body;   /* JSON text without underscore members */
	int err;            /* out: 0, or what is wrong with it; the write ends with that, */
	struct errtext why; /* out: and with this reason, if there is one */
};

/**
 * db_check_design_f(cookie, database, designs, n): Fill err and why, which are 0 and empty before.  On an executor thread;
 * may take its time.  Who may not write design documents is not asked about.
 */
typedef void db_check_design_f(void *cookie, const char *database, struct db_design *designs, size_t n);

/*
 * The rules of one database: those of _users, say.  Each callback may be NULL.  They are called on any thread, several at
 * once.  They bind every handle, whoever opened it: requests, replications, views, feeds.  They decide by who asks: a
 * server administrator is asked about as well.
 */
struct db_rules {
	void *cookie;
	int list_admin_only; /* db_may_list() refuses whoever is no server administrator */
	int admins_see_all;  /* the database's administrators read every document as it is */

	/*
	 * Before a document (not a _local one) is written, EDIT and REPLICATE alike, on an executor thread; may be slow.
	 * May set *${bodyp} to another JSON object's text without underscore members, in ${a}'s memory: the revision id is
	 * made of that, and validate() sees it.  An error (ERR_MISSING, ERR_FORBIDDEN, ...) is the write's, with ${why} if
	 * it is set.
	 */
	int (*before_write)(void *cookie, const struct db_asker *by, const struct jstr *id, int deleted,
	    struct arena *a, struct jstr *bodyp, struct errtext *why);

	/* Besides the design documents' validators; runs before them. */
	db_validate_f *validate;
	/* Does validate() say all that this design document's validate_doc_update does?  Then that is not asked. */
	int (*stands_for)(void *cookie, const struct jstr *id, const struct jstr *body);

	/*
	 * May this document be seen at all?  Errors are the answer of db_get(): ERR_MISSING, ERR_FORBIDDEN, ...; a scan
	 * passes over it.  Quick.  _local documents are asked about too.
	 */
	int (*may_read)(void *cookie, const struct db_asker *by, const struct jstr *id);

	/*
	 * What of a revision's body is shown: may set *${bodyp} to another text in ${a}'s memory.  Errors are the answer of
	 * db_doc_rev(), as of a document that may not be seen.  Quick.
	 */
	int (*shown)(
	    void *cookie, const struct db_asker *by, const struct jstr *id, struct arena *a, struct jstr *bodyp);

	/* May the security object be written (by one who administers the database)?  0 or an error with its words in ${why}. */
	int (*before_security)(void *cookie, const struct db_asker *by, struct errtext *why);
};

/* ---- The server's databases ---- */

/* When a database is compacted by itself.  All zero: never. */
struct db_autocompact {
	unsigned ratio_percent; /* the file is larger than so many hundredths of what is needed of it */
	uint64_t slack_bytes;   /* or more than so many bytes of it are not needed, */
	uint64_t min_bytes;     /* and it has at least so many bytes */
	unsigned concurrency;   /* how many at a time begin by themselves; 0: one */
	unsigned quiet_ms;      /* it begins when nothing was committed for so long, or after 15 times that */
};

/* What main.c gives. */
struct dbs_config {
	struct store *store;          /* becomes the dbs' */
	struct executor *ex;          /* borrowed */
	struct executor *slow;        /* the same for rules and validators, which may take seconds; NULL: ${ex} */
	struct executor *preparer;    /* the same for rules' before_write(); NULL: ${slow} */
	uint64_t max_document_size;   /* bytes of a body's JSON text; 0: LIMIT_BODY_LEN */
	uint64_t max_attachment_size; /* bytes; 0: no bound */
	struct db_autocompact autocompact;
	int default_security_admin_only; /* 1 (CouchDB 3.5's default): new databases are for server administrators until _security says otherwise */
	/*
	 * The rules of the database ${name}; NULL: it has none.  Asked when its file is opened; what it gives must live as
	 * long as the dbs.  NULL: no database has rules.
	 */
	const struct db_rules *(*rules)(void *cookie, const char *name);
	void *rules_cookie;
	/* Asked about the writes to each database that has design documents with validate_doc_update.  NULL: those count for nothing. */
	db_validate_f *validate;
	void *validate_cookie;
	/* Asked about the design documents that are written to any database.  NULL: all are taken. */
	db_check_design_f *check_design;
	void *check_design_cookie;
	/*
	 * Called after each commit (seq: the database's new update sequence), after a create (seq 0) and
	 * after a drop (dropped 1), on an executor thread, in order for one database.  Must not wait.
	 */
	void (*moved)(void *cookie, const char *name, uint64_t incarnation, uint64_t seq, int dropped);
	void *cookie;
};

int dbs_new(const struct dbs_config *config, struct dbs **sp) MUST_CHECK;
/** dbs_free(s): All handles are closed; finishes what is queued. */
void dbs_free(struct dbs *s);
/**
 * dbs_set_default_security(s, admin_only): From now on new databases have this: 1: server administrators alone are let in
 * (couchdb/default_security "admin_only"); 0: everyone ("everyone", and "admin_local", which says the same of a database
 * of a cluster).  Any thread.
 * dbs_default_security(s): The security object of new databases.  Static.
 */
void dbs_set_default_security(struct dbs *s, int admin_only);
const char *dbs_default_security(const struct dbs *s);
/**
 * dbs_set_limits(s, max_document_size, max_attachment_size): From now on writes are held to these, as dbs_config says, but
 * that with 0 no attachment may have a byte; UINT64_MAX: no bound.  Any thread.
 */
void dbs_set_limits(struct dbs *s, uint64_t max_document_size, uint64_t max_attachment_size);

/**
 * dbs_name_check(name, len, why): CouchDB's rules for database names, with its words.  Errors:
 * ERR_ILLEGAL_DB_NAME.
 */
int dbs_name_check(const char *name, size_t len, struct errtext *why) MUST_CHECK;

/**
 * dbs_list(s, fn, cookie): Each database's name in bytewise order until ${fn} returns not 0, which is then
 * returned.
 */
int dbs_list(struct dbs *s, int (*fn)(const char *name, void *cookie), void *cookie) MUST_CHECK;

/* What a database is made with, for its life.  All zero: an ordinary one. */
struct db_options {
	int partitioned;      /* ids are PARTITION:ID */
	struct jstr security; /* its first security object, an object's text; len 0: dbs_default_security() */
};

/**
 * dbs_create(s, name, options, p, why), dbs_drop(s, name, p): Durable on return, so call them off the event
 * loop. A drop ends the open handles: their calls then say ERR_NO_DB.  One that failed changes nothing, but with
 * ERR_IN_DOUBT: the database is gone, and may be there again after a crash.
 * Errors: ERR_ILLEGAL_DB_NAME, ERR_DB_EXISTS, ERR_NO_DB, ERR_NOT_ADMIN, ERR_READONLY, ERR_IO, ERR_IN_DOUBT, ERR_NOSPACE,
 * ERR_NOMEM.
 */
int dbs_create(struct dbs *s, const char *name, const struct db_options *options, const struct principal *p,
    struct errtext *why) MUST_CHECK;
int dbs_drop(struct dbs *s, const char *name, const struct principal *p) MUST_CHECK;

/**
 * dbs_ask_rules(s): Settings that dbs_config.rules looks at have changed: ask it anew about each open database.  Handles that
 * are open are bound by the answer, too; a snapshot is not.
 */
void dbs_ask_rules(struct dbs *s);

/* What runs in the background, as /_active_tasks tells it. */
struct db_task {
	const char *type;
	const char *database;
	const char *phase;
	uint64_t done, total;            /* of the phase */
	uint64_t started_us, updated_us; /* since 1970 */
};
/**
 * dbs_tasks(s, fn, cookie): Call ${fn} with each until it returns not 0, which is then returned.  It must not wait,
 * nor call what is declared here; the task lives for the call.
 */
int dbs_tasks(struct dbs *s, int (*fn)(const struct db_task *task, void *cookie), void *cookie) MUST_CHECK;

/* ---- Handles ---- */

/**
 * db_open(s, name, p, dbp): A handle on database ${name} for ${p}, which must be a member of it; ${p}'s strings
 * must outlive the handle.  Cheap when the database is open (no system call).
 * Errors: ERR_NO_DB, ERR_UNAUTHORIZED (anonymous), ERR_FORBIDDEN, ERR_NOMEM, ERR_IO, ERR_NEWER_FORMAT,
 * ERR_CORRUPT.
 */
int db_open(struct dbs *s, const char *name, const struct principal *p, struct db **dbp) MUST_CHECK;
void db_close(struct db *db);

/** db_asker(db): Who the handle is for; lives as long as it. */
const struct db_asker *db_asker(const struct db *db);
/** db_is_admin(db): 1 if the handle's principal administers this database. */
int db_is_admin(const struct db *db);

/**
 * db_may_list(db): May the documents be listed (_all_docs, _changes and their kin)?  Scans show what may be seen all the
 * same.  Errors: ERR_NOT_ADMIN.
 */
int db_may_list(const struct db *db) MUST_CHECK;

/**
 * db_shows_alike(db): 1 if whoever may open the database reads the same from it, so that rows made for one reader serve
 * another.
 */
int db_shows_alike(const struct db *db);
/** db_shows_all(db): 1 if the handle's principal reads every document as it is, or as everybody does. */
int db_shows_all(const struct db *db);

/**
 * db_incarnation(db): A number, never 0, that a database keeps as long as its current history goes on: the same however often its
 * file is closed and opened again, another one for a database that was made anew under its name, or put back or copied into its
 * place.  It is drawn at random, so it tells databases of different names apart, too.
 */
uint64_t db_incarnation(const struct db *db);

/** db_is_partitioned(db). */
int db_is_partitioned(const struct db *db);

/**
 * db_id_place(db, id, len, why): May a document of this id be asked for: in a partitioned database it names a
 * partition, or begins with "_".  Errors: ERR_RESERVED_ID.
 */
int db_id_place(const struct db *db, const char *id, size_t len, struct errtext *why) MUST_CHECK;

/**
 * db_doc_check(db, id, len, body_len, why): May this document be written: doc_id_check(), what a partitioned
 * database asks of ids, and the bound on a body's size.  Errors: as there; ERR_ILLEGAL_PARTITION,
 * ERR_DOC_TOO_LARGE.
 */
int db_doc_check(const struct db *db, const char *id, size_t len, size_t body_len, struct errtext *why) MUST_CHECK;

struct db_info {
	uint64_t doc_count; /* documents whose winner is not deleted */
	uint64_t doc_del_count;
	uint64_t update_seq;
	uint64_t purge_seq;
	uint64_t created_us;     /* since 1970; instance_start_time */
	uint64_t external_bytes; /* of the leaves: bodies as JSON, attachments as stored */
	uint64_t revs_limit;
	uint64_t purged_limit;
	uint64_t
	    keep_revs; /* superseded bodies that compaction leaves on a live leaf's path, for db_doc_base() alone, */
	uint64_t keep_seconds; /* and those that are younger than this */
	int partitioned;
	int compact_running;
};
int db_info(struct db *db, struct db_info *out) MUST_CHECK;

/**
 * db_usage(db, filep, activep): Bytes of the file, and of the pages that its live data needs: those in use without what was superseded,
 * where attachments that several documents or leaves share may count as superseded before the last of them has gone, and so
 * may those that a document has again after more than 100 revisions, or large ones, without, until a compaction.  It looks at the
 * file: microseconds, where db_info() takes none.  Errors: ERR_NO_DB, those of the store.
 */
int db_usage(struct db *db, uint64_t *filep, uint64_t *activep) MUST_CHECK;

/** db_security(db, b): Append the security object's JSON text ("{}" forms included as CouchDB shows them). */
int db_security(struct db *db, struct buf *b) MUST_CHECK;

/** db_compact(db): Start compaction in the background.  Errors: ERR_NOT_DB_ADMIN. */
int db_compact(struct db *db) MUST_CHECK;

/**
 * db_copy(db, path): What is committed when it returns, as a compact file that must not exist, synced.  Reads and
 * writes go on meanwhile; it takes as long as the disk does, so it wants a thread of its own.  For server
 * administrators.  Where the file is opened, in whatever place, a history begins (docs/FORMAT.md).  Errors:
 * ERR_NOT_ADMIN, ERR_NO_DB, ERR_NOSPACE, ERR_BUSY (writers were faster for long), ERR_IO; there is then no file.
 */
int db_copy(struct db *db, const char *path) MUST_CHECK;

/**
 * db_check(db, why): Verify every invariant of ARCHITECTURE section 5 in one snapshot.  Errors: ERR_CORRUPT
 * and ${why}; ERR_IO.
 */
int db_check(struct db *db, struct errtext *why) MUST_CHECK;

/* ---- Sequences on the wire ---- */

/**
 * db_seq_put(db, b, seq): Append "N-OPAQUE" (no quotes): the history that ${seq} belongs to stands in the
 * opaque part.
 */
int db_seq_put(struct db *db, struct buf *b, uint64_t seq);
/** db_history(db): That opaque part; it lives as long as the handle. */
struct jstr db_history(const struct db *db);

/**
 * db_seq_parse(db, s, len, seqp): The sequence after which nothing can be missed: of a current or older
 * listed history as far as it is shared, of an unlisted one 0. "0", "" and bare integers are taken as they
 * are.  Errors: ERR_BAD_REQUEST (malformed).
 */
int db_seq_parse(struct db *db, const char *s, size_t len, uint64_t *seqp) MUST_CHECK;

/* ---- Snapshots and documents ---- */

int db_snap_begin(struct db *db, struct db_snap **snapp) MUST_CHECK;
void db_snap_end(struct db_snap *snap);
/** db_snap_unbind(snap): From here on it shows what the server itself reads, whoever the handle is for: no rules bind it, nor what is still read of documents that it gave before. */
void db_snap_unbind(struct db_snap *snap);
/** db_snap_seq(snap, seqp): The update sequence it sees; 0 on error.  Errors: ERR_CORRUPT, ERR_IO. */
int db_snap_seq(const struct db_snap *snap, uint64_t *seqp) MUST_CHECK;
/** db_designs_seq(db): Behind this update sequence no design document has changed: of one history, snapshots from there on have the same ones. */
uint64_t db_designs_seq(const struct db *db);

/*
 * A document's record as found.  The tree is decoded when first asked for.  Memory is the arena's
 * or the snapshot's: valid until the snapshot ends, or (from a scan) until its next step.
 */
struct db_doc {
	struct jstr id;
	uint64_t seq;
	struct revnode winner;
	size_t nleaves;
	/* the rest is db's */
	struct db_snap *snap;
	struct arena *arena;
	struct jstr record;
	struct revtree *tree;
	int unspilled;
};

/**
 * db_get(snap, id, len, a, out): Errors: ERR_MISSING, ERR_CORRUPT, ERR_IO, ERR_NOMEM.  A deleted document is
 * found too: see out->winner.deleted.
 */
int db_get(struct db_snap *snap, const char *id, size_t len, struct arena *a, struct db_doc *out) MUST_CHECK;

/** db_doc_is_large(doc): 1 if there is more to it, in leaves or bytes, than an event loop's thread should read. */
int db_doc_is_large(const struct db_doc *doc);

/** db_doc_tree(doc, whole, treep): Its revision tree; with ${whole} spilled generations as well. */
int db_doc_tree(struct db_doc *doc, int whole, struct revtree **treep) MUST_CHECK;

/**
 * db_doc_path(doc, at, revsp, np): The revisions from ${at} to its root, newest first, in the document's arena; at
 * most revs_limit of them, also where the document has not been written since the limit was lowered.
 */
int db_doc_path(struct db_doc *doc, struct revpos at, struct rev **revsp, size_t *np) MUST_CHECK;

/**
 * db_doc_find(doc, rev, latest, fn, cookie, np): Each revision that stands for ${rev}: itself, or with ${latest} the leaves that
 * descend from it, winner order; until ${fn} returns not 0, which is then returned.  *${np} counts them.  A revision without a
 * body is passed over.
 */
int db_doc_find(struct db_doc *doc, const struct rev *rev, int latest,
    int (*fn)(struct db_doc *doc, struct revpos at, void *cookie), void *cookie, size_t *np) MUST_CHECK;
/** db_doc_first(doc, rev, latest, atp): The first of these.  Errors: ERR_MISSING if there is none. */
int db_doc_first(struct db_doc *doc, const struct rev *rev, int latest, struct revpos *atp) MUST_CHECK;

/**
 * db_doc_leaves(doc, of, fn, cookie, np): The leaves, or those that are or descend from ${of} if that is not NULL, by generation and hash ascending, as
 * CouchDB lists them; until ${fn} returns not 0, which is then returned.  *${np} counts them.
 */
int db_doc_leaves(struct db_doc *doc, const struct rev *of,
    int (*fn)(struct db_doc *doc, struct revpos at, void *cookie), void *cookie, size_t *np) MUST_CHECK;

/**
 * db_doc_knows(doc, rev, knownp): Is ${rev} in its tree, with a body or without?
 * db_doc_knows_each(doc, revs, n, known): The same of ${n}, each with its byte in ${known}; many cost one way through the tree.
 */
int db_doc_knows(struct db_doc *doc, const struct rev *rev, int *knownp) MUST_CHECK;
int db_doc_knows_each(struct db_doc *doc, const struct revbuf *revs, size_t n, unsigned char *known) MUST_CHECK;

/**
 * db_doc_older_leaves(doc, gen, revsp, np): Leaves of generations below ${gen}, which may be ancestors of a revision of that one
 * that is not here; in the document's arena.
 */
int db_doc_older_leaves(struct db_doc *doc, uint64_t gen, struct rev **revsp, size_t *np) MUST_CHECK;

/* One revision's content.  Memory: the arena's. */
struct db_rev {
	struct revnode node;
	struct jstr body; /* JSON text without underscore members; "{}" for most tombstones */
	struct doc_att *atts;
	size_t natts;
};

/**
 * db_doc_rev(doc, node, a, out): Content of a revision.  Errors: ERR_MISSING (its body is not kept),
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM.
 */
int db_doc_rev(struct db_doc *doc, const struct revnode *node, struct arena *a, struct db_rev *out) MUST_CHECK;

/**
 * db_doc_base(doc, node, a, out): The same for those who merge: also of a revision whose body compaction has taken from
 * all others.
 */
int db_doc_base(struct db_doc *doc, const struct revnode *node, struct arena *a, struct db_rev *out) MUST_CHECK;

/**
 * db_att_read(snap, att, chunk, b): Append stored bytes [chunk * LIMIT_BLOB_CHUNK, ...) of an attachment.
 * ERR_END: behind the last.  Errors: ERR_CORRUPT, ERR_IO.
 * db_att_read_later: The same in a later snapshot than that of the document.  ERR_MISSING: it was removed since.
 */
int db_att_read(struct db_snap *snap, const struct doc_att *att, uint64_t chunk, struct buf *b) MUST_CHECK;
int db_att_read_later(struct db_snap *snap, const struct doc_att *att, uint64_t chunk, struct buf *b) MUST_CHECK;

/**
 * db_local_get(snap, id, len, a, revp, bodyp): A _local document ("_local/x"): its number N of rev "0-N", and
 * body.  Errors: ERR_MISSING and as above.
 */
int db_local_get(
    struct db_snap *snap, const char *id, size_t len, struct arena *a, uint64_t *revp, struct jstr *bodyp) MUST_CHECK;

/** db_local_len(snap, id, len, lenp): Bytes that db_local_get() has to read, stored or unpacked.  Errors: as there. */
int db_local_len(struct db_snap *snap, const char *id, size_t len, uint64_t *lenp) MUST_CHECK;

/* ---- Scans.  A scan lives within its snapshot; to yield, end both and resume by key. ---- */

struct db_range {
	int descending;
	int has_start, has_end;
	struct jstr start; /* first id in scan direction; inclusive unless start_after */
	struct jstr end;
	int start_after; /* begin behind start: to resume */
	int exclusive_end;
	uint64_t skip; /* live documents to pass over, by counts, not one by one */
};

/**
 * db_docs_open(snap, range, scanp): Walk documents whose winner is not deleted, by id, bytewise.  Errors:
 * ERR_NOMEM, ERR_IO.
 */
int db_docs_open(struct db_snap *snap, const struct db_range *range, struct db_scan **scanp) MUST_CHECK;
#define DB_SCAN_STEP 256u /* records that a step passes over */
/**
 * db_docs_step(scan, a, out): The next one.  ERR_END at the end; ERR_AGAIN: DB_SCAN_STEP deleted or hidden ones were passed over, of which
 * out->id, until the next step, is the last: the next call goes on behind it.
 */
int db_docs_step(struct db_scan *scan, struct arena *a, struct db_doc *out) MUST_CHECK;
/** db_docs_next(scan, a, out): The same, passing over any number of them: not on an event loop. */
int db_docs_next(struct db_scan *scan, struct arena *a, struct db_doc *out) MUST_CHECK;
/**
 * db_locals_open/step: The same for _local documents; with ERR_AGAIN *${idp} is the last that was passed over.  db_locals_skip(): what is left of the
 * range's skip, which is walked here.
 */
int db_locals_open(struct db_snap *snap, const struct db_range *range, struct db_scan **scanp) MUST_CHECK;
int db_locals_step(
    struct db_scan *scan, struct arena *a, struct jstr *idp, uint64_t *revp, struct jstr *bodyp) MUST_CHECK;
uint64_t db_locals_skip(const struct db_scan *scan);

struct db_docs_sum {
	uint64_t live, deleted;
	uint64_t external_bytes; /* of the leaves, as in struct db_info */
	uint64_t stored_bytes;   /* records, bodies of leaves and their attachments, each as it is stored */
};
/** db_docs_sum(snap, range, out): All documents in ${range}, which are walked: not on an event loop.  Errors: those of reading them. */
int db_docs_sum(struct db_snap *snap, const struct db_range *range, struct db_docs_sum *out) MUST_CHECK;

/** db_docs_before(snap, id, len, np): Live documents with ids less than ${id}; all of them for NULL. */
int db_docs_before(struct db_snap *snap, const char *id, size_t len, uint64_t *np) MUST_CHECK;

/* A row of the changes feed. */
struct db_change {
	uint64_t seq;
	struct jstr id;
	int deleted; /* the winner is */
	size_t nleaves;
	struct rev *leaves;                /* winner first; valid until the scan's next step */
	const unsigned char *leaf_deleted; /* one byte a leaf */
};

/**
 * db_changes_open(snap, since, descending, scanp): Rows with seq > ${since} upward, or all rows with seq >
 * ${since} from the newest down.
 * db_changes_next(scan, a, out): The next row.  Errors: ERR_END; ERR_CORRUPT, with a log line: out->seq has changed if it is that row alone that
 * is damaged, and the next call goes on behind it; ERR_NOMEM, ERR_IO.
 */
int db_changes_open(struct db_snap *snap, uint64_t since, int descending, struct db_scan **scanp) MUST_CHECK;
/**
 * db_changes_step(scan, a, out), db_changes_next(scan, a, out): As of documents, but that only rules hide rows: on an event loop next is for who is
 * shown all.  With ERR_AGAIN out->seq is the last one's that was passed over.
 */
int db_changes_step(struct db_scan *scan, struct arena *a, struct db_change *out) MUST_CHECK;
int db_changes_next(struct db_scan *scan, struct arena *a, struct db_change *out) MUST_CHECK;
/** db_changes_pending(snap, since, np): Rows with seq > ${since}, by counts. */
int db_changes_pending(struct db_snap *snap, uint64_t since, uint64_t *np) MUST_CHECK;

/* A purge that is remembered. */
struct db_purge {
	uint64_t seq;
	struct jstr id;
	size_t nrevs;
	struct rev *revs; /* valid until the scan's next step */
};

/**
 * db_purges_open(snap, since, scanp): Purges with a purge sequence > ${since}, upward; the oldest are
 * forgotten beyond the database's limit.
 */
int db_purges_open(struct db_snap *snap, uint64_t since, struct db_scan **scanp) MUST_CHECK;
int db_purges_next(struct db_scan *scan, struct arena *a, struct db_purge *out) MUST_CHECK;

void db_scan_close(struct db_scan *scan);

/* ---- Attachment bytes on their way in ---- */

enum db_blob_mode { DB_BLOB_PLAIN, DB_BLOB_COMPRESS /* gzip, zlib level 8 */, DB_BLOB_GZIPPED /* is gzip already */ };

/**
 * db_blob_mode_for(db, type, len): What CouchDB does with this content type: COMPRESS for compressible types,
 * else PLAIN.
 */
enum db_blob_mode db_blob_mode_for(struct db *db, const char *type, size_t len);

/** db_blob_expect(db, len): May an attachment have ${len} bytes?  Errors: ERR_ATT_TOO_LARGE. */
int db_blob_expect(const struct db *db, uint64_t len) MUST_CHECK;
int db_blob_new(struct db *db, enum db_blob_mode mode, struct db_blob **bp) MUST_CHECK;
/** db_blob_add(b, data, len): Take bytes into memory.  Errors: ERR_ATT_TOO_LARGE, ERR_NOMEM. */
int db_blob_add(struct db_blob *b, const void *data, size_t len) MUST_CHECK;
/** db_blob_pending(b): Bytes held in memory; from 1 MiB on, call db_blob_flush() before adding more. */
size_t db_blob_pending(const struct db_blob *b);
/**
 * db_blob_flush(b, done, cookie): Let the committer write what is pending; ${done} comes on an executor
 * thread.  ${b} must not be used until then.
 */
void db_blob_flush(struct db_blob *b, void (*done)(void *cookie, int err), void *cookie);
/**
 * db_blob_end(b): No more bytes: completes digests and lengths.  Then put it into a struct db_write_att; what is still
 * pending may be flushed before.
 */
int db_blob_end(struct db_blob *b) MUST_CHECK;
/** db_blob_md5(b): Of the stored bytes; after db_blob_end(). */
const unsigned char *db_blob_md5(const struct db_blob *b);
/** db_blob_identity_md5(b): Of the bytes as they were added, for Content-MD5 checks. */
const unsigned char *db_blob_identity_md5(const struct db_blob *b);
/** db_blob_lengths(b, identityp, storedp). */
void db_blob_lengths(const struct db_blob *b, uint64_t *identityp, uint64_t *storedp);
/** db_blob_free(b): What was written and not taken into a document is removed.  NULL is allowed. */
void db_blob_free(struct db_blob *b);

/* ---- Writes ---- */

/*
 * An attachment of a write: new bytes, or those of any stored attachment, or a stub that names its ancestor's.
 * Where such a one is gone when the write is made, that is ERR_MISSING_STUB.
 */
struct db_write_att {
	struct jstr name;
	struct jstr type;
	struct db_blob *blob;       /* new bytes, ended; else NULL.  Freed by its owner after the request is done. */
	const struct doc_att *same; /* else that one's bytes; NULL: a stub */
	int has_revpos;
	uint64_t revpos; /* new bytes in a replicated write: as given; stub: must match where given */
	int has_md5;
	unsigned char
	    md5[16];     /* stub in a replicated write: must match where given: equal revpos may mean other bytes */
	uint64_t length; /* DB_BLOB_GZIPPED: the decoded length, as the client told; else ignored */
};

enum db_write_kind {
	DB_WRITE_EDIT,         /* new_edits=true: the database makes the revision id */
	DB_WRITE_REPLICATE,    /* new_edits=false: the writer brings the path */
	DB_WRITE_LOCAL,        /* a _local document; no revision tree */
	DB_WRITE_SECURITY,     /* body: the security object */
	DB_WRITE_REVS_LIMIT,   /* number */
	DB_WRITE_PURGE,        /* path: leaves to forget, with the ancestors that only they have */
	DB_WRITE_PURGED_LIMIT, /* number: how many purges are remembered */
	DB_WRITE_HISTORY_KEPT  /* number, seconds: what compaction leaves for merging, see struct db_info */
};

/* One write of a request.  Everything borrowed until the request is done. */
struct db_write {
	enum db_write_kind kind;
	struct jstr id;
	int has_parent; /* EDIT, LOCAL: the revision that the writer saw */
	struct revbuf parent;
	const struct rev *path; /* REPLICATE: newest first, at least one */
	size_t npath;
	int deleted;
	struct jstr body; /* CouchDB's text, as doc_parse() gives it */
	struct jstr body_etf;
	struct db_write_att *atts;
	size_t natts;
	uint64_t number;
	uint64_t seconds;
	unsigned char *purged; /* PURGE: npath bytes; out: 1 for each revision that was a leaf and is gone */

	/* The outcome. */
	int err; /* 0, ERR_CONFLICT, ERR_MISSING_STUB, ERR_FORBIDDEN, ERR_DOC_TOO_LARGE, ... or the commit's */
	struct errtext why;
	struct revbuf rev; /* the revision written (LOCAL: gen 0, id the decimal number) */
	uint64_t seq;      /* update sequence; 0 where nothing changed */

	void *prepared; /* db's */
};

/*
 * A request.  Its writes are independent (each has its own outcome) unless
 * leaves is set: then all are of one document, and they are made together if its leaf set is
 * exactly ${leaves} (in any order), else none is and each ends in ERR_CHANGED.
 */
struct db_request {
	struct db_write *writes;
	size_t nwrites;
	const struct rev *leaves; /* NULL: unconditional */
	size_t nleaves;
	void (*done)(struct db_request *req); /* on an executor thread, once; then the request is the caller's again */
	void *cookie;

	/* the rest is db's */
	struct db *db;
	struct db_request *next;
	struct arena *arena;
	size_t bytes;
	size_t parts; /* transactions that are still to be made */
};

/**
 * db_may_set(db, kind, why): May a write of this kind be made; as to documents: of a design document?  What db_submit()
 * asks, for those who would rather know before they read a body.  Errors: ERR_NOT_ADMIN; ERR_NOT_DB_ADMIN (anonymous),
 * ERR_NOT_DB_ADMIN_NAMED; those of the database's rules.
 */
int db_may_set(const struct db *db, enum db_write_kind kind, struct errtext *why) MUST_CHECK;

/**
 * db_submit(db, req): Prepare and queue.  Costs CPU in proportion to the bodies: call it on an executor
 * thread for large requests.  Where rules or validators are to be asked, all of that is left to an executor thread, and
 * what went wrong then is the outcome of each write.  ${db} must stay open until done.  An error here means that nothing
 * is queued and done will not be called:
 * ERR_NOMEM, ERR_BUSY (LIMIT_QUEUE_BYTES are waiting), ERR_NO_DB, ERR_SHUTDOWN.
 */
int db_submit(struct db *db, struct db_request *req) MUST_CHECK;

#endif
