/*
 * Walks through the trie of ids, and the recount of it.
 *
 * A walk has a cursor per depth.  It moves when it is asked for the next record and not before,
 * so that a short id is handed out where the store keeps it.
 *
 *     WALK_HERE --step--> WALK_MOVE --step--> WALK_MOVE ... --nothing left, or an error--> WALK_END
 *
 * A seek that finds nothing more on its side in a node begins with WALK_MOVE from the pointer above.
 */
#include <string.h>

#include "db/idkey_node.h"

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
	char *id;       /* IDKEY_DEPTH_MAX * IDKEY_SHORT bytes, once a pointer was met */
	struct frame frames[IDKEY_DEPTH_MAX];
};

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
	for (unsigned i = 0; i < IDKEY_DEPTH_MAX && w->frames[i].cursor != NULL; i++)
		store_cursor_close(w->frames[i].cursor);
	w->state = WALK_END;
	memset(w->frames, 0, sizeof(w->frames));
}

/* Whether the entry of the deepest frame is a pointer; anything that is none of ours is corrupt. */
static int
at_pointer(const struct idkey_walk *w, int *pointerp)
{
	size_t rest = w->frames[w->depth].key.len - (w->depth > 0 ? IDKEY_NODE_LEN : 0);

	*pointerp = rest == IDKEY_POINTER_LEN;
	return rest == 0 || rest > IDKEY_POINTER_LEN ? ERR_CORRUPT : 0;
}

/* The outcome of a move of the deepest cursor: an entry of another node is none. */
static int
moved(struct idkey_walk *w, int err)
{
	struct frame *f = &w->frames[w->depth];

	if (!err && w->depth > 0 && !idkey_node_has(&f->key, f->node))
		return ERR_MISSING;
	return err;
}

/* Go down into the node of the pointer the walk stands on; the new cursor stands nowhere. */
static int
walk_down(struct idkey_walk *w)
{
	struct frame *f = &w->frames[w->depth];
	unsigned tree = w->depth > 0 ? w->t.deep : w->t.top;
	size_t head = w->depth > 0 ? IDKEY_NODE_LEN : 0;
	struct idkey_pointer ptr;
	int err = idkey_node_pointer(tree, f->key.p, f->key.len, &f->val, &ptr);

	if (err)
		return err;
	if (w->depth + 1 >= IDKEY_DEPTH_MAX)
		return ERR_CORRUPT;
	if (w->id == NULL)
		w->id = arena_alloc(w->a, (size_t)IDKEY_DEPTH_MAX * IDKEY_SHORT);
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
	unsigned char head[IDKEY_NODE_LEN];
	int err;

	/* No key is as short as a node's number alone. */
	idkey_node_head(head, f->node + (w->descending ? 1 : 0));
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
			idkey_node_place(&at, &w->t, f->node, id, len);
		err = descending ? store_seek_le(f->cursor, at.key, at.klen, &f->key, &f->val)
				 : store_seek(f->cursor, at.key, at.klen, &f->key, &f->val);
		err = moved(w, err);
		if (err && err != ERR_MISSING)
			return err;
		/* Nothing on this side in a node: what follows is above it.  In `top`: the end. */
		w->state = !err ? WALK_HERE : w->depth > 0 ? WALK_MOVE : WALK_END;
		if (w->state == WALK_MOVE)
			w->depth--;
		if (err || len <= IDKEY_SHORT || idkey_node_cmp(&f->key, at.key, at.klen) != 0)
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
	if (!err && idkey_node_cmp(&f->key, key->p, key->len) != 0)
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
		while (!err && !(err = idkey_node_weight(w->t.deep, &f->key, &f->val, weigh, &weight)) && n >= weight) {
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
	rest = f->key.len - IDKEY_NODE_LEN;
	memcpy(w->id + (size_t)w->depth * IDKEY_SHORT, (const char *)f->key.p + IDKEY_NODE_LEN, rest);
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

/* Recount the node of the pointer at (${tree}, ${key}).  Recursion is bounded by IDKEY_DEPTH_MAX. */
static int
check_pointer(struct recount *rc, unsigned depth, unsigned tree, const struct store_val *pkey,
    const struct store_val *pval, uint64_t *weightp)
{
	struct idkey_pointer ptr, sum = {0, 0, 0};
	struct store_cursor *cursor;
	unsigned char head[IDKEY_NODE_LEN];
	struct store_val key, val;
	uint64_t weight;
	int err = idkey_node_pointer(tree, pkey->p, pkey->len, pval, &ptr);

	if (err || depth >= IDKEY_DEPTH_MAX)
		return err_why(rc->why, ERR_CORRUPT, "ids: a bad pointer at depth %u", depth);
	err = store_cursor_open(rc->snap, rc->t->deep, &cursor);
	if (err)
		return err;
	idkey_node_head(head, ptr.node);
	err = store_seek(cursor, head, sizeof(head), &key, &val);
	while (!err && idkey_node_has(&key, ptr.node)) {
		weight = 0;
		err = idkey_node_is_pointer(&key) ? check_pointer(rc, depth + 1, rc->t->deep, &key, &val, &weight)
						  : idkey_node_weight(rc->t->deep, &key, &val, rc->weigh, &weight);
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
