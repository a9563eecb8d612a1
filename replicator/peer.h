/*
 * peer.h: one end of a replication, as the session sees it: a database here (peer_local.c), one behind HTTP
 * (peer_http.c), or one of the simulation's.
 *
 * Calls never wait.  Who calls fills the call's struct, which lives until its done() has come; done() comes once, on an
 * executor's thread, never from within the function that began the call.  Results live in the call's arena.  Several
 * calls of a peer may be under way.  What is JSON is kept as text; documents are what `_bulk_docs` takes with
 * new_edits=false: with _id, _rev, _revisions.
 */
#ifndef REPLICATOR_PEER_H_
#define REPLICATOR_PEER_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/exec.h"
#include "base/jread.h"
#include "db/rev.h"
#include "replicator/pipe.h"

struct peer;

/* What every call has. */
struct peer_call {
	void (*done)(struct peer_call *call);
	void *cookie;
	struct arena *arena; /* of what it answers; the caller's; no other call under way has it */
	int err; /* out.  ERR_CANCELLED: by peer_cancel().  ERR_HELD_BACK: of the call's one document alone, perhaps not for good */
	struct errtext why;  /* out: for people; never with credentials */
	uint64_t retry_ms;   /* out: the peer asks to be left alone for so long (429, 503 with Retry-After); else 0 */
	void *state;         /* the peer's, as is */
	struct exec_job job; /* this */
};

/* Does the database exist, and what is it? */
struct peer_info {
	struct peer_call call;  /* ERR_NO_DB, ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_IO ... */
	struct jstr update_seq; /* JSON text */
};

struct peer_create {
	struct peer_call call; /* 0 also where it exists already */
	struct jstr query; /* what create_target_params asks for, as a query: "q=1&partitioned=true"; perhaps empty */
};

/* A _local document. */
struct peer_local {
	struct peer_call call; /* reading: ERR_MISSING.  Writing: ERR_CONFLICT, ERR_FORBIDDEN, ... */
	struct jstr id;        /* without "_local/" */
	struct jstr rev;       /* read, and writing: what was read or empty; then what was written */
	struct jstr body;      /* JSON object; read: whole; to be written: without _id and _rev */
};

/* The winner of a document. */
struct peer_read {
	struct peer_call call; /* ERR_MISSING */
	struct jstr id;
	struct jstr text; /* JSON object, perhaps without its underscore members */
};

/* A document that has changed. */
struct peer_change {
	struct jstr seq; /* JSON text: a string with its quotes, a number, or an array */
	struct jstr id;
	int deleted;
	struct rev *revs; /* leaves; the winner alone where the replication asks for no more */
	size_t nrevs;
	int err; /* 0, or it is beyond what is kept here, or damaged: there are no ${revs}, and of ${id} perhaps the beginning alone */
	struct errtext *why; /* then */
};

/* What has changed, in order. */
struct peer_changes {
	struct peer_call call;
	struct jstr since; /* JSON text; empty: from the beginning */
	size_t limit;      /* rows at most */
	int wait;          /* 1: where there is none yet, wait for one; without bound, until it is cancelled */
	int once;          /* 1: of a run that ends; its calls follow each other without a gap */
	size_t lost;       /* revisions that fetch() or open_doc() had no more since the last call was begun */
	struct peer_change *rows;
	size_t n;
	struct jstr last_seq; /* JSON text: there is no other change up to it */
	int64_t pending;      /* changes behind it, or -1: not known */
	/*
	 * There may be some: 0 only if the end was reached or, with ${once}, if each document that was there at the first call was told, or
	 * did not pass the filter. For one that was changed before the filter saw it, or is among ${lost}, its new row counts.
	 */
	int more;
};

/* Revisions that a database may or may not have. */
struct peer_want {
	struct jstr id;
	struct rev *revs; /* in: asked for.  out: missing */
	size_t nrevs;
	struct rev *ancestors; /* out: leaves that it has and that may be their ancestors */
	size_t nancestors;
};

struct peer_diff {
	struct peer_call
	    call; /* ERR_TOO_LARGE: all of them at once are too much; ERR_HELD_BACK: one of them may be to blame */
	struct peer_want *wants; /* those with nrevs 0 behind it: nothing is missing */
	size_t n;
};

/* One document at one revision: fetched, or to be written. */
struct peer_doc {
	struct jstr id;
	struct rev rev;
	struct jstr text; /* JSON; of a fetched one whose attachments are not in it: see has_atts */
	int has_atts; /* fetched: it has attachments, and is to be had by ops->open_doc() alone; text may be empty */
	int err; /* out: ERR_MISSING, ERR_HELD_BACK; writing: ERR_FORBIDDEN, ERR_UNAUTHORIZED, ERR_DOC_TOO_LARGE, ERR_MISSING_STUB, ... */
	struct errtext *why; /* out: or NULL */
};

/* Documents of a source. */
struct peer_fetch {
	struct peer_call call;
	const struct peer_want *wants;
	size_t nwants;
	size_t max_bytes; /* of texts; what goes beyond is left for another call */
	struct peer_doc
	    *docs; /* out: some for each want that is done: a revision may have been replaced by newer leaves */
	size_t ndocs;
	size_t done;                       /* out: wants that are done, from the first on: at least one */
	uint64_t bulk_docs, bulk_attempts; /* out: documents that came by _bulk_get, and how many were asked for so */
};

/* Documents to a target, each with its own outcome.  Durable when it is done. */
struct peer_write {
	struct peer_call
	    call; /* ERR_TOO_LARGE: all of them at once are too much; ERR_HELD_BACK: one of them may be to blame */
	struct peer_doc *docs;
	size_t n;
};

/* An attachment on its way. */
struct peer_att {
	struct jstr name;
	struct jstr type;
	uint64_t length; /* bytes that come through the pipe: as stored */
	int gzip;        /* they are compressed */
};

/*
 * One revision of a source with its attachments.  ready() comes when text and attachments are known, on any thread;
 * their bytes come through the pipe, one behind the other in order, which ends when done() comes at the latest.
 * Attachments that the target has already (see ancestors) stand in the text as stubs, and not among ${atts}.
 */
struct peer_open {
	struct peer_call call;
	struct jstr id;
	struct rev rev;
	const struct rev *ancestors; /* leaves that the target has */
	size_t nancestors;
	struct pipe *pipe; /* the caller's; the peer writes */
	void (*ready)(struct peer_open *o);
	struct peer_doc doc; /* out: attachments that come are "follows":true in its text */
	struct peer_att *atts;
	size_t natts;
};

/* One document to a target, with the bytes of its attachments, which the peer reads from the pipe.  Durable when it is done. */
struct peer_put {
	struct peer_call call; /* ERR_MISSING_STUB: the target lacks what a stub stands for; ERR_FORBIDDEN, ... */
	const struct peer_doc *doc;
	const struct peer_att *atts;
	size_t natts;
	struct pipe *pipe; /* NULL: no attachments follow */
	int of_all;        /* out: the error is not of this document, but of all that might be written */
};

struct peer_ops {
	void (*info)(struct peer *p, struct peer_info *c);
	void (*create)(struct peer *p, struct peer_create *c);
	void (*local_get)(struct peer *p, struct peer_local *c);
	void (*local_put)(struct peer *p, struct peer_local *c);
	/* Of a source. */
	void (*read)(struct peer *p, struct peer_read *c);
	void (*changes)(struct peer *p, struct peer_changes *c);
	void (*fetch)(struct peer *p, struct peer_fetch *c);
	void (*open_doc)(struct peer *p, struct peer_open *c);
	/* Of a target. */
	void (*diff)(struct peer *p, struct peer_diff *c);
	void (*write)(struct peer *p, struct peer_write *c);
	void (*put_doc)(struct peer *p, struct peer_put *c);
	/* Makes what was written durable where the peer's writes are not by themselves. */
	void (*commit)(struct peer *p, struct peer_call *c);

	/* The call, which is under way or just ended, is to end soon: done() comes all the same. */
	void (*cancel)(struct peer *p, struct peer_call *c);
	/* No call is under way.  Frees ${p}. */
	void (*close)(struct peer *p);
};

/* The beginning of every peer. */
struct peer {
	const struct peer_ops *ops;
	const char *name; /* for people: a URL without credentials, or a database's name */
};

/* Which changes a source is to tell. */
struct peer_filter {
	const struct jstr *doc_ids; /* in jstr_order(), each once; NULL: all */
	size_t ndoc_ids;
	struct jstr selector; /* JSON text, or empty */
	struct jstr filter;   /* "DDOC/NAME", "_view" and the like, or empty */
	struct jstr query;    /* the query_params: JSON object, or empty */
	int winners;          /* only winners, not all leaves */
};

#endif
