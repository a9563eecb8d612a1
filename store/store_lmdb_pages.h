/*
 * store_lmdb_pages.h: what the reader of pages (store_lmdb_pages.c, _file.c, _node.c) and the salvage
 * (store_lmdb_salvage.c) share.  Private to them.
 */
#ifndef STORE_STORE_LMDB_PAGES_H_
#define STORE_STORE_LMDB_PAGES_H_

#include <string.h>
#include "store/pages.h"

#define PAGES_HEAD 16u
#define PAGES_TREE_LEN 48u
#define PAGES_BRANCH 0x01u /* flags of a page */
#define PAGES_LEAF 0x02u
#define PAGES_OVERFLOW 0x04u
#define PAGES_BIGDATA 0x01u /* of a node */
#define PAGES_NONE UINT64_MAX
#define PAGES_DEPTH_MAX 24u

enum pages_kind { PAGES_FREE, PAGES_MAIN, PAGES_TREE };

/* What names a tree says of it, and what a walk saw. */
struct pages_tree {
	enum pages_kind kind;
	unsigned number; /* PAGES_TREE: which, or STORE_TREES_MAX: one that nobody knows */
	uint64_t branches, leaves, overflows, entries, root;
	unsigned depth, flags;
	uint64_t branches_seen, leaves_seen, overflows_seen, entries_seen;
};

/* An entry of a page, in the page's memory. */
struct pages_node {
	unsigned flags;
	const unsigned char *key, *data;
	size_t klen, dlen; /* dlen: of the value, wherever it is */
	uint64_t child;    /* of a branch page */
	size_t size;       /* bytes in the page */
};

/* A file that is read: for a check, which ends at the first fault, or for a salvage, which goes on beside it. */
struct pages_walk {
	int fd; /* -1 until it is open */
	size_t psize;
	uint64_t npages;      /* pages have lower numbers */
	uint64_t file_pages;  /* that the file has */
	unsigned char *seen;  /* a bit for each page: a tree led there */
	unsigned char *freed; /* likewise: a list of free pages names it */
	unsigned char *pages[PAGES_DEPTH_MAX];
	unsigned base;        /* depth at which the tree that is walked begins */
	unsigned char *value; /* of overflow pages */
	size_t value_cap;
	struct pages_tree free, main;
	int broken_free; /* salvage: which pages are free cannot be told */
	/* check */
	struct errtext *why; /* NULL: salvage */
	unsigned char last_key[STORE_KEY_MAX];
	size_t last_len;         /* 0: none yet */
	struct pages_node floor; /* klen > 0: a branch page says that no key behind is lower */
	/* salvage */
	const char *const *trees;
	unsigned ntrees;
	int (*record)(
	    void *cookie, const struct pages_node *n, struct pages_tree *t, uint64_t page); /* of a named tree */
	void *cookie;
	struct store_pages_report *report;
};

static inline uint64_t
pages_u64(const unsigned char *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static inline uint32_t
pages_u32(const unsigned char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static inline unsigned
pages_u16(const unsigned char *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

/* pages_of: How many pages a large value has. */
static inline uint64_t
pages_of(const struct pages_walk *w, size_t len)
{
	return (PAGES_HEAD - 1 + len) / w->psize + 1;
}

static inline int
pages_bit(const unsigned char *map, uint64_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static inline void
pages_bit_set(unsigned char *map, uint64_t n)
{
	map[n / 8] |= (unsigned char)(1u << (n % 8));
}

/* store_lmdb_pages_node.c */

/** store_pages_node(w, page, i, leaf, n): The ${i}-th node of a page; 0 unless it lies within the page. */
int store_pages_node(
    const struct pages_walk *w, const unsigned char *page, unsigned i, int leaf, struct pages_node *n) MUST_CHECK;
/** store_pages_said(w, page): How many entries the head says that the page has; 0 if it is not sound. */
unsigned store_pages_said(const struct pages_walk *w, const unsigned char *page);
/**
 * store_pages_count(w, page, leaf): How many entries a page has whose head may be damaged: behind the last stand offsets that
 * were, and lead to what was replaced.
 */
unsigned store_pages_count(const struct pages_walk *w, const unsigned char *page, int leaf);

/* store_lmdb_pages_file.c */

/**
 * store_pages_begin(w, path): Open the file, and room for its pages; ${w} has its fd as -1, and is for store_pages_end()
 * whatever comes of it.  Errors: ERR_NO_DB, ERR_IO, ERR_NOMEM; ERR_CORRUPT: it is no file.
 */
int store_pages_begin(struct pages_walk *w, const char *path) MUST_CHECK;
/** store_pages_roots(w): Find w->free and w->main, and how many pages there are; 0 if no meta page can be used. */
int store_pages_roots(struct pages_walk *w) MUST_CHECK;
/** store_pages_maps(w): Make w->seen and w->freed, once it is known how many pages there are.  Errors: ERR_NOMEM. */
int store_pages_maps(struct pages_walk *w) MUST_CHECK;
void store_pages_end(struct pages_walk *w);
/** store_pages_tree(t, p, kind): A tree from the PAGES_TREE_LEN bytes that describe it. */
void store_pages_tree(struct pages_tree *t, const unsigned char *p, enum pages_kind kind);
/** store_pages_read(w, p, len, at): Read bytes of the file; 1 if all of them are there. */
int store_pages_read(const struct pages_walk *w, void *p, size_t len, uint64_t at) MUST_CHECK;

/* store_lmdb_pages.c */

/**
 * store_pages_walk(w, t): Visit the pages that lead from the root of ${t}, those of other trees that it names included.
 * Errors: ERR_NOMEM; of a check ERR_CORRUPT and w->why; of a salvage what w->record() ends with.
 */
int store_pages_walk(struct pages_walk *w, struct pages_tree *t) MUST_CHECK;
/**
 * store_pages_overflow(w, n, t, into, sure): Claim the pages of a large value; with ${into} read it into w->value.  With ${sure}
 * their head is not looked at, and they are not claimed before the value's checksum has proven that they are its pages: that is
 * the caller's.  Errors: ERR_NOMEM; ERR_CORRUPT: they cannot be its pages.
 */
int store_pages_overflow(
    struct pages_walk *w, const struct pages_node *n, struct pages_tree *t, int into, int sure) MUST_CHECK;

#endif
