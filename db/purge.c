/*
 * What is remembered of purges: for each, under its purge sequence, the document and the revisions that were asked for, so
 * that indexes and copies can follow. The oldest are forgotten beyond purged_limit.
 *
 *   purges: purge seq (8) -> varint length of id, id, varint revisions, each as changerow.c writes it
 */
#include "dbi.h"

int
purge_forget(struct commit *c)
{
	unsigned char key[8];
	struct store_cursor *cur;
	struct store_val k;
	int err;

	if (c->state.purge_seq <= c->state.purged_limit)
		return 0;
	bytes_store_u64be(key, c->state.purge_seq - c->state.purged_limit);
	if ((err = store_cursor_open(c->snap, TREE_PURGES, &cur)) != 0)
		return err;
	for (err = store_seek_le(cur, key, sizeof(key), &k, NULL); err == 0; err = store_prev(cur, &k, NULL))
		if ((err = store_del(c->batch, TREE_PURGES, k.p, k.len)) != 0)
			break;
	store_cursor_close(cur);
	return err == ERR_MISSING ? 0 : err;
}

int
purge_remember(struct commit *c, struct db_write *w)
{
	unsigned char key[8];
	int err;

	w->number = ++c->state.purge_seq;
	c->touched = 1;
	bytes_store_u64be(key, w->number);
	buf_clear(&c->scratch);
	buf_put_varint(&c->scratch, w->id.len);
	buf_put(&c->scratch, w->id.s, w->id.len);
	buf_put_varint(&c->scratch, w->npath);
	for (size_t i = 0; i < w->npath; i++)
		changerow_put_rev(&c->scratch, &w->path[i]);
	if ((err = buf_failed(&c->scratch)) != 0 ||
	    (err = record_put(c->batch, TREE_PURGES, key, sizeof(key), c->scratch.data, c->scratch.len)) != 0)
		return err;
	return purge_forget(c);
}
