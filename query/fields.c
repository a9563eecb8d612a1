/*
 * fields.c: a document with some of its fields.
 *
 * The paths are joined into a tree as a selector's are, and one pass over the document finds their values.  Then the wanted
 * fields are gone through in the order in which they were asked for, as CouchDB does, which sets one after the other
 * in an empty object: a member stands where it was first set, and a field that is wanted whole stays so whatever part of it
 * is wanted as well.
 */
#include "selector.h"

#include <stdlib.h>

#include "base/limits.h"

/* A member of the object that is written; one for each edge of the tree of paths. */
struct fields_member {
	struct selector_edge *edge;
	struct fields_member *parent;
	/* Of the document at hand. */
	struct fields_member *first, *last, *next; /* members within, as they were set */
	int set;
	int whole; /* its value is the document's */
};

struct query_fields {
	struct query_selector *s; /* lends memory and the pass */
	struct selector_edge *paths;
	struct selector_slot **slots; /* in the order asked for */
	size_t nslots;
	struct fields_member *members; /* members[0] is the object itself */
	size_t nmembers;
};

static size_t
count_edges(const struct selector_edge *edge)
{
	size_t n = 1;

	for (size_t i = 0; i < edge->nkids; i++)
		n += count_edges(edge->kids[i]);
	return n;
}

static void
add_members(struct query_fields *f, struct selector_edge *edge, struct fields_member *parent)
{
	struct fields_member *member = &f->members[f->nmembers++];

	member->edge = edge;
	member->parent = parent;
	if (edge->slot != NULL)
		edge->slot->cookie = member;
	for (size_t i = 0; i < edge->nkids; i++)
		add_members(f, edge->kids[i], member);
}

static int
add_field(struct query_fields *f, struct jstr text)
{
	struct query_selector *s = f->s;
	struct value v = collate_value(text);
	struct jstr path;
	int err;

	if (v.type != JREAD_STRING)
		return selector_refuse(s, ERR_FIELD_JSON, "Invalid JSON for field spec: ", text);
	err = collate_plain(&v, &s->plain, &path);
	if (err != 0)
		return err;
	path.s = arena_dup(s->arena, path.s, path.len);
	return path.s != NULL ? selector_add_path(s, f->paths, path, &f->slots[f->nslots++]) : ERR_NOMEM;
}

static int
make_room(struct query_fields *f, struct jstr text)
{
	struct jread j;
	size_t n = 0;
	int err;

	jread_init(&j, text.s, text.len);
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		err = jread_skip(&j, NULL);
		n++;
	}
	if (err != ERR_END)
		return err;
	if (n > LIMIT_SELECTOR_NODES)
		return err_why(f->s->why, ERR_SELECTOR, "Too many fields.");
	f->slots = arena_calloc(f->s->arena, n + 1, sizeof(struct selector_slot *));
	f->paths = selector_alloc(f->s, sizeof(*f->paths));
	return f->slots != NULL && f->paths != NULL ? 0 : ERR_NOMEM;
}

static int
add_fields(struct query_fields *f, struct jstr text)
{
	struct jstr element;
	struct jread j;
	int err;

	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return selector_refuse(f->s, ERR_FIELDS_JSON, "Fields must be an array of strings, not: ", text);
	err = make_room(f, text);
	if (err != 0)
		return err;
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		jread_peek(&j); /* over white space */
		err = jread_skip(&j, &element);
		if (err == 0)
			err = add_field(f, element);
	}
	if (err == ERR_END)
		err = jread_end(&j);
	if (err == 0)
		err = selector_end_paths(f->s, f->paths);
	if (err != 0)
		return err;
	f->members = arena_calloc(f->s->arena, count_edges(f->paths), sizeof(*f->members));
	if (f->members == NULL)
		return ERR_NOMEM;
	add_members(f, f->paths, NULL);
	return 0;
}

int
query_fields_new(struct jstr text, struct query_fields **fp, struct errtext *why)
{
	struct query_fields *f = calloc(1, sizeof(*f));
	int err;

	if (f == NULL)
		return ERR_NOMEM;
	/* The selector of everything. */
	err = query_selector_new((struct jstr){"{}", 2}, &f->s, why);
	if (err == 0) {
		f->s->why = why;
		err = add_fields(f, text);
		f->s->why = NULL;
	}
	if (err != 0)
		query_fields_free(f);
	else
		*fp = f;
	return err;
}

void
query_fields_free(struct query_fields *f)
{
	if (f == NULL)
		return;
	query_selector_free(f->s);
	free(f);
}

/* Put ${member} into the object, with what it is in.  Returns 0 if it is in something that is there whole. */
static int
set(struct fields_member *member)
{
	struct fields_member *parent = member->parent;

	if (parent == NULL)
		return 1;
	if (!set(parent) || parent->whole)
		return 0;
	if (!member->set) {
		member->set = 1;
		if (parent->first == NULL)
			parent->first = member;
		else
			parent->last->next = member;
		parent->last = member;
	}
	return 1;
}

static void
put(const struct fields_member *member, struct buf *out)
{
	if (member->whole) {
		buf_put(out, member->edge->slot->v.text.s, member->edge->slot->v.text.len);
		return;
	}
	buf_putc(out, '{');
	for (const struct fields_member *kid = member->first; kid != NULL; kid = kid->next) {
		if (kid != member->first)
			buf_putc(out, ',');
		buf_put_json(out, kid->edge->name.s, kid->edge->name.len);
		buf_putc(out, ':');
		put(kid, out);
	}
	buf_putc(out, '}');
}

int
query_fields_put(struct query_fields *f, struct jstr doc, struct buf *out)
{
	struct value v = collate_value(doc);

	if (f->nslots == 0)
		return buf_put(out, doc.s, doc.len);
	for (size_t i = 0; i < f->nmembers; i++) {
		struct fields_member *member = &f->members[i];

		member->first = member->last = member->next = NULL;
		member->set = member->whole = 0;
	}
	f->s->err = 0;
	selector_allow(f->s, doc.len);
	if (!selector_fill(f->s, f->paths, &v) && f->s->err != 0)
		return f->s->err;
	for (size_t i = 0; i < f->nslots; i++) {
		struct fields_member *member = f->slots[i]->cookie;

		/* One element may be asked for by many names: a.1, a.01. */
		if (f->slots[i]->state == SELECTOR_FOUND && selector_spend(f->s, f->slots[i]->v.text.len) &&
		    set(member))
			member->whole = 1;
	}
	put(f->members, out);
	return buf_failed(out);
}
