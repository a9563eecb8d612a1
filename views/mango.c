/*
 * mango.c: which indexes a database declares.
 *
 * Every query asks for them, and they change when a design document does.  So lists are remembered, those that were used last.
 *
 * 1. A list was read of a snapshot of some sequence of a history.  It is right as long as no design document changes behind that;
 *    db_designs_seq() may say so of a database that has just been opened without need, and never fails to.
 * 2. A database that was dropped, and made or put back under its name, has another history.
 * 3. References are counted: a list that is not remembered any more lives as long as somebody reads it.
 */
#include "mango.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/limits.h"
#include "index.h"
#include "mango_lists.h"
#include "query/query.h"

#define LIST_MEM ((size_t)64 << 20) /* bytes that a list may take */
#define DOC_MEM ((size_t)128 << 20) /* and a design document, while it is read */

struct mango_kept {
	struct mango_list list;
	struct arena *arena; /* of what the list is of, and of this */
	size_t bytes;
	char *database;
	char history[INDEX_HISTORY];
	uint64_t seq;
};

/* ---- Reading ---- */

/* An index, while the list grows. */
struct found {
	struct query_index index;
	struct jstr def;
};

struct reading {
	struct mango_kept *k;
	struct found *found;
	size_t n, cap;
	struct arena *doc_a;
	struct buf text, scratch;
	int partitioned; /* the database is */
};

static int
keep(struct reading *r, const char *s, size_t len, struct jstr *out)
{
	out->s = arena_dup(r->k->arena, s, len);
	out->len = len;
	r->k->bytes += len + 1;
	return out->s != NULL ? 0 : ERR_NOMEM;
}

/* put_fields: [{"a":"asc"},...] of {"a":"asc",...}; an array is that already. */
static int
put_fields(struct reading *r, struct jread *j, int *descendingp)
{
	struct jstr name, direction;
	size_t n = 0;
	int err;

	*descendingp = 0;
	if (jread_peek(j) != JREAD_OBJECT)
		return (err = jread_skip(j, &direction)) != 0 ? err : buf_put(&r->text, direction.s, direction.len);
	buf_putc(&r->text, '[');
	err = jread_object_begin(j);
	while (err == 0 && (err = jread_object_next(j, &r->scratch, &name)) == 0) {
		buf_puts(&r->text, n++ > 0 ? ",{" : "{");
		buf_put_json(&r->text, name.s, name.len);
		buf_putc(&r->text, ':');
		(void)jread_peek(j);
		if ((err = jread_skip(j, &direction)) != 0)
			break;
		*descendingp |= jstr_is(&direction, "\"desc\"");
		buf_put(&r->text, direction.s, direction.len);
		buf_putc(&r->text, '}');
	}
	buf_putc(&r->text, ']');
	return err == ERR_END ? 0 : err;
}

/* put_def: The definition as CouchDB shows it: a filter of everything is not shown, what it does not know is. */
static int
put_def(struct reading *r, struct jstr def, int *descendingp)
{
	struct jstr key, value;
	struct jread j;
	size_t n = 0;
	int err;

	buf_clear(&r->text);
	buf_putc(&r->text, '{');
	jread_init(&j, def.s, def.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &r->scratch, &key)) == 0) {
		struct jread at = j;
		int fields = jstr_is(&key, "fields"), filter = jstr_is(&key, "partial_filter_selector");

		(void)jread_peek(&j);
		if ((err = jread_skip(&j, &value)) != 0)
			break;
		if (filter && (jstr_is(&value, "{}") || jstr_is(&value, "[]")))
			continue;
		buf_puts(&r->text, n++ > 0 ? "," : "");
		buf_put_json(&r->text, key.s, key.len);
		buf_putc(&r->text, ':');
		if (fields)
			err = put_fields(r, &at, descendingp);
		else
			buf_put(&r->text, value.s, value.len);
	}
	buf_putc(&r->text, '}');
	return err != ERR_END ? err : buf_failed(&r->text);
}

/* keep_filter: Normalised. */
static int
keep_filter(struct reading *r, struct jstr text, struct jstr *out)
{
	struct query_selector *s;
	int err;

	*out = (struct jstr){"", 0};
	if (text.len == 0)
		return 0;
	if ((err = query_selector_new(text, &s, NULL)) != 0)
		return err;
	buf_clear(&r->text);
	if ((err = query_selector_put(s, &r->text)) == 0 && !jstr_is(&(struct jstr){r->text.data, r->text.len}, "{}"))
		err = keep(r, r->text.data, r->text.len, out);
	query_selector_free(s);
	return err;
}

static int
keep_columns(struct reading *r, const struct ddoc_map *map, struct query_index *out)
{
	struct jstr *columns = arena_calloc(r->k->arena, map->ncolumns + 1, sizeof(*columns));
	int err = 0;

	if (columns == NULL)
		return ERR_NOMEM;
	r->k->bytes += map->ncolumns * sizeof(*columns);
	for (size_t i = 0; i < map->ncolumns && err == 0; i++)
		err = keep(r, map->columns[i].s, map->columns[i].len, &columns[i]);
	out->columns = columns;
	out->ncolumns = map->ncolumns;
	return err;
}

static int
grow(struct reading *r)
{
	size_t cap = r->cap != 0 ? 2 * r->cap : 16;
	struct found *grown = r->n < r->cap ? r->found : realloc(r->found, cap * sizeof(*grown));

	if (grown == NULL)
		return ERR_NOMEM;
	r->cap = r->n < r->cap ? r->cap : cap;
	r->found = grown;
	return 0;
}

static int
add_index(struct reading *r, struct jstr id, const struct ddoc *d, const struct ddoc_view *v)
{
	const struct ddoc_map *map = &d->maps[v->map];
	struct found *f;
	int err = grow(r);

	if (err != 0)
		return err;
	f = &r->found[r->n];
	*f = (struct found){.index = {.ddoc = id, .partitioned = r->partitioned}};
	if (d->has_partitioned)
		f->index.partitioned &= d->partitioned;
	if ((err = keep(r, v->name.s, v->name.len, &f->index.name)) != 0 ||
	    (err = keep_columns(r, map, &f->index)) != 0 ||
	    (err = keep_filter(r, map->filter, &f->index.filter)) != 0 ||
	    (err = put_def(r, v->def, &f->index.descending)) != 0 ||
	    (err = keep(r, r->text.data, r->text.len, &f->def)) != 0)
		return err;
	r->n++;
	return 0;
}

static int
read_doc(struct reading *r, struct db_doc *doc)
{
	struct db_rev rev;
	struct ddoc d;
	struct jstr id;
	int err;

	if (doc->winner.deleted)
		return 0;
	if ((err = keep(r, doc->id.s, doc->id.len, &id)) != 0)
		return err;
	if ((err = db_doc_rev(doc, &doc->winner, r->doc_a, &rev)) == 0)
		err = ddoc_parse(rev.body, r->doc_a, &d);
	if (err == ERR_MISSING || err == ERR_BAD_JSON)
		return 0;
	for (size_t i = 0; err == 0 && d.is_query && i < d.nviews; i++)
		if (d.views[i].declared)
			err = add_index(r, id, &d, &d.views[i]);
	return err;
}

static int
read_docs(struct reading *r, struct db_snap *snap)
{
	static const struct db_range designs = {
	    .has_start = 1, .has_end = 1, .start = {"_design/", 8}, .end = {"_design0", 8}};
	struct db_scan *scan;
	struct db_doc doc;
	int err = db_docs_open(snap, &designs, &scan);

	if (err != 0)
		return err;
	while ((err = db_docs_next(scan, r->doc_a, &doc)) == 0) {
		if ((err = read_doc(r, &doc)) != 0)
			break;
		arena_reset(r->doc_a);
	}
	db_scan_close(scan);
	return err == ERR_END ? 0 : err;
}

static int
order(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int c = jstr_order(&x->index.ddoc, &y->index.ddoc);

	return c != 0 ? c : jstr_order(&x->index.name, &y->index.name);
}

static int
fill(struct reading *r)
{
	struct mango_kept *k = r->k;
	struct query_index *indexes = arena_calloc(k->arena, r->n + 1, sizeof(*indexes));
	struct jstr *defs = arena_calloc(k->arena, r->n + 1, sizeof(*defs));

	if (indexes == NULL || defs == NULL)
		return ERR_NOMEM;
	if (r->n > 1)
		qsort(r->found, r->n, sizeof(*r->found), order);
	for (size_t i = 0; i < r->n; i++) {
		indexes[i] = r->found[i].index;
		indexes[i].number = i;
		defs[i] = r->found[i].def;
	}
	k->bytes += (r->n + 1) * (sizeof(*indexes) + sizeof(*defs)) + sizeof(*k);
	k->list = (struct mango_list){.indexes = indexes, .defs = defs, .n = r->n, .refs = 1};
	return 0;
}

static int
read_list(struct db *db, struct mango_kept *k)
{
	struct reading r = {.k = k, .partitioned = db_is_partitioned(db)};
	struct db_snap *snap;
	int err = arena_new(DOC_MEM, &r.doc_a);

	if (err != 0)
		return err;
	buf_init(&r.text, LIST_MEM);
	buf_init(&r.scratch, LIST_MEM);
	if ((err = db_snap_begin(db, &snap)) == 0) {
		if ((err = db_snap_seq(snap, &k->seq)) == 0)
			err = read_docs(&r, snap);
		db_snap_end(snap);
	}
	if (err == 0)
		err = fill(&r);
	free(r.found);
	buf_release(&r.text);
	buf_release(&r.scratch);
	arena_free(r.doc_a);
	return err;
}

static struct mango_kept *
new_kept(struct db *db, const char *database, struct arena *a)
{
	struct jstr history = db_history(db);
	struct mango_kept *k = arena_calloc(a, 1, sizeof(*k));

	if (k == NULL || (k->database = arena_dup(a, database, strlen(database))) == NULL)
		return NULL;
	k->arena = a;
	(void)snprintf(k->history, sizeof(k->history), "%.*s", (int)history.len, history.s);
	return k;
}

/* make: Read by the server, for all: who asks may be one who sees no design documents. */
static int
make(struct views *v, const char *database, struct mango_kept **kp)
{
	static const struct principal server = {.server_admin = 1};
	struct arena *a = NULL;
	struct db *db;
	int err = db_open(v->config.dbs, database, &server, &db);

	if (err != 0)
		return err;
	if ((err = arena_new(LIST_MEM, &a)) == 0)
		err = (*kp = new_kept(db, database, a)) != NULL ? read_list(db, *kp) : ERR_NOMEM;
	if (err != 0)
		arena_free(a);
	db_close(db);
	return err;
}

/* ---- Remembering ---- */

void
mango_lists_init(struct mango_lists *m)
{
	memset(m, 0, sizeof(*m));
	(void)pthread_mutex_init(&m->lock, NULL);
}

static void
unref(struct mango_kept *k)
{
	if (--k->list.refs == 0)
		arena_free(k->arena);
}

static void
forget(struct mango_lists *m, size_t i)
{
	m->bytes -= m->kept[i]->bytes;
	unref(m->kept[i]);
	m->kept[i] = NULL;
}

void
mango_lists_release(struct mango_lists *m)
{
	for (size_t i = 0; i < MANGO_LISTS; i++)
		if (m->kept[i] != NULL)
			forget(m, i);
	(void)pthread_mutex_destroy(&m->lock);
}

/* slot_of: Where the database's list stands; MANGO_LISTS: nowhere. */
static size_t
slot_of(const struct mango_lists *m, uint64_t hash, const char *database)
{
	for (size_t i = 0; i < MANGO_LISTS; i++)
		if (m->hashes[i] == hash && m->kept[i] != NULL && strcmp(m->kept[i]->database, database) == 0)
			return i;
	return MANGO_LISTS;
}

/* oldest: An empty place, or with ${full} none of those; else that of the list that was used longest ago. */
static size_t
oldest(const struct mango_lists *m, int full)
{
	size_t best = MANGO_LISTS;

	for (size_t i = 0; i < MANGO_LISTS; i++) {
		if (m->kept[i] == NULL && !full)
			return i;
		if (m->kept[i] != NULL && (best == MANGO_LISTS || m->used[i] < m->used[best]))
			best = i;
	}
	return best;
}

static void
remember(struct mango_lists *m, uint64_t hash, struct mango_kept *k)
{
	size_t i = slot_of(m, hash, k->database);

	if (i == MANGO_LISTS)
		i = oldest(m, 0);
	if (m->kept[i] != NULL)
		forget(m, i);
	k->list.refs++;
	m->kept[i] = k;
	m->hashes[i] = hash;
	m->used[i] = ++m->calls;
	m->bytes += k->bytes;
	while (m->bytes > MANGO_LISTS_BYTES)
		forget(m, oldest(m, 1));
}

/* recall: The list of the database, if it is right. */
static struct mango_kept *
recall(struct mango_lists *m, uint64_t hash, struct db *db, const char *database)
{
	struct jstr history = db_history(db);
	size_t i = slot_of(m, hash, database);

	if (i == MANGO_LISTS || !jstr_is(&history, m->kept[i]->history) || m->kept[i]->seq < db_designs_seq(db))
		return NULL;
	m->used[i] = ++m->calls;
	m->kept[i]->list.refs++;
	return m->kept[i];
}

int
mango_open(struct views *v, struct db *db, const char *database, const struct mango_list **lp)
{
	struct mango_lists *m = &v->lists;
	uint64_t hash = hash_crc32c(0, database, strlen(database));
	struct mango_kept *k;
	int err;

	(void)pthread_mutex_lock(&m->lock);
	k = recall(m, hash, db, database);
	(void)pthread_mutex_unlock(&m->lock);
	if (k == NULL) {
		if ((err = make(v, database, &k)) != 0)
			return err;
		(void)pthread_mutex_lock(&m->lock);
		remember(m, hash, k);
		(void)pthread_mutex_unlock(&m->lock);
	}
	*lp = &k->list;
	return 0;
}

void
mango_close(struct views *v, const struct mango_list *l)
{
	if (l == NULL)
		return;
	(void)pthread_mutex_lock(&v->lists.lock);
	/* The list is the first member of what keeps it. */
	unref((struct mango_kept *)(void *)(uintptr_t)l);
	(void)pthread_mutex_unlock(&v->lists.lock);
}

/* ---- Counting ---- */

static int
count_range(
    struct view_snap *s, const struct ddoc_view *view, struct jstr partition, const struct query_range *q, uint64_t *np)
{
	struct read_range range = {.partition = partition,
	    .start = {.set = q->low.len > 0, .sortkey = q->low},
	    .end = {.set = q->high.len > 0, .sortkey = q->high},
	    .exclusive_start = q->low_behind,
	    .exclusive_end = q->high_before};
	int err = read_range(s, view, &range, (struct jstr){NULL, 0});

	return err != 0 ? err : read_length(s, np);
}

int
mango_count(struct view_index *ix, const struct ddoc_view *view, struct jstr partition,
    const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	struct view_snap *s;
	uint64_t rows;
	int err = read_begin(ix, &s);

	*rowsp = 0;
	if (err != 0)
		return err;
	for (size_t i = 0; i < n && err == 0; i++)
		if ((err = count_range(s, view, partition, &ranges[i], &rows)) == 0)
			*rowsp += rows;
	read_end(s);
	return err;
}
