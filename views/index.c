/*
 * index.c: which indexes are open, and their files.
 *
 * A file is named by what makes it what it is: the database's name, and a hash over its history, the design document's signature,
 * the order of keys and this format.  So a database that was restored, a changed function and another ICU have other files;
 * what is no longer asked for is removed by a clean-up (cleanup.c).
 */
#include "index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "background.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "compact.h"
#include "query/query.h"
#include "store/record.h"

#define FORMAT 5u
#define DEFINITION_MAX ((size_t)4 * LIMIT_BODY_LEN)

/* ---- The file ---- */

static uint64_t
one(const struct store_val *key, const struct store_val *val)
{
	(void)key;
	(void)val;
	return 1;
}

void
index_counts(uint64_t salt, struct counts_of *out)
{
	*out =
	    (struct counts_of){.tree = VIEW_ROWS, .counts_tree = VIEW_COUNTS, .which = 'r', .salt = salt, .weigh = one};
}

void
index_head_record(const struct index_head *h, unsigned char out[INDEX_HEAD])
{
	bytes_store_u64be(out, h->salt);
	bytes_store_u64be(out + 8, h->seq);
	bytes_store_u64be(out + 16, h->purge_seq);
	out[24] = (unsigned char)h->ready;
	record_sum(VIEW_META, INDEX_HEAD_KEY, sizeof(INDEX_HEAD_KEY) - 1, out, INDEX_HEAD - RECORD_SUM_LEN);
}

int
index_head_put(struct store_batch *batch, const struct index_head *h)
{
	unsigned char v[INDEX_HEAD];

	index_head_record(h, v);
	return store_put(batch, VIEW_META, INDEX_HEAD_KEY, sizeof(INDEX_HEAD_KEY) - 1, v, sizeof(v));
}

int
index_head_get(struct store_snap *snap, struct index_head *h)
{
	struct store_val val;
	struct bytes r;
	int err = store_get(snap, VIEW_META, INDEX_HEAD_KEY, sizeof(INDEX_HEAD_KEY) - 1, &val);

	if (err != 0 || (err = record_open(VIEW_META, INDEX_HEAD_KEY, sizeof(INDEX_HEAD_KEY) - 1, &val, &r)) != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	h->salt = bytes_u64be(&r);
	h->seq = bytes_u64be(&r);
	h->purge_seq = bytes_u64be(&r);
	h->ready = bytes_u8(&r) != 0;
	return r.bad ? ERR_CORRUPT : 0;
}

static int
create(struct view_index *ix)
{
	struct sums sums = {.ddoc = &ix->ddoc};
	struct store_batch *batch;
	int err = store_create(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_batch_new(ix->store, &batch)) != 0)
		return err;
	ix->head = (struct index_head){0, 0, 0, 0};
	hash_random(&ix->head.salt, sizeof(ix->head.salt));
	sums.salt = ix->head.salt;
	if ((err = index_head_put(batch, &ix->head)) == 0 && (err = sums_create(&sums, batch)) == 0)
		err = store_commit(batch);
	store_batch_free(batch);
	return err;
}

static void
close_file(struct view_index *ix)
{
	store_close_checked(ix->store);
	ix->store = NULL;
}

static int
open_existing(struct view_index *ix)
{
	struct store_snap *snap;
	int err = store_open_checked(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_snap_begin(ix->store, &snap)) != 0)
		return err;
	err = index_head_get(snap, &ix->head);
	store_snap_end(snap);
	return err;
}

/* open_file: One that is damaged, or was not made to its end, is made anew; with ${make} one that is not there, too. */
static int
open_file(struct view_index *ix, int make)
{
	int err = open_existing(ix);

	if (err == 0)
		return 0;
	close_file(ix);
	if (err == ERR_CORRUPT || err == ERR_NEWER_FORMAT) {
		log_line(LOG_WARNING, "an index of %s cannot be read, and is built anew", ix->database);
		err = store_drop(ix->views->config.store, ix->name);
		if (err != 0 && err != ERR_IN_DOUBT)
			return err;
		err = ERR_NO_DB;
	}
	if (err == ERR_NO_DB && make && (err = create(ix)) != 0)
		close_file(ix);
	return err;
}

/* ---- What defines it ---- */

void
index_prefix(const char *database, char out[INDEX_PREFIX])
{
	unsigned char digest[MD5_LEN];

	hash_md5(database, strlen(database), digest);
	hex_encode(digest, MD5_LEN, out);
	out[2 * MD5_LEN] = '\0';
}

static int
name_of(struct view_index *ix)
{
	unsigned char version[QUERY_SORTKEY_VERSION], digest[MD5_LEN];
	struct buf b;
	int err = query_sortkey_version(version);

	if (err != 0)
		return err;
	buf_init(&b, 1024);
	buf_putc(&b, (char)FORMAT);
	buf_put(&b, version, sizeof(version));
	buf_put(&b, ix->ddoc.signature, sizeof(ix->ddoc.signature));
	buf_puts(&b, ix->history);
	hash_md5(b.data, b.len, digest);
	err = buf_failed(&b);
	buf_release(&b);
	hex_encode(ix->ddoc.signature, MD5_LEN, ix->signature);
	index_prefix(ix->database, ix->name);
	ix->name[2 * MD5_LEN] = '-';
	hex_encode(digest, MD5_LEN, ix->name + 2 * MD5_LEN + 1);
	ix->name[INDEX_NAME - 1] = '\0';
	return err;
}

/* body_of: Of the winner (${nth} 0), or of the revision that is so many before it.  ERR_END: there is none. */
static int
body_of(struct db_doc *doc, size_t nth, struct arena *a, struct jstr *bodyp)
{
	struct revnode *node = &doc->winner;
	struct revtree *t;
	struct revpos at;
	struct rev *path;
	struct db_rev rev;
	size_t n;
	int err;

	if (nth > 0) {
		if ((err = db_doc_tree(doc, 0, &t)) != 0 ||
		    (err = db_doc_path(doc, revtree_leaf_pos(t, 0), &path, &n)) != 0)
			return err;
		if (nth >= n)
			return ERR_END;
		if (!revtree_find(t, &path[nth], &at))
			return ERR_MISSING;
		node = revtree_at(t, at);
	}
	if (node->deleted)
		return ERR_DELETED;
	err = db_doc_rev(doc, node, a, &rev);
	if (err == ERR_MISSING && nth > 0)
		err = db_doc_base(doc, node, a, &rev);
	*bodyp = rev.body;
	return err;
}

static int
read_definition(struct view_index *ix, struct db *db, struct jstr id, size_t nth)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct jstr body;
	struct buf program;
	char *name = NULL;
	int err = db_snap_begin(db, &snap);

	if (err != 0)
		return err;
	err = db_get(snap, id.s, id.len, ix->arena, &doc);
	if (err == 0)
		err = known_key(ix->database, db_history(db), id, doc.seq, &ix->revision);
	if (err == 0 && (err = body_of(&doc, nth, ix->arena, &body)) == 0)
		err = ddoc_parse(body, ix->arena, &ix->ddoc);
	db_snap_end(snap);
	if (err == 0 && !ix->ddoc.is_query && !jstr_is(&ix->ddoc.language, "javascript"))
		err = ERR_NOT_IMPLEMENTED;
	if (err != 0)
		return err;
	buf_init_arena(&program, ix->arena, DEFINITION_MAX);
	err = ix->ddoc.is_query ? 0 : ddoc_program(&ix->ddoc, &program);
	ix->program = (struct jstr){program.data, program.len};
	if (err == 0 && (name = arena_calloc(ix->arena, 1, id.len + 1)) == NULL)
		err = ERR_NOMEM;
	if (err == 0)
		memcpy(name, id.s, id.len);
	ix->design = (struct jstr){name, id.len};
	return err;
}

void
index_free(struct view_index *ix)
{
	if (ix == NULL)
		return;
	close_file(ix);
	arena_free(ix->arena);
	free(ix->database);
	(void)pthread_mutex_destroy(&ix->lock);
	free(ix);
}

int
index_new(struct views *v, struct db *db, const char *database, struct jstr ddoc, size_t nth, struct view_index **ip)
{
	struct view_index *ix = calloc(1, sizeof(*ix));
	struct jstr history = db_history(db);
	int err;

	if (ix == NULL)
		return ERR_NOMEM;
	(void)pthread_mutex_init(&ix->lock, NULL);
	ix->views = v;
	ix->job = (struct exec_job){.fn = update_step, .arg = ix, .lane = exec_lane(database)};
	(void)snprintf(ix->history, sizeof(ix->history), "%.*s", (int)history.len, history.s);
	ix->database = strdup(database);
	err = ix->database == NULL ? ERR_NOMEM : arena_new(4 * DEFINITION_MAX, &ix->arena);
	if (err == 0)
		err = read_definition(ix, db, ddoc, nth);
	ix->partitioned = db_is_partitioned(db) && (!ix->ddoc.has_partitioned || ix->ddoc.partitioned);
	if (err == 0)
		err = name_of(ix);
	if (err != 0)
		index_free(ix);
	else
		*ip = ix;
	return err;
}

/* ---- The table ---- */

void
index_drop_file(struct views *v, const char *name)
{
	int err = store_drop(v->config.store, name);

	if (err != 0 && err != ERR_NO_DB && err != ERR_IN_DOUBT)
		log_line(LOG_WARNING, "an index file that is not needed any more cannot be removed: %s", name);
}

struct view_index **
index_find(struct views *v, const char *name)
{
	struct view_index **p = &v->all;

	while (*p != NULL && (((*p)->gone && !(*p)->busy) || strcmp((*p)->name, name) != 0))
		p = &(*p)->next;
	return p;
}

static void
take_out(struct view_index *ix)
{
	struct view_index **p = &ix->views->all;

	while (*p != ix)
		p = &(*p)->next;
	*p = ix->next;
}

static unsigned
idle_ms(const struct views *v)
{
	return v->config.idle_ms != 0 ? v->config.idle_ms : INDEX_IDLE_MS;
}

static uint64_t
now_ms(const struct views *v)
{
	return v->config.ex->now_ms(v->config.ex);
}

/* victim: What to close next: what is gone, what is idle since before ${before}, and beyond ${keep} the least recently used. */
static struct view_index *
victim(const struct views *v, unsigned keep, uint64_t before)
{
	struct view_index *last = NULL;
	unsigned n = 0;

	for (struct view_index *ix = v->all; ix != NULL; ix = ix->next) {
		n++;
		if (ix->refs > 0 || ix->busy)
			continue;
		if (ix->gone || ix->idle_ms < before)
			return ix;
		last = ix;
	}
	return n > keep ? last : NULL;
}

/* evict: Close what nobody reads; under the lock, which it gives up meanwhile. */
static void
evict(struct views *v, unsigned keep, uint64_t before)
{
	struct view_index *ix;

	while ((ix = victim(v, keep, before)) != NULL) {
		ix->busy = 1;
		(void)pthread_mutex_unlock(&v->lock);
		close_file(ix);
		(void)pthread_mutex_lock(&v->lock);
		take_out(ix);
		(void)pthread_cond_broadcast(&v->changed);
		index_free(ix);
	}
}

void
index_doom(struct view_index *ix)
{
	struct views *v = ix->views;

	while (ix->busy)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (ix->gone)
		return;
	ix->gone = ix->busy = 1;
	(void)pthread_mutex_unlock(&v->lock);
	index_drop_file(v, ix->name);
	(void)pthread_mutex_lock(&v->lock);
	ix->busy = 0;
	(void)pthread_cond_broadcast(&v->changed);
}

int
index_damaged(struct view_index *ix, int err)
{
	struct views *v = ix->views;

	if (err != ERR_CORRUPT)
		return err;
	(void)pthread_mutex_lock(&v->lock);
	if (!ix->gone)
		log_line(LOG_WARNING, "an index of %s is damaged, and is built anew", ix->database);
	index_doom(ix);
	(void)pthread_mutex_unlock(&v->lock);
	return err;
}

/* let_go: Nobody opens it any more as it is, but its file stays. */
static void
let_go(struct view_index *ix)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	while (ix->busy)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (!ix->gone)
		log_line(LOG_WARNING, "an index of %s could not be opened again, and is when it is next asked for",
		    ix->database);
	ix->gone = 1;
	(void)pthread_mutex_unlock(&v->lock);
}

int
index_reopen(struct view_index *ix)
{
	int err = store_reopen(ix->store);

	if (err == ERR_IO || err == ERR_NOMEM)
		let_go(ix);
	return err;
}

/* reread: What the file says after all. */
static int
reread(struct view_index *ix)
{
	struct index_head head;
	struct store_snap *snap;
	int err = index_reopen(ix);

	if (err != 0 || (err = store_snap_begin(ix->store, &snap)) != 0)
		return err;
	err = index_head_get(snap, &head);
	store_snap_end(snap);
	if (err != 0)
		return err;
	(void)pthread_mutex_lock(&ix->lock);
	ix->head = head;
	(void)pthread_mutex_unlock(&ix->lock);
	return 0;
}

int
index_settled(struct view_index *ix, int err)
{
	if (err != ERR_IN_DOUBT)
		return err;
	if (reread(ix) != 0) {
		(void)pthread_mutex_lock(&ix->views->lock);
		if (!ix->gone)
			log_line(
			    LOG_WARNING, "an index of %s cannot be read any more, and is built anew", ix->database);
		index_doom(ix);
		(void)pthread_mutex_unlock(&ix->views->lock);
	}
	return ERR_IO;
}

/* tidy_later: Look again when what is idle now is idle for long; under the lock. */
static void
tidy_later(struct views *v)
{
	if (v->closing || v->tidier_set)
		return;
	v->tidier_set = 1;
	v->config.ex->later(v->config.ex, &v->tidier, idle_ms(v));
}

void
index_unref(struct view_index *ix)
{
	struct views *v = ix->views;

	ix->refs--;
	ix->idle_ms = now_ms(v);
	/* Closing waits for the folder's flushes, which those who read rows must not. */
	if (!v->closing && !v->closer_set && victim(v, INDEX_OPEN, 0) != NULL) {
		v->closer_set = 1;
		v->config.ex->submit(v->config.ex, &v->closer);
	}
	tidy_later(v);
	(void)pthread_cond_broadcast(&v->changed);
}

static void
close_some(void *arg)
{
	struct views *v = arg;

	(void)pthread_mutex_lock(&v->lock);
	evict(v, INDEX_OPEN, 0);
	v->closer_set = 0;
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
}

static void
close_idle(void *arg)
{
	struct views *v = arg;
	uint64_t now = now_ms(v);

	(void)pthread_mutex_lock(&v->lock);
	evict(v, INDEX_OPEN, now >= idle_ms(v) ? now - idle_ms(v) + 1 : 0);
	v->tidier_set = 0;
	if (v->all != NULL)
		tidy_later(v);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
}

/* take: The one that stands at ${at} is used again. */
static struct view_index *
take(struct views *v, struct view_index **at)
{
	struct view_index *ix = *at;

	*at = ix->next;
	ix->next = v->all;
	v->all = ix;
	ix->refs++;
	return ix;
}

/* open_known: One that is open, and that a revision seen before defines; ERR_AGAIN: there is none. */
static int
open_known(struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip)
{
	struct view_index **at;
	struct known_key key;
	struct db_snap *snap;
	struct db_doc doc;
	const char *name;
	struct arena *a;
	int err = arena_new(DEFINITION_MAX, &a);

	if (err != 0)
		return err;
	if ((err = db_snap_begin(db, &snap)) == 0) {
		if ((err = db_get(snap, ddoc.s, ddoc.len, a, &doc)) == 0)
			err = known_key(database, db_history(db), ddoc, doc.seq, &key);
		db_snap_end(snap);
	}
	arena_free(a);
	if (err != 0)
		return err;
	(void)pthread_mutex_lock(&v->lock);
	err = ERR_AGAIN;
	if ((name = known_find(&v->known, &key)) != NULL && *(at = index_find(v, name)) != NULL && !(*at)->busy) {
		*ip = take(v, at);
		err = 0;
	}
	(void)pthread_mutex_unlock(&v->lock);
	return err;
}

/* open_one: The index that ${fresh} is, which is taken; unless ${make}, ERR_NO_DB where there is none. */
static int
open_one(struct views *v, struct view_index *fresh, int make, struct view_index **ip)
{
	struct view_index **at;
	int err;

	(void)pthread_mutex_lock(&v->lock);
	for (at = index_find(v, fresh->name); *at != NULL && (*at)->busy; at = index_find(v, fresh->name))
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (*at != NULL) {
		*ip = take(v, at);
		(void)pthread_mutex_unlock(&v->lock);
		index_free(fresh);
		return 0;
	}
	fresh->busy = 1;
	fresh->refs = 1;
	fresh->next = v->all;
	v->all = fresh;
	evict(v, INDEX_OPEN, 0);
	(void)pthread_mutex_unlock(&v->lock);
	err = open_file(fresh, make);
	(void)pthread_mutex_lock(&v->lock);
	fresh->busy = 0;
	if (err != 0)
		take_out(fresh);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
	if (err != 0)
		index_free(fresh);
	else
		*ip = fresh;
	return err;
}

int
views_open(struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip)
{
	struct view_index *fresh;
	int err = open_known(v, db, database, ddoc, ip);

	if (err != ERR_AGAIN)
		return err;
	if ((err = index_new(v, db, database, ddoc, 0, &fresh)) != 0)
		return err;
	(void)pthread_mutex_lock(&v->lock);
	known_put(&v->known, &fresh->revision, fresh->name);
	(void)pthread_mutex_unlock(&v->lock);
	return open_one(v, fresh, 1, ip);
}

int
views_is_ready(struct view_index *ix)
{
	int ready;

	(void)pthread_mutex_lock(&ix->lock);
	ready = ix->head.ready;
	(void)pthread_mutex_unlock(&ix->lock);
	return ready;
}

int
index_open_ready(struct views *v, struct view_index *fresh, struct view_index **ip)
{
	int err = open_one(v, fresh, 0, ip);

	if (err == 0 && !views_is_ready(*ip)) {
		views_close(*ip);
		err = ERR_NO_DB;
	}
	return err;
}

int
index_is_none(int err)
{
	return err == ERR_MISSING || err == ERR_DELETED || err == ERR_NOT_IMPLEMENTED || err == ERR_BAD_JSON;
}

int
views_open_earlier(struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip)
{
	struct view_index *fresh;
	int err = 0;

	for (size_t nth = 1; nth <= INDEX_EARLIER && err == 0; nth++) {
		if ((err = index_new(v, db, database, ddoc, nth, &fresh)) == 0) {
			err = index_open_ready(v, fresh, ip);
			if (err != ERR_NO_DB)
				return err;
			err = 0;
		}
		err = index_is_none(err) ? 0 : err;
	}
	return err != 0 && err != ERR_END ? err : ERR_MISSING;
}

void
views_close(struct view_index *ix)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	index_unref(ix);
	(void)pthread_mutex_unlock(&v->lock);
}

int
views_check_design(struct jstr body, struct errtext *why)
{
	return ddoc_check(body, why);
}

void
views_set_reduce_limit(struct views *v, enum views_reduce_limit limit)
{
	atomic_store_explicit(&v->reduce_limit, (int)limit, memory_order_relaxed);
}

enum views_reduce_limit
views_get_reduce_limit(const struct views *v)
{
	return (enum views_reduce_limit)atomic_load_explicit(&v->reduce_limit, memory_order_relaxed);
}

int
views_new(const struct views_config *config, struct views **vp)
{
	struct views *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return ERR_NOMEM;
	v->config = *config;
	if (config->folder != NULL && (v->config.folder = v->folder = strdup(config->folder)) == NULL) {
		free(v);
		return ERR_NOMEM;
	}
	if (config->background > 0 &&
	    background_new(v, config->ex, config->dbs, config->background, &v->background) != 0) {
		free(v->folder);
		free(v);
		return ERR_NOMEM;
	}
	v->fresh.end = &v->fresh.first;
	v->going.end = &v->going.first;
	v->closer = (struct exec_job){.fn = close_some, .arg = v};
	v->tidier = (struct exec_job){.fn = close_idle, .arg = v};
	(void)pthread_mutex_init(&v->lock, NULL);
	(void)pthread_cond_init(&v->changed, NULL);
	mango_lists_init(&v->lists);
	cleanup_sweep_later(v);
	*vp = v;
	return 0;
}

void
views_free(struct views *v)
{
	if (v == NULL)
		return;
	(void)pthread_mutex_lock(&v->lock);
	v->closing = 1;
	(void)pthread_mutex_unlock(&v->lock);
	background_stop(v->background);
	(void)pthread_mutex_lock(&v->lock);
	if (v->tidier_set && v->config.ex->cancel(v->config.ex, &v->tidier))
		v->tidier_set = 0;
	while (v->nupdates + v->nremovals > 0 || v->closer_set || v->tidier_set)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	compact_stop(v);
	evict(v, 0, 0);
	(void)pthread_mutex_unlock(&v->lock);
	store_free(v->config.store);
	background_free(v->background);
	mango_lists_release(&v->lists);
	(void)pthread_cond_destroy(&v->changed);
	(void)pthread_mutex_destroy(&v->lock);
	free(v->folder);
	free(v);
}

void
views_moved(struct views *v, const char *database)
{
	if (v->background != NULL)
		background_moved(v->background, database);
}
