/* attread.h: the bytes of a stored attachment on their way out: whole, decoded, or ranges of them. */
#ifndef HTTPAPI_ATTREAD_H_
#define HTTPAPI_ATTREAD_H_

#include "db/doc.h"
#include "httpapi/api.h"

/**
 * attread_send(r, att): Answer a GET or HEAD with ${att}, whose strings are the request's: ETag,
 * Content-Encoding where the client takes it, Range where it is stored as it was sent.  Bytes are
 * read chunk by chunk, each in a snapshot of its own.
 */
void attread_send(struct apireq *r, const struct doc_att *att);

#endif
