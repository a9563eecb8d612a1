/*
 * Mango without a server.  Lines, of which the first letter says what they are:
 *
 *	s a selector            o a sort            f the fields that are wanted      u the name of a design document to use
 *	i the body of _index    D a design document with indexes                      d a document's body, the next id
 *	b a bookmark            c rows are counted, each so many times                p in a partition
 *
 * What _index takes is built.  Whatever the plan, it meets the documents that looking at all of them finds, once; what is in exact
 * ranges matches; a covered row says what its document says; a plan that is to go on as another one did does.  A bookmark that is
 * read is the one that was written.
 */
#include "base/jread.h"
#include "base/limits.h"
#include "fuzz.h"
#include "httpapi/find_bookmark.h"
#include "httpapi/find_index.h"
#include "httpapi/find_query.h"
#include "query/plan.h"
#include "tests/unit/inrange.h"
#include "views/ddoc.h"

#define MAX ((size_t)64 << 20)
enum { DOCS = 16, INDEXES = 8, LINE = 4096 };

struct row {
	int has;
	struct buf key, sortkey;
};

static struct {
	struct arena *arena;
	struct query_selector *selector;
	struct jstr ids[DOCS], bodies[DOCS], wholes[DOCS];
	size_t ndocs;
	struct query_index indexes[INDEXES];
	struct query_columns *finders[INDEXES];
	struct row rows[INDEXES][DOCS];
	struct query_ask ask;
	unsigned times;
} f;

static struct jstr
of(const struct buf *b)
{
	return (struct jstr){b->data, b->len};
}

static struct jstr
keep(const struct buf *b)
{
	struct jstr s = {arena_dup(f.arena, b->data, b->len), b->len};

	FUZZ_CHECK(buf_failed(b) == 0 && s.s != NULL);
	return s;
}

/* ---- Lines ---- */

/* A body as it is stored: what _find reads of JSON is that of documents too. */
static int
canonical(struct jstr text, struct jstr *out)
{
	struct jread j;
	struct buf b;
	int err = ERR_BAD_JSON;

	buf_init(&b, MAX);
	jread_init(&j, text.s, text.len);
	if (jread_peek(&j) == JREAD_OBJECT && (err = jread_text(&j, &b, NULL)) == 0 && (err = jread_end(&j)) == 0)
		*out = keep(&b);
	buf_release(&b);
	return err;
}

static void
add_doc(struct jstr text)
{
	struct buf b;
	struct jread j;
	struct jstr key;

	if (f.ndocs == DOCS || canonical(text, &f.bodies[f.ndocs]) != 0)
		return;
	/* What begins so is no member of a body. */
	buf_init(&b, MAX);
	jread_init(&j, f.bodies[f.ndocs].s, f.bodies[f.ndocs].len);
	FUZZ_CHECK(jread_object_begin(&j) == 0);
	while (jread_object_next(&j, &b, &key) == 0) {
		if (key.len > 0 && key.s[0] == '_') {
			buf_release(&b);
			return;
		}
		FUZZ_CHECK(jread_skip(&j, NULL) == 0);
	}
	buf_clear(&b);
	buf_printf(&b, "%c%zu", f.ndocs % 2 ? 'B' : 'a', f.ndocs % 5);
	for (size_t i = 0; i < f.ndocs / 5; i++)
		buf_puts(&b, "\xc3\xa9");
	f.ids[f.ndocs] = keep(&b);
	buf_clear(&b);
	buf_puts(&b, "{\"_id\":");
	buf_put_json(&b, f.ids[f.ndocs].s, f.ids[f.ndocs].len);
	buf_puts(&b, ",\"_rev\":\"1-a\"");
	buf_puts(&b, f.bodies[f.ndocs].len > 2 ? "," : "");
	buf_put(&b, f.bodies[f.ndocs].s + 1, f.bodies[f.ndocs].len - 1);
	f.wholes[f.ndocs++] = keep(&b);
	buf_release(&b);
}

static void
add_index(struct jstr ddoc, const struct ddoc_view *v, const struct ddoc_map *map, int partitioned)
{
	struct query_index *ix = &f.indexes[f.ask.nindexes];
	struct query_selector *filter = NULL;
	struct buf b;

	if (f.ask.nindexes == INDEXES)
		return;
	*ix = (struct query_index){.ddoc = ddoc,
	    .name = v->name,
	    .columns = map->columns,
	    .ncolumns = map->ncolumns,
	    .partitioned = partitioned,
	    .number = f.ask.nindexes};
	/* It is built, so that it can be. */
	FUZZ_CHECK(query_columns_new(map->columns, map->ncolumns, &f.finders[f.ask.nindexes]) == 0);
	f.ask.nindexes++;
	if (map->filter.len == 0)
		return;
	FUZZ_CHECK(query_selector_new(map->filter, &filter, NULL) == 0);
	buf_init(&b, MAX);
	FUZZ_CHECK(query_selector_put(filter, &b) == 0);
	ix->filter = keep(&b);
	buf_release(&b);
	query_selector_free(filter);
}

static size_t
add_ddoc(struct jstr id, struct jstr text)
{
	struct jstr body;
	struct ddoc d;
	size_t n = 0;

	if (canonical(text, &body) != 0 || ddoc_parse(body, f.arena, &d) != 0)
		return 0;
	for (size_t i = 0; d.is_query && i < d.nviews; i++) {
		FUZZ_CHECK(d.views[i].map < d.nmaps);
		if (!d.views[i].declared)
			continue;
		add_index(id, &d.views[i], &d.maps[d.views[i].map], d.partitioned);
		n++;
	}
	return n;
}

static void
add_request(struct jstr body)
{
	static const char none[] = "{\"map\":{\"fields\":{}";
	struct find_index ix;
	struct errtext why = {""};
	struct jstr text, same;

	if (find_index_read(f.arena, body, &ix, &why) != 0) {
		FUZZ_CHECK(jread_utf8_ok(why.text, strlen(why.text)));
		return;
	}
	FUZZ_CHECK(find_index_add(f.arena, (struct jstr){"", 0}, &ix, &text, &why) == 0);
	FUZZ_CHECK(canonical(text, &text) == 0);
	FUZZ_CHECK(find_index_add(f.arena, text, &ix, &same, &why) == 0);
	FUZZ_CHECK(canonical(same, &same) == 0 && jstr_equal(text, same));
	FUZZ_CHECK(find_index_remove(f.arena, text, ix.name, &same) == 0 && same.len == 0);
	/* One without fields is stored, and is none. */
	FUZZ_CHECK(add_ddoc(ix.id, text) == (memcmp(ix.view.s, none, sizeof(none) - 1) != 0));
}

static void
read_bookmark(struct jstr text)
{
	struct find_bookmark m, again;
	struct buf b;

	if (find_bookmark_read(text, f.arena, &m) != 0)
		return;
	buf_init(&b, MAX);
	FUZZ_CHECK(find_bookmark_put(&m, &b) == 0);
	FUZZ_CHECK(find_bookmark_read(of(&b), f.arena, &again) == 0);
	FUZZ_CHECK(m.part == again.part && m.nparts == again.nparts && m.either == again.either);
	FUZZ_CHECK(jstr_equal(m.ddoc, again.ddoc) && jstr_equal(m.name, again.name));
	FUZZ_CHECK(jstr_equal(m.key, again.key) && jstr_equal(m.id, again.id));
	buf_release(&b);
}

static void
read_line(char kind, struct jstr text)
{
	struct errtext why = {""};
	struct jstr normal;
	int down = 0;

	switch (kind) {
	case 's':
		query_selector_free(f.selector);
		f.selector = NULL;
		if (query_selector_new(text, &f.selector, &why) != 0)
			f.selector = NULL;
		break;
	case 'o':
		if (canonical(text, &normal) != 0)
			normal = text;
		if (find_query_sort(f.arena, normal, &f.ask.sort, &f.ask.nsort, &f.ask.descending, &why) != 0)
			f.ask.nsort = 0;
		break;
	case 'f':
		if (find_query_sort(f.arena, text, &f.ask.fields, &f.ask.nfields, &down, &why) != 0)
			f.ask.nfields = 0;
		break;
	case 'u':
		if (find_index_id(f.arena, text, &f.ask.use_ddoc) != 0)
			f.ask.use_ddoc.len = 0;
		break;
	case 'i':
		add_request(text);
		break;
	case 'D':
		add_ddoc((struct jstr){"_design/D", 9}, text);
		break;
	case 'd':
		add_doc(text);
		break;
	case 'b':
		read_bookmark(text);
		break;
	case 'c':
		f.times = text.len > 0 ? 1u << ((unsigned char)text.s[0] % 16) : 1000;
		break;
	case 'p':
		f.ask.in_partition = 1;
		break;
	default:
		break;
	}
}

/* ---- Rows ---- */

static int
matches(struct query_selector *s, size_t doc)
{
	struct query_doc d = {.id = f.ids[doc], .rev = {"1-a", 3}, .body = f.bodies[doc]};
	int match = 0;

	FUZZ_CHECK(query_selector_match(s, &d, &match) == 0);
	return match;
}

static void
fill_index(size_t i)
{
	struct query_selector *filter = NULL;
	struct buf scratch;

	if (f.indexes[i].filter.len > 0 && query_selector_new(f.indexes[i].filter, &filter, NULL) != 0)
		filter = NULL; /* what was just within a bound may be beyond it in its normal form: no rows */
	buf_init(&scratch, MAX);
	for (size_t d = 0; d < f.ndocs; d++) {
		struct row *r = &f.rows[i][d];

		FUZZ_CHECK(query_columns_row(f.finders[i], f.wholes[d], &scratch, &r->key, &r->sortkey, &r->has) == 0);
		if (r->has && f.indexes[i].filter.len > 0)
			r->has = filter != NULL && matches(filter, d);
	}
	buf_release(&scratch);
	query_selector_free(filter);
}

static unsigned
count_in(const struct query_index *index, const struct query_range *ranges, size_t n, size_t d)
{
	unsigned times = 0;

	if (index != NULL && !f.rows[index->number][d].has)
		return 0;
	for (size_t i = 0; i < n; i++)
		times += (unsigned)inrange(
		    &ranges[i], index == NULL ? f.ids[d] : of(&f.rows[index->number][d].sortkey), index == NULL);
	return times;
}

static void
count_rows(void *cookie, const struct query_index *index, const struct query_range *ranges, size_t n, uint64_t *rowsp)
{
	(void)cookie;
	*rowsp = 0;
	for (size_t d = 0; d < f.ndocs; d++)
		*rowsp += (index != NULL ? f.times : 8 * (uint64_t)f.times) * count_in(index, ranges, n, d);
}

/* ---- Plans ---- */

static unsigned
count_given(const struct query_plan *p, size_t d)
{
	int match = matches(f.selector, d);
	unsigned times = 0;

	for (size_t i = 0; i < p->nparts; i++) {
		const struct query_part *part = &p->parts[i];
		unsigned in = count_in(part->index, part->ranges, part->nranges, d);
		int before = 0;

		FUZZ_CHECK(in <= 1);
		FUZZ_CHECK(in == 0 || !p->exact || match);
		for (size_t k = 0; part->branch != NULL && k < i; k++)
			before |= matches(p->parts[k].branch, d);
		times += in > 0 && match && (part->branch == NULL || (matches(part->branch, d) && !before));
	}
	return times;
}

static int
has_sort(size_t d)
{
	struct query_columns *c;
	struct buf scratch, key, sortkey;
	int has = 0;

	buf_init(&scratch, MAX);
	buf_init(&key, MAX);
	buf_init(&sortkey, MAX);
	FUZZ_CHECK(query_columns_new(f.ask.sort, f.ask.nsort, &c) == 0);
	FUZZ_CHECK(query_columns_row(c, f.wholes[d], &scratch, &key, &sortkey, &has) == 0);
	query_columns_free(c);
	buf_release(&sortkey);
	buf_release(&key);
	buf_release(&scratch);
	return has;
}

static void
check_covered(const struct query_plan *p, size_t d)
{
	size_t i = p->chosen->number;
	struct query_doc doc = {.id = f.ids[d]};
	struct buf text;
	int match = 0;

	/* Of a row that is cut the document is read. */
	if (!f.rows[i][d].has || f.rows[i][d].key.len == 0)
		return;
	buf_init(&text, MAX);
	FUZZ_CHECK(query_columns_doc(f.finders[i], of(&f.rows[i][d].key), f.ids[d], &text) == 0);
	doc.body = of(&text);
	FUZZ_CHECK(query_selector_match(f.selector, &doc, &match) == 0 && match == matches(f.selector, d));
	buf_release(&text);
}

/* The same again, by the indexes that were taken. */
static void
check_kept(const struct query_plan *p)
{
	const struct query_index **keep_to = arena_calloc(f.arena, p->nparts + 1, sizeof(*keep_to));
	struct query_ask ask = f.ask;
	struct query_plan *again;

	for (size_t i = 0; i < p->nparts; i++)
		keep_to[i] = p->parts[i].index;
	ask.keep = keep_to;
	ask.nkeep = p->nparts;
	ask.keep_either = p->either;
	ask.count = NULL;
	FUZZ_CHECK(query_plan_new(&ask, &again) == 0);
	FUZZ_CHECK(again->found && again->nparts == p->nparts);
	for (size_t i = 0; i < p->nparts; i++)
		FUZZ_CHECK(
		    again->parts[i].index == p->parts[i].index && again->parts[i].nranges == p->parts[i].nranges);
	query_plan_free(again);
}

static void
check_plan(const struct query_plan *p)
{
	const struct query_index *chosen = p->chosen;

	FUZZ_CHECK(p->nparts > 0 && (p->nparts == 1 || f.ask.nsort == 0));
	for (size_t d = 0; d < f.ndocs; d++) {
		int want = !p->noop && matches(f.selector, d) && (f.ask.nsort == 0 || has_sort(d));

		/* Whoever names an index with a filter is given what is in it. */
		if (chosen != NULL && chosen->filter.len > 0 && jstr_equal(f.ask.use_ddoc, chosen->ddoc))
			want = want && f.rows[chosen->number][d].has;
		FUZZ_CHECK(count_given(p, d) == (unsigned)want);
		if (p->covered)
			check_covered(p, d);
	}
	check_kept(p);
}

static void
run(void)
{
	struct jstr *can, *cannot;
	struct query_plan *p;
	size_t n, m;

	if (f.selector == NULL)
		return;
	f.ask.selector = f.selector;
	f.ask.indexes = f.indexes;
	f.ask.count = f.times > 0 ? count_rows : NULL;
	for (size_t i = 0; i < f.ask.nindexes; i++)
		fill_index(i);
	FUZZ_CHECK(query_plan_hints(f.selector, f.arena, &can, &n, &cannot, &m) == 0);
	FUZZ_CHECK(query_plan_new(&f.ask, &p) == 0);
	if (p->found)
		check_plan(p);
	query_plan_free(p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *at = (const char *)data, *end = at + len;

	memset(&f, 0, sizeof(f));
	FUZZ_CHECK(arena_new(MAX, &f.arena) == 0);
	for (size_t i = 0; i < INDEXES; i++)
		for (size_t d = 0; d < DOCS; d++) {
			buf_init(&f.rows[i][d].key, MAX);
			buf_init(&f.rows[i][d].sortkey, MAX);
		}
	while (at < end) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		const char *stop = line != NULL ? line : end;

		if (stop > at && stop - at < LINE)
			read_line(*at, (struct jstr){at + 1, (size_t)(stop - at - 1)});
		at = line != NULL ? line + 1 : end;
	}
	run();
	for (size_t i = 0; i < INDEXES; i++) {
		query_columns_free(f.finders[i]);
		for (size_t d = 0; d < DOCS; d++) {
			buf_release(&f.rows[i][d].key);
			buf_release(&f.rows[i][d].sortkey);
		}
	}
	query_selector_free(f.selector);
	arena_free(f.arena);
	return 0;
}
