/*
 * Attachment bytes: on their way in, at rest, and counted.
 *
 * Bytes are compressed (where the type asks for it) and hashed as they arrive. Small ones stay in memory and
 * are put by the transaction that writes their document. Large ones go ahead in chunks, under a number of
 * their own and with a record `upload/NUMBER` in `meta` that the document's transaction removes; what such a
 * record names at open belongs to an upload that never finished.
 *
 *   blobs:   number (8), chunk (4) -> bytes;  number (8) -> SHA-256 (32)
 *   digests: SHA-256 of the stored bytes -> varint blob number, varint stored length, varint references
 *
 * A reference is a stored revision that lists the attachment. Equal bytes are stored once: a document that
 * brings bytes whose digest is known takes the older blob. The digest is computed here; a client's never
 * selects content.
 */
#include "dbi.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <zlib.h>

#define FLUSH_AT (1u << 20)
#define GZIP_LEVEL 8
#define GZIP_WINDOW (15 + 16) /* a gzip head, as CouchDB's */

/* ---- On their way in ---- */

enum db_blob_mode
db_blob_mode_for(struct db *db, const char *type, size_t len)
{
	static const char *const compressible[] = {"application/javascript", "application/json", "application/xml"};
	const char *end = memchr(type, ';', len);
	size_t n = end != NULL ? (size_t)(end - type) : len;

	(void)db;
	while (n > 0 && (type[n - 1] == ' ' || type[n - 1] == '\t'))
		n--;
	if (n > 5 && strncasecmp(type, "text/", 5) == 0)
		return DB_BLOB_COMPRESS;
	for (size_t i = 0; i < sizeof(compressible) / sizeof(*compressible); i++)
		if (n == strlen(compressible[i]) && strncasecmp(type, compressible[i], n) == 0)
			return DB_BLOB_COMPRESS;
	return DB_BLOB_PLAIN;
}

static int
compress_begin(struct db_blob *b)
{
	int err = hash_both_new(&b->identity_hash);

	if (err)
		return err;
	if ((b->z = calloc(1, sizeof(*b->z))) == NULL)
		return ERR_NOMEM;
	if (deflateInit2(b->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
		free(b->z);
		b->z = NULL;
		return ERR_NOMEM;
	}
	return 0;
}

static void
blob_release(struct db_blob *b)
{
	if (b->z != NULL)
		(void)deflateEnd(b->z);
	free(b->z);
	hash_both_free(b->stored_hash);
	hash_both_free(b->identity_hash);
	buf_release(&b->pending);
	free(b);
}

int
db_blob_new(struct db *db, enum db_blob_mode mode, struct db_blob **bp)
{
	struct db_blob *b = calloc(1, sizeof(*b));
	int err;

	if (b == NULL)
		return ERR_NOMEM;
	b->db = db;
	b->mode = mode;
	buf_init(&b->pending, LIMIT_QUEUE_BYTES);
	if ((err = hash_both_new(&b->stored_hash)) != 0 ||
	    (mode == DB_BLOB_COMPRESS && (err = compress_begin(b)) != 0)) {
		blob_release(b);
		return err;
	}
	*bp = b;
	return 0;
}

int
db_blob_expect(const struct db *db, uint64_t len)
{
	uint64_t max = atomic_load(&db->file->dbs->max_attachment_size);

	return len > max ? ERR_ATT_TOO_LARGE : 0;
}

static int
store_bytes(struct db_blob *b, const void *data, size_t len)
{
	hash_both_add(b->stored_hash, data, len);
	b->stored_len += len;
	return buf_put(&b->pending, data, len);
}

static int
deflate_bytes(struct db_blob *b, const void *data, size_t len, int flush)
{
	unsigned char out[16384];
	int err, zerr;

	b->z->next_in = (z_const Bytef *)(uintptr_t)data;
	b->z->avail_in = (uInt)len;
	do {
		b->z->next_out = out;
		b->z->avail_out = sizeof(out);
		zerr = deflate(b->z, flush);
		assert(zerr != Z_STREAM_ERROR);
		if ((err = store_bytes(b, out, sizeof(out) - b->z->avail_out)) != 0)
			return err;
	} while (b->z->avail_out == 0);
	return 0;
}

int
db_blob_add(struct db_blob *b, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n;
	int err;

	b->identity_len += len;
	if ((err = db_blob_expect(b->db, b->identity_len)) != 0)
		return err;
	if (b->mode != DB_BLOB_COMPRESS)
		return store_bytes(b, data, len);
	hash_both_add(b->identity_hash, data, len);
	for (; len > 0 && err == 0; p += n, len -= n) { /* zlib counts in 32 bits */
		n = len < (1u << 30) ? len : 1u << 30;
		err = deflate_bytes(b, p, n, Z_NO_FLUSH);
	}
	return err;
}

size_t
db_blob_pending(const struct db_blob *b)
{
	return b->pending.len;
}

static void
flush_done(struct dbwork *w)
{
	struct db_blob *b = OUTER_OF(w, struct db_blob, work);

	if (w->err == 0 && b->flushing > 0) { /* else the bytes stay pending, and may be flushed again */
		b->number = b->flushing_as;
		b->flushed += b->flushing;
		b->pending.len -= b->flushing;
		memmove(b->pending.data, b->pending.data + b->flushing, b->pending.len);
		if (b->ended)
			buf_release(&b->pending);
	}
	b->done(b->cookie, w->err);
}

void
db_blob_flush(struct db_blob *b, void (*done)(void *cookie, int err), void *cookie)
{
	int err;

	b->done = done;
	b->cookie = cookie;
	b->work = (struct dbwork){.kind = WORK_BLOB, .bytes = b->pending.len, .done = flush_done};
	if ((err = commit_queue(b->db->file, &b->work)) != 0)
		done(cookie, err);
}

int
db_blob_end(struct db_blob *b)
{
	unsigned char unused[SHA256_LEN];
	int err = b->mode == DB_BLOB_COMPRESS ? deflate_bytes(b, "", 0, Z_FINISH) : 0;

	if (err)
		return err;
	hash_both_end(b->stored_hash, b->md5, b->sha256);
	b->stored_hash = NULL;
	memcpy(b->identity_md5, b->md5, sizeof(b->md5));
	if (b->identity_hash != NULL)
		hash_both_end(b->identity_hash, b->identity_md5, unused);
	b->identity_hash = NULL;
	b->ended = 1;
	return 0;
}

const unsigned char *
db_blob_md5(const struct db_blob *b)
{
	assert(b->ended);
	return b->md5;
}

const unsigned char *
db_blob_identity_md5(const struct db_blob *b)
{
	assert(b->ended);
	return b->identity_md5;
}

void
db_blob_lengths(const struct db_blob *b, uint64_t *identityp, uint64_t *storedp)
{
	*identityp = b->identity_len;
	*storedp = b->stored_len;
}

static void
drop_done(struct dbwork *w)
{
	struct db_blob *b = OUTER_OF(w, struct db_blob, work);

	/* If it could not be removed now, its upload record has it removed at the next open. */
	blob_release(b);
}

void
db_blob_free(struct db_blob *b)
{
	if (b == NULL)
		return;
	b->work = (struct dbwork){.kind = WORK_BLOB_DROP, .done = drop_done};
	if (b->number != 0 && !b->adopted && commit_queue(b->db->file, &b->work) == 0)
		return;
	blob_release(b);
}

/* ---- The committer's side ---- */

struct upload_key {
	char text[7 + 16 + 1];
};

static struct upload_key
upload_key_of(uint64_t number)
{
	struct upload_key k = {"upload/"};
	unsigned char be[8];

	bytes_store_u64be(be, number);
	hex_encode(be, sizeof(be), k.text + 7);
	k.text[23] = '\0';
	return k;
}

static int
upload_forget(struct commit *c, uint64_t number)
{
	struct upload_key k = upload_key_of(number);

	return store_del(c->batch, TREE_META, k.text, strlen(k.text));
}

int
blob_uploading(struct store_snap *snap, uint64_t number)
{
	struct upload_key k = upload_key_of(number);
	struct store_val unused;

	return store_get(snap, TREE_META, k.text, strlen(k.text), &unused) == 0;
}

/* put_chunks: Store ${len} bytes as chunks from number ${chunk} on; the last may be short. */
static int
put_chunks(struct commit *c, uint64_t number, uint64_t chunk, const char *p, size_t len)
{
	int err = 0;

	for (; len > 0 && err == 0; chunk++) {
		struct payload_key key = payload_blob_key(number, (uint32_t)chunk);
		size_t n = len < LIMIT_BLOB_CHUNK ? len : LIMIT_BLOB_CHUNK;

		err = record_put(c->batch, TREE_BLOBS, key.bytes, sizeof(key.bytes), p, n);
		p += n;
		len -= n;
	}
	return err;
}

int
blob_commit_flush(struct commit *c, struct db_blob *b)
{
	struct upload_key k;
	int err;

	b->flushing = b->pending.len - (b->ended ? 0 : b->pending.len % LIMIT_BLOB_CHUNK);
	b->flushing_as = b->number;
	if (b->flushing == 0)
		return 0;
	c->touched = 1;
	if (b->number == 0) {
		b->flushing_as = c->state.next_blob++;
		k = upload_key_of(b->flushing_as);
		if ((err = meta_put(c->batch, k.text, "", 0)) != 0)
			return err;
	}
	return put_chunks(c, b->flushing_as, b->flushed / LIMIT_BLOB_CHUNK, b->pending.data, b->flushing);
}

/* delete_blob: Every record of tree blobs that begins with the number. */
static int
delete_blob(struct commit *c, uint64_t number)
{
	struct payload_key key = payload_blob_key(number, 0);
	struct store_cursor *cur;
	struct store_val k;
	int err = store_cursor_open(c->snap, TREE_BLOBS, &cur);

	if (err)
		return err;
	for (err = store_seek(cur, key.bytes, 8, &k, NULL); err == 0; err = store_next(cur, &k, NULL)) {
		if (k.len < 8 || memcmp(k.p, key.bytes, 8) != 0)
			break;
		if ((err = store_del(c->batch, TREE_BLOBS, k.p, k.len)) != 0)
			break;
	}
	store_cursor_close(cur);
	c->touched = 1;
	return err == ERR_MISSING ? 0 : err;
}

int
blob_commit_drop(struct commit *c, uint64_t number)
{
	int err = delete_blob(c, number);

	return err ? err : upload_forget(c, number);
}

struct digest {
	uint64_t number, stored_len, refs;
};

static int
digest_get(struct commit *c, const unsigned char sha256[SHA256_LEN], struct digest *out)
{
	struct store_val val;
	struct bytes r;
	int err = store_get(c->snap, TREE_DIGESTS, sha256, SHA256_LEN, &val);

	if (err || (err = record_open(TREE_DIGESTS, sha256, SHA256_LEN, &val, &r)) != 0)
		return err;
	out->number = bytes_varint(&r);
	out->stored_len = bytes_varint(&r);
	out->refs = bytes_varint(&r);
	return r.bad ? ERR_CORRUPT : 0;
}

static int
digest_put(struct commit *c, const unsigned char sha256[SHA256_LEN], const struct digest *d)
{
	struct buf b;
	int err;

	buf_init(&b, 64);
	buf_put_varint(&b, d->number);
	buf_put_varint(&b, d->stored_len);
	buf_put_varint(&b, d->refs);
	if ((err = buf_failed(&b)) == 0)
		err = record_put(c->batch, TREE_DIGESTS, sha256, SHA256_LEN, b.data, b.len);
	buf_release(&b);
	return err;
}

/* ---- Blobs that are new in a transaction, by their bytes and by their numbers ---- */

#define BUCKETS_FIRST 64u

/* bucket_of: Whoever chooses the bytes does not know the salt. */
static struct newblob **
bucket_of(const struct commit *c, const unsigned char sha256[SHA256_LEN])
{
	return &c->newblobs.by_sha256[counts_hash(c->state.salt, sha256, SHA256_LEN) & (c->newblobs.nbuckets - 1)];
}

static struct newblob **
bucket_of_number(const struct commit *c, uint64_t number)
{
	return &c->newblobs.by_number[number & (c->newblobs.nbuckets - 1)];
}

static const struct newblob *
newblob_find(const struct commit *c, const unsigned char sha256[SHA256_LEN])
{
	const struct newblob *n = c->newblobs.nbuckets > 0 ? *bucket_of(c, sha256) : NULL;

	while (n != NULL && memcmp(n->blob->sha256, sha256, SHA256_LEN) != 0)
		n = n->next_sha256;
	return n;
}

static const struct newblob *
newblob_of(const struct commit *c, uint64_t number)
{
	const struct newblob *n = c->newblobs.nbuckets > 0 ? *bucket_of_number(c, number) : NULL;

	while (n != NULL && n->number != number)
		n = n->next_number;
	return n;
}

int
blob_commit_is_new(const struct commit *c, uint64_t number)
{
	return newblob_of(c, number) != NULL;
}

static void
newblob_link(struct commit *c, struct newblob *n)
{
	struct newblob **at = bucket_of(c, n->blob->sha256);

	n->next_sha256 = *at;
	*at = n;
	at = bucket_of_number(c, n->number);
	n->next_number = *at;
	*at = n;
	c->newblobs.n++;
}

/* newblob_room: As many buckets as there are blobs, and one more. */
static int
newblob_room(struct commit *c)
{
	const struct newblobs old = c->newblobs;
	struct newblobs grown = {.nbuckets = old.nbuckets > 0 ? 4 * old.nbuckets : BUCKETS_FIRST};

	if (old.n < old.nbuckets)
		return 0;
	grown.by_sha256 = arena_calloc(c->a, grown.nbuckets, sizeof(struct newblob *));
	grown.by_number = arena_calloc(c->a, grown.nbuckets, sizeof(struct newblob *));
	if (grown.by_sha256 == NULL || grown.by_number == NULL)
		return ERR_NOMEM;
	c->newblobs = grown;
	for (size_t i = 0; i < old.nbuckets; i++)
		for (struct newblob *n = old.by_number[i], *next; n != NULL; n = next) {
			next = n->next_number;
			newblob_link(c, n);
		}
	return 0;
}

/* adopt_new: Bytes that the database does not have yet. */
static int
adopt_new(struct commit *c, struct db_blob *b, uint64_t *numberp)
{
	struct newblob *n = arena_alloc(c->a, sizeof(*n));
	struct payload_key key;
	int err;

	if (n == NULL || newblob_room(c) != 0)
		return ERR_NOMEM;
	*n = (struct newblob){.blob = b, .number = b->number != 0 ? b->number : c->state.next_blob++};
	key = payload_blob_key(n->number, 0);
	if ((err = put_chunks(c, n->number, b->flushed / LIMIT_BLOB_CHUNK, b->pending.data, b->pending.len)) != 0 ||
	    (err = record_put(c->batch, TREE_BLOBS, key.bytes, 8, b->sha256, SHA256_LEN)) != 0)
		return err;
	if (b->number != 0 && (err = upload_forget(c, b->number)) != 0)
		return err;
	newblob_link(c, n);
	*numberp = n->number;
	return 0;
}

int
blob_commit_adopt(struct commit *c, struct db_blob *b, uint64_t *numberp)
{
	const struct newblob *n = newblob_find(c, b->sha256);
	struct takenblob *taken = arena_alloc(c->a, sizeof(*taken));
	struct digest d;
	int err = 0;

	assert(b->ended);
	if (taken == NULL)
		return ERR_NOMEM;
	*taken = (struct takenblob){b, c->taken};
	c->taken = taken;
	if (n != NULL)
		*numberp = n->number;
	else if ((err = digest_get(c, b->sha256, &d)) == ERR_MISSING)
		return adopt_new(c, b, numberp);
	else if (err == 0)
		*numberp = d.number;
	if (err == 0 && b->number != 0 && b->number != *numberp)
		err = blob_commit_drop(c, b->number);
	return err;
}

void
blob_committed(struct commit *c)
{
	for (struct takenblob *t = c->taken; t != NULL; t = t->next)
		t->blob->adopted = 1;
}

int
blob_commit_ref(struct commit *c, uint64_t number, int change)
{
	if (c->nrefs == c->cap_refs) {
		size_t cap = c->cap_refs != 0 ? 2 * c->cap_refs : 64;
		struct blobref *grown = arena_calloc(c->a, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (c->nrefs > 0)
			memcpy(grown, c->refs, c->nrefs * sizeof(*grown));
		c->refs = grown;
		c->cap_refs = cap;
	}
	c->refs[c->nrefs++] = (struct blobref){number, change};
	return 0;
}

static int
ref_cmp(const void *a, const void *b)
{
	const struct blobref *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* settle_ref: The references of one blob after this transaction; without any, it goes. */
static int
settle_ref(struct commit *c, uint64_t number, int64_t change)
{
	struct payload_key key = payload_blob_key(number, 0);
	const struct newblob *n = newblob_of(c, number);
	const unsigned char *sha256;
	struct digest d = {number, 0, 0};
	struct store_val val;
	struct bytes r;
	int err = 0;

	if (n != NULL) {
		sha256 = n->blob->sha256;
		d.stored_len = n->blob->stored_len;
	} else {
		if ((err = store_get(c->snap, TREE_BLOBS, key.bytes, 8, &val)) != 0 ||
		    (err = record_open(TREE_BLOBS, key.bytes, 8, &val, &r)) != 0)
			return err == ERR_MISSING ? ERR_CORRUPT : err;
		if ((sha256 = bytes_take(&r, SHA256_LEN)) == NULL)
			return ERR_CORRUPT;
		err = digest_get(c, sha256, &d);
	}
	if (err || change < -(int64_t)d.refs)
		return err && err != ERR_MISSING ? err : ERR_CORRUPT;
	d.refs += (uint64_t)change;
	assert(n == NULL || d.refs > 0); /* who adopts a blob also refers to it, and nothing was referring before */
	if (d.refs > 0)
		return change != 0 ? digest_put(c, sha256, &d) : 0;
	c->state.superseded_atts -= d.stored_len < c->state.superseded_atts ? d.stored_len : c->state.superseded_atts;
	err = store_del(c->batch, TREE_DIGESTS, sha256, SHA256_LEN);
	return err ? err : delete_blob(c, number);
}

int
blob_commit_end(struct commit *c)
{
	int err = 0;

	if (c->nrefs == 0)
		return 0;
	qsort(c->refs, c->nrefs, sizeof(*c->refs), ref_cmp);
	for (size_t i = 0, j; i < c->nrefs && err == 0; i = j) {
		int64_t sum = 0;

		for (j = i; j < c->nrefs && c->refs[j].number == c->refs[i].number; j++)
			sum += c->refs[j].change;
		err = settle_ref(c, c->refs[i].number, sum);
	}
	return err;
}
