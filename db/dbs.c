/*
 * The server's databases and the handles on them.
 *
 * The table holds every open file by name.  A file without handles and without queued work stays open in the
 * idle list until more than LIMIT_OPEN_DBS are open; then the one that was idle longest is closed.  A dropped
 * file leaves the table at once and is closed by whoever lets go of it last, so that a new database of the
 * same name never meets the old one.
 *
 * Making, opening and removing a file waits for the disk, so it happens without the table's lock: an entry
 * marked busy stands for the name meanwhile, and only those who ask for the same name wait.  A file gets its name with its
 * first commit in it: one whose making fails, or is cut short, has never been there.  One that is to be removed is in use
 * until its name is gone: what is acknowledged meanwhile came before the drop, and where the name stays nothing has happened.
 */
#include "dbi.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/log.h"

const char *const db_tree_names[TREE_COUNT] = {"meta", "docs", "docs_deep", "revs", "changes", "bodies", "blobs",
    "digests", "purges", "local", "local_deep", "counts"};

/* ---- Names ---- */

int
dbs_name_check(const char *name, size_t len, struct errtext *why)
{
	static const char *const system_names[] = {"_users", "_replicator", "_global_changes"};
	size_t i = 0;

	for (size_t s = 0; s < sizeof(system_names) / sizeof(*system_names); s++)
		if (len == strlen(system_names[s]) && memcmp(name, system_names[s], len) == 0)
			return 0;
	if (len > 0 && len <= LIMIT_DB_NAME_LEN && name[0] >= 'a' && name[0] <= 'z')
		for (i = 1; i < len; i++)
			if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
				(name[i] != '\0' && strchr("_$()+-/", name[i]) != NULL)))
				break;
	if (i == len && len > 0)
		return 0;
	return err_why(why, ERR_ILLEGAL_DB_NAME,
	    "Name: '%.*s'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, "
	    "and / are "
	    "allowed. Must begin with a letter.",
	    (int)len, name);
}

/* ---- The table; all under s->lock ---- */

static struct dbfile **
bucket_of(struct dbs *s, const char *name)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211u;
	return &s->buckets[(h ^ h >> 32) & (s->nbuckets - 1)];
}

static struct dbfile *
table_find(struct dbs *s, const char *name)
{
	struct dbfile *f;

	for (f = *bucket_of(s, name); f != NULL && strcmp(f->name, name) != 0; f = f->hash_next)
		;
	return f;
}

static void
table_add(struct dbs *s, struct dbfile *f)
{
	struct dbfile **b = bucket_of(s, f->name);

	f->hash_next = *b;
	*b = f;
	f->in_table = 1;
	s->nopen++;
}

static void
table_remove(struct dbs *s, struct dbfile *f)
{
	struct dbfile **p = bucket_of(s, f->name);

	while (*p != f)
		p = &(*p)->hash_next;
	*p = f->hash_next;
	f->in_table = 0;
	s->nopen--;
}

static void
idle_add(struct dbs *s, struct dbfile *f)
{
	f->idle_prev = s->idle_tail;
	f->idle_next = NULL;
	*(s->idle_tail != NULL ? &s->idle_tail->idle_next : &s->idle_head) = f;
	s->idle_tail = f;
}

static void
idle_remove(struct dbs *s, struct dbfile *f)
{
	*(f->idle_prev != NULL ? &f->idle_prev->idle_next : &s->idle_head) = f->idle_next;
	*(f->idle_next != NULL ? &f->idle_next->idle_prev : &s->idle_tail) = f->idle_prev;
}

/* table_settled: The entry of a name, once nobody makes, opens or removes it. */
static struct dbfile *
table_settled(struct dbs *s, const char *name)
{
	struct dbfile *f;

	while ((f = table_find(s, name)) != NULL && f->busy)
		(void)pthread_cond_wait(&s->idle, &s->lock);
	return f;
}

/* table_settle: Nobody does any more: who waits for the name goes on. */
static void
table_settle(struct dbs *s, struct dbfile *f)
{
	f->busy = 0;
	(void)pthread_cond_broadcast(&s->idle);
}

/* ---- Files ---- */

/* dbfile_free: Close a file that nobody uses.  Under s->lock. */
static void
dbfile_free(struct dbfile *f)
{
	if (f == NULL)
		return;
	if (f->store != NULL)
		history_close(f);
	store_batch_free(f->batch);
	store_close(f->store);
	arena_free(f->arena);
	arena_free(f->doc_arena);
	body_dicts_free(f->dicts);
	access_free(f->access);
	judge_validators_free(f->validators);
	buf_release(&f->security);
	free(f->histories);
	(void)pthread_mutex_destroy(&f->telling);
	(void)pthread_mutex_destroy(&f->lock);
	f->dbs->nfiles--;
	(void)pthread_cond_broadcast(&f->dbs->idle);
	free(f->name);
	free(f);
}

/* claim: A busy entry for a name that has none.  Under s->lock; NULL: no memory. */
static struct dbfile *
claim(struct dbs *s, const char *name)
{
	struct dbfile *f = calloc(1, sizeof(*f));

	if (f == NULL || (f->name = strdup(name)) == NULL) {
		free(f);
		return NULL;
	}
	f->dbs = s;
	f->job = (struct exec_job){.fn = commit_job, .arg = f};
	f->busy = 1;
	if (s->config.rules != NULL)
		f->rules = s->config.rules(s->config.rules_cookie, name);
	buf_init(&f->security, 1u << 20);
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_mutex_init(&f->telling, NULL);
	s->nfiles++;
	table_add(s, f);
	return f;
}

typedef int open_f(struct store *s, const char *name, const char *const *trees, unsigned ntrees, struct store_db **dbp);

static int
load(struct dbfile *f, open_f *how)
{
	int err = how(f->dbs->config.store, f->name, db_tree_names, TREE_COUNT, &f->store);

	if (err || (err = arena_new(4u * LIMIT_TXN_BYTES, &f->arena)) != 0 ||
	    (err = arena_new(LIMIT_DOC_MEM, &f->doc_arena)) != 0 || (err = body_dicts_new(&f->dicts)) != 0 ||
	    (err = store_batch_new(f->store, &f->batch)) != 0)
		return err;
	if ((err = meta_load(f)) != 0)
		return err;
	f->incarnation = history_number(f);
	f->opened_seq = f->state.update_seq;
	return how == store_make ? store_publish(f->store) : 0;
}

/* evict: Close the files that were idle longest until the table is within its bound. */
static void
evict(struct dbs *s)
{
	struct dbfile *f;

	while (s->nopen > LIMIT_OPEN_DBS && (f = s->idle_head) != NULL) {
		idle_remove(s, f);
		table_remove(s, f);
		dbfile_free(f);
	}
}

void
dbs_file_ref(struct dbfile *f)
{
	struct dbs *s = f->dbs;

	(void)pthread_mutex_lock(&s->lock);
	if (f->refs++ == 0 && f->in_table)
		idle_remove(s, f);
	(void)pthread_mutex_unlock(&s->lock);
}

void
dbs_file_unref(struct dbfile *f)
{
	struct dbs *s = f->dbs;

	(void)pthread_mutex_lock(&s->lock);
	assert(f->refs > 0);
	if (--f->refs > 0) {
		(void)pthread_mutex_unlock(&s->lock);
		return;
	}
	if (f->in_table && f->broken) /* the next opener reads the file anew */
		table_remove(s, f);
	if (f->in_table)
		idle_add(s, f);
	else
		dbfile_free(f);
	evict(s);
	(void)pthread_cond_broadcast(&s->idle);
	(void)pthread_mutex_unlock(&s->lock);
}

/*
 * file_load: Make or open the file of a name without an entry, with one reference.  Under s->lock, which is
 * released meanwhile.
 */
static int
file_load(struct dbs *s, const char *name, open_f *how, const struct db_options *options, struct dbfile **fp)
{
	struct dbfile *f = claim(s, name);
	int err;

	if (f == NULL)
		return ERR_NOMEM;
	f->partitioned = options != NULL && options->partitioned;
	if (options != NULL && options->security.len > 0)
		(void)buf_put(&f->security, options->security.s, options->security.len); /* meta_init() looks */
	(void)pthread_mutex_unlock(&s->lock);
	err = load(f, how);
	(void)pthread_mutex_lock(&s->lock);
	table_settle(s, f);
	f->refs = 1;
	if (err) {
		table_remove(s, f);
		dbfile_free(f);
		return err;
	}
	evict(s);
	*fp = f;
	return 0;
}

/* file_open: The open file, with a reference for the caller. */
static int
file_open(struct dbs *s, const char *name, struct dbfile **fp)
{
	struct dbfile *f;
	int err = 0;

	(void)pthread_mutex_lock(&s->lock);
	f = table_settled(s, name);
	/* Some hold on to their handles: whoever comes now reads the file anew all the same. */
	if (f != NULL && f->broken) {
		table_remove(s, f);
		f = NULL;
	}
	if (f == NULL)
		err = file_load(s, name, store_open, NULL, &f);
	else if (f->refs++ == 0)
		idle_remove(s, f);
	(void)pthread_mutex_unlock(&s->lock);
	*fp = f;
	return err;
}

/* ---- The set ---- */

int
dbs_new(const struct dbs_config *config, struct dbs **sp)
{
	struct dbs *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	s->nbuckets = 1024;
	if ((s->buckets = calloc(s->nbuckets, sizeof(*s->buckets))) == NULL) {
		free(s);
		return ERR_NOMEM;
	}
	s->config = *config;
	if (s->config.slow == NULL)
		s->config.slow = s->config.ex;
	if (s->config.preparer == NULL)
		s->config.preparer = s->config.slow;
	s->admin_only = config->default_security_admin_only;
	dbs_set_limits(
	    s, config->max_document_size, config->max_attachment_size != 0 ? config->max_attachment_size : UINT64_MAX);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->idle, NULL);
	s->watch = (struct exec_job){.fn = compact_auto_watch, .arg = s};
	*sp = s;
	return 0;
}

void
dbs_free(struct dbs *s)
{
	struct dbfile *f;

	if (s == NULL)
		return;
	s->closing = 1;
	compact_auto_stop(s);
	(void)pthread_mutex_lock(&s->lock);
	while (s->nfiles > 0 || s->watching) { /* those that are in use, or dropped, are let go of by others */
		while ((f = s->idle_head) != NULL) {
			idle_remove(s, f);
			table_remove(s, f);
			dbfile_free(f);
		}
		if (s->nfiles > 0 || s->watching)
			(void)pthread_cond_wait(&s->idle, &s->lock);
	}
	(void)pthread_mutex_unlock(&s->lock);
	store_free(s->config.store);
	(void)pthread_cond_destroy(&s->idle);
	(void)pthread_mutex_destroy(&s->lock);
	free(s->buckets);
	free(s);
}

void
dbs_set_default_security(struct dbs *s, int admin_only)
{
	s->admin_only = admin_only;
}

void
dbs_set_limits(struct dbs *s, uint64_t max_document_size, uint64_t max_attachment_size)
{
	atomic_store(&s->max_document_size, max_document_size != 0 ? max_document_size : LIMIT_BODY_LEN);
	atomic_store(&s->max_attachment_size, max_attachment_size);
}

const char *
dbs_default_security(const struct dbs *s)
{
	return access_default(s->admin_only);
}

struct listing {
	int (*fn)(const char *name, void *cookie);
	void *cookie;
};

static int
list_one(const char *name, void *cookie)
{
	struct listing *l = cookie;

	return l->fn(name, l->cookie);
}

int
dbs_list(struct dbs *s, int (*fn)(const char *name, void *cookie), void *cookie)
{
	struct listing l = {fn, cookie};

	return store_list(s->config.store, NULL, list_one, &l);
}

static void
tell_moved(struct dbs *s, const char *name, uint64_t incarnation, uint64_t seq, int dropped)
{
	if (s->config.moved != NULL)
		s->config.moved(s->config.cookie, name, incarnation, seq, dropped);
}

int
dbs_create(
    struct dbs *s, const char *name, const struct db_options *options, const struct principal *p, struct errtext *why)
{
	struct dbfile *f;
	int err;

	if (!p->server_admin)
		return ERR_NOT_ADMIN;
	if ((err = dbs_name_check(name, strlen(name), why)) != 0)
		return err;
	(void)pthread_mutex_lock(&s->lock);
	err = table_settled(s, name) != NULL ? ERR_DB_EXISTS : file_load(s, name, store_make, options, &f);
	if (err == 0)
		f->busy = 1; /* nothing else is told of it before */
	(void)pthread_mutex_unlock(&s->lock);
	if (err)
		return err;
	tell_moved(s, name, f->incarnation, 0, 0);
	(void)pthread_mutex_lock(&s->lock);
	table_settle(s, f);
	(void)pthread_mutex_unlock(&s->lock);
	dbs_file_unref(f);
	return 0;
}

/*
 * drop_claim: The busy entry of a name, with a reference: its file's, or one that stands in for a file that is not open.
 * NULL: no memory.
 */
static struct dbfile *
drop_claim(struct dbs *s, const char *name)
{
	struct dbfile *f;

	(void)pthread_mutex_lock(&s->lock);
	f = table_settled(s, name);
	if (f == NULL)
		f = claim(s, name);
	else if (f->refs == 0)
		idle_remove(s, f);
	if (f != NULL) {
		f->busy = 1;
		f->refs++;
	}
	(void)pthread_mutex_unlock(&s->lock);
	return f;
}

/* drop_tell: Its handles' calls say ERR_NO_DB from now on, and no other of its name can be made before all are told. */
static void
drop_tell(struct dbfile *f)
{
	(void)pthread_mutex_lock(&f->telling);
	f->dropped = 1;
	(void)pthread_mutex_unlock(&f->telling);
	tell_moved(f->dbs, f->name, f->incarnation, 0, 1);
}

int
dbs_drop(struct dbs *s, const char *name, const struct principal *p)
{
	struct dbfile *f;
	int err, gone;

	if (!p->server_admin)
		return ERR_NOT_ADMIN;
	if (dbs_name_check(name, strlen(name), NULL) != 0)
		return ERR_NO_DB;
	if ((f = drop_claim(s, name)) == NULL)
		return ERR_NOMEM;
	/* It is in use until its file is removed; where that fails, nothing has happened. */
	err = store_drop(s->config.store, name);
	gone = err == 0 || err == ERR_IN_DOUBT || (err == ERR_NO_DB && f->store != NULL);
	if (gone)
		drop_tell(f);
	(void)pthread_mutex_lock(&s->lock);
	table_settle(s, f);
	if (gone || f->store == NULL)
		table_remove(s, f);
	(void)pthread_mutex_unlock(&s->lock);
	dbs_file_unref(f);
	return err;
}

/* change_rules: Which validators are asked depends on them. */
static void
change_rules(struct dbfile *f, const struct db_rules *rules)
{
	struct validators *old = NULL;

	(void)pthread_mutex_lock(&f->lock);
	if (f->rules != rules) {
		f->rules = rules;
		old = f->validators;
		f->validators = NULL;
	}
	(void)pthread_mutex_unlock(&f->lock);
	judge_validators_free(old);
}

void
dbs_ask_rules(struct dbs *s)
{
	(void)pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->nbuckets && s->config.rules != NULL; i++)
		for (struct dbfile *f = s->buckets[i]; f != NULL; f = f->hash_next)
			change_rules(f, s->config.rules(s->config.rules_cookie, f->name));
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- Handles ---- */

int
db_open(struct dbs *s, const char *name, const struct principal *p, struct db **dbp)
{
	struct db *db;
	struct dbfile *f;
	uint64_t stamp;
	int err, admin = 0;

	if (dbs_name_check(name, strlen(name), NULL) != 0)
		return ERR_NO_DB;
	if ((err = file_open(s, name, &f)) != 0)
		return err;
	(void)pthread_mutex_lock(&f->lock);
	err = f->dropped ? ERR_NO_DB : access_check(f->access, p, &admin);
	stamp = f->security_stamp;
	(void)pthread_mutex_unlock(&f->lock);
	if (err == 0 && (db = malloc(sizeof(*db))) == NULL)
		err = ERR_NOMEM;
	if (err) {
		dbs_file_unref(f);
		return err;
	}
	*db = (struct db){f, {p, admin, f->name}, stamp};
	counters_add(COUNTER_DB_OPENS, 1);
	*dbp = db;
	return 0;
}

void
db_close(struct db *db)
{
	if (db == NULL)
		return;
	dbs_file_unref(db->file);
	free(db);
}

const struct db_asker *
db_asker(const struct db *db)
{
	return &db->by;
}

int
db_is_admin(const struct db *db)
{
	struct db_asker by;

	return access_now(db, &by) == 0 && by.is_admin;
}

uint64_t
db_incarnation(const struct db *db)
{
	return db->file->incarnation;
}

int
db_is_partitioned(const struct db *db)
{
	return db->file->partitioned;
}

int
db_id_place(const struct db *db, const char *id, size_t len, struct errtext *why)
{
	if (!db->file->partitioned || len == 0 || id[0] == '_' || memchr(id, ':', len) != NULL)
		return 0;
	return err_why(why, ERR_RESERVED_ID, "Doc id must be of form partition:id");
}

int
db_doc_check(const struct db *db, const char *id, size_t len, size_t body_len, struct errtext *why)
{
	int err = doc_id_check(id, len, why);

	if (err == 0 && body_len > atomic_load(&db->file->dbs->max_document_size))
		return err_why(why, ERR_DOC_TOO_LARGE, "%.*s", (int)len, id);
	if (err || !db->file->partitioned || (len > 0 && id[0] == '_'))
		return err;
	if ((err = db_id_place(db, id, len, why)) != 0)
		return err;
	if (id[0] == ':')
		return ERR_ILLEGAL_PARTITION;
	return memchr(id, ':', len) == id + len - 1 ? ERR_ID_EMPTY : 0;
}

uint64_t
db_designs_seq(const struct db *db)
{
	struct dbfile *f = db->file;
	uint64_t seq;

	(void)pthread_mutex_lock(&f->lock);
	seq = f->designs > f->opened_seq ? f->designs : f->opened_seq;
	(void)pthread_mutex_unlock(&f->lock);
	return seq;
}

int
db_info(struct db *db, struct db_info *out)
{
	struct dbfile *f = db->file;
	int dropped;

	(void)pthread_mutex_lock(&f->lock);
	dropped = f->dropped;
	*out = (struct db_info){.doc_count = f->state.doc_count,
	    .doc_del_count = f->state.doc_del_count,
	    .update_seq = f->state.update_seq,
	    .purge_seq = f->state.purge_seq,
	    .created_us = f->state.created_us,
	    .external_bytes = f->state.external_bytes,
	    .revs_limit = f->state.revs_limit,
	    .purged_limit = f->state.purged_limit,
	    .keep_revs = f->state.keep_revs,
	    .keep_seconds = f->state.keep_seconds,
	    .partitioned = f->partitioned,
	    .compact_running = f->compact_running};
	(void)pthread_mutex_unlock(&f->lock);
	return dropped ? ERR_NO_DB : 0;
}

int
db_usage(struct db *db, uint64_t *filep, uint64_t *activep)
{
	struct store_usage usage = {0};
	int err = ERR_NO_DB;

	*activep = 0;
	if (!db->file->dropped)
		err = compact_auto_needed(db->file, &usage, activep);
	*filep = usage.file_bytes;
	return err;
}

int
db_copy(struct db *db, const char *path)
{
	if (!db->by.who->server_admin)
		return ERR_NOT_ADMIN;
	return db->file->dropped ? ERR_NO_DB : store_copy(db->file->store, path);
}

int
db_security(struct db *db, struct buf *b)
{
	struct dbfile *f = db->file;
	int err;

	if (f->dropped)
		return ERR_NO_DB;
	(void)pthread_mutex_lock(&f->lock);
	if (f->security.len > 0)
		err = buf_put(b, f->security.data, f->security.len);
	else
		err = buf_puts(b, access_default(f->dbs->admin_only));
	(void)pthread_mutex_unlock(&f->lock);
	return err;
}
