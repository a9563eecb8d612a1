/*
 * revtree.h: the revision tree of one document.  Pure; never touches disk.
 *
 * A forest of revisions.  It is held as runs: a run is an unbranched chain of
 * consecutive generations; its parent is the newest revision of another run, or
 * nothing.  So a document edited a thousand times is one run.  The oldest part
 * of a run may be *spilled*: kept by the caller in blocks of REVTREE_BLOCK
 * generations outside the encoded tree (tree `revs` of docs/FORMAT.md), so that
 * an edit rewrites a bounded record whatever the document's history.
 *
 * Invariants (told by revtree_valid()):
 * 1. Every run has at least one revision; generations within a run are consecutive.
 * 2. A run's first generation is its parent run's last plus 1.
 * 3. A run without children ends in a leaf; a run with children has at least two
 *    (else the two would be one run), or one that has a spilled part.
 * 4. Runs are ordered: first those that end in a leaf, winner first (not deleted before deleted, then
 *    rev_cmp() descending), then the inner ones by their newest revision, descending.
 * 5. No two revisions of one tree are equal in generation and hash: an id names one revision with one history.
 *    (A path that claims another parent for a known revision is cut there.)
 */
#ifndef DB_REVTREE_H_
#define DB_REVTREE_H_

#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "db/rev.h"

#define REVTREE_BLOCK 32u /* generations of one spilled block, aligned: [32k, 32k + 31] */
#define REVTREE_RECENT 8u /* newest generations of a run that are never spilled */

/* What is known of one revision besides its id. */
struct revnode {
	struct rev rev;  /* id; bytes live in the tree's arena */
	uint8_t deleted; /* 1 for a tombstone */
	uint8_t mark;    /* the caller's; not stored, 0 when read */
	uint64_t
	    body; /* number of its body in tree `bodies`; REVTREE_NO_BODY: gone or never seen; REVTREE_INLINE: in the document's record */
	uint64_t body_len; /* bytes of the body's JSON text, plus its attachments' stored lengths; 0 where no body */
	uint64_t
	    kept; /* number of a body that is there for merging alone: for all others the revision has none; REVTREE_NO_BODY: none */
};

#define REVTREE_NO_BODY UINT64_C(0)
#define REVTREE_INLINE UINT64_C(1)
#define REVTREE_BODY_FIRST UINT64_C(2) /* the lowest number of a body in tree `bodies` */

/* Opaque; lives in an arena and is freed with it. */
struct revtree;

/* A revision's place in its tree; valid until the tree is next changed. */
struct revpos {
	uint32_t run;   /* index of the run */
	uint32_t index; /* distance from the run's newest revision */
};

/*
 * A path as a writer brings it: revs[0] is the newest, each next one its parent, generations descending by 1.
 */
struct revpath {
	const struct rev *revs;
	size_t n;
	struct revnode leaf; /* of revs[0]; .rev is ignored */
};

enum revmerge {
	REVMERGE_NONE,      /* every revision of the path was known: nothing changed */
	REVMERGE_NEW_LEAF,  /* revs[0] is a new leaf that extends a former leaf, or the tree was empty */
	REVMERGE_BRANCH,    /* revs[0] is a new leaf on a new branch or root */
	REVMERGE_ANCESTORS, /* revs[0] was known; older revisions were grafted below a root */
	REVMERGE_BODY       /* revs[0] was known without a body, and has the path's now; nothing else changed */
};

/** revtree_new(a, tp): An empty tree.  Errors: ERR_NOMEM. */
int revtree_new(struct arena *a, struct revtree **tp) MUST_CHECK;

/** revtree_salt(t, salt): Something that those who choose ids do not know; it has no part in any result. */
void revtree_salt(struct revtree *t, uint64_t salt);

/**
 * revtree_decode(a, r, tp): Read what revtree_encode() wrote; ids point into the input, which must outlive
 * the tree.  Errors: ERR_CORRUPT, ERR_NOMEM.
 */
int revtree_decode(struct arena *a, struct bytes *r, struct revtree **tp) MUST_CHECK;

/**
 * revtree_winner_decode(r, out): The winner's node from an encoded tree without
 * reading the rest; ${r} is left anywhere.  Errors: ERR_CORRUPT.
 */
int revtree_winner_decode(struct bytes *r, struct revnode *out, size_t *nleavesp) MUST_CHECK;

/**
 * revtree_encode(t, b): Append the tree without what is spilled; docs/FORMAT.md has the bytes.  The winner's
 * run comes first.
 */
int revtree_encode(const struct revtree *t, struct buf *b) MUST_CHECK;

/**
 * revtree_merge(t, path, atp, howp):
 * Graft ${path} onto ${t}.  Merging commutes and repeats harmlessly: any order of the same paths gives the
 * same tree, except which body a revision that came twice keeps (the first that had one: the path's body is
 * in use if revtree_at(*${atp})->body is it, whatever *${howp}). A path that shares no revision with the tree
 * becomes another root.  *${atp} is where revs[0] now stands. If revisions that are spilled are needed to
 * decide, returns ERR_CHANGED and leaves ${t} as it was: call revtree_unspill() first.  That is rare if the
 * caller cuts ${path} to the newest revs_limit revisions, as stemming would anyway.
 * Errors: ERR_NOMEM; ${t} is then of no further use.
 */
int revtree_merge(struct revtree *t, const struct revpath *path, struct revpos *atp, enum revmerge *howp) MUST_CHECK;

/**
 * revtree_repeats(t, path, get, cookie): Before a merge, for a path that may contradict what is known: ERR_CHANGED if a
 * revision of it that merging would take for new is spilled, or this was asked so often that bringing all back is cheaper; call
 * revtree_unspill() then.  Looks into the few blocks that
 * come into question; ${get} as there.  Errors: ${get}'s, ERR_CORRUPT.
 */
int revtree_repeats(struct revtree *t, const struct revpath *path,
    int (*get)(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie), void *cookie) MUST_CHECK;

/**
 * revtree_stem(t, limit, gone, cookie): Keep at most ${limit} (>= 1) generations of each leaf's path; a
 * revision stays while any leaf's path keeps it. ${gone} (may be NULL) is called with each revision removed,
 * and with those that earlier stemmings cut from spilled blocks which revtree_unspill() has brought back
 * since.  Spilled revisions that go now are not reported: see revtree_spill_dropped().  Errors: ERR_NOMEM;
 * ${t} is then of no further use.
 */
int revtree_stem(
    struct revtree *t, uint64_t limit, void (*gone)(const struct revnode *node, void *cookie), void *cookie) MUST_CHECK;

/**
 * revtree_drop_leaf(t, r, removedp, gone, cookie): Purge leaf ${r} and the ancestors that only it had;
 * *${removedp} 0 if ${r} is not a leaf. ${gone} as in revtree_stem().  Errors: ERR_CHANGED if anything is
 * spilled (${t} is as it was: call revtree_unspill() first), ERR_NOMEM.
 */
int revtree_drop_leaf(struct revtree *t, const struct rev *r, int *removedp,
    void (*gone)(const struct revnode *node, void *cookie), void *cookie) MUST_CHECK;

/* Reading.  A node pointer lives until the tree is next changed. */
size_t revtree_nleaves(const struct revtree *t);
/** revtree_leaf(t, i): Leaf ${i}, winner order. */
struct revnode *revtree_leaf(const struct revtree *t, size_t i);
struct revpos revtree_leaf_pos(const struct revtree *t, size_t i);
/** revtree_find(t, r, atp): 1 and its place if ${r} is in the tree and not spilled, else 0. */
int revtree_find(const struct revtree *t, const struct rev *r, struct revpos *atp);
struct revnode *revtree_at(const struct revtree *t, struct revpos at);
/**
 * revtree_parent(t, at, parentp): 1 and the parent's place; 0 at a root or where the rest of the run is
 * spilled.
 */
int revtree_parent(const struct revtree *t, struct revpos at, struct revpos *parentp);
/** revtree_first_gen(t, at): The oldest generation that is known of the history of ${at}, spilled or not. */
uint64_t revtree_first_gen(const struct revtree *t, struct revpos at);
/* What a tree takes. */
struct revsize {
	uint64_t revs;  /* revisions, spilled or not */
	uint64_t bytes; /* at most so many are encoded, once what can be is spilled */
};

/** revtree_size(t): It looks at each run.  revtree_path_size(path): What merging it adds at most. */
struct revsize revtree_size(const struct revtree *t);
struct revsize revtree_path_size(const struct revpath *path);

/** revtree_is_leaf(t, at). */
int revtree_is_leaf(const struct revtree *t, struct revpos at);
/** revtree_descends(t, at, leaf): 1 if leaf number ${leaf} is ${at} or descends from it. */
int revtree_descends(const struct revtree *t, struct revpos at, size_t leaf);
/** revtree_each(t, fn, cookie): Every revision that is not spilled, in no order, until ${fn} returns not 0. */
int revtree_each(
    const struct revtree *t, int (*fn)(struct revnode *node, struct revpos at, void *cookie), void *cookie);

/**
 * revtree_each_fork(t, fn, cookie): Each revision at which the paths of two leaves that are not deleted part: what a merge
 * of them begins from.
 */
void revtree_each_fork(struct revtree *t, void (*fn)(struct revnode *node, void *cookie), void *cookie);

/*
 * Spilling.  A block is the revisions of generations [32 * block, 32 * block + 31]
 * of the run with number ${run_id}, which is unique in its tree and kept by the encoding.
 */
struct revspill {
	uint32_t run_id;
	uint64_t first_gen; /* oldest spilled generation that still counts (stemming raises it) */
	uint64_t last_gen;  /* newest spilled generation */
};

/*
 * What a commit does: decode; merge, and on ERR_CHANGED unspill and merge again; stem; spill; encode; then
 * revtree_spill_dropped() with what was spilled before the merge.  A block of a name is written once and
 * never changed.
 */

/** revtree_spills(t, outp, np): All spilled parts, in the tree's arena.  Errors: ERR_NOMEM. */
int revtree_spills(const struct revtree *t, struct revspill **outp, size_t *np) MUST_CHECK;

/**
 * revtree_spill(t, put, cookie): Move whole aligned blocks out of every run that has more than REVTREE_BLOCK
 * + REVTREE_RECENT generations in memory.  ${put} receives each block's encoded bytes to store.  Errors:
 * ${put}'s, ERR_NOMEM.
 */
int revtree_spill(struct revtree *t, int (*put)(uint32_t run_id, uint64_t block, const struct buf *bytes, void *cookie),
    void *cookie) MUST_CHECK;

/**
 * revtree_unspill(t, get, cookie): Bring everything back into memory.  ${get} returns a block's bytes, which
 * must outlive the tree, or an error.  The blocks' names are not used again: revtree_spill_dropped() gives
 * them for deletion.
 * Errors: ${get}'s, ERR_CORRUPT, ERR_NOMEM; ${t} is then of no further use.
 */
int revtree_unspill(struct revtree *t, int (*get)(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie),
    void *cookie) MUST_CHECK;

/**
 * revtree_spill_dropped(before, n, t, fn, cookie):
 * Call ${fn} with each block that the ${n} spilled parts in ${before} (of the same tree, earlier, by
 * revtree_spills()) name and ${t} does not: the caller deletes it.  If it did not unspill, it also frees the
 * bodies of the revisions in it (revtree_block_each()), all of which are stemmed; if it did, revtree_stem()
 * has reported them. Ends with ${fn}'s first result that is not 0, and returns it.  Errors: ERR_NOMEM.
 */
int revtree_spill_dropped(const struct revspill *before, size_t n, const struct revtree *t,
    int (*fn)(uint32_t run_id, uint64_t block, void *cookie), void *cookie) MUST_CHECK;

/**
 * revtree_block_each(r, block, fn, cookie): Every revision of block number ${block}, newest first, also those
 * that are stemmed, until ${fn} returns not 0; returns that.  Errors: ERR_CORRUPT.
 */
int revtree_block_each(
    struct bytes *r, uint64_t block, int (*fn)(const struct revnode *node, void *cookie), void *cookie) MUST_CHECK;

/** revtree_valid(t): 1 if the invariants hold.  revtree_check(t): Assert it; for trees that were not read from disk. */
int revtree_valid(const struct revtree *t);
void revtree_check(const struct revtree *t);

#endif
