/* doc.h: the document codec: a document's JSON as clients send and receive it. */
#ifndef DB_DOC_H_
#define DB_DOC_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/jread.h"
#include "db/rev.h"

enum doc_encoding { DOC_IDENTITY, DOC_GZIP };

/* One member of _attachments as a client sent it. */
struct doc_att_in {
	struct jstr name;
	struct jstr type; /* content_type; "application/octet-stream" if absent */
	enum { DOC_ATT_DATA, DOC_ATT_STUB, DOC_ATT_FOLLOWS } kind;
	struct jstr data; /* kind DATA: the decoded bytes */
	int has_revpos;
	uint64_t revpos;
	int has_digest; /* "md5-..." was given */
	unsigned char md5[16];
	int has_length; /* "length": of the identity form, or of what follows if not encoded */
	uint64_t length;
	int has_encoded_length;
	uint64_t encoded_length;
	enum doc_encoding encoding; /* "encoding":"gzip": the bytes are already compressed */
};

/* A document as a client sent it.  All memory is the arena's, or the input's. */
struct doc_in {
	int has_id;
	struct jstr id; /* checked: string, UTF-8, length, underscore rules */
	int has_rev;
	struct revbuf rev;     /* _rev; of generation 0 (rev_parse_local()) for _local documents alone */
	int deleted;           /* _deleted */
	size_t nrevisions;     /* 0: no _revisions */
	struct rev *revisions; /* newest first; revisions[0].gen is start */
	size_t natts;
	int has_atts;            /* _attachments was there, perhaps empty */
	struct doc_att_in *atts; /* in the order written; of equal names the last */
	struct jstr body;        /* CouchDB's text of the object without its underscore members; at least "{}" */
	struct jstr body_etf;    /* its external term, for rev_make() */
};

/**
 * doc_parse(j, a, out, why):
 * Read one document, an object, from ${j}, which goes on behind it.  Underscore members as CouchDB 3.5: _id
 * _rev _deleted _revisions _attachments are taken; _revs_info _conflicts _deleted_conflicts _local_seq are
 * dropped; _replication_* and _access stay in the body; others are ERR_DOC_VALIDATION. Errors, with CouchDB's
 * words in ${why}: ERR_BAD_JSON (the reader is then of no further use); ERR_NOT_OBJECT, ERR_DOC_VALIDATION,
 * ERR_BAD_REV, ERR_ID_*, ERR_RESERVED_ID, ERR_BAD_BASE64, ERR_DOC_TOO_LARGE (the value has been read over and
 * the next can be read); ERR_NOMEM.
 */
int doc_parse(struct jread *j, struct arena *a, struct doc_in *out, struct errtext *why) MUST_CHECK;

/**
 * doc_id_check(id, len, why): May this be a document's id?  "_design/x" is allowed, "_local/x" is.  Errors:
 * ERR_ID_*, ERR_RESERVED_ID, ERR_BAD_LOCAL_ID.
 */
int doc_id_check(const char *id, size_t len, struct errtext *why) MUST_CHECK;

/** doc_id_is_design(id): Is it a design document's? */
static inline int
doc_id_is_design(struct jstr id)
{
	return id.len >= 8 && memcmp(id.s, "_design/", 8) == 0;
}

/* A stored attachment, as readers see it. */
struct doc_att {
	struct jstr name;
	struct jstr type;
	uint64_t revpos;
	uint64_t length;        /* bytes, decoded */
	uint64_t stored_length; /* bytes, as stored */
	enum doc_encoding encoding;
	unsigned char md5[16]; /* of the stored bytes */
	uint64_t blob;         /* number of its bytes in tree `blobs` */
};

/* How doc_put_json() writes one attachment. */
enum doc_att_form { DOC_ATT_AS_STUB, DOC_ATT_AS_DATA, DOC_ATT_AS_FOLLOWS };

/* A revision to be written out. */
struct doc_out {
	struct jstr id;
	struct rev rev;
	int deleted;
	struct jstr body; /* "{...}" */
	const struct doc_att *atts;
	size_t natts;
	int att_encoding_info;
	/* form(i) for attachment i and, for DATA, its bytes appended as base64; NULL: all are stubs */
	int (*att)(void *cookie, size_t i, enum doc_att_form *formp, struct buf *base64);
	void *cookie;
	/* extra members: whatever is set is written in CouchDB's order */
	const struct rev *revisions; /* _revisions, newest first */
	size_t nrevisions;
	const char *extra; /* text of further members, each with a leading comma, or NULL */
	size_t extra_len;
};

/**
 * doc_put_json(b, d): Append the document: _id, _rev, the body's members, _deleted, _revisions, extra,
 * _attachments, where CouchDB 3.5 puts them.  Errors: b's, or att()'s.
 */
int doc_put_json(struct buf *b, const struct doc_out *d) MUST_CHECK;

#endif
