/*
 * What is remembered of purges: for each, under its purge sequence, the document and the revisions that were
 * asked for, so that indexes and copies can follow. The oldest are forgotten beyond purged_limit.
 *
 *   purges: purge seq (8) -> varint length of id, id, varint revisions, each as changerow.c writes it
 */
#include "dbi.h"

int
purge_forget(struct commit *c)
{
	uint64_t before = c->f->state.purge_seq, bound;
	unsigned char key[8];
	struct store_cursor *cur;
	struct store_val k;
	int err;

	if (c->state.purge_seq <= c->state.purged_limit ||
	    (c->state.purge_seq == before && c->state.purged_limit == c->f->state.purged_limit))
		return 0;
	bound = c->state.purge_seq - c->state.purged_limit; /* the newest that goes */
	bytes_store_u64be(key, bound);
	if ((err = store_cursor_open(c->snap, TREE_PURGES, &cur)) != 0)
		return err;
	for (err = store_seek_le(cur, key, sizeof(key), &k, NULL); err == 0; err = store_prev(cur, &k, NULL))
		if ((err = store_del(c->batch, TREE_PURGES, k.p, k.len)) != 0)
			break;
	store_cursor_close(cur);
	for (uint64_t seq = before + 1; seq <= bound && (err == 0 || err == ERR_MISSING); seq++) {
		bytes_store_u64be(key, seq); /* one of this transaction's own */
		err = store_del(c->batch, TREE_PURGES, key, sizeof(key));
	}
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
	if ((err = buf_failed(&c->scratch)) != 0)
		return err;
	return record_put(c->batch, TREE_PURGES, key, sizeof(key), c->scratch.data, c->scratch.len);
}
