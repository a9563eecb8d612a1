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
#include "compact.h"
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
index_counts(uint64_t salt, struct counts_of *out)
{
	*out =
	    (struct counts_of){.tree = VIEW_ROWS, .counts_tree = VIEW_COUNTS, .which = 'r', .salt = salt, .weigh = one};
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
	struct store_batch *batch;
	int err = store_create(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_batch_new(ix->store, &batch)) != 0)
		return err;
	ix->head = (struct index_head){0, 0, 0};
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
	store_close(ix->store);
	ix->store = NULL;
}

static int
open_existing(struct view_index *ix)
{
	struct store_snap *snap;
	int err = store_open(ix->views->config.store, ix->name, rows_trees, VIEW_TREES, &ix->store);

	if (err != 0 || (err = store_snap_begin(ix->store, &snap)) != 0)
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
	hex_encode(ix->ddoc.signature, MD5_LEN, ix->signature);
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
	ix->design = (struct jstr){arena_dup(ix->arena, id.s, id.len + 1), id.len};
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
	ix->job = (struct exec_job){.fn = update_step, .arg = ix, .lane = exec_lane(database)};
	(void)snprintf(ix->history, sizeof(ix->history), "%.*s", (int)history.len, history.s);
	ix->database = strdup(database);
	err = ix->database == NULL ? ERR_NOMEM : arena_new(4 * DEFINITION_MAX, &ix->arena);
	if (err == 0)
		err = read_definition(ix, db, ddoc);
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

static void
drop_file(struct views *v, const char *name)
{
	int err = store_drop(v->config.store, name);

	if (err != 0 && err != ERR_NO_DB)
		log_line(LOG_WARNING, "an index file that is not needed any more cannot be removed: %s", name);
}

/* find: Where the index of that name stands; one whose file is gone has none, once it is gone. */
static struct view_index **
find(struct views *v, const char *name)
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

/* victim: What to close next: what is gone, and beyond ${keep} the least recently used. */
static struct view_index *
victim(const struct views *v, unsigned keep)
{
	struct view_index *last = NULL;
	unsigned n = 0;

	for (struct view_index *ix = v->all; ix != NULL; ix = ix->next) {
		n++;
		if (ix->refs > 0 || ix->busy)
			continue;
		if (ix->gone)
			return ix;
		last = ix;
	}
	return n > keep ? last : NULL;
}

/* evict: Close what nobody reads; under the lock, which it gives up meanwhile. */
static void
evict(struct views *v, unsigned keep)
{
	struct view_index *ix;

	while ((ix = victim(v, keep)) != NULL) {
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
	drop_file(v, ix->name);
	(void)pthread_mutex_lock(&v->lock);
	ix->busy = 0;
	(void)pthread_cond_broadcast(&v->changed);
}

void
index_unref(struct view_index *ix)
{
	struct views *v = ix->views;

	ix->refs--;
	evict(v, INDEX_OPEN);
	(void)pthread_cond_broadcast(&v->changed);
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
		take_out(fresh);
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
	index_unref(ix);
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
	v->fresh.end = &v->fresh.first;
	v->going.end = &v->going.first;
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
	while (v->nupdates + v->nremovals > 0)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	compact_stop(v);
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

/* remove_file: Who has it open reads on. */
static void
remove_file(struct views *v, const char *name)
{
	struct view_index *ix;

	(void)pthread_mutex_lock(&v->lock);
	while ((ix = *find(v, name)) != NULL && ix->busy)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (ix != NULL) {
		ix->refs++;
		index_doom(ix);
		index_unref(ix);
	} else {
		drop_file(v, name);
	}
	(void)pthread_mutex_unlock(&v->lock);
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
	v->nremovals--;
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
	v->nremovals++;
	(void)pthread_mutex_unlock(&v->lock);
	v->config.ex->submit(v->config.ex, &r->job);
}

/* Names of files. */
struct names {
	struct arena *a;
	const char *prefix;
	char (*v)[INDEX_NAME];
	size_t n, cap;
};

static int
add_name(const char *name, void *cookie)
{
	struct names *l = cookie;

	if (strncmp(name, l->prefix, strlen(l->prefix)) != 0)
		return ERR_END;
	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? 2 * l->cap : 32;
		char(*grown)[INDEX_NAME] = arena_calloc(l->a, cap, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (l->n > 0)
			memcpy(grown, l->v, l->n * sizeof(*grown));
		l->v = grown;
		l->cap = cap;
	}
	(void)snprintf(l->v[l->n++], INDEX_NAME, "%s", name);
	return 0;
}

/* forget_name: What is needed is not among those to remove. */
static void
forget_name(struct names *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i], name) == 0)
			l->v[i][0] = '\0';
}

/* keep_defined: The names of all indexes that design documents define are forgotten. */
static int
keep_defined(struct views *v, struct db *db, const char *database, struct names *l)
{
	struct db_range range = {.has_start = 1, .has_end = 1, .start = {"_design/", 8}, .end = {"_design0", 8}};
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct arena *a;
	int err = arena_new(4 * DEFINITION_MAX, &a);

	if (err != 0)
		return err;
	if ((err = db_snap_begin(db, &snap)) != 0) {
		arena_free(a);
		return err;
	}
	if ((err = db_docs_open(snap, &range, &scan)) == 0) {
		while ((err = db_docs_next(scan, a, &doc)) == 0) {
			struct view_index *ix;

			err = index_new(v, db, database, doc.id, &ix);
			if (err == 0) {
				forget_name(l, ix->name);
				index_free(ix);
			} else if (err != ERR_MISSING && err != ERR_DELETED && err != ERR_NOT_IMPLEMENTED &&
				   err != ERR_BAD_JSON) {
				break;
			}
			arena_reset(a);
		}
		db_scan_close(scan);
	}
	db_snap_end(snap);
	arena_free(a);
	return err == ERR_END ? 0 : err;
}

int
views_cleanup(struct views *v, struct db *db, const char *database)
{
	char prefix[2 * MD5_LEN + 1];
	struct names l = {.prefix = prefix};
	int err = arena_new((size_t)64 << 20, &l.a);

	if (err != 0)
		return err;
	prefix_of(database, prefix);
	/* The files come first: one that is made meanwhile is not among them. */
	err = store_list(v->config.store, prefix, add_name, &l);
	if (err == 0 || err == ERR_END)
		err = keep_defined(v, db, database, &l);
	for (size_t i = 0; i < l.n && err == 0; i++)
		if (l.v[i][0] != '\0')
			remove_file(v, l.v[i]);
	arena_free(l.a);
	return err;
}
