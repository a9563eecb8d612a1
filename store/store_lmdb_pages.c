/*
 * store_lmdb_pages.c: an LMDB file read by ourselves, page by page, with pread().
 *
 * LMDB (0.9, data version 1) keeps B+trees of pages; it verifies almost nothing of what it reads.  Here nothing is
 * believed: each number is compared with the file's bounds before it is used.
 *
 *   page   := number u64, pad u16, flags u16, lower u16, upper u16 (of an overflow page: pages u32); then, from 16 on,
 *             an offset (u16) for each node, in order of keys, up to lower; nodes from upper to the end, without gaps
 *   node   := lo u16, hi u16, flags u16, key size u16, key; of a leaf the value, lo + (hi << 16) bytes of it, or with
 *             BIGDATA the number of its first overflow page; of a branch page the child is lo + (hi << 16) + (flags << 32)
 *   meta   := (pages 0 and 1, from 16 on) magic u32, version u32, address u64, map size u64, the tree of free pages, the
 *             main tree, last page u64, transaction u64; the one with the higher transaction counts
 *   tree   := pad u32 (of the first: the page size), flags u16, depth u16, branch pages, leaf pages, overflow pages, entries,
 *             root: u64 each.  A named tree is the value of its name in the main tree.
 *   free   := key: transaction u64; value: n u64, then n page numbers, descending
 *
 * 1. A page is visited once: `seen` has a bit for each.  So a walk ends, whatever the pages say.
 * 2. No more than DEPTH_MAX pages are in memory, and one value.
 * 3. A check stops at the first fault.  A salvage counts it and goes on beside it; what it tells has passed the record's
 *    checksum, which covers tree, key and value.
 * 4. A page that is neither led to nor free was lost with the pages that led to it.  A free page holds what was replaced or
 *    deleted, with checksums that match: it is never read.
 */
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "store/record.h"
#include "store_impl.h"

#define HEAD 16u
#define NODE 8u
#define DB_LEN 48u
#define META_LEN 136u
#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define PAGE_BRANCH 0x01u
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META 0x08u
#define NODE_BIGDATA 0x01u
#define NODE_SUBDATA 0x02u
#define TREE_INTEGERKEY 0x08u
#define TREE_FLAGS 0x7fu
#define NO_PAGE UINT64_MAX
#define DEPTH_MAX 24u
#define VALUE_MAX ((uint64_t)1 << 30)
#define SLACK_PAGES 65536u /* a file may end before the last page that LMDB has counted, if that was never written */

enum kind { KIND_FREE, KIND_MAIN, KIND_TREE };

struct tree {
	enum kind kind;
	unsigned number; /* KIND_TREE: which, or STORE_TREES_MAX: one that nobody knows */
	uint64_t branches, leaves, overflows, entries, root;
	unsigned depth, flags;
	uint64_t branches_seen, leaves_seen, overflows_seen, entries_seen;
};

/* An entry of a page, in the page's memory. */
struct node {
	unsigned flags;
	const unsigned char *key, *data;
	size_t klen, dlen; /* dlen: of the value, wherever it is */
	uint64_t child;    /* of a branch page */
	size_t size;       /* bytes in the page */
};

struct walk {
	int fd;
	const char *path;
	size_t psize;
	uint64_t npages;      /* pages have lower numbers */
	uint64_t file_pages;  /* that the file has */
	unsigned char *seen;  /* a bit for each page: a tree led there */
	unsigned char *freed; /* salvage: it is free */
	unsigned char *pages[DEPTH_MAX];
	unsigned base;        /* depth at which the tree that is walked begins */
	unsigned char *value; /* of overflow pages */
	size_t value_cap;
	struct tree free, main;
	int broken_free; /* salvage: which pages are free cannot be told */
	/* check */
	struct errtext *why; /* NULL: salvage */
	unsigned char last_key[STORE_KEY_MAX];
	size_t last_len;   /* 0: none yet */
	struct node floor; /* klen > 0: a branch page says that no key behind is lower */
	/* salvage */
	const char *const *trees;
	unsigned ntrees;
	int unsure;       /* the page that nothing leads to may hold what was replaced */
	uint64_t run_end; /* the last large value that nothing leads to seems to end before this page */
	unsigned guess;   /* the tree that the last lost record was of */
	store_pages_f *fn, *lost;
	void *cookie;
	struct store_pages_report *report;
};

static uint64_t
u64(const unsigned char *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static uint32_t
u32(const unsigned char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static unsigned
u16(const unsigned char *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static int
bit(const unsigned char *map, uint64_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static void
bit_set(unsigned char *map, uint64_t n)
{
	map[n / 8] |= (unsigned char)(1u << (n % 8));
}

/* fault: A page is not as it should be: the end of a check; a salvage goes on. */
static int
fault(struct walk *w, uint64_t page, const char *what)
{
	if (w->why != NULL)
		return err_why(
		    w->why, ERR_CORRUPT, "page %llu of the file is damaged: %s", (unsigned long long)page, what);
	if (w->report->damaged < sizeof(w->report->first) / sizeof(w->report->first[0]))
		w->report->first[w->report->damaged] = page;
	w->report->damaged++;
	return 0;
}

/* read_at: 1 if all of it is there. */
static int
read_at(const struct walk *w, void *p, size_t len, uint64_t at)
{
	unsigned char *to = p;
	ssize_t n;

	while (len > 0) {
		n = pread(w->fd, to, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 1;
}

/* ---- One page ---- */

/* node_at: The ${i}-th node of a page whose head is sound; 0 unless it lies within the page. */
static int
node_at(const struct walk *w, const unsigned char *page, unsigned i, int leaf, struct node *n)
{
	size_t at = u16(page + HEAD + (size_t)2 * i);
	const unsigned char *p = page + at;

	if (at < HEAD || at % 2 != 0 || at + NODE > w->psize)
		return 0;
	n->flags = u16(p + 4);
	n->klen = u16(p + 6);
	n->key = p + NODE;
	n->data = n->key + n->klen;
	n->size = NODE + n->klen;
	n->dlen = 0;
	if (n->klen > STORE_KEY_MAX)
		return 0;
	if (leaf) {
		n->dlen = u16(p) | (size_t)u16(p + 2) << 16;
		n->size += (n->flags & NODE_BIGDATA) != 0 ? 8 : n->dlen;
		n->child = 0;
	} else {
		n->child = u16(p) | (uint64_t)u16(p + 2) << 16 | (uint64_t)n->flags << 32;
		n->flags = 0;
	}
	/* The first key of a branch page is none. */
	return at + n->size <= w->psize && (n->klen > 0 || (!leaf && i == 0));
}

/* node_count: Of a page; 0 if its head is not sound. */
static unsigned
node_count(const struct walk *w, const unsigned char *page)
{
	size_t lower = u16(page + 12), upper = u16(page + 14);

	return lower < HEAD + 2 || lower % 2 != 0 || upper < lower || upper > w->psize ? 0
										       : (unsigned)((lower - HEAD) / 2);
}

/*
 * count_of: How many entries a page has whose head may be damaged: behind the last stand offsets that were, and lead to what was
 * replaced.  That the nodes fill the page tells the number without lower, or with lower alone.
 */
static unsigned
count_of(const struct walk *w, const unsigned char *page, int leaf)
{
	size_t lower = u16(page + 12), upper = u16(page + 14), sum = 0, first = w->psize, at;
	unsigned said = lower >= HEAD + 2 && lower % 2 == 0 && lower <= w->psize ? (unsigned)((lower - HEAD) / 2) : 0;
	unsigned alone = 0;
	struct node n;

	for (unsigned i = 0; HEAD + 2 * (size_t)(i + 1) <= w->psize && node_at(w, page, i, leaf, &n); i++) {
		at = u16(page + HEAD + (size_t)2 * i);
		first = at < first ? at : first;
		sum += (n.size + 1) & ~(size_t)1;
		if (sum + upper == w->psize)
			return i + 1;
		if (i + 1 == said && sum + first == w->psize)
			alone = said;
		if (sum > w->psize)
			break;
	}
	return alone != 0 ? alone : node_count(w, page);
}

/* The nodes of a page fill it from upper on: nothing overlaps. */
static int
check_fill(struct walk *w, const unsigned char *page, unsigned n, int leaf, uint64_t number)
{
	size_t sum = 0;
	struct node node;

	for (unsigned i = 0; i < n; i++) {
		if (u16(page + HEAD + (size_t)2 * i) < u16(page + 14))
			return fault(w, number, "an entry lies outside");
		if (!node_at(w, page, i, leaf, &node))
			return fault(w, number, "an entry lies outside");
		if (leaf && (node.flags & ~(NODE_BIGDATA | NODE_SUBDATA)) != 0)
			return fault(w, number, "an entry is of no known kind");
		sum += (node.size + 1) & ~(size_t)1;
	}
	return sum == w->psize - u16(page + 14) ? 0 : fault(w, number, "its entries do not fill it");
}

/* claim: The page is led to for the first time, and lies within the file. */
static int
claim(struct walk *w, uint64_t number)
{
	if (number < 2 || number >= w->npages || bit(w->seen, number))
		return 0;
	bit_set(w->seen, number);
	return 1;
}

/* load: Page ${number} into the memory of its depth; 0 if it is not one of this kind. */
static int
load(struct walk *w, uint64_t number, unsigned depth, unsigned flags)
{
	unsigned char *p = w->pages[w->base + depth];

	return read_at(w, p, w->psize, number * w->psize) && u64(p) == number && u16(p + 10) == flags &&
	       node_count(w, p) != 0;
}

/* key_cmp: In the order of the tree of free pages, or of all others. */
static int
key_cmp(enum kind kind, const void *a, size_t alen, const void *b, size_t blen)
{
	uint64_t x, y;

	if (kind != KIND_FREE)
		return store_key_cmp(a, alen, b, blen);
	x = alen == 8 ? u64(a) : 0;
	y = blen == 8 ? u64(b) : 0;
	return (x > y) - (x < y);
}

/* check_order: Of a leaf's key: behind the last one, and where the branch pages say. */
static int
check_order(struct walk *w, enum kind kind, const struct node *n, uint64_t number)
{
	if (kind == KIND_FREE && n->klen != 8)
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
value_room(struct walk *w, size_t len)
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

/*
 * overflow: Claim the pages of a large value; with ${into} read it.  ERR_CORRUPT: they cannot be its pages.  With ${sure} their
 * head is not looked at: the value's checksum decides.
 */
static int
overflow(struct walk *w, const struct node *n, struct tree *t, int into, int sure)
{
	uint64_t first = u64(n->data), len = n->dlen, pages = (HEAD - 1 + len) / w->psize + 1, told;
	unsigned char head[HEAD];

	if (first < 2 || len > VALUE_MAX || first >= w->npages || pages > w->npages - first ||
	    (w->why == NULL && !w->broken_free && bit(w->freed, first)) || !read_at(w, head, HEAD, first * w->psize))
		return ERR_CORRUPT;
	/* A value that was replaced by a shorter one keeps the pages that it had. */
	told = u32(head + 12);
	if (u64(head) != first || u16(head + 10) != PAGE_OVERFLOW || told < pages || told > w->npages - first) {
		if (!sure)
			return ERR_CORRUPT;
	}
	if (sure) /* a damaged count would hide what stands behind */
		told = pages;
	for (uint64_t i = 0; i < told && !sure; i++)
		if (bit(w->seen, first + i))
			return ERR_CORRUPT;
	if (into && value_room(w, len) != 0)
		return ERR_NOMEM;
	if (into && !read_at(w, w->value, len, first * w->psize + HEAD))
		return ERR_CORRUPT;
	for (uint64_t i = 0; i < told; i++)
		bit_set(w->seen, first + i);
	t->overflows_seen += told;
	return 0;
}

/* free_list: The pages that one entry of the tree of free pages names; ${v} has ${len} bytes. */
static int
free_list(struct walk *w, const unsigned char *v, size_t len, uint64_t number)
{
	uint64_t n = len >= 8 ? u64(v) : 0, last = NO_PAGE, page;

	if (len < 8 || n > len / 8 - 1) {
		w->broken_free = 1;
		return fault(w, number, "a list of free pages is broken");
	}
	for (uint64_t i = 0; i < n; i++) {
		page = u64(v + 8 * (i + 1));
		if (page < 2 || page >= last || page >= w->npages || bit(w->freed, page)) {
			w->broken_free = 1;
			return fault(w, number, "a list of free pages names one that cannot be");
		}
		bit_set(w->freed, page);
		last = page;
	}
	return 0;
}

static int walk_tree(struct walk *w, struct tree *t);

static void
tree_read(struct tree *t, const unsigned char *p, enum kind kind)
{
	*t = (struct tree){.kind = kind,
	    .number = STORE_TREES_MAX,
	    .flags = u16(p + 4),
	    .depth = u16(p + 6),
	    .branches = u64(p + 8),
	    .leaves = u64(p + 16),
	    .overflows = u64(p + 24),
	    .entries = u64(p + 32),
	    .root = u64(p + 40)};
}

/* subtree: A named tree, below the page of the main tree that names it; the keys' order begins anew. */
static int
subtree(struct walk *w, const struct node *n, uint64_t number)
{
	unsigned char last_key[STORE_KEY_MAX];
	size_t last_len = w->last_len;
	struct tree t;
	int err;

	if ((n->flags & NODE_SUBDATA) == 0 || (n->flags & NODE_BIGDATA) != 0 || n->dlen != DB_LEN)
		return fault(w, number, "an entry names no tree");
	tree_read(&t, n->data, KIND_TREE);
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
	err = walk_tree(w, &t);
	w->base = 0;
	w->floor.klen = 0;
	memcpy(w->last_key, last_key, sizeof(last_key));
	w->last_len = last_len;
	return err;
}

/* ---- Salvage: records ---- */

static int
tell_record(struct walk *w, const struct store_pages_record *r)
{
	w->report->records++;
	w->report->unsure += r->place == STORE_PAGES_UNSURE;
	w->report->told[r->tree]++;
	return w->fn(r, w->cookie);
}

/* tell: A record that its tree leads to. */
static int
tell(struct walk *w, const struct node *n, struct tree *t, uint64_t number)
{
	struct store_pages_record r = {.tree = t->number,
	    .place = STORE_PAGES_PRESENT,
	    .page = number,
	    .key = {n->key, n->klen},
	    .val = {n->data, n->dlen}};
	int err = 0;

	if ((n->flags & NODE_BIGDATA) != 0) {
		err = overflow(w, n, t, 1, 1);
		r.val.p = w->value;
	}
	if (t->number >= w->ntrees || err == ERR_NOMEM)
		return err;
	/* A damaged page may lead into another tree. */
	for (unsigned i = 0; err == 0 && i < w->ntrees && !record_fits(r.tree, r.key.p, r.key.len, &r.val); i++)
		r.tree = record_fits(i, r.key.p, r.key.len, &r.val) ? i : r.tree;
	if (err != 0 || !record_fits(r.tree, r.key.p, r.key.len, &r.val)) {
		r.val = (struct store_val){NULL, 0};
		w->report->lost++;
		return w->lost != NULL ? w->lost(&r, w->cookie) : 0;
	}
	return tell_record(w, &r);
}

/* tell_found: A record that nothing leads to: of the tree whose checksum it has.  If it has none, nobody knows what it is. */
static int
tell_found(struct walk *w, const struct node *n, uint64_t number)
{
	struct tree t = {.kind = KIND_TREE};
	struct store_pages_record r = {.place = w->unsure ? STORE_PAGES_UNSURE : STORE_PAGES_LOST,
	    .page = number,
	    .key = {n->key, n->klen},
	    .val = {n->data, n->dlen}};
	int err;

	if ((n->flags & NODE_BIGDATA) != 0) {
		if ((err = overflow(w, n, &t, 1, 1)) != 0)
			return err == ERR_NOMEM ? err : 0;
		r.val.p = w->value;
	}
	for (unsigned i = 0; i <= w->ntrees; i++) {
		r.tree = i == 0 ? w->guess : i - 1;
		if (record_fits(r.tree, r.key.p, r.key.len, &r.val)) {
			w->guess = r.tree;
			return tell_record(w, &r);
		}
	}
	return 0;
}

/* ---- Walking ---- */

/* free_node: An entry of the tree of free pages. */
static int
free_node(struct walk *w, struct tree *t, const struct node *n, uint64_t number)
{
	int err = 0;

	if ((n->flags & NODE_BIGDATA) == 0)
		return free_list(w, n->data, n->dlen, number);
	if ((err = overflow(w, n, t, 1, 0)) == 0)
		return free_list(w, w->value, n->dlen, number);
	w->broken_free = 1;
	return err == ERR_CORRUPT ? fault(w, number, "the pages of a large value are others") : err;
}

static int
leaf_node(struct walk *w, struct tree *t, const struct node *n, uint64_t number)
{
	int err = w->why != NULL ? check_order(w, t->kind, n, number) : 0;

	t->entries_seen++;
	if (err)
		return err;
	if (t->kind == KIND_MAIN)
		return subtree(w, n, number);
	if ((n->flags & NODE_SUBDATA) != 0)
		return fault(w, number, "an entry is of no known kind");
	if (t->kind == KIND_FREE)
		return free_node(w, t, n, number);
	if (w->why == NULL)
		return tell(w, n, t, number);
	if ((n->flags & NODE_BIGDATA) == 0 || (err = overflow(w, n, t, 0, 0)) == 0)
		return 0;
	return fault(w, number, "the pages of a large value are others");
}

static int walk_page(struct walk *w, struct tree *t, uint64_t number, unsigned depth);

/* walk_leaf: In a salvage, each entry that lies within the page. */
static int
walk_leaf(struct walk *w, struct tree *t, uint64_t number, unsigned depth)
{
	const unsigned char *page = w->pages[w->base + depth];
	unsigned n = node_count(w, page);
	struct node node;
	int err = 0;

	t->leaves_seen++;
	if ((err = check_fill(w, page, n, 1, number)) != 0)
		return err;
	if (w->why == NULL)
		n = count_of(w, page, 1);
	for (unsigned i = 0; i < n && err == 0; i++) {
		if (node_at(w, page, i, 1, &node))
			err = leaf_node(w, t, &node, number);
		else if (w->why == NULL)
			w->report->lost++;
	}
	return err;
}

static int
walk_branch(struct walk *w, struct tree *t, uint64_t number, unsigned depth)
{
	const unsigned char *page = w->pages[w->base + depth];
	unsigned n = node_count(w, page);
	struct node node;
	int err;

	t->branches_seen++;
	if (n < 2 && w->why != NULL)
		return fault(w, number, "it leads to one page alone");
	if ((err = check_fill(w, page, n, 0, number)) != 0)
		return err;
	if (w->why == NULL)
		n = count_of(w, page, 0);
	for (unsigned i = 0; i < n && err == 0; i++) {
		if (!node_at(w, page, i, 0, &node))
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
walk_page(struct walk *w, struct tree *t, uint64_t number, unsigned depth)
{
	int leaf = depth + 1 >= t->depth;

	/* A free page has what was replaced. */
	if (w->why == NULL && !w->broken_free && number < w->npages && bit(w->freed, number))
		return fault(w, number, "it is free");
	if (!claim(w, number)) {
		w->broken_free |= t->kind == KIND_FREE;
		return fault(w, number, "it is led to twice, or lies outside of the file");
	}
	if (!load(w, number, depth, leaf ? PAGE_LEAF : PAGE_BRANCH)) {
		w->broken_free |= t->kind == KIND_FREE;
		if (w->why == NULL) /* perhaps it is another one, and good for something */
			w->seen[number / 8] &= (unsigned char)~(1u << (number % 8));
		return fault(w, number, "it is another, or of another kind");
	}
	return leaf ? walk_leaf(w, t, number, depth) : walk_branch(w, t, number, depth);
}

static int
walk_tree(struct walk *w, struct tree *t)
{
	unsigned want = t->kind == KIND_FREE ? TREE_INTEGERKEY : 0;
	int err = 0;

	if ((t->flags & TREE_FLAGS) != want || t->depth > DEPTH_MAX - w->base ||
	    (t->depth == 0) != (t->root == NO_PAGE)) {
		w->broken_free |= t->kind == KIND_FREE;
		return fault(w, t->root, "a tree is described wrongly");
	}
	w->floor.klen = 0;
	if (t->depth > 0)
		err = walk_page(w, t, t->root, 0);
	if (err != 0 || (t->branches_seen == t->branches && t->leaves_seen == t->leaves &&
			    t->overflows_seen == t->overflows && t->entries_seen == t->entries))
		return err;
	w->broken_free |= t->kind == KIND_FREE;
	/* In a salvage that follows from a fault which was counted. */
	return w->why != NULL ? fault(w, t->root, "a tree has not what it says") : 0;
}

/* ---- The file ---- */

static int
meta_sound(const unsigned char *p, size_t psize)
{
	return u16(p + 10) == PAGE_META && u32(p + HEAD) == META_MAGIC && u32(p + HEAD + 4) == META_VERSION &&
	       u32(p + HEAD + 24) == psize;
}

/* meta_choose: The roots that count.  Returns 0 if there are none. */
static int
meta_choose(struct walk *w, unsigned char meta[HEAD + META_LEN])
{
	unsigned char m[2][HEAD + META_LEN];
	int sound[2] = {0, 0}, apart = 0, best;
	uint64_t last;

	for (int i = 0; i < 2; i++)
		sound[i] = read_at(w, m[i], sizeof(m[i]), i * (uint64_t)w->psize) && meta_sound(m[i], w->psize) &&
			   (last = u64(m[i] + HEAD + 120)) >= 1 && last < w->file_pages + SLACK_PAGES;
	if (!sound[0] && !sound[1])
		return 0;
	/* Commits take turns: the even ones write page 0. */
	for (int i = 0; i < 2 && sound[0] && sound[1]; i++)
		if (u64(m[i] + HEAD + 128) % 2 != (uint64_t)i && u64(m[i] + HEAD + 128) != 0)
			sound[i] = 0;
	if (sound[0] && sound[1] && u64(m[0] + HEAD + 128) + 1 != u64(m[1] + HEAD + 128) &&
	    u64(m[1] + HEAD + 128) + 1 != u64(m[0] + HEAD + 128) &&
	    u64(m[0] + HEAD + 128) + u64(m[1] + HEAD + 128) != 0)
		apart = 1;
	/* LMDB does not open a file in which either is broken. */
	if (w->why != NULL && (!sound[0] || !sound[1] || apart))
		return 0;
	/* A salvage cannot tell which of them was the last: what is free for the one may be all that is left of the other. */
	w->broken_free = !sound[0] || !sound[1] || apart;
	best = !sound[0] || (sound[1] && u64(m[1] + HEAD + 128) > u64(m[0] + HEAD + 128));
	memcpy(meta, m[best], sizeof(m[best]));
	return 1;
}

/* page_size: What either meta page says, or, where neither can be read, the machine's. */
static size_t
page_size(const struct walk *w)
{
	unsigned char m[HEAD + META_LEN];
	size_t n;

	/* The second stands where its size says. */
	for (n = 512; n <= 65536; n *= 2)
		if (read_at(w, m, sizeof(m), n) && meta_sound(m, n))
			return n;
	if (read_at(w, m, sizeof(m), 0) && u32(m + HEAD) == META_MAGIC) {
		n = u32(m + HEAD + 24);
		if (n >= 512 && n <= 65536 && (n & (n - 1)) == 0)
			return n;
	}
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void
release(struct walk *w)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		free(w->pages[i]);
	free(w->seen);
	free(w->freed);
	free(w->value);
	if (w->fd >= 0)
		close(w->fd);
}

static int
begin(struct walk *w, const char *path)
{
	struct stat st;

	w->path = path;
	w->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (w->fd < 0)
		return errno == ENOENT ? ERR_NO_DB : store_files_err(errno, "open", path);
	if (fstat(w->fd, &st) != 0)
		return store_files_err(errno, "fstat", path);
	if (!S_ISREG(st.st_mode))
		return w->why != NULL ? err_why(w->why, ERR_CORRUPT, "it is no file") : ERR_CORRUPT;
	w->psize = page_size(w);
	w->file_pages = w->npages = ((uint64_t)st.st_size + w->psize - 1) / w->psize;
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		if ((w->pages[i] = malloc(w->psize)) == NULL)
			return ERR_NOMEM;
	return 0;
}

/* begin_trees: Once the last page is known. */
static int
begin_trees(struct walk *w)
{
	w->seen = calloc(1, w->npages / 8 + 1);
	w->freed = calloc(1, w->npages / 8 + 1);
	return w->seen == NULL || w->freed == NULL ? ERR_NOMEM : 0;
}

/* roots: The two trees that the meta page names. */
static int
roots(struct walk *w)
{
	unsigned char meta[HEAD + META_LEN];

	if (!meta_choose(w, meta))
		return 0;
	tree_read(&w->free, meta + HEAD + 24, KIND_FREE);
	tree_read(&w->main, meta + HEAD + 24 + DB_LEN, KIND_MAIN);
	w->npages = u64(meta + HEAD + 120) + 1;
	/* What lies behind the last page was never committed, if it is known which is the last. */
	if (w->broken_free && w->npages < w->file_pages)
		w->npages = w->file_pages;
	return 1;
}

int
store_pages_check(const char *path, struct errtext *why)
{
	struct walk w = {.fd = -1, .why = why};
	int err = begin(&w, path);

	if (err == 0 && !roots(&w))
		err = err_why(why, ERR_CORRUPT, "the pages at its beginning are damaged, or it is no database");
	if (err == 0)
		err = begin_trees(&w);
	if (err == 0 && (err = walk_tree(&w, &w.main)) == 0) {
		w.last_len = 0;
		err = walk_tree(&w, &w.free);
	}
	for (uint64_t i = 0; err == 0 && i < w.npages; i++)
		if (bit(w.seen, i) && bit(w.freed, i))
			err = fault(&w, i, "it is in use and taken for free");
	release(&w);
	return err;
}

/* ---- Salvage: pages that nothing leads to ---- */

/* found: The records of a page to which nothing leads. */
static int
found(struct walk *w, uint64_t number)
{
	const unsigned char *page = w->pages[0];
	struct node node;
	unsigned n;
	int err = 0;

	if (!read_at(w, w->pages[0], w->psize, number * w->psize))
		return 0;
	/* What clients have put into a value is not to be taken for a page: none of it bears its own number. */
	if (u64(page) == number && u16(page + 10) == PAGE_OVERFLOW) {
		w->run_end = number + u32(page + 12);
		return 0;
	}
	if (number < w->run_end && u64(page) != number)
		return 0;
	if (u64(page) == number && u16(page + 10) == PAGE_BRANCH)
		return 0;
	n = count_of(w, page, 1);
	for (unsigned i = 0; i < n && err == 0; i++)
		if (node_at(w, page, i, 1, &node) && (node.flags & ~NODE_BIGDATA) == 0)
			err = tell_found(w, &node, number);
	return err;
}

/* bears: The number and the flags that page ${number} has in its head; NO_PAGE if it cannot be read. */
static uint64_t
bears(const struct walk *w, uint64_t number, unsigned *flagsp)
{
	unsigned char head[HEAD];

	if (!read_at(w, head, HEAD, number * w->psize))
		return NO_PAGE;
	*flagsp = u16(head + 10);
	return u64(head);
}

/*
 * is_lost: May page ${number}, to which nothing leads, hold what is present?  Where it is known which pages are free: neither a
 * free one, nor one that bears the number of a free one, or of one that was found, unless two bear it.  Then the one in its
 * place is it, and of the other the number is damaged, or it is an older copy: unsure.
 */
static int
is_lost(struct walk *w, uint64_t number)
{
	unsigned flags = 0, other = 0;
	uint64_t said;

	w->unsure = w->report->free_unknown;
	if (w->unsure)
		return 1;
	said = bears(w, number, &flags);
	if (said == NO_PAGE)
		return 0;
	if (said == number || said < 2 || said >= w->npages)
		return !bit(w->freed, number);
	if (bears(w, said, &other) == said) {
		w->unsure = 1;
		return !bit(w->freed, number);
	}
	return !bit(w->freed, said) && !bit(w->seen, said) && (!bit(w->freed, number) || flags == PAGE_LEAF);
}

static int
find_lost(struct walk *w)
{
	int err = 0;

	for (uint64_t i = 2; i < w->npages && err == 0; i++)
		if (!bit(w->seen, i) && is_lost(w, i))
			err = found(w, i);
	return err;
}

int
store_pages_salvage(const char *path, const char *const *trees, unsigned ntrees, store_pages_f *fn, store_pages_f *lost,
    void *cookie, struct store_pages_report *report)
{
	struct walk w = {
	    .fd = -1, .trees = trees, .ntrees = ntrees, .fn = fn, .lost = lost, .cookie = cookie, .report = report};
	int err;

	memset(report, 0, sizeof(*report));
	err = begin(&w, path);
	report->pages = w.file_pages;
	if (err == 0 && !roots(&w))
		report->no_root = report->free_unknown = 1;
	if (err == 0)
		err = begin_trees(&w);
	if (err == 0 && !report->no_root) {
		if ((err = walk_tree(&w, &w.free)) == 0) {
			report->free_unknown = w.broken_free;
			err = walk_tree(&w, &w.main);
		}
	}
	if (err == 0)
		err = find_lost(&w);
	release(&w);
	return err;
}
