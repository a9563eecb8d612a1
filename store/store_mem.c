/*
 * store_mem.c: databases in memory, whose commits fail by plan, for tests.
 *
 * A database is a chain of versions, oldest first; each holds one sorted array
 * of records per tree.  A commit merges its items with the newest version into
 * a new one and leaves untouched trees' arrays shared.  What a commit drops (records
 * and arrays that its successor does not have) hangs on the version that still
 * has it, and is freed when that version and all before it have no reader.  A
 * commit thus costs a copy of its trees' pointers: simple, and quick for the
 * thousands of records a test has.
 */
#include "store_impl.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rec {
	size_t vlen;
	size_t klen;
	unsigned char data[]; /* the key, then the value */
};

struct version {
	struct version *next; /* the newer one */
	unsigned readers;
	struct rec **v[STORE_TREES_MAX];
	size_t n[STORE_TREES_MAX];
	void **dropped; /* to free with this version */
	size_t ndropped;
};

/* A database; its handles and its name each count as a user. */
struct mem_file {
	struct mem_file *next; /* in s->files while it has its name */
	char name[STORE_FILE_MAX + 1];
	unsigned users;
	int open; /* 1: a handle is open */
	unsigned ntrees;
	uint64_t number; /* for the stamp */
	struct version *oldest, *newest;
};

struct mem_store {
	struct store base;
	pthread_mutex_t lock; /* guards everything but what a version holds */
	struct mem_file *files;
	uint64_t made;
	unsigned fail_nth; /* 0: none planned */
	int fail_code, fail_applied;
};

struct mem_db {
	struct store_db base;
	struct mem_store *s;
	struct mem_file *f;
	unsigned live;              /* snapshots begun and not ended */
	int failed;                 /* 1: no write until reopened */
	pthread_mutex_t write_lock; /* one writer */
};

struct mem_snap {
	struct store_snap base;
	struct version *ver;
};

/* Invariant: at < n while the cursor stands on a key. */
struct mem_cursor {
	struct store_cursor base;
	struct rec *const *v;
	size_t n;
	size_t at;
};

static const struct store_impl mem_impl;

/*
 * Versions.
 */

static void
free_version(struct version *ver)
{
	for (size_t i = 0; i < ver->ndropped; i++)
		free(ver->dropped[i]);
	free(ver->dropped);
	free(ver);
}

/* Frees the oldest versions that nobody reads, under the store's lock. */
static void
trim(struct mem_file *f)
{
	while (f->oldest != f->newest && f->oldest->readers == 0) {
		struct version *ver = f->oldest;

		f->oldest = ver->next;
		free_version(ver);
	}
}

static void
release_file(struct mem_file *f)
{
	if (--f->users > 0)
		return;
	trim(f);
	for (unsigned t = 0; t < f->ntrees; t++) {
		for (size_t i = 0; i < f->newest->n[t]; i++)
			free(f->newest->v[t][i]);
		free(f->newest->v[t]);
	}
	free_version(f->newest);
	free(f);
}

/* The first place whose key is >= key. */
static size_t
lower(struct rec *const *v, size_t n, const void *key, size_t klen)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (store_key_cmp(v[mid]->data, v[mid]->klen, key, klen) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct rec *
rec_new(const struct store_op *op)
{
	struct rec *r = malloc(sizeof(*r) + op->klen + op->vlen);

	if (r == NULL)
		return NULL;
	r->klen = op->klen;
	r->vlen = op->vlen;
	memcpy(r->data, op->key, op->klen);
	memcpy(r->data + op->klen, op->val, op->vlen);
	return r;
}

/* Merges one tree's items into a new array.  The old version's dropped list has room. */
static int
merge(struct version *old, struct version *fresh, unsigned t, const struct store_item *items, size_t n, void **added,
    size_t *naddedp)
{
	struct rec **from = old->v[t], **to = malloc((old->n[t] + n) * sizeof(struct rec *));
	size_t in = 0, out = 0;

	if (to == NULL)
		return ERR_NOMEM;
	fresh->v[t] = to;
	added[(*naddedp)++] = (void *)to;
	for (size_t i = 0; i < n; i++) {
		const struct store_op *op = items[i].op;
		size_t at = in < old->n[t] ? in + lower(from + in, old->n[t] - in, op->key, op->klen) : in;

		if (at > in)
			memcpy(to + out, from + in, (at - in) * sizeof(struct rec *));
		out += at - in;
		in = at;
		if (in < old->n[t] && store_key_cmp(from[in]->data, from[in]->klen, op->key, op->klen) == 0)
			old->dropped[old->ndropped++] = from[in++];
		if (!op->del) {
			to[out] = rec_new(op);
			if (to[out] == NULL)
				return ERR_NOMEM;
			added[(*naddedp)++] = to[out++];
		}
	}
	if (old->n[t] > in)
		memcpy(to + out, from + in, (old->n[t] - in) * sizeof(struct rec *));
	fresh->n[t] = out + old->n[t] - in;
	if (from != NULL)
		old->dropped[old->ndropped++] = (void *)from;
	return 0;
}

/* Makes the version after old, or leaves old as it was. */
static int
apply(struct version *old, const struct store_item *items, size_t n, struct version **freshp)
{
	struct version *fresh = malloc(sizeof(*fresh));
	void **added = malloc((n + STORE_TREES_MAX) * sizeof(void *));
	size_t nadded = 0, end;
	int rc = 0;

	old->dropped = malloc((n + STORE_TREES_MAX) * sizeof(void *));
	if (fresh == NULL || added == NULL || old->dropped == NULL)
		rc = ERR_NOMEM;
	else
		*fresh = (struct version){0};
	for (unsigned t = 0; rc == 0 && t < STORE_TREES_MAX; t++) {
		fresh->v[t] = old->v[t];
		fresh->n[t] = old->n[t];
	}
	for (size_t i = 0; i < n && rc == 0; i = end) {
		for (end = i + 1; end < n && items[end].op->tree == items[i].op->tree;)
			end++;
		rc = merge(old, fresh, items[i].op->tree, items + i, end - i, added, &nadded);
	}
	if (rc != 0) {
		while (nadded > 0)
			free(added[--nadded]);
		free(old->dropped);
		old->dropped = NULL;
		old->ndropped = 0;
		free(fresh);
	} else {
		*freshp = fresh;
	}
	free(added);
	return rc;
}

/*
 * Stores and databases.
 */

int
store_mem_new(struct store **sp)
{
	struct mem_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	s->base.impl = &mem_impl;
	pthread_mutex_init(&s->lock, NULL);
	*sp = &s->base;
	return 0;
}

void
store_mem_fail(struct store *base, unsigned nth, int code, int applied)
{
	struct mem_store *s = (struct mem_store *)base;

	pthread_mutex_lock(&s->lock);
	s->fail_nth = nth;
	s->fail_code = code;
	s->fail_applied = applied;
	pthread_mutex_unlock(&s->lock);
}

static void
mem_free(struct store *base)
{
	struct mem_store *s = (struct mem_store *)base;

	while (s->files != NULL) {
		struct mem_file *f = s->files;

		s->files = f->next;
		release_file(f);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int
copy_tree(const struct version *from, struct version *to, unsigned t)
{
	if (from->n[t] == 0)
		return 0;
	if ((to->v[t] = malloc(from->n[t] * sizeof(struct rec *))) == NULL)
		return ERR_NOMEM;
	for (; to->n[t] < from->n[t]; to->n[t]++) {
		const struct rec *r = from->v[t][to->n[t]];
		struct rec *copy = malloc(sizeof(*r) + r->klen + r->vlen);

		if (copy == NULL)
			return ERR_NOMEM;
		memcpy(copy, r, sizeof(*r) + r->klen + r->vlen);
		to->v[t][to->n[t]] = copy;
	}
	return 0;
}

static int
copy_file(const struct mem_file *from, struct mem_store *s, int moved)
{
	struct mem_file *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (f == NULL || (f->newest = calloc(1, sizeof(*f->newest))) == NULL) {
		free(f);
		return ERR_NOMEM;
	}
	f->oldest = f->newest;
	f->users = 1;
	f->ntrees = from->ntrees;
	f->number = moved ? ++s->made : from->number;
	memcpy(f->name, from->name, sizeof(f->name));
	f->next = s->files;
	s->files = f;
	for (unsigned t = 0; t < f->ntrees && rc == 0; t++)
		rc = copy_tree(from->newest, f->newest, t);
	return rc;
}

int
store_mem_copy(struct store *base, int moved, struct store **sp)
{
	struct mem_store *s = (struct mem_store *)base, *to;
	int rc = store_mem_new(sp);

	if (rc != 0)
		return rc;
	to = (struct mem_store *)*sp;
	pthread_mutex_lock(&s->lock);
	to->made = s->made;
	for (struct mem_file *f = s->files; f != NULL && rc == 0; f = f->next)
		rc = copy_file(f, to, moved);
	pthread_mutex_unlock(&s->lock);
	if (rc != 0)
		mem_free(*sp);
	return rc;
}

static int
mem_list(struct store *base, const char *after, int (*fn)(const char *name, void *cookie), void *cookie)
{
	struct mem_store *s = (struct mem_store *)base;
	struct store_names names = {0};
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	for (struct mem_file *f = s->files; f != NULL && rc == 0; f = f->next) {
		if (after == NULL || strcmp(f->name, after) > 0)
			rc = store_names_add(&names, f->name);
	}
	pthread_mutex_unlock(&s->lock);
	if (rc != 0) {
		store_names_release(&names);
		return rc;
	}
	return store_names_tell(&names, fn, cookie);
}

/* Where the file of that name hangs in the list, or the list's end. */
static struct mem_file **
find(struct mem_store *s, const char *name)
{
	struct mem_file **fp = &s->files;

	while (*fp != NULL && strcmp((*fp)->name, name) != 0)
		fp = &(*fp)->next;
	return fp;
}

/* A handle on f, under the store's lock. */
static int
db_new(struct mem_store *s, struct mem_file *f, unsigned ntrees, struct store_db **dbp)
{
	struct mem_db *db = calloc(1, sizeof(*db));

	if (db == NULL)
		return ERR_NOMEM;
	db->base.impl = &mem_impl;
	db->base.ntrees = ntrees;
	db->s = s;
	db->f = f;
	pthread_mutex_init(&db->write_lock, NULL);
	f->users++;
	f->open = 1;
	*dbp = &db->base;
	return 0;
}

static int
mem_make(struct store *base, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	struct mem_store *s = (struct mem_store *)base;
	char file[STORE_FILE_MAX + 1];
	struct mem_file *f;
	int rc = store_names_encode(name, file);

	(void)trees;
	if (rc != 0)
		return rc;
	f = calloc(1, sizeof(*f));
	if (f == NULL || (f->newest = calloc(1, sizeof(*f->newest))) == NULL) {
		free(f);
		return ERR_NOMEM;
	}
	f->oldest = f->newest;
	f->users = 1;
	f->ntrees = ntrees;
	snprintf(f->name, sizeof(f->name), "%s", name);
	pthread_mutex_lock(&s->lock);
	rc = *find(s, name) != NULL ? ERR_DB_EXISTS : db_new(s, f, ntrees, dbp);
	if (rc == 0)
		f->number = ++s->made;
	release_file(f);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int
mem_publish(struct store_db *base)
{
	struct mem_db *db = (struct mem_db *)base;
	struct mem_store *s = db->s;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = *find(s, db->f->name) != NULL ? ERR_DB_EXISTS : 0;
	if (rc == 0) {
		db->f->users++;
		db->f->next = s->files;
		s->files = db->f;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int
mem_open(struct store *base, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp)
{
	struct mem_store *s = (struct mem_store *)base;
	struct mem_file *f;
	int rc;

	(void)trees;
	pthread_mutex_lock(&s->lock);
	f = *find(s, name);
	if (f == NULL)
		rc = ERR_NO_DB;
	else if (f->open)
		rc = ERR_BUSY;
	else
		rc = f->ntrees != ntrees ? ERR_NEWER_FORMAT : db_new(s, f, ntrees, dbp);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static void
mem_close(struct store_db *base)
{
	struct mem_db *db = (struct mem_db *)base;

	pthread_mutex_lock(&db->s->lock);
	assert(db->live == 0);
	db->f->open = 0;
	release_file(db->f);
	pthread_mutex_unlock(&db->s->lock);
	pthread_mutex_destroy(&db->write_lock);
	free(db);
}

static int
mem_drop(struct store *base, const char *name)
{
	struct mem_store *s = (struct mem_store *)base;
	struct mem_file **fp, *f;

	pthread_mutex_lock(&s->lock);
	fp = find(s, name);
	f = *fp;
	if (f != NULL) {
		*fp = f->next;
		release_file(f);
	}
	pthread_mutex_unlock(&s->lock);
	return f != NULL ? 0 : ERR_NO_DB;
}

static void
mem_note_put(struct store_db *base, const void *note, size_t len)
{
	(void)base;
	(void)note;
	(void)len;
}

static void
mem_note_get(struct store_db *base, void *note, size_t *lenp)
{
	(void)base;
	(void)note;
	*lenp = 0;
}

static int
mem_reopen(struct store_db *base)
{
	struct mem_db *db = (struct mem_db *)base;

	db->failed = 0;
	return 0;
}

static int
mem_usage(struct store_db *base, struct store_usage *up)
{
	struct mem_db *db = (struct mem_db *)base;
	struct version *ver;

	*up = (struct store_usage){0};
	pthread_mutex_lock(&db->s->lock);
	ver = db->f->newest;
	for (unsigned t = 0; t < base->ntrees; t++) {
		for (size_t i = 0; i < ver->n[t]; i++)
			up->tree_bytes[t] += ver->v[t][i]->klen + ver->v[t][i]->vlen;
		up->active_bytes += up->tree_bytes[t];
	}
	pthread_mutex_unlock(&db->s->lock);
	up->file_bytes = up->active_bytes;
	return 0;
}

static int
mem_stamp(struct store_db *base, unsigned char out[16])
{
	struct mem_db *db = (struct mem_db *)base;

	memset(out, 0, 16);
	memcpy(out, &db->f->number, sizeof(db->f->number));
	return 0;
}

/*
 * Reads.
 */

static int
mem_snap_begin(struct store_db *base, struct store_snap **snapp)
{
	struct mem_db *db = (struct mem_db *)base;
	struct mem_snap *snap = calloc(1, sizeof(*snap));

	if (snap == NULL)
		return ERR_NOMEM;
	snap->base.impl = &mem_impl;
	snap->base.db = base;
	pthread_mutex_lock(&db->s->lock);
	snap->ver = db->f->newest;
	snap->ver->readers++;
	db->live++;
	pthread_mutex_unlock(&db->s->lock);
	*snapp = &snap->base;
	return 0;
}

static void
mem_snap_end(struct store_snap *base)
{
	struct mem_snap *snap = (struct mem_snap *)base;
	struct mem_db *db = (struct mem_db *)base->db;

	pthread_mutex_lock(&db->s->lock);
	snap->ver->readers--;
	db->live--;
	trim(db->f);
	pthread_mutex_unlock(&db->s->lock);
	free(snap);
}

static int
mem_get(struct store_snap *base, unsigned tree, struct store_val key, struct store_val *valp)
{
	const struct version *ver = ((struct mem_snap *)base)->ver;
	size_t at = lower(ver->v[tree], ver->n[tree], key.p, key.len);
	const struct rec *r = at < ver->n[tree] ? ver->v[tree][at] : NULL;

	if (r == NULL || store_key_cmp(r->data, r->klen, key.p, key.len) != 0)
		return ERR_MISSING;
	*valp = (struct store_val){r->data + r->klen, r->vlen};
	return 0;
}

static int
mem_count(struct store_snap *base, unsigned tree, uint64_t *np)
{
	*np = ((struct mem_snap *)base)->ver->n[tree];
	return 0;
}

static int
mem_cursor_open(struct store_snap *base, unsigned tree, struct store_cursor **cp)
{
	const struct version *ver = ((struct mem_snap *)base)->ver;
	struct mem_cursor *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	c->base.impl = &mem_impl;
	c->v = ver->v[tree];
	c->n = ver->n[tree];
	*cp = &c->base;
	return 0;
}

static void
mem_cursor_close(struct store_cursor *base)
{
	free(base);
}

/* The last place whose key is <= key, or n. */
static size_t
last_le(const struct mem_cursor *c, struct store_val key)
{
	size_t at = key.len == 0 ? c->n : lower(c->v, c->n, key.p, key.len);

	if (at < c->n && store_key_cmp(c->v[at]->data, c->v[at]->klen, key.p, key.len) == 0)
		return at;
	return at > 0 ? at - 1 : c->n;
}

static int
mem_move(struct store_cursor *base, enum store_move how, struct store_val key, struct store_val *keyp,
    struct store_val *valp)
{
	struct mem_cursor *c = (struct mem_cursor *)base;
	size_t at;

	if (how == STORE_SEEK)
		at = lower(c->v, c->n, key.p, key.len);
	else if (how == STORE_SEEK_LE)
		at = last_le(c, key);
	else if (how == STORE_NEXT)
		at = c->at + 1;
	else
		at = c->at > 0 ? c->at - 1 : c->n;
	if (at >= c->n)
		return ERR_MISSING;
	c->at = at;
	*keyp = (struct store_val){c->v[at]->data, c->v[at]->klen};
	*valp = (struct store_val){c->v[at]->data + c->v[at]->klen, c->v[at]->vlen};
	return 0;
}

/* The plan's answer to this commit: 0 or its code; *appliedp: do it all the same. */
static int
planned(struct mem_store *s, int *appliedp)
{
	int code = 0;

	pthread_mutex_lock(&s->lock);
	*appliedp = 1;
	if (s->fail_nth > 0 && --s->fail_nth == 0) {
		code = s->fail_code;
		*appliedp = code == ERR_IN_DOUBT && s->fail_applied;
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

/* put: ${may_doubt}: its outcome may be in doubt, if that is the plan; else it fails then. */
static int
put(struct store_db *base, const struct store_item *items, size_t n, int may_doubt)
{
	struct mem_db *db = (struct mem_db *)base;
	struct version *fresh = NULL;
	int code, applied = 0, rc = 0;

	pthread_mutex_lock(&db->write_lock);
	code = db->failed ? ERR_IO : planned(db->s, &applied);
	if (code == ERR_IN_DOUBT && !may_doubt) {
		code = ERR_IO;
		applied = 0;
	}
	if (!db->failed && applied)
		rc = apply(db->f->newest, items, n, &fresh);
	if (fresh != NULL) {
		pthread_mutex_lock(&db->s->lock);
		db->f->newest->next = fresh;
		db->f->newest = fresh;
		trim(db->f);
		pthread_mutex_unlock(&db->s->lock);
	}
	if (code == ERR_IN_DOUBT)
		db->failed = 1;
	pthread_mutex_unlock(&db->write_lock);
	return code != 0 ? code : rc;
}

static int
mem_commit(struct store_db *base, const struct store_item *items, size_t n)
{
	return put(base, items, n, 1);
}

/*
 * Rewriting: there is nothing to gain, and no file to copy to.
 */

static int
mem_rewrite_begin(struct store_db *base, const char *path, struct store_rewrite **rp)
{
	struct store_rewrite *r;

	if (path != NULL)
		return ERR_NOT_IMPLEMENTED;
	if ((r = malloc(sizeof(*r))) == NULL)
		return ERR_NOMEM;
	r->db = base;
	*rp = r;
	return 0;
}

static int
mem_rewrite_step(struct store_rewrite *r)
{
	(void)r;
	return ERR_END;
}

static int
mem_rewrite_finish(struct store_rewrite *r, const struct store_item *items, size_t n)
{
	return n > 0 ? put(r->db, items, n, 0) : 0;
}

static void
mem_rewrite_end(struct store_rewrite *r)
{
	free(r);
}

static void
mem_rewrite_progress(const struct store_rewrite *r, uint64_t *donep, uint64_t *totalp)
{
	(void)r;
	*donep = *totalp = 0;
}

static int
mem_rewrite_stamp(struct store_rewrite *r, unsigned char out[16])
{
	return mem_stamp(r->db, out);
}

static const struct store_impl mem_impl = {
    .free = mem_free,
    .list = mem_list,
    .make = mem_make,
    .publish = mem_publish,
    .open = mem_open,
    .drop = mem_drop,
    .close = mem_close,
    .rewrite_begin = mem_rewrite_begin,
    .rewrite_step = mem_rewrite_step,
    .rewrite_finish = mem_rewrite_finish,
    .rewrite_end = mem_rewrite_end,
    .rewrite_progress = mem_rewrite_progress,
    .rewrite_stamp = mem_rewrite_stamp,
    .reopen = mem_reopen,
    .usage = mem_usage,
    .stamp = mem_stamp,
    .note_put = mem_note_put,
    .note_get = mem_note_get,
    .snap_begin = mem_snap_begin,
    .snap_end = mem_snap_end,
    .get = mem_get,
    .count = mem_count,
    .cursor_open = mem_cursor_open,
    .cursor_close = mem_cursor_close,
    .move = mem_move,
    .commit = mem_commit,
    .reads_wait = 0,
};
