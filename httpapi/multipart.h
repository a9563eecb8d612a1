/*
 * multipart.h: multipart request bodies taken apart piece by piece, multipart answers put together
 * and streamed (RFC 2046).
 */
#ifndef HTTPAPI_MULTIPART_H_
#define HTTPAPI_MULTIPART_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "db/doc.h"

struct apireq;

/* ---- Headers ---- */

/**
 * multipart_is(type, kind): 1 if the Content-Type ${type} is ${kind}, e.g. "multipart/related";
 * parameters are not looked at.
 */
int multipart_is(struct jstr type, const char *kind);

/**
 * multipart_param(header, name, a, outp): Parameter ${name} of a header's value, unquoted, e.g.
 * boundary or filename.  Memory: the header's or ${a}'s.  Errors: ERR_MISSING, ERR_NOMEM.
 */
int multipart_param(struct jstr header, const char *name, struct arena *a, struct jstr *outp) MUST_CHECK;

/** multipart_accepted(accept, type): 1 if an Accept header (NULL: none was sent) takes ${type}. */
int multipart_accepted(struct jstr accept, const char *type);

/* ---- Reading ---- */

#define MULTIPART_HEADERS 16384u /* bytes of one part's headers */
#define MULTIPART_BOUNDARY 200u  /* bytes of a boundary */

/* One header of a part: name as sent. */
struct multipart_header {
	struct jstr name;
	struct jstr value;
};

/* Who takes the parts.  An error returned ends the parsing and is multipart_feed()'s. */
struct multipart_sink {
	int (*begin)(void *cookie, const struct multipart_header *headers, size_t n);
	int (*data)(void *cookie, const char *data, size_t len);
	int (*end)(void *cookie);
	void *cookie;
};

/* Opaque. */
struct multipart;

/**
 * multipart_new(boundary, sink, mp): ${sink} is copied.  Errors: ERR_BAD_REQUEST (no boundary, or
 * too long), ERR_NOMEM.
 */
int multipart_new(struct jstr boundary, const struct multipart_sink *sink, struct multipart **mp) MUST_CHECK;
void multipart_free(struct multipart *m);

/**
 * multipart_feed(m, data, len): The next bytes of the body (at most 1 MiB), cut anywhere.  Errors: ERR_BAD_REQUEST
 * (malformed), ERR_NOMEM, the sink's.
 */
int multipart_feed(struct multipart *m, const char *data, size_t len) MUST_CHECK;

/** multipart_done(m): 1 once the closing boundary was read. */
int multipart_done(const struct multipart *m);

/** multipart_find(headers, n, name): The value of header ${name} (lower case), or {NULL, 0}. */
struct jstr multipart_find(const struct multipart_header *headers, size_t n, const char *name);

/* ---- Writing ---- */

#define MULTIPART_BOUNDARY_LEN 32u

/*
 * An answer of text and attachments.  The text is gathered in memory; attachments are read when it
 * is their turn, a chunk at a time, in their stored form.
 */
struct multipart_out {
	struct buf text; /* append text here */
	struct arena *arena;
	struct multipart_seg *segs; /* the rest is multipart.c's */
	size_t nsegs, capsegs;
	size_t text_done;
	uint64_t length;
	struct apireq *r;
	size_t seg;
	uint64_t chunk;
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
 * the JSON alone, marked if it is an ${error}, or a multipart/related one.
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
