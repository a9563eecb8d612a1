/* peer_http_json.h: what a peer behind HTTP answers, taken apart.  Pure. */
#ifndef REPLICATOR_PEER_HTTP_JSON_H_
#define REPLICATOR_PEER_HTTP_JSON_H_

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "replicator/peer.h"

#define PEER_BORN 64u

/*
 * Where the elements of the list that an answer consists of end, while it comes in pieces: `[{..},{..}` or
 * `{"results":[{..},{..}`.  Zero at first.
 */
struct peer_scan {
	size_t at;       /* bytes looked at */
	size_t end;      /* behind the last whole element; 0: there is none */
	size_t elements; /* whole ones */
	unsigned depth;  /* objects and arrays open */
	unsigned level;  /* at which the elements are: 1 or 2; 0: not known yet */
	int quoted, escaped;
};

/** peer_scan_more(s, text, len): ${text} is all of the answer so far. */
void peer_scan_more(struct peer_scan *s, const char *text, size_t len);

/*
 * Below, a text that is not as it has to be is ERR_IO, with ${why} in words that continue "its answer "; ERR_NOMEM.
 * Results are the arena's.
 */

/* What an error says of itself, fit to be shown. */
struct peer_said {
	char error[64];
	char reason[256];
};
/** peer_json_said(text, len, out): Both empty where it says nothing. */
void peer_json_said(const char *text, size_t len, struct peer_said *out);

/* What a database says of itself. */
struct peer_about {
	char born[PEER_BORN]; /* instance_start_time, or "" */
	int pouchdb;          /* it is PouchDB's */
};
/** peer_json_info(text, len, a, seq, about, why): ERR_NO_DB: JSON, but of no database; ${about} is filled nevertheless. */
int peer_json_info(const char *text, size_t len, struct arena *a, struct jstr *seq, struct peer_about *about,
    struct errtext *why) MUST_CHECK;
/** peer_json_local(text, len, a, rev, body, why): A _local document. */
int peer_json_local(
    const char *text, size_t len, struct arena *a, struct jstr *rev, struct jstr *body, struct errtext *why) MUST_CHECK;
/** peer_json_rev(text, len, a, rev, why): What a write answers. */
int peer_json_rev(const char *text, size_t len, struct arena *a, struct jstr *rev, struct errtext *why) MUST_CHECK;

/** peer_json_changes(text, len, cut, c, why): ${cut}: it is not all, and ends behind a row.  Fills what stands behind c->wait. */
int peer_json_changes(const char *text, size_t len, int cut, struct peer_changes *c, struct errtext *why) MUST_CHECK;

/** peer_json_diff(text, len, c, why): Fills c->wants. */
int peer_json_diff(const char *text, size_t len, struct peer_diff *c, struct errtext *why) MUST_CHECK;

/** peer_json_written(text, len, c, why): Sets err and why of c->docs. */
int peer_json_written(const char *text, size_t len, struct peer_write *c, struct errtext *why) MUST_CHECK;

/** peer_json_code(error): The code for what a peer calls a document's error; ERR_HELD_BACK for what is not known. */
int peer_json_code(const char *error);

/* Documents that were asked for and what came of them, over several answers.  Zero at first. */
struct peer_found {
	struct arena *arena;
	const struct peer_want *wants;
	size_t nwants;
	const struct peer_want **sorted;
	unsigned char **answered; /* by want, of each revision: 0, or how */
	unsigned char *flags;     /* their memory */
	const struct rev **revs;  /* of each want in its turn: its revisions, in order */
	struct buf docs;          /* of struct peer_found_doc */
	uint64_t came;            /* documents */
	size_t bytes;             /* of their texts */
	size_t taken;             /* and of those that are kept */
	struct errtext *why;
};
struct peer_found_doc {
	struct peer_doc doc;
	size_t want;
};

int peer_found_init(struct peer_found *f, const struct peer_want *wants, size_t nwants, struct arena *a,
    struct errtext *why) MUST_CHECK;
void peer_found_release(struct peer_found *f);
/** peer_found_bulk(f, text, len, cut): An answer of _bulk_get.  ${cut}: it is not all, and ends behind a result. */
int peer_found_bulk(struct peer_found *f, const char *text, size_t len, int cut) MUST_CHECK;
/** peer_found_one(f, want, text, len): One of open_revs, for that want. */
int peer_found_one(struct peer_found *f, size_t want, const char *text, size_t len) MUST_CHECK;
/** peer_found_missing(f, want): There is no such document. */
int peer_found_missing(struct peer_found *f, size_t want) MUST_CHECK;
/** peer_found_failed(f, want, k, err, why): Its ${k}th revision cannot be had now (ERR_HELD_BACK), or at any time: it is too large, or its URL too long (ERR_DOC_TOO_LARGE). */
int peer_found_failed(struct peer_found *f, size_t want, size_t k, int err, const struct errtext *why) MUST_CHECK;
/** peer_found_whole(f): How many wants, from the first on, are answered. */
size_t peer_found_whole(const struct peer_found *f);
/** peer_found_end(f, done, c): The documents of the first ${done} wants are c->docs. */
int peer_found_end(struct peer_found *f, size_t done, struct peer_fetch *c) MUST_CHECK;

/* One attachment in a document's text. */
struct peer_stub {
	struct peer_att att;
	uint64_t plain; /* its length when it is not compressed; UINT64_MAX: not told */
	int follows;
	int has_digest; /* MD5 */
	unsigned char md5[16];
};

/**
 * peer_json_opened(text, len, asked, id, a, doc, stubs, nstubs, why): A document with attachments.  It must be ${id}, and
 * ${asked} or its successor.  Attachments without a length that follow are ERR_IO.
 */
int peer_json_opened(const char *text, size_t len, const struct jstr *id, const struct rev *asked, struct arena *a,
    struct peer_doc *doc, struct peer_stub **stubs, size_t *nstubs, struct errtext *why) MUST_CHECK;
/** peer_json_stubs(text, len, a, stubs, nstubs, why): The attachments of a document alone. */
int peer_json_stubs(const char *text, size_t len, struct arena *a, struct peer_stub **stubs, size_t *nstubs,
    struct errtext *why) MUST_CHECK;
/**
 * peer_json_open_revs(text, len, ...): The same from what open_revs answers as JSON: the first document, or ERR_MISSING.
 */
int peer_json_open_revs(const char *text, size_t len, const struct jstr *id, const struct rev *asked, struct arena *a,
    struct peer_doc *doc, struct errtext *why) MUST_CHECK;

/* ---- Shared by the files behind this header ---- */

/* A reader with the memory that strings with escapes need. */
struct peer_in {
	struct jread j;
	struct buf key, word;
	struct errtext *why;
};

void peer_in_init(struct peer_in *in, const char *text, size_t len, struct errtext *why);
/** peer_in_end(in, err): Its end: what ${err} is to the caller. */
int peer_in_end(struct peer_in *in, int err) MUST_CHECK;
/** peer_in_copy(a, from, to), peer_in_rev_dup(a, from, to): Into the arena. */
int peer_in_copy(struct arena *a, const struct jstr *from, struct jstr *to) MUST_CHECK;
int peer_in_rev_dup(struct arena *a, const struct revbuf *from, struct rev *to) MUST_CHECK;
/** peer_in_rev(in, out): Read a revision. */
int peer_in_rev(struct peer_in *in, struct revbuf *out) MUST_CHECK;
/** peer_in_said(in, out): Read an object for its error and reason. */
int peer_in_said(struct peer_in *in, struct peer_said *out) MUST_CHECK;
/** peer_in_keep(out, size, s): As much of ${s} as fits, on one line. */
void peer_in_keep(char *out, size_t size, const struct jstr *s);

#endif
