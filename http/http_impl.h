/*
 * http_impl.h: what the engine needs that is not h2o: listening sockets, checks of bytes.  Private to it.
 */
#ifndef HTTP_HTTP_IMPL_H_
#define HTTP_HTTP_IMPL_H_

#include <stddef.h>
#include <stdint.h>
#include "http/http.h"

/**
 * server_listen(addr, port, n, fds, portp): ${n} sockets that share one port (SO_REUSEPORT),
 * listening, after a plain bind has shown that nobody else has it.  Errors: ERR_IO with a log line;
 * no socket is then left open.
 */
int server_listen(const char *addr, unsigned port, unsigned n, int *fds, unsigned *portp) MUST_CHECK;

/** server_acked(fd): Bytes that the other end of a TCP connection has taken. */
uint64_t server_acked(int fd);
/** server_descriptors(): File descriptors that this process may have. */
unsigned server_descriptors(void);

/** server_reason(status): The reason phrase of an HTTP status.  Static. */
const char *server_reason(int status);

/* ---- framing.c ---- */

/* What the head of an HTTP/1 request says of its body. */
struct server_head {
	size_t len;            /* bytes, with the empty line */
	uint64_t body_len;     /* the Content-Length; UINT64_MAX: none, or not digits alone */
	unsigned framings;     /* headers that say how long the body is: one, or it is what smuggling is made of */
	unsigned char chunked; /* a Transfer-Encoding */
	unsigned char expects; /* an Expect */
	unsigned char folded;  /* a line that goes on with the one before: not everybody reads them as we do */
	unsigned hosts;        /* headers Host: one, or none before HTTP/1.1 */
	unsigned char bad;     /* a line that ends without a CR, a Host that is none */
	unsigned char old;     /* HTTP/1.0 */
	unsigned char closes;  /* Connection: close, perhaps among others */
	unsigned char odd;     /* not HTTP/1.1, values that are not the usual ones */
};
/** server_head_read(head, len, h): Of a head that is there up to and with its empty line; more may stand behind it. */
void server_head_read(const char *head, size_t len, struct server_head *h);
/** server_head_ok(h): 0 if what stands before us may see another end of the request: RFC 9112, 3.2, 5.2, 6.1 and 6.3. */
int server_head_ok(const struct server_head *h);
/** server_head_framed(h): 1 if it is clear where the body ends, so that it may be read without h2o. */
int server_head_framed(const struct server_head *h);
/** server_head_hide(head, len): Rename the headers that speak of the body, and Upgrade, so that h2o knows of none. */
void server_head_hide(char *head, size_t len);

/** server_token_ok(s, n): A token (RFC 9110, 5.6.2), as methods are. */
int server_token_ok(const char *s, size_t n);
/** server_host_ok(s, n): Nothing but what names a host and its port (RFC 3986, 3.2.2), perhaps nothing. */
int server_host_ok(const char *s, size_t n);

/* A chunked body on its way; zeroed at first. */
struct server_chunks {
	uint64_t left; /* of the chunk */
	unsigned line; /* bytes of the line, or of the trailer */
	unsigned char state, digits;
};
/**
 * server_chunks_next(c, p, n, max, datap): Take bytes from ${p} up to the next data and at most ${max} bytes of that.
 * Returns how many were taken; the data, perhaps none, are the last of them.
 * server_chunks_done(c), server_chunks_bad(c): The end has come; the framing is broken.  Nothing is taken then.
 */
size_t server_chunks_next(struct server_chunks *c, const char *p, size_t n, size_t max, struct jstr *datap);
int server_chunks_done(const struct server_chunks *c);
int server_chunks_bad(const struct server_chunks *c);

/* ---- frames.c ---- */

#define SERVER_H2_FIELDS 12u

/* What an HTTP/2 connection has sent; zeroed at first, but for began_ms. */
struct server_frames {
	uint64_t began_ms;
	/* Set by the engine before a walk. */
	uint64_t now_ms;
	uint64_t served; /* streams that were answered */
	uint64_t sent;   /* bytes */
	uint64_t looked; /* ${data} when the engine last looked at what waits */
	/* Counted. */
	uint64_t streams, resets, controls, windows;
	uint64_t data; /* bytes of DATA */
	/* The frame that is being read. */
	uint32_t left;        /* of its payload */
	uint32_t part;        /* of that, of the part that is being read */
	uint32_t stream;      /* its stream */
	uint32_t last_stream; /* the highest that was opened */
	uint32_t trailers;    /* the highest stream with some */
	uint32_t block_len;   /* of the header block, with all its frames */
	uint32_t skip;        /* of a string in it */
	uint16_t fields, pieces;
	unsigned char state, at, type, flags, pad;
	unsigned char hpack, then, shift, broken;
	unsigned char in_block; /* CONTINUATION has to come */
	unsigned char head[9];
	/* Where the fields of the last answer stood in h2o's table: h2o_head.c. */
	unsigned char places[SERVER_H2_FIELDS];
};
/**
 * server_frames_walk(f, p, n): Count ${n} bytes more, wherever they are cut.  Returns NULL, or why the connection is to be
 * ended, as a static text.
 * server_frames_resets(f): How many streams may have been reset by now.
 */
const char *server_frames_walk(struct server_frames *f, const char *p, size_t n) MUST_CHECK;
uint64_t server_frames_resets(const struct server_frames *f);

#endif
