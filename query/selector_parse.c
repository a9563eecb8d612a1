/*
 * The first step: from JSON to a tree of operators.  An object of several members is their $and, a value that is no
 * object of one member is compared by $eq, and each operator's argument is checked; all as CouchDB does it, in its words.
 */
#include "selector.h"

#include <string.h>

#include "base/limits.h"

/* What an operator's argument must be. */
enum arg {
	ARG_ANY,
	ARG_SELECTORS, /* a list of selectors */
	ARG_SELECTOR,  /* an object */
	ARG_LIST,
	ARG_BOOLEAN,
	ARG_STRING,
	ARG_STRING_ONLY, /* with anything else the operator is not known */
	ARG_SIZE,
	ARG_MOD,
	ARG_TEXT
};

static const struct operator
{
	const char *name;
	enum selector_op op;
	enum arg arg;
}
operators[] = {
    {"$and", SELECTOR_AND, ARG_SELECTORS},
    {"$or", SELECTOR_OR, ARG_SELECTORS},
    {"$nor", SELECTOR_NOR, ARG_SELECTORS},
    {"$not", SELECTOR_NOT, ARG_SELECTOR},
    {"$elemMatch", SELECTOR_ELEM_MATCH, ARG_SELECTOR},
    {"$allMatch", SELECTOR_ALL_MATCH, ARG_SELECTOR},
    {"$keyMapMatch", SELECTOR_KEY_MAP_MATCH, ARG_SELECTOR},
    {"$lt", SELECTOR_LT, ARG_ANY},
    {"$lte", SELECTOR_LTE, ARG_ANY},
    {"$eq", SELECTOR_EQ, ARG_ANY},
    {"$ne", SELECTOR_NE, ARG_ANY},
    {"$gte", SELECTOR_GTE, ARG_ANY},
    {"$gt", SELECTOR_GT, ARG_ANY},
    {"$in", SELECTOR_IN, ARG_LIST},
    {"$nin", SELECTOR_NIN, ARG_LIST},
    {"$all", SELECTOR_ALL, ARG_LIST},
    {"$exists", SELECTOR_EXISTS, ARG_BOOLEAN},
    {"$type", SELECTOR_TYPE, ARG_STRING},
    {"$size", SELECTOR_SIZE, ARG_SIZE},
    {"$mod", SELECTOR_MOD, ARG_MOD},
    {"$regex", SELECTOR_REGEX, ARG_STRING_ONLY},
    {"$beginsWith", SELECTOR_BEGINS_WITH, ARG_STRING_ONLY},
    {"$text", SELECTOR_TEXT, ARG_TEXT},
    {"$where", SELECTOR_UNSUPPORTED, ARG_ANY},
    {"$geoWithin", SELECTOR_UNSUPPORTED, ARG_ANY},
    {"$geoIntersects", SELECTOR_UNSUPPORTED, ARG_ANY},
    {"$near", SELECTOR_UNSUPPORTED, ARG_ANY},
    {"$nearSphere", SELECTOR_UNSUPPORTED, ARG_ANY},
};

const char *
selector_op_name(enum selector_op op)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (operators[i].op == op)
			return operators[i].name;
	return "$";
}

void *
selector_alloc(struct query_selector *s, size_t n)
{
	return arena_calloc(s->arena, 1, n);
}

int
selector_refuse(struct query_selector *s, int code, const char *what, struct jstr json)
{
	struct buf term;
	int err;

	buf_init(&term, ERRTEXT_MAX);
	/* What does not fit is cut, here as in the reason itself. */
	(void)query_put_term(&term, json);
	err = err_why(s->why, code, "%s%.*s", what, (int)term.len, term.len > 0 ? term.data : "");
	buf_release(&term);
	return err;
}

int
selector_refuse_default(struct query_selector *s, int code, const char *what, struct jstr arg)
{
	struct buf json;
	int err;

	buf_init(&json, LIMIT_SELECTOR_LEN + 64);
	buf_puts(&json, "{\"$default\":");
	buf_put(&json, arg.s, arg.len);
	buf_putc(&json, '}');
	err = buf_failed(&json);
	if (err == 0)
		err = selector_refuse(s, code, what, (struct jstr){json.data, json.len});
	buf_release(&json);
	return err;
}

static int
bad_arg(struct query_selector *s, const char *name, struct jstr arg)
{
	char what[80];

	snprintf(what, sizeof(what), "Bad argument for operator %s: ", name);
	return selector_refuse(s, ERR_OPERATOR_ARG, what, arg);
}

static int
new_node(struct query_selector *s, enum selector_op op, struct selector_node **nodep)
{
	struct selector_node *node;

	if (++s->nnodes > LIMIT_SELECTOR_NODES)
		return err_why(s->why, ERR_SELECTOR, "The selector has too many conditions.");
	node = selector_alloc(s, sizeof(*node));
	if (node == NULL)
		return ERR_NOMEM;
	node->op = op;
	*nodep = node;
	return 0;
}

static int parse(struct query_selector *s, struct jstr text, unsigned depth, struct selector_node **nodep);

static int
is_integer(struct jstr text)
{
	return text.len > 0 && (*text.s == '-' || (*text.s >= '0' && *text.s <= '9')) &&
	       memchr(text.s, '.', text.len) == NULL && memchr(text.s, 'e', text.len) == NULL;
}

/* Two integers in an array. */
static int
is_mod(struct jstr text)
{
	struct jstr element;
	struct jread j;
	int n = 0;

	jread_init(&j, text.s, text.len);
	if (jread_array_begin(&j) != 0)
		return 0;
	while (jread_array_next(&j) == 0) {
		if (jread_skip(&j, &element) != 0 || !is_integer(element))
			return 0;
		n++;
	}
	return n == 2;
}

static int
fits(enum arg kind, struct jstr arg)
{
	enum jread_type type = collate_value(arg).type;

	switch (kind) {
	case ARG_ANY:
		return 1;
	case ARG_SELECTORS:
	case ARG_LIST:
		return type == JREAD_ARRAY;
	case ARG_SELECTOR:
		return type == JREAD_OBJECT;
	case ARG_BOOLEAN:
		return type == JREAD_TRUE || type == JREAD_FALSE;
	case ARG_STRING:
	case ARG_STRING_ONLY:
		return type == JREAD_STRING;
	case ARG_SIZE:
		return is_integer(arg) && *arg.s != '-';
	case ARG_MOD:
		return is_mod(arg);
	case ARG_TEXT:
		return type != JREAD_NULL && type != JREAD_ARRAY && type != JREAD_OBJECT;
	}
	return 0;
}

static int
parse_list(struct query_selector *s, struct jstr list, unsigned depth, struct selector_node *node)
{
	struct selector_node **tail = &node->kid;
	struct jread j;
	int err;

	jread_init(&j, list.s, list.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		struct jstr element;

		err = jread_skip(&j, &element);
		if (err == 0)
			err = parse(s, element, depth + 1, tail);
		if (err == 0)
			tail = &(*tail)->next;
	}
	return err == ERR_END ? 0 : err;
}

/* {"$default":{"$text":...}} is what CouchDB makes of $text, and takes from others as well. */
static int
parse_default(struct query_selector *s, struct jstr arg, struct selector_node *node)
{
	struct buf key;
	struct jstr name, text;
	struct jread j;
	int is_text = 0;

	buf_init(&key, 64);
	jread_init(&j, arg.s, arg.len);
	if (jread_object_begin(&j) == 0 && jread_object_next(&j, &key, &name) == 0 && jstr_is(&name, "$text") &&
	    jread_skip(&j, &text) == 0)
		is_text = jread_object_next(&j, &key, &name) == ERR_END;
	buf_release(&key);
	if (!is_text)
		return selector_refuse_default(s, ERR_FIELD, "Invalid field normalization on selector: ", arg);
	node->op = SELECTOR_TEXT;
	node->arg = text;
	return 0;
}

static int
parse_operator(struct query_selector *s, struct jstr name, struct jstr arg, unsigned depth, struct selector_node *node)
{
	const struct operator* o = NULL;

	if (jstr_is(&name, "$default"))
		return parse_default(s, arg, node);
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (jstr_is(&name, operators[i].name))
			o = &operators[i];
	if (o == NULL || (o->arg == ARG_STRING_ONLY && !fits(o->arg, arg)))
		return err_why(s->why, ERR_OPERATOR, "Invalid operator: %.*s", (int)name.len, name.s);
	if (o->op == SELECTOR_UNSUPPORTED)
		return err_why(s->why, ERR_UNSUPPORTED, "Unsupported operator: %s", o->name);
	if (!fits(o->arg, arg))
		return bad_arg(s, o->name, arg);
	node->op = o->op;
	node->arg = arg;
	if (o->arg == ARG_SELECTORS)
		return parse_list(s, arg, depth, node);
	if (o->arg == ARG_SELECTOR)
		return parse(s, arg, depth + 1, &node->kid);
	return 0;
}

/* An object's only member, or one of several. */
static int
parse_member(
    struct query_selector *s, struct jstr name, struct jstr value, unsigned depth, struct selector_node **nodep)
{
	int err = new_node(s, SELECTOR_FIELD, nodep);

	if (err != 0)
		return err;
	if (name.len > 0 && *name.s == '$')
		return parse_operator(s, name, value, depth, *nodep);
	/* The name may be in memory that the next name needs. */
	(*nodep)->name = (struct jstr){arena_dup(s->arena, name.s, name.len), name.len};
	if ((*nodep)->name.s == NULL)
		return ERR_NOMEM;
	return parse(s, value, depth + 1, &(*nodep)->kid);
}

static int
parse_members(struct query_selector *s, struct jstr text, unsigned depth, size_t n, struct selector_node **nodep)
{
	struct selector_node **tail = nodep;
	struct buf key;
	struct jread j;
	int err = 0;

	if (n > 1) {
		err = new_node(s, SELECTOR_AND, nodep);
		if (err != 0)
			return err;
		tail = &(*nodep)->kid;
		depth++;
	}
	buf_init(&key, LIMIT_SELECTOR_LEN);
	jread_init(&j, text.s, text.len);
	err = jread_object_begin(&j);
	for (struct jstr name, value; err == 0 && (err = jread_object_next(&j, &key, &name)) == 0;) {
		err = jread_skip(&j, &value);
		if (err == 0)
			err = parse_member(s, name, value, depth, tail);
		if (err == 0)
			tail = &(*tail)->next;
	}
	buf_release(&key);
	return err == ERR_END ? 0 : err;
}

/* Members of an object, up to 2; of what is none, 0. */
static int
count_members(struct jstr text, size_t *np)
{
	struct buf key;
	struct jstr name;
	struct jread j;
	int err;

	*np = 0;
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return 0;
	buf_init(&key, LIMIT_SELECTOR_LEN);
	err = jread_object_begin(&j);
	while (err == 0 && *np < 2 && (err = jread_object_next(&j, &key, &name)) == 0) {
		err = jread_skip(&j, NULL);
		++*np;
	}
	buf_release(&key);
	return err == ERR_END ? 0 : err;
}

static int
parse(struct query_selector *s, struct jstr text, unsigned depth, struct selector_node **nodep)
{
	size_t n;
	int err;

	if (depth > LIMIT_SELECTOR_DEPTH)
		return err_why(s->why, ERR_SELECTOR, "The selector is nested too deeply.");
	err = count_members(text, &n);
	if (err != 0)
		return err;
	if (n > 0)
		return parse_members(s, text, depth, n, nodep);
	err = new_node(s, SELECTOR_EQ, nodep);
	if (err == 0)
		(*nodep)->arg = text;
	return err;
}

int
selector_parse(struct query_selector *s, struct jstr text, struct selector_node **nodep)
{
	struct value v = collate_value(text);

	if (v.type != JREAD_OBJECT)
		return selector_refuse(s, ERR_SELECTOR_JSON, "Selector must be a JSON object, not: ", text);
	if (jstr_is(&text, "{}"))
		return new_node(s, SELECTOR_EVERY, nodep);
	return parse(s, text, 0, nodep);
}
