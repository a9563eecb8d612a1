/* multipart.h: multipart bodies taken apart piece by piece, and the headers that describe them (RFC 2046). */
#ifndef BASE_MULTIPART_H_
#define BASE_MULTIPART_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"

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

#endif
