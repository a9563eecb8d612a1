/* render.h: revisions of documents as JSON, with the extra members that a reader asks for. */
#ifndef HTTPAPI_RENDER_H_
#define HTTPAPI_RENDER_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"

struct apireq;

/* What a reader asked for.  Zeroed: the plain document with stubs. */
struct render_opts {
	int revs;                        /* _revisions, */
	size_t revs_max;                 /* so many at most; 0: all */
	int revs_info;                   /* _revs_info: the winner only, as the next three */
	int conflicts;                   /* _conflicts */
	int deleted_conflicts;           /* _deleted_conflicts */
	int local_seq;                   /* _local_seq */
	int attachments;                 /* data instead of stubs */
	int att_encoding_info;           /* encoding, encoded_length */
	int has_atts_since;              /* then only attachments newer than the newest of atts_since on the path */
	int latest;                      /* the reader of revisions by id wants their newest descendants */
	const struct revbuf *atts_since; /* ordered: render_since() */
	size_t natts_since;
};

/* Largest text that one rendered response may have. */
#define RENDER_MAX ((size_t)1 << 30)

/** render_rev_of_none(rev): "0-..." in atts_since: a revision that no document has, and that says nothing is known. */
int render_rev_of_none(const struct jstr *rev) MUST_CHECK;

/** render_since(o, revs, n): These are atts_since: ${revs}, which is put into order, lives as long as ${o}. */
void render_since(struct render_opts *o, struct revbuf *revs, size_t n);

/**
 * render_opts_parse(r, o, why):
 * Read ${o} from the query: revs revs_info conflicts deleted_conflicts meta local_seq attachments
 * att_encoding_info latest atts_since.  As in CouchDB whatever is not "true" is false.  Memory:
 * r->arena.
 * Errors: ERR_BAD_JSON, ERR_BAD_REV, ERR_BAD_REQUEST (atts_since), ERR_NOMEM.
 */
int render_opts_parse(const struct apireq *r, struct render_opts *o, struct errtext *why) MUST_CHECK;

/**
 * render_doc(b, doc, o, a, metap):
 * Append ${doc}'s winner, deleted or not, as a JSON object.  ${o} may be NULL.  *${metap} (may be
 * NULL) is set to 1 if _revs_info, _conflicts, _deleted_conflicts or _local_seq was written
 * (CouchDB then sends no ETag).  Temporary memory from ${a}.  On an error what was appended is
 * taken back.  Errors: ${b}'s, db_doc_rev()'s.
 */
int render_doc(struct buf *b, struct db_doc *doc, const struct render_opts *o, struct arena *a, int *metap) MUST_CHECK;

/**
 * render_rev(b, doc, at, o, a):
 * Append the revision at ${at} of the tree that db_doc_tree(doc, 1, ..) gave, without the members
 * that only a winner has.  Errors: ERR_MISSING (its body is not kept), and as above.
 */
int render_rev(
    struct buf *b, struct db_doc *doc, struct revpos at, const struct render_opts *o, struct arena *a) MUST_CHECK;

/**
 * render_follows(b, doc, at, o, a, attsp, nattsp):
 * As render_rev() (or as render_doc(), *${metap} included, where ${at} is NULL), but attachments
 * that would be data are "follows":true, with att_encoding_info: the first part of a
 * multipart/related answer.  *${attsp} are the ${nattsp} attachments that follow, in order; ${a}'s
 * memory.
 */
int render_follows(struct buf *b, struct db_doc *doc, const struct revpos *at, const struct render_opts *o,
    struct arena *a, int *metap, const struct doc_att ***attsp, size_t *nattsp) MUST_CHECK;

#endif
