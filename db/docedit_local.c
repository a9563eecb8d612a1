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

/* is_there: Before the transaction. */
static int
is_there(struct commit *c, const struct jstr *id, int *yesp)
{
	struct idkey_place place;
	struct store_val val;
	int err = idkey_find(&db_local_trees, c->snap, id->s, id->len, &place);

	if (err == 0)
		err = store_get(c->snap, place.tree, place.key, place.klen, &val);
	*yesp = err == 0;
	return err == ERR_MISSING ? 0 : err;
}

/* write_one: *${existsp}: is it there, for the transaction as it stands? */
static int
write_one(struct commit *c, struct db_write *w, int *existsp)
{
	const struct prepared *p = w->prepared;
	uint64_t number = w->deleted ? 0 : local_number(w) + 1;
	struct idkey_place place;
	struct idkey_batch *keys;
	int err, existed = *existsp;

	if (w->deleted && !existed) {
		w->err = ERR_MISSING;
		return 0;
	}
	*existsp = !w->deleted;
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

int
docedit_local(struct commit *c, struct pending_write *pw, size_t n)
{
	int exists, err = is_there(c, &pw[0].w->id, &exists);

	for (size_t i = 0; i < n && err == 0; i++)
		err = write_one(c, pw[i].w, &exists);
	return err;
}
