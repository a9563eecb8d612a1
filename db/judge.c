/*
 * What validators are told, and which design documents they are.
 *
 * The list of design documents with validate_doc_update is made from a snapshot when it is first needed, and again after a
 * commit that touched a design document; nothing is done for it by the committer but to note the sequence.  A list that
 * was made as of dbfile.designs is right for every snapshot from that sequence up to dbfile.state.update_seq: a
 * snapshot may be ahead of what is published, and then has a list of its own.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

int
db_may_list(const struct db *db)
{
	const struct db_rules *rules = db->file->rules;

	return rules != NULL && rules->list_admin_only && !db->by.who->server_admin ? ERR_NOT_ADMIN : 0;
}

int
db_shows_alike(const struct db *db)
{
	const struct db_rules *rules = db->file->rules;

	return rules == NULL || (rules->may_read == NULL && rules->shown == NULL);
}

int
db_shows_all(const struct db *db)
{
	return db->by.who->server_admin || db_shows_alike(db) || (db->file->rules->admins_see_all && db_is_admin(db));
}

int
db_judged_json(struct buf *b, const struct jstr *id, const struct db_judged *doc)
{
	struct doc_out d = {.id = *id,
	    .deleted = doc->deleted,
	    .body = doc->body,
	    .atts = doc->atts,
	    .natts = doc->natts,
	    .revisions = doc->path,
	    .nrevisions = doc->npath};

	if (doc->npath > 0)
		d.rev = doc->path[0];
	return doc_put_json(b, &d);
}

/* ---- The old document ---- */

static enum heard_how
old_of_edit(const struct revtree *t, const struct db_write *w, struct revpos *atp)
{
	const struct rev parent = rev_of(&w->parent);
	int winner_deleted = revtree_nleaves(t) == 0 || revtree_leaf(t, 0)->deleted;

	if (revtree_nleaves(t) == 0)
		return HEARD_NONE;
	if (!w->has_parent)
		return winner_deleted ? HEARD_NONE : HEARD_UNASKED;
	if (!revtree_find(t, &parent, atp) || !revtree_is_leaf(t, *atp))
		return HEARD_UNASKED;
	return winner_deleted && revtree_at(t, *atp)->deleted && !w->deleted ? HEARD_UNASKED : HEARD_OLD;
}

enum heard_how
judge_old(const struct revtree *t, const struct db_write *w,
    int (*here)(const struct revnode *node, const void *cookie), const void *cookie, struct revpos *atp)
{
	size_t i = 0;

	if (w->kind == DB_WRITE_EDIT)
		return old_of_edit(t, w, atp);
	while (i < w->npath && !revtree_find(t, &w->path[i], atp))
		i++;
	if (i == w->npath)
		return HEARD_NONE;
	if (i == 0) {
		/* A leaf without a body takes the one that is brought. */
		if (!revtree_is_leaf(t, *atp) || revtree_at(t, *atp)->body != REVTREE_NO_BODY)
			return HEARD_UNASKED;
		if (!revtree_parent(t, *atp, atp))
			return HEARD_NONE;
	}
	while (!here(revtree_at(t, *atp), cookie))
		if (!revtree_parent(t, *atp, atp))
			return HEARD_NONE;
	return HEARD_OLD;
}

/* ---- Validators ---- */

void
judge_validators_free(struct validators *v)
{
	if (v != NULL)
		arena_free(v->arena);
}

int
judge_quiet(struct dbfile *f, uint64_t *designsp)
{
	int quiet;

	(void)pthread_mutex_lock(&f->lock);
	*designsp = f->designs;
	quiet = f->validators != NULL && f->validators->designs == f->designs && f->validators->n == 0;
	(void)pthread_mutex_unlock(&f->lock);
	return quiet;
}

/* validates: Has this design document the member? */
static int
validates(const struct jstr *body, int *yesp)
{
	struct buf scratch;
	struct jread j;
	struct jstr key;
	int err;

	*yesp = 0;
	buf_init(&scratch, body->len + 64);
	jread_init(&j, body->s, body->len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &scratch, &key)) == 0) {
		*yesp |= jstr_is(&key, "validate_doc_update");
		err = jread_skip(&j, NULL);
	}
	buf_release(&scratch);
	return err == ERR_END ? 0 : err == ERR_NOMEM ? err : ERR_CORRUPT;
}

static int
copy_validator(struct arena *a, const struct jstr *id, const struct rev *rev, struct db_validator *out)
{
	out->id = (struct jstr){arena_dup(a, id->s, id->len), id->len};
	out->rev = (struct rev){rev->gen, (const unsigned char *)arena_dup(a, rev->id, rev->len), rev->len};
	return out->id.s == NULL || out->rev.id == NULL ? ERR_NOMEM : 0;
}

static int
list_add(struct validators *l, size_t *capp, const struct db_doc *doc)
{
	if (l->n == *capp) {
		size_t cap = *capp != 0 ? 2 * *capp : 8;
		struct db_validator *grown = arena_calloc(l->arena, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (l->n > 0)
			memcpy(grown, l->v, l->n * sizeof(*grown));
		l->v = grown;
		*capp = cap;
	}
	return copy_validator(l->arena, &doc->id, &doc->winner.rev, &l->v[l->n++]);
}

/* list_fill: From the snapshot. */
static int
list_fill(struct db_snap *snap, const struct db_rules *rules, struct validators *l)
{
	const struct db_range range = {
	    .has_start = 1, .start = {"_design/", 8}, .has_end = 1, .end = {"_design0", 8}, .exclusive_end = 1};
	size_t cap = 0;
	struct db_scan *scan;
	struct arena *a;
	struct db_doc doc;
	struct db_rev rev;
	int err = arena_new(4 * (size_t)LIMIT_BODY_LEN + LIMIT_TXN_BYTES, &a), yes;

	if (err)
		return err;
	if ((err = db_docs_open(snap, &range, &scan)) == 0) {
		while (err == 0 && (err = db_docs_next(scan, a, &doc)) == 0) {
			if ((err = db_doc_rev(&doc, &doc.winner, a, &rev)) == 0 &&
			    (err = validates(&rev.body, &yes)) == 0 && yes &&
			    (rules == NULL || rules->stands_for == NULL ||
				!rules->stands_for(rules->cookie, &doc.id, &rev.body)))
				err = list_add(l, &cap, &doc);
			arena_reset(a);
		}
		db_scan_close(scan);
	}
	arena_free(a);
	return err == ERR_END ? 0 : err;
}

static int
list_new(struct db_snap *snap, const struct db_rules *rules, struct validators **lp)
{
	struct validators *l;
	struct arena *a;
	int err = arena_new(LIMIT_TXN_BYTES, &a);

	if (err)
		return err;
	if ((l = arena_calloc(a, 1, sizeof(*l))) == NULL) {
		arena_free(a);
		return ERR_NOMEM;
	}
	l->arena = a;
	if ((err = list_fill(snap, rules, l)) != 0) {
		arena_free(a);
		return err;
	}
	*lp = l;
	return 0;
}

static int
list_copy(const struct validators *l, struct arena *a, const struct db_validator **vp, size_t *np)
{
	struct db_validator *v = arena_calloc(a, l->n, sizeof(*v));
	int err = v == NULL && l->n > 0 ? ERR_NOMEM : 0;

	for (size_t i = 0; i < l->n && err == 0; i++)
		err = copy_validator(a, &l->v[i].id, &l->v[i].rev, &v[i]);
	*vp = v;
	*np = l->n;
	return err;
}

int
judge_validators(struct db_snap *snap, struct arena *a, const struct db_validator **vp, size_t *np)
{
	struct dbfile *f = snap->file;
	const struct db_rules *rules = f->rules;
	uint64_t seq, designs = 0;
	struct validators *l = NULL, *old = NULL;
	int err = db_snap_seq(snap, &seq), fits, known;

	if (err != 0)
		return err;
	(void)pthread_mutex_lock(&f->lock);
	designs = f->designs;
	fits = designs <= seq && seq <= f->state.update_seq;
	known = fits && f->validators != NULL && f->validators->designs == designs;
	err = known ? list_copy(f->validators, a, vp, np) : 0;
	(void)pthread_mutex_unlock(&f->lock);
	if (known || (err = list_new(snap, rules, &l)) != 0)
		return err;
	l->designs = designs;
	err = list_copy(l, a, vp, np);
	if (fits && err == 0) {
		(void)pthread_mutex_lock(&f->lock);
		if (f->designs == designs && f->rules == rules) {
			old = f->validators;
			f->validators = l;
			l = NULL;
		}
		(void)pthread_mutex_unlock(&f->lock);
		judge_validators_free(old);
	}
	judge_validators_free(l);
	return err;
}
