/* find.c: which revisions of a document are here: what replicators ask. */
#include "dbi.h"

int
db_doc_find(struct db_doc *doc, const struct rev *rev, int latest,
    int (*fn)(struct db_doc *doc, struct revpos at, void *cookie), void *cookie, size_t *np)
{
	struct revtree *t;
	struct revpos at;
	size_t i, n;
	int err;

	*np = 0;
	err = db_doc_tree(doc, 1, &t);
	if (err != 0)
		return err;
	if (!revtree_find(t, rev, &at))
		return 0;
	if (!latest) {
		if (revtree_at(t, at)->body == REVTREE_NO_BODY)
			return 0;
		*np = 1;
		return fn(doc, at, cookie);
	}
	n = revtree_nleaves(t);
	for (i = 0; err == 0 && i < n; i++) {
		if (!revtree_descends(t, at, i))
			continue;
		(*np)++;
		err = fn(doc, revtree_leaf_pos(t, i), cookie);
	}
	return err;
}

int
db_doc_knows(struct db_doc *doc, const struct rev *rev, int *knownp)
{
	struct revtree *t;
	struct revpos at;
	int err;

	/* Mostly the winner is asked for, and its id stands before the tree. */
	*knownp = rev_equal(&doc->winner.rev, rev);
	if (*knownp)
		return 0;
	err = db_doc_tree(doc, 1, &t);
	if (err == 0)
		*knownp = revtree_find(t, rev, &at);
	return err;
}

int
db_doc_older_leaves(struct db_doc *doc, uint64_t gen, struct rev **revsp, size_t *np)
{
	struct revtree *t;
	size_t i;
	int err = db_doc_tree(doc, 1, &t);

	*np = 0;
	if (err != 0)
		return err;
	if ((*revsp = arena_calloc(doc->arena, revtree_nleaves(t), sizeof(**revsp))) == NULL)
		return ERR_NOMEM;
	for (i = 0; i < revtree_nleaves(t); i++)
		if (revtree_leaf(t, i)->rev.gen < gen)
			(*revsp)[(*np)++] = revtree_leaf(t, i)->rev;
	return 0;
}

/* The tree has them the other way round, and those that are deleted behind the others: two lists become one. */
static size_t
next_leaf(const struct revtree *t, size_t *livep, size_t nlive, size_t *deletedp)
{
	if (*deletedp == nlive)
		return --*livep;
	if (*livep == 0 || rev_cmp(&revtree_leaf(t, *livep - 1)->rev, &revtree_leaf(t, *deletedp - 1)->rev) > 0)
		return --*deletedp;
	return --*livep;
}

int
db_doc_leaves(struct db_doc *doc, const struct rev *of, int (*fn)(struct db_doc *doc, struct revpos at, void *cookie),
    void *cookie, size_t *np)
{
	size_t i, nlive = 0, live, deleted;
	struct revtree *t;
	struct revpos at;
	int err = db_doc_tree(doc, 1, &t);

	*np = 0;
	if (err != 0 || (of != NULL && !revtree_find(t, of, &at)))
		return err;
	deleted = revtree_nleaves(t);
	while (nlive < deleted && !revtree_leaf(t, nlive)->deleted)
		nlive++;
	live = nlive;
	while (err == 0 && (live > 0 || deleted > nlive)) {
		i = next_leaf(t, &live, nlive, &deleted);
		if (of != NULL && !revtree_descends(t, at, i))
			continue;
		(*np)++;
		err = fn(doc, revtree_leaf_pos(t, i), cookie);
	}
	return err;
}
