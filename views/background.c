/*
 * background.c: indexes that are brought up to date before anybody asks.
 *
 * A database that changed is noted by its name.  WAIT_MS later, so that many writes cost one update, as many databases as there are
 * channels are gone through at a time: a channel opens one index after another, has it updated, and waits without a thread.
 *
 *	background_moved -> (WAIT_MS) -> begin -> channel_step: open, views_want --> told -> channel_step ... -> the next database
 *
 * 1. A channel has one index open at a time, whatever changed.
 * 2. A name is noted once, and at most NAMES_MAX are: a database that finds no room is noted with its next change.
 * 3. What fails is not tried again before the database changes.
 */
#include "background.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "index.h"

#define WAIT_MS 1000u
#define NAMES_MAX 4096u
#define SLOTS (2 * NAMES_MAX) /* of the table, which is half empty */
#define IDS_MEM ((size_t)16 << 20)
#define DESIGN_MEM ((size_t)16 * LIMIT_BODY_LEN)

struct name {
	struct name *next; /* in the order they came */
	char text[];
};

struct channel {
	struct background *b;
	struct exec_job job;
	struct name *database;
	struct arena *a;  /* of the ids */
	struct jstr *ids; /* of its design documents, terminated */
	size_t n, next;
	struct db *db;
	struct view_index *ix;
	struct view_wait wait;
};

struct background {
	struct views *v;
	struct executor *ex;
	struct dbs *dbs;
	unsigned max;
	struct exec_job job;

	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct name *table[SLOTS];
	struct name *first, **end;
	size_t nnames;
	int set; /* the job waits for its time, or runs */
	_Atomic int closing;
	unsigned channels;
};

/* ---- Names; under the lock ---- */

static struct name **
slot_of(struct background *b, const char *name)
{
	size_t i = hash_crc32c(0, name, strlen(name)) % SLOTS;

	while (b->table[i] != NULL && strcmp(b->table[i]->text, name) != 0)
		i = (i + 1) % SLOTS;
	return &b->table[i];
}

/* take_first: Those that stand behind it in the table, as their places were taken, move up. */
static struct name *
take_first(struct background *b)
{
	struct name *first = b->first, *moved;
	size_t i;

	if (first == NULL)
		return NULL;
	if ((b->first = first->next) == NULL)
		b->end = &b->first;
	b->nnames--;
	i = (size_t)(slot_of(b, first->text) - b->table);
	b->table[i] = NULL;
	while (b->table[i = (i + 1) % SLOTS] != NULL) {
		moved = b->table[i];
		b->table[i] = NULL;
		*slot_of(b, moved->text) = moved;
	}
	return first;
}

/* begin_later: Where there are names; under the lock. */
static void
begin_later(struct background *b)
{
	if (b->first == NULL || b->set || b->closing)
		return;
	b->ex->later(b->ex, &b->job, WAIT_MS);
	b->set = 1;
}

void
background_moved(struct background *b, const char *database)
{
	size_t len = strlen(database) + 1;
	struct name **at, *name;

	(void)pthread_mutex_lock(&b->lock);
	at = slot_of(b, database);
	if (*at == NULL && !b->closing && b->nnames < NAMES_MAX && (name = malloc(sizeof(*name) + len)) != NULL) {
		name->next = NULL;
		memcpy(name->text, database, len);
		*at = *b->end = name;
		b->end = &name->next;
		b->nnames++;
	}
	begin_later(b);
	(void)pthread_mutex_unlock(&b->lock);
}

/* ---- Channels ---- */

static int
add_id(struct channel *c, size_t *capp, struct jstr id)
{
	char *text = arena_calloc(c->a, 1, id.len + 1);

	if (c->n == *capp) {
		struct jstr *grown = arena_calloc(c->a, 2 * *capp + 16, sizeof(*grown));

		if (grown == NULL)
			return ERR_NOMEM;
		if (c->n > 0)
			memcpy(grown, c->ids, c->n * sizeof(*grown));
		c->ids = grown;
		*capp = 2 * *capp + 16;
	}
	if (text == NULL)
		return ERR_NOMEM;
	memcpy(text, id.s, id.len);
	c->ids[c->n++] = (struct jstr){text, id.len};
	return 0;
}

/*
 * is_wanted: Does the document define an index, and say nothing against its being kept up to date?  Two that share an index may
 * differ in that, so the index cannot tell.
 */
static int
is_wanted(struct db_doc *doc, struct arena *a)
{
	struct db_rev rev;
	struct ddoc d;

	return !doc->winner.deleted && db_doc_rev(doc, &doc->winner, a, &rev) == 0 &&
	       ddoc_parse(rev.body, a, &d) == 0 && d.autoupdate && d.nmaps > 0 &&
	       (d.is_query || jstr_is(&d.language, "javascript"));
}

/* list_designs: Those that want an index that is up to date. */
static int
list_designs(struct channel *c)
{
	struct db_range range = {.has_start = 1, .has_end = 1, .start = {"_design/", 8}, .end = {"_design0", 8}};
	struct db_snap *snap;
	struct db_scan *scan;
	struct db_doc doc;
	struct arena *row_a;
	size_t cap = 0;
	int err = arena_new(DESIGN_MEM, &row_a);

	if (err != 0)
		return err;
	if ((err = db_snap_begin(c->db, &snap)) == 0) {
		if ((err = db_docs_open(snap, &range, &scan)) == 0) {
			while ((err = db_docs_next(scan, row_a, &doc)) == 0) {
				struct jstr id = {arena_dup(row_a, doc.id.s, doc.id.len), doc.id.len};

				if ((err = id.s == NULL ? ERR_NOMEM : 0) != 0 ||
				    (is_wanted(&doc, row_a) && (err = add_id(c, &cap, id)) != 0))
					break;
				arena_reset(row_a);
			}
			db_scan_close(scan);
		}
		db_snap_end(snap);
	}
	arena_free(row_a);
	return err == ERR_END ? 0 : err;
}

static void
database_end(struct channel *c)
{
	if (c->db != NULL)
		db_close(c->db);
	arena_free(c->a);
	free(c->database);
	c->db = NULL;
	c->a = NULL;
	c->database = NULL;
	c->n = c->next = 0;
}

static int
is_ignored(const struct channel *c)
{
	const struct views_config *config = &c->b->v->config;

	return config->is_ignored != NULL && config->is_ignored(c->database->text, config->cookie);
}

/* database_begin: The next that changed; 0: there is none. */
static int
database_begin(struct channel *c)
{
	static const struct principal server = {.server_admin = 1};
	struct background *b = c->b;

	for (;;) {
		(void)pthread_mutex_lock(&b->lock);
		c->database = b->closing ? NULL : take_first(b);
		(void)pthread_mutex_unlock(&b->lock);
		if (c->database == NULL)
			return 0;
		if (!is_ignored(c) && arena_new(IDS_MEM, &c->a) == 0 &&
		    db_open(b->dbs, c->database->text, &server, &c->db) == 0 && list_designs(c) == 0)
			return 1;
		database_end(c);
	}
}

static void
told(struct view_wait *w)
{
	struct channel *c = w->cookie;

	c->b->ex->submit(c->b->ex, &c->job);
}

/* next_index: 1: its update was asked for, and told() comes; 0: there is none left. */
static int
next_index(struct channel *c)
{
	struct db_info info;

	while (c->next < c->n) {
		if (views_open(c->b->v, c->db, c->database->text, c->ids[c->next++], &c->ix) != 0)
			continue;
		if (db_info(c->db, &info) == 0) {
			c->wait = (struct view_wait){
			    .seq = info.update_seq, .purge_seq = info.purge_seq, .done = told, .cookie = c};
			views_want(c->ix, &c->wait);
			return 1;
		}
		views_close(c->ix);
		c->ix = NULL;
	}
	return 0;
}

static void
channel_end(struct channel *c)
{
	struct background *b = c->b;

	(void)pthread_mutex_lock(&b->lock);
	b->channels--;
	/* What was noted while it was there, and has nobody: begin() found no room for another one. */
	begin_later(b);
	(void)pthread_cond_broadcast(&b->idle);
	(void)pthread_mutex_unlock(&b->lock);
	free(c);
}

static void
channel_step(void *arg)
{
	struct channel *c = arg;

	if (c->ix != NULL)
		views_close(c->ix);
	c->ix = NULL;
	while (c->database != NULL || database_begin(c)) {
		if (!c->b->closing && next_index(c))
			return;
		database_end(c);
	}
	channel_end(c);
}

/* begin: Those that changed have waited long enough. */
static void
begin(void *arg)
{
	struct background *b = arg;
	struct channel *c;

	(void)pthread_mutex_lock(&b->lock);
	b->set = 0;
	(void)pthread_cond_broadcast(&b->idle);
	for (size_t i = 0; i < b->nnames && b->channels < b->max && !b->closing; i++) {
		if ((c = calloc(1, sizeof(*c))) == NULL)
			break;
		c->b = b;
		c->job = (struct exec_job){.fn = channel_step, .arg = c};
		b->channels++;
		b->ex->submit(b->ex, &c->job);
	}
	(void)pthread_mutex_unlock(&b->lock);
}

int
background_new(struct views *v, struct executor *ex, struct dbs *dbs, unsigned channels, struct background **bp)
{
	struct background *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	b->v = v;
	b->ex = ex;
	b->dbs = dbs;
	b->max = channels;
	b->job = (struct exec_job){.fn = begin, .arg = b};
	b->end = &b->first;
	(void)pthread_mutex_init(&b->lock, NULL);
	(void)pthread_cond_init(&b->idle, NULL);
	*bp = b;
	return 0;
}

void
background_stop(struct background *b)
{
	if (b == NULL)
		return;
	(void)pthread_mutex_lock(&b->lock);
	b->closing = 1;
	if (b->set && b->ex->cancel(b->ex, &b->job))
		b->set = 0;
	while (b->channels > 0 || b->set)
		(void)pthread_cond_wait(&b->idle, &b->lock);
	(void)pthread_mutex_unlock(&b->lock);
}

void
background_free(struct background *b)
{
	struct name *name;

	if (b == NULL)
		return;
	while ((name = take_first(b)) != NULL)
		free(name);
	(void)pthread_cond_destroy(&b->idle);
	(void)pthread_mutex_destroy(&b->lock);
	free(b);
}
