/*
 * store.c: the public functions of a store: arguments are checked, batches are
 * collected and sorted here once, and the rest goes to the implementation.
 *
 * A batch is a log.  Keys and values are copied into blocks of memory that are
 * freed together, so that an operation costs no allocation.  At the commit the
 * operations are dealt out to their trees; a tree whose keys came in rising
 * order (the usual case: ids were sorted, seqs rise) needs no sort.  Elsewhere
 * one sort by key, then by position in the log, brings the operations on one
 * key together, of which the last is kept.
 */
#include "store_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 32752u /* with malloc's header 32 KiB */
#define KEEP_OPS 1024u     /* an emptied batch keeps room for this many operations */
#define FINISH_TRIES 30    /* of store_copy() and store_compact() */
#define OP_OVERHEAD 16u    /* what store_batch_bytes() adds per operation, for LMDB's node and page share */

struct block {
	struct block *next;
	size_t cap;
	size_t used;
	unsigned char data[];
};

/* Invariant: nops <= cap; items has room for icap entries. */
struct store_batch {
	struct store_db *db;
	struct block *blocks; /* the one to fill first, newest first */
	struct store_op *ops; /* the log */
	size_t nops, cap;
	struct store_item *items; /* room for the sort */
	size_t icap;
	size_t bytes; /* what store_batch_bytes() tells */
};

int
store_key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
	size_t n = alen < blen ? alen : blen;
	int d = n == 0 ? 0 : memcmp(a, b, n);

	if (d != 0)
		return d;
	return alen < blen ? -1 : alen > blen;
}

void
store_free(struct store *s)
{
	if (s != NULL)
		s->impl->free(s);
}

int
store_list(struct store *s, const char *after, int (*fn)(const char *name, void *cookie), void *cookie)
{
	return s->impl->list(s, after, fn, cookie);
}

int
store_make(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	assert(ntrees >= 1 && ntrees <= STORE_TREES_MAX);
	return s->impl->make(s, name, trees, ntrees, dbp);
}

int
store_publish(struct store_db *db)
{
	return db->impl->publish(db);
}

int
store_create(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	struct store_db *db;
	int rc = store_make(s, name, trees, ntrees, &db);

	if (rc != 0)
		return rc;
	if ((rc = store_publish(db)) != 0) {
		store_close(db);
		return rc;
	}
	*dbp = db;
	return 0;
}

int
store_open(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	assert(ntrees >= 1 && ntrees <= STORE_TREES_MAX);
	return s->impl->open(s, name, trees, ntrees, dbp);
}

void
store_close(struct store_db *db)
{
	if (db != NULL)
		db->impl->close(db);
}

int
store_open_checked(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	int err = s->impl->verify != NULL ? s->impl->verify(s, name) : 0;

	return err != 0 ? err : store_open(s, name, trees, ntrees, dbp);
}

void
store_close_checked(struct store_db *db)
{
	if (db != NULL && db->impl->mark != NULL)
		db->impl->mark(db);
	store_close(db);
}

int
store_drop(struct store *s, const char *name)
{
	return s->impl->drop(s, name);
}

int
store_rewrite_begin(struct store_db *db, const char *path, struct store_rewrite **rp)
{
	return db->impl->rewrite_begin(db, path, rp);
}

int
store_rewrite_step(struct store_rewrite *r)
{
	return r->db->impl->rewrite_step(r);
}

void
store_rewrite_end(struct store_rewrite *r)
{
	if (r != NULL)
		r->db->impl->rewrite_end(r);
}

void
store_rewrite_progress(const struct store_rewrite *r, uint64_t *donep, uint64_t *totalp)
{
	r->db->impl->rewrite_progress(r, donep, totalp);
}

int
store_rewrite_stamp(struct store_rewrite *r, unsigned char out[16])
{
	return r->db->impl->rewrite_stamp(r, out);
}

/* All of a rewrite in one go. */
static int
rewrite(struct store_db *db, const char *path)
{
	struct store_rewrite *r;
	int rc = store_rewrite_begin(db, path, &r);

	if (rc != 0)
		return rc;
	for (int tries = 0; tries < FINISH_TRIES; tries++) {
		while ((rc = store_rewrite_step(r)) == 0)
			;
		if (rc != ERR_END || (rc = store_rewrite_finish(r, NULL)) != ERR_BUSY)
			break;
	}
	store_rewrite_end(r);
	return rc;
}

int
store_copy(struct store_db *db, const char *path)
{
	return rewrite(db, path);
}

int
store_compact(struct store_db *db)
{
	return rewrite(db, NULL);
}

int
store_reopen(struct store_db *db)
{
	return db->impl->reopen(db);
}

int
store_usage(struct store_db *db, struct store_usage *up)
{
	return db->impl->usage(db, up);
}

int
store_stamp(struct store_db *db, unsigned char out[16])
{
	return db->impl->stamp(db, out);
}

void
store_note_put(struct store_db *db, const void *note, size_t len)
{
	assert(len <= STORE_NOTE_MAX);
	db->impl->note_put(db, note, len);
}

void
store_note_get(struct store_db *db, void *note, size_t *lenp)
{
	db->impl->note_get(db, note, lenp);
}

int
store_reads_wait(const struct store_db *db)
{
	return db->impl->reads_wait;
}

int
store_snap_begin(struct store_db *db, struct store_snap **snapp)
{
	return db->impl->snap_begin(db, snapp);
}

void
store_snap_end(struct store_snap *snap)
{
	if (snap != NULL)
		snap->impl->snap_end(snap);
}

int
store_get(struct store_snap *snap, unsigned tree, const void *key, size_t klen, struct store_val *valp)
{
	assert(tree < snap->db->ntrees);
	if (klen == 0 || klen > STORE_KEY_MAX)
		return ERR_MISSING;
	return snap->impl->get(snap, tree, (struct store_val){key, klen}, valp);
}

int
store_count(struct store_snap *snap, unsigned tree, uint64_t *np)
{
	assert(tree < snap->db->ntrees);
	return snap->impl->count(snap, tree, np);
}

int
store_cursor_open(struct store_snap *snap, unsigned tree, struct store_cursor **cp)
{
	assert(tree < snap->db->ntrees);
	return snap->impl->cursor_open(snap, tree, cp);
}

void
store_cursor_close(struct store_cursor *c)
{
	if (c != NULL)
		c->impl->cursor_close(c);
}

static int
move(struct store_cursor *c, enum store_move how, struct store_val key, struct store_val *keyp, struct store_val *valp)
{
	struct store_val k, v;
	int rc = c->impl->move(c, how, key, &k, &v);

	c->placed = rc == 0;
	if (rc == 0 && keyp != NULL)
		*keyp = k;
	if (rc == 0 && valp != NULL)
		*valp = v;
	return rc;
}

int
store_seek(struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp)
{
	struct store_val k, cut = {key, klen};
	int rc;

	if (klen <= STORE_KEY_MAX)
		return move(c, STORE_SEEK, cut, keyp, valp);
	/* Of all keys that may exist, only those above its first part are above a longer key. */
	cut.len = STORE_KEY_MAX;
	rc = move(c, STORE_SEEK, cut, &k, valp);
	if (rc == 0 && k.len == cut.len && memcmp(k.p, key, cut.len) == 0)
		return move(c, STORE_NEXT, (struct store_val){NULL, 0}, keyp, valp);
	if (rc == 0 && keyp != NULL)
		*keyp = k;
	return rc;
}

int
store_seek_le(struct store_cursor *c, const void *key, size_t klen, struct store_val *keyp, struct store_val *valp)
{
	struct store_val cut = {key, klen < STORE_KEY_MAX ? klen : STORE_KEY_MAX};

	return move(c, STORE_SEEK_LE, cut, keyp, valp);
}

int
store_next(struct store_cursor *c, struct store_val *keyp, struct store_val *valp)
{
	if (!c->placed)
		return ERR_MISSING;
	return move(c, STORE_NEXT, (struct store_val){NULL, 0}, keyp, valp);
}

int
store_prev(struct store_cursor *c, struct store_val *keyp, struct store_val *valp)
{
	if (!c->placed)
		return ERR_MISSING;
	return move(c, STORE_PREV, (struct store_val){NULL, 0}, keyp, valp);
}

int
store_batch_new(struct store_db *db, struct store_batch **bp)
{
	struct store_batch *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	b->db = db;
	*bp = b;
	return 0;
}

/* Empties the batch; one block of the usual size stays for the next use. */
static void
clear(struct store_batch *b)
{
	struct block *keep = NULL, *next;

	for (struct block *k = b->blocks; k != NULL; k = next) {
		next = k->next;
		if (keep == NULL && k->cap == BLOCK_BYTES)
			keep = k;
		else
			free(k);
	}
	if (keep != NULL) {
		keep->next = NULL;
		keep->used = 0;
	}
	b->blocks = keep;
	if (b->cap > KEEP_OPS) {
		free(b->ops);
		free(b->items);
		b->ops = NULL;
		b->items = NULL;
		b->cap = b->icap = 0;
	}
	b->nops = 0;
	b->bytes = 0;
}

void
store_batch_free(struct store_batch *b)
{
	if (b == NULL)
		return;
	clear(b);
	free(b->blocks);
	free(b->ops);
	free(b->items);
	free(b);
}

void
store_batch_clear(struct store_batch *b)
{
	clear(b);
}

size_t
store_batch_bytes(const struct store_batch *b)
{
	return b->bytes;
}

static struct block *
block_new(size_t cap)
{
	struct block *k;

	if (cap > SIZE_MAX - sizeof(*k))
		return NULL;
	k = malloc(sizeof(*k) + cap);
	if (k == NULL)
		return NULL;
	k->next = NULL;
	k->cap = cap;
	k->used = 0;
	return k;
}

/* Room for len bytes.  Large ones get a block of their own behind the first, which goes on to be filled. */
static unsigned char *
room(struct store_batch *b, size_t len)
{
	struct block *k = b->blocks;
	unsigned char *p;

	if (len > BLOCK_BYTES / 4) {
		k = block_new(len);
		if (k == NULL)
			return NULL;
		if (b->blocks != NULL) {
			k->next = b->blocks->next;
			b->blocks->next = k;
		} else {
			b->blocks = k;
		}
	} else if (k == NULL || k->cap - k->used < len) {
		k = block_new(BLOCK_BYTES);
		if (k == NULL)
			return NULL;
		k->next = b->blocks;
		b->blocks = k;
	}
	p = k->data + k->used;
	k->used += len;
	return p;
}

static int
more_ops(struct store_batch *b)
{
	size_t cap = b->cap == 0 ? 32 : b->cap * 2;
	struct store_op *ops = realloc(b->ops, cap * sizeof(*ops));

	if (ops == NULL)
		return ERR_NOMEM;
	b->ops = ops;
	b->cap = cap;
	return 0;
}

/* Logs an operation with room for its value (not aligned). */
static int
add(struct store_batch *b, unsigned tree, const void *key, size_t klen, size_t vlen, int del, void **valp)
{
	struct store_op *op;
	unsigned char *p;

	assert(tree < b->db->ntrees);
	if (klen == 0 || klen > STORE_KEY_MAX || vlen > UINT32_MAX)
		return ERR_INTERNAL;
	if (b->nops == b->cap && more_ops(b) != 0)
		return ERR_NOMEM;
	p = room(b, klen + vlen);
	if (p == NULL)
		return ERR_NOMEM;
	memcpy(p, key, klen);
	op = &b->ops[b->nops++];
	*op = (struct store_op){p, p + klen, vlen, (uint16_t)klen, (uint8_t)tree, (uint8_t)del};
	*valp = p + klen;
	b->bytes += klen + vlen + OP_OVERHEAD;
	return 0;
}

int
store_put_room(struct store_batch *b, unsigned tree, const void *key, size_t klen, size_t vlen, void **valp)
{
	return add(b, tree, key, klen, vlen, 0, valp);
}

int
store_put(struct store_batch *b, unsigned tree, const void *key, size_t klen, const void *val, size_t vlen)
{
	void *p;
	int rc = add(b, tree, key, klen, vlen, 0, &p);

	if (rc == 0 && vlen > 0)
		memcpy(p, val, vlen);
	return rc;
}

int
store_del(struct store_batch *b, unsigned tree, const void *key, size_t klen)
{
	void *p;

	return add(b, tree, key, klen, 0, 1, &p);
}

static uint64_t
prefix(const unsigned char *key, size_t len)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < 8; i++)
		n = n << 8 | (i < len ? key[i] : 0);
	return n;
}

static int
key_order(const struct store_item *a, const struct store_item *b)
{
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	return store_key_cmp(a->op->key, a->op->klen, b->op->key, b->op->klen);
}

static int
log_order(const void *a, const void *b)
{
	const struct store_item *x = a, *y = b;
	int d = key_order(x, y);

	if (d != 0)
		return d;
	return x->op < y->op ? -1 : x->op > y->op;
}

/* Sorts one tree's items unless they rise already; returns how many are left when each key is there once. */
static size_t
sort_tree(struct store_item *v, size_t n, int rising)
{
	size_t kept = 0;

	if (rising)
		return n;
	qsort(v, n, sizeof(*v), log_order);
	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && key_order(&v[kept - 1], &v[i]) == 0)
			kept--;
		v[kept++] = v[i];
	}
	return kept;
}

/* Deals the log out to its trees and sorts each; the items end up without gaps. */
static size_t
sort(struct store_batch *b)
{
	size_t start[STORE_TREES_MAX + 1] = {0}, fill[STORE_TREES_MAX], n = 0;
	int rising[STORE_TREES_MAX];

	for (size_t i = 0; i < b->nops; i++)
		start[b->ops[i].tree + 1]++;
	for (unsigned t = 0; t < STORE_TREES_MAX; t++) {
		start[t + 1] += start[t];
		fill[t] = start[t];
		rising[t] = 1;
	}
	for (size_t i = 0; i < b->nops; i++) {
		struct store_op *op = &b->ops[i];
		struct store_item *it = &b->items[fill[op->tree]];

		it->op = op;
		it->prefix = prefix(op->key, op->klen);
		if (fill[op->tree]++ > start[op->tree] && key_order(it - 1, it) >= 0)
			rising[op->tree] = 0;
	}
	for (unsigned t = 0; t < STORE_TREES_MAX; t++) {
		size_t kept = sort_tree(b->items + start[t], start[t + 1] - start[t], rising[t]);

		if (n != start[t])
			memmove(b->items + n, b->items + start[t], kept * sizeof(*b->items));
		n += kept;
	}
	return n;
}

/* Room for the sort of the batch. */
static int
items_for(struct store_batch *b)
{
	if (b->icap >= b->nops)
		return 0;
	free(b->items);
	b->items = malloc(b->cap * sizeof(*b->items));
	b->icap = b->items == NULL ? 0 : b->cap;
	return b->items == NULL ? ERR_NOMEM : 0;
}

int
store_commit(struct store_batch *b)
{
	int rc = items_for(b);

	if (rc == 0 && b->nops > 0)
		rc = b->db->impl->commit(b->db, b->items, sort(b));
	clear(b);
	return rc;
}

/* fill_by_batch: For a store that has all in memory anyway. */
static int
fill_by_batch(struct store_db *db, struct store_source *src)
{
	struct store_batch *b;
	struct store_val key, val;
	unsigned tree;
	int err = store_batch_new(db, &b);

	if (err != 0)
		return err;
	err = src->rewind(src);
	while (err == 0 && (err = src->next(src, &tree, &key, &val)) == 0)
		err = store_put(b, tree, key.p, key.len, val.p, val.len);
	if (err == ERR_END)
		err = store_commit(b);
	store_batch_free(b);
	return err;
}

int
store_fill(struct store_db *db, struct store_source *src)
{
	return db->impl->fill != NULL ? db->impl->fill(db, src) : fill_by_batch(db, src);
}

int
store_rewrite_finish(struct store_rewrite *r, struct store_batch *extra)
{
	int rc;

	if (extra == NULL || extra->nops == 0)
		return r->db->impl->rewrite_finish(r, NULL, 0);
	rc = items_for(extra);
	if (rc == 0)
		rc = r->db->impl->rewrite_finish(r, extra->items, sort(extra));
	clear(extra);
	return rc;
}
