/*
 * h2o_body.h: a body that is streamed, as the files that read it, end it and lend it see it.  Private to
 * h2o_body*.c; the invariants stand in the first.
 */
#ifndef HTTP_H2O_BODY_H_
#define HTTP_H2O_BODY_H_

#include "h2o_impl.h"

struct http_body {
	unsigned refs;
	struct http_conn *conn; /* NULL: gone, or past this body */
	struct http_req *req;   /* NULL: before h2o's call, or released */
	h2o_buffer_t *head;     /* NULL: not taken aside yet, or put back */
	h2o_buffer_t *input;    /* what came with the head, until h2o's call */
	uint64_t announced;     /* UINT64_MAX: chunked */
	uint64_t left;          /* of announced */
	uint64_t total, max;    /* taken in so far; allowed */
	struct server_chunks chunks;
	char *fill, *lent;         /* invariant 2 */
	size_t cap, lent_cap, len; /* of fill; len: bytes in it */
	char *map;                 /* gathered, from a file */
	uint64_t map_at;           /* read by http_body_read() */
	uint64_t spooled;
	int fd;              /* the file, or -1 */
	int err;             /* no more of it can be had */
	h2o_socket_cb close; /* invariant 3 */
	unsigned char tls, ended;
	unsigned char unfit;   /* what came with the head found no room, and is gone */
	unsigned char expects; /* the client waits for 100 Continue */
	unsigned char reading, gathering, gathered;
	unsigned char waiting;  /* req->body_fn is to be called */
	unsigned char posted;   /* req->body_msg is on its way to do that */
	unsigned char dropping; /* the answer has begun: nobody wants the rest */
	unsigned char over;     /* nothing more will come */
	unsigned char out;      /* the answer has been written */
};

/** server_body_unref(b): One reference less. */
void server_body_unref(struct http_body *b);
/** server_body_start(b, cb), server_body_stop(b): Be called when there is something to read, or no longer. */
void server_body_start(struct http_body *b, h2o_socket_cb cb);
void server_body_stop(struct http_body *b);
/** server_body_want(b): The handler wants more of it. */
void server_body_want(struct http_body *b);
/** server_body_is_ready(b): There is something to tell to who waits; server_body_post(b): a message will. */
int server_body_is_ready(const struct http_body *b);
void server_body_post(struct http_body *b);
/** server_body_end_gather(b): All has come. */
void server_body_end_gather(struct http_body *b);
/** server_body_leave(b): The connection goes on without it, or is gone. */
void server_body_leave(struct http_body *b);

#endif
