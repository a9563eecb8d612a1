/* collate.h: the order of JSON values, and of strings, as CouchDB's views have it. */
#ifndef QUERY_COLLATE_H_
#define QUERY_COLLATE_H_

#include "base/buf.h"
#include "base/jread.h"
#include "number.h"

/* What comparing needs: memory for strings with escapes. */
struct collate {
	struct buf a, b;
	int raw;      /* Erlang's order of terms, strings by their bytes: of _id in selectors, of raw views */
	size_t steps; /* what comparing has cost so far, some 10 ns each; whoever counts sets it back */
};

/* A value, and where it stands. */
struct value {
	enum jread_type type;
	int plain;        /* a string: text holds its characters and no JSON */
	struct jstr text; /* borrowed; without white space around it */
};

/* A value to compare many others with, read beforehand. */
struct constant {
	struct value v;   /* a string is plain */
	struct jstr json; /* as it stands */
	struct number num;
};

/** collate_init(c), collate_release(c): Allocates nothing at first. */
void collate_init(struct collate *c);
void collate_release(struct collate *c);

/** collate_value(text): The value ${text}, JSON without white space around it. */
struct value collate_value(struct jstr text);

/** collate_plain(v, scratch, sp): The characters of the string ${v}, in place or in ${scratch}.  Errors: ERR_BAD_JSON, ERR_NOMEM. */
int collate_plain(const struct value *v, struct buf *scratch, struct jstr *sp) MUST_CHECK;

/** collate_plain_steps(raw, plain): What collate_plain() costs, as in struct collate, for ${raw} bytes of JSON with ${plain} of characters. */
size_t collate_plain_steps(size_t raw, size_t plain);

/** collate_strings(a, b, orderp): By ICU's root collation; valid UTF-8.  Errors: as icu_compare(). */
int collate_strings(struct jstr a, struct jstr b, int *orderp) MUST_CHECK;

/** collate_texts(c, a, b, orderp): Two JSON values, white space allowed.  Errors: ERR_BAD_JSON, ERR_NOMEM, ERR_INTERNAL. */
int collate_texts(struct collate *c, struct jstr a, struct jstr b, int *orderp) MUST_CHECK;

/** collate_constant(c, v, k, orderp): A value and a constant.  Errors: as collate_texts(). */
int collate_constant(struct collate *c, const struct value *v, const struct constant *k, int *orderp) MUST_CHECK;

#endif
