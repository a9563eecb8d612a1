/* write.h: from documents as clients send them to writes of the database, attachments included. */
#ifndef HTTPAPI_WRITE_H_
#define HTTPAPI_WRITE_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"
#include "db/db.h"
#include "db/doc.h"

struct apireq;

/**
 * write_convert(db, in, id, new_edits, a, w, why):
 * Fill ${w} from ${in} for document ${id} (in->id is not looked at).  "_local/" ids become
 * DB_WRITE_LOCAL.  With ${new_edits} 0 the path is _revisions, or _rev alone.  Attachments get
 * their name, type and revpos; their blobs are left NULL: see write_blobs().  Memory of ${in} and
 * ${a} is borrowed until the write is done.  Errors: ERR_BAD_REQUEST (no _rev for new_edits=false,
 * an attachment on a _local document), ERR_NOMEM.
 */
int write_convert(struct db *db, const struct doc_in *in, struct jstr id, int new_edits, struct arena *a,
    struct db_write *w, struct errtext *why) MUST_CHECK;

/* Bytes that become the blob of one attachment. */
struct write_data {
	struct db_write_att *att;
	enum db_blob_mode mode;
	struct jstr data;
};

/* Attachment bytes in memory on their way into blobs. */
struct write_blobs {
	struct write_data *items;
	size_t n;
	int err; /* the outcome */
	struct errtext why;
	/* the rest is write.c's */
	struct apireq *r;
	void (*then)(struct apireq *r);
	size_t next, done;
	struct db_blob *current;
	void *state;
};

/**
 * write_blobs_count(in), write_blobs_list(db, in, w, items): How many attachments of ${in} carry
 * data; the items for them, ${w} having been made of ${in}.
 */
size_t write_blobs_count(const struct doc_in *in);
void write_blobs_list(struct db *db, const struct doc_in *in, struct db_write *w, struct write_data *items);

/**
 * write_blobs(r, wb, then):
 * Make the blobs of ${wb}, flushing large ones bit by bit, and run ${then}(r) on the request's
 * thread, at once if there is little to do.  wb->err tells the outcome: 0, ERR_ATT_TOO_LARGE,
 * ERR_NOMEM, ERR_IO, ERR_NOSPACE.  Called on the request's thread; ${wb} lives until ${then}.
 */
void write_blobs(struct apireq *r, struct write_blobs *wb, void (*then)(struct apireq *r));

/** write_att_why(err, name, why): ${err}, which ended attachment ${name}: of one that is too large CouchDB gives the name. */
int write_att_why(int err, struct jstr name, struct errtext *why);

/**
 * write_follows(in): How many attachments of ${in} say that their bytes follow: only a multipart
 * body may hold such.
 */
size_t write_follows(const struct doc_in *in);

/**
 * write_too_large(err, body_len): ERR_TOO_LARGE for an ERR_NOMEM that a large request brought upon
 * itself, so that a replicator halves its batch; else ${err}.
 */
int write_too_large(int err, size_t body_len);

/** write_release(w, n): Free the blobs of ${n} writes, once they are done or given up. */
void write_release(struct db_write *w, size_t n);

/**
 * write_rev_param(r, out, hasp, why): The revision that a single-document write names in ?rev= or If-Match.  On the
 * request's thread.  Errors: ERR_BAD_REV, ERR_BAD_REQUEST with CouchDB's words.
 * write_rev_join(r, in_body, out, hasp, why): The same with that of the body, with which it must agree.
 */
int write_rev_param(const struct apireq *r, struct revbuf *out, int *hasp, struct errtext *why) MUST_CHECK;
int write_rev_join(const struct apireq *r, const struct revbuf *in_body, struct revbuf *out, int *hasp,
    struct errtext *why) MUST_CHECK;

/* How to answer a request of one write. */
struct write_answer {
	int status;      /* where all went well */
	int etag;        /* 1: with ETag */
	int location;    /* 1: with Location */
	int batch;       /* 1: a whole document in JSON, for which batch=ok counts */
	struct jstr att; /* the attachment's name behind the id in Location, or len 0 */
};

/**
 * write_answer(r, w, how): {"ok":true,"id","rev"}; for batch=ok 202 without rev, after a conflict too; or the error
 * in w->err.  Blobs of ${w} are freed.
 */
void write_answer(struct apireq *r, struct db_write *w, const struct write_answer *how);

#endif
