/* rev.h: revision ids.  Above db/ they are opaque and handled through here only. */
#ifndef DB_REV_H_
#define DB_REV_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

#define REV_MD5_LEN 16u
#define REV_TEXT_MAX (21u + 1u + 2u * LIMIT_REV_LEN)

/*
 * A revision id: a generation (>= 1) and a hash part.  32 hexadecimal digits
 * are held as 16 bytes, anything else verbatim; 16 bytes are always written as
 * 32 lower-case digits, as CouchDB does.  The bytes are borrowed.
 */
struct rev {
	uint64_t gen;
	const unsigned char *id;
	size_t len;
};

/* A revision id that owns its bytes; rev_of() borrows from it. */
struct revbuf {
	uint64_t gen;
	size_t len;
	unsigned char id[LIMIT_REV_LEN];
};

/**
 * rev_parse(s, len, out): Read "GEN-HASH".  Errors: ERR_BAD_REV (no dash, generation not a
 * number or 0 or too large, empty hash, 32 characters of which one is no hex digit, hash too long).
 */
int rev_parse(const char *s, size_t len, struct revbuf *out) MUST_CHECK;

/** rev_parse_local(s, len, out): Read "0-N" of a _local document, N a number of at most 18 digits; ${out} has it verbatim.  Errors: ERR_BAD_REV. */
int rev_parse_local(const char *s, size_t len, struct revbuf *out) MUST_CHECK;

/** rev_parse_id(s, len, gen, out): The same for the hash part alone, as in _revisions.ids. */
int rev_parse_id(const char *s, size_t len, uint64_t gen, struct revbuf *out) MUST_CHECK;

struct rev rev_of(const struct revbuf *r);
/** rev_copy(out, r): ${r}.len must be at most LIMIT_REV_LEN. */
void rev_copy(struct revbuf *out, const struct rev *r);

/**
 * rev_put(b, r): Append "GEN-HASH".  rev_put_id: the hash part alone.  No quotes; valid inside a JSON string.
 */
int rev_put(struct buf *b, const struct rev *r);
int rev_put_id(struct buf *b, const struct rev *r);

int rev_equal(const struct rev *a, const struct rev *b);
/**
 * rev_cmp(a, b): <0, 0, >0: by generation, then by the bytes of the hash part: the order of winners among
 * equals in deletion.
 */
int rev_cmp(const struct rev *a, const struct rev *b);

/* What an attachment contributes to a revision id. */
struct rev_att {
	const char *name; /* NULL: an attachment that CouchDB fails to see, see rev_make() */
	size_t name_len;
	const char *type;
	size_t type_len;
	const unsigned char *md5; /* 16 bytes, of the stored form */
};

/**
 * rev_make(deleted, parent, body_etf, etf_len, atts, natts, out):
 * The revision id that CouchDB gives: generation parent + 1, MD5 over the external term of [Deleted,
 * OldStart, OldRev, Body, Atts].  ${parent} NULL: a first revision.  ${body_etf} as jread_text() writes it,
 * of the body's object; ${atts} in the document's order; those without a name count as {undefined, undefined,
 * undefined}.  Errors: ERR_NOMEM; ERR_BAD_REV: ${parent} has the highest generation.
 */
int rev_make(int deleted, const struct rev *parent, const void *body_etf, size_t etf_len, const struct rev_att *atts,
    size_t natts, struct revbuf *out) MUST_CHECK;

#endif
