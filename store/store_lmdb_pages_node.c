/*
 * store_lmdb_pages_node.c: one page of an LMDB file, in memory, and its nodes.
 *
 *   page   := number u64, pad u16, flags u16, lower u16, upper u16 (of an overflow page: pages u32); then, from 16 on,
 *             an offset (u16) for each node, in order of keys, up to lower; nodes from upper to the end, without gaps
 *   node   := lo u16, hi u16, flags u16, key size u16, key; of a leaf the value, lo + (hi << 16) bytes of it, or with
 *             BIGDATA the number of its first overflow page; of a branch page the child is lo + (hi << 16) + (flags << 32)
 */
#include "store_lmdb_pages.h"

#define NODE_HEAD 8u

int
store_pages_node(const struct pages_walk *w, const unsigned char *page, unsigned i, int leaf, struct pages_node *n)
{
	size_t at = pages_u16(page + PAGES_HEAD + (size_t)2 * i);
	const unsigned char *p = page + at;

	if (at < PAGES_HEAD || at % 2 != 0 || at + NODE_HEAD > w->psize)
		return 0;
	n->flags = pages_u16(p + 4);
	n->klen = pages_u16(p + 6);
	n->key = p + NODE_HEAD;
	n->data = n->key + n->klen;
	n->size = NODE_HEAD + n->klen;
	n->dlen = 0;
	if (n->klen > STORE_KEY_MAX)
		return 0;
	if (leaf) {
		n->dlen = pages_u16(p) | (size_t)pages_u16(p + 2) << 16;
		n->size += (n->flags & PAGES_BIGDATA) != 0 ? 8 : n->dlen;
		n->child = 0;
	} else {
		n->child = pages_u16(p) | (uint64_t)pages_u16(p + 2) << 16 | (uint64_t)n->flags << 32;
		n->flags = 0;
	}
	/* The first key of a branch page is none. */
	return at + n->size <= w->psize && (n->klen > 0 || (!leaf && i == 0));
}

unsigned
store_pages_said(const struct pages_walk *w, const unsigned char *page)
{
	size_t lower = pages_u16(page + 12), upper = pages_u16(page + 14);

	return lower < PAGES_HEAD + 2 || lower % 2 != 0 || upper < lower || upper > w->psize
		   ? 0
		   : (unsigned)((lower - PAGES_HEAD) / 2);
}

unsigned
store_pages_count(const struct pages_walk *w, const unsigned char *page, int leaf)
{
	size_t lower = pages_u16(page + 12), upper = pages_u16(page + 14), sum = 0, first = w->psize, at;
	unsigned said =
	    lower >= PAGES_HEAD + 2 && lower % 2 == 0 && lower <= w->psize ? (unsigned)((lower - PAGES_HEAD) / 2) : 0;
	unsigned alone = 0;
	struct pages_node n;

	/* That the nodes fill the page tells the number without lower, or with lower alone. */
	for (unsigned i = 0; PAGES_HEAD + 2 * (size_t)(i + 1) <= w->psize && store_pages_node(w, page, i, leaf, &n);
	     i++) {
		at = pages_u16(page + PAGES_HEAD + (size_t)2 * i);
		first = at < first ? at : first;
		sum += (n.size + 1) & ~(size_t)1;
		if (sum + upper == w->psize)
			return i + 1;
		if (i + 1 == said && sum + first == w->psize)
			alone = said;
		if (sum > w->psize)
			break;
	}
	return alone != 0 ? alone : store_pages_said(w, page);
}
