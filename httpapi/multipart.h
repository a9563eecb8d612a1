/* multipart.h: multipart answers put together and streamed (RFC 2046); base/multipart.h takes bodies apart. */
#ifndef HTTPAPI_MULTIPART_H_
#define HTTPAPI_MULTIPART_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "base/multipart.h"
#include "db/doc.h"

struct apireq;

#define MULTIPART_BOUNDARY_LEN 32u

/*
 * An answer of text and attachments.  The text is gathered in memory; attachments are read when it
 * is their turn, a chunk at a time, in their stored form.
 */
struct multipart_out {
	struct buf text; /* append text here */
	struct arena *arena;
	struct multipart_seg *segs; /* the rest is multipart_out.c's */
	size_t nsegs, capsegs;
	size_t text_done;
	uint64_t length;
	struct apireq *r;
	size_t seg;        /* what goes out next: */
	size_t text_at;    /* its text from there on, */
	uint64_t chunk;    /* or this chunk of its attachment */
	struct jstr heads; /* of the next part with attachments */
};

/** multipart_out_init(o, a): Nothing yet. */
void multipart_out_init(struct multipart_out *o, struct arena *a);
void multipart_out_release(struct multipart_out *o);

/**
 * multipart_out_related(o, boundary, json, jlen, atts, natts): A whole multipart/related body: the
 * JSON, then the attachments with their headers.
 */
int multipart_out_related(struct multipart_out *o, const char *boundary, const char *json, size_t jlen,
    const struct doc_att *const *atts, size_t natts) MUST_CHECK;

/**
 * multipart_out_mixed(o, boundary, json, jlen, atts, natts, error): One part behind "--boundary":
 * the JSON alone, marked if it is an ${error}, or a multipart/related one, with o->heads, whole lines, among its headers.
 */
int multipart_out_mixed(struct multipart_out *o, const char *boundary, const char *json, size_t jlen,
    const struct doc_att *const *atts, size_t natts, int error) MUST_CHECK;

/**
 * multipart_out_send(o, r, kind, boundary): Answer 200 with all of ${o}, whose memory is the
 * request's; Content-Type ${kind}; boundary="...".
 * ${o} is released when it went out.
 */
void multipart_out_send(struct multipart_out *o, struct apireq *r, const char *kind, const char *boundary);

#endif
