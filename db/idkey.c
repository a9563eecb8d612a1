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
 *
 * A walk has a cursor per depth.  It moves when it is asked for the next record and not before,
 * so that a short id is handed out where the store keeps it.
 */
#include "db/idkey.h"

#include <assert.h>
#include <string.h>

#include "base/limits.h"
#include "db/record.h"

#define NODE_LEN 8u
#define POINTER_MARK 0x01
#define POINTER_LEN (IDKEY_SHORT + 1) /* of a pointer's key, without the node's number */
#define DEPTH_MAX 18u
#define VARINT_MAX 10u
#define SKIP_LEVELS 16u

static_assert(NODE_LEN + POINTER_LEN <= STORE_KEY_MAX, "a pointer's key fits the store");
static_assert(DEPTH_MAX * IDKEY_SHORT >= LIMIT_ID_LEN, "the deepest node takes the longest id");

/* A pointer's value. */
struct pointer {
	uint64_t node;
	uint64_t weight;
	uint64_t entries;
};

/* A pointer that a batch has touched. */
struct touched {
	struct touched *up;        /* the pointer to the node it is in; NULL: it is in `top` */
	int existed;               /* in the snapshot */
	struct pointer was, is;    /* was: zeros where it did not exist */
	const unsigned char *part; /* its IDKEY_SHORT bytes of the id */
	struct touched *next[];    /* as many as its height */
};

struct idkey_batch {
	struct idkey_trees t;
	struct store_snap *snap;
	struct arena *a;
	uint64_t *next_node;
	uint64_t random;                   /* for heights */
	struct touched *head[SKIP_LEVELS]; /* of the skip list */
};

/* One depth of a walk. */
struct frame {
	struct store_cursor *cursor; /* NULL: not yet opened */
	uint64_t node;               /* 0 at depth 0 */
	struct store_val key;        /* where the cursor stands */
	struct store_val val;
};

enum walk_state {
	WALK_END,  /* nothing more */
	WALK_HERE, /* the deepest frame's entry is next */
	WALK_MOVE  /* the entry behind it is */
};

struct idkey_walk {
	struct idkey_trees t;
	struct store_snap *snap;
	struct arena *a;
	enum walk_state state;
	int descending;
	unsigned depth; /* of the deepest frame in use */
	char *id;       /* DEPTH_MAX * IDKEY_SHORT bytes, once a pointer was met */
	struct frame frames[DEPTH_MAX];
};

int
idkey_is_pointer(const struct store_val *key)
{
	return key->len == POINTER_LEN;
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

static void
put_node(unsigned char *p, uint64_t node)
{
	for (unsigned i = 0; i < NODE_LEN; i++)
		p[i] = (unsigned char)(node >> (8 * (NODE_LEN - 1 - i)));
}

/* The key in ${node} of the record or, where ${len} bytes are too many, the pointer of ${rest}. */
static void
place_set(struct idkey_place *out, const struct idkey_trees *t, uint64_t node, const char *rest, size_t len)
{
	size_t n = 0;

	out->tree = t->top;
	if (node > 0) {
		out->tree = t->deep;
		put_node(out->key, node);
		n = NODE_LEN;
	}
	out->klen = n + (len < IDKEY_SHORT ? len : IDKEY_SHORT);
	if (len > 0)
		memcpy(out->key + n, rest, out->klen - n);
	if (len > IDKEY_SHORT)
		out->key[out->klen++] = POINTER_MARK;
}

static int
pointer_read(unsigned tree, const void *key, size_t klen, const struct store_val *val, struct pointer *out)
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
pointer_get(struct store_snap *snap, const struct idkey_place *at, struct pointer *out)
{
	struct store_val val;
	int err = store_get(snap, at->tree, at->key, at->klen, &val);

	return err ? err : pointer_read(at->tree, at->key, at->klen, &val, out);
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
pointer_put(struct store_batch *batch, const struct idkey_place *at, const struct pointer *ptr)
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
	struct pointer ptr = {0, 0, 0};
	int err;

	if (len == 0 || len > LIMIT_ID_LEN)
		return ERR_MISSING;
	for (;;) {
		place_set(out, t, ptr.node, id, len);
		if (len <= IDKEY_SHORT)
			return 0;
		err = pointer_get(snap, out, &ptr);
		if (err)
			return err;
		id += IDKEY_SHORT;
		len -= IDKEY_SHORT;
	}
}

/* How an entry of a node compares with the node's number and a key in it: < 0 or 0 while it is before it or it. */
static int
key_cmp(const struct store_val *a, const unsigned char *b, size_t blen)
{
	int d = memcmp(a->p, b, a->len < blen ? a->len : blen);

	if (d)
		return d;
	return a->len < blen ? -1 : a->len > blen;
}

/* Whether ${key} of `deep` is in ${node}. */
static int
in_node(const struct store_val *key, uint64_t node)
{
	unsigned char head[NODE_LEN];

	put_node(head, node);
	return key->len > NODE_LEN && memcmp(key->p, head, NODE_LEN) == 0;
}

static int
deep_is_pointer(const struct store_val *key)
{
	return key->len == NODE_LEN + POINTER_LEN;
}

/* What an entry of a node weighs. */
static int
deep_weight(
    unsigned tree, const struct store_val *key, const struct store_val *val, idkey_weigh_f *weigh, uint64_t *weightp)
{
	struct pointer ptr;
	int err;

	if (!deep_is_pointer(key)) {
		*weightp = weigh(val);
		return 0;
	}
	err = pointer_read(tree, key->p, key->len, val, &ptr);
	*weightp = err ? 0 : ptr.weight;
	return err;
}

/*
 * Add the weight of ${node}'s entries before ${to}; ${atp} is set to 1 with the pointer there, if ${to} is the
 * key of one that is there.
 */
static int
rank_in_node(struct store_cursor *cursor, uint64_t node, const struct idkey_place *to, idkey_weigh_f *weigh,
    uint64_t *np, struct pointer *ptr, int *atp)
{
	unsigned char head[NODE_LEN];
	struct store_val key, val;
	uint64_t weight;
	int d, err;

	*atp = 0;
	put_node(head, node);
	err = store_seek(cursor, head, sizeof(head), &key, &val);
	while (!err && (d = key_cmp(&key, to->key, to->klen)) <= 0) {
		if (d == 0) {
			*atp = deep_is_pointer(&key);
			return *atp ? pointer_read(to->tree, key.p, key.len, &val, ptr) : 0;
		}
		err = deep_weight(to->tree, &key, &val, weigh, &weight);
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
	struct pointer ptr;
	int more = 1;
	int err;

	*np = 0;
	place_set(topp, t, 0, id, len);
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
		place_set(&at, t, ptr.node, id, len);
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
		place_set(&at, &b->t, node_of(p->up), (const char *)p->part, IDKEY_SHORT + 1);
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
	place_set(out, &b->t, node_of(up), id, len);
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
	place_set(&at, &b->t, node_of(p->up), (const char *)p->part, IDKEY_SHORT + 1);
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
		place_set(&at, &b->t, 0, (const char *)p->part, IDKEY_SHORT + 1);
		key = arena_dup(b->a, at.key, at.klen);
		if (key == NULL)
			return ERR_NOMEM;
		err = fn(key, at.klen, p->existed, exists, p->was.weight, p->is.weight, cookie);
		if (err)
			return err;
	}
	return 0;
}

int
idkey_walk_open(const struct idkey_trees *t, struct store_snap *snap, struct arena *a, struct idkey_walk **wp)
{
	struct idkey_walk *w = arena_calloc(a, 1, sizeof(*w));
	int err;

	if (w == NULL)
		return ERR_NOMEM;
	w->t = *t;
	w->snap = snap;
	w->a = a;
	err = store_cursor_open(snap, t->top, &w->frames[0].cursor);
	if (err)
		return err;
	*wp = w;
	return 0;
}

void
idkey_walk_close(struct idkey_walk *w)
{
	if (w == NULL)
		return;
	for (unsigned i = 0; i < DEPTH_MAX && w->frames[i].cursor != NULL; i++)
		store_cursor_close(w->frames[i].cursor);
	w->state = WALK_END;
	memset(w->frames, 0, sizeof(w->frames));
}

/* Whether the entry of the deepest frame is a pointer; anything that is none of ours is corrupt. */
static int
at_pointer(const struct idkey_walk *w, int *pointerp)
{
	size_t rest = w->frames[w->depth].key.len - (w->depth > 0 ? NODE_LEN : 0);

	*pointerp = rest == POINTER_LEN;
	return rest == 0 || rest > POINTER_LEN ? ERR_CORRUPT : 0;
}

/* The outcome of a move of the deepest cursor: an entry of another node is none. */
static int
moved(struct idkey_walk *w, int err)
{
	struct frame *f = &w->frames[w->depth];

	if (!err && w->depth > 0 && !in_node(&f->key, f->node))
		return ERR_MISSING;
	return err;
}

/* Go down into the node of the pointer the walk stands on; the new cursor stands nowhere. */
static int
walk_down(struct idkey_walk *w)
{
	struct frame *f = &w->frames[w->depth];
	unsigned tree = w->depth > 0 ? w->t.deep : w->t.top;
	size_t head = w->depth > 0 ? NODE_LEN : 0;
	struct pointer ptr;
	int err = pointer_read(tree, f->key.p, f->key.len, &f->val, &ptr);

	if (err)
		return err;
	if (w->depth + 1 >= DEPTH_MAX)
		return ERR_CORRUPT;
	if (w->id == NULL)
		w->id = arena_alloc(w->a, (size_t)DEPTH_MAX * IDKEY_SHORT);
	if (w->id == NULL)
		return ERR_NOMEM;
	memcpy(w->id + (size_t)w->depth * IDKEY_SHORT, (const char *)f->key.p + head, IDKEY_SHORT);
	f++;
	if (f->cursor == NULL) {
		err = store_cursor_open(w->snap, w->t.deep, &f->cursor);
		if (err)
			return err;
	}
	f->node = ptr.node;
	w->depth++;
	return 0;
}

/* Stand on the first or last entry of the node gone down into; a node without one is corrupt. */
static int
node_end(struct idkey_walk *w)
{
	struct frame *f = &w->frames[w->depth];
	unsigned char head[NODE_LEN];
	int err;

	/* No key is as short as a node's number alone. */
	put_node(head, f->node + (w->descending ? 1 : 0));
	err = w->descending ? store_seek_le(f->cursor, head, sizeof(head), &f->key, &f->val)
			    : store_seek(f->cursor, head, sizeof(head), &f->key, &f->val);
	err = moved(w, err);
	return err == ERR_MISSING ? ERR_CORRUPT : err;
}

int
idkey_walk_seek(struct idkey_walk *w, const char *id, size_t len, int descending)
{
	struct idkey_place at = {0, 0, {0}};
	struct frame *f;
	int err;

	w->descending = descending;
	w->depth = 0;
	w->state = WALK_END;
	for (;; id += IDKEY_SHORT, len -= IDKEY_SHORT) {
		f = &w->frames[w->depth];
		if (len > 0)
			place_set(&at, &w->t, f->node, id, len);
		err = descending ? store_seek_le(f->cursor, at.key, at.klen, &f->key, &f->val)
				 : store_seek(f->cursor, at.key, at.klen, &f->key, &f->val);
		err = moved(w, err);
		if (err && err != ERR_MISSING)
			return err;
		/* Nothing on this side in a node: what follows is above it.  In `top`: the end. */
		w->state = !err ? WALK_HERE : w->depth > 0 ? WALK_MOVE : WALK_END;
		if (w->state == WALK_MOVE)
			w->depth--;
		if (err || len <= IDKEY_SHORT || key_cmp(&f->key, at.key, at.klen) != 0)
			return 0;
		w->state = WALK_END;
		err = walk_down(w);
		if (err)
			return err;
	}
}

int
idkey_walk_seek_weight(
    struct idkey_walk *w, const struct store_val *key, uint64_t n, idkey_weigh_f *weigh, int descending)
{
	struct frame *f = &w->frames[0];
	uint64_t weight;
	int pointer, err;

	w->depth = 0;
	w->state = WALK_END;
	err = store_seek(f->cursor, key->p, key->len, &f->key, &f->val);
	if (!err && key_cmp(&f->key, key->p, key->len) != 0)
		err = ERR_MISSING;
	for (;;) {
		if (!err)
			err = at_pointer(w, &pointer);
		if (err || !pointer)
			break;
		w->descending = 0;
		err = walk_down(w);
		if (!err)
			err = node_end(w);
		f = &w->frames[w->depth];
		while (!err && !(err = deep_weight(w->t.deep, &f->key, &f->val, weigh, &weight)) && n >= weight) {
			n -= weight;
			err = moved(w, store_next(f->cursor, &f->key, &f->val));
			/* The pointer said that there is more weight. */
			if (err == ERR_MISSING)
				err = ERR_CORRUPT;
		}
	}
	w->descending = descending;
	if (!err)
		w->state = WALK_HERE;
	return err;
}

/* Move on to the next entry, up from nodes that have none. */
static int
walk_move(struct idkey_walk *w)
{
	for (;;) {
		struct frame *f = &w->frames[w->depth];
		int err =
		    w->descending ? store_prev(f->cursor, &f->key, &f->val) : store_next(f->cursor, &f->key, &f->val);

		err = moved(w, err);
		if (err != ERR_MISSING)
			return err;
		if (w->depth == 0)
			return ERR_END;
		w->depth--;
	}
}

int
idkey_walk_step(struct idkey_walk *w, struct jstr *idp, struct store_val *valp)
{
	struct frame *f;
	size_t rest;
	int pointer, err = 0;

	if (w->state == WALK_END)
		return ERR_END;
	if (w->state == WALK_MOVE)
		err = walk_move(w);
	/* An error ends the walk, too. */
	w->state = WALK_END;
	for (;;) {
		if (!err)
			err = at_pointer(w, &pointer);
		if (err)
			return err;
		if (!pointer)
			break;
		err = walk_down(w);
		if (!err)
			err = node_end(w);
	}
	w->state = WALK_MOVE;
	f = &w->frames[w->depth];
	*valp = f->val;
	idp->s = f->key.p;
	idp->len = f->key.len;
	if (w->depth == 0)
		return 0;
	rest = f->key.len - NODE_LEN;
	memcpy(w->id + (size_t)w->depth * IDKEY_SHORT, (const char *)f->key.p + NODE_LEN, rest);
	idp->s = w->id;
	idp->len = (size_t)w->depth * IDKEY_SHORT + rest;
	return 0;
}

void
idkey_walk_place(const struct idkey_walk *w, unsigned *treep, struct store_val *keyp)
{
	*treep = w->depth > 0 ? w->t.deep : w->t.top;
	*keyp = w->frames[w->depth].key;
}

/* A recount. */
struct recount {
	const struct idkey_trees *t;
	struct store_snap *snap;
	idkey_weigh_f *weigh;
	struct errtext *why;
	uint64_t entries; /* of `deep`, reached by pointers */
};

/* Recount the node of the pointer at (${tree}, ${key}).  Recursion is bounded by DEPTH_MAX. */
static int
check_pointer(struct recount *rc, unsigned depth, unsigned tree, const struct store_val *pkey,
    const struct store_val *pval, uint64_t *weightp)
{
	struct pointer ptr, sum = {0, 0, 0};
	struct store_cursor *cursor;
	unsigned char head[NODE_LEN];
	struct store_val key, val;
	uint64_t weight;
	int err = pointer_read(tree, pkey->p, pkey->len, pval, &ptr);

	if (err || depth >= DEPTH_MAX)
		return err_why(rc->why, ERR_CORRUPT, "ids: a bad pointer at depth %u", depth);
	err = store_cursor_open(rc->snap, rc->t->deep, &cursor);
	if (err)
		return err;
	put_node(head, ptr.node);
	err = store_seek(cursor, head, sizeof(head), &key, &val);
	while (!err && in_node(&key, ptr.node)) {
		weight = 0;
		err = deep_is_pointer(&key) ? check_pointer(rc, depth + 1, rc->t->deep, &key, &val, &weight)
					    : deep_weight(rc->t->deep, &key, &val, rc->weigh, &weight);
		if (err)
			break;
		sum.weight += weight;
		sum.entries++;
		err = store_next(cursor, &key, &val);
	}
	store_cursor_close(cursor);
	if (err && err != ERR_MISSING)
		return err;
	rc->entries += sum.entries;
	*weightp = sum.weight;
	if (sum.weight != ptr.weight || sum.entries != ptr.entries)
		return err_why(rc->why, ERR_CORRUPT, "ids: node %llu keeps weight %llu, entries %llu, not %llu, %llu",
		    (unsigned long long)ptr.node, (unsigned long long)ptr.weight, (unsigned long long)ptr.entries,
		    (unsigned long long)sum.weight, (unsigned long long)sum.entries);
	return 0;
}

int
idkey_check(const struct idkey_trees *t, struct store_snap *snap, idkey_weigh_f *weigh, struct errtext *why)
{
	struct recount rc = {t, snap, weigh, why, 0};
	struct store_cursor *cursor;
	struct store_val key, val;
	uint64_t weight, entries;
	int err = store_cursor_open(snap, t->top, &cursor);

	if (err)
		return err;
	for (err = store_seek(cursor, NULL, 0, &key, &val); !err; err = store_next(cursor, &key, &val)) {
		if (!idkey_is_pointer(&key))
			continue;
		err = check_pointer(&rc, 1, t->top, &key, &val, &weight);
		if (err)
			break;
	}
	store_cursor_close(cursor);
	if (err && err != ERR_MISSING)
		return err;
	err = store_count(snap, t->deep, &entries);
	if (err)
		return err;
	if (entries != rc.entries)
		return err_why(why, ERR_CORRUPT, "ids: %llu entries of nodes have no pointer",
		    (unsigned long long)(entries - rc.entries));
	return 0;
}
