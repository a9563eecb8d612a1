/*
 * columns.c: the key of a document in a declared index, and the document as a key has it.
 *
 * The columns' paths are joined into a tree as a selector's are, and one pass over the document finds their values.  A document that lacks a
 * column has no key: it stands not in the index.  null is a value as any other.
 */
#include "selector.h"

#include <stdlib.h>

#include "base/limits.h"
#include "plan.h"
#include "sortkey.h"

/* A member of the object that is written; one for each edge of the tree of paths. */
struct columns_member {
	const struct selector_edge *edge;
	struct columns_member *kids; /* side by side */
	size_t nkids;
	const struct jstr *value; /* the column's, of the row at hand; NULL: none of its own */
};

struct query_columns {
	struct query_selector *s; /* lends memory and the pass */
	struct selector_edge *paths;
	struct selector_slot **slots; /* in the order of the columns */
	struct jstr *values;          /* too; of the row at hand */
	size_t n;
	struct columns_member *root;
};

static int
add_members(struct query_columns *c, struct columns_member *member, const struct selector_edge *edge)
{
	member->edge = edge;
	if (edge->slot != NULL)
		edge->slot->cookie = member;
	if (edge->nkids == 0)
		return 0;
	member->kids = arena_calloc(c->s->arena, edge->nkids, sizeof(*member->kids));
	if (member->kids == NULL)
		return ERR_NOMEM;
	member->nkids = edge->nkids;
	for (size_t i = 0; i < edge->nkids; i++)
		if (add_members(c, &member->kids[i], edge->kids[i]) != 0)
			return ERR_NOMEM;
	return 0;
}

static int
add_columns(struct query_columns *c, const struct jstr *columns, size_t n)
{
	struct arena *a = c->s->arena;
	int err;

	c->slots = arena_calloc(a, n + 1, sizeof(struct selector_slot *));
	c->values = arena_calloc(a, n + 1, sizeof(*c->values));
	c->paths = arena_calloc(a, 1, sizeof(*c->paths));
	c->root = arena_calloc(a, 1, sizeof(*c->root));
	if (c->slots == NULL || c->values == NULL || c->paths == NULL || c->root == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		struct jstr path = {arena_dup(a, columns[i].s, columns[i].len), columns[i].len};

		err = path.s != NULL ? selector_add_path(c->s, c->paths, path, &c->slots[i]) : ERR_NOMEM;
		if (err != 0)
			return err;
	}
	c->n = n;
	err = selector_end_paths(c->s, c->paths);
	if (err == 0)
		err = add_members(c, c->root, c->paths);
	for (size_t i = 0; err == 0 && i < n; i++)
		((struct columns_member *)c->slots[i]->cookie)->value = &c->values[i];
	return err;
}

int
query_columns_new(const struct jstr *columns, size_t n, struct query_columns **cp)
{
	struct query_columns *c = calloc(1, sizeof(*c));
	int err;

	if (c == NULL)
		return ERR_NOMEM;
	/* The selector of everything. */
	err = query_selector_new((struct jstr){"{}", 2}, &c->s, NULL);
	if (err == 0)
		err = add_columns(c, columns, n);
	if (err != 0)
		query_columns_free(c);
	else
		*cp = c;
	return err;
}

void
query_columns_free(struct query_columns *c)
{
	if (c == NULL)
		return;
	query_selector_free(c->s);
	free(c);
}

/* find: The values of the columns; *${hasp}: all are there. */
static int
find(struct query_columns *c, struct jstr doc, int *hasp)
{
	struct value v = collate_value(doc);

	*hasp = 0;
	c->s->err = 0;
	/* An index lacks no document for what it costs. */
	c->s->steps = SIZE_MAX;
	if (!selector_fill(c->s, c->paths, &v) && c->s->err != 0)
		return c->s->err;
	for (size_t i = 0; i < c->n; i++)
		if (c->slots[i]->state != SELECTOR_FOUND)
			return 0;
	*hasp = 1;
	return 0;
}

static int
put_array(const struct query_columns *c, struct buf *out)
{
	buf_putc(out, '[');
	for (size_t i = 0; i < c->n; i++) {
		if (i > 0)
			buf_putc(out, ',');
		buf_put(out, c->slots[i]->v.text.s, c->slots[i]->v.text.len);
	}
	buf_putc(out, ']');
	return buf_failed(out);
}

/* array_len: Bytes of put_array()'s text. */
static size_t
array_len(const struct query_columns *c)
{
	size_t len = c->n + 1;

	for (size_t i = 0; i < c->n; i++)
		len += c->slots[i]->v.text.len;
	return len;
}

/* put_sortkey: Of put_array()'s text; no more of it than tells that it is too long. */
static int
put_sortkey(const struct query_columns *c, struct buf *scratch, struct buf *out)
{
	const size_t end = out->len + LIMIT_INDEX_KEY + 1;
	int err = buf_putc(out, SORTKEY_ARRAY);

	for (size_t i = 0; i < c->n && err == 0 && out->len < end; i++)
		err = query_sortkey_beginning(c->slots[i]->v.text, end - out->len, scratch, out);
	return err == 0 && out->len < end ? buf_putc(out, SORTKEY_END) : err;
}

int
query_columns_row(
    struct query_columns *c, struct jstr doc, struct buf *scratch, struct buf *key, struct buf *sortkey, int *hasp)
{
	size_t before = sortkey->len;
	int err = find(c, doc, hasp);

	if (err != 0 || !*hasp || (err = put_sortkey(c, scratch, sortkey)) != 0)
		return err;
	if (sortkey->len - before > LIMIT_INDEX_KEY)
		sortkey->len = before + LIMIT_INDEX_KEY;
	else if (array_len(c) <= LIMIT_INDEX_KEY)
		err = put_array(c, key);
	return err;
}

static int
is_apart(const struct columns_member *member)
{
	if (member->value != NULL && member->nkids > 0)
		return 0;
	for (size_t i = 0; i < member->nkids; i++)
		if (!is_apart(&member->kids[i]))
			return 0;
	return 1;
}

int
query_columns_apart(const struct query_columns *c)
{
	return is_apart(c->root);
}

static int
is_special(const struct columns_member *member)
{
	return member->edge->name.len > 0 && *member->edge->name.s == '_';
}

static void put(const struct columns_member *member, struct buf *out);

/* Behind ${n} others. */
static void
put_member(const struct columns_member *member, size_t n, struct buf *out)
{
	if (n > 0)
		buf_putc(out, ',');
	buf_put_json(out, member->edge->name.s, member->edge->name.len);
	buf_putc(out, ':');
	put(member, out);
}

/* Those members whose names begin with '_', or the others; returns how many there were, after ${n}. */
static size_t
put_members(const struct columns_member *member, int special, size_t n, struct buf *out)
{
	for (size_t i = 0; i < member->nkids; i++) {
		const struct columns_member *kid = &member->kids[i];

		if (is_special(kid) != special || (special && jstr_is(&kid->edge->name, "_id")))
			continue;
		put_member(kid, n++, out);
	}
	return n;
}

/* Where a column and one within it are both there, the outer one has it all. */
static void
put(const struct columns_member *member, struct buf *out)
{
	if (member->value != NULL) {
		buf_put(out, member->value->s, member->value->len);
		return;
	}
	buf_putc(out, '{');
	for (size_t i = 0; i < member->nkids; i++)
		put_member(&member->kids[i], i, out);
	buf_putc(out, '}');
}

/* What is no member of the body comes last: whoever looks for members of the body need not go so far. */
static void
put_doc(const struct query_columns *c, struct jstr id, struct buf *out)
{
	size_t n;

	buf_putc(out, '{');
	n = put_members(c->root, 0, 0, out);
	n = put_members(c->root, 1, n, out);
	buf_puts(out, n > 0 ? ",\"_id\":" : "\"_id\":");
	buf_put_json(out, id.s, id.len);
	buf_putc(out, '}');
}

int
query_columns_values(struct jstr key, struct jstr *values, size_t n)
{
	struct jread j;
	size_t i = 0;
	int err;

	jread_init(&j, key.s, key.len);
	err = jread_peek(&j) == JREAD_ARRAY ? jread_array_begin(&j) : ERR_BAD_JSON;
	while (err == 0 && (err = jread_array_next(&j)) == 0)
		err = i < n ? jread_skip(&j, &values[i++]) : ERR_BAD_JSON;
	if (err == ERR_END)
		err = i == n ? jread_end(&j) : ERR_BAD_JSON;
	return err;
}

int
query_columns_doc(struct query_columns *c, struct jstr key, struct jstr id, struct buf *out)
{
	int err = query_columns_values(key, c->values, c->n);

	if (err != 0)
		return err;
	put_doc(c, id, out);
	return buf_failed(out);
}
