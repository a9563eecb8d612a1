/*
 * rows.h: answers of many rows, made and sent batch by batch, so that no snapshot and no large
 * buffer outlives a turn of the event loop.
 */
#ifndef HTTPAPI_ROWS_H_
#define HTTPAPI_ROWS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "httpapi/api.h"

#define ROWS_BATCH_BYTES ((size_t)128 << 10) /* a batch ends behind the row that passes this */
#define ROWS_TURN_US 1000u                   /* and behind the row that passes this time */
#define ROWS_TURN_ROWS 1024u                 /* and behind so many, whatever they are */
#define ROWS_BATCH_MAX ((size_t)1 << 30)     /* one row with its attachments may be this large */

/* How much of its turn a producer has used. */
struct rows_turn {
	uint64_t start_us;
	unsigned rows; /* looked at, written or not */
	size_t base;   /* bytes that the buffer held before */
};

/** rows_turn_begin(t, b): A turn that appends to ${b} begins. */
void rows_turn_begin(struct rows_turn *t, const struct buf *b);
/** rows_turn_over(t, b): Count a row; 1 if the turn is over behind it. */
int rows_turn_over(struct rows_turn *t, const struct buf *b);
/** rows_turn_late(t): 1 if the turn's time is over: for behind what may have cost more than a row. */
int rows_turn_late(const struct rows_turn *t);

/**
 * A producer appends its next batch to ${b} within one turn and one snapshot.  ${scratch} may be reset by it.
 * Returns 0 if there is more to come, ERR_END behind the last row, or an error.  ERR_AGAIN, on the event loop only: what comes next is
 * more than one should do; from then on it is called on threads of r->api->ex, and may use r->arena and r->db, and nothing of r->http.
 */
typedef int rows_f(void *cookie, struct buf *b, struct arena *scratch);

/**
 * rows_send(r, fill, drop, cookie):
 * Answer 200 with what ${fill} appends.  All headers have been set.  One batch goes out as a whole
 * answer; more of them as a stream.  An error of the first batch is answered as one; a later one
 * cuts the stream off, so that the client sees that it is incomplete.  HEAD gets the head alone.
 * ${drop}(cookie), which may be NULL, runs once, when no more is needed.
 */
void rows_send(struct apireq *r, rows_f *fill, void (*drop)(void *cookie), void *cookie);

/**
 * rows_send_on(r, ex, fill, drop, fail, cookie): rows_send() where ${fill} runs on threads of ${ex}, for it may take longer than an
 * event loop should; it may use r->arena and r->db, and nothing of r->http.  An error of the first batch is answered by
 * ${fail}(cookie, err).
 */
void rows_send_on(struct apireq *r, struct executor *ex, rows_f *fill, void (*drop)(void *cookie),
    void (*fail)(void *cookie, int err), void *cookie);

/**
 * rows_stream_ahead(r, status, ex, fill, ahead, drop, cookie): The same with another status, where work goes on while the client has not
 * taken what it was sent: ${ahead}(cookie) runs again and again on threads of ${ex}, never together with ${fill}, until the client
 * wants more, or it returns something but 0; and anew behind the next batch.
 */
void rows_stream_ahead(struct apireq *r, int status, struct executor *ex, rows_f *fill, int (*ahead)(void *cookie),
    void (*drop)(void *cookie), void *cookie);

/**
 * rows_stream(r, status, length, fill, drop, cookie): The same with another status, and the body's
 * length where it is known (else UINT64_MAX), which HEAD gets too.
 */
void rows_stream(struct apireq *r, int status, uint64_t length, rows_f *fill, void (*drop)(void *cookie), void *cookie);

/**
 * rows_send_chunked(r, fill, cookie): rows_send() that never tells the length, as in CouchDB's _changes: node-fetch 2, which
 * PouchDB has in Node, waits for ever for the rest of an answer of a known length that is cut off.
 * rows_reply(r, status, b): The same of a whole answer; ${b} is copied.
 */
void rows_send_chunked(struct apireq *r, rows_f *fill, void *cookie);
void rows_reply(struct apireq *r, int status, const struct buf *b);

/** rows_now_us(): The monotonic clock. */
uint64_t rows_now_us(void);

/** rows_is_head(r): 1 for a HEAD request. */
int rows_is_head(const struct apireq *r);

/**
 * rows_object(r, j, why): Check that ${text} is one JSON object, in CouchDB's words, and set ${j}
 * before its first member.
 */
int rows_object(struct jread *j, const struct jstr *text, struct errtext *why) MUST_CHECK;

/**
 * rows_queries(j, body, why): The same of a body of several queries: ${j} is set into the array that its member "queries" must be.
 */
int rows_queries(struct jread *j, const struct jstr *body, struct errtext *why) MUST_CHECK;

/**
 * rows_string(a, text, outp): The JSON string ${text} unescaped, in ${a} or where it stands.
 * Errors: ERR_BAD_REQUEST (not a string), ERR_BAD_JSON, ERR_NOMEM.
 */
int rows_string(struct arena *a, const struct jstr *text, struct jstr *outp) MUST_CHECK;

#endif
