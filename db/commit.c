/*
 * The committer: group commit for one database.
 *
 *   queue --take--> group --apply--> batch --store_commit--> done --answer--> callbacks
 *
 * Writers queue work and leave. One job at a time takes what is waiting, up to LIMIT_TXN_BYTES, applies all of
 * it in one storage transaction with one flush, and answers. While it flushes, more work gathers: so the group
 * grows with the load.
 *
 * 1. Only the committer writes, so what it read from its snapshot stays true until it commits.
 * 2. A write is answered as done after the flush, never before.
 * 3. If the transaction fails, every write in it is answered with that error and nothing of it is there:
 *    counters are published only after the commit.
 * 4. If its outcome is in doubt, the file is read anew, and the number of commits found there says whether
 *    it was made. Until then nothing is answered and nothing else written.
 * 5. Documents are written in the order of their ids, which is the order of their keys, whatever the order of
 *    arrival; writes of one document are applied in the order of arrival, and cost one record together.
 */
#include "dbi.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/log.h"

/* ---- The queue ---- */

int
commit_queue_full(const struct dbfile *f, size_t bytes)
{
	size_t waiting = f->queued_bytes + f->heard_bytes;

	return waiting > 0 && waiting + bytes > LIMIT_QUEUE_BYTES;
}

int
commit_queue_chain(struct dbfile *f, struct dbwork *first, struct dbwork *last, size_t bytes, int heard)
{
	int err = 0, start = 0;

	(void)pthread_mutex_lock(&f->lock);
	if (f->dropped)
		err = ERR_NO_DB;
	else if (!heard && commit_queue_full(f, bytes))
		err = ERR_BUSY;
	else {
		*(f->tail != NULL ? &f->tail->next : &f->head) = first;
		f->tail = last;
		f->queued_bytes += bytes;
		start = !f->scheduled;
		f->scheduled = 1;
	}
	(void)pthread_mutex_unlock(&f->lock);
	if (start) {
		dbs_file_ref(f);
		f->dbs->config.ex->submit(f->dbs->config.ex, &f->job);
	}
	return err;
}

int
commit_queue(struct dbfile *f, struct dbwork *w)
{
	w->next = NULL;
	w->err = 0;
	return commit_queue_chain(f, w, w, w->bytes, w->bytes == 0); /* what has none needs no room */
}

/* queue_take: What goes into the next transaction: at least one piece of work. Compaction goes alone. */
static struct dbwork *
queue_take(struct dbfile *f)
{
	struct dbwork *first, **end;
	size_t bytes = 0;

	(void)pthread_mutex_lock(&f->lock);
	first = f->head;
	end = &f->head;
	while (*end != NULL && (end == &f->head || bytes + (*end)->bytes <= LIMIT_TXN_BYTES)) {
		if ((*end)->kind == WORK_COMPACT && end != &f->head)
			break;
		bytes += (*end)->bytes;
		end = &(*end)->next;
		if (first->kind == WORK_COMPACT)
			break;
	}
	f->head = *end;
	*end = NULL;
	if (f->head == NULL)
		f->tail = NULL;
	f->queued_bytes -= bytes;
	(void)pthread_mutex_unlock(&f->lock);
	return first;
}

/* ---- What a transaction collects ---- */

int
commit_doc_keys(struct commit *c, struct idkey_batch **bp)
{
	int err = 0;

	if (c->doc_keys == NULL)
		err = idkey_batch_new(&db_doc_trees, c->snap, c->a, &c->state.next_node, &c->doc_keys);
	*bp = c->doc_keys;
	return err;
}

int
commit_local_keys(struct commit *c, struct idkey_batch **bp)
{
	int err = 0;

	if (c->local_keys == NULL)
		err = idkey_batch_new(&db_local_trees, c->snap, c->a, &c->state.next_node, &c->local_keys);
	*bp = c->local_keys;
	return err;
}

int
commit_count(struct commit *c, struct countlist *l, const struct counts_change *change)
{
	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? 2 * l->cap : 64;
		struct counts_change *grown = arena_calloc(c->a, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (l->n > 0)
			memcpy(grown, l->v, l->n * sizeof(*grown));
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n++] = *change;
	return 0;
}

static int
count_pointer(
    const void *key, size_t klen, int existed, int exists, uint64_t old_weight, uint64_t new_weight, void *cookie)
{
	struct commit *c = cookie;
	const struct counts_change change = {key, klen, existed, exists, old_weight, new_weight};

	return commit_count(c, &c->docs, &change);
}

static int
change_cmp(const void *a, const void *b)
{
	const struct counts_change *x = a, *y = b;
	size_t n = x->klen < y->klen ? x->klen : y->klen;
	int c = memcmp(x->key, y->key, n);

	return c != 0 ? c : (x->klen > y->klen) - (x->klen < y->klen);
}

static int
counts_settle(struct commit *c)
{
	struct counts_of docs, changes;
	int err;

	db_counts_of_docs(c->f, &docs);
	db_counts_of_changes(c->f, &changes);
	if (c->docs.n > 0)
		qsort(c->docs.v, c->docs.n, sizeof(*c->docs.v), change_cmp);
	if (c->changes.n > 0)
		qsort(c->changes.v, c->changes.n, sizeof(*c->changes.v), change_cmp);
	if ((err = counts_apply(&docs, c->snap, c->batch, c->a, c->docs.v, c->docs.n)) != 0)
		return err;
	return counts_apply(&changes, c->snap, c->batch, c->a, c->changes.v, c->changes.n);
}

/* ---- Applying ---- */

/* It is compiled before it is committed: once it is acknowledged it is in force.  Of several the last one counts. */
static int
apply_security(struct commit *c, struct db_write *w)
{
	struct access *compiled;
	int err;

	if (w->body.len > c->security.max) {
		w->err = ERR_TOO_LARGE;
		return 0;
	}
	err = access_parse(w->body.s, w->body.len, 0, &compiled);
	if (err == ERR_CORRUPT) {
		w->err = ERR_BAD_JSON;
		return 0;
	}
	if (err)
		return err;
	access_free(c->access);
	c->access = compiled;
	buf_clear(&c->security);
	err = buf_put(&c->security, w->body.s, w->body.len);
	return err ? err : meta_put(c->batch, "security", w->body.s, w->body.len);
}

/* apply_setting: _security, _revs_limit, _purged_infos_limit or _history_kept. */
static int
apply_setting(struct commit *c, struct db_write *w)
{
	c->touched = 1;
	switch (w->kind) {
	case DB_WRITE_REVS_LIMIT:
		c->state.revs_limit = w->number;
		return 0;
	case DB_WRITE_PURGED_LIMIT:
		c->state.purged_limit = w->number;
		return 0;
	case DB_WRITE_HISTORY_KEPT:
		c->state.keep_revs = w->number;
		c->state.keep_seconds = w->seconds;
		return ages_begin(c);
	default:
		break;
	}
	return apply_security(c, w);
}

static int
is_local(const struct pending_write *p)
{
	return p->w->kind == DB_WRITE_LOCAL;
}

/* _local documents have trees of their own. */
static int
id_order(const struct pending_write *x, const struct pending_write *y)
{
	const struct jstr *a = &x->w->id, *b = &y->w->id;
	size_t n = a->len < b->len ? a->len : b->len;
	int c = is_local(x) - is_local(y);

	if (c == 0)
		c = n > 0 ? memcmp(a->s, b->s, n) : 0;
	return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

static int
pending_cmp(const void *a, const void *b)
{
	const struct pending_write *x = a, *y = b;
	int c = id_order(x, y);

	return c != 0 ? c : (x->order > y->order) - (x->order < y->order);
}

static void
sort_pending(struct pending_write *v, size_t n)
{
	size_t i = 1;

	while (i < n && id_order(&v[i - 1], &v[i]) <= 0)
		i++;
	if (i < n)
		qsort(v, n, sizeof(*v), pending_cmp);
}

/* gather: The document writes of a group, of _local ones too; others are applied at once. */
static int
gather(struct commit *c, struct dbwork *group, struct pending_write *out, size_t *np)
{
	size_t n = 0;
	int err = 0;

	for (struct dbwork *w = group; w != NULL; w = w->next) {
		struct reqwork *r = w->kind == WORK_REQUEST ? OUTER_OF(w, struct reqwork, work) : NULL;

		for (size_t i = 0; r != NULL && i < r->n && err == 0; i++) {
			struct db_write *dw = &r->writes[i];

			if (!submit_is_open(dw))
				continue;
			if (dw->kind != DB_WRITE_EDIT && dw->kind != DB_WRITE_REPLICATE && dw->kind != DB_WRITE_PURGE &&
			    dw->kind != DB_WRITE_LOCAL)
				err = apply_setting(c, dw);
			else {
				out[n] = (struct pending_write){dw, r->req, n};
				n++;
			}
		}
	}
	*np = n;
	return err;
}

static int
apply_documents(struct commit *c, struct dbwork *group)
{
	struct pending_write *v;
	size_t n = 0, j;
	int err;

	for (struct dbwork *w = group; w != NULL; w = w->next)
		if (w->kind == WORK_REQUEST)
			n += OUTER_OF(w, struct reqwork, work)->n;
	if ((v = arena_calloc(c->a, n, sizeof(*v))) == NULL && n > 0)
		return ERR_NOMEM;
	if ((err = gather(c, group, v, &n)) != 0)
		return err;
	sort_pending(v, n);
	for (size_t i = 0; i < n && err == 0; i = j) {
		for (j = i + 1; j < n && id_order(&v[i], &v[j]) == 0; j++)
			;
		err = is_local(&v[i]) ? docedit_local(c, v + i, j - i) : docedit_run(c, v + i, j - i);
	}
	return err;
}

static int
apply_other(struct commit *c, struct dbwork *w)
{
	switch (w->kind) {
	case WORK_BLOB:
		return blob_commit_flush(c, OUTER_OF(w, struct db_blob, work));
	case WORK_BLOB_DROP:
		return blob_commit_drop(c, OUTER_OF(w, struct db_blob, work)->number);
	case WORK_DICT:
		return dict_commit(c, OUTER_OF(w, struct dictwork, work));
	case WORK_COMPACT:
		return compact_slice(c, OUTER_OF(w, struct compactwork, work));
	case WORK_REQUEST:
		break;
	}
	return 0;
}

static int
apply(struct commit *c, struct dbwork *group)
{
	int err = 0;

	for (struct dbwork *w = group; w != NULL && err == 0; w = w->next)
		err = apply_other(c, w);
	if (err || (err = apply_documents(c, group)) != 0 || (err = blob_commit_end(c)) != 0 ||
	    (err = purge_forget(c)) != 0)
		return err;
	if (c->doc_keys != NULL && (err = idkey_batch_end(c->doc_keys, c->batch, count_pointer, c)) != 0)
		return err;
	if (c->local_keys != NULL && (err = idkey_batch_end(c->local_keys, c->batch, NULL, NULL)) != 0)
		return err;
	return counts_settle(c);
}

/* settle_doubt: The file says whether the transaction was made. */
static int
settle_doubt(struct commit *c)
{
	struct store_snap *snap;
	struct dbstate found;
	int err = store_reopen(c->f->store);

	if (err == 0 && (err = store_snap_begin(c->f->store, &snap)) == 0) {
		err = meta_state_get(snap, &found);
		store_snap_end(snap);
	}
	if (err) {
		log_line(LOG_ERROR,
		    "database %s: a commit's outcome is not known and the file cannot be read; it takes no writes",
		    c->f->name);
		c->f->broken = 1;
		return ERR_IN_DOUBT;
	}
	return found.commits == c->state.commits ? 0 : ERR_IO;
}

static int
run_transaction(struct commit *c, struct dbwork *group)
{
	int err = store_snap_begin(c->f->store, &c->snap);

	if (err)
		return err;
	err = apply(c, group);
	if (err == 0 && c->touched) {
		c->state.commits++;
		if ((err = meta_state_put(c->batch, &c->state)) == 0)
			err = history_session(c->f, c->batch);
	}
	store_snap_end(c->snap);
	c->put_bytes = store_batch_bytes(c->batch);
	if (err == 0 && c->touched)
		err = store_commit(c->batch);
	else
		store_batch_clear(c->batch);
	return err == ERR_IN_DOUBT ? settle_doubt(c) : err;
}

/* ---- Answering ---- */

/* What was in force goes into the commit, which releases it. */
static void
adopt_security(struct commit *c)
{
	struct dbfile *f = c->f;
	struct access *access = f->access;
	struct buf text;

	(void)pthread_mutex_lock(&f->lock);
	text = f->security;
	f->access = c->access;
	f->security = c->security;
	f->security_stamp++;
	(void)pthread_mutex_unlock(&f->lock);
	c->access = access;
	c->security = text;
}

static void
publish(struct commit *c, struct dbwork *group)
{
	struct dbfile *f = c->f;

	if (c->access != NULL)
		adopt_security(c);
	for (struct dbwork *w = group; w != NULL; w = w->next)
		if (w->kind == WORK_DICT)
			dict_publish(f, OUTER_OF(w, struct dictwork, work));
	blob_committed(c);
	history_committed(f);
	(void)pthread_mutex_lock(&f->lock);
	f->state = c->state;
	if (c->designs)
		f->designs = c->state.update_seq;
	(void)pthread_mutex_unlock(&f->lock);
}

static void
answer(struct dbwork *group, int err)
{
	for (struct dbwork *w = group, *next; w != NULL; w = next) {
		next = w->next;
		w->err = err;
		w->done(w);
	}
}

/* tell_commit: Never behind the drop. */
static void
tell_commit(struct dbfile *f, uint64_t seq)
{
	const struct dbs_config *config = &f->dbs->config;

	(void)pthread_mutex_lock(&f->telling);
	if (config->moved != NULL && !f->dropped)
		config->moved(config->cookie, f->name, f->incarnation, seq, 0);
	(void)pthread_mutex_unlock(&f->telling);
}

static void
commit_group(struct dbfile *f, struct dbwork *group)
{
	struct commit c = {.f = f, .batch = f->batch, .a = f->arena, .doc_a = f->doc_arena};
	uint64_t seq = f->state.update_seq, atts = f->state.superseded_atts;
	int err;

	(void)pthread_mutex_lock(&f->lock);
	err = f->dropped ? ERR_NO_DB : f->broken ? ERR_IN_DOUBT : 0;
	c.state = f->state;
	(void)pthread_mutex_unlock(&f->lock);
	buf_init(&c.scratch, 4u * LIMIT_TXN_BYTES);
	buf_init(&c.security, f->security.max);
	if (err == 0)
		err = run_transaction(&c, group);
	buf_release(&c.scratch);
	if (err == 0 && c.touched) {
		publish(&c, group);
		counters_add(COUNTER_COMMITS, 1);
		counters_add(COUNTER_DOC_WRITES, c.state.update_seq - seq);
	}
	if (err == 0 && c.state.update_seq != seq)
		tell_commit(f, c.state.update_seq);
	access_free(c.access);
	buf_release(&c.security);
	answer(group, err);
	arena_reset(f->arena);
	arena_reset(f->doc_arena);
	if (err == 0)
		dict_consider(f);
	if (err == 0 && c.touched)
		compact_auto_consider(
		    f, c.put_bytes + (c.state.superseded_atts > atts ? c.state.superseded_atts - atts : 0));
}

void
commit_job(void *arg)
{
	struct dbfile *f = arg;
	int more;

	commit_group(f, queue_take(f));
	(void)pthread_mutex_lock(&f->lock);
	more = f->head != NULL;
	f->scheduled = more;
	(void)pthread_mutex_unlock(&f->lock);
	if (more)
		f->dbs->config.ex->submit(f->dbs->config.ex, &f->job);
	else
		dbs_file_unref(f);
}
