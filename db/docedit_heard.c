/*
 * Does a verdict hold?  When a write comes to be made, what rules and validators saw may have changed: the document that
 * it replaces, the security object, the validators.  Then the write is not made but goes back (submit.c).
 *
 * What is compared is the document as it was when the transaction began, for the verdict of another write of the same
 * transaction may have been given without this one in sight, as CouchDB does within one request.
 */
#include "docedit_impl.h"

/* on_disk: This revision's body was there before the transaction. */
static int
on_disk(const struct revnode *node, const void *cookie)
{
	const struct docedit *e = cookie;

	return node->body != REVTREE_NO_BODY &&
	       (node->body < DOCEDIT_PENDING || e->pend[node->body - DOCEDIT_PENDING].w == NULL);
}

static int
stamps_hold(const struct docedit *e, const struct heard *heard)
{
	const struct dbfile *f = e->c->f;

	if (f->dbs->config.validate != NULL && heard->designs != f->designs)
		return 0;
	return heard->how == HEARD_IDLE || heard->security == f->security_stamp;
}

static int
winner_holds(const struct docedit *e, const struct heard *heard)
{
	if (!heard->by_winner)
		return 1;
	if (revtree_nleaves(e->t) == 0)
		return heard->winner.len == 0;
	return heard->winner.len > 0 && rev_equal(&revtree_leaf(e->t, 0)->rev, &heard->winner);
}

int
docedit_heard_(struct docedit *e, const struct db_write *w, int *holdsp)
{
	const struct prepared *p = w->prepared;
	const struct heard *heard = &p->heard;
	enum heard_how how;
	struct revpos at;
	int err;

	*holdsp = 1;
	if (heard->how == HEARD_SKIPPED)
		return 0;
	if (heard->how == HEARD_IDLE) {
		*holdsp = stamps_hold(e, heard);
		return 0;
	}
	how = judge_old(e->t, w, on_disk, e, &at);
	if (how == HEARD_NONE && w->kind == DB_WRITE_REPLICATE && e->nspills > 0) {
		if ((err = docedit_unspill_(e)) != 0)
			return err;
		how = judge_old(e->t, w, on_disk, e, &at);
	}
	if (how != HEARD_UNASKED)
		*holdsp = how == heard->how && stamps_hold(e, heard) && winner_holds(e, heard) &&
			  (how == HEARD_NONE || rev_equal(&revtree_at(e->t, at)->rev, &heard->old));
	return 0;
}
