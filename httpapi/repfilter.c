/*
 * repfilter.c: filters of replications from databases here.
 *
 * What a filter function is told of the request is what CouchDB's replicator would have asked of _changes: query has the
 * query_params, each as text, and the filter's name.
 */
#include "repfilter.h"

#include <stdlib.h>

#include "base/limits.h"
#include "database.h"
#include "db/rev.h"
#include "feedmatch.h"
#include "judging.h"
#include "scripting.h"
#include "uuid.h"

#define MEMORY ((size_t)256 << 20)

struct repfilter {
	struct arena *arena;
	int all_leaves;
	int design;                      /* design documents alone */
	struct query_selector *selector; /* or NULL */
	struct judging *judging;         /* or NULL; in the arena */
};

/* ---- The request that a function sees ---- */

/* Text stays as it is, other values as JSON. */
static int
put_params(struct buf *b, struct arena *a, struct jstr params)
{
	struct buf keys, scratch;
	struct jstr key, value;
	struct jread j;
	int err;

	if (params.len == 0)
		return 0;
	buf_init_arena(&keys, a, MEMORY);
	buf_init_arena(&scratch, a, MEMORY);
	jread_init(&j, params.s, params.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &keys, &key)) == 0) {
		buf_putc(b, ',');
		buf_put_json(b, key.s, key.len);
		buf_putc(b, ':');
		if (jread_peek(&j) == JREAD_STRING)
			err = jread_string(&j, &scratch, &value);
		else
			err = jread_skip(&j, &value);
		if (err == 0)
			err = buf_put_json(b, value.s, value.len);
	}
	return err == ERR_END ? 0 : err;
}

static void
put_path(struct buf *b, const char *name)
{
	buf_putc(b, '[');
	buf_put_json(b, name, strlen(name));
	buf_puts(b, ",\"_changes\"]");
}

static int
put_request(struct buf *b, struct arena *a, struct db *db, const struct peer_filter *f)
{
	const struct db_asker *by = db_asker(db);
	char uuid[UUID_LEN];
	int err;

	uuid_next(uuid);
	buf_puts(b, "{\"info\":");
	if ((err = database_put_info(b, db, by->database)) != 0)
		return err;
	buf_puts(b, ",\"id\":null,\"uuid\":");
	buf_put_json(b, uuid, sizeof(uuid));
	buf_puts(b, ",\"method\":\"GET\",\"requested_path\":");
	put_path(b, by->database);
	buf_puts(b, ",\"path\":");
	put_path(b, by->database);
	buf_puts(b, ",\"raw_path\":\"/_changes\",\"query\":{\"filter\":");
	buf_put_json(b, f->filter.s, f->filter.len);
	if ((err = put_params(b, a, f->query)) != 0)
		return err;
	buf_puts(
	    b, "},\"headers\":{},\"body\":\"undefined\",\"form\":{},\"cookie\":{},\"peer\":\"127.0.0.1\",\"userCtx\":");
	scripting_put_user(b, by->database, by->who);
	buf_puts(b, ",\"secObj\":");
	if ((err = db_security(db, b)) != 0)
		return err;
	return buf_putc(b, '}');
}

/* ---- Opening ---- */

/* The parameter `view` of the filter _view. */
static int
view_of(struct arena *a, struct jstr params, struct jstr *out)
{
	struct buf keys, scratch;
	struct jstr key, value;
	struct jread j;
	int err = 0;

	*out = (struct jstr){"", 0};
	if (params.len == 0)
		return 0;
	buf_init_arena(&keys, a, MEMORY);
	buf_init_arena(&scratch, a, MEMORY);
	jread_init(&j, params.s, params.len);
	err = jread_object_begin(&j);
	while (err == 0 && (err = jread_object_next(&j, &keys, &key)) == 0) {
		if (!jstr_is(&key, "view") || jread_peek(&j) != JREAD_STRING) {
			err = jread_skip(&j, NULL);
			continue;
		}
		if ((err = jread_string(&j, &scratch, &value)) == 0 &&
		    (out->s = arena_dup(a, value.s, value.len)) == NULL)
			err = ERR_NOMEM;
		out->len = value.len;
	}
	return err == ERR_END ? 0 : err;
}

/* "design/function" of the design document's ${kind}. */
static int
open_function(struct repfilter *p, struct api *api, struct db *db, struct jstr which, const char *kind,
    const struct peer_filter *f, struct errtext *why)
{
	const char *slash = memchr(which.s, '/', which.len);
	struct scripting_call call;
	struct db_snap *snap;
	struct judging *g;
	char id[LIMIT_ID_LEN + 1];
	size_t len;
	int err;

	if (slash == NULL || memchr(slash + 1, '/', (size_t)(which.s + which.len - slash) - 1) != NULL)
		return err_why(why, ERR_BAD_REQUEST, "`%s` must be of the form `designname/name`",
		    strcmp(kind, "views") == 0 ? "view" : "filter");
	len = (size_t)(slash - which.s);
	if (len == 0 || len + 8 > LIMIT_ID_LEN)
		return ERR_MISSING;
	memcpy(id, "_design/", 8);
	memcpy(id + 8, which.s, len);
	if ((g = arena_calloc(p->arena, 1, sizeof(*g))) == NULL)
		return ERR_NOMEM;
	judging_init(g, api, db_asker(db)->database, p->all_leaves, p->arena);
	p->judging = g;
	scripting_call_init(&call, p->arena);
	call.ddoc = (struct jstr){id, len + 8};
	call.kind = kind;
	call.name = (struct jstr){slash + 1, (size_t)(which.s + which.len - slash) - 1};
	if ((err = db_snap_begin(db, &snap)) != 0)
		return err;
	err = scripting_program(snap, call.ddoc, p->arena, &g->program);
	db_snap_end(snap);
	if (err == 0 && (err = scripting_find(&call, g->program)) != 0)
		*why = call.why;
	if (err == 0)
		err = judging_put_head(g, kind, call.name);
	buf_puts(&g->tail, "],");
	if (err == 0)
		err = put_request(&g->tail, p->arena, db, f);
	return err != 0 ? err : buf_putc(&g->tail, ']');
}

static int
open_filter(struct repfilter *p, struct api *api, struct db *db, const struct peer_filter *f, struct errtext *why)
{
	struct jstr view;
	int err;

	if (f->selector.len > 0)
		return query_selector_new(f->selector, &p->selector, why);
	if (jstr_is(&f->filter, "_design")) {
		p->design = 1;
		return 0;
	}
	if (jstr_is(&f->filter, "_view")) {
		if ((err = view_of(p->arena, f->query, &view)) != 0)
			return err;
		if (view.len == 0)
			return err_why(why, ERR_BAD_REQUEST, "`view` filter parameter is not provided.");
		return open_function(p, api, db, view, "views", f, why);
	}
	if (f->filter.len > 0 && f->filter.s[0] == '_')
		return err_why(why, ERR_BAD_REQUEST, "unknown builtin filter name");
	return open_function(p, api, db, f->filter, "filters", f, why);
}

static void
close_judge(void *judge)
{
	struct repfilter *p = judge;

	if (p->judging != NULL)
		judging_release(p->judging);
	query_selector_free(p->selector);
	arena_free(p->arena);
	free(p);
}

static int
open_judge(void *cookie, struct db *db, const struct peer_filter *f, void **judgep, struct errtext *why)
{
	struct repfilter *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return ERR_NOMEM;
	p->all_leaves = !f->winners;
	err = arena_new(MEMORY, &p->arena);
	if (err == 0)
		err = open_filter(p, cookie, db, f, why);
	if (err != 0)
		close_judge(p);
	else
		*judgep = p;
	return err;
}

/* ---- Judging ---- */

static int
is_among(const struct rev *rev, const struct db_change *c)
{
	size_t i;

	for (i = 0; i < c->nleaves; i++)
		if (rev_equal(rev, &c->leaves[i]))
			return 1;
	return 0;
}

/*
 * Of one that was changed since there is another row, and of one that was purged none.  One that is damaged passes: when it is
 * fetched, that is said of it alone.
 */
static int
match_row(struct repfilter *p, struct db_snap *snap, struct arena *scratch, struct db_change *row, size_t *changedp)
{
	struct db_change c = *row;
	size_t i, n = 0;
	int pass, err = feedmatch_row(p->selector, snap, scratch, p->all_leaves, 0, &c, &pass);

	if (err == ERR_CORRUPT)
		return 0;
	if (err != 0 || !pass) {
		row->nleaves = 0;
		*changedp += err == ERR_MISSING;
		return err == ERR_MISSING ? 0 : err;
	}
	if (c.leaves == row->leaves)
		return 0;
	for (i = 0; i < row->nleaves; i++)
		if (is_among(&row->leaves[i], &c))
			row->leaves[n++] = row->leaves[i];
	row->nleaves = n;
	return 0;
}

static int
match_rows(struct repfilter *p, struct db *db, struct db_change *rows, size_t n, size_t *changedp)
{
	struct arena *scratch = NULL;
	struct db_snap *snap;
	size_t i;
	int err = arena_new(MEMORY, &scratch);

	if (err == 0 && (err = db_snap_begin(db, &snap)) == 0) {
		for (i = 0; i < n && err == 0; i++) {
			arena_reset(scratch);
			err = match_row(p, snap, scratch, &rows[i], changedp);
		}
		db_snap_end(snap);
	}
	arena_free(scratch);
	return err;
}

/* The row keeps the leaves whose bytes are 1; returns how many bytes were its. */
static size_t
keep_leaves(const struct judging *g, size_t at, struct db_change *row)
{
	size_t i, n = 0, all = row->nleaves;

	if (!g->all_leaves || all == 1) {
		if (g->pass.data[at] == 0)
			row->nleaves = 0;
		return 1;
	}
	for (i = 0; i < all; i++)
		if (g->pass.data[at + i] != 0)
			row->leaves[n++] = row->leaves[i];
	row->nleaves = n;
	return all;
}

/* judge_some: From ${rows} on as many as a message takes; *${np} is their number. */
static int
judge_some(struct repfilter *p, struct db *db, struct arena *scratch, struct db_change *rows, size_t n, size_t *np,
    size_t *changedp)
{
	struct judging *g = p->judging;
	struct db_snap *snap;
	size_t i, k, at;
	int err = db_snap_begin(db, &snap);

	if (err != 0)
		return err;
	buf_clear(&g->pass);
	judging_begin(g);
	for (i = 0; i < n && i < JUDGING_ROWS && !judging_full(g) && err == 0; i++) {
		arena_reset(scratch);
		err = judging_put(g, snap, scratch, &rows[i]);
		/* As above. */
		if (err == ERR_MISSING) {
			rows[i].nleaves = 0;
			++*changedp;
			err = 0;
		} else if (err == ERR_CORRUPT) {
			err = judging_pass(g, &rows[i]);
		}
	}
	db_snap_end(snap);
	if (err == 0)
		err = judging_ask(g);
	for (k = 0, at = 0; k < i && err == 0; k++)
		if (rows[k].nleaves > 0)
			at += keep_leaves(g, at, &rows[k]);
	*np = i;
	return err;
}

static int
judge_all(struct repfilter *p, struct db *db, struct db_change *rows, size_t n, size_t *changedp, struct errtext *why)
{
	struct arena *scratch = NULL;
	size_t i = 0, more;
	int err = arena_new(MEMORY, &scratch);

	for (; i < n && err == 0; i += more)
		err = judge_some(p, db, scratch, rows + i, n - i, &more, changedp);
	arena_free(scratch);
	judging_end(p->judging);
	if (err != 0)
		*why = p->judging->why;
	return err;
}

static int
judge_rows(void *judge, struct db *db, struct arena *a, struct db_change *rows, size_t n, size_t *changedp,
    struct errtext *why)
{
	struct repfilter *p = judge;
	size_t i;

	(void)a;
	*changedp = 0;
	if (p->judging != NULL)
		return judge_all(p, db, rows, n, changedp, why);
	if (p->selector != NULL)
		return match_rows(p, db, rows, n, changedp);
	for (i = 0; i < n; i++)
		if (rows[i].id.len < 8 || memcmp(rows[i].id.s, "_design/", 8) != 0)
			rows[i].nleaves = 0;
	return 0;
}

struct peer_judge
repfilter_judge(struct api *api)
{
	return (struct peer_judge){.cookie = api, .open = open_judge, .rows = judge_rows, .close = close_judge};
}
