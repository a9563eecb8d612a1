/*
 * update.c: bringing an index up to its database, a batch at a time.
 *
 *	views_want -> (queue) -> update_step: gather -> map -> rows -> commit -> update_step ... -> everybody is told
 *
 * 1. A batch is one commit of the index file: rows, lists of rows, counts, reductions, and the sequence up to which they are right.
 *    Killed at any moment, the index is that of some sequence, and goes on from there.
 * 2. Per document the index has the list of its rows, so that an update touches exactly what changes.
 * 3. No snapshot is held while functions run, and a child only for one batch.
 * 4. An update fails whoever waits for it, and nobody else; the index stays as it was.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "index.h"
#include "query/query.h"
#include "store/record.h"

#define BATCH_BYTES ((size_t)8 << 20) /* of documents' JSON in a batch */
#define BATCH_DOCS 20000u
#define BATCH_ROWS ((size_t)16 << 20)     /* of rows' JSON, behind which the batch ends */
#define MESSAGE_BYTES ((size_t)256 << 10) /* of documents' JSON in a message */
#define MESSAGE_DOCS 100u
#define TRIM_FROM ((size_t)1 << 20)
#define SETTLE_FROM 16u /* ranges whose reductions are not known, from which on they are found out */
#define BATCH_MEM ((size_t)2 << 30)
#define DOC_KEY MD5_LEN

/* A document of a batch. */
struct changed {
	struct jstr id;
	struct jstr json; /* len 0: it has no rows */
	uint64_t seq;     /* the sequence that is reached behind it */
	unsigned char key[DOC_KEY];
	struct jstr rows; /* what its functions emitted: the text of an array; len 0: none */
};

struct step {
	struct view_index *ix;
	struct db *db;
	struct store_batch *batch;
	struct arena *a;     /* the batch's */
	struct arena *doc_a; /* a document's, while it is read */
	struct changed *docs;
	size_t n, cap;
	size_t npurged; /* the first ones are documents that were purged */
	size_t bytes;
	size_t rows_bytes;
	size_t message_docs;     /* in one message at most */
	uint64_t seq, purge_seq; /* up to which the batch goes */
	int more;                /* there is more behind it */
	struct rows_change *changes;
	size_t nchanges, cap_changes;
	struct buf sortkey, scratch, order, value;
	struct errtext why;
	char error[64];
};

/* ---- Gathering ---- */

/* A doubled array in the batch's memory. */
static void *
grow(struct step *s, void *v, size_t n, size_t *capp, size_t size)
{
	size_t cap = *capp != 0 ? 2 * *capp : 256;
	void *grown = arena_alloc(s->a, cap * size);

	if (grown == NULL)
		return NULL;
	if (n > 0)
		memcpy(grown, v, n * size);
	*capp = cap;
	return grown;
}

static int
put_conflicts(struct buf *b, const struct revtree *t)
{
	size_t n = 0;

	for (size_t i = 1; i < revtree_nleaves(t); i++) {
		if (revtree_leaf(t, i)->deleted)
			continue;
		buf_puts(b, n++ > 0 ? ",\"" : ",\"_conflicts\":[\"");
		rev_put(b, &revtree_leaf(t, i)->rev);
		buf_putc(b, '"');
	}
	return n > 0 ? buf_putc(b, ']') : buf_failed(b);
}

/* put_doc: As map functions see it: with its conflicts, and with _local_seq if the design document asks for that. */
static int
put_doc(struct step *s, struct db_doc *doc, struct buf *out)
{
	struct revtree *t;
	struct db_rev rev;
	struct doc_out d;
	struct buf extra;
	int err = db_doc_rev(doc, &doc->winner, s->doc_a, &rev);

	if (err != 0)
		return err;
	buf_init_arena(&extra, s->doc_a, LIMIT_BODY_LEN);
	if (doc->nleaves > 1 && ((err = db_doc_tree(doc, 0, &t)) != 0 || (err = put_conflicts(&extra, t)) != 0))
		return err;
	if (s->ix->ddoc.local_seq)
		buf_printf(&extra, ",\"_local_seq\":%llu", (unsigned long long)doc->seq);
	d = (struct doc_out){.id = doc->id,
	    .rev = doc->winner.rev,
	    .body = rev.body,
	    .atts = rev.atts,
	    .natts = rev.natts,
	    .extra = extra.len > 0 ? extra.data : NULL,
	    .extra_len = extra.len};
	return doc_put_json(out, &d);
}

static int
is_design(struct jstr id)
{
	return id.len >= 8 && memcmp(id.s, "_design/", 8) == 0;
}

static int
add_doc(struct step *s, struct db_snap *snap, struct jstr id)
{
	struct changed *c;
	struct db_doc doc;
	struct buf json;
	int err;

	if (s->n == s->cap && (s->docs = grow(s, s->docs, s->n, &s->cap, sizeof(*s->docs))) == NULL)
		return ERR_NOMEM;
	c = &s->docs[s->n++];
	*c = (struct changed){.id = {arena_dup(s->a, id.s, id.len), id.len}};
	if (c->id.s == NULL)
		return ERR_NOMEM;
	hash_md5(id.s, id.len, c->key);
	if (is_design(id) && !s->ix->ddoc.include_design)
		return 0;
	arena_reset(s->doc_a);
	err = db_get(snap, c->id.s, c->id.len, s->doc_a, &doc);
	if (err == ERR_MISSING || (err == 0 && doc.winner.deleted))
		return 0;
	if (err != 0)
		return err;
	buf_init(&json, BATCH_MEM);
	if ((err = put_doc(s, &doc, &json)) == 0) {
		c->json = (struct jstr){arena_dup(s->a, json.data, json.len), json.len};
		s->bytes += json.len;
		err = c->json.s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&json);
	return err;
}

/* gather_purged: What was purged may have no row of _changes any more. */
static int
gather_purged(struct step *s, struct db_snap *snap)
{
	struct db_purge p;
	struct db_scan *scan;
	int err = db_purges_open(snap, s->purge_seq, &scan);

	if (err != 0)
		return err;
	while ((err = db_purges_next(scan, s->doc_a, &p)) == 0) {
		s->purge_seq = p.seq;
		if ((err = add_doc(s, snap, p.id)) != 0)
			break;
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

static int
gather_changes(struct step *s, struct db_snap *snap)
{
	struct db_change ch;
	struct db_scan *scan;
	struct arena *row_a;
	int err = arena_new(1u << 26, &row_a);

	if (err != 0)
		return err;
	if ((err = db_changes_open(snap, s->seq, 0, &scan)) == 0) {
		while ((err = db_changes_next(scan, row_a, &ch)) == 0) {
			if (s->bytes > BATCH_BYTES || s->n >= BATCH_DOCS) {
				s->more = 1;
				break;
			}
			if ((err = add_doc(s, snap, ch.id)) != 0)
				break;
			s->docs[s->n - 1].seq = s->seq = ch.seq;
			arena_reset(row_a);
		}
		db_scan_close(scan);
	}
	arena_free(row_a);
	return err == ERR_END ? 0 : err;
}

/* gather_lost: Where purges were forgotten before they were seen here, documents that are gone are looked for one by one. */
static int
gather_lost(struct step *s, struct db_snap *snap)
{
	struct store_snap *own;
	struct store_cursor *c;
	struct store_val k, v;
	struct db_doc doc;
	int err = store_snap_begin(s->ix->store, &own);

	if (err != 0)
		return err;
	if ((err = store_cursor_open(own, VIEW_DOCS, &c)) == 0) {
		for (err = store_seek(c, NULL, 0, &k, &v); err == 0; err = store_next(c, &k, &v)) {
			struct bytes r;
			struct jstr id;

			if ((err = record_open(VIEW_DOCS, k.p, k.len, &v, &r)) != 0)
				break;
			id.len = bytes_varint(&r);
			id.s = bytes_take(&r, id.len);
			arena_reset(s->doc_a);
			if (r.bad)
				err = ERR_CORRUPT;
			else if ((err = db_get(snap, id.s, id.len, s->doc_a, &doc)) == ERR_MISSING)
				err = add_doc(s, snap, id);
			if (err != 0)
				break;
		}
		store_cursor_close(c);
	}
	store_snap_end(own);
	return err == ERR_MISSING ? 0 : err;
}

static int
gather_gone(struct step *s, struct db_snap *snap)
{
	struct db_purge first;
	struct db_scan *scan;
	struct db_info info;
	int err = db_info(s->db, &info);

	if (err != 0 || info.purge_seq <= s->purge_seq)
		return err;
	if ((err = db_purges_open(snap, s->purge_seq, &scan)) != 0)
		return err;
	err = db_purges_next(scan, s->doc_a, &first);
	db_scan_close(scan);
	if (err == 0 && first.seq > s->purge_seq + 1)
		err = gather_lost(s, snap);
	return err == ERR_END ? 0 : err != 0 ? err : gather_purged(s, snap);
}

static int
gather(struct step *s)
{
	struct db_snap *snap;
	uint64_t pending;
	int err = db_snap_begin(s->db, &snap);

	if (err != 0)
		return err;
	/* An index that knows more than its database is of another one. */
	err = db_snap_seq(snap) < s->seq ? ERR_CORRUPT : db_changes_pending(snap, s->seq, &pending);
	if (err == 0) {
		(void)pthread_mutex_lock(&s->ix->lock);
		s->ix->task.total = s->ix->task.done + pending;
		(void)pthread_mutex_unlock(&s->ix->lock);
		err = gather_gone(s, snap);
		s->npurged = s->n;
	}
	if (err == 0)
		err = gather_changes(s, snap);
	/* Where nothing is left, the index shows all that the snapshot does. */
	if (err == 0 && !s->more)
		s->seq = db_snap_seq(snap);
	db_snap_end(snap);
	return err;
}

/* ---- Mapping ---- */

/* send: The next documents, from *${ip} on, as one message; none: there are none. */
static int
send(struct step *s, struct script *sc, size_t *ip, size_t *sentp)
{
	struct jstr parts[2 * MESSAGE_DOCS + 2];
	size_t n = 0, docs = 0, bytes = 0;

	while (*ip < s->n && docs < s->message_docs && bytes < MESSAGE_BYTES) {
		const struct changed *c = &s->docs[(*ip)++];

		if (c->json.len == 0)
			continue;
		parts[n++] = (struct jstr){docs++ > 0 ? "," : "[", 1};
		parts[n++] = c->json;
		bytes += c->json.len;
	}
	*sentp = docs;
	if (docs == 0)
		return 0;
	parts[n++] = (struct jstr){"]", 1};
	return script_send(sc, SCRIPT_MAP, parts, n);
}

/* receive: Rows for the documents from *${ip} on that were sent. */
static int
receive(struct step *s, struct script *sc, size_t *ip, size_t sent)
{
	struct jstr answer, rows;
	struct jread j;
	int err = script_receive(sc, &answer, &s->why);

	if (err == ERR_SCRIPT)
		(void)snprintf(s->error, sizeof(s->error), "%s", script_error(sc));
	if (err != 0)
		return err;
	jread_init(&j, answer.s, answer.len);
	err = jread_array_begin(&j);
	while (err == 0 && sent > 0) {
		struct changed *c = &s->docs[(*ip)++];

		if (c->json.len == 0)
			continue;
		sent--;
		if ((err = jread_array_next(&j)) == 0 && (err = jread_skip(&j, &rows)) == 0) {
			c->rows = (struct jstr){arena_dup(s->a, rows.s, rows.len), rows.len};
			s->rows_bytes += rows.len;
			err = c->rows.s != NULL ? 0 : ERR_NOMEM;
		}
	}
	return err == ERR_END || err == ERR_BAD_JSON ? ERR_SCRIPT_DIED : err;
}

/* cut: The batch ends behind what was mapped. */
static void
cut(struct step *s, size_t n)
{
	s->n = n;
	s->seq = s->docs[n - 1].seq;
	s->more = 1;
}

/* map: Two messages are under way at a time, so that neither side waits for the other. */
static int
map(struct step *s, struct script *sc)
{
	size_t sent_at = 0, got_at = 0, first, second;
	int err = send(s, sc, &sent_at, &first), full = 0;

	while (err == 0 && first > 0) {
		second = 0;
		if (full || (err = send(s, sc, &sent_at, &second)) == 0)
			err = receive(s, sc, &got_at, first);
		first = second;
		full = s->rows_bytes > BATCH_ROWS && got_at > s->npurged;
	}
	if (err == 0 && full && got_at < s->n)
		cut(s, got_at);
	return err;
}

/*
 * map_all: What fails is mapped again, one document a message: limits of time and size are there for one document, and a
 * hundred may exceed them where each does not.
 */
static int
map_all(struct step *s, struct script **scp)
{
	struct view_index *ix = s->ix;
	int err = 0;

	for (s->message_docs = MESSAGE_DOCS; s->message_docs > 0; s->message_docs /= MESSAGE_DOCS) {
		err = script_open(ix->views->config.scripts, ix->database, ix->program, scp, &s->why);
		if (err == ERR_SCRIPT)
			(void)snprintf(s->error, sizeof(s->error), "compilation_error");
		if (err != 0)
			return err;
		s->rows_bytes = 0;
		err = map(s, *scp);
		if (err == 0 || err == ERR_NOMEM)
			return err;
		script_close(*scp);
		*scp = NULL;
	}
	return err;
}

/* ---- Rows ---- */

static int
change(struct step *s, unsigned map, struct jstr sortkey, struct jstr id, uint32_t n, const struct jstr *key,
    const struct jstr *value)
{
	struct rows_change *ch;
	int err;

	if (s->nchanges == s->cap_changes &&
	    (s->changes = grow(s, s->changes, s->nchanges, &s->cap_changes, sizeof(*s->changes))) == NULL)
		return ERR_NOMEM;
	ch = &s->changes[s->nchanges++];
	buf_clear(&s->order);
	if ((err = rows_order(&s->order, map, sortkey, id, n)) != 0)
		return err;
	ch->order = (struct jstr){arena_dup(s->a, s->order.data, s->order.len), s->order.len};
	ch->value = (struct jstr){NULL, 0};
	if (ch->order.s == NULL)
		return ERR_NOMEM;
	if (key == NULL)
		return 0;
	buf_clear(&s->value);
	if ((err = rows_put(&s->value, ch->order, sortkey.len, *key, *value)) != 0)
		return err;
	ch->value = (struct jstr){arena_dup(s->a, s->value.data, s->value.len), s->value.len};
	return ch->value.s != NULL ? 0 : ERR_NOMEM;
}

/*
 * The list of a document's rows, in tree docs: varint length of the id, the id, and for each row varint map, varint number
 * among the document's rows, varint length of the sort key, that, and a checksum of key and value (4 bytes).
 */
struct listed {
	uint64_t map, n;
	struct jstr sortkey;
	uint32_t sum;
};

static int
take_listed(struct bytes *r, struct listed *out)
{
	uint64_t len;

	if (bytes_left(r) == 0)
		return 0;
	out->map = bytes_varint(r);
	out->n = bytes_varint(r);
	len = bytes_varint(r);
	out->sortkey = (struct jstr){bytes_take(r, len), len};
	out->sum = bytes_u32be(r);
	return !r->bad;
}

static void
put_listed(struct buf *b, const struct listed *l)
{
	buf_put_varint(b, l->map);
	buf_put_varint(b, l->n);
	buf_put_varint(b, l->sortkey.len);
	buf_put(b, l->sortkey.s, l->sortkey.len);
	buf_put_u32be(b, l->sum);
}

static struct jstr
partition_of(struct jstr id)
{
	const char *colon = memchr(id.s, ':', id.len);

	return (struct jstr){id.s, colon != NULL ? (size_t)(colon - id.s) : 0};
}

/* emit: One row; it is put unless the old list has it. */
static int
emit(struct step *s, const struct changed *c, unsigned map, uint32_t n, struct jstr key, struct jstr value,
    struct bytes *old, struct buf *list)
{
	struct listed l = {.map = map, .n = n}, was = {0};
	struct bytes look = *old;
	int err;

	buf_clear(&s->sortkey);
	if (s->ix->partitioned)
		rows_text(&s->sortkey, partition_of(c->id));
	if ((err = query_sortkey(key, &s->scratch, &s->sortkey)) != 0)
		return err;
	l.sortkey = (struct jstr){s->sortkey.data, s->sortkey.len};
	l.sum = hash_crc32c(hash_crc32c(0, key.s, key.len), value.s, value.len);
	put_listed(list, &l);
	/* Both lists are in the order of maps and numbers: what is passed over here has gone. */
	while (take_listed(&look, &was)) {
		if (was.map > l.map || (was.map == l.map && was.n > l.n))
			break;
		*old = look;
		if (was.map == l.map && was.n == l.n && was.sortkey.len == l.sortkey.len &&
		    memcmp(was.sortkey.s, l.sortkey.s, l.sortkey.len) == 0) {
			if (was.sum == l.sum)
				return 0;
			break;
		}
		if ((err = change(s, (unsigned)was.map, was.sortkey, c->id, (uint32_t)was.n, NULL, NULL)) != 0)
			return err;
	}
	return change(s, map, l.sortkey, c->id, n, &key, &value);
}

/* emit_all: [[[KEY,VALUE],...] of map 0, ...] */
static int
emit_all(struct step *s, const struct changed *c, struct bytes *old, struct buf *list)
{
	struct jread j;
	struct jstr key, value;
	unsigned map = 0;
	int err;

	jread_init(&j, c->rows.s, c->rows.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		uint32_t n = 0;

		err = map < s->ix->ddoc.nmaps ? jread_array_begin(&j) : ERR_SCRIPT_DIED;
		while (err == 0 && (err = jread_array_next(&j)) == 0) {
			if ((err = jread_array_begin(&j)) != 0 || (err = jread_array_next(&j)) != 0 ||
			    (err = jread_skip(&j, &key)) != 0 || (err = jread_array_next(&j)) != 0 ||
			    (err = jread_skip(&j, &value)) != 0)
				return ERR_SCRIPT_DIED;
			if (jread_array_next(&j) != ERR_END)
				return ERR_SCRIPT_DIED;
			err = emit(s, c, map, n++, key, value, old, list);
		}
		err = err == ERR_END ? 0 : err;
		map++;
	}
	return err == ERR_END ? 0 : err;
}

/* rows_of: What becomes of one document's rows, and of its list. */
static int
rows_of(struct step *s, struct store_snap *snap, const struct changed *c)
{
	struct store_batch *batch = s->batch;
	struct bytes old = {NULL, NULL, 0};
	struct store_val val;
	struct listed was;
	struct buf list;
	size_t head;
	int err = store_get(snap, VIEW_DOCS, c->key, DOC_KEY, &val), had = err == 0;

	if (had && (err = record_open(VIEW_DOCS, c->key, DOC_KEY, &val, &old)) == 0) {
		uint64_t len = bytes_varint(&old);

		(void)bytes_take(&old, len);
		err = old.bad ? ERR_CORRUPT : 0;
	}
	if (err != 0 && err != ERR_MISSING)
		return err;
	buf_init(&list, BATCH_MEM);
	buf_put_varint(&list, c->id.len);
	buf_put(&list, c->id.s, c->id.len);
	head = list.len;
	err = c->rows.len > 0 ? emit_all(s, c, &old, &list) : 0;
	while (err == 0 && take_listed(&old, &was))
		err = change(s, (unsigned)was.map, was.sortkey, c->id, (uint32_t)was.n, NULL, NULL);
	if (err == 0 && list.len > head)
		err = record_put(batch, VIEW_DOCS, c->key, DOC_KEY, list.data, list.len);
	else if (err == 0 && had)
		err = store_del(batch, VIEW_DOCS, c->key, DOC_KEY);
	buf_release(&list);
	return err;
}

static int
change_cmp(const void *a, const void *b)
{
	const struct rows_change *x = a, *y = b;
	size_t n = x->order.len < y->order.len ? x->order.len : y->order.len;
	int c = memcmp(x->order.s, y->order.s, n);

	if (c != 0 || x->order.len != y->order.len)
		return c != 0 ? c : x->order.len > y->order.len ? 1 : -1;
	/* One that goes and comes again comes. */
	return (x->value.s != NULL) - (y->value.s != NULL);
}

/* sort_changes: By order key, the last of equal ones alone. */
static void
sort_changes(struct step *s)
{
	size_t n = 0;

	if (s->nchanges > 1)
		qsort(s->changes, s->nchanges, sizeof(*s->changes), change_cmp);
	for (size_t i = 0; i < s->nchanges; i++) {
		if (n > 0 && s->changes[n - 1].order.len == s->changes[i].order.len &&
		    memcmp(s->changes[n - 1].order.s, s->changes[i].order.s, s->changes[i].order.len) == 0)
			s->changes[n - 1] = s->changes[i];
		else
			s->changes[n++] = s->changes[i];
	}
	s->nchanges = n;
}

static int
count(struct step *s, struct store_snap *snap, const struct rows_moved *moved, size_t n)
{
	struct counts_change *changes = arena_calloc(s->a, n + 1, sizeof(*changes));
	struct counts_of counts;

	if (changes == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		changes[i] = (struct counts_change){moved[i].key.s, moved[i].key.len, moved[i].existed, moved[i].exists,
		    (uint64_t)moved[i].existed, (uint64_t)moved[i].exists};
	index_counts(s->ix->head.salt, &counts);
	return counts_apply(&counts, snap, s->batch, s->a, changes, n);
}

/* doc_cmp: Lists are put in the order of their keys; a document that is there twice is the same both times. */
static int
doc_cmp(const void *a, const void *b)
{
	const struct changed *x = a, *y = b;

	return memcmp(x->key, y->key, DOC_KEY);
}

static int
write_rows(struct step *s)
{
	struct index_head head = s->ix->head;
	const struct sums sums = {.ddoc = &s->ix->ddoc, .salt = head.salt};
	struct store_snap *snap;
	struct rows_moved *moved;
	size_t n;
	int err = store_snap_begin(s->ix->store, &snap);

	if (err != 0)
		return err;
	qsort(s->docs, s->n, sizeof(*s->docs), doc_cmp);
	for (size_t i = 0; i < s->n && err == 0; i++)
		if (i + 1 == s->n || memcmp(s->docs[i].key, s->docs[i + 1].key, DOC_KEY) != 0)
			err = rows_of(s, snap, &s->docs[i]);
	sort_changes(s);
	if (err == 0)
		err = rows_apply(snap, s->batch, s->a, s->changes, s->nchanges, &moved, &n);
	if (err == 0)
		err = count(s, snap, moved, n);
	if (err == 0)
		err = sums_forget(&sums, snap, s->batch, s->a, moved, n);
	store_snap_end(snap);
	head.seq = s->seq;
	head.purge_seq = s->purge_seq;
	if (err == 0)
		err = index_head_put(s->batch, &head);
	if (err == 0)
		err = store_commit(s->batch);
	else
		store_batch_clear(s->batch);
	return err;
}

/* settle: Once the rows are there, and if it is worth a commit. */
static int
settle(struct step *s, struct script *sc)
{
	struct sums sums = {.ddoc = &s->ix->ddoc, .salt = s->ix->head.salt, .script = sc, .why = &s->why};
	struct store_snap *snap;
	uint64_t unknown;
	int done, err = store_snap_begin(s->ix->store, &snap);

	if (err != 0)
		return err;
	err = sums_unknown(&sums, snap, &unknown);
	store_snap_end(snap);
	if (err != 0 || unknown < SETTLE_FROM)
		return err;
	for (unsigned level = 1; level <= COUNTS_LEVELS && err == 0; level++) {
		for (done = 0; !done && err == 0;) {
			if ((err = store_snap_begin(s->ix->store, &snap)) != 0)
				break;
			err = sums_settle(&sums, snap, s->batch, level, &done);
			store_snap_end(snap);
			if (err == 0)
				err = store_commit(s->batch);
			else
				store_batch_clear(s->batch);
		}
	}
	return err;
}

/* ---- A step ---- */

static int
step_begin(struct step *s, struct view_index *ix)
{
	static const struct principal server = {.server_admin = 1};
	struct jstr history;
	int err;

	*s = (struct step){.ix = ix, .seq = ix->head.seq, .purge_seq = ix->head.purge_seq};
	buf_init(&s->sortkey, BATCH_MEM);
	buf_init(&s->scratch, BATCH_MEM);
	buf_init(&s->order, BATCH_MEM);
	buf_init(&s->value, BATCH_MEM);
	if ((err = arena_new(BATCH_MEM, &s->a)) != 0 || (err = arena_new(BATCH_MEM, &s->doc_a)) != 0 ||
	    (err = store_batch_new(ix->store, &s->batch)) != 0 ||
	    (err = db_open(ix->views->config.dbs, ix->database, &server, &s->db)) != 0)
		return err;
	history = db_history(s->db);
	/* Another database of this name has other indexes. */
	return jstr_is(&history, ix->history) ? 0 : ERR_NO_DB;
}

static void
step_end(struct step *s)
{
	if (s->db != NULL)
		db_close(s->db);
	if (s->batch != NULL)
		store_batch_free(s->batch);
	buf_release(&s->sortkey);
	buf_release(&s->scratch);
	buf_release(&s->order);
	buf_release(&s->value);
	arena_free(s->a);
	arena_free(s->doc_a);
}

static int
step_run(struct step *s)
{
	struct view_index *ix = s->ix;
	struct script *sc = NULL;
	int err = gather(s);

	if (err != 0)
		return err;
	if (ix->ddoc.nmaps > 0)
		err = map_all(s, &sc);
	if (err == 0)
		err = write_rows(s);
	/* What is not settled, queries find out, and what fails for that is theirs to tell. */
	if (err == 0 && !s->more && settle(s, sc) == ERR_CORRUPT)
		err = ERR_CORRUPT;
	script_close(sc);
	return err;
}

/* ---- Who waits ---- */

static int
is_reached(const struct view_index *ix, const struct view_wait *w)
{
	return w->seq <= ix->head.seq && w->purge_seq <= ix->head.purge_seq;
}

static uint64_t
now_us(const struct view_index *ix)
{
	struct executor *ex = ix->views->config.ex;

	return ex->wall_us(ex);
}

/* take_waiting: Those whose wish is fulfilled, or with ${err} all of them. */
static struct view_wait *
take_waiting(struct view_index *ix, int err)
{
	struct view_wait *taken = NULL, **p = &ix->waiting;

	while (*p != NULL) {
		struct view_wait *w = *p;

		if (err == 0 && !is_reached(ix, w)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = taken;
		taken = w;
	}
	return taken;
}

static void
tell(struct view_wait *list, int err, const struct errtext *why, const char *error)
{
	for (struct view_wait *next; list != NULL; list = next) {
		next = list->next;
		list->err = err;
		if (err != 0) {
			list->why = *why;
			(void)snprintf(list->error, sizeof(list->error), "%s", error);
		}
		list->done(list);
	}
}

/* begin_some: Updates whose turn has come; under the lock of the views. */
static void
begin_some(struct views *v)
{
	unsigned max = v->config.max_updates > 0 ? v->config.max_updates : 1;

	while (v->queue != NULL && v->nupdates < max) {
		struct view_index *ix = v->queue;

		v->queue = ix->next_update;
		if (v->queue == NULL)
			v->queue_end = &v->queue;
		v->nupdates++;
		v->config.ex->submit(v->config.ex, &ix->job);
	}
}

/* line_up: Wait for a turn; under the lock of the views. */
static void
line_up(struct view_index *ix)
{
	struct views *v = ix->views;

	ix->next_update = NULL;
	*v->queue_end = ix;
	v->queue_end = &ix->next_update;
}

static void
enqueue(struct view_index *ix)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	ix->refs++;
	line_up(ix);
	begin_some(v);
	(void)pthread_mutex_unlock(&v->lock);
}

/* finish: The update ends, or goes on behind those that wait for a turn.  Who frees the views waits for the count of updates. */
static void
finish(struct view_index *ix, int again, int doom)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	ix->doomed |= doom;
	if (again)
		line_up(ix);
	else
		index_unref(ix);
	v->nupdates--;
	begin_some(v);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
}

void
update_step(void *arg)
{
	struct view_index *ix = arg;
	struct view_wait *told;
	struct step s;
	int again, err = step_begin(&s, ix);

	if (err == 0)
		err = ix->views->closing ? ERR_SHUTDOWN : step_run(&s);
	(void)pthread_mutex_lock(&ix->lock);
	if (err == 0) {
		ix->head.seq = s.seq;
		ix->head.purge_seq = s.purge_seq;
		ix->task.done += s.n;
		ix->task.updated_us = now_us(ix);
	}
	told = take_waiting(ix, err);
	again = err == 0 && (s.more || ix->waiting != NULL);
	ix->updating = again;
	(void)pthread_mutex_unlock(&ix->lock);
	step_end(&s);
	/* What a batch took goes back: malloc keeps it for this thread otherwise. */
	if (!again && s.bytes > TRIM_FROM)
		(void)malloc_trim(0);
	tell(told, err, &s.why, s.error);
	finish(ix, again, err == ERR_CORRUPT);
}

static void
want(struct view_index *ix, struct view_wait *w)
{
	int start;

	(void)pthread_mutex_lock(&ix->lock);
	if (w != NULL && is_reached(ix, w)) {
		(void)pthread_mutex_unlock(&ix->lock);
		w->err = 0;
		w->done(w);
		return;
	}
	if (w != NULL) {
		w->next = ix->waiting;
		ix->waiting = w;
	}
	start = !ix->updating;
	ix->updating = 1;
	if (start) {
		ix->task = (struct db_task){.type = "indexer", .database = ix->database, .phase = ix->design.s};
		ix->task.started_us = ix->task.updated_us = now_us(ix);
	}
	(void)pthread_mutex_unlock(&ix->lock);
	if (start)
		enqueue(ix);
}

void
views_want(struct view_index *ix, struct view_wait *w)
{
	want(ix, w);
}

void
views_update(struct view_index *ix)
{
	want(ix, NULL);
}

int
views_tasks(struct views *v, int (*fn)(const struct db_task *task, void *cookie), void *cookie)
{
	int rc = 0;

	(void)pthread_mutex_lock(&v->lock);
	for (struct view_index *ix = v->all; ix != NULL && rc == 0; ix = ix->next) {
		struct db_task task;
		int updating;

		(void)pthread_mutex_lock(&ix->lock);
		task = ix->task;
		updating = ix->updating;
		(void)pthread_mutex_unlock(&ix->lock);
		if (updating)
			rc = fn(&task, cookie);
	}
	(void)pthread_mutex_unlock(&v->lock);
	return rc;
}
