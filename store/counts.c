/*
 * Order statistics over a key-value tree that knows only seek, next and put.
 *
 * The idea: keys whose hash has 8 (14) low zero bits begin a range of level 1 (2).
 * A sum is kept per range.  A rank is then the sums of level 2 before the range that
 * holds the key, the sums of level 1 within it, and at last a scan of about 128 entries.
 *
 * Invariants, of every committed state (counts_check() recounts them):
 * 1. A level has a record for each boundary key that is in the tree and for no other
 *    key, even where the range weighs 0; the first range's record may be absent if it weighs 0.
 * 2. A record's sum is the weight of the entries from its boundary to the next.
 * 3. A boundary of level 2 is one of level 1, so that ranges nest.
 *
 * A batch is applied in one pass per level over its changes in key order, reading the
 * old state only.  One range is current: what it holds in the new state is its first key
 * and its sum, of what part of the old state it has taken in is known by `hi`, the old
 * boundary at which the cursor stands.
 *
 *        key >= hi            write the range, enter the old range that holds the key
 *        boundary added       take the old sum from the key to hi out of it, write it;
 *                             the range that begins at the key is current with that sum
 *        boundary removed     delete its record; the range that ends there takes its sum in
 *        any                  add the difference of weights
 *
 * Keys that leave no room for the prefix within STORE_KEY_MAX are never boundaries.
 */
#include "store/counts.h"

#include <assert.h>
#include <string.h>

#include "store/record.h"

#define LEVELS COUNTS_LEVELS
#define HEAD 2u /* which, level */
#define LEVEL1_MASK UINT64_C(0xff)
#define LEVEL2_MASK UINT64_C(0x3fff)
#define VARINT_MAX 10u

/* A key of the tree `counts`. */
struct range_key {
	size_t len; /* with the head */
	unsigned char b[STORE_KEY_MAX];
};

/* The pass over the changes at one level. */
struct pass {
	const struct counts_of *c;
	struct store_snap *snap;
	struct store_batch *batch;
	unsigned level;
	struct store_cursor *sums;    /* of the level; stands at hi, if there is one */
	struct store_cursor *below;   /* of level 1, for level 2; opened at need */
	struct store_cursor *entries; /* of the counted tree; opened at need */
	int entered;                  /* a range is current */
	int dirty;                    /* it must be written */
	uint64_t sum;                 /* its weight */
	struct range_key lo;          /* its first key in the new state */
	int has_hi;                   /* else it goes on to the end */
	struct range_key hi;          /* the next old boundary */
	struct store_val hi_val;      /* its value, where the cursor stands */
};

/* The state of SipHash, by value so that it stays in registers. */
struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t
rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static inline struct sip
sip_round(struct sip s)
{
	s.a += s.b;
	s.b = rotl(s.b, 13) ^ s.a;
	s.a = rotl(s.a, 32);
	s.c += s.d;
	s.d = rotl(s.d, 16) ^ s.c;
	s.a += s.d;
	s.d = rotl(s.d, 21) ^ s.a;
	s.c += s.b;
	s.b = rotl(s.b, 17) ^ s.c;
	s.c = rotl(s.c, 32);
	return s;
}

static inline struct sip
sip_word(struct sip s, uint64_t m)
{
	s.d ^= m;
	s = sip_round(s);
	s.a ^= m;
	return s;
}

static inline uint64_t
load_le64(const unsigned char *p)
{
	return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
	       (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* SipHash-1-3: whoever chooses ids must not be able to choose their hashes. */
uint64_t
counts_hash(uint64_t salt, const void *key, size_t klen)
{
	const unsigned char *p = key;
	uint64_t k1 = salt ^ UINT64_C(0x9e3779b97f4a7c15);
	struct sip s = {
	    salt ^ UINT64_C(0x736f6d6570736575),
	    k1 ^ UINT64_C(0x646f72616e646f6d),
	    salt ^ UINT64_C(0x6c7967656e657261),
	    k1 ^ UINT64_C(0x7465646279746573),
	};
	uint64_t last = (uint64_t)klen << 56;
	size_t left = klen;

	for (; left >= 8; left -= 8, p += 8)
		s = sip_word(s, load_le64(p));
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)p[i] << (8 * i);
	s = sip_word(s, last);
	s.c ^= 0xff;
	s = sip_round(sip_round(sip_round(s)));
	return s.a ^ s.b ^ s.c ^ s.d;
}

unsigned
counts_level(uint64_t salt, const void *key, size_t klen)
{
	uint64_t h;

	if (klen > STORE_KEY_MAX - HEAD)
		return 0;
	h = counts_hash(salt, key, klen);
	if (h & LEVEL1_MASK)
		return 0;
	return h & LEVEL2_MASK ? 1 : 2;
}

static int
key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
	int d = memcmp(a, b, alen < blen ? alen : blen);

	if (d)
		return d;
	return alen < blen ? -1 : alen > blen;
}

/*
 * A key that is too long for a boundary is cut: no boundary lies between the cut key and the whole one but
 * such as would be equal.
 */
static void
range_key_set(struct range_key *r, const struct counts_of *c, unsigned level, const void *key, size_t klen)
{
	size_t n = klen < STORE_KEY_MAX - HEAD ? klen : STORE_KEY_MAX - HEAD;

	r->b[0] = c->which;
	r->b[1] = (unsigned char)level;
	if (n > 0)
		memcpy(r->b + HEAD, key, n);
	r->len = HEAD + n;
}

static void
range_key_copy(struct range_key *r, const struct store_val *key)
{
	assert(key->len <= sizeof(r->b));
	memcpy(r->b, key->p, key->len);
	r->len = key->len;
}

static int
is_level(const struct counts_of *c, unsigned level, const struct store_val *key)
{
	const unsigned char *p = key->p;

	return key->len >= HEAD && p[0] == c->which && p[1] == level;
}

/* Whether the boundary of the record at ${rec} is at most ${key}. */
static int
begins_by(const struct store_val *rec, const void *key, size_t klen)
{
	return key_cmp((const unsigned char *)rec->p + HEAD, rec->len - HEAD, key, klen) <= 0;
}

static int
sum_of(const struct counts_of *c, const struct store_val *key, const struct store_val *val, uint64_t *sump)
{
	struct bytes r;
	int err = record_open(c->counts_tree, key->p, key->len, val, &r);

	if (err)
		return err;
	*sump = bytes_varint(&r);
	return r.bad || bytes_left(&r) > 0 ? ERR_CORRUPT : 0;
}

static int
sum_put(const struct counts_of *c, struct store_batch *batch, const struct range_key *key, uint64_t sum)
{
	unsigned char v[VARINT_MAX];
	size_t n = 0;

	for (; sum > 0x7f; sum >>= 7)
		v[n++] = (unsigned char)(sum | 0x80);
	v[n++] = (unsigned char)sum;
	return record_put(batch, c->counts_tree, key->b, key->len, v, n);
}

/* Keep where the cursor of the sums came to stand as the end of the current range. */
static int
end_at(struct pass *p, int err, const struct store_val *key, const struct store_val *val)
{
	if (err && err != ERR_MISSING)
		return err;
	p->has_hi = !err && is_level(p->c, p->level, key);
	if (p->has_hi) {
		range_key_copy(&p->hi, key);
		p->hi_val = *val;
	}
	return 0;
}

static int
hi_sum(const struct pass *p, uint64_t *sump)
{
	struct store_val key = {p->hi.b, p->hi.len};

	return sum_of(p->c, &key, &p->hi_val, sump);
}

static int
hi_step(struct pass *p)
{
	struct store_val key = {NULL, 0}, val = {NULL, 0};
	int err = store_next(p->sums, &key, &val);

	return end_at(p, err, &key, &val);
}

static int
before_hi(const struct pass *p, const void *key, size_t klen)
{
	return !p->has_hi || key_cmp(key, klen, p->hi.b + HEAD, p->hi.len - HEAD) < 0;
}

static int
write_range(struct pass *p)
{
	if (!p->entered || !p->dirty)
		return 0;
	p->dirty = 0;
	return sum_put(p->c, p->batch, &p->lo, p->sum);
}

/* Make the old range at ${key} current, or the first range, where the level has no record by that place. */
static int
enter_at(struct pass *p, int err, const struct store_val *key, const struct store_val *val)
{
	if (err && err != ERR_MISSING)
		return err;
	p->entered = 1;
	if (!err && is_level(p->c, p->level, key)) {
		range_key_copy(&p->lo, key);
		return sum_of(p->c, key, val, &p->sum);
	}
	range_key_set(&p->lo, p->c, p->level, NULL, 0);
	p->sum = 0;
	return 0;
}

/* Enter the old range that holds ${key}. */
static int
enter(struct pass *p, const void *key, size_t klen)
{
	struct store_val k = {NULL, 0}, v = {NULL, 0};
	struct range_key target;
	int err;

	/* The neighbour is worth a look before a descent through the tree. */
	if (p->entered && p->has_hi) {
		memcpy(p->lo.b, p->hi.b, p->hi.len);
		p->lo.len = p->hi.len;
		err = hi_sum(p, &p->sum);
		if (err)
			return err;
		err = hi_step(p);
		if (err || before_hi(p, key, klen))
			return err;
	}
	range_key_set(&target, p->c, p->level, key, klen);
	err = store_seek_le(p->sums, target.b, target.len, &k, &v);
	err = enter_at(p, err, &k, &v);
	if (err)
		return err;
	if (p->lo.len > HEAD)
		return hi_step(p);
	/* The first range's record may be absent, then the cursor stands elsewhere. */
	err = store_seek(p->sums, p->lo.b, p->lo.len, &k, &v);
	if (!err && k.len == HEAD && is_level(p->c, p->level, &k))
		return hi_step(p);
	return end_at(p, err, &k, &v);
}

/* Enter the old range that ends at the boundary ${key}. */
static int
enter_before(struct pass *p, const void *key, size_t klen)
{
	struct store_val k = {NULL, 0}, v = {NULL, 0};
	struct range_key target;
	int err;

	range_key_set(&target, p->c, p->level, key, klen);
	err = store_seek(p->sums, target.b, target.len, NULL, NULL);
	if (err)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	err = store_prev(p->sums, &k, &v);
	err = enter_at(p, err, &k, &v);
	if (err)
		return err;
	err = store_seek(p->sums, target.b, target.len, &k, &v);
	return end_at(p, err, &k, &v);
}

/* Add the weight of the entries from ${key} (klen 0: the first) to ${hi}; NULL: to the end. */
static int
scan_entries(const struct counts_of *c, struct store_cursor *entries, const void *key, size_t klen, const void *hi,
    size_t hilen, uint64_t *sump)
{
	struct store_val k, v;
	int err = store_seek(entries, key, klen, &k, &v);

	while (!err && (hi == NULL || key_cmp(k.p, k.len, hi, hilen) < 0)) {
		*sump += c->weigh(&k, &v);
		err = store_next(entries, &k, &v);
	}
	return err == ERR_MISSING ? 0 : err;
}

static int
open_at_need(struct pass *p, unsigned tree, struct store_cursor **cp)
{
	return *cp != NULL ? 0 : store_cursor_open(p->snap, tree, cp);
}

/* The same as old_from() for level 2: the rest of a range of level 1, and the ranges behind it. */
static int
old_from_below(struct pass *p, const void *key, size_t klen, uint64_t *sump)
{
	struct store_val k = {NULL, 0}, v = {NULL, 0};
	struct range_key from;
	uint64_t sum;
	int more, err;

	err = open_at_need(p, p->c->counts_tree, &p->below);
	if (err)
		return err;
	range_key_set(&from, p->c, 1, key, klen);
	err = store_seek(p->below, from.b, from.len, &k, &v);
	more = !err && is_level(p->c, 1, &k);
	if (err && err != ERR_MISSING)
		return err;
	err = more ? scan_entries(p->c, p->entries, key, klen, (const unsigned char *)k.p + HEAD, k.len - HEAD, sump)
		   : scan_entries(p->c, p->entries, key, klen, NULL, 0, sump);
	while (!err && more && before_hi(p, (const unsigned char *)k.p + HEAD, k.len - HEAD)) {
		err = sum_of(p->c, &k, &v, &sum);
		if (err)
			return err;
		*sump += sum;
		err = store_next(p->below, &k, &v);
		more = !err && is_level(p->c, 1, &k);
	}
	return err == ERR_MISSING ? 0 : err;
}

/* What the old state weighs from ${key} to the end of the old range that holds it. */
static int
old_from(struct pass *p, const void *key, size_t klen, uint64_t *sump)
{
	int err = open_at_need(p, p->c->tree, &p->entries);

	*sump = 0;
	if (err)
		return err;
	if (p->level > 1)
		return old_from_below(p, key, klen, sump);
	if (!p->has_hi)
		return scan_entries(p->c, p->entries, key, klen, NULL, 0, sump);
	return scan_entries(p->c, p->entries, key, klen, p->hi.b + HEAD, p->hi.len - HEAD, sump);
}

static int
boundary_added(struct pass *p, const struct counts_change *ch)
{
	uint64_t right;
	int err = old_from(p, ch->key, ch->klen, &right);

	if (err)
		return err;
	if (right > 0) {
		p->sum -= right;
		p->dirty = 1;
	}
	err = write_range(p);
	if (err)
		return err;
	range_key_set(&p->lo, p->c, p->level, ch->key, ch->klen);
	p->sum = right;
	p->dirty = 1;
	return 0;
}

static int
boundary_removed(struct pass *p, const struct counts_change *ch)
{
	uint64_t sum;
	int err;

	if (!p->entered || !p->has_hi || key_cmp(ch->key, ch->klen, p->hi.b + HEAD, p->hi.len - HEAD) != 0) {
		err = write_range(p);
		if (!err)
			err = enter_before(p, ch->key, ch->klen);
		if (err)
			return err;
		if (!p->has_hi || key_cmp(ch->key, ch->klen, p->hi.b + HEAD, p->hi.len - HEAD) != 0)
			return ERR_CORRUPT;
	}
	err = hi_sum(p, &sum);
	if (err)
		return err;
	p->dirty |= sum > 0;
	p->sum += sum;
	err = store_del(p->batch, p->c->counts_tree, p->hi.b, p->hi.len);
	return err ? err : hi_step(p);
}

static int
apply_change(struct pass *p, const struct counts_change *ch, unsigned level)
{
	int boundary = level >= p->level;
	int err = 0;

	if (boundary && ch->existed && !ch->exists) {
		err = boundary_removed(p, ch);
	} else if (!p->entered || !before_hi(p, ch->key, ch->klen)) {
		err = write_range(p);
		if (!err)
			err = enter(p, ch->key, ch->klen);
	}
	if (!err && boundary && !ch->existed && ch->exists)
		err = boundary_added(p, ch);
	if (err || ch->old_weight == ch->new_weight)
		return err;
	p->sum += ch->new_weight - ch->old_weight;
	p->dirty = 1;
	return 0;
}

static int
apply_level(struct pass *p, const struct counts_change *changes, const unsigned char *levels, size_t n)
{
	int err = store_cursor_open(p->snap, p->c->counts_tree, &p->sums);

	if (err)
		return err;
	for (size_t i = 0; !err && i < n; i++) {
		/* Nothing to add, and no boundary comes or goes: not worth a read. */
		if (changes[i].old_weight == changes[i].new_weight && levels[i] < p->level)
			continue;
		err = apply_change(p, &changes[i], levels[i]);
	}
	if (!err)
		err = write_range(p);
	store_cursor_close(p->sums);
	if (p->below)
		store_cursor_close(p->below);
	if (p->entries)
		store_cursor_close(p->entries);
	return err;
}

int
counts_apply(const struct counts_of *c, struct store_snap *snap, struct store_batch *batch, struct arena *a,
    const struct counts_change *changes, size_t n)
{
	unsigned char *levels;
	int err = 0;

	if (n == 0)
		return 0;
	levels = arena_alloc(a, n);
	if (levels == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct counts_change *ch = &changes[i];

		assert(i == 0 || key_cmp(ch[-1].key, ch[-1].klen, ch->key, ch->klen) < 0);
		/* A key that stays or never was moves no boundary. */
		levels[i] = 0;
		if (!ch->existed != !ch->exists)
			levels[i] = (unsigned char)counts_level(c->salt, ch->key, ch->klen);
	}
	for (unsigned level = 1; !err && level <= LEVELS; level++) {
		struct pass p;

		p.c = c;
		p.snap = snap;
		p.batch = batch;
		p.level = level;
		p.sums = p.below = p.entries = NULL;
		p.entered = p.dirty = p.has_hi = 0;
		err = apply_level(&p, changes, levels, n);
	}
	return err;
}

/* Where a descent through the levels has come to. */
struct descent {
	const struct counts_of *c;
	struct store_cursor *sums;
	uint64_t before;     /* the weight before lo */
	struct range_key lo; /* the range that holds what is looked for */
};

/*
 * Pass over the ranges of ${level} from ${d}'s on: those that end by ${key} or, where it is NULL, those
 * that end by the ${n}-th unit.
 */
static int
descend(struct descent *d, unsigned level, const void *key, size_t klen, uint64_t n)
{
	struct store_val k, v;
	uint64_t sum = 0, here;
	int err;

	d->lo.b[1] = (unsigned char)level;
	err = store_seek(d->sums, d->lo.b, d->lo.len, &k, &v);
	for (; !err && is_level(d->c, level, &k); err = store_next(d->sums, &k, &v)) {
		if (key != NULL ? !begins_by(&k, key, klen) : n - d->before < sum)
			return 0;
		err = sum_of(d->c, &k, &v, &here);
		if (err)
			return err;
		d->before += sum;
		sum = here;
		range_key_copy(&d->lo, &k);
	}
	return err == ERR_MISSING ? 0 : err;
}

static int
descent_begin(struct descent *d, const struct counts_of *c, struct store_snap *snap)
{
	d->c = c;
	d->before = 0;
	range_key_set(&d->lo, c, LEVELS, NULL, 0);
	return store_cursor_open(snap, c->counts_tree, &d->sums);
}

int
counts_before(const struct counts_of *c, struct store_snap *snap, const void *key, size_t klen, uint64_t *np)
{
	struct store_cursor *entries;
	struct descent d;
	int err;

	*np = 0;
	if (klen == 0)
		return 0;
	err = descent_begin(&d, c, snap);
	if (err)
		return err;
	for (unsigned level = LEVELS; !err && level > 0; level--)
		err = descend(&d, level, key, klen, 0);
	store_cursor_close(d.sums);
	*np = d.before;
	if (err || (d.lo.len == HEAD + klen && memcmp(d.lo.b + HEAD, key, klen) == 0))
		return err;
	err = store_cursor_open(snap, c->tree, &entries);
	if (err)
		return err;
	err = scan_entries(c, entries, d.lo.b + HEAD, d.lo.len - HEAD, key, klen, np);
	store_cursor_close(entries);
	return err;
}

int
counts_total(const struct counts_of *c, struct store_snap *snap, uint64_t *np)
{
	struct store_cursor *sums;
	struct range_key first;
	struct store_val k, v;
	uint64_t sum;
	int err = store_cursor_open(snap, c->counts_tree, &sums);

	*np = 0;
	if (err)
		return err;
	range_key_set(&first, c, LEVELS, NULL, 0);
	err = store_seek(sums, first.b, first.len, &k, &v);
	for (; !err && is_level(c, LEVELS, &k); err = store_next(sums, &k, &v)) {
		err = sum_of(c, &k, &v, &sum);
		if (err)
			break;
		*np += sum;
	}
	store_cursor_close(sums);
	return err == ERR_MISSING ? 0 : err;
}

int
counts_seek(const struct counts_of *c, struct store_snap *snap, uint64_t n, struct store_cursor *cursor,
    struct store_val *keyp, struct store_val *valp, uint64_t *skippedp)
{
	struct descent d;
	struct store_val k, v;
	uint64_t weight;
	int err = descent_begin(&d, c, snap);

	if (err)
		return err;
	for (unsigned level = LEVELS; !err && level > 0; level--)
		err = descend(&d, level, NULL, 0, n);
	store_cursor_close(d.sums);
	if (err)
		return err;
	/* The last range takes what lies beyond the end too: the scan then ends with ERR_MISSING. */
	err = store_seek(cursor, d.lo.b + HEAD, d.lo.len - HEAD, &k, &v);
	for (; !err; err = store_next(cursor, &k, &v)) {
		weight = c->weigh(&k, &v);
		if (n - d.before < weight)
			break;
		d.before += weight;
	}
	if (err)
		return err;
	if (keyp != NULL)
		*keyp = k;
	if (valp != NULL)
		*valp = v;
	*skippedp = d.before;
	return 0;
}

/* Compare one recounted range with the record at the cursor, and move on. */
static int
check_range(const struct counts_of *c, struct store_cursor *sums, const struct range_key *lo, uint64_t sum, int *errp,
    struct store_val *k, struct store_val *v, struct errtext *why)
{
	unsigned level = lo->b[1];
	uint64_t kept;
	int err;

	if (*errp && *errp != ERR_MISSING)
		return *errp;
	if (*errp || !is_level(c, level, k) || k->len != lo->len || memcmp(k->p, lo->b, lo->len) != 0) {
		if (lo->len == HEAD && sum == 0)
			return 0;
		return err_why(why, ERR_CORRUPT, "counts %c, level %u: a range has no record", c->which, level);
	}
	err = sum_of(c, k, v, &kept);
	if (err)
		return err_why(why, err, "counts %c, level %u: a bad record", c->which, level);
	if (kept != sum)
		return err_why(why, ERR_CORRUPT, "counts %c, level %u: %llu is kept, a recount gives %llu", c->which,
		    level, (unsigned long long)kept, (unsigned long long)sum);
	*errp = store_next(sums, k, v);
	return 0;
}

static int
check_level(const struct counts_of *c, unsigned level, struct store_cursor *sums, struct store_cursor *entries,
    struct errtext *why)
{
	struct store_val k, v, ek, ev;
	struct range_key lo;
	uint64_t sum = 0;
	int at, err;

	range_key_set(&lo, c, level, NULL, 0);
	at = store_seek(sums, lo.b, lo.len, &k, &v);
	for (err = store_seek(entries, NULL, 0, &ek, &ev); !err; err = store_next(entries, &ek, &ev)) {
		if (counts_level(c->salt, ek.p, ek.len) >= level) {
			err = check_range(c, sums, &lo, sum, &at, &k, &v, why);
			if (err)
				return err;
			range_key_set(&lo, c, level, ek.p, ek.len);
			sum = 0;
		}
		sum += c->weigh(&ek, &ev);
	}
	if (err != ERR_MISSING)
		return err;
	err = check_range(c, sums, &lo, sum, &at, &k, &v, why);
	if (err)
		return err;
	if (!at && is_level(c, level, &k))
		return err_why(why, ERR_CORRUPT, "counts %c, level %u: a record without its key", c->which, level);
	return at && at != ERR_MISSING ? at : 0;
}

int
counts_check(const struct counts_of *c, struct store_snap *snap, struct errtext *why)
{
	struct store_cursor *sums, *entries;
	int err = store_cursor_open(snap, c->counts_tree, &sums);

	if (err)
		return err;
	err = store_cursor_open(snap, c->tree, &entries);
	if (err) {
		store_cursor_close(sums);
		return err;
	}
	for (unsigned level = 1; !err && level <= LEVELS; level++)
		err = check_level(c, level, sums, entries, why);
	store_cursor_close(entries);
	store_cursor_close(sums);
	return err;
}
