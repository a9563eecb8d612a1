/*
 * store_lmdb_pages.c: an LMDB file read by ourselves, page by page, with pread().
 *
 * LMDB (0.9, data version 1) keeps B+trees of pages; it verifies almost nothing of what it reads.  Here nothing is
 * believed: each number is compared with the file's bounds before it is used.
 *
 *   free   := key: transaction u64; value: n u64, then n page numbers, descending
 *   A page and its nodes: store_lmdb_pages_node.c.  The trees' roots: store_lmdb_pages_file.c.
 *
 * 1. A page is visited once: `seen` has a bit for each.  So a walk ends, whatever the pages say.
 * 2. No more than PAGES_DEPTH_MAX pages are in memory, and one value.
 * 3. A check stops at the first fault.  A salvage counts it and goes on beside it; what it tells has passed the record's
 *    checksum, which covers tree, key and value.
 */
#include "store_lmdb_pages.h"

#include <stdlib.h>
#include <string.h>
#include "store_impl.h"

#define NODE_SUBDATA 0x02u
#define TREE_INTEGERKEY 0x08u
#define TREE_FLAGS 0x7fu
#define VALUE_MAX ((uint64_t)1 << 30)

/* fault: A page is not as it should be: the end of a check; a salvage goes on. */
static int
fault(struct pages_walk *w, uint64_t page, const char *what)
{
	if (w->why != NULL)
		return err_why(
		    w->why, ERR_CORRUPT, "page %llu of the file is damaged: %s", (unsigned long long)page, what);
	if (w->report->damaged < sizeof(w->report->first) / sizeof(w->report->first[0]))
		w->report->first[w->report->damaged] = page;
	w->report->damaged++;
	return 0;
}

/* ---- One page ---- */

/* The nodes of a page fill it from upper on: nothing overlaps. */
static int
check_fill(struct pages_walk *w, const unsigned char *page, unsigned n, int leaf, uint64_t number)
{
	size_t sum = 0;
	struct pages_node node;

	for (unsigned i = 0; i < n; i++) {
		if (pages_u16(page + PAGES_HEAD + (size_t)2 * i) < pages_u16(page + 14))
			return fault(w, number, "an entry lies outside");
		if (!store_pages_node(w, page, i, leaf, &node))
			return fault(w, number, "an entry lies outside");
		if (leaf && (node.flags & ~(PAGES_BIGDATA | NODE_SUBDATA)) != 0)
			return fault(w, number, "an entry is of no known kind");
		sum += (node.size + 1) & ~(size_t)1;
	}
	return sum == w->psize - pages_u16(page + 14) ? 0 : fault(w, number, "its entries do not fill it");
}

/* claim: The page is led to for the first time, and lies within the file. */
static int
claim(struct pages_walk *w, uint64_t number)
{
	if (number < 2 || number >= w->npages || pages_bit(w->seen, number))
		return 0;
	pages_bit_set(w->seen, number);
	return 1;
}

/* load: Page ${number} into the memory of its depth; 0 if it is not one of this kind. */
static int
load(struct pages_walk *w, uint64_t number, unsigned depth, unsigned flags)
{
	unsigned char *p = w->pages[w->base + depth];

	return store_pages_read(w, p, w->psize, number * w->psize) && pages_u64(p) == number &&
	       pages_u16(p + 10) == flags && store_pages_said(w, p) != 0;
}

/* key_cmp: In the order of the tree of free pages, or of all others. */
static int
key_cmp(enum pages_kind kind, const void *a, size_t alen, const void *b, size_t blen)
{
	uint64_t x, y;

	if (kind != PAGES_FREE)
		return store_key_cmp(a, alen, b, blen);
	x = alen == 8 ? pages_u64(a) : 0;
	y = blen == 8 ? pages_u64(b) : 0;
	return (x > y) - (x < y);
}

/* check_order: Of a leaf's key: behind the last one, and where the branch pages say. */
static int
check_order(struct pages_walk *w, enum pages_kind kind, const struct pages_node *n, uint64_t number)
{
	if (kind == PAGES_FREE && n->klen != 8)
		return fault(w, number, "a key of the free pages is none");
	if (w->last_len > 0 && key_cmp(kind, w->last_key, w->last_len, n->key, n->klen) >= 0)
		return fault(w, number, "its keys are not in order");
	if (w->floor.klen > 0 && key_cmp(kind, w->floor.key, w->floor.klen, n->key, n->klen) > 0)
		return fault(w, number, "its keys belong elsewhere");
	w->floor.klen = 0;
	memcpy(w->last_key, n->key, n->klen);
	w->last_len = n->klen;
	return 0;
}

/* ---- Values ---- */

/* value_room: Errors: ERR_NOMEM. */
static int
value_room(struct pages_walk *w, size_t len)
{
	if (len <= w->value_cap)
		return 0;
	free(w->value);
	w->value_cap = 0;
	if ((w->value = malloc(len)) == NULL)
		return ERR_NOMEM;
	w->value_cap = len;
	return 0;
}

int
store_pages_overflow(struct pages_walk *w, const struct pages_node *n, struct pages_tree *t, int into, int sure)
{
	uint64_t first = pages_u64(n->data), len = n->dlen, pages = pages_of(w, n->dlen), told;
	unsigned char head[PAGES_HEAD];

	if (first < 2 || len > VALUE_MAX || first >= w->npages || pages > w->npages - first ||
	    (w->why == NULL && !w->broken_free && pages_bit(w->freed, first)) ||
	    !store_pages_read(w, head, PAGES_HEAD, first * w->psize))
		return ERR_CORRUPT;
	if (!sure) { /* else a damaged count would hide what stands behind */
		told = pages_u32(head + 12);
		/* A value that was replaced by a shorter one keeps the pages that it had. */
		if (pages_u64(head) != first || pages_u16(head + 10) != PAGES_OVERFLOW || told < pages ||
		    told > w->npages - first)
			return ERR_CORRUPT;
		pages = told;
		for (uint64_t i = 0; i < pages; i++)
			if (pages_bit(w->seen, first + i))
				return ERR_CORRUPT;
	}
	if (into && value_room(w, len) != 0)
		return ERR_NOMEM;
	if (into && !store_pages_read(w, w->value, len, first * w->psize + PAGES_HEAD))
		return ERR_CORRUPT;
	for (uint64_t i = 0; i < pages && !sure; i++)
		pages_bit_set(w->seen, first + i);
	t->overflows_seen += pages;
	return 0;
}

/* free_list: The pages that one entry of the tree of free pages names; ${v} has ${len} bytes. */
static int
free_list(struct pages_walk *w, const unsigned char *v, size_t len, uint64_t number)
{
	uint64_t n = len >= 8 ? pages_u64(v) : 0, last = PAGES_NONE, page;

	if (len < 8 || n > len / 8 - 1) {
		w->broken_free = 1;
		return fault(w, number, "a list of free pages is broken");
	}
	for (uint64_t i = 0; i < n; i++) {
		page = pages_u64(v + 8 * (i + 1));
		if (page < 2 || page >= last || page >= w->npages || pages_bit(w->freed, page)) {
			w->broken_free = 1;
			return fault(w, number, "a list of free pages names one that cannot be");
		}
		pages_bit_set(w->freed, page);
		last = page;
	}
	return 0;
}

/* subtree: A named tree, below the page of the main tree that names it; the keys' order begins anew. */
static int
subtree(struct pages_walk *w, const struct pages_node *n, uint64_t number)
{
	unsigned char last_key[STORE_KEY_MAX];
	size_t last_len = w->last_len;
	struct pages_tree t;
	int err;

	if ((n->flags & NODE_SUBDATA) == 0 || (n->flags & PAGES_BIGDATA) != 0 || n->dlen != PAGES_TREE_LEN)
		return fault(w, number, "an entry names no tree");
	store_pages_tree(&t, n->data, PAGES_TREE);
	for (unsigned i = 0; i < w->ntrees; i++)
		if (strlen(w->trees[i]) == n->klen && memcmp(w->trees[i], n->key, n->klen) == 0)
			t.number = i;
	if (w->why == NULL && t.number < STORE_TREES_MAX) {
		w->report->known |= 1u << t.number;
		w->report->expected[t.number] = t.entries;
	}
	memcpy(last_key, w->last_key, sizeof(last_key));
	w->last_len = 0;
	w->base = w->main.depth;
	err = store_pages_walk(w, &t);
	w->base = 0;
	w->floor.klen = 0;
	memcpy(w->last_key, last_key, sizeof(last_key));
	w->last_len = last_len;
	return err;
}

/* ---- Walking ---- */

/* free_node: An entry of the tree of free pages. */
static int
free_node(struct pages_walk *w, struct pages_tree *t, const struct pages_node *n, uint64_t number)
{
	int err = 0;

	if ((n->flags & PAGES_BIGDATA) == 0)
		return free_list(w, n->data, n->dlen, number);
	if ((err = store_pages_overflow(w, n, t, 1, 0)) == 0)
		return free_list(w, w->value, n->dlen, number);
	w->broken_free = 1;
	return err == ERR_CORRUPT ? fault(w, number, "the pages of a large value are others") : err;
}

static int
leaf_node(struct pages_walk *w, struct pages_tree *t, const struct pages_node *n, uint64_t number)
{
	int err = w->why != NULL ? check_order(w, t->kind, n, number) : 0;

	t->entries_seen++;
	if (err)
		return err;
	if (t->kind == PAGES_MAIN)
		return subtree(w, n, number);
	if ((n->flags & NODE_SUBDATA) != 0) {
		w->broken_free |= t->kind == PAGES_FREE;
		return fault(w, number, "an entry is of no known kind");
	}
	if (t->kind == PAGES_FREE)
		return free_node(w, t, n, number);
	if (w->why == NULL)
		return w->record(w->cookie, n, t, number);
	if ((n->flags & PAGES_BIGDATA) == 0 || (err = store_pages_overflow(w, n, t, 0, 0)) == 0)
		return 0;
	return fault(w, number, "the pages of a large value are others");
}

static int walk_page(struct pages_walk *w, struct pages_tree *t, uint64_t number, unsigned depth);

/* walk_leaf: In a salvage, each entry that lies within the page. */
static int
walk_leaf(struct pages_walk *w, struct pages_tree *t, uint64_t number, unsigned depth)
{
	const unsigned char *page = w->pages[w->base + depth];
	unsigned n = store_pages_said(w, page);
	struct pages_node node;
	int err = 0;

	t->leaves_seen++;
	if ((err = check_fill(w, page, n, 1, number)) != 0)
		return err;
	if (w->why == NULL)
		n = store_pages_count(w, page, 1);
	for (unsigned i = 0; i < n && err == 0; i++) {
		if (store_pages_node(w, page, i, 1, &node))
			err = leaf_node(w, t, &node, number);
		else if (w->why == NULL)
			w->report->lost++;
	}
	return err;
}

static int
walk_branch(struct pages_walk *w, struct pages_tree *t, uint64_t number, unsigned depth)
{
	const unsigned char *page = w->pages[w->base + depth];
	unsigned n = store_pages_said(w, page);
	struct pages_node node;
	int err;

	t->branches_seen++;
	if (n < 2 && w->why != NULL)
		return fault(w, number, "it leads to one page alone");
	if ((err = check_fill(w, page, n, 0, number)) != 0)
		return err;
	if (w->why == NULL)
		n = store_pages_count(w, page, 0);
	for (unsigned i = 0; i < n && err == 0; i++) {
		if (!store_pages_node(w, page, i, 0, &node))
			continue;
		if (i > 0 && w->why != NULL) {
			if (w->last_len > 0 && key_cmp(t->kind, w->last_key, w->last_len, node.key, node.klen) >= 0)
				return fault(w, number, "its keys do not part what it leads to");
			w->floor = node;
		}
		err = walk_page(w, t, node.child, depth + 1);
	}
	return err;
}

static int
walk_page(struct pages_walk *w, struct pages_tree *t, uint64_t number, unsigned depth)
{
	int leaf = depth + 1 >= t->depth;

	/* A free page has what was replaced. */
	if (w->why == NULL && !w->broken_free && number < w->npages && pages_bit(w->freed, number))
		return fault(w, number, "it is free");
	if (!claim(w, number)) {
		w->broken_free |= t->kind == PAGES_FREE;
		return fault(w, number, "it is led to twice, or lies outside of the file");
	}
	if (!load(w, number, depth, leaf ? PAGES_LEAF : PAGES_BRANCH)) {
		w->broken_free |= t->kind == PAGES_FREE;
		if (w->why == NULL) /* perhaps it is another one, and good for something */
			w->seen[number / 8] &= (unsigned char)~(1u << (number % 8));
		return fault(w, number, "it is another, or of another kind");
	}
	return leaf ? walk_leaf(w, t, number, depth) : walk_branch(w, t, number, depth);
}

int
store_pages_walk(struct pages_walk *w, struct pages_tree *t)
{
	unsigned want = t->kind == PAGES_FREE ? TREE_INTEGERKEY : 0;
	int err = 0;

	if ((t->flags & TREE_FLAGS) != want || t->depth > PAGES_DEPTH_MAX - w->base ||
	    (t->depth == 0) != (t->root == PAGES_NONE)) {
		w->broken_free |= t->kind == PAGES_FREE;
		return fault(w, t->root, "a tree is described wrongly");
	}
	w->floor.klen = 0;
	if (t->depth > 0)
		err = walk_page(w, t, t->root, 0);
	if (err != 0 || (t->branches_seen == t->branches && t->leaves_seen == t->leaves &&
			    t->overflows_seen == t->overflows && t->entries_seen == t->entries))
		return err;
	w->broken_free |= t->kind == PAGES_FREE;
	/* In a salvage that follows from a fault which was counted. */
	return w->why != NULL ? fault(w, t->root, "a tree has not what it says") : 0;
}

int
store_pages_check(const char *path, struct errtext *why)
{
	struct pages_walk w = {.fd = -1, .why = why};
	int err = store_pages_begin(&w, path);

	if (err == 0 && !store_pages_roots(&w))
		err = err_why(why, ERR_CORRUPT, "the pages at its beginning are damaged, or it is no database");
	if (err == 0)
		err = store_pages_maps(&w);
	if (err == 0 && (err = store_pages_walk(&w, &w.main)) == 0) {
		w.last_len = 0;
		err = store_pages_walk(&w, &w.free);
	}
	for (uint64_t i = 0; err == 0 && i < w.npages; i++)
		if (pages_bit(w.seen, i) && pages_bit(w.freed, i))
			err = fault(&w, i, "it is in use and taken for free");
	store_pages_end(&w);
	return err;
}
