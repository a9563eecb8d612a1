/*
 * What can be done to a write before it is queued, in the writer's own thread: bounds, stubs resolved against
 * the parent or nearest ancestor, revision id, compression.  All of it is a function of the request and of
 * revisions that never change, so the committer has nothing to check again but what it checks anyway: that
 * the parent is still a leaf.
 */
#include "dbi.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

int
prepare_rev(const struct db_write *w, const struct rev *parent, int anew, struct revbuf *out)
{
	const struct prepared *p = w->prepared;
	struct rev_att few[8], *atts = few;
	struct arena *a = NULL;
	int err;

	if (w->natts > sizeof(few) / sizeof(*few)) {
		if ((err = arena_new(LIMIT_ATTACHMENTS * sizeof(*atts) + 4096, &a)) != 0)
			return err;
		if ((atts = arena_calloc(a, w->natts, sizeof(*atts))) == NULL) {
			arena_free(a);
			return ERR_NOMEM;
		}
	}
	for (size_t i = 0; i < w->natts; i++) {
		const struct doc_att *att = &p->atts[i];

		atts[i] = anew ? (struct rev_att){0}
			       : (struct rev_att){att->name.s, att->name.len, att->type.s, att->type.len, att->md5};
	}
	err = rev_make(w->deleted, parent, p->etf.s, p->etf.len, atts, w->natts, out);
	arena_free(a);
	return err;
}

/* ---- Attachments ---- */

/*
 * ancestor_atts: The attachments that this write's stubs may name: of the revision it replaces; of a
 * replicated revision, of its nearest ancestor (or itself) whose content is here; where a deleted document is
 * made anew, of the tombstone.
 */
static int
ancestor_atts(struct db_snap *snap, const struct db_write *w, struct arena *a, struct doc_att **attsp, size_t *np)
{
	struct db_doc doc;
	struct db_rev content;
	struct revtree *t;
	struct revpos at;
	struct rev parent = rev_of(&w->parent);
	int err;

	*np = 0;
	if ((err = db_get(snap, w->id.s, w->id.len, a, &doc)) != 0 || (err = db_doc_tree(&doc, 1, &t)) != 0)
		return err;
	if (w->kind == DB_WRITE_EDIT) {
		at = revtree_leaf_pos(t, 0);
		if (w->has_parent ? !revtree_find(t, &parent, &at) || !revtree_is_leaf(t, at) : !doc.winner.deleted)
			return ERR_CONFLICT;
	} else {
		size_t i = 0;

		while (
		    i < w->npath && (!revtree_find(t, &w->path[i], &at) || revtree_at(t, at)->body == REVTREE_NO_BODY))
			i++;
		if (i == w->npath)
			return ERR_MISSING;
	}
	if ((err = db_doc_rev(&doc, revtree_at(t, at), a, &content)) != 0)
		return err;
	*attsp = content.atts;
	*np = content.natts;
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct doc_att *x = a, *y = b;

	return jstr_order(&x->name, &y->name);
}

/* att_named: ${atts} are ordered by name. */
static const struct doc_att *
att_named(const struct doc_att *atts, size_t n, const struct jstr *name)
{
	const struct doc_att key = {.name = *name};

	return n > 0 ? bsearch(&key, atts, n, sizeof(*atts), by_name) : NULL;
}

static int
dup_jstr(struct arena *a, struct jstr *s)
{
	char *copy = arena_dup(a, s->s, s->len);

	if (copy == NULL)
		return ERR_NOMEM;
	s->s = copy;
	return 0;
}

/* resolve_stub: *out becomes the ancestor's attachment, with its strings in the request's memory. */
static int
resolve_stub(struct db_write *w, const struct db_write_att *in, const struct doc_att *atts, size_t n, struct arena *a,
    struct doc_att *out)
{
	const struct doc_att *found = att_named(atts, n, &in->name);

	if (found == NULL || (in->has_revpos && in->revpos != found->revpos) ||
	    (w->kind == DB_WRITE_REPLICATE && in->has_md5 && memcmp(in->md5, found->md5, sizeof(in->md5)) != 0))
		return err_why(&w->why, ERR_MISSING_STUB, "Invalid attachment stub in %.*s for %.*s", (int)w->id.len,
		    w->id.s, (int)in->name.len, in->name.s);
	*out = *found;
	return dup_jstr(a, &out->name) != 0 || dup_jstr(a, &out->type) != 0 ? ERR_NOMEM : 0;
}

static void
take_blob(const struct db_write *w, const struct db_write_att *in, uint64_t gen, struct doc_att *out)
{
	const struct db_blob *b = in->blob;

	*out = (struct doc_att){.name = in->name, .type = in->type, .revpos = gen};
	if (w->kind == DB_WRITE_REPLICATE && in->has_revpos)
		out->revpos = in->revpos;
	out->encoding = b->mode == DB_BLOB_PLAIN ? DOC_IDENTITY : DOC_GZIP;
	out->stored_length = b->stored_len;
	out->length = b->mode == DB_BLOB_GZIPPED ? in->length : b->identity_len;
	memcpy(out->md5, b->md5, sizeof(out->md5));
}

/* take_same: The bytes of another revision's attachment: what is stored is referred to once more. */
static void
take_same(const struct db_write_att *in, uint64_t gen, struct doc_att *out)
{
	*out = *in->same;
	out->name = in->name;
	out->type = in->type;
	out->revpos = gen;
}

static int
prepare_atts(struct db *db, struct db_write *w, struct prepared *p, struct arena *a)
{
	struct db_snap *snap = NULL;
	struct arena *reading = NULL; /* the ancestor's tree and content: not of the request's size */
	struct doc_att *old = NULL;
	size_t nold = 0;
	uint64_t gen = w->kind == DB_WRITE_REPLICATE ? w->path[0].gen : w->has_parent ? w->parent.gen + 1 : 1;
	int err = 0, stubs = 0;

	if (w->natts > LIMIT_ATTACHMENTS)
		return ERR_TOO_LARGE;
	if ((p->atts = arena_calloc(a, w->natts, sizeof(*p->atts))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < w->natts; i++)
		stubs |= w->atts[i].blob == NULL && w->atts[i].same == NULL;
	if (stubs && (err = arena_new(4u * LIMIT_TXN_BYTES, &reading)) == 0 && (err = db_snap_begin(db, &snap)) == 0)
		err = ancestor_atts(snap, w, reading, &old, &nold);
	if (err == ERR_MISSING) /* no ancestor: no stub resolves */
		err = 0;
	if (err == 0 && nold > 1)
		qsort(old, nold, sizeof(*old), by_name);
	for (size_t i = 0; i < w->natts && err == 0; i++) {
		if (w->atts[i].blob != NULL)
			take_blob(w, &w->atts[i], gen, &p->atts[i]);
		else if (w->atts[i].same != NULL)
			take_same(&w->atts[i], gen, &p->atts[i]);
		else
			err = resolve_stub(w, &w->atts[i], old, nold, a, &p->atts[i]);
		p->external += err == 0 ? p->atts[i].stored_length : 0;
	}
	db_snap_end(snap);
	arena_free(reading);
	return err;
}

/* ---- The write ---- */

static int
check_bounds(const struct db *db, struct db_write *w, const struct prepared *p)
{
	if (p->text.len > atomic_load(&db->file->dbs->max_document_size))
		return err_why(&w->why, ERR_DOC_TOO_LARGE, "%.*s", (int)w->id.len, w->id.s);
	if (w->id.len == 0)
		return ERR_ID_EMPTY;
	if (w->id.len > LIMIT_ID_LEN)
		return ERR_ID_TOO_LONG;
	return 0;
}

/* apply_rule: The database's rules may refuse the write, or have another body in its place. */
static int
apply_rule(
    const struct db_asker *by, const struct db_rules *rules, struct db_write *w, struct prepared *p, struct arena *a)
{
	struct buf text, etf;
	struct jstr body = w->body;
	struct jread j;
	int err = rules->before_write(rules->cookie, by, &w->id, w->deleted, a, &body, &w->why);

	if (err || (body.s == w->body.s && body.len == w->body.len))
		return err;
	buf_init_arena(&text, a, SIZE_MAX / 2);
	buf_init_arena(&etf, a, SIZE_MAX / 2);
	jread_init(&j, body.s, body.len);
	if (jread_peek(&j) != JREAD_OBJECT)
		return ERR_INTERNAL;
	if ((err = jread_text(&j, &text, &etf)) != 0 || (err = jread_end(&j)) != 0)
		return err;
	p->text = (struct jstr){text.data, text.len};
	p->etf = (struct jstr){etf.data, etf.len};
	return 0;
}

static int
prepare_doc(struct db *db, const struct db_asker *by, struct db_write *w, struct prepared *p, struct arena *a)
{
	const struct db_rules *rules = db->file->rules;
	struct rev parent = rev_of(&w->parent);
	int err = rules != NULL && rules->before_write != NULL ? apply_rule(by, rules, w, p, a) : 0;

	if (err || (err = check_bounds(db, w, p)) != 0)
		return err;
	p->refused = doc_id_is_design(w->id) && !by->is_admin ? access_refusal(by->who) : 0;
	/* An edit that conflicts is told so even to those who may not make it: apply_edit() refuses the others. */
	if (p->refused && w->kind != DB_WRITE_EDIT)
		return p->refused;
	p->external = p->text.len;
	if (w->natts > 0 && (err = prepare_atts(db, w, p, a)) != 0)
		return err;
	if (w->kind == DB_WRITE_EDIT)
		err = prepare_rev(w, w->has_parent ? &parent : NULL, 0, &p->rev);
	else
		rev_copy(&p->rev, &w->path[0]);
	return err;
}

static int
pack(struct db *db, const struct db_write *w, struct prepared *p, struct arena *a, struct buf *scratch)
{
	int err;

	buf_clear(scratch);
	err = w->kind == DB_WRITE_LOCAL ? body_pack_alone(p->text.s, p->text.len, scratch)
					: body_pack(db->file->dicts, p->text.s, p->text.len, scratch);
	if (err)
		return err;
	p->body = (struct jstr){arena_dup(a, scratch->data, scratch->len), scratch->len};
	return p->body.s != NULL ? 0 : ERR_NOMEM;
}

int
db_may_set(const struct db *db, enum db_write_kind kind, struct errtext *why)
{
	const struct db_rules *rules = db->file->rules;
	struct db_asker by;
	int err = access_now(db, &by);

	if (err || kind == DB_WRITE_LOCAL)
		return err;
	if (kind == DB_WRITE_PURGE || kind == DB_WRITE_PURGED_LIMIT)
		return by.who->server_admin ? 0 : ERR_NOT_ADMIN;
	if (kind == DB_WRITE_SECURITY && rules != NULL && rules->before_security != NULL &&
	    (err = rules->before_security(rules->cookie, &by, why)) != 0)
		return err;
	return by.is_admin ? 0 : access_refusal(by.who);
}

void
prepare_write(struct db *db, const struct db_asker *by, struct db_write *w, struct arena *a, struct buf *scratch)
{
	struct prepared *p = arena_calloc(a, 1, sizeof(*p));

	w->err = 0;
	w->why.text[0] = '\0';
	w->seq = 0;
	w->prepared = p;
	if (p == NULL) {
		w->err = ERR_NOMEM;
		return;
	}
	p->text = w->body;
	p->etf = w->body_etf;
	if (w->kind == DB_WRITE_LOCAL)
		w->err = w->id.len > LIMIT_ID_LEN ? ERR_ID_TOO_LONG : pack(db, w, p, a, scratch);
	else if (w->kind != DB_WRITE_EDIT && w->kind != DB_WRITE_REPLICATE)
		w->err = db_may_set(db, w->kind, &w->why);
	else if ((w->err = prepare_doc(db, by, w, p, a)) == 0)
		w->err = pack(db, w, p, a, scratch);
}
