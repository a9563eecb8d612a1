/*
 * h2o_impl.h: what the engine's files on h2o share: connections, requests, threads.  Only
 * h2o*.c see it, and h2o.
 *
 * A request (struct http_req) outlives h2o's: a worker may still hold it when its client has
 * vanished.  So:
 *
 * 1. req->h2o is h2o's request while that lives and is not yet answered in full, else NULL; then
 *    every call does nothing.
 * 2. The engine holds one reference while req->h2o is set.  What ends it: the final h2o_send()
 *    (answered), or h2o disposing of its request (vanished: stop() of a started stream, or the pool
 *    entry of server_hook_pool() before that).
 * 3. Method, path and headers that handlers see are copies in the request's arena.  A body that h2o
 *    has taken in is lent out of its buffer over HTTP/1, where nothing is freed before the answer;
 *    HTTP/2 may drop a stream at any moment, so there it is copied.  A streamed one has buffers of
 *    its own: h2o_body.c.
 * 4. After h2o_send(FINAL) h2o's request may be gone already or be the next one: it is not touched
 *    again.
 */
#ifndef HTTP_H2O_IMPL_H_
#define HTTP_H2O_IMPL_H_

#include <h2o.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "encode.h"
#include "http_impl.h"
#include "peers.h"
#include "room.h"
#include "tls.h"
#include "timers.h"

#define SERVER_SPOOL_BYTES ((size_t)2 << 20) /* a buffer of h2o's from this size on is a file: bodies beyond 1 MiB */
#define METHOD_MAX 24u

/* A span of time in which a client has to take some of an answer. */
struct http_window {
	uint64_t since_ms; /* 0: it has not begun */
	uint64_t acked;    /* what had been taken by then */
};

/* A connection, from accept to close: found by h2o's on_close hook of the socket. */
struct http_conn {
	struct http_thread *thread;
	h2o_socket_t *sock;
	struct http_conn *next, **linkp;
	struct http_req *req; /* HTTP/1: the one being answered after its handler returned */
	unsigned refs;        /* the socket's, and one of each request, which may outlive it */
	unsigned jobs;        /* requests that somebody still works on */
	unsigned resets;      /* HTTP/2 streams that vanished unanswered */
	unsigned served;
	struct server_peer *peer; /* its address, if that has bounds */
	struct server_addr addr;
	unsigned char proxy;   /* of the configured ones */
	unsigned char trusted; /* somebody has authenticated */
	unsigned char cut;     /* to be shut down when the pacer next looks */
	unsigned char is_h2;
	unsigned char watched; /* in the thread's epoll */
	unsigned char hung_up; /* the client closed its side */
	int watch_fd;          /* of its socket, once it is watched */
	uint32_t watch_serial;
	unsigned char busy;  /* scratch of sweep(): has streams */
	unsigned char place; /* the client: 0 not known yet, 1 on this machine, 2 on another */
	uint64_t idle_mark;  /* req->nsent when sweep() first saw it idle, plus 1 */

	/* The gate: h2o_gate.c, h2o_pace.c. */
	h2o_socket_cb read;
	struct http_conn *gate_next, **gate_linkp; /* in the thread's ungated */
	uint64_t got;                              /* bytes, decrypted */
	uint64_t since_ms, since_got;              /* where the window began */
	uint64_t idle_ms, idle_got;                /* the same of an idle connection; 0: not seen yet */
	size_t head_at;                            /* an HTTP/1 head: looked at so far */
	unsigned head_lines;
	unsigned char head_done;
	unsigned char receiving;       /* a request comes in, over HTTP/2: perhaps */
	unsigned char coming, overdue; /* scratch of server_on_pace() */
	unsigned char framed;          /* the head was found to say one thing of its body */
	unsigned char closes;          /* the request is the connection's last */
	unsigned char drops;           /* and what comes behind it is dropped */
	unsigned char handshaking;     /* of TLS */
	unsigned char lingers;         /* answered, while more may come: has one more window */
	h2o_socket_cb close;           /* drops: h2o's own, which closes; else NULL */
	h2o_socket_cb written;         /* h2o's own, to be called when an HTTP/1 answer has been written; else NULL */
	struct http_msg written_msg;   /* calls it in the loop's next turn */
	struct http_body *body;        /* a request's that is streamed: h2o_body.c */
	struct http_window stuck;      /* while an answer waits to be taken */
	struct http_window crowding;   /* the same, in the way of others */
	uint64_t spooled;              /* bytes of bodies that have not come whole, as the server counts them */
	uint64_t owed;                 /* what large answers count for that wait to be taken */
	struct server_peer *debtor;    /* whom the last of them is for, with a reference; NULL: no bounds */
	unsigned char shut;            /* by the pacer: what it is owed no longer counts in all */
	uint64_t parked;               /* bytes that have come and are nobody's yet: h2o_room.c */
	size_t want;                   /* HTTP/1: bytes of head and body that h2o is to be given together */
	struct server_frames *frames;  /* HTTP/2 */
	char text[SERVER_ADDR_TEXT];   /* of addr, once a request has come; for the log */
	struct ssl_ctx_st *tls;        /* what OpenSSL needs until the first bytes of a handshake */
	const struct ssl_st *ssl;      /* of a client that was asked for a certificate */
	unsigned cert_generation;      /* of the context that the certificate was last held against; 0: none yet */
	unsigned char cert_ok;         /* and passed */
};

struct http_req {
	h2o_req_t *h2o; /* invariant 1 */
	struct http_thread *thread;
	struct http_conn *conn;
	struct server_peer *peer; /* whose job it is */
	struct server_addr addr;  /* the client's */
	struct arena *arena;      /* made when first asked for, kept with the request */
	struct http_req *next;    /* free list, or the thread's flush list */
	struct http_req **hook;   /* in h2o's pool: points here while h2o must tell us of its end */
	unsigned refs;
	char method[METHOD_MAX];
	struct jstr path, query;
	h2o_iovec_t entity;
	struct http_body *body;   /* NULL: h2o has taken it in */
	uint64_t body_at;         /* read by http_body_read() */
	char *body_copy;          /* HTTP/2: what was lent */
	struct http_msg body_msg; /* http_body_wait()'s way back */
	void (*body_fn)(void *arg);
	void *body_arg;
	h2o_buffer_t *input;       /* HTTP/1, vanished: what the body was lent from */
	uint64_t room;             /* bytes of the server's that it holds */
	uint64_t kept;             /* it is owed for what stays until its end */
	uint64_t piece;            /* and for what waits to be sent, or is being sent */
	struct room_place *queued; /* it waits for some */
	int room_err;              /* there were none */
	int version;
	unsigned char admitted; /* its body may be read */
	unsigned char gone, tls, is_head;
	unsigned char started, headed, in_flight, finishing, aborting, on_flush, want_ready, answered;
	unsigned char wrote;       /* the answer tells of a change */
	unsigned char turned;      /* go_on_msg is on its way */
	struct http_msg go_on_msg; /* the stream's next turn of the loop */
	h2o_generator_t gen;
	void (*ready)(void *cookie);
	void (*stop)(void *cookie);
	void *cookie;
	unsigned char held; /* a whole answer waits for 100 Continue to be written: last */
	h2o_iovec_t last;
	unsigned char may_encode;
	uint64_t expected;         /* bytes of a body, by http_expect(); 0: unknown */
	struct encode_stream *enc; /* NULL: the body goes out as it is */
	char *raw;                 /* what waits to be encoded into out */
	size_t raw_at, raw_len;    /* 0 where none is left */
	char *out;                 /* what waits for the next h2o_send() or, in flight, is being written */
	size_t out_len, out_cap;
	const char *lent; /* goes out in place of out */
	uint64_t nsent;

	/* For ended(). */
	void *note;
	int status;
	unsigned char complete;
	uint64_t bytes, begun_us;
};

struct shutdown_hook {
	void (*fn)(void *arg);
	void *arg;
	struct shutdown_hook *next;
};

struct http_thread {
	struct http_server *server;
	unsigned index;
	pthread_t id;
	h2o_context_t ctx;
	h2o_accept_ctx_t accept[2]; /* plain, TLS */
	struct encode_ctx *encode;  /* made when first needed */
	h2o_socket_t *listener[2];
	h2o_socket_t *wake;  /* an eventfd */
	h2o_socket_t *watch; /* an epoll: see the top */
	int wake_fd, watch_fd;
	struct http_conn **watching; /* by descriptor: h2o_conn.c, server_watch() */
	size_t nwatching;
	uint32_t watch_serial;
	_Atomic(struct http_msg *) inbox; /* newest first */
	struct timers timers;
	h2o_timeout_entry_t turn; /* runs what is due within the loop: see on_turn() */
	struct http_timer sweeper;
	struct http_timer reopener; /* listens again after descriptors had run out */
	struct http_timer pacer;    /* looks for connections that are too slow or idle */
	struct http_timer expirer;  /* ends the waiting for room */
	struct http_timer calmer;   /* sees whether a load is over */
	unsigned busiest;           /* the most requests and connections since one was */
	h2o_socket_cb read1;        /* what h2o reads HTTP/1 with */
	struct http_conn *ungated;  /* h2o reads from them, or soon will, and the gate is not in place */
	struct http_conn *in_gate;  /* whose bytes h2o is given just now; NULL when that ends the connection */
	h2o_globalconf_t global;    /* the server's, with a limit of this thread's own */
	/* What h2o sends an HTTP/2 answer with: h2o_head.c. */
	void (*h2_send)(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state);
	struct http_conn *conns;
	struct http_req *flush, **flush_tail;
	struct http_req *free;
	unsigned nfree;
	uint64_t clock_us;       /* when a request of this turn was last begun or ended; 0: none yet */
	unsigned live;           /* requests that somebody still holds */
	_Atomic unsigned lag_ms; /* the longest turn */
	unsigned ended;          /* connections that were ended and not told of yet */
	uint64_t ended_ms;       /* when of one was */
	int stopping;
	uint64_t stop_at_ms;     /* when grace is over */
	uint64_t stop_coming_ms; /* when requests that are still coming in are given up */
	struct shutdown_hook *hooks;
};

struct handler {
	h2o_handler_t super;
	struct http_server *server;
};

struct http_server {
	struct http_config config;
	h2o_globalconf_t global;
	h2o_hostconf_t *host;
	struct server_tls *tls;
	unsigned port, tls_port, nthreads;
	unsigned max_conns;
	size_t name_len; /* of config.server_name */
	_Atomic unsigned nconns;
	_Atomic uint64_t spooled; /* by strangers: h2o_admit.c */
	struct server_room room;
	struct server_peers *peers;
	struct server_nets *exempt, *proxies;
	_Atomic int stop;
	_Atomic int compress; /* enum http_compress */
	_Atomic uint64_t max_body;
	struct http_thread *threads;
	int *fds[2];
};

/* ---- h2o_req.c ---- */

/** server_req_new(t): A request without references yet, or NULL. */
struct http_req *server_req_new(struct http_thread *t) MUST_CHECK;
/** server_detach(req): h2o's request is no longer ours to touch: drops the engine's reference. */
void server_detach(struct http_req *req);
/** server_vanish(req): h2o gave the request up before it was answered. */
void server_vanish(struct http_req *req);
/** server_req_begun(req): The clock of ended() runs. */
void server_req_begun(struct http_req *req);
/** server_hook_pool(req): Learn of the end of h2o's request while no stream was started. */
void server_hook_pool(struct http_req *req);

/* ---- h2o_room.c ---- */

/**
 * server_room_input(conn, more): Count what a connection's input takes, or will take: ${more} bytes.  0: there is no room.
 * server_room_leave(conn): It holds nothing any more.
 */
int server_room_input(struct http_conn *conn, uint64_t more) MUST_CHECK;
void server_room_leave(struct http_conn *conn);
/** server_room_streams(conn): The same of HTTP/2 bodies that are coming in; where there is no room, some are given up. */
void server_room_streams(struct http_conn *conn);
/**
 * server_room_begin(req): A request has come.  server_room_settle(req): Its answer goes out as a stream, perhaps for days: what
 * is there of the request is now the answer's.  server_room_end(req): Nothing any more.
 */
void server_room_begin(struct http_req *req);
void server_room_settle(struct http_req *req);
void server_room_end(struct http_req *req);
/** server_room_refuses(req): 1 if so much is held, or owed to its address, that nothing new may begin, whatever it asks for. */
int server_room_refuses(struct http_req *req);
/** server_room_admit(req, in_pieces): 1 if the body may be read: what is made of it has room. */
int server_room_admit(struct http_req *req, int in_pieces);
/** server_room_wait(req, in_pieces): Where it may not: server_body_go_on() when it may, or when req->room_err says that it must not. */
void server_room_wait(struct http_req *req, int in_pieces);
void server_on_expire(void *arg);
/** server_room_stop(t): The server ends: who waits is given up, and on ${t} nobody waits any more. */
void server_room_stop(struct http_thread *t);
/** server_room_busy(t), server_room_quiet(t): Connections or requests have become more, or less. */
void server_room_busy(struct http_thread *t);
void server_room_quiet(struct http_thread *t);
void server_on_calm(void *arg);
/** server_give_to_pool(req, mem, len): ${mem}, an answer's, is freed with h2o's request. */
void server_give_to_pool(struct http_req *req, void *mem, size_t len);
/**
 * server_room_grant(req, len): 1 if an answer of ${len} bytes may wait until its client takes it; 0 counts as a request that was shed.
 * server_room_grant_piece(req, len): The same of a piece of a stream, which has to end without, with a log line.
 */
int server_room_grant(const struct http_req *req, uint64_t len) MUST_CHECK;
int server_room_grant_piece(struct http_req *req, uint64_t len) MUST_CHECK;
/** server_room_count_piece(req, len): So much of a stream waits to be sent, or is being sent. */
void server_room_count_piece(struct http_req *req, uint64_t len);
/**
 * server_room_strains(conn): 1 if it leaves large answers untaken while that is in the way of others.
 * server_room_shut(conn): It is being shut down: that is so no longer.
 */
int server_room_strains(const struct http_conn *conn);
void server_room_shut(struct http_conn *conn);
/** server_raw_take(req, raw, len): ${raw} is what waits to be encoded, and is counted.  server_raw_free(req): No longer. */
void server_raw_take(struct http_req *req, char *raw, size_t len);
void server_raw_free(struct http_req *req);

/* ---- h2o_body.c ---- */

/**
 * server_body_open(conn, h): The head that stands alone in the socket's input, or with the beginning of its body, is
 * told h2o without its body, which is ours.  Errors: ERR_NOMEM, ERR_NOSPACE.
 */
int server_body_open(struct http_conn *conn, const struct server_head *h) MUST_CHECK;
/** server_body_begin(req): h2o has called with what may be that head; server_body_begun(conn): it has. */
void server_body_begin(struct http_req *req);
int server_body_begun(const struct http_conn *conn);
/** server_body_coming(conn): 1 while a handler may want more of a body. */
int server_body_coming(const struct http_conn *conn);
/** server_body_announced(req): The Content-Length of a streamed body, or UINT64_MAX. */
uint64_t server_body_announced(const struct http_req *req);
/** server_body_closed(conn), server_body_release(req): The one or the other is gone. */
void server_body_closed(struct http_conn *conn);
void server_body_release(struct http_req *req);
/** server_body_go_on(req): Who waits for the body has room, or none. */
void server_body_go_on(struct http_req *req);
/** server_body_answer(req): Before the head of the answer is made. */
void server_body_answer(struct http_req *req);
/** server_send_last(req, bufs, n, state): Detach and give h2o the end of the answer. */
void server_send_last(struct http_req *req, h2o_iovec_t *bufs, size_t n, h2o_send_state_t state);

/* ---- h2o_stream.c ---- */

/** server_put_name(s, h2o): The header Server, which h2o would print with sprintf(). */
void server_put_name(const struct http_server *s, h2o_req_t *h2o);
/** server_send_held(req): What waited for req->in_flight may go. */
void server_send_held(struct http_req *req);
/** server_flush(t): Hand h2o what handlers have sent meanwhile; at the end of every callback into one. */
void server_flush(struct http_thread *t);

/* ---- h2o_encode.c ---- */

/**
 * server_encode_choose(req, status, len): How the answer goes out, by what its client takes and by its length,
 * UINT64_MAX if that is not known.  Sets Vary.
 */
enum encode_coding server_encode_choose(struct http_req *req, int status, uint64_t len);
/** server_encode_name(req, coding): Set Content-Encoding; the two below do it as well. */
void server_encode_name(struct http_req *req, enum encode_coding coding);
/** server_encode_whole(req, coding, body): At most ENCODE_PIECE bytes, into h2o's pool.  Errors: ERR_NOMEM. */
int server_encode_whole(struct http_req *req, enum encode_coding coding, h2o_iovec_t *body) MUST_CHECK;
/** server_encode_begin(req, coding): What is sent is encoded from now on.  Errors: ERR_NOMEM. */
int server_encode_begin(struct http_req *req, enum encode_coding coding) MUST_CHECK;
/** server_encode_next(req): The next piece of ${req}->raw, or the end, into ${req}->out.  Errors: ERR_NOMEM. */
int server_encode_next(struct http_req *req) MUST_CHECK;

/* ---- h2o_conn.c ---- */

struct http_conn *server_conn_of(h2o_req_t *h2o);
/**
 * server_watch(conn, req): Notice when the client hangs up while ${req}, which its handler left
 * unanswered, goes on.
 */
void server_watch(struct http_conn *conn, struct http_req *req);
void server_on_accept(h2o_socket_t *listener, const char *err);
void server_on_watch(h2o_socket_t *sock, const char *err);
void server_on_sweep(void *arg);
void server_on_reopen(void *arg);

/* ---- h2o_cert.c ---- */

/** server_cert_seen(ssl): The handshake of a client that was asked for a certificate is over. */
void server_cert_seen(const struct ssl_st *ssl);

/* ---- h2o_dispatch.c ---- */

int server_on_req(h2o_handler_t *handler, h2o_req_t *h2o);
/** server_refuse(req, err): Answer with an error that the engine has found. */
void server_refuse(struct http_req *req, int err);
/**
 * server_error_setup: A filter for what h2o answers by itself, which puts CouchDB's form in place
 * of its text.
 */
void server_error_setup(h2o_filter_t *self, h2o_req_t *h2o, h2o_ostream_t **slot);

/* ---- h2o_admit.c ---- */

/** server_admit_open(s): Limits by address and in all.  Errors: ERR_NOMEM, ERR_BAD_REQUEST with a log line. */
int server_admit_open(struct http_server *s) MUST_CHECK;
void server_admit_close(struct http_server *s);
/** server_admit_full(s): 1 if no connection may come in addition.  server_admit_crowded(s): Few more may. */
int server_admit_full(const struct http_server *s);
int server_admit_crowded(const struct http_server *s);
/**
 * server_admit(conn): Whether a connection that was accepted may stay.  Errors: ERR_BUSY (its address has too many),
 * ERR_NOMEM.  server_admit_left(conn): The socket is gone.  server_conn_put(conn): Drops a reference.
 */
int server_admit(struct http_conn *conn) MUST_CHECK;
void server_admit_left(struct http_conn *conn);
void server_conn_put(struct http_conn *conn);
/** server_admit_spooled(conn, bytes): h2o holds so much of bodies that have not come whole; 0 if strangers' are too many. */
int server_admit_spooled(struct http_conn *conn, uint64_t bytes);
#define SERVER_SPOOLED "too many bytes of requests that nobody has authenticated"
/** server_req_addr(req, a): Whom the proxy that ${req} came by tells of; ${a} is the proxy's. */
void server_req_addr(const struct http_req *req, struct server_addr *a);
/** server_admit_job(req): Whether a request may be worked on.  Errors: ERR_TOO_MANY_REQUESTS, ERR_BUSY. */
int server_admit_job(struct http_req *req) MUST_CHECK;
/** server_admit_done(req): All work for it has ended. */
void server_admit_done(struct http_req *req);
/** server_admit_refused(conn): Tell its client, as far as it takes it at once, that it has too many connections. */
void server_admit_refused(struct http_conn *conn);
/** server_admit_log(conn, why): A connection is ended for what it did; a line for the first in 10 s. */
void server_admit_log(struct http_conn *conn, const char *why);

/* ---- h2o_frames.c ---- */

/** server_h2_open(conn): An HTTP/2 connection begins; its preface has yet to pass the gate.  Errors: ERR_NOMEM. */
int server_h2_open(struct http_conn *conn) MUST_CHECK;
/** server_h2_look(conn, n): At the last ${n} bytes of what has been read.  0: they go nowhere, the connection ends. */
int server_h2_look(struct http_conn *conn, size_t n);
/** server_h2_taken(conn): h2o has been given them. */
void server_h2_taken(struct http_conn *conn);
/** server_h2_goaway(conn, why): End it, with a frame that says why where that can be written. */
void server_h2_goaway(struct http_conn *conn, const char *why);
/** server_h2_owes(conn): 1 if an answer waits for the client to take it. */
int server_h2_owes(struct http_conn *conn);
/** server_h2_idle(conn): 1 if no stream is open. */
int server_h2_idle(const struct http_conn *conn);
/** server_h2_reset(conn): A stream vanished unanswered. */
void server_h2_reset(struct http_conn *conn);
/** server_h2_count_spooled(conn): Take stock of bodies that have not come whole; else as server_admit_spooled(). */
int server_h2_count_spooled(struct http_conn *conn);
void server_h2_close(struct http_conn *conn);
/** server_h2_head_ok(h2o): 0 or ERR_BAD_REQUEST, ERR_HEAD_TOO_LARGE: what h2o lets pass in a head. */
int server_h2_head_ok(h2o_req_t *h2o) MUST_CHECK;

/* ---- h2o_head.c ---- */

/** server_h2_head(req): An HTTP/2 request has come; the head of its answer need not be h2o's to write. */
void server_h2_head(struct http_req *req);

/* ---- h2o_gate.c ---- */

/** server_gate_learn(t): Before the first connection.  Errors: ERR_IO. */
int server_gate_learn(struct http_thread *t) MUST_CHECK;
/** server_gate_open(conn): A new connection; h2o has it. */
void server_gate_open(struct http_conn *conn);
/** server_gate_answered(conn): The next head may come on an HTTP/1 connection. */
void server_gate_answered(struct http_conn *conn);
/** server_gate_sent(conn): h2o has been given the end of an HTTP/1 answer. */
void server_gate_sent(struct http_conn *conn);
/**
 * server_gate_last(conn): h2o has been given the end of the last answer: what still comes is dropped until the client closes,
 * for one window, since to close while it sends would take the answer from it.
 */
void server_gate_last(struct http_conn *conn);
/** server_gate_http1(conn, accept): h2o's HTTP/1 on a connection whose first bytes may be there already. */
void server_gate_http1(struct http_conn *conn, h2o_accept_ctx_t *accept);
/** server_gate_http2(conn, accept): The same of HTTP/2, over TLS. */
void server_gate_http2(struct http_conn *conn, h2o_accept_ctx_t *accept);
/** server_gate_close(conn): The connection is gone. */
void server_gate_close(struct http_conn *conn);
/** server_gate_turn(t): Stand before h2o where it has begun to read; after every turn of its loop. */
void server_gate_turn(struct http_thread *t);
/** server_gate_stands(conn): 1 if it stands there.  server_gate_has_head(conn): 1 if an HTTP/1 head has come whole. */
int server_gate_stands(const struct http_conn *conn);
int server_gate_has_head(struct http_conn *conn);

/* ---- h2o_pace.c ---- */

/** server_pace_open(conn): A new connection.  server_pace_owed(conn): Something large waits to be taken by it. */
void server_pace_open(struct http_conn *conn);
void server_pace_owed(struct http_conn *conn);
/** server_pace_receiving(conn, is): We wait for the client, which has to keep up the rate, or no longer. */
void server_pace_receiving(struct http_conn *conn, int is);
/** server_on_pace(t): Cut off who is too slow. */
void server_on_pace(void *arg);

/* ---- h2o_loop.c ---- */

void server_on_wake(h2o_socket_t *sock, const char *err);
/** server_turn_is_long(t): 1 if who has more to do leaves it to the loop's next turn. */
int server_turn_is_long(struct http_thread *t);

#endif
