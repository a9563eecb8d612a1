/*
 * The bytes of a revision tree.
 *
 * A document is read far more often than anything else is done to it, and most
 * have one run.  So the winner's newest revision stands at the front, where a GET finds
 * it without reading the rest, and decoding copies no id.
 *
 * All numbers are varints (LEB128).  [x] stands only where the text says.
 *
 *   tree   := runs [leaves] run*                 leaves only if runs > 1; no run: one byte 0
 *   run    := tip head [parent] [id span] node*  tip: generation of the newest revision
 *     head := count * 4 + PARENT(2) + SPILLED(1) count: revisions in memory, >= 1, newest first
 *     parent: only with PARENT: the place (from 0) of the run whose newest revision is the parent of this run's oldest
 *     id span: only with SPILLED: the run's number in the spilled blocks' keys, >= 1; spilled generations - 1.
 *             The newest spilled one is tip - count, and is 31 modulo 32.
 *   node   := flags [length] hash [number] [size] [kept]
 *     flags: one byte: 1 deleted; 2 the body is in the document's record; 4 the body has a number;
 *             8 the hash is not 16 bytes long; 16 a body is kept for merging; others 0.  Not both of 2 and 4.
 *     length: only with 8: bytes of the hash, 1 to 128 and not 16
 *     number: only with 4: the body's, >= 2;   size: only with 2 or 4: body_len
 *     kept: only with 16: the kept body's number, >= 2
 *
 * Runs stand in the order of revtree.h, so their places below `leaves` are the leaves.
 * A document of one revision takes 22 bytes with a body of 128 to 16383 bytes.
 *
 * Input is not trusted: counts are bounded by the bytes that are left before
 * anything is allocated, and links are checked before the tree is given out.
 * Generations fall from a run to its parent, so links cannot form a circle.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/buf.h"
#include "base/limits.h"
#include "db/revtree.h"
#include "revtree_impl.h"

#define HEAD_PARENT 2u
#define HEAD_SPILLED 1u
#define HEAD_BITS 2

#define NODE_DELETED 1u
#define NODE_INLINE 2u
#define NODE_NUMBER 4u
#define NODE_ODD 8u
#define NODE_KEPT 16u
#define NODE_FLAGS 31u

#define NODE_MIN 3u /* bytes of the shortest node: flags, length, one byte of hash */
#define RUN_MIN (2u + NODE_MIN)

/* Most numbers are below 128. */
static inline uint64_t
get_number(struct bytes *r)
{
	if (r->p < r->end && *r->p < 0x80)
		return *r->p++;
	return bytes_varint(r);
}

static inline unsigned char *
put_number(unsigned char *p, uint64_t n)
{
	while (n >= 0x80) {
		*p++ = (unsigned char)(n | 0x80);
		n >>= 7;
	}
	*p++ = (unsigned char)n;
	return p;
}

static int
get_body(struct bytes *r, struct revnode *node, unsigned flags)
{
	if (flags & NODE_INLINE) {
		if (flags & NODE_NUMBER)
			return 0;
		node->body = REVTREE_INLINE;
	} else {
		node->body = get_number(r);
		if (node->body < REVTREE_BODY_FIRST)
			return 0;
	}
	node->body_len = get_number(r);
	return !r->bad;
}

int
revtree_node_get_(struct bytes *r, struct revnode *node, uint64_t gen)
{
	unsigned flags;
	uint64_t len = REV_MD5_LEN;

	if (r->bad || r->p >= r->end)
		return 0;
	flags = *r->p++;
	if (flags & ~NODE_FLAGS)
		return 0;
	if (flags & NODE_ODD) {
		len = get_number(r);
		if (len < 1 || len > LIMIT_REV_LEN || len == REV_MD5_LEN)
			return 0;
	}
	if ((size_t)(r->end - r->p) < len)
		return 0;
	node->rev.gen = gen;
	node->rev.id = r->p;
	node->rev.len = (size_t)len;
	r->p += len;
	node->deleted = flags & NODE_DELETED;
	node->mark = 0;
	node->body = REVTREE_NO_BODY;
	node->body_len = 0;
	node->kept = REVTREE_NO_BODY;
	if (flags & (NODE_INLINE | NODE_NUMBER) && !get_body(r, node, flags))
		return 0;
	if (flags & NODE_KEPT) {
		node->kept = get_number(r);
		return !r->bad && node->kept >= REVTREE_BODY_FIRST;
	}
	return 1;
}

int
revtree_node_put_(struct buf *b, const struct revnode *node)
{
	unsigned char *p;
	char *room;
	unsigned flags = node->deleted ? NODE_DELETED : 0;
	int rc;

	rc = buf_reserve(b, 1 + 2 + node->rev.len + 10 + 10 + 10, &room);
	if (rc)
		return rc;
	if (node->body == REVTREE_INLINE)
		flags |= NODE_INLINE;
	else if (node->body != REVTREE_NO_BODY)
		flags |= NODE_NUMBER;
	if (node->rev.len != REV_MD5_LEN)
		flags |= NODE_ODD;
	if (node->kept != REVTREE_NO_BODY)
		flags |= NODE_KEPT;
	p = (unsigned char *)room;
	*p++ = (unsigned char)flags;
	if (flags & NODE_ODD)
		p = put_number(p, node->rev.len);
	memcpy(p, node->rev.id, node->rev.len);
	p += node->rev.len;
	if (flags & NODE_NUMBER)
		p = put_number(p, node->body);
	if (flags & (NODE_NUMBER | NODE_INLINE))
		p = put_number(p, node->body_len);
	if (flags & NODE_KEPT)
		p = put_number(p, node->kept);
	buf_commit(b, (size_t)(p - (unsigned char *)room));
	return 0;
}

/* What stands before a run's nodes. */
struct run_head {
	uint64_t tip;
	uint64_t count;
	uint64_t spilled_from; /* 0: nothing is spilled */
	uint32_t id;
	uint32_t parent; /* UINT32_MAX: none */
};

static int
get_head(struct bytes *r, struct run_head *h, uint32_t nruns)
{
	uint64_t bits;
	uint64_t n;

	h->tip = get_number(r);
	bits = get_number(r);
	h->count = bits >> HEAD_BITS;
	h->parent = UINT32_MAX;
	h->spilled_from = 0;
	h->id = 0;
	if (h->tip > LIMIT_REV_GEN || h->count < 1 || h->count > h->tip)
		return 0;
	if (bits & HEAD_PARENT) {
		n = get_number(r);
		if (n >= nruns)
			return 0;
		h->parent = (uint32_t)n;
	}
	if (bits & HEAD_SPILLED) {
		uint64_t last = h->tip - h->count;

		n = get_number(r);
		if (n < 1 || n >= UINT32_MAX || last % REVTREE_BLOCK != REVTREE_BLOCK - 1)
			return 0;
		h->id = (uint32_t)n;
		n = get_number(r);
		if (n >= last)
			return 0;
		h->spilled_from = last - n;
	}
	return !r->bad && h->count <= bytes_left(r) / NODE_MIN;
}

static int
get_run(struct revtree *t, struct bytes *r, struct revrun *run)
{
	struct run_head h;
	uint32_t i;

	if (!get_head(r, &h, t->nruns))
		return ERR_CORRUPT;
	run->n = (uint32_t)h.count;
	run->room = 1;
	run->parent = h.parent == UINT32_MAX ? NULL : t->runs[h.parent];
	run->spilled_from = h.spilled_from;
	run->id = h.id;
	if (h.id > t->last_id)
		t->last_id = h.id;
	run->nodes = arena_alloc(t->a, (h.count + 1) * sizeof(*run->nodes));
	if (run->nodes == NULL)
		return ERR_NOMEM;
	run->nodes++;
	for (i = 0; i < run->n; i++)
		if (!revtree_node_get_(r, &run->nodes[i], h.tip - i))
			return ERR_CORRUPT;
	return 0;
}

/* Do the runs make a tree as revtree.h has it? */
static int
links_ok(struct revtree *t)
{
	uint32_t i;

	for (i = 0; i < t->nruns; i++) {
		struct revrun *parent = t->runs[i]->parent;

		if (parent == NULL)
			continue;
		if (revrun_tip(parent) + 1 != revrun_first(t->runs[i]))
			return 0;
		parent->nchildren++;
	}
	for (i = 0; i < t->nruns; i++) {
		struct revrun *run = t->runs[i];

		if ((i < t->nleaves) != (run->nchildren == 0))
			return 0;
		if (run->parent != NULL && run->parent->nchildren == 1 && run->id == 0)
			return 0;
		if (i > 0 && revrun_before(run, t->runs[i - 1]))
			return 0;
	}
	return 1;
}

/* The numbers before the first run. */
static int
get_counts(struct bytes *r, uint32_t *nrunsp, uint32_t *nleavesp)
{
	uint64_t nruns = get_number(r);
	uint64_t nleaves = nruns > 1 ? get_number(r) : nruns;

	if (r->bad || nruns > bytes_left(r) / RUN_MIN || nruns >= UINT32_MAX)
		return 0;
	if (nleaves > nruns || (nleaves == 0 && nruns > 0))
		return 0;
	*nrunsp = (uint32_t)nruns;
	*nleavesp = (uint32_t)nleaves;
	return 1;
}

int
revtree_decode(struct arena *a, struct bytes *r, struct revtree **tp)
{
	struct revtree *t;
	struct revrun *runs;
	uint32_t nruns;
	uint32_t nleaves;
	uint32_t i;
	int rc;

	if (!get_counts(r, &nruns, &nleaves))
		return ERR_CORRUPT;
	rc = revtree_new(a, &t);
	if (rc)
		return rc;
	if (nruns > 0) {
		t->runs = arena_alloc(a, nruns * sizeof(struct revrun *));
		runs = arena_calloc(a, nruns, sizeof(*runs));
		if (t->runs == NULL || runs == NULL)
			return ERR_NOMEM;
		t->cap = t->nruns = nruns;
		t->nleaves = nleaves;
		for (i = 0; i < nruns; i++) {
			runs[i].index = i;
			t->runs[i] = &runs[i];
		}
	}
	for (i = 0; i < nruns; i++) {
		rc = get_run(t, r, t->runs[i]);
		if (rc)
			return rc;
	}
	if (!links_ok(t))
		return ERR_CORRUPT;
	*tp = t;
	return 0;
}

int
revtree_winner_decode(struct bytes *r, struct revnode *out, size_t *nleavesp)
{
	struct run_head h;
	uint32_t nruns;
	uint32_t nleaves;

	if (!get_counts(r, &nruns, &nleaves) || nruns == 0)
		return ERR_CORRUPT;
	if (!get_head(r, &h, nruns) || !revtree_node_get_(r, out, h.tip))
		return ERR_CORRUPT;
	*nleavesp = nleaves;
	return 0;
}

#define RUN_MAX 50u      /* bytes before a run's nodes */
#define NODE_NUMBERS 30u /* bytes of the numbers of a node with a body */

static size_t
node_bytes(const struct revnode *node)
{
	int bodies = node->body != REVTREE_NO_BODY || node->kept != REVTREE_NO_BODY;

	return NODE_MIN + node->rev.len + (bodies ? NODE_NUMBERS : 0);
}

struct revsize
revtree_size(const struct revtree *t)
{
	struct revsize size = {0, 0};

	for (uint32_t i = 0; i < t->nruns; i++) {
		const struct revrun *run = t->runs[i];

		size.revs += revrun_tip(run) - revrun_first(run) + 1;
		size.bytes += RUN_MAX;
		for (uint32_t k = 0; k < run->n && k < REVTREE_BLOCK + REVTREE_RECENT; k++)
			size.bytes += node_bytes(&run->nodes[k]);
	}
	return size;
}

struct revsize
revtree_path_size(const struct revpath *path)
{
	/* It may end in two new runs: its own, and one that is cut in two where it begins. */
	struct revsize size = {path->n, 2 * RUN_MAX + NODE_NUMBERS};

	for (size_t i = 0; i < path->n; i++)
		size.bytes += NODE_MIN + path->revs[i].len;
	return size;
}

static int
put_run(const struct revrun *run, struct buf *b)
{
	unsigned bits = (run->parent ? HEAD_PARENT : 0) | (run->id ? HEAD_SPILLED : 0);
	unsigned char *p;
	char *room;
	uint32_t i;
	int rc;

	rc = buf_reserve(b, RUN_MAX, &room);
	if (rc)
		return rc;
	p = put_number((unsigned char *)room, revrun_tip(run));
	p = put_number(p, (uint64_t)run->n << HEAD_BITS | bits);
	if (run->parent != NULL)
		p = put_number(p, run->parent->index);
	if (run->id != 0) {
		p = put_number(p, run->id);
		p = put_number(p, revrun_low(run) - 1 - run->spilled_from);
	}
	buf_commit(b, (size_t)(p - (unsigned char *)room));
	for (i = 0; i < run->n; i++) {
		rc = revtree_node_put_(b, &run->nodes[i]);
		if (rc)
			return rc;
	}
	return 0;
}

int
revtree_encode(const struct revtree *t, struct buf *b)
{
	uint32_t i;
	int rc;

	rc = buf_put_varint(b, t->nruns);
	if (rc == 0 && t->nruns > 1)
		rc = buf_put_varint(b, t->nleaves);
	for (i = 0; i < t->nruns && rc == 0; i++)
		rc = put_run(t->runs[i], b);
	return rc;
}
