/*
 * http.h: the HTTP engine as handlers see it; h2o stands behind it, in h2o*.c alone.
 *
 * Handlers are written as if request bodies were streams and responses were streams.  One request
 * belongs to one HTTP thread; every call on it is made on that thread, and work that came back from
 * another thread returns through http_post().  A request may vanish (the client went away) while a
 * worker has it: hold a reference, and look at http_gone().
 */
#ifndef HTTP_HTTP_H_
#define HTTP_HTTP_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"

/* Opaque types. */
struct http_server;
struct http_thread; /* one event loop */
struct http_req;
struct http_timer;

/* Which answers are compressed for clients that take it: auto: those to other machines. */
enum http_compress { HTTP_COMPRESS_AUTO, HTTP_COMPRESS_ALWAYS, HTTP_COMPRESS_NEVER };

/* TLS, in the words of the section ssl.  Texts may be NULL and live as long as the server. */
struct http_tls {
	const char *cert_file; /* PEM, with chain */
	const char *key_file;
	const char *password; /* of the key; never shown or logged */
	const char *ca_file;  /* PEM: who signs clients' certificates */
	const char
	    *crl_file;  /* PEM: which of them are revoked, by each of these and those between; NULL: not looked at */
	int verify;     /* clients are asked for a certificate, */
	int require;    /* and must have one */
	unsigned depth; /* certificates between a client's and the one in ca_file */
	const char *ciphers; /* lists of names: see tls_names.h */
	const char *curves;
	const char *versions;
};

/* How a request ended. */
struct http_end {
	void *note;       /* http_note()'s, or NULL */
	const char *peer; /* the client's address */
	struct jstr path, query;
	const char *method;
	unsigned thread;
	int status;     /* 0: its client hung up before the answer began */
	int complete;   /* all of the answer was handed to the socket */
	uint64_t bytes; /* of the answer's body, as sent */
	uint64_t us;    /* since its head was there */
	uint64_t at_us; /* when it ended, by CLOCK_MONOTONIC */
};

/* What all clients, or one, may take.  0 is no bound where it says nothing else. */
struct http_gate {
	unsigned max_connections;         /* 0: as many as there are file descriptors, less those that databases need */
	unsigned connections_per_address; /* an IPv6 address counts as its /64 */
	unsigned requests_per_address;    /* that are being worked on, feeds among them, until the work is done */
	unsigned requests_per_second;     /* of one address, with a burst of 5 s; beyond the two: 429 */
	unsigned min_rate;                /* bytes a second that a request keeps up as it comes in; 0: 1,024 */
	unsigned stuck_ms;                /* an answer is taken at min_rate over windows of so long, or cut */
	uint64_t request_memory;          /* bytes that requests hold together: see http_server_room(); 0: no bound */
	unsigned room_wait_ms;            /* who finds none left waits so long, or until the server ends */
	uint64_t
	    unauthenticated_bytes; /* of bodies on their way that are taken in whole: see http_trust(); 0: no bound */
	const char *exempt;        /* addresses and nets without bounds of their own; NULL: loopback */
	const char *proxies;       /* whose X-Forwarded-For is believed, exempt as well; NULL: none */
};

struct http_config {
	const char *bind;     /* address, e.g. "127.0.0.1" */
	unsigned port;        /* 0: any free one */
	unsigned threads;     /* 0: one per core */
	const char *tls_bind; /* NULL: no TLS listener */
	unsigned tls_port;
	struct http_tls tls;
	uint64_t max_body; /* as http_server_set_max_body() */
	unsigned slow_ms;  /* a head's time; a body keeps up 1 KiB/s over such windows; 0: 30,000 */
	struct http_gate gate;
	const char *spool_dir;   /* where large request bodies wait, on disk */
	const char *server_name; /* the Server header of every response; NULL: h2o's own */
	/* Called once per request when its head is there, and its body or the beginning of a large one. */
	void (*handle)(struct http_req *req, void *cookie);
	/* Called once per request at its end, before its memory goes, on its thread; it calls nothing here.  May be NULL. */
	void (*ended)(const struct http_end *end, void *cookie);
	/* Called when a load is over that took much memory: some may go back to the system.  May be NULL. */
	void (*calm)(void *cookie);
	void *cookie;
};

/**
 * http_server_new(config, sp): Bind and listen (first a plain probe, so that a second server
 * fails), start no thread yet.  Errors: ERR_IO with a log line, ERR_NOMEM.
 */
int http_server_new(const struct http_config *config, struct http_server **sp) MUST_CHECK;
/** http_server_port(s), http_server_tls_port(s): The ports that are listened on. */
unsigned http_server_port(const struct http_server *s);
unsigned http_server_tls_port(const struct http_server *s);
/**
 * http_server_run(s): Serve until http_server_stop(); returns when every request has ended and been
 * released, or after a grace of 10 s: ERR_BUSY; somebody may then still use ${s}.  Where a thread cannot
 * be started it stops by itself: ERR_NOMEM and the like, with a log line.
 */
int http_server_run(struct http_server *s) MUST_CHECK;
/** http_server_stop(s): On any thread, also before http_server_run().  Listeners close, requests finish, on_shutdown callbacks run. */
void http_server_stop(struct http_server *s);
void http_server_free(struct http_server *s);

/**
 * http_server_set_max_body(s, max): From now on requests of more than ${max} bytes get 413, over HTTP/1 without being taken in
 * whole; 0: LIMIT_REQUEST_LEN.  More than UINT64_MAX / 2 counts as that.  Any thread.
 */
void http_server_set_max_body(struct http_server *s, uint64_t max);
/** http_server_compress(s, mode): For answers that begin from now on.  Any thread; a new server's mode is auto. */
void http_server_compress(struct http_server *s, enum http_compress mode);

/**
 * http_server_tls(s, tls): Settings for connections that come from now on; open ones stay, and their certificates are
 * looked at anew before they next count.  Errors: ERR_IO with a log line, and those before stay; also without a TLS
 * listener.  Files that change are read again by themselves.  Any thread.
 */
int http_server_tls(struct http_server *s, const struct http_tls *tls) MUST_CHECK;

/**
 * http_server_lag_ms(s, reset): The longest that one of the threads has been busy between two waits for events, in
 * ms; with ${reset} since it was last asked so.  Any thread.
 */
unsigned http_server_lag_ms(struct http_server *s, int reset);

/* The memory of requests in flight: bodies, what is made of them, large answers. */
struct http_room {
	uint64_t share;   /* what requests with bodies get, in all */
	uint64_t held;    /* by those that are worked on */
	uint64_t owed;    /* by answers that wait to be taken */
	uint64_t parked;  /* bytes that have come of others */
	uint64_t waiting; /* requests */
	uint64_t shed;    /* requests that got none, since the start */
};
/** http_server_room(s, out): Any thread. */
void http_server_room(struct http_server *s, struct http_room *out);

/** http_server_threads(s), http_server_thread(s, i), http_req_thread(req). */
unsigned http_server_threads(const struct http_server *s);
struct http_thread *http_server_thread(struct http_server *s, unsigned i);
struct http_thread *http_req_thread(struct http_req *req);
/** http_thread_index(t): 0 .. threads - 1, for per-thread tables. */
unsigned http_thread_index(const struct http_thread *t);
/**
 * http_thread_on_shutdown(t, fn, arg): Run ${fn} on ${t}'s loop when the server stops, so that
 * feeds can send their last line.  Before run.
 */
int http_thread_on_shutdown(struct http_thread *t, void (*fn)(void *arg), void *arg) MUST_CHECK;

/*
 * A message to a thread's loop.  Lives in its owner; posting never fails or allocates; not posted
 * twice at once.
 */
struct http_msg {
	void (*fn)(void *arg);
	void *arg;
	struct http_msg *next; /* the engine's */
};
/**
 * http_post(t, m): Any thread may call it.  Messages to one thread arrive in order; wake-ups are
 * coalesced.
 */
void http_post(struct http_thread *t, struct http_msg *m);

/* ---- The request ---- */

/** http_method(req): Upper case, e.g. "GET". */
const char *http_method(const struct http_req *req);
/** http_path(req): The raw target before '?', undecoded; http_query(req): behind it, or "" (len 0). */
struct jstr http_path(const struct http_req *req);
struct jstr http_query(const struct http_req *req);
/** http_header(req, name): The value of the first header ${name} (lower case), or {NULL, 0}. */
struct jstr http_header(const struct http_req *req, const char *name);
/** http_headers(req, fn, cookie): Call ${fn} with each header as it came until it returns not 0, which is then returned. */
int http_headers(
    const struct http_req *req, int (*fn)(struct jstr name, struct jstr value, void *cookie), void *cookie);
/** http_is_tls(req), http_version(req): 0x101 or 0x200. */
int http_is_tls(const struct http_req *req);
int http_version(const struct http_req *req);
/**
 * http_peer(req): The client's address as text: who connected, or, where that is one of the configured proxies, whom
 * X-Forwarded-For names.  In the arena.
 */
const char *http_peer(const struct http_req *req);
/** http_trust(req): Somebody has authenticated: the bodies on this connection no longer count as a stranger's. */
void http_trust(struct http_req *req);
/** http_is_local(req): 1 if the client is on this machine: 127.0.0.0/8 or ::1. */
int http_is_local(const struct http_req *req);
/* Where a client's certificate says whose it is: the common name, or a subjectAltName of a kind. */
enum http_cert_name { HTTP_CERT_CN, HTTP_CERT_EMAIL, HTTP_CERT_URI, HTTP_CERT_DNS };
/**
 * http_cert_name(req, what): That name from the certificate that the client has shown and that is valid now, in the
 * arena, terminated; {NULL, 0} if there is none, or more than one name of the kind.
 */
struct jstr http_cert_name(struct http_req *req, enum http_cert_name what);
/** http_note(req, note): What ended() is given; lives as long as the request. */
void http_note(struct http_req *req, void *note);
/** http_arena(req): Memory that lives until the request is released. */
struct arena *http_arena(struct http_req *req);

/*
 * The body.  A large one may still be on its way when handle() is called, over HTTP/1: the handler refuses it by its
 * answer, reads it piece by piece, or gathers it.  What is not read is not taken from the socket.  An answer
 * given before the end of the body ends the connection.
 */
/** http_body_len(req): The body's length; UINT64_MAX while that is not known (chunked, and still coming). */
uint64_t http_body_len(const struct http_req *req);
/** http_body_bound(req, max): What comes beyond ${max} bytes is ERR_TOO_LARGE; what has come is the caller's to look at. */
void http_body_bound(struct http_req *req, uint64_t max);
/** http_body_is_whole(req): 1 if all of it is there, and room for what is made of it, so that reading never waits. */
int http_body_is_whole(struct http_req *req);
/**
 * http_body_read(req, piecep): The next piece of the body (at most 1 MiB), borrowed until the next
 * call, also by another thread; length 0 at the end.  Errors: ERR_AGAIN (nothing is there yet: http_body_wait()), ERR_BUSY
 * (requests hold all the memory that they may, and did so for gate.room_wait_ms),
 * ERR_TOO_LARGE (more than max_body came), ERR_BAD_REQUEST (malformed framing), ERR_IO (the client is gone),
 * ERR_NOMEM.
 */
int http_body_read(struct http_req *req, struct jstr *piecep) MUST_CHECK;
/**
 * http_body_wait(req, fn, arg): Call ${fn} once on the request's thread, never from within this call, when
 * http_body_read() has a piece, the end or an error to tell.  Keeps a reference until then.
 * http_body_gather(req, fn, arg): The same when http_body_all() has: all of the body is then in memory or, if it is
 * large, in a file.  One of the two at a time.
 */
void http_body_wait(struct http_req *req, void (*fn)(void *arg), void *arg);
void http_body_gather(struct http_req *req, void (*fn)(void *arg), void *arg);
/**
 * http_body_all(req, bodyp): The body in one piece, if nothing was read yet and it is whole or was gathered.
 * Errors as http_body_read(), and ERR_NOSPACE: the disk is full.
 */
int http_body_all(struct http_req *req, struct jstr *bodyp) MUST_CHECK;

/**
 * http_hold(req), http_release(req): References for work on other threads; handle()'s own ends with
 * the response.  Both on the request's thread.
 */
void http_hold(struct http_req *req);
void http_release(struct http_req *req);
/** http_gone(req): 1 once the client has vanished; sending is then harmless and does nothing. */
int http_gone(const struct http_req *req);

/* ---- The response ---- */

/**
 * http_set_header(req, name, value, len): Before http_reply() or http_start(); ${name} (lower case)
 * is static, ${value} is copied.  http_add_header: another one of the same name.  A value with CR, LF or
 * NUL is dropped.
 */
void http_set_header(struct http_req *req, const char *name, const char *value, size_t len);
void http_add_header(struct http_req *req, const char *name, const char *value, size_t len);
/** http_set_static(req, name, value): http_set_header() of a text that is never freed, without a copy. */
void http_set_static(struct http_req *req, const char *name, const char *value);
/** http_drop_content(req): What headers tell of an answer's content is taken back, as another one, an error, is given instead. */
void http_drop_content(struct http_req *req);
/**
 * http_may_encode(req): Before http_reply() or http_start(): the body is text that may go out compressed, as the
 * client takes it.  The engine then sets Content-Encoding and Vary, and the length is the compressed one's.
 */
void http_may_encode(struct http_req *req);
/** http_expect(req, len): Before http_start() without a length: the body will have ${len} bytes all the same, whether or not it is encoded. */
void http_expect(struct http_req *req, uint64_t len);

/**
 * http_may_stream(req, len): 1 if a stream may begin whose first piece has ${len} bytes; 0 counts as a request that was shed.
 * http_keep(req, len): ${len} bytes that the handler keeps for its answer until the request ends count as waiting to be taken.
 * Errors: ERR_BUSY: there is no room for them.
 */
int http_may_stream(const struct http_req *req, uint64_t len);
int http_keep(struct http_req *req, uint64_t len) MUST_CHECK;
/** http_wrote(req): The answer tells what became of a write, or of another change: it is never refused for want of room. */
void http_wrote(struct http_req *req);
/**
 * http_reply(req, status, body, len): The whole response at once.  ${body} is copied.  On HEAD only
 * the head goes out, with content-length of ${len}.  Where it has no room it is a 503 instead, but behind http_wrote().
 */
void http_reply(struct http_req *req, int status, const void *body, size_t len);
/** http_reply_take(req, status, body, len): The same; ${body} is malloc()ed and becomes the engine's. */
void http_reply_take(struct http_req *req, int status, char *body, size_t len);

/**
 * http_start(req, status, length, ready, stop, cookie): A streamed response; its head is sent at
 * once, with content-length if ${length} is not UINT64_MAX.  ${ready} is called (never from within
 * http_start or http_send) whenever what was sent has gone to the socket and more may be sent.
 * ${stop} is called once if the client vanishes before http_finish(), or the stream is cut off since there is no memory to send
 * from, or no room for what was sent.
 */
void http_start(struct http_req *req, int status, uint64_t length, void (*ready)(void *cookie),
    void (*stop)(void *cookie), void *cookie);
/**
 * http_send(req, data, len): Copy and send; only once after each ready (the first: at once after
 * http_start()).  http_can_send(req): 1 if it may be called now.
 */
void http_send(struct http_req *req, const void *data, size_t len);
/**
 * http_lend(req, data, len): The same without a copy: ${data} stays as it is until ready() or stop() comes, and the
 * stream is not ended before.
 */
void http_lend(struct http_req *req, const void *data, size_t len);
int http_can_send(const struct http_req *req);
/**
 * http_finish(req): End of the response, allowed whether or not http_can_send().  http_abort(req):
 * End it so that the client sees that it is incomplete.
 */
void http_finish(struct http_req *req);
void http_abort(struct http_req *req);
/** http_cut(req): Cut the connection, whatever is on its way: stop() follows, for all streams of an HTTP/2 connection. */
void http_cut(struct http_req *req);

/* ---- Timers on a thread's loop ---- */

/**
 * http_timer_new(t, fn, arg, tp): A timer that is not set.  http_timer_set: fire once, ${ms} from
 * now; replaces an earlier setting.  Free cancels.
 */
int http_timer_new(struct http_thread *t, void (*fn)(void *arg), void *arg, struct http_timer **tp) MUST_CHECK;
void http_timer_set(struct http_timer *t, uint64_t ms);
void http_timer_cancel(struct http_timer *t);
void http_timer_free(struct http_timer *t);

#endif
