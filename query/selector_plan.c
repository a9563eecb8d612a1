/*
 * The third step: what matching needs is worked out once.
 *
 * The fields of a scope (the document, or the elements of one $elemMatch) are joined into a tree of paths, so that one pass over
 * the value finds them all.  Conditions that stand in nothing but $and are marked: they are tested as soon as their
 * field is found, and the first that fails ends the pass.
 */
#include "selector.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define SORT_FROM 8 /* elements of a list from which a binary search is worth its while */

/* ---- Paths ---- */

/* The element that ${name} means, as Erlang reads an integer; -1: none. */
static int64_t
index_of(struct jstr name)
{
	size_t at = name.len > 0 && (*name.s == '+' || *name.s == '-');
	int64_t v = 0;

	if (at == name.len)
		return -1;
	for (size_t i = at; i < name.len; i++) {
		if (name.s[i] < '0' || name.s[i] > '9' || v > INT32_MAX)
			return -1;
		v = v * 10 + (name.s[i] - '0');
	}
	return v > 0 && *name.s == '-' ? -1 : v;
}

static int
grow(struct query_selector *s, struct selector_edge *edge)
{
	size_t cap = edge->cap > 0 ? edge->cap * 2 : 4;
	struct selector_edge **kids = selector_alloc(s, cap * sizeof(*kids));

	if (kids == NULL)
		return ERR_NOMEM;
	if (edge->nkids > 0)
		memcpy(kids, edge->kids, edge->nkids * sizeof(*kids));
	edge->kids = kids;
	edge->cap = cap;
	return 0;
}

/* The edge ${name} from *${edgep}, made if need be, into *${edgep}. */
static int
step(struct query_selector *s, struct jstr name, struct selector_edge **edgep)
{
	struct selector_edge *edge = *edgep, *kid;
	size_t lo = 0, hi = edge->nkids;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = selector_order(edge->kids[mid]->name, name);

		if (order == 0) {
			*edgep = edge->kids[mid];
			return 0;
		}
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (edge->nkids == edge->cap && grow(s, edge) != 0)
		return ERR_NOMEM;
	kid = selector_alloc(s, sizeof(*kid));
	if (kid == NULL)
		return ERR_NOMEM;
	kid->name = name;
	kid->index = index_of(name);
	memmove(&edge->kids[lo + 1], &edge->kids[lo], (edge->nkids - lo) * sizeof(*edge->kids));
	edge->kids[lo] = kid;
	edge->nkids++;
	*edgep = kid;
	return 0;
}

/* A dot behind a backslash is part of the name. */
static int
is_separator(struct jstr path, const char *p)
{
	return *p == '.' && (p == path.s || p[-1] != '\\');
}

int
selector_add_path(struct query_selector *s, struct selector_edge *edge, struct jstr path, struct selector_slot **slotp)
{
	const char *p = path.s, *end = path.s + path.len;
	char *names = selector_alloc(s, path.len);
	unsigned depth = 0;

	if (names == NULL)
		return ERR_NOMEM;
	for (;; p++) {
		const char *from = p;
		size_t len = 0;

		for (; p < end && !is_separator(path, p); p++) {
			if (*p != '\\')
				names[len++] = *p;
		}
		if (p == from || ++depth > LIMIT_JSON_DEPTH)
			return err_why(s->why, ERR_FIELD_NAME, "Invalid field name: %.*s", (int)path.len, path.s);
		if (step(s, (struct jstr){names, len}, &edge) != 0)
			return ERR_NOMEM;
		names += len;
		if (p == end)
			break;
	}
	if (edge->slot == NULL)
		edge->slot = selector_alloc(s, sizeof(*edge->slot));
	*slotp = edge->slot;
	return edge->slot != NULL ? 0 : ERR_NOMEM;
}

static int
order_of_indexes(const void *a, const void *b)
{
	const struct selector_edge *x = *(struct selector_edge *const *)a, *y = *(struct selector_edge *const *)b;

	return (x->index > y->index) - (x->index < y->index);
}

/* The recursion is as deep as a path: LIMIT_JSON_DEPTH. */
int
selector_end_paths(struct query_selector *s, struct selector_edge *edge)
{
	size_t n = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < edge->nkids; i++) {
		err = selector_end_paths(s, edge->kids[i]);
		n += edge->kids[i]->index >= 0;
	}
	if (err != 0 || n == 0)
		return err;
	edge->elements = selector_alloc(s, n * sizeof(*edge->elements));
	if (edge->elements == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < edge->nkids; i++)
		if (edge->kids[i]->index >= 0)
			edge->elements[edge->nelements++] = edge->kids[i];
	qsort(edge->elements, n, sizeof(struct selector_edge *), order_of_indexes);
	return 0;
}

/* ---- Constants ---- */

static int
read_constant(struct query_selector *s, struct jstr json, struct constant *k)
{
	struct buf scratch;
	struct jstr plain;
	int err;

	if (++s->nvalues > LIMIT_SELECTOR_VALUES)
		return err_why(s->why, ERR_SELECTOR, "The selector has too many values.");
	k->v = collate_value(json);
	k->json = json;
	if (k->v.type == JREAD_NUMBER)
		number_read(json, &k->num);
	if (k->v.type != JREAD_STRING)
		return 0;
	buf_init(&scratch, LIMIT_SELECTOR_LEN);
	err = collate_plain(&k->v, &scratch, &plain);
	if (err == 0) {
		k->v.text = (struct jstr){arena_dup(s->arena, plain.s, plain.len), plain.len};
		k->v.plain = 1;
		err = k->v.text.s != NULL ? 0 : ERR_NOMEM;
	}
	buf_release(&scratch);
	return err;
}

static int
plan_constant(struct query_selector *s, struct selector_node *node)
{
	node->constants = selector_alloc(s, sizeof(*node->constants));
	node->nconstants = 1;
	return node->constants != NULL ? read_constant(s, node->arg, node->constants) : ERR_NOMEM;
}

static int
order_of(const void *a, const void *b, void *cookie)
{
	struct query_selector *s = cookie;
	const struct constant *left = a, *right = b;
	int order = 0, err = collate_constant(&s->collate, &left->v, right, &order);

	if (err != 0 && s->err == 0)
		s->err = err;
	return order;
}

/* The elements of an array; sorted if they are many and only ever looked for. */
static int
plan_list(struct query_selector *s, struct selector_node *node, int sort)
{
	struct jstr element;
	struct jread j;
	size_t n = 0;
	int err;

	jread_init(&j, node->arg.s, node->arg.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		err = jread_skip(&j, NULL);
		n++;
	}
	if (err != ERR_END)
		return err;
	if (n > LIMIT_SELECTOR_VALUES)
		return err_why(s->why, ERR_SELECTOR, "The selector has too many values.");
	node->constants = arena_calloc(s->arena, n + 1, sizeof(*node->constants));
	if (node->constants == NULL)
		return ERR_NOMEM;
	jread_init(&j, node->arg.s, node->arg.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		err = jread_skip(&j, &element);
		if (err == 0)
			err = read_constant(s, element, &node->constants[node->nconstants++]);
	}
	if (err != ERR_END)
		return err;
	if (!sort || n < SORT_FROM)
		return 0;
	s->collate.raw = node->raw;
	qsort_r(node->constants, n, sizeof(*node->constants), order_of, s);
	node->sorted = 1;
	return s->err;
}

static int
order_of_texts(const void *a, const void *b)
{
	return selector_order(((const struct constant *)a)->json, ((const struct constant *)b)->json);
}

/* Each value once, in order. */
static int
plan_all(struct query_selector *s, struct selector_node *node)
{
	struct constant *all;
	size_t n = 0;
	int err = plan_list(s, node, 0);

	if (err != 0 || node->nconstants == 0)
		return err;
	all = node->constants;
	qsort(all, node->nconstants, sizeof(*all), order_of_texts);
	for (size_t i = 0; i < node->nconstants; i++)
		if (n == 0 || selector_order(all[n - 1].json, all[i].json) != 0)
			all[n++] = all[i];
	node->numbers[0] = (int64_t)node->nconstants;
	node->nconstants = n;
	node->seen = selector_alloc(s, n * sizeof(*node->seen));
	return node->seen != NULL ? 0 : ERR_NOMEM;
}

static int
plan_mod(struct query_selector *s, struct selector_node *node)
{
	int err = plan_list(s, node, 0);

	if (err != 0)
		return err;
	/* A divisor of more than 18 digits is refused: CouchDB would take it. */
	if (node->constants[0].num.kind != NUMBER_SMALL || node->constants[0].num.i == 0)
		return selector_refuse(s, ERR_OPERATOR_ARG, "Bad argument for operator $mod: ", node->arg);
	node->numbers[0] = node->constants[0].num.i;
	/* No remainder has so many digits. */
	node->numbers[1] = node->constants[1].num.kind == NUMBER_SMALL ? node->constants[1].num.i : INT64_MAX;
	return 0;
}

static int
plan_regex(struct query_selector *s, struct selector_node *node)
{
	int err = plan_constant(s, node);

	if (err == 0 && s->regexes == NULL)
		err = regex_set_new(&s->regexes);
	if (err != 0)
		return err;
	err = regex_new(s->regexes, node->constants->v.text, &node->regex);
	if (err == ERR_OPERATOR_ARG)
		return selector_refuse(s, err, "Bad argument for operator $regex: ", node->arg);
	if (err == ERR_TOO_LARGE)
		return err_why(s->why, ERR_SELECTOR, "The selector's regular expressions are too large.");
	return err;
}

static int
plan_size(struct query_selector *s, struct selector_node *node)
{
	int err = plan_constant(s, node);

	if (err == 0) {
		int small = node->constants->num.kind == NUMBER_SMALL;

		node->numbers[0] = small ? node->constants->num.i : INT64_MAX;
	}
	return err;
}

/* ---- Scopes ---- */

static int plan_scope(struct query_selector *s, struct selector_node *node, int raw, struct selector_scope **scopep);

/* A condition on a value. */
static int
plan_condition(struct query_selector *s, struct selector_node *node, int raw)
{
	node->raw = raw;
	switch (node->op) {
	case SELECTOR_NOT:
		return plan_condition(s, node->kid, raw);
	case SELECTOR_ELEM_MATCH:
	case SELECTOR_ALL_MATCH:
	case SELECTOR_KEY_MAP_MATCH:
		return plan_scope(s, node->kid, raw, &node->scope);
	case SELECTOR_IN:
	case SELECTOR_NIN:
		return plan_list(s, node, 1);
	case SELECTOR_ALL:
		return plan_all(s, node);
	case SELECTOR_EXISTS:
		node->numbers[0] = jstr_is(&node->arg, "true");
		return 0;
	case SELECTOR_SIZE:
		return plan_size(s, node);
	case SELECTOR_MOD:
		return plan_mod(s, node);
	case SELECTOR_REGEX:
		return plan_regex(s, node);
	default:
		return plan_constant(s, node);
	}
}

static int
plan_field(struct query_selector *s, struct selector_scope *scope, struct selector_node *node, int raw, int first)
{
	int err;

	if (node->name.len == 0) {
		scope->whole = 1;
	} else {
		err = selector_add_path(s, scope->paths, node->name, &node->slot);
		if (err != 0)
			return err;
		node->first = first;
		if (first) {
			node->slot_next = node->slot->first;
			node->slot->first = node;
		}
		raw |= jstr_is(&node->name, "_id");
	}
	return plan_condition(s, node->kid, raw);
}

/* ${first}: without this node nothing matches. */
static int
plan_node(struct query_selector *s, struct selector_scope *scope, struct selector_node *node, int raw, int first)
{
	int err = 0;

	switch (node->op) {
	case SELECTOR_FIELD:
		return plan_field(s, scope, node, raw, first);
	case SELECTOR_AND:
	case SELECTOR_OR:
	case SELECTOR_NOR:
	case SELECTOR_NOT:
		first &= node->op == SELECTOR_AND;
		for (struct selector_node *kid = node->kid; err == 0 && kid != NULL; kid = kid->next)
			err = plan_node(s, scope, kid, raw, first);
		return err;
	default:
		return 0;
	}
}

static int
plan_scope(struct query_selector *s, struct selector_node *node, int raw, struct selector_scope **scopep)
{
	struct selector_scope *scope = selector_alloc(s, sizeof(*scope));
	int err;

	if (scope == NULL || (scope->paths = selector_alloc(s, sizeof(*scope->paths))) == NULL)
		return ERR_NOMEM;
	scope->node = node;
	*scopep = scope;
	err = plan_node(s, scope, node, raw, 1);
	return err != 0 ? err : selector_end_paths(s, scope->paths);
}

static void
find_wants(struct query_selector *s)
{
	static const struct {
		const char *name;
		unsigned want;
	} special[] = {{"_id", 0}, {"_rev", QUERY_WANTS_REV}, {"_deleted", 0},
	    {"_attachments", QUERY_WANTS_ATTACHMENTS}, {"_conflicts", QUERY_WANTS_CONFLICTS}};
	const struct selector_edge *paths = s->root->paths;

	if (s->root->whole)
		s->wants = QUERY_WANTS_BODY | QUERY_WANTS_REV | QUERY_WANTS_ATTACHMENTS | QUERY_WANTS_CONFLICTS;
	for (size_t i = 0; i < paths->nkids; i++) {
		struct jstr name = paths->kids[i]->name;

		if (name.len == 0 || *name.s != '_') {
			s->wants |= QUERY_WANTS_BODY;
			s->nbody++;
		}
		for (size_t k = 0; k < sizeof(special) / sizeof(special[0]); k++)
			if (jstr_is(&name, special[k].name))
				s->wants |= special[k].want;
	}
}

int
selector_plan(struct query_selector *s, struct selector_node *node)
{
	struct selector_scope *root;
	int err = plan_scope(s, node, 0, &root);

	if (err == 0) {
		s->root = root;
		find_wants(s);
	}
	return err;
}
