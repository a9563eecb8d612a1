/* peer_http_impl.h: what the files of the peer behind HTTP share. */
#ifndef REPLICATOR_PEER_HTTP_IMPL_H_
#define REPLICATOR_PEER_HTTP_IMPL_H_

#include <pthread.h>
#include "base/buf.h"
#include "base/hash.h"
#include "replicator/peer_http.h"
#include "replicator/peer_http_json.h"

#define PEER_ANSWER ((size_t)64 << 20) /* bytes of an answer that is gathered */
#define PEER_ERROR_ANSWER 65536u       /* bytes that are read of an answer that is an error */
#define PEER_INFO_ANSWER \
	(1u << 20)         /* bytes of what a database says of itself: two sequences of 64 KiB, and what a peer adds */
#define PEER_HEADERS 24u   /* headers of a request, a user's among them */
#define PEER_URL_LEN 6000u /* bytes of a URL beyond which lists in it are cut */
#define PEER_URL_MIN 400u  /* and that every peer takes */
#define PEER_COOKIE 4096u  /* bytes of a session's cookie */
#define PEER_TYPE 256u     /* bytes of a Content-Type */

struct peer_http;
struct peer_op;

enum peer_rq_state {
	PEER_RQ_IDLE,   /* not begun, or over */
	PEER_RQ_AUTH,   /* waits for a session */
	PEER_RQ_SENT,   /* the client has it */
	PEER_RQ_PASSED, /* its job was submitted: to begin, or since it ended */
	PEER_RQ_WAITING /* its job is to run later: to be repeated */
};

/*
 * A request, repeated where that helps, until there is an answer to be had.  All but on_head, on_body and on_read happen
 * on the executor's threads; the state changes under the peer's lock.
 */
struct peer_rq {
	struct httpc_request http;
	struct peer_http *p;
	struct peer_op *op;   /* whose it is; NULL: the peer's own */
	struct peer_rq *next; /* of the op's */
	struct peer_rq *next_waiting;
	struct exec_job job;
	enum peer_rq_state state;
	int failed; /* an error before it was sent */

	/* What is asked: set before peer_rq_start(). */
	const char *method;
	struct buf path; /* behind the database's URL: encoded, with the query */
	size_t shown;    /* so much of it is told to people */
	struct buf body;
	const char *accept; /* NULL: application/json */
	const char *type;   /* of what is sent */
	const char *extra;  /* a header more; or NULL */
	size_t soft;        /* bytes of the answer beyond which it is cut behind a whole element; 0: it is not cut */
	size_t hard;        /* bytes of the answer that are too many */
	int once;           /* it cannot be repeated */
	int divisible;      /* a 500 that a database has words for is not waited behind: less is asked for at a time */
	int plain;          /* to the server itself, without credentials: the session's own request */
	uint32_t head_factor; /* the time that the answer's head may take, as a multiple of the timeout; 0: 1 */
	int (*on_head)(struct peer_rq *rq, const struct httpc_head *head); /* of an answer of 200; or NULL */
	int (*on_body)(struct peer_rq *rq, const void *data, size_t len);  /* likewise; NULL: it is gathered */
	void (*on_send)(struct peer_rq *rq);                               /* an attempt begins; or NULL */
	void (*done)(struct peer_rq *rq);

	/* This attempt. */
	struct buf url;
	char cookie[PEER_COOKIE + 32]; /* the header */
	const char *headers[PEER_HEADERS];
	unsigned attempt;
	int renewed;    /* a session was made anew for it */
	unsigned epoch; /* of the session that it was sent with; 0: without one */

	/* The answer. */
	int err; /* there is none */
	struct errtext why;
	int status;
	char answer_type[PEER_TYPE];
	char location[PEER_TYPE];
	int challenged; /* WWW-Authenticate */
	uint64_t retry_ms;
	struct buf answer;
	struct peer_scan scan;
	int cut; /* the answer goes on behind the last whole element, at which it was cut */
};

/* A call under way.  The first member of each call's own struct. */
struct peer_op {
	struct peer_http *p;
	struct peer_call *call; /* NULL behind its done() */
	struct peer_rq *rqs;
	void (*release)(struct peer_op *op); /* of what else it holds; or NULL */
	unsigned refs;
	int cancelled;
};

/* Where the credentials stand. */
enum peer_auth {
	PEER_AUTH_NONE,   /* there are none, or a header has them */
	PEER_AUTH_NEW,    /* a session is to be made */
	PEER_AUTH_ASKED,  /* it is being made */
	PEER_AUTH_COOKIE, /* there is one */
	PEER_AUTH_BASIC   /* there are none to be had */
};

struct peer_http {
	struct peer base;
	struct httpc_loop *loop;
	struct executor *ex;
	struct arena *arena; /* of its own copy of the end */
	struct rep_end end;
	const struct peer_filter *filter;
	uint64_t owner;
	uint32_t timeout_ms, backoff_ms;
	unsigned retries, connections;
	int paired; /* the other end is behind HTTP, too */

	pthread_mutex_t lock;
	unsigned refs;
	int closed;

	enum peer_auth auth;
	struct peer_rq *session;  /* asks for a session */
	struct peer_rq *waiting;  /* requests that want one */
	char cookie[PEER_COOKIE]; /* "AuthSession=..." */
	unsigned epoch;           /* counts the sessions that were asked for */
	uint64_t cookie_ms;       /* when it came */
	uint64_t renew_ms;        /* when it is to be made anew */
	int proven;               /* it has been accepted once */

	int bulk_get;            /* it has, or may have, _bulk_get */
	size_t doc_size;         /* how large a document has been, on average */
	size_t url_max;          /* bytes of a URL with lists in it */
	struct peer_about about; /* as it said when it was asked first */

	struct peer_call *hopeless; /* calls for which there was no memory, by their state */
	struct exec_job hopeless_job;
	int hopeless_passed;
};

/* ---- peer_http.c: calls ---- */

/** peer_op_new(p, call, size): ${size} cleared bytes that begin with a struct peer_op; NULL: the call will end by itself with ERR_NOMEM. */
void *peer_op_new(struct peer *p, struct peer_call *call, size_t size) MUST_CHECK;
/** peer_op_end(op, err, why): On an executor's thread, with no request under way.  The call is done; gives up the call's reference. */
void peer_op_end(struct peer_op *op, int err, const struct errtext *why);
void peer_op_ref(struct peer_op *op);
void peer_op_unref(struct peer_op *op);
/** peer_http_unref(p): peer_http_ref() is under the lock. */
void peer_http_ref(struct peer_http *p);
void peer_http_unref(struct peer_http *p);

/* ---- peer_http_rq.c: requests ---- */

/** peer_rq_init(rq, op, method, done): In place, cleared.  Until peer_rq_release(); ${op} keeps it in its list. */
void peer_rq_init(struct peer_rq *rq, struct peer_op *op, const char *method, void (*done)(struct peer_rq *rq));
void peer_rq_release(struct peer_rq *rq);
/** peer_rq_start(rq): done() will come, on an executor's thread, whatever has happened; also if rq->path or rq->body has failed. */
void peer_rq_start(struct peer_rq *rq);
/** peer_rq_cancel(rq): Under the lock. */
void peer_rq_cancel(struct peer_rq *rq);
/** peer_rq_send(rq): Under the lock: a session is there, or none is to be had. */
void peer_rq_send(struct peer_rq *rq);
/** peer_rq_pass(rq, err): Under the lock: it ends with ${err}, if not 0, or goes on, on the executor. */
void peer_rq_pass(struct peer_rq *rq, int err);
/**
 * peer_rq_bad(rq, err, fmt, ...): What the answer is wrong with: rq->err and rq->why are set; returns ${err}.
 */
int peer_rq_bad(struct peer_rq *rq, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/**
 * peer_rq_ok(rq): 1 if the answer is of status 2xx and no web page.  0: rq->err and rq->why say what it was: by status
 * ERR_UNAUTHORIZED, ERR_FORBIDDEN, ERR_NO_DB (404), ERR_CONFLICT, ERR_TOO_LARGE, ERR_MISSING_STUB, ERR_TOO_MANY_REQUESTS, ERR_BAD_REQUEST ..., else ERR_IO.
 */
int peer_rq_ok(struct peer_rq *rq) MUST_CHECK;

/** peer_rq_is_said(rq): The error is a 500 that a database has words for: it may be about what it was asked for alone. */
int peer_rq_is_said(const struct peer_rq *rq);
/** peer_rq_is_page(rq): The answer is a web page: somebody before the database has said it. */
int peer_rq_is_page(const struct peer_rq *rq);
/** peer_rq_judge(rq, err, why): ${err} is what taking the answer apart gave, ${why} continues "its answer ": as peer_rq_bad(), if it is one. */
void peer_rq_judge(struct peer_rq *rq, int err, const struct errtext *why);
/** peer_rq_start_later(rq, wait_ms): As peer_rq_start(), after a while. */
void peer_rq_start_later(struct peer_rq *rq, uint64_t wait_ms);
/** peer_rq_run(rq): No request at all: done() comes from a job. */
void peer_rq_run(struct peer_rq *rq);

/** peer_put_encoded(b, s, len): Append ${s} for a part of a path or query.  peer_put_id: a document's id as path. */
void peer_put_encoded(struct buf *b, const char *s, size_t len);
void peer_put_id(struct buf *b, struct jstr id);

/* ---- peer_http_auth.c: sessions ---- */

/** peer_auth_init(p): What config's end asks for. */
void peer_auth_init(struct peer_http *p);
/** peer_auth_wanted(p, rq): Under the lock: 1 if ${rq} has to wait for a session, which is then asked for, and is kept. */
int peer_auth_wanted(struct peer_http *p, struct peer_rq *rq);
/** peer_auth_refused(p, rq): Under the lock: the answer is 401 or 403.  1 if ${rq} is worth repeating, with a new session. */
int peer_auth_refused(struct peer_http *p, struct peer_rq *rq);
/** peer_auth_accepted(p, rq): The answer is another. */
void peer_auth_accepted(struct peer_http *p, const struct peer_rq *rq);
/** peer_auth_taken(p, epoch, header): A Set-Cookie header came: the session goes on with it, if it is one. */
void peer_auth_taken(struct peer_http *p, unsigned epoch, const char *header);
/** peer_auth_close(p): Under the lock: nobody waits any more. */
void peer_auth_close(struct peer_http *p);

/* ---- The calls ---- */

void peer_http_info(struct peer *p, struct peer_info *c);
void peer_http_create(struct peer *p, struct peer_create *c);
void peer_http_local_get(struct peer *p, struct peer_local *c);
void peer_http_local_put(struct peer *p, struct peer_local *c);
void peer_http_commit(struct peer *p, struct peer_call *c);
void peer_http_read(struct peer *p, struct peer_read *c);
void peer_http_changes(struct peer *p, struct peer_changes *c);
void peer_http_diff(struct peer *p, struct peer_diff *c);
void peer_http_write(struct peer *p, struct peer_write *c);
void peer_http_fetch(struct peer *p, struct peer_fetch *c);
void peer_http_open_doc(struct peer *p, struct peer_open *c);
void peer_http_put_doc(struct peer *p, struct peer_put *c);

#endif
