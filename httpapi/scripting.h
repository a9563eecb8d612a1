/*
 * scripting.h: users' functions in design documents, as requests call them: the program, what a function is told of a
 * request, and the answer that it makes.
 */
#ifndef HTTPAPI_SCRIPTING_H_
#define HTTPAPI_SCRIPTING_H_

#include "httpapi/api.h"
#include "script/script.h"

/** scripting_program(snap, id, a, outp): The program of the design document ${id}, for script_open().  Errors: as db_get(), ERR_DELETED, ERR_NOMEM. */
int scripting_program(struct db_snap *snap, struct jstr id, struct arena *a, struct jstr *outp) MUST_CHECK;

/** scripting_put_user(b, database, who): Append userCtx: {"db","name","roles"}. */
int scripting_put_user(struct buf *b, const char *database, const struct principal *who);

/* What a function is told of a request, in the request's arena. */
struct scripting_request {
	struct buf before, behind; /* JSON text that stands around the body's */
	struct jstr body;
	int has_body, is_form;
};

/**
 * scripting_request_take(q, r, id, body): Take what CouchDB passes to functions as the request: info, id, method, path, query,
 * headers, body, form, cookie, userCtx, secObj and the rest.  ${id}: of the document; len 0: none.  ${body} may be NULL:
 * there is none; it is borrowed.  On the request's thread.
 */
int scripting_request_take(
    struct scripting_request *q, struct apireq *r, struct jstr id, const struct jstr *body) MUST_CHECK;
/** scripting_request_put(b, r, q): Append it.  On any thread; where the body is long, not on an event loop.  Errors: as buf_put(). */
int scripting_request_put(struct buf *b, struct apireq *r, const struct scripting_request *q) MUST_CHECK;
/** scripting_put_request(b, r, id, body): Both at once, on the request's thread; nothing of it stays in the arena. */
int scripting_put_request(struct buf *b, struct apireq *r, struct jstr id, const struct jstr *body) MUST_CHECK;

/* A call of one function of a design document with a document and the request. */
struct scripting_call {
	struct jstr ddoc;   /* "_design/d" */
	const char *kind;   /* its member that has the function: "shows", "updates" */
	struct jstr name;   /* the function's */
	struct jstr id;     /* of the document; len 0, or not there: the function is given null */
	struct buf request; /* as scripting_request_put() made it */
	struct buf answer;  /* out: the function's */
	struct revbuf seen; /* out: the revision of the document that the function was given, */
	int has_doc;        /* if there was one */
	struct revbuf made; /* out: the design document's revision */
	int err;            /* out */
	char error[64];     /* with ERR_SCRIPT: the error's name */
	struct errtext why;
};

/** scripting_call_init(c, a): All empty; its buffers are ${a}'s. */
void scripting_call_init(struct scripting_call *c, struct arena *a);
/** scripting_find(c, program): Has the program the function?  Errors: ERR_MISSING in CouchDB's words. */
int scripting_find(struct scripting_call *c, struct jstr program) MUST_CHECK;
/** scripting_call_run(r, c): On a thread that may wait. */
void scripting_call_run(struct apireq *r, struct scripting_call *c);
/** scripting_call_fail(r, c): Answer with what went wrong. */
void scripting_call_fail(struct apireq *r, const struct scripting_call *c);

/**
 * scripting_reply(r, response, status): Answer with a function's {"code","headers","body" or "json" or "base64"}; ${status} where it has
 * no code.  A long ${response} is read on an executor thread: its memory is the request's arena.
 */
void scripting_reply(struct apireq *r, struct jstr response, int status);
/** scripting_reply_as(r, response, status, type): The same with another content type where the function says none. */
void scripting_reply_as(struct apireq *r, struct jstr response, int status, const char *type);
/** scripting_reply_tagged(r, response, tag): scripting_reply() with 200 and the ETag ${tag}, or 304 to who has it already. */
void scripting_reply_tagged(struct apireq *r, struct jstr response, const char *tag);

/**
 * scripting_reply_begin(r, response, type, then): Set the headers of a streamed answer whose function has given ${response}, and call
 * ${then}(r, status) with its status, or 200; 0: ${r} is answered, for that cannot be sent.  ${response} lives until then.
 */
void scripting_reply_begin(
    struct apireq *r, struct jstr response, const char *type, void (*then)(struct apireq *r, int status));

#endif
