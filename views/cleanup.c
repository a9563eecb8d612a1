/*
 * cleanup.c: index files that nobody needs any more.
 *
 *	a database is gone         views_dropped: all that begin with its prefix
 *	a design document changed  cleanup_later, views_cleanup: what none of the database's defines
 *	divand starts              sweep: what is of no database that is there
 *
 * 1. Whatever is removed can be built again: where it is needed after all, that costs time and nothing else.
 * 2. Who has a file open reads on; whoever opens it next makes it anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "index.h"

#define SWEEP_MEM ((size_t)256 << 20) /* of the files' names */
#define DESIGN_MEM ((size_t)16 * LIMIT_BODY_LEN)

/* ---- Files of one database ---- */
/* Files of one database. */
struct removal {
	struct exec_job job;
	struct views *v;
	char *database;       /* its clean-up; NULL: all of them */
	struct removal *next; /* clean-ups that have not begun, in views.cleanups */
	char prefix[INDEX_PREFIX];
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

/* remove_closed: A file that nobody has open; an index without one stands for it meanwhile, so that nobody opens it.  Under the lock of the views, which is given up meanwhile. */
static void
remove_closed(struct views *v, const char *name)
{
	struct view_index ix = {.views = v, .refs = 1, .next = v->all}, **at = &v->all;

	(void)snprintf(ix.name, sizeof(ix.name), "%s", name);
	(void)pthread_mutex_init(&ix.lock, NULL);
	v->all = &ix;
	index_doom(&ix);
	while (*at != &ix)
		at = &(*at)->next;
	*at = ix.next;
	(void)pthread_mutex_destroy(&ix.lock);
}

/* remove_file: Who has it open reads on. */
static void
remove_file(struct views *v, const char *name)
{
	struct view_index *ix;

	(void)pthread_mutex_lock(&v->lock);
	while ((ix = *index_find(v, name)) != NULL && ix->busy)
		(void)pthread_cond_wait(&v->changed, &v->lock);
	if (ix != NULL) {
		ix->refs++;
		index_doom(ix);
		index_unref(ix);
	} else {
		remove_closed(v, name);
	}
	(void)pthread_mutex_unlock(&v->lock);
}

static void
removal_end(struct removal *r)
{
	struct views *v = r->v;

	(void)pthread_mutex_lock(&v->lock);
	v->nremovals--;
	(void)pthread_cond_broadcast(&v->changed);
	(void)pthread_mutex_unlock(&v->lock);
	free(r);
}

static void
remove_all(void *arg)
{
	struct removal *r = arg;
	struct views *v = r->v;

	(void)snprintf(r->name, sizeof(r->name), "%s", r->prefix);
	while (store_list(v->config.store, r->name, take_first, r) == ERR_AGAIN)
		remove_file(v, r->name);
	removal_end(r);
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
	index_prefix(database, r->prefix);
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

/* keep_one: The index of a design document; unless it is ready, those that are read in its place. */
static int
keep_one(struct views *v, struct db *db, const char *database, struct jstr id, struct names *l)
{
	struct view_index *ix;
	int ready = 0, err = 0;

	for (size_t nth = 0; nth <= INDEX_EARLIER && !ready && err == 0; nth++) {
		err = index_new(v, db, database, id, nth, &ix);
		if (err == 0) {
			forget_name(l, ix->name);
			if (nth > 0)
				index_free(ix);
			else if ((ready = index_open_ready(v, ix, &ix) == 0) != 0)
				views_close(ix);
		} else if (index_is_none(err)) {
			ready = nth == 0;
			err = 0;
		}
	}
	return err == ERR_END ? 0 : err;
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
	int err = arena_new(DESIGN_MEM, &a);

	if (err != 0)
		return err;
	if ((err = db_snap_begin(db, &snap)) != 0) {
		arena_free(a);
		return err;
	}
	if ((err = db_docs_open(snap, &range, &scan)) == 0) {
		while ((err = db_docs_next(scan, a, &doc)) == 0) {
			struct jstr id = {arena_dup(a, doc.id.s, doc.id.len), doc.id.len};

			err = id.s != NULL ? keep_one(v, db, database, id, l) : ERR_NOMEM;
			if (err != 0)
				break;
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
	char prefix[INDEX_PREFIX];
	struct names l = {.prefix = prefix};
	int err = arena_new(SWEEP_MEM, &l.a);

	if (err != 0)
		return err;
	index_prefix(database, prefix);
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

static void
run_cleanup(void *arg)
{
	static const struct principal server = {.server_admin = 1};
	struct removal *r = arg, **at;
	struct views *v = r->v;
	struct db *db;
	int err;

	(void)pthread_mutex_lock(&v->lock);
	for (at = &v->cleanups; *at != r; at = &(*at)->next)
		;
	*at = r->next;
	(void)pthread_mutex_unlock(&v->lock);
	if (!v->closing && db_open(v->config.dbs, r->database, &server, &db) == 0) {
		err = views_cleanup(v, db, r->database);
		if (err != 0)
			log_line(LOG_WARNING, "database %s: index files that are not needed any more stay: %s",
			    r->database, err_reason(err));
		db_close(db);
	}
	free(r->database);
	removal_end(r);
}

void
cleanup_later(struct view_index *ix)
{
	struct views *v = ix->views;
	struct removal *r = calloc(1, sizeof(*r)), *is;

	/* Without memory the files stay, until the next. */
	if (r == NULL || (r->database = strdup(ix->database)) == NULL) {
		free(r);
		return;
	}
	r->v = v;
	r->job = (struct exec_job){.fn = run_cleanup, .arg = r, .lane = ix->job.lane};
	(void)pthread_mutex_lock(&v->lock);
	for (is = v->cleanups; is != NULL && strcmp(is->database, r->database) != 0; is = is->next)
		;
	if (is == NULL) {
		r->next = v->cleanups;
		v->cleanups = r;
		v->nremovals++;
	}
	(void)pthread_mutex_unlock(&v->lock);
	if (is == NULL) {
		v->config.ex->submit(v->config.ex, &r->job);
		return;
	}
	free(r->database);
	free(r);
}

/* ---- What databases left that went while nobody looked ---- */

struct prefixes {
	char (*v)[INDEX_PREFIX];
	size_t n, cap;
};

static int
add_prefix(const char *database, void *cookie)
{
	struct prefixes *l = cookie;

	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? 2 * l->cap : 64;
		char(*grown)[INDEX_PREFIX] = realloc(l->v, cap * sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		l->v = grown;
		l->cap = cap;
	}
	index_prefix(database, l->v[l->n++]);
	return 0;
}

static int
prefix_cmp(const void *a, const void *b)
{
	return memcmp(a, b, INDEX_PREFIX - 1);
}

/* sweep: The files come first: the database of one that is listed was there before.  What is left when all ends, the next start finds. */
static void
sweep(void *arg)
{
	struct removal *r = arg;
	struct views *v = r->v;
	struct names files = {.prefix = ""};
	struct prefixes known = {NULL, 0, 0};
	size_t removed = 0;
	int err = arena_new(SWEEP_MEM, &files.a);

	if (err == 0 && (err = store_list(v->config.store, NULL, add_name, &files)) == 0 && files.n > 0)
		err = dbs_list(v->config.dbs, add_prefix, &known);
	if (err == 0 && known.n > 0)
		qsort(known.v, known.n, sizeof(*known.v), prefix_cmp);
	for (size_t i = 0; i < files.n && err == 0 && !v->closing; i++) {
		if (known.n > 0 && bsearch(files.v[i], known.v, known.n, sizeof(*known.v), prefix_cmp) != NULL)
			continue;
		remove_file(v, files.v[i]);
		removed++;
	}
	if (removed > 0)
		log_line(LOG_INFO, "%zu index files of databases that are gone are removed", removed);
	free(known.v);
	arena_free(files.a);
	removal_end(r);
}

void
cleanup_sweep_later(struct views *v)
{
	struct removal *r = calloc(1, sizeof(*r));

	/* Without memory the files stay, until the next start. */
	if (r == NULL)
		return;
	r->v = v;
	r->job = (struct exec_job){.fn = sweep, .arg = r};
	v->nremovals++;
	v->config.ex->submit(v->config.ex, &r->job);
}
