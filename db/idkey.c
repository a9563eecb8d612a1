/*
 * Long ids in a store whose keys are short: a trie whose edges are IDKEY_SHORT bytes long (idkey.h).
 *
 * Invariants, of every committed state (idkey_check() recounts them):
 * 1. A pointer is there exactly while its node has an entry, a record or a pointer.
 * 2. A pointer keeps the weight of all records below it and the number of its node's entries.
 * 3. Node numbers are never used twice, 0 is none: here it stands for the tree `top`.
 * So the bytewise order of ids is that of the keys, where a pointer stands for what is below it.
 *
 * A batch keeps each pointer it touches in memory, read once, in a skip list ordered by (node it
 * is in, key).  A count that rises from 0 makes the pointer an entry of the node above, one that
 * falls to 0 takes it away again, so that the order of puts and deletes within a batch does not matter.
 * At the end only what differs from the snapshot is written.
 */
#include "db/idkey.h"

#include <string.h>

#include "base/limits.h"
#include "db/idkey_node.h"
#include "store/record.h"

#define VARINT_MAX 10u
#define SKIP_LEVELS 16u

/* A pointer that a batch has touched. */
struct touched {
	struct touched *up;           /* the pointer to the node it is in; NULL: it is in `top` */
	int existed;                  /* in the snapshot */
	struct idkey_pointer was, is; /* was: zeros where it did not exist */
	const unsigned char *part;    /* its IDKEY_SHORT bytes of the id */
	struct touched *next[];       /* as many as its height */
};

struct idkey_batch {
	struct idkey_trees t;
	struct store_snap *snap;
	struct arena *a;
	uint64_t *next_node;
	uint64_t random;                   /* for heights */
	struct touched *head[SKIP_LEVELS]; /* of the skip list */
};

int
idkey_is_pointer(const struct store_val *key)
{
	return key->len == IDKEY_POINTER_LEN;
}

uint64_t
idkey_weight(const struct store_val *val)
{
	struct bytes r;

	if (val->len < RECORD_SUM_LEN)
		return 0;
	bytes_init(&r, val->p, val->len - RECORD_SUM_LEN);
	bytes_varint(&r);
	return bytes_varint(&r);
}

void
idkey_node_head(unsigned char *p, uint64_t node)
{
	for (unsigned i = 0; i < IDKEY_NODE_LEN; i++)
		p[i] = (unsigned char)(node >> (8 * (IDKEY_NODE_LEN - 1 - i)));
}

void
idkey_node_place(struct idkey_place *out, const struct idkey_trees *t, uint64_t node, const char *rest, size_t len)
{
	size_t n = 0;

	out->tree = t->top;
	if (node > 0) {
		out->tree = t->deep;
		idkey_node_head(out->key, node);
		n = IDKEY_NODE_LEN;
	}
	out->klen = n + (len < IDKEY_SHORT ? len : IDKEY_SHORT);
	if (len > 0)
		memcpy(out->key + n, rest, out->klen - n);
	if (len > IDKEY_SHORT)
		out->key[out->klen++] = IDKEY_POINTER_MARK;
}

int
idkey_node_pointer(unsigned tree, const void *key, size_t klen, const struct store_val *val, struct idkey_pointer *out)
{
	struct bytes r;
	int err = record_open(tree, key, klen, val, &r);

	if (err)
		return err;
	out->node = bytes_varint(&r);
	out->weight = bytes_varint(&r);
	out->entries = bytes_varint(&r);
	return r.bad || bytes_left(&r) > 0 || out->node == 0 || out->entries == 0 ? ERR_CORRUPT : 0;
}

static int
pointer_get(struct store_snap *snap, const struct idkey_place *at, struct idkey_pointer *out)
{
	struct store_val val;
	int err = store_get(snap, at->tree, at->key, at->klen, &val);

	return err ? err : idkey_node_pointer(at->tree, at->key, at->klen, &val, out);
}

static size_t
put_varint(unsigned char *p, uint64_t x)
{
	size_t n = 0;

	for (; x > 0x7f; x >>= 7)
		p[n++] = (unsigned char)(x | 0x80);
	p[n++] = (unsigned char)x;
	return n;
}

static int
pointer_put(struct store_batch *batch, const struct idkey_place *at, const struct idkey_pointer *ptr)
{
	unsigned char v[3 * VARINT_MAX];
	size_t n = put_varint(v, ptr->node);

	n += put_varint(v + n, ptr->weight);
	n += put_varint(v + n, ptr->entries);
	return record_put(batch, at->tree, at->key, at->klen, v, n);
}

int
idkey_find(const struct idkey_trees *t, struct store_snap *snap, const char *id, size_t len, struct idkey_place *out)
{
	struct idkey_pointer ptr = {0, 0, 0};
	int err;

	if (len == 0 || len > LIMIT_ID_LEN)
		return ERR_MISSING;
	for (;;) {
		idkey_node_place(out, t, ptr.node, id, len);
		if (len <= IDKEY_SHORT)
			return 0;
		err = pointer_get(snap, out, &ptr);
		if (err)
			return err;
		id += IDKEY_SHORT;
		len -= IDKEY_SHORT;
	}
}

int
idkey_node_cmp(const struct store_val *a, const unsigned char *b, size_t blen)
{
	int d = memcmp(a->p, b, a->len < blen ? a->len : blen);

	if (d)
		return d;
	return a->len < blen ? -1 : a->len > blen;
}

int
idkey_node_has(const struct store_val *key, uint64_t node)
{
	unsigned char head[IDKEY_NODE_LEN];

	idkey_node_head(head, node);
	return key->len > IDKEY_NODE_LEN && memcmp(key->p, head, IDKEY_NODE_LEN) == 0;
}

int
idkey_node_is_pointer(const struct store_val *key)
{
	return key->len == IDKEY_NODE_LEN + IDKEY_POINTER_LEN;
}

int
idkey_node_weight(
    unsigned tree, const struct store_val *key, const struct store_val *val, idkey_weigh_f *weigh, uint64_t *weightp)
{
	struct idkey_pointer ptr;
	int err;

	if (!idkey_node_is_pointer(key)) {
		*weightp = weigh(val);
		return 0;
	}
	err = idkey_node_pointer(tree, key->p, key->len, val, &ptr);
	*weightp = err ? 0 : ptr.weight;
	return err;
}

/*
 * Add the weight of ${node}'s entries before ${to}; ${atp} is set to 1 with the pointer there, if ${to} is the
 * key of one that is there.
 */
static int
rank_in_node(struct store_cursor *cursor, uint64_t node, const struct idkey_place *to, idkey_weigh_f *weigh,
    uint64_t *np, struct idkey_pointer *ptr, int *atp)
{
	unsigned char head[IDKEY_NODE_LEN];
	struct store_val key, val;
	uint64_t weight;
	int d, err;

	*atp = 0;
	idkey_node_head(head, node);
	err = store_seek(cursor, head, sizeof(head), &key, &val);
	while (!err && (d = idkey_node_cmp(&key, to->key, to->klen)) <= 0) {
		if (d == 0) {
			*atp = idkey_node_is_pointer(&key);
			return *atp ? idkey_node_pointer(to->tree, key.p, key.len, &val, ptr) : 0;
		}
		err = idkey_node_weight(to->tree, &key, &val, weigh, &weight);
		if (err)
			return err;
		*np += weight;
		err = store_next(cursor, &key, &val);
	}
	return err == ERR_MISSING ? 0 : err;
}

int
idkey_rank(const struct idkey_trees *t, struct store_snap *snap, const char *id, size_t len, idkey_weigh_f *weigh,
    struct idkey_place *topp, uint64_t *np)
{
	struct store_cursor *cursor;
	struct idkey_place at;
	struct idkey_pointer ptr;
	int more = 1;
	int err;

	*np = 0;
	idkey_node_place(topp, t, 0, id, len);
	if (len <= IDKEY_SHORT)
		return 0;
	err = pointer_get(snap, topp, &ptr);
	if (err)
		return err == ERR_MISSING ? 0 : err;
	err = store_cursor_open(snap, t->deep, &cursor);
	if (err)
		return err;
	while (!err && more) {
		id += IDKEY_SHORT;
		len -= IDKEY_SHORT;
		idkey_node_place(&at, t, ptr.node, id, len);
		err = rank_in_node(cursor, ptr.node, &at, weigh, np, &ptr, &more);
	}
	store_cursor_close(cursor);
	return err;
}

int
idkey_batch_new(
    const struct idkey_trees *t, struct store_snap *snap, struct arena *a, uint64_t *next_node, struct idkey_batch **bp)
{
	struct idkey_batch *b = arena_calloc(a, 1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	b->t = *t;
	b->snap = snap;
	b->a = a;
	b->next_node = next_node;
	/* Where memory lies is random enough for heights: whoever chooses ids does not know it. */
	b->random = (uint64_t)(uintptr_t)b * UINT64_C(0x9e3779b97f4a7c15) | 1;
	*bp = b;
	return 0;
}

static uint64_t
node_of(const struct touched *up)
{
	return up != NULL ? up->is.node : 0;
}

static int
touched_cmp(const struct touched *p, uint64_t node, const void *part)
{
	uint64_t own = node_of(p->up);

	if (own != node)
		return own < node ? -1 : 1;
	return memcmp(p->part, part, IDKEY_SHORT);
}

static unsigned
random_height(struct idkey_batch *b)
{
	unsigned height = 1;

	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	for (uint64_t bits = b->random >> 20; height < SKIP_LEVELS && (bits & 3) == 0; bits >>= 2)
		height++;
	return height;
}

/* What the snapshot has of a pointer, or a new node. */
static int
touched_load(struct idkey_batch *b, struct touched *p)
{
	struct idkey_place at;
	int err = ERR_MISSING;

	/* Nothing can be in a node that this batch has made. */
	if (p->up == NULL || p->up->existed) {
		idkey_node_place(&at, &b->t, node_of(p->up), (const char *)p->part, IDKEY_SHORT + 1);
		err = pointer_get(b->snap, &at, &p->was);
	}
	if (err && err != ERR_MISSING)
		return err;
	p->existed = !err;
	if (err) {
		memset(&p->was, 0, sizeof(p->was));
		if (*b->next_node == 0)
			*b->next_node = 1;
		p->was.node = (*b->next_node)++;
	}
	p->is = p->was;
	return 0;
}

/* The pointer of ${part} in the node of ${up}, read or made at the first touch. */
static int
touch(struct idkey_batch *b, struct touched *up, const char *part, struct touched **pp)
{
	struct touched **links[SKIP_LEVELS];
	struct touched **link = b->head;
	uint64_t node = node_of(up);
	struct touched *p;
	unsigned height;
	int d = 1, err;

	for (unsigned i = SKIP_LEVELS; i-- > 0;) {
		while (link[i] != NULL && (d = touched_cmp(link[i], node, part)) < 0)
			link = link[i]->next;
		if (link[i] != NULL && d == 0) {
			*pp = link[i];
			return 0;
		}
		links[i] = link;
	}
	height = random_height(b);
	p = arena_alloc(b->a, sizeof(*p) + height * sizeof(p->next[0]));
	if (p == NULL)
		return ERR_NOMEM;
	p->up = up;
	p->part = (const unsigned char *)arena_dup(b->a, part, IDKEY_SHORT);
	if (p->part == NULL)
		return ERR_NOMEM;
	err = touched_load(b, p);
	if (err)
		return err;
	for (unsigned i = 0; i < height; i++) {
		p->next[i] = links[i][i];
		links[i][i] = p;
	}
	*pp = p;
	return 0;
}

/* The place of ${id}, and the pointer to the node it is in, or NULL. */
static int
batch_place(struct idkey_batch *b, const char *id, size_t len, struct idkey_place *out, struct touched **upp)
{
	struct touched *up = NULL;
	int err;

	if (len == 0 || len > LIMIT_ID_LEN)
		return len == 0 ? ERR_ID_EMPTY : ERR_ID_TOO_LONG;
	for (; len > IDKEY_SHORT; id += IDKEY_SHORT, len -= IDKEY_SHORT) {
		err = touch(b, up, id, &up);
		if (err)
			return err;
	}
	idkey_node_place(out, &b->t, node_of(up), id, len);
	*upp = up;
	return 0;
}

static int
change_weight(struct touched *p, int64_t change)
{
	for (; change != 0 && p != NULL; p = p->up) {
		if (change < 0 && p->is.weight < 0 - (uint64_t)change)
			return ERR_CORRUPT;
		p->is.weight += (uint64_t)change;
	}
	return 0;
}

int
idkey_put(
    struct idkey_batch *b, const char *id, size_t len, int existed, int64_t weight_change, struct idkey_place *out)
{
	struct touched *up;
	int err = batch_place(b, id, len, out, &up);

	if (err || up == NULL)
		return err;
	if (existed && up->is.entries == 0)
		return ERR_CORRUPT;
	for (struct touched *p = up; !existed && p != NULL; p = p->up)
		if (p->is.entries++ > 0)
			break;
	return change_weight(up, weight_change);
}

int
idkey_del(struct idkey_batch *b, const char *id, size_t len, int64_t weight_change, struct idkey_place *out)
{
	struct touched *up;
	int err = batch_place(b, id, len, out, &up);

	if (err || up == NULL)
		return err;
	for (struct touched *p = up; p != NULL; p = p->up) {
		if (p->is.entries == 0)
			return ERR_CORRUPT;
		if (--p->is.entries > 0)
			break;
	}
	return change_weight(up, weight_change);
}

/* Put or delete one pointer. */
static int
touched_write(struct idkey_batch *b, const struct touched *p, struct store_batch *batch)
{
	struct idkey_place at;

	if (p->is.entries == 0 && p->is.weight > 0)
		return ERR_CORRUPT;
	if (p->is.entries == p->was.entries && p->is.weight == p->was.weight)
		return 0;
	idkey_node_place(&at, &b->t, node_of(p->up), (const char *)p->part, IDKEY_SHORT + 1);
	if (p->is.entries > 0)
		return pointer_put(batch, &at, &p->is);
	return store_del(batch, at.tree, at.key, at.klen);
}

int
idkey_batch_end(struct idkey_batch *b, struct store_batch *batch,
    int (*fn)(
	const void *key, size_t klen, int existed, int exists, uint64_t old_weight, uint64_t new_weight, void *cookie),
    void *cookie)
{
	struct idkey_place at;
	const void *key;
	int exists, err;

	for (const struct touched *p = b->head[0]; p != NULL; p = p->next[0]) {
		err = touched_write(b, p, batch);
		if (err)
			return err;
		exists = p->is.entries > 0;
		if (fn == NULL || p->up != NULL || (p->existed == exists && p->was.weight == p->is.weight))
			continue;
		idkey_node_place(&at, &b->t, 0, (const char *)p->part, IDKEY_SHORT + 1);
		key = arena_dup(b->a, at.key, at.klen);
		if (key == NULL)
			return ERR_NOMEM;
		err = fn(key, at.klen, p->existed, exists, p->was.weight, p->is.weight, cookie);
		if (err)
			return err;
	}
	return 0;
}
