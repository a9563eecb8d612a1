/*
 * Matching.  One pass over a scope's value fills the slots of the paths that its conditions look at, then the
 * tree of conditions is walked.  The pass ends when all members are found, or when a condition fails without which
 * nothing matches; what stands behind is not even read.
 *
 * An error is kept in the selector and the condition taken to fail, so that conditions are plain truth values.
 *
 * What is looked at is paid for in steps, of which a document has some and more the longer it is; a selector that takes more does not
 * match it (docs/decisions/0016).  All loops over what is in the document end with the steps.
 */
#include "selector.h"

#include <string.h>

#include "base/limits.h"

#define READ_BYTES 4  /* bytes of a value that a step pays for, where they are passed over */
#define DIGIT_BYTES 2 /* and digits of an integer that is divided */

static int run(struct query_selector *s, struct selector_scope *scope, const struct value *v);
static int test(struct query_selector *s, const struct selector_node *node, const struct value *v);

static int
fail(struct query_selector *s, int err)
{
	if (s->err == 0)
		s->err = err;
	return 0;
}

void
selector_allow(struct query_selector *s, size_t len)
{
	s->steps = LIMIT_MATCH_WORK + len * LIMIT_MATCH_WORK_BYTE;
}

int
selector_spend(struct query_selector *s, size_t cost)
{
	if (cost >= s->steps) {
		s->steps = 0;
		return 0;
	}
	s->steps -= cost;
	return 1;
}

/* ---- Conditions on a value ---- */

static int
compare(struct query_selector *s, const struct selector_node *node, const struct value *v, size_t i, int *orderp)
{
	int err;

	s->collate.raw = node->raw;
	s->collate.steps = 0;
	err = collate_constant(&s->collate, v, &node->constants[i], orderp);
	if (err != 0)
		return fail(s, err);
	return selector_spend(s, s->collate.steps);
}

static int
test_order(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	int order = 0;

	if (!compare(s, node, v, 0, &order))
		return 0;
	switch (node->op) {
	case SELECTOR_LT:
		return order < 0;
	case SELECTOR_LTE:
		return order <= 0;
	case SELECTOR_EQ:
		return order == 0;
	case SELECTOR_NE:
		return order != 0;
	case SELECTOR_GTE:
		return order >= 0;
	default:
		return order > 0;
	}
}

/* Is ${v} equal to one of the constants? */
static int
is_listed(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	size_t lo = 0, hi = node->nconstants;
	int order = 0;

	if (!node->sorted) {
		for (size_t i = 0; i < hi; i++)
			if (selector_spend(s, 1) && compare(s, node, v, i, &order) && order == 0)
				return 1;
		return 0;
	}
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (!selector_spend(s, 1) || !compare(s, node, v, mid, &order))
			return 0;
		if (order == 0)
			return 1;
		if (order > 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

/* Step to the next element of an array: 1, or 0 behind the last or when it would be too much. */
static int
next_element(struct query_selector *s, struct jread *j, struct value *elementp)
{
	struct jstr text;
	int err = jread_array_next(j);

	if (err == 0)
		err = jread_skip(j, &text);
	if (err != 0)
		return err == ERR_END ? 0 : fail(s, err);
	*elementp = collate_value(text);
	return selector_spend(s, 1 + text.len / READ_BYTES);
}

static int
begin_array(struct query_selector *s, const struct value *v, struct jread *j)
{
	int err;

	jread_init(j, v->text.s, v->text.len);
	err = jread_array_begin(j);
	return err == 0 ? 1 : fail(s, err);
}

/* An array has what is asked for if one of its elements is listed. */
static int
test_in(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	struct value element;
	struct jread j;

	if (v->type != JREAD_ARRAY)
		return is_listed(s, node, v);
	if (!begin_array(s, v, &j))
		return 0;
	while (next_element(s, &j, &element))
		if (is_listed(s, node, &element))
			return 1;
	return 0;
}

/* Where ${text} is among the constants; behind them: nowhere. */
static size_t
place_of(struct query_selector *s, const struct selector_node *node, struct jstr text)
{
	size_t lo = 0, hi = node->nconstants;

	while (lo < hi && selector_spend(s, 1)) {
		size_t mid = (lo + hi) / 2;
		int order = selector_order(node->constants[mid].json, text);

		if (order == 0)
			return mid;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return node->nconstants;
}

/* As Erlang's lists:member() of each: the very same term, 1 and 1.0 being two. */
static int
has_all(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	size_t left = node->nconstants;
	struct value element;
	struct jread j;

	if (!begin_array(s, v, &j))
		return 0;
	s->round++;
	while (left > 0 && next_element(s, &j, &element)) {
		size_t at = place_of(s, node, element.text);

		if (at < node->nconstants && node->seen[at] != s->round) {
			node->seen[at] = s->round;
			left--;
		}
	}
	return left == 0;
}

/* All constants are elements; or the only one is an array and equals the value. */
static int
test_all(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	int order = 0, err;

	if (v->type != JREAD_ARRAY || node->nconstants == 0)
		return 0;
	if (has_all(s, node, v))
		return 1;
	if (node->numbers[0] != 1 || node->constants->v.type != JREAD_ARRAY)
		return 0;
	s->collate.raw = 1;
	s->collate.steps = 0;
	err = collate_texts(&s->collate, v->text, node->constants->json, &order);
	if (err != 0)
		return fail(s, err);
	return selector_spend(s, s->collate.steps) && order == 0;
}

static int
test_size(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	struct value element;
	struct jread j;
	int64_t n = 0;

	if (v->type != JREAD_ARRAY || !begin_array(s, v, &j))
		return 0;
	while (n <= node->numbers[0] && next_element(s, &j, &element))
		n++;
	return n == node->numbers[0];
}

static int
test_type(const struct selector_node *node, const struct value *v)
{
	static const char *const names[] = {[JREAD_ERROR] = "",
	    [JREAD_OBJECT] = "object",
	    [JREAD_ARRAY] = "array",
	    [JREAD_STRING] = "string",
	    [JREAD_NUMBER] = "number",
	    [JREAD_TRUE] = "boolean",
	    [JREAD_FALSE] = "boolean",
	    [JREAD_NULL] = "null"};

	return jstr_is(&node->constants->v.text, names[v->type]);
}

static int
test_string(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	struct jstr prefix, plain;
	int err, match;

	if (v->type != JREAD_STRING)
		return 0;
	err = collate_plain(v, &s->plain, &plain);
	if (err != 0)
		return fail(s, err);
	if (!selector_spend(s, collate_plain_steps(v->text.len, plain.len)))
		return 0;
	if (node->op == SELECTOR_REGEX) {
		err = regex_match(node->regex, plain, &s->work, &match);
		return err == 0 ? match : fail(s, err);
	}
	prefix = node->constants->v.text;
	return plain.len >= prefix.len && memcmp(plain.s, prefix.s, prefix.len) == 0;
}

static int
test_mod(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	struct number n;

	if (v->type != JREAD_NUMBER || !selector_spend(s, v->text.len / DIGIT_BYTES))
		return 0;
	number_read(v->text, &n);
	return number_rem(&n, node->numbers[0], node->numbers[1]);
}

/* ---- Selectors on what is within a value ---- */

/* $elemMatch: some element matches.  $allMatch: there is one, and all do. */
static int
test_elements(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	int all = node->op == SELECTOR_ALL_MATCH, any = 0;
	struct value element;
	struct jread j;

	if (v->type != JREAD_ARRAY || !begin_array(s, v, &j))
		return 0;
	while (next_element(s, &j, &element)) {
		any = run(s, node->scope, &element);
		if (any != all)
			return any;
	}
	return any;
}

/* Some key, as a string, matches. */
static int
test_keys(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	struct value key = {.type = JREAD_STRING, .plain = 1};
	const char *from;
	struct jread j;
	int err;

	if (v->type != JREAD_OBJECT)
		return 0;
	jread_init(&j, v->text.s, v->text.len);
	err = jread_object_begin(&j);
	while (err == 0 && (from = j.p, err = jread_object_next(&j, &s->key, &key.text)) == 0) {
		if (run(s, node->scope, &key))
			return 1;
		err = jread_skip(&j, NULL);
		if (!selector_spend(s, 1 + (size_t)(j.p - from) / READ_BYTES))
			return 0;
	}
	return err == ERR_END ? 0 : fail(s, err);
}

static int
test(struct query_selector *s, const struct selector_node *node, const struct value *v)
{
	switch (node->op) {
	case SELECTOR_NOT:
		return !test(s, node->kid, v);
	case SELECTOR_ELEM_MATCH:
	case SELECTOR_ALL_MATCH:
		return test_elements(s, node, v);
	case SELECTOR_KEY_MAP_MATCH:
		return test_keys(s, node, v);
	case SELECTOR_IN:
		return test_in(s, node, v);
	case SELECTOR_NIN:
		return !test_in(s, node, v);
	case SELECTOR_ALL:
		return test_all(s, node, v);
	case SELECTOR_EXISTS:
		return node->numbers[0] != 0;
	case SELECTOR_TYPE:
		return test_type(node, v);
	case SELECTOR_SIZE:
		return test_size(s, node, v);
	case SELECTOR_MOD:
		return test_mod(s, node, v);
	case SELECTOR_REGEX:
	case SELECTOR_BEGINS_WITH:
		return test_string(s, node, v);
	default:
		return test_order(s, node, v);
	}
}

/* ---- Selectors ---- */

static int
test_field(struct query_selector *s, const struct selector_node *node, const struct value *self)
{
	const struct selector_node *condition = node->kid;

	if (node->slot == NULL)
		return test(s, condition, self);
	switch (node->slot->state) {
	case SELECTOR_MISSING:
		return condition->op == SELECTOR_EXISTS && condition->numbers[0] == 0;
	case SELECTOR_FOUND:
		/* It was tested when it was found, or else we were not here. */
		return node->first || test(s, condition, &node->slot->v);
	case SELECTOR_BAD_PATH:
		break;
	}
	return 0;
}

static int
holds(struct query_selector *s, const struct selector_node *node, const struct value *self)
{
	const struct selector_node *kid = node->kid;

	if (!selector_spend(s, 1))
		return 0;
	switch (node->op) {
	case SELECTOR_AND:
		for (; kid != NULL; kid = kid->next)
			if (!holds(s, kid, self))
				return 0;
		return 1;
	case SELECTOR_OR:
		for (; kid != NULL; kid = kid->next)
			if (holds(s, kid, self))
				return 1;
		/* CouchDB: of no alternatives, one is always true. */
		return node->kid == NULL;
	case SELECTOR_NOR:
		for (; kid != NULL; kid = kid->next)
			if (holds(s, kid, self))
				return 0;
		return 1;
	case SELECTOR_NOT:
		return !holds(s, kid, self);
	case SELECTOR_FIELD:
		return test_field(s, node, self);
	default:
		/* The empty selector; and $text, for which CouchDB has to believe the text index. */
		return 1;
	}
}

/* ---- The pass ---- */

/* Returns how many there are below ${edge}. */
static size_t
reset(struct selector_edge *edge, enum selector_state state)
{
	size_t n = edge->nkids;

	for (size_t i = 0; i < edge->nkids; i++) {
		if (edge->kids[i]->slot != NULL)
			edge->kids[i]->slot->state = state;
		if (edge->kids[i]->nkids > 0)
			n += reset(edge->kids[i], state);
	}
	return n;
}

static struct selector_edge *
find(const struct selector_edge *edge, struct jstr name)
{
	size_t lo = 0, hi = edge->nkids;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = selector_order(edge->kids[mid]->name, name);

		if (order == 0)
			return edge->kids[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Fill the slots below ${edge} from the members of ${object}, of which ${left} are wanted.  Returns 0 once nothing can match. */
static int
fill_members(struct query_selector *s, struct selector_edge *edge, struct jstr object, size_t left)
{
	struct jread j;
	int err;

	jread_init(&j, object.s, object.len);
	err = jread_object_begin(&j);
	while (err == 0 && left > 0) {
		const char *from = j.p;
		struct selector_edge *kid;
		struct jstr key, text;
		struct value v;

		err = jread_object_next(&j, &s->key, &key);
		if (err != 0)
			break;
		kid = find(edge, key);
		err = jread_skip(&j, &text);
		if (!selector_spend(s, 1 + (size_t)(j.p - from) / READ_BYTES))
			return 0;
		if (err != 0 || kid == NULL)
			continue;
		v = collate_value(text);
		if (!selector_fill(s, kid, &v))
			return 0;
		left--;
	}
	return err == 0 || err == ERR_END ? 1 : fail(s, err);
}

static int
fill_elements(struct query_selector *s, struct selector_edge *edge, const struct value *v)
{
	struct value element;
	struct jread j;
	size_t i = 0;

	if (edge->nelements == 0)
		return 1;
	if (!begin_array(s, v, &j))
		return 0;
	/* Some may be one element by several names. */
	for (int64_t at = 0; i < edge->nelements && next_element(s, &j, &element); at++)
		for (; i < edge->nelements && edge->elements[i]->index == at; i++)
			if (!selector_fill(s, edge->elements[i], &element))
				return 0;
	return s->steps > 0;
}

/* The recursion is as deep as the value: LIMIT_JSON_DEPTH. */
int
selector_fill(struct query_selector *s, struct selector_edge *edge, const struct value *v)
{
	if (edge->slot != NULL) {
		edge->slot->state = SELECTOR_FOUND;
		edge->slot->v = *v;
		for (const struct selector_node *node = edge->slot->first; node != NULL; node = node->slot_next)
			if (!selector_spend(s, 1) || !test(s, node->kid, v))
				return 0;
	}
	if (edge->nkids == 0)
		return 1;
	if (!selector_spend(s, reset(edge, v->type == JREAD_OBJECT ? SELECTOR_MISSING : SELECTOR_BAD_PATH)))
		return 0;
	if (v->type == JREAD_OBJECT)
		return fill_members(s, edge, v->text, edge->nkids);
	return v->type == JREAD_ARRAY ? fill_elements(s, edge, v) : 1;
}

/* Does ${v} match the selector of ${scope}? */
static int
run(struct query_selector *s, struct selector_scope *scope, const struct value *v)
{
	return selector_fill(s, scope->paths, v) && holds(s, scope->node, v);
}

/* ---- Documents ---- */

static int
fill_one(struct query_selector *s, const char *name, enum jread_type type, struct jstr text)
{
	struct selector_edge *edge = find(s->root->paths, (struct jstr){name, strlen(name)});
	struct value v = {.type = type, .plain = type == JREAD_STRING, .text = text};

	return edge == NULL || selector_fill(s, edge, &v);
}

static int
fill_document(struct query_selector *s, const struct query_doc *doc)
{
	struct selector_edge *paths = s->root->paths;

	if (!selector_spend(s, reset(paths, SELECTOR_MISSING)) || !fill_one(s, "_id", JREAD_STRING, doc->id) ||
	    ((s->wants & QUERY_WANTS_REV) != 0 && !fill_one(s, "_rev", JREAD_STRING, doc->rev)) ||
	    (doc->deleted && !fill_one(s, "_deleted", JREAD_TRUE, (struct jstr){"true", 4})))
		return 0;
	if (doc->body.len > 0 && s->nbody > 0 && !fill_members(s, paths, doc->body, s->nbody))
		return 0;
	return doc->more.len == 0 || fill_members(s, paths, doc->more, paths->nkids);
}

/* The members of the object ${members}, each behind a comma. */
static void
put_members(struct buf *out, struct jstr members)
{
	if (members.len <= 2)
		return;
	buf_putc(out, ',');
	buf_put(out, members.s + 1, members.len - 2);
}

/* The document as one value. */
static int
put_document(struct query_selector *s, const struct query_doc *doc, struct value *selfp)
{
	buf_clear(&s->self);
	buf_puts(&s->self, "{\"_id\":");
	buf_put_json(&s->self, doc->id.s, doc->id.len);
	buf_puts(&s->self, ",\"_rev\":");
	buf_put_json(&s->self, doc->rev.s, doc->rev.len);
	put_members(&s->self, doc->body);
	if (doc->deleted)
		buf_puts(&s->self, ",\"_deleted\":true");
	put_members(&s->self, doc->more);
	buf_putc(&s->self, '}');
	selfp->text = (struct jstr){s->self.data, s->self.len};
	return buf_failed(&s->self);
}

int
query_selector_match(struct query_selector *s, const struct query_doc *doc, int *matchp)
{
	struct value self = {.type = JREAD_OBJECT, .text = {"{}", 2}};

	s->err = 0;
	s->work = LIMIT_REGEX_WORK;
	selector_allow(s, doc->body.len + doc->more.len);
	if (s->root->whole)
		s->err = put_document(s, doc, &self);
	*matchp = s->err == 0 && fill_document(s, doc) && holds(s, s->root->node, &self);
	if (s->err != 0 || s->steps == 0)
		*matchp = 0;
	return s->err;
}
