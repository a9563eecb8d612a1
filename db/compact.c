/*
 * Compaction: the bodies of superseded revisions go, document by document, in slices between other
 * transactions; then the file is rewritten without its free pages. Killed at any point, the database is
 * whole: a slice is a transaction, and the rewritten file replaces the old one in one rename.
 */
#include "dbi.h"

#include <stdlib.h>

#include "base/log.h"

#define SLICE_DOCS 256u

int
compact_slice(struct commit *c, struct compactwork *k)
{
	struct idkey_walk *walk;
	struct store_val val;
	struct jstr id;
	unsigned n = 0;
	int err;

	if (k->trimmed)
		return 0;
	if ((err = idkey_walk_open(&db_doc_trees, c->snap, c->a, &walk)) != 0)
		return err;
	err = idkey_walk_seek(walk, k->after.data, k->after.len, 0);
	for (; n <= SLICE_DOCS && err == 0 && store_batch_bytes(c->batch) < LIMIT_TXN_BYTES; n++) {
		if ((err = idkey_walk_step(walk, &id, &val)) != 0)
			break;
		buf_clear(&k->after);
		if ((err = buf_put(&k->after, id.s, id.len)) == 0)
			err = docedit_trim(c, &id);
	}
	idkey_walk_close(walk);
	if (err == ERR_END) {
		k->trimmed = 1;
		err = 0;
	}
	return err;
}

static void
compact_end(struct compactwork *k)
{
	struct dbfile *f = k->f;

	(void)pthread_mutex_lock(&f->lock);
	f->compact_running = 0;
	(void)pthread_mutex_unlock(&f->lock);
	buf_release(&k->after);
	free(k);
	dbs_file_unref(f);
}

static int
compact_file(struct compactwork *k)
{
	struct dbfile *f = k->f;
	unsigned char stamp[16];
	int err = store_compact(f->store);

	/* The file is another one now, without a note; its history goes on, and the next commit notes it. */
	f->session_begun = 0;
	if (err == 0 && (err = store_stamp(f->store, stamp)) == 0 &&
	    (err = meta_put(f->batch, "stamp", stamp, sizeof(stamp))) == 0)
		err = store_commit(f->batch);
	return err;
}

/* compact_done: A slice was committed: the next, or the file, or the end. */
static void
compact_done(struct dbwork *w)
{
	struct compactwork *k = OUTER_OF(w, struct compactwork, work);

	if (w->err == 0 && !k->trimmed && (w->err = commit_queue(k->f, w)) == 0)
		return;
	if (w->err == 0)
		w->err = compact_file(k);
	if (w->err)
		log_line(LOG_WARNING, "database %s: compaction ended early: %s", k->f->name, err_reason(w->err));
	compact_end(k);
}

int
db_compact(struct db *db)
{
	struct dbfile *f = db->file;
	struct compactwork *k;
	int err, running;

	if (!db->is_admin)
		return ERR_NOT_DB_ADMIN;
	if ((k = calloc(1, sizeof(*k))) == NULL)
		return ERR_NOMEM;
	k->f = f;
	k->work.kind = WORK_COMPACT;
	k->work.done = compact_done;
	buf_init(&k->after, LIMIT_ID_LEN);
	(void)pthread_mutex_lock(&f->lock);
	running = f->compact_running;
	f->compact_running = 1;
	(void)pthread_mutex_unlock(&f->lock);
	if (running) {
		buf_release(&k->after);
		free(k);
		return 0;
	}
	dbs_file_ref(f);
	if ((err = commit_queue(f, &k->work)) != 0)
		compact_end(k);
	return err;
}
