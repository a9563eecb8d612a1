/*
 * edit.h: requests that write one document: the steps that PUT, POST, DELETE, COPY, multipart and
 * form uploads share.
 */
#ifndef HTTPAPI_EDIT_H_
#define HTTPAPI_EDIT_H_

#include "db/db.h"
#include "db/doc.h"
#include "httpapi/api.h"
#include "httpapi/write.h"

/* One write on its way; lives in the request's arena. */
struct edit {
	struct jstr id;   /* the document's; len 0: taken from the body, or made */
	int new_edits;    /* 0 for a PUT with new_edits=false */
	int id_from_body; /* POST /{db} */
	int has_given;    /* the request names a revision: edit_param() */
	struct revbuf given;
	struct jstr text; /* the document's JSON */
	struct doc_in in; /* what it says */
	struct db_write w;
	struct db_request req;
	struct write_blobs blobs;
	struct write_answer how;
	int err;
	struct errtext why;
	api_f *answer;                   /* instead of write_answer(), if not NULL */
	void (*release)(struct edit *e); /* frees what the arena doesn't hold; may be NULL */
	void *cookie;
};

/**
 * edit_new(r): In r->cookie, with the id of the request, and new_edits set; NULL if there is no memory: the
 * request is then answered.
 */
struct edit *edit_new(struct apireq *r);

/** edit_look(r, id): Is the document there?  Errors: ERR_MISSING, ERR_DELETED; those of db_get(). */
int edit_look(struct apireq *r, struct jstr id) MUST_CHECK;

/** edit_parse(r): e->text into e->in; e->err says how it went.  Any thread. */
void edit_parse(struct apireq *r);

/** edit_fail(r, err): Answer with e->why or the default words, and release. */
void edit_fail(struct apireq *r, int err);

/** edit_param(r): The revision in ?rev= or If-Match.  On the request's thread.  Errors: as write_rev_param(). */
int edit_param(struct apireq *r) MUST_CHECK;

/**
 * edit_convert(r): e->in into e->w, with the revision that edit_param() found.  Any thread.  Errors: as
 * write_rev_join(), write_convert().
 */
int edit_convert(struct apireq *r) MUST_CHECK;

/**
 * edit_check(r): Would e->w conflict as things are now?  So that what can't be stored is refused before it is taken in.
 * Errors: ERR_CONFLICT.  Any thread.
 */
int edit_check(struct apireq *r) MUST_CHECK;

/** edit_store(r): e->w has all but the blobs of inline attachments: make them, submit, answer. */
void edit_store(struct apireq *r);

/** edit_put(r), edit_post(r), edit_delete(r): The requests with JSON or no bodies. */
void edit_put(struct apireq *r);
void edit_post(struct apireq *r);
void edit_delete(struct apireq *r);

/* copy.c */
/** copy_document(r): COPY. */
void copy_document(struct apireq *r);

/* upload.c */
/** upload_related(r): PUT of multipart/related. */
void upload_related(struct apireq *r);
/** upload_form(r): POST of multipart/form-data to a document. */
void upload_form(struct apireq *r);

#endif
