/*
 * salvage_gather.c: the records of a damaged file, in a pile: a database with right records and wrong counts.
 *
 * 1. What a tree leads to is there first.  What is found elsewhere joins it unless its key is taken.
 * 2. Where it is not known which pages are free, a record may be found that was replaced since.  Of two records of a document
 *    the later is right; bodies, rows and blocks of revisions never change under their key.
 * 3. Digests and counts are made anew by whoever writes the documents: they are left out.
 */
#include "db/salvage.h"

#include <stdlib.h>
#include <string.h>

#include "dbi.h"

#define BATCH_BYTES ((size_t)8 << 20)
#define BATCH_KEYS 4096u /* a power of two */
#define IDS_MAX 1000000u /* ids of lost documents that are kept in memory */

struct gather {
	struct store_db *db;
	struct store_batch *batch;
	struct store_snap *snap; /* what is committed; NULL: none is open */
	struct db_salvage *out;
	uint64_t keys[2 * BATCH_KEYS]; /* hashes of the keys put into the batch since ${snap} is open; 0: none */
	size_t nkeys;
};

static int
flush(struct gather *g)
{
	if (g->snap != NULL)
		store_snap_end(g->snap);
	g->snap = NULL;
	memset(g->keys, 0, sizeof(g->keys));
	g->nkeys = 0;
	return store_batch_bytes(g->batch) > 0 ? store_commit(g->batch) : 0;
}

/* slot_of: Where the batch notes this key: the key's hash stands there if it has it, else 0. */
static uint64_t *
slot_of(struct gather *g, const struct store_pages_record *r, uint64_t *hashp)
{
	uint64_t h = counts_hash(r->tree, r->key.p, r->key.len);
	size_t i;

	h |= h == 0;
	for (i = (h ^ h >> 32) % (2 * BATCH_KEYS); g->keys[i] != 0 && g->keys[i] != h; i = (i + 1) % (2 * BATCH_KEYS))
		;
	*hashp = h;
	return &g->keys[i];
}

/* put: Into the batch.  What no snapshot was open for is committed before one is. */
static int
put(struct gather *g, const struct store_pages_record *r)
{
	uint64_t hash, *slot;
	int err = store_put(g->batch, r->tree, r->key.p, r->key.len, r->val.p, r->val.len);

	if (err == 0 && g->snap != NULL) {
		slot = slot_of(g, r, &hash);
		g->nkeys += *slot == 0;
		*slot = hash;
	}
	if (err == 0 && (store_batch_bytes(g->batch) > BATCH_BYTES || g->nkeys >= BATCH_KEYS))
		err = flush(g);
	return err;
}

/* age_of: The later a record of this kind was written, the higher. */
static uint64_t
age_of(unsigned tree, const struct store_val *key, const struct store_val *val)
{
	struct bytes r;

	bytes_init(&r, val->p, val->len - RECORD_SUM_LEN);
	if (tree == TREE_META) { /* state: transactions so far are the 14th number */
		uint64_t n = 0;

		for (int i = 0; i < 14; i++)
			n = bytes_varint(&r);
		return key->len == 5 && memcmp(key->p, "state", 5) == 0 ? n : 0;
	}
	if (tree == TREE_DOCS || tree == TREE_DOCS_DEEP)
		(void)bytes_u8(&r);
	else if (tree != TREE_LOCAL && tree != TREE_LOCAL_DEEP)
		return 0;
	return bytes_varint(&r);
}

/* is_key: The key of that name, of what describes the database. */
static int
is_key(const struct store_pages_record *r, const char *name)
{
	return r->tree == TREE_META && r->key.len == strlen(name) && memcmp(r->key.p, name, r->key.len) == 0;
}

/* is_wanted: Not what describes the damaged file, or is made anew. */
static int
is_wanted(const struct store_pages_record *r)
{
	static const char *const others[] = {"format", "histories", "stamp", "session", "ages"};

	if (r->tree == TREE_DIGESTS || r->tree == TREE_COUNTS)
		return 0;
	if (r->tree != TREE_META)
		return 1;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (is_key(r, others[i]))
			return 0;
	return r->key.len < 7 || memcmp(r->key.p, "upload/", 7) != 0;
}

/* is_later: May the record take the place of what is there? */
static int
is_later(struct gather *g, const struct store_pages_record *r, int *laterp)
{
	struct store_val there;
	uint64_t hash;
	int err;

	*laterp = 1;
	/* What is there is what is committed: all that the trees lead to, and what was found of this key. */
	if ((g->snap == NULL || *slot_of(g, r, &hash) != 0) && (err = flush(g)) != 0)
		return err;
	if (g->snap == NULL && (err = store_snap_begin(g->db, &g->snap)) != 0)
		return err;
	err = store_get(g->snap, r->tree, r->key.p, r->key.len, &there);
	if (err != 0)
		return err == ERR_MISSING ? 0 : err;
	*laterp =
	    r->place == STORE_PAGES_UNSURE && age_of(r->tree, &r->key, &r->val) > age_of(r->tree, &r->key, &there);
	return 0;
}

/*
 * take_meta: *${laterp}: 1 if the record is to be taken.  The pile has a state and a security object from its making, which are not the
 * file's.  A security object that may be an older one is none: it may let in who was shut out.
 */
static int
take_meta(struct gather *g, const struct store_pages_record *r, int *laterp)
{
	int *had = is_key(r, "state") ? &g->out->has_state : is_key(r, "security") ? &g->out->has_security : NULL;
	struct bytes b;
	int err = 0;

	*laterp = 1;
	bytes_init(&b, r->val.p, r->val.len - RECORD_SUM_LEN);
	if (is_key(r, "format") && bytes_varint(&b) > FORMAT_VERSION)
		return ERR_NEWER_FORMAT;
	if (is_key(r, "security") && r->place == STORE_PAGES_UNSURE)
		*laterp = 0;
	else if (r->place != STORE_PAGES_PRESENT && (had == NULL || *had))
		err = is_later(g, r, laterp);
	if (had != NULL && *laterp)
		*had = 1;
	return err;
}

static int
take_record(const struct store_pages_record *r, void *cookie)
{
	struct gather *g = cookie;
	int err = 0, later = 1;

	if (r->tree == TREE_META)
		err = take_meta(g, r, &later);
	else if (r->place != STORE_PAGES_PRESENT && is_wanted(r))
		err = is_later(g, r, &later);
	if (err != 0 || !later || !is_wanted(r))
		return err;
	return put(g, r);
}

/* take_lost: A key whose record is damaged: of a document it is the id, though nothing proves that. */
static int
take_lost(const struct store_pages_record *r, void *cookie)
{
	struct gather *g = cookie;
	struct db_salvage *out = g->out;

	if (r->tree != TREE_DOCS || idkey_is_pointer(&r->key) || out->nids == IDS_MAX)
		return 0;
	if (out->nids == out->cap_ids) {
		size_t cap = out->cap_ids != 0 ? 2 * out->cap_ids : 64;
		char **grown = realloc(out->ids, cap * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		out->ids = grown;
		out->cap_ids = cap;
	}
	if ((out->ids[out->nids] = strndup(r->key.p, r->key.len)) == NULL)
		return ERR_NOMEM;
	out->nids++;
	return 0;
}

int
db_salvage_gather(struct store *s, const char *pile, const char *path, struct db_salvage *out)
{
	struct gather *g = calloc(1, sizeof(*g));
	int err;

	if (g == NULL)
		return ERR_NOMEM;
	g->out = out;
	err = store_open(s, pile, db_tree_names, TREE_COUNT, &g->db);
	if (err == 0)
		err = store_batch_new(g->db, &g->batch);
	if (err == 0)
		err = store_pages_salvage(path, db_tree_names, TREE_COUNT, take_record, take_lost, g, &out->pages);
	if (err == 0)
		err = flush(g);
	if (g->snap != NULL)
		store_snap_end(g->snap);
	store_batch_free(g->batch);
	store_close(g->db);
	free(g);
	return err == 0 && out->pages.records == 0 ? ERR_CORRUPT : err;
}

void
db_salvage_release(struct db_salvage *out)
{
	for (size_t i = 0; i < out->nids; i++)
		free(out->ids[i]);
	free(out->ids);
	out->ids = NULL;
	out->nids = out->cap_ids = 0;
}
