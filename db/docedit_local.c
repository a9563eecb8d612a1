/* Writes of _local documents: no revisions, no sequence, one record each. */
#include "dbi.h"

#include <string.h>

/* local_number: The N of the revision "0-N" that the writer saw. */
static uint64_t
local_number(const struct db_write *w)
{
	uint64_t n = 0;

	for (size_t i = 0; w->has_parent && i < w->parent.len && i < 19; i++)
		if (w->parent.id[i] >= '0' && w->parent.id[i] <= '9')
			n = n * 10 + (unsigned)(w->parent.id[i] - '0');
	return n;
}

static void
local_rev(struct db_write *w, uint64_t number)
{
	int len = snprintf((char *)w->rev.id, sizeof(w->rev.id), "%llu", (unsigned long long)number);

	w->rev.gen = 0;
	w->rev.len = (size_t)len;
}

/* local_find: Is it there, for the transaction as it stands?  *${lp}: its entry in the transaction's list. */
static int
local_find(struct commit *c, const struct jstr *id, struct localdoc **lp)
{
	struct idkey_place place;
	struct store_val val;
	struct localdoc *l;
	int err;

	for (l = c->locals; l != NULL; l = l->next)
		if (l->id.len == id->len && memcmp(l->id.s, id->s, id->len) == 0) {
			*lp = l;
			return 0;
		}
	if ((err = idkey_find(&db_local_trees, c->snap, id->s, id->len, &place)) == 0)
		err = store_get(c->snap, place.tree, place.key, place.klen, &val);
	if (err && err != ERR_MISSING)
		return err;
	if ((l = arena_alloc(c->a, sizeof(*l))) == NULL)
		return ERR_NOMEM;
	*l = (struct localdoc){*id, err == 0, c->locals};
	c->locals = l;
	*lp = l;
	return 0;
}

int
docedit_local(struct commit *c, struct db_write *w)
{
	const struct prepared *p = w->prepared;
	uint64_t number = w->deleted ? 0 : local_number(w) + 1;
	struct idkey_place place;
	struct idkey_batch *keys;
	struct localdoc *l;
	int err, existed;

	if ((err = local_find(c, &w->id, &l)) != 0)
		return err;
	existed = l->exists;
	if (w->deleted && !existed) {
		w->err = ERR_MISSING;
		return 0;
	}
	l->exists = !w->deleted;
	local_rev(w, number);
	c->touched = 1;
	if ((err = commit_local_keys(c, &keys)) != 0)
		return err;
	if (w->deleted) {
		if ((err = idkey_del(keys, w->id.s, w->id.len, -1, &place)) != 0)
			return err;
		return store_del(c->batch, place.tree, place.key, place.klen);
	}
	buf_clear(&c->scratch);
	buf_put_varint(&c->scratch, number);
	buf_put(&c->scratch, p->body.s, p->body.len);
	if ((err = buf_failed(&c->scratch)) != 0 ||
	    (err = idkey_put(keys, w->id.s, w->id.len, existed, existed ? 0 : 1, &place)) != 0)
		return err;
	return record_put(c->batch, place.tree, place.key, place.klen, c->scratch.data, c->scratch.len);
}
