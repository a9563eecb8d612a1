/*
 * sums_forget.c: which reductions of ranges are not known any more: of each row that comes or goes, the ranges that hold it; where a range begins
 * or ends with it, those on both sides.  sums.c says what is kept.
 */
#include <string.h>

#include "store/counts.h"
#include "store/record.h"
#include "sums_impl.h"

#define LEVEL1_BITS 8u
#define LEVEL_BITS 4u

unsigned
sums_level(uint64_t salt, const void *key, size_t klen)
{
	uint64_t hash = counts_hash(salt, key, klen);
	unsigned level = 0;

	/* Each beginning of a level is one of those below. */
	while (level < SUMS_LEVELS && (hash & ((UINT64_C(1) << (LEVEL1_BITS + LEVEL_BITS * level)) - 1)) == 0)
		level++;
	return level;
}

static int
put_unknown(struct store_batch *batch, unsigned level, const void *key, size_t len)
{
	struct rows_key k;

	sums_record_key(&k, level, key, len);
	return record_put(batch, VIEW_SUMS, k.b, k.len, "", 0);
}

int
sums_create(const struct sums *s, struct store_batch *batch)
{
	struct rows_key k;
	int err = 0;

	for (size_t map = 0; map < s->ddoc->nmaps && err == 0; map++) {
		sums_key_of_map(&k, (unsigned)map);
		for (unsigned level = 1; level <= SUMS_LEVELS && err == 0 && s->ddoc->maps[map].nslots > 0; level++)
			err = put_unknown(batch, level, k.b, k.len);
	}
	return err;
}

/* ---- Forgetting ---- */

struct forget {
	const struct sums *s;
	struct store_batch *batch;
	struct store_cursor *cursor;
	struct arena *a;
	unsigned level;
	struct jstr *gone; /* beginnings that this batch removes, ascending */
	size_t ngone;
	struct rows_key last; /* the range that was forgotten last, and its end; len 0: none */
	struct rows_key end;
};

static int
is_gone(const struct forget *f, const void *key, size_t len)
{
	size_t lo = 0, hi = f->ngone;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = sums_key_cmp(f->gone[mid].s, f->gone[mid].len, key, len);

		if (c == 0)
			return 1;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

/* forget_range: The range at the cursor.  Where its beginning goes in this batch, what is before it was forgotten for that. */
static int
forget_range(struct forget *f, const struct store_val *record, const struct store_val *val)
{
	const unsigned char *key = (const unsigned char *)record->p + 1;

	if (val->len <= RECORD_SUM_LEN || is_gone(f, key, record->len - 1))
		return 0;
	return put_unknown(f->batch, f->level, key, record->len - 1);
}

/* forget_at: The range that holds ${key}; with ${before} the one that ends there. */
static int
forget_at(struct forget *f, struct jstr key, int before)
{
	struct store_val k, v;
	struct rows_key at;
	int err;

	if (!before && f->last.len > 0 && sums_key_cmp(key.s, key.len, f->last.b, f->last.len) >= 0 &&
	    sums_key_cmp(key.s, key.len, f->end.b, f->end.len) < 0)
		return 0;
	sums_record_key(&at, f->level, key.s, key.len);
	err = store_seek_le(f->cursor, at.b, at.len, &k, &v);
	if (err == 0 && before && k.len == at.len && memcmp(k.p, at.b, at.len) == 0)
		err = store_prev(f->cursor, &k, &v);
	if (err == 0 && !sums_is_of(&k, f->level, key.s))
		err = ERR_MISSING;
	if (err != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	if ((err = forget_range(f, &k, &v)) != 0 || before)
		return err;
	f->last.len = k.len - 1;
	memcpy(f->last.b, (const unsigned char *)k.p + 1, f->last.len);
	err = store_next(f->cursor, &k, &v);
	if (err == 0 && sums_is_of(&k, f->level, key.s)) {
		f->end.len = k.len - 1;
		memcpy(f->end.b, (const unsigned char *)k.p + 1, f->end.len);
	} else {
		sums_key_of_map(&f->end, sums_map_number(key.s) + 1);
	}
	return err == ERR_MISSING ? 0 : err;
}

static int
forget_one(struct forget *f, const struct rows_moved *m)
{
	int begins = sums_level(f->s->salt, m->key.s, m->key.len) >= f->level;
	struct rows_key at;
	int err;

	if (begins && m->existed && !m->exists) {
		if ((err = forget_at(f, m->key, 1)) != 0)
			return err;
		f->gone[f->ngone++] = m->key;
		f->last.len = 0;
		sums_record_key(&at, f->level, m->key.s, m->key.len);
		return store_del(f->batch, VIEW_SUMS, at.b, at.len);
	}
	if ((err = forget_at(f, m->key, 0)) != 0)
		return err;
	return begins && !m->existed ? put_unknown(f->batch, f->level, m->key.s, m->key.len) : 0;
}

int
sums_forget(const struct sums *s, struct store_snap *snap, struct store_batch *batch, struct arena *a,
    const struct rows_moved *moved, size_t n)
{
	unsigned nslots = 0;
	int err = 0;

	for (size_t map = 0; map < s->ddoc->nmaps; map++)
		nslots += s->ddoc->maps[map].nslots;
	for (unsigned level = 1; level <= SUMS_LEVELS && nslots > 0 && err == 0; level++) {
		struct forget f = {.s = s, .batch = batch, .a = a, .level = level};

		if ((f.gone = arena_calloc(a, n + 1, sizeof(*f.gone))) == NULL)
			return ERR_NOMEM;
		if ((err = store_cursor_open(snap, VIEW_SUMS, &f.cursor)) != 0)
			return err;
		for (size_t i = 0; i < n && err == 0; i++) {
			unsigned map = sums_map_number(moved[i].key.s);

			if ((moved[i].existed || moved[i].exists) && s->ddoc->maps[map].nslots > 0)
				err = forget_one(&f, &moved[i]);
		}
		store_cursor_close(f.cursor);
	}
	return err;
}

int
sums_unknown(const struct sums *s, struct store_snap *snap, uint64_t *np)
{
	struct store_cursor *c;
	struct store_val k, v;
	int err;

	(void)s;
	*np = 0;
	if ((err = store_cursor_open(snap, VIEW_SUMS, &c)) != 0)
		return err;
	for (err = store_seek(c, NULL, 0, &k, &v); err == 0; err = store_next(c, &k, &v))
		*np += v.len <= RECORD_SUM_LEN;
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}
