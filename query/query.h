/* query.h: CouchDB's collation order and Mango selectors: pure functions over JSON texts. */
#ifndef QUERY_H_
#define QUERY_H_

#include <stddef.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"

/* Opaque: a compiled selector. */
struct query_selector;

/* A document as a selector sees it.  All is borrowed for the call. */
struct query_doc {
	struct jstr id;   /* _id, not JSON */
	struct jstr rev;  /* _rev, "1-abc"; may be empty unless QUERY_WANTS_REV */
	struct jstr body; /* the members that do not begin with '_', an object in CouchDB's text form; empty: none */
	struct jstr
	    more; /* an object in the same form with _attachments or _conflicts, where they are wanted; empty: none */
	int deleted; /* it has the member "_deleted":true */
};

/* What a selector looks at besides the id: what the caller of query_selector_match() must supply. */
enum query_wants { QUERY_WANTS_BODY = 1, QUERY_WANTS_REV = 2, QUERY_WANTS_ATTACHMENTS = 4, QUERY_WANTS_CONFLICTS = 8 };

/**
 * query_collate(a, b, orderp):
 * Compare two JSON values in the order of CouchDB's views: null, false, true, numbers by value whatever
 * their size, strings by ICU's root collation, arrays, objects member by member as they stand.  *${orderp}
 * is below, equal to or above 0.  Strings that ICU takes for equal are equal, whatever their bytes.
 * Errors: ERR_BAD_JSON, ERR_NOMEM, ICU's (icu.h).
 */
int query_collate(struct jstr a, struct jstr b, int *orderp) MUST_CHECK;

/**
 * query_sortkey(json, scratch, out):
 * Append bytes whose order, compared as unsigned bytes, is query_collate()'s order of the values.  No key is a prefix of
 * another.  They hold for one query_sortkey_version().  ${scratch} is for strings with escapes.  Errors: ERR_BAD_JSON, ERR_NOMEM, ERR_TOO_LARGE, ICU's
 * (icu.h); ${out} is then as it was.
 */
int query_sortkey(struct jstr json, struct buf *scratch, struct buf *out) MUST_CHECK;
/** query_sortkey_beginning(json, max, scratch, out): The first ${max} bytes of it at most; what is behind them is not looked at.  Errors: as query_sortkey(). */
int query_sortkey_beginning(struct jstr json, size_t max, struct buf *scratch, struct buf *out) MUST_CHECK;
/**
 * query_sortkey_raw(json, scratch, out):
 * The same for the order of "collation":"raw", Erlang's of terms: numbers by value, false, null, true, objects member by member as
 * they stand, arrays, strings and members' names by their bytes.  ICU is not asked.
 */
int query_sortkey_raw(struct jstr json, struct buf *scratch, struct buf *out) MUST_CHECK;
/** query_sortkey_version(out): Of sort keys; keys of another one are of no use.  Errors: ICU's (icu.h). */
#define QUERY_SORTKEY_VERSION 5u
int query_sortkey_version(unsigned char out[QUERY_SORTKEY_VERSION]) MUST_CHECK;

/**
 * query_selector_new(text, sp, why):
 * Compile the JSON ${text} of a selector.  Errors, with CouchDB's reason in ${why}: ERR_SELECTOR_JSON (no
 * object), ERR_OPERATOR, ERR_OPERATOR_ARG, ERR_UNSUPPORTED, ERR_SELECTOR, ERR_FIELD, ERR_FIELD_NAME; ERR_BAD_JSON, ERR_NOMEM,
 * ERR_INTERNAL.  What exceeds LIMIT_SELECTOR_* is ERR_SELECTOR.
 */
int query_selector_new(struct jstr text, struct query_selector **sp, struct errtext *why) MUST_CHECK;

/** query_selector_free(s): NULL is allowed. */
void query_selector_free(struct query_selector *s);

/** query_selector_wants(s): The QUERY_WANTS_* of ${s}. */
unsigned query_selector_wants(const struct query_selector *s);

/**
 * query_selector_match(s, doc, matchp):
 * Does ${doc} match?  One pass over the body, which ends as soon as the answer is known; so a broken body may go unnoticed.  ${s} may be
 * used by one thread at a time: it holds the memory that matching needs.  A regular expression that exceeds
 * LIMIT_REGEX_WORK in this document does not match, nor does a selector that exceeds LIMIT_MATCH_WORK.
 * Errors: ERR_BAD_JSON, ERR_NOMEM, ICU's (icu.h).
 */
int query_selector_match(struct query_selector *s, const struct query_doc *doc, int *matchp) MUST_CHECK;

/** query_selector_put(s, out): Append the normalised selector as JSON, as _explain shows it. */
int query_selector_put(const struct query_selector *s, struct buf *out);

/* Opaque: which fields of a document are wanted. */
struct query_fields;

/**
 * query_fields_new(text, fp, why):
 * Read the JSON ${text}, an array of paths as selectors have them; an empty one means all.  Errors, with CouchDB's reason in
 * ${why}: ERR_FIELDS_JSON (no array), ERR_FIELD_JSON (an element that is no string), ERR_FIELD_NAME; ERR_SELECTOR: too many; ERR_BAD_JSON, ERR_NOMEM.
 */
int query_fields_new(struct jstr text, struct query_fields **fp, struct errtext *why) MUST_CHECK;

/** query_fields_free(f): NULL is allowed. */
void query_fields_free(struct query_fields *f);

/**
 * query_fields_put(f, doc, out): Append the object ${doc} with the wanted fields alone, in the order in which they were asked for.
 * Those that LIMIT_MATCH_WORK does not suffice for are left out.  One thread at a time.  Errors: ERR_BAD_JSON, ${out}'s.
 */
int query_fields_put(struct query_fields *f, struct jstr doc, struct buf *out) MUST_CHECK;

/** query_put_term(out, json): Append ${json} as Erlang prints a term (~w), as CouchDB quotes values in reasons; stops where ${out} is full. */
int query_put_term(struct buf *out, struct jstr json);

#endif
