/*
 * Training a database's dictionary: once, when it has DICT_MIN_DOCS documents, off the committer, from bodies
 * spread over its newest changes. The dictionary becomes part of the file by a commit of its own; from then
 * on new bodies use it, and compaction packs older ones anew.
 */
#include "dbi.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define DICT_MIN_DOCS 1000u
#define DICT_SAMPLES 2000u
#define DICT_SAMPLE_MAX 4096u /* bytes of one sample */

static void
dict_done(struct dbwork *w)
{
	struct dictwork *d = OUTER_OF(w, struct dictwork, work);

	dbs_file_unref(d->f);
	buf_release(&d->bytes);
	free(d);
}

int
dict_commit(struct commit *c, const struct dictwork *d)
{
	char key[32];

	(void)snprintf(key, sizeof(key), "dict/%08llx", (unsigned long long)d->number);
	c->touched = 1;
	return meta_put(c->batch, key, d->bytes.data, d->bytes.len);
}

void
dict_publish(struct dbfile *f, const struct dictwork *d)
{
	if (body_dicts_add(f->dicts, d->number, d->bytes.data, d->bytes.len) != 0)
		log_line(LOG_WARNING, "database %s: its dictionary is in use from the next opening", f->name);
}

/* sample: The texts of the newest documents, one behind the other. */
static int
sample(struct dbfile *f, struct buf *texts, size_t *sizes, unsigned *np)
{
	const struct principal server = {.server_admin = 1};
	struct db db = {f, &server, 1};
	struct db_snap *snap;
	struct db_scan *scan = NULL;
	struct db_change row;
	struct db_doc doc;
	struct db_rev rev;
	struct arena *a;
	int err = arena_new(LIMIT_TXN_BYTES, &a);

	if (err)
		return err;
	if ((err = db_snap_begin(&db, &snap)) != 0) {
		arena_free(a);
		return err;
	}
	err = db_changes_open(snap, 0, 1, &scan);
	while (err == 0 && *np < DICT_SAMPLES && (err = db_changes_next(scan, a, &row)) == 0) {
		if (!row.deleted && (err = db_get(snap, row.id.s, row.id.len, a, &doc)) == 0 &&
		    (err = db_doc_rev(&doc, &doc.winner, a, &rev)) == 0) {
			sizes[*np] = rev.body.len < DICT_SAMPLE_MAX ? rev.body.len : DICT_SAMPLE_MAX;
			err = buf_put(texts, rev.body.s, sizes[(*np)++]);
		}
		arena_reset(a);
	}
	db_scan_close(scan);
	db_snap_end(snap);
	arena_free(a);
	return err == ERR_END ? 0 : err;
}

static void
dict_job(void *arg)
{
	struct dictwork *d = arg;
	size_t *sizes = calloc(DICT_SAMPLES, sizeof(*sizes));
	struct buf texts;
	unsigned n = 0;
	int err;

	buf_init(&texts, (size_t)DICT_SAMPLES * DICT_SAMPLE_MAX);
	err = sizes != NULL ? sample(d->f, &texts, sizes, &n) : ERR_NOMEM;
	if (err == 0)
		err = body_dict_train(texts.data, sizes, n, &d->bytes);
	d->work.bytes = d->bytes.len;
	if (err == 0)
		err = commit_queue(d->f, &d->work);
	if (err)
		dict_done(&d->work);
	buf_release(&texts);
	free(sizes);
}

void
dict_consider(struct dbfile *f)
{
	struct dictwork *d;

	if (f->dict_wanted || f->state.doc_count < DICT_MIN_DOCS || body_dicts_current(f->dicts) != 0)
		return;
	f->dict_wanted = 1; /* once an opening: if the documents have nothing in common, not again */
	if ((d = calloc(1, sizeof(*d))) == NULL)
		return;
	d->f = f;
	d->number = 1;
	d->work.kind = WORK_DICT;
	d->work.done = dict_done;
	buf_init(&d->bytes, 2u * BODY_DICT_LEN);
	d->job = (struct exec_job){dict_job, d, NULL, 0};
	dbs_file_ref(f);
	f->dbs->config.ex->submit(f->dbs->config.ex, &d->job);
}
