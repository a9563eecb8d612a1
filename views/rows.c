/*
 * rows.c: rows as records.
 *
 * A record's value: varint length of the sort key, varint length of the rest of a long order key, that rest, varint
 * length of the key's JSON, that, the value's JSON; then the checksum.
 */
#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "store/record.h"

const char *const rows_trees[VIEW_TREES] = {"meta", "rows", "docs", "counts", "sums"};

static int
order_cmp(struct jstr a, struct jstr b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n > 0 ? memcmp(a.s, b.s, n) : 0;

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

int
rows_text(struct buf *b, struct jstr id)
{
	const char *p = id.s, *end = p + id.len;

	while (p < end) {
		const char *zero = memchr(p, '\0', (size_t)(end - p));
		const char *stop = zero != NULL ? zero + 1 : end;

		buf_put(b, p, (size_t)(stop - p));
		if (zero != NULL)
			buf_putc(b, (char)0xff);
		p = stop;
	}
	return buf_put(b, "\0\0", 2);
}

int
rows_order(struct buf *b, unsigned map, struct jstr sortkey, struct jstr id, uint32_t n)
{
	buf_putc(b, (char)(map >> 8));
	buf_putc(b, (char)map);
	buf_put(b, sortkey.s, sortkey.len);
	rows_text(b, id);
	return buf_put_u32be(b, n);
}

int
rows_put(struct buf *b, struct jstr order, size_t sortkey_len, struct jstr key, struct jstr value)
{
	size_t rest = order.len > ROWS_PLAIN ? order.len - ROWS_STEM : 0;

	buf_put_varint(b, sortkey_len);
	buf_put_varint(b, rest);
	buf_put(b, order.s + order.len - rest, rest);
	buf_put_varint(b, key.len);
	buf_put(b, key.s, key.len);
	return buf_put(b, value.s, value.len);
}

/* The id within an order key: mostly as it stands. */
static int
take_id(struct jstr raw, struct arena *a, struct jstr *out)
{
	char *copy;
	size_t n = 0;

	if (memchr(raw.s, '\0', raw.len) == NULL) {
		*out = raw;
		return 0;
	}
	copy = arena_alloc(a, raw.len);
	if (copy == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < raw.len; i++) {
		copy[n++] = raw.s[i];
		i += raw.s[i] == '\0';
	}
	*out = (struct jstr){copy, n};
	return 0;
}

/* length: A varint, mostly of one byte. */
static inline uint64_t
length(struct bytes *r)
{
	return r->p < r->end && *r->p < 0x80 ? *r->p++ : bytes_varint(r);
}

/* some: bytes_take(), where it costs. */
static inline const char *
some(struct bytes *r, uint64_t n)
{
	const unsigned char *p = r->p;

	if (n > (size_t)(r->end - p))
		return bytes_take(r, n);
	r->p += n;
	return (const char *)p;
}

int
rows_take(const struct store_val *key, const struct store_val *val, struct arena *a, struct row *out)
{
	const size_t tail = 2 + 4; /* behind the id */
	struct bytes r;
	uint64_t sortkey_len, rest_len, key_len;
	const char *rest;
	int err = record_open(VIEW_ROWS, key->p, key->len, val, &r);

	if (err != 0)
		return err;
	sortkey_len = length(&r);
	rest_len = length(&r);
	rest = some(&r, rest_len);
	key_len = length(&r);
	out->key = (struct jstr){some(&r, key_len), key_len};
	out->cut = key_len == 0;
	if (out->cut)
		out->key = (struct jstr){"null", 4};
	out->value = (struct jstr){(const char *)r.p, (size_t)(r.end - r.p)};
	out->order = (struct jstr){key->p, key->len};
	if (r.bad)
		return ERR_CORRUPT;
	if (key->len == ROWS_STEM + ROWS_LABEL) {
		char *whole = arena_alloc(a, ROWS_STEM + rest_len);

		if (whole == NULL)
			return ERR_NOMEM;
		memcpy(whole, key->p, ROWS_STEM);
		memcpy(whole + ROWS_STEM, rest, rest_len);
		out->order = (struct jstr){whole, ROWS_STEM + rest_len};
	}
	if (out->order.len < ROWS_MAP + tail || sortkey_len > out->order.len - ROWS_MAP - tail)
		return ERR_CORRUPT;
	out->sortkey = (struct jstr){out->order.s + ROWS_MAP, sortkey_len};
	bytes_init(&r, out->order.s + out->order.len - 4, 4);
	out->n = bytes_u32be(&r);
	return take_id(
	    (struct jstr){out->sortkey.s + sortkey_len, out->order.len - ROWS_MAP - tail - sortkey_len}, a, &out->id);
}

/* ---- Long order keys ---- */

static void
key_set(struct rows_key *k, struct jstr order)
{
	k->len = order.len <= ROWS_STEM ? order.len : ROWS_STEM;
	memcpy(k->b, order.s, k->len);
}

static void
key_label(struct rows_key *k, uint64_t label)
{
	bytes_store_u64be(k->b + ROWS_STEM, label);
	k->len = ROWS_STEM + ROWS_LABEL;
}

static int
has_stem(const struct store_val *key, const struct rows_key *k)
{
	return key->len == ROWS_STEM + ROWS_LABEL && memcmp(key->p, k->b, ROWS_STEM) == 0;
}

static uint64_t
label_of(const struct store_val *key)
{
	return bytes_load_u64be((const unsigned char *)key->p + ROWS_STEM);
}

/* rest_of: Of the order key of a record with a label, what stands in its value; ${record}: all of that, without its checksum. */
static int
rest_of(const struct store_val *key, const struct store_val *val, struct jstr *out, struct jstr *record)
{
	struct bytes r;
	uint64_t len;
	int err = record_open(VIEW_ROWS, key->p, key->len, val, &r);

	if (err != 0)
		return err;
	*record = (struct jstr){(const char *)r.p, bytes_left(&r)};
	(void)bytes_varint(&r);
	len = bytes_varint(&r);
	*out = (struct jstr){bytes_take(&r, len), len};
	return r.bad ? ERR_CORRUPT : 0;
}

/* find_label: The lowest label whose rest is not below ${rest}; the search halves the labels, not the rows. */
static int
find_label(struct store_cursor *c, struct rows_key *k, struct jstr rest, uint64_t *labelp)
{
	uint64_t lo = 0, hi = UINT64_MAX;
	int found = 0;

	for (;;) {
		uint64_t mid = lo + (hi - lo) / 2;
		struct store_val key, val;
		struct jstr there, record;
		int err;

		key_label(k, mid);
		err = store_seek(c, k->b, k->len, &key, &val);
		if (err != 0 && err != ERR_MISSING)
			return err;
		if (err == 0 && has_stem(&key, k)) {
			if ((err = rest_of(&key, &val, &there, &record)) != 0)
				return err;
			if (order_cmp(there, rest) < 0) {
				uint64_t label = label_of(&key);

				if (label >= hi)
					break;
				lo = label + 1;
				continue;
			}
			*labelp = label_of(&key);
			found = 1;
		}
		if (mid == lo)
			break;
		hi = mid - 1;
	}
	return found ? 0 : ERR_MISSING;
}

int
rows_bound(struct store_cursor *c, struct jstr bound, struct rows_key *out)
{
	uint64_t label;
	int err;

	key_set(out, bound);
	if (bound.len <= ROWS_STEM)
		return 0;
	err = find_label(c, out, (struct jstr){bound.s + ROWS_STEM, bound.len - ROWS_STEM}, &label);
	if (err == 0) {
		key_label(out, label);
	} else if (err == ERR_MISSING) {
		/* Behind all that share the stem: no tree key lies between. */
		key_label(out, UINT64_MAX);
		out->b[out->len++] = 0;
		err = 0;
	}
	return err;
}

/* ---- Changes ---- */

struct apply {
	struct store_snap *snap;
	struct store_batch *batch;
	struct arena *a;
	struct store_cursor *cursor; /* opened at need */
	struct rows_moved *moved;
	size_t n, cap;
};

static int
moved(struct apply *p, const void *key, size_t len, int existed, int exists)
{
	struct rows_moved *m;

	if (p->n == p->cap) {
		size_t cap = p->cap != 0 ? 2 * p->cap : 256;
		struct rows_moved *grown = arena_alloc(p->a, cap * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (p->n > 0)
			memcpy(grown, p->moved, p->n * sizeof(*grown));
		p->moved = grown;
		p->cap = cap;
	}
	m = &p->moved[p->n++];
	*m = (struct rows_moved){{key, len}, existed, exists};
	return 0;
}

static int
put_or_del(struct apply *p, const void *key, size_t len, struct jstr value)
{
	if (value.s == NULL)
		return store_del(p->batch, VIEW_ROWS, key, len);
	return record_put(p->batch, VIEW_ROWS, key, len, value.s, value.len);
}

static int
apply_plain(struct apply *p, const struct rows_change *ch)
{
	struct store_val val;
	int err = ch->fresh ? ERR_MISSING : store_get(p->snap, VIEW_ROWS, ch->order.s, ch->order.len, &val);
	int existed = err == 0;

	if (err != 0 && err != ERR_MISSING)
		return err;
	if (!existed && ch->value.s == NULL)
		return 0;
	if ((err = put_or_del(p, ch->order.s, ch->order.len, ch->value)) != 0)
		return err;
	return moved(p, ch->order.s, ch->order.len, existed, ch->value.s != NULL);
}

#define LABEL_STEP (UINT64_C(1) << 32) /* between those that come at the end */
#define LABEL_WIDEN 16u                /* neighbours on each side that get other labels first */
#define LABEL_ROOM (UINT64_C(1) << 16) /* between labels that were changed */

/* A row of a run: those whose order keys have one stem. */
struct member {
	struct jstr rest;
	struct jstr value; /* of a new one; s NULL: as it is */
	uint64_t label;
	int old;
	int moved;          /* an old one has left its label for another */
	struct jstr record; /* of an old one, without its checksum */
};

struct run {
	struct member *v;
	size_t n, cap;
};

static int
run_add(struct apply *p, struct run *run, const struct member *m)
{
	if (run->n == run->cap) {
		size_t cap = run->cap != 0 ? 2 * run->cap : 16;
		struct member *grown = arena_alloc(p->a, cap * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (run->n > 0)
			memcpy(grown, run->v, run->n * sizeof(*grown));
		run->v = grown;
		run->cap = cap;
	}
	run->v[run->n++] = *m;
	return 0;
}

/* read_run: What the snapshot has of it. */
static int
read_run(struct apply *p, struct rows_key *stem, struct run *out)
{
	struct store_val key, val;
	int err = 0;

	if (p->cursor == NULL && (err = store_cursor_open(p->snap, VIEW_ROWS, &p->cursor)) != 0)
		return err;
	key_label(stem, 0);
	for (err = store_seek(p->cursor, stem->b, stem->len, &key, &val); err == 0 && has_stem(&key, stem);
	     err = store_next(p->cursor, &key, &val)) {
		struct member m = {.old = 1, .label = label_of(&key)};

		if ((err = rest_of(&key, &val, &m.rest, &m.record)) != 0)
			return err;
		if ((err = run_add(p, out, &m)) != 0)
			return err;
	}
	return err == ERR_MISSING ? 0 : err;
}

/* take_out: The record of this label goes. */
static int
take_out(struct apply *p, struct rows_key *stem, uint64_t label)
{
	const char *key;
	int err;

	key_label(stem, label);
	if ((key = arena_dup(p->a, stem->b, stem->len)) == NULL)
		return ERR_NOMEM;
	err = store_del(p->batch, VIEW_ROWS, key, stem->len);
	return err != 0 ? err : moved(p, key, stem->len, 1, 0);
}

/* merge: The run as it will be; old ones that go are taken out of the tree here. */
static int
merge(struct apply *p, struct rows_key *stem, const struct run *old, const struct rows_change *changes, size_t n,
    struct run *out)
{
	size_t i = 0, k = 0;
	int err = 0;

	while (err == 0 && (i < old->n || k < n)) {
		struct jstr rest = k < n
				       ? (struct jstr){changes[k].order.s + ROWS_STEM, changes[k].order.len - ROWS_STEM}
				       : (struct jstr){NULL, 0};
		int c = i == old->n ? 1 : k == n ? -1 : order_cmp(old->v[i].rest, rest);
		struct member m = {.rest = rest};

		if (c < 0) {
			err = run_add(p, out, &old->v[i++]);
			continue;
		}
		m.value = changes[k++].value;
		if (c == 0) {
			m.old = 1;
			m.label = old->v[i++].label;
		}
		if (m.value.s != NULL) {
			err = run_add(p, out, &m);
		} else if (m.old) {
			err = take_out(p, stem, m.label);
		}
	}
	return err;
}

/* label: Members from ${from} to before ${to} get labels between their neighbours', ${steps} apart or more; 0: there is no room.  At the end they take no more than they need. */
static int
label(struct run *run, size_t from, size_t to, uint64_t steps)
{
	uint64_t low = from > 0 ? run->v[from - 1].label : 0, high = to < run->n ? run->v[to].label : UINT64_MAX;
	uint64_t step = (high - low) / (to - from + 1);

	if (step < steps || step == 0)
		return 0;
	if (to == run->n && from > 0 && step > LABEL_STEP)
		step = LABEL_STEP;
	for (size_t i = from; i < to; i++)
		run->v[i].label = low + step * (i - from + 1);
	return 1;
}

/* leave: Old members from ${from} to before ${to} leave their labels. */
static int
leave(struct apply *p, struct rows_key *stem, struct run *run, size_t from, size_t to)
{
	int err = 0;

	for (size_t i = from; i < to && err == 0; i++) {
		struct member *m = &run->v[i];

		if (!m->old || m->moved)
			continue;
		err = take_out(p, stem, m->label);
		m->moved = 1;
	}
	return err;
}

/*
 * gap: New members from ${from} on, up to the next old one, get labels.  Where there is no room, more and more members around them get
 * others: few enough that a run of large rows is not written anew, and so many that there is room for a while.
 */
static int
gap(struct apply *p, struct rows_key *stem, struct run *run, size_t from, size_t *nextp)
{
	size_t to = from, more = LABEL_WIDEN;
	uint64_t steps = 1;
	int err = 0;

	while (to < run->n && !run->v[to].old)
		to++;
	while (err == 0 && !label(run, from, to, steps)) {
		from = from > more ? from - more : 0;
		to = run->n - to > more ? to + more : run->n;
		while (to < run->n && !run->v[to].old)
			to++;
		more *= 2;
		steps = from == 0 && to == run->n ? 1 : LABEL_ROOM;
		err = leave(p, stem, run, from, to);
	}
	*nextp = to;
	return err;
}

/* put_run: Those that are new or changed, or have another label. */
static int
put_run(struct apply *p, struct rows_key *stem, const struct run *run)
{
	for (size_t i = 0; i < run->n; i++) {
		const struct member *m = &run->v[i];
		struct jstr value = m->value.s != NULL ? m->value : m->record;
		const char *key;
		int err;

		if (m->old && m->value.s == NULL && !m->moved)
			continue;
		key_label(stem, m->label);
		key = arena_dup(p->a, stem->b, stem->len);
		err = key != NULL ? put_or_del(p, key, stem->len, value) : ERR_NOMEM;
		if (err == 0)
			err = moved(p, key, stem->len, m->old && !m->moved, 1);
		if (err != 0)
			return err;
	}
	return 0;
}

static int
moved_cmp(const void *a, const void *b)
{
	const struct rows_moved *x = a, *y = b;

	return order_cmp(x->key, y->key);
}

/* tidy: In order, and one entry a key: one that left and came back has existed and exists. */
static void
tidy(struct apply *p, size_t from)
{
	size_t n = from;

	if (p->n > from)
		qsort(p->moved + from, p->n - from, sizeof(*p->moved), moved_cmp);
	for (size_t i = from; i < p->n; i++) {
		if (n > from && order_cmp(p->moved[n - 1].key, p->moved[i].key) == 0) {
			p->moved[n - 1].existed |= p->moved[i].existed;
			p->moved[n - 1].exists |= p->moved[i].exists;
		} else {
			p->moved[n++] = p->moved[i];
		}
	}
	p->n = n;
}

/* apply_run: All changes of one stem. */
static int
apply_run(struct apply *p, const struct rows_change *changes, size_t n)
{
	struct run old = {NULL, 0, 0}, run = {NULL, 0, 0};
	size_t from = p->n, i = 0;
	struct rows_key stem;
	int err;

	key_set(&stem, changes[0].order);
	if ((err = read_run(p, &stem, &old)) != 0 || (err = merge(p, &stem, &old, changes, n, &run)) != 0)
		return err;
	while (err == 0 && i < run.n) {
		if (run.v[i].old)
			i++;
		else
			err = gap(p, &stem, &run, i, &i);
	}
	if (err == 0)
		err = put_run(p, &stem, &run);
	if (err == 0)
		tidy(p, from);
	return err;
}

int
rows_apply(struct store_snap *snap, struct store_batch *batch, struct arena *a, const struct rows_change *changes,
    size_t n, struct rows_moved **movedp, size_t *np)
{
	struct apply p = {.snap = snap, .batch = batch, .a = a};
	size_t next;
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i = next) {
		next = i + 1;
		if (changes[i].order.len <= ROWS_PLAIN) {
			err = apply_plain(&p, &changes[i]);
			continue;
		}
		while (next < n && changes[next].order.len > ROWS_PLAIN &&
		       memcmp(changes[next].order.s, changes[i].order.s, ROWS_STEM) == 0)
			next++;
		err = apply_run(&p, changes + i, next - i);
	}
	if (p.cursor != NULL)
		store_cursor_close(p.cursor);
	*movedp = p.moved;
	*np = p.n;
	return err;
}
