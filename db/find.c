/* find.c: which revisions of a document are here: what replicators ask. */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

#define FEW 16u /* revisions that are looked for one by one: each looks at all branches */

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

static int
take_first(struct db_doc *doc, struct revpos at, void *cookie)
{
	struct revpos *out = cookie;

	(void)doc;
	*out = at;
	return ERR_END;
}

int
db_doc_first(struct db_doc *doc, const struct rev *rev, int latest, struct revpos *atp)
{
	size_t n;
	int err = db_doc_find(doc, rev, latest, take_first, atp, &n);

	if (err != 0 && err != ERR_END)
		return err;
	return n == 0 ? ERR_MISSING : 0;
}

/* The revisions that are asked for, ordered, while the tree is gone through once. */
struct asked {
	const struct revbuf *revs;
	const struct revbuf **sorted;
	size_t n;
	unsigned char *known;
};

static int
compare_asked(const void *a, const void *b)
{
	struct rev x = rev_of(*(const struct revbuf *const *)a), y = rev_of(*(const struct revbuf *const *)b);

	return rev_cmp(&x, &y);
}

static int
mark_known(struct revnode *node, struct revpos at, void *cookie)
{
	struct asked *q = cookie;
	size_t low = 0, high = q->n;
	struct rev rev;

	(void)at;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		rev = rev_of(q->sorted[mid]);
		if (rev_cmp(&rev, &node->rev) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < q->n; low++) {
		rev = rev_of(q->sorted[low]);
		if (!rev_equal(&rev, &node->rev))
			break;
		q->known[q->sorted[low] - q->revs] = 1;
	}
	return 0;
}

static int
knows_many(const struct db_doc *doc, const struct revtree *t, struct asked *q)
{
	if ((q->sorted = arena_calloc(doc->arena, q->n, sizeof(*q->sorted))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < q->n; i++)
		q->sorted[i] = &q->revs[i];
	qsort(q->sorted, q->n, sizeof(*q->sorted), compare_asked);
	return revtree_each(t, mark_known, q);
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
db_doc_knows_each(struct db_doc *doc, const struct revbuf *revs, size_t n, unsigned char *known)
{
	struct asked q = {.revs = revs, .n = n, .known = known};
	struct revtree *t;
	int err = 0;

	if (n > FEW) {
		memset(known, 0, n);
		return (err = db_doc_tree(doc, 1, &t)) != 0 ? err : knows_many(doc, t, &q);
	}
	for (size_t i = 0; i < n && err == 0; i++) {
		struct rev rev = rev_of(&revs[i]);
		int one;

		err = db_doc_knows(doc, &rev, &one);
		known[i] = err == 0 && one;
	}
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
