/*
 * feedmatch.c: filter=_selector, and the documents of _find.
 *
 * As in CouchDB a selector sees the document with _id, _rev, _deleted, _attachments and, of a winner, _conflicts; a row
 * passes if one of the leaves that it names does, and names only those.  What the selector does not look at is not read: one of
 * ids alone costs no document.
 */
#include "feedmatch.h"

#include "base/limits.h"
#include "db/revtree.h"
#include "render.h"

#define SPECIAL (QUERY_WANTS_ATTACHMENTS | QUERY_WANTS_CONFLICTS)

struct match {
	struct query_selector *s;
	unsigned wants;
	struct arena *arena;
	int conflicts; /* the winner has them */
	struct db_doc *doc;
	const struct db_rev *rev; /* the content of the one revision, where it is known */
};

static int
rev_text(struct match *m, const struct rev *rev, struct jstr *textp)
{
	struct buf b;

	buf_init_arena(&b, m->arena, 64 + 2 * LIMIT_REV_LEN);
	rev_put(&b, rev);
	*textp = (struct jstr){b.data, b.len};
	return buf_failed(&b);
}

/* Of the rendered document ${text} the members that are no part of the body, as an object. */
static int
keep_special(struct match *m, const struct buf *text, struct jstr *morep)
{
	struct buf key, out;
	struct jstr name, value;
	struct jread j;
	int err;

	buf_init_arena(&key, m->arena, RENDER_MAX);
	buf_init_arena(&out, m->arena, RENDER_MAX);
	buf_putc(&out, '{');
	jread_init(&j, text->data, text->len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &key, &name)) == 0) {
		int special = jstr_is(&name, "_attachments") || jstr_is(&name, "_conflicts");

		err = jread_skip(&j, &value);
		if (err != 0 || !special)
			continue;
		if (out.len > 1)
			buf_putc(&out, ',');
		buf_put_json(&out, name.s, name.len);
		buf_putc(&out, ':');
		buf_put(&out, value.s, value.len);
	}
	buf_putc(&out, '}');
	*morep = (struct jstr){out.data, out.len};
	return err == ERR_END ? buf_failed(&out) : err;
}

/* ${at}: a leaf of db_doc_tree(); NULL: the winner. */
static int
special_members(struct match *m, const struct revpos *at, struct jstr *morep)
{
	struct render_opts o = {.conflicts = m->conflicts && at == NULL};
	struct buf text;
	int err;

	buf_init_arena(&text, m->arena, RENDER_MAX);
	err = at == NULL ? render_doc(&text, m->doc, &o, m->arena, NULL) : render_rev(&text, m->doc, *at, &o, m->arena);
	return err != 0 ? err : keep_special(m, &text, morep);
}

static int
match_revision(struct match *m, const struct revnode *node, const struct revpos *at, int *passp)
{
	struct query_doc doc = {.id = m->doc->id, .deleted = node->deleted};
	struct db_rev rev;
	int err = 0;

	if (m->rev != NULL) {
		doc.body = m->rev->body;
	} else if ((m->wants & QUERY_WANTS_BODY) != 0) {
		err = db_doc_rev(m->doc, node, m->arena, &rev);
		doc.body = rev.body;
	}
	if (err == 0 && (m->wants & QUERY_WANTS_REV) != 0)
		err = rev_text(m, &node->rev, &doc.rev);
	if (err == 0 && (m->wants & SPECIAL) != 0)
		err = special_members(m, at, &doc.more);
	/* CouchDB passes over what it cannot open. */
	if (err == ERR_MISSING) {
		*passp = 0;
		return 0;
	}
	return err != 0 ? err : query_selector_match(m->s, &doc, passp);
}

static int
match_leaves(struct match *m, struct db_change *c)
{
	struct revtree *tree;
	struct rev *leaves;
	size_t i, n = 0;
	int pass, err = db_doc_tree(m->doc, (m->wants & SPECIAL) != 0, &tree);

	if (err != 0)
		return err;
	leaves = arena_calloc(m->arena, revtree_nleaves(tree), sizeof(*leaves));
	if (leaves == NULL)
		return ERR_NOMEM;
	for (i = 0; i < revtree_nleaves(tree); i++) {
		struct revpos at = revtree_leaf_pos(tree, i);

		err = match_revision(m, revtree_leaf(tree, i), &at, &pass);
		if (err != 0)
			return err;
		if (pass)
			leaves[n++] = revtree_leaf(tree, i)->rev;
	}
	c->leaves = leaves;
	c->nleaves = n;
	return 0;
}

int
feedmatch_row(struct query_selector *s, struct db_snap *snap, struct arena *a, int all_leaves, int here,
    struct db_change *c, int *passp)
{
	struct match m = {.s = s, .wants = query_selector_wants(s), .arena = a, .conflicts = 1};
	struct db_doc doc;
	int err;

	*passp = 0;
	if (m.wants == 0 && (c->nleaves == 1 || !all_leaves)) {
		struct query_doc id = {.id = c->id, .deleted = c->deleted};

		return query_selector_match(s, &id, passp);
	}
	m.doc = &doc;
	err = db_get(snap, c->id.s, c->id.len, a, &doc);
	if (err == 0 && doc.seq != c->seq)
		err = ERR_MISSING;
	if (err == 0 && here && db_doc_is_large(&doc))
		err = ERR_AGAIN;
	if (err != 0)
		return err;
	if (c->nleaves == 1 || !all_leaves)
		return match_revision(&m, &doc.winner, NULL, passp);
	err = match_leaves(&m, c);
	*passp = err == 0 && c->nleaves > 0;
	return err;
}

int
feedmatch_doc(
    struct query_selector *s, struct db_doc *doc, const struct db_rev *rev, int conflicts, struct arena *a, int *passp)
{
	struct match m = {
	    .s = s, .wants = query_selector_wants(s), .arena = a, .conflicts = conflicts, .doc = doc, .rev = rev};

	*passp = 0;
	if (!conflicts)
		m.wants &= ~(unsigned)QUERY_WANTS_CONFLICTS;
	return match_revision(&m, &doc->winner, NULL, passp);
}
