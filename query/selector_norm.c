/*
 * The second step: CouchDB's normal form, which its query planner and _explain know.
 *
 * 1. Fields sink to the operators on values: {"a":{"$or":[{"$lt":1},{"b":2}]}} becomes
 *    {"$or":[{"a":{"$lt":1}},{"a.b":{"$eq":2}}]}.  Below $elemMatch and its kin they begin anew.
 * 2. Negations sink likewise and vanish where an operator has an opposite.  So a negated condition still
 *    wants its field: {"$not":{"a":1}} is {"a":{"$ne":1}}, which no document without an "a" fulfils.
 * 3. Below $elemMatch and its kin negations stay where they are, as in CouchDB.  ($nor there is an error in CouchDB that makes the
 *    condition fail; here it means what it says.)
 */
#include "selector.h"

#include <string.h>

#include "base/limits.h"

static int sink(struct query_selector *s, struct jstr path, struct selector_node **nodep);

static int
sink_all(struct query_selector *s, struct jstr path, struct selector_node *node)
{
	int err = 0;

	for (struct selector_node **kidp = &node->kid; err == 0 && *kidp != NULL; kidp = &(*kidp)->next) {
		struct selector_node *next = (*kidp)->next;

		err = sink(s, path, kidp);
		(*kidp)->next = next;
	}
	return err;
}

static int
join(struct query_selector *s, struct jstr path, struct jstr name, struct jstr *joinedp)
{
	size_t len = path.len + 1 + name.len;
	char *joined;

	if (path.len == 0) {
		*joinedp = name;
		return 0;
	}
	s->npaths += len;
	if (s->npaths > LIMIT_SELECTOR_LEN)
		return err_why(s->why, ERR_SELECTOR, "The selector's paths are too long.");
	joined = selector_alloc(s, len);
	if (joined == NULL)
		return ERR_NOMEM;
	memcpy(joined, path.s, path.len);
	joined[path.len] = '.';
	if (name.len > 0)
		memcpy(joined + path.len + 1, name.s, name.len);
	*joinedp = (struct jstr){joined, len};
	return 0;
}

/* Put *${nodep}, an operator on values, below the field ${path}. */
static int
put_below(struct query_selector *s, struct jstr path, struct selector_node **nodep)
{
	struct selector_node *field = selector_alloc(s, sizeof(*field));

	if (field == NULL)
		return ERR_NOMEM;
	field->op = SELECTOR_FIELD;
	field->name = path;
	field->kid = *nodep;
	field->kid->next = NULL;
	*nodep = field;
	return 0;
}

static int
refuse_text(struct query_selector *s, int code, const char *what, const struct selector_node *node)
{
	struct buf json;
	int err;

	buf_init(&json, LIMIT_SELECTOR_LEN + 64);
	buf_printf(&json, "{\"$text\":%.*s}", (int)node->arg.len, node->arg.s);
	err = buf_failed(&json);
	if (err == 0)
		err = selector_refuse_default(s, code, what, (struct jstr){json.data, json.len});
	buf_release(&json);
	return err;
}

/* The recursion is as deep as the selector: LIMIT_SELECTOR_DEPTH. */
static int
sink(struct query_selector *s, struct jstr path, struct selector_node **nodep)
{
	struct selector_node *node = *nodep;
	struct jstr joined;
	int err;

	switch (node->op) {
	case SELECTOR_AND:
	case SELECTOR_OR:
	case SELECTOR_NOR:
	case SELECTOR_NOT:
		return sink_all(s, path, node);
	case SELECTOR_ELEM_MATCH:
	case SELECTOR_ALL_MATCH:
	case SELECTOR_KEY_MAP_MATCH:
		err = sink(s, (struct jstr){"", 0}, &node->kid);
		return err != 0 ? err : put_below(s, path, nodep);
	case SELECTOR_FIELD:
		err = join(s, path, node->name, &joined);
		*nodep = node->kid;
		return err != 0 ? err : sink(s, joined, nodep);
	case SELECTOR_TEXT:
		if (path.len == 0)
			return 0;
		return refuse_text(s, ERR_FIELD, "Invalid field normalization on selector: ", node);
	default:
		return put_below(s, path, nodep);
	}
}

static int negate(struct query_selector *s, struct selector_node **nodep);
static int clear(struct query_selector *s, struct selector_node **nodep);

static int
each(struct query_selector *s, struct selector_node *node, enum selector_op op,
    int (*fn)(struct query_selector *, struct selector_node **))
{
	int err = 0;

	node->op = op;
	for (struct selector_node **kidp = &node->kid; err == 0 && *kidp != NULL; kidp = &(*kidp)->next) {
		struct selector_node *next = (*kidp)->next;

		err = fn(s, kidp);
		(*kidp)->next = next;
	}
	return err;
}

/* The operator that holds for exactly the other values, or SELECTOR_NOT. */
static enum selector_op
opposite(enum selector_op op)
{
	switch (op) {
	case SELECTOR_LT:
		return SELECTOR_GTE;
	case SELECTOR_LTE:
		return SELECTOR_GT;
	case SELECTOR_EQ:
		return SELECTOR_NE;
	case SELECTOR_NE:
		return SELECTOR_EQ;
	case SELECTOR_GTE:
		return SELECTOR_LT;
	case SELECTOR_GT:
		return SELECTOR_LTE;
	case SELECTOR_IN:
		return SELECTOR_NIN;
	case SELECTOR_NIN:
		return SELECTOR_IN;
	case SELECTOR_EXISTS:
		return SELECTOR_EXISTS;
	default:
		return SELECTOR_NOT;
	}
}

/* The condition ${node} on a value. */
static int
negate_condition(struct query_selector *s, struct selector_node **nodep)
{
	struct selector_node *node = *nodep, *not_node;
	enum selector_op op = opposite(node->op);

	if (op == SELECTOR_EXISTS) {
		node->arg = jstr_is(&node->arg, "true") ? (struct jstr){"false", 5} : (struct jstr){"true", 4};
		return 0;
	}
	if (op != SELECTOR_NOT) {
		node->op = op;
		return 0;
	}
	not_node = selector_alloc(s, sizeof(*not_node));
	if (not_node == NULL)
		return ERR_NOMEM;
	not_node->op = SELECTOR_NOT;
	not_node->kid = node;
	*nodep = not_node;
	return 0;
}

static int
negate(struct query_selector *s, struct selector_node **nodep)
{
	struct selector_node *node = *nodep;

	switch (node->op) {
	case SELECTOR_NOT:
		*nodep = node->kid;
		return clear(s, nodep);
	case SELECTOR_NOR:
		return each(s, node, SELECTOR_OR, clear);
	case SELECTOR_AND:
		return each(s, node, SELECTOR_OR, negate);
	case SELECTOR_OR:
		return each(s, node, SELECTOR_AND, negate);
	case SELECTOR_TEXT:
		return refuse_text(s, ERR_OPERATOR_ARG, "Bad argument for operator $not: ", node);
	default:
		return negate_condition(s, &node->kid);
	}
}

/* Look for negations from the top. */
static int
clear(struct query_selector *s, struct selector_node **nodep)
{
	struct selector_node *node = *nodep;

	switch (node->op) {
	case SELECTOR_NOT:
		*nodep = node->kid;
		return negate(s, nodep);
	case SELECTOR_NOR:
		return each(s, node, SELECTOR_AND, negate);
	case SELECTOR_AND:
	case SELECTOR_OR:
		return each(s, node, node->op, clear);
	default:
		return 0;
	}
}

int
selector_normalise(struct query_selector *s, struct selector_node **nodep)
{
	int err;

	if ((*nodep)->op == SELECTOR_EVERY)
		return 0;
	err = sink(s, (struct jstr){"", 0}, nodep);
	if (err == 0)
		err = clear(s, nodep);
	if (err == 0 && (*nodep)->op == SELECTOR_FIELD && (*nodep)->name.len == 0)
		err = err_why(s->why, ERR_SELECTOR, "One or more conditions is missing a field name.");
	return err;
}
