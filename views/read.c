/*
 * read.c: ranges of rows.
 *
 * A range [lo, hi) of order keys, and of tree keys: both ends are beginnings of order keys, of which rows_bound() makes tree keys:
 *
 *	map                                 all rows of the map, which end where the next begins
 *	map, sort key                       from the first row of this key on; with 0xff behind it: behind its last
 *	map, sort key, id                   from the document's first row of this key on; with five 0xff behind it: behind its last
 *	map, beginning of an array's key    from the first array that begins so; with 0xff behind it: behind the last
 *
 *	map, partition                      all rows of the partition, where an index is divided; with 0xff behind it: behind the last
 *
 *
 * 1. No byte of an id and no tag of a value is 0xff, and no number of a row is above four of them.
 * 2. A place is an end of what is left: reading on is reading a narrower range.
 */
#include "read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "index.h"
#include "store/record.h"

#define ORDER_MAX ((size_t)1 << 30)
#define BEHIND_ROWS "\xff\xff\xff\xff\xff"
#define BEHIND_KEYS "\xff"

struct view_snap {
	struct view_index *ix;
	struct store_snap *snap;
	struct store_cursor *rows;
	struct index_head head;
	struct counts_of counts;
	const struct ddoc_view *view;
	int descending;
	struct buf first;         /* of each order key: the map, the partition */
	struct buf lo, hi;        /* order keys */
	struct rows_key from, to; /* tree keys */
	int moved;                /* the cursor stands on the row that was read last */
	struct jstr
	    last; /* order key of the row that was read last, as long as the cursor stands there; s NULL: see place */
	struct buf place; /* of what was read last */
	struct buf sortkey, scratch;
	struct sums_range *ranges; /* of the groups gathered */
};

const struct ddoc_view *
read_view(const struct view_index *ix, struct jstr name)
{
	return ddoc_view_of(&ix->ddoc, name);
}

enum read_reduce
read_reduces(const struct ddoc_view *view)
{
	return view->kind == DDOC_NONE ? READ_PLAIN : view->kind == DDOC_SCRIPT ? READ_SCRIPT : READ_BUILTIN;
}

int
read_sortkey(const struct ddoc_view *view, struct jstr key, struct buf *scratch, struct buf *out)
{
	return ddoc_sortkey(view->raw, key, scratch, out);
}

int
read_is_partitioned(const struct view_index *ix)
{
	return ix->partitioned;
}

const char *
read_name(const struct view_index *ix)
{
	return ix->name;
}

int
read_info(struct view_index *ix, struct read_info *out)
{
	struct store_usage usage;
	int err = store_usage(ix->store, &usage);

	*out = (struct read_info){.signature = ix->signature,
	    .language = ix->ddoc.is_query ? "query" : "javascript",
	    .file_bytes = usage.file_bytes,
	    .active_bytes = usage.active_bytes};
	(void)pthread_mutex_lock(&ix->lock);
	out->seq = ix->head.seq;
	out->purge_seq = ix->head.purge_seq;
	out->updating = ix->updating;
	for (const struct view_wait *w = ix->waiting; w != NULL; w = w->next)
		out->waiting++;
	(void)pthread_mutex_unlock(&ix->lock);
	(void)pthread_mutex_lock(&ix->views->lock);
	out->compacting = ix->compacting;
	(void)pthread_mutex_unlock(&ix->views->lock);
	return err;
}

void
read_state(struct view_index *ix, uint64_t *seqp, uint64_t *purge_seqp)
{
	(void)pthread_mutex_lock(&ix->lock);
	*seqp = ix->head.seq;
	*purge_seqp = ix->head.purge_seq;
	(void)pthread_mutex_unlock(&ix->lock);
}

/* ---- Snapshots ---- */

int
read_begin(struct view_index *ix, struct view_snap **sp)
{
	struct view_snap *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->ix = ix;
	buf_init(&s->first, ORDER_MAX);
	buf_init(&s->lo, ORDER_MAX);
	buf_init(&s->hi, ORDER_MAX);
	buf_init(&s->place, ORDER_MAX);
	buf_init(&s->sortkey, ORDER_MAX);
	buf_init(&s->scratch, ORDER_MAX);
	if ((err = store_snap_begin(ix->store, &s->snap)) != 0 || (err = index_head_get(s->snap, &s->head)) != 0 ||
	    (err = store_cursor_open(s->snap, VIEW_ROWS, &s->rows)) != 0) {
		read_end(s);
		return index_damaged(ix, err);
	}
	index_counts(s->head.salt, &s->counts);
	*sp = s;
	return 0;
}

void
read_end(struct view_snap *s)
{
	if (s->rows != NULL)
		store_cursor_close(s->rows);
	if (s->snap != NULL)
		store_snap_end(s->snap);
	buf_release(&s->first);
	buf_release(&s->lo);
	buf_release(&s->hi);
	buf_release(&s->place);
	buf_release(&s->sortkey);
	buf_release(&s->scratch);
	free(s);
}

uint64_t
read_seq(const struct view_snap *s)
{
	return s->head.seq;
}

/* ---- Ranges ---- */

static void
put_first(struct view_snap *s, unsigned map, const struct jstr *partition)
{
	buf_clear(&s->first);
	buf_putc(&s->first, (char)(map >> 8));
	buf_putc(&s->first, (char)map);
	if (partition->len > 0)
		rows_text(&s->first, *partition);
}

/* put_bound: The place before the rows of a bound's key, or behind them. */
static void
put_bound(const struct view_snap *s, struct buf *b, const struct read_bound *bound, int behind)
{
	buf_clear(b);
	if (behind && !bound->set && s->first.len == ROWS_MAP) {
		unsigned next = s->view->map + 1; /* where the reductions of the map end, too */

		buf_putc(b, (char)(next >> 8));
		buf_putc(b, (char)next);
		return;
	}
	buf_put(b, s->first.data, s->first.len);
	if (bound->set)
		buf_put(b, bound->sortkey.s, bound->sortkey.len);
	if (bound->set && bound->has_id)
		rows_text(b, bound->id);
	if (behind)
		buf_puts(b, bound->set && bound->has_id ? BEHIND_ROWS : BEHIND_KEYS);
}

static int
find_ends(struct view_snap *s)
{
	int err = buf_failed(&s->lo) != 0 ? buf_failed(&s->lo) : buf_failed(&s->hi);

	if (err == 0)
		err = buf_failed(&s->first);

	if (err == 0)
		err = rows_bound(s->rows, (struct jstr){s->lo.data, s->lo.len}, &s->from);
	if (err == 0)
		err = rows_bound(s->rows, (struct jstr){s->hi.data, s->hi.len}, &s->to);
	s->moved = 0;
	return err;
}

int
read_range(struct view_snap *s, const struct ddoc_view *view, const struct read_range *range, struct jstr after)
{
	const struct read_bound *low = range->descending ? &range->end : &range->start,
				*high = range->descending ? &range->start : &range->end;
	int no_start = range->exclusive_start && range->start.set, no_end = range->exclusive_end && range->end.set;

	s->view = view;
	s->descending = range->descending;
	put_first(s, view->map, &range->partition);
	put_bound(s, &s->lo, low, range->descending ? no_end : no_start);
	put_bound(s, &s->hi, high, range->descending ? !no_start : !no_end);
	if (after.len > 0) {
		struct buf *end = range->descending ? &s->hi : &s->lo;

		buf_clear(end);
		buf_put(end, after.s, after.len);
	}
	buf_clear(&s->place);
	s->last.s = NULL;
	return index_damaged(s->ix, find_ends(s));
}

static int
key_cmp(const struct store_val *a, const struct rows_key *b)
{
	const unsigned char *p = a->p;
	int c = 0;

	/* Where all rows of a map are read, the map tells. */
	for (size_t i = 0; i < ROWS_MAP && i < a->len && i < b->len && c == 0; i++)
		c = p[i] - b->b[i];
	if (c == 0)
		c = memcmp(a->p, b->b, a->len < b->len ? a->len : b->len);
	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* count_before: Rows of all maps before ${key}; before the first map there are none. */
static int
count_before(struct view_snap *s, const void *key, size_t len, uint64_t *np)
{
	*np = 0;
	if (len == ROWS_MAP && memcmp(key, "\0\0", ROWS_MAP) == 0)
		return 0;
	return counts_before(&s->counts, s->snap, key, len, np);
}

int
read_counts(struct view_snap *s, uint64_t *totalp, uint64_t *beforep)
{
	unsigned map = s->view->map;
	const unsigned char first[] = {(unsigned char)(map >> 8), (unsigned char)map},
			    next[] = {(unsigned char)((map + 1) >> 8), (unsigned char)(map + 1)};
	uint64_t low, high, at;
	const struct rows_key *start = s->descending ? &s->to : &s->from;
	int err = count_before(s, first, sizeof(first), &low);

	if (err == 0)
		err = count_before(s, next, sizeof(next), &high);
	if (err == 0)
		err = count_before(s, start->b, start->len, &at);
	if (err != 0)
		return index_damaged(s->ix, err);
	*totalp = high - low;
	*beforep = s->descending ? high - at : at - low;
	return 0;
}

/* keep_key: The key under the cursor becomes an end of the range. */
static void
keep_key(struct rows_key *out, const struct store_val *key)
{
	out->len = key->len;
	memcpy(out->b, key->p, key->len);
}

/* count_ends: Rows before the range, and before what is behind it, in ascending order. */
static int
count_ends(struct view_snap *s, uint64_t *lowp, uint64_t *highp)
{
	int err = count_before(s, s->from.b, s->from.len, lowp);

	return err != 0 ? err : count_before(s, s->to.b, s->to.len, highp);
}

int
read_length(struct view_snap *s, uint64_t *np)
{
	uint64_t low, high;
	int err = count_ends(s, &low, &high);

	*np = err == 0 && high > low ? high - low : 0;
	return index_damaged(s->ix, err);
}

int
read_skip(struct view_snap *s, uint64_t *np)
{
	uint64_t low, high, n = *np, skipped;
	struct store_val key;
	int err;

	if (n == 0)
		return 0;
	if ((err = count_ends(s, &low, &high)) != 0)
		return index_damaged(s->ix, err);
	if (high <= low || n >= high - low) {
		*np = high > low ? n - (high - low) : n;
		s->to = s->from;
		return 0;
	}
	*np = 0;
	if (!s->descending) {
		if ((err = counts_seek(&s->counts, s->snap, low + n, s->rows, &key, NULL, &skipped)) == 0)
			keep_key(&s->from, &key);
	} else if ((err = counts_seek(&s->counts, s->snap, high - n, s->rows, &key, NULL, &skipped)) == 0) {
		keep_key(&s->to, &key);
	}
	s->moved = 0;
	return index_damaged(s->ix, err == ERR_MISSING ? ERR_CORRUPT : err);
}

/* move: To the next row in the direction of reading; ERR_END. */
static int
move(struct view_snap *s, struct store_val *key, struct store_val *val)
{
	struct bytes r;
	int err;

	if (s->moved)
		err = s->descending ? store_prev(s->rows, key, val) : store_next(s->rows, key, val);
	else if (!s->descending)
		err = store_seek(s->rows, s->from.b, s->from.len, key, val);
	else if ((err = store_seek_le(s->rows, s->to.b, s->to.len, key, val)) == 0 && key_cmp(key, &s->to) >= 0)
		err = store_prev(s->rows, key, val);
	s->moved = 1;
	/* What ends the range is a row, too: a damaged key must not pass for one behind it. */
	if (err == 0 && (s->descending ? key_cmp(key, &s->from) < 0 : key_cmp(key, &s->to) >= 0))
		err = record_open(VIEW_ROWS, key->p, key->len, val, &r) == 0 ? ERR_MISSING : ERR_CORRUPT;
	return err == ERR_MISSING ? ERR_END : err;
}

int
read_next(struct view_snap *s, struct arena *a, struct read_row *out)
{
	struct store_val key, val;
	struct row row;
	int err = move(s, &key, &val);

	if (err != 0 || (err = rows_take(&key, &val, a, &row)) != 0)
		return index_damaged(s->ix, err);
	s->last = row.order;
	*out = (struct read_row){row.id, row.key, row.value, row.sortkey, row.cut};
	/* Without the partition. */
	out->sortkey.s += s->first.len - ROWS_MAP;
	out->sortkey.len -= s->first.len - ROWS_MAP;
	return 0;
}

int
read_place(const struct view_snap *s, struct buf *b)
{
	if (s->last.s == NULL)
		return buf_put(b, s->place.data, s->place.len);
	buf_put(b, s->last.s, s->last.len);
	/* An order key with a byte behind it is behind that row, and before any other. */
	return s->descending ? buf_failed(b) : buf_putc(b, '\0');
}

/* ---- Groups ---- */

/* first_elements: Of an array with at least ${n} elements, the text of the first ${n} as an array; *${morep}: it has as many or more. */
static int
first_elements(struct jstr key, uint64_t n, struct buf *out, int *enoughp)
{
	struct jstr one;
	struct jread j;
	uint64_t i = 0;
	int err;

	jread_init(&j, key.s, key.len);
	*enoughp = 0;
	if (jread_peek(&j) != JREAD_ARRAY)
		return 0;
	buf_putc(out, '[');
	err = jread_array_begin(&j);
	while (err == 0 && i < n && (err = jread_array_next(&j)) == 0) {
		(void)jread_peek(&j);
		if ((err = jread_skip(&j, &one)) == 0) {
			buf_puts(out, i++ > 0 ? "," : "");
			buf_put(out, one.s, one.len);
		}
	}
	if (err != 0 && err != ERR_END)
		return err;
	*enoughp = i == n;
	buf_putc(out, ']');
	return buf_failed(out);
}

/* group_of: The key of the row's group, and the beginning of its order keys in s->sortkey. */
static int
group_of(struct view_snap *s, const struct row *row, struct read_groups *g, struct jstr *keyp)
{
	struct buf text;
	int enough = 0, err = 0;

	buf_clear(&s->sortkey);
	buf_init_arena(&text, g->a, ORDER_MAX);
	if (g->level != READ_EXACT)
		err = first_elements(row->key, g->level, &text, &enough);
	if (err != 0)
		return err;
	if (!enough) {
		*keyp = (struct jstr){arena_dup(g->a, row->key.s, row->key.len), row->key.len};
		buf_put(&s->sortkey, row->order.s, ROWS_MAP);
		buf_put(&s->sortkey, row->sortkey.s, row->sortkey.len);
		return keyp->s == NULL ? ERR_NOMEM : buf_failed(&s->sortkey);
	}
	*keyp = (struct jstr){text.data, text.len};
	buf_put(&s->sortkey, s->first.data, s->first.len);
	if ((err = read_sortkey(s->view, *keyp, &s->scratch, &s->sortkey)) == 0)
		s->sortkey.len--; /* an array's end */
	return err;
}

/* narrow: The group's own range goes into ${out}; what is behind it is left. */
static int
narrow(struct view_snap *s, struct sums_range *out)
{
	struct rows_key end;
	int err;

	s->last.s = NULL;
	buf_clear(&s->place);
	buf_put(&s->place, s->sortkey.data, s->sortkey.len);
	if (!s->descending)
		buf_putc(&s->place, (char)0xff);
	if ((err = buf_failed(&s->place)) != 0 ||
	    (err = rows_bound(s->rows, (struct jstr){s->place.data, s->place.len}, &end)) != 0)
		return err;
	s->moved = 0;
	out->lo = s->from;
	out->hi = s->to;
	if (s->descending) {
		struct store_val v = {end.b, end.len};

		if (key_cmp(&v, &s->from) < 0)
			end = s->from;
		out->lo = s->to = end;
	} else {
		struct store_val v = {end.b, end.len};

		if (key_cmp(&v, &s->to) > 0)
			end = s->to;
		out->hi = s->from = end;
	}
	return 0;
}

/* gather_one: ERR_END: the range has no more rows. */
static int
gather_one(struct view_snap *s, struct read_groups *g, struct jstr *keyp, struct sums_range *out)
{
	struct store_val key, val;
	struct row row;
	int err;

	s->moved = 0;
	if ((err = move(s, &key, &val)) != 0)
		return err;
	if (g->level == 0) {
		*keyp = (struct jstr){"null", 4};
		out->lo = s->from;
		out->hi = s->to;
		s->from = s->to;
		return 0;
	}
	if ((err = rows_take(&key, &val, g->a, &row)) != 0 || (err = group_of(s, &row, g, keyp)) != 0)
		return err;
	return narrow(s, out);
}

int
read_gather(struct view_snap *s, struct read_groups *g, uint64_t *skipp)
{
	int any = g->n > 0, err;

	if (g->n == 0) {
		g->keys = arena_calloc(g->a, g->max, sizeof(*g->keys));
		g->values = arena_calloc(g->a, g->max, sizeof(*g->values));
		s->ranges = arena_calloc(g->a, g->max, sizeof(*s->ranges));
		if (g->keys == NULL || g->values == NULL || s->ranges == NULL)
			return ERR_NOMEM;
	}
	for (; g->n < g->max; any = 1) {
		if (any && arena_size(g->a) > READ_GROUPS_BYTES)
			return 0;
		if ((err = gather_one(s, g, &g->keys[g->n], &s->ranges[g->n])) != 0)
			return index_damaged(s->ix, err);
		if (*skipp > 0)
			--*skipp;
		else
			g->n++;
	}
	return 0;
}

static int
open_script(struct sums *sums)
{
	const struct view_snap *s = sums->cookie;
	struct view_index *ix = s->ix;
	int err = script_open(ix->views->config.scripts, ix->database, ix->program, &sums->script, sums->why);

	if (err == ERR_SCRIPT)
		(void)snprintf(sums->error, sizeof(sums->error), "compilation_error");
	return err;
}

/* let_go: Pages that a commit leaves stay as long as a snapshot may read them: too long for functions. */
static void
let_go(struct sums *sums)
{
	struct view_snap *s = sums->cookie;

	store_cursor_close(s->rows);
	store_snap_end(s->snap);
	s->rows = NULL;
	s->snap = NULL;
}

int
read_is_over(const struct view_snap *s)
{
	return s->snap == NULL;
}

int
read_reduce(struct view_snap *s, const struct ddoc_view *view, struct read_groups *g)
{
	struct sums sums = {.ddoc = &s->ix->ddoc, .salt = s->head.salt, .why = g->why, .cookie = s};
	int err;

	if (g->n == 0)
		return 0;
	sums.reduce_limit = views_get_reduce_limit(s->ix->views);
	if (view->kind == DDOC_SCRIPT) {
		sums.prepare = open_script;
		sums.release = let_go;
	}
	for (size_t i = 0; i < g->n; i++) {
		buf_init_arena(&g->values[i], g->a, LIMIT_SCRIPT_ANSWER);
		s->ranges[i].out = &g->values[i];
	}
	err = sums_reduce(&sums, s->snap, view, s->ranges, g->n);
	script_close(sums.script);
	memcpy(g->error, sums.error, sizeof(g->error));
	if (err == ERR_AGAIN)
		g->n = sums.fit;
	return index_damaged(s->ix, err);
}
