/*
 * index.c: which indexes are open, and their files.
 *
 * A file is named by what makes it what it is: the database's name, and a hash over its history, the design document's signature,
 * the order of keys and this format.  So a database that was restored, a changed function and another ICU have other files;
 * what is no longer asked for is removed by a clean-up.
 */
#include "index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "query/query.h"
#include "store/record.h"

#define FORMAT 1u
#define HEAD_KEY "head"
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
index_counts(const struct view_index *ix, struct counts_of *out)
{
	*out = (struct counts_of){
	    .tree = VIEW_ROWS, .counts_tree = VIEW_COUNTS, .which = 'r', .salt = ix->head.salt, .weigh = one};
}

int
index_head_put(struct store_batch *batch, const struct index_head *h)
{
	unsigned char v[24];

	bytes_store_u64be(v, h->salt);
	bytes_store_u64be(v + 8, h->seq);
	bytes_store_u64be(v + 16, h->purge_seq);
	return record_put(batch, VIEW_META, HEAD_KEY, sizeof(HEAD_KEY) - 1, v, sizeof(v));
}

int
index_head_get(struct store_snap *snap, struct index_head *h)
{
	struct store_val val;
	struct bytes r;
	int err = store_get(snap, VIEW_META, HEAD_KEY, sizeof(HEAD_KEY) - 1, &val);

	if (err != 0 || (err = record_open(VIEW_META, HEAD_KEY, sizeof(HEAD_KEY) - 1, &val, &r)) != 0)
		return err == ERR_MISSING ? ERR_CORRUPT : err;
	h->salt = bytes_u64be(&r);
	h->seq = bytes_u64be(&r);
	h->purge_seq = bytes_u64be(&r);
	return r.bad ? ERR_CORRUPT : 0;
}

static int
create(struct view_index *ix)
{
	struct sums sums = {.ddoc = &ix->ddoc};
	int err = store_create(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_batch_new(ix->store, &ix->batch)) != 0)
		return err;
	ix->head = (struct index_head){0, 0, 0};
	hash_random(&ix->head.salt, sizeof(ix->head.salt));
	sums.salt = ix->head.salt;
	if ((err = index_head_put(ix->batch, &ix->head)) == 0 && (err = sums_create(&sums, ix->batch)) == 0)
		err = store_commit(ix->batch);
	return err;
}

static void
close_file(struct view_index *ix)
{
	if (ix->batch != NULL)
		store_batch_free(ix->batch);
	store_close(ix->store);
	ix->batch = NULL;
	ix->store = NULL;
}

static int
open_existing(struct view_index *ix)
{
	struct store_snap *snap;
	int err = store_open(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_batch_new(ix->store, &ix->batch)) != 0 ||
	    (err = store_snap_begin(ix->store, &snap)) != 0)
		return err;
	err = index_head_get(snap, &ix->head);
	store_snap_end(snap);
	return err;
}

/* open_file: One that is damaged, or was not made to its end, is made anew. */
static int
open_file(struct view_index *ix)
{
	int err = open_existing(ix);

	if (err == 0)
		return 0;
	close_file(ix);
	if (err == ERR_CORRUPT || err == ERR_NEWER_FORMAT) {
		log_line(LOG_WARNING, "an index of %s cannot be read, and is built anew", ix->database);
		if ((err = store_drop(ix->views->config.store, ix->name)) != 0)
			return err;
		err = ERR_NO_DB;
	}
	if (err == ERR_NO_DB && (err = create(ix)) != 0)
		close_file(ix);
	return err;
}

/* ---- What defines it ---- */

static void
prefix_of(const char *database, char out[2 * MD5_LEN + 1])
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
	prefix_of(ix->database, ix->name);
	ix->name[2 * MD5_LEN] = '-';
	hex_encode(digest, MD5_LEN, ix->name + 2 * MD5_LEN + 1);
	ix->name[INDEX_NAME - 1] = '\0';
	return err;
}

static int
read_definition(struct view_index *ix, struct db *db, struct jstr id)
{
	struct db_snap *snap;
	struct db_doc doc;
	struct db_rev rev;
	struct buf program;
	int err = db_snap_begin(db, &snap);

	if (err != 0)
		return err;
	err = db_get(snap, id.s, id.len, ix->arena, &doc);
	if (err == 0 && doc.winner.deleted)
		err = ERR_DELETED;
	if (err == 0 && (err = db_doc_rev(&doc, &doc.winner, ix->arena, &rev)) == 0)
		err = ddoc_parse(rev.body, ix->arena, &ix->ddoc);
	db_snap_end(snap);
	if (err == 0 && !jstr_is(&ix->ddoc.language, "javascript") && !jstr_is(&ix->ddoc.language, "query"))
		err = ERR_NOT_IMPLEMENTED;
	if (err != 0)
		return err;
	buf_init_arena(&program, ix->arena, DEFINITION_MAX);
	err = ddoc_program(&ix->ddoc, &program);
	ix->program = (struct jstr){program.data, program.len};
	ix->design = (struct jstr){arena_dup(ix->arena, id.s, id.len), id.len};
	return err != 0 ? err : ix->design.s != NULL ? 0 : ERR_NOMEM;
}

static void
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

static int
index_new(struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip)
{
	struct view_index *ix = calloc(1, sizeof(*ix));
	struct jstr history = db_history(db);
	int err;

	if (ix == NULL)
		return ERR_NOMEM;
	(void)pthread_mutex_init(&ix->lock, NULL);
	ix->views = v;
	ix->job = (struct exec_job){.fn = update_step, .arg = ix};
	(void)snprintf(ix->history, sizeof(ix->history), "%.*s", (int)history.len, history.s);
	ix->database = strdup(database);
	err = ix->database == NULL ? ERR_NOMEM : arena_new(4 * DEFINITION_MAX, &ix->arena);
	if (err == 0)
		err = read_definition(ix, db, ddoc);
	if (err == 0)
		err = name_of(ix);
	if (err != 0)
		index_free(ix);
	else
		*ip = ix;
	return err;
}

/* ---- The table ---- */

static struct view_index **
find(struct views *v, const char *name)
{
	struct view_index **p = &v->all;

	while (*p != NULL && strcmp((*p)->name, name) != 0)
		p = &(*p)->next;
	return p;
}

/* evict: Close what nobody reads, the least recently used first; under the lock, which it gives up meanwhile. */
static void
evict(struct views *v, unsigned keep)
{
	for (;;) {
		struct view_index **victim = NULL;
		struct view_index *ix;
		unsigned n = 0;

		for (struct view_index **p = &v->all; *p != NULL; p = &(*p)->next) {
			n++;
			if ((*p)->refs == 0 && !(*p)->busy)
				victim = p;
		}
		if (n <= keep || victim == NULL)
			return;
		ix = *victim;
		ix->busy = 1;
		(void)pthread_mutex_unlock(&v->lock);
		close_file(ix);
		(void)pthread_mutex_lock(&v->lock);
		*find(v, ix->name) = ix->next;
		(void)pthread_cond_broadcast(&v->changed);
		index_free(ix);
	}
}

int
views_open(struct views *v, struct db *db, const char *database, struct jstr ddoc, struct view_index **ip)
{
	struct view_index *fresh, **at;
	int err = index_new(v, db, database, ddoc, &fresh);

	if (err != 0)
		return err;
	(void)pthread_mutex_lock(&v->lock);
	for (at = find(v, fresh->name); *at != NULL && (*at)->busy; at = find(v, fresh->name))
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (*at != NULL) {
		struct view_index *ix = *at;

		*at = ix->next;
		ix->next = v->all;
		v->all = ix;
		ix->refs++;
		(void)pthread_mutex_unlock(&v->lock);
		index_free(fresh);
		*ip = ix;
		return 0;
	}
	fresh->busy = 1;
	fresh->refs = 1;
	fresh->next = v->all;
	v->all = fresh;
	evict(v, INDEX_OPEN);
	(void)pthread_mutex_unlock(&v->lock);
	err = open_file(fresh);
	(void)pthread_mutex_lock(&v->lock);
	fresh->busy = 0;
	if (err != 0)
		*find(v, fresh->name) = fresh->next;
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
	if (err != 0)
		index_free(fresh);
	else
		*ip = fresh;
	return err;
}

void
views_close(struct view_index *ix)
{
	struct views *v = ix->views;

	(void)pthread_mutex_lock(&v->lock);
	ix->refs--;
	evict(v, INDEX_OPEN);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
}

int
views_check_design(struct jstr body, struct errtext *why)
{
	return ddoc_check(body, why);
}

int
views_new(const struct views_config *config, struct views **vp)
{
	struct views *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return ERR_NOMEM;
	v->config = *config;
	v->queue_end = &v->queue;
	(void)pthread_mutex_init(&v->lock, NULL);
	(void)pthread_cond_init(&v->changed, NULL);
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
	while (v->nupdates > 0)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	evict(v, 0);
	(void)pthread_mutex_unlock(&v->lock);
	store_free(v->config.store);
	(void)pthread_cond_destroy(&v->changed);
	(void)pthread_mutex_destroy(&v->lock);
	free(v);
}

/* ---- Removing ---- */

/* Files of one database. */
struct removal {
	struct exec_job job;
	struct views *v;
	char prefix[2 * MD5_LEN + 1];
	char name[INDEX_NAME]; /* found */
};

static int
take_first(const char *name, void *cookie)
{
	struct removal *r = cookie;

	if (strncmp(name, r->prefix, strlen(r->prefix)) != 0)
		return ERR_END;
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	return ERR_AGAIN;
}

/* remove_file: One that nobody reads; who still does keeps it until the next time. */
static void
remove_file(struct views *v, const char *name)
{
	struct view_index **at, *ix = NULL;

	(void)pthread_mutex_lock(&v->lock);
	at = find(v, name);
	if (*at != NULL && ((*at)->refs > 0 || (*at)->busy)) {
		(void)pthread_mutex_unlock(&v->lock);
		return;
	}
	if ((ix = *at) != NULL) {
		ix->busy = 1;
		close_file(ix);
		*at = ix->next;
	}
	if (store_drop(v->config.store, name) != 0)
		log_line(LOG_WARNING, "an index file that is not needed any more cannot be removed: %s", name);
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
	index_free(ix);
}

static void
remove_all(void *arg)
{
	struct removal *r = arg;
	struct views *v = r->v;

	(void)snprintf(r->name, sizeof(r->name), "%s", r->prefix);
	while (store_list(v->config.store, r->name, take_first, r) == ERR_AGAIN)
		remove_file(v, r->name);
	(void)pthread_mutex_lock(&v->lock);
	v->nupdates--;
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
	free(r);
}

void
views_dropped(struct views *v, const char *database)
{
	struct removal *r = calloc(1, sizeof(*r));

	/* Without memory the files stay, until a clean-up. */
	if (r == NULL)
		return;
	r->v = v;
	r->job = (struct exec_job){.fn = remove_all, .arg = r};
	prefix_of(database, r->prefix);
	(void)pthread_mutex_lock(&v->lock);
	v->nupdates++;
	(void)pthread_mutex_unlock(&v->lock);
	v->config.ex->submit(v->config.ex, &r->job);
}
