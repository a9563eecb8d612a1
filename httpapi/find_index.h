/* find_index.h: declared indexes: what a request says of one, and design documents with it and without it.  Texts alone. */
#ifndef HTTPAPI_FIND_INDEX_H_
#define HTTPAPI_FIND_INDEX_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

struct apireq;
struct query_index;

/* An index that is to be created. */
struct find_index {
	struct jstr id;   /* of its design document: "_design/x" */
	struct jstr name; /* of the view in it */
	struct jstr view; /* that view, JSON */
	int has_partitioned, partitioned;
};

/**
 * find_index_read(a, body, out, why): The body of POST _index; memory is ${a}'s.  An id or a name that it leaves open is a hash of the whole
 * definition, as CouchDB 3.5 (on Erlang/OTP 26) makes it where true, false and null are not in it.  Errors, with CouchDB's words: those of
 * find_words.h, find_query_sort() and query_selector_new(), ERR_EMPTY_STRING, ERR_INVALID_INDEX, ERR_INDEX_SERVICE, ERR_FIELD_NAME.
 */
int find_index_read(struct arena *a, struct jstr body, struct find_index *out, struct errtext *why) MUST_CHECK;

/**
 * find_index_docids(a, body, idsp, np, why): The ids of the design documents that the body of POST _index/_bulk_delete names.  Errors: those of
 * find_words.h, ERR_BULK_DELETE, ERR_INDEX_NAME.
 */
int find_index_docids(
    struct arena *a, struct jstr body, struct jstr **idsp, size_t *np, struct errtext *why) MUST_CHECK;

/** find_index_id(a, name, idp): "_design/x" of "x", or itself of "_design/x"; terminated.  Errors: ERR_NOMEM. */
int find_index_id(struct arena *a, struct jstr name, struct jstr *idp) MUST_CHECK;

/**
 * find_index_add(a, body, ix, outp, why): The design document's ${body} with the index; all else stays as it is.  body.len 0: there is none.  What
 * this gives is to be normalised.  Errors, with CouchDB's words: ERR_DDOC_LANGUAGE, ERR_PARTITIONED_OPTION; ERR_INVALID_INDEX (there are too many), ERR_BAD_JSON, ERR_NOMEM.
 */
int find_index_add(
    struct arena *a, struct jstr body, const struct find_index *ix, struct jstr *outp, struct errtext *why) MUST_CHECK;
/**
 * find_index_remove(a, body, name, outp): The same without the index; name.s NULL: without any of them.  outp->len 0: nothing is left that the
 * document was there for.  Errors: ERR_MISSING, ERR_BAD_JSON, ERR_NOMEM.
 */
int find_index_remove(struct arena *a, struct jstr body, struct jstr name, struct jstr *outp) MUST_CHECK;

/** find_index_put(ix, def, b): ${ix}, or all documents if it is NULL, as _index lists it and _explain names it. */
void find_index_put(const struct query_index *ix, struct jstr def, struct buf *b);

/** find_index_list(r): GET _index. */
void find_index_list(struct apireq *r);

#endif
