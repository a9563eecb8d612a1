/*
 * ddoc_query.c: views of the language "query".
 *
 *	"map": {"fields": {"a": "asc", "b.c": "asc"}, "partial_filter_selector": {...}}
 *
 * The order of the members is that of the columns.  Directions change no row.  An array of objects with one member each is
 * taken for the same, and "selector" for the filter where there is no other, as in indexes of CouchDB 2.0.  Anybody may
 * store such a document, and replications do: what cannot be built is left out, with a bound for what can.
 */
#include "ddoc_query.h"

#include "base/limits.h"
#include "query/plan.h"
#include "query/query.h"

#define COLUMNS_MAX 256u
#define PATHS_MAX ((size_t)LIMIT_INDEX_PATHS)

struct reading {
	struct arena *a;
	struct buf scratch;
	struct jstr *columns;
	size_t n, cap, bytes;
	struct jstr filter, legacy;
};

/* is_wrong: The definition is to blame, and not the machine. */
static int
is_wrong(int err)
{
	return err != 0 && err != ERR_NOMEM && err != ERR_INTERNAL;
}

static int
add_column(struct reading *r, struct jstr name)
{
	r->bytes += name.len;
	if (r->n == COLUMNS_MAX || r->bytes > PATHS_MAX)
		return ERR_TOO_LARGE;
	if (r->n == r->cap) {
		size_t cap = r->cap != 0 ? 4 * r->cap : 4;
		struct jstr *grown = arena_calloc(r->a, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (r->n > 0)
			memcpy(grown, r->columns, r->n * sizeof(*grown));
		r->columns = grown;
		r->cap = cap;
	}
	if ((name.s = arena_dup(r->a, name.s, name.len)) == NULL)
		return ERR_NOMEM;
	r->columns[r->n++] = name;
	return 0;
}

/* read_object: Each member is a column and its direction. */
static int
read_object(struct reading *r, struct jread *j)
{
	struct jstr name;
	int err;

	if (jread_peek(j) != JREAD_OBJECT)
		return ERR_BAD_REQUEST;
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, &r->scratch, &name)) == 0)
		if ((err = add_column(r, name)) == 0)
			err = jread_skip(j, NULL);
	return err == ERR_END ? 0 : err;
}

static int
read_fields(struct reading *r, struct jread *j)
{
	int err;

	r->n = r->bytes = 0;
	if (jread_peek(j) != JREAD_ARRAY)
		return read_object(r, j);
	err = jread_array_begin(j);
	while (err == 0 && (err = jread_array_next(j)) == 0) {
		size_t before = r->n;

		err = read_object(r, j);
		if (err == 0 && r->n != before + 1)
			err = ERR_BAD_REQUEST;
	}
	return err == ERR_END ? 0 : err;
}

static int
read_def(struct reading *r, struct jstr def)
{
	struct jread j;
	struct jstr key;
	int err;

	jread_init(&j, def.s, def.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &r->scratch, &key)) == 0) {
		if (jstr_is(&key, "fields")) {
			err = read_fields(r, &j);
			continue;
		}
		struct jstr *to = jstr_is(&key, "partial_filter_selector") ? &r->filter
				  : jstr_is(&key, "selector")              ? &r->legacy
									   : NULL;
		(void)jread_peek(&j);
		err = jread_skip(&j, to);
	}
	return err == ERR_END ? 0 : err;
}

/* check: May rows be made of it? */
static int
check(const struct reading *r)
{
	struct query_columns *c = NULL;
	struct query_selector *s = NULL;
	int err;

	if (r->n == 0)
		return ERR_BAD_REQUEST;
	err = query_columns_new(r->columns, r->n, &c);
	if (err == 0 && r->filter.len > 0)
		err = query_selector_new(r->filter, &s, NULL);
	query_columns_free(c);
	query_selector_free(s);
	return err;
}

static int
put_text(const struct reading *r, struct jstr *textp)
{
	struct buf text;

	buf_init_arena(&text, r->a, SIZE_MAX / 2);
	for (size_t i = 0; i < r->n; i++) {
		buf_putc(&text, i > 0 ? ',' : '[');
		buf_put_json(&text, r->columns[i].s, r->columns[i].len);
	}
	buf_putc(&text, ']');
	buf_put(&text, r->filter.s, r->filter.len);
	*textp = (struct jstr){text.data, text.len};
	return buf_failed(&text);
}

static int
is_every(struct jstr filter)
{
	return jstr_is(&filter, "{}") || jstr_is(&filter, "[]");
}

int
ddoc_query_map(struct jstr def, struct arena *a, struct ddoc_map *out)
{
	struct reading r = {.a = a, .filter = {"", 0}, .legacy = {"", 0}};
	int err;

	buf_init(&r.scratch, def.len + PATHS_MAX);
	err = read_def(&r, def);
	if (r.filter.len == 0)
		r.filter = r.legacy;
	if (is_every(r.filter))
		r.filter.len = 0;
	if (err == 0)
		err = check(&r);
	*out = (struct ddoc_map){.columns = r.columns, .ncolumns = r.n, .filter = r.filter};
	if (err == 0)
		err = put_text(&r, &out->text);
	buf_release(&r.scratch);
	return is_wrong(err) ? ERR_END : err;
}
