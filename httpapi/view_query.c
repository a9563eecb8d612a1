/*
 * view_query.c: the parameters of views.  Their forms are those of listings (alldocs_query.c); keys become sort keys once the view is
 * known, which says in what order.
 */
#include "view_query.h"

#include <stdlib.h>

#include "alldocs_query.h"
#include "base/limits.h"
#include "rows.h"

void
view_query_init(struct view_query *q, size_t *keys_bytes)
{
	memset(q, 0, sizeof(*q));
	q->keys_bytes = keys_bytes;
	q->limit = UINT64_MAX;
	q->reduce = q->group = -1;
}

/* count: So many bytes more are held for keys. */
static int
count(const struct view_query *q, size_t bytes)
{
	*q->keys_bytes += bytes;
	return *q->keys_bytes <= LIMIT_VIEW_KEYS ? 0 : ERR_TOO_LARGE;
}

/* add_key: No row has a key that is longer than one may be. */
static int
add_key(struct arena *a, const struct view_query *q, struct view_keys *keys, struct jstr text)
{
	if (text.len > LIMIT_ROW_KEY || count(q, 2 * sizeof(text)) != 0)
		return ERR_TOO_LARGE;
	/* There is room for a power of two of them. */
	if ((keys->n & (keys->n - 1)) == 0) {
		struct jstr *more = arena_calloc(a, keys->n > 0 ? 2 * keys->n : 1, sizeof(*more));

		if (more == NULL)
			return ERR_NOMEM;
		if (keys->n > 0)
			memcpy(more, keys->texts, keys->n * sizeof(*more));
		keys->texts = more;
	}
	keys->texts[keys->n++] = text;
	return 0;
}

static int
set_bound(struct apireq *r, const struct alldocs_value *v, const struct view_query *q, struct read_bound *b,
    struct view_keys **keyp)
{
	struct jread j;
	int err;

	jread_init(&j, v->text.s, v->text.len);
	if ((err = jread_skip(&j, NULL)) != 0 || (err = jread_end(&j)) != 0)
		return err;
	b->set = 1;
	*keyp = arena_calloc(r->arena, 1, sizeof(**keyp));
	return *keyp == NULL ? ERR_NOMEM : add_key(r->arena, q, *keyp, v->text);
}

static int
set_id(struct apireq *r, const struct alldocs_value *v, struct read_bound *b)
{
	b->has_id = 1;
	if (!v->json || v->text.len == 0 || v->text.s[0] != '"') {
		b->id = v->text;
		return 0;
	}
	return rows_string(r->arena, &v->text, &b->id);
}

static int
set_key(struct apireq *r, const struct alldocs_value *v, struct view_query *q)
{
	int err = set_bound(r, v, q, &q->range.start, &q->start);

	q->range.end.set = 1;
	q->end = q->start;
	return err;
}

/* one_key: A list of one key is that key. */
static void
one_key(struct view_query *q)
{
	q->range.start.set = q->range.end.set = 1;
	q->start = q->end = q->keys;
	q->keys = NULL;
}

static int
set_keys(struct apireq *r, const struct alldocs_value *v, struct view_query *q, struct errtext *why)
{
	struct jstr text;
	struct jread j;
	int err;

	jread_init(&j, v->text.s, v->text.len);
	if ((err = jread_skip(&j, NULL)) != 0 || (err = jread_end(&j)) != 0)
		return err;
	jread_init(&j, v->text.s, v->text.len);
	if (jread_peek(&j) != JREAD_ARRAY)
		return v->json ? err_why(why, ERR_BAD_REQUEST, "`keys` member must be an array.")
			       : err_why(why, ERR_QUERY_PARSE, "`keys` must be an array of strings.");
	if ((q->keys = arena_calloc(r->arena, 1, sizeof(*q->keys))) == NULL)
		return ERR_NOMEM;
	err = jread_array_begin(&j);
	while (err == 0 && (err = jread_array_next(&j)) == 0) {
		(void)jread_peek(&j); /* over white space */
		if ((err = jread_skip(&j, &text)) == 0)
			err = add_key(r->arena, q, q->keys, text);
	}
	/* In a query string it then stands at its place among the others, of which the last one counts. */
	if (err == ERR_END && !v->json && q->keys->n == 1)
		one_key(q);
	return err == ERR_END ? 0 : err;
}

/* refuse_queries: They have a place of their own, where they are not read by set(). */
static int
refuse_queries(const struct alldocs_value *v, struct errtext *why)
{
	return err_why(why, ERR_BAD_REQUEST,
	    v->text.s[0] == '[' ? "The `queries` parameter is no longer supported at this endpoint"
				: "`queries` member must be an array.");
}

static int
set_update(const struct jstr *name, const struct alldocs_value *v, struct view_query *q, struct errtext *why)
{
	struct jstr s = alldocs_value_text(v);
	int err = alldocs_value_fresh(name, v, why);

	if (err != 0)
		return err;
	if (jstr_is(name, "update"))
		q->update = jstr_is(&s, "true")    ? VIEW_UPDATE_FIRST
			    : jstr_is(&s, "false") ? VIEW_UPDATE_NONE
						   : VIEW_UPDATE_LATER;
	if (jstr_is(name, "stale"))
		q->update = jstr_is(&s, "ok") ? VIEW_UPDATE_NONE : VIEW_UPDATE_LATER;
	return 0;
}

/* The switches, and where they go. */
static int *
find_switch(struct view_query *q, const struct jstr *name, int *ignored)
{
	const struct {
		const char *name;
		int *on;
	} known[] = {{"descending", &q->range.descending}, {"include_docs", &q->include_docs},
	    {"conflicts", &q->render.conflicts}, {"attachments", &q->render.attachments},
	    {"att_encoding_info", &q->render.att_encoding_info}, {"update_seq", &q->update_seq}, {"reduce", &q->reduce},
	    {"group", &q->group}, {"sorted", ignored}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (jstr_is(name, known[i].name))
			return known[i].on;
	return NULL;
}

static int
is(const struct jstr *name, const char *a, const char *b)
{
	return jstr_is(name, a) || jstr_is(name, b);
}

static int
set(struct apireq *r, struct view_query *q, const struct jstr *name, const struct alldocs_value *v, struct errtext *why)
{
	int ignored, inclusive, err;
	int *on = find_switch(q, name, &ignored);

	if (on != NULL)
		return alldocs_value_bool(v, on, why);
	if (jstr_is(name, "limit"))
		return alldocs_value_number(v, &q->limit, why);
	if (jstr_is(name, "skip"))
		return alldocs_value_number(v, &q->skip, why);
	if (is(name, "startkey", "start_key"))
		return set_bound(r, v, q, &q->range.start, &q->start);
	if (is(name, "endkey", "end_key"))
		return set_bound(r, v, q, &q->range.end, &q->end);
	if (is(name, "startkey_docid", "start_key_doc_id"))
		return set_id(r, v, &q->range.start);
	if (is(name, "endkey_docid", "end_key_doc_id"))
		return set_id(r, v, &q->range.end);
	if (jstr_is(name, "key"))
		return set_key(r, v, q);
	if (jstr_is(name, "keys"))
		return set_keys(r, v, q, why);
	if (jstr_is(name, "partition"))
		return alldocs_value_partition(r, v, &q->range.partition, why);
	if (v->json && jstr_is(name, "queries"))
		return refuse_queries(v, why);
	if (jstr_is(name, "inclusive_end")) {
		err = alldocs_value_bool(v, &inclusive, why);
		q->range.exclusive_end = err == 0 && !inclusive;
		return err;
	}
	if (jstr_is(name, "group_level")) {
		q->has_level = 1;
		return alldocs_value_number(v, &q->level, why);
	}
	return set_update(name, v, q, why);
}

int
view_query_params(struct apireq *r, struct view_query *q, struct errtext *why)
{
	struct alldocs_value v = {0, {NULL, 0}};
	int err = 0;

	for (size_t i = 0; i < r->nparams && err == 0; i++) {
		v.text = r->params[i].value;
		err = set(r, q, &r->params[i].name, &v, why);
	}
	return err;
}

int
view_query_members(struct apireq *r, struct jread *j, struct view_query *q, struct errtext *why)
{
	struct alldocs_value v = {1, {NULL, 0}};
	struct buf scratch;
	struct jstr name;
	int err;

	buf_init(&scratch, LIMIT_URL_LEN);
	while ((err = jread_object_next(j, &scratch, &name)) == 0) {
		(void)jread_peek(j); /* over white space */
		if ((err = jread_skip(j, &v.text)) != 0 || (err = set(r, q, &name, &v, why)) != 0)
			break;
	}
	buf_release(&scratch);
	if (err == ERR_END && q->keys != NULL && q->keys->n == 1)
		one_key(q);
	return err == ERR_END ? 0 : err;
}

/* ---- Sort keys ---- */

/* What they are made with. */
struct maker {
	struct arena *a;
	const struct view_query *q;
	const struct ddoc_view *view;
	struct buf scratch, key;
};

static int
make_sortkey(struct maker *m, struct jstr text, struct jstr *out)
{
	int err;

	buf_clear(&m->key);
	if ((err = read_sortkey(m->view, text, &m->scratch, &m->key)) != 0 || (err = count(m->q, m->key.len)) != 0)
		return err;
	*out = (struct jstr){arena_dup(m->a, m->key.data, m->key.len), m->key.len};
	return out->s == NULL ? ERR_NOMEM : 0;
}

/* make_sortkeys: Unless there are none, or a query that shares them has made them. */
static int
make_sortkeys(struct maker *m, struct view_keys *keys)
{
	struct jstr *sortkeys;
	int err = 0;

	if (keys == NULL || keys->sortkeys != NULL)
		return 0;
	if ((sortkeys = arena_calloc(m->a, keys->n, sizeof(*sortkeys))) == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < keys->n && err == 0; i++)
		err = make_sortkey(m, keys->texts[i], &sortkeys[i]);
	if (err == 0)
		keys->sortkeys = sortkeys;
	return err;
}

int
view_query_sortkeys(struct apireq *r, struct view_query *q, const struct ddoc_view *view)
{
	struct maker m = {.a = r->arena, .q = q, .view = view};
	int err;

	buf_init(&m.scratch, LIMIT_ROW_KEY);
	buf_init(&m.key, LIMIT_ROWS_KEYS);
	if ((err = make_sortkeys(&m, q->start)) == 0 && (err = make_sortkeys(&m, q->end)) == 0)
		err = make_sortkeys(&m, q->keys);
	if (err == 0 && q->start != NULL)
		q->range.start.sortkey = q->start->sortkeys[0];
	if (err == 0 && q->end != NULL)
		q->range.end.sortkey = q->end->sortkeys[0];
	buf_release(&m.key);
	buf_release(&m.scratch);
	return err;
}

/* ---- What follows, and what contradicts itself ---- */

static int
sortkey_cmp(const struct read_bound *a, const struct read_bound *b)
{
	size_t n = a->sortkey.len < b->sortkey.len ? a->sortkey.len : b->sortkey.len;

	return memcmp(a->sortkey.s, b->sortkey.s, n); /* none is a prefix of another */
}

static int
id_cmp(struct jstr a, struct jstr b)
{
	int c = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int
same_text(const struct view_keys *a, const struct view_keys *b)
{
	return a->texts[0].len == b->texts[0].len && memcmp(a->texts[0].s, b->texts[0].s, a->texts[0].len) == 0;
}

static int
check_range(const struct view_query *q, struct errtext *why)
{
	const struct read_bound *start = &q->range.start, *end = &q->range.end;
	int c;

	if (!start->set || !end->set)
		return 0;
	c = sortkey_cmp(start, end);
	if (c == 0 && same_text(q->start, q->end))
		return 0;
	if (c == 0 && start->has_id && end->has_id)
		c = id_cmp(start->id, end->id);
	if (q->range.descending ? c >= 0 : c <= 0)
		return 0;
	return err_why(why, ERR_KEY_RANGE,
	    "No rows can match your key range, reverse your start_key and end_key or set descending=%s",
	    q->range.descending ? "false" : "true");
}

static int
check_groups(struct view_query *q, struct errtext *why)
{
	if (q->group == 0 && q->level > 0)
		return err_why(why, ERR_QUERY_PARSE, "Can't specify group=false and group_level>0 at the same time");
	if (q->group == 1 && !q->has_level)
		q->level = READ_EXACT;
	return 0;
}

int
view_query_check(struct view_query *q, int reduces, struct errtext *why)
{
	int several = q->keys != NULL && q->keys->n > 0, err;

	if ((err = check_groups(q, why)) != 0)
		return err;
	if (!reduces && q->reduce == 1)
		return err_why(why, ERR_QUERY_PARSE, "Reduce is invalid for map-only views.");
	q->reduce = reduces && q->reduce != 0;
	if (!q->reduce && q->level > 0)
		return err_why(why, ERR_QUERY_PARSE, "Invalid use of grouping on a map view.");
	if (several && q->reduce && q->level != READ_EXACT)
		return err_why(why, ERR_QUERY_PARSE, "Multi-key fetches for reduce views must use `group=true`");
	if (several && (q->range.start.set || q->range.end.set))
		return err_why(why, ERR_QUERY_PARSE, "`keys` is incompatible with `key`, `start_key` and `end_key`");
	if (q->reduce && q->include_docs)
		return err_why(why, ERR_QUERY_PARSE, "`include_docs` is invalid for reduce");
	return q->keys != NULL ? 0 : check_range(q, why);
}
