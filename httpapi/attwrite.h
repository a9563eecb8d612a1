/* attwrite.h: attachment bytes on their way in: a request's body poured into blobs piece by piece, never held whole. */
#ifndef HTTPAPI_ATTWRITE_H_
#define HTTPAPI_ATTWRITE_H_

#include <stdatomic.h>
#include <stddef.h>
#include "base/err.h"
#include "base/jread.h"
#include "db/db.h"
#include "httpapi/api.h"

/* A body on its way; zeroed at first.  The upper half is set by who pours. */
struct attwrite {
	struct apireq *r;
	/* Takes the next bytes of the body, on any thread; what it returns other than 0 ends the pouring. */
	int (*take)(void *cookie, const char *data, size_t len);
	api_f *then; /* on the request's thread, once: the body ended, or ${err} says what was wrong */
	void *cookie;
	int err;

	/* The rest is attwrite.c's. */
	struct jstr piece;
	struct db_blob *open;    /* that is being filled */
	struct db_blob **closed; /* that are complete, and hold bytes in memory */
	size_t nclosed, capclosed;
	size_t held; /* bytes in ${closed} */
	int ahead;   /* they are being written */
	int held_up; /* they could not be yet */
	struct exec_job job;
	struct http_msg msg;
	atomic_size_t flushing; /* blobs that are being written */
	atomic_int flush_err;
};

/**
 * attwrite_pour(t): Read t->r's body to its end and give it to t->take.  Large bodies are taken on executor threads,
 * where t->take may use the request's arena; between two pieces the blobs that hold much are written to the
 * database.
 */
void attwrite_pour(struct attwrite *t);

/**
 * attwrite_open(t, mode, len, bp): For t->take: make the blob that attwrite_add() fills; ${len} bytes are announced
 * (UINT64_MAX: not known).  *${bp} is the caller's to free, once t->then was called.  Errors: ERR_ATT_TOO_LARGE,
 * ERR_NOMEM.  attwrite_close(t): It has all its bytes; it may be kept in memory as long as the caller likes.
 */
int attwrite_open(struct attwrite *t, enum db_blob_mode mode, uint64_t len, struct db_blob **bp) MUST_CHECK;
int attwrite_add(struct attwrite *t, const char *data, size_t len) MUST_CHECK;
int attwrite_close(struct attwrite *t) MUST_CHECK;

/**
 * attwrite_name_check(name, why): May an attachment be called so?  Errors: ERR_BAD_REQUEST.
 * attwrite_type_check(type, why): May that be its content type?
 */
int attwrite_name_check(const struct jstr *name, struct errtext *why) MUST_CHECK;
int attwrite_type_check(const struct jstr *type, struct errtext *why) MUST_CHECK;

#endif
