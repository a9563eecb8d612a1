/*
 * plan_couch.c: CouchDB's choice of an index.
 *
 *	all indexes -> without a filter, or named -> in scope -> usable -> named, if any of these is -> of the best kind -> the best
 *
 * 1. An index is usable if the selector, or the sort, makes sure that documents have all its columns, and if its rows have the sort's order once
 *    the columns before are constant.
 * 2. Of several that which leaves the fewest comparisons unused is best, then that with the fewest columns, then the first by name.
 * 3. All documents come last: usable without a sort, or to sort by _id where _id is compared with something.
 *
 * Where CouchDB is wrong this is not: with null (it lets nothing pass), and with an empty $or (it thinks that it has all fields).
 */
#include "plan_couch.h"

#include <assert.h>
#include <stdlib.h>

#include "base/limits.h"

static const struct jstr ID = {"_id", 3};

/*
 * $beginsWith is two comparisons, with what it is given and with that and the last of characters.  $exists narrows nothing, but
 * counts, so that of two indexes that of all fields is taken: it may cover the query.
 */
static int
is_comparison(enum selector_op op)
{
	return op == SELECTOR_BEGINS_WITH || op == SELECTOR_EXISTS || op == SELECTOR_LT || op == SELECTOR_LTE ||
	       op == SELECTOR_EQ || op == SELECTOR_GTE || op == SELECTOR_GT;
}

/* ---- What the selector says ---- */

/* Call ${fn} with each comparison of a field that must hold. */
typedef int comparison_f(void *cookie, const struct selector_node *field);

static int
each_comparison(const struct selector_node *node, comparison_f *fn, void *cookie)
{
	int err = 0;

	if (node->op == SELECTOR_FIELD && is_comparison(node->kid->op))
		return fn(cookie, node);
	if (node->op != SELECTOR_AND)
		return 0;
	for (const struct selector_node *kid = node->kid; err == 0 && kid != NULL; kid = kid->next)
		err = each_comparison(kid, fn, cookie);
	return err;
}

struct names {
	struct jstr *list; /* NULL: only count */
	size_t n;
};

static int
add_name(void *cookie, const struct selector_node *field)
{
	struct names *names = cookie;

	if (names->list != NULL)
		names->list[names->n] = field->name;
	names->n++;
	return 0;
}

/* All fields that the selector looks at. */
static void
add_all_names(const struct selector_node *node, struct names *names)
{
	if (node->op == SELECTOR_FIELD)
		add_name(names, node);
	else
		for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
			add_all_names(kid, names);
}

static void
sort_names(struct names *names)
{
	size_t n = 0;

	if (names->n > 1)
		qsort(names->list, names->n, sizeof(*names->list), jstr_order);
	for (size_t i = 0; i < names->n; i++)
		if (n == 0 || !jstr_equal(names->list[n - 1], names->list[i]))
			names->list[n++] = names->list[i];
	names->n = n;
}

static int
make_names(struct arena *a, struct names *names)
{
	names->list = arena_calloc(a, names->n + 1, sizeof(*names->list));
	names->n = 0;
	return names->list != NULL ? 0 : ERR_NOMEM;
}

/* The fields that comparisons which must hold look at, each as often as it is compared. */
static int
comparison_names(struct arena *a, const struct selector_node *node, struct names *out)
{
	int err;

	*out = (struct names){NULL, 0};
	err = each_comparison(node, add_name, out);
	if (err == 0)
		err = make_names(a, out);
	return err == 0 ? each_comparison(node, add_name, out) : err;
}

static int
has_name(const struct jstr *list, size_t n, struct jstr name)
{
	for (size_t i = 0; i < n; i++)
		if (jstr_equal(list[i], name))
			return 1;
	return 0;
}

int
plan_requires(const struct selector_node *node, struct jstr field)
{
	int any = node->op == SELECTOR_AND;

	if (node->op == SELECTOR_FIELD)
		return jstr_equal(node->name, field) &&
		       !(node->kid->op == SELECTOR_EXISTS && node->kid->numbers[0] == 0);
	if ((!any && node->op != SELECTOR_OR) || node->kid == NULL)
		return 0;
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		if (plan_requires(kid, field) == any)
			return any;
	return !any;
}

static int
is_constant(const struct selector_node *node, struct jstr field)
{
	if (node->op == SELECTOR_FIELD)
		return node->kid->op == SELECTOR_EQ && jstr_equal(node->name, field);
	if (node->op != SELECTOR_AND)
		return 0;
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		if (is_constant(kid, field))
			return 1;
	return 0;
}

static int
is_text_search(const struct selector_node *node)
{
	if (node->op == SELECTOR_TEXT)
		return 1;
	if (node->op == SELECTOR_FIELD)
		return 0;
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		if (is_text_search(kid))
			return 1;
	return 0;
}

/* ---- Ranges of fields ---- */

struct narrowing {
	struct arena *arena;
	struct collate collate;
	struct plan_field *fields; /* by name */
	size_t nfields;
	struct plan_field *field; /* at hand */
};

#define LAST "\xef\xbf\xbf" /* U+FFFF, which collates behind all others */

static int
is_null(const struct constant *k)
{
	return k->v.type == JREAD_NULL;
}

/* The order of ${k} and an end; none is beyond all. */
static int
order_of(struct narrowing *n, const struct constant *k, const struct constant *end, int without, int *orderp)
{
	*orderp = without;
	return end != NULL ? collate_constant(&n->collate, &k->v, end, orderp) : 0;
}

static int
narrow_by(struct narrowing *n, enum selector_op op, const struct constant *k)
{
	struct plan_field *f = n->field;
	int order, err = 0;

	if (op != SELECTOR_LT && op != SELECTOR_LTE) {
		err = order_of(n, k, f->low, 1, &order);
		if (err == 0 && (order > 0 || (order == 0 && op == SELECTOR_GT))) {
			f->low = k;
			f->low_open = op == SELECTOR_GT;
		}
	}
	if (err == 0 && op != SELECTOR_GT && op != SELECTOR_GTE) {
		err = order_of(n, k, f->high, -1, &order);
		if (err == 0 && (order < 0 || (order == 0 && op == SELECTOR_LT))) {
			f->high = k;
			f->high_open = op == SELECTOR_LT;
		}
	}
	if (err != 0 || f->high == NULL)
		return err;
	/* There is nothing below null. */
	if (f->low == NULL) {
		f->empty = f->high_open && is_null(f->high);
		return 0;
	}
	err = collate_constant(&n->collate, &f->low->v, f->high, &order);
	f->equal = order == 0 && !f->low_open && !f->high_open;
	f->empty = order > 0 || (order == 0 && !f->equal);
	return err;
}

/* The string ${k} and the last of characters. */
static int
make_last(struct arena *a, const struct constant *k, struct constant **outp)
{
	struct constant *last = arena_calloc(a, 1, sizeof(*last));
	struct buf text, json;
	int err;

	if (last == NULL)
		return ERR_NOMEM;
	buf_init_arena(&text, a, LIMIT_SELECTOR_LEN * 2);
	buf_put(&text, k->v.text.s, k->v.text.len);
	buf_puts(&text, LAST);
	buf_init_arena(&json, a, LIMIT_SELECTOR_LEN * 2);
	buf_put(&json, k->json.s, k->json.len - 1); /* its quote */
	buf_puts(&json, LAST "\"");
	err = buf_failed(&text) != 0 ? buf_failed(&text) : buf_failed(&json);
	*last = *k;
	last->v.text = (struct jstr){text.data, text.len};
	last->json = (struct jstr){json.data, json.len};
	*outp = last;
	return err;
}

static int
narrow(void *cookie, const struct selector_node *node)
{
	struct narrowing *n = cookie;
	const struct constant *k;
	struct constant *last;
	int err;

	/* Ids by their bytes, as they are matched: CouchDB has views' order here too, and finds nothing in ranges that it takes for empty. */
	n->collate.raw = node->kid->raw;
	/* A field begins with its name. */
	n->field = bsearch(&node->name, n->fields, n->nfields, sizeof(*n->fields), jstr_order);
	assert(n->field != NULL);
	if (node->kid->op == SELECTOR_EXISTS)
		return 0;
	k = &node->kid->constants[0];
	if (node->kid->op != SELECTOR_BEGINS_WITH)
		return narrow_by(n, node->kid->op, k);
	err = make_last(n->arena, k, &last);
	if (err == 0)
		err = narrow_by(n, SELECTOR_GTE, k);
	return err == 0 ? narrow_by(n, SELECTOR_LTE, last) : err;
}

static int
find_fields(struct plan_couch *c)
{
	struct narrowing n;
	struct names names;
	int err = comparison_names(c->arena, c->root, &names);

	if (err != 0)
		return err;
	sort_names(&names);
	c->indexable = names.list;
	c->nindexable = names.n;
	n.fields = arena_calloc(c->arena, names.n + 1, sizeof(*n.fields));
	if (n.fields == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < names.n; i++)
		n.fields[i].name = names.list[i];
	n.nfields = names.n;
	n.arena = c->arena;
	collate_init(&n.collate);
	err = each_comparison(c->root, narrow, &n);
	collate_release(&n.collate);
	c->fields = n.fields;
	c->nfields = n.nfields;
	for (size_t i = n.nfields; i > 0; i--) {
		if (n.fields[i - 1].empty) {
			c->fields = &n.fields[i - 1];
			c->nfields = 1;
		}
	}
	return err;
}

const struct plan_field *
plan_couch_field(const struct plan_couch *c, struct jstr name)
{
	return bsearch(&name, c->fields, c->nfields, sizeof(*c->fields), jstr_order);
}

/* ---- Which indexes can be taken ---- */

/* May the rows of ${index} be read in the order asked for? */
static int
can_sort(const struct plan_couch *c, const struct query_index *index)
{
	const struct query_ask *ask = c->ask;
	size_t skip = 0;

	if (ask->nsort == 0)
		return 1;
	while (skip < index->ncolumns && !jstr_equal(index->columns[skip], ask->sort[0])) {
		if (!is_constant(c->root, index->columns[skip]))
			return 0;
		skip++;
	}
	if (index->ncolumns - skip < ask->nsort)
		return 0;
	for (size_t i = 0; i < ask->nsort; i++)
		if (!jstr_equal(index->columns[skip + i], ask->sort[i]))
			return 0;
	return 1;
}

static const char *
all_docs_usable(const struct plan_couch *c)
{
	const struct query_ask *ask = c->ask;

	if (ask->nsort == 0)
		return NULL;
	if (!has_name(c->indexable, c->nindexable, ID))
		return "field_mismatch";
	return ask->nsort == 1 && jstr_equal(ask->sort[0], ID) ? NULL : "sort_order_mismatch";
}

const char *
plan_couch_usable(const struct plan_couch *c, const struct query_index *index)
{
	const struct query_ask *ask = c->ask;

	if (index == NULL)
		return all_docs_usable(c);
	for (size_t i = 0; i < index->ncolumns; i++) {
		struct jstr column = index->columns[i];

		if (!has_name(ask->sort, ask->nsort, column) && !jstr_is(&column, "_id") && !jstr_is(&column, "_rev") &&
		    !plan_requires(c->root, column))
			return "field_mismatch";
	}
	if (is_text_search(c->root))
		return "needs_text_search";
	return can_sort(c, index) ? NULL : "sort_order_mismatch";
}

int
plan_couch_in_scope(const struct query_ask *ask, const struct query_index *index)
{
	return index == NULL || !index->partitioned == !ask->in_partition;
}

static int
is_named(const struct query_ask *ask, const struct query_index *index)
{
	return index != NULL && ask->use_ddoc.len > 0 && jstr_equal(index->ddoc, ask->use_ddoc) &&
	       (ask->use_name.len == 0 || jstr_equal(index->name, ask->use_name));
}

size_t
plan_couch_prefix(const struct plan_couch *c, const struct query_index *index)
{
	size_t n = 0;

	while (n < index->ncolumns && plan_couch_field(c, index->columns[n]) != NULL)
		n++;
	return n;
}

static void
look_at(const struct plan_couch *c, struct plan_entry *e)
{
	e->rows = UINT64_MAX;
	e->stage = PLAN_RUNNING;
	if (e->index != NULL && e->index->filter.len > 0 && !is_named(c->ask, e->index)) {
		e->stage = PLAN_PARTIAL;
		e->reason = "is_partial";
	} else if (!plan_couch_in_scope(c->ask, e->index)) {
		e->stage = PLAN_OUT_OF_SCOPE;
		e->reason = "scope_mismatch";
	} else if ((e->reason = plan_couch_usable(c, e->index)) != NULL) {
		e->stage = PLAN_NOT_USABLE;
	} else if (e->index != NULL) {
		e->distance = c->nfields - plan_couch_prefix(c, e->index);
	}
}

static int
better(const void *a, const void *b)
{
	const struct plan_entry *const *x = a, *const *y = b;
	const struct query_index *left = (*x)->index, *right = (*y)->index;
	int order;

	if ((*x)->distance != (*y)->distance)
		return (*x)->distance < (*y)->distance ? -1 : 1;
	if (left == NULL || right == NULL)
		return (left == NULL) - (right == NULL);
	if (left->ncolumns != right->ncolumns)
		return left->ncolumns < right->ncolumns ? -1 : 1;
	order = jstr_order(&left->ddoc, &right->ddoc);
	return order != 0 ? order : jstr_order(&left->name, &right->name);
}

/* Of those that are usable: the named ones if there are any, and no documents where there is an index. */
static void
run(struct plan_couch *c)
{
	int has_index = 0;

	for (size_t i = 0; i < c->nentries; i++)
		c->named |= c->entries[i].stage == PLAN_RUNNING && is_named(c->ask, c->entries[i].index);
	for (size_t i = 0; i < c->nentries; i++) {
		struct plan_entry *e = &c->entries[i];

		if (e->stage == PLAN_RUNNING && c->named && !is_named(c->ask, e->index)) {
			e->stage = PLAN_EXCLUDED;
			e->reason = "excluded_by_user";
		}
		has_index |= e->stage == PLAN_RUNNING && e->index != NULL;
	}
	for (size_t i = 0; i < c->nentries; i++) {
		struct plan_entry *e = &c->entries[i];

		if (e->stage == PLAN_RUNNING && e->index == NULL && has_index) {
			e->stage = PLAN_UNFAVOURED;
			e->reason = "unfavored_type";
		} else if (e->stage == PLAN_RUNNING) {
			c->running[c->nrunning++] = e;
		}
	}
	if (c->nrunning > 1)
		qsort(c->running, c->nrunning, sizeof(struct plan_entry *), better);
	for (size_t i = 1; i < c->nrunning; i++) {
		struct plan_entry *e = c->running[i];

		e->reason = e->distance > 0                                       ? "less_overlap"
			    : e->index->ncolumns > c->running[0]->index->ncolumns ? "too_many_fields"
										  : "alphabetically_comes_after";
	}
}

int
plan_couch(const struct query_ask *ask, struct arena *a, struct plan_couch *c)
{
	int err;

	*c = (struct plan_couch){.ask = ask, .root = ask->selector->root->node, .arena = a};
	err = find_fields(c);
	if (err != 0)
		return err;
	c->nentries = ask->nindexes + 1;
	c->entries = arena_calloc(a, c->nentries, sizeof(*c->entries));
	c->running = arena_calloc(a, c->nentries, sizeof(struct plan_entry *));
	if (c->entries == NULL || c->running == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < c->nentries; i++) {
		c->entries[i].index = i < ask->nindexes ? &ask->indexes[i] : NULL;
		look_at(c, &c->entries[i]);
	}
	run(c);
	return 0;
}

/* ---- What an index covers ---- */

static int
has_column(const struct query_index *index, struct jstr name)
{
	return jstr_is(&name, "_id") || has_name(index->columns, index->ncolumns, name);
}

int
plan_couch_covers_fields(const struct query_ask *ask, const struct query_index *index)
{
	for (size_t i = 0; i < ask->nfields; i++)
		if (!has_column(index, ask->fields[i]))
			return 0;
	return ask->nfields > 0;
}

static int
covers_selector(const struct query_index *index, const struct selector_node *node)
{
	/* A row tells nothing of what is no member of the body, but for the id. */
	if (node->op == SELECTOR_FIELD)
		return has_column(index, node->name) && (*node->name.s != '_' || jstr_is(&node->name, "_id"));
	if (node->op == SELECTOR_TEXT)
		return 0;
	for (const struct selector_node *kid = node->kid; kid != NULL; kid = kid->next)
		if (!covers_selector(index, kid))
			return 0;
	return 1;
}

int
plan_couch_covers(const struct plan_couch *c, const struct query_index *index)
{
	return index != NULL && !c->ask->conflicts && plan_couch_covers_fields(c->ask, index) &&
	       covers_selector(index, c->root);
}

/* ---- Hints ---- */

int
query_plan_hints(const struct query_selector *s, struct arena *a, struct jstr **indexablep, size_t *np,
    struct jstr **unindexablep, size_t *mp)
{
	const struct selector_node *root = s->root->node;
	struct names some, all = {NULL, 0};
	size_t m = 0;
	int err = comparison_names(a, root, &some);

	add_all_names(root, &all);
	if (err == 0)
		err = make_names(a, &all);
	if (err != 0)
		return err;
	add_all_names(root, &all);
	/* As CouchDB does, with names of columns of text indexes in mind. */
	for (size_t i = 0; i < some.n; i++) {
		const char *colon = memchr(some.list[i].s, ':', some.list[i].len);

		if (colon != NULL)
			some.list[i].len = (size_t)(colon - some.list[i].s);
	}
	sort_names(&some);
	sort_names(&all);
	for (size_t i = 0; i < all.n; i++)
		if (!has_name(some.list, some.n, all.list[i]))
			all.list[m++] = all.list[i];
	*indexablep = some.list;
	*np = some.n;
	*unindexablep = all.list;
	*mp = m;
	return 0;
}
