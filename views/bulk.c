/*
 * bulk.c: the first build.
 *
 * Rows in the order of documents are all over their tree: each batch of a build would write every page of what is there so far.  So the
 * first ones, up to BULK_BYTES, are sorted beside the index, and then appended to its trees, page by page, in one commit.
 *
 * 1. It takes what the database's changes up to one sequence have.  A document that changes meanwhile leaves them for a place behind that
 *    sequence, so none comes twice.  What is purged meanwhile goes later, as from any index.
 * 2. Until the commit the index is empty, and a kill begins it again: that is why there is a bound.
 * 3. Counts and unknown reductions come of the rows as they pass.
 */
#include "bulk.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "sorter.h"
#include "store/record.h"

#define BULK_BYTES ((size_t)128 << 20)
#define BULKS_MAX 4u /* at a time */
#define LABEL_STEP (UINT64_C(1) << 32)
#define FORGET_FROM ((size_t)4 << 20) /* bytes from which on the pages of a commit are given back */
#define KEPT_MAX ((size_t)1 << 30)

/* A level of counts; records: length of the key (4 bytes), of the value, key, value. */
struct level {
	struct jstr begin; /* the range's first key; none: the first range of all */
	uint64_t rows;     /* of the range so far */
	struct rows_key key;
	struct buf records;
};

enum phase { ROWS, COUNTS, SUMS = COUNTS + COUNTS_LEVELS, HEAD = SUMS + SUMS_LEVELS, END };

struct bulk {
	struct store_source source;
	struct view_index *ix;
	struct sorter *sorter;
	uint64_t seq, until, purge_seq;
	int changing;
	int ready;

	/* While it is written. */
	int phase;
	struct level levels[COUNTS_LEVELS];
	struct buf sums[SUMS_LEVELS]; /* records, too */
	size_t at;                    /* in the records of a level */
	struct rows_key key;          /* of a long row */
	uint64_t label;               /* that it has; 0: the last row was none */
	struct buf value;             /* of it */
	unsigned char head[INDEX_HEAD];
};

/* ---- Gathering ---- */

static int
is_empty(struct view_index *ix, int *yes)
{
	struct store_snap *snap;
	uint64_t rows, docs = 0;
	int err = store_snap_begin(ix->store, &snap);

	if (err != 0)
		return err;
	if ((err = store_count(snap, VIEW_ROWS, &rows)) == 0)
		err = store_count(snap, VIEW_DOCS, &docs);
	store_snap_end(snap);
	*yes = err == 0 && rows + docs == 0;
	return err;
}

int
bulk_begin(struct view_index *ix, uint64_t until, uint64_t purge_seq)
{
	struct views *v = ix->views;
	struct bulk *b;
	int empty, err = is_empty(ix, &empty);

	if (err != 0 || !empty)
		return err;
	if (atomic_fetch_add(&v->nbulks, 1) >= BULKS_MAX || (b = calloc(1, sizeof(*b))) == NULL) {
		atomic_fetch_sub(&v->nbulks, 1);
		return 0;
	}
	b->ix = ix;
	b->until = until;
	b->purge_seq = purge_seq;
	buf_init(&b->value, KEPT_MAX);
	for (unsigned l = 0; l < COUNTS_LEVELS; l++)
		buf_init(&b->levels[l].records, KEPT_MAX);
	for (unsigned l = 0; l < SUMS_LEVELS; l++)
		buf_init(&b->sums[l], KEPT_MAX);
	ix->bulk = b;
	return sorter_new(v->config.folder, &b->sorter);
}

void
bulk_free(struct view_index *ix)
{
	struct bulk *b = ix->bulk;

	if (b == NULL)
		return;
	sorter_free(b->sorter);
	buf_release(&b->value);
	for (unsigned l = 0; l < COUNTS_LEVELS; l++)
		buf_release(&b->levels[l].records);
	for (unsigned l = 0; l < SUMS_LEVELS; l++)
		buf_release(&b->sums[l]);
	free(b);
	ix->bulk = NULL;
	atomic_fetch_sub(&ix->views->nbulks, 1);
}

int
bulk_row(struct bulk *b, struct jstr order, struct buf *value)
{
	int err = 0;

	/* The key in the tree of a longer one is not known yet, so its record is not sealed. */
	if (order.len <= ROWS_PLAIN)
		err = record_seal(VIEW_ROWS, order.s, order.len, value, 0);
	return err != 0 ? err : sorter_add(b->sorter, VIEW_ROWS, order, (struct jstr){value->data, value->len});
}

int
bulk_list(struct bulk *b, struct jstr key, struct buf *list)
{
	int err = record_seal(VIEW_DOCS, key.s, key.len, list, 0);

	return err != 0 ? err : sorter_add(b->sorter, VIEW_DOCS, key, (struct jstr){list->data, list->len});
}

void
bulk_changes(struct bulk *b)
{
	b->changing = 1;
}

void
bulk_reached(struct bulk *b, uint64_t seq)
{
	b->changing = 0;
	b->seq = seq;
}

uint64_t
bulk_seq(const struct bulk *b)
{
	return b->seq;
}

uint64_t
bulk_until(const struct bulk *b)
{
	return b->until;
}

uint64_t
bulk_purge_seq(const struct bulk *b)
{
	return b->purge_seq;
}

int
bulk_is_whole(const struct bulk *b)
{
	return b->seq > 0 && !b->changing;
}

int
bulk_is_full(const struct bulk *b)
{
	return sorter_bytes(b->sorter) > BULK_BYTES;
}

/* ---- Writing ---- */

/* put_kept: A record of a level, for later. */
static int
put_kept(struct buf *b, unsigned tree, const void *head, size_t headlen, struct jstr key, const void *val, size_t vlen)
{
	size_t from, klen = headlen + key.len;

	buf_put_u32be(b, (uint32_t)klen);
	buf_put_u32be(b, (uint32_t)(vlen + RECORD_SUM_LEN));
	buf_put(b, head, headlen);
	buf_put(b, key.s, key.len);
	from = b->len;
	buf_put(b, val, vlen);
	return buf_failed(b) != 0 ? buf_failed(b) : record_seal(tree, b->data + from - klen, klen, b, from);
}

static void
take_kept(const struct buf *b, size_t *at, struct store_val *key, struct store_val *val)
{
	struct bytes r;

	bytes_init(&r, b->data + *at, b->len - *at);
	key->len = bytes_u32be(&r);
	val->len = bytes_u32be(&r);
	key->p = bytes_take(&r, key->len);
	val->p = bytes_take(&r, val->len);
	*at = b->len - bytes_left(&r);
}

/* end_range: Of the counts; without rows there is none before the first beginning. */
static int
end_range(struct bulk *b, unsigned level)
{
	struct level *l = &b->levels[level - 1];
	const unsigned char head[2] = {'r', (unsigned char)level};
	unsigned char varint[10];
	size_t n = 0;
	uint64_t rows = l->rows;

	if (rows == 0 && l->begin.len == 0)
		return 0;
	for (; rows > 0x7f; rows >>= 7)
		varint[n++] = (unsigned char)(rows | 0x80);
	varint[n++] = (unsigned char)rows;
	l->rows = 0;
	return put_kept(&l->records, VIEW_COUNTS, head, sizeof(head), l->begin, varint, n);
}

/* pass: A row of this key in the tree goes by. */
static int
pass(struct bulk *b, const struct store_val *key)
{
	const unsigned char *k = key->p;
	unsigned map = (unsigned)k[0] << 8 | k[1], top = counts_level(b->ix->head.salt, key->p, key->len);
	int err = 0;

	for (unsigned level = 1; level <= top && err == 0; level++) {
		struct level *l = &b->levels[level - 1];

		if ((err = end_range(b, level)) != 0)
			break;
		memcpy(l->key.b, key->p, key->len);
		l->begin = (struct jstr){(const char *)l->key.b, key->len};
	}
	top = b->ix->ddoc.maps[map].nslots > 0 ? sums_level(b->ix->head.salt, key->p, key->len) : 0;
	for (unsigned level = 1; level <= top && err == 0; level++) {
		const unsigned char head = (unsigned char)level;

		err = put_kept(&b->sums[level - 1], VIEW_SUMS, &head, 1, (struct jstr){key->p, key->len}, "", 0);
	}
	for (unsigned level = 0; level < COUNTS_LEVELS; level++)
		b->levels[level].rows++;
	return err;
}

/* label: The next of its rows whose keys are too long gets room on both sides. */
static int
label(struct bulk *b, struct jstr order, struct jstr record, struct store_val *key, struct store_val *val)
{
	int err;

	if (b->label == 0 || memcmp(b->key.b, order.s, ROWS_STEM) != 0)
		b->label = 0;
	b->label += LABEL_STEP;
	memcpy(b->key.b, order.s, ROWS_STEM);
	bytes_store_u64be(b->key.b + ROWS_STEM, b->label);
	*key = (struct store_val){b->key.b, ROWS_STEM + ROWS_LABEL};
	buf_clear(&b->value);
	buf_put(&b->value, record.s, record.len);
	if ((err = buf_failed(&b->value)) == 0)
		err = record_seal(VIEW_ROWS, key->p, key->len, &b->value, 0);
	*val = (struct store_val){b->value.data, b->value.len};
	return err;
}

static int
next_sorted(struct bulk *b, unsigned *treep, struct store_val *key, struct store_val *val)
{
	struct jstr k, v;
	unsigned char tag;
	int err = sorter_next(b->sorter, &tag, &k, &v);

	if (err != 0)
		return err;
	*treep = tag;
	*key = (struct store_val){k.s, k.len};
	*val = (struct store_val){v.s, v.len};
	if (tag != VIEW_ROWS)
		return 0;
	if (k.len > ROWS_PLAIN)
		err = label(b, k, v, key, val);
	else
		b->label = 0;
	return err != 0 ? err : pass(b, key);
}

/* next_kept: The next record of the levels; ERR_END: there is none in this phase. */
static int
next_kept(struct bulk *b, unsigned *treep, struct store_val *key, struct store_val *val)
{
	int counts = b->phase < SUMS;
	const struct buf *from = counts ? &b->levels[b->phase - COUNTS].records : &b->sums[b->phase - SUMS];

	*treep = counts ? VIEW_COUNTS : VIEW_SUMS;
	if (b->at == from->len)
		return ERR_END;
	take_kept(from, &b->at, key, val);
	return 0;
}

static int
next(struct store_source *s, unsigned *treep, struct store_val *key, struct store_val *val)
{
	struct bulk *b = (struct bulk *)s;
	int err;

	while (b->phase < HEAD) {
		err = b->phase == ROWS ? next_sorted(b, treep, key, val) : next_kept(b, treep, key, val);
		if (err != ERR_END)
			return err;
		for (unsigned level = 1; b->phase == ROWS && level <= COUNTS_LEVELS; level++)
			if ((err = end_range(b, level)) != ERR_END && err != 0)
				return err;
		b->phase++;
		b->at = 0;
	}
	if (b->phase++ > HEAD)
		return ERR_END;
	*treep = VIEW_META;
	*key = (struct store_val){INDEX_HEAD_KEY, sizeof(INDEX_HEAD_KEY) - 1};
	*val = (struct store_val){b->head, sizeof(b->head)};
	return 0;
}

static int
again(struct store_source *s)
{
	struct bulk *b = (struct bulk *)s;

	b->phase = ROWS;
	b->at = 0;
	b->label = 0;
	for (unsigned l = 0; l < COUNTS_LEVELS; l++) {
		b->levels[l].begin.len = 0;
		b->levels[l].rows = 0;
		buf_clear(&b->levels[l].records);
	}
	for (unsigned l = 0; l < SUMS_LEVELS; l++)
		buf_clear(&b->sums[l]);
	return sorter_sort(b->sorter);
}

int
bulk_write(struct view_index *ix, int ready)
{
	struct bulk *b = ix->bulk;
	struct index_head head = ix->head;
	size_t bytes = sorter_bytes(b->sorter);
	int err;

	head.seq = b->seq;
	head.purge_seq = b->purge_seq;
	head.ready |= ready;
	index_head_record(&head, b->head);
	b->source = (struct store_source){next, again, bytes};
	err = store_fill(ix->store, &b->source);
	bulk_free(ix);
	/* Else the store would keep the memory of as many pages as long as the file is open. */
	if (err == 0 && bytes > FORGET_FROM && (err = index_reopen(ix)) == ERR_BUSY)
		err = 0;
	return err;
}
