/* selector.h: what the selector's files share.  Private to query/. */
#ifndef QUERY_SELECTOR_H_
#define QUERY_SELECTOR_H_

#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/jread.h"
#include "collate.h"
#include "query.h"
#include "regex.h"

enum selector_op {
	/* Of selectors. */
	SELECTOR_EVERY, /* the empty selector */
	SELECTOR_AND,
	SELECTOR_OR,
	SELECTOR_NOR,
	SELECTOR_NOT,
	SELECTOR_FIELD, /* the condition below holds for the field's value */
	/* Of values, with a selector below. */
	SELECTOR_ELEM_MATCH,
	SELECTOR_ALL_MATCH,
	SELECTOR_KEY_MAP_MATCH,
	/* Of values, with an argument. */
	SELECTOR_LT,
	SELECTOR_LTE,
	SELECTOR_EQ,
	SELECTOR_NE,
	SELECTOR_GTE,
	SELECTOR_GT,
	SELECTOR_IN,
	SELECTOR_NIN,
	SELECTOR_ALL,
	SELECTOR_EXISTS,
	SELECTOR_TYPE,
	SELECTOR_SIZE,
	SELECTOR_MOD,
	SELECTOR_REGEX,
	SELECTOR_BEGINS_WITH,
	SELECTOR_TEXT, /* stands where a selector does: CouchDB's {"$default":{"$text":...}} */
	SELECTOR_UNSUPPORTED
};

/*
 * One operator of a selector.  Parsing makes the tree, normalising rewrites it, planning fills in what is below
 * the line; matching walks it.  All memory is the selector's arena.
 */
struct selector_node {
	enum selector_op op;
	struct jstr name;           /* SELECTOR_FIELD: the field, or the path with dots */
	struct jstr arg;            /* the argument as JSON */
	struct selector_node *kid;  /* the first below */
	struct selector_node *next; /* the next beside */
	/* ---- */
	struct selector_slot *slot;      /* SELECTOR_FIELD: where its value is found; NULL: the value itself */
	struct selector_node *slot_next; /* the next that is tested when the slot is filled */
	int first; /* SELECTOR_FIELD: without it nothing matches, so it is tested when the slot is filled */
	int raw;   /* compare as Erlang does */
	struct constant *constants; /* comparisons: the argument; lists: its elements */
	size_t nconstants;
	int sorted;          /* the constants ascend */
	uint64_t *seen;      /* SELECTOR_ALL: for each constant the last pass that found it */
	int64_t numbers[2];  /* SELECTOR_SIZE, SELECTOR_MOD; SELECTOR_EXISTS: 0 or 1; SELECTOR_ALL: values asked for */
	struct regex *regex; /* SELECTOR_REGEX; of the selector's set */
	struct selector_scope *scope; /* SELECTOR_*_MATCH: the selector below */
};

enum selector_state {
	SELECTOR_MISSING,  /* the object has no such member */
	SELECTOR_BAD_PATH, /* the path goes on where there is no object */
	SELECTOR_FOUND
};

/* A path whose value some condition needs. */
struct selector_slot {
	enum selector_state state;
	struct value v;
	struct selector_node *first; /* those to test at once, by slot_next */
	void *cookie;                /* whose the path is, where it is no selector's */
};

/* A node of the tree of paths: the member ${name} of an object, or the element ${index} of an array. */
struct selector_edge {
	struct jstr name;
	int64_t index;               /* -1: the name is none */
	struct selector_slot *slot;  /* NULL: no path ends here */
	struct selector_edge **kids; /* in selector_order() */
	size_t nkids, cap;
	struct selector_edge **elements; /* those of the kids that are elements, as these follow each other */
	size_t nelements;
};

/* A selector and the value that it is applied to: the document, or the elements of $elemMatch and its kin. */
struct selector_scope {
	struct selector_edge *paths;
	struct selector_node *node;
	int whole; /* a condition looks at the value itself */
};

struct query_selector {
	struct arena *arena;
	struct selector_scope *root;
	struct regex_set *regexes; /* NULL: none */
	unsigned wants;            /* QUERY_WANTS_* */
	size_t nbody;              /* members of the body that paths begin with */
	size_t nnodes;             /* of the tree */
	size_t npaths;             /* bytes of all paths */
	size_t nvalues;            /* constants */
	struct errtext *why;       /* while it is made; may be NULL */
	/* For one match at a time. */
	struct collate collate;
	struct buf key, plain, self;
	size_t work;    /* what regular expressions may still cost */
	size_t steps;   /* and all else; 0: too much for this document */
	uint64_t round; /* counts passes of $all */
	int err;        /* the first error of this match */
};

/** selector_order(a, b): By length, then bytes: for looking up. */
static inline int
selector_order(struct jstr a, struct jstr b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.s, b.s, a.len);
}

/** selector_alloc(s, n): ${n} cleared bytes, or NULL. */
void *selector_alloc(struct query_selector *s, size_t n) MUST_CHECK;

/** selector_parse(s, text, nodep): The tree of the canonical JSON ${text} as it stands, implicit operators made explicit. */
int selector_parse(struct query_selector *s, struct jstr text, struct selector_node **nodep) MUST_CHECK;

/** selector_refuse(s, code, what, json): Fail with CouchDB's reason: ${what}, then ${json} as Erlang prints it. */
int selector_refuse(struct query_selector *s, int code, const char *what, struct jstr json);

/** selector_refuse_default(s, code, what, arg): As selector_refuse() with {"$default":${arg}}, CouchDB's form of $text. */
int selector_refuse_default(struct query_selector *s, int code, const char *what, struct jstr arg);

/** selector_op_name(op): "$lt" for SELECTOR_LT.  Static. */
const char *selector_op_name(enum selector_op op);

/** selector_normalise(s, nodep): Fields down to the values' operators, negations away where they can be. */
int selector_normalise(struct query_selector *s, struct selector_node **nodep) MUST_CHECK;

/** selector_plan(s, node): Prepare matching: paths, constants, regular expressions. */
int selector_plan(struct query_selector *s, struct selector_node *node) MUST_CHECK;

/** selector_add_path(s, edge, path, slotp): Follow ${path} from ${edge}, making what is not there; a dot behind a backslash does not separate. */
int selector_add_path(
    struct query_selector *s, struct selector_edge *edge, struct jstr path, struct selector_slot **slotp) MUST_CHECK;

/** selector_end_paths(s, edge): No path from ${edge} on will be added any more. */
int selector_end_paths(struct query_selector *s, struct selector_edge *edge) MUST_CHECK;

/** selector_allow(s, len): A document of ${len} bytes is next: steps enough for it. */
void selector_allow(struct query_selector *s, size_t len);

/** selector_spend(s, cost): Returns 0 if that is more steps than are left, and none are left then. */
int selector_spend(struct query_selector *s, size_t cost);

/**
 * selector_fill(s, edge, v): The value ${v} is at the end of ${edge}: fill the slots from there on.  Returns 0 once nothing can match, when
 * the steps are used up, and on an error, which is in s->err.
 */
int selector_fill(struct query_selector *s, struct selector_edge *edge, const struct value *v);

/** selector_put(node, out): Append ${node} as JSON. */
void selector_put(const struct selector_node *node, struct buf *out);

#endif
