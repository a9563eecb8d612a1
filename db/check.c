/*
 * db_check(): the invariants of ARCHITECTURE section 5, in one snapshot.
 *
 * One pass over every tree verifies the checksums; what does not match is told behind the documents, so that the document that
 * suffers from it is what is told, if there is one. One over the documents verifies each record against its row
 * in `changes`, its bodies and blocks, and adds up what the counters and reference counts should be. What is
 * left over in a tree afterwards is referenced by nobody: the numbers of records tell.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

struct check {
	struct dbfile *f;
	struct store_snap *snap;
	struct arena *a; /* reset for each document */
	struct errtext *why;
	struct dbstate state;
	struct errtext damaged; /* the first record whose checksum does not match; "": none */
	uint64_t damaged_blob;  /* the blob that it is of, if it is of one */
	uint64_t docs, live, external, bodies, blocks, superseded; /* counted */
	uint64_t *refs; /* the blob of each attachment of each stored revision */
	size_t nrefs, cap_refs;
	/* the document that is looked at */
	struct jstr id;
	const struct revtree *tree;
	uint64_t docno;
	uint64_t dict;        /* a dictionary that is there */
	struct bytes payload; /* the inline one */
};

static int
bad_doc(struct check *k, const char *what)
{
	return err_why(
	    k->why, ERR_CORRUPT, "document %.*s: %s", (int)(k->id.len < 100 ? k->id.len : 100), k->id.s, what);
}

/* ---- Checksums ---- */

static void
note_damage(struct check *k, unsigned tree, const struct store_val *key)
{
	int err;

	if (tree == TREE_BLOBS && key->len >= 8)
		k->damaged_blob = bytes_load_u64be(key->p);
	if (tree == TREE_META || tree == TREE_DOCS || tree == TREE_LOCAL)
		err = err_why(&k->damaged, ERR_CORRUPT, "%s %.*s: its record's checksum does not match",
		    tree == TREE_META ? "meta" : "document", (int)(key->len < 100 ? key->len : 100),
		    (const char *)key->p);
	else if (tree == TREE_CHANGES && key->len == 8)
		err = err_why(&k->damaged, ERR_CORRUPT,
		    "changes: the checksum of the row of sequence %llu does not match",
		    (unsigned long long)bytes_load_u64be(key->p));
	else
		err = err_why(
		    &k->damaged, ERR_CORRUPT, "tree %s: a record's checksum does not match", db_tree_names[tree]);
	(void)err;
}

static int
check_tree(struct check *k, unsigned tree)
{
	struct store_cursor *c;
	struct store_val key, val;
	struct bytes r;
	int err = store_cursor_open(k->snap, tree, &c);

	if (err)
		return err;
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val))
		if (record_open(tree, key.p, key.len, &val, &r) != 0 && k->damaged.text[0] == '\0')
			note_damage(k, tree, &key);
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

/* ---- Documents ---- */

static int
add_ref(struct check *k, uint64_t blob)
{
	if (k->nrefs == k->cap_refs) {
		size_t cap = k->cap_refs != 0 ? 2 * k->cap_refs : 1024;
		uint64_t *grown = realloc(k->refs, cap * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		k->refs = grown;
		k->cap_refs = cap;
	}
	k->refs[k->nrefs++] = blob;
	return 0;
}

/* check_dict: The dictionary that a body needs is in the file, and not in memory alone. */
static int
check_dict(struct check *k, const struct bytes *body)
{
	uint64_t number = body_dict_of(body);
	struct bytes r;
	char key[32];

	if (number == 0 || number == k->dict)
		return 0;
	(void)snprintf(key, sizeof(key), "dict/%08llx", (unsigned long long)number);
	if (meta_find(k->snap, key, &r) != 0)
		return bad_doc(k, "a body needs a dictionary that is not there");
	k->dict = number;
	return 0;
}

static int
check_payload(struct check *k, struct bytes r)
{
	struct doc_att *atts;
	struct jstr text;
	size_t n;
	int err;

	if (payload_atts(&r, k->a, &atts, &n) != 0)
		return bad_doc(k, "a body cannot be read");
	if ((err = check_dict(k, &r)) != 0)
		return err;
	if (body_unpack(k->f->dicts, &r, k->a, &text) != 0)
		return bad_doc(k, "a body cannot be read");
	for (size_t i = 0; i < n && err == 0; i++)
		if (atts[i].blob == k->damaged_blob && k->damaged_blob != 0)
			err = bad_doc(k, "an attachment's bytes are damaged");
		else
			err = add_ref(k, atts[i].blob);
	return err;
}

static int
check_numbered(struct check *k, uint64_t number, int superseded)
{
	struct bytes r;

	k->bodies++;
	if (snap_payload(k->snap, number, &r) != 0)
		return bad_doc(k, "a body is missing");
	k->superseded += superseded && number >= k->state.counted_from ? bytes_left(&r) : 0;
	return check_payload(k, r);
}

static int
check_body(struct check *k, const struct revnode *node, int leaf)
{
	int err = 0;

	if (leaf && node->kept != REVTREE_NO_BODY)
		return bad_doc(k, "a leaf's body is kept for merging");
	if (node->kept != REVTREE_NO_BODY)
		err = check_numbered(k, node->kept, 0);
	if (err || node->body == REVTREE_NO_BODY)
		return err;
	return node->body == REVTREE_INLINE ? check_payload(k, k->payload) : check_numbered(k, node->body, !leaf);
}

static int
check_node(struct revnode *node, struct revpos at, void *cookie)
{
	struct check *k = cookie;

	return check_body(k, node, revtree_is_leaf(k->tree, at));
}

static int
check_spilled_node(const struct revnode *node, void *cookie)
{
	return check_body(cookie, node, 0);
}

static int
check_blocks_of(struct check *k, const struct revspill *s)
{
	int err = 0;

	for (uint64_t b = s->first_gen / REVTREE_BLOCK; b <= s->last_gen / REVTREE_BLOCK && err == 0; b++) {
		struct docrec_key key = docrec_block_key(k->docno, s->run_id, b);
		struct store_val val;
		struct bytes r;

		k->blocks++;
		if (store_get(k->snap, TREE_REVS, key.bytes, sizeof(key.bytes), &val) != 0 ||
		    record_open(TREE_REVS, key.bytes, sizeof(key.bytes), &val, &r) != 0)
			return bad_doc(k, "a block of older revisions is missing");
		err = revtree_block_each(&r, b, check_spilled_node, k);
	}
	return err;
}

static int
check_blocks(struct check *k, const struct revtree *t)
{
	struct revspill *s;
	size_t n;
	int err = revtree_spills(t, &s, &n);

	for (size_t i = 0; i < n && err == 0; i++)
		err = check_blocks_of(k, &s[i]);
	return err;
}

static int
check_row(struct check *k, const struct docrec *rec, const struct revtree *t)
{
	struct db_change row;
	struct store_val val;
	struct bytes r;
	unsigned char key[8];

	bytes_store_u64be(key, rec->seq);
	if (rec->seq > k->state.update_seq || store_get(k->snap, TREE_CHANGES, key, sizeof(key), &val) != 0 ||
	    record_open(TREE_CHANGES, key, sizeof(key), &val, &r) != 0 || changerow_decode(&r, k->a, &row) != 0)
		return bad_doc(k, "it is not in changes at its sequence");
	if (row.id.len != k->id.len || memcmp(row.id.s, k->id.s, k->id.len) != 0 || row.nleaves != revtree_nleaves(t) ||
	    row.deleted != rec->deleted || !rev_equal(&row.leaves[0], &revtree_leaf(t, 0)->rev))
		return bad_doc(k, "its row in changes is another's");
	return 0;
}

static int
check_doc(struct check *k, const struct docrec *rec)
{
	struct revtree *t;
	struct bytes r;
	int err;

	bytes_init(&r, rec->tree.s, rec->tree.len);
	if (revtree_decode(k->a, &r, &t) != 0 || revtree_nleaves(t) == 0)
		return bad_doc(k, "its revision tree cannot be read");
	if (!revtree_valid(t))
		return bad_doc(k, "its revision tree breaks its own rules");
	k->tree = t;
	k->docno = rec->docno;
	bytes_init(&k->payload, rec->payload.s, rec->payload.len);
	k->docs++;
	k->live += !rec->deleted;
	if (rec->deleted != revtree_leaf(t, 0)->deleted)
		return bad_doc(k, "its flags disagree with its winner");
	for (size_t i = 0; i < revtree_nleaves(t); i++) {
		k->external += revtree_leaf(t, i)->body_len;
		if (revtree_leaf(t, i)->body == REVTREE_NO_BODY)
			return bad_doc(k, "a leaf has no body");
	}
	if ((err = revtree_each(t, check_node, k)) != 0 || (err = check_blocks(k, t)) != 0)
		return err;
	return check_row(k, rec, t);
}

static int
check_record(struct check *k, struct bytes *r)
{
	struct docrec rec;
	int err = docrec_decode(r, &rec);

	return err ? err : check_doc(k, &rec);
}

/* check_local: The body of a _local document can be read. */
static int
check_local(struct check *k, struct bytes *r)
{
	struct jstr body;
	int err;

	(void)bytes_varint(r);
	if ((err = check_dict(k, r)) != 0)
		return err;
	return body_unpack(k->f->dicts, r, k->a, &body) != 0 ? bad_doc(k, "a body cannot be read") : 0;
}

/* check_each: Call fn for the record of each document, or of each _local one. */
static int
check_each(struct check *k, const struct idkey_trees *trees, int (*fn)(struct check *k, struct bytes *r))
{
	struct arena *walk_arena;
	struct idkey_walk *walk;
	struct store_val key, val;
	struct bytes r;
	unsigned tree;
	int err = arena_new(1u << 20, &walk_arena);

	if (err)
		return err;
	if ((err = idkey_walk_open(trees, k->snap, walk_arena, &walk)) == 0) {
		err = idkey_walk_seek(walk, NULL, 0, 0);
		while (err == 0 && (err = idkey_walk_step(walk, &k->id, &val)) == 0) {
			idkey_walk_place(walk, &tree, &key);
			if ((err = record_open(tree, key.p, key.len, &val, &r)) == 0)
				err = fn(k, &r);
			else
				err = bad_doc(k, "its record's checksum does not match");
			arena_reset(k->a);
		}
		idkey_walk_close(walk);
	}
	arena_free(walk_arena);
	return err == ERR_END || err == ERR_MISSING ? 0 : err;
}

/* ---- Attachments ---- */

static int
u64_cmp(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t
refs_of(const struct check *k, uint64_t blob)
{
	size_t lo = 0, hi = k->nrefs, n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (k->refs[mid] < blob)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (n = lo; n < k->nrefs && k->refs[n] == blob; n++)
		;
	return n - lo;
}

static int
check_digests(struct check *k)
{
	uint64_t counted = 0, number, stored, refs;
	struct store_cursor *c;
	struct store_val key, val, chunk;
	struct bytes r;
	int err = store_cursor_open(k->snap, TREE_DIGESTS, &c);

	if (err)
		return err;
	if (k->nrefs > 0)
		qsort(k->refs, k->nrefs, sizeof(*k->refs), u64_cmp);
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = store_next(c, &key, &val)) {
		if ((err = record_open(TREE_DIGESTS, key.p, key.len, &val, &r)) != 0)
			break;
		number = bytes_varint(&r);
		stored = bytes_varint(&r);
		refs = bytes_varint(&r);
		counted += refs;
		if (refs == 0 || refs != refs_of(k, number)) {
			err = err_why(k->why, ERR_CORRUPT, "blob %llu: its references do not equal a recount",
			    (unsigned long long)number);
			break;
		}
		for (uint64_t at = 0; at < stored && err == 0; at += LIMIT_BLOB_CHUNK) {
			struct payload_key bk = payload_blob_key(number, (uint32_t)(at / LIMIT_BLOB_CHUNK));

			if (store_get(k->snap, TREE_BLOBS, bk.bytes, sizeof(bk.bytes), &chunk) != 0)
				err = err_why(
				    k->why, ERR_CORRUPT, "blob %llu: a chunk is missing", (unsigned long long)number);
		}
		if (err)
			break;
	}
	store_cursor_close(c);
	if (err == ERR_MISSING && counted != k->nrefs)
		return err_why(k->why, ERR_CORRUPT, "attachments name blobs that are not there");
	return err == ERR_MISSING ? 0 : err;
}

/* check_blobs: Each blob is of an attachment, or of an upload that is noted as unfinished. */
static int
check_blobs(struct check *k)
{
	uint64_t number, last = 0;
	struct store_cursor *c;
	struct store_val key;
	int err = store_cursor_open(k->snap, TREE_BLOBS, &c);

	if (err)
		return err;
	for (err = store_seek(c, NULL, 0, &key, NULL); err == 0; err = store_next(c, &key, NULL)) {
		number = key.len >= 8 ? bytes_load_u64be(key.p) : 0;
		if (number != last && refs_of(k, number) == 0 && !blob_uploading(k->snap, number)) {
			err = err_why(k->why, ERR_CORRUPT, "blob %llu is nobody's", (unsigned long long)number);
			break;
		}
		last = number;
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

/* ---- All of it ---- */

static int
check_totals(struct check *k)
{
	uint64_t changes, bodies, blocks;
	int err;

	if ((err = store_count(k->snap, TREE_CHANGES, &changes)) != 0 ||
	    (err = store_count(k->snap, TREE_BODIES, &bodies)) != 0 ||
	    (err = store_count(k->snap, TREE_REVS, &blocks)) != 0)
		return err;
	if (changes != k->docs)
		return err_why(k->why, ERR_CORRUPT, "%llu rows in changes for %llu documents",
		    (unsigned long long)changes, (unsigned long long)k->docs);
	if (bodies != k->bodies || blocks != k->blocks)
		return err_why(k->why, ERR_CORRUPT,
		    "%llu bodies and %llu blocks, of which %llu and %llu are referenced", (unsigned long long)bodies,
		    (unsigned long long)blocks, (unsigned long long)k->bodies, (unsigned long long)k->blocks);
	if (k->live != k->state.doc_count || k->docs - k->live != k->state.doc_del_count ||
	    k->external != k->state.external_bytes || k->superseded != k->state.superseded_bytes)
		return err_why(k->why, ERR_CORRUPT, "the counters do not equal a recount");
	return 0;
}

/* local_weigh: A _local document that is there is live. */
static uint64_t
local_weigh(const struct store_val *val)
{
	(void)val;
	return 1;
}

/* check_damage: What does not match its checksum, and that no document told of. */
static int
check_damage(struct check *k)
{
	return k->damaged.text[0] == '\0' ? 0 : err_why(k->why, ERR_CORRUPT, "%s", k->damaged.text);
}

static int
check_all(struct check *k)
{
	struct counts_of docs, changes;
	int err = 0;

	db_counts_of_docs(k->f, &docs);
	db_counts_of_changes(k->f, &changes);
	for (unsigned tree = 0; tree < TREE_COUNT && err == 0; tree++)
		err = check_tree(k, tree);
	if (err || (err = meta_state_get(k->snap, &k->state)) != 0 ||
	    (err = check_each(k, &db_doc_trees, check_record)) != 0 ||
	    (err = check_each(k, &db_local_trees, check_local)) != 0 || (err = check_damage(k)) != 0 ||
	    (err = check_totals(k)) != 0 || (err = check_digests(k)) != 0 || (err = check_blobs(k)) != 0 ||
	    (err = idkey_check(&db_doc_trees, k->snap, docrec_live, k->why)) != 0 ||
	    (err = idkey_check(&db_local_trees, k->snap, local_weigh, k->why)) != 0 ||
	    (err = counts_check(&docs, k->snap, k->why)) != 0)
		return err;
	return counts_check(&changes, k->snap, k->why);
}

int
db_check(struct db *db, struct errtext *why)
{
	struct check k = {.f = db->file, .why = why};
	int err;

	if ((err = store_snap_begin(k.f->store, &k.snap)) != 0)
		return err;
	if ((err = arena_new(256u << 20, &k.a)) == 0 && (err = check_all(&k)) == ERR_CORRUPT && why != NULL &&
	    why->text[0] == '\0' && k.damaged.text[0] != '\0')
		*why = k.damaged;
	arena_free(k.a);
	free(k.refs);
	store_snap_end(k.snap);
	return err;
}
