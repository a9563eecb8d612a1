/*
 * Hearings: rules and validators are asked about writes, in batches, against a snapshot.
 *
 * 1. What a verdict holds for is kept with the write (struct heard), and docedit_heard_() compares it with what is there
 *    when the write is made.
 * 2. The stamps of the security object and of the design documents are read before the snapshot is taken.  So what the
 *    snapshot shows is as new as they say or newer, and a verdict that saw something newer does not hold.
 * 3. A script may take seconds, and no snapshot is held for it: what it is told is copied.
 * 4. Which writes would end in a conflict, and which bring what is there already, is found out first: nobody is asked about
 *    those, as in CouchDB.  That, too, is compared.
 */
#include "dbi.h"

#include <string.h>

/* A batch holds up to so many bytes of bodies and paths; one document may be larger. */
#define BATCH_BYTES (4u << 20)
#define DESIGNS 32u /* design documents that are checked at a time */

struct hearing {
	struct db *db;
	struct arena *keep;   /* for what outlives the hearing */
	struct arena *a;      /* for what the callbacks see */
	struct arena *tree_a; /* of one document's tree */
	struct db_snap *snap;
	uint64_t designs, security;
	size_t bytes;
	struct db_hearing h;
	struct db_write **of; /* whom the verdicts are about */
};

static int
is_document(const struct db_write *w)
{
	return (w->kind == DB_WRITE_EDIT || w->kind == DB_WRITE_REPLICATE) && !doc_id_is_design(w->id);
}

static int
is_new_design(const struct db_write *w)
{
	return (w->kind == DB_WRITE_EDIT || w->kind == DB_WRITE_REPLICATE) && !w->deleted && doc_id_is_design(w->id);
}

int
hear_wanted(struct db *db, const struct db_request *req, uint64_t *designsp)
{
	struct dbfile *f = db->file;
	const struct db_rules *rules = f->rules;
	int quiet, checks = f->dbs->config.check_design != NULL;

	if (rules == NULL && f->dbs->config.validate == NULL && !checks)
		return 0;
	quiet = f->dbs->config.validate == NULL || judge_quiet(f, designsp);
	for (size_t i = 0; i < req->nwrites; i++) {
		const struct db_write *w = &req->writes[i];

		if (w->kind != DB_WRITE_EDIT && w->kind != DB_WRITE_REPLICATE)
			continue;
		if (rules != NULL && (rules->before_write != NULL || rules->validate != NULL))
			return 1;
		if ((!quiet && is_document(w)) || (checks && is_new_design(w)))
			return 1;
	}
	return 0;
}

int
hear_checks_designs(struct db *db, const struct db_request *req)
{
	for (size_t i = 0; i < req->nwrites && db->file->dbs->config.check_design != NULL; i++)
		if (is_new_design(&req->writes[i]))
			return 1;
	return 0;
}

/* ---- Old and new ---- */

static int
has_body(const struct revnode *node, const void *cookie)
{
	(void)cookie;
	return node->body != REVTREE_NO_BODY;
}

static int
copy_rev(struct arena *a, const struct rev *rev, struct rev *out)
{
	*out = (struct rev){rev->gen, (const unsigned char *)arena_dup(a, rev->id, rev->len), rev->len};
	return out->id != NULL ? 0 : ERR_NOMEM;
}

/* path_copy: The path of ${at}; the tree's memory is for one document alone. */
static int
path_copy(struct hearing *h, struct db_doc *doc, struct revpos at, struct db_judged *out)
{
	struct rev *from, *path;
	int err = db_doc_path(doc, at, &from, &out->npath);

	if (err)
		return err;
	if ((path = arena_calloc(h->a, out->npath, sizeof(*path))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < out->npath && err == 0; i++) {
		err = copy_rev(h->a, &from[i], &path[i]);
		h->bytes += sizeof(*path) + path[i].len;
	}
	out->path = path;
	return err;
}

static int
copy_text(struct arena *a, struct jstr *s)
{
	s->s = arena_dup(a, s->s, s->len);
	return s->s != NULL ? 0 : ERR_NOMEM;
}

/* old_keep: What was read may stand in the snapshot's memory, which is not there for long. */
static int
old_keep(struct hearing *h, struct db_rev *rev)
{
	int err = copy_text(h->a, &rev->body);

	for (size_t i = 0; i < rev->natts && err == 0; i++)
		if ((err = copy_text(h->a, &rev->atts[i].name)) == 0)
			err = copy_text(h->a, &rev->atts[i].type);
	return err;
}

static int
old_read(struct hearing *h, struct db_doc *doc, struct revtree *t, struct revpos at, struct db_verdict *v)
{
	struct db_rev rev;
	int err = db_doc_rev(doc, revtree_at(t, at), h->a, &rev);

	if (err == ERR_MISSING) /* a purge may leave a leaf without a body */
		return 0;
	if (err || (err = old_keep(h, &rev)) != 0)
		return err;
	v->has_old = 1;
	v->old_doc.deleted = rev.node.deleted;
	v->old_doc.body = rev.body;
	v->old_doc.atts = rev.atts;
	v->old_doc.natts = rev.natts;
	h->bytes += rev.body.len;
	return path_copy(h, doc, at, &v->old_doc);
}

/* old_find: What ${w} replaces, into ${v}, and what that holds for. */
static int
old_find(struct hearing *h, const struct db_write *w, struct db_verdict *v)
{
	const struct db_rules *rules = h->db->file->rules;
	struct prepared *p = w->prepared;
	struct db_doc doc;
	struct revtree *t;
	struct revpos at;
	int err;

	p->heard = (struct heard){.how = HEARD_NONE,
	    .designs = h->designs,
	    .security = h->security,
	    .by_winner = w->kind == DB_WRITE_REPLICATE && rules != NULL && rules->validate != NULL};
	arena_reset(h->tree_a);
	if ((err = db_get(h->snap, w->id.s, w->id.len, h->tree_a, &doc)) != 0)
		return err == ERR_MISSING ? 0 : err;
	if ((err = db_doc_tree(&doc, 1, &t)) != 0)
		return err;
	if (p->heard.by_winner && revtree_nleaves(t) > 0 &&
	    (err = copy_rev(h->keep, &revtree_leaf(t, 0)->rev, &p->heard.winner)) != 0)
		return err;
	p->heard.how = judge_old(t, w, has_body, NULL, &at);
	if (p->heard.how != HEARD_OLD)
		return 0;
	err = copy_rev(h->keep, &revtree_at(t, at)->rev, &p->heard.old);
	return err ? err : old_read(h, &doc, t, at, v);
}

static int
verdict_fill(struct hearing *h, const struct db_write *w, struct db_verdict *v)
{
	const struct prepared *p = w->prepared;
	struct rev *parent;

	v->id = w->id;
	v->replicated = w->kind == DB_WRITE_REPLICATE;
	v->new_doc = (struct db_judged){.path = w->path,
	    .npath = w->npath,
	    .deleted = w->deleted,
	    .body = p->text,
	    .atts = p->atts,
	    .natts = w->natts};
	if (!v->replicated) {
		if ((parent = arena_alloc(h->a, sizeof(*parent))) == NULL)
			return ERR_NOMEM;
		*parent = rev_of(&w->parent);
		v->new_doc.path = parent;
		v->new_doc.npath = w->has_parent != 0;
	}
	h->bytes += p->text.len;
	return 0;
}

/* ---- Asking ---- */

/* ask: Afterwards the verdicts that are left are those without an error. */
static void
ask(struct hearing *h, db_validate_f *validate, void *cookie)
{
	size_t left = 0;
	int err;

	if (validate == NULL || h->h.n == 0)
		return;
	err = validate(cookie, &h->h);
	for (size_t i = 0; i < h->h.n; i++) {
		struct db_verdict *v = &h->h.verdicts[i];

		if (v->err == 0)
			v->err = err;
		h->of[i]->err = v->err;
		h->of[i]->why = v->why;
		if (v->err)
			continue;
		if (left != i) {
			h->h.verdicts[left] = *v;
			h->of[left] = h->of[i];
		}
		left++;
	}
	h->h.n = left;
}

static int
security_copy(struct hearing *h)
{
	struct buf b;
	int err;

	buf_init_arena(&b, h->a, SIZE_MAX / 2);
	err = db_security(h->db, &b);
	h->h.security = (struct jstr){b.data, b.len};
	return err;
}

/* stamps: Before the snapshot. */
static void
stamps(struct hearing *h)
{
	struct dbfile *f = h->db->file;

	(void)pthread_mutex_lock(&f->lock);
	h->designs = f->designs;
	h->security = f->security_stamp;
	(void)pthread_mutex_unlock(&f->lock);
}

static int
hearing_begin(struct hearing *h, size_t nwrites)
{
	struct dbs *s = h->db->file->dbs;
	size_t n = nwrites < LIMIT_HEARING ? nwrites : LIMIT_HEARING;
	size_t max = LIMIT_TXN_BYTES + 6 * (size_t)LIMIT_BODY_LEN; /* no body is longer */
	int err;

	if ((err = arena_new(max, &h->a)) != 0 || (err = arena_new(max, &h->tree_a)) != 0)
		return err;
	stamps(h);
	if ((err = db_snap_begin(h->db, &h->snap)) != 0)
		return err;
	h->snap->rules = NULL;
	h->h.by = h->snap->by;
	h->h.incarnation = h->db->file->incarnation;
	h->h.snap = h->snap;
	h->h.arena = h->a;
	h->h.verdicts = arena_calloc(h->a, n, sizeof(*h->h.verdicts));
	h->of = arena_calloc(h->a, n, sizeof(struct db_write *));
	if (h->h.verdicts == NULL || h->of == NULL)
		return ERR_NOMEM;
	if (s->config.validate != NULL &&
	    (err = judge_validators(h->snap, h->a, &h->h.validators, &h->h.nvalidators)) != 0)
		return err;
	return security_copy(h);
}

void
db_hearing_release(struct db_hearing *hearing)
{
	struct hearing *h = OUTER_OF(hearing, struct hearing, h);

	db_snap_end(h->snap);
	h->snap = NULL;
	hearing->snap = NULL;
}

static void
hearing_end(struct hearing *h)
{
	db_snap_end(h->snap);
	arena_free(h->a);
	arena_free(h->tree_a);
}

/* gather: Verdicts that are wanted, from write ${i} on.  Result: where to go on. */
static size_t
gather(struct hearing *h, struct db_write *writes, size_t i, size_t n, int again)
{
	for (; i < n && h->h.n < LIMIT_HEARING && h->bytes < BATCH_BYTES; i++) {
		struct db_write *w = &writes[i];
		struct prepared *p = w->prepared;
		struct db_verdict *v = &h->h.verdicts[h->h.n];

		if (!is_document(w) || w->err || (again && !p->again))
			continue;
		p->again = 0;
		memset(v, 0, sizeof(*v));
		if ((w->err = old_find(h, w, v)) != 0 || p->heard.how == HEARD_UNASKED)
			continue;
		if ((w->err = verdict_fill(h, w, v)) == 0)
			h->of[h->h.n++] = w;
	}
	return i;
}

static void
fail_rest(struct db_write *writes, size_t i, size_t n, int err)
{
	for (; i < n; i++)
		if (is_document(&writes[i]) && submit_is_open(&writes[i]))
			writes[i].err = err;
}

/* ---- Design documents ---- */

/* design_next: The next one that is to be checked, from ${i} on; ${n}: none. */
static size_t
design_next(const struct db_write *writes, size_t i, size_t n)
{
	for (; i < n; i++) {
		const struct prepared *p = writes[i].prepared;

		if (is_new_design(&writes[i]) && p != NULL && submit_is_open(&writes[i]) && !p->refused)
			break;
	}
	return i;
}

/* What they say does not depend on anything else, so nobody is asked again. */
void
hear_designs(struct db *db, struct db_write *writes, size_t n)
{
	const struct dbs_config *config = &db->file->dbs->config;
	struct db_design designs[DESIGNS];
	size_t of[DESIGNS], i = 0, k;

	if (config->check_design == NULL)
		return;
	while ((i = design_next(writes, i, n)) < n) {
		for (k = 0; i < n && k < DESIGNS; i = design_next(writes, i + 1, n)) {
			const struct prepared *p = writes[i].prepared;

			designs[k] = (struct db_design){.id = writes[i].id, .body = p->text};
			of[k++] = i;
		}
		config->check_design(config->check_design_cookie, db->file->name, designs, k);
		while (k-- > 0) {
			writes[of[k]].err = designs[k].err;
			writes[of[k]].why = designs[k].why;
		}
	}
}

/* ---- All of a request ---- */

int
hear_writes(struct db *db, struct db_write *writes, size_t n, int again, int may_wait, struct arena *a)
{
	const struct dbs_config *config = &db->file->dbs->config;
	const struct db_rules *rules = db->file->rules;
	size_t i = 0;
	int err;

	while (i < n) {
		struct hearing h = {.db = db, .keep = a};

		if ((err = hearing_begin(&h, n - i)) == 0 && h.h.nvalidators > 0 && !may_wait) {
			hearing_end(&h);
			return ERR_AGAIN;
		}
		if (err == 0) {
			i = gather(&h, writes, i, n, again);
			if (rules != NULL)
				ask(&h, rules->validate, rules->cookie);
			if (h.h.nvalidators > 0)
				ask(&h, config->validate, config->validate_cookie);
		}
		hearing_end(&h);
		if (err) {
			fail_rest(writes, i, n, err);
			break;
		}
	}
	return 0;
}
