/*
 * ranges.c: from conditions to ranges of keys.
 *
 * An end of a range is a cut: before or behind all that begins with some bytes.  As no sort key is the beginning of another, cuts before and
 * behind a value's whole key, or behind a type's first byte, part the values cleanly; a range is what lies between two cuts.  The values that a selector lets a
 * field have are a list of such ranges, ascending and apart: $and takes what is in both lists, $or what is in either.
 *
 * 1. A list never lacks a value with which a document that has the field can match; where a condition cannot be expressed, all is let pass.
 * 2. exact: with each value in the list, and no other, the condition holds.
 * 3. Ids are compared by their bytes, as selectors do with _id; nothing but an equal id begins with an id.
 * 4. $in lets pass arrays that have such an element: an array's range stands beside its points.
 * 5. $beginsWith bounds the first level of ICU's sort keys, which is the beginning of that of a longer string as long as no letters contract:
 *    in the root collation nothing but L with a middle dot does that begins with ASCII, and that has L's first level (tests/unit/test_query_plan_ranges.c
 *    tries all characters behind all of ASCII).  Behind the first other character nothing is bounded.
 * 6. Keys longer than RANGES_KEY_MAX are cut, which makes a range wider: it is then no point and not exact.
 */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "icu.h"
#include "sortkey.h"

void
ranges_init(struct ranges_work *w, struct arena *a)
{
	w->arena = a;
	buf_init(&w->key, LIMIT_REQUEST_LEN);
	buf_init(&w->scratch, LIMIT_REQUEST_LEN);
	buf_init(&w->spans, LIMIT_REQUEST_LEN);
}

void
ranges_release(struct ranges_work *w)
{
	buf_release(&w->key);
	buf_release(&w->scratch);
	buf_release(&w->spans);
}

/* ---- Cuts ---- */

static int
cut_compare(struct jstr a, int a_behind, struct jstr b, int b_behind, int ids)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n > 0 ? memcmp(a.s, b.s, n) : 0;

	if (order != 0)
		return order;
	if (a.len == b.len)
		return a_behind - b_behind;
	if (a.len < b.len)
		return ids && a.len > 0 ? -1 : a_behind ? 1 : -1;
	return ids && b.len > 0 ? 1 : b_behind ? -1 : 1;
}

static int
lows(const struct query_range *a, const struct query_range *b, int ids)
{
	return cut_compare(a->low, a->low_behind, b->low, b->low_behind, ids);
}

static int
highs(const struct query_range *a, const struct query_range *b, int ids)
{
	return cut_compare(a->high, !a->high_before, b->high, !b->high_before, ids);
}

static int
is_empty(const struct query_range *r, int ids)
{
	return cut_compare(r->low, r->low_behind, r->high, !r->high_before, ids) >= 0;
}

/* ---- Lists ---- */

static int
make_list(struct ranges_work *w, size_t cap, struct ranges *out)
{
	*out = (struct ranges){.spans = arena_calloc(w->arena, cap + 1, sizeof(*out->spans)), .cap = cap};
	return out->spans != NULL ? 0 : ERR_NOMEM;
}

/* Nothing is known: such a list has no spans to look at. */
static int
make_all(int exact, struct ranges *out)
{
	*out = (struct ranges){.n = 1, .all = 1, .exact = exact};
	return 0;
}

/* No document that has the field matches. */
static int
make_none(struct ranges_work *w, struct ranges *out)
{
	int err = make_list(w, 0, out);

	out->exact = 1;
	return err;
}

/* meet: What is in both lists, in ${out}, which has room; returns how many spans. */
static size_t
meet(const struct ranges *a, const struct ranges *b, int ids, struct ranges_span *out)
{
	size_t n = 0;

	for (size_t i = 0, k = 0; i < a->n && k < b->n;) {
		const struct ranges_span *x = &a->spans[i], *y = &b->spans[k];
		const struct ranges_span *low = lows(&x->r, &y->r, ids) >= 0 ? x : y;
		const struct ranges_span *high = highs(&x->r, &y->r, ids) <= 0 ? x : y;
		struct ranges_span both = *low;

		both.r.high = high->r.high;
		both.r.high_before = high->r.high_before;
		/* A range has all of a point or nothing. */
		both.point = x->point || y->point;
		if (!is_empty(&both.r, ids))
			out[n++] = both;
		if (high == x)
			i++;
		else
			k++;
	}
	return n;
}

/* A selector may have thousands of conditions on one field: memory is taken anew only where a list has doubled. */
int
ranges_both(struct ranges_work *w, struct ranges *list, struct ranges *other, int ids)
{
	int exact = list->exact && other->exact, err;
	struct ranges_span *met;
	char *room;
	size_t n;

	if (list->all || other->all) {
		*list = list->all ? *other : *list;
		list->exact = exact;
		return 0;
	}
	buf_clear(&w->spans);
	err = buf_reserve(&w->spans, (list->n + other->n + 1) * sizeof(*met), &room);
	if (err != 0)
		return err;
	met = (struct ranges_span *)(void *)room;
	n = meet(list, other, ids, met);
	if (n > list->cap && n <= other->cap)
		*list = *other;
	else if (n > list->cap && (err = make_list(w, 2 * n, list)) != 0)
		return err;
	if (n > 0)
		memcpy(list->spans, met, n * sizeof(*met));
	list->n = n;
	list->exact = exact;
	return 0;
}

static int
order_of(const void *a, const void *b, void *cookie)
{
	const struct ranges_span *x = a, *y = b;
	int ids = *(int *)cookie, order = lows(&x->r, &y->r, ids);

	return order != 0 ? order : highs(&x->r, &y->r, ids);
}

/* In order, and those that meet made one. */
static void
tidy(struct ranges *list, int ids)
{
	size_t n = 0;

	if (list->n > 1)
		qsort_r(list->spans, list->n, sizeof(*list->spans), order_of, &ids);
	for (size_t i = 0; i < list->n; i++) {
		struct ranges_span *last = n > 0 ? &list->spans[n - 1] : NULL, *span = &list->spans[i];

		if (last == NULL ||
		    cut_compare(span->r.low, span->r.low_behind, last->r.high, !last->r.high_before, ids) >= 0) {
			list->spans[n++] = *span;
		} else if (highs(&span->r, &last->r, ids) > 0) {
			last->r.high = span->r.high;
			last->r.high_before = span->r.high_before;
			last->point = 0;
		}
	}
	list->n = n;
}

/* any_of: What is in any of ${n} lists. */
static int
any_of(struct ranges_work *w, const struct ranges *lists, size_t n, int ids, struct ranges *out)
{
	size_t total = 0;
	int all = 0, exact = 1, err;

	for (size_t i = 0; i < n; i++) {
		total += lists[i].n;
		exact = exact && lists[i].exact;
		if (lists[i].all)
			all = lists[i].exact || all == 2 ? 2 : 1;
	}
	/* What else lets pass too much is of no importance beside what lets all pass. */
	if (all != 0)
		return make_all(all == 2, out);
	err = make_list(w, total, out);
	if (err != 0)
		return err;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < lists[i].n; k++)
			out->spans[out->n++] = lists[i].spans[k];
	out->exact = exact;
	tidy(out, ids);
	return 0;
}

/* ---- Conditions on a value, by sort keys ---- */

/* The sort key of ${k}, cut where it is too long. */
static int
key_of(struct ranges_work *w, const struct constant *k, struct jstr *keyp, int *wholep)
{
	int err;

	buf_clear(&w->key);
	err = query_sortkey(k->json, &w->scratch, &w->key);
	if (err != 0)
		return err;
	*wholep = w->key.len <= RANGES_KEY_MAX;
	keyp->len = *wholep ? w->key.len : RANGES_KEY_MAX;
	keyp->s = arena_dup(w->arena, w->key.data, keyp->len);
	return keyp->s != NULL ? 0 : ERR_NOMEM;
}

static int
by_comparison(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	struct ranges_span *span;
	struct jstr key;
	int whole, err = make_list(w, 1, out);

	if (err == 0)
		err = key_of(w, &node->constants[0], &key, &whole);
	if (err != 0)
		return err;
	span = &out->spans[0];
	out->n = 1;
	out->exact = whole;
	if (node->op != SELECTOR_LT && node->op != SELECTOR_LTE) {
		span->r.low = key;
		span->r.low_behind = node->op == SELECTOR_GT && whole;
	}
	if (node->op != SELECTOR_GT && node->op != SELECTOR_GTE) {
		span->r.high = key;
		span->r.high_before = node->op == SELECTOR_LT && whole;
	}
	span->point = node->op == SELECTOR_EQ && whole;
	return 0;
}

static void
add_types(struct ranges *list, const char *first, const char *last)
{
	struct query_range *r = &list->spans[list->n++].r;

	r->low = (struct jstr){first, 1};
	r->high = (struct jstr){last, 1};
}

static int
by_type(struct ranges_work *w, struct jstr name, int exact, struct ranges *out)
{
	static const struct {
		const char *name;
		char first, last;
	} types[] = {{"null", SORTKEY_NULL, SORTKEY_NULL}, {"boolean", SORTKEY_FALSE, SORTKEY_TRUE},
	    {"number", SORTKEY_NUMBER, SORTKEY_NUMBER}, {"string", SORTKEY_STRING, SORTKEY_STRING},
	    {"array", SORTKEY_ARRAY, SORTKEY_ARRAY}, {"object", SORTKEY_OBJECT, SORTKEY_OBJECT}};
	int err = make_list(w, 1, out);

	for (size_t i = 0; err == 0 && i < sizeof(types) / sizeof(types[0]); i++)
		if (jstr_is(&name, types[i].name))
			add_types(out, &types[i].first, &types[i].last);
	out->exact = exact;
	return err;
}

/* More values than there may be ranges: from the least to the greatest.  They are sorted. */
static int
by_hull(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	struct query_range *r = &out->spans[out->n++].r;
	int whole, err = key_of(w, &node->constants[0], &r->low, &whole);

	return err != 0 ? err : key_of(w, &node->constants[node->nconstants - 1], &r->high, &whole);
}

static int
by_list(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	static const char array = SORTKEY_ARRAY;
	int many = node->nconstants > LIMIT_FIND_RANGES, whole;
	int err = make_list(w, many ? 2 : node->nconstants + 1, out);

	if (err != 0)
		return err;
	if (many) {
		err = by_hull(w, node, out);
	} else {
		for (size_t i = 0; err == 0 && i < node->nconstants; i++) {
			struct ranges_span *span = &out->spans[out->n++];

			err = key_of(w, &node->constants[i], &span->r.low, &whole);
			span->r.high = span->r.low;
			span->point = whole;
		}
	}
	if (err != 0)
		return err;
	add_types(out, &array, &array);
	tidy(out, 0);
	return 0;
}

/* What begins with the printable ASCII that ${node}'s string begins with, whatever the case and the accents. */
static int
by_beginning(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	static const char level_end = 0x01; /* of ICU's: no byte of a level is as low */
	struct jstr prefix = node->constants[0].v.text, key;
	const char *end;
	size_t n = 0;
	int err;

	while (n < prefix.len && n < RANGES_KEY_MAX / 4 && prefix.s[n] >= 0x20 && prefix.s[n] < 0x7f)
		n++;
	if (n == 0)
		return by_type(w, (struct jstr){"string", 6}, 0, out);
	buf_clear(&w->key);
	buf_putc(&w->key, (char)SORTKEY_STRING);
	err = icu_sortkey((struct jstr){prefix.s, n}, SIZE_MAX, &w->key);
	if (err == 0)
		err = make_list(w, 1, out);
	if (err != 0)
		return err;
	end = memchr(w->key.data, level_end, w->key.len);
	key.len = end != NULL ? (size_t)(end - w->key.data) : 1;
	key.s = arena_dup(w->arena, w->key.data, key.len);
	if (key.s == NULL)
		return ERR_NOMEM;
	out->n = 1;
	out->spans[0].r.low = out->spans[0].r.high = key;
	return 0;
}

/* Conditions of which no more than the type of the values is known. */
static int
by_kind(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	switch (node->op) {
	case SELECTOR_TYPE:
		return by_type(w, node->constants[0].v.text, 1, out);
	case SELECTOR_MOD:
		return by_type(w, (struct jstr){"number", 6}, 0, out);
	case SELECTOR_REGEX:
		return by_type(w, (struct jstr){"string", 6}, 0, out);
	case SELECTOR_SIZE:
	case SELECTOR_ALL:
	case SELECTOR_ELEM_MATCH:
	case SELECTOR_ALL_MATCH:
		return by_type(w, (struct jstr){"array", 5}, 0, out);
	case SELECTOR_KEY_MAP_MATCH:
		return by_type(w, (struct jstr){"object", 6}, 0, out);
	default:
		return make_all(0, out);
	}
}

/* ---- Conditions on _id, by bytes ---- */

static int
add_id(struct ranges_work *w, const struct constant *k, struct ranges *out)
{
	struct ranges_span *span = &out->spans[out->n];
	struct jstr id = k->v.text;

	/* There is no document without an id, nor one whose id is a number. */
	if (k->v.type != JREAD_STRING || id.len == 0)
		return 0;
	id.s = arena_dup(w->arena, id.s, id.len);
	if (id.s == NULL)
		return ERR_NOMEM;
	*span = (struct ranges_span){.r = {.low = id, .high = id}, .point = 1};
	out->n++;
	return 0;
}

static int
ids_by_list(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	int err = make_list(w, node->nconstants, out);

	for (size_t i = 0; err == 0 && i < node->nconstants; i++)
		err = add_id(w, &node->constants[i], out);
	if (err != 0)
		return err;
	out->exact = 1;
	tidy(out, 1);
	if (out->n > LIMIT_FIND_RANGES) {
		out->spans[0].r.high = out->spans[out->n - 1].r.high;
		out->spans[0].point = 0;
		out->n = 1;
		out->exact = 0;
	}
	return 0;
}

static int
ids_by_comparison(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	int above = node->op == SELECTOR_GT || node->op == SELECTOR_GTE, err;
	struct ranges_span *span;

	/* A string is above all else. */
	if (node->constants[0].v.type != JREAD_STRING || node->constants[0].v.text.len == 0)
		return above ? make_all(1, out) : make_none(w, out);
	err = make_list(w, 1, out);
	if (err == 0)
		err = add_id(w, &node->constants[0], out);
	if (err != 0)
		return err;
	span = &out->spans[0];
	span->point = node->op == SELECTOR_EQ;
	if (above)
		span->r.high.len = 0;
	else if (node->op != SELECTOR_EQ)
		span->r.low.len = 0;
	span->r.low_behind = node->op == SELECTOR_GT;
	span->r.high_before = node->op == SELECTOR_LT;
	out->exact = 1;
	return 0;
}

/* No byte of UTF-8 is 0xff. */
static int
ids_by_beginning(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	struct jstr prefix = node->constants[0].v.text;
	char *behind;
	int err = make_list(w, 1, out);

	if (err == 0)
		err = add_id(w, &node->constants[0], out);
	if (err != 0)
		return err;
	if (prefix.len == 0)
		return make_all(1, out);
	behind = arena_dup(w->arena, prefix.s, prefix.len);
	if (behind == NULL)
		return ERR_NOMEM;
	behind[prefix.len - 1] = (char)((unsigned char)behind[prefix.len - 1] + 1);
	out->spans[0].r.high = (struct jstr){behind, prefix.len};
	out->spans[0].r.high_before = 1;
	out->spans[0].point = 0;
	out->exact = 1;
	return 0;
}

/* ---- Conditions ---- */

static int
by_condition(struct ranges_work *w, const struct selector_node *node, int ids, struct ranges *out)
{
	switch (node->op) {
	case SELECTOR_LT:
	case SELECTOR_LTE:
	case SELECTOR_EQ:
	case SELECTOR_GTE:
	case SELECTOR_GT:
		return ids ? ids_by_comparison(w, node, out) : by_comparison(w, node, out);
	case SELECTOR_IN:
		return ids ? ids_by_list(w, node, out) : by_list(w, node, out);
	case SELECTOR_BEGINS_WITH:
		return ids ? ids_by_beginning(w, node, out) : by_beginning(w, node, out);
	case SELECTOR_EXISTS:
		if (node->numbers[0] != 0)
			return make_all(1, out);
		return ids ? make_all(0, out) : make_none(w, out);
	default:
		return ids ? make_all(0, out) : by_kind(w, node, out);
	}
}

/*
 * Selectors compare _id by bytes, which is not the order of sort keys: only what is equal stays so, and ids that are equal by ICU alone pass
 * as well.
 */
static int
by_id_condition(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	int err;

	if (node->op != SELECTOR_EQ && (node->op != SELECTOR_IN || node->nconstants > LIMIT_FIND_RANGES))
		return make_all(0, out);
	err = by_condition(w, node, 0, out);
	out->exact = 0;
	return err;
}

/* ---- Selectors ---- */

static int of_node(
    struct ranges_work *w, const struct selector_node *node, struct jstr field, int ids, struct ranges *out);

/* All kids' at once: one after the other, each with all before it, would take memory as the square of their number. */
static int
of_any(struct ranges_work *w, const struct selector_node *node, struct jstr field, int ids, struct ranges *out)
{
	size_t n = 0, i = 0;
	struct ranges *lists;
	int err = 0;

	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		n++;
	lists = arena_calloc(w->arena, n, sizeof(*lists));
	if (lists == NULL)
		return ERR_NOMEM;
	for (const struct selector_node *kid = node->kid; err == 0 && kid != NULL; kid = kid->next)
		err = of_node(w, kid, field, ids, &lists[i++]);
	return err == 0 ? any_of(w, lists, n, ids, out) : err;
}

static int
of_all(struct ranges_work *w, const struct selector_node *node, struct jstr field, int ids, struct ranges *out)
{
	struct ranges one;
	int err = of_node(w, node->kid, field, ids, out);

	for (const struct selector_node *kid = node->kid->next; err == 0 && kid != NULL; kid = kid->next) {
		err = of_node(w, kid, field, ids, &one);
		if (err == 0)
			err = ranges_both(w, out, &one, ids);
	}
	return err;
}

/* The recursion is as deep as the selector: LIMIT_SELECTOR_DEPTH. */
static int
of_node(struct ranges_work *w, const struct selector_node *node, struct jstr field, int ids, struct ranges *out)
{
	int any = node->op == SELECTOR_OR;

	if (node->op == SELECTOR_FIELD && jstr_equal(node->name, field)) {
		if (!ids && jstr_is(&field, "_id"))
			return by_id_condition(w, node->kid, out);
		return by_condition(w, node->kid, ids, out);
	}
	if ((node->op != SELECTOR_AND && !any) || node->kid == NULL)
		return make_all(node->op == SELECTOR_EVERY || node->op == SELECTOR_AND || any, out);
	return any ? of_any(w, node, field, ids, out) : of_all(w, node, field, ids, out);
}

int
ranges_of_field(struct ranges_work *w, const struct selector_node *node, struct jstr field, struct ranges *out)
{
	return of_node(w, node, field, 0, out);
}

int
ranges_of_ids(struct ranges_work *w, const struct selector_node *node, struct ranges *out)
{
	return of_node(w, node, (struct jstr){"_id", 3}, 1, out);
}
