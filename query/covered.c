/*
 * covered.c: the wanted fields of a document from its row in an index alone.
 *
 * Every row of an index has all its columns, so the documents that rows tell of differ in values alone.  What stands between these is
 * found once, from a document whose values are the numbers of the columns and whose id is a string, as any other document is printed.
 *
 * Where a column is within another one (a and a.b), the values decide what is there, and nothing is known beforehand.
 */
#include "covered.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

#define COVERED_MEM ((size_t)64 << 20) /* a request's fields are no longer than its body */

struct query_covered {
	struct arena *arena;
	size_t n;            /* columns */
	struct jstr *values; /* theirs, of the row at hand */
	struct covered_piece {
		struct jstr words; /* in front of the value */
		size_t column;     /* n: the id */
	} * pieces;
	size_t npieces;
	struct jstr end; /* the words behind the last value */
};

/* print_sample: The wanted fields of the document whose values are the numbers of its columns. */
static int
print_sample(struct query_columns *columns, size_t n, struct query_fields *fields, struct buf *out)
{
	struct buf key, doc;
	int err;

	buf_init(&key, COVERED_MEM);
	buf_init(&doc, COVERED_MEM);
	for (size_t i = 0; i < n; i++) {
		buf_putc(&key, i > 0 ? ',' : '[');
		buf_put_u64(&key, i);
	}
	buf_puts(&key, n > 0 ? "]" : "[]");
	err = buf_failed(&key);
	if (err == 0)
		err = query_columns_doc(columns, (struct jstr){key.data, key.len}, (struct jstr){"", 0}, &doc);
	if (err == 0)
		err = query_fields_put(fields, (struct jstr){doc.data, doc.len}, out);
	buf_release(&key);
	buf_release(&doc);
	return err;
}

/* take_value: The reader is before a value of the sample, which begins at ${*atp} behind the value before it. */
static int
take_value(struct query_covered *c, struct jread *j, const char **atp)
{
	struct covered_piece *piece = &c->pieces[c->npieces];
	int is_id = jread_peek(j) == JREAD_STRING, err;
	const char *begin = j->p;
	uint64_t column = c->n;

	err = is_id ? jread_skip(j, NULL) : jread_u64(j, &column);
	if (err != 0)
		return err;
	if (c->npieces > c->n || column > c->n)
		return ERR_INTERNAL;
	*piece = (struct covered_piece){{*atp, (size_t)(begin - *atp)}, (size_t)column};
	*atp = j->p;
	c->npieces++;
	return 0;
}

/* take_apart: ${text} is the sample; each field has one value in it at most. */
static int
take_apart(struct query_covered *c, struct jstr text)
{
	const char *at = text.s;
	struct buf scratch;
	struct jread j;
	struct jstr key;
	size_t depth = 1;
	int err;

	buf_init(&scratch, COVERED_MEM);
	jread_init(&j, text.s, text.len);
	err = jread_object_begin(&j);
	while (err == 0 && depth > 0) {
		err = jread_object_next(&j, &scratch, &key);
		if (err == ERR_END) {
			err = 0;
			depth--;
		} else if (err == 0 && jread_peek(&j) == JREAD_OBJECT) {
			err = jread_object_begin(&j);
			depth++;
		} else if (err == 0) {
			err = take_value(c, &j, &at);
		}
	}
	buf_release(&scratch);
	c->end = (struct jstr){at, (size_t)(text.s + text.len - at)};
	return err;
}

static int
make(struct query_covered *c, struct query_columns *columns, struct query_fields *fields)
{
	struct buf sample;
	struct jstr text;
	int err;

	buf_init(&sample, COVERED_MEM);
	if ((err = print_sample(columns, c->n, fields, &sample)) == 0) {
		text = (struct jstr){arena_dup(c->arena, sample.data, sample.len), sample.len};
		c->values = arena_calloc(c->arena, c->n + 1, sizeof(*c->values));
		/* Each column once at most, and the id. */
		c->pieces = arena_calloc(c->arena, c->n + 1, sizeof(*c->pieces));
		err = text.s == NULL || c->values == NULL || c->pieces == NULL ? ERR_NOMEM : take_apart(c, text);
	}
	buf_release(&sample);
	return err;
}

int
query_covered_new(size_t n, struct query_columns *columns, struct query_fields *fields, struct query_covered **cp)
{
	struct query_covered *c;
	int err;

	*cp = NULL;
	if (!query_columns_apart(columns))
		return 0;
	if ((c = calloc(1, sizeof(*c))) == NULL)
		return ERR_NOMEM;
	c->n = n;
	err = arena_new(COVERED_MEM, &c->arena);
	if (err == 0)
		err = make(c, columns, fields);
	if (err != 0)
		query_covered_free(c);
	else
		*cp = c;
	return err;
}

void
query_covered_free(struct query_covered *c)
{
	if (c == NULL)
		return;
	arena_free(c->arena);
	free(c);
}

int
query_covered_put(struct query_covered *c, struct jstr key, struct jstr id, struct buf *out)
{
	int err = query_columns_values(key, c->values, c->n);

	if (err != 0)
		return err;
	for (size_t i = 0; i < c->npieces; i++) {
		const struct covered_piece *p = &c->pieces[i];

		buf_put(out, p->words.s, p->words.len);
		if (p->column == c->n)
			buf_put_json(out, id.s, id.len);
		else
			buf_put(out, c->values[p->column].s, c->values[p->column].len);
	}
	return buf_put(out, c->end.s, c->end.len);
}
