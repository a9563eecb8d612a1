/*
 * httpc.h: an HTTP client of many requests at once.  libcurl stands behind it, in httpc*.c alone, and is loaded by the
 * first call that needs it: who asks nothing of others does not grow.
 *
 * http and https alone, HTTP/2 where a server offers it over TLS; redirects are answers like others; the environment's
 * proxies are not used; a URL with credentials is refused (httpc_url_split takes them out).
 */
#ifndef BASE_HTTPC_H_
#define BASE_HTTPC_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct sockaddr;
struct httpc_loop;
struct httpc_transfer;

/* What a callback returns to be called again, with the same, after httpc_resume. */
#define HTTPC_PAUSE (-1)
/* No bound on a time. */
#define HTTPC_FOREVER UINT32_MAX
/* A length that is not told. */
#define HTTPC_UNKNOWN UINT64_MAX

/*
 * Bounds on time; there is none on the whole.  Time in which a callback has paused the request does not count, and they
 * are looked at in steps: what is too slow may take a quarter longer than its bound.
 */
struct httpc_times {
	uint32_t connect_ms; /* looking up the name, connecting, TLS */
	uint32_t head_ms;    /* from the end of the request to the end of the answer's head; none for feeds */
	uint32_t stall_ms;   /* without a byte of either body moving */
};

/* A loop's settings.  What is 0 or NULL takes the value given. */
struct httpc_config {
	struct httpc_times times; /* 10,000; HTTPC_FOREVER; 60,000 */
	uint32_t per_host;        /* ordinary requests under way to one host: 20 */
	uint32_t requests;        /* ordinary requests under way: 200 */
	uint32_t feeds;           /* feeds under way: 10,000 */
	uint32_t idle_ms;         /* after so long without a request the kept connections are closed: 30,000 */
	const char *ca_file;      /* PEM: certificates to trust; NULL: the system's */
	const char *cert_file;    /* PEM: this client's own certificate */
	const char *key_file;     /* PEM: its key; NULL: in cert_file */
	const char *key_password; /* of key_file */
	uint32_t verify_depth;    /* certificates between the server's and a trusted one; 0: no bound of ours */
	int no_verify;            /* 1: any certificate will do */
	/*
	 * Whether a connection to ${addr} may be made; 1: yes.  Asked on the loop's thread for each address, resolved,
	 * before connecting to it; with a proxy for the proxy's address, since the other is looked up there.  A connection
	 * that stands is used again without asking.  NULL: all may.
	 */
	int (*allow)(void *cookie, const struct sockaddr *addr, unsigned addr_len);
	void *allow_cookie;
};

/* An answer's head.  Its strings live until on_head returns. */
struct httpc_head {
	int status;
	uint64_t length;                       /* of the body as it is sent, before decoding; or HTTPC_UNKNOWN */
	const char *type;                      /* Content-Type, or "" */
	const char *location;                  /* the header, or "" */
	const struct httpc_transfer *transfer; /* for httpc_header */
};

/*
 * A request.  The owner's memory: what is in it, and what it points to, must stay as it is until on_done is called.
 *
 * Callbacks come on the loop's thread, one at a time, with no lock held; each must be quick, since all requests wait for
 * it.  Another value than 0 and HTTPC_PAUSE ends the request with that error.  From a callback all functions of this
 * header may be called but httpc_loop_free and httpc_get.
 */
struct httpc_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *user, *password; /* Basic; both or neither */
	const char *proxy; /* URL, credentials may be in it: http, https, socks4(a), socks5(h); NULL or "": none */
	const char *const *headers; /* "Name: value" */
	size_t nheaders;
	uint64_t owner;           /* requests to a host that is busy begin in turn by owner, and in order within one */
	struct httpc_times times; /* what is 0: the loop's */
	unsigned feed : 1;        /* stays open, so not counted with the ordinary ones */
	unsigned
	    paired : 1; /* passes on what another one brings, which is counted: would they wait for a turn, too, both might for ever */
	unsigned decode : 1; /* gzip and deflate are offered, and on_body gets what was inside */
	unsigned netrc : 1;  /* where user is NULL, both are looked for in ~/.netrc */
	unsigned pauses : 1; /* on_body may pause: made over HTTP/1.1, as what has on_read is */

	/*
	 * The request's body: bytes; or a stream of body_len bytes, from on_read: it writes 1 to ${size} bytes to ${buf} and
	 * their number to *${lenp}, or returns HTTPC_PAUSE.  Neither: none.  An answer of 400 or above ends the sending;
	 * of a server that then closes the connection at once the answer may be lost, which is ERR_IO.
	 */
	const void *body;
	uint64_t body_len;
	int (*on_read)(void *cookie, void *buf, size_t size, size_t *lenp);

	/*
	 * The answer: the head, once; the body in pieces of at most 16 KiB; the end, once and last, whatever
	 * happened.  All may be NULL.  on_head may not pause.
	 *
	 * on_done: ${err} is 0 when the whole answer came, whatever its status; else, with words for people in ${why}:
	 * ERR_BAD_REQUEST (URL, proxy or header that cannot be), ERR_FORBIDDEN (each address was refused by allow), ERR_IO (no
	 * connection, no trust, too slow, cut off, no HTTP), ERR_CANCELLED; ERR_NOMEM; what a callback returned.  ${status} is
	 * that of the head where one came, also with an error; else 0.  No credentials are in ${why}.
	 */
	int (*on_head)(void *cookie, const struct httpc_head *head);
	int (*on_body)(void *cookie, const void *data, size_t len);
	void (*on_done)(void *cookie, int err, int status, const struct errtext *why);
	void *cookie;

	/* The loop's; zero before the first start. */
	struct httpc_own {
		struct httpc_loop *loop;
		struct httpc_request *next, **prevp; /* of those with a message for the loop */
		struct httpc_transfer *transfer;     /* the loop's thread's */
		unsigned state, wish;
	} own;
};

/**
 * httpc_loop_new(config, lp): A loop; its thread begins with the first request.  ${config} is copied, its strings are
 * borrowed until httpc_loop_free.  Errors: ERR_NOMEM.
 */
int httpc_loop_new(const struct httpc_config *config, struct httpc_loop **lp) MUST_CHECK;

/**
 * httpc_loop_free(l): Ends all requests with ERR_CANCELLED and waits for their on_done, and for the thread.  From any
 * thread but the loop's.  No call on ${l} or its requests may run meanwhile or come later, but for those that callbacks
 * make: httpc_start then returns ERR_SHUTDOWN.  NULL: nothing.
 */
void httpc_loop_free(struct httpc_loop *l);

/**
 * httpc_start(l, req): Have ${req} made.  From any thread; does not wait.  Returns 0, and on_done will come, even before
 * this returns; or an error, and no callback comes: ERR_NOMEM (no thread), those of library_load() (libcurl),
 * ERR_SHUTDOWN.  A request that is done may be started anew, from its on_done too.
 */
int httpc_start(struct httpc_loop *l, struct httpc_request *req) MUST_CHECK;

/**
 * httpc_resume(req): After HTTPC_PAUSE: on_body and on_read are called again; one may pause again.  Without a pause:
 * nothing, so that it may be called once too often.
 *
 * httpc_cancel(req): End ${req}: on_done comes soon, with ERR_CANCELLED or, where the request ended on its own at the
 * same moment, with that.
 *
 * Both may be called from any thread, from httpc_start on for as long as ${req}'s memory lives; they never call back
 * and never wait for the loop, so locks may be held that callbacks take.  Once on_done was called they do nothing.  So
 * an owner that frees ${req} must only see to it that none of these calls is still running or to come: it frees in the
 * thread that makes them, or under the lock under which they are made.  The loop itself does not touch ${req} once
 * on_done is called.
 */
void httpc_resume(struct httpc_request *req);
void httpc_cancel(struct httpc_request *req);

/**
 * httpc_header(head, name, index): The value of the ${index}th header ${name}, in any case of letters; NULL: none.  In
 * on_head alone; lives until the next call.
 */
const char *httpc_header(const struct httpc_head *head, const char *name, size_t index);

/* What a loop does at the moment. */
struct httpc_stats {
	uint32_t running, feeds; /* under way */
	uint32_t waiting;        /* for their turn, feeds too */
	uint64_t connections;    /* made so far */
};

/** httpc_loop_stats(l, out): From any thread. */
void httpc_loop_stats(struct httpc_loop *l, struct httpc_stats *out);

/**
 * httpc_get(l, req, statusp, why): Make ${req} and wait for its end.  Callbacks come on the loop's thread; ${req}'s own
 * on_done does not.  Errors, with ${why} for people: those of httpc_start and on_done.
 */
int httpc_get(struct httpc_loop *l, const struct httpc_request *req, int *statusp, struct errtext *why) MUST_CHECK;

/*
 * A URL taken apart; "" is what it does not have.  The host is in lower case, the port that of the scheme where none was
 * given.
 */
struct httpc_url {
	char *url;             /* whole, normalised, without credentials and fragment: for httpc_request.url */
	char *scheme;          /* "http" or "https" */
	char *user, *password; /* percent-decoded; both NULL if there were none */
	char *host;            /* as in the URL: an IPv6 address has its brackets */
	unsigned port;
	char *path;  /* encoded, begins with '/'; without the query */
	char *query; /* encoded, without '?' */
};

/**
 * httpc_url_split(text, out, why), httpc_url_release(u): The latter wipes the password.  Loads libcurl.  Errors:
 * ERR_BAD_REQUEST with ${why}, in which no part of ${text} stands; ERR_NOMEM; those of library_load() (libcurl).
 */
int httpc_url_split(const char *text, struct httpc_url *out, struct errtext *why) MUST_CHECK;
void httpc_url_release(struct httpc_url *u);

#endif
