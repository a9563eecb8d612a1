/*
 * salvage.c: from a pile of right records to a database.
 *
 * Each document is read as always, with what may be missing of it in mind, and written as a replication writes it: so the new
 * file's counts, rows, references and numbers are right by themselves, and its history is its own.
 *
 * 1. Purges are remembered first, while there is nothing that they could take.
 * 2. A replication's checkpoint says that this database has all that its source had.  Where something is lost that is no
 *    longer true, and the replication would never bring it again: then checkpoints are left out.
 */
#include "salvage_impl.h"

#include <stdlib.h>
#include <string.h>

#include "idkey_node.h"

#define ARENA_MAX ((size_t)1 << 30)
#define DEPTH_MAX 18u

/* ---- Walking the pile ---- */

typedef int each_f(
    struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val);

static int
each_record(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val,
    each_f *fn)
{
	struct store_val k = {arena_dup(s->a, key->p, key->len), key->len};
	struct store_val v = {arena_dup(s->a, val->p, val->len), val->len};
	int err;

	id.s = arena_dup(s->a, id.s, id.len);
	if (k.p == NULL || v.p == NULL || id.s == NULL)
		return ERR_NOMEM;
	s->bytes += v.len;
	err = fn(s, id, tree, &k, &v);
	if (err == 0 && salvage_is_full(s))
		err = salvage_commit(s);
	if (s->nwrites == 0) {
		arena_reset(s->a);
		arena_reset(s->bodies);
	}
	return err;
}

/* each_deep: The records of node ${node}, whose ids begin with ${prefix}. */
static int
each_deep(struct salvage *s, unsigned tree, uint64_t node, const char *prefix, size_t len, unsigned depth, each_f *fn)
{
	unsigned char head[IDKEY_NODE_LEN];
	char id[LIMIT_ID_LEN + STORE_KEY_MAX];
	struct idkey_pointer p;
	struct store_cursor *c;
	struct store_val key, val;
	size_t rest;
	int err = depth > DEPTH_MAX ? ERR_MISSING : store_cursor_open(s->snap->snap, tree, &c);

	if (err != 0)
		return err == ERR_MISSING ? 0 : err;
	memcpy(id, prefix, len);
	idkey_node_head(head, node);
	for (err = store_seek(c, head, sizeof(head), &key, &val); err == 0 && idkey_node_has(&key, node);
	     err = err == 0 ? store_next(c, &key, &val) : err) {
		rest = key.len - sizeof(head);
		if (len + rest > LIMIT_ID_LEN + 1)
			continue;
		memcpy(id + len, (const char *)key.p + sizeof(head), rest);
		if (!idkey_node_is_pointer(&key)) {
			s->deep++;
			err = each_record(s, (struct jstr){id, len + rest}, tree, &key, &val, fn);
		} else if (idkey_node_pointer(tree, key.p, key.len, &val, &p) == 0) {
			s->deep++;
			err = each_deep(s, tree, p.node, id, len + rest - 1, depth + 1, fn);
		}
	}
	store_cursor_close(c);
	return err == ERR_MISSING ? 0 : err;
}

static int
each(struct salvage *s, const struct idkey_trees *trees, each_f *fn)
{
	struct idkey_pointer p;
	struct store_cursor *c;
	struct store_val key, val;
	uint64_t deep = 0;
	int err = store_cursor_open(s->snap->snap, trees->top, &c);

	if (err != 0)
		return err;
	s->deep = 0;
	for (err = store_seek(c, NULL, 0, &key, &val); err == 0; err = err == 0 ? store_next(c, &key, &val) : err) {
		if (!idkey_is_pointer(&key))
			err = each_record(s, (struct jstr){key.p, key.len}, trees->top, &key, &val, fn);
		else if (idkey_node_pointer(trees->top, key.p, key.len, &val, &p) == 0)
			err = each_deep(s, trees->deep, p.node, key.p, IDKEY_SHORT, 1, fn);
	}
	store_cursor_close(c);
	if (err == ERR_MISSING && (err = salvage_commit(s)) == 0)
		err = store_count(s->snap->snap, trees->deep, &deep);
	arena_reset(s->a);
	if (err == 0 && deep > s->deep)
		salvage_tell(s, "%llu records with long ids of which the beginning is lost",
		    (unsigned long long)(deep - s->deep));
	return err;
}

/* ---- All the rest ---- */

static int
put_settings(struct salvage *s, const struct dbstate *state)
{
	struct db_write w[4] = {{.kind = DB_WRITE_REVS_LIMIT, .number = state->revs_limit},
	    {.kind = DB_WRITE_PURGED_LIMIT, .number = state->purged_limit},
	    {.kind = DB_WRITE_HISTORY_KEPT, .number = state->keep_revs, .seconds = state->keep_seconds},
	    {.kind = DB_WRITE_SECURITY}};
	struct buf security;
	const char *none = access_default(1);
	int err;

	buf_init(&security, 1u << 20);
	err = s->out->has_security ? meta_get(s->snap->snap, "security", &security) : buf_puts(&security, none);
	w[3].body = (struct jstr){security.data, security.len};
	if (err == 0)
		err = salvage_submit(s, w, 4);
	for (size_t i = 0; i < 4 && err == 0; i++)
		err = w[i].err;
	buf_release(&security);
	if (!s->out->has_state)
		salvage_tell(
		    s, "the settings: lost (limits, whether it is partitioned): they are those of a new database");
	if (!s->out->has_security)
		salvage_tell(
		    s, "the security object: lost: server administrators alone are let in until another is set");
	return err;
}

static int
put_purge(struct salvage *s, const struct db_purge *p)
{
	struct rev *revs = arena_calloc(s->a, p->nrevs + 1, sizeof(*revs));
	unsigned char *purged = arena_calloc(s->a, p->nrevs + 1, 1);
	const char *id = arena_dup(s->a, p->id.s, p->id.len);

	if (revs == NULL || purged == NULL || id == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < p->nrevs; i++) {
		revs[i] = p->revs[i];
		if ((revs[i].id = (const unsigned char *)arena_dup(s->a, p->revs[i].id, p->revs[i].len)) == NULL)
			return ERR_NOMEM;
	}
	s->writes[s->nwrites++] = (struct db_write){
	    .kind = DB_WRITE_PURGE, .id = {id, p->id.len}, .path = revs, .npath = p->nrevs, .purged = purged};
	return salvage_is_full(s) ? salvage_commit(s) : 0;
}

static int
put_purges(struct salvage *s)
{
	struct db_scan *scan;
	struct db_purge p;
	int err = db_purges_open(s->snap, 0, &scan);

	if (err != 0)
		return err;
	while ((err = db_purges_next(scan, s->bodies, &p)) == 0 && (err = put_purge(s, &p)) == 0)
		if (s->nwrites == 0)
			arena_reset(s->a);
	db_scan_close(scan);
	err = err == ERR_END ? salvage_commit(s) : err;
	arena_reset(s->a);
	return err;
}

/* is_checkpoint: As CouchDB, PouchDB and Divan write them. */
static int
is_checkpoint(struct jstr body, int *isp)
{
	static const char *const names[] = {"session_id", "history"};
	struct jread j;
	struct buf scratch;
	int err = 0;

	buf_init(&scratch, LIMIT_BODY_LEN);
	for (size_t i = 0; i < 2 && err == 0; i++) {
		jread_init(&j, body.s, body.len);
		err = jread_find(&j, &scratch, (struct jstr){names[i], strlen(names[i])});
	}
	buf_release(&scratch);
	*isp = err == 0;
	return err == ERR_END ? 0 : err;
}

static int
put_local(struct salvage *s, struct jstr id, unsigned tree, const struct store_val *key, const struct store_val *val)
{
	struct jstr body;
	uint64_t rev;
	int checkpoint = 0, err = snap_local(s->snap, id, tree, key, val, s->bodies, &rev, &body);

	if (salvage_is_lost(err)) {
		salvage_tell(s, "document %.*s: lost", SALVAGE_ID(id));
		return 0;
	}
	if (err == 0 && s->out->lost > 0)
		err = is_checkpoint(body, &checkpoint);
	s->out->checkpoints += checkpoint != 0;
	if (err != 0 || checkpoint)
		return err;
	s->writes[s->nwrites++] = (struct db_write){.kind = DB_WRITE_LOCAL, .id = id, .body = body};
	s->bytes += body.len;
	return 0;
}

static int
copy_all(struct salvage *s)
{
	struct dbstate state;
	int err = meta_state_get(s->snap->snap, &state);

	if (err == 0)
		err = put_settings(s, &state);
	if (err == 0)
		err = put_purges(s);
	if (err == 0)
		err = salvage_check_lost(s);
	if (err == 0)
		err = each(s, &db_doc_trees, salvage_put_doc);
	if (err == 0)
		err = salvage_check_counts(s, &state);
	if (err == 0)
		err = each(s, &db_local_trees, put_local);
	return err;
}

int
db_salvage_copy(struct db *pile, struct db *to, struct db_salvage *out)
{
	struct salvage *s = calloc(1, sizeof(*s));
	int err;

	if (s == NULL)
		return ERR_NOMEM;
	s->to = to;
	s->out = out;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	if ((err = arena_new(ARENA_MAX, &s->a)) == 0 && (err = arena_new(ARENA_MAX, &s->bodies)) == 0 &&
	    (err = db_snap_begin(pile, &s->snap)) == 0) {
		s->snap->quiet = 1;
		err = copy_all(s);
	}
	for (size_t i = 0; i < s->nblobs; i++)
		db_blob_free(s->blobs[i]);
	db_snap_end(s->snap);
	arena_free(s->bodies);
	arena_free(s->a);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
	return err;
}
