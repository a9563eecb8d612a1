/*
 * Reading: snapshots, documents, revisions, attachment bytes, _local documents.
 *
 * A document whose winner's body is inline costs one look-up.  Its revision tree is decoded only for those who ask
 * for more than the winner.
 */
#include "dbi.h"
#include "base/counters.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define LOGGED_MAX 200u /* bytes of an id in a line of the log */

/* Beyond this a document is large: leaves, bytes of its record, bytes of its winner with attachments. */
#define LARGE_LEAVES 32u
#define LARGE_RECORD ((size_t)64 << 10)
#define LARGE_BODY ((uint64_t)1 << 20)

int
db_snap_begin(struct db *db, struct db_snap **snapp)
{
	struct db_snap *s;
	int err;

	if ((s = malloc(sizeof(*s))) == NULL)
		return ERR_NOMEM;
	if ((err = access_now(db, &s->by)) != 0) {
		free(s);
		return err;
	}
	s->file = db->file;
	s->rules = db->file->rules;
	s->have_state = 0;
	s->quiet = 0;
	if ((err = store_snap_begin(db->file->store, &s->snap)) != 0) {
		free(s);
		return err;
	}
	*snapp = s;
	return 0;
}

void
db_snap_end(struct db_snap *snap)
{
	if (snap == NULL)
		return;
	store_snap_end(snap->snap);
	free(snap);
}

void
db_snap_unbind(struct db_snap *snap)
{
	snap->rules = NULL;
}

int
db_snap_seq(const struct db_snap *snap, uint64_t *seqp)
{
	struct dbstate state;
	int err = meta_state_get(snap->snap, &state);

	*seqp = err == 0 ? state.update_seq : 0;
	return err == ERR_MISSING ? ERR_CORRUPT : err;
}

/* ---- Documents ---- */

int
snap_doc(struct db_snap *snap, struct jstr id, unsigned tree_number, const struct store_val *key,
    const struct store_val *val, struct arena *a, struct db_doc *out)
{
	struct bytes r, tree;
	struct docrec rec;
	int err;

	memset(out, 0, sizeof(*out));
	if ((err = record_open(tree_number, key->p, key->len, val, &r)) == 0) {
		out->record = (struct jstr){(const char *)r.p, bytes_left(&r)};
		err = docrec_decode(&r, &rec);
	}
	if (err == 0) {
		bytes_init(&tree, rec.tree.s, rec.tree.len);
		err = revtree_winner_decode(&tree, &out->winner, &out->nleaves);
	}
	if (err != 0)
		return snap_damaged(snap, id, "record", err);
	out->id = id;
	out->seq = rec.seq;
	out->snap = snap;
	out->arena = a;
	return 0;
}

int
snap_damaged(const struct db_snap *snap, struct jstr id, const char *what, int err)
{
	if (err == ERR_CORRUPT && !snap->quiet)
		log_line(LOG_ERROR, "database %s, document %.*s%s: its %s is damaged", snap->file->name,
		    (int)(id.len < LOGGED_MAX ? id.len : LOGGED_MAX), id.s, id.len > LOGGED_MAX ? "..." : "", what);
	return err;
}

int
snap_may_read(const struct db_snap *snap, const struct jstr *id)
{
	const struct db_rules *rules = snap->rules;

	return rules != NULL && rules->may_read != NULL ? rules->may_read(rules->cookie, &snap->by, id) : 0;
}

int
db_get(struct db_snap *snap, const char *id, size_t len, struct arena *a, struct db_doc *out)
{
	struct idkey_place place;
	struct store_val key, val;
	struct jstr name = {id, len};
	int err;

	if (len == 0 || len > LIMIT_ID_LEN)
		return ERR_MISSING;
	counters_add(COUNTER_DOC_READS, 1);
	if ((err = snap_may_read(snap, &name)) != 0)
		return err;
	if ((err = idkey_find(&db_doc_trees, snap->snap, id, len, &place)) != 0 ||
	    (err = store_get(snap->snap, place.tree, place.key, place.klen, &val)) != 0)
		return err;
	key = (struct store_val){place.key, place.klen};
	return snap_doc(snap, name, place.tree, &key, &val, a, out);
}

static int
block_get(uint32_t run_id, uint64_t block, struct bytes *r, void *cookie)
{
	struct db_doc *doc = cookie;
	struct bytes record;
	struct docrec rec;
	struct store_val val;
	struct docrec_key key;
	int err;

	bytes_init(&record, doc->record.s, doc->record.len);
	if ((err = docrec_decode(&record, &rec)) != 0)
		return err;
	key = docrec_block_key(rec.docno, run_id, block);
	if ((err = store_get(doc->snap->snap, TREE_REVS, key.bytes, sizeof(key.bytes), &val)) != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	return record_open(TREE_REVS, key.bytes, sizeof(key.bytes), &val, r);
}

int
db_doc_is_large(const struct db_doc *doc)
{
	return doc->nleaves > LARGE_LEAVES || doc->record.len > LARGE_RECORD || doc->winner.body_len > LARGE_BODY;
}

int
db_doc_tree(struct db_doc *doc, int whole, struct revtree **treep)
{
	struct bytes r;
	struct docrec rec;
	int err;

	if (doc->tree == NULL) {
		bytes_init(&r, doc->record.s, doc->record.len);
		if ((err = docrec_decode(&r, &rec)) != 0)
			return err;
		bytes_init(&r, rec.tree.s, rec.tree.len);
		if ((err = revtree_decode(doc->arena, &r, &doc->tree)) != 0)
			return snap_damaged(doc->snap, doc->id, "record", err);
	}
	if (whole && !doc->unspilled) {
		if ((err = revtree_unspill(doc->tree, block_get, doc)) != 0)
			return snap_damaged(doc->snap, doc->id, "history", err);
		doc->unspilled = 1;
	}
	*treep = doc->tree;
	return 0;
}

/* The database's settings and counts as the snapshot sees them. */
static int
snap_state(struct db_snap *snap, const struct dbstate **statep)
{
	int err = snap->have_state ? 0 : meta_state_get(snap->snap, &snap->state);

	snap->have_state = err == 0;
	*statep = &snap->state;
	return err;
}

int
db_doc_path(struct db_doc *doc, struct revpos at, struct rev **revsp, size_t *np)
{
	const struct dbstate *state;
	struct revpos p;
	struct rev *revs;
	size_t n = 1, i = 0;
	int err;

	if ((err = snap_state(doc->snap, &state)) != 0)
		return err;
	for (p = at; n < state->revs_limit && revtree_parent(doc->tree, p, &p);)
		n++;
	if ((revs = arena_calloc(doc->arena, n, sizeof(*revs))) == NULL)
		return ERR_NOMEM;
	p = at;
	do {
		revs[i++] = revtree_at(doc->tree, p)->rev;
	} while (i < n && revtree_parent(doc->tree, p, &p));
	*revsp = revs;
	*np = n;
	return 0;
}

/* ---- Contents ---- */

int
snap_payload(struct store_snap *snap, uint64_t number, struct bytes *r)
{
	unsigned char key[8];
	struct store_val val;
	int err;

	bytes_store_u64be(key, number);
	if ((err = store_get(snap, TREE_BODIES, key, sizeof(key), &val)) != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	return record_open(TREE_BODIES, key, sizeof(key), &val, r);
}

static int
inline_payload(const struct db_doc *doc, struct bytes *r)
{
	struct bytes record;
	struct docrec rec;
	int err;

	bytes_init(&record, doc->record.s, doc->record.len);
	if ((err = docrec_decode(&record, &rec)) != 0)
		return err;
	bytes_init(r, rec.payload.s, rec.payload.len);
	return 0;
}

static int
read_body(struct db_doc *doc, const struct revnode *node, uint64_t body, struct arena *a, struct db_rev *out)
{
	const struct db_rules *rules = doc->snap->rules;
	struct bytes r;
	int err;

	if (body == REVTREE_NO_BODY)
		return ERR_MISSING;
	err = body == REVTREE_INLINE ? inline_payload(doc, &r) : snap_payload(doc->snap->snap, body, &r);
	if (err == 0 && (err = payload_atts(&r, a, &out->atts, &out->natts)) == 0)
		err = body_unpack(doc->snap->file->dicts, &r, a, &out->body);
	out->node = *node;
	if (err != 0 || rules == NULL || rules->shown == NULL)
		return snap_damaged(doc->snap, doc->id, "content", err);
	return rules->shown(rules->cookie, &doc->snap->by, &doc->id, a, &out->body);
}

int
db_doc_rev(struct db_doc *doc, const struct revnode *node, struct arena *a, struct db_rev *out)
{
	return read_body(doc, node, node->body, a, out);
}

int
db_doc_base(struct db_doc *doc, const struct revnode *node, struct arena *a, struct db_rev *out)
{
	return read_body(doc, node, node->body != REVTREE_NO_BODY ? node->body : node->kept, a, out);
}

/* chunk_damaged: The attachment is named; whose it is its reader knows. */
static int
chunk_damaged(const struct db_snap *snap, const struct doc_att *att, int err)
{
	int len = (int)(att->name.len < LOGGED_MAX ? att->name.len : LOGGED_MAX);

	if (err == ERR_CORRUPT && !snap->quiet)
		log_line(LOG_ERROR, "database %s, attachment %.*s of revision position %llu: bytes of it are damaged",
		    snap->file->name, len, att->name.s, (unsigned long long)att->revpos);
	return err;
}

/* att_chunk: ERR_MISSING: it is not there. */
static int
att_chunk(struct db_snap *snap, const struct doc_att *att, uint64_t chunk, struct buf *b)
{
	struct payload_key key = payload_blob_key(att->blob, (uint32_t)chunk);
	struct store_val val;
	struct bytes r;
	size_t len;
	int err;

	if (chunk * LIMIT_BLOB_CHUNK >= att->stored_length)
		return ERR_END;
	if ((err = store_get(snap->snap, TREE_BLOBS, key.bytes, sizeof(key.bytes), &val)) != 0 ||
	    (err = record_open(TREE_BLOBS, key.bytes, sizeof(key.bytes), &val, &r)) != 0)
		return err;
	len = bytes_left(&r);
	return buf_put(b, bytes_take(&r, len), len);
}

int
db_att_read(struct db_snap *snap, const struct doc_att *att, uint64_t chunk, struct buf *b)
{
	int err = att_chunk(snap, att, chunk, b);

	return chunk_damaged(snap, att, err == ERR_MISSING ? ERR_CORRUPT : err);
}

int
db_att_read_later(struct db_snap *snap, const struct doc_att *att, uint64_t chunk, struct buf *b)
{
	struct payload_key key = payload_blob_key(att->blob, 0);
	int err = att_chunk(snap, att, chunk, b);
	struct store_val val;

	/* A blob's record goes together with its chunks. */
	if (err == ERR_MISSING && (err = store_get(snap->snap, TREE_BLOBS, key.bytes, 8, &val)) == 0)
		err = ERR_CORRUPT;
	return chunk_damaged(snap, att, err);
}

/* ---- _local documents: varint rev number, body ---- */

int
snap_local(struct db_snap *snap, struct jstr id, unsigned tree, const struct store_val *key,
    const struct store_val *val, struct arena *a, uint64_t *revp, struct jstr *bodyp)
{
	struct bytes r;
	int err = record_open(tree, key->p, key->len, val, &r);

	if (err == 0) {
		*revp = bytes_varint(&r);
		err = r.bad ? ERR_CORRUPT : body_unpack(snap->file->dicts, &r, a, bodyp);
	}
	return snap_damaged(snap, id, "content", err);
}

/* local_find: Its record, which is not opened. */
static int
local_find(struct db_snap *snap, const struct jstr *id, struct idkey_place *place, struct store_val *val)
{
	int err;

	if (id->len == 0 || id->len > LIMIT_ID_LEN)
		return ERR_MISSING;
	if ((err = snap_may_read(snap, id)) != 0 ||
	    (err = idkey_find(&db_local_trees, snap->snap, id->s, id->len, place)) != 0)
		return err;
	return store_get(snap->snap, place->tree, place->key, place->klen, val);
}

int
db_local_get(struct db_snap *snap, const char *id, size_t len, struct arena *a, uint64_t *revp, struct jstr *bodyp)
{
	struct idkey_place place;
	struct store_val key, val;
	struct jstr name = {id, len};
	int err = local_find(snap, &name, &place, &val);

	if (err != 0)
		return err;
	key = (struct store_val){place.key, place.klen};
	return snap_local(snap, name, place.tree, &key, &val, a, revp, bodyp);
}

int
db_local_len(struct db_snap *snap, const char *id, size_t len, uint64_t *lenp)
{
	struct jstr name = {id, len};
	struct idkey_place place;
	struct store_val val;
	struct bytes r;
	int err = local_find(snap, &name, &place, &val);

	if (err != 0)
		return err;
	*lenp = val.len;
	/* A long one is long enough, and its checksum costs as much as it is long. */
	if (val.len > LARGE_RECORD || record_open(place.tree, place.key, place.klen, &val, &r) != 0)
		return 0;
	(void)bytes_varint(&r);
	*lenp = body_len(&r);
	return 0;
}
