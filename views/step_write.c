/*
 * step_write.c: what functions emitted becomes rows: per document, what is there already is not touched, what is there no more
 * goes.
 */
#include <stdlib.h>
#include <string.h>

#include "bulk.h"
#include "step.h"
#include "store/record.h"

/* Of rows and their lists, behind which the batch ends: until it is committed they take as much again twice, in the batch and in LMDB's pages. */
#define BATCH_HELD ((size_t)32 << 20)
#define SETTLE_FROM 16u /* ranges whose reductions are not known, from which on they are found out */
#define SETTLE_FAILS 2u /* times that a child may have failed by accident, */
#define SETTLE_TWICE 8u /* and times that the while until the next try is doubled */

/* change: A row comes, or goes (${key} NULL); ${fresh}: the document's list has none at its place. */
static int
change(struct step *s, unsigned map, struct jstr sortkey, struct jstr id, uint32_t n, const struct jstr *key,
    const struct jstr *value, int fresh)
{
	struct rows_change *ch;
	int err;

	if (s->ix->bulk != NULL) {
		buf_clear(&s->order);
		buf_clear(&s->value);
		if ((err = rows_order(&s->order, map, sortkey, id, n)) != 0 ||
		    (err = rows_put(
			 &s->value, (struct jstr){s->order.data, s->order.len}, sortkey.len, *key, *value)) != 0)
			return err;
		return bulk_row(s->ix->bulk, (struct jstr){s->order.data, s->order.len}, &s->value);
	}
	if (s->nchanges == s->cap_changes &&
	    (s->changes = step_grow(s, s->changes, s->nchanges, &s->cap_changes, sizeof(*s->changes))) == NULL)
		return ERR_NOMEM;
	ch = &s->changes[s->nchanges++];
	buf_clear(&s->order);
	if ((err = rows_order(&s->order, map, sortkey, id, n)) != 0)
		return err;
	ch->order = (struct jstr){arena_dup(s->a, s->order.data, s->order.len), s->order.len};
	ch->value = (struct jstr){NULL, 0};
	ch->fresh = fresh;
	if (ch->order.s == NULL)
		return ERR_NOMEM;
	s->held_bytes += s->order.len + sizeof(*ch);
	if (key == NULL)
		return 0;
	buf_clear(&s->value);
	if ((err = rows_put(&s->value, ch->order, sortkey.len, *key, *value)) != 0)
		return err;
	ch->value = (struct jstr){arena_dup(s->a, s->value.data, s->value.len), s->value.len};
	s->held_bytes += s->value.len;
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

/* emit: One row, whose sort key is s->sortkey; it is put unless the old list has it. */
static int
emit(struct step *s, const struct changed *c, unsigned map, uint32_t n, struct jstr key, struct jstr value,
    struct bytes *old, struct buf *list)
{
	struct listed l = {.map = map, .n = n}, was = {0};
	struct bytes look = *old;
	int fresh = 1, err;

	if ((err = buf_failed(&s->sortkey)) != 0)
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
			fresh = 0;
			break;
		}
		if ((err = change(s, (unsigned)was.map, was.sortkey, c->id, (uint32_t)was.n, NULL, NULL, 0)) != 0)
			return err;
	}
	return change(s, map, l.sortkey, c->id, n, &key, &value, fresh);
}

/* begin_sortkey: What stands before that of the emitted key. */
static void
begin_sortkey(struct step *s, const struct changed *c)
{
	buf_clear(&s->sortkey);
	if (s->ix->partitioned)
		rows_text(&s->sortkey, partition_of(c->id));
}

static int
emit_native(struct step *s, const struct changed *c, struct bytes *old, struct buf *list)
{
	struct jstr left = c->rows, key, sortkey, null = {"null", 4};
	unsigned map;
	int err = 0;

	while (err == 0 && step_native_next(&left, &map, &key, &sortkey)) {
		begin_sortkey(s, c);
		buf_put(&s->sortkey, sortkey.s, sortkey.len);
		err = emit(s, c, map, 0, key, null, old, list);
	}
	return err;
}

/* emit_all: [[[KEY,VALUE],...] of map 0, ...] */
static int
emit_all(struct step *s, const struct changed *c, struct bytes *old, struct buf *list)
{
	struct jread j;
	struct jstr key, value;
	unsigned map = 0;
	int err;

	if (s->ix->ddoc.is_query)
		return emit_native(s, c, old, list);
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
			begin_sortkey(s, c);
			err = ddoc_sortkey(s->ix->ddoc.maps[map].raw, key, &s->scratch, &s->sortkey);
			if (err == 0)
				err = emit(s, c, map, n++, key, value, old, list);
		}
		err = err == ERR_END ? 0 : err;
		map++;
	}
	return err == ERR_END ? 0 : err;
}

/* begin_list: Its length so far. */
static size_t
begin_list(struct step *s, const struct changed *c)
{
	buf_clear(&s->list);
	buf_put_varint(&s->list, c->id.len);
	buf_put(&s->list, c->id.s, c->id.len);
	return s->list.len;
}

/* rows_of: What becomes of one document's rows, and of its list. */
static int
rows_of(struct step *s, struct store_snap *snap, const struct changed *c)
{
	struct store_batch *batch = s->batch;
	struct bytes old = {NULL, NULL, 0};
	struct store_val val;
	struct listed was;
	struct buf *list = &s->list;
	size_t head;
	int err = store_get(snap, VIEW_DOCS, c->key, STEP_KEY, &val), had = err == 0;

	if (had && (err = record_open(VIEW_DOCS, c->key, STEP_KEY, &val, &old)) == 0) {
		uint64_t len = bytes_varint(&old);

		(void)bytes_take(&old, len);
		err = old.bad ? ERR_CORRUPT : 0;
	}
	if (err != 0 && err != ERR_MISSING)
		return err;
	head = begin_list(s, c);
	err = c->rows.len > 0 ? emit_all(s, c, &old, list) : 0;
	while (err == 0 && take_listed(&old, &was))
		err = change(s, (unsigned)was.map, was.sortkey, c->id, (uint32_t)was.n, NULL, NULL, 0);
	if (err == 0)
		err = buf_failed(list);
	s->held_bytes += list->len;
	if (err == 0 && list->len > head)
		err = record_put(batch, VIEW_DOCS, c->key, STEP_KEY, list->data, list->len);
	else if (err == 0 && had)
		err = store_del(batch, VIEW_DOCS, c->key, STEP_KEY);
	return err;
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

/* plan_batches: What the next batches may be, as this one's first ${n} documents tell: what is gathered and not written is work done twice. */
static void
plan_batches(struct step *s, size_t n)
{
	size_t *docs = &s->ix->batch_docs;

	if (n < s->n)
		*docs = n - s->npurged;
	else if (s->held_bytes < BATCH_HELD / 2)
		*docs = *docs < STEP_DOCS / 2 ? 2 * *docs : 0;
}

static int
doc_cmp(const void *a, const void *b)
{
	const struct changed *x = a, *y = b;

	return memcmp(x->key, y->key, STEP_KEY);
}

/* is_repeated: Was purged twice, or has changed, too: a function may emit other rows the second time.  Those that were purged are in the order of their keys. */
static int
is_repeated(const struct step *s, size_t i)
{
	const struct changed *c = &s->docs[i];

	if (i < s->npurged)
		return i > 0 && doc_cmp(c - 1, c) == 0;
	return s->npurged > 0 && bsearch(c, s->docs, s->npurged, sizeof(*c), doc_cmp) != NULL;
}

/* changes_of: What becomes of the rows of all documents, or of the first ones, if that is much. */
static int
changes_of(struct step *s, struct store_snap *snap)
{
	size_t i;
	int err = 0;

	if (s->npurged > 1)
		qsort(s->docs, s->npurged, sizeof(*s->docs), doc_cmp);
	for (i = 0; i < s->n && err == 0 && (i <= s->npurged || s->held_bytes <= BATCH_HELD); i++)
		if (!is_repeated(s, i))
			err = rows_of(s, snap, &s->docs[i]);
	if (err != 0)
		return err;
	plan_batches(s, i);
	if (i < s->n)
		step_cut(s, i);
	return 0;
}

int
step_write(struct step *s)
{
	struct index_head head = s->ix->head;
	const struct sums sums = {.ddoc = &s->ix->ddoc, .salt = head.salt};
	struct store_snap *snap;
	struct rows_moved *moved;
	size_t n;
	int err;

	if (s->n == 0 && s->seq == head.seq && s->purge_seq == head.purge_seq && head.ready)
		return 0;
	if ((err = store_snap_begin(s->ix->store, &snap)) != 0)
		return err;
	if ((err = changes_of(s, snap)) == 0)
		err = rows_sort(s->a, &s->changes, &s->nchanges);
	if (err == 0)
		err = rows_apply(snap, s->batch, s->a, s->changes, s->nchanges, &moved, &n);
	if (err == 0)
		err = count(s, snap, moved, n);
	if (err == 0)
		err = sums_forget(&sums, snap, s->batch, s->a, moved, n);
	store_snap_end(snap);
	head.seq = s->seq;
	head.purge_seq = s->purge_seq;
	head.ready |= !s->more;
	if (err == 0)
		err = index_head_put(s->batch, &head);
	if (err == 0)
		err = store_commit(s->batch);
	else
		store_batch_clear(s->batch);
	return err;
}

/* hold: One document's rows, and their list. */
static int
hold(struct step *s, const struct changed *c)
{
	struct bytes old = {NULL, NULL, 0};
	size_t head = begin_list(s, c);
	int err;

	if (c->rows.len == 0)
		return 0;
	if ((err = emit_all(s, c, &old, &s->list)) != 0 || (err = buf_failed(&s->list)) != 0 || s->list.len == head)
		return err;
	return bulk_list(s->ix->bulk, (struct jstr){(const char *)c->key, STEP_KEY}, &s->list);
}

int
step_hold(struct step *s)
{
	struct bulk *b = s->ix->bulk;
	int err = 0;

	bulk_changes(b);
	for (size_t i = 0; i < s->n && err == 0; i++) {
		err = hold(s, &s->docs[i]);
		if (i + 1 < s->n && bulk_is_full(b))
			step_cut(s, i + 1);
	}
	if (err != 0)
		return err;
	bulk_reached(b, s->seq);
	s->held = s->more && !s->bulk_ends && !bulk_is_full(b);
	return s->held ? 0 : bulk_write(s->ix, !s->more);
}

/* ---- Reductions ---- */

struct child {
	struct step *s;
	struct script **scp;
};

static int
another_child(struct sums *sums)
{
	struct child *c = sums->cookie;
	const struct view_index *ix = c->s->ix;
	int err;

	script_close(*c->scp);
	*c->scp = NULL;
	err = script_open(ix->views->config.scripts, ix->database, ix->program, c->scp, &c->s->why);
	sums->script = *c->scp;
	return err;
}

static int
count_unknown(struct step *s, const struct sums *sums, uint64_t *np)
{
	struct store_snap *snap;
	int err = store_snap_begin(s->ix->store, &snap);

	if (err != 0)
		return err;
	err = sums_unknown(sums, snap, np);
	store_snap_end(snap);
	return err;
}

static int
settle_some(struct step *s, struct sums *sums, unsigned level, int *donep)
{
	struct store_snap *snap;
	int err = store_snap_begin(s->ix->store, &snap);

	if (err != 0)
		return err;
	err = sums_settle(sums, snap, s->batch, level, donep);
	store_snap_end(snap);
	if (err == 0)
		return store_commit(s->batch);
	store_batch_clear(s->batch);
	return err;
}

static int
settle(struct step *s, struct sums *sums)
{
	uint64_t began = step_now(s);
	int done, err = 0;

	for (unsigned level = 1; level <= SUMS_LEVELS && err == 0; level++) {
		for (done = 0; !done && err == 0;) {
			if ((err = settle_some(s, sums, level, &done)) != 0)
				break;
			s->unsettled = step_now(s) - began > STEP_MS && !(done && level == SUMS_LEVELS);
			if (s->unsettled)
				return 0;
		}
	}
	return err;
}

/* settle_later: A child failed; see struct index_settling. */
static void
settle_later(struct step *s)
{
	struct index_settling *t = &s->ix->settling;
	unsigned twice = t->failed < SETTLE_TWICE ? t->failed : SETTLE_TWICE;

	t->until_ms = step_now(s) + ((uint64_t)INDEX_FAILED_MS << twice);
	t->bad.for_good = ++t->failed > SETTLE_FAILS;
}

int
step_settle(struct step *s, struct script **scp)
{
	struct index_settling *t = &s->ix->settling;
	struct child child = {s, scp};
	struct sums sums = {.ddoc = &s->ix->ddoc,
	    .salt = s->ix->head.salt,
	    .reduce_limit = views_get_reduce_limit(s->ix->views),
	    .script = *scp,
	    .prepare = another_child,
	    .cookie = &child,
	    .bad = &t->bad,
	    .why = &s->why};
	size_t nbad;
	uint64_t unknown;
	int err;

	if (step_now(s) >= t->until_ms)
		t->bad.n = 0;
	else if (!t->bad.for_good)
		return 0;
	if ((err = count_unknown(s, &sums, &unknown)) != 0 || unknown < SETTLE_FROM)
		return err;
	nbad = t->bad.n;
	s->unsettled = 0;
	err = settle(s, &sums);
	if (t->bad.n > nbad)
		settle_later(s);
	else if (err == 0 && !s->unsettled && t->bad.n == 0)
		*t = (struct index_settling){0};
	return err;
}
