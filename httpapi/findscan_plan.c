/*
 * findscan_plan.c: which way a query goes: the indexes that are declared, how many rows each would read, and the places that
 * bookmarks name.
 *
 * A page goes on as the one before it, also where by now another way would be better: a bookmark tells the planner which index each
 * part is to have, and is refused where that is possible no more.
 */
#include "findscan.h"

#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "find_bookmark.h"
#include "render.h"

#define KEY_MAX ((size_t)1 << 30) /* bytes of a row's key, and of its document */

/* ---- Indexes ---- */

static void
close_indexes(struct findscan *fs)
{
	for (size_t i = 0; i < fs->nindexes; i++)
		views_close(fs->indexes[i].ix);
	fs->nindexes = 0;
}

/* open_index: Unless it is open already. */
static int
open_index(struct findscan *fs, const struct query_index *index, const struct findscan_index **atp)
{
	struct findscan_index *at;
	int err;

	for (size_t i = 0; i < fs->nindexes; i++)
		if (fs->indexes[i].index == index) {
			*atp = &fs->indexes[i];
			return 0;
		}
	if (fs->nindexes == LIMIT_FIND_PARTS)
		return ERR_TOO_LARGE;
	at = &fs->indexes[fs->nindexes];
	if ((err = views_open(fs->views, fs->db, fs->database, index->ddoc, &at->ix)) != 0)
		return err;
	at->index = index;
	if ((at->view = read_view(at->ix, index->name)) == NULL) {
		views_close(at->ix);
		return ERR_MISSING;
	}
	fs->nindexes++;
	*atp = at;
	return 0;
}

static int
count_docs(struct findscan *fs, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	uint64_t low, high, total = 0;
	struct db_snap *snap;
	int err = db_snap_begin(fs->db, &snap);

	if (err != 0)
		return err;
	for (size_t i = 0; err == 0 && i < n; i++) {
		low = 0;
		if (ranges[i].low.len > 0)
			err = db_docs_before(snap, ranges[i].low.s, ranges[i].low.len, &low);
		if (err == 0 && ranges[i].high.len > 0)
			err = db_docs_before(snap, ranges[i].high.s, ranges[i].high.len, &high);
		else if (err == 0)
			err = db_docs_before(snap, NULL, 0, &high);
		/* The last id itself makes no difference. */
		total += err == 0 && high > low ? high - low : 0;
	}
	db_snap_end(snap);
	*rowsp = total;
	return err;
}

static void
count(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	const struct findscan_index *at;
	struct findscan *fs = cookie;
	int err;

	if (index == NULL)
		err = count_docs(fs, ranges, n, rowsp);
	else if ((err = open_index(fs, index, &at)) == 0)
		err = views_is_ready(at->ix) ? mango_count(at->ix, at->view, fs->q->partition, ranges, n, rowsp)
					     : ERR_AGAIN;
	/* An index that cannot be looked at is met again, with its error, if it is chosen. */
	if (err != 0)
		*rowsp = UINT64_MAX;
}

uint64_t
findscan_count(struct findscan *fs, const struct query_part *part)
{
	uint64_t rows = part->rows;

	if (part->nranges == 0)
		return 0;
	if (rows == UINT64_MAX && fs->list != NULL)
		count(fs, part->index, part->ranges, part->nranges, &rows);
	return rows;
}

/* ---- Bookmarks ---- */

/* hash_index: 0: all documents. */
static uint32_t
hash_index(const struct query_index *x)
{
	uint32_t h;

	if (x == NULL)
		return 0;
	h = hash_crc32c(0, x->ddoc.s, x->ddoc.len);
	h = hash_crc32c(h, "/", 1);
	h = hash_crc32c(h, x->name.s, x->name.len);
	return h != 0 ? h : 1;
}

int
findscan_bookmark(const struct findscan *fs, struct buf *b)
{
	const struct query_index *index;
	uint32_t hashes[LIMIT_FIND_PARTS];
	struct find_bookmark m = {0};

	if (!fs->found)
		return fs->q->bookmark.len > 0 ? buf_put(b, fs->q->bookmark.s, fs->q->bookmark.len)
					       : buf_puts(b, "nil");
	index = fs->plan->parts[fs->found_part].index;
	m.descending = fs->plan->descending;
	m.part = fs->found_part;
	m.nparts = fs->plan->nparts;
	m.either = fs->plan->either;
	m.hashes = hashes;
	for (size_t i = 0; i < fs->plan->nparts; i++)
		hashes[i] = hash_index(fs->plan->parts[i].index);
	if (index != NULL) {
		m.ddoc = index->ddoc;
		m.name = index->name;
		m.key = (struct jstr){fs->key.data, fs->key.len};
		m.cut = fs->cut;
	}
	m.id = (struct jstr){fs->id.data, fs->id.len};
	return find_bookmark_put(&m, b);
}

/* put_sortkey: Of a row's key, as the index has it. */
static int
put_sortkey(struct findscan *fs, const struct find_bookmark *m)
{
	if (m->cut)
		return buf_put(&fs->after_sortkey, m->key.s, m->key.len);
	return query_sortkey_beginning(m->key, LIMIT_INDEX_KEY, &fs->scratch, &fs->after_sortkey);
}

/* go_behind: The row that a bookmark names. */
static int
go_behind(struct findscan *fs, const struct find_bookmark *m)
{
	const struct query_index *index;

	if (m->nparts != fs->plan->nparts || m->descending != fs->plan->descending || m->id.len == 0 ||
	    m->id.len > LIMIT_ID_LEN)
		return ERR_BOOKMARK;
	for (size_t i = 0; i < m->nparts; i++)
		if (hash_index(fs->plan->parts[i].index) != m->hashes[i])
			return ERR_BOOKMARK;
	index = fs->plan->parts[m->part].index;
	if ((index == NULL) != (m->ddoc.len == 0))
		return ERR_BOOKMARK;
	fs->part = (size_t)m->part;
	fs->after_id = m->id;
	if (index == NULL)
		return 0;
	return put_sortkey(fs, m) != 0 ? ERR_BOOKMARK : 0;
}

/* refuse_bookmark: Quoted as JSON; a long one is cut, between characters. */
static int
refuse_bookmark(const struct find_query *q, struct errtext *why)
{
	size_t n = q->bookmark.len < ERRTEXT_MAX ? q->bookmark.len : utf8_whole(q->bookmark.s, ERRTEXT_MAX);
	struct buf b;
	int err;

	buf_init(&b, (size_t)6 * ERRTEXT_MAX + 2);
	(void)buf_put_json(&b, q->bookmark.s, n);
	err = err_why(why, ERR_BOOKMARK, "Invalid bookmark value: %.*s", (int)b.len, b.len > 0 ? b.data : "");
	buf_release(&b);
	return err;
}

/* ---- Plans ---- */

static void
ask_for(struct findscan *fs, struct query_ask *ask)
{
	const struct find_query *q = fs->q;

	*ask = (struct query_ask){.selector = q->selector,
	    .sort = q->sort,
	    .nsort = q->nsort,
	    .descending = q->descending,
	    .fields = q->paths,
	    .nfields = q->npaths,
	    .use_ddoc = q->use_ddoc,
	    .use_name = q->use_name,
	    .in_partition = q->partition.len > 0,
	    .conflicts = q->conflicts,
	    .cookie = fs};
	/* Numbers of rows tell, as rows do, of documents that are not to be seen. */
	if (fs->list != NULL) {
		ask->count = count;
		ask->indexes = fs->list->indexes;
		ask->nindexes = fs->list->n;
	}
}

/* keep_to: What the page before had; ERR_BOOKMARK: an index of it is gone. */
static int
keep_to(struct query_ask *ask, const struct find_bookmark *m, struct arena *a)
{
	const struct query_index **keep = arena_calloc(a, (size_t)m->nparts + 1, sizeof(*keep));

	if (keep == NULL)
		return ERR_NOMEM;
	for (size_t k = 0; k < m->nparts; k++) {
		for (size_t i = 0; m->hashes[k] != 0 && keep[k] == NULL && i < ask->nindexes; i++)
			if (hash_index(&ask->indexes[i]) == m->hashes[k])
				keep[k] = &ask->indexes[i];
		if (m->hashes[k] != 0 && keep[k] == NULL)
			return ERR_BOOKMARK;
	}
	ask->keep = keep;
	ask->nkeep = (size_t)m->nparts;
	ask->keep_either = (size_t)m->either;
	return 0;
}

int
findscan_is_asked_for(const struct findscan *fs)
{
	const struct query_plan *p = fs->plan;
	const struct find_query *q = fs->q;

	return p->found && p->chosen != NULL && jstr_equal(p->chosen->ddoc, q->use_ddoc) &&
	       (q->use_name.len == 0 || jstr_equal(p->chosen->name, q->use_name));
}

static int
check_fallback(const struct findscan *fs, struct errtext *why)
{
	const struct find_query *q = fs->q;

	if (q->allow_fallback || findscan_is_asked_for(fs))
		return 0;
	if (q->use_ddoc.len == 0)
		return fs->plan->found && fs->plan->chosen != NULL ? 0 : ERR_INVALID_INDEX;
	return err_why(why, ERR_INVALID_INDEX,
	    "%.*s%s%.*s specified by `use_index` could not be found or it is not suitable.", (int)q->use_ddoc.len,
	    q->use_ddoc.s, q->use_name.len > 0 ? ", " : "", (int)q->use_name.len, q->use_name.s);
}

static int
plan(struct findscan *fs, struct apireq *r, const struct find_query *q, const struct find_bookmark *m,
    struct errtext *why)
{
	struct query_ask ask;
	int err = 0;

	fs->views = r->api->views;
	fs->db = r->db;
	fs->database = r->part[0].s;
	fs->q = q;
	buf_init(&fs->place, KEY_MAX);
	buf_init(&fs->begin, LIMIT_ID_LEN);
	buf_init(&fs->after_sortkey, KEY_MAX);
	buf_init(&fs->key, KEY_MAX);
	buf_init(&fs->id, LIMIT_ID_LEN);
	buf_init(&fs->text, RENDER_MAX);
	buf_init(&fs->scratch, KEY_MAX);
	/* Rows of an index know nothing of who may see which document. */
	if (db_shows_all(r->db))
		err = mango_open(fs->views, r->db, fs->database, &fs->list);
	if (err != 0)
		return err;
	ask_for(fs, &ask);
	if (m != NULL && (err = keep_to(&ask, m, r->arena)) != 0)
		return err;
	if ((err = query_plan_new(&ask, &fs->plan)) != 0)
		return err;
	return check_fallback(fs, why);
}

/* find_partition: The ids of partition P are behind "P:" and before "P;". */
static int
find_partition(struct findscan *fs)
{
	struct jstr p = fs->q->partition;
	char *first, *end;

	if (p.len == 0)
		return 0;
	first = arena_alloc(fs->plan->arena, p.len + 1);
	end = arena_alloc(fs->plan->arena, p.len + 1);
	if (first == NULL || end == NULL)
		return ERR_NOMEM;
	memcpy(first, p.s, p.len);
	memcpy(end, p.s, p.len);
	first[p.len] = ':';
	end[p.len] = ';';
	fs->partition_first = (struct jstr){first, p.len + 1};
	fs->partition_end = (struct jstr){end, p.len + 1};
	return 0;
}

/* open_covered: What is needed where the rows are all that is read. */
static int
open_covered(struct findscan *fs)
{
	const struct query_index *x = fs->plan->chosen;
	int err = query_columns_new(x->columns, x->ncolumns, &fs->columns);

	if (err == 0 && fs->as_fields && fs->plan->exact && fs->q->fields != NULL)
		err = query_covered_new(x->ncolumns, fs->columns, fs->q->fields, &fs->covered);
	return err;
}

/* open_parts: What the plan reads, and nothing that it was only compared with. */
static int
open_parts(struct findscan *fs)
{
	const struct findscan_index *at;
	int err = 0;

	close_indexes(fs);
	for (size_t i = 0; err == 0 && i < fs->plan->nparts; i++)
		if (fs->plan->parts[i].index != NULL)
			err = open_index(fs, fs->plan->parts[i].index, &at);
	if (err == 0 && fs->plan->covered)
		err = open_covered(fs);
	return err != 0 ? err : find_partition(fs);
}

/* no_index: In a partitioned database the words say which indexes were looked at. */
static int
no_index(const struct findscan *fs, struct errtext *why)
{
	if (!db_is_partitioned(fs->db))
		return ERR_NO_INDEX;
	return err_why(why, ERR_NO_INDEX, "No %s index exists for this sort, try indexing by the sort fields.",
	    fs->q->partition.len > 0 ? "partitioned" : "global");
}

int
findscan_prepare(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why)
{
	struct find_bookmark m;
	int marked = q->bookmark.len > 0, err;

	if (marked && (err = find_bookmark_read(q->bookmark, r->arena, &m)) != 0)
		return err == ERR_BOOKMARK ? refuse_bookmark(q, why) : err;
	if ((err = plan(fs, r, q, marked ? &m : NULL, why)) != 0)
		return err == ERR_BOOKMARK ? refuse_bookmark(q, why) : err;
	if (!fs->plan->found)
		return marked ? refuse_bookmark(q, why) : no_index(fs, why);
	if ((err = open_parts(fs)) == 0 && marked && (err = go_behind(fs, &m)) == ERR_BOOKMARK)
		return refuse_bookmark(q, why);
	return err;
}

int
findscan_explain(struct findscan *fs, struct apireq *r, const struct find_query *q, struct errtext *why)
{
	return plan(fs, r, q, NULL, why);
}

struct view_index *
findscan_index(const struct findscan *fs, size_t i)
{
	return i < fs->nindexes ? fs->indexes[i].ix : NULL;
}

void
findscan_release(struct findscan *fs)
{
	close_indexes(fs);
	query_columns_free(fs->columns);
	query_covered_free(fs->covered);
	query_plan_free(fs->plan);
	if (fs->views != NULL)
		mango_close(fs->views, fs->list);
	buf_release(&fs->place);
	buf_release(&fs->begin);
	buf_release(&fs->after_sortkey);
	buf_release(&fs->key);
	buf_release(&fs->id);
	buf_release(&fs->text);
	buf_release(&fs->scratch);
	memset(fs, 0, sizeof(*fs));
}
