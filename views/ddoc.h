/* ddoc.h: a design document as views see it: what may stand in it, and which indexes it defines.  Pure.  Private to views/. */
#ifndef VIEWS_DDOC_H_
#define VIEWS_DDOC_H_

#include <stddef.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/jread.h"

/* Reductions that need no JavaScript. */
enum ddoc_reduce {
	DDOC_NONE,
	DDOC_SUM,
	DDOC_COUNT,
	DDOC_STATS,
	DDOC_DISTINCT,
	DDOC_FIRST,
	DDOC_LAST,
	DDOC_TOP,
	DDOC_BOTTOM,
	DDOC_SCRIPT
};

#define DDOC_TOP_MAX 100u /* N of _top_N and _bottom_N */

/* A view. */
struct ddoc_view {
	struct jstr name;
	unsigned map; /* whose rows it shows: index into maps */
	int raw;      /* as its map */
	enum ddoc_reduce kind;
	unsigned n;      /* of _top_N and _bottom_N */
	unsigned reduce; /* DDOC_SCRIPT: index into reduces */
	unsigned slot;   /* which of its map's reductions this is; equal ones are kept once */
	struct jstr def; /* of language "query": the definition as it stands */
	int declared;    /* it has options, without which CouchDB takes it for no index */
};

/* A distinct map function, with the reductions that views ask of its rows. */
struct ddoc_map {
	struct jstr text; /* the function, or what stands for it */
	int raw;          /* rows are in the order of query_sortkey_raw() */
	unsigned nslots;
	/* Of language "query". */
	const struct jstr *columns; /* paths */
	size_t ncolumns;
	struct jstr filter; /* a selector; len 0: every document */
};

struct ddoc {
	struct jstr language; /* "javascript" where it says nothing */
	int is_query;         /* it is "query": rows are made of columns, and no function runs */
	int include_design, local_seq, partitioned, has_partitioned;
	int autoupdate;
	struct jstr lib; /* views.lib, JSON text; len 0: none */
	struct ddoc_view *views;
	size_t nviews;
	struct ddoc_map *maps;
	size_t nmaps;
	struct jstr *reduces; /* texts of reduce functions, distinct */
	size_t nreduces;
	unsigned char
	    signature[MD5_LEN]; /* equal for design documents that define the same indexes, whatever their names */
};

/**
 * ddoc_check(body, why): May a design document have this body?  Errors: ERR_INVALID_DESIGN with CouchDB's words in ${why};
 * ERR_MISSING (a function of no text), ERR_BAD_JSON, ERR_NOMEM.
 */
int ddoc_check(struct jstr body, struct errtext *why) MUST_CHECK;

/** ddoc_parse(body, a, out): The indexes that it defines, in ${a}'s memory; a view that ddoc_check() refuses is left out.  Errors: ERR_BAD_JSON, ERR_NOMEM. */
int ddoc_parse(struct jstr body, struct arena *a, struct ddoc *out) MUST_CHECK;

/** ddoc_view_of(d, name): The view, or NULL. */
const struct ddoc_view *ddoc_view_of(const struct ddoc *d, struct jstr name);

/** ddoc_reduce_of(text, np): What a reduce's text means; DDOC_NONE: begins with '_' and means nothing. */
enum ddoc_reduce ddoc_reduce_of(struct jstr text, unsigned *np);

/** ddoc_sortkey(raw, key, scratch, out): query_sortkey(), or query_sortkey_raw(). */
int ddoc_sortkey(int raw, struct jstr key, struct buf *scratch, struct buf *out) MUST_CHECK;

/** ddoc_program(d, b): Append the program of its functions, for script_open(). */
int ddoc_program(const struct ddoc *d, struct buf *b);

#endif
